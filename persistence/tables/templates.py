"""Templates, their versions, and who used them."""

from sqlalchemy import ARRAY, Column, ForeignKeyConstraint, Index, Integer, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from domain.model.template import TemplateKind
from persistence.tables.columns import Moment, key, metadata, one_of, owned, record, to

template = Table(
    "template",
    metadata,
    *owned("id"),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("domain", Text, nullable=False),
    Column("tags", ARRAY(Text), nullable=False),
    Column("latest", Integer, nullable=False),
    *record(),
    key(),
    ForeignKeyConstraint(["tenant_id"], ["tenant.id"]),
    one_of("kind", TemplateKind),
    Index("uq_template_name", "tenant_id", "name", unique=True, postgresql_where=text("archived_at IS NULL")),
    comment="The tenants' own templates; those that ship are files, and stand nowhere here.",
)

template_version = Table(
    "template_version",
    metadata,
    *owned("template_id"),
    Column("number", Integer, nullable=False),
    Column("content", JSONB, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("created_by", Uuid),
    key("template_id", "number"),
    to("template", "template_id"),
)

template_use = Table(
    "template_use",
    metadata,
    *owned("id", "template_id", "team_id"),
    Column("number", Integer, nullable=False),
    Column("task_id", Uuid),
    Column("generation_id", Uuid),
    Column("created_at", Moment, nullable=False),
    Column("created_by", Uuid),
    key(),
    to("team", "team_id"),
    to("task", "task_id"),
    to("generation", "generation_id"),
    Index("ix_template_use_template", "tenant_id", "template_id", "number"),
    Index("ix_template_use_team", "tenant_id", "team_id"),
    comment="Which teams and tasks were made from which version; template_id may be one that ships.",
)
