import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from threading import Thread

import pytest

from domain.errors import BookingsLost, Busy, NotRecorded, OwnershipLost
from domain.events import ExecutionCompleted, ExecutionEvent, OutputStreamed, ToolCalled
from domain.model.execution import ExecutionStatus
from domain.model.texts import storable
from domain.ports import Change, Claimed, Ownership, TaskWork, execution_topic, project_topic
from domain.services.recorder import EventRecorder
from tests.support.fakes import FakeHints, InMemoryRunStore, a_ledger_entry, a_team_with_tasks, unavailable
from tests.support.routes import a_route

SOON = 30.0
"""Seconds after which something did not happen."""


@pytest.fixture
def store() -> InMemoryRunStore:
    return InMemoryRunStore()


@pytest.fixture
def hints() -> FakeHints:
    return FakeHints()


@pytest.fixture
async def recorder(store: InMemoryRunStore, hints: FakeHints) -> AsyncIterator[EventRecorder]:
    recorder = EventRecorder(store, hints)
    recorder.start()
    yield recorder
    await recorder.stop(SOON)


async def a_claim(store: InMemoryRunStore) -> Claimed:
    execution, tasks, snapshot = a_team_with_tasks("only")
    store.add(execution, tasks, snapshot)
    claimed = await store.claim(store.admit(execution.id, "w"), "w")
    assert claimed
    return claimed


def a_tool_call(owner: Ownership, tool: str) -> ToolCalled:
    return ToolCalled(tenant_id=owner.tenant_id, execution_id=owner.execution_id, tool=tool, arguments="{}")


def a_text(owner: Ownership, text: str, call: int = 1) -> OutputStreamed:
    return OutputStreamed(tenant_id=owner.tenant_id, execution_id=owner.execution_id, call=call, text=text)


def a_change(owner: Ownership, *tools: str) -> Change:
    return Change(owner, [a_tool_call(owner, tool) for tool in tools])


def the_end(claimed: Claimed) -> Change:
    owner = claimed.ownership
    over = ExecutionCompleted(tenant_id=owner.tenant_id, execution_id=owner.execution_id, completed_tasks=1)
    execution = replace(claimed.execution, status=ExecutionStatus.COMPLETED)
    return Change(owner, [over], execution=execution, expected=ExecutionStatus.RUNNING)


def told(events: list[ExecutionEvent]) -> list[str]:
    """Events in short: the tool of a call, the text that was streamed, else the kind."""
    return [getattr(event, "tool", None) or getattr(event, "text", None) or event.type for event in events]


async def test_what_a_sink_took_stands_before_a_later_record_of_the_same_run(
    store: InMemoryRunStore, recorder: EventRecorder
) -> None:
    claimed = await a_claim(store)
    sink = recorder.sink(claimed.ownership)

    sink.emit(a_tool_call(claimed.ownership, "first"))
    sink.emit(a_tool_call(claimed.ownership, "second"))
    await recorder.record(a_change(claimed.ownership, "third"))

    events = store.kept(claimed.execution.id).events
    assert told(events) == ["ExecutionStarted", "first", "second", "third"]
    assert [event.sequence for event in events] == [1, 2, 3, 4]


async def test_what_gathers_during_a_commit_goes_together_into_the_next(
    store: InMemoryRunStore, recorder: EventRecorder
) -> None:
    one, other = await a_claim(store), await a_claim(store)
    store.gate = asyncio.Event()

    first = asyncio.create_task(recorder.record(a_change(one.ownership, "a")))
    await asyncio.sleep(0.01)
    later = [
        asyncio.create_task(recorder.record(a_change(run.ownership, tool))) for run in (one, other) for tool in "bc"
    ]
    await asyncio.sleep(0.01)
    store.gate.set()
    await asyncio.gather(first, *later)

    assert [told(group) for group in store.commits] == [["a"], ["b", "c", "b", "c"]]


async def test_reports_from_many_threads_all_arrive_each_threads_in_order(
    store: InMemoryRunStore, recorder: EventRecorder
) -> None:
    claimed = await a_claim(store)
    sink = recorder.sink(claimed.ownership)

    def report(thread: int) -> None:
        for number in range(50):
            sink.emit(a_tool_call(claimed.ownership, f"{thread}-{number}"))

    threads = [Thread(target=report, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    await recorder.record(a_change(claimed.ownership, "last"))

    names = told(store.kept(claimed.execution.id).events)[1:-1]
    assert len(names) == 200
    for thread_number in range(4):
        assert [name for name in names if name.startswith(f"{thread_number}-")] == [
            f"{thread_number}-{number}" for number in range(50)
        ]


async def test_pieces_of_a_call_that_wait_together_become_one_event_others_do_not(
    store: InMemoryRunStore, recorder: EventRecorder
) -> None:
    claimed = await a_claim(store)
    owner, sink = claimed.ownership, recorder.sink(claimed.ownership)

    for event in (a_text(owner, "Hel"), a_text(owner, "lo"), a_text(owner, "Bye", call=2), a_tool_call(owner, "t")):
        sink.emit(event)
    sink.emit(a_text(owner, "x", call=2))
    await recorder.record(Change(owner))

    assert told(store.kept(claimed.execution.id).events)[1:] == ["Hello", "Bye", "t", "x"]


async def test_hints_follow_the_commit_for_execution_and_project(
    store: InMemoryRunStore, hints: FakeHints, recorder: EventRecorder
) -> None:
    claimed = await a_claim(store)
    store.gate = asyncio.Event()

    recording = asyncio.create_task(recorder.record(a_change(claimed.ownership, "a")))
    await asyncio.sleep(0.01)
    before = list(hints.published)
    store.gate.set()
    await recording
    await asyncio.sleep(0)

    assert before == []
    assert hints.published == [execution_topic(claimed.execution.id), project_topic(claimed.execution.project_id)]


async def test_a_store_that_is_away_for_a_while_loses_nothing_and_keeps_the_order(
    store: InMemoryRunStore, recorder: EventRecorder
) -> None:
    claimed = await a_claim(store)
    store.failures = [unavailable(), unavailable()]

    recorder.sink(claimed.ownership).emit(a_tool_call(claimed.ownership, "a"))
    await recorder.record(a_change(claimed.ownership, "b"))

    assert told(store.kept(claimed.execution.id).events) == ["ExecutionStarted", "a", "b"]


async def test_a_change_that_cannot_be_stored_fails_alone(store: InMemoryRunStore, recorder: EventRecorder) -> None:
    good, bad = await a_claim(store), await a_claim(store)
    store.failures = [ValueError("group"), ValueError("bad one"), ValueError("bad one, cleaned")]

    results = await asyncio.gather(
        recorder.record(a_change(bad.ownership, "bad")),
        recorder.record(a_change(good.ownership, "good")),
        return_exceptions=True,
    )

    assert [type(result) for result in results] == [NotRecorded, type(None)]
    assert told(store.kept(good.execution.id).events) == ["ExecutionStarted", "good"]
    assert told(store.kept(bad.execution.id).events) == ["ExecutionStarted"]


async def a_booking_that_is_lost(claimed: Claimed, store: InMemoryRunStore, recorder: EventRecorder) -> None:
    task, role = claimed.tasks[0], claimed.snapshot.roles[0]
    work = TaskWork(claimed.ownership, claimed.execution.team_id, task, role, [], "", a_route("test/m"), 5, 10.0)
    store.failures = [ValueError("secret text")] * 3
    recorder.sink(claimed.ownership).book(a_ledger_entry(work), a_tool_call(claimed.ownership, "paid"))
    await recorder.flush(SOON)


async def test_a_run_whose_bookings_cannot_be_stored_does_not_complete(
    store: InMemoryRunStore, recorder: EventRecorder
) -> None:
    claimed = await a_claim(store)
    await a_booking_that_is_lost(claimed, store, recorder)

    with pytest.raises(BookingsLost):
        await recorder.record(the_end(claimed))
    assert store.kept(claimed.execution.id).execution.status is ExecutionStatus.RUNNING

    await recorder.record(the_end(claimed))  # it knows now, and may say how it ends
    assert store.kept(claimed.execution.id).execution.status is ExecutionStatus.COMPLETED


async def test_a_lost_booking_is_told_with_the_next_change_which_is_kept(
    store: InMemoryRunStore, recorder: EventRecorder
) -> None:
    claimed = await a_claim(store)
    await a_booking_that_is_lost(claimed, store, recorder)

    with pytest.raises(BookingsLost):
        await recorder.record(a_change(claimed.ownership, "next"))

    assert told(store.kept(claimed.execution.id).events) == ["ExecutionStarted", "next"]


async def test_what_cannot_be_stored_is_not_quoted(
    store: InMemoryRunStore, recorder: EventRecorder, capsys: pytest.CaptureFixture[str]
) -> None:
    claimed = await a_claim(store)
    await a_booking_that_is_lost(claimed, store, recorder)

    with pytest.raises(BookingsLost) as lost:
        await recorder.record(a_change(claimed.ownership, "next"))

    printed = capsys.readouterr()
    assert "change_not_storable" in printed.out + printed.err
    assert "secret" not in printed.out + printed.err + str(lost.value)


async def test_an_execution_that_somebody_holds_waits_alone_and_keeps_its_order(
    store: InMemoryRunStore, recorder: EventRecorder
) -> None:
    held, other = await a_claim(store), await a_claim(store)
    store.failures = [Busy("as a group"), Busy("alone")]

    recorder.sink(held.ownership).emit(a_tool_call(held.ownership, "first"))
    await asyncio.gather(
        recorder.record(the_end(held)),
        recorder.record(a_change(other.ownership, "x")),
    )

    assert [told(group) for group in store.commits] == [["x"], ["first", "ExecutionCompleted"]]


async def test_flushing_commits_what_was_reported(store: InMemoryRunStore, recorder: EventRecorder) -> None:
    claimed = await a_claim(store)
    store.failures = [unavailable()]

    recorder.sink(claimed.ownership).emit(a_tool_call(claimed.ownership, "a"))
    await recorder.flush(SOON)

    assert told(store.kept(claimed.execution.id).events) == ["ExecutionStarted", "a"]


async def test_reports_that_are_being_committed_at_the_stop_are_told_as_lost(
    store: InMemoryRunStore, hints: FakeHints, capsys: pytest.CaptureFixture[str]
) -> None:
    claimed = await a_claim(store)
    recorder = EventRecorder(store, hints)
    recorder.start()
    store.gate = asyncio.Event()

    recorder.sink(claimed.ownership).emit(a_tool_call(claimed.ownership, "a"))
    await recorder.stop(0.05)

    printed = capsys.readouterr()
    assert "reports_lost" in printed.out + printed.err


async def test_text_that_the_database_cannot_store_is_cleaned(store: InMemoryRunStore, recorder: EventRecorder) -> None:
    claimed = await a_claim(store)
    store.failures = [ValueError("group"), ValueError("single")]

    recorder.sink(claimed.ownership).emit(a_text(claimed.ownership, "a\x00b\ud800c"))
    await recorder.record(Change(claimed.ownership))

    assert told(store.kept(claimed.execution.id).events)[1:] == [storable("a\x00b\ud800c")]
    assert storable("a\x00b\ud800c") == "a\ufffdb?c"


async def test_a_lost_run_is_told_and_writes_nothing(store: InMemoryRunStore, recorder: EventRecorder) -> None:
    claimed = await a_claim(store)
    lost: list[Ownership] = []
    recorder.on_lost = lost.append
    await store.claim(store.admit(claimed.execution.id, "another"), "another")

    recorder.sink(claimed.ownership).emit(a_tool_call(claimed.ownership, "late"))
    with pytest.raises(OwnershipLost):
        await recorder.record(a_change(claimed.ownership, "later"))

    assert lost == [claimed.ownership]
    assert told(store.kept(claimed.execution.id).events) == ["ExecutionStarted", "ExecutionStarted"]


async def test_a_refused_end_keeps_what_was_reported_before_and_does_not_stop_the_run(
    store: InMemoryRunStore, recorder: EventRecorder
) -> None:
    claimed = await a_claim(store)
    lost: list[Ownership] = []
    recorder.on_lost = lost.append
    store.move(claimed.execution.id, ExecutionStatus.CANCELLING)

    recorder.sink(claimed.ownership).emit(a_tool_call(claimed.ownership, "before"))
    with pytest.raises(OwnershipLost):
        await recorder.record(the_end(claimed))

    assert told(store.kept(claimed.execution.id).events) == ["ExecutionStarted", "before"]
    assert lost == []


async def test_stopping_commits_what_is_left(store: InMemoryRunStore, hints: FakeHints) -> None:
    claimed = await a_claim(store)
    recorder = EventRecorder(store, hints)
    recorder.start()

    recorder.sink(claimed.ownership).emit(a_tool_call(claimed.ownership, "a"))
    await recorder.stop(SOON)

    assert told(store.kept(claimed.execution.id).events) == ["ExecutionStarted", "a"]


async def test_a_report_after_the_end_of_the_loop_is_no_error(store: InMemoryRunStore, hints: FakeHints) -> None:
    claimed = await a_claim(store)
    loop = asyncio.new_event_loop()

    async def started() -> EventRecorder:
        recorder = EventRecorder(store, hints)
        recorder.start()
        await recorder.stop(SOON)
        return recorder

    recorder = await asyncio.to_thread(loop.run_until_complete, started())
    loop.close()

    recorder.sink(claimed.ownership).emit(a_tool_call(claimed.ownership, "late"))

    assert told(store.kept(claimed.execution.id).events) == ["ExecutionStarted"]
