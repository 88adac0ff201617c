"""Whole teams made of blueprints, and changed until they are what one describes, on real PostgreSQL."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from domain.errors import Archived, Invalid, NameTaken, NotFound
from domain.model.blueprint import Blueprint, RoleBlueprint, TaskBlueprint, ToolBlueprint, blueprint_of
from domain.model.difference import differences
from domain.model.identity import DEFAULT_TENANT, ProjectId, TeamId, new_id, utc_now
from domain.model.project import Project
from domain.model.revision import TeamSnapshot
from domain.model.team import Process, Team
from domain.model.tool import Tool, ToolKind
from domain.services.blueprints import change_team, make_team
from persistence.engine import Database
from persistence.unit_of_work import SqlUnitsOfWork


@pytest.fixture
def units(database: Database) -> SqlUnitsOfWork:
    return SqlUnitsOfWork(database.engine)


@pytest.fixture
async def project(units: SqlUnitsOfWork) -> Project:
    made = Project(DEFAULT_TENANT, f"Project {new_id()}")
    async with units(DEFAULT_TENANT) as unit:
        await unit.projects.add(made)
        await unit.commit()
    return made


def a_blueprint(**given: Any) -> Blueprint:
    whole: dict[str, Any] = {
        "name": "Launch",
        "process": Process.HIERARCHICAL,
        "manager": "Lead",
        "roles": [
            RoleBlueprint(title="Writer", supervisor="Lead", tools=["Sums"]),
            RoleBlueprint(title="Lead"),
            RoleBlueprint(title="Critic"),
        ],
        "tasks": [
            TaskBlueprint(name="Plan", description="Plan it", expected_output="A plan", role="Lead"),
            TaskBlueprint(name="Write", description="W", expected_output="T", role="Writer", depends_on=["Plan"]),
            TaskBlueprint(name="Judge", description="J", expected_output="V", role="Critic", depends_on=["Write"]),
        ],
        "tools": [ToolBlueprint(name="Sums", kind=ToolKind.CALCULATOR)],
    }
    return Blueprint(**{**whole, **given})


async def made(units: SqlUnitsOfWork, project: Project, blueprint: Blueprint) -> Team:
    async with units(DEFAULT_TENANT) as unit:
        team = await make_team(unit, blueprint, project.id, None)
        await unit.commit()
    return team


async def changed(units: SqlUnitsOfWork, team_id: TeamId, blueprint: Blueprint) -> Team:
    async with units(DEFAULT_TENANT) as unit:
        team = await change_team(unit, team_id, blueprint, None)
        await unit.commit()
    return team


async def stored(units: SqlUnitsOfWork, team_id: TeamId) -> TeamSnapshot:
    async with units(DEFAULT_TENANT) as unit:
        return await unit.definitions.snapshot(team_id)


async def test_the_whole_team_is_there_with_a_tool_that_was_missing(units: SqlUnitsOfWork, project: Project) -> None:
    team = await made(units, project, a_blueprint())

    snapshot = await stored(units, team.id)

    assert [(each.name, each.kind) for each in snapshot.tools] == [("Sums", ToolKind.CALCULATOR)]
    found = blueprint_of(snapshot)
    assert (found.manager, found.roles[0].supervisor, found.roles[0].tools) == ("Lead", "Lead", ["Sums"])
    assert [(task.name, task.role, task.depends_on) for task in found.tasks] == [
        ("Plan", "Lead", []),
        ("Write", "Writer", ["Plan"]),
        ("Judge", "Critic", ["Write"]),
    ]


async def test_a_tool_that_the_project_has_is_used_as_it_is(units: SqlUnitsOfWork, project: Project) -> None:
    own = Tool(DEFAULT_TENANT, project.id, "Sums", ToolKind.FILE_READER)
    async with units(DEFAULT_TENANT) as unit:
        await unit.tools.add(own)
        await unit.commit()

    team = await made(units, project, a_blueprint())

    assert [tool.id for tool in (await stored(units, team.id)).tools] == [own.id]


async def test_of_several_that_lack_the_same_tools_at_once_each_gets_its_team(
    units: SqlUnitsOfWork, project: Project, database: Database
) -> None:
    tools = [ToolBlueprint(name=name, kind=ToolKind.CALCULATOR) for name in ("Sums", "Counts")]
    roles = [RoleBlueprint(title="Writer", tools=["Counts", "Sums"])]

    async def make(place: int) -> Team:
        turned = tools if place % 2 else tools[::-1]
        return await made(units, project, Blueprint(name=f"Team {place}", roles=roles, tools=turned))

    teams = await asyncio.gather(*(make(place) for place in range(6)))

    assert await database.pool.fetchval("SELECT count(*) FROM tool") == 2
    for team in teams:
        assert {tool.name for tool in (await stored(units, team.id)).tools} == {"Sums", "Counts"}


async def test_a_team_of_an_archived_project_is_not_changed(units: SqlUnitsOfWork, project: Project) -> None:
    team = await made(units, project, a_blueprint())
    async with units(DEFAULT_TENANT) as unit:
        await unit.projects.update(replace(project, archived_at=utc_now()))
        await unit.commit()

    with pytest.raises(Archived) as refused:
        await changed(units, team.id, a_blueprint(description="Another"))

    assert str(refused.value) == str(Archived("Project"))


async def test_a_tool_that_reaches_elsewhere_is_never_made(
    units: SqlUnitsOfWork, project: Project, database: Database
) -> None:
    server = ToolBlueprint(name="Sums", kind=ToolKind.MCP_SERVER, configuration={"url": "https://mcp.example.org/"})

    with pytest.raises(Invalid) as caught:
        await made(units, project, a_blueprint(tools=[server]))

    assert caught.value.problems[0].path == ("tools", "0", "name")
    assert await database.pool.fetchval("SELECT count(*) FROM team") == 0


async def test_a_project_that_is_archived_or_a_strangers_gets_no_team(units: SqlUnitsOfWork, project: Project) -> None:
    with pytest.raises(NotFound):
        await made(units, replace(project, id=ProjectId(new_id())), a_blueprint())
    async with units(DEFAULT_TENANT) as unit:
        await unit.projects.update(replace(project, archived_at=utc_now()))
        await unit.commit()
    with pytest.raises(Archived):
        await made(units, project, a_blueprint())


async def test_a_team_becomes_what_the_blueprint_describes_and_its_parts_stay_the_same_things(
    units: SqlUnitsOfWork, project: Project
) -> None:
    team = await made(units, project, a_blueprint())
    before = await stored(units, team.id)
    wanted = a_blueprint(
        name="Relaunch",
        process=Process.PARALLEL,
        manager=None,
        monthly_budget=Decimal(3),
        roles=[
            RoleBlueprint(title="Writer", supervisor="Editor", skills=["copywriting"]),
            RoleBlueprint(title="Editor", tools=["Sums"]),
            RoleBlueprint(title="Critic"),
        ],
        tasks=[
            TaskBlueprint(name="Write", description="Write!", expected_output="T", role="Writer"),
            TaskBlueprint(name="Edit", description="E", expected_output="X", role="Editor", depends_on=["Write"]),
            TaskBlueprint(name="Judge", description="J", expected_output="V", depends_on=["Edit", "Write"]),
        ],
    )

    await changed(units, team.id, wanted)

    after = await stored(units, team.id)
    assert differences(blueprint_of(after), _with_texts(wanted, blueprint_of(after))) == []
    ids = {role.title: role.id for role in before.roles}
    assert {role.title: role.id for role in after.roles if role.title in ids} == {
        title: ids[title] for title in ("Writer", "Critic")
    }
    kept = {task.name: task.id for task in before.tasks}
    assert {task.name: task.id for task in after.tasks if task.name in kept} == {
        name: kept[name] for name in ("Write", "Judge")
    }
    assert after.team.version == before.team.version + 1


def _with_texts(wanted: Blueprint, found: Blueprint) -> Blueprint:
    """The wanted team with the goals and backstories that are written where none are given."""
    texts = {role.title: {"goals": role.goals, "backstory": role.backstory} for role in found.roles}
    roles = [replace(role, **texts[role.title]) for role in wanted.roles]  # type: ignore[arg-type]
    tasks = [replace(task, depends_on=sorted(task.depends_on)) for task in wanted.tasks]
    return replace(wanted, roles=roles, tasks=tasks)


async def test_a_team_that_is_that_already_stays_untouched(units: SqlUnitsOfWork, project: Project) -> None:
    team = await made(units, project, a_blueprint())
    before = await stored(units, team.id)

    await changed(units, team.id, blueprint_of(before))

    after = await stored(units, team.id)
    assert (after.team.version, after.roles, after.tasks) == (before.team.version, before.roles, before.tasks)


async def test_a_change_that_cannot_be_made_changes_nothing(units: SqlUnitsOfWork, project: Project) -> None:
    await made(units, project, a_blueprint(name="Taken"))
    team = await made(units, project, a_blueprint())

    with pytest.raises(NameTaken):
        await changed(units, team.id, a_blueprint(name="Taken", tasks=[]))

    assert [task.name for task in (await stored(units, team.id)).tasks] == ["Plan", "Write", "Judge"]


async def test_roles_that_share_a_title_keep_it_when_the_team_is_changed(
    units: SqlUnitsOfWork, project: Project
) -> None:
    team = await made(units, project, a_blueprint(roles=[RoleBlueprint(title="Lead"), *_numbered("Writer")], tasks=[]))
    async with units(DEFAULT_TENANT) as unit:
        last = (await unit.definitions.snapshot(team.id)).roles[-1]
        await unit.roles.update(replace(last, title="Writer"))
        await unit.commit()
    before = await stored(units, team.id)
    seen = blueprint_of(before)

    await changed(units, team.id, replace(seen, description="Another one."))

    after = await stored(units, team.id)
    assert [role.title for role in seen.roles] == ["Lead", "Writer", "Writer (2)"]
    assert [(role.id, role.title) for role in after.roles] == [(role.id, role.title) for role in before.roles]
    assert after.team.description == "Another one."


def _numbered(title: str) -> list[RoleBlueprint]:
    return [RoleBlueprint(title=title), RoleBlueprint(title=f"{title} two")]


async def test_a_tool_of_the_project_needs_no_description(units: SqlUnitsOfWork, project: Project) -> None:
    own = Tool(DEFAULT_TENANT, project.id, "Sums", ToolKind.CALCULATOR)
    async with units(DEFAULT_TENANT) as unit:
        await unit.tools.add(own)
        await unit.commit()

    team = await made(units, project, a_blueprint(tools=[]))
    await changed(units, team.id, a_blueprint(tools=[], description="The same, said again"))

    assert [tool.id for tool in (await stored(units, team.id)).tools] == [own.id]
    with pytest.raises(Invalid, match="No tool has this name"):
        await made(
            units, project, a_blueprint(name="Other", tools=[], roles=[RoleBlueprint(title="Lead", tools=["X"])])
        )
