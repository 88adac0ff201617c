"""The workers and the queue."""

from domain.model.resources import Resources
from resolvers.context import Info


async def resources(info: Info) -> Resources:
    return await info.context.reader.resources(info.context.tenant_id)
