"""Edits: what somebody changes of a proposed team before it is made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from domain.model.blueprint import Blueprint, RoleBlueprint, TaskBlueprint
from domain.model.rules import Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Edits:
    """`values` are fields of the blueprint itself; roles and tasks replace those of their title or name, or are added.

    What is removed is named: the roles by title, the tasks by name. What referred to it refers to nobody any more.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    roles: Sequence[RoleBlueprint] = ()
    tasks: Sequence[TaskBlueprint] = ()
    removed_roles: Sequence[str] = ()
    removed_tasks: Sequence[str] = ()


NO_EDITS: Final = Edits()

P = TypeVar("P")


def edited(blueprint: Blueprint, edits: Edits, *under: str) -> Blueprint:
    """The blueprint with the edits. The rules of the result are not checked.

    Raises Invalid, located `under` that path, for what is given twice, and for what is to be removed and not there.
    """
    _check_given(edits, *under)
    _check_removed(blueprint, edits, *under)
    roles = _merged(blueprint.roles, edits.roles, edits.removed_roles, lambda role: role.title)
    tasks = _merged(blueprint.tasks, edits.tasks, edits.removed_tasks, lambda task: task.name)
    titles, names = {role.title for role in roles}, {task.name for task in tasks}
    gone, done = set(edits.removed_roles) - titles, set(edits.removed_tasks) - names
    changed = replace(blueprint, **edits.values)
    return replace(
        changed,
        manager=None if changed.manager in gone else changed.manager,
        roles=[replace(role, supervisor=None) if role.supervisor in gone else role for role in roles],
        tasks=[_freed(task, gone, done) for task in tasks],
    )


def _check_given(edits: Edits, *under: str) -> None:
    """Of two of one name the first would be lost without a word."""
    rules = Rules(*under)
    _once(rules, [role.title for role in edits.roles], "roles", "title")
    _once(rules, [task.name for task in edits.tasks], "tasks", "name")
    rules.hold()


def _once(rules: Rules, given: Sequence[str], what: str, label: str) -> None:
    seen: set[str] = set()
    for place, name in enumerate(given):
        rules.require(name not in seen, f"Another one of the {what} has this {label}.", what, str(place), label)
        seen.add(name)


def _check_removed(blueprint: Blueprint, edits: Edits, *under: str) -> None:
    rules = Rules(*under)
    for place, title in enumerate(edits.removed_roles):
        rules.require(blueprint.role(title), "No role has this title.", "removedRoles", str(place))
    for place, name in enumerate(edits.removed_tasks):
        rules.require(blueprint.task(name), "No task has this name.", "removedTasks", str(place))
    rules.hold()


def _merged(present: Sequence[P], given: Sequence[P], removed: Sequence[str], label: Callable[[P], str]) -> list[P]:
    """The present ones in their order, each as it is given if it is, without the removed; then what is new."""
    by_label = {label(each): each for each in given}
    kept = [
        by_label.pop(label(each), each) for each in present if label(each) in by_label or label(each) not in removed
    ]
    return [*kept, *by_label.values()]


def _freed(task: TaskBlueprint, gone: set[str], done: set[str]) -> TaskBlueprint:
    role = None if task.role in gone else task.role
    waits = [name for name in task.depends_on if name not in done]
    return task if (role, waits) == (task.role, task.depends_on) else replace(task, role=role, depends_on=waits)
