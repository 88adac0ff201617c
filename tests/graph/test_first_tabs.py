"""What GraphiQL opens with: operations that a newcomer can run as they are."""

import json
import re
from typing import Any

import graphql
import pytest

from app.seed import INPUTS
from schema.schema import build
from tests.support.graphql import Graph


async def _tabs(graph: Graph) -> list[dict[str, str]]:
    page = (await graph.http.get("/graphql", headers={"accept": "text/html"})).text
    found = re.search(r'<script type="application/json" id="tabs">(.*?)</script>', page)
    assert found
    tabs: list[dict[str, str]] = json.loads(found[1])
    return tabs


async def _tab(graph: Graph, operation: str) -> tuple[str, Any]:
    """The only tab with this operation, and the variables that it opens with."""
    [tab] = [tab for tab in await _tabs(graph) if operation in tab["query"]]
    return tab["query"], json.loads(tab["variables"])


async def _kickoff(graph: Graph) -> Any:
    """The input that the tab "Kickoff" opens with."""
    return (await _tab(graph, "mutation Kickoff"))[1]["input"]


async def test_the_kickoff_tab_asks_for_what_the_newest_team_needs(graph: Graph) -> None:
    await graph.ready_team()
    team_id = await graph.team()
    await graph.role(team_id, goals=["Please {audience}"])
    await graph.role(team_id, title="Away", isActive=False, goals=["Please {nobody}"])
    await graph.task(team_id, description="Sell {product} in {city}.")

    offered = await _kickoff(graph)

    assert offered == {
        "teamId": team_id,
        "inputs": {"product": INPUTS["product"], "city": "…", "audience": INPUTS["audience"]},
    }
    assert await graph.kickoff(team_id, inputs=offered["inputs"])


async def test_a_team_that_needs_nothing_is_given_nothing(graph: Graph) -> None:
    team_id = await graph.ready_team()

    assert await _kickoff(graph) == {"teamId": team_id, "inputs": {}}


async def test_before_there_is_a_team_the_tab_shows_what_the_demo_is_given(graph: Graph) -> None:
    assert await _kickoff(graph) == {"teamId": "", "inputs": dict(INPUTS)}


async def test_every_tab_asks_for_what_there_is(graph: Graph) -> None:
    for tab in await _tabs(graph):
        assert graphql.validate(build()._schema, graphql.parse(tab["query"])) == [], tab["query"]  # noqa: SLF001


async def test_a_team_is_made_in_the_tab_of_templates_as_it_is(graph: Graph) -> None:
    await graph.team()
    query, variables = await _tab(graph, "mutation InstantiateTemplate")

    body = {"query": query, "variables": variables, "operationName": "InstantiateTemplate"}
    answer = (await graph.http.post("/graphql", json=body)).json()

    payload = answer["data"]["instantiateTemplate"]
    assert payload["errors"] == []
    assert payload["team"]["origin"]["templateVersion"] == 1


@pytest.mark.parametrize("operation", ["Metrics", "MetricsSeries", "MetricsTop"])
async def test_the_tab_of_metrics_can_be_run_as_it_is(graph: Graph, operation: str) -> None:
    await graph.kickoff(await graph.ready_team())
    query, variables = await _tab(graph, "query Metrics(")

    body = {"query": query, "variables": variables, "operationName": operation}
    answer = (await graph.http.post("/graphql", json=body)).json()

    assert "errors" not in answer
    found = answer["data"]["metrics"]
    assert found.get("now", {"queued": 1})["queued"] == 1
    assert len(found.get("series", range(30))) == 30
