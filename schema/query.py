"""The root of all queries."""

from typing import Any

import strawberry

from resolvers import approvals as inbox
from resolvers import crews, things
from resolvers import models as catalogue
from resolvers import resources as capacity
from schema.node import Node
from schema.pagination import Connection
from schema.types.approval import Approval
from schema.types.crew import CrewFiles
from schema.types.execution import Execution
from schema.types.model import Model, RoutingPreview
from schema.types.project import Project, Tenant
from schema.types.resources import Resources
from schema.types.team import Team


def read(resolver: Any, description: str) -> Any:
    """A root field of its resolver."""
    return strawberry.field(resolver=resolver, description=description)


@strawberry.type(description="What can be read.")
class Query:
    tenant: Tenant = read(things.tenant, "The tenant that is asking: the way in to everything else.")
    node: Node | None = read(things.node, "The thing with this global id; null for an unknown one.")
    nodes: list[Node | None] = read(
        things.nodes, "The things with these global ids, at most 100, in their order; null for an unknown one."
    )
    project: Project | None = read(things.of_kind("Project"), "The project with this id; null for an unknown one.")
    team: Team | None = read(things.of_kind("Team"), "The team with this id; null for an unknown one.")
    execution: Execution | None = read(
        things.of_kind("Execution"), "The execution with this id; null for an unknown one."
    )
    exported_crew: CrewFiles | None = read(
        crews.exported_crew, "A team as CrewAI's own files; null for an unknown team."
    )
    models: Connection[Model] = read(
        catalogue.models, "The model catalogue by name: what ships with Regatta, and the tenant's own entries."
    )
    model: Model | None = read(things.of_kind("Model"), "The model with this id; null for an unknown one.")
    routing_preview: RoutingPreview | None = read(
        catalogue.routing_preview,
        "Which model a piece of work would be given now; null for an unknown task. Runs nothing, costs nothing.",
    )
    resources: Resources = read(
        capacity.resources, "The workers with their places, and who waits for one; of other tenants only numbers."
    )
    approvals: Connection[Approval] = read(
        inbox.approvals, "The inbox of all humans in the loop: what is, or was, asked, newest first."
    )
    approval: Approval | None = read(things.of_kind("Approval"), "The approval with this id; null for an unknown one.")
