"""Schedules and their fires as mutations, and who lets them fire, need them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Select, delete, func, select, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import NotFound
from domain.model.identity import ExecutionId, ScheduleId, TenantId
from domain.model.schedule import FireKind, FireOutcome, Schedule, ScheduleFire
from persistence import tables
from persistence.mapping import builder_of, columns_of, values_of
from persistence.repositories.things import Things

_schedule, _fire = tables.schedule, tables.schedule_fire
_MOMENT: dict[str, Any] = {
    "index_elements": ["tenant_id", "schedule_id", "scheduled_for"],
    "index_where": text("kind <> 'TRIGGER'"),
}
"""Written out, like the other conditions of partial indexes here: a parameter matches none, once the server keeps a
generic plan for a connection, which is after some uses."""
_AT_A_TIME = 500
"""So many rows of an INSERT: a statement takes 32,767 parameters."""


class SchedulesTable(Things[Schedule]):
    """See `domain.ports.Schedules`.

    The lock is one that lets executions refer to the schedule: a weaker one than FOR UPDATE.
    """

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        super().__init__(connection, tenant_id, Schedule)

    async def get(self, identifier: UUID) -> Schedule:
        statement = select(*columns_of(Schedule)).where(*self._is(identifier)).with_for_update(key_share=True)
        row = (await self.connection.execute(statement)).one_or_none()
        if row is None:
            raise NotFound("Schedule", identifier)
        return builder_of(Schedule)(row)

    async def lock_due(self, schedule_id: ScheduleId) -> tuple[Schedule, datetime] | None:
        statement = self._free(schedule_id).where(_schedule.c.next_fire_at <= func.now())
        row = (await self.connection.execute(statement)).one_or_none()
        return None if row is None else (builder_of(Schedule)(row), row.present)

    async def lock_backfill(self, schedule_id: ScheduleId) -> tuple[Schedule, ScheduleFire] | None:
        is_in_use = (_schedule.c.paused_at.is_(None), _schedule.c.archived_at.is_(None))
        row = (await self.connection.execute(self._free(schedule_id).where(*is_in_use))).one_or_none()
        if row is None:
            return None
        oldest = select(*columns_of(ScheduleFire)).where(*self._waiting(schedule_id))
        fire = (await self.connection.execute(oldest.order_by(_fire.c.scheduled_for).limit(1))).one_or_none()
        return None if fire is None else (builder_of(Schedule)(row), builder_of(ScheduleFire)(fire))

    def _free(self, schedule_id: ScheduleId) -> Select[Any]:
        """The schedule, unless somebody else has it; the clock of the database counts, those of machines differ."""
        return (
            select(*columns_of(Schedule), func.now().label("present"))
            .where(*self._is(schedule_id))
            .with_for_update(key_share=True, skip_locked=True)
        )

    def _waiting(self, schedule_id: ScheduleId) -> tuple[Any, ...]:
        return (
            _fire.c.tenant_id == self.tenant_id,
            _fire.c.schedule_id == schedule_id,
            text("schedule_fire.outcome = 'PENDING'"),
        )

    async def put_off(self, schedule_id: ScheduleId, message: str, pause: timedelta) -> None:
        due = (
            select(_schedule.c.next_fire_at)
            .where(*self._is(schedule_id), _schedule.c.next_fire_at <= func.now())
            .with_for_update(key_share=True, skip_locked=True)
        )
        moment: datetime | None = (await self.connection.execute(due)).scalar_one_or_none()
        if moment is None:
            return
        fire = ScheduleFire(self.tenant_id, schedule_id, FireKind.DUE, moment)
        fire.become(FireOutcome.FAILED, message)
        values: dict[str, Any] = {"next_fire_at": func.now() + pause}
        if await self.add_fire(fire):
            values["last_fire_id"] = fire.id
        await self.connection.execute(update(_schedule).where(*self._is(schedule_id)).values(values))

    async def set_clock(self, schedule: Schedule) -> None:
        values = {"next_fire_at": schedule.next_fire_at, "last_fire_id": schedule.last_fire_id}
        await self.connection.execute(update(_schedule).where(*self._is(schedule.id)).values(values))

    async def add_fire(self, fire: ScheduleFire) -> bool:
        new = postgresql.insert(_fire).values(values_of(fire))
        if fire.kind is not FireKind.TRIGGER:
            new = new.on_conflict_do_nothing(**_MOMENT)
        added = await self.connection.execute(new.returning(_fire.c.id))
        return added.scalar_one_or_none() is not None

    async def get_fire(self, identifier: UUID) -> ScheduleFire:
        statement = select(*columns_of(ScheduleFire)).where(*self._is_fire(identifier))
        row = (await self.connection.execute(statement)).one_or_none()
        if row is None:
            raise NotFound("ScheduleFire", identifier)
        return builder_of(ScheduleFire)(row)

    async def save_fire(self, fire: ScheduleFire) -> None:
        every = values_of(fire)
        values = {name: every[name] for name in ("outcome", "message", "execution_id", "fired_at")}
        await self.connection.execute(update(_fire).where(*self._is_fire(fire.id)).values(values))

    def _is_fire(self, identifier: UUID) -> tuple[Any, Any]:
        return _fire.c.tenant_id == self.tenant_id, _fire.c.id == identifier

    async def plan_backfill(self, fires: Sequence[ScheduleFire]) -> int:
        done = (FireOutcome.PENDING.value, FireOutcome.STARTED.value)
        planned = 0
        for start in range(0, len(fires), _AT_A_TIME):
            new = postgresql.insert(_fire).values([values_of(fire) for fire in fires[start : start + _AT_A_TIME]])
            again = {name: new.excluded[name] for name in ("kind", "outcome", "message", "fired_at")}
            rows = await self.connection.execute(
                new.on_conflict_do_update(**_MOMENT, set_=again, where=_fire.c.outcome.not_in(done)).returning(
                    _fire.c.id
                )
            )
            planned += len(rows.all())
        return planned

    async def drop_backfill(self, schedule_id: ScheduleId) -> int:
        return (await self.connection.execute(delete(_fire).where(*self._waiting(schedule_id)))).rowcount

    async def count_backfill(self, schedule_id: ScheduleId) -> int:
        statement = select(func.count()).select_from(_fire).where(*self._waiting(schedule_id))
        return int((await self.connection.execute(statement)).scalar_one())

    async def open_executions(self, schedule: Schedule, kinds: Sequence[FireKind], limit: int) -> Sequence[ExecutionId]:
        run = tables.execution
        statement = (
            select(run.c.id)
            .join(_fire, (_fire.c.tenant_id == run.c.tenant_id) & (_fire.c.execution_id == run.c.id))
            .where(
                run.c.tenant_id == self.tenant_id,
                run.c.team_id == schedule.team_id,
                text("execution.status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')"),
                _fire.c.schedule_id == schedule.id,
                _fire.c.kind.in_([kind.value for kind in kinds]),
            )
            .order_by(run.c.id)
            .limit(limit)
        )
        return [ExecutionId(identifier) for identifier in (await self.connection.execute(statement)).scalars()]
