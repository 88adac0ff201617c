"""The access paths of templates: built-in and own ones as one list, their versions, and what was made of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from domain.model.documents import of_document
from domain.model.identity import TenantId
from domain.model.library import ShippedTemplate, find_shipped_template, shipped_templates
from domain.model.listing import page_in_order
from domain.model.page import Page, PageRequest, encode_cursor
from domain.model.template import (
    AnalyticsReport,
    TeamOrigin,
    Template,
    TemplateAnalytics,
    TemplateContent,
    VersionKey,
    VersionRecord,
)
from resolvers.budget import LIST_SIZE
from resolvers.loaders import Source

_NO_USES: Final = TemplateAnalytics()


@dataclass(frozen=True, slots=True)
class TemplateOfLibrary:
    """The template with this id, built-in or the tenant's own, or None."""

    async def fetch(self, source: Source, keys: Sequence[UUID | None]) -> Sequence[Template | None]:
        found = {key: shipped.of(source.tenant_id) for key in keys if key and (shipped := find_shipped_template(key))}
        own = [key for key in keys if key is not None and key not in found]
        if own:
            found |= await source.reader.by_ids(Template, source.tenant_id, own)
        return [None if key is None else found.get(key) for key in keys]


# ---------------------------------------------------------------- the list

_FIGURES: Final[Mapping[str, tuple[type[Any], Callable[[TemplateAnalytics], Any]]]] = {
    "uses": (int, lambda figures: figures.uses),
    "success_rate": (float, lambda figures: figures.success_rate),
    "mean_cost": (Decimal, lambda figures: figures.mean_amount),
    "mean_duration": (float, lambda figures: figures.mean_duration_seconds),
    "last_used": (datetime, lambda figures: figures.last_used_at),
}
"""Orders by what was made of templates."""

_OF_USES: Final = frozenset({"uses", "last_used"})

_FIELDS: Final[Mapping[str, type[Any]]] = {"name": str, "created_at": datetime}


@dataclass(frozen=True, slots=True)
class TemplatePages:
    """A page of all templates; a key is the tenant's id and the page that is wanted."""

    async def fetch(self, source: Source, keys: Sequence[tuple[UUID, PageRequest]]) -> Sequence[Page[Template]]:
        known = _Known(source)
        return [await _page(known, request) for _, request in keys]


class _Known:
    """What pages are taken from, read once for all of them."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._templates: dict[bool, Sequence[Template]] = {}
        self._figures: dict[bool, Mapping[UUID, TemplateAnalytics]] = {}

    async def templates(self, *, is_archived: bool) -> Sequence[Template]:
        """Those in use, or those that are archived: what ships is never that."""
        if is_archived not in self._templates:
            own = await self.source.reader.own_templates(self.source.tenant_id, is_archived=is_archived)
            self._templates[is_archived] = own if is_archived else [*_built_in(self.source.tenant_id), *own]
        return self._templates[is_archived]

    async def figures(self, order: str) -> Mapping[UUID, TemplateAnalytics]:
        """Of each template that was used, as much as this order needs: what became of it takes long to sum up."""
        is_of_uses = order in _OF_USES
        if is_of_uses not in self._figures:
            self._figures[is_of_uses] = await (self._uses() if is_of_uses else self._totals())
        return self._figures[is_of_uses]

    async def _uses(self) -> Mapping[UUID, TemplateAnalytics]:
        return await self.source.reader.template_uses(self.source.tenant_id)

    async def _totals(self) -> Mapping[UUID, TemplateAnalytics]:
        reports = await self.source.reader.template_reports(self.source.tenant_id)
        return {template_id: report.total for template_id, report in reports.items()}


async def _page(known: _Known, request: PageRequest) -> Page[Template]:
    is_archived = any(rule.field == "archived_at" and rule.value is False for rule in request.conditions)
    templates = await known.templates(is_archived=is_archived)
    if request.order_by not in _FIGURES:
        return page_in_order(templates, request, getattr, _FIELDS[request.order_by])
    kind, figure = _FIGURES[request.order_by]
    figures = await known.figures(request.order_by)

    def read(template: Template, field: str) -> Any:
        if field != request.order_by:
            return getattr(template, field)
        return figure(figures.get(template.id, _NO_USES))

    return page_in_order(templates, request, read, kind)


def _built_in(tenant_id: TenantId) -> list[Template]:
    return [shipped.of(tenant_id) for shipped in shipped_templates()]


# ---------------------------------------------------------------- versions


@dataclass(frozen=True, slots=True)
class VersionPages:
    """A page of a template's versions, the newest first; a key is its id and the page that is wanted."""

    async def fetch(self, source: Source, keys: Sequence[tuple[UUID, PageRequest]]) -> Sequence[Page[VersionRecord]]:
        found: dict[tuple[UUID, PageRequest], Page[VersionRecord]] = {}
        for request in dict.fromkeys(request for _, request in keys):
            ids = [identifier for identifier, wanted in keys if wanted == request]
            own = [identifier for identifier in ids if not find_shipped_template(identifier)]
            pages = await source.reader.template_version_pages(source.tenant_id, own, request) if own else {}
            for identifier in ids:
                shipped = find_shipped_template(identifier)
                page = _only_version(shipped, request) if shipped else pages[identifier]
                found[identifier, request] = page
        return [found[key] for key in keys]


def _record(shipped: ShippedTemplate) -> VersionRecord:
    template = shipped.template
    return VersionRecord(template.id, template.latest, template.created_at)


def _only_version(shipped: ShippedTemplate, request: PageRequest) -> Page[VersionRecord]:
    """Of a built-in template the one that this release ships."""
    record = _record(shipped)
    items = [] if request.after is not None else [record]
    cursors = [encode_cursor("number", str(record.number), str(record.template_id)) for _ in items]
    return Page(items, cursors, has_next=False, has_previous=request.after is not None, total=1)


@dataclass(frozen=True, slots=True)
class VersionOfTemplate:
    """The version of a template with this number, or None."""

    async def fetch(self, source: Source, keys: Sequence[VersionKey]) -> Sequence[VersionRecord | None]:
        own = [key for key in keys if not find_shipped_template(key[0])]
        found = await source.reader.template_version_records(source.tenant_id, own) if own else {}
        return [found.get(key) or _shipped_record(key) for key in keys]


def _shipped_record(key: VersionKey) -> VersionRecord | None:
    shipped = find_shipped_template(key[0])
    return _record(shipped) if shipped and shipped.template.latest == key[1] else None


@dataclass(frozen=True, slots=True)
class ContentOfVersion:
    """What a version holds; a key is the template's id and a number that there is."""

    async def fetch(self, source: Source, keys: Sequence[VersionKey]) -> Sequence[TemplateContent]:
        source.budget.promise(len(keys) * LIST_SIZE)  # each has about so many roles, tasks and parameters
        own = [key for key in keys if not find_shipped_template(key[0])]
        stored = await source.reader.template_versions(source.tenant_id, own) if own else {}
        return [
            shipped.content
            if (shipped := find_shipped_template(key[0]))
            else of_document(TemplateContent, stored[key].content)
            for key in keys
        ]


# ---------------------------------------------------------------- what was made of them


@dataclass(frozen=True, slots=True)
class ReportOfTemplate:
    """What became of what was made of a template."""

    async def fetch(self, source: Source, keys: Sequence[UUID]) -> Sequence[AnalyticsReport]:
        found = await source.reader.template_reports(source.tenant_id, keys)
        return [found.get(key) or AnalyticsReport(key, _NO_USES) for key in keys]


@dataclass(frozen=True, slots=True)
class OriginOfTeam:
    """What a team was made of, or None."""

    async def fetch(self, source: Source, keys: Sequence[UUID]) -> Sequence[TeamOrigin | None]:
        found = await source.reader.team_origins(source.tenant_id, keys)
        return [found.get(key) for key in keys]


TemplateById = TemplateOfLibrary()
TemplatesByTenant = TemplatePages()
VersionsByTemplate = VersionPages()
VersionByNumber = VersionOfTemplate()
ContentByVersion = ContentOfVersion()
ReportByTemplate = ReportOfTemplate()
OriginByTeam = OriginOfTeam()
