"""Use cases that make many things at once: duplicates of every kind, and crews that move in from files."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from graphlib import TopologicalSorter
from typing import Any, TypeVar
from uuid import UUID

from domain.errors import Archived, located
from domain.model.identity import (
    PrincipalId,
    ProjectId,
    RoleId,
    TaskId,
    TeamId,
    TenantId,
    ToolId,
    new_id,
    utc_now,
)
from domain.model.project import Project
from domain.model.revision import TeamSnapshot
from domain.model.role import Role
from domain.model.rules import MAX_NAME, Rules
from domain.model.task import Task
from domain.model.team import Team
from domain.model.tool import Tool
from domain.ports import UnitOfWork, UnitsOfWork
from domain.services.editing import ROLES, TASKS, TEAMS, TOOLS, Links

Copied = TypeVar("Copied", Project, Team, Role, Task, Tool)


class Duplicate:
    """Copies of things under a new name; a copy starts at version 1 and has no history.

    Raises NotFound, Archived for an archived original or parent, NameTaken, Invalid.
    """

    def __init__(self, units: UnitsOfWork) -> None:
        self.units = units

    async def project(self, tenant_id: TenantId, identifier: UUID, name: str | None, by: PrincipalId | None) -> Project:
        """The project alone: its teams and tools are not copied along."""
        async with self._copying(tenant_id, name) as unit:
            original = await unit.projects.get(identifier)
            copy = _fresh(original, by, id=ProjectId(new_id()), name=name or name_of_copy(original.name))
            await unit.projects.add(copy)
            await unit.commit()
        return copy

    async def team(self, tenant_id: TenantId, identifier: UUID, name: str | None, by: PrincipalId | None) -> Team:
        """The team with its roles, tasks, dependencies, and the links to its tools."""
        async with self._copying(tenant_id, name) as unit:
            original = await unit.definitions.snapshot(TeamId(identifier))
            copy = copy_of(original, name or name_of_copy(original.team.name), by)
            await add_team(unit, copy)
            await unit.commit()
        return copy.team

    async def role(self, tenant_id: TenantId, identifier: UUID, title: str | None, by: PrincipalId | None) -> Role:
        async with self._copying(tenant_id, title) as unit:
            original = await unit.roles.get(identifier)
            links = (await unit.definitions.snapshot(original.team_id)).role_tools
            copy = _fresh(original, by, id=RoleId(new_id()), title=title or name_of_copy(original.title))
            await ROLES.enter(unit, copy, ())
            await unit.roles.add(copy)
            tool_ids = [link.tool_id for link in links if link.role_id == original.id]
            await ROLES.settle(unit, copy, Links(tool_ids=tool_ids))
            await unit.commit()
        return copy

    async def task(self, tenant_id: TenantId, identifier: UUID, name: str | None, by: PrincipalId | None) -> Task:
        async with self._copying(tenant_id, name) as unit:
            original = await unit.tasks.get(identifier)
            links = (await unit.definitions.snapshot(original.team_id)).dependencies
            copy = _fresh(original, by, id=TaskId(new_id()), name=name or name_of_copy(original.name))
            await TASKS.enter(unit, copy, ())
            await unit.tasks.add(copy)
            depends_on = [link.depends_on_id for link in links if link.task_id == original.id]
            await TASKS.settle(unit, copy, Links(depends_on=depends_on))
            await unit.commit()
        return copy

    async def tool(self, tenant_id: TenantId, identifier: UUID, name: str | None, by: PrincipalId | None) -> Tool:
        async with self._copying(tenant_id, name) as unit:
            original = await unit.tools.get(identifier)
            copy = _fresh(original, by, id=ToolId(new_id()), name=name or name_of_copy(original.name))
            await TOOLS.enter(unit, copy, ())
            await unit.tools.add(copy)
            await unit.commit()
        return copy

    @asynccontextmanager
    async def _copying(self, tenant_id: TenantId, name: str | None) -> AsyncIterator[UnitOfWork]:
        """A unit of work for a copy of that name, the only thing that is not the original's."""
        if name is not None:
            rules = Rules()
            rules.name(name, "name")
            rules.hold()
        with located("id"):
            async with self.units(tenant_id) as unit:
                yield unit


def _fresh(original: Copied, by: PrincipalId | None, **changes: Any) -> Copied:
    if original.archived_at:
        raise Archived(type(original).__name__)
    now = utc_now()
    return replace(original, version=1, created_at=now, updated_at=now, created_by=by, **changes)


def name_of_copy(name: str) -> str:
    """The name that a copy has when none is given."""
    return f"{name[: MAX_NAME - 7]} (copy)"


def copy_of(original: TeamSnapshot, name: str, by: PrincipalId | None) -> TeamSnapshot:
    """The same team with fresh ids and dates; tools stay the same things."""
    roles = {role.id: RoleId(new_id()) for role in original.roles}
    tasks = {task.id: TaskId(new_id()) for task in original.tasks}
    team_id = TeamId(new_id())
    team = _fresh(
        original.team, by, id=team_id, name=name, manager_id=_mapped(roles, original.team.manager_id), revision_id=None
    )
    return TeamSnapshot(
        team,
        [
            _fresh(role, by, id=roles[role.id], team_id=team_id, supervisor_id=_mapped(roles, role.supervisor_id))
            for role in original.roles
        ],
        [
            _fresh(task, by, id=tasks[task.id], team_id=team_id, role_id=_mapped(roles, task.role_id))
            for task in original.tasks
        ],
        [
            replace(link, team_id=team_id, task_id=tasks[link.task_id], depends_on_id=tasks[link.depends_on_id])
            for link in original.dependencies
        ],
        original.tools,
        [replace(link, role_id=roles[link.role_id]) for link in original.role_tools],
    )


def _mapped(ids: dict[RoleId, RoleId], identifier: RoleId | None) -> RoleId | None:
    """The new id; None for a role that was archived and so is not copied."""
    return ids.get(identifier) if identifier else None


async def add_team(unit: UnitOfWork, snapshot: TeamSnapshot) -> None:
    """Insert a whole team; its tools have to be there already. The caller commits.

    Raises NotFound, Archived, NameTaken, Invalid, and cycles, as the parts' own use cases do.
    """
    team = snapshot.team
    await asyncio.to_thread(_check, snapshot)  # many schemas take seconds
    headless = replace(team, manager_id=None)  # the manager is one of the roles that follow
    await TEAMS.enter(unit, headless, ())
    await unit.teams.add(headless)
    for role in _supervisors_first(snapshot.roles):
        await unit.roles.add(role)
    for task in snapshot.tasks:
        await unit.tasks.add(task)
    await _add_links(unit, snapshot)
    if team.manager_id:
        snapshot.team = await unit.teams.update(team)


def _check(snapshot: TeamSnapshot) -> None:
    snapshot.team.check()
    for role in snapshot.roles:
        role.check()
    for task in snapshot.tasks:
        task.check()


def _supervisors_first(roles: Sequence[Role]) -> list[Role]:
    known = {role.id: role for role in roles}
    edges = {role.id: [role.supervisor_id] if role.supervisor_id in known else [] for role in roles}
    return [known[identifier] for identifier in TopologicalSorter(edges).static_order() if identifier in known]


async def _add_links(unit: UnitOfWork, snapshot: TeamSnapshot) -> None:
    for task in snapshot.tasks:
        depends_on = [link.depends_on_id for link in snapshot.dependencies if link.task_id == task.id]
        await unit.definitions.set_dependencies(task, depends_on)
    for role in snapshot.roles:
        tool_ids = [link.tool_id for link in snapshot.role_tools if link.role_id == role.id]
        await unit.definitions.set_tools(role, tool_ids)
