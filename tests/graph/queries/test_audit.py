"""The audit as clients see it: who changed what, with before and after, and never a secret."""

import csv
import io
import json
from typing import Any

import psycopg
import pytest

from app.settings import Settings
from app.vault import new_key
from domain.model.identity import DEFAULT_TENANT
from persistence.engine import Database
from persistence.urls import plain_url
from resolvers.node_ids import node_id, parse_node_id
from tests.support.graphql import Graph
from tests.support.live import PlayedWorker
from tests.support.things import strangers_things

ENTRY = """
    id operation action objectType objectId principalId requestId address userAgent before after
    object { __typename id }
"""
ENTRIES = f"""
    query($filter: AuditFilter, $first: Int! = 100, $after: String) {{
        auditEntries(filter: $filter, first: $first, after: $after) {{
            nodes {{ {ENTRY} }} totalCount pageInfo {{ hasNextPage endCursor }} }} }}
"""
SECRET = "sk-secret-of-the-tenant"


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(database_url=database_url, broadcast_url="memory://", pool_size=5, secret_key=new_key())


async def entries(graph: Graph, **conditions: Any) -> list[dict[str, Any]]:
    """The entries that meet these conditions, the oldest first."""
    data = await graph.query(ENTRIES, filter=conditions or None)
    found: list[dict[str, Any]] = data["auditEntries"]["nodes"]
    assert data["auditEntries"]["totalCount"] == len(found)
    return found[::-1]


async def the_entry(graph: Graph, **conditions: Any) -> dict[str, Any]:
    [entry] = await entries(graph, **conditions)
    return entry


# ---------------------------------------------------------------- what is told


async def test_what_was_made_is_told_whole(graph: Graph) -> None:
    project_id = await graph.project()

    team_id = await graph.team(project_id, name="Launch", monthlyBudget="12.50")

    entry = await the_entry(graph, objectId=team_id)
    assert (entry["operation"], entry["action"], entry["objectType"]) == ("createTeam", "CREATED", "Team")
    assert entry["before"] is None
    assert (
        entry["after"]
        | {
            "id": team_id,
            "projectId": project_id,
            "name": "Launch",
            "monthlyBudget": "12.5",
            "isCached": False,
        }
        == entry["after"]
    )
    assert "tenantId" not in entry["after"]
    assert entry["object"] == {"__typename": "Team", "id": team_id}
    assert entry["principalId"] is None


async def test_of_a_change_only_what_changed_is_told(graph: Graph) -> None:
    team_id = await graph.team()
    role_id = await graph.role(team_id, title="Analyst", temperature=0.25)

    await graph.mutate("updateRole", "role { id }", id=role_id, version=1, title="Expert", temperature=0.25)

    _, entry = await entries(graph, objectId=role_id)
    assert (entry["operation"], entry["action"]) == ("updateRole", "CHANGED")
    assert (entry["before"], entry["after"]) == ({"title": "Analyst"}, {"title": "Expert"})


async def test_a_change_that_changes_nothing_is_no_entry(graph: Graph) -> None:
    role_id = await graph.role(await graph.team(), title="Analyst")

    payload = await graph.mutate("updateRole", "role { version }", id=role_id, version=1, title="Analyst")

    assert payload["role"]["version"] == 2
    assert [entry["operation"] for entry in await entries(graph, objectId=role_id)] == ["createRole"]


async def test_archiving_and_restoring_are_told(graph: Graph) -> None:
    project_id = await graph.project()

    await graph.mutate("archiveProject", "project { id }", id=project_id)
    await graph.mutate("restoreProject", "project { id }", id=project_id)

    _, archived, restored = await entries(graph, objectId=project_id)
    assert (archived["operation"], archived["before"]) == ("archiveProject", {"archivedAt": None})
    assert archived["after"]["archivedAt"].endswith("+00:00")
    assert (restored["operation"], restored["after"]) == ("restoreProject", {"archivedAt": None})


async def test_links_are_told_of_the_thing_that_has_them_and_only_those_that_come_or_go(graph: Graph) -> None:
    team_id = await graph.team()
    first, second, third = [await graph.task(team_id) for _ in range(3)]
    task_id = await graph.task(team_id, dependsOn=[first, second])

    await graph.mutate("updateTask", "task { id }", id=task_id, version=1, dependsOn=[second, third])

    changes = await entries(graph, objectId=task_id, operation="updateTask")
    assert {(entry["objectType"], entry["action"]) for entry in changes} == {("Task", "CHANGED")}
    told = [(entry["before"], entry["after"]) for entry in changes]
    assert told == [({"dependsOnId": first}, None), (None, {"dependsOnId": third})]


async def test_the_tools_of_a_role_are_told_of_it(graph: Graph) -> None:
    project_id = await graph.project()
    tool = await graph.make("Tool", projectId=project_id, name="Sums", kind="CALCULATOR")

    role_id = await graph.role(await graph.team(project_id), toolIds=[tool["id"]])

    made, given = await entries(graph, objectId=role_id)
    assert (made["action"], given["action"], given["after"]) == ("CREATED", "CHANGED", {"toolId": tool["id"]})


async def test_a_kickoff_is_told_without_what_retention_removes(graph: Graph) -> None:
    team_id = await graph.ready_team()

    execution_id = await graph.kickoff(team_id, inputs={"topic": "tides"}, maxBudget="0.000000000001")
    await graph.mutate("cancelExecution", "execution { id }", executionId=execution_id)

    queued, cancelled = await entries(graph, objectId=execution_id)
    assert (queued["operation"], queued["after"]["teamId"]) == ("kickoffTeam", team_id)
    assert queued["after"]["inputs"] == "(not kept)"
    assert queued["after"]["maxBudget"] == "0.000000000001"
    assert "tides" not in str(await entries(graph))
    assert (cancelled["operation"], cancelled["before"]["status"]) == ("cancelExecution", "QUEUED")
    assert cancelled["after"]["status"] == "CANCELLED"
    assert await entries(graph, objectType="TaskExecution") == []


async def test_a_task_that_is_changed_while_its_execution_is_paused_is_told_without_its_texts(graph: Graph) -> None:
    execution_id = await graph.kickoff(await graph.ready_team())
    await graph.mutate("pauseExecution", "execution { id }", executionId=execution_id)
    query = "query($id: ID!) { execution(id: $id) { taskExecutions { id } } }"
    [task] = (await graph.query(query, id=execution_id))["execution"]["taskExecutions"]

    changes = {"description": "Do it otherwise.", "maxBudget": "0.5"}
    await graph.mutate("updateTaskExecution", "taskExecution { id }", taskExecutionId=task["id"], **changes)

    entry = await the_entry(graph, objectId=task["id"])
    assert entry["before"] == {"description": "(not kept)", "maxBudget": None}
    assert entry["after"] == {"description": "(not kept)", "maxBudget": "0.5"}
    told = [(each["operation"], each["after"].get("status")) for each in await entries(graph, objectId=execution_id)]
    assert told == [("kickoffTeam", "QUEUED"), ("pauseExecution", "PAUSED")]


async def test_the_tenant_has_entries_too(graph: Graph) -> None:
    await graph.mutate("updateTenant", "tenant { id }", retentionDays=30)

    entry = await the_entry(graph, objectType="Tenant")
    assert (entry["before"], entry["after"]) == ({"retentionDays": None}, {"retentionDays": 30})
    assert entry["object"]["__typename"] == "Tenant"


async def test_a_webhook_a_template_a_schedule_and_a_generation_have_theirs(graph: Graph) -> None:
    project_id = await graph.project()
    team_id = await graph.team(project_id)
    made = await graph.mutate(
        "createWebhook", "webhook { id }", projectId=project_id, name="Hook", url="https://hooks.example.org"
    )
    await graph.mutate("testWebhook", "delivery { id }", id=made["webhook"]["id"])
    task = {"name": "Other", "description": "Do.", "expectedOutput": "Done."}
    template = await graph.make("Template", name="Own", parameters=[], task=task)
    schedule = await graph.make("Schedule", teamId=team_id, name="Nightly", cron="0 3 * * *")
    asked = await graph.mutate("generateTeam", "generation { id }", projectId=project_id, objective="Sell bicycles.")

    operations = {
        (entry["operation"], entry["objectType"], entry["action"]): entry["after"] for entry in await entries(graph)
    }
    assert operations["createWebhook", "Webhook", "CREATED"]["url"] == "https://hooks.example.org"
    assert operations["createWebhook", "Webhook", "CHANGED"]["ciphertext"] == "(not kept)"
    assert operations["testWebhook", "WebhookDelivery", "CREATED"]["webhookId"] == made["webhook"]["id"]
    assert operations["createTemplate", "Template", "CREATED"]["id"] == template["id"]
    assert operations["createTemplate", "Template", "CHANGED"] == {
        "number": 1,
        "content": "(not kept)",
        "createdBy": None,
    }
    assert operations["createSchedule", "Schedule", "CREATED"]["id"] == schedule["id"]
    generation = operations["generateTeam", "Generation", "CREATED"]
    assert (generation["id"], generation["objective"]) == (asked["generation"]["id"], "(not kept)")


# ---------------------------------------------------------------- secrets


async def test_a_secret_is_never_told_but_that_it_changed_is(graph: Graph) -> None:
    given = {"provider": "openai", "key": SECRET}
    made = await graph.mutate("setProviderKey", "credential { id }", **given)
    await graph.mutate("setProviderKey", "credential { id }", **{**given, "key": f"{SECRET}-2"})
    pool = graph.container.database.pool
    kept = await pool.fetchval("SELECT ciphertext FROM credential")
    await graph.mutate("removeCredential", "credential { id }", id=made["credential"]["id"])

    found = await entries(graph, objectType="Credential")

    assert [entry["action"] for entry in found] == ["CREATED", "CHANGED", "REMOVED"]
    assert found[0]["after"]["subject"] == "openai"
    assert (found[1]["before"], found[1]["after"]) == ({"ciphertext": "(not kept)"}, {"ciphertext": "(not kept)"})
    assert (found[2]["after"], found[2]["object"]) == (None, None)
    rows = str(await pool.fetch("SELECT audit_entry::text FROM audit_entry"))
    assert SECRET not in rows
    assert kept.hex() not in rows


MARK = "mark-of-a-secret"


async def test_what_may_hold_a_secret_or_contents_is_not_told_but_that_it_changed_is(graph: Graph) -> None:
    project_id = await graph.project()
    team_id = await graph.team(project_id)
    serper = {"class_name": "SerperDevTool"}
    tool = await graph.make(
        "Tool",
        projectId=project_id,
        name="Search",
        kind="CREWAI_TOOL",
        configuration={**serper, "arguments": {"api_key": MARK}},
    )
    url = f"https://hooks.example.org/services/{MARK}?token={MARK}"
    webhook = await graph.make("Webhook", projectId=project_id, name="Hook", url=url)
    schedule = await graph.make("Schedule", teamId=team_id, name="N", cron="0 3 * * *", inputs={"topic": MARK})
    base = f"https://models.example.org:8443/{MARK}/v1"
    model = await graph.make("Model", name="openai/own", tier="STANDARD", baseUrl=base)

    for kind, thing, change in (
        ("Tool", tool, {"configuration": serper}),
        ("Webhook", webhook, {"url": "https://hooks.example.org/other"}),
        ("Schedule", schedule, {"inputs": {"topic": "tides"}}),
        ("Model", model, {"baseUrl": "https://models.example.org/v1"}),
    ):
        result = f"{kind.lower()} {{ id }}"
        payload = await graph.mutate(f"update{kind}", result, id=thing["id"], version=1, **change)
        assert payload["errors"] == [], payload

    found = {entry["objectType"]: (entry["before"], entry["after"]) for entry in await entries(graph)}
    assert found["Tool"] == ({"configuration": "(not kept)"}, {"configuration": "(not kept)"})
    assert found["Schedule"] == ({"inputs": "(not kept)"}, {"inputs": "(not kept)"})
    assert [side["url"] for side in found["Webhook"]] == 2 * ["https://hooks.example.org/(not kept)"]
    assert [side["baseUrl"] for side in found["Model"]] == [
        "https://models.example.org:8443/(not kept)",
        "https://models.example.org/(not kept)",
    ]
    assert MARK not in str(await graph.container.database.pool.fetch("SELECT audit_entry::text FROM audit_entry"))


async def test_a_fork_with_an_output_that_somebody_wrote_tells_of_it(graph: Graph, database: Database) -> None:
    team_id = await graph.ready_team()
    await graph.task(team_id)
    execution_id = await graph.kickoff(team_id)
    worker = await PlayedWorker.on(graph, database, execution_id)
    await worker.starts()
    await worker.completes(0, "Done.")
    await worker.fails()
    query = "query($id: ID!) { execution(id: $id) { taskExecutions { id } } }"
    first, second = (await graph.query(query, id=execution_id))["execution"]["taskExecutions"]

    made = [
        await graph.mutate("forkExecution", "execution { id }", executionId=execution_id, **fork)
        for fork in ({"fromTask": second["id"]}, {"fromTask": first["id"], "editedOutput": MARK})
    ]

    entry = await the_entry(graph, objectType="TaskExecution")
    assert (entry["operation"], entry["action"], entry["after"]["output"]) == ("forkExecution", "CREATED", "(not kept)")
    assert (entry["after"]["executionId"], entry["after"]["reusedFrom"]) == (made[1]["execution"]["id"], first["id"])
    assert MARK not in str(await entries(graph))


async def test_an_alert_that_a_mutation_closes_is_told(graph: Graph, database: Database) -> None:
    watched = {"name": "Queue", "metric": "QUEUE_DEPTH", "threshold": "5", "windowSeconds": 60, "severity": "WARNING"}
    rule = (await graph.mutate("createAlertRule", "alertRule { id }", **watched))["alertRule"]
    await database.pool.execute(
        "INSERT INTO alert (tenant_id, id, rule_id, metric, severity, state, threshold, value, peak, message, evidence,"
        " fired_at, changed_at)"
        " VALUES ($1, gen_random_uuid(), $2, 'QUEUE_DEPTH', 'WARNING', 'FIRING', 5, 6, 6, 'Long.', '{}', now(), now())",
        DEFAULT_TENANT,
        parse_node_id(rule["id"])[1],
    )

    await graph.mutate("archiveAlertRule", "alertRule { id }", id=rule["id"])

    entry = await the_entry(graph, objectType="Alert")
    assert (entry["operation"], entry["before"]["state"]) == ("archiveAlertRule", "FIRING")
    assert entry["after"]["state"] == "RESOLVED"
    assert entry["object"]["__typename"] == "Alert"


# ---------------------------------------------------------------- who, from where, and in which transaction


async def test_what_is_refused_leaves_no_entry(graph: Graph) -> None:
    project_id = await graph.project()
    before = await entries(graph)

    payload = await graph.mutate("createTeam", "team { id }", projectId=project_id, name="")

    assert payload["errors"]
    assert await entries(graph) == before


async def test_what_is_rolled_back_leaves_no_entry(graph: Graph) -> None:
    team_id = await graph.team()
    await graph.task(team_id, name="Taken")
    before = await entries(graph)

    # The team's row is changed before the name of the second task is found to be taken.
    payload = await graph.mutate(
        "createTask", "task { id }", teamId=team_id, name="Taken", description="Do.", expectedOutput="Done."
    )

    assert payload["errors"][0]["code"] == "NAME_TAKEN"
    assert await entries(graph) == before


async def test_each_mutation_of_an_operation_is_told_under_its_own_name(graph: Graph) -> None:
    operation = """mutation {
        one: createProject(input: {name: "One"}) { project { id } }
        two: createModel(input: {name: "openai/own", tier: STANDARD}) { model { id } }
    }"""
    headers = {"X-Request-ID": "request-7", "User-Agent": "a-client/1.0"}

    response = await graph.http.post("/graphql", json={"query": operation}, headers=headers)

    data = response.json()["data"]
    found = await entries(graph, requestId="request-7")
    assert [(entry["operation"], entry["objectId"]) for entry in found] == [
        ("createProject", data["one"]["project"]["id"]),
        ("createModel", data["two"]["model"]["id"]),
    ]
    assert {(entry["address"], entry["userAgent"]) for entry in found} == {("127.0.0.1", "a-client/1.0")}


async def test_what_nobody_asked_for_by_a_mutation_leaves_no_entry(graph: Graph) -> None:
    team_id = await graph.team()
    before = await entries(graph)

    pool = graph.container.database.pool
    await pool.execute("UPDATE team SET description = 'by a worker'")

    assert await entries(graph) == before
    assert len(await entries(graph, objectId=team_id)) == 1


# ---------------------------------------------------------------- finding entries


async def test_entries_are_found_by_what_they_are_about_and_when(graph: Graph) -> None:
    team_id = await graph.team()
    role_id = await graph.role(team_id)
    [made] = await entries(graph, objectId=role_id)
    moment = (await graph.query(f'{{ node(id: "{made["id"]}") {{ ... on AuditEntry {{ occurredAt }} }} }}'))["node"]

    assert [entry["id"] for entry in await entries(graph, objectType="Role")] == [made["id"]]
    assert [entry["id"] for entry in await entries(graph, operation="createRole")] == [made["id"]]
    assert [entry["id"] for entry in await entries(graph, occurredAt={"gte": moment["occurredAt"]})] == [made["id"]]
    assert made["id"] not in [e["id"] for e in await entries(graph, occurredAt={"lt": moment["occurredAt"]})]
    assert await entries(graph, requestId="unheard of") == []
    assert await entries(graph, principalId="00000000-0000-0000-0000-0000000000ff") == []


@pytest.mark.parametrize(
    ("conditions", "code"),
    [({"objectId": "nothing"}, "NOT_FOUND"), ({"principalId": "nobody"}, "INVALID")],
)
async def test_what_is_no_id_is_refused(graph: Graph, conditions: dict[str, Any], code: str) -> None:
    answer = await graph.answer(ENTRIES, filter=conditions)

    assert [error["extensions"]["code"] for error in answer["errors"]] == [code]


async def test_pages_go_back_in_time_without_a_gap(graph: Graph) -> None:
    for _ in range(5):
        await graph.project()

    cursor, pages = None, []
    for _ in range(3):
        data = (await graph.query(ENTRIES, first=2, after=cursor))["auditEntries"]
        pages.append([entry["after"]["name"] for entry in data["nodes"]])
        cursor = data["pageInfo"]["endCursor"]

    assert pages == [["Project 5", "Project 4"], ["Project 3", "Project 2"], ["Project 1"]]
    assert data["pageInfo"]["hasNextPage"] is False


async def test_another_tenants_entries_are_not_seen(graph: Graph, database_url: str) -> None:
    await strangers_things(graph)
    pool = graph.container.database.pool
    [[stranger]] = await pool.fetch("SELECT id FROM tenant WHERE id <> '00000000-0000-0000-0000-000000000001' LIMIT 1")
    with psycopg.connect(plain_url(database_url), autocommit=True) as owner:
        added = owner.execute(
            "INSERT INTO audit_entry (tenant_id, id, occurred_at, operation, object_type, object_id, action)"
            " VALUES (%s, gen_random_uuid(), now(), 'createTeam', 'Team', gen_random_uuid(), 'CREATED') RETURNING id",
            [stranger],
        )
        [theirs] = added.fetchone() or ()

    found = await graph.query(f'{{ node(id: "{node_id("AuditEntry", theirs)}") {{ id }} }}')

    assert found["node"] is None
    assert node_id("AuditEntry", theirs) not in [entry["id"] for entry in await entries(graph)]


# ---------------------------------------------------------------- the download


async def test_the_download_has_the_same_entries_the_oldest_first(graph: Graph) -> None:
    team_id = await graph.team(monthlyBudget="0.10")
    await graph.mutate("archiveTeam", "team { id }", id=team_id)
    expected = [
        {name: entry[name] for name in entry if name != "object"} for entry in await entries(graph, objectId=team_id)
    ]

    response = await graph.http.get("/exports/audit", params={"format": "JSON_LINES", "objectId": team_id})

    rows = [json.loads(line) for line in response.text.splitlines()]
    assert [{name: row[name] for name in expected[0]} for row in rows] == expected
    assert rows[0]["after"]["monthlyBudget"] == "0.1"
    assert rows[0]["occurredAt"] < rows[1]["occurredAt"]


async def test_a_spreadsheet_gets_what_changed_in_a_cell(graph: Graph) -> None:
    await graph.team(name="=SUM(A1)")

    response = await graph.http.get("/exports/audit", params={"format": "CSV", "objectType": "Team"})

    [row] = csv.DictReader(io.StringIO(response.text))
    assert (row["operation"], row["action"], row["before"]) == ("createTeam", "CREATED", "")
    assert json.loads(row["after"])["name"] == "=SUM(A1)"
    assert response.headers["content-disposition"].startswith('attachment; filename="audit-')


async def test_a_parameter_that_is_not_known_is_refused(graph: Graph) -> None:
    response = await graph.http.get("/exports/audit", params={"format": "CSV", "teamId": "?"})

    assert response.status_code == 400
    assert response.json()["errors"][0]["extensions"]["code"] == "BAD_REQUEST"
