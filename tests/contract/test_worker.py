import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.durable import DurableQueue, DurableWorker
from app.settings import Settings
from app.worker import Duties, RunnerSource, WorkerOptions, run_worker
from domain.errors import Unavailable
from domain.events import ToolCalled
from domain.model.identity import DEFAULT_TENANT
from domain.ports import RunSink, TaskRunner, TaskWork
from persistence.engine import Database
from persistence.run_store import SqlRunStore
from tests.support.fakes import FakeHints, ScriptedRunner, a_ledger_entry, a_team_with_tasks
from tests.support.worlds import SqlWorld


def running(runner: TaskRunner) -> RunnerSource:
    @asynccontextmanager
    async def made(_: Settings, __: Database) -> AsyncIterator[TaskRunner]:
        yield runner

    return made


async def test_a_worker_is_heard_of_before_it_takes_anything(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []

    async def start(_: DurableWorker) -> None:
        heard.extend(row[0] for row in await database.pool.fetch("SELECT id FROM worker"))
        raise RuntimeError("far enough")

    monkeypatch.setattr(DurableWorker, "start", start)
    with pytest.raises(RuntimeError, match="far enough"):
        await run_worker(WorkerOptions(settings, "w1"), running(ScriptedRunner()))

    assert heard == ["w1"]


async def test_what_a_stopping_worker_paid_is_stored_before_it_hands_its_runs_over(
    database: Database, database_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, queue = SqlWorld(database), DurableQueue(database_url, FakeHints())
    execution, tasks, snapshot = a_team_with_tasks("only")
    await world.add(execution, tasks, snapshot)
    begun, (parent, child_end) = asyncio.Event(), os.pipe()
    at_hand_over: list[tuple[str, int]] = []

    async def pays_when_closed(work: TaskWork, sink: RunSink) -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            owner = work.ownership
            closed = ToolCalled(tenant_id=owner.tenant_id, execution_id=owner.execution_id, tool="t", arguments="{}")
            sink.book(a_ledger_entry(work), closed)
        return ""

    async def recover(_: DurableWorker, __: str) -> int:
        at_hand_over.append(((await world.events(execution.id))[-1].type, await world.calls(execution.id)))
        return 0

    monkeypatch.setattr(DurableWorker, "recover", recover)
    stopping = settings.model_copy(update={"shutdown_grace_seconds": 0.01})
    options = WorkerOptions(stopping, "w1", parent_fd=parent)
    worker = asyncio.create_task(run_worker(options, running(ScriptedRunner(only=pays_when_closed))))
    await queue.enqueue(DEFAULT_TENANT, execution.id)
    async with asyncio.timeout(20):
        await begun.wait()

    os.close(child_end)
    await worker
    await queue.stop()
    os.close(parent)

    assert at_hand_over == [("ToolCalled", 1)]


async def test_a_sweep_that_fails_does_not_keep_lost_calls_from_being_settled(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled, (parent, child_end) = asyncio.Event(), os.pipe()

    async def sweep(_: Duties) -> None:
        raise Unavailable("away")

    async def settle_lost(_: SqlRunStore, __: int) -> int:
        settled.set()
        return 0

    monkeypatch.setattr(Duties, "sweep", sweep)
    monkeypatch.setattr(SqlRunStore, "settle_lost", settle_lost)
    worker = asyncio.create_task(run_worker(WorkerOptions(settings, "w1", parent_fd=parent), running(ScriptedRunner())))

    async with asyncio.timeout(20):
        await settled.wait()

    os.close(child_end)
    await worker
    os.close(parent)
