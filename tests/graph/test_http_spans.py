"""Spans of requests: from what a client names as its parent to the operation, over HTTP and websocket."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import structlog
from opentelemetry.trace import SpanKind
from websockets.asyncio.client import connect

from app import container
from app.main import create_app
from app.settings import Settings
from app.tracing import add_span_ids
from domain.model.execution import Execution
from domain.model.identity import DEFAULT_TENANT, ExecutionId
from resolvers.node_ids import parse_node_id
from tests.support.graphql import Graph
from tests.support.live import PROTOCOL, Socket, served
from tests.support.spans import KeptSpans, is_part_of, said, traceparent_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
KICKOFF = "mutation Go($id: ID!) { kickoffTeam(input: {teamId: $id}) { execution { id } } }"


@pytest.fixture(autouse=True)
def spans(monkeypatch: pytest.MonkeyPatch) -> KeptSpans:
    """What the API would send to its collector."""
    kept = KeptSpans()
    monkeypatch.setattr(container, "start_tracing", lambda *_: kept)
    return kept


@pytest.fixture
def traced_settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"otlp_endpoint": "http://127.0.0.1:1"})


@pytest.fixture
async def traced(traced_settings: Settings) -> AsyncIterator[Graph]:
    async with Graph.over(create_app(traced_settings)) as graph:
        yield graph


@pytest.fixture
def said_lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What was logged, with what was bound."""
    kept = structlog.testing.LogCapture()
    before = structlog.get_config()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, add_span_ids, kept])
    yield lambda: list(map(dict, kept.entries))
    structlog.configure(**before)


async def test_a_kickoff_is_part_of_the_trace_of_its_client(traced: Graph, spans: KeptSpans) -> None:
    team_id = await traced.ready_team()
    spans.clear()

    body = {"query": KICKOFF, "variables": {"id": team_id}}
    response = await traced.http.post("/graphql?secret=1", json=body, headers={"traceparent": PARENT})

    request, operation, kickoff = spans.one("POST /graphql"), spans.one("mutation"), spans.one("kickoff")
    execution_id = ExecutionId(parse_node_id(response.json()["data"]["kickoffTeam"]["execution"]["id"])[1])
    stored = (await traced.container.reader.by_ids(Execution, DEFAULT_TENANT, [execution_id]))[execution_id]
    assert traceparent_of(request)[:36] == PARENT[:36]
    assert is_part_of(operation, request)
    assert is_part_of(kickoff, operation)
    assert stored.trace_parent == traceparent_of(kickoff)
    assert said(request, "http.request.method", "http.route", "http.response.status_code", "url.path") == {
        "http.request.method": "POST",
        "http.route": "/graphql",
        "http.response.status_code": 200,
        "url.path": "/graphql",
    }
    assert dict(request.attributes or {})["regatta.request.id"] == response.headers["x-request-id"]
    assert dict(operation.attributes or {}) == {"graphql.operation.type": "mutation", "graphql.operation.name": "Go"}
    assert "secret" not in spans.text()


async def test_what_nobody_looks_for_has_no_span_and_strangers_names_are_none(traced: Graph, spans: KeptSpans) -> None:
    await traced.http.get("/health/live")
    await traced.http.request("BREW", "/nowhere/at/all")

    (span,) = spans.named("HTTP")
    names = ("http.response.status_code", "http.route", "http.request.method", "http.request.method_original")
    assert said(span, *names, "server.address", "server.port") == {
        "http.response.status_code": 404,
        "http.request.method": "_OTHER",
        "http.request.method_original": "BREW",
        "server.address": "127.0.0.1",
        "server.port": 80,
    }
    assert "health" not in spans.text()


class Broken:
    """A use case with a fault and a secret."""

    def __getattr__(self, name: str) -> object:
        raise RuntimeError(f"secret {name}")


async def test_a_fault_of_ours_marks_the_operation(traced: Graph, spans: KeptSpans) -> None:
    team_id = await traced.ready_team()
    object.__setattr__(traced.container.services, "kickoff", Broken())

    await traced.answer(KICKOFF, id=team_id)

    assert said(spans.named("mutation")[-1], "error.type") == {"error.type": "INTERNAL"}
    assert "secret" not in spans.text()


async def test_operations_of_a_websocket_have_its_trace_and_its_request_id(
    traced_settings: Settings, spans: KeptSpans, said_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    async with served(create_app(traced_settings)) as graph:
        team_id = await graph.ready_team()
        spans.clear()
        object.__setattr__(graph.container.services, "kickoff", Broken())
        url = str(graph.http.base_url).replace("http", "ws", 1).rstrip("/") + "/graphql"
        headers = {"traceparent": PARENT, "x-request-id": "mine"}
        async with connect(url, subprotocols=[PROTOCOL], additional_headers=headers) as connection:
            socket = Socket(connection)
            await socket.send({"type": "connection_init"})
            await socket.received()
            answers = [answer for _ in range(2) async for answer in socket.results(KICKOFF, id=team_id)]

    assert connection.response
    assert connection.response.headers["x-request-id"] == "mine"
    first, second = (answer["errors"][0]["extensions"]["correlationId"] for answer in answers)
    assert first[:5] == second[:5] == "mine-"
    assert first != second  # each is one fault
    assert {traceparent_of(span)[:36] for span in spans.named("mutation")} == {PARENT[:36]}
    assert {span.kind for span in spans.named("mutation")} == {SpanKind.SERVER}
    lines = [line for line in said_lines() if line["event"] == "unexpected error"]
    assert [line["correlation_id"] for line in lines] == [first, second]
    assert [line["request_id"] for line in lines] == ["mine"] * 2
    assert len({line["operation_id"] for line in lines}) == 2


async def test_a_request_without_a_parent_begins_a_trace_whatever_else_its_connection_answers(
    traced_settings: Settings, spans: KeptSpans
) -> None:
    async with served(create_app(traced_settings)) as graph:
        url = graph.http.base_url
        reader, writer = await asyncio.open_connection(url.host, url.port)
        named = f"GET /one HTTP/1.1\r\nHost: {url.host}\r\ntraceparent: {PARENT}\r\n\r\n"
        writer.write((named + f"GET /two HTTP/1.1\r\nHost: {url.host}\r\nConnection: close\r\n\r\n").encode())
        await reader.read()
        writer.close()

    one, two = spans.named("GET")
    assert traceparent_of(one)[:36] == PARENT[:36]
    assert traceparent_of(two)[:36] != PARENT[:36]
    assert two.parent is None


async def test_a_fault_outside_of_the_graph_is_answered_and_logged_with_its_ids(
    traced: Graph, spans: KeptSpans, said_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    object.__setattr__(traced.container.services, "exports", Broken())

    response = await traced.http.get("/exports/executions?format=CSV", headers={"x-request-id": "mine"})

    (line,) = [line for line in said_lines() if line["event"] == "unexpected error"]
    span = spans.named("GET /exports/executions")[-1]
    assert (response.status_code, response.headers["x-request-id"]) == (500, "mine")
    assert response.json()["errors"][0]["extensions"] == {"code": "INTERNAL", "correlationId": line["correlation_id"]}
    assert said(span, "http.response.status_code", "error.type") == {
        "http.response.status_code": 500,
        "error.type": "500",
    }
    assert line["request_id"] == "mine"
    assert f"00-{line['trace_id']}-{line['span_id']}-01" == traceparent_of(span)
    assert "secret" not in response.text + spans.text()
