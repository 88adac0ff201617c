"""Edits and kickoffs at the same moment: what runs is what was committed."""

import asyncio
from dataclasses import replace
from typing import Any

from domain.model.identity import DEFAULT_TENANT
from domain.model.project import Project
from domain.model.role import Role
from domain.model.team import Process, Team
from domain.model.tool import Tool, ToolKind
from domain.services.editing import PROJECTS, ROLES, TEAMS, TOOLS, Editing, Links
from domain.services.executions import current_revision
from persistence.engine import Database
from persistence.unit_of_work import SqlUnitsOfWork
from tests.support.worlds import waiting


async def a_team(units: SqlUnitsOfWork) -> tuple[Team, Role, Tool]:
    project = await Editing(units, PROJECTS).create(Project(DEFAULT_TENANT, "Project"))
    team = await Editing(units, TEAMS).create(Team(DEFAULT_TENANT, project.id, "Team"))
    role = await Editing(units, ROLES).create(Role(DEFAULT_TENANT, team.id, "Analyst"))
    tool = Tool(DEFAULT_TENANT, project.id, "Server", ToolKind.MCP_SERVER, configuration={"url": "http://old.example"})
    return team, role, await Editing(units, TOOLS).create(tool)


async def configuration_at_a_kickoff(units: SqlUnitsOfWork, team: Team) -> Any:
    async with units(DEFAULT_TENANT) as unit:
        _, snapshot = await current_revision(unit, await unit.teams.get(team.id))
        await unit.commit()
    return [tool.configuration for tool in snapshot.tools]


async def test_a_role_that_takes_up_a_tool_during_its_edit_runs_the_edited_tool(database: Database) -> None:
    units = SqlUnitsOfWork(database.engine)
    team, role, tool = await a_team(units)

    async with units(DEFAULT_TENANT) as editing:
        edited = await editing.tools.update(replace(tool, configuration={"url": "http://new.example"}))
        linking = asyncio.create_task(
            Editing(units, ROLES).update(DEFAULT_TENANT, role.id, role.version, {}, Links(tool_ids=[tool.id]))
        )
        await waiting(database)
        kickoff = asyncio.create_task(configuration_at_a_kickoff(units, team))
        await waiting(database, 2)
        await TOOLS.settle(editing, edited, Links())
        await editing.commit()
    await linking

    assert await kickoff == [{"url": "http://new.example"}]
    assert await configuration_at_a_kickoff(units, team) == [{"url": "http://new.example"}]


async def test_a_kickoff_that_waits_for_an_edit_sees_it(database: Database) -> None:
    units = SqlUnitsOfWork(database.engine)
    team, _, _ = await a_team(units)

    async with units(DEFAULT_TENANT) as editing, units(DEFAULT_TENANT) as kickoff:
        await editing.teams.update(replace(await editing.teams.get(team.id), process=Process.HIERARCHICAL))
        before = await kickoff.teams.get(team.id)
        revising = asyncio.create_task(current_revision(kickoff, before))
        await waiting(database)
        await editing.commit()
        _, snapshot = await revising

    assert (before.process, snapshot.team.process) == (Process.SEQUENTIAL, Process.HIERARCHICAL)
