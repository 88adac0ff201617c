"""Which questions to humans nobody answered in time: of all tenants, for the workers' duties."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from domain.model.identity import ApprovalId, TenantId
from domain.ports import Expired, ExpiredApprovals
from persistence.errors import reachable

if TYPE_CHECKING:
    import asyncpg

# Without locks: whoever expires one locks its execution first, and looks again.
_EXPIRED: Final = """
    SELECT tenant_id, id, expires_at FROM approval
    WHERE status = 'PENDING' AND expires_at <= clock_timestamp() AND (expires_at, id) > ($2, $3)
    ORDER BY expires_at, id LIMIT $1
"""
_BEFORE_ALL: Final = (datetime.min.replace(tzinfo=UTC), UUID(int=0))


class SqlExpiredApprovals:
    """See `domain.ports.ExpiredApprovals`. Raises Unavailable while the database does not answer."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self.pool = pool

    async def find(self, limit: int, after: Expired | None = None) -> Sequence[Expired]:
        place = (after.expired_at, after.approval_id) if after else _BEFORE_ALL
        with reachable():
            rows = await self.pool.fetch(_EXPIRED, limit, *place)
        return [Expired(TenantId(row[0]), ApprovalId(row[1]), row[2]) for row in rows]


def _conforms(expired: SqlExpiredApprovals) -> ExpiredApprovals:
    return expired
