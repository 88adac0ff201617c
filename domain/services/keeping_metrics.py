"""The worker's duty to metrics: what ended is added to the sums that overviews are read from."""

from typing import Final

from domain.ports.metrics import RollUps

BATCH: Final = 2_000
"""So many facts are added in one transaction…"""

LARGE_BATCH: Final = 20_000
"""…and so many where more wait: together they cost less each."""

MOST_BATCHES: Final = 50
"""So many batches in a row; the rest at the next time."""


class KeepMetrics:
    """Any number of workers may: one of them at a time does. Raises Unavailable."""

    def __init__(self, rollups: RollUps) -> None:
        self._rollups = rollups

    async def roll_up(self) -> int:
        """How many facts were added."""
        total, batch = 0, BATCH
        for _ in range(MOST_BATCHES):
            done = await self._rollups.roll_up(batch)
            total += done
            if done == 0:
                break
            batch = LARGE_BATCH if done >= batch else BATCH
        return total

    async def forget(self) -> int:
        """How many sums by the hour were removed, for they are too old."""
        total = 0
        for _ in range(MOST_BATCHES):
            done = await self._rollups.forget_hours(BATCH)
            total += done
            if done < BATCH:
                break
        return total
