"""The access path of what became of accepted teams, by skill."""

from collections.abc import Sequence
from dataclasses import dataclass

from domain.model.matching_scores import by_skill
from domain.model.skill import SkillOutcome
from resolvers.loaders import Source


@dataclass(frozen=True, slots=True)
class OutcomeOfSkill:
    """What became of this tenant's accepted teams with the skill of this name, or None."""

    async def fetch(self, source: Source, keys: Sequence[str]) -> Sequence[SkillOutcome | None]:
        outcomes = by_skill(await source.histories.skill_outcomes(source.tenant_id))
        return [outcomes.get(key.casefold()) for key in keys]


OutcomeBySkill = OutcomeOfSkill()
