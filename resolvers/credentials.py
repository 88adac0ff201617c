"""Mutations on credentials: secrets go in, and nothing in the graph shows them again."""

from domain.model.credential import Credential
from resolvers.context import Info
from resolvers.credential_inputs import (
    RemoveCredentialInput,
    SetModelKeyInput,
    SetProviderKeyInput,
    SetToolCredentialInput,
)
from resolvers.node_ids import uuid_of


async def set_provider_key(info: Info, input: SetProviderKeyInput) -> Credential:  # noqa: A002 - the graph's name
    context = info.context
    return await context.services.secrets.set_provider_key(
        context.tenant_id, input.provider, input.key, context.principal_id
    )


async def set_model_key(info: Info, input: SetModelKeyInput) -> Credential:  # noqa: A002 - same
    context = info.context
    identifier = uuid_of("Model", input.model_id, "modelId")
    return await context.services.secrets.set_model_key(context.tenant_id, identifier, input.key, context.principal_id)


async def set_tool_credential(info: Info, input: SetToolCredentialInput) -> Credential:  # noqa: A002 - same
    context = info.context
    identifier = uuid_of("Tool", input.tool_id, "toolId")
    return await context.services.secrets.set_tool_credential(
        context.tenant_id, identifier, input.secret, input.header, context.principal_id
    )


async def remove_credential(info: Info, input: RemoveCredentialInput) -> Credential:  # noqa: A002 - same
    context = info.context
    return await context.services.secrets.remove(context.tenant_id, uuid_of("Credential", input.id, "id"))
