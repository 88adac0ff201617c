"""Optimizations: changes to a team that its own history speaks for, what was applied, and what that came to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any
from uuid import UUID

from domain.errors import InvalidTransition
from domain.model.difference import Part
from domain.model.documents import of_document
from domain.model.identity import OptimizationId, PrincipalId, TeamId, TenantId, new_id, utc_now
from domain.model.money import Money


class Goal(Enum):
    """What a team is optimized for."""

    PERFORMANCE = "PERFORMANCE"
    COST = "COST"
    SPEED = "SPEED"


class OptimizationKind(Enum):
    """What is proposed."""

    CHEAPER_MODEL = "CHEAPER_MODEL"
    BETTER_MODEL = "BETTER_MODEL"
    PARALLEL_BRANCHES = "PARALLEL_BRANCHES"
    UNUSED_DELEGATION = "UNUSED_DELEGATION"
    FAILING_GUARDRAIL = "FAILING_GUARDRAIL"
    MORE_ATTEMPTS = "MORE_ATTEMPTS"


class OptimizationStatus(Enum):
    """Where an optimization stands. SUPERSEDED: proposed anew since, or the team changed under it."""

    PROPOSED = "PROPOSED"
    APPLIED = "APPLIED"
    UNDONE = "UNDONE"
    SUPERSEDED = "SUPERSEDED"


TRANSITIONS: Mapping[OptimizationStatus, tuple[OptimizationStatus, ...]] = {
    OptimizationStatus.PROPOSED: (OptimizationStatus.APPLIED, OptimizationStatus.SUPERSEDED),
    OptimizationStatus.APPLIED: (OptimizationStatus.UNDONE,),
    OptimizationStatus.UNDONE: (),
    OptimizationStatus.SUPERSEDED: (),
}


class Metric(Enum):
    """What an effect is told in: dollars and seconds of a completed execution, the share that is completed."""

    COST = "COST"
    SECONDS = "SECONDS"
    SUCCESS_RATE = "SUCCESS_RATE"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of the team, a role or a task, from a value to another.

    `field` is the domain's name; `depends_on` of a task holds ids as text, in order. Values are JSON.
    """

    part: Part
    id: UUID
    name: str
    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Evidence:
    """One observation that speaks for a proposal."""

    text: str
    value: float | None = None


@dataclass(frozen=True, slots=True)
class ExpectedEffect:
    """How a metric is expected to change, as a share: -0.3 to -0.1 is a tenth to three tenths less.

    A success rate is a share itself: 0.1 is ten more of a hundred executions that are completed.
    """

    metric: Metric
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class MeasuredEffect:
    """How a metric did change, of the executions since it was applied against those before.

    `change` is a share as above, None while there is too little; then `message` says so. Costs are told by
    fields of their own, the means of other metrics by `before` and `after`.
    """

    metric: Metric
    change: float | None
    executions_before: int
    executions_after: int
    message: str
    before: float | None = None
    after: float | None = None
    before_cost: Money | None = None
    after_cost: Money | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """From when to when an optimization was applied; `undone_at` None: it still is."""

    team_id: TeamId
    applied_at: datetime
    undone_at: datetime | None = None


@dataclass(slots=True)
class Optimization:
    """One proposal for a team. `evidence`, `effects` and `changes` are lists of documents of the classes above."""

    tenant_id: TenantId
    team_id: TeamId
    goal: Goal
    kind: OptimizationKind
    title: str
    explanation: str
    evidence: list[dict[str, Any]]
    effects: list[dict[str, Any]]
    changes: list[dict[str, Any]]
    status: OptimizationStatus = OptimizationStatus.PROPOSED
    id: OptimizationId = field(default_factory=lambda: OptimizationId(new_id()))
    created_at: datetime = field(default_factory=utc_now)
    created_by: PrincipalId | None = None
    applied_at: datetime | None = None
    undone_at: datetime | None = None

    @property
    def observations(self) -> list[Evidence]:
        return of_document(list[Evidence], self.evidence)

    @property
    def expected_effects(self) -> list[ExpectedEffect]:
        return of_document(list[ExpectedEffect], self.effects)

    @property
    def field_changes(self) -> list[FieldChange]:
        return of_document(list[FieldChange], self.changes)

    @property
    def can_apply(self) -> bool:
        return OptimizationStatus.APPLIED in TRANSITIONS[self.status]

    @property
    def can_undo(self) -> bool:
        return OptimizationStatus.UNDONE in TRANSITIONS[self.status]

    @property
    def trial(self) -> Trial | None:
        """Over what its effect can be measured; None before it was applied."""
        return None if self.applied_at is None else Trial(self.team_id, self.applied_at, self.undone_at)

    def become(self, status: OptimizationStatus, moment: datetime) -> None:
        """Take the next status at this moment. Raises InvalidTransition."""
        allowed = TRANSITIONS[self.status]
        if status not in allowed:
            message = f"An optimization that is {self.status.value} cannot become {status.value}."
            raise InvalidTransition(self.status.value, status.value, [each.value for each in allowed], message)
        self.status = status
        if status is OptimizationStatus.APPLIED:
            self.applied_at = moment
        if status is OptimizationStatus.UNDONE:
            self.undone_at = moment
