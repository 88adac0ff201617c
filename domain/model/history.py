"""What became of a team's executions so far: what estimates, findings and optimizations stand on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from domain.model.identity import RoleId, TaskId, TeamId
from domain.model.model import Tier

ENOUGH_EXECUTIONS = 5
"""With fewer that are over, nothing is concluded from them."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Of what was measured: the 10th, 50th and 90th percentile; in seconds, tokens or dollars."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """What one task came to with one model; `task_id` None: tasks of a kickoff alone. `cost` is of all, in dollars."""

    task_id: TaskId | None
    completed: int
    failed: int
    cost: Decimal

    @property
    def finished(self) -> int:
        return self.completed + self.failed

    @property
    def mean_cost(self) -> Decimal:
        return self.cost / self.finished if self.finished else Decimal(0)


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """What a role's finished task executions took with one model, and each task. Costs are of all calls, in dollars."""

    model: str
    tier: Tier | None
    completed: int
    failed: int
    mean_cost: Decimal
    mean_seconds: float
    tasks: Sequence[TaskRecord] = ()

    @property
    def finished(self) -> int:
        return self.completed + self.failed

    def of_task(self, task_id: TaskId | None) -> TaskRecord | None:
        return next((task for task in self.tasks if task.task_id == task_id), None)


@dataclass(frozen=True, slots=True)
class TaskHistory:
    """The finished executions of one task of the team as it is now; quantiles None where none completed.

    `guardrail_failures` counts the attempts whose output did not pass, `guardrail_failed` the task executions that
    ended so. Costs count every call of the task, retries included.
    """

    task_id: TaskId
    name: str
    completed: int = 0
    failed: int = 0
    retried: int = 0
    guardrail_failures: int = 0
    guardrail_failed: int = 0
    seconds: Quantiles | None = None
    prompt_tokens: Quantiles | None = None
    completion_tokens: Quantiles | None = None
    cost: Quantiles | None = None
    total_cost: Decimal = Decimal(0)
    calls: Quantiles | None = None
    """Model calls that were answered."""

    @property
    def finished(self) -> int:
        return self.completed + self.failed


@dataclass(frozen=True, slots=True)
class RoleHistory:
    """What one role of the team did; `delegated` counts the times it handed work on."""

    role_id: RoleId
    title: str
    completed: int = 0
    failed: int = 0
    delegated: int = 0
    total_cost: Decimal = Decimal(0)
    models: Sequence[ModelRecord] = ()


@dataclass(frozen=True, slots=True)
class TeamHistory:
    """The executions of a team that ended within a time, without those that were answered by an earlier one.

    `seconds` and `cost` are of the completed ones, waiting for people not counted.
    """

    team_id: TeamId
    since: datetime | None = None
    until: datetime | None = None
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    seconds: Quantiles | None = None
    cost: Quantiles | None = None
    mean_seconds: float | None = None
    mean_cost: Decimal | None = None
    tasks: Sequence[TaskHistory] = ()
    roles: Sequence[RoleHistory] = ()
    failures: Mapping[str, int] = field(default_factory=dict)
    """How many failed with which code."""
    with_events: int = 0
    """Of the finished ones, those whose events are kept still: these alone tell of guardrails and delegation."""
    with_events_from: Sequence[datetime] = ()
    """When each of these was kicked off."""

    @property
    def finished(self) -> int:
        """Those that say something about the team: not the cancelled ones."""
        return self.completed + self.failed

    @property
    def is_enough(self) -> bool:
        return self.finished >= ENOUGH_EXECUTIONS

    @property
    def success(self) -> float | None:
        """The share that was completed; None where none is over."""
        return self.completed / self.finished if self.finished else None

    def of_task(self, task_id: TaskId) -> TaskHistory | None:
        return next((task for task in self.tasks if task.task_id == task_id), None)

    def of_role(self, role_id: RoleId) -> RoleHistory | None:
        return next((role for role in self.roles if role.role_id == role_id), None)


@dataclass(frozen=True, slots=True)
class SimilarHistory:
    """What became of the executions of teams that are like one."""

    teams: int = 0
    completed: int = 0
    failed: int = 0

    @property
    def finished(self) -> int:
        return self.completed + self.failed
