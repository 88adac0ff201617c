"""The inputs of teams, roles, tasks and tools."""

from decimal import Decimal
from typing import Any

import strawberry
from strawberry.scalars import JSON

from domain.model.approval import ApprovalDefault
from domain.model.role import DelegatesTo, Expertise, Rank
from domain.model.routing import QualityPreference
from domain.model.team import Oversight, Process, WhenBusy
from domain.model.tool import ToolKind
from resolvers.inputs import described, given


@strawberry.input(description="Defaults for the executions of a team; what is left out stays.")
class TeamSettingsInput:
    max_iterations: int | None = described("Most rounds of thinking and tools per task, 1 to 50; 5 by default.")
    execution_timeout_seconds: float | None = described("Most seconds for a whole execution; 1800 by default.")
    task_timeout_seconds: float | None = described("Most seconds for one task; 600 by default.")
    max_parallel_tasks: int | None = described("Most tasks of one execution at once, 1 to 16; 4 by default.")
    when_busy: WhenBusy | None = described("What a kickoff does while an execution is under way; QUEUE by default.")
    oversight: Oversight | None = described("How closely a HIERARCHICAL team's manager looks; STANDARD by default.")
    is_cached: bool | None = described("Whether kickoffs may be answered by earlier executions; false by default.")


@strawberry.input(description="A new team.")
class CreateTeamInput:
    project_id: strawberry.ID = described("The project it belongs to.", ...)
    name: str = described("Unique in its project.", ...)
    description: str = described("What the team is for.", "")
    process: Process = described("How its tasks are run.", Process.SEQUENTIAL)
    settings: TeamSettingsInput | None = described("Defaults for its executions.", None)
    monthly_budget: Decimal | None = described("Most dollars per calendar month (UTC); unlimited without one.")


@strawberry.input(description="Changes to a team; what is left out stays.")
class UpdateTeamInput:
    id: strawberry.ID = described("The team.", ...)
    version: int = described("The version that was read; a newer one is not overwritten.", ...)
    name: str | None = described("Unique in its project.")
    description: str | None = described("What the team is for.")
    process: Process | None = described("How its tasks are run.")
    manager_id: strawberry.ID | None = described("The role that leads a HIERARCHICAL run; null for none.")
    settings: TeamSettingsInput | None = described("Defaults for its executions.")
    monthly_budget: Decimal | None = described("Most dollars per calendar month (UTC); null for unlimited.")


@strawberry.input(description="To whom and for what a role may hand work on.")
class DelegationInput:
    is_allowed: bool = described("Whether it may delegate at all.", ...)
    to: DelegatesTo = described("To whom.", DelegatesTo.SUBORDINATES)
    task_kinds: list[str] = strawberry.field(description="For which task kinds; empty for any.", default_factory=list)


def delegation_values(source: DelegationInput | None) -> dict[str, Any]:
    """The fields of a role that the rule gives."""
    if not source:
        return {}
    return {
        "is_delegation_allowed": source.is_allowed,
        "delegates_to": source.to,
        "delegation_kinds": source.task_kinds,
    }


_ROUTED = "each task is routed, unless REGATTA_MODEL names one for all."


@strawberry.input(description="A new role of a team.")
class CreateRoleInput:
    team_id: strawberry.ID = described("The team it belongs to.", ...)
    title: str = described("What the role is called, like “Market analyst”.", ...)
    description: str | None = described("What the role does.")
    expertise: Expertise | None = described("INTERMEDIATE by default.")
    goals: list[str] | None = described("What it strives for; written from title and expertise when empty.")
    backstory: str | None = described("Who it is; written from title and expertise when empty.")
    model: str | None = described(f"A model's name, like “openai/gpt-4o-mini”; without one {_ROUTED}")
    temperature: float | None = described("0 to 2; 0.7 by default.")
    max_tokens: int | None = described("Most tokens of one answer.")
    model_parameters: JSON | None = described("More parameters for the model: top_p, seed, stop and the like.")
    skills: list[str] | None = described("What it can do; tasks without a role are matched by it.")
    rank: Rank | None = described("SPECIALIST by default.")
    supervisor_id: strawberry.ID | None = described("The role it reports to.")
    delegation: DelegationInput | None = described("Not allowed by default.")
    max_tasks: int | None = described("Most tasks that it is given in one execution, 1 to 100; no limit without one.")
    max_parallel_tasks: int | None = described("Most tasks of an execution that it does at once; no limit without one.")
    can_ask: bool | None = described("Whether it may ask a human while it works; false by default.")
    tool_ids: list[strawberry.ID] | None = described("The tools it may use, of the same project.")
    is_active: bool | None = described("Whether it takes part in executions; true by default.")
    position: int | None = described("Its place among the roles of the team.")


@strawberry.input(description="Changes to a role; what is left out stays.")
class UpdateRoleInput:
    id: strawberry.ID = described("The role.", ...)
    version: int = described("The version that was read; a newer one is not overwritten.", ...)
    title: str | None = described("What the role is called.")
    description: str | None = described("What the role does.")
    expertise: Expertise | None = described("How experienced it is.")
    goals: list[str] | None = described("What it strives for; written anew when empty.")
    backstory: str | None = described("Who it is; written anew when empty.")
    model: str | None = described(f"A model's name; with null {_ROUTED}")
    temperature: float | None = described("0 to 2.")
    max_tokens: int | None = described("Most tokens of one answer; null for no limit of its own.")
    model_parameters: JSON | None = described("More parameters for the model.")
    skills: list[str] | None = described("What it can do.")
    rank: Rank | None = described("Where it stands in the team.")
    supervisor_id: strawberry.ID | None = described("The role it reports to; null for none.")
    delegation: DelegationInput | None = described("To whom and for what it may hand work on.")
    max_tasks: int | None = described("Most tasks that it is given in one execution; null for no limit.")
    max_parallel_tasks: int | None = described("Most tasks that it does at once in one execution; null for no limit.")
    can_ask: bool | None = described("Whether it may ask a human while it works.")
    tool_ids: list[strawberry.ID] | None = described("The tools it may use; replaces them all.")
    is_active: bool | None = described("Whether it takes part in executions.")
    position: int | None = described("Its place among the roles of the team.")


@strawberry.input(
    description="Whether a human has to agree to an output, and what becomes of that and of a role's questions."
    " What is left out stays."
)
class ApprovalRuleInput:
    is_required: bool | None = described("Whether a human has to agree; false by default.")
    assignee: str | None = described("Who is asked; null for anybody.")
    timeout_seconds: float | None = described("How long is waited, up to 90 days; null for as long as it takes.")
    default: ApprovalDefault | None = described("What happens when nobody answers in time; REJECT by default.")


_APPROVAL_NAMES = {
    "is_required": "is_approval_required",
    "assignee": "approval_assignee",
    "timeout_seconds": "approval_timeout_seconds",
    "default": "approval_default",
}


def approval_values(source: ApprovalRuleInput | None, *under: str) -> dict[str, Any]:
    """The fields of a task that the rule gives; raises Invalid as `given`."""
    if not source:
        return {}
    found = given(source, nullable=frozenset({"assignee", "timeout_seconds"}), under=(*under, "approval"))
    return {_APPROVAL_NAMES[name]: value for name, value in found.items()}


@strawberry.input(description="A new task of a team.")
class CreateTaskInput:
    team_id: strawberry.ID = described("The team it belongs to.", ...)
    name: str = described("Unique in its team.", ...)
    description: str = described("What is to be done; {placeholders} are filled from the kickoff's inputs.", ...)
    expected_output: str = described("What a good result looks like; may have {placeholders} too.", ...)
    kind: str | None = described("The kind of work, for delegation rules.")
    role_id: strawberry.ID | None = described("Who does it; matched by skill without one.")
    required_skills: list[str] | None = described("What is needed for it.")
    depends_on: list[strawberry.ID] | None = described("The tasks it waits for; it sees their outputs.")
    priority: int | None = described("0 to 9, 9 first; 5 by default.")
    max_attempts: int | None = described("1 to 10; 2 by default.")
    max_budget: Decimal | None = described("Most dollars in one execution; no limit of its own without one.")
    quality_preference: QualityPreference | None = described("How its model is chosen; the execution's by default.")
    output_schema: JSON | None = described("The JSON Schema (draft 2020-12) that the output has to hold.")
    guardrail: str | None = described("What a model has to find true of the output, in words; may have {placeholders}.")
    approval: ApprovalRuleInput | None = described("Whether a human has to agree; nobody by default.")
    position: int | None = described("Its place among the tasks of the team.")


@strawberry.input(description="Changes to a task; what is left out stays.")
class UpdateTaskInput:
    id: strawberry.ID = described("The task.", ...)
    version: int = described("The version that was read; a newer one is not overwritten.", ...)
    name: str | None = described("Unique in its team.")
    description: str | None = described("What is to be done.")
    expected_output: str | None = described("What a good result looks like.")
    kind: str | None = described("The kind of work.")
    role_id: strawberry.ID | None = described("Who does it; null to match by skill.")
    required_skills: list[str] | None = described("What is needed for it.")
    depends_on: list[strawberry.ID] | None = described("The tasks it waits for; replaces them all.")
    priority: int | None = described("0 to 9, 9 first.")
    max_attempts: int | None = described("1 to 10.")
    max_budget: Decimal | None = described("Most dollars in one execution; null for no limit of its own.")
    quality_preference: QualityPreference | None = described("How its model is chosen; null for the execution's.")
    output_schema: JSON | None = described("The JSON Schema that the output has to hold; null for any text.")
    guardrail: str | None = described("What a model has to find true of the output, in words; null for nothing.")
    approval: ApprovalRuleInput | None = described("Whether a human has to agree.")
    position: int | None = described("Its place among the tasks of the team.")


IDEMPOTENT = "Whether a call that is made twice with the same arguments does no more than one"


@strawberry.input(description="A new tool of a project.")
class CreateToolInput:
    project_id: strawberry.ID = described("The project it belongs to.", ...)
    name: str = described("Unique in its project.", ...)
    kind: ToolKind = described("Which implementation stands behind it.", ...)
    description: str = described("What it is for.", "")
    configuration: JSON | None = described('What its kind needs, like {"url": …} for an MCP server; no secrets.')
    is_idempotent: bool | None = described(f"{IDEMPOTENT}; null: as its kind is.")


@strawberry.input(description="Changes to a tool; what is left out stays.")
class UpdateToolInput:
    id: strawberry.ID = described("The tool.", ...)
    version: int = described("The version that was read; a newer one is not overwritten.", ...)
    name: str | None = described("Unique in its project.")
    description: str | None = described("What it is for.")
    configuration: JSON | None = described("What its kind needs; replaces it all.")
    is_idempotent: bool | None = described(f"{IDEMPOTENT}; null: as its kind is.")


@strawberry.input(description="Two files of a CrewAI project.")
class ImportCrewInput:
    project_id: strawberry.ID = described("The project of the new team.", ...)
    name: str = described("The name of the new team, unique in its project.", ...)
    agents_yaml: str = described("The text of agents.yaml.", ...)
    tasks_yaml: str = described("The text of tasks.yaml.", ...)
