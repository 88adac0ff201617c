"""How much one operation may load: whichever executor runs it asks here before it reads."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

MAX_OBJECTS = 50_000
"""The most objects in one answer; more is a mistake or an attack.

Pages count with all that they may bring, those under several aliases each for itself, and before the first of
their level is read. Lists (roles, tasks, …) count with what they do bring, and are cut off where it is too much.
"""

MAX_MOMENTS = 1_000
"""The most moments in one answer that have to be computed: each takes up to some milliseconds."""

MAX_JUDGED = 1_000
"""The most roles and tasks that one operation has judged, and things whose metrics it reads: each takes up to half a
millisecond."""

JUDGING = 20
"""What is judged counts as so many more, however small it is: much is read for it."""

LIST_SIZE = 100
"""So many things a list of a parent has at most, by the domain's rules."""

Lists = Mapping[UUID, Sequence[Any]]


class TooLarge(Exception):
    """The answer would have more objects than `MAX_OBJECTS`, or more values than the executor takes."""


class Budget:
    """What one operation has promised and loaded so far. Once it is exceeded it stays so."""

    def __init__(self) -> None:
        self._promised = 0
        self._moments = 0
        self._judged = 0
        self._left = MAX_OBJECTS
        self._reading = 0
        self._returned = asyncio.Condition()

    def promise(self, objects: int) -> None:
        """Count what pages may bring; raises TooLarge."""
        self._promised += objects
        self.check()

    def moments(self, count: int) -> None:
        """Count what has to be computed; raises TooLarge."""
        self._moments += count
        self.check()

    def judge(self, parts: int) -> None:
        """Count the parts of one team or proposal that is judged, or of one question for metrics; raises TooLarge."""
        self._judged += JUDGING + parts
        self.check()

    def check(self) -> None:
        """Raises TooLarge when the operation was refused already: what it still has in mind is not read."""
        computed = self._moments > MAX_MOMENTS or self._judged > MAX_JUDGED
        if self._promised > MAX_OBJECTS or computed or self._left < 0:
            raise TooLarge

    async def lists(self, parents: int, load: Callable[[int | None], Awaitable[Lists]]) -> Lists:
        """The lists of so many parents; `load` is given the most rows that it may read. Raises TooLarge.

        Lists that fit whatever they bring are read beside each other; others alone, each with all that is left.
        """
        likely = parents * LIST_SIZE
        async with self._returned:
            await self._returned.wait_for(lambda: likely <= self._left or not self._reading)
            self.check()
            reserved = min(likely, self._left)
            self._left -= reserved
            self._reading += 1
        try:
            found = await load(None if reserved == likely else reserved + 1)
            reserved -= sum(map(len, found.values()))
        finally:
            self._left += reserved
            self._reading -= 1
            async with self._returned:
                self._returned.notify_all()
        self.check()
        return found
