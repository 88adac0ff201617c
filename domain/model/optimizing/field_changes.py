"""Changes of single fields of a team: whether they still fit it, and what it is like with them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any, Final, TypeVar
from uuid import UUID

from domain.model.difference import Part
from domain.model.optimization import FieldChange
from domain.model.revision import TeamSnapshot
from domain.model.role import Role
from domain.model.routing import QualityPreference
from domain.model.task import Task, TaskDependency, waits_for
from domain.model.team import Process, Team

Thing = TypeVar("Thing", Team, Role, Task)

DEPENDS_ON: Final = "depends_on"
"""The one field that is no attribute of its part."""

_KINDS: Final[Mapping[str, Callable[[Any], Any]]] = {"process": Process, "quality_preference": QualityPreference}

_NOTHING: Final = object()
"""The value of what is not there any more: equal to nothing else."""


def reversed_changes(changes: Iterable[FieldChange]) -> list[FieldChange]:
    """The changes that take these back."""
    return [replace(change, before=change.after, after=change.before) for change in changes]


def fit(changes: Iterable[FieldChange], snapshot: TeamSnapshot) -> bool:
    """Whether each field has the value still that it is to be changed from, and what it is to refer to is there."""
    present = {str(task.id) for task in snapshot.tasks}
    return all(
        present_value(snapshot, change.part, change.id, change.field) == change.before
        and (change.field != DEPENDS_ON or present.issuperset(change.after))
        for change in changes
    )


def present_value(snapshot: TeamSnapshot, part: Part, identifier: UUID, field: str) -> Any:
    """The field's value as JSON; what equals nothing when the part is not in the team any more."""
    thing = next((each for each in _parts(snapshot, part) if each.id == identifier), None)
    if thing is None:
        return _NOTHING
    if field == DEPENDS_ON:
        return sorted(map(str, waits_for(snapshot.tasks, snapshot.dependencies)[identifier]))
    value = getattr(thing, field)
    return value.value if isinstance(value, Enum) else value


def _parts(snapshot: TeamSnapshot, part: Part) -> Sequence[Team | Role | Task]:
    match part:
        case Part.TEAM:
            return [snapshot.team]
        case Part.ROLE:
            return snapshot.roles
        case Part.TASK:
            return snapshot.tasks
        case Part.TOOL:
            return ()  # nothing that a team does says which tools are better


def changed(thing: Thing, changes: Iterable[FieldChange]) -> Thing:
    """The team, role or task with the changes that are its own; its dependencies are none of it."""
    values = {
        change.field: _typed(change.field, change.after)
        for change in changes
        if change.id == thing.id and change.field != DEPENDS_ON
    }
    return replace(thing, **values)


def _typed(field: str, value: Any) -> Any:
    kind = _KINDS.get(field)
    return value if kind is None or value is None else kind(value)


def with_changes(snapshot: TeamSnapshot, changes: Sequence[FieldChange]) -> TeamSnapshot:
    """The whole team with the changes."""
    new = {change.id: change.after for change in changes if change.field == DEPENDS_ON}
    kept = [link for link in snapshot.dependencies if link.task_id not in new]
    team = snapshot.team
    added = [
        TaskDependency(team.tenant_id, team.id, task.id, other.id)
        for task in snapshot.tasks
        for other in snapshot.tasks
        if str(other.id) in new.get(task.id, ())
    ]
    return replace(
        snapshot,
        team=changed(team, changes),
        roles=[changed(role, changes) for role in snapshot.roles],
        tasks=[changed(task, changes) for task in snapshot.tasks],
        dependencies=[*kept, *added],
    )
