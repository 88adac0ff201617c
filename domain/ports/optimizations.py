"""Storage of optimizations: as mutations need it, and as the graph reads what they came to."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.model.identity import TeamId, TenantId
from domain.model.optimization import Goal, Optimization, Trial
from domain.model.optimizing.measuring import TrialFigures


class Optimizations(Protocol):
    """The optimizations of teams. Whoever writes one holds the lock of its team."""

    async def get(self, identifier: UUID) -> Optimization:
        """The optimization; raises NotFound."""
        ...

    async def add(self, *optimizations: Optimization) -> None: ...

    async def save(self, optimization: Optimization) -> None:
        """Write its status, and when it was applied and undone."""
        ...

    async def proposed(self, team_id: TeamId) -> Sequence[Optimization]:
        """Those of the team that are PROPOSED, by id."""
        ...

    async def proposed_with(self, first: UUID) -> Sequence[Optimization]:
        """Those that were proposed in the same moment as this one, itself among them, by id; none if it is none."""
        ...

    async def supersede(self, team_id: TeamId, goal: Goal) -> None:
        """Let those of the team and goal that are PROPOSED be SUPERSEDED."""
        ...

    async def last_changed(self, team_id: TeamId) -> datetime | None:
        """When one of the team was last applied or undone; None when none ever was."""
        ...


class OptimizationQuestions(Protocol):
    """What the graph asks about optimizations, within one tenant, each one statement."""

    async def trials(self, tenant_id: TenantId, trials: Sequence[Trial]) -> Mapping[Trial, TrialFigures]:
        """For each trial how executions went that were kicked off before it, and during it."""
        ...
