"""Alert rules, the alerts that they led to, and what can be done about them."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import strawberry
from strawberry.scalars import JSON

from domain.model import alert as domain
from domain.model.alert import AlertMetric, AlertSeverity, AlertState, Unit
from domain.model.alert_actions import actions_for
from domain.model.money import Money as Amount
from resolvers import loaders
from resolvers.alert_inputs import AlertFilter
from resolvers.alert_loaders import AlertRuleById, AlertsByRule
from resolvers.edges import computed, loaded_by, paged_by
from resolvers.node_ids import node_id
from schema.node import Node, global_id, stands_for
from schema.pagination import Connection
from schema.types.lazy import AlertRuleType, ExecutionType, ProjectType, TeamType
from schema.types.record import Record
from schema.types.values import Money


def _exact(attribute: str, description: str) -> Any:
    """A decimal without the zeros that the database fills it up with."""

    def shown(thing: Any) -> str | None:
        value = getattr(thing, attribute)
        return None if value is None else format(value.normalize() + 0, "f")

    return computed(shown, description)


def _actions(alert: domain.Alert) -> Sequence[Any]:
    return actions_for(alert.metric, alert.details, node_id)


def _limit(evidence: domain.Evidence) -> Any:
    return None if evidence.limit_amount is None else Amount(evidence.limit_amount)


@strawberry.type(description="Something that may help against an alert.")
class SuggestedAction:
    text: str = strawberry.field(description="What to do, for people.")
    mutation: str | None = strawberry.field(description="The mutation that does it; null where none does.")
    arguments: JSON | None = strawberry.field(
        description="Fields of the mutation's input, as far as they follow from the alert: an update also needs the"
        " `version` that was read. Null for none."
    )


@strawberry.type(description="One thing that spoke for an alert when it fired.")
class AlertEvidence:
    text: str = strawberry.field(description="What was found, for people.")
    execution: ExecutionType | None = loaded_by(
        loaders.ExecutionById, "The execution that it is about; null for none.", key="execution_id"
    )
    team: TeamType | None = loaded_by(loaders.TeamById, "The team that it is about; null for none.", key="team_id")
    project: ProjectType | None = loaded_by(
        loaders.ProjectById,
        "The project whose budget it is about, or the budget of a team of it; else null.",
        key="project_id",
    )
    limit: Money | None = computed(_limit, "The budget that it is about; null for none.")


@strawberry.type(description="What a rule had to say once: from when it did not hold any more until it held again.")
class Alert(Node):
    is_type_of = stands_for(domain.Alert)
    id: strawberry.ID = global_id("Alert")
    state: AlertState = strawberry.field(description="FIRING or RESOLVED.")
    severity: AlertSeverity = strawberry.field(description="How much it matters: the rule's when it fired.")
    metric: AlertMetric = strawberry.field(description="What was too much.")
    message: str = strawberry.field(
        description="What was too much when it fired, for people, and that the rule was taken out of use if that ended"
        " it; else `resolvedAt` and `lastValue` say how it ended."
    )
    value: Decimal = _exact("value", "What the metric was when it fired, in its unit.")
    peak: Decimal = _exact("peak", "The most that it was since.")
    last_value: Decimal | None = _exact("last_value", "What it was when it was judged last; null without data.")
    threshold: Decimal = _exact("threshold", "What was allowed when it fired.")
    fired_at: datetime = strawberry.field(description="The moment at which it was too much.")
    resolved_at: datetime | None = strawberry.field(
        description="The moment at which it was good again, twice in a row; null while it fires."
    )
    evidence: list[AlertEvidence] = computed(lambda alert: alert.details, "What spoke for it when it fired, at most 5.")
    suggested_actions: list[SuggestedAction] = computed(_actions, "What may help, the most direct first.")
    rule: AlertRuleType = loaded_by(AlertRuleById, "The rule that did not hold.", key="rule_id")
    project: ProjectType | None = loaded_by(
        loaders.ProjectById, "The project of the rule; null for a rule of the tenant.", key="project_id"
    )
    team: TeamType | None = loaded_by(loaders.TeamById, "The team of the rule; null for none.", key="team_id")


@strawberry.type(description="What must not happen in a tenant, a project or a team, and how it is judged.")
class AlertRule(Record, Node):
    is_type_of = stands_for(domain.AlertRule)
    id: strawberry.ID = global_id("AlertRule")
    name: str = strawberry.field(description="Unique in the tenant among what is not archived.")
    metric: AlertMetric = strawberry.field(description="What it looks at.")
    unit: Unit = computed(lambda rule: rule.trait.unit, "What its values are told in.")
    threshold: Decimal = _exact("threshold", "More is too much; of BUDGET_SHARE as much or more.")
    clears_at: Decimal = _exact("clearing", "At this value, and below, it is good again.")
    window_seconds: float = strawberry.field(
        description="How far back it looks; it is judged every twelfth part of that, though not more often than every 5"
        " seconds."
    )
    minimum_samples: int = computed(
        lambda rule: rule.samples_needed, "Fewer executions, tasks or calls in the window are no reason to fire."
    )
    severity: AlertSeverity = strawberry.field(description="How much it matters.")
    is_enabled: bool = strawberry.field(description="Whether it is judged.")
    is_seed: bool = strawberry.field(description="Whether it is one of those that every tenant begins with.")
    state: AlertState = strawberry.field(
        description="OK before the first alert, FIRING while one is open, RESOLVED when the last one is over."
    )
    state_since: datetime | None = strawberry.field(
        description="When the last alert fired or was resolved; null before the first."
    )
    evaluated_until: datetime = strawberry.field(
        description="Everything before this moment is judged; what happened while no worker ran is judged later."
    )
    project: ProjectType | None = loaded_by(
        loaders.ProjectById, "The project that it looks at; null for the whole tenant.", key="project_id"
    )
    team: TeamType | None = loaded_by(
        loaders.TeamById, "The team that it looks at; null for all of the project or tenant.", key="team_id"
    )
    alerts: Connection[Alert] = paged_by(
        AlertsByRule, "What it led to, newest first.", filter_type=AlertFilter, order_by="fired_at"
    )


@strawberry.type(description="Alerts that fire, or that fired or were resolved since the last message.")
class AlertActivity:
    alerts: list[Alert] = strawberry.field(description="Each as it is now, at most 100.")
