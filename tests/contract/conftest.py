from collections.abc import AsyncIterator, Callable

import pytest

from domain.ports.tracing import NO_TRACING, Tracing
from domain.services.recorder import EventRecorder
from domain.services.runs import RunExecution, RunRules
from tests.support.fakes import FakeHints, ScriptedRunner, Step
from tests.support.routes import FakeCatalogue
from tests.support.run_workers import RULES, Worker
from tests.support.worlds import FakeWorld, SqlWorld, World


@pytest.fixture(params=["fake", "sql"])
def world(request: pytest.FixtureRequest) -> World:
    return FakeWorld() if request.param == "fake" else SqlWorld(request.getfixturevalue("database"))


@pytest.fixture
async def a_worker(world: World) -> AsyncIterator[Callable[..., Worker]]:
    recorders: list[EventRecorder] = []

    def made(
        name: str = "w1",
        *,
        rules: RunRules = RULES,
        models: FakeCatalogue | None = None,
        tracing: Tracing = NO_TRACING,
        **script: Step,
    ) -> Worker:
        recorder = EventRecorder(world.store, FakeHints())
        recorder.start()
        recorders.append(recorder)
        runner = ScriptedRunner(**script)
        run = RunExecution(world.store, recorder, runner, models or FakeCatalogue(), name, rules, tracing)
        return Worker(world, run, recorder, runner)

    yield made
    for recorder in recorders:
        await recorder.stop(1)


@pytest.fixture
async def a_worker_on() -> AsyncIterator[Callable[[World], Worker]]:
    """A worker on a world that the test chose."""
    recorders: list[EventRecorder] = []

    def made(world: World) -> Worker:
        recorder, runner = EventRecorder(world.store, FakeHints()), ScriptedRunner()
        recorder.start()
        recorders.append(recorder)
        return Worker(
            world, RunExecution(world.store, recorder, runner, FakeCatalogue(), "w1", RULES), recorder, runner
        )

    yield made
    for recorder in recorders:
        await recorder.stop(1)
