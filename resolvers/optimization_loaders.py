"""The access paths of optimizations: their pages, and what they came to."""

from collections.abc import Sequence
from dataclasses import dataclass

from domain.model.optimization import MeasuredEffect, Optimization, Trial
from domain.model.optimizing.measuring import measured_effects
from resolvers.loaders import ById, Pages, Source


@dataclass(frozen=True, slots=True)
class EffectsOfTrial:
    """What an optimization came to, by the trial of it; None for None."""

    async def fetch(self, source: Source, keys: Sequence[Trial | None]) -> Sequence[list[MeasuredEffect] | None]:
        wanted = list(dict.fromkeys(key for key in keys if key is not None))
        found = await source.reader.trials(source.tenant_id, wanted) if wanted else {}
        return [None if key is None else measured_effects(found[key]) for key in keys]


OptimizationById = ById(Optimization)
OptimizationsByTeam = Pages(Optimization, "team_id")
EffectsByTrial = EffectsOfTrial()
