"""The tables: every row has its tenant, every foreign key carries it, every constraint has a name."""

from enum import Enum

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from domain.errors import FailureCode
from domain.model.execution import Execution, ExecutionStatus, TaskExecution, TaskExecutionStatus
from domain.model.ledger import CallOutcome, LedgerEntry, TokenSource
from domain.model.project import Project, Tenant
from domain.model.revision import TeamRevision
from domain.model.role import DelegatesTo, Expertise, Rank, Role
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
    PrimaryKeyConstraint("id"),
)

project = Table(
    "project",
    metadata,
    *_owned("id"),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
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
    Column("position", Integer, nullable=False),
    *_record(),
    _key(),
    _to("team", "team_id"),
    _to("role", "role_id"),
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
    Column("output", Text),
    Column("failure_code", Text),
    Column("failure_message", Text),
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
    Column("attempts", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("model", Text),
    Column("output", Text),
    Column("failure_code", Text),
    Column("failure_message", Text),
    Column("created_at", Moment, nullable=False),
    Column("started_at", Moment),
    Column("finished_at", Moment),
    _key(),
    _to("execution", "execution_id"),
    _to("role", "role_id"),
    _to("task", "task_id"),
    _one_of("status", TaskExecutionStatus),
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
    postgresql_partition_by="RANGE (booked_at)",
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
    PrimaryKeyConstraint("id"),
    comment="Infrastructure, of no tenant: which workers are alive.",
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
}
"""Where the things of the domain live: a field's name is its column's."""
