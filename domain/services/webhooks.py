"""Use cases on webhooks: make, change, archive, new secrets, pings, redeliveries. Sending is `services.deliveries`."""

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from domain.errors import Archived, Conflict, Invalid, StaleVersion, located
from domain.model.addresses import PrivateHosts
from domain.model.identity import TenantId, utc_now
from domain.model.rules import Rules
from domain.model.webhook import MAX_WEBHOOKS, PING, DeliveryStatus, Webhook, WebhookDelivery, WebhookSecret
from domain.ports import UnitOfWork, UnitsOfWork, Vault

SIGNING_PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
OLD_SECRET_SECONDS: Final = 86_400.0
MAX_OLD_SECRET_SECONDS: Final = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Revealed:
    """A webhook and its new secret in plain text: this is the only time that anybody sees it."""

    webhook: Webhook
    secret: str = field(repr=False)


class Webhooks:
    """The use cases. All that take an id raise NotFound, and Archived but for `restore`.

    `private` are the hosts in private networks that the operator allows; they alone may be reached without TLS.
    """

    def __init__(self, units: UnitsOfWork, vault: Vault, private: PrivateHosts) -> None:
        self.units = units
        self.vault = vault
        self.private = private

    async def create(self, webhook: Webhook) -> Revealed:
        """A new webhook with its secret. Raises Invalid, NameTaken, NotFound, Archived for the project, Unavailable."""
        webhook.check()
        self._check_reach(webhook)
        locked, secret = self._new_secret(webhook)
        async with self.units(webhook.tenant_id) as unit:
            await self._enter(unit, webhook)
            await unit.webhooks.add(webhook)
            await unit.webhooks.replace_secret(locked, 0)
            await unit.commit()
        return Revealed(webhook, secret)

    async def update(self, tenant_id: TenantId, identifier: UUID, version: int, changes: Mapping[str, Any]) -> Webhook:
        """Change some fields; enabling forgets why it was disabled. Also raises StaleVersion, Invalid, NameTaken."""
        async with self._open(tenant_id, identifier) as (unit, current):
            if current.version != version:
                raise StaleVersion("Webhook", version, current.version)
            wanted = replace(current, **changes)
            wanted.check()
            if "url" in changes:
                self._check_reach(wanted)
            return await _saved(unit, _enabled(wanted) if changes.get("is_enabled") else wanted)

    async def archive(self, tenant_id: TenantId, identifier: UUID) -> Webhook:
        """Take out of use: nothing is sent any more. One that is archived already stays as it is."""
        async with self._locked(tenant_id, identifier) as (unit, current):
            if current.archived_at:
                return current
            return await _saved(unit, replace(current, archived_at=utc_now()))

    async def restore(self, tenant_id: TenantId, identifier: UUID) -> Webhook:
        """Take back into use; one that is not archived stays as it is. Raises NameTaken, Archived for the project."""
        async with self._locked(tenant_id, identifier) as (unit, current):
            if not current.archived_at:
                return current
            wanted = replace(current, archived_at=None)
            await self._enter(unit, wanted)
            return await _saved(unit, wanted)

    async def rotate_secret(
        self, tenant_id: TenantId, identifier: UUID, old_valid_seconds: float = OLD_SECRET_SECONDS
    ) -> Revealed:
        """A new secret; deliveries are signed with the old one as well for so long. Raises Invalid, Unavailable."""
        rules = Rules()
        rules.between(old_valid_seconds, 0, MAX_OLD_SECRET_SECONDS, "oldValidSeconds")
        rules.hold()
        async with self._open(tenant_id, identifier) as (unit, current):
            locked, secret = self._new_secret(current)
            await unit.webhooks.replace_secret(locked, old_valid_seconds)
            await unit.commit()
        return Revealed(current, secret)

    async def test(self, tenant_id: TenantId, identifier: UUID) -> WebhookDelivery:
        """Queue a ping, also for one that is disabled; while one is under way, that one."""
        async with self._open(tenant_id, identifier) as (unit, current):
            queued = await unit.webhooks.queue(WebhookDelivery(tenant_id, current.id, PING))
            await unit.commit()
        return queued

    async def redeliver(self, tenant_id: TenantId, delivery_id: UUID) -> WebhookDelivery:
        """Queue the same event once more; while a delivery of it is under way, that one.

        Raises Conflict while the webhook is disabled.
        """
        async with self.units(tenant_id) as unit:
            with located("deliveryId"):
                first = await unit.webhooks.get_delivery(delivery_id)
                webhook = await unit.webhooks.lock(first.webhook_id)
                _check_open(webhook)
                if not webhook.is_enabled and first.event_type != PING:
                    raise _disabled()
            queued = first if first.status is DeliveryStatus.PENDING else await unit.webhooks.queue(first.again())
            await unit.commit()
        return queued

    @asynccontextmanager
    async def _locked(self, tenant_id: TenantId, identifier: UUID) -> AsyncIterator[tuple[UnitOfWork, Webhook]]:
        with located("id"):
            async with self.units(tenant_id) as unit:
                yield unit, await unit.webhooks.lock(identifier)

    @asynccontextmanager
    async def _open(self, tenant_id: TenantId, identifier: UUID) -> AsyncIterator[tuple[UnitOfWork, Webhook]]:
        async with self._locked(tenant_id, identifier) as (unit, current):
            _check_open(current)
            yield unit, current

    async def _enter(self, unit: UnitOfWork, webhook: Webhook) -> None:
        with located("projectId"):
            if (await unit.projects.get(webhook.project_id)).archived_at:
                raise Archived("Project")
        if await unit.webhooks.count(webhook.project_id) >= MAX_WEBHOOKS:
            raise Invalid.at(f"A project has at most {MAX_WEBHOOKS} webhooks: archive some.", "projectId")

    def _new_secret(self, webhook: Webhook) -> tuple[WebhookSecret, str]:
        secret = SIGNING_PREFIX + secrets.token_urlsafe(SECRET_BYTES)
        ciphertext = self.vault.lock(webhook.tenant_id, webhook.binding, secret)
        return WebhookSecret(webhook.tenant_id, webhook.id, ciphertext), secret

    def _check_reach(self, webhook: Webhook) -> None:
        """What its text alone tells to be out of reach is refused at once; where a name leads is seen at each call."""
        if not self.private.may_reach(webhook.url):
            raise Invalid.at(f"This is not on the public internet; {_HOW_TO_ALLOW}.", "url")
        if urlsplit(webhook.url).scheme != "https" and not self.private.may_reach_plainly(webhook.url):
            raise Invalid.at("Only https is sent over the public internet.", "url")


_HOW_TO_ALLOW: Final = "the operator can allow it with REGATTA_ALLOWED_PRIVATE_HOSTS"


def _check_open(webhook: Webhook) -> None:
    if webhook.archived_at:
        raise Archived("Webhook")


def _enabled(webhook: Webhook) -> Webhook:
    return replace(webhook, disabled_reason=None, failing_since=None)


def _disabled() -> Conflict:
    error = Conflict("The webhook is disabled.")
    error.suggestion = "Enable it first."
    return error


async def _saved(unit: UnitOfWork, wanted: Webhook) -> Webhook:
    saved = await unit.webhooks.update(wanted)
    await unit.commit()
    return saved
