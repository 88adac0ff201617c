"""Ledger entries: one per HTTP attempt at a model call, the only source of cost; and usage, the sum over them."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from domain.model.identity import (
    ExecutionId,
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


@dataclass(slots=True)
class LedgerEntry:
    """One HTTP attempt at a model call, also one that failed, was cancelled or lost.

    Latencies in seconds; None where nothing was measured. `attempt` is the task's, `call` counts the model calls of
    that attempt, `call_attempt` the HTTP attempts of the call, all from 1. `routing` is a `Decision` as a document.
    The id is also that of the reservation that went before. A LOST one costs what was reserved, as an estimate.
    """

    tenant_id: TenantId
    project_id: ProjectId
    team_id: TeamId
    execution_id: ExecutionId
    task_execution_id: TaskExecutionId
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
