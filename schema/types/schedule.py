"""Schedule, and its fires."""

from datetime import datetime

import strawberry
from strawberry.scalars import JSON

from domain.model import schedule as domain
from domain.model.routing import QualityPreference
from domain.model.schedule import MAX_NEXT_FIRES, FireKind, FireOutcome, ScheduleOverlap
from resolvers import loaders
from resolvers.edges import counted_by, loaded_by, paged_by
from resolvers.filters import ScheduleFireFilter
from schema.node import Node, global_id, stands_for
from schema.pagination import Connection
from schema.types.lazy import ExecutionType, TeamType
from schema.types.record import Record
from schema.types.values import Money


@strawberry.type(description="What the executions of a schedule are kicked off with.")
class ScheduleConfiguration:
    max_iterations: int | None = strawberry.field(description="Most rounds per task; null for the team's setting.")
    execution_timeout_seconds: float | None = strawberry.field(
        description="Most seconds in all; null for the team's setting."
    )
    task_timeout_seconds: float | None = strawberry.field(
        description="Most seconds per task; null for the team's setting."
    )
    quality_preference: QualityPreference = strawberry.field(description="How models are chosen.")
    max_budget: Money | None = strawberry.field(description="Most for each execution; null for no limit of its own.")
    max_task_budget: Money | None = strawberry.field(description="Most for one task; null for no limit of its own.")
    priority: int = strawberry.field(description="0 to 9, 9 first.")


@strawberry.type(description="One moment at which a schedule fired, or should have.")
class ScheduleFire(Node):
    is_type_of = stands_for(domain.ScheduleFire)
    id: strawberry.ID = global_id("ScheduleFire")
    kind: FireKind = strawberry.field(description="Why it fired.")
    outcome: FireOutcome = strawberry.field(description="What became of it.")
    scheduled_for: datetime = strawberry.field(description="The moment that it stands for.")
    fired_at: datetime | None = strawberry.field(description="When that was dealt with; null while it is PENDING.")
    missed_since: datetime | None = strawberry.field(
        description="The first of the fires before it that nobody carried out in time; null when it missed none."
    )
    message: str | None = strawberry.field(description="Why it was SKIPPED or FAILED; null otherwise.")
    execution: ExecutionType | None = loaded_by(
        loaders.ExecutionById, "What it started; null when it started nothing.", key="execution_id"
    )
    schedule: "Schedule" = loaded_by(loaders.ScheduleById, "Whose fire it is.", key="schedule_id")


@strawberry.type(description="Kickoffs of a team by the clock.")
class Schedule(Record, Node):
    is_type_of = stands_for(domain.Schedule)
    id: strawberry.ID = global_id("Schedule")
    name: str = strawberry.field(description="Unique in its team among what is not archived.")
    cron: str = strawberry.field(description="When: minute, hour, day of the month, month, weekday.")
    time_zone: str = strawberry.field(description="Whose clocks count: a name of the IANA database.")
    overlap: ScheduleOverlap = strawberry.field(description="What a fire does while an earlier execution is not over.")
    catch_up_seconds: float = strawberry.field(
        description="For so many seconds a fire that no worker carried out is made up, the latest one only."
    )
    inputs: JSON = strawberry.field(description="The values for the placeholders.")
    configuration: ScheduleConfiguration = strawberry.field(description="What its executions are kicked off with.")
    is_paused: bool = strawberry.field(description="Whether it fires no more until it is resumed.")
    paused_at: datetime | None = strawberry.field(description="When it was paused; null when it is not.")
    next_fire_at: datetime | None = strawberry.field(
        description="When it fires next; null while it is paused or archived, or when it never does again."
    )
    next_fires: list[datetime] = counted_by(
        loaders.NextFiresByTimetable,
        "timetable",
        "The next times of its clock, whether it is paused or not.",
        default=5,
        most=MAX_NEXT_FIRES,
    )
    last_fire: ScheduleFire | None = loaded_by(
        loaders.ScheduleFireById, "The last fire that was dealt with; null before the first.", key="last_fire_id"
    )
    fires: Connection[ScheduleFire] = paged_by(
        loaders.FiresBySchedule,
        "Its fires by the moment they stand for, newest first.",
        filter_type=ScheduleFireFilter,
        order_by="scheduled_for",
    )
    team: TeamType = loaded_by(loaders.TeamById, "The team that is kicked off.", key="team_id")
