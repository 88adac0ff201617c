"""Metrics: what became of executions, tasks, model calls and tool calls, counted and summed up over periods."""

from datetime import datetime
from typing import Any
from uuid import UUID

import strawberry

from domain.model import metrics as domain
from domain.model.comparison import Comparison
from domain.model.metrics import Dimension, Granularity, MetricsScope
from resolvers.edges import computed, derived_from, loaded_by
from resolvers.metrics import top_of_scope
from resolvers.metrics_inputs import KINDS
from resolvers.metrics_loaders import (
    FiguresByScope,
    MetricsReport,
    PresentByScope,
    SeriesByScope,
    ThingByScope,
)
from resolvers.node_ids import node_id
from schema.node import Node, stands_for
from schema.types.values import Money


def _count(name: str, description: str) -> Any:
    """A sum as a number without a bound of 32 bits."""
    return computed(
        lambda tally: float(getattr(tally, name)), f"{description} A whole number, which may exceed 32 bits."
    )


# ---------------------------------------------------------------- figures


@strawberry.type(description="How long something took: how many there were, and how their durations are spread.")
class DurationFigures:
    count: int = strawberry.field(description="How many have a duration.")
    mean_seconds: float | None = strawberry.field(description="The mean, exact; null of none.")
    p50_seconds: float | None = strawberry.field(
        description="What half of them did not exceed, within 1 %; null of none."
    )
    p95_seconds: float | None = strawberry.field(description="What 95 of 100 did not exceed, within 1 %; null of none.")
    p99_seconds: float | None = strawberry.field(description="What 99 of 100 did not exceed, within 1 %; null of none.")


@strawberry.type(description="How many ended in which way.")
class OutcomeCounts:
    ended: int = strawberry.field(description="How many ended.")
    completed: int = strawberry.field(description="How many did what they were to do.")
    failed: int = strawberry.field(description="How many failed.")
    cancelled: int = strawberry.field(description="How many were stopped before that.")
    success_rate: float | None = strawberry.field(
        description="The completed share of those completed or failed, 0 to 1; null where there is none."
    )


@strawberry.type(description="What became of task executions. What was reused or skipped does not count.")
class TaskFigures(OutcomeCounts):
    attempts_repeated: int = computed(
        lambda tally: tally.repeated, "How many attempts were made beyond the first ones."
    )
    duration: DurationFigures = computed(
        lambda tally: tally.durations,
        "How long they took, without the time in which an approval of it was open; a pause in the middle counts.",
    )


@strawberry.type(description="What became of model calls, each HTTP attempt counted, or of tool calls.")
class CallFigures(OutcomeCounts):
    attempts_repeated: int = computed(
        lambda tally: tally.repeated, "How many attempts at a model were made beyond the first ones; 0 for tools."
    )
    duration: DurationFigures = computed(
        lambda tally: tally.durations, "How long they took, where that was measured: it is not for tools."
    )


@strawberry.type(description="Tokens of model calls: the sum over the ledger, failed and cancelled calls included.")
class TokenFigures:
    prompt: float = _count("prompt_tokens", "Tokens that models read.")
    completion: float = _count("completion_tokens", "Tokens that models wrote.")
    cached: float = _count("cached_tokens", "Of the prompt tokens, those from the provider's cache.")
    reasoning: float = _count("reasoning_tokens", "Of the completion tokens, those spent on reasoning.")
    total: float = _count("total_tokens", "Prompt and completion tokens.")


@strawberry.type(
    description="What ended in a span of time, and what it took. Executions and tasks count at the moment in which they"
    " end, model calls when they are booked, tool calls when the tool answers."
)
class MetricsFigures:
    executions: OutcomeCounts = strawberry.field(
        description="What became of executions. Nothing for a role, task, model or tool: an execution has many of them."
    )
    cache_hits: int = computed(
        lambda figures: figures.executions.repeated,
        "How many of the completed executions were answered by an earlier one; they have no duration.",
    )
    duration: DurationFigures = computed(
        lambda figures: figures.executions.durations,
        "How long executions took from the start to the end, without the time in which they were paused or waited for a"
        " person.",
    )
    queue_wait: DurationFigures = computed(
        lambda figures: figures.executions.waits, "How long executions waited from the kickoff to the start."
    )
    tasks: TaskFigures = strawberry.field(description="What became of task executions. Nothing for a tool.")
    calls: CallFigures = strawberry.field(description="What became of model calls. Nothing for a tool.")
    tool_calls: CallFigures = strawberry.field(description="What became of tool calls. Nothing for a model.")
    spend: Money = computed(lambda figures: figures.calls.cost, "What the model calls cost: the sum over the ledger.")
    tokens: TokenFigures = computed(lambda figures: figures.calls, "The tokens of the model calls.")


@strawberry.type(description="The figures of one part of a period; empty ones where nothing ended.")
class MetricsPoint:
    start: datetime = strawberry.field(description="When the part begins.")
    end: datetime = strawberry.field(description="Before which moment it ends.")
    figures: MetricsFigures = strawberry.field(description="The figures of what ended in it.")


@strawberry.type(
    description="How figures differ from those of the period before. A change is a share: 0.5 is half as much again,"
    " -0.5 is half; null where there was nothing before."
)
class MetricsChange:
    executions: float | None = strawberry.field(description="Of how many executions ended.")
    success_rate: float | None = strawberry.field(
        description="The difference of the two success rates of executions: 0.1 for ten more of a hundred; null where"
        " one of them is null."
    )
    duration_p95: float | None = strawberry.field(description="Of the duration that 95 of 100 did not exceed.")
    spend: float | None = strawberry.field(description="Of what was spent.")
    tokens: float | None = strawberry.field(description="Of all tokens.")


# ---------------------------------------------------------------- reports


@strawberry.type(description="What is under way at this moment.")
class MetricsPresent:
    active: int = strawberry.field(description="Executions that a worker is on, or is about to go on with.")
    queued: int = strawberry.field(description="Executions that no worker has yet.")
    paused: int = strawberry.field(description="Executions that are paused, or wait for a person.")
    oldest_wait_seconds: float | None = strawberry.field(
        description="How long the oldest of the queued ones has been waiting; null where none is."
    )


@strawberry.type(description="A period in whole parts, in UTC.")
class MetricsPeriod:
    start: datetime = strawberry.field(name="from", description="When its first part begins.")
    end: datetime = strawberry.field(name="to", description="Before which moment its last part ends.")
    granularity: Granularity = strawberry.field(description="How long its parts are.")


def _key_of(scope: MetricsScope) -> str:
    return node_id(KINDS[scope.dimension], UUID(scope.key)) if scope.dimension in KINDS else scope.key


@strawberry.interface(description="Something that has metrics.")
class Measured:
    dimension: Dimension = computed(lambda it: it.scope.dimension, "What it is.")
    key: str = computed(
        lambda it: _key_of(it.scope), "Its global id, or its name where it has no other; empty for the tenant."
    )
    name: str | None = loaded_by(
        ThingByScope, "What people call it; null for what is not there any more.", key="scope", attribute="name"
    )
    node: Node | None = loaded_by(
        ThingByScope,
        "The tenant, project, team, role, task or template; null for what has a name alone.",
        key="scope",
        attribute="node",
    )


@strawberry.type(description="The figures of one thing of many: of one of a team's roles, say.")
class MetricsGroup(Measured):
    is_type_of = stands_for(domain.Group)
    figures: MetricsFigures = strawberry.field(description="Its figures over the whole period.")


@strawberry.type(
    description="The metrics of one thing over one period. Right to the last digit, but for percentiles; what is"
    " committed counts at once."
)
class Metrics(Measured):
    is_type_of = stands_for(MetricsReport)
    within: Node | None = loaded_by(
        ThingByScope,
        "The project or team that was looked at for a model, tool, strategy or domain; null for all of them.",
        key="within",
        attribute="node",
    )
    period: MetricsPeriod = strawberry.field(description="The period, as it was really looked at.")
    now: MetricsPresent | None = loaded_by(
        PresentByScope, "What is under way, whatever the period; null but for a tenant, project or team.", key="scope"
    )
    overview: MetricsFigures = loaded_by(FiguresByScope, "The figures of the whole period.", key="covered")
    previous: MetricsFigures = loaded_by(
        FiguresByScope,
        "The figures of the period before, of as many parts; of a period that is not over, up to the same hour of it.",
        key="preceding",
    )
    change: MetricsChange = derived_from(
        FiguresByScope, ("covered", "preceding"), Comparison, "How the overview differs from the period before."
    )
    series: list[MetricsPoint] = loaded_by(
        SeriesByScope, "The figures of each part of the period, in order and without gaps.", key="covered"
    )
    top: list[MetricsGroup] = top_of_scope(
        "What has the most, the most first, and nothing that has none; for the metrics of a tenant, project or team."
        " All orders but COST are of tasks for roles and tasks, of calls for models and tools, else of executions."
    )
