"""Where the model calls of a generation report: they are booked at once, and how much was written is counted."""

import asyncio
from typing import Final

import structlog

from domain.errors import OwnershipLost, Unavailable
from domain.events import ExecutionEvent, OutputStreamed, RoutingDecided
from domain.model.journal import JournalEntry
from domain.model.ledger import CallOutcome, LedgerEntry
from domain.ports.generations import GenerationOwnership, GenerationStore
from domain.ports.measuring import UNMEASURED, Measuring

_STORE_PAUSE: Final = 0.25

_log = structlog.get_logger(__name__)


class GenerationSink:
    """The RunSink of a generation. Its events go nowhere: there is no execution whose log they could be part of.

    `asked` is the model that is being called, for the `attempts`-th time of all, `model` the one that answered last,
    `characters` what it wrote so far.
    """

    def __init__(self, store: GenerationStore, owner: GenerationOwnership, measuring: Measuring = UNMEASURED) -> None:
        self._store = store
        self._measuring = measuring
        self._owner = owner
        self._booking: set[asyncio.Task[bool]] = set()
        self.asked: str | None = None
        self.model: str | None = None
        self.characters = 0
        self.attempts = 0

    def emit(self, event: ExecutionEvent) -> None:
        if isinstance(event, RoutingDecided):
            self.asked, self.characters = event.decision.model, 0
            self.attempts += 1
        elif isinstance(event, OutputStreamed):
            self.characters += len(event.text)

    def book(self, entry: LedgerEntry, event: ExecutionEvent) -> None:  # noqa: ARG002 - as the port says
        self._begin(entry, None)

    async def settle(self, entry: LedgerEntry, event: ExecutionEvent, journal: JournalEntry | None = None) -> None:  # noqa: ARG002 - same
        # Whoever waits may be cancelled meanwhile; what was paid is booked all the same.
        if not await asyncio.shield(self._begin(entry, journal)):
            raise OwnershipLost
        if entry.outcome is CallOutcome.SUCCEEDED:
            self.model = entry.model

    def journal(self, entry: JournalEntry) -> None:
        raise NotImplementedError("a generation calls models only, and settles each call")

    async def keep(self, entry: JournalEntry) -> None:
        raise NotImplementedError("a generation calls models only, and settles each call")

    async def flush(self, seconds: float) -> None:
        """Return when all is booked, or after so many seconds; the rest counts as lost when its time is over."""
        if self._booking:
            await asyncio.wait(tuple(self._booking), timeout=seconds)
        for task in tuple(self._booking):
            task.cancel()

    def _begin(self, entry: LedgerEntry, journal: JournalEntry | None) -> "asyncio.Task[bool]":
        task = asyncio.create_task(self._settled(entry, journal))
        self._booking.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: "asyncio.Task[bool]") -> None:
        self._booking.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.error("generation_booking_failed", generation=str(self._owner.generation_id), exc_info=error)

    async def _settled(self, entry: LedgerEntry, journal: JournalEntry | None) -> bool:
        """Whether the claim still held."""
        while True:
            try:
                is_held = await self._store.settle(self._owner, entry, journal)
            except Unavailable as error:
                _log.warning("generation_booking_postponed", error=str(error))
                await asyncio.sleep(_STORE_PAUSE)
            else:
                self._measuring.booked(entry)
                return is_held
