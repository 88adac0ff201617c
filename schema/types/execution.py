"""Execution, task execution, and what belongs to them."""

from datetime import datetime
from typing import Any

import strawberry
from strawberry.scalars import JSON

from domain.model import execution as domain
from domain.model import revision
from domain.model.execution import ExecutionStatus, TaskExecutionStatus
from domain.model.routing import QualityPreference
from resolvers import loaders
from resolvers.edges import computed, loaded_by, paged_by
from resolvers.filters import ApprovalFilter, ApprovalOrder, LedgerFilter
from schema.node import Node, global_id, stands_for
from schema.pagination import Connection
from schema.types.lazy import (
    ApprovalType,
    ExecutionEventType,
    ExecutionType,
    ProjectType,
    RoleType,
    ScheduleFireType,
    TaskType,
    TeamType,
)
from schema.types.ledger import LedgerEntry
from schema.types.values import Budget, Failure, Money, Timing, Usage


@strawberry.type(description="An immutable definition of a team, as an execution runs it.")
class TeamRevision(Node):
    is_type_of = stands_for(revision.TeamRevision)
    id: strawberry.ID = global_id("TeamRevision")
    number: int = strawberry.field(description="Counts the revisions of the team from 1.")
    created_at: datetime = strawberry.field(description="When it was first run.")


@strawberry.type(description="How an execution is refined.")
class Refinement:
    max_passes: int = strawberry.field(description="Most passes over the last task.")
    threshold: float = strawberry.field(description="The mean score, 0 to 1, that is good enough.")


@strawberry.type(description="What the evaluator gave for one criterion.")
class CriterionScore:
    criterion: str = strawberry.field(description="completeness, clarity, actionability or professional_quality.")
    score: float = strawberry.field(description="0 to 1.")


@strawberry.type(description="One pass over the last task, and what the evaluator found.")
class RefinementPass:
    number: int = strawberry.field(description="1, 2, 3 …")
    output: str = strawberry.field(description="What came out.")
    score: float | None = strawberry.field(description="The mean of the scores; null where there is an error.")
    criteria: list[CriterionScore] = strawberry.field(description="The scores; empty where there is an error.")
    critique: str | None = strawberry.field(description="What would have to change; null where there is an error.")
    error: str | None = strawberry.field(description="Why there is no score; null where there is one.")
    created_at: datetime = strawberry.field(description="When it was judged.")


@strawberry.type(description="What refinement came to so far.")
class RefinementReport:
    passes: list[RefinementPass] = strawberry.field(description="All passes, in order.")
    best_pass: int | None = strawberry.field(description="The number of the pass whose output stands.")
    gain: float | None = strawberry.field(
        description="How much higher the best score is than the first one; null without scores."
    )


@strawberry.type(description="What a kickoff asked for.")
class ExecutionConfiguration:
    max_iterations: int = strawberry.field(description="Most rounds of thinking and tools per task.")
    execution_timeout_seconds: float = strawberry.field(description="Most seconds for the whole execution.")
    task_timeout_seconds: float = strawberry.field(description="Most seconds for one task.")
    quality_preference: QualityPreference = strawberry.field(description="How models are chosen.")
    max_budget: Money | None = strawberry.field(description="Most for the whole execution; null for no limit.")
    max_task_budget: Money | None = strawberry.field(description="Most for one task; null for no limit.")
    priority: int = strawberry.field(description="0 to 9 among the tenant's executions, 9 first.")
    max_parallel_tasks: int = strawberry.field(description="Most tasks at once.")
    refinement: Refinement | None = strawberry.field(description="How it is refined; null: not at all.")


def _started_by(execution: Any) -> str | None:
    return None if execution.started_by is None else str(execution.started_by)


@strawberry.type(description="A request to stop an execution, how far it found it, and what came after.")
class Cancellation:
    requested_at: datetime = strawberry.field(description="When it was asked for.")
    requested_in: ExecutionStatus = strawberry.field(description="Where the execution stood then.")
    stage: str = loaded_by(
        loaders.CancelOutcomeByExecution,
        "How far it was then, for people: the tasks that were done, and those under way.",
        key="execution_id",
        attribute="stage",
    )
    done_tasks: int = loaded_by(
        loaders.CancelOutcomeByExecution,
        "How many tasks were done then.",
        key="execution_id",
        attribute="done_tasks",
    )
    cost_after_request: Money = loaded_by(
        loaders.CancelOutcomeByExecution,
        "What was booked on the ledger after the request: calls that were in flight.",
        key="execution_id",
        attribute="cost_after_request",
    )


@strawberry.type(description="One run of a team.")
class Execution(Node):
    is_type_of = stands_for(domain.Execution)
    id: strawberry.ID = global_id("Execution")
    status: ExecutionStatus = strawberry.field(description="Where it stands.")
    allowed_transitions: list[ExecutionStatus] = strawberry.field(description="The states that can follow.")
    can_cancel: bool = strawberry.field(description="Whether `cancelExecution` would be accepted.")
    can_pause: bool = strawberry.field(description="Whether `pauseExecution` would change something.")
    can_resume: bool = strawberry.field(
        description="Whether `resumeExecution` would change something: it is paused, or a pause is only asked for."
    )
    can_retry: bool = strawberry.field(description="Whether `retryExecution` would be accepted.")
    is_final: bool = strawberry.field(description="Whether it is over.")
    is_cache_hit: bool = strawberry.field(description="Whether an earlier execution answered; then it cost nothing.")
    inputs: JSON = strawberry.field(description="The values for the placeholders; empty when it is archived.")
    configuration: ExecutionConfiguration = strawberry.field(description="What the kickoff asked for.")
    output: str | None = strawberry.field(
        description="The result: the output of the last task; null before the end, and when it is archived."
    )
    failure: Failure | None = strawberry.field(description="Why it failed; null if it did not.")
    timing: Timing = strawberry.field(description="When things happened.")
    created_at: datetime = strawberry.field(description="When it was kicked off.")
    archived_at: datetime | None = strawberry.field(
        description="When its inputs, outputs, texts and events were removed, as the tenant's `retentionDays` says;"
        " null as long as they are there. States, times, models and money stay."
    )
    cancel_requested_at: datetime | None = strawberry.field(description="When somebody asked it to stop.")
    cancellation: Cancellation | None = strawberry.field(description="The request to stop; null when there was none.")
    pause_requested_at: datetime | None = strawberry.field(
        description="When somebody asked it to pause, as long as its worker has not stopped; else null."
    )
    started_by: str | None = computed(_started_by, "Who kicked it off; null until there are principals.")
    usage: Usage = loaded_by(loaders.UsageByExecution, "What its model calls took.")
    budget: Budget = loaded_by(loaders.BudgetOfExecution, "What it may spend, and has spent.")
    ledger: Connection[LedgerEntry] = paged_by(
        loaders.LedgerByExecution, "Its model calls, newest first.", filter_type=LedgerFilter, order_by="booked_at"
    )
    schedule_fire: ScheduleFireType | None = loaded_by(
        loaders.FireByExecution, "The fire of a schedule that started it; null when it was kicked off otherwise."
    )
    refinement: RefinementReport | None = loaded_by(
        loaders.RefinementByExecution, "What refinement came to; null where nothing was judged."
    )
    retry_of: "Execution | None" = loaded_by(
        loaders.ExecutionById, "The execution that it tries again; null for none.", key="retry_of"
    )
    forked_from: "Execution | None" = loaded_by(
        loaders.ExecutionById, "The execution that it goes another way from; null for none.", key="forked_from"
    )
    cached_from: "Execution | None" = loaded_by(
        loaders.ExecutionById, "The execution that answered for it; null for none.", key="cached_from"
    )
    retries: Connection[ExecutionType] = paged_by(
        loaders.RetriesOfExecution, "The executions that try it again, newest first."
    )
    forks: Connection[ExecutionType] = paged_by(
        loaders.ForksOfExecution, "The executions that go another way from it, newest first."
    )
    approvals: Connection[ApprovalType] = paged_by(
        loaders.ApprovalsByExecution,
        "What humans are, or were, asked in it, newest first.",
        filter_type=ApprovalFilter,
        order_type=ApprovalOrder,
    )
    team: TeamType = loaded_by(loaders.TeamById, "The team that runs.", key="team_id")
    project: ProjectType = loaded_by(loaders.ProjectById, "The project of the team.", key="project_id")
    revision: TeamRevision = loaded_by(
        loaders.RevisionById, "The definition that runs; later edits do not change it.", key="revision_id"
    )
    task_executions: list["TaskExecution"] = loaded_by(
        loaders.TaskExecutionsByExecution, "Its tasks, in the order in which they run."
    )
    events: Connection[ExecutionEventType] = paged_by(
        loaders.EventsByExecution,
        "What happened, oldest first; the subscription `executionEvents` goes on live. None when it is archived.",
    )


def _is_reused(task: Any) -> bool:
    return bool(task.status is TaskExecutionStatus.REUSED)


@strawberry.type(description="One task inside one execution.")
class TaskExecution(Node):
    is_type_of = stands_for(domain.TaskExecution)
    id: strawberry.ID = global_id("TaskExecution")
    name: str = strawberry.field(description="The name of the task.")
    description: str = strawberry.field(
        description="What was to be done, placeholders filled; empty when the execution is archived."
    )
    expected_output: str = strawberry.field(
        description="What a good result looks like, placeholders filled; empty when the execution is archived."
    )
    position: int = strawberry.field(description="Its place in the execution, from 0.")
    status: TaskExecutionStatus = strawberry.field(description="Where it stands.")
    kind: str = strawberry.field(description="The kind of work; empty when not said.")
    role_title: str = strawberry.field(description="The title of the role at kickoff.")
    role_reason: str = strawberry.field(description="Why this role has it, for people; empty when not said.")
    wanted_model: str | None = strawberry.field(
        description="The model that was chosen for it while the execution was paused; null for none."
    )
    guardrail: str | None = strawberry.field(
        description="What a model has to find true of the output; null when nothing is asked for."
    )
    is_approval_required: bool = strawberry.field(description="Whether a human has to agree with the output.")
    feedback: str | None = strawberry.field(
        description="What a human, or the evaluator, said of the output that was sent back last; null when none was."
    )
    is_reused: bool = computed(_is_reused, "Whether its output is from an earlier execution, or was given at a fork.")
    model: str | None = strawberry.field(
        description="The model of its last call that succeeded; the first choice until then; null before the start, and"
        " when somebody's output took the place of its own."
    )
    attempts: int = strawberry.field(description="How often it was tried; going on after a pause is no new try.")
    max_attempts: int = strawberry.field(description="How often it is tried before it fails.")
    output: str | None = strawberry.field(
        description="What came out; null before the end, and when the execution is archived."
    )
    failure: Failure | None = strawberry.field(description="Why it failed; null if it did not.")
    timing: Timing = strawberry.field(description="When things happened.")
    usage: Usage = loaded_by(loaders.UsageByTaskExecution, "What its model calls took.")
    budget: Budget = loaded_by(loaders.BudgetOfTaskExecution, "What it may spend, and has spent.")
    ledger: Connection[LedgerEntry] = paged_by(
        loaders.LedgerByTaskExecution, "Its model calls, newest first.", filter_type=LedgerFilter, order_by="booked_at"
    )
    execution: Execution = loaded_by(loaders.ExecutionById, "The execution it belongs to.", key="execution_id")
    waits_for: list["TaskExecution"] = loaded_by(loaders.AwaitedByTaskExecution, "The tasks that it waits for.")
    reused_from: "TaskExecution | None" = loaded_by(
        loaders.TaskExecutionById,
        "The task whose output it has, or whose place it takes with one that was given at a fork; null for none.",
        key="reused_from",
    )
    approvals: Connection[ApprovalType] = paged_by(
        loaders.ApprovalsByTaskExecution,
        "What humans are, or were, asked about it, newest first.",
        filter_type=ApprovalFilter,
        order_type=ApprovalOrder,
    )
    role: RoleType | None = loaded_by(loaders.RoleById, "Who does it.", key="role_id")
    task: TaskType | None = loaded_by(
        loaders.TaskById, "The task of the team; null when it was written from the role.", key="task_id"
    )
