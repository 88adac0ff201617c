"""Alert rules and their alerts, which a trigger tells webhooks of; lost workers; what finding failures needs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
AMOUNT = sa.Numeric(24, 12)
METRICS = (
    "EXECUTION_SECONDS",
    "FAILURE_RATE",
    "TASK_FAILURE_RATE",
    "SPEND",
    "BUDGET_SHARE",
    "QUEUE_DEPTH",
    "QUEUE_WAIT_SECONDS",
    "WORKERS_LOST",
)
SEVERITIES = ("INFO", "WARNING", "CRITICAL")

# In the transaction that writes an alert, whoever does: what is committed will be delivered. One that began and
# ended while nobody looked is written once, and told twice. In an execution's deliveries the sequence tells the order;
# here it tells the beginning, 1, from the end, 2.
TELL_OF_ALERT = """
CREATE FUNCTION tell_of_alert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO webhook_delivery (tenant_id, id, webhook_id, event_type, alert_id, sequence, occurred_at, payload,
        status, attempts, next_attempt_at, created_at)
    SELECT NEW.tenant_id, gen_random_uuid(), webhook.id, told.event_type, NEW.id, told.sequence, told.at,
        jsonb_build_object('alert_id', NEW.id, 'rule_id', NEW.rule_id, 'name', alert_rule.name,
            'project_id', NEW.project_id, 'team_id', NEW.team_id, 'metric', NEW.metric, 'severity', NEW.severity,
            'state', told.state, 'threshold', trim_scale(NEW.threshold)::text, 'value', trim_scale(NEW.value)::text,
            'peak', trim_scale(NEW.peak)::text, 'message', NEW.message, 'evidence', NEW.evidence, 'fired_at', NEW.fired_at,
            'resolved_at', CASE told.state WHEN 'RESOLVED' THEN NEW.resolved_at END,
            'last_value', CASE told.state WHEN 'RESOLVED' THEN trim_scale(NEW.last_value)::text END),
        'PENDING', 0, clock_timestamp(), clock_timestamp()
    FROM (VALUES (1, 'AlertFired', 'FIRING', NEW.fired_at), (2, 'AlertResolved', 'RESOLVED', NEW.resolved_at))
        AS told (sequence, event_type, state, at)
    JOIN alert_rule ON alert_rule.tenant_id = NEW.tenant_id AND alert_rule.id = NEW.rule_id
    JOIN webhook ON webhook.tenant_id = NEW.tenant_id
        AND (NEW.project_id IS NULL OR webhook.project_id = NEW.project_id)
        AND webhook.is_enabled AND webhook.archived_at IS NULL AND told.event_type = ANY (webhook.event_types)
    WHERE CASE told.state WHEN 'FIRING' THEN TG_OP = 'INSERT' ELSE NEW.state = 'RESOLVED' END
    ORDER BY told.sequence;
    RETURN NULL;
END $$
"""
TRIGGERS = (
    "CREATE TRIGGER tell_of_new_alert AFTER INSERT ON alert FOR EACH ROW EXECUTE FUNCTION tell_of_alert()",
    (
        "CREATE TRIGGER tell_of_resolved_alert AFTER UPDATE OF state ON alert FOR EACH ROW"
        " WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION tell_of_alert()"
    ),
)
GRANTS = (
    "GRANT SELECT, INSERT, UPDATE ON alert_rule, alert TO regatta_app",
    "GRANT DELETE ON alert TO regatta_app",
    "GRANT SELECT, INSERT, DELETE ON worker_loss TO regatta_app",
    "GRANT UPDATE (alert_rules_seeded_at) ON tenant TO regatta_app",
    "REVOKE ALL ON FUNCTION tell_of_alert() FROM PUBLIC",
)


def upgrade() -> None:
    op.add_column("tenant", sa.Column("alert_rules_seeded_at", MOMENT))
    op.add_column("webhook_delivery", sa.Column("alert_id", sa.Uuid()))
    _create_rules()
    _create_alerts()
    _create_losses()
    op.create_index(
        "ix_task_execution_finished",
        "task_execution",
        ["tenant_id", "finished_at"],
        postgresql_where=sa.text("status IN ('COMPLETED', 'FAILED')"),
    )
    for statement in (TELL_OF_ALERT, *TRIGGERS, *GRANTS):
        op.execute(statement)


def _create_rules() -> None:
    op.create_table(
        "alert_rule",
        *_ids("tenant_id", "id"),
        sa.Column("project_id", sa.Uuid()),
        sa.Column("team_id", sa.Uuid()),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("threshold", AMOUNT, nullable=False),
        sa.Column("clears_at", AMOUNT),
        sa.Column("window_seconds", sa.Double(), nullable=False),
        sa.Column("minimum_samples", sa.Integer()),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.Column("is_seed", sa.Boolean(), nullable=False),
        sa.Column("evaluated_until", MOMENT, nullable=False),
        sa.Column("due_at", MOMENT),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("state_since", MOMENT),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.Uuid()),
        sa.Column("archived_at", MOMENT),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_alert_rule")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_alert_rule_tenant_id")),
        _to("alert_rule", "project", "project_id"),
        _to("alert_rule", "team", "team_id"),
        _one_of("alert_rule", "metric", METRICS),
        _one_of("alert_rule", "severity", SEVERITIES),
        _one_of("alert_rule", "state", ("OK", "FIRING", "RESOLVED")),
        comment="What follows is_seed is written by who evaluates it, under the lock of the row. due_at: there is more"
        " to judge from then on; NULL while the rule is out of use.",
    )
    op.create_index(
        "uq_alert_rule_name",
        "alert_rule",
        ["tenant_id", "name"],
        unique=True,
        postgresql_where=sa.text("archived_at IS NULL"),
    )
    op.create_index("ix_alert_rule_created", "alert_rule", ["tenant_id", "created_at", "id"])
    op.create_index("ix_alert_rule_due_at", "alert_rule", ["due_at"], postgresql_where=sa.text("due_at IS NOT NULL"))


def _create_alerts() -> None:
    op.create_table(
        "alert",
        *_ids("tenant_id", "id", "rule_id"),
        sa.Column("project_id", sa.Uuid()),
        sa.Column("team_id", sa.Uuid()),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("threshold", AMOUNT, nullable=False),
        sa.Column("value", AMOUNT, nullable=False),
        sa.Column("peak", AMOUNT, nullable=False),
        sa.Column("last_value", AMOUNT),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("evidence", postgresql.JSONB(), nullable=False),
        sa.Column("fired_at", MOMENT, nullable=False),
        sa.Column("calm_since", MOMENT),
        sa.Column("resolved_at", MOMENT),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_alert")),
        _to("alert", "alert_rule", "rule_id"),
        _to("alert", "project", "project_id"),
        _to("alert", "team", "team_id"),
        _one_of("alert", "metric", METRICS),
        _one_of("alert", "severity", SEVERITIES),
        _one_of("alert", "state", ("FIRING", "RESOLVED")),
        sa.CheckConstraint("(state = 'RESOLVED') = (resolved_at IS NOT NULL)", name=op.f("ck_alert_resolved_at")),
        comment="One row from when a rule did not hold until it held again. Triggers tell webhooks.",
    )
    is_open, is_over = sa.text("state = 'FIRING'"), sa.text("state = 'RESOLVED'")
    op.create_index("uq_alert_open", "alert", ["tenant_id", "rule_id"], unique=True, postgresql_where=is_open)
    op.create_index("ix_alert_fired", "alert", ["tenant_id", "fired_at", "id"])
    op.create_index("ix_alert_project_fired", "alert", ["tenant_id", "project_id", "fired_at", "id"])
    op.create_index("ix_alert_rule_fired", "alert", ["tenant_id", "rule_id", "fired_at", "id"])
    op.create_index("ix_alert_changed", "alert", ["tenant_id", "changed_at"], postgresql_where=is_over)


def _create_losses() -> None:
    op.create_table(
        "worker_loss",
        sa.Column("worker_id", sa.Text(), nullable=False),
        sa.Column("lost_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("worker_id", "lost_at", name=op.f("pk_worker_loss")),
        comment="Infrastructure, of no tenant: workers that fell silent, when others took over what they had. Kept for"
        " 30 days.",
    )
    op.create_index("ix_worker_loss_lost_at", "worker_loss", ["lost_at"])


def downgrade() -> None:
    for trigger in ("tell_of_new_alert", "tell_of_resolved_alert"):
        op.execute(f"DROP TRIGGER {trigger} ON alert")
    op.execute("DROP FUNCTION tell_of_alert()")
    op.execute("REVOKE UPDATE (alert_rules_seeded_at) ON tenant FROM regatta_app")
    # What older code cannot say of what it is.
    op.execute("DELETE FROM webhook_delivery WHERE alert_id IS NOT NULL")
    op.drop_index("ix_task_execution_finished", "task_execution")
    for table in ("worker_loss", "alert", "alert_rule"):
        op.drop_table(table)
    op.drop_column("webhook_delivery", "alert_id")
    op.drop_column("tenant", "alert_rules_seeded_at")


def _ids(*names: str) -> list[sa.Column[object]]:
    return [sa.Column(name, sa.Uuid(), nullable=False) for name in names]


def _to(table: str, target: str, column: str) -> sa.ForeignKeyConstraint:
    """A reference within the tenant."""
    return sa.ForeignKeyConstraint(
        ["tenant_id", column], [f"{target}.tenant_id", f"{target}.id"], name=op.f(f"fk_{table}_tenant_id_{column}")
    )


def _one_of(table: str, column: str, values: tuple[str, ...]) -> sa.CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=op.f(f"ck_{table}_{column}"))
