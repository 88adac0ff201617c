"""Use cases on optimizations: propose what a team's history speaks for, apply it, take it back. Nothing is spent."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.errors import Archived, ModelGone, TeamChanged, located
from domain.model.difference import Part
from domain.model.documents import to_document
from domain.model.history import TeamHistory
from domain.model.identity import PrincipalId, TeamId, TenantId, utc_now
from domain.model.optimization import (
    Evidence,
    ExpectedEffect,
    FieldChange,
    Goal,
    Optimization,
    OptimizationStatus,
)
from domain.model.optimizing import Proposal, Situation, propose, stands, why_nothing
from domain.model.optimizing.field_changes import DEPENDS_ON, fit, reversed_changes, with_changes
from domain.model.revision import TeamSnapshot, encode
from domain.model.routing import Offer, find_offer
from domain.model.task import check_dependencies
from domain.model.team import Team
from domain.ports import ModelCatalogue, UnitOfWork, UnitsOfWork
from domain.ports.histories import PresentHistories
from domain.services.idempotency import Once


@dataclass(frozen=True, slots=True)
class Proposed:
    """The team, and what was proposed for it; `message` says why that is nothing, None otherwise."""

    team: Team
    optimizations: Sequence[Optimization]
    message: str | None = None


@dataclass(frozen=True, slots=True)
class _Looked:
    """What proposals were drawn from, before the team was locked for them."""

    team: str
    since: datetime | None
    history: TeamHistory
    proposals: Sequence[Proposal]


@dataclass(frozen=True, slots=True)
class Changed:
    """An optimization, and its team as it is now."""

    optimization: Optimization
    team: Team


class Optimizations:
    """All raise NotFound and Archived. `default_model` is the deployment's, None where it routes."""

    def __init__(
        self, units: UnitsOfWork, histories: PresentHistories, catalogue: ModelCatalogue, default_model: str | None
    ) -> None:
        self.units = units
        self.histories = histories
        self.catalogue = catalogue
        self.default_model = default_model

    async def propose(
        self, tenant_id: TenantId, team_id: TeamId, goal: Goal, by: PrincipalId | None = None, key: str | None = None
    ) -> Proposed:
        """What the team's executions speak for since an optimization was last applied, in place of what was proposed.

        The first answer of the same idempotency key; where nothing was proposed then, that is said, and not anew why.
        Raises Invalid for a bad key, IdempotencyConflict, TeamChanged when somebody changes the team meanwhile,
        Unavailable.
        """
        once = Once(key, ("optimizeTeam", team_id, goal.value))
        once.check()
        async with self.units(tenant_id) as unit:
            first = await once.first(unit)
            if first is not None:
                return await _again(unit, team_id, first)
            looked = await self._looked(unit, team_id, goal)
            with located("teamId"):
                team = await _open(unit, team_id)
                if not await _is_as_looked_at(unit, team_id, looked):
                    raise TeamChanged(since="asked for", suggestion="Ask again.")
            now = utc_now()  # one moment for all: they are found by it again
            made = [_stored(each, team, goal, now, by) for each in looked.proposals]
            await unit.optimizations.supersede(team_id, goal)
            await unit.optimizations.add(*made)
            await once.keep(unit, made[0].id if made else team_id)
            await unit.commit()
        return Proposed(team, made, None if made else _why_nothing(looked))

    async def _looked(self, unit: UnitOfWork, team_id: TeamId, goal: Goal) -> _Looked:
        """All that takes long, while nobody has to wait for the team. Raises NotFound, Archived."""
        with located("teamId"):
            snapshot = await unit.definitions.snapshot(team_id)
            _check_open(snapshot.team)
        since = await unit.optimizations.last_changed(team_id)
        history = await self.histories.of_present_team(unit.tenant_id, team_id, since)
        offers = await self.catalogue.offers(unit.tenant_id, self.default_model)
        situation = Situation.of(snapshot, history, offers, self.default_model)
        proposals = await asyncio.to_thread(propose, goal, situation)
        return _Looked(_hash(snapshot), since, history, proposals)

    async def apply(self, tenant_id: TenantId, identifier: UUID) -> Changed:
        """Change the team as proposed; one that is APPLIED already is given as it is.

        Other proposals that no longer fit the team are SUPERSEDED. Raises InvalidTransition; TeamChanged when what was
        proposed does not fit the team any more, ModelGone when its model cannot be had: then nothing is changed.
        """
        offers = await self.catalogue.offers(tenant_id, self.default_model)
        with located("id"):
            async with self.units(tenant_id) as unit:
                optimization, team = await _locked(unit, identifier)
                if optimization.status is OptimizationStatus.APPLIED:
                    return Changed(optimization, team)
                optimization.become(OptimizationStatus.APPLIED, utc_now())
                snapshot, changes = await unit.definitions.snapshot(team.id), optimization.field_changes
                if not await asyncio.to_thread(stands, optimization.kind, changes, snapshot):
                    raise TeamChanged
                _check_models(changes, offers)
                return await _carried_out(unit, optimization, snapshot, changes)

    async def undo(self, tenant_id: TenantId, identifier: UUID) -> Changed:
        """Change back what was applied; one that is UNDONE already is given as it is.

        Raises InvalidTransition; TeamChanged when somebody changed one of its fields since: then nothing is changed.
        """
        with located("id"):
            async with self.units(tenant_id) as unit:
                optimization, team = await _locked(unit, identifier)
                if optimization.status is OptimizationStatus.UNDONE:
                    return Changed(optimization, team)
                optimization.become(OptimizationStatus.UNDONE, utc_now())
                snapshot, changes = (
                    await unit.definitions.snapshot(team.id),
                    reversed_changes(optimization.field_changes),
                )
                if not fit(changes, snapshot):
                    raise TeamChanged(since="applied", suggestion="Change back by hand what is still as it made it.")
                return await _carried_out(unit, optimization, snapshot, changes)


async def _open(unit: UnitOfWork, team_id: TeamId) -> Team:
    """The team, locked. Raises NotFound, Archived."""
    team = await unit.definitions.lock(team_id)
    _check_open(team)
    return team


def _check_open(team: Team) -> None:
    if team.archived_at:
        raise Archived("Team")


async def _again(unit: UnitOfWork, team_id: TeamId, first: UUID) -> Proposed:
    """What was proposed under the same key, without a look at the history."""
    with located("teamId"):
        team = await unit.teams.get(team_id)
        _check_open(team)
    found = await unit.optimizations.proposed_with(first)
    message = "Nothing was proposed when this was first asked for; ask anew, under another key, for the reason."
    return Proposed(team, found, None if found else message)


async def _is_as_looked_at(unit: UnitOfWork, team_id: TeamId, looked: _Looked) -> bool:
    if await unit.optimizations.last_changed(team_id) != looked.since:
        return False
    return _hash(await unit.definitions.snapshot(team_id)) == looked.team


def _hash(snapshot: TeamSnapshot) -> str:
    """The same for what would be one revision."""
    return encode(snapshot)[1]


def _check_models(changes: Sequence[FieldChange], offers: Sequence[Offer]) -> None:
    """Raises ModelGone for a model that nobody can use now, nor when it has cooled down."""
    for name in [change.after for change in changes if change.field == "model" and change.after]:
        offer = find_offer(offers, name)
        if offer is None or not offer.can_be_waited_for:
            raise ModelGone(name, offer.explanation if offer else "")


async def _locked(unit: UnitOfWork, identifier: UUID) -> tuple[Optimization, Team]:
    """The optimization as it is under the lock of its team."""
    found = await unit.optimizations.get(identifier)
    team = await _open(unit, found.team_id)
    return await unit.optimizations.get(identifier), team


async def _carried_out(
    unit: UnitOfWork, optimization: Optimization, snapshot: TeamSnapshot, changes: Sequence[FieldChange]
) -> Changed:
    wanted = with_changes(snapshot, changes)
    check_dependencies(wanted.tasks, wanted.dependencies)
    await _write(unit, wanted, changes)
    await unit.optimizations.save(optimization)
    for other in await unit.optimizations.proposed(optimization.team_id):
        if not stands(other.kind, other.field_changes, wanted):
            other.become(OptimizationStatus.SUPERSEDED, utc_now())
            await unit.optimizations.save(other)
    team = await unit.teams.get(optimization.team_id)
    await unit.commit()
    return Changed(optimization, team)


async def _write(unit: UnitOfWork, wanted: TeamSnapshot, changes: Sequence[FieldChange]) -> None:
    """Each part once, however many of its fields change; the next kickoff makes a new revision."""
    fields = {change.id for change in changes if change.field != DEPENDS_ON}
    links = {change.id for change in changes if change.field == DEPENDS_ON}
    for role in [each for each in wanted.roles if each.id in fields]:
        role.check()
        await unit.roles.update(role)
    for task in [each for each in wanted.tasks if each.id in fields | links]:
        task.check()
        # Also where its dependencies alone change: whoever edits it meanwhile has to see that.
        await unit.tasks.update(task)
        if task.id in links:
            waits = [link.depends_on_id for link in wanted.dependencies if link.task_id == task.id]
            await unit.definitions.set_dependencies(task, waits)
    if any(change.part is Part.TEAM for change in changes):
        await unit.teams.update(wanted.team)
    await unit.definitions.mark_changed([wanted.team.id])


def _stored(proposal: Proposal, team: Team, goal: Goal, now: datetime, by: PrincipalId | None) -> Optimization:
    return Optimization(
        team.tenant_id,
        team.id,
        goal,
        proposal.kind,
        proposal.title,
        proposal.explanation,
        to_document(list[Evidence], list(proposal.evidence)),
        to_document(list[ExpectedEffect], list(proposal.effects)),
        to_document(list[FieldChange], list(proposal.changes)),
        created_at=now,
        created_by=by,
    )


def _why_nothing(looked: _Looked) -> str:
    message = why_nothing(looked.history)
    if looked.since is not None:
        message += " Executions from before an optimization was last applied or undone do not count."
    return message
