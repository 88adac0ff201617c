"""Who waits for a place, who has one, and the workers that give them."""

from sqlalchemy import (
    ARRAY,
    Boolean,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)

from persistence.tables.columns import Moment, key, metadata, owned, to

admission = Table(
    "admission",
    metadata,
    *owned("execution_id", "id", "project_id", "team_id"),
    Column("priority", SmallInteger, nullable=False),
    Column("is_alone", Boolean, nullable=False),
    Column("waiting_since", Moment, nullable=False),
    Column("worker_id", Text),
    Column("admitted_at", Moment),
    key("execution_id"),
    to("execution", "execution_id"),
    Index(
        "ix_admission_waiting",
        "tenant_id",
        "team_id",
        "is_alone",
        text("priority DESC"),
        "waiting_since",
        "execution_id",
        postgresql_where=text("worker_id IS NULL"),
    ),
    Index("ix_admission_worker", "worker_id", postgresql_where=text("worker_id IS NOT NULL")),
    Index("ix_admission_team", "tenant_id", "team_id", postgresql_where=text("worker_id IS NOT NULL")),
    comment="What wants to run (no worker) and what runs; an execution that is paused, waits for a person or is"
    " over has no row. Written behind the row in execution_sequence, or under the lock of who admits.",
    postgresql_with={"fillfactor": "70"},
)

admission_turn = Table(
    "admission_turn",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("admitted_at", Moment, nullable=False),
    PrimaryKeyConstraint("tenant_id"),
    ForeignKeyConstraint(["tenant_id"], ["tenant.id"]),
    comment="When a tenant was last given a place: among those who have as many, who waited longest is next.",
    postgresql_with={"fillfactor": "50"},
)

worker = Table(
    "worker",
    metadata,
    Column("id", Text, nullable=False),
    Column("heartbeat_at", Moment, nullable=False),
    Column("providers", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("models", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("free_providers", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("is_local_silent", Boolean, nullable=False, server_default=text("false")),
    Column("started_at", Moment, nullable=False, server_default=text("now()")),
    Column("places", Integer, nullable=False, server_default=text("0")),
    Column("is_taking", Boolean, nullable=False, server_default=text("true")),
    Column("cpu_percent", Double),
    Column("memory_percent", Double),
    PrimaryKeyConstraint("id"),
    comment="Infrastructure, of no tenant: which workers are alive, and the models that their environment gives access"
    " to.",
)

worker_loss = Table(
    "worker_loss",
    metadata,
    Column("worker_id", Text, nullable=False),
    Column("lost_at", Moment, nullable=False),
    PrimaryKeyConstraint("worker_id", "lost_at"),
    Index("ix_worker_loss_lost_at", "lost_at"),
    comment="Infrastructure, of no tenant: workers that fell silent, when others took over what they had. Kept for 30"
    " days.",
)
