"""What teams, roles, tasks, tools, projects and tenants say about how they are run."""

from typing import Any

import pytest

from tests.support.graphql import Graph
from tests.support.things import nothing_written

SETTINGS = "team { version settings { maxIterations maxParallelTasks whenBusy oversight isCached } }"
APPROVAL = "task { version guardrail approval { isRequired assignee timeoutSeconds default } }"
LIMIT = "maxParallelExecutions"


async def changed(graph: Graph, kind: str, selection: str, identifier: str, version: int, **values: Any) -> Any:
    payload = await graph.mutate(f"update{kind}", selection, id=identifier, version=version, **values)
    assert payload["errors"] == []
    thing = payload[kind.lower()]
    assert thing.pop("version") == version + 1
    return thing


async def test_the_settings_of_a_team_are_changed_one_by_one(graph: Graph) -> None:
    team_id = await graph.team(settings={"maxIterations": 7, "whenBusy": "REJECT"})

    wide = await changed(graph, "Team", SETTINGS, team_id, 1, settings={"maxParallelTasks": 16, "isCached": True})
    close = await changed(graph, "Team", SETTINGS, team_id, 2, settings={"oversight": "CLOSE", "whenBusy": "PARALLEL"})

    assert wide["settings"] == {
        "maxIterations": 7,
        "maxParallelTasks": 16,
        "whenBusy": "REJECT",
        "oversight": "STANDARD",
        "isCached": True,
    }
    assert close["settings"] == {**wide["settings"], "oversight": "CLOSE", "whenBusy": "PARALLEL"}


async def test_the_approval_of_a_task_is_changed_in_parts_and_taken_away(graph: Graph) -> None:
    task_id = await graph.task(
        await graph.team(),
        guardrail="It names a price.",
        approval={"isRequired": True, "assignee": "ann", "timeoutSeconds": 60},
    )

    eager = await changed(graph, "Task", APPROVAL, task_id, 1, approval={"default": "APPROVE"})
    patient = await changed(graph, "Task", APPROVAL, task_id, 2, approval={"assignee": None, "timeoutSeconds": None})
    free = await changed(graph, "Task", APPROVAL, task_id, 3, guardrail=None, approval={"isRequired": False})

    rule = {"isRequired": True, "assignee": "ann", "timeoutSeconds": 60.0, "default": "APPROVE"}
    assert eager == {"guardrail": "It names a price.", "approval": rule}
    assert patient["approval"] == {**rule, "assignee": None, "timeoutSeconds": None}
    assert free == {"guardrail": None, "approval": {**patient["approval"], "isRequired": False}}


@pytest.mark.parametrize(
    ("kind", "values", "path"),
    [
        ("Team", {"settings": {"whenBusy": None}}, ["settings", "whenBusy"]),
        ("Role", {"canAsk": None}, ["canAsk"]),
        ("Task", {"approval": {"isRequired": None}}, ["approval", "isRequired"]),
        ("Task", {"approval": {"default": None}}, ["approval", "default"]),
    ],
)
async def test_a_null_where_a_value_is_needed_is_refused_at_its_place(
    graph: Graph, kind: str, values: dict[str, Any], path: list[str]
) -> None:
    team_id = await graph.team()
    ids = {"Team": team_id, "Role": await graph.role(team_id), "Task": await graph.task(team_id)}

    async with nothing_written(graph):
        payload = await graph.mutate(f"update{kind}", "__typename", id=ids[kind], version=1, **values)

    assert [(error["code"], error["path"]) for error in payload["errors"]] == [("INVALID", ["input", *path])]


async def test_a_role_has_bounds_and_loses_them(graph: Graph) -> None:
    selection = "role { version maxTasks maxParallelTasks canAsk }"
    role_id = await graph.role(await graph.team(), maxTasks=2, maxParallelTasks=1, canAsk=True)

    kept = await changed(graph, "Role", selection, role_id, 1, title="Clerk")
    lost = await changed(graph, "Role", selection, role_id, 2, maxTasks=None, maxParallelTasks=None, canAsk=False)

    assert kept == {"maxTasks": 2, "maxParallelTasks": 1, "canAsk": True}
    assert lost == {"maxTasks": None, "maxParallelTasks": None, "canAsk": False}


@pytest.mark.parametrize(
    ("kind", "is_idempotent", "is_repeatable"),
    [
        ("CALCULATOR", None, True),
        ("CALCULATOR", False, False),
        ("MCP_SERVER", None, False),
        ("MCP_SERVER", True, True),
    ],
)
async def test_a_tool_is_repeatable_as_somebody_said_else_by_its_kind(
    graph: Graph, kind: str, is_idempotent: bool | None, is_repeatable: bool
) -> None:
    configuration = {"url": "https://mcp.example.org"} if kind == "MCP_SERVER" else {}
    given = {"projectId": await graph.project(), "name": "T", "kind": kind, "configuration": configuration}

    tool = await graph.make("Tool", "isIdempotent isRepeatable", **given, isIdempotent=is_idempotent)

    assert tool == {"isIdempotent": is_idempotent, "isRepeatable": is_repeatable}


async def test_a_project_limits_how_much_of_it_runs_at_once(graph: Graph) -> None:
    project = await graph.make("Project", f"id version {LIMIT}", name="P", maxParallelExecutions=3)
    selection = f"project {{ version {LIMIT} }}"

    kept = await changed(graph, "Project", selection, project["id"], 1, name="Q")
    lost = await changed(graph, "Project", selection, project["id"], 2, maxParallelExecutions=None)

    assert (project[LIMIT], kept, lost) == (3, {LIMIT: 3}, {LIMIT: None})


async def test_a_tenant_limits_how_much_of_it_runs_at_once_beside_its_budget(graph: Graph) -> None:
    async def update(**values: Any) -> Any:
        payload = await graph.mutate("updateTenant", f"tenant {{ {LIMIT} budget {{ limit {{ amount }} }} }}", **values)
        assert payload["errors"] == []
        return payload["tenant"][LIMIT], payload["tenant"]["budget"]["limit"]

    assert await update(monthlyBudget="7") == (None, {"amount": "7"})
    assert await update(maxParallelExecutions=10_000) == (10_000, {"amount": "7"})
    assert await update() == (10_000, {"amount": "7"})
    assert await update(maxParallelExecutions=None, monthlyBudget=None) == (None, None)


@pytest.mark.parametrize("limit", [0, -1, 10_001])
async def test_a_limit_out_of_bounds_is_refused(graph: Graph, limit: int) -> None:
    project_id = await graph.project()

    async with nothing_written(graph):
        payloads = [
            await graph.mutate("createProject", "__typename", name="P", maxParallelExecutions=limit),
            await graph.mutate("updateProject", "__typename", id=project_id, version=1, maxParallelExecutions=limit),
            await graph.mutate("updateTenant", "__typename", maxParallelExecutions=limit),
        ]

    told = [(error["code"], error["path"], error["message"]) for payload in payloads for error in payload["errors"]]
    assert told == [("INVALID", ["input", LIMIT], "Must be between 1 and 10000.")] * 3


async def test_a_copy_of_a_team_is_run_like_its_original(graph: Graph) -> None:
    selection = """settings { maxParallelTasks whenBusy oversight isCached }
        roles { maxTasks maxParallelTasks canAsk }
        tasks { guardrail approval { isRequired assignee timeoutSeconds default } }"""
    team_id = await graph.team(
        settings={"maxParallelTasks": 2, "whenBusy": "REPLACE", "oversight": "LIGHT", "isCached": True}
    )
    await graph.role(team_id, maxTasks=2, maxParallelTasks=1, canAsk=True)
    approval = {"isRequired": True, "assignee": "ann", "timeoutSeconds": 60, "default": "APPROVE"}
    await graph.task(team_id, guardrail="It is short.", approval=approval)

    copy = await graph.mutate("duplicateTeam", f"team {{ {selection} }}", id=team_id)

    original = await graph.query(f"query($id: ID!) {{ team(id: $id) {{ {selection} }} }}", id=team_id)
    assert copy == {**original, "errors": []}
    assert original["team"]["tasks"][0]["approval"] == {**approval, "timeoutSeconds": 60.0}
