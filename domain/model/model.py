"""The model catalogue: which models there are, what they cost, what they can do, and how they are reached."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from urllib.parse import urlsplit

from domain.model.identity import ModelId, PrincipalId, TenantId, new_id, utc_now
from domain.model.model_names import forbidden_provider, is_model_name, is_provider_allowed, prefix_of
from domain.model.prices import FREE, Prices
from domain.model.rules import Rules

BASE_URL_PROVIDER: Final = "openai"
"""An entry with an address of its own speaks OpenAI's protocol; the other providers have fixed addresses."""

MAX_PRICE: Final = 1_000_000
MAX_TOKENS: Final = 100_000_000
MAX_PER_MINUTE: Final = 1_000_000_000
MAX_URL: Final = 2_000


class Tier(Enum):
    """How capable, and how dear, a model is. An order, LOCAL lowest; compare with `level`."""

    LOCAL = "LOCAL"
    STANDARD = "STANDARD"
    PREMIUM = "PREMIUM"

    @property
    def level(self) -> int:
        return list(Tier).index(self)


class Unusable(Enum):
    """Why a model cannot be called now."""

    DISABLED = "DISABLED"
    NO_KEY = "NO_KEY"
    UNREACHABLE = "UNREACHABLE"
    NO_PRICE = "NO_PRICE"
    COOLING_DOWN = "COOLING_DOWN"


@dataclass(slots=True)
class Model:
    """An entry of the catalogue: shipped with Regatta (`version` 0), or the tenant's own.

    `name` is LiteLLM's, with the provider before the first slash. Prices are dollars per million tokens; None where
    they are not known. `price_details` holds what few models have: {"written", "reasoning"} and
    {"above": {"200000": {"prompt", "completion", "cached", "written", "reasoning"}}}, all in dollars per million.
    `routing_order` None means: only where a role names it; otherwise the lower goes first within the tier.
    `base_url` is an OpenAI-compatible server of the tenant's.
    """

    tenant_id: TenantId
    name: str
    tier: Tier
    prompt_price: Decimal | None = None
    completion_price: Decimal | None = None
    cached_price: Decimal | None = None
    price_details: dict[str, Any] = field(default_factory=dict)
    context_window: int | None = None
    max_output_tokens: int | None = None
    supports_tools: bool = True
    supports_json: bool = False
    supports_vision: bool = False
    base_url: str | None = None
    routing_order: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    is_enabled: bool = True
    id: ModelId = field(default_factory=lambda: ModelId(new_id()))
    version: int = 1
    created_at: datetime = field(default_factory=utc_now)
    updated_at: datetime = field(default_factory=utc_now)
    created_by: PrincipalId | None = None
    archived_at: datetime | None = None

    @property
    def provider(self) -> str:
        return prefix_of(self.name) or ""

    @property
    def is_shipped(self) -> bool:
        return self.version == 0

    @property
    def prices(self) -> Prices | None:
        """What its tokens cost; None when that is not known."""
        if self.prompt_price is None or self.completion_price is None:
            return None
        if not (self.prompt_price or self.completion_price or self.price_details):
            return FREE
        return Prices.per_million(self.prompt_price, self.completion_price, self.cached_price, self.price_details)

    def check(self) -> None:
        """Hold the rules of an entry; raises Invalid with every broken one."""
        rules = Rules()
        if not is_model_name(self.name) or prefix_of(self.name) is None:
            rules.refuse("A name is a provider and a model, like “openai/gpt-4o-mini”.", "name")
        elif not is_provider_allowed(self.name):
            rules.refuse(forbidden_provider(self.name), "name")
        both = (self.prompt_price is None) == (self.completion_price is None)
        rules.require(both, "Prices are given for both prompt and completion, or for none.", "completionPrice")
        for price, name in (
            (self.prompt_price, "promptPrice"),
            (self.completion_price, "completionPrice"),
            (self.cached_price, "cachedPrice"),
        ):
            rules.money(price, MAX_PRICE, 6, name)
        rules.between(self.context_window, 1, MAX_TOKENS, "contextWindow")
        rules.between(self.max_output_tokens, 1, MAX_TOKENS, "maxOutputTokens")
        rules.between(self.routing_order, 0, MAX_TOKENS, "routingOrder")
        rules.between(self.requests_per_minute, 1, MAX_PER_MINUTE, "requestsPerMinute")
        rules.between(self.tokens_per_minute, 1, MAX_PER_MINUTE, "tokensPerMinute")
        if self.base_url is not None:
            self._check_base_url(rules, self.base_url)
        rules.hold()

    def _check_base_url(self, rules: Rules, url: str) -> None:
        message = "This is no web address like https://models.example.org/v1, without a user name and a password."
        rules.require(is_web_address(url), message, "baseUrl")
        rules.require(len(url) <= MAX_URL, f"At most {MAX_URL:,} characters.", "baseUrl")
        # The path of each call is written behind it.
        rules.require("?" not in url and "#" not in url, "A query or a fragment is not allowed.", "baseUrl")
        only = f"Only models of the provider {BASE_URL_PROVIDER} have an address of their own."
        rules.require(self.provider == BASE_URL_PROVIDER, only, "baseUrl")


def is_web_address(text: str) -> bool:
    """Whether this is an http(s) URL with a host and without credentials."""
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises when it is none
    except ValueError:
        return False
    plain = text.isascii() and text.isprintable() and " " not in text
    return plain and parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
