"""What a worker counts, and under which labels."""

from dataclasses import replace
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry

from app.prometheus.worker import OTHER, WorkerMetrics
from domain.events import ToolReturned
from domain.model.execution import ExecutionStatus, TaskExecutionStatus
from domain.model.identity import DEFAULT_TENANT, ProjectId
from domain.model.ledger import CallOutcome, LedgerEntry
from domain.ports import Change, Ownership
from tests.support.fakes import a_team_with_tasks


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def an_entry(model: str = "openai/gpt-4o-mini", provider: str = "openai") -> LedgerEntry:
    project = ProjectId(uuid4())
    return LedgerEntry(
        DEFAULT_TENANT, project, None, None, None, None, model, provider, 1, CallOutcome.FAILED, prompt_tokens=7
    )


def an_end() -> Change:
    """The end of an execution, with a call, a tool's answer and a task."""
    execution, [task], _ = a_team_with_tasks("only")
    owner = Ownership(execution.tenant_id, execution.project_id, execution.id, 1)
    returned = ToolReturned(
        tenant_id=execution.tenant_id, execution_id=execution.id, tool="sums", output="", is_error=True
    )
    running = replace(task, status=TaskExecutionStatus.RUNNING)
    done = replace(task, status=TaskExecutionStatus.COMPLETED)
    over = replace(execution, status=ExecutionStatus.COMPLETED)
    return Change(owner, [returned], [running, done], [an_entry()], over, ExecutionStatus.RUNNING)


def test_of_a_refused_change_only_the_money_counts(registry: CollectorRegistry) -> None:
    metrics = WorkerMetrics(registry, is_by_tenant=False)

    metrics.committed(an_end(), is_accepted=False)

    assert registry.get_sample_value("regatta_tokens_total", {"kind": "prompt"}) == 7
    assert registry.get_sample_value("regatta_events_recorded_total") == 0
    assert registry.get_sample_value("regatta_tasks_ended_total", {"status": "COMPLETED"}) == 0
    assert registry.get_sample_value("regatta_executions_ended_total", {"status": "COMPLETED"}) == 0


def test_of_an_accepted_change_each_end_counts_once(registry: CollectorRegistry) -> None:
    metrics = WorkerMetrics(registry, is_by_tenant=False)

    metrics.committed(an_end(), is_accepted=True)

    assert registry.get_sample_value("regatta_events_recorded_total") == 1
    assert registry.get_sample_value("regatta_tool_calls_total", {"outcome": "FAILED"}) == 1
    assert registry.get_sample_value("regatta_tasks_ended_total", {"status": "COMPLETED"}) == 1
    assert registry.get_sample_value("regatta_tasks_ended_total", {"status": "RUNNING"}) is None
    assert registry.get_sample_value("regatta_executions_ended_total", {"status": "COMPLETED"}) == 1


def test_names_that_tenants_gave_make_no_time_series(registry: CollectorRegistry) -> None:
    metrics = WorkerMetrics(registry, is_by_tenant=False)

    for number in range(5):
        metrics.booked(an_entry(f"openai/own-{number}"))
        metrics.booked(an_entry(f"made-{number}/up", f"made-{number}"))

    counted = {"model": OTHER, "outcome": "FAILED"}
    assert registry.get_sample_value("regatta_model_calls_total", {"provider": "openai", **counted}) == 5
    assert registry.get_sample_value("regatta_model_calls_total", {"provider": OTHER, **counted}) == 5


def test_tenants_are_told_apart_only_where_that_is_asked_for(registry: CollectorRegistry) -> None:
    metrics = WorkerMetrics(registry, is_by_tenant=True)

    metrics.committed(an_end(), is_accepted=True)

    own = {"tenant": str(DEFAULT_TENANT)}
    assert registry.get_sample_value("regatta_tokens_total", {"kind": "prompt", **own}) == 7
    assert registry.get_sample_value("regatta_executions_ended_total", {"status": "COMPLETED", **own}) == 1
