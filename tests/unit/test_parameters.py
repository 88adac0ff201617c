"""Parameters: what a template may hold, and what becomes of it with values."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from domain.errors import Invalid
from domain.model.blueprint import Blueprint, RoleBlueprint, TaskBlueprint, ToolBlueprint
from domain.model.parameters import check_content, filled, reference, references
from domain.model.template import Parameter, ParameterType, TemplateContent, TemplateKind
from domain.model.tool import ToolKind

NUMBER, ENUM, LIST = ParameterType.NUMBER, ParameterType.ENUM, ParameterType.LIST


def content(*parameters: Parameter, **values: Any) -> TemplateContent:
    """A team of one role and one task, whose texts are `values`."""
    role = RoleBlueprint(title=values.get("title", "Writer"), skills=values.get("skills", []))
    task = TaskBlueprint(
        name="Text",
        description=values.get("description", "Write."),
        expected_output="A text.",
        role=role.title,
        output_schema=values.get("output_schema"),
    )
    return TemplateContent(
        parameters=list(parameters), blueprint=Blueprint(name=values.get("name", "Team"), roles=[role], tasks=[task])
    )


def refused(given: TemplateContent, kind: TemplateKind = TemplateKind.TEAM) -> dict[str, str]:
    """What is wrong, by path."""
    with pytest.raises(Invalid) as caught:
        check_content(given, kind, "content")
    return {".".join(problem.path): problem.message for problem in caught.value.problems}


def refused_values(given: TemplateContent, **values: Any) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        filled(given, values, "parameters")
    return {".".join(problem.path): problem.message for problem in caught.value.problems}


# ---------------------------------------------------------------- filling


def test_values_stand_in_every_text_and_references_follow() -> None:
    product, topics = Parameter(name="product"), Parameter(name="topics", type=LIST)
    blueprint = Blueprint(
        name="{{product}} team",
        manager="{{product}} lead",
        roles=[
            RoleBlueprint(title="{{product}} lead", goals=["Sell {{ product }}"], skills=["{{topics}}", "writing"]),
            RoleBlueprint(title="Writer", supervisor="{{product}} lead", tools=["{{product}} sums"]),
        ],
        tasks=[
            TaskBlueprint(
                name="Text",
                description="Write about {{topics}} for {audience}.",
                expected_output="{{product}}, {{product}}!",
                role="{{product}} lead",
                guardrail="Names {{product}}.",
            )
        ],
        tools=[ToolBlueprint(name="{{product}} sums", kind=ToolKind.CALCULATOR)],
    )
    template = TemplateContent(parameters=[product, topics], blueprint=blueprint)

    check_content(template, TemplateKind.TEAM)
    made = filled(template, {"product": "Kite", "topics": ["wind", "sand"]})

    made.check()
    assert (made.name, made.manager) == ("Kite team", "Kite lead")
    assert made.roles[0].goals == ["Sell Kite"]
    assert made.roles[0].skills == ["wind", "sand", "writing"]
    assert (made.roles[1].supervisor, made.roles[1].tools) == ("Kite lead", ["Kite sums"])
    assert made.tasks[0].description == "Write about wind, sand for {audience}."
    assert (made.tasks[0].expected_output, made.tasks[0].guardrail) == ("Kite, Kite!", "Names Kite.")


def test_what_a_value_brings_is_no_parameter_and_may_be_an_input_of_a_kickoff() -> None:
    template = content(Parameter(name="a"), Parameter(name="b"), description="{{a}} and {{b}}, {{{a}}}")

    made = filled(template, {"a": "{city}", "b": "b}} {x"})

    assert made.tasks[0].description == "{city} and b}} {x, {{city}}"


def test_a_number_is_written_in_digits_and_stays_one_in_json() -> None:
    schema = {"type": "object", "properties": {"n": {"maximum": "{{most}}", "title": "to {{most}}"}}}
    template = content(
        Parameter(name="most", type=NUMBER, default=10), description="Up to {{most}}.", output_schema=schema
    )

    check_content(template, TemplateKind.TEAM)
    shown = {value: filled(template, {"most": value}).tasks[0] for value in (3, 50000.0, 0.0000001, -1.5)}

    assert [task.description for task in shown.values()] == [
        "Up to 3.",
        "Up to 50000.",
        "Up to 0.0000001.",
        "Up to -1.5.",
    ]
    assert shown[3].output_schema == {
        "type": "object",
        "properties": {"n": {"maximum": 3, "title": "to 3"}},
    }


def test_defaults_stand_in_for_what_is_not_given_or_null() -> None:
    template = content(
        Parameter(name="tone", type=ENUM, options=["dry", "warm"], default="dry"),
        Parameter(name="notes", default=""),
        description="{{tone}}{{notes}}",
    )

    assert filled(template, {}).tasks[0].description == "dry"
    assert filled(template, {"tone": None, "notes": "!"}).tasks[0].description == "dry!"
    assert filled(template, {"tone": "warm", "notes": ""}).tasks[0].description == "warm"


def test_the_template_is_not_changed_by_filling_it() -> None:
    template = content(Parameter(name="a"), description="{{a}}", output_schema={"enum": ["{{a}}"]})

    filled(template, {"a": "x"})

    assert template == content(Parameter(name="a"), description="{{a}}", output_schema={"enum": ["{{a}}"]})


# ---------------------------------------------------------------- values


def test_every_bad_or_missing_value_is_told_at_once() -> None:
    template = content(
        Parameter(name="product"),
        Parameter(name="size", type=NUMBER, least=1, most=5),
        Parameter(name="tone", type=ENUM, options=["dry", "warm"]),
        Parameter(name="topics", type=LIST),
    )

    assert refused_values(template, size=9, tone="loud", topics=["wind", " "], colour="red") == {
        "parameters.colour": "The template has no such parameter.",
        "parameters.product": "A value is required.",
        "parameters.size": "Must be between 1 and 5.",
        "parameters.tone": "One of these is expected: dry, warm.",
        "parameters.topics.1": "An entry must not be empty.",
    }


BAD: list[tuple[Parameter, Any, str]] = [
    (Parameter(name="p"), 5, "A text is expected."),
    (Parameter(name="p"), ["a"], "A text is expected."),
    (Parameter(name="p"), " ", "A value is required."),
    (Parameter(name="p", default="x"), "", "A value is required."),
    (Parameter(name="p"), "x" * 20_001, "At most 20000 characters."),
    (Parameter(name="p"), "see {{other}}", "“{{” is not allowed here: a value cannot hold a parameter."),
    (Parameter(name="p"), "a\0", "The character U+0000, and halves of surrogate pairs, are not allowed."),
    (Parameter(name="p"), "a\ud800", "The character U+0000, and halves of surrogate pairs, are not allowed."),
    (Parameter(name="p", least=3), "ab", "At least 3 characters."),
    (Parameter(name="p", most=3), "abcd", "At most 3 characters."),
    (Parameter(name="p", pattern="[a-z]+"), "abc1", "This does not match [a-z]+"),
    (Parameter(name="p", pattern="[a-z]+"), "abc\n", "This does not match [a-z]+"),
    (Parameter(name="p", pattern="a|b"), "ab", "This does not match a|b"),
    (Parameter(name="p", pattern="a*"), "a" * 201, "At most 200 characters."),
    (Parameter(name="p", type=NUMBER), "5", "A number is expected."),
    (Parameter(name="p", type=NUMBER), True, "A number is expected."),
    (Parameter(name="p", type=NUMBER), float("nan"), "A number is expected."),
    (Parameter(name="p", type=NUMBER), 10**400, "A number is expected."),
    (Parameter(name="p", type=NUMBER, least=0.5), 0, "Must be at least 0.5."),
    (Parameter(name="p", type=NUMBER, most=0), 1, "Must be at most 0."),
    (Parameter(name="p", type=ENUM, options=["a"]), ["a"], "One of these is expected: a."),
    (Parameter(name="p", type=LIST), "a", "A list of texts is expected."),
    (Parameter(name="p", type=LIST), [1], "A list of texts is expected."),
    (Parameter(name="p", type=LIST), [], "At least one entry is required."),
    (Parameter(name="p", type=LIST), ["a"] * 101, "At most 100 entries."),
    (Parameter(name="p", type=LIST, most=1), ["a", "b"], "At most 1 entries."),
]


@pytest.mark.parametrize(("parameter", "value", "message"), BAD)
def test_a_bad_value_is_refused(parameter: Parameter, value: Any, message: str) -> None:
    assert refused_values(content(parameter), p=value) == {"parameters.p": message}


GOOD: list[tuple[Parameter, Any]] = [
    (Parameter(name="p"), "{city}"),
    (Parameter(name="p", least=0), ""),
    (Parameter(name="p", pattern=r"[A-Z]{2}\d{3,4}"), "AB1234"),
    (Parameter(name="p", type=NUMBER, least=1, most=2), 1),
    (Parameter(name="p", type=NUMBER), -0.5),
    (Parameter(name="p", type=LIST, least=0), []),
    (Parameter(name="p", type=LIST, default=[]), []),
]


@pytest.mark.parametrize(("parameter", "value"), GOOD)
def test_a_good_value_is_taken(parameter: Parameter, value: Any) -> None:
    assert filled(content(parameter), {"p": value}).name == "Team"


def test_values_cannot_blow_a_blueprint_up() -> None:
    template = content(Parameter(name="a"), description="{{a}}" * 2_000)

    assert refused_values(template, a="x" * 20_000) == {
        "parameters": "With these values the texts would have more than 2000000 characters."
    }


LIGHT = [
    "(a+)+",
    r"\d{4}-\d{2}-\d{2}",
    "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    r"[\w.+-]+@[\w-]+\.\w{2,}",
    r"\x{100}",
    "[{]200}",
    "a{1000}",
    r"\w{20}",
]
HEAVY = [
    r"\w{190}",
    r"(?:\w?){200}",
    r"(?:\w?){ 190}",
    "(?:a{ 100}){ 500}",
    "(?:(?:a?){ 200}){ 200}",
    "(" + "a?" * 40 + "){200}",
    r"[)\w]{30}",
    r"[]\w]{30}",
    r"[^]a[b]\P{Lu}]{30}",
    r"(?i:\w{10}){10}",
    r"(?P<a>\w{10}){10}",
    "a{11}{10}{10}",
]


@pytest.mark.parametrize("pattern", LIGHT)
def test_a_pattern_of_usual_weight_is_taken(pattern: str) -> None:
    check_content(content(Parameter(name="p", pattern=pattern)), TemplateKind.TEAM)


@pytest.mark.parametrize("pattern", HEAVY)
def test_a_pattern_that_is_heavy_to_compile_is_refused(pattern: str) -> None:
    told = refused(content(Parameter(name="p", pattern=pattern)))

    assert told["content.parameters.0.pattern"].startswith("This repeats too much")


def test_many_patterns_are_refused_together_that_each_would_do() -> None:
    several = [Parameter(name=f"p{place}", pattern=rf"\w{{{20 + place}}}") for place in range(5)]
    check_content(content(*several), TemplateKind.TEAM)

    told = refused(content(*several, Parameter(name="q", pattern=r"\w{20}b")))

    assert told["content.parameters"].startswith("The patterns together repeat too much")


def test_what_is_too_large_or_too_deep_is_told_alone() -> None:
    deep: Any = []
    for _ in range(480):
        deep = [deep]
    large = content(description="{{x}}" * 4_000)
    large = replace(large, blueprint=replace(large.blueprint, tasks=large.blueprint.tasks * 13))
    many = content(output_schema={"enum": [1] * 19_000})

    assert refused(content(Parameter(name="p", default=deep))) == {
        "content.parameters.0.default": "A text is expected."
    }
    assert list(refused(content(output_schema={"a": deep}))) == ["content.blueprint.tasks.0.outputSchema"]
    assert refused(large)["content.blueprint"].startswith("At most 256000 characters of JSON in all")
    assert refused(replace(many, blueprint=replace(many.blueprint, tasks=many.blueprint.tasks * 2))) == {
        "content.blueprint": "At most 20000 values in all."
    }
    crowd = replace(large.blueprint, roles=[RoleBlueprint(title="A")] * 16_000)
    assert refused(TemplateContent(blueprint=crowd)) == {"content.blueprint.roles": "At most 100 roles."}


@pytest.mark.parametrize("amount", ["1e9999999", "1e999999", "-1e9999999"])
def test_an_amount_beyond_all_digits_is_refused(amount: str) -> None:
    rich = content()
    rich = replace(rich, blueprint=replace(rich.blueprint, monthly_budget=Decimal(amount)))

    assert refused(rich) == {"content.blueprint.monthlyBudget": "Must be between 0 and 1000000000."}


# ---------------------------------------------------------------- contents


def test_unknown_and_misspelt_parameters_are_found_where_they_stand() -> None:
    template = content(Parameter(name="product"), description="{{prodct}} by {{the team}}", skills=["{{skill}}"])

    assert refused(template) == {
        "content.blueprint.roles.0.skills.0": "There is no parameter “skill”.",
        "content.blueprint.tasks.0.description": "“{{the team}}” names no parameter: letters, digits and _.",
    }
    assert refused(replace(template, blueprint=content(description="{{prodct}}").blueprint)) == {
        "content.blueprint.tasks.0.description": "There is no parameter “prodct”."
    }


@pytest.mark.parametrize("text", ['{"a": {"b": 1}}', r"\frac{{x+1}}{2}", '{{"a": 1}}', "{{}}", "{{", "{city}"])
def test_other_braces_are_no_parameters(text: str) -> None:
    template = content(description=text)

    check_content(template, TemplateKind.TEAM)

    assert filled(template, {}).tasks[0].description == text


WRONG: list[tuple[Parameter, str, str]] = [
    (Parameter(name="1st"), "name", "Letters, digits and _, no digit first, at most 64 characters."),
    (Parameter(name="a" * 65), "name", "Letters, digits and _, no digit first, at most 64 characters."),
    (Parameter(name="p", description="x" * 20_001), "description", "At most 20000 characters."),
    (Parameter(name="p", options=["a"]), "options", "Only an ENUM has options."),
    (Parameter(name="p", type=ENUM), "options", "An ENUM needs options."),
    (Parameter(name="p", type=ENUM, options=["a", "a"]), "options.1", "This option stands here twice."),
    (Parameter(name="p", type=ENUM, options=["a"], most=1), "most", "An ENUM has no limits."),
    (Parameter(name="p", type=ENUM, options=["a"], default="b"), "default", "One of these is expected: a."),
    (Parameter(name="p", least=-1), "least", "This is how many, so a whole number from 0 on is expected."),
    (Parameter(name="p", least=2, most=1), "most", "This is less than the least."),
    (Parameter(name="p", type=NUMBER, least=float("inf")), "least", "A number is expected."),
    (Parameter(name="p", type=NUMBER, most=3, default=4), "default", "Must be at most 3."),
    (Parameter(name="p", type=NUMBER, pattern="a"), "pattern", "Only a STRING has a pattern."),
    (Parameter(name="p", pattern="a" * 101), "pattern", "At most 100 characters."),
    (Parameter(name="p", pattern="[a-z]+", default="A"), "default", "This does not match [a-z]+"),
    (Parameter(name="p", default="{{q}}"), "default", "“{{” is not allowed here: a value cannot hold a parameter."),
    (Parameter(name="p", type=LIST, default=["a", ""]), "default.1", "An entry must not be empty."),
]


@pytest.mark.parametrize(("parameter", "place", "message"), WRONG)
def test_a_wrong_parameter_is_refused(parameter: Parameter, place: str, message: str) -> None:
    assert refused(content(parameter)) == {f"content.parameters.0.{place}": message}


@pytest.mark.parametrize("pattern", ["(", "a)|(b", r"(a)\1", "(?=a)b", "a{2,1}"])
def test_what_is_no_pattern_of_linear_time_is_refused(pattern: str) -> None:
    assert refused(content(Parameter(name="p", pattern=pattern))) == {
        "content.parameters.0.pattern": "This is no regular expression, without look-around and back-references."
    }


def test_parameters_of_one_name_and_too_many_are_refused() -> None:
    assert refused(content(Parameter(name="p"), Parameter(name="p"))) == {
        "content.parameters.1.name": "Another parameter has this name."
    }
    assert refused(content(*(Parameter(name=f"p{number}") for number in range(51)))) == {
        "content.parameters": "At most 50 parameters."
    }


def test_the_rules_of_a_blueprint_hold_for_the_one_with_the_defaults() -> None:
    named = content(Parameter(name="p", default="x" * 201), title="{{p}}")

    assert refused(named) == {"content.blueprint.roles.0.title": "At most 200 characters."}
    assert refused(content(description=" ")) == {"content.blueprint.tasks.0.description": "A description is required."}


def test_a_form_that_only_a_value_can_have_is_not_judged() -> None:
    server = ToolBlueprint(name="Files", kind=ToolKind.MCP_SERVER, configuration={"url": "{{address}}"})
    role = RoleBlueprint(title="Clerk", tools=["Files"], model="{{model}}")
    blueprint = Blueprint(name="Team", roles=[role], tools=[server])
    parameters = [Parameter(name="address"), Parameter(name="model")]

    check_content(TemplateContent(parameters=parameters, blueprint=blueprint), TemplateKind.TEAM)

    known = [Parameter(name="address", default="nowhere"), Parameter(name="model", default="no model")]
    assert list(refused(TemplateContent(parameters=known, blueprint=blueprint))) == [
        "content.blueprint.roles.0.model",
        "content.blueprint.tools.0.configuration.url",
    ]


def test_a_reference_to_nobody_is_found_although_it_has_a_parameter() -> None:
    role = RoleBlueprint(title="{{who}}", supervisor="{{whom}}")
    template = TemplateContent(
        parameters=[Parameter(name="who"), Parameter(name="whom")], blueprint=Blueprint(name="Team", roles=[role])
    )

    assert refused(template) == {"content.blueprint.roles.0.supervisor": "No role has this title."}


def test_a_kind_has_its_parts() -> None:
    task = TaskBlueprint(name="Text", description="Write.", expected_output="A text.")
    alone = TemplateContent(blueprint=Blueprint(name="Text", tasks=[task]))

    check_content(alone, TemplateKind.TASK)

    assert refused(alone) == {"content.blueprint.roles": "A team needs at least one role."}
    assert refused(content(), TemplateKind.TASK) == {"content.blueprint.roles": "A template of a task has no roles."}
    assert refused(TemplateContent(blueprint=Blueprint(name="None")), TemplateKind.TASK) == {
        "content.blueprint.tasks": "A template of a task has exactly one task."
    }


def test_problems_are_bounded() -> None:
    roles = [RoleBlueprint(title=f"{place}", skills=["{{a}}", "{{b}}"]) for place in range(100)]

    with pytest.raises(Invalid) as caught:
        check_content(TemplateContent(blueprint=Blueprint(name="Team", roles=roles)), TemplateKind.TEAM)

    assert len(caught.value.problems) == 100


def test_references_are_told_with_their_places() -> None:
    template = content(
        title="{{who}}", description="{{who}} {{what}} {{who}}", output_schema={"title": {"my_key": "{{what}}"}}
    )

    assert references(template.blueprint) == {
        "who": [("roles", "0", "title"), ("tasks", "0", "description"), ("tasks", "0", "role")],
        "what": [("tasks", "0", "description"), ("tasks", "0", "outputSchema", "title", "my_key")],
    }
    assert reference("who") == "{{who}}"
