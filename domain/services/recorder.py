"""The recorder of a worker: takes what all its runs report, commits it in groups and in order, then hints."""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from threading import Lock
from typing import Any

import structlog

from domain.errors import BookingsLost, Busy, NotRecorded, OwnershipLost, Unavailable
from domain.events import ExecutionEvent, OutputStreamed
from domain.model.identity import ExecutionId
from domain.model.journal import JournalEntry
from domain.model.ledger import LedgerEntry
from domain.model.texts import storable
from domain.ports import Change, Hints, Ownership, RunStore, approvals_topic, execution_topic, project_topic
from domain.ports.measuring import UNMEASURED, Measuring

GROUP_EVENTS = 1_000
"""About how many events go into one transaction."""

GATHER_SECONDS = 0.025
"""Reports that nobody waits for are committed at most so often: an eye sees no difference, the database does."""

LONGEST_TEXT = 16_000
"""Up to so many characters, pieces of a model's text that wait together become one event."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
_FLUSH_POLL = 0.01

_log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class _Entry:
    """A change on its way to the store, and who waits for its commit."""

    change: Change
    waiters: list[asyncio.Future[None]] = field(default_factory=list)


class EventRecorder:
    """Commits in groups what the runs of a worker report; one per worker, on its loop.

    A group is whatever gathered while the one before was being committed, so it grows with the load. All that one run
    reports keeps its order. While the store does not answer, nothing is lost and nothing is dropped: runs wait at
    their next `record`, and a model's text gathers in long events.

    Args:
        store: where to commit.
        hints: told after each commit, for each execution and project that has something new.
        on_lost: called with the ownership of a run whose report was refused: it must stop.
        measuring: told of each change that is written.
    """

    def __init__(
        self,
        store: RunStore,
        hints: Hints,
        on_lost: Callable[[Ownership], None] = lambda _: None,
        measuring: Measuring = UNMEASURED,
    ) -> None:
        self.on_lost = on_lost
        self._measuring = measuring
        self._store = store
        self._hints = hints
        self._lock = Lock()
        self._queue: deque[_Entry] = deque()
        self._open: dict[ExecutionId, _Entry] = {}
        self._is_signalled = False
        self._filled = asyncio.Event()
        self._urgent = asyncio.Event()
        self._closing = False
        self._last_commit = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._committing: Sequence[_Entry] = ()
        self._unbooked: dict[Ownership, BookingsLost] = {}
        self._publishing: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """How many changes are not committed yet."""
        return len(self._queue) + len(self._committing)

    def start(self) -> None:
        """Begin to commit, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._work(), name="recorder")
        if self._queue:
            self._filled.set()

    async def stop(self, timeout_seconds: float) -> None:
        """Commit what was reported so far, for at most so many seconds; what is left then is logged and lost."""
        self._closing = True
        self._filled.set()
        self._urgent.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=timeout_seconds)
            self._task.cancel()
        if self._publishing:
            await asyncio.wait(self._publishing, timeout=timeout_seconds)
        if lost := {entry.change.ownership for entry in (*self._committing, *self._queue)}:
            _log.error("reports_lost", executions=len(lost))

    async def flush(self, timeout_seconds: float) -> None:
        """Return when everything that was reported is committed, or after so many seconds."""
        self._urgent.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while self._queue or self._committing:  # noqa: ASYNC110 - threads fill the queue
                    await asyncio.sleep(_FLUSH_POLL)

    def sink(self, ownership: Ownership) -> "RecorderSink":
        """Where this run reports from any thread."""
        return RecorderSink(self, ownership)

    async def record(self, change: Change) -> None:
        """Commit the change, behind all that its run reported before.

        Raises:
            OwnershipLost: refused: the run is over or was taken over, or the execution is not `expected` any more.
            NotRecorded: the change cannot be stored.
            BookingsLost: ledger entries reported earlier could not be stored. Said once; a change that moves the
                execution is not written then, any other is.
        """
        waiter = asyncio.get_running_loop().create_future()
        with self._lock:
            entry = self._enter(change) if change.execution is None else self._add_entry(change)
            entry.waiters.append(waiter)
            self._signal()
        self._urgent.set()
        await waiter

    def announce(self, ownership: Ownership) -> None:
        """Hint that there is something new to read in this execution."""
        self._publish([ownership])

    def take(self, ownership: Ownership, event: ExecutionEvent, entry: LedgerEntry | None = None) -> None:
        """Take one report; the event is the recorder's from now on. Any thread may call; it never waits for I/O."""
        with self._lock:
            change = self._open_entry(ownership).change
            if not _merged(change.events, event):
                change.events.append(event)
            if entry is not None:
                change.ledger.append(entry)
            self._signal()

    def keep(self, ownership: Ownership, call: JournalEntry) -> None:
        """Take a finished call for the journal. Any thread may call; it never waits for I/O."""
        with self._lock:
            self._open_entry(ownership).change.journal.append(call)
            self._signal()

    # Under the lock: the queue, and for each execution the entry that may still grow.

    def _open_entry(self, ownership: Ownership) -> _Entry:
        entry = self._open.get(ownership.execution_id)
        is_usable = entry and entry.change.ownership == ownership and len(entry.change.events) < GROUP_EVENTS
        if entry is None or not is_usable:
            entry = self._open[ownership.execution_id] = self._add_entry(Change(ownership))
        return entry

    def _add_entry(self, change: Change) -> _Entry:
        # A change that moves the execution stands alone: it may be refused although the run still owns it.
        self._open.pop(change.ownership.execution_id, None)
        entry = _Entry(change)
        self._queue.append(entry)
        return entry

    def _enter(self, change: Change) -> _Entry:
        entry = self._open_entry(change.ownership)
        entry.change.events += change.events
        entry.change.task_executions += change.task_executions
        entry.change.ledger += change.ledger
        entry.change.journal += change.journal
        entry.change.approvals += change.approvals
        entry.change.passes += change.passes
        return entry

    def _signal(self) -> None:
        if self._is_signalled or self._loop is None:
            return
        self._is_signalled = True
        with suppress(RuntimeError):  # the loop is closed: an abandoned thread still reports
            self._loop.call_soon_threadsafe(self._filled.set)

    def _next_group(self) -> list[_Entry]:
        group: list[_Entry] = []
        with self._lock:
            size = 0
            while self._queue and size < GROUP_EVENTS:
                entry = self._queue.popleft()
                if self._open.get(entry.change.ownership.execution_id) is entry:
                    del self._open[entry.change.ownership.execution_id]
                size += len(entry.change.events) + len(entry.change.journal)
                group.append(entry)
            self._committing = group
            if not self._queue:
                self._is_signalled = False
                self._filled.clear()
                self._urgent.clear()
        return group

    def _put_back(self, entries: Sequence[_Entry]) -> None:
        with self._lock:
            self._queue.extendleft(reversed(entries))
            self._signal()

    # The loop that commits.

    async def _work(self) -> None:
        while self._queue or not self._closing:
            await self._filled.wait()
            await self._gather()
            group = self._next_group()
            if group:
                await self._commit(group)
                self._committing = ()

    async def _gather(self) -> None:
        """Close behind the last commit, wait a moment for more, unless somebody waits for a commit."""
        pause = self._last_commit + GATHER_SECONDS - asyncio.get_running_loop().time()
        if pause > 0 and not self._closing:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._urgent.wait()

    async def _commit(self, group: Sequence[_Entry]) -> None:
        group = [entry for entry in group if not self._is_stopped(entry)]
        if not group:
            return
        try:
            accepted = await self._written(group)
        except Exception as error:  # noqa: BLE001 - the runs hear of it; the recorder must live on
            await self._commit_singly(group, error)
        else:
            self._settle(group, accepted)
        self._last_commit = asyncio.get_running_loop().time()

    async def _written(self, group: Sequence[_Entry]) -> Sequence[bool]:
        """What became of each change; tries again for as long as the store does not answer."""
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self._store.commit([entry.change for entry in group])
            except Busy:
                raise
            except Unavailable as error:
                _log.warning("store_unavailable", error=str(error), retry_seconds=pause)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries, guards nothing
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _commit_singly(self, group: Sequence[_Entry], error: Exception) -> None:
        """One of the changes cannot be stored now, or ever: the others must not suffer."""
        # The text of the error is not logged: it quotes the value, which a model may have written.
        _log.warning("group_not_storable", error=type(error).__name__, changes=len(group))
        held: dict[ExecutionId, list[_Entry]] = {}
        for entry in group:
            execution_id = entry.change.ownership.execution_id
            if execution_id in held:
                held[execution_id].append(entry)
            elif not self._is_stopped(entry):
                try:
                    await self._commit_alone(entry)
                except Busy:
                    held[execution_id] = [entry]
        self._put_back([entry for entries in held.values() for entry in entries])

    async def _commit_alone(self, entry: _Entry) -> None:
        try:
            accepted = await self._written([entry])
        except Busy:
            raise
        except Exception:  # noqa: BLE001 - tried once more without what PostgreSQL cannot store
            await self._commit_cleaned(entry)
        else:
            self._settle([entry], accepted)

    async def _commit_cleaned(self, entry: _Entry) -> None:
        _clean(entry.change)
        try:
            accepted = await self._written([entry])
        except Busy:
            raise
        except Exception as error:  # noqa: BLE001 - told to whoever waits, and logged
            self._drop(entry, type(error).__name__)
        else:
            self._settle([entry], accepted)

    def _drop(self, entry: _Entry, cause: str) -> None:
        owner, entries = entry.change.ownership, len(entry.change.ledger)
        _log.error(
            "change_not_storable", execution_id=str(owner.execution_id), error=cause, lost_ledger_entries=entries
        )
        if entries and not entry.waiters:
            self._unbooked[owner] = BookingsLost(cause)
        _fail(entry, NotRecorded(cause))

    def _is_stopped(self, entry: _Entry) -> bool:
        """Whether the entry is an end that must not stand, for the run does not know yet what it lost."""
        if entry.change.execution is None or (lost := self._unbooked.pop(entry.change.ownership, None)) is None:
            return False
        _fail(entry, lost)
        return True

    def _settle(self, group: Sequence[_Entry], accepted: Sequence[bool]) -> None:
        changed: dict[Ownership, None] = {}
        asking: list[Ownership] = []
        for entry, is_accepted in zip(group, accepted, strict=True):
            self._measuring.committed(entry.change, is_accepted=is_accepted)
            if is_accepted:
                changed[entry.change.ownership] = None
                asking += [entry.change.ownership] * bool(entry.change.approvals)
                self._succeed(entry)
            else:
                self._refuse(entry)
        self._publish(list(changed), asking)

    def _succeed(self, entry: _Entry) -> None:
        if entry.waiters and (lost := self._unbooked.pop(entry.change.ownership, None)):
            _fail(entry, lost)
        for waiter in entry.waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _refuse(self, entry: _Entry) -> None:
        _fail(entry, OwnershipLost())
        if entry.change.execution is None:
            self.on_lost(entry.change.ownership)

    def _publish(self, changed: Sequence[Ownership], asking: Sequence[Ownership] = ()) -> None:
        topics = [execution_topic(owner.execution_id) for owner in changed]
        topics += {project_topic(owner.project_id): None for owner in changed}
        topics += {approvals_topic(owner.tenant_id): None for owner in asking}
        if topics:
            self._start(self._hints.publish(topics))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        # Not awaited: a slow transport of hints must not hold up the commits.
        task = asyncio.ensure_future(work)
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)


class RecorderSink:
    """The RunSink of one run: see `domain.ports.RunSink`."""

    def __init__(self, recorder: EventRecorder, ownership: Ownership) -> None:
        self._recorder = recorder
        self._ownership = ownership

    def emit(self, event: ExecutionEvent) -> None:
        self._recorder.take(self._ownership, event)

    def book(self, entry: LedgerEntry, event: ExecutionEvent) -> None:
        self._recorder.take(self._ownership, event, entry)

    def journal(self, entry: JournalEntry) -> None:
        self._recorder.keep(self._ownership, entry)

    async def keep(self, entry: JournalEntry) -> None:
        await self._recorder.record(Change(self._ownership, journal=[entry]))

    async def settle(self, entry: LedgerEntry, event: ExecutionEvent, journal: JournalEntry | None = None) -> None:
        kept = [journal] if journal else []
        await self._recorder.record(Change(self._ownership, [event], [], [entry], journal=kept))


def _merged(events: Sequence[ExecutionEvent], event: ExecutionEvent) -> bool:
    """Whether the event was appended to the text of the last one: the same model call is still writing."""
    last = events[-1] if events else None
    if not (isinstance(event, OutputStreamed) and isinstance(last, OutputStreamed)):
        return False
    if (last.task_execution_id, last.call) != (event.task_execution_id, event.call) or len(last.text) > LONGEST_TEXT:
        return False
    last.text += event.text
    return True


def _fail(entry: _Entry, error: Exception) -> None:
    for waiter in entry.waiters:
        if not waiter.done():
            waiter.set_exception(error)


def _clean(change: Change) -> None:
    """Replace what PostgreSQL cannot store in a text: U+0000 and lone surrogates, which models do write."""
    for call in change.journal:
        call.answer = _cleaned(call.answer)
    things: list[Any] = [*change.events, *change.task_executions, *change.ledger, *change.approvals, *change.passes]
    for thing in [*things, change.execution] if change.execution else things:
        for item in fields(thing):
            value = getattr(thing, item.name)
            if isinstance(value, str):
                setattr(thing, item.name, storable(value))


def _cleaned(value: Any) -> Any:
    """The same document with storable texts."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {name: _cleaned(item) for name, item in value.items()}
    return [_cleaned(item) for item in value] if isinstance(value, list) else value
