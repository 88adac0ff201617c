"""The one way to a model: routed, reserved in every budget, tried and tried elsewhere, each HTTP attempt booked.

What an earlier run of the same attempt has paid for is answered from its journal.

Nothing else retries: LiteLLM, the SDKs and CrewAI are told not to, for a retry that nobody sees is a bill that nobody
expects. The order is that of the work's route: the same model again after a pause, then the next of its tier, then
the next tier.
"""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Never

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from domain.errors import FailureCode, Paused, RunFailed, Unavailable
from domain.events import CallReplayed
from domain.model.budget import BudgetScope, Limits, Shortfall
from domain.model.identity import LedgerEntryId, new_id
from domain.model.journal import CallKey, CallKind, JournalEntry
from domain.model.routing import Choice, Decision
from domain.ports import (
    CallBudgets,
    CallWork,
    ModelAnswer,
    ModelClient,
    ModelRequest,
    Reservation,
    Ruling,
    RunSink,
    Verdict,
)
from domain.ports.tracing import NO_TRACING, Tracing
from domain.services.model_calls import COALESCE_SECONDS, ModelCall, answer_from, whose

_STORE_PAUSE = 0.5
_SPREAD = 0.05
_INVALID = FailureCode.MODEL_ANSWER_INVALID
_REPAIR = "{} Answer once more, with nothing but JSON that holds the schema."

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class GatewayRules:
    """How calls are tried; durations in seconds.

    `max_output_tokens` caps the answer of a role that sets no cap. A model is tried `attempts` times, and all models
    of a call together `most_attempts` times, with pauses that begin at `first_pause` and double, unless the provider
    says how long to wait: so long it is waited for up to `patience` when there is no other model, and `brief` when
    there is. A model that failed to the end is left alone for `cool`, one whose key was refused for `cool_key`. A
    reservation counts as lost `slack` after its call must be over.
    """

    max_output_tokens: int = 4096
    attempts: int = 2
    most_attempts: int = 6
    first_pause: float = 0.5
    longest_pause: float = 8.0
    patience: float = 30.0
    brief: float = 1.0
    cool: float = 10.0
    cool_key: float = 60.0
    slack: float = 60.0
    coalesce: float = COALESCE_SECONDS


class RoutedGateway:
    """The ModelGateway port over any ModelClient. All of it lives on one loop."""

    def __init__(
        self,
        client: ModelClient,
        budgets: CallBudgets,
        rules: GatewayRules | None = None,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        self.client = client
        self.budgets = budgets
        self.rules = rules or GatewayRules()
        self.tracing = tracing
        self._releasing: set[asyncio.Task[None]] = set()

    def give_back(self, reservation: Reservation) -> None:
        """Release a reservation whose call is not made. Nobody waits for it: the work may be cancelled."""
        task = asyncio.ensure_future(self.budgets.release(reservation))
        self._releasing.add(task)
        task.add_done_callback(self._releasing.discard)

    async def call(self, work: CallWork, request: ModelRequest, sink: RunSink) -> ModelAnswer:
        """An answer to the request from the first model of the work's route that gives one, or from the journal.

        Raises:
            Paused: the work is to pause, and the journal has no answer.
            RunFailed: BUDGET_EXCEEDED before a call that could exceed a budget; what the last model failed with.
            CancelledError: the work was abandoned before (nothing is booked) or during a call.
            NotRecorded: a call was made and cannot be booked.
        """
        if work.signals.is_abandoned:
            raise asyncio.CancelledError
        key, number, known = work.journal.next(CallKind.MODEL, _asked(request))
        if known is not None and known.answer is not None:
            return _replayed(work, known, known.answer, sink)
        return await _Journey(self, work, request, sink, number, key).answer()


def _asked(request: ModelRequest) -> dict[str, Any]:
    """What a request is known by again. The model is not part of it: a later run may have to route elsewhere."""
    return {
        "messages": request.messages,
        "tools": request.tools,
        "parameters": request.parameters,
        "output_schema": request.output_schema,
    }


def _replayed(work: CallWork, known: JournalEntry, answer: Mapping[str, Any], sink: RunSink) -> ModelAnswer:
    sink.emit(CallReplayed(**whose(work.charge), kind=known.kind, ordinal=known.ordinal))
    return answer_from(answer)


class _Elsewhere(Exception):
    """This model will not do now; another one may."""

    def __init__(self, failure: RunFailed) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass(slots=True)
class _Journey:
    """One call of a role on its way through the models."""

    gateway: RoutedGateway
    work: CallWork
    request: ModelRequest
    sink: RunSink
    number: int
    key: CallKey
    attempts: int = 0
    is_repairing: bool = False
    prompt_tokens: int = 0
    left: list[Choice] = field(default_factory=list)
    reason: str | None = None

    async def answer(self) -> ModelAnswer:
        self.prompt_tokens = self.gateway.client.most_prompt_tokens(self.request)
        self.left = self._fitting()
        failure: RunFailed | None = None
        while self.left:
            choice = self.left.pop(0)
            try:
                return await self._from(choice)
            except _Elsewhere as elsewhere:
                failure = elsewhere.failure
        raise failure or _too_long(self.request)

    def _fitting(self) -> list[Choice]:
        """The choices that can read the whole conversation; it grows while a task goes on. A pinned one is asked."""
        if self.work.route.is_pinned:
            return list(self.work.route.choices)
        return [choice for choice in self.work.route.choices if self._can_read(choice.model.context_window)]

    def _can_read(self, window: int | None) -> bool:
        # The bound is several times too high for prose: what does not fit by it is estimated.
        return window is None or self.prompt_tokens <= window or self._about <= window

    @property
    def _about(self) -> int:
        """About how many tokens the request has."""
        return self.gateway.client.estimate(self.request, "").prompt_tokens

    async def _from(self, choice: Choice) -> ModelAnswer:
        """The answer of this model, tried as often as the rules allow. Raises _Elsewhere, RunFailed."""
        try:
            async for attempt in self._retrying():
                with attempt:
                    return await self._attempt(choice)
        except RunFailed as failure:
            await self._learn(choice, failure)
            self._give_up_on(choice, failure)
        raise AssertionError  # tenacity returns or raises, and so does `_give_up_on`

    def _retrying(self) -> AsyncRetrying:
        return AsyncRetrying(
            stop=self._is_enough,
            wait=self._pause,
            retry=retry_if_exception(lambda error: isinstance(error, RunFailed) and error.retryable),
            sleep=asyncio.sleep,
            reraise=True,
        )

    def _is_enough(self, state: RetryCallState) -> bool:
        """Whether this model is not tried again: a slow or senseless one only where there is no other."""
        rules, failure = self.gateway.rules, state.outcome.exception() if state.outcome else None
        is_tiresome = isinstance(failure, RunFailed) and (failure.is_timeout or failure.code is _INVALID)
        is_tiresome = is_tiresome and not self.is_repairing
        return (
            state.attempt_number >= (1 if is_tiresome and self.left else rules.attempts)
            or self.attempts >= rules.most_attempts
            or _retry_after(state) > self._patience(rules.patience)
        )

    def _give_up_on(self, choice: Choice, failure: RunFailed) -> Never:
        """Go on with the next model where that may help. Raises _Elsewhere, or the failure."""
        if not failure.retryable:
            raise failure
        if failure.code is _INVALID:  # paid for: dearer models are not asked, nor the whole line in another attempt
            self.left = [other for other in self.left if other.model.tier.level <= choice.model.tier.level]
            failure = _final(failure)
        if self.attempts >= self.gateway.rules.most_attempts:
            self.left = []
        self.reason = f"{choice.model.name} failed ({failure.code.value}): the next model in line."
        raise _Elsewhere(failure) from failure

    def _pause(self, state: RetryCallState) -> float:
        rules = self.gateway.rules
        pause = min(rules.first_pause * 2.0 ** (state.attempt_number - 1), rules.longest_pause)
        return max(pause * random.uniform(0.5, 1.5), _retry_after(state))  # noqa: S311 - spreads retries, guards nothing

    def _patience(self, alone: float) -> float:
        """How long this model is waited for: only as long as it must where there is another one."""
        return min(self.gateway.rules.brief, alone) if self.left else alone

    async def _learn(self, choice: Choice, failure: RunFailed) -> None:
        """Leave the model alone for a while, where what went wrong would go wrong for the next one, too."""
        rules = self.gateway.rules
        if failure.is_key_refused:
            await self._cool_down(choice, failure, rules.cool_key)
        elif failure.code is FailureCode.MODEL_UNAVAILABLE and not failure.retry_after_seconds:
            await self._cool_down(choice, failure, rules.cool)

    async def _cool_down(self, choice: Choice, failure: RunFailed, seconds: float) -> None:
        credential, name = choice.deployment.credential, choice.model.name
        await self.gateway.budgets.cool_down(credential, name, seconds, failure.code.value)

    async def _attempt(self, choice: Choice) -> ModelAnswer:
        if self.work.signals.is_pausing:
            raise Paused
        request = self._request_to(choice)
        decision = self.work.route.decision(choice, self._worst_case(request, choice), self.reason)
        reservation = self._reservation(choice, request, decision)
        try:
            await self._reserved(choice, reservation)
            if self.work.signals.is_pausing:
                raise Paused  # noqa: TRY301 - what was granted meanwhile is given back, too
        except (asyncio.CancelledError, Paused):
            self.gateway.give_back(reservation)  # it may have been granted all the same
            raise
        self.attempts += 1
        coalesce, tracing = self.gateway.rules.coalesce, self.gateway.tracing
        call = ModelCall(self.work, request, reservation, decision, self.sink, self.key, coalesce, tracing)
        try:
            return await call.answer(self.gateway.client)
        except RunFailed as failure:
            _log.warning("model_call_failed", model=request.model, code=failure.code.value, reason=failure.message)
            self._repair(failure)
            if failure.retry_after_seconds:  # for everybody, at once: not after our own last attempt
                await self._cool_down(choice, failure, failure.retry_after_seconds)
            raise

    def _repair(self, failure: RunFailed) -> None:
        """Let the next attempt know what was wrong with an answer that does not hold the schema; once per call."""
        wrong = failure.spent.text if failure.spent else ""
        can_repair = failure.code is _INVALID and self.request.output_schema is not None and wrong
        if not can_repair or self.is_repairing:
            self.is_repairing = False
            return
        self.is_repairing = True
        told = [{"role": "assistant", "content": wrong}, {"role": "user", "content": _REPAIR.format(failure.message)}]
        self.request = replace(self.request, messages=[*self.request.messages, *told])
        self.prompt_tokens = self.gateway.client.most_prompt_tokens(self.request)

    def _request_to(self, choice: Choice) -> ModelRequest:
        """The request with this model, how it is reached, and a cap on the answer, which every call sends."""
        cap = self.request.parameters.get("max_tokens") or self.gateway.rules.max_output_tokens
        cap = min(cap, choice.deployment.max_output_tokens or cap)
        parameters = {**self.request.parameters, "max_tokens": cap}
        return replace(self.request, model=choice.model.name, parameters=parameters, deployment=choice.deployment)

    def _worst_case(self, request: ModelRequest, choice: Choice) -> Decimal:
        return choice.deployment.prices.worst(self.prompt_tokens, request.parameters["max_tokens"])

    def _reservation(self, choice: Choice, request: ModelRequest, decision: Decision) -> Reservation:
        model, work = choice.model, self.work
        return Reservation(
            id=LedgerEntryId(new_id()),
            charge=work.charge,
            model=model.name,
            provider=model.provider,
            call=self.number,
            call_attempt=self.work.journal.attempts_before.get(self.number, 0) + self.attempts + 1,
            amount=decision.estimated_amount,
            tokens=self._about + request.parameters["max_tokens"] if model.tokens_per_minute else 0,
            credential=choice.deployment.credential,
            limits=Limits(model.requests_per_minute, model.tokens_per_minute),
            routing=decision.as_document(),
            lifetime_seconds=request.timeout_seconds + self.gateway.rules.slack,
        )

    async def _reserved(self, choice: Choice, reservation: Reservation) -> None:
        """Return when the reservation is granted. Raises _Elsewhere, RunFailed, CancelledError."""
        while True:
            if self.work.signals.is_pausing:
                raise Paused
            ruling = await self._ruling(reservation)
            match ruling.verdict:
                case Verdict.GRANTED:
                    return
                case Verdict.OWNERSHIP_LOST:
                    raise asyncio.CancelledError
                case Verdict.BUDGET_EXCEEDED if ruling.shortfall:
                    self._fall_short(choice, ruling.shortfall)
                case _:
                    await self._wait_for(choice, ruling)

    async def _ruling(self, reservation: Reservation) -> Ruling:
        # The id is the same each time: what was granted, although the answer was lost, is granted again.
        while True:
            try:
                return await self.gateway.budgets.reserve(reservation)
            except Unavailable as error:
                _log.warning("reservation_postponed", error=str(error))
                await asyncio.sleep(_STORE_PAUSE)

    def _fall_short(self, choice: Choice, shortfall: Shortfall) -> None:
        """Go on with cheaper tiers where only the work's own budget is too small; else there is no way on."""
        failure = RunFailed(FailureCode.BUDGET_EXCEEDED, shortfall.message)
        failure.shortfall = shortfall
        if shortfall.scope not in (BudgetScope.TASK, BudgetScope.GENERATION):
            raise failure
        lower = self.work.route.cheaper_than(choice)
        self.left = [other for other in lower if other in self.left]
        whose = shortfall.scope.value.lower()
        self.reason = f"The {whose}'s budget does not suffice for {choice.model.name}: a cheaper tier."
        raise _Elsewhere(failure)

    async def _wait_for(self, choice: Choice, ruling: Ruling) -> None:
        """Wait as long as the ruling says, if this model is worth it. Raises _Elsewhere."""
        rules, is_limited = self.gateway.rules, ruling.verdict is Verdict.RATE_LIMITED
        if ruling.wait_seconds > self._patience(self.request.timeout_seconds if is_limited else rules.patience):
            what = "at its rate limit" if is_limited else "cooling down after a failure"
            message = f"The model {choice.model.name!r} is {what} for another {ruling.wait_seconds:.0f} seconds."
            self.reason = f"{choice.model.name} is {what}: the next model in line."
            raise _Elsewhere(RunFailed(FailureCode.MODEL_UNAVAILABLE, message, retryable=True))
        # Everybody who waits is told the same moment: they must not come back together.
        await asyncio.sleep(ruling.wait_seconds * random.uniform(1.0, 1.5) + random.uniform(0, _SPREAD))  # noqa: S311


def _retry_after(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return (error.retry_after_seconds or 0.0) if isinstance(error, RunFailed) else 0.0


def _final(failure: RunFailed) -> RunFailed:
    """The same failure, not to be tried again."""
    final = RunFailed(failure.code, failure.message)
    final.spent = failure.spent
    return final


def _too_long(request: ModelRequest) -> RunFailed:
    shown = f"{len(request.messages)} messages"
    return RunFailed(FailureCode.MODEL_REFUSED, f"No usable model can read so long a conversation ({shown}).")
