"""One HTTP attempt at a model call: its text goes out as events, and it is booked once, whatever becomes of it."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from domain.errors import OwnershipLost, RunFailed
from domain.events import ModelCalled, OutputStreamed, RoutingDecided
from domain.model.identity import ExecutionId, LedgerEntryId, TaskExecutionId
from domain.model.journal import CallKey, JournalEntry
from domain.model.ledger import CallOutcome, Charge, LedgerEntry, TokenSource
from domain.model.routing import Decision
from domain.model.texts import storable
from domain.ports import CallWork, ModelAnswer, ModelClient, ModelRequest, Reservation, RunSink, ToolRequest
from domain.ports.tracing import NO_TRACING, Span, SpanKind, Tracing
from domain.services.spans import about_call, call_name, note_booked

COALESCE_SECONDS = 0.05


@dataclass(slots=True)
class ModelCall:
    """An attempt that was granted its reservation and is about to be made."""

    work: CallWork
    request: ModelRequest
    reservation: Reservation
    decision: Decision
    sink: RunSink
    key: CallKey
    coalesce_seconds: float = COALESCE_SECONDS
    tracing: Tracing = NO_TRACING

    async def answer(self, client: ModelClient) -> ModelAnswer:
        """Make the attempt; returns when its entry is committed.

        Raises:
            RunFailed: the model failed; booked with the failure's code.
            CancelledError: the work was abandoned; booked with an estimate, which nobody waits for.
            NotRecorded: the entry cannot be stored.
        """
        about = about_call(self.request, self.reservation)
        with self.tracing.span(call_name(self.request), about, kind=SpanKind.CLIENT) as span:
            return await self._answered(client, span)

    async def _answered(self, client: ModelClient, span: Span) -> ModelAnswer:
        self.sink.emit(RoutingDecided(**self.envelope, **self.numbers, decision=self.decision))
        booking = _Booking(self, client, span)
        try:
            answer = await client.complete(self.request, booking.text.take)
        except asyncio.CancelledError as cancelled:
            spent = getattr(cancelled, "spent", None) or booking.estimated()
            self.sink.book(*booking.closed(CallOutcome.CANCELLED, spent, "cancelled"))
            raise
        except RunFailed as failure:
            await self._settle(booking, CallOutcome.FAILED, failure.spent or booking.spent(), failure.code.value)
            raise
        except Exception as error:
            await self._settle(booking, CallOutcome.FAILED, booking.spent(), type(error).__name__)
            raise
        _clean(answer)
        await self._settle(booking, CallOutcome.SUCCEEDED, answer, None)
        return answer

    async def _settle(self, booking: "_Booking", outcome: CallOutcome, answer: ModelAnswer, error: str | None) -> None:
        try:
            entry, event = booking.closed(outcome, answer, error)
            finished = self._finished(answer, entry.id) if outcome is CallOutcome.SUCCEEDED else None
            await self.sink.settle(entry, event, finished)
        except OwnershipLost:
            # The entry is booked; the run that it was made for goes on elsewhere, and this one is being stopped.
            raise asyncio.CancelledError from None

    def _finished(self, answer: ModelAnswer, booked: LedgerEntryId) -> JournalEntry:
        charge, key = self.reservation.charge, self.key
        return JournalEntry(
            charge.tenant_id,
            ExecutionId(charge.subject_id),  # of a generation: its own id, twice
            TaskExecutionId(charge.task_execution_id or charge.subject_id),
            charge.attempt,
            key.kind,
            key.request_hash,
            key.occurrence,
            self.reservation.call,
            document_of(answer),
            booked,
        )

    @property
    def envelope(self) -> dict[str, Any]:
        """Whose its events are."""
        return whose(self.reservation.charge)

    @property
    def numbers(self) -> dict[str, Any]:
        """Which attempt at which call of the task's attempt."""
        return {"call": self.reservation.call, "call_attempt": self.reservation.call_attempt}


def _clean(answer: ModelAnswer) -> None:
    """What cannot be stored is taken out before the role sees it: the journal must have what the role has read."""
    answer.text = storable(answer.text)
    answer.tool_requests = [replace(wish, arguments=storable(wish.arguments)) for wish in answer.tool_requests]


def whose(charge: Charge) -> dict[str, Any]:
    """The envelope of the events of such a call. Those of a generation never leave its sink."""
    return {
        "tenant_id": charge.tenant_id,
        "execution_id": ExecutionId(charge.subject_id),
        "task_execution_id": charge.task_execution_id,
        "role_id": charge.role_id,
    }


def document_of(answer: ModelAnswer) -> dict[str, Any]:
    """What the journal keeps of an answer: what the role has read. What it cost is on the ledger."""
    wishes = [{"id": wish.id, "name": wish.name, "arguments": wish.arguments} for wish in answer.tool_requests]
    return {"text": answer.text, "tool_requests": wishes}


def answer_from(document: Mapping[str, Any]) -> ModelAnswer:
    """The answer that was kept; it costs nothing again."""
    return ModelAnswer(document["text"], [ToolRequest(**wish) for wish in document["tool_requests"]])


class _Booking:
    """What is known of an attempt while it lasts, and its ledger entry at the end."""

    def __init__(self, call: ModelCall, client: ModelClient, span: Span) -> None:
        self._call = call
        self._client = client
        self._span = span
        self._began = perf_counter()
        self.text = StreamedText(self._emit, call.coalesce_seconds)

    def estimated(self) -> ModelAnswer:
        return self._client.estimate(self._call.request, self.text.whole)

    def spent(self) -> ModelAnswer:
        # A provider bills what it wrote before it broke off, and nothing for a request that it refused.
        return self.estimated() if self.text.whole else ModelAnswer("", token_source=TokenSource.ESTIMATE)

    def closed(self, outcome: CallOutcome, answer: ModelAnswer, error: str | None) -> tuple[LedgerEntry, ModelCalled]:
        """The entry of the attempt as it ends now, and its event; what the model wrote goes out before."""
        self.text.flush()
        entry = self._entry(outcome, answer, error)
        note_booked(self._span, entry, answer)
        call = self._call
        event = ModelCalled(
            **call.envelope,
            **call.numbers,
            model=entry.model,
            outcome=outcome.value,
            prompt_tokens=entry.prompt_tokens,
            completion_tokens=entry.completion_tokens,
            cost_amount=entry.cost,
            latency_seconds=entry.latency_seconds,
            error=error,
            is_overrun=entry.is_overrun,
            entry_id=entry.id,
        )
        return entry, event

    def _entry(self, outcome: CallOutcome, answer: ModelAnswer, error: str | None) -> LedgerEntry:
        call, charge, first = self._call, self._call.reservation.charge, self.text.first_at
        return LedgerEntry(
            **charge.facts,
            model=call.request.model,
            provider=call.reservation.provider,
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
            **call.numbers,
            routing=call.decision.as_document(),
            reserved=call.reservation.amount,
            is_overrun=answer.cost > call.reservation.amount,
            id=call.reservation.id,
        )

    def _emit(self, text: str) -> None:
        call = self._call
        call.sink.emit(OutputStreamed(**call.envelope, call=call.reservation.call, text=text))


class StreamedText:
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
