"""Credential: that there is a secret, and for what; never the secret."""

from datetime import datetime

import strawberry

from domain.model import credential as domain
from domain.model.credential import CredentialKind
from resolvers import loaders
from resolvers.edges import loaded_by
from schema.node import Node, global_id, stands_for
from schema.types.lazy import ModelType, ToolType


@strawberry.type(description="A secret you gave to the server: it is stored encrypted, and nothing shows it again.")
class Credential(Node):
    is_type_of = stands_for(domain.Credential)
    id: strawberry.ID = global_id("Credential")
    kind: CredentialKind = strawberry.field(description="What it opens.")
    provider: str | None = strawberry.field(description="The provider whose models it opens; null for another kind.")
    model: ModelType | None = loaded_by(
        loaders.ModelById, "The model of your catalogue that it opens; null for another kind.", key="model_id"
    )
    tool: ToolType | None = loaded_by(loaders.ToolById, "The tool that it opens; null for another kind.", key="tool_id")
    header: str = strawberry.field(description="The HTTP header in which a tool's is sent; empty for keys of models.")
    created_at: datetime = strawberry.field(description="When there was one for the first time.")
    updated_at: datetime = strawberry.field(description="When it was set last.")
