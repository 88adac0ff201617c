"""Metrics in the graph: whose, over which period, and by what the most are found."""

import inspect
from typing import Annotated, Any, Final

import strawberry

from domain.errors import Invalid, NotFound
from domain.model.metrics import MOST_GROUPS, Dimension, GroupOrder, MetricsScope
from resolvers.context import Info
from resolvers.edges import asked_by
from resolvers.metrics_inputs import MetricsPeriodInput, MetricsScopeInput, period_from, period_of, scope_from
from resolvers.metrics_loaders import GroupsByScope, GroupsWanted, MetricsReport, ReportOf, ThingByScope

DEFAULT_GROUPS: Final = 10

_SCOPE = strawberry.argument(description="Whose metrics; the whole tenant's without it.")
_PERIOD = strawberry.argument(description="Over which period; the last 30 days (UTC), today included, without it.")
_DIMENSION = strawberry.argument(description="By what; not by tenant.")
_ORDER = strawberry.argument(description="What is the most.")
_FIRST = strawberry.argument(description=f"How many, 1 to {MOST_GROUPS}.")


async def metrics(
    info: Info,
    scope: Annotated[MetricsScopeInput | None, _SCOPE] = None,
    period: Annotated[MetricsPeriodInput | None, _PERIOD] = None,
) -> MetricsReport | None:
    context = info.context
    context.budget.judge(0)
    covered = period_from(period)
    try:
        wanted = scope_from(scope)
    except NotFound:
        return None
    for asked in filter(None, (wanted, wanted.within)):
        if not await _is_known(info, asked):
            return None
    return MetricsReport(wanted, covered)


async def _is_known(info: Info, scope: MetricsScope) -> bool:
    """Whether there is such a thing in the tenant; a name needs none: what nobody used has empty figures."""
    found = await info.context.load(ThingByScope, scope)
    return found.name is not None


def metrics_by(path: ReportOf, description: str) -> Any:
    """The metrics of the parent over the `period` that is asked for; nothing is read but what is selected of them."""
    annotation: Any = Annotated[MetricsPeriodInput | None, _PERIOD]
    return asked_by(path, "id", period_of, [_argument("period", annotation, None)], description)


def top_of_scope(description: str) -> Any:
    """The groups of the parent's scope that have the most."""
    arguments = [
        _argument("dimension", Annotated[Dimension, _DIMENSION]),
        _argument("by", Annotated[GroupOrder, _ORDER], GroupOrder.COST),
        _argument("first", Annotated[int, _FIRST], DEFAULT_GROUPS),
    ]
    return asked_by(GroupsByScope, "covered", _groups_wanted, arguments, description)


def _argument(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _groups_wanted(arguments: dict[str, Any]) -> GroupsWanted:
    """What the arguments of `top` ask for; raises Invalid."""
    wanted = GroupsWanted(
        arguments["dimension"], arguments.get("by", GroupOrder.COST), arguments.get("first", DEFAULT_GROUPS)
    )
    if wanted.dimension is Dimension.TENANT:
        raise Invalid.at("There is one tenant: ask by what is in it.", "dimension")
    if not 1 <= wanted.first <= MOST_GROUPS:
        raise Invalid.at(f"Must be between 1 and {MOST_GROUPS}.", "first")
    return wanted
