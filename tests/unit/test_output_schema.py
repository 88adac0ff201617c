"""Schemas of outputs: what is one, what a text has to hold, and that no schema makes the check endless."""

from typing import Any

import pytest

from domain.model.output_schema import check_schema, problem_of
from domain.model.rules import Rules

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
}


def refusals(schema: dict[str, Any]) -> list[str]:
    rules = Rules()
    check_schema(rules, schema, "outputSchema")
    return [problem.message for problem in rules.problems]


def test_a_text_that_holds_the_schema_has_no_problem() -> None:
    assert problem_of('{"name": "Ada", "age": 36}', PERSON) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Ada, 36", "It is no JSON."),
        ('{"age": 36}', "At the whole value: 'name' is a required property"),
        ('{"name": "Ada", "age": -1}', "At age: -1 is less than the minimum of 0"),
    ],
)
def test_what_does_not_hold_is_named_with_its_place(text: str, problem: str) -> None:
    assert problem_of(text, PERSON) == problem


@pytest.mark.parametrize("text", ['[{"a": 1}, {"a": 1}]', "[1, 1]"])
def test_items_that_have_to_be_unique_are_compared_quickly(text: str) -> None:
    schema = {"type": "array", "uniqueItems": True}
    many = "[" + ",".join(f'{{"a": {number}}}' for number in range(50_000)) + "]"

    assert problem_of(text, schema) == "At the whole value: its items are not unique"
    assert problem_of(many, schema) is None


def test_references_that_double_each_other_are_given_up() -> None:
    levels = {f"l{n}": {"allOf": [{"$ref": f"#/$defs/l{n + 1}"}] * 2} for n in range(40)}
    bomb = {"$defs": {**levels, "l40": {}}, "$ref": "#/$defs/l0"}

    assert refusals(bomb) == []
    assert problem_of("{}", bomb) == "It cannot be checked against the schema."
    assert problem_of('{"name": "Ada"}', PERSON) is None  # the next check counts from zero


def test_a_schema_that_refers_to_itself_for_ever_is_given_up() -> None:
    assert problem_of("{}", {"$ref": "#"}) == "It cannot be checked against the schema."


@pytest.mark.parametrize(
    ("schema", "refusal"),
    [
        ({"type": "nonsense"}, "This is no JSON Schema (draft 2020-12)."),
        ({"$ref": "https://example.org/schema.json"}, "References to other documents are not allowed."),
        ({"properties": {"a": {"pattern": "(a+)+$"}}}, "`pattern` and `patternProperties` are not allowed."),
    ],
)
def test_what_must_not_be_a_schema(schema: dict[str, Any], refusal: str) -> None:
    assert refusals(schema) == [refusal]
