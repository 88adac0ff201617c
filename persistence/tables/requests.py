"""What requests leave behind: the audit, and the answers to repeated ones."""

from sqlalchemy import Column, ForeignKeyConstraint, Index, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from domain.model.audit import AuditAction
from persistence.tables.columns import Moment, key, metadata, one_of, owned

audit_entry = Table(
    "audit_entry",
    metadata,
    *owned("id"),
    Column("occurred_at", Moment, nullable=False),
    Column("operation", Text, nullable=False),
    Column("principal_id", Uuid),
    Column("request_id", Text),
    Column("address", Text),
    Column("user_agent", Text),
    Column("object_type", Text, nullable=False),
    Column("object_id", Uuid, nullable=False),
    Column("action", Text, nullable=False),
    Column("before", JSONB(none_as_null=True)),
    Column("after", JSONB(none_as_null=True)),
    key(),
    ForeignKeyConstraint(["tenant_id"], ["tenant.id"]),
    one_of("action", AuditAction),
    Index("ix_audit_entry_occurred", "tenant_id", "occurred_at", "id"),
    Index("ix_audit_entry_object", "tenant_id", "object_id", "occurred_at", "id"),
    Index("ix_audit_entry_request", "tenant_id", "request_id", postgresql_where=text("request_id IS NOT NULL")),
    comment="Who changed what, from where. Written by triggers alone; nobody changes or removes it.",
)

idempotency_key = Table(
    "idempotency_key",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("key", Text, nullable=False),
    Column("request_hash", Text, nullable=False),
    Column("result", Uuid),
    Column("expires_at", Moment, nullable=False),
    key("key"),
    ForeignKeyConstraint(["tenant_id"], ["tenant.id"]),
    Index("ix_idempotency_key_expires_at", "expires_at"),
)
