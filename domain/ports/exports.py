"""Long lists as a download needs them: in batches, all at one moment of the database."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from domain.model.exports import ExportedExecution
from domain.model.identity import TenantId
from domain.model.page import Condition


class Exports(Protocol):
    """Every answer holds a connection of the database until it is read to its end, or closed."""

    def executions(
        self, tenant_id: TenantId, conditions: Sequence[Condition]
    ) -> AsyncGenerator[Sequence[ExportedExecution], None]:
        """The tenant's executions that meet all conditions, the oldest first, none of a batch empty.

        Raises Unavailable, also in the middle, when the database does not answer.
        """
        ...
