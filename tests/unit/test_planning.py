"""From a team and inputs to the tasks of a run: their order, who does them, and what their texts become."""

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import DependencyCycle, Invalid, MissingInputs, NoActiveRole
from domain.model.approval import ApprovalDefault
from domain.model.execution import Execution
from domain.model.identity import DEFAULT_TENANT, ProjectId, RevisionId, TeamId, ToolId, new_id
from domain.model.planning import MAX_FILLED, plan, with_inputs
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
from domain.model.team import Process, Team
from domain.model.tool import RoleTool, Tool, ToolKind

VALUES = st.none() | st.booleans() | st.integers() | st.lists(st.text(max_size=3), max_size=2)
PROJECT, TEAM = ProjectId(new_id()), TeamId(new_id())


def a_role(title: str = "Analyst", **values: Any) -> Role:
    return Role(DEFAULT_TENANT, TEAM, title, **values)


def a_task(name: str = "Task", description: str = "Do.", expected_output: str = "Done.", **values: Any) -> Task:
    return Task(DEFAULT_TENANT, TEAM, name, description, expected_output, **values)


def waits(task: Task, *others: Task) -> list[TaskDependency]:
    return [TaskDependency(DEFAULT_TENANT, TEAM, task.id, other.id) for other in others]


def a_snapshot(
    roles: list[Role],
    tasks: list[Task] | None = None,
    dependencies: list[TaskDependency] | None = None,
    process: Process = Process.SEQUENTIAL,
) -> TeamSnapshot:
    team = Team(DEFAULT_TENANT, PROJECT, "Team", id=TEAM, process=process)
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


def test_inputs_that_are_no_strings_appear_as_json_and_null_is_none() -> None:
    inputs = {"a": True, "b": {"a": [1, None], "ä": "“x”"}, "c": 2.5, "d": "", "e": None, "f": False}

    filled = fill("{a} {b} {c} {d} {e} {f}", inputs)

    assert filled == 'true {"a": [1, null], "ä": "“x”"} 2.5  {e} false'
    assert filled_length("{a} {b} {c} {d} {e} {f}", inputs) == len(filled)


@given(st.text("{}ab-_1", max_size=40), st.dictionaries(st.sampled_from("ab"), st.text(max_size=9) | VALUES))
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
    tasks = [a_task(description="{b} {a}", expected_output="{a} {given} {off} {nothing}")]

    with pytest.raises(MissingInputs) as caught:
        plan(a_snapshot(roles, tasks), an_execution(given="", off=False, nothing=None))

    assert sorted(caught.value.names) == ["a", "b", "city", "nothing", "sight"]
    assert caught.value.names[:2] == ("b", "a")


# ---------------------------------------------------------------- who does what


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


def test_a_written_task_has_inputs_as_json_and_null_as_absent() -> None:
    written = written_for(a_role(), {"budget": {"usd": 5}, "timeline": None, "requirements": False})

    lines = written.description.splitlines()
    assert {'- budget: {"usd": 5}', f"- timeline: {ABSENT}", "- requirements: false"} <= set(lines)


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


def test_what_a_task_says_of_its_checks_is_copied_for_the_run() -> None:
    task = a_task(
        kind="report",
        guardrail='It names {city}, like {"city": …} and {other}.',
        is_approval_required=True,
        approval_assignee="ann",
        approval_timeout_seconds=60.0,
        approval_default=ApprovalDefault.APPROVE,
        output_schema={"type": "object"},
    )

    [planned] = plan(a_snapshot([a_role()], [task]), an_execution(city="Graz"))

    assert (planned.kind, planned.output_schema) == ("report", {"type": "object"})
    assert planned.guardrail == 'It names Graz, like {"city": …} and {other}.'
    assert (planned.is_approval_required, planned.approval_assignee) == (True, "ann")
    assert (planned.approval_timeout_seconds, planned.approval_default) == (60.0, ApprovalDefault.APPROVE)


def test_a_guardrail_that_inputs_would_blow_up_is_refused_too() -> None:
    task = a_task(guardrail="{a}" * 6_000)

    with pytest.raises(Invalid):
        plan(a_snapshot([a_role()], [task]), an_execution(a="x" * 60_000))


def test_a_task_that_a_kickoff_brought_names_no_task_of_the_team() -> None:
    snapshot = a_snapshot([a_role()], [a_task()], process=Process.COLLABORATIVE)

    assert [it.task_id for it in plan(snapshot, an_execution(), is_brought=True)] == [None, None]


# ---------------------------------------------------------------- processes


def test_the_last_task_of_a_collaborative_run_joins_all_others_by_the_most_senior_role() -> None:
    junior, senior = a_role("junior"), a_role("senior {city}", expertise=Expertise.SENIOR, position=1)
    first, second = a_task("Synthesis", role_id=junior.id), a_task("Synthesis 2", role_id=junior.id)
    snapshot = a_snapshot([junior, senior], [second, first], waits(second, first), Process.COLLABORATIVE)

    planned = plan(snapshot, replace(an_execution(city="Graz"), max_task_budget=Decimal(1)))

    joined = planned[-1]
    assert [(it.name, it.position, len(it.waits_for)) for it in planned] == [
        ("Synthesis", 0, 0),
        ("Synthesis 2", 1, 1),
        ("Synthesis 3", 2, 2),
    ]
    assert joined.waits_for == [it.id for it in planned[:-1]]
    assert (joined.role_id, joined.role_title, joined.task_id) == (senior.id, "senior Graz", None)
    assert (joined.kind, joined.role_reason) == ("synthesis", "The most senior active role.")
    assert (joined.max_budget, joined.max_attempts) == (Decimal(1), 2)


def test_a_collaborative_team_without_tasks_joins_the_contributions_of_its_roles() -> None:
    snapshot = a_snapshot([a_role("Poet"), a_role("Editor")], process=Process.COLLABORATIVE)

    planned = plan(snapshot, an_execution())

    assert [it.name for it in planned] == ["Poet: contribution", "Editor: contribution", "Synthesis"]
    assert [it.role_reason for it in planned[:2]] == ["Written for it: the team has no tasks."] * 2


def test_in_parallel_a_task_waits_for_its_dependencies_alone() -> None:
    first, second, third = a_task("1"), a_task("2"), a_task("3")
    snapshot = a_snapshot([a_role()], [first, second, third], waits(third, first), Process.PARALLEL)

    planned = {it.name: it for it in plan(snapshot, an_execution())}

    assert {name: len(it.waits_for) for name, it in planned.items()} == {"1": 0, "2": 0, "3": 1}
    assert planned["3"].waits_for == [planned["1"].id]


@pytest.mark.parametrize(
    ("is_named", "is_active", "leads"), [(True, True, "named"), (True, False, "senior"), (False, True, "senior")]
)
def test_what_nobody_is_named_for_goes_to_the_manager(is_named: bool, is_active: bool, leads: str) -> None:
    named = a_role("named", skills=["x"], is_active=is_active)
    senior, worker = a_role("senior", expertise=Expertise.EXPERT), a_role("worker", skills=["x"])
    tasks = [a_task("open", required_skills=["x"]), a_task("own", role_id=worker.id)]
    snapshot = a_snapshot([named, worker, senior], tasks, process=Process.HIERARCHICAL)
    snapshot.team.manager_id = named.id if is_named else None

    planned = {it.name: it for it in plan(snapshot, an_execution())}

    assert (planned["open"].role_title, planned["own"].role_title) == (leads, "worker")
    assert planned["open"].role_reason == "The manager: no active role is named for it."


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
