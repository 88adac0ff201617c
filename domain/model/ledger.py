"""Ledger entries: one per model call, the only source of cost; and usage, the sum over them."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum

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


class CallOutcome(Enum):
    """How a model call ended."""

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class TokenSource(Enum):
    """Who counted the tokens."""

    PROVIDER = "PROVIDER"
    ESTIMATE = "ESTIMATE"


@dataclass(slots=True)
class LedgerEntry:
    """One model call, also a failed or cancelled one. Latencies in seconds; None where nothing was measured."""

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
    id: LedgerEntryId = field(default_factory=lambda: LedgerEntryId(new_id()))
    booked_at: datetime = field(default_factory=utc_now)

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @property
    def money(self) -> Money:
        return Money(self.cost)


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
