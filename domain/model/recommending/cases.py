"""A team with its past, as the rules of recommendations look at it; and how a change becomes a mutation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Final
from uuid import UUID

from domain.model.difference import Part
from domain.model.history import ENOUGH_EXECUTIONS
from domain.model.model import Tier
from domain.model.optimization import FieldChange
from domain.model.optimizing import Situation
from domain.model.prices import Prices, TokenCounts
from domain.model.recommendation import (
    RecommendedAction,
    Reference,
    Subject,
    TemplateRecord,
)
from domain.model.recommending.records import PastTask, TeamPast, history_of, total
from domain.model.revision import TeamSnapshot
from domain.model.role import Role
from domain.model.routing import Offer, find_offer
from domain.model.task import Task
from domain.model.texts import camel

_MUTATIONS: Final[Mapping[Part, str]] = {Part.ROLE: "updateRole", Part.TASK: "updateTask"}


@dataclass(frozen=True)
class Case:
    """A team as it is, what it did, and the templates that it could be compared with. `origin` is its own template."""

    situation: Situation
    past: TeamPast
    templates: Sequence[TemplateRecord] = ()
    origin: UUID | None = None

    @classmethod
    def of(
        cls,
        snapshot: TeamSnapshot,
        past: TeamPast,
        offers: Sequence[Offer],
        default_model: str | None = None,
        templates: Sequence[TemplateRecord] = (),
        origin: UUID | None = None,
    ) -> "Case":
        tiers: dict[str, Tier] = {offer.model.name: offer.model.tier for offer in offers}
        situation = Situation.of(snapshot, history_of(snapshot, past, tiers), offers, default_model)
        return cls(situation, past, templates, origin)

    @property
    def snapshot(self) -> TeamSnapshot:
        return self.situation.snapshot

    @property
    def is_enough(self) -> bool:
        return len(self.past.runs) >= ENOUGH_EXECUTIONS

    @cached_property
    def spent(self) -> Decimal:
        """What all of its tasks cost, in dollars."""
        return total(self.past.tasks)

    @cached_property
    def tasks(self) -> Sequence[tuple[Task, list[PastTask]]]:
        """The tasks that were done often enough since neither they nor their roles were edited."""
        role_of = self.situation.choices.role_of
        done = [(task, self.past.of_task(task, role_of(task))) for task in self.snapshot.tasks]
        return [(task, own) for task, own in done if len(own) >= ENOUGH_EXECUTIONS]

    def done_as_now(self, role: Role) -> list[PastTask]:
        """What the role did of the tasks that it still has, with the model that is pinned; with any where none is.

        That is what another model for the role changes: no more of the team's cost.
        """
        pinned = self.situation.choices.pinned_name(role)
        kept = {task.id for task in self.snapshot.tasks if task.role_id in (None, role.id)}
        return [past for past in self.past.of_role(role) if past.task_id in kept and pinned in (None, past.model)]

    def share(self, cost: Decimal) -> float:
        """Such a cost as a share of what the team spent."""
        return float(cost / self.spent) if self.spent else 0.0

    def prompt_share(self, tasks: Sequence[PastTask]) -> float:
        """What reading makes of the cost of these calls, by the prices of today; 0.0 where those are not known."""
        read = written = Decimal(0)
        for model, own in _by_model(tasks).items():
            prices = _prices(find_offer(self.situation.choices.offers, model))
            if prices is not None:
                read += prices.cost(TokenCounts(prompt=sum(each.prompt_tokens for each in own)))
                written += prices.cost(TokenCounts(completion=sum(each.completion_tokens for each in own)))
        return float(read / (read + written)) if read else 0.0


def _by_model(tasks: Sequence[PastTask]) -> Mapping[str, Sequence[PastTask]]:
    found: dict[str, list[PastTask]] = {}
    for each in tasks:
        found.setdefault(each.model or "", []).append(each)
    return found


def _prices(offer: Offer | None) -> Prices | None:
    if offer is None:
        return None
    return offer.deployment.prices if offer.deployment else offer.model.prices


def action_of(change: FieldChange, snapshot: TeamSnapshot, text: str) -> RecommendedAction:
    """The mutation that makes a change of one field of a role or a task of the team."""
    parts: list[Role | Task] = [*snapshot.roles, *snapshot.tasks]
    version = next(part.version for part in parts if part.id == change.id)
    arguments = {
        "id": Reference(change.part.value.capitalize(), change.id),
        "version": version,
        camel(change.field): change.after,
    }
    return RecommendedAction(_MUTATIONS[change.part], arguments, text)


def subject_of(change: FieldChange, snapshot: TeamSnapshot) -> Subject:
    """The role or task that the change is of."""
    parts: list[Role | Task] = [*snapshot.roles, *snapshot.tasks]
    return next(part for part in parts if part.id == change.id)
