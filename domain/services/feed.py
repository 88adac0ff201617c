"""Following executions live: one store reader per execution and process, a cursor per subscriber, no queues."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import ExitStack
from contextvars import Context
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import structlog

from domain.errors import Invalid, Unavailable
from domain.events import TERMINAL, ExecutionEvent
from domain.model.execution import Execution
from domain.model.identity import ExecutionId, TenantId
from domain.ports import Hints, Listener, Reader, execution_topic

PAGE = 500
"""Events per batch and per read, at most."""

RING = 2_000
"""So many of the newest events are kept for all subscribers of an execution; who is further behind reads the store."""

PATIENCE_SECONDS = 1.0
"""A lost hint costs so much, at most."""

_READ_PAUSE = 0.5

T = TypeVar("T")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Batch:
    """Events in order, and the sequence of the last one: what to give as `after` to go on behind it."""

    events: Sequence[ExecutionEvent]
    cursor: int


class ExecutionFeeds:
    """The live feeds of one process. `patience_seconds` is how long a lost hint may go unnoticed."""

    def __init__(self, reader: Reader, hints: Hints, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._reader = reader
        self._hints = hints
        self._patience_seconds = patience_seconds
        self._feeds: dict[tuple[TenantId, ExecutionId], _Feed] = {}

    @property
    def followed(self) -> int:
        """How many executions have subscribers."""
        return len(self._feeds)

    async def follow(self, tenant_id: TenantId, execution_id: ExecutionId, after: int) -> AsyncGenerator[Batch, None]:
        """What is stored behind `after`, then what happens, until the execution is over; nothing twice, no gap.

        Ends at once when there is no such execution, or when it is over and has nothing behind `after`, as when it is
        archived: then what is left of its events, mostly none, comes before the end. While the
        store does not answer it waits. Raises Invalid for a cursor that is ahead of the execution, and whatever the
        store raises for what it cannot read.
        """
        feed = self._join(tenant_id, execution_id)
        cursor = after
        try:
            await feed.check(after)
            while events := await feed.behind(cursor):
                cursor = events[-1].sequence
                yield Batch(events, cursor)
                if isinstance(events[-1], TERMINAL):
                    return
        finally:
            self._leave(feed)

    def _join(self, tenant_id: TenantId, execution_id: ExecutionId) -> "_Feed":
        feed = self._feeds.get((tenant_id, execution_id))
        if feed is None:
            feed = _Feed(self._reader, self._hints, self._patience_seconds, tenant_id, execution_id)
            self._feeds[tenant_id, execution_id] = feed
        feed.subscribers += 1
        return feed

    def _leave(self, feed: "_Feed") -> None:
        feed.subscribers -= 1
        if not feed.subscribers:
            del self._feeds[feed.tenant_id, feed.execution_id]
            feed.close()


class _Feed:
    """The newest events of one execution, read once for all who follow it.

    It reads on only while somebody waits at its head, one read for all who wait.
    """

    def __init__(
        self, reader: Reader, hints: Hints, patience_seconds: float, tenant_id: TenantId, execution_id: ExecutionId
    ) -> None:
        self.tenant_id = tenant_id
        self.execution_id = execution_id
        self.subscribers = 0
        self._reader = reader
        self._patience_seconds = patience_seconds
        self._ring: deque[ExecutionEvent] = deque(maxlen=RING)
        self._head: int | None = None
        self._is_over = False
        self._has_more = False
        self._reading: asyncio.Task[None] | None = None
        self._stack = ExitStack()
        # Listening before the first read: what is committed in between is hinted, not missed.
        self._listener: Listener = self._stack.enter_context(hints.listen(execution_topic(execution_id)))

    def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        self._stack.close()

    async def behind(self, cursor: int) -> Sequence[ExecutionEvent]:
        """The next events behind the cursor, at least one; none when the execution is over."""
        while True:
            if self._head is None or cursor < self._start:
                events = await self._stored(cursor)
                if events or await self._ends_at(cursor):
                    return events
            else:
                events = self._held(cursor)
                if events or self._is_over:
                    return events
                await self._read_on()

    @property
    def _start(self) -> int:
        """The sequence behind which the ring has everything."""
        return self._ring[0].sequence - 1 if self._ring else self._head or 0

    def _held(self, cursor: int) -> Sequence[ExecutionEvent]:
        first = cursor - self._start  # sequences have no gaps
        return list(islice(self._ring, first, first + PAGE))

    async def check(self, cursor: int) -> None:
        """Raises Invalid for a cursor that is ahead of the execution; what is archived had more than is stored now."""
        if not cursor or await self._stored(cursor - 1, 1):
            return
        execution = await self._execution()
        if execution is None or execution.archived_at is None:
            raise Invalid.at("This cursor is ahead of the execution.", "after")

    async def _ends_at(self, cursor: int) -> bool:
        """Whether nothing will come behind the cursor; else the ring begins there."""
        execution = await self._execution()
        if execution is None:
            return True
        if execution.is_final:  # it may have ended between the two reads
            return not await self._stored(cursor)
        if self._head is None:
            self._head = cursor
        return False

    async def _execution(self) -> Execution | None:
        found = await self._patiently(lambda: self._reader.by_ids(Execution, self.tenant_id, [self.execution_id]))
        return found.get(self.execution_id)

    async def _read_on(self) -> None:
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._wait_and_read(), context=Context())  # nobody's request
        await asyncio.shield(self._reading)

    async def _wait_and_read(self) -> None:
        if not self._has_more:
            await self._listener.wait(self._patience_seconds)
        events = await self._stored(self._head or 0)
        self._has_more = len(events) == PAGE
        if events:
            self._ring.extend(events)
            self._head = events[-1].sequence
            self._is_over = isinstance(events[-1], TERMINAL)

    async def _stored(self, cursor: int, limit: int = PAGE) -> Sequence[ExecutionEvent]:
        return await self._patiently(lambda: self._reader.events(self.tenant_id, self.execution_id, cursor, limit))

    async def _patiently(self, read: Callable[[], Awaitable[T]]) -> T:
        """What is read, however long the store does not answer: a subscriber outlives a restart of the database.

        Anything else that goes wrong would go wrong again: it ends each subscription that needs the read.
        """
        while True:
            try:
                return await read()
            except Unavailable as error:
                _log.warning("events_not_readable", execution_id=str(self.execution_id), error=repr(error))
                await asyncio.sleep(_READ_PAUSE)
