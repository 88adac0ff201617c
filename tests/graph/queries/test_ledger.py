"""The ledger in the graph: every call with its decision, paged newest first, found again by its id."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from domain.model.ledger import CallOutcome, TokenSource
from persistence.engine import Database
from resolvers.node_ids import node_id
from tests.support.graphql import Graph, counted_statements
from tests.support.ledger import DECISION, an_entry, book
from tests.support.live import PlayedWorker
from tests.support.things import strangers_things

ENTRY = """id model provider outcome attempt call callAttempt promptTokens completionTokens cachedTokens reasoningTokens
    totalTokens tokenSource cost { amount currency } reserved { amount currency } isOverrun latencySeconds
    timeToFirstTokenSeconds error bookedAt
    decision { model tier wantedTier preference complexity reason alternatives estimatedCost { amount currency } }"""
PAGE = """query($execution: ID!, $first: Int!, $after: String, $filter: LedgerFilter) { execution(id: $execution) {
    ledger(first: $first, after: $after, filter: $filter) {
        totalCount nodes { id } pageInfo { hasNextPage endCursor } } } }"""
NODE = "query($id: ID!) { node(id: $id) { __typename id } }"
NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)


async def _worker(graph: Graph, database: Database) -> PlayedWorker:
    return await PlayedWorker.on(graph, database, await graph.kickoff(await graph.ready_team()))


def _execution(worker: PlayedWorker) -> str:
    return node_id("Execution", worker.claimed.execution.id)


def _id(entry: Any) -> str:
    return node_id("LedgerEntry", entry.id)


async def test_an_entry_shows_all_that_was_booked_of_a_call(graph: Graph, database: Database) -> None:
    worker = await _worker(graph, database)
    entry = an_entry(
        worker,
        "0.75",
        outcome=CallOutcome.FAILED,
        call=2,
        call_attempt=3,
        cached_tokens=4,
        reasoning_tokens=1,
        token_source=TokenSource.ESTIMATE,
        latency_seconds=1.5,
        time_to_first_token_seconds=0.25,
        error="MODEL_UNAVAILABLE",
        routing=DECISION.as_document(),
        reserved=Decimal("0.5"),
        is_overrun=True,
        booked_at=NOON,
    )
    await book(worker, entry)

    found = await graph.query(
        f"query($id: ID!) {{ node(id: $id) {{ ... on LedgerEntry {{ {ENTRY} }} }} }}", id=_id(entry)
    )

    assert found["node"] == {
        "id": _id(entry),
        "model": "test/model",
        "provider": "test",
        "outcome": "FAILED",
        "attempt": 1,
        "call": 2,
        "callAttempt": 3,
        "promptTokens": 10,
        "completionTokens": 5,
        "cachedTokens": 4,
        "reasoningTokens": 1,
        "totalTokens": 15,
        "tokenSource": "ESTIMATE",
        "cost": {"amount": "0.75", "currency": "USD"},
        "reserved": {"amount": "0.5", "currency": "USD"},
        "isOverrun": True,
        "latencySeconds": 1.5,
        "timeToFirstTokenSeconds": 0.25,
        "error": "MODEL_UNAVAILABLE",
        "bookedAt": "2026-03-31T12:00:00+00:00",
        "decision": {
            "model": "test/model",
            "tier": "STANDARD",
            "wantedTier": "PREMIUM",
            "preference": "BALANCED",
            "complexity": "COMPLEX",
            "reason": "Nothing better.",
            "alternatives": ["test/other", "test/third"],
            "estimatedCost": {"amount": "0.5", "currency": "USD"},
        },
    }


async def test_an_entry_without_a_decision_has_none(graph: Graph, database: Database) -> None:
    worker = await _worker(graph, database)
    await book(worker, an_entry(worker))

    selection = "isOverrun reserved { amount } decision { model }"
    query = f"query($id: ID!) {{ execution(id: $id) {{ ledger {{ nodes {{ {selection} }} }} }} }}"
    found = await graph.query(query, id=_execution(worker))

    entry = {"isOverrun": False, "reserved": {"amount": "0"}, "decision": None}
    assert found["execution"]["ledger"]["nodes"] == [entry]


async def test_execution_task_and_team_list_their_own_calls_newest_first(graph: Graph, database: Database) -> None:
    team_id = await graph.team()
    role_id = await graph.role(team_id)
    await graph.task(team_id, roleId=role_id, position=0)
    await graph.task(team_id, roleId=role_id, position=1)
    one, two = [await PlayedWorker.on(graph, database, await graph.kickoff(team_id)) for _ in range(2)]
    first = an_entry(one, task=0, booked_at=NOON)
    second = an_entry(one, task=1, booked_at=NOON + timedelta(days=1))  # another month, another partition
    third = an_entry(two, task=0, booked_at=NOON + timedelta(days=2))

    await book(one, second, first)
    await book(two, third)

    found = await graph.query(
        "query($team: ID!, $one: ID!) { team(id: $team) { ledger { totalCount nodes { id } } } execution(id: $one) {"
        " ledger { nodes { id execution { id } role { id } taskExecution { position } } }"
        " taskExecutions { ledger { nodes { id } } } } }",
        team=team_id,
        one=_execution(one),
    )
    assert found["team"]["ledger"] == {"totalCount": 3, "nodes": [{"id": _id(it)} for it in (third, second, first)]}
    assert found["execution"]["ledger"]["nodes"] == [
        {
            "id": _id(it),
            "execution": {"id": _execution(one)},
            "role": {"id": role_id},
            "taskExecution": {"position": at},
        }
        for it, at in ((second, 1), (first, 0))
    ]
    tasks = [task["ledger"]["nodes"] for task in found["execution"]["taskExecutions"]]
    assert tasks == [[{"id": _id(first)}], [{"id": _id(second)}]]


async def test_pages_follow_each_other_also_within_one_moment(graph: Graph, database: Database) -> None:
    worker = await _worker(graph, database)
    entries = [an_entry(worker, booked_at=NOON) for _ in range(5)]
    await book(worker, *entries)

    seen: list[str] = []
    after, has_next = None, True
    while has_next:
        page = (await graph.query(PAGE, execution=_execution(worker), first=2, after=after))["execution"]["ledger"]
        seen += [node["id"] for node in page["nodes"]]
        after, has_next = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]

    assert seen == [_id(entry) for entry in sorted(entries, key=lambda entry: entry.id, reverse=True)]


async def test_a_cursor_of_another_list_is_refused(graph: Graph, database: Database) -> None:
    worker = await _worker(graph, database)
    other = await graph.query("{ tenant { executions { pageInfo { endCursor } } } }")
    cursor = other["tenant"]["executions"]["pageInfo"]["endCursor"]

    answer = await graph.answer(PAGE, execution=_execution(worker), first=2, after=cursor)

    assert [error["extensions"] for error in answer["errors"]] == [{"code": "INVALID", "argument": ["after"]}]


async def test_calls_are_filtered_by_outcome_and_moment(graph: Graph, database: Database) -> None:
    worker = await _worker(graph, database)
    lost = an_entry(worker, outcome=CallOutcome.LOST, booked_at=NOON)
    failed = an_entry(worker, outcome=CallOutcome.FAILED, booked_at=NOON + timedelta(hours=1))
    await book(worker, lost, failed, an_entry(worker, booked_at=NOON + timedelta(hours=2)))

    async def found(**wanted: Any) -> list[str]:
        page = await graph.query(PAGE, execution=_execution(worker), first=9, filter=wanted)
        ledger = page["execution"]["ledger"]
        assert ledger["totalCount"] == len(ledger["nodes"])
        return [node["id"] for node in ledger["nodes"]]

    assert await found(outcome={"in": ["LOST", "FAILED"]}) == [_id(failed), _id(lost)]
    assert await found(outcome={"in": ["CANCELLED"]}) == await found(outcome={"in": []}) == []
    assert await found(bookedAt={"lt": "2026-03-31T13:00:00"}) == [_id(lost)]
    assert await found(bookedAt={"gte": "2026-03-31T13:00:00Z"}, outcome={"in": ["LOST", "FAILED"]}) == [_id(failed)]


async def test_entries_of_many_executions_and_their_edges_cost_a_constant_number_of_statements(
    graph: Graph, database: Database
) -> None:
    query = (
        "query($id: ID!) { team(id: $id) { executions { nodes { ledger { nodes {"
        " cost { amount } decision { reason } role { title } taskExecution { name } } } } } } }"
    )
    team_id = await graph.ready_team()

    async def statements() -> int:
        worker = await PlayedWorker.on(graph, database, await graph.kickoff(team_id))
        await book(worker, an_entry(worker), an_entry(worker, routing=DECISION.as_document()))
        with counted_statements(graph) as seen:
            await graph.query(query, id=team_id)
        return len(seen)

    assert [await statements() for _ in range(3)] == [5] * 3  # team, executions, ledger, roles, task executions


async def test_an_entry_is_found_by_its_id_but_not_by_a_stranger(graph: Graph, database: Database) -> None:
    worker = await _worker(graph, database)
    entry = an_entry(worker)
    await book(worker, entry)
    assert await graph.query(NODE, id=_id(entry)) == {"node": {"__typename": "LedgerEntry", "id": _id(entry)}}
    assert await graph.query(NODE, id=node_id("LedgerEntry", UUID(int=7))) == {"node": None}

    await strangers_things(graph)

    assert await graph.query(NODE, id=_id(entry)) == {"node": None}
