"""The address of the audit's download: the parameters are those of the filter in the graph."""

from collections.abc import Iterable, Mapping
from typing import Final

import strawberry

from resolvers.audit_inputs import AuditFilter, audit_conditions
from resolvers.exports import Asked, format_in, given_once, moments_in

AUDIT_PATH: Final = "/exports/audit"

_PARAMETERS: Final = frozenset(
    (
        "format",
        "objectType",
        "objectId",
        "operation",
        "principalId",
        "requestId",
        "occurredAt.gte",
        "occurredAt.lt",
    )
)


def asked_audit(parameters: Iterable[tuple[str, str]]) -> Asked:
    """What these parameters of an address ask for; raises NotFound and Invalid."""
    given = given_once(parameters, _PARAMETERS)
    return Asked(format_in(given), audit_conditions(_filter(given)))


def _filter(given: Mapping[str, str]) -> AuditFilter:
    return AuditFilter(
        object_type=given.get("objectType"),
        object_id=_id(given.get("objectId")),
        operation=given.get("operation"),
        principal_id=_id(given.get("principalId")),
        occurred_at=moments_in(given, "occurredAt"),
        request_id=given.get("requestId"),
    )


def _id(text: str | None) -> strawberry.ID | None:
    return None if text is None else strawberry.ID(text)
