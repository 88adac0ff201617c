"""The time that a download may take, before and after its first piece."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence

import pytest
from starlette.types import Message

from app.export_formats import Row
from app.exports import Download, ExportTooSlow, Gate, download
from domain.model.exports import ExportFormat


class Rows:
    """So many batches of one row, then nothing for ever."""

    def __init__(self, batches: int) -> None:
        self.batches = batches
        self.is_closed = False

    async def __call__(self) -> AsyncGenerator[Sequence[Row], None]:
        try:
            for number in range(self.batches):
                yield [{"a": number}]
            await asyncio.Event().wait()
        finally:
            self.is_closed = True


async def _send_to(sent: list[Message], made: Download) -> None:
    """Serve a client that takes everything and stays; what it was sent is in the list, however it ends."""

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    await made({"type": "http"}, receive, send)


async def test_one_that_takes_too_long_is_cut_and_lets_go() -> None:
    rows, gate = Rows(2), Gate(1, 0.2)
    sent: list[Message] = []

    with pytest.raises(ExportTooSlow):
        await _send_to(sent, download("x", ExportFormat.JSON_LINES, ["a"], rows(), gate))

    bodies = sent[1:]
    assert [message["body"] for message in bodies] == [b'{"a":0}\n', b'{"a":1}\n']
    assert all(message["more_body"] for message in bodies)
    assert rows.is_closed
    with gate.place():
        pass


async def test_one_that_has_nothing_to_send_in_time_is_refused_in_words() -> None:
    rows = Rows(0)
    sent: list[Message] = []

    await _send_to(sent, download("x", ExportFormat.CSV, ["a"], rows(), Gate(1, 0.05)))

    start, body = sent
    assert start["status"] == 503
    assert json.loads(body["body"])["errors"][0]["extensions"] == {"code": "UNAVAILABLE"}
    assert rows.is_closed
