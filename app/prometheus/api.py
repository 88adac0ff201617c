"""What an API process tells of its requests: by route, and by type of operation, never by a name that a client gave."""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from strawberry.types.execution import ExecutionResult, PreExecutionError

from app.container import Container
from app.prometheus.deployment import DeploymentGauges
from app.prometheus.process import LoopLag, ProcessGauges, new_registry
from domain.model.resources import ProcessState
from schema.engine import Engine

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"})
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class ApiMetrics:
    """All that one API process counts."""

    def __init__(self, container: Callable[[], Container | None]) -> None:
        self.registry = new_registry()
        self.deployment = DeploymentGauges()
        self.loop_lag = LoopLag(self.registry)
        self.operations = Operations(self.registry)
        self.requests = Requests(self.registry)
        self._container = container
        self.registry.register(ProcessGauges(self._state))
        self.registry.register(self.deployment)

    def _state(self) -> ProcessState | None:
        opened = self._container()
        return opened.services.process.now() if opened else None

    def route(self) -> Route:
        """`/metrics`, in the form that the scraper asks for."""

        async def metrics(request: Request) -> Response:
            if opened := self._container():
                await self.deployment.refresh(opened.deployment)
            encode, media_type = choose_encoder(request.headers.get("accept", ""))
            return Response(encode(self.registry), headers={"Content-Type": media_type, "Cache-Control": "no-store"})

        return Route("/metrics", metrics, methods=["GET"])


class Operations:
    """GraphQL operations by their type and by what became of them.

    Outcomes: `ok`; `errors`, with or without data; `refused`, when nothing was carried out, and then the type is
    `unknown`. Errors in the payload of a mutation are data. A subscription counts at its end, and has no duration.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ended = Counter(
            "regatta_graphql_operations", "GraphQL operations.", ("type", "outcome"), registry=registry
        )
        self._durations = Histogram(
            "regatta_graphql_operation_duration_seconds",
            "How long queries and mutations took.",
            ("type",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._open = Gauge("regatta_subscriptions_open", "Subscriptions that are open.", registry=registry)

    def answered(self, kind: str | None, result: Any, seconds: float) -> None:
        self._ended.labels(kind or "unknown", _outcome(result)).inc()
        if kind is not None:
            self._durations.labels(kind).observe(seconds)

    @contextmanager
    def subscription(self) -> Iterator[set[str]]:
        """One that is open inside the block, which adds the outcomes of its messages to the set."""
        outcomes: set[str] = set()
        self._open.inc()
        try:
            yield outcomes
        finally:
            self._open.dec()
            worst = next((each for each in ("refused", "errors") if each in outcomes), "ok")
            self._ended.labels("subscription", worst).inc()


def _outcome(result: Any) -> str:
    if isinstance(result, PreExecutionError):
        return "refused"
    return "errors" if result.errors else "ok"


def measured(engine: Engine, operations: Operations) -> Engine:
    """The engine, with each operation counted. It is shared by all applications of the process: hence no subclass."""
    return cast("Engine", _MeasuredEngine(engine, operations))


class _MeasuredEngine:
    """Whatever else is asked of it, the engine answers."""

    def __init__(self, engine: Engine, operations: Operations) -> None:
        self._engine = engine
        self._operations = operations

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def execute(self, query: str | None, *arguments: Any, **options: Any) -> ExecutionResult | PreExecutionError:
        """See `Engine.execute`."""
        began = time.perf_counter()
        result = await self._engine.execute(query, *arguments, **options)
        # Asked afterwards: what was carried out is remembered, so this costs nothing, and what was not is no type.
        is_run = not isinstance(result, PreExecutionError)
        kind = self._engine.type_of(query, options.get("operation_name")) if is_run else None
        self._operations.answered(kind, result, time.perf_counter() - began)
        return result

    async def stream(self, query: str | None, *arguments: Any, **options: Any) -> Any:
        """See `Engine.stream`."""
        results = await self._engine.stream(query, *arguments, **options)
        kind = self._engine.type_of(query, options.get("operation_name"))
        return self._subscribed(results) if kind == "subscription" else self._single(results, kind)

    async def _subscribed(self, results: Any) -> AsyncIterator[Any]:
        with self._operations.subscription() as outcomes:
            try:
                async for result in results:
                    outcomes.add(_outcome(result))
                    yield result
            finally:
                await results.aclose()

    async def _single(self, results: Any, kind: str | None) -> AsyncIterator[Any]:
        began = time.perf_counter()
        async for result in results:
            is_run = not isinstance(result, PreExecutionError)
            self._operations.answered(kind if is_run else None, result, time.perf_counter() - began)
            yield result


class Requests:
    """HTTP requests by the route's template, and open websockets."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ended = Counter(
            "regatta_http_requests", "HTTP requests.", ("route", "method", "status"), registry=registry
        )
        self._durations = Histogram(
            "regatta_http_request_duration_seconds",
            "How long they took, to the last byte.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._websockets = Gauge("regatta_websockets_open", "Websockets that are open.", registry=registry)

    async def websocket(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        with self._websockets.track_inprogress():
            await app(scope, receive, send)

    async def http(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        began, status = time.perf_counter(), 500  # of what raises before it answers

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(scope, receive, noting)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._ended.labels(route, method, f"{status // 100}xx").inc()
            self._durations.labels(route).observe(time.perf_counter() - began)


class Measured:
    """ASGI middleware: counts what passes."""

    def __init__(self, app: ASGIApp, requests: Requests) -> None:
        self.app = app
        self.requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self.requests.http(self.app, scope, receive, send)
        elif scope["type"] == "websocket":
            await self.requests.websocket(self.app, scope, receive, send)
        else:
            await self.app(scope, receive, send)
