"""The past as recommendations need it: of many teams in a number of statements that does not grow with them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

from domain.model.identity import TeamId, TenantId
from domain.model.recommendation import TemplateRecord
from domain.model.recommending.records import TeamPast
from domain.model.recommending.workers import PlaceUse

MOST_TASKS_IN_ALL: Final = 60_000
"""So many tasks of executions are read of all teams of one question."""


class RecommendationQuestions(Protocol):
    """Each within one tenant; all raise Unavailable while the database does not answer."""

    async def pasts(
        self, tenant_id: TenantId, most: Mapping[TeamId, int], since: datetime
    ) -> Mapping[TeamId, TeamPast]:
        """What each of these teams did since, of its newest executions at most so many; empty for none.

        Of all together at most MOST_TASKS_IN_ALL tasks: beyond that the oldest executions are left out.

        Only whole executions that were completed or failed: no retries, no forks, none answered by an earlier one.
        """
        ...

    async def template_records(self, tenant_id: TenantId, since: datetime) -> Sequence[TemplateRecord]:
        """What became of the teams whose origin is a template that is in use, since then; by template.

        Failures count where they are of the work (`OF_THE_WORK`), as those of a model that is not there do not.
        """
        ...

    async def place_uses(self, tenant_id: TenantId, since: datetime) -> Sequence[PlaceUse]:
        """The newest executions that ended since, at most a few thousand, as they had places on workers."""
        ...

    async def others_ran(self, tenant_id: TenantId, since: datetime) -> bool:
        """Whether any other tenant's executions ended since; nothing else is told of them."""
        ...
