"""Who may knock: the names under which this server is addressed, and the pages that may call it.

There is no login yet, so a page that somebody else made must not reach a server on loopback: neither by a name that
was rebound to 127.0.0.1 (`Host`), nor from another origin (`Origin`), over HTTP or websocket.
"""

from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

ANY = "*"


class Doorkeeper:
    """ASGI middleware; `hosts` are names without a port, `origins` are like https://app.example.org."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str], origins: Sequence[str]) -> None:
        self.app = app
        self.hosts = frozenset(hosts)
        self.origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            refusal = self._refusal(Headers(scope=scope))
            if refusal is not None:
                await _refuse(refusal, scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _refusal(self, headers: Headers) -> str | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not is_welcome(host, self.hosts):
            return "This server is not addressed by that name; see REGATTA_ALLOWED_HOSTS."
        if origin is None or ANY in self.origins or origin in self.origins or _is_same(origin, host):
            return None
        return "Pages of that origin may not call this server; see REGATTA_ALLOWED_ORIGINS."


def is_welcome(host: str, hosts: Collection[str]) -> bool:
    """Whether a request with this Host header is addressed to one of these names."""
    return ANY in hosts or _name_of(host) in hosts


def _name_of(host: str) -> str:
    """The host without its port; empty for one that cannot be read."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_same(origin: str, host: str) -> bool:
    return urlsplit(origin).netloc.lower() == host.lower()


async def _refuse(message: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": message})
        return
    body = {"errors": [{"message": message, "extensions": {"code": "FORBIDDEN"}}]}
    await JSONResponse(body, status_code=403)(scope, receive, send)
