"""JSON Schemas for outputs: what may be one, and whether a text holds it. References leave no document.

A tenant chooses the schema and a model the text: neither may make the check endless, so references are counted, and
what takes quadratic or exponential time in the library is done otherwise or refused.
"""

import json
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Final

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from domain.model.rules import Rules

SHOWN: Final = 300
MOST_REFERENCES: Final = 100_000
"""So many references are followed in one check; a few that double each other would take hours."""

_OFFLINE: Final[Registry[Any]] = Registry()
"""Knows no other document, and retrieves none: a `$ref` must not make the server open an address."""

_followed: ContextVar[int] = ContextVar("followed_references", default=0)


class _TooMuch(Exception):
    """The check would not end in reasonable time."""


def _counting(keyword: str) -> Any:
    follow: Any = Draft202012Validator.VALIDATORS[keyword]

    def counted(validator: Any, reference: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        _followed.set(_followed.get() + 1)
        if _followed.get() > MOST_REFERENCES:
            raise _TooMuch
        yield from follow(validator, reference, instance, schema) or ()

    return counted


def _unique_items(_: Any, wanted: Any, instance: Any, __: Any) -> Iterator[ValidationError]:
    # The library compares each item with each other one where they cannot be sorted.
    if wanted and isinstance(instance, list):
        different = {orjson.dumps(item, option=orjson.OPT_SORT_KEYS) for item in instance}
        if len(different) < len(instance):
            yield ValidationError("its items are not unique")


_KEYWORDS: Final[Mapping[str, Any]] = {
    "$ref": _counting("$ref"),
    "$dynamicRef": _counting("$dynamicRef"),
    "uniqueItems": _unique_items,
}
_Validator: Final[Any] = extend(Draft202012Validator, _KEYWORDS)  # type: ignore[no-untyped-call] # the stubs left it so


def check_schema(rules: Rules, schema: dict[str, Any], *path: str) -> None:
    """Refuse what is no JSON Schema of bounded size, refers to other documents, or matches by patterns."""
    rules.document(schema, *path)
    try:
        Draft202012Validator.check_schema(schema)
    except (SchemaError, RecursionError):
        rules.refuse("This is no JSON Schema (draft 2020-12).", *path)
        return
    rules.require(not _has(schema, _is_foreign), "References to other documents are not allowed.", *path)
    # Python's regular expressions may take exponential time, and a model chooses the text.
    rules.require(not _has(schema, _is_pattern), "`pattern` and `patternProperties` are not allowed.", *path)


def problem_of(text: str, schema: dict[str, Any]) -> str | None:
    """What of the text does not hold the schema, for the model to read; None when all does."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return "It is no JSON."
    _followed.set(0)
    try:
        _Validator(schema, registry=_OFFLINE).validate(value)
    except ValidationError as error:
        place = "/".join(map(str, error.absolute_path)) or "the whole value"
        return f"At {place}: {error.message}"[:SHOWN]
    except (Unresolvable, RecursionError, _TooMuch, TypeError):
        return "It cannot be checked against the schema."
    return None


def _has(value: Any, matches: Any) -> bool:
    if isinstance(value, dict):
        return any(matches(key, item) or _has(item, matches) for key, item in value.items())
    return isinstance(value, list) and any(_has(item, matches) for item in value)


def _is_foreign(key: str, value: Any) -> bool:
    return key in {"$ref", "$dynamicRef"} and not str(value).startswith("#")


def _is_pattern(key: str, value: Any) -> bool:
    return (key == "pattern" and isinstance(value, str)) or key == "patternProperties"
