"""Spans: what they are part of, what they say of an error, and what becomes of them without a collector."""

import asyncio
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest
import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from app import otlp
from app.container import Container
from app.otlp import LONGEST_ATTRIBUTE, Otlp
from app.settings import Settings
from app.tracing import is_traced, open_span, start_tracing
from domain.errors import FailureCode, Paused, RunFailed
from domain.ports.tracing import NO_TRACING, SpanKind, Tracing
from tests.support.collector import Collector

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
SOON = 30.0
"""Seconds after which something did not happen."""

SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"


@pytest.fixture
def sent() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(sent: InMemorySpanExporter) -> Tracing:
    return Otlp(SimpleSpanProcessor(sent)).tracing


def _ids(span: ReadableSpan) -> tuple[str, str, str | None]:
    """Of its trace, of itself, and of what it is part of."""
    assert span.context
    parent = trace.format_span_id(span.parent.span_id) if span.parent else None
    return trace.format_trace_id(span.context.trace_id), trace.format_span_id(span.context.span_id), parent


# ---------------------------------------------------------------- what they are part of


async def test_a_span_is_part_of_the_one_that_is_open_where_it_begins(
    tracing: Tracing, sent: InMemorySpanExporter
) -> None:
    async def work() -> None:
        with tracing.span("inner"):
            await asyncio.sleep(0)

    with tracing.span("outer", kind=SpanKind.SERVER, parent=SAMPLED) as outer:
        assert tracing.current() == outer.traceparent
        await asyncio.gather(work(), work())

    one, other, above = sent.get_finished_spans()
    assert [span.name for span in (one, other, above)] == ["inner", "inner", "outer"]
    assert _ids(above)[0::2] == (TRACE, PARENT)
    assert _ids(one)[0::2] == _ids(other)[0::2] == _ids(above)[:2]
    assert above.kind is trace.SpanKind.SERVER
    assert outer.traceparent == f"00-{TRACE}-{_ids(above)[1]}-01"
    assert (tracing.current(), open_span.get()) == (None, None)


def test_what_is_handed_over_goes_on_in_the_same_trace(tracing: Tracing, sent: InMemorySpanExporter) -> None:
    with tracing.span("kickoff") as kickoff:
        kept = kickoff.traceparent
    with tracing.span("elsewhere"), tracing.span("execution", parent=kept):
        pass

    made, carried_out, elsewhere = sent.get_finished_spans()
    assert _ids(carried_out)[0::2] == _ids(made)[:2]
    assert _ids(elsewhere)[0] != _ids(made)[0]


@pytest.mark.parametrize("parent", ["", "x", "00-0-0-01", SAMPLED.replace("00-", "ff-", 1), SAMPLED.upper(), "é" * 999])
def test_a_parent_that_cannot_be_read_begins_a_new_trace(
    tracing: Tracing, sent: InMemorySpanExporter, parent: str
) -> None:
    with tracing.span("root", parent=parent):
        pass

    (span,) = sent.get_finished_spans()
    assert _ids(span)[2] is None


def test_the_spans_of_other_libraries_are_nobody_s_parents(tracing: Tracing, sent: InMemorySpanExporter) -> None:
    theirs = trace.NonRecordingSpan(trace.SpanContext(1, 2, is_remote=True))

    with trace.use_span(theirs), tracing.span("ours"):
        assert trace.get_current_span() is theirs  # nor do they see ours

    (span,) = sent.get_finished_spans()
    assert _ids(span)[2] is None
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)  # and nobody set the global one


def test_what_is_over_becomes_a_span_of_that_time(tracing: Tracing, sent: InMemorySpanExporter) -> None:
    began = datetime(2026, 1, 1, 12, tzinfo=UTC)
    tracing.past("wait", began, began + timedelta(seconds=1.5), {"a": 1}, parent=SAMPLED)
    tracing.past("clocks differ", began, began - timedelta(seconds=1), {}, parent=SAMPLED)

    lengths = [(span.end_time or 0) - (span.start_time or 0) for span in sent.get_finished_spans()]
    assert lengths == [1_500_000_000, 0]
    assert sent.get_finished_spans()[0].start_time == int(began.timestamp()) * 10**9


@pytest.mark.parametrize(("ratio", "parent", "count"), [(0.0, None, 0), (0.0, SAMPLED, 1), (1.0, UNSAMPLED, 0)])
def test_who_is_asked_decides_unless_the_parent_has_decided(
    sent: InMemorySpanExporter, ratio: float, parent: str | None, count: int
) -> None:
    tracing = Otlp(SimpleSpanProcessor(sent), ratio=ratio).tracing

    with tracing.span("root", parent=parent) as root:
        assert (root.traceparent or "")[-2:] == f"0{count}"  # the next process does the same

    assert len(sent.get_finished_spans()) == count


# ---------------------------------------------------------------- what they say


@pytest.mark.parametrize(
    ("error", "error_type", "stopped_by"),
    [
        (RunFailed(FailureCode.TASK_TIMEOUT, "The prompt was: secret"), "TASK_TIMEOUT", None),
        (ValueError("secret"), "ValueError", None),
        (Paused(), None, "Paused"),
        (asyncio.CancelledError("secret"), None, "CancelledError"),
    ],
)
def test_of_an_error_the_type_is_told_and_nothing_else(
    tracing: Tracing,
    sent: InMemorySpanExporter,
    error: BaseException,
    error_type: str | None,
    stopped_by: str | None,
) -> None:
    with pytest.raises(type(error)), tracing.span("work"):
        raise error

    (span,) = sent.get_finished_spans()
    assert dict(span.attributes or {}) == {
        name: value
        for name, value in (("error.type", error_type), ("regatta.stopped_by", stopped_by))
        if value is not None
    }
    assert (span.status.status_code is StatusCode.ERROR) == (error_type is not None)
    assert not span.events
    assert "secret" not in span.to_json()


def test_attributes_without_a_value_are_left_out_and_long_ones_are_cut(
    tracing: Tracing, sent: InMemorySpanExporter
) -> None:
    with tracing.span("work", {"a": None, "b": "x" * 9999}) as span:
        span.set({"c": None, "d": 1.5})

    (done,) = sent.get_finished_spans()
    assert dict(done.attributes or {}) == {"b": "x" * LONGEST_ATTRIBUTE, "d": 1.5}


# ---------------------------------------------------------------- who gets them


@pytest.mark.parametrize(
    ("settings", "environment", "expected"),
    [
        ({}, {}, False),
        ({"otlp_endpoint": "http://c:4318"}, {}, True),
        ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({}, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({}, {"OTEL_EXPORTER_OTLP_HEADERS": "a=b"}, False),
        ({"otlp_endpoint": "http://c:4318"}, {"OTEL_SDK_DISABLED": "true"}, False),
        ({"otlp_endpoint": "http://c:4318"}, {"OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_nothing_is_traced_unless_somebody_said_where_it_goes(
    settings: dict[str, Any], environment: dict[str, str], expected: bool
) -> None:
    assert is_traced(Settings(**settings), environment) is expected


async def test_without_a_collector_there_is_no_span() -> None:
    tracer = start_tracing(Settings(), "api")

    with tracer.tracing.span("work") as span:
        span.set({"a": 1})
        span.fail("x")
        span.rename("y")
    await tracer.close()

    assert tracer.tracing is NO_TRACING
    assert (span.traceparent, tracer.tracing.current(), open_span.get()) == (None, None, None)


class _Wavering(SpanExporter):
    """Fails as it is told, then succeeds."""

    def __init__(self, *outcomes: Exception | SpanExportResult) -> None:
        self.outcomes = list(outcomes)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        del spans
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def test_a_collector_that_is_away_is_told_of_once_and_so_is_its_return() -> None:
    failed, done = SpanExportResult.FAILURE, SpanExportResult.SUCCESS
    exporter = otlp.Told(_Wavering(done, failed, OSError("http://me:secret@c"), done, done))

    with structlog.testing.capture_logs() as lines:
        results = [exporter.export([]) for _ in range(5)]

    assert results == [done, failed, failed, done, done]
    assert [line["event"] for line in lines] == ["traces_not_sent", "traces_sent_again"]
    assert "secret" not in str(lines)


class _Gone(SpanExporter):
    """Takes everything, once it is let."""

    def __init__(self) -> None:
        self.taken = 0
        self.gate = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.gate.wait()
        self.taken += len(spans)
        return SpanExportResult.SUCCESS


async def test_spans_that_nobody_has_room_for_are_counted_and_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "CLOSING_SECONDS", SOON)
    slow = _Gone()
    told = otlp.Told(slow)
    tracer = Otlp(otlp.Batches(told, most=10, delay_millis=1, most_at_once=5))

    with structlog.testing.capture_logs() as lines:
        for _ in range(100):
            with tracer.tracing.span("work"):
                pass
        slow.gate.set()
        await tracer.close()

    assert told.lost > 0
    assert slow.taken + told.lost == 100
    assert [(line["event"], line.get("count")) for line in lines] == [
        ("spans_dropped", None),
        ("spans_lost", told.lost),
    ]


@pytest.mark.parametrize(
    ("variable", "value", "event"),
    [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "1", "traces_settings_ignored"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many", "traces_settings_ignored"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-1", "traces_settings_ignored"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "secret", "traces_not_begun"),
    ],
)
async def test_variables_that_make_no_sense_keep_nothing_from_starting(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, event: str
) -> None:
    monkeypatch.setenv(variable, value)

    with structlog.testing.capture_logs() as lines:
        tracer = start_tracing(Settings(otlp_endpoint="http://127.0.0.1:9"), "api")
    await tracer.close()

    assert [line["event"] for line in lines] == [event]
    assert "secret" not in str(lines)


async def test_the_endpoint_of_the_settings_is_a_base_and_spans_say_who_sends_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(otlp, "CLOSING_SECONDS", SOON)
    with Collector.in_thread() as collector:
        tracer = start_tracing(Settings(otlp_endpoint=f"{collector.url}/"), "api")
        with tracer.tracing.span("work"):
            pass
        await tracer.close()

    assert [span.name for span in collector.spans] == ["work"]
    ours = otlp._resource("api").attributes  # noqa: SLF001 - what the collector was sent
    assert ours["service.version"] == version("regatta")
    assert {"service.instance.id", "telemetry.sdk.name", "telemetry.sdk.language", "telemetry.sdk.version"} <= set(ours)


async def test_the_last_spans_are_sent_even_where_connections_do_not_close() -> None:
    broken, fine = AsyncMock(side_effect=ConnectionError), AsyncMock()
    opened = SimpleNamespace(
        hints=SimpleNamespace(stop=broken),
        database=SimpleNamespace(close=broken),
        tracer=SimpleNamespace(close=fine),
        deployment=SimpleNamespace(close=broken),
    )

    with pytest.raises(ConnectionError):
        await Container.close(opened)  # type: ignore[arg-type]  # what it closes

    fine.assert_awaited_once()
