"""Queries for single things and for the tenant."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

import strawberry

from domain.errors import Invalid, NotFound
from domain.model.page import MAX_PAGE_SIZE
from resolvers import loaders
from resolvers.alert_loaders import AlertById, AlertRuleById
from resolvers.audit_loaders import AuditEntryById
from resolvers.context import Info
from resolvers.generation_loaders import GenerationById
from resolvers.loaders import AccessPath
from resolvers.node_ids import parse_node_id
from resolvers.optimization_loaders import OptimizationById
from resolvers.template_loaders import TemplateById

GlobalId = Annotated[strawberry.ID, strawberry.argument(description="A global id.")]
GlobalIds = Annotated[list[strawberry.ID], strawberry.argument(description="Global ids, at most 100.")]

BY_KIND: dict[str, AccessPath] = {
    "Tenant": loaders.TenantById,
    "Project": loaders.ProjectById,
    "Team": loaders.TeamById,
    "Role": loaders.RoleById,
    "Task": loaders.TaskById,
    "Tool": loaders.ToolById,
    "TeamRevision": loaders.RevisionById,
    "Execution": loaders.ExecutionById,
    "Credential": loaders.CredentialById,
    "Webhook": loaders.WebhookById,
    "WebhookDelivery": loaders.WebhookDeliveryById,
    "Model": loaders.ModelById,
    "TaskExecution": loaders.TaskExecutionById,
    "LedgerEntry": loaders.LedgerEntryById,
    "Schedule": loaders.ScheduleById,
    "ScheduleFire": loaders.ScheduleFireById,
    "Approval": loaders.ApprovalById,
    "AlertRule": AlertRuleById,
    "Alert": AlertById,
    "Generation": GenerationById,
    "Optimization": OptimizationById,
    "Template": TemplateById,
    "AuditEntry": AuditEntryById,
}


async def tenant(info: Info) -> Any:
    return await info.context.load(loaders.TenantById, info.context.tenant_id)


async def node(info: Info, id: GlobalId) -> Any:  # noqa: A002 - the name of the argument in the graph
    return await find(info, id)


async def nodes(info: Info, ids: GlobalIds) -> Sequence[Any]:
    if len(ids) > MAX_PAGE_SIZE:
        raise Invalid.at(f"At most {MAX_PAGE_SIZE} ids.", "ids")
    return await asyncio.gather(*(find(info, identifier) for identifier in ids))


def of_kind(kind: str) -> Any:
    """The resolver of a field that finds one thing of this kind by its global id."""

    async def resolve(info: Info, id: GlobalId) -> Any:  # noqa: A002 - the name of the argument in the graph
        return await find(info, id, kind)

    return resolve


async def find(info: Info, identifier: strawberry.ID, kind: str | None = None) -> Any:
    """The thing with a global id; None for an unknown one, or one of another kind than asked for."""
    try:
        found, uuid = parse_node_id(identifier)
    except NotFound:
        return None
    path = BY_KIND.get(found)
    if path is None or kind not in (None, found):
        return None
    return await info.context.load(path, uuid)
