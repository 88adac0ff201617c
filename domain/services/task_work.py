"""The work of an attempt at a task: its route, context and colleagues, what is known of it, and its time limit."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from domain.errors import FailureCode, NoActiveRole, RunFailed, Unavailable
from domain.events import ExecutionEvent
from domain.model.approval import Approval, ApprovalKind
from domain.model.execution import TASK_DONE, Execution, TaskExecution
from domain.model.identity import TaskExecutionId, utc_now
from domain.model.journal import CallKind, Journal, JournalEntry
from domain.model.ledger import CallOutcome, LedgerEntry, Usage
from domain.model.matching import manager_of
from domain.model.planning import with_inputs
from domain.model.revision import TeamSnapshot
from domain.model.role import Role
from domain.model.routing import Demand, Offer, QualityPreference, Route, demand_of, route
from domain.model.team import Process
from domain.model.texts import seconds_of
from domain.model.tokens import estimated_tokens
from domain.ports import Claimed, Colleague, Hierarchy, ModelCatalogue, Ownership, RunSink, Signals, TaskWork

BETWEEN_OUTPUTS = "\n\n----------\n\n"
"""What CrewAI puts between the outputs of earlier tasks."""

NOBODY_ANSWERED = "Nobody answered in time. Decide by yourself."
"""The answer to a question whose time is over, where the default is to go on."""

_STORE_PAUSE = 0.5

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RunRules:
    """How runs behave; lengths in characters, durations in seconds.

    `longest_context` bounds the earlier outputs that a task sees: the newest are kept. `first_pause` comes before a
    second attempt and doubles from then on. An execution that lost its worker more than `most_takeovers` times fails:
    its workers seem to die of it. `default_model` is for roles that name none; None: they are routed.
    `max_output_tokens` caps the answers of a role that sets no cap.
    """

    default_model: str | None = None
    max_output_tokens: int = 4096
    longest_context: int = 100_000
    first_pause: float = 0.5
    most_takeovers: int = 20


class TaskSink:
    """Passes on what a task reports, and remembers what it cost and what it called, over all runs and attempts."""

    def __init__(
        self, sink: RunSink, before: Usage, calls: list[JournalEntry], made: dict[tuple[int, int], int]
    ) -> None:
        self._sink = sink
        self._calls = calls
        self._made = made
        self.tokens = before.total_tokens
        self.cost = before.amount
        self.model: str | None = None
        """Of the last call that succeeded."""

    def emit(self, event: ExecutionEvent) -> None:
        self._sink.emit(event)

    def book(self, entry: LedgerEntry, event: ExecutionEvent) -> None:
        self._add(entry)
        self._sink.book(entry, event)

    def journal(self, entry: JournalEntry) -> None:
        self._calls.append(entry)
        self._sink.journal(entry)

    async def keep(self, entry: JournalEntry) -> None:
        self._calls.append(entry)
        await self._sink.keep(entry)

    async def settle(self, entry: LedgerEntry, event: ExecutionEvent, journal: JournalEntry | None = None) -> None:
        self._add(entry)
        if journal is not None:
            self._calls.append(journal)
        await self._sink.settle(entry, event, journal)

    def check_interrupted(self) -> None:
        """Raises RunFailed where a tool that must not be called twice was called, and nobody knows how that ended.

        Whatever the attempt comes to: another one could word the call differently, and would not know it again.
        """
        called = {(call.attempt, call.key): call for call in self._calls}  # of two entries of one call, the later one
        if any(call.kind is CallKind.TOOL and call.answer is None for call in called.values()):
            message = (
                "A tool that must not be called twice was at work when the worker was lost: a human has to decide."
            )
            raise RunFailed(FailureCode.TOOL_INTERRUPTED, message)

    def journal_of(self, attempt: int) -> Journal:
        """What is known of the calls of this attempt; of two entries of one call, the later one.

        What tools that must not be called twice answered in other attempts is known in this one, too.
        """
        before = {call: count for (tried, call), count in self._made.items() if tried == attempt}
        own = [call for call in self._calls if call.attempt == attempt]
        once = [call for call in self._calls if call.attempt != attempt and call.answer and call.answer.get("once")]
        return Journal([*once, *own], before)

    def _add(self, entry: LedgerEntry) -> None:
        self.tokens += entry.total_tokens
        self.cost += entry.cost
        numbers = (entry.attempt, entry.call)
        self._made[numbers] = max(self._made.get(numbers, 0), entry.call_attempt)
        if entry.outcome is CallOutcome.SUCCEEDED:
            self.model = entry.model


class Workbench:
    """Prepares the attempts of one run."""

    def __init__(self, claimed: Claimed, sink: RunSink, models: ModelCatalogue, rules: RunRules) -> None:
        self._claimed = claimed
        self._models = models
        self._rules = rules
        self._journals: dict[TaskExecutionId, Journal] = {}
        self._sinks = {task.id: _sink_of(task.id, claimed, sink) for task in claimed.tasks}

    @property
    def _execution(self) -> Execution:
        return self._claimed.execution

    @property
    def _snapshot(self) -> TeamSnapshot:
        return self._claimed.snapshot

    @property
    def _ownership(self) -> Ownership:
        return self._claimed.ownership

    def sink(self, task: TaskExecution) -> TaskSink:
        """Where the attempts at this task report."""
        return self._sinks[task.id]

    async def evaluation(self, task: TaskExecution, signals: Signals) -> TaskWork:
        """The work of judging the task's output: on a premium model, and on no model that its role pins.

        Raises RunFailed when there is no model.
        """
        judge = replace(self.role_of(task), model=None, temperature=0.0)
        journal = self._journals[task.id]  # of the attempt that is judged
        chosen = await self._routed(task, judge, wants_best=True)
        return replace(await self.work(task, chosen, signals), role=judge, tools=(), journal=journal)

    async def work(self, task: TaskExecution, chosen: Route, signals: Signals) -> TaskWork:
        """The next attempt at the task. Raises RunFailed where a colleague has no model."""
        role, (seconds, _) = self.role_of(task), self.time_limit()
        journal = self._journals[task.id] = self.sink(task).journal_of(task.attempts)
        return TaskWork(
            ownership=self._ownership,
            team_id=self._execution.team_id,
            task=task,
            role=role,
            tools=self._snapshot.tools_of(role),
            context=self.context_of(task),
            route=chosen,
            max_iterations=self._execution.max_iterations,
            timeout_seconds=max(seconds, 0.0) + 1,  # ours comes first: it knows which limit it was
            hierarchy=await self._hierarchy(task, chosen),
            answers=_answers(self._claimed.approvals, task),
            journal=journal,
            signals=signals,
        )

    def role_of(self, task: TaskExecution) -> Role:
        """Who does the task, with the inputs filled in. Raises RunFailed when there is no such role."""
        role = next((role for role in self._snapshot.roles if role.id == task.role_id), None)
        if role is None:
            raise RunFailed(FailureCode.NO_CAPABLE_ROLE, f"The role “{task.role_title}” is not part of the team.")
        return self._prepared(role, task)

    def _prepared(self, role: Role, task: TaskExecution) -> Role:
        """The role with the inputs filled in, and with the model that was chosen for this task if it is to do it."""
        role = with_inputs(role, self._execution.inputs)
        return replace(role, model=task.wanted_model) if task.wanted_model and role.id == task.role_id else role

    async def route(self, task: TaskExecution, role: Role) -> Route:
        """The models for the task in the hands of this role, as they can be had now. Raises RunFailed without one."""
        # What an evaluator sent back is done again by the best there is.
        is_refined = self._claimed.passes and task is self._claimed.tasks[-1]
        return await self._routed(task, role, wants_best=bool(is_refined))

    async def _routed(self, task: TaskExecution, role: Role, *, wants_best: bool) -> Route:
        demand = self._demand(task, role, wants_best=wants_best)
        return route(await self._offers(demand.pinned), demand)

    def _demand(self, task: TaskExecution, role: Role, *, wants_best: bool) -> Demand:
        texts = (task.description, task.expected_output, self.context_of(task))
        demand = demand_of(
            description=task.description,
            expected_output=task.expected_output,
            role=role,
            preference=QualityPreference.PREMIUM if wants_best else task.quality_preference,
            default_model=self._rules.default_model,
            needs_tools=self._needs_tools(role),
            prompt_tokens=sum(map(estimated_tokens, texts)),
            output_tokens=role.max_tokens or self._rules.max_output_tokens,
        )
        return replace(demand, wants_best=wants_best)

    async def _offers(self, named: str | None) -> Sequence[Offer]:
        """What can be had now, however long the store takes to say so."""
        while True:
            try:
                return await self._models.offers(self._ownership.tenant_id, named)
            except Unavailable as error:
                _log.warning("routing_postponed", execution_id=str(self._ownership.execution_id), error=str(error))
            await asyncio.sleep(_STORE_PAUSE)

    def _needs_tools(self, role: Role) -> bool:
        """Whether the role is given tools: its own, the question to a human, or those by which it delegates."""
        may_delegate = self._snapshot.team.process is Process.HIERARCHICAL
        may_delegate = may_delegate and (role.is_delegation_allowed or role.id == self._manager.id)
        return bool(self._snapshot.tools_of(role)) or role.can_ask or may_delegate

    @property
    def _manager(self) -> Role:
        """Who leads a HIERARCHICAL team. Raises RunFailed when nobody is there."""
        try:
            return manager_of(self._snapshot.team, self._snapshot.roles)
        except NoActiveRole as error:
            raise RunFailed(FailureCode.NO_CAPABLE_ROLE, "The team has no active role to lead it.") from error

    async def _hierarchy(self, task: TaskExecution, chosen: Route) -> Hierarchy | None:
        """Who may take part, without those for whom there is no model now. Raises RunFailed without a manager."""
        team = self._snapshot.team
        if team.process is not Process.HIERARCHICAL:
            return None
        manager, active = self._manager, [role for role in self._snapshot.roles if role.is_active]
        # Read once for all of them: whoever names a model of his own is looked up by its name among the rest.
        offers = await self._offers(None)
        others = [self._colleague(task, role, offers, chosen) for role in active if role.id != manager.id]
        leader = self._colleague(task, manager, offers, chosen)
        if leader is None:
            raise RunFailed(FailureCode.MODEL_UNAVAILABLE, f"There is no model for the manager “{manager.title}”.")
        return Hierarchy(leader, team.oversight, [colleague for colleague in others if colleague])

    def _colleague(self, task: TaskExecution, role: Role, offers: Sequence[Offer], chosen: Route) -> Colleague | None:
        role, tools = self._prepared(role, task), self._snapshot.tools_of(role)
        if role.id == task.role_id:
            return Colleague(role, tools, chosen)
        try:
            return Colleague(role, tools, route(offers, self._demand(task, role, wants_best=False)))
        except RunFailed as failure:
            _log.info("colleague_without_model", role=str(role.id), code=failure.code.value)
            return None

    def context_of(self, task: TaskExecution) -> str:
        """The outputs that the task may see, the newest of them if they are too long."""
        outputs = [other.output or "" for other in self._claimed.tasks if self._sees(task, other) and other.output]
        return BETWEEN_OUTPUTS.join(outputs)[-self._rules.longest_context :]

    def _sees(self, task: TaskExecution, other: TaskExecution) -> bool:
        if other.position >= task.position or other.status not in TASK_DONE:
            return False
        match self._snapshot.team.process:
            case Process.COLLABORATIVE:
                return True
            case Process.PARALLEL:
                return other.id in task.waits_for
            case _:
                return not task.waits_for or other.id in task.waits_for

    def time_limit(self) -> tuple[float, RunFailed]:
        """The seconds that are left to a task beginning now, and what it fails with when they are over."""
        execution = self._execution
        elapsed = (utc_now() - (execution.started_at or utc_now())).total_seconds() - execution.waited_seconds
        remaining = execution.execution_timeout_seconds - elapsed
        if remaining <= execution.task_timeout_seconds:
            message = f"The execution took longer than {seconds_of(execution.execution_timeout_seconds)}."
            return remaining, RunFailed(FailureCode.EXECUTION_TIMEOUT, message)
        message = f"The task took longer than {seconds_of(execution.task_timeout_seconds)}."
        return execution.task_timeout_seconds, RunFailed(FailureCode.TASK_TIMEOUT, message)


def _sink_of(task_id: TaskExecutionId, claimed: Claimed, sink: RunSink) -> TaskSink:
    calls = [call for call in claimed.journal if call.task_execution_id == task_id]
    made = {(attempt, call): most for (owner, attempt, call), most in claimed.http_attempts.items() if owner == task_id}
    return TaskSink(sink, claimed.spent.get(task_id, Usage()), calls, made)


def _answers(approvals: Sequence[Approval], task: TaskExecution) -> Mapping[str, str]:
    """What humans answered to the questions of this attempt, by the key of the question."""
    return {
        asked.call_key: asked.answer or NOBODY_ANSWERED
        for asked in approvals
        if asked.task_execution_id == task.id
        and asked.attempt == task.attempts
        and asked.kind is ApprovalKind.QUESTION
        and asked.is_granted
    }
