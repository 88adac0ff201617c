"""Many teams as they are now, read without a unit of work, in a number of statements that does not grow with them."""

import asyncio
from collections.abc import Mapping, Sequence
from uuid import UUID

from domain.model.identity import TeamId, TenantId
from domain.model.revision import TeamSnapshot
from domain.model.role import Role
from domain.model.task import Task, TaskDependency
from domain.model.team import Team
from domain.model.tool import RoleTool, Tool
from domain.ports import Reader

_ORDER = ("position", "id")


async def team_snapshots(
    reader: Reader, tenant_id: TenantId, team_ids: Sequence[TeamId]
) -> Mapping[TeamId, TeamSnapshot]:
    """Those of the teams that there are and that are in use, in five statements, in the order of the ids."""
    teams = await reader.by_ids(Team, tenant_id, team_ids)
    found = [teams[team_id] for team_id in team_ids if team_id in teams and not teams[team_id].archived_at]
    ids = [team.id for team in found]
    roles, tasks = await asyncio.gather(
        reader.children(Role, tenant_id, "team_id", ids, _ORDER),
        reader.children(Task, tenant_id, "team_id", ids, _ORDER),
    )
    tools, waits = await asyncio.gather(
        reader.tools_by_role(tenant_id, _ids(roles)), reader.dependencies_by_task(tenant_id, _ids(tasks))
    )
    return {team.id: _snapshot(team, roles.get(team.id, ()), tasks.get(team.id, ()), tools, waits) for team in found}


def _ids(parts: Mapping[UUID, Sequence[Role | Task]]) -> list[UUID]:
    return [part.id for own in parts.values() for part in own]


def _snapshot(
    team: Team,
    roles: Sequence[Role],
    tasks: Sequence[Task],
    tools: Mapping[UUID, Sequence[Tool]],
    waits: Mapping[UUID, Sequence[Task]],
) -> TeamSnapshot:
    known = {task.id for task in tasks}
    links = [RoleTool(team.tenant_id, role.id, tool.id) for role in roles for tool in tools.get(role.id, ())]
    needs = [
        TaskDependency(team.tenant_id, team.id, task.id, other.id)
        for task in tasks
        for other in waits.get(task.id, ())
        if other.id in known  # or it was added since the tasks were read
    ]
    given = {tool.id: tool for role in roles for tool in tools.get(role.id, ())}
    return TeamSnapshot(team, list(roles), list(tasks), needs, list(given.values()), links)
