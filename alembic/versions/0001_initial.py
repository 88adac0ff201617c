"""The first tables, the application's role, the default tenant, and monthly partitions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MONTHLY_PARTITIONS = """
CREATE FUNCTION ensure_month_partitions(ahead integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    parent text;
    month date;
BEGIN
    -- Two callers at once would both try to make the same partition.
    PERFORM pg_advisory_xact_lock(hashtext('ensure_month_partitions'));
    FOREACH parent IN ARRAY ARRAY['execution_event', 'ledger_entry'] LOOP
        EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF %I DEFAULT', parent || '_other', parent);
        FOR step IN 0..least(ahead, 24) LOOP
            month := date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => step);
            BEGIN
                EXECUTE format(
                    'CREATE TABLE IF NOT EXISTS %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                    parent || to_char(month, '"_"YYYYMM'), parent,
                    month::text || ' 00:00+00', (month + interval '1 month')::date::text || ' 00:00+00');
            EXCEPTION WHEN check_violation THEN
                -- Rows of that month are in the default partition already: they stay there, none is lost.
                RAISE NOTICE 'the default partition of % keeps %', parent, month;
            END;
        END LOOP;
    END LOOP;
END $$
"""

APPLICATION_ROLE = (
    """
    DO $$
    BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'regatta_app') THEN
            CREATE ROLE regatta_app NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
        END IF;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL; -- another database of this server is being migrated at the same moment
    END $$
    """,
    """
    DO $$
    BEGIN
        EXECUTE format('GRANT regatta_app TO %I', current_user);
    EXCEPTION WHEN unique_violation THEN
        NULL; -- the same user migrates another database at the same moment: it has the role by now
    END $$
    """,
    "GRANT USAGE ON SCHEMA public TO regatta_app",
    """
    GRANT SELECT, INSERT, UPDATE, DELETE ON
        project, team, role, task, task_dependency, tool, role_tool, execution, execution_sequence, task_execution,
        idempotency_key, worker
    TO regatta_app
    """,
    # History is written once: the application may neither change nor delete it.
    "GRANT SELECT, INSERT ON team_revision, execution_event, ledger_entry TO regatta_app",
    "GRANT SELECT ON tenant, alembic_version TO regatta_app",
    "REVOKE ALL ON FUNCTION ensure_month_partitions(integer) FROM PUBLIC",
    "GRANT EXECUTE ON FUNCTION ensure_month_partitions(integer) TO regatta_app",
)


def upgrade() -> None:
    op.create_table(
        "tenant",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenant")),
    )
    op.create_table(
        "worker",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker")),
        comment="Infrastructure, of no tenant: which workers are alive.",
    )
    op.create_table(
        "idempotency_key",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.Text(), nullable=False),
        sa.Column("result", sa.Uuid(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_idempotency_key_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "key", name=op.f("pk_idempotency_key")),
    )
    op.create_index("ix_idempotency_key_expires_at", "idempotency_key", ["expires_at"], unique=False)
    op.create_table(
        "project",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_project_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_project")),
    )
    op.create_index("ix_project_created", "project", ["tenant_id", "created_at", "id"], unique=False)
    op.create_index(
        "uq_project_name",
        "project",
        ["tenant_id", "name"],
        unique=True,
        postgresql_where=sa.text("archived_at IS NULL"),
    )
    op.create_table(
        "team",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("process", sa.Text(), nullable=False),
        sa.Column("manager_id", sa.Uuid(), nullable=True),
        sa.Column("max_iterations", sa.Integer(), nullable=False),
        sa.Column("execution_timeout_seconds", sa.Double(), nullable=False),
        sa.Column("task_timeout_seconds", sa.Double(), nullable=False),
        sa.Column("revision_id", sa.Uuid(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "process IN ('SEQUENTIAL', 'PARALLEL', 'HIERARCHICAL', 'COLLABORATIVE')", name=op.f("ck_team_process")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "project_id"], ["project.tenant_id", "project.id"], name=op.f("fk_team_tenant_id_project_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_team")),
    )
    op.create_index("ix_team_project_created", "team", ["tenant_id", "project_id", "created_at", "id"], unique=False)
    op.create_index(
        "uq_team_name",
        "team",
        ["tenant_id", "project_id", "name"],
        unique=True,
        postgresql_where=sa.text("archived_at IS NULL"),
    )
    op.create_table(
        "tool",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("configuration", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "kind IN ('CALCULATOR', 'HTTP_GET', 'WEB_SEARCH', 'FILE_READER', 'FILE_WRITER', 'MCP_SERVER', 'CREWAI_TOOL')",
            name=op.f("ck_tool_kind"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "project_id"], ["project.tenant_id", "project.id"], name=op.f("fk_tool_tenant_id_project_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_tool")),
    )
    op.create_index("ix_tool_project_created", "tool", ["tenant_id", "project_id", "created_at", "id"], unique=False)
    op.create_index(
        "uq_tool_name",
        "tool",
        ["tenant_id", "project_id", "name"],
        unique=True,
        postgresql_where=sa.text("archived_at IS NULL"),
    )
    op.create_table(
        "role",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("team_id", sa.Uuid(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("expertise", sa.Text(), nullable=False),
        sa.Column("goals", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("backstory", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("temperature", sa.Double(), nullable=False),
        sa.Column("max_tokens", sa.Integer(), nullable=True),
        sa.Column("model_parameters", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("skills", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("rank", sa.Text(), nullable=False),
        sa.Column("supervisor_id", sa.Uuid(), nullable=True),
        sa.Column("is_delegation_allowed", sa.Boolean(), nullable=False),
        sa.Column("delegates_to", sa.Text(), nullable=False),
        sa.Column("delegation_kinds", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("delegates_to IN ('SUBORDINATES', 'ANYONE')", name=op.f("ck_role_delegates_to")),
        sa.CheckConstraint(
            "expertise IN ('JUNIOR', 'INTERMEDIATE', 'SENIOR', 'EXPERT')", name=op.f("ck_role_expertise")
        ),
        sa.CheckConstraint("rank IN ('SUPERVISOR', 'SPECIALIST', 'WORKER')", name=op.f("ck_role_rank")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "supervisor_id"], ["role.tenant_id", "role.id"], name=op.f("fk_role_tenant_id_supervisor_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "team_id"], ["team.tenant_id", "team.id"], name=op.f("fk_role_tenant_id_team_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_role")),
    )
    op.create_index("ix_role_team", "role", ["tenant_id", "team_id", "position", "id"], unique=False)
    op.create_table(
        "team_revision",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("team_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "team_id"], ["team.tenant_id", "team.id"], name=op.f("fk_team_revision_tenant_id_team_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_team_revision")),
        sa.UniqueConstraint("tenant_id", "team_id", "content_hash", name="uq_team_revision_content"),
        sa.UniqueConstraint("tenant_id", "team_id", "number", name="uq_team_revision_number"),
    )
    op.create_table(
        "execution",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("team_id", sa.Uuid(), nullable=False),
        sa.Column("revision_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("inputs", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("max_iterations", sa.Integer(), nullable=False),
        sa.Column("execution_timeout_seconds", sa.Double(), nullable=False),
        sa.Column("task_timeout_seconds", sa.Double(), nullable=False),
        sa.Column("output", sa.Text(), nullable=True),
        sa.Column("failure_code", sa.Text(), nullable=True),
        sa.Column("failure_message", sa.Text(), nullable=True),
        sa.Column("worker_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_by", sa.Uuid(), nullable=True),
        sa.CheckConstraint(
            "failure_code IN ('MODEL_UNAVAILABLE', 'MODEL_REFUSED', 'MODEL_ANSWER_INVALID', 'MODEL_UNKNOWN', 'TOOL_FAILED', 'TASK_TIMEOUT', 'EXECUTION_TIMEOUT', 'MAX_ITERATIONS', 'OUTPUT_INVALID', 'NO_CAPABLE_ROLE', 'PROCESS_UNSUPPORTED', 'WORKER_LOST', 'INTERNAL')",
            name=op.f("ck_execution_failure_code"),
        ),
        sa.CheckConstraint(
            "status IN ('QUEUED', 'RUNNING', 'CANCELLING', 'COMPLETED', 'FAILED', 'CANCELLED')",
            name=op.f("ck_execution_status"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "project_id"],
            ["project.tenant_id", "project.id"],
            name=op.f("fk_execution_tenant_id_project_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "revision_id"],
            ["team_revision.tenant_id", "team_revision.id"],
            name=op.f("fk_execution_tenant_id_revision_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "team_id"], ["team.tenant_id", "team.id"], name=op.f("fk_execution_tenant_id_team_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_execution")),
    )
    op.create_index(
        "ix_execution_project_created", "execution", ["tenant_id", "project_id", "created_at", "id"], unique=False
    )
    op.create_index(
        "ix_execution_team_created", "execution", ["tenant_id", "team_id", "created_at", "id"], unique=False
    )
    op.create_index(
        "ix_execution_under_way",
        "execution",
        ["status", "created_at"],
        unique=False,
        postgresql_where=sa.text("status IN ('QUEUED', 'RUNNING', 'CANCELLING')"),
    )
    op.create_table(
        "role_tool",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("role_id", sa.Uuid(), nullable=False),
        sa.Column("tool_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "role_id"], ["role.tenant_id", "role.id"], name=op.f("fk_role_tool_tenant_id_role_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "tool_id"], ["tool.tenant_id", "tool.id"], name=op.f("fk_role_tool_tenant_id_tool_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "role_id", "tool_id", name=op.f("pk_role_tool")),
    )
    op.create_index("ix_role_tool_tool", "role_tool", ["tenant_id", "tool_id"], unique=False)
    op.create_table(
        "task",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("team_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("expected_output", sa.Text(), nullable=False),
        sa.Column("role_id", sa.Uuid(), nullable=True),
        sa.Column("required_skills", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "role_id"], ["role.tenant_id", "role.id"], name=op.f("fk_task_tenant_id_role_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "team_id"], ["team.tenant_id", "team.id"], name=op.f("fk_task_tenant_id_team_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_task")),
    )
    op.create_index("ix_task_team", "task", ["tenant_id", "team_id", "position", "id"], unique=False)
    op.create_index(
        "uq_task_name",
        "task",
        ["tenant_id", "team_id", "name"],
        unique=True,
        postgresql_where=sa.text("archived_at IS NULL"),
    )
    op.create_table(
        "execution_sequence",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("execution_id", sa.Uuid(), nullable=False),
        sa.Column("last_sequence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("owner_epoch", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "execution_id"],
            ["execution.tenant_id", "execution.id"],
            name=op.f("fk_execution_sequence_tenant_id_execution_id"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "execution_id", name=op.f("pk_execution_sequence")),
        comment="The narrow row that every writer of an execution locks first: last event number, owning epoch.",
    )
    op.create_table(
        "task_dependency",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("team_id", sa.Uuid(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("depends_on_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("task_id <> depends_on_id", name=op.f("ck_task_dependency_not_itself")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "depends_on_id"],
            ["task.tenant_id", "task.id"],
            name=op.f("fk_task_dependency_tenant_id_depends_on_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "task_id"], ["task.tenant_id", "task.id"], name=op.f("fk_task_dependency_tenant_id_task_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "team_id"], ["team.tenant_id", "team.id"], name=op.f("fk_task_dependency_tenant_id_team_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "task_id", "depends_on_id", name=op.f("pk_task_dependency")),
    )
    op.create_index("ix_task_dependency_team", "task_dependency", ["tenant_id", "team_id"], unique=False)
    op.create_table(
        "task_execution",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("execution_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("expected_output", sa.Text(), nullable=False),
        sa.Column("role_id", sa.Uuid(), nullable=False),
        sa.Column("role_title", sa.Text(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=True),
        sa.Column("waits_for", sa.ARRAY(sa.Uuid()), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("output", sa.Text(), nullable=True),
        sa.Column("failure_code", sa.Text(), nullable=True),
        sa.Column("failure_message", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "failure_code IN ('MODEL_UNAVAILABLE', 'MODEL_REFUSED', 'MODEL_ANSWER_INVALID', 'MODEL_UNKNOWN', 'TOOL_FAILED', 'TASK_TIMEOUT', 'EXECUTION_TIMEOUT', 'MAX_ITERATIONS', 'OUTPUT_INVALID', 'NO_CAPABLE_ROLE', 'PROCESS_UNSUPPORTED', 'WORKER_LOST', 'INTERNAL')",
            name=op.f("ck_task_execution_failure_code"),
        ),
        sa.CheckConstraint(
            "status IN ('PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'SKIPPED', 'CANCELLED')",
            name=op.f("ck_task_execution_status"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "execution_id"],
            ["execution.tenant_id", "execution.id"],
            name=op.f("fk_task_execution_tenant_id_execution_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "role_id"], ["role.tenant_id", "role.id"], name=op.f("fk_task_execution_tenant_id_role_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "task_id"], ["task.tenant_id", "task.id"], name=op.f("fk_task_execution_tenant_id_task_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_task_execution")),
        sa.UniqueConstraint("tenant_id", "execution_id", "position", name="uq_task_execution_position"),
    )
    op.create_table(
        "execution_event",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("execution_id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("task_execution_id", sa.Uuid(), nullable=True),
        sa.Column("role_id", sa.Uuid(), nullable=True),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "execution_id"],
            ["execution.tenant_id", "execution.id"],
            name=op.f("fk_execution_event_tenant_id_execution_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "role_id"], ["role.tenant_id", "role.id"], name=op.f("fk_execution_event_tenant_id_role_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "task_execution_id"],
            ["task_execution.tenant_id", "task_execution.id"],
            name=op.f("fk_execution_event_tenant_id_task_execution_id"),
        ),
        sa.PrimaryKeyConstraint(
            "tenant_id", "execution_id", "sequence", "occurred_at", name=op.f("pk_execution_event")
        ),
        postgresql_partition_by="RANGE (occurred_at)",
    )
    op.create_table(
        "ledger_entry",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("team_id", sa.Uuid(), nullable=False),
        sa.Column("execution_id", sa.Uuid(), nullable=False),
        sa.Column("task_execution_id", sa.Uuid(), nullable=False),
        sa.Column("role_id", sa.Uuid(), nullable=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=False),
        sa.Column("token_source", sa.Text(), nullable=False),
        sa.Column("cost", sa.Numeric(precision=24, scale=12), nullable=False),
        sa.Column("latency_seconds", sa.Double(), nullable=True),
        sa.Column("time_to_first_token_seconds", sa.Double(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("booked_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("outcome IN ('SUCCEEDED', 'FAILED', 'CANCELLED')", name=op.f("ck_ledger_entry_outcome")),
        sa.CheckConstraint("token_source IN ('PROVIDER', 'ESTIMATE')", name=op.f("ck_ledger_entry_token_source")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "execution_id"],
            ["execution.tenant_id", "execution.id"],
            name=op.f("fk_ledger_entry_tenant_id_execution_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "project_id"],
            ["project.tenant_id", "project.id"],
            name=op.f("fk_ledger_entry_tenant_id_project_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "role_id"], ["role.tenant_id", "role.id"], name=op.f("fk_ledger_entry_tenant_id_role_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "task_execution_id"],
            ["task_execution.tenant_id", "task_execution.id"],
            name=op.f("fk_ledger_entry_tenant_id_task_execution_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "team_id"], ["team.tenant_id", "team.id"], name=op.f("fk_ledger_entry_tenant_id_team_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", "booked_at", name=op.f("pk_ledger_entry")),
        postgresql_partition_by="RANGE (booked_at)",
    )
    op.create_index("ix_ledger_entry_execution", "ledger_entry", ["tenant_id", "execution_id"], unique=False)
    op.create_index("ix_ledger_entry_task_execution", "ledger_entry", ["tenant_id", "task_execution_id"], unique=False)
    op.create_index("ix_ledger_entry_team_booked", "ledger_entry", ["tenant_id", "team_id", "booked_at"], unique=False)
    op.create_foreign_key(
        "fk_team_tenant_id_manager_id", "team", "role", ["tenant_id", "manager_id"], ["tenant_id", "id"]
    )
    op.create_foreign_key(
        "fk_team_tenant_id_revision_id", "team", "team_revision", ["tenant_id", "revision_id"], ["tenant_id", "id"]
    )
    op.execute(MONTHLY_PARTITIONS)
    op.execute("SELECT ensure_month_partitions(3)")
    for statement in APPLICATION_ROLE:
        op.execute(statement)
    op.execute("INSERT INTO tenant VALUES ('00000000-0000-0000-0000-000000000001', 'default', now())")


def downgrade() -> None:
    op.execute("DROP FUNCTION ensure_month_partitions(integer)")
    op.drop_constraint("fk_team_tenant_id_revision_id", "team", type_="foreignkey")
    op.drop_constraint("fk_team_tenant_id_manager_id", "team", type_="foreignkey")
    op.drop_index("ix_ledger_entry_team_booked", table_name="ledger_entry")
    op.drop_index("ix_ledger_entry_task_execution", table_name="ledger_entry")
    op.drop_index("ix_ledger_entry_execution", table_name="ledger_entry")
    op.drop_table("ledger_entry")
    op.drop_table("execution_event")
    op.drop_table("task_execution")
    op.drop_index("ix_task_dependency_team", table_name="task_dependency")
    op.drop_table("task_dependency")
    op.drop_table("execution_sequence")
    op.drop_index("uq_task_name", table_name="task", postgresql_where=sa.text("archived_at IS NULL"))
    op.drop_index("ix_task_team", table_name="task")
    op.drop_table("task")
    op.drop_index("ix_role_tool_tool", table_name="role_tool")
    op.drop_table("role_tool")
    op.drop_index(
        "ix_execution_under_way",
        table_name="execution",
        postgresql_where=sa.text("status IN ('QUEUED', 'RUNNING', 'CANCELLING')"),
    )
    op.drop_index("ix_execution_team_created", table_name="execution")
    op.drop_index("ix_execution_project_created", table_name="execution")
    op.drop_table("execution")
    op.drop_table("team_revision")
    op.drop_index("ix_role_team", table_name="role")
    op.drop_table("role")
    op.drop_index("uq_tool_name", table_name="tool", postgresql_where=sa.text("archived_at IS NULL"))
    op.drop_index("ix_tool_project_created", table_name="tool")
    op.drop_table("tool")
    op.drop_index("uq_team_name", table_name="team", postgresql_where=sa.text("archived_at IS NULL"))
    op.drop_index("ix_team_project_created", table_name="team")
    op.drop_table("team")
    op.drop_index("uq_project_name", table_name="project", postgresql_where=sa.text("archived_at IS NULL"))
    op.drop_index("ix_project_created", table_name="project")
    op.drop_table("project")
    op.drop_index("ix_idempotency_key_expires_at", table_name="idempotency_key")
    op.drop_table("idempotency_key")
    op.drop_table("worker")
    op.drop_table("tenant")
