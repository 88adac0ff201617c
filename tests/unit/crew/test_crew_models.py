import asyncio
from decimal import Decimal
from typing import Any

import pytest

from domain.crew.models import MAX_ANSWER_CHARACTERS, MAX_PIECE_CHARACTERS, LiteLLMClient
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


async def test_an_empty_answer_is_billed_with_what_the_provider_counted(
    server: ModelServer, client: LiteLLMClient
) -> None:
    server.script(Text("", usage=Usage(1000, 4096), finish_reason="length"))

    spent = (await the_failure(client, a_request())).spent

    assert spent
    assert (spent.prompt_tokens, spent.completion_tokens, spent.token_source) == (1000, 4096, TokenSource.PROVIDER)
    assert spent.cost == 1000 * Decimal("0.00000015") + 4096 * Decimal("0.0000006")


@pytest.mark.parametrize("tool", [None, "calculator"])
async def test_an_answer_that_breaks_off_is_billed_with_what_was_written(
    server: ModelServer, client: LiteLLMClient, tool: str | None
) -> None:
    server.script(HangUp(after_chunks=2, content="x" * 4000, tool=tool))

    spent = (await the_failure(client, a_request())).spent

    assert spent
    assert spent.token_source is TokenSource.ESTIMATE
    assert spent.prompt_tokens > 0
    assert 1000 <= spent.completion_tokens < 1010
    assert spent.cost > 1000 * Decimal("0.0000006")


async def test_a_refused_call_is_billed_with_nothing(server: ModelServer, client: LiteLLMClient) -> None:
    server.script(Status(400))

    assert (await the_failure(client, a_request())).spent is None


async def test_absurd_counts_are_cut_and_marked(server: ModelServer, client: LiteLLMClient) -> None:
    server.script(Text("Hi", usage=Usage(10**19, -5)))

    answer = await client.complete(a_request(), nothing)

    assert (answer.prompt_tokens, answer.completion_tokens) == (10**9, 0)
    assert answer.token_source is TokenSource.ESTIMATE


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


def test_an_estimate_is_marked_and_priced() -> None:
    answer = LiteLLMClient().estimate(a_request(), "x" * 400)

    assert answer.token_source is TokenSource.ESTIMATE
    assert answer.completion_tokens == 100
    assert answer.cost == answer.prompt_tokens * Decimal("0.00000015") + 100 * Decimal("0.0000006")


@pytest.mark.parametrize(
    "model",
    ["github_copilot/gpt-4o", "chatgpt/gpt-5", "bedrock/anthropic.claude", "vertex_ai/gemini", "/x", "OpenAI/x"],
)
async def test_a_provider_that_is_not_on_the_list_is_refused_before_litellm_hears_of_it(
    client: LiteLLMClient, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    heard: list[Any] = []
    monkeypatch.setattr("litellm.get_llm_provider", lambda *given, **_: heard.append(given))
    monkeypatch.setattr("litellm.acompletion", lambda *_, **given: heard.append(given))

    failure = await the_failure(client, a_request(model=model))

    assert (failure.code, failure.retryable) == (UNKNOWN, False)
    assert "cannot be used; anthropic, " in failure.message
    assert client.provider_of(model) == "unknown"
    assert client.supports_tools(model)
    assert heard == []


async def test_a_bare_name_goes_to_the_provider_of_the_price_map(server: ModelServer, client: LiteLLMClient) -> None:
    server.script(Text("Hi", usage=Usage(1000, 100)))

    answer = await client.complete(a_request(model="gpt-4o-mini"), nothing)

    assert client.provider_of("gpt-4o-mini") == "openai"
    assert server.requests[0].body["model"] == "gpt-4o-mini"
    assert answer.cost == Decimal("0.00021")


@pytest.mark.parametrize(
    ("address", "is_free"),
    [
        ("http://127.0.0.1:1/v1", True),
        ("http://[::1]:1/v1", True),
        ("http://192.168.1.9/v1", True),
        ("http://localhost:1/v1", True),
        ("http://vllm:8000/v1", True),
        ("http://gpu.internal/v1", True),
        ("https://gateway.example.com/v1", False),
        ("https://93.184.216.34/v1", False),
        ("http://[::1", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("variable", ["OPENAI_API_BASE", "OPENAI_BASE_URL"])
async def test_a_model_without_a_price_is_free_on_a_local_server_only(
    monkeypatch: pytest.MonkeyPatch, variable: str, address: str, *, is_free: bool
) -> None:
    called: list[Any] = []

    async def answers(**given: Any) -> Any:
        called.append(given)
        raise TimeoutError

    monkeypatch.setattr("litellm.acompletion", answers)
    for name in ("OPENAI_API_BASE", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, address)

    failure = await the_failure(LiteLLMClient(), a_request(model="openai/my-own-model"))

    assert bool(called) is is_free
    assert is_free or failure.message == "There is no price known for the model 'openai/my-own-model'."


async def test_an_answer_without_end_is_left(server: ModelServer, client: LiteLLMClient) -> None:
    server.script(Text("x" * (MAX_ANSWER_CHARACTERS + 1)))

    failure = await the_failure(client, a_request())

    assert (failure.code, failure.retryable) == (INVALID, True)
    assert failure.message == "The model gave an answer of more than 1,000,000 characters."


async def test_arguments_of_a_tool_without_end_are_left(server: ModelServer, client: LiteLLMClient) -> None:
    server.script(ToolCall("calculator", {"expression": "1" * MAX_ANSWER_CHARACTERS}))

    failure = await the_failure(client, a_request(tools=[CALCULATOR]))

    assert failure.code is INVALID


async def test_a_long_piece_is_told_in_parts(server: ModelServer, client: LiteLLMClient) -> None:
    server.script(Text("x" * (2 * MAX_PIECE_CHARACTERS + 1)))
    pieces: list[str] = []

    answer = await client.complete(a_request(), pieces.append)

    assert "".join(pieces) == answer.text
    assert max(map(len, pieces)) <= MAX_PIECE_CHARACTERS


async def test_a_missing_key_is_named_and_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    request = ModelRequest("openai/gpt-4o-mini", [{"role": "user", "content": "Hello"}], None, {}, 5)

    with pytest.raises(RunFailed, match="OPENAI_API_KEY") as failed:
        await LiteLLMClient().complete(request, lambda _: None)

    assert (failed.value.code, failed.value.retryable) == (FailureCode.MODEL_REFUSED, False)
