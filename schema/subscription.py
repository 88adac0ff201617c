"""The root of all subscriptions."""

from typing import Any

import strawberry

from resolvers import alerts, approvals, executions, generations
from schema.types.alert import AlertActivity
from schema.types.generation import Generation
from schema.types.progress import ApprovalActivity, EventBatch, ExecutionProgress, ProjectActivity


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
    approval_activity: ApprovalActivity = watch(
        approvals.approval_activity,
        "What humans are asked at once, the newest 1,000 at most, then whatever is asked or decided;"
        " 100 approvals per message at most.",
    )
    alert_activity: AlertActivity = watch(
        alerts.alert_activity,
        "What fires at once, the newest 1,000 at most, then whatever fires or is resolved; 100 alerts per message at"
        " most.",
    )
    generation_progress: Generation = watch(
        generations.generation_progress,
        "A generation at once and on every change; ends once nobody works on it any more.",
    )
