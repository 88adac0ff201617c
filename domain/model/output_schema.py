"""JSON Schemas for outputs: what may be one, and whether a text holds it. References leave no document.

A tenant chooses the schema and a model the text: neither may make a check endless. So a schema is small, has no
keyword that the library works on in exponential time, and every step of a check is counted.
"""

import json
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from itertools import islice
from typing import Any, Final, NoReturn
from urllib.parse import unquote

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from jsonschema_specifications import REGISTRY as SPECIFICATIONS  # type: ignore[import-untyped] # has no stubs
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from domain.model.rules import Rules

SHOWN: Final = 300
MAX_SCHEMA: Final = 16_000
MAX_SUBSCHEMAS: Final = 500
MOST_STEPS: Final = 200_000
"""Of one check; a step is about ten microseconds at the longest."""

MAX_DIGITS: Final = 100
MAX_PROPERTY: Final = 1_000
_ERROR_STEPS: Final = 10
_CHARACTERS_PER_STEP: Final = 50
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_DIALECT_PARTS: Final = _DIALECT.removesuffix("schema")
_NO_SCHEMA: Final = "This is no JSON Schema (draft 2020-12)."
_UNCHECKED: Final = "It cannot be checked against the schema."

FORBIDDEN: Final = frozenset(
    {
        # Python's regular expressions may take exponential time, and a model chooses the text.
        "pattern",
        "patternProperties",
        # The library looks through all that is referred to again and again, and counts nothing.
        "unevaluatedItems",
        "unevaluatedProperties",
        # What a reference leads to would depend on more than its text.
        "$id",
        "$anchor",
        "$dynamicAnchor",
        "$dynamicRef",
    }
)

_SINGLE: Final = frozenset(
    {"additionalProperties", "contains", "contentSchema", "else", "if", "items", "not", "propertyNames", "then"}
)
_LISTS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED: Final = frozenset({"$defs", "definitions", "dependentSchemas", "properties"})

_OFFLINE: Final[Registry[Any]] = Registry()
"""Knows no other document, and retrieves none: a `$ref` must not make the server open an address."""


class _TooMuch(Exception):
    """The check would not end in reasonable time."""


# What may be a schema


def check_schema(rules: Rules, schema: dict[str, Any], *path: str) -> None:
    """Refuse what is no JSON Schema of bounded size, refers to other documents, or is slow to check against."""
    before = len(rules.problems)
    rules.document(schema, *path)
    if len(rules.problems) > before:
        return
    refusal = _refusal(schema)
    if refusal:
        rules.refuse(refusal, *path)


def _refusal(schema: Mapping[str, Any]) -> str | None:
    if len(json.dumps(schema)) > MAX_SCHEMA:
        return f"A schema has at most {MAX_SCHEMA:,} characters of JSON."
    places = _places(schema)
    if len(places) > MAX_SUBSCHEMAS:
        return f"A schema has at most {MAX_SUBSCHEMAS} schemas within it."
    return _forbidden(places) or (None if _is_schema(schema) else _NO_SCHEMA)


def _places(schema: Any) -> dict[str, Any]:
    """The schemas within the schema, itself included, by their JSON pointers; one more than allowed at most."""
    found: dict[str, Any] = {}
    waiting = [("", schema)]
    while waiting and len(found) <= MAX_SUBSCHEMAS:
        pointer, current = waiting.pop()
        found[pointer] = current
        if isinstance(current, dict):
            waiting += _within(pointer, current)
    return found


def _within(pointer: str, schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    # By position: below `enum`, `const` and `examples` is data, and names of properties are no keywords.
    for key, value in schema.items():
        if key in _SINGLE:
            yield f"{pointer}/{key}", value
        elif key in _LISTS and isinstance(value, list):
            yield from ((f"{pointer}/{key}/{index}", item) for index, item in enumerate(value))
        elif key in _NAMED and isinstance(value, dict):
            yield from ((f"{pointer}/{key}/{_escaped(name)}", item) for name, item in value.items())


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _forbidden(places: Mapping[str, Any]) -> str | None:
    for pointer, schema in places.items():
        if not isinstance(schema, dict):
            continue
        for keyword in schema:
            if keyword in FORBIDDEN or (keyword == "$schema" and pointer):
                return f"`{keyword}` is not allowed."
        # Another dialect brings another validator, and that counts nothing.
        if str(schema.get("$schema", _DIALECT)).removesuffix("#") != _DIALECT:
            return _NO_SCHEMA
        refusal = _refusal_of_reference(schema["$ref"], places) if "$ref" in schema else None
        if refusal:
            return refusal
    return None


def _refusal_of_reference(reference: Any, places: Mapping[str, Any]) -> str | None:
    if not str(reference).startswith("#"):
        return "References to other documents are not allowed."
    # Elsewhere is data, and what stands in that was not looked at.
    return None if unquote(reference[1:]) in places else "A reference has to lead to a schema within the document."


def _is_schema(schema: Any) -> bool:
    try:
        with _Meter():
            return bool(_dialect.is_valid(schema))
    except (_TooMuch, RecursionError):
        return False


# What holds a schema


def problem_of(text: str, schema: dict[str, Any]) -> str | None:
    """What of the text does not hold the schema, for the model to read; None when all does."""
    try:
        value = _read(text)
    except _TooMuch:
        return _UNCHECKED
    except (ValueError, RecursionError):
        return "It is no JSON."
    try:
        return _first_problem(value, schema)
    except Exception:  # noqa: BLE001 - a dozen kinds, by what numbers and references a stranger wrote
        return _UNCHECKED


def _first_problem(value: Any, schema: Mapping[str, Any]) -> str | None:
    return next(iter(_problems(value, schema, most=1)), None)


def problems_of(value: Any, schema: Mapping[str, Any], most: int) -> list[str]:
    """What of a JSON value does not hold the schema, for the model to read: at most so many sentences."""
    try:
        return _problems(value, schema, most)
    except Exception:  # noqa: BLE001 - as above
        return [_UNCHECKED]


def _problems(value: Any, schema: Mapping[str, Any], most: int) -> list[str]:
    if _forbidden(_places(schema)):
        return [_UNCHECKED]
    # With its dialect the library would take its own validator whenever a reference leads to the top.
    plain = {key: item for key, item in schema.items() if key != "$schema"}
    with _Meter():
        errors = islice(_Validator(plain, registry=_OFFLINE).iter_errors(_briefly_shown(value)), most)
        return [_sentence(error) for error in errors]


def _sentence(error: ValidationError) -> str:
    place = "/".join(map(str, error.absolute_path)) or "the whole value"
    sentence = f"At {place}: {error.message}"[:SHOWN]
    return "".join(character if character.isprintable() else "\ufffd" for character in sentence)


def _read(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse_constant, parse_int=_bounded_integer, object_pairs_hook=_bounded)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity, which Python's reader takes


def _bounded_integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise _TooMuch
    return int(digits)


def _bounded(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Names are sorted, copied and shown for each error.
    if any(len(name) > MAX_PROPERTY for name, _ in pairs):
        raise _TooMuch
    return dict(pairs)


class _Array(list[Any]):
    def __repr__(self) -> str:
        return f"an array of {len(self)} items"


class _Object(dict[str, Any]):
    def __repr__(self) -> str:
        return f"an object of {len(self)} properties"


class _LongText(str):
    __slots__ = ()

    def __repr__(self) -> str:
        return f"{self[:SHOWN]!r}…"


def _briefly_shown(value: Any) -> Any:
    """The value with short representations: the library writes one into each error, also of what it drops."""
    if isinstance(value, list):
        return _Array(map(_briefly_shown, value))
    if isinstance(value, dict):
        return _Object((name, _briefly_shown(item)) for name, item in value.items())
    return _LongText(value) if isinstance(value, str) and len(value) > SHOWN else value


# The steps of a check


class _Meter:
    """Counts the steps of the check that runs within it."""

    def __init__(self) -> None:
        self._left = MOST_STEPS
        self._sizes: dict[int, int] = {}

    def __enter__(self) -> None:
        self._token = _meter.set(self)

    def __exit__(self, *_: object) -> None:
        _meter.reset(self._token)

    def spend(self, steps: int) -> None:
        self._left -= steps
        if self._left < 0:
            raise _TooMuch

    def spend_on(self, wanted: Any) -> None:
        """As many steps as a part of the schema has values; kept, for it comes again with each item."""
        if (size := self._sizes.get(id(wanted))) is None:
            size = self._sizes[id(wanted)] = _size(wanted)
        self.spend(size)


_meter: ContextVar[_Meter] = ContextVar("meter")


def _size(value: Any) -> int:
    total, waiting = 0, [value]
    while waiting:
        current = waiting.pop()
        total += 1
        if isinstance(current, dict):
            waiting += [*current, *current.values()]
        elif isinstance(current, list):
            waiting += current
        elif isinstance(current, str):
            total += len(current) // _CHARACTERS_PER_STEP
    return total


_COMPARED: Final = frozenset({"const", "dependentRequired", "enum", "required", "type", "$ref"})
"""Keywords whose whole value is looked at."""

_PARTED: Final = frozenset({"allOf", "anyOf", "dependentSchemas", "oneOf", "prefixItems", "properties"})
"""Keywords whose value's parts are looked at; what is in these counts for itself."""

_EACH: Final = frozenset({"additionalProperties", "contains", "items", "propertyNames"})
"""Keywords that look at all parts of an instance."""


def _counted(keyword: str, look: Any) -> Any:
    def counted(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        meter = _meter.get()
        meter.spend(_steps(keyword, wanted, instance))
        if keyword in _COMPARED:
            meter.spend_on(wanted)
        for error in look(validator, wanted, instance, schema) or ():
            # It shows the part of the schema, and costs some memory.
            meter.spend(_ERROR_STEPS)
            meter.spend_on(wanted)
            yield error

    return counted


def _steps(keyword: str, wanted: Any, instance: Any) -> int:
    if keyword in _PARTED:
        return 1 + len(wanted)
    if keyword in _EACH and isinstance(instance, list | dict):
        return 1 + len(instance)
    return 1


def _unique_items(_: Any, wanted: Any, instance: Any, __: Any) -> Iterator[ValidationError]:
    # The library compares each item with each other one where they cannot be sorted.
    if wanted and isinstance(instance, list):
        _meter.get().spend(_size(instance))
        different = {orjson.dumps(item, option=orjson.OPT_SORT_KEYS) for item in instance}
        if len(different) < len(instance):
            yield ValidationError("its items are not unique")


_LOOKS: Final[Mapping[str, Any]] = {**Draft202012Validator.VALIDATORS, "uniqueItems": _unique_items}
_COUNTED: Final[Mapping[str, Any]] = {keyword: _counted(keyword, look) for keyword, look in _LOOKS.items()}
_Validator: Final[Any] = extend(Draft202012Validator, _COUNTED)  # type: ignore[no-untyped-call] # the stubs left it so


def _counted_dialect() -> Any:
    """The schema of schemas, without the mark by which the library would take its own validator for it."""
    parts = {uri: {**SPECIFICATIONS.contents(uri)} for uri in SPECIFICATIONS if uri.startswith(_DIALECT_PARTS)}
    for part in parts.values():
        del part["$schema"]
    resources = [(uri, DRAFT202012.create_resource(part)) for uri, part in parts.items()]
    return _Validator(parts[_DIALECT], registry=Registry().with_resources(resources))


_dialect: Final[Any] = _counted_dialect()
