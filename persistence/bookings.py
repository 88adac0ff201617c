"""Bookings: ledger entries with the reservations that they release and the budgets that they spend.

Works inside the transaction of whoever books (see `persistence.run_store`). The sums are made by `book_calls` in SQL.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from domain.events import BudgetWarned, ExecutionEvent, ModelCalled
from domain.model.budget import BudgetScope
from domain.model.identity import ExecutionId, RoleId, TaskExecutionId, TenantId
from domain.model.ledger import CallOutcome, LedgerEntry, TokenSource
from domain.ports import Ownership
from domain.ports.generations import GenerationOwnership
from persistence.mapping import document_of, values_of

LOST: Final = "WORKER_LOST"
"""The error of an entry whose worker never said what became of the call."""

_BOOK = "SELECT booked, warnings FROM book_calls($1, $2::uuid[])"
_RESERVED = """
    SELECT tenant_id, id, project_id, team_id, execution_id, task_execution_id, role_id, generation_id, model, provider,
        attempt, call, call_attempt, amount, routing
    FROM call_reservation
"""
_RESERVED_BEFORE = _RESERVED + "WHERE tenant_id = $1 AND execution_id = $2 AND owner_epoch < $3 ORDER BY id FOR UPDATE"
_GENERATIONS_BEFORE = (
    _RESERVED
    + """
    WHERE EXISTS (
        SELECT FROM unnest($1::uuid[], $2::uuid[], $3::int[]) AS own (tenant_id, generation_id, epoch)
        WHERE call_reservation.tenant_id = own.tenant_id AND call_reservation.generation_id = own.generation_id
            AND call_reservation.owner_epoch < own.epoch
    )
    ORDER BY tenant_id, id FOR UPDATE
"""
)
_EXPIRED = _RESERVED + "WHERE expires_at < now() ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED"


@dataclass(frozen=True, slots=True)
class Booked:
    """What a booking did: the ids that are new on the ledger, and by entry the budgets that it brought to WARN_AT."""

    ids: Collection[UUID] = ()
    warned: Mapping[UUID, Sequence[BudgetWarned]] = field(default_factory=dict)


async def book(connection: Any, entries: Sequence[LedgerEntry], telling: Collection[UUID]) -> Booked:
    """Book those of the entries that are not on the ledger yet, and release what was reserved for them.

    Only the entries whose ids are in `telling` warn of a budget. One that others brought to WARN_AT is left for a
    later booking to tell.
    """
    if not entries:
        return Booked()
    documents = [document_of(values_of(entry)) for entry in entries]
    row = await connection.fetchrow(_BOOK, documents, list(telling))
    warned: dict[UUID, list[BudgetWarned]] = {}
    for warning in row["warnings"]:
        warned.setdefault(UUID(warning["entry_id"]), []).append(_warned(warning))
    return Booked(frozenset(row["booked"]), warned)


async def book_lost(connection: Any, owner: Ownership) -> list[ExecutionEvent]:
    """Book as LOST what earlier owners of the execution reserved and did not book; what there is to tell of it.

    `owner` is the new one.
    """
    rows = await connection.fetch(_RESERVED_BEFORE, owner.tenant_id, owner.execution_id, owner.epoch)
    entries = [_lost(row) for row in rows]
    booked = await book(connection, entries, [entry.id for entry in entries])
    calls = [_call_of(entry, owner.execution_id) for entry in entries if entry.id in booked.ids]
    return [*calls, *(warning for each in booked.warned.values() for warning in each)]


async def book_lost_of_generations(connection: Any, owners: Sequence[GenerationOwnership]) -> None:
    """Book as LOST what earlier owners of these generations reserved and did not book; `owners` are the new ones."""
    keys = [(owner.tenant_id, owner.generation_id, owner.epoch) for owner in owners]
    rows = await connection.fetch(_GENERATIONS_BEFORE, *map(list, zip(*keys, strict=True)))
    await book(connection, [_lost(row) for row in rows], ())


async def book_expired(connection: Any, limit: int) -> int:
    """Book as LOST what was reserved, and not booked in its time; how many."""
    entries = [_lost(row) for row in await connection.fetch(_EXPIRED, limit)]
    # No execution is held here that could tell of a budget: the next booking does.
    await book(connection, entries, ())
    return len(entries)


def _call_of(entry: LedgerEntry, execution_id: ExecutionId) -> ModelCalled:
    return ModelCalled(
        tenant_id=entry.tenant_id,
        execution_id=execution_id,
        task_execution_id=entry.task_execution_id,
        role_id=entry.role_id,
        model=entry.model,
        outcome=entry.outcome.value,
        prompt_tokens=entry.prompt_tokens,
        completion_tokens=entry.completion_tokens,
        cost_amount=entry.cost,
        latency_seconds=entry.latency_seconds,
        call=entry.call,
        call_attempt=entry.call_attempt,
        error=entry.error,
        is_overrun=entry.is_overrun,
        entry_id=entry.id,
    )


def _lost(row: Any) -> LedgerEntry:
    names = ("tenant_id", "id", "project_id", "team_id", "execution_id", "task_execution_id", "role_id")
    more = ("generation_id", "model", "provider", "attempt", "call", "call_attempt", "routing")
    return LedgerEntry(
        **{name: row[name] for name in (*names, *more)},
        outcome=CallOutcome.LOST,
        token_source=TokenSource.ESTIMATE,
        cost=row["amount"],
        reserved=row["amount"],
        error=LOST,
    )


def _warned(warning: dict[str, Any]) -> BudgetWarned:
    return BudgetWarned(
        tenant_id=TenantId(UUID(warning["tenant_id"])),
        execution_id=ExecutionId(UUID(warning["execution_id"])),
        task_execution_id=TaskExecutionId(UUID(warning["task_execution_id"])),
        role_id=RoleId(UUID(warning["role_id"])) if warning["role_id"] else None,
        scope=BudgetScope(warning["scope"]),
        limit_amount=Decimal(warning["limit_amount"]),
        spent_amount=Decimal(warning["spent_amount"]),
    )
