"""Pages of long lists: no gap and no repeat in any order, filters, totals, and cursors that are none."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.support.graphql import Graph, counted_statements

TEAMS = """query($id: ID!, $first: Int! = 3, $after: String, $filter: TeamFilter, $order: Order) { project(id: $id) {
    teams(first: $first, after: $after, filter: $filter, orderBy: $order) { totalCount
        nodes { id name createdAt updatedAt } edges { cursor node { id } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } } }"""


async def _teams(graph: Graph, project_id: str, **arguments: Any) -> dict[str, Any]:
    teams: dict[str, Any] = (await graph.query(TEAMS, id=project_id, **arguments))["project"]["teams"]
    return teams


async def _all(graph: Graph, project_id: str, **arguments: Any) -> list[dict[str, Any]]:
    """All nodes, page by page; what the pages say of themselves has to be right."""
    found: list[dict[str, Any]] = []
    after = None
    while True:
        page = await _teams(graph, project_id, after=after, **arguments)
        cursors = [edge["cursor"] for edge in page["edges"]]
        assert [edge["node"]["id"] for edge in page["edges"]] == [node["id"] for node in page["nodes"]]
        info = page["pageInfo"]
        assert (info["startCursor"], info["endCursor"]) == (cursors[0], cursors[-1])
        assert info["hasPreviousPage"] is (after is not None)
        found += page["nodes"]
        if not info["hasNextPage"]:
            return found
        after = info["endCursor"]


async def _eight_teams(graph: Graph) -> str:
    """Two share each name (one of them archived), and four share each moment."""
    project_id = await graph.project()
    for number in range(8):
        team_id = await graph.team(project_id, name=f"{'ab'[number % 2]} {number // 4}")
        if number % 4 < 2:
            await graph.mutate("archiveTeam", "team { id }", id=team_id)
    await graph.container.database.pool.execute(
        "UPDATE team SET created_at = date_trunc('hour', now()) + numbered.half * interval '1 minute',"
        " updated_at = date_trunc('hour', now()) FROM"
        " (SELECT id, (row_number() OVER (ORDER BY id) - 1) / 4 AS half FROM team) AS numbered"
        " WHERE team.id = numbered.id"
    )
    return project_id


@pytest.mark.parametrize("direction", ["ASC", "DESC"])
@pytest.mark.parametrize(("field", "key"), [("CREATED_AT", "createdAt"), ("UPDATED_AT", "updatedAt"), ("NAME", "name")])
async def test_pages_have_no_gap_and_no_repeat_although_many_are_equal(
    graph: Graph, field: str, key: str, direction: str
) -> None:
    project_id = await _eight_teams(graph)
    pool = graph.container.database.pool
    await pool.execute("UPDATE team SET archived_at = now()")
    column = {"createdAt": "created_at", "updatedAt": "updated_at", "name": "name"}[key]
    rows = await pool.fetch(f"SELECT name FROM team ORDER BY {column} {direction}, id {direction}")  # noqa: S608

    arguments = {"order": {"field": field, "direction": direction}, "filter": {"isArchived": True}}
    found = await _all(graph, project_id, **arguments)

    assert len({node["id"] for node in found}) == len(found) == 8
    assert [node["name"] for node in found] == [row["name"] for row in rows]
    assert [node[key] for node in found] == sorted((node[key] for node in found), reverse=direction == "DESC")


async def test_the_newest_in_use_come_first_unless_something_else_is_asked_for(graph: Graph) -> None:
    project_id = await graph.project()
    ids = [await graph.team(project_id) for _ in range(3)]
    await graph.mutate("archiveTeam", "team { id }", id=ids[1])

    in_use = await _teams(graph, project_id)
    archived = await _teams(graph, project_id, filter={"isArchived": True})

    assert [node["id"] for node in in_use["nodes"]] == [ids[2], ids[0]]
    assert [node["id"] for node in archived["nodes"]] == [ids[1]]
    assert (in_use["totalCount"], archived["totalCount"]) == (2, 1)


async def test_rows_that_come_while_one_pages_do_not_disturb(graph: Graph) -> None:
    project_id = await graph.project()
    ids = [await graph.team(project_id) for _ in range(4)]

    first = await _teams(graph, project_id, first=2)
    await graph.team(project_id)
    await graph.mutate("archiveTeam", "team { id }", id=ids[2])
    second = await _teams(graph, project_id, first=2, after=first["pageInfo"]["endCursor"])

    assert [node["id"] for page in (first, second) for node in page["nodes"]] == ids[::-1]
    assert second["pageInfo"]["hasNextPage"] is False


async def test_an_empty_list_has_no_cursors(graph: Graph) -> None:
    assert await _teams(graph, await graph.project()) == {
        "totalCount": 0,
        "nodes": [],
        "edges": [],
        "pageInfo": {"hasNextPage": False, "hasPreviousPage": False, "startCursor": None, "endCursor": None},
    }


async def test_a_total_costs_a_statement_only_where_it_is_asked_for(graph: Graph) -> None:
    project_id = await graph.project()
    await graph.team(project_id)
    plain = "query($id: ID!) { project(id: $id) { teams { nodes { id } } tools { nodes { id } } } }"
    asked = (
        "query($id: ID!) { project(id: $id) { teams { ...T } tools { nodes { id } } } }"
        " fragment T on TeamConnection { nodes { id } ... on TeamConnection { n: totalCount } }"
    )

    with counted_statements(graph) as without:
        await graph.query(plain, id=project_id)
    with counted_statements(graph) as with_total:
        data = await graph.query(asked, id=project_id)

    assert not [statement for statement in without if "count(" in statement]
    assert len([statement for statement in with_total if "count(" in statement]) == 1
    assert len(with_total) == len(without) + 1
    assert data["project"]["teams"]["n"] == 1


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ({}, ["Blue kettle", "Green pot", "Red kettle"]),
        ({"name": {"eq": "Green pot"}}, ["Green pot"]),
        ({"name": {"eq": "green pot"}}, []),
        ({"name": {"contains": "KETTLE"}}, ["Blue kettle", "Red kettle"]),
        ({"name": {"contains": "%"}}, []),
        ({"name": {"contains": "e", "eq": "Red kettle"}}, ["Red kettle"]),
        ({"name": None}, ["Blue kettle", "Green pot", "Red kettle"]),
        ({"process": {"in": ["PARALLEL", "HIERARCHICAL"]}}, ["Red kettle"]),
        ({"process": {"in": []}}, []),
        ({"process": {"in": ["PARALLEL"]}, "name": {"contains": "blue"}}, []),
        ({"createdAt": {"lt": "2000-01-01T00:00:00Z"}}, []),
        ({"createdAt": {"gte": "2000-01-01T00:00:00"}}, ["Blue kettle", "Green pot", "Red kettle"]),
    ],
)
async def test_teams_are_filtered(graph: Graph, wanted: dict[str, Any], names: list[str]) -> None:
    project_id = await graph.project()
    await graph.team(project_id, name="Blue kettle")
    await graph.team(project_id, name="Green pot")
    await graph.team(project_id, name="Red kettle", process="PARALLEL")

    page = await _teams(graph, project_id, filter=wanted, order={"field": "NAME", "direction": "ASC"})

    assert [node["name"] for node in page["nodes"]] == names
    assert page["totalCount"] == len(names)


async def test_a_moment_is_at_or_after_gte_and_before_lt(graph: Graph) -> None:
    project_id = await graph.project()
    await graph.team(project_id)
    moment = (await _teams(graph, project_id))["nodes"][0]["createdAt"]
    later = (datetime.fromisoformat(moment) + timedelta(microseconds=1)).isoformat()

    async def count(**wanted: str) -> int:
        return int((await _teams(graph, project_id, filter={"createdAt": wanted}))["totalCount"])

    assert [await count(gte=moment), await count(lt=moment), await count(gte=later), await count(lt=later)] == [
        1,
        0,
        0,
        1,
    ]


async def test_executions_are_filtered_by_status_and_start(graph: Graph) -> None:
    team_id = await graph.ready_team()
    ids = [await graph.kickoff(team_id) for _ in range(3)]
    await graph.mutate("cancelExecution", "execution { id }", executionId=ids[0])
    pool = graph.container.database.pool
    await pool.execute(
        "UPDATE execution SET status = 'RUNNING', started_at = '2020-02-02 00:00Z' WHERE created_at ="
        " (SELECT max(created_at) FROM execution)"
    )

    async def found(**wanted: Any) -> list[str]:
        data = await graph.query(
            "query($id: ID!, $filter: ExecutionFilter) { team(id: $id) { executions(filter: $filter,"
            " orderBy: {direction: ASC}) { nodes { id } } } }",
            id=team_id,
            filter=wanted,
        )
        return [node["id"] for node in data["team"]["executions"]["nodes"]]

    assert await found() == ids
    assert await found(status={"in": ["CANCELLED", "RUNNING"]}) == [ids[0], ids[2]]
    assert await found(startedAt={"gte": "2020-02-02T00:00:00Z", "lt": "2020-02-03T00:00:00Z"}) == [ids[2]]
    assert await found(startedAt={"lt": "2020-02-02T00:00:00Z"}) == []


async def test_tools_and_projects_are_listed_and_filtered(graph: Graph) -> None:
    project_id = await graph.project()
    await graph.make("Tool", projectId=project_id, name="Sums", kind="CALCULATOR")
    await graph.make("Tool", projectId=project_id, name="Web", kind="HTTP_GET")

    data = await graph.query(
        'query($id: ID!) { project(id: $id) { tools(filter: {kind: {in: [HTTP_GET]}, name: {contains: "w"}})'
        ' { nodes { name } } } tenant { projects(filter: {name: {contains: "PROJECT"}}) { nodes { id } }'
        ' none: projects(filter: {name: {eq: "x"}}) { nodes { id } } } }',
        id=project_id,
    )

    assert data == {
        "project": {"tools": {"nodes": [{"name": "Web"}]}},
        "tenant": {"projects": {"nodes": [{"id": project_id}]}, "none": {"nodes": []}},
    }


async def test_events_are_paged_in_the_order_of_their_sequence(graph: Graph) -> None:
    execution_id = await graph.kickoff(await graph.ready_team())
    await graph.mutate("cancelExecution", "execution { id }", executionId=execution_id)
    query = """query($id: ID!, $after: String) { execution(id: $id) { events(first: 2, after: $after) { totalCount
        nodes { sequence } pageInfo { hasNextPage hasPreviousPage endCursor } } } }"""

    first = (await graph.query(query, id=execution_id))["execution"]["events"]
    rest = (await graph.query(query, id=execution_id, after=first["pageInfo"]["endCursor"]))["execution"]["events"]

    assert [event["sequence"] for event in first["nodes"] + rest["nodes"]] == [1, 2, 3]
    assert first["pageInfo"] == {"hasNextPage": True, "hasPreviousPage": False, "endCursor": "e2"}
    assert rest["pageInfo"] == {"hasNextPage": False, "hasPreviousPage": True, "endCursor": "e3"}
    assert (first["totalCount"], rest["totalCount"]) == (3, 3)


# ---------------------------------------------------------------- what is refused


def _cursor(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


NOW, ID = datetime.now(UTC).isoformat(), str(uuid4())
NO_CURSOR = {
    "empty": "",
    "text": "nonsense",
    "not ASCII": "é✓",
    "no JSON": base64.urlsafe_b64encode(b"{").decode(),
    "no UTF-8": base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    "an object": base64.urlsafe_b64encode(b'{"a":1}').decode(),
    "deep": base64.urlsafe_b64encode(b"[" * 200_000).decode(),
    "too short": _cursor("created_at", NOW),
    "no moment": _cursor("created_at", "yesterday", ID),
    "a null moment": _cursor("created_at", None, ID),
    "a number": _cursor("created_at", 12, ID),
    "a moment before time": _cursor("created_at", "0001-01-01T00:00:00+14:00", ID),
    "no id": _cursor("created_at", NOW, "x"),
    "an id that is no text": _cursor("created_at", NOW, 1),
    "of another order": _cursor("name", "a", ID),
    "of an event": "e12",
}


@pytest.mark.parametrize("after", NO_CURSOR.values(), ids=NO_CURSOR)
async def test_a_cursor_that_is_none_is_told_at_its_place(graph: Graph, after: str) -> None:
    project_id = await graph.project()

    answer = await graph.answer(TEAMS, id=project_id, after=after)

    assert answer["data"] == {"project": None}
    assert [(error["path"], error["extensions"]) for error in answer["errors"]] == [
        (["project", "teams"], {"code": "INVALID", "argument": ["after"]})
    ]


@pytest.mark.parametrize("value", ["nul\u0000", None], ids=["with U+0000", "null"])
async def test_a_made_up_cursor_of_names_is_told(graph: Graph, value: str | None) -> None:
    project_id = await graph.project()

    answer = await graph.answer(TEAMS, id=project_id, after=_cursor("name", value, ID), order={"field": "NAME"})

    assert [error["extensions"] for error in answer["errors"]] == [{"code": "INVALID", "argument": ["after"]}]


@pytest.mark.parametrize("after", ["", "e", "12", "e-1", "e1.5", "e²", "e" + "9" * 19, _cursor("created_at", NOW, ID)])
async def test_a_cursor_that_is_none_of_events_is_told(graph: Graph, after: str) -> None:
    execution_id = await graph.kickoff(await graph.ready_team())

    answer = await graph.answer(
        "query($id: ID!, $after: String) { execution(id: $id) { events(after: $after) { nodes { sequence } } } }",
        id=execution_id,
        after=after,
    )

    assert [(error["path"], error["extensions"]) for error in answer["errors"]] == [
        (["execution", "events"], {"code": "INVALID", "argument": ["after"]})
    ]


@pytest.mark.parametrize("first", [0, -1, 101, 2**31 - 1])
async def test_a_page_has_1_to_100_items(graph: Graph, first: int) -> None:
    project_id = await graph.project()

    answer = await graph.answer(TEAMS, id=project_id, first=first)

    assert answer["data"] == {"project": None}
    assert [(error["message"], error["path"], error["extensions"]) for error in answer["errors"]] == [
        (
            f"first must be between 1 and 100, not {first}.",
            ["project", "teams"],
            {"code": "INVALID", "argument": ["first"]},
        )
    ]


@pytest.mark.parametrize(
    "wanted",
    [
        {"name": {"eq": "nul\u0000"}},
        {"name": {"contains": "\u0000"}},
        {"createdAt": {"gte": "0001-01-01T00:00:00+14:00"}},
        {"createdAt": {"lt": "9999-12-31T23:59:59-14:00"}},
    ],
    ids=str,
)
async def test_a_filter_that_no_database_can_compare_is_told(graph: Graph, wanted: dict[str, Any]) -> None:
    project_id = await graph.project()

    answer = await graph.answer(TEAMS, id=project_id, filter=wanted)

    assert [(error["path"], error["extensions"]) for error in answer["errors"]] == [
        (["project", "teams"], {"code": "INVALID", "argument": ["filter"]})
    ]


@pytest.mark.parametrize(
    "variables",
    [
        {"first": 2**31},
        {"first": "3"},
        {"after": 3},
        {"order": {"field": "SIZE"}},
        {"filter": {"process": {"in": ["FAST"]}}},
        {"filter": {"createdAt": {"gte": "yesterday"}}},
    ],
    ids=str,
)
async def test_arguments_of_the_wrong_type_are_no_request(graph: Graph, variables: dict[str, Any]) -> None:
    answer = await graph.answer(TEAMS, id="x", **variables)

    assert list(answer) == ["errors"]
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["BAD_USER_INPUT"]
