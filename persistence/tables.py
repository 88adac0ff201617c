"""The tables: every row has its tenant, every foreign key carries it, every constraint has a name."""

from enum import Enum

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from domain.errors import FailureCode
from domain.model.credential import Credential, CredentialKind
from domain.model.execution import Execution, ExecutionStatus, TaskExecution, TaskExecutionStatus
from domain.model.ledger import CallOutcome, LedgerEntry, TokenSource
from domain.model.model import Model, Tier
from domain.model.project import Project, Tenant
from domain.model.revision import TeamRevision
from domain.model.role import DelegatesTo, Expertise, Rank, Role
from domain.model.routing import QualityPreference
from domain.model.task import Task, TaskDependency
from domain.model.team import Process, Team
from domain.model.tool import RoleTool, Tool, ToolKind

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Moment = DateTime(timezone=True)
Amount = Numeric(24, 12)


def _owned(*keys: str) -> list[Column[object]]:
    return [Column(key, Uuid, nullable=False) for key in ("tenant_id", *keys)]


def _record() -> list[Column[object]]:
    """What every thing that people edit has."""
    return [
        Column("version", Integer, nullable=False),
        Column("created_at", Moment, nullable=False),
        Column("updated_at", Moment, nullable=False),
        Column("created_by", Uuid),
        Column("archived_at", Moment),
    ]


def _key(*columns: str) -> PrimaryKeyConstraint:
    return PrimaryKeyConstraint("tenant_id", *(columns or ("id",)))


def _to(target: str, column: str) -> ForeignKeyConstraint:
    """A reference within the tenant."""
    return ForeignKeyConstraint(["tenant_id", column], [f"{target}.tenant_id", f"{target}.id"])


def _one_of(column: str, values: type[Enum]) -> CheckConstraint:
    listed = ", ".join(f"'{member.value}'" for member in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def _name_within(table: str, scope: str, column: str = "name") -> Index:
    """Names are unique among what is not archived; `errors.py` of this package knows the index by this name."""
    return Index(
        f"uq_{table}_name", "tenant_id", scope, column, unique=True, postgresql_where=text("archived_at IS NULL")
    )


tenant = Table(
    "tenant",
    metadata,
    Column("id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("monthly_budget", Amount),
    PrimaryKeyConstraint("id"),
)

project = Table(
    "project",
    metadata,
    *_owned("id"),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("monthly_budget", Amount),
    *_record(),
    _key(),
    ForeignKeyConstraint(["tenant_id"], ["tenant.id"]),
    Index("uq_project_name", "tenant_id", "name", unique=True, postgresql_where=text("archived_at IS NULL")),
    Index("ix_project_created", "tenant_id", "created_at", "id"),
)

team = Table(
    "team",
    metadata,
    *_owned("id", "project_id"),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("process", Text, nullable=False),
    Column("manager_id", Uuid),
    Column("max_iterations", Integer, nullable=False),
    Column("execution_timeout_seconds", Double, nullable=False),
    Column("task_timeout_seconds", Double, nullable=False),
    Column("monthly_budget", Amount),
    Column("revision_id", Uuid),
    *_record(),
    _key(),
    _to("project", "project_id"),
    ForeignKeyConstraint(
        ["tenant_id", "manager_id"], ["role.tenant_id", "role.id"], use_alter=True, name="fk_team_tenant_id_manager_id"
    ),
    ForeignKeyConstraint(
        ["tenant_id", "revision_id"],
        ["team_revision.tenant_id", "team_revision.id"],
        use_alter=True,
        name="fk_team_tenant_id_revision_id",
    ),
    _one_of("process", Process),
    _name_within("team", "project_id"),
    Index("ix_team_project_created", "tenant_id", "project_id", "created_at", "id"),
)

role = Table(
    "role",
    metadata,
    *_owned("id", "team_id"),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("expertise", Text, nullable=False),
    Column("goals", ARRAY(Text), nullable=False),
    Column("backstory", Text, nullable=False),
    Column("model", Text),
    Column("temperature", Double, nullable=False),
    Column("max_tokens", Integer),
    Column("model_parameters", JSONB, nullable=False),
    Column("skills", ARRAY(Text), nullable=False),
    Column("rank", Text, nullable=False),
    Column("supervisor_id", Uuid),
    Column("is_delegation_allowed", Boolean, nullable=False),
    Column("delegates_to", Text, nullable=False),
    Column("delegation_kinds", ARRAY(Text), nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("position", Integer, nullable=False),
    *_record(),
    _key(),
    _to("team", "team_id"),
    _to("role", "supervisor_id"),
    _one_of("expertise", Expertise),
    _one_of("rank", Rank),
    _one_of("delegates_to", DelegatesTo),
    Index("ix_role_team", "tenant_id", "team_id", "position", "id"),
)

task = Table(
    "task",
    metadata,
    *_owned("id", "team_id"),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("expected_output", Text, nullable=False),
    Column("role_id", Uuid),
    Column("required_skills", ARRAY(Text), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("max_budget", Amount),
    Column("quality_preference", Text),
    Column("output_schema", JSONB(none_as_null=True)),
    Column("position", Integer, nullable=False),
    *_record(),
    _key(),
    _to("team", "team_id"),
    _to("role", "role_id"),
    _one_of("quality_preference", QualityPreference),
    _name_within("task", "team_id"),
    Index("ix_task_team", "tenant_id", "team_id", "position", "id"),
)

task_dependency = Table(
    "task_dependency",
    metadata,
    *_owned("team_id", "task_id", "depends_on_id"),
    _key("task_id", "depends_on_id"),
    _to("team", "team_id"),
    _to("task", "task_id"),
    _to("task", "depends_on_id"),
    CheckConstraint("task_id <> depends_on_id", name="not_itself"),
    Index("ix_task_dependency_team", "tenant_id", "team_id"),
)

tool = Table(
    "tool",
    metadata,
    *_owned("id", "project_id"),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("configuration", JSONB, nullable=False),
    *_record(),
    _key(),
    _to("project", "project_id"),
    _one_of("kind", ToolKind),
    _name_within("tool", "project_id"),
    Index("ix_tool_project_created", "tenant_id", "project_id", "created_at", "id"),
)

role_tool = Table(
    "role_tool",
    metadata,
    *_owned("role_id", "tool_id"),
    _key("role_id", "tool_id"),
    _to("role", "role_id"),
    _to("tool", "tool_id"),
    Index("ix_role_tool_tool", "tenant_id", "tool_id"),
)

team_revision = Table(
    "team_revision",
    metadata,
    *_owned("id", "team_id"),
    Column("number", Integer, nullable=False),
    Column("content", Text, nullable=False),
    Column("content_hash", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("created_by", Uuid),
    _key(),
    _to("team", "team_id"),
    UniqueConstraint("tenant_id", "team_id", "number", name="uq_team_revision_number"),
    UniqueConstraint("tenant_id", "team_id", "content_hash", name="uq_team_revision_content"),
)

execution = Table(
    "execution",
    metadata,
    *_owned("id", "project_id", "team_id", "revision_id"),
    Column("status", Text, nullable=False),
    Column("inputs", JSONB, nullable=False),
    Column("max_iterations", Integer, nullable=False),
    Column("execution_timeout_seconds", Double, nullable=False),
    Column("task_timeout_seconds", Double, nullable=False),
    Column("quality_preference", Text, nullable=False),
    Column("max_budget", Amount),
    Column("max_task_budget", Amount),
    Column("output", Text),
    Column("failure_code", Text),
    Column("failure_message", Text),
    Column("failure_details", JSONB(none_as_null=True)),
    Column("worker_id", Text),
    Column("created_at", Moment, nullable=False),
    Column("started_at", Moment),
    Column("finished_at", Moment),
    Column("cancel_requested_at", Moment),
    Column("started_by", Uuid),
    _key(),
    _to("project", "project_id"),
    _to("team", "team_id"),
    _to("team_revision", "revision_id"),
    _one_of("status", ExecutionStatus),
    _one_of("quality_preference", QualityPreference),
    _one_of("failure_code", FailureCode),
    Index("ix_execution_team_created", "tenant_id", "team_id", "created_at", "id"),
    Index("ix_execution_project_created", "tenant_id", "project_id", "created_at", "id"),
    Index(
        "ix_execution_under_way",
        "status",
        "created_at",
        postgresql_where=text("status IN ('QUEUED', 'RUNNING', 'CANCELLING')"),
    ),
)

execution_sequence = Table(
    "execution_sequence",
    metadata,
    *_owned("execution_id"),
    Column("last_sequence", BigInteger, nullable=False, server_default=text("0")),
    Column("owner_epoch", Integer, nullable=False, server_default=text("0")),
    _key("execution_id"),
    _to("execution", "execution_id"),
    comment="The narrow row that every writer of an execution locks first: last event number, owning epoch.",
)

task_execution = Table(
    "task_execution",
    metadata,
    *_owned("id", "execution_id"),
    Column("position", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("expected_output", Text, nullable=False),
    Column("role_id", Uuid, nullable=False),
    Column("role_title", Text, nullable=False),
    Column("task_id", Uuid),
    Column("waits_for", ARRAY(Uuid), nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("max_budget", Amount),
    Column("quality_preference", Text, nullable=False),
    Column("output_schema", JSONB(none_as_null=True)),
    Column("attempts", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("model", Text),
    Column("output", Text),
    Column("failure_code", Text),
    Column("failure_message", Text),
    Column("failure_details", JSONB(none_as_null=True)),
    Column("created_at", Moment, nullable=False),
    Column("started_at", Moment),
    Column("finished_at", Moment),
    _key(),
    _to("execution", "execution_id"),
    _to("role", "role_id"),
    _to("task", "task_id"),
    _one_of("status", TaskExecutionStatus),
    _one_of("quality_preference", QualityPreference),
    _one_of("failure_code", FailureCode),
    UniqueConstraint("tenant_id", "execution_id", "position", name="uq_task_execution_position"),
)

execution_event = Table(
    "execution_event",
    metadata,
    *_owned("execution_id"),
    Column("sequence", BigInteger, nullable=False),
    Column("occurred_at", Moment, nullable=False),
    Column("type", Text, nullable=False),
    Column("task_execution_id", Uuid),
    Column("role_id", Uuid),
    Column("payload", JSONB, nullable=False),
    _key("execution_id", "sequence", "occurred_at"),
    _to("execution", "execution_id"),
    _to("task_execution", "task_execution_id"),
    _to("role", "role_id"),
    postgresql_partition_by="RANGE (occurred_at)",
)

ledger_entry = Table(
    "ledger_entry",
    metadata,
    *_owned("id", "project_id", "team_id", "execution_id", "task_execution_id"),
    Column("role_id", Uuid),
    Column("model", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("token_source", Text, nullable=False),
    Column("cost", Amount, nullable=False),
    Column("latency_seconds", Double),
    Column("time_to_first_token_seconds", Double),
    Column("error", Text),
    Column("call", Integer, nullable=False, server_default=text("1")),
    Column("call_attempt", Integer, nullable=False, server_default=text("1")),
    Column("routing", JSONB(none_as_null=True)),
    Column("period", Date, nullable=False),
    Column("reserved", Amount, nullable=False, server_default=text("0")),
    Column("is_overrun", Boolean, nullable=False, server_default=text("false")),
    Column("booked_at", Moment, nullable=False),
    _key("id", "booked_at"),
    _to("project", "project_id"),
    _to("team", "team_id"),
    _to("execution", "execution_id"),
    _to("task_execution", "task_execution_id"),
    _to("role", "role_id"),
    _one_of("outcome", CallOutcome),
    _one_of("token_source", TokenSource),
    Index("ix_ledger_entry_execution", "tenant_id", "execution_id"),
    Index("ix_ledger_entry_task_execution", "tenant_id", "task_execution_id"),
    Index("ix_ledger_entry_team_booked", "tenant_id", "team_id", "booked_at"),
    Index("ix_ledger_entry_project_booked", "tenant_id", "project_id", "booked_at"),
    Index("ix_ledger_entry_role_booked", "tenant_id", "role_id", "booked_at"),
    postgresql_partition_by="RANGE (booked_at)",
)

call_reservation = Table(
    "call_reservation",
    metadata,
    *_owned("id", "project_id", "team_id", "execution_id", "task_execution_id", "role_id"),
    Column("owner_epoch", Integer, nullable=False),
    Column("model", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("call", Integer, nullable=False),
    Column("call_attempt", Integer, nullable=False),
    Column("amount", Amount, nullable=False),
    Column("requests", Integer, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("credential", Text, nullable=False),
    Column("routing", JSONB, nullable=False),
    Column("period", Date, nullable=False),
    Column("reserved_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    _key(),
    _to("execution", "execution_id"),
    Index("ix_call_reservation_execution", "tenant_id", "execution_id"),
    Index("ix_call_reservation_expires_at", "expires_at"),
    comment="A model call that may be under way: what it may cost, and what it took of the bucket in provider_limit"
    " that credential and model name. Booking, losing or releasing it removes it.",
)

budget_account = Table(
    "budget_account",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("scope", SmallInteger, nullable=False),
    Column("scope_id", Uuid, nullable=False),
    Column("period", Date, nullable=False),
    Column("spent", Amount, nullable=False, server_default=text("0")),
    Column("reserved", Amount, nullable=False, server_default=text("0")),
    Column("warned_limit", Amount),
    _key("scope", "scope_id", "period"),
    ForeignKeyConstraint(["tenant_id"], ["tenant.id"]),
    CheckConstraint("scope BETWEEN 0 AND 4", name="scope"),
    comment="Running sums over the ledger and the reservations. Scopes 0 to 4: tenant, project, team by the first day"
    " of the month (UTC); execution, task execution under 1970-01-01. Locked in the order of the key. warned_limit is"
    " the last limit of which nine tenths were told.",
    postgresql_with={"fillfactor": "50"},
)

provider_limit = Table(
    "provider_limit",
    metadata,
    Column("credential", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("cooling_until", Moment),
    Column("reason", Text),
    Column("requests_per_minute", Integer),
    Column("tokens_per_minute", Integer),
    Column("requests_left", Double),
    Column("tokens_left", Double),
    Column("refilled_at", Moment),
    PrimaryKeyConstraint("credential", "model"),
    comment="Infrastructure: which credentials cool down, and under <tenant>:<credential> what is left of the rates"
    " that the tenant's catalogue gives.",
)

model = Table(
    "model",
    metadata,
    *_owned("id"),
    Column("name", Text, nullable=False),
    Column("tier", Text, nullable=False),
    Column("prompt_price", Amount),
    Column("completion_price", Amount),
    Column("cached_price", Amount),
    Column("price_details", JSONB, nullable=False),
    Column("context_window", Integer),
    Column("max_output_tokens", Integer),
    Column("supports_tools", Boolean, nullable=False),
    Column("supports_json", Boolean, nullable=False),
    Column("supports_vision", Boolean, nullable=False),
    Column("base_url", Text),
    Column("routing_order", Integer),
    Column("requests_per_minute", Integer),
    Column("tokens_per_minute", Integer),
    Column("is_enabled", Boolean, nullable=False),
    *_record(),
    _key(),
    ForeignKeyConstraint(["tenant_id"], ["tenant.id"]),
    _one_of("tier", Tier),
    Index("uq_model_name", "tenant_id", "name", unique=True, postgresql_where=text("archived_at IS NULL")),
    comment="A tenant's own entries; what ships with Regatta is in domain/model/catalogue.json.",
)

credential = Table(
    "credential",
    metadata,
    *_owned("id"),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("header", Text, nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Column("created_by", Uuid),
    _key(),
    ForeignKeyConstraint(["tenant_id"], ["tenant.id"]),
    _one_of("kind", CredentialKind),
    UniqueConstraint("tenant_id", "kind", "subject", name="uq_credential_subject"),
)

idempotency_key = Table(
    "idempotency_key",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("key", Text, nullable=False),
    Column("request_hash", Text, nullable=False),
    Column("result", Uuid),
    Column("expires_at", Moment, nullable=False),
    _key("key"),
    ForeignKeyConstraint(["tenant_id"], ["tenant.id"]),
    Index("ix_idempotency_key_expires_at", "expires_at"),
)

worker = Table(
    "worker",
    metadata,
    Column("id", Text, nullable=False),
    Column("heartbeat_at", Moment, nullable=False),
    Column("providers", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("models", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("free_providers", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("is_local_silent", Boolean, nullable=False, server_default=text("false")),
    PrimaryKeyConstraint("id"),
    comment="Infrastructure, of no tenant: which workers are alive, and the models that their environment gives access"
    " to.",
)

PARTITIONED = (execution_event, ledger_entry)

TABLES: dict[type[object], Table] = {
    Tenant: tenant,
    Project: project,
    Team: team,
    Role: role,
    Task: task,
    TaskDependency: task_dependency,
    Tool: tool,
    RoleTool: role_tool,
    TeamRevision: team_revision,
    Execution: execution,
    TaskExecution: task_execution,
    LedgerEntry: ledger_entry,
    Model: model,
    Credential: credential,
}
"""Where the things of the domain live: a field's name is its column's."""
