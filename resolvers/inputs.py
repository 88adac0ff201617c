"""The input objects of the graph, and their translation into the domain's words."""

from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import strawberry
from strawberry.scalars import JSON

import resolvers.enums  # noqa: F401 - registers the enums with Strawberry before a type uses them
from domain.errors import Invalid
from domain.model.approval import ApprovalDefault, ApprovalKind, ApprovalStatus
from domain.model.caching import CacheMode
from domain.model.execution import ExecutionStatus
from domain.model.ledger import CallOutcome
from domain.model.model import Tier
from domain.model.page import Condition, Operator
from domain.model.role import DelegatesTo, Expertise, Rank
from domain.model.routing import QualityPreference
from domain.model.schedule import FireOutcome, ScheduleOverlap
from domain.model.team import Oversight, Process, WhenBusy
from domain.model.texts import camel
from domain.model.tool import ToolKind
from domain.model.webhook import MILESTONES, DeliveryStatus, tellable_events
from domain.services.credentials import DEFAULT_HEADER
from resolvers.node_ids import uuid_of


def described(text: str, default: Any = strawberry.UNSET, **options: Any) -> Any:
    """A field of an input with its documentation; it may be left out unless `default` is `...`."""
    if default is ...:
        return strawberry.field(description=text, **options)
    return strawberry.field(description=text, default=default, **options)


def given(
    source: Any, *, without: tuple[str, ...] = (), nullable: frozenset[str] = frozenset(), under: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The fields that the caller gave; raises Invalid, located `under`, for a null where the thing needs a value."""
    values = {item.name: getattr(source, item.name) for item in fields(source)}
    found = {name: value for name, value in values.items() if value is not strawberry.UNSET and name not in without}
    for name, value in found.items():
        if value is None and name not in nullable:
            raise Invalid.at("This may be left out, but it cannot be null.", *under, camel(name))
    return found


# ---------------------------------------------------------------- projects

_AT_ONCE = "Most executions that run at once, 1 to 10000"


@strawberry.input(description="A new project.")
class CreateProjectInput:
    name: str = described("Unique in the tenant.", ...)
    description: str = described("What the project is about.", "")
    monthly_budget: Decimal | None = described("Most dollars per calendar month (UTC); unlimited without one.")
    max_parallel_executions: int | None = described(f"{_AT_ONCE}; no limit of its own without one.")


@strawberry.input(description="Changes to a project; what is left out stays.")
class UpdateProjectInput:
    id: strawberry.ID = described("The project.", ...)
    version: int = described("The version that was read; a newer one is not overwritten.", ...)
    name: str | None = described("Unique in the tenant.")
    description: str | None = described("What the project is about.")
    monthly_budget: Decimal | None = described("Most dollars per calendar month (UTC); null for unlimited.")
    max_parallel_executions: int | None = described(f"{_AT_ONCE}; null for no limit of its own.")


@strawberry.input(description="Changes to the tenant; what is left out stays.")
class UpdateTenantInput:
    monthly_budget: Decimal | None = described("Most dollars per calendar month (UTC); null for unlimited.")
    max_parallel_executions: int | None = described(f"{_AT_ONCE}; null for no limit of its own.")
    retention_days: int | None = described(
        "Days after their end when inputs, outputs and events of executions are removed for good, 1 to 36500; null for"
        " as long as the deployment says, for ever where it says nothing."
    )


# ---------------------------------------------------------------- teams


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


# ---------------------------------------------------------------- roles


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


# ---------------------------------------------------------------- tasks


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


# ---------------------------------------------------------------- tools

_IDEMPOTENT = "Whether a call that is made twice with the same arguments does no more than one"


@strawberry.input(description="A new tool of a project.")
class CreateToolInput:
    project_id: strawberry.ID = described("The project it belongs to.", ...)
    name: str = described("Unique in its project.", ...)
    kind: ToolKind = described("Which implementation stands behind it.", ...)
    description: str = described("What it is for.", "")
    configuration: JSON | None = described('What its kind needs, like {"url": …} for an MCP server; no secrets.')
    is_idempotent: bool | None = described(f"{_IDEMPOTENT}; null: as its kind is.")


@strawberry.input(description="Changes to a tool; what is left out stays.")
class UpdateToolInput:
    id: strawberry.ID = described("The tool.", ...)
    version: int = described("The version that was read; a newer one is not overwritten.", ...)
    name: str | None = described("Unique in its project.")
    description: str | None = described("What it is for.")
    configuration: JSON | None = described("What its kind needs; replaces it all.")
    is_idempotent: bool | None = described(f"{_IDEMPOTENT}; null: as its kind is.")


# ---------------------------------------------------------------- models

_PROMPT_PRICE = "Dollars per million tokens that it reads"
_COMPLETION_PRICE = "Dollars per million tokens that it writes"
_CACHED_PRICE = (
    "Dollars per million tokens that it reads from its provider's cache; as any other when null,"
    " or when left out beside a promptPrice."
)
_BASE_URL = (
    "An OpenAI-compatible server of yours, for models named “openai/…”; it gets only the key of this entry."
    " Private addresses need the operator's REGATTA_ALLOWED_PRIVATE_HOSTS."
)
_ORDER_IN_TIER = "Its place among those of its tier that work is routed to, lowest first; null: only where it is named."


@strawberry.input(
    description="An entry of your own in the model catalogue. Where a model of the name ships with Regatta, yours"
    " stands in its place, and what is left out is taken from there. As long as the operator's key pays, calls are"
    " booked at no less than the prices that ship; of a name that does not ship, prices of zero count as unknown there."
)
class CreateModelInput:
    name: str = described("The provider and the model, like “openai/gpt-4o-mini”; unique among your entries.", ...)
    tier: Tier | None = described("How capable it is; needed where no model of the name ships.")
    prompt_price: Decimal | None = described(
        f"{_PROMPT_PRICE}; null where it is not known. A price of yours holds for prompts of any length."
    )
    completion_price: Decimal | None = described(f"{_COMPLETION_PRICE}; null where it is not known.")
    cached_price: Decimal | None = described(_CACHED_PRICE)
    context_window: int | None = described("Most tokens it reads; null where it is not known.")
    max_output_tokens: int | None = described("Most tokens it writes; null where it is not known.")
    supports_tools: bool | None = described("Whether it can use tools; true by default.")
    supports_json: bool | None = described("Whether it can be held to a JSON Schema; false by default.")
    supports_vision: bool | None = described("Whether it reads pictures; false by default.")
    base_url: str | None = described(_BASE_URL)
    routing_order: int | None = described(_ORDER_IN_TIER)
    requests_per_minute: int | None = described("Most requests per minute; null for no limit.")
    tokens_per_minute: int | None = described("Most tokens per minute; null for no limit.")
    is_enabled: bool | None = described("False to switch it off; true by default.")


@strawberry.input(description="Changes to an entry of your own; what is left out stays.")
class UpdateModelInput:
    id: strawberry.ID = described("The entry; one that ships cannot be changed.", ...)
    version: int = described("The version that was read; a newer one is not overwritten.", ...)
    tier: Tier | None = described("How capable it is.")
    prompt_price: Decimal | None = described(
        f"{_PROMPT_PRICE}; null where it is not known. A price of yours holds for prompts of any length."
    )
    completion_price: Decimal | None = described(f"{_COMPLETION_PRICE}; null where it is not known.")
    cached_price: Decimal | None = described(_CACHED_PRICE)
    context_window: int | None = described("Most tokens it reads; null where it is not known.")
    max_output_tokens: int | None = described("Most tokens it writes; null where it is not known.")
    supports_tools: bool | None = described("Whether it can use tools.")
    supports_json: bool | None = described("Whether it can be held to a JSON Schema.")
    supports_vision: bool | None = described("Whether it reads pictures.")
    base_url: str | None = described(f"{_BASE_URL} Changing it removes that key.")
    routing_order: int | None = described(_ORDER_IN_TIER)
    requests_per_minute: int | None = described("Most requests per minute; null for no limit.")
    tokens_per_minute: int | None = described("Most tokens per minute; null for no limit.")
    is_enabled: bool | None = described("False to switch it off.")


@strawberry.input(description="Work whose model is asked for: a stored task, or a description.")
class RoutingPreviewInput:
    task_id: strawberry.ID | None = described("A task; its role, or the one it would be matched with, counts.", None)
    description: str | None = described("What is to be done, without a task.", None)
    expected_output: str | None = described("What a good result looks like, without a task.", None)
    expertise: Expertise | None = described("How experienced the role is, without a task.", None)
    model: str | None = described("The model that the role names, without a task.", None)
    quality_preference: QualityPreference | None = described(
        "What matters most; by default the task's, else BALANCED.", None
    )


# ---------------------------------------------------------------- actions


@strawberry.input(description="Which thing to duplicate, and the name of the copy.")
class DuplicateInput:
    id: strawberry.ID = described("The original.", ...)
    name: str | None = described("The name of the copy; the original's with “(copy)” by default.", None)


@strawberry.input(description="Which thing to archive: it is taken out of use, its history stays.")
class ArchiveInput:
    id: strawberry.ID = described("The thing to archive.", ...)


@strawberry.input(description="Which archived thing to take back into use.")
class RestoreInput:
    id: strawberry.ID = described("The thing to restore.", ...)


@strawberry.input(description="Two files of a CrewAI project.")
class ImportCrewInput:
    project_id: strawberry.ID = described("The project of the new team.", ...)
    name: str = described("The name of the new team, unique in its project.", ...)
    agents_yaml: str = described("The text of agents.yaml.", ...)
    tasks_yaml: str = described("The text of tasks.yaml.", ...)


@strawberry.input(description="A task for one execution.")
class KickoffTaskInput:
    description: str = described("What is to be done; {placeholders} are filled from the inputs.", ...)
    expected_output: str = described("What a good result looks like; may have {placeholders} too.", ...)
    kind: str | None = described("The kind of work.", None)
    required_skills: list[str] | None = described("What is needed for it: who does it is matched by that.", None)
    name: str | None = described("Unique among the tasks of this kickoff; made from its kind by default.", None)
    priority: int | None = described("0 to 9, 9 first; 5 by default.", None)
    depends_on: list[str] | None = described("The names of tasks of this kickoff that it waits for.", None)


@strawberry.input(description="How an execution is refined.")
class RefinementInput:
    max_passes: int | None = described("Most passes, 1 to 10; 3 by default.", None)
    threshold: float | None = described("The mean score, 0 to 1, that is good enough; 0.8 by default.", None)


@strawberry.input(description="Starts an execution of a team.")
class KickoffTeamInput:
    team_id: strawberry.ID = described("The team.", ...)
    inputs: JSON | None = described("A value for each {placeholder} of the tasks.", None)
    tasks: list[KickoffTaskInput] | None = described(
        "Up to 50 tasks for this execution alone, in the place of the team's own.", None
    )
    max_iterations: int | None = described("Most rounds per task; the team's setting by default.", None)
    execution_timeout_seconds: float | None = described("Most seconds in all; the team's setting by default.", None)
    task_timeout_seconds: float | None = described("Most seconds per task; the team's setting by default.", None)
    quality_preference: QualityPreference | None = described("How models are chosen; BALANCED by default.", None)
    max_budget: Decimal | None = described("Most dollars in all; no limit of its own without one.", None)
    max_task_budget: Decimal | None = described("Most dollars per task; a task's own lower limit stays.", None)
    priority: int | None = described("0 to 9 among the tenant's executions, 9 first; 5 by default.", None)
    max_parallel_tasks: int | None = described("Most tasks at once, 1 to 16; the team's setting by default.", None)
    refinement: RefinementInput | None = described(
        "Let an evaluator judge the result, and do the last task again until it is good enough; not without it.", None
    )
    when_busy: WhenBusy | None = described(
        "What to do while an execution of the team is under way; the team's setting by default.", None
    )
    cache: CacheMode | None = described(
        "Whether an earlier execution may answer; by default USE where the team's setting is so, else BYPASS.", None
    )
    idempotency_key: str | None = described(
        "The same key and input give the first execution again; kept for 24 hours.", None
    )


_KEY = "The same key and input give the first result again, and change nothing; kept for 24 hours."


@strawberry.input(description="Which execution to stop.")
class CancelExecutionInput:
    execution_id: strawberry.ID = described("The execution.", ...)
    idempotency_key: str | None = described(_KEY, None)


@strawberry.input(description="Which execution to hold up.")
class PauseExecutionInput:
    execution_id: strawberry.ID = described("The execution.", ...)
    idempotency_key: str | None = described(_KEY, None)


@strawberry.input(description="Which execution to let go on.")
class ResumeExecutionInput:
    execution_id: strawberry.ID = described("The execution.", ...)
    idempotency_key: str | None = described(_KEY, None)


_PAUSED = "Whether it begins paused, so that its tasks can be changed first; `resumeExecution` lets it go on."


@strawberry.input(description="Which execution to try again; it has to be FAILED or CANCELLED.")
class RetryExecutionInput:
    execution_id: strawberry.ID = described("The execution.", ...)
    is_paused: bool | None = described(_PAUSED, None)
    idempotency_key: str | None = described(_KEY, None)


@strawberry.input(description="From where an execution is to go another way.")
class ForkExecutionInput:
    execution_id: strawberry.ID = described("The execution, in whatever state.", ...)
    from_task: strawberry.ID = described("The task execution from which on work is done anew.", ...)
    edited_output: str | None = described(
        "Takes the place of what that task would do; then only what depends on it is done anew.", None
    )
    inputs: JSON | None = described("Values for all {placeholders} from there on; by default those it had.", None)
    is_paused: bool | None = described(_PAUSED, None)
    idempotency_key: str | None = described(_KEY, None)


@strawberry.input(description="Changes to a task for one execution, which is PAUSED; what is left out stays.")
class UpdateTaskExecutionInput:
    task_execution_id: strawberry.ID = described("The task execution; it has to be PENDING.", ...)
    description: str | None = described("What is to be done; no placeholders are filled in it.")
    expected_output: str | None = described("What a good result looks like.")
    role_id: strawberry.ID | None = described("Who does it: a role that was active at the kickoff.")
    model: str | None = described("The model to call, instead of the role's; null for the role's.")
    max_budget: Decimal | None = described("Most dollars; null for no limit of its own.")
    idempotency_key: str | None = described(_KEY, None)


@strawberry.input(description="Agrees with the output of a task.")
class ApproveTaskInput:
    approval_id: strawberry.ID = described("The approval, of the kind TASK.", ...)
    output: str | None = described("An output in place of the one that was shown; that one by default.", None)
    idempotency_key: str | None = described(_KEY, None)


@strawberry.input(description="Does not agree with the output of a task.")
class RejectTaskInput:
    approval_id: strawberry.ID = described("The approval, of the kind TASK.", ...)
    feedback: str | None = described("What to do better: the task is tried once more; without it, it fails.", None)
    idempotency_key: str | None = described(_KEY, None)


@strawberry.input(description="Answers the question of a role.")
class AnswerQuestionInput:
    approval_id: strawberry.ID = described("The approval, of the kind QUESTION.", ...)
    answer: str = described("What the role is told.", ...)
    idempotency_key: str | None = described(_KEY, None)


# ---------------------------------------------------------------- schedules

_CRON = (
    "Five fields: minute, hour, day of the month, month, weekday (0 or 7 is Sunday), like “*/15 8-18 * * MON-FRI”."
    " Where both days are given, either will do. “L” is the last day of the month, “MON#2” the second Monday."
)
_TIME_ZONE = "Whose clocks count: a name of the IANA database, like “Europe/Berlin”"
_CATCH_UP = "For so many seconds a fire that no worker carried out is made up, the latest one only; 60 to 604,800"


@strawberry.input(description="What the executions of a schedule are kicked off with; what is left out stays.")
class ScheduleConfigurationInput:
    max_iterations: int | None = described("Most rounds per task; null for the team's setting.")
    execution_timeout_seconds: float | None = described("Most seconds in all; null for the team's setting.")
    task_timeout_seconds: float | None = described("Most seconds per task; null for the team's setting.")
    quality_preference: QualityPreference | None = described("How models are chosen; BALANCED by default.")
    max_budget: Decimal | None = described("Most dollars of each execution; null for no limit of its own.")
    max_task_budget: Decimal | None = described("Most dollars per task; null for no limit of its own.")
    priority: int | None = described("0 to 9, 9 first; 5 by default.")


@strawberry.input(description="A new schedule of a team.")
class CreateScheduleInput:
    team_id: strawberry.ID = described("The team that is kicked off.", ...)
    name: str = described("Unique in its team.", ...)
    cron: str = described(_CRON, ...)
    time_zone: str | None = described(f"{_TIME_ZONE}; UTC by default.")
    overlap: ScheduleOverlap | None = described("What a fire does while an earlier one runs; SKIP by default.")
    catch_up_seconds: float | None = described(f"{_CATCH_UP}; 3,600 by default.")
    inputs: JSON | None = described("A value for each {placeholder} of the tasks.")
    configuration: ScheduleConfigurationInput | None = described("What its executions are kicked off with.", None)


@strawberry.input(description="Changes to a schedule; what is left out stays.")
class UpdateScheduleInput:
    id: strawberry.ID = described("The schedule.", ...)
    version: int = described("The version that was read; a newer one is not overwritten.", ...)
    name: str | None = described("Unique in its team.")
    cron: str | None = described(_CRON)
    time_zone: str | None = described(f"{_TIME_ZONE}.")
    overlap: ScheduleOverlap | None = described("What a fire does while an earlier one runs.")
    catch_up_seconds: float | None = described(f"{_CATCH_UP}.")
    inputs: JSON | None = described("A value for each {placeholder} of the tasks; replaces them all.")
    configuration: ScheduleConfigurationInput | None = described("What its executions are kicked off with.", None)


@strawberry.input(description="Which schedule is not to fire any more, until it is resumed.")
class PauseScheduleInput:
    id: strawberry.ID = described("The schedule.", ...)


@strawberry.input(description="Which schedule is to fire again, from now on.")
class ResumeScheduleInput:
    id: strawberry.ID = described("The schedule.", ...)


@strawberry.input(description="Which schedule is to fire now.")
class TriggerScheduleInput:
    id: strawberry.ID = described("The schedule; it may be paused.", ...)
    idempotency_key: str | None = described("The same key gives the first fire again; kept for 24 hours.", None)


@strawberry.input(description="Which fires of a schedule to make up: those that started no execution.")
class BackfillScheduleInput:
    id: strawberry.ID = described("The schedule.", ...)
    from_: datetime = strawberry.field(name="from", description="From this moment on; at most ten years back.")
    to: datetime = described("Before this moment, which is over; at most 1,000 fires.", ...)


@strawberry.input(description="Of which schedule to forget the fires that wait to be made up.")
class CancelBackfillInput:
    id: strawberry.ID = described("The schedule.", ...)


# ---------------------------------------------------------------- credentials


@strawberry.input(description="Your own key for a provider of models: it is used instead of the server's.")
class SetProviderKeyInput:
    provider: str = described("The provider, as in the names of its models: “openai”, “anthropic” …", ...)
    key: str = described("The key; it is encrypted, and never shown again.", ...)


@strawberry.input(description="The key for one of your own entries of the model catalogue.")
class SetModelKeyInput:
    model_id: strawberry.ID = described("The entry.", ...)
    key: str = described("The key; it is encrypted, and never shown again.", ...)


@strawberry.input(description="What a tool of the kind MCP_SERVER sends along with every request to its url.")
class SetToolCredentialInput:
    tool_id: strawberry.ID = described("The tool; when its url is changed, its credential is removed.", ...)
    secret: str = described(
        "The whole value of the header, for Authorization with its scheme: “Bearer …”;"
        " it is encrypted, and never shown again.",
        ...,
    )
    header: str = described("The HTTP header in which it is sent.", DEFAULT_HEADER)


@strawberry.input(description="Which credential to forget.")
class RemoveCredentialInput:
    id: strawberry.ID = described("The credential.", ...)


# ---------------------------------------------------------------- webhooks

_EVENT_TYPES = f"Names of event types, of: {', '.join(tellable_events())}."


@strawberry.input(description="A new webhook of a project.")
class CreateWebhookInput:
    project_id: strawberry.ID = described("The project whose executions it tells of.", ...)
    name: str = described("Unique in its project.", ...)
    url: str = described(
        "Where events are sent, by POST: https, or http to a host that the operator allows with"
        " REGATTA_ALLOWED_PRIVATE_HOSTS.",
        ...,
    )
    event_types: list[str] | None = described(f"{_EVENT_TYPES} By default: {', '.join(MILESTONES)}.")
    is_enabled: bool | None = described("True by default.")


@strawberry.input(description="Changes to a webhook; what is left out stays.")
class UpdateWebhookInput:
    id: strawberry.ID = described("The webhook.", ...)
    version: int = described("The version that was read; a newer one is not overwritten.", ...)
    name: str | None = described("Unique in its project.")
    url: str | None = described("Where events are sent; what is to be sent yet goes there, too.")
    event_types: list[str] | None = described(f"{_EVENT_TYPES} Replaces them all.")
    is_enabled: bool | None = described("Enabling it also sends what was left when it was disabled.")


@strawberry.input(description="Which webhook gets a new secret.")
class RotateWebhookSecretInput:
    id: strawberry.ID = described("The webhook.", ...)
    old_valid_seconds: float | None = described(
        "So long deliveries are signed with the old secret as well, 0 to 604800; 86400 by default."
    )


@strawberry.input(description="Which webhook to try out.")
class TestWebhookInput:
    id: strawberry.ID = described("The webhook; it may be disabled.", ...)


@strawberry.input(description="Which event to send once more.")
class RedeliverWebhookInput:
    delivery_id: strawberry.ID = described("A delivery of it.", ...)


# ---------------------------------------------------------------- filters and orders


@strawberry.enum(description="Which way a list runs.")
class Direction(Enum):
    ASC = strawberry.enum_value("ASC", description="Smallest or oldest first.")
    DESC = strawberry.enum_value("DESC", description="Largest or newest first.")


@strawberry.enum(description="By what a list is ordered.")
class OrderField(Enum):
    CREATED_AT = strawberry.enum_value("created_at", description="When it was made.")
    UPDATED_AT = strawberry.enum_value("updated_at", description="When it was changed last.")
    NAME = strawberry.enum_value("name", description="By name.")


@strawberry.input(description="The order of a list; equals are told apart by id.")
class Order:
    field: OrderField = described("By what.", OrderField.CREATED_AT)
    direction: Direction = described("Which way.", Direction.DESC)


@strawberry.enum(description="By what executions are ordered.")
class ExecutionOrderField(Enum):
    CREATED_AT = strawberry.enum_value("created_at", description="When it was kicked off.")


@strawberry.input(description="The order of executions; equals are told apart by id.")
class ExecutionOrder:
    field: ExecutionOrderField = described("By what.", ExecutionOrderField.CREATED_AT)
    direction: Direction = described("Which way.", Direction.DESC)


@strawberry.input(description="Conditions on a moment; all given ones must hold.")
class MomentFilter:
    gte: datetime | None = described("At this moment or later.", None)
    lt: datetime | None = described("Before this moment.", None)


@strawberry.input(description="Conditions on a text; all given ones must hold.")
class TextFilter:
    eq: str | None = described("Exactly this text.", None)
    contains: str | None = described("This text somewhere in it, upper and lower case alike.", None)


@strawberry.input(description="Conditions on the status of an execution.")
class ExecutionStatusFilter:
    in_: list[ExecutionStatus] | None = strawberry.field(name="in", description="One of these.", default=None)


@strawberry.input(description="Which executions; all given conditions must hold.")
class ExecutionFilter:
    project_id: strawberry.ID | None = described("Those of this project.", None)
    team_id: strawberry.ID | None = described("Those of this team.", None)
    status: ExecutionStatusFilter | None = described("By status.", None)
    created_at: MomentFilter | None = described("By the moment of the kickoff.", None)
    started_at: MomentFilter | None = described("By the moment a worker took it.", None)


@strawberry.input(description="Which executions to stop; all given conditions must hold, and there must be one.")
class CancelFilter:
    project_id: strawberry.ID | None = described("Those of this project.", None)
    team_id: strawberry.ID | None = described("Those of this team.", None)
    status: ExecutionStatusFilter | None = described("By status; what is over already is left alone.", None)
    created_at: MomentFilter | None = described("By the moment of the kickoff.", None)


@strawberry.input(description="Which executions to stop.")
class CancelExecutionsInput:
    filter: CancelFilter = described("Those that meet all of these conditions at the first request.", ...)
    idempotency_key: str | None = described(
        "The same key and filter go on where the first request stopped, and leave alone what was kicked off since;"
        " kept for 24 hours.",
        None,
    )


@strawberry.input(description="Conditions on what became of an approval.")
class ApprovalStatusFilter:
    in_: list[ApprovalStatus] | None = strawberry.field(name="in", description="One of these.", default=None)


@strawberry.input(description="Conditions on what a human is asked.")
class ApprovalKindFilter:
    in_: list[ApprovalKind] | None = strawberry.field(name="in", description="One of these.", default=None)


@strawberry.input(description="Which approvals; all given conditions must hold.")
class ApprovalFilter:
    status: ApprovalStatusFilter | None = described("By what became of them.", None)
    kind: ApprovalKindFilter | None = described("By what is asked.", None)
    assignee: TextFilter | None = described("By who is asked.", None)
    project_id: strawberry.ID | None = described("Those of this project.", None)
    execution_id: strawberry.ID | None = described("Those of this execution.", None)
    created_at: MomentFilter | None = described("By the moment they were asked for.", None)


@strawberry.enum(description="By what approvals are ordered.")
class ApprovalOrderField(Enum):
    CREATED_AT = strawberry.enum_value("created_at", description="When it was asked for.")


@strawberry.input(description="The order of approvals; equals are told apart by id.")
class ApprovalOrder:
    field: ApprovalOrderField = described("By what.", ApprovalOrderField.CREATED_AT)
    direction: Direction = described("Which way.", Direction.DESC)


@strawberry.input(description="Conditions on what became of a fire.")
class FireOutcomeFilter:
    in_: list[FireOutcome] | None = strawberry.field(name="in", description="One of these.", default=None)


@strawberry.input(description="Which fires; all given conditions must hold.")
class ScheduleFireFilter:
    outcome: FireOutcomeFilter | None = described("By what became of it.", None)
    scheduled_for: MomentFilter | None = described("By the moment it stands for.", None)


@strawberry.input(description="Conditions on how a model call ended.")
class CallOutcomeFilter:
    in_: list[CallOutcome] | None = strawberry.field(name="in", description="One of these.", default=None)


@strawberry.input(description="Which ledger entries; all given conditions must hold.")
class LedgerFilter:
    outcome: CallOutcomeFilter | None = described("By how the call ended.", None)
    booked_at: MomentFilter | None = described("By the moment it was booked.", None)


@strawberry.input(description="Which things; all given conditions must hold. Archived ones only when asked for.")
class ThingFilter:
    name: TextFilter | None = described("By name.", None)
    created_at: MomentFilter | None = described("By the moment it was made.", None)
    is_archived: bool = described("The archived ones instead of those in use.", default=False)


@strawberry.input(description="Conditions on the process of a team.")
class ProcessFilter:
    in_: list[Process] | None = strawberry.field(name="in", description="One of these.", default=None)


@strawberry.input(description="Which teams; all given conditions must hold. Archived ones only when asked for.")
class TeamFilter:
    name: TextFilter | None = described("By name.", None)
    process: ProcessFilter | None = described("By process.", None)
    created_at: MomentFilter | None = described("By the moment it was made.", None)
    is_archived: bool = described("The archived ones instead of those in use.", default=False)


@strawberry.input(description="Conditions on the kind of a tool.")
class ToolKindFilter:
    in_: list[ToolKind] | None = strawberry.field(name="in", description="One of these.", default=None)


@strawberry.input(description="Which tools; all given conditions must hold. Archived ones only when asked for.")
class ToolFilter:
    name: TextFilter | None = described("By name.", None)
    kind: ToolKindFilter | None = described("By kind.", None)
    is_archived: bool = described("The archived ones instead of those in use.", default=False)


@strawberry.input(description="Conditions on the tier of a model.")
class TierFilter:
    in_: list[Tier] | None = strawberry.field(name="in", description="One of these.", default=None)


@strawberry.input(description="Which models; all given conditions must hold.")
class ModelFilter:
    name: TextFilter | None = described("By name.", None)
    provider: TextFilter | None = described("By provider.", None)
    tier: TierFilter | None = described("By tier.", None)
    is_usable: bool | None = described("Those that can, or cannot, be called now.", None)


@strawberry.input(description="Conditions on what became of a delivery.")
class DeliveryStatusFilter:
    in_: list[DeliveryStatus] | None = strawberry.field(name="in", description="One of these.", default=None)


@strawberry.input(description="Which deliveries; all given conditions must hold.")
class WebhookDeliveryFilter:
    status: DeliveryStatusFilter | None = described("By what became of it.", None)
    event_type: TextFilter | None = described("By the type of the event.", None)
    created_at: MomentFilter | None = described("By the moment the event was stored.", None)


_OPERATORS = {
    "eq": Operator.EQ,
    "in_": Operator.IN,
    "gte": Operator.GTE,
    "lt": Operator.LT,
    "contains": Operator.CONTAINS,
}


_KINDS = {
    "project_id": "Project",
    "team_id": "Team",
    "execution_id": "Execution",
    "batch_id": "GenerationBatch",
    "rule_id": "AlertRule",
}
"""What the ids in filters are ids of."""


def conditions_of(wanted: Any) -> tuple[Condition, ...]:
    """A filter as conditions; None is no condition. Raises NotFound for what is no id of the kind."""
    if wanted is None:
        return ()
    found: list[Condition] = []
    for item in fields(wanted):
        value = getattr(wanted, item.name)
        if item.name == "is_archived":
            found.append(Condition("archived_at", Operator.IS_NULL, not value))
        elif isinstance(value, bool):
            found.append(Condition(item.name, Operator.EQ, value))
        elif isinstance(value, str):
            identifier = uuid_of(_KINDS[item.name], value, "filter", camel(item.name))
            found.append(Condition(item.name, Operator.EQ, identifier))
        elif value is not None:
            found.extend(_comparisons(item.name, value))
    return tuple(found)


def _comparisons(name: str, comparison: Any) -> list[Condition]:
    given_ones = ((item.name, getattr(comparison, item.name)) for item in fields(comparison))
    return [
        Condition(name, _OPERATORS[operator], tuple(value) if isinstance(value, list) else value)
        for operator, value in given_ones
        if value is not None
    ]
