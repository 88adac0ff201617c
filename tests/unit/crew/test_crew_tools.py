import ipaddress
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import uvicorn
from crewai.tools import BaseTool
from mcp.server.fastmcp import FastMCP
from pydantic import BaseModel

from domain.crew.tools import SearchKind, ToolSettings, permitted_classes
from domain.crew.tools.addresses import AddressGuard
from domain.crew.tools.calculator import calculate
from domain.crew.tools.files import ProjectFiles
from domain.crew.tools.schemas import arguments_of
from domain.crew.tools.watched import ToolFault
from domain.crew.tools.web import HttpGet
from domain.errors import FailureCode, RunFailed
from domain.events import ToolCalled, ToolReturned
from domain.model.addresses import is_public
from domain.model.tool import Tool, ToolKind
from domain.ports import TaskWork
from tests.support.model_server import Text, ToolCall
from tests.unit.crew.conftest import LOOPBACK, Stage

Works = Callable[..., TaskWork]
Tools = Callable[..., Tool]


# ---------------------------------------------------------------- a small web site on loopback


class Site(BaseHTTPRequestHandler):
    """Answers /hello, /big, /jump/<n>, /away, /packed, /search and /serper."""

    seen: list[tuple[str, dict[str, str]]]

    def do_GET(self) -> None:
        self.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        if self.path.startswith("/jump/"):
            left = int(self.path.rpartition("/")[2])
            self.send_response(302)
            self.send_header("location", f"/jump/{left - 1}" if left else "/hello")
            self.end_headers()
        elif self.path == "/away":
            self.send_response(302)
            self.send_header("location", "http://169.254.169.254/latest/meta-data/")
            self.end_headers()
        elif self.path.startswith("/search"):
            results = [{"title": f"T{n}", "url": f"http://r{n}.example", "content": f"about {n}"} for n in range(3)]
            self._answer(json.dumps({"results": results}).encode())
        elif self.path == "/packed":
            self._answer(b"x", ("content-encoding", "gzip"))
        else:
            self._answer(b"x" * 2_000_000 if self.path == "/big" else b"Hello from the site.")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.seen.append((self.path + body, {name.lower(): value for name, value in self.headers.items()}))
        self._answer(json.dumps({"organic": [{"title": "S", "link": "http://s.example", "snippet": "short"}]}).encode())

    def _answer(self, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(200)
        for header in (("content-type", "text/plain"), ("content-length", str(len(body))), *headers):
            self.send_header(*header)
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:  # a client that has enough
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def site() -> Iterator[tuple[str, list[tuple[str, dict[str, str]]]]]:
    seen: list[tuple[str, dict[str, str]]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneSite", (Site,), {"seen": seen}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    server.server_close()
    thread.join()


# ---------------------------------------------------------------- each tool, used by a role in a run


async def used(stage: Stage, work: TaskWork, name: str, arguments: dict[str, Any]) -> str:
    """Lets the scripted model call the tool once; returns what went back to the model."""
    stage.server.script(ToolCall(name, arguments), Text("Done."))
    assert await stage.run(work) == "Done."
    [result] = stage.tool_results
    [called], [returned] = stage.journal.of(ToolCalled), stage.journal.of(ToolReturned)
    assert (called.tool, json.loads(called.arguments)) == (name, arguments)
    assert (returned.tool, returned.output) == (name, result[:2000])
    assert len(stage.journal.entries) == 2
    return result


async def test_a_role_calculates(stage: Stage, a_work: Works, a_tool: Tools) -> None:
    work = a_work(tools=[a_tool(ToolKind.CALCULATOR, "Pocket calculator")])

    result = await used(stage, work, "pocket_calculator", {"expression": "1250 * (1 + 0.08) ** 2"})

    [offered] = stage.server.requests[0].body["tools"]
    assert result == "1458"
    assert offered["function"]["name"] == "pocket_calculator"
    assert offered["function"]["parameters"]["properties"]["expression"]["type"] == "string"
    assert "arithmetic" in offered["function"]["description"]


async def test_a_role_opens_a_page(
    stage: Stage, a_work: Works, a_tool: Tools, site: tuple[str, list[tuple[str, dict[str, str]]]]
) -> None:
    work = a_work(tools=[a_tool(ToolKind.HTTP_GET, "http_get")])

    result = await used(stage, work, "http_get", {"url": site[0] + "/jump/2"})

    assert result == "HTTP 200\ntext/plain\n\nHello from the site."
    assert [path for path, _ in site[1]] == ["/jump/2", "/jump/1", "/jump/0", "/hello"]
    assert site[1][0][1]["host"] == site[0].removeprefix("http://")


@pytest.mark.parametrize("kind", [SearchKind.SEARXNG, SearchKind.SERPER])
async def test_a_role_searches_the_web(
    stage: Stage,
    settings_of: Callable[..., None],
    a_work: Works,
    a_tool: Tools,
    site: tuple[str, list[tuple[str, dict[str, str]]]],
    kind: SearchKind,
) -> None:
    settings_of(search_endpoint=site[0] + "/search", search_kind=kind, search_key="search-key")
    work = a_work(tools=[a_tool(ToolKind.WEB_SEARCH, "web_search")])

    result = await used(stage, work, "web_search", {"query": "boats & oars", "count": 2})

    [(path, headers)] = site[1]
    if kind is SearchKind.SEARXNG:
        assert result == "T0\nhttp://r0.example\nabout 0\n\nT1\nhttp://r1.example\nabout 1"
        assert path == "/search?q=boats+%26+oars&format=json"
        assert headers["authorization"] == "Bearer search-key"
    else:
        assert result == "S\nhttp://s.example\nshort"
        assert json.loads(path.removeprefix("/search")) == {"q": "boats & oars", "num": 2}
        assert headers["x-api-key"] == "search-key"


async def test_a_role_writes_and_reads_the_files_of_its_project(
    stage: Stage, a_work: Works, a_tool: Tools, files_dir: Path
) -> None:
    tools = [a_tool(ToolKind.FILE_WRITER, "file_writer"), a_tool(ToolKind.FILE_READER, "file_reader")]
    work = a_work(tools=tools)
    owner = work.ownership
    stage.server.script(
        ToolCall("file_writer", {"path": "notes/plan.md", "content": "# Plän"}),
        ToolCall("file_reader", {"path": "notes/plan.md"}),
        ToolCall("file_reader", {"path": "."}),
        Text("Done."),
    )

    await stage.run(work)

    assert stage.tool_results == ["Wrote 7 bytes to notes/plan.md.", "# Plän", "notes/"]
    written = files_dir / str(owner.tenant_id) / str(owner.project_id) / "notes" / "plan.md"
    assert written.read_text() == "# Plän"


@contextmanager
def an_mcp_server(transport: str) -> Iterator[str]:
    server = FastMCP("boats")

    @server.tool()
    def sails(boat: str) -> str:
        """How many sails a boat has."""
        return f"{boat}: 0"

    @server.tool()
    def rowers(boat: str, coxed: bool = False) -> str:
        """How many people sit in a boat."""
        if boat == "raft":
            raise ValueError("a raft has no rowers")
        return f"{boat}: {9 if coxed else 8}"

    app = server.streamable_http_app() if transport == "streamable-http" else server.sse_app()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    running = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    path = "mcp" if transport == "streamable-http" else "sse"
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/{path}"
    finally:
        running.should_exit = True
        thread.join()
        listener.close()


@pytest.mark.parametrize("transport", ["streamable-http", "sse"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_role_uses_the_tools_of_an_mcp_server(
    stage: Stage, a_work: Works, a_tool: Tools, transport: str
) -> None:
    with an_mcp_server(transport) as url:
        work = a_work(tools=[a_tool(ToolKind.MCP_SERVER, "Boats", url=url)])
        stage.server.script(
            ToolCall("rowers", {"boat": "eight", "coxed": True}),
            ToolCall("rowers", {"boat": "raft", "coxed": False}),
            Text("Done."),
        )

        output = await stage.run(work)

    offered, other = stage.server.requests[0].body["tools"]
    fine, wrong = stage.tool_results
    assert output == "Done."
    assert (offered["function"]["name"], other["function"]["name"]) == ("rowers", "sails")  # by name
    assert "How many people" in offered["function"]["description"]
    assert fine == "eight: 9"
    assert wrong.startswith("Error:")
    assert "a raft has no rowers" in wrong
    assert [event.is_error for event in stage.journal.of(ToolReturned)] == [False, True]


class BoatArguments(BaseModel):
    boat: str


class BoatTool(BaseTool):
    name: str = "boat tool"
    description: str = "Knows boats."
    prefix: str = ""

    args_schema: type[BaseModel] = BoatArguments

    def _run(self, boat: str) -> str:
        if boat == "wreck":
            raise OSError("/secret/path")
        return f"{self.prefix}{boat}"


@pytest.fixture
def crewai_tools_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("crewai_tools")
    module.BoatTool = BoatTool  # type: ignore[attr-defined] # a module made up here
    monkeypatch.setitem(sys.modules, "crewai_tools", module)


@pytest.mark.usefixtures("crewai_tools_installed")
async def test_a_role_uses_an_allowed_class_of_crewai_tools(
    stage: Stage, settings_of: Callable[..., None], a_work: Works, a_tool: Tools
) -> None:
    settings_of(crewai_tools=permitted_classes(["OtherTool", "BoatTool:prefix+name"]))
    tool = a_tool(ToolKind.CREWAI_TOOL, "boats", class_name="BoatTool", arguments={"prefix": "HMS "})

    assert await used(stage, a_work(tools=[tool]), "boats", {"boat": "Bounty"}) == "HMS Bounty"


@pytest.mark.usefixtures("crewai_tools_installed")
async def test_what_breaks_in_a_class_of_others_is_not_told(
    stage: Stage, settings_of: Callable[..., None], a_work: Works, a_tool: Tools
) -> None:
    settings_of(crewai_tools=permitted_classes(["BoatTool"]))
    work = a_work(tools=[a_tool(ToolKind.CREWAI_TOOL, "boats", class_name="BoatTool")])

    assert await used(stage, work, "boats", {"boat": "wreck"}) == "Error: the tool failed (OSError)."


# ---------------------------------------------------------------- tools that cannot be used


UNUSABLE: list[tuple[ToolKind, dict[str, Any], dict[str, Any], str]] = [
    (ToolKind.WEB_SEARCH, {}, {}, "no search engine is configured on this server."),
    (ToolKind.FILE_READER, {}, {}, "no directory for files is configured on this server."),
    (ToolKind.FILE_WRITER, {}, {}, "no directory for files is configured on this server."),
    (ToolKind.CREWAI_TOOL, {"class_name": "BoatTool"}, {}, "the class 'BoatTool' is not allowed on this server."),
    (
        ToolKind.CREWAI_TOOL,
        {"class_name": "BoatTool"},
        {"crewai_tools": {"BoatTool": frozenset()}},
        "the package crewai_tools is not installed on this server.",
    ),
    (
        ToolKind.CREWAI_TOOL,
        {"class_name": "BoatTool", "arguments": {"prefix": "HMS ", "name": "x"}},
        {"crewai_tools": {"BoatTool": frozenset({"name"})}},
        "the argument 'prefix' is not allowed on this server.",
    ),
    (
        ToolKind.CREWAI_TOOL,
        {"class_name": "BoatTool", "arguments": ["x"]},
        {"crewai_tools": {"BoatTool": frozenset()}},
        "its arguments are no object.",
    ),
]


@pytest.mark.parametrize(("kind", "configuration", "settings", "reason"), UNUSABLE, ids=lambda value: str(value)[:30])
async def test_a_tool_that_cannot_be_used_fails_the_task_before_any_call(
    stage: Stage,
    settings_of: Callable[..., None],
    a_work: Works,
    a_tool: Tools,
    kind: ToolKind,
    configuration: dict[str, Any],
    settings: dict[str, Any],
    reason: str,
) -> None:
    settings_of(**settings)

    with pytest.raises(RunFailed) as caught:
        await stage.run(a_work(tools=[a_tool(kind, **configuration)]))

    assert caught.value.code is FailureCode.TOOL_FAILED
    assert caught.value.message == f"The tool 'My tool' cannot be used: {reason}"
    assert stage.server.received == 0


async def test_an_mcp_server_on_a_private_address_is_not_asked(
    stage: Stage, settings_of: Callable[..., None], a_work: Works, a_tool: Tools
) -> None:
    settings_of(allowed_private_hosts=frozenset())
    work = a_work(tools=[a_tool(ToolKind.MCP_SERVER, url=stage.server.url)])

    with pytest.raises(RunFailed) as caught:
        await stage.run(work)

    assert caught.value.code is FailureCode.TOOL_FAILED
    assert "127.0.0.1 is not on the public internet; the operator can allow it with" in caught.value.message
    assert stage.server.received == 0


async def test_an_mcp_server_without_a_usable_url_is_a_typed_failure(
    stage: Stage, a_work: Works, a_tool: Tools
) -> None:
    with pytest.raises(RunFailed) as caught:
        await stage.run(a_work(tools=[a_tool(ToolKind.MCP_SERVER, url="http://[::1")]))

    assert caught.value.code is FailureCode.TOOL_FAILED
    assert caught.value.message == "The MCP server of the tool 'My tool' cannot be used: its url is no web address."


class HostileMcp(BaseHTTPRequestHandler):
    """Speaks just enough MCP to list one tool, with the schema and the description of its class."""

    schema: dict[str, Any]
    description: str
    packed: bool

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if "id" not in asked:
            self.send_response(202)
            self.end_headers()
            return
        listed = {"tools": [{"name": "t", "description": self.description, "inputSchema": self.schema}]}
        server = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}
        result = server if asked["method"] == "initialize" else listed
        body = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if self.packed:
            self.send_header("content-encoding", "gzip")
        self.end_headers()
        with suppress(OSError):  # a client that has enough
            self.wfile.write(body)

    def do_GET(self) -> None:
        self.send_response(405)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def a_hostile_mcp(schema: dict[str, Any], description: str = "", *, packed: bool = False) -> Iterator[str]:
    kind = type("Hostile", (HostileMcp,), {"schema": schema, "description": description, "packed": packed})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/mcp"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


FINE = {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("hostile", "reason"),
    [
        ({"schema": {"type": "object", "properties": {"a": 1}}}, "the arguments of 't' are described wrongly: "),
        ({"schema": {"properties": {"a": {"$ref": "file:///etc/hostname"}}}}, "it refers to another place."),
        ({"schema": FINE, "description": "x" * 1_000_001}, "the answer is larger than 1000000 bytes."),
        ({"schema": FINE, "packed": True}, "the answer is compressed, which was not asked for."),
    ],
    ids=["no schema", "elsewhere", "large", "packed"],
)
async def test_a_hostile_mcp_server_is_a_typed_failure(
    stage: Stage,
    settings_of: Callable[..., None],
    a_work: Works,
    a_tool: Tools,
    hostile: dict[str, Any],
    reason: str,
) -> None:
    settings_of(timeout_seconds=60)  # so that running into it would show

    with a_hostile_mcp(**hostile) as url, pytest.raises(RunFailed) as caught:
        await stage.run(a_work(tools=[a_tool(ToolKind.MCP_SERVER, url=url)]))

    assert caught.value.code is FailureCode.TOOL_FAILED
    assert reason in caught.value.message
    assert stage.server.received == 0


def nested(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        inner = {"type": "object", "properties": {"a": inner}}
    return inner


def doubling(levels: int) -> dict[str, Any]:
    twice = {f"d{n}": {"properties": {x: {"$ref": f"#/$defs/d{n + 1}"} for x in "ab"}} for n in range(levels)}
    return {"properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": {**twice, f"d{levels}": {"type": "string"}}}


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (nested(5_000), "it cannot be read"),
        (doubling(40), "too large"),
        ({"properties": {f"p{n}": {"type": "string"} for n in range(4_000)}}, "too large"),
        ({"properties": {"a": {"$ref": "http://127.0.0.1:9/x"}}}, "another place"),
        ({"properties": {"a": {"$ref": "#/%24defs/a"}}, "%24defs": {"a": {}}, "$defs": doubling(40)}, "another place"),
        ({"properties": {"a": {"$ref": "#/$defs/none"}}}, "cannot be read"),
        ({"properties": {"a": {"$ref": 5}}}, "another place"),
    ],
    ids=["nested", "doubling", "long", "elsewhere", "escaped", "dangling", "number"],
)
def test_a_hostile_schema_is_a_fault(schema: dict[str, Any], reason: str) -> None:
    with pytest.raises(ToolFault, match=reason):
        arguments_of("t", schema)


def test_a_schema_with_references_becomes_arguments() -> None:
    person = {"type": "object", "properties": {"name": {"type": "string"}, "boss": {"$ref": "#/$defs/Person"}}}
    schema = {"type": "object", "properties": {"who": {"$ref": "#/$defs/Person"}}, "$defs": {"Person": person}}

    made = arguments_of("t", schema).model_validate({"who": {"name": "Ada", "boss": {"name": "Eve"}}})

    assert made.model_dump(exclude_none=True)["who"]["name"] == "Ada"


async def test_wrong_arguments_go_back_to_the_model(stage: Stage, a_work: Works, a_tool: Tools) -> None:
    work = a_work(tools=[a_tool(ToolKind.CALCULATOR, "calculator")])

    result = await used(stage, work, "calculator", {"sum": "1+1"})

    assert result == "Error: wrong arguments. expression: Field required"


async def test_a_tool_without_a_name_in_ascii_is_named_by_its_kind(stage: Stage, a_work: Works, a_tool: Tools) -> None:
    work = a_work(tools=[a_tool(ToolKind.CALCULATOR, "計算機")])

    assert await used(stage, work, "calculator", {"expression": "1+1"}) == "2"


async def test_long_arguments_and_results_are_shortened_in_events(stage: Stage, a_work: Works, a_tool: Tools) -> None:
    work = a_work(tools=[a_tool(ToolKind.FILE_WRITER, "w"), a_tool(ToolKind.FILE_READER, "r")])
    stage.server.script(
        ToolCall("w", {"path": "a", "content": "x" * 5000}), ToolCall("r", {"path": "a"}), Text("Done.")
    )

    await stage.run(work)

    assert len(stage.journal.of(ToolCalled)[0].arguments) == 2000
    assert len(stage.journal.of(ToolReturned)[1].output) == 2000
    assert stage.tool_results[1] == "x" * 5000


# ---------------------------------------------------------------- the calculator's limits


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2+3*4", "14"),
        ("-(2**10)", "-1024"),
        ("sqrt(16)/2", "2"),
        ("0.1+0.2", "0.3"),
        ("7//2 + 7%4", "6"),
        ("max(1, round(2.6))", "3"),
    ],
)
def test_expressions_have_their_value(expression: str, value: str) -> None:
    assert calculate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "9**9**9",
        "10**100000",
        "1e308*10",
        "(-8)**0.5",
        "1/0",
        "0**-1",
        "1<<9",
        "'a'*9",
        "True+1",
        "x",
        "abs",
        "__import__('os')",
        "(1).real",
        "[1][0]",
        "round(1, ndigits=3)",
        "max()",
        "sqrt(-1)",
        "exp(10000)",
        "1 1",
        "",
        "(" * 500 + ")" * 500,
        "round(12345678901234567890, -10**9)",
    ],
)
def test_anything_else_is_a_fault(expression: str) -> None:
    with pytest.raises(ToolFault):
        calculate(expression)


# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "224.0.0.1", "240.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254",
        "fec0::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::", "64:ff9b::7f00:1",
        "198.18.0.1", "192.0.2.1", "168.63.129.16", "192.0.0.192", "100.100.100.200", "3fff::1", "::ffff:168.63.129.16",
        "64:ff9b:1::7f00:1",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_recognised(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34"])
def test_a_public_address_is_recognised(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://localhost/", "http://2130706433/", "http://0x7f000001/", "http://127.1/",
        "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://0/", "ftp://example.com/", "file:///etc/passwd",
        "http:///x", "gopher://127.0.0.1/",
    ],
)  # fmt: skip
def test_a_private_or_strange_url_is_not_opened(url: str) -> None:
    with pytest.raises(ToolFault):
        HttpGet(ToolSettings())(url)


def test_a_name_is_resolved_once_and_the_connection_goes_to_that_address(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [[(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 443))]]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers.pop())

    pinned = AddressGuard().pinned(httpx.Request("GET", "https://example.com/a?b=c"))

    assert str(pinned.url) == "https://93.184.216.34/a?b=c"
    assert pinned.headers["host"] == "example.com"
    assert pinned.extensions["sni_hostname"] == "example.com"


def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("93.184.216.34", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    with pytest.raises(ToolFault, match="not on the public internet"):
        AddressGuard().checked_address(httpx.URL("http://example.com/"))


@pytest.mark.parametrize(
    ("allowed", "url", "is_open"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080/", True),
        ("127.0.0.1:8080", "http://127.0.0.1:8080/", True),
        ("127.0.0.1:8080", "http://127.0.0.1/", False),
        ("127.0.0.1:80", "http://127.0.0.1/", True),
        ("127.0.0.1:443", "https://127.0.0.1/", True),
        ("LOCALHOST:8080", "http://localhost:8080/", True),
        ("localhost:8080", "http://localhost:8081/", False),
        ("::1", "http://[::1]:9/", True),
        ("[::1]", "http://[::1]:9/", True),
        ("[::1]:8080", "http://[::1]:8080/", True),
        ("[::1]:8080", "http://[::1]:9/", False),
        ("127.0.0.1:x", "http://127.0.0.1/", False),
    ],
)
def test_a_private_host_is_open_on_the_ports_that_are_named(allowed: str, url: str, *, is_open: bool) -> None:
    guard = AddressGuard([allowed])
    if is_open:
        assert ipaddress.ip_address(guard.checked_address(httpx.URL(url))).is_loopback
    else:
        with pytest.raises(ToolFault, match="not on the public internet"):
            guard.checked_address(httpx.URL(url))


HOW_TO_ALLOW = "the operator can allow it with REGATTA_ALLOWED_PRIVATE_HOSTS"
OPEN = ToolSettings(allowed_private_hosts=LOOPBACK, timeout_seconds=30)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "/away",
            f"the host 169.254.169.254 is not on the public internet; {HOW_TO_ALLOW}.",
        ),
        ("/jump/9", "more than 5 redirects."),
        ("/big", "the answer is larger than 1000000 bytes."),
        ("/packed", "the answer is compressed, which was not asked for."),
    ],
)
def test_a_page_has_its_limits(site: tuple[str, list[Any]], path: str, message: str) -> None:
    with pytest.raises(ToolFault) as caught:
        HttpGet(OPEN)(site[0] + path)

    assert str(caught.value) == message


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    "path", ["../x", "a/../../x", "/etc/passwd", "a\x00b", "a\\..\\b", "~/../../x", "a/" * 11 + "b"]
)
def test_a_path_out_of_the_project_is_refused(tmp_path: Path, path: str) -> None:
    files = ProjectFiles(tmp_path / "project", ToolSettings())

    with pytest.raises(ToolFault):
        files.read(path)
    with pytest.raises(ToolFault):
        files.write(path, "x")

    assert list(tmp_path.iterdir()) in ([], [tmp_path / "project"])


def test_no_link_is_followed(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "project"
    outside.mkdir()
    root.mkdir()
    (outside / "secret").write_text("secret")
    (root / "file").symlink_to(outside / "secret")
    (root / "folder").symlink_to(outside)
    files = ProjectFiles(root, ToolSettings())

    for path in ("file", "folder", "folder/secret"):
        with pytest.raises(ToolFault):
            files.read(path)
        with pytest.raises(ToolFault):
            files.write(path, "changed")

    assert (outside / "secret").read_text() == "secret"


def test_files_have_their_limits(tmp_path: Path) -> None:
    files = ProjectFiles(tmp_path / "project", ToolSettings(max_bytes=10, max_project_bytes=15))

    files.write("a", "x" * 10)
    with pytest.raises(ToolFault, match="too much room"):
        files.write("b", "x" * 6)
    with pytest.raises(ToolFault, match="larger than 10 bytes"):
        files.write("b", "x" * 11)
    (tmp_path / "project" / "c").write_text("x" * 11)
    with pytest.raises(ToolFault, match="larger than 10 bytes"):
        files.read("c")

    assert not (tmp_path / "project" / "b").exists()


def test_a_pipe_or_a_missing_file_is_a_fault_without_the_server_s_path(tmp_path: Path) -> None:
    files = ProjectFiles(tmp_path, ToolSettings())
    os.mkfifo(tmp_path / "pipe")

    for path in ("pipe", "missing", "pipe/x"):
        with pytest.raises(ToolFault) as caught:
            files.read(path)
        assert str(tmp_path) not in str(caught.value)


def test_writing_replaces_the_whole_file(tmp_path: Path) -> None:
    files = ProjectFiles(tmp_path, ToolSettings())

    files.write("a", "long text")
    files.write("a", "new")

    assert files.read("a") == "new"


def test_a_file_is_not_counted_twice_when_it_is_replaced(tmp_path: Path) -> None:
    files = ProjectFiles(tmp_path, ToolSettings(max_project_bytes=15, max_project_files=1))

    files.write("a", "x" * 10)
    files.write("a", "y" * 15)

    assert files.read("a") == "y" * 15


def test_files_and_folders_are_counted(tmp_path: Path) -> None:
    files = ProjectFiles(tmp_path, ToolSettings(max_project_files=3))

    files.write("a/b", "")
    files.write("c", "")

    for path in ("d", "e/f"):
        with pytest.raises(ToolFault, match="this project has 3 files and folders already"):
            files.write(path, "")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "c"]


def test_a_file_is_never_seen_half_written(tmp_path: Path) -> None:
    files = ProjectFiles(tmp_path, ToolSettings())
    files.write("a", "old")

    with (tmp_path / "a").open() as reader:
        files.write("a", "new")
        assert reader.read() == "old"

    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_cannot_be_replaced_leaves_no_draft(tmp_path: Path) -> None:
    files = ProjectFiles(tmp_path, ToolSettings())
    (tmp_path / "folder").mkdir()

    for path in ("folder", "n" * 256):
        with pytest.raises(ToolFault):
            files.write(path, "x")

    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_the_key_of_the_search_engine_is_not_shown() -> None:
    assert "hidden" not in repr(ToolSettings(search_key="hidden"))
