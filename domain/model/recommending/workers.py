"""Whether there are too few places on workers, or too many, by what executions waited and how many ran at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from math import ceil
from typing import Final

from domain.model.optimization import Evidence, Metric
from domain.model.optimizing.proposals import effect
from domain.model.recommendation import Recommendation, RecommendationKind

ENOUGH_RUNS: Final = 20
LONG_WAIT_SECONDS: Final = 30.0
SHORT_WAIT_SECONDS: Final = 1.0
FULL: Final = 0.8
"""Of the places in an hour: from then on, whoever comes waits."""

WANTED: Final = 0.7
"""So much of the places in the busiest hour leaves room for bursts."""

SPARE: Final = 1.25
"""So many places for each that was ever taken at once."""

_HOUR: Final = timedelta(hours=1)
_HOUR_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class PlaceUse:
    """An execution that had a place; `worked_seconds` without those in which it waited for a person, or was paused."""

    queued_at: datetime
    started_at: datetime
    finished_at: datetime
    worked_seconds: float

    @property
    def wait_seconds(self) -> float:
        return (self.started_at - self.queued_at).total_seconds()

    @property
    def density(self) -> float:
        """The part of its time in which it worked."""
        lasted = (self.finished_at - self.started_at).total_seconds()
        return min(1.0, self.worked_seconds / lasted) if lasted else 0.0


@dataclass(frozen=True, slots=True)
class PoolPast:
    """The places that there are now, and who had one. `is_shared`: other tenants' executions have had some, too.

    `limit` is the most executions of the tenant that may run at once, None for no limit of its own.
    """

    places: int
    workers: int
    uses: Sequence[PlaceUse]
    is_shared: bool = False
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """What the uses come to: waits in seconds, and shares of the places that there are now."""

    p95_wait: float
    mean_wait: float
    mean_worked: float
    at_once: int
    utilisation: float
    busiest_hour: float


def worker_pool(pool: PoolPast) -> Iterator[Recommendation]:
    """At most one; nothing without workers, or with too few executions."""
    if not pool.places or len(pool.uses) < ENOUGH_RUNS:
        return
    load = load_of(pool)
    is_own_limit = pool.limit is not None and pool.limit <= pool.places
    if load.p95_wait >= LONG_WAIT_SECONDS and load.busiest_hour >= FULL and not is_own_limit:
        yield _too_small(pool, load)
    elif load.p95_wait < SHORT_WAIT_SECONDS and ceil(SPARE * load.at_once) <= pool.places / 2 and not pool.is_shared:
        yield _too_large(pool, load)


def load_of(pool: PoolPast) -> Load:
    """The load of a pool that somebody used."""
    uses = pool.uses
    waits = sorted(use.wait_seconds for use in uses)
    span = (max(use.finished_at for use in uses) - min(use.started_at for use in uses)).total_seconds()
    worked = sum(use.worked_seconds for use in uses)
    return Load(
        waits[ceil(0.95 * len(waits)) - 1],
        sum(waits) / len(waits),
        worked / len(uses),
        _at_once(uses),
        min(1.0, worked / (pool.places * max(span, 1.0))),
        min(1.0, max(_by_hour(uses).values()) / (pool.places * _HOUR_SECONDS)),
    )


def _at_once(uses: Sequence[PlaceUse]) -> int:
    """The most that had a place at the same moment; who ends when another begins makes room for it.

    Each counts by the part of its time in which it worked: who is paused, or waits for a person, has no place.
    """
    begun = [(use.started_at, use.density) for use in uses]
    steps = sorted(begun + [(use.finished_at, -use.density) for use in uses])
    return ceil(round(max(accumulate(step for _, step in steps)), 6))


def _by_hour(uses: Sequence[PlaceUse]) -> dict[datetime, float]:
    """The seconds that were worked in each hour; those of an execution are spread evenly over its time."""
    found: dict[datetime, float] = {}
    for use in uses:
        hour = use.started_at.replace(minute=0, second=0, microsecond=0)
        while hour <= use.finished_at:
            within = min(use.finished_at, hour + _HOUR) - max(use.started_at, hour)
            found[hour] = found.get(hour, 0.0) + use.density * within.total_seconds()
            hour += _HOUR
    return found


def _evidence(pool: PoolPast, load: Load) -> list[Evidence]:
    return [
        Evidence(f"Of 100 executions, 5 waited {load.p95_wait:.0f} seconds or longer.", round(load.p95_wait, 1)),
        Evidence(f"At most {load.at_once} ran at once.", load.at_once),
        Evidence(f"In the busiest hour, {load.busiest_hour:.0%} of the places were taken.", load.busiest_hour),
        Evidence(f"Over the whole time, {load.utilisation:.0%} of them were.", load.utilisation),
        Evidence(f"There are {pool.places} places on {pool.workers} workers now.", pool.places),
    ]


_PRESENT: Final = (
    " How many places there were then is not on record: those of now are taken for it. Only executions of this tenant"
    " are known."
)


def _too_small(pool: PoolPast, load: Load) -> Recommendation:
    busiest = max(pool.places + 1, ceil(pool.places * load.busiest_hour / WANTED))
    wanted = busiest if pool.limit is None else min(busiest, pool.limit)
    waited = load.mean_wait / (load.mean_wait + load.mean_worked)
    return Recommendation(
        RecommendationKind.WORKER_POOL_TOO_SMALL,
        f"Have {wanted} places instead of {pool.places}",
        f"Executions wait long while the places are taken. Start another worker, or give a worker more places if its"
        f" machine allows it. A wait for another execution of the same team does not get shorter by that.{_PRESENT}",
        _evidence(pool, load),
        [effect(Metric.SECONDS, -waited, -waited / 2)],
        len(pool.uses),
    )


def _too_large(pool: PoolPast, load: Load) -> Recommendation:
    wanted = max(1, ceil(SPARE * load.at_once))
    return Recommendation(
        RecommendationKind.WORKER_POOL_TOO_LARGE,
        f"{wanted} places would do instead of {pool.places}",
        f"Nobody waits, and most places were never taken. What a worker costs is not known here.{_PRESENT}",
        _evidence(pool, load),
        [],
        len(pool.uses),
    )
