import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.durable import DurableQueue, DurableWorker
from domain.errors import Unavailable
from domain.model.execution import Execution, ExecutionStatus
from domain.model.identity import DEFAULT_TENANT, ExecutionId, new_id
from domain.ports import RunSink, TaskWork
from domain.services.recorder import EventRecorder
from domain.services.runs import RunExecution, RunRules
from persistence.engine import Database
from tests.support.fakes import FakeHints, ScriptedRunner, a_team_with_tasks
from tests.support.routes import FakeCatalogue
from tests.support.worlds import SqlWorld


@asynccontextmanager
async def a_worker(url: str, world: SqlWorld, name: str, runner: ScriptedRunner) -> AsyncIterator[DurableWorker]:
    """A worker of that name from its start to a stop that finishes nothing, as after a crash."""
    recorder = EventRecorder(world.store, FakeHints())
    recorder.start()
    run = RunExecution(world.store, recorder, runner, FakeCatalogue(), name, RunRules(default_model="test/model"))
    worker = DurableWorker(url, run, name, concurrency=4)
    await worker.start()
    try:
        yield worker
    finally:
        worker.stop_taking()
        await run.stop(0)
        await worker.stop()
        await recorder.stop(1)


@asynccontextmanager
async def a_queue(url: str) -> AsyncIterator[DurableQueue]:
    queue = DurableQueue(url, FakeHints())
    try:
        yield queue
    finally:
        await queue.stop()


async def queued(world: SqlWorld, *names: str) -> Execution:
    execution, tasks, snapshot = a_team_with_tasks(*names)
    await world.add(execution, tasks, snapshot)
    return execution


async def ended(world: SqlWorld, execution_id: ExecutionId) -> Execution:
    async with asyncio.timeout(20):
        while not (execution := await world.execution(execution_id)).is_final:  # noqa: ASYNC110 - it ends elsewhere
            await asyncio.sleep(0.02)
    return execution


async def test_what_is_queued_is_run_once_however_often_it_is_queued(database: Database, database_url: str) -> None:
    world = SqlWorld(database)
    execution = await queued(world, "first", "second")
    runner = ScriptedRunner()

    async with a_queue(database_url) as queue, a_worker(database_url, world, "w1", runner):
        for _ in range(3):
            await queue.enqueue(DEFAULT_TENANT, execution.id)
        result = await ended(world, execution.id)
        await queue.enqueue(DEFAULT_TENANT, execution.id)

    assert (result.status, result.worker_id) == (ExecutionStatus.COMPLETED, "w1")
    assert runner.names == ["first", "second"]


async def test_what_a_lost_worker_left_is_finished_by_another(database: Database, database_url: str) -> None:
    world = SqlWorld(database)
    execution = await queued(world, "first", "second")
    begun = asyncio.Event()

    async def hang(_: TaskWork, __: RunSink) -> str:
        begun.set()
        await asyncio.Event().wait()
        return ""

    async with a_queue(database_url) as queue, a_worker(database_url, world, "lost", ScriptedRunner(second=hang)):
        await queue.enqueue(DEFAULT_TENANT, execution.id)
        await begun.wait()
    survivor = ScriptedRunner()
    async with a_worker(database_url, world, "survivor", survivor) as worker:
        recovered = await worker.recover("lost")
        result = await ended(world, execution.id)

    assert recovered == 1
    assert (result.status, result.worker_id) == (ExecutionStatus.COMPLETED, "survivor")
    assert survivor.names == ["second"]


async def test_a_restarted_worker_takes_up_what_it_left(database: Database, database_url: str) -> None:
    world = SqlWorld(database)
    execution = await queued(world, "only")
    begun = asyncio.Event()

    async def hang(_: TaskWork, __: RunSink) -> str:
        begun.set()
        await asyncio.Event().wait()
        return ""

    async with a_queue(database_url) as queue, a_worker(database_url, world, "same", ScriptedRunner(only=hang)):
        await queue.enqueue(DEFAULT_TENANT, execution.id)
        await begun.wait()
    async with a_worker(database_url, world, "same", ScriptedRunner()):
        result = await ended(world, execution.id)

    assert result.status is ExecutionStatus.COMPLETED


async def test_a_queue_that_does_not_answer_is_unavailable() -> None:
    async with a_queue("postgresql://nobody@127.0.0.1:9/nothing") as queue:
        with pytest.raises(Unavailable):
            await queue.enqueue(DEFAULT_TENANT, ExecutionId(new_id()))
