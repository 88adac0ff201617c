"""Real Regatta processes: the command line with a data directory, its port, and what is left of it afterwards."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import psutil

REPOSITORY: Final = Path(__file__).parents[2]
SOON: Final = 120.0
"""Seconds after which something did not happen; a worker alone needs ten to import CrewAI, a busy machine more."""

END: Final = 5.0
"""Seconds within which Ctrl-C has ended everything: the promise to whoever presses it, on a machine of his own."""


@dataclass(slots=True)
class Served:
    """A `regatta serve` in a process group of its own."""

    process: "subprocess.Popen[bytes]"
    data_dir: Path
    port: int
    log: IO[bytes]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, query: str, **variables: Any) -> Any:
        """The data of an operation; raises AssertionError when the graph reports errors."""
        answer = self.get("/graphql", {"query": query, "variables": variables})
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def get(self, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None) -> Any:
        """The JSON at a path; with a body it is posted. Raises OSError when nobody answers well."""
        data = json.dumps(body).encode() if body is not None else None
        given = {"Content-Type": "application/json", **(headers or {})}
        request = urllib.request.Request(f"{self.address}{path}", data, given)  # noqa: S310 - our own server
        with _opener.open(request, timeout=SOON) as answer:
            return json.load(answer)

    def wait_for_worker(self) -> None:
        wait_until(lambda: self.get("/health/ready")["status"] == "ready")

    def worker(self) -> psutil.Process:
        """The worker process, as soon as there is one."""
        wait_until(self.workers)
        return self.workers()[0]

    def workers(self) -> list[psutil.Process]:
        """All worker processes: the children of the one that keeps them."""
        nurseries = [each for each in psutil.Process(self.process.pid).children() if "worker" in each.cmdline()]
        return [worker for nursery in nurseries for worker in nursery.children()]

    def press_ctrl_c(self) -> int:
        """What a terminal does, to the whole group; the exit status."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(END * _crowd())

    def said(self) -> str:
        """All lines so far, of the server and its workers."""
        self.log.seek(0)
        return self.log.read().decode()


def _crowd() -> float:
    """How much more this machine has to do than it can do at once, at least 1: by so much everything takes longer."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


# Not through a proxy of the environment.
_opener: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextlib.contextmanager
def served(data_dir: Path, *options: str, **settings: str) -> Iterator[Served]:
    """A server that answers; killed in the end with all its children, if the test did not end it."""
    port = free_port()
    command = ["serve", "--port", str(port), "--data-dir", str(data_dir), *options]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(  # noqa: S603 - our own program
            _command(command),
            env=environment(**settings),
            stdout=log,
            stderr=log,
            cwd=REPOSITORY,
            start_new_session=True,
        )
        server = Served(process, data_dir, port, log)
        try:
            wait_until(lambda: _alive(server))
            yield server
        finally:
            _kill_all(process)


def run_cli(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """A command from its start to its end."""
    return subprocess.run(  # noqa: S603 - our own program
        _command(arguments),
        env=environment(**settings),
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        timeout=2 * SOON,
    )


def environment(**settings: str) -> dict[str, str]:
    """The environment of a process: no setting of whoever runs the tests, but these, by their short names."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("REGATTA_")}
    return {**inherited, **{f"REGATTA_{name.upper()}": value for name, value in settings.items()}}


def processes_of(data_dir: Path) -> list[psutil.Process]:
    """Whatever runs for this data directory: servers, workers, PostgreSQL."""
    return [process for process in psutil.process_iter() if _belongs_to(process, str(data_dir))]


def wait_until_gone(processes: Sequence[psutil.Process]) -> None:
    """Raises AssertionError with those that stay."""
    _, alive = psutil.wait_procs(processes, timeout=SOON)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def wait_until(condition: Any, seconds: float = SOON) -> None:
    """Wait until it is true; nobody who answers, or a process that went while it was looked at, counts as not yet."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, psutil.Error):
            if condition():
                return
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def free_port() -> int:
    """A port for a server that is still to be started; nobody who asks for any port is given it meanwhile."""
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))
    port: int = kept.getsockname()[1]
    if sys.platform == "linux":  # there a server may listen beside it; elsewhere the port is only likely to be free
        kept.detach()  # open until this process ends: the port is served, left and served again
    else:
        kept.close()
    return port


def _command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "app.cli", *arguments]


def _alive(server: Served) -> bool:
    if server.process.poll() is not None:
        raise AssertionError(f"it ended: {server.said()}")
    return bool(server.get("/health/live") == {"status": "alive"})


def _kill_all(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    process.kill()
    process.wait()


def _belongs_to(process: psutil.Process, data_dir: str) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return any(data_dir in word for word in process.cmdline()) or process.environ().get(_VARIABLE) == data_dir
    except psutil.Error:
        return False


_VARIABLE: Final = "REGATTA_DATA_DIR"
