"""Recommendations: what the past of teams, templates and workers speaks for, and the mutation that would do it."""

from datetime import datetime

import strawberry
from strawberry.scalars import JSON

from domain.model.recommendation import Impact, RecommendationKind
from resolvers.edges import computed, loaded_by
from resolvers.loaders import TeamById
from resolvers.recommendations import shown_arguments
from schema.node import Node
from schema.types.lazy import TeamType
from schema.types.optimization import ExpectedEffect, OptimizationEvidence
from schema.types.values import Money


@strawberry.type(description="A mutation that does what is recommended.")
class RecommendedAction:
    mutation: str = strawberry.field(description="Its name in this schema.")
    arguments: JSON = computed(
        shown_arguments, "Its `input`, whole but for what it `needs`; with the version on which it was based."
    )
    needs: list[str] = strawberry.field(
        description="What people have to add to the arguments first, like `parameters.company`; empty where nothing."
    )
    text: str = strawberry.field(description="What it does, for people.")


@strawberry.type(description="Something that the past speaks for.")
class Recommendation:
    kind: RecommendationKind = strawberry.field(description="What is recommended, for programs.")
    impact: Impact = strawberry.field(description="How much is expected of it.")
    title: str = strawberry.field(description="What is recommended, for people.")
    explanation: str = strawberry.field(description="Why, what to look at, and what is not known, for people.")
    evidence: list[OptimizationEvidence] = strawberry.field(description="What was observed.")
    expected_effects: list[ExpectedEffect] = computed(
        lambda recommendation: recommendation.effects,
        "What is expected of it, as ranges, what it is mainly for first; of WORKER_POOL_TOO_SMALL seconds count from"
        " the kickoff on. Empty where nothing can be reckoned.",
    )
    saving: Money | None = strawberry.field(
        description="What the middle of the range would have saved of what was looked at; null where no cost is to"
        " sink."
    )
    executions: int = strawberry.field(description="On how many executions it stands.")
    subject: Node | None = strawberry.field(
        description="The role, task, tool or template that it is about; null where it is about the workers."
    )
    team: TeamType | None = loaded_by(TeamById, "The team; null where it is about the workers.", key="team_id")
    action: RecommendedAction | None = strawberry.field(
        description="The mutation that does it; null where people have to."
    )


@strawberry.type(description="What there is to recommend, and on how much that stands.")
class RecommendationReport:
    items: list[Recommendation] = strawberry.field(
        description="The recommendations, at most 50: the highest impact first, then what saves most."
    )
    message: str | None = strawberry.field(description="Why there is none, for people; null where there are some.")
    since: datetime = strawberry.field(description="Only what was kicked off from then on was looked at, 30 days.")
    teams: int = strawberry.field(description="How many teams were looked at.")
    executions: int = strawberry.field(
        description="How many of their executions, at most 100 of each team: whole ones that were completed or failed."
    )
