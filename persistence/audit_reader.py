"""Reads the audit through a cursor of the server, a batch at a time; its pages are read as those of any list."""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from sqlalchemy import DateTime, Uuid, bindparam, select

from domain.model.audit import AuditEntry
from domain.model.identity import TenantId
from domain.model.page import Condition, Operator
from domain.ports.audit import AuditTrail
from persistence import tables
from persistence.errors import reachable
from persistence.export_reader import snapshot
from persistence.mapping import builder_of, columns_of, remembered
from persistence.reader import Compiled, comparison, condition_values

if TYPE_CHECKING:
    import asyncpg

BATCH: Final = 100
"""How many entries are read at a time: one may hold the long texts of a task twice."""

# An entry has the moment of its change, and is seen when the transaction is committed: meanwhile later ones are seen
# already. Each such transaction holds a lock that is named after the second in which it began (alembic/versions/0010).
# What happened before all of them, and before this look, is seen whole by whoever looks next.
_SETTLED: Final = """
    WITH look AS MATERIALIZED (SELECT clock_timestamp() AS at)
    SELECT least(look.at, (
        SELECT to_timestamp(min(objid::bigint) + 1500000000) FROM pg_locks
        WHERE look.at IS NOT NULL AND locktype = 'advisory' AND classid = 1096107337 AND objsubid = 2
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    )) FROM look
"""


class SqlAuditTrail:
    """See `domain.ports.audit.AuditTrail`. `seconds` is how long a client may take for all of it."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", seconds: float) -> None:
        self.pool = pool
        self.seconds = seconds

    async def entries(
        self, tenant_id: TenantId, conditions: Sequence[Condition]
    ) -> AsyncGenerator[Sequence[AuditEntry], None]:
        statement = _entries(tuple((each.field, each.operator) for each in conditions))
        values = {"tenant_id": tenant_id, **condition_values(conditions)}
        build = builder_of(AuditEntry)
        with reachable():
            settled: datetime = await self.pool.fetchval(_SETTLED)  # before the snapshot
            arguments = statement.arguments({**values, "settled": settled})
            async with snapshot(self.pool, self.seconds) as connection:
                cursor = await connection.cursor(statement.text, *arguments)
                while rows := await cursor.fetch(BATCH):
                    yield [build(row) for row in rows]


@remembered
def _entries(conditions: tuple[tuple[str, Operator], ...]) -> Compiled:
    table = tables.audit_entry
    comparisons = (comparison(table.c[name], operator, index) for index, (name, operator) in enumerate(conditions))
    return Compiled.of(
        select(*columns_of(AuditEntry))
        .where(table.c.tenant_id == bindparam("tenant_id", type_=Uuid()), *comparisons)
        .where(table.c.occurred_at < bindparam("settled", type_=DateTime(timezone=True)))
        .order_by(table.c.occurred_at, table.c.id)
    )


def _conforms(trail: SqlAuditTrail) -> AuditTrail:
    return trail
