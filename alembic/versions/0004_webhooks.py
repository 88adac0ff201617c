"""Webhooks, their secrets, and the outbox of their deliveries, which a trigger on the events fills."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)

# Once per statement that stores events, in its transaction: what is committed will be delivered. Where no enabled
# webhook of the tenant wants any of them, it asks one question of a small index.
#
# clock_timestamp, not now: whoever stores events of an execution holds its row in execution_sequence meanwhile, so the
# moments of an execution run with its sequence. One moment for all rows of a statement: their sequence decides.
#
# EXECUTE, to be planned anew: a plan that was made while the tables were empty is kept for as long as its connection.
QUEUE_DELIVERIES = """
CREATE FUNCTION queue_webhook_deliveries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM added JOIN webhook USING (tenant_id)
        WHERE webhook.is_enabled AND webhook.archived_at IS NULL AND added.type = ANY (webhook.event_types)
    ) THEN
        EXECUTE $insert$
            INSERT INTO webhook_delivery (tenant_id, id, webhook_id, event_type, execution_id, sequence, occurred_at,
                task_execution_id, role_id, payload, status, attempts, next_attempt_at, created_at)
            SELECT tenant_id, gen_random_uuid(), webhook_id, type, execution_id, sequence, occurred_at,
                task_execution_id, role_id, payload, 'PENDING', 0, $1, clock_timestamp()
            FROM (
                SELECT added.*, webhook.id AS webhook_id
                FROM added
                JOIN execution ON execution.tenant_id = added.tenant_id AND execution.id = added.execution_id
                JOIN webhook ON webhook.tenant_id = execution.tenant_id AND webhook.project_id = execution.project_id
                WHERE webhook.is_enabled AND webhook.archived_at IS NULL AND added.type = ANY (webhook.event_types)
                ORDER BY added.execution_id, added.sequence
            ) AS told
        $insert$ USING clock_timestamp();
    END IF;
    RETURN NULL;
END $$
"""
TRIGGER = (
    "CREATE TRIGGER tell_webhooks AFTER INSERT ON execution_event REFERENCING NEW TABLE AS added"
    " FOR EACH STATEMENT EXECUTE FUNCTION queue_webhook_deliveries()"
)

GRANTS = (
    "GRANT SELECT, INSERT, UPDATE ON webhook TO regatta_app",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_secret, webhook_delivery TO regatta_app",
    "REVOKE ALL ON FUNCTION queue_webhook_deliveries() FROM PUBLIC",
)


def upgrade() -> None:
    _create_webhooks()
    _create_secrets()
    _create_deliveries()
    for statement in (QUEUE_DELIVERIES, TRIGGER, *GRANTS):
        op.execute(statement)


def _create_webhooks() -> None:
    op.create_table(
        "webhook",
        *_ids("tenant_id", "id", "project_id"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("event_types", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_reason", sa.Text()),
        sa.Column("failing_since", MOMENT),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.Uuid()),
        sa.Column("archived_at", MOMENT),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_webhook")),
        _to("webhook", "project"),
    )
    op.create_index(
        "uq_webhook_name",
        "webhook",
        ["tenant_id", "project_id", "name"],
        unique=True,
        postgresql_where=sa.text("archived_at IS NULL"),
    )
    op.create_index("ix_webhook_project_created", "webhook", ["tenant_id", "project_id", "created_at", "id"])
    op.create_index(
        "ix_webhook_enabled",
        "webhook",
        ["tenant_id", "project_id"],
        postgresql_where=sa.text("is_enabled AND archived_at IS NULL"),
    )


def _create_secrets() -> None:
    op.create_table(
        "webhook_secret",
        *_ids("tenant_id", "id", "webhook_id"),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_webhook_secret")),
        _to("webhook_secret", "webhook"),
    )
    op.create_index("ix_webhook_secret_webhook", "webhook_secret", ["tenant_id", "webhook_id"])


def _create_deliveries() -> None:
    op.create_table(
        "webhook_delivery",
        *_ids("tenant_id", "id", "webhook_id"),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("execution_id", sa.Uuid()),
        sa.Column("sequence", sa.BigInteger()),
        sa.Column("occurred_at", MOMENT, nullable=False),
        sa.Column("task_execution_id", sa.Uuid()),
        sa.Column("role_id", sa.Uuid()),
        sa.Column("payload", postgresql.JSONB(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", MOMENT),
        sa.Column("locked_until", MOMENT),
        sa.Column("response_status", sa.Integer()),
        sa.Column("response_body", sa.Text()),
        sa.Column("latency_seconds", sa.Double()),
        sa.Column("error", sa.Text()),
        sa.Column("redelivery_of", sa.Uuid()),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_webhook_delivery")),
        _to("webhook_delivery", "webhook"),
        sa.CheckConstraint("status IN ('PENDING', 'SUCCEEDED', 'FAILED')", name=op.f("ck_webhook_delivery_status")),
        comment="The outbox: a trigger on execution_event adds what an enabled webhook wants to be told. Its event is"
        " not referred to, for it may be removed earlier.",
    )
    is_open = sa.text("status = 'PENDING'")
    whose = ["tenant_id", "webhook_id"]
    op.create_index("ix_webhook_delivery_created", "webhook_delivery", [*whose, "created_at", "id"])
    op.create_index("ix_webhook_delivery_created_at", "webhook_delivery", ["created_at"])
    for name, columns in (("due", ["next_attempt_at", "sequence"]), ("order", ["execution_id", "sequence"])):
        op.create_index(f"ix_webhook_delivery_{name}", "webhook_delivery", [*whose, *columns], postgresql_where=is_open)
    op.create_index(
        "ix_webhook_delivery_locked",
        "webhook_delivery",
        whose,
        postgresql_where=sa.text("locked_until IS NOT NULL"),
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER tell_webhooks ON execution_event")
    op.execute("DROP FUNCTION queue_webhook_deliveries()")
    for table in ("webhook_delivery", "webhook_secret", "webhook"):
        op.drop_table(table)


def _ids(*names: str) -> list[sa.Column[object]]:
    return [sa.Column(name, sa.Uuid(), nullable=False) for name in names]


def _to(table: str, target: str) -> sa.ForeignKeyConstraint:
    """A reference within the tenant."""
    return sa.ForeignKeyConstraint(
        ["tenant_id", f"{target}_id"],
        [f"{target}.tenant_id", f"{target}.id"],
        name=op.f(f"fk_{table}_tenant_id_{target}_id"),
    )
