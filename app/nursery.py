"""The nursery: one parent forks the workers, and another one as soon as one has died.

Importing crewai and litellm takes five to ten seconds. The parent does it once, before any thread, loop or connection
exists, and then only forks: a replacement is at work at once, and what was imported is in memory once for all of them.
It watches its children with `waitpid` and runs nothing itself, so that there is little that could end it.

Children hold the reading end of a pipe whose other end only the parent has: they leave when it is gone, however that
happens. Each leads a process group, so that whatever it started can be ended with it.

Where a fork is not to be had, or not safe after such imports (macOS), children are started as commands.
"""

import contextlib
import gc
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Final

import structlog

from app.settings import LEAVING_SECONDS, Settings

CAN_FORK: Final = hasattr(os, "fork") and sys.platform != "darwin"

_FIRST_PAUSE: Final = 0.5  # seconds before the second replacement in a row, doubled up to the longest
_LONGEST_PAUSE: Final = 30.0
_STEADY_SECONDS: Final = 10.0  # who lived so long is replaced at once
_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGCHLD") if hasattr(signal, name)
)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class NurseryOptions:
    """What a nursery is told: how many workers, counted from `index` for their names; durations are in seconds.

    With a `name` they are that and, from the second on, a number. `parent_fd` is the reading end of a pipe whose other
    end only the parent of the nursery holds: it leaves when it is closed. Who has not ended `leaving_seconds` beyond
    the grace is killed.
    """

    settings: Settings
    processes: int
    name: str | None = None
    index: int = 0
    parent_fd: int | None = None
    leaving_seconds: float = LEAVING_SECONDS

    @property
    def patience(self) -> float:
        return self.settings.shutdown_grace_seconds + self.leaving_seconds


Work = Callable[[int, str | None, int], int]
"""Is a worker of that index and name, with the reading end of the nursery's pipe, to its end; the exit status."""


def keep_workers(options: NurseryOptions, prepare: Callable[[], None], work: Work) -> int:
    """Keep so many workers alive until a signal, or the end of the parent; the second signal kills them.

    `prepare` imports what they need. Returns in the parent and in each child: the exit status of that process.
    """
    if CAN_FORK:
        _prepare(prepare)
    nursery = _Nursery(options)
    place = nursery.live()
    return 0 if place is None else work(place.index, place.name, nursery.lifeline)


def _prepare(prepare: Callable[[], None]) -> None:
    gc.disable()  # until all is imported there is little to collect
    prepare()
    gc.collect()
    gc.freeze()  # no child's collection touches, and so copies, what is there now
    gc.enable()
    if threading.active_count() > 1:
        _log.warning("threads_before_fork", names=[thread.name for thread in threading.enumerate()])


@dataclass(slots=True)
class _Place:
    """One worker, dead or alive."""

    index: int
    name: str | None
    pid: int | None = None
    born_at: float = 0.0
    due_at: float = 0.0
    pause: float = field(default=0.0)

    def ended(self) -> float:
        """Note that it is dead; the seconds until its successor is born."""
        now = time.monotonic()
        if now - self.born_at > _STEADY_SECONDS:
            self.pause = 0.0
        pause, self.pid = self.pause, None
        self.due_at = now + pause
        self.pause = min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)
        return pause


class _Nursery:
    def __init__(self, options: NurseryOptions) -> None:
        self._patience = options.patience
        self._watched = [] if options.parent_fd is None else [options.parent_fd]
        self._places = [
            _Place(options.index + number, _name(options.name, number)) for number in range(options.processes)
        ]
        self._asked = 0
        self._killed_at = float("inf")
        self.lifeline, self._writing = os.pipe()
        self._bell, self._ringing = os.pipe()
        for end in (self._bell, self._ringing):
            os.set_blocking(end, False)

    def live(self) -> _Place | None:
        """Returns None in the parent, when all is over; in a child, at once, the place that is its own."""
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                signal.signal(number, self._on_signal)
        signal.set_wakeup_fd(self._ringing, warn_on_full_buffer=False)
        while True:
            self._end_what_has_to()
            if self._asked and not self._alive():
                return None
            for place in [] if self._asked else self._due():
                if self._bear(place):
                    return place
            self._rest()
            self._bury()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._asked += number != signal.SIGCHLD

    def _alive(self) -> list[_Place]:
        return [place for place in self._places if place.pid is not None]

    def _due(self) -> list[_Place]:
        now = time.monotonic()
        return [place for place in self._places if place.pid is None and place.due_at <= now]

    def _rest(self) -> None:
        """Until a signal comes, the parent goes, a child is due or those that were told to end are to be killed."""
        until = [place.due_at for place in self._places if place.pid is None and not self._asked]
        until += [self._killed_at] if self._asked == 1 else []
        patience = max(0.0, min(until) - time.monotonic()) if until else None
        ready, _, _ = select.select([self._bell, *self._watched], [], [], patience)
        if self._bell in ready:
            os.read(self._bell, 4096)
        if set(ready) & set(self._watched):
            self._watched = []
            self._asked = max(self._asked, 1)

    def _end_what_has_to(self) -> None:
        if self._asked == 1 and self._killed_at == float("inf"):
            self._killed_at = time.monotonic() + self._patience
            for place in self._alive():
                _send(place.pid, signal.SIGTERM)
        elif self._asked > 1 or time.monotonic() > self._killed_at:
            for place in self._alive():
                _log.warning("worker_killed", index=place.index)
                _send_group(place.pid, signal.SIGKILL)
            self._asked = 2

    def _bury(self) -> None:
        for place in self._alive():
            assert place.pid is not None  # noqa: S101 - for the type checker
            pid, status = os.waitpid(place.pid, os.WNOHANG)
            if not pid:
                continue
            _send_group(pid, signal.SIGKILL)  # what it left behind
            pause = place.ended()
            if not self._asked:
                code = os.waitstatus_to_exitcode(status)
                _log.warning("worker_ended", index=place.index, status=code, again_in_seconds=pause)

    def _bear(self, place: _Place) -> bool:
        """Whether this is the child."""
        place.born_at = time.monotonic()
        if not CAN_FORK:
            place.pid = _command(place, self.lifeline)
            return False
        with _signals_held():  # one that is meant for the child must not be taken for ours
            place.pid = os.fork()
            if place.pid:
                _lead(place.pid)
            else:
                self._leave()
        return place.pid == 0

    def _leave(self) -> None:
        """In the child: be nobody's parent."""
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        for end in (self._writing, self._bell, self._ringing):
            os.close(end)


def _name(name: str | None, number: int) -> str | None:
    return f"{name}-{number + 1}" if name and number else name


def _command(place: _Place, lifeline: int) -> int:
    """The process id of a worker that imports everything itself."""
    named: Sequence[str] = ("--name", place.name) if place.name else ()
    command = [sys.executable, "-m", "app.cli", "worker", "--index", str(place.index), "--parent-fd", str(lifeline)]
    process = subprocess.Popen(  # noqa: S603 - our own program
        [*command, *named], stdin=subprocess.DEVNULL, pass_fds=(lifeline,), process_group=0
    )
    process.returncode = 0  # it is waited for by its id
    return process.pid


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _lead(pid: int) -> None:
    """Make it the leader of its group, as it does itself: who of both is first, nobody signals a group too early."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.setpgid(pid, pid)


def _send(pid: int | None, number: signal.Signals) -> None:
    if pid:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _send_group(pid: int | None, number: signal.Signals) -> None:
    if pid:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)
