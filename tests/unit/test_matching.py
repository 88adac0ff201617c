"""Who does which task of a run, in which order the reasons count, and how they are told."""

from typing import Any

import pytest

from domain.errors import NoActiveRole, TooManyTasks
from domain.model.identity import DEFAULT_TENANT, ProjectId, RoleId, TeamId, new_id
from domain.model.matching import Matching, Record, manager_of, needs_records
from domain.model.role import Expertise, Role
from domain.model.task import Task
from domain.model.team import Process, Team

PROJECT, TEAM = ProjectId(new_id()), TeamId(new_id())


def a_role(title: str = "Analyst", **values: Any) -> Role:
    return Role(DEFAULT_TENANT, TEAM, title, **values)


def a_task(name: str = "Task", *skills: str, role: Role | None = None) -> Task:
    role_id = role.id if role else None
    return Task(DEFAULT_TENANT, TEAM, name, "Do.", "Done.", role_id=role_id, required_skills=list(skills))


def who(roles: list[Role], tasks: list[Task], records: dict[RoleId, Record] | None = None) -> list[str]:
    """The titles of those who do the tasks."""
    assigned = Matching(roles, records or {}).assign(tasks)
    return [assigned[task.id].role.title for task in tasks]


def why(roles: list[Role], task: Task, records: dict[RoleId, Record] | None = None) -> str:
    return Matching(roles, records or {}).assign([task])[task.id].reason


# ---------------------------------------------------------------- what counts


def test_a_task_goes_to_its_own_role_however_little_that_fits() -> None:
    own, expert = a_role("own"), a_role("expert", expertise=Expertise.EXPERT, skills=["x"])

    assert who([expert, own], [a_task("t", "x", role=own)]) == ["own"]
    assert why([expert, own], a_task("t", "x", role=own)) == "Its own role."


def test_a_task_whose_role_is_not_active_is_matched_and_says_so() -> None:
    away, other = a_role("away"), a_role("other", skills=["x"])

    assert why([other], a_task("t", "x", role=away)) == (
        "Its own role is not active. Matched by skills: x (1 of 1); 0 tasks so far; it has finished no task yet."
    )


def test_most_skills_count_more_than_load_success_and_rank() -> None:
    both = a_role("both", skills=["SQL", "Python"], expertise=Expertise.JUNIOR)
    one = a_role("one", skills=["sql"], expertise=Expertise.EXPERT)
    tasks = [a_task("busy", role=both), a_task("t", "python", "Sql", "sql")]
    records = {both.id: Record(0, 9), one.id: Record(9, 0)}

    assert who([one, both], tasks, records) == ["both", "both"]


def test_then_the_fewest_tasks_of_this_run_count_those_with_an_own_role_first() -> None:
    busy, idle = a_role("busy", skills=["x"], expertise=Expertise.EXPERT), a_role("idle", skills=["x"])
    tasks = [a_task("1", "x"), a_task("2", "x"), a_task("3", "x"), a_task("own", role=busy)]
    records = {busy.id: Record(99, 0)}

    assert who([busy, idle], tasks, records) == ["idle", "busy", "idle", "busy"]


def test_then_past_success_of_which_none_is_neutral() -> None:
    good, new, bad = a_role("good", position=2), a_role("new", position=1), a_role("bad", expertise=Expertise.EXPERT)
    records = {good.id: Record(19, 1), bad.id: Record(1, 19)}

    assert who([bad, new, good], [a_task(str(number)) for number in range(3)], records) == ["good", "new", "bad"]


def test_one_task_that_went_well_does_not_beat_a_hundred_of_which_two_failed() -> None:
    lucky, proven = a_role("lucky", expertise=Expertise.EXPERT), a_role("proven")

    assert who([lucky, proven], [a_task()], {lucky.id: Record(1, 0), proven.id: Record(98, 2)}) == ["proven"]


def test_then_the_most_senior_then_the_first_by_position() -> None:
    junior = a_role("junior", expertise=Expertise.JUNIOR, position=0)
    second, first = a_role("second", position=2), a_role("first", position=1)

    assert who([junior, second, first], [a_task()]) == ["first"]


def test_no_skill_at_all_is_still_a_match_and_says_so() -> None:
    roles = [a_role("a", skills=["y"]), a_role("b", expertise=Expertise.EXPERT)]

    assert who(roles, [a_task("t", "cooking")]) == ["b"]
    assert why(roles, a_task("t", "cooking")).startswith(
        "Matched although no role that is free has a skill it asks for (cooking); 0 tasks so far"
    )


# ---------------------------------------------------------------- how it is told


def test_the_reason_names_skills_load_and_success() -> None:
    role, other = a_role("a", skills=["SQL", "writing"]), a_role("b")
    matching = Matching([role, other], {role.id: Record(13, 1)})
    tasks = [a_task("own", role=role), a_task("t", "sql", "Writing", "law")]

    assigned = matching.assign(tasks)

    assert assigned[tasks[1].id].reason == (
        "Matched by skills: sql, Writing (2 of 3); 1 task so far; 92 % of its tasks succeeded."
    )


def test_a_task_that_asks_for_no_skill_says_so() -> None:
    assert why([a_role()], a_task()) == (
        "Matched without skills, for it asks for none; 0 tasks so far; it has finished no task yet."
    )


def test_nothing_is_said_of_the_past_where_nobody_asked_for_it() -> None:
    role, task = a_role(), a_task()

    assert Matching([role]).assign([task])[task.id].reason == (
        "Matched without skills, for it asks for none; 0 tasks so far."
    )


def test_a_reason_stays_short_however_many_and_long_the_skills_are() -> None:
    skills = [f"{number}-{'x' * 900}" for number in range(100)]

    reason = why([a_role(skills=skills)], a_task("t", *skills))

    assert "… (100 of 100)" in reason
    assert len(reason) < 500


# ---------------------------------------------------------------- bounds


def test_nobody_is_given_more_than_its_most_tasks() -> None:
    small, big = a_role("small", skills=["x"], max_tasks=1), a_role("big")

    assert who([small, big], [a_task("1", "x"), a_task("2", "x"), a_task("3", "x")]) == ["small", "big", "big"]
    assert who([small, big], [a_task("1", "x"), a_task("own", role=small)]) == ["big", "small"]


def test_an_own_role_with_too_many_tasks_is_refused_by_name_and_bound() -> None:
    small = a_role("small", max_tasks=1)

    with pytest.raises(TooManyTasks) as caught:
        who([small, a_role("other")], [a_task("1", role=small), a_task("2", role=small)])

    assert caught.value.bounds == (("small", 1),)
    assert str(caught.value) == ("Nobody is left for the task “2”: in one execution “small” is given at most 1.")


def test_more_tasks_than_all_roles_may_do_are_refused() -> None:
    with pytest.raises(TooManyTasks) as caught:
        who([a_role("a", max_tasks=1), a_role("b", max_tasks=2)], [a_task(str(number)) for number in range(4)])

    assert caught.value.bounds == (("a", 1), ("b", 2))


def test_a_manager_has_a_bound_too() -> None:
    manager = a_role("manager", max_tasks=1)

    with pytest.raises(TooManyTasks) as caught:
        Matching([manager, a_role()], {}, manager).assign([a_task("1"), a_task("2")])

    assert caught.value.bounds == (("manager", 1),)


# ---------------------------------------------------------------- managers and records


def test_without_an_active_role_nobody_leads() -> None:
    away = a_role(is_active=False)

    with pytest.raises(NoActiveRole):
        manager_of(Team(DEFAULT_TENANT, PROJECT, "T", manager_id=away.id), [away])


def test_records_are_asked_for_only_where_something_is_matched() -> None:
    team, led = Team(DEFAULT_TENANT, PROJECT, "T"), Team(DEFAULT_TENANT, PROJECT, "T", process=Process.HIERARCHICAL)
    roles, away = [a_role("a"), a_role("b")], a_role("away", is_active=False)

    assert needs_records(team, roles, [a_task(role=roles[0]), a_task()])
    assert needs_records(team, [*roles, away], [a_task(role=away)])
    assert not needs_records(team, roles, [a_task(role=roles[0])])
    assert not needs_records(team, roles, [])
    assert not needs_records(team, [roles[0], away], [a_task()])
    assert not needs_records(led, roles, [a_task()])
