"""Places on workers, the journal of calls, approvals, and what control over executions needs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

FAILURES = (
    "MODEL_UNAVAILABLE",
    "MODEL_REFUSED",
    "MODEL_ANSWER_INVALID",
    "MODEL_UNKNOWN",
    "TOOL_FAILED",
    "TASK_TIMEOUT",
    "EXECUTION_TIMEOUT",
    "MAX_ITERATIONS",
    "OUTPUT_INVALID",
    "NO_CAPABLE_ROLE",
    "PROCESS_UNSUPPORTED",
    "WORKER_LOST",
    "BUDGET_EXCEEDED",
    "INTERNAL",
)
NEW_FAILURES = ("GUARDRAIL_FAILED", "APPROVAL_REJECTED", "APPROVAL_EXPIRED", "TOOL_INTERRUPTED")
STATUSES = ("QUEUED", "RUNNING", "CANCELLING", "COMPLETED", "FAILED", "CANCELLED")
TASK_STATUSES = ("PENDING", "RUNNING", "COMPLETED", "FAILED", "SKIPPED", "CANCELLED")
DEFAULTS = ("APPROVE", "REJECT")
MOMENT = sa.DateTime(timezone=True)

# Every column that an existing row needs a value for: table, name, type, default.
FILLED = (
    ("team", "max_parallel_tasks", sa.Integer(), "4"),
    ("team", "when_busy", sa.Text(), "'QUEUE'"),
    ("team", "oversight", sa.Text(), "'STANDARD'"),
    ("team", "is_cached", sa.Boolean(), "false"),
    ("role", "can_ask", sa.Boolean(), "false"),
    ("task", "is_approval_required", sa.Boolean(), "false"),
    ("task", "approval_default", sa.Text(), "'REJECT'"),
    ("execution", "priority", sa.SmallInteger(), "5"),
    ("execution", "max_parallel_tasks", sa.Integer(), "4"),
    ("execution", "waited_seconds", sa.Double(), "0"),
    ("task_execution", "kind", sa.Text(), "''"),
    ("task_execution", "role_reason", sa.Text(), "''"),
    ("task_execution", "is_approval_required", sa.Boolean(), "false"),
    ("task_execution", "approval_default", sa.Text(), "'REJECT'"),
)
EMPTY = (
    ("tenant", "max_parallel_executions", sa.Integer()),
    ("project", "max_parallel_executions", sa.Integer()),
    ("role", "max_tasks", sa.Integer()),
    ("role", "max_parallel_tasks", sa.Integer()),
    ("task", "guardrail", sa.Text()),
    ("task", "approval_assignee", sa.Text()),
    ("task", "approval_timeout_seconds", sa.Double()),
    ("tool", "is_idempotent", sa.Boolean()),
    ("execution", "refinement_passes", sa.Integer()),
    ("execution", "refinement_threshold", sa.Double()),
    ("execution", "cache_key", sa.Text()),
    ("execution", "retry_of", sa.Uuid()),
    ("execution", "forked_from", sa.Uuid()),
    ("execution", "cached_from", sa.Uuid()),
    ("execution", "cancel_requested_in", sa.Text()),
    ("execution", "pause_requested_at", MOMENT),
    ("execution", "waiting_from", MOMENT),
    ("task_execution", "wanted_model", sa.Text()),
    ("task_execution", "guardrail", sa.Text()),
    ("task_execution", "approval_assignee", sa.Text()),
    ("task_execution", "approval_timeout_seconds", sa.Double()),
    ("task_execution", "feedback", sa.Text()),
    ("task_execution", "reused_from", sa.Uuid()),
    ("worker", "cpu_percent", sa.Double()),
    ("worker", "memory_percent", sa.Double()),
)
KEPT_DEFAULTS = (
    ("worker", "started_at", MOMENT, "now()"),
    ("worker", "places", sa.Integer(), "0"),
    ("worker", "is_taking", sa.Boolean(), "true"),
)
CHECKS = (
    ("team", "when_busy", ("QUEUE", "REJECT", "PARALLEL", "REPLACE")),
    ("team", "oversight", ("LIGHT", "STANDARD", "CLOSE")),
    ("task", "approval_default", DEFAULTS),
    ("task_execution", "approval_default", DEFAULTS),
)

ADMIT_EXECUTIONS = """
CREATE FUNCTION admit_executions(worker text, places integer, most integer)
RETURNS TABLE (tenant_id uuid, execution_id uuid, id uuid)
LANGUAGE plpgsql SET search_path = public, pg_temp SET lock_timeout = '5s'
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
-- Gives places on this worker to at most so many that wait, `most` being the places of all workers together. Tenants
-- in turn: who has the fewest places first, then who was given one the longest ago; within a tenant by priority, then
-- by age. Choosing by the number that a tenant would have then, and by who had his turn in this very call last, is
-- what choosing them one by one would do. Of a team, nothing passes who has to run alone: what stands behind him waits
-- until he had his turn, or those who run beside each other would keep him waiting for ever.
--
-- One at a time decides: limits count what others were given. As it is one statement, no worker that stalls holds the
-- lock. What somebody else holds (it is being cancelled) is passed over, not waited for.
#variable_conflict use_column
DECLARE
    passed uuid[] := '{}';
    queue uuid[];
    asked integer;
    able integer;
    tenants uuid[];
    wanted uuid[];
    given uuid[];
BEGIN
    IF places < 1 OR NOT EXISTS (SELECT FROM admission WHERE worker_id IS NULL) THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('regatta admit', 0));
    IF most IS NOT NULL THEN
        places := least(places, most - (SELECT count(*) FROM admission WHERE worker_id IS NOT NULL));
    END IF;
    FOR tries IN 1..5 LOOP
        EXIT WHEN places < 1;
        queue := ARRAY(
            WITH RECURSIVE waiting AS (
                (SELECT tenant_id FROM admission WHERE worker_id IS NULL ORDER BY tenant_id LIMIT 1)
                UNION ALL
                SELECT other.* FROM waiting CROSS JOIN LATERAL (
                    SELECT tenant_id FROM admission WHERE worker_id IS NULL AND tenant_id > waiting.tenant_id
                    ORDER BY tenant_id LIMIT 1
                ) AS other
            )
            SELECT waiting.tenant_id FROM waiting
            LEFT JOIN (
                SELECT tenant_id, count(*) AS number FROM admission WHERE worker_id IS NOT NULL GROUP BY tenant_id
            ) AS own ON own.tenant_id = waiting.tenant_id
            LEFT JOIN admission_turn AS last ON last.tenant_id = waiting.tenant_id
            ORDER BY coalesce(own.number, 0), last.admitted_at NULLS FIRST, waiting.tenant_id
        );
        asked := places;
        LOOP  -- so many tenants of the queue that each place has one with something that may run
            WITH RECURSIVE line AS (  -- of each team those that run alone, and those that do not
                SELECT first.* FROM unnest(queue[1:asked]) AS whose CROSS JOIN LATERAL (
                    SELECT tenant_id, team_id, is_alone FROM admission
                    WHERE worker_id IS NULL AND tenant_id = whose ORDER BY team_id, is_alone LIMIT 1
                ) AS first
                UNION ALL
                SELECT other.* FROM line CROSS JOIN LATERAL (
                    SELECT tenant_id, team_id, is_alone FROM admission
                    WHERE worker_id IS NULL AND tenant_id = line.tenant_id
                        AND (team_id, is_alone) > (line.team_id, line.is_alone)
                    ORDER BY team_id, is_alone LIMIT 1
                ) AS other
            ),
            placed AS MATERIALIZED (
                SELECT tenant_id, project_id, team_id FROM admission WHERE worker_id IS NOT NULL
            ),
            known_line AS (
                SELECT line.*, busy.team_id IS NOT NULL AS is_busy,
                    count(*) OVER (PARTITION BY line.tenant_id, line.team_id) = 2 AS is_mixed
                FROM line LEFT JOIN (SELECT DISTINCT tenant_id, team_id FROM placed) AS busy
                    ON busy.tenant_id = line.tenant_id AND busy.team_id = line.team_id
            ),
            open_line AS (
                SELECT * FROM known_line WHERE is_mixed OR NOT (is_alone AND is_busy)
            ),
            head AS (  -- how many that run alone stand before it, itself among them; whether one of them may begin
                SELECT head.*, count(*) FILTER (WHERE head.is_alone) OVER team AS alone,
                    first_value(head.is_alone) OVER team AND NOT open_line.is_busy AS is_led
                FROM open_line CROSS JOIN LATERAL (
                    SELECT tenant_id, execution_id, project_id, team_id, is_alone, priority, waiting_since
                    FROM admission
                    WHERE worker_id IS NULL AND tenant_id = open_line.tenant_id AND team_id = open_line.team_id
                        AND is_alone = open_line.is_alone AND execution_id <> ALL(passed)
                    ORDER BY priority DESC, waiting_since, execution_id
                    LIMIT CASE WHEN NOT open_line.is_alone THEN places WHEN is_mixed THEN 2 ELSE 1 END
                ) AS head
                WINDOW team AS (
                    PARTITION BY head.tenant_id, head.team_id
                    ORDER BY head.priority DESC, head.waiting_since, head.execution_id
                )
            ),
            in_project AS (
                SELECT head.*, row_number() OVER (
                    PARTITION BY tenant_id, project_id ORDER BY priority DESC, waiting_since, execution_id
                ) AS turn
                FROM head WHERE alone = 0 OR alone = 1 AND is_led
            ),
            in_tenant AS (
                SELECT in_project.tenant_id, execution_id, priority, waiting_since, row_number() OVER (
                    PARTITION BY in_project.tenant_id ORDER BY priority DESC, waiting_since, execution_id
                ) AS turn
                FROM in_project
                JOIN project ON project.tenant_id = in_project.tenant_id AND project.id = in_project.project_id
                LEFT JOIN (
                    SELECT tenant_id, project_id, count(*) AS number FROM placed GROUP BY tenant_id, project_id
                ) AS own ON own.tenant_id = in_project.tenant_id AND own.project_id = in_project.project_id
                WHERE project.max_parallel_executions IS NULL
                    OR in_project.turn + coalesce(own.number, 0) <= project.max_parallel_executions
            ),
            eligible AS (
                SELECT in_tenant.*, in_tenant.turn + coalesce(own.number, 0) AS level, last.admitted_at AS last_turn
                FROM in_tenant
                JOIN tenant ON tenant.id = in_tenant.tenant_id
                LEFT JOIN (SELECT tenant_id, count(*) AS number FROM placed GROUP BY tenant_id) AS own
                    ON own.tenant_id = in_tenant.tenant_id
                LEFT JOIN admission_turn AS last ON last.tenant_id = in_tenant.tenant_id
                WHERE tenant.max_parallel_executions IS NULL
                    OR in_tenant.turn + coalesce(own.number, 0) <= tenant.max_parallel_executions
            ),
            pick AS (
                SELECT tenant_id, execution_id FROM eligible
                ORDER BY level, turn, last_turn NULLS FIRST, tenant_id
                LIMIT places
            )
            SELECT array_agg(tenant_id), array_agg(execution_id), (SELECT count(DISTINCT tenant_id) FROM eligible)
            INTO tenants, wanted, able FROM pick;
            EXIT WHEN able >= places OR asked >= cardinality(queue);
            asked := 4 * asked;
        END LOOP;
        EXIT WHEN wanted IS NULL;
        given := ARRAY(
            SELECT row.execution_id FROM unnest(tenants, wanted) AS chosen(tenant_id, execution_id)
            JOIN admission AS row ON row.tenant_id = chosen.tenant_id AND row.execution_id = chosen.execution_id
            WHERE row.worker_id IS NULL FOR NO KEY UPDATE OF row SKIP LOCKED
        );
        RETURN QUERY
            UPDATE admission AS row SET worker_id = worker, admitted_at = clock_timestamp()
            FROM unnest(tenants, wanted) AS chosen(tenant_id, execution_id)
            WHERE row.tenant_id = chosen.tenant_id AND row.execution_id = chosen.execution_id
                AND row.execution_id = ANY(given)
            RETURNING row.tenant_id, row.execution_id, row.id;
        -- One moment after the other, in the order of their turns: that is who is next when all have as many.
        INSERT INTO admission_turn AS turn (tenant_id, admitted_at)
        SELECT tenant_id, clock_timestamp() + max(place) * interval '1 microsecond'
        FROM unnest(tenants, wanted) WITH ORDINALITY AS chosen(tenant_id, execution_id, place)
        WHERE execution_id = ANY(given) GROUP BY tenant_id
        ON CONFLICT (tenant_id) DO UPDATE SET admitted_at = excluded.admitted_at;
        places := places - cardinality(given);
        EXIT WHEN cardinality(given) = cardinality(wanted);
        passed := passed || ARRAY(SELECT unnest(wanted) EXCEPT SELECT unnest(given));
    END LOOP;
END $$
"""

RELEASE_EXECUTIONS = """
CREATE FUNCTION release_executions(worker text, only_ids uuid[])
RETURNS TABLE (tenant_id uuid, execution_id uuid, became text)
LANGUAGE plpgsql SET search_path = public, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
-- Takes the places of this worker, or those under these ids: WAITING, what waits for another one, under a new id and
-- with its old turn; CANCELLING, what is left to the caller to end; HELD, what somebody else holds just now, for another
-- try: one stalled writer must not keep all others from going on. The new epoch shuts the old owner out at once.
#variable_conflict use_column
DECLARE
    held uuid[];
    moment timestamptz := clock_timestamp();
BEGIN
    held := ARRAY(
        SELECT row.execution_id FROM admission AS row
        JOIN execution_sequence AS head ON head.tenant_id = row.tenant_id AND head.execution_id = row.execution_id
        WHERE row.worker_id = worker AND (only_ids IS NULL OR row.id = ANY(only_ids))
        ORDER BY row.execution_id FOR UPDATE OF head SKIP LOCKED
    );
    WITH standing AS MATERIALIZED (
        SELECT row.tenant_id, row.execution_id FROM admission AS row
        JOIN execution ON execution.tenant_id = row.tenant_id AND execution.id = row.execution_id
        WHERE row.worker_id = worker AND row.execution_id = ANY(held) AND execution.status = 'RUNNING'
    ),
    interrupted AS (
        UPDATE execution_sequence AS head
        SET last_sequence = head.last_sequence + 1, owner_epoch = head.owner_epoch + 1
        FROM standing WHERE head.tenant_id = standing.tenant_id AND head.execution_id = standing.execution_id
        RETURNING head.tenant_id, head.execution_id, head.last_sequence
    )
    INSERT INTO execution_event (tenant_id, execution_id, sequence, occurred_at, type, payload)
    SELECT tenant_id, execution_id, last_sequence, moment, 'ExecutionInterrupted',
        jsonb_build_object('worker_id', worker)
    FROM interrupted;
    RETURN QUERY
        UPDATE admission AS row SET id = gen_random_uuid(), worker_id = NULL, admitted_at = NULL
        FROM execution
        WHERE row.worker_id = worker AND row.execution_id = ANY(held)
            AND execution.tenant_id = row.tenant_id AND execution.id = row.execution_id
            AND execution.status IN ('QUEUED', 'RUNNING')
        RETURNING row.tenant_id, row.execution_id, 'WAITING';
    -- A place of what is over, or waits for a person, is a mistake of a writer: nobody would ever give it back.
    DELETE FROM admission AS row USING execution
    WHERE row.worker_id = worker AND row.execution_id = ANY(held)
        AND execution.tenant_id = row.tenant_id AND execution.id = row.execution_id
        AND execution.status NOT IN ('QUEUED', 'RUNNING', 'CANCELLING');
    RETURN QUERY
        SELECT row.tenant_id, row.execution_id,
            CASE WHEN row.execution_id = ANY(held) THEN 'CANCELLING' ELSE 'HELD' END
        FROM admission AS row
        WHERE row.worker_id = worker AND (only_ids IS NULL OR row.id = ANY(only_ids));
END $$
"""

FUNCTIONS: tuple[str, ...] = (ADMIT_EXECUTIONS, RELEASE_EXECUTIONS)
SIGNATURES: tuple[str, ...] = ("release_executions(text, uuid[])", "admit_executions(text, integer, integer)")

GRANTS = (
    (
        "GRANT SELECT, INSERT, UPDATE, DELETE ON admission, admission_turn, approval, call_journal, refinement_pass"
        " TO regatta_app"
    ),
    "GRANT UPDATE (max_parallel_executions) ON tenant TO regatta_app",
)


def upgrade() -> None:
    for table, name, kind, default in FILLED:
        op.add_column(table, sa.Column(name, kind, nullable=False, server_default=sa.text(default)))
        op.alter_column(table, name, server_default=None)
    for table, name, kind in EMPTY:
        op.add_column(table, sa.Column(name, kind))
    for table, name, kind, default in KEPT_DEFAULTS:
        op.add_column(table, sa.Column(name, kind, nullable=False, server_default=sa.text(default)))
    for table, column, values in CHECKS:
        op.create_check_constraint(op.f(f"ck_{table}_{column}"), table, _in(column, values))
    for table in ("execution", "task_execution"):
        _replace_check(table, "failure_code", (*FAILURES, *NEW_FAILURES))
    _replace_check("execution", "status", (*STATUSES, "PAUSED", "AWAITING_APPROVAL"))
    _replace_check("task_execution", "status", (*TASK_STATUSES, "AWAITING_APPROVAL", "REUSED"))
    _create_indexes()
    _create_admissions()
    _create_approvals()
    _create_journal()
    _create_passes()
    for statement in (*FUNCTIONS, *GRANTS):
        op.execute(statement)
    for signature in SIGNATURES:
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO regatta_app")
    _let_wait()


def _create_indexes() -> None:
    op.create_index(
        "ix_execution_cache_key",
        "execution",
        ["tenant_id", "cache_key", "finished_at"],
        postgresql_where=sa.text("status = 'COMPLETED' AND cache_key IS NOT NULL AND cached_from IS NULL"),
    )
    for column in ("retry_of", "forked_from"):
        op.create_index(
            f"ix_execution_{column}",
            "execution",
            ["tenant_id", column],
            postgresql_where=sa.text(f"{column} IS NOT NULL"),
        )
    op.create_index(
        "ix_task_execution_role",
        "task_execution",
        ["tenant_id", "role_id", "finished_at"],
        postgresql_where=sa.text("status IN ('COMPLETED', 'FAILED')"),
    )


def _create_admissions() -> None:
    op.create_table(
        "admission",
        *_ids("tenant_id", "execution_id", "id", "project_id", "team_id"),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("is_alone", sa.Boolean(), nullable=False),
        sa.Column("waiting_since", MOMENT, nullable=False),
        sa.Column("worker_id", sa.Text()),
        sa.Column("admitted_at", MOMENT),
        sa.PrimaryKeyConstraint("tenant_id", "execution_id", name=op.f("pk_admission")),
        _to("admission", "execution"),
        comment="What wants to run (no worker) and what runs; an execution that is paused, waits for a person or is"
        " over has no row. Written behind the row in execution_sequence, or under the lock of who admits.",
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index(
        "ix_admission_waiting",
        "admission",
        ["tenant_id", "team_id", "is_alone", sa.text("priority DESC"), "waiting_since", "execution_id"],
        postgresql_where=sa.text("worker_id IS NULL"),
    )
    placed = sa.text("worker_id IS NOT NULL")
    op.create_index("ix_admission_worker", "admission", ["worker_id"], postgresql_where=placed)
    op.create_index("ix_admission_team", "admission", ["tenant_id", "team_id"], postgresql_where=placed)
    op.create_table(
        "admission_turn",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("admitted_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_admission_turn")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_admission_turn_tenant_id")),
        comment="When a tenant was last given a place: among those who have as many, who waited longest is next.",
        postgresql_with={"fillfactor": "50"},
    )


def _create_approvals() -> None:
    op.create_table(
        "approval",
        *_ids("tenant_id", "id", "project_id", "execution_id", "task_execution_id"),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("call_key", sa.Text(), nullable=False),
        sa.Column("assignee", sa.Text()),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text()),
        sa.Column("default_action", sa.Text(), nullable=False),
        sa.Column("expires_at", MOMENT),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("decided_at", MOMENT),
        sa.Column("decided_by", sa.Uuid()),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_approval")),
        *(_to("approval", target) for target in ("project", "execution", "task_execution")),
        sa.CheckConstraint(_in("kind", ("TASK", "QUESTION")), name=op.f("ck_approval_kind")),
        sa.CheckConstraint(
            _in("status", ("PENDING", "APPROVED", "REJECTED", "ANSWERED", "EXPIRED", "CANCELLED")),
            name=op.f("ck_approval_status"),
        ),
        sa.CheckConstraint(_in("default_action", DEFAULTS), name=op.f("ck_approval_default_action")),
        sa.UniqueConstraint("tenant_id", "task_execution_id", "attempt", "call_key", name="uq_approval_call"),
    )
    is_open = sa.text("status = 'PENDING'")
    op.create_index("ix_approval_created", "approval", ["tenant_id", "created_at", "id"])
    op.create_index("ix_approval_execution", "approval", ["tenant_id", "execution_id", "created_at", "id"])
    op.create_index("ix_approval_open", "approval", ["tenant_id", "created_at", "id"], postgresql_where=is_open)
    is_decided = sa.text("decided_at IS NOT NULL")
    op.create_index("ix_approval_decided_at", "approval", ["tenant_id", "decided_at"], postgresql_where=is_decided)
    op.create_index("ix_approval_expires_at", "approval", ["expires_at"], postgresql_where=is_open)


def _create_journal() -> None:
    op.create_table(
        "call_journal",
        *_ids("tenant_id", "execution_id", "task_execution_id"),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.Text(), nullable=False),
        sa.Column("occurrence", sa.Integer(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("answer", postgresql.JSONB()),
        sa.Column("ledger_entry_id", sa.Uuid()),
        sa.Column("recorded_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant_id",
            "task_execution_id",
            "attempt",
            "kind",
            "request_hash",
            "occurrence",
            name=op.f("pk_call_journal"),
        ),
        _to("call_journal", "execution"),
        sa.CheckConstraint(_in("kind", ("MODEL", "TOOL")), name=op.f("ck_call_journal_kind")),
        comment="The finished calls of attempts that are not over, so that a run that takes one up pays nothing twice; the"
        " end of the task removes them. Without an answer: begun, and nobody knows what became of it.",
    )
    op.create_index("ix_call_journal_execution", "call_journal", ["tenant_id", "execution_id"])


def _create_passes() -> None:
    op.create_table(
        "refinement_pass",
        *_ids("tenant_id", "execution_id", "task_execution_id"),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("output", sa.Text(), nullable=False),
        sa.Column("scores", postgresql.JSONB()),
        sa.Column("score", sa.Double()),
        sa.Column("critique", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "execution_id", "number", name=op.f("pk_refinement_pass")),
        *(_to("refinement_pass", target) for target in ("execution", "task_execution")),
    )


def _let_wait() -> None:
    """What was queued or running before waits for a place: its worker is gone, for it spoke the old protocol."""
    op.execute(
        "INSERT INTO admission (tenant_id, execution_id, id, project_id, team_id, priority, is_alone, waiting_since)"
        " SELECT tenant_id, id, gen_random_uuid(), project_id, team_id, 5, false, created_at FROM execution"
        " WHERE status IN ('QUEUED', 'RUNNING', 'CANCELLING')"
    )


def downgrade() -> None:
    for signature in SIGNATURES:
        op.execute(f"DROP FUNCTION {signature}")
    op.execute("REVOKE UPDATE (max_parallel_executions) ON tenant FROM regatta_app")
    for table in ("refinement_pass", "call_journal", "approval", "admission_turn", "admission"):
        op.drop_table(table)
    op.drop_index("ix_task_execution_role", "task_execution")
    for index in ("ix_execution_forked_from", "ix_execution_retry_of", "ix_execution_cache_key"):
        op.drop_index(index, "execution")
    _forget_states()
    for table, column, _ in CHECKS:
        op.drop_constraint(op.f(f"ck_{table}_{column}"), table, type_="check")
    for table, name, *_ in (*KEPT_DEFAULTS, *EMPTY, *FILLED):
        op.drop_column(table, name)


def _forget_states() -> None:
    """What the older version has no word for becomes the nearest that it has."""
    op.execute("UPDATE execution SET status = 'RUNNING' WHERE status IN ('PAUSED', 'AWAITING_APPROVAL')")
    op.execute("UPDATE task_execution SET status = 'PENDING' WHERE status = 'AWAITING_APPROVAL'")
    op.execute("UPDATE task_execution SET status = 'COMPLETED' WHERE status = 'REUSED'")
    unknown = ", ".join(repr(code) for code in NEW_FAILURES)
    for table in ("execution", "task_execution"):
        op.execute(f"UPDATE {table} SET failure_code = 'INTERNAL' WHERE failure_code IN ({unknown})")  # noqa: S608
        _replace_check(table, "failure_code", FAILURES)
    _replace_check("execution", "status", STATUSES)
    _replace_check("task_execution", "status", TASK_STATUSES)


def _ids(*names: str) -> list[sa.Column[object]]:
    return [sa.Column(name, sa.Uuid(), nullable=False) for name in names]


def _to(table: str, target: str) -> sa.ForeignKeyConstraint:
    """A reference within the tenant."""
    return sa.ForeignKeyConstraint(
        ["tenant_id", f"{target}_id"],
        [f"{target}.tenant_id", f"{target}.id"],
        name=op.f(f"fk_{table}_tenant_id_{target}_id"),
    )


def _in(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


def _replace_check(table: str, column: str, values: tuple[str, ...]) -> None:
    op.drop_constraint(op.f(f"ck_{table}_{column}"), table, type_="check")
    op.create_check_constraint(op.f(f"ck_{table}_{column}"), table, _in(column, values))
