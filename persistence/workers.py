"""The heartbeats of workers, and the housekeeping of the database that workers do."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from domain.model.availability import OperatorModels

if TYPE_CHECKING:
    import asyncpg


NAME_PATIENCE_SECONDS = 2.0
"""So long the server may take to notice that the last holder of a name is dead."""


class WorkerNameTaken(Exception):
    """Other workers that are alive have all of these names."""


@asynccontextmanager
async def held_name(pool: "asyncpg.Pool[asyncpg.Record]", names: Sequence[str]) -> AsyncIterator[str]:
    """The first of the names that no living worker has, held to the end: two of one name would take each other's work.

    Raises WorkerNameTaken.
    """
    async with pool.acquire() as connection:
        name = await _free_name(connection, names)
        try:
            yield name
        finally:
            await connection.execute("SELECT pg_advisory_unlock_all()")


async def _free_name(connection: Any, names: Sequence[str]) -> str:
    patience = time.monotonic() + NAME_PATIENCE_SECONDS
    while not await _try(connection, names[0]):
        if time.monotonic() > patience:
            break
        await asyncio.sleep(0.1)
    else:
        return names[0]
    for name in names[1:]:
        if await _try(connection, name):
            return name
    raise WorkerNameTaken(f"a worker named {names[0]} is at work already: give this one another --name")


async def _try(connection: Any, name: str) -> bool:
    held: bool = await connection.fetchval("SELECT pg_try_advisory_lock(hashtextextended('worker ' || $1, 0))", name)
    return held


_BEAT = """
    INSERT INTO worker (id, heartbeat_at, providers, models, free_providers, is_local_silent)
    VALUES ($1, now(), $2, $3, $4, $5)
    ON CONFLICT (id) DO UPDATE SET heartbeat_at = now(), providers = excluded.providers, models = excluded.models,
        free_providers = excluded.free_providers, is_local_silent = excluded.is_local_silent
"""
NO_MODELS = OperatorModels()


class SqlWorkers:
    """See `domain.ports.Workers`. The database's clock counts: those of machines differ."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self.pool = pool

    async def beat(self, worker_id: str, models: OperatorModels = NO_MODELS) -> None:
        await self.pool.execute(
            _BEAT,
            worker_id,
            sorted(models.providers),
            sorted(models.models),
            sorted(models.free_providers),
            models.is_local_silent,
        )

    async def lost(self, silent_seconds: float) -> Sequence[str]:
        rows = await self.pool.fetch(
            "SELECT id FROM worker WHERE heartbeat_at < now() - make_interval(secs => $1) ORDER BY id",
            silent_seconds,
        )
        return [row[0] for row in rows]

    async def leave(self, worker_id: str) -> None:
        await self.pool.execute("DELETE FROM worker WHERE id = $1", worker_id)

    async def any_alive(self, silent_seconds: float) -> bool:
        """Whether some worker was heard of lately; the readiness check asks."""
        alive: bool = await self.pool.fetchval(
            "SELECT EXISTS (SELECT FROM worker WHERE heartbeat_at >= now() - make_interval(secs => $1))",
            silent_seconds,
        )
        return alive

    async def tidy(self) -> None:
        """Make the partitions of the coming months and forget expired idempotency keys, a batch at a time."""
        await self.pool.execute("SELECT ensure_month_partitions(3)")
        await self.pool.execute(
            "DELETE FROM idempotency_key WHERE ctid IN"
            " (SELECT ctid FROM idempotency_key WHERE expires_at < now() LIMIT 10000 FOR UPDATE SKIP LOCKED)"
        )
