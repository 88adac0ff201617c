"""The websocket itself: other operations over it, nonsense on it, and a server that outlives both."""

import asyncio
import json
from typing import Any

import pytest
from gql import Client, gql
from gql.transport.websockets import WebsocketsTransport
from websockets.asyncio.client import connect

from schema import engine
from tests.graph.test_http import BOMBS
from tests.support.graphql import Graph
from tests.support.live import PROTOCOL, SOON, Closed, Socket
from tests.support.things import nothing_written, one_of_each, unknown

TENANT = "{ tenant { __typename } }"
FOLLOW = 'executionEvents(executionId: "x") { cursor }'
ANSWER = {"data": {"tenant": {"__typename": "Tenant"}}}


async def _stays_up(live: Graph, other: Socket) -> None:
    """The server goes on, for sockets that were open before and for new ones."""
    assert await live.query(TENANT) == ANSWER["data"]
    assert [payload async for payload in other.results(TENANT)] == [ANSWER]
    async with Socket.to(live) as fresh:
        assert [payload async for payload in fresh.results(TENANT)] == [ANSWER]


SUBSCRIBE = {"type": "subscribe", "id": "1", "payload": {"query": TENANT}}
NONSENSE: dict[str, str | bytes] = {
    "empty": "",
    "no JSON": "{",
    "null": "null",
    "a list": "[]",
    "a number": "12",
    "without a type": "{}",
    "an unknown type": '{"type": "surprise"}',
    "a type that is no text": '{"type": ["subscribe"]}',
    "a lone surrogate": json.dumps({**SUBSCRIBE, "id": "\ud800"}),
    "deep": "[" * 100_000,
    "NaN": '{"type": "ping", "payload": NaN}',
    "bytes": b"\xff",
    "a subscribe without an id": json.dumps({**SUBSCRIBE, "id": None}),
    "a subscribe with a list as id": json.dumps({**SUBSCRIBE, "id": []}),
    "a subscribe without a payload": json.dumps({"type": "subscribe", "id": "1"}),
    "a subscribe with a list as payload": json.dumps({**SUBSCRIBE, "payload": []}),
    "a subscribe with a number as query": json.dumps({**SUBSCRIBE, "payload": {"query": 1}}),
    "a subscribe with a list of variables": json.dumps({**SUBSCRIBE, "payload": {"query": TENANT, "variables": []}}),
    "a complete with a list as id": '{"type": "complete", "id": []}',
    "a second init": '{"type": "connection_init"}',
}


async def test_nonsense_closes_its_own_socket_with_a_reason_and_no_other(live: Graph) -> None:
    closed: dict[str, int | None] = {}
    async with Socket.to(live) as other:
        for name, message in NONSENSE.items():
            async with Socket.to(live) as socket:
                await socket.connection.send(message)
                with pytest.raises(Closed) as caught:
                    await socket.received()
            closed[name] = caught.value.code
        await _stays_up(live, other)

    assert closed == {**dict.fromkeys(NONSENSE, 4400), "a second init": 4429}


async def test_an_operation_before_the_init_is_not_run(live: Graph) -> None:
    async with Socket.to(live, init=False) as socket, nothing_written(live):
        await socket.begin('mutation { createProject(input: {name: "P"}) { project { id } } }')
        with pytest.raises(Closed) as caught:
            await socket.received()

    assert caught.value.code == 4401


async def test_two_operations_cannot_have_one_id(live: Graph) -> None:
    execution_id = await live.kickoff(await live.ready_team())
    message = {
        "id": "same",
        "type": "subscribe",
        "payload": {
            "query": "subscription($id: ID!) { executionEvents(executionId: $id) { cursor } }",
            "variables": {"id": execution_id},
        },
    }
    async with Socket.to(live) as socket:
        await socket.send(message)
        await socket.received()
        await socket.send(message)
        with pytest.raises(Closed) as caught:
            await socket.received()

    assert caught.value.code == 4409


async def test_a_client_that_goes_away_leaves_nothing_behind(live: Graph) -> None:
    execution_id = await live.kickoff(await live.ready_team())
    async with Socket.to(live) as socket:
        await socket.begin("subscription($id: ID!) { executionEvents(executionId: $id) { cursor } }", id=execution_id)
        await socket.received()
        assert live.container.services.feeds.followed == 1
    async with Socket.to(live) as fresh:
        assert [payload async for payload in fresh.results(TENANT)] == [ANSWER]

    async with asyncio.timeout(SOON):
        while live.container.services.feeds.followed:  # noqa: ASYNC110 - the server sees the end of a socket later
            await asyncio.sleep(0.01)


async def test_the_protocol_has_to_be_agreed_on(live: Graph) -> None:
    url = str(live.http.base_url).replace("http", "ws", 1).rstrip("/") + "/graphql"
    async with connect(url) as connection:
        await connection.wait_closed()

    assert connection.close_code == 4406
    assert PROTOCOL == "graphql-transport-ws"


# ---------------------------------------------------------------- operations over a websocket


async def test_queries_and_mutations_are_answered_as_over_http(live: Graph) -> None:
    things = await one_of_each(live)
    query = """query($id: ID!) { execution(id: $id) { id status createdAt usage { cost { amount } } inputs
        events { nodes { __typename sequence } } team { roles { title } lastExecutedAt } } }"""
    async with Socket.to(live) as socket:
        over_socket = [payload async for payload in socket.results(query, id=things["Execution"])]
        made = [
            payload
            async for payload in socket.results(
                'mutation { createProject(input: {name: ""}) { project { id } errors { code path } } }'
            )
        ]

    assert over_socket == [{"data": await live.query(query, id=things["Execution"])}]
    refused = {"project": None, "errors": [{"code": "INVALID", "path": ["input", "name"]}]}
    assert made == [{"data": {"createProject": refused}}]


async def test_a_socket_remembers_nothing_between_operations(live: Graph) -> None:
    project = await live.make("Project", name="Before")
    query = "query($id: ID!) { node(id: $id) { ... on Project { name } } }"
    async with Socket.to(live) as socket:
        before = [payload async for payload in socket.results(query, id=project["id"])]
        await live.mutate("updateProject", "project { id }", id=project["id"], version=1, name="After")
        after = [payload async for payload in socket.results(query, id=project["id"])]

    assert [payload["data"]["node"]["name"] for payload in before + after] == ["Before", "After"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("subscription {", "GRAPHQL_PARSE_FAILED"),
        ("subscription { nothing }", "GRAPHQL_VALIDATION_FAILED"),
        (f"subscription {{ a: {FOLLOW} b: {FOLLOW} }}", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription($id: ID!) { executionEvents(executionId: $id) { cursor } }", "BAD_USER_INPUT"),
        ("query A { tenant { id } } query B { tenant { id } }", "OPERATION_RESOLUTION_FAILED"),
        ("fragment F on Tenant { id }", "GRAPHQL_VALIDATION_FAILED"),
        *((query, "") for query in BOMBS.values()),
    ],
    ids=lambda value: value[:40],
)
async def test_an_operation_that_cannot_be_run_ends_alone(live: Graph, query: str, code: str) -> None:
    async with Socket.to(live) as socket:
        payloads = [payload async for payload in socket.results(query)]
        assert [payload async for payload in socket.results(TENANT)] == [ANSWER]

    (payload,) = payloads
    codes = {error["extensions"]["code"] for error in payload["errors"]}
    assert codes == {code} if code else payload.get("data") is None


async def test_each_message_of_a_subscription_is_limited_for_itself(
    live: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "MAX_FIELDS", 20)
    execution_id = await live.kickoff(await live.ready_team())
    small = "subscription($id: ID!) { executionProgress(executionId: $id) { totalTasks execution { id status } } }"
    large = "subscription($id: ID!) { executionProgress(executionId: $id) { execution { %s } } }"
    async with Socket.to(live) as socket:
        results = socket.results(small, id=execution_id)
        messages = [await anext(results)]
        await live.mutate("cancelExecution", "execution { id }", executionId=execution_id)
        messages += [payload async for payload in results]
        refused = [
            payload
            async for payload in socket.results(large % " ".join(f"a{n}: id" for n in range(20)), id=execution_id)
        ]

    assert [message["data"]["executionProgress"]["execution"]["status"] for message in messages] == [
        "QUEUED",
        "CANCELLED",
    ]
    assert [error["extensions"]["code"] for error in refused[0]["errors"]] == ["TOO_LARGE"]


async def test_a_fault_in_a_subscription_is_masked(live: Graph) -> None:
    execution_id = await live.kickoff(await live.ready_team())

    class Broken:
        def follow(self, *_: object) -> Any:
            raise RuntimeError("postgres://admin:secret@db")

    object.__setattr__(live.container.services, "feeds", Broken())
    async with Socket.to(live) as socket:
        payloads = [
            payload
            async for payload in socket.results(
                "subscription($id: ID!) { executionEvents(executionId: $id) { cursor } }", id=execution_id
            )
        ]
        assert [payload async for payload in socket.results(TENANT)] == [ANSWER]

    (error,) = payloads[0]["errors"]
    assert "secret" not in json.dumps(payloads)
    assert (error["message"], error["path"]) == ("Unexpected error", ["executionEvents"])
    assert set(error["extensions"]) == {"code", "correlationId"}


async def test_more_subscriptions_than_allowed_are_refused_one_by_one(live: Graph) -> None:
    execution_id = await live.kickoff(await live.ready_team())
    query = "subscription($id: ID!) { executionEvents(executionId: $id) { cursor } }"
    limit = live.container.settings.max_subscriptions
    async with Socket.to(live) as socket:
        for _ in range(limit):
            await socket.begin(query, id=execution_id)
        answers = [await socket.received() for _ in range(limit)]
        extra = await socket.begin(query, id=execution_id)
        refused = await socket.received()

    assert {answer["type"] for answer in answers} == {"next"}
    assert (refused["id"], refused["type"]) == (extra, "error")


async def test_the_gql_client_can_follow(live: Graph) -> None:
    execution_id = await live.kickoff(await live.ready_team())
    await live.mutate("cancelExecution", "execution { id }", executionId=execution_id)
    url = str(live.http.base_url).replace("http", "ws", 1).rstrip("/") + "/graphql"
    request = gql("subscription($id: ID!) { executionEvents(executionId: $id) { cursor } }")
    request.variable_values = {"id": execution_id}

    async with Client(transport=WebsocketsTransport(url=url)) as session:
        batches = [batch async for batch in session.subscribe(request)]
        request.variable_values = {"id": unknown("Execution")}
        with pytest.raises(Exception, match="There is no execution with this id"):
            [batch async for batch in session.subscribe(request)]

    assert batches == [{"executionEvents": {"cursor": "e3"}}]
