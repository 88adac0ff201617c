"""Turns violations of named constraints into errors of the domain."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, IntegrityError

from domain.errors import NameTaken, NotFound, RegattaError, Unavailable

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
    for column, (kind, path) in REFERENCES.items():
        if constraint.startswith("fk_") and constraint.endswith(column):
            return NotFound(kind, "").under(path)
    return error
