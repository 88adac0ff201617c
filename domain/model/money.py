"""Money: exact amounts with their currency."""

from dataclasses import dataclass
from decimal import Decimal

CURRENCY = "USD"
"""Models are priced in US dollars, so everything else is too."""


@dataclass(frozen=True, slots=True)
class Money:
    """An exact amount; stored as NUMERIC(24, 12)."""

    amount: Decimal
    currency: str = CURRENCY
