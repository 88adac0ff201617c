import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from domain.errors import RunFailed, Unavailable
from domain.model.identity import DEFAULT_TENANT, AdmissionId, ExecutionId, TenantId
from domain.ports import WAITING, AdmissionKey, Released
from domain.services.dispatcher import Dispatcher, DispatchRules, HandOver
from tests.support.fakes import FakeHints, InMemoryRunStore


def a_key() -> AdmissionKey:
    return AdmissionKey(DEFAULT_TENANT, ExecutionId(uuid4()), AdmissionId(uuid4()))


class Line:
    """Admissions in memory, of one worker: a queue, what was given, what was given back."""

    def __init__(self, *waiting: AdmissionKey) -> None:
        self.waiting = list(waiting)
        self.given: list[AdmissionKey] = []
        self.given_back: list[AdmissionId] = []
        self.asked: list[int] = []
        self.is_away = False
        self.loses_the_next_answer = False

    async def admit(self, worker_id: str, places: int, most: int | None) -> Sequence[AdmissionKey]:
        del worker_id, most
        self.asked.append(places)
        if self.is_away:
            raise Unavailable("away")
        taken, self.waiting = self.waiting[:places], self.waiting[places:]
        self.given += taken
        if self.loses_the_next_answer:
            self.loses_the_next_answer = False
            raise Unavailable("the connection broke behind the commit")
        return taken

    async def held_by(self, worker_id: str) -> Sequence[AdmissionKey]:
        del worker_id
        return list(self.given)

    async def release(self, worker_id: str, only: Sequence[AdmissionId] | None = None) -> Released:
        del worker_id
        released = [key for key in self.given if only is None or key.id in only]
        self.given = [key for key in self.given if key not in released]
        self.given_back += [key.id for key in released]
        return Released(waiting=len(released))


class Stage:
    """A dispatcher whose runs last until they are told to end."""

    def __init__(self, line: Line, places: int = 2) -> None:
        self.line = line
        self.hints = FakeHints()
        self.begun: list[AdmissionKey] = []
        self.is_low = True
        self.start_error: Exception | None = None
        self._ends: dict[AdmissionId, asyncio.Event] = {}
        self._runs: set[asyncio.Task[None]] = set()
        rules = DispatchRules(places, busy_seconds=0.01, idle_seconds=0.01, check_seconds=0.05, start_seconds=10)
        hand_over = HandOver(line, InMemoryRunStore(), self.hints)
        self.dispatcher = Dispatcher("w1", line, hand_over, self._carry_out, rules, lambda: self.is_low)

    async def start(self, key: AdmissionKey) -> None:
        if self.start_error:
            raise self.start_error
        task = asyncio.create_task(self.dispatcher.carry_out(key))
        self._runs.add(task)
        task.add_done_callback(self._runs.discard)

    async def _carry_out(self, key: AdmissionKey) -> None:
        self.begun.append(key)
        await self._ends.setdefault(key.id, asyncio.Event()).wait()
        self.line.given.remove(key)

    def end(self, key: AdmissionKey) -> None:
        self._ends.setdefault(key.id, asyncio.Event()).set()

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.dispatcher.work(self.start))
        try:
            async with asyncio.timeout(30):
                yield
        finally:
            await self.dispatcher.stop()
            await task
            for run in self._runs:
                run.cancel()


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - what changes it has no event
        await asyncio.sleep(0.005)


async def rounds(line: Line, count: int) -> None:
    """So many more looks at the queue."""
    wanted = len(line.asked) + count
    await until(lambda: len(line.asked) >= wanted)


async def test_it_fills_its_places_and_no_more() -> None:
    keys = [a_key() for _ in range(3)]
    stage = Stage(Line(*keys), places=2)

    async with stage.working():
        await until(lambda: len(stage.begun) == 2)
        stage.end(keys[0])
        await until(lambda: len(stage.begun) == 3)

    assert stage.begun == keys
    assert stage.line.asked[:2] == [2, 1]


async def test_it_asks_nobody_while_all_places_are_taken() -> None:
    stage = Stage(Line(a_key()), places=1)

    async with stage.working():
        await until(lambda: bool(stage.begun))
        for _ in range(5):
            stage.dispatcher.ring()
            await asyncio.sleep(0.01)

    assert stage.line.asked == [1]


async def test_a_busy_machine_is_given_nothing_new_unless_the_worker_is_idle() -> None:
    first, second = a_key(), a_key()
    stage = Stage(Line(first), places=2)
    stage.is_low = False

    async with stage.working():
        await until(lambda: stage.begun == [first])
        stage.line.waiting.append(second)
        stage.dispatcher.ring()
        await asyncio.sleep(0.05)
        while_busy = (list(stage.begun), stage.dispatcher.is_taking)
        stage.end(first)
        await until(lambda: stage.begun == [first, second])

    assert while_busy == ([first], False)


async def test_what_cannot_be_started_is_given_back() -> None:
    key = a_key()
    stage = Stage(Line(key))
    stage.start_error = Unavailable("away")

    async with stage.working():
        await until(lambda: stage.line.given_back == [key.id])
        active = stage.dispatcher.active

    assert active == 0
    assert WAITING in stage.hints.published


async def test_what_was_given_by_an_answer_that_got_lost_is_given_back() -> None:
    key = a_key()
    line = Line(key)
    line.loses_the_next_answer = True
    stage = Stage(line)

    async with stage.working():
        await until(lambda: line.given_back == [key.id])

    assert stage.begun == []


async def test_what_ended_without_leaving_its_place_is_given_back() -> None:
    key = a_key()
    stage = Stage(Line(key))

    async def fails(_: AdmissionKey) -> None:
        raise Unavailable("the end could not be stored")

    stage.dispatcher._carry_out = fails  # noqa: SLF001 - a run like no other

    async def start(key: AdmissionKey) -> None:
        with pytest.raises(Unavailable):
            await stage.dispatcher.carry_out(key)

    stage.start = start  # type: ignore[method-assign]  # one that looks at the end
    async with stage.working():
        await until(lambda: stage.line.given_back == [key.id])


async def test_an_end_that_is_lost_during_a_look_asks_for_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    running, astray = a_key(), a_key()
    stage = Stage(Line(running))
    dispatcher, release, is_over = stage.dispatcher, stage.line.release, asyncio.Event()
    runs: list[asyncio.Task[None]] = []

    async def fails(key: AdmissionKey) -> None:
        stage.begun.append(key)
        await is_over.wait()
        raise Unavailable("the end could not be stored")

    async def carried_out(key: AdmissionKey) -> None:
        with pytest.raises(Unavailable):
            await dispatcher.carry_out(key)

    async def start(key: AdmissionKey) -> None:
        runs.append(asyncio.create_task(carried_out(key)))

    async def while_it_ends(worker_id: str, only: Sequence[AdmissionId] | None = None) -> Released:
        dispatcher.rules = replace(dispatcher.rules, check_seconds=3600)  # else the next look comes by itself
        is_over.set()
        await until(lambda: not dispatcher.active)
        return await release(worker_id, only)

    dispatcher._carry_out = fails  # noqa: SLF001 - a run like no other
    monkeypatch.setattr(stage, "start", start)
    monkeypatch.setattr(stage.line, "release", while_it_ends)
    async with stage.working():
        await until(lambda: stage.begun == [running])
        stage.line.given.append(astray)
        await until(lambda: stage.line.given_back == [astray.id, running.id])


async def test_what_runs_here_is_never_given_back() -> None:
    keys = [a_key() for _ in range(2)]
    stage = Stage(Line(*keys), places=3)

    async with stage.working():
        await until(lambda: len(stage.begun) == 2)
        await rounds(stage.line, 20)

    assert stage.line.given_back == []


async def test_a_queue_that_is_away_costs_nothing_but_time() -> None:
    key = a_key()
    stage = Stage(Line(key))
    stage.line.is_away = True

    async with stage.working():
        await rounds(stage.line, 2)
        stage.line.is_away = False
        await until(lambda: stage.begun == [key])


async def test_after_a_stop_nothing_is_taken() -> None:
    line = Line()
    stage = Stage(line)
    async with stage.working():
        await rounds(line, 1)

    line.waiting.append(a_key())
    stage.dispatcher.ring()
    await asyncio.sleep(0.05)

    assert len(line.waiting) == 1
    assert not stage.dispatcher.is_taking


async def test_a_hand_over_says_whether_somebody_holds_something() -> None:
    class Held(Line):
        async def release(self, worker_id: str, only: Sequence[AdmissionId] | None = None) -> Released:
            del worker_id, only
            return Released(held=1)

    hints = FakeHints()

    assert not await HandOver(Held(), InMemoryRunStore(), hints)("lost")
    assert hints.published == []


async def test_a_hand_over_ends_what_was_being_cancelled() -> None:
    given_up: list[ExecutionId] = []

    class Store(InMemoryRunStore):
        async def give_up(
            self, tenant_id: TenantId, execution_id: ExecutionId, failure: RunFailed, place: Any = None
        ) -> None:
            del tenant_id, failure, place
            given_up.append(execution_id)

    class Cancelling(Line):
        async def release(self, worker_id: str, only: Sequence[AdmissionId] | None = None) -> Released:
            del worker_id, only
            return Released(cancelling=[(DEFAULT_TENANT, key.execution_id)])

    key = a_key()

    assert await HandOver(Cancelling(), Store(), FakeHints())("lost")
    assert given_up == [key.execution_id]
