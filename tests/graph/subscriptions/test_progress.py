"""`executionProgress` and `projectActivity` over a real websocket."""

from typing import Any

import pytest

from domain.services import snapshots
from persistence.engine import Database
from tests.support.graphql import Graph
from tests.support.live import PlayedWorker, Socket
from tests.support.things import one_of_each, strangers_things, unknown

PROGRESS = """subscription($id: ID!) { executionProgress(executionId: $id) { execution { status output }
    doneTasks totalTasks totalTokens cost { amount } elapsedSeconds remainingSeconds
    roles { title status currentTask doneTasks totalTasks totalTokens cost { amount } role { title } } } }"""
ACTIVITY = "subscription($id: ID!) { projectActivity(projectId: $id) { executions { id status } } }"


async def test_progress_is_told_at_once_on_every_change_and_ends_with_the_final_state(
    live: Graph, database: Database
) -> None:
    execution_id = await live.kickoff(await live.ready_team())
    async with Socket.to(live) as socket:
        results = socket.results(PROGRESS, id=execution_id)
        payloads = [await anext(results)]
        worker = await PlayedWorker.on(live, database, execution_id)
        payloads.append(await anext(results))
        await worker.starts()
        payloads.append(await anext(results))
        await worker.says("nothing that changes the progress")
        await worker.finishes()
        payloads += [payload async for payload in results]

    snapshots = [payload["data"]["executionProgress"] for payload in payloads]
    told = [
        (
            it["execution"]["status"],
            it["doneTasks"],
            it["totalTokens"],
            it["cost"]["amount"],
            it["roles"][0]["status"],
            it["roles"][0]["currentTask"] is not None,
        )
        for it in snapshots
    ]
    assert told[:3] == [
        ("QUEUED", 0, 0, "0", "PENDING", False),
        ("RUNNING", 0, 0, "0", "PENDING", False),
        ("RUNNING", 0, 0, "0", "RUNNING", True),
    ]
    assert told[-1] == ("COMPLETED", 1, 15, "0.25", "COMPLETED", False)
    assert [it[0] for it in told].count("COMPLETED") == 1
    assert (snapshots[0]["elapsedSeconds"], snapshots[0]["remainingSeconds"]) == (0.0, None)
    last = snapshots[-1]
    assert (last["execution"]["output"], last["remainingSeconds"]) == ("Done.", 0.0)
    assert last["roles"] == [
        {
            "title": "Analyst",
            "status": "COMPLETED",
            "currentTask": None,
            "doneTasks": 1,
            "totalTasks": 1,
            "totalTokens": 15,
            "cost": {"amount": "0.25"},
            "role": {"title": "Analyst"},
        }
    ]


async def test_the_progress_of_what_is_over_is_one_snapshot(live: Graph) -> None:
    execution_id = await live.kickoff(await live.ready_team())
    await live.mutate("cancelExecution", "execution { id }", executionId=execution_id)

    async with Socket.to(live) as socket:
        payloads = [payload async for payload in socket.results(PROGRESS, id=execution_id)]

    assert [payload["data"]["executionProgress"]["execution"]["status"] for payload in payloads] == ["CANCELLED"]
    assert payloads[0]["data"]["executionProgress"]["roles"][0]["status"] == "CANCELLED"


async def test_a_project_tells_what_is_under_way_and_then_what_changes(live: Graph, database: Database) -> None:
    project_id = await live.project()
    team_id = await live.team(project_id)
    await live.role(team_id)
    over, queued = await live.kickoff(team_id), await live.kickoff(team_id)
    await live.mutate("cancelExecution", "execution { id }", executionId=over)
    elsewhere = await live.kickoff(await live.ready_team())

    async with Socket.to(live) as socket:
        results = socket.results(ACTIVITY, id=project_id)

        async def told() -> list[Any]:
            return [(it["id"], it["status"]) for it in (await anext(results))["data"]["projectActivity"]["executions"]]

        assert await told() == [(queued, "QUEUED")]
        worker = await PlayedWorker.on(live, database, queued)
        assert (queued, "RUNNING") in await told()
        await PlayedWorker.on(live, database, elsewhere)
        fresh = await live.kickoff(team_id)
        assert await told() == [(fresh, "QUEUED")]
        await worker.starts()
        await worker.finishes()
        while (queued, "COMPLETED") not in (seen := await told()):
            assert set(seen) == {(queued, "RUNNING")}


async def test_an_execution_that_ends_is_told_however_many_are_newer(
    live: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "ACTIVITY_LIMIT", 2)
    project_id = await live.project()
    team_id = await live.team(project_id)
    await live.role(team_id)
    oldest, *_ = [await live.kickoff(team_id) for _ in range(3)]

    async with Socket.to(live) as socket:
        results = socket.results(ACTIVITY, id=project_id)
        await anext(results)
        await live.mutate("cancelExecution", "execution { id }", executionId=oldest)
        told = (await anext(results))["data"]["projectActivity"]["executions"]

    assert told == [{"id": oldest, "status": "CANCELLED"}]


async def test_a_project_without_executions_is_told_as_such(live: Graph) -> None:
    project_id = await live.project()
    async with Socket.to(live) as socket:
        first = await anext(socket.results(ACTIVITY, id=project_id))

    assert first == {"data": {"projectActivity": {"executions": []}}}


@pytest.mark.parametrize(
    ("query", "field", "kind", "argument"),
    [
        (PROGRESS, "executionProgress", "Execution", "executionId"),
        (ACTIVITY, "projectActivity", "Project", "projectId"),
    ],
)
async def test_what_is_not_there_cannot_be_followed(
    live: Graph, query: str, field: str, kind: str, argument: str
) -> None:
    strangers = await strangers_things(live)
    own = await one_of_each(live)

    async with Socket.to(live) as socket:
        for identifier in (unknown(kind), strangers[kind], own["Team"], "nonsense"):
            payloads = [payload async for payload in socket.results(query, id=identifier)]
            assert [(error["path"], error["extensions"]) for error in payloads[0]["errors"]] == [
                ([field], {"code": "NOT_FOUND", "argument": [argument]})
            ]
            assert len(payloads) == 1
