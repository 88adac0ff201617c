"""What can be done about an alert: suggestions that follow from its metric and its evidence alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, TypeAlias
from uuid import UUID

from domain.model.alert import AlertMetric, Evidence
from domain.model.optimization import Goal

GlobalId: TypeAlias = Callable[[str, UUID], str]
"""Makes the global id of a thing of this kind, as the graph shows it."""

RAISED: Final = Decimal("1.5")
"""A budget is suggested to be raised to so many times what it is."""


@dataclass(frozen=True, slots=True)
class SuggestedAction:
    """Something that may help.

    `mutation` is one of the graph, None where none does it; `arguments` are those fields of its input that are known,
    None where none is.
    """

    text: str
    mutation: str | None = None
    arguments: dict[str, Any] | None = None


def actions_for(metric: AlertMetric, evidence: Sequence[Evidence], global_id: GlobalId) -> list[SuggestedAction]:
    """What may help, the most direct first; never empty."""
    return _BY_METRIC[metric](evidence, global_id)


def _slow(evidence: Sequence[Evidence], global_id: GlobalId) -> list[SuggestedAction]:
    running = [
        SuggestedAction(
            "Cancel the execution if it is not worth waiting for.",
            "cancelExecution",
            {"executionId": global_id("Execution", each.execution_id)},
        )
        for each in evidence
        if each.is_running and each.execution_id
    ]
    return [*running[:1], *_optimizations(evidence, Goal.SPEED, "Make the team faster.", global_id), _LOOK]


def _failing(evidence: Sequence[Evidence], global_id: GlobalId) -> list[SuggestedAction]:
    return [_LOOK, *_optimizations(evidence, Goal.PERFORMANCE, "See what the team's history proposes.", global_id)]


def _dear(evidence: Sequence[Evidence], global_id: GlobalId) -> list[SuggestedAction]:
    cheaper = _optimizations(evidence, Goal.COST, "Make the team cheaper.", global_id)
    return [*cheaper, SuggestedAction("Give the tenant a monthly budget, which nothing goes beyond.", "updateTenant")]


def _spent(evidence: Sequence[Evidence], global_id: GlobalId) -> list[SuggestedAction]:
    return [*(_raised(each, global_id) for each in evidence[:1]), *_dear(evidence, global_id)[:-1], _PAUSE]


def _raised(budget: Evidence, global_id: GlobalId) -> SuggestedAction:
    text = "Raise the budget, or wait for the next month."
    limit: dict[str, Any] = {}
    if budget.limit_amount is not None:
        limit["monthlyBudget"] = format((budget.limit_amount * RAISED).normalize(), "f")
    if budget.team_id:
        return SuggestedAction(text, "updateTeam", {"id": global_id("Team", budget.team_id), **limit})
    if budget.project_id:
        return SuggestedAction(text, "updateProject", {"id": global_id("Project", budget.project_id), **limit})
    return SuggestedAction(text, "updateTenant", limit)


def _queued(_evidence: Sequence[Evidence], _global_id: GlobalId) -> list[SuggestedAction]:
    return [
        SuggestedAction("Start more workers, or give them more places (REGATTA_WORKER_CONCURRENCY)."),
        SuggestedAction("See whether a limit holds executions back: maxParallelExecutions of the tenant or a project."),
        _PAUSE,
    ]


def _lost(_evidence: Sequence[Evidence], _global_id: GlobalId) -> list[SuggestedAction]:
    return [
        SuggestedAction("Look at the worker's last log lines, and at the memory of its machine."),
        SuggestedAction("Start another worker; what the lost one had goes on elsewhere."),
    ]


_LOOK: Final = SuggestedAction("Look at the executions of the evidence, and at their failures.")
_PAUSE: Final = SuggestedAction("Pause schedules that can wait.", "pauseSchedule")


def _optimizations(evidence: Sequence[Evidence], goal: Goal, text: str, global_id: GlobalId) -> list[SuggestedAction]:
    """For the first team that the evidence names."""
    team_id = next((each.team_id for each in evidence if each.team_id), None)
    if team_id is None:
        return []
    return [SuggestedAction(text, "optimizeTeam", {"teamId": global_id("Team", team_id), "goal": goal.value})]


_BY_METRIC: Final = {
    AlertMetric.EXECUTION_SECONDS: _slow,
    AlertMetric.FAILURE_RATE: _failing,
    AlertMetric.TASK_FAILURE_RATE: _failing,
    AlertMetric.SPEND: _dear,
    AlertMetric.BUDGET_SHARE: _spent,
    AlertMetric.QUEUE_DEPTH: _queued,
    AlertMetric.QUEUE_WAIT_SECONDS: _queued,
    AlertMetric.WORKERS_LOST: _lost,
}
