"""What every thing that people edit has."""

from datetime import datetime

import strawberry

from resolvers.edges import computed
from schema.node import Node


def creator(thing: object) -> str | None:
    """Who made the thing, as the graph shows it."""
    by = getattr(thing, "created_by", None)
    return None if by is None else str(by)


@strawberry.interface(description="Something that people make and edit.")
class Record(Node):
    version: int = strawberry.field(description="Counts the changes; an update names the version it was based on.")
    created_at: datetime = strawberry.field(description="When it was made.")
    updated_at: datetime = strawberry.field(description="When it was changed last.")
    archived_at: datetime | None = strawberry.field(description="When it was archived; null while it is in use.")
    created_by: str | None = computed(creator, "Who made it; null until there are principals.")
