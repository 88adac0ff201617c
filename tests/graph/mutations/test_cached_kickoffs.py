"""Kickoffs that earlier executions answer: when, what such an execution looks like, and when not."""

from datetime import timedelta
from typing import Any

import pytest

from domain.model.approval import ApprovalKind
from persistence.engine import Database
from tests.support.graphql import Graph
from tests.support.live import PlayedWorker
from tests.support.things import nothing_written, strangers_things

HIT = """
    execution { id status output isCacheHit usage { calls cost { amount } } failure { code }
        timing { startedAt finishedAt } configuration { priority }
        taskExecutions { name status output attempts }
        events { nodes { type sequence ... on ExecutionCompleted { completedTasks isCacheHit }
            ... on TaskReused { name } } } }
"""


async def answered(graph: Graph, database: Database, team_id: str, **values: Any) -> str:
    """The id of an execution that was run, and may answer for others."""
    execution_id = await graph.kickoff(team_id, **{"cache": "USE", **values})
    await (await PlayedWorker.on(graph, database, execution_id)).finishes()
    return execution_id


async def is_hit(graph: Graph, team_id: str, **values: Any) -> bool:
    payload = await graph.mutate("kickoffTeam", HIT, teamId=team_id, **{"cache": "USE", **values})
    assert payload["errors"] == []
    status: str = payload["execution"]["status"]
    assert (status == "COMPLETED") is payload["execution"]["isCacheHit"]
    return status == "COMPLETED"


async def test_the_same_kickoff_is_answered_at_once_and_costs_nothing(graph: Graph, database: Database) -> None:
    team_id = await graph.ready_team()
    source = await answered(graph, database, team_id, inputs={"a": 1, "b": [2]})
    name = (await graph.query("query($id: ID!) { team(id: $id) { tasks { name } } }", id=team_id))["team"]["tasks"][0]

    payload = await graph.mutate("kickoffTeam", HIT, teamId=team_id, cache="USE", inputs={"b": [2], "a": 1})

    execution = payload["execution"]
    assert payload["errors"] == []
    assert execution.pop("id") != source
    assert execution.pop("timing").pop("finishedAt")
    assert execution == {
        "status": "COMPLETED",
        "output": "Done.",
        "isCacheHit": True,
        "usage": {"calls": 0, "cost": {"amount": "0"}},
        "failure": None,
        "configuration": {"priority": 5},
        "taskExecutions": [{**name, "status": "REUSED", "output": "Done.", "attempts": 0}],
        "events": {
            "nodes": [
                {"type": "ExecutionQueued", "sequence": 1},
                {"type": "TaskReused", "sequence": 2, **name},
                {"type": "ExecutionCompleted", "sequence": 3, "completedTasks": 1, "isCacheHit": True},
            ]
        },
    }
    assert await graph.container.database.pool.fetchval("SELECT count(*) FROM admission") == 0


async def test_a_hit_and_its_tasks_name_where_they_come_from(graph: Graph, database: Database) -> None:
    team_id = await graph.ready_team()
    source = await answered(graph, database, team_id)
    hit = await graph.kickoff(team_id, cache="USE")

    pool = graph.container.database.pool
    row = await pool.fetchrow("SELECT cached_from, started_at FROM execution WHERE cached_from IS NOT NULL")
    reused = await pool.fetchrow(
        "SELECT task.reused_from, origin.id FROM task_execution AS task"
        " JOIN task_execution AS origin ON origin.id = task.reused_from WHERE task.status = 'REUSED'"
    )

    data = await graph.query("query($id: ID!) { execution(id: $id) { cachedFrom { id } } }", id=hit)
    assert data["execution"]["cachedFrom"] == {"id": source}
    assert row is not None
    assert row["started_at"] is None
    assert reused is not None


async def test_without_being_asked_nothing_is_answered_nor_kept_for_others(graph: Graph, database: Database) -> None:
    team_id = await graph.ready_team()
    await answered(graph, database, team_id, cache=None)
    await answered(graph, database, team_id, cache="BYPASS")

    assert not await is_hit(graph, team_id)
    assert not await is_hit(graph, team_id, cache=None)


async def test_the_teams_setting_asks_for_all_its_kickoffs(graph: Graph, database: Database) -> None:
    team_id = await graph.team(settings={"isCached": True})
    await graph.role(team_id)
    await answered(graph, database, team_id, cache=None)

    assert await is_hit(graph, team_id, cache=None)
    assert not await is_hit(graph, team_id, cache="BYPASS")


async def test_a_refresh_runs_and_answers_for_later_ones(graph: Graph, database: Database) -> None:
    team_id = await graph.ready_team()
    await answered(graph, database, team_id)
    newer = await answered(graph, database, team_id, cache="REFRESH")

    hit = await graph.kickoff(team_id, cache="USE")

    data = await graph.query("query($id: ID!) { execution(id: $id) { cachedFrom { id } } }", id=hit)
    assert data["execution"]["cachedFrom"] == {"id": newer}


@pytest.mark.parametrize(
    "other",
    [
        {"inputs": {"a": 2}},
        {"maxIterations": 4},
        {"executionTimeoutSeconds": 9.0},
        {"taskTimeoutSeconds": 9.0},
        {"qualityPreference": "FAST"},
        {"maxBudget": "2"},
        {"maxTaskBudget": "1"},
        {"priority": 6},
        {"maxParallelTasks": 3},
        {"tasks": [{"description": "Do it.", "expectedOutput": "Done."}]},
    ],
)
async def test_whoever_asks_for_something_else_is_not_answered(
    graph: Graph, database: Database, other: dict[str, Any]
) -> None:
    team_id = await graph.ready_team()
    given = {"inputs": {"a": 1}, "maxBudget": "1.0"}
    await answered(graph, database, team_id, **given)

    assert not await is_hit(graph, team_id, **{**given, **other})
    assert await is_hit(graph, team_id, **{**given, "maxBudget": "1.00", "whenBusy": "PARALLEL"})


async def test_own_tasks_are_answered_by_the_same_own_tasks_alone(graph: Graph, database: Database) -> None:
    team_id = await graph.ready_team()
    task = {"description": "Sum up.", "expectedOutput": "A sum.", "kind": "sum", "requiredSkills": ["sums"]}
    await answered(graph, database, team_id, tasks=[task])

    assert await is_hit(graph, team_id, tasks=[task])
    for name, value in {"description": "Add.", "kind": "add", "requiredSkills": ["adding"], "priority": 6}.items():
        assert not await is_hit(graph, team_id, tasks=[{**task, name: value}])


async def test_an_edit_of_the_team_ends_its_answers_and_taking_it_back_brings_them_again(
    graph: Graph, database: Database
) -> None:
    team_id = await graph.team()
    task_id = await graph.task(team_id, roleId=await graph.role(team_id))
    await answered(graph, database, team_id)

    await graph.mutate("updateTask", "task { id }", id=task_id, version=1, description="Do more.")
    assert not await is_hit(graph, team_id)
    await graph.mutate("updateTask", "task { id }", id=task_id, version=2, description="Do it.")
    assert await is_hit(graph, team_id)


async def test_an_answer_is_good_for_an_hour_however_often_it_was_given(graph: Graph, database: Database) -> None:
    team_id = await graph.ready_team()
    await answered(graph, database, team_id)
    pool = graph.container.database.pool

    await pool.execute("UPDATE execution SET finished_at = now() - $1::interval", timedelta(minutes=59))
    assert await is_hit(graph, team_id)
    await pool.execute(
        "UPDATE execution SET finished_at = now() - $1::interval WHERE cached_from IS NULL", timedelta(minutes=61)
    )
    assert not await is_hit(graph, team_id)


@pytest.mark.parametrize("status", ["QUEUED", "RUNNING", "PAUSED", "FAILED", "CANCELLED"])
async def test_only_what_was_completed_answers(graph: Graph, database: Database, status: str) -> None:
    team_id = await graph.ready_team()
    await answered(graph, database, team_id)
    await graph.container.database.pool.execute("UPDATE execution SET status = $1", status)

    assert not await is_hit(graph, team_id)


async def test_an_execution_whose_tasks_were_changed_meanwhile_answers_for_nobody(
    graph: Graph, database: Database
) -> None:
    team_id = await graph.ready_team()
    payload = await graph.mutate("kickoffTeam", "execution { id taskExecutions { id } }", teamId=team_id, cache="USE")
    identifier, task = payload["execution"]["id"], payload["execution"]["taskExecutions"][0]["id"]
    worker = await PlayedWorker.on(graph, database, identifier)
    await graph.mutate("pauseExecution", "execution { id }", executionId=identifier)
    await worker.pauses()
    changed = await graph.mutate(
        "updateTaskExecution", "taskExecution { description }", taskExecutionId=task, description="Do less."
    )
    await graph.mutate("resumeExecution", "execution { id }", executionId=identifier)
    await (await PlayedWorker.on(graph, database, identifier)).finishes()

    assert changed == {"taskExecution": {"description": "Do less."}, "errors": []}
    assert not await is_hit(graph, team_id)


@pytest.mark.parametrize(
    ("decision", "is_answer"),
    [
        (("approveTask", ApprovalKind.TASK, {}), True),
        (("approveTask", ApprovalKind.TASK, {"output": "Mine."}), False),
        (("rejectTask", ApprovalKind.TASK, {"feedback": "Better."}), False),
        (("answerQuestion", ApprovalKind.QUESTION, {"answer": "42"}), False),
    ],
)
async def test_an_execution_to_which_a_human_said_something_answers_for_nobody(
    graph: Graph, database: Database, decision: tuple[str, ApprovalKind, dict[str, str]], *, is_answer: bool
) -> None:
    name, kind, values = decision
    team_id = await graph.ready_team()
    identifier = await graph.kickoff(team_id, cache="USE")
    asked = await (await PlayedWorker.on(graph, database, identifier)).asks(kind, "Is this good?")
    assert (await graph.mutate(name, "approval { id }", approvalId=asked, **values))["errors"] == []
    await (await PlayedWorker.on(graph, database, identifier)).finishes()

    assert await is_hit(graph, team_id) is is_answer


async def test_strangers_and_other_teams_are_not_answered(graph: Graph, database: Database) -> None:
    team_id = await graph.ready_team()
    await answered(graph, database, team_id)
    await strangers_things(graph)
    own = await graph.ready_team()
    await answered(graph, database, own)

    assert not await is_hit(graph, await graph.ready_team())
    assert await is_hit(graph, own)


async def test_a_hit_asks_for_neither_money_nor_an_idle_team(graph: Graph, database: Database) -> None:
    team_id = await graph.ready_team()
    await answered(graph, database, team_id)
    under_way = await graph.kickoff(team_id)
    version = (await graph.query("query($id: ID!) { team(id: $id) { version } }", id=team_id))["team"]["version"]
    await graph.mutate("updateTeam", "team { id }", id=team_id, version=version, monthlyBudget="0.1")

    assert await is_hit(graph, team_id, whenBusy="REJECT")
    assert await is_hit(graph, team_id, whenBusy="REPLACE")

    data = await graph.query("query($id: ID!) { execution(id: $id) { status } }", id=under_way)
    assert data["execution"]["status"] == "QUEUED"


async def test_the_same_key_gives_the_first_hit_again(graph: Graph, database: Database) -> None:
    team_id = await graph.ready_team()
    await answered(graph, database, team_id)
    first = await graph.kickoff(team_id, cache="USE", idempotencyKey="k")

    async with nothing_written(graph):
        again = await graph.kickoff(team_id, cache="USE", idempotencyKey="k")

    assert again == first
