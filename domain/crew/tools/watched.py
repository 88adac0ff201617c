"""The one shape in which every tool reaches CrewAI: its arguments validated, its calls and results journalled."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from crewai.tools import BaseTool
from crewai.utilities.string_utils import sanitize_tool_name
from pydantic import BaseModel, PrivateAttr, ValidationError

from domain.crew.session import TaskSession
from domain.crew.tools.calls import ToolUse

ONE_BY_ONE: Final = 1_000_000_000
"""As `max_usage_count`: CrewAI makes the calls of an answer in turn, not in threads, where one of the tools has any."""


class ToolFault(Exception):
    """A tool could not do what it was asked. The message goes to the model and into the events: no secret in it."""


class WatchedTool(BaseTool):
    """A CrewAI tool that calls a function of ours; a fault of it becomes a text that the model can act on."""

    _act: Callable[..., str] = PrivateAttr()
    _session: TaskSession = PrivateAttr()
    _identity: str = PrivateAttr()
    _is_repeatable: bool = PrivateAttr(default=True)

    @classmethod
    def made(
        cls,
        name: str,
        description: str,
        arguments: type[BaseModel],
        act: Callable[..., str],
        session: TaskSession,
        *,
        identity: str,
        is_repeatable: bool,
    ) -> "WatchedTool":
        """The tool; `act` gets the validated arguments by name, and raises ToolFault.

        `identity` tells it from others whose name is the same, once it is written as models can call it.
        """
        tool = cls(name=name, description=description, args_schema=arguments)
        tool._act = act
        tool._session = session
        tool._identity = identity
        tool._is_repeatable = is_repeatable
        return tool

    def run(self, *args: Any, **kwargs: Any) -> str:
        """The result, or what went wrong; raises WorkAbandoned and WorkStopped as `ToolUse.result` does."""
        del args  # CrewAI gives arguments by name
        use = ToolUse(self._session, sanitize_tool_name(self.name), self._identity, kwargs, self._is_repeatable)
        return use.result(partial(self._result, kwargs))

    def _run(self, **kwargs: Any) -> str:
        return self.run(**kwargs)

    def _result(self, arguments: dict[str, Any]) -> tuple[str, bool]:
        try:
            given = self.args_schema.model_validate(arguments)
            return self._act(**{name: getattr(given, name) for name in type(given).model_fields}), False
        except ValidationError as error:
            return f"Error: {problems_of(error)}", True
        except ToolFault as fault:
            return f"Error: {fault}", True
        except Exception as error:  # noqa: BLE001 - whatever breaks in a tool, the model should try another way
            return f"Error: the tool failed unexpectedly ({type(error).__name__}).", True


def usable_name(name: str, otherwise: str) -> str:
    """A name that a model can call; `otherwise` where nothing is left of it in ASCII letters."""
    return sanitize_tool_name(name) or otherwise


def problems_of(error: ValidationError) -> str:
    """What is wrong with the arguments of a call, as the model is told."""
    found = (f"{'.'.join(map(str, item['loc'])) or 'arguments'}: {item['msg']}" for item in error.errors())
    return "wrong arguments. " + "; ".join(found)
