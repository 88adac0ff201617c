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

    def at_least(self, other: "Prices") -> "Prices":
        """The dearer of both in everything, and for prompts of every length."""
        limits = sorted({limit for limit, _ in (*self.above, *other.above)}, reverse=True)
        behind = tuple((limit, _dearer(self.behind(limit), other.behind(limit))) for limit in limits)
        return _dearer(self, other, behind)

    def behind(self, limit: int) -> "Prices":
        """The prices of prompts that are a token longer."""
        return next((prices for begin, prices in self.above if begin <= limit), self)

    def worst(self, prompt_tokens: int, output_tokens: int) -> Decimal:
        """The most that a call of at most so many tokens can cost, rounded up to what can be stored.

        Dearest reading (fresh, or written to a cache) and dearest writing (spoken, or reasoning), at the prices of any
        prompt that is not longer: where longer ones are cheaper, one at the limit may cost more than one behind it.
        """
        worst, longest = ZERO, prompt_tokens
        for limit, prices in self.above:
            if longest > limit:
                worst, longest = max(worst, prices.worst(longest, output_tokens)), limit
        return max(worst, self._dearest(longest, output_tokens))

    def _dearest(self, prompt_tokens: int, output_tokens: int) -> Decimal:
        reading = prompt_tokens * max(self.prompt, self.written, self.cached)
        writing = output_tokens * max(self.completion, self.reasoning)
        return (reading + writing).quantize(SMALLEST, ROUND_UP)


FREE: Final = Prices(ZERO, ZERO, ZERO, ZERO, ZERO)


def _dearer(one: Prices, other: Prices, above: tuple[tuple[int, Prices], ...] = ()) -> Prices:
    return Prices(
        max(one.prompt, other.prompt),
        max(one.completion, other.completion),
        max(one.cached, other.cached),
        max(one.written, other.written),
        max(one.reasoning, other.reasoning),
        above,
    )


def _longer(tier: Mapping[str, Any], prompt: Decimal, completion: Decimal, cached: Decimal | None) -> Prices:
    own = {name: Decimal(str(price)) for name, price in tier.items()}
    return Prices.per_million(
        own.get("prompt", prompt),
        own.get("completion", completion),
        own.get("cached", cached),
        {name: own[name] for name in ("written", "reasoning") if name in own},
    )
