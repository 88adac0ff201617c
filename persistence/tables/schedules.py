"""Schedules and each of their moments."""

from sqlalchemy import Column, Double, Index, Integer, SmallInteger, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from domain.model.routing import QualityPreference
from domain.model.schedule import FireKind, FireOutcome, ScheduleOverlap
from persistence.tables.columns import Amount, Moment, key, metadata, name_within, one_of, owned, record, to

schedule = Table(
    "schedule",
    metadata,
    *owned("id", "team_id"),
    Column("name", Text, nullable=False),
    Column("cron", Text, nullable=False),
    Column("time_zone", Text, nullable=False),
    Column("overlap", Text, nullable=False),
    Column("catch_up_seconds", Double, nullable=False),
    Column("inputs", JSONB, nullable=False),
    Column("max_iterations", Integer),
    Column("execution_timeout_seconds", Double),
    Column("task_timeout_seconds", Double),
    Column("quality_preference", Text, nullable=False),
    Column("max_budget", Amount),
    Column("max_task_budget", Amount),
    Column("priority", SmallInteger, nullable=False),
    Column("paused_at", Moment),
    Column("next_fire_at", Moment),
    Column("last_fire_id", Uuid),
    *record(),
    key(),
    to("team", "team_id"),
    one_of("overlap", ScheduleOverlap),
    one_of("quality_preference", QualityPreference),
    name_within("schedule", "team_id"),
    Index("ix_schedule_team_created", "tenant_id", "team_id", "created_at", "id"),
    Index("ix_schedule_next_fire_at", "next_fire_at", postgresql_where=text("next_fire_at IS NOT NULL")),
)

schedule_fire = Table(
    "schedule_fire",
    metadata,
    *owned("id", "schedule_id"),
    Column("kind", Text, nullable=False),
    Column("scheduled_for", Moment, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("message", Text),
    Column("execution_id", Uuid),
    Column("missed_since", Moment),
    Column("fired_at", Moment),
    key(),
    to("schedule", "schedule_id"),
    to("execution", "execution_id"),
    one_of("kind", FireKind),
    one_of("outcome", FireOutcome),
    Index(
        "uq_schedule_fire_moment",
        "tenant_id",
        "schedule_id",
        "scheduled_for",
        unique=True,
        postgresql_where=text("kind <> 'TRIGGER'"),
    ),
    Index("ix_schedule_fire_schedule", "tenant_id", "schedule_id", "scheduled_for", "id"),
    Index(
        "uq_schedule_fire_execution",
        "tenant_id",
        "execution_id",
        unique=True,
        postgresql_where=text("execution_id IS NOT NULL"),
    ),
    Index(
        "ix_schedule_fire_pending",
        "tenant_id",
        "schedule_id",
        "scheduled_for",
        postgresql_where=text("outcome = 'PENDING'"),
    ),
    Index(
        "ix_schedule_fire_nothing_started",
        "tenant_id",
        "schedule_id",
        "scheduled_for",
        postgresql_where=text("execution_id IS NULL"),
    ),
    comment="Each moment at which a schedule fired, or should have, and what came of it: one row per moment, which is"
    " what keeps a fire from being carried out twice. PENDING: waits to be made up.",
)
