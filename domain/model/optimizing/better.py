"""Rules for better work: better models and further attempts for tasks that fail."""

from collections.abc import Iterator, Sequence
from typing import Final

from domain.errors import FailureCode
from domain.model.difference import Part
from domain.model.history import TaskHistory
from domain.model.optimization import Evidence, ExpectedEffect, FieldChange, Metric, OptimizationKind
from domain.model.optimizing.model_choices import Alternative
from domain.model.optimizing.proposals import OFTEN, Proposal, Situation, effect, of_failures, of_tasks
from domain.model.routing import QualityPreference
from domain.model.task import Task

POOR: Final = 0.8
"""Below this share of completed tasks, a task is done badly."""

LEAST_FAILED: Final = 0.1
"""Of a task; what fails more seldom is not worth further attempts."""

MOST_ATTEMPTS: Final = 4
"""Further attempts have not helped by then."""

OF_THE_WORK: Final = frozenset(
    {
        FailureCode.MODEL_ANSWER_INVALID,
        FailureCode.MODEL_REFUSED,
        FailureCode.TOOL_FAILED,
        FailureCode.MAX_ITERATIONS,
        FailureCode.OUTPUT_INVALID,
        FailureCode.GUARDRAIL_FAILED,
        FailureCode.APPROVAL_REJECTED,
    }
)
"""Why a better model might not have failed."""

PASSING: Final = frozenset(
    {
        FailureCode.MODEL_UNAVAILABLE,
        FailureCode.MODEL_ANSWER_INVALID,
        FailureCode.TOOL_FAILED,
        FailureCode.OUTPUT_INVALID,
    }
)
"""What a task is tried again after."""


def failing_guardrails(situation: Situation) -> Iterator[Proposal]:
    """Tasks whose output seldom passes at once, or not at all: a better model."""
    for task, own in situation.tasks:
        is_failing = own.guardrail_failed >= OFTEN * own.finished or own.guardrail_failures >= own.finished
        if not task.guardrail or not is_failing:
            continue
        found = better_model(situation, task)
        if found is not None:
            yield Proposal(
                OptimizationKind.FAILING_GUARDRAIL,
                f"Give “{task.name}” a better model",
                f"What “{task.name}” makes does not pass its guardrail, or not at once. {found.model} is of the tier"
                f" {found.tier.value}.{_of_cost(found)} If that does not help, the guardrail may ask too much.",
                [
                    Evidence(f"{own.guardrail_failures} outputs did not pass the guardrail.", own.guardrail_failures),
                    Evidence(f"{own.guardrail_failed} tasks failed of it.", own.guardrail_failed),
                    of_tasks(task.name, own.completed, own.failed),
                ],
                effects_of_better(situation, own, own.guardrail_failed, found),
                [found.change],
            )


def better_model(situation: Situation, task: Task) -> Alternative | None:
    """A better model for the task: where its role pins one, that of the role, else by its preference."""
    role = situation.choices.role_of(task)
    if situation.choices.pinned(role) is None:
        return situation.choices.preferring(task, QualityPreference.PREMIUM) if not _is_premium(task) else None
    return situation.choices.higher(role) if role else None


def _is_premium(task: Task) -> bool:
    return task.quality_preference is QualityPreference.PREMIUM


def effects_of_better(
    situation: Situation, own: TaskHistory, failed: int, found: Alternative
) -> Sequence[ExpectedEffect]:
    """Up to all that failed is completed; it costs more, and less again where less has to be done anew."""
    gain = min(failed, situation.history.failed) / situation.history.finished
    effects = [effect(Metric.SUCCESS_RATE, gain / 4, gain)] if gain else []
    if found.cost_ratio is not None:
        rounds = 1 + own.guardrail_failures / own.finished
        one, other = (
            (ratio - 1) * situation.share(own.total_cost) for ratio in (found.cost_ratio, found.cost_ratio / rounds)
        )
        effects.append(effect(Metric.COST, one, other))
    return effects


def _of_cost(found: Alternative) -> str:
    return "" if found.cost_ratio is not None else " It costs something, and the present one nothing that is known."


def better_models(situation: Situation) -> Iterator[Proposal]:
    """Tasks that fail often, for reasons of the work itself."""
    if not situation.is_mostly(OF_THE_WORK):
        return
    for task, own in situation.tasks:
        if own.completed >= POOR * own.finished:
            continue
        found = better_model(situation, task)
        if found is not None:
            yield Proposal(
                OptimizationKind.BETTER_MODEL,
                f"Give “{task.name}” a better model",
                f"“{task.name}” fails often, and mostly because of the work itself, not of what is around it."
                f" {found.model} is of the tier {found.tier.value}.{_of_cost(found)}",
                [of_tasks(task.name, own.completed, own.failed), of_failures(situation.history)],
                effects_of_better(situation, own, own.failed, found),
                [found.change],
            )


def more_attempts(situation: Situation) -> Iterator[Proposal]:
    """Tasks that fail for reasons that pass, and that a second attempt has saved before."""
    if not situation.is_mostly(PASSING):
        return
    for task, own in situation.tasks:
        failed = own.failed - own.guardrail_failed
        if own.retried <= own.failed or failed < LEAST_FAILED * own.finished or task.max_attempts >= MOST_ATTEMPTS:
            continue
        saved = (own.retried - own.failed) / own.retried
        gain = saved * min(failed, situation.history.failed) / situation.history.finished
        more = situation.share(own.total_cost) * failed / own.finished
        yield Proposal(
            OptimizationKind.MORE_ATTEMPTS,
            f"Try “{task.name}” once more before it fails",
            f"“{task.name}” fails for reasons that often pass by themselves, and further attempts have helped before.",
            [
                of_tasks(task.name, own.completed, own.failed),
                Evidence(f"{own.retried} of them took more than one attempt.", own.retried),
                of_failures(situation.history),
            ],
            [effect(Metric.SUCCESS_RATE, gain / 2, gain), effect(Metric.COST, 0.0, more)],
            [FieldChange(Part.TASK, task.id, task.name, "max_attempts", task.max_attempts, task.max_attempts + 1)],
        )
