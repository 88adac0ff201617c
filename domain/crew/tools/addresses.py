"""Keeps tools away from private networks: names are resolved here, and connections go to the address checked.

Checking a name and then connecting by name would resolve twice, and the second answer may be another one. So the
transports below put the checked address into the request, and leave the name in the Host header and in TLS.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Collection
from typing import Final

import httpx

from domain.crew.tools.watched import ToolFault

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_ALSO_PRIVATE: Final = tuple(
    map(
        ipaddress.ip_network,
        # Metadata services of clouds, on addresses that no registry marks as private; documentation; local NAT64.
        ("168.63.129.16/32", "192.0.0.192/32", "100.100.100.200/32", "fd00:ec2::/32", "3fff::/20", "64:ff9b:1::/48"),
    )
)
_SCHEMES: Final = frozenset({"http", "https"})


def is_public(address: Address) -> bool:
    """Whether the address belongs to the public internet, also where it carries an IPv4 address inside."""
    if isinstance(address, ipaddress.IPv6Address):
        inside = _carried(address)
        if inside is not None:
            return is_public(inside)
        if address.is_site_local:
            return False
    if any(address in network for network in _ALSO_PRIVATE):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


class AddressGuard:
    """Decides where tools may connect to.

    Of the `allowed_private_hosts`, `host` stands for any port of it and `host:port` for that one; an IPv6 address
    with a port is written `[address]:port`.
    """

    def __init__(self, allowed_private_hosts: Collection[str] = ()) -> None:
        self._allowed = frozenset(map(_host_and_port, allowed_private_hosts))

    def checked_address(self, url: httpx.URL) -> str:
        """An address to connect to for this URL; blocks while the name is resolved.

        Raises:
            ToolFault: the scheme is another one than http(s), the name does not resolve, or an address is private.
        """
        host = _name_in(url)
        if url.scheme not in _SCHEMES or not host:
            raise ToolFault("only http and https addresses can be opened.")
        port = url.port or (443 if url.scheme == "https" else 80)
        found = _resolve(host, port)
        for address in found:
            if not (is_public(address) or self._is_allowed(host, port) or self._is_allowed(str(address), port)):
                raise ToolFault(f"the host {host[:100]} is not on the public internet.")
        return str(found[0])

    def _is_allowed(self, host: str, port: int) -> bool:
        return not self._allowed.isdisjoint({(host, None), (host, port)})

    def pinned(self, request: httpx.Request) -> httpx.Request:
        """The request, to be sent to the checked address under its own name."""
        address = self.checked_address(request.url)
        headers = httpx.Headers(request.headers)
        headers["host"] = request.url.netloc.decode()
        return httpx.Request(
            request.method,
            request.url.copy_with(host=address),
            headers=headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": _name_in(request.url)},
        )


def guarded_client(guard: AddressGuard, timeout_seconds: float) -> httpx.AsyncClient:
    """A client for addresses that tenants name: each connection is checked, no redirect is followed, no proxy is used.

    A request raises ToolFault for an address that is not public, from inside httpx: look for it in the causes too.
    """
    transport = AsyncGuardedTransport(guard)
    return httpx.AsyncClient(transport=transport, timeout=timeout_seconds, follow_redirects=False, trust_env=False)


def _host_and_port(entry: str) -> tuple[str, int | None]:
    entry = entry.lower()
    host, _, port = entry.rpartition(":")
    has_port = port.isascii() and port.isdecimal() and (":" not in host or host.endswith("]"))
    name = host if has_port else entry
    return name.removeprefix("[").removesuffix("]").rstrip("."), int(port) if has_port else None


def _name_in(url: httpx.URL) -> str:
    """The host as DNS and certificates know it: in ASCII, for Python would encode some letters as another name."""
    return url.raw_host.decode("ascii").lower().rstrip(".")


def _resolve(host: str, port: int) -> list[Address]:
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ToolFault(f"the host {host[:100]} cannot be found.") from error
    # A scope id ("fe80::1%eth0") marks a link-local address; without it, the check sees just that.
    return [ipaddress.ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers]


class GuardedTransport(httpx.HTTPTransport):
    """A blocking transport that asks the guard before each request, redirected ones included."""

    def __init__(self, guard: AddressGuard) -> None:
        # No connection is used twice: behind a redirect, it may have been opened for another name at the same address.
        super().__init__(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
        self._guard = guard

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return super().handle_request(self._guard.pinned(request))


class AsyncGuardedTransport(httpx.AsyncBaseTransport):
    """The same for a loop; names are resolved in a thread.

    Each name has connections of its own: httpx knows only addresses here, and the certificate of one that is reused
    was checked for the name for which it was opened. Meant for one server, so there are few.
    """

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard
        self._by_name: dict[str, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        pinned = await asyncio.to_thread(self._guard.pinned, request)
        name = _name_in(request.url)
        if name not in self._by_name:
            self._by_name[name] = httpx.AsyncHTTPTransport(trust_env=False)
        return await self._by_name[name].handle_async_request(pinned)

    async def aclose(self) -> None:
        for transport in self._by_name.values():
            await transport.aclose()
