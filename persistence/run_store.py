"""Storage as a worker needs it: claiming a run, and writing what many runs produced in one transaction.

Hand-written statements over arrays: however many executions report, a group costs the same few round trips.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from domain.errors import Busy, RunFailed
from domain.events import (
    TERMINAL,
    ExecutionCancelled,
    ExecutionEvent,
    ExecutionFailed,
    ExecutionStarted,
    payload_of,
)
from domain.model.execution import FINAL, Execution, ExecutionStatus, TaskExecution
from domain.model.identity import ExecutionId, TaskExecutionId, TenantId, utc_now
from domain.model.ledger import Usage
from domain.model.revision import decode
from domain.ports import Change, Claimed, Ownership
from persistence.bookings import book, book_expired, book_lost
from persistence.errors import reachable
from persistence.mapping import builder_of, names_of

_EXECUTION = ", ".join(names_of(Execution))
_TASK = ", ".join(names_of(TaskExecution))

_LOCK = """
    SELECT execution_id, last_sequence, owner_epoch FROM execution_sequence
    WHERE execution_id = ANY($1::uuid[]) AND tenant_id = ANY($2::uuid[])
    ORDER BY execution_id FOR UPDATE
"""
_ADVANCE = """
    UPDATE execution_sequence AS row SET last_sequence = new.last_sequence, owner_epoch = new.owner_epoch
    FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::int[])
        AS new(tenant_id, execution_id, last_sequence, owner_epoch)
    WHERE row.tenant_id = new.tenant_id AND row.execution_id = new.execution_id
"""
_MOVE = """
    UPDATE execution SET status = $4, output = $5, failure_code = $6, failure_message = $7, failure_details = $8,
        finished_at = $9
    WHERE tenant_id = $1 AND id = $2 AND status = $3 RETURNING id
"""
_ADD_EVENTS = """
    INSERT INTO execution_event
        (tenant_id, execution_id, sequence, occurred_at, type, task_execution_id, role_id, payload)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[], $5::text[], $6::uuid[], $7::uuid[],
        $8::jsonb[])
"""
_SAVE_TASK = """
    UPDATE task_execution SET status = $3, attempts = $4, model = $5, output = $6, failure_code = $7,
        failure_message = $8, failure_details = $9, started_at = $10, finished_at = $11
    WHERE tenant_id = $1 AND id = $2
"""
_SPENT = """
    SELECT task_execution_id, count(*), sum(prompt_tokens)::bigint, sum(completion_tokens)::bigint,
        sum(cached_tokens)::bigint, sum(reasoning_tokens)::bigint, sum(cost)
    FROM ledger_entry WHERE tenant_id = $1 AND execution_id = $2 GROUP BY task_execution_id
"""
_STANDING = """
    SELECT status, project_id, (SELECT count(*) FROM task_execution AS task WHERE task.tenant_id = execution.tenant_id
        AND task.execution_id = execution.id AND task.status = 'COMPLETED') AS completed
    FROM execution WHERE tenant_id = $1 AND id = $2
"""
_SKIP_TASKS = """
    UPDATE task_execution SET status = $3, finished_at = $4
    WHERE tenant_id = $1 AND execution_id = $2 AND status IN ('PENDING', 'RUNNING')
"""
_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '2s'"
"""So long, one execution that somebody else holds may keep all others of its group waiting."""

_WRITTEN = """
    SELECT EXISTS (SELECT FROM execution_event
        WHERE tenant_id = $1 AND execution_id = $2 AND sequence = $3 AND occurred_at = $4 AND type = $5)
"""
_TAKE = """
    UPDATE execution SET worker_id = $3, status = $4, started_at = coalesce(started_at, $5)
    WHERE tenant_id = $1 AND id = $2
"""


class SqlRunStore:
    """See `domain.ports.RunStore`."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self.pool = pool

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Any]:
        with reachable(), _held():
            async with self.pool.acquire() as connection, connection.transaction():
                yield connection

    async def claim(self, tenant_id: TenantId, execution_id: ExecutionId, worker_id: str) -> Claimed | None:
        async with self._transaction() as connection:
            rows = await connection.fetch(_LOCK, [execution_id], [tenant_id])
            execution = await self._execution(connection, tenant_id, execution_id)
            if not rows or execution is None or execution.is_final:
                return None
            epoch, last = rows[0]["owner_epoch"] + 1, rows[0]["last_sequence"]
            ownership = Ownership(tenant_id, execution.project_id, execution_id, epoch)
            is_recovery = await self._take(connection, execution, worker_id, ownership, last)
            spent = await self._spent(connection, ownership) if is_recovery else {}
            return await self._plan(connection, execution, ownership, spent)

    async def give_up(self, tenant_id: TenantId, execution_id: ExecutionId, failure: RunFailed) -> None:
        async with self._transaction() as connection:
            rows = await connection.fetch(_LOCK, [execution_id], [tenant_id])
            found = await connection.fetchrow(_STANDING, tenant_id, execution_id)
            if not rows or found is None or (status := ExecutionStatus(found["status"])) in FINAL:
                return
            last, epoch = rows[0]["last_sequence"], rows[0]["owner_epoch"] + 1
            owner = Ownership(tenant_id, found["project_id"], execution_id, epoch)
            await self._end_given_up(connection, owner, status, failure)
            told = await book_lost(connection, owner)
            await _tell(connection, owner, last, [*told, _given_up(owner, status, found["completed"], failure)])

    async def _end_given_up(
        self, connection: Any, owner: Ownership, status: ExecutionStatus, failure: RunFailed
    ) -> None:
        key, now = (owner.tenant_id, owner.execution_id), utc_now()
        if status is ExecutionStatus.CANCELLING:
            await connection.execute(_MOVE, *key, status.value, "CANCELLED", None, None, None, None, now)
            await connection.execute(_SKIP_TASKS, *key, "CANCELLED", now)
        else:
            code, message, details = failure.code.value, failure.message, _details(failure)
            await connection.execute(_MOVE, *key, status.value, "FAILED", None, code, message, details, now)
            await connection.execute(_SKIP_TASKS, *key, "SKIPPED", now)

    async def _execution(self, connection: Any, tenant_id: TenantId, execution_id: ExecutionId) -> Execution | None:
        row = await connection.fetchrow(
            f"SELECT {_EXECUTION} FROM execution WHERE tenant_id = $1 AND id = $2",  # noqa: S608 - our own columns
            tenant_id,
            execution_id,
        )
        return builder_of(Execution)(row) if row else None

    async def _take(
        self, connection: Any, execution: Execution, worker_id: str, ownership: Ownership, last: int
    ) -> bool:
        """Makes the worker its owner; whether another run had begun it."""
        is_recovery = execution.status is not ExecutionStatus.QUEUED
        execution.worker_id = worker_id
        execution.started_at = execution.started_at or utc_now()
        if not is_recovery:
            execution.status = ExecutionStatus.RUNNING
        started = ExecutionStarted(
            tenant_id=ownership.tenant_id,
            execution_id=execution.id,
            worker_id=worker_id,
            owner_epoch=ownership.epoch,
            is_recovery=is_recovery,
        )
        status = execution.status.value
        await connection.execute(_TAKE, ownership.tenant_id, execution.id, worker_id, status, execution.started_at)
        lost = await book_lost(connection, ownership) if is_recovery else []
        await _tell(connection, ownership, last, [started, *lost])
        return is_recovery

    async def _spent(self, connection: Any, ownership: Ownership) -> dict[TaskExecutionId, Usage]:
        rows = await connection.fetch(_SPENT, ownership.tenant_id, ownership.execution_id)
        return {row[0]: Usage(*row[1:]) for row in rows}

    async def _plan(
        self, connection: Any, execution: Execution, ownership: Ownership, spent: Mapping[TaskExecutionId, Usage]
    ) -> Claimed:
        rows = await connection.fetch(
            f"SELECT {_TASK} FROM task_execution"  # noqa: S608 - names of our own columns
            " WHERE tenant_id = $1 AND execution_id = $2 ORDER BY position",
            ownership.tenant_id,
            execution.id,
        )
        content = await connection.fetchval(
            "SELECT content FROM team_revision WHERE tenant_id = $1 AND id = $2",
            ownership.tenant_id,
            execution.revision_id,
        )
        tasks = [builder_of(TaskExecution)(row) for row in rows]
        return Claimed(execution, tasks, decode(content), ownership, spent)

    async def commit(self, changes: Sequence[Change]) -> Sequence[bool]:
        async with self._transaction() as connection:
            await connection.execute(_LOCK_TIMEOUT)
            heads = await self._lock(connection, changes)
            written = [await self._is_written(connection, change) for change in changes]
            accepted = [
                not is_written and await self._accept(connection, change, heads)
                for change, is_written in zip(changes, written, strict=True)
            ]
            kept = [change for change, is_accepted in zip(changes, accepted, strict=True) if is_accepted]
            await self._save_tasks(connection, kept)
            # Also of what is refused: nothing but the ledger knows what an earlier run has paid.
            entries = [entry for change in changes if change.ownership.execution_id in heads for entry in change.ledger]
            booked = await book(connection, entries, {entry.id for change in kept for entry in change.ledger})
            if kept:
                await self._write(connection, kept, heads, booked.warned)
            return [earlier or now for earlier, now in zip(written, accepted, strict=True)]

    async def _is_written(self, connection: Any, change: Change) -> bool:
        """Whether an earlier attempt was committed after all: the connection may break just behind the commit."""
        first = change.events[0] if change.events else None
        if first is None or not first.sequence:
            return False
        owner = change.ownership
        key = (owner.tenant_id, owner.execution_id, first.sequence)
        is_written: bool = await connection.fetchval(_WRITTEN, *key, first.occurred_at, first.type)
        return is_written

    async def _lock(self, connection: Any, changes: Sequence[Change]) -> dict[UUID, tuple[int, int]]:
        """The last sequence and the epoch of each execution, locked in id order: groups cannot deadlock."""
        ids = sorted({change.ownership.execution_id for change in changes})
        tenants = list({change.ownership.tenant_id for change in changes})
        rows = await connection.fetch(_LOCK, ids, tenants)
        return {row["execution_id"]: (row["last_sequence"], row["owner_epoch"]) for row in rows}

    async def _accept(self, connection: Any, change: Change, heads: dict[UUID, tuple[int, int]]) -> bool:
        """Whether the run still owns its execution; makes the move of the state machine."""
        last, epoch = heads.get(change.ownership.execution_id, (0, -1))
        if epoch != change.ownership.epoch or not await self._move(connection, change):
            return False
        # The end of a run closes its epoch: whatever an abandoned thread still reports is refused.
        is_over = change.execution is not None and change.execution.is_final
        heads[change.ownership.execution_id] = (last, epoch + is_over)
        return True

    async def _move(self, connection: Any, change: Change) -> bool:
        execution, expected = change.execution, change.expected
        if execution is None or expected is None:
            return True
        moved = await connection.fetchval(
            _MOVE,
            execution.tenant_id,
            execution.id,
            expected.value,
            execution.status.value,
            execution.output,
            execution.failure_code.value if execution.failure_code else None,
            execution.failure_message,
            execution.failure_details,
            execution.finished_at,
        )
        return moved is not None

    async def _save_tasks(self, connection: Any, kept: Sequence[Change]) -> None:
        tasks = [task for change in kept for task in change.task_executions]
        if tasks:
            await connection.executemany(_SAVE_TASK, [_task_values(task) for task in tasks])

    async def _write(
        self,
        connection: Any,
        kept: Sequence[Change],
        heads: dict[UUID, tuple[int, int]],
        warned: Mapping[UUID, Sequence[ExecutionEvent]],
    ) -> None:
        """Number and add the events of the changes, and behind each change the budgets that its entries brought up."""
        events: list[ExecutionEvent] = []
        for change in kept:
            last, epoch = heads[change.ownership.execution_id]
            # Not added to the change: it may be committed once more, when this commit fails.
            told = _with_warnings(change, warned)
            for sequence, event in enumerate(told, start=last + 1):
                event.sequence = sequence
            heads[change.ownership.execution_id] = (last + len(told), epoch)
            events += told
        owners = {change.ownership.execution_id: change.ownership for change in kept}
        await _advance(connection, [(owner, *heads[execution_id]) for execution_id, owner in owners.items()])
        await _add_events(connection, events)

    async def settle_lost(self, limit: int) -> int:
        async with self._transaction() as connection:
            return await book_expired(connection, limit)

    async def cancelling(self, worker_id: str) -> Sequence[ExecutionId]:
        with reachable():
            rows = await self.pool.fetch(
                "SELECT id FROM execution WHERE status = 'CANCELLING' AND worker_id = $1", worker_id
            )
        return [ExecutionId(row[0]) for row in rows]

    async def queued_before(
        self, moment: datetime, limit: int, skip: int = 0
    ) -> Sequence[tuple[TenantId, ExecutionId]]:
        with reachable():
            rows = await self.pool.fetch(
                "SELECT tenant_id, id FROM execution WHERE status = 'QUEUED' AND created_at < $1"
                " ORDER BY created_at, id LIMIT $2 OFFSET $3",
                moment,
                limit,
                skip,
            )
        return [(TenantId(row[0]), ExecutionId(row[1])) for row in rows]


@contextmanager
def _held() -> Iterator[None]:
    try:
        yield
    except asyncpg.LockNotAvailableError as error:
        raise Busy("Somebody else holds an execution.") from error


def _given_up(owner: Ownership, status: ExecutionStatus, completed: int, failure: RunFailed) -> ExecutionEvent:
    tenant_id, execution_id = owner.tenant_id, owner.execution_id
    if status is ExecutionStatus.CANCELLING:
        return ExecutionCancelled(tenant_id=tenant_id, execution_id=execution_id, completed_tasks=completed)
    return ExecutionFailed(
        tenant_id=tenant_id,
        execution_id=execution_id,
        code=failure.code,
        message=failure.message,
        budget=failure.shortfall,
    )


def _details(failure: RunFailed) -> dict[str, Any] | None:
    return failure.shortfall.as_document() if failure.shortfall else None


def _with_warnings(change: Change, warned: Mapping[UUID, Sequence[ExecutionEvent]]) -> list[ExecutionEvent]:
    """The events of the change and its warnings; a terminal event stays the last one."""
    warnings = [warning for entry in change.ledger for warning in warned.get(entry.id, ())]
    end = len(change.events) - (bool(change.events) and isinstance(change.events[-1], TERMINAL))
    return [*change.events[:end], *warnings, *change.events[end:]]


async def _tell(connection: Any, owner: Ownership, last: int, events: Sequence[ExecutionEvent]) -> None:
    """Add the events behind the last one, and make the owner's epoch the current one."""
    for sequence, event in enumerate(events, start=last + 1):
        event.sequence = sequence
    await _advance(connection, [(owner, last + len(events), owner.epoch)])
    await _add_events(connection, events)


async def _advance(connection: Any, heads: Sequence[tuple[Ownership, int, int]]) -> None:
    await connection.execute(
        _ADVANCE,
        [owner.tenant_id for owner, _, _ in heads],
        [owner.execution_id for owner, _, _ in heads],
        [last for _, last, _ in heads],
        [epoch for _, _, epoch in heads],
    )


async def _add_events(connection: Any, events: Sequence[ExecutionEvent]) -> None:
    if not events:
        return
    await connection.execute(
        _ADD_EVENTS,
        [event.tenant_id for event in events],
        [event.execution_id for event in events],
        [event.sequence for event in events],
        [event.occurred_at for event in events],
        [event.type for event in events],
        [event.task_execution_id for event in events],
        [event.role_id for event in events],
        [payload_of(event) for event in events],
    )


def _task_values(task: TaskExecution) -> tuple[Any, ...]:
    return (
        task.tenant_id,
        task.id,
        task.status.value,
        task.attempts,
        task.model,
        task.output,
        task.failure_code.value if task.failure_code else None,
        task.failure_message,
        task.failure_details,
        task.started_at,
        task.finished_at,
    )
