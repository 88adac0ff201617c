"""`/metrics` of a worker, which has no other HTTP: served by a thread, so that it answers while the loop is held up."""

import asyncio
import math
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from app.doorkeeper import is_welcome
from app.process import OwnProcess
from app.prometheus.process import LoopLag, ProcessGauges
from app.prometheus.worker import WorkerMetrics
from app.settings import Settings

PATH: Final = "/metrics"
MOST_CONNECTIONS: Final = 8
"""Each has a thread. Who comes when so many are open is turned away."""
REQUEST_SECONDS: Final = 5.0
"""So long a client may take from its connection to the last byte of its answer, however diligent it looks."""

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def exposed(
    metrics: WorkerMetrics | None, settings: Settings, port: int | None, process: OwnProcess
) -> AsyncIterator[None]:
    """Inside the block a scraper finds the metrics at this port; nobody does where there are none."""
    if metrics is None or port is None:
        yield
        return
    metrics.registry.register(ProcessGauges(process.now))
    served = _served(metrics.registry, settings.host, port, settings.trusted_hosts)
    async with LoopLag(metrics.registry).watched(), served:
        yield


@asynccontextmanager
async def _served(registry: CollectorRegistry, host: str, port: int, hosts: Sequence[str]) -> AsyncIterator[None]:
    """A port that is taken is logged, and no reason not to work: whoever scrapes it sees that it is not ours."""
    try:
        server = _Server(host, port, registry, frozenset(hosts))
    except (OSError, OverflowError) as error:  # OverflowError: there is no such port
        _log.error("metrics_not_served", host=host, port=port, error=str(error))
        yield
        return
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        await asyncio.to_thread(server.shutdown)  # it looks twice a second
        server.server_close()


class _Server(ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, host: str, port: int, registry: CollectorRegistry, hosts: frozenset[str]) -> None:
        self.registry = registry
        self.hosts = hosts
        self._open: dict[Any, float] = {}
        self._lock = threading.Lock()
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        self.address_family = family
        super().__init__((str(address[0]), port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            is_full = len(self._open) >= MOST_CONNECTIONS
            if not is_full:
                self._open[request] = time.monotonic() + REQUEST_SECONDS
        if is_full:
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """About twice a second: cut off who takes too long."""
        self._cut(time.monotonic())

    def server_close(self) -> None:
        super().server_close()
        self._cut(math.inf)

    def _cut(self, now: float) -> None:
        """Whoever reads from or writes to these, in a thread of its own, is at the end of it, and closes them."""
        with self._lock:
            for request in [each for each, until in self._open.items() if until <= now]:
                with suppress(OSError):  # the client was faster
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base's signature
        """Say nothing of a client that leaves early: that is no event."""
        error = sys.exception()
        if not isinstance(error, OSError):
            _log.error("metrics_not_told", exc_info=error)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        if not is_welcome(self.headers.get("Host", ""), self.server.hosts):
            self._answer(403, "text/plain", b"This server is not addressed by that name; see REGATTA_ALLOWED_HOSTS.\n")
        elif self.path.partition("?")[0] != PATH:
            self._answer(404, "text/plain", b"There is nothing but /metrics.\n")
        else:
            encode, media_type = choose_encoder(self.headers.get("Accept", ""))
            self._answer(200, media_type, encode(self.server.registry))

    def _answer(self, status: int, media_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing: scrapes come every few seconds."""
