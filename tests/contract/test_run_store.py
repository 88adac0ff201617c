import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from domain.errors import Busy, FailureCode, RunFailed, Unavailable
from domain.events import (
    TERMINAL,
    ExecutionCompleted,
    ExecutionEvent,
    ExecutionFailed,
    ExecutionStarted,
    OutputStreamed,
    ToolCalled,
)
from domain.model.approval import Approval, ApprovalKind, ApprovalStatus
from domain.model.budget import BudgetScope, Shortfall
from domain.model.execution import ExecutionStatus, TaskExecution, TaskExecutionStatus
from domain.model.failure import Failure
from domain.model.identity import DEFAULT_TENANT, LedgerEntryId, new_id, utc_now
from domain.model.journal import CallKind, JournalEntry
from domain.model.ledger import LedgerEntry
from domain.model.routing import QualityPreference
from domain.ports import Change, Claimed, CommandKind, Ownership, TaskWork
from persistence import run_store
from persistence.engine import Database
from tests.support.fakes import a_ledger_entry, a_team_with_tasks
from tests.support.routes import a_route
from tests.support.worlds import FakeWorld, SqlWorld, World


@pytest.fixture(params=["fake", "sql"])
def world(request: pytest.FixtureRequest) -> World:
    return FakeWorld() if request.param == "fake" else SqlWorld(request.getfixturevalue("database"))


async def a_run(world: World, worker: str = "w1") -> Claimed:
    execution, tasks, snapshot = a_team_with_tasks("first", "second")
    await world.add(execution, tasks, snapshot)
    claimed = await world.claim(execution.id, worker)
    assert claimed
    return claimed


def a_change(owner: Ownership, *tools: str) -> Change:
    tenant_id, execution_id = owner.tenant_id, owner.execution_id
    return Change(
        owner,
        [ToolCalled(tenant_id=tenant_id, execution_id=execution_id, tool=tool, arguments="{}") for tool in tools],
    )


def the_end(claimed: Claimed) -> Change:
    owner = claimed.ownership
    over = ExecutionCompleted(tenant_id=owner.tenant_id, execution_id=owner.execution_id, completed_tasks=2)
    execution = replace(claimed.execution, status=ExecutionStatus.COMPLETED, output="out", finished_at=utc_now())
    return Change(owner, [over], execution=execution, expected=ExecutionStatus.RUNNING)


def told(events: Sequence[ExecutionEvent]) -> list[str]:
    return [event.tool if isinstance(event, ToolCalled) else event.type for event in events]


async def test_a_claim_starts_the_execution_and_brings_the_whole_plan(world: World) -> None:
    execution, tasks, snapshot = a_team_with_tasks("first", "second")
    await world.add(execution, tasks, snapshot)

    claimed = await world.claim(execution.id, "w1")

    assert claimed
    assert (claimed.execution.status, claimed.execution.worker_id) == (ExecutionStatus.RUNNING, "w1")
    assert claimed.execution.started_at is not None
    assert [task.name for task in claimed.tasks] == ["first", "second"]
    assert [role.title for role in claimed.snapshot.roles] == ["Writer"]
    assert claimed.ownership == Ownership(DEFAULT_TENANT, execution.project_id, execution.id, 1)
    assert told(await world.events(execution.id)) == ["ExecutionStarted"]


async def test_a_second_claim_takes_over_under_a_new_epoch_and_keeps_the_start(world: World) -> None:
    first = await a_run(world)

    second = await world.claim(first.execution.id, "w2")

    assert second
    assert second.ownership.epoch == 2
    assert second.execution.started_at == first.execution.started_at
    started = (await world.events(first.execution.id))[1]
    assert (started.sequence, getattr(started, "is_recovery", None), getattr(started, "worker_id", "")) == (
        2,
        True,
        "w2",
    )


async def test_an_execution_that_is_over_or_unknown_cannot_be_claimed(world: World) -> None:
    claimed = await a_run(world)
    await world.store.commit([the_end(claimed)])

    assert await world.claim(claimed.execution.id, "w2") is None
    assert told(await world.events(claimed.execution.id)) == ["ExecutionStarted", "ExecutionCompleted"]


async def test_one_that_is_cancelling_stays_so_when_it_is_claimed(world: World) -> None:
    first = await a_run(world)
    await world.move(first.execution, ExecutionStatus.CANCELLING)

    second = await world.claim(first.execution.id, "w2")

    assert second
    assert second.execution.status is ExecutionStatus.CANCELLING
    assert await world.store.commands("w2") == [(first.execution.id, CommandKind.CANCEL)]
    assert await world.store.commands("w1") == []


async def test_several_writers_number_without_gaps(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nobody is Busy because this process stood still for a moment with a row in its hands.
    monkeypatch.setattr(run_store, "_LOCK_TIMEOUT", "SET LOCAL lock_timeout = '20s'")
    runs = [await a_run(world) for _ in range(3)]

    async def write(number: int) -> None:
        for step in range(10):
            await world.store.commit([a_change(run.ownership, f"{number}.{step}") for run in runs])

    await asyncio.gather(*(write(number) for number in range(4)))

    for run in runs:
        events = await world.events(run.execution.id)
        assert [event.sequence for event in events] == list(range(1, 42))
        for number in range(4):
            own = [name for name in told(events) if name.startswith(f"{number}.")]
            assert own == [f"{number}.{step}" for step in range(10)]


async def test_a_group_keeps_the_order_of_its_changes(world: World) -> None:
    one, other = await a_run(world), await a_run(world)

    accepted = await world.store.commit(
        [
            a_change(one.ownership, "a", "b"),
            a_change(other.ownership, "x"),
            a_change(one.ownership, "c"),
            the_end(one),
        ]
    )

    assert accepted == [True, True, True, True]
    assert told(await world.events(one.execution.id)) == ["ExecutionStarted", "a", "b", "c", "ExecutionCompleted"]
    assert told(await world.events(other.execution.id)) == ["ExecutionStarted", "x"]


async def test_an_old_epoch_writes_nothing_and_harms_nobody_in_its_group(world: World) -> None:
    old, other = await a_run(world), await a_run(world)
    new = await world.claim(old.execution.id, "w2")
    assert new
    task = replace(old.tasks[0], status=TaskExecutionStatus.COMPLETED, output="stale")
    stale = replace(a_change(old.ownership, "stale"), task_executions=[task], ledger=[an_entry(old)])

    accepted = await world.store.commit(
        [stale, a_change(other.ownership, "x"), a_change(new.ownership, "fresh"), the_end(old)]
    )

    assert accepted == [False, True, True, False]
    assert told(await world.events(old.execution.id)) == ["ExecutionStarted", "ExecutionStarted", "fresh"]
    assert [each.status for each in await world.tasks(old.execution.id)] == [TaskExecutionStatus.PENDING] * 2
    assert await world.calls(old.execution.id) == 1  # what was paid is paid
    assert (await world.execution(old.execution.id)).status is ExecutionStatus.RUNNING


async def test_nothing_is_written_after_the_end_not_even_in_its_own_group(world: World) -> None:
    claimed = await a_run(world)

    same_group = await world.store.commit([the_end(claimed), a_change(claimed.ownership, "late")])
    later = await world.store.commit([a_change(claimed.ownership, "later")])

    assert (same_group, later) == ([True, False], [False])
    assert told(await world.events(claimed.execution.id)) == ["ExecutionStarted", "ExecutionCompleted"]
    ended = await world.execution(claimed.execution.id)
    assert (ended.status, ended.output) == (ExecutionStatus.COMPLETED, "out")


async def test_a_move_from_another_state_is_refused_and_the_rest_is_kept(world: World) -> None:
    claimed = await a_run(world)
    await world.move(claimed.execution, ExecutionStatus.CANCELLING)

    accepted = await world.store.commit([a_change(claimed.ownership, "a"), the_end(claimed)])

    assert accepted == [True, False]
    assert told(await world.events(claimed.execution.id)) == ["ExecutionStarted", "a"]
    assert (await world.execution(claimed.execution.id)).status is ExecutionStatus.CANCELLING


async def test_tasks_and_ledger_entries_are_written_with_their_events(world: World) -> None:
    claimed = await a_run(world)
    done = replace(
        claimed.tasks[0],
        status=TaskExecutionStatus.COMPLETED,
        attempts=1,
        model="m",
        output="text",
        finished_at=utc_now(),
    )

    await world.store.commit(
        [replace(a_change(claimed.ownership, "a"), task_executions=[done], ledger=[an_entry(claimed)])]
    )

    kept = (await world.tasks(claimed.execution.id))[0]
    assert (kept.status, kept.attempts, kept.model, kept.output) == (TaskExecutionStatus.COMPLETED, 1, "m", "text")
    assert await world.calls(claimed.execution.id) == 1


async def test_nobody_claims_without_the_place_that_was_given_to_him(world: World) -> None:
    execution, tasks, snapshot = a_team_with_tasks("only")
    await world.add(execution, tasks, snapshot)
    earlier = await world.admit(execution.id, "w1")
    now = await world.admit(execution.id, "w2")

    assert await world.store.claim(earlier, "w1") is None
    assert await world.store.claim(now, "w1") is None

    assert await world.store.claim(now, "w2")
    assert told(await world.events(execution.id)) == ["ExecutionStarted"]


async def test_a_finished_call_is_remembered_until_its_task_is_over(world: World) -> None:
    first = await a_run(world)
    task = first.tasks[0]
    begun, calls = (
        replace(task, status=TaskExecutionStatus.RUNNING, attempts=1),
        [a_call_kept(task, 1), a_call_kept(task, 2)],
    )
    await world.store.commit(
        [Change(first.ownership, task_executions=[begun], journal=[replace(calls[0], answer=None)])]
    )
    await world.store.commit([Change(first.ownership, journal=calls)])

    second = await world.claim(first.execution.id, "w2")

    assert second
    assert sorted((call.ordinal, call.answer) for call in second.journal) == [(1, {"text": "1"}), (2, {"text": "2"})]
    done = replace(begun, status=TaskExecutionStatus.COMPLETED, output="out")
    await world.store.commit([Change(second.ownership, task_executions=[done])])
    third = await world.claim(first.execution.id, "w3")
    assert third
    assert list(third.journal) == []


async def test_a_refused_change_leaves_nothing_in_the_journal(world: World) -> None:
    first = await a_run(world)
    await world.claim(first.execution.id, "w2")

    assert list(await world.store.commit([Change(first.ownership, journal=[a_call_kept(first.tasks[0], 1)])])) == [
        False
    ]

    last = await world.claim(first.execution.id, "w3")
    assert last
    assert list(last.journal) == []


async def test_what_a_run_paid_for_after_it_was_taken_over_is_known_to_the_next_one(world: World) -> None:
    first = await a_run(world)
    begun = replace(first.tasks[0], status=TaskExecutionStatus.RUNNING, attempts=1)
    await world.store.commit([Change(first.ownership, task_executions=[begun])])
    await world.claim(first.execution.id, "w2")
    paid = replace(an_entry(first), attempt=1)
    late = replace(a_call_kept(begun, 1), ledger_entry_id=paid.id)

    assert list(await world.store.commit([Change(first.ownership, ledger=[paid], journal=[late])])) == [False]

    last = await world.claim(first.execution.id, "w3")
    assert last
    assert [call.ordinal for call in last.journal] == [1]


async def test_the_http_attempts_of_a_call_are_counted_over_all_runs(world: World) -> None:
    first = await a_run(world)
    begun = replace(first.tasks[0], status=TaskExecutionStatus.RUNNING, attempts=1)
    entries = [
        replace(an_entry(first), attempt=1, call=2, call_attempt=attempt, id=LedgerEntryId(new_id()))
        for attempt in (1, 2)
    ]
    await world.store.commit([Change(first.ownership, task_executions=[begun], ledger=entries)])

    second = await world.claim(first.execution.id, "w2")

    assert second
    assert dict(second.http_attempts) == {(begun.id, 1, 2): 2}


async def test_a_pause_gives_the_place_back_and_is_refused_when_nobody_asked_for_it(world: World) -> None:
    claimed = await a_run(world)
    paused = replace(claimed.execution, status=ExecutionStatus.PAUSED, waiting_from=utc_now())
    change = Change(claimed.ownership, [], execution=paused, expected=ExecutionStatus.RUNNING)
    assert list(await world.store.commit([change])) == [False]
    await world.change(claimed.execution.id, pause_requested_at=utc_now())
    assert await world.store.commands("w1") == [(claimed.execution.id, CommandKind.PAUSE)]

    assert list(await world.store.commit([change])) == [True]

    kept = await world.execution(claimed.execution.id)
    assert (kept.status, kept.pause_requested_at) == (ExecutionStatus.PAUSED, None)
    assert await world.store.commands("w1") == []
    assert list(await world.store.commit([a_change(claimed.ownership, "late")])) == [False]


async def test_paused_time_is_counted_and_going_on_is_no_recovery(world: World) -> None:
    claimed = await a_run(world)
    await world.change(claimed.execution.id, pause_requested_at=utc_now())
    paused = replace(claimed.execution, status=ExecutionStatus.PAUSED, waiting_from=utc_now() - timedelta(seconds=100))
    await world.store.commit([Change(claimed.ownership, execution=paused, expected=ExecutionStatus.RUNNING)])
    await world.move(claimed.execution, ExecutionStatus.RUNNING)

    again = await world.claim(claimed.execution.id, "w2")

    assert again
    assert again.execution.waited_seconds >= 100
    assert again.takeovers == 0
    events = await world.events(claimed.execution.id)
    assert not any(event.is_recovery for event in events if isinstance(event, ExecutionStarted))


async def test_nobody_waits_for_an_answer_that_is_there(world: World) -> None:
    claimed = await a_run(world)
    task = replace(claimed.tasks[0], status=TaskExecutionStatus.AWAITING_APPROVAL, attempts=1)
    asked = an_approval(claimed, task)
    await world.store.commit([Change(claimed.ownership, task_executions=[task], approvals=[asked])])
    assert await world.store.commands("w1") == []
    waits = replace(claimed.execution, status=ExecutionStatus.AWAITING_APPROVAL, waiting_from=utc_now())
    change = Change(claimed.ownership, execution=waits, expected=ExecutionStatus.RUNNING)
    await world.decide(replace(asked, status=ApprovalStatus.APPROVED))

    assert list(await world.store.commit([change])) == [False]

    assert await world.store.commands("w1") == [(claimed.execution.id, CommandKind.DECIDED)]
    found = await world.store.approvals(DEFAULT_TENANT, claimed.execution.id)
    assert [approval.status for approval in found] == [ApprovalStatus.APPROVED]


async def test_an_end_cancels_the_questions_that_are_open(world: World) -> None:
    claimed = await a_run(world)
    task = replace(claimed.tasks[0], status=TaskExecutionStatus.AWAITING_APPROVAL, attempts=1)
    await world.store.commit(
        [Change(claimed.ownership, task_executions=[task], approvals=[an_approval(claimed, task)])]
    )

    await world.store.commit([the_end(claimed)])

    assert [approval.status for approval in await world.approvals(claimed.execution.id)] == [ApprovalStatus.CANCELLED]


def a_call_kept(task: TaskExecution, ordinal: int) -> JournalEntry:
    answer = {"text": str(ordinal)}
    return JournalEntry(
        task.tenant_id, task.execution_id, task.id, 1, CallKind.MODEL, f"hash {ordinal}", 1, ordinal, answer
    )


def an_approval(claimed: Claimed, task: TaskExecution) -> Approval:
    project_id = claimed.execution.project_id
    return Approval(DEFAULT_TENANT, project_id, task.execution_id, task.id, ApprovalKind.TASK, "out", task.attempts)


async def test_a_commit_that_succeeded_although_the_answer_was_lost_is_not_made_twice(database: Database) -> None:
    world = SqlWorld(database)
    claimed = await a_run(world)
    change = replace(a_change(claimed.ownership, "a", "b"), ledger=[an_entry(claimed)])
    end = the_end(claimed)
    await world.store.commit([change, end])

    accepted = await world.store.commit([change, end])

    assert accepted == [True, True]
    assert told(await world.events(claimed.execution.id)) == ["ExecutionStarted", "a", "b", "ExecutionCompleted"]
    assert await world.calls(claimed.execution.id) == 1


async def test_what_was_paid_is_booked_after_the_end_and_once(world: World) -> None:
    claimed = await a_run(world)
    await world.store.commit([the_end(claimed)])
    late = replace(a_change(claimed.ownership, "late"), ledger=[an_entry(claimed)])

    accepted = [await world.store.commit([late]) for _ in range(2)]

    assert accepted == [[False], [False]]
    assert await world.calls(claimed.execution.id) == 1
    assert told(await world.events(claimed.execution.id)) == ["ExecutionStarted", "ExecutionCompleted"]


async def test_a_claim_that_takes_over_brings_what_was_spent(world: World) -> None:
    first = await a_run(world)
    entries = [an_entry(first), an_entry(first)]
    await world.store.commit([replace(a_change(first.ownership, "a"), ledger=entries)])

    second = await world.claim(first.execution.id, "w2")

    assert first.spent == {}
    assert second
    usage = second.spent[first.tasks[0].id]
    assert (usage.calls, usage.total_tokens, usage.amount) == (2, 20, Decimal("0.02"))


@pytest.mark.parametrize(
    ("before", "after", "task"),
    [
        (ExecutionStatus.RUNNING, ExecutionStatus.FAILED, TaskExecutionStatus.SKIPPED),
        (ExecutionStatus.CANCELLING, ExecutionStatus.CANCELLED, TaskExecutionStatus.CANCELLED),
    ],
)
async def test_giving_up_ends_an_execution_and_fences_its_owner(
    world: World, before: ExecutionStatus, after: ExecutionStatus, task: TaskExecutionStatus
) -> None:
    claimed = await a_run(world)
    await world.move(claimed.execution, before)
    failure = RunFailed(FailureCode.INTERNAL, "Broken.")

    place = (await world.admit(claimed.execution.id), "w1")
    for _ in range(2):
        await world.store.give_up(DEFAULT_TENANT, claimed.execution.id, failure, place)
    accepted = await world.store.commit([a_change(claimed.ownership, "late")])

    ended = await world.execution(claimed.execution.id)
    assert ended.status is after
    assert ended.failure_message == ("Broken." if after is ExecutionStatus.FAILED else None)
    assert [each.status for each in await world.tasks(claimed.execution.id)] == [task, task]
    assert accepted == [False]
    events = await world.events(claimed.execution.id)
    assert [event.sequence for event in events] == [1, 2]
    assert isinstance(events[-1], TERMINAL)


SHORTFALL = Shortfall(BudgetScope.TEAM, Decimal(1), Decimal("0.9"), Decimal(0), Decimal("0.2"))


async def test_what_was_missing_of_a_budget_is_kept_with_the_failed_task_and_execution(world: World) -> None:
    claimed = await a_run(world)
    failed: dict[str, Any] = {
        "failure_code": FailureCode.BUDGET_EXCEEDED,
        "failure_message": SHORTFALL.message,
        "failure_details": SHORTFALL.as_document(),
    }
    task = replace(claimed.tasks[0], status=TaskExecutionStatus.FAILED, **failed)
    execution = replace(claimed.execution, status=ExecutionStatus.FAILED, finished_at=utc_now(), **failed)
    owner = claimed.ownership
    over = ExecutionFailed(
        tenant_id=owner.tenant_id,
        execution_id=owner.execution_id,
        code=FailureCode.BUDGET_EXCEEDED,
        message=SHORTFALL.message,
        budget=SHORTFALL,
    )

    moved = Change(owner, [over], [task], execution=execution, expected=ExecutionStatus.RUNNING)
    assert await world.store.commit([moved]) == [True]

    why = Failure(FailureCode.BUDGET_EXCEEDED, SHORTFALL.message, SHORTFALL)
    assert (await world.execution(owner.execution_id)).failure == why
    assert (await world.tasks(owner.execution_id))[0].failure == why
    assert getattr((await world.events(owner.execution_id))[-1], "budget", None) == SHORTFALL


async def test_giving_up_for_want_of_money_says_what_was_missing(world: World) -> None:
    claimed = await a_run(world)
    failure = RunFailed(FailureCode.BUDGET_EXCEEDED, SHORTFALL.message)
    failure.shortfall = SHORTFALL

    await world.store.give_up(
        DEFAULT_TENANT, claimed.execution.id, failure, (await world.admit(claimed.execution.id), "w1")
    )

    ended = await world.execution(claimed.execution.id)
    assert ended.failure == Failure(FailureCode.BUDGET_EXCEEDED, SHORTFALL.message, SHORTFALL)
    assert getattr((await world.events(claimed.execution.id))[-1], "budget", None) == SHORTFALL


async def test_a_claim_brings_what_the_kickoff_asked_of_money_and_output(world: World) -> None:
    execution, tasks, snapshot = a_team_with_tasks("only")
    execution.max_budget, execution.max_task_budget = Decimal("1.5"), Decimal("0.000000000001")
    execution.quality_preference = tasks[0].quality_preference = QualityPreference.PREMIUM
    tasks[0].max_budget, tasks[0].output_schema = Decimal("0.5"), {"type": "object"}
    await world.add(execution, tasks, snapshot)

    claimed = await world.claim(execution.id, "w1")

    assert claimed
    run, task = claimed.execution, claimed.tasks[0]
    assert (run.max_budget, run.max_task_budget) == (Decimal("1.5"), Decimal("0.000000000001"))
    assert (task.max_budget, task.output_schema) == (Decimal("0.5"), {"type": "object"})
    assert (run.quality_preference, task.quality_preference) == (QualityPreference.PREMIUM,) * 2


async def test_an_execution_that_somebody_else_holds_is_busy_soon(database: Database) -> None:
    world = SqlWorld(database)
    held, other = await a_run(world), await a_run(world)

    async with world.units(DEFAULT_TENANT) as unit:
        await unit.executions.lock(held.execution.id)
        with pytest.raises(Busy):
            await world.store.commit([a_change(held.ownership, "a"), a_change(other.ownership, "x")])
        alone = await world.store.commit([a_change(other.ownership, "x")])

    assert alone == [True]
    assert told(await world.events(held.execution.id)) == ["ExecutionStarted"]


async def test_a_commit_that_failed_is_numbered_anew(database: Database) -> None:
    world = SqlWorld(database)
    claimed = await a_run(world)
    text = OutputStreamed(tenant_id=DEFAULT_TENANT, execution_id=claimed.execution.id, call=1, text="a\x00b")
    unstorable = Change(claimed.ownership, [text])
    good = a_change(claimed.ownership, "a")

    with pytest.raises(Exception, match="u0000"):
        await world.store.commit([good, unstorable])
    await world.store.commit([a_change(claimed.ownership, "before")])
    await world.store.commit([good])

    assert told(await world.events(claimed.execution.id)) == ["ExecutionStarted", "before", "a"]


async def test_a_database_that_does_not_answer_is_unavailable(database: Database) -> None:
    world = SqlWorld(database)
    claimed = await a_run(world)
    await database.pool.execute("SELECT 1")
    database.pool.terminate()

    with pytest.raises(Unavailable):
        await world.store.commit([a_change(claimed.ownership, "a")])


def an_entry(claimed: Claimed) -> LedgerEntry:
    task, role = claimed.tasks[0], claimed.snapshot.roles[0]
    work = TaskWork(claimed.ownership, claimed.execution.team_id, task, role, [], "", a_route("m"), 5, 10.0)
    return a_ledger_entry(work)
