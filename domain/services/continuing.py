"""Use cases that go on after an execution with a new one: try it again, or go another way from a task on."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from domain.errors import (
    Archived,
    BudgetExceeded,
    ExecutionArchived,
    Invalid,
    InvalidTransition,
    NotFound,
    TeamBusy,
    located,
)
from domain.events import ExecutionEvent, ExecutionPaused, ExecutionQueued, TaskReused
from domain.model.continuation import Fork, forked, retried
from domain.model.execution import Execution, ExecutionStatus, TaskExecution, TaskExecutionStatus
from domain.model.identity import ExecutionId, PrincipalId, TenantId
from domain.model.output_schema import problem_of
from domain.model.planning import MAX_FILLED
from domain.model.revision import TeamSnapshot, decode
from domain.model.rules import Rules
from domain.model.team import Team
from domain.ports import WAITING, Hints, UnitOfWork, UnitsOfWork, project_topic
from domain.ports.tracing import NO_TRACING, Span, Tracing
from domain.services.busy_teams import make_way
from domain.services.cancelling import cancel_topics
from domain.services.executions import admission_of, check_can_run
from domain.services.idempotency import Once
from domain.services.spans import FORK, RETRY, pass_trace_on, producing

Planned = tuple[Execution, list[TaskExecution]]


class RetryExecution:
    """Queues a new execution that does what a FAILED or CANCELLED one did not."""

    def __init__(self, units: UnitsOfWork, hints: Hints, tracing: Tracing = NO_TRACING) -> None:
        self.units = units
        self.hints = hints
        self.tracing = tracing

    async def __call__(
        self,
        tenant_id: TenantId,
        identifier: UUID,
        by: PrincipalId | None = None,
        key: str | None = None,
        *,
        is_paused: bool = False,
    ) -> Execution:
        """The new execution, or the first one of the same key. It may begin paused, so that its tasks can be changed.

        Raises NotFound, InvalidTransition from another state, Archived, TeamBusy, BudgetExceeded, IdempotencyConflict.
        """
        once = Once(key, ("retryExecution", identifier, *_asked(is_paused)))
        once.check()
        with located("executionId"), producing(self.tracing, RETRY) as span:
            async with self.units(tenant_id) as unit:
                if (first := await once.first(unit)) is not None:
                    return await unit.executions.get(first)
                planned = await _retried(unit, ExecutionId(identifier), by)
                made, topics = await _begin(unit, planned, once, span, is_paused=is_paused)
                await unit.commit()
        await self.hints.publish(topics)
        return made


async def _retried(unit: UnitOfWork, identifier: ExecutionId, by: PrincipalId | None) -> Planned:
    execution, tasks = await _kept(unit, identifier)
    if not execution.can_retry:
        allowed = [status.value for status in execution.allowed_transitions]
        told = "Only a FAILED or CANCELLED execution can be retried."
        raise InvalidTransition(execution.status.value, "QUEUED", allowed, told)
    return retried(execution, tasks, by)


async def _kept(unit: UnitOfWork, identifier: ExecutionId) -> tuple[Execution, Sequence[TaskExecution]]:
    """The execution and its tasks with all their texts. Raises NotFound, ExecutionArchived."""
    execution = await unit.executions.get(identifier)
    tasks = await unit.executions.tasks(identifier)
    # Once more, for it may be archived between the two; a lock would make its own run wait for us.
    if (await unit.executions.get(identifier)).archived_at is not None:
        raise ExecutionArchived
    return execution, tasks


class ForkExecution:
    """Queues a new execution that goes another way from a task on; the first one is left as it is."""

    def __init__(self, units: UnitsOfWork, hints: Hints, tracing: Tracing = NO_TRACING) -> None:
        self.units = units
        self.hints = hints
        self.tracing = tracing

    async def __call__(
        self,
        tenant_id: TenantId,
        identifier: UUID,
        fork: Fork,
        by: PrincipalId | None = None,
        key: str | None = None,
        *,
        is_paused: bool = False,
    ) -> Execution:
        """The new execution, or the first one of the same key. It may begin paused, so that its tasks can be changed.

        Raises NotFound, Invalid, MissingInputs, Archived, TeamBusy, BudgetExceeded, IdempotencyConflict.
        """
        asked = (fork.from_task, fork.edited_output, fork.inputs, *_asked(is_paused))
        once = Once(key, ("forkExecution", identifier, *asked))
        once.check()
        _check(fork)
        with producing(self.tracing, FORK) as span:
            async with self.units(tenant_id) as unit:
                if (first := await once.first(unit)) is not None:
                    return await unit.executions.get(first)
                with located("executionId"):
                    planned = await _forked(unit, ExecutionId(identifier), fork, by)
                    made, topics = await _begin(unit, planned, once, span, is_paused=is_paused)
                await unit.commit()
        await self.hints.publish(topics)
        return made


def _asked(is_paused: bool) -> Sequence[str]:
    """What a key means more; nothing where it was not asked for."""
    return ("paused",) if is_paused else ()


def _check(fork: Fork) -> None:
    """Raises Invalid."""
    rules = Rules()
    text = fork.edited_output or ""
    rules.require(fork.edited_output is None or text.strip(), "This cannot be empty.", "editedOutput")
    rules.require(len(text) <= MAX_FILLED, f"At most {MAX_FILLED} characters.", "editedOutput")
    rules.require("\x00" not in text, "The character U+0000 is not allowed.", "editedOutput")
    rules.document(fork.inputs, "inputs")
    rules.hold()


async def _forked(unit: UnitOfWork, identifier: ExecutionId, fork: Fork, by: PrincipalId | None) -> Planned:
    execution, tasks = await _kept(unit, identifier)
    begins_at = next((task for task in tasks if task.id == fork.from_task), None)
    if begins_at is None:
        raise NotFound("TaskExecution", fork.from_task).under("fromTask")
    _check_output(begins_at, fork.edited_output)
    return forked(execution, tasks, await _snapshot(unit, execution), fork, by)


def _check_output(task: TaskExecution, output: str | None) -> None:
    """Raises Invalid for an output that the tasks behind this one could not rely on."""
    if output is None or task.output_schema is None:
        return
    problem = problem_of(output, task.output_schema)
    if problem is not None:
        raise Invalid.at(f"This does not hold the task's output schema. {problem}", "editedOutput")


async def _snapshot(unit: UnitOfWork, execution: Execution) -> TeamSnapshot:
    revision = await unit.definitions.find_revision(execution.revision_id)
    if revision is None:
        raise NotFound("TeamRevision", execution.revision_id)
    return decode(revision.content)


async def _begin(
    unit: UnitOfWork, planned: Planned, once: Once, span: Span, *, is_paused: bool
) -> tuple[Execution, Sequence[str]]:
    """Add the new execution, in this unit of work; with the topics to tell. Its team's present settings count.

    Raises Archived, BudgetExceeded, TeamBusy.
    """
    execution, tasks = planned
    pass_trace_on(span, execution)
    team = await _open_team(unit, execution)
    shortfall = await unit.executions.exhausted_budget(team)
    if shortfall is not None:
        raise BudgetExceeded(shortfall)
    topics = [project_topic(execution.project_id)]
    if is_paused:
        execution = await _add_paused(unit, execution, tasks)
    else:
        topics += await _queue(unit, execution, tasks, team)
    await once.keep(unit, execution.id)
    return execution, topics


async def _queue(unit: UnitOfWork, execution: Execution, tasks: Sequence[TaskExecution], team: Team) -> list[str]:
    replaced = await _make_way(unit, team)
    await unit.executions.add(execution, tasks)
    await unit.executions.append_events(_story(execution, tasks))
    await unit.executions.wait_for_place(admission_of(execution, team))
    return [WAITING, *{topic for other in replaced for topic in cancel_topics(other)}]


async def _add_paused(unit: UnitOfWork, execution: Execution, tasks: Sequence[TaskExecution]) -> Execution:
    """It waits for a human, so it keeps nobody of its team busy; `resumeExecution` lets it begin."""
    paused = replace(execution, status=ExecutionStatus.PAUSED, waiting_from=execution.created_at)
    told = ExecutionPaused(tenant_id=paused.tenant_id, execution_id=paused.id)
    await unit.executions.add(paused, tasks)
    await unit.executions.append_events([*_story(paused, tasks), told])
    return paused


async def _make_way(unit: UnitOfWork, team: Team) -> Sequence[Execution]:
    try:
        return await make_way(unit, team.id, team.when_busy)
    except TeamBusy as error:  # what a kickoff may say of itself cannot be said here
        error.suggestion = "Wait for its end, or change whenBusy in the team's settings."
        raise error.under("executionId") from None


async def _open_team(unit: UnitOfWork, execution: Execution) -> Team:
    team = await unit.teams.get(execution.team_id)
    check_can_run(team)
    if (await unit.projects.get(team.project_id)).archived_at:
        raise Archived("Project")
    return team


def _story(execution: Execution, tasks: Sequence[TaskExecution]) -> list[ExecutionEvent]:
    whose: dict[str, Any] = {"tenant_id": execution.tenant_id, "execution_id": execution.id}
    reused = [task for task in tasks if task.status is TaskExecutionStatus.REUSED]
    told = [TaskReused(**whose, task_execution_id=task.id, role_id=task.role_id, name=task.name) for task in reused]
    return [ExecutionQueued(**whose, task_count=len(tasks)), *told]
