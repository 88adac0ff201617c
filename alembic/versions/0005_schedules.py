"""Schedules, and the record of their fires."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
AMOUNT = sa.Numeric(24, 12)

GRANTS = (
    "GRANT SELECT, INSERT, UPDATE ON schedule TO regatta_app",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON schedule_fire TO regatta_app",
)


def upgrade() -> None:
    op.create_index(
        "ix_execution_open",
        "execution",
        ["tenant_id", "team_id"],
        postgresql_where=sa.text("status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')"),
    )
    _create_schedules()
    _create_fires()
    for statement in GRANTS:
        op.execute(statement)


def _create_schedules() -> None:
    op.create_table(
        "schedule",
        *(sa.Column(name, sa.Uuid(), nullable=False) for name in ("tenant_id", "id", "team_id")),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("name", "cron", "time_zone", "overlap")),
        sa.Column("catch_up_seconds", sa.Double(), nullable=False),
        sa.Column("inputs", postgresql.JSONB(), nullable=False),
        sa.Column("max_iterations", sa.Integer()),
        sa.Column("execution_timeout_seconds", sa.Double()),
        sa.Column("task_timeout_seconds", sa.Double()),
        sa.Column("quality_preference", sa.Text(), nullable=False),
        sa.Column("max_budget", AMOUNT),
        sa.Column("max_task_budget", AMOUNT),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("paused_at", MOMENT),
        sa.Column("next_fire_at", MOMENT),
        sa.Column("last_fire_id", sa.Uuid()),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.Uuid()),
        sa.Column("archived_at", MOMENT),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_schedule")),
        _to("schedule", "team"),
        _check("schedule", "overlap", ("SKIP", "QUEUE", "PARALLEL", "REPLACE")),
        _check("schedule", "quality_preference", ("FAST", "BALANCED", "PREMIUM", "COST_OPTIMIZED")),
    )
    op.create_index(
        "uq_schedule_name",
        "schedule",
        ["tenant_id", "team_id", "name"],
        unique=True,
        postgresql_where=sa.text("archived_at IS NULL"),
    )
    op.create_index("ix_schedule_team_created", "schedule", ["tenant_id", "team_id", "created_at", "id"])
    op.create_index(
        "ix_schedule_next_fire_at",
        "schedule",
        ["next_fire_at"],
        postgresql_where=sa.text("next_fire_at IS NOT NULL"),
    )


def _create_fires() -> None:
    op.create_table(
        "schedule_fire",
        *(sa.Column(name, sa.Uuid(), nullable=False) for name in ("tenant_id", "id", "schedule_id")),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("scheduled_for", MOMENT, nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("message", sa.Text()),
        sa.Column("execution_id", sa.Uuid()),
        sa.Column("missed_since", MOMENT),
        sa.Column("fired_at", MOMENT),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_schedule_fire")),
        _to("schedule_fire", "schedule"),
        _to("schedule_fire", "execution"),
        _check("schedule_fire", "kind", ("DUE", "BACKFILL", "TRIGGER")),
        _check("schedule_fire", "outcome", ("PENDING", "STARTED", "SKIPPED", "MISSED", "FAILED")),
        comment="Each moment at which a schedule fired, or should have, and what came of it: one row per moment, which"
        " is what keeps a fire from being carried out twice. PENDING: waits to be made up.",
    )
    moment = ["tenant_id", "schedule_id", "scheduled_for"]
    op.create_index(
        "uq_schedule_fire_moment",
        "schedule_fire",
        moment,
        unique=True,
        postgresql_where=sa.text("kind <> 'TRIGGER'"),
    )
    op.create_index("ix_schedule_fire_schedule", "schedule_fire", [*moment, "id"])
    op.create_index(
        "uq_schedule_fire_execution",
        "schedule_fire",
        ["tenant_id", "execution_id"],
        unique=True,
        postgresql_where=sa.text("execution_id IS NOT NULL"),
    )
    op.create_index(
        "ix_schedule_fire_pending", "schedule_fire", moment, postgresql_where=sa.text("outcome = 'PENDING'")
    )


def _to(table: str, target: str) -> sa.ForeignKeyConstraint:
    """A reference within the tenant."""
    return sa.ForeignKeyConstraint(
        ["tenant_id", f"{target}_id"],
        [f"{target}.tenant_id", f"{target}.id"],
        name=op.f(f"fk_{table}_tenant_id_{target}_id"),
    )


def _check(table: str, column: str, values: tuple[str, ...]) -> sa.CheckConstraint:
    listed = ", ".join(repr(value) for value in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=op.f(f"ck_{table}_{column}"))


def downgrade() -> None:
    op.drop_table("schedule_fire")
    op.drop_table("schedule")
    op.drop_index("ix_execution_open", "execution")
