"""From a team to CrewAI's files."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from domain.model.crew_files.bounded_yaml import write
from domain.model.crew_files.losses import AGENTS, TASKS, TEAM, CrewFiles, Unrepresented, short
from domain.model.crew_files.names import goal_of, goals_of, keys_for, tool_name
from domain.model.identity import RoleId, TaskId
from domain.model.revision import TeamSnapshot
from domain.model.role import Role
from domain.model.task import Task, in_order
from domain.model.team import Team


def render_crew(snapshot: TeamSnapshot) -> CrewFiles:
    """The two files of a team, tasks in the order in which they run: CrewAI refuses a context that comes later.

    `parse_crew` makes an equal team of them, but for ids, dates, positions, and what is listed as unrepresented.
    """
    return _Export(snapshot).files()


_FILES_NAME_TOOLS = "The files only name a tool: the crew's code needs a @tool method of this name."
_NO_PLACE_IN_FILES = "CrewAI's files have no place for it."
_ONLY_OURS = {
    Team: (
        "description",
        "process",
        "manager_id",
        "max_iterations",
        "execution_timeout_seconds",
        "task_timeout_seconds",
        "max_parallel_tasks",
        "when_busy",
        "oversight",
        "is_cached",
        "monthly_budget",
    ),
    Role: (
        "description",
        "expertise",
        "temperature",
        "model_parameters",
        "skills",
        "rank",
        "supervisor_id",
        "delegates_to",
        "delegation_kinds",
        "max_tasks",
        "max_parallel_tasks",
        "can_ask",
        "is_active",
    ),
    Task: (
        "kind",
        "required_skills",
        "priority",
        "max_attempts",
        "max_budget",
        "quality_preference",
        "output_schema",
        "approval_assignee",
        "approval_timeout_seconds",
        "approval_default",
    ),
}


@dataclass(slots=True)
class _Export:
    """Writes the entries of both files and keeps account of what is not in them."""

    snapshot: TeamSnapshot
    unrepresented: list[Unrepresented] = field(default_factory=list)

    def files(self) -> CrewFiles:
        roles = sorted(self.snapshot.roles, key=lambda role: (role.position, role.id))
        tasks = in_order(self.snapshot.tasks, self.snapshot.dependencies)
        role_names = keys_for([role.title for role in roles], "agent")
        # An agent and a task of one crew are methods of one class.
        task_names = keys_for([task.name for task in tasks], "task", role_names)
        self._list_only_ours(self.snapshot.team, TEAM)
        role_keys = {role.id: key for role, key in zip(roles, role_names, strict=True)}
        task_keys = {task.id: key for task, key in zip(tasks, task_names, strict=True)}
        agents = {role_keys[role.id]: self._agent(role, role_keys[role.id]) for role in roles}
        entries = {task_keys[task.id]: self._task(task, role_keys, task_keys) for task in tasks}
        self._list_unused_tools()
        return CrewFiles(write(agents), write(entries), self.unrepresented)

    def _agent(self, role: Role, key: str) -> dict[str, Any]:
        goal = goal_of(role.goals)
        if goals_of(goal) != role.goals:
            self._lose(AGENTS, (key, "goal"), goal, "It reads like a list: an import makes several goals of it.")
        self._list_only_ours(role, AGENTS, key)
        entry = {
            "role": role.title,
            "goal": goal,
            "backstory": role.backstory,
            "llm": role.model,
            "tools": self._tools(role, key),
            "allow_delegation": role.is_delegation_allowed or None,
            "max_tokens": role.max_tokens,
        }
        return {name: value for name, value in entry.items() if value is not None}

    def _tools(self, role: Role, key: str) -> list[str] | None:
        names = [tool_name(tool, self.snapshot.tools) for tool in self.snapshot.tools_of(role)]
        for index, name in enumerate(names):
            self._lose(AGENTS, (key, "tools", str(index)), name, _FILES_NAME_TOOLS)
        return names or None

    def _task(self, task: Task, role_keys: Mapping[RoleId, str], task_keys: Mapping[TaskId, str]) -> dict[str, Any]:
        key = task_keys[task.id]
        self._list_only_ours(task, TASKS, key)
        if task.role_id not in role_keys:
            reason = "The role is found by skill when the task runs: CrewAI asks for an agent."
            self._lose(TASKS, (key, "agent"), "", reason)
        awaited = [link.depends_on_id for link in self.snapshot.dependencies if link.task_id == task.id]
        entry = {
            "name": None if task.name == key else task.name,
            "description": task.description,
            "expected_output": task.expected_output,
            "agent": role_keys.get(task.role_id) if task.role_id else None,
            "context": [task_keys[identifier] for identifier in awaited] or None,
            "guardrail": task.guardrail,
            "human_input": task.is_approval_required or None,
        }
        return {name: value for name, value in entry.items() if value is not None}

    def _list_only_ours(self, thing: Team | Role | Task, file: str, *path: str) -> None:
        defaults = {item.name: _default(item) for item in fields(thing)}
        for name in _ONLY_OURS[type(thing)]:
            value = getattr(thing, name)
            if value != defaults[name]:
                self._lose(file, (*path, name), self._shown(value), _NO_PLACE_IN_FILES)

    def _shown(self, value: Any) -> str:
        if isinstance(value, UUID):
            return next((role.title for role in self.snapshot.roles if role.id == value), "")
        if isinstance(value, Enum):
            return str(value.value)
        if isinstance(value, Decimal):
            return format(value, "f")
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)

    def _list_unused_tools(self) -> None:
        used = {link.tool_id for link in self.snapshot.role_tools}
        for tool in self.snapshot.tools:
            if tool.id not in used:
                self._lose(TEAM, ("tools",), tool.name, "No role uses it: a tool is only named by its users.")

    def _lose(self, file: str, path: tuple[str, ...], value: str, reason: str) -> None:
        self.unrepresented.append(Unrepresented(file, path, short(value), reason))


def _default(item: Field[Any]) -> Any:
    return item.default if item.default_factory is MISSING else item.default_factory()
