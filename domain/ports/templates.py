"""Storage of templates: as mutations need it, and as the graph reads it."""

from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

from domain.model.identity import TenantId
from domain.model.page import Page, PageRequest
from domain.model.template import (
    AnalyticsReport,
    TeamOrigin,
    Template,
    TemplateAnalytics,
    TemplateUse,
    TemplateVersion,
    VersionKey,
    VersionRecord,
)


class Templates(Protocol):
    """A tenant's own templates as mutations need them, and what was made of them and of those that ship."""

    async def get(self, identifier: UUID) -> Template:
        """The template; raises NotFound."""
        ...

    async def lock(self, identifier: UUID) -> Template:
        """The template, locked until the end of the unit of work; raises NotFound."""
        ...

    async def lock_named(self, name: str) -> Template | None:
        """The template of this name that is in use, locked as above."""
        ...

    async def add(self, entity: Template) -> None:
        """Insert, without a version; raises NameTaken."""
        ...

    async def update(self, entity: Template) -> Template:
        """Write the template if it still has `entity.version`; returns it with the next version.

        Raises StaleVersion when somebody else changed it, NotFound, NameTaken.
        """
        ...

    async def line_up(self) -> None:
        """Wait until nobody else of the tenant adds or changes one, until the end of the unit of work.

        First of all: who has locked a row, or inserted one, and only then waits may wait for ever.
        """
        ...

    async def count(self) -> int:
        """How many are in use; whoever lined up can rely on it."""
        ...

    async def add_version(self, version: TemplateVersion) -> None:
        """Insert a version of a template that is new or locked."""
        ...

    async def find_version(self, identifier: UUID, number: int) -> TemplateVersion | None: ...

    async def add_use(self, use: TemplateUse) -> None:
        """Note that something was made of a version."""
        ...


class TemplateQuestions(Protocol):
    """Batched questions of the graph about templates, each one statement, always within one tenant."""

    async def own_templates(self, tenant_id: TenantId, *, is_archived: bool) -> Sequence[Template]:
        """The tenant's own templates in use; or those that are archived, at most the last thousand of them."""
        ...

    async def template_versions(
        self, tenant_id: TenantId, keys: Sequence[VersionKey]
    ) -> Mapping[VersionKey, TemplateVersion]:
        """The versions that exist among these of the tenant's own templates."""
        ...

    async def template_version_records(
        self, tenant_id: TenantId, keys: Sequence[VersionKey]
    ) -> Mapping[VersionKey, VersionRecord]:
        """The same without what they hold."""
        ...

    async def template_version_pages(
        self, tenant_id: TenantId, ids: Sequence[UUID], request: PageRequest
    ) -> Mapping[UUID, Page[VersionRecord]]:
        """For each own template one page of its versions, the newest first; raises Invalid for a bad cursor."""
        ...

    async def template_reports(
        self, tenant_id: TenantId, ids: Sequence[UUID] | None = None
    ) -> Mapping[UUID, AnalyticsReport]:
        """For each of these templates that was used, for all of them with None, what became of that.

        Of what was made the newest thousand count, and of each team the newest thousand executions.
        """
        ...

    async def template_uses(self, tenant_id: TenantId) -> Mapping[UUID, TemplateAnalytics]:
        """For each template that was used how often that was, and when last; nothing else of it is known here."""
        ...

    async def team_origins(self, tenant_id: TenantId, ids: Sequence[UUID]) -> Mapping[UUID, TeamOrigin]:
        """For each team that was made of a template or a generation, of which."""
        ...
