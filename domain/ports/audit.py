"""The audit as a download needs it: in batches, all at one moment of the database."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from domain.model.audit import AuditEntry
from domain.model.identity import TenantId
from domain.model.page import Condition


class AuditTrail(Protocol):
    """Its answer holds a connection of the database until it is read to its end, or closed."""

    def entries(
        self, tenant_id: TenantId, conditions: Sequence[Condition]
    ) -> AsyncGenerator[Sequence[AuditEntry], None]:
        """The tenant's entries that meet all conditions, the oldest first, none of a batch empty.

        Raises Unavailable, also in the middle, when the database does not answer.
        """
        ...
