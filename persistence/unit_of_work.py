"""One transaction with its repositories; leaving it without `commit` rolls back."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.model.identity import TenantId
from domain.model.project import Project
from domain.model.role import Role
from domain.model.task import Task
from domain.model.team import Team
from domain.model.tool import Tool
from domain.ports import UnitOfWork, UnitsOfWork
from persistence.errors import translated
from persistence.repositories.credentials import CredentialsTable
from persistence.repositories.definitions import TeamDefinitionsTable
from persistence.repositories.executions import ExecutionsTable, IdempotencyKeysTable
from persistence.repositories.models import ModelsTable
from persistence.repositories.tenants import TenantsTable
from persistence.repositories.things import Things


class SqlUnitOfWork:
    """See `domain.ports.UnitOfWork`."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self.connection = connection
        self.tenant_id = tenant_id
        self.projects = Things(connection, tenant_id, Project)
        self.teams = Things(connection, tenant_id, Team)
        self.roles = Things(connection, tenant_id, Role)
        self.tasks = Things(connection, tenant_id, Task)
        self.tools = Things(connection, tenant_id, Tool)
        self.models = ModelsTable(connection, tenant_id)
        self.credentials = CredentialsTable(connection, tenant_id)
        self.tenants = TenantsTable(connection, tenant_id)
        self.definitions = TeamDefinitionsTable(connection, tenant_id)
        self.executions = ExecutionsTable(connection, tenant_id)
        self.idempotency = IdempotencyKeysTable(connection, tenant_id)

    async def commit(self) -> None:
        with translated():
            await self.connection.commit()


class SqlUnitsOfWork:
    """Opens units of work on an engine."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    def __call__(self, tenant_id: TenantId) -> AbstractAsyncContextManager[UnitOfWork]:
        return self._open(tenant_id)

    @asynccontextmanager
    async def _open(self, tenant_id: TenantId) -> AsyncIterator[UnitOfWork]:
        with translated():
            async with self.engine.connect() as connection:
                yield SqlUnitOfWork(connection, tenant_id)


def _conforms(units: SqlUnitsOfWork) -> UnitsOfWork:
    return units
