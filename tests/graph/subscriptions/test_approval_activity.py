"""`approvalActivity` over a real websocket."""

from typing import Any

import pytest

from domain.model.approval import ApprovalKind
from persistence.engine import Database
from tests.support.graphql import Graph
from tests.support.live import PlayedWorker, Socket
from tests.support.things import strangers_things, unknown

ACTIVITY = """subscription($project: ID, $execution: ID, $assignee: String) {
    approvalActivity(projectId: $project, executionId: $execution, assignee: $assignee) {
        approvals { id status prompt } } }"""


async def _worker(graph: Graph, database: Database) -> tuple[str, PlayedWorker]:
    execution_id = await graph.kickoff(await graph.ready_team())
    return execution_id, await PlayedWorker.on(graph, database, execution_id)


def _told(payload: dict[str, Any]) -> list[tuple[str, str]]:
    return [(it["id"], it["status"]) for it in payload["data"]["approvalActivity"]["approvals"]]


async def test_the_inbox_tells_what_is_open_and_then_what_is_asked_and_decided(live: Graph, database: Database) -> None:
    _, one = await _worker(live, database)
    _, two = await _worker(live, database)
    decided = await one.asks(ApprovalKind.TASK, "First.", stops=False)
    await live.mutate("approveTask", "approval { id }", approvalId=decided)
    open_one = await two.asks(ApprovalKind.QUESTION, "Second?")

    async with Socket.to(live) as socket:
        results = socket.results(ACTIVITY)
        assert _told(await anext(results)) == [(open_one, "PENDING")]
        _, three = await _worker(live, database)
        fresh = await three.asks(ApprovalKind.TASK, "Third.")
        assert _told(await anext(results)) == [(fresh, "PENDING")]
        await live.mutate("answerQuestion", "approval { id }", approvalId=open_one, answer="Yes.")
        assert _told(await anext(results)) == [(open_one, "ANSWERED")]


async def test_the_inbox_can_be_narrowed(live: Graph, database: Database) -> None:
    execution_id, one = await _worker(live, database)
    _, two = await _worker(live, database)
    mine = await one.asks(ApprovalKind.TASK, "Mine.", assignee="Ada")
    await two.asks(ApprovalKind.TASK, "Not mine.", assignee="Bob")
    project = await live.query("query($id: ID!) { execution(id: $id) { project { id } } }", id=execution_id)

    for narrow in (
        {"assignee": "Ada"},
        {"execution": execution_id},
        {"project": project["execution"]["project"]["id"]},
    ):
        async with Socket.to(live) as socket:
            assert _told(await anext(socket.results(ACTIVITY, **narrow))) == [(mine, "PENDING")]


async def test_an_empty_inbox_is_told_as_such(live: Graph) -> None:
    async with Socket.to(live) as socket:
        assert _told(await anext(socket.results(ACTIVITY))) == []


@pytest.mark.parametrize(("argument", "kind"), [("project", "Project"), ("execution", "Execution")])
async def test_what_is_not_there_cannot_be_followed(live: Graph, argument: str, kind: str) -> None:
    strangers = await strangers_things(live)

    async with Socket.to(live) as socket:
        for identifier in (unknown(kind), strangers[kind], "nonsense"):
            payloads = [payload async for payload in socket.results(ACTIVITY, **{argument: identifier})]
            assert [error["extensions"] for error in payloads[0]["errors"]] == [
                {"code": "NOT_FOUND", "argument": [f"{argument}Id"]}
            ]
