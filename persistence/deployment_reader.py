"""What is under way in the whole deployment, in numbers alone: for operators, whatever tenants it belongs to."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import asyncpg

from domain.model.alert import AlertSeverity
from persistence.engine import session_settings
from persistence.errors import PASSING, reachable
from persistence.model_reader import ALIVE_SECONDS
from persistence.urls import asyncpg_arguments

STATEMENT_MS: Final = 1000
"""The server gives up the statement after so long, whether or not anybody still waits for it."""

UNDER_WAY: Final = ("QUEUED", "RUNNING", "CANCELLING")
SEVERITIES: Final = tuple(severity.value for severity in AlertSeverity)


@dataclass(frozen=True, slots=True)
class Deployment:
    """Of all tenants together; the oldest wait in seconds, 0 where nobody waits."""

    waiting: int
    oldest_wait_seconds: float
    executions: Mapping[str, int]
    workers_alive: int
    workers_silent: int
    slots: int
    slots_used: int
    pending_metrics: int
    alerts: Mapping[str, int]
    """Alerts that are FIRING, by severity."""


# The statuses are literals, as in the partial index that counts them. What waits to be summed up is counted up to a
# bound: whoever is so far behind has not to be told how far.
_DEPLOYMENT: Final = """
    SELECT queue.waiting, queue.oldest, queue.used, fleet.alive, fleet.silent, fleet.places,
        under_way.queued, under_way.running, under_way.cancelling, firing.severities,
        (SELECT count(*) FROM (SELECT FROM metric_pending LIMIT 100000) AS pending) AS pending
    FROM (
        SELECT count(*) FILTER (WHERE worker_id IS NULL) AS waiting, count(worker_id) AS used,
            coalesce(extract(epoch FROM now() - min(waiting_since) FILTER (WHERE worker_id IS NULL)), 0)::float8
                AS oldest
        FROM admission
    ) AS queue, (
        SELECT count(*) FILTER (WHERE is_alive) AS alive, count(*) FILTER (WHERE NOT is_alive) AS silent,
            coalesce(sum(places) FILTER (WHERE is_alive), 0) AS places
        FROM (SELECT places, heartbeat_at > now() - make_interval(secs => $1) AS is_alive FROM worker) AS worker
    ) AS fleet, (
        SELECT count(*) FILTER (WHERE status = 'QUEUED') AS queued,
            count(*) FILTER (WHERE status = 'RUNNING') AS running,
            count(*) FILTER (WHERE status = 'CANCELLING') AS cancelling
        FROM execution WHERE status IN ('QUEUED', 'RUNNING', 'CANCELLING')
    ) AS under_way, (
        SELECT coalesce(array_agg(severity), '{}') AS severities FROM alert WHERE state = 'FIRING'
    ) AS firing
"""


class SqlDeployment:
    """One statement, over indexes and small tables, on a connection of its own.

    So neither a pool that others have used up nor a statement of theirs is taken for a server that is away. The
    connection is made when it is first needed, and again after every failure. For one caller at a time.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def now(self) -> Deployment:
        """Raises Unavailable. Who gives up waiting is let go at once, even if the server says nothing any more."""
        try:
            with reachable():
                connection = await self._connected()
                row = await connection.fetchrow(_DEPLOYMENT, ALIVE_SECONDS)
        except BaseException:
            self._drop()
            raise
        assert row is not None  # noqa: S101 - sums without a GROUP BY
        return _deployment_of(row)

    async def close(self) -> None:
        if self._connection is not None:
            with suppress(*PASSING):
                await self._connection.close(timeout=STATEMENT_MS / 1000)

    async def _connected(self) -> "asyncpg.Connection[asyncpg.Record]":
        if self._connection is None or self._connection.is_closed():
            settings = session_settings("metrics", statement_ms=STATEMENT_MS)
            self._connection = await asyncpg.connect(**asyncpg_arguments(self._url), server_settings=settings)
        return self._connection

    def _drop(self) -> None:
        """Without a word to the server: to cancel the statement in good order takes as long as the server likes."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def _deployment_of(row: "asyncpg.Record") -> Deployment:
    return Deployment(
        waiting=row["waiting"],
        oldest_wait_seconds=max(0.0, row["oldest"]),
        executions={status: row[status.lower()] for status in UNDER_WAY},
        workers_alive=row["alive"],
        workers_silent=row["silent"],
        slots=row["places"],
        slots_used=row["used"],
        pending_metrics=row["pending"],
        alerts={severity: row["severities"].count(severity) for severity in SEVERITIES},
    )
