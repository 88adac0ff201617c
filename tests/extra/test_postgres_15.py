"""The least supported PostgreSQL: migrations, a kickoff, a run and a read on a server of version 15."""

from collections.abc import Iterator

import pytest
from alembic import command

from app.main import create_app
from app.migrations import configuration, migrate
from app.settings import Settings
from domain.model.identity import ExecutionId
from persistence.engine import LEAST_SERVER_VERSION, Database
from persistence.workers import SqlWorkers
from tests.support.debian import debian_server
from tests.support.graphql import Graph
from tests.support.worlds import SqlWorld

pytestmark = pytest.mark.extra


@pytest.fixture(scope="module")
def url_of_15() -> Iterator[str]:
    """A migrated database on a server of version 15."""
    with debian_server() as directory:
        url = f"postgresql://owner@/postgres?host={directory}&port=5432"
        migrate(url)
        yield url


def test_the_migrations_leave_nothing_to_do_and_can_be_taken_back(url_of_15: str) -> None:
    command.check(configuration(url_of_15))
    command.downgrade(configuration(url_of_15), "base")
    migrate(url_of_15)
    command.check(configuration(url_of_15))


async def test_a_team_is_made_kicked_off_claimed_and_read(url_of_15: str) -> None:
    settings = Settings(database_url=url_of_15, broadcast_url="memory://", pool_size=5)
    async with Graph.over(create_app(settings)) as graph:
        database: Database = graph.container.database
        version: int = await database.pool.fetchval("SELECT current_setting('server_version_num')::int / 10000")
        assert version == LEAST_SERVER_VERSION
        project_id = await graph.project()
        team_id = await graph.team(project_id)
        role_id = await graph.role(team_id)
        first = await graph.task(team_id, roleId=role_id)
        await graph.task(team_id, roleId=role_id, dependsOn=[first])
        execution_id = await graph.kickoff(team_id, idempotencyKey="once")
        stored = ExecutionId(await database.pool.fetchval("SELECT id FROM execution"))
        await SqlWorld(database).claim(stored)
        await SqlWorkers(database.pool).tidy()

        data = await graph.query(READ, id=team_id)

    page = data["team"]["executions"]
    assert page["totalCount"] == 1
    assert page["nodes"][0]["id"] == execution_id
    assert page["nodes"][0]["status"] == "RUNNING"
    assert [task["status"] for task in page["nodes"][0]["taskExecutions"]] == ["PENDING", "PENDING"]
    assert [event["sequence"] for event in page["nodes"][0]["events"]["nodes"]] == [1, 2]
    assert data["team"]["tasks"][1]["dependsOn"] == [{"id": first}]


READ = """
query ($id: ID!) { team(id: $id) {
    status roles { tools { name } supervisor { title } } tasks { name dependsOn { id } }
    executions(first: 5, filter: {status: {in: [RUNNING]}}) { totalCount nodes {
        id status usage { calls cost { amount } } taskExecutions { status } events { nodes { sequence } } } } } }
"""
