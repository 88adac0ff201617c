"""What rules make of an objective: its complexity, domain, skills, roles and process, and the templates near to it.

Deterministic, and bounded by the length of the objective; whatever the language, only less is recognised in some.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from domain.model.analysis import ObjectiveAnalysis, TemplateMatch
from domain.model.generation import MAX_OBJECTIVE, Constraints
from domain.model.matching_scores import NO_OUTCOMES, Outcomes, skills_asked_for
from domain.model.possible import known_domain
from domain.model.routing import (
    COMPLEX_FACTORS,
    KEYWORDS,
    LONG_DESCRIPTION_WORDS,
    MEDIUM_FACTORS,
    Complexity,
    ComplexityFactor,
    factors_of,
)
from domain.model.skill import Match, Reason, Skill, SkillMatch
from domain.model.span import Span
from domain.model.team import Process
from domain.model.template import Template, TemplateContent, TemplateKind
from domain.model.wording import Wording, wording_of

MOST_SKILLS, MOST_TEMPLATES = 10, 3
"""So many of each an analysis names."""

MANY_DELIVERABLES, MANY_DOMAINS, MANY_SKILLS = 3, 2, 4
"""From so many on, each is a factor of complexity."""

MANY_CHARACTERS: Final = 1_200
"""An objective of so many is long even in a script without blanks between words."""

STRONG: Final = 0.3
"""A skill of this score counts where skills are counted."""

ENOUGH_SKILLS: Final = 2
"""So many skills, however weak, are enough to go by."""

NEAR: Final = 0.25
"""A template of this score is near."""

# fmt: off
DELIVERABLES: Final = frozenset((
    "analysis", "architecture", "article", "backlog", "blog", "brief", "brochure", "budget", "calendar",
    "campaign", "catalogue", "code", "comparison", "dashboard", "design", "document", "email", "forecast", "guide",
    "guideline", "listing", "mockup", "newsletter", "page", "plan", "playbook", "post", "presentation", "proposal",
    "prototype", "report", "research", "review", "roadmap", "schedule", "script", "segmentation", "sequence",
    "specification", "spreadsheet", "strategy", "summary", "survey", "test", "tutorial", "video", "website",
    "whitepaper", "workflow",
))
"""Words for what work leaves behind, in the singular."""
# fmt: on

_TOGETHER: Final = ("brainstorm", "discuss", "debate", "perspective", "consensus", "workshop", "critique each other")
_LED: Final = ("coordinate", "oversee", "supervise", "delegate", "manage a team", "lead a team", "sign off")
_ITEM: Final = re.compile(r"(?:[-*•‣\u2013]|\d{1,3}[.)])[ \t]+\S")
_ROLES: Final = {
    Complexity.SIMPLE: Span(1, 3),
    Complexity.MEDIUM: Span(2, 4),
    Complexity.COMPLEX: Span(3, 6),
}
_MANAGED_ROLES: Final = 5
"""From so many roles on, somebody has to lead."""

_SHOWN: Final = 5

_DOMAIN_SHARE, _NAME_SHARE, _SKILLS_SHARE, _ROLES_SHARE = 0.2, 0.35, 0.35, 0.1
"""Of the score of a template."""


class Offered(Protocol):
    """A template with its content, like a `ShippedTemplate`."""

    @property
    def template(self) -> Template: ...
    @property
    def content(self) -> TemplateContent: ...


def analyse(
    objective: str,
    constraints: Constraints,
    skills: Sequence[Skill],
    templates: Iterable[Offered],
    outcomes: Outcomes = NO_OUTCOMES,
) -> ObjectiveAnalysis:
    """What the objective asks for; what is longer than an objective may be is not looked at."""
    text = objective[:MAX_OBJECTIVE]
    wording = wording_of(text)
    wanted = None if constraints.domain is None else _spelt(constraints.domain, skills)
    asked = skills_asked_for(wording, skills, outcomes, domain=wanted)
    strong = _strong(asked)
    touched = _domains(strong, skills, wording)
    domain = wanted or next(iter(touched or _domains(asked, skills, wording)), None)
    items = _items(text)
    factors = _factors(text, wording, items, touched, strong)
    complexity = _complexity(len(factors))
    roles = _roles(complexity, asked, constraints)
    process, why = _process(wording, items, complexity, roles)
    near = _near(wording, domain, {found.skill.name.casefold() for found in asked}, templates)
    told = [*factors, *([why_hardly(asked)] if hardly_recognised(asked) else []), f"{process.value}: {why}"]
    return ObjectiveAnalysis(complexity, told, domain, asked[:MOST_SKILLS], roles, process, near)


def hardly_recognised(asked: Sequence[SkillMatch]) -> bool:
    """Whether so little of an objective was recognised that who is to do it is a guess."""
    return len(asked) < ENOUGH_SKILLS and not _strong(asked)


def why_hardly(asked: Sequence[SkillMatch]) -> str:
    """What to say of such an objective."""
    found = f"Of what it asks for only {_listed([asked[0].skill.name])}" if asked else "Nothing of what it asks for"
    return f"{found} was recognised: the words of the skill catalogue are English, and it says hardly any of them."


def _spelt(domain: str, skills: Sequence[Skill]) -> str:
    return known_domain(domain, {name for skill in skills for name in skill.domains}) or domain


def _strong(asked: Sequence[SkillMatch]) -> list[SkillMatch]:
    return [found for found in asked if found.match.score >= STRONG]


# ---------------------------------------------------------------- complexity


def _factors(
    text: str, wording: Wording, items: int, domains: Sequence[str], strong: Sequence[SkillMatch]
) -> list[str]:
    """What makes the objective complex, each as a sentence: routing's factors, and what only objectives have."""
    found = [_told(factor, wording) for factor in factors_of(text, "", None)]
    if not found and len(text.strip()) > MANY_CHARACTERS:
        found.append(f"The objective has more than {MANY_CHARACTERS:,} characters.")
    deliverables = sorted(DELIVERABLES & wording.words)
    if items >= MANY_DELIVERABLES:
        found.append(f"It lists {items} things.")
    elif len(deliverables) >= MANY_DELIVERABLES:
        found.append(f"It asks for {len(deliverables)} kinds of results: {_listed(deliverables)}.")
    if len(domains) >= MANY_DOMAINS:
        found.append(f"It touches {len(domains)} domains: {_listed(domains)}.")
    if len(strong) >= MANY_SKILLS:
        found.append(f"It asks for {len(strong)} skills: {_listed([one.skill.name for one in strong])}.")
    return found


def _told(factor: ComplexityFactor, wording: Wording) -> str:
    if factor is ComplexityFactor.KEYWORD:
        # A keyword is found as routing finds it, so there is one, though its plural would not be.
        return f"It says {_listed(sorted(KEYWORDS & wording.words)) or 'a keyword of complex work'}."
    return f"The objective has more than {LONG_DESCRIPTION_WORDS} words."


def _complexity(factors: int) -> Complexity:
    """As routing counts them."""
    if factors >= COMPLEX_FACTORS:
        return Complexity.COMPLEX
    return Complexity.MEDIUM if factors == MEDIUM_FACTORS else Complexity.SIMPLE


def _items(text: str) -> int:
    """How many lines of the text are items of a list."""
    return sum(bool(_ITEM.match(line.lstrip())) for line in text.splitlines())


# ---------------------------------------------------------------- domain, roles, process


def _domains(counted: Sequence[SkillMatch], skills: Iterable[Skill], wording: Wording) -> list[str]:
    """The domains that these skills speak for, the strongest first; one that is named counts as a skill more."""
    weights: Counter[str] = Counter()
    for found in counted:
        for name in found.skill.domains:
            weights[name] += round(1000 * found.match.score / len(found.skill.domains))
    for name in {name for skill in skills for name in skill.domains}:
        weights[name] += 1000 * wording.says(name)
    most = max(weights.values(), default=0)
    clear = [name for name, weight in weights.items() if weight and 2 * weight >= most]
    return sorted(clear, key=lambda name: (-weights[name], name))


def _roles(complexity: Complexity, asked: Sequence[SkillMatch], constraints: Constraints) -> Span[int]:
    """By complexity; at least one for each two kinds of people that the skills are at home with."""
    span = _ROLES[complexity]
    people = len({found.skill.role_titles[0] for found in _strong(asked)[:MOST_SKILLS] if found.skill.role_titles})
    low = max(span.low, min(people // 2, span.high))
    high = max(span.high, min(people, span.high + 2))
    return Span(min(low, constraints.most_roles), min(high, constraints.most_roles))


def _process(wording: Wording, items: int, complexity: Complexity, roles: Span[int]) -> tuple[Process, str]:
    if roles.high == 1:
        return Process.SEQUENTIAL, "one role does one thing after the other."
    if any(wording.says(word) for word in _TOGETHER):
        return Process.COLLABORATIVE, "it asks for several views on the same matter."
    if any(wording.says(word) for word in _LED):
        return Process.HIERARCHICAL, "it asks for somebody who leads."
    if complexity is Complexity.COMPLEX and roles.low >= _MANAGED_ROLES:
        return Process.HIERARCHICAL, f"at least {roles.low} roles need somebody who leads."
    if items >= MANY_DELIVERABLES:
        return Process.PARALLEL, f"the {items} things that it lists can be worked on at once."
    return Process.SEQUENTIAL, "each step builds on the one before."


# ---------------------------------------------------------------- templates


def _near(wording: Wording, domain: str | None, skills: set[str], templates: Iterable[Offered]) -> list[TemplateMatch]:
    teams = (each for each in templates if each.template.kind is TemplateKind.TEAM)
    scored = [
        TemplateMatch(each.template.id, each.template.name, _score_template(each, wording, domain, skills))
        for each in teams
    ]
    near = [found for found in scored if found.match.score >= NEAR]
    return sorted(near, key=lambda found: (-found.match.score, found.name))[:MOST_TEMPLATES]


def _score_template(offered: Offered, wording: Wording, domain: str | None, skills: set[str]) -> Match:
    template, roles = offered.template, offered.content.blueprint.roles
    reasons = (
        _of_domain(template, domain),
        _of_name(template, wording),
        _of_skills([skill for role in roles for skill in role.skills], skills),
        _of_roles([role.title for role in roles], wording),
    )
    return Match(round(sum(reason.points for reason in reasons), 4), reasons)


def _of_domain(template: Template, domain: str | None) -> Reason:
    is_same = bool(domain) and template.domain.casefold() == (domain or "").casefold()
    text = f"It is at home in {template.domain}, too." if is_same else "It is at home in another domain."
    if domain is None:
        text = "The objective's domain is not recognised."
    return Reason(text, _DOMAIN_SHARE if is_same else 0.0, _DOMAIN_SHARE)


def _of_name(template: Template, wording: Wording) -> Reason:
    labels = [template.name, *template.tags]
    said = [label for label in labels if wording.says(label)]
    share = max(wording.share_of(template.name), min(1.0, len(said) / 2))
    text = f"The objective says {_listed(said)}." if said else "The objective says words of its name."
    return Reason(
        text if share else "The objective says nothing of its name or tags.", round(share * _NAME_SHARE, 4), _NAME_SHARE
    )


def _of_skills(of_roles: Sequence[str], asked: set[str]) -> Reason:
    own = {skill.casefold(): skill for skill in of_roles}
    both = [own[name] for name in own if name in asked]
    if not both:
        return Reason("Its roles have none of the skills that are asked for.", 0.0, _SKILLS_SHARE)
    share = len(both) / min(len(own), MANY_SKILLS)
    return Reason(f"Its roles have {_listed(both)}.", round(min(1.0, share) * _SKILLS_SHARE, 4), _SKILLS_SHARE)


def _of_roles(titles: Sequence[str], wording: Wording) -> Reason:
    said = [title for title in titles if wording.says(title)]
    text = f"The objective names {_listed(said)}." if said else "None of its roles is named."
    return Reason(text, _ROLES_SHARE if said else 0.0, _ROLES_SHARE)


def _listed(names: Sequence[str]) -> str:
    shown = [f"“{name[:60]}”" for name in names[:_SHOWN]]
    return ", ".join(shown if len(names) <= _SHOWN else [*shown, "…"])
