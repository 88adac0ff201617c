"""Executions and idempotency keys as mutations need them; the worker's side is `persistence.run_store`."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import IdempotencyConflict, InvalidTransition, NotFound
from domain.events import ExecutionEvent, TaskChanged, payload_of
from domain.model.admission import Admission
from domain.model.budget import Budget, BudgetScope, Shortfall
from domain.model.execution import (
    TASK_FINAL,
    UNDER_WAY,
    Execution,
    ExecutionStatus,
    TaskExecution,
    TaskExecutionStatus,
)
from domain.model.identity import ExecutionId, RoleId, TeamId, TenantId, utc_now
from domain.model.matching import MOST_RECORDS, Record
from domain.model.team import Team
from persistence import tables
from persistence.mapping import builder_of, columns_of, values_of

KEY_LIFETIME = timedelta(hours=24)

_MONTHLY = text("""
    SELECT own.scope, own.most, coalesce(account.spent, 0), coalesce(account.reserved, 0)
    FROM team
    JOIN project ON project.tenant_id = team.tenant_id AND project.id = team.project_id
    JOIN tenant ON tenant.id = team.tenant_id
    CROSS JOIN LATERAL (VALUES
        ('TEAM', 2, team.id, team.monthly_budget),
        ('PROJECT', 1, project.id, project.monthly_budget),
        ('TENANT', 0, tenant.id, tenant.monthly_budget)
    ) AS own(scope, place, scope_id, most)
    LEFT JOIN budget_account AS account ON account.tenant_id = team.tenant_id AND account.scope = own.place
        AND account.scope_id = own.scope_id
        AND account.period = date_trunc('month', now() AT TIME ZONE 'UTC')::date
    WHERE team.tenant_id = :tenant AND team.id = :team
    ORDER BY own.place DESC
""")
"""The monthly budgets that an execution of a team meets, the narrowest first."""

_RECORDS = text("""
    SELECT role.id, count(*) FILTER (WHERE last.status = 'COMPLETED'), count(*) FILTER (WHERE last.status = 'FAILED')
    FROM unnest(CAST(:roles AS uuid[])) AS role(id)
    CROSS JOIN LATERAL (
        SELECT status FROM task_execution
        WHERE tenant_id = :tenant AND role_id = role.id AND finished_at IS NOT NULL
            AND status IN ('COMPLETED', 'FAILED')
        ORDER BY finished_at DESC LIMIT :most
    ) AS last
    GROUP BY role.id
""")
"""How the last tasks that each role did itself ended; the index that has them by their end is read from its end."""


class ExecutionsTable:
    """See `domain.ports.Executions`."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self.connection = connection
        self.tenant_id = tenant_id

    async def get(self, identifier: UUID) -> Execution:
        table = tables.execution
        statement = select(*columns_of(Execution)).where(table.c.tenant_id == self.tenant_id, table.c.id == identifier)
        row = (await self.connection.execute(statement)).one_or_none()
        if row is None:
            raise NotFound("Execution", identifier)
        return builder_of(Execution)(row)

    async def lock(self, identifier: UUID) -> Execution:
        # Every writer of an execution locks the narrow row first: no two can wait for each other.
        await self.connection.execute(self._sequence_row(identifier).with_for_update())
        return await self.get(identifier)

    def _sequence_row(self, identifier: UUID) -> Select[Any]:
        table = tables.execution_sequence
        return select(table.c.last_sequence).where(
            table.c.tenant_id == self.tenant_id, table.c.execution_id == identifier
        )

    async def add(self, execution: Execution, tasks: Sequence[TaskExecution]) -> None:
        await self.connection.execute(insert(tables.execution).values(values_of(execution)))
        await self.connection.execute(
            insert(tables.execution_sequence).values(tenant_id=self.tenant_id, execution_id=execution.id)
        )
        await self.connection.execute(insert(tables.task_execution), [values_of(task) for task in tasks])

    async def save(self, execution: Execution, expected: ExecutionStatus) -> None:
        table = tables.execution
        names = (
            "status",
            "output",
            "failure_code",
            "failure_message",
            "failure_details",
            "finished_at",
            "cancel_requested_at",
            "cancel_requested_in",
            "pause_requested_at",
            "waiting_from",
            "waited_seconds",
        )
        every = values_of(execution)
        statement = (
            update(table)
            .where(table.c.tenant_id == self.tenant_id, table.c.id == execution.id, table.c.status == expected.value)
            .values({name: every[name] for name in names})
        )
        if (await self.connection.execute(statement)).rowcount == 0:
            current = await self.get(execution.id)
            allowed = [status.value for status in current.allowed_transitions]
            raise InvalidTransition(current.status.value, execution.status.value, allowed)

    async def tasks(self, execution_id: ExecutionId) -> Sequence[TaskExecution]:
        table = tables.task_execution
        statement = (
            select(*columns_of(TaskExecution))
            .where(table.c.tenant_id == self.tenant_id, table.c.execution_id == execution_id)
            .order_by(table.c.position)
        )
        return [builder_of(TaskExecution)(row) for row in await self.connection.execute(statement)]

    async def save_task(self, task: TaskExecution) -> None:
        table = tables.task_execution
        names = ("description", "expected_output", "role_id", "role_title", "role_reason", "wanted_model", "max_budget")
        every = values_of(task)
        await self.connection.execute(
            update(table)
            .where(table.c.tenant_id == self.tenant_id, table.c.id == task.id)
            .values({name: every[name] for name in names})
        )

    async def wait_for_place(self, admission: Admission) -> None:
        await self.connection.execute(insert(tables.admission).values(values_of(admission)))

    async def withdraw(self, execution_id: ExecutionId) -> Admission | None:
        table = tables.admission
        statement = (
            delete(table)
            .where(table.c.tenant_id == self.tenant_id, table.c.execution_id == execution_id)
            .returning(*columns_of(Admission))
        )
        row = (await self.connection.execute(statement)).one_or_none()
        return builder_of(Admission)(row) if row else None

    async def admission(self, execution_id: ExecutionId) -> Admission | None:
        table = tables.admission
        statement = (
            select(*columns_of(Admission))
            .where(table.c.tenant_id == self.tenant_id, table.c.execution_id == execution_id)
            .with_for_update()
        )
        row = (await self.connection.execute(statement)).one_or_none()
        return builder_of(Admission)(row) if row else None

    async def under_way(self, team_id: TeamId, limit: int) -> Sequence[ExecutionId]:
        table = tables.execution
        # In the statement, for a plan that is kept to see that the partial index will do; the next one likewise.
        busy: BindParameter[Any] = bindparam(
            "busy", [status.value for status in UNDER_WAY], expanding=True, literal_execute=True
        )
        statement = (
            select(table.c.id)
            .where(table.c.tenant_id == self.tenant_id, table.c.team_id == team_id, table.c.status.in_(busy))
            .order_by(table.c.id)
            .limit(limit)
        )
        return [ExecutionId(found) for found in await self.connection.scalars(statement)]

    async def find_answer(self, cache_key: str, since: datetime) -> Execution | None:
        table = tables.execution
        completed: BindParameter[str] = bindparam("completed", ExecutionStatus.COMPLETED.value, literal_execute=True)
        statement = (
            select(*columns_of(Execution))
            .where(
                table.c.tenant_id == self.tenant_id,
                table.c.cache_key == cache_key,
                table.c.finished_at >= since,
                table.c.status == completed,
                table.c.cached_from.is_(None),
                table.c.archived_at.is_(None),
                ~self._was_changed(),
                ~self._was_written_to(),
            )
            .order_by(table.c.finished_at.desc())
            .limit(1)
        )
        row = (await self.connection.execute(statement)).one_or_none()
        return builder_of(Execution)(row) if row else None

    def _was_changed(self) -> ColumnElement[bool]:
        """Somebody changed a task of the execution alone, while it was paused: it answers another question."""
        event = tables.execution_event
        return exists().where(
            event.c.tenant_id == tables.execution.c.tenant_id,
            event.c.execution_id == tables.execution.c.id,
            event.c.type == TaskChanged.__name__,
        )

    def _was_written_to(self) -> ColumnElement[bool]:
        """What a human answered, wanted better or put in its place is in the output: it was said of that run alone."""
        approval = tables.approval
        return exists().where(
            approval.c.tenant_id == tables.execution.c.tenant_id,
            approval.c.execution_id == tables.execution.c.id,
            approval.c.answer.is_not(None),
        )

    async def records(self, role_ids: Sequence[RoleId]) -> Mapping[RoleId, Record]:
        asked = {"tenant": self.tenant_id, "roles": list(role_ids), "most": MOST_RECORDS}
        rows = await self.connection.execute(_RECORDS, asked)
        return {RoleId(role_id): Record(completed, failed) for role_id, completed, failed in rows}

    async def exhausted_budget(self, team: Team) -> Shortfall | None:
        rows = await self.connection.execute(_MONTHLY, {"tenant": team.tenant_id, "team": team.id})
        for scope, *state in rows:
            budget = Budget(*state)
            if budget.limit_amount is not None and budget.is_exhausted:
                spent, reserved = budget.spent_amount, budget.reserved_amount
                return Shortfall(BudgetScope(scope), budget.limit_amount, spent, reserved, Decimal(0))
        return None

    async def cancel_pending_tasks(self, execution_id: ExecutionId) -> None:
        calls = tables.call_journal
        await self.connection.execute(
            delete(calls).where(calls.c.tenant_id == self.tenant_id, calls.c.execution_id == execution_id)
        )
        table = tables.task_execution
        await self.connection.execute(
            update(table)
            .where(
                table.c.tenant_id == self.tenant_id,
                table.c.execution_id == execution_id,
                table.c.status.not_in([status.value for status in TASK_FINAL]),
            )
            .values(status=TaskExecutionStatus.CANCELLED.value, finished_at=utc_now())
        )

    async def append_events(self, events: Sequence[ExecutionEvent]) -> None:
        table = tables.execution_sequence
        execution_id = events[0].execution_id
        numbered = (
            update(table)
            .where(table.c.tenant_id == self.tenant_id, table.c.execution_id == execution_id)
            .values(last_sequence=table.c.last_sequence + len(events))
            .returning(table.c.last_sequence)
        )
        last = (await self.connection.execute(numbered)).scalar_one()
        for sequence, event in enumerate(events, start=last - len(events) + 1):
            event.sequence = sequence
        await self.connection.execute(insert(tables.execution_event), [row_of(event) for event in events])


def row_of(event: ExecutionEvent) -> dict[str, Any]:
    """An event as a row of `execution_event`."""
    return {
        "tenant_id": event.tenant_id,
        "execution_id": event.execution_id,
        "sequence": event.sequence,
        "occurred_at": event.occurred_at,
        "type": event.type,
        "task_execution_id": event.task_execution_id,
        "role_id": event.role_id,
        "payload": payload_of(event),
    }


class IdempotencyKeysTable:
    """See `domain.ports.IdempotencyKeys`. Keys are forgotten after `KEY_LIFETIME`."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self.connection = connection
        self.tenant_id = tenant_id

    async def claim(self, key: str, request_hash: str) -> UUID | None:
        table = tables.idempotency_key
        fresh = {"request_hash": request_hash, "result": None, "expires_at": utc_now() + KEY_LIFETIME}
        taken = (
            postgresql.insert(table)
            .values(tenant_id=self.tenant_id, key=key, **fresh)
            .on_conflict_do_update(
                index_elements=["tenant_id", "key"], set_=fresh, where=table.c.expires_at < func.now()
            )
            .returning(table.c.key)
        )
        if (await self.connection.execute(taken)).scalar_one_or_none() is not None:
            return None
        return await self._first_result(key, request_hash)

    async def _first_result(self, key: str, request_hash: str) -> UUID:
        table = tables.idempotency_key
        statement = select(table.c.request_hash, table.c.result).where(
            table.c.tenant_id == self.tenant_id, table.c.key == key
        )
        first_hash, result = (await self.connection.execute(statement)).one()
        if first_hash != request_hash:
            raise IdempotencyConflict(key)
        first: UUID = result
        return first

    async def keep_result(self, key: str, result: UUID) -> None:
        table = tables.idempotency_key
        await self.connection.execute(
            update(table).where(table.c.tenant_id == self.tenant_id, table.c.key == key).values(result=result)
        )
