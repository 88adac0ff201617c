"""What optimizations came to: the executions of their teams, before and since."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from domain.model.identity import TenantId
from domain.model.optimization import Trial
from domain.model.optimizing.measuring import Figures, TrialFigures
from persistence.errors import reachable

if TYPE_CHECKING:
    import asyncpg

MOST_COMPARED: Final = 100
"""So many executions on each side, those last kicked off."""

# An execution runs the team as it was at its kickoff: that decides on which side it stands, not its end. A retry or a
# fork runs what its first one ran, and only a part of it: it says nothing of either side.
_TRIALS: Final = f"""
    SELECT trial.place, side.is_after, count(*) FILTER (WHERE ended.is_completed),
        count(*) FILTER (WHERE NOT ended.is_completed),
        round(avg(coalesce(account.spent, 0)) FILTER (WHERE ended.is_completed), 12),
        avg(ended.seconds) FILTER (WHERE ended.is_completed)
    FROM unnest($2::int[], $3::uuid[], $4::timestamptz[], $5::timestamptz[])
        AS trial (place, team_id, applied_at, undone_at)
    CROSS JOIN (VALUES (false), (true)) AS side (is_after)
    CROSS JOIN LATERAL (
        SELECT id, status = 'COMPLETED' AS is_completed,
            greatest(0, extract(epoch FROM finished_at - started_at)::float8 - waited_seconds) AS seconds
        FROM execution
        WHERE tenant_id = $1 AND team_id = trial.team_id AND status IN ('COMPLETED', 'FAILED')
            AND cached_from IS NULL AND retry_of IS NULL AND forked_from IS NULL
            AND created_at >= CASE WHEN side.is_after THEN trial.applied_at ELSE '-infinity' END
            AND created_at
                < CASE WHEN side.is_after THEN coalesce(trial.undone_at, 'infinity') ELSE trial.applied_at END
        ORDER BY created_at DESC, id DESC LIMIT {MOST_COMPARED}
    ) AS ended
    LEFT JOIN budget_account AS account ON account.tenant_id = $1 AND account.scope = 3
        AND account.scope_id = ended.id AND account.period = DATE '1970-01-01'
    GROUP BY trial.place, side.is_after
"""  # noqa: S608 - a constant


class OptimizationReader:
    """A part of `domain.ports.Reader`: see `domain.ports.optimizations.OptimizationQuestions`."""

    pool: "asyncpg.Pool[asyncpg.Record]"

    async def trials(self, tenant_id: TenantId, trials: Sequence[Trial]) -> Mapping[Trial, TrialFigures]:
        columns = (
            list(range(len(trials))),
            [trial.team_id for trial in trials],
            [trial.applied_at for trial in trials],
            [trial.undone_at for trial in trials],
        )
        with reachable():
            rows = await self.pool.fetch(_TRIALS, tenant_id, *columns)
        found = {(row[0], row[1]): Figures(*row[2:]) for row in rows}
        nothing = Figures()
        return {
            trial: TrialFigures(found.get((place, False), nothing), found.get((place, True), nothing))
            for place, trial in enumerate(trials)
        }
