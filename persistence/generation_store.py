"""Generations as workers need them: who works on which, under which epoch; what their calls cost and answered."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from domain.model.generation import AT_ONCE, Generation, GenerationStatus
from domain.model.identity import ExecutionId, GenerationId, ProjectId, TaskExecutionId, TeamId, TenantId
from domain.model.journal import CallKind, JournalEntry
from domain.model.ledger import LedgerEntry
from domain.ports.generations import ClaimedGeneration, GenerationOwnership
from persistence.bookings import book, book_lost_of_generations
from persistence.errors import reachable, unheld
from persistence.mapping import builder_of, names_of, values_of

if TYPE_CHECKING:
    import asyncpg

_COLUMNS = ", ".join(f"row.{name}" for name in names_of(Generation))
_WORKING = "status IN ('PENDING', 'ANALYSING', 'COMPOSING', 'VALIDATING')"

_ONE_AT_A_TIME = """
    SELECT pg_advisory_xact_lock(hashtextextended('generations', 0)),
        set_config('plan_cache_mode', 'force_custom_plan', true)
"""
"""One worker claims at a time, for a moment: so the limit of a batch holds exactly."""

_CLAIM = f"""
    WITH waiting AS (
        SELECT each.*, count(*) FILTER (WHERE is_held) OVER (PARTITION BY tenant_id) AS held,
            row_number() OVER (PARTITION BY tenant_id, is_held ORDER BY created_at, id) AS turn,
            count(*) FILTER (WHERE is_held) OVER (PARTITION BY tenant_id, batch_id) AS held_of_batch,
            row_number() OVER (PARTITION BY tenant_id, batch_id, is_held ORDER BY created_at, id) AS turn_in_batch
        FROM (
            SELECT tenant_id, id, batch_id, created_at,
                (locked_until > clock_timestamp() OR locked_until IS NOT NULL AND NOT $4) IS TRUE AS is_held
            FROM generation WHERE {_WORKING}
        ) AS each
    ),
    picked AS (
        SELECT tenant_id, id FROM waiting
        WHERE NOT is_held AND (batch_id IS NULL OR held_of_batch + turn_in_batch <= {AT_ONCE})
        ORDER BY held + turn, created_at, id LIMIT $2
    )
    UPDATE generation AS row
    SET owner_epoch = owner_epoch + 1, worker_id = $1, started_at = coalesce(started_at, now()),
        locked_until = clock_timestamp() + make_interval(secs => $3)
    FROM picked
    WHERE row.tenant_id = picked.tenant_id AND row.id = picked.id AND row.{_WORKING}
        AND (row.locked_until IS NULL OR $4 AND row.locked_until <= clock_timestamp())
    RETURNING {_COLUMNS}, row.owner_epoch, row.calls
"""  # noqa: S608 - names of our own columns

_MADE = """
    SELECT generation_id, call, max(call_attempt) FROM ledger_entry
    WHERE tenant_id = ANY($1::uuid[]) AND generation_id = ANY($2::uuid[]) GROUP BY generation_id, call
"""
_RENEW = f"""
    UPDATE generation AS row SET locked_until = clock_timestamp() + make_interval(secs => $4)
    FROM unnest($1::uuid[], $2::uuid[], $3::int[]) AS own (tenant_id, id, epoch)
    WHERE row.tenant_id = own.tenant_id AND row.id = own.id AND row.owner_epoch = own.epoch AND row.{_WORKING}
    RETURNING row.id
"""  # noqa: S608 - a constant
_RELEASE = f"""
    UPDATE generation AS row SET locked_until = NULL, worker_id = NULL
    FROM unnest($1::uuid[], $2::uuid[], $3::int[]) AS own (tenant_id, id, epoch)
    WHERE row.tenant_id = own.tenant_id AND row.id = own.id AND row.owner_epoch = own.epoch AND row.{_WORKING}
"""  # noqa: S608 - a constant
_KEEP_CALL = f"""
    UPDATE generation SET calls = calls || $4::jsonb
    WHERE tenant_id = $1 AND id = $2 AND owner_epoch = $3 AND {_WORKING} RETURNING id
"""  # noqa: S608 - a constant

_WRITTEN: Final = (
    "status",
    "stage",
    "analysis",
    "proposal",
    "validation",
    "templates",
    "composed_by",
    "model",
    "is_first_valid",
    "repairs",
    "fallback_reason",
    "failure_code",
    "failure_message",
    "finished_at",
)
"""What the worker makes of it; the rest is asked for, or decided, by people."""

_SAVE = f"""
    UPDATE generation SET sequence = sequence + 1,
        {", ".join(f"{name} = ${number}" for number, name in enumerate(_WRITTEN, start=6))},
        calls = CASE WHEN $5 THEN '[]' ELSE calls END, locked_until = CASE WHEN $5 THEN NULL ELSE locked_until END
    WHERE tenant_id = $1 AND id = $2 AND owner_epoch = $3 AND status = $4 RETURNING sequence
"""  # noqa: S608 - names of our own columns


class SqlGenerationStore:
    """See `domain.ports.generations.GenerationStore`."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self.pool = pool

    async def claim(
        self, worker_id: str, places: int, lease_seconds: float, *, takes_over: bool = True
    ) -> Sequence[ClaimedGeneration]:
        with unheld("a budget"):
            async with self.pool.acquire() as connection, connection.transaction():
                await connection.fetch(_ONE_AT_A_TIME)
                rows = await connection.fetch(_CLAIM, worker_id, places, lease_seconds, takes_over)
                claimed = sorted(map(_claimed, rows), key=lambda each: (each.generation.created_at, each.generation.id))
                if taken_over := [each for each in claimed if each.ownership.epoch > 1]:
                    await self._take_over(connection, taken_over)
        return claimed

    async def _take_over(self, connection: Any, claimed: Sequence[ClaimedGeneration]) -> None:
        """What earlier owners reserved is booked as LOST, and how often they tried is told."""
        owners = [each.ownership for each in claimed]
        await book_lost_of_generations(connection, owners)
        rows = await connection.fetch(_MADE, [it.tenant_id for it in owners], [it.generation_id for it in owners])
        for each in claimed:
            each.http_attempts = {row[1]: row[2] for row in rows if row[0] == each.generation.id}

    async def renew(self, owned: Sequence[GenerationOwnership], lease_seconds: float) -> Collection[GenerationId]:
        with reachable():
            rows = await self.pool.fetch(_RENEW, *_arrays(owned), lease_seconds)
        return {GenerationId(row["id"]) for row in rows}

    async def save(self, ownership: GenerationOwnership, generation: Generation, expected: GenerationStatus) -> bool:
        values = values_of(generation)
        key = (ownership.tenant_id, ownership.generation_id, ownership.epoch, expected.value, generation.is_over)
        with reachable():
            sequence = await self.pool.fetchval(_SAVE, *key, *(values[name] for name in _WRITTEN))
        if sequence is not None:
            generation.sequence = sequence
        return sequence is not None

    async def settle(
        self, ownership: GenerationOwnership, entry: LedgerEntry, call: JournalEntry | None = None
    ) -> bool:
        key = (ownership.tenant_id, ownership.generation_id, ownership.epoch)
        with unheld("a budget"):
            async with self.pool.acquire() as connection, connection.transaction():
                # The generation first, then the accounts: whoever takes it over does so in this order.
                kept = await connection.fetchval(_KEEP_CALL, *key, [] if call is None else [_document(call)])
                # A budget that this brings near its limit is told by the next booking of an execution.
                await book(connection, [entry], ())
        return kept is not None

    async def release(self, owned: Sequence[GenerationOwnership]) -> None:
        with reachable():
            await self.pool.execute(_RELEASE, *_arrays(owned))


def _arrays(owned: Sequence[GenerationOwnership]) -> tuple[list[Any], list[Any], list[int]]:
    return [it.tenant_id for it in owned], [it.generation_id for it in owned], [it.epoch for it in owned]


_build = builder_of(Generation)


def _claimed(row: "asyncpg.Record") -> ClaimedGeneration:
    generation = _build(row)
    ownership = GenerationOwnership(
        TenantId(row["tenant_id"]),
        ProjectId(row["project_id"]),
        GenerationId(row["id"]),
        row["owner_epoch"],
        None if row["team_id"] is None else TeamId(row["team_id"]),
    )
    return ClaimedGeneration(generation, ownership, [_call(ownership, each) for each in row["calls"]])


def _document(call: JournalEntry) -> dict[str, Any]:
    return {
        "request_hash": call.request_hash,
        "occurrence": call.occurrence,
        "ordinal": call.ordinal,
        "answer": call.answer,
    }


def _call(owner: GenerationOwnership, document: Mapping[str, Any]) -> JournalEntry:
    return JournalEntry(
        owner.tenant_id,
        ExecutionId(owner.generation_id),
        TaskExecutionId(owner.generation_id),
        1,
        CallKind.MODEL,
        **document,
    )
