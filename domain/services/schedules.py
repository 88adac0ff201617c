"""Use cases on schedules beyond editing: pause, resume, fire now, make up for a time that is over."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from domain.errors import Archived, Invalid, Problem, RegattaError, located
from domain.model.identity import TenantId, utc_now
from domain.model.rules import Rules
from domain.model.schedule import MAX_BACKFILL, FireOutcome, Schedule, ScheduleFire
from domain.ports import Hints, UnitOfWork, UnitsOfWork
from domain.ports.tracing import NO_TRACING, Tracing
from domain.services.firing import Held, kick_off
from domain.services.idempotency import Once

OLDEST_BACKFILL = timedelta(days=3660)


@dataclass(frozen=True, slots=True)
class Backfill:
    """The schedule, and how many of its fires this request let wait to be made up, or forgot."""

    schedule: Schedule
    count: int


class Schedules:
    """All raise NotFound, and all but `drop_backfill` Archived; what goes wrong is located at `id`."""

    def __init__(self, units: UnitsOfWork, hints: Hints, tracing: Tracing = NO_TRACING) -> None:
        self.units = units
        self.hints = hints
        self.tracing = tracing

    async def pause(self, tenant_id: TenantId, identifier: UUID) -> Schedule:
        """Let it fire no more until it is resumed; a paused one stays as it is."""
        async with self._one(tenant_id, identifier) as (unit, schedule):
            return schedule if schedule.is_paused else await _set(unit, replace(schedule, paused_at=utc_now()))

    async def resume(self, tenant_id: TenantId, identifier: UUID) -> Schedule:
        """Let it fire again from now on; nothing of the pause is made up. One that is not paused stays as it is."""
        async with self._one(tenant_id, identifier) as (unit, schedule):
            return await _set(unit, replace(schedule, paused_at=None)) if schedule.is_paused else schedule

    async def trigger(self, tenant_id: TenantId, identifier: UUID, key: str | None = None) -> ScheduleFire:
        """Fire now, paused or not; the first fire of the same idempotency key.

        Raises ScheduleBusy and whatever a kickoff raises: then nothing was written. IdempotencyConflict.
        """
        once = Once(key, ("triggerSchedule", identifier))
        once.check()
        held = Held(self.hints)
        with located("id"):
            async with self.units(tenant_id) as unit:
                first = await once.first(unit)
                if first is not None:
                    return await unit.schedules.get_fire(first)
                fire = await _trigger(unit, await _in_use(unit, identifier), held, self.tracing)
                await once.keep(unit, fire.id)
                await unit.commit()
        await held.release()
        return fire

    async def backfill(self, tenant_id: TenantId, identifier: UUID, since: datetime, until: datetime) -> Backfill:
        """Let the fires from `since` on and before `until` be made up, except those that started an execution.

        Workers do so, the oldest first. Raises Invalid for a range that is none, not over yet, or too long.
        """
        _check_range(since, until)
        async with self._one(tenant_id, identifier) as (unit, schedule):
            fires = schedule.backfill(since, until)
            planned = await unit.schedules.plan_backfill(fires[:MAX_BACKFILL])
            if len(fires) > MAX_BACKFILL or await unit.schedules.count_backfill(schedule.id) > MAX_BACKFILL:
                raise Invalid.at(f"At most {MAX_BACKFILL} fires wait to be made up: take a shorter range.", "to")
            await unit.commit()
        return Backfill(schedule, planned)

    async def drop_backfill(self, tenant_id: TenantId, identifier: UUID) -> Backfill:
        """Forget what waits to be made up."""
        with located("id"):
            async with self.units(tenant_id) as unit:
                schedule = await unit.schedules.get(identifier)
                dropped = await unit.schedules.drop_backfill(schedule.id)
                await unit.commit()
        return Backfill(schedule, dropped)

    @asynccontextmanager
    async def _one(self, tenant_id: TenantId, identifier: UUID) -> AsyncIterator[tuple[UnitOfWork, Schedule]]:
        with located("id"):
            async with self.units(tenant_id) as unit:
                yield unit, await _in_use(unit, identifier)


async def _in_use(unit: UnitOfWork, identifier: UUID) -> Schedule:
    """The schedule, locked. Raises Archived."""
    schedule = await unit.schedules.get(identifier)
    if schedule.archived_at:
        raise Archived("Schedule")
    return schedule


async def _trigger(unit: UnitOfWork, schedule: Schedule, hints: Hints, tracing: Tracing) -> ScheduleFire:
    fire = schedule.triggered(utc_now())
    try:
        execution = await kick_off(unit, schedule, fire.kind, hints, tracing)
    except Invalid as error:  # what is wrong with the kickoff has no place of its own in this request
        raise Invalid([Problem(it.message, ("id",)) for it in error.problems]) from error
    except RegattaError as error:
        raise error.under("id") from None
    fire.become(FireOutcome.STARTED, execution_id=execution.id)
    await unit.schedules.add_fire(fire)
    await unit.schedules.set_clock(replace(schedule, last_fire_id=fire.id))
    return fire


async def _set(unit: UnitOfWork, schedule: Schedule) -> Schedule:
    schedule.set_clock(utc_now(), is_new=True)
    saved = await unit.schedules.update(schedule)
    await unit.commit()
    return saved


def _check_range(since: datetime, until: datetime) -> None:
    rules, now = Rules(), utc_now()
    rules.require(since >= now - OLDEST_BACKFILL, "At most ten years back.", "from")
    rules.require(since < until, "The end is behind the beginning.", "to")
    rules.require(until <= now, "Only what is over can be made up.", "to")
    rules.hold()
