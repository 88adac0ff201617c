"""Classes of the package `crewai_tools`, when it is installed and the operator allows the class."""

import importlib
from typing import Any, Final

from crewai.tools import BaseTool

from domain.crew.tools.settings import ToolSettings
from domain.errors import FailureCode, RunFailed
from domain.model.tool import Tool

PACKAGE: Final = "crewai_tools"


def instantiated(tool: Tool, settings: ToolSettings) -> BaseTool:
    """The tool's class, made with the `arguments` of its configuration.

    Raises:
        RunFailed: TOOL_FAILED; the class or one of the arguments is not allowed, the class does not exist, the
            package is missing, or the class cannot be made with these arguments.
    """
    name = str(tool.configuration.get("class_name", ""))
    if name not in settings.crewai_tools:
        raise _failed(tool, f"the class {name[:100]!r} is not allowed on this server.")
    arguments = _permitted(tool, settings.crewai_tools[name])
    try:
        module = importlib.import_module(PACKAGE)
    except ImportError as error:
        raise _failed(tool, f"the package {PACKAGE} is not installed on this server.") from error
    made = _made(tool, getattr(module, name, None), arguments)
    if not isinstance(made, BaseTool):
        raise _failed(tool, f"{PACKAGE} has no tool of the class {name!r}.")
    return made


def _permitted(tool: Tool, names: frozenset[str]) -> dict[str, Any]:
    arguments = tool.configuration.get("arguments", {})
    if not isinstance(arguments, dict):
        raise _failed(tool, "its arguments are no object.")
    for name in sorted(arguments.keys() - names):
        raise _failed(tool, f"the argument {name[:100]!r} is not allowed on this server.")
    return arguments


def _made(tool: Tool, kind: Any, arguments: dict[str, Any]) -> Any:
    if not isinstance(kind, type) or not issubclass(kind, BaseTool):
        return None
    try:
        return kind(**arguments)
    except Exception as error:  # whatever a class of others does with arguments of a user
        reason = f"it cannot be made with these arguments ({type(error).__name__})."
        raise _failed(tool, reason) from error


def _failed(tool: Tool, reason: str) -> RunFailed:
    return RunFailed(FailureCode.TOOL_FAILED, f"The tool {tool.name!r} cannot be used: {reason}")
