"""Tool."""

import strawberry
from strawberry.scalars import JSON

from domain.model import tool as domain
from domain.model.tool import ToolKind
from resolvers import loaders
from resolvers.edges import loaded_by
from schema.node import Node, global_id, stands_for
from schema.types.lazy import ProjectType
from schema.types.record import Record


@strawberry.type(description="Something that a role may use besides its model.")
class Tool(Record, Node):
    is_type_of = stands_for(domain.Tool)
    id: strawberry.ID = global_id("Tool")
    name: str = strawberry.field(description="Unique in its project among what is not archived.")
    kind: ToolKind = strawberry.field(description="Which implementation stands behind it.")
    description: str = strawberry.field(description="What it is for.")
    configuration: JSON = strawberry.field(description="What its kind needs.")
    is_idempotent: bool | None = strawberry.field(
        description="Whether a call that is made twice does no more than one, as somebody said; null when nobody did."
    )
    is_repeatable: bool = strawberry.field(
        description="Whether a call that was cut off is simply made again; by its kind where nobody said."
    )
    project: ProjectType = loaded_by(loaders.ProjectById, "The project it belongs to.", key="project_id")
