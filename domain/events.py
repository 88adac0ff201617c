"""What happens in an execution: events in the past tense, numbered by `sequence` without gaps."""

from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from domain.errors import FailureCode
from domain.model.approval import ApprovalKind, ApprovalStatus
from domain.model.budget import BudgetScope, Shortfall
from domain.model.identity import (
    ApprovalId,
    ExecutionId,
    LedgerEntryId,
    RoleId,
    TaskExecutionId,
    TenantId,
    utc_now,
)
from domain.model.journal import CallKind
from domain.model.money import Money
from domain.model.refinement import CriterionScore
from domain.model.routing import Decision


@dataclass(slots=True, kw_only=True)
class ExecutionEvent:
    """The envelope of every event; `sequence` is 0 until the event is stored."""

    tenant_id: TenantId
    execution_id: ExecutionId
    sequence: int = 0
    occurred_at: datetime = field(default_factory=utc_now)
    task_execution_id: TaskExecutionId | None = None
    role_id: RoleId | None = None

    @property
    def type(self) -> str:
        return type(self).__name__

    @property
    def cursor(self) -> str:
        """What a client gives as `after` to go on behind this event."""
        return cursor_at(self.sequence)


@dataclass(slots=True, kw_only=True)
class ExecutionQueued(ExecutionEvent):
    """The kickoff was accepted."""

    task_count: int


@dataclass(slots=True, kw_only=True)
class ExecutionStarted(ExecutionEvent):
    """A worker took the execution; `is_recovery` when it takes over from one that was lost."""

    worker_id: str
    owner_epoch: int
    is_recovery: bool = False


@dataclass(slots=True, kw_only=True)
class ExecutionPauseRequested(ExecutionEvent):
    """Somebody asked to pause; what is under way stops before its next model call or task."""


@dataclass(slots=True, kw_only=True)
class ExecutionPaused(ExecutionEvent):
    """The execution is paused, and has no worker."""


@dataclass(slots=True, kw_only=True)
class ExecutionResumed(ExecutionEvent):
    """The execution is to go on, as soon as a worker has a place for it."""


@dataclass(slots=True, kw_only=True)
class ExecutionAwaitingApproval(ExecutionEvent):
    """Nothing can be done before a human answers; the execution has no worker meanwhile."""

    open_approvals: int


@dataclass(slots=True, kw_only=True)
class ExecutionInterrupted(ExecutionEvent):
    """The worker was lost or is going; the execution waits for another one."""

    worker_id: str


@dataclass(slots=True, kw_only=True)
class ExecutionCompleted(ExecutionEvent):
    """All tasks are done. Terminal."""

    completed_tasks: int
    is_cache_hit: bool = False


@dataclass(slots=True, kw_only=True)
class ExecutionFailed(ExecutionEvent):
    """The execution cannot go on. Terminal."""

    code: FailureCode
    message: str
    budget: Shortfall | None = None


@dataclass(slots=True, kw_only=True)
class ExecutionCancelRequested(ExecutionEvent):
    """Somebody asked to stop; calls in flight are being closed."""


@dataclass(slots=True, kw_only=True)
class ExecutionCancelled(ExecutionEvent):
    """The execution was stopped. Terminal."""

    completed_tasks: int


@dataclass(slots=True, kw_only=True)
class TaskStarted(ExecutionEvent):
    """A role began a task."""

    name: str
    attempt: int
    model: str


@dataclass(slots=True, kw_only=True)
class TaskCompleted(ExecutionEvent):
    """A task is done; the output stands on the task execution."""

    name: str
    attempt: int
    total_tokens: int
    cost_amount: Decimal

    @property
    def cost(self) -> Money:
        return Money(self.cost_amount)


@dataclass(slots=True, kw_only=True)
class TaskFailed(ExecutionEvent):
    """An attempt at a task went wrong; `will_retry` tells whether another one follows."""

    name: str
    attempt: int
    code: FailureCode
    message: str
    will_retry: bool
    budget: Shortfall | None = None


@dataclass(slots=True, kw_only=True)
class TaskReused(ExecutionEvent):
    """The result of an earlier execution was taken over; costs nothing."""

    name: str


@dataclass(slots=True, kw_only=True)
class TaskChanged(ExecutionEvent):
    """A task was changed for this execution while it was paused; `fields` names what."""

    name: str
    fields: list[str]


@dataclass(slots=True, kw_only=True)
class ApprovalRequested(ExecutionEvent):
    """A human is asked: to approve an output (TASK), or to answer a role (QUESTION)."""

    approval_id: ApprovalId
    kind: ApprovalKind
    assignee: str | None
    expires_at: datetime | None


@dataclass(slots=True, kw_only=True)
class ApprovalGiven(ExecutionEvent):
    """A human answered, or the time for it was over."""

    approval_id: ApprovalId
    status: ApprovalStatus


@dataclass(slots=True, kw_only=True)
class WorkDelegated(ExecutionEvent):
    """A role handed work on, or asked another role."""

    to_role_id: RoleId
    to_title: str
    work: str
    is_question: bool = False


@dataclass(slots=True, kw_only=True)
class GuardrailChecked(ExecutionEvent):
    """The guardrail of a task was asked whether the output will do; `retry` counts how often it was sent back."""

    is_passed: bool
    retry: int
    feedback: str | None


@dataclass(slots=True, kw_only=True)
class ResultReviewed(ExecutionEvent):
    """The manager reviewed the result of a task; `feedback` says why it was sent back, None when it was accepted."""

    is_accepted: bool
    feedback: str | None


@dataclass(slots=True, kw_only=True)
class RefinementScored(ExecutionEvent):
    """The evaluator looked at the output of a pass, numbered from 1; without a score, `error` says why."""

    number: int
    score: float | None
    scores: dict[str, float] | None
    error: str | None
    will_continue: bool

    @property
    def criteria(self) -> list[CriterionScore]:
        """The scores by criterion; empty without scores."""
        return [CriterionScore(name, score) for name, score in (self.scores or {}).items()]


@dataclass(slots=True, kw_only=True)
class CallReplayed(ExecutionEvent):
    """A call that an earlier run had finished was answered from the journal; it was not made again, nor paid."""

    kind: CallKind
    ordinal: int


@dataclass(slots=True, kw_only=True)
class OutputStreamed(ExecutionEvent):
    """A role's model wrote some text; `call` numbers the model calls of the attempt from 1."""

    call: int
    text: str


@dataclass(slots=True, kw_only=True)
class RoutingDecided(ExecutionEvent):
    """A model was chosen for a call, which is about to be made; `call_attempt` counts its HTTP attempts from 1."""

    call: int
    call_attempt: int
    decision: Decision


@dataclass(slots=True, kw_only=True)
class BudgetWarned(ExecutionEvent):
    """A budget reached nine tenths of its limit; told once per period and limit, in the execution that reached it."""

    scope: BudgetScope
    limit_amount: Decimal
    spent_amount: Decimal

    @property
    def limit(self) -> Money:
        return Money(self.limit_amount)

    @property
    def spent(self) -> Money:
        return Money(self.spent_amount)


@dataclass(slots=True, kw_only=True)
class ModelCalled(ExecutionEvent):
    """A model call ended and stands on the ledger, under `entry_id`."""

    model: str
    outcome: str
    prompt_tokens: int
    completion_tokens: int
    cost_amount: Decimal
    latency_seconds: float | None
    call: int = 1
    call_attempt: int = 1
    error: str | None = None
    is_overrun: bool = False
    entry_id: LedgerEntryId | None = None

    @property
    def cost(self) -> Money:
        return Money(self.cost_amount)


@dataclass(slots=True, kw_only=True)
class ToolCalled(ExecutionEvent):
    """A role asked a tool; `arguments` is JSON, shortened to 2,000 characters."""

    tool: str
    arguments: str


@dataclass(slots=True, kw_only=True)
class ToolReturned(ExecutionEvent):
    """A tool answered; `output` is shortened to 2,000 characters."""

    tool: str
    output: str
    is_error: bool


TERMINAL = (ExecutionCompleted, ExecutionFailed, ExecutionCancelled)
EVENT_TYPES: dict[str, type[ExecutionEvent]] = {kind.__name__: kind for kind in ExecutionEvent.__subclasses__()}
_ENVELOPE = {item.name for item in fields(ExecutionEvent)}


def payload_of(event: ExecutionEvent) -> dict[str, Any]:
    """What this kind of event has besides the envelope, as JSON-ready values."""
    whole = _adapter(event.type).dump_python(event, mode="json")
    return {name: value for name, value in whole.items() if name not in _ENVELOPE}


def event_from(kind: str, envelope: dict[str, Any], payload: dict[str, Any]) -> ExecutionEvent:
    """The event of this kind; raises KeyError for a kind that does not exist."""
    return _adapter(kind).validate_python({**envelope, **payload})


@cache
def _adapter(kind: str) -> TypeAdapter[ExecutionEvent]:
    return TypeAdapter(EVENT_TYPES[kind])


def cursor_at(sequence: int) -> str:
    """The cursor behind the event with this sequence."""
    return f"e{sequence}"


def sequence_at(cursor: str | None) -> int:
    """The sequence that a cursor stands behind; 0 without a cursor.

    Raises:
        ValueError: this is no cursor of an event stream.
    """
    if cursor is None:
        return 0
    digits = cursor.removeprefix("e")
    if digits == cursor or not digits.isascii() or not digits.isdigit() or len(digits) > 18:  # noqa: PLR2004 - BIGINT
        raise ValueError(cursor)
    return int(digits)
