"""Approvals as mutations need them; the worker's side is `persistence.run_store`."""

from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import NotFound
from domain.model.approval import Approval, ApprovalStatus
from domain.model.identity import ExecutionId, TenantId, utc_now
from persistence import tables
from persistence.mapping import builder_of, columns_of, values_of


class ApprovalsTable:
    """See `domain.ports.Approvals`."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self.connection = connection
        self.tenant_id = tenant_id

    async def lock(self, identifier: UUID) -> Approval:
        await self._lock_execution((await self._find(identifier)).execution_id)
        return await self._find(identifier)  # as it is now that nobody else decides

    async def lock_free(self, identifier: UUID) -> Approval | None:
        execution_id = (await self._find(identifier)).execution_id
        return await self._find(identifier) if await self._lock_execution(execution_id, skip_locked=True) else None

    async def _find(self, identifier: UUID) -> Approval:
        table = tables.approval
        statement = select(*columns_of(Approval)).where(table.c.tenant_id == self.tenant_id, table.c.id == identifier)
        row = (await self.connection.execute(statement)).one_or_none()
        if row is None:
            raise NotFound("Approval", identifier)
        return builder_of(Approval)(row)

    async def _lock_execution(self, execution_id: ExecutionId, *, skip_locked: bool = False) -> bool:
        table = tables.execution_sequence
        statement = select(table.c.last_sequence).where(
            table.c.tenant_id == self.tenant_id, table.c.execution_id == execution_id
        )
        found = await self.connection.execute(statement.with_for_update(skip_locked=skip_locked))
        return found.one_or_none() is not None

    async def save(self, approval: Approval) -> None:
        table = tables.approval
        names = ("status", "answer", "decided_at", "decided_by")
        every = values_of(approval)
        await self.connection.execute(
            update(table)
            .where(
                table.c.tenant_id == self.tenant_id,
                table.c.id == approval.id,
                table.c.status == ApprovalStatus.PENDING.value,
            )
            .values({name: every[name] for name in names})
        )

    async def cancel_open(self, execution_id: ExecutionId) -> None:
        table = tables.approval
        await self.connection.execute(
            update(table)
            .where(
                table.c.tenant_id == self.tenant_id,
                table.c.execution_id == execution_id,
                table.c.status == ApprovalStatus.PENDING.value,
            )
            .values(status=ApprovalStatus.CANCELLED.value, decided_at=utc_now())
        )
