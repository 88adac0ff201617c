"""The root of all queries."""

from typing import Any

import strawberry

from resolvers import alerts as alarms
from resolvers import approvals as inbox
from resolvers import assessment as assessing
from resolvers import audit as trail
from resolvers import crews, exports, generations, things
from resolvers import metrics as measuring
from resolvers import models as catalogue
from resolvers import recommendations as advice
from resolvers import resources as capacity
from resolvers import templates as library
from schema.node import Node
from schema.pagination import Connection
from schema.types.alert import Alert, AlertRule
from schema.types.approval import Approval
from schema.types.assessment import Estimate, ObjectiveAnalysis, RoleMatch, Skill, Validation
from schema.types.audit import AuditEntry
from schema.types.crew import CrewFiles
from schema.types.execution import Execution
from schema.types.exports import Export
from schema.types.generation import Generation, GenerationReport
from schema.types.metrics import Metrics
from schema.types.model import Model, RoutingPreview
from schema.types.project import Project, Tenant
from schema.types.recommendation import RecommendationReport
from schema.types.resources import Resources
from schema.types.team import Team
from schema.types.template import ParameterProposal, Template


def read(resolver: Any, description: str) -> Any:
    """A root field of its resolver."""
    return strawberry.field(resolver=resolver, description=description)


@strawberry.type(description="What can be read.")
class Query:
    tenant: Tenant = read(things.tenant, "The tenant that is asking: the way in to everything else.")
    node: Node | None = read(things.node, "The thing with this global id; null for an unknown one.")
    nodes: list[Node | None] = read(
        things.nodes, "The things with these global ids, at most 100, in their order; null for an unknown one."
    )
    project: Project | None = read(things.of_kind("Project"), "The project with this id; null for an unknown one.")
    team: Team | None = read(things.of_kind("Team"), "The team with this id; null for an unknown one.")
    execution: Execution | None = read(
        things.of_kind("Execution"), "The execution with this id; null for an unknown one."
    )
    export_executions: Export = read(
        exports.export_executions,
        "Where executions with their figures are to be had as a file, the oldest first. Reads nothing: the file is made"
        " when it is downloaded.",
    )
    exported_crew: CrewFiles | None = read(
        crews.exported_crew, "A team as CrewAI's own files; null for an unknown team."
    )
    models: Connection[Model] = read(
        catalogue.models, "The model catalogue by name: what ships with Regatta, and the tenant's own entries."
    )
    model: Model | None = read(things.of_kind("Model"), "The model with this id; null for an unknown one.")
    routing_preview: RoutingPreview | None = read(
        catalogue.routing_preview,
        "Which model a piece of work would be given now; null for an unknown task. Runs nothing, costs nothing.",
    )
    resources: Resources = read(
        capacity.resources,
        "The workers with their places, who waits for one, and whether all is well; of other tenants only numbers.",
    )
    approvals: Connection[Approval] = read(
        inbox.approvals, "The inbox of all humans in the loop: what is, or was, asked, newest first."
    )
    approval: Approval | None = read(things.of_kind("Approval"), "The approval with this id; null for an unknown one.")
    audit_entries: Connection[AuditEntry] = read(
        trail.audit_entries, "The audit: what mutations made, changed and removed, newest first."
    )
    alerts: Connection[Alert] = read(alarms.alerts, "What alert rules led to, newest first.")
    alert_rules: Connection[AlertRule] = read(
        alarms.alert_rules, "The alert rules, newest first; archived ones only by filter."
    )
    alert: Alert | None = read(things.of_kind("Alert"), "The alert with this id; null for an unknown one.")
    recommendations: RecommendationReport | None = read(
        advice.recommendations,
        "What the past of teams, templates and workers speaks for, with figures and the mutation that does it; null for"
        " an unknown project or team. Computed now: runs nothing, costs nothing, writes nothing.",
    )
    generation: Generation | None = read(
        things.of_kind("Generation"), "The generation with this id; null for an unknown one."
    )
    generation_metrics: GenerationReport | None = read(
        generations.generation_metrics, "How generations went, by model; null for an unknown project."
    )
    templates: Connection[Template] = read(
        library.templates, "The templates by name: those that ship with Regatta, and the tenant's own ones."
    )
    template: Template | None = read(things.of_kind("Template"), "The template with this id; null for an unknown one.")
    exported_template: str | None = read(
        library.exported_template,
        "A version of a template as YAML, which `importTemplate` reads; null for one that there is not.",
    )
    parameter_proposals: list[ParameterProposal] | None = read(
        library.parameter_proposals,
        "What could be a parameter if a template were made of the team, what occurs most first; null for an unknown"
        " team. Found by rules: runs nothing, costs nothing.",
    )
    analyze_objective: ObjectiveAnalysis = read(
        assessing.analyze_objective,
        "What rules make of an objective: complexity, domain, skills, roles, process and near templates. At once; asks"
        " no model, costs nothing.",
    )
    validate_team: Validation | None = read(
        assessing.validate_team,
        "What is found about a team, or about one that is not made yet, and what an execution would take; null for an"
        " unknown team or project. Runs nothing, costs nothing. One operation has at most 1,000 roles and tasks judged,"
        " here and by estimates, matches and analyses, each of which counts as 20 more; else it is `TOO_LARGE`.",
    )
    estimate_execution: Estimate | None = read(
        assessing.estimate_execution,
        "What an execution of a team would take, task by task; null for an unknown team. Runs nothing, costs nothing.",
    )
    skills: list[Skill] = read(
        assessing.skills,
        "The skill catalogue by name: what roles can do, and which titles, tools and tasks go with it.",
    )
    metrics: Metrics | None = read(
        measuring.metrics,
        "What became of executions, tasks and calls over a period, and what they took; null for an unknown id. An"
        " operation may ask for so much: `metrics`, each of its figures and series, and each `top` count as 20, figures"
        " and series and one more for each thing, together at most 1,000; else it is `TOO_LARGE`.",
    )
    role_matches: list[RoleMatch] | None = read(
        assessing.role_matches,
        "How well each active role of a task's team fits the task, best first, with the reasons; null for an unknown"
        " task.",
    )
