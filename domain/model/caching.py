"""Answers from earlier executions: which may answer for which, for how long, and what a hit looks like."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

from domain.events import ExecutionCompleted, ExecutionEvent, ExecutionQueued, TaskReused
from domain.model.brought_tasks import BroughtTask
from domain.model.continuation import retried
from domain.model.execution import Execution, ExecutionStatus, TaskExecution
from domain.model.journal import hash_of

LIFETIME = timedelta(hours=1)
"""How long an execution may answer for others, from its end. The world that agents act on changes."""


class CacheMode(Enum):
    """Whether an earlier execution may answer for a new one, and the new one for later ones."""

    USE = "USE"
    BYPASS = "BYPASS"
    REFRESH = "REFRESH"


def key_of(execution: Execution, brought: Sequence[BroughtTask]) -> str:
    """Equal for executions of one revision with equal inputs, configuration and own tasks."""
    configuration = asdict(execution.configuration) | {
        "max_budget": digits(execution.max_budget),
        "max_task_budget": digits(execution.max_task_budget),
    }
    own = [asdict(task) for task in brought]
    return hash_of([execution.revision_id, execution.inputs, configuration, own])


def digits(amount: Decimal | None) -> str | None:
    """An amount as one text, however it was written: 1.0 and 1.00 are the same."""
    return None if amount is None else format(amount.normalize(), "f")


def answered(
    execution: Execution, source: Execution, tasks: Sequence[TaskExecution], now: datetime
) -> tuple[Execution, list[TaskExecution]]:
    """The execution, COMPLETED by what `source` made of the `tasks`; no worker ever has it, and it costs nothing."""
    _, taken_over = retried(source, tasks)  # all of them: whatever is COMPLETED has only tasks that are done
    done = replace(
        execution,
        status=ExecutionStatus.COMPLETED,
        output=source.output,
        cached_from=source.id,
        finished_at=now,
    )
    return done, [replace(task, execution_id=done.id) for task in taken_over]


def story_of(execution: Execution, tasks: Sequence[TaskExecution]) -> list[ExecutionEvent]:
    """What happened in an execution that was answered at once."""
    whose: dict[str, Any] = {"tenant_id": execution.tenant_id, "execution_id": execution.id}
    reused = [TaskReused(**whose, task_execution_id=it.id, role_id=it.role_id, name=it.name) for it in tasks]
    return [
        ExecutionQueued(**whose, task_count=len(tasks)),
        *reused,
        ExecutionCompleted(**whose, completed_tasks=len(tasks), is_cache_hit=True),
    ]
