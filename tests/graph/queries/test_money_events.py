"""What events and failures tell of routing, calls and budgets."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from domain.errors import FailureCode
from domain.events import BudgetWarned, ExecutionFailed, ModelCalled, RoutingDecided, TaskFailed
from domain.model.budget import BudgetScope, Shortfall
from domain.model.execution import ExecutionStatus, TaskExecutionStatus
from domain.model.identity import utc_now
from persistence.engine import Database
from resolvers.node_ids import node_id
from tests.support.graphql import Graph
from tests.support.ledger import DECISION, an_entry
from tests.support.live import PlayedWorker

SHORTFALL = Shortfall(BudgetScope.TEAM, Decimal("1.50"), Decimal(1), Decimal("0.25"), Decimal("0.500000000001"))
BUDGET = "budget { scope limit { amount currency } spent { amount } reserved { amount } required { amount } }"
TOLD = {
    "scope": "TEAM",
    "limit": {"amount": "1.5", "currency": "USD"},
    "spent": {"amount": "1"},
    "reserved": {"amount": "0.25"},
    "required": {"amount": "0.500000000001"},
}


async def _worker(graph: Graph, database: Database) -> PlayedWorker:
    return await PlayedWorker.on(graph, database, await graph.kickoff(await graph.ready_team()))


async def _events(graph: Graph, worker: PlayedWorker, selection: str) -> list[dict[str, Any]]:
    """The events of the types that are selected, oldest first."""
    query = f"query($id: ID!) {{ execution(id: $id) {{ events(first: 100) {{ nodes {{ {selection} }} }} }} }}"
    found = await graph.query(query, id=node_id("Execution", worker.claimed.execution.id))
    return [event for event in found["execution"]["events"]["nodes"] if event]


def _whose(worker: PlayedWorker) -> dict[str, Any]:
    task = worker.claimed.tasks[0]
    return {
        "tenant_id": task.tenant_id,
        "execution_id": task.execution_id,
        "task_execution_id": task.id,
        "role_id": task.role_id,
    }


async def test_a_routing_decision_is_told_with_its_reason_and_alternatives(graph: Graph, database: Database) -> None:
    worker = await _worker(graph, database)

    await worker.write(RoutingDecided(**_whose(worker), call=2, call_attempt=3, decision=DECISION))

    decision = "model tier wantedTier preference complexity reason alternatives estimatedCost { amount }"
    [told] = await _events(graph, worker, f"... on RoutingDecided {{ call callAttempt decision {{ {decision} }} }}")
    assert told == {
        "call": 2,
        "callAttempt": 3,
        "decision": {
            "model": "test/model",
            "tier": "STANDARD",
            "wantedTier": "PREMIUM",
            "preference": "BALANCED",
            "complexity": "COMPLEX",
            "reason": "Nothing better.",
            "alternatives": ["test/other", "test/third"],
            "estimatedCost": {"amount": "0.5"},
        },
    }


async def test_a_budget_warning_is_told_with_its_figures(graph: Graph, database: Database) -> None:
    worker = await _worker(graph, database)
    warned = BudgetWarned(
        **_whose(worker), scope=BudgetScope.PROJECT, limit_amount=Decimal(10), spent_amount=Decimal("9.10")
    )

    await worker.write(warned)

    told = await _events(graph, worker, "... on BudgetWarned { scope limit { amount } spent { amount } }")
    assert told == [{"scope": "PROJECT", "limit": {"amount": "10"}, "spent": {"amount": "9.1"}}]


async def test_a_call_is_told_with_the_entry_that_can_be_asked_for(graph: Graph, database: Database) -> None:
    worker = await _worker(graph, database)
    entry = an_entry(worker, "0.75", call=2, call_attempt=3, error="MODEL_REFUSED", is_overrun=True)
    called: dict[str, Any] = {"model": "test/model", "outcome": "FAILED", "prompt_tokens": 10, "completion_tokens": 5}
    called |= {"cost_amount": Decimal("0.75"), "latency_seconds": None}
    told_more: dict[str, Any] = {
        "call": 2,
        "call_attempt": 3,
        "error": "MODEL_REFUSED",
        "is_overrun": True,
        "entry_id": entry.id,
    }

    await worker.write(
        ModelCalled(**_whose(worker), **called, **told_more), ModelCalled(**_whose(worker), **called), ledger=[entry]
    )

    selection = "call callAttempt error isOverrun ledgerEntryId cost { amount }"
    told, older = await _events(graph, worker, f"... on ModelCalled {{ {selection} }}")
    assert told == {
        "call": 2,
        "callAttempt": 3,
        "error": "MODEL_REFUSED",
        "isOverrun": True,
        "ledgerEntryId": node_id("LedgerEntry", entry.id),
        "cost": {"amount": "0.75"},
    }
    assert older == {
        "call": 1,
        "callAttempt": 1,
        "error": None,
        "isOverrun": False,
        "ledgerEntryId": None,
        "cost": {"amount": "0.75"},
    }
    found = await graph.query("query($id: ID!) { node(id: $id) { __typename } }", id=told["ledgerEntryId"])
    assert found == {"node": {"__typename": "LedgerEntry"}}


async def test_a_failure_for_want_of_money_says_what_was_missing(graph: Graph, database: Database) -> None:
    worker = await _worker(graph, database)
    failed: dict[str, Any] = {"code": FailureCode.BUDGET_EXCEEDED, "message": SHORTFALL.message, "budget": SHORTFALL}
    plain: dict[str, Any] = {"code": FailureCode.MODEL_REFUSED, "message": "No."}
    task: dict[str, Any] = {"name": "Task", "attempt": 1, "will_retry": False}
    whose = _whose(worker)

    await worker.write(
        TaskFailed(**whose, **task, **plain),
        TaskFailed(**whose, **task, **failed),
        ExecutionFailed(tenant_id=whose["tenant_id"], execution_id=whose["execution_id"], **failed),
    )

    selection = f"... on TaskFailed {{ code {BUDGET} }} ... on ExecutionFailed {{ code {BUDGET} }}"
    exceeded = {"code": "BUDGET_EXCEEDED", "budget": TOLD}
    assert await _events(graph, worker, selection) == [{"code": "MODEL_REFUSED", "budget": None}, exceeded, exceeded]


async def test_a_failed_execution_and_its_task_keep_what_was_missing(graph: Graph, database: Database) -> None:
    worker = await _worker(graph, database)
    failed: dict[str, Any] = {
        "failure_code": FailureCode.BUDGET_EXCEEDED,
        "failure_message": SHORTFALL.message,
        "failure_details": SHORTFALL.as_document(),
        "finished_at": utc_now(),
    }
    task = replace(worker.claimed.tasks[0], status=TaskExecutionStatus.FAILED, **failed)
    execution = replace(worker.claimed.execution, status=ExecutionStatus.FAILED, **failed)

    await worker.write(task_executions=[task], execution=execution, expected=ExecutionStatus.RUNNING)

    query = f"""query($id: ID!) {{ execution(id: $id) {{ failure {{ code {BUDGET} }}
        taskExecutions {{ failure {{ code {BUDGET} }} }} }} }}"""
    found = (await graph.query(query, id=node_id("Execution", execution.id)))["execution"]
    exceeded = {"code": "BUDGET_EXCEEDED", "budget": TOLD}
    assert found == {"failure": exceeded, "taskExecutions": [{"failure": exceeded}]}
