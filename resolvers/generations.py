"""Generations in the graph: asking for teams, deciding about proposals, watching them, and how they went."""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Annotated, Any
from uuid import UUID

import strawberry

from domain.errors import NotFound
from domain.model.generation import TIMEOUT_SECONDS, Constraints, Fallback, Generation, GenerationReport
from domain.model.identity import GenerationId, ProjectId, TeamId
from domain.services.generation_decisions import Acceptance, Accepted
from domain.services.generations import Batch, Target, Terms
from resolvers import loaders
from resolvers.blueprints import edits_from
from resolvers.context import Info
from resolvers.edges import period_of
from resolvers.filters import MomentFilter
from resolvers.generation_inputs import (
    AcceptGenerationInput,
    BuildAdaptiveTeamInput,
    BulkGenerateTeamsInput,
    CancelGenerationInput,
    GenerateTeamInput,
    RateGenerationInput,
    RejectGenerationInput,
    constraints_from,
)
from resolvers.generation_loaders import GenerationById
from resolvers.node_ids import node_id, uuid_of

# ---------------------------------------------------------------- asking for teams


async def generate_team(info: Info, input: GenerateTeamInput) -> Generation:  # noqa: A002 - the graph's name, as below
    project, team = _given(input.project_id), _given(input.team_id)
    target = Target(
        None if project is None else ProjectId(uuid_of("Project", project, "projectId")),
        None if team is None else TeamId(uuid_of("Team", team, "teamId")),
    )
    terms = Terms(
        constraints=constraints_from(input.constraints or None),
        fallback=input.fallback or Fallback.ALLOWED,
        max_budget=_given(input.max_budget),
        timeout_seconds=_given(input.timeout_seconds, TIMEOUT_SECONDS),
    )
    context = info.context
    asked = (input.objective, target, terms, context.principal_id, _given(input.idempotency_key))
    return await context.services.generations.generate(context.tenant_id, *asked)


async def build_adaptive_team(info: Info, input: BuildAdaptiveTeamInput) -> Generation:  # noqa: A002
    project_id = ProjectId(uuid_of("Project", input.project_id, "projectId"))
    constraints = Constraints(budget=_given(input.budget), expertise=_given(input.expertise))
    context = info.context
    asked = (input.objective, project_id, constraints, context.principal_id, _given(input.idempotency_key))
    return await context.services.generations.adaptive(context.tenant_id, *asked)


async def bulk_generate_teams(info: Info, input: BulkGenerateTeamsInput) -> Batch:  # noqa: A002
    project_id = ProjectId(uuid_of("Project", input.project_id, "projectId"))
    terms = Terms(
        constraints=constraints_from(input.constraints or None),
        fallback=input.fallback or Fallback.ALLOWED,
        max_budget=_given(input.max_budget),
    )
    context = info.context
    asked = (input.objectives, project_id, terms, context.principal_id, _given(input.idempotency_key))
    return await context.services.generations.bulk(context.tenant_id, *asked)


def _given(value: Any, otherwise: Any = None) -> Any:
    """The value of a field that may be left out; null is as if it was."""
    return otherwise if value is strawberry.UNSET or value is None else value


def batch_of(batch: Batch) -> Mapping[str, Any]:
    """What the payload about many objectives shows."""
    return {"results": batch.results, "batch_id": batch_node_id(batch.id)}


def batch_node_id(identifier: UUID | None) -> str | None:
    """The global id of a batch, for filters; None for none."""
    return None if identifier is None else node_id("GenerationBatch", identifier)


# ---------------------------------------------------------------- deciding


async def cancel_generation(info: Info, input: CancelGenerationInput) -> Generation:  # noqa: A002
    identifier = uuid_of("Generation", input.generation_id, "generationId")
    return await info.context.services.generations.cancel(info.context.tenant_id, identifier)


async def accept_generation(info: Info, input: AcceptGenerationInput) -> Accepted:  # noqa: A002
    identifier = uuid_of("Generation", input.generation_id, "generationId")
    edits = edits_from(input.edits or None, "edits")
    request = Acceptance(identifier, edits, _given(input.name), _given(input.idempotency_key))
    context = info.context
    return await context.services.generation_decisions.accept(context.tenant_id, request, context.principal_id)


async def reject_generation(info: Info, input: RejectGenerationInput) -> Generation:  # noqa: A002
    identifier = uuid_of("Generation", input.generation_id, "generationId")
    decisions = info.context.services.generation_decisions
    return await decisions.reject(info.context.tenant_id, identifier, _given(input.reason))


async def rate_generation(info: Info, input: RateGenerationInput) -> Generation:  # noqa: A002
    identifier = uuid_of("Generation", input.generation_id, "generationId")
    decisions = info.context.services.generation_decisions
    return await decisions.rate(info.context.tenant_id, identifier, input.rating, _given(input.feedback))


# ---------------------------------------------------------------- watching


GenerationArgument = Annotated[strawberry.ID, strawberry.argument(description="The generation to follow.")]


async def generation_progress(info: Info, generation_id: GenerationArgument) -> AsyncIterator[Generation]:
    """The generation at once and on every change; ends once nobody works on it. Raises NotFound."""
    identifier = uuid_of("Generation", generation_id, "generationId")
    if await info.context.load(GenerationById, identifier) is None:
        raise NotFound("Generation", generation_id).under("generationId")
    follow = info.context.services.generation_feed.follow
    async with aclosing(follow(info.context.tenant_id, GenerationId(identifier))) as changes:
        async for generation in changes:
            yield generation


MOST_MEASURED = 10_000
"""So many generations, the newest ones, are looked at for figures."""

_PERIOD = strawberry.argument(description="Only what was asked for in it; everything without one.")
_PROJECT = strawberry.argument(description="Only what was asked for in this project.")


async def generation_metrics(
    info: Info,
    period: Annotated[MomentFilter | None, _PERIOD] = None,
    project_id: Annotated[strawberry.ID | None, _PROJECT] = None,
) -> GenerationReport | None:
    """Raises Invalid for a period that is none."""
    context, within, project = info.context, period_of({"period": period}), None
    if project_id is not None:
        try:
            project = uuid_of("Project", project_id, "projectId")
        except NotFound:
            return None
        if await context.load(loaders.ProjectById, project) is None:
            return None
    bounds = (within.since, within.until)
    return await context.reader.generation_metrics(context.tenant_id, project, *bounds, MOST_MEASURED)
