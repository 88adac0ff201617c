"""Estimates: what an execution of a team would take, before anything is spent."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum

from domain.model.model import Tier
from domain.model.span import MoneySpan, Span, money_span


class Basis(Enum):
    """On what an estimate stands."""

    HISTORY = "HISTORY"
    SIMILAR_TEAMS = "SIMILAR_TEAMS"
    HEURISTIC = "HEURISTIC"


@dataclass(frozen=True, slots=True)
class TaskEstimate:
    """What one task would take. `role` and `model` are names, None where nobody, or no model, can do it.

    `reason` says in a sentence how the model was chosen and what the figures stand on.
    """

    name: str
    role: str | None
    model: str | None
    tier: Tier | None
    prompt_tokens: Span[int]
    completion_tokens: Span[int]
    amount: Span[Decimal]
    seconds: Span[float]
    basis: Basis
    reason: str

    @property
    def cost(self) -> MoneySpan:
        return money_span(self.amount)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a whole execution would take: the sums of its tasks; `seconds` along the longest way through them."""

    tasks: Sequence[TaskEstimate]
    prompt_tokens: Span[int]
    completion_tokens: Span[int]
    amount: Span[Decimal]
    seconds: Span[float]
    basis: Basis
    reason: str

    @property
    def cost(self) -> MoneySpan:
        return money_span(self.amount)


@dataclass(frozen=True, slots=True)
class SuccessEstimate:
    """How likely an execution completes, 0 to 1, and on what that stands; `executions` is how many were looked at."""

    probability: Span[float]
    basis: Basis
    executions: int
    reason: str
