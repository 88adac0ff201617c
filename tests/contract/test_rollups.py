"""The roll-ups: nothing is missed and nothing counts twice, whether it is rolled up, still waits, or both meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import asyncpg
import pytest

from domain.errors import Unavailable
from domain.model.execution import ExecutionStatus, TaskExecutionStatus
from domain.model.identity import DEFAULT_TENANT, TeamId, TenantId, new_id, utc_now
from domain.model.metrics import (
    WHOLE_TENANT,
    Dimension,
    Figures,
    Granularity,
    GroupOrder,
    MetricsScope,
    Period,
    Present,
)
from domain.model.project import Project
from domain.model.role import Role
from domain.model.team import Team
from persistence import metrics_reader
from persistence.engine import Database
from persistence.metrics_reader import SqlMetrics
from persistence.retention import SqlRetention
from persistence.rollups import SqlRollUps
from persistence.unit_of_work import SqlUnitsOfWork
from tests.support.histories import Did, past_runs

WEEK = Period.up_to(utc_now() + timedelta(days=1), 8, Granularity.DAY)
"""Up to the end of tomorrow: the day may end between here and a test."""


@pytest.fixture
async def team_id(database: Database) -> UUID:
    """A team with three executions that ended and failed: one task was completed at the second attempt, one failed."""
    project = Project(DEFAULT_TENANT, "Project")
    team = Team(DEFAULT_TENANT, project.id, "Team")
    role = Role(DEFAULT_TENANT, team.id, "Writer")
    async with SqlUnitsOfWork(database.engine)(DEFAULT_TENANT) as unit:
        await unit.projects.add(project)
        await unit.teams.add(team)
        await unit.roles.add(role)
        await unit.commit()
    await past_runs(
        database.pool,
        team.id,
        3,
        Did(role.id, seconds=10, cost="0.25", attempts=2),
        Did(role.id, status=TaskExecutionStatus.FAILED, seconds=5, model="openai/gpt-4o-mini", cost="0.000000000001"),
    )
    return team.id


async def test_what_waits_to_be_rolled_up_counts_already_and_once(database: Database, team_id: UUID) -> None:
    scopes = [WHOLE_TENANT, MetricsScope(Dimension.TEAM, str(team_id)), MetricsScope(Dimension.MODEL, "openai/gpt-4o")]
    metrics, before = SqlMetrics(database.pool), []
    rolled = None
    while rolled != 0:
        before.append(await metrics.series(DEFAULT_TENANT, scopes, WEEK))
        rolled = await SqlRollUps(database.pool).roll_up(4)

    assert len(before) > 3
    assert all(each == before[0] for each in before)
    whole = (await metrics.figures(DEFAULT_TENANT, scopes, WEEK))[WHOLE_TENANT]
    assert (whole.executions.failed, whole.tasks.completed, whole.tasks.failed) == (3, 3, 3)
    assert whole.tasks.repeated == 3
    assert whole.tasks.durations.mean_seconds == 7.5
    assert whole.calls.cost_amount == 3 * Decimal("0.250000000001")


@pytest.mark.usefixtures("team_id")
async def test_two_workers_roll_up_at_once(database: Database) -> None:
    metrics, rollups = SqlMetrics(database.pool), SqlRollUps(database.pool)
    before = await metrics.figures(DEFAULT_TENANT, [WHOLE_TENANT], WEEK)

    while await database.pool.fetchval("SELECT count(*) FROM metric_pending"):
        await asyncio.gather(*(rollups.roll_up(3) for _ in range(4)))

    assert await metrics.figures(DEFAULT_TENANT, [WHOLE_TENANT], WEEK) == before


async def test_what_never_began_and_what_came_from_the_cache_took_no_time(database: Database, team_id: UUID) -> None:
    before = (await SqlMetrics(database.pool).figures(DEFAULT_TENANT, [WHOLE_TENANT], WEEK))[WHOLE_TENANT].executions
    [earlier] = await past_runs(database.pool, team_id, 1, status=ExecutionStatus.CANCELLED, started_at=None)
    await past_runs(database.pool, team_id, 1, cached_from=earlier)

    found = (await SqlMetrics(database.pool).figures(DEFAULT_TENANT, [WHOLE_TENANT], WEEK))[WHOLE_TENANT].executions

    assert (found.ended, found.cancelled, found.repeated) == (before.ended + 2, 1, 1)
    assert (found.durations, found.waits) == (before.durations, before.waits)


async def test_the_most_come_first(database: Database, team_id: UUID) -> None:
    metrics = SqlMetrics(database.pool)
    within = MetricsScope(Dimension.TEAM, str(team_id))

    dear = await metrics.groups(DEFAULT_TENANT, within, Dimension.MODEL, WEEK, GroupOrder.COST, 1)
    failing = await metrics.groups(DEFAULT_TENANT, WHOLE_TENANT, Dimension.TEAM, WEEK, GroupOrder.FAILURES, 5)

    assert [(group.scope.key, group.figures.calls.cost_amount) for group in dear] == [
        ("openai/gpt-4o", Decimal("0.75"))
    ]
    assert [(group.scope.key, group.figures.executions.failed) for group in failing] == [(str(team_id), 3)]


@pytest.mark.usefixtures("team_id")
async def test_another_tenant_and_other_times_see_nothing(database: Database) -> None:
    metrics = SqlMetrics(database.pool)
    later = Period.covering(utc_now() + timedelta(days=2), utc_now() + timedelta(days=3), Granularity.HOUR)

    assert await metrics.figures(TenantId(new_id()), [WHOLE_TENANT], WEEK) == {WHOLE_TENANT: Figures()}
    assert await metrics.figures(DEFAULT_TENANT, [WHOLE_TENANT], later) == {WHOLE_TENANT: Figures()}
    elsewhere = MetricsScope(Dimension.MODEL, "openai/gpt-4o", MetricsScope(Dimension.TEAM, str(TeamId(new_id()))))
    assert await metrics.figures(DEFAULT_TENANT, [elsewhere], WEEK) == {elsewhere: Figures()}


async def test_what_is_under_way_is_told_apart(database: Database, team_id: UUID) -> None:
    for status in ("QUEUED", "RUNNING", "PAUSED", "CANCELLING", "AWAITING_APPROVAL"):
        await past_runs(database.pool, team_id, 1, status=ExecutionStatus[status], finished_at=None)
    whole, team = WHOLE_TENANT, MetricsScope(Dimension.TEAM, str(team_id))
    other = MetricsScope(Dimension.PROJECT, str(new_id()))

    present = await SqlMetrics(database.pool).present(DEFAULT_TENANT, [whole, team, other])

    assert (present[whole].active, present[whole].queued, present[whole].paused) == (2, 1, 2)
    assert present[team].oldest_wait_seconds is not None
    assert present[other] == Present()


async def test_whole_days_and_hours_around_them_add_up_to_what_the_hours_say(database: Database, team_id: UUID) -> None:
    await past_runs(database.pool, team_id, 60, ended_at=utc_now() - timedelta(minutes=7))
    hours = Period.covering(utc_now() - timedelta(hours=58), utc_now() - timedelta(hours=5), Granularity.HOUR)
    metrics = SqlMetrics(database.pool)
    while await SqlRollUps(database.pool).roll_up(30):
        pass

    whole = (await metrics.figures(DEFAULT_TENANT, [WHOLE_TENANT], hours))[WHOLE_TENANT]
    points = (await metrics.series(DEFAULT_TENANT, [WHOLE_TENANT], hours))[WHOLE_TENANT]

    summed = Figures()
    for point in points:
        summed.merge(point.figures)
    assert whole == summed
    assert whole.executions.ended == len(points)


async def test_a_tools_answers_count_when_their_events_are_gone(database: Database, team_id: UUID) -> None:
    [execution_id] = await past_runs(database.pool, team_id, 1, ended_at=utc_now() - timedelta(days=3))
    await database.pool.execute("INSERT INTO execution_sequence SELECT tenant_id, id FROM execution")
    await database.pool.execute(
        "INSERT INTO execution_event (tenant_id, execution_id, sequence, occurred_at, type, payload)"
        " VALUES ($1, $2, 900, now(), 'ToolReturned', $3)",
        DEFAULT_TENANT,
        execution_id,
        {"tool": "search", "output": "", "is_error": True},
    )
    await SqlRetention(database.pool, 1).archive(1_000)
    assert not await database.pool.fetchval(
        "SELECT count(*) FROM execution_event WHERE execution_id = $1", execution_id
    )

    search = MetricsScope(Dimension.TOOL, "search")
    for _ in range(2):
        found = (await SqlMetrics(database.pool).figures(DEFAULT_TENANT, [search], WEEK))[search].tool_calls
        assert (found.ended, found.failed) == (1, 1)
        await SqlRollUps(database.pool).roll_up(1_000)


async def test_an_approval_that_is_decided_after_the_end_was_waited_for_until_the_end(
    database: Database, team_id: UUID
) -> None:
    role_id = await database.pool.fetchval("SELECT id FROM role WHERE team_id = $1", team_id)
    await past_runs(database.pool, team_id, 1, Did(role_id, seconds=10, asked_seconds=3_600))
    await database.pool.execute(
        "UPDATE approval SET created_at = task.finished_at - interval '1 hour',"
        " decided_at = task.finished_at + interval '1 ms'"
        " FROM task_execution AS task WHERE task.id = approval.task_execution_id"
    )

    found = (await SqlMetrics(database.pool).figures(DEFAULT_TENANT, [WHOLE_TENANT], WEEK))[WHOLE_TENANT]

    assert found.tasks.durations.micros == (3 * 15 + 10) * 1_000_000


async def test_what_cannot_be_computed_is_left_out_and_the_rest_counts(database: Database, team_id: UUID) -> None:
    await database.pool.execute(
        "UPDATE execution SET waited_seconds = 'NaN' WHERE id = (SELECT min(id::text)::uuid FROM execution)"
    )
    rollups = SqlRollUps(database.pool)

    for _ in range(20):
        await rollups.roll_up(64)

    assert await database.pool.fetchval("SELECT count(*) FROM metric_pending") == 0
    found = (await SqlMetrics(database.pool).figures(DEFAULT_TENANT, [WHOLE_TENANT], WEEK))[WHOLE_TENANT]
    assert (found.executions.ended, found.tasks.ended) == (2, 6)
    assert await database.pool.fetchval("SELECT count(*) FROM team WHERE id = $1", team_id) == 1


class _Overtaken:
    """A pool of one worker; whenever it cannot compute something, another worker does its part before it goes on."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        async with self.pool.acquire() as self.connection:
            yield self

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        try:
            async with self.connection.transaction():
                yield
        except asyncpg.DataError:
            await SqlRollUps(self.pool).roll_up(1)
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)


@pytest.mark.usefixtures("team_id")
async def test_what_another_worker_has_set_aside_is_not_mistaken_for_what_comes_next(database: Database) -> None:
    first = await database.pool.fetchval("SELECT subject_id FROM metric_pending ORDER BY id LIMIT 1")
    await database.pool.execute("UPDATE execution SET waited_seconds = 'NaN' WHERE id = $1", first)

    await SqlRollUps(cast("Any", _Overtaken(database.pool))).roll_up(1)
    while await SqlRollUps(database.pool).roll_up(100):
        pass

    found = (await SqlMetrics(database.pool).figures(DEFAULT_TENANT, [WHOLE_TENANT], WEEK))[WHOLE_TENANT]
    assert (found.executions.ended, found.tasks.ended, found.calls.ended) == (2, 6, 6)


async def test_with_very_much_that_waits_patience_is_asked_for(
    database: Database, team_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_reader, "MOST_PENDING", 3)

    with pytest.raises(Unavailable, match="ask again"):
        await SqlMetrics(database.pool).figures(DEFAULT_TENANT, [MetricsScope(Dimension.TEAM, str(team_id))], WEEK)


@pytest.mark.usefixtures("team_id")
async def test_hours_are_forgotten_in_time_and_days_are_not(database: Database) -> None:
    rollups = SqlRollUps(database.pool)
    await rollups.roll_up(1_000)
    days = await database.pool.fetchval("SELECT count(*) FROM metric_rollup WHERE grain = 'DAY'")
    await database.pool.execute("UPDATE metric_rollup SET start = start - interval '93 days'")

    assert await rollups.forget_hours(5) == 5
    while await rollups.forget_hours(100):
        pass

    grains = await database.pool.fetch("SELECT grain, count(*) FROM metric_rollup GROUP BY grain")
    assert [tuple(row) for row in grains] == [("DAY", days)]
