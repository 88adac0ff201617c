"""Other models for what a team does: cheaper and better ones that can be had, and their cost in comparison."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from domain.errors import RunFailed
from domain.model.difference import Part
from domain.model.history import ModelRecord, Quantiles, TaskHistory, TeamHistory
from domain.model.matching import manager_of
from domain.model.model import Tier
from domain.model.optimization import FieldChange
from domain.model.prices import TokenCounts
from domain.model.revision import TeamSnapshot
from domain.model.role import Role
from domain.model.routing import Offer, QualityPreference, demand_of, find_offer, route
from domain.model.task import Task
from domain.model.team import Process
from domain.model.tokens import estimated_tokens

USUAL_TOKENS: Final = TokenCounts(prompt=3000, completion=800)
"""What a task is taken to read and write where no history tells."""

USUAL_OUTPUT: Final = 4096


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another model by changing one field. `cost_ratio` is its cost by the present one's; None where that is free."""

    change: FieldChange
    model: str
    tier: Tier
    cost_ratio: float | None


@dataclass(frozen=True, slots=True)
class ModelChoices:
    """The models that a team could use. `default_model` is the deployment's, None where it routes."""

    snapshot: TeamSnapshot
    history: TeamHistory
    offers: Sequence[Offer]
    default_model: str | None = None

    def pinned(self, role: Role | None) -> str | None:
        """The model that is used whatever is preferred; None where the work of the role is routed."""
        return (role.model if role else None) or self.default_model or None

    def pinned_name(self, role: Role) -> str | None:
        """The same as the catalogue calls it, where it has it."""
        pinned = self.pinned(role)
        offer = find_offer(self.offers, pinned) if pinned else None
        return offer.model.name if offer else pinned

    def proven(self, role: Role, record: ModelRecord) -> Alternative | None:
        """The model of a record of the role's, if it can be had."""
        offer = find_offer(self.offers, record.model)
        if offer is None or not offer.is_usable:
            return None
        return self._naming(role, offer, None)

    def lower(self, role: Role) -> Alternative | None:
        """The first model of the next lower tier, for a role whose model is pinned."""
        return self._other(role, lambda tier, present: tier.level < present.level)

    def higher(self, role: Role) -> Alternative | None:
        """The first model of the next higher tier, for a role whose model is pinned."""
        return self._other(role, lambda tier, present: tier.level > present.level)

    def _other(self, role: Role, is_wanted: Callable[[Tier, Tier], bool]) -> Alternative | None:
        present = find_offer(self.offers, self.pinned(role) or "")
        if present is None:
            return None
        tier = present.model.tier
        fitting = [
            offer
            for offer in self.offers
            if offer.is_usable and is_wanted(offer.model.tier, tier) and self._fits(offer, role)
        ]
        if not fitting:
            return None
        first = min(fitting, key=lambda offer: _place(offer, tier))
        return self._naming(role, first, self._ratio(present, first, self.tokens_of_role(role)))

    def _naming(self, role: Role, offer: Offer, ratio: float | None) -> Alternative:
        change = FieldChange(Part.ROLE, role.id, role.title, "model", role.model, offer.model.name)
        return Alternative(change, offer.model.name, offer.model.tier, ratio)

    def _fits(self, offer: Offer, role: Role) -> bool:
        """Whether it is routed to by itself, takes tools where the role has some, and can read what the role reads."""
        model = offer.model
        is_wide = model.context_window is None or self._longest_prompt(role) <= model.context_window
        return model.routing_order is not None and is_wide and (model.supports_tools or not self._has_tools(role))

    def preferring(self, task: Task, wanted: QualityPreference) -> Alternative | None:
        """What the task would be routed to under another preference, where that is in another tier."""
        role = self.role_of(task)
        if self.pinned(role) is not None:
            return None  # a pinned model beats every preference
        present = self._routed(task, role, task.quality_preference or QualityPreference.BALANCED)
        other = self._routed(task, role, wanted)
        if present is None or other is None or present.model.tier is other.model.tier:
            return None
        before = task.quality_preference.value if task.quality_preference else None
        change = FieldChange(Part.TASK, task.id, task.name, "quality_preference", before, wanted.value)
        ratio = self._ratio(present, other, _tokens(self.history.of_task(task.id)) or USUAL_TOKENS)
        return Alternative(change, other.model.name, other.model.tier, ratio)

    def _routed(self, task: Task, role: Role | None, preference: QualityPreference) -> Offer | None:
        demand = demand_of(
            description=task.description,
            expected_output=task.expected_output,
            role=role,
            preference=preference,
            default_model=None,
            needs_tools=role is not None and self._has_tools(role),
            prompt_tokens=estimated_tokens(task.description + task.expected_output),
            output_tokens=(role.max_tokens if role else None) or USUAL_OUTPUT,
        )
        try:
            return route(self.offers, demand).first.offer
        except RunFailed:
            return None

    def role_of(self, task: Task) -> Role | None:
        """The active role that the task names, if it names one."""
        return next((role for role in self.snapshot.roles if role.id == task.role_id and role.is_active), None)

    def tokens_of_role(self, role: Role) -> TokenCounts:
        """About what it reads and writes in one execution."""
        known = self._tokens_of_tasks(role)
        return TokenCounts(sum(each.prompt for each in known), sum(each.completion for each in known))

    def _longest_prompt(self, role: Role) -> int:
        """What it reads for one task, in all calls together: no call reads more."""
        return max(each.prompt for each in self._tokens_of_tasks(role))

    def _tokens_of_tasks(self, role: Role) -> list[TokenCounts]:
        own = [_tokens(self.history.of_task(task.id)) for task in self.snapshot.tasks if task.role_id == role.id]
        return [tokens for tokens in own if tokens is not None] or [USUAL_TOKENS]

    def _has_tools(self, role: Role) -> bool:
        is_led = self.snapshot.team.process is Process.HIERARCHICAL
        may_delegate = is_led and (
            role.is_delegation_allowed or role.id == manager_of(self.snapshot.team, self.snapshot.roles).id
        )
        return bool(self.snapshot.tools_of(role)) or role.can_ask or may_delegate

    def _ratio(self, present: Offer, other: Offer, tokens: TokenCounts) -> float | None:
        before, after = (_cost(offer, tokens) for offer in (present, other))
        return after / before if before and after is not None else None


def _place(offer: Offer, tier: Tier) -> tuple[int, int, str]:
    """The nearest tier first, then in the catalogue's order."""
    return abs(offer.model.tier.level - tier.level), offer.model.routing_order or 0, offer.model.name


def _cost(offer: Offer, tokens: TokenCounts) -> float | None:
    prices = offer.deployment.prices if offer.deployment else offer.model.prices
    return None if prices is None else float(prices.cost(tokens))


def _tokens(history: TaskHistory | None) -> TokenCounts | None:
    if history is None or history.prompt_tokens is None or history.completion_tokens is None:
        return None
    return TokenCounts(_middle(history.prompt_tokens), _middle(history.completion_tokens))


def _middle(quantiles: Quantiles) -> int:
    return round(quantiles.middle)
