"""Rules over what executions take, and alerts: the times in which a rule did not hold. When is in `alerting`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

from domain.model.identity import (
    AlertId,
    AlertRuleId,
    ExecutionId,
    PrincipalId,
    ProjectId,
    TeamId,
    TenantId,
    new_id,
    utc_now,
)
from domain.model.rules import Rules

MAX_ALERT_RULES: Final = 200
"""The most rules in use of a tenant: each is evaluated every few seconds."""

MIN_WINDOW_SECONDS: Final = 60.0
MAX_WINDOW_SECONDS: Final = 86_400.0
WINDOW_SECONDS: Final = 300.0
MAX_SAMPLES: Final = 1_000_000

LEAST_STEP: Final = timedelta(seconds=5)
STEPS_PER_WINDOW: Final = 12

SETTLED: Final = timedelta(seconds=2)
"""So long what happened may take to be committed: nothing younger is judged."""

SETTLED_LATE: Final = timedelta(seconds=10)
"""So long it may take where a rule is judged later than that: perhaps nobody could write just before, either."""

_DIGITS: Final = 12
_MOST: Final = 1_000_000_000


class AlertMetric(Enum):
    """What a rule looks at. Windows are half open: from so long before a moment on, and before it."""

    EXECUTION_SECONDS = "EXECUTION_SECONDS"
    FAILURE_RATE = "FAILURE_RATE"
    TASK_FAILURE_RATE = "TASK_FAILURE_RATE"
    SPEND = "SPEND"
    BUDGET_SHARE = "BUDGET_SHARE"
    QUEUE_DEPTH = "QUEUE_DEPTH"
    QUEUE_WAIT_SECONDS = "QUEUE_WAIT_SECONDS"
    WORKERS_LOST = "WORKERS_LOST"


class AlertSeverity(Enum):
    """How much it matters."""

    INFO = "INFO"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


class AlertState(Enum):
    """Where a rule stands; an alert is never OK."""

    OK = "OK"
    FIRING = "FIRING"
    RESOLVED = "RESOLVED"


class Unit(Enum):
    """What a metric is told in."""

    SECONDS = "SECONDS"
    SHARE = "SHARE"
    DOLLARS = "DOLLARS"
    COUNT = "COUNT"

    def told(self, value: Decimal) -> str:
        """The value for people: “75.2 s”, “12.5 %”, “$3.20”, “$0.0045”, “21”."""
        match self:
            case Unit.SECONDS:
                return f"{_short(value, 1)} s"
            case Unit.SHARE:
                return f"{_short(value * 100, 1)} %"
            case Unit.DOLLARS:
                return f"${value:.{_cents(value)}f}"
            case Unit.COUNT:
                return _short(value, 0)


def _cents(value: Decimal) -> int:
    """How many digits behind the point tell two figures of less than a dollar: a call may cost a part of a cent."""
    return max(2, 1 - value.adjusted()) if value else 2


def _short(value: Decimal, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@dataclass(frozen=True, slots=True)
class Trait:
    """What differs between metrics.

    `most` is the greatest threshold, `clears` the part of it that counts as good again unless a rule says otherwise,
    `samples` how many facts a window needs by default, `is_at` whether the threshold itself is too much already,
    `is_single` that there is no more than one fact: what it is at a moment, or a mere number.
    """

    unit: Unit
    most: Decimal
    clears: Decimal
    samples: int = 1
    is_at: bool = False
    is_single: bool = False


_RATE: Final = Trait(Unit.SHARE, Decimal("0.999"), Decimal("0.8"), samples=5)
_SECONDS: Final = Trait(Unit.SECONDS, Decimal(_MOST), Decimal("0.9"))
_COUNT: Final = Trait(Unit.COUNT, Decimal(_MOST), Decimal("0.8"), is_single=True)

TRAITS: Final[Mapping[AlertMetric, Trait]] = {
    AlertMetric.EXECUTION_SECONDS: _SECONDS,
    AlertMetric.FAILURE_RATE: _RATE,
    AlertMetric.TASK_FAILURE_RATE: _RATE,
    AlertMetric.SPEND: Trait(Unit.DOLLARS, Decimal(_MOST), Decimal("0.9")),
    AlertMetric.BUDGET_SHARE: Trait(Unit.SHARE, Decimal(10), Decimal("0.95"), is_at=True, is_single=True),
    AlertMetric.QUEUE_DEPTH: _COUNT,
    AlertMetric.QUEUE_WAIT_SECONDS: replace(_SECONDS, is_single=True),
    AlertMetric.WORKERS_LOST: _COUNT,
}


@dataclass(slots=True)
class AlertRule:
    """What must not happen in a tenant, a project or a team, and how it is judged.

    It is too much above `threshold` (BUDGET_SHARE: at it), in the metric's unit; it is good again at `clears_at` or
    below. `clears_at` and `minimum_samples` are None for what the metric has by default. A team's rule names the
    team's project as well.

    What follows `is_seed` is written by who evaluates it: everything before `evaluated_until` is judged, `due_at` is
    when there is more to judge, None while it is out of use; `state_since` is None before the first alert.
    """

    tenant_id: TenantId
    name: str
    metric: AlertMetric
    threshold: Decimal
    clears_at: Decimal | None = None
    window_seconds: float = WINDOW_SECONDS
    minimum_samples: int | None = None
    severity: AlertSeverity = AlertSeverity.WARNING
    project_id: ProjectId | None = None
    team_id: TeamId | None = None
    is_enabled: bool = True
    is_seed: bool = False
    evaluated_until: datetime = field(default_factory=utc_now)
    due_at: datetime | None = None
    state: AlertState = AlertState.OK
    state_since: datetime | None = None
    id: AlertRuleId = field(default_factory=lambda: AlertRuleId(new_id()))
    version: int = 1
    created_at: datetime = field(default_factory=utc_now)
    updated_at: datetime = field(default_factory=utc_now)
    created_by: PrincipalId | None = None
    archived_at: datetime | None = None

    @property
    def trait(self) -> Trait:
        return TRAITS[self.metric]

    @property
    def clearing(self) -> Decimal:
        """At this value, and below, it is good again."""
        if self.clears_at is not None:
            return self.clears_at
        return (self.threshold * self.trait.clears).quantize(Decimal(1).scaleb(-_DIGITS)).normalize() + 0

    @property
    def samples_needed(self) -> int:
        """Fewer facts in the window are no reason to fire."""
        return self.trait.samples if self.minimum_samples is None else self.minimum_samples

    @property
    def step(self) -> timedelta:
        """So far apart are the moments at which it is judged."""
        return max(LEAST_STEP, timedelta(seconds=self.window_seconds / STEPS_PER_WINDOW))

    @property
    def is_in_use(self) -> bool:
        return self.is_enabled and self.archived_at is None

    def check(self) -> None:
        """Hold the rules of an alert rule; raises Invalid with every broken one."""
        rules = Rules()
        rules.name(self.name, "name")
        rules.between(self.window_seconds, MIN_WINDOW_SECONDS, MAX_WINDOW_SECONDS, "windowSeconds")
        rules.between(self.minimum_samples, 1, MAX_SAMPLES, "minimumSamples")
        is_possible = not self.trait.is_single or (self.minimum_samples or 1) <= 1
        rules.require(is_possible, "This metric is one figure, not of so many facts: 1 at most.", "minimumSamples")
        self._check_threshold(rules)
        rules.hold()

    def _check_threshold(self, rules: Rules) -> None:
        trait, before = self.trait, len(rules.problems)
        is_inside = self.threshold.is_finite() and 0 <= self.threshold <= trait.most
        rules.require(is_inside, f"Must be between 0 and {trait.most}.", "threshold")
        if is_inside:
            rules.money(self.threshold, _MOST, _DIGITS, "threshold")
            rules.require(self.threshold or not trait.is_at, "Must be more than 0.", "threshold")
        rules.money(self.clears_at, _MOST, _DIGITS, "clearsAt")
        if self.clears_at is None or len(rules.problems) > before:
            return
        if trait.is_at:
            rules.require(self.clears_at < self.threshold, "Must be less than the threshold.", "clearsAt")
        rules.require(self.clears_at <= self.threshold, "Must not be more than the threshold.", "clearsAt")

    def set_clock(self, now: datetime, settled: timedelta = SETTLED) -> None:
        """Say when it is judged next: never while it is out of use; nothing of such a time is made up for."""
        if not self.is_in_use:
            self.due_at = None
            return
        if self.due_at is None:
            self.evaluated_until = now
        self.due_at = self.evaluated_until + self.step + settled


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that speaks for an alert, and what it is about: None where it is not about such a thing.

    `is_running`: an execution that was not over. `limit_amount`: of a budget, in dollars.
    """

    text: str
    execution_id: ExecutionId | None = None
    team_id: TeamId | None = None
    project_id: ProjectId | None = None
    is_running: bool = False
    limit_amount: Decimal | None = None

    def as_document(self) -> dict[str, Any]:
        """As JSON: ids and amounts as text, what is None left out."""
        ids = ("execution_id", "team_id", "project_id", "limit_amount")
        given = {name: str(value) for name in ids if (value := getattr(self, name)) is not None}
        return {"text": self.text, **given, **({"is_running": True} if self.is_running else {})}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Evidence":
        ids = {name: UUID(document[name]) for name in ("execution_id", "team_id", "project_id") if name in document}
        limit = document.get("limit_amount")
        return cls(
            document["text"],
            **ids,  # type: ignore[arg-type]  # each is of the kind that its name says
            is_running=document.get("is_running", False),
            limit_amount=None if limit is None else Decimal(limit),
        )


@dataclass(slots=True)
class Alert:
    """One alert: from when a rule did not hold any more until it held again.

    `value` is what it was when it fired, `peak` the most since, `last_value` the newest, None for no data; in the
    metric's unit. `severity`, `threshold` and the scope are the rule's at that time. `calm_since` is the first of the
    evaluations in a row that found it good again, `changed_at` when the alert was written to fire or be resolved,
    which is later than it did where nobody evaluated.
    """

    tenant_id: TenantId
    rule_id: AlertRuleId
    metric: AlertMetric
    severity: AlertSeverity
    threshold: Decimal
    value: Decimal
    peak: Decimal
    last_value: Decimal | None
    message: str
    fired_at: datetime
    project_id: ProjectId | None = None
    team_id: TeamId | None = None
    state: AlertState = AlertState.FIRING
    evidence: list[dict[str, Any]] = field(default_factory=list)
    calm_since: datetime | None = None
    resolved_at: datetime | None = None
    changed_at: datetime = field(default_factory=utc_now)
    id: AlertId = field(default_factory=lambda: AlertId(new_id()))

    @property
    def is_open(self) -> bool:
        return self.state is AlertState.FIRING

    @property
    def details(self) -> list[Evidence]:
        """The evidence as it was when it fired."""
        return [Evidence.from_document(each) for each in self.evidence]
