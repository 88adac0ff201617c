"""Faults of ours that nobody caught: logged with the ids of their request, and answered without a detail."""

from typing import Final

import structlog
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.model.acting import new_fault_id

_STATUS: Final = 500

_log = structlog.get_logger(__name__)


class Faults:
    """ASGI middleware, the innermost: its answer passes the others, which give it the request's id and note its status.

    An answer that has begun cannot be taken back, and a websocket has none: then the server cuts the connection.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_begun = scope["type"] != "http"

        async def noting(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            await send(message)

        try:
            await self.app(scope, receive, noting)
        except Exception as error:
            fault_id = new_fault_id()
            _log.error("unexpected error", correlation_id=fault_id, path=scope.get("path"), exc_info=error)
            if is_begun:
                raise
            await _answer(fault_id)(scope, receive, send)


def _answer(fault_id: str) -> JSONResponse:
    told = {"message": "Unexpected error", "extensions": {"code": "INTERNAL", "correlationId": fault_id}}
    return JSONResponse({"errors": [told]}, status_code=_STATUS)
