"""Optimizations as mutations need them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import NotFound
from domain.model.identity import TeamId, TenantId
from domain.model.optimization import Goal, Optimization, OptimizationStatus
from persistence.errors import translated
from persistence.mapping import builder_of, columns_of, values_of
from persistence.tables import optimization as table

_CHANGING = ("status", "applied_at", "undone_at")


class OptimizationsTable:
    """See `domain.ports.optimizations.Optimizations`."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self.connection = connection
        self.tenant_id = tenant_id

    async def get(self, identifier: UUID) -> Optimization:
        found = await self._all(table.c.id == identifier)
        if not found:
            raise NotFound("Optimization", identifier)
        return found[0]

    async def add(self, *optimizations: Optimization) -> None:
        if optimizations:
            with translated():
                await self.connection.execute(insert(table), [values_of(each) for each in optimizations])

    async def save(self, optimization: Optimization) -> None:
        every = values_of(optimization)
        statement = update(table).where(table.c.tenant_id == self.tenant_id, table.c.id == optimization.id)
        await self.connection.execute(statement.values({name: every[name] for name in _CHANGING}))

    async def proposed(self, team_id: TeamId) -> Sequence[Optimization]:
        return await self._all(table.c.team_id == team_id, table.c.status == OptimizationStatus.PROPOSED.value)

    async def proposed_with(self, first: UUID) -> Sequence[Optimization]:
        same = table.alias("first")
        moment = select(same.c.team_id, same.c.goal, same.c.created_at).where(
            same.c.tenant_id == self.tenant_id, same.c.id == first
        )
        found = (await self.connection.execute(moment)).one_or_none()
        if found is None:
            return []
        team_id, goal, created_at = found
        return await self._all(table.c.team_id == team_id, table.c.goal == goal, table.c.created_at == created_at)

    async def supersede(self, team_id: TeamId, goal: Goal) -> None:
        await self.connection.execute(
            update(table)
            .where(
                table.c.tenant_id == self.tenant_id,
                table.c.team_id == team_id,
                table.c.goal == goal.value,
                table.c.status == OptimizationStatus.PROPOSED.value,
            )
            .values(status=OptimizationStatus.SUPERSEDED.value)
        )

    async def last_changed(self, team_id: TeamId) -> datetime | None:
        # Of what is PROPOSED or SUPERSEDED both are null; what was undone was applied before that.
        statement = select(func.max(func.greatest(table.c.applied_at, table.c.undone_at))).where(
            table.c.tenant_id == self.tenant_id, table.c.team_id == team_id
        )
        found: datetime | None = (await self.connection.execute(statement)).scalar_one()
        return found

    async def _all(self, *conditions: Any) -> Sequence[Optimization]:
        statement = select(*columns_of(Optimization)).where(table.c.tenant_id == self.tenant_id, *conditions)
        build = builder_of(Optimization)
        return [build(row) for row in await self.connection.execute(statement.order_by(table.c.id))]
