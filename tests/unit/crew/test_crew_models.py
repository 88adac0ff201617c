import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any, cast

import litellm
import pytest
from litellm.utils import get_optional_params

from domain.crew.answers import MAX_ANSWER_CHARACTERS, MAX_PIECE_CHARACTERS, Collected
from domain.crew.models import LiteLLMClient
from domain.crew.prices import find_prices
from domain.crew.simulated import register_simulated
from domain.crew.tools.addresses import AddressGuard
from domain.errors import FailureCode, RunFailed
from domain.model.ledger import TokenSource
from domain.model.model_names import PROVIDERS
from domain.model.prices import SMALLEST, Prices, TokenCounts
from domain.model.routing import Deployment
from domain.ports import ModelAnswer, ModelRequest, ToolRequest
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
from tests.support.routes import a_deployment
from tests.unit.crew.conftest import answering

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
        "timeout_seconds": 60.0,
    }
    return ModelRequest(**{**defaults, **changes})


def at(server: ModelServer) -> Deployment:
    """The server as one of a tenant's own."""
    return a_deployment(base_url=server.url)


def nothing(_: str) -> None:
    pass


@pytest.fixture
async def impatient(client: LiteLLMClient) -> AsyncIterator[LiteLLMClient]:
    """A client that waits for half a minute only where a model pauses."""
    del client  # its environment is the same
    running = LiteLLMClient(AddressGuard({"127.0.0.1"}), idle_seconds=30)
    yield running
    await running.close()


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[Collected]:
    """The answers that are put together, once for each piece that was taken."""
    found: list[Collected] = []

    class Noted(Collected):
        def take(self, chunk: Any) -> None:
            super().take(chunk)
            found.append(self)

    monkeypatch.setattr("domain.crew.models.Collected", Noted)
    return found


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not is_so():  # noqa: ASYNC110 - what changes it has no event
            await asyncio.sleep(0.001)


async def the_failure(
    client: LiteLLMClient, request: ModelRequest, on_text: Callable[[str], None] = nothing
) -> RunFailed:
    with pytest.raises(RunFailed) as caught:
        await client.complete(request, on_text)
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


TOO_LONG = {
    "error": {
        "message": "This model's maximum context length is 128000 tokens. However, your messages have 200000.",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    }
}
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
        (Status(504), UNAVAILABLE, True),
        (Status(400, TOO_LONG), REFUSED, False),
        (Status(429), UNAVAILABLE, True),
        (Status(429, retry_after=1), UNAVAILABLE, True),
        (Status(500), UNAVAILABLE, True),
        (Status(503), UNAVAILABLE, True),
        (HangUp(), UNAVAILABLE, True),
        (HangUp(after_chunks=2), UNAVAILABLE, True),
        (HangUp(after_chunks=2, tool="calculator"), UNAVAILABLE, True),
        (Garbage(), INVALID, True),
        (Garbage("not even JSON"), INVALID, True),
        (Text(""), INVALID, True),
    ],
    ids=lambda value: repr(value)[:60],
)
@pytest.mark.parametrize("is_own", [False, True], ids=["litellm", "own server"])
async def test_whatever_goes_wrong_is_typed_after_one_request(
    server: ModelServer, client: LiteLLMClient, reply: Answer, code: FailureCode, *, retryable: bool, is_own: bool
) -> None:
    server.script(reply)

    failure = await the_failure(client, a_request(deployment=at(server) if is_own else None))

    assert (failure.code, failure.retryable) == (code, retryable)
    assert "secret" not in failure.message
    assert server.received == 1
    assert failure.is_key_refused is (isinstance(reply, Status) and reply.code in {401, 403})
    assert failure.is_timeout is (isinstance(reply, Status) and reply.code in {408, 504})
    # An HTTP error costs nothing; whoever took the request and failed to answer has read it.
    assert (failure.spent is None) is isinstance(reply, Status)
    if failure.spent:
        assert failure.spent.prompt_tokens > 0
        assert failure.spent.cost > 0


async def test_an_empty_answer_is_billed_with_what_the_provider_counted(
    server: ModelServer, client: LiteLLMClient
) -> None:
    server.script(Text("", usage=Usage(1000, 4096), finish_reason="length"))

    spent = (await the_failure(client, a_request())).spent

    assert spent
    assert (spent.prompt_tokens, spent.completion_tokens, spent.token_source) == (1000, 4096, TokenSource.PROVIDER)
    assert spent.cost == 1000 * Decimal("0.00000015") + 4096 * Decimal("0.0000006")


@pytest.mark.parametrize("is_own", [False, True], ids=["litellm", "own server"])
@pytest.mark.parametrize("tool", [None, "calculator"])
async def test_an_answer_that_breaks_off_is_billed_with_what_was_written(
    server: ModelServer, client: LiteLLMClient, tool: str | None, *, is_own: bool
) -> None:
    server.script(HangUp(after_chunks=2, content="x" * 4000, tool=tool))

    spent = (await the_failure(client, a_request(deployment=at(server) if is_own else None))).spent

    assert spent
    assert spent.token_source is TokenSource.ESTIMATE
    assert spent.prompt_tokens > 0
    assert 1000 <= spent.completion_tokens < 1010
    assert spent.cost > 1000 * Decimal("0.0000006")


@pytest.mark.parametrize("is_own", [False, True], ids=["litellm", "own server"])
@pytest.mark.parametrize(
    ("status", "said", "seconds"),
    [
        (429, {"retry_after": 7}, 7.0),
        (429, {"retry_after": 0.25}, 0.25),
        (503, {"retry_after": 3}, 3.0),
        (429, {"retry_after": 1, "headers": (("retry-after-ms", "20"),)}, 0.02),
        (429, {"retry_after": 1e9}, 3600.0),
        (429, {"retry_after": "Fri, 31 Dec 9999 23:59:59 GMT"}, 3600.0),
        (429, {"retry_after": "Mon, 01 Jan 2001 00:00:00 GMT"}, None),
        (429, {"retry_after": "Mon, 01 Jan 0001 00:00:00"}, None),
        (429, {"retry_after": -5}, None),
        (429, {"retry_after": "soon"}, None),
        (429, {"retry_after": "nan"}, None),
        (429, {"retry_after": "inf"}, 3600.0),
        (429, {}, None),
        (503, {}, None),
        (500, {"retry_after": 7}, None),
        (401, {"retry_after": 7}, None),
    ],
)
async def test_a_busy_provider_says_when_to_come_back(
    server: ModelServer,
    client: LiteLLMClient,
    status: int,
    said: dict[str, Any],
    seconds: float | None,
    *,
    is_own: bool,
) -> None:
    server.script(Status(status, **said))

    failure = await the_failure(client, a_request(deployment=at(server) if is_own else None))

    assert failure.retry_after_seconds == seconds
    assert server.received == 1


async def test_another_provider_s_word_about_when_to_come_back_is_heard_too(
    server: ModelServer, client: LiteLLMClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROQ_API_BASE", server.url)
    server.script(Status(429, retry_after=7))
    request = a_request(model="groq/llama-3.3-70b-versatile", deployment=a_deployment(api_key="gsk"))

    assert (await the_failure(client, request)).retry_after_seconds == 7


async def test_nobody_at_the_address_is_worth_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("OPENAI_API_BASE", f"http://127.0.0.1:{port}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    client = LiteLLMClient(AddressGuard({"127.0.0.1"}))

    for deployment in (None, a_deployment(base_url=f"http://127.0.0.1:{port}/v1")):
        failure = await the_failure(client, a_request(deployment=deployment))

        assert (failure.code, failure.retryable, failure.spent) == (UNAVAILABLE, True, None)
        assert failure.message == "The model 'openai/gpt-4o-mini' cannot be reached or failed to answer."
    await client.close()


@pytest.mark.parametrize("is_own", [False, True], ids=["litellm", "own server"])
async def test_a_request_that_is_too_long_says_so(server: ModelServer, client: LiteLLMClient, *, is_own: bool) -> None:
    server.script(Status(400, TOO_LONG))

    failure = await the_failure(client, a_request(deployment=at(server) if is_own else None))

    assert failure.message == "The model 'openai/gpt-4o-mini' refused a request longer than it can read."
    assert failure.spent is None


async def test_a_refused_call_is_billed_with_nothing(server: ModelServer, client: LiteLLMClient) -> None:
    server.script(Status(400))

    assert (await the_failure(client, a_request())).spent is None


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (Usage(10**19, -5), (10**9, 0, 0, 0)),
        (Usage(10, 5, cached=1000), (10, 5, 10, 0)),
        (Usage(-1, -1, -1, -1), (9, 1, 0, 0)),
        (Usage(0, 0), (9, 1, 0, 0)),
    ],
)
@pytest.mark.parametrize("is_own", [False, True], ids=["litellm", "own server"])
async def test_absurd_counts_are_cut_and_marked(
    server: ModelServer, client: LiteLLMClient, usage: Usage, counts: tuple[int, ...], *, is_own: bool
) -> None:
    server.script(Text("Hi", usage=usage))

    answer = await client.complete(a_request(deployment=at(server) if is_own else None), nothing)

    assert (answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens, answer.reasoning_tokens) == counts
    assert answer.token_source is TokenSource.ESTIMATE


@pytest.mark.parametrize("is_own", [False, True], ids=["litellm", "own server"])
async def test_tokens_of_thought_and_of_a_cache_are_counted_and_priced(
    server: ModelServer, client: LiteLLMClient, *, is_own: bool
) -> None:
    server.script(Text("Hi", usage=Usage(1000, 300, cached=400, reasoning=200)))
    prices = Prices.per_million(Decimal(1), Decimal(2), Decimal("0.5"), {"reasoning": "3"})
    deployment = a_deployment(prices, base_url=server.url if is_own else None)

    answer = await client.complete(a_request(deployment=deployment), nothing)

    assert (answer.cached_tokens, answer.reasoning_tokens) == (400, 200)
    assert answer.cost == Decimal("0.0016")
    assert answer.token_source is TokenSource.PROVIDER


@pytest.mark.parametrize("is_own", [False, True], ids=["litellm", "own server"])
async def test_a_model_that_ignores_its_cap_is_counted_in_full(
    server: ModelServer, client: LiteLLMClient, *, is_own: bool
) -> None:
    server.script(Text("Long", usage=Usage(10, 50_000)))
    request = a_request(parameters={"max_tokens": 10}, deployment=at(server) if is_own else None)

    answer = await client.complete(request, nothing)

    assert (answer.completion_tokens, answer.cost) == (50_000, Decimal("0.0300015"))


async def test_the_prices_are_those_of_the_deployment(server: ModelServer, client: LiteLLMClient) -> None:
    server.script(Text("Hi", usage=Usage(1, 1)))
    prices = Prices.per_million(Decimal("0.000001"), Decimal("0.000002"))
    request = a_request(model="openai/nobody-s", deployment=a_deployment(prices))

    answer = await client.complete(request, nothing)
    guess = client.estimate(request, "1234")

    assert answer.cost == Decimal("0.000000000003")  # the last digit of NUMERIC(24, 12)
    assert guess.cost == guess.prompt_tokens * Decimal("0.000000000001") + Decimal("0.000000000002")


def test_the_price_map_needs_no_more_digits_than_are_stored() -> None:
    priced = [name for name, entry in litellm.model_cost.items() if entry.get("litellm_provider") in PROVIDERS]
    found = [find_prices(name, litellm.model_cost[name]["litellm_provider"]) for name in priced]
    cost = TokenCounts(prompt=7, completion=3, cached=1, written=1, reasoning=1)

    amounts = [prices.cost(cost) for prices in found if prices]

    assert len(amounts) > 500
    assert all(amount == amount.quantize(SMALLEST) for amount in amounts)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("openai/gpt-4o-mini", "max_tokens"),
        ("openai/o3-mini", "max_completion_tokens"),
        ("openai/gpt-5", "max_completion_tokens"),
        ("openai/gpt-5-mini", "max_completion_tokens"),
    ],
)
@pytest.mark.parametrize("is_own", [False, True], ids=["litellm", "own server"])
async def test_the_cap_is_sent_as_the_model_takes_it(
    server: ModelServer, client: LiteLLMClient, model: str, name: str, *, is_own: bool
) -> None:
    parameters = {"max_tokens": 77, "temperature": 0.7}

    await client.complete(
        a_request(model=model, parameters=parameters, deployment=at(server) if is_own else None), nothing
    )

    body = server.requests[0].body
    assert {key: value for key, value in body.items() if key.startswith("max_")} == {name: 77}


@pytest.mark.parametrize(
    ("provider", "model", "name"),
    [
        ("anthropic", "claude-sonnet-4-5", "max_tokens"),
        ("gemini", "gemini-2.5-flash", "max_output_tokens"),
        ("ollama", "llama3.2", "num_predict"),
        ("ollama_chat", "llama3.2", "num_predict"),
        ("mistral", "mistral-large-latest", "max_tokens"),
        ("deepseek", "deepseek-chat", "max_tokens"),
        ("groq", "llama-3.3-70b-versatile", "max_tokens"),
        ("cohere_chat", "command-r", "max_tokens"),
        ("xai", "grok-4", "max_tokens"),
        ("openrouter", "openai/gpt-4o", "max_tokens"),
        ("perplexity", "sonar", "max_tokens"),
        ("together_ai", "meta/llama", "max_tokens"),
        ("fireworks_ai", "llama", "max_tokens"),
    ],
)
def test_every_provider_is_told_the_cap(provider: str, model: str, name: str) -> None:
    mapped = get_optional_params(model=model, custom_llm_provider=provider, max_tokens=77)

    assert mapped[name] == 77


SCHEMA = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "pages": {"type": "integer", "minimum": 1}},
    "required": ["title", "pages"],
}


@pytest.mark.parametrize("is_own", [False, True], ids=["litellm", "own server"])
async def test_a_model_that_can_is_held_to_the_schema(
    server: ModelServer, client: LiteLLMClient, *, is_own: bool
) -> None:
    server.script(Text('{"title": "Boats", "pages": 3}'))
    deployment = a_deployment(base_url=server.url, supports_json=True) if is_own else None

    answer = await client.complete(a_request(output_schema=SCHEMA, deployment=deployment), nothing)

    assert answer.text == '{"title": "Boats", "pages": 3}'
    assert server.requests[0].body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "output", "schema": SCHEMA, "strict": False},
    }


@pytest.mark.parametrize(
    ("model", "deployment"),
    [
        ("openai/my-own-model", {}),
        ("openai/my-own-model", {"supports_json": False}),
        ("openai/gpt-4o-mini", {"supports_json": False}),
        ("openai/gpt-3.5-turbo", {}),
    ],
)
async def test_a_model_that_cannot_is_only_checked(
    server: ModelServer, client: LiteLLMClient, model: str, deployment: dict[str, Any]
) -> None:
    server.script(Text('{"title": "Boats", "pages": 3}'), Text("Boats"))
    request = a_request(model=model, output_schema=SCHEMA, deployment=a_deployment(**deployment))

    await client.complete(request, nothing)
    failure = await the_failure(client, request)

    assert all("response_format" not in request.body for request in server.requests)
    assert failure.code is INVALID


@pytest.mark.parametrize(
    "text",
    [
        '```json\n{"title": "A", "pages": 1}\n```',
        '  ```\n{"title": "A", "pages": 1}\n```\n',
        '```JSON\n\n{"title": "A", "pages": 1}```',
        '\n{"title": "A", "pages": 1}\n',
    ],
)
async def test_a_fence_is_taken_off(server: ModelServer, client: LiteLLMClient, text: str) -> None:
    server.script(Text(text))

    answer = await client.complete(a_request(output_schema=SCHEMA), nothing)

    assert answer.text == '{"title": "A", "pages": 1}'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Boats.", "It is no JSON."),
        ('{"title": "A", "pages": 0}', "At pages: 0 is less than the minimum of 1"),
        ('{"title": "A"}', "At the whole value: 'pages' is a required property"),
        ('```python\n{"title": "A", "pages": 1}\n```', "It is no JSON."),
        ("``````", "It is no JSON."),
        ("```", "It is no JSON."),
    ],
)
async def test_an_answer_that_does_not_hold_the_schema_is_paid_and_may_be_tried_again(
    server: ModelServer, client: LiteLLMClient, text: str, problem: str
) -> None:
    server.script(Text(text, usage=Usage(1000, 100)))

    failure = await the_failure(client, a_request(output_schema=SCHEMA))

    assert (failure.code, failure.retryable) == (INVALID, True)
    assert failure.message == f"The answer of the model 'openai/gpt-4o-mini' does not hold the schema. {problem}"
    assert failure.spent
    assert failure.spent.cost == Decimal("0.00021")


async def test_a_wish_for_a_tool_need_not_hold_the_schema(server: ModelServer, client: LiteLLMClient) -> None:
    server.script(ToolCall("calculator", {"expression": "1+1"}))

    answer = await client.complete(a_request(tools=[CALCULATOR], output_schema=SCHEMA), nothing)

    assert len(answer.tool_requests) == 1
    assert server.requests[0].body["response_format"]["type"] == "json_schema"


async def test_a_model_that_knows_fewer_parameters_is_held_to_the_schema_all_the_same(
    server: ModelServer, client: LiteLLMClient
) -> None:
    server.script(Text('{"title": "A", "pages": 1}'))

    await client.complete(
        a_request(model="openai/o3-mini", parameters={"temperature": 0.3, "max_tokens": 9}, output_schema=SCHEMA),
        nothing,
    )

    body = server.requests[0].body
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA
    assert (body["max_completion_tokens"], "temperature" in body) == (9, False)


@pytest.mark.parametrize("is_own", [False, True], ids=["litellm", "own server"])
@pytest.mark.parametrize("after_chunks", [0, 2])
async def test_a_silent_model_times_out_and_is_left(
    server: ModelServer, client: LiteLLMClient, pass_time: Callable[[float], None], after_chunks: int, *, is_own: bool
) -> None:
    server.script(Silence(after_chunks=after_chunks))
    request, pieces = a_request(timeout_seconds=30, deployment=at(server) if is_own else None), list[str]()
    failing = asyncio.create_task(the_failure(client, request, pieces.append))
    await server.wait_for_requests(1)
    await until(lambda: len(pieces) == after_chunks)

    pass_time(30)
    failure = await failing

    assert (failure.code, failure.retryable) == (UNAVAILABLE, True)
    assert failure.message == "The model 'openai/gpt-4o-mini' did not answer within 30 seconds."
    assert failure.is_timeout
    assert failure.spent
    assert (failure.spent.prompt_tokens, failure.spent.token_source) == (9, TokenSource.ESTIMATE)
    assert failure.spent.completion_tokens == (10 if after_chunks else 0)
    await server.wait_for_disconnects(1)


@pytest.mark.parametrize("is_own", [False, True], ids=["litellm", "own server"])
async def test_a_model_that_stops_in_the_middle_is_left_long_before_the_call_is_over(
    server: ModelServer, impatient: LiteLLMClient, pass_time: Callable[[float], None], *, is_own: bool
) -> None:
    server.script(Silence(after_chunks=2))
    request, pieces = a_request(timeout_seconds=600, deployment=at(server) if is_own else None), list[str]()
    failing = asyncio.create_task(the_failure(impatient, request, pieces.append))
    await until(lambda: len(pieces) == 2)

    pass_time(30)
    failure = await failing

    assert (failure.code, failure.retryable, failure.is_timeout) == (UNAVAILABLE, True, True)
    assert failure.message == "The model 'openai/gpt-4o-mini' stopped in the middle of its answer, for 30 seconds."
    assert failure.spent
    assert (failure.spent.prompt_tokens, failure.spent.completion_tokens) == (9, 10)
    await server.wait_for_disconnects(1)


@pytest.mark.parametrize("is_own", [False, True], ids=["litellm", "own server"])
async def test_a_model_that_thinks_before_its_first_word_or_writes_slowly_is_not_idle(
    server: ModelServer, impatient: LiteLLMClient, pass_time: Callable[[float], None], *, is_own: bool
) -> None:
    server.script(Text("One two three four", latency=40, chunks=6, chunk_delay=20))
    request, pieces = a_request(timeout_seconds=600, deployment=at(server) if is_own else None), list[str]()
    call = asyncio.create_task(impatient.complete(request, pieces.append))
    await server.wait_for_requests(1)

    pass_time(40)
    for written in range(1, 6):
        await until(lambda written=written: len(pieces) >= written)  # type: ignore[misc]  # its default is an int
        pass_time(20)
    answer = await call

    assert answer.text == "One two three four"


@pytest.mark.parametrize("is_own", [False, True], ids=["litellm", "own server"])
@pytest.mark.parametrize("after_chunks", [0, 2])
async def test_cancelling_closes_the_connection(
    server: ModelServer, client: LiteLLMClient, after_chunks: int, *, is_own: bool
) -> None:
    server.script(Silence(after_chunks=after_chunks))
    heard = asyncio.Event()
    request = a_request(deployment=at(server) if is_own else None)
    call = asyncio.create_task(client.complete(request, lambda _: heard.set()))
    await server.wait_for_requests(1)
    if after_chunks:
        await heard.wait()

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    await server.wait_for_disconnects(1)


def an_event(**fields: Any) -> bytes:
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], **fields}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


THOUGHT = an_event(choices=[{"index": 0, "delta": {"role": "assistant", "reasoning_content": "x" * 400}}])
COUNTED = an_event(usage={"prompt_tokens": 1000, "completion_tokens": 1, "total_tokens": 1001})


@pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning")  # LiteLLM, where counts come early
@pytest.mark.parametrize("is_own", [False, True], ids=["litellm", "own server"])
@pytest.mark.parametrize(
    ("events", "prompt", "completion"),
    [((), 9, 0), ((THOUGHT,), 9, 100), ((COUNTED, THOUGHT), 1000, 100)],
    ids=["nothing", "thoughts", "counts of the provider"],
)
async def test_a_cancelled_call_tells_what_it_cost(
    client: LiteLLMClient,
    monkeypatch: pytest.MonkeyPatch,
    taken: list[Collected],
    events: tuple[bytes, ...],
    prompt: int,
    completion: int,
    *,
    is_own: bool,
) -> None:
    sent = asyncio.Event()

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        writer.writelines(events)
        await writer.drain()
        sent.set()
        await reader.read()  # until the client leaves

    async with answering(stream) as address:
        url = f"{address}/v1"
        monkeypatch.setenv("OPENAI_API_BASE", url)
        deployment = a_deployment(base_url=url) if is_own else None
        call = asyncio.create_task(spent_when_cancelled(client, a_request(deployment=deployment)))
        await sent.wait()
        await until(lambda: THOUGHT not in events or any(answer.has_begun for answer in taken))

        call.cancel()
        spent = await call

    assert (spent.prompt_tokens, spent.completion_tokens) == (prompt, completion)
    assert spent.token_source is TokenSource.ESTIMATE


async def test_a_model_may_think_behind_an_empty_beginning(
    impatient: LiteLLMClient, taken: list[Collected], pass_time: Callable[[float], None]
) -> None:
    beginning = an_event(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}])
    word = an_event(choices=[{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}])

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" + beginning)
        await asyncio.sleep(40)
        writer.write(word + b"data: [DONE]\n\n")
        await writer.drain()

    async with answering(stream) as address:
        request = a_request(timeout_seconds=600, deployment=a_deployment(base_url=f"{address}/v1"))
        call = asyncio.create_task(impatient.complete(request, nothing))
        await until(lambda: bool(taken))
        pass_time(40)
        answer = await call

    assert answer.text == "Hi"


async def spent_when_cancelled(client: LiteLLMClient, request: ModelRequest) -> ModelAnswer:
    try:
        await client.complete(request, nothing)
    except asyncio.CancelledError as cancelled:
        return cast("ModelAnswer", cancelled.spent)  # type: ignore[attr-defined] # as the port says
    raise AssertionError


async def test_a_call_cancelled_while_its_answer_is_checked_costs_what_the_provider_counted(
    server: ModelServer, client: LiteLLMClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    checking = asyncio.Event()

    async def check(*_: Any) -> None:
        checking.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("domain.crew.models._held", check)
    server.script(Text("Hi", usage=Usage(1000, 100)))
    call = asyncio.create_task(spent_when_cancelled(client, a_request()))
    await checking.wait()

    call.cancel()
    spent = await call

    assert (spent.prompt_tokens, spent.completion_tokens, spent.token_source) == (1000, 100, TokenSource.PROVIDER)


@pytest.mark.parametrize("is_own", [False, True], ids=["litellm", "own server"])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        ({"code": "unsupported_value", "type": "invalid_request_error"}, ", unsupported_value"),
        ({"code": "400", "type": "invalid_request_error"}, ", invalid_request_error"),
        ({"code": None, "type": "tool_use-failed.v2"}, ", tool_use-failed.v2"),
        ({"code": "Your text was: Hello", "type": "x" * 61}, ""),
        ({"code": "sk-very-secret", "type": "not_sk-very-secret_"}, ""),
        ({"code": "very-secret", "type": None}, ""),
        ({"code": ["list"], "type": 5}, ""),
        ({}, ""),
    ],
)
async def test_a_refusal_is_told_by_the_provider_s_own_name_and_never_by_its_text(
    server: ModelServer, client: LiteLLMClient, error: dict[str, Any], told: str, *, is_own: bool
) -> None:
    server.script(Status(400, {"error": {"message": "Hello is not a question.", **error}}))
    deployment = a_deployment(base_url=server.url, api_key="sk-very-secret") if is_own else None

    failure = await the_failure(client, a_request(deployment=deployment))

    assert failure.message == f"The model 'openai/gpt-4o-mini' refused the request (HTTP 400{told})."


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
    assert heard == []


async def test_a_bare_name_goes_to_the_provider_of_the_price_map(server: ModelServer, client: LiteLLMClient) -> None:
    server.script(Text("Hi", usage=Usage(1000, 100)))

    answer = await client.complete(a_request(model="gpt-4o-mini"), nothing)

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
    assert failure.spent
    assert failure.spent.completion_tokens > MAX_ANSWER_CHARACTERS // 5


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


async def test_a_schema_that_would_be_checked_for_ever_is_given_up_and_the_answer_is_paid(
    server: ModelServer, client: LiteLLMClient
) -> None:
    levels = {f"l{n}": {"allOf": [{"$ref": f"#/$defs/l{n + 1}"}] * 2} for n in range(40)}
    schema = {"$defs": {**levels, "l40": {}}, "$ref": "#/$defs/l0"}
    server.script(Text("{}", usage=Usage(1000, 100)))

    failure = await the_failure(client, a_request(output_schema=schema))

    assert (failure.code, failure.retryable) == (INVALID, True)
    assert failure.message.endswith("It cannot be checked against the schema.")
    assert failure.spent
    assert failure.spent.cost == Decimal("0.00021")


async def test_an_answer_is_paid_whatever_goes_wrong_with_its_check(
    server: ModelServer, client: LiteLLMClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        threads.append(threading.current_thread().name)
        raise MemoryError

    threads: list[str] = []
    monkeypatch.setattr("domain.crew.models.problem_of", broken)
    server.script(Text("{}", usage=Usage(1000, 100)))

    failure = await the_failure(client, a_request(output_schema=SCHEMA))

    assert failure.message.endswith("It could not be checked.")
    assert failure.spent
    assert failure.spent.cost == Decimal("0.00021")
    assert threads[0].startswith("regatta-check")  # not among those that look up names of hosts


@pytest.mark.parametrize("provider", ["ollama_chat", "ollama"])
@pytest.mark.parametrize("tools", [None, [CALCULATOR]])
async def test_an_unknown_model_of_a_local_server_is_asked_once(
    client: LiteLLMClient, monkeypatch: pytest.MonkeyPatch, provider: str, tools: list[dict[str, Any]] | None
) -> None:
    asked: list[str] = []
    said = {"message": {"role": "assistant", "content": "Hi"}, "response": "Hi", "done": True, "done_reason": "stop"}
    counts = {"model": "m", "created_at": "2026-01-01T00:00:00Z", "prompt_eval_count": 3, "eval_count": 1}
    first, last = {**said, **counts, "done": False}, {**said, **counts, "response": "", "message": {"content": ""}}
    body = b"".join(json.dumps(line).encode() + b"\n" for line in (first, last))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split()[1].decode())
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\n\r\n" + body)
        await writer.drain()

    async with answering(answer) as address:
        monkeypatch.setenv("OLLAMA_API_BASE", address)
        parameters = {"max_tokens": 5, "temperature": 0.5}
        name = f"{provider}/nobody-s-{'with' if tools else 'without'}-tools:4b"
        given = await client.complete(a_request(model=name, tools=tools, parameters=parameters), nothing)

    assert len(asked) == 1
    assert asked[0] in {"/api/chat", "/api/generate"}
    assert (given.text, given.prompt_tokens, given.completion_tokens) == ("Hi", 3, 1)
    assert given.cost == Decimal(0)
