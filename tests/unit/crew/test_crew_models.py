import asyncio
from decimal import Decimal
from typing import Any

import pytest

from domain.crew.models import LiteLLMClient, ModelSettings
from domain.crew.simulated import register_simulated
from domain.errors import FailureCode, RunFailed
from domain.model.ledger import TokenSource
from domain.ports import ModelRequest, ToolRequest
from tests.support.model_server import (
    Answer,
    Garbage,
    HangUp,
    ModelServer,
    Silence,
    Status,
    Text,
    ToolCall,
    ToolCalls,
    Usage,
)

CALCULATOR = {
    "type": "function",
    "function": {"name": "calculator", "description": "Calculates", "parameters": {"type": "object", "properties": {}}},
}


def a_request(**changes: Any) -> ModelRequest:
    defaults: dict[str, Any] = {
        "model": "openai/gpt-4o-mini",
        "messages": [{"role": "user", "content": "Hello"}],
        "tools": None,
        "parameters": {},
        "timeout_seconds": 5.0,
    }
    return ModelRequest(**{**defaults, **changes})


def nothing(_: str) -> None:
    pass


async def the_failure(client: LiteLLMClient, request: ModelRequest) -> RunFailed:
    with pytest.raises(RunFailed) as caught:
        await client.complete(request, nothing)
    return caught.value


async def test_an_answer_is_streamed_and_priced_exactly(server: ModelServer, client: LiteLLMClient) -> None:
    server.script(Text("Hello, you there", usage=Usage(1000, 100, cached=400)))
    pieces: list[str] = []

    answer = await client.complete(a_request(), pieces.append)

    assert answer.text == "".join(pieces) == "Hello, you there"
    assert len(pieces) == 4
    assert (answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens) == (1000, 100, 400)
    assert answer.token_source is TokenSource.PROVIDER
    # gpt-4o-mini: 0.15, cached 0.075, answer 0.60 dollars per million tokens.
    assert answer.cost == Decimal("0.00018")


async def test_a_call_is_one_streamed_request_with_the_parameters(server: ModelServer, client: LiteLLMClient) -> None:
    await client.complete(a_request(parameters={"temperature": 0.3, "max_tokens": 50, "seed": 7}), nothing)

    body = server.requests[0].body
    assert server.received == 1
    assert (body["temperature"], body["max_tokens"], body["seed"]) == (0.3, 50, 7)
    assert body["stream"] is True
    assert body["stream_options"] == {"include_usage": True}
    assert server.requests[0].headers["authorization"] == "Bearer sk-very-secret"


async def test_tools_are_passed_and_their_calls_put_together(server: ModelServer, client: LiteLLMClient) -> None:
    server.script(
        ToolCalls((ToolCall("calculator", {"expression": "1+1"}), ToolCall("calculator", {"expression": "2"})))
    )

    answer = await client.complete(a_request(tools=[CALCULATOR]), nothing)

    assert server.requests[0].body["tools"][0]["function"]["name"] == "calculator"
    assert list(answer.tool_requests) == [
        ToolRequest("call_1", "calculator", '{"expression":"1+1"}'),
        ToolRequest("call_2", "calculator", '{"expression":"2"}'),
    ]


REFUSED, UNAVAILABLE = FailureCode.MODEL_REFUSED, FailureCode.MODEL_UNAVAILABLE
INVALID, UNKNOWN = FailureCode.MODEL_ANSWER_INVALID, FailureCode.MODEL_UNKNOWN


@pytest.mark.parametrize(
    ("reply", "code", "retryable"),
    [
        (Status(400), REFUSED, False),
        (Status(401, "Incorrect API key provided: sk-very-secret"), REFUSED, False),
        (Status(403), REFUSED, False),
        (Status(404), UNKNOWN, False),
        (Status(422), REFUSED, False),
        (Status(408), UNAVAILABLE, True),
        (Status(429, retry_after=1), UNAVAILABLE, True),
        (Status(500), UNAVAILABLE, True),
        (Status(503), UNAVAILABLE, True),
        (HangUp(), UNAVAILABLE, True),
        (HangUp(after_chunks=2), UNAVAILABLE, True),
        (Garbage(), INVALID, True),
        (Text(""), INVALID, True),
    ],
    ids=lambda value: repr(value)[:60],
)
async def test_whatever_goes_wrong_is_typed_after_one_request(
    server: ModelServer, client: LiteLLMClient, reply: Answer, code: FailureCode, *, retryable: bool
) -> None:
    server.script(reply)

    failure = await the_failure(client, a_request())

    assert (failure.code, failure.retryable) == (code, retryable)
    assert "secret" not in failure.message
    assert server.received == 1


@pytest.mark.parametrize("after_chunks", [0, 2])
async def test_a_silent_model_times_out_and_is_left(
    server: ModelServer, client: LiteLLMClient, after_chunks: int
) -> None:
    server.script(Silence(after_chunks=after_chunks))

    failure = await the_failure(client, a_request(timeout_seconds=0.2))

    assert (failure.code, failure.retryable) == (UNAVAILABLE, True)
    assert failure.message == "The model 'openai/gpt-4o-mini' did not answer within 0.2 seconds."
    await server.wait_for_disconnects(1)


@pytest.mark.parametrize("after_chunks", [0, 2])
async def test_cancelling_closes_the_connection(server: ModelServer, client: LiteLLMClient, after_chunks: int) -> None:
    server.script(Silence(after_chunks=after_chunks))
    heard = asyncio.Event()
    call = asyncio.create_task(client.complete(a_request(), lambda _: heard.set()))
    await server.wait_for_requests(1)
    if after_chunks:
        await heard.wait()

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    await server.wait_for_disconnects(1)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("groq/no-such-model", "There is no price known for the model 'groq/no-such-model'."),
        ("nonsense", "There is no model named 'nonsense'."),
        ("os.environ/OPENAI_API_KEY", "There is no model named 'os.environ/OPENAI_API_KEY'."),
    ],
)
async def test_a_model_without_a_price_is_not_called(
    server: ModelServer, client: LiteLLMClient, model: str, message: str
) -> None:
    failure = await the_failure(client, a_request(model=model))

    assert (failure.code, failure.retryable, failure.message) == (UNKNOWN, False, message)
    assert server.received == 0


@pytest.mark.parametrize(
    "parameters",
    [{"api_base": "http://evil.example"}, {"api_key": "x"}, {"stop": ["os.environ/OPENAI_API_KEY"]}],
)
async def test_parameters_that_could_leak_secrets_are_refused(
    server: ModelServer, client: LiteLLMClient, parameters: dict[str, Any]
) -> None:
    failure = await the_failure(client, a_request(parameters=parameters))

    assert failure.code is REFUSED
    assert server.received == 0


async def test_a_model_of_a_local_server_costs_nothing(server: ModelServer, client: LiteLLMClient) -> None:
    server.script(Text("Hi", usage=Usage(10, 5)))

    answer = await client.complete(a_request(model="openai/my-own-model"), nothing)

    assert (answer.prompt_tokens, answer.cost) == (10, Decimal(0))


async def test_a_simulated_model_costs_nothing_and_streams(client: LiteLLMClient) -> None:
    register_simulated()
    pieces: list[str] = []

    answer = await client.complete(a_request(model="simulated/regatta"), pieces.append)

    assert "simulated" in answer.text
    assert len(pieces) > 1
    assert answer.prompt_tokens > 0
    assert answer.cost == Decimal(0)
    assert client.provider_of("simulated/regatta") == "simulated"


async def test_a_parameter_that_the_model_does_not_have_is_left_out(server: ModelServer, client: LiteLLMClient) -> None:
    answer = await client.complete(
        a_request(model="openai/o3-mini", parameters={"temperature": 0.3, "max_tokens": 50}), nothing
    )

    assert answer.text
    assert "temperature" not in server.requests[0].body
    assert server.received == 1


def test_an_estimate_is_marked_and_priced(server: ModelServer) -> None:
    client = LiteLLMClient(ModelSettings(api_base=server.url))

    answer = client.estimate(a_request(), "x" * 400)

    assert answer.token_source is TokenSource.ESTIMATE
    assert answer.completion_tokens == 100
    assert answer.cost == answer.prompt_tokens * Decimal("0.00000015") + 100 * Decimal("0.0000006")


def test_settings_do_not_show_their_key() -> None:
    assert "hidden" not in repr(ModelSettings(api_key="hidden"))
