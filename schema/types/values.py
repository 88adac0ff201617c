"""Values that many types have: money, usage, timing, failure."""

from datetime import datetime
from decimal import Decimal

import strawberry

from domain.errors import FailureCode
from resolvers.edges import computed


@strawberry.type(description="An exact amount of money.")
class Money:
    amount: Decimal = computed(
        lambda money: format(money.amount.normalize(), "f"), "The amount, exact, as a decimal text."
    )
    currency: str = strawberry.field(description="ISO 4217, like USD.")


@strawberry.type(description="What model calls took: the sum over the ledger, failed and cancelled calls included.")
class Usage:
    calls: int = strawberry.field(description="Model calls.")
    prompt_tokens: int = strawberry.field(description="Tokens that models read.")
    completion_tokens: int = strawberry.field(description="Tokens that models wrote.")
    cached_tokens: int = strawberry.field(description="Of the prompt tokens, those from the provider's cache.")
    reasoning_tokens: int = strawberry.field(description="Of the completion tokens, those spent on reasoning.")
    total_tokens: int = strawberry.field(description="Prompt and completion tokens.")
    cost: Money = strawberry.field(description="What it cost.")


@strawberry.type(description="When things happened, and how long they took.")
class Timing:
    queued_at: datetime = strawberry.field(description="When it was made.")
    started_at: datetime | None = strawberry.field(description="When a worker began; null before that.")
    finished_at: datetime | None = strawberry.field(description="When it ended; null before that.")
    queue_wait_seconds: float | None = strawberry.field(description="Seconds from the kickoff to the start.")
    duration_seconds: float | None = strawberry.field(description="Seconds from the start to the end.")


@strawberry.type(description="Why something failed.")
class Failure:
    code: FailureCode = strawberry.field(description="The reason, for programs.")
    message: str = strawberry.field(description="The reason, for people.")
