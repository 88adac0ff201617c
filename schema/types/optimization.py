"""Optimization: a change to a team that its own history speaks for, and what became of it."""

from datetime import datetime
from typing import Any

import strawberry
from strawberry.scalars import JSON

from domain.model import optimization as domain
from domain.model.difference import Part
from domain.model.optimization import Goal, Metric, OptimizationKind, OptimizationStatus
from domain.model.optimizing.field_changes import DEPENDS_ON
from resolvers.edges import computed, loaded_by
from resolvers.loaders import TeamById
from resolvers.node_ids import node_id
from resolvers.optimization_loaders import EffectsByTrial
from schema.node import Node, global_id, stands_for
from schema.types.lazy import TeamType
from schema.types.record import creator
from schema.types.values import Money


@strawberry.type(description="One observation that speaks for a change.")
class OptimizationEvidence:
    text: str = strawberry.field(description="What was observed, for people.")
    value: float | None = strawberry.field(description="Its figure; null where there is none.")


@strawberry.type(description="How a metric is expected to change, or did.")
class ExpectedEffect:
    metric: Metric = strawberry.field(description="What changes.")
    low: float = strawberry.field(
        description="The lower end, as a share: -0.3 is three tenths less. For SUCCESS_RATE the difference of the rate."
    )
    high: float = strawberry.field(description="The upper end, as a share, as above.")


@strawberry.type(description="How a metric did change: executions since an optimization was applied, and before.")
class MeasuredEffect:
    metric: Metric = strawberry.field(description="What changed.")
    before: float | None = strawberry.field(
        description="The mean before, in seconds or as the rate; null without any, and for COST."
    )
    after: float | None = strawberry.field(
        description="The mean since, until it was undone; null without any, and for COST."
    )
    before_cost: Money | None = strawberry.field(
        description="What a completed execution cost before, on the mean; null without any, and for other metrics."
    )
    after_cost: Money | None = strawberry.field(
        description="The same since, until it was undone; null without any, and for other metrics."
    )
    change: float | None = strawberry.field(
        description="As a share, for SUCCESS_RATE as the difference of the rate; null where too little is known."
    )
    executions_before: int = strawberry.field(
        description="The executions that this stands on, at most 100: completed ones, for SUCCESS_RATE failed ones too."
    )
    executions_after: int = strawberry.field(description="The same since then.")
    message: str = strawberry.field(description="What was compared, or why it could not be, for people.")


def _shown(name: str) -> Any:
    """A value for clients: tasks by their global ids."""

    def value(change: domain.FieldChange) -> Any:
        found = getattr(change, name)
        return [node_id("Task", each) for each in found] if change.field == DEPENDS_ON else found

    return value


@strawberry.type(description="One field of a team, a role or a task that an optimization changes.")
class OptimizationChange:
    part: Part = strawberry.field(description="What it is a field of.")
    part_id: strawberry.ID = computed(
        lambda change: node_id(change.part.value.capitalize(), change.id), "The global id of that."
    )
    name: str = strawberry.field(description="The team's name, the role's title or the task's name, when proposed.")
    field: str = strawberry.field(description="The field, as a blueprint's difference calls it.")
    before: JSON | None = computed(_shown("before"), "The value that it is changed from; tasks by their global ids.")
    after: JSON | None = computed(_shown("after"), "The value that it is changed to; tasks by their global ids.")


@strawberry.type(description="A change to a team that its own history speaks for, and what became of it.")
class Optimization(Node):
    is_type_of = stands_for(domain.Optimization)
    id: strawberry.ID = global_id("Optimization")
    goal: Goal = strawberry.field(description="What it was asked for.")
    kind: OptimizationKind = strawberry.field(description="What is proposed, for programs.")
    title: str = strawberry.field(description="What is proposed, for people.")
    explanation: str = strawberry.field(description="Why, and what to look at, for people.")
    evidence: list[OptimizationEvidence] = computed(
        lambda optimization: optimization.observations, "What was observed when it was proposed."
    )
    expected_effects: list[ExpectedEffect] = strawberry.field(description="What is expected of it, as ranges.")
    changes: list[OptimizationChange] = computed(
        lambda optimization: optimization.field_changes, "What it changes of the team."
    )
    status: OptimizationStatus = strawberry.field(description="Where it stands.")
    can_apply: bool = strawberry.field(
        description="Whether `applyOptimization` may do its work, if the team is still the same."
    )
    can_undo: bool = strawberry.field(
        description="Whether `undoOptimization` may do its work, if nobody changed the same fields since."
    )
    created_at: datetime = strawberry.field(description="When it was proposed.")
    created_by: str | None = computed(creator, "Who asked for it; null until there are principals.")
    applied_at: datetime | None = strawberry.field(description="When it was applied; null if never.")
    undone_at: datetime | None = strawberry.field(description="When it was taken back; null if never.")
    measured_effects: list[MeasuredEffect] | None = loaded_by(
        EffectsByTrial, "What it came to, measured now; null before it was applied.", key="trial"
    )
    team: TeamType = loaded_by(TeamById, "The team.", key="team_id")
