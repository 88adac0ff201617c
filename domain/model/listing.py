"""Pages of lists that are short enough to stand in memory, with the filters and cursors of `page`; by name."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from domain.errors import Invalid
from domain.model.page import Condition, Operator, Page, PageRequest, decode_cursor, encode_cursor

T = TypeVar("T")

ORDER = "name"


def page_by_name(items: Sequence[T], request: PageRequest, read: Callable[[T, str], Any]) -> Page[T]:
    """The page of the items that meet the request's conditions, by name and id; `read` gives an item's field.

    Raises Invalid for a bad cursor.
    """
    matching = [item for item in items if all(_holds(read(item, rule.field), rule) for rule in request.conditions)]
    matching.sort(key=lambda item: _place(item, read))
    behind = _behind(request.after)
    rest = matching if behind is None else [item for item in matching if _place(item, read) > behind]
    shown = rest[: request.first]
    return Page(
        shown,
        [encode_cursor(ORDER, *_place(item, read)) for item in shown],
        has_next=len(rest) > request.first,
        has_previous=request.after is not None,
        total=len(matching) if request.with_total else None,
    )


def _holds(value: Any, condition: Condition) -> bool:
    match condition.operator:
        case Operator.EQ:
            return bool(value == condition.value)
        case Operator.IN:
            return value in condition.value
        case Operator.CONTAINS:
            return str(condition.value).lower() in str(value).lower()
        case _:
            raise ValueError(condition.operator)


def _place(item: T, read: Callable[[T, str], Any]) -> tuple[str, str]:
    return read(item, ORDER), str(read(item, "id"))


def _behind(cursor: str | None) -> tuple[str, str] | None:
    if cursor is None:
        return None
    value, tie = decode_cursor(cursor, ORDER)
    try:
        return value, str(UUID(tie))
    except ValueError as error:
        raise Invalid.at("This is no cursor of this list.", "after") from error
