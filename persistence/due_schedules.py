"""Which schedules, of all tenants, have something to do now: what workers ask every second."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from domain.model.identity import ScheduleId, TenantId
from domain.ports import DueSchedules
from persistence.errors import reachable

if TYPE_CHECKING:
    import asyncpg

_DUE = "SELECT tenant_id, id FROM schedule WHERE next_fire_at <= now() ORDER BY next_fire_at LIMIT $1"

_BACKFILLING = """
    WITH RECURSIVE waiting AS (
        (SELECT tenant_id, schedule_id FROM schedule_fire WHERE outcome = 'PENDING'
            ORDER BY tenant_id, schedule_id LIMIT 1)
        UNION ALL
        SELECT following.tenant_id, following.schedule_id FROM waiting CROSS JOIN LATERAL (
            SELECT fire.tenant_id, fire.schedule_id FROM schedule_fire AS fire
            WHERE fire.outcome = 'PENDING'
                AND (fire.tenant_id, fire.schedule_id) > (waiting.tenant_id, waiting.schedule_id)
            ORDER BY fire.tenant_id, fire.schedule_id LIMIT 1
        ) AS following
    )
    SELECT waiting.tenant_id, waiting.schedule_id
    FROM waiting CROSS JOIN LATERAL (
        SELECT team_id, overlap FROM schedule
        WHERE tenant_id = waiting.tenant_id AND id = waiting.schedule_id
            AND paused_at IS NULL AND archived_at IS NULL
        LIMIT 1
    ) AS schedule
    WHERE (
        SELECT count(*) FROM execution CROSS JOIN LATERAL (
            SELECT FROM schedule_fire AS fire
            WHERE fire.tenant_id = execution.tenant_id AND fire.execution_id = execution.id
                AND fire.schedule_id = waiting.schedule_id AND fire.kind = 'BACKFILL'
            LIMIT 1
        ) AS started
        WHERE execution.tenant_id = waiting.tenant_id AND execution.team_id = schedule.team_id
            AND execution.status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')
    ) < CASE WHEN schedule.overlap = 'PARALLEL' THEN $2 ELSE 1 END
    LIMIT $1
"""
"""From one schedule that has something waiting to the next, each by a look-up: a back-fill may have 1,000 rows."""


class SqlDueSchedules:
    """See `domain.ports.DueSchedules`. All raise Unavailable."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self.pool = pool

    async def due(self, limit: int) -> Sequence[tuple[TenantId, ScheduleId]]:
        return await self._ids(_DUE, limit)

    async def backfilling(self, limit: int, at_once: int) -> Sequence[tuple[TenantId, ScheduleId]]:
        return await self._ids(_BACKFILLING, limit, at_once)

    async def _ids(self, statement: str, *limits: int) -> Sequence[tuple[TenantId, ScheduleId]]:
        with reachable():
            rows = await self.pool.fetch(statement, *limits)
        return [(TenantId(row[0]), ScheduleId(row[1])) for row in rows]


def _conforms(due: SqlDueSchedules) -> DueSchedules:
    return due
