"""What happens in an execution: events in the past tense, numbered by `sequence` without gaps."""

from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from domain.errors import FailureCode
from domain.model.budget import BudgetScope, Shortfall
from domain.model.identity import ExecutionId, LedgerEntryId, RoleId, TaskExecutionId, TenantId, utc_now
from domain.model.money import Money
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
class ExecutionCompleted(ExecutionEvent):
    """All tasks are done. Terminal."""

    completed_tasks: int


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
