"""The next moments of timetables, for a query: each is found once, and nobody else waits for all of them."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any, cast

import pytest

from domain.model.identity import DEFAULT_TENANT
from domain.model.schedule import Timetable
from resolvers.budget import MAX_MOMENTS, Budget, TooLarge
from resolvers.loaders import NextFires, Source

DAILY, HOURLY = Timetable("0 0 * * *", "UTC"), Timetable("0 * * * *", "UTC")


def a_source() -> Source:
    nothing = cast("Any", None)  # neither is asked
    return Source(nothing, DEFAULT_TENANT, Budget(), nothing, nothing, nothing, nothing)


async def test_each_timetable_is_followed_once_as_far_as_anybody_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Counter[Timetable]()
    plain = Timetable.after

    def after(timetable: Timetable, moment: datetime) -> Iterator[datetime]:
        for each in plain(timetable, moment):
            found[timetable] += 1
            yield each

    monkeypatch.setattr(Timetable, "after", after)

    answers = await NextFires().fetch(a_source(), [(DAILY, 2), (HOURLY, 3), (DAILY, 5), (DAILY, 1)])

    assert [len(moments) for moments in answers] == [2, 3, 5, 1]
    assert answers[2][:2] == answers[0]
    assert found == {DAILY: 5, HOURLY: 3}


async def test_others_have_their_turn_in_between() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    await NextFires().fetch(a_source(), [(DAILY, 20), (HOURLY, 20)])
    beside.cancel()

    assert turns >= 40


async def test_an_operation_finds_so_many_moments_in_all() -> None:
    source = a_source()
    await NextFires().fetch(
        source, [(Timetable(f"{minute} 0 * * *", "UTC"), 20) for minute in range(MAX_MOMENTS // 20)]
    )

    with pytest.raises(TooLarge):
        await NextFires().fetch(source, [(DAILY, 1)])
