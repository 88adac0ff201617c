"""Templates as YAML texts: what comes in is read strictly, and what goes out comes in again the same."""

from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.model.blueprint import Blueprint, RoleBlueprint, TaskBlueprint
from domain.model.identity import DEFAULT_TENANT
from domain.model.library import shipped_templates
from domain.model.parameters import check_content
from domain.model.template import Parameter, ParameterType, Template, TemplateContent, TemplateKind
from domain.model.template_files import read_template, write_template

TEXT = """
name: Launch
domain: marketing
tags: [a, b]
parameters:
  - name: product
    description: What is sold
  - {name: words, type: NUMBER, default: 200, least: 1}
team:
  name: Launch of {{product}}
  process: PARALLEL
  roles:
    - title: Writer
      expertise: SENIOR
  tasks:
    - name: Write
      description: |
        Write {{words}} words.

        For {city}.
      expected_output: "yes"
      role: Writer
      max_budget: "0.50"
"""


def places(error: Invalid) -> list[str]:
    return [".".join(problem.path) for problem in error.problems]


def test_a_text_is_a_template_with_all_that_it_says() -> None:
    file = read_template(TEXT)

    assert file.fields == {
        "name": "Launch",
        "description": "",
        "kind": TemplateKind.TEAM,
        "domain": "marketing",
        "tags": ["a", "b"],
    }
    assert file.content.parameters == [
        Parameter(name="product", description="What is sold"),
        Parameter(name="words", type=ParameterType.NUMBER, default=200, least=1),
    ]
    [task] = file.content.blueprint.tasks
    assert (task.description, task.expected_output, task.role) == (
        "Write {{words}} words.\n\nFor {city}.",
        "yes",
        "Writer",
    )


def test_what_is_written_reads_the_same() -> None:
    tricky = "- a: b\n  # no comment\n{{words}} 'quoted' \"twice\" ${x} 007 yes null ~ \u2028 end "
    template = Template(DEFAULT_TENANT, "yes", description="1e3", domain="null", tags=["~", "a: b"])
    content = TemplateContent(
        parameters=[Parameter(name="words", type=ParameterType.LIST, default=["1", "true"])],
        blueprint=Blueprint(
            name="A",
            roles=[RoleBlueprint(title="Writer", goals=[tricky], model_parameters={"stop": ["1"], "seed": 3})],
            tasks=[TaskBlueprint(name="T", description=tricky, expected_output="E", output_schema={"type": "object"})],
        ),
    )

    file = read_template(write_template(template, content, 7))

    assert (file.version, file.content) == (7, content)
    assert file.fields == {name: getattr(template, name) for name in ("name", "description", "kind", "domain", "tags")}


@pytest.mark.parametrize("shipped", shipped_templates(), ids=lambda shipped: shipped.template.name)
def test_every_built_in_template_reads_as_it_was_written(shipped: object) -> None:
    template, content = shipped.template, shipped.content  # type: ignore[attr-defined]  # a ShippedTemplate

    file = read_template(write_template(template, content, template.latest))

    assert (file.name, file.kind, file.version) == (template.name, template.kind, template.latest)
    assert file.content.parameters == content.parameters
    assert file.content.blueprint == content.blueprint


def test_another_name_takes_the_place_of_that_in_the_text() -> None:
    assert read_template(TEXT, "Other").name == "Other"


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 201])
def test_a_name_that_is_none_is_refused_at_its_place(name: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_template(TEXT, name)

    assert places(refused.value) == ["name"]


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("title: Writer", "title: Writer\n      wings: 2", "yaml.team.roles.0.wings"),
        ("title: Writer", "title: 7", "yaml.team.roles.0.title"),
        ("name: product", "name: pro duct", "yaml.parameters.0.name"),
        ("{{words}}", "{{number}}", "yaml.team.tasks.0.description"),
        ("process: PARALLEL", "process: SIDEWAYS", "yaml.team.process"),
        ("tags: [a, b]", "tags: a", "yaml.tags"),
        ("name: Launch\n", "name: ' '\n", "yaml.name"),
        ("domain: marketing", "domain: &a marketing\ndescription: *a", "yaml"),
        ("default: 200", "default: 1.0e+9", "yaml"),
        ("default: 200", "default: many", "yaml.parameters.1.default"),
    ],
)
def test_what_is_wrong_is_located_by_the_keys_of_the_file(old: str, new: str, place: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_template(TEXT.replace(old, new, 1))

    assert place in places(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x,x,x]\nb: &b [*a,*a,*a]\nc: [*b,*b,*b]",  # would grow without end
        "[" * 1000,
        "x: " + "y" * 2_000_001,
        "- 1\n" * 50_000,
        "name: \ud800",
        "a: 1\n---\nb: 2",
    ],
)
def test_what_would_cost_too_much_or_is_no_text_is_refused_as_a_whole(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_template(text)

    assert places(refused.value) == ["yaml"]


# ---------------------------------------------------------------- whatever a template may hold

# No halves of surrogate pairs, which no request has, and no U+0000.
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=120)
NAMES = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=40).filter(
    str.strip
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)
NUMBERS = st.integers(-(10**15), 10**15) | st.floats(-1e15, 1e15) | st.sampled_from([1e-07, 5e-324, 0.1])


@st.composite
def _contents(draw: st.DrawFn) -> TemplateContent:
    role = RoleBlueprint(
        title=draw(NAMES),
        description=draw(TEXTS),
        goals=draw(st.lists(NAMES, max_size=3)),
        temperature=draw(st.floats(0, 2)),
        model_parameters={"seed": draw(st.integers(-(2**63), 2**63 - 1))},
    )
    task = TaskBlueprint(
        name=draw(NAMES),
        description=f"Do {draw(TEXTS)}",
        expected_output=f"Say {draw(TEXTS)}",
        guardrail=draw(st.none() | NAMES),
        output_schema={"enum": [draw(JSON)], "default": draw(JSON)},
    )
    number = Parameter(name="n", type=ParameterType.NUMBER, default=draw(st.none() | NUMBERS))
    text = Parameter(name="t", description=draw(TEXTS), default=draw(st.none() | NAMES))
    return TemplateContent(parameters=[number, text], blueprint=Blueprint(name=draw(NAMES), roles=[role], tasks=[task]))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_contents())
def test_whatever_a_template_may_hold_is_written_and_read_the_same(content: TemplateContent) -> None:
    try:
        check_content(content, TemplateKind.TEAM)
    except Invalid:
        assume(False)  # noqa: FBT003 - hypothesis has it so

    assert read_template(write_template(Template(DEFAULT_TENANT, "x"), content, 1)).content == content


def _nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


@pytest.mark.parametrize(
    "schema",
    [_nested(20), {"type": "number", "multipleOf": 1e-07}, {"const": 2**63 - 1}, {"enum": [1] * 5_000}],
    ids=["deep", "small", "large", "long"],
)
def test_what_is_unusual_in_size_is_read_as_well(schema: dict[str, Any]) -> None:
    roles = [RoleBlueprint(title=f"R{each}", description="漢" * 20_000) for each in range(9)]
    tasks = [TaskBlueprint(name="T", description="D", expected_output="E", output_schema=schema)]
    content = TemplateContent(blueprint=Blueprint(name="Team", roles=roles, tasks=tasks))
    check_content(content, TemplateKind.TEAM)

    assert read_template(write_template(Template(DEFAULT_TENANT, "x"), content, 1)).content == content


def test_a_name_that_is_given_need_not_stand_in_the_text() -> None:
    text = TEXT.replace("name: Launch\n", "", 1)

    assert read_template(text, "Other").name == "Other"
    with pytest.raises(Invalid) as refused:
        read_template(text)
    assert places(refused.value) == ["yaml.name"]


def test_an_amount_with_a_large_exponent_is_refused_where_it_stands() -> None:
    with pytest.raises(Invalid) as refused:
        read_template(TEXT.replace("process: PARALLEL", 'monthly_budget: "1e9999999"'))

    assert places(refused.value) == ["yaml.team.monthly_budget"]
