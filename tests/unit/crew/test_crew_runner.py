import asyncio
import os
import signal
import threading
import warnings
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from crewai.agents.agent_executor import AgentExecutor

from domain.crew import executor, tuning
from domain.crew.environment import SWITCHES
from domain.crew.simulated import register_simulated
from domain.errors import FailureCode, RunFailed
from domain.events import ModelCalled, OutputStreamed, ToolCalled, ToolReturned
from domain.model.ledger import CallOutcome, TokenSource
from domain.model.tool import Tool, ToolKind
from domain.ports import ModelAnswer, TaskWork
from tests.support.model_server import Answer, Request, Silence, Status, Text, ToolCall, Usage
from tests.support.routes import a_model, a_route
from tests.unit.crew.conftest import Stage

Works = Callable[..., TaskWork]
Tools = Callable[..., Tool]


async def the_failure(stage: Stage, work: TaskWork) -> RunFailed:
    with pytest.raises(RunFailed) as caught:
        await stage.run(work)
    return caught.value


async def test_a_role_does_its_task(stage: Stage, a_work: Works) -> None:
    stage.server.script(Text("Markets grow.", usage=Usage(120, 30)))
    role = {"title": "Analyst", "description": "Knows markets.", "goals": ["See far", "See clearly"], "max_tokens": 99}
    work = a_work(role=role, description="Look at the market.", expected_output="One line.", context="Earlier words.")

    output = await stage.run(work)

    [request] = stage.server.requests
    assert output == "Markets grow."
    assert "You are Analyst. Knows markets.\nCurious" in request.system
    assert "See far\nSee clearly" in request.system
    assert "Look at the market." in request.last
    assert "One line." in request.last
    assert "Earlier words." in request.last
    assert (request.body["temperature"], request.body["max_tokens"]) == (0.7, 99)
    assert "tools" not in request.body
    assert "stop" not in request.body


async def test_a_run_leaves_its_text_its_call_and_one_entry(stage: Stage, a_work: Works) -> None:
    stage.server.script(Text("Markets grow.", usage=Usage(120, 30)))
    work = a_work()

    await stage.run(work)

    [entry] = stage.journal.entries
    assert "".join(event.text for event in stage.journal.of(OutputStreamed)) == "Markets grow."
    assert isinstance(stage.journal.events[-1], ModelCalled)
    assert {event.task_execution_id for event in stage.journal.events} == {work.task.id}
    assert (entry.outcome, entry.prompt_tokens, entry.completion_tokens) == (CallOutcome.SUCCEEDED, 120, 30)
    assert entry.token_source is TokenSource.PROVIDER


async def test_braces_in_texts_reach_the_model_as_they_are(stage: Stage, a_work: Works) -> None:
    texts = "{tools} {input} {role} {goal} {tool_names} {topic} {{x}} {backstory} { }"
    role = {"title": "{goal} man", "goals": [texts], "backstory": texts}

    await stage.run(a_work(role=role, description=texts, expected_output=texts, context=texts))

    [request] = stage.server.requests
    assert request.text.count(texts) == 5
    assert "You are {goal} man." in request.system
    assert request.text.isascii()


async def test_many_tasks_at_once_keep_to_themselves(stage: Stage, a_work: Works) -> None:
    stage.server.default = lambda request: Text("answer to " + request.last.partition("number ")[2][:2])
    works = [a_work(description=f"This is number {number}.") for number in range(10, 22)]

    outputs = await asyncio.gather(*(stage.run(work) for work in works))

    assert outputs == [f"answer to {number}" for number in range(10, 22)]
    assert {entry.task_execution_id for entry in stage.journal.entries} == {work.task.id for work in works}
    assert len(stage.journal.entries) == 12


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (401, FailureCode.MODEL_REFUSED, False),
        (429, FailureCode.MODEL_UNAVAILABLE, True),
        (500, FailureCode.MODEL_UNAVAILABLE, True),
    ],
)
async def test_a_failing_model_is_asked_once(
    stage: Stage, a_work: Works, status: int, code: FailureCode, *, retryable: bool
) -> None:
    stage.server.default = Status(status)

    failure = await the_failure(stage, a_work())

    assert (failure.code, failure.retryable) == (code, retryable)
    assert stage.server.received == 1
    assert [entry.error for entry in stage.journal.entries] == [code.value]


async def test_a_role_that_never_answers_reaches_its_iterations(stage: Stage, a_work: Works, a_tool: Tools) -> None:
    stage.server.default = lambda _: ToolCall("my_tool", {"expression": "1+1"})

    failure = await the_failure(stage, a_work(tools=[a_tool(ToolKind.CALCULATOR)], max_iterations=3))

    assert (failure.code, failure.retryable) == (FailureCode.MAX_ITERATIONS, False)
    assert stage.server.received == 3


async def test_a_task_that_takes_too_long_fails_and_closes_its_call(
    stage: Stage, a_work: Works, pass_time: Callable[[float], None]
) -> None:
    stage.server.script(Silence())
    failing = asyncio.create_task(the_failure(stage, a_work(timeout_seconds=60)))
    await stage.server.wait_for_requests(1)

    pass_time(60)
    failure = await failing

    assert failure.code is FailureCode.TASK_TIMEOUT
    await stage.server.wait_for_disconnects(1)


async def test_cancelling_closes_the_call_and_books_it_before_it_returns(stage: Stage, a_work: Works) -> None:
    stage.server.script(Silence(after_chunks=2))
    work = a_work()
    run = asyncio.create_task(stage.run(work))
    await stage.server.wait_for_requests(1)

    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    [entry] = stage.journal.entries
    assert (entry.outcome, entry.token_source) == (CallOutcome.CANCELLED, TokenSource.ESTIMATE)
    assert entry.prompt_tokens > 0
    assert work.signals.is_abandoned
    await stage.server.wait_for_disconnects(1)


async def test_a_cancelled_task_makes_no_further_call_when_its_tool_returns(
    stage: Stage, a_work: Works, a_tool: Tools
) -> None:
    # The tool asks the model server itself, so that the test can hold it as long as it likes.
    stage.server.script(ToolCall("my_tool", {"url": stage.server.url}))
    opened, release = threading.Event(), threading.Event()

    def held(self: Any, request: Any) -> Any:
        del self, request
        opened.set()
        release.wait(60)
        raise AssertionError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("domain.crew.tools.web.GuardedTransport.handle_request", held)
        run = asyncio.create_task(stage.run(a_work(tools=[a_tool(ToolKind.HTTP_GET)])))
        await asyncio.to_thread(opened.wait, 60)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        release.set()
        await asyncio.to_thread(stage.runner.close, wait=True)

    assert stage.server.received == 1
    assert len(stage.journal.of(ToolCalled)) == 1
    assert stage.journal.of(ToolReturned) == []


async def test_a_call_that_was_cut_off_fails_the_task_and_does_not_look_like_a_stop(
    stage: Stage, a_work: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cut_off(*_: Any) -> ModelAnswer:
        raise asyncio.CancelledError

    monkeypatch.setattr(stage.client, "complete", cut_off)

    failure = await the_failure(stage, a_work())

    assert (failure.code, failure.retryable) == (FailureCode.MODEL_UNAVAILABLE, True)


async def test_a_model_without_native_tools_uses_them_by_text(stage: Stage, a_work: Works, a_tool: Tools) -> None:
    stage.server.script(
        Status(400, {"error": {"message": "this model does not support tools"}}),
        Text('Thought: calculate\nAction: my_tool\nAction Input: {"expression": "6*7"}'),
        Text("Thought: done\nFinal Answer: It is 42."),
    )

    output = await stage.run(a_work(tools=[a_tool(ToolKind.CALCULATOR)]))

    assert output == "It is 42."
    assert "42" in stage.server.requests[-1].text
    assert [event.output for event in stage.journal.of(ToolReturned)] == ["42"]


async def test_the_tuned_path_asks_and_answers_as_crewai_does(
    stage: Stage, a_work: Works, a_tool: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script() -> None:
        stage.server.clear()
        stage.server.script(ToolCall("my_tool", {"expression": "6*7"}, id="one"), Text("It is 42."))

    work = {"tools": [a_tool(ToolKind.CALCULATOR)], "context": "Before."}
    script()
    tuned = await stage.run(a_work(**work))
    asked = [request.messages for request in stage.server.requests]

    tuning.untune()
    monkeypatch.setattr("domain.crew.assembly.executor_class", lambda: AgentExecutor)
    script()
    shipped = await stage.run(a_work(**work))
    tuning.tune()

    assert tuned == shipped == "It is 42."
    assert [request.messages for request in stage.server.requests] == asked


def test_an_executor_whose_steps_are_gone_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    assert executor.executor_class() is executor.DirectExecutor

    monkeypatch.setattr(executor, "_STEPS", ("a_step_of_another_version",))

    assert executor.executor_class() is AgentExecutor


def test_tuning_leaves_the_rest_of_the_process_alone() -> None:
    from crewai.events import crewai_event_bus  # noqa: PLC0415 - as other code would import it

    tuning.tune()
    tuning.tune()
    tuned = crewai_event_bus.emit
    tuning.untune()
    try:
        assert crewai_event_bus.emit is not tuned
        assert not hasattr(crewai_event_bus.emit, "_regatta_silenced")
    finally:
        tuning.tune()


def test_the_environment_is_prepared_and_the_process_is_as_it_was() -> None:
    assert all(os.environ[name] == value for name, value in SWITCHES.items())
    assert os.path.isabs(os.environ["CREWAI_STORAGE_DIR"])  # noqa: PTH117 - a text of the environment
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    as_begun = {signal.default_int_handler, signal.SIG_IGN}
    assert signal.getsignal(signal.SIGINT) in as_begun
    assert warnings.warn.__module__ in {"warnings", "_warnings"}


async def test_a_role_on_the_simulated_model_uses_its_calculator(stage: Stage, a_work: Works, a_tool: Tools) -> None:
    register_simulated()
    work = a_work(
        model="simulated/regatta", tools=[a_tool(ToolKind.CALCULATOR, "calculator")], description="Calculate 6 * 7."
    )

    output = await stage.run(work)

    assert "simulated" in output
    assert [event.output for event in stage.journal.of(ToolReturned)] == ["42"]
    assert {(entry.provider, entry.cost) for entry in stage.journal.entries} == {("simulated", Decimal(0))}


SCHEMA: dict[str, Any] = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}


async def test_a_task_with_a_schema_is_told_of_it_and_gives_bare_json(stage: Stage, a_work: Works) -> None:
    stage.server.script(Text('```json\n{"sum": 42}\n```'))

    output = await stage.run(a_work(output_schema=SCHEMA))

    [request] = stage.server.requests
    assert output == '{"sum": 42}'
    assert request.body["response_format"]["json_schema"]["schema"] == SCHEMA
    assert '{"type":"object","properties":{"sum":{"type":"integer"}},"required":["sum"]}' in request.last


async def test_a_task_without_a_schema_is_not_held_to_one(stage: Stage, a_work: Works) -> None:
    stage.server.script(Text("```json\nno JSON\n```"))

    output = await stage.run(a_work())

    assert output == "```json\nno JSON\n```"
    assert "response_format" not in stage.server.requests[0].body
    assert "JSON Schema" not in stage.server.requests[0].text


async def test_each_answer_to_a_schema_is_checked_before_it_is_taken(stage: Stage, a_work: Works) -> None:
    stage.server.default = Text('{"sum": "many"}')

    failure = await the_failure(stage, a_work(output_schema=SCHEMA))

    assert (failure.code, failure.retryable) == (FailureCode.MODEL_ANSWER_INVALID, False)
    assert "At sum: 'many' is not of type 'integer'" in failure.message
    assert stage.server.received == 1
    assert [entry.error for entry in stage.journal.entries] == ["MODEL_ANSWER_INVALID"]


async def test_tools_by_name_and_a_schema_go_together(stage: Stage, a_work: Works, a_tool: Tools) -> None:
    stage.server.script(ToolCall("my_tool", {"expression": "6*7"}), Text('{"sum": 42}'))

    output = await stage.run(a_work(tools=[a_tool(ToolKind.CALCULATOR)], output_schema=SCHEMA))

    assert output == '{"sum": 42}'
    assert ["response_format" in request.body for request in stage.server.requests] == [True, True]


@pytest.mark.parametrize("answer", ['{"sum": 42}', '```json\n{"sum": 42}\n```'])
async def test_tools_by_text_are_used_before_the_schema_is_checked(
    stage: Stage, a_work: Works, a_tool: Tools, answer: str
) -> None:
    stage.server.script(
        Text('Thought: calculate\nAction: my_tool\nAction Input: {"expression": "6*7"}'),
        Text(f"Thought: done\nFinal Answer: {answer}"),
    )
    route = a_route(a_model(supports_tools=False))

    output = await stage.run(a_work(route=route, tools=[a_tool(ToolKind.CALCULATOR)], output_schema=SCHEMA))

    assert output == '{"sum": 42}'
    assert [event.output for event in stage.journal.of(ToolReturned)] == ["42"]
    assert all("response_format" not in request.body for request in stage.server.requests)
    assert all("tools" not in request.body for request in stage.server.requests)


async def test_an_output_that_does_not_hold_the_schema_fails_the_attempt(
    stage: Stage, a_work: Works, a_tool: Tools
) -> None:
    stage.server.script(Text("Thought: done\nFinal Answer: Forty-two."))
    route = a_route(a_model(supports_tools=False))

    failure = await the_failure(stage, a_work(route=route, tools=[a_tool(ToolKind.CALCULATOR)], output_schema=SCHEMA))

    assert (failure.code, failure.retryable) == (FailureCode.OUTPUT_INVALID, True)
    assert failure.message == "The output does not hold the task's schema. It is no JSON."


async def test_a_schema_may_speak_of_crewai_s_own_slots(stage: Stage, a_work: Works) -> None:
    schema = {"type": "object", "description": "{input} {tools} {role}"}
    stage.server.script(Text("{}"))

    await stage.run(a_work(output_schema=schema))

    assert '"description":"{input} {tools} {role}"' in stage.server.requests[0].last


async def test_a_long_conversation_is_summed_up_without_the_schema(stage: Stage, a_work: Works, a_tool: Tools) -> None:
    def answer(request: Request) -> Answer:
        if "summar" in request.text.lower() and "tools" not in request.body:
            return Text("<summary>It was calculated: 42.</summary>")
        return (
            Text('{"sum": 42}') if "It was calculated" in request.text else ToolCall("my_tool", {"expression": "6*7"})
        )

    stage.server.default = answer
    route = a_route(a_model(context_window=4000), is_pinned=True)
    work = a_work(
        route=route,
        tools=[a_tool(ToolKind.CALCULATOR)],
        output_schema=SCHEMA,
        description="Calculate. " + "Mind the details. " * 800,
        max_iterations=6,
    )

    output = await stage.run(work)

    sums = [request for request in stage.server.requests if "tools" not in request.body]
    assert output == '{"sum": 42}'
    assert sums
    assert all("response_format" not in request.body for request in sums)


async def test_the_simulated_model_gives_an_example_of_the_schema(stage: Stage, a_work: Works) -> None:
    register_simulated()

    assert await stage.run(a_work(model="simulated/regatta", output_schema=SCHEMA)) == '{"sum": 0}'
