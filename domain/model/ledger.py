"""Ledger entries: one per HTTP attempt at a model call, the only source of cost; and usage, the sum over them."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from domain.model.identity import (
    ExecutionId,
    GenerationId,
    LedgerEntryId,
    ProjectId,
    RoleId,
    TaskExecutionId,
    TeamId,
    TenantId,
    new_id,
    utc_now,
)
from domain.model.money import Money
from domain.model.routing import Decision


class CallOutcome(Enum):
    """How a model call ended."""

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    LOST = "LOST"


class TokenSource(Enum):
    """Who counted the tokens."""

    PROVIDER = "PROVIDER"
    ESTIMATE = "ESTIMATE"


@dataclass(frozen=True, slots=True)
class Charge:
    """For what a call is made, and by which run of that: for a task of an execution, or for a generation.

    Whoever lost the epoch may not call any more. `attempt` is the task's, 1 for a generation.
    """

    tenant_id: TenantId
    project_id: ProjectId
    epoch: int
    attempt: int = 1
    team_id: TeamId | None = None
    execution_id: ExecutionId | None = None
    task_execution_id: TaskExecutionId | None = None
    role_id: RoleId | None = None
    generation_id: GenerationId | None = None

    @property
    def subject_id(self) -> UUID:
        """The id of the execution or the generation."""
        subject = self.execution_id or self.generation_id
        if subject is None:
            raise ValueError("a call is made for something")
        return subject

    @property
    def facts(self) -> dict[str, Any]:
        """What a ledger entry says of it."""
        return {
            "tenant_id": self.tenant_id,
            "project_id": self.project_id,
            "attempt": self.attempt,
            "team_id": self.team_id,
            "execution_id": self.execution_id,
            "task_execution_id": self.task_execution_id,
            "role_id": self.role_id,
            "generation_id": self.generation_id,
        }


@dataclass(slots=True)
class LedgerEntry:
    """One HTTP attempt at a model call, also one that failed, was cancelled or lost.

    It was made for a task of an execution, or for a generation; what the other would have is None.

    Latencies in seconds; None where nothing was measured. `attempt` is the task's, `call` counts the model calls of
    that attempt, `call_attempt` the HTTP attempts of the call, all from 1. `routing` is a `Decision` as a document.
    The id is also that of the reservation that went before. A LOST one costs what was reserved, as an estimate.
    """

    tenant_id: TenantId
    project_id: ProjectId
    team_id: TeamId | None
    execution_id: ExecutionId | None
    task_execution_id: TaskExecutionId | None
    role_id: RoleId | None
    model: str
    provider: str
    attempt: int
    outcome: CallOutcome
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    token_source: TokenSource = TokenSource.PROVIDER
    cost: Decimal = Decimal(0)
    latency_seconds: float | None = None
    time_to_first_token_seconds: float | None = None
    error: str | None = None
    call: int = 1
    call_attempt: int = 1
    routing: dict[str, Any] | None = None
    reserved: Decimal = Decimal(0)
    is_overrun: bool = False
    id: LedgerEntryId = field(default_factory=lambda: LedgerEntryId(new_id()))
    booked_at: datetime = field(default_factory=utc_now)
    generation_id: GenerationId | None = None

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @property
    def money(self) -> Money:
        return Money(self.cost)

    @property
    def reserved_money(self) -> Money:
        return Money(self.reserved)

    @property
    def decision(self) -> Decision | None:
        """Why this model; None for entries from before decisions were kept."""
        return Decision.from_document(self.routing) if self.routing else None


@dataclass(frozen=True, slots=True)
class Usage:
    """The sum over ledger entries; all zero when there are none."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    amount: Decimal = Decimal(0)

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @property
    def cost(self) -> Money:
        return Money(self.amount)
