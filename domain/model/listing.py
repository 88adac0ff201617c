"""Pages of lists that are short enough to stand in memory, with the filters and cursors of `page`, in any order."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeVar
from uuid import UUID

from domain.errors import Invalid
from domain.model.page import Condition, Operator, Page, PageRequest, decode_cursor, encode_cursor

T = TypeVar("T")

ORDER = "name"


def page_by_name(items: Sequence[T], request: PageRequest, read: Callable[[T, str], Any]) -> Page[T]:
    """The page of the items that meet the request's conditions, by name and id; `read` gives an item's field.

    Raises Invalid for a bad cursor.
    """
    return page_in_order(items, replace(request, order_by=ORDER, descending=False), read)


def page_in_order(
    items: Sequence[T], request: PageRequest, read: Callable[[T, str], Any], kind: type[Any] = str
) -> Page[T]:
    """The same in the request's order, whose values are of this kind: str, int, float, Decimal or datetime.

    Those without a value come last, whichever way the order goes. A cursor stands where its item was when the page was
    made, wherever that is now. Raises Invalid for a bad cursor.
    """
    matching = [item for item in items if all(_holds(read(item, rule.field), rule) for rule in request.conditions)]
    places = {id(item): _Place(read(item, request.order_by), str(read(item, "id"))) for item in matching}
    known = [item for item in matching if places[id(item)].value is not None]
    unknown = [item for item in matching if places[id(item)].value is None]
    known.sort(key=lambda item: (places[id(item)].value, places[id(item)].tie), reverse=request.descending)
    unknown.sort(key=lambda item: places[id(item)].tie, reverse=request.descending)
    behind = _behind(request, kind)
    rest = [item for item in (*known, *unknown) if behind is None or places[id(item)].is_behind(behind, request)]
    shown = rest[: request.first]
    return Page(
        shown,
        [places[id(item)].cursor(request.order_by) for item in shown],
        has_next=len(rest) > request.first,
        has_previous=request.after is not None,
        total=len(matching) if request.with_total else None,
    )


def _holds(value: Any, condition: Condition) -> bool:
    if isinstance(value, list):
        return any(_holds(each, condition) for each in value)
    match condition.operator:
        case Operator.EQ:
            return bool(value == condition.value)
        case Operator.IN:
            return value in condition.value
        case Operator.CONTAINS:
            return str(condition.value).lower() in str(value).lower()
        case Operator.IS_NULL:
            return (value is None) is condition.value
        case _:
            raise ValueError(condition.operator)


class _Place:
    """Where an item stands in an order."""

    def __init__(self, value: Any, tie: str) -> None:
        self.value = value
        self.tie = tie

    def is_behind(self, other: "_Place", request: PageRequest) -> bool:
        if self.value is None or other.value is None:
            if (self.value is None) is not (other.value is None):
                return self.value is None
            here, there = (self.tie,), (other.tie,)
            return here < there if request.descending else here > there
        mine, its = (self.value, self.tie), (other.value, other.tie)
        return mine < its if request.descending else mine > its

    def cursor(self, order: str) -> str:
        text = _NOTHING if self.value is None else _text(self.value)
        return encode_cursor(order, text, self.tie)


_NOTHING: Final = "\x00"
"""Stands in cursors for no value; no name and no number is written so."""


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _behind(request: PageRequest, kind: type[Any]) -> _Place | None:
    if request.after is None:
        return None
    text, tie = decode_cursor(request.after, request.order_by)
    try:
        return _Place(None if text == _NOTHING else _value(text, kind), str(UUID(tie)))
    except (ValueError, InvalidOperation, OverflowError) as error:
        raise Invalid.at("This is no cursor of this list.", "after") from error


def _value(text: str, kind: type[Any]) -> Any:
    if kind is datetime:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError(text)  # it could not be compared
        return moment
    value = kind(text)
    if isinstance(value, float | Decimal) and not math.isfinite(value):
        raise ValueError(text)
    return value
