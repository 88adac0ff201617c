"""Lists in memory: pages in any order, with cursors that hold whatever has changed in between."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from domain.errors import Invalid
from domain.model.listing import page_in_order
from domain.model.page import Condition, Operator, Page, PageRequest, encode_cursor


@dataclass(frozen=True)
class Item:
    id: UUID
    value: Any
    tags: tuple[str, ...] = ()


def items(*values: Any) -> list[Item]:
    return [Item(UUID(int=number), value) for number, value in enumerate(values, 1)]


def page(given: list[Item], kind: type[Any] = int, **request: Any) -> Page[Item]:
    return page_in_order(given, PageRequest(order_by="value", **request), getattr, kind)


def walked(given: list[Item], kind: type[Any], *, descending: bool) -> list[Any]:
    """The values of all pages of one item each."""
    found: list[Any] = []
    after = None
    for _ in range(len(given) + 1):
        part = page(given, kind, first=1, after=after, descending=descending)
        found += [item.value for item in part.items]
        if not part.has_next:
            break
        after = part.cursors[-1]
    return found


MARCH, MAY = datetime(2026, 3, 1, 12, 30, 0, 5, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "values", "ascending"),
    [
        (int, [10, None, 9, 100, None], [9, 10, 100, None, None]),
        (float, [0.1, 1 / 3, 1e-9, None], [1e-9, 0.1, 1 / 3, None]),
        (Decimal, [Decimal("1E+2"), Decimal("0.30"), None], [Decimal("0.30"), Decimal("1E+2"), None]),
        (datetime, [MAY, None, MARCH], [MARCH, MAY, None]),
        (str, ["b", "a", "c"], ["a", "b", "c"]),
        (int, [1, 1, 1], [1, 1, 1]),
        (int, [], []),
    ],
)
def test_pages_go_through_each_order_once_with_nothing_last(
    kind: type[Any], values: list[Any], ascending: list[Any]
) -> None:
    given = items(*values)
    known, unknown = [value for value in ascending if value is not None], values.count(None)

    assert walked(given, kind, descending=False) == ascending
    assert walked(given, kind, descending=True) == [*reversed(known), *[None] * unknown]


@pytest.mark.parametrize("descending", [True, False])
def test_equals_are_told_apart_by_id(descending: bool) -> None:
    given = items(1, 1, None, None)

    whole = page(given, descending=descending)
    rest = page(given, descending=descending, after=whole.cursors[2])

    assert [item.id.int for item in whole.items] == ([2, 1, 4, 3] if descending else [1, 2, 3, 4])
    assert [item.id for item in rest.items] == [whole.items[3].id]


def test_a_page_goes_on_behind_its_cursor_although_the_item_is_gone_or_elsewhere() -> None:
    before = items(1, 2, 3, 4)
    cursor = page(before, first=2, descending=False).cursors[-1]

    gone = page([before[0], *before[2:]], after=cursor, descending=False)
    moved = page([before[0], Item(before[1].id, 9), *before[2:]], after=cursor, descending=False)

    assert [item.value for item in gone.items] == [3, 4]
    assert [item.value for item in moved.items] == [3, 4, 9]


def test_of_a_list_one_entry_has_to_meet_the_condition() -> None:
    given = [Item(UUID(int=1), 1, ("red", "hot")), Item(UUID(int=2), 2, ("blue",)), Item(UUID(int=3), 3)]

    def found(operator: Operator, value: Any) -> list[int]:
        rule = Condition("tags", operator, value)
        shown = page_in_order(
            given, PageRequest(order_by="value", conditions=(rule,)), lambda item, name: _listed(getattr(item, name))
        )
        return sorted(item.value for item in shown.items)

    assert found(Operator.EQ, "hot") == [1]
    assert found(Operator.IN, ("blue", "hot")) == [1, 2]
    assert found(Operator.CONTAINS, "LU") == [2]
    assert found(Operator.EQ, "ho") == []


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def test_what_is_archived_is_told_by_having_no_moment() -> None:
    given = items(None, MAY)

    def found(*, is_null: bool) -> list[Any]:
        rule = Condition("value", Operator.IS_NULL, is_null)
        return [item.value for item in page(given, datetime, conditions=(rule,)).items]

    assert (found(is_null=True), found(is_null=False)) == ([None], [MAY])


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (int, "x"),
        (int, "9" * 5000),
        (float, "nan"),
        (float, "-inf"),
        (Decimal, "NaN"),
        (Decimal, "sNaN"),
        (Decimal, "a"),
        (datetime, "2026-01-01"),
        (datetime, "today"),
    ],
)
def test_what_is_no_value_of_the_order_is_no_cursor(kind: type[Any], text: str) -> None:
    with pytest.raises(Invalid) as refused:
        page(items(1), kind, after=encode_cursor("value", text, str(UUID(int=1))))

    assert [problem.path for problem in refused.value.problems] == [("after",)]
