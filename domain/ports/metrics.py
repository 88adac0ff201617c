"""Metrics as the graph asks for them, and the roll-ups that make them quick."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from domain.model.identity import TenantId
from domain.model.metrics import Dimension, Figures, Group, GroupOrder, MetricsScope, Period, Point, Present


class Metrics(Protocol):
    """Each is a fixed number of statements, within one tenant, whatever there is; all raise Unavailable.

    What is committed counts at once, whether it is rolled up already or not.
    """

    async def figures(
        self, tenant_id: TenantId, scopes: Sequence[MetricsScope], period: Period
    ) -> Mapping[MetricsScope, Figures]:
        """The figures of each scope over the whole period; empty ones for what nothing is known of."""
        ...

    async def series(
        self, tenant_id: TenantId, scopes: Sequence[MetricsScope], period: Period
    ) -> Mapping[MetricsScope, Sequence[Point]]:
        """For each scope a point for every part of the period, in order, without gaps."""
        ...

    async def groups(
        self,
        tenant_id: TenantId,
        within: MetricsScope,
        dimension: Dimension,
        period: Period,
        order: GroupOrder,
        first: int,
    ) -> Sequence[Group]:
        """The keys of a dimension that have the most, the most first; `within` is of a tenant, project or team.

        DURATION is the mean of what is most particular: tasks of roles and tasks, else executions, else calls.
        """
        ...

    async def present(self, tenant_id: TenantId, scopes: Sequence[MetricsScope]) -> Mapping[MetricsScope, Present]:
        """What is under way now in tenants, projects and teams; empty for other scopes."""
        ...


class RollUps(Protocol):
    """Keeps the roll-up tables: any worker may, one of them at a time does."""

    async def roll_up(self, limit: int) -> int:
        """Add at most so many of what ended since to the sums; how many. 0 as well while another worker does it.

        What cannot be computed is logged and left out; then it may be fewer although there are more.
        """
        ...

    async def forget_hours(self, limit: int) -> int:
        """Remove at most so many sums of hours that are no longer kept; how many. Those of days stay."""
        ...
