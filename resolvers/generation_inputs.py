"""The inputs of generations, and what proposals have to keep to; translated into the domain's words here."""

from decimal import Decimal
from enum import Enum

import strawberry

from domain.model.generation import (
    ADAPTIVE_ROLES,
    MAX_OBJECTIVE,
    MOST_OBJECTIVES,
    MOST_ROLES,
    TIMEOUT_SECONDS,
    ComposedBy,
    Constraints,
    Fallback,
    GenerationStatus,
)
from domain.model.role import Expertise
from domain.model.routing import QualityPreference
from domain.model.texts import digits_of
from resolvers.blueprints import BlueprintEditsInput
from resolvers.filters import Direction, MomentFilter
from resolvers.inputs import described, given

_OBJECTIVE = f"What the team is to achieve, in any language; at most {MAX_OBJECTIVE:,} characters."
_SPENDING = "Most dollars that the generation itself may spend on model calls; no limit of its own without one."
_KEY = "The same key and input give the first result again; kept for 24 hours."


@strawberry.input(description="What a proposed team has to keep to; what is left out is free.")
class ConstraintsInput:
    budget: Decimal | None = described("Most dollars that one execution may take, by the lower end of its estimate.")
    max_roles: int | None = described(
        f"Most roles, 1 to {MOST_ROLES}. Without it a proposal has at most {MOST_ROLES}, or as many as the team that it"
        " changes, and a validation has nothing to say of it."
    )
    expertise: Expertise | None = described("The highest expertise of any role.")
    tools: list[str] | None = described(
        "The names of the project's tools that roles may be given, and no others; empty for none. Any without it."
    )
    domain: str | None = described("Where the work is at home, like “marketing”; recognised without one.")
    quality_preference: QualityPreference | None = described("How models are chosen; BALANCED by default.")


_NULLABLE = frozenset({"budget", "max_roles", "expertise", "tools", "domain", "quality_preference"})


def constraints_from(source: ConstraintsInput | None) -> Constraints:
    """The constraints that are given, null as if left out; their own rules are not checked."""
    values = given(source, nullable=_NULLABLE) if source else {}
    return Constraints(**{name: value for name, value in values.items() if value is not None})


# ---------------------------------------------------------------- asking for teams


@strawberry.input(description="Asks for a proposal of a new team, or of changes to one.")
class GenerateTeamInput:
    objective: str = described(_OBJECTIVE, ...)
    project_id: strawberry.ID | None = described("The project of a new team; either this or a team.")
    team_id: strawberry.ID | None = described("The team that is to be changed; either this or a project.")
    constraints: ConstraintsInput | None = described("What the proposal has to keep to.")
    fallback: Fallback | None = described("Whether rules may compose where no model did; ALLOWED by default.")
    max_budget: Decimal | None = described(_SPENDING)
    timeout_seconds: float | None = described(
        f"Most seconds from when a worker begins, 1 to {digits_of(TIMEOUT_SECONDS)}, which is the default."
    )
    idempotency_key: str | None = described(_KEY)


@strawberry.input(description="Asks for a proposal of a small team.")
class BuildAdaptiveTeamInput:
    project_id: strawberry.ID = described("The project of the new team.", ...)
    objective: str = described(_OBJECTIVE, ...)
    budget: Decimal | None = described("Most dollars that one execution may take, by the lower end of its estimate.")
    expertise: Expertise | None = described(f"The highest expertise of any of its at most {ADAPTIVE_ROLES} roles.")
    idempotency_key: str | None = described(_KEY)


@strawberry.input(description="Asks for a proposal for each of many objectives, all under the same conditions.")
class BulkGenerateTeamsInput:
    project_id: strawberry.ID = described("The project of the new teams.", ...)
    objectives: list[str] = described(f"1 to {MOST_OBJECTIVES} objectives, each like that of `generateTeam`.", ...)
    constraints: ConstraintsInput | None = described("What each proposal has to keep to.")
    fallback: Fallback | None = described("Whether rules may compose where no model did; ALLOWED by default.")
    max_budget: Decimal | None = described(f"Of each. {_SPENDING}")
    idempotency_key: str | None = described(_KEY)


# ---------------------------------------------------------------- deciding


@strawberry.input(description="Which generation to stop.")
class CancelGenerationInput:
    generation_id: strawberry.ID = described("The generation; one that is over is given as it is.", ...)


@strawberry.input(description="Which proposal to make true.")
class AcceptGenerationInput:
    generation_id: strawberry.ID = described("The generation; it has to be READY.", ...)
    edits: BlueprintEditsInput | None = described(
        "Changes to the proposal before it is made true. They are a human's: the constraints of the generation do not"
        " hold for them."
    )
    name: str | None = described("What the team is called, in place of what was proposed.")
    idempotency_key: str | None = described(_KEY)


@strawberry.input(description="Which proposal is not wanted.")
class RejectGenerationInput:
    generation_id: strawberry.ID = described("The generation; it has to be READY.", ...)
    reason: str | None = described("Why, for people.")


@strawberry.input(description="How good a generation was.")
class RateGenerationInput:
    generation_id: strawberry.ID = described("The generation; nobody may be working on it any more.", ...)
    rating: int = described("1, no use, to 5, just right; a later rating takes the place of an earlier one.", ...)
    feedback: str | None = described("What was good or bad, for people.")


# ---------------------------------------------------------------- filters and orders


@strawberry.input(description="Conditions on the status of a generation.")
class GenerationStatusFilter:
    in_: list[GenerationStatus] | None = strawberry.field(name="in", description="One of these.", default=None)


@strawberry.input(description="Conditions on who composed a proposal.")
class ComposedByFilter:
    in_: list[ComposedBy] | None = strawberry.field(name="in", description="One of these.", default=None)


@strawberry.input(description="Which generations; all given conditions must hold.")
class GenerationFilter:
    status: GenerationStatusFilter | None = described("By status.", None)
    composed_by: ComposedByFilter | None = described("By who composed the proposal.", None)
    project_id: strawberry.ID | None = described("Those of this project.", None)
    batch_id: strawberry.ID | None = described("Those of this batch of `bulkGenerateTeams`.", None)
    created_at: MomentFilter | None = described("By the moment they were asked for.", None)


@strawberry.enum(description="By what generations are ordered.")
class GenerationOrderField(Enum):
    CREATED_AT = strawberry.enum_value("created_at", description="When it was asked for.")


@strawberry.input(description="The order of generations; equals are told apart by id.")
class GenerationOrder:
    field: GenerationOrderField = described("By what.", GenerationOrderField.CREATED_AT)
    direction: Direction = described("Which way.", Direction.DESC)
