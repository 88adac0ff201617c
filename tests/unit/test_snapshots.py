import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from domain.errors import RegattaError
from domain.model.acting import Origin, origin
from domain.model.approval import Approval, ApprovalKind, ApprovalStatus
from domain.model.execution import Execution, ExecutionStatus, TaskExecution
from domain.model.identity import DEFAULT_TENANT, ExecutionId, TenantId, new_id
from domain.model.ledger import Usage
from domain.model.progress import ExecutionProgress
from domain.ports import approvals_topic, execution_topic, project_topic
from domain.services import snapshots
from domain.services.snapshots import Snapshots
from tests.support.fakes import FakeHints, a_team_with_tasks, unavailable

NEVER = 60.0


class Store:
    """As much of the Reader as snapshots need; `reads` counts what was asked."""

    def __init__(self) -> None:
        self.execution, self.tasks, _ = a_team_with_tasks("only")
        self.tokens = 0
        self.activities: list[tuple[Execution, int]] = []
        self.approvals: list[Approval] = []
        self.things: list[Any] = []
        self.failures: list[Exception] = []
        self.reads = 0
        self.asked_for: Origin | None = None

    def _read(self) -> None:
        self.reads += 1
        self.asked_for = origin.get()
        if self.failures:
            raise self.failures.pop(0)

    async def by_ids(self, _kind: type[Any], tenant_id: TenantId, ids: Sequence[UUID]) -> Mapping[UUID, Any]:
        self._read()
        await asyncio.sleep(0)
        kept = [self.execution, *self.things]
        return {found.id: found for found in kept if found.tenant_id == tenant_id and found.id in ids}

    async def children(self, *_: object) -> Mapping[UUID, Sequence[TaskExecution]]:
        self._read()
        return {self.execution.id: self.tasks}

    async def usage(self, *_: object) -> Mapping[UUID, Usage]:
        self._read()
        return {self.tasks[0].id: Usage(calls=1, prompt_tokens=self.tokens)}

    async def activity(self, _tenant: TenantId, _project: UUID, _since: datetime, limit: int) -> Any:
        self._read()
        return self.activities[:limit]

    async def approval_activity(self, _tenant: TenantId, _since: datetime, limit: int) -> Sequence[Approval]:
        self._read()
        return self.approvals[:limit]


class Scene:
    """One execution and its project, and the snapshots of one process."""

    def __init__(self, patience: float = NEVER, interval: float = 0.0) -> None:
        self.store = Store()
        self.hints = FakeHints()
        self.snapshots = Snapshots(self.store, self.hints, patience, interval)  # type: ignore[arg-type] # a part of it
        self.id: ExecutionId = self.store.execution.id
        self.project_id = self.store.execution.project_id

    def progress(self) -> AsyncGenerator[ExecutionProgress, None]:
        return self.snapshots.progress(DEFAULT_TENANT, self.id)

    def activity(self) -> AsyncGenerator[Sequence[Execution], None]:
        return self.snapshots.activity(DEFAULT_TENANT, self.project_id)

    async def spends(self, tokens: int) -> None:
        self.store.tokens += tokens
        await self.hints.publish([execution_topic(self.id)])

    async def ends(self) -> None:
        self.store.execution = replace(self.store.execution, status=ExecutionStatus.CANCELLED)
        await self.hints.publish([execution_topic(self.id)])


async def tokens_of(stream: AsyncGenerator[ExecutionProgress, None]) -> list[int]:
    return [snapshot.total_tokens async for snapshot in stream]


async def test_a_snapshot_at_once_on_every_change_and_the_final_one_last() -> None:
    scene = Scene()
    stream = scene.progress()

    seen = [(await anext(stream)).total_tokens]
    await scene.spends(7)
    seen.append((await anext(stream)).total_tokens)
    await scene.spends(0)  # nothing to tell
    await scene.ends()
    rest = [(it.total_tokens, it.execution.is_final) async for it in stream]

    assert (seen, rest) == ([0, 7], [(7, True)])


async def test_what_comes_in_the_same_tick_of_the_clock_as_a_read_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshots, "_now", lambda: 1.0)  # uvloop's has milliseconds
    scene = Scene()
    stream = scene.progress()

    async with asyncio.timeout(20):
        seen = [(await anext(stream)).total_tokens]
        await scene.spends(7)
        seen.append((await anext(stream)).total_tokens)

    assert seen == [0, 7]
    await stream.aclose()


async def test_all_who_follow_the_same_execution_share_its_reads_however_often_it_is_hinted() -> None:
    interval = 0.1
    scene = Scene(interval=interval)
    began = asyncio.get_running_loop().time()

    def most() -> float:
        """A snapshot takes three reads; another one may begin after each interval."""
        return 3 * (1 + (asyncio.get_running_loop().time() - began) / interval)

    collecting = [asyncio.ensure_future(tokens_of(scene.progress())) for _ in range(20)]
    await asyncio.sleep(0.01)
    assert (scene.snapshots.followed, scene.hints.listeners(execution_topic(scene.id))) == (1, 1)
    assert 3 <= scene.store.reads <= most()

    for _ in range(80):
        await scene.spends(1)
        await asyncio.sleep(0)
    await scene.ends()
    seen = await asyncio.gather(*collecting)

    assert {(told[0], told[-1]) for told in seen} == {(0, 80)}
    assert scene.store.reads <= most()
    assert (scene.snapshots.followed, scene.hints.listeners(execution_topic(scene.id))) == (0, 0)


async def test_who_comes_later_is_told_what_is_now_and_not_what_was() -> None:
    scene = Scene()
    async with aclosing(scene.progress()) as first, aclosing(scene.progress()) as later:
        await anext(first)
        scene.store.tokens = 5

        assert (await anext(later)).total_tokens == 5


async def test_what_is_read_for_all_is_read_in_nobody_s_name() -> None:
    scene = Scene()
    origin.set(Origin("the first of them"))
    async with aclosing(scene.progress()) as stream:
        await anext(stream)
        await scene.spends(7)
        await anext(stream)

    assert scene.store.asked_for is None


async def test_a_lost_hint_costs_time_but_no_state() -> None:
    scene = Scene(patience=0.02)
    scene.hints.is_deaf = True
    stream = scene.progress()
    await anext(stream)

    await scene.ends()

    assert [it.execution.is_final async for it in stream] == [True]


async def test_a_database_that_is_away_for_a_while_ends_no_subscription(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "_READ_PAUSE", 0.01)
    scene = Scene()
    async with aclosing(scene.progress()) as progress, aclosing(scene.activity()) as activity:
        scene.store.failures = [unavailable(), unavailable()]
        await anext(progress)
        scene.store.failures = [unavailable()]
        await anext(activity)
        scene.store.failures = [unavailable()]
        await scene.spends(3)

        assert (await anext(progress)).total_tokens == 3


async def test_a_fault_ends_the_subscription_with_it() -> None:
    scene = Scene()
    scene.store.failures = [RegattaError("a fault")]

    with pytest.raises(RegattaError, match="a fault"):
        await anext(scene.progress())
    assert scene.snapshots.followed == 0


async def test_an_execution_that_does_not_exist_or_is_foreign_ends_at_once() -> None:
    scene = Scene()

    assert await tokens_of(scene.snapshots.progress(DEFAULT_TENANT, ExecutionId(new_id()))) == []
    assert await tokens_of(scene.snapshots.progress(TenantId(new_id()), scene.id)) == []


def _executions(count: int) -> list[tuple[Execution, int]]:
    return [(a_team_with_tasks("only")[0], 1) for _ in range(count)]


async def test_many_executions_are_told_in_several_messages_and_none_is_forgotten() -> None:
    scene = Scene()
    scene.store.activities = _executions(250)
    async with aclosing(scene.activity()) as stream:
        first = [len(await anext(stream)) for _ in range(3)]
        oldest, last = scene.store.activities[-1]
        scene.store.activities[-1] = (replace(oldest, status=ExecutionStatus.CANCELLED), last + 1)
        await scene.hints.publish([project_topic(scene.project_id)])
        changed = await anext(stream)

    assert first == [100, 100, 50]
    assert [(it.id, it.status) for it in changed] == [(oldest.id, ExecutionStatus.CANCELLED)]


async def test_what_ended_before_is_no_activity() -> None:
    scene = Scene()
    ((over, last),) = _executions(1)
    scene.store.activities = [(replace(over, status=ExecutionStatus.CANCELLED), last)]
    async with aclosing(scene.activity()) as stream:
        first = await anext(stream)
        scene.store.activities += _executions(1)
        await scene.hints.publish([project_topic(scene.project_id)])

        assert first == []
        assert [it.id for it in await anext(stream)] == [scene.store.activities[-1][0].id]


async def test_what_ended_so_long_before_the_next_read_that_it_is_no_activity_any_more_is_told_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshots, "_READ_PAUSE", 0.01)
    scene = Scene()
    (over, last), left_out, stays = _executions(3)
    scene.store.activities = [(over, last), left_out, stays]
    async with asyncio.timeout(20), aclosing(scene.activity()) as stream:
        await anext(stream)
        scene.store.activities = [stays, *_executions(1)]
        scene.store.things = [replace(over, status=ExecutionStatus.CANCELLED), left_out[0]]
        await scene.hints.publish([project_topic(scene.project_id)])
        changed = await anext(stream)

    fresh = scene.store.activities[1][0]
    assert [(it.id, it.status) for it in changed] == [
        (fresh.id, fresh.status),
        (over.id, ExecutionStatus.CANCELLED),
    ]


async def test_what_was_decided_so_long_before_the_next_read_is_told_however_the_store_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshots, "_READ_PAUSE", 0.01)
    scene = Scene()
    mine, others, left_out = (
        Approval(DEFAULT_TENANT, scene.project_id, scene.id, scene.store.tasks[0].id, ApprovalKind.TASK, prompt, 1)
        for prompt in ("Mine", "Others", "Mine")
    )
    scene.store.approvals = [mine, others, left_out]
    stream = scene.snapshots.approvals(DEFAULT_TENANT, lambda it: it.prompt == "Mine")
    async with asyncio.timeout(20), aclosing(stream):
        assert [it.id for it in await anext(stream)] == [mine.id, left_out.id]
        scene.store.approvals = []
        decided = [replace(it, status=ApprovalStatus.APPROVED) for it in (mine, others)]
        scene.store.things = [*decided, left_out]
        reading = asyncio.ensure_future(anext(stream))
        await scene.hints.publish([approvals_topic(DEFAULT_TENANT)])
        scene.store.failures = [unavailable(), unavailable()]

        assert [(it.id, it.status) for it in await reading] == [(mine.id, ApprovalStatus.APPROVED)]
