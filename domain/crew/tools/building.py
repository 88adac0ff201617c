"""From the tools of a role to what CrewAI gives to its agent."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

from crewai.tools import BaseTool
from pydantic import BaseModel

from domain.crew.session import TaskSession
from domain.crew.tools import calculator, files, web
from domain.crew.tools.crewai_classes import instantiated
from domain.crew.tools.mcp_servers import McpServer
from domain.crew.tools.settings import SearchKind, ToolSettings
from domain.crew.tools.watched import ToolFault, WatchedTool, usable_name
from domain.errors import FailureCode, RunFailed
from domain.model.tool import Tool, ToolKind

_Parts: TypeAlias = tuple[str, str, type[BaseModel], Callable[..., str]]
"""Name, description, arguments, function."""

_Maker: TypeAlias = Callable[[Tool, ToolSettings, TaskSession], Iterator[_Parts]]


def build_tools(tools: Sequence[Tool], settings: ToolSettings, session: TaskSession) -> list[BaseTool]:
    """One CrewAI tool for each tool, and one for each that an MCP server offers; may block on the network.

    Raises:
        RunFailed: TOOL_FAILED; the server is not configured for a tool, or what stands behind it cannot be used.
    """
    return [
        WatchedTool.made(
            usable_name(name, tool.kind.value.lower()),
            description,
            arguments,
            act,
            session,
            identity=f"{tool.id}/{name}",
            is_repeatable=tool.is_repeatable,
        )
        for tool in tools
        for name, description, arguments, act in _MAKERS[tool.kind](tool, settings, session)
    ]


def _calculator(tool: Tool, _: ToolSettings, __: TaskSession) -> Iterator[_Parts]:
    yield tool.name, _described(tool, calculator.DESCRIPTION), calculator.Arguments, calculator.calculate


def _http_get(tool: Tool, settings: ToolSettings, _: TaskSession) -> Iterator[_Parts]:
    yield tool.name, _described(tool, web.GET_DESCRIPTION), web.GetArguments, web.HttpGet(settings)


def _web_search(tool: Tool, settings: ToolSettings, _: TaskSession) -> Iterator[_Parts]:
    has_endpoint = settings.search_endpoint or (settings.search_kind is SearchKind.SERPER and settings.search_key)
    if not has_endpoint:
        raise _missing(tool, "no search engine is configured on this server.")
    yield tool.name, _described(tool, web.SEARCH_DESCRIPTION), web.SearchArguments, web.WebSearch(settings)


def _file_reader(tool: Tool, settings: ToolSettings, session: TaskSession) -> Iterator[_Parts]:
    project = _files(tool, settings, session)
    yield tool.name, _described(tool, files.READ_DESCRIPTION), files.ReadArguments, project.read


def _file_writer(tool: Tool, settings: ToolSettings, session: TaskSession) -> Iterator[_Parts]:
    project = _files(tool, settings, session)
    yield tool.name, _described(tool, files.WRITE_DESCRIPTION), files.WriteArguments, project.write


def _mcp_server(tool: Tool, settings: ToolSettings, session: TaskSession) -> Iterator[_Parts]:
    for offered in McpServer.of(tool, settings, session.secret_of(tool)).tools():
        yield offered.name, offered.description, offered.arguments, offered.act


def _crewai_tool(tool: Tool, settings: ToolSettings, _: TaskSession) -> Iterator[_Parts]:
    inner = instantiated(tool, settings)
    yield tool.name, _described(tool, inner.description), inner.args_schema, partial(_run, inner)


_MAKERS: Final[dict[ToolKind, _Maker]] = {
    ToolKind.CALCULATOR: _calculator,
    ToolKind.HTTP_GET: _http_get,
    ToolKind.WEB_SEARCH: _web_search,
    ToolKind.FILE_READER: _file_reader,
    ToolKind.FILE_WRITER: _file_writer,
    ToolKind.MCP_SERVER: _mcp_server,
    ToolKind.CREWAI_TOOL: _crewai_tool,
}


def _run(inner: BaseTool, **arguments: Any) -> str:
    try:
        return str(inner.run(**arguments))
    except Exception as error:
        raise ToolFault(f"the tool failed ({type(error).__name__}).") from error


def _files(tool: Tool, settings: ToolSettings, session: TaskSession) -> files.ProjectFiles:
    if settings.files_dir is None:
        raise _missing(tool, "no directory for files is configured on this server.")
    owner = session.work.ownership
    return files.ProjectFiles(Path(settings.files_dir) / str(owner.tenant_id) / str(owner.project_id), settings)


def _described(tool: Tool, otherwise: str) -> str:
    return f"{otherwise} {tool.description}".strip()


def _missing(tool: Tool, reason: str) -> RunFailed:
    return RunFailed(FailureCode.TOOL_FAILED, f"The tool {tool.name!r} cannot be used: {reason}")
