"""The heartbeats of workers, and the housekeeping of the database that workers do."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncpg


class SqlWorkers:
    """See `domain.ports.Workers`. The database's clock counts: those of machines differ."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self.pool = pool

    async def beat(self, worker_id: str) -> None:
        await self.pool.execute(
            "INSERT INTO worker (id, heartbeat_at) VALUES ($1, now())"
            " ON CONFLICT (id) DO UPDATE SET heartbeat_at = now()",
            worker_id,
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
