"""The models that ship: what the script makes of the installed LiteLLM's price map, and what is read of it."""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from domain.model.catalogue import (
    SOURCE,
    find_shipped,
    find_shipped_by_id,
    of_tenant,
    own_entry,
    shipped,
    shipped_id,
    with_own_prices,
)
from domain.model.identity import DEFAULT_TENANT, TenantId, new_id
from domain.model.model import Model, Tier
from domain.model.model_names import PROVIDERS, prefix_of
from domain.model.prices import TokenCounts
from scripts.catalogue import OLLAMA, PREMIUM_FROM, ROUTED, SIMULATED_MODELS, catalogue, models, price_map

DOCUMENT = json.loads(SOURCE.read_text("utf-8"))
DAY = date.fromisoformat(DOCUMENT["date"])
MAP = price_map()
MILLION = Decimal(1_000_000)
SEEDED = ("openai", "anthropic", "gemini", "mistral", "deepseek", "groq", "ollama")


def _entry(name: str) -> Any:
    return MAP.get(name) or MAP.get(name.partition("/")[2])


def test_the_file_is_what_the_script_makes_of_the_installed_price_map() -> None:
    assert SOURCE.read_text("utf-8") == catalogue(DAY), "run `make catalogue` and read its diff"


def test_the_file_is_small_and_has_a_line_for_each_model() -> None:
    text = SOURCE.read_text("utf-8")

    assert len(text) < 250_000
    assert text.count("\n") == len(shipped()) + 2


def test_every_price_is_exactly_the_maps() -> None:
    made_by_hand = {f"{provider}/{name}" for name in OLLAMA for provider in ("ollama", "ollama_chat")}
    made_by_hand |= {f"simulated/{name}" for name in SIMULATED_MODELS}

    for model in shipped():
        if model.name in made_by_hand:
            assert model.prompt_price == model.completion_price == 0
            continue
        entry = _entry(model.name)
        assert model.prompt_price == entry["input_cost_per_token"] * MILLION, model.name
        assert model.completion_price == entry["output_cost_per_token"] * MILLION, model.name
        assert (model.cached_price or 0) == entry.get("cache_read_input_token_cost", 0) * MILLION, model.name
        written = model.price_details.get("written", 0)
        assert Decimal(written) == entry.get("cache_creation_input_token_cost", 0) * MILLION, model.name
        limits = {int(limit) for limit in model.price_details.get("above", {})}
        assert limits == {
            int(key.removeprefix("input_cost_per_token_above_").removesuffix("k_tokens")) * 1000
            for key in entry
            if key.startswith("input_cost_per_token_above_") and key.endswith("k_tokens")
        }, model.name


def test_longer_prompts_and_cached_tokens_cost_what_the_map_says() -> None:
    entry, model = MAP["gemini/gemini-2.5-pro"], find_shipped("gemini/gemini-2.5-pro")
    assert model
    assert model.prices

    short = model.prices.cost(TokenCounts(prompt=200_000, completion=10, cached=100_000))
    long = model.prices.cost(TokenCounts(prompt=200_001, completion=10, cached=100_000))

    assert short == (
        100_000 * entry["input_cost_per_token"]
        + 100_000 * entry["cache_read_input_token_cost"]
        + 10 * entry["output_cost_per_token"]
    )
    assert long == (
        100_001 * entry["input_cost_per_token_above_200k_tokens"]
        + 100_000 * entry["cache_read_input_token_cost_above_200k_tokens"]
        + 10 * entry["output_cost_per_token_above_200k_tokens"]
    )


def test_tokens_written_to_a_cache_cost_what_the_map_says() -> None:
    entry, model = MAP["claude-haiku-4-5"], find_shipped("anthropic/claude-haiku-4-5")
    assert model
    assert model.prices

    cost = model.prices.cost(TokenCounts(prompt=1000, completion=0, written=1000))

    assert cost == 1000 * entry["cache_creation_input_token_cost"] > 1000 * entry["input_cost_per_token"]


def test_every_entry_holds_the_rules_and_belongs_to_an_allowed_provider() -> None:
    for model in shipped():
        model.check()
        assert model.provider in PROVIDERS
        assert model.prices is not None
        assert model.is_shipped
        assert model.is_enabled
        assert model.created_at == datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC)


def test_nothing_but_what_costs_nothing_is_free() -> None:
    free = {model.provider for model in shipped() if not (model.prompt_price and model.completion_price)}

    assert free == {"ollama", "ollama_chat", "simulated"}


def test_every_named_provider_has_entries_and_some_that_are_routed_to() -> None:
    known = {model.provider for model in shipped()}
    routed = {model.provider.removesuffix("_chat") for model in shipped() if model.routing_order is not None}

    assert known.issuperset(SEEDED)
    assert routed == {*SEEDED, "simulated"}


def test_each_provider_is_routed_to_in_every_tier_where_a_general_model_of_it_stands() -> None:
    tiers = {
        provider: {m.tier.value for m in shipped() if m.provider == provider and m.routing_order is not None}
        for provider in ("openai", "anthropic", "gemini", "mistral", "deepseek", "groq", "ollama_chat", "simulated")
    }

    assert tiers == {
        **{provider: {"STANDARD", "PREMIUM"} for provider in ("openai", "anthropic", "gemini")},
        **{provider: {"STANDARD"} for provider in ("mistral", "deepseek", "groq")},
        "ollama_chat": {"LOCAL"},
        "simulated": {"LOCAL", "STANDARD", "PREMIUM"},
    }
    assert not [m.name for m in shipped() if m.provider in {"mistral", "deepseek", "groq"} and m.tier is Tier.PREMIUM]


def test_the_order_within_a_tier_is_never_a_tie() -> None:
    places = [(m.tier, m.routing_order) for m in shipped() if m.routing_order is not None]

    assert len(set(places)) == len(places)


def test_the_tier_follows_from_where_it_runs_and_what_writing_costs() -> None:
    for model in shipped():
        if model.provider == "simulated":
            continue
        assert model.completion_price is not None
        is_local = model.provider in {"ollama", "ollama_chat"}
        dear = Tier.PREMIUM if model.completion_price >= PREMIUM_FROM else Tier.STANDARD
        assert model.tier is (Tier.LOCAL if is_local else dear), model.name


@pytest.mark.parametrize(
    "part", ["ft:", "audio", "tts", "robotics", "computer-use", "search", "research", "guard", "image", "sonar"]
)
def test_other_kinds_of_models_are_left_out(part: str) -> None:
    assert [model.name for model in shipped() if part in model.name] == []


def test_what_was_withdrawn_before_the_day_is_left_out() -> None:
    name, entry = "gpt-4o-mini", MAP["gpt-4o-mini"]
    known = {**MAP, name: {**entry, "deprecation_date": "2026-11-21"}}

    def offered(day: str) -> bool:
        # Nothing that is routed to may go: it is curated anew then.
        try:
            return any(model["name"] == f"openai/{name}" for model in models(known, date.fromisoformat(day)))
        except SystemExit as refused:
            assert f"openai/{name}" in str(refused)  # noqa: PT017 - it says which
            return False

    assert (offered("2026-11-20"), offered("2026-11-21"), offered("2026-11-22")) == (True, True, False)


def test_a_curated_name_that_the_map_lost_fails_loudly() -> None:
    lost = next(iter(ROUTED))
    known = {name: entry for name, entry in MAP.items() if name not in {lost, lost.partition("/")[2]}}

    with pytest.raises(SystemExit, match=lost):
        models(known, DAY)


def test_names_and_ids_are_unique_and_ids_follow_from_names() -> None:
    assert [model.name for model in shipped()] == sorted({model.name for model in shipped()})
    for model in shipped():
        assert prefix_of(model.name)
        assert model.id == shipped_id(model.name)
        assert find_shipped(model.name) is find_shipped_by_id(model.id) is model


def test_an_id_stays_the_same_from_release_to_release() -> None:
    assert str(shipped_id("openai/gpt-4o-mini")) == "44646c7c-78b6-5a37-af88-6b4a6bc234ad"


def test_the_catalogue_is_read_without_litellm() -> None:
    program = (
        "import sys; from domain.services.catalogue import shipped; assert len(shipped()) > 300;"
        " print([name for name in sys.modules if name.split('.')[0] in ('litellm', 'crewai', 'openai')])"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603

    assert done.stdout.strip() == "[]"


# ---------------------------------------------------------------- entries of a tenant


def test_an_entry_of_a_shipped_name_takes_over_what_is_left_out() -> None:
    tenant_id = TenantId(new_id())
    base = find_shipped("anthropic/claude-haiku-5-5")
    assert base

    made = own_entry(tenant_id, base.name, {"requests_per_minute": 5})

    assert made
    assert not made.is_shipped
    assert (made.version, made.tenant_id, made.requests_per_minute) == (1, tenant_id, 5)
    assert made == replace(
        base,
        tenant_id=tenant_id,
        requests_per_minute=5,
        id=made.id,
        version=1,
        created_at=made.created_at,
        updated_at=made.updated_at,
    )
    assert made.id != base.id


def test_prices_of_ones_own_take_the_finer_shipped_ones_out_of_force() -> None:
    base = find_shipped("anthropic/claude-haiku-5-5")
    assert base
    assert base.price_details

    dear = own_entry(DEFAULT_TENANT, base.name, {"prompt_price": Decimal(9)})

    assert dear
    assert (dear.prompt_price, dear.completion_price) == (Decimal(9), base.completion_price)
    assert dear.price_details == {}
    assert dear.cached_price is None
    assert dear.prices
    assert dear.prices.cost(TokenCounts(prompt=10, cached=10)) == Decimal("0.00009")  # as any that it reads
    given = own_entry(DEFAULT_TENANT, base.name, {"prompt_price": Decimal(9), "cached_price": Decimal(3)})
    assert given
    assert given.cached_price == 3
    spoken = own_entry(DEFAULT_TENANT, base.name, {"completion_price": Decimal(9)})
    assert spoken
    assert spoken.cached_price == base.cached_price
    assert with_own_prices({"cached_price": Decimal(1)}) == {"cached_price": Decimal(1)}


def test_a_name_that_does_not_ship_needs_a_tier() -> None:
    assert own_entry(DEFAULT_TENANT, "openai/mine", {}) is None
    made = own_entry(DEFAULT_TENANT, "openai/mine", {"tier": Tier.LOCAL})

    assert made
    assert made == Model(
        DEFAULT_TENANT,
        "openai/mine",
        Tier.LOCAL,
        id=made.id,
        created_at=made.created_at,
        updated_at=made.updated_at,
    )


def test_a_tenant_sees_a_shipped_entry_as_its_own() -> None:
    tenant_id = TenantId(new_id())

    assert of_tenant(shipped()[0], tenant_id) == replace(shipped()[0], tenant_id=tenant_id)
