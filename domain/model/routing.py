"""Routing: which model a piece of work is given, and why. Pure rules over what can be used; nothing is called."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Any, Final

from domain.errors import FailureCode, RunFailed
from domain.model.model import Model, Tier, Unusable
from domain.model.money import Money
from domain.model.prices import Prices
from domain.model.role import Expertise, Role

LONG_DESCRIPTION_WORDS: Final = 200
LONG_OUTPUT_WORDS: Final = 50
KEYWORDS: Final = frozenset(
    ("analyze", "strategy", "comprehensive", "detailed", "architecture", "design", "plan", "roadmap")
)
COMPLEX_FACTORS, MEDIUM_FACTORS = 3, 2
MOST_ALTERNATIVES: Final = 10
"""So many alternatives a decision names."""


class QualityPreference(Enum):
    """What matters most where a model is chosen."""

    FAST = "FAST"
    BALANCED = "BALANCED"
    PREMIUM = "PREMIUM"
    COST_OPTIMIZED = "COST_OPTIMIZED"


class Complexity(Enum):
    """How hard a piece of work looks."""

    SIMPLE = "SIMPLE"
    MEDIUM = "MEDIUM"
    COMPLEX = "COMPLEX"


class ComplexityFactor(Enum):
    """What makes a piece of work look harder."""

    LONG_DESCRIPTION = "LONG_DESCRIPTION"
    LONG_EXPECTED_OUTPUT = "LONG_EXPECTED_OUTPUT"
    SENIOR_ROLE = "SENIOR_ROLE"
    KEYWORD = "KEYWORD"


_Q, _C = QualityPreference, Complexity
TIERS: Final = {
    (_Q.FAST, _C.SIMPLE): Tier.LOCAL,
    (_Q.FAST, _C.MEDIUM): Tier.LOCAL,
    (_Q.FAST, _C.COMPLEX): Tier.STANDARD,
    (_Q.BALANCED, _C.SIMPLE): Tier.LOCAL,
    (_Q.BALANCED, _C.MEDIUM): Tier.STANDARD,
    (_Q.BALANCED, _C.COMPLEX): Tier.PREMIUM,
    (_Q.PREMIUM, _C.SIMPLE): Tier.STANDARD,
    (_Q.PREMIUM, _C.MEDIUM): Tier.PREMIUM,
    (_Q.PREMIUM, _C.COMPLEX): Tier.PREMIUM,
    (_Q.COST_OPTIMIZED, _C.SIMPLE): Tier.LOCAL,
    (_Q.COST_OPTIMIZED, _C.MEDIUM): Tier.LOCAL,
    (_Q.COST_OPTIMIZED, _C.COMPLEX): Tier.LOCAL,
}
"""The tier that a preference and a complexity ask for."""

_WORD: Final = re.compile(r"\w+")


def factors_of(description: str, expected_output: str, expertise: Expertise | None) -> tuple[ComplexityFactor, ...]:
    """What makes this work look harder; `expertise` None where no role is known yet."""
    found = {
        ComplexityFactor.LONG_DESCRIPTION: len(description.split()) > LONG_DESCRIPTION_WORDS,
        ComplexityFactor.LONG_EXPECTED_OUTPUT: len(expected_output.split()) > LONG_OUTPUT_WORDS,
        ComplexityFactor.SENIOR_ROLE: expertise in (Expertise.SENIOR, Expertise.EXPERT),
        ComplexityFactor.KEYWORD: not KEYWORDS.isdisjoint(_WORD.findall(description.lower())),
    }
    return tuple(factor for factor, applies in found.items() if applies)


def complexity_of(factors: Sequence[ComplexityFactor]) -> Complexity:
    """Three factors or more: COMPLEX; two: MEDIUM; else SIMPLE."""
    if len(factors) >= COMPLEX_FACTORS:
        return Complexity.COMPLEX
    return Complexity.MEDIUM if len(factors) == MEDIUM_FACTORS else Complexity.SIMPLE


@dataclass(frozen=True, slots=True)
class Demand:
    """What is wanted of a model. `pinned` is the name that a role gives; `output_tokens` the cap of one answer.

    `pinned_by` says in a reason who pinned it. `wants_best`: the PREMIUM tier, however simple the work is; an
    evaluator, and what it sent back, ask for it.
    """

    preference: QualityPreference
    factors: tuple[ComplexityFactor, ...] = ()
    pinned: str | None = None
    pinned_by: str = "the role names it"
    needs_tools: bool = False
    prompt_tokens: int = 0
    output_tokens: int = 4096
    wants_best: bool = False

    @property
    def complexity(self) -> Complexity:
        return complexity_of(self.factors)

    @property
    def tier(self) -> Tier:
        return Tier.PREMIUM if self.wants_best else TIERS[self.preference, self.complexity]


def demand_of(
    *,
    description: str,
    expected_output: str,
    role: Role | None,
    preference: QualityPreference,
    default_model: str | None,
    needs_tools: bool,
    prompt_tokens: int,
    output_tokens: int,
) -> Demand:
    """What a task asks of a model: the one its role names, else the deployment's, else one that is routed to.

    `default_model` is the deployment's, None where it names none; `output_tokens` the cap of one answer.
    """
    own = role.model if role else None
    return Demand(
        preference,
        factors_of(description, expected_output, role.expertise if role else None),
        own or default_model or None,
        "the role names it" if own else "the deployment names it",
        needs_tools,
        prompt_tokens,
        output_tokens,
    )


@dataclass(frozen=True, slots=True)
class Deployment:
    """How a model is reached: whose key (None: the worker's environment), at which address, at what prices.

    `credential` names whose limits and cool-downs count, without revealing the key. `max_output_tokens` is the
    model's own limit, None where it is not known. `supports_json` says whether an answer can be held to a JSON Schema,
    None leaves that to LiteLLM's map.
    """

    credential: str
    prices: Prices
    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None
    max_output_tokens: int | None = None
    supports_json: bool | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """An entry of the catalogue as it can be had now: `deployment`, or `unusable` and a sentence about why."""

    model: Model
    deployment: Deployment | None = None
    unusable: Unusable | None = None
    explanation: str = ""

    @property
    def is_usable(self) -> bool:
        return self.unusable is None and self.deployment is not None

    @property
    def can_be_waited_for(self) -> bool:
        """Whether it is usable, or will be when it has cooled down."""
        return self.deployment is not None and self.unusable in (None, Unusable.COOLING_DOWN)


@dataclass(frozen=True, slots=True)
class Choice:
    """One model that would do, and why it stands where it stands."""

    offer: Offer
    reason: str

    @property
    def model(self) -> Model:
        return self.offer.model

    @property
    def deployment(self) -> Deployment:
        if self.offer.deployment is None:  # a choice is made among usable offers only
            raise ValueError(self.model.name)
        return self.offer.deployment


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided for one call, as events and the ledger keep it; the cost is the most the call can cost."""

    model: str
    tier: Tier
    wanted_tier: Tier
    preference: QualityPreference
    complexity: Complexity
    reason: str
    alternatives: tuple[str, ...]
    estimated_amount: Decimal

    @property
    def estimated_cost(self) -> Money:
        return Money(self.estimated_amount)

    def as_document(self) -> dict[str, Any]:
        """As JSON, the amount as text."""
        return {
            "model": self.model,
            "tier": self.tier.value,
            "wanted_tier": self.wanted_tier.value,
            "preference": self.preference.value,
            "complexity": self.complexity.value,
            "reason": self.reason,
            "alternatives": list(self.alternatives),
            "estimated_amount": str(self.estimated_amount),
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "Decision":
        return cls(
            document["model"],
            Tier(document["tier"]),
            Tier(document["wanted_tier"]),
            QualityPreference(document["preference"]),
            Complexity(document["complexity"]),
            document["reason"],
            tuple(document["alternatives"]),
            Decimal(document["estimated_amount"]),
        )


@dataclass(frozen=True, slots=True)
class Route:
    """The models to try for a demand, best first; never empty. A pinned model stands alone."""

    demand: Demand
    choices: tuple[Choice, ...]

    @property
    def is_pinned(self) -> bool:
        return self.demand.pinned is not None

    @property
    def first(self) -> Choice:
        return self.choices[0]

    def cheaper_than(self, choice: Choice) -> list[Choice]:
        """The choices of lower tiers, the next lower first; none for a pinned model."""
        lower = [other for other in self.choices if other.model.tier.level < choice.model.tier.level]
        return sorted(lower, key=lambda other: -other.model.tier.level)

    def decision(self, choice: Choice, amount: Decimal, reason: str | None = None) -> Decision:
        """What is recorded of taking this choice for a call that can cost so much."""
        others = [other.model.name for other in self.choices if other is not choice]
        return Decision(
            choice.model.name,
            choice.model.tier,
            choice.model.tier if self.is_pinned else self.demand.tier,
            self.demand.preference,
            self.demand.complexity,
            reason or choice.reason,
            tuple(others[:MOST_ALTERNATIVES]),
            amount,
        )


def route(offers: Iterable[Offer], demand: Demand) -> Route:
    """The models that would do, best first.

    Raises:
        RunFailed: MODEL_UNKNOWN when a pinned model is not in the catalogue, MODEL_UNAVAILABLE when it, or every
            model that could be routed to, cannot be used now.
    """
    if demand.pinned is not None:
        return Route(demand, (_pinned(list(offers), demand),))
    routed = [offer for offer in offers if offer.model.routing_order is not None and offer.can_be_waited_for]
    fitting = [offer for offer in routed if _fits(offer.model, demand)]
    if not fitting:
        raise RunFailed(FailureCode.MODEL_UNAVAILABLE, _nothing_fits(routed, demand))
    choices = [Choice(offer, _reason(offer.model.tier, demand)) for offer in _ordered(fitting, demand)]
    return Route(demand, tuple(choices))


_NOTHING: Final = (
    "No model of any tier can be used: give the worker a provider's key, or set one with setProviderKey;"
    " `models` says of each why not."
)


def _nothing_fits(routed: Sequence[Offer], demand: Demand) -> str:
    if not routed:
        return _NOTHING
    if demand.needs_tools and not any(offer.model.supports_tools for offer in routed):
        return "No usable model takes tools, and the role has some: name one that does on the role."
    return f"No usable model that fits can read about {demand.prompt_tokens:,} tokens at once."


def _pinned(offers: Sequence[Offer], demand: Demand) -> Choice:
    offer = find_offer(offers, demand.pinned or "")
    shown = repr((demand.pinned or "")[:100])
    if offer is None:
        raise RunFailed(FailureCode.MODEL_UNKNOWN, f"There is no model named {shown} in the catalogue.")
    if not offer.can_be_waited_for:
        code = FailureCode.MODEL_UNKNOWN if offer.unusable is Unusable.NO_PRICE else FailureCode.MODEL_UNAVAILABLE
        raise RunFailed(code, f"The model {shown} cannot be used: {offer.explanation}")
    return Choice(offer, f"{demand.pinned_by}.".capitalize())


def find_offer(offers: Iterable[Offer], name: str) -> Offer | None:
    """The offer of this name; a bare name (“gpt-4o-mini”) means the first provider's model of that name."""
    found: Offer | None = None
    for offer in offers:
        if offer.model.name == name:
            return offer
        if found is None and "/" not in name and offer.model.name.partition("/")[2] == name:
            found = offer
    return found


def _fits(model: Model, demand: Demand) -> bool:
    is_wide = model.context_window is None or demand.prompt_tokens <= model.context_window
    return is_wide and (model.supports_tools or not demand.needs_tools)


def _ordered(candidates: Sequence[Offer], demand: Demand) -> list[Offer]:
    """By tier, then in the catalogue's order; those that cool down come behind all others."""

    def place(offer: Offer) -> tuple[Any, ...]:
        return not offer.is_usable, *_distance(offer.model.tier, demand), *_place(offer, demand)

    return sorted(candidates, key=place)


def _distance(tier: Tier, demand: Demand) -> tuple[int, int]:
    """How far from the wanted tier; of two as far, who wants PREMIUM gets the higher one, anybody else the lower."""
    upwards = demand.preference is QualityPreference.PREMIUM
    return abs(tier.level - demand.tier.level), -tier.level if upwards else tier.level


def _place(offer: Offer, demand: Demand) -> tuple[Decimal, int, str]:
    """Within a tier: the cheapest first where cost matters most, else in the catalogue's order."""
    prices = offer.deployment.prices if offer.deployment else None
    is_thrifty = demand.preference is QualityPreference.COST_OPTIMIZED
    cost = prices.worst(demand.prompt_tokens, demand.output_tokens) if is_thrifty and prices else Decimal(0)
    return cost, offer.model.routing_order or 0, offer.model.name


def _reason(tier: Tier, demand: Demand) -> str:
    why = f"{demand.preference.value} and {demand.complexity.value} ask for {demand.tier.value}"
    if demand.wants_best:
        why = f"Refinement asks for {demand.tier.value}"
    if tier is demand.tier:
        return f"{why}."
    return f"{why}; no usable model there, {tier.value} is the nearest tier that has one."
