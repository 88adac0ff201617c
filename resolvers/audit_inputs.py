"""Which entries of the audit are asked for; translated into the domain's words here."""

from uuid import UUID

import strawberry

from domain.errors import Invalid, NotFound
from domain.model.page import Condition, Operator
from resolvers.edges import storable
from resolvers.filters import MomentFilter
from resolvers.inputs import described
from resolvers.node_ids import parse_node_id


@strawberry.input(description="Which entries of the audit; all given conditions must hold.")
class AuditFilter:
    object_type: str | None = described("About objects of this type of the graph, like “Role”.", None)
    object_id: strawberry.ID | None = described("About the object with this global id.", None)
    operation: str | None = described("Written by this mutation, like “updateRole”.", None)
    principal_id: strawberry.ID | None = described("By this principal.", None)
    occurred_at: MomentFilter | None = described("By the moment of the change.", None)
    request_id: str | None = described("Of the request with this id, as its answer's `X-Request-ID` has it.", None)


def audit_conditions(wanted: AuditFilter | None) -> tuple[Condition, ...]:
    """The filter as conditions. Raises Invalid, and NotFound for what is no global id."""
    if wanted is None:
        return ()
    texts = ((name, getattr(wanted, name)) for name in ("object_type", "operation", "request_id"))
    found = [Condition(name, Operator.EQ, text) for name, text in texts if text is not None]
    if wanted.object_id is not None:
        found.extend(_about(wanted.object_id))
    if wanted.principal_id is not None:
        found.append(Condition("principal_id", Operator.EQ, _principal(wanted.principal_id)))
    return tuple(storable(each) for each in [*found, *_within(wanted.occurred_at)])


def _about(identifier: str) -> list[Condition]:
    try:
        kind, uuid = parse_node_id(identifier)
    except NotFound as error:
        raise error.under("filter", "objectId") from None
    return [Condition("object_type", Operator.EQ, kind), Condition("object_id", Operator.EQ, uuid)]


def _principal(identifier: str) -> UUID:
    try:
        return UUID(identifier)
    except ValueError as error:
        raise Invalid.at("This is no id of a principal.", "filter", "principalId") from error


def _within(period: MomentFilter | None) -> list[Condition]:
    bounds = ((Operator.GTE, period.gte), (Operator.LT, period.lt)) if period else ()
    return [Condition("occurred_at", operator, moment) for operator, moment in bounds if moment is not None]
