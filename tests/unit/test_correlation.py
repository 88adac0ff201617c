"""Under which id a request goes: the client's own if it is sound; and that answers, log lines and audit have it."""

import asyncio
import re
from typing import Any

import pytest
from structlog.contextvars import get_contextvars

from app.correlation import Correlation
from domain.model.acting import Origin, origin

_ANSWERED = {"http": "http.response.start", "websocket": "websocket.accept"}


class _App:
    """Answers, in a task of its own as operations on a websocket are, and remembers what it was told."""

    def __init__(self) -> None:
        self.seen: Origin | None = None
        self.bound: dict[str, Any] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        del receive
        await asyncio.create_task(self._operation())
        await send({"type": _ANSWERED[scope["type"]]})

    async def _operation(self) -> None:
        self.seen, self.bound = origin.get(), get_contextvars()


async def _asked(kind: str = "http", **headers: str) -> tuple[_App, dict[bytes, bytes]]:
    """What the application was told, and the headers of the answer."""
    app, sent = _App(), list[Any]()
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": kind, "headers": raw, "client": ("192.0.2.7", 4711)}
    await Correlation(app)(scope, None, send)  # type: ignore[arg-type]  # nothing is received
    return app, dict(sent[0]["headers"])


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_a_sound_id_of_the_client_is_kept_and_answered(kind: str) -> None:
    app, headers = await _asked(kind, x_request_id="order-17.retry_2", user_agent="curl/8")

    assert app.seen == Origin("order-17.retry_2", "192.0.2.7", "curl/8")
    assert app.bound == {"request_id": "order-17.retry_2"}
    assert headers[b"x-request-id"] == b"order-17.retry_2"
    assert (origin.get(), get_contextvars()) == (None, {})


@pytest.mark.parametrize("asked", ["", "two words", "a\nline", "line\n", "x" * 65, "<script>", "é"])
async def test_an_id_that_could_break_a_line_is_replaced(asked: str) -> None:
    app, headers = await _asked(x_request_id=asked)

    assert app.seen is not None
    assert re.fullmatch("[0-9a-f]{32}", app.seen.request_id)
    assert headers[b"x-request-id"].decode() == app.seen.request_id


async def test_what_clients_say_of_themselves_is_cut_and_may_be_missing() -> None:
    long, _ = await _asked(user_agent="x" * 500)
    without, _ = await _asked()

    assert (long.seen and long.seen.user_agent) == "x" * 200
    assert (without.seen and without.seen.user_agent) is None
