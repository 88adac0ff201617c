"""Connections: an SQLAlchemy engine for units of work, an asyncpg pool for the hot reads and the recorder."""

import asyncio
from dataclasses import dataclass
from typing import Any, Self

import asyncpg
import orjson
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from persistence.urls import asyncpg_arguments, asyncpg_url, tls_arguments

APPLICATION_ROLE = "regatta_app"
"""The role that every connection of the application takes on: no superuser, owner of nothing."""

LEAST_SERVER_VERSION = 15
"""The oldest PostgreSQL that is supported: tested with it and with the embedded one."""

STATEMENT_TIMEOUT_MS = 30_000


def session_settings(
    name: str, *, statement_ms: int = STATEMENT_TIMEOUT_MS, idle_seconds: float = STATEMENT_TIMEOUT_MS / 1000
) -> dict[str, str]:
    """What every connection of the application says of itself at its start."""
    return {
        "role": APPLICATION_ROLE,
        "application_name": f"regatta {name}",
        "statement_timeout": str(statement_ms),
        "idle_in_transaction_session_timeout": str(int(idle_seconds * 1000)),
        "jit": "off",  # small statements: planning for the compiler costs more than it saves
    }


@dataclass(slots=True)
class Database:
    """The two ways to one database; `close` when done. Every connection runs as `APPLICATION_ROLE`.

    `waiting` are places for who may wait for what somebody holds: half of the pool's connections.
    """

    engine: AsyncEngine
    pool: "asyncpg.Pool[asyncpg.Record]"
    waiting: asyncio.Semaphore

    @classmethod
    async def connect(
        cls, url: str, *, name: str, pool_size: int = 10, idle_seconds: float = STATEMENT_TIMEOUT_MS / 1000
    ) -> Self:
        """Open the pools; raises OSError or asyncpg.PostgresError when the server does not answer.

        So many seconds after its last statement, the server ends a transaction that is left open, with its locks.
        """
        settings = session_settings(name, idle_seconds=idle_seconds)
        pool = await asyncpg.create_pool(
            **asyncpg_arguments(url),
            min_size=1,
            max_size=pool_size,
            server_settings=settings,
            init=_prepare,
            reset=_leave,
            command_timeout=STATEMENT_TIMEOUT_MS / 1000,
        )
        engine = create_async_engine(
            asyncpg_url(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_pre_ping=True,
            pool_timeout=10,
            hide_parameters=True,  # an error that is logged must not quote what people wrote
            connect_args={**tls_arguments(url), "server_settings": settings},
            json_serializer=lambda value: orjson.dumps(value).decode(),
            json_deserializer=orjson.loads,
        )
        return cls(engine, pool, asyncio.Semaphore(max(1, pool_size // 2)))

    async def close(self) -> None:
        await self.engine.dispose()
        await self.pool.close()


async def _prepare(connection: Any) -> None:
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(
            kind, encoder=lambda value: orjson.dumps(value).decode(), decoder=orjson.loads, schema="pg_catalog"
        )


async def _leave(_connection: Any) -> None:
    """Hand the connection back as it is, without asyncpg's four statements of cleaning: a round trip per use.

    An open transaction is rolled back all the same. No statement of ours changes the session, locks beyond its
    transaction or listens; one that begins to has to clean up behind itself.
    """
