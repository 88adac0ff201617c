"""Templates in the graph: their list, what changes them, and what is made of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import strawberry

from domain.errors import Invalid, NotFound
from domain.model.blueprint import Blueprint
from domain.model.identity import ProjectId, RoleId, TaskId, TeamId
from domain.model.listing import ORDER
from domain.model.parameter_finding import ParameterProposal
from domain.model.rules import MAX_ITEMS
from domain.model.task import Task
from domain.model.team import Team
from domain.model.template import MOST_PARAMETERS, Parameter, ParameterType, Template, TemplateContent, TemplateKind
from domain.services.instantiating import TaskRequest, TeamRequest
from domain.services.templates import Change, Replaced, Saved
from resolvers.blueprints import blueprint_from, edits_from, task_from
from resolvers.context import Info
from resolvers.edges import Paged, asks_for, with_page_arguments
from resolvers.inputs import ArchiveInput, DuplicateInput, RestoreInput, given
from resolvers.node_ids import uuid_of
from resolvers.template_inputs import (
    ORDER_TEXT,
    CreateTemplateInput,
    ImportTemplateInput,
    InstantiateTaskTemplateInput,
    InstantiateTemplateInput,
    ReplacedValueInput,
    SaveTeamAsTemplateInput,
    TemplateFilter,
    TemplateOrder,
    TemplateParameterInput,
    UpdateTemplateInput,
)
from resolvers.template_loaders import TemplatesByTenant

# ---------------------------------------------------------------- queries

_PAGED = Paged(TemplatesByTenant, "id", hides_archived=True, order_by=ORDER, descending=False)


async def _templates(root: Any, info: Any, **arguments: Any) -> Any:  # noqa: ARG001 - a root field has no parent
    request = _PAGED.request(arguments, with_total=asks_for(info._raw_info, "totalCount"))  # noqa: SLF001 - the AST
    info.context.budget.promise(request.first)
    return await info.context.load(_PAGED.path, (info.context.tenant_id, request))


templates = with_page_arguments(_templates, TemplateFilter, TemplateOrder, ORDER_TEXT)

_Id = Annotated[strawberry.ID, strawberry.argument(description="The template.")]
_Number = Annotated[int | None, strawberry.argument(description="The number of a version; the newest without one.")]
_Team = Annotated[strawberry.ID, strawberry.argument(description="The team.")]


async def exported_template(info: Info, id: _Id, number: _Number = None) -> str | None:  # noqa: A002 - the graph's name
    context = info.context
    try:
        return await context.services.templates.exported(
            context.tenant_id, uuid_of("Template", id), number, weigh=context.budget.judge
        )
    except NotFound:
        return None


async def parameter_proposals(info: Info, team_id: _Team) -> Sequence[ParameterProposal] | None:
    context = info.context
    try:
        return await context.services.templates.proposals(
            context.tenant_id, uuid_of("Team", team_id), weigh=context.budget.judge
        )
    except NotFound:
        return None


# ---------------------------------------------------------------- making and changing templates

_PARTS = ("parameters", "blueprint", "task")


async def create_template(info: Info, input: CreateTemplateInput) -> Template:  # noqa: A002 - the graph's name, as below
    context = info.context
    values = given(input, without=_PARTS)
    blueprint, kind = _blueprint(input, input.name)
    if blueprint is None or kind is None:
        raise Invalid.at("A blueprint, or a task, is required.", "blueprint")
    template = Template(context.tenant_id, **values, kind=kind, created_by=context.principal_id)
    content = TemplateContent(parameters=_parameters(input.parameters) or [], blueprint=blueprint)
    return await context.services.templates.create(template, content)


async def update_template(info: Info, input: UpdateTemplateInput) -> Template:  # noqa: A002
    context = info.context
    identifier = uuid_of("Template", input.id, "id")
    fields = given(input, without=("id", "version", *_PARTS))
    blueprint, kind = _blueprint(input, "task")
    change = Change(fields, _parameters(input.parameters), blueprint, kind)
    return await context.services.templates.update(
        context.tenant_id, identifier, input.version, change, context.principal_id
    )


def _blueprint(
    source: CreateTemplateInput | UpdateTemplateInput, name: str
) -> tuple[Blueprint, TemplateKind] | tuple[None, None]:
    """What is given, and of which kind that is; a task's blueprint has this name, which nobody sees."""
    if source.blueprint and source.task:
        raise Invalid.at("Either a blueprint or a task.", "task")
    if source.blueprint:
        return blueprint_from(source.blueprint, "blueprint"), TemplateKind.TEAM
    if source.task:
        return Blueprint(name=name, tasks=[task_from(source.task, "task")]), TemplateKind.TASK
    return None, None


_NULLABLE = frozenset({"default", "least", "most", "pattern"})


def _parameters(values: Sequence[TemplateParameterInput] | None) -> list[Parameter] | None:
    """The parameters; None where none are given, which is not the same as an empty list."""
    if values is strawberry.UNSET or values is None:
        return None
    _check_count(values)
    return [
        Parameter(**given(each, nullable=_NULLABLE, under=("parameters", str(place))))
        for place, each in enumerate(values)
    ]


def _check_count(values: Sequence[object]) -> None:
    if len(values) > MOST_PARAMETERS:
        raise Invalid.at(f"At most {MOST_PARAMETERS} parameters.", "parameters")


async def archive_template(info: Info, input: ArchiveInput) -> Template:  # noqa: A002
    return await info.context.services.templates.archive(info.context.tenant_id, uuid_of("Template", input.id, "id"))


async def restore_template(info: Info, input: RestoreInput) -> Template:  # noqa: A002
    return await info.context.services.templates.restore(info.context.tenant_id, uuid_of("Template", input.id, "id"))


async def duplicate_template(info: Info, input: DuplicateInput) -> Template:  # noqa: A002
    context = info.context
    identifier = uuid_of("Template", input.id, "id")
    return await context.services.templates.duplicate(context.tenant_id, identifier, input.name, context.principal_id)


async def import_template(info: Info, input: ImportTemplateInput) -> Template:  # noqa: A002
    context = info.context
    name = given(input, without=("yaml",)).get("name")
    return await context.services.templates.import_file(context.tenant_id, input.yaml, name, context.principal_id)


async def save_team_as_template(info: Info, input: SaveTeamAsTemplateInput) -> Saved:  # noqa: A002
    context = info.context
    team_id = uuid_of("Team", input.team_id, "teamId")
    values = given(input, without=("team_id", "parameters"))
    template = Template(context.tenant_id, **values, created_by=context.principal_id)
    return await context.services.templates.save_team(
        template, team_id, _replaced(input.parameters), has_description="description" in values
    )


def _replaced(values: Sequence[ReplacedValueInput] | None) -> list[Replaced] | None:
    if values is strawberry.UNSET or values is None:
        return None
    _check_count(values)
    return [_replaced_by(each, str(place)) for place, each in enumerate(values)]


def _replaced_by(source: ReplacedValueInput, place: str) -> Replaced:
    values = given(source, without=("value", "is_required"), nullable=_NULLABLE, under=("parameters", place))
    parameter = Parameter(**values)
    if parameter.default is not None and source.is_required is True:
        raise Invalid.at("A value that is required has no default.", "parameters", place, "default")
    if parameter.default is None and source.is_required is not True:
        parameter = replace(parameter, default=_default(parameter.type, source.value))
    return Replaced(source.value, parameter)


def _default(kind: ParameterType, value: str) -> Any:
    """The replaced value as the parameter takes it; as it is where it cannot, which a rule then says."""
    if kind is ParameterType.LIST:
        return [value]
    if kind is ParameterType.NUMBER:
        try:
            return int(value) if value.isdecimal() else float(value)
        except ValueError:
            return value
    return value


def unpacked(saved: Saved) -> Mapping[str, Any]:
    """What the payload of `saveTeamAsTemplate` shows."""
    return {"template": saved.template, "parameters": saved.parameters}


# ---------------------------------------------------------------- making something of a template


async def instantiate_template(info: Info, input: InstantiateTemplateInput) -> Team:  # noqa: A002
    context = info.context
    values = given(input, nullable=_OPTIONAL)
    request = TeamRequest(
        template_id=uuid_of("Template", input.template_id, "templateId"),
        project_id=ProjectId(uuid_of("Project", input.project_id, "projectId")),
        number=values.get("number"),
        values=_values(values.get("parameters")),
        edits=edits_from(values.get("overrides"), "overrides"),
        name=values.get("name"),
    )
    return await context.services.instantiate.team(
        context.tenant_id, request, context.principal_id, values.get("idempotency_key")
    )


_OPTIONAL = frozenset({"number", "parameters", "overrides", "name", "role_id", "depends_on", "idempotency_key"})


async def instantiate_task_template(info: Info, input: InstantiateTaskTemplateInput) -> Task:  # noqa: A002
    context = info.context
    values = given(input, nullable=_OPTIONAL)
    role_id = values.get("role_id")
    request = TaskRequest(
        template_id=uuid_of("Template", input.template_id, "templateId"),
        team_id=TeamId(uuid_of("Team", input.team_id, "teamId")),
        number=values.get("number"),
        values=_values(values.get("parameters")),
        role_id=None if role_id is None else RoleId(uuid_of("Role", role_id, "roleId")),
        name=values.get("name"),
        depends_on=_tasks(values.get("depends_on") or []),
    )
    return await context.services.instantiate.task(
        context.tenant_id, request, context.principal_id, values.get("idempotency_key")
    )


def _values(values: Any) -> dict[str, Any]:
    if not isinstance(values, dict | None):
        raise Invalid.at("The values are an object, by the names of the parameters.", "parameters")
    return values or {}


def _tasks(ids: Sequence[str]) -> list[TaskId]:
    if len(ids) > MAX_ITEMS:
        raise Invalid.at(f"At most {MAX_ITEMS} entries.", "dependsOn")
    return [TaskId(uuid_of("Task", each, "dependsOn", str(place))) for place, each in enumerate(ids)]
