"""Keeps tools away from private networks: names are resolved here, and connections go to the address checked.

Checking a name and then connecting by name would resolve twice, and the second answer may be another one. So the
transports below put the checked address into the request, and leave the name in the Host header and in TLS.
"""

import asyncio
import ssl
from collections.abc import Collection
from functools import lru_cache
from typing import Final

import httpx

from domain.crew.tools.watched import ToolFault
from domain.model.addresses import HostRefused, PrivateHosts

_SCHEMES: Final = frozenset({"http", "https"})


class AddressGuard:
    """Decides where tools may connect to.

    Of the `allowed_private_hosts`, `host` stands for any port of it and `host:port` for that one; an IPv6 address
    with a port is written `[address]:port`.
    """

    def __init__(self, allowed_private_hosts: Collection[str] = ()) -> None:
        self._private = PrivateHosts(allowed_private_hosts)

    def checked_address(self, url: httpx.URL) -> str:
        """An address to connect to for this URL; blocks while the name is resolved.

        Raises:
            ToolFault: the scheme is another one than http(s), the name does not resolve, or an address is private.
        """
        host = _name_in(url)
        if url.scheme not in _SCHEMES or not host:
            raise ToolFault("only http and https addresses can be opened.")
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            return str(self._private.checked_address(host, port))
        except HostRefused as refused:
            raise ToolFault(str(refused)) from None
        except (OSError, UnicodeError) as error:
            raise ToolFault(f"the host {host[:100]} cannot be found.") from error

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


@lru_cache(maxsize=2)
def tls_context(*, trust_env: bool = False) -> ssl.SSLContext:
    """The one that all connections share, for it takes long to make: first in a thread, then wherever.

    With `trust_env`, the authorities are those of SSL_CERT_FILE or SSL_CERT_DIR, where one is set.
    """
    return httpx.create_ssl_context(trust_env=trust_env)


def guarded_client(guard: AddressGuard, timeout_seconds: float) -> httpx.AsyncClient:
    """A client for addresses that tenants name: each connection is checked, no redirect is followed, no proxy is used.

    A request raises ToolFault for an address that is not public, from inside httpx: look for it in the causes too.
    """
    transport = AsyncGuardedTransport(guard)
    return httpx.AsyncClient(transport=transport, timeout=timeout_seconds, follow_redirects=False, trust_env=False)


def _name_in(url: httpx.URL) -> str:
    """The host as DNS and certificates know it: in ASCII, for Python would encode some letters as another name."""
    return url.raw_host.decode("ascii").lower().rstrip(".")


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
            context = await asyncio.to_thread(tls_context)
            self._by_name.setdefault(name, httpx.AsyncHTTPTransport(verify=context, trust_env=False))
        return await self._by_name[name].handle_async_request(pinned)

    async def aclose(self) -> None:
        for transport in self._by_name.values():
            await transport.aclose()
