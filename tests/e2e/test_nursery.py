"""The nursery with children that only wait: they are replaced, told to end, killed, and never left alone."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.support.processes import REPOSITORY, environment, wait_until, wait_until_gone

PROGRAM = """
import os, select, signal, sys, time
from app import nursery
from app.nursery import NurseryOptions, keep_workers
from app.settings import Settings

def work(index, name, lifeline):
    stubborn, crashing = sys.argv[1] == "stubborn", sys.argv[1] == "crashing"
    signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"told\\n") if stubborn else os._exit(0))
    print(f"{index} {name} is {os.getpid()}", flush=True)
    if crashing:
        return 3
    select.select([lifeline], [], [])
    return 0

if sys.argv[1] == "unborn":
    def slow(_):
        os.write(1, b"forked\\n")
        time.sleep(600)
    def telling(pid, number):
        os.write(1, b"told\\n")
        send(pid, number)
    send, nursery._send, nursery._Nursery._leave = nursery._send, telling, slow

settings = Settings(shutdown_grace_seconds=float(sys.argv[2]))
options = NurseryOptions(settings, 2, "w", 5, leaving_seconds=1.0)
sys.exit(keep_workers(options, lambda: print("prepared", flush=True), work))
"""


@dataclass
class Nursery:
    process: "subprocess.Popen[bytes]"
    log: Path

    def said(self) -> list[str]:
        return self.log.read_text().splitlines()

    def children(self) -> list[psutil.Process]:
        found = psutil.Process(self.process.pid).children()
        return [child for child in found if child.status() != psutil.STATUS_ZOMBIE]

    def born(self, name: str) -> list[int]:
        """The process ids of all that had the name."""
        lines = [line.split() for line in self.said() if " is " in line]
        return [int(words[-1]) for words in lines if words[1] == name]


@contextlib.contextmanager
def a_nursery(directory: Path, kind: str = "plain", grace: float = 0.0) -> Iterator[Nursery]:
    log = directory / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-c", PROGRAM, kind, str(grace)],
            env=environment(),
            stdout=file,
            stderr=file,
            cwd=REPOSITORY,
            start_new_session=True,
        )
    nursery = Nursery(process, log)
    try:
        wait_until(lambda: nursery.said().count("forked") == 2 or (nursery.born("w") and nursery.born("w-2")))
        yield nursery
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children():
                child.kill()
        process.kill()
        process.wait()


def test_who_dies_is_replaced_under_the_same_name_without_another_import(tmp_path: Path) -> None:
    with a_nursery(tmp_path) as nursery:
        os.kill(nursery.born("w-2")[0], signal.SIGKILL)

        wait_until(lambda: len(nursery.born("w-2")) == 2)
        assert len(nursery.born("w")) == 1
        assert nursery.said().count("prepared") == 1
        assert nursery.said()[-1].startswith("6 w-2 is ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_children_and_then_the_nursery(tmp_path: Path, number: signal.Signals) -> None:
    with a_nursery(tmp_path, grace=60) as nursery:
        children = nursery.children()

        nursery.process.send_signal(number)

        assert nursery.process.wait(30) == 0
        wait_until_gone(children)
        assert len(children) == 2


def test_children_that_do_not_end_are_killed_after_the_grace(tmp_path: Path) -> None:
    with a_nursery(tmp_path, "stubborn") as nursery:
        children = nursery.children()

        nursery.process.terminate()

        assert nursery.process.wait(30) == 0
        wait_until_gone(children)


def test_the_second_signal_does_not_wait_for_the_grace(tmp_path: Path) -> None:
    with a_nursery(tmp_path, "stubborn", grace=600) as nursery:
        nursery.process.terminate()
        wait_until(lambda: nursery.said().count("told") == 2)
        with pytest.raises(subprocess.TimeoutExpired):
            nursery.process.wait(0.5)

        nursery.process.terminate()

        assert nursery.process.wait(30) == 0


def test_the_second_signal_kills_those_as_well_that_are_not_born_yet(tmp_path: Path) -> None:
    with a_nursery(tmp_path, "unborn", grace=600) as nursery:
        children = nursery.children()
        nursery.process.terminate()
        wait_until(lambda: nursery.said().count("told") == 2)

        nursery.process.terminate()

        assert nursery.process.wait(30) == 0
        wait_until_gone(children)


def test_children_see_that_the_nursery_is_gone(tmp_path: Path) -> None:
    with a_nursery(tmp_path) as nursery:
        children = nursery.children()

        nursery.process.kill()

        nursery.process.wait()
        wait_until_gone(children)


def test_who_dies_again_and_again_is_replaced_later_and_later(tmp_path: Path) -> None:
    with a_nursery(tmp_path, "crashing") as nursery:
        wait_until(lambda: len(nursery.born("w")) >= 3)

        pauses = [line.split("again_in_seconds=")[1].split()[0] for line in nursery.said() if "index=5" in line]
    assert pauses[:2] == ["0.0", "0.5"]
