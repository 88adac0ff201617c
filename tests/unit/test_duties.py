from datetime import timedelta
from typing import Any

import pytest

from app.worker import SWEEP_LIMIT, Duties
from domain.errors import Unavailable
from domain.model.identity import ExecutionId, TenantId, utc_now
from tests.support.fakes import InMemoryRunStore, a_team_with_tasks


class Queue:
    """An ExecutionQueue that keeps what it is given, or does not answer."""

    def __init__(self) -> None:
        self.queued: list[ExecutionId] = []
        self.is_away = False

    async def enqueue(self, tenant_id: TenantId, execution_id: ExecutionId) -> None:
        del tenant_id
        if self.is_away:
            raise Unavailable("away")
        self.queued.append(execution_id)


class NoWorkers:
    async def lost(self, silent_seconds: float) -> list[str]:
        del silent_seconds
        return []


def duties(store: InMemoryRunStore, queue: Queue) -> Duties:
    parts: list[Any] = [store, NoWorkers(), queue, None, None, None]
    return Duties("w1", *parts)


def left_queued(store: InMemoryRunStore, count: int) -> set[ExecutionId]:
    ids = set()
    for _ in range(count):
        execution, tasks, snapshot = a_team_with_tasks("only")
        execution.created_at = utc_now() - timedelta(minutes=1)
        store.add(execution, tasks, snapshot)
        ids.add(execution.id)
    return ids


async def test_those_that_stay_queued_do_not_hide_the_others_from_the_sweep() -> None:
    store, queue = InMemoryRunStore(), Queue()
    left = left_queued(store, SWEEP_LIMIT + 5)
    sweeper = duties(store, queue)

    for _ in range(6):
        await sweeper.sweep()

    assert set(queue.queued) == left
    assert len(queue.queued) == len(left)  # once each


async def test_what_comes_after_a_round_of_sweeps_is_found_in_the_next() -> None:
    store, queue = InMemoryRunStore(), Queue()
    left_queued(store, SWEEP_LIMIT)
    sweeper = duties(store, queue)
    for _ in range(2):
        await sweeper.sweep()

    late = left_queued(store, 1)
    for _ in range(2):
        await sweeper.sweep()

    assert queue.queued[SWEEP_LIMIT:] == list(late)


async def test_a_queue_that_is_away_costs_nothing_but_time() -> None:
    store, queue = InMemoryRunStore(), Queue()
    left = left_queued(store, 3)
    sweeper = duties(store, queue)

    queue.is_away = True
    with pytest.raises(Unavailable):
        await sweeper.sweep()
    queue.is_away = False
    await sweeper.sweep()

    assert set(queue.queued) == left
