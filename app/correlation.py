"""Under which id a request goes, and where it came from: for the log lines, the audit and whoever asks what went wrong.

The id is the client's own `X-Request-ID` where that is sound, so that it can be found again in the client's logs, too;
else it is made here. Every answer says which it was, refusals included.
"""

import re
import uuid
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from domain.model.acting import Origin, origin
from domain.model.texts import storable

HEADER: Final = "X-Request-ID"
LONGEST_USER_AGENT: Final = 200

_SOUND: Final = re.compile("[A-Za-z0-9._-]{1,64}")
"""What may stand in a log line and a database as it is; anything else a stranger may have made up to break either."""

_DENIAL: Final = "websocket.http.response"
"""What servers that can answer a websocket with a response of ours have among their extensions."""

_ANSWERS: Final = ("http.response.start", "websocket.accept", "websocket.http.response.start")


class Correlation:
    """ASGI middleware: sets `origin` and the log lines' `request_id` for as long as a request or websocket lasts.

    The operations of a websocket are tasks that are begun within it, so they all have the id of their socket.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        came = _origin_of(scope)
        token = origin.set(came)
        try:
            with bound_contextvars(request_id=came.request_id):
                await self.app(scope, receive, _telling(came.request_id, scope, receive, send))
        finally:
            origin.reset(token)


def _origin_of(scope: Scope) -> Origin:
    headers, client = Headers(scope=scope), scope.get("client")
    asked, agent = headers.get(HEADER, ""), headers.get("user-agent")
    return Origin(
        request_id=asked if _SOUND.fullmatch(asked) else uuid.uuid4().hex,
        address=client[0] if client else None,
        user_agent=storable(agent)[:LONGEST_USER_AGENT] if agent else None,
    )


def _telling(request_id: str, scope: Scope, receive: Receive, send: Send) -> Send:
    may_refuse = _DENIAL in scope.get("extensions", {})

    async def tell(message: Message) -> None:
        nonlocal may_refuse
        if may_refuse and message["type"] == "websocket.close":  # before it was accepted: a 403 without our header
            await PlainTextResponse(message.get("reason") or "Refused.", 403)(scope, receive, tell)
            return
        if message["type"] in _ANSWERS:
            may_refuse = False
            message.setdefault("headers", [])
            MutableHeaders(scope=message)[HEADER] = request_id
        await send(message)

    return tell
