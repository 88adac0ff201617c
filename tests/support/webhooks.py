"""A receiver of webhooks on loopback: it verifies signatures as docs/webhooks.md tells, and answers as it is told."""

import asyncio
import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

TOLERANCE_SECONDS = 300


def is_genuine(secret: str, header: str, body: bytes, now: float | None = None) -> bool:
    """Whether somebody who knows the secret signed this body within the last five minutes."""
    parts = [part.partition("=") for part in header.split(",")]
    moment = next((value for name, _, value in parts if name == "t"), "")
    if not moment.isdecimal() or abs((time.time() if now is None else now) - int(moment)) > TOLERANCE_SECONDS:
        return False
    expected = hmac.new(secret.encode(), moment.encode() + b"." + body, hashlib.sha256).hexdigest()
    return any(hmac.compare_digest(value, expected) for name, _, value in parts if name == "v1")


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document

    @property
    def type(self) -> str:
        return str(self.json["type"])

    def is_from(self, secret: str) -> bool:
        """Whether it is signed with this secret."""
        return is_genuine(secret, self.headers["regatta-signature"], self.body)


Answer = Callable[[Received], Awaitable[bytes]]


def answering(status: int, body: bytes = b"", *headers: str) -> Answer:
    """Always the same answer."""

    async def answer(_: Received) -> bytes:
        lines = [f"HTTP/1.1 {status} Told", f"Content-Length: {len(body)}", *headers]
        return "\r\n".join([*lines, "", ""]).encode() + body

    return answer


def held(until: asyncio.Event) -> Answer:
    """No answer before the event."""

    async def answer(request: Received) -> bytes:
        await until.wait()
        return await answering(200)(request)

    return answer


@dataclass
class Receiver:
    """What it received, and how it answers; by default with 204."""

    port: int = 0
    received: list[Received] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    """By path, instead of 204."""

    @classmethod
    @contextlib.asynccontextmanager
    async def started(cls) -> AsyncIterator[Self]:
        """Listening; closed at the end, whoever still waits for an answer."""
        receiver, tasks = cls(), set[asyncio.Task[None]]()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(receiver._serve(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        receiver.port = server.sockets[0].getsockname()[1]
        try:
            yield receiver
        finally:
            server.close()
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await server.wait_closed()

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    @property
    def types(self) -> list[str]:
        return [each.type for each in self.received]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await _read(reader)
            self.received.append(request)
            writer.write(await self.answers.get(request.path, answering(204))(request))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client left
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(first.split()[1], headers, body)
