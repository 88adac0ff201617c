"""Turns what a database refuses, or cannot do now, into errors of the domain."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from asyncpg import exceptions as refusals
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolExhausted

from domain.errors import Busy, NameTaken, NotFound, RegattaError, Unavailable

REFERENCES = {
    "project_id": ("Project", "projectId"),
    "team_id": ("Team", "teamId"),
    "manager_id": ("Role", "managerId"),
    "role_id": ("Role", "roleId"),
    "supervisor_id": ("Role", "supervisorId"),
    "task_id": ("Task", "taskId"),
    "depends_on_id": ("Task", "dependsOn"),
    "tool_id": ("Tool", "toolIds"),
}


PASSING = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    refusals.OperatorInterventionError,
    refusals.InsufficientResourcesError,
    refusals.InvalidTransactionStateError,
    refusals.TransactionRollbackError,
    OSError,  # TimeoutError is one
)
"""What goes away by itself: a broken connection, a server that restarts or is full, a deadlock."""


@contextmanager
def reachable() -> Iterator[None]:
    """Around asyncpg: raise Unavailable where trying again may help."""
    try:
        yield
    except PASSING as error:
        if isinstance(error, ValueError):  # asyncpg: a value that its column cannot take
            raise
        raise Unavailable("The database does not answer.") from error


@contextmanager
def unheld(what: str) -> Iterator[None]:
    """The same, and raise Busy where somebody else holds for too long what has to be written."""
    try:
        with reachable():
            yield
    except asyncpg.LockNotAvailableError as error:
        raise Busy(f"Somebody else holds {what}.") from error


@contextmanager
def translated() -> Iterator[None]:
    """Around SQLAlchemy: raise the domain's error for a broken constraint or connection; anything else is a bug."""
    try:
        with reachable():  # a connection that cannot be made fails as asyncpg's
            yield
    except IntegrityError as error:
        raise _violation(error) from error
    except DBAPIError as error:
        if isinstance(_cause(error), refusals.LockNotAvailableError):
            raise Busy("Somebody else holds what has to be written.") from error
        if not (error.connection_invalidated or isinstance(_cause(error), PASSING)):
            raise
        raise Unavailable("The database does not answer.") from error
    except PoolExhausted as error:
        raise Unavailable("The database is busy.") from error


def _cause(error: DBAPIError) -> BaseException | None:
    """What asyncpg raised: SQLAlchemy wraps it twice."""
    return getattr(error.orig, "__cause__", None)


def _violation(error: IntegrityError) -> RegattaError | IntegrityError:
    constraint: str = getattr(_cause(error), "constraint_name", None) or ""
    if constraint.startswith("uq_") and constraint.endswith("_name"):
        table = constraint.removeprefix("uq_").removesuffix("_name")
        return NameTaken("".join(word.capitalize() for word in table.split("_")))
    for column, (kind, path) in REFERENCES.items():
        if constraint.startswith("fk_") and constraint.endswith(column):
            return NotFound(kind, "").under(path)
    return error
