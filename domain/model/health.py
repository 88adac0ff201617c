"""Whether a deployment is well, and if not, why: a judgement over what is known of its workers and its queue."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from domain.model.resources import ConnectionPool, Resources, Worker

LONG_WAIT_SECONDS: Final = 60.0
"""Nobody should wait longer than this for a place."""

LONG_LAG_SECONDS: Final = 1.0
"""Who waits for a hint looks by himself after so long: a slower broadcaster is of no use."""


class HealthStatus(Enum):
    """How well it is."""

    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    UNHEALTHY = "UNHEALTHY"


class HealthCode(Enum):
    """What can be wrong."""

    NO_WORKER = "NO_WORKER"
    QUEUE_STALLED = "QUEUE_STALLED"
    WORKER_SILENT = "WORKER_SILENT"
    WORKER_NOT_TAKING = "WORKER_NOT_TAKING"
    POOL_EXHAUSTED = "POOL_EXHAUSTED"
    BROADCASTER_DOWN = "BROADCASTER_DOWN"
    BROADCASTER_SLOW = "BROADCASTER_SLOW"


@dataclass(frozen=True, slots=True)
class HealthReason:
    """One thing that is wrong, in words for an operator."""

    code: HealthCode
    message: str
    status: HealthStatus = HealthStatus.DEGRADED
    """How bad it is by itself."""


@dataclass(frozen=True, slots=True)
class Health:
    """The judgement: as bad as the worst reason, which stands first; without reasons it is HEALTHY."""

    reasons: Sequence[HealthReason] = ()

    @property
    def status(self) -> HealthStatus:
        return self.reasons[0].status if self.reasons else HealthStatus.HEALTHY


def health_of(found: "Resources") -> Health:
    """What is wrong with the deployment, seen from one API process."""
    reasons = (*_of_workers(found), *_of_process(found))
    return Health(tuple(sorted(reasons, key=lambda reason: reason.status is not HealthStatus.UNHEALTHY)))


def _of_workers(found: "Resources") -> Iterator[HealthReason]:
    alive = [worker for worker in found.workers if worker.is_alive]
    if not alive:
        yield _no_worker(found.total_waiting)
    oldest = found.total_oldest_wait_seconds or 0.0
    if oldest > LONG_WAIT_SECONDS and found.slots.total and not found.slots.free:
        message = f"All places are taken, and the oldest execution has been waiting for {oldest:.0f} seconds."
        yield HealthReason(HealthCode.QUEUE_STALLED, message)
    if silent := len(found.workers) - len(alive):
        message = f"{_counted(silent, 'worker')} did not say goodbye and cannot be heard."
        yield HealthReason(HealthCode.WORKER_SILENT, message)
    for worker in alive:
        if not worker.is_taking:
            yield HealthReason(HealthCode.WORKER_NOT_TAKING, _not_taking(worker))


def _no_worker(waiting: int) -> HealthReason:
    if not waiting:
        return HealthReason(HealthCode.NO_WORKER, "No worker is alive.")
    verb = "waits" if waiting == 1 else "wait"
    message = f"No worker is alive, and {_counted(waiting, 'execution')} {verb}."
    return HealthReason(HealthCode.NO_WORKER, message, HealthStatus.UNHEALTHY)


def _not_taking(worker: "Worker") -> str:
    figures = f"{_percent(worker.cpu_percent)} of its processors and {_percent(worker.memory_percent)} of its memory"
    return f"The worker {worker.id} takes nothing new: it is stopping, or its machine is busy ({figures} in use)."


def _of_process(found: "Resources") -> Iterator[HealthReason]:
    process = found.process
    yield from (_exhausted(pool) for pool in process.pools if pool.is_exhausted)
    if not process.broadcaster.is_connected:
        message = "The broadcaster is cut off: subscriptions and workers look by themselves, about once a second."
        yield HealthReason(HealthCode.BROADCASTER_DOWN, message)
    elif (lag := process.broadcaster.lag_seconds) is None or lag > LONG_LAG_SECONDS:
        message = f"A hint takes longer than {LONG_LAG_SECONDS:g} s through the broadcaster."
        yield HealthReason(HealthCode.BROADCASTER_SLOW, message)


def _exhausted(pool: "ConnectionPool") -> HealthReason:
    verb = "waits" if pool.waiting == 1 else "wait"
    message = (
        f"All {pool.most} database connections for {pool.name} are in use, and"
        f" {_counted(pool.waiting, 'request')} {verb} for one."
    )
    return HealthReason(HealthCode.POOL_EXHAUSTED, message)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _percent(value: float | None) -> str:
    return "an unknown part" if value is None else f"{value:.0f} %"
