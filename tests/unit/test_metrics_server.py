"""The port of a worker where Prometheus asks: nobody who reaches it costs more than a few threads for a few seconds."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import NoReturn

import pytest
from prometheus_client.registry import Collector
from structlog.testing import capture_logs

from app.process import OwnProcess
from app.prometheus import server
from app.prometheus.process import new_registry
from app.prometheus.server import exposed
from app.prometheus.worker import WorkerMetrics
from app.settings import Settings
from domain.model.resources import UNWATCHED, ProcessState
from tests.support.processes import free_port

SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
FAR = 60.0
"""Seconds after which a test has failed; none waits for so long."""


class _Idle(OwnProcess):
    def __init__(self) -> None:
        """There is nothing to look at."""

    def now(self) -> ProcessState:
        return UNWATCHED


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Where a worker's metrics are, inside the test."""
    found = free_port()
    metrics = WorkerMetrics(new_registry(), is_by_tenant=False)
    async with exposed(metrics, Settings(), found, _Idle()):
        yield found


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), FAR)


def answered(client: socket.socket, request: bytes = b"") -> bytes:
    """Whatever comes until the server closes; empty if it did so without a word."""
    received = b""
    try:
        client.sendall(request)
        while part := client.recv(65_536):
            received += part
    except (ConnectionResetError, BrokenPipeError):
        pass
    return received


def scraped(port: int) -> bytes:
    with connected(port) as client:
        return answered(client, SCRAPE)


async def test_who_sends_a_byte_now_and_then_is_left_all_the_same(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.3)
    over = threading.Event()

    def drip(client: socket.socket) -> None:
        while not over.wait(0.05):
            try:
                client.sendall(b"X")
            except OSError:
                return

    with connected(port) as client:
        dripping = asyncio.create_task(asyncio.to_thread(drip, client))
        try:
            said = await asyncio.to_thread(answered, client)
        finally:
            over.set()
            await dripping

    assert b"regatta" not in said


async def test_no_more_than_so_many_are_let_in_and_their_places_come_free(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "REQUEST_SECONDS", FAR)
    with ExitStack() as clients:
        for _ in range(server.MOST_CONNECTIONS):
            clients.enter_context(connected(port)).sendall(b"GET")
        refused = [await asyncio.to_thread(scraped, port) for _ in range(3)]

    async with asyncio.timeout(FAR):
        while not (told := await asyncio.to_thread(scraped, port)):  # noqa: ASYNC110 - threads free the places
            await asyncio.sleep(0.01)
    assert refused == [b"", b"", b""]
    assert told.startswith(b"HTTP/1.0 200")
    assert b"regatta_events_recorded_total 0.0" in told


class _Faulty(Collector):
    """Has something to tell until it is asked."""

    def collect(self) -> Iterator[NoReturn]:
        raise LookupError("a fault")


async def test_a_fault_of_ours_is_no_client_that_left_and_is_logged() -> None:
    found, metrics = free_port(), WorkerMetrics(new_registry(), is_by_tenant=False)
    with capture_logs() as lines:
        async with exposed(metrics, Settings(), found, _Idle()):
            metrics.registry._collector_to_names[_Faulty()] = []  # noqa: SLF001 - what it names is asked at `register`
            said = await asyncio.to_thread(scraped, found)

    assert said == b""
    assert [(line["event"], repr(line["exc_info"])) for line in lines] == [
        ("metrics_not_told", "LookupError('a fault')")
    ]
