"""Kickoffs: what a queued execution is made of, when one is refused, and that a key starts one only once."""

import asyncio
import hashlib
import json
from typing import Any

import pytest

from resolvers.node_ids import parse_node_id
from tests.support.graphql import Graph
from tests.support.things import nothing_written

EXECUTION = """
    execution { id status allowedTransitions canCancel isFinal inputs output failure { code } startedBy
        configuration { maxIterations executionTimeoutSeconds taskTimeoutSeconds
            qualityPreference maxBudget { amount currency } maxTaskBudget { amount } priority maxParallelTasks }
        timing { startedAt finishedAt queueWaitSeconds durationSeconds } cancelRequestedAt
        usage { calls totalTokens cost { amount currency } } revision { number }
        taskExecutions { name description expectedOutput position status roleTitle attempts maxAttempts model output }
        events { nodes { __typename sequence cursor type } } }
"""


def _refused(payload: dict[str, Any]) -> list[tuple[str, str, list[str]]]:
    return [(error["__typename"], error["code"], error["path"]) for error in payload["errors"]]


async def test_a_kickoff_queues_the_tasks_in_their_order_with_placeholders_filled(graph: Graph) -> None:
    team_id = await graph.team(settings={"maxIterations": 9})
    role_id = await graph.role(team_id, title="{city} guide")
    late = await graph.task(team_id, name="Late", roleId=role_id, priority=9)
    await graph.task(team_id, name="Early", roleId=role_id, description="See {city}!", expectedOutput="{n} lines")
    early = (await graph.query("query($id: ID!) { team(id: $id) { tasks { id name } } }", id=team_id))["team"]["tasks"]
    early_id = next(task["id"] for task in early if task["name"] == "Early")
    await graph.mutate("updateTask", "task { id }", id=late, version=1, dependsOn=[early_id])

    payload = await graph.mutate(
        "kickoffTeam", EXECUTION, teamId=team_id, inputs={"city": "Graz", "n": 3}, taskTimeoutSeconds=60
    )

    assert payload["errors"] == []
    execution = payload["execution"]
    assert execution.pop("id")
    task = {"status": "PENDING", "roleTitle": "Graz guide", "attempts": 0, "maxAttempts": 2} | dict.fromkeys(
        ("model", "output")
    )
    assert execution == {
        "status": "QUEUED",
        "allowedTransitions": ["RUNNING", "PAUSED", "FAILED", "CANCELLED"],
        "canCancel": True,
        "isFinal": False,
        "inputs": {"city": "Graz", "n": 3},
        "output": None,
        "failure": None,
        "startedBy": None,
        "configuration": {
            "maxIterations": 9,
            "executionTimeoutSeconds": 1800.0,
            "taskTimeoutSeconds": 60.0,
            "qualityPreference": "BALANCED",
            "maxBudget": None,
            "maxTaskBudget": None,
            "priority": 5,
            "maxParallelTasks": 4,
        },
        "timing": {"startedAt": None, "finishedAt": None, "queueWaitSeconds": None, "durationSeconds": None},
        "cancelRequestedAt": None,
        "usage": {"calls": 0, "totalTokens": 0, "cost": {"amount": "0", "currency": "USD"}},
        "revision": {"number": 1},
        "taskExecutions": [
            {
                "name": "Early",
                "description": "See Graz!",
                "expectedOutput": "3 lines",
                "position": 0,
                **task,
            },
            {"name": "Late", "description": "Do it.", "expectedOutput": "Done.", "position": 1, **task},
        ],
        "events": {
            "nodes": [{"__typename": "ExecutionQueued", "sequence": 1, "cursor": "e1", "type": "ExecutionQueued"}]
        },
    }


async def test_an_execution_keeps_the_preference_and_the_budgets_that_were_asked_for(graph: Graph) -> None:
    given = {"qualityPreference": "PREMIUM", "maxBudget": "10.50", "maxTaskBudget": 0.1}

    payload = await graph.mutate("kickoffTeam", EXECUTION, teamId=await graph.ready_team(), **given)

    asked_for = {
        "qualityPreference": "PREMIUM",
        "maxBudget": {"amount": "10.5", "currency": "USD"},
        "maxTaskBudget": {"amount": "0.1"},
    }
    assert payload["errors"] == []
    assert payload["execution"]["configuration"].items() >= asked_for.items()


async def test_a_team_without_tasks_gets_one_per_active_role(graph: Graph) -> None:
    team_id = await graph.team()
    await graph.role(team_id, title="Market analyst")
    await graph.role(team_id, title="Poet", position=1)
    await graph.role(team_id, title="Away", isActive=False)

    payload = await graph.mutate("kickoffTeam", EXECUTION, teamId=team_id, inputs={"budget": "9 USD"})

    tasks = payload["execution"]["taskExecutions"]
    assert [task["name"] for task in tasks] == ["Market analyst: analysis", "Poet: contribution"]
    assert all("- budget: 9 USD\n" in task["description"] for task in tasks)
    assert all("- timeline: to be determined\n" in task["description"] for task in tasks)


async def test_an_execution_keeps_its_revision_and_an_edit_makes_the_next_one(graph: Graph) -> None:
    team_id = await graph.team()
    role_id = await graph.role(team_id)
    task_id = await graph.task(team_id, roleId=role_id)
    selection = "execution { revision { id number } taskExecutions { description } }"

    async def kickoff() -> tuple[int, str]:
        execution = (await graph.mutate("kickoffTeam", selection, teamId=team_id))["execution"]
        return execution["revision"]["number"], execution["taskExecutions"][0]["description"]

    first, again = await kickoff(), await kickoff()
    await graph.mutate("updateTask", "task { id }", id=task_id, version=1, description="Do more.")
    edited = await kickoff()
    await graph.mutate("updateTask", "task { id }", id=task_id, version=2, description="Do it.")
    taken_back = await kickoff()

    assert (first, again, edited, taken_back) == ((1, "Do it."), (1, "Do it."), (2, "Do more."), (1, "Do it."))


async def test_a_team_tells_its_last_kickoff(graph: Graph) -> None:
    team_id = await graph.ready_team()
    execution_id = await graph.kickoff(team_id)

    data = await graph.query(
        "query($team: ID!, $execution: ID!) { team(id: $team) { status lastExecutedAt }"
        " execution(id: $execution) { createdAt team { id } project { teams { nodes { id } } } } }",
        team=team_id,
        execution=execution_id,
    )

    assert data["team"] == {"status": "IDLE", "lastExecutedAt": data["execution"]["createdAt"]}
    assert data["execution"]["team"] == {"id": team_id}
    assert data["execution"]["project"] == {"teams": {"nodes": [{"id": team_id}]}}


async def test_missing_inputs_are_named(graph: Graph) -> None:
    team_id = await graph.team()
    role_id = await graph.role(team_id, backstory="Born in {city}")
    await graph.task(team_id, roleId=role_id, description="{a} {b} {a}", expectedOutput="{c-d}")

    async with nothing_written(graph):
        payload = await graph.mutate("kickoffTeam", EXECUTION, teamId=team_id, inputs={"b": None})

    assert payload["execution"] is None
    assert payload["errors"] == [
        {
            "__typename": "MissingInputs",
            "message": "These inputs are missing: a, b, c-d, city.",
            "code": "MISSING_INPUTS",
            "path": ["input", "inputs"],
            "suggestion": None,
            "names": ["a", "b", "c-d", "city"],
        }
    ]


async def test_a_team_without_an_active_role_is_refused(graph: Graph) -> None:
    team_id = await graph.team()
    await graph.role(team_id, isActive=False)
    gone = await graph.role(team_id)
    await graph.mutate("archiveRole", "role { id }", id=gone)

    async with nothing_written(graph):
        payload = await graph.mutate("kickoffTeam", EXECUTION, teamId=team_id)

    assert payload["errors"] == [
        {
            "__typename": "Refused",
            "message": "The team has no active role.",
            "code": "NO_ACTIVE_ROLE",
            "path": ["input", "teamId"],
            "suggestion": "Add a role, or set one active.",
        }
    ]


@pytest.mark.parametrize("kind", ["Team", "Project"])
async def test_an_archived_team_or_one_of_an_archived_project_is_refused(graph: Graph, kind: str) -> None:
    project_id = await graph.project()
    team_id = await graph.team(project_id)
    await graph.role(team_id)
    archived = team_id if kind == "Team" else project_id
    await graph.mutate(f"archive{kind}", "__typename", id=archived)

    async with nothing_written(graph):
        payload = await graph.mutate("kickoffTeam", EXECUTION, teamId=team_id)

    assert _refused(payload) == [("Conflict", "ARCHIVED", ["input", "teamId"])]
    assert payload["errors"][0]["message"] == f"The {kind.lower()} is archived."


@pytest.mark.parametrize("process", ["PARALLEL", "HIERARCHICAL", "COLLABORATIVE"])
async def test_every_process_can_be_kicked_off(graph: Graph, process: str) -> None:
    team_id = await graph.team(process=process)
    await graph.role(team_id)
    await graph.task(team_id, name="Own")

    payload = await graph.mutate("kickoffTeam", "execution { taskExecutions { name } }", teamId=team_id)

    assert payload["errors"] == []
    names = [task["name"] for task in payload["execution"]["taskExecutions"]]
    assert names == (["Own", "Synthesis"] if process == "COLLABORATIVE" else ["Own"])


async def test_limits_out_of_range_are_all_told(graph: Graph) -> None:
    team_id = await graph.ready_team()
    limits = {"maxIterations": 0, "executionTimeoutSeconds": -1, "taskTimeoutSeconds": 3601}
    limits |= {"priority": 10, "maxParallelTasks": 17}

    async with nothing_written(graph):
        payload = await graph.mutate("kickoffTeam", EXECUTION, teamId=team_id, **limits)

    assert _refused(payload) == [("Invalid", "INVALID", ["input", name]) for name in limits]


# ---------------------------------------------------------------- idempotency


async def test_the_same_key_and_input_give_the_first_execution_again(graph: Graph) -> None:
    team_id = await graph.ready_team()
    first = await graph.kickoff(team_id, idempotencyKey="k", inputs={"a": 1, "b": 2})
    await graph.mutate("archiveTeam", "team { id }", id=team_id)

    async with nothing_written(graph):
        again = await graph.kickoff(team_id, idempotencyKey="k", inputs={"b": 2, "a": 1})

    assert again == first


async def test_an_amount_written_in_another_way_is_the_same_input(graph: Graph) -> None:
    team_id = await graph.ready_team()
    first = await graph.kickoff(team_id, idempotencyKey="k", maxBudget="1.0", maxTaskBudget="100", inputs={})

    for amounts in (("1.00", "1e2"), ("1", "100.0"), (1.0, 100)):
        async with nothing_written(graph):
            given = {"maxBudget": amounts[0], "maxTaskBudget": amounts[1], "qualityPreference": "BALANCED"}
            again = await graph.kickoff(team_id, idempotencyKey="k", **given)
        assert again == first


async def test_a_key_from_before_budgets_could_be_given_is_still_known(graph: Graph) -> None:
    team_id = await graph.ready_team()
    first = await graph.kickoff(team_id, idempotencyKey="k")
    asked: list[Any] = ["kickoffTeam", str(parse_node_id(team_id)[1]), {}, None, None, None]

    kept = await graph.container.database.pool.fetchval("SELECT request_hash FROM idempotency_key")

    assert kept == hashlib.sha256(json.dumps(asked).encode()).hexdigest()
    assert await graph.kickoff(team_id, idempotencyKey="k") == first


@pytest.mark.parametrize(
    "other",
    [
        {"inputs": {"a": 2}},
        {"maxIterations": 1},
        {"executionTimeoutSeconds": 9.0},
        {"taskTimeoutSeconds": 9.0},
        {"qualityPreference": "FAST"},
        {"maxBudget": "0"},
        {"maxTaskBudget": "0"},
        {"priority": 6},
        {"maxParallelTasks": 4},
        {"whenBusy": "QUEUE"},
        {"cache": "BYPASS"},
        {"tasks": [{"description": "Do.", "expectedOutput": "Done."}]},
    ],
)
async def test_the_same_key_with_another_input_is_a_conflict(graph: Graph, other: dict[str, Any]) -> None:
    team_id = await graph.ready_team()
    await graph.kickoff(team_id, idempotencyKey="k", inputs={"a": 1})

    async with nothing_written(graph):
        payload = await graph.mutate(
            "kickoffTeam", EXECUTION, **{"teamId": team_id, "idempotencyKey": "k", "inputs": {"a": 1}, **other}
        )

    assert payload == {
        "execution": None,
        "errors": [
            {
                "__typename": "Conflict",
                "message": "This idempotency key was used with another input.",
                "code": "IDEMPOTENCY_CONFLICT",
                "path": ["input", "idempotencyKey"],
                "suggestion": None,
            }
        ],
    }


async def test_a_refused_kickoff_does_not_use_up_its_key(graph: Graph) -> None:
    team_id = await graph.team()
    refused = await graph.mutate("kickoffTeam", EXECUTION, teamId=team_id, idempotencyKey="k")
    assert _refused(refused) == [("Refused", "NO_ACTIVE_ROLE", ["input", "teamId"])]
    await graph.role(team_id)

    assert await graph.kickoff(team_id, idempotencyKey="k")


async def test_kickoffs_at_once_with_one_key_start_one_execution(graph: Graph) -> None:
    team_id = await graph.ready_team()

    ids = await asyncio.gather(*(graph.kickoff(team_id, idempotencyKey="k") for _ in range(4)))

    executions = await graph.query(
        "query($id: ID!) { team(id: $id) { executions { totalCount nodes { id } } } }", id=team_id
    )
    assert executions["team"]["executions"] == {"totalCount": 1, "nodes": [{"id": ids[0]}]}
    assert len(set(ids)) == 1


async def test_kickoffs_at_once_without_a_key_are_all_started_on_one_revision(graph: Graph) -> None:
    team_id = await graph.ready_team()

    ids = await asyncio.gather(*(graph.kickoff(team_id) for _ in range(4)))

    executions = await graph.query(
        "query($id: ID!) { team(id: $id) { executions { nodes { id revision { number } } } } }", id=team_id
    )
    found = executions["team"]["executions"]["nodes"]
    assert {item["id"] for item in found} == set(ids)
    assert {item["revision"]["number"] for item in found} == {1}


async def test_an_expired_key_is_free_again(graph: Graph) -> None:
    team_id = await graph.ready_team()
    first = await graph.kickoff(team_id, idempotencyKey="k")
    await graph.container.database.pool.execute("UPDATE idempotency_key SET expires_at = now() - interval '1 second'")

    assert await graph.kickoff(team_id, idempotencyKey="k", inputs={"other": 1}) != first


async def test_a_kickoff_waits_for_a_place_from_its_own_commit_on(graph: Graph) -> None:
    execution_id = await graph.kickoff(await graph.ready_team(), priority=7)

    waiting = await graph.container.database.pool.fetchrow("SELECT * FROM admission")

    assert waiting is not None
    assert waiting["execution_id"] == parse_node_id(execution_id)[1]
    assert (waiting["priority"], waiting["is_alone"], waiting["worker_id"]) == (7, True, None)
