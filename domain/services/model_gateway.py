"""The one way to a model: every call is streamed as events, measured, booked once on the ledger, and can be closed."""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any

from domain.errors import RunFailed
from domain.events import ModelCalled, OutputStreamed
from domain.model.identity import ProjectId, TaskExecutionId
from domain.model.ledger import CallOutcome, LedgerEntry, TokenSource
from domain.ports import ModelAnswer, ModelClient, ModelRequest, RunSink, TaskWork

COALESCE_SECONDS = 0.05


class LedgeredGateway:
    """The ModelGateway port over any ModelClient. All of it lives on one loop."""

    def __init__(self, client: ModelClient, coalesce_seconds: float = COALESCE_SECONDS) -> None:
        self._client = client
        self._coalesce_seconds = coalesce_seconds

    async def call(self, work: TaskWork, request: ModelRequest, sink: RunSink) -> ModelAnswer:
        """Call the model for this work, and book the call whatever becomes of it.

        Raises:
            RunFailed: the model failed; booked with the failure's code.
            CancelledError: the work was abandoned before (nothing is booked) or during the call.
        """
        if work.is_abandoned:
            raise asyncio.CancelledError
        work.calls += 1
        return await self._booked(_Call(work, request, sink, self._coalesce_seconds))

    async def _booked(self, call: "_Call") -> ModelAnswer:
        try:
            answer = await self._client.complete(call.request, call.text.take)
        except asyncio.CancelledError:
            self._book(call, CallOutcome.CANCELLED, self._client.estimate(call.request, call.text.whole), "cancelled")
            raise
        except RunFailed as failure:
            self._book(call, CallOutcome.FAILED, failure.spent or self._spent(call), failure.code.value)
            raise
        except Exception as error:
            self._book(call, CallOutcome.FAILED, self._spent(call), type(error).__name__)
            raise
        self._book(call, CallOutcome.SUCCEEDED, answer, None)
        return answer

    def _spent(self, call: "_Call") -> ModelAnswer:
        # A provider bills what it wrote before it broke off, and nothing for a request that it refused.
        if call.text.whole:
            return self._client.estimate(call.request, call.text.whole)
        return ModelAnswer("", token_source=TokenSource.ESTIMATE)

    def _book(self, call: "_Call", outcome: CallOutcome, answer: ModelAnswer, error: str | None) -> None:
        call.text.flush()
        entry = call.entry(outcome, answer, self._client.provider_of(call.request.model), error)
        event = ModelCalled(
            **call.envelope,
            model=entry.model,
            outcome=outcome.value,
            prompt_tokens=entry.prompt_tokens,
            completion_tokens=entry.completion_tokens,
            cost_amount=entry.cost,
            latency_seconds=entry.latency_seconds,
        )
        call.sink.book(entry, event)


class _Call:
    """One call under way: whose it is, when it began, what it wrote so far."""

    def __init__(self, work: TaskWork, request: ModelRequest, sink: RunSink, coalesce_seconds: float) -> None:
        self.request = request
        self.sink = sink
        self._work = work
        self._number = work.calls
        self._began = perf_counter()
        self.text = _Text(self._emit, coalesce_seconds)

    @property
    def envelope(self) -> dict[str, Any]:
        work = self._work
        return {
            "tenant_id": work.ownership.tenant_id,
            "execution_id": work.ownership.execution_id,
            "task_execution_id": work.task_execution_id,
            "role_id": work.role_id,
        }

    def entry(self, outcome: CallOutcome, answer: ModelAnswer, provider: str, error: str | None) -> LedgerEntry:
        """The ledger entry of the call as it ends now."""
        work, first = self._work, self.text.first_at
        return LedgerEntry(
            tenant_id=work.ownership.tenant_id,
            project_id=ProjectId(work.ownership.project_id),
            team_id=work.team_id,
            execution_id=work.ownership.execution_id,
            task_execution_id=TaskExecutionId(work.task_execution_id),
            role_id=work.role_id,
            model=self.request.model,
            provider=provider,
            attempt=work.task.attempts,
            outcome=outcome,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            cached_tokens=answer.cached_tokens,
            reasoning_tokens=answer.reasoning_tokens,
            token_source=answer.token_source,
            cost=answer.cost,
            latency_seconds=perf_counter() - self._began,
            time_to_first_token_seconds=None if first is None else first - self._began,
            error=error,
        )

    def _emit(self, text: str) -> None:
        self.sink.emit(OutputStreamed(**self.envelope, call=self._number, text=text))


class _Text:
    """Pieces of text on their way out: the first at once, later ones together after a short while."""

    def __init__(self, emit: Callable[[str], None], coalesce_seconds: float) -> None:
        self._emit = emit
        self._coalesce_seconds = coalesce_seconds
        self._all: list[str] = []
        self._emitted = 0
        self._timer: asyncio.TimerHandle | None = None
        self.first_at: float | None = None

    def take(self, piece: str) -> None:
        self._all.append(piece)
        if self.first_at is None:
            self.first_at = perf_counter()
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._coalesce_seconds, self.flush)

    def flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting = "".join(self._all[self._emitted :])
        self._emitted = len(self._all)
        if waiting:
            self._emit(waiting)

    @property
    def whole(self) -> str:
        return "".join(self._all)
