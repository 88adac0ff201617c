"""Objectives, analysed by rules: what is recognised, why, and that nothing makes it slow."""

from collections.abc import Sequence

import pytest

from domain.model.analysing import MOST_SKILLS, MOST_TEMPLATES, analyse
from domain.model.analysis import ObjectiveAnalysis
from domain.model.blueprint import Blueprint, RoleBlueprint
from domain.model.documents import of_document, to_document
from domain.model.generation import MAX_OBJECTIVE, Constraints
from domain.model.identity import DEFAULT_TENANT
from domain.model.library import ShippedTemplate
from domain.model.matching_scores import by_skill
from domain.model.routing import Complexity
from domain.model.skill import Skill, SkillOutcome
from domain.model.skills_catalogue import skills
from domain.model.team import Process
from domain.model.template import Template, TemplateContent, TemplateKind

COPYWRITING = Skill("copywriting", "", ["Copywriter"], keywords=["slogan", "newsletter"], domains=["marketing"])
SCORING = Skill("lead scoring", "", ["Sales analyst"], keywords=["lead", "score"], domains=["crm"])
TESTING = Skill("testing", "", ["Tester"], keywords=["regression", "bug"], domains=["software"])
KNOWN = (COPYWRITING, SCORING, TESTING)


def a_template(name: str, domain: str, *given: str, kind: TemplateKind = TemplateKind.TEAM) -> ShippedTemplate:
    roles = [RoleBlueprint(title="Worker", skills=list(given))]
    return ShippedTemplate(
        Template(DEFAULT_TENANT, name, kind=kind, domain=domain, version=0),
        TemplateContent(blueprint=Blueprint(name=name, roles=roles)),
    )


def analysed(
    objective: str,
    constraints: Constraints | None = None,
    templates: Sequence[ShippedTemplate] = (),
    outcomes: Sequence[SkillOutcome] = (),
) -> ObjectiveAnalysis:
    return analyse(objective, constraints or Constraints(), KNOWN, templates, by_skill(outcomes))


def test_an_objective_of_one_thing_is_simple_and_takes_few_roles() -> None:
    found = analysed("Write a newsletter.")

    assert (found.complexity, found.domain, found.process) == (Complexity.SIMPLE, "marketing", Process.SEQUENTIAL)
    assert [match.skill.name for match in found.skills] == ["copywriting"]
    assert (found.roles.low, found.roles.high) == (1, 3)


def test_each_factor_of_complexity_is_said_in_words() -> None:
    long = "Plan the work. " + "word " * 201

    found = analysed(f"{long}\n- a newsletter\n- a slogan\n- a lead score\n- a bug list")

    assert found.complexity is Complexity.COMPLEX
    assert found.factors == [
        "The objective has more than 200 words.",
        "It says “plan”.",
        "It lists 4 things.",
        "It touches 2 domains: “crm”, “marketing”.",
        "PARALLEL: the 4 things that it lists can be worked on at once.",
    ]


@pytest.mark.parametrize(
    ("objective", "complexity"),
    [
        ("Do it.", Complexity.SIMPLE),
        ("Plan it.", Complexity.SIMPLE),
        ("Plan a report, a survey and a forecast.", Complexity.MEDIUM),
        ("Plan a report, a survey and a forecast. " + "word " * 200, Complexity.COMPLEX),
    ],
)
def test_complexity_counts_factors_as_routing_does(objective: str, complexity: Complexity) -> None:
    assert analysed(objective).complexity is complexity


@pytest.mark.parametrize(
    ("objective", "process"),
    [
        ("Discuss our new logo from several perspectives.", Process.COLLABORATIVE),
        ("Coordinate the writers of the newsletter.", Process.HIERARCHICAL),
        ("1. a newsletter\n2. a slogan\n3. a lead score", Process.PARALLEL),
        ("Write a newsletter.", Process.SEQUENTIAL),
    ],
)
def test_the_process_follows_from_the_objective_and_its_reason_is_a_factor(objective: str, process: Process) -> None:
    found = analysed(objective)

    assert found.process is process
    assert found.factors[-1].startswith(f"{process.value}: ")


def test_constraints_bound_the_roles_and_decide_the_domain() -> None:
    found = analysed("Plan a newsletter, a slogan, a report and a survey.", Constraints(max_roles=1, domain="CRM"))

    assert (found.roles.low, found.roles.high) == (1, 1)
    assert found.domain == "crm"
    assert found.process is Process.SEQUENTIAL


def test_skills_stand_best_first_with_reasons_that_add_up() -> None:
    found = analysed("Lead scoring: score every lead, then write a slogan.")

    assert [match.skill.name for match in found.skills] == ["lead scoring", "copywriting"]
    for each in found.skills:
        assert each.match.score == pytest.approx(sum(reason.points for reason in each.match.reasons))
        assert sum(reason.of for reason in each.match.reasons) == pytest.approx(1)


def test_what_became_of_accepted_teams_moves_a_skill() -> None:
    objective = "A slogan and a bug."
    before = [match.skill.name for match in analysed(objective).skills]

    after = analysed(objective, outcomes=[SkillOutcome("Testing", 3, 20, 0), SkillOutcome("copywriting", 3, 0, 20)])

    assert before == ["copywriting", "testing"]
    assert [match.skill.name for match in after.skills] == ["testing", "copywriting"]


def test_near_templates_are_named_with_reasons_and_others_are_not() -> None:
    near = a_template("Newsletter campaign", "marketing", "copywriting")
    far = a_template("Release train", "software", "testing")
    task = a_template("Newsletter", "marketing", "copywriting", kind=TemplateKind.TASK)

    found = analysed("Write a newsletter.", templates=[far, task, near])

    assert [(match.template_id, match.name) for match in found.templates] == [(near.template.id, "Newsletter campaign")]
    reasons = found.templates[0].match.reasons
    assert found.templates[0].match.score == pytest.approx(sum(reason.points for reason in reasons), abs=1e-3)
    assert "It is at home in marketing, too." in [reason.text for reason in reasons]
    assert "Its roles have “copywriting”." in [reason.text for reason in reasons]


def test_lists_are_bounded() -> None:
    many = [Skill(f"skill {number}", "", ["Worker"], keywords=["thing"]) for number in range(50)]
    templates = [a_template(f"Thing {number}", "", "skill 1") for number in range(20)]

    found = analyse("One thing.", Constraints(), many, templates)

    assert len(found.skills) == MOST_SKILLS
    assert len(found.templates) == MOST_TEMPLATES


@pytest.mark.parametrize(
    "objective",
    [
        "新しい靴のキャンペーンを計画する",
        "Напиши рассылку",
        "اكتب نشرة",
        "🎉" * 50,
        "\ud800",
        "{x} {{y}} %s",
        "ﬁ ß İ",
        " ",
    ],
)
def test_any_script_is_analysed(objective: str) -> None:
    found = analysed(objective)

    assert found.complexity is Complexity.SIMPLE
    assert of_document(ObjectiveAnalysis, to_document(ObjectiveAnalysis, found)) is not None


def test_a_keyword_without_latin_letters_is_found_inside_a_run_of_characters() -> None:
    skill = Skill("広告", "", ["担当者"], keywords=["キャンペーン"], domains=["marketing"])

    found = analyse("新しい靴のキャンペーンを計画する", Constraints(), [skill], ())

    assert [match.skill.name for match in found.skills] == ["広告"]


def test_the_same_objective_is_analysed_the_same() -> None:
    assert analysed("Plan a newsletter for every lead.") == analysed("Plan a newsletter for every lead.")


@pytest.mark.parametrize("piece", ["Plan the campaign and analyse data! ", "\n", "- a\n", "漢", " ", "a ", "1. "])
def test_the_longest_objective_is_analysed(piece: str) -> None:
    objective = (piece * MAX_OBJECTIVE)[:MAX_OBJECTIVE]

    found = analyse(objective, Constraints(), skills(), ())

    assert found.roles.low >= 1


def test_what_is_longer_than_an_objective_is_not_looked_at() -> None:
    found = analysed("word " * (MAX_OBJECTIVE // 5) + "newsletter")

    assert found.skills == []
