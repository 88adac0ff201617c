"""The tools of MCP servers by URL: listed when a task begins, called over the guarded transport.

Every listing and every call opens a session of its own, in the thread that needs it: a server that keeps state
between calls of one session is not served well, and a broken session never outlives its call.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar

import httpx
from crewai.utilities.pydantic_schema_utils import create_model_from_schema
from mcp import ClientSession
from mcp import Tool as Listed
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from pydantic import BaseModel

from domain.crew.tools.addresses import AddressGuard, AsyncGuardedTransport
from domain.crew.tools.settings import ToolSettings
from domain.crew.tools.watched import ToolFault
from domain.errors import FailureCode, RunFailed
from domain.model.tool import Tool

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

    @classmethod
    def of(cls, tool: Tool, settings: ToolSettings) -> "McpServer":
        url = str(tool.configuration.get("url", ""))
        otherwise = SSE if httpx.URL(url).path.rstrip("/").endswith("/sse") else "streamable-http"
        return cls(tool.name, url, str(tool.configuration.get("transport", otherwise)), settings)

    def tools(self) -> list[ServerTool]:
        """What the server offers. Raises RunFailed with TOOL_FAILED when it cannot be asked."""
        try:
            return [self._tool(listed) for listed in self._finished(self._list())[:MAX_TOOLS]]
        except ToolFault as fault:
            message = f"The MCP server of the tool {self.name!r} cannot be used: {fault}"
            raise RunFailed(FailureCode.TOOL_FAILED, message, retryable=True) from fault

    def _tool(self, listed: Listed) -> ServerTool:
        arguments = create_model_from_schema(listed.inputSchema, model_name=f"{listed.name}Arguments")
        description = (listed.description or listed.name)[:MAX_DESCRIPTION]

        def act(**given: Any) -> str:
            # What the model left out is absent for the server too, not null.
            present = {name: _plain(value) for name, value in given.items() if value is not None}
            return self._finished(self._call(listed.name, present))

        return ServerTool(listed.name, description, arguments, act)

    def _finished(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return asyncio.run(self._in_time(work))
        except ToolFault:
            raise
        except BaseExceptionGroup as group:
            raise _fault_in(group) from group
        except Exception as error:
            raise ToolFault("the MCP server cannot be reached or does not speak the protocol.") from error

    async def _in_time(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await asyncio.wait_for(work, self.settings.timeout_seconds)
        except TimeoutError as error:
            raise ToolFault(f"no answer within {self.settings.timeout_seconds:g} seconds.") from error

    async def _list(self) -> Sequence[Listed]:
        found: list[Listed] = []
        async with self._session() as session:
            cursor: str | None = None
            for _ in range(MAX_PAGES):
                page = await session.list_tools(cursor)
                found += page.tools
                cursor = page.nextCursor
                if cursor is None:
                    break
        return found

    async def _call(self, name: str, arguments: dict[str, Any]) -> str:
        async with self._session() as session:
            result = await session.call_tool(name, arguments)
        texts = [str(getattr(part, "text", f"[{part.type}]")) for part in result.content]
        if result.isError:
            raise ToolFault("\n".join(texts) or "the tool of the MCP server failed.")
        return "\n".join(texts)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[ClientSession]:
        seconds = self.settings.timeout_seconds
        async with (
            self._streams() as (receive, send),
            ClientSession(receive, send, timedelta(seconds=seconds)) as session,
        ):
            await session.initialize()
            yield session

    @asynccontextmanager
    async def _streams(self) -> AsyncIterator[tuple[Any, Any]]:
        if self.transport == SSE:
            async with sse_client(self.url, httpx_client_factory=self._client) as streams:
                yield streams
        else:
            async with (
                self._client() as client,
                streamable_http_client(self.url, http_client=client) as (receive, send, _),
            ):
                yield receive, send

    def _client(
        self,
        headers: dict[str, str] | None = None,
        timeout: httpx.Timeout | None = None,
        auth: httpx.Auth | None = None,
    ) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=AsyncGuardedTransport(AddressGuard(self.settings.allowed_private_hosts)),
            headers=headers,
            timeout=timeout or self.settings.timeout_seconds,
            auth=auth,
            trust_env=False,
        )


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
