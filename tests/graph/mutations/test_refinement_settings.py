"""What a kickoff asks of refinement, and what the graph shows of it."""

from typing import Any

import pytest

from tests.support.graphql import Graph
from tests.support.things import nothing_written

REFINEMENT = """execution { configuration { refinement { maxPasses threshold } } refinement { bestPass } }"""
PASSES = """query ($id: ID!) { execution(id: $id) { refinement {
    bestPass gain passes { number output score criteria { criterion score } critique error } } } }"""


async def a_team(graph: Graph) -> str:
    team_id = await graph.team()
    await graph.role(team_id)
    return team_id


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        (None, None),
        ({}, {"maxPasses": 3, "threshold": 0.8}),
        ({"maxPasses": 5, "threshold": 0.5}, {"maxPasses": 5, "threshold": 0.5}),
    ],
)
async def test_a_kickoff_may_ask_for_refinement(graph: Graph, asked: Any, shown: Any) -> None:
    payload = await graph.mutate("kickoffTeam", REFINEMENT, teamId=await a_team(graph), refinement=asked)

    assert payload["errors"] == []
    assert payload["execution"] == {"configuration": {"refinement": shown}, "refinement": None}


@pytest.mark.parametrize(
    ("asked", "path"),
    [({"maxPasses": 11}, "maxPasses"), ({"maxPasses": 0}, "maxPasses"), ({"threshold": 1.1}, "threshold")],
)
async def test_refinement_out_of_bounds_is_refused(graph: Graph, asked: Any, path: str) -> None:
    team_id = await a_team(graph)

    async with nothing_written(graph):
        payload = await graph.mutate("kickoffTeam", "execution { id }", teamId=team_id, refinement=asked)

    [error] = payload["errors"]
    assert error["path"] == ["input", "refinement", path]


async def test_the_passes_are_shown_with_the_best_one_and_its_gain(graph: Graph) -> None:
    execution_id = await graph.kickoff(await a_team(graph), refinement={})
    await graph.container.database.pool.execute(
        """INSERT INTO refinement_pass (tenant_id, execution_id, task_execution_id, number, output, scores, score,
            critique, error, created_at)
        SELECT task.tenant_id, task.execution_id, task.id, pass.number, 'draft ' || pass.number, pass.scores,
            pass.score, pass.critique, pass.error, now()
        FROM task_execution AS task, (VALUES
            (1, '{"clarity": 0.5}'::jsonb, 0.5, 'More.', NULL), (2, '{"clarity": 0.75}'::jsonb, 0.75, 'Fine.', NULL),
            (3, NULL, NULL, NULL, 'It has no scores.')) AS pass(number, scores, score, critique, error)"""
    )

    shown = (await graph.query(PASSES, id=execution_id))["execution"]["refinement"]

    assert (shown["bestPass"], shown["gain"]) == (2, 0.25)
    assert shown["passes"][1] == {
        "number": 2,
        "output": "draft 2",
        "score": 0.75,
        "criteria": [{"criterion": "clarity", "score": 0.75}],
        "critique": "Fine.",
        "error": None,
    }
    assert (shown["passes"][2]["score"], shown["passes"][2]["error"]) == (None, "It has no scores.")
