"""Blueprints as they are given: the inputs, and their translation into the domain's words."""

from decimal import Decimal
from typing import Any, Final, TypeVar

import strawberry
from strawberry.scalars import JSON

from domain.errors import Invalid
from domain.model.blueprint import MOST_PARTS, Blueprint, RoleBlueprint, TaskBlueprint, ToolBlueprint
from domain.model.edits import NO_EDITS, Edits
from domain.model.role import Expertise, Rank
from domain.model.routing import QualityPreference
from domain.model.team import Process
from domain.model.tool import ToolKind
from resolvers.inputs import described, given
from resolvers.team_inputs import (
    IDEMPOTENT,
    ApprovalRuleInput,
    DelegationInput,
    TeamSettingsInput,
    approval_values,
    delegation_values,
)


@strawberry.input(description="A tool that roles of a blueprint use.")
class ToolBlueprintInput:
    name: str = described("A tool of the project, by its name; one that it lacks is made if it can do no harm.", ...)
    kind: ToolKind = described("Which implementation stands behind it.", ...)
    description: str | None = described("What it is for.")
    configuration: JSON | None = described("What its kind needs; no secrets.")
    is_idempotent: bool | None = described(f"{IDEMPOTENT}; null: as its kind is.")


@strawberry.input(description="A role, as a blueprint describes it: everything refers to it by its title.")
class RoleBlueprintInput:
    title: str = described("Unique in the blueprint.", ...)
    description: str | None = described("What the role does.")
    expertise: Expertise | None = described("INTERMEDIATE by default.")
    goals: list[str] | None = described("What it strives for; written from title and expertise when empty.")
    backstory: str | None = described("Who it is; written from title and expertise when empty.")
    model: str | None = described("A model's name; null: each task is routed.")
    temperature: float | None = described("0 to 2; 0.7 by default.")
    max_tokens: int | None = described("Most tokens of one answer.")
    model_parameters: JSON | None = described("More parameters for the model: top_p, seed, stop and the like.")
    skills: list[str] | None = described("What it can do; tasks without a role are matched by it.")
    tools: list[str] | None = described("The names of the tools it may use.")
    rank: Rank | None = described("SPECIALIST by default.")
    supervisor: str | None = described("The title of the role that it reports to.")
    delegation: DelegationInput | None = described("Not allowed by default.")
    max_tasks: int | None = described("Most tasks that it is given in one execution; no limit without one.")
    max_parallel_tasks: int | None = described("Most tasks of an execution that it does at once; no limit without one.")
    can_ask: bool | None = described("Whether it may ask a human while it works; false by default.")
    is_active: bool | None = described("Whether it takes part in executions; true by default.")


@strawberry.input(description="A task, as a blueprint describes it.")
class TaskBlueprintInput:
    name: str = described("Unique in the blueprint.", ...)
    description: str = described("What is to be done; {placeholders} become inputs of a kickoff.", ...)
    expected_output: str = described("What a good result looks like.", ...)
    kind: str | None = described("The kind of work.")
    role: str | None = described("The title of the role that does it; without one it is matched by skill.")
    required_skills: list[str] | None = described("What is needed for it.")
    depends_on: list[str] | None = described("The names of the tasks it waits for.")
    priority: int | None = described("0 to 9, 9 first; 5 by default.")
    max_attempts: int | None = described("1 to 10; 2 by default.")
    max_budget: Decimal | None = described("Most dollars in one execution; no limit of its own without one.")
    quality_preference: QualityPreference | None = described("How its model is chosen; the execution's without one.")
    output_schema: JSON | None = described("The JSON Schema that the output has to hold; any text without one.")
    guardrail: str | None = described("What a model has to find true of the output, in words.")
    approval: ApprovalRuleInput | None = described("Whether a human has to agree; nobody by default.")


@strawberry.input(description="A whole team, by names instead of ids.")
class BlueprintInput:
    name: str = described("What the team is called.", ...)
    description: str | None = described("What the team is for.")
    process: Process | None = described("How its tasks are run; SEQUENTIAL by default.")
    manager: str | None = described("The title of the role that leads a HIERARCHICAL run.")
    settings: TeamSettingsInput | None = described("Defaults for its executions.")
    monthly_budget: Decimal | None = described("Most dollars per calendar month (UTC); unlimited without one.")
    roles: list[RoleBlueprintInput] | None = described("Its roles, at most 100.")
    tasks: list[TaskBlueprintInput] | None = described("Its tasks, at most 100.")
    tools: list[ToolBlueprintInput] | None = described("The tools that its roles name, at most 100.")


@strawberry.input(
    description="Changes to a blueprint before a team is made of it; what is left out stays. Roles and tasks take the"
    " place of those with their title or name, or are added."
)
class BlueprintEditsInput:
    name: str | None = described("What the team is called.")
    description: str | None = described("What the team is for.")
    process: Process | None = described("How its tasks are run.")
    manager: str | None = described("The title of the role that leads a HIERARCHICAL run; null for none.")
    settings: TeamSettingsInput | None = described("Defaults for its executions.")
    monthly_budget: Decimal | None = described("Most dollars per calendar month (UTC); null for unlimited.")
    roles: list[RoleBlueprintInput] | None = described("Roles that are added, or replace those of their titles.")
    tasks: list[TaskBlueprintInput] | None = described("Tasks that are added, or replace those of their names.")
    removed_roles: list[str] | None = described("The titles of roles to leave out; their tasks are matched by skill.")
    removed_tasks: list[str] | None = described("The names of tasks to leave out; nothing waits for them any more.")


_ROLE_NULLABLE: Final = frozenset({"model", "max_tokens", "max_tasks", "max_parallel_tasks", "supervisor"})
_TASK_NULLABLE: Final = frozenset({"role", "max_budget", "quality_preference", "output_schema", "guardrail"})
_TEAM_NULLABLE: Final = frozenset({"manager", "monthly_budget"})


def blueprint_from(source: BlueprintInput, *under: str) -> Blueprint:
    """The blueprint that is given; raises Invalid, located `under` that path, for a null or a value that is no object.

    Its own rules are not checked.
    """
    values = _team_values(source, *under)
    tools = _bounded(source.tools, *under, "tools")
    return Blueprint(
        **values,
        roles=_roles(source.roles, *under),
        tasks=_tasks(source.tasks, *under),
        tools=[_tool_from(tool, *under, "tools", str(place)) for place, tool in enumerate(tools)],
    )


def _tool_from(source: ToolBlueprintInput, *under: str) -> ToolBlueprint:
    return ToolBlueprint(**_objects(given(source, nullable=frozenset({"is_idempotent"}), under=under), *under))


def edits_from(source: BlueprintEditsInput | None, *under: str) -> Edits:
    """The edits that are given; raises Invalid as above."""
    if not source:
        return NO_EDITS
    return Edits(
        values=_team_values(source, *under),
        roles=_roles(source.roles, *under),
        tasks=_tasks(source.tasks, *under),
        removed_roles=_bounded(source.removed_roles, *under, "removedRoles"),
        removed_tasks=_bounded(source.removed_tasks, *under, "removedTasks"),
    )


_PARTS: Final = ("settings", "roles", "tasks", "tools", "removed_roles", "removed_tasks")


def _team_values(source: BlueprintInput | BlueprintEditsInput, *under: str) -> dict[str, Any]:
    values = given(source, without=_PARTS, nullable=_TEAM_NULLABLE, under=under)
    settings = given(source.settings, under=(*under, "settings")) if source.settings else {}
    return values | settings


def _roles(given_roles: list[RoleBlueprintInput] | None, *under: str) -> list[RoleBlueprint]:
    bounded = enumerate(_bounded(given_roles, *under, "roles"))
    return [role_from(role, *under, "roles", str(place)) for place, role in bounded]


def _tasks(given_tasks: list[TaskBlueprintInput] | None, *under: str) -> list[TaskBlueprint]:
    bounded = enumerate(_bounded(given_tasks, *under, "tasks"))
    return [task_from(task, *under, "tasks", str(place)) for place, task in bounded]


T = TypeVar("T")


def _bounded(values: list[T] | None, *path: str) -> list[T]:
    """The list; raises Invalid for one that is longer than any blueprint's, before any of it is translated."""
    if len(values or ()) > MOST_PARTS:
        raise Invalid.at(f"At most {MOST_PARTS} entries.", *path)
    return values or []


def role_from(source: RoleBlueprintInput, *under: str) -> RoleBlueprint:
    """One role that is given; raises Invalid as `blueprint_from`."""
    values = _objects(given(source, without=("delegation",), nullable=_ROLE_NULLABLE, under=under), *under)
    return RoleBlueprint(**values, **delegation_values(source.delegation or None))


def task_from(source: TaskBlueprintInput, *under: str) -> TaskBlueprint:
    """One task that is given; raises Invalid as `blueprint_from`."""
    values = _objects(given(source, without=("approval",), nullable=_TASK_NULLABLE, under=under), *under)
    return TaskBlueprint(**values, **approval_values(source.approval or None, *under))


_OBJECTS: Final = {
    "model_parameters": "modelParameters",
    "output_schema": "outputSchema",
    "configuration": "configuration",
}


def _objects(values: dict[str, Any], *under: str) -> dict[str, Any]:
    """The values; raises Invalid where JSON is given that is no object."""
    for name, shown in _OBJECTS.items():
        if not isinstance(values.get(name), dict | None):
            raise Invalid.at("This has to be an object.", *under, shown)
    return values
