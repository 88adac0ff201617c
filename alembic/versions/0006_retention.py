"""Retention: how long tenants want executions kept, and what empties those that are older."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)

ARCHIVE_EXECUTIONS = """
CREATE FUNCTION archive_executions(default_days integer, most integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '1s'
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
-- Empties executions that have been over for longer than their tenant wants them kept, the oldest first. Each call is a
-- transaction of `most` rows (1,000 at the most) and what the last execution has of tasks; it gives how many it wrote or
-- removed. Fewer than `most`: that was all, but for what somebody else holds just now.
--
-- With the rights of the owner, for the application cannot delete history. So what may go is decided here, not by the
-- caller: whatever is over, by the days of its tenant, which are one at least. NULL days of tenant and caller: never.
DECLARE
    old record;
    rows_left integer := greatest(1, least(most, 1000));
    asked integer := rows_left;
    written integer;
    last bigint;
BEGIN
    IF default_days < 1 THEN
        default_days := 1;
    END IF;
    FOR old IN
        SELECT due.* FROM tenant CROSS JOIN LATERAL (
            SELECT tenant_id, id, archived_at FROM execution
            WHERE execution.tenant_id = tenant.id AND emptied_at IS NULL AND finished_at IS NOT NULL
                AND finished_at < now() - make_interval(days => coalesce(tenant.retention_days, default_days))
                AND status IN ('COMPLETED', 'FAILED', 'CANCELLED')
            ORDER BY finished_at LIMIT asked
        ) AS due
        LIMIT asked
    LOOP
        -- Every writer of an execution locks this row first. Nobody waits for us, and we for nobody.
        PERFORM FROM execution_sequence AS row
        WHERE row.tenant_id = old.tenant_id AND row.execution_id = old.id FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;

        IF old.archived_at IS NULL THEN
            UPDATE task_execution SET description = '', expected_output = '', output = NULL, feedback = NULL,
                guardrail = NULL, output_schema = NULL
            WHERE tenant_id = old.tenant_id AND execution_id = old.id;
            GET DIAGNOSTICS written = ROW_COUNT;
            rows_left := rows_left - written;
            UPDATE approval SET prompt = '', answer = NULL
            WHERE tenant_id = old.tenant_id AND execution_id = old.id;
            GET DIAGNOSTICS written = ROW_COUNT;
            rows_left := rows_left - written;
            DELETE FROM refinement_pass WHERE tenant_id = old.tenant_id AND execution_id = old.id;
            GET DIAGNOSTICS written = ROW_COUNT;
            rows_left := rows_left - written;
            DELETE FROM call_journal WHERE tenant_id = old.tenant_id AND execution_id = old.id;
            GET DIAGNOSTICS written = ROW_COUNT;
            rows_left := rows_left - written;
        END IF;

        -- From the last event back: what is left for the next call has no gap, whoever reads it meanwhile.
        IF rows_left > 0 THEN
            SELECT max(sequence) INTO last FROM execution_event
            WHERE tenant_id = old.tenant_id AND execution_id = old.id;
            DELETE FROM execution_event
            WHERE tenant_id = old.tenant_id AND execution_id = old.id AND sequence > last - rows_left;
            GET DIAGNOSTICS written = ROW_COUNT;
            rows_left := rows_left - written;
        END IF;

        UPDATE execution SET inputs = '{}', output = NULL, cache_key = NULL, archived_at = coalesce(archived_at, now()),
            emptied_at = CASE WHEN rows_left > 0 THEN now() END
        WHERE tenant_id = old.tenant_id AND id = old.id;
        rows_left := rows_left - 1;
        EXIT WHEN rows_left <= 0;
    END LOOP;
    RETURN asked - rows_left;
END $$
"""

DROP_EMPTY_MONTH_PARTITION = """
CREATE FUNCTION drop_empty_month_partition() RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '100ms'
SET enable_seqscan = off AS $$
-- Drops one month of execution_event, before the last one, that holds nothing any more, and gives its name; NULL when
-- there is none. The lock on the whole table is held for a moment, and waited for no longer than a tenth of a second:
-- whoever stores events meanwhile waits as long. Another day will do as well.
DECLARE
    part text;
    is_empty boolean;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('ensure_month_partitions')) THEN
        RETURN NULL;
    END IF;
    FOR part IN
        SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = 'execution_event'::regclass AND relname ~ '^execution_event_[0-9]{6}$'
            AND right(relname, 6) < to_char(now() AT TIME ZONE 'UTC' - interval '1 month', 'YYYYMM')
        ORDER BY relname
    LOOP
        EXECUTE format('SELECT NOT EXISTS (SELECT FROM %I)', part) INTO is_empty;
        CONTINUE WHEN NOT is_empty;
        LOCK TABLE ONLY execution_event IN ACCESS EXCLUSIVE MODE;
        EXECUTE format('SELECT NOT EXISTS (SELECT FROM %I)', part) INTO is_empty;
        CONTINUE WHEN NOT is_empty;
        EXECUTE format('DROP TABLE %I', part);
        RETURN part;
    END LOOP;
    RETURN NULL;
EXCEPTION WHEN lock_not_available THEN
    RETURN NULL;
END $$
"""

FUNCTIONS = (ARCHIVE_EXECUTIONS, DROP_EMPTY_MONTH_PARTITION)
SIGNATURES = ("archive_executions(integer, integer)", "drop_empty_month_partition()")


def upgrade() -> None:
    op.add_column("tenant", sa.Column("retention_days", sa.Integer()))
    op.create_check_constraint(op.f("ck_tenant_retention_days"), "tenant", "retention_days >= 1")
    for name in ("archived_at", "emptied_at"):
        op.add_column("execution", sa.Column(name, MOMENT))
    op.create_index(
        "ix_execution_kept",
        "execution",
        ["tenant_id", "finished_at"],
        postgresql_where=sa.text("finished_at IS NOT NULL AND emptied_at IS NULL"),
    )
    op.create_index(
        "ix_schedule_fire_nothing_started",
        "schedule_fire",
        ["tenant_id", "schedule_id", "scheduled_for"],
        postgresql_where=sa.text("execution_id IS NULL"),
    )
    for statement in (*FUNCTIONS, "GRANT UPDATE (retention_days) ON tenant TO regatta_app"):
        op.execute(statement)
    for signature in SIGNATURES:
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO regatta_app")


def downgrade() -> None:
    for signature in SIGNATURES:
        op.execute(f"DROP FUNCTION {signature}")
    op.execute("REVOKE UPDATE (retention_days) ON tenant FROM regatta_app")
    op.drop_index("ix_schedule_fire_nothing_started", "schedule_fire")
    op.drop_index("ix_execution_kept", "execution")
    for name in ("emptied_at", "archived_at"):
        op.drop_column("execution", name)
    op.drop_column("tenant", "retention_days")
