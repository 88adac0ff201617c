"""Rules for less cost: cheaper models for work that passes."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final

from domain.model.history import ENOUGH_EXECUTIONS, ModelRecord, RoleHistory, TaskRecord
from domain.model.identity import TaskId
from domain.model.optimization import Evidence, Metric, OptimizationKind
from domain.model.optimizing.model_choices import Alternative
from domain.model.optimizing.proposals import Proposal, Situation, effect, is_good, of_tasks
from domain.model.role import Role
from domain.model.routing import QualityPreference

CLEARLY_CHEAPER: Final = 0.8
"""A model that costs more than this share of another is not worth a change."""


def cheaper_models(situation: Situation) -> Iterator[Proposal]:
    """For roles whose tasks pass: a model that passed at a lower tier, or the next lower tier of a pinned model."""
    for role, own in situation.roles:
        usual = _usual(own, situation.choices.pinned_name(role))
        if usual is None or usual.tier is None or not is_good(usual.completed, usual.failed):
            continue
        if proven := _proven(situation, role, own, usual):
            yield proven
        elif situation.choices.pinned(role) is not None and (lower := situation.choices.lower(role)):
            yield from _next_lower(situation, own, usual, lower)


def _usual(own: RoleHistory, pinned: str | None) -> ModelRecord | None:
    """The model that is pinned; else the one that the role spent most on, or used most if none cost anything.

    None where it was used too seldom: what the role did with others before is no longer what it does.
    """

    def weight(record: ModelRecord) -> tuple[Decimal, int]:
        return record.mean_cost * record.finished, record.finished

    known = [record for record in own.models if pinned in (None, record.model)]
    usual = max(known, key=weight, default=None)
    return usual if usual and usual.finished >= ENOUGH_EXECUTIONS else None


def _proven(situation: Situation, role: Role, own: RoleHistory, usual: ModelRecord) -> Proposal | None:
    """The model of a lower tier that costs least, of those with which each of the role's tasks passed.

    Each task is compared with itself: what is routed to a cheaper model is mostly the easier work.
    """
    # Where the role is routed, whatever it does would go to the one model; where it is pinned, the pinned one does it.
    present = [usual] if situation.choices.pinned(role) is not None else own.models
    tasks = _tasks_of(situation, role, present)
    if not tasks:
        return None
    passed = [(_ratio(record, present, tasks), record) for record in own.models if _is_proof(record, usual, tasks)]
    for ratio, record in sorted(passed, key=lambda each: each[0]):
        if ratio <= CLEARLY_CHEAPER and (found := situation.choices.proven(role, record)):
            return _cheaper(situation, own, found, ratio, [_of_model(usual), _of_same(record, tasks)])
    return None


def _tasks_of(situation: Situation, role: Role, records: Sequence[ModelRecord]) -> list[TaskId]:
    """The tasks of the team as it is that the role did with one of these, and may do again."""
    done = {task.task_id for record in records for task in record.tasks}
    return [task.id for task in situation.snapshot.tasks if task.id in done and task.role_id in (None, role.id)]


def _is_proof(record: ModelRecord, usual: ModelRecord, tasks: Sequence[TaskId]) -> bool:
    if record.tier is None or usual.tier is None or record.tier.level >= usual.tier.level:
        return False
    return all(_has_passed(record.of_task(task)) for task in tasks)


def _has_passed(task: TaskRecord | None) -> bool:
    return task is not None and task.completed >= ENOUGH_EXECUTIONS and is_good(task.completed, task.failed)


def _ratio(record: ModelRecord, present: Sequence[ModelRecord], tasks: Sequence[TaskId]) -> float:
    """What the tasks would have cost with the model, by what they did cost."""
    before = after = Decimal(0)
    for task in tasks:
        done = [found for each in present if (found := each.of_task(task))]
        other = record.of_task(task)
        before += sum((found.cost for found in done), Decimal(0))
        after += other.mean_cost * sum(found.finished for found in done) if other else 0
    return float(after / before) if before else 1.0


def _next_lower(situation: Situation, own: RoleHistory, usual: ModelRecord, lower: Alternative) -> Iterator[Proposal]:
    if lower.cost_ratio is not None and lower.cost_ratio <= CLEARLY_CHEAPER:
        evidence = [_of_model(usual), _of_price(lower.model, lower.cost_ratio)]
        yield _cheaper(situation, own, lower, lower.cost_ratio, evidence)


def _cheaper(
    situation: Situation, own: RoleHistory, found: Alternative, ratio: float, evidence: Sequence[Evidence]
) -> Proposal:
    saved = (1 - ratio) * situation.share(own.total_cost)
    return Proposal(
        OptimizationKind.CHEAPER_MODEL,
        f"Let “{own.title}” use {found.model}",
        f"The tasks of “{own.title}” pass. {found.model} is of the tier {found.tier.value} and cheaper; whether it does"
        " them as well shows in the executions that follow.",
        [of_tasks(own.title, own.completed, own.failed), *evidence],
        [effect(Metric.COST, -saved, -saved / 2)],
        [found.change],
        ratio,
    )


def lower_preferences(situation: Situation) -> Iterator[Proposal]:
    """For tasks that pass and ask for PREMIUM: BALANCED, where that leads to another tier."""
    for task, own in situation.tasks:
        if task.quality_preference is not QualityPreference.PREMIUM or not is_good(own.completed, own.failed):
            continue
        found = situation.choices.preferring(task, QualityPreference.BALANCED)
        if found is None or found.cost_ratio is None or found.cost_ratio > CLEARLY_CHEAPER:
            continue
        saved = (1 - found.cost_ratio) * situation.share(own.total_cost)
        yield Proposal(
            OptimizationKind.CHEAPER_MODEL,
            f"Let “{task.name}” be BALANCED instead of PREMIUM",
            f"The task passes. BALANCED leads to {found.model}, of the tier {found.tier.value}, which is cheaper.",
            [of_tasks(task.name, own.completed, own.failed), _of_price(found.model, found.cost_ratio)],
            [effect(Metric.COST, -saved, -saved / 2)],
            [found.change],
        )


def _of_model(record: ModelRecord) -> Evidence:
    cost = float(record.mean_cost)
    text = f"With {record.model}, {record.completed} of {record.finished} tasks were completed, for ${cost:.4f} each."
    return Evidence(text, cost)


def _of_same(record: ModelRecord, tasks: Sequence[TaskId]) -> Evidence:
    """How the same tasks went with the other model."""
    done = [found for task in tasks if (found := record.of_task(task))]
    completed, finished = sum(each.completed for each in done), sum(each.finished for each in done)
    cost = float(sum((each.cost for each in done), Decimal(0)) / finished)
    text = f"With {record.model}, {completed} of {finished} of the same tasks were completed, for ${cost:.4f} each."
    return Evidence(text, cost)


def _of_price(model: str, ratio: float) -> Evidence:
    return Evidence(f"With {model}, what is read and written would cost {ratio:.0%} of what it does.", round(ratio, 4))
