"""The `Node` interface: everything major has a global id by which it can be fetched again."""

from typing import Any

import strawberry

from resolvers.edges import computed
from resolvers.node_ids import node_id


@strawberry.interface(description="Something with a global id; `node(id:)` finds it again.")
class Node:
    id: strawberry.ID = strawberry.field(description="The global id; opaque.")


def global_id(kind: str) -> Any:
    """The `id` field of a type."""
    return computed(lambda thing: node_id(kind, thing.id), "The global id; opaque.")


def stands_for(kind: type[Any]) -> Any:
    """`is_type_of` of a type that describes this domain class, for interfaces and unions."""

    def is_type_of(thing: Any, _info: Any) -> bool:
        return isinstance(thing, kind)

    return classmethod(lambda _cls, thing, info: is_type_of(thing, info))
