from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from domain.errors import Invalid
from domain.model.blueprint import (
    Blueprint,
    RoleBlueprint,
    TaskBlueprint,
    ToolBlueprint,
    as_document,
    blueprint_of,
    from_document,
    new_tool,
    snapshot_of,
)
from domain.model.difference import DifferenceKind, Part, differences
from domain.model.edits import Edits, edited
from domain.model.identity import DEFAULT_TENANT, ProjectId, new_id
from domain.model.role import Expertise
from domain.model.team import Process
from domain.model.tool import ToolKind

PROJECT = ProjectId(new_id())


def a_blueprint(**given: Any) -> Blueprint:
    whole: dict[str, Any] = {
        "name": "Launch",
        "process": Process.HIERARCHICAL,
        "manager": "Lead",
        "roles": [
            RoleBlueprint(title="Lead", expertise=Expertise.SENIOR),
            RoleBlueprint(title="Writer", supervisor="Lead", tools=["Sums"], skills=["copywriting"]),
        ],
        "tasks": [
            TaskBlueprint(name="Plan", description="Plan it", expected_output="A plan", role="Lead"),
            TaskBlueprint(
                name="Write",
                description="Write about {topic}",
                expected_output="A text",
                role="Writer",
                depends_on=["Plan"],
                max_budget=Decimal("0.25"),
            ),
        ],
        "tools": [ToolBlueprint(name="Sums", kind=ToolKind.CALCULATOR)],
        "monthly_budget": Decimal("12.5"),
    }
    return Blueprint(**{**whole, **given})


def problems_of(blueprint: Blueprint) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        blueprint.check()
    return {".".join(problem.path): problem.message for problem in caught.value.problems}


def test_a_team_comes_back_from_its_blueprint_as_it_was() -> None:
    before = a_blueprint()
    tool = {"Sums": new_tool(before.tools[0], DEFAULT_TENANT, PROJECT)}

    after = blueprint_of(snapshot_of(before, DEFAULT_TENANT, PROJECT, tool))

    assert [role.title for role in after.roles] == ["Lead", "Writer"]
    assert (after.manager, after.roles[1].supervisor, after.roles[1].tools) == ("Lead", "Lead", ["Sums"])
    assert (after.tasks[1].role, after.tasks[1].depends_on) == ("Writer", ["Plan"])
    assert (after.monthly_budget, after.tasks[1].max_budget) == (Decimal("12.5"), Decimal("0.25"))
    assert differences(after, blueprint_of(snapshot_of(after, DEFAULT_TENANT, PROJECT, tool))) == []


def test_roles_that_share_a_title_are_told_apart() -> None:
    snapshot = snapshot_of(a_blueprint(), DEFAULT_TENANT, PROJECT, {})
    snapshot.roles[1].title = "Lead"

    found = blueprint_of(snapshot)

    assert [role.title for role in found.roles] == ["Lead", "Lead (2)"]
    assert found.tasks[1].role == "Lead (2)"
    found.check()


def test_a_document_holds_what_is_not_as_by_default_and_amounts_as_text() -> None:
    document = as_document(a_blueprint())

    assert document["monthly_budget"] == "12.5"
    assert document["roles"][0] == {"title": "Lead", "expertise": "SENIOR"}
    assert from_document(document) == a_blueprint()


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ([], "team"),
        ({}, "team.name"),
        ({"name": "x", "colour": "red"}, "team.colour"),
        ({"name": "x", "roles": [{"title": "a", "expertise": "GURU"}]}, "team.roles.0.expertise"),
        (
            {"name": "x", "tasks": [{"name": "a", "description": "b", "expected_output": 3}]},
            "team.tasks.0.expected_output",
        ),
    ],
)
def test_a_document_of_another_shape_is_refused_with_its_place(document: object, place: str) -> None:
    with pytest.raises(Invalid) as caught:
        from_document(document, "team")

    assert ".".join(caught.value.problems[0].path) == place


def test_every_reference_to_nothing_is_told() -> None:
    wrong = a_blueprint(manager="Nobody", tools=[])
    wrong.roles[1] = replace(wrong.roles[1], supervisor="Ghost")
    wrong.tasks[1] = replace(wrong.tasks[1], role="Ghost", depends_on=["Nothing"])

    assert problems_of(wrong) == {
        "manager": "No role has this title.",
        "roles.1.supervisor": "No role has this title.",
        "roles.1.tools.0": "No tool has this name.",
        "tasks.1.role": "No role has this title.",
        "tasks.1.dependsOn.0": "No task has this name.",
    }


def test_names_are_unique_and_parts_keep_their_own_rules() -> None:
    wrong = a_blueprint()
    wrong.roles.append(RoleBlueprint(title="Lead", temperature=7))
    wrong.tasks.append(TaskBlueprint(name="Plan", description=" ", expected_output="x"))

    assert problems_of(wrong) == {
        "roles.2.title": "Another one of the roles has this title.",
        "tasks.2.name": "Another one of the tasks has this name.",
        "roles.2.temperature": "Must be between 0 and 2.",
        "tasks.2.description": "A description is required.",
    }


def test_cycles_are_named() -> None:
    wrong = a_blueprint()
    wrong.roles[0] = replace(wrong.roles[0], supervisor="Writer")
    wrong.tasks[0] = replace(wrong.tasks[0], depends_on=["Write"])

    problems = problems_of(wrong)

    assert problems.keys() == {"roles", "tasks"}
    assert "Plan" in problems["tasks"]
    assert "Writer" in problems["roles"]


def test_more_parts_than_a_team_may_have_are_refused() -> None:
    many = a_blueprint(roles=[RoleBlueprint(title=str(number)) for number in range(101)], manager=None, tasks=[])

    assert problems_of(many) == {"roles": "At most 100 roles."}


@pytest.mark.parametrize(
    ("parts", "place"),
    [
        ({"roles": [RoleBlueprint(title="A", tools=["Sums"] * 600_000)]}, "roles 0 tools"),
        ({"roles": [RoleBlueprint(title="A", skills=["x"] * 101)]}, "roles 0 skills"),
        ({"roles": [RoleBlueprint(title="A", goals=["x"] * 101)]}, "roles 0 goals"),
        ({"roles": [RoleBlueprint(title="A", delegation_kinds=["x"] * 101)]}, "roles 0 delegation taskKinds"),
        (
            {"tasks": [TaskBlueprint(name="A", description="", expected_output="", depends_on=["B"] * 101)]},
            "tasks 0 dependsOn",
        ),
        (
            {"tasks": [TaskBlueprint(name="A", description="", expected_output="", required_skills=["x"] * 101)]},
            "tasks 0 requiredSkills",
        ),
    ],
)
def test_of_a_list_that_is_too_long_nothing_else_is_told(parts: dict[str, Any], place: str) -> None:
    with pytest.raises(Invalid) as refused:
        Blueprint(**{"name": "", "roles": [], "tasks": [], **parts}).check()

    assert [(" ".join(it.path), it.message) for it in refused.value.problems] == [(place, "At most 100 entries.")]


def test_differences_are_told_part_by_part_and_field_by_field() -> None:
    before, after = a_blueprint(), a_blueprint(process=Process.SEQUENTIAL)
    after.roles[1] = replace(after.roles[1], skills=["editing"])
    after.tasks[0] = TaskBlueprint(name="Think", description="Think", expected_output="Thoughts")

    found = differences(before, after)

    assert [(each.kind, each.part, each.name, each.field) for each in found] == [
        (DifferenceKind.CHANGED, Part.TEAM, "Launch", "process"),
        (DifferenceKind.CHANGED, Part.ROLE, "Writer", "skills"),
        (DifferenceKind.REMOVED, Part.TASK, "Plan", None),
        (DifferenceKind.ADDED, Part.TASK, "Think", None),
    ]
    assert (found[1].before, found[1].after) == (["copywriting"], ["editing"])


def _told(before: Blueprint, after: Blueprint) -> list[tuple[Any, ...]]:
    return [(it.kind, it.part, it.name, it.field, it.before, it.after) for it in differences(before, after)]


def test_what_only_stands_elsewhere_is_told_to_move_and_nothing_else() -> None:
    tasks = [TaskBlueprint(name=name, description="D", expected_output="E") for name in "abcd"]
    before = Blueprint(name="Team", tasks=tasks)
    after = replace(before, tasks=[tasks[3], *tasks[:3]])
    grown = replace(before, tasks=[replace(tasks[0], name="new"), *tasks])

    assert _told(before, after) == [(DifferenceKind.CHANGED, Part.TASK, "d", "position", 3, 0)]
    assert [it[:3] for it in _told(before, grown)] == [(DifferenceKind.ADDED, Part.TASK, "new")]


def test_the_order_of_what_a_task_waits_for_and_a_role_uses_is_no_difference() -> None:
    tasks = [TaskBlueprint(name=name, description="D", expected_output="E") for name in "ab"]
    last = TaskBlueprint(name="c", description="D", expected_output="E", depends_on=["a", "b"])
    before = Blueprint(name="Team", roles=[RoleBlueprint(title="A", tools=["x", "y"])], tasks=[*tasks, last])
    after = replace(
        before,
        roles=[RoleBlueprint(title="A", tools=["y", "x"])],
        tasks=[*tasks, replace(last, depends_on=["b", "a", "b"])],
    )

    assert _told(before, after) == []


def test_tools_that_come_go_and_change_are_told() -> None:
    sums = ToolBlueprint(name="Sums", kind=ToolKind.CALCULATOR)
    files = ToolBlueprint(name="Files", kind=ToolKind.FILE_READER)
    before = Blueprint(name="Team", tools=[sums, files])
    after = replace(before, tools=[replace(files, kind=ToolKind.FILE_WRITER), replace(sums, name="More")])

    assert [it[:4] for it in _told(before, after)] == [
        (DifferenceKind.REMOVED, Part.TOOL, "Sums", None),
        (DifferenceKind.CHANGED, Part.TOOL, "Files", "kind"),
        (DifferenceKind.ADDED, Part.TOOL, "More", None),
    ]


def test_edits_replace_add_and_remove_and_nothing_refers_to_what_is_gone() -> None:
    edits = Edits(
        values={"name": "Relaunch"},
        roles=[RoleBlueprint(title="Writer", expertise=Expertise.EXPERT), RoleBlueprint(title="Critic")],
        removed_roles=["Lead"],
        removed_tasks=["Plan"],
    )

    found = edited(a_blueprint(), edits)

    assert (found.name, found.manager) == ("Relaunch", None)
    assert [role.title for role in found.roles] == ["Writer", "Critic"]
    assert [(task.name, task.role, task.depends_on) for task in found.tasks] == [("Write", "Writer", [])]
    found.check()


def test_what_is_to_be_removed_has_to_be_there() -> None:
    with pytest.raises(Invalid) as caught:
        edited(a_blueprint(), Edits(removed_roles=["Ghost"], removed_tasks=["Nothing"]), "edits")

    assert [problem.path for problem in caught.value.problems] == [
        ("edits", "removedRoles", "0"),
        ("edits", "removedTasks", "0"),
    ]
