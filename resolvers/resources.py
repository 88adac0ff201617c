"""The workers and the queue, and how the process is doing that answers."""

from dataclasses import replace

from domain.model.resources import Resources
from resolvers.context import Info


async def resources(info: Info) -> Resources:
    context = info.context
    found = await context.reader.resources(context.tenant_id)
    return replace(found, process=context.services.process.now())
