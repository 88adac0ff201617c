"""Nested queries: what they answer, and that their statements follow the depth and not the rows."""

import json

import pytest

from schema.breadth_first import BreadthFirst, NotSimple
from tests.support.graphql import Graph, counted_statements

NESTED = """
{ tenant { projects(first: 100) { totalCount nodes { id name teams(first: 100) { edges { cursor node {
    id name process status lastExecutedAt
    roles { id title expertise tools { name } supervisor { title } subordinates { title } }
    tasks { id name role { title } dependsOn { name } }
    executions(first: 5) { nodes { id status timing { queuedAt } revision { number }
        usage { totalTokens cost { amount } }
        taskExecutions { name status role { title } usage { calls } }
        events(first: 3) { nodes { __typename sequence ... on ExecutionQueued { taskCount } } } } }
} } pageInfo { hasNextPage endCursor } } } } } }
"""


async def _populate(graph: Graph, teams: int) -> None:
    project_id = await graph.project()
    for _ in range(teams):
        team_id = await graph.team(project_id)
        lead = await graph.role(team_id, title="Lead", expertise="EXPERT")
        writer = await graph.role(team_id, title="Writer", supervisorId=lead)
        first = await graph.task(team_id, roleId=lead)
        await graph.task(team_id, roleId=writer, dependsOn=[first])
        await graph.kickoff(team_id)


async def test_the_number_of_statements_does_not_depend_on_the_rows(graph: Graph) -> None:
    await _populate(graph, teams=1)
    with counted_statements(graph) as few:
        await graph.query(NESTED)

    await _populate(graph, teams=4)
    with counted_statements(graph) as many:
        await graph.query(NESTED)

    assert len(many) == len(few) <= 20


async def test_both_executors_give_the_same_answer(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    await _populate(graph, teams=2)

    async def give_up(*_: object) -> None:
        raise NotSimple

    breadth_first = await graph.query(NESTED)
    monkeypatch.setattr(BreadthFirst, "run", give_up)
    ordinary = await graph.query(NESTED)

    assert json.dumps(ordinary) == json.dumps(breadth_first)


async def test_the_ordinary_executor_batches_too(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    async def give_up(*_: object) -> None:
        raise NotSimple

    monkeypatch.setattr(BreadthFirst, "run", give_up)
    await _populate(graph, teams=1)
    with counted_statements(graph) as few:
        await graph.query(NESTED)
    await _populate(graph, teams=4)
    with counted_statements(graph) as many:
        await graph.query(NESTED)

    assert len(many) <= len(few) + 5  # data loaders gather what is asked in one moment; levels drift a little
