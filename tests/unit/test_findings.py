"""What is found about teams: each finding by a team that has it, and a good team without any."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from domain.model.blueprint import Blueprint, RoleBlueprint, TaskBlueprint, ToolBlueprint, new_tool, snapshot_of
from domain.model.estimate import Basis
from domain.model.estimating import Terms, estimate_with_plan
from domain.model.findings import (
    Facts,
    ToolRules,
    broken_constraints,
    broken_rules,
    findings_of,
    success_of,
    unlisted_models,
    wilson,
)
from domain.model.generation import Constraints
from domain.model.history import SimilarHistory, TeamHistory
from domain.model.identity import DEFAULT_TENANT, ProjectId, TeamId, new_id
from domain.model.model import Unusable
from domain.model.role import DelegatesTo, Expertise
from domain.model.routing import Offer
from domain.model.team import Oversight, Process
from domain.model.tool import Tool, ToolKind
from domain.model.validation import Finding, FindingCode, Severity
from tests.support.routes import MODEL, a_model, an_offer

PROJECT = ProjectId(new_id())
CLEAR = "Write a text about the things that were found, for people who know nothing of them."
SUMS = ToolBlueprint(name="Sums", kind=ToolKind.CALCULATOR)


def a_role(title: str = "Writer", **given: Any) -> RoleBlueprint:
    return RoleBlueprint(title=title, **{"skills": ["writing"], **given})


def a_task(name: str = "Write", **given: Any) -> TaskBlueprint:
    values = {"description": CLEAR, "expected_output": "A text of 300 words.", "guardrail": "It is polite.", **given}
    return TaskBlueprint(name=name, **values)


def a_team(**given: Any) -> Blueprint:
    roles = [a_role(), a_role("Editor", skills=["editing"])]
    tasks = [a_task(role="Writer"), a_task("Edit", role="Editor", depends_on=["Write"])]
    return Blueprint(**{"name": "Team", "roles": roles, "tasks": tasks, **given})


def found_in(
    blueprint: Blueprint,
    constraints: Constraints | None = None,
    offers: Sequence[Offer] = (an_offer(),),
    default_model: str | None = None,
    tools: Mapping[str, Tool] | None = None,
    **facts: Any,
) -> list[Finding]:
    assert broken_rules(blueprint) == []
    made = {tool.name: new_tool(tool, DEFAULT_TENANT, PROJECT) for tool in blueprint.tools}
    snapshot = snapshot_of(blueprint, DEFAULT_TENANT, PROJECT, made)
    estimate, planned = estimate_with_plan(snapshot, Terms(offers, default_model=default_model))
    known = {"skills": ["writing", "editing"], **facts}
    told = Facts(snapshot, planned, estimate, offers, default_model, tools, **known)
    return findings_of(blueprint, told, constraints)


def one(found: Sequence[Finding], code: FindingCode) -> Finding:
    [finding] = [finding for finding in found if finding.code is code]
    return finding


def codes(found: Sequence[Finding]) -> set[tuple[Severity, FindingCode]]:
    return {(finding.severity, finding.code) for finding in found}


E, W, R = Severity.ERROR, Severity.WARNING, Severity.RECOMMENDATION
C = FindingCode


def test_about_a_good_team_there_is_nothing_to_say() -> None:
    assert found_in(a_team()) == []


# ---------------------------------------------------------------- rules of its own


def test_broken_rules_are_told_with_the_part_and_its_path() -> None:
    blueprint = a_team(tasks=[a_task(role="Nobody"), a_task("Edit", description=" ")])

    found = broken_rules(blueprint)

    assert codes(found) == {(E, C.INVALID)}
    assert {(finding.subject, finding.message) for finding in found} == {
        ("Write", "tasks.0.role: No role has this title."),
        ("Edit", "tasks.1.description: A description is required."),
    }


def test_cycles_are_told_as_such_with_their_names() -> None:
    waiting = a_team(tasks=[a_task(depends_on=["Edit"]), a_task("Edit", depends_on=["Write"])])
    ruled = a_team(roles=[a_role(supervisor="Editor"), a_role("Editor", supervisor="Writer")], tasks=[])

    assert codes(broken_rules(waiting)) == {(E, C.DEPENDENCY_CYCLE)}
    assert codes(broken_rules(ruled)) == {(E, C.SUPERVISOR_CYCLE)}
    assert "Write" in broken_rules(waiting)[0].message


def test_too_many_parts_are_no_cycle() -> None:
    found = broken_rules(Blueprint(name="Team", roles=[a_role(f"Role {number}") for number in range(101)]))

    assert (C.INVALID, "roles: At most 100 roles.") in [(finding.code, finding.message) for finding in found]


# ---------------------------------------------------------------- roles


def test_without_roles_nobody_works() -> None:
    assert (E, C.NO_ROLE) in codes(found_in(Blueprint(name="Team")))


def test_inactive_roles_do_not_work() -> None:
    found = found_in(a_team(roles=[a_role(is_active=False), a_role("Editor", is_active=False)]))

    assert (E, C.NO_ACTIVE_ROLE) in codes(found)
    assert (E, C.NO_ROLE) not in codes(found)


def test_a_skill_that_nobody_has_is_an_error_and_named() -> None:
    found = found_in(a_team(tasks=[a_task(required_skills=["Writing", "law"])]))

    finding = one([each for each in found if each.severity is E], C.NO_CAPABLE_ROLE)
    assert finding.message == "No active role has a skill that the task “Write” asks for: “law”."
    assert finding.subject == "Write"


def test_the_skill_of_an_inactive_role_counts_for_nothing() -> None:
    roles = [a_role(), a_role("Lawyer", skills=["law"], is_active=False)]

    found = found_in(a_team(roles=roles, tasks=[a_task(required_skills=["law"])]))

    assert (E, C.NO_CAPABLE_ROLE) in codes(found)


def test_skills_that_no_single_role_has_are_a_warning() -> None:
    found = found_in(a_team(tasks=[a_task(required_skills=["writing", "editing"]), a_task("Edit", role="Editor")]))

    finding = one(found, C.NO_CAPABLE_ROLE)
    assert finding.severity is W
    assert finding.message == "“Writer” would do the task “Write”, but lacks a skill that it asks for: “editing”."


def test_a_task_of_an_inactive_role_is_done_by_another_one_and_that_is_said() -> None:
    roles = [a_role(), a_role("Editor", skills=["editing"], is_active=False)]

    found = found_in(a_team(roles=roles))

    assert one(found, C.NO_CAPABLE_ROLE).message == (
        "The role of the task “Edit”, “Editor”, is not active: “Writer” would do it."
    )


def test_more_tasks_than_the_roles_may_be_given_are_an_error() -> None:
    found = found_in(a_team(roles=[a_role(max_tasks=1)], tasks=[a_task(), a_task("Edit")]))

    assert "Nobody is left for the task" in one(found, C.NO_CAPABLE_ROLE).message


def test_titles_that_differ_by_case_or_number_are_duplicates() -> None:
    found = found_in(a_team(roles=[a_role(), a_role("writer (2)", skills=["editing"])], tasks=[a_task(role="Writer")]))

    assert one(found, C.DUPLICATE_TITLE).subject == "writer (2)"


# ---------------------------------------------------------------- managers


def a_led_team(**given: Any) -> Blueprint:
    return a_team(**{"process": Process.HIERARCHICAL, "manager": "Editor", **given})


def test_a_led_team_with_a_manager_is_fine() -> None:
    assert found_in(a_led_team()) == []


def test_without_a_named_manager_the_most_senior_leads_which_is_no_error() -> None:
    roles = [a_role(), a_role("Editor", expertise=Expertise.EXPERT)]

    finding = one(found_in(a_led_team(manager=None, roles=roles, oversight=Oversight.CLOSE)), C.MISSING_MANAGER)

    assert finding.severity is R
    assert finding.message == (
        "No manager is named: “Editor”, the most senior active role, leads, and reviews each result."
    )


def test_a_manager_who_is_not_active_is_a_warning() -> None:
    roles = [a_role(), a_role("Editor", is_active=False)]

    found = found_in(a_led_team(roles=roles, tasks=[a_task(role="Writer")]))

    assert [finding.message for finding in found if finding.code is C.MISSING_MANAGER] == [
        "Its manager “Editor” is not active: “Writer”, the most senior active role, leads instead.",
        "“Writer” leads nobody: it does all tasks itself.",
    ]


def test_where_nobody_could_lead_the_manager_is_missing() -> None:
    roles = [a_role(is_active=False), a_role("Editor", is_active=False)]

    assert (E, C.MISSING_MANAGER) in codes(found_in(a_led_team(roles=roles)))


# ---------------------------------------------------------------- models


def test_a_model_that_is_unknown_or_cannot_be_used_is_an_error() -> None:
    gone = Offer(a_model("openai/gone"), None, Unusable.NO_KEY, "There is no key for openai.")
    roles = [a_role(model="openai/nonsense"), a_role("Editor", skills=["editing"], model="openai/gone")]

    found = found_in(a_team(roles=roles), offers=[an_offer(), gone])

    assert [(finding.severity, finding.subject, finding.message) for finding in found] == [
        (E, "Writer", "“Writer” names the model “openai/nonsense”, which the catalogue does not have."),
        (
            E,
            "Editor",
            "“Editor” names the model “openai/gone”, which cannot be used: There is no key for openai.",
        ),
    ]


def test_a_model_that_cools_down_will_do() -> None:
    cooling = replace(an_offer(), unusable=Unusable.COOLING_DOWN)

    assert found_in(a_team(roles=[a_role(model=MODEL), a_role("Editor", skills=["editing"])]), offers=[cooling]) == []


def test_a_model_of_which_the_offers_say_nothing_is_a_warning() -> None:
    roles = [a_role(model="openai/mine"), a_role("Editor", skills=["editing"])]

    found = found_in(a_team(roles=roles), unlisted=["openai/mine"])

    assert one(found, C.UNUSABLE_MODEL).severity is W


def test_the_deployments_model_counts_for_roles_that_name_none() -> None:
    found = found_in(a_team(), default_model="openai/nonsense")

    finding = one(found, C.UNUSABLE_MODEL)
    assert (finding.severity, finding.subject) == (E, None)
    assert finding.message.startswith("The deployment names the model")


def test_without_any_usable_model_that_is_said_once() -> None:
    finding = one(found_in(a_team(), offers=[]), C.NO_MODEL)

    assert finding.severity is E
    assert "“Write”, “Edit”" in finding.message


def test_models_that_do_not_ship_are_looked_up_by_name() -> None:
    roles = [
        a_role(model="openai/mine"),
        a_role("Editor", model="openai/gpt-4o-mini"),
        a_role("A", model="gpt-4o-mini"),
    ]

    assert unlisted_models(Blueprint(name="Team", roles=roles)) == ["openai/mine"]


# ---------------------------------------------------------------- tools


def with_tool(tool: ToolBlueprint) -> Blueprint:
    return a_team(roles=[a_role(tools=[tool.name]), a_role("Editor", skills=["editing"])], tools=[tool])


def test_a_harmless_tool_that_the_project_lacks_would_be_made() -> None:
    assert found_in(with_tool(SUMS), tools={}) == []


def test_a_tool_that_only_somebody_can_make_has_to_be_there() -> None:
    server = ToolBlueprint(name="Search", kind=ToolKind.MCP_SERVER, configuration={"url": "https://mcp.example.org"})
    known = {"Search": new_tool(server, DEFAULT_TENANT, PROJECT)}

    assert one(found_in(with_tool(server), tools={}), C.UNUSABLE_TOOL).message == (
        "The project has no tool “Search”, which “Writer” would use."
    )
    assert found_in(with_tool(server), tools=known) == []
    assert found_in(with_tool(server), tools=None) == []


def test_what_the_deployment_lacks_makes_tools_unusable() -> None:
    search = ToolBlueprint(name="Search", kind=ToolKind.WEB_SEARCH)
    made = ToolBlueprint(name="Own", kind=ToolKind.CREWAI_TOOL, configuration={"class_name": "FileReadTool"})

    assert (
        "No search engine"
        in one(found_in(with_tool(search), rules=ToolRules(has_search=False)), C.UNUSABLE_TOOL).message
    )
    assert found_in(with_tool(search), rules=ToolRules()) == []
    assert (E, C.UNUSABLE_TOOL) in codes(found_in(with_tool(made), rules=ToolRules(classes={"OtherTool"})))
    assert found_in(with_tool(made), rules=ToolRules(classes={"FileReadTool"})) == []


def test_the_projects_own_tool_decides_not_the_blueprints() -> None:
    there = new_tool(ToolBlueprint(name="Sums", kind=ToolKind.WEB_SEARCH), DEFAULT_TENANT, PROJECT)

    found = found_in(with_tool(SUMS), tools={"Sums": there}, rules=ToolRules(has_search=False))

    assert (E, C.UNUSABLE_TOOL) in codes(found)


def test_archived_tools_are_an_error_and_unused_ones_a_recommendation() -> None:
    assert one(found_in(a_team(), archived=["Old"]), C.UNUSABLE_TOOL).subject == "Old"
    assert codes(found_in(a_team(tools=[SUMS]))) == {(R, C.UNUSED_TOOL)}


# ---------------------------------------------------------------- constraints and budgets


def test_every_constraint_that_is_broken_is_named() -> None:
    blueprint = a_team(
        roles=[a_role(tools=["Sums"], expertise=Expertise.EXPERT), a_role("Editor", skills=["editing"])], tools=[SUMS]
    )

    found = list(broken_constraints(blueprint, Constraints(max_roles=1, expertise=Expertise.SENIOR, tools=[])))

    assert [(finding.code, finding.message) for finding in found] == [
        (C.TOO_MANY_ROLES, "There are 2 roles, and at most 1 are allowed."),
        (C.EXPERTISE_TOO_HIGH, "“Writer” is EXPERT, and SENIOR is the highest that is allowed."),
        (C.TOOL_NOT_ALLOWED, "“Writer” would use the tool “Sums”, but no tools may be given to roles."),
    ]


def test_without_a_limit_a_team_has_as_many_roles_as_it_likes() -> None:
    blueprint = a_team(roles=[a_role(f"Writer {number}") for number in range(25)], tasks=[])

    assert list(broken_constraints(blueprint, Constraints())) == []


def test_constraints_that_are_kept_are_not_mentioned() -> None:
    blueprint = a_team(roles=[a_role(tools=["Sums"]), a_role("Editor", skills=["editing"])], tools=[SUMS])
    wanted = Constraints(max_roles=2, expertise=Expertise.INTERMEDIATE, tools=["Sums"], budget=Decimal(10))

    assert found_in(blueprint, wanted) == []


def test_a_budget_below_the_estimate_is_a_conflict_and_says_what_is_dear() -> None:
    finding = one(found_in(a_team(), Constraints(budget=Decimal("0.00001"))), C.OVER_BUDGET)

    assert finding.severity is E
    assert "The budget of $0.000010 and 2 tasks with the quality preference BALANCED are in conflict" in finding.message
    assert f"“Edit” ({MODEL}, $0.000" in finding.message


def test_a_budget_within_the_estimate_is_a_warning() -> None:
    found = found_in(a_team(), Constraints(budget=Decimal("0.001")))

    assert codes(found) == {(W, C.BUDGET_BELOW_ESTIMATE)}


def test_own_budgets_below_the_estimate_are_warnings() -> None:
    tasks = [a_task(role="Writer", max_budget=Decimal("0.0001")), a_task("Edit", role="Editor", depends_on=["Write"])]

    found = found_in(a_team(tasks=tasks, monthly_budget=Decimal("0.0001")))

    assert codes(found) == {(W, C.BUDGET_BELOW_ESTIMATE)}
    assert [finding.subject for finding in found] == [None, "Write"]


# ---------------------------------------------------------------- who does what


def test_a_role_without_a_task_has_nothing_to_do() -> None:
    found = found_in(a_team(roles=[a_role(), a_role("Editor", skills=["editing"]), a_role("Extra")]))

    assert [(finding.severity, finding.code, finding.subject) for finding in found] == [
        (W, C.ROLE_WITHOUT_TASK, "Extra")
    ]


def test_whom_the_manager_may_hand_work_to_is_not_idle() -> None:
    roles = [a_role(), a_role("Editor", skills=["editing"]), a_role("Extra")]

    assert found_in(a_led_team(roles=roles)) == []


def test_many_more_roles_than_tasks_are_too_many() -> None:
    roles = [a_role(), *(a_role(f"Role {letter}") for letter in "ABC")]

    assert (R, C.MANY_ROLES) in codes(found_in(a_team(roles=roles, tasks=[a_task(role="Writer")])))


def test_a_team_without_tasks_is_told_what_it_gets() -> None:
    assert codes(found_in(a_team(tasks=[]))) == {(W, C.NO_TASKS)}


def test_delegation_counts_in_led_teams_only() -> None:
    roles = [a_role(is_delegation_allowed=True), a_role("Editor", skills=["editing"])]

    assert "“Writer” may delegate" in one(found_in(a_team(roles=roles)), C.OVER_DELEGATION).message


def test_where_most_may_delegate_too_many_may() -> None:
    free = {"is_delegation_allowed": True, "delegates_to": DelegatesTo.ANYONE}
    roles = [a_role("Editor", skills=["editing"]), *(a_role(title, **free) for title in ("Writer", "A", "B"))]

    few = found_in(a_led_team(roles=[*roles[:2], a_role("A"), a_role("B")]))
    many = found_in(a_led_team(roles=roles))

    assert few == []
    assert one(many, C.OVER_DELEGATION).message.startswith("3 of 3 roles under the manager may delegate")


def test_who_may_delegate_to_nobody_is_told() -> None:
    roles = [a_role(is_delegation_allowed=True), a_role("Editor", skills=["editing"])]

    assert one(found_in(a_led_team(roles=roles)), C.OVER_DELEGATION).subject == "Writer"


# ---------------------------------------------------------------- what could be better


def test_vague_texts_are_recommended_to_be_clearer() -> None:
    tasks = [a_task(role="Writer", description="Do it."), a_task("Edit", role="Editor", depends_on=["Write"])]

    assert codes(found_in(a_team(tasks=tasks))) == {(R, C.VAGUE_TASK)}


def test_a_short_text_in_a_dense_script_is_not_vague() -> None:
    text = "新しい靴の広告文を三つ書いてください"
    tasks = [a_task(role="Writer", description=text, expected_output="三つの広告文")]

    found = found_in(a_team(tasks=[*tasks, a_task("Edit", role="Editor", depends_on=["Write"])]))

    assert found == []


def test_skills_beyond_the_catalogue_are_told_in_one_finding() -> None:
    roles = [a_role(skills=["writing", "juggling"]), a_role("Editor", skills=["Editing", "magic"])]

    assert "“juggling”, “magic”" in one(found_in(a_team(roles=roles)), C.SKILL_NOT_IN_CATALOGUE).message


def test_a_result_that_nothing_checks_is_told() -> None:
    tasks = [a_task(role="Writer"), a_task("Edit", role="Editor", depends_on=["Write"], guardrail=None)]

    found = found_in(a_team(tasks=tasks))
    closely = found_in(a_led_team(tasks=tasks, oversight=Oversight.CLOSE))
    with_schema = found_in(a_team(tasks=[tasks[0], replace(tasks[1], output_schema={"type": "object"})]))

    assert one(found, C.NO_OUTPUT_CHECK).subject == "Edit"
    assert closely == []
    assert with_schema == []


def test_branches_that_do_not_need_each_other_could_run_at_once() -> None:
    branches = [a_task("Images", depends_on=["Write"]), a_task("Titles", depends_on=["Write"])]
    tasks = [a_task(role="Writer"), *branches, a_task("Edit", role="Editor", depends_on=["Images", "Titles"])]

    finding = one(found_in(a_team(tasks=tasks)), C.COULD_RUN_IN_PARALLEL)

    assert finding.severity is R
    assert finding.message == "“Images”, “Titles” do not need each other, and could be worked on at once."
    assert found_in(a_team(tasks=tasks, process=Process.PARALLEL)) == []


def test_errors_stand_before_warnings_and_these_before_recommendations() -> None:
    found = found_in(
        a_team(
            roles=[a_role(model="openai/nonsense"), a_role("Editor", skills=["editing"]), a_role("Extra")],
            tools=[SUMS],
        )
    )

    assert [finding.severity for finding in found] == [E, W, R]


# ---------------------------------------------------------------- success


def test_the_own_history_says_most_about_success() -> None:
    own = TeamHistory(TeamId(new_id()), completed=9, failed=1)

    found = success_of([], a_team(), own, SimilarHistory(3, 1, 99))

    assert (found.basis, found.executions) == (Basis.HISTORY, 10)
    assert found.probability == wilson(9, 10)
    assert found.reason.startswith("9 of this team's last 10 executions completed")


def test_similar_teams_stand_in_for_too_little_history() -> None:
    own = TeamHistory(TeamId(new_id()), completed=4)

    found = success_of([], a_team(), own, SimilarHistory(3, 20, 5))

    assert (found.basis, found.executions, found.probability) == (Basis.SIMILAR_TEAMS, 25, wilson(20, 25))


def test_without_any_history_it_is_a_heuristic_and_said_to_be_one() -> None:
    warning = Finding(W, C.NO_TASKS, "")
    plain = a_team(tasks=[a_task(guardrail=None)])

    good = success_of([], plain, None, SimilarHistory(1, 1, 0))
    worse = success_of([warning, warning], plain, None, None)

    assert (good.basis, good.executions) == (Basis.HEURISTIC, 0)
    assert good.reason.startswith("A heuristic, nothing measured")
    assert (good.probability.low, good.probability.high) == (0.6, 0.95)
    assert (worse.probability.low, worse.probability.high) == (0.5, 0.85)


@pytest.mark.parametrize(
    ("completed", "finished", "low", "high"),
    [(5, 5, 0.566, 1.0), (0, 5, 0.0, 0.434), (9, 10, 0.596, 0.982), (50, 100, 0.404, 0.596)],
)
def test_wilsons_interval_is_that_of_the_books(completed: int, finished: int, low: float, high: float) -> None:
    found = wilson(completed, finished)

    assert (found.low, found.high) == (low, high)
