"""Use cases on generations: ask for proposals of teams, and stop that. Workers make them, see `generating`."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any
from uuid import UUID

from domain.errors import Archived, Invalid, RegattaError, TooManyGenerations, located
from domain.model.caching import digits
from domain.model.documents import to_document
from domain.model.generation import (
    ADAPTIVE_ROLES,
    MOST_OBJECTIVES,
    MOST_ROLES,
    MOST_WORKING,
    TIMEOUT_SECONDS,
    Constraints,
    Fallback,
    Generation,
    GenerationStatus,
    check_objective,
    shortened,
)
from domain.model.identity import BatchId, PrincipalId, ProjectId, TeamId, TenantId, new_id, utc_now
from domain.model.library import shipped_templates
from domain.model.possible import (
    known_domain,
    refuse_small_budget,
    refuse_unknown_domain,
    refuse_unknown_tools,
    refuse_unpaid_composing,
)
from domain.model.rules import MAX_BUDGET, MONEY_DIGITS, Rules
from domain.model.skills_catalogue import skills
from domain.ports import GENERATIONS, Hints, ModelCatalogue, UnitOfWork, UnitsOfWork, generation_topic
from domain.ports.tracing import NO_TRACING, Tracing
from domain.services.blueprints import tools_named
from domain.services.executions import check_can_run, current_revision
from domain.services.idempotency import Once


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Under what conditions is composed. `max_budget`: dollars of the generation itself, None without a limit.

    `under` is where the constraints stand in the input.
    """

    constraints: Constraints = field(default_factory=Constraints)
    fallback: Fallback = Fallback.ALLOWED
    max_budget: Decimal | None = None
    timeout_seconds: float = TIMEOUT_SECONDS
    under: tuple[str, ...] = ("constraints",)

    def check(self, rules: Rules) -> None:
        """Note every broken rule."""
        rules.money(self.max_budget, MAX_BUDGET, MONEY_DIGITS, "maxBudget")
        rules.between(self.timeout_seconds, 1, TIMEOUT_SECONDS, "timeoutSeconds")
        try:
            self.constraints.check(*self.under)
        except Invalid as error:
            rules.problems += error.problems

    @property
    def asked(self) -> tuple[Any, ...]:
        """For comparison with an earlier request under the same key."""
        constraints = to_document(Constraints, self.constraints) | {"budget": digits(self.constraints.budget)}
        return constraints, self.fallback.value, digits(self.max_budget), self.timeout_seconds


@dataclass(frozen=True, slots=True)
class Target:
    """What is proposed for: a project that gets a new team, or a team that is to be changed; one of both."""

    project_id: ProjectId | None = None
    team_id: TeamId | None = None


@dataclass(frozen=True, slots=True)
class _Open:
    """A target that was found to be there and in use; `base_hash` is of the team's present revision."""

    project_id: ProjectId
    team_id: TeamId | None = None
    base_hash: str | None = None
    roles: int = 0
    """So many the team has."""


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What became of one objective of many: a generation, or why there is none."""

    index: int
    objective: str
    """How it begins."""
    generation: Generation | None = None
    error: RegattaError | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of many objectives, in their order."""

    id: BatchId
    results: Sequence[BulkResult]


def known_domains() -> Collection[str]:
    """The domains in which the skill catalogue or a template that ships is at home."""
    return {name for skill in skills() for name in skill.domains} | {
        each.template.domain for each in shipped_templates() if each.template.domain
    }


class Generations:
    """Commits PENDING generations, and tells the workers. `default_model` is the deployment's, None where it routes."""

    def __init__(
        self,
        units: UnitsOfWork,
        catalogue: ModelCatalogue,
        hints: Hints,
        default_model: str | None = None,
        domains: Callable[[], Collection[str]] = known_domains,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        self.units = units
        self.catalogue = catalogue
        self.hints = hints
        self.default_model = default_model
        self.domains = domains
        self.tracing = tracing

    async def generate(
        self,
        tenant_id: TenantId,
        objective: str,
        target: Target,
        terms: Terms,
        by: PrincipalId | None = None,
        key: str | None = None,
    ) -> Generation:
        """The new generation, or the first one of the same idempotency key.

        Raises Invalid, also for constraints that no team can keep to; NotFound, Archived, TooManyGenerations,
        IdempotencyConflict, Unavailable.
        """
        rules = Rules()
        check_objective(rules, objective, "objective")
        terms.check(rules)
        is_one = (target.project_id is None) != (target.team_id is None)
        rules.require(is_one, "Give either a project, for a new team, or a team, to change it.", "projectId")
        rules.hold()
        once = Once(key, ("generateTeam", objective, target.project_id, target.team_id, terms.asked))
        once.check()
        async with self.units(tenant_id) as unit:
            if (first := await once.first(unit)) is not None:
                return await unit.generations.get(first)
            found = await _opened(unit, target)
            await _check_room(unit, 1)
            possible = await self._possible(unit, found, terms)
            generation = self._pending(objective, tenant_id, found, possible, by)
            await unit.generations.add(generation)
            await once.keep(unit, generation.id)
            await unit.commit()
        await self._tell(generation)
        return generation

    async def adaptive(
        self,
        tenant_id: TenantId,
        objective: str,
        project_id: ProjectId,
        constraints: Constraints,
        by: PrincipalId | None = None,
        key: str | None = None,
    ) -> Generation:
        """The same for a team of at most `ADAPTIVE_ROLES` roles, whatever the constraints say of that."""
        terms = Terms(constraints=replace(constraints, max_roles=ADAPTIVE_ROLES), under=())
        return await self.generate(tenant_id, objective, Target(project_id), terms, by, key)

    async def bulk(
        self,
        tenant_id: TenantId,
        objectives: Sequence[str],
        project_id: ProjectId,
        terms: Terms,
        by: PrincipalId | None = None,
        key: str | None = None,
    ) -> Batch:
        """A generation for each objective, all in one transaction; one that is no objective fails only itself.

        Raises as `generate`, for what they share.
        """
        rules = Rules()
        rules.require(1 <= len(objectives) <= MOST_OBJECTIVES, f"1 to {MOST_OBJECTIVES} objectives.", "objectives")
        terms.check(rules)
        rules.hold()
        results = [_result(index, objective) for index, objective in enumerate(objectives)]
        once = Once(key, ("bulkGenerateTeams", list(objectives), project_id, terms.asked))
        once.check()
        batch_id = BatchId(new_id())
        async with self.units(tenant_id) as unit:
            if (first := await once.first(unit)) is not None:
                return _batch(BatchId(first), results, await unit.generations.of_batch(BatchId(first)))
            found = await _opened(unit, Target(project_id))
            terms = await self._possible(unit, found, terms)
            good = [objectives[result.index] for result in results if result.error is None]
            await _check_room(unit, len(good))
            made = [replace(self._pending(each, tenant_id, found, terms, by), batch_id=batch_id) for each in good]
            await unit.generations.add(*made)
            await once.keep(unit, batch_id)
            await unit.commit()
        if made:
            await self._tell(*made)
        return _batch(batch_id, results, made)

    async def cancel(self, tenant_id: TenantId, identifier: UUID) -> Generation:
        """Let it be CANCELLED at once; its worker closes the call in flight. One that is over is given as it is.

        Raises NotFound.
        """
        with located("generationId"):
            async with self.units(tenant_id) as unit:
                generation = await unit.generations.lock(identifier)
                if generation.is_over:
                    return generation
                generation.become(GenerationStatus.CANCELLED)
                generation.stage, generation.finished_at = "", utc_now()
                await unit.generations.save(generation)
                await unit.commit()
        await self._tell(generation)
        return generation

    async def _possible(self, unit: UnitOfWork, found: _Open, terms: Terms) -> Terms:
        """The terms, with the domain as it is spelt, and a limit of roles with which a team that has more can stay.

        Raises Invalid where no team can keep to the constraints.
        """
        constraints, rules = terms.constraints, Rules()
        known = self.domains() if constraints.domain is not None else ()
        refuse_unknown_domain(rules, constraints, known, *terms.under)
        tools = await tools_named(unit, found.project_id, constraints.tools or ())
        refuse_unknown_tools(rules, constraints, tools, *terms.under)
        is_unpaid = terms.max_budget is not None and terms.fallback is Fallback.OFF
        if constraints.budget is not None or is_unpaid:
            offers = await self.catalogue.offers(unit.tenant_id, self.default_model)
            refuse_small_budget(rules, constraints, offers, self.default_model, *terms.under)
            if is_unpaid:
                refuse_unpaid_composing(rules, terms.max_budget, constraints, offers, self.default_model)
        rules.hold()
        domain = constraints.domain and known_domain(constraints.domain, known)
        most = constraints.max_roles or max(MOST_ROLES, found.roles)
        return replace(terms, constraints=replace(constraints, domain=domain, max_roles=most))

    def _pending(
        self, objective: str, tenant_id: TenantId, found: _Open, terms: Terms, by: PrincipalId | None
    ) -> Generation:
        return Generation(
            tenant_id,
            found.project_id,
            objective,
            to_document(Constraints, terms.constraints),
            terms.fallback,
            team_id=found.team_id,
            base_hash=found.base_hash,
            max_budget=terms.max_budget,
            timeout_seconds=terms.timeout_seconds,
            created_by=by,
            trace_parent=self.tracing.current(),
        )

    async def _tell(self, *generations: Generation) -> None:
        await self.hints.publish([GENERATIONS, *(generation_topic(each.id) for each in generations)])


async def _opened(unit: UnitOfWork, target: Target) -> _Open:
    """What is proposed for. Raises NotFound, Archived."""
    if target.team_id is None:
        if target.project_id is None:
            raise ValueError(target)  # checked before
        with located("projectId"):
            await _check_project(unit, target.project_id)
        return _Open(target.project_id)
    with located("teamId"):
        team = await unit.teams.get(target.team_id)
        check_can_run(team)
        await _check_project(unit, team.project_id)
        revision_id, snapshot = await current_revision(unit, team)
        revision = await unit.definitions.find_revision(revision_id)
    return _Open(team.project_id, team.id, revision.content_hash if revision else None, len(snapshot.roles))


async def _check_room(unit: UnitOfWork, asked: int) -> None:
    """Raises TooManyGenerations where so many more would not fit."""
    working = await unit.generations.working(MOST_WORKING) if asked else 0
    if working + asked > MOST_WORKING:
        raise TooManyGenerations(working, asked, MOST_WORKING)


async def _check_project(unit: UnitOfWork, project_id: ProjectId) -> None:
    if (await unit.projects.get(project_id)).archived_at:
        raise Archived("Project")


def _result(index: int, objective: str) -> BulkResult:
    rules = Rules()
    check_objective(rules, objective, "objectives", str(index))
    return BulkResult(index, shortened(objective), error=Invalid(rules.problems) if rules.problems else None)


def _batch(identifier: BatchId, results: Sequence[BulkResult], made: Sequence[Generation]) -> Batch:
    """Each objective with its generation: they were made in the order of the good ones."""
    left = iter(made)
    return Batch(identifier, [it if it.error else replace(it, generation=next(left)) for it in results])
