"""Executions survive anything: workers, API processes and PostgreSQL are killed again and again under load."""

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

import psutil
import pytest

from app.embedded import EmbeddedPostgres
from app.migrations import migrate
from tests.support.cluster import Api, Cluster, Workers, a_cluster
from tests.support.model_server import ModelServer, Text
from tests.support.postgres import disposable_data_dir
from tests.support.processes import SOON, wait_until

TASKS = ("first", "second", "third", "fourth")
CALLS = """
    SELECT execution.inputs ->> 'run' AS run, task.name, entry.outcome, count(*)
    FROM ledger_entry AS entry
    JOIN execution ON execution.id = entry.execution_id
    JOIN task_execution AS task ON task.id = entry.task_execution_id
    GROUP BY 1, 2, 3
"""
TWICE = """
    SELECT task_execution_id FROM ledger_entry GROUP BY task_execution_id, attempt, call, call_attempt
    HAVING count(*) > 1
"""
STARTS = """
    SELECT execution.inputs ->> 'run' AS run, count(*)
    FROM execution_event AS event JOIN execution ON execution.id = event.execution_id
    WHERE event.type = 'ExecutionStarted' GROUP BY 1
"""
RESULTS = """
    SELECT task.id, task.status, task.output, count(event.sequence) AS results
    FROM task_execution AS task LEFT JOIN execution_event AS event
        ON event.execution_id = task.execution_id AND event.task_execution_id = task.id AND event.type = 'TaskCompleted'
    GROUP BY task.id, task.status, task.output
"""
GAPS = """
    SELECT row.execution_id FROM execution_sequence AS row
    LEFT JOIN LATERAL (SELECT count(*) AS count, min(sequence) AS first, max(sequence) AS last
        FROM execution_event AS event WHERE event.execution_id = row.execution_id) AS found ON true
    WHERE found.first <> 1 OR found.last <> found.count OR found.last <> row.last_sequence
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How much happens. A worker is killed so many seconds after the last kill, and never before one was ready."""

    executions: int
    workers: int
    places: int
    latency: float
    kills: int
    seconds: float
    api_killed_after: tuple[int, ...]
    postgres_restarted_after: int
    patience: float


SMALL = Size(12, 2, 2, 0.5, 3, 0, (1,), 2, 300)
FULL = Size(60, 3, 2, 3.0, 12, 10, (3, 8), 6, 400)


@dataclass
class Storm:
    """What is done to the processes."""

    cluster: Cluster
    postgres: EmbeddedPostgres
    api: Api
    workers: Workers
    size: Size
    chance: random.Random = field(default_factory=random.Random)

    def rage(self) -> None:
        for number in range(1, self.size.kills + 1):
            self._kill_worker()
            if number in self.size.api_killed_after:
                self.api.kill()
                self.api = self.cluster.api(self.api.port)
            if number == self.size.postgres_restarted_after:
                self.postgres.stop()
                self.postgres.start()

    def _kill_worker(self) -> None:
        began, before = time.monotonic(), len(self.workers.ready())
        wait_until(self.workers.each)  # they may all be between two lives
        with suppress(psutil.NoSuchProcess):
            self.chance.choice(self.workers.each()).kill()
        wait_until(lambda: len(self.workers.ready()) > before)
        time.sleep(1 + self.chance.random())
        time.sleep(max(0.0, began + self.size.seconds - time.monotonic()))


@pytest.fixture
def postgres() -> Iterator[tuple[EmbeddedPostgres, str]]:
    """A server of the test's own, which it may restart, with a migrated database."""
    with disposable_data_dir() as directory:
        server = EmbeddedPostgres(directory)
        url = server.start()
        migrate(url)
        yield server, url
        server.stop()


@pytest.mark.parametrize("size", [SMALL, pytest.param(FULL, marks=pytest.mark.survival)], ids=["small", "full"])
def test_nothing_is_lost_or_paid_twice_when_everything_is_killed(
    size: Size, postgres: tuple[EmbeddedPostgres, str], tmp_path: Any
) -> None:
    server, url = postgres
    with (
        ModelServer.in_thread(latency=size.latency, default=Text("Done.")) as models,
        a_cluster(url, tmp_path, models, worker_concurrency=str(size.places)) as cluster,
    ):
        workers = cluster.workers(size.workers)
        storm = Storm(cluster, server, cluster.api(), workers, size)
        team_id = storm.api.team(*TASKS)
        wait_until(lambda: len(workers.ready()) == size.workers)
        began = time.monotonic()

        with _kicking_off(storm, team_id):
            storm.rage()
        under_way = _open(cluster)
        wait_until(lambda: _open(cluster) == 0, size.patience)

        _tell(cluster, models, under_way, time.monotonic() - began)
        _check(cluster, models, size)
        workers.process.terminate()
        assert workers.process.wait(SOON) == 0
        assert "worker_failed" not in workers.said().partition("worker_stopping")[2]


def _check(cluster: Cluster, models: ModelServer, size: Size) -> None:
    results = cluster.rows(RESULTS)
    assert Counter(row["status"] for row in cluster.rows("SELECT status FROM execution")) == {
        "COMPLETED": size.executions
    }
    assert len(results) == size.executions * len(TASKS)
    assert {(row["status"], row["output"], row["results"]) for row in results} == {("COMPLETED", "Done.", 1)}
    assert cluster.rows(GAPS) == []

    # Every call that was seen has an entry, an entry without one is LOST, and only a take-over repeats a call: one.
    wait_until(lambda: not cluster.rows("SELECT id FROM call_reservation"))
    seen, booked, lost = _seen(models), Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for row in cluster.rows(CALLS):
        booked[row["run"], row["name"]] += row["count"]
        lost[row["run"], row["name"]] += row["count"] * (row["outcome"] == "LOST")
    assert set(seen) == set(booked)
    assert {call for call in booked if not booked[call] - lost[call] <= seen[call] <= booked[call]} == set()
    again = Counter(run for run, _ in seen.elements()) - Counter({run: len(TASKS) for run, _ in seen})
    taken_over = Counter({row["run"]: row["count"] - 1 for row in cluster.rows(STARTS)})
    assert again - taken_over == Counter()
    assert cluster.rows(TWICE) == []


def _seen(models: ModelServer) -> Counter[tuple[str, str]]:
    """How often the model was asked for each task of each run."""
    calls: Counter[tuple[str, str]] = Counter()
    for request in models.requests:
        [(name, run)] = set(re.findall(r"Do (\w+) of run (\w+)\.", request.text))
        calls[run, name] += 1
    return calls


def _open(cluster: Cluster) -> int:
    """How many executions are not over."""
    [row] = cluster.rows(
        "SELECT count(*) FROM execution WHERE status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')",
    )
    count: int = row["count"]
    return count


@contextmanager
def _kicking_off(storm: Storm, team_id: str) -> Iterator[None]:
    """Kick off meanwhile, whatever answers: again with the same key until it is accepted."""
    made: set[str] = set()

    def kick_off(run: str) -> bool:
        with suppress(AssertionError, HTTPException):  # without its database, or cut off, the API answers as it can
            made.add(storm.api.kickoff(team_id, run, idempotencyKey=run))
            return True
        return False

    def kick_off_all() -> None:
        for number in range(storm.size.executions):
            wait_until(lambda run=str(number): kick_off(run))

    thread = threading.Thread(target=kick_off_all)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    assert len(made) == storm.size.executions


def _tell(cluster: Cluster, models: ModelServer, under_way: int, seconds: float) -> None:
    outcomes = Counter[str]()
    for row in cluster.rows(CALLS):
        outcomes[row["outcome"]] += row["count"]
    [starts] = cluster.rows("SELECT count(*) FROM execution_event WHERE type = 'ExecutionStarted'")
    print(  # noqa: T201 - the figures
        f"{seconds:.0f} s, {under_way} executions under way after the last kill; the model saw {models.received} calls;"
        f" ledger: {dict(outcomes)}; executions were started {starts['count']} times"
    )
