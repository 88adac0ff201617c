import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from domain.crew.models import LiteLLMClient
from domain.crew.openai_clients import (
    CONNECT_SECONDS,
    MOST_BYTES,
    MOST_CLIENTS,
    MOST_EVENT_LINES,
    OpenAIClients,
)
from domain.crew.operator_models import KEY_VARIABLES
from domain.crew.tools.addresses import AddressGuard, tls_context
from domain.errors import FailureCode, RunFailed
from domain.model.model_names import PROVIDERS
from domain.model.routing import Deployment
from domain.ports import ModelRequest
from tests.support.model_server import ModelServer, Silence, Status, Text
from tests.support.routes import a_deployment
from tests.unit.crew.conftest import answering

REFUSED = FailureCode.MODEL_REFUSED
OPERATOR = {
    "OPENAI_API_KEY": "sk-operator",
    "OPENAI_ORGANIZATION": "org-operator",
    "OPENAI_ORG_ID": "org-operator",
    "OPENAI_PROJECT": "project-operator",
    "OPENAI_PROJECT_ID": "project-operator",
    "OPENAI_ADMIN_KEY": "sk-operator-admin",
    "OPENAI_CUSTOM_HEADERS": "x-operator: operator\nauthorization: Bearer operator",
    "HTTP_PROXY": "http://127.0.0.1:1",
    "ALL_PROXY": "http://127.0.0.1:1",
}


@pytest.fixture
async def elsewhere() -> AsyncIterator[ModelServer]:
    async with ModelServer() as running:
        yield running


@pytest.fixture
def operators(elsewhere: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment full of what belongs to the operator, whose models are elsewhere."""
    for name, value in OPERATOR.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OPENAI_API_BASE", elsewhere.url)
    monkeypatch.setenv("OPENAI_BASE_URL", elsewhere.url)


def at(server: ModelServer, **fields: Any) -> Deployment:
    return a_deployment(base_url=server.url, **fields)


def a_request(deployment: Deployment | None, **changes: Any) -> ModelRequest:
    defaults: dict[str, Any] = {
        "model": "openai/my-own",
        "messages": [{"role": "user", "content": "Hello"}],
        "tools": None,
        "parameters": {"max_tokens": 100},
        "timeout_seconds": 60.0,
        "deployment": deployment,
    }
    return ModelRequest(**{**defaults, **changes})


def nothing(_: str) -> None:
    pass


async def the_failure(client: LiteLLMClient, request: ModelRequest) -> RunFailed:
    with pytest.raises(RunFailed) as caught:
        await client.complete(request, nothing)
    return caught.value


@pytest.mark.usefixtures("operators")
@pytest.mark.parametrize(("key", "sent"), [("sk-tenant", "Bearer sk-tenant"), (None, "Bearer none")])
async def test_a_tenant_s_server_learns_nothing_of_the_operator(
    server: ModelServer, elsewhere: ModelServer, client: LiteLLMClient, key: str | None, sent: str
) -> None:
    server.script(Text("Mine."))

    answer = await client.complete(a_request(at(server, api_key=key)), nothing)

    headers = server.requests[0].headers
    assert answer.text == "Mine."
    assert headers["authorization"] == sent
    assert "operator" not in repr(server.requests)
    assert headers.keys() <= {
        "host",
        "connection",
        "accept",
        "accept-encoding",
        "content-type",
        "content-length",
        "authorization",
        "user-agent",
    }
    assert (server.received, elsewhere.received) == (1, 0)


@pytest.mark.usefixtures("operators")
@pytest.mark.parametrize(
    ("model", "name", "parameters"),
    [
        ("openai/responses/mine", "responses/mine", {}),
        ("openai/groq/llama", "groq/llama", {}),
        ("openai/o1-pro", "o1-pro", {}),
        ("openai/gpt-5.4", "gpt-5.4", {"reasoning_effort": "high"}),
    ],
)
async def test_no_name_leads_a_call_away_from_a_tenant_s_server(
    server: ModelServer,
    elsewhere: ModelServer,
    client: LiteLLMClient,
    model: str,
    name: str,
    parameters: dict[str, Any],
) -> None:
    tool = {"type": "function", "function": {"name": "x", "parameters": {"type": "object", "properties": {}}}}
    request = a_request(at(server), model=model, tools=[tool], parameters={"max_tokens": 9, **parameters})

    await client.complete(request, nothing)

    body = server.requests[0].body
    assert (body["model"], body["tools"]) == (name, [tool])
    assert 9 in (body.get("max_tokens"), body.get("max_completion_tokens"))
    assert (server.received, elsewhere.received) == (1, 0)


@pytest.mark.usefixtures("operators")
async def test_a_tenant_s_key_goes_without_the_operator_s_organization(
    elsewhere: ModelServer, client: LiteLLMClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name)
    await client.complete(a_request(a_deployment(api_key="sk-tenant"), model="openai/gpt-4o-mini"), nothing)
    await client.complete(a_request(a_deployment(), model="openai/gpt-4o-mini"), nothing)

    tenants, operators = elsewhere.requests
    assert tenants.headers["authorization"] == "Bearer sk-tenant"
    assert "operator" not in repr(tenants)
    assert operators.headers["openai-organization"] == "org-operator"


@pytest.mark.parametrize("model", ["openai/gpt-4o-mini", "groq/llama-3.3-70b-versatile", "openai/own"])
async def test_the_keys_of_tenants_never_mix(
    server: ModelServer, client: LiteLLMClient, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    monkeypatch.setenv("GROQ_API_BASE", server.url)
    monkeypatch.setenv("GROQ_API_KEY", "sk-operator")
    address = server.url if model == "openai/own" else None
    keys: list[str | None] = ["sk-one", "sk-two"] if address else ["sk-one", "sk-two", None]

    async def call(key: str | None) -> None:
        content = [{"role": "user", "content": str(key)}]
        await client.complete(
            a_request(a_deployment(api_key=key, base_url=address), model=model, messages=content), nothing
        )

    await asyncio.gather(*(call(key) for key in keys * 5))

    used = {(request.last, request.headers["authorization"]) for request in server.requests}
    own = {("sk-one", "Bearer sk-one"), ("sk-two", "Bearer sk-two")}
    operators = {"openai/gpt-4o-mini": "Bearer sk-very-secret", "groq/llama-3.3-70b-versatile": "Bearer sk-operator"}
    assert used == own | ({("None", operators[model])} if model in operators else set())
    assert server.received == 5 * len(keys)


async def test_a_private_address_is_not_opened_unless_it_is_allowed(server: ModelServer) -> None:
    client = LiteLLMClient()

    failure = await the_failure(client, a_request(at(server)))

    assert (failure.code, failure.retryable, failure.spent) == (REFUSED, False, None)
    assert failure.message == (
        "The address of the model 'openai/my-own' cannot be used: the host 127.0.0.1 is not on the public internet; "
        "the operator can allow it with REGATTA_ALLOWED_PRIVATE_HOSTS."
    )
    assert server.received == 0
    await client.close()


async def test_a_connection_goes_to_the_address_that_was_checked(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved: list[Any] = []
    resolve = socket.getaddrinfo

    def once(host: Any, *rest: Any, **more: Any) -> Any:
        if host == "models.example.test":
            resolved.append(host)
            host = "127.0.0.1"
        return resolve(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", once)
    address = server.url.replace("127.0.0.1", "models.example.test")
    strict, lenient = LiteLLMClient(), LiteLLMClient(AddressGuard({"models.example.test"}))

    failure = await the_failure(strict, a_request(a_deployment(base_url=address)))
    await lenient.complete(a_request(a_deployment(base_url=address)), nothing)

    assert "the host models.example.test is not on the public internet" in failure.message
    assert resolved == ["models.example.test"] * 2
    assert [request.headers["host"] for request in server.requests] == [address.split("/")[2]]
    await strict.close()
    await lenient.close()


async def test_a_name_that_is_not_found_may_be_found_later(client: LiteLLMClient) -> None:
    failure = await the_failure(client, a_request(a_deployment(base_url="http://nobody.invalid/v1")))

    assert (failure.code, failure.retryable, failure.spent) == (FailureCode.MODEL_UNAVAILABLE, True, None)
    assert "the host nobody.invalid cannot be found" in failure.message


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(
    server: ModelServer, elsewhere: ModelServer, client: LiteLLMClient, status: int
) -> None:
    server.script(Status(status, headers=(("location", f"{elsewhere.url}/chat/completions"),)))

    failure = await the_failure(client, a_request(at(server, api_key="sk-tenant")))

    assert (failure.code, failure.retryable) == (REFUSED, False)
    assert f"moved (HTTP {status})" in failure.message
    assert (server.received, elsewhere.received) == (1, 0)


@pytest.mark.parametrize(
    "fields",
    [
        {"api_key": "os.environ/OPENAI_API_KEY"},
        {"api_key": " os.environ/OPENAI_API_KEY"},
        {"api_key": ""},
        {"api_key": " "},
        {"base_url": "os.environ/OPENAI_API_BASE"},
        {"base_url": ""},
        {"base_url": "http://os.environ/OPENAI_API_KEY"},
    ],
)
@pytest.mark.parametrize("model", ["openai/gpt-4o-mini", "groq/llama-3.3-70b-versatile"])
async def test_a_key_or_an_address_that_refers_to_the_environment_is_refused(
    server: ModelServer,
    client: LiteLLMClient,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, Any],
    model: str,
) -> None:
    monkeypatch.setenv("GROQ_API_BASE", server.url)

    failure = await the_failure(client, a_request(a_deployment(**fields), model=model))

    assert (failure.code, failure.retryable) == (REFUSED, False)
    assert "secret" not in failure.message
    assert "set it again" in failure.message
    assert server.received == 0


async def test_a_text_that_speaks_of_the_environment_is_a_text(server: ModelServer, client: LiteLLMClient) -> None:
    words = [{"role": "user", "content": "os.environ/OPENAI_API_KEY"}]

    for deployment in (None, at(server)):
        await client.complete(a_request(deployment, model="openai/gpt-4o-mini", messages=words), nothing)

    assert [request.last for request in server.requests] == ["os.environ/OPENAI_API_KEY"] * 2


async def test_only_models_that_speak_openai_s_protocol_have_an_address(
    server: ModelServer, client: LiteLLMClient
) -> None:
    failure = await the_failure(client, a_request(at(server), model="anthropic/claude-sonnet-4-5"))

    assert failure.code is REFUSED
    assert server.received == 0


async def test_a_packed_answer_is_not_unpacked(server: ModelServer, client: LiteLLMClient) -> None:
    server.script(Status(200, "packed", headers=(("content-encoding", "gzip"),)))

    failure = await the_failure(client, a_request(at(server)))

    assert failure.code is FailureCode.MODEL_ANSWER_INVALID
    assert "cannot be read" in failure.message
    assert failure.spent
    assert failure.spent.prompt_tokens > 0


async def test_a_server_that_takes_no_connection_is_left_soon_and_costs_nothing(
    server: ModelServer, client: LiteLLMClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[Any] = []

    async def nobody(_: Any, request: httpx.Request) -> Any:
        limits.append(request.extensions["timeout"]["connect"])
        raise httpx.ConnectTimeout("", request=request)

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", nobody)

    failure = await the_failure(client, a_request(at(server)))

    assert (failure.code, failure.retryable, failure.is_timeout, failure.spent) == (
        FailureCode.MODEL_UNAVAILABLE,
        True,
        True,
        None,
    )
    assert limits == [CONNECT_SECONDS]


@pytest.mark.parametrize("is_own", [True, False], ids=["own server", "own key"])
async def test_no_authorities_are_read_on_the_loop_and_none_twice(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch, *, is_own: bool
) -> None:
    made: list[threading.Thread] = []
    make = httpx.create_ssl_context

    def noted(*given: Any, **more: Any) -> Any:
        if not (given or isinstance(more.get("verify", True), ssl.SSLContext)):
            made.append(threading.current_thread())
        return make(*given, **more)

    tls_context.cache_clear()
    for place in ("httpx.create_ssl_context", "httpx._transports.default.create_ssl_context"):
        monkeypatch.setattr(place, noted)
    clients = OpenAIClients(AddressGuard({"127.0.0.1"}))

    for number in range(3):
        async with clients.lent(server.url if is_own else None, f"key {number}") as client:
            if is_own:
                await client.chat.completions.create(model="mine", messages=[])

    assert len(made) == 1
    assert made[0] is not threading.main_thread()
    await clients.close()


async def test_an_answer_without_a_line_end_is_left(
    server: ModelServer, client: LiteLLMClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domain.crew.openai_clients.MOST_BYTES", 1000)
    server.script(Status(200, "x" * 1001), Status(200, "x" * 1000))

    too_long = await the_failure(client, a_request(at(server)))
    empty = await the_failure(client, a_request(at(server)))

    assert MOST_BYTES > 1000
    assert "cannot be read" in too_long.message
    assert "empty answer" in empty.message


@pytest.mark.parametrize(
    "chunk",
    [
        '{"choices": "words"}',
        '{"choices": [{"delta": {"content": ["a", "list"]}}]}',
        '{"choices": [{"delta": {"content": 5}}]}',
        '{"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "a"}]}}]}',
        '{"choices": [{"delta": {"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}}]}',
        "[]",
        "5",
        '"words"',
        "null",
    ],
)
async def test_an_answer_of_another_shape_is_typed(server: ModelServer, client: LiteLLMClient, chunk: str) -> None:
    server.script(Status(200, f"data: {chunk}\n\ndata: [DONE]\n\n", headers=(("content-type", "text/event-stream"),)))

    failure = await the_failure(client, a_request(at(server)))

    assert (failure.code, failure.retryable) == (FailureCode.MODEL_ANSWER_INVALID, True)


async def test_a_client_is_made_once(
    server: ModelServer, client: LiteLLMClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    make = OpenAIClients._made  # noqa: SLF001 - what must not happen again shows nowhere else

    def counted(self: OpenAIClients, *name: Any) -> Any:
        made.append(name)
        return make(self, *name)

    monkeypatch.setattr(OpenAIClients, "_made", counted)

    for _ in range(3):
        await client.complete(a_request(at(server)), nothing)

    assert len(made) == 1


async def test_clients_are_few_and_none_is_closed_while_it_is_used(server: ModelServer) -> None:
    clients = OpenAIClients(AddressGuard({"127.0.0.1"}))

    async with clients.lent(server.url, "held") as held:
        for number in range(MOST_CLIENTS + 10):
            async with clients.lent(server.url, f"key {number}") as client:
                last = client
        async with clients.lent(server.url, "held") as again:
            assert again is held
        assert not held.is_closed()
    async with clients.lent(server.url, f"key {MOST_CLIENTS + 9}") as kept:
        assert kept is last
    async with clients.lent(server.url, "key 0") as anew:
        assert not anew.is_closed()

    await clients.close()
    assert held.is_closed()
    assert last.is_closed()


async def test_closing_the_client_closes_the_connections(server: ModelServer) -> None:
    client = LiteLLMClient(AddressGuard({"127.0.0.1"}))
    server.script(Silence(after_chunks=1))
    call = asyncio.create_task(client.complete(a_request(at(server)), nothing))
    await server.wait_for_requests(1)

    await client.close()

    await server.wait_for_disconnects(1)
    with pytest.raises(RunFailed):
        await call


CHUNK = (
    b'data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    b'[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\n'
)


@asynccontextmanager
async def a_server_that_writes(parts: Iterable[bytes]) -> AsyncIterator[tuple[Deployment, list[int]]]:
    """A server that answers every request with these parts, and how many bytes of them it got rid of."""
    written = [0]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        for part in parts:
            writer.write(part)
            await writer.drain()
            written[0] += len(part)

    async with answering(answer) as address:
        yield a_deployment(base_url=f"{address}/v1"), written


@pytest.mark.parametrize(
    "parts",
    [
        [b"data: ", *[b"[],[]," * 10_000] * 1_000, b"\n\n"],
        [b": x\n" * 10_000] * 750,
        [b": x\r\n" * 10_000] * 600,
        [b": x\r" * 10_000] * 750,
        [b": x\n\r\n" * 10_000] * 600,
        [(b": " + b"x" * 200 + b"\n\n") * 1_000] * 200,
        [b": " + b"x" * 999_000 + b"\n\n"] * 40,
    ],
    ids=["one event", "lines", "lines of two", "lines of returns", "mixed ends", "short events", "long events"],
)
async def test_a_stream_without_end_is_left_before_it_holds_the_loop(client: LiteLLMClient, parts: list[bytes]) -> None:
    async with a_server_that_writes(parts) as (deployment, written):
        failure = await the_failure(client, a_request(deployment, timeout_seconds=120.0))

    assert (failure.code, failure.retryable) == (FailureCode.MODEL_ANSWER_INVALID, True)
    assert "cannot be read" in failure.message
    assert written[0] < MOST_BYTES + 8_000_000  # the last is what the sockets hold


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
async def test_long_streams_of_small_events_are_read_however_they_are_cut(client: LiteLLMClient, end: bytes) -> None:
    comments = (b": x" + end) * (MOST_EVENT_LINES - 2) + b":" + end * 2
    stream = comments * 3 + CHUNK.replace(b"\n", end) + b"data: [DONE]" + end * 2
    for step in (7, 1_000_000):
        parts = [stream[start : start + step] for start in range(0, len(stream), step)]
        async with a_server_that_writes(parts) as (deployment, _):
            answer = await client.complete(a_request(deployment), nothing)

        assert answer.text == "hi"


EVERYTHING = {
    variable: f"operator-{variable.lower()}" for variables in KEY_VARIABLES.values() for variable in variables
}


@pytest.mark.parametrize("key", ["sk-tenant", None])
@pytest.mark.parametrize("provider", sorted(PROVIDERS - {"simulated"}))
async def test_no_provider_is_sent_what_belongs_to_the_operator_s_openai(
    client: LiteLLMClient, monkeypatch: pytest.MonkeyPatch, provider: str, key: str | None
) -> None:
    for name, value in {**OPERATOR, **EVERYTHING}.items():
        monkeypatch.setenv(name, value)
    for name in ("HTTP_PROXY", "ALL_PROXY", "OPENAI_API_BASE", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    sent: list[httpx.Request] = []

    async def refuse(_: httpx.AsyncClient, request: httpx.Request, **__: Any) -> httpx.Response:
        sent.append(request)
        return httpx.Response(400, json={"error": {"message": "no"}}, request=request)

    monkeypatch.setattr(httpx.AsyncClient, "send", refuse)

    await the_failure(client, a_request(a_deployment(api_key=key), model=f"{provider}/some-model"))

    [request] = sent
    shown = repr(sorted(request.headers.multi_items())) + str(request.url)
    others = [word for word in shown.split("'") if "operator" in word]
    if key:
        assert others == []
        assert "sk-tenant" in shown
    elif provider != "openai":
        assert "org-operator" not in shown
        assert "project-operator" not in shown
        assert "x-operator" not in shown
        mine = {value for variable in KEY_VARIABLES.get(provider, ()) if (value := EVERYTHING[variable])}
        assert all(word.removeprefix("Bearer ") in mine for word in others)
        assert bool(others) == bool(mine)


@pytest.mark.parametrize(
    "model",
    [
        "gemini/../../../evil",
        "mistral/ft:gpt-3.5-turbo",
        "gemini/replicate/x",
        "openai/os.environ/HOME",
        "gemini/a?b=c",
    ],
)
@pytest.mark.parametrize("key", ["sk-tenant", None])
async def test_no_name_leads_a_key_to_another_address(
    client: LiteLLMClient, monkeypatch: pytest.MonkeyPatch, model: str, key: str | None
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "operator")
    monkeypatch.setenv("MISTRAL_API_KEY", "operator")
    monkeypatch.delattr(httpx.AsyncClient, "send")

    failure = await the_failure(client, a_request(a_deployment(api_key=key), model=model))

    assert failure.code is FailureCode.MODEL_UNKNOWN
