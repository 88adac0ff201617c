"""Global object ids: opaque outside, a type's name and a UUID inside."""

import base64
import binascii
from uuid import UUID

from domain.errors import NotFound


def node_id(kind: str, identifier: UUID) -> str:
    """The global id of a thing."""
    return base64.b64encode(f"{kind}:{identifier}".encode()).decode()


def parse_node_id(identifier: str) -> tuple[str, UUID]:
    """The type's name and the UUID of a global id; raises NotFound for anything else."""
    try:
        kind, _, text = base64.b64decode(identifier, validate=True).decode().partition(":")
        return kind, UUID(text)
    except (binascii.Error, ValueError) as error:
        raise NotFound("Object", identifier) from error


def uuid_of(kind: str, identifier: str, *path: str) -> UUID:
    """The UUID of a global id that has to be of this type; raises NotFound, located at `path`."""
    try:
        found, uuid = parse_node_id(identifier)
    except NotFound as error:
        raise NotFound(kind, identifier).under(*path) from error
    if found != kind:
        raise NotFound(kind, identifier).under(*path)
    return uuid
