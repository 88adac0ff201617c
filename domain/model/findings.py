"""What is found about a team before it runs: pure rules over its blueprint and what is known of where it would run.

An ERROR says that the team cannot do its work, or breaks a constraint. What a run gets along with is none: without a
named manager, or with one that is not active, the most senior active role leads, so only nobody at all is an error.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from math import sqrt
from typing import Any, Final

from domain.errors import Invalid, Problem
from domain.model.blueprint import MOST_PARTS, Blueprint, RoleBlueprint, TaskBlueprint, ToolBlueprint
from domain.model.catalogue import find_shipped, is_known_bare
from domain.model.delegation import allowed_to, allowed_to_manager
from domain.model.estimate import Basis, Estimate, SuccessEstimate, TaskEstimate
from domain.model.execution import TaskExecution
from domain.model.generation import Constraints
from domain.model.history import ENOUGH_EXECUTIONS, SimilarHistory, TeamHistory
from domain.model.matching import manager_of
from domain.model.revision import TeamSnapshot
from domain.model.routing import Offer, find_offer
from domain.model.span import Span
from domain.model.team import Oversight, Process
from domain.model.tool import REPEATABLE, Tool, ToolKind
from domain.model.validation import Finding, FindingCode, Severity

_E, _W, _R = Severity.ERROR, Severity.WARNING, Severity.RECOMMENDATION
_C = FindingCode

SHORT_DESCRIPTION_BYTES, SHORT_OUTPUT_BYTES = 40, 12
"""Texts below say little. Bytes, for in scripts of three bytes a character says as much as a word."""

ROLES_BEYOND_TASKS: Final = 2
"""So many roles more than tasks are more than the tasks need."""

_SHOWN: Final = 5
_DETAILED: Final = 10
"""So many findings of one kind are told one by one."""


@dataclass(frozen=True, slots=True)
class ToolRules:
    """What the deployment lets tools do: whether there is a search engine, and which classes of crewai_tools it allows.

    `classes` None: not known here, so nothing is said of them.
    """

    has_search: bool = True
    classes: Collection[str] | None = None

    def problem_of(self, kind: ToolKind, configuration: Mapping[str, Any]) -> str | None:
        """Why a tool of this kind cannot be used; None when nothing speaks against it."""
        if kind is ToolKind.WEB_SEARCH and not self.has_search:
            return "No search engine is configured on this server."
        name = configuration.get("class_name")
        if kind is ToolKind.CREWAI_TOOL and self.classes is not None and name not in self.classes:
            return f"The class {str(name)[:100]!r} is not allowed on this server."
        return None


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a team that holds its own rules.

    `planned` is what each role would do, empty where nobody could do the work, and then `estimate.reason` says why.
    `tools` are those of its project, by name, None where that is not known; `archived` names those of the team's own
    that are out of use. `unlisted` are models whose use the offers say nothing of. `skills` are the catalogue's names.
    """

    snapshot: TeamSnapshot
    planned: Sequence[TaskExecution]
    estimate: Estimate
    offers: Sequence[Offer]
    default_model: str | None = None
    tools: Mapping[str, Tool] | None = None
    archived: Collection[str] = ()
    rules: ToolRules = field(default_factory=ToolRules)
    unlisted: Collection[str] = ()
    skills: Collection[str] = ()


def unlisted_models(blueprint: Blueprint) -> list[str]:
    """The models that roles name and that do not ship: a tenant's own, or none of the catalogue's."""
    named = dict.fromkeys(role.model for role in blueprint.roles if role.model)
    return [name for name in named if not find_shipped(name) and not ("/" not in name and is_known_bare(name))]


def broken_rules(blueprint: Blueprint) -> list[Finding]:
    """The rules of its own that the blueprint breaks; while there is one, it is no team."""
    try:
        blueprint.check()
    except Invalid as error:
        return [_broken(blueprint, problem) for problem in error.problems]
    return []


def _broken(blueprint: Blueprint, problem: Problem) -> Finding:
    path = tuple(problem.path)
    if path == ("tasks",) and len(blueprint.tasks) <= MOST_PARTS:
        return Finding(_E, _C.DEPENDENCY_CYCLE, problem.message, suggestion="Take one of these dependencies away.")
    if path == ("roles",) and len(blueprint.roles) <= MOST_PARTS:
        return Finding(_E, _C.SUPERVISOR_CYCLE, problem.message, suggestion="Let one of these roles report to nobody.")
    return Finding(_E, _C.INVALID, f"{'.'.join(path)}: {problem.message}", _named_at(blueprint, path))


def too_long(message: str) -> Finding:
    """Of a team whose texts together are more than a run may have."""
    return Finding(_E, _C.INVALID, message, suggestion="Say it in fewer words, or split the team.")


def _named_at(blueprint: Blueprint, path: Sequence[str]) -> str | None:
    """The part that a path leads to."""
    if len(path) <= 1 or not path[1].isdigit():
        return None
    place = int(path[1])
    match path[0]:
        case "roles":
            return blueprint.roles[place].title
        case "tasks":
            return blueprint.tasks[place].name
        case "tools":
            return blueprint.tools[place].name
    return None


def findings_of(blueprint: Blueprint, facts: Facts, constraints: Constraints | None = None) -> list[Finding]:
    """All findings about a team that holds its own rules: errors first, then warnings, then recommendations."""
    found = [
        *_of_roles(blueprint),
        *_of_manager(blueprint, facts),
        *_of_capability(blueprint, facts),
        *_of_models(blueprint, facts),
        *_of_tools(blueprint, facts),
        *broken_constraints(blueprint, constraints),
        *_of_budgets(blueprint, facts, constraints),
        *_of_work(blueprint, facts),
        *_of_delegation(blueprint, facts),
        *_of_texts(blueprint, facts),
        *_of_order(blueprint),
    ]
    order = list(Severity)
    return sorted(found, key=lambda finding: order.index(finding.severity))


# ---------------------------------------------------------------- roles and who leads


def _of_roles(blueprint: Blueprint) -> Iterator[Finding]:
    if not blueprint.roles:
        yield Finding(_E, _C.NO_ROLE, "There is no role.", suggestion="Add a role.")
    elif not any(role.is_active for role in blueprint.roles):
        yield Finding(_E, _C.NO_ACTIVE_ROLE, "No role is active.", suggestion="Set a role active.")
    seen: Counter[str] = Counter()
    for role in blueprint.roles:
        plain = _plain(role.title)
        seen[plain] += 1
        if seen[plain] > 1:
            told = f"More than one role is called “{plain}”: models, and people, cannot tell them apart."
            yield Finding(_W, _C.DUPLICATE_TITLE, told, role.title, "Give each a title that says what only it does.")


def _plain(title: str) -> str:
    """The title without case, and without the number that tells roles of one title apart."""
    words = title.casefold().split()
    return " ".join(words[:-1] if len(words) > 1 and words[-1].strip("()").isdigit() else words)


def _of_manager(blueprint: Blueprint, facts: Facts) -> Iterator[Finding]:
    if blueprint.process is not Process.HIERARCHICAL:
        return
    active = [role for role in facts.snapshot.roles if role.is_active]
    if not active:
        yield Finding(_E, _C.MISSING_MANAGER, "There is no active role that could lead this HIERARCHICAL team.")
        return
    leader = manager_of(facts.snapshot.team, active).title
    named = blueprint.role(blueprint.manager) if blueprint.manager else None
    if named is not None and not named.is_active:
        told = f"Its manager “{named.title}” is not active: “{leader}”, the most senior active role, leads instead."
        yield Finding(_W, _C.MISSING_MANAGER, told, named.title, "Name an active role as the manager.")
    elif named is None:
        does = {Oversight.LIGHT: "assigns the tasks", Oversight.CLOSE: "leads, and reviews each result"}
        told = (
            f"No manager is named: “{leader}”, the most senior active role, {does.get(blueprint.oversight, 'leads')}."
        )
        yield Finding(_R, _C.MISSING_MANAGER, told, leader, "Name the manager, so that a new role does not take over.")
    if len(active) == 1:
        told = f"“{leader}” leads nobody: it does all tasks itself."
        yield Finding(_W, _C.MISSING_MANAGER, told, leader, "Add roles to lead, or take another process.")


def _of_capability(blueprint: Blueprint, facts: Facts) -> Iterator[Finding]:
    """Whether somebody has the skills that each task asks for."""
    active = {role.title: role for role in blueprint.roles if role.is_active}
    if not active:
        return
    if not facts.planned:
        yield Finding(_E, _C.NO_CAPABLE_ROLE, facts.estimate.reason, suggestion="Raise the maxTasks of a role.")
    skills = {title: _folded(role.skills) for title, role in active.items()}
    anywhere = set().union(*skills.values())
    by_id = {role.id: role.title for role in facts.snapshot.roles}
    does = {task.name: by_id[task.role_id] for task in facts.planned}
    for task in blueprint.tasks:
        lacking = [skill for skill in task.required_skills if skill.casefold() not in anywhere]
        if lacking:
            told = f"No active role has a skill that the task “{task.name}” asks for: {_listed(lacking)}."
            yield Finding(_E, _C.NO_CAPABLE_ROLE, told, task.name, "Give the skill to a role, or ask for another one.")
        else:
            yield from _of_assignment(task, does.get(task.name), skills)


def _of_assignment(task: TaskBlueprint, title: str | None, skills: Mapping[str, frozenset[str]]) -> Iterator[Finding]:
    if title is None:
        return
    if task.role is not None and task.role not in skills:
        told = f"The role of the task “{task.name}”, “{task.role}”, is not active: “{title}” would do it."
        yield Finding(_W, _C.NO_CAPABLE_ROLE, told, task.name, "Set the role active, or give the task to another one.")
    short = [skill for skill in task.required_skills if skill.casefold() not in skills[title]]
    if short:
        told = f"“{title}” would do the task “{task.name}”, but lacks a skill that it asks for: {_listed(short)}."
        yield Finding(_W, _C.NO_CAPABLE_ROLE, told, task.name, "Split the task, or give one role all these skills.")


# ---------------------------------------------------------------- models and tools


def _of_models(blueprint: Blueprint, facts: Facts) -> Iterator[Finding]:
    count = 0
    for role in blueprint.roles:
        if role.is_active and role.model:
            for finding in _of_model(role.model, f"“{role.title}”", role.title, facts):
                count += finding.severity is _E
                yield finding
    if facts.default_model and not all(role.model for role in blueprint.roles if role.is_active):
        for finding in _of_model(facts.default_model, "The deployment", None, facts):
            count += finding.severity is _E
            yield finding
    without = [task for task in facts.estimate.tasks if task.model is None and task.role is not None]
    if without and not count:
        told = f"No model can be used for {_listed([task.name for task in without])}: {without[0].reason}"
        yield Finding(_E, _C.NO_MODEL, told, suggestion="`models` says of each why it cannot be used.")


def _of_model(name: str, whose: str, subject: str | None, facts: Facts) -> Iterator[Finding]:
    offer = find_offer(facts.offers, name)
    if offer is None and name in facts.unlisted:
        told = f"{whose} names the model “{name}”, which the catalogue lacks: a call will tell if it can be used."
        yield Finding(_W, _C.UNUSABLE_MODEL, told, subject, "Make an entry for it in the catalogue.")
    elif offer is None:
        told = f"{whose} names the model “{name}”, which the catalogue does not have."
        yield Finding(
            _E, _C.UNUSABLE_MODEL, told, subject, "Name a model of the catalogue, or none: it is routed then."
        )
    elif not offer.can_be_waited_for:
        told = f"{whose} names the model “{offer.model.name}”, which cannot be used: {offer.explanation}"
        yield Finding(_E, _C.UNUSABLE_MODEL, told, subject, "Name another model, or none: it is routed then.")


def _of_tools(blueprint: Blueprint, facts: Facts) -> Iterator[Finding]:
    users: dict[str, list[str]] = {}
    for role in blueprint.roles:
        for name in role.tools:
            users.setdefault(name, []).append(role.title)
    for tool in blueprint.tools:
        if tool.name in users:
            yield from _of_tool(tool, users[tool.name], facts)
        else:
            told = f"No role uses the tool “{tool.name}”."
            yield Finding(_R, _C.UNUSED_TOOL, told, tool.name, "Give it to a role, or leave it out.")
    for name in facts.archived:
        told = f"The tool “{name}” is archived: runs leave it out."
        yield Finding(_E, _C.UNUSABLE_TOOL, told, name, "Restore the tool, or take it away from the roles.")


def _of_tool(tool: ToolBlueprint, users: Sequence[str], facts: Facts) -> Iterator[Finding]:
    known = facts.tools.get(tool.name) if facts.tools is not None else None
    if facts.tools is not None and known is None and tool.kind not in REPEATABLE:
        told = f"The project has no tool “{tool.name}”, which {_listed(users)} would use."
        yield Finding(_E, _C.UNUSABLE_TOOL, told, tool.name, f"Make this {tool.kind.value} first.")
        return
    kind, configuration = (known.kind, known.configuration) if known else (tool.kind, tool.configuration)
    problem = facts.rules.problem_of(kind, configuration)
    if problem is not None:
        told = f"The tool “{tool.name}”, which {_listed(users)} would use, cannot be used: {problem}"
        yield Finding(_E, _C.UNUSABLE_TOOL, told, tool.name, "Take it away from the roles, or ask the operator for it.")


# ---------------------------------------------------------------- constraints and money


def broken_constraints(blueprint: Blueprint, constraints: Constraints | None) -> Iterator[Finding]:
    """Whatever the blueprint does not keep to, budgets apart; rules of its own may be broken."""
    if constraints is None:
        return
    if constraints.max_roles is not None and len(blueprint.roles) > constraints.max_roles:
        told = f"There are {len(blueprint.roles)} roles, and at most {constraints.max_roles} are allowed."
        yield Finding(_E, _C.TOO_MANY_ROLES, told, suggestion="Leave roles out, or let one do the work of two.")
    most = constraints.expertise
    for role in blueprint.roles:
        if most is not None and role.expertise.level > most.level:
            told = f"“{role.title}” is {role.expertise.value}, and {most.value} is the highest that is allowed."
            yield Finding(_E, _C.EXPERTISE_TOO_HIGH, told, role.title, f"Make it {most.value}.")
    if constraints.tools is not None:
        yield from _forbidden_tools(blueprint, constraints.tools)


def _forbidden_tools(blueprint: Blueprint, allowed: Sequence[str]) -> Iterator[Finding]:
    users: dict[str, list[str]] = {}
    for role in blueprint.roles:
        for name in role.tools:
            if name not in allowed:
                users.setdefault(name, []).append(role.title)
    what = f"only {_listed(allowed)}" if allowed else "no tools"
    for name, titles in users.items():
        told = f"{_listed(titles)} would use the tool “{name}”, but {what} may be given to roles."
        yield Finding(_E, _C.TOOL_NOT_ALLOWED, told, name, "Take it away from the roles.")


def _of_budgets(blueprint: Blueprint, facts: Facts, constraints: Constraints | None) -> Iterator[Finding]:
    amount = facts.estimate.amount
    if constraints is not None and constraints.budget is not None:
        yield from _of_constraint(constraints.budget, constraints, facts.estimate)
    monthly = blueprint.monthly_budget
    if monthly is not None and amount.high > monthly:
        which = "even the lower" if amount.low > monthly else "the higher"
        told = f"The team's monthly budget of {_dollars(monthly)} is below {which} end of one execution's estimate"
        yield Finding(_W, _C.BUDGET_BELOW_ESTIMATE, f"{told}, {_both(amount)}.", suggestion="Raise the budget.")
    budgets = {task.name: task.max_budget for task in blueprint.tasks if task.max_budget is not None}
    for task in facts.estimate.tasks:
        own = budgets.get(task.name)
        if own is not None and task.amount.high > own:
            told = (
                f"The budget of the task “{task.name}”, {_dollars(own)}, is below its estimate, {_both(task.amount)}."
            )
            yield Finding(_W, _C.BUDGET_BELOW_ESTIMATE, told, task.name, "Raise the budget, or ask for less.")


def _of_constraint(budget: Decimal, constraints: Constraints, estimate: Estimate) -> Iterator[Finding]:
    amount = estimate.amount
    if amount.low > budget:
        dearest = sorted(estimate.tasks, key=lambda task: -task.amount.low)[:3]
        told = (
            f"The budget of {_dollars(budget)} and {len(estimate.tasks)} tasks with the quality preference"
            f" {constraints.quality_preference.value} are in conflict: even the lower end of the estimate is"
            f" {_dollars(amount.low)}; the dearest tasks are {_priced(dearest)}."
        )
        suggestion = "Raise the budget, leave tasks out, or take COST_OPTIMIZED."
        yield Finding(_E, _C.OVER_BUDGET, told, suggestion=suggestion)
    elif amount.high > budget:
        told = f"The budget of {_dollars(budget)} is below the higher end of the estimate, {_both(amount)}."
        yield Finding(_W, _C.BUDGET_BELOW_ESTIMATE, told, suggestion="Raise the budget, or ask for less.")


def _priced(tasks: Iterable[TaskEstimate]) -> str:
    return ", ".join(f"“{task.name}” ({task.model or 'no model'}, {_dollars(task.amount.low)})" for task in tasks)


# ---------------------------------------------------------------- who does what


def _of_work(blueprint: Blueprint, facts: Facts) -> Iterator[Finding]:
    active = [role for role in facts.snapshot.roles if role.is_active]
    if not blueprint.tasks:
        told = "There is no task: each active role is given one that is written for it."
        yield Finding(_W, _C.NO_TASKS, told, suggestion="Add tasks that say what is to be done.")
        return
    busy = {task.role_id for task in facts.planned} | _reached(blueprint, facts)
    idle = [role.title for role in active if role.id not in busy] if facts.planned else []
    for title in idle:
        told = f"“{title}” has nothing to do in an execution."
        yield Finding(_W, _C.ROLE_WITHOUT_TASK, told, title, "Give it a task, or leave it out.")
    spare = len(active) - len(blueprint.tasks) - (blueprint.process is Process.HIERARCHICAL)
    if spare >= ROLES_BEYOND_TASKS:
        told = f"There are {len(active)} active roles for {len(blueprint.tasks)} {_plural('task', blueprint.tasks)}."
        yield Finding(_R, _C.MANY_ROLES, told, suggestion="Fewer roles with more skills cost less and wait less.")


def _reached(blueprint: Blueprint, facts: Facts) -> set[Any]:
    """Who leads a HIERARCHICAL team, and to whom it may hand a task on."""
    active = [role for role in facts.snapshot.roles if role.is_active]
    if blueprint.process is not Process.HIERARCHICAL or not active:
        return set()
    manager = manager_of(facts.snapshot.team, active)
    kinds = {task.kind for task in blueprint.tasks}
    return {manager.id, *(role.id for kind in kinds for role in allowed_to_manager(manager, active, kind))}


def _of_delegation(blueprint: Blueprint, facts: Facts) -> Iterator[Finding]:
    active = [role for role in facts.snapshot.roles if role.is_active]
    may = [role for role in active if role.is_delegation_allowed]
    if blueprint.process is not Process.HIERARCHICAL:
        if may:
            told = f"{_listed([role.title for role in may])} may delegate, which counts in HIERARCHICAL teams only."
            yield Finding(_W, _C.OVER_DELEGATION, told, suggestion="Take the permission away, or the other process.")
        return
    manager = manager_of(facts.snapshot.team, active) if active else None
    others = [role for role in may if manager and role.id != manager.id]
    if len(others) > max(1, (len(active) - 1) // 2):
        told = (
            f"{len(others)} of {len(active) - 1} roles under the manager may delegate: work is handed on instead of"
            " being done, and each time costs model calls."
        )
        yield Finding(_W, _C.OVER_DELEGATION, told, suggestion="Let only those delegate who have people under them.")
    kinds = [*{task.kind for task in blueprint.tasks}, *(kind for role in others for kind in role.delegation_kinds)]
    for role in others:
        if not any(allowed_to(role, active, kind) for kind in kinds or [""]):
            told = f"“{role.title}” may delegate, but there is nobody to whom, or no task that it may hand on."
            yield Finding(_W, _C.OVER_DELEGATION, told, role.title, "Let roles report to it, or take it away.")


# ---------------------------------------------------------------- what could be better


def _of_texts(blueprint: Blueprint, facts: Facts) -> Iterator[Finding]:
    for task in [task for task in blueprint.tasks if _is_vague(task)][:_DETAILED]:
        told = f"The task “{task.name}” says little: models fill such gaps with guesses."
        yield Finding(_R, _C.VAGUE_TASK, told, task.name, "Say what is to be done, with what, and what comes out.")
    known = _folded(facts.skills)
    named = [*(skill for role in blueprint.roles for skill in role.skills)]
    named += [skill for task in blueprint.tasks for skill in task.required_skills]
    unknown = list({skill.casefold(): skill for skill in named if skill.casefold() not in known}.values())
    if known and unknown:
        told = f"The skill catalogue does not have {_listed(unknown)}: nothing is known to fit."
        yield Finding(_R, _C.SKILL_NOT_IN_CATALOGUE, told, suggestion="`skills` lists those that it has.")
    if blueprint.process is Process.HIERARCHICAL and blueprint.oversight is Oversight.CLOSE:
        return  # the manager reviews each result
    for task in [task for task in _last(blueprint) if not _is_checked(task)][:_DETAILED]:
        told = f"Nothing checks what comes out of “{task.name}”, which is a result of the team."
        yield Finding(_R, _C.NO_OUTPUT_CHECK, told, task.name, "Give it a guardrail or an output schema.")


def _is_vague(task: TaskBlueprint) -> bool:
    short = len(task.description.strip().encode(errors="replace")) < SHORT_DESCRIPTION_BYTES
    return short or len(task.expected_output.strip().encode(errors="replace")) < SHORT_OUTPUT_BYTES


def _is_checked(task: TaskBlueprint) -> bool:
    return bool(task.guardrail or task.output_schema is not None or task.is_approval_required)


def _last(blueprint: Blueprint) -> list[TaskBlueprint]:
    """The tasks that no other one builds on."""
    if blueprint.process is Process.COLLABORATIVE:
        return []  # the synthesis is
    if blueprint.process is not Process.PARALLEL:
        return blueprint.tasks[-1:]
    needed = {name for task in blueprint.tasks for name in task.depends_on}
    return [task for task in blueprint.tasks if task.name not in needed]


def _of_order(blueprint: Blueprint) -> Iterator[Finding]:
    if blueprint.process is not Process.SEQUENTIAL:
        return
    together = _at_once(blueprint.tasks)
    if together:
        told = f"{_listed(together)} do not need each other, and could be worked on at once."
        suggestion = "Take the process PARALLEL, and declare what each task depends on."
        yield Finding(_R, _C.COULD_RUN_IN_PARALLEL, told, suggestion=suggestion)


def _at_once(tasks: Sequence[TaskBlueprint]) -> list[str]:
    """The first tasks that could be worked on at once; one that declares nothing sees all before it, so it waits."""
    levels: dict[str, int] = {}
    left = list(tasks)
    while left:
        ready = next((task for task in left if all(name in levels for name in task.depends_on)), left[0])
        before = [levels.get(name, -1) for name in ready.depends_on] if ready.depends_on else list(levels.values())
        levels[ready.name] = 1 + max(before, default=-1)
        left.remove(ready)
    counts = Counter(levels.values())
    level = next((level for level in sorted(counts) if counts[level] > 1), None)
    return [name for name, own in levels.items() if own == level]


# ---------------------------------------------------------------- success


_Z: Final = 1.96
"""The normal quantile of a 95 % interval."""

_UNTRIED: Final = Span(0.6, 0.95)
_PER_WARNING, _MOST_OFF = 0.05, 0.4
_PER_GUARDRAIL: Final = 0.02


def success_of(
    findings: Sequence[Finding], blueprint: Blueprint, own: TeamHistory | None, similar: SimilarHistory | None
) -> SuccessEstimate:
    """How likely an execution completes: by the team's own executions, those of similar teams, else by a heuristic."""
    if own is not None and own.is_enough:
        reason = f"{own.completed} of this team's last {own.finished} executions completed; the 95 % interval of that."
        return SuccessEstimate(wilson(own.completed, own.finished), Basis.HISTORY, own.finished, reason)
    if similar is not None and similar.finished >= ENOUGH_EXECUTIONS:
        reason = (
            f"{similar.completed} of {similar.finished} executions of {similar.teams} teams with at least half of"
            " these skills completed; the 95 % interval of that."
        )
        return SuccessEstimate(
            wilson(similar.completed, similar.finished), Basis.SIMILAR_TEAMS, similar.finished, reason
        )
    return _by_rule(findings, blueprint, own)


def _by_rule(findings: Sequence[Finding], blueprint: Blueprint, own: TeamHistory | None) -> SuccessEstimate:
    warnings = sum(finding.severity is _W for finding in findings)
    guarded = sum(bool(task.guardrail or task.output_schema) for task in blueprint.tasks)
    off = min(_MOST_OFF, _PER_WARNING * warnings + _PER_GUARDRAIL * guarded)
    had = own.finished if own else 0
    reason = (
        f"A heuristic, nothing measured: {had} executions of this team are over, {ENOUGH_EXECUTIONS} are needed, and"
        f" too few of similar teams. {_span(_UNTRIED)} for any team, less {off:.2f} for {warnings} warnings and"
        f" {guarded} tasks whose output has to pass a check."
    )
    span = Span(round(_UNTRIED.low - off, 3), round(_UNTRIED.high - off, 3))
    return SuccessEstimate(span, Basis.HEURISTIC, 0, reason)


def wilson(completed: int, finished: int) -> Span[float]:
    """Wilson's score interval of a share, 95 %: for few of them, and near 0 and 1, better than the normal one."""
    share, z = completed / finished, _Z
    middle = (share + z**2 / (2 * finished)) / (1 + z**2 / finished)
    half = z / (1 + z**2 / finished) * sqrt(share * (1 - share) / finished + z**2 / (4 * finished**2))
    return Span(round(max(0.0, middle - half), 3), round(min(1.0, middle + half), 3))


# ---------------------------------------------------------------- words


def skills_of(roles: Iterable[RoleBlueprint]) -> list[str]:
    """The skills of the active roles, each once."""
    named = (skill for role in roles if role.is_active for skill in role.skills)
    return list({skill.casefold(): skill for skill in named}.values())


def _folded(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.casefold() for name in names)


def _listed(names: Sequence[str]) -> str:
    shown = [f"“{name[:60]}”" for name in names[:_SHOWN]]
    return ", ".join(shown if len(names) <= _SHOWN else [*shown, "…"])


def _plural(what: str, things: Sequence[Any]) -> str:
    return what if len(things) == 1 else f"{what}s"


def _dollars(amount: Decimal) -> str:
    """As many digits as say something: cents, and for less the first two that are not zero."""
    if amount >= Decimal("0.1") or not amount:
        return f"${amount:.2f}"
    return f"${amount:.{1 - amount.adjusted()}f}"


def _both(amount: Span[Decimal]) -> str:
    return f"{_dollars(amount.low)} to {_dollars(amount.high)}"


def _span(span: Span[float]) -> str:
    return f"{span.low:.2f} to {span.high:.2f}"
