"""When a deployment is healthy, degraded or unhealthy, and what is said about it."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from domain.model.health import HealthCode, HealthStatus, health_of
from domain.model.resources import Broadcaster, ConnectionPool, ProcessState, Resources, Slots, Worker

NOW = datetime(2026, 11, 21, tzinfo=UTC)
POOL = ConnectionPool("reads", size=10, idle=4, most=10, waiting=0)
WELL = ProcessState((POOL,), Broadcaster(is_connected=True, lag_seconds=0.002))


def a_worker(name: str = "w1", **values: Any) -> Worker:
    plain = Worker(name, NOW, NOW, is_alive=True, is_taking=True, places=2, active=0, cpu_percent=10, memory_percent=40)
    return replace(plain, **values)


def a_deployment(*workers: Worker, **values: Any) -> Resources:
    """One that is well, unless the values say otherwise."""
    plain = Resources(
        workers=workers or (a_worker(),),
        slots=Slots(2, 0),
        waiting=0,
        total_waiting=0,
        running=0,
        max_parallel_executions=None,
        process=WELL,
    )
    return replace(plain, **values)


def codes(found: Resources) -> list[HealthCode]:
    return [reason.code for reason in health_of(found).reasons]


def test_where_nothing_is_wrong_it_is_healthy_without_a_reason() -> None:
    health = a_deployment().health

    assert (health.status, health.reasons) == (HealthStatus.HEALTHY, ())


def test_waiting_alone_is_no_illness() -> None:
    """What limits keep back waits although places are free; and a burst waits for a moment."""
    by_limits = a_deployment(total_waiting=5, total_oldest_wait_seconds=3_600.0)
    in_a_burst = a_deployment(slots=Slots(2, 2), total_waiting=5, total_oldest_wait_seconds=60.0)

    assert by_limits.health.status is HealthStatus.HEALTHY
    assert in_a_burst.health.status is HealthStatus.HEALTHY


def test_without_a_worker_it_is_unhealthy_as_soon_as_something_waits() -> None:
    none = a_deployment(workers=(), slots=Slots(0, 0))
    waiting = replace(none, total_waiting=1, total_oldest_wait_seconds=61.0)  # for no place: there is none

    assert (none.health.status, codes(none)) == (HealthStatus.DEGRADED, [HealthCode.NO_WORKER])
    assert (waiting.health.status, codes(waiting)) == (HealthStatus.UNHEALTHY, [HealthCode.NO_WORKER])
    assert waiting.health.reasons[0].message == "No worker is alive, and 1 execution waits."


def test_a_silent_worker_is_no_living_one() -> None:
    silent = a_worker(is_alive=False)

    assert codes(a_deployment(silent, slots=Slots(0, 0))) == [HealthCode.NO_WORKER, HealthCode.WORKER_SILENT]
    assert codes(a_deployment(silent, a_worker("w2"))) == [HealthCode.WORKER_SILENT]


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"slots": Slots(2, 2), "total_waiting": 1, "total_oldest_wait_seconds": 60.1}, HealthCode.QUEUE_STALLED),
        ({"workers": (a_worker(is_taking=False, cpu_percent=93.0),)}, HealthCode.WORKER_NOT_TAKING),
        (
            {"process": ProcessState((replace(POOL, idle=0, waiting=3),), WELL.broadcaster)},
            HealthCode.POOL_EXHAUSTED,
        ),
        ({"process": ProcessState((POOL,), Broadcaster(is_connected=False))}, HealthCode.BROADCASTER_DOWN),
        ({"process": ProcessState((POOL,), Broadcaster(is_connected=True))}, HealthCode.BROADCASTER_SLOW),
        (
            {"process": ProcessState((POOL,), Broadcaster(is_connected=True, lag_seconds=1.01))},
            HealthCode.BROADCASTER_SLOW,
        ),
    ],
)
def test_what_is_slow_or_missing_degrades_it_for_this_reason_alone(values: dict[str, Any], code: HealthCode) -> None:
    found = a_deployment(**values)

    assert (found.health.status, codes(found)) == (HealthStatus.DEGRADED, [code])
    assert all(reason.message.endswith(".") for reason in found.health.reasons)


@pytest.mark.parametrize(
    "pool", [replace(POOL, idle=0), replace(POOL, idle=0, size=9, waiting=1), replace(POOL, idle=1, waiting=1)]
)
def test_a_pool_that_is_full_or_growing_is_not_exhausted(pool: ConnectionPool) -> None:
    assert codes(a_deployment(process=ProcessState((pool,), WELL.broadcaster))) == []


def test_the_worst_reason_stands_first_and_decides() -> None:
    found = a_deployment(
        workers=(a_worker(is_alive=False),),
        slots=Slots(1, 1),
        total_waiting=2,
        total_oldest_wait_seconds=61.0,
        process=ProcessState((POOL,), Broadcaster(is_connected=False)),
    )

    assert found.health.status is HealthStatus.UNHEALTHY
    assert codes(found) == [
        HealthCode.NO_WORKER,
        HealthCode.QUEUE_STALLED,
        HealthCode.WORKER_SILENT,
        HealthCode.BROADCASTER_DOWN,
    ]
