"""Requests per second of the nested dashboard query, against the same query on a plain Strawberry app with an ORM.

    python -m benchmarks.dashboard [--quick]

20 teams, each with roles, tasks and the last 5 executions with their task executions. Both servers stand on the same
database, one process each on one core, while client and database use the others. Rounds take turns.
"""

import argparse
import asyncio
import contextlib
import http.client
import itertools
import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final
from uuid import UUID

import psutil

from app.embedded import EmbeddedPostgres
from app.migrations import migrate
from benchmarks._dashboard_data import DASHBOARD, populate
from benchmarks._dashboard_split import FIRST_TIME_ONLY, split
from benchmarks._runs import REPOSITORY, Series, cpu_of, data_directory, publish, run_async, stop_like_ctrl_c
from resolvers.node_ids import node_id, parse_node_id

AT_ONCE: Final = 8
TARGET: Final = 2.0
_PATIENCE_SECONDS: Final = 30.0


@dataclass(slots=True)
class Contender:
    """A server, how it is asked, and what was measured of it."""

    name: str
    port: int
    process: psutil.Process
    body: bytes
    rate: Series = field(default_factory=Series)
    cpu_ms: Series = field(default_factory=Series)

    def ask(self, connection: http.client.HTTPConnection) -> bytes:
        connection.request("POST", "/graphql", self.body, {"content-type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        assert response.status == http.HTTPStatus.OK, answer[:2000]
        return answer

    def answer(self) -> bytes:
        """One answer, for comparison."""
        with contextlib.closing(self._connection()) as connection:
            return self.ask(connection)

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE_SECONDS)

    def round(self, requests: int) -> None:
        """Ask so often, several at once, and note requests per second and the server's CPU for each."""
        connections = [self._connection() for _ in range(AT_ONCE)]
        each = max(1, requests // AT_ONCE)
        cpu, began = cpu_of(self.process), time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(lambda connection: [len(self.ask(connection)) for _ in range(each)], connections))
        seconds, used = time.perf_counter() - began, cpu_of(self.process) - cpu
        self.rate.values.append(each * AT_ONCE / seconds)
        self.cpu_ms.values.append(used / (each * AT_ONCE) * 1000)
        for connection in connections:
            connection.close()

    def forget(self) -> None:
        """What came so far was warming up."""
        self.rate, self.cpu_ms = Series(), Series()


@contextlib.contextmanager
def serving(name: str, command: Sequence[str], port: int, project: str, **environment: str) -> Iterator[Contender]:
    """The server, on the first core where processes can be bound to one, ready for requests."""
    process = subprocess.Popen(  # noqa: S603 - our own programs
        [sys.executable, *command],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, process)
        if len(_cores()) > 1:
            _bind(process.pid, _cores()[:1])
        body = json.dumps({"query": DASHBOARD, "variables": {"project": project}}).encode()
        yield Contender(name, port, psutil.Process(process.pid), body)
    finally:
        process.terminate()
        process.wait()


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _bind(pid: int, cores: Sequence[int]) -> None:
    """Bind a process with all its threads and children-to-be."""
    for thread in psutil.Process(pid).threads():
        os.sched_setaffinity(thread.id, cores)


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise TimeoutError("the server does not listen")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@contextlib.contextmanager
def database() -> Iterator[tuple[str, UUID]]:
    """A server with the data on the cores that the contenders leave free; its URL and the project's id."""
    with data_directory() as directory:
        postgres = EmbeddedPostgres(directory)
        if len(_cores()) > 1:
            os.sched_setaffinity(0, _cores()[1:])  # inherited by the database; servers are bound to the first
        url = postgres.start()
        try:
            migrate(url)
            yield url, asyncio.run(populate(url))
        finally:
            postgres.stop()


@contextlib.contextmanager
def contenders(url: str, project_id: UUID) -> Iterator[tuple[Contender, Contender]]:
    ours, plain = _free_port(), _free_port()
    with (
        serving(
            "Regatta",
            ["-m", "app.cli", "serve", "--workers", "0", "--port", str(ours)],
            ours,
            node_id("Project", project_id),
            REGATTA_DATABASE_URL=url,
            REGATTA_LOG_LEVEL="warning",
        ) as regatta,
        serving(
            "plain Strawberry + ORM",
            ["-m", "benchmarks._baseline_dashboard", url, str(plain)],
            plain,
            str(project_id),
        ) as baseline,
    ):
        yield regatta, baseline


def check_equal(regatta: Contender, baseline: Contender) -> Mapping[str, int]:
    """Both answers hold the same data, but for the form of ids; how long each is."""
    ours, theirs = regatta.answer(), baseline.answer()
    assert _with_plain_ids(json.loads(ours)) == json.loads(theirs)
    return {regatta.name: len(ours), baseline.name: len(theirs)}


def _with_plain_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_plain_ids(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: _plain(item) if name == "id" else _with_plain_ids(item) for name, item in value.items()}


def _plain(identifier: str) -> str:
    return str(parse_node_id(identifier)[1])


def noise() -> float:
    """Seconds for a fixed piece of work: what differs between rounds is the machine's doing."""
    began = time.perf_counter()
    sum(number * number for number in range(2_000_000))
    return time.perf_counter() - began


def measure(url: str, project_id: UUID, *, rounds: int, requests: int) -> str:
    with contenders(url, project_id) as (regatta, baseline):
        sizes = check_equal(regatta, baseline)
        for each in (regatta, baseline):
            each.round(requests)
            each.forget()
        still = Series()
        for _, each in itertools.product(range(rounds), (regatta, baseline)):
            each.round(requests)
            still.values.append(noise())
    steps = run_async(lambda: split(url, project_id, requests))
    return report(regatta, baseline, sizes, still, steps)


def report(
    regatta: Contender, baseline: Contender, sizes: Mapping[str, int], still: Series, steps: Mapping[str, float]
) -> str:
    ratio = regatta.rate.median / baseline.rate.median
    rows = "\n".join(
        f"| {each.name} | {each.rate} | {each.cpu_ms} | {sizes[each.name]:,} |" for each in (regatta, baseline)
    )
    every_time = [cost for name, cost in steps.items() if name != FIRST_TIME_ONLY]
    rest = regatta.cpu_ms.median - sum(every_time)
    split_rows = "\n".join(f"| {name} | {cost:.2f} |" for name, cost in {**steps, _HTTP: rest}.items())
    return (
        "# The nested dashboard query\n\n"
        f"{ratio:.1f} times the requests per second of the plain app, target {TARGET:.0f} times:"
        f" {'met' if ratio >= TARGET else 'MISSED'}."
        f" The plain app uses {baseline.cpu_ms.median / regatta.cpu_ms.median:.1f} times the CPU per request.\n\n"
        "| | requests per second | CPU ms per request | bytes of the answer |\n|---|---:|---:|---:|\n"
        f"{rows}\n\n"
        f"Medians of {len(regatta.rate.values)} rounds each, in brackets lowest and highest. A fixed piece of work"
        f" between the rounds took {still.median * 1000:.0f} ms, ± {still.spread * 100:.0f} %: that much is the"
        " machine's noise.\n\n"
        "Where Regatta's CPU goes, in milliseconds per request:\n\n"
        f"| step | CPU ms |\n|---|---:|\n{split_rows}\n\n"
        f"How: {_HOW}\n\n"
        f"Where: {_machine()}\n\n"
        "Again: `python -m benchmarks.dashboard`.\n"
    )


_HTTP: Final = "HTTP, scheduling, what the steps do to each other (the rest)"
_HOW: Final = (
    "20 teams, each with 4 roles, 6 tasks and the last 5 of 10 executions with 6 task executions; both servers answer"
    " the same document from the same tables with the same data (checked before measuring, ids compared decoded)."
    f" {AT_ONCE} connections ask at once. Each server is one process on one core; the client and an embedded PostgreSQL"
    " share the others. The plain app is `benchmarks/_baseline_dashboard.py`, under uvicorn with uvloop and httptools,"
    " too. The steps are measured in one process without HTTP, each as what its absence saves."
)


def _machine() -> str:
    names = ("strawberry-graphql", "graphql-core", "sqlalchemy", "asyncpg", "uvicorn")
    libraries = ", ".join(f"{name} {version(name)}" for name in names)
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()},"
        f" {libraries}. Load average at the end: {os.getloadavg()[0]:.1f}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few requests, nothing is written")
    quick = parser.parse_args().quick
    stop_like_ctrl_c()
    with database() as (url, project_id):
        text = measure(url, project_id, rounds=2 if quick else 5, requests=16 if quick else 64)
    publish("dashboard", text, quick=quick)


if __name__ == "__main__":
    main()
