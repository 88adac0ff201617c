from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from domain.errors import InvalidTransition
from domain.model.blueprint import (
    Blueprint,
    RoleBlueprint,
    TaskBlueprint,
    ToolBlueprint,
    as_document,
    blueprint_of,
    snapshot_of,
)
from domain.model.difference import DifferenceKind, Part
from domain.model.generation import (
    GENERATION_TRANSITIONS,
    MAX_OBJECTIVE,
    WORKING,
    Constraints,
    Generation,
    GenerationMetrics,
    GenerationStatus,
    check_objective,
    shortened,
)
from domain.model.identity import DEFAULT_TENANT, ProjectId, TeamId, new_id
from domain.model.model import Model, Tier, Unusable
from domain.model.possible import (
    known_domain,
    refuse_small_budget,
    refuse_unknown_domain,
    refuse_unknown_tools,
    refuse_unpaid_composing,
)
from domain.model.prices import FREE, Prices
from domain.model.proposed_change import differences_of, kept
from domain.model.routing import Deployment, Offer, QualityPreference
from domain.model.rules import Rules
from domain.model.team import Team
from domain.model.tool import Tool, ToolKind
from domain.services.generation_decisions import Acceptance, _place
from domain.services.generations import Terms, known_domains

PROJECT = ProjectId(new_id())


def a_generation(**values: Any) -> Generation:
    return Generation(DEFAULT_TENANT, PROJECT, "Sell more tea.", {}, **values)


def problems_of(rules: Rules) -> list[tuple[tuple[str, ...], str]]:
    return [(problem.path, problem.message) for problem in rules.problems]


# ---------------------------------------------------------------- the machine


@pytest.mark.parametrize("current", list(GenerationStatus))
def test_a_generation_goes_only_where_the_machine_leads(current: GenerationStatus) -> None:
    for wanted in GenerationStatus:
        generation = a_generation(status=current)
        if wanted in GENERATION_TRANSITIONS[current]:
            generation.become(wanted)
            assert generation.status is wanted
        else:
            with pytest.raises(InvalidTransition) as refusal:
                generation.become(wanted)
            assert (refusal.value.current, refusal.value.wanted) == (current.value, wanted.value)
            assert str(refusal.value) == f"A generation that is {current.value} cannot become {wanted.value}."
            assert generation.status is current


def test_who_can_still_be_cancelled_is_who_is_worked_on() -> None:
    can_cancel = {status for status in GenerationStatus if a_generation(status=status).can_cancel}

    assert can_cancel == WORKING
    assert {
        status for status, moves in GENERATION_TRANSITIONS.items() if GenerationStatus.CANCELLED in moves
    } == WORKING
    assert all(a_generation(status=status).is_over is (status not in WORKING) for status in GenerationStatus)


def test_the_times_of_a_generation_are_told_as_far_as_they_are_known() -> None:
    asked = datetime(2026, 1, 1, tzinfo=UTC)
    waiting = a_generation(created_at=asked).timing
    done = a_generation(
        created_at=asked, started_at=asked + timedelta(seconds=2), finished_at=asked + timedelta(seconds=9)
    ).timing

    assert (waiting.queue_wait_seconds, waiting.duration_seconds) == (None, None)
    assert (done.queue_wait_seconds, done.duration_seconds) == (2.0, 7.0)


@pytest.mark.parametrize(
    ("objective", "shown"),
    [
        ("Sell  more\n\ttea.", "Sell more tea."),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 199 + "…"),
        (" \n", ""),
    ],
)
def test_an_objective_is_shown_by_how_it_begins(objective: str, shown: str) -> None:
    assert shortened(objective) == shown


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("", "An objective is required."),
        (" \n\t", "An objective is required."),
        ("x" * (MAX_OBJECTIVE + 1), "At most 20,000 characters."),
        ("a\x00b", "The character U+0000 is not allowed."),
    ],
)
def test_what_is_no_objective_is_refused(objective: str, message: str) -> None:
    rules = Rules()
    check_objective(rules, objective, "objectives", "3")

    assert problems_of(rules) == [(("objectives", "3"), message)]


def test_the_longest_objective_in_any_script_is_fine() -> None:
    rules = Rules()
    check_objective(rules, "茶" * MAX_OBJECTIVE, "objective")

    assert rules.problems == []


# ---------------------------------------------------------------- what is impossible


def an_offer(name: str, tier: Tier, price: str | None, order: int = 1, **values: Any) -> Offer:
    """A model at so many dollars per million tokens, read or written; free for None."""
    per_token = Decimal(price or 0)
    prices = FREE if price is None else Prices.per_million(per_token, per_token)
    model = Model(DEFAULT_TENANT, name, tier, routing_order=order)
    return Offer(model, Deployment("key", prices), **values)


CHEAP = an_offer("openai/cheap", Tier.STANDARD, "1")
DEAR = an_offer("openai/dear", Tier.PREMIUM, "100")
LOCAL = an_offer("ollama/free", Tier.LOCAL, None)
_IN_CONFLICT = "The budget and the quality preference are in conflict"
_BOTH = "The generation's own budget and the fallback OFF are in conflict"
LEAST_OF_CHEAP, LEAST_OF_DEAR = "0.00011", "0.011"
"""A hundred tokens read, and ten written."""

LEAST_KEPT = "0.015"
"""A thousand tokens read, and a team of twenty roles written, by the cheap one."""


def refused_budget(
    budget: str | None,
    offers: Sequence[Offer],
    *,
    preference: Any = QualityPreference.BALANCED,
    default: str | None = None,
) -> list[tuple[tuple[str, ...], str]]:
    rules = Rules()
    amount = None if budget is None else Decimal(budget)
    refuse_small_budget(
        rules, Constraints(budget=amount, quality_preference=preference), offers, default, "constraints"
    )
    return problems_of(rules)


def test_a_budget_of_nothing_is_refused_where_every_model_costs_something() -> None:
    assert refused_budget("0", [CHEAP, DEAR]) == [
        (
            ("constraints", "budget"),
            f"{_IN_CONFLICT}: BALANCED leads to openai/cheap, of which even a single call costs about $0.00011.",
        )
    ]
    assert refused_budget("0", [CHEAP, LOCAL]) == []
    assert refused_budget(None, [CHEAP]) == []


def test_a_budget_has_to_pay_one_call_of_what_the_preference_leads_to() -> None:
    assert refused_budget(LEAST_OF_CHEAP, [CHEAP, DEAR]) == []
    assert refused_budget("0.00010999", [CHEAP, DEAR]) != []
    [(path, message)] = refused_budget("0.01", [DEAR])
    assert path == ("constraints", "budget")
    assert "openai/dear" in message
    assert refused_budget(LEAST_OF_DEAR, [DEAR]) == []


def test_premium_work_is_not_measured_by_a_local_model() -> None:
    premium = QualityPreference.PREMIUM

    assert refused_budget("0.00001", [LOCAL, CHEAP, DEAR], preference=premium) != []
    assert refused_budget("0.00001", [LOCAL, CHEAP, DEAR], preference=QualityPreference.COST_OPTIMIZED) == []


def test_a_deployment_that_pins_its_model_is_measured_by_that() -> None:
    assert refused_budget("0.001", [LOCAL, CHEAP, DEAR], default="openai/dear") != []
    assert refused_budget("0.001", [LOCAL, CHEAP, DEAR], default="openai/cheap") == []


def test_nothing_is_said_of_a_budget_while_no_model_can_be_used() -> None:
    gone = replace(CHEAP, deployment=None, unusable=Unusable.NO_KEY)

    assert refused_budget("0", []) == []
    assert refused_budget("0", [gone]) == []
    assert refused_budget("0", [CHEAP], default="openai/unheard-of") == []


def test_rules_that_may_not_compose_leave_it_to_what_can_be_paid() -> None:
    def refused(max_budget: str | None, *offers: Offer) -> list[tuple[tuple[str, ...], str]]:
        rules = Rules()
        amount = None if max_budget is None else Decimal(max_budget)
        refuse_unpaid_composing(rules, amount, Constraints(), offers, None)
        return problems_of(rules)

    assert refused("0", CHEAP, DEAR) == [
        (
            ("maxBudget",),
            f"{_BOTH}: for a call at least ${LEAST_KEPT} has to be kept back.",
        )
    ]
    assert refused(LEAST_KEPT, CHEAP, DEAR) == refused("0", LOCAL, DEAR) == refused(None, DEAR) == []


def test_every_tool_that_the_project_lacks_is_named() -> None:
    rules = Rules()
    refuse_unknown_tools(rules, Constraints(tools=["Sums", "Telepathy", "Search", "Magic"]), {"Sums", "Search"}, "c")

    assert problems_of(rules) == [
        (("c", "tools", "1"), "The project has no tool “Telepathy”."),
        (("c", "tools", "3"), "The project has no tool “Magic”."),
    ]


def test_a_domain_is_known_however_it_is_written_and_the_known_ones_are_named() -> None:
    rules = Rules()
    refuse_unknown_domain(rules, Constraints(domain=" Marketing "), {"marketing", "crm"}, "constraints")
    assert rules.problems == []
    refuse_unknown_domain(rules, Constraints(domain="alchemy"), {"marketing", "crm"}, "constraints")

    assert known_domain(" Marketing ", {"marketing"}) == "marketing"
    assert problems_of(rules) == [
        (("constraints", "domain"), "Nothing is known of this domain; known ones: crm, marketing.")
    ]


def test_the_domains_of_what_ships_are_known() -> None:
    assert {"marketing", "crm"} <= set(known_domains())


def test_all_that_is_wrong_with_the_terms_is_told_at_once() -> None:
    rules = Rules()
    constraints = Constraints(budget=Decimal(-1), max_roles=21, tools=[""], domain="")

    Terms(constraints=constraints, max_budget=Decimal("0.0000000000001"), timeout_seconds=301).check(rules)

    assert [problem.path for problem in rules.problems] == [
        ("maxBudget",),
        ("timeoutSeconds",),
        ("constraints", "budget"),
        ("constraints", "maxRoles"),
        ("constraints", "tools", "0"),
        ("constraints", "domain"),
    ]


def test_amounts_that_are_written_differently_ask_for_the_same() -> None:
    def asked(budget: str, max_budget: str) -> Any:
        return Terms(constraints=Constraints(budget=Decimal(budget)), max_budget=Decimal(max_budget)).asked

    assert asked("1", "2") == asked("1.00", "2.0")
    assert asked("1", "2") != asked("1.01", "2")


# ---------------------------------------------------------------- what would change


def a_blueprint(**values: Any) -> Blueprint:
    given: dict[str, Any] = {
        "roles": [RoleBlueprint(title="Writer"), RoleBlueprint(title="Editor")],
        "tasks": [
            TaskBlueprint(name="Draft", description="Write.", expected_output="A text."),
            TaskBlueprint(name="Check", description="Check.", expected_output="A list."),
            TaskBlueprint(
                name="Edit", description="Improve.", expected_output="A text.", depends_on=["Draft", "Check"]
            ),
        ],
    }
    return Blueprint(name="Press", **{**given, **values})


def told(before: Blueprint, after: Blueprint) -> list[tuple[DifferenceKind, Part, str, str | None]]:
    base = snapshot_of(before, DEFAULT_TENANT, PROJECT, {})
    generation = a_generation(team_id=TeamId(new_id()), base_hash="hash", proposal=as_document(after))
    assert generation.change
    return [(it.kind, it.part, it.name, it.field) for it in differences_of(generation.change, base)]


def test_a_proposal_that_is_the_team_itself_changes_nothing() -> None:
    same = a_blueprint(monthly_budget=Decimal(5))
    turned = replace(
        same, monthly_budget=None, tasks=[*same.tasks[:2], replace(same.tasks[2], depends_on=["Check", "Draft"])]
    )

    assert told(same, same) == told(same, turned) == []


def test_what_would_change_is_told_part_by_part() -> None:
    before = a_blueprint()
    after = replace(
        before,
        description="Better.",
        roles=[replace(before.roles[0], backstory="A poet."), RoleBlueprint(title="Critic")],
        tasks=before.tasks[:1],
    )

    assert told(before, after) == [
        (DifferenceKind.CHANGED, Part.TEAM, "Press", "description"),
        (DifferenceKind.REMOVED, Part.ROLE, "Editor", None),
        (DifferenceKind.CHANGED, Part.ROLE, "Writer", "backstory"),
        (DifferenceKind.ADDED, Part.ROLE, "Critic", None),
        (DifferenceKind.REMOVED, Part.TASK, "Check", None),
        (DifferenceKind.REMOVED, Part.TASK, "Edit", None),
    ]


def test_a_new_team_and_one_without_a_proposal_have_no_change() -> None:
    assert a_generation(proposal={"name": "Press"}).change is None
    assert a_generation(team_id=TeamId(new_id()), base_hash="hash").change is None


def test_a_team_keeps_its_monthly_budget_unless_somebody_edits_it() -> None:
    team = Team(DEFAULT_TENANT, PROJECT, "Press", monthly_budget=Decimal(7))
    wanted = a_blueprint(monthly_budget=Decimal(1))

    assert kept(wanted, team, {}).monthly_budget == Decimal(7)
    assert kept(wanted, team, {"monthly_budget": Decimal(1)}).monthly_budget == Decimal(1)
    assert kept(blueprint_of(snapshot_of(wanted, DEFAULT_TENANT, PROJECT, {})), team, {"name": "x"}).name == "Press"


# ---------------------------------------------------------------- figures


def test_rates_are_shares_and_none_where_nothing_can_be_said() -> None:
    figures = GenerationMetrics(
        "openai/gpt-4o",
        count=20,
        composed=10,
        failed=2,
        answered=8,
        valid_first_answers=6,
        repairs=2,
        fallbacks=3,
        accepted=4,
        rejected=1,
        mean_amount=Decimal("0.5"),
    )
    nothing = GenerationMetrics(None)

    assert (figures.valid_first_rate, figures.repair_rate, figures.fallback_rate) == (0.75, 0.25, 0.3)
    assert (figures.acceptance_rate, figures.failure_rate) == (0.8, 2 / 12)
    assert figures.mean_cost
    assert figures.mean_cost.amount == Decimal("0.5")
    assert [
        nothing.valid_first_rate,
        nothing.repair_rate,
        nothing.fallback_rate,
        nothing.acceptance_rate,
        nothing.failure_rate,
        nothing.mean_cost,
    ] == [None] * 6


@pytest.mark.parametrize("path", [(), ("tasks", "dependsOn"), ("roles", "x", "title"), ("roles",), ("tools", "0")])
def test_what_is_wrong_with_no_edit_is_told_at_the_generation(path: tuple[str, ...]) -> None:
    assert _place(path, Blueprint(name="Team"), Acceptance(new_id())) == ("generationId",)


def test_of_tools_those_are_told_that_a_role_begins_to_use_and_known_ones_stay_as_they_are() -> None:
    sums = ToolBlueprint(name="Sums", kind=ToolKind.CALCULATOR)
    before = a_blueprint(tools=[sums], roles=[RoleBlueprint(title="Writer", tools=["Sums"])], tasks=[])
    tool = Tool(DEFAULT_TENANT, PROJECT, "Sums", ToolKind.CALCULATOR)
    base = snapshot_of(before, DEFAULT_TENANT, PROJECT, {"Sums": tool})
    files, web = (ToolBlueprint(name=name, kind=ToolKind.FILE_READER) for name in ("Files", "Unused"))
    after = replace(
        before,
        tools=[files, replace(sums, kind=ToolKind.FILE_WRITER), web],
        roles=[RoleBlueprint(title="Writer", tools=["Sums", "Files"])],
    )
    generation = a_generation(team_id=TeamId(new_id()), base_hash="hash", proposal=as_document(after))
    assert generation.change

    found = [(it.kind, it.part, it.name, it.field) for it in differences_of(generation.change, base)]

    assert found == [
        (DifferenceKind.CHANGED, Part.ROLE, "Writer", "tools"),
        (DifferenceKind.ADDED, Part.TOOL, "Files", None),
    ]
