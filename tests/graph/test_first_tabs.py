"""What GraphiQL opens with: operations that a newcomer can run as they are."""

import json
import re
from typing import Any

from app.seed import INPUTS
from tests.support.graphql import Graph


async def _kickoff(graph: Graph) -> Any:
    """The input that the tab "Kickoff" opens with."""
    page = (await graph.http.get("/graphql", headers={"accept": "text/html"})).text
    found = re.search(r'<script type="application/json" id="tabs">(.*?)</script>', page)
    assert found
    [variables] = [tab["variables"] for tab in json.loads(found[1]) if "mutation Kickoff" in tab["query"]]
    return json.loads(variables)["input"]


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
