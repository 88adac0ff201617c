"""What CrewAI does around every task that nobody here reads, switched off inside of our sessions and nowhere else.

Each patch replaces one attribute by a function that asks first whether a session of ours is current, and else calls
what was there. An attribute that is gone in another version is left alone: then it is slower, not wrong.

* `crewai_event_bus.emit`: its handlers print panels to the console and trace; it keeps every agent and event of the
  process for ever, for checkpoints (a leak in a worker). We take our events from the model and tool calls themselves.
* `crewai.task.clear_task_files`: starts an event loop per task, to delete files from a store; our tasks have none.
* The marks of deprecated fields on `Agent`: CrewAI reads these fields itself and warns of itself, 18 times per task.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

import crewai.task
from crewai import Agent
from crewai.events import crewai_event_bus

from domain.crew.session import in_session

_SILENCED: Final[tuple[tuple[Any, str], ...]] = (
    (crewai_event_bus, "emit"),
    (crewai.task, "clear_task_files"),
)
_MARK: Final = "_regatta_silenced"
_DEPRECATED: Final = "_DeprecatedFieldDescriptor"


def tune() -> None:
    """Apply the patches to this process; safe to repeat."""
    for owner, name in _SILENCED:
        original = getattr(owner, name, None)
        if callable(original) and not hasattr(original, _MARK):
            setattr(owner, name, _silent_in_sessions(original))
    for kind in Agent.__mro__:
        for name in [name for name, mark in vars(kind).items() if type(mark).__name__ == _DEPRECATED]:
            delattr(kind, name)  # what is left is the plain field


def untune() -> None:
    """Take the patches of functions back, for a comparison with CrewAI as it ships."""
    for owner, name in _SILENCED:
        original = getattr(getattr(owner, name, None), _MARK, None)
        if original is not None:
            setattr(owner, name, original)


def _silent_in_sessions(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def silent(*args: Any, **kwargs: Any) -> Any:
        return None if in_session() else original(*args, **kwargs)

    setattr(silent, _MARK, original)
    return silent
