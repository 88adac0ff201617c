"""The schema: everything in it is described, its text is checked in, and its plain fields exist in the domain."""

import inspect
from collections.abc import Iterator
from typing import Any, get_type_hints

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    is_introspection_type,
    is_specified_scalar_type,
)
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.field import StrawberryField

from domain import events
from domain.errors import AnswerAwaited, NotRecorded, Paused, RegattaError, RunFailed
from domain.model import (
    alert,
    alert_actions,
    analysis,
    approval,
    audit,
    blueprint,
    budget,
    credential,
    difference,
    estimate,
    execution,
    failure,
    generation,
    health,
    ledger,
    metrics,
    model,
    money,
    optimization,
    page,
    progress,
    project,
    recommendation,
    refinement,
    resources,
    revision,
    role,
    routing,
    schedule,
    skill,
    span,
    task,
    team,
    template,
    tool,
    validation,
    webhook,
)
from domain.model.comparison import Comparison
from domain.model.crew_files import CrewFiles, Unrepresented
from domain.model.exports import Export
from domain.model.parameter_finding import ParameterProposal
from domain.services.feed import Batch
from domain.services.generations import BulkResult
from domain.services.routing_preview import RoutingPreview
from resolvers.alerts import AlertActivity
from resolvers.approvals import ApprovalActivity
from resolvers.edges import EDGE, Asked, Derived, Loaded, Paged
from resolvers.executions import ProjectActivity
from resolvers.loaders import (
    ActivityByTeam,
    AvailabilityByModel,
    CancelOutcome,
    CancelOutcomeByExecution,
    ModelAvailability,
    TeamActivity,
)
from resolvers.metrics_loaders import MetricsReport, NamedThing, ThingByScope
from resolvers.template_loaders import ContentByVersion
from schema.errors import CODES, USER_ERRORS, Told
from schema.schema import SNAPSHOT, build, sdl

ENGINE = build()
SCHEMA = ENGINE._schema  # noqa: SLF001 - graphql-core's schema, which Strawberry has no name for
TYPES = [kind for kind in SCHEMA.type_map.values() if not is_introspection_type(kind)]

SOURCES: dict[str, type[Any]] = {
    **{
        kind.__name__: kind
        for kind in (
            project.Tenant,
            project.Project,
            team.Team,
            team.TeamSettings,
            role.Role,
            role.Delegation,
            task.Task,
            approval.ApprovalRule,
            tool.Tool,
            schedule.Schedule,
            schedule.ScheduleConfiguration,
            schedule.ScheduleFire,
            model.Model,
            RoutingPreview,
            revision.TeamRevision,
            health.Health,
            health.HealthReason,
            resources.Broadcaster,
            resources.ConnectionPool,
            resources.Resources,
            resources.Slots,
            resources.Worker,
            execution.Execution,
            execution.ExecutionConfiguration,
            execution.TaskExecution,
            execution.Cancellation,
            execution.Timing,
            refinement.Refinement,
            refinement.RefinementPass,
            refinement.RefinementReport,
            refinement.CriterionScore,
            approval.Approval,
            alert.AlertRule,
            alert.Alert,
            alert_actions.SuggestedAction,
            audit.AuditEntry,
            failure.Failure,
            credential.Credential,
            webhook.Webhook,
            webhook.WebhookDelivery,
            ledger.Usage,
            ledger.LedgerEntry,
            budget.Budget,
            money.Money,
            progress.ExecutionProgress,
            progress.RoleProgress,
            blueprint.Blueprint,
            blueprint.RoleBlueprint,
            blueprint.TaskBlueprint,
            blueprint.ToolBlueprint,
            difference.Difference,
            CrewFiles,
            Unrepresented,
            Export,
            ProjectActivity,
            ApprovalActivity,
            AlertActivity,
            template.Template,
            template.VersionAnalytics,
            template.TeamOrigin,
            ParameterProposal,
            generation.Generation,
            generation.GenerationFailure,
            generation.TemplateSource,
            generation.GenerationTiming,
            generation.GenerationMetrics,
            generation.GenerationReport,
            optimization.Optimization,
            optimization.MeasuredEffect,
            optimization.ExpectedEffect,
            recommendation.Recommendation,
            recommendation.RecommendationReport,
            recommendation.RecommendedAction,
            analysis.ObjectiveAnalysis,
            analysis.TemplateMatch,
            estimate.Estimate,
            estimate.TaskEstimate,
            estimate.SuccessEstimate,
            validation.Validation,
            validation.Finding,
            skill.Skill,
            skill.SkillOutcome,
            skill.SkillMatch,
            skill.RoleMatch,
            skill.Match,
            skill.Reason,
            span.MoneySpan,
        )
    },
    **events.EVENT_TYPES,
    "EventBatch": Batch,
    "BudgetShortfall": budget.Shortfall,
    "AlertEvidence": alert.Evidence,
    "RoutingDecision": routing.Decision,
    "BudgetExceeded": Told,
    **dict.fromkeys(
        ("NotFound", "Invalid", "StaleVersion", "Cycle", "InvalidTransition", "MissingInputs", "Conflict", "Refused"),
        Told,
    ),
    "PageInfo": page.Page,
    "Metrics": MetricsReport,
    "MetricsPeriod": metrics.Period,
    "MetricsPresent": metrics.Present,
    "MetricsFigures": metrics.Figures,
    "MetricsPoint": metrics.Point,
    "MetricsGroup": metrics.Group,
    "MetricsChange": Comparison,
    "DurationFigures": metrics.Durations,
    **dict.fromkeys(("OutcomeCounts", "TaskFigures", "CallFigures", "TokenFigures"), metrics.Tally),
    "IntSpan": span.Span,
    "FloatSpan": span.Span,
    "TemplateAnalytics": template.AnalyticsReport,
    "TemplateVersion": template.VersionRecord,
    "TemplateParameter": template.Parameter,
    "GenerationConstraints": generation.Constraints,
    "BulkGenerationResult": BulkResult,
    "OptimizationEvidence": optimization.Evidence,
    "OptimizationChange": optimization.FieldChange,
}
"""The class whose instances stand behind each type."""

MADE_BY_FUNCTIONS = ("Query", "Mutation", "Subscription")
"""Types with a resolver for each field; payloads, connections and edges are made by functions, too."""


def _described() -> Iterator[tuple[str, Any]]:
    for kind in TYPES:
        yield kind.name, kind
        if isinstance(kind, GraphQLEnumType):
            yield from ((f"{kind.name}.{name}", value) for name, value in kind.values.items())
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
            for name, field in kind.fields.items():
                yield f"{kind.name}.{name}", field
                arguments = getattr(field, "args", {})
                yield from ((f"{kind.name}.{name}({argument}:)", it) for argument, it in arguments.items())


def test_everything_in_the_schema_has_a_description() -> None:
    everything = dict(_described())

    assert len(everything) > 500
    assert [name for name, thing in everything.items() if not (thing.description or "").strip()] == []


def test_the_schema_is_the_one_that_is_checked_in() -> None:
    assert sdl() == SNAPSHOT.read_text("utf-8"), "run `regatta export-schema` and read its diff"


def test_every_mutation_has_one_input_and_a_payload_with_errors() -> None:
    assert SCHEMA.mutation_type
    for name, field in SCHEMA.mutation_type.fields.items():
        assert list(field.args) == ["input"], name
        assert str(field.type) == f"{name[0].upper()}{name[1:]}Payload!"
        payload: Any = field.type.of_type
        assert str(payload.fields["errors"].type) == "[UserError!]!"
        assert not [it for key, it in payload.fields.items() if key != "errors" and str(it.type).endswith("!")], name


def test_everything_major_is_a_node_and_can_be_found_again() -> None:
    from resolvers.things import BY_KIND  # noqa: PLC0415

    nodes = SCHEMA.get_implementations(SCHEMA.type_map["Node"]).objects  # type: ignore[arg-type]  # an interface

    assert {kind.name for kind in nodes} == set(BY_KIND)


def _plain_fields() -> Iterator[tuple[str, str, StrawberryField]]:
    """Fields that are read from an attribute, or by an attribute's value, of what stands behind their type."""
    for kind in TYPES:
        if not isinstance(kind, GraphQLObjectType) or kind.name in MADE_BY_FUNCTIONS:
            continue
        definition: StrawberryObjectDefinition = kind.extensions["strawberry-definition"]
        if kind.name.endswith(("Payload", "Connection", "Edge")):
            continue
        for field in definition.fields:
            edge = _edge_of(field)
            if isinstance(edge, Asked | Loaded | Paged):
                yield kind.name, edge.key, field
            elif isinstance(edge, Derived):
                yield from ((kind.name, key, field) for key in edge.keys)
            elif edge is None:
                assert field.base_resolver is None, f"{kind.name}.{field.python_name} has a resolver of its own"
                yield kind.name, field.python_name, field


def _edge_of(field: StrawberryField) -> Any:
    metadata: Any = field.metadata or {}
    return metadata.get(EDGE)


FIELDS = list(_plain_fields())


@pytest.mark.parametrize(("kind", "attribute"), sorted({(kind, name) for kind, name, _ in FIELDS}))
def test_a_plain_field_exists_on_the_class_behind_its_type(kind: str, attribute: str) -> None:
    source = SOURCES[kind]

    is_property = isinstance(inspect.getattr_static(source, attribute, None), property)
    assert is_property or attribute in get_type_hints(source)


def test_no_scalar_is_there_without_need() -> None:
    scalars = {kind.name for kind in TYPES if type(kind).__name__ == "GraphQLScalarType"}

    assert {name for name in scalars if not is_specified_scalar_type(SCHEMA.type_map[name])} == {
        "DateTime",
        "Decimal",
        "JSON",
    }


def test_what_a_path_finds_has_the_attributes_that_fields_name() -> None:
    named = {
        (edge.path, edge.attribute)
        for _, _, field in FIELDS
        for edge in [_edge_of(field)]
        if isinstance(edge, Loaded) and edge.attribute
    }

    sources: dict[Any, Any] = {
        ActivityByTeam: TeamActivity,
        AvailabilityByModel: ModelAvailability,
        CancelOutcomeByExecution: CancelOutcome,
        ContentByVersion: template.TemplateContent,
        ThingByScope: NamedThing,
    }
    assert named == {(path, name) for path, found in sources.items() for name in found.__dataclass_fields__}


def _kinds_of(kind: type[RegattaError]) -> Iterator[type[RegattaError]]:
    for narrower in kind.__subclasses__():
        yield narrower
        yield from _kinds_of(narrower)


@pytest.mark.parametrize("kind", sorted(set(_kinds_of(RegattaError)), key=str))
def test_an_error_with_a_code_is_told_as_exactly_one_type(kind: type[RegattaError]) -> None:
    if not set(kind.__mro__) & set(CODES):
        # Those of a worker: no mutation raises them.
        assert issubclass(kind, RunFailed | NotRecorded | Paused | AnswerAwaited)
        return
    told = Told(kind.__new__(kind), "message", ())

    assert sum(it.is_type_of(told, None) for it in USER_ERRORS) == 1
