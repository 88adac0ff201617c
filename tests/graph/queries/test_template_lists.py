"""Lists of templates: built-in and own ones in one, filters, orders by what was made of them, and versions."""

from decimal import Decimal
from typing import Any

import pytest

from domain.model.library import shipped_templates
from domain.model.page import encode_cursor
from domain.model.template import TemplateKind
from persistence.engine import Database
from resolvers.node_ids import node_id, parse_node_id
from schema.breadth_first import BreadthFirst, NotSimple
from tests.support.graphql import Graph, counted_statements
from tests.support.live import PlayedWorker
from tests.support.things import strangers_things, unknown

LIST = """query($first: Int! = 100, $after: String, $filter: TemplateFilter, $orderBy: TemplateOrder) {
    templates(first: $first, after: $after, filter: $filter, orderBy: $orderBy) { totalCount
        nodes { id name visibility } edges { cursor node { name } } pageInfo { hasNextPage endCursor } } }"""
FIGURES = "uses completed failed successRate meanCost { amount } meanDurationSeconds lastUsedAt meanRating"
ANALYTICS = f"query($id: ID!) {{ template(id: $id) {{ analytics {{ {FIGURES} byVersion {{ number {FIGURES} }} }} }} }}"
NOTHING: dict[str, Any] = {
    "uses": 0,
    "completed": 0,
    "failed": 0,
    "successRate": None,
    "meanCost": None,
    "meanDurationSeconds": None,
    "lastUsedAt": None,
    "meanRating": None,
}
SHIPPED = len(shipped_templates())
OWN: dict[str, Any] = {"visibility": {"in": ["TENANT"]}}


async def page(graph: Graph, **arguments: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await graph.query(LIST, **arguments))["templates"]
    return found


async def names(graph: Graph, order: str | None = None, direction: str = "ASC", **conditions: Any) -> list[str]:
    arguments: dict[str, Any] = {"filter": conditions} if conditions else {}
    if order:
        arguments["orderBy"] = {"field": order, "direction": direction}
    return [node["name"] for node in (await page(graph, **arguments))["nodes"]]


async def a_template(graph: Graph, name: str, **values: Any) -> str:
    given = {"parameters": [], "blueprint": {"name": "Made", "roles": [{"title": "A"}], "tasks": [_task()]}, **values}
    if "task" in given:
        del given["blueprint"]
    return str((await graph.make("Template", name=name, **given))["id"])


def _task(name: str = "Do") -> dict[str, Any]:
    return {"name": name, "description": "Do it.", "expectedOutput": "Done.", "role": "A"}


async def a_team(graph: Graph, template_id: str, name: str = "Made", **values: Any) -> str:
    project_id = await graph.project()
    payload = await graph.mutate(
        "instantiateTemplate", "team { id }", templateId=template_id, projectId=project_id, name=name, **values
    )
    assert payload["errors"] == []
    return str(payload["team"]["id"])


async def runs(graph: Graph, database: Database, team_id: str, *, completes: bool = True) -> None:
    """An execution of the team, over; a completed one cost a quarter of a dollar."""
    worker = await PlayedWorker.on(graph, database, await graph.kickoff(team_id))
    await worker.starts()
    await (worker.finishes() if completes else worker.fails())


async def lasts(database: Database, team_id: str, seconds: float) -> None:
    """Each execution of the team took so long."""
    await database.pool.execute(
        "UPDATE execution SET finished_at = started_at + make_interval(secs => $2) WHERE team_id = $1",
        parse_node_id(team_id)[1],
        seconds,
    )


async def costs(database: Database, team_id: str, amount: Decimal) -> None:
    """Each execution of the team cost so much."""
    await database.pool.execute(
        "UPDATE budget_account SET spent = $2 FROM execution"
        " WHERE execution.team_id = $1 AND scope = 3 AND scope_id = execution.id",
        parse_node_id(team_id)[1],
        amount,
    )


async def analytics(graph: Graph, template_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await graph.query(ANALYTICS, id=template_id))["template"]["analytics"]
    return found


# ---------------------------------------------------------------- pages and filters


async def test_built_in_and_own_templates_are_one_list_by_name_without_gap_or_repeat(graph: Graph) -> None:
    for name in ("AAA", "Zzz", shipped_templates()[0].template.name):
        await a_template(graph, name)
    found: list[str] = []
    after = None
    while True:
        part = await page(graph, first=3, after=after)
        assert part["totalCount"] == SHIPPED + 3
        assert [edge["node"]["name"] for edge in part["edges"]] == [node["name"] for node in part["nodes"]]
        found += [node["name"] for node in part["nodes"]]
        if not part["pageInfo"]["hasNextPage"]:
            break
        after = part["pageInfo"]["endCursor"]

    shipped = [each.template.name for each in shipped_templates()]
    assert found == sorted([*shipped, "AAA", "Zzz", shipped[0]])


async def test_the_tenant_has_the_same_list(graph: Graph) -> None:
    await a_template(graph, "Mine")
    query = LIST.replace("templates(", "tenant { templates(").replace("endCursor } } }", "endCursor } } } }")

    found = (await graph.query(query))["tenant"]["templates"]

    assert found == await page(graph)


async def test_filters_compare_kind_domain_tags_visibility_name_and_archived(graph: Graph) -> None:
    await a_template(graph, "Red soup", domain="food", tags=["hot", "red"])
    task = {"name": "T", "description": "D", "expectedOutput": "E"}
    await a_template(graph, "Blue tea", domain="drinks", tags=["hot"], task=task)
    gone = await a_template(graph, "Old hat")
    await graph.mutate("archiveTemplate", "template { id }", id=gone)

    assert await names(graph, **OWN) == ["Blue tea", "Red soup"]
    assert await names(graph, kind={"in": ["TASK"]}, **OWN) == ["Blue tea"]
    assert await names(graph, domain={"eq": "food"}) == ["Red soup"]
    assert await names(graph, tags={"eq": "hot"}, **OWN) == ["Blue tea", "Red soup"]
    assert await names(graph, tags={"contains": "RE"}, **OWN) == ["Red soup"]
    assert await names(graph, tags={"eq": "re"}, **OWN) == []
    assert await names(graph, name={"contains": "SOUP"}) == ["Red soup"]
    assert await names(graph, isArchived=True) == ["Old hat"]
    assert await names(graph, isArchived=True, name={"eq": "Red soup"}) == []
    shipped = {each.template.name for each in shipped_templates() if each.template.kind is TemplateKind.TEAM}
    assert set(await names(graph, visibility={"in": ["BUILT_IN"]}, kind={"in": ["TEAM"]})) == shipped


@pytest.mark.parametrize("first", [0, 101])
async def test_a_page_has_1_to_100_templates(graph: Graph, first: int) -> None:
    answer = await graph.answer(LIST, first=first)

    assert [error["extensions"]["code"] for error in answer["errors"]] == ["INVALID"]


_ID = "0b6a3f0e-4f5c-5d0a-8a4e-6f1d2c9b7e21"


@pytest.mark.parametrize(
    ("order", "cursor"),
    [
        ("NAME", "nonsense"),
        ("NAME", encode_cursor("name", "A", "no id")),
        ("NAME", encode_cursor("uses", "1", _ID)),
        ("USES", encode_cursor("uses", "many", _ID)),
        ("SUCCESS_RATE", encode_cursor("success_rate", "nan", _ID)),
        ("MEAN_COST", encode_cursor("mean_cost", "1e", _ID)),
        ("MEAN_COST", encode_cursor("mean_cost", "Infinity", _ID)),
        ("LAST_USED", encode_cursor("last_used", "2026-01-01", _ID)),
        ("CREATED_AT", encode_cursor("created_at", "yesterday", _ID)),
    ],
)
async def test_what_is_no_cursor_of_this_order_is_refused(graph: Graph, order: str, cursor: str) -> None:
    answer = await graph.answer(LIST, after=cursor, orderBy={"field": order})

    [error] = answer["errors"]
    assert error["extensions"] == {"code": "INVALID", "argument": ["after"]}


# ---------------------------------------------------------------- orders and analytics


async def test_templates_are_ordered_by_what_was_made_of_them_and_unused_ones_come_last(
    graph: Graph, database: Database
) -> None:
    dear, failing, _ = [await a_template(graph, name) for name in ("Dear", "Failing", "Unused")]
    team = await a_team(graph, dear)
    await runs(graph, database, team)
    await lasts(database, team, 30)
    await costs(database, team, Decimal(3))
    other = await a_team(graph, failing)
    await runs(graph, database, other, completes=False)
    await runs(graph, database, other)
    await lasts(database, other, 60)
    await a_team(graph, failing)

    assert await names(graph, "USES", "DESC", **OWN) == ["Failing", "Dear", "Unused"]
    assert await names(graph, "USES", "ASC", **OWN) == ["Unused", "Dear", "Failing"]
    assert await names(graph, "SUCCESS_RATE", "DESC", **OWN) == ["Dear", "Failing", "Unused"]
    assert await names(graph, "SUCCESS_RATE", "ASC", **OWN) == ["Failing", "Dear", "Unused"]
    assert await names(graph, "MEAN_DURATION", "ASC", **OWN) == ["Dear", "Failing", "Unused"]
    assert await names(graph, "MEAN_COST", "DESC", **OWN) == ["Dear", "Failing", "Unused"]
    assert await names(graph, "MEAN_COST", "ASC", **OWN) == ["Failing", "Dear", "Unused"]
    assert await names(graph, "LAST_USED", "DESC", **OWN) == ["Failing", "Dear", "Unused"]
    assert await names(graph, "CREATED_AT", "DESC", **OWN) == ["Unused", "Failing", "Dear"]


@pytest.mark.parametrize("order", ["NAME", "CREATED_AT", "USES", "SUCCESS_RATE", "MEAN_COST", "LAST_USED"])
@pytest.mark.parametrize("direction", ["ASC", "DESC"])
async def test_pages_in_every_order_have_each_template_once(
    graph: Graph, database: Database, order: str, direction: str
) -> None:
    used = await a_template(graph, "Used")
    await runs(graph, database, await a_team(graph, used))
    await a_team(graph, await a_template(graph, "Made"))
    orders = {"field": order, "direction": direction}
    whole = [node["id"] for node in (await page(graph, orderBy=orders))["nodes"]]

    found: list[str] = []
    after = None
    for _ in whole:
        part = await page(graph, first=2, after=after, orderBy=orders)
        found += [node["id"] for node in part["nodes"]]
        after = part["pageInfo"]["endCursor"]
        if not part["pageInfo"]["hasNextPage"]:
            break

    assert len(whole) == SHIPPED + 2
    assert found == whole


async def test_what_became_of_a_template_is_summed_up_in_all_and_by_version(graph: Graph, database: Database) -> None:
    template_id = await a_template(graph, "Mine")
    assert await analytics(graph, template_id) == {**NOTHING, "byVersion": []}
    first = await a_team(graph, template_id)
    await runs(graph, database, first)
    await lasts(database, first, 30)
    await graph.mutate(
        "updateTemplate",
        "template { id }",
        id=template_id,
        version=1,
        blueprint={"name": "New", "roles": [{"title": "A"}], "tasks": [_task()]},
    )
    second = await a_team(graph, template_id)
    await runs(graph, database, second)
    await runs(graph, database, second, completes=False)
    await lasts(database, second, 60)
    await graph.kickoff(second)  # not over

    found = await analytics(graph, template_id)
    newest, oldest = found.pop("byVersion")

    assert found.pop("lastUsedAt") == newest.pop("lastUsedAt") > oldest.pop("lastUsedAt")
    assert (found.pop("successRate"), newest.pop("successRate"), oldest.pop("successRate")) == (2 / 3, 0.5, 1.0)
    assert found == {
        "uses": 2,
        "completed": 2,
        "failed": 1,
        "meanCost": {"amount": "0.25"},
        "meanDurationSeconds": 45.0,
        "meanRating": None,
    }
    assert newest == {**found, "number": 2, "uses": 1, "completed": 1, "meanDurationSeconds": 60.0}
    assert oldest == {**found, "number": 1, "uses": 1, "completed": 1, "failed": 0, "meanDurationSeconds": 30.0}


async def test_of_a_template_of_a_task_its_own_task_executions_count(graph: Graph, database: Database) -> None:
    task = {"name": "First", "description": "D", "expectedOutput": "E"}
    template_id = await a_template(graph, "Task", task=task)
    team_id = await graph.team()
    await graph.role(team_id)
    payload = await graph.mutate("instantiateTaskTemplate", "task { id }", templateId=template_id, teamId=team_id)
    assert payload["errors"] == []
    await graph.task(team_id, name="Second")
    await runs(graph, database, team_id)

    found = await analytics(graph, template_id)

    assert (found["uses"], found["completed"], found["failed"], found["meanCost"]) == (1, 1, 0, {"amount": "0.25"})
    assert found["meanDurationSeconds"] is not None


async def test_built_in_templates_have_analytics_of_the_tenant_alone(graph: Graph) -> None:
    shipped = next(each for each in shipped_templates() if each.template.kind is TemplateKind.TEAM)
    template_id = node_id("Template", shipped.template.id)
    values = {
        each.name: (each.options or ["Some value"])[0]
        for each in shipped.content.parameters
        if each.default is None and each.type.value in {"STRING", "ENUM"}
    }
    team_id = await a_team(graph, template_id, parameters=values)

    origin = await graph.query(
        "query($id: ID!) { team(id: $id) { origin { template { id visibility } templateVersion } } }", id=team_id
    )
    mine = await analytics(graph, template_id)
    await strangers_things(graph)

    assert origin["team"]["origin"] == {
        "template": {"id": template_id, "visibility": "BUILT_IN"},
        "templateVersion": shipped.template.latest,
    }
    assert mine["uses"] == 1
    assert await analytics(graph, template_id) == {**NOTHING, "byVersion": []}


# ---------------------------------------------------------------- versions


async def test_versions_are_pages_from_the_newest_on(graph: Graph) -> None:
    template_id = await a_template(graph, "Mine")
    for number in (2, 3):
        blueprint = {"name": f"Team {number}", "roles": [{"title": "A"}]}
        await graph.mutate("updateTemplate", "template { id }", id=template_id, version=number - 1, blueprint=blueprint)
    query = """query($id: ID!, $after: String) { template(id: $id) { versions(first: 2, after: $after) { totalCount
        nodes { number blueprint { name } } pageInfo { hasNextPage endCursor } } } }"""

    first = (await graph.query(query, id=template_id))["template"]["versions"]
    second = (await graph.query(query, id=template_id, after=first["pageInfo"]["endCursor"]))["template"]["versions"]
    refused = await graph.answer(query, id=template_id, after=encode_cursor("number", "x", _ID))

    assert first["nodes"] == [
        {"number": 3, "blueprint": {"name": "Team 3"}},
        {"number": 2, "blueprint": {"name": "Team 2"}},
    ]
    assert second["nodes"] == [{"number": 1, "blueprint": {"name": "Made"}}]
    assert (first["totalCount"], first["pageInfo"]["hasNextPage"], second["pageInfo"]["hasNextPage"]) == (
        3,
        True,
        False,
    )
    assert [error["extensions"]["code"] for error in refused["errors"]] == ["INVALID"]


async def test_a_built_in_template_shows_the_version_that_ships(graph: Graph) -> None:
    shipped = shipped_templates()[0]
    number = shipped.template.latest
    query = """query($id: ID!, $number: Int!) { template(id: $id) { version latestVersion visibility createdBy
        versions { totalCount nodes { number } } numberedVersion(number: $number) { number parameters { name } } } }"""
    identifier = node_id("Template", shipped.template.id)

    found = (await graph.query(query, id=identifier, number=number))["template"]
    other = (await graph.query(query, id=identifier, number=number + 1))["template"]

    assert found == {
        "version": 0,
        "latestVersion": number,
        "visibility": "BUILT_IN",
        "createdBy": None,
        "versions": {"totalCount": 1, "nodes": [{"number": number}]},
        "numberedVersion": {
            "number": number,
            "parameters": [{"name": each.name} for each in shipped.content.parameters],
        },
    }
    assert other["numberedVersion"] is None


async def test_an_unknown_template_is_null(graph: Graph) -> None:
    for identifier in (unknown("Template"), unknown("Team"), "nonsense"):
        assert await graph.query("query($id: ID!) { template(id: $id) { id } }", id=identifier) == {"template": None}


# ---------------------------------------------------------------- statements

EVERYTHING = f"""{{ templates(first: 100, orderBy: {{field: USES, direction: DESC}}) {{ nodes {{ name latestVersion
    parameters {{ name }} blueprint {{ name roles {{ title }} }} analytics {{ {FIGURES} byVersion {{ number }} }}
    versions {{ nodes {{ number parameters {{ name }} }} }} numberedVersion(number: 1) {{ number }} }} }} }}"""
ORIGINS = "{ tenant { teams(first: 100) { nodes { origin { template { name } templateVersion } } } } }"


async def test_the_number_of_statements_does_not_grow_with_templates_or_teams(graph: Graph) -> None:
    first = await a_template(graph, "First")
    await a_team(graph, first)
    with counted_statements(graph) as few:
        await graph.query(EVERYTHING)
    with counted_statements(graph) as few_origins:
        await graph.query(ORIGINS)
    for number in range(5):
        other = await a_template(graph, f"Other {number}")
        await a_team(graph, other, f"Team {number}")

    with counted_statements(graph) as many:
        await graph.query(EVERYTHING)
    with counted_statements(graph) as many_origins:
        await graph.query(ORIGINS)

    assert len(few) == len(many) <= 7
    assert len(few_origins) == len(many_origins) <= 4


async def test_several_orders_in_one_answer_sum_up_once(graph: Graph) -> None:
    await a_team(graph, await a_template(graph, "First"))
    fields = ("SUCCESS_RATE", "MEAN_COST", "MEAN_DURATION", "USES", "LAST_USED")
    pages = " ".join(
        f"p{place}: templates(first: {place}, orderBy: {{field: {field}}}) {{ nodes {{ name }} }}"
        for place, field in enumerate(fields * 2, start=1)
    )

    with counted_statements(graph) as statements:
        answer = await graph.query(f"{{ {pages} }}")

    assert len(statements) == 3  # the templates, how often they were used, what became of that
    assert [len(page["nodes"]) for page in answer.values()] == [*range(1, 11)]


async def test_both_executors_give_the_same_answer(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    await a_team(graph, await a_template(graph, "First"))
    fast = await graph.query(EVERYTHING), await graph.query(ORIGINS)

    async def never(*_: Any) -> Any:
        raise NotSimple

    monkeypatch.setattr(BreadthFirst, "run", never)

    assert (await graph.query(EVERYTHING), await graph.query(ORIGINS)) == fast
