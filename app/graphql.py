"""GraphQL over HTTP and websocket: limits, contexts, encoding. What an operation means is the schema's business."""

import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types.execution import PreExecutionError

from app.http_spans import parent_of
from resolvers.context import Context
from schema.engine import Engine

ContextMaker = Callable[..., Context]

RESPONSE_TYPE = "application/graphql-response+json"


class BadRequest(Exception):
    """The request is no GraphQL request; told with this HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class GraphQLEndpoint:
    """Answers POST requests. Only JSON bodies are taken, so that no foreign page can post a form to us."""

    def __init__(self, engine: Engine, make_context: ContextMaker, max_body_bytes: int) -> None:
        self.engine = engine
        self.make_context = make_context
        self.max_body_bytes = max_body_bytes

    async def __call__(self, request: Request) -> Response:
        try:
            body = await self._body(request)
        except BadRequest as error:
            return _response(request, {"errors": [_error(error.message)]}, error.status)
        except ClientDisconnect:
            return Response(status_code=400)
        result = await self.engine.execute(
            query=body["query"],
            variable_values=body.get("variables"),
            operation_name=body.get("operationName"),
            context_value=self.make_context(remembers=True),
        )
        answer: dict[str, Any] = {"errors": [error.formatted for error in result.errors]} if result.errors else {}
        if not isinstance(result, PreExecutionError):  # without data where nothing was carried out
            answer["data"] = result.data
        return _response(request, answer)

    async def _body(self, request: Request) -> dict[str, Any]:
        if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            raise BadRequest(415, "Send the request as application/json.")
        try:
            body = orjson.loads(await self._bytes(request))
        except orjson.JSONDecodeError as error:
            raise BadRequest(400, "The body is no JSON.") from error
        _check(body)
        return body  # type: ignore[no-any-return]

    async def _bytes(self, request: Request) -> bytes:
        """The body, as long as it is not too large; a length that is announced is not waited for."""
        if int(request.headers.get("content-length") or 0) > self.max_body_bytes:
            raise BadRequest(413, f"A request has at most {self.max_body_bytes} bytes.")
        received = bytearray()
        async for chunk in request.stream():
            received += chunk
            if len(received) > self.max_body_bytes:
                raise BadRequest(413, f"A request has at most {self.max_body_bytes} bytes.")
        return bytes(received)


def _check(body: Any) -> None:
    """Hold the form of a GraphQL request."""
    if not isinstance(body, dict):
        raise BadRequest(400, "The body must be a JSON object with a query.")
    problem = _problem(body)
    if problem:
        raise BadRequest(400, problem)


def _problem(request: dict[str, Any]) -> str | None:
    """What of a GraphQL request has not its form; None when all is well."""
    if not isinstance(request.get("query"), str) or not request["query"]:
        return "There is no query in the request."
    if not isinstance(request.get("variables"), dict | None):
        return "The variables are a JSON object."
    if not isinstance(request.get("operationName"), str | None):
        return "The operationName is a text."
    return None


def _error(message: str) -> dict[str, Any]:
    return {"message": message, "extensions": {"code": "BAD_REQUEST"}}


def _response(request: Request, answer: dict[str, Any], status: int = 200) -> Response:
    wants = RESPONSE_TYPE in request.headers.get("accept", "")
    return Response(encode(answer), status, media_type=RESPONSE_TYPE if wants else "application/json")


def encode(answer: dict[str, Any]) -> bytes:
    """The answer as JSON; leaves are encoded here and not field by field."""
    return orjson.dumps(answer, default=_leaf, option=orjson.OPT_PASSTHROUGH_SUBCLASS)


def _leaf(value: Any) -> Any:
    """What orjson does not know: exact decimals as texts, and the database driver's UUIDs."""
    if isinstance(value, Decimal):
        return format(value, "f")
    return str(value)


class LiveEndpoint(GraphQL[Context, None]):
    """Answers websockets with the graphql-transport-ws protocol."""

    make_context: ContextMaker

    def decode_json(self, data: str | bytes) -> object:
        """A message of the protocol; anything else closes the websocket, with the code 4400."""
        message = orjson.loads(data)
        if not _is_message(message):
            raise json.JSONDecodeError("no message of graphql-transport-ws", "", 0)
        return message

    def encode_json(self, data: Any) -> str:
        """A message of ours; leaves are encoded as over HTTP."""
        return encode(data).decode()

    async def get_context(self, request: Any, response: Any) -> Context:  # noqa: ARG002 - Strawberry's signature
        return self.make_context(remembers=False, trace_parent=parent_of(request.scope))

    async def get_root_value(self, request: HTTPConnection | WebSocket) -> None:  # noqa: ARG002 - the same
        return None


def _is_message(message: Any) -> bool:
    """Whether it has the form that Strawberry takes for granted."""
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        return False
    if not isinstance(message.get("id"), str | None):
        return False
    if message["type"] != "subscribe":
        return True
    payload = message.get("payload")
    return isinstance(message.get("id"), str) and isinstance(payload, dict) and _problem(payload) is None


def graphql_routes(
    engine: Engine,
    make_context: ContextMaker,
    *,
    max_body_bytes: int,
    max_subscriptions: int,
    allowed_origins: tuple[str, ...] = (),
) -> list[BaseRoute]:
    """POST and websocket at /graphql."""
    live = LiveEndpoint(
        engine,
        graphql_ide=None,
        subscription_protocols=(GRAPHQL_TRANSPORT_WS_PROTOCOL,),
        connection_init_wait_timeout=timedelta(seconds=10),
        max_subscriptions_per_connection=max_subscriptions,
        allowed_origins=allowed_origins,
    )
    live.make_context = make_context
    endpoint = GraphQLEndpoint(engine, make_context, max_body_bytes)

    async def post(request: Request) -> Response:
        return await endpoint(request)

    return [Route("/graphql", post, methods=["POST"]), WebSocketRoute("/graphql", live)]
