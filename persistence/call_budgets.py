"""Reserving before a model call; what is booked afterwards is in `persistence.bookings`. The sums live in SQL."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import structlog

from domain.model.budget import Shortfall
from domain.ports import CallBudgets, Reservation, Ruling, Verdict
from persistence.errors import reachable, unheld
from persistence.mapping import document_of

_RESERVE = "SELECT verdict, wait_seconds, shortfall FROM reserve_call($1)"
_RELEASE = "SELECT release_call($1, $2)"
_COOL_DOWN = """
    INSERT INTO provider_limit AS kept (credential, model, cooling_until, reason)
    VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3), $4)
    ON CONFLICT (credential, model) DO UPDATE
    SET cooling_until = excluded.cooling_until, reason = excluded.reason
    WHERE kept.cooling_until IS NULL OR kept.cooling_until < excluded.cooling_until
"""

_log = structlog.get_logger(__name__)


class SqlCallBudgets:
    """See `domain.ports.CallBudgets`: one statement each, committed by itself. The database's clock counts.

    Reserving may wait for an account that somebody holds. It uses at most half of the pool's connections, so that
    bookings, which let go of accounts, and the heartbeat of the worker find one.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", places: asyncio.Semaphore | None = None) -> None:
        """`places` are those of the database, None: this is the only one that waits on the pool."""
        self.pool = pool
        self._places = places or asyncio.Semaphore(max(1, pool.get_max_size() // 2))

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        async with self._places:
            with unheld("a budget"):
                yield

    async def reserve(self, reservation: Reservation) -> Ruling:
        async with self._place():
            row = await self.pool.fetchrow(_RESERVE, _document(reservation))
        if row is None:  # a function with OUT parameters always has one row
            raise RuntimeError("reserve_call gave no verdict")
        shortfall = Shortfall.from_document(row["shortfall"]) if row["shortfall"] else None
        return Ruling(Verdict(row["verdict"]), row["wait_seconds"] or 0.0, shortfall)

    async def release(self, reservation: Reservation) -> None:
        try:
            async with self._place():
                await self.pool.execute(_RELEASE, reservation.charge.tenant_id, reservation.id)
        except Exception as error:  # noqa: BLE001 - it counts as lost when its time is over
            _log.warning("reservation_not_released", model=reservation.model, error=type(error).__name__)

    async def cool_down(self, credential: str, model: str, seconds: float, reason: str) -> None:
        try:
            with reachable():
                await self.pool.execute(_COOL_DOWN, credential, model, seconds, reason)
        except Exception as error:  # noqa: BLE001 - the call has failed already; the next one will learn it anew
            _log.warning("cool_down_not_kept", model=model, error=type(error).__name__)


def _document(reservation: Reservation) -> dict[str, Any]:
    charge, limits = reservation.charge, reservation.limits
    values = {
        "tenant_id": charge.tenant_id,
        "id": reservation.id,
        "execution_id": charge.execution_id,
        "generation_id": charge.generation_id,
        "owner_epoch": charge.epoch,
        "task_execution_id": charge.task_execution_id,
        "role_id": charge.role_id,
        "model": reservation.model,
        "provider": reservation.provider,
        "attempt": charge.attempt,
        "call": reservation.call,
        "call_attempt": reservation.call_attempt,
        "amount": reservation.amount,
        "tokens": reservation.tokens,
        "credential": reservation.credential,
        "routing": reservation.routing,
        "lifetime_seconds": reservation.lifetime_seconds,
        "requests_per_minute": limits.requests_per_minute,
        "tokens_per_minute": limits.tokens_per_minute,
    }
    return document_of(values)


def _conforms(budgets: SqlCallBudgets) -> CallBudgets:
    return budgets
