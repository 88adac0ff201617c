"""Rules for less time: tasks side by side, and prompts without what is not used."""

from collections.abc import Iterator, Mapping
from typing import Final

from domain.errors import NoActiveRole
from domain.model.difference import Part
from domain.model.history import ENOUGH_EXECUTIONS
from domain.model.matching import MOST_SHOWN, manager_of
from domain.model.optimization import Evidence, FieldChange, Metric, OptimizationKind
from domain.model.optimizing.branches import Waits, seconds_side_by_side, used_outputs
from domain.model.optimizing.field_changes import DEPENDS_ON
from domain.model.optimizing.proposals import Proposal, Situation, effect, of_tasks
from domain.model.revision import TeamSnapshot
from domain.model.role import Role
from domain.model.task import in_order
from domain.model.team import Process

LEAST_SAVED: Final = 0.1
"""Of the time; less would be lost in the differences between executions."""

DELEGATION_SHARE: Final = 0.05
"""What the tools by which a role delegates make of its prompts, at the most: an estimate."""


def parallel_branches(situation: Situation) -> Iterator[Proposal]:
    """Tasks that do not use each other's output need not wait for each other."""
    snapshot = situation.snapshot
    seconds = {task.id: own.seconds.middle for task, own in situation.tasks if own.seconds}
    if snapshot.team.process is not Process.SEQUENTIAL or len(seconds) < len(snapshot.tasks) or not seconds:
        return
    whole = sum(seconds.values())
    waits = used_outputs(snapshot)
    shorter = seconds_side_by_side(snapshot, waits, seconds)
    saved = 1 - shorter / whole if whole else 0.0
    if saved < LEAST_SAVED:
        return
    # The branches, as somebody has to judge them: who begins without waiting for anybody.
    free = [f"“{task.name}”" for task in snapshot.tasks if not waits[task.id]]
    shown = ", ".join(free[:MOST_SHOWN]) + (" and others" if len(free) > MOST_SHOWN else "")
    yield Proposal(
        OptimizationKind.PARALLEL_BRANCHES,
        "Run tasks side by side that do not use each other's output",
        f"{shown} could begin at once. That is a guess from words: their texts were looked through for what refers to"
        " another task, in English and German, and nothing was found. The process becomes PARALLEL, and what the other"
        " tasks use is declared, for then they see nothing else. Whoever applies it has to check that none needs more.",
        [
            Evidence(f"One after another, the tasks take {whole:.0f} seconds.", round(whole, 1)),
            Evidence(
                f"Side by side, as far as the team and its roles allow, they would take {shorter:.0f}.",
                round(shorter, 1),
            ),
        ],
        [effect(Metric.SECONDS, -saved, -saved / 2)],
        _changes_to(snapshot, waits),
    )


def branch_changes(snapshot: TeamSnapshot) -> list[FieldChange]:
    """What makes a SEQUENTIAL team run as its texts allow, every task that is to wait seeing what it uses."""
    return _changes_to(snapshot, used_outputs(snapshot))


def _changes_to(snapshot: TeamSnapshot, waits: Waits) -> list[FieldChange]:
    team = snapshot.team
    declared: Mapping[object, list[str]] = {
        task.id: sorted(str(link.depends_on_id) for link in snapshot.dependencies if link.task_id == task.id)
        for task in snapshot.tasks
    }
    return [
        FieldChange(Part.TEAM, team.id, team.name, "process", Process.SEQUENTIAL.value, Process.PARALLEL.value),
        *(
            FieldChange(Part.TASK, task.id, task.name, DEPENDS_ON, declared[task.id], sorted(map(str, waits[task.id])))
            for task in in_order(snapshot.tasks, snapshot.dependencies)
            if declared[task.id] != sorted(map(str, waits[task.id]))
        ),
    ]


def unused_delegation(situation: Situation) -> Iterator[Proposal]:
    """Roles of a led team that may hand work on and never did: the tools for it cost tokens in every call."""
    snapshot = situation.snapshot
    if snapshot.team.process is not Process.HIERARCHICAL:
        return
    try:
        manager = manager_of(snapshot.team, snapshot.roles)
    except NoActiveRole:
        return
    for role, own in situation.roles:
        count = _could_delegate(situation, role)
        is_unused = count >= ENOUGH_EXECUTIONS and not own.delegated
        if role.is_delegation_allowed and is_unused and role.id != manager.id:
            part = DELEGATION_SHARE * situation.share(own.total_cost)
            yield Proposal(
                OptimizationKind.UNUSED_DELEGATION,
                f"Let “{role.title}” no longer delegate",
                f"“{role.title}” may hand work on, and never did. Without the tools for it, its prompts are shorter.",
                [
                    Evidence(f"In {count} executions in which it could, it handed work on in none.", count),
                    of_tasks(role.title, own.completed, own.failed),
                ],
                [effect(Metric.SECONDS, -part, 0.0), effect(Metric.COST, -part, 0.0)],
                [FieldChange(Part.ROLE, role.id, role.title, "is_delegation_allowed", before=True, after=False)],
            )


def _could_delegate(situation: Situation, role: Role) -> int:
    """How many executions could tell of delegation: those since neither the team nor the role was edited."""
    since = max(situation.snapshot.team.updated_at, role.updated_at)
    return sum(moment >= since for moment in situation.history.with_events_from)
