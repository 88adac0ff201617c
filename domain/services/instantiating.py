"""Use cases that make something of a template: a whole team, or one task of a team; what was used is noted with it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, replace
from typing import Any, Final
from uuid import UUID

from domain.errors import Archived, Invalid, Problem, located
from domain.model.blueprint import Blueprint, new_task
from domain.model.edits import NO_EDITS, Edits, edited
from domain.model.identity import PrincipalId, ProjectId, RoleId, TaskId, TeamId, TemplateId, TenantId
from domain.model.parameter_values import MAX_PARAMETER_NAME
from domain.model.parameters import filled
from domain.model.rules import Rules
from domain.model.task import Task
from domain.model.team import Team
from domain.model.template import MOST_PARAMETERS, Template, TemplateKind, TemplateUse
from domain.ports import UnitOfWork, UnitsOfWork
from domain.services.blueprints import make_team
from domain.services.editing import EVERYTHING, TASKS, Links
from domain.services.idempotency import Once
from domain.services.templates import content_of, find_template


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamRequest:
    """Which team is wanted: a version of a template (None: the newest) with these values, then these edits."""

    template_id: UUID
    project_id: ProjectId
    number: int | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    edits: Edits = NO_EDITS
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRequest:
    """Which task is wanted: as above, for a team; it waits for others of that, and a role of it does it."""

    template_id: UUID
    team_id: TeamId
    number: int | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    role_id: RoleId | None = None
    name: str | None = None
    depends_on: Sequence[TaskId] = ()


class Instantiate:
    """Nothing is half made: what was used is noted in the same transaction.

    Both raise NotFound, Archived, NameTaken, IdempotencyConflict, and Invalid with every value that is bad or missing.
    """

    def __init__(self, units: UnitsOfWork) -> None:
        self.units = units

    async def team(
        self, tenant_id: TenantId, request: TeamRequest, by: PrincipalId | None, key: str | None = None
    ) -> Team:
        """A new team in the project; the first team of the same idempotency key."""
        _check_values(request.values)
        once = Once(key, ("instantiateTemplate", *astuple(request)))
        once.check()
        async with self.units(tenant_id) as unit:
            first = await once.first(unit)
            if first is not None:
                return await unit.teams.get(first)
            template, number, blueprint = await _blueprint(unit, request, TemplateKind.TEAM)
            with _in_words_of(request):
                wanted = _wanted(blueprint, request)
                team = await make_team(unit, wanted, request.project_id, by)
            await unit.templates.add_use(_use(template, number, team.id, by))
            await once.keep(unit, team.id)
            await unit.commit()
        return team

    async def task(
        self, tenant_id: TenantId, request: TaskRequest, by: PrincipalId | None, key: str | None = None
    ) -> Task:
        """A new task of the team, behind those that it has; the first task of the same idempotency key."""
        _check_values(request.values)
        once = Once(key, ("instantiateTaskTemplate", *astuple(request)))
        once.check()
        async with self.units(tenant_id) as unit:
            first = await once.first(unit)
            if first is not None:
                return await unit.tasks.get(first)
            template, number, blueprint = await _blueprint(unit, request, TemplateKind.TASK)
            task = await _add_task(unit, blueprint, request, by)
            await unit.templates.add_use(_use(template, number, task.team_id, by, task.id))
            await once.keep(unit, task.id)
            await unit.commit()
        return task


def _check_values(values: Mapping[str, Any]) -> None:
    """Raises Invalid for values that no parameter takes, before they are read any deeper than this."""
    rules = Rules("parameters")
    for name in [name for name, value in values.items() if not _is_flat(value)][:MOST_PARAMETERS]:
        rules.refuse("A text, a number or a list of texts is expected.", name[:MAX_PARAMETER_NAME])
    rules.hold()


def _is_flat(value: Any) -> bool:
    return not any(isinstance(each, dict | list) for each in (value if isinstance(value, list) else [value]))


def _use(
    template: Template, number: int, team_id: TeamId, by: PrincipalId | None, task_id: TaskId | None = None
) -> TemplateUse:
    return TemplateUse(template.tenant_id, TemplateId(template.id), number, team_id, task_id, created_by=by)


_OTHER: Final = {
    TemplateKind.TEAM: "This template makes a team: use instantiateTemplate.",
    TemplateKind.TASK: "This template makes a task: use instantiateTaskTemplate.",
}


async def _blueprint(
    unit: UnitOfWork, request: TeamRequest | TaskRequest, kind: TemplateKind
) -> tuple[Template, int, Blueprint]:
    """The template, the number of its version, and what that makes with the values."""
    with located("templateId"):
        template = await find_template(unit, request.template_id)
        if template.archived_at:
            raise Archived("Template")
        if template.kind is not kind:
            raise Invalid.at(_OTHER[template.kind], "templateId")
    content = await content_of(unit, template, request.number)
    number = template.latest if request.number is None else request.number
    return template, number, filled(content, request.values, "parameters")


# ---------------------------------------------------------------- teams


def _wanted(blueprint: Blueprint, request: TeamRequest) -> Blueprint:
    changed = edited(blueprint, request.edits, "overrides")
    return changed if request.name is None else replace(changed, name=request.name)


@contextmanager
def _in_words_of(request: TeamRequest) -> Iterator[None]:
    """What is wrong with the team that comes of it is located in what was asked for, as well as that can be told."""
    try:
        yield
    except Invalid as error:
        raise Invalid([_told(problem, request) for problem in error.problems]) from error


def _told(problem: Problem, request: TeamRequest) -> Problem:
    """The values brought it about where nothing was edited, for the template itself keeps all rules."""
    first = problem.path[:1]
    if first in (("overrides",), ("projectId",)):
        return problem
    if first == ("name",) and request.name is not None:
        return problem
    if first == ("tools",):
        return Problem(problem.message, ("projectId",))
    if request.edits != NO_EDITS:
        return Problem(_with_place(problem), ("overrides",))
    return Problem(_with_place(problem), ("parameters",))


def _with_place(problem: Problem) -> str:
    """The message and where it is in the team, of which the request has no such part."""
    return f"{problem.message} ({'.'.join(problem.path)})"


# ---------------------------------------------------------------- tasks


async def _add_task(unit: UnitOfWork, blueprint: Blueprint, request: TaskRequest, by: PrincipalId | None) -> Task:
    [described] = blueprint.tasks
    with located("teamId"):
        team = await unit.definitions.lock(request.team_id)
        others = (await unit.definitions.snapshot(request.team_id)).tasks
    place = max((task.position for task in others), default=-1) + 1
    task = new_task(described, team, request.role_id, place, by)
    if request.name is not None:
        task.name = request.name
    _check_task(task, request)
    with located(TASKS.parent):
        await TASKS.enter(unit, task, EVERYTHING)
    await unit.tasks.add(task)
    await TASKS.settle(unit, task, Links(depends_on=request.depends_on))
    return task


def _check_task(task: Task, request: TaskRequest) -> None:
    try:
        task.check()
    except Invalid as error:
        raise Invalid(
            [
                each
                if each.path[:1] == ("name",) and request.name is not None
                else Problem(_with_place(each), ("parameters",))
                for each in error.problems
            ]
        ) from error
