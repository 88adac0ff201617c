"""The outbox of webhooks as workers need it: claiming under a lease, settling, forgetting. Of all tenants."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from domain.model.webhook import PING, DeliveryStatus, Webhook, WebhookDelivery, WebhookSecret
from domain.ports import Answered, Deliveries, Outgoing
from persistence.errors import reachable
from persistence.mapping import builder_of, names_of

if TYPE_CHECKING:
    import asyncpg

KEPT_DAYS: Final = 30
FAILING_DAYS: Final = 3
"""A webhook of which no attempt succeeded for so long is disabled."""

_LOOKED_AT: Final = 200
"""So many of a webhook's deliveries that are due are looked at, oldest first: the first of them can always go."""


def _columns(kind: type[Any], alias: str) -> str:
    return ", ".join(f"{alias}.{name}" for name in names_of(kind))


# One worker at a time, for a moment: so the limit for each webhook holds exactly. From webhook to webhook that has
# something open through the index, however much one of them has. In a random order: when there is not room for all,
# nobody is always the last.
#
# Planned anew each time, for this transaction alone: a plan that was made while the table was empty, and is kept for as
# long as its connection, takes seconds when 100,000 deliveries are open.
_ONE_AT_A_TIME = """
    SELECT pg_advisory_xact_lock(hashtextextended('webhook deliveries', 0)),
        set_config('plan_cache_mode', 'force_custom_plan', true)
"""
_CLAIM = f"""
    WITH RECURSIVE open AS (
        (
            SELECT tenant_id, webhook_id FROM webhook_delivery WHERE status = 'PENDING'
            ORDER BY tenant_id, webhook_id LIMIT 1
        )
        UNION ALL
        SELECT next.tenant_id, next.webhook_id FROM open CROSS JOIN LATERAL (
            SELECT tenant_id, webhook_id FROM webhook_delivery
            WHERE status = 'PENDING' AND (tenant_id, webhook_id) > (open.tenant_id, open.webhook_id)
            ORDER BY tenant_id, webhook_id LIMIT 1
        ) AS next
    ),
    picked AS MATERIALIZED (
        SELECT due.tenant_id, due.id
        FROM (SELECT * FROM open ORDER BY random()) AS open
        JOIN webhook ON webhook.tenant_id = open.tenant_id AND webhook.id = open.webhook_id
        CROSS JOIN LATERAL (
            SELECT oldest.tenant_id, oldest.id FROM (
                SELECT * FROM webhook_delivery AS each
                WHERE each.tenant_id = open.tenant_id AND each.webhook_id = open.webhook_id
                    AND each.status = 'PENDING' AND each.next_attempt_at <= now()
                    AND (webhook.is_enabled OR each.event_type = '{PING}')
                ORDER BY each.next_attempt_at, each.sequence LIMIT {_LOOKED_AT}
            ) AS oldest
            WHERE (oldest.locked_until IS NULL OR oldest.locked_until <= now()) AND NOT EXISTS (
                SELECT FROM webhook_delivery AS earlier
                WHERE earlier.tenant_id = oldest.tenant_id AND earlier.webhook_id = oldest.webhook_id
                    AND earlier.status = 'PENDING' AND earlier.execution_id = oldest.execution_id
                    AND earlier.sequence < oldest.sequence AND earlier.next_attempt_at <= oldest.next_attempt_at
            )
            ORDER BY oldest.next_attempt_at, oldest.sequence
            LIMIT greatest(0, $2 - (
                SELECT count(*) FROM webhook_delivery AS busy
                WHERE busy.tenant_id = open.tenant_id AND busy.webhook_id = open.webhook_id
                    AND busy.locked_until > now()
            ))
        ) AS due
        WHERE webhook.archived_at IS NULL
        LIMIT $1
    ),
    locked AS MATERIALIZED (
        SELECT row.tenant_id, row.id FROM webhook_delivery AS row JOIN picked USING (tenant_id, id)
        FOR UPDATE OF row SKIP LOCKED
    )
    UPDATE webhook_delivery AS row
    SET attempts = row.attempts + 1, locked_until = now() + make_interval(secs => $3)
    FROM locked JOIN picked USING (tenant_id, id)
    WHERE row.tenant_id = locked.tenant_id AND row.id = locked.id AND row.status = 'PENDING'
    RETURNING {_columns(WebhookDelivery, "row")}
"""  # noqa: S608 - our own columns and constants
_WEBHOOKS = f"""
    SELECT {_columns(Webhook, "webhook")} FROM webhook
    JOIN unnest($1::uuid[], $2::uuid[]) AS wanted(tenant_id, id) USING (tenant_id, id)
"""  # noqa: S608 - our own columns
_SECRETS = f"""
    SELECT {_columns(WebhookSecret, "secret")} FROM webhook_secret AS secret
    JOIN unnest($1::uuid[], $2::uuid[]) AS wanted(tenant_id, webhook_id) USING (tenant_id, webhook_id)
    WHERE secret.expires_at IS NULL OR secret.expires_at > now() ORDER BY secret.created_at DESC, secret.id DESC
"""  # noqa: S608 - our own columns

# The number of the attempt is the proof of the lease: whoever took the delivery over has another one.
_SETTLE = """
    UPDATE webhook_delivery SET status = $4, locked_until = NULL,
        next_attempt_at = CASE WHEN $4 = 'PENDING' THEN now() + make_interval(secs => $5) END,
        finished_at = CASE WHEN $4 <> 'PENDING' THEN now() END,
        response_status = $6, response_body = $7, error = $8, latency_seconds = $9
    WHERE tenant_id = $1 AND id = $2 AND attempts = $3 AND status = 'PENDING' RETURNING id
"""
_WELL = "UPDATE webhook SET failing_since = NULL WHERE tenant_id = $1 AND id = $2 AND failing_since IS NOT NULL"
_FAILING = """
    UPDATE webhook SET failing_since = now()
    WHERE tenant_id = $1 AND id = $2 AND failing_since IS NULL AND is_enabled
"""
_DISABLE = f"""
    UPDATE webhook SET is_enabled = false, version = version + 1, updated_at = now(), disabled_reason =
        'No delivery succeeded since ' || to_char(failing_since AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC.'
    WHERE tenant_id = $1 AND id = $2 AND is_enabled AND failing_since < now() - interval '{FAILING_DAYS} days'
"""  # noqa: S608 - a constant
_FORGET = f"""
    DELETE FROM webhook_delivery WHERE (tenant_id, id) IN (
        SELECT tenant_id, id FROM webhook_delivery WHERE created_at < now() - interval '{KEPT_DAYS} days'
        ORDER BY created_at LIMIT $1 FOR UPDATE SKIP LOCKED
    ) RETURNING id
"""  # noqa: S608 - a constant
_FORGET_SECRETS = "DELETE FROM webhook_secret WHERE expires_at < now()"


class SqlDeliveries:
    """See `domain.ports.Deliveries`. The database's clock counts: those of machines differ."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self.pool = pool

    async def claim(self, most: int, most_each: int, lease_seconds: float) -> Sequence[Outgoing]:
        with reachable():
            async with self.pool.acquire() as connection:
                async with connection.transaction():
                    await connection.execute(_ONE_AT_A_TIME)
                    rows = await connection.fetch(_CLAIM, most, most_each, lease_seconds)
                return await self._with_webhooks(connection, [builder_of(WebhookDelivery)(row) for row in rows])

    async def _with_webhooks(self, connection: Any, claimed: Sequence[WebhookDelivery]) -> Sequence[Outgoing]:
        if not claimed:
            return []
        wanted = {(delivery.tenant_id, delivery.webhook_id) for delivery in claimed}
        keys = [list(column) for column in zip(*wanted, strict=True)]
        webhooks = {each.id: each for each in map(builder_of(Webhook), await connection.fetch(_WEBHOOKS, *keys))}
        secrets = [*map(builder_of(WebhookSecret), await connection.fetch(_SECRETS, *keys))]
        return [
            Outgoing(
                delivery,
                webhooks[delivery.webhook_id],
                [secret for secret in secrets if secret.webhook_id == delivery.webhook_id],
            )
            for delivery in claimed
        ]

    async def settle(
        self, delivery: WebhookDelivery, status: DeliveryStatus, answered: Answered, wait_seconds: float | None
    ) -> bool:
        with reachable():
            async with self.pool.acquire() as connection, connection.transaction():
                settled = await connection.fetchval(
                    _SETTLE,
                    delivery.tenant_id,
                    delivery.id,
                    delivery.attempts,
                    status.value,
                    wait_seconds,
                    answered.status,
                    answered.body,
                    answered.error,
                    answered.latency_seconds,
                )
                if settled is None:
                    return False
                its = (delivery.tenant_id, delivery.webhook_id)
                for statement in [_WELL] if status is DeliveryStatus.SUCCEEDED else [_DISABLE, _FAILING]:
                    await connection.execute(statement, *its)
        return True

    async def forget(self, limit: int) -> int:
        with reachable():
            await self.pool.execute(_FORGET_SECRETS)
            return len(await self.pool.fetch(_FORGET, limit))


def _conforms(deliveries: SqlDeliveries) -> Deliveries:
    return deliveries
