"""Use cases on projects, teams, roles, tasks, tools and models: create, update, archive, restore.

What is the same for all kinds stands once, in `Editing`; what differs (who has to be unharmed, and whose
revision changes) is a `Kind`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from domain.errors import Archived, DependencyCycle, Invalid, StaleVersion, located
from domain.model.alert import MAX_ALERT_RULES, AlertRule, AlertState
from domain.model.catalogue import MOST_ENTRIES
from domain.model.credential import CredentialKind
from domain.model.identity import RoleId, TaskId, TeamId, TenantId, utc_now
from domain.model.model import Model
from domain.model.project import Project
from domain.model.role import Role, check_supervisors
from domain.model.schedule import Schedule
from domain.model.task import Task, check_dependencies
from domain.model.team import Team
from domain.model.template import Template
from domain.model.tool import Tool
from domain.ports import Repository, UnitOfWork, UnitsOfWork

Thing = TypeVar("Thing", Project, Team, Role, Task, Tool, Model, Schedule, Template, AlertRule)

MAX_PARTS = 100
"""The most roles, and the most tasks, that a team may have: these lists are not paged."""


@dataclass(frozen=True, slots=True)
class Links:
    """References to other things, replaced as a whole; None leaves them as they are."""

    tool_ids: Sequence[UUID] | None = None
    depends_on: Sequence[TaskId] | None = None


NO_LINKS = Links()


Given = Collection[str]
"""The fields that the caller gave: a reference that is given anew must not be to something archived."""

EVERYTHING: Final = frozenset({"manager_id", "supervisor_id", "role_id"})


@dataclass(frozen=True)
class Kind(Generic[Thing]):
    """What differs between kinds.

    `enter` checks that the parents are there and open, and locks what the rules span; `settle` writes links,
    checks the neighbours and forgets revisions that are out of date. `parent` is the input's name for the parent.
    """

    repository: Callable[[UnitOfWork], Repository[Thing]]
    enter: Callable[[UnitOfWork, Thing, Given], Awaitable[None]]
    settle: Callable[[UnitOfWork, Thing, Links], Awaitable[None]]
    parent: str = ""


class Editing(Generic[Thing]):
    """The use cases of one kind.

    All raise NotFound for an unknown id or reference, Invalid for broken rules, NameTaken, Archived for a
    thing (or a parent) that is archived, DependencyCycle and SupervisorCycle.
    """

    def __init__(self, units: UnitsOfWork, kind: Kind[Thing]) -> None:
        self.units = units
        self.kind: Kind[Thing] = kind

    async def create(self, thing: Thing, links: Links = NO_LINKS) -> Thing:
        thing.check()
        async with self.units(thing.tenant_id) as unit:
            with located(self.kind.parent):
                await self.kind.enter(unit, thing, EVERYTHING)
            await self.kind.repository(unit).add(thing)
            await self.kind.settle(unit, thing, links)
            await unit.commit()
        return thing

    async def update(
        self, tenant_id: TenantId, identifier: UUID, version: int, changes: Mapping[str, Any], links: Links = NO_LINKS
    ) -> Thing:
        """Change some fields; also raises StaleVersion when `version` is not the current one."""
        async with self._one(tenant_id, identifier) as (unit, current):
            if current.version != version:
                raise StaleVersion(type(current).__name__, version, current.version)
            if current.archived_at:
                raise Archived(type(current).__name__)
            return await self._save(unit, replace(current, **changes), links, changes)

    async def archive(self, tenant_id: TenantId, identifier: UUID) -> Thing:
        """Take out of use, keeping history; a thing that is archived already stays as it is."""
        async with self._one(tenant_id, identifier) as (unit, current):
            if current.archived_at:
                return current
            return await self._save(unit, replace(current, archived_at=utc_now()))

    async def restore(self, tenant_id: TenantId, identifier: UUID) -> Thing:
        """Take back into use; a thing that is not archived stays as it is."""
        async with self._one(tenant_id, identifier) as (unit, current):
            if not current.archived_at:
                return current
            return await self._save(unit, replace(current, archived_at=None))

    @asynccontextmanager
    async def _one(self, tenant_id: TenantId, identifier: UUID) -> AsyncIterator[tuple[UnitOfWork, Thing]]:
        """A unit of work and the thing as it is; what goes wrong is located at its `id`."""
        with located("id"):
            async with self.units(tenant_id) as unit:
                yield unit, await self.kind.repository(unit).get(identifier)

    async def _save(self, unit: UnitOfWork, wanted: Thing, links: Links = NO_LINKS, given: Given = ()) -> Thing:
        wanted.check()
        await self.kind.enter(unit, wanted, given)
        saved = await self.kind.repository(unit).update(wanted)
        await self.kind.settle(unit, saved, links)
        await unit.commit()
        return saved


async def _open_project(unit: UnitOfWork, project_id: UUID) -> None:
    if (await unit.projects.get(project_id)).archived_at:
        raise Archived("Project")


async def _open_team(unit: UnitOfWork, team_id: TeamId) -> None:
    """The team, locked: rules that span its parts hold while two people edit it."""
    team = await unit.definitions.lock(team_id)
    if team.archived_at:
        raise Archived("Team")


async def _enter_project(_unit: UnitOfWork, _project: Project, _given: Given) -> None:
    """A project has no parent that could be closed."""


async def _settle_project(_unit: UnitOfWork, _project: Project, _links: Links) -> None:
    """A project's own fields are in no revision."""


async def _enter_team(unit: UnitOfWork, team: Team, given: Given) -> None:
    await _open_project(unit, team.project_id)
    await _check_role(unit, team.manager_id, team.id, "managerId", is_new="manager_id" in given)


async def _check_role(unit: UnitOfWork, role_id: RoleId | None, team_id: TeamId, at: str, *, is_new: bool) -> None:
    """A reference to a role stays within the team; a new one is not to an archived role."""
    if role_id is None:
        return
    with located(at):
        role = await unit.roles.get(role_id)
        if role.team_id != team_id:
            raise Invalid.at("This has to be a role of the same team.", at)
        if is_new and role.archived_at:
            raise Archived("Role")


async def _settle_team(unit: UnitOfWork, team: Team, _links: Links) -> None:
    await unit.definitions.mark_changed([team.id])


async def _enter_role(unit: UnitOfWork, role: Role, given: Given) -> None:
    await _open_team(unit, role.team_id)
    await _check_role(unit, role.supervisor_id, role.team_id, "supervisorId", is_new="supervisor_id" in given)


async def _settle_role(unit: UnitOfWork, role: Role, links: Links) -> None:
    if links.tool_ids is not None:
        await unit.definitions.set_tools(role, links.tool_ids)
    roles = (await unit.definitions.snapshot(role.team_id)).roles
    if len(roles) > MAX_PARTS:
        raise Invalid.at(f"A team has at most {MAX_PARTS} roles.", "teamId")
    check_supervisors(roles)
    await unit.definitions.mark_changed([role.team_id])


async def _enter_task(unit: UnitOfWork, task: Task, given: Given) -> None:
    await _open_team(unit, task.team_id)
    await _check_role(unit, task.role_id, task.team_id, "roleId", is_new="role_id" in given)


async def _settle_task(unit: UnitOfWork, task: Task, links: Links) -> None:
    if links.depends_on is not None:
        if task.id in links.depends_on:
            raise DependencyCycle([task.name, task.name])
        await unit.definitions.set_dependencies(task, links.depends_on)
    snapshot = await unit.definitions.snapshot(task.team_id)
    if len(snapshot.tasks) > MAX_PARTS:
        raise Invalid.at(f"A team has at most {MAX_PARTS} tasks.", "teamId")
    check_dependencies(snapshot.tasks, snapshot.dependencies)
    await unit.definitions.mark_changed([task.team_id])


async def _enter_tool(unit: UnitOfWork, tool: Tool, given: Given) -> None:
    await _open_project(unit, tool.project_id)
    # They are marked as changed when it is written; whoever gives a role a tool has the team before the tool, too.
    for team_id in sorted(await unit.definitions.teams_using(tool.id)):
        await unit.definitions.lock(team_id)
    if "configuration" in given or tool.archived_at:
        current = await unit.tools.get(tool.id)
        # A credential is for the address that it was given for: it must not go to another one.
        if tool.archived_at or tool.configuration.get("url") != current.configuration.get("url"):
            await unit.credentials.remove_subject(CredentialKind.TOOL, str(tool.id))


async def _settle_tool(unit: UnitOfWork, tool: Tool, _links: Links) -> None:
    await unit.definitions.mark_changed(await unit.definitions.teams_using(tool.id))


async def _enter_model(unit: UnitOfWork, model: Model, given: Given) -> None:
    if model.archived_at or ("base_url" in given and model.base_url != (await unit.models.get(model.id)).base_url):
        # A key is for the server that it was given for: it must not go to another one.
        await unit.credentials.remove_subject(CredentialKind.MODEL, str(model.id))


async def _settle_model(unit: UnitOfWork, model: Model, _links: Links) -> None:
    if model.archived_at is None and await unit.models.count() > MOST_ENTRIES:
        raise Invalid.at(f"A tenant has at most {MOST_ENTRIES} entries of its own: archive some.", "name")


async def _enter_schedule(unit: UnitOfWork, schedule: Schedule, given: Given) -> None:
    team = await unit.teams.get(schedule.team_id)
    if team.archived_at and not schedule.archived_at:
        raise Archived("Team")
    schedule.set_clock(utc_now(), is_new=bool({"cron", "time_zone"} & set(given)))


async def _settle_schedule(_unit: UnitOfWork, _schedule: Schedule, _links: Links) -> None:
    """A schedule is in no revision: it does not change what runs, only when."""


async def _enter_alert_rule(unit: UnitOfWork, rule: AlertRule, given: Given) -> None:
    # One that is in use, or out of use, may be changed and disabled whatever became of what it looks at.
    if given is EVERYTHING or (rule.is_in_use and rule.due_at is None):
        await _check_scope(unit, rule)
    now = await unit.alert_rules.now()
    if not rule.is_in_use and await unit.alert_rules.close(rule, now):
        rule.state, rule.state_since = AlertState.RESOLVED, now
    rule.set_clock(now)


async def _check_scope(unit: UnitOfWork, rule: AlertRule) -> None:
    """What it looks at is there and open; of a team's rule the project is that of the team."""
    if rule.team_id is not None:
        with located("teamId"):
            team = await unit.teams.get(rule.team_id)
            if team.archived_at:
                raise Archived("Team")
        if rule.project_id not in (None, team.project_id):
            raise Invalid.at("This is not the project of the team.", "projectId")
        rule.project_id = team.project_id
    if rule.project_id is not None:
        with located("projectId"):
            await _open_project(unit, rule.project_id)


async def _settle_alert_rule(unit: UnitOfWork, rule: AlertRule, _links: Links) -> None:
    if rule.archived_at is None and await unit.alert_rules.count() > MAX_ALERT_RULES:
        raise Invalid.at(f"A tenant has at most {MAX_ALERT_RULES} alert rules: archive some.", "name")


PROJECTS = Kind[Project](lambda unit: unit.projects, _enter_project, _settle_project)
TEAMS = Kind[Team](lambda unit: unit.teams, _enter_team, _settle_team, "projectId")
ROLES = Kind[Role](lambda unit: unit.roles, _enter_role, _settle_role, "teamId")
TASKS = Kind[Task](lambda unit: unit.tasks, _enter_task, _settle_task, "teamId")
TOOLS = Kind[Tool](lambda unit: unit.tools, _enter_tool, _settle_tool, "projectId")
SCHEDULES = Kind[Schedule](lambda unit: unit.schedules, _enter_schedule, _settle_schedule, "teamId")
ALERT_RULES = Kind[AlertRule](lambda unit: unit.alert_rules, _enter_alert_rule, _settle_alert_rule)


def models_at(may_reach: Callable[[str], bool]) -> Kind[Model]:
    """Entries of the catalogue; an own server that `may_reach` refuses would only fail in every call."""

    async def enter(unit: UnitOfWork, model: Model, given: Given) -> None:
        is_new = given is EVERYTHING or "base_url" in given
        if is_new and model.base_url and not may_reach(model.base_url):
            allows = "the operator can allow it with REGATTA_ALLOWED_PRIVATE_HOSTS"
            raise Invalid.at(f"This is not on the public internet; {allows}.", "baseUrl")
        await _enter_model(unit, model, given)

    return Kind[Model](lambda unit: unit.models, enter, _settle_model)
