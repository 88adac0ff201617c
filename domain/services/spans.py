"""What spans say of kickoffs, runs, tasks and model calls: names by OpenTelemetry's conventions where they have one.

Ids, figures and codes alone. Titles and descriptions may hold inputs, for their placeholders are filled in.
"""

from contextlib import AbstractContextManager
from typing import Final
from urllib.parse import urlsplit

from domain.model.execution import Execution, ExecutionStatus, TaskExecution
from domain.model.generation import Generation
from domain.model.ledger import CallOutcome, Charge, LedgerEntry
from domain.model.model_names import prefix_of
from domain.ports import Claimed, ModelAnswer, ModelRequest, Reservation
from domain.ports.generations import ClaimedGeneration
from domain.ports.tracing import Attributes, Span, SpanKind, Tracing

KICKOFF: Final = "kickoff"
RETRY: Final = "retry"
FORK: Final = "fork"
QUEUE_WAIT: Final = "queue wait"
EXECUTION: Final = "execution"
TASK: Final = "task"
EVALUATION: Final = "evaluation"
GENERATION: Final = "generation"

_PROVIDERS: Final = {
    "cohere_chat": "cohere",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "ollama_chat": "ollama",
    "xai": "x_ai",
}
"""LiteLLM's names of providers to which the conventions give others."""


def pass_trace_on(span: Span, execution: Execution) -> None:
    """Let whoever carries the execution out go on in the trace of this span."""
    execution.trace_parent = span.traceparent
    span.set(_whose(execution))


def queue_wait(tracing: Tracing, claimed: Claimed, run: Span) -> None:
    """The span of the time from a kickoff to its first claim; none for a later one.

    It stands beside the run, or within it where the kickoff was not traced, so that both are of one trace.
    """
    execution = claimed.execution
    if claimed.is_first and execution.started_at is not None:
        moments, parent = (execution.created_at, execution.started_at), execution.trace_parent or run.traceparent
        tracing.past(QUEUE_WAIT, *moments, _whose(execution), parent=parent)


def about_run(claimed: Claimed) -> Attributes:
    """Of one claim of an execution: another worker's is another span of the same trace, with a higher epoch."""
    return {
        **_whose(claimed.execution),
        "regatta.owner.epoch": claimed.ownership.epoch,
        "regatta.worker.id": claimed.execution.worker_id,
        "regatta.execution.takeovers": claimed.takeovers,
    }


def note_end(span: Span, execution: Execution) -> None:
    """How a run ended, or why it stopped for a while."""
    span.set({"regatta.execution.status": execution.status.value})
    if execution.status is ExecutionStatus.FAILED and execution.failure_code is not None:
        span.fail(execution.failure_code.value)


def about_task(task: TaskExecution) -> Attributes:
    """Of one attempt at a task."""
    return {
        "regatta.execution.id": str(task.execution_id),
        "regatta.task_execution.id": str(task.id),
        "regatta.task.position": task.position,
        "regatta.task.attempt": task.attempts,
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.id": str(task.role_id),
    }


def about_generation(claimed: ClaimedGeneration) -> Attributes:
    """Of one claim of a generation."""
    owner = claimed.ownership
    return {
        "regatta.generation.id": str(owner.generation_id),
        "regatta.project.id": str(owner.project_id),
        "regatta.team.id": str(owner.team_id) if owner.team_id else None,
        "regatta.owner.epoch": owner.epoch,
    }


def note_generated(span: Span, generation: Generation) -> None:
    """How it ended."""
    composed_by = generation.composed_by.value if generation.composed_by else None
    span.set({"regatta.generation.status": generation.status.value, "regatta.generation.composed_by": composed_by})
    if generation.failure_code is not None:
        span.fail(generation.failure_code.value)


def call_name(request: ModelRequest) -> str:
    return f"chat {_bare(request.model)}"


def about_call(request: ModelRequest, reservation: Reservation) -> Attributes:
    """Of one HTTP attempt at a model call, before it is made."""
    parameters, provider = request.parameters, reservation.provider
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": _PROVIDERS.get(provider, provider),
        "gen_ai.request.model": _bare(request.model),
        **{f"gen_ai.request.{name}": _number(parameters.get(name)) for name in ("temperature", "max_tokens", "top_p")},
        "gen_ai.output.type": None if request.output_schema is None else "json",
        **_address(request),
        **_payer(reservation.charge),
        "regatta.call": reservation.call,
        "regatta.call.attempt": reservation.call_attempt,
        "regatta.ledger_entry.id": str(reservation.id),
    }


def note_booked(span: Span, entry: LedgerEntry, answer: ModelAnswer) -> None:
    """What the attempt came to, as it stands on the ledger; the cost in dollars."""
    span.set(
        {
            "gen_ai.response.model": answer.model,
            "gen_ai.usage.input_tokens": entry.prompt_tokens,
            "gen_ai.usage.output_tokens": entry.completion_tokens,
            "gen_ai.usage.cache_read.input_tokens": entry.cached_tokens,
            "gen_ai.usage.reasoning.output_tokens": entry.reasoning_tokens,
            "gen_ai.response.time_to_first_chunk": entry.time_to_first_token_seconds,
            "regatta.cost": float(entry.cost),
            "regatta.call.outcome": entry.outcome.value,
        }
    )
    if entry.error is not None and entry.outcome is not CallOutcome.CANCELLED:  # that nothing is wrong with
        span.fail(entry.error)


def producing(tracing: Tracing, name: str) -> AbstractContextManager[Span]:
    """The span in which an execution is queued."""
    return tracing.span(name, kind=SpanKind.PRODUCER)


def _whose(execution: Execution) -> Attributes:
    return {
        "regatta.execution.id": str(execution.id),
        "regatta.team.id": str(execution.team_id),
        "regatta.project.id": str(execution.project_id),
    }


def _payer(charge: Charge) -> Attributes:
    if charge.generation_id is not None:
        return {"regatta.generation.id": str(charge.generation_id)}
    return {
        "regatta.execution.id": str(charge.execution_id),
        "regatta.task_execution.id": str(charge.task_execution_id),
        "gen_ai.agent.id": str(charge.role_id),
    }


def _bare(model: str) -> str:
    """The name as the provider has it."""
    return model.removeprefix(f"{prefix_of(model) or ''}/")


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _address(request: ModelRequest) -> Attributes:
    """Where it goes, if that is an address of the tenant's; LiteLLM alone knows those of the providers."""
    deployment = request.deployment
    if deployment is None or not deployment.base_url:
        return {}
    parts = urlsplit(deployment.base_url)
    return {"server.address": parts.hostname, "server.port": parts.port}
