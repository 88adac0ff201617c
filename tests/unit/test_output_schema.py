"""Schemas of outputs: what is one, what a text has to hold, and that no schema makes the check endless."""

import json
from typing import Any

import pytest

from domain.model import output_schema
from domain.model.output_schema import MAX_SCHEMA, MAX_SUBSCHEMAS, MOST_STEPS, SHOWN, check_schema, problem_of
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


UNCHECKED = "It cannot be checked against the schema."
INTEGERS = json.dumps([0] * 300_000)
DOUBLING = {f"l{n}": {"allOf": [{"$ref": f"#/$defs/l{n + 1}"}] * 2} for n in range(40)}


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"items": {"allOf": [{}] * 400}}, INTEGERS),
        ({"items": {"allOf": [True] * 400}}, INTEGERS),
        ({"items": {"anyOf": [{"type": "string"}] * 400}}, INTEGERS),
        ({"items": {"enum": [f"a{number}" for number in range(1000)]}}, json.dumps(["a999"] * 4000)),
        ({"items": {"enum": [[0] * 79 + [number] for number in range(1, 51)]}}, json.dumps([[0] * 79 + [50]] * 4000)),
        ({"items": {"anyOf": [{"required": [str(number) for number in range(1500)]}, {}]}}, json.dumps([{}] * 60_000)),
        ({"contains": {"contains": {"not": {}}}}, json.dumps([[0] * 700] * 700)),
        (
            {"$defs": {**DOUBLING, "l40": {"uniqueItems": True}}, "$ref": "#/$defs/l0"},
            json.dumps([[n] for n in range(9000)]),
        ),
        (
            {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "anyOf": [{"$ref": "#/$defs/both"}, {}],
                "$defs": {"both": {"items": {"allOf": [{"$ref": "#"}] * 40}}},
            },
            json.dumps([[[[0] * 10] * 10] * 10] * 10),
        ),
        ({"items": {"$ref": "#"}}, "[" * 900 + "]" * 900),
        ({"multipleOf": 0.01}, "1" + "0" * 400),
        ({"multipleOf": 0.01}, "1e400"),
        ({"uniqueItems": True}, '["\\ud800"]'),
        ({"additionalProperties": False}, json.dumps({"k" * 2000: 1})),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_check_that_would_not_end_or_breaks_is_given_up(schema: dict[str, Any], text: str) -> None:
    assert refusals(schema) == []
    assert problem_of(text, schema) == UNCHECKED


def test_every_keyword_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    keywords = {
        "allOf": [{}],
        "anyOf": [{}],
        "oneOf": [{}],
        "const": [],
        "enum": [[]],
        "type": "array",
        "not": False,
        "if": {},
        "minItems": 0,
        "maxLength": 1,
        "minProperties": 0,
        "required": [],
        "format": "email",
        "$ref": "#/$defs/a",
        "uniqueItems": True,
        "dependentSchemas": {},
        "multipleOf": 2,
        "minimum": 1,
    }
    monkeypatch.setattr(output_schema, "MOST_STEPS", 0)
    for keyword, wanted in keywords.items():
        assert problem_of("[]", {"$defs": {"a": {}}, keyword: wanted}) == UNCHECKED, keyword
    assert MOST_STEPS > 0


def test_errors_that_nobody_reads_do_not_write_the_whole_answer_down() -> None:
    schema = {"anyOf": [{"type": "string"}] * 400}

    problem = problem_of(INTEGERS, schema)

    assert problem == ("At the whole value: an array of 300000 items is not valid under any of the given schemas")
    assert problem_of('{"a": 1}', schema) == (
        "At the whole value: an object of 1 properties is not valid under any of the given schemas"
    )


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}'])
def test_what_only_python_takes_for_json_is_none(text: str) -> None:
    assert problem_of(text, {}) == "It is no JSON."


def test_a_problem_can_be_stored_whatever_the_names_of_the_properties_are() -> None:
    problem = problem_of('{"a\\u0000\\ud800\\nb": 1}', {"additionalProperties": {"type": "string"}})

    assert problem == "At a\ufffd\ufffd\ufffdb: 1 is not of type 'string'"
    assert len(problem_of(json.dumps("x" * 100_000), {"type": "integer"}) or "") <= SHOWN


@pytest.mark.parametrize(
    ("schema", "refusal"),
    [
        ({"type": "nonsense"}, "This is no JSON Schema (draft 2020-12)."),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "This is no JSON Schema (draft 2020-12)."),
        ({"required": [0, "0"]}, "This is no JSON Schema (draft 2020-12)."),
        ({"$ref": "https://example.org/schema.json"}, "References to other documents are not allowed."),
        ({"$ref": "#/$defs/absent"}, "A reference has to lead to a schema within the document."),
        (
            {"enum": [{"pattern": "(a+)+$"}], "anyOf": [{"$ref": "#/enum/0"}]},
            "A reference has to lead to a schema within the document.",
        ),
        ({"properties": {"a": {"pattern": "(a+)+$"}}}, "`pattern` is not allowed."),
        ({"$defs": {"a": {"patternProperties": {"a": {}}}}}, "`patternProperties` is not allowed."),
        ({"items": {"unevaluatedProperties": False}}, "`unevaluatedProperties` is not allowed."),
        ({"prefixItems": [{"unevaluatedItems": False}]}, "`unevaluatedItems` is not allowed."),
        ({"$dynamicRef": "#a"}, "`$dynamicRef` is not allowed."),
        ({"$id": "https://example.org/"}, "`$id` is not allowed."),
        ({"not": {"$anchor": "a"}}, "`$anchor` is not allowed."),
        ({"if": {"$dynamicAnchor": "a"}}, "`$dynamicAnchor` is not allowed."),
        ({"items": {"$schema": "urn:x"}}, "`$schema` is not allowed."),
        ({"allOf": [{}] * MAX_SUBSCHEMAS}, f"A schema has at most {MAX_SUBSCHEMAS} schemas within it."),
        ({"description": "x" * MAX_SCHEMA}, f"A schema has at most {MAX_SCHEMA:,} characters of JSON."),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_must_not_be_a_schema(schema: dict[str, Any], refusal: str) -> None:
    assert refusals(schema) == [refusal]


def test_a_schema_that_is_no_document_is_not_looked_at_any_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(output_schema, "_refusal")

    assert refusals({"required": ["x" * 70_000]}) == ["At most 64000 characters of JSON."]


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"pattern": {"type": "string"}, "$id": {"$ref": "#/$defs/a~1b%20c"}}, "$defs": {"a/b c": {}}},
        {"enum": [{"pattern": "(a+)+$"}], "default": {"$id": "x"}, "examples": [{"$ref": "x"}], "const": {"$id": 1}},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "items": {"$ref": "#"}},
        {"definitions": {"a": {}}, "$ref": "#/definitions/a"},
        {"allOf": [{}] * (MAX_SUBSCHEMAS - 1)},
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_may_be_a_schema(schema: dict[str, Any]) -> None:
    assert refusals(schema) == []
    assert problem_of("[]", {**schema, "enum": [[]], "const": []}) is None
