"""One claimed execution on its way: which task is begun when, what is committed, and how it ends or stops."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any, Required, TypedDict
from uuid import uuid4

import structlog
from structlog.contextvars import bind_contextvars

from domain.errors import AnswerAwaited, BookingsLost, FailureCode, OwnershipLost, Paused, RunFailed, Unavailable
from domain.events import (
    ApprovalRequested,
    ExecutionAwaitingApproval,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionEvent,
    ExecutionFailed,
    ExecutionPaused,
    RefinementScored,
    TaskCompleted,
    TaskFailed,
    TaskStarted,
)
from domain.model.approval import Approval, ApprovalKind, ApprovalStatus
from domain.model.execution import (
    TASK_DONE,
    TASK_FINAL,
    Execution,
    ExecutionStatus,
    TaskExecution,
    TaskExecutionStatus,
)
from domain.model.identity import ApprovalId, ExecutionId, ProjectId, RoleId, TaskExecutionId, TenantId, utc_now
from domain.model.refinement import (
    SCORE_SCHEMA,
    RefinementPass,
    ScoreUnreadable,
    best_of,
    evaluation_prompt,
    is_enough,
    mean,
    scores_in,
)
from domain.model.routing import Route
from domain.model.team import Process
from domain.ports import Change, Claimed, ModelCatalogue, RunStore, Signals, TaskRunner
from domain.ports.tracing import NO_TRACING, Tracing
from domain.services.recorder import EventRecorder
from domain.services.spans import EVALUATION, TASK, about_task
from domain.services.task_work import RunRules, TaskSink, Workbench

_LONGEST_PAUSE = 10.0
_STORE_PAUSE = 0.5

_log = structlog.get_logger(__name__)


class _Envelope(TypedDict, total=False):
    """The part that the events of a run share."""

    tenant_id: Required[TenantId]
    execution_id: Required[ExecutionId]
    task_execution_id: TaskExecutionId
    role_id: RoleId


class Stop(Enum):
    """Why a run is stopped from outside."""

    CANCELLED = auto()
    LOST = auto()
    SHUTDOWN = auto()


class _Standing(Enum):
    """Where a run is when nothing is under way and nothing can be begun."""

    DONE = auto()
    PAUSED = auto()
    AWAITING = auto()


@dataclass(frozen=True, slots=True)
class RunParts:
    """What all runs of a worker share."""

    store: RunStore
    recorder: EventRecorder
    runner: TaskRunner
    models: ModelCatalogue
    rules: RunRules
    tracing: Tracing = NO_TRACING


@dataclass(slots=True)
class _Noted:
    """What goes into the next commit."""

    events: list[ExecutionEvent] = field(default_factory=list)
    tasks: list[TaskExecution] = field(default_factory=list)
    approvals: list[Approval] = field(default_factory=list)
    passes: list[RefinementPass] = field(default_factory=list)


class Run:
    """Carries out the tasks of a claimed execution, each result committed before what builds on it is begun.

    All of it lives on the worker's loop. `over` is set when nothing of it is under way any more.
    """

    def __init__(self, parts: RunParts, claimed: Claimed) -> None:
        self.ownership = claimed.ownership
        self.over = asyncio.Event()
        self._parts = parts
        self._claimed = claimed
        self._execution = claimed.execution
        self._tasks = claimed.tasks
        self._process = claimed.snapshot.team.process
        self._bench = Workbench(claimed, parts.recorder.sink(claimed.ownership), parts.models, parts.rules)
        self._limits = {role.id: role.max_parallel_tasks for role in claimed.snapshot.roles}
        self._noted = _Noted()
        self._work: asyncio.Task[None] | None = None
        self._working: dict[asyncio.Task[None], TaskExecution] = {}
        self._signals: dict[TaskExecutionId, Signals] = {}
        self._heard = asyncio.Event()
        self._is_pausing = claimed.execution.pause_requested_at is not None
        self._is_leaving = False
        self._failure: RunFailed | None = None
        self._stop: Stop | None = None
        self.ended: Execution | None = None
        """As it was stored when the run came to its end, or stopped for a while."""

    # From outside.

    def stop(self, reason: Stop) -> None:
        """Stop the work; the first reason counts."""
        if self._stop is None and self._work is not None:
            self._stop = reason
            self._work.cancel()

    def pause(self) -> None:
        """Begin nothing any more; what is under way stops before its next model call."""
        self._is_pausing = True
        for signals in self._signals.values():
            signals.is_pausing = True

    def go_on(self) -> None:
        """Forget a pause that nobody asks for any more."""
        if self._is_leaving:
            return
        self._is_pausing = False
        for signals in self._signals.values():
            signals.is_pausing = False
        self._heard.set()

    @property
    def is_pausing(self) -> bool:
        return self._is_pausing and not self._is_leaving

    def leave(self) -> None:
        """Stop at the next boundary, and leave the execution as it is for another worker to go on."""
        self._is_leaving = True
        self.pause()

    def decided(self) -> None:
        """Look at the approvals again: some were decided."""
        self._heard.set()

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
                await self._end_failed(unexpected(error, self.ownership.execution_id))
        finally:
            self.over.set()

    async def _ended(self, work: "asyncio.Task[None]") -> None:
        try:
            await work
        except asyncio.CancelledError:
            await self._stopped()
        except OwnershipLost:
            raise
        except RunFailed as failure:
            await self._end_failed(failure)
        except Exception as error:  # noqa: BLE001 - a bug becomes a failed execution, never a worker's end
            await self._end_failed(unexpected(error, self.ownership.execution_id))

    async def _stopped(self) -> None:
        if self._stop is Stop.LOST:
            raise OwnershipLost
        if self._stop is not Stop.CANCELLED:  # on shutdown, or by itself when it was to leave
            raise asyncio.CancelledError
        await self._end_cancelled()

    # Which task is begun when.

    async def _all_tasks(self) -> None:
        """Returns when the execution ended, or stopped for a while, and that is stored. Raises RunFailed."""
        self._check()
        self._failure = _failure_in(self._tasks)
        self._apply_decisions(self._awaiting)
        try:
            while True:
                begun = self._begin_ready()
                if self._working:
                    await self._next_change(is_quiet=not begun)
                elif await self._settled(self._standing()):
                    return
        finally:
            await self._leave_none_working()

    def _check(self) -> None:
        if self._claimed.takeovers > self._parts.rules.most_takeovers:
            message = f"The execution was taken over {self._claimed.takeovers} times without coming to an end."
            raise RunFailed(FailureCode.WORKER_LOST, message)

    def _begin_ready(self) -> bool:
        if self._is_pausing or self._failure is not None:
            return False
        ready = self._ready()
        for task in ready:
            self._working[asyncio.create_task(self._carry_on(task))] = task
        return bool(ready)

    def _ready(self) -> list[TaskExecution]:
        """What can be begun now, within the bounds of the execution and of each role."""
        if self._process is not Process.PARALLEL:
            return self._next_in_order()
        working = list(self._working.values())
        roles = Counter(task.role_id for task in working)
        ready: list[TaskExecution] = []
        for task in self._tasks:
            if len(working) + len(ready) >= self._execution.max_parallel_tasks:
                break
            if self._is_free(task, working) and roles[task.role_id] < (
                self._limits.get(task.role_id) or len(self._tasks)
            ):
                roles[task.role_id] += 1
                ready.append(task)
        return ready

    def _next_in_order(self) -> list[TaskExecution]:
        following = next((task for task in self._tasks if task.status not in TASK_FINAL), None)
        if self._working or following is None or following.status is TaskExecutionStatus.AWAITING_APPROVAL:
            return []
        return [following]

    def _is_free(self, task: TaskExecution, working: Sequence[TaskExecution]) -> bool:
        done = {other.id for other in self._tasks if other.status in TASK_DONE}
        is_open = task.status in (TaskExecutionStatus.PENDING, TaskExecutionStatus.RUNNING)
        return is_open and done.issuperset(task.waits_for) and not any(task is other for other in working)

    async def _next_change(self, *, is_quiet: bool) -> None:
        """Wait until a task is settled, or an approval was decided. `is_quiet`: none is being begun, which commits."""
        if is_quiet and (self._noted.events or self._noted.tasks):
            await self._commit_noted()
        hearing = asyncio.create_task(self._heard.wait()) if self._has_to_hear else None
        waited = {*self._working, hearing} if hearing else set(self._working)
        try:
            done, _ = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if hearing:
                hearing.cancel()
        if self._heard.is_set():
            await self._hear()
        for work in [work for work in done if work is not hearing]:
            self._take_in(work)

    @property
    def _has_to_hear(self) -> bool:
        """Whether anybody may have something to say; they may also have said it while the store was asked."""
        return self._is_pausing or self._heard.is_set() or bool(self._awaiting)

    def _take_in(self, work: "asyncio.Task[Any]") -> None:
        """What became of a task. Raises whatever is not the task's own failure."""
        self._working.pop(work)
        try:
            work.result()
        except Paused:
            pass
        except RunFailed as failure:
            self._failure = self._failure or failure  # what is under way is paid for: it may end

    async def _leave_none_working(self) -> None:
        for work in self._working:
            work.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)

    @property
    def _awaiting(self) -> list[TaskExecution]:
        return [task for task in self._tasks if task.status is TaskExecutionStatus.AWAITING_APPROVAL]

    def _standing(self) -> _Standing:
        if self._failure is not None:
            raise self._failure
        if all(task.status in TASK_FINAL for task in self._tasks):
            return _Standing.DONE
        if self._is_pausing:
            return _Standing.PAUSED
        if self._awaiting:
            return _Standing.AWAITING
        raise RuntimeError(
            "no task can be begun"
        )  # the dependencies have no cycle: that is checked where they are made

    async def _settled(self, standing: _Standing) -> bool:
        """Store where the run stands; False when it goes on after all."""
        if standing is _Standing.DONE:
            await self._end_completed(self._tasks[-1].output or "" if self._tasks else "")
            return True
        return await self._paused() if standing is _Standing.PAUSED else await self._awaits()

    async def _paused(self) -> bool:
        if self._is_leaving:
            await self._commit_noted()
            raise asyncio.CancelledError
        over = ExecutionPaused(**self._envelope)
        if await self._has_stopped(ExecutionStatus.PAUSED, over):
            return True
        self._is_pausing = self._is_leaving  # the request was withdrawn; meanwhile the worker may have begun to leave
        return False

    async def _awaits(self) -> bool:
        over = ExecutionAwaitingApproval(**self._envelope, open_approvals=len(self._awaiting))
        if await self._has_stopped(ExecutionStatus.AWAITING_APPROVAL, over):
            return True
        await self._hear()  # the last answer came just now
        return False

    async def _has_stopped(self, status: ExecutionStatus, over: ExecutionEvent) -> bool:
        """Whether the run is over; False when the reason to stop is gone. Raises OwnershipLost when it is not ours."""
        try:
            await self._end_unless_cancelling(status, over)
        except OwnershipLost:
            await self._commit_noted()
            return False
        return True

    # One task.

    async def _carry_on(self, task: TaskExecution) -> None:
        """Attempts at the task, until it is settled: done, failed (raises RunFailed), or it waits for a human.

        Raises Paused when it stopped before its end.
        """
        bind_contextvars(task_execution_id=str(task.id))  # nobody unbinds it: the context is that of this work alone
        role, sink = self._bench.role_of(task), self._bench.sink(task)
        while True:
            if self._is_pausing:
                raise Paused
            if task.status is not TaskExecutionStatus.RUNNING:  # else it was left in the middle, and goes on
                task.attempts += 1
            try:
                sink.check_interrupted()
                chosen = await self._bench.route(task, role)
                await self._begin(task, chosen)
                output = await self._attempt(task, chosen, sink)
            except RunFailed as failure:
                if self._keeps_best(task, failure, sink):
                    return
                await self._after(task, failure)
            except AnswerAwaited as asked:
                self._ask(task, ApprovalKind.QUESTION, asked.question, asked.call_key, asked.role_id)
                return
            else:
                refined = await self._refined(task, output, sink)
                if refined is not None:
                    self._note_output(task, refined, sink)
                    return

    async def _begin(self, task: TaskExecution, chosen: Route) -> None:
        """Commits that the task runs, together with the completion of the one before."""
        task.status = TaskExecutionStatus.RUNNING
        task.model = chosen.first.model.name
        task.started_at = task.started_at or utc_now()
        started = TaskStarted(**self._about(task), name=task.name, attempt=task.attempts, model=task.model)
        self._note(started, task)
        await self._commit_noted()

    async def _attempt(self, task: TaskExecution, chosen: Route, sink: TaskSink) -> str:
        signals = self._signals[task.id] = Signals(is_pausing=self._is_pausing)
        seconds, late = self._bench.time_limit()
        clock = asyncio.timeout(seconds)
        with self._parts.tracing.span(TASK, about_task(task)):
            try:
                async with clock:
                    work = await self._bench.work(task, chosen, signals)
                    return await self._parts.runner.run(work, sink)
            except TimeoutError as error:
                if not clock.expired():
                    raise
                raise late from error

    async def _after(self, task: TaskExecution, failure: RunFailed) -> None:
        """Waits before the next attempt; raises the failure when there is none."""
        will_retry = failure.retryable and task.attempts < task.max_attempts
        if not will_retry:
            self._fail(task, failure)
            raise failure
        task.status = TaskExecutionStatus.PENDING  # this attempt is over, whoever makes the next one
        self._note(self._failed(task, failure, will_retry=True), task)
        await self._commit_noted()
        pause = min(self._parts.rules.first_pause * 2 ** (task.attempts - 1), _LONGEST_PAUSE)
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads retries, guards nothing

    def _fail(self, task: TaskExecution, failure: RunFailed) -> None:
        task.status = TaskExecutionStatus.FAILED
        task.failure_code, task.failure_message = failure.code, failure.message
        task.failure_details = _details(failure)
        task.finished_at = utc_now()
        self._note(self._failed(task, failure, will_retry=False), task)

    def _failed(self, task: TaskExecution, failure: RunFailed, *, will_retry: bool) -> TaskFailed:
        return TaskFailed(
            **self._about(task),
            name=task.name,
            attempt=task.attempts,
            code=failure.code,
            message=failure.message,
            will_retry=will_retry,
            budget=failure.shortfall,
        )

    def _note_output(self, task: TaskExecution, output: str, sink: TaskSink) -> None:
        task.model = sink.model or task.model
        task.output = output
        if task.is_approval_required:
            self._ask(task, ApprovalKind.TASK, output)
        else:
            self._complete(task)

    def _complete(self, task: TaskExecution) -> None:
        task.status = TaskExecutionStatus.COMPLETED
        task.finished_at = utc_now()
        sink = self._bench.sink(task)
        completed = TaskCompleted(
            **self._about(task), name=task.name, attempt=task.attempts, total_tokens=sink.tokens, cost_amount=sink.cost
        )
        self._note(completed, task)

    # Refinement: further attempts at the last task, as long as an evaluator finds its output wanting.

    async def _refined(self, task: TaskExecution, output: str, sink: TaskSink) -> str | None:
        """The output that stands; None for another pass."""
        refinement = self._execution.refinement
        if refinement is None or not self._is_judged(task):
            return output
        passes = self._claimed.passes
        passes.append(await self._evaluated(task, output, len(passes) + 1, sink))
        will_continue = not is_enough(refinement, passes)
        self._note_pass(task, passes[-1], will_continue=will_continue)
        if not will_continue:
            return self._best(output)
        task.output, task.feedback = output, passes[-1].critique
        self._do_again(task)
        return None

    def _is_judged(self, task: TaskExecution) -> bool:
        """Whether an evaluator has a say: of the last task, until a human sent it back and so said more than it can."""
        return task is self._tasks[-1] and not any(
            asked.task_execution_id == task.id
            and asked.kind is ApprovalKind.TASK
            and asked.status is ApprovalStatus.REJECTED
            for asked in self._claimed.approvals
        )

    def _do_again(self, task: TaskExecution) -> None:
        """Another attempt that was asked for; it takes none away from those that failures may need."""
        task.status = TaskExecutionStatus.PENDING
        task.max_attempts += 1
        self._noted.tasks.append(replace(task))

    async def _evaluated(self, task: TaskExecution, output: str, number: int, sink: TaskSink) -> RefinementPass:
        done = RefinementPass(task.tenant_id, task.execution_id, task.id, number, output)
        try:
            work = await self._bench.evaluation(task, self._signals[task.id])
            prompt = evaluation_prompt(task.description, task.expected_output, output)
            with self._parts.tracing.span(EVALUATION, about_task(task)):
                async with asyncio.timeout(work.timeout_seconds):
                    answer = await self._parts.runner.evaluate(work, prompt, SCORE_SCHEMA, sink)
            done.scores, done.critique = scores_in(answer)
            done.score = mean(done.scores)
        except TimeoutError:
            done.error = "The evaluator did not answer in time."
        except (RunFailed, ScoreUnreadable) as error:
            done.error = str(error)
        return done

    def _note_pass(self, task: TaskExecution, done: RefinementPass, *, will_continue: bool) -> None:
        self._noted.passes.append(done)
        scored = RefinementScored(
            **self._about(task),
            number=done.number,
            score=done.score,
            scores=done.scores,
            error=done.error,
            will_continue=will_continue,
        )
        self._note(scored)

    def _best(self, output: str) -> str:
        best = best_of(self._claimed.passes)
        return best.output if best else output

    def _keeps_best(self, task: TaskExecution, failure: RunFailed, sink: TaskSink) -> bool:
        """Whether a further pass that failed leaves an earlier one to stand."""
        may_retry = failure.retryable and task.attempts < task.max_attempts
        is_for_humans = failure.code is FailureCode.TOOL_INTERRUPTED
        if not self._claimed.passes or not self._is_judged(task) or may_retry or is_for_humans:
            return False
        self._note(self._failed(task, failure, will_retry=False))
        self._note_output(task, self._best(task.output or ""), sink)
        return True

    # Humans.

    def _ask(
        self,
        task: TaskExecution,
        kind: ApprovalKind,
        prompt: str,
        call_key: str = "",
        role_id: RoleId | None = None,
    ) -> None:
        """Ask a human; `role_id` is who asks, where it is not the role of the task."""
        seconds = task.approval_timeout_seconds
        asked = Approval(
            task.tenant_id,
            ProjectId(self.ownership.project_id),
            task.execution_id,
            task.id,
            kind,
            prompt,
            task.attempts,
            call_key,
            task.approval_assignee,
            default_action=task.approval_default,
            expires_at=None if seconds is None else utc_now() + timedelta(seconds=seconds),
        )
        task.status = TaskExecutionStatus.AWAITING_APPROVAL
        self._noted.approvals.append(asked)
        about: _Envelope = {**self._about(task), "role_id": role_id or task.role_id}
        requested = ApprovalRequested(
            **about, approval_id=asked.id, kind=kind, assignee=asked.assignee, expires_at=asked.expires_at
        )
        self._note(requested, task)

    async def _hear(self) -> None:
        self._heard.clear()
        awaiting = self._awaiting  # whoever asks while the store is read is not in what it says
        await self._commit_noted()  # what was asked only now is not stored yet
        self._claimed.approvals = await self._approvals()
        self._apply_decisions(awaiting)

    async def _approvals(self) -> Sequence[Approval]:
        """All that were asked, however long the store takes to answer."""
        while True:
            try:
                return await self._parts.store.approvals(self.ownership.tenant_id, self.ownership.execution_id)
            except Unavailable as error:
                _log.warning("approvals_postponed", execution_id=str(self.ownership.execution_id), error=str(error))
            await asyncio.sleep(_STORE_PAUSE)

    def _apply_decisions(self, awaiting: Sequence[TaskExecution]) -> None:
        """Let those of the tasks go on, or fail, whose approvals were decided."""
        for task in awaiting:
            asked = [
                approval
                for approval in self._claimed.approvals
                if approval.task_execution_id == task.id and approval.attempt == task.attempts
            ]
            if asked and not any(approval.is_open for approval in asked):
                self._apply(task, max(asked, key=_place_in_attempt))

    def _apply(self, task: TaskExecution, decided: Approval) -> None:
        if decided.kind is ApprovalKind.QUESTION and decided.is_granted:
            task.status = TaskExecutionStatus.RUNNING  # the attempt goes on, and finds the answer
        elif decided.is_granted:
            task.output = decided.answer or task.output
            self._complete(task)
        elif decided.kind is ApprovalKind.TASK and decided.answer and decided.status is ApprovalStatus.REJECTED:
            self._send_back(task, decided.answer)
        else:
            self._failure = _refused(decided)
            self._fail(task, self._failure)

    def _send_back(self, task: TaskExecution, feedback: str) -> None:
        task.feedback = feedback
        self._do_again(task)

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
        await self._parts.recorder.record(
            Change(self.ownership, noted.events, noted.tasks, approvals=noted.approvals, passes=noted.passes)
        )

    # How it ends.

    async def _end_completed(self, output: str) -> None:
        over = ExecutionCompleted(**self._envelope, completed_tasks=self._completed_count())
        await self._end_unless_cancelling(ExecutionStatus.COMPLETED, over, output=output)

    async def _end_failed(self, failure: RunFailed) -> None:
        over = ExecutionFailed(**self._envelope, code=failure.code, message=failure.message, budget=failure.shortfall)
        await self._end_unless_cancelling(ExecutionStatus.FAILED, over, failure=failure)

    async def _end_cancelled(self) -> None:
        over = ExecutionCancelled(**self._envelope, completed_tasks=self._completed_count())
        await self._end(ExecutionStatus.CANCELLING, ExecutionStatus.CANCELLED, over, self._take_noted())

    async def _end_unless_cancelling(
        self,
        status: ExecutionStatus,
        over: ExecutionEvent,
        *,
        output: str | None = None,
        failure: RunFailed | None = None,
    ) -> None:
        noted = self._take_noted()
        try:
            await self._end(ExecutionStatus.RUNNING, status, over, noted, output=output, failure=failure)
        except (BookingsLost, asyncio.CancelledError):
            self._noted = noted  # nothing is wrong with it: it goes with the failure, or with the cancellation
            raise
        except OwnershipLost:
            # Either somebody asked to cancel in the meantime, or it is lost indeed: then this is refused, too.
            self._noted = noted
            try:
                await self._end_cancelled()
            except OwnershipLost:
                self._noted = noted
                raise

    async def _end(
        self,
        expected: ExecutionStatus,
        status: ExecutionStatus,
        over: ExecutionEvent,
        noted: _Noted,
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
        )
        if execution.is_final:
            execution.finished_at = utc_now()
        else:
            execution.waiting_from = utc_now()
        tasks = [*noted.tasks, *self._rest(status)]
        await self._parts.recorder.record(
            Change(
                self.ownership,
                [*noted.events, over],
                tasks,
                [],
                execution,
                expected,
                approvals=noted.approvals,
                passes=noted.passes,
            )
        )
        self.ended = execution

    def _rest(self, status: ExecutionStatus) -> list[TaskExecution]:
        """The tasks that did not come to an end, as what becomes of them."""
        ends = {
            ExecutionStatus.COMPLETED: TaskExecutionStatus.SKIPPED,
            ExecutionStatus.FAILED: TaskExecutionStatus.SKIPPED,
            ExecutionStatus.CANCELLED: TaskExecutionStatus.CANCELLED,
        }
        if status not in ends:
            return []
        now, rest = utc_now(), [task for task in self._tasks if task.status not in TASK_FINAL]
        return [replace(task, status=ends[status], finished_at=now) for task in rest]

    def _completed_count(self) -> int:
        return sum(task.status in TASK_DONE for task in self._tasks)


def _failure_in(tasks: Sequence[TaskExecution]) -> RunFailed | None:
    """What an earlier run of the execution failed with, and could not say any more."""
    failed = next((task for task in tasks if task.status is TaskExecutionStatus.FAILED), None)
    if failed is None or failed.failure is None:
        return None
    failure = RunFailed(failed.failure.code, failed.failure.message)
    failure.shortfall = failed.failure.budget
    return failure


def _place_in_attempt(asked: Approval) -> tuple[bool, datetime, ApprovalId]:
    """An attempt asks its questions before it has an output; the clocks of workers may say otherwise."""
    return asked.kind is ApprovalKind.TASK, asked.created_at, asked.id


def unexpected(error: Exception, execution_id: ExecutionId) -> RunFailed:
    """A bug as the failure of an execution: the log has the trace, the message its correlation id."""
    correlation_id = uuid4().hex
    _log.error("run_broke", exc_info=error, correlation_id=correlation_id, execution_id=str(execution_id))
    return RunFailed(FailureCode.INTERNAL, f"Unexpected error. Correlation id: {correlation_id}.")


def _refused(decided: Approval) -> RunFailed:
    what = "answer" if decided.kind is ApprovalKind.QUESTION else "approval"
    if decided.status is ApprovalStatus.EXPIRED:
        return RunFailed(FailureCode.APPROVAL_EXPIRED, f"There was no {what} in time.")
    return RunFailed(FailureCode.APPROVAL_REJECTED, "The output was rejected.")


def _details(failure: RunFailed) -> dict[str, Any] | None:
    return failure.shortfall.as_document() if failure.shortfall else None
