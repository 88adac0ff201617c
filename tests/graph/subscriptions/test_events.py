"""`executionEvents` over a real websocket: from the store, then live, each event once, to the last."""

import asyncio
from typing import Any

import pytest

from persistence.engine import Database
from tests.support.graphql import Graph
from tests.support.live import PlayedWorker, Socket, types_of
from tests.support.things import MALFORMED, one_of_each, strangers_things, unknown

EVENTS = """subscription($id: ID!, $after: String) { executionEvents(executionId: $id, after: $after) { cursor events {
    __typename sequence cursor type occurredAt execution { status } taskExecution { name status } role { title }
    ... on ExecutionQueued { taskCount } ... on ExecutionStarted { workerId isRecovery } ... on OutputStreamed { text }
    ... on TaskCompleted { totalTokens cost { amount currency } } ... on ExecutionCompleted { completedTasks } } } }"""


def _events(payloads: list[dict[str, Any]]) -> list[dict[str, Any]]:
    assert not [payload for payload in payloads if "errors" in payload]
    for payload in payloads:
        batch = payload["data"]["executionEvents"]
        assert batch["events"][-1]["cursor"] == batch["cursor"]
    return [event for payload in payloads for event in payload["data"]["executionEvents"]["events"]]


async def test_what_is_stored_comes_at_once_and_the_rest_live_up_to_the_last_event(
    live: Graph, database: Database
) -> None:
    execution_id = await live.kickoff(await live.ready_team())
    async with Socket.to(live) as socket:
        payloads = []
        results = socket.results(EVENTS, id=execution_id)

        payloads.append(await anext(results))
        assert types_of(payloads) == ["ExecutionQueued"]
        worker = await PlayedWorker.on(live, database, execution_id)
        payloads.append(await anext(results))
        assert types_of(payloads)[1:] == ["ExecutionStarted"]
        await worker.starts()
        await worker.says("Hel", "lo.")
        await worker.finishes()
        payloads += [payload async for payload in results]

    events = _events(payloads)
    assert [event["sequence"] for event in events] == [1, 2, 3, 4, 5, 6, 7]
    assert [event["type"] for event in events] == [event["__typename"] for event in events]
    assert types_of(payloads)[2:] == [
        "TaskStarted",
        "OutputStreamed",
        "OutputStreamed",
        "TaskCompleted",
        "ExecutionCompleted",
    ]
    assert events[0] == {
        "__typename": "ExecutionQueued",
        "sequence": 1,
        "cursor": "e1",
        "type": "ExecutionQueued",
        "occurredAt": events[0]["occurredAt"],
        "execution": {"status": "QUEUED"},
        "taskExecution": None,
        "role": None,
        "taskCount": 1,
    }
    assert [event["text"] for event in events[3:5]] == ["Hel", "lo."]
    assert {key: events[5][key] for key in ("taskExecution", "role", "totalTokens", "cost")} == {
        "taskExecution": {"name": events[5]["taskExecution"]["name"], "status": "COMPLETED"},
        "role": {"title": "Analyst"},
        "totalTokens": 15,
        "cost": {"amount": "0.25", "currency": "USD"},
    }
    assert (events[6]["completedTasks"], events[6]["execution"]) == (1, {"status": "COMPLETED"})


async def test_who_reconnects_with_any_cursor_sees_the_rest_and_nothing_twice(live: Graph, database: Database) -> None:
    execution_id = await live.kickoff(await live.ready_team())
    worker = await PlayedWorker.on(live, database, execution_id)
    await worker.starts()
    await worker.finishes()

    async with Socket.to(live) as socket:
        seen = {
            after: [event["sequence"] for event in _events([it async for it in socket.results(EVENTS, **arguments)])]
            for after in (None, "e0", "e1", "e3", "e5")
            for arguments in [{"id": execution_id, "after": after}]
        }

    assert seen == {None: [1, 2, 3, 4, 5], "e0": [1, 2, 3, 4, 5], "e1": [2, 3, 4, 5], "e3": [4, 5], "e5": []}


async def test_a_broken_connection_loses_nothing_although_events_go_on(live: Graph, database: Database) -> None:
    execution_id = await live.kickoff(await live.ready_team())
    worker = await PlayedWorker.on(live, database, execution_id)
    seen: list[int] = []
    after = None

    for number in range(4):
        async with Socket.to(live) as socket:
            results = socket.results(EVENTS, id=execution_id, after=after)
            payload = await anext(results)
            seen += [event["sequence"] for event in _events([payload])]
            after = payload["data"]["executionEvents"]["cursor"]
        await worker.says(*(f"{number}.{piece}" for piece in range(3)))
    await worker.finishes()
    async with Socket.to(live) as socket:
        rest = [payload async for payload in socket.results(EVENTS, id=execution_id, after=after)]
    seen += [event["sequence"] for event in _events(rest)]

    assert seen == list(range(1, 2 + 1 + 4 * 3 + 2))


async def test_many_followers_each_see_everything_once(live: Graph, database: Database) -> None:
    execution_id = await live.kickoff(await live.ready_team())

    async def follow() -> list[int]:
        async with Socket.to(live) as socket:
            payloads = [payload async for payload in socket.results(EVENTS, id=execution_id)]
        return [event["sequence"] for event in _events(payloads)]

    followers = [asyncio.create_task(follow()) for _ in range(5)]
    worker = await PlayedWorker.on(live, database, execution_id)
    for number in range(10):
        await worker.says(str(number))
        if number == 5:
            followers.append(asyncio.create_task(follow()))
    await worker.finishes()

    assert await asyncio.gather(*followers) == [list(range(1, 15))] * 6
    assert live.container.services.feeds.followed == 0


async def test_a_lost_hint_costs_no_event(live: Graph, database: Database) -> None:
    execution_id = await live.kickoff(await live.ready_team())
    worker = await PlayedWorker.on(live, database, execution_id)
    async with Socket.to(live) as socket:
        results = socket.results(EVENTS, id=execution_id, after="e2")
        await worker.says("unheard", hinted=False)

        payload = await anext(results)

    assert [event["text"] for event in _events([payload])] == ["unheard"]


async def test_a_cancelled_execution_ends_its_stream(live: Graph) -> None:
    execution_id = await live.kickoff(await live.ready_team())
    async with Socket.to(live) as socket:
        results = socket.results(EVENTS, id=execution_id)
        payloads = [await anext(results)]
        await live.mutate("cancelExecution", "execution { id }", executionId=execution_id)
        payloads += [payload async for payload in results]

    assert types_of(payloads) == ["ExecutionQueued", "ExecutionCancelRequested", "ExecutionCancelled"]


async def test_a_client_can_end_a_subscription_and_go_on_with_another(live: Graph) -> None:
    execution_id = await live.kickoff(await live.ready_team())
    async with Socket.to(live) as socket:
        first = await socket.begin(EVENTS, id=execution_id)
        assert (await socket.received())["id"] == first
        await socket.send({"id": first, "type": "complete"})
        second = socket.results(EVENTS, id=execution_id)
        assert types_of([await anext(second)]) == ["ExecutionQueued"]


# ---------------------------------------------------------------- what is refused


async def _told(live: Graph, query: str, **variables: Any) -> dict[str, Any]:
    """The one error that a subscription has to end with at once."""
    async with Socket.to(live) as socket:
        payloads = [payload async for payload in socket.results(query, **variables)]
        assert [payload async for payload in socket.results("{ tenant { __typename } }")] == [
            {"data": {"tenant": {"__typename": "Tenant"}}}
        ]
    (payload,) = payloads
    assert payload.get("data") is None
    (error,) = payload["errors"]
    return {key: error.get(key) for key in ("message", "path", "extensions")}


async def test_there_are_no_events_of_what_is_not_there(live: Graph) -> None:
    strangers = await strangers_things(live)
    own = await one_of_each(live)
    nothing = [unknown("Execution"), own["Team"], strangers["Execution"], *MALFORMED]

    told = [await _told(live, EVENTS, id=identifier) for identifier in nothing]

    assert told == [
        {
            "message": "There is no execution with this id.",
            "path": ["executionEvents"],
            "extensions": {"code": "NOT_FOUND", "argument": ["executionId"]},
        }
    ] * len(nothing)


@pytest.mark.parametrize("after", ["", "nonsense", "5", "e-5", "e1e1", "e" + "9" * 18, "e2"])
async def test_a_cursor_that_is_none_or_ahead_is_told(live: Graph, after: str) -> None:
    execution_id = await live.kickoff(await live.ready_team())

    told = await _told(live, EVENTS, id=execution_id, after=after)

    assert (told["path"], told["extensions"]) == (["executionEvents"], {"code": "INVALID", "argument": ["after"]})


async def test_the_error_stands_at_the_alias_of_the_field(live: Graph) -> None:
    query = 'subscription { it: executionProgress(executionId: "x") { doneTasks } }'

    assert (await _told(live, query))["path"] == ["it"]
