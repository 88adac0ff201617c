"""Everything that can go wrong and that a caller should know of.

RegattaError
├── NotFound             no such thing in this tenant (also: not allowed to see it)
├── Invalid              the input breaks rules; carries every problem found
├── Conflict             the state of things forbids it
│   ├── StaleVersion     somebody else changed the thing since it was read
│   ├── NameTaken        the name is in use where it has to be unique
│   ├── IdempotencyConflict  the key was used for another request
│   ├── DependencyCycle  tasks would wait for each other
│   ├── SupervisorCycle  roles would supervise each other
│   ├── Archived         the thing is archived
│   ├── InvalidTransition  the state machine has no such move
│   └── OwnershipLost    another worker took the execution over
├── MissingInputs        placeholders without a value
├── NoActiveRole         nobody is there to do the work
├── BudgetExceeded       what was to be spent is spent
├── Forbidden            the caller may not do this
├── Unavailable          a part of the system does not answer now; safe to try again
│   └── Busy             somebody else holds what has to be written for too long
├── NotRecorded          what a run reported cannot be stored
│   └── BookingsLost     …and that were entries of the ledger, reported earlier
└── RunFailed            a run went wrong; becomes the typed failure of an execution

Errors carry data, never an HTTP status or a GraphQL code: `schema/errors.py` translates them, once.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Self
from uuid import UUID

if TYPE_CHECKING:
    from domain.model.budget import Shortfall
    from domain.ports import ModelAnswer


class RegattaError(Exception):
    """The root of all errors that callers are meant to understand."""

    path: tuple[str, ...] = ()
    suggestion: str | None = None

    def under(self, *path: str) -> Self:
        """The same error, located at this path of the input."""
        self.path = path
        return self


@contextmanager
def located(*path: str) -> Iterator[None]:
    """What is raised inside is located at this path of the input, unless it has a place of its own."""
    try:
        yield
    except RegattaError as error:
        error.path = error.path or path
        raise


class NotFound(RegattaError):
    """There is no such thing in this tenant."""

    def __init__(self, kind: str, identifier: UUID | str) -> None:
        super().__init__(f"There is no {kind.lower()} with this id.")
        self.kind = kind
        self.identifier = str(identifier)


@dataclass(frozen=True, slots=True)
class Problem:
    """One broken rule of an input: where, and what is expected there."""

    message: str
    path: tuple[str, ...]


class Invalid(RegattaError):
    """The input breaks rules; all broken ones are told at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(" ".join(problem.message for problem in problems))
        self.problems = tuple(problems)

    @classmethod
    def at(cls, message: str, *path: str) -> "Invalid":
        """One problem at one place."""
        return cls([Problem(message, path)])


class Conflict(RegattaError):
    """The state of things forbids it."""


class StaleVersion(Conflict):
    """The caller's version is not the current one."""

    def __init__(self, kind: str, expected: int, actual: int) -> None:
        super().__init__(f"The {kind.lower()} has changed: version {expected} was given, {actual} is current.")
        self.expected = expected
        self.actual = actual
        self.path = ("version",)
        self.suggestion = "Read it again and apply your change to the current version."


class NameTaken(Conflict):
    """A name that has to be unique is in use."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"Another {kind.lower()} has this name already.")
        self.path = ("name",)


class IdempotencyConflict(Conflict):
    """The idempotency key was used for another request."""

    def __init__(self, key: str) -> None:
        super().__init__("This idempotency key was used with another input.")
        self.key = key
        self.path = ("idempotencyKey",)


class DependencyCycle(Conflict):
    """Tasks would wait for each other; `cycle` names them in order, the first one again at the end."""

    def __init__(self, cycle: Sequence[str]) -> None:
        super().__init__(f"These tasks would wait for each other: {' → '.join(cycle)}.")
        self.cycle = tuple(cycle)
        self.path = ("dependsOn",)


class SupervisorCycle(Conflict):
    """Roles would supervise each other; `cycle` names them in order, the first one again at the end."""

    def __init__(self, cycle: Sequence[str]) -> None:
        super().__init__(f"These roles would supervise each other: {' → '.join(cycle)}.")
        self.cycle = tuple(cycle)
        self.path = ("supervisorId",)


class Archived(Conflict):
    """The thing is archived and cannot be used or changed."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"The {kind.lower()} is archived.")
        self.kind = kind
        self.suggestion = f"Restore the {kind.lower()} first."


class InvalidTransition(Conflict):
    """The state machine has no such move."""

    def __init__(self, current: str, wanted: str, allowed: Sequence[str]) -> None:
        super().__init__(f"An execution that is {current} cannot become {wanted}.")
        self.current = current
        self.wanted = wanted
        self.allowed = tuple(allowed)


class OwnershipLost(Conflict):
    """Another worker owns the execution now, or it is over: nothing of this run may be written any more."""

    def __init__(self) -> None:
        super().__init__("This run of the execution is over or was taken over by another worker.")


class MissingInputs(RegattaError):
    """Placeholders of the tasks have no value."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"These inputs are missing: {', '.join(names)}.")
        self.names = tuple(names)
        self.path = ("inputs",)


class NoActiveRole(RegattaError):
    """A team without an active role cannot run."""

    def __init__(self) -> None:
        super().__init__("The team has no active role.")
        self.suggestion = "Add a role, or set one active."


class BudgetExceeded(RegattaError):
    """A budget has nothing left for what is asked for."""

    def __init__(self, shortfall: "Shortfall") -> None:
        super().__init__(shortfall.message)
        self.shortfall = shortfall
        self.suggestion = f"Raise the budget of the {shortfall.scope.value.lower()}, or wait for its next period."


class Forbidden(RegattaError):
    """The caller may not do this."""


class Unavailable(RegattaError):
    """A part of the system does not answer now; the same request may work later."""


class Busy(Unavailable):
    """Somebody else holds what has to be written for too long; writing something else may work."""


class NotRecorded(RegattaError):
    """What a run reported cannot be stored, however often it is tried. Names the cause, never quotes the value."""

    def __init__(self, cause: str) -> None:
        super().__init__(f"What the run reported cannot be stored ({cause}).")


class BookingsLost(NotRecorded):
    """Ledger entries that the run reported earlier could not be stored: its cost is not known, so it cannot succeed."""


class FailureCode(Enum):
    """Why an execution or a task failed."""

    MODEL_UNAVAILABLE = "MODEL_UNAVAILABLE"
    MODEL_REFUSED = "MODEL_REFUSED"
    MODEL_ANSWER_INVALID = "MODEL_ANSWER_INVALID"
    MODEL_UNKNOWN = "MODEL_UNKNOWN"
    TOOL_FAILED = "TOOL_FAILED"
    TASK_TIMEOUT = "TASK_TIMEOUT"
    EXECUTION_TIMEOUT = "EXECUTION_TIMEOUT"
    MAX_ITERATIONS = "MAX_ITERATIONS"
    OUTPUT_INVALID = "OUTPUT_INVALID"
    NO_CAPABLE_ROLE = "NO_CAPABLE_ROLE"
    PROCESS_UNSUPPORTED = "PROCESS_UNSUPPORTED"
    WORKER_LOST = "WORKER_LOST"
    BUDGET_EXCEEDED = "BUDGET_EXCEEDED"
    INTERNAL = "INTERNAL"


class RunFailed(RegattaError):
    """A run went wrong. `message` is fit for a user: no trace, no secret.

    `spent` is what a model call that failed is billed with; None when it is not known to cost anything.
    `retry_after_seconds` is what a provider said about when to come back; None when it said nothing.
    `is_key_refused`: the provider does not take the key, so no call with it will do better. `is_timeout`: time ran out,
    ours or the provider's, so another try may take as long. `shortfall` says what was missing of a budget, for
    BUDGET_EXCEEDED.
    """

    spent: "ModelAnswer | None" = None
    retry_after_seconds: float | None = None
    is_key_refused: bool = False
    is_timeout: bool = False
    shortfall: "Shortfall | None" = None

    def __init__(self, code: FailureCode, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable
