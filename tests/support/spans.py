"""Spans as a test reads them: kept in memory, by name, with what they are part of."""

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_span_id, format_trace_id

from app.otlp import Otlp
from domain.ports.tracing import Tracing


class KeptSpans:
    """A tracing whose spans stay here."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracing: Tracing = Otlp(SimpleSpanProcessor(self._exporter)).tracing

    async def close(self) -> None:
        """As `app.tracing.Tracer`."""

    def clear(self) -> None:
        self._exporter.clear()

    def named(self, name: str) -> Sequence[ReadableSpan]:
        """Those that are over, in the order of their ends."""
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    def text(self) -> str:
        """All that would be sent."""
        return "\n".join(span.to_json() for span in self._exporter.get_finished_spans())


def traceparent_of(span: ReadableSpan) -> str:
    assert span.context
    return f"00-{format_trace_id(span.context.trace_id)}-{format_span_id(span.context.span_id)}-01"


def is_part_of(span: ReadableSpan, other: ReadableSpan) -> bool:
    assert span.context
    assert other.context
    is_one_trace = span.context.trace_id == other.context.trace_id
    return is_one_trace and span.parent is not None and span.parent.span_id == other.context.span_id


def said(span: ReadableSpan, *names: str) -> Mapping[str, Any]:
    """These attributes, those that it has."""
    return {name: value for name, value in (span.attributes or {}).items() if name in names}
