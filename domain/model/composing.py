"""Composing a team by rules: from the nearest template that ships, else from skills. Pure, free, the same each time.

It is what is left where no model can be asked, or where none gives a usable answer: plain, but never half-made.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count, islice
from typing import Any, Final

from domain.errors import Invalid
from domain.model.analysing import hardly_recognised, why_hardly
from domain.model.analysis import ObjectiveAnalysis, TemplateMatch
from domain.model.blueprint import Blueprint, RoleBlueprint, TaskBlueprint
from domain.model.composition_check import as_part
from domain.model.generation import MAX_OBJECTIVE, MOST_ROLES, Constraints, shortened
from domain.model.library import ShippedTemplate
from domain.model.parameters import filled
from domain.model.role import Expertise, Rank
from domain.model.routing import Complexity, QualityPreference
from domain.model.rules import MAX_NAME
from domain.model.skill import Skill, SkillMatch
from domain.model.task import placeholders
from domain.model.team import Process
from domain.model.template import Parameter, ParameterType, TemplateKind
from domain.model.texts import storable
from domain.model.tool import Tool
from domain.model.validation import Finding, FindingCode, Severity
from domain.model.wording import Wording, terms_of, wording_of

NEAR: Final = 0.35
"""A template that is nearer than that, 0 to 1, is taken for the objective's own."""

MOST_TRIED: Final = 3
MOST_SKILLS: Final = 100
"""So many a role may have."""
MOST_QUOTED: Final = 4_000
_SHORT: Final = 80
_MOST_SKILLS: Final = 12
_SKILLS_EACH: Final = 4
_SHOWN: Final = 5
_ENDS: Final = " .!?;:,。\uff01\uff1f"
_NEW_ROLES: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a team is composed from. `tools` are the project's that roles may have; `present` is to be changed.

    `wanted` are the skills that count of those in the analysis, found once for all compositions.
    """

    objective: str
    constraints: Constraints
    analysis: ObjectiveAnalysis
    tools: Sequence[Tool] = ()
    skills: Sequence[Skill] = ()
    templates: Sequence[ShippedTemplate] = ()
    present: Blueprint | None = None
    wanted: Sequence[Skill] = ()


@dataclass(frozen=True, slots=True)
class Composition:
    """What rules made; `templates` are those it was made from, as a generation keeps them, `source` tells people.

    `notes` say what whoever decides has to know: what was left out, added or hardly understood.
    """

    blueprint: Blueprint
    source: str
    templates: list[dict[str, Any]] = field(default_factory=list)
    notes: Sequence[Finding] = ()


def compositions(ground: Ground) -> Iterator[Composition]:
    """Teams for the objective, the best first, each of the others cheaper to run: for a budget that is small.

    At least one, at most some twenty. All keep to the constraints but for the budget.
    """
    before = None
    for composition in _every(replace(ground, wanted=_skills_for(ground))):
        if composition.blueprint != before:
            yield composition
        before = composition.blueprint


def _every(ground: Ground) -> Iterator[Composition]:
    levels = _levels(ground.constraints.expertise)
    if ground.present is not None and ground.present.roles:
        yield from (_changed(ground, ground.present, new, level) for new in (_NEW_ROLES, 1) for level in levels)
        return
    template = _from_template(ground)
    if template is not None:
        yield from (_finished(ground, template, level) for level in levels)
    for most in _fewer(_wanted_roles(ground)):
        levels = levels if most > 1 or template is None else levels[-1:]
        yield from (_from_skills(ground, most, level) for level in levels)


def _levels(highest: Expertise | None) -> list[Expertise]:
    """The highest expertise that is allowed, and those below it."""
    return [each for each in reversed(Expertise) if highest is None or each.level <= highest.level]


def _fewer(most: int) -> Iterator[int]:
    """So many roles, then half as many, down to one."""
    while most:
        yield most
        most //= 2


def preferring(blueprint: Blueprint, preference: QualityPreference) -> Blueprint:
    """The blueprint with tasks that ask for this quality, unless they ask for another."""
    if preference is QualityPreference.BALANCED:  # what an execution has anyway, unless its kickoff says otherwise
        return blueprint
    tasks = [replace(task, quality_preference=task.quality_preference or preference) for task in blueprint.tasks]
    return replace(blueprint, tasks=tasks)


_DOUBLED: Final = {"{": "[", "}": "]"}


def quoted(objective: str) -> str:
    """The objective as a task's text quotes it: `{{name}}`, which would be a template's parameter, becomes `[name]`.

    `{name}` stays: a kickoff gives that, see `inputs_note`.
    """
    text = re.sub(r"\{{2,}|\}{2,}", lambda found: _DOUBLED[found.group()[0]], storable(objective.strip()))
    return text if len(text) <= MOST_QUOTED else f"{text[: MOST_QUOTED - 1]}…"


def inputs_note(blueprint: Blueprint) -> Finding | None:
    """Which inputs the tasks wait for; None without any."""
    names = placeholders(text for task in blueprint.tasks for text in (task.description, task.expected_output))
    if not names:
        return None
    listed = ", ".join(f"{{{name[:60]}}}" for name in names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    told = f"Tasks say {listed}: names in braces are inputs, which a kickoff gives."
    return Finding(
        Severity.WARNING, FindingCode.KICKOFF_INPUTS, told, suggestion="Say it without braces, or give the inputs."
    )


def _short(objective: str) -> str:
    """What it is called in a sentence or a name: how it begins, up to a whole word, without its full stop."""
    shown = "".join(each if each.isprintable() else " " for each in quoted(objective))
    line = shortened(shown)
    if len(line) > _SHORT:
        cut = line[: _SHORT - 1]
        return f"{(cut.rpartition(' ')[0] or cut).rstrip(_ENDS)}…"
    return line.rstrip(_ENDS) or line


# ---------------------------------------------------------------- from a template


def _from_template(ground: Ground) -> Composition | None:
    """The nearest template that the objective can fill; None where there is none."""
    by_id = {each.template.id: each for each in ground.templates}
    for match in _nearest(ground):
        shipped = by_id.get(match.template_id)  # type: ignore[call-overload] # a NewType of it
        if shipped is None or not _is_fit(shipped, ground.constraints) or not _does_the_most(shipped, ground):
            continue
        blueprint = _filled(shipped, ground.objective)
        if blueprint is not None:
            used = {"id": str(shipped.template.id), "number": shipped.template.latest}
            return Composition(blueprint, f"the template “{shipped.template.name}”", [used])
    return None


def _nearest(ground: Ground) -> Iterable[TemplateMatch]:
    return [match for match in ground.analysis.templates if match.match.score >= NEAR][:MOST_TRIED]


def _is_fit(shipped: ShippedTemplate, constraints: Constraints) -> bool:
    is_at_home = constraints.domain is None or shipped.template.domain.casefold() == constraints.domain.casefold()
    return shipped.template.kind is TemplateKind.TEAM and is_at_home


def _does_the_most(shipped: ShippedTemplate, ground: Ground) -> bool:
    """Whether somebody of it has the skill that is asked for most, or the objective names it."""
    wording = wording_of(ground.objective[:MAX_OBJECTIVE])
    if not ground.analysis.skills or wording.says(shipped.template.name):
        return True
    most = ground.analysis.skills[0].match.score
    best = {one.skill.name.casefold() for one in ground.analysis.skills if one.match.score >= most}
    own = {name for role in shipped.content.blueprint.roles for name in _skills_of(role)}
    return bool(best & own)


def _filled(shipped: ShippedTemplate, objective: str) -> Blueprint | None:
    """The template's team; None where it asks for more than an objective says."""
    values = _values(shipped.content.parameters, objective)
    if values is None:
        return None
    try:
        blueprint = filled(shipped.content, values)
        told = [_told(task, objective) for task in blueprint.tasks]
        blueprint = replace(blueprint, name=_team_name(objective), tasks=told)
        blueprint.check()
    except Invalid:
        return None
    return blueprint


def _values(parameters: Sequence[Parameter], objective: str) -> dict[str, Any] | None:
    """What the objective says of the parameters that have no default: the first text of them is what it is about."""
    values: dict[str, Any] = {}
    for parameter in parameters:
        if not parameter.is_required:
            continue
        if parameter.type is ParameterType.ENUM:
            values[parameter.name] = parameter.options[0]
        elif parameter.type is ParameterType.STRING and parameter.pattern is None:
            values[parameter.name] = _text_for(parameter, objective, is_first=not values)
        else:
            return None
    return values


def _text_for(parameter: Parameter, objective: str, *, is_first: bool) -> str:
    most = _SHORT if parameter.most is None else int(parameter.most)
    if is_first and most > len("“…”"):
        title = _short(objective)  # in quotes: a template's sentence goes on around it
        return f"“{title if len(title) <= most - 2 else title[: most - 3] + '…'}”"
    return f"the {parameter.name.replace('_', ' ')} that the objective names"[:most]


_GIVEN: Final = "\n\nThe objective, as it was given: “{}”"


def _told(task: TaskBlueprint, objective: str) -> TaskBlueprint:
    return replace(task, description=f"{task.description}{_GIVEN.format(quoted(objective))}")


def _finished(ground: Ground, made: Composition, highest: Expertise) -> Composition:
    """The team within the constraints: fewer roles, lower expertise, the project's own tools."""
    blueprint = _cut(made.blueprint, ground.constraints.most_roles)
    blueprint = _equipped(_capped(blueprint, highest), ground.tools)
    return replace(made, blueprint=preferring(blueprint, ground.constraints.quality_preference))


def _capped(blueprint: Blueprint, highest: Expertise) -> Blueprint:
    roles = [replace(role, expertise=min(role.expertise, highest)) for role in blueprint.roles]
    return replace(blueprint, roles=roles)


def _equipped(blueprint: Blueprint, tools: Sequence[Tool]) -> Blueprint:
    """The team with tools of the project alone: that of the name, else the first of the kind, else none."""
    stand_in: dict[str, str] = {}
    for wanted in blueprint.tools:
        own = [tool.name for tool in tools if tool.name == wanted.name] or [
            tool.name for tool in tools if tool.kind is wanted.kind
        ]
        if own:
            stand_in[wanted.name] = own[0]
    roles = [
        replace(role, tools=list(dict.fromkeys(stand_in[name] for name in role.tools if name in stand_in)))
        for role in blueprint.roles
    ]
    return _with_tools(replace(blueprint, roles=roles), tools)


def _with_tools(blueprint: Blueprint, tools: Sequence[Tool]) -> Blueprint:
    used = {name for role in blueprint.roles for name in role.tools}
    return replace(blueprint, tools=[as_part(tool) for tool in tools if tool.name in used])


# ---------------------------------------------------------------- fewer roles


Fit = Callable[[RoleBlueprint], float]
"""How well a role fits the objective."""


def _any(role: RoleBlueprint) -> float:  # noqa: ARG001 - as Fit has it
    return 0.0


def _fit_for(asked: Sequence[SkillMatch]) -> Fit:
    """By the skills that are asked for: a role has them, or is called as somebody who has."""

    def fit(role: RoleBlueprint) -> float:
        own, title = {name.casefold() for name in role.skills}, role.title.casefold()
        return sum(
            match.match.score * ((match.skill.name.casefold() in own) or _is_title(title, match.skill) / 2)
            for match in asked
        )

    return fit


def _is_title(title: str, skill: Skill) -> bool:
    return title in map(str.casefold, skill.role_titles)


def _cut(blueprint: Blueprint, most: int, fit: Fit = _any) -> Blueprint:
    """The team with at most so many roles: whoever stays takes over what the others do, and needs for it."""
    if len(blueprint.roles) <= most:
        return blueprint
    stays = _staying(blueprint, most, fit)
    heirs = {role.title: _heir(role, stays) for role in blueprint.roles if role not in stays}
    tasks = [replace(task, role=heirs.get(task.role or "", task.role)) for task in blueprint.tasks]
    manager = heirs.get(blueprint.manager or "", blueprint.manager)
    roles = [
        _enriched(role, [each for each in blueprint.roles if heirs.get(each.title) == role.title]) for role in stays
    ]
    roles = [replace(role, supervisor=None if role.supervisor in heirs else role.supervisor) for role in roles]
    is_led = blueprint.process is Process.HIERARCHICAL and len(roles) == 1  # nobody is there to be led
    process = Process.SEQUENTIAL if is_led else blueprint.process
    return replace(blueprint, roles=roles, tasks=tasks, manager=manager, process=process)


def _staying(blueprint: Blueprint, most: int, fit: Fit) -> list[RoleBlueprint]:
    """Who leads, who fits the objective best, who does the last task, and then who does most; in the team's order."""
    final = blueprint.tasks[-1].role if blueprint.tasks else None

    def importance(role: RoleBlueprint) -> tuple[bool, bool, float, bool, int]:
        done = sum(task.role == role.title for task in blueprint.tasks)
        return role.is_active, role.title == blueprint.manager, fit(role), role.title == final, done

    best = sorted(blueprint.roles, key=importance, reverse=True)[:most]
    return [role for role in blueprint.roles if role in best]


def _heir(gone: RoleBlueprint, stays: Sequence[RoleBlueprint]) -> str:
    return max(stays, key=lambda role: len(set(role.skills) & set(gone.skills))).title


def _enriched(role: RoleBlueprint, inherited: Sequence[RoleBlueprint]) -> RoleBlueprint:
    skills = dict.fromkeys(chain(role.skills, *(each.skills for each in inherited)))
    tools = dict.fromkeys(chain(role.tools, *(each.tools for each in inherited)))
    return replace(role, skills=list(skills)[:MOST_SKILLS], tools=list(tools))


# ---------------------------------------------------------------- from skills

_FIRST: Final = {Complexity.SIMPLE: Expertise.INTERMEDIATE, Complexity.MEDIUM: Expertise.SENIOR}
_OTHERS: Final = {Complexity.COMPLEX: Expertise.SENIOR}
_FINDS_OUT, _DOES, _LOOKS_OVER = (
    ("Researcher", "research"),
    ("Writer", "writing"),
    ("Quality reviewer", "quality assurance"),
)
"""Who does what the objective does not say clearly: each a title with a skill."""

_ONLY: Final = "Generalist"
_ORDER: Final = (
    ("research", "extraction"),
    ("analysis", "classification", "scoring", "forecasting"),
    ("strategy", "decision", "planning", "coordination"),
    ("design",),
    ("implementation", "writing", "documentation", "communication", "reporting", "monitoring", "optimization"),
    ("editing", "testing"),
    ("review", "compliance"),
    ("synthesis",),
)
"""Kinds of tasks, in the order in which work is done."""

_PART: Final = (
    "As {title}, do the part of the objective that is yours{skills}. Work from what {sources}, name your assumptions,"
    " and mark what has to be confirmed."
)
_PART_DONE: Final = (
    "A result that others can build on without asking back: what was found or made, in full; the reasons for it; and"
    " what is still open."
)
_ALONE_DONE: Final = (
    "The complete result that the objective asks for, ready to be used, with the assumptions it rests on."
)
_JOIN: Final = (
    "Bring the results of all other tasks together into what the objective asks for. Settle what contradicts itself,"
    " leave out what is said twice, and check that nothing the objective asks for is missing."
)
JOINING: Final = "Bring it together"


def _wanted_roles(ground: Ground) -> int:
    """As many as the analysis says, the more the harder it looks and the more it asks for; within the constraints."""
    span = ground.analysis.roles
    wanted = {Complexity.SIMPLE: span.low, Complexity.COMPLEX: span.high}
    middle = (span.low + span.high + 1) // 2
    people = min(len(_groups(ground.wanted, MOST_ROLES)), span.high)
    if hardly_recognised(ground.analysis.skills):
        people = 3
    return max(1, min(max(wanted.get(ground.analysis.complexity, middle), people), ground.constraints.most_roles))


def _from_skills(ground: Ground, most: int, highest: Expertise) -> Composition:
    groups = _groups(ground.wanted, most)
    if hardly_recognised(ground.analysis.skills) or not groups:
        groups = _generalists(ground, groups, most)
    roles = [_role(ground, title, skills, place) for place, (title, skills) in enumerate(groups.items())]
    process = ground.analysis.process if len(roles) > 1 else Process.SEQUENTIAL
    has_order = process in (Process.SEQUENTIAL, Process.HIERARCHICAL)
    tasks = [
        _task(ground, title, skills, is_alone=len(groups) == 1, is_later=has_order and place > 0)
        for place, (title, skills) in enumerate(_in_order(ground, groups).items())
    ]
    if len(tasks) > 1 and process is not Process.COLLABORATIVE:  # there the synthesis comes by itself
        tasks.append(_joining(ground, roles[0].title, tasks))
    base = ground.present or Blueprint(name=_team_name(ground.objective))
    blueprint = replace(base, description=shortened(quoted(ground.objective)), process=process)
    blueprint = _led(replace(blueprint, manager=None, roles=roles, tasks=tasks))
    blueprint = _with_tools(_capped(blueprint, highest), ground.tools)
    blueprint = preferring(blueprint, ground.constraints.quality_preference)
    return Composition(blueprint, "the skill catalogue", notes=_hardly_note(ground))


def _hardly_note(ground: Ground) -> list[Finding]:
    asked = ground.analysis.skills
    if not hardly_recognised(asked):
        return []
    suggestion = "Say in English what is to come out, or look closely at who is to do what."
    return [Finding(Severity.WARNING, FindingCode.HARDLY_RECOGNISED, why_hardly(asked), suggestion=suggestion)]


def _skills_for(ground: Ground) -> list[Skill]:
    """The skills that the objective asks for, best first; of a given domain, and general ones, where there are any."""
    domain = (ground.constraints.domain or "").casefold()
    found = _telling(ground.analysis.skills, wording_of(ground.objective[:MAX_OBJECTIVE]))
    own = [skill for skill in found if not skill.domains or domain in map(str.casefold, skill.domains)]
    return ((own if domain else []) or found)[:_MOST_SKILLS]


def _telling(matches: Iterable[SkillMatch], wording: Wording) -> list[Skill]:
    """Those for which a word speaks that speaks for no better one: an article to write is no knowledge to manage."""
    told: list[Skill] = []
    said: dict[str, float] = {}  # the score of the best skill that each word speaks for
    for match in matches:
        skill, score = match.skill, match.match.score
        phrases = (skill.name, *skill.keywords, *skill.role_titles)
        words = {word for phrase in phrases if wording.says(phrase) for word in terms_of(phrase)}
        if not words or any(said.get(word, 0.0) <= score for word in words):
            told.append(skill)
        for word in words:
            said.setdefault(word, score)
    return told


def _groups(skills: Iterable[Skill], most: int, taken: Iterable[str] = ()) -> dict[str, list[Skill]]:
    """The skills by the titles of at most so many roles: skills that go with one title go together.

    What is left when these are enough goes to who does work of such a kind, or has least to do.
    """
    groups: dict[str, list[Skill]] = {}
    others, left = set(taken), []
    for skill in skills:
        titles = [title for title in skill.role_titles if title not in others] or [skill.name]
        title = next((title for title in titles if title in groups), None)
        if title is None and len(groups) < most:
            title = titles[0]
        if title is None:
            left.append(skill)
        elif len(groups.setdefault(title, [])) < _SKILLS_EACH:
            groups[title].append(skill)
    for skill in left if groups else []:
        title = max(groups, key=lambda each: (_is_akin(skill, groups[each]), -len(groups[each])))
        if len(groups[title]) < _SKILLS_EACH:
            groups[title].append(skill)
    return groups


def _is_akin(skill: Skill, others: Iterable[Skill]) -> bool:
    return any(set(skill.task_kinds) & set(other.task_kinds) for other in others)


def _in_order(ground: Ground, groups: Mapping[str, list[Skill]]) -> dict[str, list[Skill]]:
    """The same in the order of the work: by its kind, and by what the objective says first."""
    text = ground.objective.casefold()

    def place(title: str) -> tuple[int, int]:
        skills = groups[title]
        stage = min((_stage(skill) for skill in skills), default=len(_ORDER))
        said = [text.find(word.casefold()) for skill in skills for word in (skill.name, *skill.keywords)]
        return stage, min((found for found in said if found >= 0), default=len(text))

    return {title: groups[title] for title in sorted(groups, key=place)}


def _stage(skill: Skill) -> int:
    kind = skill.task_kinds[0] if skill.task_kinds else ""
    return next((place for place, kinds in enumerate(_ORDER) if kind in kinds), len(_ORDER) // 2)


def _generalists(ground: Ground, known: Mapping[str, list[Skill]], most: int) -> dict[str, list[Skill]]:
    """Who finds out, who does it, and who looks it over; who does it is whoever was recognised, if anybody was."""
    if most == 1:
        return dict(islice(known.items(), 1)) or {_ONLY: []}
    skills = {skill.name: skill for skill in ground.skills}
    first, doer, last = (
        (title, [skills[name]] if name in skills else []) for title, name in (_FINDS_OUT, _DOES, _LOOKS_OVER)
    )
    return dict([first, next(iter(known.items()), doer), last][-most:])


def _role(ground: Ground, title: str, skills: Sequence[Skill], place: int) -> RoleBlueprint:
    complexity = ground.analysis.complexity
    first, others = _FIRST.get(complexity, Expertise.EXPERT), _OTHERS.get(complexity, Expertise.INTERMEDIATE)
    kinds = {kind for skill in skills for kind in skill.tool_kinds}
    return RoleBlueprint(
        title=title,
        description=" ".join(skill.description for skill in skills),
        expertise=others if place else first,
        goals=[f"Serve the objective “{_short(ground.objective)}”"],
        skills=[skill.name for skill in skills],
        tools=[tool.name for tool in ground.tools if tool.kind in kinds],
    )


def _task(
    ground: Ground, title: str, skills: Sequence[Skill], *, is_alone: bool, is_later: bool = False
) -> TaskBlueprint:
    names = ", ".join(skill.name for skill in skills)
    sources = "the objective and earlier results say" if is_later else "the objective says"
    description = _PART.format(title=title, skills=f": what takes {names}" if names else "", sources=sources)
    kinds = [kind for skill in skills for kind in skill.task_kinds]
    task = TaskBlueprint(
        name=_capital(skills[0].name if skills else f"Part of the {title}")[:MAX_NAME],
        description=description,
        expected_output=_ALONE_DONE if is_alone else _PART_DONE,
        kind=kinds[0] if kinds else "",
        role=title,
        required_skills=[skill.name for skill in skills],
    )
    return _told(task, ground.objective)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _joining(ground: Ground, title: str, tasks: Sequence[TaskBlueprint]) -> TaskBlueprint:
    task = TaskBlueprint(
        name=_free(JOINING, [each.name for each in tasks]),
        description=_JOIN,
        expected_output=_ALONE_DONE,
        role=title,
        depends_on=[each.name for each in tasks],
    )
    return _told(task, ground.objective)


def _led(blueprint: Blueprint) -> Blueprint:
    """The same with its first role as the manager where the process needs one."""
    if blueprint.process is not Process.HIERARCHICAL:
        return blueprint
    first, *others = blueprint.roles
    lead = replace(first, rank=Rank.SUPERVISOR, is_delegation_allowed=True)
    roles = [lead, *(replace(role, supervisor=first.title) for role in others)]
    return replace(blueprint, manager=first.title, roles=roles)


def _team_name(objective: str) -> str:
    return f"Team: {_short(objective)}"


def _free(name: str, taken: Iterable[str]) -> str:
    used = set(taken)
    numbered = (f"{name} ({number})" for number in count(2))
    return next(each for each in chain([name], numbered) if each not in used)


# ---------------------------------------------------------------- changing a team


def _changed(ground: Ground, present: Blueprint, most_new: int, highest: Expertise) -> Composition:
    """The present team with tasks for the objective, and roles for what it lacks; what may stay, stays."""
    constraints, fit = ground.constraints, _fit_for(ground.analysis.skills)
    cut = _cut(present, constraints.most_roles, fit)
    base = _equipped(_capped(cut, _allowed(constraints)), ground.tools)
    own, lacking = _shared_out(ground.wanted, base, fit)
    room = min(most_new, constraints.most_roles - len(base.roles))
    new = _groups(lacking, room, [role.title for role in base.roles])
    added = [_capped_role(_role(ground, title, skills, 1), highest) for title, skills in new.items()]
    groups = _in_order(ground, {**dict(islice(own.items(), 2 * most_new)), **new})
    tasks = _added_tasks(ground, base, groups) or [_task_for_the_best(ground, base, lacking, fit)]
    changed = replace(base, roles=[*base.roles, *added], tasks=[*base.tasks, *tasks])
    changed, given = _capable(changed, fit)
    changed = preferring(_with_tools(changed, ground.tools), constraints.quality_preference)
    notes = [*_hardly_note(ground), *_left_out(present, cut), *given]
    return Composition(changed, "the present team and the skill catalogue", notes=notes)


def _shared_out(skills: Iterable[Skill], team: Blueprint, fit: Fit) -> tuple[dict[str, list[Skill]], list[Skill]]:
    """The skills by the titles of who has them, and those that nobody has."""
    own: dict[str, list[Skill]] = {}
    lacking = []
    for skill in skills:
        able = [role for role in team.roles if role.is_active and skill.name.casefold() in _skills_of(role)]
        if able:
            own.setdefault(max(able, key=fit).title, []).append(skill)
        else:
            lacking.append(skill)
    return {title: found[:_SKILLS_EACH] for title, found in own.items()}, lacking


def _skills_of(role: RoleBlueprint) -> set[str]:
    return {name.casefold() for name in role.skills}


def _added_tasks(ground: Ground, base: Blueprint, groups: Mapping[str, list[Skill]]) -> list[TaskBlueprint]:
    """A task for each of these roles; each waits for the one before, unless the objective lists things to do at once.

    Where tasks run in their order anyway, or all speak to all, that need not be said.
    """
    is_chain = base.process in (Process.PARALLEL, Process.HIERARCHICAL)
    is_ordered = ground.analysis.process is not Process.PARALLEL and base.process is not Process.COLLABORATIVE
    names, tasks = [task.name for task in base.tasks], list[TaskBlueprint]()
    for title, skills in groups.items():
        is_later = bool(tasks) and (is_ordered or base.process is Process.SEQUENTIAL)
        task = _task(ground, title, skills, is_alone=len(groups) == 1, is_later=is_later)
        task = replace(task, name=_free(task.name, names))
        if tasks and is_chain and is_ordered:
            task = replace(task, depends_on=[tasks[-1].name])
        tasks.append(task)
        names.append(task.name)
    return tasks


def _task_for_the_best(ground: Ground, base: Blueprint, lacking: Sequence[Skill], fit: Fit) -> TaskBlueprint:
    """The whole objective for who fits it best: nobody has such skills, and there is no room for somebody who has."""
    role = max(base.roles, key=lambda each: (each.is_active, fit(each)))
    task = _task(ground, role.title, [], is_alone=True)
    name = _capital(lacking[0].name) if lacking else f"Work of the {role.title}"
    return replace(task, name=_free(name[:MAX_NAME], [each.name for each in base.tasks]))


def _capable(team: Blueprint, fit: Fit) -> tuple[Blueprint, list[Finding]]:
    """The team with every skill that a task asks for: what nobody active has is given to who does the task, or fits."""
    active = [role for role in team.roles if role.is_active]
    has = {name for role in active for name in _skills_of(role)}
    given: dict[str, list[str]] = {}
    notes = []
    for task in team.tasks if active else ():
        for skill in task.required_skills:
            if skill.casefold() in has:
                continue
            has.add(skill.casefold())
            title = _doer(task, active, fit)
            given.setdefault(title, []).append(skill)
            told = f"“{title}” was given the skill “{skill}”: the task “{task.name}” asks for it, and nobody had it."
            notes.append(_adjusted(told, title))
    roles = [replace(role, skills=[*role.skills, *given.get(role.title, ())][:MOST_SKILLS]) for role in team.roles]
    return (replace(team, roles=roles), notes) if given else (team, notes)


def _doer(task: TaskBlueprint, active: Sequence[RoleBlueprint], fit: Fit) -> str:
    wanted = {name.casefold() for name in task.required_skills}
    best = max(active, key=lambda role: (role.title == task.role, len(_skills_of(role) & wanted), fit(role)))
    return best.title


def _left_out(present: Blueprint, cut: Blueprint) -> list[Finding]:
    """Who had to go, so that there are few enough roles, and who does their tasks."""
    stays = {role.title for role in cut.roles}
    does = {task.name: task.role for task in cut.tasks}
    notes = []
    for gone in [role.title for role in present.roles if role.title not in stays]:
        heirs = dict.fromkeys(f"“{does[task.name]}”" for task in present.tasks if task.role == gone)
        told = f"“{gone}” was left out: at most {len(stays)} {'role' if len(stays) == 1 else 'roles'} may stay."
        told += f" Its tasks go to {', '.join(heirs)}." if heirs else ""
        notes.append(_adjusted(told, gone))
    return notes


def _adjusted(told: str, title: str) -> Finding:
    return Finding(Severity.WARNING, FindingCode.ADJUSTED, told, title)


def _allowed(constraints: Constraints) -> Expertise:
    return constraints.expertise or Expertise.EXPERT


def _capped_role(role: RoleBlueprint, highest: Expertise) -> RoleBlueprint:
    return replace(role, expertise=min(role.expertise, highest))
