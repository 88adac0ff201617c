"""Units of work, repositories and the reader on a real database: transactions, races, tenants, lost connections."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence, Sized
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from domain.errors import IdempotencyConflict, NameTaken, NotFound, StaleVersion, Unavailable
from domain.events import ExecutionQueued
from domain.model.execution import Execution, TaskExecution
from domain.model.identity import DEFAULT_TENANT, TenantId, new_id, utc_now
from domain.model.ledger import CallOutcome, LedgerEntry
from domain.model.page import PageRequest
from domain.model.project import Project, Tenant
from domain.model.revision import TeamRevision
from domain.model.role import Role
from domain.model.task import Task
from domain.model.team import Team
from domain.model.tool import Tool, ToolKind
from domain.ports import Change, Reader, UnitOfWork, UnitsOfWork
from domain.services.editing import ROLES, Editing
from domain.services.executions import KickoffRequest, KickoffTeam
from persistence.engine import Database
from persistence.reader import SqlReader
from persistence.run_store import SqlRunStore
from persistence.unit_of_work import SqlUnitsOfWork
from persistence.urls import asyncpg_url
from tests.support.fakes import FakeHints
from tests.support.worlds import SqlWorld

OTHER_TENANT = TenantId(UUID(int=2))
SOON = 20.0  # seconds after which something did not happen


@pytest.fixture
def units(database: Database) -> UnitsOfWork:
    return SqlUnitsOfWork(database.engine)


@pytest.fixture
def reader(database: Database) -> Reader:
    return SqlReader(database.pool)


@pytest.fixture
def kickoff(units: UnitsOfWork) -> KickoffTeam:
    return KickoffTeam(units, FakeHints())


async def committed(units: UnitsOfWork, add: Callable[[UnitOfWork], Awaitable[Any]]) -> Any:
    async with units(DEFAULT_TENANT) as unit:
        result = await add(unit)
        await unit.commit()
    return result


async def a_project(units: UnitsOfWork, name: str = "Project") -> Project:
    project = Project(DEFAULT_TENANT, name)
    await committed(units, lambda unit: unit.projects.add(project))
    return project


@dataclass
class Things:
    """One of everything, joined up."""

    project: Project
    team: Team
    role: Role
    task: Task
    tool: Tool


async def a_team(units: UnitsOfWork, name: str = "Project") -> Things:
    project = Project(DEFAULT_TENANT, name)
    team = Team(DEFAULT_TENANT, project.id, "Team")
    role = Role(DEFAULT_TENANT, team.id, "Writer")
    task = Task(DEFAULT_TENANT, team.id, "Write", "Write it.", "A text", role_id=role.id)
    review = Task(DEFAULT_TENANT, team.id, "Review", "Read it.", "A list", role_id=role.id, position=1)
    tool = Tool(DEFAULT_TENANT, project.id, "Sums", ToolKind.CALCULATOR)
    async with units(DEFAULT_TENANT) as unit:
        await unit.projects.add(project)
        await unit.teams.add(team)
        await unit.roles.add(role)
        await unit.tasks.add(task)
        await unit.tasks.add(review)
        await unit.tools.add(tool)
        await unit.definitions.set_tools(role, [tool.id])
        await unit.definitions.set_dependencies(review, [task.id])
        await unit.commit()
    return Things(project, team, role, review, tool)


async def count(database: Database, table: str) -> int:
    found: int = await database.pool.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 - a constant of this file
    return found


# ---------------------------------------------------------------- transactions


async def test_leaving_a_unit_of_work_without_commit_writes_nothing(units: UnitsOfWork, database: Database) -> None:
    async with units(DEFAULT_TENANT) as unit:
        await unit.projects.add(Project(DEFAULT_TENANT, "Project"))

    assert await count(database, "project") == 0


async def test_an_error_writes_nothing_of_what_came_before_it(units: UnitsOfWork, database: Database) -> None:
    async def add(unit: UnitOfWork) -> None:
        await unit.projects.add(Project(DEFAULT_TENANT, "Project"))
        await unit.teams.add(Team(DEFAULT_TENANT, Project(DEFAULT_TENANT, "Nowhere").id, "Team"))

    with pytest.raises(NotFound) as refused:
        await committed(units, add)

    assert refused.value.path == ("projectId",)
    assert await count(database, "project") == 0


async def test_what_is_stored_comes_back_as_it_was(units: UnitsOfWork) -> None:
    things = await a_team(units)

    async with units(DEFAULT_TENANT) as unit:
        assert await unit.projects.get(things.project.id) == things.project
        assert await unit.teams.get(things.team.id) == things.team
        assert await unit.roles.get(things.role.id) == things.role
        assert await unit.tasks.get(things.task.id) == things.task
        assert await unit.tools.get(things.tool.id) == things.tool


# ---------------------------------------------------------------- races


async def test_of_concurrent_inserts_under_one_name_exactly_one_wins(units: UnitsOfWork, database: Database) -> None:
    outcomes = await asyncio.gather(*(a_project(units) for _ in range(5)), return_exceptions=True)

    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert [(type(error), str(error)) for error in refused] == [
        (NameTaken, "Another project has this name already.")
    ] * 4
    assert await count(database, "project") == 1


async def test_the_name_of_an_archived_thing_is_free_until_it_is_restored(units: UnitsOfWork) -> None:
    first = await a_project(units)
    archived = await committed(units, lambda unit: unit.projects.update(replace(first, archived_at=utc_now())))
    await a_project(units)

    with pytest.raises(NameTaken):
        await committed(units, lambda unit: unit.projects.update(replace(archived, archived_at=None)))


async def test_of_concurrent_updates_of_one_version_exactly_one_wins(units: UnitsOfWork) -> None:
    project = await a_project(units)

    outcomes = await asyncio.gather(
        *(
            committed(units, lambda unit, text=text: unit.projects.update(replace(project, description=text)))  # type: ignore[misc]  # mypy does not see a lambda's default
            for text in ("one", "other")
        ),
        return_exceptions=True,
    )

    lost = [outcome for outcome in outcomes if isinstance(outcome, StaleVersion)]
    won = [outcome for outcome in outcomes if isinstance(outcome, Project)]
    assert [(error.expected, error.actual) for error in lost] == [(1, 2)]
    async with units(DEFAULT_TENANT) as unit:
        assert await unit.projects.get(project.id) == won[0]
    assert won[0].version == 2
    assert won[0].updated_at > project.updated_at


async def test_equal_definitions_share_a_revision_and_an_edit_makes_the_next(
    units: UnitsOfWork, kickoff: KickoffTeam, reader: Reader
) -> None:
    things = await a_team(units)
    editing = Editing(units, ROLES)

    async def run() -> TeamRevision:
        revision_id = (await kickoff(DEFAULT_TENANT, KickoffRequest(things.team.id, {}))).revision_id
        return (await reader.by_ids(TeamRevision, DEFAULT_TENANT, [revision_id]))[revision_id]

    first, second = await run(), await run()
    await editing.update(DEFAULT_TENANT, things.role.id, 1, {"title": "Editor"})
    edited = await run()
    await editing.update(DEFAULT_TENANT, things.role.id, 2, {"title": "Writer"})
    back = await run()

    assert [revision.number for revision in (first, second, edited, back)] == [1, 1, 2, 1]
    assert first.id == second.id == back.id
    assert "Editor" in edited.content
    assert "Editor" not in first.content


async def test_concurrent_kickoffs_make_one_revision(
    units: UnitsOfWork, kickoff: KickoffTeam, database: Database
) -> None:
    things = await a_team(units)

    executions = await asyncio.gather(*(kickoff(DEFAULT_TENANT, KickoffRequest(things.team.id, {})) for _ in range(10)))

    assert len({execution.revision_id for execution in executions}) == 1
    assert await count(database, "team_revision") == 1
    assert await count(database, "execution") == 10


async def test_concurrent_edits_and_kickoffs_run_what_the_team_was_at_that_moment(
    units: UnitsOfWork, kickoff: KickoffTeam, reader: Reader
) -> None:
    things = await a_team(units)

    async def edit() -> None:
        for version in range(1, 6):
            await Editing(units, ROLES).update(DEFAULT_TENANT, things.role.id, version, {"title": f"Title {version}"})

    async def run() -> None:
        for _ in range(5):
            await kickoff(DEFAULT_TENANT, KickoffRequest(things.team.id, {}))

    await asyncio.gather(edit(), run(), run())

    last = await kickoff(DEFAULT_TENANT, KickoffRequest(things.team.id, {}))
    found = await reader.by_ids(TeamRevision, DEFAULT_TENANT, [last.revision_id])
    assert "Title 5" in found[last.revision_id].content


# ---------------------------------------------------------------- idempotency keys


async def test_ten_requests_with_one_key_make_one_execution(
    units: UnitsOfWork, kickoff: KickoffTeam, database: Database
) -> None:
    things = await a_team(units)
    request = KickoffRequest(things.team.id, {}, idempotency_key="key")

    executions = await asyncio.gather(*(kickoff(DEFAULT_TENANT, request) for _ in range(10)))

    assert len({execution.id for execution in executions}) == 1
    assert await count(database, "execution") == 1
    assert await count(database, "idempotency_key") == 1


async def test_a_key_of_a_request_that_failed_is_free(units: UnitsOfWork) -> None:
    async with units(DEFAULT_TENANT) as unit:
        assert await unit.idempotency.claim("key", "hash") is None

    async with units(DEFAULT_TENANT) as unit:
        assert await unit.idempotency.claim("key", "hash") is None


async def test_another_request_under_the_key_is_refused_until_the_key_expires(
    units: UnitsOfWork, database: Database
) -> None:
    first, second = new_id(), new_id()

    async def claim(request_hash: str, result: UUID) -> UUID | None:
        async with units(DEFAULT_TENANT) as unit:
            earlier = await unit.idempotency.claim("key", request_hash)
            if earlier is None:
                await unit.idempotency.keep_result("key", result)
                await unit.commit()
            return earlier

    assert await claim("hash", first) is None
    assert await claim("hash", second) == first
    with pytest.raises(IdempotencyConflict):
        await claim("other hash", second)

    await database.pool.execute("UPDATE idempotency_key SET expires_at = now() - interval '1 second'")
    assert await claim("other hash", second) is None
    assert await claim("other hash", first) == second


async def test_the_same_key_of_another_tenant_is_another_key(units: UnitsOfWork, database_url: str) -> None:
    add_other_tenant(database_url)
    await committed(units, lambda unit: unit.idempotency.claim("key", "hash"))

    async with units(OTHER_TENANT) as unit:
        assert await unit.idempotency.claim("key", "hash") is None


# ---------------------------------------------------------------- tenants


def add_other_tenant(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO tenant VALUES (%s, 'other', now())", [OTHER_TENANT])


@dataclass
class Finished:
    """A run with an event and a booked call, and the question's ids."""

    things: Things
    execution: Execution
    tasks: Sequence[TaskExecution]


@pytest.fixture
async def finished(units: UnitsOfWork, kickoff: KickoffTeam, database: Database) -> Finished:
    things = await a_team(units)
    execution = await kickoff(DEFAULT_TENANT, KickoffRequest(things.team.id, {}))
    store = SqlRunStore(database.pool)
    claimed = await SqlWorld(database).claim(execution.id)
    assert claimed
    entry = LedgerEntry(
        DEFAULT_TENANT,
        things.project.id,
        things.team.id,
        execution.id,
        claimed.tasks[0].id,
        things.role.id,
        "m",
        "p",
        1,
        CallOutcome.SUCCEEDED,
    )
    assert await store.commit([Change(claimed.ownership, ledger=[entry])]) == [True]
    return Finished(things, claimed.execution, claimed.tasks)


Question = Callable[[Reader, TenantId, Finished], Awaitable[Sized]]


async def pages(reader: Reader, tenant_id: TenantId, kind: type[Any], parent: str, identifier: UUID) -> Sized:
    request = PageRequest(with_total=True)
    page = (await reader.pages(kind, tenant_id, parent, [identifier], request))[identifier]
    assert page.total == len(page.items)
    return page.items


async def event_page(reader: Reader, tenant_id: TenantId, known: Finished) -> Sized:
    page = (await reader.event_pages(tenant_id, [known.execution.id], PageRequest(with_total=True)))[known.execution.id]
    assert page.total == len(page.items)
    return page.items


async def busy_teams(reader: Reader, tenant_id: TenantId, known: Finished) -> Sized:
    activity = await reader.activity_by_team(tenant_id, [known.things.team.id])
    return [team for team, (is_busy, last) in activity.items() if is_busy or last]


QUESTIONS: dict[str, Question] = {
    "tenant": lambda reader, tenant, _: reader.by_ids(Tenant, tenant, [DEFAULT_TENANT]),
    "project": lambda reader, tenant, known: reader.by_ids(Project, tenant, [known.things.project.id]),
    "team": lambda reader, tenant, known: reader.by_ids(Team, tenant, [known.things.team.id]),
    "role": lambda reader, tenant, known: reader.by_ids(Role, tenant, [known.things.role.id]),
    "task": lambda reader, tenant, known: reader.by_ids(Task, tenant, [known.things.task.id]),
    "tool": lambda reader, tenant, known: reader.by_ids(Tool, tenant, [known.things.tool.id]),
    "revision": lambda reader, tenant, known: reader.by_ids(TeamRevision, tenant, [known.execution.revision_id]),
    "execution": lambda reader, tenant, known: reader.by_ids(Execution, tenant, [known.execution.id]),
    "task execution": lambda reader, tenant, known: reader.by_ids(TaskExecution, tenant, [known.tasks[0].id]),
    "roles of a team": lambda reader, tenant, known: reader.children(
        Role, tenant, "team_id", [known.things.team.id], ["position", "id"]
    ),
    "tasks of a team": lambda reader, tenant, known: reader.children(
        Task, tenant, "team_id", [known.things.team.id], ["position", "id"]
    ),
    "tasks of an execution": lambda reader, tenant, known: reader.children(
        TaskExecution, tenant, "execution_id", [known.execution.id], ["position"]
    ),
    "projects of a tenant": lambda reader, tenant, _: pages(reader, tenant, Project, "tenant_id", DEFAULT_TENANT),
    "teams of a project": lambda reader, tenant, known: pages(
        reader, tenant, Team, "project_id", known.things.project.id
    ),
    "tools of a project": lambda reader, tenant, known: pages(
        reader, tenant, Tool, "project_id", known.things.project.id
    ),
    "executions of a team": lambda reader, tenant, known: pages(
        reader, tenant, Execution, "team_id", known.things.team.id
    ),
    "executions of a tenant": lambda reader, tenant, _: pages(reader, tenant, Execution, "tenant_id", DEFAULT_TENANT),
    "usage of an execution": lambda reader, tenant, known: reader.usage(tenant, "execution_id", [known.execution.id]),
    "usage of a task": lambda reader, tenant, known: reader.usage(tenant, "task_execution_id", [known.tasks[0].id]),
    "tools of a role": lambda reader, tenant, known: reader.tools_by_role(tenant, [known.things.role.id]),
    "what a task waits for": lambda reader, tenant, known: reader.dependencies_by_task(tenant, [known.things.task.id]),
    "activity of a team": busy_teams,
    "events": lambda reader, tenant, known: reader.events(tenant, known.execution.id, 0, 10),
    "page of events": event_page,
    "activity of a project": lambda reader, tenant, known: reader.activity(
        tenant, known.things.project.id, utc_now() - timedelta(days=1), 10
    ),
}


@pytest.mark.parametrize("question", QUESTIONS)
async def test_a_tenant_sees_what_is_its_own_and_nothing_of_another(
    question: str, reader: Reader, finished: Finished, database_url: str
) -> None:
    add_other_tenant(database_url)

    assert len(await QUESTIONS[question](reader, DEFAULT_TENANT, finished)) > 0
    assert len(await QUESTIONS[question](reader, OTHER_TENANT, finished)) == 0


async def test_a_tenant_can_neither_get_nor_change_what_belongs_to_another(
    units: UnitsOfWork, finished: Finished, database_url: str
) -> None:
    add_other_tenant(database_url)
    things = finished.things

    async with units(OTHER_TENANT) as unit:
        attempts: list[Callable[[], Awaitable[Any]]] = [
            lambda: unit.projects.get(things.project.id),
            lambda: unit.projects.update(things.project),
            lambda: unit.roles.get(things.role.id),
            lambda: unit.definitions.lock(things.team.id),
            lambda: unit.definitions.snapshot(things.team.id),
            lambda: unit.executions.get(finished.execution.id),
            lambda: unit.executions.lock(finished.execution.id),
        ]
        for attempt in attempts:
            with pytest.raises(NotFound):
                await attempt()
        assert await unit.definitions.find_revision(finished.execution.revision_id) is None


async def test_a_thing_cannot_refer_to_another_tenants_thing(
    units: UnitsOfWork, finished: Finished, database_url: str, database: Database
) -> None:
    add_other_tenant(database_url)

    async with units(OTHER_TENANT) as unit:
        with pytest.raises(NotFound):
            await unit.teams.add(Team(OTHER_TENANT, finished.things.project.id, "Smuggled"))

    assert await count(database, "team") == 1


async def test_events_of_a_unit_of_work_go_on_where_the_worker_stopped(units: UnitsOfWork, finished: Finished) -> None:
    event = ExecutionQueued(tenant_id=DEFAULT_TENANT, execution_id=finished.execution.id, task_count=2)

    await committed(units, lambda unit: unit.executions.append_events([event]))

    assert event.sequence == 3  # behind ExecutionQueued and ExecutionStarted


# ---------------------------------------------------------------- lost connections


@asynccontextmanager
async def killed_while_waiting(database_url: str) -> AsyncIterator[None]:
    """Whoever asks for a project waits for our lock, and its connection is then terminated; the lock is given up."""
    owner = await psycopg.AsyncConnection.connect(database_url)
    watcher = await psycopg.AsyncConnection.connect(database_url, autocommit=True)
    async with owner, watcher:
        await owner.execute("LOCK TABLE project IN ACCESS EXCLUSIVE MODE")
        killing = asyncio.create_task(_kill_the_first_waiting(watcher))
        yield
        await killing
        await owner.rollback()


async def _kill_the_first_waiting(watcher: psycopg.AsyncConnection) -> None:
    async with asyncio.timeout(SOON):
        while True:
            killed = await watcher.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if killed.rowcount:
                return


async def test_a_read_on_a_lost_connection_is_unavailable_and_the_next_one_works(
    units: UnitsOfWork, reader: Reader, database_url: str
) -> None:
    project = await a_project(units)

    async with killed_while_waiting(database_url):
        with pytest.raises(Unavailable):
            await reader.by_ids(Project, DEFAULT_TENANT, [project.id])

    assert await reader.by_ids(Project, DEFAULT_TENANT, [project.id]) == {project.id: project}


async def test_a_unit_of_work_on_a_lost_connection_is_unavailable_and_the_next_one_works(
    units: UnitsOfWork, database_url: str, database: Database
) -> None:
    async with killed_while_waiting(database_url):
        with pytest.raises(Unavailable):
            await a_project(units)

    assert await count(database, "project") == 0
    await a_project(units)
    assert await count(database, "project") == 1


async def test_connections_that_were_lost_while_idle_are_replaced(
    units: UnitsOfWork, reader: Reader, database_url: str
) -> None:
    project = await a_project(units)
    await reader.by_ids(Project, DEFAULT_TENANT, [project.id])

    with psycopg.connect(database_url, autocommit=True) as owner:
        terminated = owner.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'regatta%%'"
        ).fetchall()
    await asyncio.sleep(0)  # the loop has to hear of it

    assert len(terminated) >= 2
    async with units(DEFAULT_TENANT) as unit:
        assert await unit.projects.get(project.id) == project
    assert await reader.by_ids(Project, DEFAULT_TENANT, [project.id]) == {project.id: project}


async def test_a_server_that_is_not_there_is_unavailable(database: Database) -> None:
    await database.pool.close()
    nowhere = create_async_engine("postgresql+asyncpg://nobody@127.0.0.1:1/nothing")

    with pytest.raises(Unavailable):
        await SqlReader(database.pool).by_ids(Project, DEFAULT_TENANT, [new_id()])
    with pytest.raises(Unavailable):
        await a_project(SqlUnitsOfWork(nowhere))


async def test_no_free_connection_in_time_is_unavailable(database_url: str) -> None:
    engine = create_async_engine(asyncpg_url(database_url), pool_size=1, max_overflow=0, pool_timeout=0.01)
    units = SqlUnitsOfWork(engine)

    async with units(DEFAULT_TENANT):
        with pytest.raises(Unavailable):
            await a_project(units)

    await a_project(units)
    await engine.dispose()


async def test_more_units_of_work_than_connections_wait_for_their_turn(units: UnitsOfWork) -> None:
    project = await a_project(units)

    async def read() -> Project:
        async with units(DEFAULT_TENANT) as unit:
            return await unit.projects.get(project.id)

    assert await asyncio.gather(*(read() for _ in range(50))) == [project] * 50
