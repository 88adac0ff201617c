import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import app.worker
from app.durable import DurableWorker
from app.settings import Settings
from app.worker import Duties, RunnerSource, WorkerOptions, run_worker
from domain.errors import Unavailable
from domain.events import ExecutionInterrupted, ToolCalled
from domain.model.admission import Admission
from domain.model.execution import Execution, ExecutionStatus
from domain.model.identity import DEFAULT_TENANT
from domain.ports import RunSink, TaskRunner, TaskWork
from persistence.admissions import SqlAdmissions
from persistence.engine import Database
from persistence.run_store import SqlRunStore
from persistence.workers import SqlWorkers
from tests.support.fakes import ScriptedRunner, a_ledger_entry, a_team_with_tasks
from tests.support.worlds import SqlWorld


def running(runner: TaskRunner) -> RunnerSource:
    @asynccontextmanager
    async def made(_: Settings, __: Database) -> AsyncIterator[TaskRunner]:
        yield runner

    return made


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is reported is booked before the hand-over on a slow machine, too: it does not hurry these workers away."""
    monkeypatch.setattr(app.worker, "_FLUSH_SECONDS", 20.0)


@asynccontextmanager
async def a_worker(settings: Settings, runner: TaskRunner, name: str = "w1") -> AsyncIterator[None]:
    """A worker that is told to stop at the end of the block, and has stopped after it."""
    parent, child_end = os.pipe()
    worker = asyncio.create_task(run_worker(WorkerOptions(settings, name, parent_fd=parent), running(runner)))
    try:
        async with asyncio.timeout(60):
            yield
    finally:
        os.close(child_end)
        await worker
        os.close(parent)


async def waiting(world: SqlWorld, *names: str) -> Execution:
    """An execution that waits for a place, as after a kickoff."""
    execution, tasks, snapshot = a_team_with_tasks(*names)
    await world.add(execution, tasks, snapshot)
    async with world.units(DEFAULT_TENANT) as unit:
        await unit.executions.lock(execution.id)
        await unit.executions.withdraw(execution.id)
        await unit.executions.wait_for_place(
            Admission(DEFAULT_TENANT, execution.id, execution.project_id, execution.team_id)
        )
        await unit.commit()
    return execution


async def ended(world: SqlWorld, execution: Execution) -> Execution:
    while not (now := await world.execution(execution.id)).is_final:  # noqa: ASYNC110 - it ends elsewhere
        await asyncio.sleep(0.02)
    return now


class Hanging:
    """A task that does not end, and tells when it begins."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def __call__(self, _: TaskWork, __: RunSink) -> str:
        self.begun.set()
        await asyncio.Event().wait()
        return ""


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


async def test_a_worker_runs_what_waits_and_leaves_no_place_behind(database: Database, settings: Settings) -> None:
    world = SqlWorld(database)
    executions = [await waiting(world, "first", "second") for _ in range(3)]

    async with a_worker(settings, ScriptedRunner()):
        results = [await ended(world, each) for each in executions]

    assert [each.status for each in results] == [ExecutionStatus.COMPLETED] * 3
    assert await database.pool.fetchval("SELECT count(*) FROM admission") == 0
    assert await database.pool.fetchval("SELECT count(*) FROM worker") == 0


async def test_more_than_its_places_wait(database: Database, settings: Settings) -> None:
    world, hang = SqlWorld(database), Hanging()
    for _ in range(3):
        await waiting(world, "only")
    narrow = settings.model_copy(update={"worker_concurrency": 1, "shutdown_grace_seconds": 0.01})

    async with a_worker(narrow, ScriptedRunner(only=hang)):
        await hang.begun.wait()
        await asyncio.sleep(0.5)
        placed = await database.pool.fetchval("SELECT count(*) FROM admission WHERE worker_id = 'w1'")

    assert placed == 1


async def test_a_stopping_worker_hands_over_what_it_has_not_finished(database: Database, settings: Settings) -> None:
    world, hang = SqlWorld(database), Hanging()
    execution = await waiting(world, "first", "second")
    hasty = settings.model_copy(update={"shutdown_grace_seconds": 0.01})
    async with a_worker(hasty, ScriptedRunner(second=hang), "old"):
        await hang.begun.wait()
    left = await database.pool.fetch("SELECT worker_id FROM admission")
    successor = ScriptedRunner()

    async with a_worker(settings, successor, "new"):
        result = await ended(world, execution)

    assert [row[0] for row in left] == [None]
    assert (result.status, result.worker_id) == (ExecutionStatus.COMPLETED, "new")
    assert successor.names == ["second"]
    assert [each.worker_id for each in await world.events(execution.id) if isinstance(each, ExecutionInterrupted)] == [
        "old"
    ]


async def test_a_worker_begins_by_giving_back_what_an_earlier_life_had(database: Database, settings: Settings) -> None:
    world = SqlWorld(database)
    execution = await waiting(world, "only")
    await SqlAdmissions(database.pool).admit("w1", 1, None)

    async with a_worker(settings, ScriptedRunner()):
        result = await ended(world, execution)

    assert result.status is ExecutionStatus.COMPLETED


async def test_a_worker_that_was_silent_before_it_began_again_counts_as_lost(
    database: Database, settings: Settings
) -> None:
    await SqlWorkers(database.pool).beat("w1")
    await database.pool.execute("UPDATE worker SET heartbeat_at = now() - interval '2 hours'")

    async with a_worker(settings, ScriptedRunner()):
        while not await SqlWorkers(database.pool).any_alive(60):  # noqa: ASYNC110 - it is heard of elsewhere
            await asyncio.sleep(0.01)

    assert [row[0] for row in await database.pool.fetch("SELECT worker_id FROM worker_loss")] == ["w1"]


async def test_what_a_silent_worker_had_goes_on_with_another(database: Database, settings: Settings) -> None:
    world = SqlWorld(database)
    execution = await waiting(world, "only")
    await SqlWorkers(database.pool).beat("dead")
    await database.pool.execute("UPDATE worker SET heartbeat_at = now() - interval '1 minute'")
    await SqlAdmissions(database.pool).admit("dead", 1, None)

    async with a_worker(settings, ScriptedRunner()):
        result = await ended(world, execution)

    assert (result.status, result.worker_id) == (ExecutionStatus.COMPLETED, "w1")


async def test_what_a_dead_worker_was_cancelling_is_cancelled(database: Database, settings: Settings) -> None:
    world = SqlWorld(database)
    execution = await waiting(world, "only")
    [key] = await SqlAdmissions(database.pool).admit("dead", 1, None)
    assert await world.store.claim(key, "dead")
    await world.move(await world.execution(execution.id), ExecutionStatus.CANCELLING)

    async with a_worker(settings, ScriptedRunner()):
        result = await ended(world, execution)

    assert result.status is ExecutionStatus.CANCELLED
    assert await database.pool.fetchval("SELECT count(*) FROM admission") == 0


async def test_a_worker_that_is_not_known_but_has_places_counts_as_lost(database: Database) -> None:
    workers, world = SqlWorkers(database.pool), SqlWorld(database)
    await waiting(world, "only")
    await workers.beat("known")
    await SqlAdmissions(database.pool).admit("unknown", 1, None)

    assert await workers.lost(12) == ["unknown"]


async def test_what_a_stopping_worker_paid_is_stored_before_it_hands_its_runs_over(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = SqlWorld(database)
    begun = asyncio.Event()
    at_hand_over: list[tuple[str, int]] = []
    execution = await waiting(world, "only")

    async def pays_when_closed(work: TaskWork, sink: RunSink) -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            owner = work.ownership
            closed = ToolCalled(tenant_id=owner.tenant_id, execution_id=owner.execution_id, tool="t", arguments="{}")
            sink.book(a_ledger_entry(work), closed)
        return ""

    release = SqlAdmissions.release

    async def noting(self: SqlAdmissions, worker_id: str, only: object = None) -> object:
        if begun.is_set():
            at_hand_over.append(((await world.events(execution.id))[-1].type, await world.calls(execution.id)))
        return await release(self, worker_id, only)  # type: ignore[arg-type]  # handed on

    monkeypatch.setattr(SqlAdmissions, "release", noting)
    hasty = settings.model_copy(update={"shutdown_grace_seconds": 0.01})
    async with a_worker(hasty, ScriptedRunner(only=pays_when_closed)):
        await begun.wait()

    assert at_hand_over == [("ToolCalled", 1)]


async def test_a_sweep_that_fails_does_not_keep_lost_calls_from_being_settled(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled = asyncio.Event()

    async def sweep(_: Duties) -> None:
        raise Unavailable("away")

    async def settle_lost(_: SqlRunStore, __: int) -> int:
        settled.set()
        return 0

    monkeypatch.setattr(Duties, "sweep", sweep)
    monkeypatch.setattr(SqlRunStore, "settle_lost", settle_lost)

    async with a_worker(settings, ScriptedRunner()):
        await settled.wait()
