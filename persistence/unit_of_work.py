"""One transaction with its repositories; leaving it without `commit` rolls back."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncTransaction

from domain.model.acting import Act, acting, origin
from domain.model.identity import TenantId
from domain.model.project import Project
from domain.model.role import Role
from domain.model.task import Task
from domain.model.team import Team
from domain.model.tool import Tool
from domain.ports import UnitOfWork, UnitsOfWork
from persistence.errors import translated
from persistence.repositories.alerts import AlertRulesTable
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
        self.alert_rules = AlertRulesTable(connection, tenant_id)
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
                act = acting.get()
                if act is not None:
                    await connection.execute(_ACT, _told(act))
                yield SqlUnitOfWork(connection, tenant_id)


# For the transaction alone: the triggers of the audit read it. The server takes no NULL, so it is an empty text.
_ACT = text(
    "SELECT set_config('regatta.operation', :operation, true), set_config('regatta.principal', :principal, true),"
    " set_config('regatta.request_id', :request_id, true), set_config('regatta.address', :address, true),"
    " set_config('regatta.user_agent', :user_agent, true)"
)


def _told(act: Act) -> dict[str, str]:
    """Who is acting, and from where, as far as anybody knows."""
    came = origin.get()
    return {
        "operation": act.operation,
        "principal": str(act.principal_id or ""),
        "request_id": came.request_id if came else "",
        "address": (came and came.address) or "",
        "user_agent": (came and came.user_agent) or "",
    }


def _conforms(units: SqlUnitsOfWork) -> UnitsOfWork:
    return units
