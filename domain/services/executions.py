"""Use cases on executions: kick a team off. What is under way is under `control` and `cancelling`."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import Any

from domain.errors import Archived, BudgetExceeded, located
from domain.events import ExecutionQueued
from domain.model.admission import MAX_PRIORITY, PRIORITY, Admission
from domain.model.brought_tasks import BroughtTask, with_tasks
from domain.model.caching import LIFETIME, CacheMode, answered, digits, key_of, story_of
from domain.model.execution import MAX_PARALLEL_TASKS_CAP, Execution, TaskExecution
from domain.model.identity import PrincipalId, RevisionId, TeamId, TenantId, utc_now
from domain.model.matching import needs_records
from domain.model.planning import plan
from domain.model.refinement import Refinement
from domain.model.revision import TeamSnapshot, decode, encode
from domain.model.routing import QualityPreference
from domain.model.rules import MAX_BUDGET, MONEY_DIGITS, Rules
from domain.model.team import EXECUTION_TIMEOUT_CAP_SECONDS, MAX_ITERATIONS_CAP, Team, WhenBusy
from domain.ports import WAITING, Hints, UnitOfWork, UnitsOfWork, project_topic
from domain.ports.tracing import NO_TRACING, Span, Tracing
from domain.services.busy_teams import make_way
from domain.services.cancelling import cancel_topics
from domain.services.idempotency import Once
from domain.services.spans import KICKOFF, pass_trace_on, producing


@dataclass(frozen=True, slots=True)
class KickoffRequest:
    """What a kickoff asks for; None takes the team's own setting. Durations in seconds.

    Budgets are in dollars, of the whole execution and of each of its tasks; None: no limit of its own. `tasks` take the
    place of the team's own ones, unless there are none.
    """

    team_id: TeamId
    inputs: dict[str, Any]
    tasks: Sequence[BroughtTask] = ()
    max_iterations: int | None = None
    execution_timeout_seconds: float | None = None
    task_timeout_seconds: float | None = None
    quality_preference: QualityPreference = QualityPreference.BALANCED
    max_budget: Decimal | None = None
    max_task_budget: Decimal | None = None
    priority: int = PRIORITY
    max_parallel_tasks: int | None = None
    refinement: Refinement | None = None
    when_busy: WhenBusy | None = None
    cache: CacheMode | None = None
    idempotency_key: str | None = None

    def check(self) -> None:
        """Raises Invalid with every broken rule; the tasks are checked with their team."""
        rules = Rules()
        rules.document(self.inputs, "inputs")
        rules.between(self.max_iterations, 1, MAX_ITERATIONS_CAP, "maxIterations")
        rules.between(self.execution_timeout_seconds, 1, EXECUTION_TIMEOUT_CAP_SECONDS, "executionTimeoutSeconds")
        rules.between(self.task_timeout_seconds, 1, EXECUTION_TIMEOUT_CAP_SECONDS, "taskTimeoutSeconds")
        rules.money(self.max_budget, MAX_BUDGET, MONEY_DIGITS, "maxBudget")
        rules.money(self.max_task_budget, MAX_BUDGET, MONEY_DIGITS, "maxTaskBudget")
        rules.between(self.priority, 0, MAX_PRIORITY, "priority")
        rules.between(self.max_parallel_tasks, 1, MAX_PARALLEL_TASKS_CAP, "maxParallelTasks")
        if self.refinement is not None:
            self.refinement.check(rules)
        if self.idempotency_key is not None:
            rules.key(self.idempotency_key, "idempotencyKey")
        rules.hold()

    def cache_of(self, team: Team) -> CacheMode:
        """What holds when nothing is asked for: what the team wants."""
        return self.cache or (CacheMode.USE if team.is_cached else CacheMode.BYPASS)

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
        chosen = (self.quality_preference.value, digits(self.max_budget), digits(self.max_task_budget))
        if chosen != (QualityPreference.BALANCED.value, None, None):
            asked += chosen
        if self._later:
            asked.append(self._later)
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    @property
    def _later(self) -> dict[str, Any]:
        """What is asked for of that which kickoffs could not ask for at first, by name."""
        every = {
            "tasks": [asdict(task) for task in self.tasks],
            "priority": None if self.priority == PRIORITY else self.priority,
            "max_parallel_tasks": self.max_parallel_tasks,
            "refinement": self.refinement and asdict(self.refinement),
            "when_busy": self.when_busy and self.when_busy.value,
            "cache": self.cache and self.cache.value,
        }
        return {name: value for name, value in every.items() if value not in (None, [])}


class KickoffTeam:
    """Commits a QUEUED execution that waits for a place on a worker, and tells the workers.

    Where an earlier execution may answer, it commits a COMPLETED one with that answer: it starts nothing, so a busy
    team does not mind, and it spends nothing, so no budget does.
    """

    def __init__(self, units: UnitsOfWork, hints: Hints, tracing: Tracing = NO_TRACING) -> None:
        self.units = units
        self.hints = hints
        self.tracing = tracing

    async def __call__(self, tenant_id: TenantId, request: KickoffRequest, by: PrincipalId | None = None) -> Execution:
        """The new execution, or the first one of the same idempotency key.

        Raises NotFound, Archived, Invalid, TeamBusy, BudgetExceeded, NoActiveRole, TooManyTasks, DependencyCycle,
        MissingInputs, IdempotencyConflict.
        """
        request.check()
        once = Once(request.idempotency_key, request.fingerprint)
        with producing(self.tracing, KICKOFF) as span:
            async with self.units(tenant_id) as unit:
                if (first := await once.first(unit)) is not None:
                    return await unit.executions.get(first)
                execution, topics = await self._add(unit, request, by, span)
                await once.keep(unit, execution.id)
                await unit.commit()
            await self.hints.publish([project_topic(execution.project_id), *topics])
        return execution

    async def _add(
        self, unit: UnitOfWork, request: KickoffRequest, by: PrincipalId | None, span: Span
    ) -> tuple[Execution, Sequence[str]]:
        """The execution, and the topics of what else it touched."""
        with located("teamId"):
            team = await self._open_team(unit, request.team_id)
            revision_id, snapshot = await current_revision(unit, team)
            check_can_run(snapshot.team)  # the definition that will run: the team may have changed since it was read
            execution = _queued(snapshot.team, revision_id, request, by)
            pass_trace_on(span, execution)
            answer = await _answer(unit, execution, request.cache_of(snapshot.team))
            topics: Sequence[str] = ()
            if answer is None:
                topics = await self._queue(unit, execution, snapshot, request)
            else:
                execution = await _complete(unit, execution, answer)
        return execution, topics

    async def _queue(
        self, unit: UnitOfWork, execution: Execution, snapshot: TeamSnapshot, request: KickoffRequest
    ) -> Sequence[str]:
        await _check_budgets(unit, snapshot.team)
        tasks = await _planned(unit, snapshot, execution, request.tasks)
        when_busy = request.when_busy or snapshot.team.when_busy
        replaced = await make_way(unit, execution.team_id, when_busy)
        await unit.executions.add(execution, tasks)
        queued = ExecutionQueued(tenant_id=unit.tenant_id, execution_id=execution.id, task_count=len(tasks))
        await unit.executions.append_events([queued])
        await unit.executions.wait_for_place(admission_of(execution, replace(snapshot.team, when_busy=when_busy)))
        return [WAITING, *{topic for other in replaced for topic in cancel_topics(other)}]

    async def _open_team(self, unit: UnitOfWork, team_id: TeamId) -> Team:
        team = await unit.teams.get(team_id)
        check_can_run(team)
        if (await unit.projects.get(team.project_id)).archived_at:
            raise Archived("Project")
        return team


async def _answer(unit: UnitOfWork, execution: Execution, mode: CacheMode) -> Execution | None:
    """The earlier execution whose result is that of the new one; None when it has to be run."""
    if execution.cache_key is None or mode is not CacheMode.USE:
        return None
    return await unit.executions.find_answer(execution.cache_key, utc_now() - LIFETIME)


async def _complete(unit: UnitOfWork, execution: Execution, answer: Execution) -> Execution:
    """Add the execution with what the earlier one came to."""
    done, tasks = answered(execution, answer, await unit.executions.tasks(answer.id), utc_now())
    await unit.executions.add(done, tasks)
    await unit.executions.append_events(story_of(done, tasks))
    return done


async def _planned(
    unit: UnitOfWork, snapshot: TeamSnapshot, execution: Execution, brought: Sequence[BroughtTask]
) -> list[TaskExecution]:
    if brought:
        snapshot = with_tasks(snapshot, brought)
    is_matched = needs_records(snapshot.team, snapshot.roles, snapshot.tasks)
    active = [role.id for role in snapshot.roles if role.is_active]
    records = await unit.executions.records(active) if is_matched else None
    return plan(snapshot, execution, records, is_brought=bool(brought))


async def _check_budgets(unit: UnitOfWork, team: Team) -> None:
    """Raises BudgetExceeded where no call could be paid any more: better told now than by a failed execution."""
    shortfall = await unit.executions.exhausted_budget(team)
    if shortfall is not None:
        raise BudgetExceeded(shortfall)


def check_can_run(team: Team) -> None:
    """Raises Archived."""
    if team.archived_at:
        raise Archived("Team")


def admission_of(execution: Execution, team: Team) -> Admission:
    """How the execution waits for a place."""
    is_alone = team.when_busy is not WhenBusy.PARALLEL
    return Admission(
        execution.tenant_id, execution.id, execution.project_id, execution.team_id, execution.priority, is_alone
    )


def _queued(team: Team, revision_id: RevisionId, request: KickoffRequest, by: PrincipalId | None) -> Execution:
    execution = Execution(
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
        priority=request.priority,
        max_parallel_tasks=request.max_parallel_tasks or team.max_parallel_tasks,
        refinement_passes=request.refinement.max_passes if request.refinement else None,
        refinement_threshold=request.refinement.threshold if request.refinement else None,
        started_by=by,
    )
    is_kept = request.cache_of(team) is not CacheMode.BYPASS
    return replace(execution, cache_key=key_of(execution, request.tasks)) if is_kept else execution


async def current_revision(unit: UnitOfWork, team: Team) -> tuple[RevisionId, TeamSnapshot]:
    """The revision of the team's definition as it is now, made if the team was edited since the last one."""
    if team.revision_id is not None:
        revision = await unit.definitions.find_revision(team.revision_id)
        if revision is not None:
            return revision.id, decode(revision.content)
    await unit.definitions.lock(team.id)
    content, content_hash = encode(await unit.definitions.snapshot(team.id))
    return await unit.definitions.keep_revision(team.id, content, content_hash), decode(content)
