"""The workers and the queue in the graph: what each runs, who waits, and nothing of other tenants but numbers."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import pytest

from domain.model.identity import DEFAULT_TENANT
from domain.model.resources import ConnectionPool, ProcessState, WorkerLoad
from persistence.admissions import SqlAdmissions
from tests.support.graphql import Graph, counted_statements
from tests.support.things import strangers_things

RESOURCES = """{ resources {
    workers { id startedAt heartbeatAt isAlive isTaking places active cpuPercent memoryPercent
        running { id status team { name } } }
    slots { total used free } waiting totalWaiting running maxParallelExecutions } }"""
STATUS = """{ resources {
    oldestWaitSeconds totalOldestWaitSeconds databasePools { name size idle most waiting }
    broadcaster { isConnected lagSeconds } health { status reasons { code message } } } }"""


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


async def waiting_for(graph: Graph, seconds: float) -> None:
    await graph.container.database.pool.execute(
        "UPDATE admission SET waiting_since = now() - make_interval(secs => $1)", seconds
    )


async def status(graph: Graph) -> dict[str, Any]:
    found: dict[str, Any] = (await graph.query(STATUS))["resources"]
    return found


async def test_the_process_that_answers_shows_its_connections_and_its_hints(graph: Graph) -> None:
    found = await status(graph)

    reads, changes = found["databasePools"]
    assert (reads["name"], reads["most"], reads["waiting"]) == ("reads", 5, 0)
    assert (changes["name"], changes["most"], changes["waiting"]) == ("changes", 5, 0)
    assert 0 <= reads["idle"] <= reads["size"] <= 5
    assert found["broadcaster"]["isConnected"] is True
    assert 0 <= found["broadcaster"]["lagSeconds"] < 60


@pytest.mark.parametrize("name", ["reads", "changes"])
async def test_who_waits_for_a_connection_is_counted(graph: Graph, name: str) -> None:
    database, process = graph.container.database, graph.container.services.process
    connected: Callable[[], Any] = database.pool.acquire if name == "reads" else database.engine.connect

    async def connect() -> None:
        async with connected():
            pass

    async with AsyncExitStack() as held:
        for _ in range(5):
            await held.enter_async_context(connected())
        waiting = asyncio.create_task(connect())
        while not (full := pool_of(process.now(), name)).waiting:  # noqa: ASYNC110 - it begins to wait by itself
            await asyncio.sleep(0)
    await waiting

    assert (full.size, full.idle, full.most, full.waiting, full.is_exhausted) == (5, 0, 5, 1, True)
    assert not pool_of(process.now(), name).is_exhausted


def pool_of(state: ProcessState, name: str) -> ConnectionPool:
    return next(pool for pool in state.pools if pool.name == name)


async def test_the_oldest_wait_is_told_of_ones_own_and_of_all(graph: Graph) -> None:
    await kicked_off(graph, 1)
    await waiting_for(graph, 100)
    await strangers_things(graph)  # that wait is theirs now
    [key] = await kicked_off(graph, 1)

    found = await status(graph)

    assert key
    assert 0 <= found["oldestWaitSeconds"] < 50
    assert 100 <= found["totalOldestWaitSeconds"] < 150


async def test_with_a_worker_at_work_and_nothing_waiting_all_is_well(graph: Graph) -> None:
    await graph.container.workers.beat("a", load=WorkerLoad(places=3))

    found = await status(graph)

    assert found["health"] == {"status": "HEALTHY", "reasons": []}
    assert (found["oldestWaitSeconds"], found["totalOldestWaitSeconds"]) == (None, None)


async def test_a_queue_without_workers_is_unhealthy_whoever_waits(graph: Graph) -> None:
    await kicked_off(graph, 1)
    await strangers_things(graph)

    health = (await status(graph))["health"]

    assert health["status"] == "UNHEALTHY"
    assert [reason["code"] for reason in health["reasons"]] == ["NO_WORKER"]
