"""Sends what webhooks are to be told: what goes over the line, how it is signed, and when it is tried again.

Nothing is held while a request is under way but a lease on its row: whoever dies in the middle leaves it behind, and
somebody makes another attempt later. So an event may arrive twice, and none is lost.
"""

import asyncio
import hashlib
import hmac
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import structlog

from domain.errors import Unavailable
from domain.model.alert import AlertMetric, Evidence
from domain.model.alert_actions import SuggestedAction, actions_for
from domain.model.money import CURRENCY
from domain.model.texts import camel
from domain.model.webhook import DeliveryStatus, Webhook, WebhookDelivery
from domain.ports import Answered, Deliveries, Outgoing, Vault, WebhookClient

GlobalIds = Callable[[str, UUID], str]
"""The id of a thing of this kind, as the graph shows it."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DeliveryRules:
    """How deliveries are made. Seconds.

    An attempt that failed is made again after the next of `waits`, less up to a fifth of it by chance, so that many do
    not come back at once; after the last it has failed for good. All waits together are less than a day.
    """

    most: int = 32
    most_each: int = 4
    lease_seconds: float = 60.0
    waits: Sequence[float] = (10, 60, 300, 1_800, 7_200, 18_000, 28_800, 25_200)
    jitter: float = 0.2
    round_seconds: float = 5.0
    """So long at most one call of `deliver` goes on while there is more to do."""
    patience_seconds: float = 1.0
    """So long it waits for one of the requests under way before it looks again."""
    tidy_seconds: float = 600.0
    tidy_limit: int = 1_000

    def wait_after(self, attempts: int) -> float | None:
        """How long to wait behind so many attempts; None when that was the last."""
        if attempts > len(self.waits):
            return None
        return self.waits[attempts - 1] * (1 - self.jitter * random.random())  # noqa: S311 - no secret


class DeliverWebhooks:
    """The duty of a worker that empties the outbox. At most `rules.most` requests are under way at once."""

    def __init__(
        self,
        deliveries: Deliveries,
        client: WebhookClient,
        vault: Vault,
        global_id: GlobalIds,
        rules: DeliveryRules | None = None,
    ) -> None:
        self.deliveries = deliveries
        self.client = client
        self.vault = vault
        self.global_id = global_id
        self.rules = rules or DeliveryRules()
        self._under_way: set[asyncio.Task[None]] = set()
        self._tidied_at = -self.rules.tidy_seconds

    async def deliver(self) -> int:
        """Begin what is due; returns how many requests were begun. To be called every second, one call at a time.

        Goes on while something comes to an end and more is due, for a few seconds at most. It does not wait for the
        slow ones: those go on behind its back, until `close`. Raises Unavailable.
        """
        await self._tidy()
        begun, until = 0, time.monotonic() + self.rules.round_seconds
        while True:
            free = self.rules.most - len(self._under_way)
            claimed = await self._claim(free)
            begun += len(claimed)
            if (free and not claimed) or time.monotonic() > until:
                return begun
            await asyncio.wait(
                self._under_way, timeout=self.rules.patience_seconds, return_when=asyncio.FIRST_COMPLETED
            )

    async def close(self, grace_seconds: float = 0.0) -> None:
        """Wait so long for the requests under way, then drop the rest: they are made again behind their leases."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=grace_seconds)
        left = list(self._under_way)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _claim(self, free: int) -> Sequence[Outgoing]:
        if not free:
            return []
        claimed = await self.deliveries.claim(free, self.rules.most_each, self.rules.lease_seconds)
        for outgoing in claimed:
            task = asyncio.create_task(self._make(outgoing))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        return claimed

    async def _make(self, outgoing: Outgoing) -> None:
        delivery = outgoing.delivery
        try:
            answered = await self._answer(outgoing)
            status, wait_seconds = self._verdict(delivery, answered)
            await self.deliveries.settle(delivery, status, answered, wait_seconds)
        except Exception as error:  # noqa: BLE001 - the lease ends, and another attempt follows
            _log.warning("delivery_not_settled", delivery=str(delivery.id), error=repr(error))

    async def _answer(self, outgoing: Outgoing) -> Answered:
        body = body_of(outgoing.delivery, outgoing.webhook, self.global_id)
        try:
            signature = signed(body, self._secrets(outgoing), int(time.time()))
        except Unavailable as error:
            return Answered(0.0, error=str(error))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Regatta",
            "Regatta-Webhook-Id": self.global_id("Webhook", outgoing.webhook.id),
            "Regatta-Delivery-Id": self.global_id("WebhookDelivery", outgoing.delivery.id),
            "Regatta-Signature": signature,
        }
        return await self.client.post(outgoing.webhook.url, headers, body)

    def _secrets(self, outgoing: Outgoing) -> Sequence[str]:
        binding = outgoing.webhook.binding
        return [self.vault.unlock(secret.tenant_id, binding, secret.ciphertext) for secret in outgoing.secrets]

    def _verdict(self, delivery: WebhookDelivery, answered: Answered) -> tuple[DeliveryStatus, float | None]:
        if answered.status is not None and _LEAST_SUCCESS <= answered.status <= _MOST_SUCCESS:
            return DeliveryStatus.SUCCEEDED, None
        wait_seconds = self.rules.wait_after(delivery.attempts)
        return (DeliveryStatus.FAILED if wait_seconds is None else DeliveryStatus.PENDING), wait_seconds

    async def _tidy(self) -> None:
        """Forget old deliveries, a batch at a time: the next batch with the next call, while there is one."""
        if time.monotonic() - self._tidied_at < self.rules.tidy_seconds:
            return
        if await self.deliveries.forget(self.rules.tidy_limit) < self.rules.tidy_limit:
            self._tidied_at = time.monotonic()


_LEAST_SUCCESS: Final = 200
_MOST_SUCCESS: Final = 299


def signed(body: bytes, secrets: Sequence[str], moment: int) -> str:
    """The value of the header Regatta-Signature: the moment in Unix seconds, and a signature with each secret."""
    text = b"%d." % moment + body
    each = (hmac.new(secret.encode(), text, hashlib.sha256).hexdigest() for secret in secrets)
    return ",".join([f"t={moment}", *(f"v1={signature}" for signature in each)])


def body_of(delivery: WebhookDelivery, webhook: Webhook, global_id: GlobalIds) -> bytes:
    """What is sent. Names, ids and money are as the graph shows them; `id` is the same whenever it is sent again."""
    data: dict[str, Any] = {"projectId": global_id("Project", webhook.project_id)}
    if delivery.alert_id is not None:
        identifier = f"{delivery.alert_id}-{delivery.sequence}"
        data |= _alert(delivery.payload, global_id)
    elif delivery.execution_id is None:
        identifier = str(delivery.id)
        data["webhookId"] = global_id("Webhook", webhook.id)
    else:
        identifier = f"{delivery.execution_id}-{delivery.sequence}"
        envelope = {
            "execution_id": str(delivery.execution_id),
            "sequence": delivery.sequence,
            "task_execution_id": _text(delivery.task_execution_id),
            "role_id": _text(delivery.role_id),
        }
        data |= _shown({**envelope, **delivery.payload}, global_id)
    whole = {
        "id": identifier,
        "type": delivery.event_type,
        "createdAt": delivery.occurred_at.isoformat(),
        "data": data,
    }
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()


_KINDS: Final = {
    "execution_id": "Execution",
    "task_execution_id": "TaskExecution",
    "role_id": "Role",
    "to_role_id": "Role",
    "approval_id": "Approval",
    "alert_id": "Alert",
    "rule_id": "AlertRule",
    "project_id": "Project",
    "team_id": "Team",
}
"""Of what kind a thing is that an event refers to by this name."""

_AMOUNT: Final = "_amount"


def _alert(payload: Mapping[str, Any], global_id: GlobalIds) -> dict[str, Any]:
    """What an alert says, with its evidence and what can be done; of one of the tenant the project is the webhook's."""
    told = {name: value for name, value in payload.items() if name != "project_id" or value is not None}
    metric = AlertMetric(payload["metric"])
    details = [Evidence.from_document(each) for each in payload["evidence"]]
    return _shown(told, global_id) | {
        "evidence": [_shown(each, global_id) for each in payload["evidence"]],
        "suggestedActions": [_action(each) for each in actions_for(metric, details, global_id)],
    }


def _action(action: SuggestedAction) -> dict[str, Any]:
    return {"text": action.text, "mutation": action.mutation, "arguments": action.arguments}


def _text(identifier: UUID | None) -> str | None:
    return None if identifier is None else str(identifier)


def _shown(values: Mapping[str, Any], global_id: GlobalIds) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, value in values.items():
        if name in _KINDS and value is not None:
            shown[camel(name)] = global_id(_KINDS[name], UUID(value))
        elif name.endswith(_AMOUNT):
            shown[camel(name.removesuffix(_AMOUNT))] = {"amount": format(Decimal(value), "f"), "currency": CURRENCY}
        else:
            shown[camel(name)] = _shown(value, global_id) if isinstance(value, dict) else value
    return shown
