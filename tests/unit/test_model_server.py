import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.model_server import (
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

SOON = 60.0
"""Seconds after which something did not happen."""

USAGE_WANTED: dict[str, Any] = {"stream_options": {"include_usage": True}}


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    async with ModelServer() as running:
        yield running


@pytest.fixture
async def client(server: ModelServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=SOON) as running:
        yield running


def a_question(text: str = "hello", **more: Any) -> dict[str, Any]:
    return {"model": "scripted", "messages": [{"role": "user", "content": text}], **more}


async def ask(client: httpx.AsyncClient, text: str = "hello", **more: Any) -> httpx.Response:
    return await client.post("/chat/completions", json=a_question(text, **more))


async def content_of(client: httpx.AsyncClient, text: str = "hello") -> str:
    answer = (await ask(client, text)).json()
    return str(answer["choices"][0]["message"]["content"])


def events_of(response: httpx.Response) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


async def test_the_default_answer_is_the_same_every_time_and_has_usage(client: httpx.AsyncClient) -> None:
    first = await ask(client, "x" * 40)
    second = await ask(client, "x" * 40)

    assert first.content == second.content
    assert first.json()["choices"][0]["finish_reason"] == "stop"
    assert first.json()["usage"]["prompt_tokens"] == 10
    assert first.json()["usage"]["completion_tokens"] == 12


async def test_a_request_is_recorded_with_path_headers_and_body(server: ModelServer, client: httpx.AsyncClient) -> None:
    await client.post("/chat/completions", json=a_question("hi"), headers={"Authorization": "Bearer k"})

    (request,) = server.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == "Bearer k"
    assert request.body == a_question("hi")
    assert request.last == "hi"


async def test_rules_go_before_the_script_and_the_script_before_the_default(
    server: ModelServer, client: httpx.AsyncClient
) -> None:
    server.default = lambda request: Text(request.last.upper())
    server.script(Text("one"), Text("two"))
    server.when("market", Text("ruled"), times=1)
    server.when(lambda request: request.last == "odd", Text("seen"))

    answers = [await content_of(client, text) for text in ("a", "market", "market", "odd", "bye")]

    assert answers == ["one", "ruled", "two", "seen", "BYE"]
    assert server.unused == 0


async def test_a_stream_has_the_pieces_and_usage_only_where_asked(
    server: ModelServer, client: httpx.AsyncClient
) -> None:
    usage = Usage(prompt=7, completion=3, cached=2, reasoning=1)
    server.default = Text("abcdef", usage, chunks=3, chunk_delay=0.001)

    plain = events_of(await ask(client, stream=True))
    counted = events_of(await ask(client, stream=True, **USAGE_WANTED))

    pieces = [event["choices"][0]["delta"].get("content") for event in plain]
    assert pieces == ["", "ab", "cd", "ef", None]
    assert plain[-1]["choices"][0]["finish_reason"] == "stop"
    assert counted[-1]["choices"] == []
    assert counted[-1]["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "total_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }


async def test_tool_calls_come_whole_and_in_a_stream(server: ModelServer, client: httpx.AsyncClient) -> None:
    both = ToolCalls((ToolCall("add", {"a": 2}, id="mine"), ToolCall("sub")))
    server.script(ToolCall("add", {"a": 1}), both)

    whole = (await ask(client)).json()["choices"][0]
    streamed = events_of(await ask(client, stream=True))

    assert whole["finish_reason"] == "tool_calls"
    assert whole["message"]["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
    ]
    deltas = [delta for event in streamed for delta in event["choices"][0]["delta"].get("tool_calls", ())]
    arguments = ["", ""]
    for delta in deltas:
        arguments[delta["index"]] += delta["function"]["arguments"]
    assert arguments == ['{"a":2}', "{}"]
    assert [d["id"] for d in deltas if "id" in d] == ["mine", "call_2"]


async def test_a_status_has_its_body_and_retry_after(server: ModelServer, client: httpx.AsyncClient) -> None:
    server.script(Status(429, retry_after=2), Status(401, {"error": "no"}), Status(500, "oops"))

    limited, denied, broken = [await ask(client) for _ in range(3)]

    assert (limited.status_code, limited.headers["retry-after"]) == (429, "2")
    assert limited.json()["error"]["message"] == "Scripted 429"
    assert (denied.status_code, denied.json()) == (401, {"error": "no"})
    assert (broken.status_code, broken.text) == (500, "oops")


@pytest.mark.parametrize("stream", [False, True])
async def test_garbage_is_no_json(server: ModelServer, client: httpx.AsyncClient, stream: bool) -> None:
    server.script(Garbage())

    answer = await ask(client, stream=stream)

    assert answer.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.text.removeprefix("data: "))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("after", [0, 2])
async def test_a_hang_up_is_an_error_for_the_client_and_no_disconnect_by_it(
    server: ModelServer, client: httpx.AsyncClient, stream: bool, after: int
) -> None:
    server.script(HangUp(after_chunks=after))

    with pytest.raises(httpx.RemoteProtocolError):
        await ask(client, stream=stream)

    assert (server.disconnected, server.in_flight) == (0, 0)
    assert await content_of(client) != ""  # the server lives on


async def test_the_server_notes_a_client_that_leaves_during_silence(
    server: ModelServer, client: httpx.AsyncClient
) -> None:
    server.script(Silence())
    call = asyncio.ensure_future(ask(client, "leave me"))
    await server.wait_for_requests(1)
    assert server.in_flight == 1

    call.cancel()
    await server.wait_for_disconnects(1)

    assert [request.last for request in server.disconnects] == ["leave me"]
    assert server.in_flight == 0


async def test_silence_can_fall_within_a_stream(server: ModelServer, client: httpx.AsyncClient) -> None:
    server.script(Silence(after_chunks=2))

    async with client.stream("POST", "/chat/completions", json=a_question(stream=True)) as answer:
        first = await anext(answer.aiter_lines())

    assert first.startswith("data: {")
    await server.wait_for_disconnects(1)


async def test_silence_with_seconds_ends_by_a_hang_up(server: ModelServer, client: httpx.AsyncClient) -> None:
    server.script(Silence(seconds=0.01))

    with pytest.raises(httpx.RemoteProtocolError):
        await ask(client)

    assert server.disconnected == 0


async def test_requests_in_flight_are_counted(server: ModelServer, client: httpx.AsyncClient) -> None:
    server.script(*(Silence() for _ in range(4)))
    silent = [asyncio.ensure_future(ask(client)) for _ in range(4)]
    await server.wait_for_requests(4)

    await ask(client)
    met = server.in_flight
    for call in silent:
        call.cancel()
    await server.wait_for_disconnects(4)

    assert (server.received, server.most_in_flight, met, server.in_flight) == (5, 5, 4, 0)


async def test_waiting_in_vain_says_what_was_seen(server: ModelServer) -> None:
    with pytest.raises(TimeoutError, match=r"no 1 requests within 0\.01 s; seen: 0 requests"):
        await server.wait_for_requests(1, timeout=0.01)


async def test_another_path_and_another_body_are_refused_and_not_recorded(
    server: ModelServer, client: httpx.AsyncClient
) -> None:
    unknown = await client.post("/embeddings", json={})
    broken = await client.post("/chat/completions", content=b"{")

    assert (unknown.status_code, broken.status_code) == (404, 400)
    assert server.requests == []


async def test_a_failing_predicate_shows_in_the_answer(server: ModelServer, client: httpx.AsyncClient) -> None:
    server.when(lambda request: bool(request.body["absent"]), Text("never"))

    answer = await ask(client)

    assert (answer.status_code, answer.text) == (500, "the script failed: KeyError('absent')")


def test_it_serves_from_a_thread_and_the_caller_blocks() -> None:
    with ModelServer.in_thread(default=Text("threaded"), latency=0.001) as server:
        url = f"{server.url.removesuffix('/v1')}/chat/completions"  # works without /v1 too
        with httpx.Client(trust_env=False, timeout=SOON) as client:
            answer = client.post(url, json=a_question()).json()
        server.block_for_requests(1)

    assert answer["choices"][0]["message"]["content"] == "threaded"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(url.split(":")[2].split("/", maxsplit=1)[0])))


async def test_it_runs_standalone_and_prints_its_url() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.model_server",
        "--content",
        "alone",
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        url = (await asyncio.wait_for(process.stdout.readline(), SOON)).decode().strip()
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=SOON) as client:
            assert await content_of(client) == "alone"
    finally:
        process.kill()
        await process.wait()


CREWAI_SCRIPT = """
import json, pathlib, sys
from crewai import LLM, Agent, Task
from crewai.tools import tool

@tool("doubler")
def doubler(number: int) -> str:
    "Doubles a number."
    return str(2 * number)

llm = LLM(model="openai/scripted", base_url=sys.argv[1], api_key="none")
results = []
for tools in ([doubler], [], []):
    agent = Agent(role="Analyst", goal="Double", backstory="Exact.", llm=llm, tools=tools, max_retry_limit=0)
    task = Task(description="Double 21", expected_output="A number", agent=agent)
    results.append(task.execute_sync().raw)
pathlib.Path("results.json").write_text(json.dumps(results))
"""


async def test_crewai_takes_a_tool_call_and_plain_content_as_documented(server: ModelServer, tmp_path: Path) -> None:
    server.script(ToolCall("doubler", {"number": 21}), Text("It is 42."))
    server.script(Text("Thought: done\nFinal Answer: 43"), Text("44"))
    environment = os.environ | {
        "CREWAI_DISABLE_TELEMETRY": "true",
        "CREWAI_TRACING_ENABLED": "false",
        "CREWAI_STORAGE_DIR": str(tmp_path),
        "OTEL_SDK_DISABLED": "true",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "NO_PROXY": "127.0.0.1",
    }

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CREWAI_SCRIPT, server.url),
        env=environment,
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()

    assert process.returncode == 0, output
    assert json.loads((tmp_path / "results.json").read_text()) == ["It is 42.", "43", "44"]
    assert [bool(request.body.get("tools")) for request in server.requests] == [True, True, False, False]
    tool_results = [m["content"] for m in server.requests[1].messages if m["role"] == "tool"]
    assert tool_results == ["42"]
