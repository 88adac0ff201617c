"""Turns violations of named constraints into errors of the domain."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, IntegrityError

from domain.errors import NameTaken, NotFound, RegattaError, Unavailable

REFERENCES = {
    "project_id": "Project",
    "team_id": "Team",
    "manager_id": "Role",
    "role_id": "Role",
    "supervisor_id": "Role",
    "task_id": "Task",
    "depends_on_id": "Task",
    "tool_id": "Tool",
}


@contextmanager
def translated() -> Iterator[None]:
    """Raise the domain's error for a broken constraint or connection; anything else is a bug and passes."""
    try:
        yield
    except IntegrityError as error:
        raise _violation(error) from error
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        raise Unavailable("The database does not answer.") from error


def _violation(error: IntegrityError) -> RegattaError | IntegrityError:
    constraint: str = getattr(getattr(error.orig, "__cause__", None), "constraint_name", None) or ""
    if constraint.startswith("uq_") and constraint.endswith("_name"):
        return NameTaken(constraint.removeprefix("uq_").removesuffix("_name").capitalize())
    for column, kind in REFERENCES.items():
        if constraint.startswith("fk_") and constraint.endswith(column):
            return NotFound(kind, "").under(column)
    return error
