"""The skill catalogue that ships."""

import re
from collections import Counter
from dataclasses import FrozenInstanceError

import pytest

from domain.model.library import shipped_templates
from domain.model.skill import Skill
from domain.model.skills_catalogue import skills
from domain.model.template import TemplateKind

EACH = pytest.mark.parametrize("skill", skills(), ids=lambda skill: skill.name)


def test_there_are_enough_for_the_library_by_name_and_each_once() -> None:
    names = [skill.name.casefold() for skill in skills()]

    assert 60 <= len(names) <= 100
    assert names == sorted(set(names))


@EACH
def test_a_skill_says_what_it_goes_with(skill: Skill) -> None:
    assert skill.description.endswith(".")
    assert 1 <= len(skill.role_titles) <= 6
    assert skill.task_kinds
    assert 3 <= len(skill.keywords) <= 12
    for entries in (skill.role_titles, skill.tool_kinds, skill.task_kinds, skill.keywords, skill.domains):
        assert len(set(entries)) == len(entries)


@EACH
def test_kinds_keywords_and_domains_are_words_in_lower_case(skill: Skill) -> None:
    for word in (*skill.task_kinds, *skill.keywords, *skill.domains):
        assert re.fullmatch(r"[a-z]+(-[a-z]+)?", word), word


@EACH
def test_nothing_of_a_skill_can_be_changed(skill: Skill) -> None:
    with pytest.raises(FrozenInstanceError):
        skill.name = "x"  # type: ignore[misc]

    hash(skill)


def test_every_domain_of_the_library_has_skills_of_its_own() -> None:
    counts = Counter(domain for skill in skills() for domain in skill.domains)

    for shipped in shipped_templates():
        assert counts[shipped.template.domain] >= 3, shipped.template.domain


def test_roles_of_the_library_have_titles_that_their_skills_know() -> None:
    teams = [each.content.blueprint for each in shipped_templates() if each.template.kind is TemplateKind.TEAM]
    titles = {title.casefold() for skill in skills() for title in skill.role_titles}
    roles = {role.title for team in teams for role in team.roles}

    known = {title for title in roles if title.casefold() in titles}

    assert len(known) >= 0.8 * len(roles), sorted(roles - known)
