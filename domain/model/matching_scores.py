"""Scores that are explained: how well a skill fits a text, and a role a task; sums of parts that say what they are for.

Each part gives points of a fixed share, and the shares of all parts add up to 1. What is not known is not held
against anybody: it gives half of its share, and says so.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from domain.model.blueprint import RoleBlueprint, TaskBlueprint
from domain.model.generation import MAX_RATING
from domain.model.role import Expertise
from domain.model.routing import Complexity, complexity_of, factors_of
from domain.model.skill import Match, Reason, Skill, SkillMatch, SkillOutcome
from domain.model.tool import ToolKind
from domain.model.wording import Wording, wording_of

KEYWORDS_SHARE, NAME_SHARE, TITLE_SHARE, DOMAIN_SHARE, PAST_SHARE = 0.4, 0.2, 0.1, 0.15, 0.15
"""Of a skill: what the text says counts most; what became of teams that had it, least."""

SKILLS_SHARE, ROLE_TITLE_SHARE, KIND_SHARE, TOOLS_SHARE, EXPERTISE_SHARE, ROLE_PAST_SHARE = (
    0.4,
    0.15,
    0.1,
    0.1,
    0.1,
    0.15,
)
"""Of a role: what it can do counts most."""

ENOUGH_KEYWORDS: Final = 3
"""So many keywords of a skill in a text speak for it as much as all of them."""

RATING_WORTH: Final = 3
"""What people say of accepted teams counts as much as so many of their executions."""

MOST_NEEDED: Final = 3
"""So many skills are taken from a task's text where it names none."""

_SHOWN: Final = 5
_DIGITS: Final = 4

Outcomes = Mapping[str, SkillOutcome]
"""What became of accepted teams, by the folded name of the skill; see `by_skill`."""

NO_OUTCOMES: Final[Outcomes] = {}


def by_skill(outcomes: Iterable[SkillOutcome]) -> Outcomes:
    """The outcomes as the scores look them up."""
    return {outcome.skill.casefold(): outcome for outcome in outcomes}


# ---------------------------------------------------------------- skills


def score_skill(
    skill: Skill, text: Wording | str, outcomes: Outcomes = NO_OUTCOMES, *, domain: str | None = None
) -> Match:
    """How much a text asks for the skill; `domain` is where it is at home, None: only as far as it says so."""
    wording = wording_of(text) if isinstance(text, str) else text
    return _match(
        _keywords(skill, wording),
        _name(skill, wording),
        _titles(skill, wording),
        _domain(skill, wording, domain),
        _past([skill.name], outcomes, PAST_SHARE),
    )


def is_asked_for(skill: Skill, wording: Wording) -> bool:
    """Whether the text says anything of the skill: its name, a keyword of it, or a title of who has it."""
    return any(wording.says(phrase) for phrase in (skill.name, *skill.keywords, *skill.role_titles))


def skills_asked_for(
    text: Wording, skills: Iterable[Skill], outcomes: Outcomes = NO_OUTCOMES, *, domain: str | None = None
) -> list[SkillMatch]:
    """The skills of which the text says anything, best first."""
    asked = [skill for skill in skills if is_asked_for(skill, text)]
    found = [SkillMatch(skill, score_skill(skill, text, outcomes, domain=domain)) for skill in asked]
    return sorted(found, key=lambda one: (-one.match.score, one.skill.name))


def _keywords(skill: Skill, wording: Wording) -> Reason:
    found = [keyword for keyword in skill.keywords if wording.says(keyword)]
    most = min(ENOUGH_KEYWORDS, len(skill.keywords))
    if not found:
        return Reason("None of its keywords is said.", 0.0, KEYWORDS_SHARE)
    return _part(f"It says {_quoted(found)}.", min(1.0, len(found) / most), KEYWORDS_SHARE)


def _name(skill: Skill, wording: Wording) -> Reason:
    if wording.says(skill.name):
        return _part(f"It names the skill “{skill.name}”.", 1.0, NAME_SHARE)
    share = wording.share_of(skill.name)
    text = "It says a part of the skill's name." if share else "The skill's name is not said."
    return _part(text, share / 2, NAME_SHARE)


def _titles(skill: Skill, wording: Wording) -> Reason:
    found = [title for title in skill.role_titles if wording.says(title)]
    text = f"It names who has it: {_quoted(found)}." if found else "Nobody who has it is named."
    return _part(text, 1.0 if found else 0.0, TITLE_SHARE)


def _domain(skill: Skill, wording: Wording, domain: str | None) -> Reason:
    if not skill.domains:
        return _part("It is at home in every domain.", 0.5, DOMAIN_SHARE)
    at_home = [name for name in skill.domains if domain and name.casefold() == domain.casefold()]
    found = at_home or [name for name in skill.domains if domain is None and wording.says(name)]
    text = f"It is at home in {_quoted(found)}." if found else f"It is at home in {_quoted(skill.domains)}."
    return _part(text, 1.0 if found else 0.0, DOMAIN_SHARE)


# ---------------------------------------------------------------- roles


@dataclass(frozen=True, slots=True)
class Needs:
    """What a task asks of whoever does it; found once for all roles, as its texts are looked through for that."""

    task: TaskBlueprint
    wording: Wording
    known: Mapping[str, Skill]
    needed: Sequence[str]


def needs_of(task: TaskBlueprint, skills: Sequence[Skill] = ()) -> Needs:
    """The needs of the task; `skills` are the catalogue's."""
    wording = wording_of(f"{task.name}\n{task.kind}\n{task.description}\n{task.expected_output}")
    known = {skill.name.casefold(): skill for skill in skills}
    return Needs(task, wording, known, list(task.required_skills) or _needed(wording, task.kind, skills))


def score_role(
    role: RoleBlueprint, needs: Needs, outcomes: Outcomes = NO_OUTCOMES, *, tool_kinds: Collection[ToolKind] = ()
) -> Match:
    """How well the role fits the task. `tool_kinds` are those of the role's tools."""
    task, wording, known, needed = needs.task, needs.wording, needs.known, needs.needed
    entries = [known[name.casefold()] for name in needed if name.casefold() in known]
    own = [known[name.casefold()] for name in role.skills if name.casefold() in known]
    return _match(
        _covered(role, needed, is_said=bool(task.required_skills)),
        _title(role, entries, wording),
        _kind(task.kind, own),
        _tools(entries, tool_kinds),
        _expertise(role, task),
        _past([name for name in role.skills if _among(name, needed)], outcomes, ROLE_PAST_SHARE),
    )


def _needed(wording: Wording, kind: str, skills: Sequence[Skill]) -> list[str]:
    """The skills that the task's kind and its text speak for, where it names none."""
    of_kind = [skill.name for skill in skills if _among(kind, skill.task_kinds)]
    said = [found.skill.name for found in skills_asked_for(wording, skills)]
    both = [name for name in said if name in of_kind]
    return list(dict.fromkeys([*both, *said, *of_kind]))[:MOST_NEEDED]


def _covered(role: RoleBlueprint, needed: Sequence[str], *, is_said: bool) -> Reason:
    if not needed:
        return _part("The task asks for no skill, and its text speaks for none.", 0.5, SKILLS_SHARE)
    found = [name for name in needed if _among(name, role.skills)]
    why = "asked for" if is_said else "that its text speaks for"
    if not found:
        return _part(f"It has no skill {why}: {_quoted(needed)}.", 0.0, SKILLS_SHARE)
    text = f"It has {_quoted(found)}: {len(found)} of {len(needed)} {why}."
    return _part(text, len(found) / len(needed), SKILLS_SHARE)


def _title(role: RoleBlueprint, entries: Sequence[Skill], wording: Wording) -> Reason:
    titles = {title.casefold() for entry in entries for title in entry.role_titles}
    if role.title.casefold() in titles:
        return _part(f"“{role.title}” is who does such work.", 1.0, ROLE_TITLE_SHARE)
    if wording.says(role.title):
        return _part(f"The task names “{role.title}”.", 1.0, ROLE_TITLE_SHARE)
    known = wording_of(" ".join(titles))
    share = max(wording.share_of(role.title), known.share_of(role.title))
    text = "The title shares words with the work." if share else "The title says nothing of such work."
    return _part(text, share / 2, ROLE_TITLE_SHARE)


def _kind(kind: str, own: Sequence[Skill]) -> Reason:
    if not kind.strip():
        return _part("The task is of no kind.", 0.5, KIND_SHARE)
    found = [skill.name for skill in own if _among(kind, skill.task_kinds)]
    if found:
        return _part(f"Tasks of the kind “{kind}” go with {_quoted(found)}.", 1.0, KIND_SHARE)
    return _part(f"None of its skills goes with tasks of the kind “{kind}”.", 0.0, KIND_SHARE)


def _tools(entries: Sequence[Skill], tool_kinds: Collection[ToolKind]) -> Reason:
    useful = list(dict.fromkeys(kind.value for entry in entries for kind in entry.tool_kinds))
    if not useful:
        return _part("The work needs no tool.", 1.0, TOOLS_SHARE)
    found = [kind for kind in useful if ToolKind(kind) in tool_kinds]
    if found:
        return _part(f"It has a tool for it: {', '.join(found)}.", 1.0, TOOLS_SHARE)
    return _part(f"It has no tool for it; {', '.join(useful)} would be of use.", 0.0, TOOLS_SHARE)


_WANTED: Final = {
    Complexity.SIMPLE: Expertise.JUNIOR,
    Complexity.MEDIUM: Expertise.INTERMEDIATE,
    Complexity.COMPLEX: Expertise.SENIOR,
}


def wanted_expertise(task: TaskBlueprint) -> Expertise:
    """How experienced somebody has to be for the task, by what it looks like without knowing who does it."""
    return _WANTED[complexity_of(factors_of(task.description, task.expected_output, None))]


def _expertise(role: RoleBlueprint, task: TaskBlueprint) -> Reason:
    wanted = wanted_expertise(task)
    short = wanted.level - role.expertise.level
    if short <= 0:
        return _part(f"{role.expertise.value} is enough for it.", 1.0, EXPERTISE_SHARE)
    return _part(f"It is {role.expertise.value}; {wanted.value} would do.", max(0.0, 1 - short / 2), EXPERTISE_SHARE)


# ---------------------------------------------------------------- parts


def _past(names: Sequence[str], outcomes: Outcomes, of: float) -> Reason:
    """What became of accepted teams that had these skills, by Laplace's rule: few of them say little.

    What people say of a skill's teams counts as much as `RATING_WORTH` executions.
    """
    known = [outcomes[name.casefold()] for name in names if name.casefold() in outcomes]
    completed, failed = sum(one.completed for one in known), sum(one.failed for one in known)
    finished = completed + failed
    ratings = [one.mean_rating for one in known if one.mean_rating is not None]
    liked = sum((rating - 1) / (MAX_RATING - 1) for rating in ratings)
    share = (completed + 1 + RATING_WORTH * liked) / (finished + 2 + RATING_WORTH * len(ratings))
    text = "No accepted team with it has run yet."
    if finished:
        text = f"Of {finished} executions of accepted teams with it, {completed} completed."
    return _part(f"{text}{_rated(ratings)}", share, of)


def _rated(ratings: Sequence[float]) -> str:
    return f" People gave them {sum(ratings) / len(ratings):.1f} of {MAX_RATING}." if ratings else ""


def _part(text: str, share: float, of: float) -> Reason:
    return Reason(text, round(share * of, _DIGITS), of)


def _match(*reasons: Reason) -> Match:
    return Match(round(min(1.0, sum(reason.points for reason in reasons)), _DIGITS), reasons)


def _among(name: str, names: Iterable[str]) -> bool:
    return bool(name) and name.casefold() in {other.casefold() for other in names}


def _quoted(names: Sequence[str]) -> str:
    shown = [f"“{name[:60]}”" for name in names[:_SHOWN]]
    return ", ".join(shown if len(names) <= _SHOWN else [*shown, "…"])
