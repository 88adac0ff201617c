"""What the workers do and who waits, as one tenant may see it: of other tenants' executions there are numbers alone."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from domain.model.execution import Execution
from domain.model.identity import TenantId
from domain.model.resources import Resources, Slots, Worker
from persistence.errors import reachable
from persistence.mapping import builder_of, names_of
from persistence.model_reader import ALIVE_SECONDS

if TYPE_CHECKING:
    import asyncpg

MOST_WORKERS: Final = 1000
MOST_OF_ONE: Final = 100
"""So many executions are shown of a worker: its oldest."""

_WORKERS: Final = """
    SELECT id, started_at, heartbeat_at, heartbeat_at > now() - make_interval(secs => $1), is_taking, places,
        (SELECT count(*) FROM admission WHERE admission.worker_id = worker.id), cpu_percent, memory_percent
    FROM worker ORDER BY started_at, id LIMIT $2
"""
_QUEUE: Final = """
    SELECT (SELECT coalesce(sum(places), 0) FROM worker WHERE heartbeat_at > now() - make_interval(secs => $2))
            AS places,
        count(*) FILTER (WHERE worker_id IS NOT NULL) AS used,
        count(*) FILTER (WHERE worker_id IS NULL) AS waiting,
        count(*) FILTER (WHERE worker_id IS NOT NULL AND tenant_id = $1) AS own_used,
        count(*) FILTER (WHERE worker_id IS NULL AND tenant_id = $1) AS own_waiting,
        extract(epoch FROM now() - min(waiting_since) FILTER (WHERE worker_id IS NULL))::float8 AS oldest,
        extract(epoch FROM now() - min(waiting_since) FILTER (WHERE worker_id IS NULL AND tenant_id = $1))::float8
            AS own_oldest,
        (SELECT max_parallel_executions FROM tenant WHERE id = $1) AS most
    FROM admission
"""
_EXECUTION: Final = ", ".join(f"execution.{name}" for name in names_of(Execution))
_RUNNING: Final = f"""
    SELECT {_EXECUTION}, place.admitted_on FROM (
        SELECT execution_id, worker_id AS admitted_on, admitted_at,
            row_number() OVER (PARTITION BY worker_id ORDER BY admitted_at, execution_id) AS number
        FROM admission WHERE tenant_id = $1 AND worker_id = ANY($2::text[])
    ) AS place
    JOIN execution ON execution.tenant_id = $1 AND execution.id = place.execution_id
    WHERE place.number <= $3 ORDER BY place.admitted_at, place.execution_id LIMIT $4
"""  # noqa: S608 - our own columns


class ResourcesReader:
    """The questions of `domain.ports.Reader` about workers. All raise Unavailable while the database is silent."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self.pool = pool

    async def resources(self, tenant_id: TenantId) -> Resources:
        with reachable():
            workers = await self.pool.fetch(_WORKERS, ALIVE_SECONDS, MOST_WORKERS)
            [queue] = await self.pool.fetch(_QUEUE, tenant_id, ALIVE_SECONDS)
        return Resources(
            [Worker(*row) for row in workers],
            Slots(queue["places"], queue["used"]),
            queue["own_waiting"],
            queue["waiting"],
            queue["own_used"],
            queue["most"],
            _seconds(queue["own_oldest"]),
            _seconds(queue["oldest"]),
        )

    async def running_on(
        self, tenant_id: TenantId, worker_ids: Sequence[str], limit: int | None = None
    ) -> Mapping[str, Sequence[Execution]]:
        with reachable():
            rows = await self.pool.fetch(_RUNNING, tenant_id, list(worker_ids), MOST_OF_ONE, limit)
        build, found = builder_of(Execution), dict[str, list[Execution]]()
        for row in rows:
            found.setdefault(row["admitted_on"], []).append(build(row))
        return found


def _seconds(waited: float | None) -> float | None:
    """Never less than none: `waiting_since` may come from the clock of another machine."""
    return None if waited is None else max(0.0, waited)
