"""Forgetting what tenants do not want kept any longer: in short transactions, with pauses, beside everything else."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from domain.ports import Retention

BATCH: Final = 1_000
"""So many rows in one transaction, at most: some tens of milliseconds."""

PAUSE_SECONDS: Final = 0.05
"""Between two of them, for whatever is more urgent."""

MOST_BATCHES: Final = 1_000
"""Of each kind in one sweep; the next sweep goes on."""

_MOST_MONTHS: Final = 12


class ForgetOld:
    """Empties old executions and removes old deliveries, fires and alerts. Any number of workers may do it at once."""

    def __init__(self, retention: Retention, batch: int = BATCH, pause_seconds: float = PAUSE_SECONDS) -> None:
        self.retention = retention
        self.batch = batch
        self.pause_seconds = pause_seconds

    async def sweep(self) -> int:
        """All that is old, within bounds; returns how many rows were emptied or removed. Raises Unavailable."""
        retention = self.retention
        rows = (retention.forget_deliveries, retention.forget_fires, retention.forget_alerts, retention.forget_audit)
        steps = (retention.archive, *rows)
        forgotten = sum([await self._in_batches(step) for step in steps])
        for _ in range(_MOST_MONTHS):
            if not await retention.drop_month():
                break
        return forgotten

    async def _in_batches(self, step: Callable[[int], Awaitable[int]]) -> int:
        count = 0
        for _ in range(MOST_BATCHES):
            done = await step(self.batch)
            count += done
            if done < self.batch:
                break
            await asyncio.sleep(self.pause_seconds)
        return count
