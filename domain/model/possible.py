"""Constraints that no team can keep to, as far as that is known before one is composed."""

from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal
from typing import Final

from domain.errors import RunFailed
from domain.model.composition_prompt import most_answer_tokens
from domain.model.generation import Constraints
from domain.model.prices import TokenCounts
from domain.model.routing import Choice, ComplexityFactor, Demand, Offer, QualityPreference, Route, route
from domain.model.rules import Rules

LEAST_CALL: Final = TokenCounts(prompt=100, completion=10)
"""No call of a role is smaller: who it is and what it is to do have to be said, and something is answered."""

LEAST_COMPOSING: Final = 1_000
"""Tokens that a model is asked to compose with at least: the rules of its answer, and the schema."""

_FACTORS: Final = tuple(ComplexityFactor)


def refuse_unknown_tools(rules: Rules, constraints: Constraints, known: Collection[str], *path: str) -> None:
    """Every tool that is named is one of the project's."""
    for place, name in enumerate(constraints.tools or ()):
        rules.require(name in known, f"The project has no tool “{name[:100]}”.", *path, "tools", str(place))


def known_domain(name: str, known: Iterable[str]) -> str | None:
    """The domain as it is spelt where it is known; None for an unknown one."""
    return next((each for each in sorted(known) if each.casefold() == name.strip().casefold()), None)


def refuse_unknown_domain(rules: Rules, constraints: Constraints, known: Iterable[str], *path: str) -> None:
    """The domain is one that the skill catalogue or a template knows."""
    if constraints.domain is not None and known_domain(constraints.domain, known) is None:
        message = f"Nothing is known of this domain; known ones: {', '.join(sorted(known))}."
        rules.refuse(message, *path, "domain")


def refuse_small_budget(
    rules: Rules, constraints: Constraints, offers: Sequence[Offer], default_model: str | None, *path: str
) -> None:
    """The budget of an execution pays at least one call of the model that its simplest task would be given.

    Nothing is said where no model can be used now. `default_model` is the deployment's, None where it routes.
    """
    routes = _routes(offers, constraints.quality_preference, default_model)
    firsts = [found.first for found in routes]
    if constraints.budget is None or not firsts:
        return
    cheapest = min(firsts, key=_least_cost)
    least = _least_cost(cheapest)
    if least > constraints.budget:
        message = (
            f"The budget and the quality preference are in conflict: {constraints.quality_preference.value} leads to"
            f" {cheapest.model.name}, of which even a single call costs about {_dollars(least)}."
        )
        rules.refuse(message, *path, "budget")


def refuse_unpaid_composing(
    rules: Rules, max_budget: Decimal | None, constraints: Constraints, offers: Sequence[Offer], default: str | None
) -> None:
    """Where rules may not compose, the generation's own budget pays at least one call of some model."""
    routes = _routes(offers, constraints.quality_preference, default)
    choices = [choice for found in routes for choice in found.choices]
    if max_budget is None or not choices:
        return
    answer = most_answer_tokens(constraints)
    least = min(choice.deployment.prices.worst(LEAST_COMPOSING, answer) for choice in choices)
    if least > max_budget:
        message = "The generation's own budget and the fallback OFF are in conflict: for a call at least"
        rules.refuse(f"{message} {_dollars(least)} has to be kept back.", "maxBudget")


def _routes(offers: Sequence[Offer], preference: QualityPreference, default_model: str | None) -> list[Route]:
    """Where work of each complexity would go; empty when nowhere."""
    wanted = [Demand(preference, _FACTORS[:count], default_model) for count in (0, 2, 3)]
    try:
        return [route(offers, demand) for demand in wanted]
    except RunFailed:
        return []


def _least_cost(choice: Choice) -> Decimal:
    return choice.deployment.prices.cost(LEAST_CALL)


def _dollars(amount: Decimal) -> str:
    return f"${amount.normalize():f}"
