"""Clients for the keys and servers of tenants: nothing of the operator's environment goes with them.

OpenAI's SDK and LiteLLM add what they find there: keys, organization, project, further headers, another address.
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import openai

from domain.crew.tools.addresses import AddressGuard, AsyncGuardedTransport, tls_context

MOST_CLIENTS: Final = 100
"""Kept open at a time, unless more of them are in use."""

MOST_BYTES: Final = 16_000_000
"""Of one answer of a tenant's server, with all that is around a stream's words."""

MOST_EVENT_BYTES: Final = 1_000_000
MOST_EVENT_LINES: Final = 1_000
"""Of one event of its stream: the SDK puts its lines together, and reads it, while the loop waits."""

TRANSPORT_SECONDS: Final = 86_400.0
"""The limit given to clients: that of a call is kept around it, and LiteLLM makes a new client for each other one."""

CONNECT_SECONDS: Final = 20.0
"""How long a tenant's server may take to accept a connection: who is not there is known before the call is over."""

NO_KEY: Final = "none"
"""What a server that asks for no key is given, for the SDK would look into the environment."""

_TIMEOUT: Final = httpx.Timeout(TRANSPORT_SECONDS, connect=CONNECT_SECONDS)
_PIECE_BYTES: Final = 16_384
_EVENT_END: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")  # the SDK's
_SENT: Final = ("host", "content-type", "content-length", "transfer-encoding", "accept", "connection")

OPERATORS_ADDRESSES: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "openai": (("OPENAI_BASE_URL", "OPENAI_API_BASE"), "https://api.openai.com/v1"),
    "perplexity": (("PERPLEXITY_API_BASE",), "https://api.perplexity.ai"),
}
"""The providers that LiteLLM asks through OpenAI's SDK: the variables with their addresses, in its order, and what
they are without."""


class OpenAIClients:
    """Clients by address and key, the last used ones kept; on one loop."""

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard
        self._kept: dict[tuple[str | None, str, str], _Kept] = {}

    @asynccontextmanager
    async def lent(
        self, base_url: str | None, key: str | None, provider: str = "openai"
    ) -> AsyncIterator[openai.AsyncOpenAI]:
        """A client for the time of one call: to a tenant's own server, or to where the operator's calls go."""
        name = (base_url, key or NO_KEY, provider)
        if base_url is None:
            await asyncio.to_thread(tls_context, trust_env=True)  # or the loop would wait while the client is made
        kept = self._kept.pop(name, None) or _Kept(self._made(*name))
        self._kept[name] = kept  # the last one is the last used
        kept.users += 1
        try:
            await self._let_go()
            yield kept.client
        finally:
            kept.users -= 1

    async def close(self) -> None:
        """Close all of them."""
        kept = list(self._kept.values())
        self._kept.clear()
        for one in kept:
            await one.client.close()

    async def _let_go(self) -> None:
        idle = [name for name, kept in self._kept.items() if not kept.users]
        surplus = [self._kept.pop(name) for name in idle[: max(len(self._kept) - MOST_CLIENTS, 0)]]
        for kept in surplus:
            await kept.client.close()

    def _made(self, base_url: str | None, key: str, provider: str) -> openai.AsyncOpenAI:
        return _TenantsClient(
            api_key=key,
            base_url=base_url or _operators_address(provider),
            max_retries=0,
            timeout=_TIMEOUT,
            http_client=_operators_client() if base_url is None else _own_server_client(self._guard, key),
        )


class _TenantsClient(openai.AsyncOpenAI):
    """Sends a key and nothing else of who asks."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.admin_api_key = None
        self._custom_headers = {}  # those of OPENAI_CUSTOM_HEADERS, which no argument switches off

    @property
    def default_headers(self) -> dict[str, str | openai.Omit]:
        # Here, for LiteLLM sets the operator's organization on a client that it is given.
        return {**super().default_headers, "OpenAI-Organization": openai.omit, "OpenAI-Project": openai.omit}


class _Kept:
    def __init__(self, client: openai.AsyncOpenAI) -> None:
        self.client = client
        self.users = 0


def _operators_address(provider: str) -> str:
    variables, usual = OPERATORS_ADDRESSES[provider]
    return next(filter(None, map(os.environ.get, variables)), usual)


def _operators_client() -> httpx.AsyncClient:
    return openai.DefaultAsyncHttpxClient(verify=tls_context(trust_env=True), timeout=_TIMEOUT)


def _own_server_client(guard: AddressGuard, key: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=_OwnServerTransport(guard, key), follow_redirects=False, timeout=_TIMEOUT, trust_env=False
    )


class _OwnServerTransport(AsyncGuardedTransport):
    """Tells a tenant's server what it needs to know and nothing else, and takes no more than an answer can be."""

    def __init__(self, guard: AddressGuard, key: str) -> None:
        super().__init__(guard)
        self._key = key

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        headers = {name: request.headers[name] for name in _SENT if name in request.headers}
        headers |= {"authorization": f"Bearer {self._key}", "accept-encoding": "identity", "user-agent": "regatta"}
        bare = httpx.Request(
            request.method, request.url, headers=headers, stream=request.stream, extensions=request.extensions
        )
        response = await super().handle_async_request(bare)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()  # a few packed bytes can be more than the memory holds
            raise httpx.DecodingError("The answer is packed, which was not asked for.", request=request)
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=_Limited(response, request),
            extensions=response.extensions,
        )


class _Limited(httpx.AsyncByteStream):
    """The bytes of a response, up to the limits; in pieces, between which others have their turn."""

    def __init__(self, response: httpx.Response, request: httpx.Request) -> None:
        self._response = response
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = _Size()
        async for data in self._response.aiter_raw():
            if size.is_exceeded_with(data):
                raise httpx.DecodingError("The answer is too long.", request=self._request)
            for start in range(0, len(data), _PIECE_BYTES):
                yield data[start : start + _PIECE_BYTES]
                await asyncio.sleep(0)

    async def aclose(self) -> None:
        await self._response.aclose()


class _Size:
    """What has come of an answer, and of its event that has not ended yet."""

    def __init__(self) -> None:
        self._bytes = 0
        self._event_bytes = 0
        self._event_lines = 0
        self._ends_with_return = False
        self._tail = b""

    def is_exceeded_with(self, data: bytes) -> bool:
        """Take what has come now; whether that is more than there may be."""
        self._bytes += len(data)
        seen, start = self._tail + data, len(self._tail)
        for end in _EVENT_END.finditer(seen):
            if self._is_too_long_with(seen[start : end.end()]):
                return True
            self._event_bytes = self._event_lines = 0
            start = end.end()
        if self._is_too_long_with(seen[start:]):
            return True
        self._tail = seen[len(seen) - min(3, self._event_bytes) :]  # of the same event: an end may come in two parts
        return self._bytes > MOST_BYTES

    def _is_too_long_with(self, part: bytes) -> bool:
        self._event_bytes += len(part)
        is_cut = self._ends_with_return and part.startswith(b"\n")  # one end of a line, in two pieces
        self._event_lines += part.count(b"\n") + part.count(b"\r") - part.count(b"\r\n") - is_cut
        self._ends_with_return = part.endswith(b"\r") if part else self._ends_with_return
        return self._event_bytes > MOST_EVENT_BYTES or self._event_lines > MOST_EVENT_LINES
