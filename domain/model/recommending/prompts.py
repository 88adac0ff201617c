"""Tasks whose prompts grow from execution to execution."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from statistics import correlation, median
from typing import Final

from domain.model.history import ENOUGH_EXECUTIONS
from domain.model.optimization import Evidence, ExpectedEffect, Metric
from domain.model.optimizing.proposals import effect
from domain.model.recommendation import Recommendation, RecommendationKind
from domain.model.recommending.cases import Case
from domain.model.recommending.records import PastTask, total
from domain.model.task import Task

ENOUGH_TO_GROW: Final = 3 * ENOUGH_EXECUTIONS
"""Each third of them is enough by itself."""

CLEAR_GROWTH: Final = 1.3
"""The median of the last third by that of the first."""

CLEAR_TREND: Final = 0.5
"""Spearman's rank correlation of time and length: a single long stretch is no growth."""


def growing_prompts(case: Case) -> Iterator[Recommendation]:
    """Tasks whose calls read clearly more in the last third of the executions than in the first, and ever more."""
    for task, done in case.tasks:
        told = sorted((each for each in done if each.calls), key=lambda each: (each.created_at, each.execution_id))
        if len(told) < ENOUGH_TO_GROW:
            continue
        lengths = [each.prompt_tokens / each.calls for each in told]
        third = len(lengths) // 3
        before, after = median(lengths[:third]), median(lengths[-third:])
        trend = rank_trend(lengths)
        if before and after > CLEAR_GROWTH * before and trend >= CLEAR_TREND:
            yield _growing(case, task, told, before, after, trend)


def rank_trend(values: Sequence[float]) -> float:
    """Spearman's rank correlation with the order that they stand in, -1 to 1; 0 where all are alike."""
    if len(set(values)) <= 1:
        return 0.0
    return correlation(range(len(values)), _ranks(values))


def _ranks(values: Sequence[float]) -> list[float]:
    """The place of each among all, from 0; equal ones share the middle of their places."""
    ordered = sorted(values)
    return [(bisect_left(ordered, value) + bisect_right(ordered, value) - 1) / 2 for value in values]


def _growing(
    case: Case, task: Task, told: Sequence[PastTask], before: float, after: float, trend: float
) -> Recommendation:
    growth, cost = after / before - 1, total(told)
    return Recommendation(
        RecommendationKind.GROWING_PROMPT,
        f"The prompts of “{task.name}” grow",
        f"Each call of “{task.name}” reads more than it used to, though nobody edited the task: its inputs, the outputs"
        " of the tasks before it or the answers of its tools have grown. Declare which outputs it needs, ask for"
        " shorter ones, or shorten what is given at kickoff.",
        [
            Evidence(f"A call read {before:.0f} tokens in the first third of the executions.", round(before, 1)),
            Evidence(f"It read {after:.0f} in the last third, {growth:.0%} more.", round(after, 1)),
            Evidence(f"Time and length go together with a rank correlation of {trend:.2f}.", round(trend, 2)),
            Evidence(f"The task makes {case.share(cost):.0%} of what the team spends.", round(case.share(cost), 4)),
        ],
        _effects(case, told, before, after),
        len(told),
        task,
        case.snapshot.team.id,
        None,
        case.spent,
    )


def _effects(case: Case, told: Sequence[PastTask], before: float, after: float) -> Sequence[ExpectedEffect]:
    """If the prompts were as long as they used to be; nothing where reading costs nothing that is known."""
    saved = case.share(total(told)) * case.prompt_share(told) * (1 - before / after)
    return [effect(Metric.COST, -saved, -saved / 2)] if saved else []
