"""Mutations and subscriptions on executions."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any

import strawberry

from domain.errors import Invalid, NotFound
from domain.events import sequence_at
from domain.model.execution import Execution
from domain.model.identity import TeamId
from domain.model.progress import ExecutionProgress
from domain.model.routing import QualityPreference
from domain.services.executions import KickoffRequest
from resolvers import loaders
from resolvers.context import Info
from resolvers.inputs import CancelExecutionInput, KickoffTeamInput
from resolvers.node_ids import uuid_of

ExecutionArgument = Annotated[strawberry.ID, strawberry.argument(description="The execution to follow.")]
ProjectArgument = Annotated[strawberry.ID, strawberry.argument(description="The project to follow.")]
AfterArgument = Annotated[
    str | None, strawberry.argument(description="Go on behind this cursor; from the first event without one.")
]


async def kickoff_team(info: Info, input: KickoffTeamInput) -> Execution:  # noqa: A002 - the graph's name
    given: object = input.inputs
    if not isinstance(given, dict | None):
        raise Invalid.at("The inputs are an object.", "inputs")
    request = KickoffRequest(
        team_id=TeamId(uuid_of("Team", input.team_id, "teamId")),
        inputs=given or {},
        max_iterations=input.max_iterations,
        execution_timeout_seconds=input.execution_timeout_seconds,
        task_timeout_seconds=input.task_timeout_seconds,
        quality_preference=input.quality_preference or QualityPreference.BALANCED,
        max_budget=input.max_budget,
        max_task_budget=input.max_task_budget,
        idempotency_key=input.idempotency_key,
    )
    context = info.context
    return await context.services.kickoff(context.tenant_id, request, context.principal_id)


async def cancel_execution(info: Info, input: CancelExecutionInput) -> Execution:  # noqa: A002 - the graph's name
    identifier = uuid_of("Execution", input.execution_id, "executionId")
    return await info.context.services.cancel(info.context.tenant_id, identifier)


async def execution_events(
    info: Info, execution_id: ExecutionArgument, after: AfterArgument = None
) -> AsyncIterator[Any]:
    """Raises NotFound, and Invalid for a cursor that is none."""
    try:
        sequence = sequence_at(after)
    except ValueError as error:
        raise Invalid.at("This is no cursor of an event stream.", "after") from error
    execution = await _execution(info, execution_id)
    feeds = info.context.services.feeds
    async with aclosing(feeds.follow(info.context.tenant_id, execution.id, sequence)) as batches:
        async for batch in batches:
            yield batch


async def execution_progress(info: Info, execution_id: ExecutionArgument) -> AsyncIterator[ExecutionProgress]:
    """A snapshot at once and on every change; ends after the final one. Raises NotFound."""
    identifier = (await _execution(info, execution_id)).id
    async with aclosing(info.context.services.snapshots.progress(info.context.tenant_id, identifier)) as snapshots:
        async for snapshot in snapshots:
            yield snapshot


async def _execution(info: Info, execution_id: strawberry.ID) -> Execution:
    identifier = uuid_of("Execution", execution_id, "executionId")
    found: Execution | None = await info.context.load(loaders.ExecutionById, identifier)
    if found is None:
        raise NotFound("Execution", execution_id).under("executionId")
    return found


@dataclass(frozen=True, slots=True)
class ProjectActivity:
    """Executions of a project that changed since the last message."""

    executions: Sequence[Execution]


async def project_activity(info: Info, project_id: ProjectArgument) -> AsyncIterator[Any]:
    """What is under way at once, then whatever changes. Raises NotFound."""
    identifier = uuid_of("Project", project_id, "projectId")
    if await info.context.load(loaders.ProjectById, identifier) is None:
        raise NotFound("Project", project_id).under("projectId")
    async with aclosing(info.context.services.snapshots.activity(info.context.tenant_id, identifier)) as messages:
        async for executions in messages:
            yield ProjectActivity(executions)
