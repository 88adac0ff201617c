"""Roll-ups: what ended since is added to sums by hour and day, in one statement, so that nothing counts twice.

A row of `metric_pending` is written by a trigger in the transaction in which something ends; here it is taken away in
the transaction that adds what it stands for. Whoever reads in between counts it from there.
"""

from typing import TYPE_CHECKING, Final

import asyncpg
import structlog

from domain.model.metrics import HOURS_KEPT_DAYS
from persistence.errors import reachable
from persistence.metric_facts import SUMS, facts
from persistence.moments import NEVER_GENERIC

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

_log = structlog.get_logger(__name__)

_ONE_AT_A_TIME: Final = """
    SELECT CASE WHEN EXISTS (SELECT FROM metric_pending)
        THEN pg_try_advisory_xact_lock(hashtext('regatta roll-up')) ELSE false END
"""
_KEY: Final = "tenant_id, dimension, key, grain, start, subject, project_id, team_id"
_ADDED: Final = ", ".join(f"{name} = metric_rollup.{name} + excluded.{name}" for name in SUMS)
_OLD: Final = f"now() - interval '{HOURS_KEPT_DAYS} days'"

_ROLL_UP: Final = f"""
    WITH taken AS MATERIALIZED (
        SELECT tenant_id, id FROM metric_pending WHERE $2::bigint IS NULL OR id = $2 LIMIT $1
    ),
    {facts("SELECT metric_pending.* FROM metric_pending JOIN taken USING (tenant_id, id)")},
    added AS (
        INSERT INTO metric_rollup ({_KEY}, {", ".join(SUMS)}, durations, waits)
        SELECT tenant_id, dimension, key, grain, date_trunc(grain, at, 'UTC') AS start, subject, project_id, team_id,
            {", ".join(f"sum({name})" for name in SUMS)},
            compacted_histogram(array_agg(duration) FILTER (WHERE duration IS NOT NULL)),
            compacted_histogram(array_agg(wait) FILTER (WHERE wait IS NOT NULL))
        FROM fact CROSS JOIN (VALUES ('HOUR'), ('DAY')) AS grains (grain)
        WHERE grain = 'DAY' OR at >= {_OLD}
        GROUP BY {_KEY}
        ON CONFLICT ({_KEY}) DO UPDATE SET {_ADDED},
            durations = compacted_histogram(metric_rollup.durations || excluded.durations),
            waits = compacted_histogram(metric_rollup.waits || excluded.waits)
    )
    DELETE FROM metric_pending USING taken
    WHERE metric_pending.tenant_id = taken.tenant_id AND metric_pending.id = taken.id
"""  # noqa: S608 - constants
_ANY: Final = "SELECT id FROM metric_pending LIMIT 1"
_SET_ASIDE: Final = "DELETE FROM metric_pending WHERE id = $1 RETURNING tenant_id, subject, subject_id, at"
_FORGET: Final = f"""
    DELETE FROM metric_rollup WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM metric_rollup WHERE grain = 'HOUR' AND start < {_OLD} LIMIT $1
    ))
"""  # noqa: S608 - constants


class SqlRollUps:
    """See `domain.ports.metrics.RollUps`. Raises Unavailable while the database does not answer."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self.pool = pool

    async def roll_up(self, limit: int) -> int:
        with reachable():
            async with self.pool.acquire() as connection:
                return await _rolled_up(connection, limit)

    async def forget_hours(self, limit: int) -> int:
        with reachable():
            return _count(await self.pool.execute(_FORGET, limit))


async def _rolled_up(connection: "PoolConnectionProxy[asyncpg.Record]", limit: int) -> int:
    """How many were added.

    What cannot be computed is looked for by halves, told, and taken away: it must not keep the rest from counting.
    """
    try:
        return await _added(connection, limit)
    except asyncpg.DataError:
        if limit > 1:
            return await _rolled_up(connection, limit // 2)
    return await _one_alone(connection)


async def _added(connection: "PoolConnectionProxy[asyncpg.Record]", limit: int, only: int | None = None) -> int:
    async with connection.transaction():
        if not await connection.fetchval(_ONE_AT_A_TIME):
            return 0
        await connection.execute(NEVER_GENERIC)
        return _count(await connection.execute(_ROLL_UP, limit, only))


async def _one_alone(connection: "PoolConnectionProxy[asyncpg.Record]") -> int:
    """Add one by its id, or set it aside: which one would be the next has changed where others came, or were taken."""
    only = await connection.fetchval(_ANY)
    try:
        return await _added(connection, 1, only)
    except asyncpg.DataError as error:
        return await _set_aside(connection, only, error)


async def _set_aside(connection: "PoolConnectionProxy[asyncpg.Record]", only: int, error: asyncpg.DataError) -> int:
    row = await connection.fetchrow(_SET_ASIDE, only)
    if row is None:  # another worker was faster
        return 0
    _log.error("metric_not_computed", reason=str(error), **{name: str(value) for name, value in row.items()})
    return 1


def _count(status: str) -> int:
    return int(status.rsplit(maxsplit=1)[-1])
