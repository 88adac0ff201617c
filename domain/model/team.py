"""Teams: roles and tasks under a process, with settings of their own."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum

from domain.model.execution import MAX_PARALLEL_TASKS, MAX_PARALLEL_TASKS_CAP
from domain.model.identity import (
    PrincipalId,
    ProjectId,
    RevisionId,
    RoleId,
    TeamId,
    TenantId,
    new_id,
    utc_now,
)
from domain.model.rules import MAX_BUDGET, MONEY_DIGITS, Rules

EXECUTION_TIMEOUT_SECONDS = 1800.0
EXECUTION_TIMEOUT_CAP_SECONDS = 3600.0
TASK_TIMEOUT_SECONDS = 600.0
MAX_ITERATIONS = 5
MAX_ITERATIONS_CAP = 50


class Process(Enum):
    """How the tasks of a team are run."""

    SEQUENTIAL = "SEQUENTIAL"
    PARALLEL = "PARALLEL"
    HIERARCHICAL = "HIERARCHICAL"
    COLLABORATIVE = "COLLABORATIVE"


class WhenBusy(Enum):
    """What a kickoff does while an execution of the team is under way."""

    QUEUE = "QUEUE"
    REJECT = "REJECT"
    PARALLEL = "PARALLEL"
    REPLACE = "REPLACE"


class Oversight(Enum):
    """How closely the manager of a HIERARCHICAL team looks at the work."""

    LIGHT = "LIGHT"
    STANDARD = "STANDARD"
    CLOSE = "CLOSE"


class TeamStatus(Enum):
    """Whether an execution of the team is under way."""

    IDLE = "IDLE"
    RUNNING = "RUNNING"


@dataclass(frozen=True, slots=True)
class TeamSettings:
    """Defaults for the executions of a team; durations in seconds."""

    max_iterations: int = MAX_ITERATIONS
    execution_timeout_seconds: float = EXECUTION_TIMEOUT_SECONDS
    task_timeout_seconds: float = TASK_TIMEOUT_SECONDS
    max_parallel_tasks: int = MAX_PARALLEL_TASKS
    when_busy: WhenBusy = WhenBusy.QUEUE
    oversight: Oversight = Oversight.STANDARD
    is_cached: bool = False


@dataclass(slots=True)
class Team:
    """Roles + tasks + a process.

    `revision_id` names the immutable revision of the current definition; None after an edit, until the
    next kickoff makes one. `monthly_budget` is in dollars per calendar month (UTC); None means unlimited.
    """

    tenant_id: TenantId
    project_id: ProjectId
    name: str
    description: str = ""
    process: Process = Process.SEQUENTIAL
    manager_id: RoleId | None = None
    max_iterations: int = MAX_ITERATIONS
    execution_timeout_seconds: float = EXECUTION_TIMEOUT_SECONDS
    task_timeout_seconds: float = TASK_TIMEOUT_SECONDS
    max_parallel_tasks: int = MAX_PARALLEL_TASKS
    when_busy: WhenBusy = WhenBusy.QUEUE
    oversight: Oversight = Oversight.STANDARD
    is_cached: bool = False
    monthly_budget: Decimal | None = None
    revision_id: RevisionId | None = None
    id: TeamId = field(default_factory=lambda: TeamId(new_id()))
    version: int = 1
    created_at: datetime = field(default_factory=utc_now)
    updated_at: datetime = field(default_factory=utc_now)
    created_by: PrincipalId | None = None
    archived_at: datetime | None = None

    @property
    def settings(self) -> TeamSettings:
        return TeamSettings(
            self.max_iterations,
            self.execution_timeout_seconds,
            self.task_timeout_seconds,
            self.max_parallel_tasks,
            self.when_busy,
            self.oversight,
            self.is_cached,
        )

    def check(self) -> None:
        """Hold the rules of a team; raises Invalid with every broken one."""
        rules = Rules()
        rules.name(self.name, "name")
        rules.text(self.description, "description")
        rules.between(self.max_iterations, 1, MAX_ITERATIONS_CAP, "settings", "maxIterations")
        cap = EXECUTION_TIMEOUT_CAP_SECONDS
        rules.between(self.execution_timeout_seconds, 1, cap, "settings", "executionTimeoutSeconds")
        rules.between(self.task_timeout_seconds, 1, cap, "settings", "taskTimeoutSeconds")
        rules.between(self.max_parallel_tasks, 1, MAX_PARALLEL_TASKS_CAP, "settings", "maxParallelTasks")
        rules.money(self.monthly_budget, MAX_BUDGET, MONEY_DIGITS, "monthlyBudget")
        rules.hold()
