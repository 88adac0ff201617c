"""What there is to run executions on: workers, their places, and who waits for one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class WorkerLoad:
    """What a worker says of itself; percentages of its machine or container, None while they are not known."""

    places: int = 0
    is_taking: bool = True
    cpu_percent: float | None = None
    memory_percent: float | None = None


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that did not say goodbye. `active` counts the executions of all tenants that have a place on it."""

    id: str
    started_at: datetime
    heartbeat_at: datetime
    is_alive: bool
    is_taking: bool
    places: int
    active: int
    cpu_percent: float | None
    memory_percent: float | None


@dataclass(frozen=True, slots=True)
class Slots:
    """The places of the workers that are alive, and how many of all tenants' executions have one."""

    total: int
    used: int

    @property
    def free(self) -> int:
        """Never less than 0: what a lost worker had still counts as used."""
        return max(0, self.total - self.used)


@dataclass(frozen=True, slots=True)
class Resources:
    """The state of the workers and of the queue, as one tenant may see it: of others it holds numbers alone.

    `waiting` and `running` are the tenant's own; `max_parallel_executions` is the tenant's limit, None for none.
    """

    workers: Sequence[Worker]
    slots: Slots
    waiting: int
    total_waiting: int
    running: int
    max_parallel_executions: int | None
