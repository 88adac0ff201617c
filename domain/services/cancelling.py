"""Use cases that stop executions: one, or all that meet a filter."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog

from domain.errors import InvalidTransition, RegattaError, located
from domain.events import ExecutionCancelled, ExecutionCancelRequested
from domain.model.execution import TASK_DONE, Execution, ExecutionStatus
from domain.model.identity import ExecutionId, TenantId, new_id, utc_now
from domain.model.page import MAX_PAGE_SIZE, Condition, Operator, PageRequest
from domain.ports import (
    COMMANDS,
    Hints,
    Reader,
    UnitOfWork,
    UnitsOfWork,
    approvals_topic,
    execution_topic,
    project_topic,
)
from domain.services.idempotency import Once

_S = ExecutionStatus

MAX_BULK = 1_000
"""So many executions are cancelled by one request, at most."""

AT_ONCE = 4
"""So many transactions of a bulk at once: each holds a connection of the API's pool."""

LOCK_SECONDS = 2.0
"""A bulk waits no longer for an execution that somebody else holds: it goes on with the others."""

_EPOCH = datetime.fromtimestamp(0, UTC)
_RANDOM_BITS = 80

CANCELLABLE = (_S.QUEUED, _S.RUNNING, _S.PAUSED, _S.AWAITING_APPROVAL)

_log = structlog.get_logger(__name__)


async def request_cancel(unit: UnitOfWork, execution: Execution) -> Execution:
    """The locked execution after a request to cancel it, written in this unit of work.

    Without a worker it is CANCELLED at once, with one CANCELLING until that lets go; unchanged when it was so already.
    Raises InvalidTransition for one that ended otherwise. Whoever calls it tells `cancel_topics` after the commit.
    """
    if execution.status in (_S.CANCELLING, _S.CANCELLED):
        return execution
    wanted = _requested(execution, has_worker=await _has_worker(unit, execution))
    execution.check_move(wanted.status)
    await unit.executions.save(wanted, execution.status)
    whose: dict[str, Any] = {"tenant_id": execution.tenant_id, "execution_id": execution.id}
    if not wanted.is_final:
        await unit.executions.append_events([ExecutionCancelRequested(**whose)])
        return wanted
    completed = await _stop(unit, execution.id)
    over = ExecutionCancelled(**whose, completed_tasks=completed)
    await unit.executions.append_events([ExecutionCancelRequested(**whose), over])
    return wanted


async def _has_worker(unit: UnitOfWork, execution: Execution) -> bool:
    """Whether a run may be under way: one that is still QUEUED was not begun, and its place is simply taken away."""
    if execution.status is not _S.RUNNING:
        return False
    admission = await unit.executions.admission(execution.id)
    return admission is not None and admission.worker_id is not None


async def _stop(unit: UnitOfWork, identifier: ExecutionId) -> int:
    """Let nothing of the execution go on; returns how many of its tasks are done."""
    await unit.executions.withdraw(identifier)
    tasks = await unit.executions.tasks(identifier)
    await unit.executions.cancel_pending_tasks(identifier)
    await unit.approvals.cancel_open(identifier)
    return sum(task.status in TASK_DONE for task in tasks)


def _requested(execution: Execution, *, has_worker: bool) -> Execution:
    now = utc_now()
    asked = replace(execution, cancel_requested_at=now, cancel_requested_in=execution.status)
    if has_worker:
        return replace(asked, status=_S.CANCELLING)
    waited = (now - execution.waiting_from).total_seconds() if execution.waiting_from else 0.0
    return replace(
        asked,
        status=_S.CANCELLED,
        finished_at=now,
        waiting_from=None,
        waited_seconds=execution.waited_seconds + max(0.0, waited),
    )


def cancel_topics(execution: Execution) -> list[str]:
    """Who has to hear of an execution that was asked to stop."""
    topics = [execution_topic(execution.id), project_topic(execution.project_id)]
    return [*topics, approvals_topic(execution.tenant_id)] if execution.is_final else [COMMANDS, *topics]


class CancelExecution:
    """Asks an execution to stop. One that no worker has is CANCELLED at once, another one CANCELLING."""

    def __init__(self, units: UnitsOfWork, hints: Hints) -> None:
        self.units = units
        self.hints = hints

    async def __call__(self, tenant_id: TenantId, identifier: UUID, key: str | None = None) -> Execution:
        """The execution as it is now, also when it is stopping or stopped already.

        Raises NotFound, InvalidTransition when it ended otherwise, IdempotencyConflict.
        """
        once = Once(key, ("cancelExecution", identifier))
        once.check()
        with located("executionId"):
            wanted, is_new = await self._cancel(tenant_id, ExecutionId(identifier), once)
        if is_new:
            await self.hints.publish(cancel_topics(wanted))
        return wanted

    async def _cancel(self, tenant_id: TenantId, identifier: ExecutionId, once: Once) -> tuple[Execution, bool]:
        async with self.units(tenant_id) as unit:
            if await once.first(unit) is not None:
                return await unit.executions.get(identifier), False
            execution = await unit.executions.lock(identifier)
            wanted = await request_cancel(unit, execution)
            await once.keep(unit, identifier)
            await unit.commit()
        return wanted, wanted is not execution


@dataclass(slots=True)
class Cancelled:
    """What a bulk did: how many were asked to stop, the first hundred of them, and whether more match.

    Those that could not be asked are among the latter; `failures` says why.
    """

    count: int = 0
    executions: list[Execution] = field(default_factory=list)
    has_more: bool = False
    failures: list[Exception] = field(default_factory=list)

    def add(self, executions: Sequence[Execution]) -> None:
        self.count += len(executions)
        self.executions += executions[: MAX_PAGE_SIZE - len(self.executions)]

    def fail(self, error: Exception) -> None:
        _log.warning("cancel_failed", error=repr(error))
        self.failures.append(error)
        self.has_more = True


class CancelExecutions:
    """Asks all executions that meet a filter to stop, the newest first, each in a transaction of its own.

    The newest first, so that none begins on the place of an older one. What is kicked off meanwhile is left alone,
    also when the request is repeated under its key: it goes on where it stopped, with what there was at first.
    """

    def __init__(self, units: UnitsOfWork, reader: Reader, hints: Hints) -> None:
        self.units = units
        self.reader = reader
        self.hints = hints

    async def __call__(self, tenant_id: TenantId, conditions: Sequence[Condition], key: str | None = None) -> Cancelled:
        """At most `MAX_BULK` per call. Raises Invalid, IdempotencyConflict; what failed, if nothing else came of it."""
        asked = [(it.field, it.operator.value, it.value) for it in conditions]
        once = Once(key, ("cancelExecutions", asked))
        once.check()
        before = Condition("created_at", Operator.LT, await self._moment(tenant_id, once))
        request = PageRequest(
            first=MAX_PAGE_SIZE,
            conditions=(*conditions, before, Condition("status", Operator.IN, CANCELLABLE)),
        )
        return await self._all(tenant_id, request)

    async def _moment(self, tenant_id: TenantId, once: Once) -> datetime:
        """Before which an execution was kicked off that is meant: the moment of the first request with the key."""
        result = _id_of(utc_now())
        async with self.units(tenant_id) as unit:
            first = await once.first(unit)
            if first is None:
                await once.keep(unit, result)
                await unit.commit()
        milliseconds = (first or result).int >> _RANDOM_BITS  # a UUIDv7 begins with the time
        return _EPOCH + timedelta(milliseconds=milliseconds + 1)

    async def _all(self, tenant_id: TenantId, request: PageRequest) -> Cancelled:
        done = Cancelled()
        for _ in range(0, MAX_BULK, MAX_PAGE_SIZE):
            try:
                page = (await self.reader.pages(Execution, tenant_id, "tenant_id", [tenant_id], request))[tenant_id]
            except RegattaError as error:
                done.fail(error)
                break
            await self._each(tenant_id, [execution.id for execution in page.items], done)
            done.has_more = page.has_next or bool(done.failures)
            if not page.has_next:
                break
            request = replace(request, after=page.cursors[-1])
        if done.failures and not done.count:
            raise done.failures[0]
        return done

    async def _each(self, tenant_id: TenantId, identifiers: Sequence[ExecutionId], done: Cancelled) -> None:
        places = asyncio.Semaphore(AT_ONCE)

        async def cancel(identifier: ExecutionId) -> Execution | None:
            async with places:
                return await self._one(tenant_id, identifier)

        cancelled: list[Execution] = []
        for one in await asyncio.gather(*map(cancel, identifiers), return_exceptions=True):
            if isinstance(one, Execution):
                cancelled.append(one)
            elif isinstance(one, Exception):
                done.fail(one)
        done.add(cancelled)
        await self.hints.publish(list({topic for one in cancelled for topic in cancel_topics(one)}))

    async def _one(self, tenant_id: TenantId, identifier: ExecutionId) -> Execution | None:
        """The execution after the request; None when it ended, or somebody else cancelled it, meanwhile."""
        async with self.units(tenant_id) as unit:
            await unit.wait_at_most(LOCK_SECONDS)
            execution = await unit.executions.lock(identifier)
            try:
                wanted = await request_cancel(unit, execution)
            except InvalidTransition:
                return None
            await unit.commit()
        return None if wanted is execution else wanted


def _id_of(moment: datetime) -> UUID:
    """A UUIDv7 of this very moment: of many that are made at once, `new_id` dates most into the future."""
    milliseconds = (moment - _EPOCH) // timedelta(milliseconds=1)
    return UUID(int=(milliseconds << _RANDOM_BITS) | (new_id().int & ((1 << _RANDOM_BITS) - 1)))
