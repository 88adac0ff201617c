"""One thing of every kind, other people's things, and a witness that nothing was written."""

import base64
import contextlib
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql

from domain.model.alert import Alert, AlertMetric, AlertRule, AlertSeverity
from domain.model.credential import Credential, CredentialKind
from domain.model.identity import DEFAULT_TENANT, ExecutionId, ProjectId, ScheduleId, utc_now
from domain.model.ledger import CallOutcome, LedgerEntry
from domain.model.schedule import FireKind, FireOutcome, ScheduleFire
from domain.model.webhook import DeliveryStatus, Webhook, WebhookDelivery
from persistence.tables import metadata
from resolvers.node_ids import node_id, parse_node_id
from tests.support.generations import generate
from tests.support.graphql import Graph
from tests.support.histories import insert

KINDS = (
    "Project",
    "Team",
    "Role",
    "Task",
    "Tool",
    "Model",
    "Execution",
    "TaskExecution",
    "TeamRevision",
    "Approval",
    "Generation",
    "Template",
    "Optimization",
    "Schedule",
    "ScheduleFire",
    "AlertRule",
    "Alert",
    "Webhook",
    "WebhookDelivery",
    "Credential",
    "LedgerEntry",
    "AuditEntry",
)
"""All that have a global id, but the tenant."""


async def one_of_each(graph: Graph) -> dict[str, str]:
    """Global ids by kind: a team that was kicked off, its parts, what its execution consists of, and what is about it.

    Nothing of it does anything by itself: the schedule is paused, the webhook is told of nothing.
    """
    project_id = await graph.project()
    tool = await graph.make("Tool", projectId=project_id, name="Sums", kind="CALCULATOR")
    model = await graph.make("Model", name=f"openai/own-{uuid4()}", tier="STANDARD")
    team_id = await graph.team(project_id)
    role_id = await graph.role(team_id, toolIds=[tool["id"]])
    task_id = await graph.task(team_id, roleId=role_id)
    execution_id = await graph.kickoff(team_id)
    task = {"name": "Other", "description": "Do.", "expectedOutput": "Done."}
    template = await graph.make("Template", name=f"Template {uuid4()}", parameters=[], task=task)
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
        "Generation": await generate(graph, project_id),
        "Template": str(template["id"]),
        "Optimization": await _optimization(graph, team_id),
        **await _schedule(graph, team_id),
        **await _alert(graph, project_id),
        **await _webhook(graph, project_id, execution_id),
        "Credential": await _row(graph, Credential(DEFAULT_TENANT, CredentialKind.TOOL, str(_raw(tool["id"])), b"?")),
        "LedgerEntry": await _entry(graph, execution_id),
        "AuditEntry": await _audited(graph, team_id),
    }


async def _audited(graph: Graph, team_id: str) -> str:
    """The global id of what the audit says of how the team was made."""
    query = "query($id: ID!) { auditEntries(filter: {objectId: $id}) { nodes { id } } }"
    return str((await graph.query(query, id=team_id))["auditEntries"]["nodes"][-1]["id"])


async def _schedule(graph: Graph, team_id: str) -> dict[str, str]:
    """The global ids of a schedule, and of a time that it left out."""
    made = await graph.make("Schedule", teamId=team_id, name="Nightly", cron="0 3 * * *")
    await graph.mutate("pauseSchedule", "schedule { id }", id=made["id"])
    schedule_id = ScheduleId(_raw(made["id"]))
    fire = ScheduleFire(DEFAULT_TENANT, schedule_id, FireKind.DUE, utc_now(), FireOutcome.SKIPPED, "Busy.")
    return {"Schedule": str(made["id"]), "ScheduleFire": await _row(graph, fire)}


async def _alert(graph: Graph, project_id: str) -> dict[str, str]:
    """The global ids of an alert rule that is not judged, and of what it led to."""
    project, limit = ProjectId(_raw(project_id)), Decimal(20)
    rule = AlertRule(DEFAULT_TENANT, f"Rule {uuid4()}", AlertMetric.QUEUE_DEPTH, limit, project_id=project)
    rule.is_enabled = False
    what = (AlertMetric.QUEUE_DEPTH, AlertSeverity.WARNING, limit, limit + 1, limit + 1, limit + 1)
    alert = Alert(DEFAULT_TENANT, rule.id, *what, "Too many.", utc_now(), project)
    return {"AlertRule": await _row(graph, rule), "Alert": await _row(graph, alert)}


async def _webhook(graph: Graph, project_id: str, execution_id: str) -> dict[str, str]:
    """The global ids of a webhook, and of what it was told."""
    made = Webhook(DEFAULT_TENANT, ProjectId(_raw(project_id)), "Hook", "https://hooks.example.org", ["TaskCompleted"])
    made.is_enabled = False
    told = WebhookDelivery(DEFAULT_TENANT, made.id, "ExecutionQueued", ExecutionId(_raw(execution_id)), 1)
    told.status, told.next_attempt_at, told.finished_at = DeliveryStatus.SUCCEEDED, None, utc_now()
    return {"Webhook": await _row(graph, made), "WebhookDelivery": await _row(graph, told)}


async def _entry(graph: Graph, execution_id: str) -> str:
    """The global id of a call that a task of the execution made."""
    [found] = await graph.container.database.pool.fetch(
        "SELECT project_id, team_id, task.id, task.role_id FROM execution JOIN task_execution AS task"
        " ON task.execution_id = execution.id WHERE execution.id = $1",
        _raw(execution_id),
    )
    entry = LedgerEntry(
        DEFAULT_TENANT,
        found[0],
        found[1],
        ExecutionId(_raw(execution_id)),
        found[2],
        found[3],
        model="test/model",
        provider="test",
        attempt=1,
        outcome=CallOutcome.SUCCEEDED,
        cost=Decimal(0),
        booked_at=utc_now(),
    )
    return await _row(graph, entry)


async def _row(graph: Graph, thing: Any) -> str:
    """The global id of the thing, which is written."""
    await insert(graph.container.database.pool, thing)
    return node_id(type(thing).__name__, thing.id)


def _raw(global_id: str) -> UUID:
    return parse_node_id(global_id)[1]


async def _optimization(graph: Graph, team_id: str) -> str:
    """The global id of a proposal for the team, as it is made once there is some history."""
    identifier = uuid4()
    await graph.container.database.pool.execute(
        "INSERT INTO optimization (tenant_id, id, team_id, goal, kind, title, explanation, evidence, effects, changes,"
        " status, created_at) SELECT tenant_id, $1, id, 'COST', 'CHEAPER_MODEL', 'Cheaper', '', '[]', '[]', '[]',"
        " 'PROPOSED', now() FROM team WHERE id = $2",
        identifier,
        parse_node_id(team_id)[1],
    )
    return node_id("Optimization", identifier)


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
