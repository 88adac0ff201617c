"""`/metrics` of an API process, as a scraper reads it."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from asyncpg import connect_utils
from prometheus_client.parser import text_string_to_metric_families

from app.main import create_app
from app.prometheus import deployment
from app.settings import Settings
from domain.model.resources import WorkerLoad
from persistence import deployment_reader
from persistence.admissions import SqlAdmissions
from persistence.deployment_reader import SqlDeployment
from tests.support.graphql import Graph
from tests.support.live import SOON, Socket, served

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second is much for a database, and little for a machine that has many things to do."""
    monkeypatch.setattr(deployment, "DEADLINE_SECONDS", 30.0)
    monkeypatch.setattr(deployment_reader, "STATEMENT_MS", 30_000)


async def scraped(graph: Graph) -> Samples:
    """Every sample by its name and labels."""
    response = await graph.http.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def of(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((f"regatta_{name}", frozenset(labels.items())))


async def test_requests_count_by_template_and_operations_by_type(graph: Graph) -> None:
    await graph.query("query Mine { tenant { id } }")
    await graph.project()
    await graph.answer("{ nothing }")
    await graph.answer("subscription { executionEvents(executionId: 1) { events { sequence } } }")
    await graph.http.get("/made/up/by/a/client")
    await graph.http.request("BREW", "/graphql")

    samples = await scraped(graph)

    assert of(samples, "graphql_operations_total", type="query", outcome="ok") == 1
    assert of(samples, "graphql_operations_total", type="mutation", outcome="ok") == 1
    assert of(samples, "graphql_operations_total", type="unknown", outcome="refused") == 2
    assert of(samples, "graphql_operation_duration_seconds_count", type="query") == 1
    assert of(samples, "http_requests_total", route="/graphql", method="POST", status="2xx") == 4
    assert of(samples, "http_requests_total", route="/graphql", method="other", status="4xx") == 1
    assert of(samples, "http_requests_total", route="none", method="GET", status="4xx") == 1
    assert not [name for name, labels in samples if "Mine" in str(labels) or "client" in str(labels)]


async def test_operations_with_errors_are_told_apart(graph: Graph) -> None:
    await graph.answer('{ teams: tenant { projects(after: "nonsense") { nodes { id } } } }')

    assert of(await scraped(graph), "graphql_operations_total", type="query", outcome="errors") == 1


async def test_the_deployment_is_told_in_numbers(graph: Graph) -> None:
    for _ in range(3):
        await graph.kickoff(await graph.ready_team())
    pool = graph.container.database.pool
    await graph.container.workers.beat("alive", load=WorkerLoad(places=4))
    await SqlAdmissions(pool).admit("alive", 1, None)
    await pool.execute(
        "INSERT INTO worker (id, started_at, heartbeat_at) VALUES ('silent', now(), now() - '1h'::interval)"
    )
    await pool.execute("UPDATE admission SET waiting_since = now() - '100s'::interval")

    samples = await scraped(graph)

    assert of(samples, "database_up") == 1
    assert of(samples, "queue_executions") == 2
    assert 100 <= (of(samples, "queue_oldest_wait_seconds") or 0) < 150
    assert (of(samples, "workers", state="alive"), of(samples, "workers", state="silent")) == (1, 1)
    assert (of(samples, "slots"), of(samples, "slots_used")) == (4, 1)
    assert of(samples, "executions_under_way", status="QUEUED") == 3
    assert of(samples, "executions_under_way", status="RUNNING") == 0
    assert of(samples, "database_connections_max", pool="reads") == 5
    assert of(samples, "hints_connected") == 1
    assert of(samples, "rollup_pending_rows") is not None
    assert of(samples, "event_loop_lag_seconds") is not None
    assert ("process_cpu_seconds_total", frozenset()) in samples
    tenants = [row[0] for row in await pool.fetch("SELECT id FROM tenant")]
    assert not [labels for _, labels in samples if any(str(tenant) in str(labels) for tenant in tenants)]


async def test_many_scrapes_at_once_ask_the_database_once(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    now = SqlDeployment.now

    async def counted(self: SqlDeployment) -> Any:
        asked.append(self)
        return await now(self)

    monkeypatch.setattr(SqlDeployment, "now", counted)
    monkeypatch.setattr(deployment, "KEPT_SECONDS", 60.0)

    await asyncio.gather(*(scraped(graph) for _ in range(10)))

    assert len(asked) == 1


async def test_without_the_database_the_process_still_tells_of_itself(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployment, "KEPT_SECONDS", 0.0)
    monkeypatch.setattr(connect_utils, "_cancel", lambda **_: asyncio.Event().wait())  # nor is it told to stop
    before = await scraped(graph)
    async with graph.container.database.pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE admission IN ACCESS EXCLUSIVE MODE")  # whoever asks now gets no answer
        with monkeypatch.context() as hurried:
            hurried.setattr(deployment, "DEADLINE_SECONDS", 0.05)
            async with asyncio.timeout(30):
                away = await scraped(graph)
    after = await scraped(graph)

    assert (of(before, "database_up"), of(away, "database_up"), of(after, "database_up")) == (1, 0, 1)
    assert of(away, "queue_executions") is None
    assert of(away, "http_requests_total", route="/metrics", method="GET", status="2xx") == 1
    assert of(after, "queue_executions") == 0


async def test_a_pool_that_is_used_up_is_no_database_that_is_down(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployment, "KEPT_SECONDS", 0.0)
    pool = graph.container.database.pool
    held = [await pool.acquire() for _ in range(pool.get_max_size())]
    waiting = asyncio.create_task(pool.fetchval("SELECT 1"))
    await asyncio.sleep(0)

    samples = await scraped(graph)
    for connection in held:
        await pool.release(connection)
    await waiting

    assert (of(samples, "database_up"), of(samples, "queue_executions")) == (1, 0)
    assert of(samples, "database_connections_waiting", pool="reads") == 1
    assert of(samples, "database_connections_idle", pool="reads") == 0


async def test_metrics_can_be_switched_off(settings: Settings) -> None:
    async with Graph.over(create_app(settings.model_copy(update={"metrics": False}))) as graph:
        response = await graph.http.get("/metrics")

    assert response.status_code == 404


async def test_the_doorkeeper_guards_metrics_as_well(graph: Graph) -> None:
    assert (await graph.http.get("/metrics", headers={"host": "evil.example"})).status_code == 403


async def test_open_subscriptions_are_counted_while_they_are_open(settings: Settings) -> None:
    async with served(create_app(settings)) as graph:
        execution = await graph.kickoff(await graph.ready_team())
        async with Socket.to(graph) as socket:
            watch = "subscription($id: ID!) { executionEvents(executionId: $id) { events { sequence } } }"
            results = socket.results(watch, id=execution)
            await anext(results)
            while_open = await scraped(graph)
        after = await scraped(graph)
        async with asyncio.timeout(SOON):
            while of(after, "subscriptions_open") != 0:
                await asyncio.sleep(0.01)
                after = await scraped(graph)

    assert (of(while_open, "subscriptions_open"), of(while_open, "websockets_open")) == (1, 1)
    assert of(after, "graphql_operations_total", type="subscription", outcome="ok") == 1
