"""Generations as mutations need them; the worker's side is `persistence.generation_store`."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import NotFound
from domain.model.generation import Generation
from domain.model.identity import BatchId, TenantId
from persistence.errors import translated
from persistence.mapping import builder_of, columns_of, values_of
from persistence.tables import generation as table

_DECIDED: Final = (
    "status",
    "stage",
    "accepted_team_id",
    "rejection_reason",
    "rating",
    "feedback",
    "finished_at",
    "decided_at",
)
"""What people change of a generation; the rest is written by whoever works on it."""

_WORKING: Final = text("status IN ('PENDING', 'ANALYSING', 'COMPOSING', 'VALIDATING')")
"""Written out, as the partial index has it."""


class GenerationsTable:
    """See `domain.ports.Generations`."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self.connection = connection
        self.tenant_id = tenant_id

    async def get(self, identifier: UUID) -> Generation:
        return await self._one(select(*columns_of(Generation)), identifier)

    async def lock(self, identifier: UUID) -> Generation:
        # Not for the key: a model call in flight that is booked refers to it, and need not wait.
        return await self._one(select(*columns_of(Generation)).with_for_update(key_share=True), identifier)

    async def _one(self, statement: Any, identifier: UUID) -> Generation:
        row = (await self.connection.execute(statement.where(*self._is(identifier)))).one_or_none()
        if row is None:
            raise NotFound("Generation", identifier)
        return builder_of(Generation)(row)

    async def add(self, *generations: Generation) -> None:
        if generations:
            with translated():
                await self.connection.execute(insert(table), [values_of(generation) for generation in generations])

    async def working(self, most: int) -> int:
        its = select(table.c.id).where(table.c.tenant_id == self.tenant_id, _WORKING).limit(most)
        counted = await self.connection.execute(select(func.count()).select_from(its.subquery()))
        return int(counted.scalar_one())

    async def of_batch(self, batch_id: BatchId) -> Sequence[Generation]:
        its = (table.c.tenant_id == self.tenant_id, table.c.batch_id == batch_id)
        rows = await self.connection.execute(select(*columns_of(Generation)).where(*its).order_by(table.c.id))
        return [builder_of(Generation)(row) for row in rows]

    async def save(self, generation: Generation) -> None:
        every = values_of(generation)
        values: dict[str, Any] = {name: every[name] for name in _DECIDED}
        if generation.is_over:
            # Whoever worked on it writes nothing any more, and nobody repeats the calls that were kept for that.
            values |= {"owner_epoch": table.c.owner_epoch + 1, "worker_id": None, "locked_until": None, "calls": []}
        statement = update(table).where(*self._is(generation.id)).values(sequence=table.c.sequence + 1, **values)
        with translated():
            generation.sequence = (await self.connection.execute(statement.returning(table.c.sequence))).scalar_one()

    def _is(self, identifier: UUID) -> tuple[Any, Any]:
        return table.c.tenant_id == self.tenant_id, table.c.id == identifier
