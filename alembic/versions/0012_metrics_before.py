"""What ended before there were metrics counts, too. In a transaction of its own: nobody waits while rows are copied."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# A worker may be there already, and after a way down sums are: they are made anew, for nothing must count twice.
BEGIN_ANEW = (
    "SELECT pg_advisory_xact_lock(hashtext('regatta roll-up'))",
    "DELETE FROM metric_rollup",
)

# What ended since the triggers are there has been noted by them, and waits unless it is in the sums. In the order in
# which it happened: then a batch of the roll-up has few hours.
NOTE_EARLIER = """
INSERT INTO metric_pending (tenant_id, subject, subject_id, at, task_execution_id, role_id, tool, is_error)
SELECT * FROM (
    SELECT tenant_id, 'EXECUTION' AS subject, id, finished_at AS at, NULL::uuid, NULL::uuid, NULL::text, NULL::boolean
    FROM execution
    WHERE status IN ('COMPLETED', 'FAILED', 'CANCELLED') AND finished_at IS NOT NULL
    UNION ALL
    SELECT tenant_id, 'TASK', id, finished_at, NULL, NULL, NULL, NULL FROM task_execution
    WHERE status IN ('COMPLETED', 'FAILED', 'CANCELLED') AND finished_at IS NOT NULL AND started_at IS NOT NULL
    UNION ALL
    SELECT tenant_id, 'CALL', id, booked_at, NULL, NULL, NULL, NULL FROM ledger_entry
    UNION ALL
    SELECT tenant_id, 'TOOL_CALL', execution_id, occurred_at, task_execution_id, role_id, payload ->> 'tool',
        (payload ->> 'is_error')::boolean
    FROM execution_event WHERE type = 'ToolReturned'
) AS earlier
WHERE NOT EXISTS (
    SELECT FROM metric_pending AS noted WHERE noted.tenant_id = earlier.tenant_id AND noted.subject = earlier.subject
        AND noted.subject_id = earlier.id AND noted.at = earlier.at
)
ORDER BY at
"""


def upgrade() -> None:
    for statement in (*BEGIN_ANEW, NOTE_EARLIER):
        op.execute(statement)


def downgrade() -> None:
    """What waits to be added up may stay."""
