"""The worker's duty to generations: claims what waits, carries it out, keeps the leases, lets go of what is lost."""

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress
from time import monotonic
from typing import Final

import structlog

from domain.errors import RegattaError
from domain.model.identity import GenerationId
from domain.ports import GENERATIONS
from domain.ports.generations import ClaimedGeneration, GenerationOwnership
from domain.services.generation_run import GenerationParts, GenerationRun

LEASE_SECONDS: Final = 30.0
"""So long after its last word a worker's generations are taken over by others."""

FLUSH_SECONDS: Final = 1.0
"""So long a worker that stops waits for what is being booked…"""

BOOKING_SECONDS: Final = 30.0
"""…and so long one that does not: what is given up counts as lost, at the most that it could have cost."""

_LEAVING_SECONDS: Final = 1.0

_log = structlog.get_logger(__name__)


class GenerateTeams:
    """Works on generations in so many places; a worker has one of these, and calls `tend` again and again.

    Any number of workers may: a generation is claimed by one of them, and who lost it writes nothing.
    """

    def __init__(
        self, parts: GenerationParts, worker_id: str, places: int, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        self._parts = parts
        self._worker_id = worker_id
        self._places = places
        self._lease_seconds = lease_seconds
        self._owned: dict[GenerationId, tuple[GenerationOwnership, asyncio.Task[None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._claiming = asyncio.Lock()
        self._is_stopping = False
        self._tended_at: float | None = None
        self._takes_over_from = 0.0

    @property
    def active(self) -> int:
        """How many generations are being worked on."""
        return len(self._owned)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being worked on, and all that was spent is booked: a place is free before that."""
        return not self._tasks

    async def tend(self) -> None:
        """Keep what is ours, stop what is not wanted any more, and take what waits. Raises Unavailable.

        While the database was away nobody could renew a lease: after that, everybody has his time anew.
        """
        await self._renew()
        if self._tended_at is not None and monotonic() - self._tended_at > self._lease_seconds / 2:
            self._takes_over_from = monotonic() + self._lease_seconds
        await self._take()
        self._tended_at = monotonic()

    async def _renew(self) -> None:
        owned = [ownership for ownership, _ in self._owned.values()]
        if not owned:
            return
        kept = await self._parts.store.renew(owned, self._lease_seconds)
        for ownership in owned:
            held = self._owned.get(ownership.generation_id)
            # Meanwhile it may be over, or claimed anew.
            if ownership.generation_id not in kept and held is not None and held[0] == ownership:
                _log.info("generation_stopped", generation=str(ownership.generation_id))
                del self._owned[ownership.generation_id]  # once: it has to book what it spent
                held[1].cancel()

    async def _take(self) -> None:
        async with self._claiming:
            free = self._places - self.active
            if free <= 0 or self._is_stopping:
                return
            takes_over = monotonic() >= self._takes_over_from
            claim = self._parts.store.claim
            for each in await claim(self._worker_id, free, self._lease_seconds, takes_over=takes_over):
                self._begin(each)

    def _begin(self, claimed: ClaimedGeneration) -> None:
        before = self._owned.get(claimed.ownership.generation_id)
        if before is not None:
            before[1].cancel()  # its lease ended here, and we were the next ourselves
        task = asyncio.create_task(self._carry_out(claimed))
        self._owned[claimed.ownership.generation_id] = (claimed.ownership, task)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_out(self, claimed: ClaimedGeneration) -> None:
        run = GenerationRun(self._parts, claimed)
        try:
            await run.carry_out()
        finally:
            own = self._owned.get(claimed.ownership.generation_id)
            if own is not None and own[0] == claimed.ownership:
                del self._owned[claimed.ownership.generation_id]
            await run.sink.flush(FLUSH_SECONDS if self._is_stopping else BOOKING_SECONDS)
        with suppress(RegattaError):  # else at the next `tend`
            await self._take()

    async def stop(self, grace_seconds: float) -> None:
        """Let them end for so long; then give the others back, for another worker to go on at once."""
        self._is_stopping = True
        with suppress(TimeoutError):
            async with asyncio.timeout(_LEAVING_SECONDS), self._claiming:
                pass  # what is being claimed is ours in a moment
        await _over(self._tasks, grace_seconds)
        left = [ownership for ownership, _ in self._owned.values()]
        for _, task in self._owned.values():
            task.cancel()
        await _over(self._tasks, FLUSH_SECONDS + _LEAVING_SECONDS)
        if left:
            await self._release(left)

    async def _release(self, left: Sequence[GenerationOwnership]) -> None:
        try:
            async with asyncio.timeout(_LEAVING_SECONDS):
                await self._parts.store.release(left)
                await self._parts.hints.publish([GENERATIONS])
        except (RegattaError, TimeoutError) as error:
            _log.warning("generations_not_released", error=repr(error))  # their leases end by themselves


async def _over(tasks: Collection["asyncio.Task[None]"], seconds: float) -> None:
    """Return when all of them are over, or after so many seconds."""
    if tasks:
        await asyncio.wait(tuple(tasks), timeout=seconds)
