"""The workers and the queue in the graph: what each runs, who waits, and nothing of other tenants but numbers."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from domain.model.identity import DEFAULT_TENANT
from persistence.admissions import SqlAdmissions
from tests.support.graphql import Graph, counted_statements
from tests.support.things import strangers_things

RESOURCES = """{ resources {
    workers { id startedAt heartbeatAt isAlive isTaking places active cpuPercent memoryPercent
        running { id status team { name } } }
    slots { total used free } waiting totalWaiting running maxParallelExecutions } }"""


async def resources(graph: Graph) -> dict[str, Any]:
    found: dict[str, Any] = (await graph.query(RESOURCES))["resources"]
    return found


async def a_worker(graph: Graph, name: str, *, places: int = 10, silent_seconds: float = 0.0) -> None:
    await graph.container.database.pool.execute(
        "INSERT INTO worker (id, started_at, heartbeat_at, places, is_taking, cpu_percent, memory_percent)"
        " VALUES ($1, now() - interval '1 hour', now() - make_interval(secs => $2), $3, false, 12.5, 40)",
        name,
        silent_seconds,
        places,
    )


async def kicked_off(graph: Graph, count: int) -> list[str]:
    """So many executions, each of a team of its own, in the order of their places."""
    project = await graph.project()
    found = []
    for _ in range(count):
        team = await graph.team(project)
        await graph.role(team)
        found.append(await graph.kickoff(team))
    return found


async def given_places(graph: Graph, worker: str, count: int) -> Sequence[UUID]:
    keys = await SqlAdmissions(graph.container.database.pool).admit(worker, count, None)
    return [key.execution_id for key in keys]


async def test_without_workers_everybody_waits(graph: Graph) -> None:
    await kicked_off(graph, 2)

    assert await resources(graph) == {
        "workers": [],
        "slots": {"total": 0, "used": 0, "free": 0},
        "waiting": 2,
        "totalWaiting": 2,
        "running": 0,
        "maxParallelExecutions": None,
    }


async def test_workers_show_what_they_do(graph: Graph) -> None:
    first, second, *_ = await kicked_off(graph, 4)
    await a_worker(graph, "a", places=3)
    await a_worker(graph, "b", places=2, silent_seconds=20)
    await given_places(graph, "a", 2)

    found = await resources(graph)

    busy, silent = found["workers"]
    assert [each["id"] for each in busy.pop("running")] == [first, second]
    assert busy.pop("startedAt") < busy.pop("heartbeatAt")
    assert busy == {
        "id": "a",
        "isAlive": True,
        "isTaking": False,
        "places": 3,
        "active": 2,
        "cpuPercent": 12.5,
        "memoryPercent": 40.0,
    }
    assert (silent["id"], silent["isAlive"], silent["active"], silent["running"]) == ("b", False, 0, [])
    assert found["slots"] == {"total": 3, "used": 2, "free": 1}
    assert (found["waiting"], found["totalWaiting"], found["running"]) == (2, 2, 2)


async def test_the_tenants_own_limit_shows(graph: Graph) -> None:
    await graph.container.database.pool.execute(
        "UPDATE tenant SET max_parallel_executions = 7 WHERE id = $1", DEFAULT_TENANT
    )

    assert (await resources(graph))["maxParallelExecutions"] == 7


async def test_of_other_tenants_there_are_only_numbers(graph: Graph) -> None:
    await kicked_off(graph, 2)
    await a_worker(graph, "a")
    await given_places(graph, "a", 1)
    await strangers_things(graph)  # from here on all of this is theirs, with one execution more

    found = await resources(graph)

    [worker] = found["workers"]
    assert (worker["active"], worker["running"]) == (1, [])
    assert (found["waiting"], found["totalWaiting"], found["running"]) == (0, 2, 0)
    assert found["slots"] == {"total": 10, "used": 1, "free": 9}


@pytest.mark.parametrize("count", [1, 4])
async def test_the_number_of_statements_does_not_grow(graph: Graph, count: int) -> None:
    await kicked_off(graph, count)
    for number in range(count):
        await a_worker(graph, f"w{number}")
        await given_places(graph, f"w{number}", 1)

    with counted_statements(graph) as seen:
        found = await resources(graph)

    assert [len(worker["running"]) for worker in found["workers"]] == [1] * count
    assert len(seen) == 4  # workers, queue, executions, teams
