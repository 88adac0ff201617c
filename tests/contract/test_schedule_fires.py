"""Schedules on the real database: each moment fires once, whoever looks, and whatever goes wrong in between."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from domain.errors import Busy, ScheduleBusy, Unavailable
from domain.model.execution import ExecutionStatus
from domain.model.identity import DEFAULT_TENANT, ScheduleId, utc_now
from domain.model.project import Project
from domain.model.role import Role
from domain.model.schedule import MAX_OPEN, FireKind, FireOutcome, Schedule, ScheduleFire, ScheduleOverlap
from domain.model.team import Team, WhenBusy
from domain.ports import WAITING, Listener
from domain.services import firing
from domain.services.editing import SCHEDULES, Editing
from domain.services.firing import FireSchedules
from domain.services.schedules import Schedules
from persistence.due_schedules import SqlDueSchedules
from persistence.engine import Database
from persistence.unit_of_work import SqlUnitsOfWork


class Hints:
    """Remembers what was hinted."""

    def __init__(self) -> None:
        self.topics: list[str] = []

    async def publish(self, topics: Sequence[str]) -> None:
        self.topics += topics

    def listen(self, topic: str) -> AbstractContextManager[Listener]:
        raise NotImplementedError(topic)


class World:
    """A team that can run, its schedules, and a worker's duty over them."""

    def __init__(self, database: Database) -> None:
        self.pool = database.pool
        self.units = SqlUnitsOfWork(database.engine)
        self.hints = Hints()
        self.due = SqlDueSchedules(database.pool)
        self.duty = FireSchedules(self.units, self.due, self.hints)
        self.editing = Editing(self.units, SCHEDULES)
        self.scheduling = Schedules(self.units, self.hints)
        self.project = Project(DEFAULT_TENANT, "Project")
        self.team = Team(DEFAULT_TENANT, self.project.id, "Team", when_busy=WhenBusy.PARALLEL)

    async def schedule(self, *, due_seconds_ago: float | None = None, **values: Any) -> Schedule:
        """Daily, unless its timetable is given; due since the last minute that had begun so many seconds ago.

        A minute that begins during the test is no other moment of it.
        """
        moment = utc_now() - timedelta(seconds=due_seconds_ago or 0)
        given: dict[str, Any] = {"name": f"Schedule {utc_now()}", "cron": f"{moment:%M %H} * * *", **values}
        made = await self.editing.create(Schedule(DEFAULT_TENANT, self.team.id, **given))
        if due_seconds_ago is not None:
            await self.make_due(made.id)
        return made

    async def hourly(self, **values: Any) -> Schedule:
        """One whose hours begin half an hour from now: none begins during the test."""
        return await self.schedule(cron=f"{utc_now() + timedelta(minutes=30):%M} * * * *", **values)

    async def make_due(self, identifier: ScheduleId) -> None:
        """Its next fire is the moment of its day that is over."""
        await self.pool.execute(
            "UPDATE schedule SET next_fire_at = next_fire_at - interval '24 hours' WHERE id = $1", identifier
        )

    async def forget_fires(self) -> None:
        """As if the fires so far had been of an earlier day."""
        await self.pool.execute("UPDATE schedule_fire SET scheduled_for = scheduled_for - interval '24 hours'")

    async def fires(self) -> list[tuple[str, str]]:
        rows = await self.pool.fetch("SELECT kind, outcome FROM schedule_fire ORDER BY fired_at, scheduled_for")
        return [(row[0], row[1]) for row in rows]

    async def executions(self) -> list[str]:
        return [row[0] for row in await self.pool.fetch("SELECT status FROM execution ORDER BY created_at, id")]

    async def end_all(self, status: ExecutionStatus = ExecutionStatus.COMPLETED) -> None:
        await self.pool.execute("UPDATE execution SET status = $1, finished_at = now()", status.value)
        await self.pool.execute("DELETE FROM admission")

    async def next_fire_at(self, identifier: ScheduleId) -> datetime | None:
        found: datetime | None = await self.pool.fetchval("SELECT next_fire_at FROM schedule WHERE id = $1", identifier)
        return found


@pytest.fixture
async def world(database: Database) -> World:
    made = World(database)
    async with made.units(DEFAULT_TENANT) as unit:
        await unit.projects.add(made.project)
        await unit.teams.add(made.team)
        await unit.roles.add(Role(DEFAULT_TENANT, made.team.id, "Analyst"))
        await unit.commit()
    return made


# ---------------------------------------------------------------- what is due


async def test_a_schedule_that_is_due_starts_an_execution_and_is_set_on(world: World) -> None:
    schedule = await world.schedule(due_seconds_ago=0, priority=7)

    assert await world.duty.fire() == 1

    assert await world.fires() == [("DUE", "STARTED")]
    row = await world.pool.fetchrow(
        "SELECT execution.id = fire.execution_id AS is_its, execution.priority, "
        " schedule.last_fire_id = fire.id AS is_last,"
        " schedule.next_fire_at = fire.scheduled_for + interval '24 hours' AS is_set_on,"
        " schedule.version, admission.worker_id"
        " FROM schedule_fire AS fire, execution, schedule, admission"
    )
    assert row is not None
    assert dict(row) == {
        "is_its": True,
        "priority": 7,
        "is_last": True,
        "is_set_on": True,
        "version": schedule.version,
        "worker_id": None,
    }
    assert WAITING in world.hints.topics


async def test_nothing_is_done_before_its_time(world: World) -> None:
    await world.hourly()

    assert await world.duty.fire() == 0
    assert await world.fires() == []
    assert world.hints.topics == []


async def test_of_many_workers_at_once_one_carries_a_fire_out(world: World) -> None:
    for _ in range(3):
        await world.schedule(due_seconds_ago=0)
    workers = [FireSchedules(world.units, world.due, world.hints) for _ in range(4)]

    carried = await asyncio.gather(*(worker.fire() for worker in workers))

    assert sum(carried) == 3
    assert await world.fires() == [("DUE", "STARTED")] * 3
    assert await world.executions() == ["QUEUED"] * 3


async def test_one_connection_carries_out_as_many_fires_as_there_are(world: World, database_url: str) -> None:
    """The server plans a statement anew at first; from its sixth use on a connection it may keep a general plan."""
    for _ in range(15):
        await world.schedule(due_seconds_ago=0)
    made = await world.hourly()

    one = await Database.connect(database_url, name="test", pool_size=1)
    units = SqlUnitsOfWork(one.engine)
    duty, scheduling = FireSchedules(units, world.due, world.hints), Schedules(units, world.hints)
    assert await duty.fire() == 15
    until = utc_now()
    for hours in range(15):
        moment = until - timedelta(hours=hours + 1)
        made_up = await scheduling.backfill(DEFAULT_TENANT, made.id, moment, moment + timedelta(hours=1))
        assert made_up.count == 1
    assert (await scheduling.drop_backfill(DEFAULT_TENANT, made.id)).count == 15
    await one.close()

    assert await world.fires() == [("DUE", "STARTED")] * 15


async def test_a_moment_that_was_carried_out_is_not_carried_out_again(world: World) -> None:
    schedule = await world.schedule(due_seconds_ago=0, overlap=ScheduleOverlap.PARALLEL)
    moment = await world.next_fire_at(schedule.id)
    await world.duty.fire()
    await world.pool.execute("UPDATE schedule SET next_fire_at = $1, catch_up_seconds = 0", moment)

    await world.duty.fire()

    started = await world.pool.fetchval("SELECT count(*) FROM schedule_fire WHERE scheduled_for = $1", moment)
    assert started == 1
    assert await world.executions() == ["QUEUED"]
    next_fire_at = await world.next_fire_at(schedule.id)
    assert next_fire_at is not None
    assert next_fire_at > utc_now() - timedelta(seconds=1)


async def test_a_crash_before_the_commit_loses_nothing_and_doubles_nothing(world: World) -> None:
    await world.schedule(due_seconds_ago=0)

    class Broken(FireSchedules):
        """Its connection breaks at the commit."""

        def __init__(self) -> None:
            super().__init__(_Breaking(world.units), world.due, world.hints)

    with pytest.raises(Unavailable):
        await Broken().fire()
    assert (await world.fires(), await world.executions()) == ([], [])
    assert world.hints.topics == []

    assert await world.duty.fire() == 1
    assert (await world.fires(), await world.executions()) == ([("DUE", "STARTED")], ["QUEUED"])


class _Breaking:
    """Units of work that cannot be committed."""

    def __init__(self, units: SqlUnitsOfWork) -> None:
        self.units = units

    def __call__(self, tenant_id: Any) -> Any:
        return _BreakingUnit(self.units(tenant_id))


class _BreakingUnit:
    def __init__(self, opened: Any) -> None:
        self.opened = opened

    async def __aenter__(self) -> Any:
        unit = await self.opened.__aenter__()

        async def commit() -> None:
            raise Unavailable("The database does not answer.")

        unit.commit = commit
        return unit

    async def __aexit__(self, *error: object) -> Any:
        return await self.opened.__aexit__(*error)


async def test_a_kickoff_that_is_refused_is_told_and_the_schedule_goes_on(world: World) -> None:
    schedule = await world.schedule(due_seconds_ago=0)
    await world.pool.execute("UPDATE role SET is_active = false")

    await world.duty.fire()

    row = await world.pool.fetchrow("SELECT outcome, message, execution_id FROM schedule_fire")
    assert row is not None
    assert tuple(row) == ("FAILED", "The team has no active role.", None)
    assert await world.executions() == []
    assert await world.next_fire_at(schedule.id) is not None


async def test_a_fault_of_ours_is_told_and_keeps_nobody_waiting(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.schedule(due_seconds_ago=90, name="bad", inputs={"fault": 1})
    await world.schedule(due_seconds_ago=0, name="good")
    plain = firing._request  # noqa: SLF001 - the place of the fault

    def request(schedule: Schedule, when_busy: WhenBusy | None) -> Any:
        if schedule.name == "bad":
            raise ZeroDivisionError
        return plain(schedule, when_busy)

    monkeypatch.setattr(firing, "_request", request)

    assert await world.duty.fire() == 2
    assert sorted(await world.fires()) == [("DUE", "FAILED"), ("DUE", "STARTED")]


async def test_a_schedule_whose_clock_nobody_knows_here_is_put_off_and_keeps_nobody_waiting(world: World) -> None:
    lost = await world.schedule(due_seconds_ago=90, overlap=ScheduleOverlap.QUEUE)
    moment = await world.next_fire_at(lost.id)
    await world.pool.execute("UPDATE schedule SET time_zone = 'Mars/Base'")
    await world.schedule(due_seconds_ago=0)
    made_up = await world.hourly()
    assert await _backfilled(world, made_up, 1) == 1

    assert await world.duty.fire() == 2

    assert sorted(await world.fires()) == [("BACKFILL", "STARTED"), ("DUE", "FAILED"), ("DUE", "STARTED")]
    failed = await world.pool.fetchrow(
        "SELECT fire.scheduled_for, fire.message FROM schedule JOIN schedule_fire AS fire ON fire.id = last_fire_id"
        " WHERE schedule.id = $1",
        lost.id,
    )
    assert failed is not None
    assert tuple(failed) == (moment, "A fault of Regatta kept it from being carried out.")
    later = await world.next_fire_at(lost.id)
    assert later is not None
    assert later > utc_now()


async def test_a_schedule_whose_executions_somebody_holds_keeps_nobody_waiting_and_fires_later(
    world: World, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firing, "LOCK_SECONDS", 0.05)
    held = await world.schedule(due_seconds_ago=120, overlap=ScheduleOverlap.REPLACE)
    await world.duty.fire()
    await world.forget_fires()
    await world.make_due(held.id)
    await world.schedule(due_seconds_ago=0)

    with psycopg.connect(database_url) as somebody:
        somebody.execute("SELECT FROM execution_sequence FOR UPDATE")
        with pytest.raises(Busy):
            await world.duty.fire()
        assert await world.executions() == ["QUEUED", "QUEUED"]

    assert await world.duty.fire() == 1
    assert await world.executions() == ["CANCELLED", "QUEUED", "QUEUED"]


async def test_fires_that_nobody_carried_out_are_one(world: World) -> None:
    schedule = await world.schedule(cron="* * * * *")
    first = utc_now().replace(second=0, microsecond=0) - timedelta(minutes=10)
    await world.pool.execute("UPDATE schedule SET next_fire_at = $1", first)

    await world.duty.fire()

    [row] = await world.pool.fetch("SELECT scheduled_for, missed_since, outcome FROM schedule_fire")
    assert (row["outcome"], row["missed_since"]) == ("STARTED", first)
    # The last minute that had begun: the one before that in which it fires next.
    assert await world.next_fire_at(schedule.id) == row["scheduled_for"] + timedelta(minutes=1)
    assert row["scheduled_for"] >= first + timedelta(minutes=10)


async def test_a_fire_that_is_too_late_is_missed(world: World) -> None:
    moment = utc_now().replace(second=0, microsecond=0) - timedelta(hours=2)
    await world.schedule(cron=f"{moment.minute} {moment.hour} * * *")
    await world.pool.execute("UPDATE schedule SET next_fire_at = $1", moment)

    await world.duty.fire()

    assert (await world.fires(), await world.executions()) == ([("DUE", "MISSED")], [])


@pytest.mark.parametrize("action", ["pause", "archive"])
async def test_what_is_out_of_use_does_not_fire(world: World, action: str) -> None:
    schedule = await world.schedule(due_seconds_ago=0)
    await {"pause": world.scheduling.pause, "archive": world.editing.archive}[action](DEFAULT_TENANT, schedule.id)

    assert await world.duty.fire() == 0
    assert await world.fires() == []


async def test_an_edit_does_not_take_back_what_fired_meanwhile(world: World) -> None:
    schedule = await world.schedule(due_seconds_ago=0)
    await world.duty.fire()
    fired = await world.pool.fetchrow("SELECT next_fire_at, last_fire_id FROM schedule")

    await world.editing.update(DEFAULT_TENANT, schedule.id, schedule.version, {"name": "Other"})

    assert await world.pool.fetchrow("SELECT next_fire_at, last_fire_id FROM schedule") == fired


# ---------------------------------------------------------------- overlap


@pytest.mark.parametrize(
    ("overlap", "outcome", "statuses"),
    [
        (ScheduleOverlap.SKIP, "SKIPPED", ["QUEUED"]),
        (ScheduleOverlap.QUEUE, "STARTED", ["QUEUED", "QUEUED"]),
        (ScheduleOverlap.PARALLEL, "STARTED", ["QUEUED", "QUEUED"]),
        (ScheduleOverlap.REPLACE, "STARTED", ["CANCELLED", "QUEUED"]),
    ],
)
async def test_what_a_fire_does_while_an_earlier_execution_is_not_over(
    world: World, overlap: ScheduleOverlap, outcome: str, statuses: list[str]
) -> None:
    schedule = await world.schedule(due_seconds_ago=0, overlap=overlap)
    await world.duty.fire()
    await world.forget_fires()
    await world.make_due(schedule.id)

    await world.duty.fire()

    assert await world.fires() == [("DUE", "STARTED"), ("DUE", outcome)]
    assert await world.executions() == statuses
    alone = [row[0] for row in await world.pool.fetch("SELECT is_alone FROM admission ORDER BY waiting_since")]
    assert alone[1:] == {"QUEUED": [True], "PARALLEL": [False]}.get(overlap.value.replace("QUEUE", "QUEUED"), [])


async def test_a_fire_that_replaces_locks_the_team_before_its_executions(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firing, "LOCK_SECONDS", 60.0)  # however long it takes us to look
    schedule = await world.schedule(due_seconds_ago=0, overlap=ScheduleOverlap.REPLACE)
    await world.duty.fire()
    await world.forget_fires()
    await world.make_due(schedule.id)

    async with world.units(DEFAULT_TENANT) as kickoff:
        await kickoff.definitions.lock(world.team.id)
        firing_now = asyncio.create_task(world.duty.fire())
        await _until_somebody_waits(world)
        await world.pool.execute("SELECT FROM execution_sequence FOR UPDATE NOWAIT")

    assert await firing_now == 1
    assert await world.executions() == ["CANCELLED", "QUEUED"]


_SOMEBODY_WAITS = """
    SELECT EXISTS (
        SELECT FROM pg_locks AS wanted JOIN pg_locks AS held USING (pid)
        WHERE NOT wanted.granted
            AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    )
"""


async def _until_somebody_waits(world: World) -> None:
    async with asyncio.timeout(20):
        while not await world.pool.fetchval(_SOMEBODY_WAITS):  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("status", [ExecutionStatus.PAUSED, ExecutionStatus.AWAITING_APPROVAL])
async def test_an_execution_that_waits_for_somebody_is_not_over(world: World, status: ExecutionStatus) -> None:
    schedule = await world.schedule(due_seconds_ago=0)
    await world.duty.fire()
    await world.end_all(status)
    await world.forget_fires()
    await world.make_due(schedule.id)

    await world.duty.fire()

    assert await world.fires() == [("DUE", "STARTED"), ("DUE", "SKIPPED")]


async def test_an_execution_that_is_over_is_in_nobodys_way(world: World) -> None:
    schedule = await world.schedule(due_seconds_ago=0)
    await world.duty.fire()
    await world.end_all()
    await world.forget_fires()
    await world.make_due(schedule.id)

    await world.duty.fire()

    assert await world.executions() == ["COMPLETED", "QUEUED"]


async def test_executions_of_another_schedule_are_in_nobodys_way(world: World) -> None:
    await world.schedule(due_seconds_ago=0)
    await world.duty.fire()
    await world.schedule(due_seconds_ago=0)

    await world.duty.fire()

    assert await world.executions() == ["QUEUED", "QUEUED"]


async def test_a_schedule_does_not_pile_up_executions_without_end(world: World) -> None:
    schedule = await world.schedule(overlap=ScheduleOverlap.QUEUE)
    for _ in range(MAX_OPEN):
        await world.scheduling.trigger(DEFAULT_TENANT, schedule.id)

    with pytest.raises(ScheduleBusy):
        await world.scheduling.trigger(DEFAULT_TENANT, schedule.id)

    assert len(await world.executions()) == MAX_OPEN


# ---------------------------------------------------------------- back-fill


async def _backfilled(world: World, schedule: Schedule, hours: int) -> int:
    until = utc_now()
    made = await world.scheduling.backfill(DEFAULT_TENANT, schedule.id, until - timedelta(hours=hours), until)
    return made.count


async def test_a_back_fill_runs_one_after_the_other_the_oldest_first(world: World) -> None:
    schedule = await world.hourly()
    assert await _backfilled(world, schedule, 3) == 3

    rounds = []
    for _ in range(3):
        rounds.append((await world.duty.fire(), await world.duty.fire()))
        await world.end_all()

    assert rounds == [(1, 0)] * 3
    moments = [row[0] for row in await world.pool.fetch("SELECT scheduled_for FROM schedule_fire ORDER BY fired_at")]
    assert len(moments) == 3
    assert moments == sorted(moments)
    assert await world.fires() == [("BACKFILL", "STARTED")] * 3


async def test_the_same_range_again_makes_nothing_twice(world: World) -> None:
    schedule = await world.hourly()
    await _backfilled(world, schedule, 2)
    await world.duty.fire()

    assert await _backfilled(world, schedule, 3) == 1  # the hour that is new

    assert sorted(await world.fires()) == [("BACKFILL", "PENDING")] * 2 + [("BACKFILL", "STARTED")]


async def test_a_back_fill_makes_up_what_was_refused_or_missed(world: World) -> None:
    schedule = await world.hourly()
    await _backfilled(world, schedule, 1)
    await world.pool.execute("UPDATE role SET is_active = false")
    await world.duty.fire()
    assert await world.fires() == [("BACKFILL", "FAILED")]
    await world.pool.execute("UPDATE role SET is_active = true")

    assert await _backfilled(world, schedule, 1) == 1
    await world.duty.fire()

    assert await world.fires() == [("BACKFILL", "STARTED")]
    assert await world.pool.fetchval("SELECT message FROM schedule_fire") is None


async def test_of_many_workers_at_once_one_makes_a_fire_up(world: World) -> None:
    schedule = await world.hourly()
    await _backfilled(world, schedule, 5)
    workers = [FireSchedules(world.units, world.due, world.hints) for _ in range(4)]

    carried = await asyncio.gather(*(worker.fire() for worker in workers))

    assert sum(carried) == 1
    assert await world.executions() == ["QUEUED"]


async def test_a_back_fill_of_a_schedule_that_overlaps_runs_ten_at_once(world: World) -> None:
    schedule = await world.hourly(overlap=ScheduleOverlap.PARALLEL)
    await _backfilled(world, schedule, 12)

    rounds = [await world.duty.fire() for _ in range(12)]

    assert rounds == [1] * 10 + [0] * 2


async def test_a_paused_schedule_makes_nothing_up_before_it_is_resumed(world: World) -> None:
    schedule = await world.hourly()
    await _backfilled(world, schedule, 1)
    await world.scheduling.pause(DEFAULT_TENANT, schedule.id)
    assert await world.duty.fire() == 0

    await world.scheduling.resume(DEFAULT_TENANT, schedule.id)

    assert await world.duty.fire() == 1


async def test_a_moment_that_waits_to_be_made_up_is_not_carried_out_as_due_as_well(world: World) -> None:
    schedule = await world.schedule(due_seconds_ago=0)
    moment = await world.next_fire_at(schedule.id)
    assert moment is not None
    fire = ScheduleFire(DEFAULT_TENANT, schedule.id, FireKind.BACKFILL, moment, FireOutcome.PENDING)
    async with world.units(DEFAULT_TENANT) as unit:
        assert await unit.schedules.plan_backfill([fire]) == 1
        await unit.commit()

    assert await world.duty.fire() == 1

    assert await world.fires() == [("BACKFILL", "STARTED")]
    assert await world.executions() == ["QUEUED"]


# ---------------------------------------------------------------- units of work within one another


async def test_what_a_nested_unit_of_work_did_goes_with_it_and_the_rest_stays(world: World) -> None:
    async with world.units(DEFAULT_TENANT) as unit:
        await unit.projects.add(Project(DEFAULT_TENANT, "kept"))
        async with unit.nested(DEFAULT_TENANT) as inner:
            await inner.projects.add(Project(DEFAULT_TENANT, "dropped"))
        async with unit.nested(DEFAULT_TENANT) as inner:
            await inner.projects.add(Project(DEFAULT_TENANT, "kept too"))
            await inner.commit()
        await unit.commit()

    names = {row[0] for row in await world.pool.fetch("SELECT name FROM project")}
    assert names == {"Project", "kept", "kept too"}


async def test_what_a_nested_unit_of_work_committed_does_not_stand_without_the_outer_one(world: World) -> None:
    async with world.units(DEFAULT_TENANT) as unit, unit.nested(DEFAULT_TENANT) as inner:
        await inner.projects.add(Project(DEFAULT_TENANT, "dropped"))
        await inner.commit()

    assert await world.pool.fetchval("SELECT count(*) FROM project") == 1
