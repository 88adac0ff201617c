"""Reads what is exported through a cursor of the server: a batch at a time, all of one snapshot."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import Uuid, bindparam, func, select, text

from domain.model.budget import BudgetScope
from domain.model.execution import TASK_DONE, TaskExecutionStatus, Timing
from domain.model.exports import ExportedExecution
from domain.model.identity import TenantId
from domain.model.page import Condition, Operator
from domain.ports.exports import Exports
from persistence import tables
from persistence.errors import reachable
from persistence.mapping import remembered
from persistence.money_reader import SCOPES
from persistence.reader import Compiled, comparison, condition_values

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

BATCH: Final = 500
"""How many rows are read, and sent, at a time."""

# The server ends a transaction in which nothing happens for half a minute; here, a slow client may be what it waits
# for. Both hold for this transaction alone.
_PATIENCE: Final = "SELECT set_config('idle_in_transaction_session_timeout', $1, true)"

_DONE: Final = ", ".join(f"'{status.value}'" for status in TASK_DONE)
_FIGURES: Final = f"""
    SELECT wanted.id, called.calls, called.prompt, called.completion, worked.total, worked.done, worked.failed
    FROM unnest($2::uuid[]) AS wanted(id)
    LEFT JOIN (
        SELECT execution_id, count(*) AS calls, sum(prompt_tokens)::bigint AS prompt,
            sum(completion_tokens)::bigint AS completion
        FROM ledger_entry WHERE tenant_id = $1 AND execution_id = ANY($2::uuid[]) GROUP BY execution_id
    ) AS called ON called.execution_id = wanted.id
    LEFT JOIN (
        SELECT execution_id, count(*) AS total, count(*) FILTER (WHERE status IN ({_DONE})) AS done,
            count(*) FILTER (WHERE status = '{TaskExecutionStatus.FAILED.value}') AS failed
        FROM task_execution WHERE tenant_id = $1 AND execution_id = ANY($2::uuid[]) GROUP BY execution_id
    ) AS worked ON worked.execution_id = wanted.id
"""  # noqa: S608 - constants

_PROCESSES: Final = """
    SELECT id, content::jsonb #>> '{team,process}' FROM team_revision WHERE tenant_id = $1 AND id = ANY($2::uuid[])
"""


class SqlExports:
    """See `domain.ports.exports.Exports`. `seconds` is how long a client may take for all of it."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", seconds: float) -> None:
        self.pool = pool
        self.seconds = seconds

    async def executions(
        self, tenant_id: TenantId, conditions: Sequence[Condition]
    ) -> AsyncGenerator[Sequence[ExportedExecution], None]:
        statement = _executions(tuple((each.field, each.operator) for each in conditions))
        arguments = statement.arguments({"tenant_id": tenant_id, **condition_values(conditions)})
        with reachable():
            async with snapshot(self.pool, self.seconds) as connection:
                cursor = await connection.cursor(statement.text, *arguments)
                while rows := await cursor.fetch(BATCH):
                    figures = await _figures(connection, tenant_id, rows)
                    processes = await _processes(connection, tenant_id, rows)
                    yield [_exported(row, figures[row["id"]], processes[row["revision_id"]]) for row in rows]


@asynccontextmanager
async def snapshot(pool: "asyncpg.Pool[asyncpg.Record]", seconds: float) -> "AsyncIterator[Any]":
    """A connection that sees the database as it is now, until it is given back; the client may take so long."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(_PATIENCE, str(int(seconds * 1000)))
        yield connection


@remembered
def _executions(conditions: tuple[tuple[str, Operator], ...]) -> Compiled:
    table, team, project, account = tables.execution, tables.team, tables.project, tables.budget_account
    named = (
        "id",
        "team_id",
        "project_id",
        "revision_id",
        "status",
        "created_at",
        "started_at",
        "finished_at",
        "waited_seconds",
        "failure_code",
        "failure_message",
        "retry_of",
        "forked_from",
        "priority",
        "quality_preference",
        "started_by",
    )
    cost = func.coalesce(account.c.spent, text("0")).label("cost")
    is_cache_hit = table.c.cached_from.is_not(None).label("is_cache_hit")
    names = (team.c.name.label("team_name"), project.c.name.label("project_name"))
    here = table.c.tenant_id == bindparam("tenant_id", type_=Uuid())
    comparisons = (comparison(table.c[name], operator, index) for index, (name, operator) in enumerate(conditions))
    return Compiled.of(
        select(*(table.c[name] for name in named), cost, is_cache_hit, *names)
        .join(team, (team.c.tenant_id == table.c.tenant_id) & (team.c.id == table.c.team_id))
        .join(project, (project.c.tenant_id == table.c.tenant_id) & (project.c.id == table.c.project_id))
        .outerjoin(
            account,
            (account.c.tenant_id == table.c.tenant_id)
            & (account.c.scope_id == table.c.id)
            & text(f"budget_account.scope = {SCOPES.index(BudgetScope.EXECUTION)}")
            & text("budget_account.period = DATE '1970-01-01'"),
        )
        .where(here, *comparisons)
        .order_by(table.c.created_at, table.c.id)
    )


async def _figures(connection: Any, tenant_id: TenantId, rows: Sequence[Any]) -> dict[UUID, Sequence[int]]:
    """Of each execution: calls, prompt and completion tokens, tasks, tasks done, tasks failed."""
    found = await connection.fetch(_FIGURES, tenant_id, [row["id"] for row in rows])
    return {each[0]: [count or 0 for count in each[1:]] for each in found}


async def _processes(connection: Any, tenant_id: TenantId, rows: Sequence[Any]) -> dict[UUID, str]:
    """Of each revision; the team may have another process by now."""
    return dict(await connection.fetch(_PROCESSES, tenant_id, list({row["revision_id"] for row in rows})))


def _exported(row: Any, figures: Sequence[int], process: str) -> ExportedExecution:
    calls, prompt_tokens, completion_tokens, tasks_total, tasks_completed, tasks_failed = figures
    return ExportedExecution(
        id=row["id"],
        team_id=row["team_id"],
        team_name=row["team_name"],
        project_id=row["project_id"],
        project_name=row["project_name"],
        status=row["status"],
        process=process,
        timing=Timing(row["created_at"], row["started_at"], row["finished_at"], row["waited_seconds"]),
        cost=row["cost"],
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        calls=calls,
        tasks_total=tasks_total,
        tasks_completed=tasks_completed,
        tasks_failed=tasks_failed,
        failure_code=row["failure_code"],
        failure_message=row["failure_message"],
        retry_of=row["retry_of"],
        forked_from=row["forked_from"],
        is_cache_hit=row["is_cache_hit"],
        priority=row["priority"],
        quality_preference=row["quality_preference"],
        started_by=row["started_by"],
    )


def _conforms(exports: SqlExports) -> Exports:
    return exports
