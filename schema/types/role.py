"""Role and its delegation rule."""

import strawberry
from strawberry.scalars import JSON

from domain.model import role as domain
from domain.model.role import DelegatesTo, Expertise, Rank
from resolvers import loaders
from resolvers.edges import loaded_by, usage_by
from resolvers.metrics import metrics_by
from resolvers.metrics_loaders import MetricsByRole
from schema.node import Node, global_id, stands_for
from schema.types.lazy import MetricsType, TeamType, ToolType
from schema.types.record import Record
from schema.types.values import Usage


@strawberry.type(description="To whom and for what a role may hand work on; takes effect in a HIERARCHICAL team.")
class Delegation:
    is_allowed: bool = strawberry.field(description="Whether it may delegate at all.")
    to: DelegatesTo = strawberry.field(description="To whom.")
    task_kinds: list[str] = strawberry.field(description="For which task kinds; empty for any.")


@strawberry.type(description="One agent of a team.")
class Role(Record, Node):
    is_type_of = stands_for(domain.Role)
    id: strawberry.ID = global_id("Role")
    title: str = strawberry.field(description="What the role is called.")
    description: str = strawberry.field(description="What the role does.")
    expertise: Expertise = strawberry.field(description="How experienced it is.")
    goals: list[str] = strawberry.field(description="What it strives for.")
    backstory: str = strawberry.field(description="Who it is.")
    model: str | None = strawberry.field(
        description="The model it uses; null: each task is routed, unless REGATTA_MODEL names one."
    )
    temperature: float = strawberry.field(description="0 to 2.")
    max_tokens: int | None = strawberry.field(description="Most tokens of one answer; null without a limit of its own.")
    model_parameters: JSON = strawberry.field(description="More parameters for the model.")
    skills: list[str] = strawberry.field(description="What it can do.")
    rank: Rank = strawberry.field(description="Where it stands in the team.")
    delegation: Delegation = strawberry.field(description="To whom and for what it may hand work on.")
    max_tasks: int | None = strawberry.field(description="Most tasks that it is given in an execution; null: no limit.")
    max_parallel_tasks: int | None = strawberry.field(
        description="Most tasks that it does at once in one execution; null: no limit of its own."
    )
    can_ask: bool = strawberry.field(description="Whether it may ask a human while it works.")
    is_active: bool = strawberry.field(description="Whether it takes part in executions.")
    position: int = strawberry.field(description="Its place among the roles of the team.")
    team: TeamType = loaded_by(loaders.TeamById, "The team it belongs to.", key="team_id")
    supervisor: "Role | None" = loaded_by(loaders.RoleById, "The role it reports to.", key="supervisor_id")
    subordinates: list["Role"] = loaded_by(loaders.SubordinatesByRole, "The roles that report to it.")
    usage: Usage = usage_by(loaders.UsageOfRole, "What its model calls took.")
    metrics: MetricsType = metrics_by(
        MetricsByRole, "What became of its tasks, model calls and tool calls; it has no executions of its own."
    )
    tools: list[ToolType] = loaded_by(loaders.ToolsByRole, "The tools it may use.")
