"""Storage as a worker needs it: claiming a run, and writing what many runs produced in one transaction.

Hand-written statements over arrays: however many executions report, a group costs the same few round trips.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg

from domain.errors import RunFailed
from domain.events import (
    TERMINAL,
    ExecutionCancelled,
    ExecutionEvent,
    ExecutionFailed,
    ExecutionStarted,
    payload_of,
)
from domain.model.approval import Approval
from domain.model.execution import FINAL, TASK_FINAL, Execution, ExecutionStatus, TaskExecution
from domain.model.identity import ExecutionId, TenantId, utc_now
from domain.model.journal import JournalEntry
from domain.model.ledger import Usage
from domain.model.refinement import RefinementPass
from domain.model.revision import decode
from domain.ports import AdmissionKey, Change, Claimed, CommandKind, Ownership, RunStore
from persistence.bookings import book, book_expired, book_lost
from persistence.errors import reachable, unheld
from persistence.mapping import builder_of, names_of, values_of


def _numbered(kind: type[Any]) -> str:
    """A placeholder for each field of a thing."""
    return ", ".join(f"${number}" for number, _ in enumerate(names_of(kind), start=1))


_EXECUTION = ", ".join(names_of(Execution))
_TASK = ", ".join(names_of(TaskExecution))
_APPROVAL = ", ".join(names_of(Approval))
_CALL = ", ".join(names_of(JournalEntry))
_PASS = ", ".join(names_of(RefinementPass))
_STOPPED = FINAL | {ExecutionStatus.PAUSED, ExecutionStatus.AWAITING_APPROVAL}
"""What an execution becomes when its run ends: it has no place on a worker then."""

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
        finished_at = $9, waiting_from = $10,
        pause_requested_at = CASE WHEN $4 = 'PAUSED' THEN NULL ELSE pause_requested_at END
    WHERE tenant_id = $1 AND id = $2 AND status = $3 AND ($4 <> 'PAUSED' OR pause_requested_at IS NOT NULL)
        AND ($4 <> 'AWAITING_APPROVAL' OR NOT EXISTS (
        SELECT FROM task_execution AS task
        WHERE task.tenant_id = $1 AND task.execution_id = $2 AND task.status = 'AWAITING_APPROVAL'
            AND NOT EXISTS (SELECT FROM approval WHERE approval.tenant_id = $1
                AND approval.task_execution_id = task.id AND approval.status = 'PENDING')))
    RETURNING id
"""
"""Nobody pauses when the request was withdrawn, nor waits for an answer that is there: who withdraws or decides does so
under the same lock, and wakes what has stopped by then."""

_ADD_EVENTS = """
    INSERT INTO execution_event
        (tenant_id, execution_id, sequence, occurred_at, type, task_execution_id, role_id, payload)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[], $5::text[], $6::uuid[], $7::uuid[],
        $8::jsonb[])
"""
_SAVE_TASK = """
    UPDATE task_execution SET status = $3, attempts = $4, model = $5, output = $6, failure_code = $7,
        failure_message = $8, failure_details = $9, started_at = $10, finished_at = $11, max_attempts = $12,
        feedback = $13
    WHERE tenant_id = $1 AND id = $2
"""
_SPENT = """
    SELECT task_execution_id, count(*), sum(prompt_tokens)::bigint, sum(completion_tokens)::bigint,
        sum(cached_tokens)::bigint, sum(reasoning_tokens)::bigint, sum(cost)
    FROM ledger_entry WHERE tenant_id = $1 AND execution_id = $2 GROUP BY task_execution_id
"""
_MADE = """
    SELECT entry.task_execution_id, entry.attempt, entry.call, max(entry.call_attempt)
    FROM ledger_entry AS entry JOIN task_execution AS task
        ON task.tenant_id = entry.tenant_id AND task.id = entry.task_execution_id AND task.attempts = entry.attempt
    WHERE entry.tenant_id = $1 AND entry.execution_id = $2 AND task.status IN ('RUNNING', 'AWAITING_APPROVAL')
    GROUP BY 1, 2, 3
"""
_ASKED = f"""
    SELECT {", ".join(f"asked.{name}" for name in names_of(Approval))} FROM approval AS asked
    JOIN task_execution AS task ON task.tenant_id = asked.tenant_id AND task.id = asked.task_execution_id
    WHERE asked.tenant_id = $1 AND asked.execution_id = $2
        AND task.status IN ('PENDING', 'RUNNING', 'AWAITING_APPROVAL')
    ORDER BY asked.created_at, asked.id
"""  # noqa: S608 - names of our own columns
_TAKEOVERS = """
    SELECT count(*) FROM execution_event WHERE tenant_id = $1 AND execution_id = $2 AND type = 'ExecutionStarted'
        AND (payload ->> 'is_recovery')::boolean
"""
_HAS_PLACE = """
    SELECT EXISTS (SELECT FROM admission WHERE tenant_id = $1 AND execution_id = $2 AND id = $3 AND worker_id = $4)
"""
_LEAVE = "DELETE FROM admission WHERE execution_id = ANY($1::uuid[]) AND tenant_id = ANY($2::uuid[])"
_CANCEL_APPROVALS = """
    UPDATE approval SET status = 'CANCELLED', decided_at = now()
    WHERE tenant_id = ANY($2::uuid[]) AND execution_id = ANY($1::uuid[]) AND status = 'PENDING'
"""
_KEEP_CALLS = f"""
    INSERT INTO call_journal ({_CALL})
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int[], $5::text[], $6::text[], $7::int[], $8::int[],
        $9::jsonb[], $10::uuid[], $11::timestamptz[])
    ON CONFLICT (tenant_id, task_execution_id, attempt, kind, request_hash, occurrence) DO UPDATE
    SET answer = excluded.answer, ledger_entry_id = excluded.ledger_entry_id WHERE call_journal.answer IS NULL
"""  # noqa: S608 - names of our own columns
_KEEP_LATE_CALLS = f"""
    INSERT INTO call_journal ({_CALL})
    SELECT late.* FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int[], $5::text[], $6::text[], $7::int[],
        $8::int[], $9::jsonb[], $10::uuid[], $11::timestamptz[]) AS late ({_CALL})
    JOIN task_execution AS task ON task.tenant_id = late.tenant_id AND task.id = late.task_execution_id
        AND task.attempts = late.attempt AND task.status IN ('RUNNING', 'AWAITING_APPROVAL')
    ON CONFLICT (tenant_id, task_execution_id, attempt, kind, request_hash, occurrence) DO NOTHING
"""  # noqa: S608 - names of our own columns
_FORGET_ALL_CALLS = "DELETE FROM call_journal WHERE execution_id = ANY($1::uuid[]) AND tenant_id = ANY($2::uuid[])"
_FORGET_CALLS = "DELETE FROM call_journal WHERE task_execution_id = ANY($1::uuid[]) AND tenant_id = ANY($2::uuid[])"
_ASK = f"""
    INSERT INTO approval ({_APPROVAL}) VALUES ({_numbered(Approval)})
    ON CONFLICT (tenant_id, task_execution_id, attempt, call_key) DO UPDATE
    SET status = 'PENDING', prompt = excluded.prompt, answer = NULL, decided_at = NULL, decided_by = NULL,
        expires_at = excluded.expires_at
"""  # noqa: S608 - names of our own columns
_SCORE = f"""
    INSERT INTO refinement_pass ({_PASS}) VALUES ({_numbered(RefinementPass)})
    ON CONFLICT (tenant_id, execution_id, number) DO NOTHING
"""  # noqa: S608 - names of our own columns
_COMMANDS = """
    SELECT execution.id, CASE execution.status WHEN 'CANCELLING' THEN 'CANCEL' ELSE 'PAUSE' END
    FROM admission JOIN execution
        ON execution.tenant_id = admission.tenant_id AND execution.id = admission.execution_id
    WHERE admission.worker_id = $1
        AND (execution.status = 'CANCELLING'
            OR execution.status = 'RUNNING' AND execution.pause_requested_at IS NOT NULL)
    UNION
    SELECT task.execution_id, 'DECIDED'
    FROM admission JOIN task_execution AS task
        ON task.tenant_id = admission.tenant_id AND task.execution_id = admission.execution_id
    WHERE admission.worker_id = $1 AND task.status = 'AWAITING_APPROVAL'
        AND NOT EXISTS (SELECT FROM approval WHERE approval.tenant_id = task.tenant_id
            AND approval.task_execution_id = task.id AND approval.status = 'PENDING')
"""
_STANDING = """
    SELECT status, project_id, (SELECT count(*) FROM task_execution AS task WHERE task.tenant_id = execution.tenant_id
        AND task.execution_id = execution.id AND task.status IN ('COMPLETED', 'REUSED')) AS completed
    FROM execution WHERE tenant_id = $1 AND id = $2
"""
_SKIP_TASKS = """
    UPDATE task_execution SET status = $3, finished_at = $4
    WHERE tenant_id = $1 AND execution_id = $2 AND status IN ('PENDING', 'RUNNING', 'AWAITING_APPROVAL')
"""
_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '2s'"
"""So long, one execution that somebody else holds may keep all others of its group waiting."""

_WRITTEN = """
    SELECT EXISTS (SELECT FROM execution_event
        WHERE tenant_id = $1 AND execution_id = $2 AND sequence = $3 AND occurred_at = $4 AND type = $5)
"""
_TAKE = """
    UPDATE execution SET worker_id = $3, status = $4, started_at = coalesce(started_at, $5), waiting_from = NULL,
        waited_seconds = $6
    WHERE tenant_id = $1 AND id = $2
"""


class SqlRunStore:
    """See `domain.ports.RunStore`."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self.pool = pool

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Any]:
        with unheld("an execution"):
            async with self.pool.acquire() as connection, connection.transaction():
                yield connection

    async def claim(self, admission: AdmissionKey, worker_id: str) -> Claimed | None:
        tenant_id, execution_id = admission.tenant_id, admission.execution_id
        async with self._transaction() as connection:
            rows = await connection.fetch(_LOCK, [execution_id], [tenant_id])
            has_place = await self._has_place(connection, (admission, worker_id))
            execution = await self._execution(connection, tenant_id, execution_id)
            if not rows or not has_place or execution is None or execution.is_final:
                return None
            is_first = execution.status is ExecutionStatus.QUEUED
            epoch, last = rows[0]["owner_epoch"] + 1, rows[0]["last_sequence"]
            ownership = Ownership(tenant_id, execution.project_id, execution_id, epoch)
            await self._take(connection, execution, worker_id, ownership, last)
            claimed = await self._plan(connection, execution, ownership)
            claimed.is_first = is_first
            if not is_first:
                await self._remember(connection, claimed)
            return claimed

    async def _has_place(self, connection: Any, place: tuple[AdmissionKey, str] | None) -> bool:
        """Whether the worker still has the place that it was given."""
        if place is None:
            return False
        key, worker_id = place
        has_place: bool = await connection.fetchval(_HAS_PLACE, key.tenant_id, key.execution_id, key.id, worker_id)
        return has_place

    async def give_up(
        self,
        tenant_id: TenantId,
        execution_id: ExecutionId,
        failure: RunFailed,
        place: tuple[AdmissionKey, str] | None = None,
    ) -> None:
        async with self._transaction() as connection:
            rows = await connection.fetch(_LOCK, [execution_id], [tenant_id])
            found = await connection.fetchrow(_STANDING, tenant_id, execution_id)
            if not rows or found is None or (status := ExecutionStatus(found["status"])) in FINAL:
                return
            if status is not ExecutionStatus.CANCELLING and not await self._has_place(connection, place):
                return
            last, epoch = rows[0]["last_sequence"], rows[0]["owner_epoch"] + 1
            owner = Ownership(tenant_id, found["project_id"], execution_id, epoch)
            await self._end_given_up(connection, owner, status, failure)
            told = await book_lost(connection, owner)
            await self._leave(connection, [owner], [owner])
            await _tell(connection, owner, last, [*told, _given_up(owner, status, found["completed"], failure)])

    async def _end_given_up(
        self, connection: Any, owner: Ownership, status: ExecutionStatus, failure: RunFailed
    ) -> None:
        key, now = (owner.tenant_id, owner.execution_id), utc_now()
        if status is ExecutionStatus.CANCELLING:
            await connection.execute(_MOVE, *key, status.value, "CANCELLED", None, None, None, None, now, None)
            await connection.execute(_SKIP_TASKS, *key, "CANCELLED", now)
        else:
            code, message, details = failure.code.value, failure.message, _details(failure)
            await connection.execute(_MOVE, *key, status.value, "FAILED", None, code, message, details, now, None)
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
    ) -> None:
        """Makes the worker its owner, and books what an earlier one left open."""
        is_first, now = execution.status is ExecutionStatus.QUEUED, utc_now()
        # A run that was paused or waited for a person ended by itself; any other that was begun was lost.
        is_recovery = not is_first and execution.waiting_from is None
        if execution.waiting_from is not None and execution.started_at is not None:
            execution.waited_seconds += max(0.0, (now - execution.waiting_from).total_seconds())
        execution.worker_id, execution.waiting_from = worker_id, None
        execution.started_at = execution.started_at or now
        execution.status = ExecutionStatus.RUNNING if is_first else execution.status
        started = ExecutionStarted(
            tenant_id=ownership.tenant_id,
            execution_id=execution.id,
            worker_id=worker_id,
            owner_epoch=ownership.epoch,
            is_recovery=is_recovery,
        )
        values = (worker_id, execution.status.value, execution.started_at, execution.waited_seconds)
        await connection.execute(_TAKE, ownership.tenant_id, execution.id, *values)
        lost = [] if is_first else await book_lost(connection, ownership)
        await _tell(connection, ownership, last, [started, *lost])

    async def _plan(self, connection: Any, execution: Execution, ownership: Ownership) -> Claimed:
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
        return Claimed(execution, [builder_of(TaskExecution)(row) for row in rows], decode(content), ownership)

    async def _remember(self, connection: Any, claimed: Claimed) -> None:
        """Add what earlier runs of the execution did."""
        key = (claimed.ownership.tenant_id, claimed.ownership.execution_id)
        claimed.takeovers = await connection.fetchval(_TAKEOVERS, *key)
        claimed.spent = {row[0]: Usage(*row[1:]) for row in await connection.fetch(_SPENT, *key)}
        claimed.http_attempts = {(row[0], row[1], row[2]): row[3] for row in await connection.fetch(_MADE, *key)}
        claimed.approvals = [builder_of(Approval)(row) for row in await connection.fetch(_ASKED, *key)]
        rows = await connection.fetch(
            f"SELECT {_CALL} FROM call_journal WHERE tenant_id = $1 AND execution_id = $2",  # noqa: S608 - same
            *key,
        )
        if claimed.execution.refinement is not None:
            passes = f"SELECT {_PASS} FROM refinement_pass WHERE tenant_id = $1 AND execution_id = $2 ORDER BY number"  # noqa: S608
            claimed.passes = [builder_of(RefinementPass)(row) for row in await connection.fetch(passes, *key)]
        claimed.journal = [builder_of(JournalEntry)(row) for row in rows]

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
            await self._save_calls(connection, kept)
            await self._save_late_calls(connection, _refused(changes, accepted))
            # Also of what is refused: nothing but the ledger knows what an earlier run has paid.
            entries = [entry for change in changes if change.ownership.execution_id in heads for entry in change.ledger]
            booked = await book(connection, entries, {entry.id for change in kept for entry in change.ledger})
            if kept:
                await self._write(connection, kept, heads, booked.warned)
                await self._leave_places(connection, kept)
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
        is_over = change.execution is not None and change.execution.status in _STOPPED
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
            execution.waiting_from,
        )
        return moved is not None

    async def _save_tasks(self, connection: Any, kept: Sequence[Change]) -> None:
        tasks = [task for change in kept for task in change.task_executions]
        if tasks:
            await connection.executemany(_SAVE_TASK, [_task_values(task) for task in tasks])
        approvals = [approval for change in kept for approval in change.approvals]
        if approvals:
            await connection.executemany(_ASK, [tuple(values_of(approval).values()) for approval in approvals])

        passes = [done for change in kept for done in change.passes]
        if passes:
            await connection.executemany(_SCORE, [tuple(values_of(done).values()) for done in passes])

    async def _save_calls(self, connection: Any, kept: Sequence[Change]) -> None:
        """Keep the finished calls, and forget those of tasks that are over: their result stands on the task."""
        over = [task for change in kept for task in change.task_executions if task.status in TASK_FINAL]
        ended = {task.id for task in over}
        # The last one of a key counts: a call may be kept when it begins and when it ends.
        calls = {(call.task_execution_id, call.attempt, call.key): call for change in kept for call in change.journal}
        fresh = [call for call in calls.values() if call.task_execution_id not in ended]
        await _add_calls(connection, _KEEP_CALLS, fresh)
        if over:
            await connection.execute(_FORGET_CALLS, list(ended), list({task.tenant_id for task in over}))

    async def _save_late_calls(self, connection: Any, refused: Sequence[Change]) -> None:
        """Keep what a run paid for that has lost its execution: whoever goes on with it may not have begun to ask."""
        calls = [call for change in refused for call in change.journal if call.ledger_entry_id and call.answer]
        await _add_calls(connection, _KEEP_LATE_CALLS, calls)

    async def _leave_places(self, connection: Any, kept: Sequence[Change]) -> None:
        stopped = [change for change in kept if change.execution and change.execution.status in _STOPPED]
        over = [change.ownership for change in stopped if change.execution and change.execution.is_final]
        await self._leave(connection, [change.ownership for change in stopped], over)

    async def _leave(self, connection: Any, stopped: Sequence[Ownership], over: Sequence[Ownership]) -> None:
        """Give the places back; of what is over, nobody needs an answer any more, nor what it called."""
        for statement, owners in ((_LEAVE, stopped), (_CANCEL_APPROVALS, over), (_FORGET_ALL_CALLS, over)):
            if owners:
                ids = [owner.execution_id for owner in owners]
                await connection.execute(statement, ids, list({owner.tenant_id for owner in owners}))

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

    async def commands(self, worker_id: str) -> Sequence[tuple[ExecutionId, CommandKind]]:
        with reachable():
            rows = await self.pool.fetch(_COMMANDS, worker_id)
        return [(ExecutionId(row[0]), CommandKind(row[1])) for row in rows]

    async def approvals(self, tenant_id: TenantId, execution_id: ExecutionId) -> Sequence[Approval]:
        with reachable():
            rows = await self.pool.fetch(_ASKED, tenant_id, execution_id)
        return [builder_of(Approval)(row) for row in rows]


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


def _refused(changes: Sequence[Change], accepted: Sequence[bool]) -> list[Change]:
    return [change for change, is_accepted in zip(changes, accepted, strict=True) if not is_accepted]


async def _add_calls(connection: Any, statement: str, calls: Sequence[JournalEntry]) -> None:
    if calls:
        rows = [tuple(values_of(call).values()) for call in calls]
        await connection.execute(statement, *(list(column) for column in zip(*rows, strict=True)))


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
        task.max_attempts,
        task.feedback,
    )


def _conforms(store: SqlRunStore) -> RunStore:
    return store
