"""The inputs of models and of routing."""

from decimal import Decimal

import strawberry

from domain.model.model import Tier
from domain.model.role import Expertise
from domain.model.routing import QualityPreference
from resolvers.inputs import described

_PROMPT_PRICE = "Dollars per million tokens that it reads"


_COMPLETION_PRICE = "Dollars per million tokens that it writes"


_CACHED_PRICE = (
    "Dollars per million tokens that it reads from its provider's cache; as any other when null,"
    " or when left out beside a promptPrice."
)


_BASE_URL = (
    "An OpenAI-compatible server of yours, for models named “openai/…”; it gets only the key of this entry."
    " Private addresses need the operator's REGATTA_ALLOWED_PRIVATE_HOSTS."
)


_ORDER_IN_TIER = "Its place among those of its tier that work is routed to, lowest first; null: only where it is named."


@strawberry.input(
    description="An entry of your own in the model catalogue. Where a model of the name ships with Regatta, yours"
    " stands in its place, and what is left out is taken from there. As long as the operator's key pays, calls are"
    " booked at no less than the prices that ship; of a name that does not ship, prices of zero count as unknown there."
)
class CreateModelInput:
    name: str = described("The provider and the model, like “openai/gpt-4o-mini”; unique among your entries.", ...)
    tier: Tier | None = described("How capable it is; needed where no model of the name ships.")
    prompt_price: Decimal | None = described(
        f"{_PROMPT_PRICE}; null where it is not known. A price of yours holds for prompts of any length."
    )
    completion_price: Decimal | None = described(f"{_COMPLETION_PRICE}; null where it is not known.")
    cached_price: Decimal | None = described(_CACHED_PRICE)
    context_window: int | None = described("Most tokens it reads; null where it is not known.")
    max_output_tokens: int | None = described("Most tokens it writes; null where it is not known.")
    supports_tools: bool | None = described("Whether it can use tools; true by default.")
    supports_json: bool | None = described("Whether it can be held to a JSON Schema; false by default.")
    supports_vision: bool | None = described("Whether it reads pictures; false by default.")
    base_url: str | None = described(_BASE_URL)
    routing_order: int | None = described(_ORDER_IN_TIER)
    requests_per_minute: int | None = described("Most requests per minute; null for no limit.")
    tokens_per_minute: int | None = described("Most tokens per minute; null for no limit.")
    is_enabled: bool | None = described("False to switch it off; true by default.")


@strawberry.input(description="Changes to an entry of your own; what is left out stays.")
class UpdateModelInput:
    id: strawberry.ID = described("The entry; one that ships cannot be changed.", ...)
    version: int = described("The version that was read; a newer one is not overwritten.", ...)
    tier: Tier | None = described("How capable it is.")
    prompt_price: Decimal | None = described(
        f"{_PROMPT_PRICE}; null where it is not known. A price of yours holds for prompts of any length."
    )
    completion_price: Decimal | None = described(f"{_COMPLETION_PRICE}; null where it is not known.")
    cached_price: Decimal | None = described(_CACHED_PRICE)
    context_window: int | None = described("Most tokens it reads; null where it is not known.")
    max_output_tokens: int | None = described("Most tokens it writes; null where it is not known.")
    supports_tools: bool | None = described("Whether it can use tools.")
    supports_json: bool | None = described("Whether it can be held to a JSON Schema.")
    supports_vision: bool | None = described("Whether it reads pictures.")
    base_url: str | None = described(f"{_BASE_URL} Changing it removes that key.")
    routing_order: int | None = described(_ORDER_IN_TIER)
    requests_per_minute: int | None = described("Most requests per minute; null for no limit.")
    tokens_per_minute: int | None = described("Most tokens per minute; null for no limit.")
    is_enabled: bool | None = described("False to switch it off.")


@strawberry.input(description="Work whose model is asked for: a stored task, or a description.")
class RoutingPreviewInput:
    task_id: strawberry.ID | None = described("A task; its role, or the one it would be matched with, counts.", None)
    description: str | None = described("What is to be done, without a task.", None)
    expected_output: str | None = described("What a good result looks like, without a task.", None)
    expertise: Expertise | None = described("How experienced the role is, without a task.", None)
    model: str | None = described("The model that the role names, without a task.", None)
    quality_preference: QualityPreference | None = described(
        "What matters most; by default the task's, else BALANCED.", None
    )
