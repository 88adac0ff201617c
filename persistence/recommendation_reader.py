"""The past that recommendations stand on: executions and tasks of many teams, in a fixed number of statements."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from domain.model.documents import of_document
from domain.model.identity import ProjectId, TeamId, TenantId
from domain.model.library import find_shipped_template
from domain.model.optimizing.better import OF_THE_WORK
from domain.model.recommendation import TemplateRecord
from domain.model.recommending.records import PastRun, PastTask, TeamPast
from domain.model.recommending.workers import PlaceUse
from domain.model.template import Template, TemplateContent
from domain.ports.recommendations import MOST_TASKS_IN_ALL, RecommendationQuestions
from persistence.mapping import builder_of, names_of
from persistence.moments import Connection, at_one_moment
from persistence.origins import last_use

if TYPE_CHECKING:
    import asyncpg

MOST_WATCHED: Final = 20
"""Of so many executions of a team it is looked up which tools were called: all of their events are read for it."""

MOST_MADE: Final = 200
MOST_OF_EACH: Final = 50
"""So many teams that were made of templates are looked at, the newest, and so many executions of each."""

MOST_USES: Final = 5_000
"""So many executions tell how the places on workers were used: the newest."""

_UNPAID: Final = (Decimal(0), 0, 0, 0)
_UNCHECKED: Final = (0, 0)

_WHOLE: Final = """
    status IN ('COMPLETED', 'FAILED') AND cached_from IS NULL AND retry_of IS NULL AND forked_from IS NULL
"""
_SECONDS: Final = "greatest(0, extract(epoch FROM finished_at - started_at)::float8 - waited_seconds)"

_RUNS: Final = f"""
    SELECT run.* FROM unnest($2::uuid[], $3::bigint[]) AS wanted (team_id, most)
    CROSS JOIN LATERAL (
        SELECT id, team_id, created_at, status = 'COMPLETED' AS is_completed, {_SECONDS} AS seconds, failure_code,
            archived_at IS NULL AND emptied_at IS NULL AS has_events
        FROM execution
        WHERE tenant_id = $1 AND team_id = wanted.team_id AND created_at >= $4 AND started_at IS NOT NULL AND {_WHOLE}
        ORDER BY created_at DESC, id DESC LIMIT wanted.most
    ) AS run
    ORDER BY run.created_at DESC, run.id DESC
"""  # noqa: S608 - constants

# Put together here and not by a join: what is summed up has no statistics, and is gone through anew for every task
# where the planner takes it for short. Nothing of an execution is older than itself: partitions from before $3 are
# left out.
_TASKS: Final = """
    SELECT id, execution_id, task_id, role_id, status = 'COMPLETED' AS is_completed,
        extract(epoch FROM finished_at - started_at)::float8 AS seconds, model, attempts, failure_code
    FROM task_execution
    WHERE tenant_id = $1 AND execution_id = ANY($2::uuid[]) AND status IN ('COMPLETED', 'FAILED')
        AND started_at IS NOT NULL AND finished_at IS NOT NULL
    ORDER BY execution_id DESC, position LIMIT $3
"""
_ASKED: Final = """
    SELECT task_execution_id, sum(extract(epoch FROM decided_at - created_at))::float8 AS seconds
    FROM approval WHERE tenant_id = $1 AND execution_id = ANY($2::uuid[]) AND decided_at IS NOT NULL
    GROUP BY task_execution_id
"""
_PAID: Final = """
    SELECT task_execution_id, sum(cost) AS cost, sum(prompt_tokens)::bigint AS prompt,
        sum(completion_tokens)::bigint AS completion, count(*) FILTER (WHERE prompt_tokens > 0) AS calls
    FROM ledger_entry WHERE tenant_id = $1 AND execution_id = ANY($2::uuid[]) AND booked_at >= $3
    GROUP BY task_execution_id
"""
_CHECKED: Final = """
    SELECT task_execution_id, count(*) FILTER (WHERE NOT (payload ->> 'is_passed')::boolean) AS refused,
        count(*) FILTER (WHERE (payload ->> 'is_passed')::boolean) AS passed
    FROM execution_event
    WHERE tenant_id = $1 AND execution_id = ANY($2::uuid[]) AND occurred_at >= $3 AND type = 'GuardrailChecked'
    GROUP BY task_execution_id
"""
_CALLED: Final = """
    SELECT execution_id, role_id, array_agg(DISTINCT payload ->> 'tool') AS tools FROM execution_event
    WHERE tenant_id = $1 AND execution_id = ANY($2::uuid[]) AND occurred_at >= $3 AND type = 'ToolCalled'
        AND role_id IS NOT NULL
    GROUP BY execution_id, role_id
"""

# A team counts for its origin alone. A failure that is none of the work ($3 are those that are) says nothing.
_RECORDS: Final = f"""
    WITH made AS MATERIALIZED (
        SELECT used.template_id, recent.team_id, used.created_at FROM (
            SELECT team_id FROM template_use WHERE tenant_id = $1 AND task_id IS NULL
            GROUP BY team_id ORDER BY max(created_at) DESC LIMIT {MOST_MADE}
        ) AS recent
        CROSS JOIN LATERAL ({last_use("$1", "recent.team_id")}) AS used
    ), ended AS MATERIALIZED (
        SELECT made.template_id, made.team_id, run.* FROM made
        CROSS JOIN LATERAL (
            SELECT id, status = 'COMPLETED' AS is_completed, {_SECONDS} AS seconds FROM execution
            WHERE tenant_id = $1 AND team_id = made.team_id AND created_at >= greatest(made.created_at, $2)
                AND {_WHOLE} AND (status = 'COMPLETED' OR failure_code = ANY($3::text[]))
            ORDER BY created_at DESC, id DESC LIMIT {MOST_OF_EACH}
        ) AS run
    ), skilled AS (
        SELECT made.template_id, array_agg(DISTINCT lower(skill)) AS skills FROM made
        JOIN role ON role.tenant_id = $1 AND role.team_id = made.team_id AND role.archived_at IS NULL
        CROSS JOIN LATERAL unnest(role.skills) AS skill
        GROUP BY made.template_id
    ), standing AS (
        SELECT made.template_id, array_agg(DISTINCT team.project_id) AS projects FROM made
        JOIN team ON team.tenant_id = $1 AND team.id = made.team_id AND team.archived_at IS NULL
        GROUP BY made.template_id
    )
    SELECT ended.template_id, count(DISTINCT ended.team_id) AS teams, count(*) FILTER (WHERE is_completed) AS completed,
        count(*) FILTER (WHERE NOT is_completed) AS failed,
        avg(coalesce(account.spent, 0)) FILTER (WHERE is_completed) AS amount,
        avg(seconds) FILTER (WHERE is_completed) AS seconds,
        (SELECT skills FROM skilled WHERE skilled.template_id = ended.template_id) AS skills,
        (SELECT projects FROM standing WHERE standing.template_id = ended.template_id) AS projects
    FROM ended LEFT JOIN budget_account AS account ON account.tenant_id = $1 AND account.scope = 3
        AND account.scope_id = ended.id AND account.period = DATE '1970-01-01'
    GROUP BY ended.template_id ORDER BY ended.template_id
"""  # noqa: S608 - constants
_TEMPLATES: Final = f"""
    SELECT {", ".join(f"template.{name}" for name in names_of(Template))}, version.content FROM template
    JOIN template_version AS version ON version.tenant_id = $1 AND version.template_id = template.id
        AND version.number = template.latest
    WHERE template.tenant_id = $1 AND template.id = ANY($2::uuid[]) AND template.archived_at IS NULL
        AND template.kind = 'TEAM'
"""  # noqa: S608 - our own columns

_USES: Final = f"""
    SELECT created_at, started_at, finished_at, {_SECONDS} AS worked FROM execution
    WHERE tenant_id = $1 AND finished_at >= $2 AND finished_at IS NOT NULL AND emptied_at IS NULL
        AND started_at IS NOT NULL AND cached_from IS NULL
    ORDER BY finished_at DESC LIMIT {MOST_USES}
"""  # noqa: S608 - constants

# Tenant by tenant, for the index on what finished begins with it.
_OTHERS_RAN: Final = """
    SELECT EXISTS (SELECT FROM tenant AS other WHERE other.id <> $1 AND EXISTS (
        SELECT FROM execution WHERE tenant_id = other.id AND finished_at >= $2 AND finished_at IS NOT NULL
            AND emptied_at IS NULL AND started_at IS NOT NULL
    ))
"""


class SqlRecommendationQuestions:
    """See `domain.ports.recommendations.RecommendationQuestions`.

    Planned for the executions that are looked at, and read as they were at one moment, like the history of one team.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self.pool = pool

    async def pasts(
        self, tenant_id: TenantId, most: Mapping[TeamId, int], since: datetime
    ) -> Mapping[TeamId, TeamPast]:
        async with at_one_moment(self.pool) as connection:
            found = await connection.fetch(_RUNS, tenant_id, list(most), list(most.values()), since)
            done = await connection.fetch(_TASKS, tenant_id, [row["id"] for row in found], MOST_TASKS_IN_ALL + 1)
            runs, tasks = _whole(found, done)
            watched = _watched(runs)
            figures = await _figures(connection, tenant_id, [row["id"] for row in runs], since)
            called = await connection.fetch(_CALLED, tenant_id, list(watched), since)
        # Tens of thousands of rows: elsewhere than in the loop that everybody waits for.
        return await asyncio.to_thread(lambda: _pasts(most, runs, _tasks(runs, tasks, *figures), watched, called))

    async def template_records(self, tenant_id: TenantId, since: datetime) -> Sequence[TemplateRecord]:
        async with at_one_moment(self.pool) as connection:
            records = await connection.fetch(_RECORDS, tenant_id, since, sorted(code.value for code in OF_THE_WORK))
            own = await connection.fetch(_TEMPLATES, tenant_id, [row["template_id"] for row in records])
        build, width = builder_of(Template), len(names_of(Template))
        known = {row["id"]: (build(row), of_document(TemplateContent, row[width])) for row in own}
        found = [_template_record(row, known, tenant_id) for row in records]
        return [record for record in found if record is not None]

    async def place_uses(self, tenant_id: TenantId, since: datetime) -> Sequence[PlaceUse]:
        async with at_one_moment(self.pool) as connection:
            return [PlaceUse(*row) for row in await connection.fetch(_USES, tenant_id, since)]

    async def others_ran(self, tenant_id: TenantId, since: datetime) -> bool:
        async with at_one_moment(self.pool) as connection:
            return bool(await connection.fetchval(_OTHERS_RAN, tenant_id, since))


def _watched(runs: Sequence[Any]) -> frozenset[UUID]:
    """The newest executions of each team whose events are kept."""
    by_team: dict[UUID, list[UUID]] = defaultdict(list)
    for row in runs:
        if row["has_events"] and len(by_team[row["team_id"]]) < MOST_WATCHED:
            by_team[row["team_id"]].append(row["id"])
    return frozenset(each for ids in by_team.values() for each in ids)


def _whole(runs: Sequence[Any], tasks: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    """Without the oldest executions where their tasks are too many: those that ran before tasks were taken away."""
    if len(tasks) <= MOST_TASKS_IN_ALL:
        return runs, tasks
    cut = tasks[-1]["execution_id"]  # of which not all tasks were read
    return [row for row in runs if row["id"] > cut], [row for row in tasks if row["execution_id"] > cut]


async def _figures(
    connection: Connection, tenant_id: TenantId, ids: Sequence[UUID], since: datetime
) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
    """What people were asked, what was paid, and what guardrails said, in these executions: a row for each task."""
    return (
        await connection.fetch(_ASKED, tenant_id, ids),
        await connection.fetch(_PAID, tenant_id, ids, since),
        await connection.fetch(_CHECKED, tenant_id, ids, since),
    )


def _tasks(
    runs: Sequence[Any],
    rows: Sequence[Any],
    waits: Sequence[Any],
    payments: Sequence[Any],
    checks: Sequence[Any],
) -> Mapping[UUID, Sequence[PastTask]]:
    """What the tasks of these executions did, by execution."""
    moments = {row["id"]: row["created_at"] for row in runs}
    asked = {row[0]: row[1] for row in waits}
    paid = {row[0]: row[1:] for row in payments}
    checked = {row[0]: row[1:] for row in checks}
    found: dict[UUID, list[PastTask]] = defaultdict(list)
    for identifier, execution_id, task_id, role_id, is_completed, seconds, *rest in rows:
        worked = max(0.0, seconds - asked.get(identifier, 0.0))
        figures = (*rest, *paid.get(identifier, _UNPAID), *checked.get(identifier, _UNCHECKED))
        past = PastTask(execution_id, moments[execution_id], task_id, role_id, is_completed, worked, *figures)
        found[execution_id].append(past)
    return found


def _pasts(
    teams: Mapping[TeamId, int],
    runs: Sequence[Any],
    tasks: Mapping[UUID, Sequence[PastTask]],
    watched: frozenset[UUID],
    called: Sequence[Any],
) -> Mapping[TeamId, TeamPast]:
    runs_of: dict[UUID, list[PastRun]] = defaultdict(list)
    tasks_of: dict[UUID, list[PastTask]] = defaultdict(list)
    tools_of: dict[UUID, dict[tuple[UUID, UUID], frozenset[str]]] = defaultdict(dict)
    for row in runs:
        runs_of[row["team_id"]].append(PastRun(*row[:6]))
        tasks_of[row["team_id"]] += tasks.get(row["id"], ())
    team_of = {row["id"]: row["team_id"] for row in runs}
    for row in called:
        names = frozenset(filter(None, row["tools"]))
        tools_of[team_of[row["execution_id"]]][row["execution_id"], row["role_id"]] = names
    return {
        team_id: TeamPast(
            team_id,
            runs_of[team_id],
            tasks_of[team_id],
            frozenset(run.id for run in runs_of[team_id]) & watched,
            tools_of[team_id],
        )
        for team_id in teams
    }


def _template_record(
    row: Any, known: Mapping[UUID, tuple[Template, TemplateContent]], tenant_id: TenantId
) -> TemplateRecord | None:
    """None for a template that is out of use, or does not ship any more."""
    shipped = find_shipped_template(row["template_id"])
    found = (shipped.of(tenant_id), shipped.content) if shipped else known.get(row["template_id"])
    if found is None:
        return None
    template, content = found
    return TemplateRecord(
        template,
        row["teams"],
        row["completed"],
        row["failed"],
        row["amount"],
        row["seconds"],
        frozenset(row["skills"] or ()),
        [parameter.name for parameter in content.parameters if parameter.is_required],
        frozenset(ProjectId(each) for each in row["projects"] or ()),
    )


def _conforms(questions: SqlRecommendationQuestions) -> RecommendationQuestions:
    return questions
