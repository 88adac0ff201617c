"""Webhooks and their outbox."""

from sqlalchemy import ARRAY, BigInteger, Boolean, Column, Double, Index, Integer, LargeBinary, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from domain.model.webhook import DeliveryStatus
from persistence.tables.columns import Moment, key, metadata, name_within, one_of, owned, record, to

webhook = Table(
    "webhook",
    metadata,
    *owned("id", "project_id"),
    Column("name", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("event_types", ARRAY(Text), nullable=False),
    Column("is_enabled", Boolean, nullable=False),
    Column("disabled_reason", Text),
    Column("failing_since", Moment),
    *record(),
    key(),
    to("project", "project_id"),
    name_within("webhook", "project_id"),
    Index("ix_webhook_project_created", "tenant_id", "project_id", "created_at", "id"),
    Index("ix_webhook_enabled", "tenant_id", "project_id", postgresql_where=text("is_enabled AND archived_at IS NULL")),
)

webhook_secret = Table(
    "webhook_secret",
    metadata,
    *owned("id", "webhook_id"),
    Column("ciphertext", LargeBinary, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment),
    key(),
    to("webhook", "webhook_id"),
    Index("ix_webhook_secret_webhook", "tenant_id", "webhook_id"),
)

webhook_delivery = Table(
    "webhook_delivery",
    metadata,
    *owned("id", "webhook_id"),
    Column("event_type", Text, nullable=False),
    Column("execution_id", Uuid),
    Column("sequence", BigInteger),
    Column("occurred_at", Moment, nullable=False),
    Column("task_execution_id", Uuid),
    Column("role_id", Uuid),
    Column("payload", JSONB, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", Moment),
    Column("locked_until", Moment),
    Column("response_status", Integer),
    Column("response_body", Text),
    Column("latency_seconds", Double),
    Column("error", Text),
    Column("redelivery_of", Uuid),
    Column("created_at", Moment, nullable=False),
    Column("finished_at", Moment),
    Column("alert_id", Uuid),
    key(),
    to("webhook", "webhook_id"),
    one_of("status", DeliveryStatus),
    Index("ix_webhook_delivery_created", "tenant_id", "webhook_id", "created_at", "id"),
    Index("ix_webhook_delivery_created_at", "created_at"),
    Index(
        "ix_webhook_delivery_due",
        "tenant_id",
        "webhook_id",
        "next_attempt_at",
        "sequence",
        postgresql_where=text("status = 'PENDING'"),
    ),
    Index(
        "ix_webhook_delivery_order",
        "tenant_id",
        "webhook_id",
        "execution_id",
        "sequence",
        postgresql_where=text("status = 'PENDING'"),
    ),
    Index("ix_webhook_delivery_locked", "tenant_id", "webhook_id", postgresql_where=text("locked_until IS NOT NULL")),
    comment="The outbox: a trigger on execution_event adds what an enabled webhook wants to be told. Its event is not"
    " referred to, for it may be removed earlier.",
)
