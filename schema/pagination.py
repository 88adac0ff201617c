"""Relay connections over the pages of the domain."""

from typing import Any, Generic, TypeVar

import strawberry

from domain.model.page import Page
from resolvers.edges import computed

T = TypeVar("T")


@strawberry.type(description="Where a page stands in its list.")
class PageInfo:
    has_next_page: bool = computed(lambda page: page.has_next, "Whether more follow.")
    has_previous_page: bool = computed(lambda page: page.has_previous, "Whether the page was asked for by a cursor.")
    start_cursor: str | None = computed(
        lambda page: page.cursors[0] if page.cursors else None, "The cursor of the first item; null without one."
    )
    end_cursor: str | None = computed(
        lambda page: page.cursors[-1] if page.cursors else None, "The cursor of the last item; null without one."
    )


@strawberry.type(description="An item with its cursor.")
class Edge(Generic[T]):
    node: T = computed(lambda pair: pair[0], "The item.")
    cursor: str = computed(lambda pair: pair[1], "Where it stands; give it as `after`.")


def _pairs(page: Page[Any]) -> list[tuple[Any, str]]:
    return list(zip(page.items, page.cursors, strict=True))


@strawberry.type(description="A page of a list.")
class Connection(Generic[T]):
    nodes: list[T] = computed(lambda page: page.items, "The items.")
    edges: list[Edge[T]] = computed(_pairs, "The items with their cursors.")
    page_info: PageInfo = computed(lambda page: page, "Where the page stands.")
    total_count: int = computed(lambda page: page.total, "How many match in all; counted only when asked for.")
