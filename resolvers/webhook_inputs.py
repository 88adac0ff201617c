"""The inputs of webhooks."""

import strawberry

from domain.model.webhook import MILESTONES, tellable_events
from resolvers.inputs import described

_EVENT_TYPES = f"Names of event types, of: {', '.join(tellable_events())}."


@strawberry.input(description="A new webhook of a project.")
class CreateWebhookInput:
    project_id: strawberry.ID = described("The project whose executions it tells of.", ...)
    name: str = described("Unique in its project.", ...)
    url: str = described(
        "Where events are sent, by POST: https, or http to a host that the operator allows with"
        " REGATTA_ALLOWED_PRIVATE_HOSTS.",
        ...,
    )
    event_types: list[str] | None = described(f"{_EVENT_TYPES} By default: {', '.join(MILESTONES)}.")
    is_enabled: bool | None = described("True by default.")


@strawberry.input(description="Changes to a webhook; what is left out stays.")
class UpdateWebhookInput:
    id: strawberry.ID = described("The webhook.", ...)
    version: int = described("The version that was read; a newer one is not overwritten.", ...)
    name: str | None = described("Unique in its project.")
    url: str | None = described("Where events are sent; what is to be sent yet goes there, too.")
    event_types: list[str] | None = described(f"{_EVENT_TYPES} Replaces them all.")
    is_enabled: bool | None = described("Enabling it also sends what was left when it was disabled.")


@strawberry.input(description="Which webhook gets a new secret.")
class RotateWebhookSecretInput:
    id: strawberry.ID = described("The webhook.", ...)
    old_valid_seconds: float | None = described(
        "So long deliveries are signed with the old secret as well, 0 to 604800; 86400 by default."
    )


@strawberry.input(description="Which webhook to try out.")
class TestWebhookInput:
    id: strawberry.ID = described("The webhook; it may be disabled.", ...)


@strawberry.input(description="Which event to send once more.")
class RedeliverWebhookInput:
    delivery_id: strawberry.ID = described("A delivery of it.", ...)
