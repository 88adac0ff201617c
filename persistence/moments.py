"""Reading of one moment in several statements, each planned for the values that it is given."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeAlias

from persistence.errors import reachable

if TYPE_CHECKING:
    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"

NEVER_GENERIC: Final = "SELECT set_config('plan_cache_mode', 'force_custom_plan', true)"
"""Until the transaction ends: a plan for any value, which a connection goes over to, may be a hundred times slower."""


@asynccontextmanager
async def at_one_moment(
    pool: "asyncpg.Pool[asyncpg.Record]", setting: str = NEVER_GENERIC
) -> "AsyncIterator[Connection]":
    """A connection that sees the database as it is now, all along; `setting` is carried out first.

    Raises Unavailable where the database does not answer.
    """
    with reachable():
        async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            await connection.execute(setting)
            yield connection
