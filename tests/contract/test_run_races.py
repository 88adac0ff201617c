"""Runs that are killed, stopped, paused, cancelled or answered just where it hurts."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

import domain.services.run
from domain.errors import AnswerAwaited, FailureCode, RunFailed, Unavailable
from domain.events import TaskFailed
from domain.model.approval import Approval, ApprovalKind, ApprovalStatus
from domain.model.execution import Execution, ExecutionStatus, TaskExecution, TaskExecutionStatus
from domain.model.identity import DEFAULT_TENANT, utc_now
from domain.model.journal import CallKind, JournalEntry
from domain.model.refinement import CRITERIA
from domain.model.role import Expertise, Role
from domain.model.team import Oversight, Process
from domain.ports import Change, RunSink, TaskWork
from domain.services.approvals import DecideApproval, Decision
from domain.services.control import PauseExecution
from domain.services.run import Run
from persistence.engine import Database
from tests.support.fakes import FakeHints, Step, a_team_with_tasks
from tests.support.routes import FakeCatalogue, a_model, an_offer
from tests.support.run_workers import RULES, Blocked, Worker, failing, queued
from tests.support.worlds import SqlWorld, World

Workers = Callable[..., Worker]
REFUSED = RunFailed(FailureCode.MODEL_REFUSED, "No.")
BUSY = RunFailed(FailureCode.MODEL_UNAVAILABLE, "Busy.", retryable=True)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110 - the store tells nobody
            await asyncio.sleep(0.01)


async def planned(
    world: World,
    *names: str,
    process: Process = Process.PARALLEL,
    edit: Callable[[list[TaskExecution]], None] | None = None,
) -> Execution:
    execution, tasks, snapshot = a_team_with_tasks(*names)
    snapshot.team.process = process
    if edit:
        edit(tasks)
    await world.add(execution, tasks, snapshot)
    return execution


async def two_at_once(world: World, *names: str) -> Execution:
    execution, tasks, snapshot = a_team_with_tasks(*names)
    snapshot.team.process, execution.max_parallel_tasks = Process.PARALLEL, 2
    await world.add(execution, tasks, snapshot)
    return execution


async def refined(world: World, *, needs_approval: bool = False) -> Execution:
    execution, tasks, snapshot = a_team_with_tasks("report")
    execution.refinement_passes, execution.refinement_threshold = 2, 0.8
    tasks[0].is_approval_required = needs_approval
    await world.add(execution, tasks, snapshot)
    return execution


async def statuses(world: World, execution: Execution) -> list[str]:
    return [task.status.value for task in await world.tasks(execution.id)]


async def resume(world: World, execution: Execution) -> None:
    await world.move(await world.execution(execution.id), ExecutionStatus.RUNNING)


async def pause(world: World, worker: Worker, execution: Execution) -> None:
    await world.change(execution.id, pause_requested_at=utc_now())
    worker.run.pause(execution.id)


async def decide(world: World, asked: Approval, status: ApprovalStatus, answer: str | None = None) -> None:
    await world.decide(replace(asked, status=status, answer=answer, decided_at=utc_now()))


def scored(score: float) -> str:
    return json.dumps({**dict.fromkeys(CRITERIA, score), "critique": "More."})


def drafts() -> Step:
    count = 0

    async def step(_: TaskWork, __: RunSink) -> str:
        nonlocal count
        count += 1
        return f"draft {count}"

    return step


# ---------------------------------------------------------------- failures that somebody else has to tell


@pytest.mark.parametrize("is_dependent", [False, True])
async def test_whoever_takes_over_fails_with_what_a_task_failed_with(
    world: World, a_worker: Workers, is_dependent: bool
) -> None:
    def depend(tasks: list[TaskExecution]) -> None:
        tasks[2].waits_for = [tasks[0].id] if is_dependent else []

    execution = await planned(world, "bad", "slow", "later", edit=depend)
    slow, later = Blocked(), Blocked()
    worker = a_worker(bad=failing(REFUSED), slow=slow, later=later)
    running = worker.begin(execution)
    await slow.begun.wait()

    async def has_failed() -> bool:
        return (await statuses(world, execution))[0] == "FAILED"

    await until(has_failed)
    await worker.run.stop(0)
    await asyncio.wait([running])

    await a_worker("w2")(execution)

    ended = await world.execution(execution.id)
    assert (ended.status, ended.failure_code) == (ExecutionStatus.FAILED, FailureCode.MODEL_REFUSED)


async def test_a_cancel_while_the_end_is_being_stored_loses_nothing(
    world: World, a_worker: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = await queued(world, "only")
    worker, commit = a_worker(), world.store.commit

    async def slowly(changes: Sequence[Change]) -> Sequence[bool]:
        if any(change.execution and change.execution.status is ExecutionStatus.COMPLETED for change in changes):
            await world.move(execution, ExecutionStatus.CANCELLING)
            worker.run.cancel(execution.id)
            await asyncio.sleep(0)
        return await commit(changes)

    monkeypatch.setattr(world.store, "commit", slowly)
    await worker(execution)

    assert (await world.execution(execution.id)).status is ExecutionStatus.CANCELLED
    assert await statuses(world, execution) == ["COMPLETED"]


async def test_a_failed_attempt_is_not_made_again_after_a_pause(
    world: World, a_worker: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = await queued(world, "only", max_attempts=2)
    worker, commit = a_worker(only=failing(BUSY, BUSY, BUSY)), world.store.commit

    async def pausing(changes: Sequence[Change]) -> Sequence[bool]:
        kept = await commit(changes)
        if any(isinstance(event, TaskFailed) for change in changes for event in change.events):
            await pause(world, worker, execution)  # before the next attempt, however slow the machine is
        return kept

    monkeypatch.setattr(world.store, "commit", pausing)
    await worker(execution)
    monkeypatch.setattr(world.store, "commit", commit)
    assert (await world.execution(execution.id)).status is ExecutionStatus.PAUSED
    await resume(world, execution)

    await a_worker("w2", only=failing(BUSY, BUSY, BUSY))(execution)

    failed = [event for event in await world.events(execution.id) if isinstance(event, TaskFailed)]
    assert [(event.attempt, event.will_retry) for event in failed] == [(1, True), (2, False)]


async def test_giving_up_touches_nothing_that_somebody_else_has(world: World) -> None:
    execution = await queued(world, "only")
    earlier = await world.admit(execution.id, "w1")
    await world.claim(execution.id, "w2")

    await world.store.give_up(DEFAULT_TENANT, execution.id, REFUSED, (earlier, "w1"))
    await world.store.give_up(DEFAULT_TENANT, execution.id, REFUSED)

    assert (await world.execution(execution.id)).status is ExecutionStatus.RUNNING


# ---------------------------------------------------------------- pauses


async def test_a_pause_before_the_first_step_does_not_count_an_attempt_back(
    world: World, a_worker: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = await queued(world, "only")
    blocked = Blocked()
    first = a_worker(only=blocked)
    running = first.begin(execution)
    await blocked.begun.wait()
    await first.run.stop(0)
    await asyncio.wait([running])
    begin, is_first = Run._begin_ready, True  # noqa: SLF001 - the moment between two turns of the loop

    def pausing(run: Run) -> bool:
        nonlocal is_first
        begun = begin(run)
        if is_first:
            is_first = False
            run.pause()  # nobody asked for it in the store: it is withdrawn
        return begun

    monkeypatch.setattr(Run, "_begin_ready", pausing)
    await a_worker("w2")(execution)

    assert [task.attempts for task in await world.tasks(execution.id)] == [1]


async def test_a_pause_that_is_withdrawn_lets_ready_tasks_begin_at_once(world: World, a_worker: Workers) -> None:
    execution = await two_at_once(world, "quick", "slow", "next")
    quick, slow, following = asyncio.Event(), Blocked(), Blocked()

    async def wait(_: TaskWork, __: RunSink) -> str:
        await quick.wait()
        return "quick"

    worker = a_worker(quick=wait, slow=slow, next=following)
    running = worker.begin(execution)
    await slow.begun.wait()
    await pause(world, worker, execution)
    quick.set()

    async def is_stored() -> bool:
        return (await statuses(world, execution))[0] == "COMPLETED"

    await until(is_stored)
    assert worker.run.pausing == {execution.id}

    worker.run.go_on(execution.id)

    async with asyncio.timeout(20):
        await following.begun.wait()
    assert worker.run.pausing == set()
    await worker.run.stop(0)
    await asyncio.wait([running])


async def test_a_pause_that_is_withdrawn_while_the_store_is_asked_keeps_nothing_waiting(
    world: World, a_worker: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = await two_at_once(world, "quick", "slow", "next")
    slow, following, commit = Blocked(), Blocked(), world.store.commit

    async def paused(_: TaskWork, __: RunSink) -> str:
        await slow.begun.wait()
        await pause(world, worker, execution)
        return "quick"

    async def withdrawing(changes: Sequence[Change]) -> Sequence[bool]:
        kept = await commit(changes)
        if any(task.status is TaskExecutionStatus.COMPLETED for change in changes for task in change.task_executions):
            worker.run.go_on(execution.id)  # whoever reads the store knows it earlier than the worker
        return kept

    monkeypatch.setattr(world.store, "commit", withdrawing)
    worker = a_worker(quick=paused, slow=slow, next=following)
    running = worker.begin(execution)

    async with asyncio.timeout(20):
        await following.begun.wait()
    await worker.run.stop(0)
    await asyncio.wait([running])


async def test_a_worker_that_leaves_while_a_withdrawn_pause_is_being_stored_begins_nothing(
    world: World, a_worker: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = await planned(world, "first", "second", process=Process.SEQUENTIAL)
    commit, leaving = world.store.commit, asyncio.Event()

    async def paused(_: TaskWork, __: RunSink) -> str:
        await pause(world, worker, execution)
        return "first"

    async def withdrawing(changes: Sequence[Change]) -> Sequence[bool]:
        if any(change.execution and change.execution.status is ExecutionStatus.PAUSED for change in changes):
            await world.change(execution.id, pause_requested_at=None)
            leave()
        return await commit(changes)

    def leave() -> None:
        [run] = worker.run._runs.values()  # noqa: SLF001 - as `stop` does, without its clock
        run.leave()
        leaving.set()

    monkeypatch.setattr(world.store, "commit", withdrawing)
    worker = a_worker(first=paused)
    [ended] = await asyncio.gather(worker(execution), return_exceptions=True)

    assert leaving.is_set()
    assert isinstance(ended, asyncio.CancelledError)  # another worker goes on with it
    assert worker.runner.names == ["first"]


async def test_a_pause_in_the_middle_of_an_evaluation_wastes_no_pass(
    world: World, a_worker: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = await refined(world)
    worker = a_worker(report=drafts())
    worker.runner.verdicts = [scored(0.1)]
    evaluate = worker.runner.evaluate

    async def evaluating(*asked: Any) -> str:
        await pause(world, worker, execution)
        return await evaluate(*asked)

    monkeypatch.setattr(worker.runner, "evaluate", evaluating)
    await worker(execution)
    await resume(world, execution)

    later = a_worker("w2")
    later.runner.verdicts = [scored(0.9)]
    await later(execution)

    assert [(work.task.attempts, work.task.feedback) for work in later.runner.works] == [(2, "More.")]


async def test_a_pause_that_was_accepted_holds_although_the_run_just_went_to_wait(
    database: Database, a_worker_on: Callable[[World], Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = SqlWorld(database)
    execution = await planned(world, "first", "second", process=Process.SEQUENTIAL, edit=_needs_approval)
    worker, commit = a_worker_on(world), world.store.commit

    async def pausing(changes: Sequence[Change]) -> Sequence[bool]:
        if any(change.execution and not change.execution.is_final for change in changes):
            await PauseExecution(world.units, FakeHints())(DEFAULT_TENANT, execution.id)
        return await commit(changes)

    monkeypatch.setattr(world.store, "commit", pausing)
    await worker(execution)
    monkeypatch.setattr(world.store, "commit", commit)
    [asked] = await world.approvals(execution.id)
    await DecideApproval(world.units, FakeHints())(DEFAULT_TENANT, Decision(asked.id, ApprovalStatus.APPROVED))

    await worker(execution)

    assert (await world.execution(execution.id)).status is ExecutionStatus.PAUSED


def _needs_approval(tasks: list[TaskExecution]) -> None:
    tasks[0].is_approval_required = True


# ---------------------------------------------------------------- humans


async def test_a_store_that_is_silent_for_a_moment_fails_no_run_that_hears_a_decision(
    world: World, a_worker: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = await planned(world, "asks", "slow", edit=_needs_approval)
    slow, approvals, is_silent = asyncio.Event(), world.store.approvals, True

    async def wait(_: TaskWork, __: RunSink) -> str:
        await slow.wait()
        return "slow"

    async def silent_once(*whose: Any) -> Sequence[Approval]:
        nonlocal is_silent
        if is_silent:
            is_silent = False
            raise Unavailable("The database does not answer.")
        return await approvals(*whose)

    worker = a_worker(slow=wait)
    running = worker.begin(execution)

    async def has_asked() -> bool:
        return bool(await world.approvals(execution.id))

    await until(has_asked)
    await decide(world, (await world.approvals(execution.id))[0], ApprovalStatus.APPROVED)
    monkeypatch.setattr(world.store, "approvals", silent_once)
    worker.run.decided(execution.id)
    slow.set()
    await running

    assert (await world.execution(execution.id)).status is ExecutionStatus.COMPLETED


async def test_who_asks_once_more_while_a_decision_is_heard_waits_for_the_answer(
    world: World, a_worker: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = await planned(world, "shown", "asks", edit=_all_need_approval)
    approvals, may_end, has_asked, times = world.store.approvals, asyncio.Event(), asyncio.Event(), 0

    async def asking(work: TaskWork, _: RunSink) -> str:
        nonlocal times
        times += 1
        key, *_rest = work.journal.next(CallKind.TOOL, {"ask_human": "Which?"})
        if str(key) not in work.answers:
            raise AnswerAwaited("Which?", str(key))
        await may_end.wait()
        return "output"

    async def before_it_asks(*whose: Any) -> Sequence[Approval]:
        found = await approvals(*whose)
        may_end.set()
        async with asyncio.timeout(20):
            await has_asked.wait()
        return found

    def noticed(*values: Any, **more: Any) -> Approval:
        has_asked.set()
        return Approval(*values, **more)

    worker = a_worker(asks=asking)
    await worker(execution)
    asked = {each.kind: each for each in await world.approvals(execution.id)}
    await decide(world, asked[ApprovalKind.QUESTION], ApprovalStatus.ANSWERED, "This.")
    await resume(world, execution)
    running = worker.begin(execution)

    async def goes_on() -> bool:
        return times == 2

    await until(goes_on)
    monkeypatch.setattr(world.store, "approvals", before_it_asks)
    monkeypatch.setattr(domain.services.run, "Approval", noticed)
    await decide(world, asked[ApprovalKind.TASK], ApprovalStatus.APPROVED)
    worker.run.decided(execution.id)
    await running

    assert (await world.execution(execution.id)).status is ExecutionStatus.AWAITING_APPROVAL
    assert await statuses(world, execution) == ["COMPLETED", "AWAITING_APPROVAL"]
    assert times == 2


def _all_need_approval(tasks: list[TaskExecution]) -> None:
    for task in tasks:
        task.is_approval_required = True


async def test_the_clock_of_another_worker_does_not_decide_which_approval_counts(
    world: World, a_worker: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = await planned(world, "asks", process=Process.SEQUENTIAL, edit=_needs_approval)
    attempts = 0

    async def asking(work: TaskWork, _: RunSink) -> str:
        nonlocal attempts
        attempts += 1
        key, *_rest = work.journal.next(CallKind.TOOL, {"ask_human": "Which?"})
        if str(key) not in work.answers:
            raise AnswerAwaited("Which?", str(key))
        return "output"

    worker = a_worker(asks=asking)
    await worker(execution)
    await decide(world, (await world.approvals(execution.id))[0], ApprovalStatus.ANSWERED, "This.")
    await resume(world, execution)

    def slow(*values: Any, **more: Any) -> Approval:
        return replace(Approval(*values, **more), created_at=utc_now() - timedelta(seconds=30))

    monkeypatch.setattr(domain.services.run, "Approval", slow)
    await worker(execution)
    [asked] = [each for each in await world.approvals(execution.id) if each.kind is ApprovalKind.TASK]
    await decide(world, asked, ApprovalStatus.APPROVED)
    await resume(world, execution)

    await worker(execution)

    assert (await world.execution(execution.id)).status is ExecutionStatus.COMPLETED
    assert attempts == 2


async def test_what_a_human_sent_back_is_not_put_before_them_again(world: World, a_worker: Workers) -> None:
    execution = await refined(world, needs_approval=True)
    worker = a_worker(report=drafts())
    worker.runner.verdicts = [scored(0.9)]
    await worker(execution)
    await decide(world, (await world.approvals(execution.id))[0], ApprovalStatus.REJECTED, "Shorter!")
    await resume(world, execution)

    await worker(execution)

    assert (await world.approvals(execution.id))[-1].prompt == "draft 2"
    assert len(worker.runner.evaluations) == 1  # a human said more than an evaluator can


# ---------------------------------------------------------------- tools that must not be called twice


def once(work: TaskWork, ordinal: int, answer: dict[str, Any] | None) -> JournalEntry:
    owner = work.ownership
    key, *_ = work.journal.next(CallKind.TOOL, {"tool": "pay", "n": ordinal})
    return JournalEntry(
        owner.tenant_id,
        owner.execution_id,
        work.task.id,
        work.task.attempts,
        key.kind,
        key.request_hash,
        key.occurrence,
        ordinal,
        answer,
    )


async def test_a_tool_that_was_at_work_when_its_worker_was_lost_is_left_to_a_human(
    world: World, a_worker: Workers
) -> None:
    execution = await queued(world, "only", max_attempts=3)
    blocked = Blocked()

    async def paying(work: TaskWork, sink: RunSink) -> str:
        await sink.keep(once(work, 1, None))
        return await blocked(work, sink)

    worker = a_worker(only=paying)
    running = worker.begin(execution)
    await blocked.begun.wait()
    await worker.run.stop(0)
    await asyncio.wait([running])
    later = a_worker("w2")

    await later(execution)

    ended = await world.execution(execution.id)
    assert (ended.status, ended.failure_code) == (ExecutionStatus.FAILED, FailureCode.TOOL_INTERRUPTED)
    assert later.runner.names == []


async def test_another_attempt_knows_what_a_tool_that_must_not_be_called_twice_has_answered(
    world: World, a_worker: Workers
) -> None:
    execution = await queued(world, "only", max_attempts=2)
    known: list[Any] = []

    async def paying(work: TaskWork, sink: RunSink) -> str:
        *_, earlier = work.journal.next(CallKind.TOOL, {"tool": "pay", "n": 1})
        known.append(earlier and earlier.answer)
        if earlier is None:
            entry = once(replace(work, journal=type(work.journal)()), 1, {"text": "paid", "once": True})
            sink.journal(entry)
            raise BUSY
        return "done"

    await a_worker(only=paying)(execution)

    assert known == [None, {"text": "paid", "once": True}]
    assert (await world.tasks(execution.id))[0].attempts == 2


# ---------------------------------------------------------------- hierarchies


async def hierarchical(world: World, **settings: Any) -> tuple[Execution, list[Role]]:
    execution, tasks, snapshot = a_team_with_tasks("only")
    team, writer = snapshot.team, snapshot.roles[0]
    manager = Role(DEFAULT_TENANT, team.id, "Lead", expertise=Expertise.EXPERT, position=1)
    lost = Role(DEFAULT_TENANT, team.id, "Lost", model="nobody/has-it", position=2)
    snapshot.roles += [manager, lost]
    team.process, team.oversight = Process.HIERARCHICAL, Oversight.CLOSE
    for name, value in settings.items():
        setattr(tasks[0], name, value)
    await world.add(execution, tasks, snapshot)
    return execution, [writer, manager, lost]


async def test_a_hierarchy_has_its_manager_and_whoever_has_a_model(world: World, a_worker: Workers) -> None:
    execution, (writer, manager, _) = await hierarchical(world, wanted_model="openai/wanted")
    offers = [an_offer(a_model("openai/wanted")), an_offer(a_model("openai/usual", routing_order=-1))]
    worker = a_worker(models=FakeCatalogue(*offers), rules=replace(RULES, default_model=None))

    await worker(execution)

    [work] = worker.runner.works
    assert work.hierarchy is not None
    assert (work.hierarchy.manager.role.id, work.hierarchy.oversight) == (manager.id, Oversight.CLOSE)
    shown = [(each.role.id, each.route.first.model.name) for each in work.hierarchy.colleagues]
    assert shown == [(writer.id, "openai/wanted")]


async def test_the_other_processes_have_no_hierarchy(world: World, a_worker: Workers) -> None:
    execution = await queued(world, "only")
    worker = a_worker()

    await worker(execution)

    assert worker.runner.works[0].hierarchy is None
    assert (await world.tasks(execution.id))[0].status is TaskExecutionStatus.COMPLETED
