"""Letting schedules fire: each moment once, in one transaction with the kickoff that it stands for."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Final, TypeAlias

import structlog

from domain.errors import InvalidTransition, RegattaError, ScheduleBusy, Unavailable
from domain.model.execution import Execution
from domain.model.identity import ExecutionId, ScheduleId, TenantId
from domain.model.schedule import MAX_OPEN, FireKind, FireOutcome, Schedule, ScheduleFire, ScheduleOverlap
from domain.model.team import WhenBusy
from domain.ports import DueSchedules, Hints, Listener, UnitOfWork, UnitsOfWork
from domain.ports.tracing import NO_TRACING, Tracing
from domain.services.cancelling import cancel_topics, request_cancel
from domain.services.executions import KickoffRequest, KickoffTeam

BATCH: Final = 100
"""So many schedules are looked at in one round; what is left is still due in the next one."""

LOCK_SECONDS: Final = 2.0
"""A fire waits no longer for what somebody else holds: it is tried again in the next round."""

PUT_OFF: Final = timedelta(minutes=10)
"""A schedule that cannot be dealt with at all is looked at again after that."""

BACKFILLS_AT_ONCE: Final = 10
"""So many executions that make up for something run at once, where a schedule may overlap; else one."""

_BY_THE_CLOCK = (FireKind.DUE, FireKind.TRIGGER)
_FAULT: Final = "A fault of Regatta kept it from being carried out."

_log = structlog.get_logger(__name__)


class Held:
    """Hints that wait for the commit: nobody looks for what is not there yet."""

    def __init__(self, hints: Hints) -> None:
        self.hints = hints
        self.topics: list[str] = []

    async def publish(self, topics: Sequence[str]) -> None:
        self.topics += topics

    def listen(self, topic: str) -> AbstractContextManager[Listener]:
        return self.hints.listen(topic)

    async def release(self) -> None:
        if self.topics:
            await self.hints.publish(list(dict.fromkeys(self.topics)))


async def kick_off(
    unit: UnitOfWork, schedule: Schedule, kind: FireKind, hints: Hints, tracing: Tracing = NO_TRACING
) -> Execution:
    """The execution that a fire of the locked schedule starts, in this unit of work.

    Raises ScheduleBusy where an earlier one is in its way, and what a kickoff raises; then nothing was written.
    """
    async with unit.nested(schedule.tenant_id) as inner:
        when_busy = await _make_way(inner, schedule, kind, hints)
        kickoff = KickoffTeam(inner.nested, hints, tracing)
        execution = await kickoff(schedule.tenant_id, _request(schedule, when_busy), schedule.created_by)
        await inner.commit()
    return execution


async def _make_way(unit: UnitOfWork, schedule: Schedule, kind: FireKind, hints: Hints) -> WhenBusy | None:
    """What the kickoff does when its team is busy; None for the team's own way."""
    if schedule.overlap is ScheduleOverlap.REPLACE:
        await unit.definitions.lock(schedule.team_id)  # as every kickoff does: a team first, then its executions
    if kind is FireKind.BACKFILL:
        return WhenBusy.PARALLEL if schedule.overlap is ScheduleOverlap.PARALLEL else WhenBusy.QUEUE
    earlier = await unit.schedules.open_executions(schedule, _BY_THE_CLOCK, MAX_OPEN)
    if not earlier:
        return None
    if schedule.overlap is ScheduleOverlap.SKIP or len(earlier) == MAX_OPEN:
        raise ScheduleBusy(len(earlier))
    if schedule.overlap is ScheduleOverlap.PARALLEL:
        return WhenBusy.PARALLEL
    if schedule.overlap is ScheduleOverlap.REPLACE:
        for identifier in earlier:
            await _cancel(unit, identifier, hints)
    return WhenBusy.QUEUE


async def _cancel(unit: UnitOfWork, identifier: ExecutionId, hints: Hints) -> None:
    execution = await unit.executions.lock(identifier)
    try:
        wanted = await request_cancel(unit, execution)
    except InvalidTransition:  # it ended meanwhile
        return
    await hints.publish(cancel_topics(wanted))


def _request(schedule: Schedule, when_busy: WhenBusy | None) -> KickoffRequest:
    return KickoffRequest(
        team_id=schedule.team_id,
        inputs=schedule.inputs,
        max_iterations=schedule.max_iterations,
        execution_timeout_seconds=schedule.execution_timeout_seconds,
        task_timeout_seconds=schedule.task_timeout_seconds,
        quality_preference=schedule.quality_preference,
        max_budget=schedule.max_budget,
        max_task_budget=schedule.max_task_budget,
        priority=schedule.priority,
        when_busy=when_busy,
    )


class FireSchedules:
    """Lets due schedules fire, and makes up what was asked for; every worker does, and none gets in another's way.

    A fire is a row, and it is committed with its execution and the next moment of its schedule: a crash at any line
    neither loses nor doubles one. Whatever is wrong with one schedule, the others fire.
    """

    def __init__(self, units: UnitsOfWork, due: DueSchedules, hints: Hints, tracing: Tracing = NO_TRACING) -> None:
        self.units = units
        self.due = due
        self.hints = hints
        self.tracing = tracing

    async def fire(self) -> int:
        """One round, to be called every second; returns how many fires were dealt with.

        Raises Unavailable at its end for what is still to be done.
        """
        late = list[Unavailable]()
        due = [await self._try(_take_due, *ids, late) for ids in await self.due.due(BATCH)]
        backfilling = await self.due.backfilling(BATCH, BACKFILLS_AT_ONCE)
        made_up = [await self._try(_take_backfill, *ids, late) for ids in backfilling]
        if late:
            raise late[-1]
        return sum(due) + sum(made_up)

    async def _try(self, take: "_Take", tenant_id: TenantId, schedule_id: ScheduleId, late: list[Unavailable]) -> bool:
        try:
            return await self._one(take, tenant_id, schedule_id)
        except Unavailable as error:
            _log.warning("schedule_late", schedule=str(schedule_id), error=repr(error))
            late.append(error)
        except Exception:  # noqa: BLE001 - its time zone is not known here, say: it would be first in line for ever
            _log.exception("schedule_failed", tenant=str(tenant_id), schedule=str(schedule_id))
            await self._put_off(tenant_id, schedule_id)
        return False

    async def _put_off(self, tenant_id: TenantId, schedule_id: ScheduleId) -> None:
        try:
            async with self.units(tenant_id) as unit:
                await unit.schedules.put_off(schedule_id, _FAULT, PUT_OFF)
                await unit.commit()
        except Exception:  # noqa: BLE001 - the next round tries it again
            _log.exception("schedule_not_put_off", schedule=str(schedule_id))

    async def _one(self, take: "_Take", tenant_id: TenantId, schedule_id: ScheduleId) -> bool:
        held = Held(self.hints)
        async with self.units(tenant_id) as unit:
            await unit.wait_at_most(LOCK_SECONDS)
            taken = await take(unit, schedule_id)
            if taken is None:
                return False
            schedule, fire = taken
            await _carry_out(unit, schedule, fire, held, self.tracing)
            await unit.schedules.save_fire(fire)
            await unit.schedules.set_clock(schedule)
            await unit.commit()
        await held.release()
        return True


_Taken: TypeAlias = tuple[Schedule, ScheduleFire]
_Take: TypeAlias = Callable[[UnitOfWork, ScheduleId], Awaitable[_Taken | None]]


async def _take_due(unit: UnitOfWork, schedule_id: ScheduleId) -> _Taken | None:
    """The locked schedule, set on, and its new fire; None when there is nothing to do, or somebody else does it."""
    found = await unit.schedules.lock_due(schedule_id)
    if found is None:
        return None
    schedule, now = found
    fire = schedule.fall_due(now)
    if fire is not None and await unit.schedules.add_fire(fire):
        schedule.last_fire_id = fire.id
        return schedule, fire
    # It was put off; or a back-fill was asked to carry this moment out, or has done so.
    await unit.schedules.set_clock(schedule)
    await unit.commit()
    return None


async def _take_backfill(unit: UnitOfWork, schedule_id: ScheduleId) -> _Taken | None:
    found = await unit.schedules.lock_backfill(schedule_id)
    if found is None:
        return None
    schedule, fire = found
    most = BACKFILLS_AT_ONCE if schedule.overlap is ScheduleOverlap.PARALLEL else 1
    if len(await unit.schedules.open_executions(schedule, [FireKind.BACKFILL], most)) == most:
        return None  # another worker was quicker
    schedule.last_fire_id = fire.id
    return found


async def _carry_out(unit: UnitOfWork, schedule: Schedule, fire: ScheduleFire, hints: Hints, tracing: Tracing) -> None:
    """Let the fire become what it becomes. Raises Unavailable: then it is still to be done."""
    if fire.outcome is FireOutcome.MISSED:
        fire.become(FireOutcome.MISSED)
        return
    try:
        execution = await kick_off(unit, schedule, fire.kind, hints, tracing)
    except ScheduleBusy as error:
        fire.become(FireOutcome.SKIPPED, str(error))
    except Unavailable:
        raise
    except RegattaError as error:
        fire.become(FireOutcome.FAILED, str(error))
    except Exception:  # noqa: BLE001 - whatever it is
        # Told and passed over: else this one would be first in line for ever.
        _log.exception("schedule_failed", tenant=str(schedule.tenant_id), schedule=str(schedule.id))
        fire.become(FireOutcome.FAILED, _FAULT)
    else:
        fire.become(FireOutcome.STARTED, execution_id=execution.id)
