"""Carrying out executions: one task after another, each committed before the next, to one of three ends."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any, Required, TypedDict, TypeVar
from uuid import uuid4

import structlog

from domain.errors import BookingsLost, FailureCode, OwnershipLost, RunFailed, Unavailable
from domain.events import (
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionEvent,
    ExecutionFailed,
    TaskCompleted,
    TaskFailed,
    TaskStarted,
)
from domain.model.execution import TASK_FINAL, ExecutionStatus, TaskExecution, TaskExecutionStatus
from domain.model.identity import ExecutionId, RoleId, TaskExecutionId, TenantId, utc_now
from domain.model.ledger import CallOutcome, LedgerEntry, Usage
from domain.model.planning import with_inputs
from domain.model.role import Role
from domain.model.routing import Route, demand_of, route
from domain.model.team import Process
from domain.model.tokens import estimated_tokens
from domain.ports import Change, Claimed, ModelCatalogue, Ownership, RunSink, RunStore, TaskRunner, TaskWork
from domain.services.recorder import EventRecorder

BETWEEN_OUTPUTS = "\n\n----------\n\n"
"""What CrewAI puts between the outputs of earlier tasks."""

_LONGEST_PAUSE = 10.0
_CLAIM_PAUSE = 0.5
_STORE_PAUSE = 0.5

T = TypeVar("T")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RunRules:
    """How runs behave; lengths in characters, durations in seconds.

    `longest_context` bounds the earlier outputs that a task sees: the newest are kept. `first_pause` comes before a
    second attempt and doubles from then on. An execution that was claimed more than `most_claims` times fails: its
    workers seem to die of it. `default_model` is for roles that name none; None: they are routed. `max_output_tokens`
    caps the answers of a role that sets no cap.
    """

    default_model: str | None = None
    max_output_tokens: int = 4096
    longest_context: int = 100_000
    first_pause: float = 0.5
    most_claims: int = 20


class _Envelope(TypedDict, total=False):
    """The part that the events of a run share."""

    tenant_id: Required[TenantId]
    execution_id: Required[ExecutionId]
    task_execution_id: TaskExecutionId
    role_id: RoleId


class _Stop(Enum):
    """Why a run was stopped from outside."""

    CANCELLED = auto()
    LOST = auto()
    SHUTDOWN = auto()


class RunExecution:
    """Carries out an execution from the first task that is not completed to its end; a worker has one of these.

    Safe to call again after a crash: what is COMPLETED is not run again, and whoever carried it out before can write
    nothing any more.
    """

    def __init__(
        self,
        store: RunStore,
        recorder: EventRecorder,
        runner: TaskRunner,
        models: ModelCatalogue,
        worker_id: str,
        rules: RunRules,
    ) -> None:
        self.store = store
        self.recorder = recorder
        self.runner = runner
        self.models = models
        self.worker_id = worker_id
        self.rules = rules
        self._runs: dict[ExecutionId, _Run] = {}
        self._is_stopping = False
        recorder.on_lost = self.lose

    @property
    def active(self) -> int:
        """How many executions are being carried out."""
        return len(self._runs)

    async def __call__(self, tenant_id: TenantId, execution_id: ExecutionId) -> None:
        """Returns when the execution is over or not ours any more; failures are data, never raised.

        Raises CancelledError when the worker stops: somebody has to call again, here or elsewhere.
        """
        claimed = await self._claim(tenant_id, execution_id)
        if claimed is None:
            return
        if self._is_stopping:  # meanwhile: what was claimed is handed on
            raise asyncio.CancelledError
        self.recorder.announce(claimed.ownership)
        if not self._supersedes(claimed.ownership):
            return
        run = self._runs[execution_id] = _Run(self, claimed)
        try:
            await run.carry_out()
        except OwnershipLost:
            _log.info("run_lost", execution_id=str(execution_id), epoch=claimed.ownership.epoch)
        finally:
            if self._runs.get(execution_id) is run:
                del self._runs[execution_id]

    def _supersedes(self, ownership: Ownership) -> bool:
        """Whether this claim is the newest of its execution here; an older run of it stops, and pays no more."""
        other = self._runs.get(ownership.execution_id)
        if other is None:
            return True
        if other.ownership.epoch > ownership.epoch:
            return False
        other.stop(_Stop.LOST)
        return True

    async def _claim(self, tenant_id: TenantId, execution_id: ExecutionId) -> Claimed | None:
        try:
            return await self._patiently(
                execution_id, lambda: self.store.claim(tenant_id, execution_id, self.worker_id)
            )
        except Exception as error:  # noqa: BLE001 - what cannot be read would be claimed again and again
            failure = _unexpected(error, execution_id)
        await self._patiently(execution_id, lambda: self.store.give_up(tenant_id, execution_id, failure))
        return None

    async def _patiently(self, execution_id: ExecutionId, ask: Callable[[], Awaitable[T]]) -> T:
        """What the store answers, however long that takes. Raises CancelledError when the worker stops."""
        while not self._is_stopping:
            try:
                return await ask()
            except Unavailable as error:
                _log.warning("claim_postponed", execution_id=str(execution_id), error=str(error))
                await asyncio.sleep(_CLAIM_PAUSE)
        raise asyncio.CancelledError

    def cancel(self, execution_id: ExecutionId) -> None:
        """End the execution as CANCELLED; it has to be CANCELLING already. Nothing happens when it is not here."""
        run = self._runs.get(execution_id)
        if run:
            run.stop(_Stop.CANCELLED)

    def lose(self, ownership: Ownership) -> None:
        """Stop this run without writing anything: another worker has the execution."""
        run = self._runs.get(ownership.execution_id)
        if run and run.ownership == ownership:
            run.stop(_Stop.LOST)

    async def stop(self, grace_seconds: float) -> None:
        """Let the runs end for so long; then leave the others as they are, for another worker to go on."""
        self._is_stopping = True
        runs = list(self._runs.values())
        ends = [asyncio.create_task(run.over.wait()) for run in runs]
        if ends:
            _, unfinished = await asyncio.wait(ends, timeout=grace_seconds)
            for run in runs:
                run.stop(_Stop.SHUTDOWN)
            if unfinished:
                await asyncio.wait(unfinished, timeout=1)


@dataclass(slots=True)
class _Noted:
    """What goes into the next commit."""

    events: list[ExecutionEvent] = field(default_factory=list)
    tasks: list[TaskExecution] = field(default_factory=list)


class _Run:
    """One claimed execution on its way."""

    def __init__(self, service: RunExecution, claimed: Claimed) -> None:
        self.ownership = claimed.ownership
        self.over = asyncio.Event()
        self._runner = service.runner
        self._models = service.models
        self._recorder = service.recorder
        self._rules = service.rules
        self._execution = claimed.execution
        self._tasks = claimed.tasks
        self._snapshot = claimed.snapshot
        self._spent = claimed.spent
        self._sink = service.recorder.sink(claimed.ownership)
        self._noted = _Noted()
        self._work: asyncio.Task[str] | None = None
        self._stop: _Stop | None = None

    def stop(self, reason: _Stop) -> None:
        """Stop the work; the first reason counts."""
        if self._stop is None and self._work is not None:
            self._stop = reason
            self._work.cancel()

    async def carry_out(self) -> None:
        """Do the work and write how it ended. Raises OwnershipLost, CancelledError on shutdown."""
        try:
            if self._execution.status is ExecutionStatus.CANCELLING:
                await self._end_cancelled()
                return
            self._work = asyncio.create_task(self._all_tasks())
            try:
                await self._ended(self._work)
            except OwnershipLost:
                raise
            except Exception as error:  # noqa: BLE001 - the end itself could not be stored
                await self._end_failed(_unexpected(error, self.ownership.execution_id))
        finally:
            self.over.set()

    async def _ended(self, work: "asyncio.Task[str]") -> None:
        try:
            output = await work
        except asyncio.CancelledError:
            await self._stopped()
        except OwnershipLost:
            raise
        except RunFailed as failure:
            await self._end_failed(failure)
        except Exception as error:  # noqa: BLE001 - a bug becomes a failed execution, never a worker's end
            await self._end_failed(_unexpected(error, self.ownership.execution_id))
        else:
            await self._end_completed(output)

    async def _stopped(self) -> None:
        if self._stop is _Stop.LOST:
            raise OwnershipLost
        if self._stop is not _Stop.CANCELLED:
            raise asyncio.CancelledError
        await self._end_cancelled()

    # The work.

    async def _all_tasks(self) -> str:
        self._check()
        for task in self._tasks:
            if task.status is not TaskExecutionStatus.COMPLETED:
                await self._until_completed(task)
        return self._tasks[-1].output or "" if self._tasks else ""

    def _check(self) -> None:
        if self.ownership.epoch > self._rules.most_claims:
            message = f"The execution was taken over {self.ownership.epoch - 1} times without coming to an end."
            raise RunFailed(FailureCode.WORKER_LOST, message)
        process = self._snapshot.team.process
        if process is not Process.SEQUENTIAL:
            raise RunFailed(FailureCode.PROCESS_UNSUPPORTED, f"The process {process.value} cannot be run yet.")

    async def _until_completed(self, task: TaskExecution) -> None:
        role = self._role_of(task)
        if task.status is TaskExecutionStatus.RUNNING:
            task.attempts -= 1  # a worker was lost in the middle of it: the same attempt begins again
        spent = _SpendingSink(self._sink, self._spent.get(task.id, Usage()))
        while True:
            task.attempts += 1
            try:
                chosen = await self._route(task, role)
                await self._begin(task, chosen)
                output = await self._attempt(task, role, chosen, spent)
            except RunFailed as failure:
                await self._after(task, failure)
            else:
                self._note_completed(task, output, spent)
                return

    async def _route(self, task: TaskExecution, role: Role) -> Route:
        """The models for the task, as they can be had now. Raises RunFailed when there is none."""
        texts = (task.description, task.expected_output, self._context_of(task))
        demand = demand_of(
            description=task.description,
            expected_output=task.expected_output,
            role=role,
            preference=task.quality_preference,
            default_model=self._rules.default_model,
            needs_tools=bool(self._snapshot.tools_of(role)),
            prompt_tokens=sum(map(estimated_tokens, texts)),
            output_tokens=role.max_tokens or self._rules.max_output_tokens,
        )
        while True:
            try:
                return route(await self._models.offers(self.ownership.tenant_id, demand.pinned), demand)
            except Unavailable as error:
                _log.warning("routing_postponed", execution_id=str(self.ownership.execution_id), error=str(error))
            await asyncio.sleep(_STORE_PAUSE)

    async def _begin(self, task: TaskExecution, chosen: Route) -> None:
        """Commits that the task runs, together with the completion of the one before."""
        task.status = TaskExecutionStatus.RUNNING
        task.model = chosen.first.model.name
        task.started_at = task.started_at or utc_now()
        started = TaskStarted(**self._about(task), name=task.name, attempt=task.attempts, model=task.model)
        self._note(started, task)
        await self._commit_noted()

    async def _attempt(self, task: TaskExecution, role: Role, chosen: Route, sink: RunSink) -> str:
        seconds, late = self._time_limit()
        work = TaskWork(
            ownership=self.ownership,
            team_id=self._execution.team_id,
            task=task,
            role=role,
            tools=self._snapshot.tools_of(role),
            context=self._context_of(task),
            route=chosen,
            max_iterations=self._execution.max_iterations,
            timeout_seconds=max(seconds, 0.0) + 1,  # ours comes first: it knows which limit it was
        )
        clock = asyncio.timeout(seconds)
        try:
            async with clock:
                return await self._runner.run(work, sink)
        except TimeoutError as error:
            if not clock.expired():
                raise
            raise late from error

    def _time_limit(self) -> tuple[float, RunFailed]:
        """The seconds that are left to a task beginning now, and what it fails with when they are over."""
        execution = self._execution
        elapsed = (utc_now() - (execution.started_at or utc_now())).total_seconds()
        remaining = execution.execution_timeout_seconds - elapsed
        if remaining <= execution.task_timeout_seconds:
            message = f"The execution took longer than {execution.execution_timeout_seconds:g} seconds."
            return remaining, RunFailed(FailureCode.EXECUTION_TIMEOUT, message)
        message = f"The task took longer than {execution.task_timeout_seconds:g} seconds."
        return execution.task_timeout_seconds, RunFailed(FailureCode.TASK_TIMEOUT, message)

    def _context_of(self, task: TaskExecution) -> str:
        wanted = set(task.waits_for)
        outputs = [
            earlier.output
            for earlier in self._tasks
            if earlier.position < task.position and earlier.output and (not wanted or earlier.id in wanted)
        ]
        return BETWEEN_OUTPUTS.join(outputs)[-self._rules.longest_context :]

    def _role_of(self, task: TaskExecution) -> Role:
        role = next((role for role in self._snapshot.roles if role.id == task.role_id), None)
        if role is None:
            raise RunFailed(FailureCode.NO_CAPABLE_ROLE, f"The role “{task.role_title}” is not part of the team.")
        return with_inputs(role, self._execution.inputs)

    async def _after(self, task: TaskExecution, failure: RunFailed) -> None:
        """Waits before the next attempt; raises the failure when there is none."""
        will_retry = failure.retryable and task.attempts < task.max_attempts
        failed = TaskFailed(
            **self._about(task),
            name=task.name,
            attempt=task.attempts,
            code=failure.code,
            message=failure.message,
            will_retry=will_retry,
            budget=failure.shortfall,
        )
        if not will_retry:
            task.status = TaskExecutionStatus.FAILED
            task.failure_code, task.failure_message = failure.code, failure.message
            task.failure_details = _details(failure)
            task.finished_at = utc_now()
            self._note(failed, task)
            raise failure
        self._note(failed)
        await self._commit_noted()
        pause = min(self._rules.first_pause * 2 ** (task.attempts - 1), _LONGEST_PAUSE)
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads retries, guards nothing

    def _note_completed(self, task: TaskExecution, output: str, spent: "_SpendingSink") -> None:
        task.status = TaskExecutionStatus.COMPLETED
        task.model = spent.model or task.model
        task.output = output
        task.finished_at = utc_now()
        completed = TaskCompleted(
            **self._about(task),
            name=task.name,
            attempt=task.attempts,
            total_tokens=spent.tokens,
            cost_amount=spent.cost,
        )
        self._note(completed, task)

    # What is committed.

    def _about(self, task: TaskExecution) -> _Envelope:
        return {**self._envelope, "task_execution_id": task.id, "role_id": task.role_id}

    @property
    def _envelope(self) -> _Envelope:
        return {"tenant_id": self.ownership.tenant_id, "execution_id": self.ownership.execution_id}

    def _note(self, event: ExecutionEvent, task: TaskExecution | None = None) -> None:
        self._noted.events.append(event)
        if task is not None:
            self._noted.tasks.append(replace(task))  # as it is now: it goes on changing

    def _take_noted(self) -> _Noted:
        noted, self._noted = self._noted, _Noted()
        return noted

    async def _commit_noted(self) -> None:
        noted = self._take_noted()
        await self._recorder.record(Change(self.ownership, noted.events, noted.tasks))

    # The three ends.

    async def _end_completed(self, output: str) -> None:
        over = ExecutionCompleted(**self._envelope, completed_tasks=self._completed_count())
        await self._end_unless_cancelling(ExecutionStatus.COMPLETED, over, output=output)

    async def _end_failed(self, failure: RunFailed) -> None:
        over = ExecutionFailed(**self._envelope, code=failure.code, message=failure.message, budget=failure.shortfall)
        await self._end_unless_cancelling(ExecutionStatus.FAILED, over, failure=failure)

    async def _end_cancelled(self) -> None:
        over = ExecutionCancelled(**self._envelope, completed_tasks=self._completed_count())
        rest = self._rest(TaskExecutionStatus.CANCELLED)
        await self._end(ExecutionStatus.CANCELLING, ExecutionStatus.CANCELLED, over, self._take_noted(), rest)

    async def _end_unless_cancelling(
        self,
        status: ExecutionStatus,
        over: ExecutionEvent,
        *,
        output: str | None = None,
        failure: RunFailed | None = None,
    ) -> None:
        noted = self._take_noted()
        rest = self._rest(TaskExecutionStatus.SKIPPED)
        try:
            await self._end(ExecutionStatus.RUNNING, status, over, noted, rest, output=output, failure=failure)
        except BookingsLost:
            self._noted = noted  # nothing is wrong with it: it goes with the failure
            raise
        except OwnershipLost:
            # Either somebody asked to cancel in the meantime, or it is lost indeed: then this is refused, too.
            self._noted = noted
            await self._end_cancelled()

    async def _end(
        self,
        expected: ExecutionStatus,
        status: ExecutionStatus,
        over: ExecutionEvent,
        noted: _Noted,
        rest: Sequence[TaskExecution],
        *,
        output: str | None = None,
        failure: RunFailed | None = None,
    ) -> None:
        execution = replace(
            self._execution,
            status=status,
            output=output,
            failure_code=failure.code if failure else None,
            failure_message=failure.message if failure else None,
            failure_details=_details(failure) if failure else None,
            finished_at=utc_now(),
        )
        change = Change(self.ownership, [*noted.events, over], [*noted.tasks, *rest], [], execution, expected)
        await self._recorder.record(change)

    def _rest(self, status: TaskExecutionStatus) -> list[TaskExecution]:
        """The tasks that did not come to an end, as what becomes of them."""
        now = utc_now()
        return [replace(task, status=status, finished_at=now) for task in self._tasks if task.status not in TASK_FINAL]

    def _completed_count(self) -> int:
        return sum(task.status is TaskExecutionStatus.COMPLETED for task in self._tasks)


def _unexpected(error: Exception, execution_id: ExecutionId) -> RunFailed:
    correlation_id = uuid4().hex
    _log.error("run_broke", exc_info=error, correlation_id=correlation_id, execution_id=str(execution_id))
    return RunFailed(FailureCode.INTERNAL, f"Unexpected error. Correlation id: {correlation_id}.")


def _details(failure: RunFailed) -> dict[str, Any] | None:
    return failure.shortfall.as_document() if failure.shortfall else None


class _SpendingSink:
    """Passes on what a task reports, and adds what its attempts book to what earlier runs did: tokens, dollars."""

    def __init__(self, sink: RunSink, before: Usage) -> None:
        self._sink = sink
        self.tokens = before.total_tokens
        self.cost = before.amount
        self.model: str | None = None
        """Of the last call that succeeded."""

    def emit(self, event: ExecutionEvent) -> None:
        self._sink.emit(event)

    def book(self, entry: LedgerEntry, event: ExecutionEvent) -> None:
        self._add(entry)
        self._sink.book(entry, event)

    async def settle(self, entry: LedgerEntry, event: ExecutionEvent) -> None:
        self._add(entry)
        await self._sink.settle(entry, event)

    def _add(self, entry: LedgerEntry) -> None:
        self.tokens += entry.total_tokens
        self.cost += entry.cost
        if entry.outcome is CallOutcome.SUCCEEDED:
            self.model = entry.model
