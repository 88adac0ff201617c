"""A tenant's own entries of the model catalogue."""

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.model.identity import TenantId
from domain.model.model import Model
from persistence.repositories.things import Things


class ModelsTable(Things[Model]):
    """See `domain.ports.Models`."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        super().__init__(connection, tenant_id, Model)

    async def count(self) -> int:
        lock = text("SELECT pg_advisory_xact_lock(hashtextextended('models ' || :tenant, 0))")
        await self.connection.execute(lock, {"tenant": str(self.tenant_id)})
        in_use = (self.table.c.tenant_id == self.tenant_id, self.table.c.archived_at.is_(None))
        found: int = (await self.connection.execute(select(func.count()).where(*in_use))).scalar_one()
        return found
