"""What a model call costs: exact sums from the price map that ships with LiteLLM, never a float, never a guess.

Prices are dollars per token in https://github.com/BerriAI/litellm/blob/main/model_prices_and_context_window.json.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

import litellm

_TIER: Final = re.compile(r"input_cost_per_token_above_(\d+)k_tokens")
ZERO: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of one call; `cached` and `written` (to the provider's cache) are parts of `prompt`."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    written: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class Prices:
    """Dollars per token; `above` holds the prices of longer prompts, by the tokens they begin behind."""

    prompt: Decimal
    completion: Decimal
    cached: Decimal
    written: Decimal
    reasoning: Decimal
    above: tuple[tuple[int, "Prices"], ...] = ()

    def cost(self, counts: TokenCounts) -> Decimal:
        """The exact cost in dollars."""
        for limit, prices in self.above:
            if counts.prompt > limit:
                return prices.cost(counts)
        fresh = max(counts.prompt - counts.cached - counts.written, 0)
        spoken = max(counts.completion - counts.reasoning, 0)
        return (
            fresh * self.prompt
            + counts.cached * self.cached
            + counts.written * self.written
            + spoken * self.completion
            + counts.reasoning * self.reasoning
        )


FREE: Final = Prices(ZERO, ZERO, ZERO, ZERO, ZERO)


def find_prices(model: str, provider: str) -> Prices | None:
    """The prices of the model at this provider, None when none are known."""
    entry = _entry(model, provider)
    if entry is None or entry.get("input_cost_per_token") is None or entry.get("output_cost_per_token") is None:
        return None
    return _parse(tuple((name, price) for name, price in entry.items() if _is_price(name, price)))


def _is_price(name: str, price: Any) -> bool:
    return "_token" in name and isinstance(price, int | float) and not isinstance(price, bool)


def _entry(model: str, provider: str) -> Mapping[str, Any] | None:
    known: Mapping[str, Mapping[str, Any]] = litellm.model_cost
    if model in known:
        return known[model]
    # "openai/gpt-4o" stands under "gpt-4o"; take that only when it is this provider's model of the name.
    entry = known.get(model.removeprefix(f"{provider}/"))
    if entry is not None and str(entry.get("litellm_provider", "")).startswith(provider):
        return entry
    return None


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
