"""Templates, generations and optimizations; a model call may be made for a generation instead of a task."""

import runpy
from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
AMOUNT = sa.Numeric(24, 12)
JSONB = postgresql.JSONB()
TEXTS = postgresql.ARRAY(sa.Text())
WORKING = ("PENDING", "ANALYSING", "COMPOSING", "VALIDATING")

BEFORE = runpy.run_path(str(Path(__file__).with_name("0002_models_and_budgets.py")))
"""The functions as they were: most of their text stays."""

CALL_ACCOUNTS = """
CREATE FUNCTION call_accounts(
    tenant uuid, project uuid, team uuid, execution uuid, task uuid, generation uuid, month date
) RETURNS TABLE (scope smallint, scope_id uuid, period date)
LANGUAGE sql IMMUTABLE AS $$
    -- A task's call has the first five, a generation's the first two, perhaps a team's, and its own.
    SELECT * FROM (VALUES (0::smallint, tenant, month), (1::smallint, project, month), (2::smallint, team, month),
        (3::smallint, execution, DATE '1970-01-01'), (4::smallint, task, DATE '1970-01-01'),
        (5::smallint, generation, DATE '1970-01-01')) AS own (scope, scope_id, period)
    WHERE own.scope_id IS NOT NULL
$$
"""


def _changed(text: str, *changes: tuple[str, str]) -> str:
    """The text with each of these replaced, wherever it stands; it has to stand somewhere."""
    for old, new in changes:
        if old not in text:
            raise ValueError(old)
        text = text.replace(old, new)
    return text


SCOPES = ("'TEAM', 'EXECUTION', 'TASK'", "'TEAM', 'EXECUTION', 'TASK', 'GENERATION'")

RESERVE_CALL = _changed(
    BEFORE["RESERVE_CALL"],
    ("wanted.task_execution_id, wanted.period)", "wanted.task_execution_id, wanted.generation_id, wanted.period)"),
    SCOPES,
    (
        "    SELECT execution.project_id, execution.team_id INTO wanted.project_id, wanted.team_id\n",
        """    IF wanted.generation_id IS NOT NULL THEN
        SELECT generation.project_id, generation.team_id INTO wanted.project_id, wanted.team_id FROM generation
        WHERE generation.tenant_id = wanted.tenant_id AND generation.id = wanted.generation_id
            AND generation.owner_epoch = wanted.owner_epoch
            AND generation.status IN ('PENDING', 'ANALYSING', 'COMPOSING', 'VALIDATING');
    ELSE
    SELECT execution.project_id, execution.team_id INTO wanted.project_id, wanted.team_id
""",
    ),
    (
        "        AND execution.status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED');\n",
        "        AND execution.status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED');\n    END IF;\n",
    ),
    (
        "        SELECT ARRAY[tenant.monthly_budget, project.monthly_budget, team.monthly_budget, execution.max_budget,\n",
        """        IF wanted.generation_id IS NOT NULL THEN
            SELECT ARRAY[tenant.monthly_budget, project.monthly_budget, team.monthly_budget, NULL, NULL,
                generation.max_budget]
            INTO limits
            FROM generation
            JOIN tenant ON tenant.id = generation.tenant_id
            JOIN project ON project.tenant_id = generation.tenant_id AND project.id = generation.project_id
            LEFT JOIN team ON team.tenant_id = generation.tenant_id AND team.id = generation.team_id
            WHERE generation.tenant_id = wanted.tenant_id AND generation.id = wanted.generation_id;
        ELSE
        SELECT ARRAY[tenant.monthly_budget, project.monthly_budget, team.monthly_budget, execution.max_budget,
""",
    ),
    (
        "        WHERE execution.tenant_id = wanted.tenant_id AND execution.id = wanted.execution_id;\n",
        "        WHERE execution.tenant_id = wanted.tenant_id AND execution.id = wanted.execution_id;\n        END IF;\n",
    ),
)

RELEASE_CALL = _changed(
    BEFORE["RELEASE_CALL"],
    (
        "held.execution_id, held.task_execution_id,\n",
        "held.execution_id, held.task_execution_id, held.generation_id,\n",
    ),
)

BOOK_CALLS = _changed(
    BEFORE["BOOK_CALLS"],
    ("entry.task_execution_id, entry.period)", "entry.task_execution_id, entry.generation_id, entry.period)"),
    ("held.task_execution_id, held.period)", "held.task_execution_id, held.generation_id, held.period)"),
    SCOPES,
    (
        """                ELSE (SELECT max_budget FROM task_execution
                    WHERE task_execution.tenant_id = account.tenant_id AND id = account.scope_id)
""",
        """                WHEN 4 THEN (SELECT max_budget FROM task_execution
                    WHERE task_execution.tenant_id = account.tenant_id AND id = account.scope_id)
                ELSE (SELECT max_budget FROM generation
                    WHERE generation.tenant_id = account.tenant_id AND id = account.scope_id)
""",
    ),
)

FUNCTIONS = (CALL_ACCOUNTS, RESERVE_CALL, RELEASE_CALL, BOOK_CALLS)
SIGNATURES = (
    "book_calls(jsonb, uuid[])",
    "release_call(uuid, uuid)",
    "reserve_call(jsonb)",
    "call_accounts(uuid, uuid, uuid, uuid, uuid, uuid, date)",
)
FORMER = ("CALL_ACCOUNTS", "RESERVE_CALL", "RELEASE_CALL", "BOOK_CALLS")
FORMER_SIGNATURES = (*SIGNATURES[:3], "call_accounts(uuid, uuid, uuid, uuid, uuid, date)")

GRANTS = (
    "GRANT SELECT, INSERT, UPDATE ON template, generation, optimization TO regatta_app",
    "GRANT SELECT, INSERT ON template_version, template_use TO regatta_app",
)
ONE_PAYER = (
    "(generation_id IS NULL AND team_id IS NOT NULL AND execution_id IS NOT NULL AND task_execution_id IS NOT NULL)"
    " OR (generation_id IS NOT NULL AND execution_id IS NULL AND task_execution_id IS NULL AND role_id IS NULL)"
)
NULLABLE = ("team_id", "execution_id", "task_execution_id")


def upgrade() -> None:
    _create_templates()
    _create_generations()
    _create_uses()
    _create_optimizations()
    _open_the_ledger()
    for signature in FORMER_SIGNATURES:
        op.execute(f"DROP FUNCTION {signature}")
    _create_functions(FUNCTIONS, SIGNATURES)
    for statement in GRANTS:
        op.execute(statement)
    # What histories ask for: few of an execution's events, and hard to find among the others.
    op.create_index(
        "ix_execution_event_told",
        "execution_event",
        ["tenant_id", "execution_id"],
        postgresql_where=sa.text("type IN ('GuardrailChecked', 'WorkDelegated')"),
    )


def _create_functions(functions: tuple[str, ...], signatures: tuple[str, ...]) -> None:
    for statement in functions:
        op.execute(statement)
    for signature in signatures:
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO regatta_app")


def _create_templates() -> None:
    op.create_table(
        "template",
        *_ids("tenant_id", "id"),
        *_texts("name", "description", "kind", "domain"),
        sa.Column("tags", TEXTS, nullable=False),
        sa.Column("latest", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.Uuid()),
        sa.Column("archived_at", MOMENT),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_template")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_template_tenant_id")),
        _check("template", "kind", ("TEAM", "TASK")),
        comment="The tenants' own templates; those that ship are files, and stand nowhere here.",
    )
    op.create_index(
        "uq_template_name",
        "template",
        ["tenant_id", "name"],
        unique=True,
        postgresql_where=sa.text("archived_at IS NULL"),
    )
    op.create_table(
        "template_version",
        *_ids("tenant_id", "template_id"),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("content", JSONB, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.Uuid()),
        sa.PrimaryKeyConstraint("tenant_id", "template_id", "number", name=op.f("pk_template_version")),
        _to("template_version", "template"),
    )


def _create_generations() -> None:
    op.create_table(
        "generation",
        *_ids("tenant_id", "id", "project_id"),
        sa.Column("team_id", sa.Uuid()),
        sa.Column("base_hash", sa.Text()),
        sa.Column("batch_id", sa.Uuid()),
        sa.Column("objective", sa.Text(), nullable=False),
        sa.Column("constraints", JSONB, nullable=False),
        sa.Column("fallback", sa.Text(), nullable=False),
        sa.Column("max_budget", AMOUNT),
        sa.Column("timeout_seconds", sa.Double(), nullable=False),
        *_texts("status", "stage"),
        *(sa.Column(name, JSONB) for name in ("analysis", "proposal", "validation")),
        sa.Column("templates", JSONB, nullable=False),
        *(sa.Column(name, sa.Text()) for name in ("composed_by", "model")),
        sa.Column("is_first_valid", sa.Boolean()),
        sa.Column("repairs", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Text()) for name in ("fallback_reason", "failure_code", "failure_message")),
        sa.Column("accepted_team_id", sa.Uuid()),
        sa.Column("rejection_reason", sa.Text()),
        sa.Column("rating", sa.SmallInteger()),
        sa.Column("feedback", sa.Text()),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        *(sa.Column(name, MOMENT) for name in ("started_at", "finished_at", "decided_at")),
        sa.Column("created_by", sa.Uuid()),
        sa.Column("calls", JSONB, nullable=False, server_default=sa.text("'[]'")),
        sa.Column("owner_epoch", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("worker_id", sa.Text()),
        sa.Column("locked_until", MOMENT),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_generation")),
        _to("generation", "project"),
        _to("generation", "team"),
        _to("generation", "team", "accepted_team_id"),
        _check("generation", "status", (*WORKING, "READY", "FAILED", "CANCELLED", "ACCEPTED", "REJECTED")),
        _check("generation", "fallback", ("ALLOWED", "OFF")),
        _check("generation", "composed_by", ("MODEL", "MODEL_REPAIRED", "RULES")),
        _check(
            "generation",
            "failure_code",
            (
                "NO_MODEL",
                "MODEL_FAILED",
                "ANSWER_INVALID",
                "CONSTRAINTS_CONFLICT",
                "BUDGET_EXCEEDED",
                "TIMED_OUT",
                "INTERNAL",
            ),
        ),
        sa.CheckConstraint("rating BETWEEN 1 AND 5", name=op.f("ck_generation_rating")),
        comment="calls is the journal of its finished model calls, emptied when it is over; a worker has it under"
        " owner_epoch until locked_until, and renews that.",
    )
    op.create_index("ix_generation_created", "generation", ["tenant_id", "created_at", "id"])
    op.create_index("ix_generation_project_created", "generation", ["tenant_id", "project_id", "created_at", "id"])
    for name, column in (("batch", "batch_id"), ("accepted_team", "accepted_team_id")):
        op.create_index(
            f"ix_generation_{name}",
            "generation",
            ["tenant_id", column],
            postgresql_where=sa.text(f"{column} IS NOT NULL"),
        )
    op.create_index(
        "ix_generation_working",
        "generation",
        ["tenant_id", "created_at", "id"],
        postgresql_where=sa.text(_in("status", WORKING)),
    )


def _create_uses() -> None:
    op.create_table(
        "template_use",
        *_ids("tenant_id", "id", "template_id", "team_id"),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Uuid()),
        sa.Column("generation_id", sa.Uuid()),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.Uuid()),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_template_use")),
        *(_to("template_use", name) for name in ("team", "task", "generation")),
        comment="Which teams and tasks were made from which version; template_id may be one that ships.",
    )
    op.create_index("ix_template_use_template", "template_use", ["tenant_id", "template_id", "number"])
    op.create_index("ix_template_use_team", "template_use", ["tenant_id", "team_id"])


def _create_optimizations() -> None:
    op.create_table(
        "optimization",
        *_ids("tenant_id", "id", "team_id"),
        *_texts("goal", "kind", "title", "explanation"),
        *(sa.Column(name, JSONB, nullable=False) for name in ("evidence", "effects", "changes")),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.Uuid()),
        sa.Column("applied_at", MOMENT),
        sa.Column("undone_at", MOMENT),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_optimization")),
        _to("optimization", "team"),
        _check("optimization", "goal", ("PERFORMANCE", "COST", "SPEED")),
        _check(
            "optimization",
            "kind",
            (
                "CHEAPER_MODEL",
                "BETTER_MODEL",
                "PARALLEL_BRANCHES",
                "UNUSED_DELEGATION",
                "FAILING_GUARDRAIL",
                "MORE_ATTEMPTS",
            ),
        ),
        _check("optimization", "status", ("PROPOSED", "APPLIED", "UNDONE", "SUPERSEDED")),
    )
    op.create_index("ix_optimization_team_created", "optimization", ["tenant_id", "team_id", "created_at", "id"])


def _open_the_ledger() -> None:
    """A generation, too, may have entries and reservations."""
    for table in ("ledger_entry", "call_reservation"):
        for column in NULLABLE:
            op.alter_column(table, column, nullable=True)
        op.add_column(table, sa.Column("generation_id", sa.Uuid()))
        op.create_foreign_key(
            op.f(f"fk_{table}_tenant_id_generation_id"),
            table,
            "generation",
            ["tenant_id", "generation_id"],
            ["tenant_id", "id"],
        )
        op.create_index(
            f"ix_{table}_generation",
            table,
            ["tenant_id", "generation_id"],
            postgresql_where=sa.text("generation_id IS NOT NULL"),
        )
    op.alter_column("call_reservation", "role_id", nullable=True)
    for table in ("ledger_entry", "call_reservation"):
        op.create_check_constraint(op.f(f"ck_{table}_payer"), table, ONE_PAYER)
    _limit_scopes(
        5, "Scopes 0 to 5", "execution, task execution, generation", "Scopes 0 to 4", "execution, task execution"
    )


def _limit_scopes(most: int, scopes: str, things: str, former_scopes: str, former_things: str) -> None:
    op.drop_constraint(op.f("ck_budget_account_scope"), "budget_account", type_="check")
    op.create_check_constraint(op.f("ck_budget_account_scope"), "budget_account", f"scope BETWEEN 0 AND {most}")
    op.create_table_comment(
        "budget_account", _comment(scopes, things), existing_comment=_comment(former_scopes, former_things)
    )


def _comment(scopes: str, things: str) -> str:
    return (
        f"Running sums over the ledger and the reservations. {scopes}: tenant, project, team by the first day"
        f" of the month (UTC); {things} under 1970-01-01. Locked in the order of the key. warned_limit is"
        " the last limit of which nine tenths were told."
    )


def _ids(*names: str) -> list[sa.Column[object]]:
    return [sa.Column(name, sa.Uuid(), nullable=False) for name in names]


def _texts(*names: str) -> list[sa.Column[object]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def _to(table: str, target: str, column: str | None = None) -> sa.ForeignKeyConstraint:
    column = column or f"{target}_id"
    return sa.ForeignKeyConstraint(
        ["tenant_id", column], [f"{target}.tenant_id", f"{target}.id"], name=op.f(f"fk_{table}_tenant_id_{column}")
    )


def _check(table: str, column: str, values: tuple[str, ...]) -> sa.CheckConstraint:
    return sa.CheckConstraint(_in(column, values), name=op.f(f"ck_{table}_{column}"))


def _in(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


def downgrade() -> None:
    # What the older schema has no word for goes; what it cost stays in the sums of project and tenant.
    op.execute("SELECT release_call(tenant_id, id) FROM call_reservation WHERE generation_id IS NOT NULL")
    for table in ("ledger_entry", "call_reservation"):
        op.execute(f"DELETE FROM {table} WHERE generation_id IS NOT NULL")  # noqa: S608 - constants above
    op.execute("DELETE FROM budget_account WHERE scope = 5")
    op.drop_index("ix_execution_event_told", "execution_event")
    for signature in SIGNATURES:
        op.execute(f"DROP FUNCTION {signature}")
    _create_functions(tuple(BEFORE[name] for name in FORMER), FORMER_SIGNATURES)
    _limit_scopes(
        4, "Scopes 0 to 4", "execution, task execution", "Scopes 0 to 5", "execution, task execution, generation"
    )
    for table in ("ledger_entry", "call_reservation"):
        op.drop_constraint(op.f(f"ck_{table}_payer"), table, type_="check")
        op.drop_index(f"ix_{table}_generation", table)
        op.drop_constraint(op.f(f"fk_{table}_tenant_id_generation_id"), table, type_="foreignkey")
        op.drop_column(table, "generation_id")
        for column in NULLABLE:
            op.alter_column(table, column, nullable=False)
    op.alter_column("call_reservation", "role_id", nullable=False)
    for table in ("optimization", "template_use", "generation", "template_version", "template"):
        op.drop_table(table)
