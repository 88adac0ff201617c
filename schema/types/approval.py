"""Approvals: questions to humans inside executions."""

from datetime import datetime
from typing import Any

import strawberry

from domain.model import approval as domain
from domain.model.approval import ApprovalDefault, ApprovalKind, ApprovalStatus
from resolvers import loaders
from resolvers.edges import computed, loaded_by
from schema.node import Node, global_id, stands_for
from schema.types.lazy import ExecutionType, ProjectType, TaskExecutionType


def _decided_by(approval: Any) -> str | None:
    return None if approval.decided_by is None else str(approval.decided_by)


@strawberry.type(description="A question to a human inside an execution: will this output do, or what a role asks.")
class Approval(Node):
    is_type_of = stands_for(domain.Approval)
    id: strawberry.ID = global_id("Approval")
    kind: ApprovalKind = strawberry.field(description="What is asked.")
    prompt: str = strawberry.field(description="The output to look at, or the question.")
    status: ApprovalStatus = strawberry.field(description="What became of it.")
    is_open: bool = strawberry.field(description="Whether it can be decided.")
    assignee: str | None = strawberry.field(description="Who is asked; null for anybody.")
    attempt: int = strawberry.field(description="The attempt at the task that it is about, from 1.")
    answer: str | None = strawberry.field(
        description="What the human wrote: the answer, the feedback, or an output of their own; null for nothing."
    )
    default_action: ApprovalDefault = strawberry.field(description="What happens when nobody decides in time.")
    created_at: datetime = strawberry.field(description="When it was asked for.")
    expires_at: datetime | None = strawberry.field(description="Until when; null when it waits for ever.")
    decided_at: datetime | None = strawberry.field(description="When it was decided, or its time was over; else null.")
    decided_by: str | None = computed(_decided_by, "Who decided it; null until there are principals.")
    execution: ExecutionType = loaded_by(loaders.ExecutionById, "The execution that asks.", key="execution_id")
    task_execution: TaskExecutionType = loaded_by(
        loaders.TaskExecutionById, "The task that it is about.", key="task_execution_id"
    )
    project: ProjectType = loaded_by(loaders.ProjectById, "The project of the execution.", key="project_id")
