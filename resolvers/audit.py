"""The audit in the graph: its list, and how an entry's columns and ids look to clients."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from domain.model.audit import AuditEntry
from domain.model.page import DEFAULT_PAGE_SIZE, PageRequest
from domain.model.texts import camel
from resolvers.audit_inputs import AuditFilter, audit_conditions
from resolvers.audit_loaders import AuditByTenant, Referred
from resolvers.edges import asks_for, with_page_arguments
from resolvers.node_ids import node_id
from resolvers.things import BY_KIND

ObjectOfEntry: Final = Referred(tuple(BY_KIND.items()))

_KINDS: Final[Mapping[str, str]] = {
    "project_id": "Project",
    "team_id": "Team",
    "accepted_team_id": "Team",
    "role_id": "Role",
    "manager_id": "Role",
    "supervisor_id": "Role",
    "task_id": "Task",
    "depends_on_id": "Task",
    "tool_id": "Tool",
    "webhook_id": "Webhook",
    "schedule_id": "Schedule",
    "last_fire_id": "ScheduleFire",
    "revision_id": "TeamRevision",
    "execution_id": "Execution",
    "retry_of": "Execution",
    "forked_from": "Execution",
    "cached_from": "Execution",
    "task_execution_id": "TaskExecution",
    "reused_from": "TaskExecution",
    "waits_for": "TaskExecution",
    "redelivery_of": "WebhookDelivery",
    "alert_id": "Alert",
    "rule_id": "AlertRule",
    "template_id": "Template",
    "generation_id": "Generation",
    "batch_id": "GenerationBatch",
}
"""What the ids in columns are ids of. Those of principals stay as they are, as everywhere in the graph."""


async def _entries(root: Any, info: Any, **arguments: Any) -> Any:  # noqa: ARG001 - a root field has no parent
    request = PageRequest(
        first=arguments.get("first", DEFAULT_PAGE_SIZE),
        after=arguments.get("after"),
        conditions=audit_conditions(arguments.get("filter")),
        order_by="occurred_at",
        with_total=asks_for(info._raw_info, "totalCount"),  # noqa: SLF001 - the AST
    )
    info.context.budget.promise(request.first)
    return await info.context.load(AuditByTenant, (info.context.tenant_id, request))


audit_entries = with_page_arguments(_entries, AuditFilter, None)


def object_id_of(entry: AuditEntry) -> str:
    """The global id of what the entry is about."""
    return node_id(entry.object_type, entry.object_id)


def principal_of(entry: AuditEntry) -> str | None:
    return None if entry.principal_id is None else str(entry.principal_id)


def before_of(entry: AuditEntry) -> Mapping[str, Any] | None:
    return _shown(entry.object_type, entry.before)


def after_of(entry: AuditEntry) -> Mapping[str, Any] | None:
    return _shown(entry.object_type, entry.after)


def _shown(kind: str, values: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The values under the names of the graph, with global ids."""
    if values is None:
        return None
    kinds = {**_KINDS, "id": kind}
    return {camel(name): _global(kinds.get(name), value) for name, value in values.items()}


def _global(kind: str | None, value: Any) -> Any:
    if kind is None or value is None:
        return value
    if isinstance(value, list):
        return [_global(kind, each) for each in value]
    return node_id(kind, UUID(value))
