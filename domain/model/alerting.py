"""When alert rules fire and are resolved: the moments at which they are judged, and the state machine. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from domain.model.alert import Alert, AlertMetric, AlertRule, AlertSeverity, AlertState
from domain.model.identity import TenantId

MAX_STEPS: Final = 500
"""So many moments are judged in one pass; the next pass goes on behind the last of them."""

FINE: Final = timedelta(days=1)
"""What is longer ago is judged at moments a whole window apart: further apart, facts would fall between windows."""

OLDEST: Final = timedelta(days=30)
"""What is longer ago is not judged any more: the facts themselves are not all kept."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a metric was at a moment, over so many facts; None without data."""

    moment: datetime
    value: Decimal | None
    samples: int


def moments_of(rule: AlertRule, until: datetime) -> list[datetime]:
    """The moments up to `until` at which the rule is still to be judged, oldest first, at most `MAX_STEPS`."""
    found: list[datetime] = []
    moment = max(rule.evaluated_until, until - OLDEST)
    while len(found) < MAX_STEPS:
        is_old = until - moment > FINE
        moment += max(rule.step, timedelta(seconds=rule.window_seconds)) if is_old else rule.step
        if moment > until:
            break
        found.append(moment)
    return found


def fires(rule: AlertRule, reading: Reading) -> bool:
    """Whether it is too much, over enough facts."""
    if reading.value is None or reading.samples < rule.samples_needed:
        return False
    return reading.value > rule.threshold or (rule.trait.is_at and reading.value == rule.threshold)


def is_calm(rule: AlertRule, reading: Reading) -> bool:
    """Whether it is good again; without data there is nothing bad."""
    return reading.value is None or reading.value <= rule.clearing


def follow(rule: AlertRule, alert: Alert | None, readings: Iterable[Reading]) -> Sequence[Alert]:
    """The alerts that begin or change, in their order, as they are in the end; only the last one may be open."""
    changed: dict[object, Alert] = {}
    for reading in readings:
        after = advance(rule, alert, reading)
        if after is not None:
            changed[after.id] = after
        alert = after if after is not None and after.is_open else None
    return list(changed.values())


def advance(rule: AlertRule, alert: Alert | None, reading: Reading) -> Alert | None:
    """The open alert behind a reading, resolved perhaps, or a new one; None while all is well.

    Between the two bounds nothing changes, and one good reading is not enough: noise does not make it flap.
    """
    if alert is None:
        return _fired(rule, reading) if fires(rule, reading) else None
    peak = alert.peak if reading.value is None else max(alert.peak, reading.value)
    going_on = replace(alert, peak=peak, last_value=reading.value)
    if not is_calm(rule, reading):
        return replace(going_on, calm_since=None)
    if alert.calm_since is None:
        return replace(going_on, calm_since=reading.moment)
    return replace(going_on, state=AlertState.RESOLVED, resolved_at=reading.moment)


def _fired(rule: AlertRule, reading: Reading) -> Alert:
    value = reading.value or Decimal(0)
    return Alert(
        rule.tenant_id,
        rule.id,
        rule.metric,
        rule.severity,
        rule.threshold,
        value=value,
        peak=value,
        last_value=value,
        message=message_of(rule, value),
        fired_at=reading.moment,
        project_id=rule.project_id,
        team_id=rule.team_id,
    )


_TEXTS: Final = {
    AlertMetric.EXECUTION_SECONDS: "An execution took {value}",
    AlertMetric.FAILURE_RATE: "{value} of the executions failed",
    AlertMetric.TASK_FAILURE_RATE: "{value} of the tasks failed",
    AlertMetric.SPEND: "{value} were spent",
    AlertMetric.BUDGET_SHARE: "{value} of a budget are spent",
    AlertMetric.QUEUE_DEPTH: "{value} executions waited for a place",
    AlertMetric.QUEUE_WAIT_SECONDS: "An execution waited {value} for a place",
    AlertMetric.WORKERS_LOST: "Workers lost: {value}",
}
_OF_A_MOMENT: Final = frozenset({AlertMetric.BUDGET_SHARE, AlertMetric.QUEUE_DEPTH, AlertMetric.QUEUE_WAIT_SECONDS})


def message_of(rule: AlertRule, value: Decimal) -> str:
    """What happened, for people, like “12.5 % of the executions failed within 300 s: more than 5 %.”."""
    unit = rule.trait.unit
    what = _TEXTS[rule.metric].format(value=unit.told(value))
    within = "" if rule.metric in _OF_A_MOMENT else f" within {rule.window_seconds:g} s"
    limit = unit.told(rule.threshold)
    return f"{what}{within}: {f'{limit} or more' if rule.trait.is_at else f'more than {limit}'}."


def seeds_of(tenant_id: TenantId) -> list[AlertRule]:
    """The rules that every tenant begins with."""
    return [
        AlertRule(tenant_id, name, metric, Decimal(limit), severity=severity, is_seed=True)
        for name, metric, limit, severity in _SEEDS
    ]


_SEEDS: Final = (
    ("Execution over 60 seconds", AlertMetric.EXECUTION_SECONDS, "60", AlertSeverity.WARNING),
    ("Failure rate over 5 %", AlertMetric.FAILURE_RATE, "0.05", AlertSeverity.WARNING),
    ("Budget at 90 %", AlertMetric.BUDGET_SHARE, "0.9", AlertSeverity.CRITICAL),
    ("More than 20 executions in the queue", AlertMetric.QUEUE_DEPTH, "20", AlertSeverity.WARNING),
    ("Worker lost", AlertMetric.WORKERS_LOST, "0", AlertSeverity.CRITICAL),
)
