"""The access paths of generations: their pages, their money, and what they would change."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from domain.model.difference import Difference
from domain.model.generation import Generation, ProposedChange
from domain.model.ledger import LedgerEntry
from domain.model.proposed_change import differences_of
from domain.model.revision import decode
from resolvers.loaders import ById, Pages, Source, UsageBy


@dataclass(frozen=True, slots=True)
class DifferencesOfChange:
    """What a proposal would change of the team that it is for, as that was when it was asked for; None for None."""

    async def fetch(self, source: Source, keys: Sequence[ProposedChange | None]) -> Sequence[list[Difference] | None]:
        wanted = {(key.team_id, key.base_hash) for key in keys if key is not None}
        bases = await source.reader.revisions_of(source.tenant_id, wanted) if wanted else {}
        found: list[list[Difference] | None] = []
        for key in keys:
            base = None if key is None else bases.get((key.team_id, key.base_hash))
            found.append(None if key is None or base is None else differences_of(key, decode(base.content)))
            await asyncio.sleep(0)  # a chance for everybody else: large teams take some milliseconds
        return found


GenerationById = ById(Generation)
GenerationsByTenant = Pages(Generation, "tenant_id")
GenerationsByProject = Pages(Generation, "project_id")
DifferencesByChange = DifferencesOfChange()
UsageByGeneration = UsageBy("generation_id")
LedgerByGeneration = Pages(LedgerEntry, "generation_id")
