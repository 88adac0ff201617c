"""Spans: a figure that is not known exactly, as the lowest and the highest that it may well be."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Generic, TypeVar

from domain.model.money import Money

N = TypeVar("N", int, float, Decimal)


@dataclass(frozen=True, slots=True)
class Span(Generic[N]):
    """From `low` to `high`, both included."""

    low: N
    high: N

    def __add__(self, other: "Span[N]") -> "Span[N]":
        return Span(self.low + other.low, self.high + other.high)


@dataclass(frozen=True, slots=True)
class MoneySpan:
    """The same of money."""

    low: Money
    high: Money


def money_span(span: Span[Decimal]) -> MoneySpan:
    return MoneySpan(Money(span.low), Money(span.high))


def total(spans: Iterable[Span[N]], zero: N) -> Span[N]:
    """The sum of all; `zero` twice where there is none."""
    whole = Span(zero, zero)
    for span in spans:
        whole += span
    return whole
