"""Use cases on blueprints: making a whole team of one, and changing a team until it is what one describes."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any, Final

from domain.errors import Archived, Busy, Invalid, located
from domain.model.blueprint import MOST_PARTS, Blueprint, new_tool, snapshot_of, titles_of, with_tools
from domain.model.identity import PrincipalId, ProjectId, RoleId, TaskId, TeamId, utc_now
from domain.model.revision import TeamSnapshot
from domain.model.team import Team
from domain.model.tool import REPEATABLE, Tool
from domain.ports import UnitOfWork
from domain.services.copies import add_team


async def tools_named(unit: UnitOfWork, project_id: ProjectId, names: Iterable[str]) -> Mapping[str, Tool]:
    """The tools of the project that are called so and in use, by name."""
    wanted = list(dict.fromkeys(names))
    return {tool.name: tool for tool in await unit.definitions.tools_named(project_id, wanted)} if wanted else {}


async def completed(unit: UnitOfWork, project_id: ProjectId, blueprint: Blueprint) -> Blueprint:
    """The blueprint that also describes the project's tools that its roles name and it says nothing of."""
    missing = {name for role in blueprint.roles for name in role.tools} - {tool.name for tool in blueprint.tools}
    known = await tools_named(unit, project_id, sorted(missing)[:MOST_PARTS])
    return with_tools(blueprint, known.values())


async def make_team(
    unit: UnitOfWork, blueprint: Blueprint, project_id: ProjectId, by: PrincipalId | None, at: str = "projectId"
) -> Team:
    """Add the whole team to the project; the caller commits. What is wrong with the project is located `at`.

    Tools are the project's ones by name; those that it lacks are made where their kind can do no harm.

    Raises NotFound, Archived, NameTaken, Invalid.
    """
    blueprint = await completed(unit, project_id, blueprint)
    await asyncio.to_thread(blueprint.check)  # many schemas take seconds
    with located(at):
        if (await unit.projects.get(project_id)).archived_at:
            raise Archived("Project")
    tools = await _tools_for(unit, project_id, blueprint, by)
    snapshot = snapshot_of(blueprint, unit.tenant_id, project_id, tools, by)
    await add_team(unit, snapshot)
    return snapshot.team


async def _tools_for(
    unit: UnitOfWork, project_id: ProjectId, blueprint: Blueprint, by: PrincipalId | None
) -> Mapping[str, Tool]:
    """The tools that roles of the blueprint use, by name. Raises Invalid for one that is neither there nor harmless.

    The project's one of a name is taken whatever its kind: who named it so decided what its teams are given.
    """
    used = {name for role in blueprint.roles for name in role.tools}
    known = dict(await tools_named(unit, project_id, sorted(used)))
    missing: dict[str, Tool] = {}
    for place, tool in enumerate(blueprint.tools):
        if tool.name not in used or tool.name in known:
            continue
        if tool.kind not in REPEATABLE:
            # Whose server it asks, or which code it runs, somebody decides who makes the tool himself.
            message = f"The project has no tool “{tool.name}”: make this {tool.kind.value} first."
            raise Invalid.at(message, "tools", str(place), "name")
        missing[tool.name] = new_tool(tool, unit.tenant_id, project_id, by)
    return {**known, **await _added(unit, project_id, missing)}


async def _added(unit: UnitOfWork, project_id: ProjectId, tools: Mapping[str, Tool]) -> Mapping[str, Tool]:
    """The tools, which are made; where somebody else was faster, the ones that he made."""
    if not tools:
        return {}
    # In one order, so that of two that make the same tools neither waits for the other.
    await unit.definitions.add_missing_tools([tools[name] for name in sorted(tools)])
    made = await tools_named(unit, project_id, sorted(tools))
    if len(made) < len(tools):
        raise Busy("Somebody archives a tool that the team needs.")
    return made


# ---------------------------------------------------------------- changing a team


async def change_team(unit: UnitOfWork, team_id: TeamId, blueprint: Blueprint, by: PrincipalId | None) -> Team:
    """Let the team be what the blueprint describes: parts of the same title or name keep their ids and history.

    What the blueprint lacks is archived. The caller commits. Raises NotFound, Archived, NameTaken, Invalid.
    """
    team = await unit.definitions.lock(team_id)
    blueprint = await completed(unit, team.project_id, blueprint)
    await asyncio.to_thread(blueprint.check)  # many schemas take seconds
    if team.archived_at:
        raise Archived("Team")
    if (await unit.projects.get(team.project_id)).archived_at:
        raise Archived("Project")
    tools = await _tools_for(unit, team.project_id, blueprint, by)
    present = await unit.definitions.snapshot(team_id)
    wanted = snapshot_of(blueprint, unit.tenant_id, team.project_id, tools, by)
    await _Change(unit, present, _with_ids_of(present, wanted)).carry_out()
    await unit.definitions.mark_changed([team_id])
    return await unit.teams.get(team_id)


_OWN: Final = frozenset(
    {
        "tenant_id",
        "project_id",
        "team_id",
        "id",
        "version",
        "created_at",
        "updated_at",
        "created_by",
        "archived_at",
        "revision_id",
    }
)
"""What a part keeps, whatever it becomes."""


def _with_ids_of(present: TeamSnapshot, wanted: TeamSnapshot) -> TeamSnapshot:
    """The wanted team, where its parts are those of the same title or name that are there already."""
    titles = {title: role_id for role_id, title in titles_of(present.roles).items()}
    called = {role.id: role.title for role in present.roles}  # of some that share a title all but one are numbered
    names = {task.name: task.id for task in present.tasks}
    roles = {role.id: titles.get(role.title, role.id) for role in wanted.roles}
    tasks = {task.id: names.get(task.name, task.id) for task in wanted.tasks}
    team_id = present.team.id
    return TeamSnapshot(
        replace(wanted.team, id=team_id, manager_id=_of(roles, wanted.team.manager_id)),
        [
            replace(
                role,
                id=roles[role.id],
                team_id=team_id,
                title=called.get(roles[role.id], role.title),
                supervisor_id=_of(roles, role.supervisor_id),
            )
            for role in wanted.roles
        ],
        [replace(task, id=tasks[task.id], team_id=team_id, role_id=_of(roles, task.role_id)) for task in wanted.tasks],
        [
            replace(link, team_id=team_id, task_id=tasks[link.task_id], depends_on_id=tasks[link.depends_on_id])
            for link in wanted.dependencies
        ],
        wanted.tools,
        [replace(link, role_id=roles[link.role_id]) for link in wanted.role_tools],
    )


def _of(ids: Mapping[RoleId, RoleId], identifier: RoleId | None) -> RoleId | None:
    return None if identifier is None else ids[identifier]


class _Change:
    """From the team as it is to the team that is wanted, in an order in which nothing refers to what is not there."""

    def __init__(self, unit: UnitOfWork, present: TeamSnapshot, wanted: TeamSnapshot) -> None:
        self.unit = unit
        self.present = present
        self.wanted = wanted
        self.roles = {role.id: role for role in present.roles}
        self.tasks = {task.id: task for task in present.tasks}

    async def carry_out(self) -> None:
        await self._archive_tasks()
        await self._write_roles()
        await self._write_tasks()
        await self._link()
        if values := _changes(self.present.team, self.wanted.team):
            await self.unit.teams.update(replace(self.present.team, **values))
        for role in self.present.roles:  # last: until here something may still refer to them
            if role.id not in {kept.id for kept in self.wanted.roles}:
                await self.unit.roles.update(replace(role, archived_at=utc_now(), supervisor_id=None))

    async def _archive_tasks(self) -> None:
        kept = {task.id for task in self.wanted.tasks}
        for task in self.present.tasks:
            if task.id not in kept:
                await self.unit.tasks.update(replace(task, archived_at=utc_now()))

    async def _write_roles(self) -> None:
        for role in self.wanted.roles:
            if role.id not in self.roles:
                self.roles[role.id] = replace(role, supervisor_id=None)  # who may come later
                await self.unit.roles.add(self.roles[role.id])
        for role in self.wanted.roles:
            if values := _changes(self.roles[role.id], role):
                await self.unit.roles.update(replace(self.roles[role.id], **values))

    async def _write_tasks(self) -> None:
        for task in self.wanted.tasks:
            if task.id not in self.tasks:
                await self.unit.tasks.add(task)
            elif values := _changes(self.tasks[task.id], task):
                await self.unit.tasks.update(replace(self.tasks[task.id], **values))

    async def _link(self) -> None:
        before, after = _waits(self.present), _waits(self.wanted)
        for task in self.wanted.tasks:
            if before.get(task.id, set()) != after.get(task.id, set()):
                await self.unit.definitions.set_dependencies(task, sorted(after.get(task.id, ())))
        for role in self.wanted.roles:
            had = {tool.id for tool in self.present.tools_of(role)}
            has = {tool.id for tool in self.wanted.tools_of(role)}
            if had != has:
                await self.unit.definitions.set_tools(role, sorted(has))


def _changes(before: Any, after: Any) -> dict[str, Any]:
    """The fields in which the wanted thing differs, with what they are to become."""
    names = [item.name for item in fields(after) if item.name not in _OWN]
    return {name: getattr(after, name) for name in names if getattr(before, name) != getattr(after, name)}


def _waits(snapshot: TeamSnapshot) -> dict[TaskId, set[TaskId]]:
    found: dict[TaskId, set[TaskId]] = {}
    for link in snapshot.dependencies:
        found.setdefault(link.task_id, set()).add(link.depends_on_id)
    return found
