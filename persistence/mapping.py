"""Rows and things of the domain: a field's name is its column's, an enum is stored by its value."""

import types
from collections.abc import Callable, Mapping
from dataclasses import fields
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints
from uuid import UUID

from sqlalchemy import Column

from persistence.tables import TABLES

E = TypeVar("E")
F = TypeVar("F", bound=Callable[..., Any])


def remembered(function: F) -> F:
    """`lru_cache` that keeps the signature: the shapes of statements and things are few."""
    return cast("F", lru_cache(maxsize=512)(function))


@remembered
def names_of(kind: type[Any]) -> tuple[str, ...]:
    """The fields of a thing, in the order of its constructor."""
    return tuple(item.name for item in fields(kind))


@remembered
def columns_of(kind: type[Any]) -> tuple[Column[Any], ...]:
    """The columns of a thing, in the order of its constructor: `kind(*row)` builds it."""
    table = TABLES[kind]
    return tuple(table.c[name] for name in names_of(kind))


@remembered
def builder_of(kind: type[E]) -> Callable[[Any], E]:
    """A function that makes the thing from a row that begins with `columns_of(kind)`; it is lean, for it runs often."""
    lookups = _enum_lookups(kind)
    width = len(names_of(kind))

    def build(row: Any) -> E:
        values = list(row[:width])
        for index, lookup in lookups:
            values[index] = lookup[values[index]]
        return kind(*values)

    return build


def _enum_lookups(kind: type[Any]) -> list[tuple[int, Mapping[str | None, Enum | None]]]:
    hints = get_type_hints(kind)
    found: list[tuple[int, Mapping[str | None, Enum | None]]] = []
    for index, name in enumerate(names_of(kind)):
        enum = _enum_in(hints[name])
        if enum is not None:
            found.append((index, {None: None, **{member.value: member for member in enum}}))
    return found


def _enum_in(hint: Any) -> type[Enum] | None:
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return next((option for option in options if isinstance(option, type) and issubclass(option, Enum)), None)


def values_of(entity: Any) -> dict[str, Any]:
    """The columns and values that store a thing."""
    return {name: stored(getattr(entity, name)) for name in names_of(type(entity))}


def stored(value: Any) -> Any:
    """A value as its column takes it."""
    return value.value if isinstance(value, Enum) else value


def document_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values as JSON for a function in SQL: exact amounts as text, for JSON has only floats.

    Ids as text, too: those that asyncpg makes are a class of its own, which orjson does not know.
    """
    return {name: str(value) if isinstance(value, UUID | Decimal) else value for name, value in values.items()}
