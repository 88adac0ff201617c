"""Executions and task executions: what a run is, and the one table of its states."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from domain.errors import FailureCode, InvalidTransition
from domain.model.budget import Shortfall
from domain.model.failure import Failure
from domain.model.identity import (
    ExecutionId,
    PrincipalId,
    ProjectId,
    RevisionId,
    RoleId,
    TaskExecutionId,
    TaskId,
    TeamId,
    TenantId,
    new_id,
    utc_now,
)
from domain.model.money import Money
from domain.model.routing import QualityPreference


class ExecutionStatus(Enum):
    """Where an execution stands."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


_S = ExecutionStatus
TRANSITIONS: Mapping[ExecutionStatus, tuple[ExecutionStatus, ...]] = {
    _S.QUEUED: (_S.RUNNING, _S.FAILED, _S.CANCELLED),
    _S.RUNNING: (_S.COMPLETED, _S.FAILED, _S.CANCELLING),
    _S.CANCELLING: (_S.CANCELLED,),
    _S.COMPLETED: (),
    _S.FAILED: (),
    _S.CANCELLED: (),
}
"""The whole state machine. Every move is made by compare-and-set in the database."""

FINAL = frozenset(status for status, after in TRANSITIONS.items() if not after)


class TaskExecutionStatus(Enum):
    """Where a task of an execution stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"


TASK_FINAL = frozenset(TaskExecutionStatus) - {TaskExecutionStatus.PENDING, TaskExecutionStatus.RUNNING}


@dataclass(frozen=True, slots=True)
class ExecutionConfiguration:
    """What a kickoff asked for; durations in seconds, budgets None for no limit."""

    max_iterations: int
    execution_timeout_seconds: float
    task_timeout_seconds: float
    quality_preference: QualityPreference
    max_budget: Money | None
    max_task_budget: Money | None


@dataclass(frozen=True, slots=True)
class Timing:
    """When things happened, and how long they took in seconds; None where it has not happened yet."""

    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def queue_wait_seconds(self) -> float | None:
        return (self.started_at - self.queued_at).total_seconds() if self.started_at else None

    @property
    def duration_seconds(self) -> float | None:
        if not (self.started_at and self.finished_at):
            return None
        return (self.finished_at - self.started_at).total_seconds()


@dataclass(slots=True)
class Execution:
    """One run of a team, on the immutable revision that was current at kickoff."""

    tenant_id: TenantId
    project_id: ProjectId
    team_id: TeamId
    revision_id: RevisionId
    inputs: dict[str, Any]
    max_iterations: int
    execution_timeout_seconds: float
    task_timeout_seconds: float
    quality_preference: QualityPreference = QualityPreference.BALANCED
    max_budget: Decimal | None = None
    max_task_budget: Decimal | None = None
    status: ExecutionStatus = ExecutionStatus.QUEUED
    output: str | None = None
    failure_code: FailureCode | None = None
    failure_message: str | None = None
    failure_details: dict[str, Any] | None = None
    worker_id: str | None = None
    id: ExecutionId = field(default_factory=lambda: ExecutionId(new_id()))
    created_at: datetime = field(default_factory=utc_now)
    started_at: datetime | None = None
    finished_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    started_by: PrincipalId | None = None

    @property
    def failure(self) -> Failure | None:
        return _failure(self.failure_code, self.failure_message, self.failure_details)

    @property
    def timing(self) -> Timing:
        return Timing(self.created_at, self.started_at, self.finished_at)

    @property
    def configuration(self) -> ExecutionConfiguration:
        return ExecutionConfiguration(
            self.max_iterations,
            self.execution_timeout_seconds,
            self.task_timeout_seconds,
            self.quality_preference,
            None if self.max_budget is None else Money(self.max_budget),
            None if self.max_task_budget is None else Money(self.max_task_budget),
        )

    @property
    def allowed_transitions(self) -> list[ExecutionStatus]:
        return list(TRANSITIONS[self.status])

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def can_cancel(self) -> bool:
        return self.status in (ExecutionStatus.QUEUED, ExecutionStatus.RUNNING)

    def check_move(self, wanted: ExecutionStatus) -> None:
        """Raises InvalidTransition when the state machine has no such move."""
        if wanted not in TRANSITIONS[self.status]:
            allowed = [status.value for status in TRANSITIONS[self.status]]
            raise InvalidTransition(self.status.value, wanted.value, allowed)


@dataclass(slots=True)
class TaskExecution:
    """One task inside one execution: who does it, what came out, how often it was tried.

    `task_id` is None for a task written from a role at kickoff. `description` and `expected_output` have
    their placeholders filled. `waits_for` names task executions of the same execution.
    """

    tenant_id: TenantId
    execution_id: ExecutionId
    position: int
    name: str
    description: str
    expected_output: str
    role_id: RoleId
    role_title: str
    task_id: TaskId | None = None
    waits_for: list[TaskExecutionId] = field(default_factory=list)
    max_attempts: int = 1
    max_budget: Decimal | None = None
    quality_preference: QualityPreference = QualityPreference.BALANCED
    output_schema: dict[str, Any] | None = None
    attempts: int = 0
    status: TaskExecutionStatus = TaskExecutionStatus.PENDING
    model: str | None = None
    output: str | None = None
    failure_code: FailureCode | None = None
    failure_message: str | None = None
    failure_details: dict[str, Any] | None = None
    id: TaskExecutionId = field(default_factory=lambda: TaskExecutionId(new_id()))
    created_at: datetime = field(default_factory=utc_now)
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def failure(self) -> Failure | None:
        return _failure(self.failure_code, self.failure_message, self.failure_details)

    @property
    def timing(self) -> Timing:
        return Timing(self.created_at, self.started_at, self.finished_at)


def _failure(code: FailureCode | None, message: str | None, details: dict[str, Any] | None) -> Failure | None:
    if code is None:
        return None
    return Failure(code, message or "", Shortfall.from_document(details) if details else None)
