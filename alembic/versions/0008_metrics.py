"""Metrics: what ended waits in one table to be added to the sums in another; triggers put it there."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
NUMBERS = postgresql.ARRAY(sa.BigInteger())
COUNTS = ("completed", "failed", "cancelled", "repeated", "micros", "wait_micros")
TOKENS = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")
KEY = ("tenant_id", "dimension", "key", "grain", "start", "subject", "project_id", "team_id")
DIMENSIONS = ("TENANT", "PROJECT", "TEAM", "ROLE", "TASK", "MODEL", "TOOL", "STRATEGY", "TEMPLATE")
SUBJECTS = ("EXECUTION", "TASK", "CALL", "TOOL_CALL")

# The elements of a histogram are a bucket above 40 bits and below them how many are in it, in order of the buckets.
COMPACTED_HISTOGRAM = """
CREATE FUNCTION compacted_histogram(elements bigint[]) RETURNS bigint[] LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(array_agg((bucket << 40) | count ORDER BY bucket), '{}') FROM (
        SELECT element >> 40 AS bucket, sum(element & 1099511627775)::bigint AS count
        FROM unnest(elements) AS element GROUP BY element >> 40
    ) AS counted
$$
"""

# Once per row that ends, in its transaction: what is committed will be counted. A WHEN costs next to nothing where
# nothing ends, which is nearly always.
NOTE_ENDED = """
CREATE FUNCTION note_ended() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO metric_pending (tenant_id, subject, subject_id, at)
    VALUES (NEW.tenant_id, TG_ARGV[0], NEW.id, NEW.finished_at);
    RETURN NULL;
END $$
"""
NOTE_CALL = """
CREATE FUNCTION note_call() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO metric_pending (tenant_id, subject, subject_id, at)
    VALUES (NEW.tenant_id, 'CALL', NEW.id, NEW.booked_at);
    RETURN NULL;
END $$
"""
NOTE_TOOL_CALL = """
CREATE FUNCTION note_tool_call() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO metric_pending (tenant_id, subject, subject_id, at, task_execution_id, role_id, tool, is_error)
    VALUES (NEW.tenant_id, 'TOOL_CALL', NEW.execution_id, NEW.occurred_at, NEW.task_execution_id, NEW.role_id,
        NEW.payload ->> 'tool', (NEW.payload ->> 'is_error')::boolean);
    RETURN NULL;
END $$
"""
RAN = "NEW.status IN ('COMPLETED', 'FAILED', 'CANCELLED') AND NEW.finished_at IS NOT NULL"
STARTED = f"{RAN} AND NEW.started_at IS NOT NULL"
TRIGGERS = (
    (
        "CREATE TRIGGER note_ended AFTER UPDATE OF finished_at ON execution FOR EACH ROW"
        f" WHEN (OLD.finished_at IS NULL AND {RAN}) EXECUTE FUNCTION note_ended('EXECUTION')"
    ),
    (
        f"CREATE TRIGGER note_born_ended AFTER INSERT ON execution FOR EACH ROW WHEN ({RAN})"
        " EXECUTE FUNCTION note_ended('EXECUTION')"
    ),
    (
        "CREATE TRIGGER note_ended AFTER UPDATE OF finished_at ON task_execution FOR EACH ROW"
        f" WHEN (OLD.finished_at IS NULL AND {STARTED}) EXECUTE FUNCTION note_ended('TASK')"
    ),
    (
        f"CREATE TRIGGER note_born_ended AFTER INSERT ON task_execution FOR EACH ROW WHEN ({STARTED})"
        " EXECUTE FUNCTION note_ended('TASK')"
    ),
    "CREATE TRIGGER note_call AFTER INSERT ON ledger_entry FOR EACH ROW EXECUTE FUNCTION note_call()",
    (
        "CREATE TRIGGER note_tool_call AFTER INSERT ON execution_event FOR EACH ROW"
        " WHEN (NEW.type = 'ToolReturned') EXECUTE FUNCTION note_tool_call()"
    ),
)

GRANTS = (
    "GRANT SELECT, INSERT, DELETE ON metric_pending TO regatta_app",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON metric_rollup TO regatta_app",
    "REVOKE ALL ON FUNCTION note_ended(), note_call(), note_tool_call() FROM PUBLIC",
)


def upgrade() -> None:
    _create_pending()
    _create_rollup()
    for statement in (COMPACTED_HISTOGRAM, NOTE_ENDED, NOTE_CALL, NOTE_TOOL_CALL, *TRIGGERS):
        op.execute(statement)
    for statement in GRANTS:
        op.execute(statement)


def _create_pending() -> None:
    op.create_table(
        "metric_pending",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("task_execution_id", sa.Uuid()),
        sa.Column("role_id", sa.Uuid()),
        sa.Column("tool", sa.Text()),
        sa.Column("is_error", sa.Boolean()),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_metric_pending")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_metric_pending_tenant_id")),
        _in("metric_pending", "subject", SUBJECTS),
        comment="What ended and is in no sum of metric_rollup yet; triggers add it, the roll-up takes it away."
        " subject_id is the execution, the task execution, the ledger entry, or of a tool's answer the execution, whose"
        " event may be removed before: what it says is here.",
        # It fills and empties all the time: whoever looks at it must not walk over what is gone.
        postgresql_with={"autovacuum_vacuum_scale_factor": "0", "autovacuum_vacuum_threshold": "10000"},
    )


def _create_rollup() -> None:
    op.create_table(
        "metric_rollup",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("dimension", "key", "grain")),
        sa.Column("start", MOMENT, nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Uuid(), nullable=False) for name in ("project_id", "team_id")),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in (*COUNTS, *TOKENS)),
        sa.Column("cost", sa.Numeric(24, 12), nullable=False),
        *(sa.Column(name, NUMBERS, nullable=False) for name in ("durations", "waits")),
        sa.PrimaryKeyConstraint(*KEY, name=op.f("pk_metric_rollup")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_metric_rollup_tenant_id")),
        _in("metric_rollup", "dimension", DIMENSIONS),
        _in("metric_rollup", "grain", ("HOUR", "DAY")),
        _in("metric_rollup", "subject", SUBJECTS),
        comment="Sums of what ended, by hour and by day (UTC); of no project or team: the id of zeros. durations and"
        " waits are histograms: each element a bucket, shifted by 40 bits, and how many are in it.",
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index("ix_metric_rollup_start", "metric_rollup", ["tenant_id", "dimension", "grain", "start"])


def _in(table: str, column: str, values: tuple[str, ...]) -> sa.CheckConstraint:
    listed = ", ".join(repr(value) for value in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=op.f(f"ck_{table}_{column}"))


def downgrade() -> None:
    for table, name in (
        ("execution", "note_ended"),
        ("execution", "note_born_ended"),
        ("task_execution", "note_ended"),
        ("task_execution", "note_born_ended"),
        ("ledger_entry", "note_call"),
        ("execution_event", "note_tool_call"),
    ):
        op.execute(f"DROP TRIGGER {name} ON {table}")
    for function in ("note_ended()", "note_call()", "note_tool_call()"):
        op.execute(f"DROP FUNCTION {function}")
    op.execute("DROP FUNCTION compacted_histogram(bigint[])")
    for table in ("metric_rollup", "metric_pending"):
        op.drop_table(table)
