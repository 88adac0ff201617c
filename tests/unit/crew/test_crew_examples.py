import json
from typing import Any

import pytest

from domain.crew.examples import example_of
from domain.model.output_schema import problem_of

TREE = {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}, "required": ["a", "b"]},
        {"type": "object", "required": ["a"]},
        {"properties": {"a": {"type": "boolean"}}, "additionalProperties": False},
        {"type": "array", "items": {"type": "number", "minimum": 2.5}, "minItems": 3},
        {"type": "array", "maxItems": 1},
        {"type": "integer", "exclusiveMinimum": 3},
        {"type": "integer", "maximum": -3},
        {"type": "number", "minimum": -2, "maximum": -1},
        {"type": "number", "minimum": 0, "maximum": 1},
        {"type": "string", "minLength": 20},
        {"type": "string", "maxLength": 3},
        {"enum": ["x", "y"]},
        {"const": {"a": 1}},
        {"type": ["null", "string"]},
        {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        {"$ref": "#/$defs/item", "$defs": {"item": {"type": "object", "properties": {"n": {"type": "integer"}}}}},
        {"type": "object", "properties": {"a": True}},
    ],
)
def test_an_example_holds_the_schema(schema: dict[str, Any]) -> None:
    assert problem_of(json.dumps(example_of(schema)), schema) is None


@pytest.mark.parametrize(
    "schema",
    [
        TREE,
        {"$ref": "#"},
        {"type": "array", "minItems": 10**12},
        {"type": "array", "minItems": 10**12, "items": {"type": "array", "minItems": 10**12}},
        {"type": "string", "minLength": 10**12},
    ],
)
def test_a_schema_without_end_gets_an_example_with_one(schema: dict[str, Any]) -> None:
    assert len(json.dumps(example_of(schema))) < 1_000_000


def test_a_score_is_a_good_one() -> None:
    assert example_of({"type": "number", "minimum": 0, "maximum": 1}) == 0.85
