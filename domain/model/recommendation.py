"""Recommendations: what the past of teams, templates and workers speaks for, and the mutation that would do it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

from domain.model.identity import ProjectId, TeamId
from domain.model.money import Money
from domain.model.optimization import Evidence, ExpectedEffect, Metric
from domain.model.role import Role
from domain.model.task import Task
from domain.model.team import Team
from domain.model.template import Template
from domain.model.tool import Tool

LARGE: Final = 0.3
NOTICEABLE: Final = 0.1
"""From such a share on, an effect is of HIGH or MEDIUM impact."""


class RecommendationKind(Enum):
    """What is recommended."""

    ROLE_DEAR_FOR_TIER = "ROLE_DEAR_FOR_TIER"
    GUARDRAIL_KEEPS_FAILING = "GUARDRAIL_KEEPS_FAILING"
    BOTTLENECK = "BOTTLENECK"
    GROWING_PROMPT = "GROWING_PROMPT"
    UNUSED_TOOL = "UNUSED_TOOL"
    WORKER_POOL_TOO_SMALL = "WORKER_POOL_TOO_SMALL"
    WORKER_POOL_TOO_LARGE = "WORKER_POOL_TOO_LARGE"
    TEMPLATE_DOES_BETTER = "TEMPLATE_DOES_BETTER"


class Impact(Enum):
    """How much is expected of it. An order, LOW lowest; compare with `level`."""

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"

    @property
    def level(self) -> int:
        return list(Impact).index(self)


@dataclass(frozen=True, slots=True)
class Reference:
    """A thing that an argument names; the graph shows its global id."""

    kind: str
    id: UUID


@dataclass(frozen=True, slots=True)
class RecommendedAction:
    """A mutation and its `input`: JSON, with References for ids. `needs` names what people have to add to it first."""

    mutation: str
    arguments: Mapping[str, Any]
    text: str
    needs: Sequence[str] = ()


EDITS: Final = frozenset({"updateRole", "updateTask"})
"""Mutations that set fields of the thing that their `id` names."""

Subject = Team | Role | Task | Tool | Template


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One recommendation. `subject` and `team_id` are None where it is about the workers.

    `executions` is how many it stands on; `spent` what those cost whose cost the effects are a share of, in dollars.
    """

    kind: RecommendationKind
    title: str
    explanation: str
    evidence: Sequence[Evidence]
    effects: Sequence[ExpectedEffect]
    executions: int
    subject: Subject | None = None
    team_id: TeamId | None = None
    action: RecommendedAction | None = None
    spent: Decimal = Decimal(0)

    @property
    def fields(self) -> frozenset[tuple[UUID, str]]:
        """The fields of roles and tasks that its action sets, by whose they are: nobody can do two that share one."""
        if self.action is None or self.action.mutation not in EDITS:
            return frozenset()
        changed = self.action.arguments["id"].id
        return frozenset((changed, name) for name in self.action.arguments if name not in ("id", "version"))

    @property
    def weight(self) -> float:
        """The most that is expected of what it is mainly for, as a share; what gets dearer or slower is no gain."""
        return max((_gain(effect) for effect in self.effects[:1]), default=0.0)

    @property
    def impact(self) -> Impact:
        if self.weight >= LARGE:
            return Impact.HIGH
        return Impact.MEDIUM if self.weight >= NOTICEABLE else Impact.LOW

    @property
    def saving(self) -> Money | None:
        """What the middle of the range would have saved of what was looked at; None where no cost is to sink."""
        costs = [effect for effect in self.effects if effect.metric is Metric.COST]
        middle = sum(effect.low + effect.high for effect in costs) / 2
        return Money(round(self.spent * Decimal(str(-middle)), 12)) if middle < 0 else None

    @property
    def rank(self) -> tuple[Any, ...]:
        """For an order: the highest impact first, then what saves most."""
        saved = self.saving.amount if self.saving else Decimal(0)
        return -self.impact.level, -saved, -self.weight, self.kind.value, self.title


def _gain(effect: ExpectedEffect) -> float:
    return max(0.0, effect.high if effect.metric is Metric.SUCCESS_RATE else -effect.low)


@dataclass(frozen=True, slots=True)
class RecommendationScope:
    """What is looked at: a team, the teams of a project, or with neither those of the tenant, and the workers."""

    project_id: ProjectId | None = None
    team_id: TeamId | None = None


@dataclass(frozen=True, slots=True)
class RecommendationReport:
    """What was found, the highest impact first, and on how much it stands; `message` says why that is nothing."""

    items: Sequence[Recommendation]
    since: datetime
    teams: int = 0
    executions: int = 0
    message: str | None = None

    def narrowed(self, kinds: Collection[RecommendationKind] | None, first: int) -> "RecommendationReport":
        """The first of these kinds, of all kinds where that is None."""
        found = [item for item in self.items if kinds is None or item.kind in kinds]
        message = self.message if found or not self.items else "What was found is of other kinds."
        return replace(self, items=found[:first], message=message)


@dataclass(frozen=True, slots=True)
class TemplateRecord:
    """What became of the teams whose origin is a template, since they were made; means of completed executions.

    `failed` counts failures of the work alone. `skills` are those of the teams' roles, folded. `needs` names its
    parameters without a default, `projects` those in which such a team stands.
    """

    template: Template
    teams: int
    completed: int
    failed: int
    mean_amount: Decimal | None = None
    mean_seconds: float | None = None
    skills: frozenset[str] = field(default_factory=frozenset)
    needs: Sequence[str] = ()
    projects: frozenset[ProjectId] = field(default_factory=frozenset)

    @property
    def finished(self) -> int:
        return self.completed + self.failed
