"""What an API process tells of the whole deployment: read from the database at a scrape, in one statement."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from typing import Final, Protocol

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from persistence.deployment_reader import Deployment

DEADLINE_SECONDS: Final = 1.0
KEPT_SECONDS: Final = 1.0
"""Who scrapes more often is told the same again: the database answers once."""

_log = structlog.get_logger(__name__)


class Deployments(Protocol):
    async def now(self) -> Deployment: ...


class DeploymentGauges(Collector):
    """The figures of the last `refresh`; without an answer in time there are none, and `regatta_database_up` is 0."""

    def __init__(self) -> None:
        self._known: Deployment | None = None
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()

    async def refresh(self, deployments: Deployments) -> None:
        """Ask the database, unless that was done just now. Never raises: a scrape has other things to tell."""
        async with self._asking:
            if time.monotonic() - self._asked_at >= KEPT_SECONDS:
                self._known = await _answer_of(deployments)
                self._asked_at = time.monotonic()

    def collect(self) -> Iterator[Metric]:
        known = self._known
        yield GaugeMetricFamily(
            "regatta_database_up",
            "1 when the database answered within a second, on a connection kept for that; else 0.",
            float(known is not None),
        )
        if known is not None:
            yield from _told(known)


async def _answer_of(deployments: Deployments) -> Deployment | None:
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await deployments.now()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told as `regatta_database_up 0`
        _log.warning("deployment_not_measured", error=repr(error))
        return None


def _told(known: Deployment) -> Iterator[Metric]:
    yield GaugeMetricFamily("regatta_queue_executions", "Executions that wait for a place.", known.waiting)
    yield GaugeMetricFamily(
        "regatta_queue_oldest_wait_seconds", "How long the oldest of them has been waiting.", known.oldest_wait_seconds
    )
    yield _by("regatta_executions_under_way", "Executions under way.", "status", known.executions)
    alive_and_silent = {"alive": known.workers_alive, "silent": known.workers_silent}
    yield _by("regatta_workers", "Workers that did not say goodbye.", "state", alive_and_silent)
    yield GaugeMetricFamily("regatta_slots", "Places of the workers that are alive.", known.slots)
    yield GaugeMetricFamily("regatta_slots_used", "Places that are in use.", known.slots_used)
    yield _by("regatta_alerts_firing", "Alerts of all tenants that are firing.", "severity", known.alerts)
    yield GaugeMetricFamily(
        "regatta_rollup_pending_rows", "What is not in the roll-ups yet, up to 100,000.", known.pending_metrics
    )


def _by(name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family
