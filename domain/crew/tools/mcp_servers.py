"""The tools of MCP servers by URL: listed when a task begins, called over the guarded transport.

Every listing and every call opens a session of its own, in the thread that needs it: a server that keeps state
between calls of one session is not served well, and a broken session never outlives its call.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

import httpx
from mcp import ClientSession
from mcp import Tool as Listed
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from pydantic import BaseModel

from domain.crew.tools.addresses import AddressGuard, AsyncGuardedTransport
from domain.crew.tools.schemas import arguments_of
from domain.crew.tools.settings import ToolSettings
from domain.crew.tools.watched import ToolFault
from domain.errors import FailureCode, RunFailed
from domain.model.tool import Tool
from domain.ports import ToolSecret

T = TypeVar("T")
MAX_TOOLS: Final = 50
MAX_PAGES: Final = 5
MAX_DESCRIPTION: Final = 2_000
SSE: Final = "sse"


@dataclass(frozen=True, slots=True)
class ServerTool:
    """One tool of a server."""

    name: str
    description: str
    arguments: type[BaseModel]
    act: Callable[..., str]


@dataclass(frozen=True, slots=True)
class McpServer:
    """A server: `transport` is "streamable-http" or "sse"; a URL that ends in /sse means the latter."""

    name: str
    url: str
    transport: str
    settings: ToolSettings
    secret: ToolSecret | None = None

    @classmethod
    def of(cls, tool: Tool, settings: ToolSettings, secret: ToolSecret | None = None) -> "McpServer":
        """The server of a tool. Raises RunFailed with TOOL_FAILED when its url is none."""
        url = str(tool.configuration.get("url", ""))
        try:
            path = httpx.URL(url).path
        except httpx.InvalidURL as error:
            message = f"The MCP server of the tool {tool.name!r} cannot be used: its url is no web address."
            raise RunFailed(FailureCode.TOOL_FAILED, message) from error
        otherwise = SSE if path.rstrip("/").endswith("/sse") else "streamable-http"
        return cls(tool.name, url, str(tool.configuration.get("transport", otherwise)), settings, secret)

    def tools(self) -> list[ServerTool]:
        """What the server offers. Raises RunFailed with TOOL_FAILED when it cannot be asked."""
        try:
            # Sorted, for the journal knows a model call by what it offers, and servers list in any order.
            offered = sorted(self._finished(self._list), key=lambda listed: listed.name)
            return [self._tool(listed) for listed in offered[:MAX_TOOLS]]
        except ToolFault as fault:
            message = f"The MCP server of the tool {self.name!r} cannot be used: {self._discreet(str(fault))}"
            raise RunFailed(FailureCode.TOOL_FAILED, message, retryable=True) from fault

    def _tool(self, listed: Listed) -> ServerTool:
        listed = self._discreetly(listed)
        arguments = arguments_of(listed.name, listed.inputSchema)
        description = (listed.description or listed.name)[:MAX_DESCRIPTION]

        def act(**given: Any) -> str:
            # What the model left out is absent for the server too, not null.
            present = {name: _plain(value) for name, value in given.items() if value is not None}
            return self._finished(partial(self._call, listed.name, present))

        return ServerTool(listed.name, description, arguments, act)

    def _finished(self, work: "_Work[T]") -> T:
        try:
            return asyncio.run(self._in_time(work))
        except ToolFault:
            raise
        except BaseExceptionGroup as group:
            raise _fault_in(group) from group
        except Exception as error:
            raise ToolFault("the MCP server cannot be reached or does not speak the protocol.") from error

    async def _in_time(self, work: "_Work[T]") -> T:
        allowance: _Allowance | None = None
        try:
            async with asyncio.timeout(self.settings.timeout_seconds) as deadline:
                allowance = _Allowance(deadline, self.settings.max_bytes)
                return await work(allowance)
        except BaseException as error:
            if allowance and allowance.overdrawn:
                raise ToolFault(allowance.overdrawn) from error
            if isinstance(error, TimeoutError):
                raise ToolFault(f"no answer within {self.settings.timeout_seconds:g} seconds.") from error
            raise

    async def _list(self, allowance: "_Allowance") -> Sequence[Listed]:
        found: list[Listed] = []
        async with self._session(allowance) as session:
            cursor: str | None = None
            for _ in range(MAX_PAGES):
                page = await session.list_tools(cursor)
                found += page.tools
                cursor = page.nextCursor
                if cursor is None:
                    break
        return found

    async def _call(self, name: str, arguments: dict[str, Any], allowance: "_Allowance") -> str:
        async with self._session(allowance) as session:
            result = await session.call_tool(name, arguments)
        texts = [self._discreet(str(getattr(part, "text", f"[{part.type}]"))) for part in result.content]
        if result.isError:
            raise ToolFault("\n".join(texts) or "the tool of the MCP server failed.")
        return "\n".join(texts)

    @asynccontextmanager
    async def _session(self, allowance: "_Allowance") -> AsyncIterator[ClientSession]:
        seconds = self.settings.timeout_seconds
        async with (
            self._streams(allowance) as (receive, send),
            ClientSession(receive, send, timedelta(seconds=seconds)) as session,
        ):
            await session.initialize()
            yield session

    @asynccontextmanager
    async def _streams(self, allowance: "_Allowance") -> AsyncIterator[tuple[Any, Any]]:
        made = partial(self._client, allowance)
        if self.transport == SSE:
            async with sse_client(self.url, httpx_client_factory=made) as streams:
                yield streams
        else:
            async with (
                made() as client,
                streamable_http_client(self.url, http_client=client) as (receive, send, _),
            ):
                yield receive, send

    def _client(
        self,
        allowance: "_Allowance",
        headers: dict[str, str] | None = None,
        timeout: httpx.Timeout | None = None,
        auth: httpx.Auth | None = None,
    ) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=_BoundedTransport(AddressGuard(self.settings.allowed_private_hosts), allowance, self.secret),
            headers={**(headers or {}), "accept-encoding": "identity"},  # what is packed is larger than it seems
            timeout=timeout or self.settings.timeout_seconds,
            auth=auth,
            trust_env=False,
        )

    def _discreetly(self, listed: Listed) -> Listed:
        if self.secret is None:
            return listed
        try:
            return Listed.model_validate_json(self._discreet(listed.model_dump_json()))
        except ValueError as error:
            raise ToolFault("what it says of its tools cannot be read.") from error

    def _discreet(self, text: str) -> str:
        """The text of a server without our secret, should it repeat that: texts go to the model and into events."""
        whole = self.secret.secret if self.secret else ""
        for part in (whole, *sorted(whole.split(), key=len, reverse=True)):
            if len(part) >= _TELLING:
                text = text.replace(part, "…").replace(json.dumps(part)[1:-1], "…")
        return text


_TELLING: Final = 8
"""So much of a secret tells something: shorter parts, like “Bearer”, are words that any text may have."""


class _Allowance:
    """How much one use of a server may bring in; `overdrawn` says what was too much, and its deadline is now then."""

    def __init__(self, deadline: asyncio.Timeout, max_bytes: int) -> None:
        self._deadline = deadline
        self._max_bytes = max_bytes
        self._taken = 0
        self.overdrawn: str | None = None

    def take(self, size: int) -> None:
        """Count what came in. Raises ToolFault when it is too much."""
        self._taken += size
        if self._taken > self._max_bytes:
            self.refuse(f"the answer is larger than {self._max_bytes} bytes.")

    def refuse(self, reason: str) -> None:
        """End the use, also where the protocol's own code would swallow an error and wait. Raises ToolFault."""
        if self.overdrawn is None and not self._deadline.expired():
            self._deadline.reschedule(0)
        self.overdrawn = reason
        raise ToolFault(reason)


_Work: TypeAlias = Callable[[_Allowance], Coroutine[Any, Any, T]]


class _BoundedTransport(AsyncGuardedTransport):
    """A guarded transport that brings in no more than it is allowed to, and sends a secret to its own origin alone."""

    def __init__(self, guard: AddressGuard, allowance: _Allowance, secret: ToolSecret | None) -> None:
        super().__init__(guard)
        self._allowance = allowance
        self._secret = secret

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        # Here and not on the client, which would take it along to wherever it is sent next.
        if self._secret and _origin(request.url) == _origin(httpx.URL(self._secret.url)):
            request.headers[self._secret.header] = self._secret.secret
        response = await super().handle_async_request(request)
        if isinstance(response.stream, httpx.AsyncByteStream):
            response.stream = _BoundedStream(response.stream, self._allowance)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            self._allowance.refuse("the answer is compressed, which was not asked for.")
        return response


class _BoundedStream(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream, allowance: _Allowance) -> None:
        self._inner = inner
        self._allowance = allowance

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            self._allowance.take(len(chunk))
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port  # None: the scheme's own, which httpx leaves out


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _fault_in(group: BaseExceptionGroup[BaseException]) -> ToolFault:
    for error in group.exceptions:
        if isinstance(error, ToolFault):
            return error
        if isinstance(error, BaseExceptionGroup):
            return _fault_in(error)
    return ToolFault("the MCP server cannot be reached or does not speak the protocol.")
