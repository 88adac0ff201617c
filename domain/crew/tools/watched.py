"""The one shape in which every tool reaches CrewAI: its arguments validated, its calls and results journalled."""

from collections.abc import Callable
from typing import Any, Final

from crewai.tools import BaseTool
from crewai.utilities.string_utils import sanitize_tool_name
from pydantic import BaseModel, PrivateAttr, ValidationError

from domain.crew.session import TaskSession

MAX_RESULT_CHARACTERS: Final = 200_000
"""What a model is given of one result; CrewAI puts long ones aside and lets the model read them in parts."""


class ToolFault(Exception):
    """A tool could not do what it was asked. The message goes to the model and into the events: no secret in it."""


class WatchedTool(BaseTool):
    """A CrewAI tool that calls a function of ours; a fault of it becomes a text that the model can act on."""

    _act: Callable[..., str] = PrivateAttr()
    _session: TaskSession = PrivateAttr()

    @classmethod
    def made(
        cls, name: str, description: str, arguments: type[BaseModel], act: Callable[..., str], session: TaskSession
    ) -> "WatchedTool":
        """The tool; `act` gets the validated arguments by name, and raises ToolFault."""
        tool = cls(name=name, description=description, args_schema=arguments)
        tool._act = act
        tool._session = session
        return tool

    def run(self, *args: Any, **kwargs: Any) -> str:
        """The result, or what went wrong; raises WorkAbandoned when nobody waits for it."""
        del args  # CrewAI gives arguments by name
        self._session.check()
        shown = sanitize_tool_name(self.name)
        self._session.tool_called(shown, kwargs)
        result, is_error = self._result(kwargs)
        self._session.check()
        result = result[:MAX_RESULT_CHARACTERS]
        self._session.tool_returned(shown, result, is_error=is_error)
        return result

    def _run(self, **kwargs: Any) -> str:
        return self.run(**kwargs)

    def _result(self, arguments: dict[str, Any]) -> tuple[str, bool]:
        try:
            given = self.args_schema.model_validate(arguments)
            return self._act(**{name: getattr(given, name) for name in type(given).model_fields}), False
        except ValidationError as error:
            return f"Error: {_problems(error)}", True
        except ToolFault as fault:
            return f"Error: {fault}", True
        except Exception as error:  # noqa: BLE001 - whatever breaks in a tool, the model should try another way
            return f"Error: the tool failed unexpectedly ({type(error).__name__}).", True


def usable_name(name: str, otherwise: str) -> str:
    """A name that a model can call; `otherwise` where nothing is left of it in ASCII letters."""
    return sanitize_tool_name(name) or otherwise


def _problems(error: ValidationError) -> str:
    found = (f"{'.'.join(map(str, item['loc'])) or 'arguments'}: {item['msg']}" for item in error.errors())
    return "wrong arguments. " + "; ".join(found)
