"""GraphiQL in a real browser without internet: opens, runs its tabs, speaks to this server alone."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import graphql
import httpx
import pytest
import strawberry
import uvicorn
from playwright.async_api import Page, expect
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route, WebSocketRoute
from strawberry.asgi import GraphQL

from app.graphiql import POLICY, Tab, graphiql_routes, shipped_tab
from tests.support.browser import visiting

pytestmark = pytest.mark.extra

TABS = [
    Tab("query Dashboard($first: Int!) { teams(first: $first) }", {"first": 2}),
    Tab('mutation Kickoff($team: String!) { kickoff(team: $team) } # </script><b id="injected">', {"team": "Crew"}),
    Tab("subscription Watch($executionId: ID!) { executionEvents(executionId: $executionId) }", {"executionId": "e7"}),
]


@strawberry.type
class Query:
    @strawberry.field
    def teams(self, first: int) -> list[str]:
        return ["Red crew", "Blue crew", "Green crew"][:first]


@strawberry.type
class Mutation:
    @strawberry.mutation
    def kickoff(self, team: str) -> str:
        return f"{team} is at work"


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def execution_events(self, execution_id: strawberry.ID) -> AsyncIterator[str]:
        for sequence in (1, 2, 3):
            yield f"event {sequence} of {execution_id}"
            await asyncio.sleep(0)


async def the_tabs() -> Sequence[Tab]:
    return TABS


def the_endpoint() -> list[BaseRoute]:
    endpoint = GraphQL(strawberry.Schema(Query, Mutation, Subscription), graphql_ide=None)
    return [Route("/graphql", endpoint), WebSocketRoute("/graphql", endpoint)]


def an_app() -> Starlette:
    return Starlette(routes=[*graphiql_routes(the_tabs), *the_endpoint()])


@asynccontextmanager
async def served(app: Starlette) -> AsyncIterator[str]:
    """The address of a uvicorn on a free port of loopback."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn offers a flag, not an event
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await running


async def open_page(page: Page, address: str) -> None:
    """Until all three editors stand, the play button does nothing."""
    await page.goto(f"{address}/graphql")
    for editor in (".graphiql-query-editor", ".graphiql-editor-tool", ".graphiql-response"):
        await page.locator(f"{editor} .view-lines").first.wait_for(state="attached")
    await expect(page.locator(".graphiql-query-editor .view-line").first).not_to_be_empty()


async def press_play(page: Page) -> None:
    await page.get_by_role("button", name="Execute query").click()


async def test_the_page_runs_its_query_and_its_subscription_without_asking_any_other_host(tmp_path: Path) -> None:
    async with served(an_app()) as address, visiting() as visit:
        page = visit.page
        response = page.locator(".graphiql-response .view-lines")

        await open_page(page, address)
        await expect(page.locator(".graphiql-tab-button")).to_have_text(["Dashboard", "Kickoff", "Watch"])
        await press_play(page)
        await expect(response).to_contain_text('"teams": [ "Red crew", "Blue crew" ]')

        await page.get_by_role("tab", name="Kickoff").click()
        await press_play(page)
        await expect(response).to_contain_text('"kickoff": "Crew is at work"')

        await page.get_by_role("tab", name="Watch").click()
        await press_play(page)
        await expect(response).to_contain_text('"executionEvents": "event 3 of e7"')

        await page.screenshot(path=tmp_path / "graphiql.png")
        assert await page.locator("#injected").count() == 0
        assert {urlsplit(url).hostname for url in visit.addresses} == {"127.0.0.1"}
        assert any(url.startswith("ws://") for url in visit.addresses)
        assert visit.problems == []


async def test_a_reload_brings_new_ids_into_untouched_tabs_and_keeps_what_was_typed() -> None:
    tabs = [Tab("query First($id: ID!) { a }", {"id": "old"}), Tab("query Second($id: ID!) { a }", {"id": "old"})]

    async def current() -> Sequence[Tab]:
        return tabs

    app = Starlette(routes=[*graphiql_routes(current), *the_endpoint()])
    async with served(app) as address, visiting() as visit:
        page = visit.page
        query, variables = (
            page.locator(f".graphiql-{part} .view-lines").first for part in ("query-editor", "editor-tool")
        )
        await open_page(page, address)
        await expect(query).to_contain_text("query First")
        await query.click()
        await page.keyboard.press("Control+Home")
        await page.keyboard.type("# mine ")
        await expect(query).to_contain_text("# mine")
        await page.wait_for_function("() => localStorage.getItem('regatta:graphiql:tabState').includes('# mine')")

        tabs = [Tab(tab.query, {"id": "new"}) for tab in tabs]
        await page.reload()

        await expect(page.locator(".graphiql-tab-button")).to_have_count(2)
        await expect(query).to_contain_text("# mine query First")
        await expect(variables).to_contain_text('"id": "old"')
        await page.get_by_role("tab", name="Second").click()
        await expect(variables).to_contain_text('"id": "new"')


async def test_only_who_accepts_html_gets_the_page_and_all_of_it_is_under_a_policy_without_foreign_hosts() -> None:
    transport = httpx.ASGITransport(an_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        page = await client.get("/graphql", headers={"Accept": "text/html,*/*;q=0.8"})
        answer = await client.post("/graphql", json={"query": "{ teams(first: 1) }"}, headers={"Accept": "text/html"})
        plain = await client.get("/graphql", params={"query": "{ teams(first: 1) }"})
        script = re.search(r'src="(/static/graphiql/assets/[^"]+\.js)"', page.text)
        assert script is not None
        asset = await client.get(script[1])
        absent = await client.get("/static/graphiql/assets/absent.js")
        root = await client.get("/", headers={"Accept": "text/html,*/*;q=0.8"})
        root_of_a_program = await client.get("/")

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["vary"] == "Accept"
    assert answer.json() == plain.json() == {"data": {"teams": ["Red crew"]}}
    assert asset.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert page.headers["content-security-policy"] == asset.headers["content-security-policy"] == POLICY
    assert "http" not in POLICY
    assert absent.status_code == 404
    assert (root.status_code, root.headers["location"]) == (307, "/graphql")
    assert root_of_a_program.status_code == 404


@pytest.mark.parametrize("name", ["dashboard", "kickoff", "watch"])
def test_a_shipped_tab_holds_one_named_operation(name: str) -> None:
    document = graphql.parse(shipped_tab(name).query)

    (operation,) = document.definitions
    assert isinstance(operation, graphql.OperationDefinitionNode)
    assert operation.name is not None
    assert operation.name.value == name.capitalize()


@pytest.mark.parametrize("name", ["templates", "generations", "assessment", "optimizations"])
def test_a_shipped_tab_of_an_area_holds_named_operations_whose_variables_go_together(name: str) -> None:
    operations = graphql.parse(shipped_tab(name).query).definitions

    declared: dict[str, str] = {}
    for operation in operations:
        assert isinstance(operation, graphql.OperationDefinitionNode)
        assert operation.name is not None
        for variable in operation.variable_definitions or ():
            kind = graphql.print_ast(variable.type)
            assert declared.setdefault(variable.variable.name.value, kind) == kind
