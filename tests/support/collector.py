"""A collector of traces on loopback: takes what exporters send over OTLP/HTTP, and keeps the spans.

`python -m tests.support.collector` runs one that keeps nothing, for benchmarks.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status


@dataclass(frozen=True, slots=True)
class Received:
    """A span as it came; ids in hexadecimal digits, `parent_id` empty for the first of a trace."""

    service: str
    scope: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    is_error: bool
    attributes: dict[str, Any]


class Collector(ThreadingHTTPServer):
    """`spans` is what came so far, `headers` those of the last request."""

    daemon_threads = True

    def __init__(self, port: int = 0, *, is_keeping: bool = True) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.is_keeping = is_keeping
        self.spans: list[Received] = []
        self.headers: dict[str, str] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @classmethod
    @contextmanager
    def in_thread(cls, port: int = 0) -> "Iterator[Collector]":
        with cls(port) as collector:
            thread = threading.Thread(target=collector.serve_forever, daemon=True)
            thread.start()
            try:
                yield collector
            finally:
                collector.shutdown()
                thread.join()

    def of(self, trace_id: str) -> Sequence[Received]:
        """The spans of one trace, in the order in which they came."""
        return [span for span in list(self.spans) if span.trace_id == trace_id]


class _Handler(BaseHTTPRequestHandler):
    server: Collector
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.server.is_keeping and self.path == "/v1/traces":
            self.server.headers = {name.lower(): value for name, value in self.headers.items()}
            self.server.spans += _spans_in(ExportTraceServiceRequest.FromString(body))
        self.send_response(200 if self.path == "/v1/traces" else 404)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its signature
        """Nobody reads it."""


def _spans_in(request: ExportTraceServiceRequest) -> Iterator[Received]:
    for resource in request.resource_spans:
        service = _values(resource.resource.attributes)["service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Received(
                    service,
                    scope.scope.name,
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.status.code == Status.STATUS_CODE_ERROR,
                    _values(span.attributes),
                )


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


def main() -> None:
    """Serve until the end; the address is the first line."""
    with Collector(is_keeping=False) as collector:
        print(collector.url, flush=True)  # noqa: T201 - for whoever started it
        collector.serve_forever()


if __name__ == "__main__":
    main()
