"""Clients for the keys and servers of tenants: nothing of the operator's environment goes with them.

OpenAI's SDK and LiteLLM add what they find there: keys, organization, project, further headers, another address.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import openai

from domain.crew.tools.addresses import AddressGuard, AsyncGuardedTransport

MOST_CLIENTS: Final = 100
"""Kept open at a time, unless more of them are in use."""

MOST_BYTES: Final = 64_000_000
"""Of one answer of a tenant's server, with all that is around a stream's words."""

TRANSPORT_SECONDS: Final = 86_400.0
"""The limit given to clients: that of a call is kept around it, and LiteLLM makes a new client for each other one."""

NO_KEY: Final = "none"
"""What a server that asks for no key is given, for the SDK would look into the environment."""

_SENT: Final = ("host", "content-type", "content-length", "transfer-encoding", "accept", "connection")


class OpenAIClients:
    """Clients by address and key, the last used ones kept; on one loop."""

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard
        self._kept: dict[tuple[str | None, str], _Kept] = {}

    @asynccontextmanager
    async def lent(self, base_url: str | None, key: str | None) -> AsyncIterator[openai.AsyncOpenAI]:
        """A client for the time of one call: to a tenant's own server, or with its key to where the operator's go."""
        name = (base_url, key or NO_KEY)
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

    def _made(self, base_url: str | None, key: str) -> openai.AsyncOpenAI:
        http = None if base_url is None else _own_server_client(self._guard, key)
        return _TenantsClient(
            api_key=key,
            base_url=base_url or _operators_address(),
            max_retries=0,
            timeout=TRANSPORT_SECONDS,
            http_client=http,
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


def _operators_address() -> str:
    """Where models of OpenAI are reached from here; the order is LiteLLM's."""
    return os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE") or "https://api.openai.com/v1"


def _own_server_client(guard: AddressGuard, key: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=_OwnServerTransport(guard, key), follow_redirects=False, timeout=TRANSPORT_SECONDS, trust_env=False
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
    """The bytes of a response, up to the limit."""

    def __init__(self, response: httpx.Response, request: httpx.Request) -> None:
        self._response = response
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        taken = 0
        async for data in self._response.aiter_raw():
            taken += len(data)
            if taken > MOST_BYTES:
                raise httpx.DecodingError("The answer is too long.", request=self._request)
            yield data

    async def aclose(self) -> None:
        await self._response.aclose()
