"""The gateway on a scripted model and scripted budgets: order of attempts, pauses, bookings, and what ends a call."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pytest

from domain.errors import FailureCode, OwnershipLost, Paused, RunFailed, Unavailable
from domain.events import CallReplayed, ExecutionEvent, ModelCalled, OutputStreamed, RoutingDecided
from domain.model.budget import BudgetScope, Limits, Shortfall
from domain.model.execution import TaskExecution
from domain.model.identity import DEFAULT_TENANT, ExecutionId, ProjectId, TeamId, new_id
from domain.model.journal import CallKind, Journal, JournalEntry
from domain.model.ledger import CallOutcome, LedgerEntry, TokenSource
from domain.model.model import Tier
from domain.model.role import Role
from domain.model.routing import Route
from domain.ports import (
    ModelAnswer,
    ModelRequest,
    Ownership,
    Reservation,
    Ruling,
    Signals,
    TaskWork,
    ToolRequest,
    Verdict,
)
from domain.services.model_gateway import GatewayRules, RoutedGateway
from tests.support.routes import a_model, a_route

REQUEST = ModelRequest("", [{"role": "user", "content": "Hi"}], None, {}, 5.0)
PROMPT = 20
RULES = GatewayRules(attempts=2, first_pause=0.001, longest_pause=0.002, patience=0.05, brief=0.01, coalesce=0.001)
LOCAL = a_model("ollama/small", tier=Tier.LOCAL)
STANDARD = a_model("openai/gpt-4o-mini")
SECOND = a_model("mistral/medium", prompt_price=Decimal(1), completion_price=Decimal(2))
PREMIUM = a_model("openai/big", tier=Tier.PREMIUM, prompt_price=Decimal(10), completion_price=Decimal(40))
GRANTED = Ruling(Verdict.GRANTED)


def unavailable(retry_after: float | None = None) -> RunFailed:
    failure = RunFailed(FailureCode.MODEL_UNAVAILABLE, "Gone.", retryable=True)
    failure.retry_after_seconds = retry_after
    return failure


def invalid(count: int) -> list[RunFailed]:
    return [RunFailed(INVALID, "Unreadable.", retryable=True) for _ in range(count)]


INVALID = FailureCode.MODEL_ANSWER_INVALID
REFUSED = RunFailed(FailureCode.MODEL_REFUSED, "No.")


@dataclass
class FakeModel:
    """A ModelClient whose attempts follow a script: what is raised, an answer, or `hang`; then it says Hello."""

    script: list[Any] = field(default_factory=list)
    pieces: Sequence[str] = ("Hello",)
    requests: list[ModelRequest] = field(default_factory=list)

    async def complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelAnswer:
        self.requests.append(request)
        for piece in self.pieces:
            on_text(piece)
        step = self.script.pop(0) if self.script else None
        if step == "hang":
            await asyncio.Event().wait()
        if isinstance(step, BaseException):
            raise step
        return step or ModelAnswer("".join(self.pieces), prompt_tokens=7, completion_tokens=3)

    def estimate(self, request: ModelRequest, text: str) -> ModelAnswer:
        del request
        return ModelAnswer(text, prompt_tokens=100, completion_tokens=len(text), token_source=TokenSource.ESTIMATE)

    def most_prompt_tokens(self, request: ModelRequest) -> int:
        return PROMPT * len(request.messages)

    @property
    def models(self) -> list[str]:
        return [request.model for request in self.requests]


@dataclass
class FakeBudgets:
    """CallBudgets whose rulings follow a script; then everything is granted."""

    script: list[Ruling | Exception | str] = field(default_factory=list)
    asked: list[Reservation] = field(default_factory=list)
    cooled: list[tuple[str, str, float]] = field(default_factory=list)
    released: list[Reservation] = field(default_factory=list)

    async def reserve(self, reservation: Reservation) -> Ruling:
        self.asked.append(reservation)
        step = self.script.pop(0) if self.script else GRANTED
        if step == "hang":
            await asyncio.Event().wait()
        if isinstance(step, Exception):
            raise step
        assert isinstance(step, Ruling)
        return step

    async def release(self, reservation: Reservation) -> None:
        self.released.append(reservation)

    async def cool_down(self, credential: str, model: str, seconds: float, reason: str) -> None:
        del reason
        self.cooled.append((credential, model, seconds))


@dataclass
class Kept:
    """A RunSink that keeps what it is given; `lost` makes it refuse what somebody waits for."""

    events: list[ExecutionEvent] = field(default_factory=list)
    calls: list[JournalEntry] = field(default_factory=list)
    entries: list[LedgerEntry] = field(default_factory=list)
    lost: bool = False

    def emit(self, event: ExecutionEvent) -> None:
        self.events.append(event)

    def book(self, entry: LedgerEntry, event: ExecutionEvent) -> None:
        self.entries.append(entry)
        self.events.append(event)

    def journal(self, entry: JournalEntry) -> None:
        self.calls.append(entry)

    async def keep(self, entry: JournalEntry) -> None:
        self.calls.append(entry)

    async def settle(self, entry: LedgerEntry, event: ExecutionEvent, journal: JournalEntry | None = None) -> None:
        self.book(entry, event)
        self.calls += [journal] if journal else []
        if self.lost:
            raise OwnershipLost

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@dataclass
class Stage:
    """A gateway with all that it meets."""

    model: FakeModel
    budgets: FakeBudgets
    journal: Kept
    work: TaskWork

    async def call(self, request: ModelRequest = REQUEST) -> ModelAnswer:
        return await RoutedGateway(self.model, self.budgets, RULES).call(self.work, request, self.journal)

    @property
    def outcomes(self) -> list[tuple[str, str, int, int]]:
        return [(entry.model, entry.outcome.value, entry.call, entry.call_attempt) for entry in self.journal.entries]


def a_stage(*script: Any, route: Route | None = None, rulings: Sequence[Ruling | Exception | str] = ()) -> Stage:
    return Stage(FakeModel(list(script)), FakeBudgets(list(rulings)), Kept(), a_work(route or a_route(STANDARD)))


def a_work(route: Route) -> TaskWork:
    team, execution = TeamId(new_id()), ExecutionId(new_id())
    role = Role(DEFAULT_TENANT, team, "Analyst")
    task = TaskExecution(
        DEFAULT_TENANT, execution, 0, "Look", "Look.", "A word.", role_id=role.id, role_title="Analyst", attempts=1
    )
    return TaskWork(
        Ownership(DEFAULT_TENANT, ProjectId(new_id()), execution, 1), team, task, role, [], "", route, 5, 20.0
    )


def short_of(scope: BudgetScope) -> Ruling:
    shortfall = Shortfall(scope, Decimal(1), Decimal("0.9"), Decimal(0), Decimal("0.2"))
    return Ruling(Verdict.BUDGET_EXCEEDED, shortfall=shortfall)


async def the_failure(stage: Stage) -> RunFailed:
    with pytest.raises(RunFailed) as caught:
        await stage.call()
    return caught.value


async def test_a_call_is_reserved_decided_made_and_booked_once() -> None:
    stage = a_stage()

    answer = await stage.call()

    [reservation], [entry], [request] = stage.budgets.asked, stage.journal.entries, stage.model.requests
    assert answer.text == "Hello"
    assert (reservation.amount, reservation.tokens) == (Decimal("0.0024606"), 0)  # 20 at 0.15, 4096 at 0.60
    assert (entry.id, entry.reserved, entry.is_overrun) == (reservation.id, reservation.amount, False)
    assert (entry.model, entry.provider, entry.attempt, entry.call, entry.call_attempt) == (
        "openai/gpt-4o-mini",
        "openai",
        1,
        1,
        1,
    )
    assert (request.model, request.parameters, request.deployment) == (
        "openai/gpt-4o-mini",
        {"max_tokens": 4096},
        stage.work.route.first.deployment,
    )
    assert [type(event) for event in stage.journal.events] == [RoutingDecided, OutputStreamed, ModelCalled]
    [decided], [called] = stage.journal.of(RoutingDecided), stage.journal.of(ModelCalled)
    assert decided.decision.as_document() == entry.routing
    assert (decided.decision.estimated_amount, called.entry_id) == (reservation.amount, entry.id)


@pytest.mark.parametrize(
    ("asked", "own", "cap"), [(None, None, 4096), (50, None, 50), (9000, 8192, 8192), (None, 1000, 1000)]
)
async def test_every_call_sends_a_cap(asked: int | None, own: int | None, cap: int) -> None:
    stage = a_stage(
        route=a_route(a_model("openai/x", max_output_tokens=own, prompt_price=Decimal(0), completion_price=Decimal(1)))
    )
    parameters = {"temperature": 0.3} | ({"max_tokens": asked} if asked else {})

    await stage.call(ModelRequest("", REQUEST.messages, None, parameters, 5.0))

    assert stage.model.requests[0].parameters == {"temperature": 0.3, "max_tokens": cap}
    assert stage.budgets.asked[0].amount == Decimal(cap) / 1_000_000


async def test_the_same_model_is_tried_again_then_the_next_then_the_next_tier() -> None:
    route = a_route(STANDARD, SECOND, LOCAL)
    stage = a_stage(*(unavailable() for _ in range(4)), route=route)

    await stage.call()

    assert stage.outcomes == [
        ("openai/gpt-4o-mini", "FAILED", 1, 1),
        ("openai/gpt-4o-mini", "FAILED", 1, 2),
        ("mistral/medium", "FAILED", 1, 3),
        ("mistral/medium", "FAILED", 1, 4),
        ("ollama/small", "SUCCEEDED", 1, 5),
    ]
    reasons = [event.decision.reason for event in stage.journal.of(RoutingDecided)]
    assert reasons[1] == "It comes first."
    assert reasons[2] == "openai/gpt-4o-mini failed (MODEL_UNAVAILABLE): the next model in line."
    assert [model for _, model, _ in stage.budgets.cooled] == ["openai/gpt-4o-mini", "mistral/medium"]


async def test_when_every_model_failed_the_last_failure_is_told() -> None:
    stage = a_stage(*(unavailable() for _ in range(4)), route=a_route(STANDARD, SECOND))

    failure = await the_failure(stage)

    assert (failure.code, failure.retryable, len(stage.journal.entries)) == (FailureCode.MODEL_UNAVAILABLE, True, 4)


async def test_an_answer_that_cannot_be_read_is_asked_of_no_dearer_model_and_never_of_the_whole_line_again() -> None:
    route = a_route(STANDARD, SECOND, PREMIUM, LOCAL)
    stage, alone = a_stage(*invalid(4), route=route), a_stage(*invalid(4))

    failures = [await the_failure(stage), await the_failure(alone)]

    assert stage.model.models == ["openai/gpt-4o-mini", "mistral/medium", "ollama/small", "ollama/small"]
    assert alone.model.models == ["openai/gpt-4o-mini"] * 2
    assert [(failure.code, failure.retryable) for failure in failures] == [(INVALID, False)] * 2
    assert stage.budgets.cooled == []


async def test_a_slow_model_is_not_waited_for_again_where_there_is_another() -> None:
    slow = unavailable()
    slow.is_timeout = True
    stage = a_stage(slow, route=a_route(STANDARD, SECOND))

    await stage.call()

    assert stage.model.models == ["openai/gpt-4o-mini", "mistral/medium"]


async def test_a_call_is_tried_a_limited_number_of_times_in_all() -> None:
    route = a_route(*(a_model(f"openai/m{n}") for n in range(5)))
    stage = a_stage(*(unavailable() for _ in range(20)), route=route)

    failure = await the_failure(stage)

    assert (len(stage.model.requests), failure.retryable) == (RULES.most_attempts, True)


async def test_a_key_that_was_refused_is_left_alone_for_a_while() -> None:
    refusal = RunFailed(FailureCode.MODEL_REFUSED, "No such key.")
    refusal.is_key_refused = True
    stage = a_stage(refusal, route=a_route(STANDARD, SECOND))

    await the_failure(stage)

    assert stage.model.models == ["openai/gpt-4o-mini"]
    assert stage.budgets.cooled == [("test", "openai/gpt-4o-mini", 60.0)]


async def test_a_refusal_that_will_not_change_is_final() -> None:
    stage = a_stage(REFUSED, route=a_route(STANDARD, SECOND))

    failure = await the_failure(stage)

    assert (failure, stage.model.models, stage.budgets.cooled) == (REFUSED, ["openai/gpt-4o-mini"], [])


async def test_a_pinned_model_is_tried_again_and_never_swapped() -> None:
    stage = a_stage(unavailable(), unavailable(), route=a_route(STANDARD, is_pinned=True))

    await the_failure(stage)

    assert stage.model.models == ["openai/gpt-4o-mini"] * 2


async def test_a_provider_that_says_when_is_waited_for_by_everybody() -> None:
    stage = a_stage(unavailable(retry_after=0.02))
    began = asyncio.get_running_loop().time()

    await stage.call()

    assert asyncio.get_running_loop().time() - began >= 0.02
    assert stage.budgets.cooled == [("test", "openai/gpt-4o-mini", 0.02)]


async def test_whom_the_provider_lets_wait_for_long_goes_elsewhere_or_fails() -> None:
    stage = a_stage(unavailable(retry_after=600), route=a_route(STANDARD, SECOND))
    alone = a_stage(unavailable(retry_after=600))

    await stage.call()
    await the_failure(alone)

    assert stage.model.models == ["openai/gpt-4o-mini", "mistral/medium"]
    assert alone.model.models == ["openai/gpt-4o-mini"]


@pytest.mark.parametrize("verdict", [Verdict.RATE_LIMITED, Verdict.COOLING_DOWN])
async def test_a_limit_is_waited_for_shortly_or_passed_by(verdict: Verdict) -> None:
    brief, long = Ruling(verdict, wait_seconds=0.005), Ruling(verdict, wait_seconds=600)
    waiting = a_stage(rulings=[brief, brief, GRANTED], route=a_route(STANDARD, SECOND))
    passing = a_stage(rulings=[long], route=a_route(STANDARD, SECOND))
    alone = a_stage(rulings=[long])

    await waiting.call()
    await passing.call()
    failure = await the_failure(alone)

    assert (waiting.model.models, passing.model.models) == (["openai/gpt-4o-mini"], ["mistral/medium"])
    assert (failure.code, failure.retryable) == (FailureCode.MODEL_UNAVAILABLE, True)
    assert (alone.model.models, alone.journal.entries) == ([], [])
    [asked] = {reservation.id for reservation in waiting.budgets.asked}
    assert asked == waiting.journal.entries[0].id


@pytest.mark.parametrize("scope", [BudgetScope.TENANT, BudgetScope.PROJECT, BudgetScope.TEAM, BudgetScope.EXECUTION])
async def test_a_budget_that_does_not_suffice_stops_before_the_call(scope: BudgetScope) -> None:
    stage = a_stage(rulings=[short_of(scope)], route=a_route(STANDARD, LOCAL))

    failure = await the_failure(stage)

    assert (failure.code, failure.retryable) == (FailureCode.BUDGET_EXCEEDED, False)
    assert failure.shortfall == short_of(scope).shortfall
    assert "of $1 are $0.9 spent and $0 reserved, and the next call needs up to $0.2" in failure.message
    assert (stage.model.requests, stage.journal.entries, stage.journal.events) == ([], [], [])


async def test_over_the_tasks_own_budget_cheaper_tiers_are_tried() -> None:
    stage = a_stage(
        rulings=[short_of(BudgetScope.TASK)],
        route=a_route(PREMIUM, a_model("openai/other", tier=Tier.PREMIUM), STANDARD, LOCAL),
    )

    await stage.call()

    assert stage.model.models == ["openai/gpt-4o-mini"]
    [decided] = stage.journal.of(RoutingDecided)
    assert decided.decision.reason == "The task's budget does not suffice for openai/big: a cheaper tier."


async def test_a_task_that_no_tier_is_cheap_enough_for_fails_with_what_was_missing() -> None:
    stage = a_stage(rulings=[short_of(BudgetScope.TASK)] * 2, route=a_route(PREMIUM, STANDARD))
    pinned = a_stage(rulings=[short_of(BudgetScope.TASK)], route=a_route(PREMIUM, is_pinned=True))

    failures = [await the_failure(stage), await the_failure(pinned)]

    assert [failure.code for failure in failures] == [FailureCode.BUDGET_EXCEEDED] * 2
    assert all(failure.shortfall for failure in failures)
    assert stage.model.models == pinned.model.models == []


async def test_a_cheaper_model_that_is_down_fails_the_call_as_such_for_it_may_come_back() -> None:
    stage = a_stage(
        unavailable(), unavailable(), rulings=[short_of(BudgetScope.TASK)], route=a_route(PREMIUM, STANDARD)
    )

    failure = await the_failure(stage)

    assert (failure.code, failure.retryable) == (FailureCode.MODEL_UNAVAILABLE, True)


async def test_attempts_are_counted_by_the_requests_that_leave() -> None:
    brief = Ruling(Verdict.RATE_LIMITED, wait_seconds=0.001)
    stage = a_stage(rulings=[short_of(BudgetScope.TASK), brief, GRANTED], route=a_route(PREMIUM, STANDARD))

    await stage.call()

    assert [entry.call_attempt for entry in stage.journal.entries] == [1]


async def test_a_reservation_whose_call_is_cancelled_before_it_leaves_is_released() -> None:
    stage = a_stage(rulings=["hang"])
    call = asyncio.create_task(stage.call())
    while not stage.budgets.asked:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.001)

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.sleep(0)

    assert stage.budgets.released == stage.budgets.asked
    assert stage.journal.entries == []


async def test_what_the_client_knows_of_a_cancelled_call_is_booked() -> None:
    cancelled = asyncio.CancelledError()
    cancelled.spent = ModelAnswer("", prompt_tokens=9, completion_tokens=4)  # type: ignore[attr-defined] # as the port says
    stage = a_stage(cancelled)

    with pytest.raises(asyncio.CancelledError):
        await stage.call()

    [entry] = stage.journal.entries
    assert (entry.outcome, entry.prompt_tokens, entry.completion_tokens) == (CallOutcome.CANCELLED, 9, 4)


async def test_a_call_dearer_than_reserved_is_marked() -> None:
    stage = a_stage(ModelAnswer("Long", prompt_tokens=7, completion_tokens=90_000, cost=Decimal("0.06")))

    await stage.call()

    [entry], [called] = stage.journal.entries, stage.journal.of(ModelCalled)
    assert (entry.cost, entry.is_overrun, called.is_overrun) == (Decimal("0.06"), True, True)


async def test_while_the_store_does_not_answer_the_same_reservation_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("domain.services.model_gateway._STORE_PAUSE", 0.001)
    stage = a_stage(rulings=[Unavailable("away"), GRANTED])

    await stage.call()

    assert stage.budgets.asked[0] is stage.budgets.asked[1]


async def test_a_run_that_was_taken_over_makes_no_call() -> None:
    stage = a_stage(rulings=[Ruling(Verdict.OWNERSHIP_LOST)])

    with pytest.raises(asyncio.CancelledError):
        await stage.call()

    assert stage.model.requests == []


async def test_a_run_that_is_taken_over_during_a_call_ends_with_the_call_booked() -> None:
    stage = a_stage()
    stage.journal.lost = True

    with pytest.raises(asyncio.CancelledError):
        await stage.call()

    assert [entry.outcome for entry in stage.journal.entries] == [CallOutcome.SUCCEEDED]


async def test_a_long_conversation_goes_to_models_that_can_read_it() -> None:
    narrow = a_model("openai/narrow", context_window=PROMPT * 3, prompt_price=Decimal(0), completion_price=Decimal(0))
    long = ModelRequest("", [*REQUEST.messages] * 4, None, {}, 5.0)
    stage, alone = a_stage(route=a_route(narrow, STANDARD)), a_stage(route=a_route(narrow))

    await stage.call(long)
    with pytest.raises(RunFailed, match="No usable model can read so long a conversation"):
        await alone.call(long)

    assert stage.model.models == ["openai/gpt-4o-mini"]


async def test_the_limits_of_the_entry_are_reserved() -> None:
    limited = a_model(requests_per_minute=60, tokens_per_minute=90_000)
    stage = a_stage(route=a_route(limited))

    await stage.call()

    [asked] = stage.budgets.asked
    assert (asked.limits, asked.tokens) == (Limits(60, 90_000), 100 + 4096)  # what is estimated, and the cap


async def test_the_first_piece_of_text_leaves_at_once_and_the_rest_together() -> None:
    stage = a_stage()
    stage.model.pieces = ("a", "b", "c", "d")

    await stage.call()
    stage.model.pieces = ("e",)
    await stage.call()

    assert [(event.call, event.text) for event in stage.journal.of(OutputStreamed)] == [(1, "a"), (1, "bcd"), (2, "e")]


async def test_waiting_text_leaves_after_a_while_though_the_model_is_silent() -> None:
    stage = a_stage("hang")
    stage.model.pieces = ("a", "b")
    call = asyncio.create_task(stage.call())

    while len(stage.journal.of(OutputStreamed)) < 2:  # noqa: ASYNC110 - the journal is no event loop object
        await asyncio.sleep(0.001)

    assert [event.text for event in stage.journal.of(OutputStreamed)] == ["a", "b"]
    call.cancel()


async def test_what_was_written_before_a_bug_is_estimated() -> None:
    stage = a_stage(ZeroDivisionError())

    with pytest.raises(ZeroDivisionError):
        await stage.call()

    [entry] = stage.journal.entries
    assert (entry.error, entry.prompt_tokens, entry.completion_tokens) == ("ZeroDivisionError", 100, 5)


async def test_a_failure_that_was_billed_is_booked_with_what_the_client_says() -> None:
    failure = RunFailed(FailureCode.MODEL_REFUSED, "Withheld.")
    failure.spent = ModelAnswer("", prompt_tokens=1000, completion_tokens=4096, cost=Decimal("0.5"))
    stage = a_stage(failure)

    await the_failure(stage)

    [entry], [called] = stage.journal.entries, stage.journal.of(ModelCalled)
    assert (entry.outcome, entry.error, entry.cost) == (CallOutcome.FAILED, "MODEL_REFUSED", Decimal("0.5"))
    assert (called.cost_amount, called.error) == (Decimal("0.5"), "MODEL_REFUSED")


async def test_a_failure_before_the_first_word_costs_nothing() -> None:
    stage = a_stage(REFUSED)
    stage.model.pieces = ()

    await the_failure(stage)

    [entry] = stage.journal.entries
    assert (entry.prompt_tokens, entry.cost, entry.token_source) == (0, Decimal(0), TokenSource.ESTIMATE)


async def test_a_cancelled_call_is_booked_with_an_estimate() -> None:
    stage = a_stage("hang")
    call = asyncio.create_task(stage.call())
    while not stage.model.requests:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.001)

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    [entry] = stage.journal.entries
    assert (entry.outcome, entry.prompt_tokens, entry.error) == (CallOutcome.CANCELLED, 100, "cancelled")


async def test_an_abandoned_work_makes_no_call() -> None:
    stage = a_stage()
    stage.work.signals.is_abandoned = True

    with pytest.raises(asyncio.CancelledError):
        await stage.call()

    assert (stage.model.requests, stage.journal.events, stage.budgets.asked) == ([], [], [])


# ---------------------------------------------------------------- the journal, pauses, repairs


def again(work: TaskWork, calls: Sequence[JournalEntry], attempts_before: dict[int, int] | None = None) -> TaskWork:
    """The same attempt, taken up by a later run that knows these calls."""
    return replace(work, journal=Journal(calls, attempts_before), signals=Signals())


def asking(text: str) -> ModelRequest:
    return replace(REQUEST, messages=[{"role": "user", "content": text}])


async def test_what_an_earlier_run_has_paid_for_is_answered_from_its_journal() -> None:
    wish = ToolRequest("call_1", "search", '{"q": 1}')
    stage = a_stage(ModelAnswer("One", [wish]), ModelAnswer("Two"), ModelAnswer("Three"))
    first, second = await stage.call(asking("a")), await stage.call(asking("a"))
    stage.work = again(stage.work, stage.journal.calls)

    replayed = [await stage.call(asking("a")), await stage.call(asking("a"))]
    fresh = await stage.call(asking("a"))

    assert [(answer.text, list(answer.tool_requests)) for answer in replayed] == [
        (answer.text, list(answer.tool_requests)) for answer in (first, second)
    ]
    assert [answer.cost for answer in replayed] == [Decimal(0)] * 2
    assert fresh.text == "Three"
    assert [(entry.call, entry.call_attempt) for entry in stage.journal.entries] == [(1, 1), (2, 1), (3, 1)]
    assert [event.ordinal for event in stage.journal.of(CallReplayed)] == [1, 2]
    assert len(stage.model.requests) == 3


async def test_a_call_is_kept_in_the_journal_with_its_ledger_entry() -> None:
    stage = a_stage()

    await stage.call()

    [kept], [entry] = stage.journal.calls, stage.journal.entries
    assert (kept.kind, kept.ordinal, kept.occurrence, kept.attempt) == (CallKind.MODEL, 1, 1, 1)
    assert (kept.ledger_entry_id, kept.answer) == (entry.id, {"text": "Hello", "tool_requests": []})


async def test_a_call_that_failed_is_not_answered_from_the_journal() -> None:
    stage = a_stage(REFUSED)
    await the_failure(stage)

    assert stage.journal.calls == []


async def test_another_request_is_not_answered_from_the_journal() -> None:
    stage = a_stage()
    await stage.call(asking("a"))
    stage.work = again(stage.work, stage.journal.calls)

    await stage.call(asking("b"))

    assert len(stage.model.requests) == 2
    assert stage.journal.of(CallReplayed) == []


async def test_a_repeated_call_goes_on_counting_its_http_attempts() -> None:
    stage = a_stage()
    stage.work = again(stage.work, [], {1: 3})

    await stage.call()

    assert stage.outcomes == [("openai/gpt-4o-mini", "SUCCEEDED", 1, 4)]


async def test_a_work_that_is_to_pause_makes_no_call_but_replays_those_it_knows() -> None:
    stage = a_stage()
    await stage.call(asking("a"))
    stage.work = again(stage.work, stage.journal.calls)
    stage.work.signals.is_pausing = True

    known = await stage.call(asking("a"))
    with pytest.raises(Paused):
        await stage.call(asking("b"))

    assert known.text == "Hello"
    assert (len(stage.model.requests), len(stage.budgets.asked)) == (1, 1)


async def test_a_pause_comes_before_the_next_http_attempt_too() -> None:
    stage = a_stage(unavailable())

    class Pausing(FakeModel):
        async def complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelAnswer:
            stage.work.signals.is_pausing = True
            return await super().complete(request, on_text)

    stage.model = Pausing([unavailable()])
    with pytest.raises(Paused):
        await stage.call()

    assert stage.outcomes == [("openai/gpt-4o-mini", "FAILED", 1, 1)]


async def test_an_answer_that_does_not_hold_the_schema_is_sent_back_once_with_what_is_wrong() -> None:
    wrong = RunFailed(INVALID, "The answer does not hold the schema. 'n' is missing.", retryable=True)
    wrong.spent = ModelAnswer("{}")
    stage = a_stage(wrong, ModelAnswer('{"n": 1}'), route=a_route(STANDARD, SECOND))

    answer = await stage.call(replace(REQUEST, output_schema={"type": "object"}))

    assert answer.text == '{"n": 1}'
    first, second = stage.model.requests
    assert second.model == first.model
    assert [message["role"] for message in second.messages] == ["user", "assistant", "user"]
    assert second.messages[1]["content"] == "{}"
    assert "'n' is missing" in second.messages[2]["content"]
    assert len(stage.journal.calls) == 1
