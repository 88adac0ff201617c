"""Generation: a proposal of a team, from its objective on to what became of it."""

from datetime import datetime
from typing import Any

import strawberry

from domain.model import generation as domain
from domain.model.analysis import ObjectiveAnalysis as Analysis
from domain.model.blueprint import from_document
from domain.model.documents import of_document
from domain.model.generation import ComposedBy, Constraints, Fallback, GenerationFailureCode, GenerationStatus
from domain.model.money import Money as Amount
from domain.model.role import Expertise
from domain.model.routing import QualityPreference
from domain.model.validation import Validation as Found
from resolvers import loaders
from resolvers.edges import computed, loaded_by, paged_by
from resolvers.filters import LedgerFilter
from resolvers.generation_loaders import DifferencesByChange, LedgerByGeneration, UsageByGeneration
from resolvers.generations import batch_node_id
from resolvers.template_loaders import TemplateById
from schema.errors import UserError, told
from schema.node import Node, global_id, stands_for
from schema.pagination import Connection
from schema.types.assessment import ObjectiveAnalysis, Validation
from schema.types.blueprint import Blueprint, Difference
from schema.types.lazy import ProjectType, TeamType, TemplateType
from schema.types.ledger import LedgerEntry
from schema.types.values import Money, Usage


@strawberry.type(description="What a proposed team has to keep to.")
class GenerationConstraints:
    budget: Money | None = computed(
        lambda constraints: None if constraints.budget is None else Amount(constraints.budget),
        "The most that one execution may take, by the lower end of its estimate; null: free.",
    )
    max_roles: int = computed(lambda constraints: constraints.most_roles, "Most roles.")
    expertise: Expertise | None = strawberry.field(description="The highest expertise of any role; null: free.")
    tools: list[str] | None = strawberry.field(
        description="The names of the only tools that roles may be given; null: any of the project's."
    )
    domain: str | None = strawberry.field(description="Where the work is at home; null: recognised.")
    quality_preference: QualityPreference = strawberry.field(description="How models are chosen.")


@strawberry.type(description="A template that rules composed a proposal from.")
class TemplateSource:
    template: TemplateType | None = loaded_by(
        TemplateById, "The template; null when it does not ship any more.", key="template_id"
    )
    version: int = computed(lambda source: source.number, "The number of the version that was used.")


@strawberry.type(description="Why a generation failed.")
class GenerationFailure:
    code: GenerationFailureCode = strawberry.field(description="The reason, for programs.")
    message: str = strawberry.field(description="The reason, for people.")


@strawberry.type(description="When things happened to a generation, and how long they took.")
class GenerationTiming:
    created_at: datetime = strawberry.field(description="When it was asked for.")
    started_at: datetime | None = strawberry.field(description="When a worker began; null before that.")
    finished_at: datetime | None = strawberry.field(description="When nobody worked on it any more; null before that.")
    decided_at: datetime | None = strawberry.field(description="When it was accepted or rejected; null before that.")
    queue_wait_seconds: float | None = strawberry.field(description="Seconds until a worker began.")
    duration_seconds: float | None = strawberry.field(description="Seconds of work, from the start to the end.")


def _document(name: str, kind: type[Any]) -> Any:
    """What a generation keeps as a document, as the value that it stands for."""

    def value(generation: Any) -> Any:
        document = getattr(generation, name)
        return None if document is None else of_document(kind, document)

    return value


def _creator(generation: Any) -> str | None:
    return None if generation.created_by is None else str(generation.created_by)


@strawberry.type(description="A proposal of a team from an objective: in the making, made, or decided about.")
class Generation(Node):
    is_type_of = stands_for(domain.Generation)
    id: strawberry.ID = global_id("Generation")
    objective: str = strawberry.field(description="What the team is to achieve.")
    constraints: GenerationConstraints = computed(
        _document("constraints", Constraints), "What the proposal has to keep to."
    )
    fallback: Fallback = strawberry.field(description="Whether rules may compose where no model did.")
    max_budget: Money | None = computed(
        lambda generation: generation.budget, "The most that the generation itself may spend; null: no own limit."
    )
    timeout_seconds: float = strawberry.field(description="Most seconds from when a worker begins.")
    status: GenerationStatus = strawberry.field(description="Where it stands.")
    stage: str = strawberry.field(description="What is done at the moment, for people; empty when nothing is.")
    allowed_transitions: list[GenerationStatus] = strawberry.field(description="The states that can come next.")
    can_cancel: bool = strawberry.field(description="Whether it can be cancelled now.")
    can_accept: bool = strawberry.field(description="Whether the proposal can be accepted, or rejected, now.")
    analysis: ObjectiveAnalysis | None = computed(
        _document("analysis", Analysis), "What rules make of the objective; null before they have looked at it."
    )
    proposal: Blueprint | None = computed(
        lambda generation: None if generation.proposal is None else from_document(generation.proposal),
        "The team that is proposed; null while there is none.",
    )
    validation: Validation | None = computed(
        _document("validation", Found), "What was found about the proposal; null before it was checked."
    )
    diff: list[Difference] | None = loaded_by(
        DifferencesByChange,
        "What the proposal would change of the team that it is for, as that was when it was asked for; null for a new"
        " team, and while nothing is proposed.",
        key="change",
    )
    composed_by: ComposedBy | None = strawberry.field(description="Who composed the proposal; null before that.")
    templates: list[TemplateSource] = computed(
        lambda generation: generation.sources, "The templates that rules composed it from; empty for none."
    )
    model: str | None = strawberry.field(description="The model that answered; null when none did.")
    is_first_valid: bool | None = strawberry.field(
        description="Whether the model's first answer would do; null without an answer."
    )
    repairs: int = strawberry.field(description="How often an answer was sent back.")
    fallback_reason: str | None = strawberry.field(description="Why rules composed it; null when they did not.")
    failure: GenerationFailure | None = strawberry.field(description="Why it failed; null when it did not.")
    usage: Usage = loaded_by(UsageByGeneration, "What its model calls took.")
    ledger: Connection[LedgerEntry] = paged_by(
        LedgerByGeneration, "Its model calls, newest first.", filter_type=LedgerFilter, order_by="booked_at"
    )
    timing: GenerationTiming = strawberry.field(description="When things happened.")
    project: ProjectType = loaded_by(loaders.ProjectById, "Where a new team belongs.", key="project_id")
    team: TeamType | None = loaded_by(
        loaders.TeamById, "The team that it would change; null for a new one.", key="team_id"
    )
    accepted_team: TeamType | None = loaded_by(
        loaders.TeamById, "The team that was made or changed; null unless it is ACCEPTED.", key="accepted_team_id"
    )
    rejection_reason: str | None = strawberry.field(description="Why it was rejected; null when nobody said.")
    rating: int | None = strawberry.field(description="How good it was, 1 to 5; null when nobody said.")
    feedback: str | None = strawberry.field(description="What was good or bad; null when nobody said.")
    batch_id: strawberry.ID | None = computed(
        lambda generation: batch_node_id(generation.batch_id),
        "The batch of `bulkGenerateTeams` that it belongs to, for filters; null for none.",
    )
    created_by: str | None = computed(_creator, "Who asked for it; null until there are principals.")


@strawberry.type(description="What became of one objective of many.")
class BulkGenerationResult:
    index: int = strawberry.field(description="The place of the objective, from 0.")
    objective: str = strawberry.field(description="How the objective begins.")
    generation: Generation | None = strawberry.field(description="Its generation; null when it was refused.")
    errors: list[UserError] = computed(
        lambda result: told(result.error) if result.error else [], "Why it was refused; empty when not."
    )


_RATE = "0 to 1; null where nothing can be said."


@strawberry.type(description="How generations went: all of them, those of one model, or those that no model answered.")
class GenerationMetrics:
    model: str | None = strawberry.field(description="The model that answered; null for all, or where none did.")
    count: int = strawberry.field(description="How many were asked for.")
    composed: int = strawberry.field(description="How many came to a proposal.")
    failed: int = strawberry.field(description="How many failed.")
    cancelled: int = strawberry.field(description="How many were cancelled.")
    accepted: int = strawberry.field(description="How many were accepted.")
    rejected: int = strawberry.field(description="How many were rejected.")
    repairs: int = strawberry.field(description="How often an answer was sent back.")
    fallbacks: int = strawberry.field(description="How many proposals were composed by rules.")
    valid_first_rate: float | None = strawberry.field(
        description=f"Of those with an answer, the share whose first one would do: {_RATE}"
    )
    repair_rate: float | None = strawberry.field(
        description=f"Of those with an answer, the share that was sent back: {_RATE}"
    )
    fallback_rate: float | None = strawberry.field(
        description=f"Of the proposals, the share that rules composed: {_RATE}"
    )
    failure_rate: float | None = strawberry.field(
        description=f"Of those that ended by themselves, the share that failed: {_RATE}"
    )
    acceptance_rate: float | None = strawberry.field(
        description=f"Of those that somebody decided about, the share that was accepted: {_RATE}"
    )
    mean_seconds: float | None = strawberry.field(description="Seconds of work, on average of those that are over.")
    mean_cost: Money | None = strawberry.field(
        description="What the model calls of one cost, on average of those that are over."
    )
    mean_rating: float | None = strawberry.field(description="What people said, 1 to 5, on average; null for nothing.")


@strawberry.type(description="How the generations of a period went, at most the newest 10,000.")
class GenerationReport:
    total: GenerationMetrics = strawberry.field(description="All of them.")
    by_model: list[GenerationMetrics] = strawberry.field(
        description="By model, the one with the most first, at most 100; those that no model answered have none."
    )
    is_complete: bool = strawberry.field(description="Whether all of the period were looked at.")
