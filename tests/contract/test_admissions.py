"""Who is given a place on a worker, and what becomes of the places of a worker that is lost: on PostgreSQL."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.errors import Unavailable
from domain.events import ExecutionInterrupted
from domain.model.execution import Execution, ExecutionStatus
from domain.model.identity import DEFAULT_TENANT, ExecutionId, utc_now
from domain.ports import AdmissionKey
from persistence.admissions import SqlAdmissions
from persistence.engine import Database
from tests.support.fakes import a_team_with_tasks
from tests.support.worlds import SqlWorld

START = utc_now() - timedelta(hours=1)


class Line:
    """The queue of a deployment, filled by hand: rows of executions that need not exist."""

    def __init__(self, owner: "psycopg.Connection[Any]", database: Database) -> None:
        self.admissions = SqlAdmissions(database.pool)
        self._owner = owner
        self._clock = 0
        self._projects: dict[UUID, UUID] = {}
        owner.execute("SET session_replication_role = replica")

    def tenant(self, limit: int | None = None, tenant: UUID | None = None) -> UUID:
        tenant = tenant or uuid4()
        self._owner.execute(
            "INSERT INTO tenant (id, name, created_at, max_parallel_executions) VALUES (%s, 'Some', now(), %s)",
            [tenant, limit],
        )
        self._projects[tenant] = self.project(tenant)
        return tenant

    def project(self, tenant: UUID, limit: int | None = None) -> UUID:
        project = uuid4()
        self._owner.execute(
            "INSERT INTO project (tenant_id, id, name, description, max_parallel_executions, version, created_at,"
            " updated_at) VALUES (%s, %s, %s, '', %s, 1, now(), now())",
            [tenant, project, str(project), limit],
        )
        return project

    def wait(
        self,
        tenant: UUID,
        *,
        team: UUID | None = None,
        project: UUID | None = None,
        priority: int = 5,
        is_alone: bool = False,
    ) -> UUID:
        """One more that waits, younger than those before it."""
        self._clock += 1
        execution, since = uuid4(), START + timedelta(seconds=self._clock)
        ids = [tenant, execution, uuid4(), project or self._projects[tenant], team or uuid4()]
        self._owner.execute(
            "INSERT INTO admission (tenant_id, execution_id, id, project_id, team_id, priority, is_alone,"
            " waiting_since) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            [*ids, priority, is_alone, since],
        )
        return execution

    async def admit(self, places: int = 1, most: int | None = None, worker: str = "w1") -> list[UUID]:
        return [key.execution_id for key in await self.admissions.admit(worker, places, most)]

    def end(self, execution: UUID) -> None:
        self._owner.execute("DELETE FROM admission WHERE execution_id = %s", [execution])

    def forget(self) -> None:
        self._owner.execute("DELETE FROM admission; DELETE FROM admission_turn")

    def placed(self) -> "Counter[UUID]":
        """How many places each tenant has."""
        rows = self._owner.execute("SELECT tenant_id FROM admission WHERE worker_id IS NOT NULL").fetchall()
        return Counter(row[0] for row in rows)


@pytest.fixture
def owner(database_url: str) -> Iterator["psycopg.Connection[Any]"]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def line(owner: "psycopg.Connection[Any]", database: Database) -> Line:
    return Line(owner, database)


async def test_nothing_waits_and_nothing_is_given(line: Line) -> None:
    assert await line.admit(places=10) == []


async def test_within_a_tenant_the_priority_decides_and_then_the_age(line: Line) -> None:
    tenant = line.tenant()
    old, urgent, young, more_urgent = (line.wait(tenant, priority=priority) for priority in (5, 7, 5, 9))

    taken = [await line.admit() for _ in range(5)]

    assert taken == [[more_urgent], [urgent], [old], [young], []]


async def test_a_place_is_given_once(line: Line) -> None:
    tenant = line.tenant()
    waiting = {line.wait(tenant) for _ in range(40)}

    taken = await asyncio.gather(*(line.admit(5, worker=f"w{number}") for number in range(8)))

    assert sorted(each for share in taken for each in share) == sorted(waiting)


async def test_a_worker_knows_what_it_was_given(line: Line) -> None:
    tenant = line.tenant()
    line.wait(tenant)
    line.wait(tenant)

    [key] = await line.admissions.admit("w1", 1, None)
    await line.admissions.admit("w2", 1, None)

    assert await line.admissions.held_by("w1") == [key]


async def test_the_first_of_a_tenant_waits_for_no_more_than_one_place_whatever_another_has_queued(line: Line) -> None:
    many, few = line.tenant(), line.tenant()
    for _ in range(1000):
        line.wait(many)
    running = await line.admit(10)
    first = line.wait(few)

    line.end(running[0])

    assert await line.admit() == [first]


async def test_tenants_take_turns_also_when_there_is_one_place_in_all(line: Line) -> None:
    tenants = sorted(line.tenant() for _ in range(3))
    owners = {line.wait(tenant): tenant for tenant in tenants for _ in range(4)}
    order = []

    for _ in range(9):
        [taken] = await line.admit()
        order.append(owners[taken])
        line.end(taken)

    assert order == tenants * 3


async def test_of_many_places_at_once_every_tenant_has_its_share(line: Line) -> None:
    tenants = sorted(line.tenant() for _ in range(3))
    for tenant, count in zip(tenants, (100, 5, 1), strict=True):
        for _ in range(count):
            line.wait(tenant)

    await line.admit(10)

    assert line.placed() == {tenants[0]: 5, tenants[1]: 4, tenants[2]: 1}


async def test_tenants_that_cannot_go_on_do_not_hide_the_others(line: Line) -> None:
    for _ in range(30):
        stuck = line.tenant(limit=0)
        line.wait(stuck)
    free = line.tenant()
    expected = [line.wait(free), line.wait(free)]

    assert await line.admit(2) == expected


async def test_of_a_team_that_runs_alone_one_has_a_place_at_a_time(line: Line) -> None:
    tenant, team = line.tenant(), uuid4()
    first, second = (line.wait(tenant, team=team, is_alone=True) for _ in range(2))
    other = line.wait(tenant, is_alone=True)

    assert await line.admit(10) == [first, other]
    assert await line.admit(10) == []
    line.end(first)
    assert await line.admit(10) == [second]


async def test_one_that_does_not_mind_waits_behind_one_of_its_team_that_has_to_be_alone(line: Line) -> None:
    tenant, team = line.tenant(), uuid4()
    running = line.wait(tenant, team=team)
    await line.admit()
    alone = line.wait(tenant, team=team, is_alone=True)
    behind = line.wait(tenant, team=team)
    elsewhere = line.wait(tenant)

    assert await line.admit(10) == [elsewhere]
    line.end(running)
    assert sorted(await line.admit(10)) == sorted([alone, behind])


async def test_one_that_has_to_be_alone_has_its_turn_however_many_come_that_do_not_mind(line: Line) -> None:
    tenant, team = line.tenant(), uuid4()
    running = [line.wait(tenant, team=team), line.wait(tenant, team=team)]
    await line.admit(2)
    alone = line.wait(tenant, team=team, is_alone=True)
    given = list[UUID]()

    for _ in range(4):
        line.wait(tenant, team=team)
        line.end(running.pop(0))
        given += await line.admit()
        running += given[-1:]

    assert given[0] == alone


async def test_one_that_has_a_higher_priority_passes_one_of_its_team_that_has_to_be_alone(line: Line) -> None:
    tenant, team = line.tenant(), uuid4()
    line.wait(tenant, team=team)
    await line.admit()
    line.wait(tenant, team=team, is_alone=True)
    urgent = line.wait(tenant, team=team, priority=6)

    assert await line.admit(10) == [urgent]


async def test_between_two_that_have_to_be_alone_those_begin_that_stand_behind_the_first_one(line: Line) -> None:
    tenant, team = line.tenant(), uuid4()
    first = line.wait(tenant, team=team, is_alone=True)
    beside = line.wait(tenant, team=team)
    line.wait(tenant, team=team, is_alone=True)
    line.wait(tenant, team=team)

    assert sorted(await line.admit(10)) == sorted([first, beside])
    assert await line.admit(10) == []


async def test_one_that_has_to_be_alone_does_not_begin_together_with_an_earlier_one_of_its_team(line: Line) -> None:
    tenant, team = line.tenant(), uuid4()
    beside = line.wait(tenant, team=team)
    line.wait(tenant, team=team, is_alone=True)

    assert await line.admit(10) == [beside]


async def test_the_limits_of_project_tenant_and_deployment_hold(line: Line) -> None:
    tenant = line.tenant(limit=3)
    small, large = line.project(tenant, limit=1), line.project(tenant)
    first, _, third = (line.wait(tenant, project=project) for project in (small, small, large))
    fourth = line.wait(tenant, project=large)
    line.wait(tenant, project=large)

    assert await line.admit(10, most=2) == [first, third]
    assert await line.admit(10, most=2) == []
    assert await line.admit(10, most=9) == [fourth]
    assert await line.admit(10, most=9) == []


async def test_what_somebody_holds_is_passed_over_and_not_waited_for(line: Line, database_url: str) -> None:
    tenant = line.tenant()
    first, second = line.wait(tenant), line.wait(tenant)

    with psycopg.connect(database_url) as cancelling:
        cancelling.execute("SELECT FROM admission WHERE execution_id = %s FOR UPDATE", [first])
        async with asyncio.timeout(20):
            assert await line.admit() == [second]
    assert await line.admit() == [first]


async def test_a_database_that_is_away_is_unavailable(database: Database) -> None:
    admissions = SqlAdmissions(database.pool)
    await database.close()

    with pytest.raises(Unavailable):
        await admissions.admit("w1", 1, None)


Kind = tuple[int, int, int, bool]


def _expected(queued: list[tuple[UUID, Kind]], places: int, limits: list[int | None]) -> list[UUID]:
    """Whom choosing one after another, by the rules as they are written, would take."""
    left, taken = list(queued), list[tuple[UUID, Kind]]()
    turns: dict[int, int] = {}
    while len(taken) < places:
        counts = Counter(kind[0] for _, kind in taken)
        busy = {kind[:2] for _, kind in taken}
        alone = {
            team: min((-kind[2], age) for age, (_, kind) in enumerate(left) if kind[:2] == team and kind[3])
            for team in {kind[:2] for _, kind in left if kind[3]}
        }
        able = [
            (counts[tenant], turns.get(tenant, -1), tenant, -priority, age, identifier, kind)
            for age, (identifier, kind) in enumerate(left)
            for tenant, team, priority, is_alone in [kind]
            if ((tenant, team) not in busy if is_alone else (-priority, age) < alone.get((tenant, team), (1, 0)))
            and ((limit := limits[tenant]) is None or counts[tenant] < limit)
        ]
        if not able:
            break
        *_, identifier, kind = min(able)
        left.remove((identifier, kind))
        taken.append((identifier, kind))
        turns[kind[0]] = len(taken)
    return [identifier for identifier, _ in taken]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kinds=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(4, 6), st.booleans()), max_size=25),
    places=st.integers(1, 12),
    limits=st.lists(st.none() | st.integers(0, 3), min_size=4, max_size=4),
)
def test_choosing_at_once_is_choosing_one_by_one(
    owner: "psycopg.Connection[Any]", database_url: str, kinds: list[Kind], places: int, limits: list[int | None]
) -> None:
    async def choose() -> tuple[list[UUID], list[UUID]]:
        database = await Database.connect(database_url, name="test", pool_size=2)
        line = Line(owner, database)
        line.forget()
        ids = sorted(uuid4() for _ in limits)
        tenants = [line.tenant(limit, tenant) for tenant, limit in zip(ids, limits, strict=True)]
        teams = {(tenant, team): uuid4() for tenant in range(4) for team in range(3)}
        queued = [
            (line.wait(tenants[kind[0]], team=teams[kind[:2]], priority=kind[2], is_alone=kind[3]), kind)
            for kind in kinds
        ]
        taken = await line.admit(places)
        await database.close()
        return taken, _expected(queued, places, limits)

    taken, expected = asyncio.run(choose())

    assert sorted(taken) == sorted(expected)


# ---------------------------------------------------------------- the places of who is lost


async def placed(
    world: SqlWorld, owner: "psycopg.Connection[Any]", status: ExecutionStatus, worker: str = "lost"
) -> tuple[Execution, AdmissionKey]:
    """An execution in this state, with a place on the worker."""
    execution, tasks, snapshot = a_team_with_tasks("only")
    await world.add(execution, tasks, snapshot)
    owner.execute("DELETE FROM admission WHERE execution_id = %s", [execution.id])
    owner.execute("UPDATE execution SET status = %s WHERE id = %s", [status.value, execution.id])
    row = owner.execute(
        "INSERT INTO admission (tenant_id, execution_id, id, project_id, team_id, priority, is_alone, waiting_since,"
        " worker_id, admitted_at) VALUES (%s, %s, %s, %s, %s, 5, true, %s, %s, now()) RETURNING id",
        [DEFAULT_TENANT, execution.id, uuid4(), execution.project_id, execution.team_id, START, worker],
    ).fetchone()
    assert row
    return execution, AdmissionKey(DEFAULT_TENANT, execution.id, row[0])


def head(owner: "psycopg.Connection[Any]", execution_id: ExecutionId) -> tuple[int, int]:
    """The last event's number, and the owning epoch."""
    row = owner.execute(
        "SELECT last_sequence, owner_epoch FROM execution_sequence WHERE execution_id = %s", [execution_id]
    ).fetchone()
    assert row
    return row[0], row[1]


def standing(owner: "psycopg.Connection[Any]", execution_id: ExecutionId) -> tuple[Any, ...]:
    row = owner.execute(
        "SELECT id, worker_id, admitted_at, waiting_since FROM admission WHERE execution_id = %s", [execution_id]
    ).fetchone()
    assert row
    return tuple(row)


async def test_what_a_lost_worker_ran_waits_again_and_its_owner_is_shut_out(
    database: Database, owner: "psycopg.Connection[Any]"
) -> None:
    world, admissions = SqlWorld(database), SqlAdmissions(database.pool)
    execution, key = await placed(world, owner, ExecutionStatus.RUNNING)
    last, epoch = head(owner, execution.id)

    released = await admissions.release("lost")

    assert (released.waiting, list(released.cancelling), released.held) == (1, [], 0)
    identifier, *rest = standing(owner, execution.id)
    assert identifier != key.id
    assert rest == [None, None, START]
    assert head(owner, execution.id) == (last + 1, epoch + 1)
    [event] = [each for each in await world.events(execution.id) if each.sequence == last + 1]
    assert isinstance(event, ExecutionInterrupted)
    assert event.worker_id == "lost"
    assert (await world.execution(execution.id)).status is ExecutionStatus.RUNNING


async def test_what_was_given_and_never_begun_waits_again_without_a_trace(
    database: Database, owner: "psycopg.Connection[Any]"
) -> None:
    world, admissions = SqlWorld(database), SqlAdmissions(database.pool)
    execution, key = await placed(world, owner, ExecutionStatus.QUEUED)
    before = head(owner, execution.id)

    released = await admissions.release("lost")

    assert released.waiting == 1
    assert standing(owner, execution.id)[0] != key.id
    assert head(owner, execution.id) == before


async def test_what_is_being_cancelled_is_named_and_left(database: Database, owner: "psycopg.Connection[Any]") -> None:
    world, admissions = SqlWorld(database), SqlAdmissions(database.pool)
    execution, key = await placed(world, owner, ExecutionStatus.CANCELLING)

    released = await admissions.release("lost")

    assert (released.waiting, list(released.cancelling)) == (0, [(DEFAULT_TENANT, execution.id)])
    assert await admissions.held_by("lost") == [key]


async def test_a_place_of_what_is_over_is_removed(database: Database, owner: "psycopg.Connection[Any]") -> None:
    world, admissions = SqlWorld(database), SqlAdmissions(database.pool)
    await placed(world, owner, ExecutionStatus.COMPLETED)

    released = await admissions.release("lost")

    assert (released.waiting, list(released.cancelling), released.held) == (0, [], 0)
    assert await admissions.held_by("lost") == []


async def test_others_keep_their_places(database: Database, owner: "psycopg.Connection[Any]") -> None:
    world, admissions = SqlWorld(database), SqlAdmissions(database.pool)
    _, kept = await placed(world, owner, ExecutionStatus.RUNNING, "alive")
    _, first = await placed(world, owner, ExecutionStatus.RUNNING, "partly")
    _, second = await placed(world, owner, ExecutionStatus.RUNNING, "partly")

    assert (await admissions.release("partly", [first.id])).waiting == 1

    assert await admissions.held_by("alive") == [kept]
    assert await admissions.held_by("partly") == [second]


async def test_one_that_somebody_holds_keeps_no_other_from_going_on(
    database: Database, database_url: str, owner: "psycopg.Connection[Any]"
) -> None:
    world, admissions = SqlWorld(database), SqlAdmissions(database.pool)
    execution, _ = await placed(world, owner, ExecutionStatus.RUNNING)
    await placed(world, owner, ExecutionStatus.RUNNING)

    with psycopg.connect(database_url) as stalled:
        stalled.execute("SELECT FROM execution_sequence WHERE execution_id = %s FOR UPDATE", [execution.id])
        async with asyncio.timeout(20):
            first = await admissions.release("lost")
    second = await admissions.release("lost")

    assert (first.waiting, first.held) == (1, 1)
    assert (second.waiting, second.held) == (1, 0)


async def test_of_several_survivors_one_takes_each_place_away(
    database: Database, owner: "psycopg.Connection[Any]"
) -> None:
    world, admissions = SqlWorld(database), SqlAdmissions(database.pool)
    executions = [(await placed(world, owner, ExecutionStatus.RUNNING))[0] for _ in range(5)]

    released = await asyncio.gather(*(admissions.release("lost") for _ in range(4)))

    assert sum(each.waiting for each in released) == len(executions)
    assert [head(owner, each.id)[1] for each in executions] == [1] * len(executions)
