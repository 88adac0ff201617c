"""Spans by OpenTelemetry's SDK, sent in batches to a collector; whatever becomes of that, the work goes on.

The provider is an object of ours, never the global one: CrewAI, LiteLLM and DBOS know OpenTelemetry, and would send
spans of their own, with prompts in them, to wherever the global one leads.
"""

import asyncio
import logging
import os
import threading
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from contextvars import Token
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from types import TracebackType
from typing import Final, Self

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_BSP_MAX_QUEUE_SIZE
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.settings import Settings
from app.tracing import Named, open_span
from domain.errors import AnswerAwaited, NotRecorded, OwnershipLost, Paused, RegattaError, RunFailed, Unavailable
from domain.ports.tracing import Attributes, AttributeValue, Span, SpanKind, Tracing

SCOPE: Final = "regatta"
LONGEST_ATTRIBUTE: Final = 500
MOST_WAITING: Final = 2_048
"""So many spans wait to be sent; OpenTelemetry's default."""

CLOSING_SECONDS: Final = 1.0
"""How long the end of a process waits for its last spans to be sent: a collector that is away must not hold it up."""

_STOPPED: Final = (Paused, AnswerAwaited, OwnershipLost)
"""What ends a piece of work without anything being wrong with it."""

_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_KINDS: Final = {kind: trace.SpanKind[kind.name] for kind in SpanKind}
_W3C: Final = TraceContextTextMapPropagator()
_ERROR: Final = trace.Status(trace.StatusCode.ERROR)

_log = structlog.get_logger(__name__)


class Otlp:
    """The tracing of a process; see `app.tracing.Tracer`."""

    def __init__(self, processor: SpanProcessor, *, ratio: float = 1.0, resource: Resource | None = None) -> None:
        self._provider = TracerProvider(
            sampler=ParentBasedTraceIdRatio(ratio),
            resource=resource or Resource({}),
            shutdown_on_exit=False,  # `close` has a deadline
            span_limits=SpanLimits(max_span_attribute_length=LONGEST_ATTRIBUTE),
        )
        self._provider.add_span_processor(processor)
        self.tracing: Tracing = OtlpTracing(self._provider.get_tracer(SCOPE))

    @classmethod
    def to_collector(cls, settings: Settings, process: str) -> Self:
        """Spans go to the collector of the settings, or of OpenTelemetry's own variables."""
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # `Told` says it, once
        base = settings.otlp_endpoint
        endpoint = f"{base.rstrip('/')}/v1/traces" if base else None
        batches = Batches.of(Told(OTLPSpanExporter(endpoint=endpoint)))
        return cls(batches, ratio=settings.trace_sample_ratio, resource=_resource(process))

    async def close(self) -> None:
        # A thread that nobody waits for at exit: the exporter may be in the middle of a request for ten seconds.
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, CLOSING_SECONDS)


def _resource(process: str) -> Resource:
    """Who sends; what the environment says of it counts for more."""
    ours: dict[str, str | int] = {
        "service.name": f"regatta-{process}",
        "service.version": version("regatta"),
        "service.instance.id": str(uuid.uuid4()),
        "process.pid": os.getpid(),
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.version": version("opentelemetry-sdk"),
    }
    return Resource(ours).merge(OTELResourceDetector().detect())


class Told(SpanExporter):
    """An exporter that says once that it does not get through, and once that it does again; it counts what is lost."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self._is_failing = False
        self._is_full = False
        self._lock = threading.Lock()
        self.waiting = 0
        """How many spans are on their way to it."""
        self.lost = 0

    def admits(self, most: int) -> bool:
        """Whether one more may wait for it; else that one is lost."""
        with self._lock:
            if self.waiting < most:
                self.waiting += 1
                return True
            self.lost += 1
            is_first, self._is_full = not self._is_full, True
        if is_first:
            _log.warning("spans_dropped", reason="more than can be sent", most=most)
        return False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with self._lock:
            self.waiting -= len(spans)
        try:
            result = self._inner.export(spans)
        except Exception as error:  # noqa: BLE001 - whatever it is, its text may hold an address or a header
            self._tell(len(spans), reason=type(error).__name__)
            return SpanExportResult.FAILURE
        if result is SpanExportResult.SUCCESS:
            self._recover()
        else:
            self._tell(len(spans), reason="refused or out of reach")
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()
        if count := self.lost + self.waiting:
            _log.warning("spans_lost", count=count)

    def _tell(self, lost: int, reason: str) -> None:
        with self._lock:
            self.lost += lost
        if not self._is_failing:
            self._is_failing = True
            _log.warning("traces_not_sent", reason=reason, action="dropping them until it works again")

    def _recover(self) -> None:
        if self._is_failing:
            self._is_failing = False
            _log.info("traces_sent_again", lost=self.lost)


class Batches(BatchSpanProcessor):
    """The SDK's processor, whose queue drops without a count: what it has no room for does not get there."""

    def __init__(
        self, exporter: Told, most: int, delay_millis: int | None = None, most_at_once: int | None = None
    ) -> None:
        super().__init__(exporter, most, delay_millis, most_at_once)
        self._exporter = exporter
        self._most = most

    @classmethod
    def of(cls, exporter: Told) -> Self:
        """As OpenTelemetry's variables have it; by the defaults where they make no sense."""
        try:
            return cls(exporter, int(os.environ.get(OTEL_BSP_MAX_QUEUE_SIZE) or MOST_WAITING))
        except ValueError:
            _log.warning("traces_settings_ignored", variables="OTEL_BSP_*", action="going by the defaults")
            return cls(exporter, MOST_WAITING, delay_millis=5_000, most_at_once=512)

    def on_end(self, span: ReadableSpan) -> None:
        if span.context and span.context.trace_flags.sampled and self._exporter.admits(self._most):
            super().on_end(span)


class OtlpTracing:
    """The Tracing port on one of the SDK's tracers."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def span(
        self,
        name: str,
        attributes: Attributes | None = None,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        parent: str | None = None,
    ) -> AbstractContextManager[Span]:
        return OpenSpan(
            self._tracer.start_span(
                name, _context(parent), _KINDS[kind], _said(attributes or {}), record_exception=False
            )
        )

    def past(
        self, name: str, began: datetime, ended: datetime, attributes: Attributes, *, parent: str | None = None
    ) -> None:
        span = self._tracer.start_span(
            name, _context(parent), attributes=_said(attributes), start_time=_nanoseconds(began)
        )
        span.end(_nanoseconds(max(began, ended)))

    def current(self) -> str | None:
        span = open_span.get()
        return span.traceparent if isinstance(span, OpenSpan) else None


class OpenSpan(Named):
    """One span while it lasts; of an error only the type is kept, for its text may hold anything."""

    def __init__(self, span: trace.Span) -> None:
        self.span = span
        self._token: Token[Named | None] | None = None

    def __enter__(self) -> Self:
        self._token = open_span.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_back: TracebackType | None
    ) -> None:
        if self._token is not None:
            with suppress(ValueError):  # closed in another task than it was opened in, whose span is another one
                open_span.reset(self._token)
        if error is not None:
            self._note(error)
        self.span.end()

    def _note(self, error: BaseException) -> None:
        if isinstance(error, _STOPPED) or not isinstance(error, Exception):
            self.set({"regatta.stopped_by": type(error).__name__})
        elif isinstance(error, RegattaError) and not isinstance(error, (RunFailed, Unavailable, NotRecorded)):
            self.set({"regatta.refused_by": type(error).__name__})  # what somebody asked for cannot be had: no fault
        else:
            self.fail(error.code.value if isinstance(error, RunFailed) else type(error).__qualname__)

    @property
    def trace_id(self) -> str:
        return trace.format_trace_id(self.span.get_span_context().trace_id)

    @property
    def span_id(self) -> str:
        return trace.format_span_id(self.span.get_span_context().span_id)

    @property
    def traceparent(self) -> str:
        flags = self.span.get_span_context().trace_flags & trace.TraceFlags.SAMPLED
        return f"00-{self.trace_id}-{self.span_id}-{flags:02x}"

    def rename(self, name: str) -> None:
        self.span.update_name(name)

    def set(self, attributes: Attributes) -> None:
        self.span.set_attributes(_said(attributes))

    def fail(self, error_type: str) -> None:
        self.span.set_attribute("error.type", error_type)
        self.span.set_status(_ERROR)


def _context(parent: str | None) -> Context:
    """What a new span is part of. Never the library's own context: other libraries have spans there."""
    if parent is not None:
        return _W3C.extract({"traceparent": parent}, Context())
    span = open_span.get()
    return trace.set_span_in_context(span.span, Context()) if isinstance(span, OpenSpan) else Context()


def _said(attributes: Attributes) -> dict[str, AttributeValue]:
    return {name: value for name, value in attributes.items() if value is not None}


def _nanoseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1_000  # exactly: a float has not so many digits
