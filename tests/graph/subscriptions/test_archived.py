"""Subscriptions to executions that were archived: they end, cleanly and at once."""

from persistence.engine import Database
from tests.support.graphql import Graph
from tests.support.live import PlayedWorker, Socket, archive

EVENTS = """subscription($id: ID!, $after: String) {
    executionEvents(executionId: $id, after: $after) { events { __typename sequence } } }"""
PROGRESS = (
    "subscription($id: ID!) { executionProgress(executionId: $id) { execution { status archivedAt } doneTasks } }"
)


async def over(graph: Graph, database: Database) -> str:
    """The id of an execution that failed after its first task was done."""
    execution_id = await graph.kickoff(await graph.ready_team(), inputs={"who": "us"})
    worker = await PlayedWorker.on(graph, database, execution_id)
    await worker.starts()
    await worker.says("Hello")
    await worker.completes(0, "Done.")
    await worker.fails()
    return execution_id


async def test_a_subscription_to_an_archived_execution_ends_at_once(live: Graph, database: Database) -> None:
    execution_id = await over(live, database)
    async with Socket.to(live) as socket:
        seen = [payload async for payload in socket.results(EVENTS, id=execution_id)]
        last = seen[-1]["data"]["executionEvents"]["events"][-1]
        await archive(database, execution_id)

        anew = [payload async for payload in socket.results(EVENTS, id=execution_id)]
        from_cursor = [
            payload async for payload in socket.results(EVENTS, id=execution_id, after=f"e{last['sequence']}")
        ]
        [progress] = [payload async for payload in socket.results(PROGRESS, id=execution_id)]

    assert last["__typename"] == "ExecutionFailed"
    assert anew == from_cursor == []
    told = progress["data"]["executionProgress"]
    assert (told["execution"]["status"], told["doneTasks"]) == ("FAILED", 1)
    assert told["execution"]["archivedAt"] is not None


async def test_a_subscriber_who_is_behind_while_it_is_emptied_sees_no_gap(live: Graph, database: Database) -> None:
    execution_id = await over(live, database)
    await database.pool.execute("UPDATE execution SET finished_at = now() - interval '2 days'")
    while not await database.pool.fetchval("SELECT archived_at IS NOT NULL FROM execution"):
        await database.pool.fetchval("SELECT archive_executions(1, 4)")  # about: its texts, and one or two events

    async with Socket.to(live) as socket:
        payloads = [payload async for payload in socket.results(EVENTS, id=execution_id)]

    left = await database.pool.fetchval("SELECT count(*) FROM execution_event")
    sequences = [event["sequence"] for payload in payloads for event in payload["data"]["executionEvents"]["events"]]
    assert left > 0
    assert sequences == list(range(1, left + 1))
