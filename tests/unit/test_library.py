"""The templates that ship, file by file, and the form of such a file."""

import json
import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from domain.errors import Invalid
from domain.model.blueprint import Blueprint, RoleBlueprint, TaskBlueprint
from domain.model.identity import DEFAULT_TENANT, TenantId, new_id
from domain.model.library import (
    DIRECTORY,
    find_shipped_template,
    parse_template,
    render_template,
    shipped_template_id,
    shipped_templates,
)
from domain.model.library.loading import TemplateFile
from domain.model.parameters import filled, references
from domain.model.skills_catalogue import skills
from domain.model.team import Process
from domain.model.template import (
    Parameter,
    ParameterType,
    Template,
    TemplateContent,
    TemplateKind,
    Visibility,
)
from domain.model.tool import ToolKind
from scripts.template_schema import TARGET, template_schema

FILES = sorted(DIRECTORY.glob("*.yaml"))
SCHEMA = json.loads(TARGET.read_text("utf-8"))
KINDS = {kind for skill in skills() for kind in skill.task_kinds}
DOMAINS = {domain for skill in skills() for domain in skill.domains}
NEEDS_NOTHING = {ToolKind.CALCULATOR}

NAMES = {
    "Analytics insight report",
    "Billing review",
    "Content management",
    "Customer journey",
    "Customer segmentation",
    "Customer support",
    "Event management",
    "Inventory planning",
    "Lead scoring",
    "Marketing campaign strategy",
    "Marketing content package",
    "Marketing performance analysis",
    "Nurturing campaign",
    "Pipeline optimisation",
    "Platform administration",
    "Price review",
    "Product listing",
    "Research report",
    "Software delivery",
    "Systems integration",
    "Trading research",
}
"""Of the teams that product.md promises."""

TASKS = {
    "Market analysis": {"product", "audience"},
    "Technical design": {"project", "requirements"},
    "Content strategy": {"campaign", "audience"},
}
"""Of the tasks, with the parameters that it names."""


NEEDED: list[tuple[str, str, set[str], set[str]]] = [
    ("Analytics insight report", "Report", {"Data profile"}, set()),
    ("Billing review", "Effect on the books", {"Line check", "Patterns"}, {"invoices"}),
    ("Billing review", "Letters", {"Line check", "Effect on the books"}, {"invoices", "contract_terms"}),
    ("Content management", "Key pages", {"Inventory"}, {"pages"}),
    ("Content management", "Rules", {"Inventory"}, set()),
    ("Customer journey", "Experiments", {"Figures by stage"}, set()),
    ("Customer support", "Answer", {"Triage", "Solution"}, {"message"}),
    ("Customer support", "Checked answer", {"Solution"}, set()),
    ("Event management", "Event plan", {"Programme"}, set()),
    ("Inventory planning", "Inventory decision", {"Demand forecast"}, {"stock_and_sales"}),
    ("Lead scoring", "Review of the scores", {"Scores"}, {"leads", "{weight_of_fit}", "{ideal_customer}"}),
    ("Lead scoring", "Handover to sales", set(), {"leads"}),
    ("Marketing content package", "Edited package", {"Brief"}, set()),
    ("Marketing performance analysis", "Performance by channel", set(), {"figures", "period"}),
    ("Nurturing campaign", "Messages", set(), {"{leads}", "{offer}"}),
    ("Pipeline optimisation", "Honest forecast", set(), {"deals"}),
    ("Pipeline optimisation", "Moves for stalled deals", set(), {"deals"}),
    ("Pipeline optimisation", "Three changes", {"Health of the stages"}, set()),
    ("Platform administration", "Cost", set(), {"status_report", "access_list"}),
    ("Price review", "Willingness to pay", set(), {"price_list"}),
    ("Research report", "The other side", {"Collection"}, set()),
    ("Research report", "Report", {"Collection"}, set()),
    ("Software delivery", "Release plan", {"Requirements", "Design"}, set()),
    ("Systems integration", "Tests and signals", set(), {"{records_per_day}"}),
    ("Systems integration", "Integration design", {"Flows"}, {"{purpose}"}),
    ("Trading research", "Research note", {"Fundamentals", "Prices"}, set()),
]
"""What tasks work on: a task sees the outputs of those that it waits for, and what its own text brings."""


EACH_FILE = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
EACH_TEAM = pytest.mark.parametrize(
    "path", [path for path in FILES if not path.stem.startswith("task_")], ids=lambda path: path.stem
)


def read(path: Path) -> TemplateFile:
    return parse_template(path.read_text("utf-8"))


def refused(text: str) -> dict[str, str]:
    """What is wrong, by path."""
    with pytest.raises(Invalid) as caught:
        parse_template(text)
    return {".".join(problem.path): problem.message for problem in caught.value.problems}


# ---------------------------------------------------------------- the library


def test_the_library_is_complete() -> None:
    by_kind = {
        kind: {each.template.name for each in shipped_templates() if each.template.kind is kind}
        for kind in TemplateKind
    }

    assert by_kind[TemplateKind.TEAM] >= NAMES
    assert by_kind[TemplateKind.TASK] >= TASKS.keys()
    for name, wanted in TASKS.items():
        content = next(each.content for each in shipped_templates() if each.template.name == name)
        assert {parameter.name for parameter in content.parameters} == wanted
        assert all(parameter.is_required for parameter in content.parameters)


def test_every_process_and_every_type_of_parameter_is_shown() -> None:
    contents = [each.content for each in shipped_templates() if each.template.kind is TemplateKind.TEAM]

    assert {content.blueprint.process for content in contents} == set(Process)
    assert {each.type for content in contents for each in content.parameters} == set(ParameterType)


def test_shipped_templates_are_built_in_and_the_same_everywhere() -> None:
    tenant = TenantId(new_id())
    names = [each.template.name for each in shipped_templates()]

    assert names == sorted(set(names))
    for shipped in shipped_templates():
        template = shipped.of(tenant)
        template.check()
        assert (template.tenant_id, template.visibility) == (tenant, Visibility.BUILT_IN)
        assert template.id == shipped_template_id(template.name)
        assert find_shipped_template(template.id) is shipped
        assert template.created_at.utcoffset() == timedelta(0)
        template.tags.append("changed")
        assert "changed" not in shipped.template.tags
    assert find_shipped_template(new_id()) is None
    assert str(shipped_template_id("Price review")) == "40167215-8c7f-59be-b177-feef2990f072"  # ids outlive releases


@EACH_FILE
def test_a_file_holds_the_schema_and_the_rules(path: Path) -> None:
    document = yaml.safe_load(path.read_text("utf-8"))

    assert [error.message for error in Draft202012Validator(SCHEMA).iter_errors(document)] == []
    assert read(path).name == document["name"]
    assert path.read_text("utf-8").startswith("# yaml-language-server: $schema=template.schema.json\n")


@EACH_FILE
def test_parameters_are_described_and_used(path: Path) -> None:
    content = read(path).content

    assert content.parameters
    assert [each.name for each in content.parameters if not each.description] == []
    assert {each.name for each in content.parameters} == set(references(content.blueprint))


@EACH_FILE
def test_the_longest_values_make_no_name_too_long(path: Path) -> None:
    content = read(path).content
    longest = {
        each.name: "x" * int(each.most or 1_000)
        for each in content.parameters
        if each.type is ParameterType.STRING and each.pattern is None
    }

    filled(content, longest).check()


@EACH_FILE
def test_skills_kinds_and_domains_are_those_of_the_catalogue(path: Path) -> None:
    file = read(path)
    blueprint = file.content.blueprint
    named = [skill for part in blueprint.roles for skill in part.skills]
    named += [skill for task in blueprint.tasks for skill in task.required_skills]

    assert set(named) <= {skill.name for skill in skills()}
    assert {task.kind for task in blueprint.tasks} <= KINDS
    assert file.domain in DOMAINS
    assert all(task.required_skills for task in blueprint.tasks)


@EACH_FILE
def test_texts_are_real(path: Path) -> None:
    blueprint = read(path).content.blueprint

    for role in blueprint.roles:
        assert role.description
        assert role.goals
        # A sentence with a comma has to be quoted in a list of YAML, or becomes two.
        assert [goal for goal in role.goals if not goal[:1].isupper()] == []
        assert role.backstory
        assert role.skills
    for task in blueprint.tasks:
        assert len(task.description.split()) >= 30, task.name
        assert len(task.expected_output.split()) >= 8, task.name
    texts = [text for task in blueprint.tasks for text in (task.description, task.expected_output)]
    assert len(set(texts)) == len(texts)


@EACH_TEAM
def test_a_team_runs_anywhere_without_a_human(path: Path) -> None:
    blueprint = read(path).content.blueprint

    assert len(blueprint.roles) >= 2
    assert len(blueprint.tasks) >= 2
    assert {tool.kind for tool in blueprint.tools} <= NEEDS_NOTHING
    assert {name for role in blueprint.roles for name in role.tools} == {tool.name for tool in blueprint.tools}
    assert not any(role.model or role.can_ask for role in blueprint.roles)
    assert not any(task.is_approval_required for task in blueprint.tasks)
    assert (blueprint.manager is not None) == (blueprint.process is Process.HIERARCHICAL)


@EACH_TEAM
def test_every_role_has_a_task_and_every_task_a_role_that_is_able_to(path: Path) -> None:
    blueprint = read(path).content.blueprint

    assert {task.role for task in blueprint.tasks} == {role.title for role in blueprint.roles}
    for task in blueprint.tasks:
        role = blueprint.role(task.role or "")
        assert role is not None
        assert set(task.required_skills) <= set(role.skills), task.name


@EACH_TEAM
def test_a_team_has_one_end_and_no_branch_that_nobody_reads(path: Path) -> None:
    blueprint = read(path).content.blueprint
    waited_for = {name for task in blueprint.tasks for name in task.depends_on}

    assert [task.name for task in blueprint.tasks if task.name not in waited_for] == [blueprint.tasks[-1].name]


def _shown(value: str | set[str]) -> str:
    """The same in every process: sets have no order."""
    return value if isinstance(value, str) else "+".join(sorted(value))


@pytest.mark.parametrize(("name", "task", "waits_for", "inputs"), NEEDED, ids=_shown)
def test_a_task_sees_what_it_is_told_to_use(name: str, task: str, waits_for: set[str], inputs: set[str]) -> None:
    blueprint = next(each.content.blueprint for each in shipped_templates() if each.template.name == name)
    given = blueprint.task(task)

    assert given is not None
    assert waits_for <= set(given.depends_on)
    assert [each for each in inputs if f"{{{each}}}" not in given.description] == []


@EACH_TEAM
def test_a_task_that_names_another_one_sees_its_output(path: Path) -> None:
    blueprint = read(path).content.blueprint
    sees_all = blueprint.process is Process.COLLABORATIVE

    for place, task in enumerate(blueprint.tasks):
        earlier = {other.name for other in blueprint.tasks[:place]}
        named = {name for name in earlier if re.search(rf"\b{name}\b", task.description, re.IGNORECASE)}
        assert sees_all or named <= set(task.depends_on), task.name


@EACH_FILE
def test_a_file_is_written_so_that_it_reads_the_same(path: Path) -> None:
    file = read(path)
    template = Template(DEFAULT_TENANT, **file.fields)

    text = render_template(template, file.content, file.version)

    assert parse_template(text) == file


# ---------------------------------------------------------------- the form of a file


def test_the_schema_is_what_the_types_say() -> None:
    assert TARGET.read_text("utf-8") == template_schema(), "run `make template-schema` and read its diff"


SMALL = """
name: Small
parameters:
  - {name: who, default: 5 people}
  - {name: most, type: NUMBER, default: 3, most: 4.5}
team:
  roles:
    - {title: "Writer for {{who}}", can_ask: true}
  tasks:
    - name: Text
      description: "Write {{most}} lines on {topic}."
      expected_output: Lines.
      max_budget: "0.10"
"""


def test_a_small_file_takes_the_defaults() -> None:
    file = parse_template(SMALL)

    assert (file.kind, file.version, file.domain, file.tags) == (TemplateKind.TEAM, 1, "", [])
    assert file.parameters == [
        Parameter(name="who", default="5 people"),
        Parameter(name="most", type=ParameterType.NUMBER, default=3, most=4.5),
    ]
    made = filled(file.content, {})
    assert (made.name, made.roles[0].title, made.roles[0].can_ask) == ("Small", "Writer for 5 people", True)
    assert made.tasks[0].description == "Write 3 lines on {topic}."
    assert made.tasks[0].max_budget == Decimal("0.1")


def test_a_file_of_a_task_needs_no_kind() -> None:
    file = parse_template("name: Text\ntask: {name: Text, description: Write., expected_output: A text.}")

    assert file.kind is TemplateKind.TASK
    assert [task.name for task in file.content.blueprint.tasks] == ["Text"]


def test_everything_that_a_template_can_hold_is_kept() -> None:
    odd = "“5: {x}\n- y  \n\ttab 'q' \"Q\" # no comment"
    role = RoleBlueprint(title="null", goals=["yes", "1e3", "2026-01-01", odd], temperature=0.1, max_tasks=7)
    schema = {"type": "object", "properties": {"a.b": {"enum": [1, 2.5, None, True, "on", "0x1F"]}}}
    task = TaskBlueprint(name="1", description=odd, expected_output="~", role="null", output_schema=schema)
    blueprint = Blueprint(name="0", roles=[role], tasks=[task], is_cached=True, execution_timeout_seconds=90.5)
    parameters = [Parameter(name="a", default="{{"[:1], type=ParameterType.STRING), Parameter(name="on", default="no")]
    template = Template(DEFAULT_TENANT, "true", odd, tags=["1.0"])

    text = render_template(template, TemplateContent(parameters=parameters, blueprint=blueprint), 12)
    file = parse_template(text)

    assert file.content == TemplateContent(parameters=parameters, blueprint=blueprint)
    assert (file.name, file.description, file.tags, file.version) == ("true", odd, ["1.0"], 12)


WRONG: list[tuple[str, dict[str, str]]] = [
    ("", {"": "A mapping is expected: name, parameters, team."}),
    ("- 1", {"": "A mapping is expected: name, parameters, team."}),
    ("name: [", {"": "Line 2: did not find expected node content."}),
    ("name: &a x\nteam: *a", {"": "Line 2: aliases are not supported, write the value out."}),
    ("name: !!python/name:os.system x", {"": "Line 1: tags are not supported."}),
    ("name: x\nname: y", {"": "Line 2: the key 'name' stands here twice."}),
    ("name: x\nversion: 0x1F", {"": "'0x1F' is no number in plain digits: write a text in quotes."}),
    ("name: x\nversion: .inf", {"": "'.inf' is no number in plain digits: write a text in quotes."}),
    ("kind: TEAM", {"name": "This is required."}),
    ("name: x", {"team": "A TEAM template needs this."}),
    ("name: x\nkind: TASK", {"task": "A TASK template needs this."}),
    ("name: x\nkind: FLOW", {"kind": "Input should be 'TEAM' or 'TASK'."}),
    ("name: x\nprompt: y\nteam: {roles: [{title: A}]}", {"prompt": "There is no such key."}),
    ("name: x\nversion: 0\nteam: {roles: [{title: A}]}", {"version": "Must be between 1 and 1000000."}),
    ("name: 5\nteam: {name: A, roles: [{title: A}]}", {"name": "Input should be a valid string."}),
    ("name: x\nteam: {roles: [{title: A, skill: b}]}", {"team.roles.0.skill": "There is no such key."}),
    ("name: x\nteam: {roles: [{title: A, expertise: GOD}]}", {"team.roles.0.expertise": "Input should be "}),
    ("name: x\nteam: {roles: [{title: ' '}]}", {"team.roles.0.title": "A name is required."}),
    ("name: x\nteam: {roles: []}", {"team.roles": "A team needs at least one role."}),
    ("name: x\nteam: {manager: B, roles: [{title: A}]}", {"team.manager": "No role has this title."}),
    (
        "name: x\nteam: {roles: [{title: A}], tasks: [{name: T, description: D, expected_output: ' '}]}",
        {"team.tasks.0.expected_output": "An expected output is required."},
    ),
    (
        "name: x\ntask: {name: T, description: 'D {{y}}', expected_output: E}",
        {"task.description": "There is no parameter “y”."},
    ),
    (
        "name: x\ntask: {name: T, description: D, expected_output: E, role: A}",
        {"task.role": "No role has this title."},
    ),
    (
        "name: x\nparameters: [{name: a, default: [b]}]\nteam: {roles: [{title: A}]}",
        {"parameters.0.default": "A text is expected."},
    ),
    (
        "name: x\nparameters: [{name: a, kind: b}]\nteam: {roles: [{title: A}]}",
        {"parameters.0.kind": "There is no such key."},
    ),
    ("name: x\ntags: ['']\nteam: {roles: [{title: A}]}", {"tags.0": "An entry must not be empty."}),
    (
        "name: x\nkind: TEAM\nteam: {roles: [{title: A}]}\ntask: {name: T, description: D, expected_output: E}",
        {"task": "A TEAM template has none."},
    ),
]


@pytest.mark.parametrize(("text", "problems"), WRONG)
def test_what_is_no_template_is_refused_with_its_place(text: str, problems: dict[str, str]) -> None:
    told = refused(text)

    assert told.keys() == problems.keys()
    assert all(told[place].startswith(message) for place, message in problems.items())


@pytest.mark.parametrize(
    "text",
    ["name: " + "x" * 2_000_000, "[" * 70, "a: [" + "1," * 50_000 + "]", "\ud800", "\x00", "name: x\n---\nname: y"],
    ids=["long", "deep", "many", "surrogate", "control", "two"],
)
def test_what_is_beyond_the_limits_is_refused(text: str) -> None:
    assert list(refused(text)) == [""]


def test_problems_are_bounded() -> None:
    text = "name: x\nteam:\n  roles:\n" + "".join(f"    - {{title: '{place}', a: 1, b: 2}}\n" for place in range(200))

    assert len(refused(text)) == 100
