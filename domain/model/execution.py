"""Executions and task executions: what a run is, and the one table of its states."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from domain.errors import FailureCode, InvalidTransition
from domain.model.admission import PRIORITY
from domain.model.approval import ApprovalDefault
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
from domain.model.refinement import Refinement
from domain.model.routing import QualityPreference


class ExecutionStatus(Enum):
    """Where an execution stands."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    AWAITING_APPROVAL = "AWAITING_APPROVAL"
    CANCELLING = "CANCELLING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


_S = ExecutionStatus
TRANSITIONS: Mapping[ExecutionStatus, tuple[ExecutionStatus, ...]] = {
    _S.QUEUED: (_S.RUNNING, _S.PAUSED, _S.FAILED, _S.CANCELLED),
    _S.RUNNING: (_S.PAUSED, _S.AWAITING_APPROVAL, _S.COMPLETED, _S.FAILED, _S.CANCELLING, _S.CANCELLED),
    _S.PAUSED: (_S.RUNNING, _S.CANCELLED),
    _S.AWAITING_APPROVAL: (_S.RUNNING, _S.CANCELLED),
    _S.CANCELLING: (_S.CANCELLED,),
    _S.COMPLETED: (),
    _S.FAILED: (),
    _S.CANCELLED: (),
}
"""The whole state machine. Every move is made by compare-and-set in the database.

RUNNING: a worker has it, or it waits for one (at first it is QUEUED; later, after a pause, an answer or the loss of a
worker, it stays RUNNING). Without a worker it is CANCELLED at once, with one by way of CANCELLING.
"""

FINAL = frozenset(status for status, after in TRANSITIONS.items() if not after)
UNDER_WAY = frozenset({_S.QUEUED, _S.RUNNING, _S.CANCELLING})
"""What keeps a team busy: not what waits for a person."""

MAX_PARALLEL_TASKS = 4
MAX_PARALLEL_TASKS_CAP = 16


class TaskExecutionStatus(Enum):
    """Where a task of an execution stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    AWAITING_APPROVAL = "AWAITING_APPROVAL"
    COMPLETED = "COMPLETED"
    REUSED = "REUSED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"


_T = TaskExecutionStatus
TASK_FINAL = frozenset(TaskExecutionStatus) - {_T.PENDING, _T.RUNNING, _T.AWAITING_APPROVAL}
TASK_DONE = frozenset({_T.COMPLETED, _T.REUSED})
"""Its output is there for others."""


@dataclass(frozen=True, slots=True)
class ExecutionConfiguration:
    """What a kickoff asked for; durations in seconds, budgets None for no limit."""

    max_iterations: int
    execution_timeout_seconds: float
    task_timeout_seconds: float
    quality_preference: QualityPreference
    max_budget: Money | None
    max_task_budget: Money | None
    priority: int
    max_parallel_tasks: int
    refinement: Refinement | None


@dataclass(frozen=True, slots=True)
class Timing:
    """When things happened, and how long they took in seconds; None where it has not happened yet."""

    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    waited_seconds: float = 0.0
    """How long it was paused, waited for a person, or for a place on a worker after that."""

    @property
    def queue_wait_seconds(self) -> float | None:
        return (self.started_at - self.queued_at).total_seconds() if self.started_at else None

    @property
    def duration_seconds(self) -> float | None:
        if not (self.started_at and self.finished_at):
            return None
        return (self.finished_at - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True)
class Cancellation:
    """A request to cancel: when, and in which state it found the execution."""

    execution_id: ExecutionId
    requested_at: datetime
    requested_in: ExecutionStatus


@dataclass(frozen=True, slots=True)
class CancelReport:
    """How far an execution was when it was asked to stop, and what was booked on the ledger after that, in dollars."""

    total_tasks: int
    done_tasks: int
    running_tasks: Sequence[str]
    amount: Decimal

    @property
    def stage(self) -> str:
        done = f"{self.done_tasks} of {self.total_tasks} tasks were done"
        running = ", ".join(f"“{name}”" for name in self.running_tasks)
        return f"{done}; under way: {running}." if running else f"{done}; none was under way."


@dataclass(slots=True)
class Execution:
    """One run of a team, on the immutable revision that was current at kickoff.

    `waiting_from` is when it was paused or began to wait for a person, None while it does not; `waited_seconds` is the
    sum of such times that are over: they do not count for its time-out. `cache_key` is equal for executions that may
    answer for each other. `retry_of`, `forked_from` and `cached_from` name the execution whose results it takes over.
    `archived_at` is when its tenant's retention emptied it: of inputs, outputs, texts and events nothing is left.
    `trace_parent` is the traceparent of its kickoff, None where nobody traced that.
    """

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
    priority: int = PRIORITY
    max_parallel_tasks: int = MAX_PARALLEL_TASKS
    refinement_passes: int | None = None
    refinement_threshold: float | None = None
    cache_key: str | None = None
    retry_of: ExecutionId | None = None
    forked_from: ExecutionId | None = None
    cached_from: ExecutionId | None = None
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
    cancel_requested_in: ExecutionStatus | None = None
    pause_requested_at: datetime | None = None
    waiting_from: datetime | None = None
    waited_seconds: float = 0.0
    started_by: PrincipalId | None = None
    archived_at: datetime | None = None
    trace_parent: str | None = None

    @property
    def failure(self) -> Failure | None:
        return _failure(self.failure_code, self.failure_message, self.failure_details)

    @property
    def timing(self) -> Timing:
        return Timing(self.created_at, self.started_at, self.finished_at, self.waited_seconds)

    @property
    def cancellation(self) -> Cancellation | None:
        if self.cancel_requested_at is None:
            return None
        return Cancellation(self.id, self.cancel_requested_at, self.cancel_requested_in or ExecutionStatus.RUNNING)

    @property
    def refinement(self) -> Refinement | None:
        """How it is refined; None: not at all."""
        if self.refinement_passes is None or self.refinement_threshold is None:
            return None
        return Refinement(self.refinement_passes, self.refinement_threshold)

    @property
    def is_cache_hit(self) -> bool:
        return self.cached_from is not None

    @property
    def configuration(self) -> ExecutionConfiguration:
        return ExecutionConfiguration(
            self.max_iterations,
            self.execution_timeout_seconds,
            self.task_timeout_seconds,
            self.quality_preference,
            None if self.max_budget is None else Money(self.max_budget),
            None if self.max_task_budget is None else Money(self.max_task_budget),
            self.priority,
            self.max_parallel_tasks,
            self.refinement,
        )

    @property
    def allowed_transitions(self) -> list[ExecutionStatus]:
        return list(TRANSITIONS[self.status])

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def can_cancel(self) -> bool:
        return ExecutionStatus.CANCELLED in TRANSITIONS[self.status] and self.status is not ExecutionStatus.CANCELLING

    @property
    def can_pause(self) -> bool:
        return self.status in (ExecutionStatus.QUEUED, ExecutionStatus.RUNNING) and self.pause_requested_at is None

    @property
    def can_resume(self) -> bool:
        is_going = self.status in (ExecutionStatus.QUEUED, ExecutionStatus.RUNNING)
        is_asked_to_pause = is_going and self.pause_requested_at is not None
        return self.status is ExecutionStatus.PAUSED or is_asked_to_pause

    @property
    def can_retry(self) -> bool:
        return self.status in (ExecutionStatus.FAILED, ExecutionStatus.CANCELLED) and self.archived_at is None

    def check_move(self, wanted: ExecutionStatus) -> None:
        """Raises InvalidTransition when the state machine has no such move."""
        if wanted not in TRANSITIONS[self.status]:
            allowed = [status.value for status in TRANSITIONS[self.status]]
            raise InvalidTransition(self.status.value, wanted.value, allowed)


@dataclass(slots=True)
class TaskExecution:
    """One task inside one execution: who does it, what came out, how often it was tried.

    `task_id` is None for a task written from a role at kickoff. `description` and `expected_output` have
    their placeholders filled. `waits_for` names task executions of the same execution. `role_reason` says why this role
    has it. `wanted_model` is a model that was chosen for it while the execution was paused. `feedback` is what a human
    or an evaluator said of the output that was sent back. A REUSED one took its output over from `reused_from`.
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
    kind: str = ""
    role_reason: str = ""
    wanted_model: str | None = None
    guardrail: str | None = None
    is_approval_required: bool = False
    approval_assignee: str | None = None
    approval_timeout_seconds: float | None = None
    approval_default: ApprovalDefault = ApprovalDefault.REJECT
    feedback: str | None = None
    reused_from: TaskExecutionId | None = None
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
