"""Roles: the agents of a team, their order of expertise, rank and delegation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any
from uuid import UUID

from domain.errors import SupervisorCycle
from domain.model.graph import find_cycle
from domain.model.identity import PrincipalId, RoleId, TeamId, TenantId, new_id, utc_now
from domain.model.model_names import forbidden_provider, is_model_name, is_provider_allowed
from domain.model.rules import Rules

DEFAULT_TEMPERATURE = 0.7
MAX_TOKENS_CAP = 1_000_000
MAX_TASKS_CAP = 100
MODEL_PARAMETERS = frozenset({"top_p", "presence_penalty", "frequency_penalty", "seed", "stop", "reasoning_effort"})
"""What a role may pass on to its model; addresses and keys are not among it."""


class Expertise(Enum):
    """How experienced a role is. An order, JUNIOR lowest; compare with `level`, not with the name."""

    JUNIOR = "JUNIOR"
    INTERMEDIATE = "INTERMEDIATE"
    SENIOR = "SENIOR"
    EXPERT = "EXPERT"

    @property
    def level(self) -> int:
        return list(Expertise).index(self)

    def __lt__(self, other: "Expertise") -> bool:
        return self.level < other.level


class Rank(Enum):
    """Where a role stands in its team."""

    SUPERVISOR = "SUPERVISOR"
    SPECIALIST = "SPECIALIST"
    WORKER = "WORKER"


class DelegatesTo(Enum):
    """To whom a role may hand work on."""

    SUBORDINATES = "SUBORDINATES"
    ANYONE = "ANYONE"


@dataclass(frozen=True, slots=True)
class Delegation:
    """A role's rule of delegation; `task_kinds` empty means any kind."""

    is_allowed: bool
    to: DelegatesTo
    task_kinds: list[str]


@dataclass(slots=True)
class Role:
    """One agent of a team. `model` None means: routed.

    `max_tasks` is the most tasks that it is given in one execution, `max_parallel_tasks` the most that it does at once
    there, None: no limit of its own. `can_ask`: it may ask a human while it works.
    """

    tenant_id: TenantId
    team_id: TeamId
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
    rank: Rank = Rank.SPECIALIST
    supervisor_id: RoleId | None = None
    is_delegation_allowed: bool = False
    delegates_to: DelegatesTo = DelegatesTo.SUBORDINATES
    delegation_kinds: list[str] = field(default_factory=list)
    max_tasks: int | None = None
    max_parallel_tasks: int | None = None
    can_ask: bool = False
    is_active: bool = True
    position: int = 0
    id: RoleId = field(default_factory=lambda: RoleId(new_id()))
    version: int = 1
    created_at: datetime = field(default_factory=utc_now)
    updated_at: datetime = field(default_factory=utc_now)
    created_by: PrincipalId | None = None
    archived_at: datetime | None = None

    def __post_init__(self) -> None:
        self.goals = self.goals or [default_goal(self.title, self.expertise)]
        self.backstory = self.backstory or default_backstory(self.title, self.expertise)

    @property
    def delegation(self) -> Delegation:
        return Delegation(self.is_delegation_allowed, self.delegates_to, self.delegation_kinds)

    def check(self) -> None:
        """Hold the rules of a role; raises Invalid with every broken one."""
        rules = Rules()
        rules.name(self.title, "title")
        rules.text(self.description, "description")
        if self.backstory != default_backstory(self.title, self.expertise):  # else a bad title is told once
            rules.text(self.backstory, "backstory")
        if self.goals != [default_goal(self.title, self.expertise)]:
            rules.texts(self.goals, "goals")
        rules.texts(self.skills, "skills")
        rules.texts(self.delegation_kinds, "delegation", "taskKinds")
        rules.between(self.temperature, 0, 2, "temperature")
        rules.between(self.max_tokens, 1, MAX_TOKENS_CAP, "maxTokens")
        rules.between(self.max_tasks, 1, MAX_TASKS_CAP, "maxTasks")
        rules.between(self.max_parallel_tasks, 1, MAX_TASKS_CAP, "maxParallelTasks")
        rules.document(self.model_parameters, "modelParameters")
        for name in sorted(self.model_parameters.keys() - MODEL_PARAMETERS):
            rules.refuse("This parameter is not allowed.", "modelParameters", name)
        check_model(rules, self.model)
        rules.hold()


def check_model(rules: Rules, model: str | None) -> None:
    """Hold the rules of a model that a role, or a task of an execution, names; None is fine."""
    if model is None:
        return
    if not is_model_name(model):
        rules.refuse("This is no model name.", "model")
    elif not is_provider_allowed(model):
        rules.refuse(forbidden_provider(model), "model")


def default_goal(title: str, expertise: Expertise) -> str:
    """The goal of a role that was given none."""
    return f"Expert {expertise.value.lower()} level {title}"


_EXPERIENCE = {
    Expertise.JUNIOR: "You are at the start of your career: careful, curious, and quick to check your facts.",
    Expertise.INTERMEDIATE: "You have some years of practice and deliver solid work without supervision.",
    Expertise.SENIOR: "You have long experience, see risks early, and explain your decisions.",
    Expertise.EXPERT: "You are a recognised authority whose judgement others build on.",
}


def default_backstory(title: str, expertise: Expertise) -> str:
    """The backstory of a role that was given none, written from title and expertise."""
    return f"You work as {title}. {_EXPERIENCE[expertise]}"


def check_supervisors(roles: Sequence[Role]) -> None:
    """Raises SupervisorCycle, with the titles of the cycle, when roles supervise each other."""
    edges: Mapping[UUID, list[UUID]] = {role.id: [role.supervisor_id] if role.supervisor_id else [] for role in roles}
    cycle = find_cycle(edges)
    if cycle:
        titles = {role.id: role.title for role in roles}
        raise SupervisorCycle([titles[RoleId(identifier)] for identifier in cycle])


def most_senior(roles: Sequence[Role]) -> Role | None:
    """The active role of the highest expertise, the earliest position among equals; None without an active one."""
    active = [role for role in roles if role.is_active]
    return max(active, key=lambda role: (role.expertise.level, -role.position), default=None)
