"""One attempt at a task as its threads see it: the way to the model, the way to the journal, and the end of both."""

import asyncio
import json
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Any, Final

from domain.events import ExecutionEvent, ToolCalled, ToolReturned
from domain.model.identity import ToolId
from domain.model.tool import Tool
from domain.ports import ModelAnswer, ModelGateway, ModelRequest, RunSink, TaskWork, ToolSecret

SHOWN_CHARACTERS: Final = 2_000

_CURRENT: ContextVar["TaskSession"] = ContextVar("regatta_task_session")


class WorkAbandoned(BaseException):
    """The work was cancelled or timed out: unwinds the thread. No Exception, lest CrewAI recover from it."""


class TaskSession:
    """Bridges the threads of one attempt to the worker's loop; `abandon` ends it for all of them."""

    def __init__(self, work: TaskWork, sink: RunSink, gateway: ModelGateway, loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self._sink = sink
        self._gateway = gateway
        self._loop = loop
        self.secrets: Mapping[ToolId, ToolSecret] = {}
        self._lock = Lock()
        self._waiting: set[Future[Any]] = set()
        self._running: set[asyncio.Task[Any]] = set()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Makes this the session of everything that the calling context starts, threads of CrewAI included."""
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)

    def ask(self, request: ModelRequest) -> ModelAnswer:
        """Call the model from a thread, and wait. Raises RunFailed, WorkAbandoned."""
        future = asyncio.run_coroutine_threadsafe(self._call(request), self._loop)
        with self._lock:
            self._waiting.add(future)
        if self.work.is_abandoned:  # looked at behind the registration, so that `abandon` cannot miss it
            future.cancel()
        try:
            return future.result()
        except CancelledError:
            raise WorkAbandoned from None
        finally:
            with self._lock:
                self._waiting.discard(future)

    def check(self) -> None:
        """Raises WorkAbandoned when nobody waits for this work any more."""
        if self.work.is_abandoned:
            raise WorkAbandoned

    def secret_of(self, tool: Tool) -> ToolSecret | None:
        """What the tool sends to its server; None where there is nothing for the address that it has in this run."""
        secret = self.secrets.get(tool.id)
        return secret if secret and secret.url == tool.configuration.get("url") else None

    def tool_called(self, tool: str, arguments: Mapping[str, Any]) -> None:
        self._emit(ToolCalled(**self._envelope, tool=tool, arguments=shortened(to_json(arguments))))

    def tool_returned(self, tool: str, output: str, *, is_error: bool) -> None:
        self._emit(ToolReturned(**self._envelope, tool=tool, output=shortened(output), is_error=is_error))

    def abandon(self) -> None:
        """Close the model calls in flight; from now on the work makes none, and emits nothing."""
        self.work.is_abandoned = True
        with self._lock:
            waiting = tuple(self._waiting)
        for future in waiting:
            future.cancel()

    async def closed(self, seconds: float) -> None:
        """Return when the abandoned calls are booked, or after so many seconds."""
        await asyncio.sleep(0)  # the loop learns of `abandon` one turn later
        if running := tuple(self._running):
            await asyncio.wait(running, timeout=seconds)

    async def _call(self, request: ModelRequest) -> ModelAnswer:
        task = asyncio.current_task()
        if task is None:  # cannot be: a coroutine always runs in a task
            raise asyncio.CancelledError
        self._running.add(task)
        try:
            call: Coroutine[Any, Any, ModelAnswer] = self._gateway.call(self.work, request, self._sink)
            return await call
        finally:
            self._running.discard(task)

    def _emit(self, event: ExecutionEvent) -> None:
        self.check()
        self._sink.emit(event)

    @property
    def _envelope(self) -> dict[str, Any]:
        return {
            "tenant_id": self.work.ownership.tenant_id,
            "execution_id": self.work.ownership.execution_id,
            "task_execution_id": self.work.task_execution_id,
            "role_id": self.work.role_id,
        }


def current_session() -> TaskSession:
    """The session of the calling context; raises LookupError outside of one."""
    return _CURRENT.get()


def in_session() -> bool:
    """Whether the calling context belongs to an attempt at a task of ours."""
    return _CURRENT.get(None) is not None


def to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def shortened(text: str) -> str:
    """The text as an event shows it."""
    # PostgreSQL stores no U+0000, and no tool promises to avoid it.
    text = text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
