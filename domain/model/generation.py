"""Generations: AI-made proposals of a team from an objective, their states, and what may be asked of one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

from domain.errors import InvalidTransition
from domain.model.identity import (
    BatchId,
    GenerationId,
    PrincipalId,
    ProjectId,
    TeamId,
    TemplateId,
    TenantId,
    new_id,
    utc_now,
)
from domain.model.money import Money
from domain.model.role import Expertise
from domain.model.routing import QualityPreference
from domain.model.rules import MAX_BUDGET, MONEY_DIGITS, Rules

MAX_OBJECTIVE: Final = 20_000
MOST_ROLES: Final = 20
ADAPTIVE_ROLES: Final = 5
MOST_OBJECTIVES: Final = 50
MOST_WORKING: Final = 1_000
"""About so many of a tenant wait or are worked on at most: who asks at the same moment does not see the other."""

AT_ONCE: Final = 10
"""So many generations of one batch are worked on at once."""

TIMEOUT_SECONDS: Final = 300.0
MAX_RATING: Final = 5


class GenerationStatus(Enum):
    """Where a generation stands."""

    PENDING = "PENDING"
    ANALYSING = "ANALYSING"
    COMPOSING = "COMPOSING"
    VALIDATING = "VALIDATING"
    READY = "READY"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"


_S = GenerationStatus
GENERATION_TRANSITIONS: Mapping[GenerationStatus, tuple[GenerationStatus, ...]] = {
    _S.PENDING: (_S.ANALYSING, _S.FAILED, _S.CANCELLED),
    _S.ANALYSING: (_S.COMPOSING, _S.FAILED, _S.CANCELLED),
    _S.COMPOSING: (_S.VALIDATING, _S.FAILED, _S.CANCELLED),
    _S.VALIDATING: (_S.COMPOSING, _S.READY, _S.FAILED, _S.CANCELLED),
    _S.READY: (_S.ACCEPTED, _S.REJECTED),
    _S.FAILED: (),
    _S.CANCELLED: (),
    _S.ACCEPTED: (),
    _S.REJECTED: (),
}
"""The whole state machine. VALIDATING goes back to COMPOSING for the repair round, and for the fallback."""

WORKING: Final = frozenset({_S.PENDING, _S.ANALYSING, _S.COMPOSING, _S.VALIDATING})
"""Somebody works on it, or will."""


class Fallback(Enum):
    """Whether rules may compose where no model did."""

    ALLOWED = "ALLOWED"
    OFF = "OFF"


class ComposedBy(Enum):
    """Who made a proposal."""

    MODEL = "MODEL"
    MODEL_REPAIRED = "MODEL_REPAIRED"
    RULES = "RULES"


class GenerationFailureCode(Enum):
    """Why a generation failed."""

    NO_MODEL = "NO_MODEL"
    MODEL_FAILED = "MODEL_FAILED"
    ANSWER_INVALID = "ANSWER_INVALID"
    CONSTRAINTS_CONFLICT = "CONSTRAINTS_CONFLICT"
    BUDGET_EXCEEDED = "BUDGET_EXCEEDED"
    TIMED_OUT = "TIMED_OUT"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True, slots=True)
class GenerationFailure:
    """Why it failed; `message` is fit for people."""

    code: GenerationFailureCode
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """What a proposal has to keep to; None and empty: free.

    `budget` is the most dollars that one execution may take by the lower end of its estimate. `tools` names tools of
    the project, the only ones that roles may be given; None: any of them. `expertise` is the highest of any role.
    Nobody composes a team without a limit of roles, see `most_roles`.
    """

    budget: Decimal | None = None
    max_roles: int | None = None
    expertise: Expertise | None = None
    tools: list[str] | None = None
    domain: str | None = None
    quality_preference: QualityPreference = QualityPreference.BALANCED

    @property
    def most_roles(self) -> int:
        """So many roles are composed at most."""
        return MOST_ROLES if self.max_roles is None else self.max_roles

    def check(self, *under: str) -> None:
        """Raises Invalid with every broken rule, located `under` that path."""
        rules = Rules(*under)
        rules.money(self.budget, MAX_BUDGET, MONEY_DIGITS, "budget")
        rules.between(self.max_roles, 1, MOST_ROLES, "maxRoles")
        rules.texts(self.tools or [], "tools")
        if self.domain is not None:
            rules.name(self.domain, "domain")
        rules.hold()


@dataclass(frozen=True, slots=True)
class GenerationTiming:
    """When things happened to a generation; None before they do. `duration_seconds` is the work's, not the wait's."""

    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    decided_at: datetime | None

    @property
    def queue_wait_seconds(self) -> float | None:
        return None if self.started_at is None else (self.started_at - self.created_at).total_seconds()

    @property
    def duration_seconds(self) -> float | None:
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True)
class ProposedChange:
    """What is proposed for a team; equal for the same state of the same generation.

    `base_hash` names the revision that it was made for; `proposal` is a blueprint's document.
    """

    generation_id: GenerationId
    sequence: int
    team_id: TeamId
    base_hash: str
    proposal: dict[str, Any] = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class TemplateSource:
    """A version of a template that rules composed a proposal from."""

    template_id: TemplateId
    number: int


@dataclass(slots=True)
class Generation:
    """A proposal in the making, made, or decided about.

    `team_id` names the team that it would change, `base_hash` what that was when it was asked; None: a new one.
    `max_budget` is the most dollars that the generation itself may spend. `analysis`, `proposal` and `validation` are
    documents of ObjectiveAnalysis, Blueprint and Validation; None before their stage. `templates` are those that rules
    composed it from, as `[{"id", "number"}]`. `is_first_valid` says whether the model's first answer would do, None
    without one; `repairs` how often it was sent back. `fallback_reason` says why rules composed it. `sequence` counts
    the changes. `trace_parent` is the traceparent of the request for it, None where nobody traced that.
    """

    tenant_id: TenantId
    project_id: ProjectId
    objective: str
    constraints: dict[str, Any]
    fallback: Fallback = Fallback.ALLOWED
    team_id: TeamId | None = None
    base_hash: str | None = None
    batch_id: BatchId | None = None
    max_budget: Decimal | None = None
    timeout_seconds: float = TIMEOUT_SECONDS
    status: GenerationStatus = GenerationStatus.PENDING
    stage: str = ""
    """What is done at the moment, in words for people who watch."""
    analysis: dict[str, Any] | None = None
    proposal: dict[str, Any] | None = None
    validation: dict[str, Any] | None = None
    templates: list[dict[str, Any]] = field(default_factory=list)
    composed_by: ComposedBy | None = None
    model: str | None = None
    is_first_valid: bool | None = None
    repairs: int = 0
    fallback_reason: str | None = None
    failure_code: GenerationFailureCode | None = None
    failure_message: str | None = None
    accepted_team_id: TeamId | None = None
    rejection_reason: str | None = None
    rating: int | None = None
    feedback: str | None = None
    sequence: int = 1
    id: GenerationId = field(default_factory=lambda: GenerationId(new_id()))
    created_at: datetime = field(default_factory=utc_now)
    started_at: datetime | None = None
    finished_at: datetime | None = None
    """When it was READY, FAILED or CANCELLED."""
    decided_at: datetime | None = None
    created_by: PrincipalId | None = None
    trace_parent: str | None = None

    @property
    def failure(self) -> GenerationFailure | None:
        return self.failure_code and GenerationFailure(self.failure_code, self.failure_message or "")

    @property
    def timing(self) -> GenerationTiming:
        return GenerationTiming(self.created_at, self.started_at, self.finished_at, self.decided_at)

    @property
    def budget(self) -> Money | None:
        """The most that the generation itself may spend; None without a limit of its own."""
        return None if self.max_budget is None else Money(self.max_budget)

    @property
    def sources(self) -> list[TemplateSource]:
        return [TemplateSource(TemplateId(UUID(it["id"])), it["number"]) for it in self.templates]

    @property
    def change(self) -> ProposedChange | None:
        """What is proposed for a team that is there; None for a new team, and while nothing is proposed."""
        if self.team_id is None or self.base_hash is None or self.proposal is None:
            return None
        return ProposedChange(self.id, self.sequence, self.team_id, self.base_hash, self.proposal)

    def become(self, status: GenerationStatus) -> None:
        """Go on to that status; raises InvalidTransition where the machine has no such move."""
        if status not in self.allowed_transitions:
            current, allowed = self.status.value, [each.value for each in self.allowed_transitions]
            message = f"A generation that is {current} cannot become {status.value}."
            raise InvalidTransition(current, status.value, allowed, message)
        self.status = status

    @property
    def is_over(self) -> bool:
        """Whether nobody works on it any more."""
        return self.status not in WORKING

    @property
    def can_cancel(self) -> bool:
        return self.status in WORKING

    @property
    def can_accept(self) -> bool:
        return self.status is GenerationStatus.READY

    @property
    def allowed_transitions(self) -> list[GenerationStatus]:
        return list(GENERATION_TRANSITIONS[self.status])


def check_objective(rules: Rules, objective: str, *path: str) -> None:
    """An objective says something, in at most MAX_OBJECTIVE characters."""
    rules.require(objective.strip(), "An objective is required.", *path)
    rules.require(len(objective) <= MAX_OBJECTIVE, f"At most {MAX_OBJECTIVE:,} characters.", *path)
    rules.require("\x00" not in objective, "The character U+0000 is not allowed.", *path)


SHOWN_OBJECTIVE: Final = 200


def shortened(objective: str) -> str:
    """How an objective begins, on one line, for lists and messages."""
    line = " ".join(objective[: 10 * SHOWN_OBJECTIVE].split())
    return line if len(line) <= SHOWN_OBJECTIVE else line[: SHOWN_OBJECTIVE - 1] + "…"


@dataclass(frozen=True, slots=True)
class GenerationMetrics:
    """How generations went: those that one model answered, or, with `model` None, all, or those that no model did.

    `answered` counts those whose first answer was judged, `composed` those that came to a proposal, `fallbacks` those
    of them that rules composed. Rates are 0 to 1, None where nothing can be said; seconds, and
    the amount in dollars, are means over what a worker began and is over.
    """

    model: str | None
    count: int = 0
    composed: int = 0
    failed: int = 0
    cancelled: int = 0
    answered: int = 0
    valid_first_answers: int = 0
    repairs: int = 0
    fallbacks: int = 0
    accepted: int = 0
    rejected: int = 0
    mean_seconds: float | None = None
    mean_amount: Decimal | None = None
    mean_rating: float | None = None

    @property
    def valid_first_rate(self) -> float | None:
        return _share(self.valid_first_answers, self.answered)

    @property
    def repair_rate(self) -> float | None:
        """Repair rounds for each that was answered; at most one each."""
        return _share(self.repairs, self.answered)

    @property
    def fallback_rate(self) -> float | None:
        return _share(self.fallbacks, self.composed)

    @property
    def failure_rate(self) -> float | None:
        return _share(self.failed, self.composed + self.failed)

    @property
    def acceptance_rate(self) -> float | None:
        """Of those that somebody decided about."""
        return _share(self.accepted, self.accepted + self.rejected)

    @property
    def mean_cost(self) -> Money | None:
        return None if self.mean_amount is None else Money(self.mean_amount)


@dataclass(frozen=True, slots=True)
class GenerationReport:
    """The metrics of all generations of a period, and of each model. Not complete: the older ones are left out."""

    total: GenerationMetrics
    by_model: list[GenerationMetrics]
    is_complete: bool


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
