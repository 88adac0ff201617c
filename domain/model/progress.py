"""How far an execution is: a pure summary of its task executions and their usage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from domain.model.execution import TASK_DONE, Execution, TaskExecution, TaskExecutionStatus
from domain.model.identity import RoleId
from domain.model.ledger import Usage
from domain.model.money import Money

NOTHING = Usage()


@dataclass(frozen=True, slots=True)
class RoleProgress:
    """How far one role is.

    `status` is that of its current task, else of one that waits for a human, else of its next, else of its last one.
    """

    role_id: RoleId
    title: str
    status: TaskExecutionStatus
    current_task: str | None
    done_tasks: int
    total_tasks: int
    total_tokens: int
    cost: Money


@dataclass(frozen=True, slots=True)
class ExecutionProgress:
    """How far an execution is; times in seconds, without those in which it was paused or waited for a human."""

    execution: Execution
    roles: list[RoleProgress]
    done_tasks: int
    total_tasks: int
    total_tokens: int
    cost: Money
    elapsed_seconds: float
    remaining_seconds: float | None


def progress_of(
    execution: Execution, tasks: Sequence[TaskExecution], usage: Mapping[UUID, Usage], now: datetime
) -> ExecutionProgress:
    """The snapshot at `now`; `usage` is by task execution."""
    done = sum(task.status in TASK_DONE for task in tasks)
    reused = sum(task.status is TaskExecutionStatus.REUSED for task in tasks)
    elapsed = _elapsed(execution, now)
    by_role: dict[RoleId, list[TaskExecution]] = {}
    for task in tasks:
        by_role.setdefault(task.role_id, []).append(task)
    return ExecutionProgress(
        execution,
        [_of_role(role_id, own, usage) for role_id, own in by_role.items()],
        done,
        len(tasks),
        sum(usage.get(task.id, NOTHING).total_tokens for task in tasks),
        _cost(tasks, usage),
        elapsed,
        _remaining(elapsed, done - reused, len(tasks) - done),
    )


def _remaining(elapsed: float, worked: int, open_tasks: int) -> float | None:
    """What is left at the pace so far; what was taken over from another execution tells nothing of it."""
    if open_tasks == 0:
        return 0.0
    return None if worked == 0 else elapsed / worked * open_tasks


def _elapsed(execution: Execution, now: datetime) -> float:
    if execution.started_at is None:
        return 0.0
    until = execution.finished_at or execution.waiting_from or now
    return max(0.0, (until - execution.started_at).total_seconds() - execution.waited_seconds)


def _of_role(role_id: RoleId, tasks: Sequence[TaskExecution], usage: Mapping[UUID, Usage]) -> RoleProgress:
    running = next((task for task in tasks if task.status is TaskExecutionStatus.RUNNING), None)
    asking = next((task for task in tasks if task.status is TaskExecutionStatus.AWAITING_APPROVAL), None)
    waiting = next((task for task in tasks if task.status is TaskExecutionStatus.PENDING), None)
    return RoleProgress(
        role_id,
        tasks[0].role_title,
        (running or asking or waiting or tasks[-1]).status,
        running.name if running else None,
        sum(task.status in TASK_DONE for task in tasks),
        len(tasks),
        sum(usage.get(task.id, NOTHING).total_tokens for task in tasks),
        _cost(tasks, usage),
    )


def _cost(tasks: Sequence[TaskExecution], usage: Mapping[UUID, Usage]) -> Money:
    return Money(sum((usage.get(task.id, NOTHING).amount for task in tasks), Decimal(0)))
