"""Storage as workers need it: the queue, runs under an owner epoch, duties over all tenants."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol
from uuid import UUID

from domain.errors import RunFailed
from domain.events import ExecutionEvent
from domain.model.approval import Approval
from domain.model.availability import OperatorModels
from domain.model.execution import Execution, ExecutionStatus, TaskExecution
from domain.model.identity import AdmissionId, ExecutionId, ScheduleId, TaskExecutionId, TenantId
from domain.model.journal import JournalEntry
from domain.model.ledger import LedgerEntry, Usage
from domain.model.refinement import RefinementPass
from domain.model.resources import WorkerLoad
from domain.model.revision import TeamSnapshot


@dataclass(frozen=True, slots=True)
class AdmissionKey:
    """Which way to a place of which execution."""

    tenant_id: TenantId
    execution_id: ExecutionId
    id: AdmissionId


@dataclass(frozen=True, slots=True)
class Released:
    """What a worker had: how many wait for another one now, and which have to be ended as CANCELLED.

    `held`: so many stay as they are, for somebody is writing to them just now; another try takes them.
    """

    waiting: int = 0
    cancelling: Sequence[tuple[TenantId, ExecutionId]] = ()
    held: int = 0


@dataclass(frozen=True, slots=True)
class Ownership:
    """Which run of which execution: every write of a run is conditional on its epoch."""

    tenant_id: TenantId
    project_id: UUID
    execution_id: ExecutionId
    epoch: int


@dataclass(slots=True)
class Change:
    """What one run wants committed together; `execution` moves from `expected` when given."""

    ownership: Ownership
    events: list[ExecutionEvent] = field(default_factory=list)
    task_executions: list[TaskExecution] = field(default_factory=list)
    ledger: list[LedgerEntry] = field(default_factory=list)
    execution: Execution | None = None
    expected: ExecutionStatus | None = None
    journal: list[JournalEntry] = field(default_factory=list)
    approvals: list[Approval] = field(default_factory=list)
    """New ones."""
    passes: list[RefinementPass] = field(default_factory=list)


@dataclass(slots=True)
class Claimed:
    """A run's whole plan, read when a worker took it."""

    execution: Execution
    tasks: list[TaskExecution]
    snapshot: TeamSnapshot
    ownership: Ownership
    spent: Mapping[TaskExecutionId, Usage] = field(default_factory=dict)
    """What earlier runs booked, by task."""
    journal: Sequence[JournalEntry] = ()
    """The calls that earlier runs finished in attempts that are not over."""
    http_attempts: Mapping[tuple[TaskExecutionId, int, int], int] = field(default_factory=dict)
    """How many HTTP attempts earlier runs made, by task, its attempt and its call."""
    approvals: Sequence[Approval] = ()
    """All that were asked for tasks that are not over."""
    passes: list[RefinementPass] = field(default_factory=list)
    """The passes of its refinement so far, in order."""
    takeovers: int = 0
    """How often it was taken over from a worker that was lost, this time included."""
    is_first: bool = False
    """Whether it was QUEUED until this claim."""


class CommandKind(Enum):
    """What somebody wants of a run that is under way."""

    CANCEL = "CANCEL"
    PAUSE = "PAUSE"
    DECIDED = "DECIDED"
    """An approval that it waits for was decided."""


class RunStore(Protocol):
    """Storage as a worker needs it."""

    async def claim(self, admission: AdmissionKey, worker_id: str) -> Claimed | None:
        """Take the execution under a new epoch; None when it is final, or the worker does not have this place any more.

        A QUEUED one becomes RUNNING; one that is CANCELLING stays so, for the caller to end it.
        """
        ...

    async def give_up(
        self,
        tenant_id: TenantId,
        execution_id: ExecutionId,
        failure: RunFailed,
        place: tuple[AdmissionKey, str] | None = None,
    ) -> None:
        """End an execution that cannot be claimed: FAILED, or CANCELLED when that was asked for.

        FAILED only in the name of the worker that has this place; without one, only what is CANCELLING is ended.
        Whoever owned it writes nothing any more. Nothing happens when it is final or does not exist.
        """
        ...

    async def commit(self, changes: Sequence[Change]) -> Sequence[bool]:
        """Write all changes in one transaction; False for each whose epoch or expected status is gone.

        Of such a change the ledger entries are written all the same: what was paid is paid, whoever runs it now.
        Raises Busy when somebody else holds one of the executions for too long.
        """
        ...

    async def commands(self, worker_id: str) -> Sequence[tuple[ExecutionId, CommandKind]]:
        """What is wanted of the executions that have a place on this worker."""
        ...

    async def approvals(self, tenant_id: TenantId, execution_id: ExecutionId) -> Sequence[Approval]:
        """All approvals that were asked for the tasks of the execution that are not over."""
        ...

    async def settle_lost(self, limit: int) -> int:
        """Turn reservations that outlived their time into ledger entries LOST; returns how many."""
        ...


class Admissions(Protocol):
    """Who runs what: the queue of the executions, in front of all workers."""

    async def admit(self, worker_id: str, places: int, most: int | None) -> Sequence[AdmissionKey]:
        """Give places on this worker to at most so many executions that wait; `most` limits all workers together.

        Tenants in turn, then by priority, then by age, within the limits of tenant, project and team.
        """
        ...

    async def held_by(self, worker_id: str) -> Sequence[AdmissionKey]:
        """The places that this worker was given and that are not given back."""
        ...

    async def release(self, worker_id: str, only: Sequence[AdmissionId] | None = None) -> Released:
        """Take all places of a worker that is lost or going, or only these: its executions wait for another one.

        They keep their turn. Those that are CANCELLING are named instead, for the caller to end them. Whoever ran them
        writes nothing any more.
        """
        ...


class Workers(Protocol):
    """The workers that are alive, by their heartbeats."""

    async def beat(self, worker_id: str, models: OperatorModels = ..., load: WorkerLoad = ...) -> None:
        """Say that the worker is alive, how it is doing, and which models its environment gives access to."""
        ...

    async def lost(self, silent_seconds: float) -> Sequence[str]:
        """Workers that were silent for so long and did not say goodbye, and any that has places but is not known."""
        ...

    async def leave(self, worker_id: str) -> None: ...

    async def lose(self, worker_id: str, silent_seconds: float) -> None:
        """Forget a worker that was silent for so long, and note the loss: once, however many find it."""
        ...

    async def tidy(self) -> None:
        """Make room for what comes, and forget what is over."""
        ...


class DueSchedules(Protocol):
    """Which schedules, of all tenants, have something to do now."""

    async def due(self, limit: int) -> Sequence[tuple[TenantId, ScheduleId]]:
        """Those whose next fire is due, the longest overdue first."""
        ...

    async def backfilling(self, limit: int, at_once: int) -> Sequence[tuple[TenantId, ScheduleId]]:
        """Those with fires to be made up, and room for one more: PARALLEL ones so many at once, others one."""
        ...


class Retention(Protocol):
    """What tenants do not want kept any longer. Each call is a short transaction, and waits for nobody.

    How long that is, a tenant decides, or the deployment for those that do not; for ever, where nobody does. All raise
    Unavailable.
    """

    async def archive(self, limit: int) -> int:
        """Empty executions that were over before that: at most about so many rows; returns how many it was.

        They are marked in the same transaction as their first texts are gone. Fewer than `limit`: that was all.
        """
        ...

    async def forget_deliveries(self, limit: int) -> int:
        """Remove deliveries of webhooks from before that, at most so many, but for those still to be made."""
        ...

    async def forget_fires(self, limit: int) -> int:
        """Remove fires of schedules from before that which started nothing, at most so many."""
        ...

    async def forget_alerts(self, limit: int) -> int:
        """Remove alerts that were resolved before that, at most so many."""
        ...

    async def forget_audit(self, limit: int) -> int:
        """Remove entries of the audit that are older than the deployment keeps them, at most so many."""
        ...

    async def drop_month(self) -> bool:
        """Give back the space of a month of which no event is left; False when there is none, or not now."""
        ...
