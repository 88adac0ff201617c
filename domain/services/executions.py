"""Use cases on executions: kick a team off, cancel."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any
from uuid import UUID

from domain.errors import Archived, BudgetExceeded, Invalid, Unavailable, located
from domain.events import ExecutionCancelled, ExecutionCancelRequested, ExecutionEvent, ExecutionQueued
from domain.model.execution import Execution, ExecutionStatus
from domain.model.identity import ExecutionId, PrincipalId, RevisionId, TeamId, TenantId, utc_now
from domain.model.planning import plan
from domain.model.revision import TeamSnapshot, decode, encode
from domain.model.routing import QualityPreference
from domain.model.rules import MAX_BUDGET, MONEY_DIGITS, Rules
from domain.model.team import EXECUTION_TIMEOUT_CAP_SECONDS, MAX_ITERATIONS_CAP, Process, Team
from domain.ports import COMMANDS, ExecutionQueue, Hints, UnitOfWork, UnitsOfWork, execution_topic, project_topic


@dataclass(frozen=True, slots=True)
class KickoffRequest:
    """What a kickoff asks for; None takes the team's own setting. Durations in seconds.

    Budgets are in dollars, of the whole execution and of each of its tasks; None: no limit of its own.
    """

    team_id: TeamId
    inputs: dict[str, Any]
    max_iterations: int | None = None
    execution_timeout_seconds: float | None = None
    task_timeout_seconds: float | None = None
    quality_preference: QualityPreference = QualityPreference.BALANCED
    max_budget: Decimal | None = None
    max_task_budget: Decimal | None = None
    idempotency_key: str | None = None

    def check(self) -> None:
        rules = Rules()
        rules.document(self.inputs, "inputs")
        rules.between(self.max_iterations, 1, MAX_ITERATIONS_CAP, "maxIterations")
        rules.between(self.execution_timeout_seconds, 1, EXECUTION_TIMEOUT_CAP_SECONDS, "executionTimeoutSeconds")
        rules.between(self.task_timeout_seconds, 1, EXECUTION_TIMEOUT_CAP_SECONDS, "taskTimeoutSeconds")
        rules.money(self.max_budget, MAX_BUDGET, MONEY_DIGITS, "maxBudget")
        rules.money(self.max_task_budget, MAX_BUDGET, MONEY_DIGITS, "maxTaskBudget")
        if self.idempotency_key is not None:
            rules.name(self.idempotency_key, "idempotencyKey")
        rules.hold()

    @property
    def fingerprint(self) -> str:
        """A hash of all that is asked for, for comparison with an earlier request under the same key."""
        asked = [
            "kickoffTeam",
            str(self.team_id),
            self.inputs,
            self.max_iterations,
            self.execution_timeout_seconds,
            self.task_timeout_seconds,
        ]
        # Only where it is asked for: a key that was claimed before an upgrade added these means the same after it.
        chosen = (self.quality_preference.value, _digits(self.max_budget), _digits(self.max_task_budget))
        if chosen != (QualityPreference.BALANCED.value, None, None):
            asked += chosen
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _digits(amount: Decimal | None) -> str | None:
    """An amount as one text, however it was written: 1.0 and 1.00 are the same."""
    return None if amount is None else format(amount.normalize(), "f")


class KickoffTeam:
    """Commits a QUEUED execution and hands it to the workers.

    A crash between the commit and the hand-over loses nothing: workers look for executions left QUEUED.
    """

    def __init__(self, units: UnitsOfWork, queue: ExecutionQueue, hints: Hints, warn: Callable[[str], None]) -> None:
        self.units = units
        self.queue = queue
        self.hints = hints
        self.warn = warn

    async def __call__(self, tenant_id: TenantId, request: KickoffRequest, by: PrincipalId | None = None) -> Execution:
        """The new execution, or the first one of the same idempotency key.

        Raises NotFound, Archived, Invalid, BudgetExceeded, NoActiveRole, MissingInputs, IdempotencyConflict.
        """
        request.check()
        async with self.units(tenant_id) as unit:
            first = await self._first(unit, request)
            if first is not None:
                return first
            execution = await self._add(unit, request, by)
            await unit.commit()
        await self._hand_over(execution)
        return execution

    async def _first(self, unit: UnitOfWork, request: KickoffRequest) -> Execution | None:
        if request.idempotency_key is None:
            return None
        result = await unit.idempotency.claim(request.idempotency_key, request.fingerprint)
        return None if result is None else await unit.executions.get(result)

    async def _add(self, unit: UnitOfWork, request: KickoffRequest, by: PrincipalId | None) -> Execution:
        with located("teamId"):
            team = await self._open_team(unit, request.team_id)
            await _check_budgets(unit, team)
            revision_id, snapshot = await current_revision(unit, team)
            check_can_run(snapshot.team)  # the definition that will run: the team may have changed since it was read
            execution = _queued(snapshot.team, revision_id, request, by)
            tasks = plan(snapshot, execution)
        await unit.executions.add(execution, tasks)
        queued = ExecutionQueued(tenant_id=unit.tenant_id, execution_id=execution.id, task_count=len(tasks))
        await unit.executions.append_events([queued])
        if request.idempotency_key is not None:
            await unit.idempotency.keep_result(request.idempotency_key, execution.id)
        return execution

    async def _open_team(self, unit: UnitOfWork, team_id: TeamId) -> Team:
        team = await unit.teams.get(team_id)
        check_can_run(team)
        if (await unit.projects.get(team.project_id)).archived_at:
            raise Archived("Project")
        return team

    async def _hand_over(self, execution: Execution) -> None:
        try:
            await self.queue.enqueue(execution.tenant_id, execution.id)
        except Unavailable as error:
            self.warn(f"execution {execution.id} stays queued until a worker looks for it: {error}")
        await self.hints.publish([project_topic(execution.project_id)])


async def _check_budgets(unit: UnitOfWork, team: Team) -> None:
    """Raises BudgetExceeded where no call could be paid any more: better told now than by a failed execution."""
    shortfall = await unit.executions.exhausted_budget(team)
    if shortfall is not None:
        raise BudgetExceeded(shortfall)


def check_can_run(team: Team) -> None:
    """Raises Archived, and Invalid for a process that cannot be run yet."""
    if team.archived_at:
        raise Archived("Team")
    if team.process is not Process.SEQUENTIAL:
        raise Invalid.at(f"A {team.process.value} team cannot be run yet: only SEQUENTIAL ones can.", "teamId")


def _queued(team: Team, revision_id: RevisionId, request: KickoffRequest, by: PrincipalId | None) -> Execution:
    return Execution(
        tenant_id=team.tenant_id,
        project_id=team.project_id,
        team_id=team.id,
        revision_id=revision_id,
        inputs=request.inputs,
        max_iterations=request.max_iterations or team.max_iterations,
        execution_timeout_seconds=request.execution_timeout_seconds or team.execution_timeout_seconds,
        task_timeout_seconds=request.task_timeout_seconds or team.task_timeout_seconds,
        quality_preference=request.quality_preference,
        max_budget=request.max_budget,
        max_task_budget=request.max_task_budget,
        started_by=by,
    )


async def current_revision(unit: UnitOfWork, team: Team) -> tuple[RevisionId, TeamSnapshot]:
    """The revision of the team's definition as it is now, made if the team was edited since the last one."""
    if team.revision_id is not None:
        revision = await unit.definitions.find_revision(team.revision_id)
        if revision is not None:
            return revision.id, decode(revision.content)
    await unit.definitions.lock(team.id)
    content, content_hash = encode(await unit.definitions.snapshot(team.id))
    return await unit.definitions.keep_revision(team.id, content, content_hash), decode(content)


class CancelExecution:
    """Asks an execution to stop. One that no worker has yet is CANCELLED at once, a running one CANCELLING."""

    def __init__(self, units: UnitsOfWork, hints: Hints) -> None:
        self.units = units
        self.hints = hints

    async def __call__(self, tenant_id: TenantId, identifier: UUID) -> Execution:
        """The execution as it is now. Raises NotFound, InvalidTransition when it is stopping or over."""
        with located("executionId"):
            wanted = await self._cancel(tenant_id, ExecutionId(identifier))
        await self.hints.publish([COMMANDS, execution_topic(wanted.id), project_topic(wanted.project_id)])
        return wanted

    async def _cancel(self, tenant_id: TenantId, identifier: ExecutionId) -> Execution:
        async with self.units(tenant_id) as unit:
            execution = await unit.executions.lock(identifier)
            wanted, events = _cancelled(execution)
            execution.check_move(wanted.status)
            await unit.executions.save(wanted, execution.status)
            if wanted.is_final:
                await unit.executions.cancel_pending_tasks(execution.id)
            await unit.executions.append_events(events)
            await unit.commit()
        return wanted


def _cancelled(execution: Execution) -> tuple[Execution, list[ExecutionEvent]]:
    """The execution after the request, and what happened to it."""
    now = utc_now()
    requested = ExecutionCancelRequested(tenant_id=execution.tenant_id, execution_id=execution.id)
    if execution.status is not ExecutionStatus.QUEUED:
        return replace(execution, status=ExecutionStatus.CANCELLING, cancel_requested_at=now), [requested]
    wanted = replace(execution, status=ExecutionStatus.CANCELLED, cancel_requested_at=now, finished_at=now)
    over = ExecutionCancelled(tenant_id=execution.tenant_id, execution_id=execution.id, completed_tasks=0)
    return wanted, [requested, over]
