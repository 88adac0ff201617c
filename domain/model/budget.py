"""Budgets: what may be spent, what was, and what is promised to calls that are under way."""

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any, Final

from domain.model.money import Money

WARN_AT: Final = Decimal("0.9")
"""The part of a limit that, once spent, is told once per period, and again when the limit is raised."""


class BudgetScope(Enum):
    """Whose budget it is, the widest first. The first three count a calendar month (UTC), the others one run."""

    TENANT = "TENANT"
    PROJECT = "PROJECT"
    TEAM = "TEAM"
    EXECUTION = "EXECUTION"
    TASK = "TASK"
    GENERATION = "GENERATION"


@dataclass(frozen=True, slots=True)
class Budget:
    """The state of one budget in its present period, in dollars; `limit_amount` None means unlimited."""

    limit_amount: Decimal | None = None
    spent_amount: Decimal = Decimal(0)
    reserved_amount: Decimal = Decimal(0)

    @property
    def limit(self) -> Money | None:
        return None if self.limit_amount is None else Money(self.limit_amount)

    @property
    def spent(self) -> Money:
        return Money(self.spent_amount)

    @property
    def reserved(self) -> Money:
        return Money(self.reserved_amount)

    @property
    def remaining(self) -> Money | None:
        """What is left for further calls, never below zero; None when it is unlimited."""
        if self.limit_amount is None:
            return None
        return Money(max(self.limit_amount - self.spent_amount - self.reserved_amount, Decimal(0)))

    @property
    def utilisation(self) -> float | None:
        """The spent part of the limit, 1.0 when all of it is; None when it is unlimited or zero."""
        return float(self.spent_amount / self.limit_amount) if self.limit_amount else None

    @property
    def is_warned(self) -> bool:
        """Whether the part of the limit that is told of is spent."""
        if self.limit_amount is None or not self.spent_amount:
            return False
        return self.spent_amount >= WARN_AT * self.limit_amount

    @property
    def is_exhausted(self) -> bool:
        """Whether nothing is left of what there was; a limit of zero still lets free calls pass."""
        if self.limit_amount is None or not self.spent_amount:
            return False
        return self.spent_amount + self.reserved_amount >= self.limit_amount


NO_BUDGET: Final = Budget()


@dataclass(frozen=True, slots=True)
class Shortfall:
    """What a call would have needed of a budget, and what there was, in dollars."""

    scope: BudgetScope
    limit_amount: Decimal
    spent_amount: Decimal
    reserved_amount: Decimal
    required_amount: Decimal

    limit = property(lambda self: Money(self.limit_amount))
    spent = property(lambda self: Money(self.spent_amount))
    reserved = property(lambda self: Money(self.reserved_amount))
    required = property(lambda self: Money(self.required_amount))

    @property
    def message(self) -> str:
        return (
            f"The budget of the {self.scope.value.lower()} does not suffice: of {_shown(self.limit_amount)} are"
            f" {_shown(self.spent_amount)} spent and {_shown(self.reserved_amount)} reserved, and {self._missing}."
        )

    @property
    def _missing(self) -> str:
        # Before anything is asked for, at a kickoff, there is no call yet that needs something.
        needed = self.required_amount
        return f"the next call needs up to {_shown(needed)}" if needed else "nothing is left for any call"

    def as_document(self) -> dict[str, Any]:
        """As JSON, amounts as text."""
        return {
            "scope": self.scope.value,
            "limit": str(self.limit_amount),
            "spent": str(self.spent_amount),
            "reserved": str(self.reserved_amount),
            "required": str(self.required_amount),
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "Shortfall":
        names = ("limit", "spent", "reserved", "required")
        return cls(BudgetScope(document["scope"]), *(Decimal(document[name]) for name in names))


def _shown(amount: Decimal) -> str:
    return f"${amount.normalize():f}"


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one credential and model: how many requests and tokens a minute the provider takes. None: no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
