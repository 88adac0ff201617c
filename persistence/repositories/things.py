"""Projects, teams, roles, tasks, tools and models: add, get, and update under a version."""

from dataclasses import replace
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import NotFound, StaleVersion
from domain.model.alert import AlertRule
from domain.model.identity import TenantId, utc_now
from domain.model.model import Model
from domain.model.project import Project
from domain.model.role import Role
from domain.model.schedule import Schedule
from domain.model.task import Task
from domain.model.team import Team
from domain.model.template import Template
from domain.model.tool import Tool
from persistence.errors import translated
from persistence.mapping import builder_of, columns_of, values_of
from persistence.tables import TABLES

Thing = TypeVar("Thing", Project, Team, Role, Task, Tool, Model, Schedule, Template, AlertRule)


class Things(Generic[Thing]):
    """The repository of one kind of thing that people edit."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId, kind: type[Thing]) -> None:
        self.connection = connection
        self.tenant_id = tenant_id
        self.kind: type[Thing] = kind
        self.table = TABLES[kind]

    async def get(self, identifier: UUID) -> Thing:
        statement = select(*columns_of(self.kind)).where(*self._is(identifier))
        row = (await self.connection.execute(statement)).one_or_none()
        if row is None:
            raise NotFound(self.kind.__name__, identifier)
        found: Thing = builder_of(self.kind)(row)
        return found

    async def add(self, entity: Thing) -> None:
        with translated():
            await self.connection.execute(insert(self.table).values(values_of(entity)))

    async def update(self, entity: Thing) -> Thing:
        changed = replace(entity, version=entity.version + 1, updated_at=utc_now())
        unchanging = {"tenant_id", "id", "created_at", "created_by"}
        values = {name: value for name, value in values_of(changed).items() if name not in unchanging}
        statement = (
            update(self.table).where(*self._is(entity.id), self.table.c.version == entity.version).values(values)
        )
        with translated():
            result = await self.connection.execute(statement)
        if result.rowcount == 0:
            actual = await self.get(entity.id)
            raise StaleVersion(self.kind.__name__, entity.version, actual.version)
        return changed

    def _is(self, identifier: UUID) -> tuple[Any, Any]:
        return self.table.c.tenant_id == self.tenant_id, self.table.c.id == identifier
