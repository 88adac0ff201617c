"""Team and its settings."""

from datetime import datetime

import strawberry

from domain.model import team as domain
from domain.model.team import Oversight, Process, TeamStatus, WhenBusy
from resolvers import loaders
from resolvers.edges import loaded_by, paged_by, usage_by
from resolvers.filters import ExecutionFilter, ExecutionOrder, LedgerFilter, Order, ThingFilter
from resolvers.metrics import metrics_by
from resolvers.metrics_loaders import MetricsByTeam
from resolvers.optimization_inputs import OptimizationFilter
from resolvers.optimization_loaders import OptimizationsByTeam
from resolvers.recommendations import RecommendationsByTeam, recommended_by
from resolvers.template_loaders import OriginByTeam
from schema.node import Node, global_id, stands_for
from schema.pagination import Connection
from schema.types.lazy import (
    ExecutionType,
    MetricsType,
    OptimizationType,
    ProjectType,
    RecommendationReportType,
    RoleType,
    ScheduleType,
    TaskType,
    TeamOriginType,
)
from schema.types.ledger import LedgerEntry
from schema.types.record import Record
from schema.types.values import Budget, Usage


@strawberry.type(description="Defaults for the executions of a team.")
class TeamSettings:
    max_iterations: int = strawberry.field(description="Most rounds of thinking and tools per task.")
    execution_timeout_seconds: float = strawberry.field(description="Most seconds for a whole execution.")
    task_timeout_seconds: float = strawberry.field(description="Most seconds for one task.")
    max_parallel_tasks: int = strawberry.field(description="Most tasks of one execution at once.")
    when_busy: WhenBusy = strawberry.field(description="What a kickoff does while an execution is under way.")
    oversight: Oversight = strawberry.field(description="How closely the manager looks; for a HIERARCHICAL team.")
    is_cached: bool = strawberry.field(description="Whether kickoffs may be answered by earlier executions.")


@strawberry.type(description="Roles + tasks + a process.")
class Team(Record, Node):
    is_type_of = stands_for(domain.Team)
    id: strawberry.ID = global_id("Team")
    name: str = strawberry.field(description="Unique in its project among what is not archived.")
    description: str = strawberry.field(description="What the team is for.")
    process: Process = strawberry.field(description="How its tasks are run.")
    settings: TeamSettings = strawberry.field(description="Defaults for its executions.")
    project: ProjectType = loaded_by(loaders.ProjectById, "The project it belongs to.", key="project_id")
    manager: RoleType | None = loaded_by(loaders.RoleById, "The role that leads it.", key="manager_id")
    roles: list[RoleType] = loaded_by(loaders.RolesByTeam, "Its roles, at most 100, by position.")
    tasks: list[TaskType] = loaded_by(loaders.TasksByTeam, "Its tasks, at most 100, by position.")
    origin: TeamOriginType | None = loaded_by(OriginByTeam, "What it was made of; null where somebody made it by hand.")
    status: TeamStatus = loaded_by(
        loaders.ActivityByTeam, "Whether an execution of it is under way.", attribute="status"
    )
    last_executed_at: datetime | None = loaded_by(
        loaders.ActivityByTeam, "When it was last kicked off; null if never.", attribute="last_executed_at"
    )
    budget: Budget = loaded_by(loaders.BudgetOfTeam, "Its budget of this calendar month (UTC).")
    usage: Usage = usage_by(loaders.UsageOfTeam, "What its model calls took.")
    metrics: MetricsType = metrics_by(MetricsByTeam, "What became of its work, and what that took.")
    ledger: Connection[LedgerEntry] = paged_by(
        loaders.LedgerByTeam,
        "The model calls of all its executions, newest first.",
        filter_type=LedgerFilter,
        order_by="booked_at",
    )
    schedules: Connection[ScheduleType] = paged_by(
        loaders.SchedulesByTeam,
        "When it is kicked off by the clock, newest first; archived ones only by filter.",
        filter_type=ThingFilter,
        order_type=Order,
        hides_archived=True,
    )
    executions: Connection[ExecutionType] = paged_by(
        loaders.ExecutionsByTeam,
        "Its executions, newest first.",
        filter_type=ExecutionFilter,
        order_type=ExecutionOrder,
    )
    optimizations: Connection[OptimizationType] = paged_by(
        OptimizationsByTeam,
        "What was proposed for it by its own history, what was applied, and what that came to; newest first.",
        filter_type=OptimizationFilter,
    )
    recommendations: RecommendationReportType = recommended_by(
        RecommendationsByTeam, "What its past speaks for, with figures and the mutation that does it. Computed now."
    )
