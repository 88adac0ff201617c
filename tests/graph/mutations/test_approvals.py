"""Humans in the loop: decisions, what follows of them, the inbox, and what happens when nobody decides."""

import asyncio
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from domain.model.approval import Approval, ApprovalDefault, ApprovalKind
from domain.model.identity import utc_now
from domain.services.approvals import ExpireApprovals
from persistence.engine import Database
from persistence.expired_approvals import SqlExpiredApprovals
from persistence.repositories.approvals import ApprovalsTable
from persistence.unit_of_work import SqlUnitsOfWork
from resolvers.node_ids import parse_node_id
from tests.support.fakes import FakeHints
from tests.support.graphql import Graph
from tests.support.live import PlayedWorker
from tests.support.things import nothing_written

APPROVAL = "approval { status answer isOpen decidedAt execution { status } }"
DECISIONS: list[tuple[str, ApprovalKind, dict[str, str], str]] = [
    ("approveTask", ApprovalKind.TASK, {}, "APPROVED"),
    ("approveTask", ApprovalKind.TASK, {"output": "Mine."}, "APPROVED"),
    ("rejectTask", ApprovalKind.TASK, {}, "REJECTED"),
    ("rejectTask", ApprovalKind.TASK, {"feedback": "Shorter."}, "REJECTED"),
    ("answerQuestion", ApprovalKind.QUESTION, {"answer": "42"}, "ANSWERED"),
]


async def _asked(
    graph: Graph, database: Database, kind: ApprovalKind = ApprovalKind.TASK, **values: Any
) -> tuple[str, str]:
    """An execution that waits for a human; its id and that of the approval."""
    execution_id = await graph.kickoff(await graph.ready_team())
    worker = await PlayedWorker.on(graph, database, execution_id)
    return execution_id, await worker.asks(kind, "Is this good?", **values)


async def _events(graph: Graph, execution_id: str) -> list[dict[str, Any]]:
    query = """query($id: ID!) { execution(id: $id) { events { nodes { __typename
        ... on ApprovalGiven { status approval { id } }
        ... on ApprovalRequested { kind assignee approval { id } } } } } }"""
    nodes: list[dict[str, Any]] = (await graph.query(query, id=execution_id))["execution"]["events"]["nodes"]
    return nodes


async def _places(database: Database, execution_id: str) -> int:
    return int(
        await database.pool.fetchval(
            "SELECT count(*) FROM admission WHERE execution_id = $1 AND worker_id IS NULL",
            parse_node_id(execution_id)[1],
        )
    )


@pytest.mark.parametrize(("name", "kind", "values", "status"), DECISIONS)
async def test_a_decision_is_kept_and_lets_the_execution_go_on(
    graph: Graph, database: Database, name: str, kind: ApprovalKind, values: dict[str, str], status: str
) -> None:
    execution_id, approval_id = await _asked(graph, database, kind)
    assert await _places(database, execution_id) == 0

    payload = await graph.mutate(name, APPROVAL, approvalId=approval_id, **values)

    assert payload["errors"] == []
    assert payload["approval"].pop("decidedAt")
    answer = next(iter(values.values()), None)
    assert payload["approval"] == {
        "status": status,
        "answer": answer,
        "isOpen": False,
        "execution": {"status": "RUNNING"},
    }
    assert await _places(database, execution_id) == 1
    *_, asked, waiting, given, resumed = await _events(graph, execution_id)
    assert (asked["__typename"], asked["kind"], asked["approval"]) == (
        "ApprovalRequested",
        kind.value,
        {"id": approval_id},
    )
    assert [waiting["__typename"], resumed["__typename"]] == ["ExecutionAwaitingApproval", "ExecutionResumed"]
    assert given == {"__typename": "ApprovalGiven", "status": status, "approval": {"id": approval_id}}


@pytest.mark.parametrize(("name", "kind", "values", "status"), DECISIONS)
async def test_the_same_decision_again_changes_nothing_and_another_one_is_refused(
    graph: Graph, database: Database, name: str, kind: ApprovalKind, values: dict[str, str], status: str
) -> None:
    _, approval_id = await _asked(graph, database, kind)
    first = await graph.mutate(name, APPROVAL, approvalId=approval_id, **values)
    other_name = {"approveTask": "rejectTask", "rejectTask": "approveTask"}.get(name, name)
    other_values = {"answer": "Something else."} if kind is ApprovalKind.QUESTION else {}

    async with nothing_written(graph):
        same = await graph.mutate(name, APPROVAL, approvalId=approval_id, **values)
        otherwise = await graph.mutate(other_name, APPROVAL, approvalId=approval_id, **other_values)

    assert same == first
    assert [(it["code"], it["message"], it["path"]) for it in otherwise["errors"]] == [
        ("ALREADY_DECIDED", f"This approval is {status} already.", ["input", "approvalId"])
    ]


async def test_of_decisions_at_once_one_holds(graph: Graph, database: Database) -> None:
    execution_id, approval_id = await _asked(graph, database)

    payloads = await asyncio.gather(
        *(graph.mutate(name, APPROVAL, approvalId=approval_id) for name in ("approveTask", "rejectTask") * 2)
    )

    accepted = {payload["approval"]["status"] for payload in payloads if payload["approval"]}
    codes = [error["code"] for payload in payloads for error in payload["errors"]]
    assert (len(accepted), codes) == (1, ["ALREADY_DECIDED"] * 2)
    assert [it["__typename"] for it in await _events(graph, execution_id)].count("ApprovalGiven") == 1
    assert await _places(database, execution_id) == 1


async def test_a_decision_of_an_execution_that_still_works_is_only_written_down(
    graph: Graph, database: Database
) -> None:
    execution_id, approval_id = await _asked(graph, database, stops=False)

    payload = await graph.mutate("approveTask", APPROVAL, approvalId=approval_id)

    assert payload["approval"]["execution"] == {"status": "RUNNING"}
    assert [it["__typename"] for it in await _events(graph, execution_id)][-1] == "ApprovalGiven"
    assert await _places(database, execution_id) == 0  # its worker has it


async def test_a_question_cannot_be_approved_nor_an_output_answered(graph: Graph, database: Database) -> None:
    _, question = await _asked(graph, database, ApprovalKind.QUESTION)
    _, output = await _asked(graph, database)

    async with nothing_written(graph):
        payloads = [
            await graph.mutate("approveTask", APPROVAL, approvalId=question),
            await graph.mutate("rejectTask", APPROVAL, approvalId=question, feedback="No."),
            await graph.mutate("answerQuestion", APPROVAL, approvalId=output, answer="Yes."),
        ]

    for payload in payloads:
        assert [(it["code"], it["path"]) for it in payload["errors"]] == [("INVALID", ["input", "approvalId"])]


async def test_what_a_human_writes_is_checked(graph: Graph, database: Database) -> None:
    team_id = await graph.team()
    await graph.task(team_id, roleId=await graph.role(team_id), outputSchema={"type": "object"})
    worker = await PlayedWorker.on(graph, database, await graph.kickoff(team_id))
    output = await worker.asks(ApprovalKind.TASK, "{}")
    _, question = await _asked(graph, database, ApprovalKind.QUESTION)

    async def refused(name: str, identifier: str, **values: str) -> list[tuple[str, list[str]]]:
        async with nothing_written(graph):
            payload = await graph.mutate(name, APPROVAL, approvalId=identifier, **values)
        return [(error["code"], error["path"]) for error in payload["errors"]]

    assert await refused("approveTask", output, output="no JSON") == [("INVALID", ["input", "output"])]
    assert await refused("approveTask", output, output=" ") == [("INVALID", ["input", "output"])]
    assert await refused("rejectTask", output, feedback="x" * 20_001) == [("INVALID", ["input", "feedback"])]
    assert await refused("answerQuestion", question, answer="\0") == [("INVALID", ["input", "answer"])]
    assert await refused("answerQuestion", question, answer="x", idempotencyKey=" ") == [
        ("INVALID", ["input", "idempotencyKey"])
    ]


async def test_a_cancel_closes_what_is_open_and_then_nothing_can_be_decided(graph: Graph, database: Database) -> None:
    execution_id, approval_id = await _asked(graph, database)

    cancelled = await graph.mutate("cancelExecution", "execution { status }", executionId=execution_id)
    async with nothing_written(graph):
        decided = await graph.mutate("approveTask", APPROVAL, approvalId=approval_id)

    assert cancelled["execution"] == {"status": "CANCELLED"}
    assert [(it["code"], it["message"]) for it in decided["errors"]] == [
        ("ALREADY_DECIDED", "This approval is CANCELLED already.")
    ]


async def test_nothing_is_decided_of_an_execution_that_is_being_cancelled(graph: Graph, database: Database) -> None:
    execution_id, approval_id = await _asked(graph, database, stops=False)
    await graph.mutate("cancelExecution", "execution { status }", executionId=execution_id)

    async with nothing_written(graph):
        decided = await graph.mutate("approveTask", APPROVAL, approvalId=approval_id)

    assert [(it["from"], it["to"]) for it in decided["errors"]] == [("CANCELLING", "RUNNING")]


async def test_an_execution_that_waits_for_a_human_is_not_resumed(graph: Graph, database: Database) -> None:
    execution_id, _ = await _asked(graph, database)

    payload = await graph.mutate("resumeExecution", "execution { status }", executionId=execution_id)

    assert [(it["from"], it["suggestion"]) for it in payload["errors"]] == [
        ("AWAITING_APPROVAL", "Decide its open approvals: then it goes on by itself.")
    ]


async def test_a_key_gives_the_first_decision_again(graph: Graph, database: Database) -> None:
    _, approval_id = await _asked(graph, database)
    first = await graph.mutate("approveTask", APPROVAL, approvalId=approval_id, idempotencyKey="k")

    async with nothing_written(graph):
        again = await graph.mutate("approveTask", APPROVAL, approvalId=approval_id, idempotencyKey="k")
        other = await graph.mutate("rejectTask", APPROVAL, approvalId=approval_id, idempotencyKey="k")

    assert again == first
    assert [it["code"] for it in other["errors"]] == ["IDEMPOTENCY_CONFLICT"]


async def test_a_key_stands_for_a_decision_that_was_made_before_it(graph: Graph, database: Database) -> None:
    _, approval_id = await _asked(graph, database)
    await graph.mutate("approveTask", APPROVAL, approvalId=approval_id)
    await graph.mutate("approveTask", APPROVAL, approvalId=approval_id, idempotencyKey="k")

    async with nothing_written(graph):
        other = await graph.mutate("rejectTask", APPROVAL, approvalId=approval_id, idempotencyKey="k")

    assert [it["code"] for it in other["errors"]] == ["IDEMPOTENCY_CONFLICT"]


# ---------------------------------------------------------------- time


def _expire(database: Database) -> ExpireApprovals:
    return ExpireApprovals(SqlUnitsOfWork(database.engine), SqlExpiredApprovals(database.pool), FakeHints())


async def test_what_nobody_decided_in_time_expires_and_the_execution_goes_on(graph: Graph, database: Database) -> None:
    past, future = utc_now() - timedelta(seconds=1), utc_now() + timedelta(hours=1)
    late, late_approval = await _asked(graph, database, expires_at=past, default_action=ApprovalDefault.APPROVE)
    early, early_approval = await _asked(graph, database, expires_at=future)
    _, endless = await _asked(graph, database)

    expired = [await _expire(database)(), await _expire(database)()]

    statuses = {
        node["id"]: (node["status"], node["defaultAction"], node["decidedBy"])
        for node in (await graph.query("{ approvals { nodes { id status defaultAction decidedBy } } }"))["approvals"][
            "nodes"
        ]
    }
    assert expired == [1, 0]
    assert statuses == {
        late_approval: ("EXPIRED", "APPROVE", None),
        early_approval: ("PENDING", "REJECT", None),
        endless: ("PENDING", "REJECT", None),
    }
    assert (await _places(database, late), await _places(database, early)) == (1, 0)
    assert (await _events(graph, late))[-2]["status"] == "EXPIRED"


async def test_workers_that_expire_at_once_do_it_once(graph: Graph, database: Database) -> None:
    past = utc_now() - timedelta(seconds=1)
    executions = [(await _asked(graph, database, expires_at=past))[0] for _ in range(3)]

    counts = await asyncio.gather(*(_expire(database)(limit=2) for _ in range(3)))

    assert sum(counts) + await _expire(database)() == 3
    for execution_id in executions:
        kinds = [it["__typename"] for it in await _events(graph, execution_id)]
        assert kinds.count("ApprovalGiven") == 1


async def test_however_many_expire_at_once_all_do(graph: Graph, database: Database) -> None:
    past = utc_now() - timedelta(seconds=1)
    for _ in range(5):
        await _asked(graph, database, expires_at=past)

    assert await _expire(database)(limit=2) == 5


async def test_an_approval_that_cannot_expire_now_keeps_no_other_waiting(
    graph: Graph, database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    past = utc_now() - timedelta(seconds=1)
    (held, _), (_, broken), (_, late) = [await _asked(graph, database, expires_at=past) for _ in range(3)]
    plain = ApprovalsTable.save

    async def save(self: ApprovalsTable, approval: Approval) -> None:
        if approval.id == parse_node_id(broken)[1]:
            raise ZeroDivisionError
        await plain(self, approval)

    monkeypatch.setattr(ApprovalsTable, "save", save)
    with psycopg.connect(database_url) as somebody:
        somebody.execute("SELECT FROM execution_sequence WHERE execution_id = %s FOR UPDATE", [parse_node_id(held)[1]])
        async with asyncio.timeout(20):
            assert await _expire(database)(limit=1) == 1
    monkeypatch.undo()

    nodes = (await graph.query("{ approvals(filter: {status: {in: [EXPIRED]}}) { nodes { id } } }"))["approvals"]
    assert nodes == {"nodes": [{"id": late}]}
    assert await _expire(database)() == 2


# ---------------------------------------------------------------- the inbox


async def test_the_inbox_shows_who_is_asked_what_of_which_execution(graph: Graph, database: Database) -> None:
    execution_id, approval_id = await _asked(graph, database, ApprovalKind.QUESTION, assignee="Ada")
    query = """query($id: ID!) { approval(id: $id) { id kind prompt status isOpen assignee attempt answer expiresAt
        decidedAt decidedBy execution { id status approvals { nodes { id } } }
        taskExecution { name status isApprovalRequired approvals(filter: {status: {in: [PENDING]}}) { nodes { id } } }
        project { name } } node(id: $id) { __typename id } }"""

    data = await graph.query(query, id=approval_id)

    assert data["approval"].pop("project")["name"].startswith("Project ")
    assert data["approval"]["taskExecution"].pop("name").startswith("Task ")
    assert data == {
        "node": {"__typename": "Approval", "id": approval_id},
        "approval": {
            "id": approval_id,
            "kind": "QUESTION",
            "prompt": "Is this good?",
            "status": "PENDING",
            "isOpen": True,
            "assignee": "Ada",
            "attempt": 1,
            "answer": None,
            "expiresAt": None,
            "decidedAt": None,
            "decidedBy": None,
            "execution": {
                "id": execution_id,
                "status": "AWAITING_APPROVAL",
                "approvals": {"nodes": [{"id": approval_id}]},
            },
            "taskExecution": {
                "status": "AWAITING_APPROVAL",
                "isApprovalRequired": False,
                "approvals": {"nodes": [{"id": approval_id}]},
            },
        },
    }


async def test_the_inbox_is_filtered_ordered_and_paged(graph: Graph, database: Database) -> None:
    first_execution, first = await _asked(graph, database, ApprovalKind.QUESTION, assignee="Ada")
    _, second = await _asked(graph, database, assignee="Bob")
    await graph.mutate("approveTask", APPROVAL, approvalId=second)
    data = await graph.query("query($id: ID!) { execution(id: $id) { project { id } } }", id=first_execution)
    project_id = data["execution"]["project"]["id"]
    query = """query($filter: ApprovalFilter, $order: ApprovalOrder, $after: String, $first: Int! = 20) {
        approvals(filter: $filter, orderBy: $order, after: $after, first: $first) {
            totalCount nodes { id } pageInfo { hasNextPage endCursor } } }"""

    async def found(**variables: Any) -> list[str]:
        return [node["id"] for node in (await graph.query(query, **variables))["approvals"]["nodes"]]

    assert await found() == [second, first]
    assert await found(order={"direction": "ASC"}) == [first, second]
    assert await found(filter={"status": {"in": ["PENDING"]}}) == [first]
    assert await found(filter={"kind": {"in": ["TASK"]}}) == [second]
    assert await found(filter={"assignee": {"eq": "Bob"}}) == [second]
    assert await found(filter={"projectId": project_id}) == [first]
    assert await found(filter={"executionId": first_execution, "status": {"in": ["APPROVED"]}}) == []
    page = (await graph.query(query, first=1))["approvals"]
    assert (page["totalCount"], page["pageInfo"]["hasNextPage"]) == (2, True)
    assert await found(first=1, after=page["pageInfo"]["endCursor"]) == [first]


async def test_an_id_of_another_kind_in_a_filter_is_refused(graph: Graph) -> None:
    team_id = await graph.ready_team()

    answer = await graph.answer("query($id: ID!) { approvals(filter: {projectId: $id}) { nodes { id } } }", id=team_id)

    assert [error["extensions"] for error in answer["errors"]] == [
        {"code": "NOT_FOUND", "argument": ["filter", "projectId"]}
    ]
