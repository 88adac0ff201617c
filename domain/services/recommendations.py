"""Use case: what the past of teams, templates and workers speaks for. Computed when asked for; nothing is written."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Final, TypeVar
from uuid import UUID

from domain.errors import Unavailable
from domain.model.history import ENOUGH_EXECUTIONS
from domain.model.identity import ProjectId, TeamId, TenantId, utc_now
from domain.model.metrics import WHOLE_TENANT, Dimension, Granularity, GroupOrder, MetricsScope, Period
from domain.model.recommendation import RecommendationReport, TemplateRecord
from domain.model.recommending import Case, recommend
from domain.model.recommending.records import TeamPast
from domain.model.recommending.workers import PoolPast
from domain.model.revision import TeamSnapshot
from domain.model.routing import Offer
from domain.model.team import Team
from domain.model.template import TeamOrigin
from domain.ports import ModelCatalogue, Reader
from domain.ports.metrics import Metrics
from domain.ports.recommendations import MOST_TASKS_IN_ALL, RecommendationQuestions
from domain.services.team_snapshots import team_snapshots

DAYS: Final = 30
WORKER_DAYS: Final = 7
"""So far back is looked: workers and their number change more often than teams."""

MOST_TEAMS: Final = 50
"""So many teams of a tenant or a project are looked at: those that spent most."""

MOST_EXECUTIONS, LEAST_EXECUTIONS = 100, 20
"""So many of a team are looked at, the newest: the more tasks it has, the fewer."""

MOST_TASKS: Final = 2_000
"""So many tasks of its executions are read, about, of a team; of all teams MOST_TASKS_IN_ALL."""

MOST_LOOKED_UP: Final = 4 * MOST_TEAMS
"""So many teams are gone through for those that are in use still."""

TEAM_WEIGHT: Final = 4
"""What one of the teams counts in an operation's budget: they are read together."""

DEADLINE_SECONDS: Final = 15.0

_Each = TypeVar("_Each")
Weigh = Callable[[int], None]
"""Is told what is about to be computed, before it is; may raise."""


@dataclass(frozen=True, slots=True)
class _Ground:
    """What all teams of a question are compared with."""

    offers: Sequence[Offer]
    default_model: str | None
    templates: Sequence[TemplateRecord]
    origins: Mapping[UUID, TeamOrigin]

    def case(self, snapshot: TeamSnapshot, past: TeamPast) -> Case:
        origin = self.origins.get(snapshot.team.id)
        template = origin.template_id if origin else None
        return Case.of(snapshot, past, self.offers, self.default_model, self.templates, template)


class Recommendations:
    """All raise Unavailable, also where it takes too long. `default_model` is the deployment's, None: it routes."""

    def __init__(
        self,
        reader: Reader,
        questions: RecommendationQuestions,
        metrics: Metrics,
        catalogue: ModelCatalogue,
        default_model: str | None = None,
    ) -> None:
        self.reader = reader
        self.questions = questions
        self.metrics = metrics
        self.catalogue = catalogue
        self.default_model = default_model

    async def of_tenant(self, tenant_id: TenantId, *, weigh: Weigh) -> RecommendationReport:
        """Of the teams that spent most, and of the workers."""
        async with _in_time() as until:
            now = utc_now()
            teams = await self._dearest(tenant_id, WHOLE_TENANT, now)
            weigh(TEAM_WEIGHT * len(teams))
            cases = await self._cases(tenant_id, teams, now, until)
            pool = await self._pool(tenant_id, now)
            return await asyncio.to_thread(_report, cases, now, until, pool)

    async def of_project(self, tenant_id: TenantId, project_id: ProjectId, *, weigh: Weigh) -> RecommendationReport:
        """Of the project's teams that spent most."""
        async with _in_time() as until:
            now = utc_now()
            teams = await self._dearest(tenant_id, MetricsScope(Dimension.PROJECT, str(project_id)), now)
            weigh(TEAM_WEIGHT * len(teams))
            return await asyncio.to_thread(_report, await self._cases(tenant_id, teams, now, until), now, until)

    async def of_teams(self, tenant_id: TenantId, team_ids: Sequence[TeamId]) -> Mapping[TeamId, RecommendationReport]:
        """Of each of the teams; of one that is archived, or that there is not, an empty one."""
        async with _in_time() as until:
            now = utc_now()
            cases = await self._cases(tenant_id, team_ids, now, until)
            return await asyncio.to_thread(_reports, team_ids, cases, now, until)

    async def _dearest(self, tenant_id: TenantId, within: MetricsScope, now: datetime) -> Sequence[TeamId]:
        """The teams in use that spent most; those of free models come behind, by how much they did."""
        period = Period.up_to(now, DAYS, Granularity.DAY)
        orders = (GroupOrder.COST, GroupOrder.COUNT)
        found = [
            TeamId(UUID(group.scope.key))
            for order in orders
            for group in await self.metrics.groups(tenant_id, within, Dimension.TEAM, period, order, MOST_LOOKED_UP)
        ]
        teams = await self.reader.by_ids(Team, tenant_id, list(dict.fromkeys(found)))
        in_use = [each for each in dict.fromkeys(found) if each in teams and teams[each].archived_at is None]
        return in_use[:MOST_TEAMS]

    async def _cases(
        self, tenant_id: TenantId, team_ids: Sequence[TeamId], now: datetime, until: float
    ) -> Sequence[Case]:
        since = now - timedelta(days=DAYS)
        snapshots = await team_snapshots(self.reader, tenant_id, team_ids)
        pasts = await self.questions.pasts(
            tenant_id, executions_of({team_id: len(each.tasks) for team_id, each in snapshots.items()}), since
        )
        ground = _Ground(
            await self.catalogue.offers(tenant_id, self.default_model),
            self.default_model,
            await self.questions.template_records(tenant_id, since),
            await self.reader.team_origins(tenant_id, list(snapshots)),
        )
        pairs = [(snapshot, pasts[team_id]) for team_id, snapshot in snapshots.items()]
        return await asyncio.to_thread(lambda: [ground.case(*pair) for pair in _while_in_time(pairs, until)])

    async def _pool(self, tenant_id: TenantId, now: datetime) -> PoolPast:
        found = await self.reader.resources(tenant_id)
        since = now - timedelta(days=WORKER_DAYS)
        uses = await self.questions.place_uses(tenant_id, since)
        others_are_there = found.slots.used > found.running or found.total_waiting > found.waiting
        return PoolPast(
            found.slots.total,
            sum(worker.is_alive for worker in found.workers),
            uses,
            others_are_there or await self.questions.others_ran(tenant_id, since),
            found.max_parallel_executions,
        )


@asynccontextmanager
async def _in_time() -> AsyncIterator[float]:
    """Until when there is time, by the monotonic clock: a thread does not end with whoever waits for it."""
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            yield monotonic() + DEADLINE_SECONDS
    except TimeoutError as error:
        raise Unavailable("Recommendations took too long: ask for those of one project or team.") from error


def _while_in_time(each: Iterable[_Each], until: float) -> Iterator[_Each]:
    """These, one after another; raises TimeoutError when time is over."""
    for one in each:
        if monotonic() > until:
            raise TimeoutError
        yield one


def executions_of(tasks: Mapping[TeamId, int]) -> Mapping[TeamId, int]:
    """How many executions of each team are looked at, by how many tasks it has: of all together not too many tasks."""
    own = {
        team_id: max(LEAST_EXECUTIONS, min(MOST_EXECUTIONS, MOST_TASKS // max(1, count)))
        for team_id, count in tasks.items()
    }
    in_all = sum(own[team_id] * max(1, count) for team_id, count in tasks.items())
    part = min(1.0, MOST_TASKS_IN_ALL / max(1, in_all))
    return {team_id: int(part * executions) for team_id, executions in own.items()}


def _reports(
    team_ids: Sequence[TeamId], cases: Sequence[Case], now: datetime, until: float
) -> Mapping[TeamId, RecommendationReport]:
    by_team = {case.snapshot.team.id: case for case in cases}
    return {each: _report([by_team[each]] if each in by_team else [], now, until) for each in team_ids}


def _report(cases: Sequence[Case], now: datetime, until: float, pool: PoolPast | None = None) -> RecommendationReport:
    found = recommend(_while_in_time(cases, until), pool)
    executions = sum(len(case.past.runs) for case in cases)
    message = None if found else _why_nothing(cases, executions)
    return RecommendationReport(found, now - timedelta(days=DAYS), len(cases), executions, message)


def _why_nothing(cases: Sequence[Case], executions: int) -> str:
    if any(case.is_enough for case in cases):
        return f"Nothing in the {executions} executions that were looked at speaks for a change."
    return (
        f"There is too little to go by: {ENOUGH_EXECUTIONS} whole executions of a team have to be completed or failed"
        f" within {DAYS} days. Looked at: {executions}, of {len(cases)} {'team' if len(cases) == 1 else 'teams'}."
    )
