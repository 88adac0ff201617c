"""What belongs to a team beyond its own row: its parts as one snapshot, links between them, revisions."""

from collections.abc import Sequence
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Column, Table, delete, func, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import NotFound
from domain.model.identity import ProjectId, RevisionId, TaskId, TeamId, TenantId, ToolId
from domain.model.revision import TeamRevision, TeamSnapshot
from domain.model.role import Role
from domain.model.task import Task, TaskDependency
from domain.model.team import Team
from domain.model.tool import RoleTool, Tool
from persistence import tables
from persistence.errors import translated
from persistence.mapping import builder_of, columns_of, values_of

E = TypeVar("E")


class TeamDefinitionsTable:
    """See `domain.ports.TeamDefinitions`."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self.connection = connection
        self.tenant_id = tenant_id

    async def lock(self, team_id: TeamId) -> Team:
        teams = await self._all(Team, tables.team.c.id == team_id, lock=True)
        if not teams:
            raise NotFound("Team", team_id)
        return teams[0]

    async def snapshot(self, team_id: TeamId) -> TeamSnapshot:
        teams = await self._all(Team, tables.team.c.id == team_id)
        if not teams:
            raise NotFound("Team", team_id)
        roles = await self._all(Role, tables.role.c.team_id == team_id, tables.role.c.archived_at.is_(None))
        tasks = await self._all(Task, tables.task.c.team_id == team_id, tables.task.c.archived_at.is_(None))
        links = await self._all(RoleTool, tables.role_tool.c.role_id.in_([role.id for role in roles]))
        wanted = tables.tool.c.id.in_({link.tool_id for link in links})
        tools = await self._all(Tool, wanted, tables.tool.c.archived_at.is_(None))
        known = {tool.id for tool in tools}
        return TeamSnapshot(
            teams[0],
            sorted(roles, key=lambda role: (role.position, role.id)),
            sorted(tasks, key=lambda task: (task.position, task.id)),
            await self._dependencies(team_id, {task.id for task in tasks}),
            sorted(tools, key=lambda tool: tool.id),
            sorted((link for link in links if link.tool_id in known), key=lambda link: (link.role_id, link.tool_id)),
        )

    async def _dependencies(self, team_id: TeamId, known: set[TaskId]) -> list[TaskDependency]:
        found = await self._all(TaskDependency, tables.task_dependency.c.team_id == team_id)
        kept = [link for link in found if link.task_id in known and link.depends_on_id in known]
        return sorted(kept, key=lambda link: (link.task_id, link.depends_on_id))

    async def _all(self, kind: type[E], *conditions: Any, lock: bool = False) -> list[E]:
        table = tables.TABLES[kind]
        statement = select(*columns_of(kind)).where(table.c.tenant_id == self.tenant_id, *conditions)
        if lock:
            statement = statement.with_for_update(key_share=True)
        build = builder_of(kind)
        return [build(row) for row in await self.connection.execute(statement)]

    async def mark_changed(self, team_ids: Sequence[TeamId]) -> None:
        for team_id in sorted(team_ids):  # in one order, so that two edits cannot wait for each other
            await self.connection.execute(
                update(tables.team)
                .where(tables.team.c.tenant_id == self.tenant_id, tables.team.c.id == team_id)
                .values(revision_id=None)
            )

    async def teams_using(self, tool_id: UUID) -> Sequence[TeamId]:
        link, role = tables.role_tool, tables.role
        statement = (
            select(role.c.team_id)
            .distinct()
            .join(link, (link.c.tenant_id == role.c.tenant_id) & (link.c.role_id == role.c.id))
            .where(role.c.tenant_id == self.tenant_id, link.c.tool_id == tool_id)
        )
        return [TeamId(found) for found in await self.connection.scalars(statement)]

    async def set_dependencies(self, task: Task, depends_on: Sequence[TaskId]) -> None:
        unique = list(dict.fromkeys(depends_on))
        await self._require(tables.task, "Task", "dependsOn", depends_on, tables.task.c.team_id == task.team_id)
        links = [TaskDependency(self.tenant_id, task.team_id, task.id, other) for other in unique]
        table = tables.task_dependency
        await self._replace(table, table.c.task_id == task.id, table.c.depends_on_id, links)

    async def set_tools(self, role: Role, tool_ids: Sequence[UUID]) -> None:
        unique = list(dict.fromkeys(tool_ids))
        project = (
            select(tables.team.c.project_id)
            .where(tables.team.c.tenant_id == self.tenant_id, tables.team.c.id == role.team_id)
            .scalar_subquery()
        )
        await self._require(tables.tool, "Tool", "toolIds", tool_ids, tables.tool.c.project_id == project)
        links = [RoleTool(self.tenant_id, role.id, ToolId(tool_id)) for tool_id in unique]
        table = tables.role_tool
        await self._replace(table, table.c.role_id == role.id, table.c.tool_id, links)

    async def _require(self, table: Table, kind: str, name: str, ids: Sequence[UUID], scope: Any) -> None:
        """Raises NotFound for an id that is not in the scope; locks what it finds against edits.

        An edit that is under way is waited for, and one that follows sees the new link when it looks for revisions
        to forget.
        """
        if not ids:
            return
        conditions = (table.c.tenant_id == self.tenant_id, table.c.id.in_(ids), table.c.archived_at.is_(None), scope)
        statement = select(table.c.id).where(*conditions).order_by(table.c.id).with_for_update(read=True)
        found = set(await self.connection.scalars(statement))
        for index, identifier in enumerate(ids):
            if identifier not in found:
                raise NotFound(kind, identifier).under(name, str(index))

    async def _replace(
        self, table: Table, scope: Any, target: Column[UUID], links: Sequence[TaskDependency | RoleTool]
    ) -> None:
        """What stays is not touched: the audit tells of every link that goes or comes."""
        rows = [values_of(link) for link in links]
        others = target.not_in([row[target.name] for row in rows])
        await self.connection.execute(delete(table).where(table.c.tenant_id == self.tenant_id, scope, others))
        if rows:
            with translated():
                await self.connection.execute(postgresql.insert(table).on_conflict_do_nothing(), rows)

    async def tools_named(self, project_id: ProjectId, names: Sequence[str]) -> Sequence[Tool]:
        tool = tables.tool
        conditions = (tool.c.project_id == project_id, tool.c.name.in_(names), tool.c.archived_at.is_(None))
        return await self._all(Tool, *conditions)

    async def add_missing_tools(self, tools: Sequence[Tool]) -> None:
        statement = postgresql.insert(tables.tool).on_conflict_do_nothing()
        with translated():
            for tool in tools:
                await self.connection.execute(statement.values(values_of(tool)))

    async def find_revision(self, revision_id: RevisionId) -> TeamRevision | None:
        found = await self._all(TeamRevision, tables.team_revision.c.id == revision_id)
        return found[0] if found else None

    async def keep_revision(self, team_id: TeamId, content: str, content_hash: str) -> RevisionId:
        table = tables.team_revision
        same = (table.c.team_id == team_id, table.c.content_hash == content_hash)
        found = await self._all(TeamRevision, *same)
        revision = found[0] if found else await self._add_revision(team_id, content, content_hash)
        await self.connection.execute(
            update(tables.team)
            .where(tables.team.c.tenant_id == self.tenant_id, tables.team.c.id == team_id)
            .values(revision_id=revision.id)
        )
        return revision.id

    async def _add_revision(self, team_id: TeamId, content: str, content_hash: str) -> TeamRevision:
        table = tables.team_revision
        highest = select(func.coalesce(func.max(table.c.number), 0)).where(
            table.c.tenant_id == self.tenant_id, table.c.team_id == team_id
        )
        number = (await self.connection.execute(highest)).scalar_one()
        revision = TeamRevision(self.tenant_id, team_id, number + 1, content, content_hash)
        await self.connection.execute(postgresql.insert(table).values(values_of(revision)))
        return revision
