"""Sums over what ended, and what is not summed up yet."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Identity,
    Index,
    Table,
    Text,
    Uuid,
)

from domain.model.metrics import Subject
from persistence.tables.columns import Amount, Moment, key, metadata, one_of

metric_pending = Table(
    "metric_pending",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("id", BigInteger, Identity(always=True), nullable=False),
    Column("subject", Text, nullable=False),
    Column("subject_id", Uuid, nullable=False),
    Column("at", Moment, nullable=False),
    Column("task_execution_id", Uuid),
    Column("role_id", Uuid),
    Column("tool", Text),
    Column("is_error", Boolean),
    key(),
    ForeignKeyConstraint(["tenant_id"], ["tenant.id"]),
    one_of("subject", Subject),
    comment="What ended and is in no sum of metric_rollup yet; triggers add it, the roll-up takes it away."
    " subject_id is the execution, the task execution, the ledger entry, or of a tool's answer the execution, whose"
    " event may be removed before: what it says is here.",
    postgresql_with={"autovacuum_vacuum_scale_factor": "0", "autovacuum_vacuum_threshold": "10000"},
)

metric_rollup = Table(
    "metric_rollup",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("dimension", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("grain", Text, nullable=False),
    Column("start", Moment, nullable=False),
    Column("subject", Text, nullable=False),
    Column("project_id", Uuid, nullable=False),
    Column("team_id", Uuid, nullable=False),
    Column("completed", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("cancelled", BigInteger, nullable=False),
    Column("repeated", BigInteger, nullable=False),
    Column("micros", BigInteger, nullable=False),
    Column("wait_micros", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("cost", Amount, nullable=False),
    Column("durations", ARRAY(BigInteger), nullable=False),
    Column("waits", ARRAY(BigInteger), nullable=False),
    key("dimension", "key", "grain", "start", "subject", "project_id", "team_id"),
    ForeignKeyConstraint(["tenant_id"], ["tenant.id"]),
    CheckConstraint(
        "dimension IN ('TENANT', 'PROJECT', 'TEAM', 'ROLE', 'TASK', 'MODEL', 'TOOL', 'STRATEGY', 'TEMPLATE')",
        name="dimension",
    ),
    CheckConstraint("grain IN ('HOUR', 'DAY')", name="grain"),
    one_of("subject", Subject),
    Index("ix_metric_rollup_start", "tenant_id", "dimension", "grain", "start"),
    comment="Sums of what ended, by hour and by day (UTC); of no project or team: the id of zeros. durations and"
    " waits are histograms: each element a bucket, shifted by 40 bits, and how many are in it.",
    postgresql_with={"fillfactor": "70"},
)
