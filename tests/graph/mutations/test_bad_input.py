"""Inputs that break rules: every broken rule is told with its place, and nothing is written."""

from typing import Any

import pytest

from tests.support.graphql import Graph
from tests.support.things import nothing_written, one_of_each

LONG = "n" * 1_000_000
BAD_NAMES = {
    "": "A name is required.",
    "   ": "A name is required.",
    LONG: "At most 200 characters.",
    "n" * 201: "At most 200 characters.",
    "bell\u0007": "Control characters are not allowed in a name.",
    "nul\u0000": "Control characters are not allowed in a name.",
    "two\nlines": "Control characters are not allowed in a name.",
    "over\u202eridden": "Control characters are not allowed in a name.",
}
TASK = {"description": "Do.", "expectedOutput": "Done."}
YAML = {"agentsYaml": "a: {role: r, goal: g, backstory: b}", "tasksYaml": ""}


def told(payload: dict[str, Any]) -> list[tuple[str, str]]:
    """Where and what, of errors that all have to be `Invalid`."""
    assert {(error["__typename"], error["code"]) for error in payload["errors"]} == {("Invalid", "INVALID")}
    assert all(error["path"][0] == "input" for error in payload["errors"])
    return [(".".join(error["path"][1:]), error["message"]) for error in payload["errors"]]


@pytest.mark.parametrize(
    "name", BAD_NAMES, ids=lambda name: f"{len(name)}-{name[:8].encode('unicode_escape').decode()}"
)
async def test_a_bad_name_is_refused_wherever_one_is_given(graph: Graph, name: str) -> None:
    own = await one_of_each(graph)
    inputs: dict[str, dict[str, Any]] = {
        "createProject": {"name": name},
        "createTeam": {"projectId": own["Project"], "name": name},
        "createRole": {"teamId": own["Team"], "title": name},
        "createTask": {"teamId": own["Team"], "name": name, **TASK},
        "createTool": {"projectId": own["Project"], "name": name, "kind": "CALCULATOR"},
        "importCrew": {"projectId": own["Project"], "name": name, **YAML},
        "kickoffTeam": {"teamId": own["Team"], "idempotencyKey": name},
        "cancelExecution": {"executionId": own["Execution"], "idempotencyKey": name},
    }
    for kind in ("Project", "Team", "Role", "Task", "Tool"):
        title = "title" if kind == "Role" else "name"
        inputs[f"update{kind}"] = {"id": own[kind], "version": 1, title: name}
        inputs[f"duplicate{kind}"] = {"id": own[kind], "name": name}

    async with nothing_written(graph):
        answers = {
            mutation: told(await graph.mutate(mutation, "__typename", **given)) for mutation, given in inputs.items()
        }

    places = {"createRole": "title", "updateRole": "title"}
    keyed = dict.fromkeys(
        ("kickoffTeam", "cancelExecution"), ("idempotencyKey", BAD_NAMES[name].replace("name", "key"))
    )
    assert answers == {
        mutation: [keyed.get(mutation, (places.get(mutation, "name"), BAD_NAMES[name]))] for mutation in inputs
    }


async def test_a_team_with_bad_settings_is_refused_with_all_of_them(graph: Graph) -> None:
    project_id = await graph.project()
    settings = {"maxIterations": -1, "executionTimeoutSeconds": 3600.5, "taskTimeoutSeconds": 0.5}
    settings |= {"maxParallelTasks": 17}

    async with nothing_written(graph):
        payload = await graph.mutate("createTeam", "team { id }", projectId=project_id, name="", settings=settings)

    assert told(payload) == [
        ("name", "A name is required."),
        ("settings.maxIterations", "Must be between 1 and 50."),
        ("settings.executionTimeoutSeconds", "Must be between 1 and 3600."),
        ("settings.taskTimeoutSeconds", "Must be between 1 and 3600."),
        ("settings.maxParallelTasks", "Must be between 1 and 16."),
    ]


async def test_a_bad_role_is_refused_with_every_broken_rule(graph: Graph) -> None:
    team_id = await graph.team()

    async with nothing_written(graph):
        payload = await graph.mutate(
            "createRole",
            "role { id }",
            teamId=team_id,
            title="Analyst",
            description="d" * 20_001,
            backstory="nul\u0000",
            goals=["fine", " ", "g" * 1001],
            skills=["s"] * 101,
            temperature=2.1,
            maxTokens=-5,
            modelParameters={"api_base": "http://127.0.0.1", "top_p": 1},
            model="os.environ/SECRET",
            maxTasks=101,
            maxParallelTasks=0,
            delegation={"isAllowed": True, "taskKinds": [""]},
        )

    assert told(payload) == [
        ("description", "At most 20000 characters."),
        ("backstory", "The character U+0000 is not allowed."),
        ("goals.1", "An entry must not be empty."),
        ("goals.2", "At most 1000 characters."),
        ("skills", "At most 100 entries."),
        ("delegation.taskKinds.0", "An entry must not be empty."),
        ("temperature", "Must be between 0 and 2."),
        ("maxTokens", "Must be between 1 and 1000000."),
        ("maxTasks", "Must be between 1 and 100."),
        ("maxParallelTasks", "Must be between 1 and 100."),
        ("modelParameters.api_base", "This parameter is not allowed."),
        ("model", "This is no model name."),
    ]


async def test_a_bad_task_is_refused_with_every_broken_rule(graph: Graph) -> None:
    team_id = await graph.team()

    async with nothing_written(graph):
        payload = await graph.mutate(
            "createTask",
            "task { id }",
            teamId=team_id,
            name="Bad",
            description=" ",
            expectedOutput="nul\u0000",
            kind="k" * 20_001,
            requiredSkills=["", "ok\u0000"],
            priority=10,
            maxAttempts=0,
            guardrail="g" * 20_001,
            approval={"isRequired": True, "assignee": " ", "timeoutSeconds": 90 * 86_400 + 1},
        )

    assert told(payload) == [
        ("description", "A description is required."),
        ("expectedOutput", "The character U+0000 is not allowed."),
        ("kind", "At most 20000 characters."),
        ("requiredSkills.0", "An entry must not be empty."),
        ("requiredSkills.1", "The character U+0000 is not allowed."),
        ("priority", "Must be between 0 and 9."),
        ("maxAttempts", "Must be between 1 and 10."),
        ("guardrail", "At most 20000 characters."),
        ("approval.assignee", "A name is required."),
        ("approval.timeoutSeconds", "Must be between 1 and 7776000."),
    ]


async def test_too_many_links_are_refused_before_anything_is_looked_up(graph: Graph) -> None:
    own = await one_of_each(graph)

    async with nothing_written(graph):
        role = await graph.mutate("updateRole", "role { id }", id=own["Role"], version=1, toolIds=[own["Tool"]] * 101)
        task = await graph.mutate("updateTask", "task { id }", id=own["Task"], version=1, dependsOn=[own["Task"]] * 101)

    assert told(role) == [("toolIds", "At most 100 entries.")]
    assert told(task) == [("dependsOn", "At most 100 entries.")]


NO_JSON = "This is no JSON value."
NO_NUL = "The character U+0000 is not allowed."
NOT_PLAIN = "At most 50 levels, and no integer beyond 64 bits."
URL = "https://mcp.example.org"
BAD_DOCUMENTS: dict[str, tuple[Any, str]] = {
    "a list": ([1], "object"),
    "a text": ("text", "object"),
    "NUL in a value": ({"url": URL, "deep": ["nul\u0000"]}, NO_NUL),
    "NUL in a key": ({"url": URL, "nul\u0000": 1}, NO_NUL),
    "too large": ({"url": URL, "big": "b" * 64_000}, "At most 64000 characters of JSON."),
    "too deep": ({"url": URL, "deep": [[[]]]}, NOT_PLAIN),
}


def _nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("case", BAD_DOCUMENTS)
async def test_a_bad_document_is_refused_as_configuration_and_as_inputs(graph: Graph, case: str) -> None:
    own = await one_of_each(graph)
    document, message = BAD_DOCUMENTS[case]
    if case == "too deep":
        document = {"url": URL, "deep": _nested(300)}
    tool = {"projectId": own["Project"], "name": "Other", "kind": "MCP_SERVER", "configuration": document}

    async with nothing_written(graph):
        made = await graph.mutate("createTool", "tool { configuration }", **tool)
        started = await graph.mutate("kickoffTeam", "execution { inputs }", teamId=own["Team"], inputs=document)

    configuration = "The configuration is an object." if message == "object" else message
    inputs = "The inputs are an object." if message == "object" else message
    assert told(made) == [("configuration", configuration)]
    assert told(started) == [("inputs", inputs)]


@pytest.mark.parametrize(
    ("literal", "message"), [("9" * 30, NOT_PLAIN), ("1e999", NO_JSON)], ids=["an integer", "a float"]
)
async def test_a_number_that_json_cannot_carry_is_refused(graph: Graph, literal: str, message: str) -> None:
    team_id = await graph.ready_team()
    query = (
        f'mutation {{ kickoffTeam(input: {{teamId: "{team_id}", inputs: {{n: [{literal}]}}}})'
        " { execution { inputs } errors { code path message } } }"
    )

    async with nothing_written(graph):
        data = await graph.query(query)

    assert data["kickoffTeam"] == {
        "execution": None,
        "errors": [{"code": "INVALID", "path": ["input", "inputs"], "message": message}],
    }


async def test_a_document_at_its_limits_is_kept_as_it_was_given(graph: Graph) -> None:
    project_id = await graph.project()
    document = {"url": "http://127.0.0.1", "deep": _nested(49), "n": [2**63 - 1, -(2**63), 0.1, None, True], "é": "✓"}

    tool = await graph.make(
        "Tool", "id configuration", projectId=project_id, name="MCP", kind="MCP_SERVER", configuration=document
    )
    again = await graph.query("query($id: ID!) { node(id: $id) { ... on Tool { configuration } } }", id=tool["id"])

    assert tool["configuration"] == again["node"]["configuration"] == document


async def test_a_tool_needs_what_its_kind_needs(graph: Graph) -> None:
    project_id = await graph.project()

    async with nothing_written(graph):
        server = await graph.mutate("createTool", "tool { id }", projectId=project_id, name="A", kind="MCP_SERVER")
        crewai = await graph.mutate(
            "createTool", "tool { id }", projectId=project_id, name="B", kind="CREWAI_TOOL", configuration={"x": 1}
        )

    assert told(server) == [("configuration.url", "A MCP_SERVER needs the text 'url'.")]
    assert told(crewai) == [("configuration.class_name", "A CREWAI_TOOL needs the text 'class_name'.")]


async def test_a_team_has_at_most_a_hundred_roles_and_a_hundred_tasks(graph: Graph) -> None:
    agents = "\n".join(f"a{number}: {{role: r{number}, goal: g, backstory: b}}" for number in range(101))
    tasks = "\n".join(f"t{number}: {{description: d, expected_output: e, agent: a{number}}}" for number in range(101))
    project_id = await graph.project()

    async with nothing_written(graph):
        refused = await graph.mutate(
            "importCrew", "team { id }", projectId=project_id, name="Many", agentsYaml=agents, tasksYaml=tasks
        )
    assert told(refused) == [
        ("agentsYaml", "A team has at most 100 roles."),
        ("tasksYaml", "A team has at most 100 tasks."),
    ]

    full = await graph.mutate(
        "importCrew",
        "team { id roles { id } tasks { id } }",
        projectId=project_id,
        name="Full",
        agentsYaml=agents.rpartition("\n")[0],
        tasksYaml=tasks.rpartition("\n")[0],
    )
    assert (len(full["team"]["roles"]), len(full["team"]["tasks"])) == (100, 100)
    team_id = full["team"]["id"]
    async with nothing_written(graph):
        role = await graph.mutate("createRole", "role { id }", teamId=team_id, title="One more")
        task = await graph.mutate("duplicateTask", "task { id }", id=full["team"]["tasks"][0]["id"])
    assert told(role) == [("teamId", "A team has at most 100 roles.")]
    assert told(task) == [("teamId", "A team has at most 100 tasks.")]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("maxTokens", 2**31),
        ("maxTokens", 1.5),
        ("maxTokens", "12"),
        ("temperature", "warm"),
        ("expertise", "GURU"),
        ("title", 12),
        ("title", ["a"]),
        ("goals", [None]),
        ("toolIds", [{"id": 1}]),
        ("surprise", 1),
    ],
)
async def test_a_value_of_the_wrong_type_is_no_request(graph: Graph, field: str, value: object) -> None:
    team_id = await graph.team()
    given = {"teamId": team_id, "title": "Analyst", field: value}

    async with nothing_written(graph):
        answer = await graph.answer(
            "mutation($input: CreateRoleInput!) { createRole(input: $input) { role { id } } }", input=given
        )

    assert list(answer) == ["errors"]
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["BAD_USER_INPUT"]
