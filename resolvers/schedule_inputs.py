"""The inputs of schedules."""

from datetime import datetime
from decimal import Decimal

import strawberry
from strawberry.scalars import JSON

from domain.model.routing import QualityPreference
from domain.model.schedule import ScheduleOverlap
from resolvers.inputs import described

_CRON = (
    "Five fields: minute, hour, day of the month, month, weekday (0 or 7 is Sunday), like “*/15 8-18 * * MON-FRI”."
    " Where both days are given, either will do. “L” is the last day of the month, “MON#2” the second Monday."
)


_TIME_ZONE = "Whose clocks count: a name of the IANA database, like “Europe/Berlin”"


_CATCH_UP = "For so many seconds a fire that no worker carried out is made up, the latest one only; 60 to 604,800"


@strawberry.input(description="What the executions of a schedule are kicked off with; what is left out stays.")
class ScheduleConfigurationInput:
    max_iterations: int | None = described("Most rounds per task; null for the team's setting.")
    execution_timeout_seconds: float | None = described("Most seconds in all; null for the team's setting.")
    task_timeout_seconds: float | None = described("Most seconds per task; null for the team's setting.")
    quality_preference: QualityPreference | None = described("How models are chosen; BALANCED by default.")
    max_budget: Decimal | None = described("Most dollars of each execution; null for no limit of its own.")
    max_task_budget: Decimal | None = described("Most dollars per task; null for no limit of its own.")
    priority: int | None = described("0 to 9, 9 first; 5 by default.")


@strawberry.input(description="A new schedule of a team.")
class CreateScheduleInput:
    team_id: strawberry.ID = described("The team that is kicked off.", ...)
    name: str = described("Unique in its team.", ...)
    cron: str = described(_CRON, ...)
    time_zone: str | None = described(f"{_TIME_ZONE}; UTC by default.")
    overlap: ScheduleOverlap | None = described("What a fire does while an earlier one runs; SKIP by default.")
    catch_up_seconds: float | None = described(f"{_CATCH_UP}; 3,600 by default.")
    inputs: JSON | None = described("A value for each {placeholder} of the tasks.")
    configuration: ScheduleConfigurationInput | None = described("What its executions are kicked off with.", None)


@strawberry.input(description="Changes to a schedule; what is left out stays.")
class UpdateScheduleInput:
    id: strawberry.ID = described("The schedule.", ...)
    version: int = described("The version that was read; a newer one is not overwritten.", ...)
    name: str | None = described("Unique in its team.")
    cron: str | None = described(_CRON)
    time_zone: str | None = described(f"{_TIME_ZONE}.")
    overlap: ScheduleOverlap | None = described("What a fire does while an earlier one runs.")
    catch_up_seconds: float | None = described(f"{_CATCH_UP}.")
    inputs: JSON | None = described("A value for each {placeholder} of the tasks; replaces them all.")
    configuration: ScheduleConfigurationInput | None = described("What its executions are kicked off with.", None)


@strawberry.input(description="Which schedule is not to fire any more, until it is resumed.")
class PauseScheduleInput:
    id: strawberry.ID = described("The schedule.", ...)


@strawberry.input(description="Which schedule is to fire again, from now on.")
class ResumeScheduleInput:
    id: strawberry.ID = described("The schedule.", ...)


@strawberry.input(description="Which schedule is to fire now.")
class TriggerScheduleInput:
    id: strawberry.ID = described("The schedule; it may be paused.", ...)
    idempotency_key: str | None = described("The same key gives the first fire again; kept for 24 hours.", None)


@strawberry.input(description="Which fires of a schedule to make up: those that started no execution.")
class BackfillScheduleInput:
    id: strawberry.ID = described("The schedule.", ...)
    from_: datetime = strawberry.field(name="from", description="From this moment on; at most ten years back.")
    to: datetime = described("Before this moment, which is over; at most 1,000 fires.", ...)


@strawberry.input(description="Of which schedule to forget the fires that wait to be made up.")
class CancelBackfillInput:
    id: strawberry.ID = described("The schedule.", ...)
