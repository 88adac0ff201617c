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
from resolvers.inputs import LedgerFilter
from schema.node import Node, global_id, stands_for
from schema.pagination import Connection
from schema.types.lazy import ExecutionEventType, ProjectType, RoleType, TaskType, TeamType
from schema.types.ledger import LedgerEntry
from schema.types.values import Budget, Failure, Money, Timing, Usage


@strawberry.type(description="An immutable definition of a team, as an execution runs it.")
class TeamRevision(Node):
    is_type_of = stands_for(revision.TeamRevision)
    id: strawberry.ID = global_id("TeamRevision")
    number: int = strawberry.field(description="Counts the revisions of the team from 1.")
    created_at: datetime = strawberry.field(description="When it was first run.")


@strawberry.type(description="What a kickoff asked for.")
class ExecutionConfiguration:
    max_iterations: int = strawberry.field(description="Most rounds of thinking and tools per task.")
    execution_timeout_seconds: float = strawberry.field(description="Most seconds for the whole execution.")
    task_timeout_seconds: float = strawberry.field(description="Most seconds for one task.")
    quality_preference: QualityPreference = strawberry.field(description="How models are chosen.")
    max_budget: Money | None = strawberry.field(description="Most for the whole execution; null for no limit.")
    max_task_budget: Money | None = strawberry.field(description="Most for one task; null for no limit.")


def _started_by(execution: Any) -> str | None:
    return None if execution.started_by is None else str(execution.started_by)


@strawberry.type(description="One run of a team.")
class Execution(Node):
    is_type_of = stands_for(domain.Execution)
    id: strawberry.ID = global_id("Execution")
    status: ExecutionStatus = strawberry.field(description="Where it stands.")
    allowed_transitions: list[ExecutionStatus] = strawberry.field(description="The states that can follow.")
    can_cancel: bool = strawberry.field(description="Whether `cancelExecution` would be accepted.")
    is_final: bool = strawberry.field(description="Whether it is over.")
    inputs: JSON = strawberry.field(description="The values for the placeholders.")
    configuration: ExecutionConfiguration = strawberry.field(description="What the kickoff asked for.")
    output: str | None = strawberry.field(description="The result: the output of the last task; null before the end.")
    failure: Failure | None = strawberry.field(description="Why it failed; null if it did not.")
    timing: Timing = strawberry.field(description="When things happened.")
    created_at: datetime = strawberry.field(description="When it was kicked off.")
    cancel_requested_at: datetime | None = strawberry.field(description="When somebody asked it to stop.")
    started_by: str | None = computed(_started_by, "Who kicked it off; null until there are principals.")
    usage: Usage = loaded_by(loaders.UsageByExecution, "What its model calls took.")
    budget: Budget = loaded_by(loaders.BudgetOfExecution, "What it may spend, and has spent.")
    ledger: Connection[LedgerEntry] = paged_by(
        loaders.LedgerByExecution, "Its model calls, newest first.", filter_type=LedgerFilter, order_by="booked_at"
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
        loaders.EventsByExecution, "What happened, oldest first; the subscription `executionEvents` goes on live."
    )


@strawberry.type(description="One task inside one execution.")
class TaskExecution(Node):
    is_type_of = stands_for(domain.TaskExecution)
    id: strawberry.ID = global_id("TaskExecution")
    name: str = strawberry.field(description="The name of the task.")
    description: str = strawberry.field(description="What was to be done, placeholders filled.")
    expected_output: str = strawberry.field(description="What a good result looks like, placeholders filled.")
    position: int = strawberry.field(description="Its place in the execution, from 0.")
    status: TaskExecutionStatus = strawberry.field(description="Where it stands.")
    role_title: str = strawberry.field(description="The title of the role at kickoff.")
    model: str | None = strawberry.field(
        description="The model of its last call that succeeded; the first choice until then; null before the start."
    )
    attempts: int = strawberry.field(description="How often it was begun.")
    max_attempts: int = strawberry.field(description="How often it is tried before it fails.")
    output: str | None = strawberry.field(description="What came out; null before the end.")
    failure: Failure | None = strawberry.field(description="Why it failed; null if it did not.")
    timing: Timing = strawberry.field(description="When things happened.")
    usage: Usage = loaded_by(loaders.UsageByTaskExecution, "What its model calls took.")
    budget: Budget = loaded_by(loaders.BudgetOfTaskExecution, "What it may spend, and has spent.")
    ledger: Connection[LedgerEntry] = paged_by(
        loaders.LedgerByTaskExecution, "Its model calls, newest first.", filter_type=LedgerFilter, order_by="booked_at"
    )
    execution: Execution = loaded_by(loaders.ExecutionById, "The execution it belongs to.", key="execution_id")
    role: RoleType | None = loaded_by(loaders.RoleById, "Who does it.", key="role_id")
    task: TaskType | None = loaded_by(
        loaders.TaskById, "The task of the team; null when it was written from the role.", key="task_id"
    )
