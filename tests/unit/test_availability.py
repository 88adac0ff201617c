"""What of the catalogue can be had now, with whose key, and why not; and the catalogue that a worker asks."""

import asyncio
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from domain.errors import Unavailable
from domain.model.availability import (
    ModelRecords,
    OperatorModels,
    PriceRule,
    effective,
    offers,
    pulled,
    unlisted,
)
from domain.model.catalogue import find_shipped, shipped
from domain.model.credential import Credential, CredentialKind
from domain.model.identity import DEFAULT_TENANT, TenantId, new_id, utc_now
from domain.model.model import Model, Tier, Unusable
from domain.model.prices import FREE, Prices, TokenCounts
from domain.model.routing import Offer, find_offer
from domain.services.catalogue import MOST_TENANTS, Catalogue

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NOTHING = ModelRecords([], [], {})
NOBODY = OperatorModels()
REFUSE = PriceRule()
ALL = OperatorModels(providers=frozenset({"openai"}), models=frozenset({"ollama_chat/qwen3"}))


def a_model(name: str = "openai/mine", **values: Any) -> Model:
    given = {"tier": Tier.STANDARD, "prompt_price": Decimal(1), "completion_price": Decimal(2), **values}
    return Model(DEFAULT_TENANT, name, **given)


def a_credential(
    kind: CredentialKind = CredentialKind.PROVIDER, subject: str = "openai", key: str = "key"
) -> Credential:
    return Credential(DEFAULT_TENANT, kind, subject, key.encode())


def offer_of(
    model: Model,
    operator: OperatorModels = NOBODY,
    rule: PriceRule = REFUSE,
    credentials: Sequence[Credential] = (),
    cooling: dict[tuple[str, str], datetime] | None = None,
) -> Offer:
    records = ModelRecords([], credentials, cooling or {})
    return offers([model], records, operator, rule, NOW, lambda it, _: it.ciphertext.decode())[0]


# ---------------------------------------------------------------- whose key


def test_the_operators_key_opens_the_models_of_its_provider() -> None:
    offer = offer_of(a_model(max_output_tokens=9), ALL)

    assert offer.is_usable
    assert offer.deployment
    assert (offer.deployment.credential, offer.deployment.api_key) == ("operator:openai", None)
    assert offer.deployment.max_output_tokens == 9


def test_a_tenants_key_comes_before_the_operators_and_a_models_before_its_providers() -> None:
    model = a_model()
    of_provider = a_credential(key="provider")
    of_model = a_credential(CredentialKind.MODEL, str(model.id), "model")

    by_provider = offer_of(model, ALL, credentials=[of_provider]).deployment
    by_model = offer_of(model, ALL, credentials=[of_provider, of_model]).deployment

    assert by_provider
    assert by_model
    assert (by_provider.api_key, by_provider.credential) == ("provider", f"{DEFAULT_TENANT}:{of_provider.id}")
    assert (by_model.api_key, by_model.credential) == ("model", f"{DEFAULT_TENANT}:{of_model.id}")
    assert "provider" not in repr(by_provider)


def test_without_any_key_a_model_cannot_be_used_and_the_reason_names_the_way_out() -> None:
    offer = offer_of(a_model(), OperatorModels(providers=frozenset({"anthropic"})))

    assert (offer.is_usable, offer.unusable, offer.deployment) == (False, Unusable.NO_KEY, None)
    assert offer.explanation == (
        "There is no key for openai: set one with setProviderKey, or in the environment of the workers."
    )


def test_a_server_of_the_tenants_own_gets_no_key_but_the_one_of_its_entry() -> None:
    model = a_model(base_url="https://models.example.org/v1")
    of_model = a_credential(CredentialKind.MODEL, str(model.id), "model")

    bare = offer_of(model, ALL, credentials=[a_credential()]).deployment
    keyed = offer_of(model, ALL, credentials=[a_credential(), of_model]).deployment

    assert bare
    assert keyed
    assert (bare.api_key, bare.credential) == (None, f"{DEFAULT_TENANT}:{model.id}")
    assert (keyed.api_key, keyed.credential) == ("model", f"{DEFAULT_TENANT}:{of_model.id}")
    assert bare.base_url == keyed.base_url == "https://models.example.org/v1"


def test_a_tools_credential_opens_no_model() -> None:
    model = a_model()

    assert offer_of(model, credentials=[a_credential(CredentialKind.TOOL, str(model.id))]).unusable is Unusable.NO_KEY


def test_simulated_models_can_always_be_used() -> None:
    assert offer_of(a_model("simulated/anything")).is_usable


def test_a_local_model_is_there_when_a_worker_says_so() -> None:
    def reason(operator: OperatorModels) -> tuple[Unusable | None, str]:
        offer = offer_of(a_model("ollama_chat/qwen3"), operator)
        return offer.unusable, offer.explanation

    assert reason(ALL) == (None, "")
    assert reason(NOBODY) == (
        Unusable.UNREACHABLE,
        "No Ollama server offers it: set OLLAMA_API_BASE for the workers, and pull the model there.",
    )
    assert reason(OperatorModels(is_local_silent=True)) == (
        Unusable.UNREACHABLE,
        "The Ollama server at OLLAMA_API_BASE does not answer.",
    )


# ---------------------------------------------------------------- prices, switches, cool-downs


def test_a_model_without_a_price_is_refused_or_booked_at_the_set_price() -> None:
    model = a_model(prompt_price=None, completion_price=None)

    refused = offer_of(model, ALL)
    booked = offer_of(model, ALL, PriceRule(Decimal(15)))

    assert (refused.unusable, refused.explanation) == (
        Unusable.NO_PRICE,
        "Its price is unknown: give its entry prices (not zero where the operator pays), or set REGATTA_UNKNOWN_PRICE.",
    )
    assert booked.deployment
    assert booked.deployment.prices == Prices.per_million(Decimal(15), Decimal(15))


@pytest.mark.parametrize("name", ["ollama/new", "ollama_chat/new", "simulated/new"])
def test_what_runs_on_the_operators_machine_is_free_without_a_price(name: str) -> None:
    model = a_model(name, prompt_price=None, completion_price=None)
    operator = OperatorModels(models=frozenset({name}))

    deployment = offer_of(model, operator, PriceRule(Decimal(15))).deployment

    assert deployment
    assert deployment.prices == FREE


def test_a_free_provider_is_free_only_at_the_operators_address() -> None:
    unpriced: dict[str, Any] = {"prompt_price": None, "completion_price": None}
    operator = OperatorModels(providers=frozenset({"openai"}), free_providers=frozenset({"openai"}))

    here = offer_of(a_model(**unpriced), operator).deployment
    elsewhere = offer_of(a_model(**unpriced, base_url="https://models.example.org/v1"), operator)

    assert here
    assert here.prices == FREE
    assert elsewhere.unusable is Unusable.NO_PRICE


def test_an_entry_that_is_switched_off_cannot_be_used() -> None:
    offer = offer_of(a_model(is_enabled=False), ALL)

    assert (offer.unusable, offer.explanation) == (Unusable.DISABLED, "It is switched off in the catalogue.")


def test_a_cool_down_counts_for_its_credential_and_model_until_it_ends() -> None:
    def unusable(credential: str, model: str, until: datetime) -> Unusable | None:
        return offer_of(a_model(), ALL, cooling={(credential, model): until}).unusable

    later = NOW + timedelta(seconds=1)
    assert unusable("operator:openai", "openai/mine", later) is Unusable.COOLING_DOWN
    assert unusable("operator:openai", "openai/mine", NOW) is None
    assert unusable("operator:openai", "openai/other", later) is None
    assert unusable(f"{DEFAULT_TENANT}:{new_id()}", "openai/mine", later) is None


def test_a_model_that_cools_down_says_until_when_and_keeps_its_way() -> None:
    offer = offer_of(a_model(), ALL, cooling={("operator:openai", "openai/mine"): NOW + timedelta(minutes=1)})

    assert offer.explanation == "Its provider was in trouble; until 12:01:00 UTC."
    assert offer.deployment
    assert not offer.is_usable


def booked(model: Model, operator: OperatorModels = ALL, rule: PriceRule = REFUSE, **more: Any) -> Prices | None:
    deployment = offer_of(model, operator, rule, **more).deployment
    return deployment.prices if deployment else None


def test_where_the_operator_pays_an_entry_is_never_cheaper_than_what_ships() -> None:
    base = find_shipped("openai/gpt-4o-mini")
    assert base
    assert base.prices
    free = a_model(base.name, prompt_price=Decimal(0), completion_price=Decimal(0))
    mixed = a_model(base.name, prompt_price=Decimal(90), completion_price=Decimal(0), cached_price=Decimal(0))
    unpriced = a_model(base.name, prompt_price=None, completion_price=None)
    million = Decimal(1_000_000)

    assert booked(free) == base.prices
    assert booked(unpriced, rule=PriceRule(Decimal("0.000001"))) == base.prices
    assert booked(unpriced) is None
    found = booked(mixed)
    assert found
    assert (found.prompt, found.completion) == (90 / million, base.prices.completion)
    assert found.cached == base.prices.cached > 0
    # Who pays himself, says himself what it costs.
    assert booked(free, credentials=[a_credential()]) == FREE
    assert booked(replace(free, base_url="https://models.example.org/v1")) == FREE


def test_where_the_operator_pays_zero_is_no_price_of_what_does_not_ship() -> None:
    free = a_model(prompt_price=Decimal(0), completion_price=Decimal(0))
    half = a_model(prompt_price=Decimal(0), completion_price=Decimal(2))

    for model in (free, half):
        assert offer_of(model, ALL).unusable is Unusable.NO_PRICE
        assert booked(model, rule=PriceRule(Decimal(15))) == Prices.per_million(Decimal(15), Decimal(15))
        assert offer_of(model, credentials=[a_credential()]).is_usable
    assert booked(a_model()) == Prices.per_million(Decimal(1), Decimal(2))
    assert booked(replace(free, name="ollama_chat/qwen3")) == FREE


def test_the_dearer_of_two_prices_holds_for_prompts_of_every_length() -> None:
    def prices(prompt: int, **above: int) -> Prices:
        tiers = {limit.removeprefix("at"): {"prompt": price} for limit, price in above.items()}
        return Prices.per_million(Decimal(prompt), Decimal(1), details={"above": tiers})

    one, other = prices(5, at100=6, at300=9), prices(4, at200=8)
    both = one.at_least(other)

    for tokens in (100, 101, 200, 201, 300, 301):
        counts = TokenCounts(prompt=tokens)
        assert both.cost(counts) == max(one.cost(counts), other.cost(counts)), tokens
    assert both == other.at_least(one)


# ---------------------------------------------------------------- the catalogue of a tenant


def test_a_tenants_entry_stands_in_the_place_of_the_shipped_one_unless_it_is_archived() -> None:
    own = a_model("openai/gpt-4o-mini")
    archived = a_model("openai/gpt-4o", archived_at=NOW)

    found = effective(shipped(), [own, archived, a_model()])

    names = [model.name for model in found]
    assert names == sorted({*(model.name for model in shipped()), "openai/mine"})
    assert found[names.index("openai/gpt-4o-mini")] is own
    assert found[names.index("openai/gpt-4o")].is_shipped


def test_what_ollama_has_pulled_beyond_the_catalogue_is_routed_to_last() -> None:
    operator = OperatorModels(
        models=frozenset({"ollama/own", "ollama_chat/own", "ollama_chat/own:latest", "ollama_chat/llama3.2"})
    )

    [own] = pulled(operator, effective(shipped(), []), DEFAULT_TENANT)

    assert (own.name, own.tier, own.supports_tools) == ("ollama_chat/own", Tier.LOCAL, False)
    assert own.routing_order is not None
    assert own.routing_order > max(model.routing_order or 0 for model in shipped())


def test_a_name_beyond_the_catalogue_has_no_price_and_the_tier_of_its_provider() -> None:
    assert (unlisted("ollama/new", DEFAULT_TENANT).tier, unlisted("xai/new", DEFAULT_TENANT).tier) == (
        Tier.LOCAL,
        Tier.STANDARD,
    )
    assert unlisted("xai/new", DEFAULT_TENANT).prices is None


class Stored:
    """What a catalogue asks, and how often; `records` may be an error."""

    def __init__(self, records: ModelRecords | Exception = NOTHING, operator: OperatorModels = ALL) -> None:
        self.answer = records
        self.operator_answer = operator
        self.asked: list[TenantId] = []

    async def records(self, tenant_id: TenantId) -> ModelRecords:
        self.asked.append(tenant_id)
        await asyncio.sleep(0)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def operator(self) -> OperatorModels:
        return self.operator_answer

    def catalogue(self, **options: Any) -> Catalogue:
        return Catalogue(self.records, self.operator, REFUSE, **{"vault": Safe(), **options})


class Safe:
    """A vault that opens what was locked for the right tenant and subject, and nothing else."""

    def __init__(self) -> None:
        self.opened = 0

    def lock(self, tenant_id: TenantId, subject: str, secret: str) -> bytes:
        return f"{tenant_id}|{subject}|{secret}".encode()

    def unlock(self, tenant_id: TenantId, subject: str, ciphertext: bytes) -> str:
        self.opened += 1
        prefix = f"{tenant_id}|{subject}|"
        if not ciphertext.decode().startswith(prefix):
            raise Unavailable("It does not open.")
        return ciphertext.decode().removeprefix(prefix)


def locked(vault: Safe, subject: str, secret: str, binding: str | None = None) -> Credential:
    binding = binding or f"PROVIDER:{subject}"
    return Credential(DEFAULT_TENANT, CredentialKind.PROVIDER, subject, vault.lock(DEFAULT_TENANT, binding, secret))


async def test_the_catalogue_opens_each_key_once_and_shows_it_to_nobody() -> None:
    vault = Safe()
    stored = Stored(ModelRecords([], [locked(vault, "openai", "sk-secret")], {}), NOBODY)
    catalogue = stored.catalogue(vault=vault)

    found = await catalogue.offers(DEFAULT_TENANT)

    keys = {offer.deployment.api_key for offer in found if offer.deployment and offer.model.provider == "openai"}
    assert keys == {"sk-secret"}
    assert vault.opened == 1
    assert "sk-secret" not in repr(found)
    assert "sk-secret" not in repr(vars(catalogue))


async def test_a_key_that_does_not_open_takes_out_its_own_models_and_no_others() -> None:
    vault = Safe()
    broken = locked(vault, "openai", "sk-1", binding="PROVIDER:anthropic")
    stored = Stored(ModelRecords([], [broken, locked(vault, "groq", "gsk-2")], {}))

    found = await stored.catalogue(vault=vault).offers(DEFAULT_TENANT)

    states = {offer.model.provider: (offer.unusable, offer.explanation) for offer in found}
    assert states["openai"] == (
        Unusable.NO_KEY,
        "Its key cannot be decrypted with this deployment's secret key: set it again.",
    )
    assert states["groq"] == (None, "")
    assert [offer for offer in found if offer.model.provider == "openai" and offer.deployment] == []


async def test_whoever_only_looks_learns_whether_keys_open_and_gets_none() -> None:
    vault = Safe()
    broken = locked(vault, "openai", "sk-1", binding="PROVIDER:anthropic")
    stored = Stored(ModelRecords([], [broken, locked(vault, "groq", "gsk-2")], {}), NOBODY)

    found = await stored.catalogue(vault=vault, looks=True).offers(DEFAULT_TENANT)

    assert {offer.deployment.api_key for offer in found if offer.deployment} == {None}
    assert {offer.model.provider for offer in found if offer.is_usable} == {"groq", "simulated"}
    assert {offer.explanation for offer in found if offer.model.provider == "openai"} == {
        "Its key cannot be decrypted with this deployment's secret key: set it again."
    }


async def test_a_named_model_beyond_the_catalogue_is_offered_too() -> None:
    stored = Stored(operator=OperatorModels(models=frozenset({"ollama/new"})))
    catalogue = stored.catalogue()

    async def named(name: str) -> Offer | None:
        return find_offer(await catalogue.offers(DEFAULT_TENANT, name), name)

    local, dear = await named("ollama/new"), await named("openai/gpt-99")
    assert local
    assert dear
    assert local.is_usable
    assert dear.unusable is Unusable.NO_PRICE
    assert dear.explanation == (
        "The catalogue has no model of this name: check it, make an entry with prices, or set REGATTA_UNKNOWN_PRICE."
    )
    for name in ("gpt-99", "bedrock/claude", "os.environ/SECRET", ""):
        assert await named(name) is None
    assert len(await catalogue.offers(DEFAULT_TENANT, "gpt-4o-mini")) == len(shipped())


async def test_what_is_edited_counts_at_once_and_else_nothing_is_made_anew() -> None:
    vault = Safe()
    own, key = a_model("openai/gpt-4o-mini"), locked(vault, "openai", "sk-1")
    stored = Stored(ModelRecords([own], [key], {}), NOBODY)
    catalogue = stored.catalogue(vault=vault)

    first = await catalogue.offers(DEFAULT_TENANT)
    stored.answer = deepcopy(stored.answer)  # as a reader makes it of the same rows
    again = await catalogue.offers(DEFAULT_TENANT)

    assert again is first
    assert (len(stored.asked), vault.opened) == (2, 1)

    later = {("operator:openai", "x"): utc_now()}
    for answer in (
        ModelRecords([replace(own, prompt_price=Decimal(9), version=2)], [key], {}),
        ModelRecords([own], [replace(key, ciphertext=vault.lock(DEFAULT_TENANT, key.binding, "sk-2"))], {}),
        ModelRecords([own], [key], later),
        ModelRecords([own], [key], {}),
    ):
        stored.answer = answer
        found = await catalogue.offers(DEFAULT_TENANT)
        assert found is not first
        first = found
    stored.operator_answer = ALL
    assert await catalogue.offers(DEFAULT_TENANT) is not first


async def test_a_cool_down_ends_when_it_is_no_longer_told_of() -> None:
    until = utc_now() + timedelta(minutes=5)
    stored = Stored(ModelRecords([], [], {("operator:openai", "openai/gpt-4o-mini"): until}))
    catalogue = stored.catalogue()

    async def unusable() -> Unusable | None:
        offer = find_offer(await catalogue.offers(DEFAULT_TENANT), "openai/gpt-4o-mini")
        assert offer
        return offer.unusable

    assert await unusable() is Unusable.COOLING_DOWN
    stored.answer = NOTHING
    assert await unusable() is None


async def test_a_failure_is_told_and_the_next_one_asks_again() -> None:
    stored = Stored(Unavailable("The database does not answer."))
    catalogue = stored.catalogue()

    with pytest.raises(Unavailable):
        await catalogue.offers(DEFAULT_TENANT)
    stored.answer = NOTHING

    assert len(await catalogue.offers(DEFAULT_TENANT)) == len(shipped())


async def test_tenants_have_catalogues_of_their_own_and_only_so_many_are_kept() -> None:
    own = a_model("openai/mine")
    stored = Stored(ModelRecords([own], [], {}))
    catalogue = stored.catalogue()
    first = await catalogue.offers(DEFAULT_TENANT)
    stored.answer = NOTHING

    for _ in range(MOST_TENANTS):
        other = await catalogue.offers(TenantId(new_id()))
        assert find_offer(other, "openai/mine") is None
    stored.answer = ModelRecords([own], [], {})

    again = await catalogue.offers(DEFAULT_TENANT)
    assert again == first
    assert again is not first


async def test_a_cool_down_of_the_operators_key_reaches_the_offers() -> None:
    cooling = {("operator:openai", "openai/gpt-4o-mini"): utc_now() + timedelta(minutes=5)}
    found = await Stored(ModelRecords([], [], cooling)).catalogue().offers(DEFAULT_TENANT)

    cooled = [offer.model.name for offer in found if offer.unusable is Unusable.COOLING_DOWN]
    assert cooled == ["openai/gpt-4o-mini"]
    assert find_shipped("openai/gpt-4o-mini")


OWN_SERVER = "https://models.example.org/v1"


@pytest.mark.parametrize(
    ("records", "operator", "is_routed"),
    [
        (ModelRecords([], [], {}), NOBODY, True),
        (ModelRecords([], [], {}), OperatorModels(providers=frozenset({"openai"})), False),
        (ModelRecords([], [], {}), OperatorModels(is_local_silent=True), False),
        (ModelRecords([a_model(base_url=OWN_SERVER, routing_order=1)], [], {}), NOBODY, False),
        (ModelRecords([a_model(base_url=OWN_SERVER)], [], {}), NOBODY, True),
    ],
)
def test_simulated_models_are_routed_to_only_where_nobody_gave_access_to_a_real_one(
    records: ModelRecords, operator: OperatorModels, is_routed: bool
) -> None:
    found = offers(effective(shipped(), records.entries), records, operator, REFUSE, NOW)

    simulated = [offer for offer in found if offer.model.provider == "simulated"]
    assert all(offer.is_usable for offer in simulated)  # where somebody names one
    assert {offer.model.routing_order is not None for offer in simulated} == {is_routed}
