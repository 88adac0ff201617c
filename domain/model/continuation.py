"""From an execution and its tasks to those of a new one that takes over what was done: pure rules, no I/O."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from domain.errors import Invalid
from domain.model.execution import TASK_DONE, Execution, ExecutionStatus, TaskExecution, TaskExecutionStatus
from domain.model.identity import ExecutionId, PrincipalId, TaskExecutionId, new_id, utc_now
from domain.model.planning import WRITTEN, check_inputs, check_lengths, with_inputs
from domain.model.revision import TeamSnapshot
from domain.model.role_tasks import written_for
from domain.model.task import Task, fill
from domain.model.team import Process


@dataclass(frozen=True, slots=True)
class Fork:
    """Where a fork begins. `edited_output` takes the place of what that task would do, None: it is done anew.

    `inputs` are the values of the placeholders from there on, None: those of the execution.
    """

    from_task: TaskExecutionId
    edited_output: str | None = None
    inputs: dict[str, Any] | None = None


def retried(
    execution: Execution, tasks: Sequence[TaskExecution], by: PrincipalId | None = None
) -> tuple[Execution, list[TaskExecution]]:
    """A new QUEUED execution that does what this one did not; what is done is REUSED."""
    again = replace(_anew(execution, by), retry_of=execution.id)
    done = {task.id for task in tasks if task.status in TASK_DONE}
    return again, _taken_over(tasks, done, again.id)


def forked(
    execution: Execution,
    tasks: Sequence[TaskExecution],
    snapshot: TeamSnapshot,
    fork: Fork,
    by: PrincipalId | None = None,
) -> tuple[Execution, list[TaskExecution]]:
    """A new QUEUED execution that goes another way from a task on; what is done and does not depend on it is REUSED.

    `fork.from_task` is one of the tasks. With other inputs, the texts of what is still to be done are filled anew;
    those that somebody wrote for this execution alone stay.

    Raises:
        MissingInputs: a placeholder of a task or of an active role has no input.
        Invalid: the texts would be too long with these inputs; or cannot be filled anew, for the kickoff brought them.
    """
    inputs = execution.inputs if fork.inputs is None else fork.inputs
    again = replace(_anew(execution, by), forked_from=execution.id, inputs=inputs)
    behind = depending_on(tasks, fork.from_task, snapshot.team.process)
    done = {task.id for task in tasks if task.status in TASK_DONE} - behind
    if fork.edited_output is not None:
        tasks = [_edited(task, fork.edited_output) if task.id == fork.from_task else task for task in tasks]
        done.add(fork.from_task)
    if fork.inputs is not None:
        tasks = _filled_anew(tasks, done, snapshot, execution.inputs, inputs)
    return again, _taken_over(tasks, done, again.id)


def _filled_anew(
    tasks: Sequence[TaskExecution],
    done: Collection[TaskExecutionId],
    snapshot: TeamSnapshot,
    before: dict[str, Any],
    inputs: dict[str, Any],
) -> list[TaskExecution]:
    own = {task.task_id for task in tasks}
    snapshot = replace(snapshot, tasks=[task for task in snapshot.tasks if task.id in own])
    active = [role for role in snapshot.roles if role.is_active]
    check_inputs(snapshot, active, inputs)
    check_lengths(snapshot, active, inputs)
    texts = _Texts(snapshot, before, inputs)
    brought = [task for task in tasks if task.id not in done and texts.is_brought(task, len(tasks) - 1)]
    if brought:
        message = f"The task “{brought[0].name}” was brought by the kickoff, with its inputs filled in: kick off anew."
        raise Invalid.at(message, "inputs")
    return [task if task.id in done else texts.of(task) for task in tasks]


def depending_on(tasks: Sequence[TaskExecution], identifier: TaskExecutionId, process: Process) -> set[TaskExecutionId]:
    """The task and all that see its output, directly or by way of others."""
    found = {identifier}
    for task in sorted(tasks, key=lambda task: task.position):  # a task stands behind those it waits for
        seen = {other.id for other in tasks if other.position < task.position} if _sees_all(task, process) else ()
        if found.intersection(task.waits_for) or found.intersection(seen):
            found.add(task.id)
    return found


def _sees_all(task: TaskExecution, process: Process) -> bool:
    """Whether it sees every output before it, as a run shows them to it."""
    match process:
        case Process.COLLABORATIVE:
            return True
        case Process.PARALLEL:
            return False
        case _:
            return not task.waits_for


def _anew(execution: Execution, by: PrincipalId | None) -> Execution:
    """A new execution of the same revision, with the same inputs and configuration; it answers for no other."""
    return Execution(
        tenant_id=execution.tenant_id,
        project_id=execution.project_id,
        team_id=execution.team_id,
        revision_id=execution.revision_id,
        inputs=execution.inputs,
        max_iterations=execution.max_iterations,
        execution_timeout_seconds=execution.execution_timeout_seconds,
        task_timeout_seconds=execution.task_timeout_seconds,
        quality_preference=execution.quality_preference,
        max_budget=execution.max_budget,
        max_task_budget=execution.max_task_budget,
        priority=execution.priority,
        max_parallel_tasks=execution.max_parallel_tasks,
        refinement_passes=execution.refinement_passes,
        refinement_threshold=execution.refinement_threshold,
        status=ExecutionStatus.QUEUED,
        started_by=by,
    )


def _edited(task: TaskExecution, output: str) -> TaskExecution:
    """The task with what somebody wrote in its place: no model did."""
    return replace(task, output=output, model=None)


def _taken_over(
    tasks: Sequence[TaskExecution], done: Collection[TaskExecutionId], execution_id: ExecutionId
) -> list[TaskExecution]:
    """The same tasks for another execution: those that are done as REUSED, the others as if never begun."""
    ids = {task.id: TaskExecutionId(new_id()) for task in tasks}
    now = utc_now()
    return [
        _reused(task, ids, execution_id, now) if task.id in done else _pending(task, ids, execution_id, now)
        for task in sorted(tasks, key=lambda task: task.position)
    ]


def _pending(
    task: TaskExecution,
    ids: Mapping[TaskExecutionId, TaskExecutionId],
    execution_id: ExecutionId,
    now: datetime,
) -> TaskExecution:
    return replace(
        task,
        id=ids[task.id],
        execution_id=execution_id,
        waits_for=[ids[other] for other in task.waits_for],
        status=TaskExecutionStatus.PENDING,
        attempts=0,
        model=None,
        output=None,
        feedback=None,
        reused_from=None,
        failure_code=None,
        failure_message=None,
        failure_details=None,
        created_at=now,
        started_at=None,
        finished_at=None,
    )


def _reused(
    task: TaskExecution,
    ids: Mapping[TaskExecutionId, TaskExecutionId],
    execution_id: ExecutionId,
    now: datetime,
) -> TaskExecution:
    return replace(
        _pending(task, ids, execution_id, now),
        status=TaskExecutionStatus.REUSED,
        output=task.output,
        model=task.model,
        reused_from=task.id,
        finished_at=now,
    )


class _Texts:
    """Fills the texts of tasks with other inputs, where they are still as the revision has them."""

    def __init__(self, snapshot: TeamSnapshot, before: dict[str, Any], inputs: dict[str, Any]) -> None:
        self.process = snapshot.team.process
        self.tasks = {task.id: task for task in snapshot.tasks}
        self.roles = {role.id: role for role in snapshot.roles}
        self.before = before
        self.inputs = inputs
        filled = (with_inputs(role, before) for role in snapshot.roles)
        # What tasks are called that were written from a role: somebody may have given one to another role since.
        self.written = {written_for(role, before).name for role in filled}

    def is_brought(self, task: TaskExecution, last: int) -> bool:
        """Whether the kickoff worded it; the last one of a COLLABORATIVE run is its synthesis, without placeholders."""
        if task.task_id is not None or (self.process is Process.COLLABORATIVE and task.position == last):
            return False
        return task.role_reason != WRITTEN and task.name not in self.written

    def of(self, task: TaskExecution) -> TaskExecution:
        role = self.roles.get(task.role_id)
        if role is not None and task.role_title == fill(role.title, self.before):
            task = replace(task, role_title=fill(role.title, self.inputs))
        own = None if task.task_id is None else self.tasks.get(task.task_id)
        return self._of_role(task) if own is None else self._of_task(task, own)

    def _of_task(self, task: TaskExecution, own: Task) -> TaskExecution:
        return replace(
            task,
            description=self._again(task.description, own.description),
            expected_output=self._again(task.expected_output, own.expected_output),
            guardrail=task.guardrail and self._again(task.guardrail, own.guardrail or ""),
        )

    def _again(self, text: str, template: str) -> str:
        return fill(template, self.inputs) if text == fill(template, self.before) else text

    def _of_role(self, task: TaskExecution) -> TaskExecution:
        """A task that was written from its role; any other one without a task of the team stays as it is."""
        role = self.roles.get(task.role_id)
        if role is None:
            return task
        before = written_for(with_inputs(role, self.before), self.before)
        if (task.description, task.expected_output) != (before.description, before.expected_output):
            return task
        now = written_for(with_inputs(role, self.inputs), self.inputs)
        return replace(task, name=now.name, description=now.description, expected_output=now.expected_output)
