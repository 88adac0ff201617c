"""What became of executions, summed up by the database: a fixed number of statements, whatever there is to sum."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from domain.model.catalogue import find_shipped
from domain.model.history import (
    ModelRecord,
    Quantiles,
    RoleHistory,
    SimilarHistory,
    TaskHistory,
    TaskRecord,
    TeamHistory,
)
from domain.model.identity import RoleId, TaskId, TeamId, TenantId
from domain.model.model import Tier
from domain.model.skill import SkillOutcome
from domain.model.team import Process
from domain.ports.histories import Histories, PresentHistories
from persistence.errors import reachable
from persistence.moments import Connection, at_one_moment

if TYPE_CHECKING:
    import asyncpg

MOST_EXECUTIONS: Final = 1_000
"""So many of a team are looked at, the newest."""

MOST_TEAMS: Final = 200
MOST_OF_EACH: Final = 50
"""So many other teams are looked at, the newest, and so many executions of each."""

MOST_SKILLS: Final = 1_000

_SHARES: Final = "ARRAY[0.1, 0.5, 0.9]::float8[]"

# Whoever ended before a moment was made before it: the index by team and creation leads to those that may have.
# A retry or a fork did a part of the work alone: it counts, but says nothing about what the whole of it takes. Nor does
# it run the team as it is, but the revision that it goes on from; neither does what was kicked off before a change.
_EXECUTIONS: Final = f"""
    WITH looked AS (
        SELECT * FROM execution
        WHERE tenant_id = $1 AND team_id = $2 AND status IN ('COMPLETED', 'FAILED', 'CANCELLED')
            AND cached_from IS NULL AND created_at < coalesce($4::timestamptz, 'infinity')
            AND (NOT $5::boolean OR (
                created_at >= coalesce($3::timestamptz, '-infinity') AND retry_of IS NULL AND forked_from IS NULL
            ))
        ORDER BY created_at DESC, id DESC LIMIT {MOST_EXECUTIONS}
    ), ended AS (
        SELECT looked.*, coalesce(account.spent, 0) AS cost,
            greatest(0, extract(epoch FROM finished_at - started_at)::float8 - waited_seconds) AS seconds,
            status = 'COMPLETED' AND retry_of IS NULL AND forked_from IS NULL AS is_whole
        FROM looked LEFT JOIN budget_account AS account ON account.tenant_id = $1 AND account.scope = 3
            AND account.scope_id = looked.id AND account.period = DATE '1970-01-01'
        WHERE finished_at >= coalesce($3::timestamptz, '-infinity')
            AND finished_at < coalesce($4::timestamptz, 'infinity')
    )
    SELECT coalesce(array_agg(id), '{{}}') AS ids, min(created_at) AS first,
        count(*) FILTER (WHERE status = 'COMPLETED') AS completed, count(*) FILTER (WHERE status = 'FAILED') AS failed,
        count(*) FILTER (WHERE status = 'CANCELLED') AS cancelled,
        count(*) FILTER (WHERE status <> 'CANCELLED' AND archived_at IS NULL) AS with_events,
        array_agg(created_at) FILTER (WHERE status <> 'CANCELLED' AND archived_at IS NULL) AS with_events_from,
        percentile_cont({_SHARES}) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE is_whole) AS seconds,
        percentile_cont({_SHARES}) WITHIN GROUP (ORDER BY cost::float8) FILTER (WHERE is_whole) AS costs,
        avg(seconds) FILTER (WHERE is_whole) AS mean_seconds, round(avg(cost) FILTER (WHERE is_whole), 12) AS mean_cost,
        array_agg(failure_code) FILTER (WHERE status = 'FAILED' AND failure_code IS NOT NULL) AS failures,
        (SELECT process FROM team WHERE tenant_id = $1 AND id = $2) AS process
    FROM ended
"""  # noqa: S608 - constants

# The time in which a human was asked is not the task's.
# Each is summed up once: a join with what is summed up anew for every row of the other side takes minutes.
_DONE: Final = """
    WITH asked AS MATERIALIZED (
        SELECT task_execution_id, sum(extract(epoch FROM decided_at - created_at)) AS seconds
        FROM approval WHERE tenant_id = $1 AND execution_id = ANY($3::uuid[]) AND decided_at IS NOT NULL
        GROUP BY task_execution_id
    ), done AS MATERIALIZED (
        SELECT each.id, each.task_id, each.role_id, each.created_at, each.status, each.attempts, each.failure_code,
            each.model, coalesce(account.spent, 0) AS cost,
            greatest(0, extract(epoch FROM each.finished_at - each.started_at) - coalesce(asked.seconds, 0))::float8
                AS seconds
        FROM task_execution AS each
        LEFT JOIN asked ON asked.task_execution_id = each.id
        LEFT JOIN budget_account AS account ON account.tenant_id = $1 AND account.scope = 4
            AND account.scope_id = each.id AND account.period = DATE '1970-01-01'
        WHERE each.tenant_id = $1 AND each.execution_id = ANY($3::uuid[]) AND each.status IN ('COMPLETED', 'FAILED')
    )
"""
_TASKS: Final = f"""
    {_DONE}, tokens AS MATERIALIZED (
        SELECT task_execution_id, sum(prompt_tokens)::float8 AS prompt, sum(completion_tokens)::float8 AS completion,
            count(*) FILTER (WHERE prompt_tokens > 0) AS calls
        FROM ledger_entry WHERE tenant_id = $1 AND execution_id = ANY($3::uuid[]) AND booked_at >= $4
        GROUP BY task_execution_id
    ), told AS (
        SELECT done.*, done.status = 'COMPLETED' AS is_completed, coalesce(tokens.prompt, 0) AS prompt,
            coalesce(tokens.completion, 0) AS completion, coalesce(tokens.calls, 0) AS calls
        FROM done LEFT JOIN tokens ON tokens.task_execution_id = done.id
    )
    SELECT task.id, task.name, task.guardrail IS NOT NULL AS is_guarded,
        count(*) FILTER (WHERE is_completed) AS completed, count(*) FILTER (WHERE NOT is_completed) AS failed,
        count(*) FILTER (WHERE attempts > 1) AS retried,
        count(*) FILTER (WHERE failure_code = 'GUARDRAIL_FAILED') AS guardrail_failed,
        percentile_cont({_SHARES}) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE is_completed) AS seconds,
        percentile_cont({_SHARES}) WITHIN GROUP (ORDER BY prompt) FILTER (WHERE is_completed) AS prompt_tokens,
        percentile_cont({_SHARES}) WITHIN GROUP (ORDER BY completion) FILTER (WHERE is_completed) AS completion_tokens,
        percentile_cont({_SHARES}) WITHIN GROUP (ORDER BY calls) FILTER (WHERE is_completed) AS calls,
        percentile_cont({_SHARES}) WITHIN GROUP (ORDER BY cost::float8) FILTER (WHERE is_completed) AS costs,
        coalesce(sum(cost), 0) AS total_cost
    FROM task LEFT JOIN told ON told.task_id = task.id AND (NOT $5::boolean OR told.created_at >= task.updated_at)
    WHERE task.tenant_id = $1 AND task.team_id = $2 AND task.archived_at IS NULL
    GROUP BY task.id, task.name, task.guardrail, task.position ORDER BY task.position, task.id
"""  # noqa: S608 - constants
_ROLES: Final = f"""
    {_DONE}, paid AS MATERIALIZED (
        SELECT role_id, sum(cost) AS cost FROM ledger_entry
        WHERE tenant_id = $1 AND execution_id = ANY($3::uuid[]) AND booked_at >= $4 GROUP BY role_id
    )
    SELECT role.id, role.title, coalesce(paid.cost, 0) AS total_cost, done.model, done.task_id,
        count(*) FILTER (WHERE done.status = 'COMPLETED') AS completed,
        count(*) FILTER (WHERE done.status = 'FAILED') AS failed,
        coalesce(sum(done.cost), 0) AS cost, coalesce(sum(done.seconds), 0) AS seconds
    FROM role LEFT JOIN done ON done.role_id = role.id LEFT JOIN paid ON paid.role_id = role.id
    WHERE role.tenant_id = $1 AND role.team_id = $2 AND role.archived_at IS NULL
    GROUP BY role.id, role.title, role.position, paid.cost, done.model, done.task_id
    ORDER BY role.position, role.id, done.model, done.task_id
"""  # noqa: S608 - constants
_EVENTS: Final = """
    SELECT event.type, done.task_id, event.role_id, count(*) AS count FROM execution_event AS event
    LEFT JOIN task_execution AS done ON done.tenant_id = event.tenant_id AND done.id = event.task_execution_id
    LEFT JOIN task ON task.tenant_id = done.tenant_id AND task.id = done.task_id
    WHERE event.tenant_id = $1 AND event.execution_id = ANY($2::uuid[]) AND event.occurred_at >= $3
        AND event.type IN ('GuardrailChecked', 'WorkDelegated')
        AND (event.type = 'WorkDelegated' OR NOT (event.payload ->> 'is_passed')::boolean)
        AND (event.type = 'WorkDelegated' OR NOT $4::boolean OR done.created_at >= task.updated_at)
    GROUP BY event.type, done.task_id, event.role_id
"""
_TIERS: Final = "SELECT name, tier FROM model WHERE tenant_id = $1 AND name = ANY($2::text[]) AND archived_at IS NULL"

_SIMILAR: Final = f"""
    WITH alike AS (
        SELECT role.team_id FROM role CROSS JOIN LATERAL unnest(role.skills) AS skill
        WHERE role.tenant_id = $1 AND role.archived_at IS NULL AND role.team_id IS DISTINCT FROM $3::uuid
            AND lower(skill) = ANY($2::text[])
        GROUP BY role.team_id HAVING 2 * count(DISTINCT lower(skill)) >= cardinality($2::text[])
        ORDER BY role.team_id DESC LIMIT {MOST_TEAMS}
    )
    SELECT count(DISTINCT alike.team_id), count(*) FILTER (WHERE status = 'COMPLETED'),
        count(*) FILTER (WHERE status = 'FAILED')
    FROM alike CROSS JOIN LATERAL (
        SELECT status FROM execution
        WHERE tenant_id = $1 AND team_id = alike.team_id AND status IN ('COMPLETED', 'FAILED') AND cached_from IS NULL
        ORDER BY created_at DESC LIMIT {MOST_OF_EACH}
    ) AS ended
"""  # noqa: S608 - constants

# A generation may have changed a team that was there before: what it did before does not count.
_OUTCOMES: Final = f"""
    WITH accepted AS (
        SELECT accepted_team_id AS team_id, min(decided_at) AS since, avg(rating) AS rating FROM generation
        WHERE tenant_id = $1 AND accepted_team_id IS NOT NULL AND status = 'ACCEPTED'
        GROUP BY accepted_team_id ORDER BY max(decided_at) DESC LIMIT {MOST_TEAMS}
    ), outcome AS (
        SELECT accepted.team_id, accepted.rating, count(*) FILTER (WHERE status = 'COMPLETED') AS completed,
            count(*) FILTER (WHERE status = 'FAILED') AS failed
        FROM accepted LEFT JOIN LATERAL (
            SELECT status FROM execution
            WHERE tenant_id = $1 AND team_id = accepted.team_id AND created_at >= accepted.since
                AND status IN ('COMPLETED', 'FAILED') AND cached_from IS NULL
            ORDER BY created_at DESC LIMIT {MOST_OF_EACH}
        ) AS ended ON true
        GROUP BY accepted.team_id, accepted.rating
    ), has AS (
        SELECT role.team_id, lower(skill) AS folded, min(skill) AS skill
        FROM role CROSS JOIN LATERAL unnest(role.skills) AS skill
        WHERE role.tenant_id = $1 AND role.archived_at IS NULL
            AND role.team_id IN (SELECT team_id FROM accepted)
        GROUP BY role.team_id, lower(skill)
    )
    SELECT min(has.skill), count(*), sum(completed)::bigint, sum(failed)::bigint, avg(rating)::float8
    FROM has JOIN outcome ON outcome.team_id = has.team_id GROUP BY folded ORDER BY folded LIMIT {MOST_SKILLS}
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class _Looked:
    """The executions that a history is of."""

    tenant_id: TenantId
    team_id: TeamId
    ids: Sequence[UUID]
    first: datetime
    is_present: bool

    @property
    def arguments(self) -> tuple[Any, ...]:
        # Nothing of an execution is older than itself: partitions from before are not looked into.
        return self.tenant_id, self.team_id, self.ids, self.first


@dataclass(frozen=True, slots=True)
class _Told:
    """What events tell: outputs that did not pass, by task, and work that was handed on, by role."""

    refused: Mapping[UUID, int]
    delegated: Mapping[UUID, int]


class SqlHistories:
    """See `domain.ports.histories.Histories`. All raise Unavailable while the database does not answer.

    Skills are compared without regard to case. A retry or a fork counts as completed or failed, but says nothing of
    what a whole execution takes. A task that was interrupted by a pause took as long as that, too.

    A team's history is planned for the executions that it is of, and read as it was at one moment: a plan for any,
    which a connection would go over to, takes half a minute where there are a thousand of them.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self.pool = pool

    async def of_team(
        self, tenant_id: TenantId, team_id: TeamId, since: datetime | None = None, until: datetime | None = None
    ) -> TeamHistory:
        async with at_one_moment(self.pool) as connection:
            return await _history(connection, tenant_id, team_id, since, until, is_present=False)

    async def of_present_team(self, tenant_id: TenantId, team_id: TeamId, since: datetime | None = None) -> TeamHistory:
        async with at_one_moment(self.pool) as connection:
            return await _history(connection, tenant_id, team_id, since, None, is_present=True)

    async def of_similar(
        self, tenant_id: TenantId, skills: Sequence[str], without: TeamId | None = None
    ) -> SimilarHistory:
        wanted = sorted({skill.lower() for skill in skills})
        if not wanted:
            return SimilarHistory()
        [row] = await self._rows(_SIMILAR, tenant_id, wanted, without)
        return SimilarHistory(*row)

    async def skill_outcomes(self, tenant_id: TenantId) -> Sequence[SkillOutcome]:
        return [SkillOutcome(*row) for row in await self._rows(_OUTCOMES, tenant_id)]

    async def _rows(self, statement: str, *arguments: Any) -> "Sequence[asyncpg.Record]":
        with reachable():
            rows: Sequence[asyncpg.Record] = await self.pool.fetch(statement, *arguments)
        return rows


async def _history(
    connection: Connection,
    tenant_id: TenantId,
    team_id: TeamId,
    since: datetime | None,
    until: datetime | None,
    *,
    is_present: bool,
) -> TeamHistory:
    whole = await connection.fetchrow(_EXECUTIONS, tenant_id, team_id, since, until, is_present)
    if whole is None or not whole["ids"]:
        return TeamHistory(team_id, since, until)
    looked = _Looked(tenant_id, team_id, whole["ids"], whole["first"], is_present)
    tasks = await connection.fetch(_TASKS, *looked.arguments, is_present)
    roles = await connection.fetch(_ROLES, *looked.arguments)
    is_led = whole["process"] == Process.HIERARCHICAL.value
    told = await _told(connection, looked) if is_led or any(row["is_guarded"] for row in tasks) else _Told({}, {})
    tiers = await _tiers(connection, tenant_id, {row["model"] for row in roles if row["model"]})
    return replace(
        _team_history(team_id, whole),
        since=since,
        until=until,
        tasks=[_task_history(row, told) for row in tasks],
        roles=_role_histories(roles, told, tiers),
    )


async def _told(connection: Connection, looked: _Looked) -> _Told:
    rows = await connection.fetch(_EVENTS, looked.tenant_id, looked.ids, looked.first, looked.is_present)
    refused, delegated = Counter[UUID](), Counter[UUID]()
    for row in rows:
        if row["type"] == "WorkDelegated":
            delegated[row["role_id"]] += row["count"]
        else:
            refused[row["task_id"]] += row["count"]
    return _Told(refused, delegated)


async def _tiers(connection: Connection, tenant_id: TenantId, names: Iterable[str]) -> Mapping[str, Tier]:
    """The tier of each of the models that the catalogue has; the tenant's own entries before those that ship."""
    wanted = sorted(names)
    own = {row["name"]: Tier(row["tier"]) for row in await connection.fetch(_TIERS, tenant_id, wanted)}
    shipped = {name: model.tier for name in wanted if (model := find_shipped(name))}
    return shipped | own


def _team_history(team_id: TeamId, row: Any) -> TeamHistory:
    return TeamHistory(
        team_id,
        completed=row["completed"],
        failed=row["failed"],
        cancelled=row["cancelled"],
        with_events=row["with_events"],
        with_events_from=row["with_events_from"] or (),
        seconds=_quantiles(row["seconds"]),
        cost=_quantiles(row["costs"]),
        mean_seconds=row["mean_seconds"],
        mean_cost=row["mean_cost"],
        failures=Counter(row["failures"] or ()),
    )


def _task_history(row: Any, told: _Told) -> TaskHistory:
    return TaskHistory(
        TaskId(row["id"]),
        row["name"],
        completed=row["completed"],
        failed=row["failed"],
        retried=row["retried"],
        guardrail_failures=told.refused.get(row["id"], 0),
        guardrail_failed=row["guardrail_failed"],
        seconds=_quantiles(row["seconds"]),
        prompt_tokens=_quantiles(row["prompt_tokens"]),
        completion_tokens=_quantiles(row["completion_tokens"]),
        cost=_quantiles(row["costs"]),
        total_cost=row["total_cost"],
        calls=_quantiles(row["calls"]),
    )


def _role_histories(rows: Sequence[Any], told: _Told, tiers: Mapping[str, Tier]) -> list[RoleHistory]:
    """One for each role, in the order of the rows; there is one for each of its models and tasks, or one without."""
    by_role: dict[UUID, list[Any]] = defaultdict(list)
    for row in rows:
        by_role[row["id"]].append(row)
    return [
        RoleHistory(
            RoleId(identifier),
            own[0]["title"],
            completed=sum(row["completed"] for row in own),
            failed=sum(row["failed"] for row in own),
            delegated=told.delegated.get(identifier, 0),
            total_cost=own[0]["total_cost"],
            models=_model_records(own, tiers),
        )
        for identifier, own in by_role.items()
    ]


def _model_records(rows: Sequence[Any], tiers: Mapping[str, Tier]) -> list[ModelRecord]:
    """What one role did with each of its models, the one that it used most first."""
    by_model: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        if row["model"]:
            by_model[row["model"]].append(row)
    records = [_model_record(name, tiers.get(name), own) for name, own in by_model.items()]
    return sorted(records, key=lambda record: (-record.finished, record.model))


def _model_record(name: str, tier: Tier | None, rows: Sequence[Any]) -> ModelRecord:
    tasks = [
        TaskRecord(row["task_id"] and TaskId(row["task_id"]), row["completed"], row["failed"], row["cost"])
        for row in rows
    ]
    count = sum(task.finished for task in tasks)
    return ModelRecord(
        name,
        tier,
        completed=sum(task.completed for task in tasks),
        failed=sum(task.failed for task in tasks),
        mean_cost=round(sum((task.cost for task in tasks), Decimal(0)) / count, 12),
        mean_seconds=sum(row["seconds"] for row in rows) / count,
        tasks=tasks,
    )


def _quantiles(values: Sequence[float] | None) -> Quantiles | None:
    """The three that a statement gives; None where there was nothing to order."""
    return None if values is None else Quantiles(*values)


def _conforms(histories: SqlHistories) -> Histories:
    return histories


def _conforms_too(histories: SqlHistories) -> PresentHistories:
    return histories
