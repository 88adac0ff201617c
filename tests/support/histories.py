"""Executions that are over, with what their tasks took, without any worker that ran them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from domain.errors import FailureCode
from domain.model.execution import Execution, ExecutionStatus, TaskExecution, TaskExecutionStatus
from domain.model.identity import (
    DEFAULT_TENANT,
    ExecutionId,
    ProjectId,
    RevisionId,
    RoleId,
    TaskId,
    TeamId,
    TenantId,
    utc_now,
)
from domain.model.ledger import CallOutcome, LedgerEntry
from domain.model.revision import TeamRevision
from persistence.mapping import values_of
from persistence.tables import TABLES


@dataclass
class Did:
    """What one task of an execution did; it is on the ledger as one call. Durations in seconds."""

    role_id: UUID
    task_id: UUID | None = None
    status: TaskExecutionStatus = TaskExecutionStatus.COMPLETED
    model: str | None = "openai/gpt-4o"
    seconds: float = 10.0
    cost: str = "0.10"
    prompt_tokens: int = 1000
    completion_tokens: int = 200
    attempts: int = 1
    failure: FailureCode | None = None
    guardrail_failures: int = 0
    delegations: int = 0
    asked_seconds: float = 0.0


async def a_past_run(
    pool: Any,
    team_id: UUID,
    *did: Did,
    tenant_id: TenantId = DEFAULT_TENANT,
    ended_at: datetime | None = None,
    seconds: float = 60.0,
    **values: Any,
) -> ExecutionId:
    """An execution that ended, by default a minute ago, COMPLETED unless one of its tasks failed."""
    finished = ended_at or utc_now() - timedelta(minutes=1)
    started = finished - timedelta(seconds=seconds)
    failed = next((each for each in did if each.status is TaskExecutionStatus.FAILED), None)
    given: dict[str, Any] = {
        "status": ExecutionStatus.FAILED if failed else ExecutionStatus.COMPLETED,
        "failure_code": failed.failure if failed else None,
        "created_at": started,
        "started_at": started,
        "finished_at": finished,
        **values,
    }
    project_id = await pool.fetchval("SELECT project_id FROM team WHERE id = $1", team_id)
    revision_id = await _revision(pool, tenant_id, team_id)
    execution = Execution(tenant_id, project_id, TeamId(team_id), revision_id, {}, 5, 1800.0, 600.0, **given)
    await insert(pool, execution)
    for position, each in enumerate(did):
        await _add_task(pool, execution, position, each)
    await _add_account(pool, tenant_id, 3, execution.id, sum((Decimal(each.cost) for each in did), Decimal(0)))
    return execution.id


async def past_runs(pool: Any, team_id: UUID, count: int, *did: Did, **values: Any) -> Sequence[ExecutionId]:
    """So many executions alike, one hour after the other; the last one ended a minute ago."""
    last = values.pop("ended_at", None) or utc_now() - timedelta(minutes=1)
    ends = [last - timedelta(hours=number) for number in reversed(range(count))]
    return [await a_past_run(pool, team_id, *did, ended_at=end, **values) for end in ends]


async def _revision(pool: Any, tenant_id: TenantId, team_id: UUID) -> RevisionId:
    found = await pool.fetchval("SELECT id FROM team_revision WHERE team_id = $1", team_id)
    if found:
        return RevisionId(found)
    made = TeamRevision(tenant_id, TeamId(team_id), 1, "{}", "made up")
    await insert(pool, made)
    return made.id


async def _add_task(pool: Any, execution: Execution, position: int, did: Did) -> None:
    finished = execution.finished_at or utc_now()
    task = TaskExecution(
        execution.tenant_id,
        execution.id,
        position,
        f"Task {position}",
        "Do it.",
        "Done.",
        RoleId(did.role_id),
        "Somebody",
        task_id=None if did.task_id is None else TaskId(did.task_id),
        status=did.status,
        model=did.model,
        attempts=did.attempts,
        max_attempts=max(did.attempts, 1),
        failure_code=did.failure,
        created_at=execution.created_at,
        started_at=finished - timedelta(seconds=did.seconds + did.asked_seconds),
        finished_at=finished,
    )
    await insert(pool, task)
    await _add_account(pool, execution.tenant_id, 4, task.id, Decimal(did.cost))
    if did.model is not None:
        await insert(pool, _entry(execution, task, did))
    if did.asked_seconds:
        await _add_question(pool, execution, task, did.asked_seconds)
    for _ in range(did.guardrail_failures):
        await _tell(pool, execution, task, "GuardrailChecked", {"is_passed": False, "retry": 0, "feedback": "No."})
    await _tell(pool, execution, task, "GuardrailChecked", {"is_passed": True, "retry": 0, "feedback": None})
    for _ in range(did.delegations):
        payload = {"to_role_id": str(did.role_id), "to_title": "Other", "work": "Help.", "is_question": False}
        await _tell(pool, execution, task, "WorkDelegated", payload)


def _entry(execution: Execution, task: TaskExecution, did: Did) -> LedgerEntry:
    return LedgerEntry(
        execution.tenant_id,
        ProjectId(execution.project_id),
        execution.team_id,
        execution.id,
        task.id,
        task.role_id,
        model=did.model or "",
        provider="test",
        attempt=1,
        outcome=CallOutcome.SUCCEEDED,
        prompt_tokens=did.prompt_tokens,
        completion_tokens=did.completion_tokens,
        cost=Decimal(did.cost),
        booked_at=execution.finished_at or utc_now(),
    )


async def _tell(pool: Any, execution: Execution, task: TaskExecution, kind: str, payload: dict[str, Any]) -> None:
    await pool.execute(
        "INSERT INTO execution_event (tenant_id, execution_id, sequence, occurred_at, type, task_execution_id, role_id,"
        " payload) SELECT $1, $2, coalesce(max(sequence), 0) + 1, $3, $4, $5, $6, $7 FROM execution_event"
        " WHERE execution_id = $2",
        execution.tenant_id,
        execution.id,
        execution.finished_at,
        kind,
        task.id,
        task.role_id,
        payload,
    )


async def _add_question(pool: Any, execution: Execution, task: TaskExecution, seconds: float) -> None:
    asked = (task.finished_at or utc_now()) - timedelta(seconds=seconds)
    await pool.execute(
        "INSERT INTO approval (tenant_id, id, project_id, execution_id, task_execution_id, kind, prompt, attempt,"
        " call_key, status, default_action, created_at, decided_at)"
        " VALUES ($1, gen_random_uuid(), $2, $3, $4, 'TASK', 'Good?', 1, '', 'APPROVED', 'REJECT', $5, $6)",
        execution.tenant_id,
        execution.project_id,
        execution.id,
        task.id,
        asked,
        task.finished_at,
    )


async def _add_account(pool: Any, tenant_id: TenantId, scope: int, identifier: UUID, spent: Decimal) -> None:
    await pool.execute(
        "INSERT INTO budget_account (tenant_id, scope, scope_id, period, spent)"
        " VALUES ($1, $2, $3, DATE '1970-01-01', $4)",
        tenant_id,
        scope,
        identifier,
        spent,
    )


async def insert(pool: Any, thing: Any) -> None:
    """Write the thing as the row that it is."""
    values = values_of(thing)
    if isinstance(thing, LedgerEntry):
        values["period"] = thing.booked_at.date().replace(day=1)
    table = TABLES[type(thing)].name
    places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    statement = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places})"  # noqa: S608 - our own names
    await pool.execute(statement, *values.values())
