"""The address guard at its edges: other spellings of an address, names that change, redirects, and shared clients."""

import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from domain.crew.tools import ToolSettings
from domain.crew.tools.addresses import AddressGuard, AsyncGuardedTransport, guarded_client
from domain.crew.tools.watched import ToolFault
from domain.crew.tools.web import HttpGet
from domain.model.addresses import is_public

PUBLIC = "93.184.216.34"
Names = dict[str, list[str]]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """The DNS of these tests: each question for a name takes the next of its addresses, the last one stays."""
    known: Names = {}

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        try:
            address = str(ipaddress.ip_address(host))
        except ValueError:
            answers = known.get(host)
            if not answers:
                raise socket.gaierror(socket.EAI_NONAME, "unknown") from None
            address = answers.pop(0) if len(answers) > 1 else answers[0]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr("socket.getaddrinfo", getaddrinfo)
    return known


class Echo(BaseHTTPRequestHandler):
    """Notes who was asked for on which connection; /to/<url> redirects there."""

    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, int]]

    def do_GET(self) -> None:
        self.seen.append((self.headers["host"], self.client_address[1]))
        target = self.path.removeprefix("/to/")
        self.send_response(302 if target != self.path else 200)
        if target != self.path:
            self.send_header("location", target)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def echo() -> Iterator[tuple[int, list[tuple[str, int]]]]:
    seen: list[tuple[str, int]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneEcho", (Echo,), {"seen": seen}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port, seen
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    "url",
    [
        "http://[::ffff:7f00:1]/", "http://[::ffff:a9fe:a9fe]/", "http://[0:0:0:0:0:ffff:10.0.0.1]/",
        "http://[::127.0.0.1]/", "http://[64:ff9b::a00:1]/", "http://[2002:a00:1::]/", "http://[::]/",
        "http://127.0.0.1./", "http://127.0.0.1../", "https://10.0.0.1.:8443/x", "http://[fe80::1]/",
        "http://0177.1/", "http://127.0.1/", "http://0x7f.1/", "http://3232235521/",
    ],
)  # fmt: skip
def test_every_spelling_of_a_private_address_is_recognised(url: str) -> None:
    with pytest.raises(ToolFault, match="is not on the public internet"):
        AddressGuard().checked_address(httpx.URL(url))


@pytest.mark.parametrize("url", ["http://./", "http://.../", "ws://example.com/", "//example.com/", "/x", "unix:///x"])
def test_what_is_no_web_address_is_refused_before_a_name_is_looked_up(names: Names, url: str) -> None:
    names["example.com"] = [PUBLIC]

    with pytest.raises(ToolFault, match="only http and https addresses"):
        AddressGuard().checked_address(httpx.URL(url))


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("2001:0:a00:1::", False),  # Teredo's own addresses
        ("2001:db8::1", False),
        ("::1.2.3.4", False),
        ("2606:4700::6810:84e5", True),
        ("::ffff:0:127.0.0.1", False),
    ],
)
def test_addresses_with_others_inside(address: str, *, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


def test_a_name_that_leads_into_a_private_network_is_refused_with_a_dot_behind_it_too(names: Names) -> None:
    names["inside.example.com"] = ["10.1.2.3"]

    for url in ("http://inside.example.com/", "http://inside.example.com./", "http://INSIDE.example.COM:8080/"):
        with pytest.raises(ToolFault, match=r"the host inside\.example\.com is not on the public internet"):
            AddressGuard().checked_address(httpx.URL(url))


def test_a_name_with_other_letters_is_looked_up_in_ascii_as_its_certificate_has_it(names: Names) -> None:
    names["xn--fa-hia.example"] = [PUBLIC]  # Python's own encoding would make it fass.example, which may be another's
    names["fass.example"] = ["10.0.0.1"]

    pinned = AddressGuard().pinned(httpx.Request("GET", "https://faß.example./x"))

    assert str(pinned.url) == f"https://{PUBLIC}/x"
    assert pinned.extensions["sni_hostname"] == "xn--fa-hia.example"
    assert pinned.headers["host"] == "xn--fa-hia.example."


def test_the_port_and_an_ipv6_address_are_kept(names: Names) -> None:
    names["six.example.com"] = ["2606:4700::6810:84e5"]

    pinned = AddressGuard().pinned(httpx.Request("GET", "https://six.example.com:8443/x"))

    assert str(pinned.url) == "https://[2606:4700::6810:84e5]:8443/x"
    assert pinned.headers["host"] == "six.example.com:8443"


def test_a_private_host_is_named_by_its_address_and_not_by_one_that_carries_it() -> None:
    guard = AddressGuard(["127.0.0.1"])

    assert guard.checked_address(httpx.URL("http://127.0.0.1./")) == "127.0.0.1"
    with pytest.raises(ToolFault):
        guard.checked_address(httpx.URL("http://[::ffff:127.0.0.1]/"))


async def test_a_name_that_changes_between_check_and_connection_changes_nothing(
    names: Names, echo: tuple[int, list[tuple[str, int]]]
) -> None:
    port, seen = echo
    names["rebound.example.com"] = ["127.0.0.1", "10.255.255.1"]  # the second answer is never asked for

    async with guarded_client(AddressGuard([f"127.0.0.1:{port}"]), 5) as client:
        response = await client.get(f"http://rebound.example.com:{port}/")

    assert response.status_code == 200
    assert [host for host, _ in seen] == [f"rebound.example.com:{port}"]
    assert names["rebound.example.com"] == ["10.255.255.1"]


async def test_every_request_is_checked_anew(names: Names, echo: tuple[int, list[tuple[str, int]]]) -> None:
    port, seen = echo
    names["rebound.example.com"] = ["127.0.0.1", "10.255.255.1"]

    async with guarded_client(AddressGuard([f"127.0.0.1:{port}"]), 5) as client:
        await client.get(f"http://rebound.example.com:{port}/")
        with pytest.raises(ToolFault, match="not on the public internet"):
            await client.get(f"http://rebound.example.com:{port}/")

    assert len(seen) == 1


async def test_a_guarded_client_follows_no_redirect_and_uses_no_proxy(
    echo: tuple[int, list[tuple[str, int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, seen = echo
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")

    async with guarded_client(AddressGuard(["127.0.0.1"]), 5) as client:
        response = await client.get(f"http://127.0.0.1:{port}/to/http://127.0.0.1:{port}/")

    assert response.status_code == 302
    assert len(seen) == 1


async def test_two_names_at_one_address_do_not_share_a_connection(
    names: Names, echo: tuple[int, list[tuple[str, int]]]
) -> None:
    port, seen = echo
    names["one.example.com"] = names["two.example.com"] = ["127.0.0.1"]

    async with httpx.AsyncClient(transport=AsyncGuardedTransport(AddressGuard(["127.0.0.1"]))) as client:
        for name in ("one", "two", "one", "two"):
            await client.get(f"http://{name}.example.com:{port}/")

    connections = [connection for _, connection in seen]
    assert connections[0] != connections[1]
    assert connections[2:] == connections[:2]


def test_a_redirect_to_another_name_at_the_address_opens_a_connection_of_its_own(
    names: Names, echo: tuple[int, list[tuple[str, int]]]
) -> None:
    port, seen = echo
    names["one.example.com"] = names["two.example.com"] = ["127.0.0.1"]
    settings = ToolSettings(allowed_private_hosts=frozenset({"127.0.0.1"}), timeout_seconds=30)

    HttpGet(settings)(f"http://one.example.com:{port}/to/http://two.example.com:{port}/")

    assert [host for host, _ in seen] == [f"one.example.com:{port}", f"two.example.com:{port}"]
    assert seen[0][1] != seen[1][1]


@pytest.mark.parametrize(
    "target",
    [
        lambda port: f"http://127.0.0.1:{port + 1}/",
        lambda _: "http://[::ffff:127.0.0.1]/",
        lambda port: f"http://inside.example.com:{port + 1}/",
        lambda _: "http://169.254.169.254./latest/",
        lambda port: f"//2130706433:{port + 1}/",
    ],
)
def test_every_redirect_is_checked(
    names: Names, echo: tuple[int, list[tuple[str, int]]], target: Callable[[int], str]
) -> None:
    port, seen = echo
    names["inside.example.com"] = ["127.0.0.1"]
    names["2130706433"] = ["127.0.0.1"]
    settings = ToolSettings(allowed_private_hosts=frozenset({f"127.0.0.1:{port}"}), timeout_seconds=30)

    with pytest.raises(ToolFault, match="is not on the public internet"):
        HttpGet(settings)(f"http://127.0.0.1:{port}/to/{target(port)}")

    assert len(seen) == 1


def test_a_redirect_to_another_scheme_is_not_followed(echo: tuple[int, list[tuple[str, int]]]) -> None:
    port, _ = echo
    settings = ToolSettings(allowed_private_hosts=frozenset({"127.0.0.1"}), timeout_seconds=30)

    with pytest.raises(ToolFault):
        HttpGet(settings)(f"http://127.0.0.1:{port}/to/file:///etc/passwd")
