"""From CrewAI's files to a team that keeps the domain's rules."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from domain.errors import DependencyCycle, Invalid, Problem
from domain.model.crew_files.bounded_yaml import Node, Refused, Scalar, as_text, read
from domain.model.crew_files.losses import AGENTS, TASKS, ImportedCrew, Unrepresented, short
from domain.model.crew_files.names import find_tool, goals_of, keys_for
from domain.model.identity import ProjectId, RoleId, TenantId
from domain.model.revision import TeamSnapshot
from domain.model.role import Role
from domain.model.rules import Rules
from domain.model.task import Task, TaskDependency, check_dependencies
from domain.model.team import Team
from domain.model.tool import RoleTool, Tool

MAX_ENTRIES = 500
MAX_PROBLEMS = 100


def parse_crew(
    agents_yaml: str,
    tasks_yaml: str,
    tenant_id: TenantId,
    project_id: ProjectId,
    team_name: str,
    available_tools: Sequence[Tool],
) -> ImportedCrew:
    """The team that the two files of a crew define; a tool is linked when one of `available_tools` matches its name.

    A file without entries, or empty, stands for no roles or no tasks.

    Raises:
        Invalid: bad YAML (the message names the line), a wrong shape, an unknown reference, or a broken rule of the
            domain; located by file, key of the agent or task, and field: `("agentsYaml", "writer", "goal")`.
    """
    rules = Rules()
    agents = _entries(agents_yaml, AGENTS, rules)
    tasks = _entries(tasks_yaml, TASKS, rules)
    _hold(rules)
    crew = _Import(Team(tenant_id, project_id, team_name), available_tools, rules)
    crew.add_roles(agents)
    crew.add_tasks(tasks)
    _hold(rules)
    crew.check()
    _hold(rules)
    return ImportedCrew(crew.snapshot, crew.unrepresented)


def _hold(rules: Rules) -> None:
    if rules.problems:
        raise Invalid(rules.problems[:MAX_PROBLEMS])


def _entries(text: str, file: str, rules: Rules) -> dict[str, dict[str, Node]]:
    """The entries of a file by their keys; empty, with the problem noted, when there is one."""
    try:
        document = read(text)
    except Refused as refused:
        rules.refuse(str(refused), file)
        return {}
    if _is_null(document):
        return {}
    if not isinstance(document, dict):
        rules.refuse("A mapping is expected: one key for each agent or task.", file)
        return {}
    rules.require(len(document) <= MAX_ENTRIES, f"At most {MAX_ENTRIES} entries.", file)
    for key, entry in document.items():
        rules.require(isinstance(entry, dict), "A mapping of its fields is expected.", file, short(key))
    return {key: entry for key, entry in document.items() if isinstance(entry, dict)}


def _is_null(node: Node | None) -> bool:
    return node is None or (isinstance(node, Scalar) and node.type == "null")


_NO_PLACE = "Regatta has no such setting."
_IN_CODE = "It names a function or class of the crew's own code."
_REASONS: Mapping[str, Mapping[str, str]] = {
    AGENTS: {
        "max_iter": "A team has one limit for all its roles: set it in the team's settings.",
        "max_rpm": _NO_PLACE,
        "max_execution_time": "Time-outs belong to the team and its tasks.",
        "max_retry_limit": "Attempts are counted per task.",
        "verbose": "Everything is recorded as events anyway.",
        "function_calling_llm": "A role has one model.",
        "step_callback": _IN_CODE,
        "callbacks": _IN_CODE,
        "cache_handler": _IN_CODE,
        "guardrail": _NO_PLACE,
        "temperature": "CrewAI ignores it here: set it on the role.",
    },
    TASKS: {
        "tools": "Tools belong to a role, not to a task.",
        "async_execution": "The team's process decides what runs at the same time.",
        "output_file": "Outputs are kept with the execution, not in files.",
        "create_directory": "Outputs are kept with the execution, not in files.",
        "output_json": _IN_CODE,
        "output_pydantic": _IN_CODE,
        "response_model": _IN_CODE,
        "converter_cls": _IN_CODE,
        "callback": _IN_CODE,
        "callbacks": _IN_CODE,
        "guardrails": "A task has one guardrail: write them into one text.",
        "guardrail_max_retries": "Attempts are counted per task.",
        "max_retries": "Attempts are counted per task.",
    },
}
_FIELD_OF = {
    AGENTS: {"title": "role", "goals": "goal", "model": "llm", "maxTokens": "max_tokens"},
    TASKS: {"expectedOutput": "expected_output"},
}
"""The file's word for a path of the domain's own checks, where it is another one."""


@dataclass(slots=True)
class _Entry:
    """One agent or task of a file; what is taken from it is gone, so that the rest can be listed."""

    file: str
    key: str
    values: dict[str, Node]
    rules: Rules

    @property
    def path(self) -> tuple[str, str]:
        return self.file, short(self.key)

    def refuse(self, message: str, name: str) -> None:
        self.rules.refuse(message, *self.path, name)

    def required(self, name: str) -> str:
        if _is_null(self.values.get(name)):
            self.refuse("CrewAI needs this text.", name)
        return self.text(name) or ""

    def text(self, name: str) -> str | None:
        return self._scalar(name, "str", "A text is expected.")

    def flag(self, name: str) -> bool:
        text = self._scalar(name, "bool", "true or false is expected.")
        return (text or "").lower() in {"true", "yes", "on"}

    def number(self, name: str) -> int | None:
        text = self._scalar(name, "int", "A whole number is expected.")
        if text is None or re.fullmatch(r"0|[1-9]\d{0,9}", text, re.ASCII):
            return None if text is None else int(text)
        self.refuse("A whole number is expected.", name)
        return None

    def _scalar(self, name: str, wanted: str, message: str) -> str | None:
        node = self._take(name)
        if isinstance(node, Scalar) and node.type == wanted:
            return node.text
        if node is not None:
            self.refuse(message, name)
        return None

    def texts(self, name: str) -> list[str] | None:
        """The list under this name; None without one."""
        node = self._take(name)
        if node is None:
            return None
        if isinstance(node, list) and all(isinstance(item, Scalar) and item.type == "str" for item in node):
            return [item.text for item in node if isinstance(item, Scalar)]
        self.refuse("A list of texts is expected.", name)
        return None

    def _take(self, name: str) -> Node | None:
        node = self.values.pop(name, None)
        return None if _is_null(node) else node

    def lost(self, path: tuple[str, ...], value: str, reason: str) -> Unrepresented:
        return Unrepresented(self.file, (short(self.key), *map(short, path)), short(value), reason)

    def rest(self) -> list[Unrepresented]:
        """What nobody took; a key without a value says nothing."""
        reasons = _REASONS[self.file]
        left = {name: node for name, node in self.values.items() if not _is_null(node)}
        return [self.lost((name,), as_text(node), reasons.get(name, _NO_PLACE)) for name, node in left.items()]


class _Import:
    """Grows a team from the entries of both files."""

    def __init__(self, team: Team, available_tools: Sequence[Tool], rules: Rules) -> None:
        self.team = team
        self.available_tools = available_tools
        self.rules = rules
        self.roles: dict[str, Role] = {}
        self.tasks: dict[str, Task] = {}
        self.dependencies: list[TaskDependency] = []
        self.role_tools: list[RoleTool] = []
        self.unrepresented: list[Unrepresented] = []

    @property
    def snapshot(self) -> TeamSnapshot:
        used = {link.tool_id for link in self.role_tools}
        tools = [tool for tool in self.available_tools if tool.id in used]
        roles, tasks = list(self.roles.values()), list(self.tasks.values())
        return TeamSnapshot(self.team, roles, tasks, self.dependencies, tools, self.role_tools)

    def add_roles(self, entries: Mapping[str, dict[str, Node]]) -> None:
        for key, values in entries.items():
            entry = _Entry(AGENTS, key, values, self.rules)
            self.roles[key] = self._role(entry)
            self._add_tools(entry, self.roles[key])
            self.unrepresented += entry.rest()
        self._list_lost_keys()

    def _list_lost_keys(self) -> None:
        written = keys_for([role.title for role in self.roles.values()], "agent")
        for key, after in zip(self.roles, written, strict=True):
            if key != after:
                reason = f"The keys of agents are not kept: an export names this one '{after}', after its role."
                self.unrepresented.append(Unrepresented(AGENTS, (short(key),), short(key), reason))

    def _role(self, entry: _Entry) -> Role:
        return Role(
            self.team.tenant_id,
            self.team.id,
            title=entry.required("role"),
            goals=goals_of(entry.required("goal")),
            backstory=entry.required("backstory"),
            model=entry.text("llm"),
            max_tokens=entry.number("max_tokens"),
            is_delegation_allowed=entry.flag("allow_delegation"),
            position=len(self.roles),
        )

    def _add_tools(self, entry: _Entry, role: Role) -> None:
        found: list[Tool] = []
        for index, name in enumerate(entry.texts("tools") or []):
            tool = find_tool(name, self.available_tools)
            if tool is None:
                reason = "No tool of the project, or more than one, goes by this name."
                self.unrepresented.append(entry.lost(("tools", str(index)), name, reason))
            elif tool not in found:
                found.append(tool)
        self.role_tools += [RoleTool(role.tenant_id, role.id, tool.id) for tool in found]

    def add_tasks(self, entries: Mapping[str, dict[str, Node]]) -> None:
        contexts: dict[str, list[str]] = {}
        for key, values in entries.items():
            entry = _Entry(TASKS, key, values, self.rules)
            self.tasks[key] = self._task(entry)
            contexts[key] = self._context(entry)
            self.unrepresented += entry.rest()
        self._refuse_equal_names()
        for key, names in contexts.items():
            self._add_dependencies(key, names)

    def _task(self, entry: _Entry) -> Task:
        name = entry.text("name")
        return Task(
            self.team.tenant_id,
            self.team.id,
            name=entry.key if name is None else name,
            description=entry.required("description"),
            expected_output=entry.required("expected_output"),
            role_id=self._agent(entry),
            guardrail=entry.text("guardrail"),
            is_approval_required=entry.flag("human_input"),
            position=len(self.tasks),
        )

    def _agent(self, entry: _Entry) -> RoleId | None:
        key = entry.text("agent")
        if key is None:
            return None
        if key not in self.roles:
            entry.refuse(f"There is no agent '{short(key)}'.", "agent")
            return None
        return self.roles[key].id

    def _context(self, entry: _Entry) -> list[str]:
        names = entry.texts("context")
        if names == []:
            reason = "A task that waits for no other sees what was done before it: the team's process decides."
            self.unrepresented.append(entry.lost(("context",), "[]", reason))
        return list(dict.fromkeys(names or []))

    def _refuse_equal_names(self) -> None:
        names = Counter(task.name for task in self.tasks.values())
        for key, task in self.tasks.items():
            self.rules.require(names[task.name] == 1, "Another task has this name.", TASKS, short(key), "name")

    def _add_dependencies(self, key: str, names: Sequence[str]) -> None:
        for index, name in enumerate(names):
            if name in self.tasks:
                ids = self.tasks[key].id, self.tasks[name].id
                self.dependencies.append(TaskDependency(self.team.tenant_id, self.team.id, *ids))
            else:
                message = f"There is no task '{short(name)}'."
                self.rules.refuse(message, TASKS, short(key), "context", str(index))

    def check(self) -> None:
        """Note what the domain's own checks refuse, in the words of the files."""
        self._check(self.team)
        for key, role in self.roles.items():
            self._check(role, AGENTS, key)
        for key, task in self.tasks.items():
            self._check(task, TASKS, key)
        self._check_cycle()

    def _check(self, thing: Team | Role | Task, *path: str) -> None:
        try:
            thing.check()
        except Invalid as error:
            self.rules.problems += [_located(problem, *path) for problem in error.problems]

    def _check_cycle(self) -> None:
        try:
            check_dependencies(list(self.tasks.values()), self.dependencies)
        except DependencyCycle as error:
            key = next(key for key, task in self.tasks.items() if task.name == error.cycle[0])
            self.rules.refuse(str(error), TASKS, short(key), "context")


def _located(problem: Problem, *path: str) -> Problem:
    if not path:
        return problem
    file, key = path
    name = problem.path[0]
    return replace(problem, path=(file, short(key), _FIELD_OF[file].get(name, name)))
