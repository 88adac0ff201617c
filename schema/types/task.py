"""Task."""

import strawberry
from strawberry.scalars import JSON

from domain.model import task as domain
from domain.model.approval import ApprovalDefault
from domain.model.money import Money as Amount
from domain.model.routing import QualityPreference
from domain.model.task import placeholders
from resolvers import loaders
from resolvers.edges import computed, loaded_by
from resolvers.metrics import metrics_by
from resolvers.metrics_loaders import MetricsByTask
from schema.node import Node, global_id, stands_for
from schema.types.lazy import MetricsType, RoleType, TeamType
from schema.types.record import Record
from schema.types.values import Money


@strawberry.type(description="Whether a human has to agree to an output, and what happens when nobody answers.")
class ApprovalRule:
    is_required: bool = strawberry.field(description="Whether a human has to agree.")
    assignee: str | None = strawberry.field(description="Who is asked; null for anybody.")
    timeout_seconds: float | None = strawberry.field(description="How long is waited; null for as long as it takes.")
    default: ApprovalDefault = strawberry.field(description="What happens when nobody answers in time.")


@strawberry.type(description="A unit of work of a team.")
class Task(Record, Node):
    is_type_of = stands_for(domain.Task)
    id: strawberry.ID = global_id("Task")
    name: str = strawberry.field(description="Unique in its team among what is not archived.")
    kind: str = strawberry.field(description="The kind of work; empty when not said.")
    description: str = strawberry.field(description="What is to be done.")
    expected_output: str = strawberry.field(description="What a good result looks like.")
    placeholders: list[str] = computed(
        lambda task: placeholders([task.description, task.expected_output]),
        "The inputs that a kickoff has to give for this task.",
    )
    required_skills: list[str] = strawberry.field(description="What is needed for it.")
    priority: int = strawberry.field(description="0 to 9, 9 first.")
    max_attempts: int = strawberry.field(description="How often it is tried before it fails.")
    max_budget: Money | None = computed(
        lambda task: None if task.max_budget is None else Amount(task.max_budget),
        "The most that it may spend in one execution; null for no limit of its own.",
    )
    quality_preference: QualityPreference | None = strawberry.field(
        description="How its model is chosen; null for the execution's."
    )
    output_schema: JSON | None = strawberry.field(
        description="The JSON Schema that the output has to hold; null for any text."
    )
    guardrail: str | None = strawberry.field(
        description="What a model has to find true of the output; null for nothing."
    )
    approval: ApprovalRule = strawberry.field(
        description="Whether a human has to agree; who, how long and what then hold for a role's questions, too."
    )
    position: int = strawberry.field(description="Its place among the tasks of the team.")
    team: TeamType = loaded_by(loaders.TeamById, "The team it belongs to.", key="team_id")
    role: RoleType | None = loaded_by(loaders.RoleById, "Who does it; null when it is matched by skill.", key="role_id")
    depends_on: list["Task"] = loaded_by(loaders.DependenciesByTask, "The tasks it waits for.")
    metrics: MetricsType = metrics_by(
        MetricsByTask,
        "What became of its task executions, model calls and tool calls; it has no executions of its own.",
    )
