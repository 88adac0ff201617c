"""One thing of every kind, other people's things, and a witness that nothing was written."""

import base64
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql

from persistence.tables import metadata
from resolvers.node_ids import node_id, parse_node_id
from tests.support.graphql import Graph

KINDS = ("Project", "Team", "Role", "Task", "Tool", "Model", "Execution", "TaskExecution", "TeamRevision", "Approval")


async def one_of_each(graph: Graph) -> dict[str, str]:
    """Global ids by kind: a team that was kicked off, its parts, and what its execution consists of."""
    project_id = await graph.project()
    tool = await graph.make("Tool", projectId=project_id, name="Sums", kind="CALCULATOR")
    model = await graph.make("Model", name=f"openai/own-{uuid4()}", tier="STANDARD")
    team_id = await graph.team(project_id)
    role_id = await graph.role(team_id, toolIds=[tool["id"]])
    task_id = await graph.task(team_id, roleId=role_id)
    execution_id = await graph.kickoff(team_id)
    data = await graph.query(
        "query($id: ID!) { execution(id: $id) { revision { id } taskExecutions { id } } }", id=execution_id
    )
    return {
        "Project": project_id,
        "Team": team_id,
        "Role": role_id,
        "Task": task_id,
        "Tool": str(tool["id"]),
        "Model": str(model["id"]),
        "Execution": execution_id,
        "TaskExecution": data["execution"]["taskExecutions"][0]["id"],
        "TeamRevision": data["execution"]["revision"]["id"],
        "Approval": await _approval(graph, execution_id, data["execution"]["taskExecutions"][0]["id"]),
    }


async def _approval(graph: Graph, execution_id: str, task_execution_id: str) -> str:
    """The global id of an open approval, as a run asks for one."""
    identifier = uuid4()
    await graph.container.database.pool.execute(
        "INSERT INTO approval (tenant_id, id, project_id, execution_id, task_execution_id, kind, prompt, attempt,"
        " call_key, status, default_action, created_at) SELECT tenant_id, $1, project_id, id, $3, 'TASK', 'Good?', 1,"
        " '', 'PENDING', 'REJECT', now() FROM execution WHERE id = $2",
        identifier,
        parse_node_id(execution_id)[1],
        parse_node_id(task_execution_id)[1],
    )
    return node_id("Approval", identifier)


async def strangers_things(graph: Graph) -> dict[str, str]:
    """One of each, of another tenant. Call it first: all rows that there are become the stranger's."""
    things = await one_of_each(graph)
    url = graph.container.settings.database_url
    assert url
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("SET session_replication_role = replica")  # the rows move one table after the other
        stranger = uuid4()
        owner.execute("INSERT INTO tenant (id, name, created_at) VALUES (%s, 'Stranger', now())", [stranger])
        for table in metadata.sorted_tables:
            if "tenant_id" in table.c:
                owner.execute(sql.SQL("UPDATE {} SET tenant_id = %s").format(sql.Identifier(table.name)), [stranger])
    return {**things, "Tenant": node_id("Tenant", stranger)}


def unknown(kind: str) -> str:
    """A global id that has the right form, of nothing."""
    return node_id(kind, uuid4())


MALFORMED = ("", "nonsense", "12345", "é", base64.b64encode(b"Project").decode(), base64.b64encode(b"\xff").decode())
"""What is no global id at all."""


@contextlib.asynccontextmanager
async def nothing_written(graph: Graph) -> AsyncIterator[None]:
    """Fails when any row of any table is another one at the end."""
    before = await _all_rows(graph)
    yield
    assert await _all_rows(graph) == before


async def _all_rows(graph: Graph) -> dict[str, Any]:
    texts = " UNION ALL ".join(
        f"SELECT '{table.name}', string_agg(row::text, '\n' ORDER BY row::text) FROM \"{table.name}\" AS row"  # noqa: S608 - our own names
        for table in metadata.sorted_tables
    )
    return {row[0]: row[1] for row in await graph.container.database.pool.fetch(texts)}
