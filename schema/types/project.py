"""Tenant and project."""

from datetime import datetime

import strawberry

from domain.model import project as domain
from resolvers import loaders
from resolvers.edges import loaded_by, paged_by, usage_by
from resolvers.filters import ExecutionFilter, ExecutionOrder, ModelFilter, Order, TeamFilter, ThingFilter, ToolFilter
from resolvers.generation_inputs import GenerationFilter, GenerationOrder
from resolvers.generation_loaders import GenerationsByProject, GenerationsByTenant
from resolvers.metrics import metrics_by
from resolvers.metrics_loaders import MetricsByProject
from resolvers.template_inputs import ORDER_TEXT, TemplateFilter, TemplateOrder
from resolvers.template_loaders import TemplatesByTenant
from schema.node import Node, global_id, stands_for
from schema.pagination import Connection
from schema.types.lazy import (
    CredentialType,
    ExecutionType,
    GenerationType,
    MetricsType,
    ModelType,
    TeamType,
    TemplateType,
    ToolType,
    WebhookType,
)
from schema.types.record import Record
from schema.types.values import Budget, Usage


@strawberry.type(description="A tenant's group of teams.")
class Project(Record, Node):
    is_type_of = stands_for(domain.Project)
    id: strawberry.ID = global_id("Project")
    name: str = strawberry.field(description="Unique in the tenant among what is not archived.")
    description: str = strawberry.field(description="What the project is about.")
    teams: Connection[TeamType] = paged_by(
        loaders.TeamsByProject,
        "Its teams, newest first; archived ones only by filter.",
        filter_type=TeamFilter,
        order_type=Order,
        hides_archived=True,
    )
    tools: Connection[ToolType] = paged_by(
        loaders.ToolsByProject,
        "The tools that its roles may be given; archived ones only by filter.",
        filter_type=ToolFilter,
        order_type=Order,
        hides_archived=True,
    )
    executions: Connection[ExecutionType] = paged_by(
        loaders.ExecutionsByProject,
        "The executions of its teams, newest first.",
        filter_type=ExecutionFilter,
        order_type=ExecutionOrder,
    )
    max_parallel_executions: int | None = strawberry.field(
        description="Most of its executions that run at once; null for no limit of its own."
    )
    webhooks: Connection[WebhookType] = paged_by(
        loaders.WebhooksByProject,
        "The addresses that are told of its executions, newest first; archived ones only by filter.",
        filter_type=ThingFilter,
        order_type=Order,
        hides_archived=True,
    )
    generations: Connection[GenerationType] = paged_by(
        GenerationsByProject,
        "The proposals of teams that were asked for in it, newest first.",
        filter_type=GenerationFilter,
        order_type=GenerationOrder,
    )
    budget: Budget = loaded_by(loaders.BudgetOfProject, "Its budget of this calendar month (UTC).")
    usage: Usage = usage_by(loaders.UsageOfProject, "What the model calls of its teams took.")
    metrics: MetricsType = metrics_by(MetricsByProject, "What became of the work of its teams, and what it took.")
    tenant: "Tenant" = loaded_by(loaders.TenantById, "The tenant it belongs to.", key="tenant_id")


@strawberry.type(description="The isolation boundary: everything below belongs to exactly one.")
class Tenant(Node):
    is_type_of = stands_for(domain.Tenant)
    id: strawberry.ID = global_id("Tenant")
    name: str = strawberry.field(description="What it is called.")
    created_at: datetime = strawberry.field(description="When it was made.")
    max_parallel_executions: int | None = strawberry.field(
        description="Most of its executions that run at once; null for no limit of its own."
    )
    retention_days: int | None = strawberry.field(
        description="Days after their end when inputs, outputs and events of executions are removed for good; null for"
        " as long as the deployment says, for ever where it says nothing."
    )
    budget: Budget = loaded_by(loaders.BudgetOfTenant, "Its budget of this calendar month (UTC).")
    projects: Connection[Project] = paged_by(
        loaders.ProjectsByTenant,
        "Its projects, newest first; archived ones only by filter.",
        filter_type=ThingFilter,
        order_type=Order,
        hides_archived=True,
    )
    teams: Connection[TeamType] = paged_by(
        loaders.TeamsByTenant,
        "The teams of all its projects, newest first; archived ones only by filter.",
        filter_type=TeamFilter,
        order_type=Order,
        hides_archived=True,
    )
    executions: Connection[ExecutionType] = paged_by(
        loaders.ExecutionsByTenant,
        "The executions of all its teams, newest first.",
        filter_type=ExecutionFilter,
        order_type=ExecutionOrder,
    )
    generations: Connection[GenerationType] = paged_by(
        GenerationsByTenant,
        "The proposals of teams that were asked for in all its projects, newest first.",
        filter_type=GenerationFilter,
        order_type=GenerationOrder,
    )
    models: Connection[ModelType] = paged_by(
        loaders.ModelsByTenant,
        "Its model catalogue by name: what ships with Regatta, and its own entries.",
        filter_type=ModelFilter,
    )
    templates: Connection[TemplateType] = paged_by(
        TemplatesByTenant,
        "The templates by name: those that ship with Regatta, and its own ones; archived ones only by filter.",
        filter_type=TemplateFilter,
        order_type=TemplateOrder,
        hides_archived=True,
        order_by="name",
        descending=False,
        order_text=ORDER_TEXT,
    )
    credentials: list[CredentialType] = loaded_by(
        loaders.CredentialsByTenant, "Its secrets for providers, models and tools, at most 1000; never what they are."
    )
