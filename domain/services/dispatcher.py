"""The dispatcher of a worker: takes from the queue what there is a place for, starts it, gives back what it lost."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from domain.errors import FailureCode, RunFailed
from domain.model.identity import AdmissionId
from domain.ports import WAITING, AdmissionKey, Admissions, Hints, RunStore

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DispatchRules:
    """How a dispatcher works: its places, the most places of all workers together (None: no limit); times in seconds.

    It looks for work after a hint and after each end of a run; without either after `busy_seconds`, and the longer
    nothing comes the later, up to `idle_seconds`. Every `check_seconds` it compares what it was given with what runs
    here. What was started and has not begun after `start_seconds` never will.
    """

    places: int
    most: int | None = None
    busy_seconds: float = 0.25
    idle_seconds: float = 1.0
    check_seconds: float = 10.0
    start_seconds: float = 30.0
    stop_seconds: float = 5.0


class HandOver:
    """Lets what a worker has go on elsewhere; safe to call at any time, by several workers at once."""

    def __init__(self, admissions: Admissions, store: RunStore, hints: Hints) -> None:
        self._admissions = admissions
        self._store = store
        self._hints = hints

    async def __call__(self, worker_id: str, only: Sequence[AdmissionId] | None = None) -> bool:
        """Take all places of the worker, or only these; what is being cancelled is ended.

        Whether nothing is left: somebody may hold an execution just now, then another try is needed.
        """
        released = await self._admissions.release(worker_id, only)
        if released.waiting:
            await self._hints.publish([WAITING])
        for tenant_id, execution_id in released.cancelling:
            lost = RunFailed(FailureCode.WORKER_LOST, "The worker was lost while the execution was being cancelled.")
            await self._store.give_up(tenant_id, execution_id, lost)
        return not released.held


class Dispatcher:
    """Fills the places of one worker.

    `carry_out` runs an execution to the end; `may_take` says whether the machine has the strength for more. A worker
    without anything to do takes something in any case: a machine that is busy with other things must not starve the
    queue.
    """

    def __init__(
        self,
        worker_id: str,
        admissions: Admissions,
        hand_over: HandOver,
        carry_out: Callable[[AdmissionKey], Awaitable[None]],
        rules: DispatchRules,
        may_take: Callable[[], bool] = lambda: True,
    ) -> None:
        self.worker_id = worker_id
        self.rules = rules
        self._admissions = admissions
        self._hand_over = hand_over
        self._carry_out = carry_out
        self._may_take = may_take
        self._starting: dict[AdmissionId, float] = {}
        self._running: set[AdmissionId] = set()
        self._bell = asyncio.Event()
        self._over = asyncio.Event()
        self._is_stopping = False
        self._checked_at = float("-inf")

    @property
    def active(self) -> int:
        """How many places are in use."""
        return len(self._starting) + len(self._running)

    @property
    def is_taking(self) -> bool:
        """Whether a free place would be filled now."""
        return not self._is_stopping and (not self.active or self._may_take())

    def ring(self) -> None:
        """Look for work now. On the worker's loop only."""
        self._bell.set()

    async def carry_out(self, key: AdmissionKey) -> None:
        """What a start comes to, sooner or later; returns at the end of the run, and frees its place."""
        self._starting.pop(key.id, None)
        self._running.add(key.id)
        try:
            await self._carry_out(key)
        except Exception:
            self._checked_at = float("-inf")  # nobody knows whether it gave its place back
            raise
        finally:
            self._running.discard(key.id)
            self.ring()

    async def work(self, start: Callable[[AdmissionKey], Awaitable[None]]) -> None:
        """Fill the places until `stop`; `start` sees to it that `carry_out` is called, and returns before it is."""
        pause = self.rules.busy_seconds
        try:
            while not self._is_stopping:
                self._bell.clear()
                taken = await self._round(start)
                pause = self.rules.busy_seconds if taken else min(2 * pause, self.rules.idle_seconds)
                await self._rest(pause)
        finally:
            self._over.set()

    async def stop(self) -> None:
        """Take nothing more. What is being taken is taken first: a statement that is given up may still be at work."""
        self._is_stopping = True
        self.ring()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), self.rules.stop_seconds)

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._bell.wait(), seconds)

    async def _round(self, start: Callable[[AdmissionKey], Awaitable[None]]) -> int:
        """How many were taken."""
        try:
            if time.monotonic() - self._checked_at >= self.rules.check_seconds:
                await self._check()
            return await self._fill(start)
        except Exception as error:  # noqa: BLE001 - the database may be away for a while; a worker outlives that
            _log.warning("dispatch_failed", worker=self.worker_id, error=repr(error))
            self._checked_at = float("-inf")  # what was given to us may not have arrived
            return 0

    async def _fill(self, start: Callable[[AdmissionKey], Awaitable[None]]) -> int:
        places = self.rules.places - self.active
        if places < 1 or not self.is_taking:
            return 0
        places = places if self._may_take() else 1  # something, for it has nothing to do, but no more
        keys = await self._admissions.admit(self.worker_id, places, self.rules.most)
        await asyncio.gather(*(self._begin(key, start) for key in keys))
        return len(keys)

    async def _begin(self, key: AdmissionKey, start: Callable[[AdmissionKey], Awaitable[None]]) -> None:
        self._starting[key.id] = time.monotonic()
        try:
            await start(key)
        except Exception as error:  # noqa: BLE001 - whatever it is: the execution is not to pay for it
            _log.warning("start_failed", execution_id=str(key.execution_id), error=repr(error))
            self._starting.pop(key.id, None)
            # Another start under the same id may count as a repetition of this one; under a new id it does not.
            await self._hand_over(self.worker_id, [key.id])

    async def _check(self) -> None:
        """Give back what we were given and do not run: an answer or an end was lost on its way."""
        self._checked_at = time.monotonic()  # now, not at the end: an end that is lost meanwhile asks for another look
        held = {key.id for key in await self._admissions.held_by(self.worker_id)}
        overdue = time.monotonic() - self.rules.start_seconds
        for identifier in [each for each, began in self._starting.items() if began < overdue]:
            del self._starting[identifier]
        if astray := held - self._here():
            _log.warning("places_given_back", worker=self.worker_id, count=len(astray))
            await self._hand_over(self.worker_id, list(astray))

    def _here(self) -> set[AdmissionId]:
        return self._running | self._starting.keys()
