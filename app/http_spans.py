"""A span for each HTTP request, part of the trace that the client names in `traceparent`, if any.

Websockets have none: they last as long as somebody watches, and their operations have spans of their own.
"""

from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.tracing import open_span
from domain.model.acting import origin
from domain.ports.tracing import Attributes, Span, SpanKind, Tracing

TRACEPARENT: Final = "traceparent"
_UNTRACED: Final = ("/health/", "/metrics")
"""What machines ask every few seconds, and nobody looks for in a trace."""

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_OTHER: Final = "_OTHER"
_PORTS: Final = {"http": 80, "https": 443}
_SERVER_ERROR: Final = 500


class HttpSpans:
    """ASGI middleware; the tracing is asked for at each request, once the process has begun it."""

    def __init__(self, app: ASGIApp, tracing: Callable[[], Tracing]) -> None:
        self.app = app
        self.tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        # A server may begin a request within another one of its connection, whose span is none of its business.
        token = open_span.set(None)
        try:
            await self._answered(scope, receive, send)
        finally:
            open_span.reset(token)

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_UNTRACED):
            await self.app(scope, receive, send)
            return
        with self.tracing().span(_name(scope), _asked(scope), kind=SpanKind.SERVER, parent=parent_of(scope)) as span:
            try:
                await self.app(scope, receive, _noting(span, send))
            finally:
                _note_route(span, scope)


def parent_of(scope: Scope) -> str:
    """The traceparent that the client sent; empty without one, and then it begins a trace of its own."""
    return Headers(scope=scope).get(TRACEPARENT, "")


def _method(scope: Scope) -> str:
    """The method, if it is one: a stranger's own word would be a name of its own."""
    method: str = scope["method"]
    return method if method in _METHODS else _OTHER


def _name(scope: Scope) -> str:
    """As the conventions have it: `HTTP` for what is no method."""
    method = _method(scope)
    return "HTTP" if method == _OTHER else method


def _asked(scope: Scope) -> Attributes:
    """What is known of a request before it is answered. Never its query: that may hold a secret."""
    (address, port), came, method = _addressed(scope), origin.get(), _method(scope)
    return {
        "http.request.method": method,
        "http.request.method_original": scope["method"] if method == _OTHER else None,
        "url.scheme": scope["scheme"],
        "url.path": scope["path"],
        "network.protocol.version": scope.get("http_version"),
        "server.address": address,
        "server.port": port,
        "user_agent.original": came.user_agent if came else None,
        "regatta.request.id": came.request_id if came else None,
    }


def _addressed(scope: Scope) -> tuple[str | None, int | None]:
    """The name and the port by which the client knows this server; where it listens if that cannot be read."""
    try:
        parts = urlsplit(f"//{Headers(scope=scope).get('host', '')}")
        if parts.hostname:
            return parts.hostname, parts.port or _PORTS.get(scope["scheme"])
    except ValueError:
        pass
    return scope.get("server") or (None, None)


def _note_route(span: Span, scope: Scope) -> None:
    """The route that the request was taken to; none when nothing stands at its path."""
    route = getattr(scope.get("route"), "path", None)
    if route is not None:
        span.set({"http.route": route})
        span.rename(f"{_name(scope)} {route}")


def _noting(span: Span, send: Send) -> Send:
    async def noted(message: Message) -> None:
        if message["type"] == "http.response.start":
            status = message["status"]
            span.set({"http.response.status_code": status})
            if status >= _SERVER_ERROR:
                span.fail(str(status))
        await send(message)

    return noted
