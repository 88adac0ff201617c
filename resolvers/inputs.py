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
from domain.model.execution import ExecutionStatus
from domain.model.ledger import CallOutcome
from domain.model.model import Tier
from domain.model.page import Condition, Operator
from domain.model.role import DelegatesTo, Expertise, Rank
from domain.model.routing import QualityPreference
from domain.model.team import Process
from domain.model.tool import ToolKind
from domain.services.credentials import DEFAULT_HEADER


def described(text: str, default: Any = strawberry.UNSET, **options: Any) -> Any:
    """A field of an input with its documentation; it may be left out unless `default` is `...`."""
    if default is ...:
        return strawberry.field(description=text, **options)
    return strawberry.field(description=text, default=default, **options)


def given(source: Any, *, without: tuple[str, ...] = (), nullable: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The fields that the caller gave; raises Invalid for a null where the thing needs a value."""
    values = {item.name: getattr(source, item.name) for item in fields(source)}
    found = {name: value for name, value in values.items() if value is not strawberry.UNSET and name not in without}
    for name, value in found.items():
        if value is None and name not in nullable:
            raise Invalid.at("This may be left out, but it cannot be null.", _camel(name))
    return found


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


# ---------------------------------------------------------------- projects


@strawberry.input(description="A new project.")
class CreateProjectInput:
    name: str = described("Unique in the tenant.", ...)
    description: str = described("What the project is about.", "")
    monthly_budget: Decimal | None = described("Most dollars per calendar month (UTC); unlimited without one.")


@strawberry.input(description="Changes to a project; what is left out stays.")
class UpdateProjectInput:
    id: strawberry.ID = described("The project.", ...)
    version: int = described("The version that was read; a newer one is not overwritten.", ...)
    name: str | None = described("Unique in the tenant.")
    description: str | None = described("What the project is about.")
    monthly_budget: Decimal | None = described("Most dollars per calendar month (UTC); null for unlimited.")


@strawberry.input(description="Changes to the tenant; what is left out stays.")
class UpdateTenantInput:
    monthly_budget: Decimal | None = described("Most dollars per calendar month (UTC); null for unlimited.")


# ---------------------------------------------------------------- teams


@strawberry.input(description="Defaults for the executions of a team; what is left out stays.")
class TeamSettingsInput:
    max_iterations: int | None = described("Most rounds of thinking and tools per task, 1 to 50; 5 by default.")
    execution_timeout_seconds: float | None = described("Most seconds for a whole execution; 1800 by default.")
    task_timeout_seconds: float | None = described("Most seconds for one task; 600 by default.")


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
    tool_ids: list[strawberry.ID] | None = described("The tools it may use; replaces them all.")
    is_active: bool | None = described("Whether it takes part in executions.")
    position: int | None = described("Its place among the roles of the team.")


# ---------------------------------------------------------------- tasks


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
    position: int | None = described("Its place among the tasks of the team.")


# ---------------------------------------------------------------- tools


@strawberry.input(description="A new tool of a project.")
class CreateToolInput:
    project_id: strawberry.ID = described("The project it belongs to.", ...)
    name: str = described("Unique in its project.", ...)
    kind: ToolKind = described("Which implementation stands behind it.", ...)
    description: str = described("What it is for.", "")
    configuration: JSON | None = described('What its kind needs, like {"url": …} for an MCP server; no secrets.')


@strawberry.input(description="Changes to a tool; what is left out stays.")
class UpdateToolInput:
    id: strawberry.ID = described("The tool.", ...)
    version: int = described("The version that was read; a newer one is not overwritten.", ...)
    name: str | None = described("Unique in its project.")
    description: str | None = described("What it is for.")
    configuration: JSON | None = described("What its kind needs; replaces it all.")


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


@strawberry.input(description="Starts an execution of a team.")
class KickoffTeamInput:
    team_id: strawberry.ID = described("The team.", ...)
    inputs: JSON | None = described("A value for each {placeholder} of the tasks.", None)
    max_iterations: int | None = described("Most rounds per task; the team's setting by default.", None)
    execution_timeout_seconds: float | None = described("Most seconds in all; the team's setting by default.", None)
    task_timeout_seconds: float | None = described("Most seconds per task; the team's setting by default.", None)
    quality_preference: QualityPreference | None = described("How models are chosen; BALANCED by default.", None)
    max_budget: Decimal | None = described("Most dollars in all; no limit of its own without one.", None)
    max_task_budget: Decimal | None = described("Most dollars per task; a task's own lower limit stays.", None)
    idempotency_key: str | None = described(
        "The same key and input give the first execution again; kept for 24 hours.", None
    )


@strawberry.input(description="Which execution to stop.")
class CancelExecutionInput:
    execution_id: strawberry.ID = described("The execution.", ...)


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
    status: ExecutionStatusFilter | None = described("By status.", None)
    created_at: MomentFilter | None = described("By the moment of the kickoff.", None)
    started_at: MomentFilter | None = described("By the moment a worker took it.", None)


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


_OPERATORS = {
    "eq": Operator.EQ,
    "in_": Operator.IN,
    "gte": Operator.GTE,
    "lt": Operator.LT,
    "contains": Operator.CONTAINS,
}


def conditions_of(wanted: Any) -> tuple[Condition, ...]:
    """A filter as conditions; None is no condition."""
    if wanted is None:
        return ()
    found: list[Condition] = []
    for item in fields(wanted):
        value = getattr(wanted, item.name)
        if item.name == "is_archived":
            found.append(Condition("archived_at", Operator.IS_NULL, not value))
        elif isinstance(value, bool):
            found.append(Condition(item.name, Operator.EQ, value))
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
