from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from app import worker
from app.settings import LEAVING_SECONDS
from app.worker import Duties
from domain.errors import Unavailable
from domain.model.availability import OperatorModels
from domain.model.identity import ExecutionId, new_id
from domain.model.resources import WorkerLoad
from domain.ports import CommandKind
from domain.services import generating, runs
from domain.services.dispatcher import DispatchRules


class Workers:
    """Some are lost; remembers who left, and what was said of the load."""

    def __init__(self, *lost: str) -> None:
        self.silent = list(lost)
        self.left: list[str] = []
        self.loads: list[WorkerLoad] = []

    async def beat(self, worker_id: str, models: OperatorModels, load: WorkerLoad) -> None:
        del worker_id, models
        self.loads.append(load)

    async def lost(self, silent_seconds: float) -> Sequence[str]:
        del silent_seconds
        return self.silent

    async def lose(self, worker_id: str, silent_seconds: float) -> None:
        del silent_seconds
        self.left.append(worker_id)


class HandOver:
    """Succeeds for all but these."""

    def __init__(self, *held: str) -> None:
        self.held = held
        self.handed_over: list[str] = []

    async def __call__(self, worker_id: str) -> bool:
        self.handed_over.append(worker_id)
        return worker_id not in self.held


class Run:
    """A RunExecution that notes what it is told."""

    def __init__(self, active: int = 1, pausing: frozenset[ExecutionId] = frozenset()) -> None:
        self.active = active
        self.pausing = pausing
        self.told: list[tuple[str, ExecutionId]] = []

    def cancel(self, execution_id: ExecutionId) -> None:
        self.told.append(("cancel", execution_id))

    def pause(self, execution_id: ExecutionId) -> None:
        self.told.append(("pause", execution_id))

    def go_on(self, execution_id: ExecutionId) -> None:
        self.told.append(("go on", execution_id))

    def decided(self, execution_id: ExecutionId) -> None:
        self.told.append(("decided", execution_id))


class Store:
    """Wants these things of executions here."""

    def __init__(self, *commands: tuple[ExecutionId, CommandKind]) -> None:
        self._commands = commands
        self.asked = 0

    async def commands(self, worker_id: str) -> Sequence[tuple[ExecutionId, CommandKind]]:
        del worker_id
        self.asked += 1
        return self._commands


class Dispatcher:
    rules = DispatchRules(7)
    is_taking = False


class Probe:
    async def models(self) -> OperatorModels:
        return OperatorModels()


class Load:
    """What is measured next says whether it is low."""

    cpu_percent = 81.5
    memory_percent = None
    most_cpu_percent = 80.0
    most_memory_percent = 75.0

    def __init__(self, measured: str = "") -> None:
        self._measured = measured.split()
        self.is_low = True

    def sample(self) -> None:
        self.is_low = self._measured.pop(0) == "low"


def duties(**parts: Any) -> Duties:
    given: dict[str, Any] = {
        "store": Store(),
        "workers": Workers(),
        "hand_over": HandOver(),
        "run": Run(),
        "dispatcher": Dispatcher(),
        "probe": Probe(),
        "load": Load(),
        "silent_seconds": 12.0,
        **parts,
    }
    return Duties("w1", **given)


async def test_what_is_wanted_of_a_run_reaches_it() -> None:
    cancelled, paused, decided = (ExecutionId(new_id()) for _ in range(3))
    store = Store((cancelled, CommandKind.CANCEL), (paused, CommandKind.PAUSE), (decided, CommandKind.DECIDED))
    run = Run()

    await duties(store=store, run=run).obey()

    assert run.told == [("cancel", cancelled), ("pause", paused), ("decided", decided)]


async def test_a_run_whose_pause_was_withdrawn_hears_of_it() -> None:
    withdrawn, paused = ExecutionId(new_id()), ExecutionId(new_id())
    run = Run(pausing=frozenset({withdrawn, paused}))

    await duties(store=Store((paused, CommandKind.PAUSE)), run=run).obey()

    assert run.told == [("pause", paused), ("go on", withdrawn)]


async def test_a_worker_that_runs_nothing_asks_for_no_commands() -> None:
    store = Store()

    await duties(store=store, run=Run(active=0)).obey()

    assert store.asked == 0


async def test_what_lost_workers_had_is_handed_over_and_they_are_forgotten() -> None:
    workers, hand_over = Workers("lost", "w1", "other"), HandOver()

    await duties(workers=workers, hand_over=hand_over).sweep()

    assert hand_over.handed_over == ["lost", "other"]
    assert workers.left == ["lost", "other"]


async def test_a_lost_worker_is_remembered_while_somebody_holds_what_it_had() -> None:
    workers, hand_over = Workers("lost", "other"), HandOver("lost")

    await duties(workers=workers, hand_over=hand_over).sweep()

    assert workers.left == ["other"]


async def test_a_beat_tells_how_the_worker_is_doing() -> None:
    workers = Workers()

    await duties(workers=workers).beat()

    assert workers.loads == [WorkerLoad(7, False, 81.5, None)]  # noqa: FBT003 - as the fields are


async def test_a_worker_that_a_busy_machine_holds_up_says_so_once_with_the_figures() -> None:
    dispatcher = Dispatcher()
    ours = duties(load=Load("high high high low low"), dispatcher=dispatcher)

    with capture_logs() as logs:
        await ours.measure()
        await ours.measure()
        dispatcher.is_taking = True  # its last run is over, so it takes the next one
        await ours.measure()
        await ours.measure()
        await ours.measure()

    figures = {"cpu_percent": 81.5, "memory_percent": None, "most_cpu_percent": 80.0, "most_memory_percent": 75.0}
    assert logs == [
        {"event": "machine_busy_taking_nothing", "log_level": "warning", "worker": "w1", **figures},
        {"event": "machine_free_taking_again", "log_level": "info", "worker": "w1", **figures},
    ]


async def test_a_worker_that_takes_all_the_same_does_not_complain_of_its_machine() -> None:
    dispatcher = Dispatcher()
    dispatcher.is_taking = True

    with capture_logs() as logs:
        await duties(load=Load("high"), dispatcher=dispatcher).measure()

    assert logs == []


async def test_nobody_is_taken_for_dead_because_the_database_was_away(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=lambda: now[0]))

    class Fragile(Workers):
        is_away = False

        async def beat(self, worker_id: str, models: OperatorModels, load: WorkerLoad) -> None:
            if self.is_away:
                raise Unavailable("away")
            await super().beat(worker_id, models, load)

    workers, hand_over = Fragile("silent"), HandOver()
    ours = duties(workers=workers, hand_over=hand_over, silent_seconds=12.0)
    await ours.beat()
    workers.is_away = True
    with pytest.raises(Unavailable):
        await ours.beat()
    await ours.sweep()
    workers.is_away = False
    await ours.beat()
    now[0] += 11.9
    await ours.sweep()
    spared = list(hand_over.handed_over)

    now[0] += 0.1
    await ours.sweep()

    assert spared == []
    assert hand_over.handed_over == ["silent"]


def test_nobody_is_killed_before_he_could_hand_over_what_he_has() -> None:
    leaving, poll = generating._LEAVING_SECONDS, 0.5  # noqa: SLF001 - it is what is added up; `poll`: of `serve_forever`
    generations = leaving + (generating.FLUSH_SECONDS + leaving) + leaving
    executions = 2 * runs._LEAVING_SECONDS  # noqa: SLF001 - the same

    before = DispatchRules(1).stop_seconds + max(generations, executions) + poll + worker._FLUSH_SECONDS  # noqa: SLF001 - the same

    assert before + leaving <= LEAVING_SECONDS
