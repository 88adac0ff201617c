"""Mutations and subscriptions on executions."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any

import strawberry

from domain.errors import Invalid, NotFound
from domain.events import sequence_at
from domain.model.admission import PRIORITY
from domain.model.brought_tasks import MOST_BROUGHT, BroughtTask
from domain.model.continuation import Fork
from domain.model.execution import Execution, TaskExecution
from domain.model.identity import RoleId, TaskExecutionId, TeamId
from domain.model.progress import ExecutionProgress
from domain.model.refinement import MAX_PASSES, THRESHOLD, Refinement
from domain.model.routing import QualityPreference
from domain.model.task import PRIORITY as TASK_PRIORITY
from domain.services.cancelling import Cancelled
from domain.services.executions import KickoffRequest
from resolvers import loaders
from resolvers.context import Info
from resolvers.edges import storable
from resolvers.execution_inputs import (
    CancelExecutionInput,
    CancelExecutionsInput,
    ForkExecutionInput,
    KickoffTaskInput,
    KickoffTeamInput,
    PauseExecutionInput,
    RefinementInput,
    ResumeExecutionInput,
    RetryExecutionInput,
    UpdateTaskExecutionInput,
)
from resolvers.filters import conditions_of
from resolvers.inputs import given
from resolvers.node_ids import uuid_of

ExecutionArgument = Annotated[strawberry.ID, strawberry.argument(description="The execution to follow.")]
ProjectArgument = Annotated[strawberry.ID, strawberry.argument(description="The project to follow.")]
AfterArgument = Annotated[
    str | None, strawberry.argument(description="Go on behind this cursor; from the first event without one.")
]


async def kickoff_team(info: Info, input: KickoffTeamInput) -> Execution:  # noqa: A002 - the graph's name
    inputs: object = input.inputs
    if not isinstance(inputs, dict | None):
        raise Invalid.at("The inputs are an object.", "inputs")
    request = KickoffRequest(
        team_id=TeamId(uuid_of("Team", input.team_id, "teamId")),
        inputs=inputs or {},
        tasks=[_brought(task) for task in (input.tasks or [])[: MOST_BROUGHT + 1]],
        max_iterations=input.max_iterations,
        execution_timeout_seconds=input.execution_timeout_seconds,
        task_timeout_seconds=input.task_timeout_seconds,
        quality_preference=input.quality_preference or QualityPreference.BALANCED,
        max_budget=input.max_budget,
        max_task_budget=input.max_task_budget,
        priority=PRIORITY if input.priority is None else input.priority,
        max_parallel_tasks=input.max_parallel_tasks,
        refinement=_refinement(input.refinement),
        when_busy=input.when_busy,
        cache=input.cache,
        idempotency_key=input.idempotency_key,
    )
    context = info.context
    return await context.services.kickoff(context.tenant_id, request, context.principal_id)


def _refinement(wanted: RefinementInput | None) -> Refinement | None:
    if wanted is None:
        return None
    passes, threshold = wanted.max_passes, wanted.threshold
    return Refinement(MAX_PASSES if passes is None else passes, THRESHOLD if threshold is None else threshold)


def _brought(task: KickoffTaskInput) -> BroughtTask:
    return BroughtTask(
        task.description,
        task.expected_output,
        kind=task.kind or "",
        required_skills=tuple(task.required_skills or ()),
        name=task.name,
        priority=TASK_PRIORITY if task.priority is None else task.priority,
        depends_on=tuple(task.depends_on or ()),
    )


async def cancel_execution(info: Info, input: CancelExecutionInput) -> Execution:  # noqa: A002 - as above and below
    identifier = uuid_of("Execution", input.execution_id, "executionId")
    return await info.context.services.cancel(info.context.tenant_id, identifier, input.idempotency_key)


async def cancel_executions(info: Info, input: CancelExecutionsInput) -> Cancelled:  # noqa: A002
    conditions = [storable(condition) for condition in conditions_of(input.filter)]
    if not conditions:
        raise Invalid.at("Name at least one condition: without any, all executions of the tenant would stop.", "filter")
    return await info.context.services.cancel_many(info.context.tenant_id, conditions, input.idempotency_key)


async def pause_execution(info: Info, input: PauseExecutionInput) -> Execution:  # noqa: A002
    identifier = uuid_of("Execution", input.execution_id, "executionId")
    return await info.context.services.pause(info.context.tenant_id, identifier, input.idempotency_key)


async def resume_execution(info: Info, input: ResumeExecutionInput) -> Execution:  # noqa: A002
    identifier = uuid_of("Execution", input.execution_id, "executionId")
    return await info.context.services.resume(info.context.tenant_id, identifier, input.idempotency_key)


async def retry_execution(info: Info, input: RetryExecutionInput) -> Execution:  # noqa: A002
    identifier = uuid_of("Execution", input.execution_id, "executionId")
    context = info.context
    asked = (identifier, context.principal_id, input.idempotency_key)
    return await context.services.retry(context.tenant_id, *asked, is_paused=bool(input.is_paused))


async def fork_execution(info: Info, input: ForkExecutionInput) -> Execution:  # noqa: A002
    inputs: object = input.inputs
    if not isinstance(inputs, dict | None):
        raise Invalid.at("The inputs are an object.", "inputs")
    identifier = uuid_of("Execution", input.execution_id, "executionId")
    from_task = TaskExecutionId(uuid_of("TaskExecution", input.from_task, "fromTask"))
    fork = Fork(from_task, input.edited_output, inputs)
    context = info.context
    asked = (identifier, fork, context.principal_id, input.idempotency_key)
    return await context.services.fork(context.tenant_id, *asked, is_paused=bool(input.is_paused))


async def update_task_execution(info: Info, input: UpdateTaskExecutionInput) -> TaskExecution:  # noqa: A002
    identifier = uuid_of("TaskExecution", input.task_execution_id, "taskExecutionId")
    without = ("task_execution_id", "idempotency_key")
    changes = given(input, without=without, nullable=frozenset({"model", "max_budget"}))
    if "model" in changes:
        changes["wanted_model"] = changes.pop("model")
    if "role_id" in changes:
        changes["role_id"] = RoleId(uuid_of("Role", changes["role_id"], "roleId"))
    context = info.context
    return await context.services.update_task_execution(context.tenant_id, identifier, changes, input.idempotency_key)


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
