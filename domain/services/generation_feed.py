"""Following a generation: one store reader per generation and process, shared by all who follow it."""

from collections.abc import AsyncGenerator

from domain.model.generation import Generation
from domain.model.identity import GenerationId, TenantId
from domain.ports import Reader, generation_topic
from domain.services.snapshots import Snapshots


class GenerationFeed:
    """The live generations of one process."""

    def __init__(self, reader: Reader, snapshots: Snapshots) -> None:
        self._reader = reader
        self._snapshots = snapshots

    async def follow(self, tenant_id: TenantId, generation_id: GenerationId) -> AsyncGenerator[Generation, None]:
        """The generation as it is now, and on every change; ends once nobody works on it, or if there is none.

        While the store does not answer it waits.
        """

        async def read() -> Generation | None:
            return (await self._reader.by_ids(Generation, tenant_id, [generation_id])).get(generation_id)

        told = 0
        with self._snapshots.joined((tenant_id, generation_id), generation_topic(generation_id), read) as shared:
            version = 0
            while True:
                version, generation = await shared.newer(version)
                if generation is None:
                    return
                if generation.sequence != told:
                    yield generation
                told = generation.sequence
                if generation.is_over:
                    return
