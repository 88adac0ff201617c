"""Webhooks: the addresses that a project tells of its executions, their secrets, and each delivery."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Final

from domain.events import EVENT_TYPES, ExecutionEvent, event_from
from domain.model.identity import (
    AlertId,
    ExecutionId,
    PrincipalId,
    ProjectId,
    RoleId,
    TaskExecutionId,
    TenantId,
    WebhookDeliveryId,
    WebhookId,
    WebhookSecretId,
    new_id,
    utc_now,
)
from domain.model.model import is_web_address
from domain.model.rules import Rules

MAX_URL: Final = 2_000
MAX_WEBHOOKS: Final = 20
"""The most webhooks in use of a project: each of them is looked at whenever an event is stored."""

PING: Final = "Ping"
"""What is sent to try a webhook out; no event of an execution."""

MILESTONES: Final = (
    "ExecutionQueued",
    "ExecutionStarted",
    "ExecutionPaused",
    "ExecutionAwaitingApproval",
    "ExecutionCompleted",
    "ExecutionFailed",
    "ExecutionCancelled",
    "TaskCompleted",
    "TaskFailed",
    "ApprovalRequested",
    "BudgetWarned",
)
"""What a webhook tells of unless somebody chooses."""

TOO_MANY: Final = frozenset(
    {"OutputStreamed", "RoutingDecided", "ModelCalled", "ToolCalled", "ToolReturned", "CallReplayed"}
)
"""Events that come by the dozen in every task: they are for subscriptions."""


ALERTS: Final = ("AlertFired", "AlertResolved")
"""What a webhook can tell of beside events of executions: the alerts of its project, and those of the whole tenant."""


def tellable_events() -> list[str]:
    """The types of events that a webhook can tell of, by name."""
    return sorted((EVENT_TYPES.keys() - TOO_MANY).union(ALERTS))


class DeliveryStatus(Enum):
    """What became of a delivery."""

    PENDING = "PENDING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


@dataclass(slots=True)
class Webhook:
    """An address that is told of the events of these types in the executions of its project.

    `failing_since` is when the attempts began of which none succeeded, None while all is well.
    """

    tenant_id: TenantId
    project_id: ProjectId
    name: str
    url: str
    event_types: list[str] = field(default_factory=lambda: list(MILESTONES))
    is_enabled: bool = True
    disabled_reason: str | None = None
    failing_since: datetime | None = None
    id: WebhookId = field(default_factory=lambda: WebhookId(new_id()))
    version: int = 1
    created_at: datetime = field(default_factory=utc_now)
    updated_at: datetime = field(default_factory=utc_now)
    created_by: PrincipalId | None = None
    archived_at: datetime | None = None

    @property
    def binding(self) -> str:
        """What the ciphertext of its secrets is bound to, besides the tenant: the subject as `Vault` takes it."""
        return f"webhook:{self.id}"

    def check(self) -> None:
        """Hold the rules of a webhook; raises Invalid with every broken one."""
        rules = Rules()
        rules.name(self.name, "name")
        rules.require(is_web_address(self.url), _WEB_ADDRESS, "url")
        rules.require(len(self.url) <= MAX_URL, f"At most {MAX_URL:,} characters.", "url")
        rules.require("#" not in self.url, "A fragment is not allowed.", "url")
        rules.require(self.event_types, "At least one type of event.", "eventTypes")
        known = tellable_events()
        rules.require(len(self.event_types) <= len(known), f"At most {len(known)} entries.", "eventTypes")
        for index, name in enumerate(self.event_types[: len(known)]):
            rules.require(name in known, f"This is not one of: {', '.join(known)}.", "eventTypes", str(index))
        rules.hold()


_WEB_ADDRESS: Final = "This is no web address like https://example.org/hook, without a user name and a password."


@dataclass(slots=True)
class WebhookSecret:
    """What the deliveries of a webhook are signed with, encrypted. `expires_at`: when another one replaced it."""

    tenant_id: TenantId
    webhook_id: WebhookId
    ciphertext: bytes = field(repr=False)
    id: WebhookSecretId = field(default_factory=lambda: WebhookSecretId(new_id()))
    created_at: datetime = field(default_factory=utc_now)
    expires_at: datetime | None = None


@dataclass(slots=True)
class WebhookDelivery:
    """One event on its way to one webhook: a row that is made in the transaction which stores the event.

    Of an alert `sequence` is 1 when it fired and 2 when it was resolved.

    It keeps what the event says, for it is told what happened even when the event itself is gone. `attempts` counts
    the requests that were begun; `locked_until` is set while somebody makes one. Latency in seconds, of the last one.
    """

    tenant_id: TenantId
    webhook_id: WebhookId
    event_type: str
    execution_id: ExecutionId | None = None
    sequence: int | None = None
    occurred_at: datetime = field(default_factory=utc_now)
    task_execution_id: TaskExecutionId | None = None
    role_id: RoleId | None = None
    payload: dict[str, Any] = field(default_factory=dict)
    status: DeliveryStatus = DeliveryStatus.PENDING
    attempts: int = 0
    next_attempt_at: datetime | None = field(default_factory=utc_now)
    locked_until: datetime | None = None
    response_status: int | None = None
    response_body: str | None = None
    latency_seconds: float | None = None
    error: str | None = None
    redelivery_of: WebhookDeliveryId | None = None
    id: WebhookDeliveryId = field(default_factory=lambda: WebhookDeliveryId(new_id()))
    created_at: datetime = field(default_factory=utc_now)
    finished_at: datetime | None = None
    alert_id: AlertId | None = None

    @property
    def event(self) -> ExecutionEvent | None:
        """The event that it tells of; None for a ping and for an alert."""
        if self.execution_id is None:
            return None
        envelope = {
            "tenant_id": self.tenant_id,
            "execution_id": self.execution_id,
            "sequence": self.sequence,
            "occurred_at": self.occurred_at,
            "task_execution_id": self.task_execution_id,
            "role_id": self.role_id,
        }
        return event_from(self.event_type, envelope, self.payload)

    def again(self) -> "WebhookDelivery":
        """A new delivery of the same event."""
        return WebhookDelivery(
            self.tenant_id,
            self.webhook_id,
            self.event_type,
            self.execution_id,
            self.sequence,
            self.occurred_at,
            self.task_execution_id,
            self.role_id,
            self.payload,
            redelivery_of=self.id,
            alert_id=self.alert_id,
        )
