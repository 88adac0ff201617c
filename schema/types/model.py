"""Model, an entry of the catalogue; and what routing would decide."""

from decimal import Decimal

import strawberry

from domain.model import model as domain
from domain.model import money
from domain.model.model import Tier, Unusable
from domain.model.routing import Complexity, ComplexityFactor, QualityPreference
from resolvers import loaders
from resolvers.edges import computed, loaded_by
from schema.node import Node, global_id, stands_for
from schema.types.record import Record
from schema.types.values import Money


def _price(amount: Decimal | None) -> money.Money | None:
    return None if amount is None else money.Money(amount)


@strawberry.type(description="A model that roles can be given: it ships with Regatta, or is the tenant's own entry.")
class Model(Record, Node):
    is_type_of = stands_for(domain.Model)
    id: strawberry.ID = global_id("Model")
    name: str = strawberry.field(description="The provider and the model, like “openai/gpt-4o-mini”.")
    provider: str = strawberry.field(description="Who serves it: what stands before the first slash of the name.")
    tier: Tier = strawberry.field(description="How capable, and how dear, it is.")
    prompt_price: Money | None = computed(
        lambda model: _price(model.prompt_price), "Per million tokens that it reads; null where it is not known."
    )
    completion_price: Money | None = computed(
        lambda model: _price(model.completion_price), "Per million tokens that it writes; null where it is not known."
    )
    cached_price: Money | None = computed(
        lambda model: _price(model.cached_price),
        "Per million tokens that it reads from its provider's cache; null where that costs as much as any.",
    )
    context_window: int | None = strawberry.field(description="Most tokens it reads; null where it is not known.")
    max_output_tokens: int | None = strawberry.field(description="Most tokens it writes; null where it is not known.")
    supports_tools: bool = strawberry.field(description="Whether it can use tools.")
    supports_json: bool = strawberry.field(description="Whether it can be held to a JSON Schema.")
    supports_vision: bool = strawberry.field(description="Whether it reads pictures.")
    base_url: str | None = strawberry.field(description="An OpenAI-compatible server of the tenant's; null for none.")
    routing_order: int | None = strawberry.field(
        description="Its place among those of its tier that work is routed to, the lowest first;"
        " null: only where a role names it."
    )
    requests_per_minute: int | None = strawberry.field(description="Most requests per minute; null for no limit.")
    tokens_per_minute: int | None = strawberry.field(description="Most tokens per minute; null for no limit.")
    is_enabled: bool = strawberry.field(description="False where it is switched off.")
    is_shipped: bool = strawberry.field(
        description="Whether it ships with Regatta; an own entry of the same name stands in its place."
    )
    is_usable: bool = loaded_by(loaders.AvailabilityByModel, "Whether it can be called now.", attribute="is_usable")
    unusable: Unusable | None = loaded_by(
        loaders.AvailabilityByModel, "Why it cannot be called now; null when it can.", attribute="unusable"
    )
    why_not: str | None = loaded_by(
        loaders.AvailabilityByModel, "The same for people, and what helps; null when it can.", attribute="why_not"
    )


@strawberry.type(description="Which model a piece of work would be given now. Nothing was run, and nothing was paid.")
class RoutingPreview:
    preference: QualityPreference = strawberry.field(description="What matters most.")
    complexity: Complexity = strawberry.field(description="How hard the work looks.")
    factors: list[ComplexityFactor] = strawberry.field(description="What makes it look so.")
    wanted_tier: Tier = strawberry.field(
        description="The tier that preference and complexity, or a named model, ask for."
    )
    model: Model | None = strawberry.field(description="The model; null where none can be used.")
    reason: str = strawberry.field(description="Why this one; or why none.")
    alternatives: list[Model] = strawberry.field(
        description="What would be tried after it, best first, at most 10; none for a named model."
    )
    estimated_cost: Money | None = strawberry.field(
        description="The most that one call can cost, with about the prompt's length and the longest answer;"
        " null without a model."
    )
