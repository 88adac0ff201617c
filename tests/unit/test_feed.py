import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from domain.errors import Invalid
from domain.events import ExecutionCompleted, ToolCalled
from domain.model.acting import Origin, origin
from domain.model.execution import Execution, ExecutionStatus
from domain.model.identity import DEFAULT_TENANT, ExecutionId, TenantId, new_id
from domain.ports import execution_topic
from domain.services.feed import PAGE, RING, Batch, ExecutionFeeds
from tests.support.fakes import FakeHints, InMemoryRunStore, a_team_with_tasks, unavailable

NEVER, SOON = 60.0, 20.0


class Scene:
    """A running execution, and the feeds of one process."""

    def __init__(self, patience: float = NEVER) -> None:
        self.store = InMemoryRunStore()
        self.hints = FakeHints()
        self.feeds = ExecutionFeeds(self.store, self.hints, patience)  # type: ignore[arg-type] # the part of Reader that feeds use
        execution, tasks, snapshot = a_team_with_tasks("only")
        self.execution: Execution = execution
        self.store.add(execution, tasks, snapshot)

    @property
    def id(self) -> ExecutionId:
        return self.execution.id

    def has(self, count: int) -> None:
        for _ in range(count):
            event = ToolCalled(tenant_id=DEFAULT_TENANT, execution_id=self.id, tool="t", arguments="{}")
            self.store.append(self.id, event)

    async def happens(self, count: int = 1) -> None:
        self.has(count)
        await self.hints.publish([execution_topic(self.id)])

    async def ends(self) -> None:
        over = ExecutionCompleted(tenant_id=DEFAULT_TENANT, execution_id=self.id, completed_tasks=1)
        self.store.append(self.id, over)
        self.store.move(self.id, ExecutionStatus.COMPLETED)
        await self.hints.publish([execution_topic(self.id)])

    def follow(self, after: int = 0) -> AsyncGenerator[Batch, None]:
        return self.feeds.follow(DEFAULT_TENANT, self.id, after)


def numbers(batches: list[Batch]) -> list[int]:
    return [event.sequence for batch in batches for event in batch.events]


async def collected(stream: AsyncIterator[Batch]) -> list[Batch]:
    return [batch async for batch in stream]


async def test_first_what_is_stored_then_what_happens_until_the_end() -> None:
    scene = Scene()
    scene.has(3)
    stream = scene.follow()

    stored = await anext(stream)
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.01)
    await scene.happens(2)
    live = await waiting
    await scene.ends()
    rest = await collected(stream)

    assert (numbers([stored]), stored.cursor) == ([1, 2, 3], 3)
    assert (numbers([live]), live.cursor) == ([4, 5], 5)
    assert numbers(rest) == [6]


async def test_what_is_read_for_all_is_read_in_nobody_s_name(monkeypatch: pytest.MonkeyPatch) -> None:
    scene, asked_for = Scene(), list[Origin | None]()
    events = scene.store.events

    async def noting(*arguments: Any) -> Any:
        asked_for.append(origin.get())
        return await events(*arguments)

    monkeypatch.setattr(scene.store, "events", noting)
    origin.set(Origin("the first of them"))
    scene.has(1)
    stream = scene.follow()
    await anext(stream)
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.01)
    asked_for.clear()
    await scene.happens()
    await waiting
    await stream.aclose()

    assert asked_for == [None]


async def test_a_cursor_goes_on_behind_what_was_seen() -> None:
    scene = Scene()
    scene.has(5)
    await scene.ends()

    assert numbers(await collected(scene.follow(after=4))) == [5, 6]


async def test_an_execution_that_is_over_and_seen_ends_at_once() -> None:
    scene = Scene()
    scene.has(2)
    await scene.ends()

    assert await collected(scene.follow(after=3)) == []


async def test_an_execution_that_does_not_exist_or_is_foreign_ends_at_once() -> None:
    scene = Scene()
    scene.has(2)

    assert await collected(scene.feeds.follow(DEFAULT_TENANT, ExecutionId(new_id()), 0)) == []
    assert await collected(scene.feeds.follow(TenantId(new_id()), scene.id, 0)) == []


async def test_a_cursor_ahead_of_the_execution_is_refused() -> None:
    scene = Scene()
    scene.has(2)

    with pytest.raises(Invalid) as refusal:
        await collected(scene.follow(after=3))

    assert [problem.path for problem in refusal.value.problems] == [("after",)]
    assert scene.feeds.followed == 0


async def test_a_lost_hint_costs_time_but_no_event() -> None:
    scene = Scene(patience=0.05)
    scene.hints.is_deaf = True
    scene.has(1)
    stream = scene.follow()
    await anext(stream)

    await scene.happens(2)
    live = await anext(stream)
    await scene.ends()

    assert numbers([live]) == [2, 3]
    assert numbers(await collected(stream)) == [4]


async def test_what_is_committed_between_the_last_read_and_the_wait_is_not_missed() -> None:
    scene = Scene()
    scene.has(1)
    stream = scene.follow()
    await anext(stream)

    await scene.happens()  # nobody waits at this moment, the listener remembers

    async with asyncio.timeout(SOON):
        assert numbers([await anext(stream)]) == [2]


async def test_subscribers_at_the_head_share_one_read() -> None:
    scene = Scene()
    scene.has(1)
    streams = [scene.follow() for _ in range(20)]
    await asyncio.gather(*(anext(stream) for stream in streams))
    waiting = [asyncio.ensure_future(anext(stream)) for stream in streams]
    await asyncio.sleep(0.01)
    before = len(scene.store.reads)

    await scene.happens(3)
    batches = await asyncio.gather(*waiting)

    assert [numbers([batch]) for batch in batches] == [[2, 3, 4]] * 20
    assert len(scene.store.reads) - before == 1


async def test_a_slow_subscriber_holds_nothing_up_and_reads_the_store_itself() -> None:
    scene = Scene()
    scene.has(1)
    slow, quick = scene.follow(), scene.follow()
    await asyncio.gather(anext(slow), anext(quick))

    seen: list[Batch] = []
    for _ in range(RING // PAGE + 2):
        waiting = asyncio.ensure_future(anext(quick))
        await asyncio.sleep(0)
        await scene.happens(PAGE)
        seen.append(await waiting)
    await scene.ends()

    total = 1 + (RING // PAGE + 2) * PAGE + 1
    assert numbers(seen + await collected(quick)) == list(range(2, total + 1))
    slow_batches = await collected(slow)
    assert numbers(slow_batches) == list(range(2, total + 1))
    assert max(len(batch.events) for batch in slow_batches) <= PAGE


async def test_a_database_that_is_away_for_a_while_ends_no_subscription() -> None:
    scene = Scene()
    scene.has(1)
    await scene.ends()
    scene.store.failures = [unavailable()]

    assert numbers(await collected(scene.follow())) == [1, 2]


async def test_what_cannot_be_read_ends_the_subscriptions_of_all_who_wait_for_it() -> None:
    scene = Scene()
    scene.has(1)
    streams = [scene.follow() for _ in range(3)]
    await asyncio.gather(*(anext(stream) for stream in streams))
    waiting = [asyncio.ensure_future(anext(stream)) for stream in streams]
    await asyncio.sleep(0.01)

    scene.store.failures = [KeyError("AnEventOfANewerVersion")]
    await scene.happens()
    async with asyncio.timeout(SOON):
        results = await asyncio.gather(*waiting, return_exceptions=True)

    assert [type(result) for result in results] == [KeyError] * 3
    assert scene.feeds.followed == 0


async def test_the_reader_ends_with_the_last_subscriber() -> None:
    scene = Scene()
    scene.has(1)
    topic = execution_topic(scene.id)

    async with aclosing(scene.follow()) as one, aclosing(scene.follow()) as other:
        await asyncio.gather(anext(one), anext(other))
        both = (scene.feeds.followed, scene.hints.listeners(topic))
        waiting = asyncio.ensure_future(anext(one))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait({waiting})

    assert both == (1, 1)
    assert (scene.feeds.followed, scene.hints.listeners(topic)) == (0, 0)
