"""Identifiers: UUIDv7, so that they sort by the time they were made; one NewType per thing."""

from datetime import UTC, datetime
from typing import NewType
from uuid import UUID

from uuid6 import uuid7

TenantId = NewType("TenantId", UUID)
PrincipalId = NewType("PrincipalId", UUID)
ProjectId = NewType("ProjectId", UUID)
TeamId = NewType("TeamId", UUID)
RoleId = NewType("RoleId", UUID)
TaskId = NewType("TaskId", UUID)
ToolId = NewType("ToolId", UUID)
RevisionId = NewType("RevisionId", UUID)
ExecutionId = NewType("ExecutionId", UUID)
TaskExecutionId = NewType("TaskExecutionId", UUID)
LedgerEntryId = NewType("LedgerEntryId", UUID)
ModelId = NewType("ModelId", UUID)
CredentialId = NewType("CredentialId", UUID)
AdmissionId = NewType("AdmissionId", UUID)
ApprovalId = NewType("ApprovalId", UUID)
ScheduleId = NewType("ScheduleId", UUID)
FireId = NewType("FireId", UUID)
WebhookId = NewType("WebhookId", UUID)
WebhookSecretId = NewType("WebhookSecretId", UUID)
WebhookDeliveryId = NewType("WebhookDeliveryId", UUID)
TemplateId = NewType("TemplateId", UUID)
TemplateUseId = NewType("TemplateUseId", UUID)
GenerationId = NewType("GenerationId", UUID)
BatchId = NewType("BatchId", UUID)
OptimizationId = NewType("OptimizationId", UUID)
AuditEntryId = NewType("AuditEntryId", UUID)
AlertRuleId = NewType("AlertRuleId", UUID)
AlertId = NewType("AlertId", UUID)

DEFAULT_TENANT = TenantId(UUID(int=1))
"""The one tenant there is until principals exist; made by the first migration."""


def new_id() -> UUID:
    """A fresh UUIDv7."""
    return UUID(int=uuid7().int)


def utc_now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)
