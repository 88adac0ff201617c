"""Alert rules, the alerts that they led to, and their live view."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any, Final
from uuid import UUID

import strawberry

from domain.errors import Invalid
from domain.model.alert import Alert, AlertRule, AlertSeverity
from domain.model.identity import ProjectId, TeamId
from resolvers import loaders
from resolvers.alert_inputs import AlertFilter, AlertRuleFilter, CreateAlertRuleInput, UpdateAlertRuleInput
from resolvers.alert_loaders import AlertRuleById, AlertRulesByTenant, AlertsByTenant
from resolvers.context import Info
from resolvers.edges import Paged, asks_for, existing, with_page_arguments
from resolvers.filters import Order
from resolvers.inputs import given
from resolvers.node_ids import uuid_of

# ---------------------------------------------------------------- mutations

_NULLABLE = frozenset({"clears_at", "minimum_samples", "project_id", "team_id"})


async def create_alert_rule(info: Info, input: CreateAlertRuleInput) -> AlertRule:  # noqa: A002 - the graph's name, as below
    values = given(input, without=("project_id", "team_id"), nullable=_NULLABLE)
    thing = AlertRule(info.context.tenant_id, **values, created_by=info.context.principal_id)
    if input.project_id:
        thing.project_id = ProjectId(uuid_of("Project", input.project_id, "projectId"))
    if input.team_id:
        thing.team_id = TeamId(uuid_of("Team", input.team_id, "teamId"))
    return await info.context.services.alert_rules.create(thing)


async def update_alert_rule(info: Info, input: UpdateAlertRuleInput) -> AlertRule:  # noqa: A002
    identifier = uuid_of("AlertRule", input.id, "id")
    changes = given(input, without=("id", "version"), nullable=_NULLABLE)
    return await info.context.services.alert_rules.update(info.context.tenant_id, identifier, input.version, changes)


# ---------------------------------------------------------------- lists

_ALERTS: Final = Paged(AlertsByTenant, "id", hides_archived=False, order_by="fired_at")
_RULES: Final = Paged(AlertRulesByTenant, "id", hides_archived=True)


def _listed(edge: Paged) -> Any:
    async def resolve(root: Any, info: Any, **arguments: Any) -> Any:  # noqa: ARG001 - a root field has no parent
        request = edge.request(arguments, with_total=asks_for(info._raw_info, "totalCount"))  # noqa: SLF001 - the AST
        info.context.budget.promise(request.first)
        return await info.context.load(edge.path, (info.context.tenant_id, request))

    return resolve


alerts = with_page_arguments(_listed(_ALERTS), AlertFilter, None)
alert_rules = with_page_arguments(_listed(_RULES), AlertRuleFilter, Order)


# ---------------------------------------------------------------- live


@dataclass(frozen=True, slots=True)
class AlertActivity:
    """Alerts that fire, or that fired or were resolved since the last message."""

    alerts: Sequence[Alert]


_PROJECT = strawberry.argument(description="Only those of rules of this project, or of its teams.")
_RULE = strawberry.argument(description="Only those of this rule.")
_SEVERITIES = strawberry.argument(description="Only those that matter so much; all without it.")


async def alert_activity(
    info: Info,
    project_id: Annotated[strawberry.ID | None, _PROJECT] = None,
    rule_id: Annotated[strawberry.ID | None, _RULE] = None,
    severities: Annotated[list[AlertSeverity] | None, _SEVERITIES] = None,
) -> AsyncIterator[Any]:
    """What fires at once, then whatever changes. Raises NotFound, Invalid."""
    if severities is not None and not severities:
        raise Invalid.at("At least one severity.", "severities")
    project = await existing(info, loaders.ProjectById, "Project", project_id, "projectId")
    rule = await existing(info, AlertRuleById, "AlertRule", rule_id, "ruleId")
    is_wanted = _wanted(project, rule, severities)
    async with aclosing(info.context.services.alert_feed.follow(info.context.tenant_id, is_wanted)) as messages:
        async for found in messages:
            yield AlertActivity(found)


def _wanted(
    project: UUID | None, rule: UUID | None, severities: Sequence[AlertSeverity] | None
) -> Callable[[Alert], bool]:
    def is_wanted(alert: Alert) -> bool:
        return (
            project in (None, alert.project_id)
            and rule in (None, alert.rule_id)
            and (severities is None or alert.severity in severities)
        )

    return is_wanted
