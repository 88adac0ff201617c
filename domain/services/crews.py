"""Use cases that move crews in from CrewAI's own files and out again."""

import asyncio
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from domain.errors import located
from domain.model.blueprint import blueprint_of
from domain.model.crew_files import AGENTS, TASKS, CrewFiles, Unrepresented, parse_crew, render_crew
from domain.model.identity import PrincipalId, ProjectId, TeamId, TenantId
from domain.model.page import Condition, Operator, PageRequest
from domain.model.revision import TeamSnapshot
from domain.model.role import Role
from domain.model.rules import Rules
from domain.model.task import Task
from domain.model.team import Team
from domain.model.tool import Tool
from domain.ports import Reader, UnitsOfWork
from domain.services.copies import add_team
from domain.services.editing import MAX_PARTS
from domain.services.templates import Weigh, weight_of

MOST_TOOLS: Final = 2_000
"""So many tools of a project are looked at, by name; more are not matched."""

_TOOLS: Final = PageRequest(
    first=100,
    order_by="name",
    descending=False,
    conditions=(Condition("archived_at", Operator.IS_NULL, value=True),),
)


@dataclass(frozen=True, slots=True)
class CrewImport:
    """The team that was made, and what of the files it cannot represent."""

    team: Team
    unrepresented: list[Unrepresented]


class ImportCrew:
    """Makes a team of `agents.yaml` and `tasks.yaml`. Tools are matched by the names of the project's tools."""

    def __init__(self, units: UnitsOfWork, reader: Reader) -> None:
        self.units = units
        self.reader = reader

    async def __call__(
        self,
        tenant_id: TenantId,
        project_id: UUID,
        name: str,
        agents_yaml: str,
        tasks_yaml: str,
        by: PrincipalId | None = None,
    ) -> CrewImport:
        """Raises Invalid, NotFound for the project, Archived, NameTaken, DependencyCycle."""
        tools = await self._tools(tenant_id, project_id)
        parsed = parse_crew(agents_yaml, tasks_yaml, tenant_id, ProjectId(project_id), name, tools)
        _check_size(parsed.snapshot)
        made: list[Team | Role | Task] = [parsed.snapshot.team, *parsed.snapshot.roles, *parsed.snapshot.tasks]
        for thing in made:
            thing.created_by = by
        async with self.units(tenant_id) as unit:
            with located("projectId"):
                await add_team(unit, parsed.snapshot)
            await unit.commit()
        return CrewImport(parsed.snapshot.team, list(parsed.unrepresented))

    async def _tools(self, tenant_id: TenantId, project_id: UUID) -> list[Tool]:
        """The tools of the project. Not the first page alone: it cannot tell whether a name means one of them only."""
        found: list[Tool] = []
        wanted = _TOOLS
        while True:
            page = (await self.reader.pages(Tool, tenant_id, "project_id", [project_id], wanted))[project_id]
            found += page.items
            if not page.has_next or len(found) >= MOST_TOOLS:
                return found
            wanted = replace(wanted, after=page.cursors[-1])


def _check_size(snapshot: TeamSnapshot) -> None:
    rules = Rules()
    rules.require(len(snapshot.roles) <= MAX_PARTS, f"A team has at most {MAX_PARTS} roles.", AGENTS)
    rules.require(len(snapshot.tasks) <= MAX_PARTS, f"A team has at most {MAX_PARTS} tasks.", TASKS)
    rules.hold()


class ExportCrew:
    """Writes a team as `agents.yaml` and `tasks.yaml`."""

    def __init__(self, units: UnitsOfWork) -> None:
        self.units = units

    async def __call__(self, tenant_id: TenantId, team_id: UUID, *, weigh: Weigh) -> CrewFiles:
        """Raises NotFound. Of the largest team it takes seconds, and is done in a thread."""
        async with self.units(tenant_id) as unit:
            snapshot = await unit.definitions.snapshot(TeamId(team_id))
        weigh(weight_of(blueprint_of(snapshot)))
        return await asyncio.to_thread(render_crew, snapshot)
