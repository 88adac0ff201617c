"""Use cases of humans in the loop: an approval is decided, or its time is over. What follows is done by the run."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from uuid import UUID

import structlog

from domain.errors import AlreadyDecided, Invalid, InvalidTransition, located
from domain.events import ApprovalGiven, ExecutionEvent, ExecutionResumed
from domain.model.approval import MAX_FEEDBACK, Approval, ApprovalKind, ApprovalStatus
from domain.model.execution import FINAL, Execution, ExecutionStatus
from domain.model.identity import ApprovalId, PrincipalId, TenantId, utc_now
from domain.model.output_schema import problem_of
from domain.model.planning import MAX_FILLED
from domain.model.rules import Rules
from domain.ports import (
    COMMANDS,
    WAITING,
    Expired,
    ExpiredApprovals,
    Hints,
    UnitOfWork,
    UnitsOfWork,
    approvals_topic,
)
from domain.services.control import go_on, topics_of
from domain.services.idempotency import Once

_log = structlog.get_logger(__name__)

_KINDS: Mapping[ApprovalStatus, ApprovalKind] = {
    ApprovalStatus.APPROVED: ApprovalKind.TASK,
    ApprovalStatus.REJECTED: ApprovalKind.TASK,
    ApprovalStatus.ANSWERED: ApprovalKind.QUESTION,
}
_OTHER_WAY: Mapping[ApprovalKind, str] = {
    ApprovalKind.TASK: "This is about an output: approve or reject it.",
    ApprovalKind.QUESTION: "This is a question: answer it.",
}


@dataclass(frozen=True, slots=True)
class Decision:
    """What a human decided: APPROVED, REJECTED or ANSWERED.

    `answer` is, in this order: an output in place of the one that was shown, None to take that one; what to do better,
    None to let the task fail; the answer.
    """

    approval_id: UUID
    status: ApprovalStatus
    answer: str | None = None
    idempotency_key: str | None = None

    def check(self) -> None:
        """Raises Invalid."""
        rules = Rules()
        name = {ApprovalStatus.APPROVED: "output", ApprovalStatus.REJECTED: "feedback"}.get(self.status, "answer")
        most = MAX_FILLED if self.status is ApprovalStatus.APPROVED else MAX_FEEDBACK
        text = self.answer or ""
        rules.require(self.answer is None or text.strip(), "This cannot be empty.", name)
        rules.require(self.answer is not None or name != "answer", "An answer is required.", name)
        rules.require(len(text) <= most, f"At most {most} characters.", name)
        rules.require("\x00" not in text, "The character U+0000 is not allowed.", name)
        rules.hold()


class DecideApproval:
    """Writes a decision, and lets the execution go on if it waited for one."""

    def __init__(self, units: UnitsOfWork, hints: Hints) -> None:
        self.units = units
        self.hints = hints

    async def __call__(self, tenant_id: TenantId, decision: Decision, by: PrincipalId | None = None) -> Approval:
        """The approval as it is now, also when the same was decided before.

        Raises NotFound, Invalid, AlreadyDecided, InvalidTransition when the execution is being cancelled,
        IdempotencyConflict.
        """
        decision.check()
        once = Once(decision.idempotency_key, ("decide", decision.approval_id, decision.status.value, decision.answer))
        once.check()
        with located("approvalId"):
            approval, execution = await self._decide(tenant_id, decision, by, once)
        if execution is not None:
            await self.hints.publish(_topics(execution))
        return approval

    async def _decide(
        self, tenant_id: TenantId, decision: Decision, by: PrincipalId | None, once: Once
    ) -> tuple[Approval, Execution | None]:
        async with self.units(tenant_id) as unit:
            is_repeated = await once.first(unit) is not None
            approval = await unit.approvals.lock(decision.approval_id)
            if is_repeated:
                return approval, None
            if _is_decided_so(approval, decision):
                await once.keep(unit, approval.id)
                await unit.commit()
                return approval, None
            execution = await unit.executions.get(approval.execution_id)
            await _check_open(unit, approval, execution, decision)
            decided = replace(
                approval, status=decision.status, answer=decision.answer, decided_at=utc_now(), decided_by=by
            )
            execution = await _write(unit, decided, execution)
            await once.keep(unit, approval.id)
            await unit.commit()
        return decided, execution


def _is_decided_so(approval: Approval, decision: Decision) -> bool:
    return (approval.status, approval.answer) == (decision.status, decision.answer)


async def _check_open(unit: UnitOfWork, approval: Approval, execution: Execution, decision: Decision) -> None:
    if approval.kind is not _KINDS[decision.status]:
        raise Invalid.at(_OTHER_WAY[approval.kind], "approvalId")
    if not approval.is_open:
        raise AlreadyDecided(approval.status.value)
    if execution.status is ExecutionStatus.CANCELLING or execution.status in FINAL:
        allowed = [status.value for status in execution.allowed_transitions]
        raise InvalidTransition(execution.status.value, ExecutionStatus.RUNNING.value, allowed)
    if decision.status is ApprovalStatus.APPROVED and decision.answer is not None:
        await _check_output(unit, approval, decision.answer)


async def _check_output(unit: UnitOfWork, approval: Approval, output: str) -> None:
    """Raises Invalid for an output that the tasks behind this one could not rely on."""
    tasks = await unit.executions.tasks(approval.execution_id)
    schema = next((task.output_schema for task in tasks if task.id == approval.task_execution_id), None)
    problem = None if schema is None else problem_of(output, schema)
    if problem is not None:
        raise Invalid.at(f"This does not hold the task's output schema. {problem}", "output")


async def _write(unit: UnitOfWork, decided: Approval, execution: Execution) -> Execution:
    """Save what became of a locked approval; the execution after it, which goes on if it waited for a human."""
    given = ApprovalGiven(
        tenant_id=decided.tenant_id,
        execution_id=decided.execution_id,
        task_execution_id=decided.task_execution_id,
        approval_id=decided.id,
        status=decided.status,
    )
    events: list[ExecutionEvent] = [given]
    await unit.approvals.save(decided)
    if execution.status is ExecutionStatus.AWAITING_APPROVAL:
        execution = await go_on(unit, execution)
        events.append(ExecutionResumed(tenant_id=execution.tenant_id, execution_id=execution.id))
    await unit.executions.append_events(events)
    return execution


def _topics(execution: Execution) -> list[str]:
    return [COMMANDS, WAITING, approvals_topic(execution.tenant_id), *topics_of(execution)]


class ExpireApprovals:
    """Carries out the default of approvals that nobody decided in time. Any number of workers may do it at once."""

    def __init__(self, units: UnitsOfWork, expired: ExpiredApprovals, hints: Hints) -> None:
        self.units = units
        self.expired = expired
        self.hints = hints

    async def __call__(self, limit: int = 100) -> int:
        """All there are, each in a transaction of its own, so many looked up at a time; returns how many expired.

        One that cannot be expired now does not keep the others waiting; it is tried again by the next call. Raises
        Unavailable when they cannot be looked up.
        """
        count, last = 0, None
        while True:
            found = await self.expired.find(limit, last)
            for each in found:
                count += await self._try(each)
            if len(found) < limit:
                return count
            last = found[-1]

    async def _try(self, expired: Expired) -> bool:
        try:
            return await self._expire(expired.tenant_id, expired.approval_id)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others have their time as well
            _log.warning("approval_not_expired", approval=str(expired.approval_id), error=repr(error))
            return False

    async def _expire(self, tenant_id: TenantId, identifier: ApprovalId) -> bool:
        async with self.units(tenant_id) as unit:
            approval = await unit.approvals.lock_free(identifier)
            now = utc_now()
            if approval is None or not approval.is_open or approval.expires_at is None or approval.expires_at > now:
                return False  # somebody has it, or it was decided meanwhile
            execution = await unit.executions.get(approval.execution_id)
            decided = replace(approval, status=ApprovalStatus.EXPIRED, decided_at=now)
            execution = await _write(unit, decided, execution)
            await unit.commit()
        await self.hints.publish(_topics(execution))
        return True
