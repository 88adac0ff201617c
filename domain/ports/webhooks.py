"""The outbox of webhooks, and the client that empties it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from domain.model.webhook import DeliveryStatus, Webhook, WebhookDelivery, WebhookSecret


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A delivery that somebody is to make, with its webhook and the secrets that are valid, newest first."""

    delivery: WebhookDelivery
    webhook: Webhook
    secrets: Sequence[WebhookSecret]


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back from an address: nothing (no status) when `error` says what went wrong. Latency in seconds."""

    latency_seconds: float
    status: int | None = None
    body: str | None = None
    error: str | None = None


class Deliveries(Protocol):
    """The outbox of webhooks, of all tenants, as workers need it. All raise Unavailable."""

    async def claim(self, most: int, most_each: int, lease_seconds: float) -> Sequence[Outgoing]:
        """Deliveries to make now, at most so many, and at most so many at once for each webhook, over all workers.

        In each execution in the order of the events, though not behind one that waits for its next attempt. Counts the
        attempt; whoever has not settled it when the lease is over, is taken for dead.
        """
        ...

    async def settle(
        self, delivery: WebhookDelivery, status: DeliveryStatus, answered: Answered, wait_seconds: float | None
    ) -> bool:
        """Write what became of an attempt; PENDING makes another one after so long. False when the lease was lost.

        A webhook that has only failed for days is disabled.
        """
        ...

    async def forget(self, limit: int) -> int:
        """Remove deliveries, at most so many, that are too old, and secrets that are not valid any more."""
        ...


class WebhookClient(Protocol):
    """Sends deliveries over HTTP."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answered:
        """One request to a public address, or one that the operator allows; follows no redirect. Never raises."""
        ...
