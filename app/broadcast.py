"""Hints between processes: the adapter of the port `Hints` over broadcaster, with a supervisor that keeps it alive.

A hint says that there is something new to read; it may be lost, so listeners also wait with a time limit. What the
library does not do, and this module therefore does:

- Its PostgreSQL backend is one connection that takes one call at a time, and whose listener stays silent for ever once
  the connection is gone; the Redis one stays silent after a restart of the server. So listening and publishing have a
  connection each, publishing is serialised and limited in time, and we ping ourselves through both: no answer, and
  both are thrown away and made anew.
- It puts a queue without a bound behind each subscriber. So there is one subscription per process, always drained, and
  each local listener is a flag.

After an interruption all local listeners are woken, and if hints of ours were lost in it, those of all processes.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
from uuid import uuid4

import orjson
import structlog
from broadcaster import Broadcast

from domain.ports import Listener
from persistence.urls import SQLALCHEMY_ONLY

_log = structlog.get_logger(__name__)

CHANNEL: Final = "regatta_hints"
"""The one channel of the transport; topics are inside the messages."""

_LARGEST_MESSAGE: Final = 7_900  # bytes; NOTIFY takes less than 8,000
_LONGEST_TOPIC: Final = 200  # bytes
_MOST_PENDING: Final = 10_000  # topics; beyond it one hint for everybody is cheaper
_EVERYBODY: Final = "*"
_CONNECT_SECONDS: Final = 5.0
_SEND_SECONDS: Final = 2.0
_LONGEST_LAG: Final = 1.0  # seconds; a slower hint is of no use to anybody
_CLOSE_SECONDS: Final = 2.0
_FIRST_PAUSE: Final = 0.1  # seconds between two attempts, doubled up to the longest
_LONGEST_PAUSE: Final = 5.0


class HintsUrlNotSupported(ValueError):
    """The URL names no transport for hints: `postgresql://`, `redis://`, `rediss://` or `memory://`."""


class _NotConnected(Exception):
    """There is no connection to publish on at the moment."""


class _Flag:
    """One local listener: remembers that it was hinted, not how often."""

    def __init__(self) -> None:
        self._hinted = asyncio.Event()

    def raise_(self) -> None:
        self._hinted.set()

    async def wait(self, timeout_seconds: float) -> bool:
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._hinted.wait()
        except TimeoutError:
            return False
        self._hinted.clear()
        return True


class BroadcastHints:
    """Hints over PostgreSQL's NOTIFY, Redis or, within one process and one instance, memory.

    Used on one event loop: `await start()`, then `publish` and `listen`, at the end `await stop()`.

    Args:
        url: a database URL as anywhere else (a `+asyncpg` is dropped), `redis://…`, or `memory://`. PostgreSQL must be
            reached directly: a pooler in transaction mode does not forward NOTIFY.
        ping_seconds: the pause between two pings to ourselves.
        silence_seconds: how long an answer may take before both connections are made anew.

    Raises:
        HintsUrlNotSupported: the URL names another transport.
    """

    def __init__(self, url: str, *, ping_seconds: float = 1.0, silence_seconds: float = 3.0) -> None:
        self._url = _transport_url(url)
        self._ping_seconds = ping_seconds
        self._silence_seconds = silence_seconds
        self._us = uuid4().hex
        self._flags: dict[str, set[_Flag]] = {}
        self._pending: dict[str, None] = {}
        self._publisher: Broadcast | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._lost_some = False
        self._interrupted = False
        self._stopping = False
        self._sending = asyncio.Lock()
        self._up = asyncio.Event()
        self._failed = asyncio.Event()
        self._ponged = asyncio.Event()
        self._pinged_at: float | None = None
        self._lag: float | None = None

    @property
    def connected(self) -> bool:
        """Whether the last ping came back: for the health check."""
        return self._up.is_set()

    @property
    def lag_seconds(self) -> float | None:
        """How long the last ping took from us to us, with the wait behind other messages; measured once a second.

        None while there is no connection, or when a ping is on its way for longer than a second.
        """
        is_late = self._pinged_at is not None and time.monotonic() - self._pinged_at > _LONGEST_LAG
        return None if is_late or not self.connected else self._lag

    async def start(self) -> None:
        """Connect, and stay connected. Returns when hints flow, or after five seconds without: it goes on trying."""
        if self._supervisor is not None:
            return
        self._stopping = False
        self._supervisor = asyncio.create_task(self._supervise(), name="hints")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CONNECT_SECONDS):
                await self._up.wait()

    async def stop(self) -> None:
        """Close both connections; takes seconds at most, whatever state they are in."""
        supervisor, self._supervisor = self._supervisor, None
        self._stopping = True
        if supervisor is not None:
            supervisor.cancel()
            await asyncio.wait({supervisor}, timeout=4 * _CLOSE_SECONDS)
        self._up.clear()

    async def publish(self, topics: Sequence[str]) -> None:
        """Hint at these topics in all processes, this one included. Returns when the transport has them.

        Never raises for a broken transport: the hints are lost, and everybody is hinted when it is back. What is
        published while another message is on its way travels together in the next one.

        Raises:
            ValueError: a topic is longer than 200 bytes, or is "*".
        """
        for topic in topics:
            if topic == _EVERYBODY or len(topic.encode()) > _LONGEST_TOPIC:
                raise ValueError(f"no topic: {topic[:_LONGEST_TOPIC]}")
        self._add_pending(topics)
        try:
            await self._send_pending()
        except Exception as error:  # noqa: BLE001 - whatever the transport raises, a hint is never worth an error
            self._note_loss(error)

    @contextlib.contextmanager
    def listen(self, topic: str) -> Iterator[Listener]:
        """A listener to one topic in this process, from now on: register it first, then read, then wait."""
        flag = _Flag()
        self._flags.setdefault(topic, set()).add(flag)
        try:
            yield flag
        finally:
            self._flags[topic].discard(flag)
            if not self._flags[topic]:
                del self._flags[topic]

    def _add_pending(self, topics: Iterable[str]) -> None:
        self._pending.update(dict.fromkeys(topics))
        if len(self._pending) > _MOST_PENDING:
            self._pending = {_EVERYBODY: None}

    async def _send_pending(self) -> None:
        """Send what is pending, unless whoever had the lock before us sent it already."""
        async with asyncio.timeout(_SEND_SECONDS), self._sending:
            pending, self._pending = self._pending, {}
            try:
                for message in _messages(self._us, pending):
                    await self._send(message)
            except BaseException:  # a cancelled caller loses hints of others, too
                self._lost_some = True
                raise

    async def _send(self, message: str) -> None:
        if self._publisher is None:
            raise _NotConnected
        await self._publisher.publish(CHANNEL, message)

    def _note_loss(self, error: Exception) -> None:
        if not self._failed.is_set():
            _log.warning("hints_lost", error=repr(error))
        self._lost_some = True
        self._failed.set()

    async def _supervise(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stopping:  # not for ever: a cancellation inside the library's subscribe becomes a KeyError
            try:
                await self._session()
            except Exception as error:  # noqa: BLE001 - whatever broke, it is made anew
                self._interrupted = True
                _log.warning("hints_interrupted", error=_causes(error))
            pause = _FIRST_PAUSE if self._up.is_set() else min(2 * pause, _LONGEST_PAUSE)
            self._up.clear()
            if not self._stopping:
                await asyncio.sleep(pause)

    async def _session(self) -> None:
        """The life of one pair of connections; always ends with an exception."""
        async with (
            _connected(self._url) as listening,
            self._publishing(listening) as publisher,
            _subscribed(listening) as subscriber,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(self._receive(subscriber))
            tasks.create_task(self._keep_in_touch(publisher))

    @contextlib.asynccontextmanager
    async def _publishing(self, listening: Broadcast) -> AsyncIterator[Broadcast]:
        if self._url.startswith("memory:"):
            yield listening
            return
        async with _connected(self._url) as publisher:
            yield publisher

    async def _receive(self, subscriber: Any) -> None:
        while True:
            event = await subscriber.get()
            self._take(event.message)

    def _take(self, message: str) -> None:
        match _parsed(message):
            case {"from": str(sender), "topics": [*topics]} if all(isinstance(topic, str) for topic in topics):
                self._distribute(sender, topics)
            case _:
                _log.warning("hint_not_understood", message=message[:200])

    def _distribute(self, sender: str, topics: Sequence[str]) -> None:
        if not topics and sender == self._us:
            self._ponged.set()
        for topic in topics:
            self._wake(topic)

    def _wake(self, topic: str) -> None:
        if topic == _EVERYBODY:
            self._wake_everybody()
        for flag in self._flags.get(topic, ()):
            flag.raise_()

    def _wake_everybody(self) -> None:
        for flags in self._flags.values():
            for flag in flags:
                flag.raise_()

    async def _keep_in_touch(self, publisher: Broadcast) -> None:
        self._publisher = publisher
        self._failed.clear()
        try:
            while not self._failed.is_set():
                await self._ping()
                await self._flow()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._ping_seconds):
                        await self._failed.wait()
        finally:
            self._publisher = None
        raise _NotConnected

    async def _ping(self) -> None:
        """A message without topics, to ourselves; raises TimeoutError when it does not come back."""
        self._ponged.clear()
        began = self._pinged_at = time.monotonic()
        async with asyncio.timeout(_SEND_SECONDS), self._sending:
            await self._send(_message(self._us, []))
        async with asyncio.timeout(self._silence_seconds):
            await self._ponged.wait()
        self._pinged_at, self._lag = None, time.monotonic() - began

    async def _flow(self) -> None:
        """After a pong: the first one ends an interruption; a later one sends what a time-out left pending."""
        if not self._up.is_set():
            self._up.set()
            self._wake_everybody()
            _log.log(logging.INFO if self._interrupted else logging.DEBUG, "hints_flow")
            self._interrupted = False
        if self._lost_some:
            self._lost_some = False
            self._add_pending([_EVERYBODY])
        await self._send_pending()


def _transport_url(url: str) -> str:
    """The URL as broadcaster takes it."""
    parts = urlsplit(url)
    scheme = parts.scheme.partition("+")[0]
    if scheme not in {"postgres", "postgresql", "redis", "rediss", "memory"}:
        raise HintsUrlNotSupported(f"hints cannot travel over {scheme}://: use postgresql://, redis:// or memory://")
    if not scheme.startswith("postgres"):
        return url
    query = [
        ("sslmode" if name == "ssl" else name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if name not in SQLALCHEMY_ONLY
    ]
    # Put together by hand: urlunsplit drops the empty host of a URL for a unix socket.
    rest = urlunsplit(("", "", parts.path, urlencode(query), ""))
    return f"{scheme}://{parts.netloc}{rest}"


def _parsed(message: str) -> object:
    try:
        return orjson.loads(message)
    except orjson.JSONDecodeError:
        return None


def _message(sender: str, topics: Sequence[str]) -> str:
    return orjson.dumps({"from": sender, "topics": topics}).decode()


def _messages(sender: str, topics: Iterable[str]) -> Iterator[str]:
    """The topics in as few messages as the size limit allows; none for none."""
    room = _LARGEST_MESSAGE - len(_message(sender, []))
    group: list[str] = []
    size = 0
    for topic in topics:
        needed = len(orjson.dumps(topic)) + 1
        if group and size + needed > room:
            yield _message(sender, group)
            group, size = [], 0
        group.append(topic)
        size += needed
    if group:
        yield _message(sender, group)


def _causes(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return ", ".join(_causes(each) for each in error.exceptions)
    return repr(error)


@contextlib.asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Broadcast]:
    broadcast = Broadcast(url)
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            await broadcast.connect()
        yield broadcast
    finally:
        await _discard(broadcast)


@contextlib.asynccontextmanager
async def _subscribed(broadcast: Broadcast) -> AsyncIterator[Any]:
    """The subscription, entered and left within a time limit each; leaving a dead one is no error."""
    subscription = broadcast.subscribe(CHANNEL)
    async with asyncio.timeout(_CONNECT_SECONDS):
        subscriber = await subscription.__aenter__()
    try:
        yield subscriber
    finally:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await subscription.__aexit__(None, None, None)


async def _discard(broadcast: Broadcast) -> None:
    """Close a Broadcast in whatever state: its own `disconnect` needs a connected one, and leaves its tasks running."""
    backend = broadcast._backend  # noqa: SLF001 - see the docstring; broadcaster is pinned
    candidates = (getattr(broadcast, "_listener_task", None), getattr(backend, "_listener", None))
    tasks = {task for task in candidates if isinstance(task, asyncio.Task)}
    for task in tasks:
        task.cancel()
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await backend.disconnect()
    if tasks:
        await asyncio.wait(tasks, timeout=_CLOSE_SECONDS)
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()  # looked at: nobody else will
