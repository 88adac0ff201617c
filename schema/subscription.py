"""The root of all subscriptions."""

from typing import Any

import strawberry

from resolvers import executions
from schema.types.progress import EventBatch, ExecutionProgress, ProjectActivity


def watch(resolver: Any, description: str) -> Any:
    """A subscription of its resolver."""
    return strawberry.subscription(resolver=resolver, description=description)


@strawberry.type(description="What can be watched live.")
class Subscription:
    execution_events: EventBatch = watch(
        executions.execution_events,
        "The events of an execution: those stored behind the cursor, then live; ends after the last.",
    )
    execution_progress: ExecutionProgress = watch(
        executions.execution_progress, "How far an execution is, at once and on every change; ends with it."
    )
    project_activity: ProjectActivity = watch(
        executions.project_activity,
        "What is under way in a project at once, then whatever changes; 100 executions per message at most.",
    )
