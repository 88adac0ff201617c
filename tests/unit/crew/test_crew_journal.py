import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from domain.crew.session import TaskSession, WorkStopped
from domain.crew.tools import calculator
from domain.crew.tools.asking import MAX_QUESTION
from domain.errors import AnswerAwaited, FailureCode, NotRecorded, OwnershipLost, Paused, RegattaError, RunFailed
from domain.events import CallReplayed, ModelCalled, ToolCalled, ToolReturned
from domain.model.identity import ToolId, new_id
from domain.model.journal import CallKind, JournalEntry
from domain.model.journal import Journal as CallJournal
from domain.model.ledger import CallOutcome
from domain.model.tool import Tool, ToolKind
from domain.ports import Signals, TaskWork
from tests.support.model_server import Answer, Request, Silence, Status, Text, ToolCall, ToolCalls
from tests.support.routes import a_model, a_route
from tests.unit.crew.conftest import Journal, Stage
from tests.unit.crew.test_crew_hierarchy import a_colleague, a_role, delegated, led

Works = Callable[..., TaskWork]
Tools = Callable[..., Tool]
SUM = ToolCall("my_tool", {"expression": "6*7"}, id="one")


@pytest.fixture
def sums(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the calculator was really asked."""
    asked: list[str] = []

    def counted(expression: str) -> str:
        asked.append(expression)
        return original(expression)

    original = calculator.calculate
    monkeypatch.setattr(calculator, "calculate", counted)
    return asked


def again(work: TaskWork, journal: Journal, **changes: Any) -> TaskWork:
    """The same attempt as the next run has it: with the journal of the one before."""
    return replace(work, journal=CallJournal(journal.calls.values()), signals=Signals(), **changes)


def tool_entries(journal: Journal) -> list[JournalEntry]:
    return [entry for entry in journal.calls.values() if entry.kind is CallKind.TOOL]


async def test_a_finished_tool_call_is_replayed_and_not_made_again(
    stage: Stage, a_work: Works, a_tool: Tools, sums: list[str]
) -> None:
    stage.server.script(SUM, Text("It is 42."))
    work = a_work(tools=[a_tool(ToolKind.CALCULATOR)])
    await stage.run(work)
    stage.journal.events.clear()

    output = await stage.run(again(work, stage.journal))

    [entry] = tool_entries(stage.journal)
    assert output == "It is 42."
    assert sums == ["6*7"]
    assert stage.server.received == 2
    assert (entry.answer, entry.ordinal, entry.attempt) == ({"text": "42", "is_error": False}, 1, 1)
    assert [(event.kind, event.ordinal) for event in stage.journal.of(CallReplayed)] == [
        (CallKind.MODEL, 1),
        (CallKind.TOOL, 1),
        (CallKind.MODEL, 2),
    ]
    assert len(stage.journal.events) == 3
    assert stage.journal.kept == []


async def test_what_a_run_did_not_get_to_is_done_by_the_next(
    stage: Stage, a_work: Works, a_tool: Tools, sums: list[str]
) -> None:
    stage.server.script(SUM, Status(401))
    work = a_work(tools=[a_tool(ToolKind.CALCULATOR)])
    with pytest.raises(RunFailed):
        await stage.run(work)

    stage.server.script(Text("It is 42."))

    assert await stage.run(again(work, stage.journal)) == "It is 42."
    assert sums == ["6*7"]
    assert stage.server.received == 3


async def test_a_tool_call_that_failed_is_replayed_as_well(stage: Stage, a_work: Works, a_tool: Tools) -> None:
    stage.server.script(ToolCall("my_tool", {"expression": "6/0"}), Text("It has no value."))
    work = a_work(tools=[a_tool(ToolKind.CALCULATOR)])
    await stage.run(work)

    await stage.run(again(work, stage.journal))

    [entry] = tool_entries(stage.journal)
    assert entry.answer is not None
    assert entry.answer["is_error"]
    assert str(entry.answer["text"]).startswith("Error: ")
    assert stage.server.received == 2


async def test_equal_calls_of_two_roles_are_calls_of_their_own(stage: Stage, a_work: Works, a_tool: Tools) -> None:
    head, tool = a_role("Head"), a_tool(ToolKind.CALCULATOR)
    one, two = a_role("One", head), a_role("Two", head)

    def answer(request: Request) -> Answer:
        if any(message["role"] == "tool" for message in request.messages):
            return Text("It is 42.")
        return SUM if "Head" not in request.system else ToolCalls((delegated("One"), delegated("Two")))

    stage.server.default = answer

    await stage.run(led(a_work(), head, a_colleague(one, [tool]), a_colleague(two, [tool])))

    assert [entry.occurrence for entry in tool_entries(stage.journal)] == [1, 1]
    assert sorted(entry.ordinal for entry in tool_entries(stage.journal)) == [1, 2]
    assert {event.role_id for event in stage.journal.of(ToolCalled)} == {one.id, two.id}


async def test_what_postgresql_cannot_store_reaches_the_model_as_it_is_kept(
    stage: Stage, a_work: Works, a_tool: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calculator, "calculate", lambda expression: f"{expression}\x00\ud800" + "x" * 300_000)
    stage.server.script(SUM, Text("Odd."))
    route = a_route(a_model(context_window=10_000_000), is_pinned=True)

    await stage.run(a_work(tools=[a_tool(ToolKind.CALCULATOR)], route=route))

    [entry] = tool_entries(stage.journal)
    assert entry.answer is not None
    assert entry.answer["text"] == "6*7\ufffd?" + "x" * (200_000 - 5)
    assert stage.tool_results == [entry.answer["text"]]


async def test_a_result_that_is_put_aside_is_known_again(
    stage: Stage, a_work: Works, a_tool: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calculator, "calculate", lambda expression: f"{expression}\n" * 20_000)
    read = ToolCall("read_a_deferred_tool_result", {"file_path": "tool-result-1/result.md", "line_count": 1})
    stage.server.script(SUM, read, Text("Long."))
    route = a_route(a_model(context_window=20_000), is_pinned=True)
    work = a_work(tools=[a_tool(ToolKind.CALCULATOR)], route=route)
    await stage.run(work)
    assert "temporary artifact `tool-result-1`" in stage.server.requests[1].text
    assert stage.tool_results[-1] == "6*7\n"

    assert await stage.run(again(work, stage.journal)) == "Long."

    assert stage.server.received == 3


# Tools that must not be called twice.


def once(a_tool: Tools) -> Tool:
    return replace(a_tool(ToolKind.CALCULATOR), is_idempotent=False)


async def test_a_tool_that_cannot_be_repeated_stands_in_the_journal_before_it_is_called(
    stage: Stage, a_work: Works, a_tool: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.server.script(SUM, Text("It is 42."))
    before: list[Any] = []

    def act(expression: str) -> str:
        before.extend((entry.answer, entry.key) for entry in stage.journal.kept)
        return f"{expression} it is"

    monkeypatch.setattr(calculator, "calculate", act)

    await stage.run(a_work(tools=[once(a_tool)]))

    [entry] = tool_entries(stage.journal)
    assert before == [(None, entry.key)]
    assert entry.answer == {"text": "6*7 it is", "is_error": False, "once": True}


async def test_what_it_answered_counts_in_the_next_attempt(
    stage: Stage, a_work: Works, a_tool: Tools, sums: list[str]
) -> None:
    stage.server.script(SUM, Text("It is 42."), SUM, Text("It is still 42."))
    work = a_work(tools=[once(a_tool)])
    await stage.run(work)
    over = CallJournal(entry for entry in stage.journal.calls.values() if entry.answer and entry.answer.get("once"))

    output = await stage.run(replace(work, task=replace(work.task, attempts=2), journal=over))

    assert output == "It is still 42."
    assert sums == ["6*7"]
    assert stage.tool_results == ["42"]


async def test_what_it_answered_when_nobody_waited_any_more_is_kept(
    stage: Stage, a_work: Works, a_tool: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on = threading.Event(), threading.Event()

    def slow(expression: str) -> str:
        began.set()
        go_on.wait(60)
        return f"{expression} it is"

    monkeypatch.setattr(calculator, "calculate", slow)
    stage.server.script(SUM)
    run = asyncio.create_task(stage.run(a_work(tools=[once(a_tool)])))
    await asyncio.to_thread(began.wait, 60)

    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    go_on.set()
    await asyncio.to_thread(stage.runner.close, wait=True)

    [entry] = tool_entries(stage.journal)
    assert entry.answer == {"text": "6*7 it is", "is_error": False, "once": True}
    assert stage.journal.of(ToolReturned) == []
    assert stage.server.received == 1


async def test_calls_that_have_not_begun_are_not_made_once_another_ends_the_work(
    stage: Stage, a_work: Works, a_tool: Tools, sums: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    has_ended, kept = asyncio.Event(), stage.journal.keep
    loop, end = asyncio.get_running_loop(), TaskSession.stopped

    def stopped(self: TaskSession, reason: RegattaError) -> WorkStopped:
        ending = end(self, reason)
        loop.call_soon_threadsafe(has_ended.set)
        return ending

    async def keep(entry: JournalEntry) -> None:
        if entry.ordinal == 1:
            raise NotRecorded("full")
        await has_ended.wait()
        await kept(entry)

    monkeypatch.setattr(stage.journal, "keep", keep)
    monkeypatch.setattr(TaskSession, "stopped", stopped)
    wishes = (ToolCall("my_tool", {"expression": f"{number}+1"}, id=f"c{number}") for number in range(20))
    stage.server.script(ToolCalls(tuple(wishes)))

    with pytest.raises(NotRecorded):
        await stage.run(a_work(tools=[once(a_tool)]))

    assert len(sums) < 8  # as many as CrewAI makes at once
    assert len(stage.journal.of(ToolReturned)) == len(sums)
    assert all(entry.answer for entry in tool_entries(stage.journal))


async def test_tools_of_names_that_are_written_alike_are_not_taken_for_each_other(
    stage: Stage, a_work: Works, a_tool: Tools, sums: list[str]
) -> None:
    one, other = once(a_tool), replace(once(a_tool), name="my-tool")
    stage.server.script(SUM, Text("42."), SUM, Text("42!"))
    work = a_work(tools=[one])
    await stage.run(work)
    over = CallJournal(tool_entries(stage.journal))

    await stage.run(replace(work, tools=[replace(other, id=ToolId(new_id()))], journal=over))

    assert sums == ["6*7", "6*7"]


async def test_a_call_that_was_interrupted_is_never_repeated_in_silence(
    stage: Stage, a_work: Works, a_tool: Tools, sums: list[str]
) -> None:
    stage.server.script(SUM, Text("It is 42."))
    work = a_work(tools=[once(a_tool)])
    await stage.run(work)
    [entry] = tool_entries(stage.journal)
    stage.journal.calls[entry.key] = replace(entry, answer=None)

    with pytest.raises(
        RunFailed, match=r"'my_tool' was being called .* a human has to decide: retry or fork"
    ) as caught:
        await stage.run(again(work, stage.journal))

    assert (caught.value.code, caught.value.retryable) == (FailureCode.TOOL_INTERRUPTED, False)
    assert len(sums) == 1
    assert stage.server.received == 2


async def test_an_interrupted_call_of_a_colleague_ends_the_task_too(
    stage: Stage, a_work: Works, a_tool: Tools, sums: list[str]
) -> None:
    head = a_role("Head")
    work = led(a_work(), head, a_colleague(a_role("Scout", head), [once(a_tool)]))
    stage.server.script(delegated("Scout"), SUM, Text("42."), Text("It is 42."))
    await stage.run(work)
    [entry] = tool_entries(stage.journal)
    stage.journal.calls[entry.key] = replace(entry, answer=None)

    with pytest.raises(RunFailed) as caught:
        await stage.run(again(work, stage.journal))

    assert caught.value.code is FailureCode.TOOL_INTERRUPTED
    assert len(sums) == 1


@pytest.mark.parametrize(
    ("error", "raised"), [(NotRecorded("full"), NotRecorded), (OwnershipLost(), RunFailed)], ids=["full", "lost"]
)
async def test_a_tool_whose_call_cannot_be_put_down_is_not_called(
    stage: Stage,
    a_work: Works,
    a_tool: Tools,
    sums: list[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    raised: type[Exception],
) -> None:
    async def refuse(_: JournalEntry) -> None:
        raise error

    monkeypatch.setattr(stage.journal, "keep", refuse)
    stage.server.script(SUM)

    with pytest.raises(raised):
        await stage.run(a_work(tools=[once(a_tool)]))

    assert sums == []
    assert stage.journal.of(ToolCalled) == []
    assert stage.server.received == 1


async def test_cancelling_while_a_call_is_put_down_does_not_make_it(
    stage: Stage, a_work: Works, a_tool: Tools, sums: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping = asyncio.Event()

    async def never(_: JournalEntry) -> None:
        keeping.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(stage.journal, "keep", never)
    stage.server.script(SUM)
    run = asyncio.create_task(stage.run(a_work(tools=[once(a_tool)])))
    await keeping.wait()

    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    await asyncio.to_thread(stage.runner.close, wait=True)

    assert sums == []
    assert stage.journal.of(ToolCalled) == []


# Pauses.


async def test_a_pause_comes_before_the_next_model_call_and_what_was_done_is_kept(
    stage: Stage, a_work: Works, a_tool: Tools, monkeypatch: pytest.MonkeyPatch, sums: list[str]
) -> None:
    stage.server.script(SUM, Text("It is 42."))
    work = a_work(tools=[a_tool(ToolKind.CALCULATOR)])
    counted = calculator.calculate

    def pausing(expression: str) -> str:
        work.signals.is_pausing = True
        return counted(expression)

    monkeypatch.setattr(calculator, "calculate", pausing)

    with pytest.raises(Paused):
        await stage.run(work)
    assert stage.server.received == 1
    assert [event.output for event in stage.journal.of(ToolReturned)] == ["42"]

    assert await stage.run(again(work, stage.journal)) == "It is 42."
    assert sums == ["6*7"]
    assert stage.server.received == 2


async def test_a_call_in_flight_ends_before_the_pause(stage: Stage, a_work: Works, a_tool: Tools) -> None:
    stage.server.script(replace(SUM, latency=0.2), Text("It is 42."))
    work = a_work(tools=[a_tool(ToolKind.CALCULATOR)])
    run = asyncio.create_task(stage.run(work))
    await stage.server.wait_for_requests(1)

    work.signals.is_pausing = True
    with pytest.raises(Paused):
        await run

    assert [entry.outcome for entry in stage.journal.entries] == [CallOutcome.SUCCEEDED]
    assert len(stage.journal.of(ModelCalled)) == 1


async def test_a_task_whose_answer_came_while_it_was_to_pause_is_done(stage: Stage, a_work: Works) -> None:
    stage.server.script(Text("It is 42.", latency=0.2))
    work = a_work()
    run = asyncio.create_task(stage.run(work))
    await stage.server.wait_for_requests(1)

    work.signals.is_pausing = True

    assert await run == "It is 42."


async def test_a_pause_in_the_work_of_colleagues_goes_on_where_it_was(stage: Stage, a_work: Works) -> None:
    head = a_role("Head")
    work = led(a_work(guardrail="Any."), head, a_role("Scout", head))

    def answer(request: Request) -> Answer:
        if "Find the number." in request.last:
            work.signals.is_pausing = True
            return Text("43.")
        if "complies with the guardrail" in request.text:
            return Text(json.dumps({"verdict": "PASSED", "feedback": ""}))
        return Text("Forty-three.") if "43." in request.text else delegated("Scout")

    stage.server.default = answer

    with pytest.raises(Paused):
        await stage.run(work)
    assert stage.server.received == 2

    assert await stage.run(again(work, stage.journal)) == "Forty-three."
    assert stage.server.received == 4


# Questions to a human.

CURIOUS = {"can_ask": True}
QUESTION = ToolCall("ask_human", {"question": "Which colour?"}, id="q1")


async def asked_in(stage: Stage, work: TaskWork) -> AnswerAwaited:
    with pytest.raises(AnswerAwaited) as caught:
        await stage.run(work)
    return caught.value


async def test_a_role_that_asks_ends_the_work_until_a_human_answered(stage: Stage, a_work: Works) -> None:
    stage.server.script(QUESTION, Text("Then red."))
    work = a_work(role=CURIOUS)

    awaited = await asked_in(stage, work)
    again_awaited = await asked_in(stage, again(work, stage.journal))
    output = await stage.run(again(work, stage.journal, answers={awaited.call_key: "Red."}))

    assert awaited.question == "Which colour?"
    assert awaited.call_key == again_awaited.call_key
    assert output == "Then red."
    assert stage.server.received == 2
    assert stage.tool_results == ["Red."]
    assert tool_entries(stage.journal) == []


async def test_two_questions_are_answered_one_after_the_other(stage: Stage, a_work: Works) -> None:
    other = ToolCall("ask_human", {"question": "Which size?"}, id="q2")
    stage.server.script(QUESTION, other, Text("Red and large."))
    work = a_work(role=CURIOUS)

    first = await asked_in(stage, work)
    answers = {first.call_key: "Red."}
    second = await asked_in(stage, again(work, stage.journal, answers=answers))
    answers[second.call_key] = "Large."

    assert (first.question, second.question) == ("Which colour?", "Which size?")
    assert first.role_id == second.role_id == work.role.id
    assert await stage.run(again(work, stage.journal, answers=answers)) == "Red and large."
    assert stage.server.received == 3


async def test_what_is_called_behind_a_question_waits_for_its_answer(
    stage: Stage, a_work: Works, a_tool: Tools, sums: list[str]
) -> None:
    sum_of = [ToolCall("my_tool", {"expression": f"{number}+1"}, id=f"c{number}") for number in range(2)]
    stage.server.script(ToolCalls((sum_of[0], QUESTION, sum_of[1])), Text("Then red."))
    work = a_work(role=CURIOUS, tools=[a_tool(ToolKind.CALCULATOR)])

    awaited = await asked_in(stage, work)
    before = [*sums]
    output = await stage.run(again(work, stage.journal, answers={awaited.call_key: "Red."}))

    assert before == ["0+1"]
    assert sums == ["0+1", "1+1"]
    assert output == "Then red."
    assert stage.tool_results == ["1", "Red.", "2"]


async def test_a_colleague_s_question_is_known_again(stage: Stage, a_work: Works) -> None:
    head = a_role("Head")
    work = led(a_work(), head, a_role("Scout", head, **CURIOUS))
    stage.server.script(delegated("Scout"), QUESTION, Text("Red."), Text("Then red."))

    awaited = await asked_in(stage, work)
    output = await stage.run(again(work, stage.journal, answers={awaited.call_key: "Red."}))

    assert output == "Then red."
    assert stage.server.received == 4


async def test_a_question_by_text_is_asked_as_well(stage: Stage, a_work: Works) -> None:
    stage.server.script(
        Text('Thought: ask\nAction: ask_human\nAction Input: {"question": "Which colour?"}'),
        Text("Thought: done\nFinal Answer: Then red."),
    )
    work = a_work(role=CURIOUS, route=a_route(a_model(supports_tools=False)))

    awaited = await asked_in(stage, work)
    output = await stage.run(again(work, stage.journal, answers={awaited.call_key: "Red."}))

    assert output == "Then red."
    assert "Observation: Red." in stage.server.requests[-1].text


@pytest.mark.parametrize("question", ["", "x" * (MAX_QUESTION + 1)])
async def test_a_question_that_is_none_goes_back_to_the_model(stage: Stage, a_work: Works, question: str) -> None:
    stage.server.script(ToolCall("ask_human", {"question": question}), Text("Never mind."))

    assert await stage.run(a_work(role=CURIOUS)) == "Never mind."

    assert "wrong arguments" in stage.tool_results[0]


async def test_a_role_that_may_not_ask_has_no_tool_for_it(stage: Stage, a_work: Works) -> None:
    await stage.run(a_work())

    assert "tools" not in stage.server.requests[0].body


# What happens at once.


async def test_tasks_of_one_execution_run_side_by_side(stage: Stage, a_work: Works, a_tool: Tools) -> None:
    met = threading.Barrier(4, timeout=60)

    def together(expression: str) -> str:
        met.wait()
        return expression

    stage.server.default = lambda request: (
        Text(f"got {request.messages[-1]['content']}")
        if any(message["role"] == "tool" for message in request.messages)
        else ToolCall("my_tool", {"expression": request.last.partition("number ")[2][:1]})
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calculator, "calculate", together)
        works = [a_work(tools=[a_tool(ToolKind.CALCULATOR)], description=f"number {n}") for n in range(4)]
        outputs = await asyncio.gather(*(stage.run(work) for work in works))

    assert outputs == ["got 0", "got 1", "got 2", "got 3"]
    assert {entry.task_execution_id for entry in tool_entries(stage.journal)} == {work.task.id for work in works}


async def test_a_closed_call_is_not_taken_for_a_pause(stage: Stage, a_work: Works) -> None:
    stage.server.script(Silence())
    work = a_work()
    run = asyncio.create_task(stage.run(work))
    await stage.server.wait_for_requests(1)

    work.signals.is_pausing = True
    run.cancel()

    with pytest.raises(asyncio.CancelledError):
        await run
