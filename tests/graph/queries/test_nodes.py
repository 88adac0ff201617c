"""Things by their global id, and the walls between tenants."""

import pytest

from resolvers.things import BY_KIND
from tests.support.graphql import Graph
from tests.support.things import KINDS, MALFORMED, one_of_each, strangers_things, unknown

NODE = "query($id: ID!) { node(id: $id) { __typename id } }"
NODES = "query($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }"


def test_every_kind_that_has_a_global_id_is_among_the_things() -> None:
    assert {*KINDS, "Tenant"} == set(BY_KIND)


async def test_every_kind_is_found_by_its_id_alone_and_among_others(graph: Graph) -> None:
    things = await one_of_each(graph)
    assert set(things) == set(KINDS)
    tenant = (await graph.query("{ tenant { id } }"))["tenant"]["id"]
    things["Tenant"] = tenant

    found = {kind: (await graph.query(NODE, id=identifier))["node"] for kind, identifier in things.items()}
    together = await graph.query(NODES, ids=[*things.values(), unknown("Team"), things["Role"]])

    assert found == {kind: {"__typename": kind, "id": identifier} for kind, identifier in things.items()}
    assert together["nodes"] == [*found.values(), None, found["Role"]]


async def test_ids_of_nothing_are_null(graph: Graph) -> None:
    things = await one_of_each(graph)
    nothing = [*MALFORMED, *(unknown(kind) for kind in KINDS), unknown("Money"), unknown("Tenant")]

    assert (await graph.query(NODES, ids=nothing))["nodes"] == [None] * len(nothing)
    for identifier in nothing:
        assert await graph.query(NODE, id=identifier) == {"node": None}
    for field, kind in (("project", "Team"), ("team", "Execution"), ("execution", "Project")):
        for identifier in (*MALFORMED, unknown(field.capitalize()), things[kind]):
            data = await graph.query(f"query($id: ID!) {{ {field}(id: $id) {{ id }} }}", id=identifier)
            assert data == {field: None}


async def test_at_most_a_hundred_ids_are_asked_for_at_once(graph: Graph) -> None:
    assert (await graph.query(NODES, ids=[unknown("Team")] * 100))["nodes"] == [None] * 100

    answer = await graph.answer(NODES, ids=[unknown("Team")] * 101)

    assert answer["data"] is None
    assert answer["errors"] == [
        {
            "message": "At most 100 ids.",
            "locations": [{"line": 1, "column": 23}],
            "path": ["nodes"],
            "extensions": {"code": "INVALID", "argument": ["ids"]},
        }
    ]


async def test_nothing_of_another_tenant_can_be_seen(graph: Graph) -> None:
    strangers = await strangers_things(graph)
    own = await one_of_each(graph)

    assert (await graph.query(NODES, ids=list(strangers.values())))["nodes"] == [None] * len(strangers)
    for field in ("project", "team", "execution"):
        data = await graph.query(f"query($id: ID!) {{ {field}(id: $id) {{ id }} }}", id=strangers[field.capitalize()])
        assert data == {field: None}
    lists = await graph.query(
        "{ tenant { name projects { totalCount nodes { id } } teams { totalCount nodes { id } }"
        " executions { totalCount nodes { id } } } }"
    )
    seen = {name: [node["id"] for node in found["nodes"]] for name, found in lists["tenant"].items() if name != "name"}
    assert lists["tenant"]["name"] != "Stranger"
    assert seen == {"projects": [own["Project"]], "teams": [own["Team"]], "executions": [own["Execution"]]}
    assert {found["totalCount"] for name, found in lists["tenant"].items() if name != "name"} == {1}


@pytest.mark.parametrize("edge", ["team { id }", "supervisor { id }", "tools { id }", "subordinates { id }"])
async def test_no_edge_leads_to_another_tenant(graph: Graph, edge: str) -> None:
    """Even when a row points there, which the foreign keys do not allow."""
    strangers = await strangers_things(graph)
    own = await one_of_each(graph)
    await _point_at_the_strangers(graph)

    answer = await graph.answer(f"query($id: ID!) {{ node(id: $id) {{ ... on Role {{ {edge} }} }} }}", id=own["Role"])

    assert not any(identifier in str(answer) for identifier in strangers.values())


async def _point_at_the_strangers(graph: Graph) -> None:
    import psycopg  # noqa: PLC0415

    url = graph.container.settings.database_url
    assert url
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("SET session_replication_role = replica")
        mine = "(SELECT id FROM tenant WHERE name <> 'Stranger')"
        theirs = "tenant_id <> " + mine
        owner.execute(
            f"UPDATE role SET team_id = (SELECT id FROM team WHERE {theirs}),"  # noqa: S608 - constants
            f" supervisor_id = (SELECT id FROM role WHERE {theirs}) WHERE tenant_id = {mine}"
        )
        owner.execute(
            f"UPDATE role_tool SET tool_id = (SELECT id FROM tool WHERE {theirs}) WHERE tenant_id = {mine}"  # noqa: S608
        )
        owner.execute(
            f"UPDATE role SET supervisor_id = (SELECT id FROM role WHERE tenant_id = {mine}) WHERE {theirs}"  # noqa: S608
        )
