"""The inputs of optimizations: what they are asked for, and which are wanted."""

import strawberry

from domain.model.optimization import Goal, OptimizationStatus
from resolvers.inputs import described

_KEY = "Equal requests under one key are carried out once; at most 200 characters."


@strawberry.input(description="What a team is to be optimized for.")
class OptimizeTeamInput:
    team_id: strawberry.ID = described("The team.", ...)
    goal: Goal = described("What matters.", ...)
    idempotency_key: str | None = described(_KEY)


@strawberry.input(description="Which optimization to apply.")
class ApplyOptimizationInput:
    id: strawberry.ID = described("The optimization; one that is applied already is given as it is.", ...)


@strawberry.input(description="Which optimization to take back.")
class UndoOptimizationInput:
    id: strawberry.ID = described("The optimization; one that is undone already is given as it is.", ...)


@strawberry.input(description="Conditions on the status of an optimization.")
class OptimizationStatusFilter:
    in_: list[OptimizationStatus] | None = strawberry.field(name="in", description="One of these.", default=None)


@strawberry.input(description="Conditions on what an optimization is for.")
class OptimizationGoalFilter:
    in_: list[Goal] | None = strawberry.field(name="in", description="One of these.", default=None)


@strawberry.input(description="Which optimizations; all given conditions must hold.")
class OptimizationFilter:
    status: OptimizationStatusFilter | None = described("By status.", None)
    goal: OptimizationGoalFilter | None = described("By what they are for.", None)
