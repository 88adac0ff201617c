"""Ports in memory: hints, the run store with its reader, a runner of tasks that follows a script."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any
from uuid import UUID

from domain.errors import RunFailed, Unavailable
from domain.events import TERMINAL, ExecutionCancelled, ExecutionEvent, ExecutionFailed, ExecutionStarted
from domain.model.approval import Approval, ApprovalStatus
from domain.model.budget import BudgetScope
from domain.model.execution import (
    TASK_DONE,
    TASK_FINAL,
    Execution,
    ExecutionStatus,
    TaskExecution,
    TaskExecutionStatus,
)
from domain.model.identity import (
    DEFAULT_TENANT,
    AdmissionId,
    ExecutionId,
    ProjectId,
    RevisionId,
    TaskExecutionId,
    TenantId,
    new_id,
    utc_now,
)
from domain.model.journal import CallKey, JournalEntry
from domain.model.ledger import CallOutcome, Charge, LedgerEntry, Usage
from domain.model.refinement import RefinementPass
from domain.model.revision import TeamSnapshot
from domain.model.role import Role
from domain.model.team import Team
from domain.ports import AdmissionKey, Change, Claimed, CommandKind, Listener, Ownership, RunSink, TaskWork
from tests.support.budgets import InMemoryBudgets, call_of, there


class FakeHints:
    """Hints within one loop; `is_deaf` loses them all. `published` keeps what was said."""

    def __init__(self) -> None:
        self.published: list[str] = []
        self.is_deaf = False
        self._listeners: dict[str, set[FakeListener]] = {}

    async def publish(self, topics: Sequence[str]) -> None:
        self.published += topics
        if not self.is_deaf:
            for topic in topics:
                for listener in self._listeners.get(topic, ()):
                    listener.hinted.set()

    @contextmanager
    def listen(self, topic: str) -> Iterator[Listener]:
        listener = FakeListener()
        self._listeners.setdefault(topic, set()).add(listener)
        try:
            yield listener
        finally:
            self._listeners[topic].discard(listener)

    def listeners(self, topic: str) -> int:
        return len(self._listeners.get(topic, ()))


class FakeListener:
    def __init__(self) -> None:
        self.hinted = asyncio.Event()

    async def wait(self, timeout_seconds: float) -> bool:
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.hinted.wait()
        except TimeoutError:
            return False
        self.hinted.clear()
        return True


@dataclass
class _Stored:
    execution: Execution
    tasks: dict[UUID, TaskExecution]
    snapshot: TeamSnapshot
    epoch: int = 0
    place: tuple[AdmissionId, str] | None = None
    journal: dict[tuple[UUID, int, CallKey], JournalEntry] = field(default_factory=dict)
    approvals: list[Approval] = field(default_factory=list)
    passes: list[RefinementPass] = field(default_factory=list)
    events: list[ExecutionEvent] = field(default_factory=list)
    ledger: list[LedgerEntry] = field(default_factory=list)


class InMemoryRunStore:
    """The RunStore port, and as much of the Reader as feeds need.

    `failures` are raised by the next commits, one each; `commits` keeps the events of each group; `gate`, when set,
    must be open for a commit to begin. `budgets` is the CallBudgets port on the same data.
    """

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self.commits: list[list[ExecutionEvent]] = []
        self.reads: list[int] = []
        self.gate: asyncio.Event | None = None
        self.budgets = InMemoryBudgets(self._is_owner)
        self._kept: dict[ExecutionId, _Stored] = {}

    def _is_owner(self, owner: Charge) -> bool:
        kept = self._kept.get(there(owner.execution_id))
        return kept is not None and kept.epoch == owner.epoch and not kept.execution.is_final

    def add(self, execution: Execution, tasks: Sequence[TaskExecution], snapshot: TeamSnapshot) -> None:
        self._kept[execution.id] = _Stored(execution, {task.id: task for task in tasks}, snapshot)
        self.budgets.limit(BudgetScope.EXECUTION, execution.id, execution.max_budget)
        for task in tasks:
            self.budgets.limit(BudgetScope.TASK, task.id, task.max_budget)

    def append(self, execution_id: ExecutionId, *events: ExecutionEvent) -> None:
        """What another process wrote."""
        kept = self._kept[execution_id]
        for event in events:
            event.sequence = len(kept.events) + 1
            kept.events.append(event)

    def move(self, execution_id: ExecutionId, status: ExecutionStatus) -> None:
        """What another process decided."""
        kept = self._kept[execution_id]
        kept.execution = replace(kept.execution, status=status)

    def kept(self, execution_id: ExecutionId) -> _Stored:
        return self._kept[execution_id]

    def admit(self, execution_id: ExecutionId, worker_id: str = "w1") -> AdmissionKey:
        """Give the execution a place on this worker, whoever has it now."""
        kept = self._kept[execution_id]
        kept.place = (AdmissionId(new_id()), worker_id)
        return AdmissionKey(kept.execution.tenant_id, execution_id, kept.place[0])

    async def claim(self, admission: AdmissionKey, worker_id: str) -> Claimed | None:
        tenant_id, execution_id = admission.tenant_id, admission.execution_id
        kept = self._kept.get(execution_id)
        if kept is None or kept.execution.is_final or kept.place != (admission.id, worker_id):
            return None
        is_first, now = kept.execution.status is ExecutionStatus.QUEUED, utc_now()
        is_recovery = not is_first and kept.execution.waiting_from is None
        status = ExecutionStatus.RUNNING if is_first else kept.execution.status
        since = kept.execution.waiting_from if kept.execution.started_at else None
        waited = (now - since).total_seconds() if since else 0.0
        kept.execution = replace(
            kept.execution,
            status=status,
            worker_id=worker_id,
            started_at=kept.execution.started_at or now,
            waiting_from=None,
            waited_seconds=kept.execution.waited_seconds + waited,
        )
        kept.epoch += 1
        started = ExecutionStarted(
            tenant_id=tenant_id,
            execution_id=execution_id,
            worker_id=worker_id,
            owner_epoch=kept.epoch,
            is_recovery=is_recovery,
        )
        self.append(execution_id, started, *self._lost_calls(kept, execution_id))
        tasks = sorted((replace(task) for task in kept.tasks.values()), key=lambda task: task.position)
        ownership = Ownership(tenant_id, kept.execution.project_id, execution_id, kept.epoch)
        claimed = Claimed(replace(kept.execution), tasks, kept.snapshot, ownership, self._spent(kept))
        claimed.journal = [replace(call) for call in kept.journal.values()]
        claimed.http_attempts = self._made(kept)
        claimed.approvals = await self.approvals(tenant_id, execution_id)
        claimed.passes = list(kept.passes)
        recoveries = [event for event in kept.events if isinstance(event, ExecutionStarted) and event.is_recovery]
        claimed.takeovers = len(recoveries)
        claimed.is_first = is_first
        return claimed

    def _made(self, kept: _Stored) -> dict[tuple[TaskExecutionId, int, int], int]:
        made: dict[tuple[TaskExecutionId, int, int], int] = {}
        for entry in kept.ledger:
            numbers = (there(entry.task_execution_id), entry.attempt, entry.call)
            made[numbers] = max(made.get(numbers, 0), entry.call_attempt)
        return made

    def _lost_calls(self, kept: _Stored, execution_id: ExecutionId) -> list[ExecutionEvent]:
        entries, known = self.budgets.lost_of(execution_id, kept.epoch), set(self.budgets.ledger)
        warned = self._book(entries, {entry.id for entry in entries})
        calls = [call_of(entry) for entry in entries if entry.id not in known]
        return [*calls, *(warning for _, warning in warned)]

    def _book(self, entries: Sequence[LedgerEntry], telling: set[UUID]) -> Sequence[tuple[UUID, ExecutionEvent]]:
        fresh = {entry.id: entry for entry in entries if entry.id not in self.budgets.ledger}
        warned = self.budgets.book(entries, telling)
        for entry in fresh.values():
            self._kept[there(entry.execution_id)].ledger.append(entry)
        return warned

    async def settle_lost(self, limit: int) -> int:
        entries = self.budgets.expired(limit)
        self._book(entries, set())
        return len(entries)

    def _spent(self, kept: _Stored) -> dict[TaskExecutionId, Usage]:
        spent: dict[TaskExecutionId, Usage] = {}
        for entry in kept.ledger:
            task = there(entry.task_execution_id)
            sum_ = spent.get(task, Usage())
            spent[task] = Usage(
                calls=sum_.calls + 1,
                prompt_tokens=sum_.prompt_tokens + entry.prompt_tokens,
                completion_tokens=sum_.completion_tokens + entry.completion_tokens,
                amount=sum_.amount + entry.cost,
            )
        return spent

    async def give_up(
        self,
        tenant_id: TenantId,
        execution_id: ExecutionId,
        failure: RunFailed,
        place: tuple[AdmissionKey, str] | None = None,
    ) -> None:
        kept = self._kept.get(execution_id)
        if kept is None or kept.execution.is_final:
            return
        has_place = place is not None and kept.place == (place[0].id, place[1])
        if kept.execution.status is not ExecutionStatus.CANCELLING and not has_place:
            return
        kept.journal = {}
        kept.epoch += 1
        over: ExecutionEvent
        if kept.execution.status is ExecutionStatus.CANCELLING:
            ended, rest = ExecutionStatus.CANCELLED, TaskExecutionStatus.CANCELLED
            done = sum(task.status in TASK_DONE for task in kept.tasks.values())
            over = ExecutionCancelled(tenant_id=tenant_id, execution_id=execution_id, completed_tasks=done)
            kept.execution = replace(kept.execution, status=ended)
        else:
            ended, rest = ExecutionStatus.FAILED, TaskExecutionStatus.SKIPPED
            code, message = failure.code, failure.message
            missing = failure.shortfall
            over = ExecutionFailed(
                tenant_id=tenant_id, execution_id=execution_id, code=code, message=message, budget=missing
            )
            details = missing.as_document() if missing else None
            kept.execution = replace(
                kept.execution, status=ended, failure_code=code, failure_message=message, failure_details=details
            )
        kept.tasks = {
            key: task if task.status in TASK_FINAL else replace(task, status=rest) for key, task in kept.tasks.items()
        }
        self._leave(kept)
        self.append(execution_id, *self._lost_calls(kept, execution_id), over)

    async def commit(self, changes: Sequence[Change]) -> Sequence[bool]:
        if self.gate is not None:
            await self.gate.wait()
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop(0)
        self.commits.append([event for change in changes for event in change.events])
        return [self._write(change) for change in changes]

    def _write(self, change: Change) -> bool:
        kept = self._kept[change.ownership.execution_id]
        first = change.events[0] if change.events else None
        if first is not None and any(event is first for event in kept.events):
            return True  # an earlier attempt was committed after all
        is_accepted = self._accept(change, kept)
        if not is_accepted:
            self._keep_late_calls(change, kept)
        warned = self._book(change.ledger, {entry.id for entry in change.ledger} if is_accepted else set())
        if is_accepted:
            events, end = change.events, bool(change.events) and isinstance(change.events[-1], TERMINAL)
            place = len(events) - end
            warnings = [warning for _, warning in warned]
            self.append(change.ownership.execution_id, *events[:place], *warnings, *events[place:])
        return is_accepted

    def _accept(self, change: Change, kept: _Stored) -> bool:
        if change.ownership.epoch != kept.epoch:
            return False
        if change.execution is not None and not self._may_move(change.execution, change, kept):
            return False
        kept.tasks.update({task.id: replace(task) for task in change.task_executions})
        kept.journal |= {(call.task_execution_id, call.attempt, call.key): call for call in change.journal}
        over = {task.id for task in kept.tasks.values() if task.status in TASK_FINAL}
        kept.journal = {key: call for key, call in kept.journal.items() if key[0] not in over}
        asked = {(approval.task_execution_id, approval.attempt, approval.call_key) for approval in change.approvals}
        kept.approvals = [
            approval
            for approval in kept.approvals
            if (approval.task_execution_id, approval.attempt, approval.call_key) not in asked
        ] + change.approvals
        kept.passes += change.passes
        if change.execution is not None:
            requested = None if change.execution.status is ExecutionStatus.PAUSED else kept.execution.pause_requested_at
            kept.execution = replace(change.execution, pause_requested_at=requested)
            kept.epoch += 1
            self._leave(kept)
        return True

    def _keep_late_calls(self, change: Change, kept: _Stored) -> None:
        going = {TaskExecutionStatus.RUNNING, TaskExecutionStatus.AWAITING_APPROVAL}
        for call in change.journal:
            task, key = kept.tasks[call.task_execution_id], (call.task_execution_id, call.attempt, call.key)
            is_current = task.attempts == call.attempt and task.status in going
            if is_current and call.answer and call.ledger_entry_id and key not in kept.journal:
                kept.journal[key] = call

    def _may_move(self, execution: Execution, change: Change, kept: _Stored) -> bool:
        match execution.status:
            case ExecutionStatus.PAUSED if kept.execution.pause_requested_at is None:
                return False
            case ExecutionStatus.AWAITING_APPROVAL if self._decided(kept):
                return False
            case _:
                return kept.execution.status is change.expected

    def _decided(self, kept: _Stored) -> bool:
        """Whether a task waits for an answer that is there."""
        waiting = {task.id for task in kept.tasks.values() if task.status is TaskExecutionStatus.AWAITING_APPROVAL}
        return bool(waiting - {approval.task_execution_id for approval in kept.approvals if approval.is_open})

    def _leave(self, kept: _Stored) -> None:
        kept.place = None
        if kept.execution.is_final:
            cancelled = ApprovalStatus.CANCELLED
            kept.approvals = [
                replace(approval, status=cancelled) if approval.is_open else approval for approval in kept.approvals
            ]

    async def commands(self, worker_id: str) -> Sequence[tuple[ExecutionId, CommandKind]]:
        wanted: list[tuple[ExecutionId, CommandKind]] = []
        for identifier, kept in self._kept.items():
            if kept.place is None or kept.place[1] != worker_id:
                continue
            if kept.execution.status is ExecutionStatus.CANCELLING:
                wanted.append((identifier, CommandKind.CANCEL))
            elif kept.execution.pause_requested_at is not None:
                wanted.append((identifier, CommandKind.PAUSE))
            if self._decided(kept):
                wanted.append((identifier, CommandKind.DECIDED))
        return wanted

    async def approvals(self, tenant_id: TenantId, execution_id: ExecutionId) -> Sequence[Approval]:
        kept = self._kept[execution_id]
        assert kept.execution.tenant_id == tenant_id
        going = {task.id for task in kept.tasks.values() if task.status not in TASK_FINAL}
        return [approval for approval in kept.approvals if approval.task_execution_id in going]

    async def events(
        self, tenant_id: TenantId, execution_id: ExecutionId, after: int, limit: int
    ) -> Sequence[ExecutionEvent]:
        self.reads.append(after)
        if self.failures:
            raise self.failures.pop(0)
        kept = self._kept.get(execution_id)
        if kept is None or kept.execution.tenant_id != tenant_id:
            return []
        return kept.events[after : after + limit]

    async def by_ids(self, kind: type[Any], tenant_id: TenantId, ids: Sequence[UUID]) -> Mapping[UUID, Any]:
        assert kind is Execution
        found = {
            identifier: self._kept[ExecutionId(identifier)].execution for identifier in ids if identifier in self._kept
        }
        return {key: execution for key, execution in found.items() if execution.tenant_id == tenant_id}


Step = Callable[[TaskWork, RunSink], Awaitable[str]]


class ScriptedRunner:
    """The TaskRunner port: does for each task what the script says, "<name> done" where it says nothing."""

    def __init__(self, **script: Step) -> None:
        self.script = script
        self.works: list[TaskWork] = []
        self.evaluations: list[tuple[TaskWork, str]] = []
        self.verdicts: list[str | RunFailed] = []
        """What the evaluator answers, one each."""

    async def run(self, work: TaskWork, sink: RunSink) -> str:
        self.works.append(work)
        step = self.script.get(work.task.name)
        return await step(work, sink) if step else f"{work.task.name} done"

    async def evaluate(self, work: TaskWork, prompt: str, schema: Mapping[str, Any], sink: RunSink) -> str:
        del schema, sink
        self.evaluations.append((work, prompt))
        verdict = self.verdicts.pop(0)
        if isinstance(verdict, RunFailed):
            raise verdict
        return verdict

    @property
    def names(self) -> list[str]:
        """The tasks that were begun, in order."""
        return [work.task.name for work in self.works]


def a_team_with_tasks(
    *names: str, max_attempts: int = 1, **settings: Any
) -> tuple[Execution, list[TaskExecution], TeamSnapshot]:
    """A queued execution of a team with one role, with a task for each name."""
    team = Team(DEFAULT_TENANT, ProjectId(new_id()), "Team")
    role = Role(DEFAULT_TENANT, team.id, "Writer")
    timeouts = {"execution_timeout_seconds": 60.0, "task_timeout_seconds": 30.0, **settings}
    execution = Execution(
        DEFAULT_TENANT, team.project_id, team.id, RevisionId(new_id()), {}, max_iterations=5, **timeouts
    )
    tasks = [
        TaskExecution(
            DEFAULT_TENANT,
            execution.id,
            position,
            name,
            f"Do {name}",
            "A result",
            role.id,
            role.title,
            max_attempts=max_attempts,
        )
        for position, name in enumerate(names)
    ]
    return execution, tasks, TeamSnapshot(team, [role], [], [], [], [])


def a_ledger_entry(work: TaskWork, tokens: int = 10, cost: str = "0.01") -> LedgerEntry:
    """A call that this work made."""
    return LedgerEntry(
        tenant_id=work.ownership.tenant_id,
        project_id=ProjectId(work.ownership.project_id),
        team_id=work.team_id,
        execution_id=work.ownership.execution_id,
        task_execution_id=work.task_execution_id,
        role_id=work.role_id,
        model=work.model,
        provider="test",
        attempt=work.task.attempts,
        outcome=CallOutcome.SUCCEEDED,
        prompt_tokens=tokens,
        cost=Decimal(cost),
    )


def unavailable() -> Unavailable:
    return Unavailable("The database does not answer.")
