import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.durable import DurableWorker
from domain.model.execution import Execution, ExecutionStatus
from domain.model.identity import ExecutionId
from domain.ports import AdmissionKey, RunSink, TaskWork
from domain.services.recorder import EventRecorder
from domain.services.runs import RunExecution
from domain.services.task_work import RunRules
from persistence.admissions import SqlAdmissions
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
    worker = DurableWorker(url, run, name)
    await worker.start()
    try:
        yield worker
    finally:
        await run.stop(0)
        await worker.stop()
        await recorder.stop(1)


async def queued(world: SqlWorld, *names: str) -> Execution:
    execution, tasks, snapshot = a_team_with_tasks(*names)
    await world.add(execution, tasks, snapshot)
    return execution


async def ended(world: SqlWorld, execution_id: ExecutionId) -> Execution:
    async with asyncio.timeout(20):
        while not (execution := await world.execution(execution_id)).is_final:  # noqa: ASYNC110 - it ends elsewhere
            await asyncio.sleep(0.02)
    return execution


class Hanging:
    """A task that does not end, and tells when it begins."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def __call__(self, _: TaskWork, __: RunSink) -> str:
        self.begun.set()
        await asyncio.Event().wait()
        return ""


async def test_what_has_a_place_is_run_once_however_often_it_is_begun(database: Database, database_url: str) -> None:
    world = SqlWorld(database)
    execution = await queued(world, "first", "second")
    key = await world.admit(execution.id, "w1")
    runner = ScriptedRunner()

    async with a_worker(database_url, world, "w1", runner) as worker:
        for _ in range(3):
            await worker.begin(key)
        result = await ended(world, execution.id)
        await worker.begin(key)

    assert (result.status, result.worker_id) == (ExecutionStatus.COMPLETED, "w1")
    assert runner.names == ["first", "second"]


async def test_what_a_lost_worker_had_is_finished_by_another(database: Database, database_url: str) -> None:
    world, admissions, hang = SqlWorld(database), SqlAdmissions(database.pool), Hanging()
    execution = await queued(world, "first", "second")
    key = await world.admit(execution.id, "lost")
    async with a_worker(database_url, world, "lost", ScriptedRunner(second=hang)) as worker:
        await worker.begin(key)
        await hang.begun.wait()
    survivor = ScriptedRunner()

    async with a_worker(database_url, world, "survivor", survivor) as worker:
        await admissions.release("lost")
        [again] = await admissions.admit("survivor", 1, None)
        await worker.begin(again)
        result = await ended(world, execution.id)

    assert (result.status, result.worker_id) == (ExecutionStatus.COMPLETED, "survivor")
    assert survivor.names == ["second"]


async def test_what_a_restarted_worker_had_goes_on_elsewhere_although_dbos_begins_it_again(
    database: Database, database_url: str
) -> None:
    world, admissions, hang = SqlWorld(database), SqlAdmissions(database.pool), Hanging()
    execution = await queued(world, "only")
    key = await world.admit(execution.id, "same")
    async with a_worker(database_url, world, "same", ScriptedRunner(only=hang)) as worker:
        await worker.begin(key)
        await hang.begun.wait()
    await admissions.release("same")
    refused: list[AdmissionKey] = []

    async def carry_out(old: AdmissionKey) -> None:
        assert await world.store.claim(old, "same") is None
        refused.append(old)

    worker = DurableWorker(database_url, carry_out, "same")
    await worker.start()
    async with asyncio.timeout(20):
        while not refused:  # noqa: ASYNC110 - DBOS begins it some time after its start
            await asyncio.sleep(0.02)
    await worker.stop()

    assert refused == [key]
    assert (await world.execution(execution.id)).status is ExecutionStatus.RUNNING


async def test_a_worker_that_is_not_started_begins_nothing(database_url: str) -> None:
    async def carry_out(_: AdmissionKey) -> None:
        raise AssertionError

    with pytest.raises(RuntimeError, match="not started"):
        await DurableWorker(database_url, carry_out, "w1").begin(None)  # type: ignore[arg-type]  # it gets no so far
