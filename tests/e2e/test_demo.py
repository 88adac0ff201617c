"""`regatta demo` from its start to its end, into a pipe."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.postgres import disposable_data_dir
from tests.support.processes import processes_of, run_cli


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with disposable_data_dir() as directory:
        yield directory


def test_the_demo_runs_a_team_of_three_to_the_end_and_leaves_nothing_running(data_dir: Path) -> None:
    ended = run_cli("demo", "--product", "a folding boat", data_dir=str(data_dir), simulated_delay_seconds="0")

    assert ended.returncode == 0, ended.stderr
    assert "simulated model simulated/regatta" in ended.stdout
    assert ended.stdout.count(" begins “") == 3
    assert ended.stdout.count(" finished “") == 3
    assert "    | ## Summary (simulated)" in ended.stdout
    assert "folding boat" in ended.stdout
    assert "COMPLETED: 3 model calls" in ended.stdout.splitlines()[-1]
    assert ended.stderr == ""
    assert processes_of(data_dir) == []


def test_a_demo_whose_server_cannot_start_says_why(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "postgres").mkdir()
    (data_dir / "postgres" / "PG_VERSION").write_text("7")

    ended = run_cli("demo", data_dir=str(data_dir))

    assert ended.returncode == 1
    assert "regatta: the server did not start\n" in ended.stderr
    assert "PostgreSQL did not start" in ended.stderr
    assert "Traceback" not in ended.stderr
