import asyncio
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from domain.errors import FailureCode, RunFailed, Unavailable
from domain.events import (
    ExecutionEvent,
    ExecutionFailed,
    TaskCompleted,
    TaskFailed,
    TaskStarted,
)
from domain.model.budget import BudgetScope, Shortfall
from domain.model.execution import Execution, ExecutionStatus, TaskExecutionStatus
from domain.model.identity import DEFAULT_TENANT
from domain.model.model import Tier
from domain.model.routing import QualityPreference
from domain.ports import RunSink, TaskWork
from domain.services.recorder import EventRecorder
from domain.services.runs import RunExecution, RunRules
from domain.services.task_work import BETWEEN_OUTPUTS
from persistence.engine import Database
from tests.support.fakes import FakeHints, ScriptedRunner, a_ledger_entry, a_team_with_tasks
from tests.support.routes import FakeCatalogue, a_model, an_offer
from tests.support.run_workers import RULES, Blocked, Worker, a_call, failing, queued
from tests.support.worlds import FakeWorld, SqlWorld, World

COMPLETED, FAILED, CANCELLED, SKIPPED, PENDING, RUNNING = (
    TaskExecutionStatus.COMPLETED,
    TaskExecutionStatus.FAILED,
    TaskExecutionStatus.CANCELLED,
    TaskExecutionStatus.SKIPPED,
    TaskExecutionStatus.PENDING,
    TaskExecutionStatus.RUNNING,
)


async def calling(work: TaskWork, sink: RunSink) -> str:
    for _ in range(2):
        sink.book(a_ledger_entry(work), a_call(work))
    return "called"


async def kinds(world: World, execution: Execution) -> list[str]:
    events = await world.events(execution.id)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    return [event.type for event in events]


async def statuses(world: World, execution: Execution) -> list[TaskExecutionStatus]:
    return [task.status for task in await world.tasks(execution.id)]


def only(events: list[ExecutionEvent] | Any, kind: type[Any]) -> Any:
    """The one event of this kind."""
    found = [event for event in events if isinstance(event, kind)]
    assert len(found) == 1
    return found[0]


async def test_tasks_run_in_order_and_the_last_output_is_the_executions(
    world: World, a_worker: Callable[..., Worker]
) -> None:
    execution = await queued(world, "first", "second")
    worker = a_worker()

    await worker(execution)

    assert worker.runner.names == ["first", "second"]
    ended = await world.execution(execution.id)
    assert (ended.status, ended.output) == (ExecutionStatus.COMPLETED, "second done")
    assert ended.finished_at is not None
    assert await statuses(world, execution) == [COMPLETED, COMPLETED]
    assert await kinds(world, execution) == [
        "ExecutionStarted",
        "TaskStarted",
        "TaskCompleted",
        "TaskStarted",
        "TaskCompleted",
        "ExecutionCompleted",
    ]


async def test_a_task_is_committed_before_the_next_begins(world: World, a_worker: Callable[..., Worker]) -> None:
    execution = await queued(world, "first", "second")
    seen: list[list[TaskExecutionStatus]] = []

    async def look(_: TaskWork, __: RunSink) -> str:
        seen.append(await statuses(world, execution))
        return "seen"

    await a_worker(first=look, second=look)(execution)

    assert seen == [[RUNNING, PENDING], [COMPLETED, RUNNING]]


async def test_tokens_and_cost_of_a_task_are_those_it_booked(world: World, a_worker: Callable[..., Worker]) -> None:
    execution = await queued(world, "only")

    await a_worker(only=calling)(execution)

    completed = only(await world.events(execution.id), TaskCompleted)
    assert (completed.total_tokens, completed.cost_amount) == (20, Decimal("0.02"))
    assert await world.calls(execution.id) == 2


async def test_a_task_sees_all_earlier_outputs_or_those_it_waits_for_and_the_newest_when_long(
    world: World, a_worker: Callable[..., Worker]
) -> None:
    execution, tasks, snapshot = a_team_with_tasks("a", "b", "c", "d")
    tasks[2].waits_for = [tasks[0].id]
    await world.add(execution, tasks, snapshot)

    async def long(_: TaskWork, __: RunSink) -> str:
        return "x" * 50 + "end"

    worker = a_worker(c=long)
    await worker(execution)

    everything = BETWEEN_OUTPUTS.join(["a done", "b done", "x" * 50 + "end"])
    assert [work.context for work in worker.runner.works] == ["", "a done", "a done", everything[-60:]]


async def test_a_role_without_a_model_gets_the_default(world: World, a_worker: Callable[..., Worker]) -> None:
    execution, tasks, snapshot = a_team_with_tasks("only")
    await world.add(execution, tasks, snapshot)
    worker = a_worker()

    await worker(execution)

    assert [work.model for work in worker.runner.works] == ["test/default"]
    assert only(await world.events(execution.id), TaskStarted).model == "test/default"
    assert (await world.tasks(execution.id))[0].model == "test/default"


async def test_without_a_default_the_task_is_routed_by_preference_and_complexity(
    world: World, a_worker: Callable[..., Worker]
) -> None:
    execution, tasks, snapshot = a_team_with_tasks("only")
    tasks[0].quality_preference = QualityPreference.PREMIUM
    await world.add(execution, tasks, snapshot)
    models = [an_offer(a_model("openai/big", tier=Tier.PREMIUM)), an_offer(a_model("openai/good", tier=Tier.STANDARD))]
    worker = a_worker(rules=RunRules(), models=FakeCatalogue(*models, failures=[Unavailable("away")]))

    await worker(execution)

    assert [work.model for work in worker.runner.works] == ["openai/good"]
    assert (await world.tasks(execution.id))[0].model == "openai/good"


async def test_a_task_that_no_model_can_be_found_for_fails_with_the_reason(
    world: World, a_worker: Callable[..., Worker]
) -> None:
    execution = await queued(world, "first", "second")
    worker = a_worker(rules=RunRules())

    await worker(execution)

    ended = await world.execution(execution.id)
    assert (ended.status, ended.failure_code) == (ExecutionStatus.FAILED, FailureCode.MODEL_UNAVAILABLE)
    assert await statuses(world, execution) == [FAILED, SKIPPED]
    assert worker.runner.names == []


async def test_what_was_missing_of_a_budget_stands_on_task_execution_and_events(
    world: World, a_worker: Callable[..., Worker]
) -> None:
    execution = await queued(world, "only")
    shortfall = Shortfall(BudgetScope.TEAM, Decimal(5), Decimal("4.5"), Decimal(0), Decimal("0.75"))
    failure = RunFailed(FailureCode.BUDGET_EXCEEDED, shortfall.message)
    failure.shortfall = shortfall

    await a_worker(only=failing(failure))(execution)

    failed = [(await world.execution(execution.id)).failure, (await world.tasks(execution.id))[0].failure]
    assert [each and each.budget for each in failed] == [shortfall, shortfall]
    events = await world.events(execution.id)
    assert only(events, TaskFailed).budget == only(events, ExecutionFailed).budget == shortfall


async def test_a_failure_that_may_pass_is_tried_again(world: World, a_worker: Callable[..., Worker]) -> None:
    execution = await queued(world, "only", max_attempts=2)
    failure = RunFailed(FailureCode.MODEL_UNAVAILABLE, "busy", retryable=True)

    await a_worker(only=failing(failure))(execution)

    task = (await world.tasks(execution.id))[0]
    assert (task.status, task.attempts, task.output) == (COMPLETED, 2, "only at last")
    failed = only(await world.events(execution.id), TaskFailed)
    assert (failed.attempt, failed.will_retry, failed.code) == (1, True, FailureCode.MODEL_UNAVAILABLE)


@pytest.mark.parametrize(("retryable", "attempts"), [(True, 2), (False, 1)])
async def test_a_failure_that_stays_fails_the_execution_and_skips_the_rest(
    world: World, a_worker: Callable[..., Worker], retryable: bool, attempts: int
) -> None:
    execution = await queued(world, "first", "second", "third", max_attempts=2)
    failures = [RunFailed(FailureCode.MODEL_REFUSED, "no", retryable=retryable) for _ in range(2)]
    worker = a_worker(second=failing(*failures))

    await worker(execution)

    ended = await world.execution(execution.id)
    assert (ended.status, ended.failure_code, ended.failure_message) == (
        ExecutionStatus.FAILED,
        FailureCode.MODEL_REFUSED,
        "no",
    )
    assert await statuses(world, execution) == [COMPLETED, FAILED, SKIPPED]
    assert (await world.tasks(execution.id))[1].attempts == attempts
    assert (await kinds(world, execution))[-2:] == ["TaskFailed", "ExecutionFailed"]
    assert "third" not in worker.runner.names


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"task_timeout_seconds": 0.05}, FailureCode.TASK_TIMEOUT),
        ({"execution_timeout_seconds": 0.05}, FailureCode.EXECUTION_TIMEOUT),
    ],
)
async def test_a_task_that_takes_too_long_fails(
    world: World, a_worker: Callable[..., Worker], limits: dict[str, float], code: FailureCode
) -> None:
    execution = await queued(world, "slow", "next", **limits)
    blocked = Blocked()

    await a_worker(slow=blocked)(execution)

    assert blocked.was_cancelled
    assert (await world.execution(execution.id)).failure_code is code
    assert await statuses(world, execution) == [FAILED, SKIPPED]
    assert (await kinds(world, execution))[-3:] == ["ModelCalled", "TaskFailed", "ExecutionFailed"]


async def test_a_bug_fails_the_execution_without_showing_itself(world: World, a_worker: Callable[..., Worker]) -> None:
    execution = await queued(world, "only", max_attempts=2)

    await a_worker(only=failing(KeyError("secret")))(execution)

    over = only(await world.events(execution.id), ExecutionFailed)
    assert over.code is FailureCode.INTERNAL
    assert "Correlation id" in over.message
    assert "secret" not in over.message


async def test_an_end_that_cannot_be_stored_still_ends_the_execution() -> None:
    world = FakeWorld()
    execution = await queued(world, "only")
    recorder = EventRecorder(world.store, FakeHints())
    recorder.start()

    async def breaking(_: TaskWork, __: RunSink) -> str:
        world.store.failures = [ValueError("as a group"), ValueError("alone"), ValueError("cleaned")]
        return "unstorable"

    run = RunExecution(world.store, recorder, ScriptedRunner(only=breaking), FakeCatalogue(), "w1", RULES)
    await run(await world.admit(execution.id))
    await recorder.stop(1)

    ended = await world.execution(execution.id)
    assert (ended.status, ended.failure_code) == (ExecutionStatus.FAILED, FailureCode.INTERNAL)


async def test_cancelling_closes_the_call_in_flight_and_books_it_before_the_end(
    world: World, a_worker: Callable[..., Worker]
) -> None:
    execution = await queued(world, "first", "second", "third")
    blocked = Blocked()
    worker = a_worker(second=blocked)
    running = worker.begin(execution)
    await blocked.begun.wait()

    await world.move(execution, ExecutionStatus.CANCELLING)
    worker.run.cancel(execution.id)
    await running

    assert blocked.was_cancelled
    assert (await world.execution(execution.id)).status is ExecutionStatus.CANCELLED
    assert await statuses(world, execution) == [COMPLETED, CANCELLED, CANCELLED]
    assert (await kinds(world, execution))[-2:] == ["ModelCalled", "ExecutionCancelled"]
    assert await world.calls(execution.id) == 1
    assert worker.run.active == 0


async def test_a_cancellation_that_comes_with_the_last_output_wins(
    world: World, a_worker: Callable[..., Worker]
) -> None:
    execution = await queued(world, "only")

    async def cancelled_meanwhile(_: TaskWork, __: RunSink) -> str:
        await world.move(execution, ExecutionStatus.CANCELLING)
        return "done"

    await a_worker(only=cancelled_meanwhile)(execution)

    assert (await world.execution(execution.id)).status is ExecutionStatus.CANCELLED
    assert await statuses(world, execution) == [COMPLETED]
    assert (await kinds(world, execution))[-2:] == ["TaskCompleted", "ExecutionCancelled"]


async def test_a_claim_that_finds_it_cancelling_ends_it(world: World, a_worker: Callable[..., Worker]) -> None:
    execution = await queued(world, "only")
    await world.claim(execution.id, "dead")
    await world.move(execution, ExecutionStatus.CANCELLING)
    worker = a_worker()

    await worker(execution)

    assert (await world.execution(execution.id)).status is ExecutionStatus.CANCELLED
    assert await statuses(world, execution) == [CANCELLED]
    assert worker.runner.names == []


async def test_after_a_crash_another_worker_goes_on_and_runs_no_completed_task_again(
    world: World, a_worker: Callable[..., Worker]
) -> None:
    execution = await queued(world, "first", "second", "third")
    blocked = Blocked()
    crashed = a_worker("crashed", second=blocked)
    running = crashed.begin(execution)
    await blocked.begun.wait()

    survivor = a_worker("survivor")
    await survivor(execution)

    assert survivor.runner.names == ["second", "third"]
    assert [work.context for work in survivor.runner.works] == [
        "first done",
        BETWEEN_OUTPUTS.join(["first done", "second done"]),
    ]
    assert (await world.execution(execution.id)).status is ExecutionStatus.COMPLETED
    assert [task.attempts for task in await world.tasks(execution.id)] == [1, 1, 1]
    running.cancel()
    await asyncio.wait({running})


async def test_a_run_that_lost_its_execution_stops_and_writes_nothing(
    world: World, a_worker: Callable[..., Worker]
) -> None:
    execution = await queued(world, "only")
    blocked = Blocked()
    stalled = a_worker("stalled", only=blocked)
    running = stalled.begin(execution)
    await blocked.begun.wait()
    await world.claim(execution.id, "another")
    before = await kinds(world, execution)

    stalled.recorder.sink(stalled.runner.works[0].ownership).emit(a_call(stalled.runner.works[0]))
    await running
    await stalled.recorder.flush(30)

    assert blocked.was_cancelled
    assert await kinds(world, execution) == before
    assert await world.calls(execution.id) == 1  # the call that it closed is paid
    assert (await world.execution(execution.id)).status is ExecutionStatus.RUNNING


async def test_a_second_claim_in_the_same_process_stops_the_first_run(
    world: World, a_worker: Callable[..., Worker]
) -> None:
    execution = await queued(world, "only")
    blocked, works = Blocked(), 0

    async def first_blocks(work: TaskWork, sink: RunSink) -> str:
        nonlocal works
        works += 1
        return await blocked(work, sink) if works == 1 else "second"

    worker = a_worker(only=first_blocks)
    first = worker.begin(execution)
    await blocked.begun.wait()

    await worker(execution)
    async with asyncio.timeout(20):
        await first
    await worker.recorder.flush(30)

    assert blocked.was_cancelled
    assert worker.run.active == 0
    ended = await world.execution(execution.id)
    assert (ended.status, ended.output) == (ExecutionStatus.COMPLETED, "second")
    assert await world.calls(execution.id) == 1


async def test_tokens_and_cost_of_a_task_include_what_a_lost_worker_paid(
    world: World, a_worker: Callable[..., Worker]
) -> None:
    execution = await queued(world, "only")
    begun = asyncio.Event()

    async def pays_and_hangs(work: TaskWork, sink: RunSink) -> str:
        await calling(work, sink)
        begun.set()
        await asyncio.Event().wait()
        return ""

    lost = a_worker("lost", only=pays_and_hangs)
    running = lost.begin(execution)
    await begun.wait()
    await lost.recorder.flush(30)

    await a_worker("survivor", only=calling)(execution)

    completed = only(await world.events(execution.id), TaskCompleted)
    assert (completed.total_tokens, completed.cost_amount) == (40, Decimal("0.04"))
    running.cancel()
    await asyncio.wait({running})


async def test_an_execution_whose_plan_cannot_be_read_fails(database: Database) -> None:
    world = SqlWorld(database)
    execution, tasks, snapshot = a_team_with_tasks("only")
    await world.add(execution, tasks, snapshot)
    async with world.units(DEFAULT_TENANT) as unit:
        revision_id = await unit.definitions.keep_revision(execution.team_id, '{"roles": "none"}', "hash")
        await unit.commit()
    await database.pool.execute("UPDATE execution SET revision_id = $1", revision_id)
    recorder = EventRecorder(world.store, FakeHints())
    runner = ScriptedRunner()

    await RunExecution(world.store, recorder, runner, FakeCatalogue(), "w1", RULES)(await world.admit(execution.id))

    ended = await world.execution(execution.id)
    assert (ended.status, ended.failure_code) == (ExecutionStatus.FAILED, FailureCode.INTERNAL)
    assert "Correlation id" in (ended.failure_message or "")
    assert await statuses(world, execution) == [SKIPPED]
    assert await kinds(world, execution) == ["ExecutionFailed"]
    assert runner.names == []


async def test_what_is_claimed_while_the_worker_stops_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    world = FakeWorld()
    execution = await queued(world, "only")
    recorder, runner, claiming = EventRecorder(world.store, FakeHints()), ScriptedRunner(), asyncio.Event()
    run, claim, answered = (
        RunExecution(world.store, recorder, runner, FakeCatalogue(), "w1", RULES),
        world.store.claim,
        asyncio.Event(),
    )

    async def slow(*which: Any) -> Any:
        claiming.set()
        await answered.wait()
        return await claim(*which)

    monkeypatch.setattr(world.store, "claim", slow)
    recorder.start()
    running = asyncio.create_task(run(await world.admit(execution.id)))
    await claiming.wait()
    await run.stop(0)
    answered.set()

    results = await asyncio.gather(running, return_exceptions=True)
    await recorder.stop(1)

    assert [type(result) for result in results] == [asyncio.CancelledError]
    assert runner.names == []


async def test_a_run_whose_bookings_are_lost_fails_with_its_tasks_as_they_ended() -> None:
    world = FakeWorld()
    execution = await queued(world, "only")
    recorder = EventRecorder(world.store, FakeHints())
    recorder.start()

    async def unbookable(work: TaskWork, sink: RunSink) -> str:
        world.store.failures = [ValueError("as a group"), ValueError("alone"), ValueError("cleaned")]
        sink.book(a_ledger_entry(work), a_call(work))
        await recorder.flush(30)
        return "done"

    runner = ScriptedRunner(only=unbookable)
    await RunExecution(world.store, recorder, runner, FakeCatalogue(), "w1", RULES)(await world.admit(execution.id))
    await recorder.stop(1)

    ended = await world.execution(execution.id)
    assert (ended.status, ended.failure_code) == (ExecutionStatus.FAILED, FailureCode.INTERNAL)
    assert await statuses(world, execution) == [COMPLETED]


async def test_an_execution_that_kills_its_workers_fails(world: World, a_worker: Callable[..., Worker]) -> None:
    execution = await queued(world, "only")
    for _ in range(3):
        await world.claim(execution.id, "dead")
    worker = a_worker(rules=replace(RULES, most_takeovers=2))

    await worker(execution)

    assert (await world.execution(execution.id)).failure_code is FailureCode.WORKER_LOST
    assert worker.runner.names == []


async def test_a_stopping_worker_leaves_what_does_not_end_for_another_one(
    world: World, a_worker: Callable[..., Worker]
) -> None:
    execution = await queued(world, "only")
    blocked = Blocked()
    worker = a_worker(only=blocked)
    running = worker.begin(execution)
    await blocked.begun.wait()

    await worker.run.stop(0.01)
    results = await asyncio.gather(running, return_exceptions=True)

    assert [type(result) for result in results] == [asyncio.CancelledError]
    assert (await world.execution(execution.id)).status is ExecutionStatus.RUNNING
    successor = a_worker("w2")
    await successor(execution)
    assert (await world.execution(execution.id)).status is ExecutionStatus.COMPLETED


async def test_an_execution_that_is_over_is_left_alone(world: World, a_worker: Callable[..., Worker]) -> None:
    execution = await queued(world, "only")
    await a_worker()(execution)
    again = a_worker("w2")

    await again(execution)

    assert again.runner.names == []
    assert (await kinds(world, execution))[-1] == "ExecutionCompleted"
