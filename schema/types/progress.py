"""Live views of an execution and of a project."""

import strawberry

from domain.events import cursor_at
from domain.model.execution import TaskExecutionStatus
from resolvers import loaders
from resolvers.edges import computed, loaded_by
from schema.types.approval import Approval
from schema.types.events import ExecutionEvent
from schema.types.execution import Execution
from schema.types.lazy import RoleType
from schema.types.values import Money


@strawberry.type(description="Events that happened since the last message.")
class EventBatch:
    events: list[ExecutionEvent] = strawberry.field(description="In the order of their sequence.")
    cursor: str = computed(lambda batch: cursor_at(batch.cursor), "Where the batch ends; reconnect with it as `after`.")


@strawberry.type(description="How far a role is in an execution.")
class RoleProgress:
    role: RoleType | None = loaded_by(loaders.RoleById, "The role.", key="role_id")
    title: str = strawberry.field(description="The role's title at kickoff.")
    status: TaskExecutionStatus = strawberry.field(
        description="The status of its current task, else of one that waits for a human, else of its next or last one."
    )
    current_task: str | None = strawberry.field(description="The name of the task it is on; null when on none.")
    done_tasks: int = strawberry.field(description="How many of its tasks are completed, or taken over.")
    total_tasks: int = strawberry.field(description="How many tasks it has.")
    total_tokens: int = strawberry.field(description="Tokens of its model calls so far.")
    cost: Money = strawberry.field(description="Cost of its model calls so far.")


@strawberry.type(description="How far an execution is, as a whole and per role.")
class ExecutionProgress:
    execution: Execution = strawberry.field(description="The execution as it is now.")
    roles: list[RoleProgress] = strawberry.field(description="The roles that take part, in the order of their tasks.")
    done_tasks: int = strawberry.field(description="How many tasks are completed, or taken over.")
    total_tasks: int = strawberry.field(description="How many tasks there are.")
    total_tokens: int = strawberry.field(description="Tokens of all model calls so far.")
    cost: Money = strawberry.field(description="Cost of all model calls so far.")
    elapsed_seconds: float = strawberry.field(description="Seconds of work since a worker began; 0 before that.")
    remaining_seconds: float | None = strawberry.field(
        description="An estimate from the tasks done so far; null before the first is done."
    )


@strawberry.type(description="Executions of a project that changed since the last message.")
class ProjectActivity:
    executions: list[Execution] = strawberry.field(description="Each as it is now, at most 100.")


@strawberry.type(description="Approvals that are open, came, or were decided since the last message.")
class ApprovalActivity:
    approvals: list[Approval] = strawberry.field(description="Each as it is now, at most 100.")
