"""Kickoffs of a team that is busy: they wait, are refused, run beside the others, or take their place."""

import asyncio
from typing import Any

import pytest

from persistence.engine import Database
from tests.support.graphql import Graph
from tests.support.live import PlayedWorker
from tests.support.things import nothing_written

EXECUTION = "execution { id status }"
STATES = "query($id: ID!) { team(id: $id) { executions { nodes { id status } } } }"


async def states(graph: Graph, team_id: str) -> dict[str, str]:
    """The status of every execution of the team by its id."""
    nodes = (await graph.query(STATES, id=team_id))["team"]["executions"]["nodes"]
    return {node["id"]: node["status"] for node in nodes}


async def are_alone(graph: Graph) -> list[bool]:
    """Of those that wait or run, in the order of their kickoffs, whether they want the team for themselves."""
    rows = await graph.container.database.pool.fetch("SELECT is_alone FROM admission ORDER BY execution_id")
    return [row["is_alone"] for row in rows]


async def pause(graph: Graph, database: Database, execution_id: str) -> None:
    """Let the execution begin, and be paused."""
    worker = await PlayedWorker.on(graph, database, execution_id)
    await graph.mutate("pauseExecution", "execution { id }", executionId=execution_id)
    await worker.pauses()


@pytest.mark.parametrize(("when_busy", "is_alone"), [("QUEUE", True), ("PARALLEL", False)])
async def test_a_kickoff_queues_behind_or_beside_the_others(graph: Graph, when_busy: str, is_alone: bool) -> None:
    team_id = await graph.ready_team()

    first = await graph.kickoff(team_id)
    second = await graph.kickoff(team_id, whenBusy=when_busy)

    assert await states(graph, team_id) == {first: "QUEUED", second: "QUEUED"}
    assert await are_alone(graph) == [True, is_alone]


async def test_the_teams_setting_holds_unless_the_kickoff_says_otherwise(graph: Graph) -> None:
    team_id = await graph.team(settings={"whenBusy": "REJECT"})
    await graph.role(team_id)
    await graph.kickoff(team_id)

    refused = await graph.mutate("kickoffTeam", EXECUTION, teamId=team_id)
    beside = await graph.mutate("kickoffTeam", EXECUTION, teamId=team_id, whenBusy="PARALLEL")

    assert [error["code"] for error in refused["errors"]] == ["TEAM_BUSY"]
    assert beside["errors"] == []
    assert await are_alone(graph) == [True, False]


async def test_a_kickoff_that_is_not_to_wait_is_refused_and_writes_nothing(graph: Graph, database: Database) -> None:
    team_id = await graph.ready_team()
    await PlayedWorker.on(graph, database, await graph.kickoff(team_id))

    async with nothing_written(graph):
        payload = await graph.mutate("kickoffTeam", EXECUTION, teamId=team_id, whenBusy="REJECT", idempotencyKey="k")

    assert payload == {
        "execution": None,
        "errors": [
            {
                "__typename": "Conflict",
                "message": "An execution of this team is under way.",
                "code": "TEAM_BUSY",
                "path": ["input", "whenBusy"],
                "suggestion": "Wait for its end, or kick off with another whenBusy.",
            }
        ],
    }


async def test_what_is_over_or_waits_for_a_person_keeps_no_team_busy(graph: Graph, database: Database) -> None:
    team_id = await graph.ready_team()
    await (await PlayedWorker.on(graph, database, await graph.kickoff(team_id))).finishes()
    await pause(graph, database, await graph.kickoff(team_id))
    other = await graph.kickoff(await graph.ready_team())

    accepted = await graph.kickoff(team_id, whenBusy="REJECT")

    assert sorted((await states(graph, team_id)).values()) == ["COMPLETED", "PAUSED", "QUEUED"]
    assert accepted != other


async def test_of_kickoffs_at_once_that_are_not_to_wait_one_is_accepted(graph: Graph) -> None:
    team_id = await graph.ready_team()

    payloads = await asyncio.gather(
        *(graph.mutate("kickoffTeam", EXECUTION, teamId=team_id, whenBusy="REJECT") for _ in range(5))
    )

    refused = [error["code"] for payload in payloads for error in payload["errors"]]
    assert refused == ["TEAM_BUSY"] * 4
    assert list((await states(graph, team_id)).values()) == ["QUEUED"]


# ---------------------------------------------------------------- taking the place of others


async def test_a_kickoff_takes_the_place_of_what_waits_and_of_what_runs(graph: Graph, database: Database) -> None:
    team_id, bystander = await graph.ready_team(), await graph.ready_team()
    running, waiting, paused = [await graph.kickoff(team_id) for _ in range(3)]
    elsewhere = await graph.kickoff(bystander)
    await PlayedWorker.on(graph, database, running)
    await pause(graph, database, paused)

    newest = await graph.kickoff(team_id, whenBusy="REPLACE")

    assert await states(graph, team_id) == {
        running: "CANCELLING",
        waiting: "CANCELLED",
        paused: "PAUSED",
        newest: "QUEUED",
    }
    assert await states(graph, bystander) == {elsewhere: "QUEUED"}
    assert await are_alone(graph) == [True] * 3  # the one that is being closed, the bystander, and the newest


async def test_what_is_replaced_tells_so(graph: Graph) -> None:
    team_id = await graph.ready_team()
    replaced = await graph.kickoff(team_id)

    await graph.kickoff(team_id, whenBusy="REPLACE")

    data = await graph.query(
        "query($id: ID!) { execution(id: $id) { taskExecutions { status } events { nodes { type } } } }", id=replaced
    )
    assert data["execution"]["taskExecutions"] == [{"status": "CANCELLED"}]
    assert [event["type"] for event in data["execution"]["events"]["nodes"]] == [
        "ExecutionQueued",
        "ExecutionCancelRequested",
        "ExecutionCancelled",
    ]


async def test_of_replacements_at_once_the_last_one_is_left(graph: Graph) -> None:
    team_id = await graph.ready_team()

    await asyncio.gather(*(graph.kickoff(team_id, whenBusy="REPLACE") for _ in range(5)))

    assert sorted((await states(graph, team_id)).values()) == ["CANCELLED"] * 4 + ["QUEUED"]


async def test_a_kickoff_that_is_refused_replaces_nothing(graph: Graph) -> None:
    team_id = await graph.team()
    await graph.task(team_id, roleId=await graph.role(team_id), description="See {city}")
    await graph.kickoff(team_id, inputs={"city": "Graz"})

    async with nothing_written(graph):
        payload = await graph.mutate("kickoffTeam", EXECUTION, teamId=team_id, whenBusy="REPLACE")

    assert [error["code"] for error in payload["errors"]] == ["MISSING_INPUTS"]


async def test_the_same_key_replaces_only_once(graph: Graph) -> None:
    team_id = await graph.ready_team()
    given: dict[str, Any] = {"whenBusy": "REPLACE", "idempotencyKey": "k"}
    first = await graph.kickoff(team_id, **given)

    async with nothing_written(graph):
        again = await graph.kickoff(team_id, **given)

    assert again == first
