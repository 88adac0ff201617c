"""Create, update, duplicate, archive and restore: the same five for each of the five kinds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.graphql import Graph
from tests.support.things import nothing_written


@dataclass(frozen=True)
class Kind:
    """What a test has to know of a kind: how a thing is named, what it is made of, what can be changed."""

    name: str
    parent: str | None
    given: Mapping[str, Any]
    shown: Mapping[str, Any]
    change: Mapping[str, Any]
    title: str = "name"
    selection: str = ""

    @property
    def field(self) -> str:
        return self.name.lower()

    async def make(self, graph: Graph, **values: Any) -> dict[str, Any]:
        return await graph.make(self.name, self.everything, **{**self.given, **await self.home(graph), **values})

    async def home(self, graph: Graph) -> dict[str, str]:
        match self.parent:
            case "projectId":
                return {"projectId": await graph.project()}
            case "teamId":
                return {"teamId": await graph.team()}
            case _:
                return {}

    @property
    def everything(self) -> str:
        return f"id version createdAt updatedAt archivedAt createdBy {self.title} {self.selection}"

    async def do(self, graph: Graph, action: str, **values: Any) -> dict[str, Any]:
        return await graph.mutate(f"{action}{self.name}", f"{self.field} {{ {self.everything} }}", **values)


KINDS = [
    Kind("Project", None, {"name": "Kettle"}, {"description": ""}, {"description": "Tea"}, selection="description"),
    Kind(
        "Team",
        "projectId",
        {"name": "Kettle", "settings": {"maxIterations": 7}},
        {
            "description": "",
            "process": "SEQUENTIAL",
            "manager": None,
            "settings": {
                "maxIterations": 7,
                "executionTimeoutSeconds": 1800.0,
                "taskTimeoutSeconds": 600.0,
                "maxParallelTasks": 4,
                "whenBusy": "QUEUE",
                "oversight": "STANDARD",
                "isCached": False,
            },
            "status": "IDLE",
            "lastExecutedAt": None,
        },
        {"process": "HIERARCHICAL"},
        selection="description process manager { id } status lastExecutedAt"
        " settings { maxIterations executionTimeoutSeconds taskTimeoutSeconds"
        " maxParallelTasks whenBusy oversight isCached }",
    ),
    Kind(
        "Role",
        "teamId",
        {"title": "Kettle", "expertise": "SENIOR", "maxTokens": 100, "modelParameters": {"seed": 1}},
        {
            "goals": ["Expert senior level Kettle"],
            "expertise": "SENIOR",
            "temperature": 0.7,
            "maxTokens": 100,
            "modelParameters": {"seed": 1},
            "rank": "SPECIALIST",
            "isActive": True,
            "delegation": {"isAllowed": False, "to": "SUBORDINATES", "taskKinds": []},
            "maxTasks": None,
            "maxParallelTasks": None,
            "canAsk": False,
        },
        {"maxTokens": None},
        title="title",
        selection="goals expertise temperature maxTokens modelParameters rank isActive maxTasks maxParallelTasks canAsk"
        " delegation { isAllowed to taskKinds }",
    ),
    Kind(
        "Task",
        "teamId",
        {"name": "Kettle", "description": "Heat {litres} l", "expectedOutput": "Hot {drink}"},
        {
            "priority": 5,
            "maxAttempts": 2,
            "kind": "",
            "placeholders": ["litres", "drink"],
            "role": None,
            "guardrail": None,
            "approval": {"isRequired": False, "assignee": None, "timeoutSeconds": None, "default": "REJECT"},
        },
        {"priority": 9},
        selection="priority maxAttempts kind placeholders role { id } guardrail"
        " approval { isRequired assignee timeoutSeconds default }",
    ),
    Kind(
        "Tool",
        "projectId",
        {"name": "Kettle", "kind": "MCP_SERVER", "configuration": {"url": "http://127.0.0.1/mcp"}},
        {
            "description": "",
            "kind": "MCP_SERVER",
            "configuration": {"url": "http://127.0.0.1/mcp"},
            "isIdempotent": None,
            "isRepeatable": False,
        },
        {"configuration": {"url": "http://127.0.0.1/other"}},
        selection="description kind configuration isIdempotent isRepeatable",
    ),
]

each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


@each_kind
async def test_a_new_thing_has_version_1_and_its_defaults_and_is_found_again(graph: Graph, kind: Kind) -> None:
    made = await kind.make(graph)

    assert {name: made[name] for name in ("version", "archivedAt", "createdBy", kind.title)} == {
        "version": 1,
        "archivedAt": None,
        "createdBy": None,
        kind.title: "Kettle",
    }
    assert {name: made[name] for name in kind.shown} == kind.shown
    again = await graph.query(
        f"query($id: ID!) {{ node(id: $id) {{ ... on {kind.name} {{ {kind.everything} }} }} }}", id=made["id"]
    )
    assert again["node"] == made


@each_kind
async def test_an_update_changes_what_was_given_alone_and_counts_the_version(graph: Graph, kind: Kind) -> None:
    made = await kind.make(graph)

    changed = await kind.do(graph, "update", id=made["id"], version=1, **kind.change)

    assert changed["errors"] == []
    after = changed[kind.field]
    assert after == {**made, **kind.change, "version": 2, "updatedAt": after["updatedAt"]}
    assert after["updatedAt"] > made["updatedAt"]


@each_kind
async def test_an_update_on_an_old_version_is_stale_and_writes_nothing(graph: Graph, kind: Kind) -> None:
    made = await kind.make(graph)
    await kind.do(graph, "update", id=made["id"], version=1, **kind.change)

    async with nothing_written(graph):
        refused = await kind.do(graph, "update", id=made["id"], version=1, **{kind.title: "Other"})

    assert refused[kind.field] is None
    assert refused["errors"] == [
        {
            "__typename": "StaleVersion",
            "message": f"The {kind.field} has changed: version 1 was given, 2 is current.",
            "code": "STALE_VERSION",
            "path": ["input", "version"],
            "suggestion": "Read it again and apply your change to the current version.",
            "expected": 1,
            "actual": 2,
        }
    ]


@each_kind
async def test_a_copy_is_new_in_version_and_name_alone(graph: Graph, kind: Kind) -> None:
    made = await kind.make(graph)
    await kind.do(graph, "update", id=made["id"], version=1, **kind.change)

    named = (await kind.do(graph, "duplicate", id=made["id"], name="Second"))[kind.field]
    unnamed = (await kind.do(graph, "duplicate", id=made["id"]))[kind.field]

    for copy, name in ((named, "Second"), (unnamed, "Kettle (copy)")):
        assert copy["id"] != made["id"]
        fresh = {name: copy[name] for name in ("id", "createdAt", "updatedAt")}
        assert copy == {**made, **kind.change, **fresh, kind.title: name, "version": 1}


@each_kind
async def test_archiving_and_restoring_count_as_changes_and_can_be_repeated(graph: Graph, kind: Kind) -> None:
    made = await kind.make(graph)

    archived = (await kind.do(graph, "archive", id=made["id"]))[kind.field]
    assert (archived["version"], archived["archivedAt"] is None) == (2, False)
    async with nothing_written(graph):
        assert (await kind.do(graph, "archive", id=made["id"]))[kind.field] == archived

    restored = (await kind.do(graph, "restore", id=made["id"]))[kind.field]
    assert restored == {**made, "version": 3, "updatedAt": restored["updatedAt"]}
    async with nothing_written(graph):
        assert (await kind.do(graph, "restore", id=made["id"]))[kind.field] == restored


@each_kind
async def test_what_is_archived_is_not_updated_nor_duplicated(graph: Graph, kind: Kind) -> None:
    made = await kind.make(graph)
    await kind.do(graph, "archive", id=made["id"])

    async with nothing_written(graph):
        updated = await kind.do(graph, "update", id=made["id"], version=2, **kind.change)
        duplicated = await kind.do(graph, "duplicate", id=made["id"])

    archived = {
        "__typename": "Conflict",
        "message": f"The {kind.field} is archived.",
        "code": "ARCHIVED",
        "path": ["input", "id"],
        "suggestion": f"Restore the {kind.field} first.",
    }
    assert updated == {kind.field: None, "errors": [archived]}
    assert duplicated == {kind.field: None, "errors": [archived]}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.name != "Role"], ids=lambda kind: kind.name)
async def test_a_name_is_taken_until_its_thing_is_archived(graph: Graph, kind: Kind) -> None:
    home = await kind.home(graph)
    made = await kind.make(graph, **home)
    other = await kind.make(graph, **home, name="Other")

    async with nothing_written(graph):
        answers = [
            await kind.do(graph, "create", **{**kind.given, **home}),
            await kind.do(graph, "update", id=other["id"], version=1, name="Kettle"),
            await kind.do(graph, "duplicate", id=other["id"], name="Kettle"),
        ]

    taken = {
        "__typename": "Conflict",
        "message": f"Another {kind.field} has this name already.",
        "code": "NAME_TAKEN",
        "path": ["input", "name"],
        "suggestion": None,
    }
    assert answers == [{kind.field: None, "errors": [taken]}] * 3

    await kind.do(graph, "archive", id=made["id"])
    await kind.make(graph, **home)
    async with nothing_written(graph):
        assert (await kind.do(graph, "restore", id=made["id"]))["errors"] == [taken]


@each_kind
async def test_a_null_where_a_value_is_needed_is_refused(graph: Graph, kind: Kind) -> None:
    made = await kind.make(graph)

    async with nothing_written(graph):
        refused = await kind.do(graph, "update", id=made["id"], version=1, **{kind.title: None})

    assert [(error["code"], error["path"]) for error in refused["errors"]] == [("INVALID", ["input", kind.title])]


@pytest.mark.parametrize("kind", KINDS[1:], ids=lambda kind: kind.name)
async def test_nothing_is_made_in_an_archived_parent(graph: Graph, kind: Kind) -> None:
    assert kind.parent
    home = await kind.home(graph)
    made = await kind.make(graph, **home)
    parent = kind.parent.removesuffix("Id")
    await graph.mutate(f"archive{parent.capitalize()}", f"{parent} {{ id }}", id=home[kind.parent])

    async with nothing_written(graph):
        created = await kind.do(graph, "create", **{**kind.given, **home, kind.title: "Other"})
        updated = await kind.do(graph, "update", id=made["id"], version=1, **kind.change)
        duplicated = await kind.do(graph, "duplicate", id=made["id"])

    told = [
        (error["code"], error["path"], error["message"])
        for payload in (created, updated, duplicated)
        for error in payload["errors"]
    ]
    message = f"The {parent} is archived."
    assert told == [
        ("ARCHIVED", ["input", kind.parent], message),
        ("ARCHIVED", ["input", "id"], message),
        ("ARCHIVED", ["input", "id"], message),
    ]


async def test_a_copy_of_a_team_has_copies_of_its_parts_and_the_same_tools(graph: Graph) -> None:
    project_id = await graph.project()
    tools = [
        (await graph.make("Tool", projectId=project_id, name=name, kind="CALCULATOR"))["id"] for name in ("kept", "old")
    ]
    team_id = await graph.team(project_id)
    lead = await graph.role(team_id, title="Lead", toolIds=tools)
    writer = await graph.role(team_id, title="Writer", supervisorId=lead, position=1)
    gone = await graph.role(team_id, title="Gone")
    first = await graph.task(team_id, name="First", roleId=writer)
    await graph.task(team_id, name="Second", roleId=gone, dependsOn=[first], position=1)
    await graph.mutate("updateTeam", "team { id }", id=team_id, version=1, managerId=lead)
    await graph.mutate("archiveRole", "role { id }", id=gone)
    await graph.mutate("archiveTool", "tool { id }", id=tools[1])

    copy = await graph.mutate(
        "duplicateTeam",
        "team { manager { title team { name } } roles { id title supervisor { title team { name } } tools { id } }"
        " tasks { name role { title team { name } } dependsOn { name team { name } } } }",
        id=team_id,
        name="Twin",
    )

    assert copy["errors"] == []
    of_twin = {"team": {"name": "Twin"}}
    roles = copy["team"].pop("roles")
    assert not {role.pop("id") for role in roles} & {lead, writer}
    assert roles == [
        {"title": "Lead", "supervisor": None, "tools": [{"id": tools[0]}]},
        {"title": "Writer", "supervisor": {"title": "Lead", **of_twin}, "tools": []},
    ]
    assert copy["team"] == {
        "manager": {"title": "Lead", **of_twin},
        "tasks": [
            {"name": "First", "role": {"title": "Writer", **of_twin}, "dependsOn": []},
            {"name": "Second", "role": None, "dependsOn": [{"name": "First", **of_twin}]},
        ],
    }


async def test_a_copy_of_a_role_keeps_its_tools_and_of_a_task_its_dependencies(graph: Graph) -> None:
    project_id = await graph.project()
    tool = (await graph.make("Tool", projectId=project_id, name="Sums", kind="CALCULATOR"))["id"]
    archived = (await graph.make("Tool", projectId=project_id, name="Old", kind="CALCULATOR"))["id"]
    team_id = await graph.team(project_id)
    role_id = await graph.role(team_id, toolIds=[tool, archived])
    task_id = await graph.task(team_id, dependsOn=[await graph.task(team_id, name="First")])
    await graph.mutate("archiveTool", "tool { id }", id=archived)

    role = await graph.mutate("duplicateRole", "role { title tools { name } }", id=role_id)
    task = await graph.mutate("duplicateTask", "task { dependsOn { name } }", id=task_id)

    assert role == {"role": {"title": "Analyst (copy)", "tools": [{"name": "Sums"}]}, "errors": []}
    assert task == {"task": {"dependsOn": [{"name": "First"}]}, "errors": []}


async def test_links_are_replaced_as_a_whole_or_left_alone(graph: Graph) -> None:
    project_id = await graph.project()
    tools = [
        (await graph.make("Tool", projectId=project_id, name=f"Tool {number}", kind="CALCULATOR"))["id"]
        for number in range(2)
    ]
    team_id = await graph.team(project_id)
    role_id = await graph.role(team_id, toolIds=tools)

    left = await graph.mutate("updateRole", "role { tools { id } }", id=role_id, version=1, description="d")
    replaced = await graph.mutate("updateRole", "role { tools { id } }", id=role_id, version=2, toolIds=[tools[1]] * 2)
    emptied = await graph.mutate("updateRole", "role { tools { id } }", id=role_id, version=3, toolIds=[])

    assert [[tool["id"] for tool in answer["role"]["tools"]] for answer in (left, replaced, emptied)] == [
        tools,
        [tools[1]],
        [],
    ]


async def test_a_role_tells_its_supervisor_and_a_supervisor_its_subordinates(graph: Graph) -> None:
    team_id = await graph.team()
    lead = await graph.role(team_id, title="Lead")
    role_id = await graph.role(team_id, title="Writer", supervisorId=lead)

    data = await graph.query("query($id: ID!) { team(id: $id) { roles { title subordinates { title } } } }", id=team_id)
    freed = await graph.mutate("updateRole", "role { supervisor { id } }", id=role_id, version=1, supervisorId=None)

    assert {role["title"]: role["subordinates"] for role in data["team"]["roles"]} == {
        "Lead": [{"title": "Writer"}],
        "Writer": [],
    }
    assert freed == {"role": {"supervisor": None}, "errors": []}
