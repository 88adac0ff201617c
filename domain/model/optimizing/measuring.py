"""What an optimization came to: executions since it was applied against those before."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from domain.model.history import ENOUGH_EXECUTIONS
from domain.model.money import Money
from domain.model.optimization import MeasuredEffect, Metric


@dataclass(frozen=True, slots=True)
class Figures:
    """How some executions went; `mean_cost` in dollars, both means of the completed ones, None without any."""

    completed: int = 0
    failed: int = 0
    mean_cost: Decimal | None = None
    mean_seconds: float | None = None

    @property
    def finished(self) -> int:
        return self.completed + self.failed

    @property
    def success(self) -> float | None:
        return self.completed / self.finished if self.finished else None


@dataclass(frozen=True, slots=True)
class TrialFigures:
    """The executions that were kicked off before an optimization was applied, and while it was."""

    before: Figures = Figures()
    after: Figures = Figures()


def measured_effects(figures: TrialFigures) -> list[MeasuredEffect]:
    """How each metric changed."""
    return [_cost(figures), _seconds(figures), _success(figures)]


def _cost(figures: TrialFigures) -> MeasuredEffect:
    before, after = figures.before, figures.after
    return _measured(
        Metric.COST,
        before.completed,
        after.completed,
        _share(before.mean_cost, after.mean_cost),
        "Nothing was paid before, so there is no share to tell.",
        before_cost=None if before.mean_cost is None else Money(before.mean_cost),
        after_cost=None if after.mean_cost is None else Money(after.mean_cost),
    )


def _seconds(figures: TrialFigures) -> MeasuredEffect:
    before, after = figures.before, figures.after
    return _measured(
        Metric.SECONDS,
        before.completed,
        after.completed,
        _share(before.mean_seconds, after.mean_seconds),
        "It took no time that could be measured before, so there is no share to tell.",
        before=before.mean_seconds,
        after=after.mean_seconds,
    )


def _success(figures: TrialFigures) -> MeasuredEffect:
    # Of a rate all that are over count; of cost and time, what was completed.
    before, after = figures.before, figures.after
    change = None if before.success is None or after.success is None else after.success - before.success
    return _measured(
        Metric.SUCCESS_RATE, before.finished, after.finished, change, "", before=before.success, after=after.success
    )


def _measured(
    metric: Metric, earlier: int, since: int, change: float | None, without_share: str, **values: Any
) -> MeasuredEffect:
    if min(earlier, since) < ENOUGH_EXECUTIONS:
        change, message = None, _too_little(earlier, since)
    elif change is None:
        message = without_share
    else:
        message = f"The last {since} executions since, against the last {earlier} before."
    return MeasuredEffect(
        metric, change=change, executions_before=earlier, executions_after=since, message=message, **values
    )


def _share(before: Decimal | float | None, after: Decimal | float | None) -> float | None:
    """The change as a share; None where that is none: of nothing to something, or of what is not known."""
    if before is None or after is None:
        return None
    if before == after:
        return 0.0
    return float(after) / float(before) - 1 if before else None


def _too_little(before: int, since: int) -> str:
    have = f"{before or 'none'} before and {since or 'none'} since"
    return f"Too few executions to compare: {have}, {ENOUGH_EXECUTIONS} of each needed."
