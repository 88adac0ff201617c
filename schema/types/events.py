"""Execution events: one interface, one type per thing that can happen."""

from datetime import datetime
from typing import Any

import strawberry

from domain import events as domain
from domain.errors import FailureCode
from domain.model.approval import ApprovalKind, ApprovalStatus
from domain.model.budget import BudgetScope
from domain.model.journal import CallKind
from resolvers import loaders
from resolvers.edges import computed, loaded_by
from resolvers.node_ids import node_id
from schema.node import stands_for
from schema.types.execution import CriterionScore
from schema.types.lazy import ApprovalType, ExecutionType, RoleType, TaskExecutionType
from schema.types.ledger import RoutingDecision
from schema.types.values import BudgetShortfall, Money


@strawberry.interface(description="One thing that happened in an execution, numbered without gaps.")
class ExecutionEvent:
    sequence: int = strawberry.field(description="1, 2, 3 … within the execution.")
    cursor: str = strawberry.field(description="Give it as `after` to go on behind this event.")
    type: str = strawberry.field(description="The name of the concrete type.")
    occurred_at: datetime = strawberry.field(description="When it happened.")
    execution: ExecutionType = loaded_by(loaders.ExecutionById, "The execution.", key="execution_id")
    task_execution: TaskExecutionType | None = loaded_by(
        loaders.TaskExecutionById, "The task that it is about; null for the whole execution.", key="task_execution_id"
    )
    role: RoleType | None = loaded_by(loaders.RoleById, "The role at work; null for none.", key="role_id")


@strawberry.type(description="The kickoff was accepted.")
class ExecutionQueued(ExecutionEvent):
    is_type_of = stands_for(domain.ExecutionQueued)
    task_count: int = strawberry.field(description="How many tasks there are to do.")


@strawberry.type(description="A worker took the execution.")
class ExecutionStarted(ExecutionEvent):
    is_type_of = stands_for(domain.ExecutionStarted)
    worker_id: str = strawberry.field(description="The worker.")
    owner_epoch: int = strawberry.field(description="Counts the workers that owned the execution.")
    is_recovery: bool = strawberry.field(description="Whether it takes over from a worker that was lost.")


@strawberry.type(description="Somebody asked to pause: what is under way stops before its next model call or task.")
class ExecutionPauseRequested(ExecutionEvent):
    is_type_of = stands_for(domain.ExecutionPauseRequested)


@strawberry.type(description="The execution is paused, and has no worker.")
class ExecutionPaused(ExecutionEvent):
    is_type_of = stands_for(domain.ExecutionPaused)


@strawberry.type(description="The execution is to go on, as soon as a worker has a place for it.")
class ExecutionResumed(ExecutionEvent):
    is_type_of = stands_for(domain.ExecutionResumed)


@strawberry.type(description="Nothing can be done before a human answers; the execution has no worker meanwhile.")
class ExecutionAwaitingApproval(ExecutionEvent):
    is_type_of = stands_for(domain.ExecutionAwaitingApproval)
    open_approvals: int = strawberry.field(description="How many answers are awaited.")


@strawberry.type(description="The worker was lost or is going; the execution waits for another one.")
class ExecutionInterrupted(ExecutionEvent):
    is_type_of = stands_for(domain.ExecutionInterrupted)
    worker_id: str = strawberry.field(description="The worker that had it.")


@strawberry.type(description="All tasks are done. The last event.")
class ExecutionCompleted(ExecutionEvent):
    is_type_of = stands_for(domain.ExecutionCompleted)
    completed_tasks: int = strawberry.field(description="How many tasks were done.")
    is_cache_hit: bool = strawberry.field(description="Whether an earlier execution answered.")


@strawberry.type(description="The execution could not go on. The last event.")
class ExecutionFailed(ExecutionEvent):
    is_type_of = stands_for(domain.ExecutionFailed)
    code: FailureCode = strawberry.field(description="The reason, for programs.")
    message: str = strawberry.field(description="The reason, for people.")
    budget: BudgetShortfall | None = strawberry.field(description="What was missing, for BUDGET_EXCEEDED; else null.")


@strawberry.type(description="Somebody asked to stop.")
class ExecutionCancelRequested(ExecutionEvent):
    is_type_of = stands_for(domain.ExecutionCancelRequested)


@strawberry.type(description="The execution was stopped. The last event.")
class ExecutionCancelled(ExecutionEvent):
    is_type_of = stands_for(domain.ExecutionCancelled)
    completed_tasks: int = strawberry.field(description="How many tasks were done before.")


@strawberry.type(description="A role began a task.")
class TaskStarted(ExecutionEvent):
    is_type_of = stands_for(domain.TaskStarted)
    name: str = strawberry.field(description="The name of the task.")
    attempt: int = strawberry.field(description="Counts the attempts from 1.")
    model: str = strawberry.field(description="The model that is used.")


@strawberry.type(description="A task is done.")
class TaskCompleted(ExecutionEvent):
    is_type_of = stands_for(domain.TaskCompleted)
    name: str = strawberry.field(description="The name of the task.")
    attempt: int = strawberry.field(description="The attempt that succeeded.")
    total_tokens: int = strawberry.field(description="Tokens of all model calls of the task.")
    cost: Money = strawberry.field(description="Cost of all model calls of the task.")


@strawberry.type(description="An attempt at a task went wrong.")
class TaskFailed(ExecutionEvent):
    is_type_of = stands_for(domain.TaskFailed)
    name: str = strawberry.field(description="The name of the task.")
    attempt: int = strawberry.field(description="The attempt that failed.")
    code: FailureCode = strawberry.field(description="The reason, for programs.")
    message: str = strawberry.field(description="The reason, for people.")
    will_retry: bool = strawberry.field(description="Whether another attempt follows.")
    budget: BudgetShortfall | None = strawberry.field(description="What was missing, for BUDGET_EXCEEDED; else null.")


@strawberry.type(description="The output of an earlier execution was taken over; it costs nothing.")
class TaskReused(ExecutionEvent):
    is_type_of = stands_for(domain.TaskReused)
    name: str = strawberry.field(description="The name of the task.")


@strawberry.type(description="A task was changed for this execution, while that was paused.")
class TaskChanged(ExecutionEvent):
    is_type_of = stands_for(domain.TaskChanged)
    name: str = strawberry.field(description="The name of the task.")
    fields: list[str] = strawberry.field(description="What was changed, as `updateTaskExecution` calls it.")


@strawberry.type(description="A human is asked: to approve an output, or to answer a role.")
class ApprovalRequested(ExecutionEvent):
    is_type_of = stands_for(domain.ApprovalRequested)
    kind: ApprovalKind = strawberry.field(description="What is asked.")
    assignee: str | None = strawberry.field(description="Who is asked; null for anybody.")
    expires_at: datetime | None = strawberry.field(description="Until when; null when it waits for ever.")
    approval: ApprovalType | None = loaded_by(loaders.ApprovalById, "The approval as it is now.", key="approval_id")


@strawberry.type(description="A human answered, or the time for it was over.")
class ApprovalGiven(ExecutionEvent):
    is_type_of = stands_for(domain.ApprovalGiven)
    status: ApprovalStatus = strawberry.field(description="What became of the approval.")
    approval: ApprovalType | None = loaded_by(loaders.ApprovalById, "The approval.", key="approval_id")


@strawberry.type(description="A role handed work on, or asked another role.")
class WorkDelegated(ExecutionEvent):
    is_type_of = stands_for(domain.WorkDelegated)
    to_title: str = strawberry.field(description="The title of the other role.")
    work: str = strawberry.field(description="What it is to do, or is asked.")
    is_question: bool = strawberry.field(description="Whether it is only asked.")
    to_role: RoleType | None = loaded_by(loaders.RoleById, "The other role.", key="to_role_id")


@strawberry.type(description="The guardrail of a task was asked whether the output will do.")
class GuardrailChecked(ExecutionEvent):
    is_type_of = stands_for(domain.GuardrailChecked)
    is_passed: bool = strawberry.field(description="Whether it will do.")
    retry: int = strawberry.field(description="How often the output was sent back before.")
    feedback: str | None = strawberry.field(description="What is wrong with it; null when it will do.")


@strawberry.type(description="The manager of a team with oversight CLOSE reviewed the result of a task.")
class ResultReviewed(ExecutionEvent):
    is_type_of = stands_for(domain.ResultReviewed)
    is_accepted: bool = strawberry.field(description="Whether it was accepted; else it was sent back.")
    feedback: str | None = strawberry.field(description="What has to be better; null when it was accepted.")


@strawberry.type(description="A call that an earlier run had finished was not made again, nor paid: it was kept.")
class CallReplayed(ExecutionEvent):
    is_type_of = stands_for(domain.CallReplayed)
    kind: CallKind = strawberry.field(description="What had been called.")
    ordinal: int = strawberry.field(description="Counts the calls of this kind in the attempt from 1.")


@strawberry.type(description="A role's model wrote some text.")
class OutputStreamed(ExecutionEvent):
    is_type_of = stands_for(domain.OutputStreamed)
    call: int = strawberry.field(description="Counts the model calls of the attempt from 1.")
    text: str = strawberry.field(description="The next piece of the text.")


@strawberry.type(description="A model was chosen for a call that is about to be made.")
class RoutingDecided(ExecutionEvent):
    is_type_of = stands_for(domain.RoutingDecided)
    call: int = strawberry.field(description="Counts the model calls of the attempt from 1.")
    call_attempt: int = strawberry.field(
        description="Counts the attempts at that call from 1, over all models that were tried."
    )
    decision: RoutingDecision = strawberry.field(description="Which model, and why.")


@strawberry.type(description="A budget reached nine tenths of its limit; told once per period and limit.")
class BudgetWarned(ExecutionEvent):
    is_type_of = stands_for(domain.BudgetWarned)
    scope: BudgetScope = strawberry.field(description="Whose budget it is.")
    limit: Money = strawberry.field(description="The most that may be spent.")
    spent: Money = strawberry.field(description="What was spent by then.")


def _entry_id(event: Any) -> str | None:
    return None if event.entry_id is None else node_id("LedgerEntry", event.entry_id)


@strawberry.type(description="A model call ended and stands on the ledger.")
class ModelCalled(ExecutionEvent):
    is_type_of = stands_for(domain.ModelCalled)
    model: str = strawberry.field(description="The model.")
    outcome: str = strawberry.field(description="SUCCEEDED, FAILED, CANCELLED or LOST.")
    prompt_tokens: int = strawberry.field(description="Tokens that the model read.")
    completion_tokens: int = strawberry.field(description="Tokens that the model wrote.")
    cost: Money = strawberry.field(description="What the call cost.")
    latency_seconds: float | None = strawberry.field(description="Seconds from the request to the end of the answer.")
    call: int = strawberry.field(description="Counts the model calls of the attempt from 1.")
    call_attempt: int = strawberry.field(
        description="Counts the attempts at that call from 1, over all models that were tried."
    )
    error: str | None = strawberry.field(description="The class of the error; null when there was none.")
    is_overrun: bool = strawberry.field(description="Whether it cost more than was kept back for it.")
    ledger_entry_id: strawberry.ID | None = computed(
        _entry_id, "The entry on the ledger, for `node`; null for events from before it was told."
    )


@strawberry.type(description="A role asked a tool.")
class ToolCalled(ExecutionEvent):
    is_type_of = stands_for(domain.ToolCalled)
    tool: str = strawberry.field(description="The name of the tool.")
    arguments: str = strawberry.field(description="The arguments as JSON, shortened to 2,000 characters.")


@strawberry.type(description="A tool answered.")
class ToolReturned(ExecutionEvent):
    is_type_of = stands_for(domain.ToolReturned)
    tool: str = strawberry.field(description="The name of the tool.")
    output: str = strawberry.field(description="What it answered, shortened to 2,000 characters.")
    is_error: bool = strawberry.field(description="Whether it failed.")


@strawberry.type(description="The evaluator looked at the output of a pass.")
class RefinementScored(ExecutionEvent):
    is_type_of = stands_for(domain.RefinementScored)
    number: int = strawberry.field(description="The pass: 1, 2, 3 …")
    score: float | None = strawberry.field(description="The mean of the scores; null where there is an error.")
    criteria: list[CriterionScore] = strawberry.field(description="The scores; empty where there is an error.")
    error: str | None = strawberry.field(description="Why there is no score; null where there is one.")
    will_continue: bool = strawberry.field(description="Whether another pass follows.")


EVENT_TYPES: list[type[Any]] = [
    ExecutionQueued,
    ExecutionStarted,
    ExecutionPauseRequested,
    ExecutionPaused,
    ExecutionResumed,
    ExecutionAwaitingApproval,
    ExecutionInterrupted,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionCancelRequested,
    ExecutionCancelled,
    TaskStarted,
    TaskCompleted,
    TaskFailed,
    TaskReused,
    TaskChanged,
    ApprovalRequested,
    ApprovalGiven,
    WorkDelegated,
    GuardrailChecked,
    ResultReviewed,
    RefinementScored,
    CallReplayed,
    OutputStreamed,
    RoutingDecided,
    BudgetWarned,
    ModelCalled,
    ToolCalled,
    ToolReturned,
]
