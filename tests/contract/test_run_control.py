"""Runs under control: pauses, humans, processes, and what a later run takes up again."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from domain.errors import AnswerAwaited, FailureCode, Paused, RunFailed
from domain.model.approval import Approval, ApprovalDefault, ApprovalKind, ApprovalStatus
from domain.model.execution import Execution, ExecutionStatus, TaskExecution, TaskExecutionStatus
from domain.model.identity import utc_now
from domain.model.journal import CallKey, CallKind, JournalEntry
from domain.model.team import Process
from domain.ports import RunSink, TaskWork
from tests.support.fakes import Step, a_team_with_tasks
from tests.support.run_workers import Blocked, Worker, failing, queued
from tests.support.worlds import World

Workers = Callable[..., Worker]
Edit = Callable[[list[TaskExecution]], None]


async def planned(world: World, process: Process, *names: str, edit: Edit | None = None, **settings: Any) -> Execution:
    execution, tasks, snapshot = a_team_with_tasks(*names)
    snapshot.team.process = process
    if edit:
        edit(tasks)
    for name, value in settings.items():
        setattr(execution, name, value)
    await world.add(execution, tasks, snapshot)
    return execution


async def statuses(world: World, execution: Execution) -> list[str]:
    return [task.status.value for task in await world.tasks(execution.id)]


async def status(world: World, execution: Execution) -> ExecutionStatus:
    return (await world.execution(execution.id)).status


async def kinds(world: World, execution: Execution) -> list[str]:
    return [event.type for event in await world.events(execution.id)]


class AtOnce:
    """Steps that all have to be under way before one of them ends; `most` were at once."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.now = self.most = 0
        self.met = asyncio.Event()

    async def __call__(self, work: TaskWork, _: RunSink) -> str:
        self.now += 1
        self.most = max(self.most, self.now)
        if self.now >= self.expected:
            self.met.set()
        async with asyncio.timeout(20):
            await self.met.wait()
        self.now -= 1
        return f"{work.task.name} done"


class Until:
    """A step that begins, and ends when it is let."""

    def __init__(self) -> None:
        self.begun, self.let = asyncio.Event(), asyncio.Event()

    async def __call__(self, work: TaskWork, _: RunSink) -> str:
        self.begun.set()
        await self.let.wait()
        if work.signals.is_pausing:
            raise Paused
        return f"{work.task.name} done"


# ---------------------------------------------------------------- processes


async def test_in_parallel_whatever_is_ready_runs_at_once_and_sees_only_what_it_waits_for(
    world: World, a_worker: Workers
) -> None:
    def joined(tasks: list[TaskExecution]) -> None:
        tasks[2].waits_for = [tasks[0].id, tasks[1].id]

    execution = await planned(world, Process.PARALLEL, "left", "right", "join", "alone", edit=joined)
    both = AtOnce(3)
    worker = a_worker(left=both, right=both, alone=both)

    await worker(execution)

    assert await status(world, execution) is ExecutionStatus.COMPLETED
    contexts = {work.task.name: work.context for work in worker.runner.works}
    assert contexts["join"] == "left done\n\n----------\n\nright done"
    assert contexts["alone"] == ""
    assert both.most == 3


async def test_no_more_tasks_run_at_once_than_the_execution_or_their_role_allows(
    world: World, a_worker: Workers
) -> None:
    execution = await planned(world, Process.PARALLEL, "a", "b", "c", "d", max_parallel_tasks=2)
    pair = AtOnce(2)

    await a_worker(a=pair, b=pair, c=pair, d=pair)(execution)

    assert await status(world, execution) is ExecutionStatus.COMPLETED
    assert pair.most == 2


async def test_a_role_is_given_no_more_at_once_than_it_takes(world: World, a_worker: Workers) -> None:
    execution, tasks, snapshot = a_team_with_tasks("a", "b")
    snapshot.team.process = Process.PARALLEL
    snapshot.roles[0].max_parallel_tasks = 1
    await world.add(execution, tasks, snapshot)
    one = AtOnce(1)

    await a_worker(a=one, b=one)(execution)

    assert await status(world, execution) is ExecutionStatus.COMPLETED
    assert one.most == 1


async def test_when_one_task_fails_those_under_way_end_and_no_other_begins(world: World, a_worker: Workers) -> None:
    execution = await planned(world, Process.PARALLEL, "bad", "slow", "never", max_parallel_tasks=2)
    slow = Until()
    worker = a_worker(bad=failing(RunFailed(FailureCode.MODEL_REFUSED, "No.")), slow=slow)
    running = worker.begin(execution)
    await slow.begun.wait()
    while "FAILED" not in await statuses(world, execution):  # noqa: ASYNC110 - the store tells nobody
        await asyncio.sleep(0.01)

    slow.let.set()
    await running

    assert await status(world, execution) is ExecutionStatus.FAILED
    assert await statuses(world, execution) == ["FAILED", "COMPLETED", "SKIPPED"]


async def test_a_finished_task_is_stored_while_others_go_on(world: World, a_worker: Workers) -> None:
    execution = await planned(world, Process.PARALLEL, "quick", "slow")
    slow = Until()
    running = a_worker(slow=slow).begin(execution)

    async with asyncio.timeout(20):
        while await statuses(world, execution) != ["COMPLETED", "RUNNING"]:  # noqa: ASYNC110 - the store tells nobody
            await asyncio.sleep(0.01)

    slow.let.set()
    await running


async def test_in_collaboration_every_task_sees_all_that_was_done_before(world: World, a_worker: Workers) -> None:
    def last_waits(tasks: list[TaskExecution]) -> None:
        tasks[2].waits_for = [tasks[1].id]

    execution = await planned(world, Process.COLLABORATIVE, "a", "b", "c", edit=last_waits)
    worker = a_worker()

    await worker(execution)

    assert worker.runner.works[2].context == "a done\n\n----------\n\nb done"


# ---------------------------------------------------------------- pauses


async def pausing(world: World, worker: Worker, execution: Execution) -> None:
    await world.change(execution.id, pause_requested_at=utc_now())
    worker.run.pause(execution.id)


async def test_a_pause_comes_before_the_next_task_and_a_later_run_goes_on(world: World, a_worker: Workers) -> None:
    execution = await queued(world, "first", "second")

    class Finishing(Until):
        async def __call__(self, work: TaskWork, sink: RunSink) -> str:
            await super().__call__(replace(work, signals=replace(work.signals, is_pausing=False)), sink)
            return "finished all the same"

    first = Finishing()
    worker = a_worker(first=first)
    running = worker.begin(execution)
    await first.begun.wait()
    await pausing(world, worker, execution)
    first.let.set()
    await running

    assert await status(world, execution) is ExecutionStatus.PAUSED
    assert await statuses(world, execution) == ["COMPLETED", "PENDING"]
    assert (await kinds(world, execution))[-1] == "ExecutionPaused"
    await world.move(execution, ExecutionStatus.RUNNING)
    later = a_worker("w2")
    await later(execution)
    assert await status(world, execution) is ExecutionStatus.COMPLETED
    assert later.runner.names == ["second"]


async def test_a_pause_in_the_middle_of_a_task_lets_a_later_run_go_on_with_the_same_attempt(
    world: World, a_worker: Workers
) -> None:
    execution = await queued(world, "only")
    only = Until()

    async def calling(work: TaskWork, sink: RunSink) -> str:
        await sink.keep(a_finished(work, 1))
        return await only(work, sink)

    worker = a_worker(only=calling)
    running = worker.begin(execution)
    await only.begun.wait()
    await pausing(world, worker, execution)
    only.let.set()
    await running
    assert (await status(world, execution), await statuses(world, execution)) == (ExecutionStatus.PAUSED, ["RUNNING"])
    await world.move(execution, ExecutionStatus.RUNNING)

    later = a_worker("w2")
    await later(execution)

    [work] = later.runner.works
    _, _, known = work.journal.next(CallKind.TOOL, {"n": 1})
    assert known is not None
    assert known.answer == {"text": "1"}
    assert (await world.tasks(execution.id))[0].attempts == 1


async def test_a_pause_that_is_withdrawn_in_time_changes_nothing(world: World, a_worker: Workers) -> None:
    execution = await queued(world, "only", "other")
    only, known = Until(), list[bool]()

    async def calling(work: TaskWork, sink: RunSink) -> str:
        key, ordinal, earlier = work.journal.next(CallKind.TOOL, {"n": 1})
        known.append(earlier is not None)
        await sink.keep(a_call_of(work, key, ordinal))
        return await only(work, sink)

    worker = a_worker(only=calling)
    running = worker.begin(execution)
    await only.begun.wait()
    worker.run.pause(execution.id)  # nobody asks for it any more

    only.let.set()
    await running

    assert await status(world, execution) is ExecutionStatus.COMPLETED
    assert worker.runner.names == ["only", "only", "other"]
    assert known == [False, True]  # what the same run has paid for is known, too


async def test_what_was_to_pause_when_its_worker_was_lost_pauses_at_the_next(world: World, a_worker: Workers) -> None:
    execution = await queued(world, "only")
    await world.claim(execution.id, "dead")
    await world.change(execution.id, pause_requested_at=utc_now())
    worker = a_worker()

    await worker(execution)

    assert await status(world, execution) is ExecutionStatus.PAUSED
    assert worker.runner.names == []


def a_finished(work: TaskWork, number: int) -> JournalEntry:
    key, ordinal, _ = work.journal.next(CallKind.TOOL, {"n": number})
    return a_call_of(work, key, ordinal)


def a_call_of(work: TaskWork, key: CallKey, ordinal: int) -> JournalEntry:
    owner = work.ownership
    return JournalEntry(
        owner.tenant_id,
        owner.execution_id,
        work.task.id,
        work.task.attempts,
        key.kind,
        key.request_hash,
        key.occurrence,
        ordinal,
        {"text": str(ordinal)},
    )


# ---------------------------------------------------------------- humans


def needing_approval(tasks: list[TaskExecution]) -> None:
    tasks[0].is_approval_required = True


async def the_approval(world: World, execution: Execution) -> Approval:
    return (await world.approvals(execution.id))[-1]


async def decide(world: World, execution: Execution, outcome: ApprovalStatus, answer: str | None = None) -> None:
    asked = await the_approval(world, execution)
    await world.decide(replace(asked, status=outcome, answer=answer, decided_at=utc_now()))
    if await status(world, execution) is ExecutionStatus.AWAITING_APPROVAL:
        await world.move(execution, ExecutionStatus.RUNNING)


async def awaiting(world: World, a_worker: Workers, **script: Step) -> Execution:
    """A run of two tasks that waits for the approval of the first one."""
    execution = await planned(world, Process.SEQUENTIAL, "first", "second", edit=needing_approval)
    await a_worker(**script)(execution)
    assert await status(world, execution) is ExecutionStatus.AWAITING_APPROVAL
    return execution


async def test_a_task_that_needs_an_approval_waits_for_it_without_a_worker(world: World, a_worker: Workers) -> None:
    execution = await awaiting(world, a_worker)

    asked = await the_approval(world, execution)
    assert (asked.kind, asked.prompt, asked.attempt) == (ApprovalKind.TASK, "first done", 1)
    assert await statuses(world, execution) == ["AWAITING_APPROVAL", "PENDING"]
    assert (await kinds(world, execution))[-2:] == ["ApprovalRequested", "ExecutionAwaitingApproval"]


async def test_an_approved_output_stands(world: World, a_worker: Workers) -> None:
    execution = await awaiting(world, a_worker)
    await decide(world, execution, ApprovalStatus.APPROVED)
    worker = a_worker("w2")

    await worker(execution)

    assert await status(world, execution) is ExecutionStatus.COMPLETED
    assert worker.runner.names == ["second"]
    assert worker.runner.works[0].context == "first done"


async def test_an_approval_may_bring_a_better_output(world: World, a_worker: Workers) -> None:
    execution = await awaiting(world, a_worker)
    await decide(world, execution, ApprovalStatus.APPROVED, "edited")
    worker = a_worker("w2")

    await worker(execution)

    assert worker.runner.works[0].context == "edited"


async def test_a_rejection_with_feedback_is_another_attempt_that_knows_it(world: World, a_worker: Workers) -> None:
    execution = await awaiting(world, a_worker)
    await decide(world, execution, ApprovalStatus.REJECTED, "shorter")
    worker = a_worker("w2")

    await worker(execution)

    [work] = worker.runner.works
    assert (work.task.feedback, work.task.attempts, work.task.output) == ("shorter", 2, "first done")
    assert await status(world, execution) is ExecutionStatus.AWAITING_APPROVAL
    assert [asked.attempt for asked in await world.approvals(execution.id)] == [1, 2]


async def test_a_rejection_without_feedback_fails_the_task(world: World, a_worker: Workers) -> None:
    execution = await awaiting(world, a_worker)
    await decide(world, execution, ApprovalStatus.REJECTED)

    await a_worker("w2")(execution)

    ended = await world.execution(execution.id)
    assert (ended.status, ended.failure_code) == (ExecutionStatus.FAILED, FailureCode.APPROVAL_REJECTED)
    assert await statuses(world, execution) == ["FAILED", "SKIPPED"]


async def test_when_nobody_answers_in_time_the_default_counts(world: World, a_worker: Workers) -> None:
    execution = await awaiting(world, a_worker)
    await decide(world, execution, ApprovalStatus.EXPIRED)

    await a_worker("w2")(execution)

    assert (await world.execution(execution.id)).failure_code is FailureCode.APPROVAL_EXPIRED


async def test_an_expired_approval_that_approves_lets_the_output_stand(world: World, a_worker: Workers) -> None:
    def lenient(tasks: list[TaskExecution]) -> None:
        tasks[0].is_approval_required = True
        tasks[0].approval_default = ApprovalDefault.APPROVE

    execution = await planned(world, Process.SEQUENTIAL, "first", edit=lenient)
    await a_worker()(execution)
    await decide(world, execution, ApprovalStatus.EXPIRED)

    await a_worker("w2")(execution)

    assert await status(world, execution) is ExecutionStatus.COMPLETED


class Asking:
    """A step that asks a human, and answers with what it is told."""

    async def __call__(self, work: TaskWork, _: RunSink) -> str:
        key, *_rest = work.journal.next(CallKind.TOOL, {"ask_human": "Which?"})
        if str(key) not in work.answers:
            raise AnswerAwaited("Which?", str(key))
        return f"took {work.answers[str(key)]}"


async def test_a_role_that_asks_goes_on_with_the_answer_in_the_same_attempt(world: World, a_worker: Workers) -> None:
    execution = await queued(world, "only")
    await a_worker(only=Asking())(execution)
    asked = await the_approval(world, execution)
    assert (asked.kind, asked.prompt) == (ApprovalKind.QUESTION, "Which?")
    await decide(world, execution, ApprovalStatus.ANSWERED, "the blue one")

    await a_worker("w2", only=Asking())(execution)

    [task] = await world.tasks(execution.id)
    assert (task.status, task.output, task.attempts) == (TaskExecutionStatus.COMPLETED, "took the blue one", 1)


async def test_in_parallel_others_go_on_while_a_human_is_asked_and_the_answer_is_heard(
    world: World, a_worker: Workers
) -> None:
    def first_needs_approval(tasks: list[TaskExecution]) -> None:
        tasks[0].is_approval_required = True
        tasks[2].waits_for = [tasks[0].id]

    execution = await planned(world, Process.PARALLEL, "asked", "slow", "after", edit=first_needs_approval)
    slow, after = Until(), Until()
    worker = a_worker(slow=slow, after=after)
    running = worker.begin(execution)
    async with asyncio.timeout(20):
        while not await world.approvals(execution.id):  # noqa: ASYNC110 - same
            await asyncio.sleep(0.01)
    await decide(world, execution, ApprovalStatus.APPROVED)

    worker.run.decided(execution.id)
    async with asyncio.timeout(20):
        await after.begun.wait()

    slow.let.set()
    after.let.set()
    await running
    assert await status(world, execution) is ExecutionStatus.COMPLETED


async def test_an_answer_that_comes_while_the_run_goes_to_wait_is_not_missed(world: World, a_worker: Workers) -> None:
    def both_need_approval(tasks: list[TaskExecution]) -> None:
        for task in tasks:
            task.is_approval_required = True

    execution = await planned(world, Process.PARALLEL, "early", "late", edit=both_need_approval)
    late = Until()
    running = a_worker(late=late).begin(execution)
    async with asyncio.timeout(20):
        while not await world.approvals(execution.id):  # noqa: ASYNC110 - same
            await asyncio.sleep(0.01)
    await decide(world, execution, ApprovalStatus.APPROVED)  # and nobody tells the run

    late.let.set()
    await running

    assert await status(world, execution) is ExecutionStatus.AWAITING_APPROVAL
    assert await statuses(world, execution) == ["COMPLETED", "AWAITING_APPROVAL"]


async def test_cancelling_ends_all_tasks_that_are_under_way(world: World, a_worker: Workers) -> None:
    execution = await planned(world, Process.PARALLEL, "a", "b", "c", max_parallel_tasks=2)
    one, other = Blocked(), Blocked()
    worker = a_worker(a=one, b=other)
    running = worker.begin(execution)
    await one.begun.wait()
    await other.begun.wait()
    await world.move(execution, ExecutionStatus.CANCELLING)

    worker.run.cancel(execution.id)
    await running

    assert await statuses(world, execution) == ["CANCELLED"] * 3
    assert (one.was_cancelled, other.was_cancelled) == (True, True)
    assert await world.calls(execution.id) == 2  # the calls that it closed are paid
