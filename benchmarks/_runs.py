"""What the benchmarks of runs share: a model server, a Regatta, a client, bare crews, and the CPU that each used."""

import asyncio
import contextlib
import gc
import itertools
import json
import math
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, Final, Self

import aiohttp
import psutil
import psycopg

from app.seed import INPUTS
from tests.support.postgres import disposable_data_dir
from tests.support.processes import Served, served, wait_until

REPOSITORY: Final = Path(__file__).parents[1]
RESULTS: Final = REPOSITORY / "benchmarks" / "results"
ANSWER: Final = "This is the scripted answer of the model server."
MODEL: Final = "openai/gpt-4o-mini"
END: Final = "ExecutionCompleted"

KICKOFF: Final = """
mutation Kickoff($input: KickoffTeamInput!) {
  kickoffTeam(input: $input) { execution { id status } errors { message code path } }
}
"""
WATCH: Final = """
subscription Watch($executionId: ID!) {
  executionEvents(executionId: $executionId) {
    cursor
    events {
      __typename sequence occurredAt role { title }
      ... on OutputStreamed { text }
      ... on TaskCompleted { name totalTokens }
    }
  }
}
"""
LATEST: Final = """
query Latest($id: ID!) { execution(id: $id) { status } }
"""
_TEAM: Final = "{ tenant { projects { nodes { teams { nodes { id roles { id } tasks { id } } } } } } }"


# What runs


@contextlib.contextmanager
def model_server(latency: float = 0.0, content: str = ANSWER) -> Iterator[str]:
    """The scripted model server in a process of its own, answering after so many seconds; its URL."""
    options = ("--latency", str(latency), "--content", content)
    with beside("tests.support.model_server", *options) as url:
        yield url


@contextlib.contextmanager
def beside(module: str, *options: str) -> Iterator[str]:
    """A server of ours in a process of its own; its URL, which is the first line that it prints."""
    command = [sys.executable, "-m", module, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:  # noqa: S603 - ours
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@dataclass(slots=True)
class Regatta:
    """A served Regatta with workers that are ready, and the processes it consists of."""

    server: Served
    team_id: str
    api: psutil.Process
    workers: Sequence[psutil.Process]
    postgres: psutil.Process

    @property
    def url(self) -> str:
        """The database, for whoever measures around the API."""
        url: str = self.workers[0].environ()["REGATTA_DATABASE_URL"]
        return url

    def cpu(self) -> "Cpu":
        return Cpu(cpu_of(self.api), sum(map(cpu_of, self.workers)), cpu_of_tree(self.postgres))


@dataclass(frozen=True, slots=True)
class Cpu:
    """Seconds of CPU, system and user, of all threads."""

    api: float
    worker: float
    postgres: float

    def __sub__(self, other: Self) -> "Cpu":
        return Cpu(self.api - other.api, self.worker - other.worker, self.postgres - other.postgres)

    @property
    def ours(self) -> float:
        return self.api + self.worker


@contextlib.contextmanager
def data_directory() -> Iterator[Path]:
    with disposable_data_dir() as directory:
        yield directory


@contextlib.contextmanager
def regatta(
    data_dir: Path, model_url: str, *, workers: int = 1, concurrency: int = 16, **others: str
) -> Iterator[Regatta]:
    """`regatta serve` as it ships, but for `others`: embedded PostgreSQL with its default durability, API, workers."""
    os.environ["OPENAI_API_BASE"] = model_url
    os.environ["OPENAI_API_KEY"] = "none"
    # The machine is to be full: nothing else is on it.
    os.environ["REGATTA_WORKER_MAX_CPU_PERCENT"] = "100"
    settings = {"model": MODEL, "worker_concurrency": str(concurrency), "workers": str(workers), **others}
    with served(data_dir, log_level="warning", **settings) as server:
        server.wait_for_worker()
        wait_until((data_dir / "seeded").exists)
        api = psutil.Process(server.process.pid)
        wait_until(lambda: _workers_ready(server, workers))
        team_id = server.ask(_TEAM)["tenant"]["projects"]["nodes"][0]["teams"]["nodes"][0]["id"]
        children = api.children()
        yield Regatta(
            server,
            team_id,
            api,
            server.workers(),
            next(child for child in children if any("postgres" in word for word in child.cmdline()[:1])),
        )
        server.press_ctrl_c()


def _workers_ready(server: Served, count: int) -> bool:
    """Whether all workers are there and hardly use the processor."""
    found, heard = server.workers(), server.ask("{ resources { workers { id } } }")["resources"]["workers"]
    before = [cpu_of(each) for each in found]
    time.sleep(1.0)
    return len(found) == len(heard) == count and all(
        cpu_of(each) - then < 0.2 for each, then in zip(found, before, strict=True)
    )


class Script:
    """A process of ours that takes orders as lines of JSON and answers each with one."""

    def __init__(self, process: "subprocess.Popen[str]", log: IO[str]) -> None:
        self._process = process
        self._log = log

    def __call__(self, **order: Any) -> Mapping[str, float]:
        """Carry out one order; raises RuntimeError with what the process said when it ended instead."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            raise RuntimeError(self._log.read()[-4000:])
        measured: Mapping[str, float] = json.loads(line)
        return measured


@contextlib.contextmanager
def script(module: str, *options: str) -> Iterator[Script]:
    with tempfile.TemporaryFile("w+") as log, tempfile.TemporaryDirectory() as cwd:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", module, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        try:
            yield Script(process, log)
        finally:
            process.kill()
            process.wait()


# What it used


def cpu_of(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def cpu_of_tree(process: psutil.Process) -> float:
    """Of a process and its children; of those that ended, too, as soon as it has waited for them."""
    total = 0.0
    for each in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            total += times.user + times.system
            if each == process:
                total += times.children_user + times.children_system
    return total


@contextlib.contextmanager
def no_collections() -> Iterator[None]:
    """The measuring process pauses for nobody but its measuring."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


# How a user talks to it


class User:
    """A client over HTTP and one websocket (graphql-transport-ws), as a page in a browser would be."""

    def __init__(self, session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse, here: Regatta) -> None:
        self._session = session
        self._socket = socket
        self._address = f"{here.server.address}/graphql"
        self._team_id = here.team_id
        self._numbers = itertools.count(1)
        self._subscriptions: dict[str, asyncio.Queue[Mapping[str, Any]]] = {}
        self._ponged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read())

    async def ask(self, query: str, **variables: Any) -> Any:
        async with self._session.post(self._address, json={"query": query, "variables": variables}) as response:
            answer = await response.json(content_type=None)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    async def kickoff(self) -> str:
        """Set the seeded team to work; the id of the execution."""
        asked = {"teamId": self._team_id, "inputs": dict(INPUTS), "whenBusy": "PARALLEL"}
        payload = (await self.ask(KICKOFF, input=asked))["kickoffTeam"]
        assert not payload["errors"], payload["errors"]
        identifier: str = payload["execution"]["id"]
        return identifier

    async def events(self, execution_id: str) -> AsyncIterator[Mapping[str, Any]]:
        """The events of one subscription, until the server ends it."""
        number = str(next(self._numbers))
        messages = self._subscriptions[number] = asyncio.Queue()
        payload = {"query": WATCH, "variables": {"executionId": execution_id}}
        await self._socket.send_json({"id": number, "type": "subscribe", "payload": payload})
        while (message := await messages.get())["type"] == "next":
            assert "errors" not in message["payload"], message
            for event in message["payload"]["data"]["executionEvents"]["events"]:
                yield event
        assert message["type"] == "complete", message
        del self._subscriptions[number]

    async def run(self) -> None:
        """One execution from the kickoff to its last event."""
        last: Mapping[str, Any] = {}
        async for event in self.events(await self.kickoff()):
            last = event
        assert last["__typename"] == END, last

    async def ping(self) -> None:
        self._ponged = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"type": "ping"})
        await self._ponged

    async def leave(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        async for message in self._socket:
            frame = json.loads(message.data)
            if frame["type"] == "ping":
                await self._socket.send_json({"type": "pong"})
            elif frame["type"] == "pong":
                self._ponged.set_result(None)
            elif frame["id"] in self._subscriptions:
                self._subscriptions[frame["id"]].put_nowait(frame)


@contextlib.asynccontextmanager
async def a_user(here: Regatta) -> AsyncIterator[User]:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{here.server.address}/graphql", protocols=["graphql-transport-ws"]) as socket,
    ):
        await socket.send_json({"type": "connection_init"})
        assert (await socket.receive_json())["type"] == "connection_ack"
        user = User(session, socket, here)
        try:
            yield user
        finally:
            await user.leave()


async def until(condition: Callable[[], Awaitable[bool]], look_seconds: float) -> None:
    """Wait until it is true, looking every so often."""
    while True:
        if await condition():
            return
        await asyncio.sleep(look_seconds)


def run_async(work: Callable[[], Any]) -> Any:
    import uvloop  # noqa: PLC0415 - only here

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work())


# What is written


@dataclass(slots=True)
class Series:
    """One figure over the rounds, in the unit of its readers."""

    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """Half the distance between the lowest and the highest, as a share of the median."""
        return (max(self.values) - min(self.values)) / 2 / self.median if self.median else 0.0

    def __str__(self) -> str:
        return f"{self.median:.1f} ({min(self.values):.1f} to {max(self.values):.1f})"


def percentile(values: Sequence[float], share: float) -> float:
    """By nearest rank: a value that was measured."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def machine(here: Regatta) -> str:
    """What it ran on, for whoever compares."""
    return surroundings(here.url)


def surroundings(database_url: str) -> str:
    """The same, for what runs beside a database alone."""
    with psycopg.connect(database_url) as connection:
        postgres = connection.info.parameter_status("server_version")
    libraries = ", ".join(f"{name} {version(name)}" for name in ("crewai", "litellm", "dbos", "strawberry-graphql"))
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()},"
        f" PostgreSQL {postgres}, {libraries}. Load average at the end: {load:.1f}."
    )


def publish(name: str, text: str, *, quick: bool) -> None:
    """Print it, and keep it unless it was only a smoke test."""
    print(text)
    if not quick:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.md").write_text(text, "utf-8")


def stop_like_ctrl_c() -> None:
    """Let a termination unwind, so that nothing stays behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
