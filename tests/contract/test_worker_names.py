"""Two workers of one name would take each other's work: a name is held by one at a time."""

import asyncio

import psycopg
import pytest

from persistence import workers
from persistence.engine import Database
from persistence.workers import WorkerNameTaken, held_name


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "NAME_PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(workers, "NAME_LOOK_SECONDS", 0.05)


async def test_the_second_worker_of_a_place_takes_the_next_name(database: Database) -> None:
    async with held_name(database.pool, ["one", "two"]) as first, held_name(database.pool, ["one", "two"]) as second:
        assert (first, second) == ("one", "two")


async def test_a_name_that_was_asked_for_is_refused_while_it_is_held(database: Database) -> None:
    async with held_name(database.pool, ["one"]):
        with pytest.raises(WorkerNameTaken, match="one"):
            async with held_name(database.pool, ["one"]):
                pass


async def test_a_name_is_free_again_at_the_end(database: Database) -> None:
    for _ in range(2):
        async with held_name(database.pool, ["one"]) as name:
            assert name == "one"


HOLDERS = """
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


async def _cut(database_url: str) -> int:
    """End the connection that holds the name; its process on the server."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as owner:
        [(pid,)] = await (await owner.execute(HOLDERS)).fetchall()
        await owner.execute("SELECT pg_terminate_backend(%s)", [pid])
    return int(pid)


async def test_a_name_is_taken_again_when_its_connection_is_lost(database: Database, database_url: str) -> None:
    async with held_name(database.pool, ["one"]):
        lost = await _cut(database_url)
        async with asyncio.timeout(20):
            while await database.pool.fetchval(HOLDERS) in {None, lost}:  # noqa: ASYNC110 - it is held elsewhere
                await asyncio.sleep(0.05)

        with pytest.raises(WorkerNameTaken):
            async with held_name(database.pool, ["one"]):
                pass


async def test_who_loses_his_name_to_another_is_told(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, taken = asyncio.Event(), asyncio.Event()
    until_lost = workers._NameLock._until_lost  # noqa: SLF001 - who looks first would take it again

    async def looking_later(lock: workers._NameLock) -> None:
        await taken.wait()
        await until_lost(lock)

    monkeypatch.setattr(workers._NameLock, "_until_lost", looking_later)  # noqa: SLF001 - same
    async with held_name(database.pool, ["one"], told.set):
        monkeypatch.setattr(workers, "NAME_PATIENCE_SECONDS", 20.0)
        await _cut(database_url)
        async with held_name(database.pool, ["one"]), asyncio.timeout(20):
            taken.set()
            await told.wait()
