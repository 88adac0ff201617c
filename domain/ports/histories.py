"""What became of executions, summed up: what estimates, findings, scores and optimizations stand on."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from domain.model.history import SimilarHistory, TeamHistory
from domain.model.identity import TeamId, TenantId
from domain.model.skill import SkillOutcome


class Histories(Protocol):
    """Each is a fixed number of statements, within one tenant, however much there is."""

    async def of_team(
        self, tenant_id: TenantId, team_id: TeamId, since: datetime | None = None, until: datetime | None = None
    ) -> TeamHistory:
        """What became of the team's executions that ended at or after `since` and before `until`; empty for none.

        At most the newest thousand of them are looked at.
        """
        ...

    async def of_similar(
        self, tenant_id: TenantId, skills: Sequence[str], without: TeamId | None = None
    ) -> SimilarHistory:
        """What became of the executions of other teams whose roles have at least half of these skills."""
        ...

    async def skill_outcomes(self, tenant_id: TenantId) -> Sequence[SkillOutcome]:
        """For each skill of an accepted generation's team what became of that team's executions; by skill."""
        ...


class PresentHistories(Protocol):
    """What became of a team since it is as it is: in a fixed number of statements, within one tenant."""

    async def of_present_team(self, tenant_id: TenantId, team_id: TeamId, since: datetime | None = None) -> TeamHistory:
        """What became of the team's executions that were kicked off at or after `since`; empty for none.

        Without retries and forks, which run the team as it was; each task is told of since it was last edited. At most
        the newest thousand executions are looked at.
        """
        ...
