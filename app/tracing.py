"""Whether this process traces, and which span is open: without a collector nothing of OpenTelemetry is imported.

What makes the spans and sends them is `app.otlp`.
"""

import os
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any, Final, Protocol

import structlog

from app.settings import Settings
from domain.ports.tracing import NO_TRACING, Tracing

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class Named(Protocol):
    """A span as log lines name it, in hexadecimal digits."""

    @property
    def trace_id(self) -> str: ...
    @property
    def span_id(self) -> str: ...


_log = structlog.get_logger(__name__)


open_span: Final[ContextVar[Named | None]] = ContextVar("regatta_open_span", default=None)
"""Ours and not OpenTelemetry's, which every library in the process would take for its own parent."""


class Tracer(Protocol):
    """The tracing of a process."""

    @property
    def tracing(self) -> Tracing: ...

    async def close(self) -> None:
        """Send what is left, for a moment at most; after that, spans are dropped."""
        ...


def is_traced(settings: Settings, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether anybody said where traces go, and nobody that they are not wanted."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none":
        return False
    return bool(settings.otlp_endpoint or any(map(environment.get, _ENDPOINTS)))


def start_tracing(settings: Settings, process: str) -> Tracer:
    """The tracing of this process, which is an "api" or a "worker"; begin it where it is to run: it has a thread.

    Never raises: what OpenTelemetry makes nothing of in its variables leaves the process without traces.
    """
    if not is_traced(settings):
        return _Untraced()
    try:
        from app.otlp import Otlp  # noqa: PLC0415 - whoever does not trace loads nothing of it

        return Otlp.to_collector(settings, process)
    except Exception as error:  # noqa: BLE001 - its text may hold an address or a header
        _log.error("traces_not_begun", reason=type(error).__name__, action="going on without; see the OTEL_ variables")
        return _Untraced()


class _Untraced:
    tracing = NO_TRACING

    async def close(self) -> None: ...


def add_span_ids(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor of log lines: which span they were written in."""
    span = open_span.get()
    if span is not None:
        line["trace_id"], line["span_id"] = span.trace_id, span.span_id
    return line
