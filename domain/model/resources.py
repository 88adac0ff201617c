"""What there is to run executions on: workers, their places, who waits for one, and how the asked process is doing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from domain.model.health import Health, health_of


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
class ConnectionPool:
    """Connections to the database: `size` are open, `idle` of these are free, `most` may be; `waiting` want one."""

    name: str
    size: int
    idle: int
    most: int
    waiting: int

    @property
    def is_exhausted(self) -> bool:
        """Whether somebody has to wait until somebody else is done."""
        return self.waiting > 0 and not self.idle and self.size >= self.most


@dataclass(frozen=True, slots=True)
class Broadcaster:
    """The way of hints between processes; `lag_seconds` is how long the last one took to come back to its sender.

    None where it did not come back within a second, or there is no connection.
    """

    is_connected: bool
    lag_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class ProcessState:
    """How one process is doing."""

    pools: Sequence[ConnectionPool]
    broadcaster: Broadcaster


UNWATCHED = ProcessState((), Broadcaster(is_connected=True, lag_seconds=0.0))
"""Of a process that nobody looks at there is nothing to say."""


@dataclass(frozen=True, slots=True)
class Resources:
    """The state of the workers and of the queue, as one tenant may see it: of others it holds numbers alone.

    `waiting`, `running` and `oldest_wait_seconds` are the tenant's own; `max_parallel_executions` is the tenant's
    limit, None for none. The oldest waits are those for a place, None where nobody waits. `process` is who was asked.
    """

    workers: Sequence[Worker]
    slots: Slots
    waiting: int
    total_waiting: int
    running: int
    max_parallel_executions: int | None
    oldest_wait_seconds: float | None = None
    total_oldest_wait_seconds: float | None = None
    process: ProcessState = UNWATCHED

    @property
    def database_pools(self) -> Sequence[ConnectionPool]:
        return self.process.pools

    @property
    def broadcaster(self) -> Broadcaster:
        return self.process.broadcaster

    @property
    def health(self) -> Health:
        """How well all this is."""
        return health_of(self)
