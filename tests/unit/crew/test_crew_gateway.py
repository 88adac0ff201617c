import asyncio
from collections.abc import Callable
from decimal import Decimal

import pytest

from domain.errors import FailureCode, RunFailed
from domain.events import ModelCalled, OutputStreamed
from domain.model.ledger import CallOutcome, TokenSource
from domain.ports import ModelAnswer, ModelRequest, TaskWork
from domain.services.model_gateway import LedgeredGateway
from tests.unit.crew.conftest import FakeModel, Journal

REQUEST = ModelRequest("acme/big", [{"role": "user", "content": "Hi"}], None, {}, 5.0)
Works = Callable[..., TaskWork]


async def test_a_call_is_booked_once_with_its_event(a_work: Works, journal: Journal) -> None:
    work = a_work()

    answer = await LedgeredGateway(FakeModel()).call(work, REQUEST, journal)

    [entry] = journal.entries
    [called] = journal.of(ModelCalled)
    assert answer.text == "Hello"
    assert (entry.outcome, entry.prompt_tokens, entry.completion_tokens) == (CallOutcome.SUCCEEDED, 7, 3)
    assert (entry.model, entry.provider, entry.attempt, entry.error) == ("acme/big", "acme", 1, None)
    assert (entry.execution_id, entry.task_execution_id) == (work.ownership.execution_id, work.task.id)
    assert (entry.project_id, entry.team_id, entry.role_id) == (work.ownership.project_id, work.team_id, work.role.id)
    assert entry.latency_seconds is not None
    assert entry.time_to_first_token_seconds is not None
    assert 0 <= entry.time_to_first_token_seconds <= entry.latency_seconds
    assert (called.model, called.outcome, called.cost_amount) == ("acme/big", "SUCCEEDED", Decimal(0))


async def test_the_first_piece_of_text_leaves_at_once_and_the_rest_together(a_work: Works, journal: Journal) -> None:
    work = a_work()

    await LedgeredGateway(FakeModel(pieces=("a", "b", "c", "d"))).call(work, REQUEST, journal)
    await LedgeredGateway(FakeModel(pieces=("e",))).call(work, REQUEST, journal)

    assert [(event.call, event.text) for event in journal.of(OutputStreamed)] == [(1, "a"), (1, "bcd"), (2, "e")]
    assert isinstance(journal.events[2], ModelCalled)


async def test_waiting_text_leaves_after_a_while_though_the_model_is_silent(a_work: Works, journal: Journal) -> None:
    gateway = LedgeredGateway(FakeModel(pieces=("a", "b"), hangs=True), coalesce_seconds=0.001)
    call = asyncio.create_task(gateway.call(a_work(), REQUEST, journal))

    while len(journal.events) < 2:  # noqa: ASYNC110 - the journal is no event loop object
        await asyncio.sleep(0.001)

    assert [event.text for event in journal.of(OutputStreamed)] == ["a", "b"]
    call.cancel()


async def test_a_failed_call_is_booked_with_its_code(a_work: Works, journal: Journal) -> None:
    failure = RunFailed(FailureCode.MODEL_UNAVAILABLE, "Gone.", retryable=True)

    with pytest.raises(RunFailed):
        await LedgeredGateway(FakeModel(pieces=(), failure=failure)).call(a_work(), REQUEST, journal)

    [entry] = journal.entries
    assert (entry.outcome, entry.error) == (CallOutcome.FAILED, "MODEL_UNAVAILABLE")
    assert (entry.prompt_tokens, entry.completion_tokens) == (0, 0)


async def test_what_was_written_before_a_failure_is_estimated(a_work: Works, journal: Journal) -> None:
    with pytest.raises(ZeroDivisionError):
        await LedgeredGateway(FakeModel(pieces=("abc",), failure=ZeroDivisionError())).call(a_work(), REQUEST, journal)

    [entry] = journal.entries
    assert (entry.error, entry.prompt_tokens, entry.completion_tokens) == ("ZeroDivisionError", 100, 3)


async def test_a_failure_that_was_billed_is_booked_with_what_the_client_says(a_work: Works, journal: Journal) -> None:
    failure = RunFailed(FailureCode.MODEL_ANSWER_INVALID, "Empty.", retryable=True)
    failure.spent = ModelAnswer("", prompt_tokens=1000, completion_tokens=4096, cost=Decimal("0.5"))

    with pytest.raises(RunFailed):
        await LedgeredGateway(FakeModel(pieces=(), failure=failure)).call(a_work(), REQUEST, journal)

    [entry] = journal.entries
    [called] = journal.of(ModelCalled)
    assert (entry.outcome, entry.error) == (CallOutcome.FAILED, "MODEL_ANSWER_INVALID")
    assert (entry.prompt_tokens, entry.completion_tokens, entry.cost) == (1000, 4096, Decimal("0.5"))
    assert (entry.token_source, called.cost_amount) == (TokenSource.PROVIDER, Decimal("0.5"))


async def test_a_cancelled_call_is_booked_with_an_estimate(a_work: Works, journal: Journal) -> None:
    call = asyncio.create_task(LedgeredGateway(FakeModel(hangs=True)).call(a_work(), REQUEST, journal))
    await asyncio.sleep(0)

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    [entry] = journal.entries
    assert (entry.outcome, entry.prompt_tokens) == (CallOutcome.CANCELLED, 100)


async def test_an_abandoned_work_makes_no_call(a_work: Works, journal: Journal) -> None:
    model, work = FakeModel(), a_work()
    work.is_abandoned = True

    with pytest.raises(asyncio.CancelledError):
        await LedgeredGateway(model).call(work, REQUEST, journal)

    assert (model.calls, journal.entries, journal.events) == (0, [], [])
