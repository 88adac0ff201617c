"""Blueprints: a whole team as a value, by names instead of ids; what templates, generations and files are made of."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Final

from pydantic import ConfigDict, PlainSerializer, TypeAdapter, ValidationError, with_config

from domain.errors import DependencyCycle, Invalid, Problem, SupervisorCycle
from domain.model.approval import ApprovalDefault, ApprovalRule
from domain.model.execution import MAX_PARALLEL_TASKS
from domain.model.identity import PrincipalId, ProjectId, RoleId, TaskId, TenantId, new_id
from domain.model.revision import TeamSnapshot
from domain.model.role import DEFAULT_TEMPERATURE, DelegatesTo, Delegation, Expertise, Rank, Role, check_supervisors
from domain.model.routing import QualityPreference
from domain.model.rules import MAX_ITEMS, Rules
from domain.model.task import MAX_ATTEMPTS, PRIORITY, Task, TaskDependency, check_dependencies
from domain.model.team import (
    EXECUTION_TIMEOUT_SECONDS,
    MAX_ITERATIONS,
    TASK_TIMEOUT_SECONDS,
    Oversight,
    Process,
    Team,
    TeamSettings,
    WhenBusy,
)
from domain.model.tool import RoleTool, Tool, ToolKind

MOST_PARTS: Final = 100
"""So many roles, tasks and tools a blueprint has at most, of each: as many as a team."""


_STRICT: Final = ConfigDict(extra="forbid")
"""Of documents: nothing unknown is passed over."""


def _digits(amount: Decimal) -> str:
    # What no rule allows, as it is: in digits, 1e999999 would be a million of them.
    is_usual = amount.is_finite() and abs(amount.adjusted()) <= _MOST_DIGITS
    return format(amount.normalize(), "f") if is_usual else str(amount)


_MOST_DIGITS: Final = 30

Dollars = Annotated[Decimal, PlainSerializer(_digits, when_used="json")]
"""Equal amounts are equal texts: a database gives them with more zeros than people."""


@with_config(_STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class ToolBlueprint:
    """A tool that roles use: the project's one of this name, else one that is made."""

    name: str
    kind: ToolKind
    description: str = ""
    configuration: dict[str, Any] = field(default_factory=dict)
    is_idempotent: bool | None = None


@with_config(_STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class RoleBlueprint:
    """A role, see `domain.model.role.Role`. `title` is unique here, `supervisor` is one, `tools` are names."""

    title: str
    description: str = ""
    expertise: Expertise = Expertise.INTERMEDIATE
    goals: list[str] = field(default_factory=list)
    backstory: str = ""
    model: str | None = None
    temperature: float = DEFAULT_TEMPERATURE
    max_tokens: int | None = None
    model_parameters: dict[str, Any] = field(default_factory=dict)
    skills: list[str] = field(default_factory=list)
    tools: list[str] = field(default_factory=list)
    rank: Rank = Rank.SPECIALIST
    supervisor: str | None = None
    is_delegation_allowed: bool = False
    delegates_to: DelegatesTo = DelegatesTo.SUBORDINATES
    delegation_kinds: list[str] = field(default_factory=list)
    max_tasks: int | None = None
    max_parallel_tasks: int | None = None
    can_ask: bool = False
    is_active: bool = True

    @property
    def delegation(self) -> Delegation:
        return Delegation(self.is_delegation_allowed, self.delegates_to, self.delegation_kinds)


@with_config(_STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class TaskBlueprint:
    """A task, see `domain.model.task.Task`. `role` is a title, None: matched by skill; `depends_on` are names."""

    name: str
    description: str
    expected_output: str
    kind: str = ""
    role: str | None = None
    required_skills: list[str] = field(default_factory=list)
    depends_on: list[str] = field(default_factory=list)
    priority: int = PRIORITY
    max_attempts: int = MAX_ATTEMPTS
    max_budget: Dollars | None = None
    quality_preference: QualityPreference | None = None
    output_schema: dict[str, Any] | None = None
    guardrail: str | None = None
    is_approval_required: bool = False
    approval_assignee: str | None = None
    approval_timeout_seconds: float | None = None
    approval_default: ApprovalDefault = ApprovalDefault.REJECT

    @property
    def approval(self) -> ApprovalRule:
        return ApprovalRule(
            self.is_approval_required, self.approval_assignee, self.approval_timeout_seconds, self.approval_default
        )


@with_config(_STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """A team by names: `manager` is a role's title; durations in seconds, the monthly budget in dollars."""

    name: str
    description: str = ""
    process: Process = Process.SEQUENTIAL
    manager: str | None = None
    roles: list[RoleBlueprint] = field(default_factory=list)
    tasks: list[TaskBlueprint] = field(default_factory=list)
    tools: list[ToolBlueprint] = field(default_factory=list)
    max_iterations: int = MAX_ITERATIONS
    execution_timeout_seconds: float = EXECUTION_TIMEOUT_SECONDS
    task_timeout_seconds: float = TASK_TIMEOUT_SECONDS
    max_parallel_tasks: int = MAX_PARALLEL_TASKS
    when_busy: WhenBusy = WhenBusy.QUEUE
    oversight: Oversight = Oversight.STANDARD
    is_cached: bool = False
    monthly_budget: Dollars | None = None

    @property
    def settings(self) -> TeamSettings:
        return TeamSettings(
            self.max_iterations,
            self.execution_timeout_seconds,
            self.task_timeout_seconds,
            self.max_parallel_tasks,
            self.when_busy,
            self.oversight,
            self.is_cached,
        )

    def role(self, title: str) -> RoleBlueprint | None:
        """The role of this title."""
        return next((role for role in self.roles if role.title == title), None)

    def task(self, name: str) -> TaskBlueprint | None:
        """The task of this name."""
        return next((task for task in self.tasks if task.name == name), None)

    def check(self, *under: str) -> None:
        """Raises Invalid with every broken rule, located `under` that path: names, references, cycles, sizes.

        Where anything is too long, that alone is told: what it says is not looked at.
        """
        problems = _problems_of_sizes(self)
        if not problems:
            problems = [*_problems_of_names(self), *_problems_of_parts(self)]
        if not problems:  # whatever refers to nothing would be told as a cycle, too
            problems = _cycles(self)
        if problems:
            raise Invalid([Problem(problem.message, (*under, *problem.path)) for problem in problems])


def with_tools(blueprint: Blueprint, known: Iterable[Tool]) -> Blueprint:
    """The blueprint that also describes those of the known tools that its roles name and it says nothing of."""
    described = {tool.name for tool in blueprint.tools}
    missing = {name for role in blueprint.roles for name in role.tools} - described
    found = [tool_blueprint(tool) for tool in known if tool.name in missing]
    return replace(blueprint, tools=[*blueprint.tools, *found]) if found else blueprint


# ---------------------------------------------------------------- documents


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[Blueprint]:
    return TypeAdapter(Blueprint)


def as_document(blueprint: Blueprint, *, is_whole: bool = False) -> dict[str, Any]:
    """The blueprint as JSON, amounts as text; what is as it is by default is left out unless it `is_whole`."""
    document: dict[str, Any] = _adapter().dump_python(blueprint, mode="json", exclude_defaults=not is_whole)
    return document


def from_document(document: object, *under: str) -> Blueprint:
    """The blueprint of a JSON document; raises Invalid for one of another shape. Its own rules are not checked."""
    try:
        return _adapter().validate_python(document)
    except ValidationError as error:
        raise Invalid(
            [Problem(told["msg"], (*under, *map(str, told["loc"]))) for told in error.errors(include_url=False)[:20]]
        ) from None


# ---------------------------------------------------------------- rules


def _problems_of_sizes(blueprint: Blueprint) -> list[Problem]:
    rules = Rules()
    for what in ("roles", "tasks", "tools"):
        rules.require(len(getattr(blueprint, what)) <= MOST_PARTS, f"At most {MOST_PARTS} {what}.", what)
    if not rules.problems:
        for place, role in enumerate(blueprint.roles):
            _check_lists(rules, role, _LISTS_OF_ROLES, "roles", str(place))
        for place, task in enumerate(blueprint.tasks):
            _check_lists(rules, task, _LISTS_OF_TASKS, "tasks", str(place))
    return rules.problems


_LISTS_OF_ROLES: Final = {
    "goals": ("goals",),
    "skills": ("skills",),
    "tools": ("tools",),
    "delegation_kinds": ("delegation", "taskKinds"),
}
_LISTS_OF_TASKS: Final = {"required_skills": ("requiredSkills",), "depends_on": ("dependsOn",)}
"""The lists of a part, each with its place in the graph."""


def _check_lists(rules: Rules, part: Any, lists: Mapping[str, Sequence[str]], *path: str) -> None:
    for name, place in lists.items():
        rules.require(len(getattr(part, name)) <= MAX_ITEMS, f"At most {MAX_ITEMS} entries.", *path, *place)


def _problems_of_names(blueprint: Blueprint) -> list[Problem]:
    titles, names = [role.title for role in blueprint.roles], [task.name for task in blueprint.tasks]
    tools = [tool.name for tool in blueprint.tools]
    rules = Rules()
    for what, given, label in (("roles", titles, "title"), ("tasks", names, "name"), ("tools", tools, "name")):
        for place in _repeated(given):
            rules.refuse(f"Another one of the {what} has this {label}.", what, str(place), label)
    known, done, made = set(titles), set(names), set(tools)
    _refer(rules, [blueprint.manager], known, "No role has this title.", "manager")
    for place, role in enumerate(blueprint.roles):
        _refer(rules, [role.supervisor], known, "No role has this title.", "roles", str(place), "supervisor")
        for number, tool in enumerate(role.tools):
            _refer(rules, [tool], made, "No tool has this name.", "roles", str(place), "tools", str(number))
    for place, task in enumerate(blueprint.tasks):
        _refer(rules, [task.role], known, "No role has this title.", "tasks", str(place), "role")
        for number, name in enumerate(task.depends_on):
            _refer(rules, [name], done, "No task has this name.", "tasks", str(place), "dependsOn", str(number))
    return rules.problems


def _repeated(given: Sequence[str]) -> Iterable[int]:
    seen: Counter[str] = Counter()
    for place, name in enumerate(given):
        seen[name] += 1
        if seen[name] > 1:
            yield place


def _refer(rules: Rules, given: Sequence[str | None], known: Collection[str], message: str, *path: str) -> None:
    for name in given:
        rules.require(name is None or name in known, message, *path)


_NOBODY: Final = TenantId(new_id())
_NOWHERE: Final = ProjectId(new_id())


def _problems_of_parts(blueprint: Blueprint) -> list[Problem]:
    """What the rules of teams, roles, tasks and tools say of the parts."""
    team = _team_of(blueprint, _NOBODY, _NOWHERE)
    tools = [_tool_of(tool, _NOBODY, _NOWHERE) for tool in blueprint.tools]
    roles = [_role_of(role, team, place) for place, role in enumerate(blueprint.roles)]
    tasks = [_task_of(task, team, place) for place, task in enumerate(blueprint.tasks)]
    problems = _told(team.check)
    parts: list[tuple[str, Sequence[Role | Task | Tool]]] = [("roles", roles), ("tasks", tasks), ("tools", tools)]
    for what, things in parts:
        for place, thing in enumerate(things):
            problems += _told(thing.check, what, str(place))
    return problems


def _told(check: Callable[[], None], *under: str) -> list[Problem]:
    try:
        check()
    except Invalid as error:
        return [Problem(problem.message, (*under, *problem.path)) for problem in error.problems]
    return []


def _cycles(blueprint: Blueprint) -> list[Problem]:
    snapshot = snapshot_of(blueprint, _NOBODY, _NOWHERE, {})
    problems = []
    try:
        check_supervisors(snapshot.roles)
    except SupervisorCycle as error:
        problems.append(Problem(str(error), ("roles",)))
    try:
        check_dependencies(snapshot.tasks, snapshot.dependencies)
    except DependencyCycle as error:
        problems.append(Problem(str(error), ("tasks",)))
    return problems


# ---------------------------------------------------------------- teams


def snapshot_of(
    blueprint: Blueprint,
    tenant_id: TenantId,
    project_id: ProjectId,
    tools: Mapping[str, Tool],
    by: PrincipalId | None = None,
) -> TeamSnapshot:
    """The team that the blueprint describes, with fresh ids; `tools` by name, those that it lacks are left out."""
    team = _team_of(blueprint, tenant_id, project_id, by)
    roles = {role.title: _role_of(role, team, place, by) for place, role in enumerate(blueprint.roles)}
    tasks = {task.name: _task_of(task, team, place, by) for place, task in enumerate(blueprint.tasks)}
    for described in blueprint.roles:
        if described.supervisor is not None:
            roles[described.title].supervisor_id = roles[described.supervisor].id
    for wanted in blueprint.tasks:
        tasks[wanted.name].role_id = None if wanted.role is None else roles[wanted.role].id
    team.manager_id = None if blueprint.manager is None else roles[blueprint.manager].id
    waits = {
        TaskDependency(tenant_id, team.id, tasks[task.name].id, tasks[other].id): None
        for task in blueprint.tasks
        for other in task.depends_on
    }
    links = {
        RoleTool(tenant_id, roles[role.title].id, tools[name].id): None
        for role in blueprint.roles
        for name in role.tools
        if name in tools
    }
    given = {link.tool_id for link in links}
    used = {tool.id: tool for tool in tools.values() if tool.id in given}
    return TeamSnapshot(team, list(roles.values()), list(tasks.values()), list(waits), list(used.values()), list(links))


def _same(source: Any, kind: type[Any], *without: str) -> dict[str, Any]:
    """The fields that both have, but for some; lists and documents are copied."""
    known = {item.name for item in fields(kind)} - set(without)
    values = {item.name: getattr(source, item.name) for item in fields(source) if item.name in known}
    return {name: type(value)(value) if isinstance(value, list | dict) else value for name, value in values.items()}


def _team_of(blueprint: Blueprint, tenant_id: TenantId, project_id: ProjectId, by: PrincipalId | None = None) -> Team:
    return Team(tenant_id, project_id, **_same(blueprint, Team), created_by=by)


def _role_of(role: RoleBlueprint, team: Team, place: int, by: PrincipalId | None = None) -> Role:
    return Role(team.tenant_id, team.id, **_same(role, Role), position=place, created_by=by)


def _task_of(task: TaskBlueprint, team: Team, place: int, by: PrincipalId | None = None) -> Task:
    return Task(team.tenant_id, team.id, **_same(task, Task), position=place, created_by=by)


def _tool_of(tool: ToolBlueprint, tenant_id: TenantId, project_id: ProjectId, by: PrincipalId | None = None) -> Tool:
    return Tool(tenant_id, project_id, **_same(tool, Tool), created_by=by)


def new_tool(tool: ToolBlueprint, tenant_id: TenantId, project_id: ProjectId, by: PrincipalId | None = None) -> Tool:
    """The tool that is made where the project has none of this name."""
    return _tool_of(tool, tenant_id, project_id, by)


def new_task(task: TaskBlueprint, team: Team, role_id: RoleId | None, place: int, by: PrincipalId | None) -> Task:
    """The task alone, for a team that has others; what it depends on is linked by whoever adds it."""
    made = _task_of(task, team, place, by)
    made.role_id = role_id
    return made


def blueprint_of(snapshot: TeamSnapshot) -> Blueprint:
    """The team by names; roles that share a title are numbered."""
    titles, names = titles_of(snapshot.roles), {task.id: task.name for task in snapshot.tasks}
    waits: dict[TaskId, list[str]] = {}
    for link in snapshot.dependencies:
        waits.setdefault(link.task_id, []).append(names[link.depends_on_id])
    return Blueprint(
        **_same(snapshot.team, Blueprint),
        manager=titles.get(snapshot.team.manager_id) if snapshot.team.manager_id else None,
        roles=[_described(role, titles, snapshot) for role in snapshot.roles],
        tasks=[
            TaskBlueprint(
                **_same(task, TaskBlueprint),
                role=titles.get(task.role_id) if task.role_id else None,
                depends_on=sorted(waits.get(task.id, ())),
            )
            for task in snapshot.tasks
        ],
        tools=[tool_blueprint(tool) for tool in sorted(snapshot.tools, key=lambda it: it.name)],
    )


def tool_blueprint(tool: Tool) -> ToolBlueprint:
    """What a blueprint says of the tool."""
    return ToolBlueprint(**_same(tool, ToolBlueprint))


def titles_of(roles: Sequence[Role]) -> dict[RoleId, str]:
    """What each role is called in a blueprint: its title, with a number behind it where another has the same."""
    taken: set[str] = set()
    titles: dict[RoleId, str] = {}
    for role in roles:
        numbered = (f"{role.title} ({number})" for number in range(2, len(roles) + 2))
        titles[role.id] = next(title for title in (role.title, *numbered) if title not in taken)
        taken.add(titles[role.id])
    return titles


def _described(role: Role, titles: Mapping[RoleId, str], snapshot: TeamSnapshot) -> RoleBlueprint:
    return RoleBlueprint(
        **{**_same(role, RoleBlueprint), "title": titles[role.id]},
        supervisor=titles.get(role.supervisor_id) if role.supervisor_id else None,
        tools=sorted(tool.name for tool in snapshot.tools_of(role)),
    )
