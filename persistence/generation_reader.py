"""The graph's batched questions about generations: how they went, and what they were asked to change."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from domain.model.generation import GenerationMetrics, GenerationReport
from domain.model.identity import TeamId, TenantId
from domain.model.revision import TeamRevision
from persistence.errors import reachable
from persistence.mapping import builder_of, names_of, remembered

if TYPE_CHECKING:
    import asyncpg

MOST_MODELS: Final = 100
"""So many models are told apart, those with the most generations."""

_REVISION: Final = ", ".join(f"revision.{name}" for name in names_of(TeamRevision))
_REVISIONS: Final = f"""
    SELECT {_REVISION} FROM unnest($2::uuid[], $3::text[]) AS wanted (team_id, content_hash)
    JOIN team_revision AS revision ON revision.tenant_id = $1 AND revision.team_id = wanted.team_id
        AND revision.content_hash = wanted.content_hash
"""  # noqa: S608 - our own columns


class GenerationReader:
    """A part of `domain.ports.Reader`. Both raise Unavailable while the database is silent."""

    pool: "asyncpg.Pool[asyncpg.Record]"

    async def revisions_of(
        self, tenant_id: TenantId, wanted: Collection[tuple[TeamId, str]]
    ) -> Mapping[tuple[TeamId, str], TeamRevision]:
        teams, hashes = [team for team, _ in wanted], [content_hash for _, content_hash in wanted]
        with reachable():
            rows = await self.pool.fetch(_REVISIONS, tenant_id, teams, hashes)
        found = map(builder_of(TeamRevision), rows)
        return {(revision.team_id, revision.content_hash): revision for revision in found}

    async def generation_metrics(
        self,
        tenant_id: TenantId,
        project_id: UUID | None,
        since: datetime | None,
        until: datetime | None,
        most: int,
    ) -> GenerationReport:
        bounds = [bound for bound in (project_id, since, until) if bound is not None]
        statement = _metrics(project_id is not None, since is not None, until is not None)
        with reachable():
            total, *models = await self.pool.fetch(statement, tenant_id, most, *bounds)
        whole = GenerationMetrics(*total)  # in the order of the fields
        return GenerationReport(whole, [GenerationMetrics(*row) for row in models], is_complete=whole.count < most)


# The ledger is the only source of cost: the account of a generation is the running sum over its entries.
_METRICS: Final = f"""
    SELECT each.model, count(*), count(*) FILTER (WHERE status IN ('READY', 'ACCEPTED', 'REJECTED')),
        count(*) FILTER (WHERE status = 'FAILED'), count(*) FILTER (WHERE status = 'CANCELLED'),
        count(is_first_valid), count(*) FILTER (WHERE is_first_valid), coalesce(sum(repairs), 0)::int,
        count(*) FILTER (WHERE composed_by = 'RULES'),
        count(*) FILTER (WHERE status = 'ACCEPTED'), count(*) FILTER (WHERE status = 'REJECTED'),
        avg(extract(epoch FROM finished_at - started_at))::float8,
        round(avg(coalesce(account.spent, 0)) FILTER (WHERE finished_at IS NOT NULL AND started_at IS NOT NULL), 12),
        avg(rating)::float8
    FROM (SELECT * FROM generation WHERE tenant_id = $1 %s ORDER BY created_at DESC, id DESC LIMIT $2) AS each
    LEFT JOIN budget_account AS account ON account.tenant_id = each.tenant_id AND account.scope = 5
        AND account.scope_id = each.id AND account.period = DATE '1970-01-01'
    GROUP BY GROUPING SETS ((), (each.model))
    ORDER BY grouping(each.model) DESC, count(*) DESC, each.model LIMIT {MOST_MODELS + 1}
"""  # noqa: S608 - constants


@remembered
def _metrics(has_project: bool, has_since: bool, has_until: bool) -> str:
    given = [("project_id =", has_project), ("created_at >=", has_since), ("created_at <", has_until)]
    conditions = [condition for condition, is_given in given if is_given]
    return _METRICS % " ".join(f"AND {condition} ${place}" for place, condition in enumerate(conditions, start=3))
