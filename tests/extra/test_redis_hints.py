"""The port `Hints` on a real Redis server, and what happens when that is restarted."""

import asyncio
import contextlib
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.broadcast import BroadcastHints
from domain.ports import Hints
from tests.support.processes import free_port

pytestmark = pytest.mark.extra

SOON = 60.0  # seconds after which something did not happen


class RedisServer:
    """A redis-server on a free port of loopback, which can be stopped and started again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._program = shutil.which("redis-server") or pytest.fail("redis-server is not installed")
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [self._program, "--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
            cwd=self._directory,
            stdout=subprocess.DEVNULL,
        )
        while not self._answers():
            assert self._process.poll() is None, "redis-server ended"

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.wait(SOON)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 0.2) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def pair(server: RedisServer) -> AsyncIterator[tuple[BroadcastHints, BroadcastHints]]:
    here, there = (BroadcastHints(server.url, ping_seconds=0.05, silence_seconds=5.0) for _ in range(2))
    await here.start()
    await there.start()
    yield here, there
    await here.stop()
    await there.stop()


async def test_a_hint_reaches_the_listeners_of_its_topic_and_no_other(
    pair: tuple[BroadcastHints, BroadcastHints],
) -> None:
    here, there = pair
    with there.listen("execution:1") as listener, there.listen("execution:2") as other:
        await other.wait(0)

        await here.publish(["execution:1"])

        assert await listener.wait(SOON)
        assert not await other.wait(0)


async def test_thousands_of_topics_from_concurrent_publishers_arrive(
    pair: tuple[BroadcastHints, BroadcastHints],
) -> None:
    here, there = pair
    topics = [f"execution:{number}" for number in range(5_000)]
    with there.listen(topics[0]) as first, there.listen(topics[-1]) as last:
        await asyncio.gather(*(here.publish(topics[start : start + 50]) for start in range(0, len(topics), 50)))

        assert await first.wait(SOON)
        assert await last.wait(SOON)


async def test_after_a_restart_everybody_is_woken_and_hints_flow_again(
    pair: tuple[BroadcastHints, BroadcastHints], server: RedisServer
) -> None:
    here, there = pair
    with there.listen("execution:1") as listener:
        assert not await listener.wait(0)
        await asyncio.to_thread(server.stop)
        await here.publish(["execution:2"])
        await asyncio.to_thread(server.start)

        assert await listener.wait(SOON)
        await _until_heard(here, there)


async def test_it_starts_and_stops_without_a_server(server: RedisServer) -> None:
    server.stop()
    hints = BroadcastHints(server.url, ping_seconds=0.05, silence_seconds=0.5)
    starting = asyncio.create_task(hints.start())
    await hints.publish(["execution:1"])
    assert not hints.connected

    await hints.stop()

    starting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await starting
    assert not hints.connected
    await asyncio.to_thread(server.start)


async def _until_heard(here: Hints, there: Hints) -> None:
    """Publish until it arrives: while connections are being made anew, a hint may be lost. The topic is fresh."""
    async with asyncio.timeout(SOON):
        while True:
            with there.listen("probe") as listener:
                await here.publish(["probe"])
                if await listener.wait(0.1):
                    return
