"""A tenant's own templates with their versions, and what was made of templates, as mutations need them."""

from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import NotFound
from domain.model.identity import TenantId
from domain.model.template import Template, TemplateUse, TemplateVersion
from domain.ports import Templates
from persistence import tables
from persistence.errors import translated
from persistence.mapping import builder_of, columns_of, values_of
from persistence.repositories.things import Things


class TemplatesTable(Things[Template]):
    """See `domain.ports.Templates`."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        super().__init__(connection, tenant_id, Template)

    async def lock(self, identifier: UUID) -> Template:
        found = await self._locked(self.table.c.id == identifier)
        if found is None:
            raise NotFound("Template", identifier)
        return found

    async def lock_named(self, name: str) -> Template | None:
        return await self._locked(self.table.c.name == name, self.table.c.archived_at.is_(None))

    async def _locked(self, *conditions: Any) -> Template | None:
        statement = select(*columns_of(Template)).where(self.table.c.tenant_id == self.tenant_id, *conditions)
        row = (await self.connection.execute(statement.with_for_update())).one_or_none()
        return None if row is None else builder_of(Template)(row)

    async def line_up(self) -> None:
        lock = text("SELECT pg_advisory_xact_lock(hashtextextended('templates ' || :tenant, 0))")
        with translated():
            await self.connection.execute(lock, {"tenant": str(self.tenant_id)})

    async def count(self) -> int:
        in_use = (self.table.c.tenant_id == self.tenant_id, self.table.c.archived_at.is_(None))
        found: int = (await self.connection.execute(select(func.count()).where(*in_use))).scalar_one()
        return found

    async def add_version(self, version: TemplateVersion) -> None:
        with translated():
            await self.connection.execute(insert(tables.template_version).values(values_of(version)))

    async def find_version(self, identifier: UUID, number: int) -> TemplateVersion | None:
        table = tables.template_version
        statement = select(*columns_of(TemplateVersion)).where(
            table.c.tenant_id == self.tenant_id, table.c.template_id == identifier, table.c.number == number
        )
        row = (await self.connection.execute(statement)).one_or_none()
        return None if row is None else builder_of(TemplateVersion)(row)

    async def add_use(self, use: TemplateUse) -> None:
        with translated():
            await self.connection.execute(insert(tables.template_use).values(values_of(use)))


def _conforms(templates: TemplatesTable) -> Templates:
    return templates
