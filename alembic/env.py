"""Runs migrations: the URL comes from the caller (`regatta migrate`), never from a file."""

import asyncio
from typing import Any

from alembic import context
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from persistence.tables import PARTITIONED, metadata
from persistence.urls import asyncpg_url, tls_arguments

MIGRATION_LOCK = 5_244_740
"""Any number that nobody else locks; held until the connection ends."""


def _is_ours(_object: Any, name: str | None, kind: str, _reflected: bool, _compare_to: Any) -> bool:
    """Partitions are made as months come; they are no tables of their own for the comparison."""
    return not (kind == "table" and any((name or "").startswith(f"{table.name}_") for table in PARTITIONED))


def _run(connection: Connection) -> None:
    # Two deployments may migrate one database at once: the second waits, and finds nothing left to do.
    connection.exec_driver_sql(f"SELECT pg_advisory_lock({MIGRATION_LOCK})")
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_object=_is_ours,
        compare_server_default=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def _connect_and_run(url: str) -> None:
    engine = create_async_engine(asyncpg_url(url), poolclass=NullPool, connect_args=tls_arguments(url))
    async with engine.connect() as connection:
        await connection.run_sync(_run)
    await engine.dispose()


asyncio.run(_connect_and_run(context.config.attributes["url"]))
