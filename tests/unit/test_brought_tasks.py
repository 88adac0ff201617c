"""Tasks that a kickoff brings: their names, what they wait for, and which are refused, where."""

from typing import Any

import pytest

from domain.errors import DependencyCycle, Invalid
from domain.model.brought_tasks import BroughtTask, tasks_of
from domain.model.identity import DEFAULT_TENANT, ProjectId, new_id
from domain.model.team import Team

TEAM = Team(DEFAULT_TENANT, ProjectId(new_id()), "T")


def a_task(description: str = "Do.", expected_output: str = "Done.", **values: Any) -> BroughtTask:
    return BroughtTask(description, expected_output, **values)


def problems_of(*brought: BroughtTask) -> list[tuple[tuple[str, ...], str]]:
    with pytest.raises(Invalid) as caught:
        tasks_of(TEAM, brought)
    return [(problem.path, problem.message) for problem in caught.value.problems]


def test_brought_tasks_are_tasks_of_the_team_in_their_order() -> None:
    tasks, dependencies = tasks_of(
        TEAM,
        [
            a_task("Collect.", "A list.", kind="research", required_skills=("sql",), priority=7, name="Collect"),
            a_task("Write.", "A text.", depends_on=("Collect",)),
        ],
    )

    first, second = tasks
    assert (first.name, first.kind, first.required_skills, first.priority) == ("Collect", "research", ["sql"], 7)
    assert (first.description, first.expected_output, first.position) == ("Collect.", "A list.", 0)
    assert (second.name, second.priority, second.position, second.role_id) == ("Task", 5, 1, None)
    assert [(link.task_id, link.depends_on_id) for link in dependencies] == [(second.id, first.id)]


def test_a_name_is_made_of_the_kind_and_told_apart() -> None:
    brought = [a_task(name="report 2"), a_task(kind="report"), a_task(kind=" re\tport\x00"), a_task(kind="report")]
    brought += [a_task(), a_task(), a_task(kind="k" * 900)]

    tasks, _ = tasks_of(TEAM, [*brought[:2], *brought[3:]])

    assert [task.name for task in tasks] == ["report 2", "report", "report 3", "Task", "Task 2", "k" * 196]


def test_all_broken_rules_are_told_with_the_place_of_the_task() -> None:
    told = problems_of(
        a_task("", name="a"),
        a_task(expected_output=" ", priority=10, required_skills=("",), kind="k" * 20_001),
        a_task(name="", depends_on=("a", "nobody")),
        a_task(name="a"),
    )

    assert told == [
        (("tasks", "0", "description"), "A description is required."),
        (("tasks", "1", "expectedOutput"), "An expected output is required."),
        (("tasks", "1", "kind"), "At most 20000 characters."),
        (("tasks", "1", "requiredSkills", "0"), "An entry must not be empty."),
        (("tasks", "1", "priority"), "Must be between 0 and 9."),
        (("tasks", "2", "name"), "A name is required."),
        (("tasks", "0", "name"), "Another task has this name."),
        (("tasks", "3", "name"), "Another task has this name."),
        (("tasks", "2", "dependsOn", "1"), "No task of this kickoff has this name."),
    ]


def test_more_than_fifty_tasks_or_dependencies_are_refused() -> None:
    assert len(tasks_of(TEAM, [a_task()] * 50)[0]) == 50
    assert problems_of(*[a_task()] * 51) == [(("tasks",), "At most 50 tasks.")]
    assert problems_of(a_task(name="a"), a_task(depends_on=("a",) * 51)) == [
        (("tasks", "1", "dependsOn"), "At most 50 entries.")
    ]


def test_a_dependency_that_is_named_twice_is_one() -> None:
    _, dependencies = tasks_of(TEAM, [a_task(name="a"), a_task(depends_on=("a", "a"))])

    assert len(dependencies) == 1


def test_tasks_that_wait_for_each_other_are_refused_by_name() -> None:
    with pytest.raises(DependencyCycle) as caught:
        tasks_of(TEAM, [a_task(name="a", depends_on=("b",)), a_task(name="b", depends_on=("a",))])

    assert caught.value.path == ("tasks",)
    assert set(caught.value.cycle) == {"a", "b"}
