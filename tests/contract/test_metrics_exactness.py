"""Metrics are right to the last digit, whatever happened, however much of it is rolled up, whoever commits when."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import psycopg
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from domain.model.execution import Execution, ExecutionStatus, TaskExecution, TaskExecutionStatus
from domain.model.generation import Generation
from domain.model.identity import TenantId, utc_now
from domain.model.ledger import CallOutcome, LedgerEntry
from domain.model.library import shipped_templates
from domain.model.metrics import (
    WHOLE_TENANT,
    Dimension,
    Granularity,
    GroupOrder,
    MetricsScope,
    Period,
    Present,
    floor,
)
from domain.model.project import Project
from domain.model.revision import TeamRevision
from domain.model.role import Role
from domain.model.task import Task
from domain.model.team import Process, Team
from domain.model.template import Template, TemplateUse
from persistence.engine import Database
from persistence.metrics_reader import SqlMetrics
from persistence.rollups import SqlRollUps
from tests.support.histories import insert
from tests.support.measured import Fact, check, facts_of, most

BEGIN = floor(utc_now() - timedelta(days=40), Granularity.WEEK)
"""A Monday; not longer ago than hours are kept."""

MODELS = ("other/c", "test/a", "test/b")
TOOLS = ("search", "sums")
_S, _T = ExecutionStatus, TaskExecutionStatus

# ---------------------------------------------------------------- what may happen


@dataclass(frozen=True)
class Call:
    model: str
    outcome: CallOutcome
    tokens: tuple[int, int]
    cost: Decimal
    micros: int | None
    attempt: int


@dataclass(frozen=True)
class Work:
    """One task of a run; durations in microseconds."""

    role: int
    is_known: bool
    status: TaskExecutionStatus
    has_begun: bool
    micros: int
    asked: int
    attempts: int
    model: str | None
    calls: list[Call]
    tools: list[tuple[str, bool]]


@dataclass(frozen=True)
class Run:
    """One execution, who writes it, and what happens then: so many are rolled up, or a writer commits."""

    team: int
    revision: int
    status: ExecutionStatus
    end: datetime
    micros: int
    wait: int
    away: int
    has_begun: bool
    is_cached: bool
    is_updated: bool
    works: list[Work]
    writer: int
    then: tuple[str, int]


_LONG = st.integers(0, 10**10) | st.sampled_from([0, 1, 999, 60_000_000])
_MOMENTS = st.builds(
    lambda hour, micros: BEGIN + timedelta(hours=hour, microseconds=micros),
    st.integers(1, 14 * 24),
    st.sampled_from([0, -1, 1]) | st.integers(0, 3_599_999_999),
)
_CALLS = st.builds(
    Call,
    st.sampled_from(MODELS),
    st.sampled_from(CallOutcome),
    st.tuples(st.integers(0, 10**10), st.integers(0, 10**6)),
    st.decimals(0, 100, places=12),
    st.none() | _LONG,
    st.integers(1, 2),
)
_WORKS = st.builds(
    Work,
    st.integers(0, 1),
    st.booleans(),
    st.sampled_from([_T.COMPLETED, _T.COMPLETED, _T.FAILED, _T.CANCELLED, _T.SKIPPED, _T.REUSED]),
    st.booleans(),
    _LONG,
    st.sampled_from([0, 0, 5_000_001]),
    st.integers(0, 3),
    st.none() | st.sampled_from(MODELS),
    st.lists(_CALLS, max_size=2),
    st.lists(st.tuples(st.sampled_from(TOOLS), st.booleans()), max_size=2),
)
_RUNS = st.builds(
    Run,
    st.integers(0, 3),
    st.integers(0, 1),
    st.sampled_from([_S.COMPLETED, _S.COMPLETED, _S.FAILED, _S.CANCELLED, _S.QUEUED, _S.RUNNING, _S.PAUSED]),
    _MOMENTS,
    _LONG,
    _LONG,
    st.sampled_from([0, 0, 1_000_001]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.lists(_WORKS, max_size=2),
    st.integers(0, 2),
    st.tuples(st.sampled_from(["nothing", "roll up", "commit", "commit"]), st.integers(0, 7)),
)
_PLACES = st.sampled_from(["tenant", "project", "team"])
_TOPS = st.tuples(
    st.sampled_from([each for each in Dimension if each is not Dimension.TENANT]),
    st.sampled_from(GroupOrder),
    _PLACES,
    st.integers(1, 3),
)

# ---------------------------------------------------------------- and how it is written


@dataclass
class House:
    """A tenant with four teams of two projects, each with two roles, two tasks and two revisions."""

    database: Database
    url: str
    tenant_id: TenantId = field(default_factory=lambda: TenantId(uuid4()))
    projects: list[Project] = field(default_factory=list)
    teams: list[Team] = field(default_factory=list)
    roles: dict[UUID, list[Role]] = field(default_factory=dict)
    tasks: dict[UUID, list[Task]] = field(default_factory=dict)
    revisions: dict[UUID, list[TeamRevision]] = field(default_factory=dict)
    templates: list[Template] = field(default_factory=list)

    async def build(self) -> None:
        pool = self.database.pool
        with psycopg.connect(self.url, autocommit=True) as owner:
            owner.execute("INSERT INTO tenant (id, name, created_at) VALUES (%s, 'House', now())", [self.tenant_id])
        self.projects = [Project(self.tenant_id, name) for name in ("One", "Two")]
        self.teams = [Team(self.tenant_id, self.projects[number // 2].id, f"Team {number}") for number in range(4)]
        own = Template(self.tenant_id, "Own", domain=shipped_templates()[0].template.domain)
        self.templates = [own, shipped_templates()[0].template, shipped_templates()[-1].template]
        for thing in (*self.projects, *self.teams, own):
            await insert(pool, thing)
        for number, team in enumerate(self.teams):
            await self._furnish(team)
            if number:
                await insert(pool, TemplateUse(self.tenant_id, self.templates[number - 1].id, 1, team.id))
        earlier = BEGIN - timedelta(days=1)
        await insert(pool, TemplateUse(self.tenant_id, self.templates[2].id, 1, self.teams[1].id, created_at=earlier))

    async def _furnish(self, team: Team) -> None:
        roles = [Role(self.tenant_id, team.id, title) for title in ("Lead", "Writer")]
        tasks = [Task(self.tenant_id, team.id, name, "Do it.", "Done.") for name in ("First", "Second")]
        contents = [{"team": {"process": Process.PARALLEL.value}}, {}]  # without one, the team's own holds
        revisions = [
            TeamRevision(self.tenant_id, team.id, number, json.dumps(content), f"{number}")
            for number, content in enumerate(contents, 1)
        ]
        for thing in (*roles, *tasks, *revisions):
            await insert(self.database.pool, thing)
        self.roles[team.id], self.tasks[team.id], self.revisions[team.id] = roles, tasks, revisions

    async def write(self, connection: Any, run: Run) -> None:
        team = self.teams[run.team]
        is_over = run.status in (_S.COMPLETED, _S.FAILED, _S.CANCELLED)
        # Only what was cancelled may end without a start.
        has_begun = run.has_begun or run.status in (_S.COMPLETED, _S.FAILED, _S.RUNNING)
        started = run.end - timedelta(microseconds=run.micros)
        execution = Execution(
            *(self.tenant_id, team.project_id, team.id, self.revisions[team.id][run.revision].id, {}, 5, 1800.0, 600.0),
            status=run.status,
            created_at=started - timedelta(microseconds=run.wait),
            started_at=started if has_begun else None,
            finished_at=run.end if is_over else None,
            waited_seconds=run.away / 1_000_000,
        )
        if run.is_cached and run.status is _S.COMPLETED:
            execution.cached_from = execution.id
        await self._end(connection, execution, is_updated=run.is_updated)
        for position, work in enumerate(run.works if is_over else ()):
            await self._do(connection, execution, run, position, work)

    async def _end(self, connection: Any, thing: Any, *, is_updated: bool) -> None:
        """Write the thing as it is, or as it was before it ended, and then its end."""
        end = thing.finished_at
        if not is_updated or end is None:
            await insert(connection, thing)
            return
        status, thing.status, thing.finished_at = thing.status, type(thing.status)("RUNNING"), None
        await insert(connection, thing)
        table = "execution" if isinstance(thing, Execution) else "task_execution"
        await connection.execute(
            f"UPDATE {table} SET status = $1, finished_at = $2 WHERE id = $3",  # noqa: S608 - our own names
            status.value,
            end,
            thing.id,
        )
        thing.status, thing.finished_at = status, end

    async def _do(self, connection: Any, execution: Execution, run: Run, position: int, work: Work) -> None:
        role = self.roles[execution.team_id][work.role]
        known = self.tasks[execution.team_id][position] if work.is_known else None
        task = TaskExecution(
            *(self.tenant_id, execution.id, position, f"Task {position}", "Do it.", "Done.", role.id, role.title),
            task_id=known.id if known else None,
            status=work.status,
            model=work.model,
            attempts=work.attempts,
            started_at=run.end - timedelta(microseconds=work.micros) if work.has_begun else None,
            finished_at=run.end,
        )
        await insert(connection, task)
        if work.asked:
            await self._ask(connection, execution, task, work.asked)
        for call in work.calls:
            await insert(connection, _entry(call, run.end, execution, task))
        for number, (tool, is_error) in enumerate(work.tools):
            await connection.execute(
                "INSERT INTO execution_event (tenant_id, execution_id, sequence, occurred_at, type, task_execution_id,"
                " role_id, payload) VALUES ($1, $2, $3, $4, 'ToolReturned', $5, $6, $7)",
                *(self.tenant_id, execution.id, 10 * position + number + 1, run.end, task.id, role.id),
                {"tool": tool, "output": "", "is_error": is_error},
            )

    async def _ask(self, connection: Any, execution: Execution, task: TaskExecution, micros: int) -> None:
        asked = (task.finished_at or BEGIN) - timedelta(microseconds=micros)
        decided = (task.finished_at or BEGIN) + timedelta(milliseconds=1)  # as when its execution is cancelled
        await connection.execute(
            "INSERT INTO approval (tenant_id, id, project_id, execution_id, task_execution_id, kind, prompt, attempt,"
            " call_key, status, default_action, created_at, decided_at)"
            " VALUES ($1, gen_random_uuid(), $2, $3, $4, 'TASK', '?', 1, '', 'APPROVED', 'REJECT', $5, $6)",
            *(self.tenant_id, execution.project_id, execution.id, task.id, asked, decided),
        )

    async def generate(self, calls: Sequence[Call]) -> None:
        """The calls of a generation: they are of a project, but of no team."""
        generation = Generation(self.tenant_id, self.projects[1].id, "Something.", {})
        await insert(self.database.pool, generation)
        for number, call in enumerate(calls):
            entry = _entry(call, BEGIN + timedelta(hours=30 * number + 1), generation)
            await insert(self.database.pool, entry)

    def scopes(self) -> list[MetricsScope]:
        """Everything that metrics are told of here, and something that there is not."""
        projects = [MetricsScope(Dimension.PROJECT, str(project.id)) for project in self.projects]
        teams = [MetricsScope(Dimension.TEAM, str(team.id)) for team in self.teams]
        roles = [MetricsScope(Dimension.ROLE, str(role.id)) for found in self.roles.values() for role in found]
        tasks = [MetricsScope(Dimension.TASK, str(task.id)) for found in self.tasks.values() for task in found]
        named = [
            *((Dimension.MODEL, name) for name in (*MODELS, "nobody's")),
            *((Dimension.TOOL, name) for name in TOOLS),
            *((Dimension.STRATEGY, each.value) for each in Process),
            *((Dimension.TEMPLATE, str(each.id)) for each in self.templates),
            *((Dimension.DOMAIN, each) for each in sorted({each.domain for each in self.templates})),
        ]
        places = (None, projects[1], teams[1])
        names = [MetricsScope(dimension, key, place) for dimension, key in named for place in places]
        return [WHOLE_TENANT, *projects, *teams, *roles, *tasks, *names]

    def place(self, name: str) -> MetricsScope:
        places = {
            "tenant": WHOLE_TENANT,
            "project": MetricsScope(Dimension.PROJECT, str(self.projects[0].id)),
            "team": MetricsScope(Dimension.TEAM, str(self.teams[1].id)),
        }
        return places[name]


def _entry(call: Call, at: datetime, payer: Execution | Generation, task: TaskExecution | None = None) -> LedgerEntry:
    execution = payer if isinstance(payer, Execution) else None
    return LedgerEntry(
        payer.tenant_id,
        payer.project_id,
        execution.team_id if execution else None,
        execution.id if execution else None,
        task.id if task else None,
        task.role_id if task else None,
        call.model,
        "test",
        1,
        call.outcome,
        *call.tokens,
        call.tokens[0] // 2,
        call.tokens[1] // 3,
        cost=call.cost,
        latency_seconds=None if call.micros is None else call.micros / 1_000_000,
        call_attempt=call.attempt,
        booked_at=at,
        generation_id=payer.id if isinstance(payer, Generation) else None,
    )


# ---------------------------------------------------------------- what is told of it


@dataclass
class Reading:
    """What the metrics say, against what the rows say."""

    metrics: SqlMetrics
    house: House
    facts: Sequence[Fact]

    async def overviews(self, period: Period) -> None:
        scopes = self.house.scopes()
        found = await self.metrics.figures(self.house.tenant_id, scopes, period)
        assert set(found) == set(scopes)
        for scope in scopes:
            check(found[scope], self._between(scope, period.start, period.end))

    async def series(self, period: Period) -> None:
        scopes = self.house.scopes()
        found = await self.metrics.series(self.house.tenant_id, scopes, period)
        for scope in scopes:
            assert [point.start for point in found[scope]] == period.starts
            assert [point.end for point in found[scope]] == [*period.starts[1:], period.end]
            for point in found[scope]:
                check(point.figures, self._between(scope, point.start, point.end))

    async def top(self, period: Period, dimension: Dimension, order: GroupOrder, place: str, first: int) -> None:
        within = self.house.place(place)
        if within.dimension is Dimension.TEAM and dimension is Dimension.PROJECT:
            return  # a team has no projects in it, and the graph does not ask
        groups = await self.metrics.groups(self.house.tenant_id, within, dimension, period, order, first)
        inside = self._between(within, period.start, period.end)
        assert [group.scope.key for group in groups] == most(inside, dimension, order, first)
        for group in groups:
            assert group.scope.dimension is dimension
            check(group.figures, [fact for fact in inside if fact.places.get(dimension) == group.scope.key])

    async def present(self, runs: Sequence[Run]) -> None:
        scopes = [WHOLE_TENANT, self.house.place("project"), self.house.place("team")]
        found = await self.metrics.present(self.house.tenant_id, scopes)
        for scope, teams in zip(scopes, (range(4), range(2), range(1, 2)), strict=True):
            counts = [sum(run.status is status and run.team in teams for run in runs) for status in _NOW]
            now = found[scope]
            assert (now.active, now.queued, now.paused) == tuple(counts)
            assert (now.oldest_wait_seconds is None) == (now.queued == 0)
        assert found[WHOLE_TENANT] != Present() or not any(run.status in _NOW for run in runs)

    def _between(self, scope: MetricsScope, start: datetime, end: datetime) -> list[Fact]:
        return [fact for fact in self.facts if start <= fact.at < end and fact.is_of(scope)]


_NOW = (_S.RUNNING, _S.QUEUED, _S.PAUSED)


async def _happen(house: House, runs: Sequence[Run]) -> None:
    """Three writers write beside each other, and commit when they are told to, while sums are made."""
    roll_ups = SqlRollUps(house.database.pool)
    async with AsyncExitStack() as stack:
        writers = [await stack.enter_async_context(house.database.pool.acquire()) for _ in range(3)]
        open_ones: dict[int, Any] = {}
        for run in runs:
            if run.writer not in open_ones:
                open_ones[run.writer] = writers[run.writer].transaction()
                await open_ones[run.writer].start()
            await house.write(writers[run.writer], run)
            what, number = run.then
            if what == "roll up":
                await roll_ups.roll_up(number)
            elif what == "commit" and number % 3 in open_ones:
                await open_ones.pop(number % 3).commit()
        for number in sorted(open_ones, reverse=True):
            await open_ones[number].commit()


async def _roll_all_up(database: Database) -> None:
    while await SqlRollUps(database.pool).roll_up(1000):
        pass


@settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    runs=st.lists(_RUNS, min_size=3, max_size=14),
    generated=st.lists(_CALLS, max_size=3),
    days=st.tuples(st.integers(0, 13), st.integers(1, 14)),
    granularity=st.sampled_from(Granularity),
    tops=st.lists(_TOPS, min_size=4, max_size=4),
    then=st.integers(1, 100),
)
def test_every_figure_is_what_plain_counting_comes_to(
    database_url: str,
    runs: list[Run],
    generated: list[Call],
    days: tuple[int, int],
    granularity: Granularity,
    tops: list[tuple[Dimension, GroupOrder, str, int]],
    then: int,
) -> None:
    async def compare() -> None:
        database = await Database.connect(database_url, name="test", pool_size=5)
        try:
            house, neighbour = House(database, database_url), House(database, database_url)
            for each in (house, neighbour):
                await each.build()
            await _happen(neighbour, runs[:2])
            await _roll_all_up(database)  # so that what is rolled up next is the house's
            await _happen(house, runs)
            await _happen(neighbour, runs[2:3])
            await house.generate(generated)
            reading = Reading(SqlMetrics(database.pool), house, await facts_of(database.pool, house.tenant_id))
            await read_all(reading)
            await reading.present(runs)
            await SqlRollUps(database.pool).roll_up(then)
            await read_all(reading)
        finally:
            await database.close()

    async def read_all(reading: Reading) -> None:
        first, count = BEGIN + timedelta(days=days[0]), timedelta(days=days[1])
        days_of_series = timedelta(days=1) if granularity is Granularity.HOUR else count
        await reading.series(Period.covering(first, first + days_of_series, granularity))
        period = Period.covering(first, first + count, Granularity.DAY)
        await reading.overviews(period)
        for top in tops:
            await reading.top(period, *top)

    asyncio.run(compare())
