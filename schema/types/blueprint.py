"""Blueprints, and what differs between two of them."""

from typing import Any

import strawberry
from strawberry.scalars import JSON

from domain.model.difference import DifferenceKind, Part
from domain.model.money import Money as Amount
from domain.model.parameters import inputs_of
from domain.model.role import Expertise, Rank
from domain.model.routing import QualityPreference
from domain.model.team import Process
from domain.model.texts import camel
from domain.model.tool import ToolKind
from resolvers.edges import computed
from schema.types.role import Delegation
from schema.types.task import ApprovalRule
from schema.types.team import TeamSettings
from schema.types.values import Money


@strawberry.type(description="A tool that roles of a blueprint use.")
class ToolBlueprint:
    name: str = strawberry.field(description="The name of a tool of the project, or of one that is made.")
    kind: ToolKind = strawberry.field(description="Which implementation stands behind it.")
    description: str = strawberry.field(description="What it is for.")
    configuration: JSON = strawberry.field(description="What its kind needs.")
    is_idempotent: bool | None = strawberry.field(
        description="Whether a call that is made twice does no more than one, as somebody said; null when nobody did."
    )


@strawberry.type(description="A role, as a blueprint describes it.")
class RoleBlueprint:
    title: str = strawberry.field(description="What the role is called; unique in the blueprint.")
    description: str = strawberry.field(description="What the role does.")
    expertise: Expertise = strawberry.field(description="How experienced it is.")
    goals: list[str] = strawberry.field(description="What it strives for; empty: written from title and expertise.")
    backstory: str = strawberry.field(description="Who it is; empty: written from title and expertise.")
    model: str | None = strawberry.field(description="The model it uses; null: each task is routed.")
    temperature: float = strawberry.field(description="0 to 2.")
    max_tokens: int | None = strawberry.field(description="Most tokens of one answer; null without a limit of its own.")
    model_parameters: JSON = strawberry.field(description="More parameters for the model.")
    skills: list[str] = strawberry.field(description="What it can do.")
    tools: list[str] = strawberry.field(description="The names of the tools it may use.")
    rank: Rank = strawberry.field(description="Where it stands in the team.")
    supervisor: str | None = strawberry.field(description="The title of the role it reports to.")
    delegation: Delegation = strawberry.field(description="To whom and for what it may hand work on.")
    max_tasks: int | None = strawberry.field(description="Most tasks that it is given in an execution; null: no limit.")
    max_parallel_tasks: int | None = strawberry.field(
        description="Most tasks that it does at once in one execution; null: no limit of its own."
    )
    can_ask: bool = strawberry.field(description="Whether it may ask a human while it works.")
    is_active: bool = strawberry.field(description="Whether it takes part in executions.")


@strawberry.type(description="A task, as a blueprint describes it.")
class TaskBlueprint:
    name: str = strawberry.field(description="Unique in the blueprint.")
    kind: str = strawberry.field(description="The kind of work; empty when not said.")
    description: str = strawberry.field(description="What is to be done.")
    expected_output: str = strawberry.field(description="What a good result looks like.")
    placeholders: list[str] = computed(
        inputs_of,
        "The inputs that a kickoff has to give for this task; the parameters of a template are not among them.",
    )
    role: str | None = strawberry.field(description="The title of the role that does it; null: matched by skill.")
    required_skills: list[str] = strawberry.field(description="What is needed for it.")
    depends_on: list[str] = strawberry.field(description="The names of the tasks it waits for.")
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
    guardrail: str | None = strawberry.field(description="What a model has to find true of the output.")
    approval: ApprovalRule = strawberry.field(description="Whether a human has to agree.")


@strawberry.type(description="A whole team as a value, by names instead of ids.")
class Blueprint:
    name: str = strawberry.field(description="What the team is called.")
    description: str = strawberry.field(description="What the team is for.")
    process: Process = strawberry.field(description="How its tasks are run.")
    manager: str | None = strawberry.field(description="The title of the role that leads a HIERARCHICAL run.")
    settings: TeamSettings = strawberry.field(description="Defaults for its executions.")
    monthly_budget: Money | None = computed(
        lambda blueprint: None if blueprint.monthly_budget is None else Amount(blueprint.monthly_budget),
        "The most that its executions may spend per calendar month (UTC); null for unlimited.",
    )
    roles: list[RoleBlueprint] = strawberry.field(description="Its roles, at most 100.")
    tasks: list[TaskBlueprint] = strawberry.field(description="Its tasks, at most 100.")
    tools: list[ToolBlueprint] = strawberry.field(description="The tools that its roles name.")


@strawberry.type(description="One part that is in one of two teams only, or one field of a part that differs.")
class Difference:
    kind: DifferenceKind = strawberry.field(description="What would happen to the part.")
    part: Part = strawberry.field(description="What it is.")
    name: str = strawberry.field(description="The team's name, the role's title, the task's or the tool's name.")
    field: str | None = computed(
        lambda difference: difference.field and camel(difference.field),
        "The field that changes; null where the part comes or goes. `position`: where it stands among the others.",
    )
    before: JSON | None = computed(
        lambda difference: _shown(difference.before), "The value, or the part, as it is; null where there is none."
    )
    after: JSON | None = computed(
        lambda difference: _shown(difference.after), "The value, or the part, as it would be; null for none."
    )


def _shown(value: Any) -> Any:
    """A part under the names that the graph's fields have; any other value as it is."""
    return {camel(name): each for name, each in value.items()} if isinstance(value, dict) else value
