"""What a downloaded row says of an entry of the audit."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Final

from domain.model.audit import AuditEntry
from resolvers.audit import after_of, before_of, object_id_of, principal_of
from resolvers.node_ids import node_id

COLUMNS: Final = (
    "id",
    "occurredAt",
    "operation",
    "action",
    "objectType",
    "objectId",
    "principalId",
    "requestId",
    "address",
    "userAgent",
    "before",
    "after",
)


async def audit_rows(
    batches: AsyncGenerator[Sequence[AuditEntry], None],
) -> AsyncGenerator[Sequence[Mapping[str, object]], None]:
    """The batches as rows; they are closed with this."""
    async with aclosing(batches):
        async for batch in batches:
            yield [_row(entry) for entry in batch]


def _row(entry: AuditEntry) -> Mapping[str, object]:
    """By the names of `COLUMNS`; ids are the graph's."""
    return {
        "id": node_id("AuditEntry", entry.id),
        "occurredAt": entry.occurred_at,
        "operation": entry.operation,
        "action": entry.action.value,
        "objectType": entry.object_type,
        "objectId": object_id_of(entry),
        "principalId": principal_of(entry),
        "requestId": entry.request_id,
        "address": entry.address,
        "userAgent": entry.user_agent,
        "before": before_of(entry),
        "after": after_of(entry),
    }
