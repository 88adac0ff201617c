"""Following alerts: one store reader per tenant and process, shared by all who follow them."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from uuid import UUID

from domain.model.alert import Alert, AlertState
from domain.model.identity import TenantId, utc_now
from domain.ports import Reader, alerts_topic
from domain.services.snapshots import ACTIVITY_LIMIT, MESSAGE_SIZE, RECENT, Snapshots


class AlertFeed:
    """The live alerts of one process."""

    def __init__(self, reader: Reader, snapshots: Snapshots) -> None:
        self._reader = reader
        self._snapshots = snapshots

    async def follow(
        self, tenant_id: TenantId, is_wanted: Callable[[Alert], bool]
    ) -> AsyncGenerator[Sequence[Alert], None]:
        """The tenant's wanted alerts that fire, in at least one message; then those that fired or were resolved.

        Without end. While the store does not answer it waits. Of more than `ACTIVITY_LIMIT` the oldest are left out.
        """

        async def read() -> Sequence[Alert]:
            return await self._reader.alert_activity(tenant_id, utc_now() - RECENT, ACTIVITY_LIMIT)

        with self._snapshots.joined((tenant_id, "alerts"), alerts_topic(tenant_id), read) as shared:
            version, rows = await shared.newer(0)
            known = _states(rows)
            firing = [alert for alert in rows if alert.is_open and is_wanted(alert)]
            for start in range(0, max(1, len(firing)), MESSAGE_SIZE):
                yield firing[start : start + MESSAGE_SIZE]
            while True:
                version, rows = await shared.newer(version)
                gone = {it for it, state in known.items() if state is AlertState.FIRING} - _states(rows).keys()
                resolved = [it for it in await self._snapshots.lost(Alert, tenant_id, gone) if not it.is_open]
                changed = [it for it in (*rows, *resolved) if known.get(it.id) is not it.state and is_wanted(it)]
                known = _states(rows)
                for start in range(0, len(changed), MESSAGE_SIZE):
                    yield changed[start : start + MESSAGE_SIZE]


def _states(rows: Sequence[Alert]) -> Mapping[UUID, AlertState]:
    return {alert.id: alert.state for alert in rows}
