"""The graph's batched questions about control: approvals, dependencies of a run, and what a cancel found."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from domain.model.alert import Alert
from domain.model.approval import Approval
from domain.model.execution import CancelReport, TaskExecution
from domain.model.identity import TenantId
from persistence.errors import reachable
from persistence.mapping import builder_of, names_of

if TYPE_CHECKING:
    import asyncpg

_APPROVAL: Final = ", ".join(names_of(Approval))
_TASK: Final = ", ".join(f"task.{name}" for name in names_of(TaskExecution))

# Two lists, each by an index of its own: the open ones, and what was decided a moment ago.
_ACTIVITY: Final = f"""
    (SELECT {_APPROVAL} FROM approval WHERE tenant_id = $1 AND status = 'PENDING'
        ORDER BY created_at DESC, id DESC LIMIT $3)
    UNION ALL
    (SELECT {_APPROVAL} FROM approval WHERE tenant_id = $1 AND decided_at IS NOT NULL AND decided_at >= $2
        ORDER BY decided_at DESC LIMIT $3)
"""  # noqa: S608 - our own columns
_ALERT: Final = ", ".join(names_of(Alert))
_ALERTS: Final = f"""
    (SELECT {_ALERT} FROM alert WHERE tenant_id = $1 AND state = 'FIRING'
        ORDER BY fired_at DESC, id DESC LIMIT $3)
    UNION ALL
    (SELECT {_ALERT} FROM alert WHERE tenant_id = $1 AND state = 'RESOLVED' AND changed_at >= $2
        ORDER BY changed_at DESC LIMIT $3)
"""  # noqa: S608 - our own columns
_AWAITED: Final = f"""
    SELECT {_TASK}, waiting.id FROM task_execution AS waiting
    JOIN task_execution AS task ON task.tenant_id = waiting.tenant_id AND task.id = ANY(waiting.waits_for)
    WHERE waiting.tenant_id = $1 AND waiting.id = ANY($2::uuid[]) ORDER BY task.position, task.id LIMIT $3
"""  # noqa: S608 - our own columns
_CANCELLED: Final = """
    SELECT execution.id, tasks.total, tasks.done, tasks.running, coalesce(spent.cost, 0)
    FROM execution
    CROSS JOIN LATERAL (
        SELECT count(*) AS total,
            count(*) FILTER (WHERE status IN ('COMPLETED', 'REUSED') AND finished_at <= cancel_requested_at) AS done,
            coalesce(array_agg(name ORDER BY position) FILTER (WHERE started_at <= cancel_requested_at
                AND (finished_at IS NULL OR finished_at > cancel_requested_at)), '{}') AS running
        FROM task_execution AS task
        WHERE task.tenant_id = execution.tenant_id AND task.execution_id = execution.id
    ) AS tasks
    CROSS JOIN LATERAL (
        SELECT sum(cost) AS cost FROM ledger_entry AS entry
        WHERE entry.tenant_id = execution.tenant_id AND entry.execution_id = execution.id
            AND entry.booked_at >= execution.cancel_requested_at
    ) AS spent
    WHERE execution.tenant_id = $1 AND execution.id = ANY($2::uuid[]) AND execution.cancel_requested_at IS NOT NULL
"""


class ControlReader:
    """A part of `domain.ports.Reader`."""

    pool: "asyncpg.Pool[asyncpg.Record]"

    async def approval_activity(self, tenant_id: TenantId, since: datetime, limit: int) -> Sequence[Approval]:
        with reachable():
            rows = await self.pool.fetch(_ACTIVITY, tenant_id, since, limit)
        return [builder_of(Approval)(row) for row in rows]

    async def alert_activity(self, tenant_id: TenantId, since: datetime, limit: int) -> Sequence[Alert]:
        with reachable():
            rows = await self.pool.fetch(_ALERTS, tenant_id, since, limit)
        return [builder_of(Alert)(row) for row in rows]

    async def awaited_tasks(
        self, tenant_id: TenantId, ids: Sequence[UUID], limit: int | None = None
    ) -> Mapping[UUID, Sequence[TaskExecution]]:
        with reachable():
            rows = await self.pool.fetch(_AWAITED, tenant_id, list(ids), limit)
        build, width = builder_of(TaskExecution), len(names_of(TaskExecution))
        found: dict[UUID, list[TaskExecution]] = {}
        for row in rows:
            found.setdefault(row[width], []).append(build(row))
        return found

    async def cancel_reports(self, tenant_id: TenantId, ids: Sequence[UUID]) -> Mapping[UUID, CancelReport]:
        with reachable():
            rows = await self.pool.fetch(_CANCELLED, tenant_id, list(ids))
        return {row[0]: CancelReport(*row[1:]) for row in rows}
