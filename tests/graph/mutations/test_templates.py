"""Templates through the graph: made, changed in versions, moved in and out, and made teams and tasks of."""

import asyncio
from typing import Any

import pytest

from domain.model.library import shipped_templates
from domain.model.template import TemplateKind
from resolvers.node_ids import node_id, parse_node_id
from tests.support.graphql import Graph
from tests.support.things import nothing_written, strangers_things, unknown

PARAMETERS = [
    {"name": "product", "description": "What is sold"},
    {"name": "words", "type": "NUMBER", "default": 200, "least": 50, "most": 500},
    {"name": "channels", "type": "LIST", "default": ["mail", "web"]},
]
BLUEPRINT = {
    "name": "Launch of {{product}}",
    "process": "PARALLEL",
    "roles": [
        {"title": "Writer", "expertise": "SENIOR", "goals": ["Love {{product}}", "{{channels}}"], "tools": ["Sums"]},
        {"title": "Editor", "supervisor": "Writer"},
    ],
    "tasks": [
        {
            "name": "Write",
            "description": "Write {{words}} words on {{product}} for {city}, for {{channels}}.",
            "expectedOutput": "A text",
            "role": "Writer",
            "maxBudget": "0.50",
        },
        {"name": "Edit", "description": "Edit.", "expectedOutput": "A text", "role": "Editor", "dependsOn": ["Write"]},
    ],
    "tools": [{"name": "Sums", "kind": "CALCULATOR"}],
}  # fmt: skip
TASK = {"name": "Check {{product}}", "description": "Check {{product}} in {city}.", "expectedOutput": "A list"}
TEMPLATE = """template { id version name description kind visibility domain tags latestVersion archivedAt
    parameters { name type description isRequired default options least most pattern }
    blueprint { name process roles { title goals } tasks { name description role dependsOn } tools { name } }
    versions { totalCount nodes { number } } }"""
TEAM = """team { id name process roles { title goals tools { name } supervisor { title } }
    tasks { name description role { title } maxBudget { amount } dependsOn { name } }
    origin { template { id name } templateVersion } }"""


async def a_template(graph: Graph, name: str = "Launch", **values: Any) -> dict[str, Any]:
    given = {"name": name, "parameters": PARAMETERS, "blueprint": BLUEPRINT, **values}
    return await graph.make("Template", "id version latestVersion", **given)


async def a_task_template(graph: Graph, name: str = "Check", **values: Any) -> dict[str, Any]:
    given = {"name": name, "parameters": PARAMETERS[:1], "task": TASK, **values}
    return await graph.make("Template", "id version latestVersion", **given)


async def read(graph: Graph, identifier: str) -> dict[str, Any]:
    found: dict[str, Any] = (await graph.query(f"query($id: ID!) {{ {_read()} }}", id=identifier))["template"]
    return found


def _read() -> str:
    return TEMPLATE.replace("template {", "template(id: $id) {", 1)


def places(payload: dict[str, Any]) -> list[tuple[str, str]]:
    """Code and place of each error."""
    return [(error["code"], ".".join(error["path"][1:])) for error in payload["errors"]]


# ---------------------------------------------------------------- making and changing


async def test_a_template_is_made_with_its_first_version(graph: Graph) -> None:
    payload = await graph.mutate(
        "createTemplate",
        TEMPLATE,
        name="Launch",
        description="For launches",
        domain="marketing",
        tags=["launch"],
        parameters=PARAMETERS,
        blueprint=BLUEPRINT,
    )

    template = payload["template"]
    assert payload["errors"] == []
    assert template == await read(graph, template["id"])
    assert template["parameters"][1] == {
        "name": "words",
        "type": "NUMBER",
        "description": "",
        "isRequired": False,
        "default": 200,
        "options": [],
        "least": 50,
        "most": 500,
        "pattern": None,
    }
    assert template["parameters"][0]["isRequired"] is True
    assert {key: template[key] for key in ("version", "kind", "visibility", "domain", "tags", "latestVersion")} == {
        "version": 1,
        "kind": "TEAM",
        "visibility": "TENANT",
        "domain": "marketing",
        "tags": ["launch"],
        "latestVersion": 1,
    }
    assert template["blueprint"]["name"] == "Launch of {{product}}"
    assert template["versions"] == {"totalCount": 1, "nodes": [{"number": 1}]}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"name": " "}, [("INVALID", "name")]),
        ({"parameters": []}, [("INVALID", "blueprint.name")]),
        ({"parameters": [*PARAMETERS, {"name": "1st"}]}, [("INVALID", "parameters.3.name")]),
        ({"parameters": [*PARAMETERS, {"name": "words"}]}, [("INVALID", "parameters.3.name")]),
        ({"parameters": [{"name": f"p{n}"} for n in range(51)]}, [("INVALID", "parameters")]),
        ({"parameters": [{"name": "a", "type": None}]}, [("INVALID", "parameters.0.type")]),
        ({"blueprint": None}, [("INVALID", "blueprint")]),
        ({"task": TASK}, [("INVALID", "task")]),
        ({"blueprint": {"name": "X", "roles": []}}, [("INVALID", "blueprint.roles")]),
        (
            {"blueprint": {"name": "X", "roles": [{"title": "A", "supervisor": "B"}]}},
            [("INVALID", "blueprint.roles.0.supervisor")],
        ),
        ({"blueprint": {"name": "X" * 201, "roles": [{"title": "A"}]}}, [("INVALID", "blueprint.name")]),
        (
            {"blueprint": {"name": "X", "roles": [{"title": f"R{n}", "backstory": "x" * 20_000} for n in range(13)]}},
            [("INVALID", "blueprint")],
        ),
    ],
)
async def test_a_template_that_breaks_a_rule_is_refused_at_its_place(
    graph: Graph, values: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    given = {"name": "Launch", "parameters": PARAMETERS, "blueprint": BLUEPRINT, **values}

    async with nothing_written(graph):
        payload = await graph.mutate("createTemplate", "template { id }", **given)

    assert payload["template"] is None
    assert places(payload)[: len(expected)] == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"task": {**TASK, "description": "{{who}}"}}, [("INVALID", "task.description")]),
        ({"task": {**TASK, "role": "Writer"}}, [("INVALID", "task.role")]),
        ({"task": {**TASK, "dependsOn": ["Other"]}}, [("INVALID", "task.dependsOn.0")]),
        ({"task": {**TASK, "priority": 12}}, [("INVALID", "task.priority")]),
        ({}, [("INVALID", "blueprint")]),
    ],
)
async def test_a_template_of_a_task_that_breaks_a_rule_is_refused_at_its_place(
    graph: Graph, values: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    async with nothing_written(graph):
        payload = await graph.mutate("createTemplate", "template { id }", name="A", parameters=PARAMETERS[:1], **values)

    assert places(payload) == expected


async def test_names_of_own_templates_are_unique_among_those_in_use(graph: Graph) -> None:
    first = await a_template(graph)

    refused = await graph.mutate("createTemplate", "template { id }", name="Launch", parameters=[], task=_plain())
    await graph.mutate("archiveTemplate", "template { id }", id=first["id"])
    second = await graph.make("Template", name="Launch", task=_plain())
    not_restored = await graph.mutate("restoreTemplate", "template { id }", id=first["id"])

    assert places(refused) == places(not_restored) == [("NAME_TAKEN", "name")]
    assert second["id"] != first["id"]


def _plain() -> dict[str, str]:
    return {"name": "T", "description": "D", "expectedOutput": "E"}


async def test_an_update_of_what_it_holds_makes_a_new_version_and_keeps_the_old_one(graph: Graph) -> None:
    made = await a_template(graph)
    changed = {**BLUEPRINT, "name": "Start of {{product}}"}

    payload = await graph.mutate(
        "updateTemplate", TEMPLATE, id=made["id"], version=1, name="Start", blueprint=changed, tags=["new"]
    )
    old = await graph.query(
        "query($id: ID!) { template(id: $id) { first: numberedVersion(number: 1) { number blueprint { name }"
        " parameters { name } createdAt createdBy } none: numberedVersion(number: 3) { number }"
        " versions(first: 1) { totalCount nodes { number blueprint { name } } pageInfo { hasNextPage endCursor } } } }",
        id=made["id"],
    )

    template = payload["template"]
    assert (template["version"], template["latestVersion"], template["name"], template["tags"]) == (
        2,
        2,
        "Start",
        ["new"],
    )
    assert template["blueprint"]["name"] == "Start of {{product}}"
    assert [each["name"] for each in template["parameters"]] == ["product", "words", "channels"]
    assert old["template"]["first"]["blueprint"] == {"name": "Launch of {{product}}"}
    assert old["template"]["none"] is None
    page = old["template"]["versions"]
    assert page["totalCount"] == 2
    assert page["nodes"] == [{"number": 2, "blueprint": {"name": "Start of {{product}}"}}]
    assert page["pageInfo"]["hasNextPage"] is True


async def test_an_update_of_the_template_alone_or_with_the_same_content_makes_no_version(graph: Graph) -> None:
    made = await a_template(graph)

    renamed = await graph.mutate("updateTemplate", TEMPLATE, id=made["id"], version=1, description="More")
    same = await graph.mutate(
        "updateTemplate", TEMPLATE, id=made["id"], version=2, parameters=PARAMETERS, blueprint=BLUEPRINT
    )

    assert (renamed["template"]["version"], renamed["template"]["latestVersion"]) == (2, 1)
    assert (same["template"]["version"], same["template"]["latestVersion"]) == (3, 1)


async def test_a_renamed_template_of_a_task_with_the_same_task_has_no_new_version(graph: Graph) -> None:
    made = await a_task_template(graph)

    payload = await graph.mutate("updateTemplate", TEMPLATE, id=made["id"], version=1, name="Look", task=TASK)

    assert (payload["template"]["name"], payload["template"]["latestVersion"]) == ("Look", 1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"version": 2}, [("STALE_VERSION", "version")]),
        ({"name": None}, [("INVALID", "name")]),
        ({"name": ""}, [("INVALID", "name")]),
        ({"task": TASK}, [("INVALID", "task")]),
        ({"parameters": []}, [("INVALID", "blueprint.name")]),
        ({"id": unknown("Template")}, [("NOT_FOUND", "id")]),
        ({"id": unknown("Team")}, [("NOT_FOUND", "id")]),
    ],
)
async def test_an_update_that_breaks_a_rule_changes_nothing(
    graph: Graph, values: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    made = await a_template(graph)

    async with nothing_written(graph):
        payload = await graph.mutate("updateTemplate", "template { id }", **{"id": made["id"], "version": 1, **values})

    assert places(payload)[: len(expected)] == expected


async def test_of_two_updates_at_once_one_is_refused(graph: Graph) -> None:
    made = await a_template(graph)

    payloads = await asyncio.gather(
        *(
            graph.mutate(
                "updateTemplate",
                "template { latestVersion }",
                id=made["id"],
                version=1,
                blueprint={**BLUEPRINT, "description": text},
            )
            for text in ("One", "Two")
        )
    )

    assert sorted(map(str, (places(payload) for payload in payloads))) == ["[('STALE_VERSION', 'version')]", "[]"]


async def test_an_archived_template_is_neither_changed_nor_used_until_it_is_restored(graph: Graph) -> None:
    made = await a_template(graph)
    project_id = await graph.project()
    values = {"templateId": made["id"], "projectId": project_id, "parameters": {"product": "Soup"}}

    archived = await graph.mutate("archiveTemplate", "template { archivedAt }", id=made["id"])
    again = await graph.mutate("archiveTemplate", "template { archivedAt version }", id=made["id"])
    updated = await graph.mutate("updateTemplate", "template { id }", id=made["id"], version=2, name="X")
    duplicated = await graph.mutate("duplicateTemplate", "template { id }", id=made["id"])
    used = await graph.mutate("instantiateTemplate", "team { id }", **values)
    restored = await graph.mutate("restoreTemplate", "template { archivedAt version }", id=made["id"])
    now = await graph.mutate("instantiateTemplate", "team { name }", **values)

    assert archived["template"]["archivedAt"]
    assert again["template"] == {**archived["template"], "version": 2}
    assert (places(updated), places(duplicated)) == ([("ARCHIVED", "id")], [("ARCHIVED", "id")])
    assert places(used) == [("ARCHIVED", "templateId")]
    assert restored["template"] == {"archivedAt": None, "version": 3}
    assert now["team"] == {"name": "Launch of Soup"}


# ---------------------------------------------------------------- built-in ones


def _shipped(kind: TemplateKind = TemplateKind.TEAM) -> Any:
    return next(each for each in shipped_templates() if each.template.kind is kind)


def _id_of(shipped: Any) -> str:
    return node_id("Template", shipped.template.id)


@pytest.mark.parametrize("name", ["updateTemplate", "archiveTemplate", "restoreTemplate"])
async def test_a_built_in_template_is_changed_by_nobody(graph: Graph, name: str) -> None:
    values = {"version": 0, "name": "Mine"} if name == "updateTemplate" else {}

    async with nothing_written(graph):
        payload = await graph.mutate(name, "template { id }", id=_id_of(_shipped()), **values)

    [error] = payload["errors"]
    assert (error["__typename"], error["code"], error["path"]) == ("Conflict", "BUILT_IN", ["input", "id"])
    assert "duplicateTemplate" in error["suggestion"]


async def test_a_duplicate_of_a_built_in_template_is_the_tenants_own(graph: Graph) -> None:
    shipped = _shipped()

    payload = await graph.mutate("duplicateTemplate", TEMPLATE, id=_id_of(shipped))
    again = await graph.mutate("duplicateTemplate", "template { id }", id=_id_of(shipped))
    named = await graph.mutate("duplicateTemplate", "template { id name }", id=_id_of(shipped), name="Other")
    copy = await graph.mutate("duplicateTemplate", "template { name }", id=named["template"]["id"])

    template, original = payload["template"], await read(graph, _id_of(shipped))
    assert original["visibility"] == "BUILT_IN"
    assert template["visibility"] == "TENANT"
    assert (template["version"], template["latestVersion"], template["name"]) == (1, 1, shipped.template.name)
    for same in ("description", "kind", "domain", "tags", "parameters", "blueprint"):
        assert template[same] == original[same]
    assert places(again) == [("NAME_TAKEN", "name")]
    assert named["template"]["name"] == "Other"
    assert copy["template"]["name"] == "Other (copy)"


async def test_a_duplicate_needs_a_name_that_is_one(graph: Graph) -> None:
    payload = await graph.mutate("duplicateTemplate", "template { id }", id=_id_of(_shipped()), name=" ")
    nothing = await graph.mutate("duplicateTemplate", "template { id }", id=unknown("Template"))

    assert (places(payload), places(nothing)) == ([("INVALID", "name")], [("NOT_FOUND", "id")])


# ---------------------------------------------------------------- teams


async def test_a_team_is_made_of_a_template_with_values_defaults_and_a_tool_that_the_project_lacks(
    graph: Graph,
) -> None:
    made = await a_template(graph)
    project_id = await graph.project()

    payload = await graph.mutate(
        "instantiateTemplate",
        TEAM,
        templateId=made["id"],
        projectId=project_id,
        parameters={"product": "Soup", "channels": ["fax", "post"]},
    )

    assert payload["errors"] == []
    team = payload["team"]
    assert (team["name"], team["process"]) == ("Launch of Soup", "PARALLEL")
    assert team["roles"] == [
        {"title": "Writer", "goals": ["Love Soup", "fax", "post"], "tools": [{"name": "Sums"}], "supervisor": None},
        {"title": "Editor", "goals": team["roles"][1]["goals"], "tools": [], "supervisor": {"title": "Writer"}},
    ]
    assert team["tasks"][0] == {
        "name": "Write",
        "description": "Write 200 words on Soup for {city}, for fax, post.",
        "role": {"title": "Writer"},
        "maxBudget": {"amount": "0.5"},
        "dependsOn": [],
    }
    assert team["tasks"][1]["dependsOn"] == [{"name": "Write"}]
    assert team["origin"] == {"template": {"id": made["id"], "name": "Launch"}, "templateVersion": 1}


async def test_an_older_version_is_used_where_it_is_named(graph: Graph) -> None:
    made = await a_template(graph)
    changed = {**BLUEPRINT, "name": "Start of {{product}}"}
    await graph.mutate("updateTemplate", "template { id }", id=made["id"], version=1, blueprint=changed)
    project_id = await graph.project()
    values = {"templateId": made["id"], "projectId": project_id, "parameters": {"product": "Soup"}}

    old = await graph.mutate("instantiateTemplate", TEAM, **values, number=1)
    new = await graph.mutate("instantiateTemplate", TEAM, **values)
    refused = [await graph.mutate("instantiateTemplate", TEAM, **values, number=number) for number in (0, -1, 3)]

    assert (old["team"]["name"], old["team"]["origin"]["templateVersion"]) == ("Launch of Soup", 1)
    assert (new["team"]["name"], new["team"]["origin"]["templateVersion"]) == ("Start of Soup", 2)
    assert [places(payload) for payload in refused] == [[("INVALID", "number")]] * 3


async def test_overrides_change_what_comes_of_the_template(graph: Graph) -> None:
    made = await a_template(graph)
    overrides = {
        "process": "SEQUENTIAL",
        "roles": [{"title": "Critic"}],
        "tasks": [{"name": "Judge", "description": "Judge.", "expectedOutput": "B", "role": "Critic"}],
        "removedTasks": ["Edit"],
        "removedRoles": ["Editor"],
    }

    payload = await graph.mutate(
        "instantiateTemplate",
        TEAM,
        templateId=made["id"],
        projectId=await graph.project(),
        parameters={"product": "Soup"},
        overrides=overrides,
        name="Mine",
    )

    team = payload["team"]
    assert (team["name"], team["process"]) == ("Mine", "SEQUENTIAL")
    assert [role["title"] for role in team["roles"]] == ["Writer", "Critic"]
    assert [task["name"] for task in team["tasks"]] == ["Write", "Judge"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"parameters": None}, [("INVALID", "parameters.product")]),
        ({"parameters": []}, [("INVALID", "parameters")]),
        ({"parameters": "product"}, [("INVALID", "parameters")]),
        (
            {"parameters": {"words": 10, "channels": "mail", "colour": "red"}},
            [
                ("INVALID", "parameters.colour"),
                ("INVALID", "parameters.product"),
                ("INVALID", "parameters.words"),
                ("INVALID", "parameters.channels"),
            ],
        ),
        ({"parameters": {"product": "{{words}}"}}, [("INVALID", "parameters.product")]),
        ({"parameters": {"product": "\u0000"}}, [("INVALID", "parameters.product")]),
        ({"parameters": {"product": "x" * 250}}, [("INVALID", "parameters")]),
        ({"name": ""}, [("INVALID", "name")]),
        ({"overrides": {"removedRoles": ["Nobody"]}}, [("INVALID", "overrides.removedRoles.0")]),
        ({"overrides": {"manager": "Nobody"}}, [("INVALID", "overrides")]),
        ({"overrides": {"name": None}}, [("INVALID", "overrides.name")]),
        ({"idempotencyKey": " "}, [("INVALID", "idempotencyKey")]),
        ({"templateId": unknown("Template")}, [("NOT_FOUND", "templateId")]),
        ({"templateId": unknown("Team")}, [("NOT_FOUND", "templateId")]),
        ({"projectId": unknown("Project")}, [("NOT_FOUND", "projectId")]),
    ],
)
async def test_a_team_that_cannot_be_made_is_not_half_made(
    graph: Graph, values: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    made = await a_template(graph)
    project_id = await graph.project()
    given = {"templateId": made["id"], "projectId": project_id, "parameters": {"product": "Soup"}, **values}

    async with nothing_written(graph):
        payload = await graph.mutate("instantiateTemplate", "team { id }", **given)

    assert payload["team"] is None
    assert places(payload) == expected


async def test_a_team_is_not_made_where_its_name_is_taken_or_its_project_archived(graph: Graph) -> None:
    made = await a_template(graph)
    project_id, closed = await graph.project(), await graph.project()
    await graph.mutate("archiveProject", "project { id }", id=closed)
    values = {"templateId": made["id"], "parameters": {"product": "Soup"}}
    await graph.mutate("instantiateTemplate", "team { id }", **values, projectId=project_id)

    async with nothing_written(graph):
        again = await graph.mutate("instantiateTemplate", "team { id }", **values, projectId=project_id)
        archived = await graph.mutate("instantiateTemplate", "team { id }", **values, projectId=closed)

    assert places(again) == [("NAME_TAKEN", "name")]
    assert places(archived) == [("ARCHIVED", "projectId")]


async def test_a_tool_that_could_do_harm_has_to_be_there(graph: Graph) -> None:
    tool = {"name": "Files", "kind": "MCP_SERVER", "configuration": {"url": "https://mcp.example.org"}}
    blueprint = {"name": "T", "roles": [{"title": "A", "tools": ["Files"]}], "tools": [tool]}
    made = await a_template(graph, parameters=[], blueprint=blueprint)
    project_id = await graph.project()

    async with nothing_written(graph):
        payload = await graph.mutate("instantiateTemplate", "team { id }", templateId=made["id"], projectId=project_id)
    await graph.make("Tool", projectId=project_id, **tool)
    then = await graph.mutate("instantiateTemplate", "team { name }", templateId=made["id"], projectId=project_id)

    assert places(payload) == [("INVALID", "projectId")]
    assert then["team"] == {"name": "T"}


@pytest.mark.parametrize("said", [False, True, None])
async def test_a_tool_that_is_made_may_be_called_twice_as_the_template_says(graph: Graph, said: bool | None) -> None:
    tool = {"name": "Orders", "kind": "HTTP_GET", "isIdempotent": said}
    blueprint = {"name": "T", "roles": [{"title": "A", "tools": ["Orders"]}], "tools": [tool]}
    template = "template { id blueprint { tools { isIdempotent } } }"

    made = (await graph.mutate("createTemplate", template, name="Orders", blueprint=blueprint))["template"]
    team = await graph.mutate(
        "instantiateTemplate",
        "team { roles { tools { isIdempotent } } }",
        templateId=made["id"],
        projectId=await graph.project(),
    )

    assert made["blueprint"]["tools"] == team["team"]["roles"][0]["tools"] == [{"isIdempotent": said}]


async def test_values_that_are_nested_deeply_are_refused_and_no_error_of_the_server(graph: Graph) -> None:
    template, team_id = await a_template(graph), await graph.team()
    task = await a_task_template(graph)
    deep: Any = []
    for _ in range(480):
        deep = [deep]
    project = await graph.project()

    async with nothing_written(graph):
        team = await graph.mutate(
            "instantiateTemplate",
            "team { id }",
            templateId=template["id"],
            projectId=project,
            parameters={"product": deep},
            idempotencyKey="deep",
        )
        one = await graph.mutate(
            "instantiateTaskTemplate",
            "task { id }",
            templateId=task["id"],
            teamId=team_id,
            parameters={"product": {"a": deep}},
        )

    assert places(team) == places(one) == [("INVALID", "parameters.product")]


async def test_the_same_key_makes_one_team_and_another_request_with_it_is_refused(graph: Graph) -> None:
    made = await a_template(graph)
    values = {
        "templateId": made["id"],
        "projectId": await graph.project(),
        "parameters": {"product": "Soup"},
        "overrides": {"tasks": [{"name": "More", "description": "D", "expectedOutput": "E"}]},
        "idempotencyKey": "one",
    }

    payloads = await asyncio.gather(*(graph.mutate("instantiateTemplate", "team { id }", **values) for _ in range(3)))
    other = await graph.mutate("instantiateTemplate", "team { id }", **{**values, "parameters": {"product": "Tea"}})

    assert len({payload["team"]["id"] for payload in payloads}) == 1
    assert places(other) == [("IDEMPOTENCY_CONFLICT", "idempotencyKey")]
    assert await graph.container.database.pool.fetchval("SELECT count(*) FROM template_use") == 1


async def test_a_team_made_by_hand_has_no_origin(graph: Graph) -> None:
    team_id = await graph.team()

    data = await graph.query("query($id: ID!) { team(id: $id) { origin { templateVersion } } }", id=team_id)

    assert data["team"]["origin"] is None


# ---------------------------------------------------------------- tasks


async def test_a_task_is_made_of_a_template_behind_those_of_the_team(graph: Graph) -> None:
    made = await a_task_template(graph)
    team_id = await graph.team()
    role_id = await graph.role(team_id)
    first = await graph.task(team_id, name="First", position=7)

    payload = await graph.mutate(
        "instantiateTaskTemplate",
        "task { name description position role { id } dependsOn { id } team { id origin { templateVersion } } }",
        templateId=made["id"],
        teamId=team_id,
        parameters={"product": "Soup"},
        roleId=role_id,
        dependsOn=[first],
    )
    named = await graph.mutate(
        "instantiateTaskTemplate",
        "task { name role { id } }",
        templateId=made["id"],
        teamId=team_id,
        parameters={"product": "Soup"},
        name="Second",
    )

    assert payload["errors"] == []
    assert payload["task"] == {
        "name": "Check Soup",
        "description": "Check Soup in {city}.",
        "position": 8,
        "role": {"id": role_id},
        "dependsOn": [{"id": first}],
        "team": {"id": team_id, "origin": None},
    }
    assert named["task"] == {"name": "Second", "role": None}


async def test_the_templates_of_tasks_that_ship_are_used_like_own_ones(graph: Graph) -> None:
    team_id = await graph.team()
    shipped = _shipped(TemplateKind.TASK)
    values = {each.name: (each.options or ["Soup"])[0] for each in shipped.content.parameters if each.default is None}

    payload = await graph.mutate(
        "instantiateTaskTemplate", "task { name }", templateId=_id_of(shipped), teamId=team_id, parameters=values
    )

    assert payload["errors"] == []
    assert payload["task"]["name"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"parameters": {}}, [("INVALID", "parameters.product")]),
        ({"name": " "}, [("INVALID", "name")]),
        ({"parameters": {"product": "x" * 250}}, [("INVALID", "parameters")]),
        ({"roleId": unknown("Role")}, [("NOT_FOUND", "roleId")]),
        ({"dependsOn": [unknown("Task")]}, [("NOT_FOUND", "dependsOn.0")]),
        ({"teamId": unknown("Team")}, [("NOT_FOUND", "teamId")]),
        ({"templateId": unknown("Template")}, [("NOT_FOUND", "templateId")]),
        ({"number": 2}, [("INVALID", "number")]),
    ],
)
async def test_a_task_that_cannot_be_made_is_not_half_made(
    graph: Graph, values: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    made = await a_task_template(graph)
    team_id = await graph.team()
    given = {"templateId": made["id"], "teamId": team_id, "parameters": {"product": "Soup"}, **values}

    async with nothing_written(graph):
        payload = await graph.mutate("instantiateTaskTemplate", "task { id }", **given)

    assert payload["task"] is None
    assert places(payload) == expected


async def test_each_kind_of_template_makes_what_it_is_for(graph: Graph) -> None:
    team_template, task_template = await a_template(graph), await a_task_template(graph)
    project_id, team_id = await graph.project(), await graph.team()

    as_team = await graph.mutate(
        "instantiateTemplate", "team { id }", templateId=task_template["id"], projectId=project_id
    )
    as_task = await graph.mutate(
        "instantiateTaskTemplate", "task { id }", templateId=team_template["id"], teamId=team_id
    )

    assert places(as_team) == places(as_task) == [("INVALID", "templateId")]
    assert "instantiateTaskTemplate" in as_team["errors"][0]["message"]


async def test_the_same_key_makes_one_task(graph: Graph) -> None:
    made = await a_task_template(graph)
    values = {
        "templateId": made["id"],
        "teamId": await graph.team(),
        "parameters": {"product": "Soup"},
        "idempotencyKey": "one",
    }

    first = await graph.mutate("instantiateTaskTemplate", "task { id }", **values)
    again = await graph.mutate("instantiateTaskTemplate", "task { id }", **values)
    taken = await graph.mutate("instantiateTaskTemplate", "task { id }", **{**values, "idempotencyKey": "two"})

    assert first["task"] == again["task"]
    assert places(taken) == [("NAME_TAKEN", "name")]


# ---------------------------------------------------------------- from teams


async def _acme(graph: Graph) -> str:
    project_id = await graph.project()
    team_id = await graph.team(project_id, name="Acme Foods Launch", description="Sells Acme Foods soup.")
    role_id = await graph.role(team_id, title="Writer", goals=["Write for Acme Foods"])
    await graph.task(
        team_id,
        name="Write",
        roleId=role_id,
        description="Write 300 words on Acme Foods, for {city}.",
        expectedOutput="A text of 300 words",
    )
    return team_id


async def test_what_could_be_a_parameter_is_proposed_with_a_reason(graph: Graph) -> None:
    team_id = await _acme(graph)
    query = "query($id: ID!) { parameterProposals(teamId: $id) { name type value occurrences reason } }"

    found = (await graph.query(query, id=team_id))["parameterProposals"]
    nothing = await graph.query(query, id=unknown("Team"))

    assert found == [
        {
            "name": "acme_foods",
            "type": "STRING",
            "value": "Acme Foods",
            "occurrences": 4,
            "reason": "A part of the team's name in 4 texts.",
        },
        {
            "name": "number_of_words",
            "type": "NUMBER",
            "value": "300",
            "occurrences": 2,
            "reason": "A number in 2 texts.",
        },
    ]
    assert nothing == {"parameterProposals": None}


async def test_of_the_longest_texts_one_operation_looks_through_and_writes_only_so_much(graph: Graph) -> None:
    long = "word " * 4_000
    team_id = await graph.team()
    for number in range(12):
        await graph.role(team_id, title=f"Role {number}", backstory=long)
    roles = [{"title": f"Role {number}", "backstory": long} for number in range(12)]
    made = await a_template(graph, parameters=[], blueprint={"name": "Team", "roles": roles})
    asked = {
        "parameterProposals(teamId: $id) { name }": team_id,
        "exportedTemplate(id: $id)": made["id"],
        "exportedCrew(teamId: $id) { agentsYaml }": team_id,
    }

    alone = [await graph.answer(f"query($id: ID!) {{ {one} }}", id=it) for one, it in asked.items()]
    thrice = [
        await graph.answer(f"query($id: ID!) {{ a: {one} b: {one} c: {one} }}", id=it) for one, it in asked.items()
    ]

    assert [each.get("errors") for each in alone] == [None] * 3
    assert [each["errors"][0]["extensions"]["code"] for each in thrice] == ["TOO_LARGE"] * 3


async def test_a_team_becomes_a_template_with_the_proposed_parameters_and_back_again(graph: Graph) -> None:
    team_id = await _acme(graph)

    saved = await graph.mutate(
        "saveTeamAsTemplate",
        f"{TEMPLATE} parameters {{ name default }}",
        teamId=team_id,
        name="Launch",
        domain="food",
        tags=["a"],
    )
    other = await graph.mutate(
        "instantiateTemplate",
        TEAM,
        templateId=saved["template"]["id"],
        projectId=await graph.project(),
        parameters={"acme_foods": "Moon Tea"},
    )

    template = saved["template"]
    assert saved["errors"] == []
    assert saved["parameters"] == [
        {"name": "acme_foods", "default": "Acme Foods"},
        {"name": "number_of_words", "default": 300},
    ]
    assert template["description"] == "Sells Acme Foods soup."
    assert template["blueprint"]["name"] == "{{acme_foods}} Launch"
    assert template["blueprint"]["tasks"][0]["description"] == (
        "Write {{number_of_words}} words on {{acme_foods}}, for {city}."
    )
    assert other["team"]["name"] == "Moon Tea Launch"
    assert other["team"]["tasks"][0]["description"] == "Write 300 words on Moon Tea, for {city}."


async def test_a_team_becomes_a_template_with_the_given_parameters_or_with_none(graph: Graph) -> None:
    team_id = await _acme(graph)
    given = [
        {"value": "soup", "name": "dish", "isRequired": True, "description": "Which"},
        {"value": "300", "name": "words", "type": "NUMBER", "most": 500},
    ]

    saved = await graph.mutate(
        "saveTeamAsTemplate",
        "template { description blueprint { description }"
        " parameters { name type default isRequired most description } }",
        teamId=team_id,
        name="Launch",
        description="Mine",
        parameters=given,
    )
    plain = await graph.mutate(
        "saveTeamAsTemplate",
        "template { parameters { name } blueprint { name } } parameters { name }",
        teamId=team_id,
        name="Plain",
        parameters=[],
    )

    assert saved["template"]["description"] == "Mine"
    assert saved["template"]["parameters"] == [
        {
            "name": "dish",
            "type": "STRING",
            "default": None,
            "isRequired": True,
            "most": None,
            "description": "Which",
        },
        {"name": "words", "type": "NUMBER", "default": 300, "isRequired": False, "most": 500, "description": ""},
    ]
    assert saved["template"]["blueprint"]["description"] == "Sells Acme Foods {{dish}}."
    assert plain["template"] == {"parameters": [], "blueprint": {"name": "Acme Foods Launch"}}
    assert plain["parameters"] == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"parameters": [{"value": "tea", "name": "a"}]}, [("INVALID", "parameters.0.value")]),
        ({"parameters": [{"value": " ", "name": "a"}]}, [("INVALID", "parameters.0.value")]),
        ({"parameters": [{"value": "{city}", "name": "a"}]}, [("INVALID", "parameters.0.value")]),
        (
            {"parameters": [{"value": "soup", "name": "a"}, {"value": "soup", "name": "b"}]},
            [("INVALID", "parameters.1.value")],
        ),
        (
            {"parameters": [{"value": "soup", "name": "a"}, {"value": "300", "name": "a"}]},
            [("INVALID", "parameters.1.name")],
        ),
        ({"parameters": [{"value": "soup", "name": "a", "type": "NUMBER"}]}, [("INVALID", "parameters.0.default")]),
        ({"parameters": [{"value": "soup", "name": "a b"}]}, [("INVALID", "parameters.0.name")]),
        ({"parameters": [{"value": "soup", "name": "a"}] * 51}, [("INVALID", "parameters")]),
        (
            {"parameters": [{"value": "soup", "name": "a", "isRequired": True, "default": "stew"}]},
            [("INVALID", "parameters.0.default")],
        ),
        ({"name": ""}, [("INVALID", "name")]),
        ({"teamId": unknown("Team")}, [("NOT_FOUND", "teamId")]),
    ],
)
async def test_a_team_that_cannot_be_saved_leaves_nothing(
    graph: Graph, values: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    team_id = await _acme(graph)

    async with nothing_written(graph):
        payload = await graph.mutate(
            "saveTeamAsTemplate", "template { id }", **{"teamId": team_id, "name": "Launch", **values}
        )

    assert payload["template"] is None
    assert places(payload)[: len(expected)] == expected


async def test_what_a_template_may_not_have_is_said_of_the_team(graph: Graph) -> None:
    empty = await graph.team()
    braces = await _acme(graph)
    await graph.role(braces, title="Coder", goals=["Render {{mustache}}"])

    nobody = await graph.mutate("saveTeamAsTemplate", "template { id }", teamId=empty, name="A")
    mustache = await graph.mutate("saveTeamAsTemplate", "template { id }", teamId=braces, name="A")

    assert places(nobody) == places(mustache) == [("INVALID", "teamId")]
    assert "roles.1.goals.0" in mustache["errors"][0]["message"]


# ---------------------------------------------------------------- files


EXPORTED = "query($id: ID!, $number: Int) { exportedTemplate(id: $id, number: $number) }"


async def test_a_template_goes_out_as_yaml_and_comes_in_again_the_same(graph: Graph) -> None:
    for made in (await a_template(graph), await a_task_template(graph)):
        text = (await graph.query(EXPORTED, id=made["id"]))["exportedTemplate"]

        copied = await graph.mutate("importTemplate", TEMPLATE, yaml=text, name=f"Copy {made['id']}"[:50])

        original, copy = await read(graph, made["id"]), copied["template"]
        assert copied["errors"] == []
        for same in ("description", "kind", "domain", "tags", "parameters"):
            assert copy[same] == original[same]
        assert {**copy["blueprint"], "name": ""} == {**original["blueprint"], "name": ""}
        assert copy["id"] != original["id"]


async def test_every_built_in_template_goes_out_and_comes_in(graph: Graph) -> None:
    for shipped in shipped_templates():
        text = (await graph.query(EXPORTED, id=_id_of(shipped)))["exportedTemplate"]
        payload = await graph.mutate("importTemplate", "template { name visibility latestVersion }", yaml=text)

        assert payload["errors"] == []
        assert payload["template"] == {"name": shipped.template.name, "visibility": "TENANT", "latestVersion": 1}


async def test_versions_are_exported_by_number_and_what_there_is_not_is_null(graph: Graph) -> None:
    made = await a_template(graph)
    changed = {**BLUEPRINT, "name": "Start of {{product}}"}
    await graph.mutate("updateTemplate", "template { id }", id=made["id"], version=1, blueprint=changed)

    first = (await graph.query(EXPORTED, id=made["id"], number=1))["exportedTemplate"]
    newest = (await graph.query(EXPORTED, id=made["id"]))["exportedTemplate"]

    assert ("Launch of {{product}}" in first, "version: 1" in first) == (True, True)
    assert ("Start of {{product}}" in newest, "version: 2" in newest) == (True, True)
    for identifier, number in ((made["id"], 3), (made["id"], 0), (unknown("Template"), None), ("x", None)):
        assert await graph.query(EXPORTED, id=identifier, number=number) == {"exportedTemplate": None}


async def test_an_import_of_an_own_name_is_a_new_version_if_it_differs(graph: Graph) -> None:
    made = await a_template(graph, description="Old")
    text = (await graph.query(EXPORTED, id=made["id"]))["exportedTemplate"]

    same = await graph.mutate("importTemplate", TEMPLATE, yaml=text)
    other = await graph.mutate("importTemplate", TEMPLATE, yaml=text.replace("Launch of", "Start of"))

    assert same["template"]["id"] == other["template"]["id"] == made["id"]
    assert (same["template"]["version"], same["template"]["latestVersion"]) == (2, 1)
    assert (other["template"]["version"], other["template"]["latestVersion"]) == (3, 2)
    assert other["template"]["blueprint"]["name"] == "Start of {{product}}"


async def test_whoever_creates_and_imports_one_name_at_once_waits_for_nobody_for_ever(graph: Graph) -> None:
    text = "name: A\nteam:\n  description: '{}'\n  roles: [{{title: R}}]\n"

    payloads = await asyncio.gather(
        *(
            each
            for place in range(6)
            for each in (
                graph.mutate(
                    "createTemplate",
                    "template { id }",
                    name="A",
                    blueprint={**BLUEPRINT, "name": f"{place}"},
                    parameters=PARAMETERS,
                ),
                graph.mutate("importTemplate", "template { id }", yaml=text.format(place)),
            )
        )
    )

    assert {code for payload in payloads for code, _ in places(payload)} <= {"NAME_TAKEN"}
    assert len({payload["template"]["id"] for payload in payloads if payload["template"]}) == 1


async def test_an_import_under_another_name_needs_none_in_the_text(graph: Graph) -> None:
    payload = await graph.mutate(
        "importTemplate", "template { name }", yaml="team:\n  roles: [{title: R}]\n", name="Mine"
    )

    assert payload == {"template": {"name": "Mine"}, "errors": []}


async def test_two_imports_of_one_name_at_once_are_two_versions(graph: Graph) -> None:
    texts = [f"name: A\nteam:\n  description: {word}\n  roles: [{{title: R}}]\n" for word in ("one", "two")]

    payloads = await asyncio.gather(
        *(graph.mutate("importTemplate", "template { id latestVersion }", yaml=text) for text in texts)
    )

    assert [payload["errors"] for payload in payloads] == [[], []]
    assert len({payload["template"]["id"] for payload in payloads}) == 1
    assert sorted(payload["template"]["latestVersion"] for payload in payloads) == [1, 2]


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        ("", "yaml"),
        ("just a text", "yaml"),
        ("[1, 2]", "yaml"),
        ("name: [", "yaml"),
        ("a: &a [x]\nb: *a", "yaml"),
        ("name: !!python/object/apply:os.system [ls]", "yaml"),
        ("{" * 100, "yaml"),
        ("name: A\nname: B", "yaml"),
        ("x" * 2_000_001, "yaml"),
        ('name: A\nteam: {monthly_budget: "1e9999999", roles: [{title: A}]}', "yaml.team.monthly_budget"),
        ("name: A\nteam:\n  roles: [{title: A, wings: 2}]", "yaml.team.roles.0.wings"),
        ("name: A\nteam:\n  roles: []", "yaml.team.roles"),
        ("name: A\nteam:\n  roles: [{title: 'A {{b}}'}]", "yaml.team.roles.0.title"),
        ("name: A\nteam: 7", "yaml.team"),
        ("name: A", "yaml.team"),
        ("name: A\nkind: TASK\ntask: {name: T, description: D}", "yaml.task.expected_output"),
        ("name: A\nparameters: [{name: p, type: COLOUR}]\nteam:\n  roles: [{title: A}]", "yaml.parameters.0.type"),
    ],
)
async def test_what_is_no_template_is_refused_with_its_place_in_the_text(
    graph: Graph, yaml: str, expected: str
) -> None:
    async with nothing_written(graph):
        payload = await graph.mutate("importTemplate", "template { id }", yaml=yaml)

    assert payload["template"] is None
    assert {code for code, _ in places(payload)} == {"INVALID"}
    assert places(payload)[0][1] == expected


async def test_an_import_keeps_the_kind_and_needs_a_name_that_is_one(graph: Graph) -> None:
    await a_template(graph)
    text = "name: Launch\ntask: {name: T, description: D, expected_output: E}"

    async with nothing_written(graph):
        other_kind = await graph.mutate("importTemplate", "template { id }", yaml=text)
        no_name = await graph.mutate("importTemplate", "template { id }", yaml=text, name="")

    assert (places(other_kind), places(no_name)) == ([("INVALID", "yaml.kind")], [("INVALID", "name")])


# ---------------------------------------------------------------- limits and walls


async def test_a_tenant_has_at_most_five_hundred_templates_in_use(graph: Graph) -> None:
    made = await graph.make("Template", name="A", task=_plain())
    await graph.container.database.pool.execute(
        "INSERT INTO template SELECT tenant_id, gen_random_uuid(), name || ' ' || number, description, kind, domain,"
        " tags, latest, version, created_at, updated_at, created_by, archived_at"
        " FROM template, generate_series(1, 499) AS number"
    )

    async with nothing_written(graph):
        refused = [
            await graph.mutate("createTemplate", "template { id }", name="B", task=_plain()),
            await graph.mutate("duplicateTemplate", "template { id }", id=made["id"], name="B"),
            await graph.mutate(
                "importTemplate",
                "template { id }",
                yaml="name: B\ntask: {name: T, description: D, expected_output: E}",
            ),
        ]
    await graph.mutate("archiveTemplate", "template { id }", id=made["id"])
    await graph.make("Template", name="B", task=_plain())
    restored = await graph.mutate("restoreTemplate", "template { id }", id=made["id"])

    assert [places(payload) for payload in (*refused, restored)] == [[("INVALID", "name")]] * 4


async def test_a_template_has_at_most_a_thousand_versions(graph: Graph) -> None:
    made = await graph.make("Template", name="A", task=_plain())
    await graph.container.database.pool.execute(
        "WITH moved AS (UPDATE template SET latest = 1000) INSERT INTO template_version"
        " SELECT tenant_id, template_id, 1000, content, created_at, created_by FROM template_version"
    )

    payload = await graph.mutate(
        "updateTemplate", "template { id }", id=made["id"], version=1, task={**_plain(), "description": "New"}
    )

    assert places(payload) == [("INVALID", "id")]


async def test_nothing_of_another_tenants_templates_can_be_seen_or_used(graph: Graph) -> None:
    theirs = await a_template(graph)
    task_template = await a_task_template(graph)
    await strangers_things(graph)
    project_id, team_id = await graph.project(), await graph.team()

    seen = await graph.query("query($id: ID!) { template(id: $id) { id } node(id: $id) { id } }", id=theirs["id"])
    listed = await graph.query("{ templates(filter: {visibility: {in: [TENANT]}}) { nodes { id } } }")
    exported = await graph.query(EXPORTED, id=theirs["id"])
    async with nothing_written(graph):
        refused = [
            await graph.mutate("updateTemplate", "template { id }", id=theirs["id"], version=1, name="Mine"),
            await graph.mutate("archiveTemplate", "template { id }", id=theirs["id"]),
            await graph.mutate("duplicateTemplate", "template { id }", id=theirs["id"]),
            await graph.mutate("instantiateTemplate", "team { id }", templateId=theirs["id"], projectId=project_id),
            await graph.mutate(
                "instantiateTaskTemplate", "task { id }", templateId=task_template["id"], teamId=team_id
            ),
        ]
    mine = await a_template(graph)

    assert seen == {"template": None, "node": None}
    assert listed["templates"]["nodes"] == []
    assert exported == {"exportedTemplate": None}
    assert [code for payload in refused for code, _ in places(payload)] == ["NOT_FOUND"] * 5
    assert parse_node_id(mine["id"]) != parse_node_id(theirs["id"])
