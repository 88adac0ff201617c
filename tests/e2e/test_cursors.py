"""Subscribers whose connections break, and hints that do: each event arrives once, in order, however late."""

import asyncio
import contextlib
import json
import random
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.e2e.conftest import Fleet
from tests.support.cluster import Api, Cluster, uuid_of
from tests.support.model_server import Text
from tests.support.processes import SOON, wait_until

EVENTS = """
subscription($id: ID!, $after: String) {
  executionEvents(executionId: $id, after: $after) { events { __typename sequence } cursor }
}
"""
STORED = "SELECT sequence, type FROM execution_event WHERE execution_id = %s ORDER BY sequence"
TASKS = ("first", "second", "third", "fourth")
CUTS = 20

_TERMINATE = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name NOT LIKE 'regatta%%' AND pid <> pg_backend_pid()
"""


async def test_a_subscriber_that_is_cut_again_and_again_sees_each_event_once(fleet: Fleet) -> None:
    are_over = threading.Event()
    pieces = Text("A line of words that comes in pieces. " * 4, chunks=40, chunk_delay=0.05)
    fleet.cluster.models.default = pieces
    fleet.cluster.models.when(lambda request: "Do fourth" in request.text, replace(pieces, until=are_over.is_set))
    execution_id = await asyncio.to_thread(lambda: fleet.here.kickoff(fleet.here.team(*TASKS)))
    seen: list[tuple[int, str]] = []
    chance = random.Random()  # noqa: S311 - when to cut

    cursor: str | None = None
    number, deadline = 0, time.monotonic() + SOON
    while number < CUTS or not seen:
        assert time.monotonic() < deadline
        api, number = (fleet.here, fleet.there)[number % 2], number + 1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(chance.uniform(0.05, 0.5)), _subscribed(api, execution_id, cursor) as batches:
                async for batch in batches:
                    seen += _of(batch)
                    cursor = batch["cursor"]
    cut_at = len(seen)
    are_over.set()
    async with asyncio.timeout(SOON), _subscribed(fleet.there, execution_id, cursor) as batches:
        async for batch in batches:
            seen += _of(batch)

    assert 0 < cut_at < len(seen)
    assert seen == _stored(fleet.cluster, execution_id)
    assert [sequence for sequence, _ in seen] == list(range(1, len(seen) + 1))
    assert seen[-1][1] == "ExecutionCompleted"


async def test_without_hints_events_are_late_and_none_is_lost(fleet: Fleet) -> None:
    fleet.cluster.models.default = Text("A line of words that comes in pieces. " * 4, chunks=10, chunk_delay=0.05)
    team_id = await asyncio.to_thread(fleet.here.team, *TASKS)
    seen: list[tuple[int, str]] = []

    with _hints_cut(fleet.cluster) as cuts:
        execution_id = await asyncio.to_thread(fleet.here.kickoff, team_id)
        async with asyncio.timeout(SOON), _subscribed(fleet.there, execution_id, None) as batches:
            async for batch in batches:
                seen += _of(batch)

    assert sum(cuts) > 3
    assert seen == _stored(fleet.cluster, execution_id)
    assert [sequence for sequence, _ in seen] == list(range(1, len(seen) + 1))
    assert seen[-1][1] == "ExecutionCompleted"
    await asyncio.to_thread(wait_until, lambda: _hears(fleet.here) and _hears(fleet.there))


def _hears(api: Api) -> bool:
    return bool(api.get("/health/ready")["checks"]["hints"]["ok"])


@contextlib.contextmanager
def _hints_cut(cluster: Cluster) -> Iterator[list[int]]:
    """End all connections on which hints travel, again and again; how many each time."""
    over, cuts = threading.Event(), list[int]()

    def cut() -> None:
        while not over.is_set():
            cuts.append(len(cluster.rows(_TERMINATE)))
            over.wait(0.1)

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        yield cuts
    finally:
        over.set()
        thread.join()


@contextlib.asynccontextmanager
async def _subscribed(api: Api, execution_id: str, after: str | None) -> AsyncIterator[AsyncIterator[Any]]:
    """The batches behind the cursor, until the server ends them; the connection is cut at the end, not closed."""
    url = f"ws://127.0.0.1:{api.port}/graphql"
    connection = await connect(url, subprotocols=[Subprotocol("graphql-transport-ws")], proxy=None)
    try:
        await connection.send(json.dumps({"type": "connection_init"}))
        assert json.loads(await connection.recv())["type"] == "connection_ack"
        payload = {"query": EVENTS, "variables": {"id": execution_id, "after": after}}
        await connection.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
        yield _batches(connection)
    finally:
        connection.transport.abort()


async def _batches(connection: ClientConnection) -> AsyncIterator[Any]:
    async for text in connection:
        message = json.loads(text)
        if message["type"] == "complete":
            return
        assert message["type"] == "next", message
        yield message["payload"]["data"]["executionEvents"]


def _of(batch: Any) -> list[tuple[int, str]]:
    return [(event["sequence"], event["__typename"]) for event in batch["events"]]


def _stored(cluster: Cluster, execution_id: str) -> list[tuple[int, str]]:
    return [(row["sequence"], row["type"]) for row in cluster.rows(STORED, uuid_of(execution_id))]
