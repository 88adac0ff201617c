r"""An OpenAI-compatible model server on loopback that gives the answers a test scripted; it knows no model.

Use it in a test's own loop, or in a thread where the caller blocks:

    async with ModelServer() as server: ...          # server.url ends in /v1
    with ModelServer.in_thread() as server: ...

    server.script(Status(429, retry_after=1), Text("better"))      # one answer per request, in order
    server.when("market", Text("Markets grow."))                   # whenever the last message says so
    server.when(lambda request: "Analyst" in request.system, ...)  # or whatever a predicate sees

The first matching rule answers, then the script, then the default. An answer may be a function of the request.

What CrewAI 1.15 takes as an answer (agents/agent_executor.py, agents/parser.py):

* A role without tools: plain content *is* the final answer. CrewAI looks for `Final Answer:` first and keeps
  only what follows the last one; content without it fails in its parser and is taken whole.
  Content with `Action:` followed by `Action Input:` and no `Final Answer:` is read as a (text) tool call.
* A role with tools and an LLM whose `supports_function_calling()` is true: the request has `tools`. A
  `ToolCall` answer runs the tool; its result comes back as a message of the role "tool", which may be followed
  by one that asks to go on, so a rule should look at `request.text` there. Plain content ends the task and
  is *not* parsed: "Thought: … Final Answer: …" would be kept literally.
* A role with tools and an LLM without function calling: no `tools` in the request, the protocol is text:
  "Thought: …\nAction: <tool>\nAction Input: {json}", then "Thought: …\nFinal Answer: …".
* Empty content is an error (`ValueError: … None or empty`).

So `Text("…")` ends a task on every path, and a tool is called by `ToolCall` on the native one.

It is written on asyncio's protocol and httptools, and answers without a task where nothing has to be waited
for, so that benchmarks measure their subject and not this server:
`python -m tests.support.model_server --port N`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import pairwise
from typing import Any, Self, TypeAlias, cast

import httptools
import orjson

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts to report.

    `cached` is the part of `prompt` that a provider's cache answered, `reasoning` the part of `completion` that the
    model only thought.
    """

    prompt: int
    completion: int
    cached: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delayed:
    """What every answer has: seconds to wait before its first byte, on top of the server's own latency.

    And `until`: what has to be true by then; it is asked again and again, so a test says by an event when to answer.
    """

    latency: float = 0.0
    until: Callable[[], bool] | None = None


@dataclass(frozen=True, slots=True)
class Text(Delayed):
    """Plain content; streamed in `chunks` pieces, `chunk_delay` seconds before each but the first."""

    content: str
    usage: Usage | None = None
    chunks: int = 4
    chunk_delay: float = 0.0
    finish_reason: str = "stop"


@dataclass(frozen=True, slots=True)
class ToolCall(Delayed):
    """One call of a tool; without an `id` it gets `call_<n>`, n counting this server's calls from 1."""

    name: str
    arguments: Json = field(default_factory=dict)
    id: str | None = None
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class ToolCalls(Delayed):
    """Several calls in one answer, as a model with parallel tool calls gives them."""

    calls: tuple[ToolCall, ...]
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Status(Delayed):
    """An HTTP error; without a body, one in OpenAI's shape. `retry_after` is in seconds, or a date."""

    code: int
    body: Json | str | None = None
    retry_after: float | str | None = None
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Garbage(Delayed):
    """Status 200 and a body that is not JSON (in a stream: an event that is not)."""

    body: str = '{"choices": [{"mess'


@dataclass(frozen=True, slots=True)
class HangUp(Delayed):
    """Closes the socket: before any byte, or after `after_chunks` pieces of `content` (of a stream).

    With `tool`, the content is what the model wrote as arguments of this tool.
    """

    after_chunks: int = 0
    content: str = "This answer breaks off in the middle of its"
    tool: str | None = None


@dataclass(frozen=True, slots=True)
class Silence(Delayed):
    """Says nothing (more), after `after_chunks` pieces of a stream, until the client leaves.

    With `seconds` the server closes the socket after that time.
    """

    seconds: float | None = None
    after_chunks: int = 0
    content: str = "This answer stops in the middle of its"


Answer: TypeAlias = Text | ToolCall | ToolCalls | Status | Garbage | HangUp | Silence
Reply: TypeAlias = "Answer | Callable[[Request], Answer]"
Match: TypeAlias = "str | Callable[[Request], bool]"

DEFAULT_ANSWER = Text("This is the scripted answer of the model server.")


@dataclass(frozen=True, slots=True)
class Request:
    """One recorded request; header names are lower case, `body` is the decoded JSON."""

    path: str
    headers: dict[str, str]
    body: Json

    @property
    def streams(self) -> bool:
        return bool(self.body.get("stream"))

    @property
    def messages(self) -> list[Json]:
        messages = self.body.get("messages")
        return messages if isinstance(messages, list) else []

    @property
    def last(self) -> str:
        """The text of the last message, "" when there is none."""
        return _text_of(self.messages[-1]) if self.messages else ""

    @property
    def system(self) -> str:
        """The text of all system messages."""
        return "\n".join(_text_of(message) for message in self.messages if message.get("role") == "system")

    @property
    def text(self) -> str:
        """The text of all messages."""
        return "\n".join(_text_of(message) for message in self.messages)


def _text_of(message: Json) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content)
    return str(content or "")


@dataclass(slots=True)
class _Rule:
    match: Match
    reply: Reply
    left: int | None

    def applies(self, request: Request) -> bool:
        if self.left == 0:
            return False
        return self.match in request.last if isinstance(self.match, str) else self.match(request)


class ModelServer:
    """The server and its script; see the module's text.

    `latency` (seconds) precedes every answer. With `record=False` requests are counted, not kept.
    """

    def __init__(
        self, *, default: Reply = DEFAULT_ANSWER, latency: float = 0.0, port: int = 0, record: bool = True
    ) -> None:
        self.requests: list[Request] = []
        self.disconnects: list[Request] = []
        self.received = 0
        self.disconnected = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.default = default
        self.latency = latency
        self._port = port
        self._record = record
        self._queue: deque[Reply] = deque()
        self._rules: list[_Rule] = []
        self._tool_calls = 0
        self.connections: set[_Connection] = set()
        self._lock = threading.Lock()
        self._waiting: list[tuple[Callable[[], bool], Future[None]]] = []
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The base URL to give to a client, with /v1."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def unused(self) -> int:
        """How many scripted answers nobody asked for yet."""
        return len(self._queue)

    def script(self, *replies: Reply) -> None:
        """Append answers, each given once, in order."""
        self._queue.extend(replies)

    def when(self, match: Match, reply: Reply, *, times: int | None = None) -> None:
        """Answer with `reply` when the last message contains `match`, or the predicate says so.

        Earlier rules win; a rule goes before the script. `times` limits how often it answers.
        """
        self._rules.append(_Rule(match, reply, times))

    def clear(self) -> None:
        """Forget script, rules and everything recorded."""
        self._queue.clear()
        self._rules.clear()
        self.requests.clear()
        self.disconnects.clear()
        self.received = self.disconnected = self.most_in_flight = self._tool_calls = 0

    async def wait_for_requests(self, count: int, timeout: float = 30.0) -> None:  # noqa: ASYNC109 - callers read better
        """Return when `count` requests have arrived in all; TimeoutError after `timeout` seconds."""
        await self._wait(lambda: self.received >= count, timeout, f"{count} requests")

    async def wait_for_disconnects(self, count: int, timeout: float = 30.0) -> None:  # noqa: ASYNC109 - same
        """Return when `count` clients left during their request; TimeoutError after `timeout` seconds."""
        await self._wait(lambda: self.disconnected >= count, timeout, f"{count} disconnects")

    def block_for_requests(self, count: int, timeout: float = 30.0) -> None:
        """`wait_for_requests` for a thread without a loop."""
        self._block(lambda: self.received >= count, timeout, f"{count} requests")

    def block_for_disconnects(self, count: int, timeout: float = 30.0) -> None:
        """`wait_for_disconnects` for a thread without a loop."""
        self._block(lambda: self.disconnected >= count, timeout, f"{count} disconnects")

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", self._port, backlog=1024)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        while self.connections:
            for connection in tuple(self.connections):
                connection.abort()
            await asyncio.sleep(0)
        await self._server.wait_closed()

    @classmethod
    @contextmanager
    def in_thread(
        cls, *, default: Reply = DEFAULT_ANSWER, latency: float = 0.0, port: int = 0, record: bool = True
    ) -> Iterator[Self]:
        """The server on a loop in a thread of its own, for callers that block or own another loop."""
        server = cls(default=default, latency=latency, port=port, record=record)
        ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

        async def live() -> None:
            stop = asyncio.Event()
            async with server:
                ready.set_result((asyncio.get_running_loop(), stop))
                await stop.wait()

        def run() -> None:
            try:
                asyncio.run(live())
            except OSError as error:  # the port is taken: tell the caller, who waits for `ready`
                ready.set_exception(error)

        thread = threading.Thread(target=run, name="model-server", daemon=True)
        thread.start()
        loop, stop = ready.result()
        try:
            yield server
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()

    # What a connection tells and asks; on the server's loop.

    def began(self, request: Request) -> None:
        self.received += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        if self._record:
            self.requests.append(request)
        self._changed()

    def ended(self, request: Request, *, left: bool) -> None:
        self.in_flight -= 1
        if left:
            self.disconnected += 1
            if self._record:
                self.disconnects.append(request)
        self._changed()

    def plan_for(self, request: Request) -> _Plan:
        try:
            reply = self._next_reply(request)
            answer = reply(request) if callable(reply) else reply
        except Exception as error:  # noqa: BLE001 - a broken predicate must show in the client, not as a lost socket
            answer = Status(500, f"the script failed: {error!r}")
        plan = _plan(answer, request, self._next_call_id)
        plan.pauses[0] += self.latency + answer.latency
        plan.until = answer.until
        return plan

    def _next_reply(self, request: Request) -> Reply:
        for rule in self._rules:
            if rule.applies(request):
                if rule.left is not None:
                    rule.left -= 1
                return rule.reply
        return self._queue.popleft() if self._queue else self.default

    def _next_call_id(self) -> str:
        self._tool_calls += 1
        return f"call_{self._tool_calls}"

    # Waiting, from any loop or thread.

    def _changed(self) -> None:
        if not self._waiting:
            return
        with self._lock:
            met = [waiter for waiter in self._waiting if waiter[0]()]
            self._waiting = [waiter for waiter in self._waiting if waiter not in met]
        for _, future in met:
            if future.set_running_or_notify_cancel():
                future.set_result(None)

    def _waiter(self, condition: Callable[[], bool]) -> Future[None]:
        future: Future[None] = Future()
        with self._lock:
            self._waiting.append((condition, future))
        self._changed()  # it may be true already
        return future

    async def _wait(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        try:
            await asyncio.wait_for(asyncio.wrap_future(self._waiter(condition)), seconds)
        except TimeoutError:
            raise self._not_met(seconds, what) from None

    def _block(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        try:
            self._waiter(condition).result(seconds)
        except TimeoutError:
            raise self._not_met(seconds, what) from None

    def _not_met(self, seconds: float, what: str) -> TimeoutError:
        seen = f"{self.received} requests, {self.disconnected} disconnects"
        return TimeoutError(f"no {what} within {seconds} s; seen: {seen}")


class _Connection(asyncio.Protocol):
    """One socket: reads requests one after another, answers each before it reads the next."""

    def __init__(self, server: ModelServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._path = ""
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._request: Request | None = None
        self._task: asyncio.Task[None] | None = None

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its class
        self._server.connections.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._server.connections.discard(self)
        if self._task is not None:
            self._task.cancel()
        self._finish(left=True)

    def abort(self) -> None:
        assert self._transport is not None
        self._transport.abort()

    # httptools' callbacks

    def on_message_begin(self) -> None:
        self._path = ""
        self._headers = {}
        self._body = bytearray()

    def on_url(self, url: bytes) -> None:
        self._path += url.decode()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode().lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        method = self._parser.get_method()
        if method != b"POST" or self._path.split("?")[0] not in ("/v1/chat/completions", "/chat/completions"):
            self._send(_error_response(404, f"Unknown path {self._path}"))
            return
        try:
            body = orjson.loads(self._body)
        except orjson.JSONDecodeError:
            body = None
        if isinstance(body, dict):
            self._begin(Request(self._path, self._headers, body))
        else:
            self._send(_error_response(400, "The body is not a JSON object."))

    # answering

    def _begin(self, request: Request) -> None:
        self._request = request
        self._server.began(request)
        plan = self._server.plan_for(request)
        if any(plan.pauses) or plan.until is not None or plan.then_silent is not None:
            self._task = asyncio.ensure_future(self._play(plan))
        else:  # the cheap way: no task
            self._send(b"".join(plan.pieces))
            self._conclude(plan)

    async def _play(self, plan: _Plan) -> None:
        while plan.until is not None and not plan.until():  # noqa: ASYNC110 - it may become true in another thread
            await asyncio.sleep(0.01)
        for pause, piece in zip(plan.pauses, plan.pieces, strict=True):
            if pause:
                await asyncio.sleep(pause)
            self._send(piece)
        if plan.then_silent is not None:
            await plan.then_silent()
        self._conclude(plan)

    def _conclude(self, plan: _Plan) -> None:
        self._finish(left=False)
        if plan.hangs_up:
            assert self._transport is not None
            self._transport.close()  # what was written still goes out

    def _finish(self, *, left: bool) -> None:
        request, self._request, self._task = self._request, None, None
        if request is not None:
            self._server.ended(request, left=left)

    def _send(self, data: bytes) -> None:
        assert self._transport is not None
        if data:
            self._transport.write(data)


@dataclass(slots=True)
class _Plan:
    """Bytes to send, the pause in seconds before each piece, what has to be true by then, and how it ends."""

    pieces: list[bytes]
    pauses: list[float]
    hangs_up: bool = False
    then_silent: Callable[[], Awaitable[None]] | None = None
    until: Callable[[], bool] | None = None


def _plan(  # noqa: PLR0911 - a table: one line per kind of answer
    answer: Answer, request: Request, next_id: Callable[[], str]
) -> _Plan:
    match answer:
        case Text():
            return _plan_text(answer, request)
        case ToolCall():
            return _plan_tool_calls((answer,), answer.usage, request, next_id)
        case ToolCalls():
            return _plan_tool_calls(answer.calls, answer.usage, request, next_id)
        case Status():
            return _at_once(_error_response(answer.code, body=answer.body, extra=_headers(answer)))
        case Garbage():
            return _plan_garbage(answer, request)
        case HangUp():
            beginning = _beginning(answer.content, answer.after_chunks, request, answer.tool)
            return _Plan(*beginning, hangs_up=True)
        case Silence():
            pieces, pauses = _beginning(answer.content, answer.after_chunks, request)
            return _Plan(pieces, pauses, hangs_up=True, then_silent=_silence(answer.seconds))


def _at_once(data: bytes) -> _Plan:
    return _Plan([data], [0.0])


def _plan_text(answer: Text, request: Request) -> _Plan:
    usage = answer.usage or _counted(request, answer.content)
    if not request.streams:
        message = {"role": "assistant", "content": answer.content}
        return _at_once(_completion(request, message, answer.finish_reason, usage))
    parts = _split(answer.content, answer.chunks)
    events = [_event(_chunk(request, {"content": part})) for part in parts]
    events[0] = _STREAM_HEAD + _event(_chunk(request, {"role": "assistant", "content": ""})) + events[0]
    events[-1] += _stream_end(request, answer.finish_reason, usage)
    return _Plan(events, [0.0] + [answer.chunk_delay] * (len(events) - 1))


def _plan_tool_calls(
    calls: tuple[ToolCall, ...], usage: Usage | None, request: Request, next_id: Callable[[], str]
) -> _Plan:
    wire = [
        {
            "id": call.id or next_id(),
            "type": "function",
            "function": {"name": call.name, "arguments": orjson.dumps(call.arguments).decode()},
        }
        for call in calls
    ]
    usage = usage or _counted(request, orjson.dumps(wire).decode())
    if not request.streams:
        message = {"role": "assistant", "content": None, "tool_calls": wire}
        return _at_once(_completion(request, message, "tool_calls", usage))
    events = [_STREAM_HEAD, _event(_chunk(request, {"role": "assistant", "content": None}))]
    for index, call in enumerate(wire):
        events += [_event(_chunk(request, {"tool_calls": [delta]})) for delta in _call_deltas(index, call)]
    return _at_once(b"".join(events) + _stream_end(request, "tool_calls", usage))


def _call_deltas(index: int, call: Json) -> Iterator[Json]:
    """As OpenAI streams a call: its name first, then its arguments in pieces."""
    function = call["function"]
    yield {"index": index, **call, "function": {"name": function["name"], "arguments": ""}}
    for piece in _split(function["arguments"], 2):
        yield {"index": index, "function": {"arguments": piece}}


def _plan_garbage(answer: Garbage, request: Request) -> _Plan:
    body = answer.body.encode()
    if request.streams:
        return _at_once(_STREAM_HEAD + _framed(b"data: " + body + b"\n\n") + _LAST_FRAME)
    return _at_once(_response(200, body))


def _beginning(content: str, chunks: int, request: Request, tool: str | None = None) -> tuple[list[bytes], list[float]]:
    """The first `chunks` pieces of an answer that will not be finished; nothing where none are wanted."""
    if not chunks:
        return [b""], [0.0]
    if not request.streams:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 10000\r\n\r\n"
        return [head + b'{"id": "chatcmpl-broken", "choices": ['], [0.0]
    if tool:
        call = {"id": "call_1", "type": "function", "function": {"name": tool, "arguments": content}}
        deltas: list[Json] = [{"tool_calls": [delta]} for delta in _call_deltas(0, call)]
    else:
        deltas = [{"content": part} for part in _split(content, chunks)]
    return [_STREAM_HEAD + b"".join(_event(_chunk(request, delta)) for delta in deltas)], [0.0]


def _silence(seconds: float | None) -> Callable[[], Awaitable[None]]:
    async def wait() -> None:
        if seconds is None:
            await asyncio.Event().wait()  # ends by cancellation, when the client leaves
        else:
            await asyncio.sleep(seconds)

    return wait


# The wire

_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_LAST_FRAME = b"0\r\n\r\n"
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_CREATED = 1_700_000_000  # a constant: answers are the same in every run


def _response(code: int, body: bytes, extra: bytes = b"") -> bytes:
    reason = _REASONS.get(code, b"Unknown")
    head = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%b\r\n"
    return head % (code, reason, len(body), extra) + body


def _headers(answer: Status) -> bytes:
    wait = answer.retry_after
    said = () if wait is None else (("retry-after", f"{wait:g}" if isinstance(wait, float | int) else wait),)
    return "".join(f"{name}: {value}\r\n" for name, value in (*said, *answer.headers)).encode()


def _error_response(code: int, message: str = "", *, body: Json | str | None = None, extra: bytes = b"") -> bytes:
    if body is None:
        text = message or f"Scripted {code}"
        body = {"error": {"message": text, "type": "scripted", "param": None, "code": str(code)}}
    data = body.encode() if isinstance(body, str) else orjson.dumps(body)
    return _response(code, data, extra)


def _completion(request: Request, message: Json, finish_reason: str, usage: Usage) -> bytes:
    choice = {"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": None}
    body = {"id": "chatcmpl-scripted", "object": "chat.completion", "created": _CREATED}
    body |= {"model": request.body.get("model", ""), "choices": [choice], "usage": _usage_json(usage)}
    return _response(200, orjson.dumps(body))


def _chunk(request: Request, delta: Json, finish_reason: str | None = None) -> Json:
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion.chunk",
        "created": _CREATED,
        "model": request.body.get("model", ""),
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}],
    }


def _stream_end(request: Request, finish_reason: str, usage: Usage) -> bytes:
    end = _event(_chunk(request, {}, finish_reason))
    if (request.body.get("stream_options") or {}).get("include_usage"):
        end += _event({**_chunk(request, {}), "choices": [], "usage": _usage_json(usage)})
    return end + _framed(b"data: [DONE]\n\n") + _LAST_FRAME


def _event(value: Json) -> bytes:
    return _framed(b"data: " + orjson.dumps(value) + b"\n\n")


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _usage_json(usage: Usage) -> Json:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def _counted(request: Request, content: str) -> Usage:
    """Four characters to a token, the rule of thumb for English; at least one."""
    prompt = sum(len(_text_of(message)) for message in request.messages)
    return Usage(prompt=max(1, prompt // 4), completion=max(1, len(content) // 4))


def _split(content: str, count: int) -> list[str]:
    """`content` in at most `count` pieces of about the same length; one empty piece for no content."""
    count = max(1, min(count, len(content)))
    bounds = [len(content) * step // count for step in range(count + 1)]
    return [content[start:end] for start, end in pairwise(bounds)]


# Standalone


async def _serve(port: int, latency: float, answer: Text) -> None:
    async with ModelServer(default=answer, latency=latency, port=port, record=False) as server:
        print(server.url, flush=True)  # noqa: T201 - how the starting process learns the port
        await asyncio.Event().wait()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="An OpenAI-compatible server with one answer; prints its URL.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--chunks", type=int, default=DEFAULT_ANSWER.chunks, help="pieces of a stream")
    parser.add_argument("--content", default=DEFAULT_ANSWER.content, help="the answer")
    options = parser.parse_args(arguments)
    answer = Text(options.content, chunks=options.chunks)
    with suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(options.port, options.latency, answer))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None  # uvloop does not exist there
    import uvloop  # noqa: PLC0415 - same

    return uvloop.new_event_loop


if __name__ == "__main__":
    main()
