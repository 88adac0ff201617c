"""Use cases on what was proposed: accept it, with edits, reject it, and say how good it was."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from typing import Final
from uuid import UUID

from domain.errors import Conflict, Invalid, NoActiveRole, Problem, TeamChanged, located
from domain.model.blueprint import Blueprint, from_document
from domain.model.edits import NO_EDITS, Edits, edited
from domain.model.generation import MAX_RATING, Generation, GenerationStatus
from domain.model.identity import PrincipalId, TeamId, TenantId, utc_now
from domain.model.proposed_change import kept
from domain.model.revision import encode
from domain.model.rules import Rules
from domain.model.team import Team
from domain.model.template import TemplateUse
from domain.ports import Hints, UnitOfWork, UnitsOfWork, generation_topic
from domain.services.blueprints import change_team, completed, make_team
from domain.services.idempotency import Once

_HUMP: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Which proposal is to be made true, with which edits; `name` takes the place of the team's name."""

    generation_id: UUID
    edits: Edits = NO_EDITS
    name: str | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The generation, and the team that was made or changed."""

    generation: Generation
    team: Team


class GenerationDecisions:
    """All raise NotFound, located at `generationId`."""

    def __init__(self, units: UnitsOfWork, hints: Hints) -> None:
        self.units = units
        self.hints = hints

    async def accept(self, tenant_id: TenantId, request: Acceptance, by: PrincipalId | None = None) -> Accepted:
        """Make or change the team, in one transaction; the first result of the same idempotency key.

        Raises InvalidTransition unless it is READY, TeamChanged where the team is not what was asked about, Archived,
        NameTaken, Invalid for what the edits break, NoActiveRole where they leave nobody, IdempotencyConflict.

        Edits are what a human wants: they are not held to the constraints of the generation.
        """
        once = Once(
            request.idempotency_key, ("acceptGeneration", request.generation_id, asdict(request.edits), request.name)
        )
        once.check()
        async with self.units(tenant_id) as unit:
            if (first := await once.first(unit)) is not None:
                return await _accepted(unit, first)
            async with _locked(unit, request.generation_id) as generation:
                generation.become(GenerationStatus.ACCEPTED)
                team = await _made_true(unit, generation, request, by)
                generation.accepted_team_id, generation.decided_at = team.id, utc_now()
                await unit.generations.save(generation)
            await once.keep(unit, generation.id)
            await unit.commit()
        await self._tell(generation)
        return Accepted(generation, team)

    async def reject(self, tenant_id: TenantId, identifier: UUID, reason: str | None = None) -> Generation:
        """Note that it is not wanted; one that is REJECTED stays as it is. Raises InvalidTransition, Invalid."""
        rules = Rules()
        rules.text(reason, "reason")
        rules.hold()
        async with self.units(tenant_id) as unit:
            async with _locked(unit, identifier) as generation:
                if generation.status is GenerationStatus.REJECTED:
                    return generation
                generation.become(GenerationStatus.REJECTED)
                generation.rejection_reason, generation.decided_at = reason, utc_now()
                await unit.generations.save(generation)
            await unit.commit()
        await self._tell(generation)
        return generation

    async def rate(self, tenant_id: TenantId, identifier: UUID, rating: int, feedback: str | None = None) -> Generation:
        """Keep what somebody says of it, in place of anything said before.

        Raises Invalid; Conflict while somebody works on it.
        """
        rules = Rules()
        rules.between(rating, 1, MAX_RATING, "rating")
        rules.text(feedback, "feedback")
        rules.hold()
        async with self.units(tenant_id) as unit:
            async with _locked(unit, identifier) as generation:
                if not generation.is_over:
                    raise Conflict("It can be rated once nobody works on it any more.")
                generation.rating, generation.feedback = rating, feedback
                await unit.generations.save(generation)
            await unit.commit()
        await self._tell(generation)
        return generation

    async def _tell(self, generation: Generation) -> None:
        await self.hints.publish([generation_topic(generation.id)])


@asynccontextmanager
async def _locked(unit: UnitOfWork, identifier: UUID) -> AsyncIterator[Generation]:
    with located("generationId"):
        yield await unit.generations.lock(identifier)


async def _accepted(unit: UnitOfWork, identifier: UUID) -> Accepted:
    """What a request came to that was carried out before."""
    generation = await unit.generations.get(identifier)
    if generation.accepted_team_id is None:
        raise ValueError(identifier)  # the key is kept with the team, or not at all
    return Accepted(generation, await unit.teams.get(generation.accepted_team_id))


async def _made_true(unit: UnitOfWork, generation: Generation, request: Acceptance, by: PrincipalId | None) -> Team:
    """The team that is made or changed, and on which templates it stands."""
    wanted = await _wanted(unit, generation, request)
    try:
        if generation.team_id is None:
            team = await make_team(unit, wanted, generation.project_id, by, at="generationId")
        else:
            await _check_unchanged(unit, generation.team_id, generation.base_hash)
            present = await unit.teams.get(generation.team_id)
            team = await change_team(unit, present.id, kept(wanted, present, request.edits.values), by)
    except Invalid as error:
        raise Invalid(_placed(error.problems, wanted, request)) from error
    for source in generation.sources:
        use = TemplateUse(generation.tenant_id, source.template_id, source.number, team.id)
        await unit.templates.add_use(replace(use, generation_id=generation.id, created_by=by))
    return team


async def _check_unchanged(unit: UnitOfWork, team_id: TeamId, base_hash: str | None) -> None:
    """Raises TeamChanged; the team is locked from here on."""
    await unit.definitions.lock(team_id)
    _, present = encode(await unit.definitions.snapshot(team_id))
    if present != base_hash:
        raise TeamChanged


async def _wanted(unit: UnitOfWork, generation: Generation, request: Acceptance) -> Blueprint:
    """The proposal with the edits. Raises Invalid where they break a rule, NoActiveRole where they leave nobody."""
    wanted = edited(from_document(generation.proposal), request.edits, "edits")
    if request.name is not None:
        wanted = replace(wanted, name=request.name)
    wanted = await completed(unit, generation.project_id, wanted)
    try:
        wanted.check()
    except Invalid as error:
        raise Invalid(_placed(error.problems, wanted, request)) from error
    if not any(role.is_active for role in wanted.roles):
        raise NoActiveRole().under("edits")
    return wanted


def _placed(problems: Sequence[Problem], wanted: Blueprint, request: Acceptance) -> list[Problem]:
    """The problems where the client can mend them: at his edits, or at the proposal as a whole."""
    return [Problem(problem.message, _place(problem.path, wanted, request)) for problem in problems]


def _place(path: tuple[str, ...], wanted: Blueprint, request: Acceptance) -> tuple[str, ...]:
    part, *rest = path or ("",)
    if part == "name" and request.name is not None:
        return path
    if part in ("roles", "tasks"):
        found = _part(part, rest, wanted, request.edits)
    else:  # edits have no tools; whatever else there is, they name by the domain's words
        is_edited = part not in ("", "tools") and _HUMP.sub("_", path[-1]).lower() in request.edits.values
        found = path if is_edited else None
    return ("generationId",) if found is None else ("edits", *found)


def _part(part: str, rest: Sequence[str], wanted: Blueprint, edits: Edits) -> tuple[str, ...] | None:
    """Where the edits speak of the roles or tasks, or of one of them; None where they do not."""
    if not rest:
        return (part,) if (edits.roles if part == "roles" else edits.tasks) else None
    given = _given(part, int(rest[0]), wanted, edits) if rest[0].isdecimal() else None
    return None if given is None else (part, str(given), *rest[1:])


def _given(part: str, place: int, wanted: Blueprint, edits: Edits) -> int | None:
    """Where among the edits the role or task stands that is wanted at this place; None for one as proposed."""
    if part == "roles":
        labels, label = [role.title for role in edits.roles], wanted.roles[place].title
    else:
        labels, label = [task.name for task in edits.tasks], wanted.tasks[place].name
    return labels.index(label) if label in labels else None
