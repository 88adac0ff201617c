"""One transaction with its repositories; leaving it without `commit` rolls back."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncTransaction

from domain.model.identity import TenantId
from domain.model.project import Project
from domain.model.role import Role
from domain.model.task import Task
from domain.model.team import Team
from domain.model.tool import Tool
from domain.ports import UnitOfWork, UnitsOfWork
from persistence.errors import translated
from persistence.repositories.approvals import ApprovalsTable
from persistence.repositories.credentials import CredentialsTable
from persistence.repositories.definitions import TeamDefinitionsTable
from persistence.repositories.executions import ExecutionsTable, IdempotencyKeysTable
from persistence.repositories.generations import GenerationsTable
from persistence.repositories.models import ModelsTable
from persistence.repositories.optimizations import OptimizationsTable
from persistence.repositories.schedules import SchedulesTable
from persistence.repositories.templates import TemplatesTable
from persistence.repositories.tenants import TenantsTable
from persistence.repositories.things import Things
from persistence.repositories.webhooks import WebhooksTable


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
        self.webhooks = WebhooksTable(connection, tenant_id)
        self.tenants = TenantsTable(connection, tenant_id)
        self.definitions = TeamDefinitionsTable(connection, tenant_id)
        self.executions = ExecutionsTable(connection, tenant_id)
        self.approvals = ApprovalsTable(connection, tenant_id)
        self.schedules = SchedulesTable(connection, tenant_id)
        self.generations = GenerationsTable(connection, tenant_id)
        self.templates = TemplatesTable(connection, tenant_id)
        self.optimizations = OptimizationsTable(connection, tenant_id)
        self.idempotency = IdempotencyKeysTable(connection, tenant_id)
        self.nested: UnitsOfWork = _Nested(connection)

    async def wait_at_most(self, seconds: float) -> None:
        limit = {"limit": f"{int(seconds * 1000)}ms"}
        await self.connection.execute(text("SELECT set_config('lock_timeout', :limit, true)"), limit)

    async def commit(self) -> None:
        with translated():
            await self.connection.commit()


class _NestedUnitOfWork(SqlUnitOfWork):
    """One within another: a savepoint of its transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId, savepoint: AsyncTransaction) -> None:
        super().__init__(connection, tenant_id)
        self.savepoint = savepoint

    async def commit(self) -> None:
        with translated():
            await self.savepoint.commit()


class _Nested:
    """Opens units of work within the transaction of a connection."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection

    def __call__(self, tenant_id: TenantId) -> AbstractAsyncContextManager[UnitOfWork]:
        return self._open(tenant_id)

    @asynccontextmanager
    async def _open(self, tenant_id: TenantId) -> AsyncIterator[UnitOfWork]:
        with translated():
            savepoint = await self.connection.begin_nested()
            try:
                yield _NestedUnitOfWork(self.connection, tenant_id, savepoint)
            finally:
                if savepoint.is_active:
                    await savepoint.rollback()


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
