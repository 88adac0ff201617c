"""Projects, teams and what they are made of."""

from sqlalchemy import (
    ARRAY,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from domain.model.approval import ApprovalDefault
from domain.model.role import DelegatesTo, Expertise, Rank
from domain.model.routing import QualityPreference
from domain.model.team import Oversight, Process, WhenBusy
from domain.model.tool import ToolKind
from persistence.tables.columns import Amount, Moment, key, metadata, name_within, one_of, owned, record, to

tenant = Table(
    "tenant",
    metadata,
    Column("id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("monthly_budget", Amount),
    Column("max_parallel_executions", Integer),
    Column("retention_days", Integer),
    Column("alert_rules_seeded_at", Moment),
    PrimaryKeyConstraint("id"),
    CheckConstraint("retention_days >= 1", name="retention_days"),
)

project = Table(
    "project",
    metadata,
    *owned("id"),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("monthly_budget", Amount),
    Column("max_parallel_executions", Integer),
    *record(),
    key(),
    ForeignKeyConstraint(["tenant_id"], ["tenant.id"]),
    Index("uq_project_name", "tenant_id", "name", unique=True, postgresql_where=text("archived_at IS NULL")),
    Index("ix_project_created", "tenant_id", "created_at", "id"),
)

team = Table(
    "team",
    metadata,
    *owned("id", "project_id"),
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
    *record(),
    key(),
    to("project", "project_id"),
    ForeignKeyConstraint(
        ["tenant_id", "manager_id"], ["role.tenant_id", "role.id"], use_alter=True, name="fk_team_tenant_id_manager_id"
    ),
    ForeignKeyConstraint(
        ["tenant_id", "revision_id"],
        ["team_revision.tenant_id", "team_revision.id"],
        use_alter=True,
        name="fk_team_tenant_id_revision_id",
    ),
    one_of("process", Process),
    one_of("when_busy", WhenBusy),
    one_of("oversight", Oversight),
    name_within("team", "project_id"),
    Index("ix_team_project_created", "tenant_id", "project_id", "created_at", "id"),
)

role = Table(
    "role",
    metadata,
    *owned("id", "team_id"),
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
    *record(),
    key(),
    to("team", "team_id"),
    to("role", "supervisor_id"),
    one_of("expertise", Expertise),
    one_of("rank", Rank),
    one_of("delegates_to", DelegatesTo),
    Index("ix_role_team", "tenant_id", "team_id", "position", "id"),
)

task = Table(
    "task",
    metadata,
    *owned("id", "team_id"),
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
    *record(),
    key(),
    to("team", "team_id"),
    to("role", "role_id"),
    one_of("quality_preference", QualityPreference),
    one_of("approval_default", ApprovalDefault),
    name_within("task", "team_id"),
    Index("ix_task_team", "tenant_id", "team_id", "position", "id"),
)

task_dependency = Table(
    "task_dependency",
    metadata,
    *owned("team_id", "task_id", "depends_on_id"),
    key("task_id", "depends_on_id"),
    to("team", "team_id"),
    to("task", "task_id"),
    to("task", "depends_on_id"),
    CheckConstraint("task_id <> depends_on_id", name="not_itself"),
    Index("ix_task_dependency_team", "tenant_id", "team_id"),
)

tool = Table(
    "tool",
    metadata,
    *owned("id", "project_id"),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("configuration", JSONB, nullable=False),
    Column("is_idempotent", Boolean),
    *record(),
    key(),
    to("project", "project_id"),
    one_of("kind", ToolKind),
    name_within("tool", "project_id"),
    Index("ix_tool_project_created", "tenant_id", "project_id", "created_at", "id"),
)

role_tool = Table(
    "role_tool",
    metadata,
    *owned("role_id", "tool_id"),
    key("role_id", "tool_id"),
    to("role", "role_id"),
    to("tool", "tool_id"),
    Index("ix_role_tool_tool", "tenant_id", "tool_id"),
)

team_revision = Table(
    "team_revision",
    metadata,
    *owned("id", "team_id"),
    Column("number", Integer, nullable=False),
    Column("content", Text, nullable=False),
    Column("content_hash", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("created_by", Uuid),
    key(),
    to("team", "team_id"),
    UniqueConstraint("tenant_id", "team_id", "number", name="uq_team_revision_number"),
    UniqueConstraint("tenant_id", "team_id", "content_hash", name="uq_team_revision_content"),
)
