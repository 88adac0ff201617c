"""The task that holds everything up: the longest on the critical path through a team's dependencies."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from domain.model.history import ENOUGH_EXECUTIONS
from domain.model.identity import TaskId
from domain.model.optimization import Evidence, ExpectedEffect, Metric
from domain.model.optimizing.faster import parallel_branches
from domain.model.optimizing.proposals import effect, is_good
from domain.model.recommendation import Recommendation, RecommendationKind, RecommendedAction, Reference
from domain.model.recommending.cases import Case, action_of
from domain.model.recommending.records import PastTask
from domain.model.revision import TeamSnapshot
from domain.model.routing import QualityPreference
from domain.model.task import Task, in_order, waits_for
from domain.model.team import Process

LARGE_SHARE: Final = 0.4
"""Of the critical path's time; of a team with few tasks, half as much again as an equal part."""

LEAST_SECONDS: Final = 5.0
"""What takes less all in all holds nobody up."""

LEAST_SAVED: Final = 0.05
"""Less would be lost in the differences between executions: another path is as long."""


@dataclass(frozen=True, slots=True)
class Path:
    """The critical path: its tasks in order, and how long they take, in seconds."""

    tasks: Sequence[Task]
    seconds: float


def bottlenecks(case: Case) -> Iterator[Recommendation]:
    """At most one of a team; nothing of a led or COLLABORATIVE one, for there the dependencies do not decide."""
    snapshot = case.snapshot
    seconds = _medians(case)
    if snapshot.team.process not in (Process.SEQUENTIAL, Process.PARALLEL) or len(seconds) < len(snapshot.tasks):
        return
    path = critical_path(snapshot, seconds)
    task = max(path.tasks, key=lambda each: seconds[each.id], default=None)
    if task is None or path.seconds < LEAST_SECONDS:
        return
    share = seconds[task.id] / path.seconds
    saved = 1 - critical_path(snapshot, {**seconds, task.id: seconds[task.id] / 2}).seconds / path.seconds
    if share >= max(LARGE_SHARE, 1.5 / len(snapshot.tasks)) and saved >= LEAST_SAVED:
        yield _holding_up(case, task, path, seconds, saved)


def _medians(case: Case) -> Mapping[TaskId, float]:
    """In seconds, of the tasks that were completed often enough."""
    done = {task.id: [each.seconds for each in own if each.is_completed] for task, own in case.tasks}
    return {task_id: median(own) for task_id, own in done.items() if len(own) >= ENOUGH_EXECUTIONS}


def _completed(own: Sequence[PastTask]) -> int:
    return sum(each.is_completed for each in own)


def critical_path(snapshot: TeamSnapshot, seconds: Mapping[TaskId, float]) -> Path:
    """The tasks that decide how long an execution takes, however many may run at once."""
    ordered = in_order(snapshot.tasks, snapshot.dependencies)
    is_chain = snapshot.team.process is Process.SEQUENTIAL
    waits = waits_for(snapshot.tasks, snapshot.dependencies)
    found: dict[object, Path] = {}
    for place, task in enumerate(ordered):
        before = [ordered[place - 1].id] if is_chain and place else waits[task.id] if not is_chain else []
        longest = max((found[each] for each in before), key=lambda path: path.seconds, default=Path([], 0.0))
        found[task.id] = Path([*longest.tasks, task], longest.seconds + seconds[task.id])
    return max(found.values(), key=lambda path: path.seconds, default=Path([], 0.0))


def _holding_up(case: Case, task: Task, path: Path, seconds: Mapping[TaskId, float], saved: float) -> Recommendation:
    own, without = seconds[task.id], critical_path(case.snapshot, {**seconds, task.id: 0.0}).seconds
    way = _way(case, task, path, seconds, saved)
    return Recommendation(
        RecommendationKind.BOTTLENECK,
        f"“{task.name}” holds the others up",
        f"“{task.name}” takes most of the time in which an execution cannot go on otherwise. What it takes less, the"
        " whole takes less, until another path is the longest. A faster model does it in less time, and two tasks side"
        " by side may share what can be divided.",
        [
            Evidence(f"It takes {own:.0f} of the {path.seconds:.0f} seconds on the critical path.", round(own, 1)),
            Evidence(f"The critical path: {' → '.join(f'“{each.name}”' for each in path.tasks[:5])}.", len(path.tasks)),
            Evidence(f"Without it, the longest path would take {without:.0f} seconds.", round(without, 1)),
            *way.evidence,
        ],
        [way.effect],
        min(_completed(own) for each, own in case.tasks if each in path.tasks),
        task,
        case.snapshot.team.id,
        way.action,
        case.spent,
    )


@dataclass(frozen=True, slots=True)
class _Way:
    """What could be done, and what that comes to."""

    effect: ExpectedEffect
    action: RecommendedAction | None = None
    evidence: Sequence[Evidence] = ()


def _way(case: Case, task: Task, path: Path, seconds: Mapping[TaskId, float], halved: float) -> _Way:
    """Side by side where the texts allow it; else a faster model, for work that passes; else what people think of.

    `halved` is what is saved at half of the task's time: taken where nothing tells how long it would take.
    """
    return (
        _side_by_side(case)
        or _faster(case, task, path, seconds, halved)
        or _Way(effect(Metric.SECONDS, -halved, -halved / 2))
    )


def _side_by_side(case: Case) -> _Way | None:
    found = next(parallel_branches(case.situation), None)
    if found is None:
        return None
    arguments = {"teamId": Reference("Team", case.snapshot.team.id), "goal": "SPEED"}
    text = "Have branches proposed that run side by side; `applyOptimization` makes them so."
    [shorter] = [each for each in found.effects if each.metric is Metric.SECONDS]
    return _Way(shorter, RecommendedAction("optimizeTeam", arguments, text), found.evidence)


def _faster(case: Case, task: Task, path: Path, seconds: Mapping[TaskId, float], halved: float) -> _Way | None:
    """By how long the task took with that model before; None where that is no shorter path."""
    own = case.situation.history.of_task(task.id)
    found = case.situation.choices.preferring(task, QualityPreference.FAST)
    if own is None or found is None or not is_good(own.completed, own.failed):
        return None
    text = f"Let “{task.name}” be FAST, which leads to {found.model}."
    action = action_of(found.change, case.snapshot, text)
    done = case.past.of_task(task, case.situation.choices.role_of(task))
    measured = [each.seconds for each in done if each.is_completed and each.model == found.model]
    if len(measured) < ENOUGH_EXECUTIONS:
        told = (
            f"How long “{task.name}” takes with {found.model} is not on record: half of its time at best, as a guess."
        )
        return _Way(effect(Metric.SECONDS, -halved, 0.0), action, [Evidence(told)])
    took = median(measured)
    saved = 1 - critical_path(case.snapshot, {**seconds, task.id: took}).seconds / path.seconds
    if saved < LEAST_SAVED:
        return None
    told = f"With {found.model}, “{task.name}” took {took:.0f} seconds in {len(measured)} executions."
    return _Way(effect(Metric.SECONDS, -saved, -saved / 2), action, [Evidence(told, round(took, 1))])
