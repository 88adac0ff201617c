"""The input objects of the graph, and their translation into the domain's words."""

from dataclasses import fields
from datetime import datetime
from enum import Enum
from typing import Any

import strawberry
from strawberry.scalars import JSON

import resolvers.enums  # noqa: F401 - registers the enums with Strawberry before a type uses them
from domain.errors import Invalid
from domain.model.execution import ExecutionStatus
from domain.model.page import Condition, Operator
from domain.model.role import DelegatesTo, Expertise, Rank
from domain.model.team import Process
from domain.model.tool import ToolKind


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


@strawberry.input(description="Changes to a project; what is left out stays.")
class UpdateProjectInput:
    id: strawberry.ID = described("The project.", ...)
    version: int = described("The version that was read; a newer one is not overwritten.", ...)
    name: str | None = described("Unique in the tenant.")
    description: str | None = described("What the project is about.")


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


@strawberry.input(description="Changes to a team; what is left out stays.")
class UpdateTeamInput:
    id: strawberry.ID = described("The team.", ...)
    version: int = described("The version that was read; a newer one is not overwritten.", ...)
    name: str | None = described("Unique in its project.")
    description: str | None = described("What the team is for.")
    process: Process | None = described("How its tasks are run.")
    manager_id: strawberry.ID | None = described("The role that leads a HIERARCHICAL run; null for none.")
    settings: TeamSettingsInput | None = described("Defaults for its executions.")


# ---------------------------------------------------------------- roles


@strawberry.input(description="To whom and for what a role may hand work on.")
class DelegationInput:
    is_allowed: bool = described("Whether it may delegate at all.", ...)
    to: DelegatesTo = described("To whom.", DelegatesTo.SUBORDINATES)
    task_kinds: list[str] = strawberry.field(description="For which task kinds; empty for any.", default_factory=list)


@strawberry.input(description="A new role of a team.")
class CreateRoleInput:
    team_id: strawberry.ID = described("The team it belongs to.", ...)
    title: str = described("What the role is called, like “Market analyst”.", ...)
    description: str | None = described("What the role does.")
    expertise: Expertise | None = described("INTERMEDIATE by default.")
    goals: list[str] | None = described("What it strives for; written from title and expertise when empty.")
    backstory: str | None = described("Who it is; written from title and expertise when empty.")
    model: str | None = described("A model's name, like “openai/gpt-4o-mini”; the deployment's default without one.")
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
    model: str | None = described("A model's name; null for the deployment's default.")
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
    idempotency_key: str | None = described(
        "The same key and input give the first execution again; kept for 24 hours.", None
    )


@strawberry.input(description="Which execution to stop.")
class CancelExecutionInput:
    execution_id: strawberry.ID = described("The execution.", ...)


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
