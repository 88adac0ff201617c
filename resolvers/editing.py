"""Mutations on projects, teams, roles, tasks and tools."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import strawberry

from domain.errors import Invalid
from domain.model.identity import ProjectId, TaskId, TeamId
from domain.model.project import Project, Tenant
from domain.model.role import Role
from domain.model.rules import MAX_ITEMS
from domain.model.task import Task
from domain.model.team import Team
from domain.model.tool import Tool
from domain.services.copies import Duplicate
from domain.services.editing import Editing, Links
from resolvers import loaders
from resolvers.context import Info, Services
from resolvers.inputs import ArchiveInput, DuplicateInput, RestoreInput, given
from resolvers.node_ids import uuid_of
from resolvers.project_inputs import CreateProjectInput, UpdateProjectInput, UpdateTenantInput
from resolvers.team_inputs import (
    CreateRoleInput,
    CreateTaskInput,
    CreateTeamInput,
    CreateToolInput,
    UpdateRoleInput,
    UpdateTaskInput,
    UpdateTeamInput,
    UpdateToolInput,
    approval_values,
    delegation_values,
)

# ---------------------------------------------------------------- the tenant and projects

_LIMITED = frozenset({"monthly_budget", "max_parallel_executions", "retention_days"})


async def update_tenant(info: Info, input: UpdateTenantInput) -> Tenant:  # noqa: A002 - the graph's name, as below
    context = info.context
    changes = given(input, nullable=_LIMITED)
    if not changes:
        found: Tenant = await context.load(loaders.TenantById, context.tenant_id)
        return found
    return await context.services.update_tenant(context.tenant_id, changes)


async def create_project(info: Info, input: CreateProjectInput) -> Project:  # noqa: A002
    values = given(input, nullable=_LIMITED)
    thing = Project(info.context.tenant_id, **values, created_by=info.context.principal_id)
    return await info.context.services.projects.create(thing)


async def update_project(info: Info, input: UpdateProjectInput) -> Project:  # noqa: A002
    identifier = uuid_of("Project", input.id, "id")
    changes = given(input, without=("id", "version"), nullable=_LIMITED)
    return await info.context.services.projects.update(info.context.tenant_id, identifier, input.version, changes)


# ---------------------------------------------------------------- teams


async def create_team(info: Info, input: CreateTeamInput) -> Team:  # noqa: A002
    project_id = ProjectId(uuid_of("Project", input.project_id, "projectId"))
    values = given(input, without=("project_id", "settings"), nullable=_LIMITED)
    thing = Team(info.context.tenant_id, project_id, **values, **_settings(input), created_by=info.context.principal_id)
    return await info.context.services.teams.create(thing)


async def update_team(info: Info, input: UpdateTeamInput) -> Team:  # noqa: A002
    identifier = uuid_of("Team", input.id, "id")
    changes = given(input, without=("id", "version", "settings", "manager_id"), nullable=_LIMITED)
    changes |= _settings(input) | _reference(input, "manager_id", "Role", "managerId")
    return await info.context.services.teams.update(info.context.tenant_id, identifier, input.version, changes)


def _settings(source: CreateTeamInput | UpdateTeamInput) -> dict[str, Any]:
    return given(source.settings, under=("settings",)) if source.settings else {}


# ---------------------------------------------------------------- roles

_ROLE_NULLABLE = frozenset({"model", "max_tokens", "max_tasks", "max_parallel_tasks"})
_ROLE_SPECIAL = ("id", "version", "team_id", "supervisor_id", "delegation", "tool_ids")


async def create_role(info: Info, input: CreateRoleInput) -> Role:  # noqa: A002
    team_id = TeamId(uuid_of("Team", input.team_id, "teamId"))
    thing = Role(info.context.tenant_id, team_id, **_role_values(input), created_by=info.context.principal_id)
    return await info.context.services.roles.create(thing, _role_links(input))


async def update_role(info: Info, input: UpdateRoleInput) -> Role:  # noqa: A002
    identifier = uuid_of("Role", input.id, "id")
    return await info.context.services.roles.update(
        info.context.tenant_id, identifier, input.version, _role_values(input), _role_links(input)
    )


def _role_values(source: CreateRoleInput | UpdateRoleInput) -> dict[str, Any]:
    values = given(source, without=_ROLE_SPECIAL, nullable=_ROLE_NULLABLE)
    values |= _reference(source, "supervisor_id", "Role", "supervisorId")
    values |= delegation_values(source.delegation or None)
    if not isinstance(values.get("model_parameters", {}), dict):
        raise Invalid.at("The parameters are an object.", "modelParameters")
    return values


def _role_links(source: CreateRoleInput | UpdateRoleInput) -> Links:
    return Links(tool_ids=_ids(source.tool_ids, "Tool", "toolIds"))


# ---------------------------------------------------------------- tasks

_TASK_NULLABLE = frozenset({"max_budget", "quality_preference", "output_schema", "guardrail"})
_TASK_SPECIAL = ("id", "version", "team_id", "role_id", "depends_on", "approval")


async def create_task(info: Info, input: CreateTaskInput) -> Task:  # noqa: A002
    team_id = TeamId(uuid_of("Team", input.team_id, "teamId"))
    thing = Task(info.context.tenant_id, team_id, **_task_values(input), created_by=info.context.principal_id)
    return await info.context.services.tasks.create(thing, _task_links(input))


async def update_task(info: Info, input: UpdateTaskInput) -> Task:  # noqa: A002
    identifier = uuid_of("Task", input.id, "id")
    return await info.context.services.tasks.update(
        info.context.tenant_id, identifier, input.version, _task_values(input), _task_links(input)
    )


def _task_values(source: CreateTaskInput | UpdateTaskInput) -> dict[str, Any]:
    values = given(source, without=_TASK_SPECIAL, nullable=_TASK_NULLABLE)
    if not isinstance(values.get("output_schema"), dict | None):
        raise Invalid.at("The schema is an object.", "outputSchema")
    return values | approval_values(source.approval or None) | _reference(source, "role_id", "Role", "roleId")


def _task_links(source: CreateTaskInput | UpdateTaskInput) -> Links:
    found = _ids(source.depends_on, "Task", "dependsOn")
    return Links(depends_on=None if found is None else [TaskId(identifier) for identifier in found])


# ---------------------------------------------------------------- tools


async def create_tool(info: Info, input: CreateToolInput) -> Tool:  # noqa: A002
    project_id = ProjectId(uuid_of("Project", input.project_id, "projectId"))
    values = _tool_values(input, "project_id")
    thing = Tool(info.context.tenant_id, project_id, **values, created_by=info.context.principal_id)
    return await info.context.services.tools.create(thing)


async def update_tool(info: Info, input: UpdateToolInput) -> Tool:  # noqa: A002
    identifier = uuid_of("Tool", input.id, "id")
    changes = _tool_values(input, "id", "version")
    return await info.context.services.tools.update(info.context.tenant_id, identifier, input.version, changes)


def _tool_values(source: CreateToolInput | UpdateToolInput, *without: str) -> dict[str, Any]:
    values = given(source, without=without, nullable=frozenset({"is_idempotent"}))
    if not isinstance(values.get("configuration", {}), dict):
        raise Invalid.at("The configuration is an object.", "configuration")
    return values


# ---------------------------------------------------------------- what is the same for all kinds


def archive(kind: str, editing: Callable[[Services], Editing[Any]]) -> Any:
    """The resolver that archives a thing of this kind."""

    async def resolve(info: Info, input: ArchiveInput) -> Any:  # noqa: A002
        return await editing(info.context.services).archive(info.context.tenant_id, uuid_of(kind, input.id, "id"))

    return resolve


def restore(kind: str, editing: Callable[[Services], Editing[Any]]) -> Any:
    """The resolver that restores a thing of this kind."""

    async def resolve(info: Info, input: RestoreInput) -> Any:  # noqa: A002
        return await editing(info.context.services).restore(info.context.tenant_id, uuid_of(kind, input.id, "id"))

    return resolve


def duplicate(kind: str, copy: Callable[[Duplicate], Callable[..., Awaitable[Any]]]) -> Any:
    """The resolver that duplicates a thing of this kind."""

    async def resolve(info: Info, input: DuplicateInput) -> Any:  # noqa: A002
        context = info.context
        identifier = uuid_of(kind, input.id, "id")
        return await copy(context.services.duplicate)(context.tenant_id, identifier, input.name, context.principal_id)

    return resolve


def _reference(source: Any, name: str, kind: str, path: str) -> dict[str, UUID | None]:
    """The reference as an id, if the caller gave it; None takes it away."""
    value = getattr(source, name)
    if value is strawberry.UNSET:
        return {}
    return {name: None if value is None else uuid_of(kind, value, path)}


def _ids(values: Any, kind: str, path: str) -> list[UUID] | None:
    """The references as ids; None when the caller gave none."""
    if values is strawberry.UNSET:
        return None
    if values is None:
        raise Invalid.at("This may be left out, but it cannot be null.", path)
    if len(values) > MAX_ITEMS:
        raise Invalid.at(f"At most {MAX_ITEMS} entries.", path)
    return [uuid_of(kind, value, path, str(index)) for index, value in enumerate(values)]
