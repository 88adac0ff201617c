"""Models, offers and routes as builders with defaults, for tests that need a worker's route and no catalogue."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from domain.model.identity import DEFAULT_TENANT, TenantId
from domain.model.model import Model, Tier
from domain.model.prices import FREE, Prices
from domain.model.routing import Choice, Demand, Deployment, Offer, QualityPreference, Route
from domain.ports import Reservation, Ruling, Verdict

MODEL = "openai/gpt-4o-mini"
PRICES = Prices.per_million(Decimal("0.15"), Decimal("0.60"), Decimal("0.075"))
"""Those of `MODEL`."""


def a_model(name: str = MODEL, **fields: Any) -> Model:
    """An entry that can be routed to; the prices are those of `MODEL`, or none at all."""
    shown: dict[str, Any] = {"tier": Tier.STANDARD, "routing_order": 0}
    if name == MODEL:
        shown |= {
            "prompt_price": Decimal("0.15"),
            "completion_price": Decimal("0.60"),
            "cached_price": Decimal("0.075"),
            "context_window": 128_000,
            "max_output_tokens": 16_384,
            "supports_json": True,
        }
    return Model(DEFAULT_TENANT, name, **{**shown, **fields})


def a_deployment(prices: Prices | None = None, **fields: Any) -> Deployment:
    """The key of the environment at LiteLLM's address; prices of `MODEL`."""
    return Deployment(**{"credential": "test", "prices": PRICES if prices is None else prices, **fields})


def an_offer(model: Model | str = MODEL, deployment: Deployment | None = None) -> Offer:
    """A usable offer; without a deployment it takes the model's own prices, or is free."""
    entry = a_model(model) if isinstance(model, str) else model
    return Offer(entry, deployment or a_deployment(entry.prices or FREE, max_output_tokens=entry.max_output_tokens))


def a_route(
    *models: Model | Offer | str,
    preference: QualityPreference = QualityPreference.BALANCED,
    is_pinned: bool = False,
    **demand: Any,
) -> Route:
    """The models in this order, `MODEL` alone without any; pinned to the first when told so."""
    offers = [model if isinstance(model, Offer) else an_offer(model) for model in models or (MODEL,)]
    pinned = offers[0].model.name if is_pinned else None
    wanted = Demand(preference, **{"pinned": pinned, **demand})
    reason = "The role names it." if is_pinned else "It comes first."
    return Route(wanted, tuple(Choice(offer, reason) for offer in offers))


class FakeCatalogue:
    """The ModelCatalogue port: these offers, and whatever else somebody names, free; `failures` are raised first."""

    def __init__(self, *offers: Offer, failures: Sequence[Exception] = ()) -> None:
        self.known = list(offers)
        self.failures = list(failures)

    async def offers(self, tenant_id: TenantId, named: str | None = None) -> Sequence[Offer]:
        del tenant_id
        if self.failures:
            raise self.failures.pop(0)
        known = any(offer.model.name == named for offer in self.known)
        return self.known if named is None or known else [*self.known, an_offer(named)]


class EndlessBudgets:
    """The CallBudgets port where money is no object; keeps what was asked."""

    def __init__(self) -> None:
        self.asked: list[Reservation] = []

    async def reserve(self, reservation: Reservation) -> Ruling:
        self.asked.append(reservation)
        return Ruling(Verdict.GRANTED)

    async def release(self, reservation: Reservation) -> None: ...

    async def cool_down(self, credential: str, model: str, seconds: float, reason: str) -> None: ...
