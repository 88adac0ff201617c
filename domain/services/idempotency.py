"""Requests that are carried out once: the first result of a key stands for every later request with it."""

import hashlib
import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from domain.model.rules import Rules
from domain.ports import UnitOfWork


@dataclass(frozen=True, slots=True)
class Once:
    """An idempotency key, None for none, and all that is asked for under it, or a hash of that.

    Equal requests ask for equal JSON.
    """

    key: str | None
    asked: tuple[Any, ...] | str

    def check(self) -> None:
        """Raises Invalid for a key that is none."""
        if self.key is not None:
            rules = Rules()
            rules.key(self.key, "idempotencyKey")
            rules.hold()

    async def first(self, unit: UnitOfWork) -> UUID | None:
        """The result of the first request with the key; None when this is the first, or there is no key.

        Waits for one that is under way. Raises IdempotencyConflict when the key stands for another request.
        """
        return None if self.key is None else await unit.idempotency.claim(self.key, self._fingerprint)

    async def keep(self, unit: UnitOfWork, result: UUID) -> None:
        """Remember the result, in this unit of work."""
        if self.key is not None:
            await unit.idempotency.keep_result(self.key, result)

    @property
    def _fingerprint(self) -> str:
        if isinstance(self.asked, str):
            return self.asked
        text = json.dumps(self.asked, sort_keys=True, default=_told)
        return hashlib.sha256(text.encode()).hexdigest()


def _told(value: Any) -> str:
    """What JSON has no word for, as text; amounts are the same however they are written, 50 and 50.0."""
    return str(value.normalize() if isinstance(value, Decimal) else value)
