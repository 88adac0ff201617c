"""Mutations on schedules; archiving and restoring them is like that of other things."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from domain.errors import Invalid
from domain.model.identity import TeamId
from domain.model.schedule import Schedule, ScheduleFire
from domain.services.schedules import Backfill
from resolvers.context import Info
from resolvers.inputs import given
from resolvers.node_ids import uuid_of
from resolvers.schedule_inputs import (
    BackfillScheduleInput,
    CancelBackfillInput,
    CreateScheduleInput,
    PauseScheduleInput,
    ResumeScheduleInput,
    TriggerScheduleInput,
    UpdateScheduleInput,
)

_NULLABLE = frozenset(
    {
        "max_iterations",
        "execution_timeout_seconds",
        "task_timeout_seconds",
        "max_budget",
        "max_task_budget",
    }
)


async def create_schedule(info: Info, input: CreateScheduleInput) -> Schedule:  # noqa: A002 - the graph's name, as below
    team_id = TeamId(uuid_of("Team", input.team_id, "teamId"))
    values = _values(input, "team_id")
    thing = Schedule(info.context.tenant_id, team_id, **values, created_by=info.context.principal_id)
    return await info.context.services.schedules.create(thing)


async def update_schedule(info: Info, input: UpdateScheduleInput) -> Schedule:  # noqa: A002
    identifier = uuid_of("Schedule", input.id, "id")
    changes = _values(input, "id", "version")
    return await info.context.services.schedules.update(info.context.tenant_id, identifier, input.version, changes)


def _values(source: CreateScheduleInput | UpdateScheduleInput, *without: str) -> dict[str, Any]:
    values = given(source, without=(*without, "configuration"))
    if not isinstance(values.get("inputs", {}), dict):
        raise Invalid.at("The inputs are an object.", "inputs")
    return values | (given(source.configuration, nullable=_NULLABLE) if source.configuration else {})


async def pause_schedule(info: Info, input: PauseScheduleInput) -> Schedule:  # noqa: A002
    return await info.context.services.scheduling.pause(info.context.tenant_id, uuid_of("Schedule", input.id, "id"))


async def resume_schedule(info: Info, input: ResumeScheduleInput) -> Schedule:  # noqa: A002
    return await info.context.services.scheduling.resume(info.context.tenant_id, uuid_of("Schedule", input.id, "id"))


async def trigger_schedule(info: Info, input: TriggerScheduleInput) -> ScheduleFire:  # noqa: A002
    identifier = uuid_of("Schedule", input.id, "id")
    return await info.context.services.scheduling.trigger(info.context.tenant_id, identifier, input.idempotency_key)


async def backfill_schedule(info: Info, input: BackfillScheduleInput) -> Backfill:  # noqa: A002
    identifier = uuid_of("Schedule", input.id, "id")
    since, until = _in_utc(input.from_, "from"), _in_utc(input.to, "to")
    return await info.context.services.scheduling.backfill(info.context.tenant_id, identifier, since, until)


def _in_utc(moment: datetime, path: str) -> datetime:
    """A moment without a zone is taken as UTC."""
    try:
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except OverflowError as error:
        raise Invalid.at("This moment is out of range.", path) from error


async def cancel_backfill(info: Info, input: CancelBackfillInput) -> Backfill:  # noqa: A002
    identifier = uuid_of("Schedule", input.id, "id")
    return await info.context.services.scheduling.drop_backfill(info.context.tenant_id, identifier)


def unpacked(backfill: Backfill) -> Mapping[str, Any]:
    """What the payloads about back-fills show."""
    return {"schedule": backfill.schedule, "count": backfill.count}
