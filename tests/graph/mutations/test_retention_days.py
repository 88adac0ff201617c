"""How long executions are kept, and what the graph shows of those that were archived."""

from typing import Any

import pytest

from persistence.engine import Database
from tests.support.graphql import Graph
from tests.support.live import PlayedWorker, archive
from tests.support.things import nothing_written

EXECUTION = """query($id: ID!) { execution(id: $id) {
    status archivedAt inputs output canRetry isFinal usage { calls totalTokens cost { amount } }
    failure { code message } budget { spent { amount } } timing { finishedAt }
    taskExecutions { name status description expectedOutput output roleTitle usage { calls } }
    ledger(first: 10) { nodes { cost { amount } } }
    events(first: 10) { totalCount nodes { __typename } }
} }"""


async def over(graph: Graph, database: Database) -> str:
    """The id of an execution that failed after its first task was done."""
    execution_id = await graph.kickoff(await graph.ready_team(), inputs={"who": "us"})
    worker = await PlayedWorker.on(graph, database, execution_id)
    await worker.starts()
    await worker.says("Hello")
    await worker.completes(0, "Done.")
    await worker.fails()
    return execution_id


async def test_a_tenant_says_for_how_many_days_its_executions_are_kept(graph: Graph) -> None:
    async def update(**values: Any) -> Any:
        payload = await graph.mutate("updateTenant", "tenant { retentionDays }", **values)
        assert payload["errors"] == []
        return payload["tenant"]["retentionDays"]

    assert await update() is None
    assert await update(retentionDays=36_500) == 36_500
    assert await update(maxParallelExecutions=7) == 36_500
    assert await update(retentionDays=1) == 1
    assert (await graph.query("{ tenant { retentionDays } }"))["tenant"] == {"retentionDays": 1}
    assert await update(retentionDays=None) is None


@pytest.mark.parametrize("days", [0, -1, 36_501])
async def test_days_out_of_bounds_are_refused(graph: Graph, days: int) -> None:
    async with nothing_written(graph):
        payload = await graph.mutate("updateTenant", "__typename", retentionDays=days)

    told = [(error["code"], error["path"], error["message"]) for error in payload["errors"]]
    assert told == [("INVALID", ["input", "retentionDays"], "Must be between 1 and 36500.")]


async def test_of_an_archived_execution_states_times_and_money_are_left(graph: Graph, database: Database) -> None:
    execution_id = await over(graph, database)
    before = (await graph.query(EXECUTION, id=execution_id))["execution"]

    await archive(database, execution_id)

    after = (await graph.query(EXECUTION, id=execution_id))["execution"]
    assert (before["archivedAt"], before["canRetry"], before["events"]["totalCount"] > 0) == (None, True, True)
    assert after["archivedAt"] is not None
    gone = {"inputs": {}, "output": None, "canRetry": False, "events": {"totalCount": 0, "nodes": []}}
    changed = {"archivedAt": after["archivedAt"], "timing": after["timing"]}
    blank = {"description": "", "expectedOutput": "", "output": None}
    tasks = [{**task, **blank} for task in before["taskExecutions"]]
    assert after == {**before, **gone, **changed, "taskExecutions": tasks}


async def test_an_archived_execution_can_be_neither_tried_again_nor_forked(graph: Graph, database: Database) -> None:
    execution_id = await over(graph, database)
    found = await graph.query("query($id: ID!) { execution(id: $id) { taskExecutions { id } } }", id=execution_id)
    task_id = found["execution"]["taskExecutions"][0]["id"]
    await archive(database, execution_id)

    async with nothing_written(graph):
        payloads = [
            await graph.mutate("retryExecution", "execution { id }", executionId=execution_id),
            await graph.mutate("forkExecution", "execution { id }", executionId=execution_id, fromTask=task_id),
        ]

    assert [payload["execution"] for payload in payloads] == [None, None]
    assert [payload["errors"] for payload in payloads] == [
        [
            {
                "__typename": "Conflict",
                "message": "The execution is archived.",
                "code": "ARCHIVED",
                "path": ["input", "executionId"],
                "suggestion": "Its inputs and outputs are gone: kick the team off anew.",
            }
        ]
    ] * 2
