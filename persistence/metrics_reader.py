"""Metrics out of the roll-ups, and what is not rolled up yet: at one moment, in a fixed number of statements."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from domain.errors import Unavailable
from domain.model.identity import TenantId
from domain.model.library import shipped_templates
from domain.model.metrics import (
    ADDED,
    Dimension,
    Durations,
    Figures,
    Granularity,
    Group,
    GroupOrder,
    MetricsScope,
    Period,
    Point,
    Present,
    Subject,
    Tally,
    after,
    floor,
)
from domain.ports.metrics import Metrics
from persistence.errors import reachable
from persistence.metric_facts import SHIFT, SUMS, facts
from persistence.moments import Connection, at_one_moment

if TYPE_CHECKING:
    import asyncpg

MOST_PENDING: Final = 50_000
"""With more than so many facts that wait, a tenant is asked for patience: to read them takes a second and more."""

_BRIEFLY: Final = """
    SELECT set_config('plan_cache_mode', 'force_custom_plan', true), set_config('statement_timeout', '10s', true)
"""
_BACKLOG: Final = f"""
    SELECT count(*) FROM (SELECT FROM metric_pending WHERE tenant_id = $1 LIMIT {MOST_PENDING + 1}) AS pending
"""  # noqa: S608 - a constant
_BUCKET_MASK: Final = (1 << SHIFT) - 1
_SUMS: Final = ", ".join(SUMS)
_ADDED_UP: Final = ", ".join(f"sum({name}) AS {name}" for name in SUMS)

# $1 tenant, $2 and $3 the period, $4 to $6 the spans of hours and days that it is made of.
_PENDING: Final = facts("SELECT * FROM metric_pending WHERE tenant_id = $1 AND at >= $2 AND at < $3")
_SPANS: Final = """
    spans AS MATERIALIZED (
        SELECT * FROM unnest($4::text[], $5::timestamptz[], $6::timestamptz[]) AS spans (grain, since, until)
    )
"""
_ROLLED_UP: Final = """
    rolled.tenant_id = $1 AND rolled.grain = spans.grain AND rolled.start >= spans.since AND rolled.start < spans.until
"""
_WITHIN: Final = """
    (wanted.project_id IS NULL OR {row}.project_id = wanted.project_id)
    AND (wanted.team_id IS NULL OR {row}.team_id = wanted.team_id)
"""


def _matched(key: str) -> str:
    """CTEs, the last of them `matched`: the rows, rolled up or pending, of what is `wanted`; `key` says which keys."""
    return f"""
    {_SPANS}, {_PENDING},
    matched AS MATERIALIZED (
        SELECT wanted.number, rolled.key, rolled.start AS at, rolled.subject, {_SUMS},
            rolled.durations, rolled.waits
        FROM wanted CROSS JOIN spans JOIN metric_rollup AS rolled
            ON {_ROLLED_UP} AND rolled.dimension = wanted.dimension AND {key.format(row="rolled")}
        WHERE {_WITHIN.format(row="rolled")}
        UNION ALL
        SELECT wanted.number, fact.key, fact.at, fact.subject, {_SUMS},
            array_remove(ARRAY[fact.duration], NULL), array_remove(ARRAY[fact.wait], NULL)
        FROM wanted JOIN fact ON fact.dimension = wanted.dimension AND {key.format(row="fact")}
        WHERE {_WITHIN.format(row="fact")}
    )
    """  # noqa: S608 - constants


def _counted(column: str) -> str:
    """The histograms of each group as one."""
    return f"""
        SELECT number, part, subject, array_agg((bucket << {SHIFT}) | count) AS {column} FROM (
            SELECT number, part, subject, element >> {SHIFT} AS bucket,
                sum(element & {_BUCKET_MASK})::bigint AS count
            FROM placed CROSS JOIN LATERAL unnest({column}) AS element
            GROUP BY number, part, subject, element >> {SHIFT}
        ) AS counted GROUP BY number, part, subject
    """  # noqa: S608 - constants


# $7 to $11 what is wanted, a number for each; $12 by which parts, null for the whole.
_FIGURES: Final = f"""
    WITH wanted AS MATERIALIZED (
        SELECT * FROM unnest($7::int[], $8::text[], $9::text[], $10::uuid[], $11::uuid[])
            AS wanted (number, dimension, key, project_id, team_id)
    ),
    {_matched("{row}.key = wanted.key")},
    placed AS MATERIALIZED (
        SELECT *, coalesce(date_trunc($12::text, at, 'UTC'), $2) AS part FROM matched
    ),
    durations AS ({_counted("durations")}),
    waits AS ({_counted("waits")}),
    summed AS (
        SELECT number, part, subject, {_ADDED_UP} FROM placed GROUP BY number, part, subject
    )
    SELECT summed.*, coalesce(durations, '{{}}') AS durations, coalesce(waits, '{{}}') AS waits
    FROM summed LEFT JOIN durations USING (number, part, subject) LEFT JOIN waits USING (number, part, subject)
"""  # noqa: S608 - constants

# What the order is of: $10 the subject of the dimension, $11 by what.
_KEYS: Final = f"""
    WITH wanted AS (SELECT 1 AS number, $7::text AS dimension, $8::uuid AS project_id, $9::uuid AS team_id),
    {_matched("true")},
    measured AS (
        SELECT key, CASE $11::text
            WHEN 'COST' THEN sum(cost)
            WHEN 'FAILURES' THEN sum(failed) FILTER (WHERE subject = $10)
            WHEN 'COUNT' THEN sum(completed + failed + cancelled) FILTER (WHERE subject = $10)
            ELSE sum(micros) FILTER (WHERE subject = $10) / nullif(sum(
                (SELECT sum(element & {_BUCKET_MASK}) FROM unnest(durations) AS element)
            ) FILTER (WHERE subject = $10), 0)
        END AS amount FROM matched GROUP BY key
    )
    SELECT key, amount FROM measured WHERE amount > 0 ORDER BY amount DESC, key LIMIT $12
"""  # noqa: S608 - constants
_DOMAINS: Final = "SELECT id, domain FROM template WHERE tenant_id = $1"
_PRESENT: Final = """
    SELECT project_id, team_id, count(*) FILTER (WHERE status IN ('RUNNING', 'CANCELLING')) AS active,
        count(*) FILTER (WHERE status = 'QUEUED') AS queued,
        count(*) FILTER (WHERE status IN ('PAUSED', 'AWAITING_APPROVAL')) AS paused,
        CASE WHEN count(*) FILTER (WHERE status = 'QUEUED') > 0 THEN greatest(0,
            extract(epoch FROM now() - min(created_at) FILTER (WHERE status = 'QUEUED'))
        )::float8 END AS oldest
    FROM execution WHERE tenant_id = $1 AND status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')
    GROUP BY project_id, team_id
"""

_OF_TASKS: Final = frozenset({Dimension.ROLE, Dimension.TASK})
_PARTS: Final = {each: each.value.lower() for each in Granularity}


def subject_of(dimension: Dimension) -> Subject:
    """What durations, failures and counts of a dimension's keys are of."""
    if dimension in _OF_TASKS:
        return Subject.TASK
    others = {Dimension.MODEL: Subject.CALL, Dimension.TOOL: Subject.TOOL_CALL}
    return others.get(dimension, Subject.EXECUTION)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One key of what a scope asks for; a domain has many."""

    number: int
    dimension: str
    key: str
    project_id: UUID | None
    team_id: UUID | None


class SqlMetrics:
    """See `domain.ports.metrics.Metrics`."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self.pool = pool

    async def figures(
        self, tenant_id: TenantId, scopes: Sequence[MetricsScope], period: Period
    ) -> Mapping[MetricsScope, Figures]:
        async with at_one_moment(self.pool, _BRIEFLY) as connection:
            await _check_backlog(connection, tenant_id)
            found = await _figures(connection, tenant_id, scopes, period, by_part=False)
        return {scope: parts.get(period.start, Figures()) for scope, parts in found.items()}

    async def series(
        self, tenant_id: TenantId, scopes: Sequence[MetricsScope], period: Period
    ) -> Mapping[MetricsScope, Sequence[Point]]:
        async with at_one_moment(self.pool, _BRIEFLY) as connection:
            await _check_backlog(connection, tenant_id)
            found = await _figures(connection, tenant_id, scopes, period, by_part=True)
        return {scope: _points(parts, period) for scope, parts in found.items()}

    async def groups(
        self,
        tenant_id: TenantId,
        within: MetricsScope,
        dimension: Dimension,
        period: Period,
        order: GroupOrder,
        first: int,
    ) -> Sequence[Group]:
        async with at_one_moment(self.pool, _BRIEFLY) as connection:
            await _check_backlog(connection, tenant_id)
            keys = await _keys(connection, tenant_id, within, dimension, period, order, first)
            scopes = [MetricsScope(dimension, key, _narrowed(within)) for key in keys]
            found = await _figures(connection, tenant_id, scopes, period, by_part=False)
        groups = [Group(scope, found[scope].get(period.start, Figures())) for scope in scopes]
        return _most(groups, dimension, order, first) if dimension is Dimension.DOMAIN else groups

    async def present(self, tenant_id: TenantId, scopes: Sequence[MetricsScope]) -> Mapping[MetricsScope, Present]:
        with reachable():
            rows = await self.pool.fetch(_PRESENT, tenant_id)
        return {scope: _present(rows, scope) for scope in scopes}


async def _check_backlog(connection: Connection, tenant_id: TenantId) -> None:
    """Raises Unavailable while too much waits: after an upgrade, or where the roll-up stood still."""
    if await connection.fetchval(_BACKLOG, tenant_id) > MOST_PENDING:
        raise Unavailable("Much of what ended is not summed up yet, workers are at it: ask again in some minutes.")


async def _figures(
    connection: Connection, tenant_id: TenantId, scopes: Sequence[MetricsScope], period: Period, *, by_part: bool
) -> dict[MetricsScope, dict[datetime, Figures]]:
    """For each scope the figures of each part in which something happened; of the whole: under its start."""
    found: dict[MetricsScope, dict[datetime, Figures]] = {scope: {} for scope in scopes}
    ordered = list(found)
    wanted = await _wanted(connection, tenant_id, ordered)
    if not wanted:
        return found
    columns = [list(column) for column in zip(*map(astuple, wanted), strict=True)]
    part = _PARTS[period.granularity] if by_part else None
    rows = await connection.fetch(_FIGURES, tenant_id, *_spans(period, by_part=by_part), *columns, part)
    # A thousand hours of histograms take a while: others go on meanwhile.
    await asyncio.to_thread(_gather, rows, [found[scope] for scope in ordered])
    return found


def _gather(rows: Sequence["asyncpg.Record"], found: Sequence[dict[datetime, Figures]]) -> None:
    for row in rows:
        figures = found[row["number"]].setdefault(row["part"], Figures())
        figures.of(Subject(row["subject"])).merge(_tally(row))


async def _keys(
    connection: Connection,
    tenant_id: TenantId,
    within: MetricsScope,
    dimension: Dimension,
    period: Period,
    order: GroupOrder,
    first: int,
) -> list[str]:
    """The keys that have the most, the most first; of domains all: their templates have to be added up before."""
    if dimension is Dimension.DOMAIN:
        return sorted(set((await _domains(connection, tenant_id)).values()))
    project_id, team_id = _place(_narrowed(within))
    rows = await connection.fetch(
        _KEYS,
        tenant_id,
        *_spans(period, by_part=False),
        dimension.value,
        project_id,
        team_id,
        subject_of(dimension).value,
        order.value,
        first,
    )
    return [row["key"] for row in rows]


def _spans(period: Period, *, by_part: bool) -> tuple[datetime, datetime, list[str], list[datetime], list[datetime]]:
    """The period, and the grains, beginnings and ends of the sums that make it up: as few of them as there can be."""
    start, end = period.start, period.end
    if period.granularity is not Granularity.HOUR:
        return start, end, ["DAY"], [start], [end]
    first, last = _next_day(start), floor(end, Granularity.DAY)
    if by_part or first >= last:
        return start, end, ["HOUR"], [start], [end]
    return start, end, ["HOUR", "DAY", "HOUR"], [start, first, last], [first, last, end]


def _next_day(moment: datetime) -> datetime:
    """The beginning of a day at or after the moment."""
    day = floor(moment, Granularity.DAY)
    return day if day == moment else after(day, Granularity.DAY)


def _narrowed(within: MetricsScope | None) -> MetricsScope | None:
    return None if within is None or within.dimension is Dimension.TENANT else within


def _place(within: MetricsScope | None) -> tuple[UUID | None, UUID | None]:
    """The project and the team that a scope is narrowed to."""
    if within is None:
        return None, None
    is_team = within.dimension is Dimension.TEAM
    return (None, UUID(within.key)) if is_team else (UUID(within.key), None)


async def _wanted(connection: Connection, tenant_id: TenantId, scopes: Sequence[MetricsScope]) -> Sequence[_Wanted]:
    is_domain_wanted = any(scope.dimension is Dimension.DOMAIN for scope in scopes)
    domains = await _domains(connection, tenant_id) if is_domain_wanted else {}
    return [each for number, scope in enumerate(scopes) for each in _keys_of(number, scope, domains)]


def _keys_of(number: int, scope: MetricsScope, domains: Mapping[str, str]) -> Iterable[_Wanted]:
    place = _place(_narrowed(scope.within))
    if scope.dimension is not Dimension.DOMAIN:
        return [_Wanted(number, scope.dimension.value, scope.key, *place)]
    templates = [template for template, domain in domains.items() if domain == scope.key]
    return [_Wanted(number, Dimension.TEMPLATE.value, template, *place) for template in templates]


async def _domains(connection: Connection, tenant_id: TenantId) -> dict[str, str]:
    """The domain of each template, those that ship included, by its id."""
    shipped = {str(each.template.id): each.template.domain for each in shipped_templates()}
    rows = await connection.fetch(_DOMAINS, tenant_id)
    return shipped | {str(row["id"]): row["domain"] for row in rows}


def _tally(row: "asyncpg.Record") -> Tally:
    tally = Tally(
        durations=_durations(row["micros"], row["durations"]), waits=_durations(row["wait_micros"], row["waits"])
    )
    for name in ADDED:
        # A sum of whole numbers comes as a Decimal, which the cost alone is to be.
        setattr(tally, name, row["cost"] if name == "cost_amount" else int(row[name]))
    return tally


def _durations(micros: Any, histogram: Sequence[int]) -> Durations:
    found = Durations(int(micros))
    found.buckets.update({element >> SHIFT: element & _BUCKET_MASK for element in histogram})
    return found


def _points(parts: Mapping[datetime, Figures], period: Period) -> list[Point]:
    ends = [after(start, period.granularity) for start in period.starts]
    return [Point(start, end, parts.get(start, Figures())) for start, end in zip(period.starts, ends, strict=True)]


def _most(groups: Sequence[Group], dimension: Dimension, order: GroupOrder, first: int) -> list[Group]:
    """What the database does for other dimensions."""
    amounts = {group.scope: _amount(group.figures, subject_of(dimension), order) for group in groups}
    some = [group for group in groups if amounts[group.scope] > 0]
    return sorted(some, key=lambda group: (-amounts[group.scope], group.scope.key))[:first]


def _amount(figures: Figures, subject: Subject, order: GroupOrder) -> float:
    tally = figures.of(subject)
    if order is GroupOrder.COST:
        return float(figures.calls.cost_amount)
    if order is GroupOrder.DURATION:
        return tally.durations.mean_seconds or 0.0
    return tally.failed if order is GroupOrder.FAILURES else tally.ended


def _present(rows: Sequence["asyncpg.Record"], scope: MetricsScope) -> Present:
    found = Present()
    for row in rows:
        if not _is_in(row, scope):
            continue
        waits = [wait for wait in (found.oldest_wait_seconds, row["oldest"]) if wait is not None]
        found = replace(
            found,
            active=found.active + row["active"],
            queued=found.queued + row["queued"],
            paused=found.paused + row["paused"],
            oldest_wait_seconds=max(waits, default=None),
        )
    return found


def _is_in(row: "asyncpg.Record", scope: MetricsScope) -> bool:
    match scope.dimension:
        case Dimension.TENANT:
            return True
        case Dimension.PROJECT:
            return str(row["project_id"]) == scope.key
        case Dimension.TEAM:
            return str(row["team_id"]) == scope.key
        case _:
            return False


def _conforms(metrics: SqlMetrics) -> Metrics:
    return metrics
