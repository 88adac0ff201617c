"""What differs between a team as it is and as it is proposed, part by part and field by field."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, Final

from domain.model.blueprint import Blueprint, RoleBlueprint, TaskBlueprint, ToolBlueprint, as_document


class DifferenceKind(Enum):
    """What would happen to a part."""

    ADDED = "ADDED"
    REMOVED = "REMOVED"
    CHANGED = "CHANGED"


class Part(Enum):
    """Of what a team consists."""

    TEAM = "TEAM"
    ROLE = "ROLE"
    TASK = "TASK"
    TOOL = "TOOL"


POSITION: Final = "position"
"""The field that tells where a role or a task stands among the others, from 0."""

_UNORDERED: Final = frozenset({"depends_on", "tools"})
"""Lists whose order means nothing."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One part that is there in one of both only (`field` None), or one field of a part that is in both.

    `before` and `after` are JSON: the part as a document, or the field's value; None where there is none.
    """

    kind: DifferenceKind
    part: Part
    name: str
    field: str | None = None
    before: Any = None
    after: Any = None


def differences(before: Blueprint, after: Blueprint) -> list[Difference]:
    """From one to the other: the team's own fields, then its roles by title, its tasks and its tools by name.

    Of roles and tasks that stand in another order as few as possible are told to move.
    """
    old, new = as_document(before, is_whole=True), as_document(after, is_whole=True)
    names = [item.name for item in fields(Blueprint) if item.name not in ("roles", "tasks", "tools")]
    return [
        *_fields(Part.TEAM, before.name, names, old, new),
        *_parts(Part.ROLE, RoleBlueprint, "title", old["roles"], new["roles"]),
        *_parts(Part.TASK, TaskBlueprint, "name", old["tasks"], new["tasks"]),
        *_parts(Part.TOOL, ToolBlueprint, "name", old["tools"], new["tools"]),
    ]


def _parts(
    part: Part, kind: type[Any], label: str, before: list[dict[str, Any]], after: list[dict[str, Any]]
) -> Iterable[Difference]:
    old, new = ({each[label]: each for each in one} for one in (before, after))
    moved = {} if part is Part.TOOL else _moved([*old], [*new])
    for name in [each for each in old if each not in new]:
        yield Difference(DifferenceKind.REMOVED, part, name, before=old[name])
    for name, document in new.items():
        if name not in old:
            yield Difference(DifferenceKind.ADDED, part, name, after=document)
        else:
            yield from _fields(part, name, [item.name for item in fields(kind)], old[name], document)
        if name in moved:
            yield Difference(DifferenceKind.CHANGED, part, name, POSITION, *moved[name])


def _moved(before: Sequence[str], after: Sequence[str]) -> dict[str, tuple[int, int]]:
    """What has to move for one order to become the other, each with its place in both."""
    places = {name: place for place, name in enumerate(before)}
    kept = [name for name in after if name in places]
    staying = _longest_ascent([places[name] for name in kept])
    return {name: (places[name], after.index(name)) for name in kept if places[name] not in staying}


def _longest_ascent(numbers: Sequence[int]) -> set[int]:
    """The most of these numbers, all different, that ascend as they stand."""
    ends: list[int] = []
    before: dict[int, int | None] = {}
    for number in numbers:
        length = bisect_left(ends, number)
        before[number] = ends[length - 1] if length else None
        ends[length : length + 1] = [number]
    found: set[int] = set()
    last = ends[-1] if ends else None
    while last is not None:
        found.add(last)
        last = before[last]
    return found


def _fields(
    part: Part, name: str, names: Iterable[str], before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterable[Difference]:
    for each in names:
        is_same = {*before[each]} == {*after[each]} if each in _UNORDERED else before[each] == after[each]
        if not is_same:
            yield Difference(DifferenceKind.CHANGED, part, name, each, before[each], after[each])
