"""From a team and inputs to the tasks of a run: their order, who does them, and what their texts become."""

from dataclasses import replace
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import DependencyCycle, Invalid, MissingInputs, NoActiveRole
from domain.model.execution import Execution
from domain.model.identity import DEFAULT_TENANT, ProjectId, RevisionId, TeamId, ToolId, new_id
from domain.model.planning import MAX_FILLED, match_role, plan, with_inputs
from domain.model.revision import TeamSnapshot, decode, encode
from domain.model.role import Expertise, Role
from domain.model.role_tasks import ABSENT, INPUTS, written_for
from domain.model.task import (
    Task,
    TaskDependency,
    check_dependencies,
    fill,
    filled_length,
    in_order,
    placeholders,
)
from domain.model.team import Team
from domain.model.tool import RoleTool, Tool, ToolKind

PROJECT, TEAM = ProjectId(new_id()), TeamId(new_id())


def a_role(title: str = "Analyst", **values: Any) -> Role:
    return Role(DEFAULT_TENANT, TEAM, title, **values)


def a_task(name: str = "Task", description: str = "Do.", expected_output: str = "Done.", **values: Any) -> Task:
    return Task(DEFAULT_TENANT, TEAM, name, description, expected_output, **values)


def waits(task: Task, *others: Task) -> list[TaskDependency]:
    return [TaskDependency(DEFAULT_TENANT, TEAM, task.id, other.id) for other in others]


def a_snapshot(
    roles: list[Role], tasks: list[Task] | None = None, dependencies: list[TaskDependency] | None = None
) -> TeamSnapshot:
    team = Team(DEFAULT_TENANT, PROJECT, "Team", id=TEAM)
    return TeamSnapshot(team, roles, tasks or [], dependencies or [], [], [])


def an_execution(**inputs: Any) -> Execution:
    return Execution(DEFAULT_TENANT, PROJECT, TEAM, RevisionId(new_id()), inputs, 5, 60.0, 60.0)


# ---------------------------------------------------------------- order


def test_a_task_stands_behind_those_it_waits_for_and_else_by_priority_position_and_age() -> None:
    low, high = a_task("low", priority=0), a_task("high", priority=9)
    later, sooner = a_task("later", position=2), a_task("sooner", position=1)
    first = a_task("first", priority=0)

    ordered = in_order([low, high, later, sooner, first], waits(high, first))

    assert [task.name for task in ordered] == ["sooner", "later", "low", "first", "high"]


@given(st.data())
def test_any_order_of_a_graph_without_cycles_holds_every_dependency(data: st.DataObject) -> None:
    tasks = [
        a_task(str(number), priority=data.draw(st.integers(0, 9)), position=data.draw(st.integers(-3, 3)))
        for number in range(data.draw(st.integers(1, 8)))
    ]
    pairs = [(late, early) for late in range(len(tasks)) for early in range(late)]
    drawn = data.draw(st.sets(st.sampled_from(pairs)) if pairs else st.just(set()))
    dependencies = [link for late, early in sorted(drawn) for link in waits(tasks[late], tasks[early])]
    check_dependencies(tasks, dependencies)

    ordered = in_order(data.draw(st.permutations(tasks)), dependencies)

    places = {task.id: place for place, task in enumerate(ordered)}
    assert len(places) == len(tasks)
    assert all(places[link.depends_on_id] < places[link.task_id] for link in dependencies)
    free = {task.id for task in tasks} - {link.task_id for link in dependencies}
    ranks = [(-task.priority, task.position, task.id) for task in ordered if task.id in free]
    assert ranks == sorted(ranks)


def test_tasks_that_wait_for_each_other_are_named_in_the_direction_of_waiting() -> None:
    a, b, c = a_task("A"), a_task("B"), a_task("C")

    with pytest.raises(DependencyCycle) as caught:
        check_dependencies([a, b, c], [*waits(a, b), *waits(b, c), *waits(c, a)])

    cycle = caught.value.cycle
    assert set(pairwise(cycle)) == {("A", "B"), ("B", "C"), ("C", "A")}


# ---------------------------------------------------------------- placeholders


def test_placeholders_are_named_once_in_order_of_appearance() -> None:
    texts = ["{b} {a_1} {b}", "{c-d} {1x} { a } {} {{e}} {f"]

    assert placeholders(texts) == ["b", "a_1", "c-d", "e"]


def test_what_has_an_input_is_filled_and_an_input_is_not_filled_again() -> None:
    assert fill("{a} {b} {c} {a}", {"a": "{b}", "b": 2, "c-": "x"}) == "{b} 2 {c} {b}"
    assert fill("{a}", {"a": None}) == "None"


@given(st.text("{}ab-_1", max_size=40), st.dictionaries(st.sampled_from("ab"), st.text(max_size=9)))
def test_the_length_of_a_filled_text_is_known_before(text: str, inputs: dict[str, Any]) -> None:
    assert filled_length(text, inputs) == len(fill(text, inputs))


def test_inputs_that_would_blow_a_text_up_are_refused_before_it_is_made() -> None:
    task, huge = a_task(description="{a}" * 6_000), "x" * 60_000

    with pytest.raises(Invalid) as caught:
        plan(a_snapshot([a_role()], [task]), an_execution(a=huge))
    with pytest.raises(Invalid):
        plan(a_snapshot([a_role(backstory="{a}" * 6_000)]), an_execution(a=huge))

    assert [problem.path for problem in caught.value.problems] == [("inputs",)]
    fitting = an_execution(a="x" * (MAX_FILLED // 6_000))
    assert len(plan(a_snapshot([a_role()], [task]), fitting)[0].description) == 198_000


def test_missing_inputs_of_tasks_and_active_roles_are_named_together() -> None:
    roles = [a_role("{city} guide", goals=["See {sight}"]), a_role("{unused}", is_active=False)]
    tasks = [a_task(description="{b} {a}", expected_output="{a} {given}")]

    with pytest.raises(MissingInputs) as caught:
        plan(a_snapshot(roles, tasks), an_execution(given=None))

    assert sorted(caught.value.names) == ["a", "b", "city", "sight"]
    assert caught.value.names[:2] == ("b", "a")


# ---------------------------------------------------------------- who does what


def test_a_task_goes_to_its_own_role_while_that_is_active() -> None:
    own, expert = a_role("own"), a_role("expert", expertise=Expertise.EXPERT, skills=["x"])
    task = a_task(role_id=own.id, required_skills=["x"])

    assert match_role(task, [expert, own]) is own
    assert match_role(task, [expert]) is expert


def test_else_to_the_one_with_most_of_the_skills_then_to_the_most_senior() -> None:
    both = a_role("both", skills=["SQL", "Python"], expertise=Expertise.JUNIOR)
    one = a_role("one", skills=["sql"], expertise=Expertise.EXPERT)
    senior = a_role("senior", expertise=Expertise.SENIOR)

    assert match_role(a_task(required_skills=["python", "Sql"]), [one, senior, both]) is both
    assert match_role(a_task(required_skills=["cooking"]), [both, senior, one]) is one
    assert match_role(a_task(), [both, senior]) is senior


def test_nobody_active_means_no_run() -> None:
    with pytest.raises(NoActiveRole):
        plan(a_snapshot([a_role(is_active=False)], [a_task()]), an_execution())


def test_the_tasks_of_a_run_wait_for_each_other_as_the_teams_do() -> None:
    role = a_role("{city} guide")
    first, second = a_task("first", "See {city}", max_attempts=3), a_task("second", priority=9)
    execution = an_execution(city="Graz")

    planned = plan(a_snapshot([role], [second, first], waits(second, first)), execution)

    assert [(it.name, it.position, it.max_attempts) for it in planned] == [("first", 0, 3), ("second", 1, 2)]
    assert (planned[0].description, planned[0].role_title) == ("See Graz", "Graz guide")
    assert (planned[0].waits_for, planned[1].waits_for) == ([], [planned[0].id])
    assert {(it.execution_id, it.role_id) for it in planned} == {(execution.id, role.id)}
    assert [it.task_id for it in planned] == [first.id, second.id]


@pytest.mark.parametrize(
    ("title", "name", "expected"),
    [
        ("Project Manager", "strategy", "A strategy with recommendations"),
        ("strategist", "strategy", "A strategy with recommendations"),
        ("Software Engineer", "technical design", "A technical design"),
        ("Full-stack DEVELOPER", "technical design", "A technical design"),
        ("Market Analyst", "analysis", "An analysis of market, competition and feasibility"),
        ("Poet", "contribution", "The contribution of a Poet"),
        ("Leadless", "contribution", "The contribution of a Leadless"),
    ],
)
def test_a_role_is_given_the_task_of_its_title(title: str, name: str, expected: str) -> None:
    written = written_for(a_role(title), {})

    assert written.name == f"{title}: {name}"
    assert written.expected_output.startswith(expected)
    assert written.description.count(ABSENT) == len(INPUTS)


def test_a_team_without_tasks_gets_one_per_active_role_with_the_inputs_in_it() -> None:
    roles = [a_role("Poet of {city}"), a_role("Away", is_active=False), a_role("Analyst")]

    planned = plan(a_snapshot(roles), an_execution(budget="9 USD", city="Graz", unknown="x"))

    assert [(it.role_id, it.position, it.task_id) for it in planned] == [(roles[0].id, 0, None), (roles[2].id, 1, None)]
    assert all("- budget: 9 USD\n" in it.description for it in planned)
    assert all(f"- timeline: {ABSENT}\n" in it.description for it in planned)
    assert planned[0].role_title == "Poet of Graz"


def test_a_role_has_its_own_texts_filled() -> None:
    role = a_role("{a}", goals=["{a} {b}"], backstory="{b}")

    filled = with_inputs(role, {"a": 1})

    assert (filled.title, filled.goals, filled.backstory, filled.id) == ("1", ["1 {b}"], "{b}", role.id)
    assert role.title == "{a}"


# ---------------------------------------------------------------- revisions


def a_whole_team() -> TeamSnapshot:
    role, task = a_role(skills=["x"], model_parameters={"seed": 1}), a_task()
    snapshot = a_snapshot([role], [task, a_task("other")])
    snapshot.dependencies = waits(snapshot.tasks[1], task)
    snapshot.tools = [Tool(DEFAULT_TENANT, PROJECT, "Sums", ToolKind.CALCULATOR)]
    snapshot.role_tools = [RoleTool(DEFAULT_TENANT, role.id, snapshot.tools[0].id)]
    return snapshot


def test_a_revision_has_everything_that_a_run_needs() -> None:
    snapshot = a_whole_team()

    found = decode(encode(snapshot)[0])

    assert found.roles[0].skills == ["x"]
    assert [found.tools_of(role) for role in found.roles] == [found.tools]
    assert [tool.id for tool in found.tools] == [snapshot.tools[0].id]
    assert (found.dependencies, found.role_tools) == (snapshot.dependencies, snapshot.role_tools)
    assert encode(found) == encode(snapshot)


def test_a_tool_that_the_role_was_not_given_is_not_its_own() -> None:
    snapshot = a_whole_team()
    snapshot.role_tools = [RoleTool(DEFAULT_TENANT, snapshot.roles[0].id, ToolId(uuid4()))]

    assert snapshot.tools_of(snapshot.roles[0]) == []


def test_versions_and_dates_do_not_make_a_revision_but_every_edit_does() -> None:
    snapshot = a_whole_team()
    role, (task, _), (tool,) = snapshot.roles[0], snapshot.tasks, snapshot.tools
    touched = replace(snapshot, roles=[replace(role, version=9)], team=replace(snapshot.team, version=9))
    edited = [
        replace(snapshot, team=replace(snapshot.team, max_iterations=9)),
        replace(snapshot, roles=[replace(role, temperature=0.1)]),
        replace(snapshot, tasks=[replace(task, priority=9), snapshot.tasks[1]]),
        replace(snapshot, tools=[replace(tool, configuration={"x": 1})]),
        replace(snapshot, dependencies=[]),
        replace(snapshot, role_tools=[]),
    ]

    original = encode(snapshot)[1]

    assert encode(touched)[1] == original
    assert len({original, *(encode(other)[1] for other in edited)}) == 1 + len(edited)
