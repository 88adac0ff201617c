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
│   │   └── ExecutionArchived  …and that is an execution: its texts are gone
│   ├── BuiltIn          the thing ships with Regatta: nobody changes it
│   ├── InvalidTransition  the state machine has no such move
│   ├── AlreadyDecided   somebody else decided the approval otherwise, or nobody needs it any more
│   ├── TaskNotChangeable  a task can be changed only before it began, in an execution that is paused
│   ├── TeamBusy         an execution of the team is under way, and the kickoff was not to wait
│   ├── TeamChanged      the team is not any more what a proposal was made for
│   ├── ModelGone        a model that was proposed can no longer be had
│   ├── ScheduleBusy     earlier executions of the schedule are not over, and it does not overlap (so often)
│   ├── TooManyGenerations  so many proposals are waited for that no more can be asked for now
│   └── OwnershipLost    another worker took the execution over
├── MissingInputs        placeholders without a value
├── NoActiveRole         nobody is there to do the work
├── TooManyTasks         whoever could do the work has as many tasks as it may be given
├── BudgetExceeded       what was to be spent is spent
├── Forbidden            the caller may not do this
├── Unavailable          a part of the system does not answer now; safe to try again
│   └── Busy             somebody else holds what has to be written for too long
├── NotRecorded          what a run reported cannot be stored
│   └── BookingsLost     …and that were entries of the ledger, reported earlier
├── RunFailed            a run went wrong; becomes the typed failure of an execution
├── Paused               a task stopped before its next call, for its execution is to be paused
└── AnswerAwaited        a task stopped, for its role asked a human

Errors carry data, never an HTTP status or a GraphQL code: `schema/errors.py` translates them, once.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Self
from uuid import UUID

from domain.model.texts import spaced

if TYPE_CHECKING:
    from domain.model.budget import Shortfall
    from domain.model.identity import RoleId
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
        super().__init__(f"There is no {spaced(kind)} with this id.")
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
        super().__init__(f"The {spaced(kind)} has changed: version {expected} was given, {actual} is current.")
        self.expected = expected
        self.actual = actual
        self.path = ("version",)
        self.suggestion = "Read it again and apply your change to the current version."


class NameTaken(Conflict):
    """A name that has to be unique is in use."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"Another {spaced(kind)} has this name already.")
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
        super().__init__(f"The {spaced(kind)} is archived.")
        self.kind = kind
        self.suggestion = f"Restore the {spaced(kind)} first."


class BuiltIn(Conflict):
    """The thing ships with Regatta, and nobody changes it."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"This {spaced(kind)} ships with Regatta: it cannot be changed.")
        self.kind = kind
        self.suggestion = f"Make one of your own with duplicate{kind}, and change that."


class ExecutionArchived(Archived):
    """The execution was kept as long as its tenant wants: what it was given and what came of it are gone."""

    def __init__(self) -> None:
        super().__init__("Execution")
        self.suggestion = "Its inputs and outputs are gone: kick the team off anew."


class InvalidTransition(Conflict):
    """The state machine has no such move; `message` says it in other words where the request was another one."""

    def __init__(self, current: str, wanted: str, allowed: Sequence[str], message: str | None = None) -> None:
        super().__init__(message or f"An execution that is {current} cannot become {wanted}.")
        self.current = current
        self.wanted = wanted
        self.allowed = tuple(allowed)


class AlreadyDecided(Conflict):
    """The approval was decided otherwise before, or nobody needs it any more."""

    def __init__(self, status: str) -> None:
        super().__init__(f"This approval is {status} already.")
        self.status = status


class TaskNotChangeable(Conflict):
    """A task can be changed only before it began, while its execution is paused."""

    def __init__(self, execution: str, task: str) -> None:
        super().__init__(f"The task is {task}, and its execution is {execution}.")
        self.suggestion = "Only a PENDING task of a PAUSED execution can be changed: pause the execution first."


class TeamBusy(Conflict):
    """An execution of the team is under way, and the kickoff was to be refused then."""

    def __init__(self) -> None:
        super().__init__("An execution of this team is under way.")
        self.path = ("whenBusy",)
        self.suggestion = "Wait for its end, or kick off with another whenBusy."


class TeamChanged(Conflict):
    """The team is not any more what a proposal was made for."""

    def __init__(
        self,
        since: str = "proposed",
        suggestion: str = "Ask for a new proposal: this one is for the team as it was.",
    ) -> None:
        super().__init__(f"The team has changed since this was {since}.")
        self.suggestion = suggestion


class ModelGone(Conflict):
    """A model that was proposed can no longer be had."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"The model {name} cannot be used any more: {why or 'it is not in the catalogue.'}")
        self.suggestion = "Ask for a new proposal, or see to it that the model can be used again."


class ScheduleBusy(Conflict):
    """Earlier executions of the schedule are not over, and it skips then, or there are too many of them."""

    def __init__(self, count: int) -> None:
        earlier = "An earlier execution" if count == 1 else "Earlier executions"
        super().__init__(f"{earlier} of this schedule {'is' if count == 1 else 'are'} not over.")
        self.path = ("id",)
        self.suggestion = "Wait for its end, or let the schedule overlap in another way."


class TooManyGenerations(Conflict):
    """So many proposals are waited for that no more can be asked for now."""

    def __init__(self, working: int, asked: int, most: int) -> None:
        what = "this one" if asked == 1 else f"these {asked}"
        super().__init__(f"{working} generations are not over, and with {what} there would be more than {most}.")
        self.suggestion = "Wait until some of them are over, or cancel those that nobody needs."


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


class TooManyTasks(RegattaError):
    """Nobody may be given one more task; `bounds` names each role that could do it, with its `maxTasks`."""

    def __init__(self, task: str, bounds: Sequence[tuple[str, int]]) -> None:
        listed = ", ".join(f"“{title}” is given at most {most}" for title, most in bounds[:10])
        super().__init__(f"Nobody is left for the task “{task}”: in one execution {listed}.")
        self.bounds = tuple(bounds)
        self.suggestion = "Raise the maxTasks of a role, or give tasks to other roles."


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
    GUARDRAIL_FAILED = "GUARDRAIL_FAILED"
    APPROVAL_REJECTED = "APPROVAL_REJECTED"
    APPROVAL_EXPIRED = "APPROVAL_EXPIRED"
    TOOL_INTERRUPTED = "TOOL_INTERRUPTED"
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


class Paused(RegattaError):
    """The task stopped at a boundary: its execution is to be paused. What it finished is in the journal."""

    def __init__(self) -> None:
        super().__init__("The execution is being paused.")


class AnswerAwaited(RegattaError):
    """The task stopped: a role asked a human. `call_key` names the call that waits for the answer.

    `role_id` names who asked; None when that is not known.
    """

    def __init__(self, question: str, call_key: str, role_id: "RoleId | None" = None) -> None:
        super().__init__("The role waits for an answer.")
        self.question = question
        self.call_key = call_key
        self.role_id = role_id
