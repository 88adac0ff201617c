"""The time that a download may take, before and after its first piece."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence

import pytest
from starlette.types import Message

from app.export_formats import Row
from app.exports import Download, ExportTooSlow, Gate, download
from domain.model.exports import ExportFormat


class Rows:
    """So many batches of one row, then nothing for ever, of which it tells."""

    def __init__(self, batches: int, on_silence: Callable[[], None]) -> None:
        self.batches = batches
        self.on_silence = on_silence
        self.is_closed = False

    async def __call__(self) -> AsyncGenerator[Sequence[Row], None]:
        try:
            for number in range(self.batches):
                yield [{"a": number}]
            self.on_silence()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # as a transaction is rolled back: the database has to answer
            self.is_closed = True


async def _send_to(sent: list[Message], made: Download, gone: asyncio.Event | None = None) -> None:
    """Serve a client that takes everything, and stays until it is gone; the list has what it was sent."""

    async def receive() -> Message:
        await (gone or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await made({"type": "http"}, receive, send)


async def test_one_that_takes_too_long_is_cut_and_lets_go(pass_time: Callable[[float], None]) -> None:
    rows, gate = Rows(2, lambda: pass_time(60)), Gate(1, 60)
    sent: list[Message] = []

    with pytest.raises(ExportTooSlow):
        await _send_to(sent, download("x", ExportFormat.JSON_LINES, ["a"], rows(), gate))

    bodies = sent[1:]
    assert [message["body"] for message in bodies] == [b'{"a":0}\n', b'{"a":1}\n']
    assert all(message["more_body"] for message in bodies)
    assert rows.is_closed
    with gate.place():
        pass


async def test_one_that_has_nothing_to_send_in_time_is_refused_in_words(pass_time: Callable[[float], None]) -> None:
    rows = Rows(0, lambda: pass_time(60))
    sent: list[Message] = []

    await _send_to(sent, download("x", ExportFormat.CSV, ["a"], rows(), Gate(1, 60)))

    start, body = sent
    assert start["status"] == 503
    assert json.loads(body["body"])["errors"][0]["extensions"] == {"code": "UNAVAILABLE"}
    assert rows.is_closed


async def test_a_client_that_goes_away_while_it_waits_lets_go_of_all_before_its_place_is_free() -> None:
    gone = asyncio.Event()
    rows, gate = Rows(1, gone.set), Gate(1, 60)
    sent: list[Message] = []

    await _send_to(sent, download("x", ExportFormat.JSON_LINES, ["a"], rows(), gate), gone)

    assert rows.is_closed
    assert [message["body"] for message in sent[1:]] == [b'{"a":0}\n']
    with gate.place():
        pass
