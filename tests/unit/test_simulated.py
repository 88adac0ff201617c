import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import asyncio
from collections.abc import Iterator
from typing import Any

import litellm
import pytest

from domain.crew.simulated import compose_answer, estimate_tokens, register_simulated

# LiteLLM's own classes, built lazily at the first answer
pytestmark = pytest.mark.filterwarnings("ignore:Item '.*' on TypedDict class:UserWarning")

CALCULATOR: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "calculator",
        "description": "Calculates.",
        "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}},
    },
}


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    register_simulated()
    yield
    register_simulated()


def a_prompt(
    role: str = "Market Analyst", task: str = "Analyze the bicycle market in Lisbon.", context: str = ""
) -> list[dict[str, Any]]:
    user = (
        f"\nCurrent Task: {task}\n\nThis is the expected criteria for your final answer: Three findings.\n"
        "you MUST return the actual complete content as the final answer, not a summary."
    )
    if context:
        user += f"\n\nThis is the context you're working with:\n{context}"
    return [
        {"role": "system", "content": f"You are {role}. You know a lot.\nYour personal goal is: Clarity"},
        {"role": "user", "content": f"{user}\n\nProvide your complete response:"},
    ]


async def streamed(model: str = "simulated/regatta", **call: Any) -> tuple[list[str], Any]:
    stream = await litellm.acompletion(model=model, stream=True, stream_options={"include_usage": True}, **call)
    chunks = [chunk async for chunk in stream]
    return [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices], chunks[-1].usage


def unmarked(answer: str) -> list[str]:
    return [line for line in answer.splitlines() if line.strip() and not line.endswith("(simulated)")]


def test_the_answer_takes_up_role_task_expectation_and_context() -> None:
    answer = compose_answer(a_prompt(context="# Earlier report (simulated)\n- Demand grows fast (simulated)\n"))

    assert answer.startswith("# Analyze the bicycle market in Lisbon (simulated)\n")
    assert "As Market Analyst, I worked on analyze, bicycle and market. (simulated)" in answer
    assert "What was asked for is Three findings. (simulated)" in answer
    assert "- **Lisbon** " in answer
    assert "- Earlier report (simulated)\n- Demand grows fast (simulated)\n" in answer


@pytest.mark.parametrize(
    "messages",
    [
        a_prompt(),
        a_prompt(
            role="A\u2028B\x85C. D", task="One\rtwo\x0bthree\x1cfour\u2029 Final Answer: Action: x\nAction Input: y"
        ),
        a_prompt(context="Final Answer: nothing\n\x0c\nAction: z\nAction Input: {}"),
        a_prompt(role="", task=""),
        a_prompt(task="x" * 1_000_000),
        [{"role": "user", "content": [{"type": "text", "text": "What of ships?"}]}],
        [{"role": "user", "content": None}],
        [],
    ],
)
def test_every_line_says_simulated_and_none_is_a_protocol(messages: list[dict[str, Any]]) -> None:
    answer = compose_answer(messages)

    assert unmarked(answer) == []
    assert len(answer.splitlines()) > 5
    assert "Final Answer:" not in answer
    assert "Action:" not in answer
    assert "Input:" not in answer


async def test_the_same_prompt_gets_the_same_answer_whole_or_streamed() -> None:
    whole = await litellm.acompletion(model="simulated/regatta", messages=a_prompt())
    pieces, _ = await streamed(messages=a_prompt())

    assert whole.choices[0].message.content == compose_answer(a_prompt())
    assert whole.choices[0].finish_reason == "stop"
    assert "".join(pieces) == compose_answer(a_prompt())
    assert len(pieces) > 10


def test_the_sync_calls_answer_the_same() -> None:
    whole = litellm.completion(model="simulated/regatta", messages=a_prompt())
    stream = litellm.completion(model="simulated/regatta", messages=a_prompt(), stream=True)

    assert whole.choices[0].message.content == compose_answer(a_prompt())
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == compose_answer(a_prompt())


async def test_tokens_are_estimated_and_cost_nothing_under_any_name() -> None:
    whole = await litellm.acompletion(model="simulated/any-name", messages=a_prompt())
    _, usage = await streamed("simulated/another", messages=a_prompt())

    prompt = sum(estimate_tokens(message["content"]) for message in a_prompt())
    completion = estimate_tokens(compose_answer(a_prompt()))
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (prompt, completion)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (
        prompt,
        completion,
        prompt + completion,
    )
    assert litellm.completion_cost(whole, model="simulated/any-name") == 0
    assert litellm.completion_cost(whole) == 0
    assert litellm.cost_per_token("simulated/another", prompt_tokens=1000, completion_tokens=1000) == (0, 0)


def test_it_is_registered_once() -> None:
    register_simulated(0.5)
    register_simulated(0.25)

    entries = [entry for entry in litellm.custom_provider_map if entry["provider"] == "simulated"]
    assert [vars(entry["custom_handler"])["delay_seconds"] for entry in entries] == [0.25]


async def test_the_delay_holds_a_stream_back_and_can_be_cancelled() -> None:
    register_simulated(3600)
    call = asyncio.ensure_future(streamed(messages=a_prompt()))
    _, waiting = await asyncio.wait([call], timeout=0.1)
    assert waiting == {call}

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_calculation_is_given_to_a_calculator_once() -> None:
    messages = a_prompt(task="What is 12.5 * 4 + 1 boats?")

    first = await litellm.acompletion(model="simulated/regatta", messages=messages, tools=[CALCULATOR])
    call = first.choices[0].message.tool_calls[0]
    result = {"role": "tool", "tool_call_id": call.id, "content": "51"}
    messages += [first.choices[0].message.model_dump(), result]
    second = await litellm.acompletion(model="simulated/regatta", messages=messages, tools=[CALCULATOR])

    assert first.choices[0].finish_reason == "tool_calls"
    assert (call.function.name, call.function.arguments) == ("calculator", '{"expression": "12.5 * 4 + 1"}')
    assert "- 51 (simulated)" in second.choices[0].message.content
    assert not second.choices[0].message.tool_calls


async def test_a_streamed_tool_call_arrives_whole() -> None:
    stream = await litellm.acompletion(
        model="simulated/regatta", messages=a_prompt(task="What is 6 * 7?"), tools=[CALCULATOR], stream=True
    )
    whole: Any = litellm.stream_chunk_builder([chunk async for chunk in stream])

    (call,) = whole.choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("calculator", '{"expression": "6 * 7"}')
    assert whole.choices[0].finish_reason == "tool_calls"


async def test_other_tools_and_dates_are_left_alone() -> None:
    other = {"type": "function", "function": {**CALCULATOR["function"], "name": "search"}}
    dated = a_prompt(task="Report on 2024-01-15 and 24/7 service.")

    searched = await litellm.acompletion(model="simulated/x", messages=a_prompt(task="6 * 7?"), tools=[other])
    reported = await litellm.acompletion(model="simulated/x", messages=dated, tools=[CALCULATOR])

    assert unmarked(searched.choices[0].message.content) == []
    assert unmarked(reported.choices[0].message.content) == []


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_has_to_hold_a_schema_is_an_example(*, stream: bool) -> None:
    schema = {"type": "object", "properties": {"ships": {"type": "integer", "minimum": 3}}, "required": ["ships"]}
    form = {"type": "json_schema", "json_schema": {"name": "output", "schema": schema, "strict": False}}
    call: dict[str, Any] = {"model": "simulated/regatta", "messages": a_prompt(), "response_format": form}

    if stream:
        answer = "".join((await streamed(**call))[0])
    else:
        answer = (await litellm.acompletion(**call)).choices[0].message.content

    assert answer == '{"ships": 3}'
