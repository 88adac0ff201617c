"""What every process tells of itself: version, processor, memory, connections, hints, and how late its loop is."""

import asyncio
import importlib.metadata
import platform
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, Info, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from domain.model.resources import ConnectionPool, ProcessState

SAMPLE_SECONDS: Final = 0.5
KEPT_SAMPLES: Final = 60
"""So many samples are looked at: of half a minute, so that two scrapes do not miss what was between them."""


def new_registry() -> CollectorRegistry:
    """A registry with what any process has."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    build = Info("regatta_build", "The version of Regatta and of Python.", registry=registry)
    build.info({"version": importlib.metadata.version("regatta"), "python": platform.python_version()})
    return registry


class ProcessGauges(Collector):
    """Connections and hints, as of the scrape; nothing while `state` gives None."""

    def __init__(self, state: Callable[[], ProcessState | None]) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        state = self._state()
        pools = state.pools if state else ()
        yield _by_pool("open", "Open database connections.", pools, lambda pool: pool.size)
        yield _by_pool("idle", "Open database connections that nobody uses.", pools, lambda pool: pool.idle)
        yield _by_pool("max", "The most database connections that may be open.", pools, lambda pool: pool.most)
        yield _by_pool("waiting", "Who waits for a database connection.", pools, lambda pool: pool.waiting)
        connected = GaugeMetricFamily("regatta_hints_connected", "1 while hints get through the broadcaster, else 0.")
        lag = GaugeMetricFamily("regatta_hints_lag_seconds", "How long the last hint took to come back; absent: lost.")
        if state:
            connected.add_metric([], float(state.broadcaster.is_connected))
            if state.broadcaster.lag_seconds is not None:
                lag.add_metric([], state.broadcaster.lag_seconds)
        yield from (connected, lag)


def _by_pool(name: str, text: str, pools: Sequence[ConnectionPool], of: Callable[[ConnectionPool], int]) -> Metric:
    family = GaugeMetricFamily(f"regatta_database_connections_{name}", text, labels=["pool"])
    for pool in pools:
        family.add_metric([pool.name], of(pool))
    return family


class LoopLag:
    """How late the event loop wakes who sleeps: the worst of the last half minute."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lags: deque[float] = deque([0.0], maxlen=KEPT_SAMPLES)
        gauge = Gauge(
            "regatta_event_loop_lag_seconds", "The longest delay of the event loop in the last 30 s.", registry=registry
        )
        gauge.set_function(self.worst)

    def worst(self) -> float:
        return max(tuple(self._lags))

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Looks at the running loop inside the block."""
        task = asyncio.create_task(self._watch(), name="loop lag")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _watch(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + SAMPLE_SECONDS
            await asyncio.sleep(SAMPLE_SECONDS)
            self._lags.append(max(0.0, clock() - due))
