"""Errors as clients see them: `UserError` types in payloads, codes on top-level errors. Translated here, once."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import strawberry

from domain import errors
from domain.errors import RegattaError
from domain.model.budget import BudgetScope
from resolvers.edges import computed
from schema.types.values import Money


@strawberry.enum(description="What went wrong, for programs.")
class ErrorCode(Enum):
    NOT_FOUND = strawberry.enum_value("NOT_FOUND", description="There is no such thing, or not for you.")
    INVALID = strawberry.enum_value("INVALID", description="The input breaks a rule.")
    CONFLICT = strawberry.enum_value("CONFLICT", description="The state of things forbids it.")
    STALE_VERSION = strawberry.enum_value("STALE_VERSION", description="Somebody else changed it since it was read.")
    NAME_TAKEN = strawberry.enum_value("NAME_TAKEN", description="The name is in use.")
    IDEMPOTENCY_CONFLICT = strawberry.enum_value(
        "IDEMPOTENCY_CONFLICT", description="The idempotency key was used for another request."
    )
    CYCLE = strawberry.enum_value("CYCLE", description="Things would wait for, or supervise, each other.")
    ARCHIVED = strawberry.enum_value("ARCHIVED", description="It is archived.")
    BUILT_IN = strawberry.enum_value("BUILT_IN", description="It ships with Regatta, and nobody changes it.")
    INVALID_TRANSITION = strawberry.enum_value("INVALID_TRANSITION", description="Not possible in its present state.")
    MISSING_INPUTS = strawberry.enum_value("MISSING_INPUTS", description="Placeholders have no value.")
    NO_ACTIVE_ROLE = strawberry.enum_value("NO_ACTIVE_ROLE", description="The team has no active role.")
    ALREADY_DECIDED = strawberry.enum_value("ALREADY_DECIDED", description="The approval was decided before.")
    NOT_CHANGEABLE = strawberry.enum_value(
        "NOT_CHANGEABLE", description="Only what was not begun can be changed, while its execution is paused."
    )
    TEAM_BUSY = strawberry.enum_value("TEAM_BUSY", description="An execution of the team is under way.")
    TEAM_CHANGED = strawberry.enum_value(
        "TEAM_CHANGED", description="The team is not any more what the proposal was made for."
    )
    TOO_MANY_TASKS = strawberry.enum_value(
        "TOO_MANY_TASKS", description="A role would be given more tasks than its maxTasks."
    )
    BUDGET_EXCEEDED = strawberry.enum_value("BUDGET_EXCEEDED", description="What may be spent is spent.")
    FORBIDDEN = strawberry.enum_value("FORBIDDEN", description="You may not do this.")
    UNAVAILABLE = strawberry.enum_value("UNAVAILABLE", description="Not now; the same request may work later.")


CODES: dict[type[RegattaError], ErrorCode] = {
    errors.NotFound: ErrorCode.NOT_FOUND,
    errors.Invalid: ErrorCode.INVALID,
    errors.StaleVersion: ErrorCode.STALE_VERSION,
    errors.NameTaken: ErrorCode.NAME_TAKEN,
    errors.IdempotencyConflict: ErrorCode.IDEMPOTENCY_CONFLICT,
    errors.DependencyCycle: ErrorCode.CYCLE,
    errors.SupervisorCycle: ErrorCode.CYCLE,
    errors.Archived: ErrorCode.ARCHIVED,
    errors.BuiltIn: ErrorCode.BUILT_IN,
    errors.InvalidTransition: ErrorCode.INVALID_TRANSITION,
    errors.TeamBusy: ErrorCode.TEAM_BUSY,
    errors.TeamChanged: ErrorCode.TEAM_CHANGED,
    errors.AlreadyDecided: ErrorCode.ALREADY_DECIDED,
    errors.TaskNotChangeable: ErrorCode.NOT_CHANGEABLE,
    errors.Conflict: ErrorCode.CONFLICT,
    errors.MissingInputs: ErrorCode.MISSING_INPUTS,
    errors.NoActiveRole: ErrorCode.NO_ACTIVE_ROLE,
    errors.TooManyTasks: ErrorCode.TOO_MANY_TASKS,
    errors.BudgetExceeded: ErrorCode.BUDGET_EXCEEDED,
    errors.Forbidden: ErrorCode.FORBIDDEN,
    errors.Unavailable: ErrorCode.UNAVAILABLE,
}


@dataclass(frozen=True, slots=True)
class Told:
    """An error on its way to the client: one per problem, with its place in the mutation's input."""

    cause: RegattaError
    message: str
    path: tuple[str, ...]

    @property
    def code(self) -> ErrorCode:
        return code_of(self.cause)

    @property
    def suggestion(self) -> str | None:
        return self.cause.suggestion


def code_of(error: RegattaError) -> ErrorCode:
    """The code of the error, by its nearest listed class."""
    return CODES[_listed(error)]


def _listed(error: RegattaError) -> type[RegattaError]:
    return next(kind for kind in type(error).__mro__ if kind in CODES)


def told(error: RegattaError) -> list[Told]:
    """The errors that a client is told for this one."""
    if isinstance(error, errors.Invalid):
        return [Told(error, problem.message, ("input", *problem.path)) for problem in error.problems]
    return [Told(error, str(error), ("input", *error.path))]


def place_of(error: RegattaError) -> list[str]:
    """Where among the arguments of a field it is, the first place if there are many; empty when nowhere."""
    return list(error.problems[0].path if isinstance(error, errors.Invalid) else error.path)


@strawberry.interface(description="Why a mutation was refused; nothing was changed.")
class UserError:
    message: str = strawberry.field(description="What is wrong, for people.")
    code: ErrorCode = strawberry.field(description="What is wrong, for programs.")
    path: list[str] = strawberry.field(description="Where in the mutation's arguments.")
    suggestion: str | None = strawberry.field(description="What may help; null when there is nothing to say.")


def _tells(*causes: type[RegattaError]) -> Any:
    return classmethod(lambda _cls, error, _info: _listed(error.cause) in causes)


def _of_cause(attribute: str, description: str, **options: Any) -> Any:
    return computed(lambda error: getattr(error.cause, attribute), description, **options)


@strawberry.type(description="There is no such thing, or not for you.")
class NotFound(UserError):
    is_type_of = _tells(errors.NotFound)


@strawberry.type(description="The input breaks a rule.")
class Invalid(UserError):
    is_type_of = _tells(errors.Invalid)


@strawberry.type(description="Somebody else changed it since it was read.")
class StaleVersion(UserError):
    is_type_of = _tells(errors.StaleVersion)
    expected: int = _of_cause("expected", "The version that was given.")
    actual: int = _of_cause("actual", "The version that is current.")


@strawberry.type(description="Tasks would wait for each other, or roles supervise each other.")
class Cycle(UserError):
    is_type_of = _tells(errors.DependencyCycle, errors.SupervisorCycle)
    cycle: list[str] = _of_cause("cycle", "The names on the cycle, the first one again at the end.")


@strawberry.type(description="Not possible in its present state.")
class InvalidTransition(UserError):
    is_type_of = _tells(errors.InvalidTransition)
    from_: str = _of_cause("current", "The present state.", name="from")
    to: str = _of_cause("wanted", "The state that was asked for.")
    allowed: list[str] = _of_cause("allowed", "The states that can follow the present one.")


@strawberry.type(description="Placeholders of the tasks have no value.")
class MissingInputs(UserError):
    is_type_of = _tells(errors.MissingInputs)
    names: list[str] = _of_cause("names", "The placeholders without a value.")


def _of_shortfall(attribute: str, description: str) -> Any:
    return computed(lambda error: getattr(error.cause.shortfall, attribute), description)


@strawberry.type(description="A budget has nothing left for what is asked for.")
class BudgetExceeded(UserError):
    is_type_of = _tells(errors.BudgetExceeded)
    scope: BudgetScope = _of_shortfall("scope", "Whose budget it is.")
    limit: Money = _of_shortfall("limit", "The most that may be spent.")
    spent: Money = _of_shortfall("spent", "What was spent already.")
    reserved: Money = _of_shortfall("reserved", "What is kept back for calls under way.")
    required: Money = _of_shortfall("required", "What would have been needed; zero where anything would be too much.")


@strawberry.type(description="The state of things forbids it; the code says in which way.")
class Conflict(UserError):
    is_type_of = _tells(
        errors.Conflict,
        errors.NameTaken,
        errors.IdempotencyConflict,
        errors.Archived,
        errors.BuiltIn,
        errors.TeamBusy,
        errors.TeamChanged,
        errors.AlreadyDecided,
        errors.TaskNotChangeable,
    )


@strawberry.type(description="It cannot be done; the code says why.")
class Refused(UserError):
    is_type_of = _tells(errors.NoActiveRole, errors.TooManyTasks, errors.Forbidden, errors.Unavailable)


USER_ERRORS: Sequence[type[Any]] = (
    NotFound,
    Invalid,
    StaleVersion,
    Cycle,
    InvalidTransition,
    MissingInputs,
    BudgetExceeded,
    Conflict,
    Refused,
)
