"""The audit: triggers that write down what mutations change, in the change's own transaction, for good."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

JSONB = postgresql.JSONB()

# A secret never gets here, nor what retention removes elsewhere: that there was a value is told, and that it changed.
# An exact amount becomes a text, for whoever reads JSON makes a double of a number. Of an address only what is certainly
# the server is told: its path, its parameters and who signs in there are often all the secret that there is.
AUDIT_ADDRESS = r"""
CREATE FUNCTION audit_address(address text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN server IS NULL THEN '(not kept)'
        WHEN server = rtrim(address, '/') THEN server
        ELSE server || '/(not kept)'
    END
    FROM (
        SELECT parts[1] || parts[2] AS server
        FROM (VALUES (regexp_match(address,
            '^([a-z]+://)(?:[^/?#\\\s]*@)?((?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]+)?)(?:[/?#].*)?$', 'i'))) AS found (parts)
    ) AS told
$$
"""

AUDIT_VALUE = """
CREATE FUNCTION audit_value(name text, value jsonb, withheld text[]) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN value IS NULL OR value = 'null' THEN NULL
        WHEN name = ANY (withheld) THEN '"(not kept)"'
        WHEN name IN ('url', 'base_url') THEN to_jsonb(audit_address(value #>> '{}'))
        WHEN name IN ('monthly_budget', 'max_budget', 'max_task_budget', 'prompt_price', 'completion_price', 'cached_price',
            'threshold', 'clears_at', 'value', 'peak', 'last_value') THEN to_jsonb(trim_scale((value #>> '{}')::numeric)::text)
        ELSE value
    END
$$
"""

# Arguments: the type of the object, the column with its id, whether the row is the whole object or a part of it, and
# the columns whose values are not kept.
#
# With the rights of the owner, for the application cannot write an entry by itself.
#
# clock_timestamp, not now: the entries of a transaction stand in the order of its changes. An id is a UUIDv7, as all that
# the application makes. The lock holds nobody up: whoever downloads sees by it since which second somebody writes
# entries that are not to be seen yet (persistence/audit_reader.py). It is taken before the moment of an entry is read.
# Seconds since 1970 soon need more than 31 bits, so they are counted from later on.
AUDIT_CHANGE = """
CREATE FUNCTION audit_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    withheld text[] := TG_ARGV[3:];
    former jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
    later jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
    whole jsonb := coalesce(later, former);
    untold text[] := '{tenant_id}';
    before jsonb;
    after jsonb;
    moment timestamptz;
BEGIN
    IF TG_ARGV[2] = 'part' THEN
        untold := untold || '{id,team_id,created_at}' || TG_ARGV[1];
    END IF;
    IF TG_OP = 'UPDATE' THEN
        -- What every change brings along, or what the server notes for itself.
        untold := untold || '{updated_at,changed_at,version,revision_id,sequence,last_fire_id,evaluated_until,
            due_at,alert_rules_seeded_at}';
    END IF;
    SELECT jsonb_object_agg(key, audit_value(key, former -> key, withheld)),
        jsonb_object_agg(key, audit_value(key, later -> key, withheld))
    INTO before, after
    FROM jsonb_object_keys(whole) AS key
    WHERE key <> ALL (untold) AND (TG_OP <> 'UPDATE' OR former -> key IS DISTINCT FROM later -> key);
    IF before IS NULL THEN
        RETURN NULL;
    END IF;
    PERFORM pg_advisory_xact_lock_shared(1096107337, (floor(extract(epoch FROM now())) - 1500000000)::int);
    moment := clock_timestamp();
    INSERT INTO audit_entry (tenant_id, id, occurred_at, operation, principal_id, request_id, address, user_agent,
        object_type, object_id, action, before, after)
    VALUES (coalesce(whole ->> 'tenant_id', whole ->> 'id')::uuid, audit_id(moment), moment,
        current_setting('regatta.operation'), nullif(current_setting('regatta.principal', true), '')::uuid,
        nullif(current_setting('regatta.request_id', true), ''), nullif(current_setting('regatta.address', true), ''),
        nullif(current_setting('regatta.user_agent', true), ''), TG_ARGV[0], (whole ->> TG_ARGV[1])::uuid,
        CASE WHEN TG_ARGV[2] = 'part' OR TG_OP = 'UPDATE' THEN 'CHANGED' WHEN TG_OP = 'INSERT' THEN 'CREATED'
            ELSE 'REMOVED' END,
        CASE WHEN former IS NOT NULL THEN before END, CASE WHEN later IS NOT NULL THEN after END);
    RETURN NULL;
END $$
"""

AUDIT_ID = """
CREATE FUNCTION audit_id(moment timestamptz) RETURNS uuid LANGUAGE sql AS $$
    SELECT encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid()) PLACING
        substring(int8send(floor(extract(epoch FROM moment) * 1000)::bigint) FROM 3) FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid
$$
"""

AUDIT_STANDS = """
CREATE FUNCTION audit_stands() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('regatta.is_forgetting', true) = 'yes' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'what the audit says stays as it is' USING ERRCODE = 'insufficient_privilege';
END $$
"""

FORGET_AUDIT = """
CREATE FUNCTION forget_audit(older_than timestamptz, most integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '1s' AS $$
-- Removes at most so many entries from before that moment, and gives how many it was. Nothing of the last thirty days,
-- whatever is asked: the application cannot hide what it has just done.
DECLARE
    bound timestamptz := least(older_than, now() - interval '30 days');
    written integer;
BEGIN
    IF older_than IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM set_config('regatta.is_forgetting', 'yes', true);
    DELETE FROM audit_entry AS row USING (
        SELECT old.tenant_id, old.id FROM tenant CROSS JOIN LATERAL (
            SELECT tenant_id, id FROM audit_entry AS each
            WHERE each.tenant_id = tenant.id AND each.occurred_at < bound
            ORDER BY each.occurred_at LIMIT least(most, 1000) FOR UPDATE SKIP LOCKED
        ) AS old
        LIMIT least(most, 1000)
    ) AS old
    WHERE row.tenant_id = old.tenant_id AND row.id = old.id;
    GET DIAGNOSTICS written = ROW_COUNT;
    PERFORM set_config('regatta.is_forgetting', '', true);
    RETURN written;
END $$
"""

FUNCTIONS = (AUDIT_ADDRESS, AUDIT_VALUE, AUDIT_ID, AUDIT_CHANGE, AUDIT_STANDS, FORGET_AUDIT)
SIGNATURES = (
    "forget_audit(timestamptz, integer)",
    "audit_stands()",
    "audit_change()",
    "audit_id(timestamptz)",
    "audit_value(text, jsonb, text[])",
    "audit_address(text)",
)

OPERATION = "current_setting('regatta.operation', true) <> ''"
"""Without it nobody asked for the change by a mutation: a worker makes it, and pays only for this look."""

ANY_CHANGE = "INSERT OR UPDATE OR DELETE"

WATCHED: tuple[tuple[str, str, str, str], ...] = (
    ("tenant", "Tenant", "", ""),
    ("project", "Project", "", ""),
    ("team", "Team", "", ""),
    ("role", "Role", "", ""),
    ("task", "Task", "", ""),
    ("tool", "Tool", "", "configuration"),
    ("alert_rule", "AlertRule", "", ""),
    ("model", "Model", "", ""),
    ("credential", "Credential", "", "ciphertext"),
    ("webhook", "Webhook", "", ""),
    ("schedule", "Schedule", "", "inputs"),
    ("schedule_fire", "ScheduleFire", "", ""),
    ("template", "Template", "", ""),
    ("execution", "Execution", "", "inputs output failure_details cache_key"),
    ("approval", "Approval", "", "prompt answer"),
    (
        "generation",
        "Generation",
        "",
        "objective constraints analysis proposal validation templates calls owner_epoch worker_id locked_until",
    ),
    ("optimization", "Optimization", "", "explanation evidence effects changes"),
    ("task_dependency", "Task", "task_id", ""),
    ("role_tool", "Role", "role_id", ""),
    ("webhook_secret", "Webhook", "webhook_id", "ciphertext"),
    ("template_version", "Template", "template_id", "content"),
)
"""Table, type of the object, the column with its id where the row is only a part of it, and what is not kept.

The content of a version of a template is not, because the version itself is there for ever.
"""

# A kickoff makes a row for each task, and its end moves them all: the execution tells of that. What is left is what
# somebody changes of a task while the execution is paused, and the output that a fork brings for one.
TASK_EXECUTIONS = "description expected_output output feedback guardrail output_schema failure_details"

EDITED = "current_setting('regatta.operation', true) = 'forkExecution' AND NEW.status = 'REUSED' AND NEW.model IS NULL"
"""No model wrote what is there already, so somebody did: now, or in the fork that was forked again."""

# Events of executions and alerts add deliveries. What a mutation asks for is a test, or a delivery once more.
DELIVERIES = "payload response_body error"
ASKED_FOR = "(NEW.redelivery_of IS NOT NULL OR NEW.execution_id IS NULL AND NEW.alert_id IS NULL)"


def upgrade() -> None:
    op.create_table(
        "audit_entry",
        *(sa.Column(name, sa.Uuid(), nullable=False) for name in ("tenant_id", "id")),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("principal_id", sa.Uuid()),
        *(sa.Column(name, sa.Text()) for name in ("request_id", "address", "user_agent")),
        sa.Column("object_type", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Uuid(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        *(sa.Column(name, JSONB) for name in ("before", "after")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_audit_entry")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_audit_entry_tenant_id")),
        sa.CheckConstraint("action IN ('CREATED', 'CHANGED', 'REMOVED')", name=op.f("ck_audit_entry_action")),
        comment="Who changed what, from where. Written by triggers alone; nobody changes or removes it.",
    )
    op.create_index("ix_audit_entry_occurred", "audit_entry", ["tenant_id", "occurred_at", "id"])
    op.create_index("ix_audit_entry_object", "audit_entry", ["tenant_id", "object_id", "occurred_at", "id"])
    op.create_index(
        "ix_audit_entry_request",
        "audit_entry",
        ["tenant_id", "request_id"],
        postgresql_where=sa.text("request_id IS NOT NULL"),
    )
    for statement in FUNCTIONS:
        op.execute(statement)
    for signature in SIGNATURES:
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION forget_audit(timestamptz, integer) TO regatta_app")
    op.execute("GRANT SELECT ON audit_entry TO regatta_app")
    _let_it_stand()
    for table, kind, part_of, withheld in WATCHED:
        _watch(table, kind, part_of, withheld)
    _watch("task_execution", "TaskExecution", "", TASK_EXECUTIONS, "UPDATE", "OLD.status = NEW.status")
    _watch("task_execution", "TaskExecution", "", TASK_EXECUTIONS, "INSERT", EDITED, name="audit_edited")
    _watch("alert", "Alert", "", "evidence", "UPDATE")  # a worker fires it; archiving its rule closes it
    _watch("webhook_delivery", "WebhookDelivery", "", DELIVERIES, "INSERT", ASKED_FOR)


def _let_it_stand() -> None:
    for name, what, each in (("stands", "UPDATE OR DELETE", "ROW"), ("stands_whole", "TRUNCATE", "STATEMENT")):
        op.execute(
            f"CREATE TRIGGER {name} BEFORE {what} ON audit_entry FOR EACH {each} EXECUTE FUNCTION audit_stands()"
        )


def _watch(
    table: str,
    kind: str,
    part_of: str,
    withheld: str,
    what: str = ANY_CHANGE,
    condition: str | None = None,
    *,
    name: str = "audit",
) -> None:
    arguments = [kind, part_of or "id", "part" if part_of else "whole", *withheld.split()]
    when = OPERATION if condition is None else f"{OPERATION} AND {condition}"
    op.execute(
        f"CREATE TRIGGER {name} AFTER {what} ON {table} FOR EACH ROW WHEN ({when})"
        f" EXECUTE FUNCTION audit_change({', '.join(map(repr, arguments))})"
    )


def downgrade() -> None:
    for table in (*(watched[0] for watched in WATCHED), "task_execution", "alert", "webhook_delivery"):
        op.execute(f"DROP TRIGGER audit ON {table}")
    op.execute("DROP TRIGGER audit_edited ON task_execution")
    op.drop_table("audit_entry")
    for signature in SIGNATURES:
        op.execute(f"DROP FUNCTION {signature}")
