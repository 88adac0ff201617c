"""The tenant's own row."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import NotFound
from domain.model.identity import TenantId
from domain.model.project import Tenant
from persistence import tables
from persistence.errors import translated
from persistence.mapping import builder_of, columns_of


class TenantsTable:
    """See `domain.ports.Tenants`. The application's role may write the limits, and nothing else of the row."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self.connection = connection
        self.tenant_id = tenant_id

    async def set_limits(self, limits: Mapping[str, Any]) -> Tenant:
        statement = (
            update(tables.tenant)
            .where(tables.tenant.c.id == self.tenant_id)
            .values(dict(limits))
            .returning(*columns_of(Tenant))
        )
        with translated():
            row = (await self.connection.execute(statement)).one_or_none()
        if row is None:
            raise NotFound("Tenant", self.tenant_id)
        return builder_of(Tenant)(row)
