"""Removes what tenants do not want kept any longer: of all tenants, a bounded number of rows in each transaction."""

from typing import Any, Final

import asyncpg

from domain.errors import Busy
from domain.ports import Retention
from persistence.errors import reachable

_ARCHIVE: Final = "SELECT archive_executions($1, $2)"
_FORGET_AUDIT: Final = "SELECT forget_audit(now() - make_interval(days => $1), $2)"
_DROP_MONTH: Final = "SELECT drop_empty_month_partition()"

# From one webhook, or schedule, to the next, each through its index: what is not old is not looked at.
_OLD: Final = "now() - make_interval(days => coalesce(tenant.retention_days, $1))"
_FORGET_DELIVERIES: Final = f"""
    DELETE FROM webhook_delivery AS row USING (
        SELECT old.tenant_id, old.id FROM tenant
        JOIN webhook ON webhook.tenant_id = tenant.id
        CROSS JOIN LATERAL (
            SELECT tenant_id, id FROM webhook_delivery AS each
            WHERE each.tenant_id = webhook.tenant_id AND each.webhook_id = webhook.id AND each.status <> 'PENDING'
                AND each.created_at < {_OLD}
            ORDER BY each.created_at LIMIT $2 FOR UPDATE SKIP LOCKED
        ) AS old
        WHERE coalesce(tenant.retention_days, $1) IS NOT NULL
        LIMIT $2
    ) AS old
    WHERE row.tenant_id = old.tenant_id AND row.id = old.id RETURNING row.id
"""  # noqa: S608 - a constant

# What started an execution stays with it, and keeps a back-fill from starting that moment again.
_FORGET_FIRES: Final = f"""
    DELETE FROM schedule_fire AS row USING (
        SELECT old.tenant_id, old.id FROM tenant
        JOIN schedule ON schedule.tenant_id = tenant.id
        CROSS JOIN LATERAL (
            SELECT tenant_id, id FROM schedule_fire AS each
            WHERE each.tenant_id = schedule.tenant_id AND each.schedule_id = schedule.id AND each.execution_id IS NULL
                AND each.outcome <> 'PENDING' AND each.id IS DISTINCT FROM schedule.last_fire_id
                AND each.scheduled_for < {_OLD}
            ORDER BY each.scheduled_for LIMIT $2 FOR UPDATE SKIP LOCKED
        ) AS old
        WHERE coalesce(tenant.retention_days, $1) IS NOT NULL
        LIMIT $2
    ) AS old
    WHERE row.tenant_id = old.tenant_id AND row.id = old.id RETURNING row.id
"""  # noqa: S608 - a constant

# An alert fired before it was resolved: the index by that moment gives what may be old.
_FORGET_ALERTS: Final = f"""
    DELETE FROM alert AS row USING (
        SELECT old.tenant_id, old.id FROM tenant
        CROSS JOIN LATERAL (
            SELECT tenant_id, id FROM alert AS each
            WHERE each.tenant_id = tenant.id AND each.fired_at < {_OLD} AND each.resolved_at < {_OLD}
            ORDER BY each.fired_at LIMIT $2 FOR UPDATE SKIP LOCKED
        ) AS old
        WHERE coalesce(tenant.retention_days, $1) IS NOT NULL
        LIMIT $2
    ) AS old
    WHERE row.tenant_id = old.tenant_id AND row.id = old.id RETURNING row.id
"""  # noqa: S608 - a constant


class SqlRetention:
    """See `domain.ports.Retention`. `default_days` holds for tenants that say nothing; None: they keep all for ever.

    `audit_days` holds for the audit of all tenants, in the same way.
    """

    def __init__(
        self, pool: "asyncpg.Pool[asyncpg.Record]", default_days: int | None, audit_days: int | None = None
    ) -> None:
        self.pool = pool
        self.default_days = default_days
        self.audit_days = audit_days

    async def archive(self, limit: int) -> int:
        with reachable():
            try:
                count: int = await self.pool.fetchval(_ARCHIVE, self.default_days, limit)
            except asyncpg.LockNotAvailableError as error:
                raise Busy("Somebody holds what is to be archived.") from error
        return count

    async def forget_deliveries(self, limit: int) -> int:
        return len(await self._rows(_FORGET_DELIVERIES, limit))

    async def forget_fires(self, limit: int) -> int:
        return len(await self._rows(_FORGET_FIRES, limit))

    async def forget_alerts(self, limit: int) -> int:
        return len(await self._rows(_FORGET_ALERTS, limit))

    async def forget_audit(self, limit: int) -> int:
        if self.audit_days is None:
            return 0
        with reachable():
            count: int = await self.pool.fetchval(_FORGET_AUDIT, self.audit_days, limit)
        return count

    async def drop_month(self) -> bool:
        with reachable():
            return await self.pool.fetchval(_DROP_MONTH) is not None

    async def _rows(self, statement: str, limit: int) -> list[Any]:
        with reachable():
            return await self.pool.fetch(statement, self.default_days, limit)


def _conforms(retention: SqlRetention) -> Retention:
    return retention
