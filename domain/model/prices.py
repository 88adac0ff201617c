"""What tokens cost: exact sums, never a float, never a guess."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal
from typing import Any, Final

ZERO: Final = Decimal(0)
MILLION: Final = Decimal(1_000_000)
SMALLEST: Final = Decimal("0.000000000001")
"""The last digit that NUMERIC(24, 12) keeps."""


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

    @classmethod
    def per_million(
        cls,
        prompt: Decimal,
        completion: Decimal,
        cached: Decimal | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> "Prices":
        """From dollars per million tokens; `details` is what `Model.price_details` describes."""
        further = details or {}

        def price(name: str, otherwise: Decimal) -> Decimal:
            found = further.get(name)
            return (otherwise if found is None else Decimal(str(found))) / MILLION

        above = sorted(((int(limit), tier) for limit, tier in further.get("above", {}).items()), reverse=True)
        return cls(
            prompt / MILLION,
            completion / MILLION,
            (prompt if cached is None else cached) / MILLION,
            price("written", prompt),
            price("reasoning", completion),
            tuple((limit, _longer(tier, prompt, completion, cached)) for limit, tier in above),
        )

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

    def worst(self, prompt_tokens: int, output_tokens: int) -> Decimal:
        """The most that a call of so many tokens can cost, rounded up to what can be stored.

        Dearest reading (fresh, or written to a cache) and dearest writing (spoken, or reasoning).
        """
        for limit, prices in self.above:
            if prompt_tokens > limit:
                return prices.worst(prompt_tokens, output_tokens)
        reading = prompt_tokens * max(self.prompt, self.written, self.cached)
        writing = output_tokens * max(self.completion, self.reasoning)
        return (reading + writing).quantize(SMALLEST, ROUND_UP)


FREE: Final = Prices(ZERO, ZERO, ZERO, ZERO, ZERO)


def _longer(tier: Mapping[str, Any], prompt: Decimal, completion: Decimal, cached: Decimal | None) -> Prices:
    own = {name: Decimal(str(price)) for name, price in tier.items()}
    return Prices.per_million(
        own.get("prompt", prompt),
        own.get("completion", completion),
        own.get("cached", cached),
        {name: own[name] for name in ("written", "reasoning") if name in own},
    )
