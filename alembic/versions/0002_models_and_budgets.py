"""The model catalogue, credentials, budgets with their reservations, and what the ledger keeps of each call."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

AMOUNT = sa.Numeric(24, 12)
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
    "INTERNAL",
)
PREFERENCES = ("FAST", "BALANCED", "PREMIUM", "COST_OPTIMIZED")

# Who locks more than one row of these tables does so in this order: execution_sequence, call_reservation,
# budget_account by its key, provider_limit by its key. So nobody waits for somebody who waits for him; and for who
# holds a row for long, nobody waits longer than two seconds. Before any of it, reserving and releasing take a lock on
# the call's id, so that they do not overtake each other.
#
# A rate is what one tenant says a provider takes, so its bucket has the key "<tenant>:<credential>"; a cool-down is
# what the provider says, so it has the credential's, which tenants may share.
#
# A plan is kept for as long as its connection, also one that was made while the tables were small: the settings of the
# functions see to it that it uses the indexes.
CALL_ACCOUNTS = """
CREATE FUNCTION call_accounts(
    tenant uuid, project uuid, team uuid, execution uuid, task uuid, month date
) RETURNS TABLE (scope smallint, scope_id uuid, period date)
LANGUAGE sql IMMUTABLE AS $$
    VALUES (0::smallint, tenant, month), (1::smallint, project, month), (2::smallint, team, month),
        (3::smallint, execution, DATE '1970-01-01'), (4::smallint, task, DATE '1970-01-01')
$$
"""

TAKE_FROM_PROVIDER = """
CREATE FUNCTION take_from_provider(
    whose text, named text, requests integer, tokens integer, needed bigint
) RETURNS double precision
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
-- Takes one request and the tokens, or nothing: the seconds after which it would pass, 0 when they were taken.
-- The buckets refill continuously; what they hold at most is what the provider takes in a minute.
DECLARE
    bucket provider_limit;
    moment timestamptz;
    minutes double precision;
    lacking double precision;
BEGIN
    INSERT INTO provider_limit (credential, model) VALUES (whose, named) ON CONFLICT DO NOTHING;
    SELECT * INTO bucket FROM provider_limit WHERE credential = whose AND model = named FOR NO KEY UPDATE;
    moment := clock_timestamp();  -- not now(): who waited for the lock began before the one who had it
    minutes := greatest(extract(epoch FROM moment - bucket.refilled_at), 0) / 60;
    bucket.requests_per_minute := coalesce(requests, bucket.requests_per_minute);
    bucket.tokens_per_minute := coalesce(tokens, bucket.tokens_per_minute);
    bucket.requests_left := least(bucket.requests_per_minute,
        coalesce(bucket.requests_left + minutes * bucket.requests_per_minute, bucket.requests_per_minute));
    bucket.tokens_left := least(bucket.tokens_per_minute,
        coalesce(bucket.tokens_left + minutes * bucket.tokens_per_minute, bucket.tokens_per_minute));
    lacking := 60 * greatest(
        (1 - bucket.requests_left) / requests, (least(needed, tokens) - bucket.tokens_left) / tokens, 0);
    IF lacking > 0.000001 THEN  -- doubles: who waited as long as he was told must not be told to wait again
        RETURN lacking;
    END IF;
    UPDATE provider_limit SET
        requests_per_minute = bucket.requests_per_minute,
        tokens_per_minute = bucket.tokens_per_minute,
        requests_left = bucket.requests_left - CASE WHEN requests IS NULL THEN 0 ELSE 1 END,
        tokens_left = bucket.tokens_left - coalesce(least(needed, tokens), 0),
        refilled_at = moment
    WHERE credential = whose AND model = named;
    RETURN 0;
END $$
"""

RESERVE_CALL = """
CREATE FUNCTION reserve_call(
    asked jsonb, OUT verdict text, OUT wait_seconds double precision, OUT shortfall jsonb
)
LANGUAGE plpgsql SET search_path = public, pg_temp SET lock_timeout = '2s'
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
-- A row of call_reservation as JSON, with lifetime_seconds, requests_per_minute and tokens_per_minute. The first that
-- applies: OWNERSHIP_LOST, GRANTED what is reserved already, COOLING_DOWN, BUDGET_EXCEEDED, RATE_LIMITED, GRANTED. Only
-- the last one leaves a trace.
DECLARE
    wanted call_reservation := jsonb_populate_record(NULL::call_reservation, asked);
    requests integer := (asked ->> 'requests_per_minute')::integer;
    tokens_per_minute integer := (asked ->> 'tokens_per_minute')::integer;
    limits numeric[];
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(wanted.id::text, 0));
    SELECT execution.project_id, execution.team_id INTO wanted.project_id, wanted.team_id
    FROM execution_sequence AS head
    JOIN execution ON execution.tenant_id = head.tenant_id AND execution.id = head.execution_id
    JOIN task_execution AS task ON task.tenant_id = head.tenant_id AND task.id = wanted.task_execution_id
        AND task.execution_id = execution.id
    WHERE head.tenant_id = wanted.tenant_id AND head.execution_id = wanted.execution_id
        AND head.owner_epoch = wanted.owner_epoch
        AND execution.status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED');
    IF NOT FOUND THEN
        verdict := 'OWNERSHIP_LOST';
        RETURN;
    END IF;

    PERFORM FROM call_reservation AS held WHERE held.tenant_id = wanted.tenant_id AND held.id = wanted.id;
    IF FOUND THEN
        verdict := 'GRANTED';
        RETURN;
    END IF;

    SELECT extract(epoch FROM cooling_until - clock_timestamp()) INTO wait_seconds FROM provider_limit
    WHERE credential = wanted.credential AND model = wanted.model AND cooling_until > clock_timestamp();
    IF FOUND THEN
        verdict := 'COOLING_DOWN';
        RETURN;
    END IF;

    wanted.reserved_at := now();
    wanted.expires_at := now() + make_interval(secs => (asked ->> 'lifetime_seconds')::double precision);
    wanted.period := date_trunc('month', now() AT TIME ZONE 'UTC');
    IF wanted.amount > 0 THEN  -- what costs nothing waits for nobody, and exceeds nothing
        INSERT INTO budget_account (tenant_id, scope, scope_id, period)
        SELECT wanted.tenant_id, own.scope, own.scope_id, own.period
        FROM call_accounts(wanted.tenant_id, wanted.project_id, wanted.team_id, wanted.execution_id,
            wanted.task_execution_id, wanted.period) AS own
        ORDER BY own.scope ON CONFLICT DO NOTHING;
        PERFORM FROM call_accounts(wanted.tenant_id, wanted.project_id, wanted.team_id, wanted.execution_id,
            wanted.task_execution_id, wanted.period) AS own
        JOIN budget_account AS account ON account.tenant_id = wanted.tenant_id AND account.scope = own.scope
            AND account.scope_id = own.scope_id AND account.period = own.period
        ORDER BY account.scope FOR NO KEY UPDATE OF account;
        -- Not before: one that was lowered while this call waited counts.
        SELECT ARRAY[tenant.monthly_budget, project.monthly_budget, team.monthly_budget, execution.max_budget,
            task.max_budget]
        INTO limits
        FROM execution
        JOIN tenant ON tenant.id = execution.tenant_id
        JOIN project ON project.tenant_id = execution.tenant_id AND project.id = execution.project_id
        JOIN team ON team.tenant_id = execution.tenant_id AND team.id = execution.team_id
        JOIN task_execution AS task ON task.tenant_id = execution.tenant_id AND task.id = wanted.task_execution_id
        WHERE execution.tenant_id = wanted.tenant_id AND execution.id = wanted.execution_id;
        SELECT jsonb_build_object(
            'scope', (ARRAY['TENANT', 'PROJECT', 'TEAM', 'EXECUTION', 'TASK'])[account.scope + 1],
            'limit', limits[account.scope + 1]::text, 'spent', account.spent::text,
            'reserved', account.reserved::text, 'required', wanted.amount::text)
        INTO shortfall
        FROM call_accounts(wanted.tenant_id, wanted.project_id, wanted.team_id, wanted.execution_id,
            wanted.task_execution_id, wanted.period) AS own
        JOIN budget_account AS account ON account.tenant_id = wanted.tenant_id AND account.scope = own.scope
            AND account.scope_id = own.scope_id AND account.period = own.period
        WHERE account.spent + account.reserved + wanted.amount > limits[account.scope + 1]
        ORDER BY account.scope LIMIT 1;
        IF FOUND THEN
            verdict := 'BUDGET_EXCEEDED';
            RETURN;
        END IF;
    END IF;

    wanted.credential := wanted.tenant_id || ':' || wanted.credential;  -- from here on the bucket's key
    IF requests IS NOT NULL OR tokens_per_minute IS NOT NULL THEN
        wait_seconds := take_from_provider(wanted.credential, wanted.model, requests, tokens_per_minute, wanted.tokens);
        IF wait_seconds > 0 THEN
            verdict := 'RATE_LIMITED';
            RETURN;
        END IF;
    END IF;

    verdict := 'GRANTED';
    -- What was taken of the provider's rate: without one nothing was, and nothing will be given back.
    wanted.tokens := CASE WHEN tokens_per_minute IS NULL THEN 0 ELSE least(wanted.tokens, tokens_per_minute) END;
    wanted.requests := CASE WHEN requests IS NULL THEN 0 ELSE 1 END;
    INSERT INTO call_reservation SELECT wanted.*;
    IF wanted.amount > 0 THEN
        UPDATE budget_account AS account SET reserved = account.reserved + wanted.amount
        FROM call_accounts(wanted.tenant_id, wanted.project_id, wanted.team_id, wanted.execution_id,
            wanted.task_execution_id, wanted.period) AS own
        WHERE account.tenant_id = wanted.tenant_id AND account.scope = own.scope
            AND account.scope_id = own.scope_id AND account.period = own.period;
    END IF;
END $$
"""

RELEASE_CALL = """
CREATE FUNCTION release_call(whose uuid, call_id uuid) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp SET lock_timeout = '2s'
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
-- Undoes reserve_call: the call was not made. What is not reserved, or not any more, stays as it is.
DECLARE
    held call_reservation;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(call_id::text, 0));  -- of a reserve_call that is still at work
    DELETE FROM call_reservation AS row WHERE row.tenant_id = whose AND row.id = call_id RETURNING row.* INTO held;
    IF held.amount > 0 THEN
        PERFORM FROM call_accounts(whose, held.project_id, held.team_id, held.execution_id, held.task_execution_id,
            held.period) AS own
        JOIN budget_account AS account ON account.tenant_id = whose AND account.scope = own.scope
            AND account.scope_id = own.scope_id AND account.period = own.period
        ORDER BY account.scope FOR NO KEY UPDATE OF account;
        UPDATE budget_account AS account SET reserved = account.reserved - held.amount
        FROM call_accounts(whose, held.project_id, held.team_id, held.execution_id, held.task_execution_id,
            held.period) AS own
        WHERE account.tenant_id = whose AND account.scope = own.scope
            AND account.scope_id = own.scope_id AND account.period = own.period;
    END IF;
    IF held.requests > 0 OR held.tokens > 0 THEN
        UPDATE provider_limit AS bucket
        SET requests_left = least(bucket.requests_per_minute, bucket.requests_left + held.requests),
            tokens_left = least(bucket.tokens_per_minute, bucket.tokens_left + held.tokens)
        WHERE bucket.credential = held.credential AND bucket.model = held.model;
    END IF;
END $$
"""

BOOK_CALLS = """
CREATE FUNCTION book_calls(entries jsonb, telling uuid[], OUT booked uuid[], OUT warnings jsonb)
LANGUAGE plpgsql SET search_path = public, pg_temp SET lock_timeout = '2s'
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
-- Rows of ledger_entry as JSON: those whose ids are new are booked, and their reservations released. Only the entries
-- whose ids are in `telling` may say that a budget reached nine tenths of its limit; of each limit it is told once,
-- and of a lower one not again. A month pays for what was reserved in it, so that none overshoots.
DECLARE
    given ledger_entry[] := ARRAY(SELECT entry FROM jsonb_populate_recordset(NULL::ledger_entry, entries) AS entry);
    known uuid[] := '{}';
    released call_reservation[];
    periods jsonb;
    fresh ledger_entry[];
    moves budget_account[];
BEGIN
    warnings := '[]';
    WITH gone AS (
        DELETE FROM call_reservation AS held USING unnest(given) AS entry
        WHERE held.tenant_id = entry.tenant_id AND held.id = entry.id RETURNING held.*
    )
    SELECT coalesce(array_agg(ROW(gone.*)::call_reservation), '{}'), coalesce(jsonb_object_agg(id, period), '{}')
    INTO released, periods FROM gone;
    given := ARRAY(
        SELECT jsonb_populate_record(entry, jsonb_build_object('period', coalesce(
            (periods ->> entry.id::text)::date, date_trunc('month', entry.booked_at AT TIME ZONE 'UTC')::date)))
        FROM unnest(given) AS entry
    );

    -- What had a reservation is on no ledger yet, for booking removes it; so the common case looks into no partition.
    IF cardinality(released) < cardinality(given) OR 'LOST' IN (SELECT entry.outcome FROM unnest(given) AS entry) THEN
        known := ARRAY(SELECT other.id FROM unnest(given) AS entry JOIN ledger_entry AS other USING (tenant_id, id));
    END IF;
    WITH added AS (
        INSERT INTO ledger_entry
        SELECT DISTINCT ON (entry.tenant_id, entry.id) entry.* FROM unnest(given) AS entry
        WHERE entry.id <> ALL(known)
        ON CONFLICT DO NOTHING RETURNING *
    )
    SELECT coalesce(array_agg(ROW(added.*)::ledger_entry), '{}') INTO fresh FROM added;
    booked := ARRAY(SELECT entry.id FROM unnest(fresh) AS entry);

    moves := ARRAY(
        SELECT ROW(tenant_id, scope, scope_id, period, sum(spent), sum(reserved), NULL)::budget_account
        FROM (
            SELECT entry.tenant_id, own.*, entry.cost AS spent, 0 AS reserved
            FROM unnest(fresh) AS entry CROSS JOIN LATERAL call_accounts(entry.tenant_id, entry.project_id,
                entry.team_id, entry.execution_id, entry.task_execution_id, entry.period) AS own
            UNION ALL
            SELECT held.tenant_id, own.*, 0, - held.amount
            FROM unnest(released) AS held CROSS JOIN LATERAL call_accounts(held.tenant_id, held.project_id,
                held.team_id, held.execution_id, held.task_execution_id, held.period) AS own
        ) AS part
        GROUP BY tenant_id, scope, scope_id, period
        HAVING sum(spent) <> 0 OR sum(reserved) <> 0
        ORDER BY tenant_id, scope, scope_id, period
    );
    IF moves <> '{}' THEN
        INSERT INTO budget_account (tenant_id, scope, scope_id, period)
        SELECT tenant_id, scope, scope_id, period FROM unnest(moves)
        ORDER BY tenant_id, scope, scope_id, period ON CONFLICT DO NOTHING;
        PERFORM FROM unnest(moves) AS move JOIN budget_account AS account USING (tenant_id, scope, scope_id, period)
        ORDER BY account.tenant_id, account.scope, account.scope_id, account.period FOR NO KEY UPDATE OF account;
        UPDATE budget_account AS account
        SET spent = account.spent + move.spent, reserved = account.reserved + move.reserved
        FROM unnest(moves) AS move
        WHERE account.tenant_id = move.tenant_id AND account.scope = move.scope
            AND account.scope_id = move.scope_id AND account.period = move.period;
    END IF;

    IF moves <> '{}' AND telling <> '{}' THEN
        WITH reached AS (
            SELECT account.*, account.spent - move.spent AS before, own.most
            FROM unnest(moves) AS move
            JOIN budget_account AS account USING (tenant_id, scope, scope_id, period)
            CROSS JOIN LATERAL (SELECT CASE account.scope
                WHEN 0 THEN (SELECT monthly_budget FROM tenant WHERE id = account.scope_id)
                WHEN 1 THEN (SELECT monthly_budget FROM project
                    WHERE project.tenant_id = account.tenant_id AND id = account.scope_id)
                WHEN 2 THEN (SELECT monthly_budget FROM team
                    WHERE team.tenant_id = account.tenant_id AND id = account.scope_id)
                WHEN 3 THEN (SELECT max_budget FROM execution
                    WHERE execution.tenant_id = account.tenant_id AND id = account.scope_id)
                ELSE (SELECT max_budget FROM task_execution
                    WHERE task_execution.tenant_id = account.tenant_id AND id = account.scope_id)
            END AS most) AS own
            WHERE account.spent > 0 AND account.spent >= 0.9 * own.most
                AND (account.warned_limit IS NULL OR account.warned_limit < own.most)
        ),
        told AS (
            SELECT DISTINCT ON (tenant_id, scope, scope_id, period) reached.*, step.entry_id, step.execution_id,
                step.task_execution_id, step.role_id, reached.before + step.so_far AS brought_to
            FROM reached JOIN (
                SELECT entry.tenant_id, own.*, entry.id AS entry_id, entry.execution_id, entry.task_execution_id,
                    entry.role_id, sum(entry.cost) OVER (
                        PARTITION BY entry.tenant_id, own.scope, own.scope_id, own.period
                        ORDER BY entry.booked_at, entry.id) AS so_far
                FROM unnest(fresh) AS entry CROSS JOIN LATERAL call_accounts(entry.tenant_id, entry.project_id,
                    entry.team_id, entry.execution_id, entry.task_execution_id, entry.period) AS own
            ) AS step USING (tenant_id, scope, scope_id, period)
            WHERE step.entry_id = ANY(telling) AND reached.before + step.so_far >= 0.9 * reached.most
            ORDER BY tenant_id, scope, scope_id, period, step.so_far
        ),
        marked AS (
            UPDATE budget_account AS account SET warned_limit = told.most FROM told
            WHERE account.tenant_id = told.tenant_id AND account.scope = told.scope
                AND account.scope_id = told.scope_id AND account.period = told.period
        )
        SELECT coalesce(jsonb_agg(jsonb_build_object(
            'entry_id', entry_id, 'tenant_id', tenant_id, 'execution_id', execution_id,
            'task_execution_id', task_execution_id, 'role_id', role_id,
            'scope', (ARRAY['TENANT', 'PROJECT', 'TEAM', 'EXECUTION', 'TASK'])[scope + 1],
            'limit_amount', most::text, 'spent_amount', brought_to::text) ORDER BY tenant_id, scope, scope_id), '[]')
        INTO warnings FROM told;
    END IF;

    -- Tokens that were taken from a provider's rate and not used. Of a lost call nobody knows what it used.
    IF EXISTS (SELECT FROM unnest(released) WHERE tokens > 0) THEN
        PERFORM FROM unnest(released) AS held JOIN provider_limit AS bucket USING (credential, model)
        WHERE held.tokens > 0
        ORDER BY bucket.credential, bucket.model FOR NO KEY UPDATE OF bucket;
        UPDATE provider_limit AS bucket
        SET tokens_left = least(bucket.tokens_per_minute, bucket.tokens_left + unused.tokens)
        FROM (
            SELECT held.credential, held.model,
                sum(greatest(held.tokens - entry.prompt_tokens - entry.completion_tokens, 0)) AS tokens
            FROM unnest(released) AS held JOIN unnest(fresh) AS entry USING (tenant_id, id)
            WHERE entry.outcome <> 'LOST' GROUP BY held.credential, held.model
        ) AS unused
        WHERE bucket.credential = unused.credential AND bucket.model = unused.model AND unused.tokens > 0;
    END IF;
END $$
"""

FUNCTIONS = (CALL_ACCOUNTS, TAKE_FROM_PROVIDER, RESERVE_CALL, RELEASE_CALL, BOOK_CALLS)
SIGNATURES = (
    "book_calls(jsonb, uuid[])",
    "release_call(uuid, uuid)",
    "reserve_call(jsonb)",
    "take_from_provider(text, text, integer, integer, bigint)",
    "call_accounts(uuid, uuid, uuid, uuid, uuid, date)",
)

GRANTS = (
    (
        "GRANT SELECT, INSERT, UPDATE, DELETE ON model, credential, budget_account, call_reservation, provider_limit"
        " TO regatta_app"
    ),
    "GRANT UPDATE (monthly_budget) ON tenant TO regatta_app",
)


def upgrade() -> None:
    for table in ("tenant", "project", "team"):
        op.add_column(table, sa.Column("monthly_budget", AMOUNT))
    _upgrade_tasks()
    _upgrade_ledger()
    for name, kind, default in (
        ("providers", postgresql.ARRAY(sa.Text()), "'{}'"),
        ("models", postgresql.ARRAY(sa.Text()), "'{}'"),
        ("free_providers", postgresql.ARRAY(sa.Text()), "'{}'"),
        ("is_local_silent", sa.Boolean(), "false"),
    ):
        op.add_column("worker", sa.Column(name, kind, nullable=False, server_default=sa.text(default)))
    op.create_table_comment(
        "worker",
        "Infrastructure, of no tenant: which workers are alive, and the models that their environment gives access to.",
        existing_comment="Infrastructure, of no tenant: which workers are alive.",
    )
    _create_reservations()
    _create_catalogue()
    for statement in (*FUNCTIONS, *GRANTS):
        op.execute(statement)
    for signature in SIGNATURES:
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO regatta_app")
    _open_accounts()


def _upgrade_tasks() -> None:
    op.add_column("task", sa.Column("max_budget", AMOUNT))
    op.add_column("task", sa.Column("quality_preference", sa.Text()))
    op.add_column("task", sa.Column("output_schema", postgresql.JSONB()))
    op.create_check_constraint(op.f("ck_task_quality_preference"), "task", _in("quality_preference", PREFERENCES))
    balanced = sa.text("'BALANCED'")
    for table in ("execution", "task_execution"):
        op.add_column(table, sa.Column("quality_preference", sa.Text(), nullable=False, server_default=balanced))
        op.alter_column(table, "quality_preference", server_default=None)
        op.add_column(table, sa.Column("max_budget", AMOUNT))
        op.add_column(table, sa.Column("failure_details", postgresql.JSONB()))
        op.create_check_constraint(
            op.f(f"ck_{table}_quality_preference"), table, _in("quality_preference", PREFERENCES)
        )
        _replace_check(table, "failure_code", (*FAILURES, "BUDGET_EXCEEDED"))
    op.add_column("execution", sa.Column("max_task_budget", AMOUNT))
    op.add_column("task_execution", sa.Column("output_schema", postgresql.JSONB()))


def _upgrade_ledger() -> None:
    for name, kind, default in (
        ("call", sa.Integer(), "1"),
        ("call_attempt", sa.Integer(), "1"),
        ("reserved", AMOUNT, "0"),
        ("is_overrun", sa.Boolean(), "false"),
    ):
        op.add_column("ledger_entry", sa.Column(name, kind, nullable=False, server_default=sa.text(default)))
    op.add_column("ledger_entry", sa.Column("routing", postgresql.JSONB()))
    op.add_column("ledger_entry", sa.Column("period", sa.Date()))
    op.execute("UPDATE ledger_entry SET period = date_trunc('month', booked_at AT TIME ZONE 'UTC')")
    op.alter_column("ledger_entry", "period", nullable=False)
    for whose in ("project", "role"):
        op.create_index(f"ix_ledger_entry_{whose}_booked", "ledger_entry", ["tenant_id", f"{whose}_id", "booked_at"])
    _replace_check("ledger_entry", "outcome", ("SUCCEEDED", "FAILED", "CANCELLED", "LOST"))


def _create_reservations() -> None:
    op.create_table(
        "call_reservation",
        *(
            sa.Column(name, sa.Uuid(), nullable=False)
            for name in ("tenant_id", "id", "project_id", "team_id", "execution_id", "task_execution_id", "role_id")
        ),
        sa.Column("owner_epoch", sa.Integer(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("call", sa.Integer(), nullable=False),
        sa.Column("call_attempt", sa.Integer(), nullable=False),
        sa.Column("amount", AMOUNT, nullable=False),
        sa.Column("requests", sa.Integer(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("credential", sa.Text(), nullable=False),
        sa.Column("routing", postgresql.JSONB(), nullable=False),
        sa.Column("period", sa.Date(), nullable=False),
        sa.Column("reserved_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_call_reservation")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "execution_id"],
            ["execution.tenant_id", "execution.id"],
            name=op.f("fk_call_reservation_tenant_id_execution_id"),
        ),
        comment="A model call that may be under way: what it may cost, and what it took of the bucket in"
        " provider_limit that credential and model name. Booking, losing or releasing it removes it.",
    )
    op.create_index("ix_call_reservation_execution", "call_reservation", ["tenant_id", "execution_id"])
    op.create_index("ix_call_reservation_expires_at", "call_reservation", ["expires_at"])
    op.create_table(
        "budget_account",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("scope", sa.SmallInteger(), nullable=False),
        sa.Column("scope_id", sa.Uuid(), nullable=False),
        sa.Column("period", sa.Date(), nullable=False),
        sa.Column("spent", AMOUNT, nullable=False, server_default=sa.text("0")),
        sa.Column("reserved", AMOUNT, nullable=False, server_default=sa.text("0")),
        sa.Column("warned_limit", AMOUNT),
        sa.PrimaryKeyConstraint("tenant_id", "scope", "scope_id", "period", name=op.f("pk_budget_account")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_budget_account_tenant_id")),
        sa.CheckConstraint("scope BETWEEN 0 AND 4", name=op.f("ck_budget_account_scope")),
        comment="Running sums over the ledger and the reservations. Scopes 0 to 4: tenant, project, team by the first"
        " day of the month (UTC); execution, task execution under 1970-01-01. Locked in the order of the key."
        " warned_limit is the last limit of which nine tenths were told.",
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "provider_limit",
        sa.Column("credential", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("cooling_until", sa.DateTime(timezone=True)),
        sa.Column("reason", sa.Text()),
        sa.Column("requests_per_minute", sa.Integer()),
        sa.Column("tokens_per_minute", sa.Integer()),
        sa.Column("requests_left", sa.Double()),
        sa.Column("tokens_left", sa.Double()),
        sa.Column("refilled_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("credential", "model", name=op.f("pk_provider_limit")),
        comment="Infrastructure: which credentials cool down, and under <tenant>:<credential> what is left of the rates"
        " that the tenant's catalogue gives.",
    )


def _create_catalogue() -> None:
    op.create_table(
        "model",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("prompt_price", AMOUNT),
        sa.Column("completion_price", AMOUNT),
        sa.Column("cached_price", AMOUNT),
        sa.Column("price_details", postgresql.JSONB(), nullable=False),
        sa.Column("context_window", sa.Integer()),
        sa.Column("max_output_tokens", sa.Integer()),
        sa.Column("supports_tools", sa.Boolean(), nullable=False),
        sa.Column("supports_json", sa.Boolean(), nullable=False),
        sa.Column("supports_vision", sa.Boolean(), nullable=False),
        sa.Column("base_url", sa.Text()),
        sa.Column("routing_order", sa.Integer()),
        sa.Column("requests_per_minute", sa.Integer()),
        sa.Column("tokens_per_minute", sa.Integer()),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Uuid()),
        sa.Column("archived_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_model")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_model_tenant_id")),
        sa.CheckConstraint(_in("tier", ("LOCAL", "STANDARD", "PREMIUM")), name=op.f("ck_model_tier")),
        comment="A tenant's own entries; what ships with Regatta is in domain/model/catalogue.json.",
    )
    op.create_index(
        "uq_model_name", "model", ["tenant_id", "name"], unique=True, postgresql_where=sa.text("archived_at IS NULL")
    )
    op.create_table(
        "credential",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("header", sa.Text(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Uuid()),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_credential")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_credential_tenant_id")),
        sa.CheckConstraint(_in("kind", ("PROVIDER", "MODEL", "TOOL")), name=op.f("ck_credential_kind")),
        sa.UniqueConstraint("tenant_id", "kind", "subject", name="uq_credential_subject"),
    )


def _open_accounts() -> None:
    """The sums over what is on the ledger already."""
    for scope, column, period in (
        (0, "tenant_id", "period"),
        (1, "project_id", "period"),
        (2, "team_id", "period"),
        (3, "execution_id", "DATE '1970-01-01'"),
        (4, "task_execution_id", "DATE '1970-01-01'"),
    ):
        op.execute(
            "INSERT INTO budget_account (tenant_id, scope, scope_id, period, spent)"  # noqa: S608 - constants above
            f" SELECT tenant_id, {scope}, {column}, {period}, sum(cost) FROM ledger_entry GROUP BY 1, 2, 3, 4"
        )


def _in(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


def _replace_check(table: str, column: str, values: tuple[str, ...]) -> None:
    op.drop_constraint(op.f(f"ck_{table}_{column}"), table, type_="check")
    op.create_check_constraint(op.f(f"ck_{table}_{column}"), table, _in(column, values))


def downgrade() -> None:
    for signature in SIGNATURES:
        op.execute(f"DROP FUNCTION {signature}")
    for table in ("credential", "model", "provider_limit", "budget_account", "call_reservation"):
        op.drop_table(table)
    op.execute("REVOKE UPDATE (monthly_budget) ON tenant FROM regatta_app")
    op.create_table_comment(
        "worker",
        "Infrastructure, of no tenant: which workers are alive.",
        existing_comment="Infrastructure, of no tenant: which workers are alive, and the models that their environment"
        " gives access to.",
    )
    for name in ("is_local_silent", "free_providers", "models", "providers"):
        op.drop_column("worker", name)
    # What the older schema has no word for becomes the nearest that it has.
    op.execute("UPDATE ledger_entry SET outcome = 'FAILED' WHERE outcome = 'LOST'")
    # Events keep their numbers, for these have no gaps.
    op.execute(
        'UPDATE execution_event SET type = \'OutputStreamed\', payload = \'{"call": 1, "text": ""}\''
        " WHERE type IN ('RoutingDecided', 'BudgetWarned')"
    )
    op.execute(
        "UPDATE execution_event SET payload = jsonb_set(payload, '{code}', '\"INTERNAL\"')"
        " WHERE payload ->> 'code' = 'BUDGET_EXCEEDED'"
    )
    op.execute(
        "UPDATE execution_event SET payload = jsonb_set(payload, '{outcome}', '\"FAILED\"')"
        " WHERE type = 'ModelCalled' AND payload ->> 'outcome' = 'LOST'"
    )
    _replace_check("ledger_entry", "outcome", ("SUCCEEDED", "FAILED", "CANCELLED"))
    for whose in ("project", "role"):
        op.drop_index(f"ix_ledger_entry_{whose}_booked", table_name="ledger_entry")
    for name in ("period", "routing", "is_overrun", "reserved", "call_attempt", "call"):
        op.drop_column("ledger_entry", name)
    op.drop_column("task_execution", "output_schema")
    op.drop_column("execution", "max_task_budget")
    for table in ("task_execution", "execution"):
        op.execute(f"UPDATE {table} SET failure_code = 'INTERNAL' WHERE failure_code = 'BUDGET_EXCEEDED'")  # noqa: S608
        _replace_check(table, "failure_code", FAILURES)
        for name in ("failure_details", "max_budget", "quality_preference"):
            op.drop_column(table, name)
    for name in ("output_schema", "quality_preference", "max_budget"):
        op.drop_column("task", name)
    for table in ("team", "project", "tenant"):
        op.drop_column(table, "monthly_budget")
