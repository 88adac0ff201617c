"""The heartbeats of workers, and the housekeeping of the database that workers do."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from domain.errors import Unavailable
from domain.model.availability import OperatorModels
from domain.model.resources import WorkerLoad
from persistence.errors import reachable

if TYPE_CHECKING:
    import asyncpg


NAME_PATIENCE_SECONDS = 2.0
"""So long the server may take to notice that the last holder of a name is dead."""


NAME_LOOK_SECONDS = 2.0
"""So often a worker looks whether it still has its name."""


class WorkerNameTaken(Exception):
    """Other workers that are alive have all of these names."""


@asynccontextmanager
async def held_name(
    pool: "asyncpg.Pool[asyncpg.Record]", names: Sequence[str], on_taken: Callable[[], None] = lambda: None
) -> AsyncIterator[str]:
    """The first of the names that no living worker has, held to the end: two of one name would take each other's work.

    A lock goes with its connection, so after a loss of that it is taken again; `on_taken` is called when somebody else
    was faster. Raises WorkerNameTaken.
    """
    lock = _NameLock(pool)
    try:
        name = await lock.take_one(names)
        keeping = asyncio.create_task(lock.keep(name, on_taken))
        try:
            yield name
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])
    finally:
        await lock.let_go()


class _NameLock:
    """The connection that holds the lock on a name, for as long as it lives."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool
        self._connection: Any = None

    async def take_one(self, names: Sequence[str]) -> str:
        self._connection = await self._pool.acquire()
        return await _free_name(self._connection, names)

    async def keep(self, name: str, on_taken: Callable[[], None]) -> None:
        """Take it again whenever the connection is lost, until somebody else has it."""
        while self._connection is not None:
            ghost = self._connection.get_server_pid()
            await self._until_lost()
            await self.let_go()
            await self._take_again(name, ghost)
        on_taken()

    async def let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            with suppress(Unavailable), reachable():
                await connection.execute("SELECT pg_advisory_unlock_all()")
        finally:
            with suppress(Unavailable), reachable():
                await self._pool.release(connection)

    async def _until_lost(self) -> None:
        with suppress(Unavailable), reachable():
            while True:
                await asyncio.sleep(NAME_LOOK_SECONDS)
                await self._connection.execute("SELECT 1")

    async def _take_again(self, name: str, ghost: int) -> None:
        """Returns without a connection when somebody else has the name, who is not `ghost`, our earlier connection.

        The server may take long to notice that a network has eaten that one.
        """
        holder: int | None = None
        while holder in {None, ghost}:
            with suppress(Unavailable), reachable():
                self._connection = await self._pool.acquire()
                if await _try(self._connection, name):
                    return
                holder = await self._connection.fetchval(_HOLDER, name)
            await self.let_go()
            await asyncio.sleep(0.1)


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


_HOLDER = """
    SELECT pid FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (classid::bigint << 32) | objid::bigint = hashtextextended('worker ' || $1, 0)
"""
_BEAT = """
    INSERT INTO worker (id, started_at, heartbeat_at, providers, models, free_providers, is_local_silent, places,
        is_taking, cpu_percent, memory_percent)
    VALUES ($1, now(), now(), $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT (id) DO UPDATE SET heartbeat_at = now(), providers = excluded.providers, models = excluded.models,
        free_providers = excluded.free_providers, is_local_silent = excluded.is_local_silent, places = excluded.places,
        is_taking = excluded.is_taking, cpu_percent = excluded.cpu_percent, memory_percent = excluded.memory_percent
"""
_LOST = """
    SELECT id FROM worker WHERE heartbeat_at < now() - make_interval(secs => $1)
    UNION
    SELECT admission.worker_id FROM admission
    WHERE admission.worker_id IS NOT NULL AND NOT EXISTS (SELECT FROM worker WHERE worker.id = admission.worker_id)
    ORDER BY id
"""
# Whoever removes the row notes the loss: the others find none, or a new life of the name, which is not silent.
_LOSE = """
    WITH gone AS (
        DELETE FROM worker WHERE id = $1 AND heartbeat_at < now() - make_interval(secs => $2) RETURNING id
    )
    INSERT INTO worker_loss (worker_id, lost_at) SELECT id, clock_timestamp() FROM gone
"""
LOSSES_KEPT_DAYS = 30
NO_MODELS = OperatorModels()
NO_LOAD = WorkerLoad()


class SqlWorkers:
    """See `domain.ports.Workers`. The database's clock counts: those of machines differ."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self.pool = pool

    async def beat(self, worker_id: str, models: OperatorModels = NO_MODELS, load: WorkerLoad = NO_LOAD) -> None:
        await self.pool.execute(
            _BEAT,
            worker_id,
            sorted(models.providers),
            sorted(models.models),
            sorted(models.free_providers),
            models.is_local_silent,
            load.places,
            load.is_taking,
            load.cpu_percent,
            load.memory_percent,
        )

    async def lost(self, silent_seconds: float) -> Sequence[str]:
        # Who has places but no row of his own was given them while he was taken for dead.
        rows = await self.pool.fetch(_LOST, silent_seconds)
        return [row[0] for row in rows]

    async def leave(self, worker_id: str) -> None:
        await self.pool.execute("DELETE FROM worker WHERE id = $1", worker_id)

    async def lose(self, worker_id: str, silent_seconds: float) -> None:
        await self.pool.execute(_LOSE, worker_id, silent_seconds)

    async def any_alive(self, silent_seconds: float) -> bool:
        """Whether some worker was heard of lately; the readiness check asks."""
        alive: bool = await self.pool.fetchval(
            "SELECT EXISTS (SELECT FROM worker WHERE heartbeat_at >= now() - make_interval(secs => $1))",
            silent_seconds,
        )
        return alive

    async def tidy(self) -> None:
        """Make the partitions of the coming months, and forget what is over: idempotency keys a batch at a time."""
        await self.pool.execute("SELECT ensure_month_partitions(3)")
        await self.pool.execute(
            "DELETE FROM idempotency_key WHERE ctid IN"
            " (SELECT ctid FROM idempotency_key WHERE expires_at < now() LIMIT 10000 FOR UPDATE SKIP LOCKED)"
        )
        await self.pool.execute(
            "DELETE FROM worker_loss WHERE lost_at < now() - make_interval(days => $1)", LOSSES_KEPT_DAYS
        )
