"""Recommendations in the graph: of what, of which kinds, and how many."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import strawberry

from domain.errors import Invalid, NotFound
from domain.model.identity import ProjectId, TeamId
from domain.model.recommendation import RecommendationKind, RecommendationReport, RecommendedAction, Reference
from domain.model.recommending import MOST_RECOMMENDATIONS
from domain.services.recommendations import TEAM_WEIGHT
from resolvers import loaders
from resolvers.context import Info
from resolvers.edges import asked_by
from resolvers.inputs import described
from resolvers.loaders import Source
from resolvers.node_ids import node_id, uuid_of

DEFAULT_RECOMMENDATIONS: Final = 20

_FIRST = strawberry.argument(description=f"At most so many, 1 to {MOST_RECOMMENDATIONS}.")
_KINDS = strawberry.argument(description="Only of these kinds; of all without it.")


@strawberry.input(description="What is looked at; at most one of both, and without either the tenant and the workers.")
class RecommendationScopeInput:
    project_id: strawberry.ID | None = described("The teams of this project that spent most in 30 days, at most 50.")
    team_id: strawberry.ID | None = described("This team.")


_SCOPE = strawberry.argument(
    description="What is looked at; without it the 50 teams of the tenant that spent most in 30 days, and the workers."
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which recommendations are shown; `kinds` None: all."""

    first: int
    kinds: frozenset[RecommendationKind] | None

    def of(self, report: RecommendationReport) -> RecommendationReport:
        return report.narrowed(self.kinds, self.first)


async def recommendations(
    info: Info,
    scope: Annotated[RecommendationScopeInput | None, _SCOPE] = None,
    first: Annotated[int, _FIRST] = DEFAULT_RECOMMENDATIONS,
    kinds: Annotated[list[RecommendationKind] | None, _KINDS] = None,
) -> RecommendationReport | None:
    wanted = _wanted({"first": first, "kinds": kinds})
    project_id, team_id = _given(scope)
    if project_id is not None and team_id is not None:
        raise Invalid.at("Give at most one of both.", "scope", "projectId")
    try:
        report = await _report(info, project_id, team_id)
    except NotFound:
        return None
    return report and wanted.of(report)


def _given(scope: RecommendationScopeInput | None) -> tuple[strawberry.ID | None, strawberry.ID | None]:
    if scope is None:
        return None, None
    project_id, team_id = (None if it is strawberry.UNSET else it for it in (scope.project_id, scope.team_id))
    return project_id, team_id


async def _report(
    info: Info, project_id: strawberry.ID | None, team_id: strawberry.ID | None
) -> RecommendationReport | None:
    """None for what is unknown. Raises NotFound for what is no id."""
    context = info.context
    service, weigh = context.services.recommendations, context.budget.judge
    if team_id is not None:
        found = TeamId(uuid_of("Team", team_id))
        if await context.load(loaders.TeamById, found) is None:
            return None
        report: RecommendationReport = await context.load(ReportByTeam, found)
        return report
    if project_id is None:
        weigh(0)
        return await service.of_tenant(context.tenant_id, weigh=weigh)
    project = ProjectId(uuid_of("Project", project_id))
    if await context.load(loaders.ProjectById, project) is None:
        return None
    weigh(0)
    return await service.of_project(context.tenant_id, project, weigh=weigh)


@dataclass(frozen=True, slots=True)
class ReportOfTeam:
    """All that there is to recommend for the team with this id."""

    async def fetch(self, source: Source, keys: Sequence[TeamId]) -> Sequence[RecommendationReport]:
        source.budget.judge(TEAM_WEIGHT * len(keys))
        found = await source.recommendations.of_teams(source.tenant_id, keys)
        return [found[key] for key in keys]


@dataclass(frozen=True, slots=True)
class WantedOfTeam:
    """What is shown of that; a key is the team's id and what is wanted. Each team is looked at once."""

    async def fetch(self, source: Source, keys: Sequence[tuple[TeamId, Wanted]]) -> Sequence[RecommendationReport]:
        teams = list(dict.fromkeys(team_id for team_id, _ in keys))
        found = dict(zip(teams, await ReportByTeam.fetch(source, teams), strict=True))
        return [wanted.of(found[team_id]) for team_id, wanted in keys]


ReportByTeam = ReportOfTeam()
RecommendationsByTeam = WantedOfTeam()


def recommended_by(path: WantedOfTeam, description: str) -> Any:
    """The recommendations of the parent, narrowed by `first` and `kinds`."""
    keyword, kinds = inspect.Parameter.KEYWORD_ONLY, Annotated[list[RecommendationKind] | None, _KINDS]
    first: Any = Annotated[int, _FIRST]
    arguments = [
        inspect.Parameter("first", keyword, default=DEFAULT_RECOMMENDATIONS, annotation=first),
        inspect.Parameter("kinds", keyword, default=None, annotation=kinds),
    ]
    return asked_by(path, "id", _wanted, arguments, description)


def _wanted(arguments: Mapping[str, Any]) -> Wanted:
    """What the arguments ask for; raises Invalid."""
    first, kinds = arguments.get("first", DEFAULT_RECOMMENDATIONS), arguments.get("kinds")
    if not 1 <= first <= MOST_RECOMMENDATIONS:
        raise Invalid.at(f"Must be between 1 and {MOST_RECOMMENDATIONS}.", "first")
    return Wanted(first, None if kinds is None else frozenset(kinds))


def shown_arguments(action: RecommendedAction) -> Any:
    """The arguments as a client gives them: things by their global ids."""
    return {name: _shown(value) for name, value in action.arguments.items()}


def _shown(value: Any) -> Any:
    if isinstance(value, list):
        return [_shown(each) for each in value]
    return node_id(value.kind, value.id) if isinstance(value, Reference) else value
