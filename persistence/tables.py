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
from domain.model.admission import Admission
from domain.model.approval import Approval, ApprovalDefault, ApprovalKind, ApprovalStatus
from domain.model.credential import Credential, CredentialKind
from domain.model.execution import Execution, ExecutionStatus, TaskExecution, TaskExecutionStatus
from domain.model.generation import ComposedBy, Fallback, Generation, GenerationFailureCode, GenerationStatus
from domain.model.journal import CallKind, JournalEntry
from domain.model.ledger import CallOutcome, LedgerEntry, TokenSource
from domain.model.model import Model, Tier
from domain.model.optimization import Goal, Optimization, OptimizationKind, OptimizationStatus
from domain.model.project import Project, Tenant
from domain.model.refinement import RefinementPass
from domain.model.revision import TeamRevision
from domain.model.role import DelegatesTo, Expertise, Rank, Role
from domain.model.routing import QualityPreference
from domain.model.schedule import FireKind, FireOutcome, Schedule, ScheduleFire, ScheduleOverlap
from domain.model.task import Task, TaskDependency
from domain.model.team import Oversight, Process, Team, WhenBusy
from domain.model.template import Template, TemplateKind, TemplateUse, TemplateVersion
from domain.model.tool import RoleTool, Tool, ToolKind
from domain.model.webhook import DeliveryStatus, Webhook, WebhookDelivery, WebhookSecret

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
    Column("max_parallel_executions", Integer),
    Column("retention_days", Integer),
    PrimaryKeyConstraint("id"),
    CheckConstraint("retention_days >= 1", name="retention_days"),
)

project = Table(
    "project",
    metadata,
    *_owned("id"),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("monthly_budget", Amount),
    Column("max_parallel_executions", Integer),
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
    Column("max_parallel_tasks", Integer, nullable=False),
    Column("when_busy", Text, nullable=False),
    Column("oversight", Text, nullable=False),
    Column("is_cached", Boolean, nullable=False),
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
    _one_of("when_busy", WhenBusy),
    _one_of("oversight", Oversight),
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
    Column("max_tasks", Integer),
    Column("max_parallel_tasks", Integer),
    Column("can_ask", Boolean, nullable=False),
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
    Column("guardrail", Text),
    Column("is_approval_required", Boolean, nullable=False),
    Column("approval_assignee", Text),
    Column("approval_timeout_seconds", Double),
    Column("approval_default", Text, nullable=False),
    Column("position", Integer, nullable=False),
    *_record(),
    _key(),
    _to("team", "team_id"),
    _to("role", "role_id"),
    _one_of("quality_preference", QualityPreference),
    _one_of("approval_default", ApprovalDefault),
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
    Column("is_idempotent", Boolean),
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
    Column("priority", SmallInteger, nullable=False),
    Column("max_parallel_tasks", Integer, nullable=False),
    Column("refinement_passes", Integer),
    Column("refinement_threshold", Double),
    Column("cache_key", Text),
    Column("retry_of", Uuid),
    Column("forked_from", Uuid),
    Column("cached_from", Uuid),
    Column("output", Text),
    Column("failure_code", Text),
    Column("failure_message", Text),
    Column("failure_details", JSONB(none_as_null=True)),
    Column("worker_id", Text),
    Column("created_at", Moment, nullable=False),
    Column("started_at", Moment),
    Column("finished_at", Moment),
    Column("cancel_requested_at", Moment),
    Column("cancel_requested_in", Text),
    Column("pause_requested_at", Moment),
    Column("waiting_from", Moment),
    Column("waited_seconds", Double, nullable=False),
    Column("started_by", Uuid),
    Column("archived_at", Moment),
    Column("emptied_at", Moment),
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
    Index(
        "ix_execution_cache_key",
        "tenant_id",
        "cache_key",
        "finished_at",
        postgresql_where=text("status = 'COMPLETED' AND cache_key IS NOT NULL AND cached_from IS NULL"),
    ),
    Index(
        "ix_execution_open",
        "tenant_id",
        "team_id",
        postgresql_where=text("status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')"),
    ),
    Index(
        "ix_execution_kept",
        "tenant_id",
        "finished_at",
        postgresql_where=text("finished_at IS NOT NULL AND emptied_at IS NULL"),
    ),
    Index("ix_execution_retry_of", "tenant_id", "retry_of", postgresql_where=text("retry_of IS NOT NULL")),
    Index("ix_execution_forked_from", "tenant_id", "forked_from", postgresql_where=text("forked_from IS NOT NULL")),
)

admission = Table(
    "admission",
    metadata,
    *_owned("execution_id", "id", "project_id", "team_id"),
    Column("priority", SmallInteger, nullable=False),
    Column("is_alone", Boolean, nullable=False),
    Column("waiting_since", Moment, nullable=False),
    Column("worker_id", Text),
    Column("admitted_at", Moment),
    _key("execution_id"),
    _to("execution", "execution_id"),
    Index(
        "ix_admission_waiting",
        "tenant_id",
        "team_id",
        "is_alone",
        text("priority DESC"),
        "waiting_since",
        "execution_id",
        postgresql_where=text("worker_id IS NULL"),
    ),
    Index("ix_admission_worker", "worker_id", postgresql_where=text("worker_id IS NOT NULL")),
    Index("ix_admission_team", "tenant_id", "team_id", postgresql_where=text("worker_id IS NOT NULL")),
    comment="What wants to run (no worker) and what runs; an execution that is paused, waits for a person or is"
    " over has no row. Written behind the row in execution_sequence, or under the lock of who admits.",
    postgresql_with={"fillfactor": "70"},
)

admission_turn = Table(
    "admission_turn",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("admitted_at", Moment, nullable=False),
    PrimaryKeyConstraint("tenant_id"),
    ForeignKeyConstraint(["tenant_id"], ["tenant.id"]),
    comment="When a tenant was last given a place: among those who have as many, who waited longest is next.",
    postgresql_with={"fillfactor": "50"},
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
    Column("kind", Text, nullable=False),
    Column("role_reason", Text, nullable=False),
    Column("wanted_model", Text),
    Column("guardrail", Text),
    Column("is_approval_required", Boolean, nullable=False),
    Column("approval_assignee", Text),
    Column("approval_timeout_seconds", Double),
    Column("approval_default", Text, nullable=False),
    Column("feedback", Text),
    Column("reused_from", Uuid),
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
    _one_of("approval_default", ApprovalDefault),
    UniqueConstraint("tenant_id", "execution_id", "position", name="uq_task_execution_position"),
    Index(
        "ix_task_execution_role",
        "tenant_id",
        "role_id",
        "finished_at",
        postgresql_where=text("status IN ('COMPLETED', 'FAILED')"),
    ),
)

approval = Table(
    "approval",
    metadata,
    *_owned("id", "project_id", "execution_id", "task_execution_id"),
    Column("kind", Text, nullable=False),
    Column("prompt", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("call_key", Text, nullable=False),
    Column("assignee", Text),
    Column("status", Text, nullable=False),
    Column("answer", Text),
    Column("default_action", Text, nullable=False),
    Column("expires_at", Moment),
    Column("created_at", Moment, nullable=False),
    Column("decided_at", Moment),
    Column("decided_by", Uuid),
    _key(),
    _to("project", "project_id"),
    _to("execution", "execution_id"),
    _to("task_execution", "task_execution_id"),
    _one_of("kind", ApprovalKind),
    _one_of("status", ApprovalStatus),
    _one_of("default_action", ApprovalDefault),
    UniqueConstraint("tenant_id", "task_execution_id", "attempt", "call_key", name="uq_approval_call"),
    Index("ix_approval_created", "tenant_id", "created_at", "id"),
    Index("ix_approval_execution", "tenant_id", "execution_id", "created_at", "id"),
    Index("ix_approval_open", "tenant_id", "created_at", "id", postgresql_where=text("status = 'PENDING'")),
    Index("ix_approval_decided_at", "tenant_id", "decided_at", postgresql_where=text("decided_at IS NOT NULL")),
    Index("ix_approval_expires_at", "expires_at", postgresql_where=text("status = 'PENDING'")),
)

refinement_pass = Table(
    "refinement_pass",
    metadata,
    *_owned("execution_id", "task_execution_id"),
    Column("number", Integer, nullable=False),
    Column("output", Text, nullable=False),
    Column("scores", JSONB(none_as_null=True)),
    Column("score", Double),
    Column("critique", Text),
    Column("error", Text),
    Column("created_at", Moment, nullable=False),
    _key("execution_id", "number"),
    _to("execution", "execution_id"),
    _to("task_execution", "task_execution_id"),
)

call_journal = Table(
    "call_journal",
    metadata,
    *_owned("execution_id", "task_execution_id"),
    Column("attempt", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("request_hash", Text, nullable=False),
    Column("occurrence", Integer, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("answer", JSONB(none_as_null=True)),
    Column("ledger_entry_id", Uuid),
    Column("recorded_at", Moment, nullable=False),
    _key("task_execution_id", "attempt", "kind", "request_hash", "occurrence"),
    _to("execution", "execution_id"),
    _one_of("kind", CallKind),
    Index("ix_call_journal_execution", "tenant_id", "execution_id"),
    comment="The finished calls of attempts that are not over, so that a run that takes one up pays nothing twice; the"
    " end of the task removes them. Without an answer: begun, and nobody knows what became of it.",
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
    Index(
        "ix_execution_event_told",
        "tenant_id",
        "execution_id",
        postgresql_where=text("type IN ('GuardrailChecked', 'WorkDelegated')"),
    ),
    postgresql_partition_by="RANGE (occurred_at)",
)

_ONE_PAYER = (
    "(generation_id IS NULL AND team_id IS NOT NULL AND execution_id IS NOT NULL AND task_execution_id IS NOT NULL)"
    " OR (generation_id IS NOT NULL AND execution_id IS NULL AND task_execution_id IS NULL AND role_id IS NULL)"
)
"""A call is made for a task of an execution, or for a generation."""

ledger_entry = Table(
    "ledger_entry",
    metadata,
    *_owned("id", "project_id"),
    Column("team_id", Uuid),
    Column("execution_id", Uuid),
    Column("task_execution_id", Uuid),
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
    Column("generation_id", Uuid),
    _key("id", "booked_at"),
    _to("project", "project_id"),
    _to("team", "team_id"),
    _to("execution", "execution_id"),
    _to("task_execution", "task_execution_id"),
    _to("role", "role_id"),
    _to("generation", "generation_id"),
    CheckConstraint(_ONE_PAYER, name="payer"),
    Index(
        "ix_ledger_entry_generation",
        "tenant_id",
        "generation_id",
        postgresql_where=text("generation_id IS NOT NULL"),
    ),
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
    *_owned("id", "project_id"),
    Column("team_id", Uuid),
    Column("execution_id", Uuid),
    Column("task_execution_id", Uuid),
    Column("role_id", Uuid),
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
    Column("generation_id", Uuid),
    _key(),
    _to("execution", "execution_id"),
    _to("generation", "generation_id"),
    CheckConstraint(_ONE_PAYER, name="payer"),
    Index("ix_call_reservation_execution", "tenant_id", "execution_id"),
    Index(
        "ix_call_reservation_generation",
        "tenant_id",
        "generation_id",
        postgresql_where=text("generation_id IS NOT NULL"),
    ),
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
    CheckConstraint("scope BETWEEN 0 AND 5", name="scope"),
    comment="Running sums over the ledger and the reservations. Scopes 0 to 5: tenant, project, team by the first day"
    " of the month (UTC); execution, task execution, generation under 1970-01-01. Locked in the order of the key."
    " warned_limit is the last limit of which nine tenths were told.",
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

webhook = Table(
    "webhook",
    metadata,
    *_owned("id", "project_id"),
    Column("name", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("event_types", ARRAY(Text), nullable=False),
    Column("is_enabled", Boolean, nullable=False),
    Column("disabled_reason", Text),
    Column("failing_since", Moment),
    *_record(),
    _key(),
    _to("project", "project_id"),
    _name_within("webhook", "project_id"),
    Index("ix_webhook_project_created", "tenant_id", "project_id", "created_at", "id"),
    Index("ix_webhook_enabled", "tenant_id", "project_id", postgresql_where=text("is_enabled AND archived_at IS NULL")),
)

webhook_secret = Table(
    "webhook_secret",
    metadata,
    *_owned("id", "webhook_id"),
    Column("ciphertext", LargeBinary, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment),
    _key(),
    _to("webhook", "webhook_id"),
    Index("ix_webhook_secret_webhook", "tenant_id", "webhook_id"),
)

webhook_delivery = Table(
    "webhook_delivery",
    metadata,
    *_owned("id", "webhook_id"),
    Column("event_type", Text, nullable=False),
    Column("execution_id", Uuid),
    Column("sequence", BigInteger),
    Column("occurred_at", Moment, nullable=False),
    Column("task_execution_id", Uuid),
    Column("role_id", Uuid),
    Column("payload", JSONB, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", Moment),
    Column("locked_until", Moment),
    Column("response_status", Integer),
    Column("response_body", Text),
    Column("latency_seconds", Double),
    Column("error", Text),
    Column("redelivery_of", Uuid),
    Column("created_at", Moment, nullable=False),
    Column("finished_at", Moment),
    _key(),
    _to("webhook", "webhook_id"),
    _one_of("status", DeliveryStatus),
    Index("ix_webhook_delivery_created", "tenant_id", "webhook_id", "created_at", "id"),
    Index("ix_webhook_delivery_created_at", "created_at"),
    Index(
        "ix_webhook_delivery_due",
        "tenant_id",
        "webhook_id",
        "next_attempt_at",
        "sequence",
        postgresql_where=text("status = 'PENDING'"),
    ),
    Index(
        "ix_webhook_delivery_order",
        "tenant_id",
        "webhook_id",
        "execution_id",
        "sequence",
        postgresql_where=text("status = 'PENDING'"),
    ),
    Index("ix_webhook_delivery_locked", "tenant_id", "webhook_id", postgresql_where=text("locked_until IS NOT NULL")),
    comment="The outbox: a trigger on execution_event adds what an enabled webhook wants to be told. Its event is not"
    " referred to, for it may be removed earlier.",
)

schedule = Table(
    "schedule",
    metadata,
    *_owned("id", "team_id"),
    Column("name", Text, nullable=False),
    Column("cron", Text, nullable=False),
    Column("time_zone", Text, nullable=False),
    Column("overlap", Text, nullable=False),
    Column("catch_up_seconds", Double, nullable=False),
    Column("inputs", JSONB, nullable=False),
    Column("max_iterations", Integer),
    Column("execution_timeout_seconds", Double),
    Column("task_timeout_seconds", Double),
    Column("quality_preference", Text, nullable=False),
    Column("max_budget", Amount),
    Column("max_task_budget", Amount),
    Column("priority", SmallInteger, nullable=False),
    Column("paused_at", Moment),
    Column("next_fire_at", Moment),
    Column("last_fire_id", Uuid),
    *_record(),
    _key(),
    _to("team", "team_id"),
    _one_of("overlap", ScheduleOverlap),
    _one_of("quality_preference", QualityPreference),
    _name_within("schedule", "team_id"),
    Index("ix_schedule_team_created", "tenant_id", "team_id", "created_at", "id"),
    Index("ix_schedule_next_fire_at", "next_fire_at", postgresql_where=text("next_fire_at IS NOT NULL")),
)

schedule_fire = Table(
    "schedule_fire",
    metadata,
    *_owned("id", "schedule_id"),
    Column("kind", Text, nullable=False),
    Column("scheduled_for", Moment, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("message", Text),
    Column("execution_id", Uuid),
    Column("missed_since", Moment),
    Column("fired_at", Moment),
    _key(),
    _to("schedule", "schedule_id"),
    _to("execution", "execution_id"),
    _one_of("kind", FireKind),
    _one_of("outcome", FireOutcome),
    Index(
        "uq_schedule_fire_moment",
        "tenant_id",
        "schedule_id",
        "scheduled_for",
        unique=True,
        postgresql_where=text("kind <> 'TRIGGER'"),
    ),
    Index("ix_schedule_fire_schedule", "tenant_id", "schedule_id", "scheduled_for", "id"),
    Index(
        "uq_schedule_fire_execution",
        "tenant_id",
        "execution_id",
        unique=True,
        postgresql_where=text("execution_id IS NOT NULL"),
    ),
    Index(
        "ix_schedule_fire_pending",
        "tenant_id",
        "schedule_id",
        "scheduled_for",
        postgresql_where=text("outcome = 'PENDING'"),
    ),
    Index(
        "ix_schedule_fire_nothing_started",
        "tenant_id",
        "schedule_id",
        "scheduled_for",
        postgresql_where=text("execution_id IS NULL"),
    ),
    comment="Each moment at which a schedule fired, or should have, and what came of it: one row per moment, which is"
    " what keeps a fire from being carried out twice. PENDING: waits to be made up.",
)

template = Table(
    "template",
    metadata,
    *_owned("id"),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("domain", Text, nullable=False),
    Column("tags", ARRAY(Text), nullable=False),
    Column("latest", Integer, nullable=False),
    *_record(),
    _key(),
    ForeignKeyConstraint(["tenant_id"], ["tenant.id"]),
    _one_of("kind", TemplateKind),
    Index("uq_template_name", "tenant_id", "name", unique=True, postgresql_where=text("archived_at IS NULL")),
    comment="The tenants' own templates; those that ship are files, and stand nowhere here.",
)

template_version = Table(
    "template_version",
    metadata,
    *_owned("template_id"),
    Column("number", Integer, nullable=False),
    Column("content", JSONB, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("created_by", Uuid),
    _key("template_id", "number"),
    _to("template", "template_id"),
)

template_use = Table(
    "template_use",
    metadata,
    *_owned("id", "template_id", "team_id"),
    Column("number", Integer, nullable=False),
    Column("task_id", Uuid),
    Column("generation_id", Uuid),
    Column("created_at", Moment, nullable=False),
    Column("created_by", Uuid),
    _key(),
    _to("team", "team_id"),
    _to("task", "task_id"),
    _to("generation", "generation_id"),
    Index("ix_template_use_template", "tenant_id", "template_id", "number"),
    Index("ix_template_use_team", "tenant_id", "team_id"),
    comment="Which teams and tasks were made from which version; template_id may be one that ships.",
)

generation = Table(
    "generation",
    metadata,
    *_owned("id", "project_id"),
    Column("team_id", Uuid),
    Column("base_hash", Text),
    Column("batch_id", Uuid),
    Column("objective", Text, nullable=False),
    Column("constraints", JSONB, nullable=False),
    Column("fallback", Text, nullable=False),
    Column("max_budget", Amount),
    Column("timeout_seconds", Double, nullable=False),
    Column("status", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("analysis", JSONB(none_as_null=True)),
    Column("proposal", JSONB(none_as_null=True)),
    Column("validation", JSONB(none_as_null=True)),
    Column("templates", JSONB, nullable=False),
    Column("composed_by", Text),
    Column("model", Text),
    Column("is_first_valid", Boolean),
    Column("repairs", Integer, nullable=False),
    Column("fallback_reason", Text),
    Column("failure_code", Text),
    Column("failure_message", Text),
    Column("accepted_team_id", Uuid),
    Column("rejection_reason", Text),
    Column("rating", SmallInteger),
    Column("feedback", Text),
    Column("sequence", Integer, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("started_at", Moment),
    Column("finished_at", Moment),
    Column("decided_at", Moment),
    Column("created_by", Uuid),
    Column("calls", JSONB, nullable=False, server_default=text("'[]'")),
    Column("owner_epoch", Integer, nullable=False, server_default=text("0")),
    Column("worker_id", Text),
    Column("locked_until", Moment),
    _key(),
    _to("project", "project_id"),
    _to("team", "team_id"),
    _to("team", "accepted_team_id"),
    _one_of("status", GenerationStatus),
    _one_of("fallback", Fallback),
    _one_of("composed_by", ComposedBy),
    _one_of("failure_code", GenerationFailureCode),
    CheckConstraint("rating BETWEEN 1 AND 5", name="rating"),
    Index("ix_generation_created", "tenant_id", "created_at", "id"),
    Index("ix_generation_project_created", "tenant_id", "project_id", "created_at", "id"),
    Index("ix_generation_batch", "tenant_id", "batch_id", postgresql_where=text("batch_id IS NOT NULL")),
    Index(
        "ix_generation_accepted_team",
        "tenant_id",
        "accepted_team_id",
        postgresql_where=text("accepted_team_id IS NOT NULL"),
    ),
    Index(
        "ix_generation_working",
        "tenant_id",
        "created_at",
        "id",
        postgresql_where=text("status IN ('PENDING', 'ANALYSING', 'COMPOSING', 'VALIDATING')"),
    ),
    comment="calls is the journal of its finished model calls, emptied when it is over; a worker has it under"
    " owner_epoch until locked_until, and renews that.",
)

optimization = Table(
    "optimization",
    metadata,
    *_owned("id", "team_id"),
    Column("goal", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("explanation", Text, nullable=False),
    Column("evidence", JSONB, nullable=False),
    Column("effects", JSONB, nullable=False),
    Column("changes", JSONB, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("created_by", Uuid),
    Column("applied_at", Moment),
    Column("undone_at", Moment),
    _key(),
    _to("team", "team_id"),
    _one_of("goal", Goal),
    _one_of("kind", OptimizationKind),
    _one_of("status", OptimizationStatus),
    Index("ix_optimization_team_created", "tenant_id", "team_id", "created_at", "id"),
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
    Column("started_at", Moment, nullable=False, server_default=text("now()")),
    Column("places", Integer, nullable=False, server_default=text("0")),
    Column("is_taking", Boolean, nullable=False, server_default=text("true")),
    Column("cpu_percent", Double),
    Column("memory_percent", Double),
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
    Admission: admission,
    Approval: approval,
    JournalEntry: call_journal,
    RefinementPass: refinement_pass,
    Model: model,
    Credential: credential,
    Schedule: schedule,
    ScheduleFire: schedule_fire,
    Webhook: webhook,
    WebhookSecret: webhook_secret,
    WebhookDelivery: webhook_delivery,
    Template: template,
    TemplateVersion: template_version,
    TemplateUse: template_use,
    Generation: generation,
    Optimization: optimization,
}
"""Where the things of the domain live: a field's name is its column's."""
