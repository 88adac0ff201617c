"""Audit: who changed what, when, from where, with before and after."""

from datetime import datetime

import strawberry
from strawberry.scalars import JSON

from domain.model import audit as domain
from domain.model.audit import AuditAction
from resolvers.audit import ObjectOfEntry, after_of, before_of, object_id_of, principal_of
from resolvers.edges import computed, loaded_by
from schema.node import Node, global_id, stands_for

_VALUES = (
    "The names are those of the graph where it has such a field, amounts are exact texts. “(not kept)” stands for what"
    " is secret, large, or removed with its execution"
)


@strawberry.type(
    description="One thing that a mutation made, changed or removed. It is written in the same transaction, and stays"
    " as it is; what workers do is told by the events of executions."
)
class AuditEntry(Node):
    is_type_of = stands_for(domain.AuditEntry)
    id: strawberry.ID = global_id("AuditEntry")
    operation: str = strawberry.field(description="The mutation, like “updateRole”.")
    action: AuditAction = strawberry.field(description="What became of the object.")
    occurred_at: datetime = strawberry.field(description="When.")
    object_type: str = strawberry.field(description="The type of the object, like “Role”.")
    object_id: strawberry.ID = computed(object_id_of, "The global id of the object, also when there is none any more.")
    object: Node | None = loaded_by(
        ObjectOfEntry, "The object as it is now; null when it was removed.", key="reference"
    )
    principal_id: str | None = computed(principal_of, "Who did it; null until there are principals.")
    request_id: str | None = strawberry.field(
        description="The id of the request, which its answer had as `X-Request-ID` and log lines have; null for none."
    )
    address: str | None = strawberry.field(description="The address that the request came from; null when unknown.")
    user_agent: str | None = strawberry.field(description="The program that sent it; null when it did not say.")
    before: JSON | None = computed(
        before_of, f"What changed, as it was; all of what was removed; null for what was made. {_VALUES}."
    )
    after: JSON | None = computed(
        after_of, f"What changed, as it is since; all of what was made; null for what was removed. {_VALUES}."
    )
