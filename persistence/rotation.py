"""Changes the encryption of every stored secret, of all tenants, in bounded batches."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from domain.errors import Unavailable
from persistence.errors import reachable

if TYPE_CHECKING:
    import asyncpg

BATCH = 500
TABLES = ("credential", "webhook_secret")
"""Where secrets are stored, each in a row with `ciphertext`."""


def _page(table: str) -> str:
    return (
        f"SELECT tenant_id, id, ciphertext FROM {table} WHERE (tenant_id, id) > ($1, $2)"  # noqa: S608 - TABLES
        " ORDER BY tenant_id, id LIMIT $3"
    )


def _replacement(table: str) -> str:
    # Only what is still as it was read: a secret that somebody sets meanwhile is encrypted with the new key anyway.
    return (
        f"UPDATE {table} AS row SET ciphertext = new.after"  # noqa: S608 - TABLES
        " FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::bytea[]) AS new(tenant_id, id, before, after)"
        " WHERE row.tenant_id = new.tenant_id AND row.id = new.id AND row.ciphertext = new.before RETURNING row.id"
    )


@dataclass(slots=True)
class Rotation:
    """How many secrets there were, how many were encrypted anew, and how many open with no key."""

    seen: int = 0
    changed: int = 0
    unreadable: int = 0


async def reencrypt(
    pool: "asyncpg.Pool[asyncpg.Record]", relocked: Callable[[bytes], bytes | None], batch: int = BATCH
) -> Rotation:
    """Replace each ciphertext by `relocked` of it, where None leaves it and Unavailable counts it as unreadable.

    Each batch is a transaction. Raises Unavailable when the database does not answer.
    """
    done = Rotation()
    for table in TABLES:
        await _reencrypt(pool, table, relocked, batch, done)
    return done


async def _reencrypt(
    pool: "asyncpg.Pool[asyncpg.Record]",
    table: str,
    relocked: Callable[[bytes], bytes | None],
    batch: int,
    done: Rotation,
) -> None:
    last = (UUID(int=0), UUID(int=0))
    while True:
        with reachable():
            rows = await pool.fetch(_page(table), *last, batch)
            done.changed += await _replace(pool, table, [*_changes(rows, relocked, done)])
        if len(rows) < batch:
            return
        last = rows[-1]["tenant_id"], rows[-1]["id"]


def _changes(
    rows: Sequence["asyncpg.Record"], relocked: Callable[[bytes], bytes | None], done: Rotation
) -> Iterator[tuple[UUID, UUID, bytes, bytes]]:
    for row in rows:
        done.seen += 1
        try:
            after = relocked(row["ciphertext"])
        except Unavailable:
            done.unreadable += 1
        else:
            if after is not None:
                yield row["tenant_id"], row["id"], row["ciphertext"], after


async def _replace(
    pool: "asyncpg.Pool[asyncpg.Record]", table: str, changes: Sequence[tuple[UUID, UUID, bytes, bytes]]
) -> int:
    if not changes:
        return 0
    return len(await pool.fetch(_replacement(table), *map(list, zip(*changes, strict=True))))
