"""Values that many types have: money, usage, timing, failure."""

from datetime import datetime
from decimal import Decimal

import strawberry

from domain.errors import FailureCode
from domain.model.budget import BudgetScope
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


@strawberry.type(description="What may be spent, and what was; a calendar month (UTC), or one run, counts.")
class Budget:
    limit: Money | None = strawberry.field(description="The most that may be spent; null when it is unlimited.")
    spent: Money = strawberry.field(description="What model calls cost so far in this period.")
    reserved: Money = strawberry.field(description="What is kept back for calls under way: the most they can cost.")
    remaining: Money | None = strawberry.field(description="What is left for further calls; null when unlimited.")
    utilisation: float | None = strawberry.field(description="The spent part of the limit, 1.0 for all of it.")
    is_warned: bool = strawberry.field(description="Whether nine tenths of the limit are spent.")
    is_exhausted: bool = strawberry.field(
        description="Whether all of it is spent or kept back, and something is spent."
        " Calls that cost nothing pass even then."
    )


@strawberry.type(description="What a model call would have needed of a budget, and what there was.")
class BudgetShortfall:
    scope: BudgetScope = strawberry.field(description="Whose budget it is.")
    limit: Money = strawberry.field(description="The most that may be spent.")
    spent: Money = strawberry.field(description="What was spent already.")
    reserved: Money = strawberry.field(description="What was kept back for other calls.")
    required: Money = strawberry.field(description="The most that the call could have cost.")


@strawberry.type(description="When things happened, and how long they took.")
class Timing:
    queued_at: datetime = strawberry.field(description="When it was made.")
    started_at: datetime | None = strawberry.field(description="When a worker began; null before that.")
    finished_at: datetime | None = strawberry.field(description="When it ended; null before that.")
    queue_wait_seconds: float | None = strawberry.field(description="Seconds from the kickoff to the start.")
    duration_seconds: float | None = strawberry.field(description="Seconds from the start to the end.")
    waited_seconds: float = strawberry.field(
        description="Seconds of these in which it was paused, waited for a human, or for a place on a worker again;"
        " they do not count for its time-out."
    )


@strawberry.type(description="Why something failed.")
class Failure:
    code: FailureCode = strawberry.field(description="The reason, for programs.")
    message: str = strawberry.field(description="The reason, for people.")
    budget: BudgetShortfall | None = strawberry.field(description="What was missing, for BUDGET_EXCEEDED; else null.")
