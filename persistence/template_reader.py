"""The graph's batched questions about templates: a tenant's own ones, their versions, and what was made of them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from domain.errors import Invalid
from domain.model.identity import TenantId
from domain.model.page import Page, PageRequest, decode_cursor, encode_cursor
from domain.model.template import (
    AnalyticsReport,
    TeamOrigin,
    Template,
    TemplateAnalytics,
    TemplateVersion,
    VersionAnalytics,
    VersionKey,
    VersionRecord,
)
from persistence.errors import reachable
from persistence.mapping import builder_of, names_of
from persistence.origins import last_use

if TYPE_CHECKING:
    import asyncpg

MOST_ARCHIVED: Final = 1000
"""So many archived templates are listed."""

MOST_USES: Final = 1000
"""So many things that were made of a template count, the newest ones."""

MOST_EXECUTIONS: Final = 1000
"""So many executions of a team count, the newest ones."""

MOST_VERSIONS: Final = 100
"""Of so many versions there are analytics of their own, the newest ones."""

_TEMPLATE: Final = ", ".join(names_of(Template))
_IN_USE: Final = f"SELECT {_TEMPLATE} FROM template WHERE tenant_id = $1 AND archived_at IS NULL"  # noqa: S608 - our own columns
_ARCHIVED: Final = (
    f"SELECT {_TEMPLATE} FROM template WHERE tenant_id = $1 AND archived_at IS NOT NULL"  # noqa: S608 - same
    f" ORDER BY archived_at DESC, id DESC LIMIT {MOST_ARCHIVED}"
)
_WANTED: Final = """
    FROM unnest($2::uuid[], $3::int[]) AS wanted (template_id, number)
    JOIN template_version AS version
        ON version.tenant_id = $1 AND version.template_id = wanted.template_id AND version.number = wanted.number
"""
_VERSIONS: Final = f"SELECT {', '.join(f'version.{name}' for name in names_of(TemplateVersion))} {_WANTED}"
_RECORDS: Final = f"SELECT {', '.join(f'version.{name}' for name in names_of(VersionRecord))} {_WANTED}"
_VERSION_PAGES: Final = f"""
    SELECT {", ".join(f"part.{name}" for name in names_of(VersionRecord))}
    FROM unnest($2::uuid[]) AS parents (id)
    CROSS JOIN LATERAL (
        SELECT {", ".join(names_of(VersionRecord))} FROM template_version
        WHERE tenant_id = $1 AND template_id = parents.id AND number < $3
        ORDER BY number DESC LIMIT $4
    ) AS part
"""  # noqa: S608 - our own columns
_VERSION_TOTALS: Final = (
    "SELECT template_id, count(*) FROM template_version WHERE tenant_id = $1 AND template_id = ANY($2::uuid[])"
    " GROUP BY template_id"
)

# One row for each use, each execution that counts, and each rating; then the sums over all of them. A team that a later
# generation made into another one counts for the earlier template only until then. Pauses, and the time in which a
# human was asked, do not count, as in metrics.
_REPORTS: Final = f"""
    WITH used AS (
        SELECT template_id, number, team_id, task_id, generation_id, created_at,
            row_number() OVER (PARTITION BY template_id ORDER BY created_at DESC, id DESC) AS place
        FROM template_use WHERE tenant_id = $1 AND ($2::uuid[] IS NULL OR template_id = ANY($2::uuid[]))
    ), counted AS (
        SELECT used.*, least((
            SELECT min(later.created_at) FROM template_use AS later
            WHERE later.tenant_id = $1 AND later.team_id = used.team_id AND later.task_id IS NULL
                AND later.created_at > used.created_at AND later.generation_id IS DISTINCT FROM used.generation_id
        ), (
            SELECT min(later.decided_at) FROM generation AS later
            WHERE later.tenant_id = $1 AND later.accepted_team_id = used.team_id
                AND later.decided_at > used.created_at AND later.id IS DISTINCT FROM used.generation_id
        )) AS until
        FROM used WHERE place <= {MOST_USES}
    ), fact AS (
        SELECT template_id, number, created_at AS used_at, NULL::text AS status, NULL::float8 AS seconds,
            NULL::numeric AS spent, NULL::int AS rating
        FROM used
        UNION ALL
        SELECT template_id, number, NULL, run.status,
            greatest(0, extract(epoch FROM run.finished_at - run.started_at)::float8 - run.waited_seconds),
            coalesce(account.spent, 0), NULL
        FROM counted
        CROSS JOIN LATERAL (
            SELECT id, status, started_at, finished_at, waited_seconds FROM execution
            WHERE execution.tenant_id = $1 AND execution.team_id = counted.team_id
                AND execution.created_at >= counted.created_at AND execution.status IN ('COMPLETED', 'FAILED')
                AND (counted.until IS NULL OR execution.created_at < counted.until)
                AND execution.cached_from IS NULL
            ORDER BY execution.created_at DESC, execution.id DESC LIMIT {MOST_EXECUTIONS}
        ) AS run
        LEFT JOIN budget_account AS account ON account.tenant_id = $1 AND account.scope = 3
            AND account.scope_id = run.id AND account.period = DATE '1970-01-01'
        WHERE counted.task_id IS NULL
        UNION ALL
        SELECT template_id, number, NULL, task.status,
            greatest(0, extract(epoch FROM task.finished_at - task.started_at)::float8 - coalesce(asked.seconds, 0)),
            coalesce(account.spent, 0), NULL
        FROM counted
        CROSS JOIN LATERAL (
            SELECT id FROM execution
            WHERE execution.tenant_id = $1 AND execution.team_id = counted.team_id
                AND execution.created_at >= counted.created_at AND execution.cached_from IS NULL
                AND (counted.until IS NULL OR execution.created_at < counted.until)
            ORDER BY execution.created_at DESC, execution.id DESC LIMIT {MOST_EXECUTIONS}
        ) AS run
        JOIN task_execution AS task ON task.tenant_id = $1 AND task.execution_id = run.id
            AND task.task_id = counted.task_id AND task.status IN ('COMPLETED', 'FAILED')
        LEFT JOIN LATERAL (
            SELECT sum(extract(epoch FROM
                least(coalesce(decided_at, task.finished_at), task.finished_at) - created_at
            ))::float8 AS seconds
            FROM approval WHERE approval.tenant_id = $1 AND approval.execution_id = run.id
                AND approval.task_execution_id = task.id AND approval.created_at < task.finished_at
        ) AS asked ON true
        LEFT JOIN budget_account AS account ON account.tenant_id = $1 AND account.scope = 4
            AND account.scope_id = task.id AND account.period = DATE '1970-01-01'
        WHERE counted.task_id IS NOT NULL
        UNION ALL
        SELECT rated.template_id, rated.number, NULL, NULL, NULL, NULL, generation.rating
        FROM (SELECT DISTINCT template_id, number, generation_id FROM counted) AS rated
        JOIN generation ON generation.tenant_id = $1 AND generation.id = rated.generation_id
        WHERE generation.rating IS NOT NULL
    )
    SELECT template_id, number, count(used_at) AS uses, count(*) FILTER (WHERE status = 'COMPLETED') AS completed,
        count(*) FILTER (WHERE status = 'FAILED') AS failed, avg(spent) FILTER (WHERE status = 'COMPLETED') AS amount,
        avg(seconds) FILTER (WHERE status = 'COMPLETED') AS seconds, max(used_at) AS used_at,
        avg(rating)::float8 AS rating
    FROM fact GROUP BY GROUPING SETS ((template_id), (template_id, number))
    ORDER BY template_id, number DESC NULLS FIRST
"""  # noqa: S608 - constants

_USES: Final = (
    "SELECT template_id, count(*), max(created_at) FROM template_use WHERE tenant_id = $1 GROUP BY template_id"
)

# The last generation that became the team need not have used any template.
_ORIGINS: Final = f"""
    SELECT parents.id, used.template_id, used.number, coalesce(accepted.id, used.generation_id)
    FROM unnest($2::uuid[]) AS parents (id)
    LEFT JOIN LATERAL ({last_use("$1", "parents.id")}) AS used ON true
    LEFT JOIN LATERAL (
        SELECT id FROM generation WHERE tenant_id = $1 AND accepted_team_id = parents.id
        ORDER BY decided_at DESC NULLS LAST, id DESC LIMIT 1
    ) AS accepted ON true
    WHERE used.template_id IS NOT NULL OR accepted.id IS NOT NULL
"""  # noqa: S608 - constants
_ORDER: Final = "number"
_HIGHEST: Final = 2**31 - 1


class TemplateReader:
    """See `domain.ports.TemplateQuestions`. All raise Unavailable while the database is silent."""

    pool: "asyncpg.Pool[asyncpg.Record]"

    async def own_templates(self, tenant_id: TenantId, *, is_archived: bool) -> Sequence[Template]:
        rows = await self._found(_ARCHIVED if is_archived else _IN_USE, tenant_id)
        return [builder_of(Template)(row) for row in rows]

    async def template_versions(
        self, tenant_id: TenantId, keys: Sequence[VersionKey]
    ) -> Mapping[VersionKey, TemplateVersion]:
        found = [builder_of(TemplateVersion)(row) for row in await self._versions(_VERSIONS, tenant_id, keys)]
        return {(version.template_id, version.number): version for version in found}

    async def template_version_records(
        self, tenant_id: TenantId, keys: Sequence[VersionKey]
    ) -> Mapping[VersionKey, VersionRecord]:
        found = [VersionRecord(*row) for row in await self._versions(_RECORDS, tenant_id, keys)]
        return {record.key: record for record in found}

    async def _versions(
        self, statement: str, tenant_id: TenantId, keys: Sequence[VersionKey]
    ) -> Sequence["asyncpg.Record"]:
        ids, numbers = [template_id for template_id, _ in keys], [number for _, number in keys]
        return await self._found(statement, tenant_id, ids, numbers)

    async def template_version_pages(
        self, tenant_id: TenantId, ids: Sequence[UUID], request: PageRequest
    ) -> Mapping[UUID, Page[VersionRecord]]:
        before = _number_of(request.after)
        rows = await self._found(_VERSION_PAGES, tenant_id, list(ids), before, request.first + 1)
        found: dict[UUID, list[VersionRecord]] = {}
        for row in rows:
            record = VersionRecord(*row)
            found.setdefault(record.template_id, []).append(record)
        totals = await self._version_totals(tenant_id, ids) if request.with_total else {}
        return {each: _page(found.get(each, []), request, totals.get(each, 0)) for each in ids}

    async def _version_totals(self, tenant_id: TenantId, ids: Sequence[UUID]) -> Mapping[UUID, int]:
        return {row[0]: row[1] for row in await self._found(_VERSION_TOTALS, tenant_id, list(ids))}

    async def template_reports(
        self, tenant_id: TenantId, ids: Sequence[UUID] | None = None
    ) -> Mapping[UUID, AnalyticsReport]:
        totals: dict[UUID, TemplateAnalytics] = {}
        versions: dict[UUID, list[VersionAnalytics]] = {}
        for row in await self._found(_REPORTS, tenant_id, None if ids is None else list(ids)):
            template_id, number, figures = row[0], row[1], TemplateAnalytics(*row[2:])
            if number is None:
                totals[template_id] = figures
            else:
                versions.setdefault(template_id, []).append(VersionAnalytics(number, figures))
        return {each: AnalyticsReport(each, total, versions[each][:MOST_VERSIONS]) for each, total in totals.items()}

    async def template_uses(self, tenant_id: TenantId) -> Mapping[UUID, TemplateAnalytics]:
        rows = await self._found(_USES, tenant_id)
        return {row[0]: TemplateAnalytics(uses=row[1], last_used_at=row[2]) for row in rows}

    async def team_origins(self, tenant_id: TenantId, ids: Sequence[UUID]) -> Mapping[UUID, TeamOrigin]:
        return {row[0]: TeamOrigin(*row) for row in await self._found(_ORIGINS, tenant_id, list(ids))}

    async def _found(self, statement: str, *arguments: Any) -> Sequence["asyncpg.Record"]:
        with reachable():
            rows: Sequence[asyncpg.Record] = await self.pool.fetch(statement, *arguments)
        return rows


def _number_of(cursor: str | None) -> int:
    """Before which number the page begins."""
    if cursor is None:
        return _HIGHEST
    value, _ = decode_cursor(cursor, _ORDER)
    if not value.isdecimal() or not value.isascii() or len(value) >= len(str(_HIGHEST)):
        raise Invalid.at("This is no cursor of this list.", "after")
    return int(value)


def _page(found: Sequence[VersionRecord], request: PageRequest, total: int) -> Page[VersionRecord]:
    items = found[: request.first]
    return Page(
        items,
        [encode_cursor(_ORDER, str(item.number), str(item.template_id)) for item in items],
        has_next=len(found) > request.first,
        has_previous=request.after is not None,
        total=total if request.with_total else None,
    )
