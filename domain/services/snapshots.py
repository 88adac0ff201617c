"""Following what can be read as a whole: one store reader per thing and process, shared by all who follow it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import Context
from datetime import timedelta
from typing import Any, Generic, TypeVar, cast
from uuid import UUID

import structlog

from domain.errors import Unavailable
from domain.model.approval import Approval, ApprovalStatus
from domain.model.execution import Execution, TaskExecution
from domain.model.identity import ExecutionId, TenantId, utc_now
from domain.model.progress import ExecutionProgress, progress_of
from domain.ports import Hints, Listener, Reader, approvals_topic, execution_topic, project_topic
from domain.services.feed import PATIENCE_SECONDS

INTERVAL_SECONDS = 0.1
"""However often it is hinted, a thing is not read more often; the last state is told so much later, at most."""

RECENT = timedelta(seconds=60)
"""How long an execution that ended still counts as activity: longer than any lost hint takes to be noticed."""

ACTIVITY_LIMIT = 1_000
"""So many executions of a project are followed: all that ended just now, then the newest that are under way.

Of a project with more under way, the older ones are told of when they end.
"""

MESSAGE_SIZE = 100
"""The most executions in one message."""

_READ_PAUSE = 0.5

T = TypeVar("T")
Activity = Sequence[tuple[Execution, int]]

_log = structlog.get_logger(__name__)


class Snapshots:
    """The live snapshots of one process. `patience_seconds` is how long a lost hint may go unnoticed."""

    def __init__(
        self,
        reader: Reader,
        hints: Hints,
        patience_seconds: float = PATIENCE_SECONDS,
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        self._reader = reader
        self._hints = hints
        self._patience_seconds = patience_seconds
        self._interval_seconds = interval_seconds
        self._shared: dict[Hashable, _Shared[Any]] = {}

    @property
    def followed(self) -> int:
        """How many things have subscribers."""
        return len(self._shared)

    async def progress(self, tenant_id: TenantId, execution_id: ExecutionId) -> AsyncGenerator[ExecutionProgress, None]:
        """How far the execution is, now and on every change; ends after the final state, or if there is none.

        While the store does not answer it waits.
        """

        async def read() -> ExecutionProgress | None:
            return await self._progress(tenant_id, execution_id)

        last: object = None
        with self.joined((tenant_id, execution_id), execution_topic(execution_id), read) as shared:
            version = 0
            while True:
                version, progress = await shared.newer(version)
                if progress is None:
                    return
                told = _told(progress)
                if told != last:
                    yield progress
                last = told
                if progress.execution.is_final:
                    return

    async def activity(self, tenant_id: TenantId, project_id: UUID) -> AsyncGenerator[Sequence[Execution], None]:
        """The project's executions under way, in at least one message; then those that changed, without end.

        While the store does not answer it waits. See `ACTIVITY_LIMIT`.
        """

        async def read() -> Activity:
            return await self._reader.activity(tenant_id, project_id, utc_now() - RECENT, ACTIVITY_LIMIT)

        with self.joined((tenant_id, project_id), project_topic(project_id), read) as shared:
            version, rows = await shared.newer(0)
            known = _sequences(rows)
            under_way = [execution for execution, _ in rows if not execution.is_final]
            for start in range(0, max(1, len(under_way)), MESSAGE_SIZE):
                yield under_way[start : start + MESSAGE_SIZE]
            while True:
                version, rows = await shared.newer(version)
                changed = [execution for execution, last in rows if known.get(execution.id) != last]
                lost = {execution.id for execution in under_way} - _sequences(rows).keys()
                changed += [it for it in await self.lost(Execution, tenant_id, lost) if it.is_final]
                known = _sequences(rows)
                under_way = [execution for execution, _ in rows if not execution.is_final]
                for start in range(0, len(changed), MESSAGE_SIZE):
                    yield changed[start : start + MESSAGE_SIZE]

    async def approvals(
        self, tenant_id: TenantId, is_wanted: Callable[[Approval], bool]
    ) -> AsyncGenerator[Sequence[Approval], None]:
        """The tenant's open approvals that are wanted, in at least one message; then those that came or were decided.

        Without end. While the store does not answer it waits. Of more than `ACTIVITY_LIMIT` the oldest are left out.
        """

        async def read() -> Sequence[Approval]:
            return await self._reader.approval_activity(tenant_id, utc_now() - RECENT, ACTIVITY_LIMIT)

        with self.joined((tenant_id, "approvals"), approvals_topic(tenant_id), read) as shared:
            version, rows = await shared.newer(0)
            known = {approval.id: approval.status for approval in rows}
            is_open = [approval for approval in rows if approval.is_open and is_wanted(approval)]
            for start in range(0, max(1, len(is_open)), MESSAGE_SIZE):
                yield is_open[start : start + MESSAGE_SIZE]
            while True:
                version, rows = await shared.newer(version)
                lost = {it for it, status in known.items() if status is ApprovalStatus.PENDING} - {it.id for it in rows}
                decided = [it for it in await self.lost(Approval, tenant_id, lost) if not it.is_open]
                changed = [it for it in (*rows, *decided) if known.get(it.id) is not it.status and is_wanted(it)]
                known = {approval.id: approval.status for approval in rows}
                for start in range(0, len(changed), MESSAGE_SIZE):
                    yield changed[start : start + MESSAGE_SIZE]

    async def lost(self, kind: type[T], tenant_id: TenantId, ids: Collection[UUID]) -> Sequence[T]:
        """What was open when this subscriber last read, and is neither that nor `RECENT` any more.

        A client that takes its messages late, or a store that does not answer, makes more than that of a moment.
        """
        if not ids:
            return ()
        found, _ = await _patiently(lambda: self._reader.by_ids(kind, tenant_id, list(ids)), kind.__name__)
        return list(found.values())

    async def _progress(self, tenant_id: TenantId, execution_id: ExecutionId) -> ExecutionProgress | None:
        """The execution is read first: once it is final, so is everything that is read after it."""
        execution = (await self._reader.by_ids(Execution, tenant_id, [execution_id])).get(execution_id)
        if execution is None:
            return None
        order = ("position", "id")
        found = await self._reader.children(TaskExecution, tenant_id, "execution_id", [execution_id], order)
        tasks = found.get(execution_id, ())
        usage = await self._reader.usage(tenant_id, "task_execution_id", [task.id for task in tasks])
        return progress_of(execution, tasks, usage, utc_now())

    @contextmanager
    def joined(self, key: Hashable, topic: str, read: Callable[[], Awaitable[T]]) -> "Iterator[_Shared[T]]":
        """What is shared by all who follow the same; it ends with the last of them."""
        if key not in self._shared:
            self._shared[key] = _Shared(self._hints, topic, read, self._patience_seconds, self._interval_seconds)
        shared: _Shared[T] = self._shared[key]
        shared.subscribers += 1
        try:
            yield shared
        finally:
            shared.subscribers -= 1
            if not shared.subscribers:
                del self._shared[key]
                shared.close()


def _told(progress: ExecutionProgress) -> object:
    """What makes a snapshot worth sending: everything but the passing of time."""
    execution = progress.execution
    is_pausing = execution.pause_requested_at is not None
    return execution.status, is_pausing, progress.roles, progress.done_tasks, progress.total_tokens


def _sequences(rows: Activity) -> Mapping[UUID, int]:
    return {execution.id: last for execution, last in rows}


class _Shared(Generic[T]):
    """The newest snapshot of one thing. It reads on only while somebody waits, one read for all who wait."""

    def __init__(
        self,
        hints: Hints,
        topic: str,
        read: Callable[[], Awaitable[T]],
        patience_seconds: float,
        interval_seconds: float,
    ) -> None:
        self.subscribers = 0
        self._topic = topic
        self._read = read
        self._patience_seconds = patience_seconds
        self._interval_seconds = interval_seconds
        self._version = 0
        self._latest: T | None = None
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._stack = ExitStack()
        # Listening before the first read: what is committed in between is hinted, not missed.
        self._listener: Listener = self._stack.enter_context(hints.listen(topic))

    def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        self._stack.close()

    async def newer(self, version: int) -> tuple[int, T]:
        """The snapshot behind this version, with its own; behind 0 one that is at most an interval old."""
        if version == 0:
            await self._read_since(_now() - self._interval_seconds)
        while self._version <= version:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._wait_and_read(), context=Context())  # nobody's request
            await asyncio.shield(self._reading)
        return self._version, cast("T", self._latest)

    async def _wait_and_read(self) -> None:
        await self._listener.wait(self._patience_seconds)
        noticed = _now()
        await asyncio.sleep(max(0.0, self._read_at + self._interval_seconds - noticed))
        await self._read_since(noticed)

    async def _read_since(self, moment: float) -> None:
        """Read, unless somebody did who began after the moment; not at it: the clock of the loop goes in steps."""
        async with self._lock:
            if self._read_at > moment:
                return
            self._latest, self._read_at = await _patiently(self._read, self._topic)
            self._version += 1


async def _patiently(read: Callable[[], Awaitable[T]], what: str) -> tuple[T, float]:
    """What is read, however long the store does not answer, and when that began."""
    while True:
        began = _now()
        try:
            return await read(), began
        except Unavailable as error:
            _log.warning("snapshot_not_readable", what=what, error=repr(error))
            await asyncio.sleep(_READ_PAUSE)


def _now() -> float:
    return asyncio.get_running_loop().time()
