"""The inputs of alert rules, and which rules and alerts are wanted."""

from decimal import Decimal

import strawberry

from domain.model.alert import (
    MAX_WINDOW_SECONDS,
    MIN_WINDOW_SECONDS,
    WINDOW_SECONDS,
    AlertMetric,
    AlertSeverity,
    AlertState,
)
from resolvers.filters import MomentFilter, TextFilter
from resolvers.inputs import described

_THRESHOLD = "In the metric's unit: more is too much (of BUDGET_SHARE: as much or more)"
_CLEARS = "At this value, and below, it is good again: not more than the threshold"
_BY_DEFAULT = "by default a part of the threshold that depends on the metric"
_WINDOW = f"How many seconds a window has, {MIN_WINDOW_SECONDS:,.0f} to {MAX_WINDOW_SECONDS:,.0f}"
_SAMPLES = (
    "How many executions, tasks or calls a window needs before it may fire; 1 for budgets, queues and lost workers"
)


@strawberry.input(description="A new alert rule, for a team, a project, or the whole tenant where neither is given.")
class CreateAlertRuleInput:
    name: str = described("Unique in the tenant.", ...)
    metric: AlertMetric = described("What it looks at.", ...)
    threshold: Decimal = described(f"{_THRESHOLD}.", ...)
    clears_at: Decimal | None = described(f"{_CLEARS}; {_BY_DEFAULT}.")
    window_seconds: float | None = described(f"{_WINDOW}; {WINDOW_SECONDS:,.0f} by default.")
    minimum_samples: int | None = described(f"{_SAMPLES}; 5 for rates, else 1 by default.")
    severity: AlertSeverity | None = described("How much it matters; WARNING by default.")
    project_id: strawberry.ID | None = described("Look at this project alone.")
    team_id: strawberry.ID | None = described("Look at this team alone.")
    is_enabled: bool | None = described("Whether it is judged; true by default.")


@strawberry.input(description="Changes to an alert rule; what is left out stays. Metric and scope stay for good.")
class UpdateAlertRuleInput:
    id: strawberry.ID = described("The rule.", ...)
    version: int = described("The version that was read; a newer one is not overwritten.", ...)
    name: str | None = described("Unique in the tenant.")
    threshold: Decimal | None = described(f"{_THRESHOLD}.")
    clears_at: Decimal | None = described(f"{_CLEARS}; null for {_BY_DEFAULT}.")
    window_seconds: float | None = described(f"{_WINDOW}.")
    minimum_samples: int | None = described(f"{_SAMPLES}; null for the metric's default.")
    severity: AlertSeverity | None = described("How much it matters, from the next alert on.")
    is_enabled: bool | None = described("Whether it is judged; disabling resolves its open alert.")


# ---------------------------------------------------------------- filters


@strawberry.input(description="Conditions on the state of an alert or a rule.")
class AlertStateFilter:
    in_: list[AlertState] | None = strawberry.field(name="in", description="One of these.", default=None)


@strawberry.input(description="Conditions on the severity of an alert or a rule.")
class AlertSeverityFilter:
    in_: list[AlertSeverity] | None = strawberry.field(name="in", description="One of these.", default=None)


@strawberry.input(description="Conditions on the metric of an alert or a rule.")
class AlertMetricFilter:
    in_: list[AlertMetric] | None = strawberry.field(name="in", description="One of these.", default=None)


@strawberry.input(description="Which alerts; all given conditions must hold.")
class AlertFilter:
    state: AlertStateFilter | None = described("By state.", None)
    severity: AlertSeverityFilter | None = described("By severity.", None)
    metric: AlertMetricFilter | None = described("By metric.", None)
    rule_id: strawberry.ID | None = described("Those of this rule.", None)
    project_id: strawberry.ID | None = described("Those of rules of this project, or of its teams.", None)
    fired_at: MomentFilter | None = described("By the moment they fired.", None)


@strawberry.input(description="Which alert rules; all given conditions must hold. Archived ones only when asked for.")
class AlertRuleFilter:
    name: TextFilter | None = described("By name.", None)
    state: AlertStateFilter | None = described("By state.", None)
    severity: AlertSeverityFilter | None = described("By severity.", None)
    metric: AlertMetricFilter | None = described("By metric.", None)
    project_id: strawberry.ID | None = described("Those of this project, and of its teams.", None)
    team_id: strawberry.ID | None = described("Those of this team.", None)
    is_enabled: bool | None = described("Those that are, or are not, judged.", None)
    is_archived: bool = described("The archived ones instead of those in use.", default=False)
