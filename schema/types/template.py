"""Template, its versions and parameters, and what became of what was made of it."""

from datetime import datetime
from typing import Any

import strawberry
from strawberry.scalars import JSON

from domain.model import template as domain
from domain.model.parameter_finding import MOST_PROPOSALS
from domain.model.template import ParameterType, TemplateKind, Visibility
from resolvers.edges import computed, loaded_by, numbered_by, paged_by
from resolvers.generation_loaders import GenerationById
from resolvers.metrics import metrics_by
from resolvers.metrics_loaders import MetricsByTemplate
from resolvers.template_loaders import (
    ContentByVersion,
    ReportByTemplate,
    TemplateById,
    VersionByNumber,
    VersionsByTemplate,
)
from schema.node import Node, global_id, stands_for
from schema.pagination import Connection
from schema.types.blueprint import Blueprint
from schema.types.lazy import GenerationType, MetricsType
from schema.types.record import Record, creator
from schema.types.values import Money


@strawberry.type(description="A gap in the texts of a template, written `{{name}}` there.")
class TemplateParameter:
    name: str = strawberry.field(description="What it is called; unique in the version.")
    type: ParameterType = strawberry.field(description="What values it takes.")
    description: str = strawberry.field(description="What it is, for whoever gives the value.")
    is_required: bool = strawberry.field(description="Whether a value has to be given: there is no default.")
    default: JSON | None = strawberry.field(description="The value where none is given; null without one.")
    options: list[str] = strawberry.field(description="The values of an ENUM; empty for other types.")
    least: float | None = strawberry.field(
        description="The least NUMBER, characters of a STRING, or entries of a LIST; null for no limit of its own."
    )
    most: float | None = strawberry.field(description="The most of that; null for no limit of its own.")
    pattern: str | None = strawberry.field(description="What a STRING has to match as a whole; null for anything.")


def _figure(name: str, description: str) -> Any:
    return computed(lambda report: getattr(report.figures, name), description)


@strawberry.interface(
    description="What became of what was made of a template: of a team its executions count, of a task its task"
    " executions, both without cancelled ones and those that another one answered for."
)
class TemplateFigures:
    uses: int = _figure("uses", "How often something was made of it.")
    completed: int = _figure("completed", "How many executions COMPLETED, the newest 1,000 of each team counted.")
    failed: int = _figure("failed", "How many of these FAILED.")
    success_rate: float | None = _figure("success_rate", "The share that completed, 0 to 1; null without any.")
    mean_cost: Money | None = _figure("mean_cost", "What a completed one cost on average; null without any.")
    mean_duration_seconds: float | None = _figure(
        "mean_duration_seconds", "How long a completed one took on average; null without any."
    )
    last_used_at: datetime | None = _figure("last_used_at", "When something was last made of it; null if never.")
    mean_rating: float | None = _figure(
        "mean_rating", "What people said of generations that used it, 1 to 5; null where nobody did."
    )


@strawberry.type(description="What became of what was made of one version.")
class VersionAnalytics(TemplateFigures):
    is_type_of = stands_for(domain.VersionAnalytics)
    number: int = strawberry.field(description="The number of the version.")


@strawberry.type(description="What became of what was made of a template, of all its versions together.")
class TemplateAnalytics(TemplateFigures):
    is_type_of = stands_for(domain.AnalyticsReport)
    by_version: list[VersionAnalytics] = computed(
        lambda report: report.versions, "The same by version, those that were used, the newest 100 first."
    )


@strawberry.type(description="One version of a template; nothing in it ever changes.")
class TemplateVersion:
    number: int = strawberry.field(description="Counts the versions from 1.")
    created_at: datetime = strawberry.field(description="When it was made.")
    created_by: str | None = computed(creator, "Who made it; null until there are principals.")
    parameters: list[TemplateParameter] = loaded_by(
        ContentByVersion, "Its parameters, at most 50.", key="key", attribute="parameters"
    )
    blueprint: Blueprint = loaded_by(
        ContentByVersion,
        "What is made of it, with `{{parameters}}` in the texts; of a TASK template the only task counts.",
        key="key",
        attribute="blueprint",
    )


@strawberry.type(description="A reusable blueprint of a team, or of one task, with parameters; in immutable versions.")
class Template(Record, Node):
    is_type_of = stands_for(domain.Template)
    id: strawberry.ID = global_id("Template")
    name: str = strawberry.field(description="Unique among the tenant's own ones that are not archived.")
    description: str = strawberry.field(description="What it is for.")
    kind: TemplateKind = strawberry.field(description="What it makes.")
    visibility: Visibility = strawberry.field(description="Who has it.")
    domain: str = strawberry.field(description="Where it is at home, like “marketing”; empty when not said.")
    tags: list[str] = strawberry.field(description="Words to find it by.")
    latest_version: int = computed(
        lambda template: template.latest, "The number of its newest version, the one that is used unless one is named."
    )
    parameters: list[TemplateParameter] = loaded_by(
        ContentByVersion, "The parameters of its newest version, at most 50.", key="newest", attribute="parameters"
    )
    blueprint: Blueprint = loaded_by(
        ContentByVersion,
        "What is made of its newest version, with `{{parameters}}` in the texts; of a TASK template the only task"
        " counts.",
        key="newest",
        attribute="blueprint",
    )
    versions: Connection[TemplateVersion] = paged_by(
        VersionsByTemplate, "Its versions, newest first; of a built-in one that which this release ships."
    )
    numbered_version: TemplateVersion | None = numbered_by(
        VersionByNumber, "The version with this number; null for one that there is not."
    )
    metrics: MetricsType = metrics_by(
        MetricsByTemplate, "What became of the work of the teams that were made from it, and what that took."
    )
    analytics: TemplateAnalytics = loaded_by(ReportByTemplate, "What became of what was made of it in this tenant.")


@strawberry.type(description="What a team was made of.")
class TeamOrigin:
    template: Template | None = loaded_by(
        TemplateById, "The template; of several that a generation used, the first. Null for none.", key="template_id"
    )
    template_version: int | None = computed(
        lambda origin: origin.number, "The number of the version that was used; null as above."
    )
    generation: GenerationType | None = loaded_by(
        GenerationById, "The generation that was accepted; null where none was.", key="generation_id"
    )


@strawberry.type(
    description=f"A value in the texts of a team that could be a parameter; at most {MOST_PROPOSALS} are proposed."
)
class ParameterProposal:
    name: str = strawberry.field(description="What the parameter would be called.")
    type: ParameterType = strawberry.field(description="What values it would take.")
    value: str = strawberry.field(description="What it would take the place of, and have as its default.")
    occurrences: int = strawberry.field(description="How often that stands in the texts.")
    reason: str = strawberry.field(description="Why it is proposed.")
