"""Tasks whose guardrail refuses what they make again and again."""

from collections.abc import Iterator, Sequence
from typing import Final

from domain.model.difference import Part
from domain.model.history import ENOUGH_EXECUTIONS, TaskHistory
from domain.model.optimization import Evidence, ExpectedEffect, Metric
from domain.model.optimizing.better import better_model
from domain.model.optimizing.model_choices import Alternative
from domain.model.optimizing.proposals import effect
from domain.model.recommendation import Recommendation, RecommendationKind, RecommendedAction
from domain.model.recommending.cases import Case, action_of
from domain.model.recommending.records import PastTask, task_history, total
from domain.model.role import Role
from domain.model.task import Task

OFTEN_REFUSED: Final = 0.3
"""Of what a guardrail looked at: each refusal is an attempt that was paid for nothing."""


def failing_guardrails(case: Case) -> Iterator[Recommendation]:
    """Where the guardrail refused so large a share of all that it looked at."""
    for task, checked, share in often_refused(case):
        yield _failing(case, task, checked, share)


def often_refused(case: Case) -> Iterator[tuple[Task, Sequence[PastTask], float]]:
    """The tasks whose guardrail often refuses, what of them it looked at, and the share that it refused."""
    for task, done in case.tasks:
        checked = [each for each in done if each.refused + each.passed]
        refused = sum(each.refused for each in checked)
        looked = refused + sum(each.passed for each in checked)
        if task.guardrail and len(checked) >= ENOUGH_EXECUTIONS and refused >= OFTEN_REFUSED * looked:
            yield task, checked, refused / looked


def _failing(case: Case, task: Task, checked: Sequence[PastTask], share: float) -> Recommendation:
    own = task_history(task, checked)
    found = better_model(case.situation, task)
    return Recommendation(
        RecommendationKind.GUARDRAIL_KEEPS_FAILING,
        f"The guardrail of “{task.name}” refuses again and again",
        _explanation(case, task, found),
        [
            Evidence(f"{own.guardrail_failures} outputs were refused, {share:.0%} of those looked at.", share),
            Evidence(f"{own.guardrail_failed} of {own.finished} tasks failed of it.", own.guardrail_failed),
        ],
        _effects(case, task, own, found, checked),
        len(checked),
        task,
        case.snapshot.team.id,
        _action(case, task, found),
        case.spent,
    )


def _action(case: Case, task: Task, found: Alternative | None) -> RecommendedAction | None:
    if found is None:
        return None
    role = _changed_role(case, found)
    whole = f"Let “{role.title}” do all its tasks, “{task.name}” among them, with {found.model}." if role else ""
    return action_of(found.change, case.snapshot, whole or f"Let “{task.name}” be done by {found.model}.")


def _changed_role(case: Case, found: Alternative) -> Role | None:
    """The role whose model is pinned, and changes; None where the task alone goes to another model."""
    if found.change.part is not Part.ROLE:
        return None
    return next(role for role in case.snapshot.roles if role.id == found.change.id)


def _explanation(case: Case, task: Task, found: Alternative | None) -> str:
    if found is None:
        return (
            f"No better model can be had for “{task.name}”: its guardrail asks for more than description and expected"
            " output say, or for too much."
        )
    role = _changed_role(case, found)
    whole = f" The model is that of “{role.title}”: all its tasks change, and cost accordingly." if role else ""
    return (
        f"{found.model} is of the tier {found.tier.value}.{whole} If that does not help, the guardrail of"
        f" “{task.name}” asks for more than its description and expected output say, or for too much."
    )


def _effects(
    case: Case, task: Task, own: TaskHistory, found: Alternative | None, checked: Sequence[PastTask]
) -> Sequence[ExpectedEffect]:
    """Of a better model what it changes; else at most what is failed is completed, and no output in vain."""
    if found is not None:
        return _effects_of_better(case, task, own, found)
    gain = own.guardrail_failed / own.finished
    outputs = own.guardrail_failures + sum(each.passed for each in checked)
    vain = case.share(total(checked)) * own.guardrail_failures / outputs
    better = [effect(Metric.SUCCESS_RATE, gain / 4, gain)] if gain else []
    return [*better, effect(Metric.COST, -vain, 0.0)]


def _effects_of_better(case: Case, task: Task, own: TaskHistory, found: Alternative) -> Sequence[ExpectedEffect]:
    """Up to all that failed of the guardrail is completed; all that the change is of costs by the ratio.

    At the near end this task costs less again, for its outputs in vain need not be made.
    """
    history, role = case.situation.history, _changed_role(case, found)
    gain = min(own.guardrail_failed, history.failed) / history.finished
    effects = [effect(Metric.SUCCESS_RATE, gain / 4, gain)] if gain else []
    if found.cost_ratio is None:
        return effects
    past = case.past.of_task(task, None) if role is None else case.done_as_now(role)
    whole, alone = (case.share(total(each)) for each in (past, [done for done in past if done.task_id == task.id]))
    rounds, dearer = 1 + own.guardrail_failures / own.finished, found.cost_ratio - 1
    spared = alone * found.cost_ratio * (1 - 1 / rounds)
    return [*effects, effect(Metric.COST, dearer * whole - spared, dearer * whole)]
