"""One attempt at a task as its threads see it: the way to the model, the way to the journal, and the end of both."""

import asyncio
import json
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final, TypeVar

from domain.errors import AnswerAwaited, FailureCode, OwnershipLost, Paused, RegattaError, RunFailed
from domain.events import ExecutionEvent, ToolCalled, ToolReturned
from domain.model.identity import ToolId
from domain.model.journal import CallKind, JournalEntry
from domain.model.texts import storable
from domain.model.tool import Tool
from domain.ports import ModelAnswer, ModelGateway, ModelRequest, RunSink, TaskWork, ToolSecret
from domain.ports.tracing import NO_TRACING, Tracing

SHOWN_CHARACTERS: Final = 2_000

T = TypeVar("T")

_CURRENT: ContextVar["TaskSession"] = ContextVar("regatta_task_session")


class WorkAbandoned(BaseException):
    """The work was cancelled or timed out: unwinds the thread. No Exception, lest CrewAI recover from it."""


class WorkStopped(BaseException):
    """Unwinds the thread with what ends the work, where CrewAI would make of it an error that the model sees."""

    def __init__(self, reason: RegattaError) -> None:
        super().__init__(str(reason))
        self.reason = reason


@dataclass(slots=True)
class _Ending:
    """What ends an attempt as a whole; None while nothing does."""

    reason: RegattaError | None = None


class TaskSession:
    """Bridges the threads of one attempt to the worker's loop; `abandon` and `stopped` end it for all of them."""

    def __init__(
        self,
        work: TaskWork,
        sink: RunSink,
        gateway: ModelGateway,
        loop: asyncio.AbstractEventLoop,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        self.work = work
        self.tracing = tracing
        self._sink = sink
        self._gateway = gateway
        self._loop = loop
        self.secrets: Mapping[ToolId, ToolSecret] = {}
        self._lock = Lock()
        self._waiting: set[Future[Any]] = set()
        self._running: set[asyncio.Task[Any]] = set()
        self._ending = _Ending()

    def of(self, work: TaskWork) -> "TaskSession":
        """The same attempt as another of its roles sees it: what is shared ends for all of them together."""
        other = copy(self)
        other.work = work
        return other

    @contextmanager
    def current(self) -> Iterator[None]:
        """Makes this the session of everything that the calling context starts, threads of CrewAI included."""
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)

    def ask(self, request: ModelRequest) -> ModelAnswer:
        """Call the model from a thread, and wait. Raises RunFailed, WorkAbandoned, WorkStopped (for a pause)."""
        try:
            return self._awaited(self._call(request))
        except Paused as paused:
            raise self.stopped(paused) from paused

    def ask_human(self, question: str) -> str:
        """What a human answered to the question in this attempt. Raises WorkStopped when nobody has yet."""
        self.check()
        key, _, _ = self.work.journal.next(CallKind.TOOL, {"ask_human": question})
        answer = self.work.answers.get(str(key))
        if answer is None:
            raise self.stopped(AnswerAwaited(question, str(key), self.work.role_id))
        return answer

    def keep(self, entry: JournalEntry) -> None:
        """Return when the call stands in the journal, before it is made. Raises WorkAbandoned, WorkStopped."""
        try:
            self._awaited(self._sink.keep(entry))
        except OwnershipLost:
            # The run goes on elsewhere, and this one is being stopped.
            raise WorkAbandoned from None
        except RegattaError as error:
            raise self.stopped(error) from error

    def finish(self, entry: JournalEntry) -> None:
        """Keep a call that has its answer; nobody waits.

        Also of abandoned work: what is known of a call must not be lost, and the store refuses whom it is not for.
        """
        self._sink.journal(entry)

    def stopped(self, reason: RegattaError) -> WorkStopped:
        """What to raise to end the whole attempt. Whatever else is at work in it stops before its next call.

        CrewAI waits for all calls of one answer, and passes on how the first of them ended: so all give one reason.
        """
        with self._lock:
            self._ending.reason = self._ending.reason or reason
            return WorkStopped(self._ending.reason)

    def check(self) -> None:
        """Before each call. Raises WorkAbandoned when nobody waits for this work any more, WorkStopped when it ends."""
        self._check_awaited()
        if self._ending.reason is not None:
            raise WorkStopped(self._ending.reason)

    def _check_awaited(self) -> None:
        if self.work.signals.is_abandoned:
            raise WorkAbandoned

    def secret_of(self, tool: Tool) -> ToolSecret | None:
        """What the tool sends to its server; None where there is nothing for the address that it has in this run."""
        secret = self.secrets.get(tool.id)
        return secret if secret and secret.url == tool.configuration.get("url") else None

    def tool_called(self, tool: str, arguments: Mapping[str, Any]) -> None:
        self.tell(ToolCalled, tool=tool, arguments=shortened(to_json(arguments)))

    def tool_returned(self, tool: str, output: str, *, is_error: bool) -> None:
        self.tell(ToolReturned, tool=tool, output=shortened(output), is_error=is_error)

    def tell(self, kind: type[ExecutionEvent], /, **facts: Any) -> None:
        """Emit an event of this kind about this work. Raises WorkAbandoned."""
        self._check_awaited()
        self._sink.emit(kind(**self._envelope, **facts))

    def abandon(self) -> None:
        """Close the model calls in flight; from now on the work makes none, and emits nothing."""
        self.work.signals.is_abandoned = True
        with self._lock:
            waiting = tuple(self._waiting)
        for future in waiting:
            future.cancel()

    async def closed(self, seconds: float) -> None:
        """Return when the abandoned calls are booked, or after so many seconds."""
        await asyncio.sleep(0)  # the loop learns of `abandon` one turn later
        if running := tuple(self._running):
            await asyncio.wait(running, timeout=seconds)

    def _awaited(self, coroutine: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        with self._lock:
            self._waiting.add(future)
        if self.work.signals.is_abandoned:  # looked at behind the registration, so that `abandon` cannot miss it
            future.cancel()
        try:
            return future.result()
        except CancelledError:
            raise WorkAbandoned from None
        finally:
            with self._lock:
                self._waiting.discard(future)

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


def failure_of(error: BaseException) -> RunFailed:
    """The RunFailed that an error of CrewAI stands for: the one inside of it, or INTERNAL without its text."""
    current: BaseException | None = error
    while current is not None:
        if isinstance(current, RunFailed):
            return current
        current = current.__cause__
    return RunFailed(FailureCode.INTERNAL, f"The task failed unexpectedly ({type(error).__name__}).")


def to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def shortened(text: str, most: int = SHOWN_CHARACTERS) -> str:
    """The text as an event shows it."""
    text = storable(text)
    return text if len(text) <= most else text[: most - 1] + "…"
