"""Scores with their reasons: a skill against a text, a role against a task."""

from typing import Any

import pytest

from domain.model.blueprint import RoleBlueprint, TaskBlueprint
from domain.model.matching_scores import (
    PAST_SHARE,
    by_skill,
    needs_of,
    score_role,
    score_skill,
    skills_asked_for,
    wanted_expertise,
)
from domain.model.role import Expertise
from domain.model.skill import Match, Skill, SkillOutcome
from domain.model.tool import ToolKind
from domain.model.wording import wording_of

PRICING = Skill(
    "pricing",
    "",
    ["Pricing analyst"],
    tool_kinds=[ToolKind.CALCULATOR],
    task_kinds=["pricing"],
    keywords=["price", "margin", "discount"],
    domains=["e-commerce"],
)
WRITING = Skill("writing", "", ["Writer"], task_kinds=["text"], keywords=["article", "text"])
KNOWN = [PRICING, WRITING]


def a_role(title: str = "Pricing analyst", **given: Any) -> RoleBlueprint:
    return RoleBlueprint(title=title, **{"skills": ["pricing"], **given})


def a_task(**given: Any) -> TaskBlueprint:
    values = {"description": "Set the price of each product.", "expected_output": "A list of prices.", **given}
    return TaskBlueprint(**{"name": "Prices", "kind": "pricing", "required_skills": ["Pricing"], **values})


def points(match: Match, start: str) -> float:
    [found] = [reason.points for reason in match.reasons if reason.text.startswith(start)]
    return found


def test_the_parts_of_a_skills_score_add_up_to_it() -> None:
    match = score_skill(PRICING, "Pricing for e-commerce: check price, margin and discount. Ask the pricing analyst.")

    assert [reason.of for reason in match.reasons] == [0.4, 0.2, 0.1, 0.15, 0.15]
    assert [reason.points for reason in match.reasons] == [0.4, 0.2, 0.1, 0.15, 0.075]
    assert match.score == pytest.approx(0.925)


def test_words_are_found_whole_whatever_their_case_and_number() -> None:
    wording = wording_of("PRICES, and the unmargined discounts of Pricing Analysts")

    assert wording.says("price")
    assert wording.says("discount")
    assert wording.says("pricing analyst")
    assert not wording.says("margin")
    assert not wording.says("analyst pricing")
    assert not wording.says("")


def test_only_skills_of_which_a_text_says_anything_are_asked_for() -> None:
    found = skills_asked_for(wording_of("An article about discounts."), KNOWN)

    assert {match.skill.name for match in found} == {"pricing", "writing"}
    assert skills_asked_for(wording_of("Nothing of it."), KNOWN) == []


def test_the_domain_that_is_given_counts_before_what_the_text_says() -> None:
    text = "The price, for e-commerce."

    assert points(score_skill(PRICING, text), "It is at home in") == 0.15
    assert points(score_skill(PRICING, text, domain="E-Commerce"), "It is at home in") == 0.15
    assert points(score_skill(PRICING, text, domain="crm"), "It is at home in") == 0


def test_the_role_that_is_made_for_a_task_gets_almost_everything() -> None:
    match = score_role(a_role(), needs_of(a_task(), KNOWN), tool_kinds=[ToolKind.CALCULATOR])

    assert [reason.text for reason in match.reasons] == [
        "It has “Pricing”: 1 of 1 asked for.",
        "“Pricing analyst” is who does such work.",
        "Tasks of the kind “pricing” go with “pricing”.",
        "It has a tool for it: CALCULATOR.",
        "INTERMEDIATE is enough for it.",
        "No accepted team with it has run yet.",
    ]
    assert sum(reason.of for reason in match.reasons) == pytest.approx(1)
    assert match.score == pytest.approx(0.925)


def test_who_has_nothing_to_do_with_a_task_gets_little() -> None:
    fits = score_role(a_role(), needs_of(a_task(), KNOWN))

    match = score_role(a_role("Gardener", skills=["pruning"]), needs_of(a_task(), KNOWN))

    assert points(match, "It has no skill asked for: “Pricing”") == 0
    assert points(match, "The title says nothing") == 0
    assert points(match, "None of its skills goes with") == 0
    assert points(match, "It has no tool for it; CALCULATOR") == 0
    assert match.score < fits.score / 3


def test_half_of_the_skills_is_half_of_the_points() -> None:
    match = score_role(a_role(), needs_of(a_task(required_skills=["pricing", "law"]), KNOWN))

    assert points(match, "It has “pricing”: 1 of 2 asked for.") == 0.2


def test_a_task_that_asks_for_no_skill_is_read() -> None:
    task = a_task(required_skills=[], kind="")

    match = score_role(a_role(), needs_of(task, KNOWN))

    assert points(match, "It has “pricing”: 1 of 1 that its text speaks for.") == 0.4
    assert points(match, "The task is of no kind.") == 0.05


def test_without_a_catalogue_what_is_unknown_is_held_against_nobody() -> None:
    match = score_role(a_role(), needs_of(a_task(required_skills=[])))

    assert points(match, "The task asks for no skill") == 0.2


@pytest.mark.parametrize(
    ("expertise", "given"),
    [(Expertise.JUNIOR, 0.0), (Expertise.INTERMEDIATE, 0.05), (Expertise.SENIOR, 0.1), (Expertise.EXPERT, 0.1)],
)
def test_hard_tasks_want_experience(expertise: Expertise, given: float) -> None:
    task = a_task(description="Plan it. " + "word " * 201, expected_output="word " * 51)

    match = score_role(a_role(expertise=expertise), needs_of(task, KNOWN))

    assert wanted_expertise(task) is Expertise.SENIOR
    assert points(match, "SENIOR is enough" if expertise is Expertise.SENIOR else _said(expertise)) == given


def _said(expertise: Expertise) -> str:
    return "EXPERT is enough" if expertise is Expertise.EXPERT else f"It is {expertise.value}; SENIOR would do."


def test_the_past_of_needed_skills_counts_and_that_of_others_does_not() -> None:
    outcomes = by_skill([SkillOutcome("PRICING", 2, 8, 0), SkillOutcome("writing", 2, 0, 8)])

    match = score_role(a_role(skills=["pricing", "writing"]), needs_of(a_task(), KNOWN), outcomes)

    assert points(match, "Of 8 executions of accepted teams with it, 8 completed.") == pytest.approx(0.15 * 0.9)


@pytest.mark.parametrize(
    ("rating", "runs", "share", "said"),
    [
        (None, (0, 0), 0.5, "No accepted team with it has run yet."),
        (5.0, (0, 0), 4 / 5, "No accepted team with it has run yet. People gave them 5.0 of 5."),
        (1.0, (0, 0), 1 / 5, "No accepted team with it has run yet. People gave them 1.0 of 5."),
        (5.0, (6, 2), 10 / 13, "Of 8 executions of accepted teams with it, 6 completed. People gave them 5.0 of 5."),
        (1.0, (6, 2), 7 / 13, "Of 8 executions of accepted teams with it, 6 completed. People gave them 1.0 of 5."),
    ],
)
def test_what_people_say_of_accepted_teams_counts(
    rating: float | None, runs: tuple[int, int], share: float, said: str
) -> None:
    outcomes = by_skill([SkillOutcome("pricing", 1, *runs, mean_rating=rating)])

    match = score_skill(PRICING, "Prices.", outcomes)

    assert points(match, said) == pytest.approx(PAST_SHARE * share, abs=0.001)
