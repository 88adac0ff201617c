"""How this process is doing: its connections to the database, and whether hints flow."""

from typing import Any

from app.broadcast import BroadcastHints
from domain.model.resources import Broadcaster, ConnectionPool, ProcessState
from persistence.engine import Database


class OwnProcess:
    """The port `ProcessStatus`: what the pools and the broadcaster know already."""

    def __init__(self, database: Database, hints: BroadcastHints) -> None:
        self._database = database
        self._hints = hints
        self.now()  # SQLAlchemy makes its queue when it is first looked at: here, not on a scraper's thread

    def now(self) -> ProcessState:
        return ProcessState(
            pools=(_of_reads(self._database.pool), _of_changes(self._database.engine.pool)),
            broadcaster=Broadcaster(self._hints.connected, self._hints.lag_seconds),
        )


def _of_reads(pool: Any) -> ConnectionPool:
    return ConnectionPool(
        "reads",
        pool.get_size(),
        pool.get_idle_size(),
        pool.get_max_size(),
        _waiting(pool._queue),  # noqa: SLF001 - neither library tells; both are pinned
    )


def _of_changes(pool: Any) -> ConnectionPool:
    idle = pool.checkedin()
    return ConnectionPool("changes", idle + pool.checkedout(), idle, pool.size(), _waiting(pool._pool._queue))  # noqa: SLF001 - the same


def _waiting(queue: Any) -> int:
    """How many wait for something to be put into the queue."""
    return sum(not getter.done() for getter in tuple(queue._getters))  # noqa: SLF001 - the same
