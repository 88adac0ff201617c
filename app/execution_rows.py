"""What a downloaded row says of an execution."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Final
from uuid import UUID

from domain.model.exports import ExportedExecution
from resolvers.node_ids import node_id

COLUMNS: Final = (
    "id",
    "teamId",
    "teamName",
    "projectId",
    "projectName",
    "status",
    "process",
    "createdAt",
    "startedAt",
    "finishedAt",
    "durationSeconds",
    "queueWaitSeconds",
    "waitedSeconds",
    "usage.cost",
    "usage.promptTokens",
    "usage.completionTokens",
    "usage.calls",
    "tasksTotal",
    "tasksCompleted",
    "tasksFailed",
    "failureCode",
    "failureMessage",
    "retryOf",
    "forkedFrom",
    "cacheHit",
    "priority",
    "qualityPreference",
    "startedBy",
)


async def execution_rows(
    batches: AsyncGenerator[Sequence[ExportedExecution], None],
) -> AsyncGenerator[Sequence[Mapping[str, object]], None]:
    """The batches as rows; they are closed with this."""
    async with aclosing(batches):
        async for batch in batches:
            yield [_row(execution) for execution in batch]


def _row(execution: ExportedExecution) -> Mapping[str, object]:
    """By the names of `COLUMNS`; ids are the graph's."""
    timing = execution.timing
    return {
        "id": node_id("Execution", execution.id),
        "teamId": node_id("Team", execution.team_id),
        "teamName": execution.team_name,
        "projectId": node_id("Project", execution.project_id),
        "projectName": execution.project_name,
        "status": execution.status,
        "process": execution.process,
        "createdAt": timing.queued_at,
        "startedAt": timing.started_at,
        "finishedAt": timing.finished_at,
        "durationSeconds": timing.duration_seconds,
        "queueWaitSeconds": timing.queue_wait_seconds,
        "waitedSeconds": timing.waited_seconds,
        "usage": {
            "cost": execution.cost,
            "promptTokens": execution.prompt_tokens,
            "completionTokens": execution.completion_tokens,
            "calls": execution.calls,
        },
        "tasksTotal": execution.tasks_total,
        "tasksCompleted": execution.tasks_completed,
        "tasksFailed": execution.tasks_failed,
        "failureCode": execution.failure_code,
        "failureMessage": execution.failure_message,
        "retryOf": _execution_id(execution.retry_of),
        "forkedFrom": _execution_id(execution.forked_from),
        "cacheHit": execution.is_cache_hit,
        "priority": execution.priority,
        "qualityPreference": execution.quality_preference,
        "startedBy": execution.started_by,
    }


def _execution_id(identifier: UUID | None) -> str | None:
    return None if identifier is None else node_id("Execution", identifier)
