"""Two workers of one name would take each other's work: a name is held by one at a time."""

import pytest

from persistence import workers
from persistence.engine import Database
from persistence.workers import WorkerNameTaken, held_name


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "NAME_PATIENCE_SECONDS", 0.0)


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
