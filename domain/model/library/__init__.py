"""The templates that ship with Regatta: a file each, see README.md beside them for how to add one."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final
from uuid import UUID, uuid5

from domain.model.identity import DEFAULT_TENANT, TemplateId, TenantId
from domain.model.library.loading import TemplateFile, parse_template, render_template
from domain.model.template import Template, TemplateContent

__all__ = [
    "ShippedTemplate",
    "TemplateFile",
    "find_shipped_template",
    "parse_template",
    "render_template",
    "shipped_template_id",
    "shipped_templates",
]

DIRECTORY: Final = Path(__file__).parent
SHIPPED_ON: Final = datetime(2026, 11, 21, tzinfo=UTC)
_NAMESPACE: Final = UUID("0b6a3f0e-4f5c-5d0a-8a4e-6f1d2c9b7e21")


@dataclass(frozen=True, slots=True)
class ShippedTemplate:
    """A built-in template with the one version that this release has of it: number `template.latest`.

    It is shared by the whole process: take a copy `of` a tenant, never change it.
    """

    template: Template
    content: TemplateContent

    def of(self, tenant_id: TenantId) -> Template:
        """The template as this tenant has it."""
        return replace(self.template, tenant_id=tenant_id, tags=list(self.template.tags))


@cache
def shipped_templates() -> tuple[ShippedTemplate, ...]:
    """All of them by name, of no tenant yet. Raises Invalid for a broken file; a test holds that none ships."""
    files = [parse_template(path.read_text("utf-8")) for path in sorted(DIRECTORY.glob("*.yaml"))]
    return tuple(_shipped(file) for file in sorted(files, key=lambda file: file.name))


def shipped_template_id(name: str) -> TemplateId:
    """The id of a built-in template: the same in every process, release and tenant."""
    return TemplateId(uuid5(_NAMESPACE, name))


def find_shipped_template(identifier: UUID) -> ShippedTemplate | None:
    """The built-in template with this id."""
    return _by_id().get(identifier)


def _shipped(file: TemplateFile) -> ShippedTemplate:
    template = Template(
        DEFAULT_TENANT,
        **file.fields,
        latest=file.version,
        id=shipped_template_id(file.name),
        version=0,
        created_at=SHIPPED_ON,
        updated_at=SHIPPED_ON,
    )
    return ShippedTemplate(template, file.content)


@cache
def _by_id() -> Mapping[UUID, ShippedTemplate]:
    return {shipped.template.id: shipped for shipped in shipped_templates()}
