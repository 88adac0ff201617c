"""`regatta demo` from its start to its end, into a pipe."""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from app.embedded import EmbeddedPostgres
from tests.support.postgres import disposable_data_dir
from tests.support.processes import (
    REPOSITORY,
    Served,
    environment,
    free_port,
    processes_of,
    run_cli,
    served,
    wait_until,
)

PATIENT = "import app.demo; app.demo._CANCEL_SECONDS = 60.0; from app.cli import main; main()"
"""A demo that waits for the end of its execution as long as it takes on a busy machine."""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with disposable_data_dir() as directory:
        yield directory


def test_the_demo_runs_a_team_of_three_to_the_end_and_leaves_nothing_running(data_dir: Path) -> None:
    patient = {"simulated_delay_seconds": "0", "shutdown_grace_seconds": "5"}
    ended = run_cli("demo", "--product", "a folding boat", data_dir=str(data_dir), **patient)

    assert ended.returncode == 0, ended.stderr
    assert "each task is routed to a model that fits" in ended.stdout
    assert "on simulated/" in ended.stdout
    assert ended.stdout.count(" begins “") == 3
    assert ended.stdout.count(" finished “") == 3
    assert "    | ## Summary (simulated)" in ended.stdout
    assert "folding boat" in ended.stdout
    assert "COMPLETED: 3 model calls" in ended.stdout.splitlines()[-2]
    assert ended.stdout.splitlines()[-1] == "See it in GraphiQL: make run"
    assert ended.stderr == ""
    assert processes_of(data_dir) == []
    assert not workers_that_never_said_goodbye(data_dir)


def workers_that_never_said_goodbye(data_dir: Path) -> list[str]:
    """Who would be taken for lost by the next server."""
    postgres = EmbeddedPostgres(data_dir)
    url = postgres.start()
    try:
        with psycopg.connect(url) as connection:
            return [row[0] for row in connection.execute("SELECT id FROM worker")]
    finally:
        postgres.stop()


def test_beside_a_server_the_demo_says_what_is_true_of_that_one_and_ctrl_c_leaves_it_alone(data_dir: Path) -> None:
    with served(data_dir, simulated_delay_seconds="0.1") as server:
        wait_until(lambda: server.get("/health/ready")["status"] == "ready")
        with demo_beside(server.port, model="openai/gpt-4o") as demo:
            wait_until(lambda: " begins “" in demo.said())
            status = demo.press_ctrl_c()
            said = demo.said()
        alive = server.get("/health/live")
        server.press_ctrl_c()

    assert status == 130
    assert f"Using the server at {server.address}, which has its own model.\n" in said
    assert "Warning: REGATTA_MODEL has no effect there.\n" in said
    assert " on simulated/regatta." in said
    assert said.count("gpt-4o") == said.count("Starting") == said.count("Stopping") == 0
    assert said.splitlines()[-1] == (
        "Interrupted: the execution was cancelled, the server goes on, for it was there before."
    )
    assert alive == {"status": "alive"}


def test_ctrl_c_in_a_demo_says_what_became_of_everything(data_dir: Path) -> None:
    with demo_beside(free_port(), data_dir=str(data_dir), simulated_delay_seconds="0.1") as demo:
        wait_until(lambda: " begins “" in demo.said())
        status = demo.press_ctrl_c()

        assert status == 130
        assert demo.said().splitlines()[-1] == ("Interrupted: the execution was cancelled, the server is stopped.")
    assert processes_of(data_dir) == []


@contextlib.contextmanager
def demo_beside(port: int, **settings: str) -> Iterator[Served]:
    """A demo in a process group of its own that looks for a server on this port."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(  # noqa: S603 - our own program
            (sys.executable, "-c", PATIENT, "demo"),
            env=environment(port=str(port), **settings),
            stdout=log,
            stderr=log,
            cwd=REPOSITORY,
            start_new_session=True,
        )
        try:
            yield Served(process, Path(), port, log)
        finally:
            process.kill()
            process.wait()


def test_a_demo_whose_server_cannot_start_says_why(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "postgres").mkdir()
    (data_dir / "postgres" / "PG_VERSION").write_text("7")

    ended = run_cli("demo", data_dir=str(data_dir))

    assert ended.returncode == 1
    assert "regatta: the server did not start\n" in ended.stderr
    assert "PostgreSQL did not start" in ended.stderr
    assert "Traceback" not in ended.stderr
