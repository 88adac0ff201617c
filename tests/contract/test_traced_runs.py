"""One trace from the kickoff to the last run of an execution, whoever carries it out."""

from collections.abc import Callable
from typing import Any

import pytest
import structlog

from domain.errors import FailureCode, RunFailed
from domain.model.execution import ExecutionStatus
from domain.model.identity import DEFAULT_TENANT
from domain.ports import RunSink, TaskWork
from domain.services.executions import KickoffRequest, KickoffTeam
from persistence.engine import Database
from tests.support.fakes import FakeHints
from tests.support.run_workers import Blocked, Worker, failing, queued
from tests.support.spans import KeptSpans, is_part_of, said, traceparent_of
from tests.support.worlds import FakeWorld, SqlWorld

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


async def test_a_run_is_a_span_with_its_wait_and_its_attempts(
    world: FakeWorld, a_worker: Callable[..., Worker]
) -> None:
    spans = KeptSpans()
    execution = await queued(world, "first", "second", max_attempts=2, trace_parent=PARENT)
    broken = failing(RunFailed(FailureCode.MODEL_UNAVAILABLE, "secret", retryable=True))
    await a_worker(tracing=spans.tracing, first=broken)(execution)

    run, wait, tasks = spans.one("execution"), spans.one("queue wait"), spans.named("task")
    stored = await world.execution(execution.id)
    assert run.parent
    assert wait.parent
    assert traceparent_of(run)[:36] == PARENT[:36]
    assert run.parent.span_id == wait.parent.span_id == int(PARENT[36:52], 16)
    assert stored.started_at
    waited = round((stored.started_at - stored.created_at).total_seconds() * 10**9)
    assert (wait.end_time or 0) - (wait.start_time or 0) == waited
    assert said(run, "regatta.execution.id", "regatta.execution.status", "regatta.owner.epoch", "error.type") == {
        "regatta.execution.id": str(execution.id),
        "regatta.execution.status": "COMPLETED",
        "regatta.owner.epoch": 1,
    }
    assert all(is_part_of(task, run) for task in tasks)
    assert [said(task, "regatta.task.attempt", "error.type") for task in tasks] == [
        {"regatta.task.attempt": 1, "error.type": "MODEL_UNAVAILABLE"},
        {"regatta.task.attempt": 2},
        {"regatta.task.attempt": 1},
    ]
    assert "secret" not in spans.text()


async def test_a_run_whose_kickoff_was_not_traced_is_one_trace_too(
    world: FakeWorld, a_worker: Callable[..., Worker]
) -> None:
    spans = KeptSpans()
    with spans.tracing.span("something else"):
        await a_worker(tracing=spans.tracing)(await queued(world, "only"))

    assert spans.one("execution").parent is None
    assert is_part_of(spans.one("queue wait"), spans.one("execution"))
    assert is_part_of(spans.one("task"), spans.one("execution"))
    assert said(spans.one("task"), "gen_ai.operation.name") == {"gen_ai.operation.name": "invoke_agent"}


async def test_a_takeover_is_a_new_span_in_the_same_trace(world: FakeWorld, a_worker: Callable[..., Worker]) -> None:
    spans, blocked = KeptSpans(), Blocked()
    execution = await queued(world, "only", trace_parent=PARENT)
    lost = a_worker("lost", tracing=spans.tracing, only=blocked).begin(execution)
    await blocked.begun.wait()

    await a_worker("survivor", tracing=spans.tracing)(execution)
    lost.cancel()
    with pytest.raises(BaseException):  # noqa: B017, PT011 - however it ends
        await lost

    over, cut = spans.named("execution")
    names = ("regatta.owner.epoch", "regatta.worker.id", "regatta.stopped_by", "regatta.execution.status")
    assert tuple(said(over, *names).values()) == (2, "survivor", "COMPLETED")
    assert said(cut, *names)["regatta.owner.epoch"] == 1
    assert "regatta.execution.status" not in said(cut, *names)
    assert over.parent
    assert over.parent == cut.parent
    assert over.parent.span_id == int(PARENT[36:52], 16)
    assert len(spans.named("queue wait")) == 1


async def test_a_kickoff_leaves_its_trace_to_the_worker(database: Database) -> None:
    world, spans = SqlWorld(database), KeptSpans()
    earlier = await queued(world, "only")
    kickoff = KickoffTeam(world.units, FakeHints(), spans.tracing)

    with spans.tracing.span("mutation"):
        execution = await kickoff(DEFAULT_TENANT, KickoffRequest(earlier.team_id, {}))
    claimed = await world.claim(execution.id)

    made = spans.one("kickoff")
    assert is_part_of(made, spans.one("mutation"))
    assert claimed
    assert claimed.is_first
    assert claimed.execution.trace_parent == traceparent_of(made)
    assert (await world.execution(earlier.id)).trace_parent is None


async def test_log_lines_of_a_run_say_which_execution_and_task_it_is(
    world: FakeWorld, a_worker: Callable[..., Worker]
) -> None:
    bound: list[dict[str, Any]] = []

    async def looking(work: TaskWork, _: RunSink) -> str:
        bound.append(structlog.contextvars.get_contextvars())
        return work.task.name

    execution = await queued(world, "first", "second")
    await a_worker(first=looking, second=looking)(execution)

    tasks = await world.tasks(execution.id)
    assert bound == [{"execution_id": str(execution.id), "task_execution_id": str(task.id)} for task in tasks]
    assert structlog.contextvars.get_contextvars() == {}
    assert (await world.execution(execution.id)).status is ExecutionStatus.COMPLETED
