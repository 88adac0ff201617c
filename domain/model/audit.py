"""The audit: an entry for each thing that a mutation made, changed or removed. Triggers write them, nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any
from uuid import UUID

from domain.model.identity import AuditEntryId, PrincipalId, TenantId

MIN_AUDIT_DAYS = 30
"""The database does not let go of younger entries, whoever asks."""

MAX_AUDIT_DAYS = 36_500
"""A hundred years."""


class AuditAction(Enum):
    """What became of the object."""

    CREATED = "CREATED"
    CHANGED = "CHANGED"
    REMOVED = "REMOVED"


@dataclass(frozen=True, slots=True)
class Reference:
    """What an entry is about: the name of its type in the graph, and its id."""

    kind: str
    id: UUID


@dataclass(slots=True)
class AuditEntry:
    """Who changed what, when, from where. `operation` is the mutation's name in the graph.

    `before` and `after` have the names of columns: of a change those that changed, of what was made or removed all;
    None where there was nothing before, or is nothing after. Secrets and what retention removes are never in them.
    `principal_id`, `request_id`, `address` and `user_agent` are None where nobody said.
    """

    tenant_id: TenantId
    id: AuditEntryId
    occurred_at: datetime
    operation: str
    principal_id: PrincipalId | None
    request_id: str | None
    address: str | None
    user_agent: str | None
    object_type: str
    object_id: UUID
    action: AuditAction
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None

    @property
    def reference(self) -> Reference:
        return Reference(self.object_type, self.object_id)
