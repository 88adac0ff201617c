"""The access paths of metrics: what is asked of many scopes over one period is one question.

Nothing is read before a field asks for it: a report only knows whose metrics it is about, and over which period.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from uuid import UUID

from domain.errors import Invalid
from domain.model.identity import TenantId, utc_now
from domain.model.metrics import (
    Dimension,
    Figures,
    Group,
    GroupOrder,
    MetricsScope,
    Period,
    Point,
    Present,
)
from resolvers import loaders
from resolvers.loaders import AccessPath, Source
from resolvers.template_loaders import TemplateById

R = TypeVar("R")

ScopeAndPeriod = tuple[MetricsScope, Period]
_Read = Callable[[TenantId, Sequence[MetricsScope], Period], Awaitable[Mapping[MetricsScope, R]]]

_PLACES: Final = frozenset({Dimension.TENANT, Dimension.PROJECT, Dimension.TEAM})
"""What executions are under way in, and what has groups."""

_NOT_IN: Final = {
    Dimension.PROJECT: frozenset({Dimension.PROJECT}),
    Dimension.TEAM: frozenset({Dimension.PROJECT, Dimension.TEAM}),
}
"""The dimensions that a place has no groups of."""

POINTS_A_PART: Final = 10
"""So many points of a series count as one part of what is judged: each has histograms that are looked through."""

GROUPS_COST: Final = 60
"""What asking for the most of a dimension counts for beside other questions: all its keys are looked at."""


@dataclass(frozen=True, slots=True)
class MetricsReport:
    """Whose metrics, and over which period."""

    scope: MetricsScope
    period: Period

    @property
    def covered(self) -> ScopeAndPeriod:
        return self.scope, self.period

    @property
    def preceding(self) -> ScopeAndPeriod:
        return self.scope, self.period.preceding_up_to(utc_now())

    @property
    def within(self) -> MetricsScope | None:
        """Where was looked, if not everywhere."""
        return self.scope.within


@dataclass(frozen=True, slots=True)
class GroupsWanted:
    """So many groups of a dimension that have the most."""

    dimension: Dimension
    order: GroupOrder
    first: int


@dataclass(frozen=True, slots=True)
class NamedThing:
    """What a scope is about: the thing itself, None where it has no id of its own, and what people call it."""

    node: Any
    name: str | None


_NOTHING: Final = NamedThing(None, None)


@dataclass(frozen=True, slots=True)
class ReportOf:
    """The report on the thing with this id; a key is the id and the period. Reads nothing."""

    dimension: Dimension

    async def fetch(self, source: Source, keys: Sequence[tuple[UUID, Period]]) -> Sequence[MetricsReport]:  # noqa: ARG002 - a path's
        return [MetricsReport(MetricsScope(self.dimension, str(key)), period) for key, period in keys]


@dataclass(frozen=True, slots=True)
class FiguresOfScope:
    """The figures of a scope over a period, as one."""

    async def fetch(self, source: Source, keys: Sequence[ScopeAndPeriod]) -> Sequence[Figures]:
        return await _by_period(source, keys, source.metrics.figures)


@dataclass(frozen=True, slots=True)
class SeriesOfScope:
    """The figures of a scope in each part of a period."""

    async def fetch(self, source: Source, keys: Sequence[ScopeAndPeriod]) -> Sequence[Sequence[Point]]:
        source.budget.promise(sum(len(period.starts) for _, period in keys))
        return await _by_period(source, keys, source.metrics.series, lambda period: len(period.starts) // POINTS_A_PART)


async def _by_period(
    source: Source, keys: Sequence[ScopeAndPeriod], read: _Read[R], parts: Callable[[Period], int] = lambda _: 0
) -> list[R]:
    """What `read` finds of each scope, asked once for all scopes of a period. Raises TooLarge before it reads any."""
    periods: dict[Period, list[MetricsScope]] = {}
    for scope, period in dict.fromkeys(keys):
        periods.setdefault(period, []).append(scope)
    for period, scopes in periods.items():
        source.budget.judge(len(scopes) * (1 + parts(period)))
    found = {period: await read(source.tenant_id, scopes, period) for period, scopes in periods.items()}
    return [found[period][scope] for scope, period in keys]


@dataclass(frozen=True, slots=True)
class PresentOfScope:
    """What is under way now in a tenant, project or team; None for other scopes."""

    async def fetch(self, source: Source, keys: Sequence[MetricsScope]) -> Sequence[Present | None]:
        wanted = [key for key in keys if key.dimension in _PLACES]
        if not wanted:
            return [None] * len(keys)
        source.budget.judge(len(wanted))
        found = await source.metrics.present(source.tenant_id, wanted)
        return [found.get(key, Present()) if key.dimension in _PLACES else None for key in keys]


@dataclass(frozen=True, slots=True)
class GroupsOfScope:
    """The groups that have the most, the most first; a key is where, over which period, and which groups."""

    async def fetch(
        self, source: Source, keys: Sequence[tuple[ScopeAndPeriod, GroupsWanted]]
    ) -> Sequence[Sequence[Group]]:
        for (scope, _), wanted in keys:
            _check_place(scope, wanted.dimension)
            source.budget.judge(GROUPS_COST)
            source.budget.promise(wanted.first)
        return [await _groups(source, *key) for key in keys]


def _check_place(scope: MetricsScope, dimension: Dimension) -> None:
    if scope.dimension not in _PLACES:
        raise Invalid.at("Only the metrics of a tenant, project or team can be told by what is in it.", "dimension")
    if dimension in _NOT_IN.get(scope.dimension, ()):
        raise Invalid.at("There is none of these in it, it is in one itself.", "dimension")


async def _groups(source: Source, covered: ScopeAndPeriod, wanted: GroupsWanted) -> Sequence[Group]:
    scope, period = covered
    return await source.metrics.groups(source.tenant_id, scope, wanted.dimension, period, wanted.order, wanted.first)


# ---------------------------------------------------------------- what scopes are called

_THINGS: Final[dict[Dimension, tuple[AccessPath, str]]] = {
    Dimension.TENANT: (loaders.TenantById, "name"),
    Dimension.PROJECT: (loaders.ProjectById, "name"),
    Dimension.TEAM: (loaders.TeamById, "name"),
    Dimension.ROLE: (loaders.RoleById, "title"),
    Dimension.TASK: (loaders.TaskById, "name"),
    Dimension.TEMPLATE: (TemplateById, "name"),
}
"""How a thing is found by its key, and its attribute that people know it by."""


@dataclass(frozen=True, slots=True)
class ThingOfScope:
    """What a scope is about, all of one dimension found at once; nothing for None."""

    async def fetch(self, source: Source, keys: Sequence[MetricsScope | None]) -> Sequence[NamedThing]:
        wanted: dict[Dimension, list[MetricsScope]] = {}
        for key in keys:
            if key is not None:
                wanted.setdefault(key.dimension, []).append(key)
        found: dict[MetricsScope, NamedThing] = {}
        for dimension, scopes in wanted.items():
            found |= await _things(source, dimension, scopes)
        return [_NOTHING if key is None else found[key] for key in keys]


async def _things(
    source: Source, dimension: Dimension, scopes: Sequence[MetricsScope]
) -> dict[MetricsScope, NamedThing]:
    if dimension not in _THINGS:
        return {scope: NamedThing(None, scope.key) for scope in scopes}
    path, attribute = _THINGS[dimension]
    things = await path.fetch(source, [_id_of(source, scope) for scope in scopes])
    return {
        scope: NamedThing(thing, None if thing is None else getattr(thing, attribute))
        for scope, thing in zip(scopes, things, strict=True)
    }


def _id_of(source: Source, scope: MetricsScope) -> UUID:
    return source.tenant_id if scope.dimension is Dimension.TENANT else UUID(scope.key)


MetricsByProject = ReportOf(Dimension.PROJECT)
MetricsByTeam = ReportOf(Dimension.TEAM)
MetricsByRole = ReportOf(Dimension.ROLE)
MetricsByTask = ReportOf(Dimension.TASK)
MetricsByTemplate = ReportOf(Dimension.TEMPLATE)
FiguresByScope = FiguresOfScope()
SeriesByScope = SeriesOfScope()
PresentByScope = PresentOfScope()
GroupsByScope = GroupsOfScope()
ThingByScope = ThingOfScope()
