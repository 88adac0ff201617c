"""What of the catalogue can be had now: a tenant's entries over the shipped ones, with whose key, or why not."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Final

from domain.model.catalogue import find_shipped
from domain.model.credential import Credential, CredentialKind
from domain.model.identity import TenantId
from domain.model.model import Model, Tier, Unusable
from domain.model.model_names import SIMULATED, prefix_of
from domain.model.prices import FREE, Prices
from domain.model.routing import Deployment, Offer

OPERATOR: Final = "operator"
LOCAL_PROVIDERS: Final = frozenset({"ollama", "ollama_chat"})
FREE_PROVIDERS: Final = LOCAL_PROVIDERS | {SIMULATED}
NO_ENTRY: Final = (
    "The catalogue has no model of this name: check it, make an entry with prices, or set REGATTA_UNKNOWN_PRICE."
)
"""Of a model that somebody names, whose price is not known."""

_NO_PRICE: Final = (
    "Its price is unknown: give its entry prices (not zero where the operator pays), or set REGATTA_UNKNOWN_PRICE."
)
_PULLED, _LATEST, _LAST = "ollama_chat/", ":latest", 1_000_000


@dataclass(frozen=True, slots=True)
class OperatorModels:
    """What the operator's environment gives access to: whole providers, and single local models by name.

    `free_providers` lead to a machine of the operator's, where a model without a known price costs nothing.
    `is_local_silent` when a local server is configured and does not answer.
    """

    providers: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    free_providers: frozenset[str] = frozenset()
    is_local_silent: bool = False


@dataclass(frozen=True, slots=True)
class ModelRecords:
    """What is stored of a tenant's models: own entries in use, credentials, and who cools down until when."""

    entries: Sequence[Model]
    credentials: Sequence[Credential]
    cooling: Mapping[tuple[str, str], datetime]
    """By credential and model."""


@dataclass(frozen=True, slots=True)
class PriceRule:
    """What a model without a known price is booked at, dollars per million tokens; None: it is refused."""

    per_million: Decimal | None = None

    def prices_of(self, model: Model, operator: OperatorModels) -> Prices | None:
        """The prices to book at; None when the model must not be called."""
        if model.prices is not None:
            return model.prices
        # By the provider, never by the tier: that is the tenant's to choose, and the key may be the operator's.
        if not model.base_url and model.provider in FREE_PROVIDERS | operator.free_providers:
            return FREE
        return None if self.per_million is None else Prices.per_million(self.per_million, self.per_million)


def effective(shipped: Iterable[Model], entries: Iterable[Model]) -> list[Model]:
    """The catalogue of a tenant, by name: its own entries in place of the shipped ones, which all tenants share."""
    found = {model.name: model for model in shipped}
    found |= {model.name: model for model in entries if model.archived_at is None}
    return sorted(found.values(), key=lambda model: model.name)


def pulled(operator: OperatorModels, known: Iterable[Model], tenant_id: TenantId) -> list[Model]:
    """Entries for what the operator's Ollama offers and the catalogue does not have; they are routed to last."""
    names = {model.name for model in known}
    wanted = (name for name in operator.models if name.startswith(_PULLED) and not name.endswith(_LATEST))
    return [
        Model(tenant_id, name, Tier.LOCAL, routing_order=_LAST, supports_tools=False)
        for name in sorted(wanted)
        if name not in names
    ]


def unlisted(name: str, tenant_id: TenantId) -> Model:
    """An entry for a model that somebody names and the catalogue does not have: its price is not known."""
    provider = prefix_of(name) or ""
    return Model(tenant_id, name, Tier.LOCAL if provider in FREE_PROVIDERS else Tier.STANDARD)


KeyOf = Callable[[Credential, Model], str | None]
"""Opens a credential for a model; None where it does not open."""


def offers(
    models: Iterable[Model],
    records: ModelRecords,
    operator: OperatorModels,
    rule: PriceRule,
    now: datetime,
    key_of: KeyOf = lambda *_: None,
) -> list[Offer]:
    """Every model as it can be had at `now`. `key_of` opens a credential; whoever only looks leaves it closed.

    Whoever has to pay is asked for the price: see `_prices`.
    """
    owned = {(credential.kind, credential.subject): credential for credential in records.credentials}
    shown = models if _is_bare(records, operator) else map(_named_only, models)
    return [_offer(model, owned, records.cooling, operator, rule, now, key_of) for model in shown]


def _is_bare(records: ModelRecords, operator: OperatorModels) -> bool:
    """Whether nobody ever gave access to a real model: then work is routed to simulated ones.

    Not where a real one is merely in trouble: a made-up answer must not pass for a real one.
    """
    is_operators = operator.providers or operator.models or operator.is_local_silent
    has_key = any(credential.kind is CredentialKind.PROVIDER for credential in records.credentials)
    own = (entry for entry in records.entries if entry.base_url and entry.routing_order is not None)
    return not (is_operators or has_key or any(own))


def _named_only(model: Model) -> Model:
    """The model as beside real ones: a simulated one is used only where it is named."""
    return replace(model, routing_order=None) if model.provider == SIMULATED else model


def _offer(
    model: Model,
    owned: Mapping[tuple[CredentialKind, str], Credential],
    cooling: Mapping[tuple[str, str], datetime],
    operator: OperatorModels,
    rule: PriceRule,
    now: datetime,
    key_of: KeyOf,
) -> Offer:
    if not model.is_enabled:
        return Offer(model, None, Unusable.DISABLED, "It is switched off in the catalogue.")
    credential = owned.get((CredentialKind.MODEL, str(model.id)))
    if credential is None and not model.base_url:  # a provider's key is not for servers of other people
        credential = owned.get((CredentialKind.PROVIDER, model.provider))
    is_operators = credential is None and not model.base_url
    prices = _prices(model, operator, rule, is_operators=is_operators)
    if prices is None:
        return Offer(model, None, Unusable.NO_PRICE, _NO_PRICE)
    if is_operators:
        missing = _missing(model, operator)
        if missing is not None:
            return missing
    whose = _whose(model, credential)
    key = key_of(credential, model) if credential else None
    limit, json = model.max_output_tokens, model.supports_json
    deployment = Deployment(whose, prices, key, model.base_url, limit, json)
    until = cooling.get((whose, model.name))
    if until is not None and until > now:
        return Offer(
            model, deployment, Unusable.COOLING_DOWN, f"Its provider was in trouble; until {until:%H:%M:%S} UTC."
        )
    return Offer(model, deployment)


def _prices(model: Model, operator: OperatorModels, rule: PriceRule, *, is_operators: bool) -> Prices | None:
    """The prices to book at. Where the operator pays, a tenant's entry makes nothing cheaper than it ships.

    What does not ship has there the price of its entry, which is unknown where one of them is zero.
    """
    if model.is_shipped or not is_operators:
        return rule.prices_of(model, operator)
    base = find_shipped(model.name)
    if base is None and not (model.prompt_price and model.completion_price):
        model = replace(model, prompt_price=None, completion_price=None)
    prices = rule.prices_of(model, operator)
    return prices.at_least(base.prices) if prices and base and base.prices else prices


def _missing(model: Model, operator: OperatorModels) -> Offer | None:
    """Why the operator's environment does not give access to the model; None when it does."""
    provider = model.provider
    if provider == SIMULATED or provider in operator.providers or model.name in operator.models:
        return None
    if provider in LOCAL_PROVIDERS:
        return Offer(model, None, Unusable.UNREACHABLE, _local(operator))
    reason = f"There is no key for {provider}: set one with setProviderKey, or in the environment of the workers."
    return Offer(model, None, Unusable.NO_KEY, reason)


def _local(operator: OperatorModels) -> str:
    if operator.is_local_silent:
        return "The Ollama server at OLLAMA_API_BASE does not answer."
    return "No Ollama server offers it: set OLLAMA_API_BASE for the workers, and pull the model there."


def _whose(model: Model, credential: Credential | None) -> str:
    """The name under which limits and cool-downs are kept: never that of another tenant's key or server."""
    if credential is not None:
        return f"{credential.tenant_id}:{credential.id}"
    return f"{model.tenant_id}:{model.id}" if model.base_url else f"{OPERATOR}:{model.provider}"
