"""The port `Hints` on its transports in memory and PostgreSQL, and what happens when the connections break."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import asyncpg
import psycopg
import pytest

from app import broadcast
from app.broadcast import CHANNEL, BroadcastHints, HintsUrlNotSupported
from app.embedded import EmbeddedPostgres
from domain.ports import Hints
from tests.support.postgres import FAST_SETTINGS, disposable_data_dir

SOON = 20.0  # seconds after which something did not happen


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A server of this module alone: it is restarted, and its connections are killed."""
    with disposable_data_dir() as data_dir:
        server = EmbeddedPostgres(data_dir, settings=FAST_SETTINGS)
        server.start()
        yield server
        server.stop()


@pytest.fixture
def url(server: EmbeddedPostgres) -> str:
    return server.start()


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still for a moment neither loses hints nor begins without a connection."""
    monkeypatch.setattr(broadcast, "_SEND_SECONDS", SOON)
    monkeypatch.setattr(broadcast, "_CONNECT_SECONDS", SOON)


def hints_on(url: str, silence_seconds: float = SOON) -> BroadcastHints:
    """Patient: new connections, of which everybody is woken, are made where a test breaks the old ones."""
    return BroadcastHints(url, ping_seconds=0.05, silence_seconds=silence_seconds)


@asynccontextmanager
async def two_on(url: str, silence_seconds: float = SOON) -> AsyncIterator[tuple[BroadcastHints, BroadcastHints]]:
    here, there = hints_on(url, silence_seconds), hints_on(url, silence_seconds)
    await here.start()
    await there.start()
    yield here, there
    await here.stop()
    await there.stop()


@pytest.fixture(params=["memory", "postgres"])
async def ends(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Hints, Hints]]:
    """Where to publish and where to listen: two processes' ends, which in memory are one."""
    if request.param == "memory":
        here = there = hints_on("memory://")
    else:
        dsn = request.getfixturevalue("url").replace("postgresql:", "postgresql+asyncpg:")
        here, there = hints_on(dsn), hints_on(dsn)
    await here.start()
    await there.start()
    yield here, there
    await here.stop()
    await there.stop()


@pytest.fixture
async def pair(url: str) -> AsyncIterator[tuple[BroadcastHints, BroadcastHints]]:
    """A pair that notices soon when a listener is cut off, which is silent then."""
    async with two_on(url, silence_seconds=2.0) as both:
        yield both


def kill_connections(url: str, query: str) -> int:
    """End the connections whose last statement begins like this; returns how many there were."""
    statement = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE starts_with(query, %s)"
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(statement, [query]).fetchone()
    assert found is not None
    return int(found[0])


async def test_a_hint_reaches_every_listener_of_its_topic_and_no_other(ends: tuple[Hints, Hints]) -> None:
    here, there = ends
    with (
        there.listen("execution:1") as first,
        there.listen("execution:1") as second,
        there.listen("execution:2") as other,
    ):
        await other.wait(0)

        await here.publish(["execution:1"])

        assert await first.wait(SOON)
        assert await second.wait(SOON)
        assert not await other.wait(0)


async def test_the_publisher_hears_its_own_hints(ends: tuple[Hints, Hints]) -> None:
    here, _ = ends
    with here.listen("commands") as listener:
        await here.publish(["commands"])

        assert await listener.wait(SOON)


async def test_many_hints_before_a_wait_are_one(ends: tuple[Hints, Hints]) -> None:
    here, there = ends
    with there.listen("project:1") as listener, there.listen("last") as last:
        for _ in range(10):
            await here.publish(["project:1"])
        await here.publish(["last"])
        assert await last.wait(SOON)

        assert await listener.wait(0)
        assert not await listener.wait(0.01)


async def test_a_listener_that_left_is_forgotten(ends: tuple[Hints, Hints]) -> None:
    here, there = ends
    with there.listen("execution:1") as gone:
        pass
    with there.listen("execution:1") as present:
        await here.publish(["execution:1"])

        assert await present.wait(SOON)
        assert not await gone.wait(0)


async def test_thousands_of_topics_travel_in_one_call(ends: tuple[Hints, Hints]) -> None:
    here, there = ends
    topics = [f"execution:0198c0de-0000-7000-8000-{number:012d}" for number in range(5_000)]
    with there.listen(topics[0]) as first, there.listen(topics[-1]) as last, there.listen("other") as other:
        await here.publish(topics)

        assert await first.wait(SOON)
        assert await last.wait(SOON)
        assert not await other.wait(0)


async def test_more_topics_than_are_kept_hint_everybody(ends: tuple[Hints, Hints]) -> None:
    here, there = ends
    with there.listen("other") as listener:
        await here.publish([f"execution:{number}" for number in range(20_000)])

        assert await listener.wait(SOON)


async def test_concurrent_publishers_do_not_disturb_each_other(ends: tuple[Hints, Hints]) -> None:
    here, there = ends
    topics = [f"execution:{number}" for number in range(300)]
    with there.listen(topics[0]) as first, there.listen(topics[150]) as middle, there.listen(topics[-1]) as last:
        await asyncio.gather(*(here.publish([topic]) for topic in topics))

        assert await first.wait(SOON)
        assert await middle.wait(SOON)
        assert await last.wait(SOON)


async def test_no_topics_are_no_message(ends: tuple[Hints, Hints]) -> None:
    here, there = ends
    with there.listen("commands") as listener:
        await here.publish([])
        await here.publish(["commands"])

        assert await listener.wait(SOON)


@pytest.mark.parametrize("topic", ["*", "x" * 201, "ü" * 101])
async def test_what_is_no_topic_is_refused_and_nothing_is_sent(ends: tuple[Hints, Hints], topic: str) -> None:
    here, there = ends
    with there.listen("execution:1") as listener, there.listen("last") as last:
        with pytest.raises(ValueError, match="no topic"):
            await here.publish(["execution:1", topic])

        await here.publish(["last"])
        assert await last.wait(SOON)
        assert not await listener.wait(0)


@pytest.mark.parametrize("url", ["kafka://localhost", "redis-stream://localhost", "mysql://localhost/x", ""])
def test_other_transports_are_refused(url: str) -> None:
    with pytest.raises(HintsUrlNotSupported):
        BroadcastHints(url)


async def test_messages_stay_below_the_limit_of_notify(url: str) -> None:
    hints = hints_on(url)
    await hints.start()
    listener = await asyncpg.connect(url)
    sizes: list[int] = []
    await listener.add_listener(
        CHANNEL, lambda _connection, _pid, _channel, payload: sizes.append(len(payload.encode()))
    )
    try:
        with hints.listen("last") as last:
            await hints.publish([f"execution:{'ü' * 90}{number}" for number in range(1_000)])
            await hints.publish(["last"])
            assert await last.wait(SOON)
        await listener.execute("SELECT 1")  # its own notifications come before this answer
    finally:
        await listener.close()
        await hints.stop()

    assert 7_000 < max(sizes) <= 7_900


async def test_nonsense_on_the_channel_is_survived(url: str) -> None:
    async with two_on(url) as (here, there):
        await _survive_nonsense(here, there, url)


async def _survive_nonsense(here: Hints, there: Hints, url: str) -> None:
    with there.listen("execution:1") as listener, there.listen("other") as other:
        with psycopg.connect(url, autocommit=True) as stranger:
            for payload in ("", "{", "null", "[]", '{"from": 1}', '{"from": "x", "topics": 5}', '{"topics": [[]]}'):
                stranger.execute("SELECT pg_notify(%s, %s)", [CHANNEL, payload])
            stranger.execute("SELECT pg_notify(%s, %s)", [CHANNEL, '{"from": "x", "topics": [[], {}, 7, null]}'])
        await here.publish(["execution:1"])

        assert await listener.wait(SOON)
        assert not await other.wait(0)  # a new connection would have woken everybody


async def test_after_a_killed_listener_everybody_is_woken_and_hints_flow_again(
    pair: tuple[BroadcastHints, BroadcastHints], url: str
) -> None:
    here, there = pair
    with there.listen("execution:1") as listener:
        assert not await listener.wait(0)

        assert kill_connections(url, "LISTEN") == 2

        assert await listener.wait(SOON)
        await _until_heard(here, there)


async def test_hints_lost_with_a_killed_publisher_wake_everybody_elsewhere(
    pair: tuple[BroadcastHints, BroadcastHints], url: str
) -> None:
    here, there = pair
    with there.listen("execution:1") as listener:
        assert kill_connections(url, "SELECT pg_notify") == 2
        await here.publish(["execution:2"])

        assert await listener.wait(SOON)
        await _until_heard(here, there)


async def test_a_restart_of_the_server_is_survived(
    pair: tuple[BroadcastHints, BroadcastHints], server: EmbeddedPostgres
) -> None:
    here, there = pair
    with there.listen("execution:1") as listener:
        await asyncio.to_thread(server.stop)
        await here.publish(["execution:1"])
        await asyncio.to_thread(server.start)

        assert await listener.wait(SOON)
        await _until_heard(here, there)


async def test_it_starts_without_a_server_and_connects_later(server: EmbeddedPostgres, url: str) -> None:
    server.stop()
    hints = hints_on(url)
    starting = asyncio.create_task(hints.start())
    await hints.publish(["execution:1"])
    assert not hints.connected

    with hints.listen("execution:1") as listener:  # before: it may be connected as soon as the server answers
        await asyncio.to_thread(server.start)

        assert await listener.wait(SOON)
    await starting
    await _until_heard(hints, hints)
    await hints.stop()


async def test_it_stops_without_a_server_and_may_start_again(server: EmbeddedPostgres, url: str) -> None:
    hints = hints_on(url)
    await hints.start()
    await asyncio.to_thread(server.stop)

    await hints.stop()
    await hints.stop()

    assert not hints.connected
    await asyncio.to_thread(server.start)
    await hints.start()
    await _until_heard(hints, hints)
    await hints.stop()


async def _until_heard(here: Hints, there: Hints) -> None:
    """Publish until it arrives: while connections are being made anew, a hint may be lost. The topic is fresh."""
    async with asyncio.timeout(SOON):
        while True:
            with there.listen("probe") as listener:
                await here.publish(["probe"])
                if await listener.wait(0.1):
                    return


@pytest.mark.parametrize("transport", ["memory", "postgres"])
async def test_the_lag_is_that_of_a_message_to_ourselves_and_unknown_when_it_stays_away(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    hints = hints_on("memory://" if transport == "memory" else request.getfixturevalue("url"))
    before = hints.lag_seconds
    await hints.start()
    flowing = hints.lag_seconds

    monkeypatch.setattr(hints, "_take", lambda _: None)  # from here on nothing comes back
    monkeypatch.setattr(broadcast, "_LONGEST_LAG", 0.01)
    async with asyncio.timeout(SOON):
        while hints.connected and hints.lag_seconds is not None:  # noqa: ASYNC110 - time passes, nothing happens
            await asyncio.sleep(0.005)
    is_late = hints.connected
    await hints.stop()

    assert before is None
    assert flowing is not None
    assert 0 < flowing < SOON
    assert is_late  # it is told before the connection is given up
    assert hints.lag_seconds is None
