"""Optimizations in the graph: asking for them, applying them, taking them back."""

from collections.abc import Mapping
from typing import Any

import strawberry

from domain.model.identity import TeamId
from domain.services.optimizations import Changed, Proposed
from resolvers.context import Info
from resolvers.node_ids import uuid_of
from resolvers.optimization_inputs import ApplyOptimizationInput, OptimizeTeamInput, UndoOptimizationInput


async def optimize_team(info: Info, input: OptimizeTeamInput) -> Proposed:  # noqa: A002 - the graph's name, as below
    team_id, context = TeamId(uuid_of("Team", input.team_id, "teamId")), info.context
    key = None if input.idempotency_key is strawberry.UNSET else input.idempotency_key
    return await context.services.optimizations.propose(
        context.tenant_id, team_id, input.goal, context.principal_id, key
    )


async def apply_optimization(info: Info, input: ApplyOptimizationInput) -> Changed:  # noqa: A002
    identifier = uuid_of("Optimization", input.id, "id")
    return await info.context.services.optimizations.apply(info.context.tenant_id, identifier)


async def undo_optimization(info: Info, input: UndoOptimizationInput) -> Changed:  # noqa: A002
    identifier = uuid_of("Optimization", input.id, "id")
    return await info.context.services.optimizations.undo(info.context.tenant_id, identifier)


def proposed(done: Proposed) -> Mapping[str, Any]:
    """What the payload about proposals shows."""
    return {"team": done.team, "optimizations": done.optimizations, "message": done.message}


def changed(done: Changed) -> Mapping[str, Any]:
    """What the payloads about changes show."""
    return {"optimization": done.optimization, "team": done.team}
