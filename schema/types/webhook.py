"""Webhooks and their deliveries; never the secrets that these are signed with."""

from datetime import datetime

import strawberry

from domain.model import webhook as domain
from domain.model.webhook import DeliveryStatus
from resolvers import loaders
from resolvers.alert_loaders import AlertById
from resolvers.edges import loaded_by, paged_by
from resolvers.filters import WebhookDeliveryFilter
from schema.node import Node, global_id, stands_for
from schema.pagination import Connection
from schema.types.lazy import AlertType, ExecutionEventType, ExecutionType, ProjectType, WebhookType
from schema.types.record import Record


@strawberry.type(
    description="One event on its way to a webhook. It is kept for 30 days; the receiver may get it more than once."
)
class WebhookDelivery(Node):
    is_type_of = stands_for(domain.WebhookDelivery)
    id: strawberry.ID = global_id("WebhookDelivery")
    status: DeliveryStatus = strawberry.field(description="What became of it.")
    event_type: str = strawberry.field(description="The type of the event; “Ping” for a test.")
    event: ExecutionEventType | None = strawberry.field(
        description="The event that it tells of; null for a test, or an alert."
    )
    execution: ExecutionType | None = loaded_by(
        loaders.ExecutionById, "The execution of the event; null for a test, or an alert.", key="execution_id"
    )
    alert: AlertType | None = loaded_by(AlertById, "The alert that it tells of; null for none.", key="alert_id")
    attempts: int = strawberry.field(description="How many requests were begun.")
    response_status: int | None = strawberry.field(
        description="The HTTP status of the last answer; null where there was none."
    )
    response_body: str | None = strawberry.field(description="How the last answer began, 4,096 bytes at most.")
    latency_seconds: float | None = strawberry.field(description="How long the last request took.")
    error: str | None = strawberry.field(
        description="Why the last request had no answer, for people; null when it had one."
    )
    next_attempt_at: datetime | None = strawberry.field(
        description="When it is tried next, or was due if it is being sent; null once it is done."
    )
    created_at: datetime = strawberry.field(description="When the event was stored.")
    finished_at: datetime | None = strawberry.field(description="When it was done; null while it is PENDING.")
    webhook: WebhookType = loaded_by(loaders.WebhookById, "The webhook.", key="webhook_id")
    redelivery_of: "WebhookDelivery | None" = loaded_by(
        loaders.WebhookDeliveryById, "The delivery that it repeats by request; null for none.", key="redelivery_of"
    )


@strawberry.type(description="An address that is told of what happens in the executions of a project.")
class Webhook(Record, Node):
    is_type_of = stands_for(domain.Webhook)
    id: strawberry.ID = global_id("Webhook")
    name: str = strawberry.field(description="Unique in its project among what is not archived.")
    url: str = strawberry.field(description="Where the events are sent, by POST.")
    event_types: list[str] = strawberry.field(description="The types of events that it tells of.")
    is_enabled: bool = strawberry.field(description="While it is not, events are passed over and nothing is sent.")
    disabled_reason: str | None = strawberry.field(
        description="Why the server disabled it: nothing succeeded for days. Null when it did not."
    )
    failing_since: datetime | None = strawberry.field(
        description="When the attempts began of which none succeeded since; null while all is well."
    )
    project: ProjectType = loaded_by(loaders.ProjectById, "The project it belongs to.", key="project_id")
    deliveries: Connection[WebhookDelivery] = paged_by(
        loaders.DeliveriesByWebhook,
        "What it was sent, or is to be sent, newest first; kept for 30 days.",
        filter_type=WebhookDeliveryFilter,
    )
