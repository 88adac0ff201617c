"""Use cases on templates themselves: making and changing them, from teams and files, too; see `instantiating`.

Looking through the texts of a team, holding the rules of many schemas, reading and writing files take up to a second or
two, and are done in a thread.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from domain.errors import Archived, BuiltIn, Invalid, NotFound, Problem, StaleVersion, located
from domain.model.blueprint import Blueprint, as_document, blueprint_of
from domain.model.documents import of_document, to_document
from domain.model.identity import PrincipalId, TeamId, TemplateId, TenantId
from domain.model.library import find_shipped_template
from domain.model.parameter_finding import ParameterProposal, proposals, with_parameters
from domain.model.parameters import check_content, check_size
from domain.model.rules import Rules
from domain.model.template import (
    MOST_TEMPLATES,
    MOST_VERSIONS,
    Parameter,
    Template,
    TemplateContent,
    TemplateKind,
    TemplateVersion,
)
from domain.model.template_files import read_template, write_template
from domain.ports import UnitOfWork, UnitsOfWork
from domain.services.copies import name_of_copy
from domain.services.editing import Editing, Given, Kind, Links

Weigh = Callable[[int], None]
"""Is told how much the texts weigh that are about to be looked through, or written; may raise."""

CHARACTERS_OF_A_PART: Final = 500
"""So many of them take about as long as one role or task that is judged."""

MOST_WEIGHT: Final = 900
"""So much the largest team weighs: that it can be asked for, though alone."""


def weight_of(blueprint: Blueprint) -> int:
    """How much looking through all that it says, or writing that as a file, weighs."""
    return min(len(json.dumps(as_document(blueprint), ensure_ascii=False)) // CHARACTERS_OF_A_PART, MOST_WEIGHT)


async def find_template(unit: UnitOfWork, identifier: UUID) -> Template:
    """The template, built-in or the tenant's own. Raises NotFound."""
    shipped = find_shipped_template(identifier)
    return shipped.of(unit.tenant_id) if shipped else await unit.templates.get(identifier)


async def content_of(unit: UnitOfWork, template: Template, number: int | None = None) -> TemplateContent:
    """What this version holds, the newest without a number. Raises Invalid, located at `number`, for one there is not.

    Of a built-in template there is only the version that this release ships.
    """
    wanted = template.latest if number is None else number
    shipped = find_shipped_template(template.id)
    if shipped and wanted == template.latest:
        return shipped.content
    is_stored = not shipped and 1 <= wanted <= template.latest
    version = await unit.templates.find_version(template.id, wanted) if is_stored else None
    if version is None:
        raise Invalid.at("The template has no version with this number.", "number")
    return of_document(TemplateContent, version.content)


# ---------------------------------------------------------------- archive and restore


async def _enter(unit: UnitOfWork, _template: Template, _given: Given) -> None:
    """A template has no parent that could be closed; in line before a row is locked, as everywhere."""
    await unit.templates.line_up()


async def _settle(unit: UnitOfWork, template: Template, _links: Links) -> None:
    if template.archived_at is None and await unit.templates.count() > MOST_TEMPLATES:
        raise Invalid.at(f"A tenant has at most {MOST_TEMPLATES} templates of its own: archive some.", "name")


TEMPLATES: Final = Kind[Template](lambda unit: unit.templates, _enter, _settle)


def _check_own(identifier: UUID) -> None:
    """Raises BuiltIn, located at `id`."""
    if find_shipped_template(identifier):
        raise BuiltIn("Template").under("id")


# ---------------------------------------------------------------- what a template is made of


@dataclass(frozen=True, slots=True)
class Replaced:
    """A parameter that takes the place of a value in the texts of a team."""

    value: str
    parameter: Parameter


@dataclass(frozen=True, slots=True)
class Saved:
    """The template that was made of a team, and the parameters that were put into its texts."""

    template: Template
    parameters: Sequence[Parameter]


@dataclass(frozen=True, slots=True)
class Change:
    """What an update gives anew: fields of the template, and of what its next version holds; None: stays."""

    fields: Mapping[str, Any]
    parameters: list[Parameter] | None = None
    blueprint: Blueprint | None = None
    kind: TemplateKind | None = None
    """What the given blueprint is of; the template's kind stays."""


class Templates:
    """All raise NotFound, NameTaken, Invalid with every broken rule, and Archived; BuiltIn where one would be changed.

    Rules of a blueprint are located under `blueprint`, those of a task's under `task`, as their inputs are called.
    """

    def __init__(self, units: UnitsOfWork) -> None:
        self.units = units
        self._editing = Editing(units, TEMPLATES)

    async def create(self, template: Template, content: TemplateContent) -> Template:
        """A new template with its first version."""
        await asyncio.to_thread(_check, template, content)
        async with self.units(template.tenant_id) as unit:
            await _add(unit, template, content)
            await unit.commit()
        return template

    async def update(
        self, tenant_id: TenantId, identifier: UUID, version: int, change: Change, by: PrincipalId | None
    ) -> Template:
        """Change the template; what it holds becomes a new version if that is given, and differs.

        Also raises StaleVersion when `version` is not the current one.
        """
        async with self._own(tenant_id, identifier) as (unit, current):
            if current.version != version:
                raise StaleVersion("Template", version, current.version)
            if current.archived_at:
                raise Archived("Template")
            _check_kind(current.kind, change.kind)
            content = await content_of(unit, current)
            wanted = TemplateContent(
                parameters=content.parameters if change.parameters is None else change.parameters,
                blueprint=content.blueprint if change.blueprint is None else change.blueprint,
            )
            return await _save(unit, replace(current, **change.fields), content, wanted, by)

    async def archive(self, tenant_id: TenantId, identifier: UUID) -> Template:
        """Take out of use, keeping history; one that is archived already stays as it is."""
        _check_own(identifier)
        return await self._editing.archive(tenant_id, identifier)

    async def restore(self, tenant_id: TenantId, identifier: UUID) -> Template:
        """Take back into use; one that is not archived stays as it is."""
        _check_own(identifier)
        return await self._editing.restore(tenant_id, identifier)

    async def duplicate(
        self, tenant_id: TenantId, identifier: UUID, name: str | None, by: PrincipalId | None
    ) -> Template:
        """A template of the tenant's with what the newest version of this one holds; its versions begin anew."""
        async with self.units(tenant_id) as unit:
            with located("id"):
                original = await find_template(unit, identifier)
                if original.archived_at:
                    raise Archived("Template")
                content = await content_of(unit, original)
            # A built-in one keeps its name: the tenant's own templates have names of their own.
            kept = original.name if find_shipped_template(identifier) else name_of_copy(original.name)
            copy = _new(tenant_id, original, kept if name is None else name, by)
            copy.check()
            await _add(unit, copy, content, by)
            await unit.commit()
        return copy

    async def import_file(self, tenant_id: TenantId, text: str, name: str | None, by: PrincipalId | None) -> Template:
        """The template in the YAML: a new version of the tenant's own one of this name, else a new one.

        What is wrong in the text is located under `yaml`, by the keys of the file.
        """
        file = await asyncio.to_thread(read_template, text, name)
        wanted = Template(tenant_id, **file.fields, created_by=by)
        async with self.units(tenant_id) as unit:
            await unit.templates.line_up()  # so that of two at once the second finds the first
            present = await unit.templates.lock_named(file.name)
            if present is None:
                await _add(unit, wanted, file.content, by)
            else:
                _check_kind(present.kind, file.kind, "yaml", "kind")
                fields = {each: getattr(wanted, each) for each in ("description", "domain", "tags")}
                before = await content_of(unit, present)
                wanted = await _write(unit, replace(present, **fields), before, file.content, by)
            await unit.commit()
        return wanted

    async def save_team(
        self,
        template: Template,
        team_id: UUID,
        replaced: Sequence[Replaced] | None,
        *,
        has_description: bool = True,
    ) -> Saved:
        """The template with what the team is now, these values replaced by parameters, with None the proposed ones.

        What the team has that no template may have is located at `teamId`.
        """
        async with self.units(template.tenant_id) as unit:
            with located("teamId"):
                snapshot = await unit.definitions.snapshot(TeamId(team_id))
                if snapshot.team.archived_at:
                    raise Archived("Team")
            if not has_description:
                template = replace(template, description=snapshot.team.description)
            content = await asyncio.to_thread(_content_of_team, blueprint_of(snapshot), replaced)
            await asyncio.to_thread(_check_saved, template, content)
            await _add(unit, template, content)
            await unit.commit()
        return Saved(template, content.parameters)

    async def proposals(self, tenant_id: TenantId, team_id: UUID, *, weigh: Weigh) -> Sequence[ParameterProposal]:
        """What could be a parameter in the texts of the team."""
        async with self.units(tenant_id) as unit:
            snapshot = await unit.definitions.snapshot(TeamId(team_id))
        blueprint = blueprint_of(snapshot)
        weigh(weight_of(blueprint))
        return await asyncio.to_thread(proposals, blueprint)

    async def exported(self, tenant_id: TenantId, identifier: UUID, number: int | None, *, weigh: Weigh) -> str:
        """This version, or the newest, as YAML. Raises NotFound for a version that there is not, too."""
        async with self.units(tenant_id) as unit:
            template = await find_template(unit, identifier)
            try:
                content = await content_of(unit, template, number)
            except Invalid as error:
                raise NotFound("TemplateVersion", str(number)) from error
        weigh(weight_of(content.blueprint))
        return await asyncio.to_thread(write_template, template, content, template.latest if number is None else number)

    @asynccontextmanager
    async def _own(self, tenant_id: TenantId, identifier: UUID) -> AsyncIterator[tuple[UnitOfWork, Template]]:
        """A unit of work and the tenant's own template, locked; what goes wrong is located at its `id`."""
        _check_own(identifier)
        with located("id"):
            async with self.units(tenant_id) as unit:
                await unit.templates.line_up()
                yield unit, await unit.templates.lock(identifier)


def _new(tenant_id: TenantId, original: Template, name: str, by: PrincipalId | None) -> Template:
    return Template(
        tenant_id,
        name,
        description=original.description,
        kind=original.kind,
        domain=original.domain,
        tags=list(original.tags),
        created_by=by,
    )


# ---------------------------------------------------------------- writing


async def _add(unit: UnitOfWork, template: Template, content: TemplateContent, by: PrincipalId | None = None) -> None:
    await unit.templates.line_up()
    await unit.templates.add(template)
    await unit.templates.add_version(_version(template, content, by or template.created_by))
    await _settle(unit, template, Links())


async def _save(
    unit: UnitOfWork, wanted: Template, before: TemplateContent, after: TemplateContent, by: PrincipalId | None
) -> Template:
    await asyncio.to_thread(_check, wanted, after)
    saved = await _write(unit, wanted, before, after, by)
    await unit.commit()
    return saved


async def _write(
    unit: UnitOfWork, wanted: Template, before: TemplateContent, after: TemplateContent, by: PrincipalId | None
) -> Template:
    """The template as it is wanted, with a new version if what it holds differs."""
    if wanted.kind is TemplateKind.TASK:  # only its task counts
        after = replace(after, blueprint=replace(after.blueprint, name=before.blueprint.name))
    if after != before:
        wanted = replace(wanted, latest=wanted.latest + 1)
        if wanted.latest > MOST_VERSIONS:
            raise Invalid.at(f"A template has at most {MOST_VERSIONS} versions: duplicate it.", "id")
        await unit.templates.add_version(_version(wanted, after, by))
    return await unit.templates.update(wanted)


def _version(template: Template, content: TemplateContent, by: PrincipalId | None) -> TemplateVersion:
    document: dict[str, Any] = to_document(TemplateContent, content)
    return TemplateVersion(template.tenant_id, TemplateId(template.id), template.latest, document, created_by=by)


# ---------------------------------------------------------------- rules


def _check(template: Template, content: TemplateContent) -> None:
    """Raises Invalid with all that is wrong with either, in the words of the inputs."""
    problems = [*_problems(template.check), *_problems(lambda: check_content(content, template.kind))]
    if template.kind is TemplateKind.TASK:
        problems = [Problem(each.message, _of_task(each.path)) for each in problems]
    if problems:
        raise Invalid(problems)


def _check_saved(template: Template, content: TemplateContent) -> None:
    """The same where the blueprint is a team's: what is wrong with it is said there."""
    found = [*_problems(template.check), *_problems(lambda: check_content(content, template.kind))]
    if found:
        raise Invalid([_of_team(each) for each in found])


def _of_team(problem: Problem) -> Problem:
    if problem.path[:1] != ("blueprint",):
        return problem
    place = f" ({'.'.join(problem.path[1:])})" if problem.path[1:] else ""
    return Problem(f"{problem.message}{place}", ("teamId",))


def _problems(check: Any) -> Sequence[Problem]:
    try:
        check()
    except Invalid as error:
        return error.problems
    return ()


def _of_task(path: tuple[str, ...]) -> tuple[str, ...]:
    """The place in a blueprint whose only task is given: that is what the input has."""
    if path[:1] != ("blueprint",):
        return path
    return ("task", *path[3:]) if path[1:2] == ("tasks",) else ("task", *path[1:])


def _check_kind(kind: TemplateKind, given: TemplateKind | None, *path: str) -> None:
    """Raises Invalid where what is given is of the other kind than the template, which keeps its own."""
    if given not in (None, kind):
        where = path or (("task",) if given is TemplateKind.TASK else ("blueprint",))
        raise Invalid.at(f"This template is one of kind {kind.value}, and stays so.", *where)


# ---------------------------------------------------------------- from teams


def _content_of_team(team: Blueprint, replaced: Sequence[Replaced] | None) -> TemplateContent:
    # First: whatever looks for values in the texts takes the longer the more there are.
    if too_much := _problems(lambda: check_size(TemplateContent(blueprint=team))):
        raise Invalid([_of_team(each) for each in too_much])
    if replaced is None:
        replaced = [Replaced(each.value, each.parameter) for each in proposals(team)]
    _check_values(replaced)
    blueprint, counts = with_parameters(team, {each.value: each.parameter.name for each in replaced})
    rules = Rules("parameters")
    for place, each in enumerate(replaced):
        rules.require(counts[each.value], "This stands in no text of the team as a whole word.", str(place), "value")
    rules.hold()
    return TemplateContent(parameters=[each.parameter for each in replaced], blueprint=blueprint)


def _check_values(replaced: Sequence[Replaced]) -> None:
    rules, seen = Rules("parameters"), set[str]()
    for place, each in enumerate(replaced):
        rules.name(each.value, str(place), "value")
        rules.require(each.value not in seen, "Another parameter takes the place of this.", str(place), "value")
        rules.require(not {"{", "}"} & {*each.value}, "Braces are not allowed here.", str(place), "value")
        seen.add(each.value)
    rules.hold()
