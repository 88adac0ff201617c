"""The queue of the executions in front of all workers: who is given a place, and what is given back."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from domain.model.identity import AdmissionId, ExecutionId, TenantId
from domain.ports import AdmissionKey, Released
from persistence.errors import reachable

if TYPE_CHECKING:
    import asyncpg

_ADMIT = "SELECT tenant_id, execution_id, id FROM admit_executions($1, $2, $3)"
_HELD = "SELECT tenant_id, execution_id, id FROM admission WHERE worker_id = $1"
_RELEASE = "SELECT tenant_id, execution_id, became FROM release_executions($1, $2)"


class SqlAdmissions:
    """See `domain.ports.Admissions`. Each is one statement: no worker that stalls between two holds up the others.

    All raise Unavailable while the database does not answer.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self.pool = pool

    async def admit(self, worker_id: str, places: int, most: int | None) -> Sequence[AdmissionKey]:
        with reachable():
            rows = await self.pool.fetch(_ADMIT, worker_id, places, most)
        return [_key(row) for row in rows]

    async def held_by(self, worker_id: str) -> Sequence[AdmissionKey]:
        with reachable():
            rows = await self.pool.fetch(_HELD, worker_id)
        return [_key(row) for row in rows]

    async def release(self, worker_id: str, only: Sequence[AdmissionId] | None = None) -> Released:
        with reachable():
            rows = await self.pool.fetch(_RELEASE, worker_id, None if only is None else list(only))
        became = [row["became"] for row in rows]
        return Released(
            became.count("WAITING"),
            [
                (TenantId(row["tenant_id"]), ExecutionId(row["execution_id"]))
                for row in rows
                if row["became"] == "CANCELLING"
            ],
            became.count("HELD"),
        )


def _key(row: "asyncpg.Record") -> AdmissionKey:
    return AdmissionKey(TenantId(row["tenant_id"]), ExecutionId(row["execution_id"]), AdmissionId(row["id"]))
