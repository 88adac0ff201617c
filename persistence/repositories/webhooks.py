"""Webhooks with their secrets and deliveries, as mutations need them; the worker's side is `persistence.deliveries`."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import NotFound, StaleVersion
from domain.model.identity import TenantId, utc_now
from domain.model.webhook import DeliveryStatus, Webhook, WebhookDelivery, WebhookSecret
from persistence import tables
from persistence.errors import translated
from persistence.mapping import builder_of, columns_of, values_of

_UNCHANGING = frozenset({"tenant_id", "id", "project_id", "created_at", "created_by"})


class WebhooksTable:
    """See `domain.ports.Webhooks`."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self.connection = connection
        self.tenant_id = tenant_id
        self.table = tables.webhook

    async def get(self, identifier: UUID) -> Webhook:
        return await self._one(select(*columns_of(Webhook)), identifier)

    async def lock(self, identifier: UUID) -> Webhook:
        # Not for the key: whoever stores an event that it is to be told of refers to it, and need not wait.
        return await self._one(select(*columns_of(Webhook)).with_for_update(key_share=True), identifier)

    async def _one(self, statement: Any, identifier: UUID) -> Webhook:
        row = (await self.connection.execute(statement.where(*self._is(identifier)))).one_or_none()
        if row is None:
            raise NotFound("Webhook", identifier)
        return builder_of(Webhook)(row)

    async def add(self, entity: Webhook) -> None:
        with translated():
            await self.connection.execute(insert(self.table).values(values_of(entity)))

    async def update(self, entity: Webhook) -> Webhook:
        changed = replace(entity, version=entity.version + 1, updated_at=utc_now())
        values = {name: value for name, value in values_of(changed).items() if name not in _UNCHANGING}
        statement = update(self.table).where(*self._is(entity.id), self.table.c.version == entity.version)
        with translated():
            result = await self.connection.execute(statement.values(values))
        if result.rowcount == 0:
            raise StaleVersion("Webhook", entity.version, (await self.get(entity.id)).version)
        return changed

    async def count(self, project_id: UUID) -> int:
        lock = text("SELECT pg_advisory_xact_lock(hashtextextended('webhooks ' || :project, 0))")
        await self.connection.execute(lock, {"project": str(project_id)})
        table = self.table
        in_use = (table.c.tenant_id == self.tenant_id, table.c.project_id == project_id, table.c.archived_at.is_(None))
        found: int = (await self.connection.execute(select(func.count()).where(*in_use))).scalar_one()
        return found

    async def replace_secret(self, secret: WebhookSecret, valid_seconds: float) -> None:
        table = tables.webhook_secret
        its = (table.c.tenant_id == self.tenant_id, table.c.webhook_id == secret.webhook_id)
        until = utc_now() + timedelta(seconds=valid_seconds)
        await self.connection.execute(delete(table).where(*its, table.c.expires_at.is_not(None)))
        await self.connection.execute(update(table).where(*its).values(expires_at=until))
        await self.connection.execute(insert(table).values(values_of(secret)))

    async def get_delivery(self, identifier: UUID) -> WebhookDelivery:
        table = tables.webhook_delivery
        statement = select(*columns_of(WebhookDelivery)).where(
            table.c.tenant_id == self.tenant_id, table.c.id == identifier
        )
        row = (await self.connection.execute(statement)).one_or_none()
        if row is None:
            raise NotFound("WebhookDelivery", identifier)
        return builder_of(WebhookDelivery)(row)

    async def queue(self, delivery: WebhookDelivery) -> WebhookDelivery:
        table = tables.webhook_delivery
        same = select(*columns_of(WebhookDelivery)).where(
            table.c.tenant_id == self.tenant_id,
            table.c.webhook_id == delivery.webhook_id,
            table.c.status == DeliveryStatus.PENDING.value,
            table.c.execution_id.is_not_distinct_from(delivery.execution_id),
            table.c.alert_id.is_not_distinct_from(delivery.alert_id),
            table.c.sequence.is_not_distinct_from(delivery.sequence),
            table.c.event_type == delivery.event_type,
        )
        row = (await self.connection.execute(same.limit(1))).one_or_none()
        if row is not None:
            return builder_of(WebhookDelivery)(row)
        await self.connection.execute(insert(table).values(values_of(delivery)))
        return delivery

    def _is(self, identifier: UUID) -> tuple[Any, Any]:
        return self.table.c.tenant_id == self.tenant_id, self.table.c.id == identifier
