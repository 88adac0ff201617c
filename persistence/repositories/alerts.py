"""Alert rules as mutations need them; who evaluates them is served by `persistence.alert_store`."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import NotFound
from domain.model.alert import AlertRule, AlertState
from domain.model.identity import TenantId
from persistence import tables
from persistence.mapping import builder_of, columns_of
from persistence.repositories.things import Things

_OUT_OF_USE = " The rule was taken out of use."


class AlertRulesTable(Things[AlertRule]):
    """See `domain.ports.alerts.AlertRules`."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        super().__init__(connection, tenant_id, AlertRule)

    async def get(self, identifier: UUID) -> AlertRule:
        # Not for the key: alerts that refer to it are written under the same lock.
        statement = select(*columns_of(AlertRule)).where(*self._is(identifier)).with_for_update(key_share=True)
        row = (await self.connection.execute(statement)).one_or_none()
        if row is None:
            raise NotFound("AlertRule", identifier)
        return builder_of(AlertRule)(row)

    async def count(self) -> int:
        lock = text("SELECT pg_advisory_xact_lock(hashtextextended('alert rules ' || :tenant, 0))")
        await self.connection.execute(lock, {"tenant": str(self.tenant_id)})
        in_use: tuple[Any, ...] = (self.table.c.tenant_id == self.tenant_id, self.table.c.archived_at.is_(None))
        found: int = (await self.connection.execute(select(func.count()).where(*in_use))).scalar_one()
        return found

    async def now(self) -> datetime:
        found: datetime = (await self.connection.execute(select(func.clock_timestamp()))).scalar_one()
        return found

    async def close(self, rule: AlertRule, moment: datetime) -> bool:
        alert = tables.alert
        its = (alert.c.tenant_id == self.tenant_id, alert.c.rule_id == rule.id, text("alert.state = 'FIRING'"))
        values = {
            "state": AlertState.RESOLVED.value,
            "resolved_at": func.greatest(moment, alert.c.fired_at),
            "changed_at": func.clock_timestamp(),
            "message": alert.c.message + _OUT_OF_USE,
        }
        closed = await self.connection.execute(update(alert).where(*its).values(values).returning(alert.c.id))
        return closed.scalar_one_or_none() is not None
