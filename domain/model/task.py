"""Tasks: units of work of a team, their placeholders and dependencies."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from domain.errors import DependencyCycle
from domain.model.approval import APPROVAL_TIMEOUT_CAP_SECONDS, ApprovalDefault, ApprovalRule
from domain.model.graph import find_cycle
from domain.model.identity import PrincipalId, RoleId, TaskId, TeamId, TenantId, new_id, utc_now
from domain.model.output_schema import check_schema
from domain.model.routing import QualityPreference
from domain.model.rules import MAX_BUDGET, MONEY_DIGITS, Rules
from domain.model.texts import shown

MAX_ATTEMPTS = 2
MAX_ATTEMPTS_CAP = 10
PRIORITY = 5
MAX_PRIORITY = 9

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_\-]*)}")
"""CrewAI's own pattern: what it would replace is what we ask for."""


@dataclass(slots=True)
class Task:
    """A unit of work. `role_id` None means: matched by skill when it runs.

    `max_budget` is the most dollars that the task may spend in one execution, None: no limit of its own.
    `quality_preference` None takes the execution's. `output_schema` is the JSON Schema that the output has to hold,
    `guardrail` says in words what a model has to find true of it. The approval fields say whether a human has to agree,
    who, and what happens when nobody does in time (None: it waits for ever); a question of the role goes the same way.
    """

    tenant_id: TenantId
    team_id: TeamId
    name: str
    description: str
    expected_output: str
    kind: str = ""
    role_id: RoleId | None = None
    required_skills: list[str] = field(default_factory=list)
    priority: int = PRIORITY
    max_attempts: int = MAX_ATTEMPTS
    max_budget: Decimal | None = None
    quality_preference: QualityPreference | None = None
    output_schema: dict[str, Any] | None = None
    guardrail: str | None = None
    is_approval_required: bool = False
    approval_assignee: str | None = None
    approval_timeout_seconds: float | None = None
    approval_default: ApprovalDefault = ApprovalDefault.REJECT
    position: int = 0
    id: TaskId = field(default_factory=lambda: TaskId(new_id()))
    version: int = 1
    created_at: datetime = field(default_factory=utc_now)
    updated_at: datetime = field(default_factory=utc_now)
    created_by: PrincipalId | None = None
    archived_at: datetime | None = None

    @property
    def approval(self) -> ApprovalRule:
        return ApprovalRule(
            self.is_approval_required, self.approval_assignee, self.approval_timeout_seconds, self.approval_default
        )

    def check(self) -> None:
        """Hold the rules of a task; raises Invalid with every broken one."""
        rules = Rules()
        rules.name(self.name, "name")
        rules.require(self.description.strip(), "A description is required.", "description")
        rules.text(self.description, "description")
        rules.require(self.expected_output.strip(), "An expected output is required.", "expectedOutput")
        rules.text(self.expected_output, "expectedOutput")
        rules.text(self.kind, "kind")
        rules.texts(self.required_skills, "requiredSkills")
        rules.between(self.priority, 0, MAX_PRIORITY, "priority")
        rules.between(self.max_attempts, 1, MAX_ATTEMPTS_CAP, "maxAttempts")
        rules.money(self.max_budget, MAX_BUDGET, MONEY_DIGITS, "maxBudget")
        if self.output_schema is not None:
            check_schema(rules, self.output_schema, "outputSchema")
        rules.text(self.guardrail, "guardrail")
        if self.approval_assignee is not None:
            rules.name(self.approval_assignee, "approval", "assignee")
        rules.between(self.approval_timeout_seconds, 1, APPROVAL_TIMEOUT_CAP_SECONDS, "approval", "timeoutSeconds")
        rules.hold()


@dataclass(frozen=True, slots=True)
class TaskDependency:
    """`task_id` waits for `depends_on_id`; both belong to the team."""

    tenant_id: TenantId
    team_id: TeamId
    task_id: TaskId
    depends_on_id: TaskId


def placeholders(texts: Iterable[str]) -> list[str]:
    """The names in braces, each once, in order of appearance."""
    return list(dict.fromkeys(name for text in texts for name in _PLACEHOLDER.findall(text)))


def fill(text: str, inputs: dict[str, Any]) -> str:
    """The text with every placeholder that has an input replaced; the others stay as they are.

    What is no string appears as JSON. Null is no input.
    """

    def value(match: re.Match[str]) -> str:
        given = inputs.get(match.group(1))
        return match.group(0) if given is None else shown(given)

    return _PLACEHOLDER.sub(value, text)


def filled_length(text: str, inputs: dict[str, Any]) -> int:
    """The length of `fill(text, inputs)`, without making it."""
    counts = Counter(_PLACEHOLDER.findall(text))
    given = ((name, count, inputs[name]) for name, count in counts.items() if inputs.get(name) is not None)
    return len(text) + sum(count * (len(shown(value)) - len(name) - 2) for name, count, value in given)


def check_dependencies(tasks: Sequence[Task], dependencies: Sequence[TaskDependency]) -> None:
    """Raises DependencyCycle, with the names of the cycle, when tasks wait for each other."""
    cycle = find_cycle(waits_for(tasks, dependencies))
    if cycle:
        names = {task.id: task.name for task in tasks}
        raise DependencyCycle([names[TaskId(identifier)] for identifier in cycle])


def waits_for(tasks: Sequence[Task], dependencies: Sequence[TaskDependency]) -> dict[UUID, list[UUID]]:
    """For each task the ids of those it waits for."""
    edges: dict[UUID, list[UUID]] = {task.id: [] for task in tasks}
    for dependency in dependencies:
        edges[dependency.task_id].append(dependency.depends_on_id)
    return edges


def in_order(tasks: Sequence[Task], dependencies: Sequence[TaskDependency]) -> list[Task]:
    """The tasks so that each stands behind those it waits for; otherwise by priority (9 first), position, age."""
    by_rank = sorted(tasks, key=lambda task: (-task.priority, task.position, task.id))
    waiting = waits_for(tasks, dependencies)
    done: set[UUID] = set()
    ordered: list[Task] = []
    while len(ordered) < len(tasks):
        ready = next(task for task in by_rank if task.id not in done and done.issuperset(waiting[task.id]))
        ordered.append(ready)
        done.add(ready.id)
    return ordered
