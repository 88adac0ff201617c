"""Spans of the calls that a role makes in its threads: whose they are, what they say, and what they must not."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from domain.crew.models import LiteLLMClient
from domain.crew.runner import CrewTaskRunner
from domain.crew.tools import ToolSettings
from domain.errors import RunFailed
from domain.model.tool import Tool, ToolKind
from domain.ports import TaskWork
from domain.services.model_gateway import GatewayRules, RoutedGateway
from tests.support.model_server import ModelServer, Silence, Status, Text, ToolCall, Usage
from tests.support.routes import EndlessBudgets
from tests.support.spans import KeptSpans, is_part_of, said
from tests.unit.crew.conftest import Journal, Stage

Works = Callable[..., TaskWork]
Tools = Callable[..., Tool]


@pytest.fixture
def spans() -> KeptSpans:
    return KeptSpans()


@pytest.fixture
async def traced(
    server: ModelServer, client: LiteLLMClient, journal: Journal, spans: KeptSpans
) -> AsyncIterator[Stage]:
    rules = GatewayRules(attempts=2, first_pause=0.001)
    gateway = RoutedGateway(client, EndlessBudgets(), rules, spans.tracing)
    runner = CrewTaskRunner(gateway, asyncio.get_running_loop(), threads=4, tools=ToolSettings(), tracing=spans.tracing)
    yield Stage(server, client, gateway, runner, journal)
    runner.close()


async def test_each_http_attempt_and_each_tool_has_a_span_in_that_of_its_task(
    traced: Stage, spans: KeptSpans, a_work: Works, a_tool: Tools
) -> None:
    traced.server.script(
        Status(500),
        ToolCall("calculator", {"expression": "6*7"}, usage=Usage(100, 20)),
        ToolCall("calculator", {"expression": "secret("}, usage=Usage(200, 30)),
        Text("It is a secret.", usage=Usage(300, 40, cached=50)),
    )
    role = {"title": "secret", "goals": ["secret"], "backstory": "secret", "max_tokens": 99, "temperature": 0.5}
    texts = {"description": "secret", "expected_output": "secret", "context": "secret"}
    tool = a_tool(ToolKind.CALCULATOR, "Calculator")

    with spans.tracing.span("task"):
        await traced.run(a_work(tools=[tool], role=role, **texts))

    task, calls, uses = spans.one("task"), spans.named("chat gpt-4o-mini"), spans.named("execute_tool calculator")
    assert (len(calls), len(uses)) == (4, 2)
    assert all(is_part_of(span, task) for span in (*calls, *uses))
    tokens = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")
    booked = [(entry.prompt_tokens, entry.completion_tokens) for entry in traced.journal.entries]
    assert [tuple(said(span, *tokens).values()) for span in calls] == booked
    assert [said(span, "error.type") for span in calls] == [{"error.type": "MODEL_UNAVAILABLE"}, {}, {}, {}]
    assert [said(span, "error.type") for span in uses] == [{}, {"error.type": "tool_error"}]
    last, entry = dict(calls[-1].attributes or {}), traced.journal.entries[-1]
    assert last.pop("gen_ai.response.time_to_first_chunk") == entry.time_to_first_token_seconds
    assert last == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 99,
        "gen_ai.agent.id": str(entry.role_id),
        "regatta.execution.id": str(entry.execution_id),
        "regatta.task_execution.id": str(entry.task_execution_id),
        "regatta.call": 3,
        "regatta.call.attempt": 1,
        "regatta.ledger_entry.id": str(entry.id),
        "gen_ai.response.model": "gpt-4o-mini",
        "gen_ai.usage.input_tokens": 300,
        "gen_ai.usage.output_tokens": 40,
        "gen_ai.usage.cache_read.input_tokens": 50,
        "gen_ai.usage.reasoning.output_tokens": 0,
        "regatta.cost": float(entry.cost),
        "regatta.call.outcome": "SUCCEEDED",
    }
    assert "secret" not in spans.text()


async def test_a_call_that_was_abandoned_says_so(traced: Stage, spans: KeptSpans, a_work: Works) -> None:
    traced.server.script(Silence(after_chunks=1))
    running = asyncio.create_task(traced.run(a_work()))
    await traced.server.wait_for_requests(1)

    running.cancel()
    await asyncio.wait({running})

    names = ("error.type", "regatta.call.outcome", "regatta.stopped_by")
    assert said(spans.one("chat gpt-4o-mini"), *names) == {
        "regatta.call.outcome": "CANCELLED",
        "regatta.stopped_by": "CancelledError",
    }
    assert spans.one("chat gpt-4o-mini").status.is_unset


async def test_a_refused_call_has_no_answer_to_tell_of(traced: Stage, spans: KeptSpans, a_work: Works) -> None:
    traced.server.script(Status(400, "secret"))

    with pytest.raises(RunFailed):
        await traced.run(a_work())

    span = spans.one("chat gpt-4o-mini")
    assert said(span, "error.type", "gen_ai.response.model") == {"error.type": "MODEL_REFUSED"}
    assert "secret" not in spans.text()
