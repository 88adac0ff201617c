"""Downloads over HTTP: long lists as files, streamed from the database to the client, never whole in memory.

Who asks, and for whose things, is settled as for the graph: by the Doorkeeper and by the context. A client sees that a
file is not whole by the connection, which is cut: without its last chunk no HTTP client takes the body for complete.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from app.audit_rows import COLUMNS as AUDIT_COLUMNS
from app.audit_rows import audit_rows
from app.execution_rows import COLUMNS, execution_rows
from app.export_formats import Row, encoder, heading
from domain.errors import Invalid, NotFound, RegattaError, Unavailable
from domain.model.exports import ExportFormat, file_name
from domain.model.identity import utc_now
from resolvers.audit_exports import AUDIT_PATH, asked_audit
from resolvers.exports import EXECUTIONS_PATH, asked_executions
from schema.errors import code_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.settings import Settings
    from resolvers.context import Context

Batches = AsyncGenerator[Sequence[Row], None]

MOST_AT_ONCE: Final = 4
"""Downloads under way in one process: each holds a connection of the pool as long as it lasts."""

PIECE: Final = 65_536
"""After so many bytes, what is encoded is sent and everybody else gets a turn."""

RETRY_SECONDS: Final = 10
"""What a client that finds no place is told to wait."""


class ExportTooSlow(Unavailable):
    """It took longer than an export may."""


@dataclass(slots=True)
class Gate:
    """The places of one process, and how many seconds each may be held."""

    places: int
    seconds: float
    _taken: int = field(default=0)

    @classmethod
    def of(cls, settings: "Settings") -> "Gate":
        """Half of the pool at most: the other half answers the graph."""
        return cls(max(1, min(MOST_AT_ONCE, settings.pool_size // 2)), settings.export_seconds)

    @contextmanager
    def place(self) -> "Iterator[None]":
        """One place; raises Unavailable when all are taken."""
        if self._taken >= self.places:
            raise Unavailable("So many exports are under way that no more can be begun now.")
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


class Download(StreamingResponse):
    """A file that is written while it is sent: the next batch is read when the client has taken the last one."""

    def __init__(self, name: str, form: ExportFormat, columns: Sequence[str], rows: Batches, gate: Gate) -> None:
        self.chunks = _encoded(form, columns, rows)
        self.gate = gate
        self.is_begun = False
        headers = {**_HEADERS, "Content-Disposition": f'attachment; filename="{file_name(name, form, utc_now())}"'}
        super().__init__(self.chunks, headers=headers, media_type=form.media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self.gate.place():
                await self._within_time(receive, send)
        except Unavailable as error:
            if self.is_begun:
                raise  # the server cuts the connection
            await _busy(error)(scope, receive, send)

    async def _within_time(self, receive: Receive, send: Send) -> None:
        """Whatever ends it, what it held of the database is given back before its place is."""
        async with aclosing(self.chunks):
            try:
                async with asyncio.timeout(self.gate.seconds):
                    await self._until_gone(receive, send)
            except TimeoutError as error:
                raise ExportTooSlow(f"It took more than {self.gate.seconds:g} s.") from error

    async def _until_gone(self, receive: Receive, send: Send) -> None:
        """Send all of it, or what the client stays for.

        Starlette's own would cancel whatever is awaited from then on, the end of the transaction included.
        """
        sending = asyncio.create_task(self.stream_response(send))
        gone = asyncio.create_task(self.listen_for_disconnect(receive))
        try:
            await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, gone):
                task.cancel()
            await asyncio.wait((sending, gone))
        if not sending.cancelled():
            sending.result()

    async def stream_response(self, send: Send) -> None:
        """The first batch is read before the status is told: what fails by then is answered like any request."""
        first = await anext(self.chunks, b"")
        self.is_begun = True
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": first, "more_body": True})
        async for chunk in self.chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",  # a foreign page could embed it: such requests name no origin
}


def download(name: str, form: ExportFormat, columns: Sequence[str], rows: Batches, gate: Gate) -> Download:
    """The rows as a file `name`-date: of CSV the columns, of JSON Lines all that the rows have.

    A column is a name, or a path into a nested mapping, like `usage.cost`. `rows` is closed at the end, however it
    comes; what it raises after the first batch cuts the connection. Without a free place at the gate: 503.
    """
    return Download(name, form, columns, rows, gate)


async def _encoded(form: ExportFormat, columns: Sequence[str], rows: Batches) -> AsyncGenerator[bytes, None]:
    """Piece by piece. The heading comes with the first one, so that nothing is sent before something is read.

    No piece waits for the next batch, which may be long in coming.
    """
    piece, encode = bytearray(heading(form, columns)), encoder(form, columns)
    async with aclosing(rows):
        async for batch in rows:
            for row in batch:
                piece += encode(row)
                if len(piece) >= PIECE:
                    yield _taken(piece)
                    await asyncio.sleep(0)  # a server that has room in its buffers takes a piece without waiting
            if piece:
                yield _taken(piece)
    if piece:
        yield _taken(piece)


def _taken(piece: bytearray) -> bytes:
    """What is in it, which is empty then."""
    taken = bytes(piece)
    piece.clear()
    return taken


def export_routes(make_context: "Callable[..., Context]", settings: "Settings") -> list[BaseRoute]:
    """`/exports/…`, which all share one gate."""
    gate = Gate.of(settings)

    async def executions(request: Request) -> Response:
        asked = asked_executions(request.query_params.multi_items())
        context = make_context(remembers=False)
        found = context.services.exports.executions(context.tenant_id, asked.conditions)
        return download("executions", asked.form, COLUMNS, execution_rows(found), gate)

    async def audit(request: Request) -> Response:
        asked = asked_audit(request.query_params.multi_items())
        context = make_context(remembers=False)
        found = context.services.audit_trail.entries(context.tenant_id, asked.conditions)
        return download("audit", asked.form, AUDIT_COLUMNS, audit_rows(found), gate)

    return [
        Route(EXECUTIONS_PATH, answered(executions), methods=["GET"]),
        Route(AUDIT_PATH, answered(audit), methods=["GET"]),
    ]


def answered(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint, with what it finds wrong in the parameters told as 400, in the form of a GraphQL answer."""

    async def answer(request: Request) -> Response:
        if request.method == "HEAD":  # Starlette takes it along with GET; it would cost as much as the file
            return Response(status_code=405, headers={"Allow": "GET"})
        if _is_foreign(request.headers):
            return _told(HTTPStatus.FORBIDDEN, "FORBIDDEN", "A page of another origin cannot have this in it.")
        try:
            return await endpoint(request)
        except (Invalid, NotFound) as error:
            return _refusal(error, HTTPStatus.BAD_REQUEST)

    return answer


def _is_foreign(headers: Headers) -> bool:
    """Whether a page of somebody else asks, as for an image of its own, and nobody clicked on a link.

    Such a request names no origin, which the Doorkeeper would look at; but browsers say whose page it is.
    """
    if "origin" in headers or headers.get("sec-fetch-site") not in ("cross-site", "same-site"):
        return False
    return [headers.get(f"sec-fetch-{name}") for name in ("mode", "dest", "user")] != ["navigate", "document", "?1"]


def _busy(error: Unavailable) -> Response:
    return _refusal(error, HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": str(RETRY_SECONDS)})


def _refusal(error: RegattaError, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """As the graph tells an error; `code` says to programs whether to ask otherwise or to ask again."""
    code = "BAD_REQUEST" if status == HTTPStatus.BAD_REQUEST else str(code_of(error).value)
    return _told(status, code, str(error), headers)


def _told(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    body = {"errors": [{"message": message, "extensions": {"code": code}}]}
    return JSONResponse(body, status, headers={"Cache-Control": "no-store", **(headers or {})})
