"""Use cases that hold executions up, let them go on, and change what they have not begun; `cancelling` ends them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from domain.errors import Invalid, InvalidTransition, NotFound, TaskNotChangeable, TooManyTasks, located
from domain.events import ExecutionEvent, ExecutionPaused, ExecutionPauseRequested, ExecutionResumed, TaskChanged
from domain.model.execution import TRANSITIONS, Execution, ExecutionStatus, TaskExecution, TaskExecutionStatus
from domain.model.identity import ExecutionId, RoleId, TaskExecutionId, TenantId, utc_now
from domain.model.revision import decode
from domain.model.role import Role, check_model
from domain.model.rules import MAX_BUDGET, MONEY_DIGITS, Rules
from domain.model.task import fill
from domain.ports import COMMANDS, WAITING, Hints, Reader, UnitOfWork, UnitsOfWork, execution_topic, project_topic
from domain.services.executions import admission_of
from domain.services.idempotency import Once

_S = ExecutionStatus


def topics_of(execution: Execution) -> list[str]:
    """Who follows an execution."""
    return [execution_topic(execution.id), project_topic(execution.project_id)]


async def go_on(unit: UnitOfWork, execution: Execution) -> Execution:
    """The locked execution, RUNNING from now on and waiting for a place; written in this unit of work.

    It waits at its team's present setting: what a kickoff chose for itself was about that moment.
    It counts as waiting until a worker has it, so that its time-out does not run meanwhile.
    """
    execution.check_move(_S.RUNNING)
    # A pause that was asked for just before it began to wait for a human still holds.
    is_over = execution.status is _S.PAUSED
    requested = None if is_over else execution.pause_requested_at
    wanted = replace(execution, status=_S.RUNNING, pause_requested_at=requested)
    await unit.executions.save(wanted, execution.status)
    await unit.executions.wait_for_place(admission_of(wanted, await unit.teams.get(execution.team_id)))
    return wanted


class PauseExecution:
    """Asks an execution to stop at its next boundary. One that no worker has is PAUSED at once."""

    def __init__(self, units: UnitsOfWork, hints: Hints) -> None:
        self.units = units
        self.hints = hints

    async def __call__(self, tenant_id: TenantId, identifier: UUID, key: str | None = None) -> Execution:
        """The execution as it is now, also when it is paused, or being paused, already.

        Raises NotFound, InvalidTransition when it is not RUNNING, IdempotencyConflict.
        """
        once = Once(key, ("pauseExecution", identifier))
        once.check()
        with located("executionId"):
            wanted, is_new = await self._pause(tenant_id, ExecutionId(identifier), once)
        if is_new:
            await self.hints.publish([COMMANDS, *topics_of(wanted)])
        return wanted

    async def _pause(self, tenant_id: TenantId, identifier: ExecutionId, once: Once) -> tuple[Execution, bool]:
        async with self.units(tenant_id) as unit:
            if await once.first(unit) is not None:
                return await unit.executions.get(identifier), False
            execution = await unit.executions.lock(identifier)
            wanted = execution if execution.status is _S.PAUSED else await _paused(unit, execution)
            await once.keep(unit, identifier)
            await unit.commit()
        return wanted, wanted is not execution


async def _paused(unit: UnitOfWork, execution: Execution) -> Execution:
    """The locked execution after a request to pause it; unchanged when its worker was asked already."""
    execution.check_move(_S.PAUSED)
    now, is_new = utc_now(), execution.pause_requested_at is None
    events: list[ExecutionEvent] = [ExecutionPauseRequested(**_whose(execution))] if is_new else []
    admission = await unit.executions.admission(execution.id)
    if admission is None or admission.worker_id is None:  # also where the worker that was asked is lost
        await unit.executions.withdraw(execution.id)
        since = execution.waiting_from or now
        wanted = replace(execution, status=_S.PAUSED, pause_requested_at=None, waiting_from=since)
        events.append(ExecutionPaused(**_whose(execution)))
    elif is_new:
        wanted = replace(execution, pause_requested_at=now)
    else:
        return execution
    await unit.executions.save(wanted, execution.status)
    await unit.executions.append_events(events)
    return wanted


def _whose(execution: Execution) -> dict[str, Any]:
    return {"tenant_id": execution.tenant_id, "execution_id": execution.id}


class ResumeExecution:
    """Lets a paused execution go on, or withdraws a pause that has not happened yet."""

    def __init__(self, units: UnitsOfWork, hints: Hints) -> None:
        self.units = units
        self.hints = hints

    async def __call__(self, tenant_id: TenantId, identifier: UUID, key: str | None = None) -> Execution:
        """The execution as it is now, also when it is RUNNING already.

        Raises NotFound, InvalidTransition when it is neither RUNNING nor PAUSED, IdempotencyConflict.
        """
        once = Once(key, ("resumeExecution", identifier))
        once.check()
        with located("executionId"):
            wanted, is_new = await self._resume(tenant_id, ExecutionId(identifier), once)
        if is_new:
            await self.hints.publish([WAITING, COMMANDS, *topics_of(wanted)])
        return wanted

    async def _resume(self, tenant_id: TenantId, identifier: ExecutionId, once: Once) -> tuple[Execution, bool]:
        async with self.units(tenant_id) as unit:
            if await once.first(unit) is not None:
                return await unit.executions.get(identifier), False
            execution = await unit.executions.lock(identifier)
            wanted = await _resumed(unit, execution)
            if wanted is not execution:
                await unit.executions.append_events([ExecutionResumed(**_whose(execution))])
            await once.keep(unit, identifier)
            await unit.commit()
        return wanted, wanted is not execution


async def _resumed(unit: UnitOfWork, execution: Execution) -> Execution:
    match execution.status:
        case _S.PAUSED:
            return await go_on(unit, execution)
        case _S.RUNNING | _S.QUEUED if execution.pause_requested_at is None:
            return execution
        case _S.RUNNING | _S.QUEUED:
            wanted = replace(execution, pause_requested_at=None)
            await unit.executions.save(wanted, execution.status)
            return wanted
        case _:
            raise _not_resumable(execution)


def _not_resumable(execution: Execution) -> InvalidTransition:
    """Also of what may become RUNNING some other way: by a worker, or by the answer of a human."""
    others = [status.value for status in TRANSITIONS[execution.status] if status is not _S.RUNNING]
    error = InvalidTransition(execution.status.value, _S.RUNNING.value, others)
    if execution.status is _S.AWAITING_APPROVAL:
        error.suggestion = "Decide its open approvals: then it goes on by itself."
    return error


# ---------------------------------------------------------------- tasks of a paused execution

CHANGEABLE: Mapping[str, str] = {
    "description": "description",
    "expected_output": "expectedOutput",
    "role_id": "roleId",
    "wanted_model": "model",
    "max_budget": "maxBudget",
}
"""What of a pending task can be changed, and what it is called in the graph."""


class UpdateTaskExecution:
    """Changes a task for one execution that is PAUSED, before it is begun; the team's own task stays as it is."""

    def __init__(self, units: UnitsOfWork, reader: Reader, hints: Hints) -> None:
        self.units = units
        self.reader = reader
        self.hints = hints

    async def __call__(
        self, tenant_id: TenantId, identifier: UUID, changes: Mapping[str, Any], key: str | None = None
    ) -> TaskExecution:
        """The task as it is now; `changes` has values for some of `CHANGEABLE`, dollars for the budget.

        Raises NotFound, Invalid, TaskNotChangeable, TooManyTasks, IdempotencyConflict.
        """
        once = Once(key, ("updateTaskExecution", identifier, dict(changes)))
        once.check()
        _check(changes)
        found = (await self.reader.by_ids(TaskExecution, tenant_id, [identifier])).get(identifier)
        if found is None:
            raise NotFound("TaskExecution", identifier).under("taskExecutionId")
        execution, task = await self._change(tenant_id, found.execution_id, found.id, changes, once)
        if execution is not None:
            await self.hints.publish(topics_of(execution))
        return task

    async def _change(
        self,
        tenant_id: TenantId,
        execution_id: ExecutionId,
        identifier: TaskExecutionId,
        changes: Mapping[str, Any],
        once: Once,
    ) -> tuple[Execution | None, TaskExecution]:
        """The execution, None when nothing was changed, and the task."""
        async with self.units(tenant_id) as unit:
            is_repeated = await once.first(unit) is not None
            execution = await unit.executions.lock(execution_id)
            tasks = await unit.executions.tasks(execution_id)
            task = next(task for task in tasks if task.id == identifier)
            if is_repeated:
                return None, task
            changed = _changed(execution, task, changes)
            if changed.role_id != task.role_id:
                await _hand_over(unit, execution, tasks, changed)
            names = [name for field, name in CHANGEABLE.items() if getattr(changed, field) != getattr(task, field)]
            if names:
                await unit.executions.save_task(changed)
                event = TaskChanged(**_whose(execution), task_execution_id=task.id, name=task.name, fields=names)
                await unit.executions.append_events([event])
            await once.keep(unit, identifier)
            await unit.commit()
        return (execution if names else None), changed


def _check(changes: Mapping[str, Any]) -> None:
    """Raises Invalid: the same rules as those of a team's task."""
    rules = Rules()
    for field in ("description", "expected_output"):
        if field in changes:
            rules.require(changes[field].strip(), "This cannot be empty.", CHANGEABLE[field])
            rules.text(changes[field], CHANGEABLE[field])
    check_model(rules, changes.get("wanted_model"))
    rules.money(changes.get("max_budget"), MAX_BUDGET, MONEY_DIGITS, "maxBudget")
    rules.hold()


def _changed(execution: Execution, task: TaskExecution, changes: Mapping[str, Any]) -> TaskExecution:
    if execution.status is not _S.PAUSED or task.status is not TaskExecutionStatus.PENDING:
        raise TaskNotChangeable(execution.status.value, task.status.value).under("taskExecutionId")
    return replace(task, **changes)


async def _hand_over(
    unit: UnitOfWork, execution: Execution, tasks: Sequence[TaskExecution], changed: TaskExecution
) -> None:
    """Let the task be done by its new role. Raises TooManyTasks, by the same rule as a kickoff."""
    role = await _role(unit, execution, changed.role_id)
    title = fill(role.title, execution.inputs)
    if role.max_tasks is not None and sum(task.role_id == role.id for task in tasks) >= role.max_tasks:
        raise TooManyTasks(changed.name, [(title, role.max_tasks)]).under("roleId")
    changed.role_title, changed.role_reason = title, "Chosen while the execution was paused."


async def _role(unit: UnitOfWork, execution: Execution, role_id: RoleId) -> Role:
    """The role as the execution knows it: of its revision, not of the team as it is now."""
    revision = await unit.definitions.find_revision(execution.revision_id)
    roles = decode(revision.content).roles if revision else []
    role = next((role for role in roles if role.id == role_id), None)
    if role is None:
        raise NotFound("Role", role_id).under("roleId")
    if not role.is_active:
        raise Invalid.at("This role was not active when the execution was kicked off.", "roleId")
    return role
