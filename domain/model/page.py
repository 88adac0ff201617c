"""Pages of long lists: what is asked for, keyset cursors, and what comes back."""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, TypeVar

from domain.errors import Invalid

MAX_PAGE_SIZE = 100
DEFAULT_PAGE_SIZE = 20

T = TypeVar("T")


class Operator(Enum):
    """How a filter compares a field with its value."""

    EQ = "EQ"
    IN = "IN"
    GTE = "GTE"
    LT = "LT"
    CONTAINS = "CONTAINS"
    IS_NULL = "IS_NULL"


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison; the conditions of a page are all required."""

    field: str
    operator: Operator
    value: Any


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which part of a list: `first` items after the cursor, filtered, in one order with the id as tie-break."""

    first: int = DEFAULT_PAGE_SIZE
    after: str | None = None
    conditions: tuple[Condition, ...] = ()
    order_by: str = "created_at"
    descending: bool = True
    with_total: bool = field(default=False)

    def __post_init__(self) -> None:
        if not 1 <= self.first <= MAX_PAGE_SIZE:
            raise Invalid.at(f"first must be between 1 and {MAX_PAGE_SIZE}, not {self.first}.", "first")


@dataclass(slots=True)
class Page(Generic[T]):
    """A part of a list. `cursors` matches `items`; `total` is None unless it was asked for."""

    items: Sequence[T]
    cursors: Sequence[str]
    has_next: bool
    has_previous: bool = False
    total: int | None = None


def encode_cursor(order_by: str, value: str, identifier: str) -> str:
    """An opaque cursor that stands behind the row with this order value and id."""
    text = json.dumps([order_by, value, identifier], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(cursor: str, order_by: str) -> tuple[str, str]:
    """The order value and id of a cursor.

    Raises:
        Invalid: the cursor was not made by `encode_cursor`, or for another order.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        made_for, value, identifier = json.loads(base64.urlsafe_b64decode(padded.encode()))
    except (binascii.Error, ValueError, TypeError, UnicodeError, RecursionError) as error:
        raise Invalid.at("This is no cursor of this list.", "after") from error
    if made_for != order_by or not isinstance(identifier, str) or not isinstance(value, str):
        raise Invalid.at("This cursor belongs to a list in another order.", "after")
    return value, identifier
