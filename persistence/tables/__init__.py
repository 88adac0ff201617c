"""The tables, an area a module."""

from sqlalchemy import Table

from domain.model.admission import Admission
from domain.model.alert import Alert, AlertRule
from domain.model.approval import Approval
from domain.model.audit import AuditEntry
from domain.model.credential import Credential
from domain.model.execution import Execution, TaskExecution
from domain.model.generation import Generation
from domain.model.journal import JournalEntry
from domain.model.ledger import LedgerEntry
from domain.model.model import Model
from domain.model.optimization import Optimization
from domain.model.project import Project, Tenant
from domain.model.refinement import RefinementPass
from domain.model.revision import TeamRevision
from domain.model.role import Role
from domain.model.schedule import Schedule, ScheduleFire
from domain.model.task import Task, TaskDependency
from domain.model.team import Team
from domain.model.template import Template, TemplateUse, TemplateVersion
from domain.model.tool import RoleTool, Tool
from domain.model.webhook import Webhook, WebhookDelivery, WebhookSecret
from persistence.tables.alerts import alert, alert_rule
from persistence.tables.columns import Amount, Moment, metadata
from persistence.tables.executions import (
    approval,
    call_journal,
    execution,
    execution_event,
    execution_sequence,
    refinement_pass,
    task_execution,
)
from persistence.tables.generations import generation, optimization
from persistence.tables.metrics import metric_pending, metric_rollup
from persistence.tables.money import budget_account, call_reservation, credential, ledger_entry, model, provider_limit
from persistence.tables.queue import admission, admission_turn, worker, worker_loss
from persistence.tables.requests import audit_entry, idempotency_key
from persistence.tables.schedules import schedule, schedule_fire
from persistence.tables.teams import project, role, role_tool, task, task_dependency, team, team_revision, tenant, tool
from persistence.tables.templates import template, template_use, template_version
from persistence.tables.webhooks import webhook, webhook_delivery, webhook_secret

__all__ = [
    "PARTITIONED",
    "TABLES",
    "Amount",
    "Moment",
    "admission",
    "admission_turn",
    "alert",
    "alert_rule",
    "approval",
    "audit_entry",
    "budget_account",
    "call_journal",
    "call_reservation",
    "credential",
    "execution",
    "execution_event",
    "execution_sequence",
    "generation",
    "idempotency_key",
    "ledger_entry",
    "metadata",
    "metric_pending",
    "metric_rollup",
    "model",
    "optimization",
    "project",
    "provider_limit",
    "refinement_pass",
    "role",
    "role_tool",
    "schedule",
    "schedule_fire",
    "task",
    "task_dependency",
    "task_execution",
    "team",
    "team_revision",
    "template",
    "template_use",
    "template_version",
    "tenant",
    "tool",
    "webhook",
    "webhook_delivery",
    "webhook_secret",
    "worker",
    "worker_loss",
]

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
    AlertRule: alert_rule,
    Alert: alert,
    Template: template,
    TemplateVersion: template_version,
    TemplateUse: template_use,
    Generation: generation,
    Optimization: optimization,
    AuditEntry: audit_entry,
}
"""Where the things of the domain live: a field's name is its column's."""
