"""Prices as the map that ships with LiteLLM has them; what they amount to is `domain.model.prices`.

Prices are dollars per token in https://github.com/BerriAI/litellm/blob/main/model_prices_and_context_window.json.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

import litellm

from domain.model.prices import ZERO, Prices

_TIER: Final = re.compile(r"input_cost_per_token_above_(\d+)k_tokens")


def find_prices(model: str, provider: str) -> Prices | None:
    """The prices of the model at this provider, None when none are known."""
    entry = find_entry(model, provider)
    if entry is None or entry.get("input_cost_per_token") is None or entry.get("output_cost_per_token") is None:
        return None
    return _parse(tuple((name, price) for name, price in entry.items() if _is_price(name, price)))


def find_entry(model: str, provider: str) -> Mapping[str, Any] | None:
    """What the map says of the model at this provider, None when it says nothing."""
    known: Mapping[str, Mapping[str, Any]] = litellm.model_cost
    if model in known:
        return known[model]
    # "openai/gpt-4o" stands under "gpt-4o"; take that only when it is this provider's model of the name.
    entry = known.get(model.removeprefix(f"{provider}/"))
    if entry is not None and str(entry.get("litellm_provider", "")).startswith(provider):
        return entry
    return None


def _is_price(name: str, price: Any) -> bool:
    return "_token" in name and isinstance(price, int | float) and not isinstance(price, bool)


@lru_cache(maxsize=1024)
def _parse(items: tuple[tuple[str, float], ...]) -> Prices:
    prices = {name: Decimal(str(price)) for name, price in items}
    limits = sorted((int(found[1]) for name in prices if (found := _TIER.fullmatch(name))), reverse=True)
    above = tuple((limit * 1000, _tier(prices, f"_above_{limit}k_tokens")) for limit in limits)
    plain = _tier(prices, "")
    return Prices(plain.prompt, plain.completion, plain.cached, plain.written, plain.reasoning, above)


def _tier(prices: Mapping[str, Decimal], suffix: str) -> Prices:
    def price(name: str, otherwise: Decimal | None = None) -> Decimal:
        found = prices.get(f"{name}{suffix}", prices.get(name, otherwise))
        return ZERO if found is None else found

    prompt, completion = price("input_cost_per_token"), price("output_cost_per_token")
    return Prices(
        prompt,
        completion,
        price("cache_read_input_token_cost", prompt),
        price("cache_creation_input_token_cost", prompt),
        price("output_cost_per_reasoning_token", completion),
    )
