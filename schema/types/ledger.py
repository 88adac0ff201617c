"""Ledger entries, and the decisions that led to them."""

from datetime import datetime

import strawberry

from domain.model import ledger as domain
from domain.model.ledger import CallOutcome, TokenSource
from domain.model.model import Tier
from domain.model.routing import Complexity, QualityPreference
from resolvers import loaders
from resolvers.edges import computed, loaded_by
from resolvers.generation_loaders import GenerationById
from schema.node import Node, global_id, stands_for
from schema.types.lazy import ExecutionType, GenerationType, RoleType, TaskExecutionType
from schema.types.values import Money


@strawberry.type(description="Which model was chosen for a call, and why.")
class RoutingDecision:
    model: str = strawberry.field(description="The model that was chosen.")
    tier: Tier = strawberry.field(description="Its tier.")
    wanted_tier: Tier = strawberry.field(description="The tier that was asked for.")
    preference: QualityPreference = strawberry.field(description="What mattered most.")
    complexity: Complexity = strawberry.field(description="How hard the work looked.")
    reason: str = strawberry.field(description="Why this model, for people.")
    alternatives: list[str] = strawberry.field(description="Other models that would have done, best first, at most 10.")
    estimated_cost: Money = strawberry.field(description="The most that the call could cost.")


@strawberry.type(
    description="One attempt at a model call, also one that failed, was cancelled or was lost,"
    " or that was refused before it was sent."
)
class LedgerEntry(Node):
    is_type_of = stands_for(domain.LedgerEntry)
    id: strawberry.ID = global_id("LedgerEntry")
    model: str = strawberry.field(description="The model.")
    provider: str = strawberry.field(description="Who serves it.")
    outcome: CallOutcome = strawberry.field(description="How the call ended.")
    attempt: int = strawberry.field(description="The attempt at the task, from 1.")
    call: int = strawberry.field(description="Counts the model calls of that attempt from 1.")
    call_attempt: int = strawberry.field(
        description="Counts the attempts at that call from 1, over all models that were tried."
    )
    prompt_tokens: int = strawberry.field(description="Tokens that the model read.")
    completion_tokens: int = strawberry.field(description="Tokens that the model wrote.")
    cached_tokens: int = strawberry.field(description="Of the prompt tokens, those from the provider's cache.")
    reasoning_tokens: int = strawberry.field(description="Of the completion tokens, those spent on reasoning.")
    total_tokens: int = strawberry.field(description="Prompt and completion tokens.")
    token_source: TokenSource = strawberry.field(description="Who counted the tokens.")
    cost: Money = computed(lambda entry: entry.money, "What it cost.")
    reserved: Money = computed(lambda entry: entry.reserved_money, "What was kept back for it: the most it could cost.")
    is_overrun: bool = strawberry.field(description="Whether it cost more than that: the model ignored its limit.")
    latency_seconds: float | None = strawberry.field(description="Seconds from the request to the end of the answer.")
    time_to_first_token_seconds: float | None = strawberry.field(
        description="Seconds to the first piece of the answer; null where none was measured."
    )
    error: str | None = strawberry.field(description="The class of the error; null when there was none.")
    booked_at: datetime = strawberry.field(description="When it was put on the ledger.")
    decision: RoutingDecision | None = strawberry.field(
        description="Why this model; null for entries from before decisions were kept."
    )
    execution: ExecutionType | None = loaded_by(
        loaders.ExecutionById, "The execution it was made for; null for a generation.", key="execution_id"
    )
    task_execution: TaskExecutionType | None = loaded_by(
        loaders.TaskExecutionById, "The task it was made for; null for a generation.", key="task_execution_id"
    )
    generation: GenerationType | None = loaded_by(
        GenerationById, "The generation it was made for; null for a task.", key="generation_id"
    )
    role: RoleType | None = loaded_by(loaders.RoleById, "The role that asked; null for none.", key="role_id")
