"""What of the catalogue can be had now: a tenant's entries over the shipped ones, with whose key, or why not."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from domain.model.credential import Credential, CredentialKind
from domain.model.identity import TenantId
from domain.model.model import Model, Tier, Unusable
from domain.model.model_names import SIMULATED, prefix_of
from domain.model.prices import FREE, Prices
from domain.model.routing import Deployment, Offer

OPERATOR: Final = "operator"
LOCAL_PROVIDERS: Final = frozenset({"ollama", "ollama_chat"})
FREE_PROVIDERS: Final = LOCAL_PROVIDERS | {SIMULATED}
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
    """Every model as it can be had at `now`. `key_of` opens a credential; whoever only looks leaves it closed."""
    owned = {(credential.kind, credential.subject): credential for credential in records.credentials}
    return [_offer(model, owned, records.cooling, operator, rule, now, key_of) for model in models]


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
    prices = rule.prices_of(model, operator)
    if prices is None:
        return Offer(model, None, Unusable.NO_PRICE, "Its price is not known: give its entry prices.")
    credential = owned.get((CredentialKind.MODEL, str(model.id)))
    if credential is None and not model.base_url:  # a provider's key is not for servers of other people
        credential = owned.get((CredentialKind.PROVIDER, model.provider))
    if credential is None and not model.base_url:
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
