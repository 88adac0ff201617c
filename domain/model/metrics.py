"""Metrics: what became of executions, tasks, model calls and tool calls, counted and summed up over periods of time.

All sums are exact: counts and tokens are integers, money is Decimal, durations are microseconds. A percentile comes
from a histogram whose buckets grow by `GROWTH`, and is within `ACCURACY` of the exact one.
"""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from itertools import accumulate
from typing import Final

from domain.errors import Invalid
from domain.model.money import Money

ACCURACY: Final = 0.01
"""How far a percentile may be off, as a share of it."""

GROWTH: Final = (1 + ACCURACY) / (1 - ACCURACY)
"""Bucket `i` holds durations above GROWTH**(i - 1) and up to GROWTH**i microseconds: DDSketch, Masson et al. 2019."""

MOST_POINTS: Final = 1_000
"""So many buckets of time a period may have."""

MOST_GROUPS: Final = 100

HOURS_KEPT_DAYS: Final = 92
"""So long figures are kept by the hour; by the day for ever."""

MICROSECONDS: Final = 1_000_000


class Dimension(Enum):
    """What metrics are told of."""

    TENANT = "TENANT"
    PROJECT = "PROJECT"
    TEAM = "TEAM"
    ROLE = "ROLE"
    TASK = "TASK"
    MODEL = "MODEL"
    TEMPLATE = "TEMPLATE"
    DOMAIN = "DOMAIN"
    TOOL = "TOOL"
    STRATEGY = "STRATEGY"


class Granularity(Enum):
    """How long the parts of a period are; all begin at full hours or days of UTC, weeks on Mondays."""

    HOUR = "HOUR"
    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"


class GroupOrder(Enum):
    """By what the most are found."""

    COST = "COST"
    DURATION = "DURATION"
    FAILURES = "FAILURES"
    COUNT = "COUNT"


@dataclass(frozen=True, slots=True)
class MetricsScope:
    """Whose metrics: of one project, say, whose id is the key; the key of a model, tool or strategy is its name.

    The key of TENANT is empty. `within` narrows what has no id of its own to a project or team, None for all of them.
    """

    dimension: Dimension = Dimension.TENANT
    key: str = ""
    within: "MetricsScope | None" = None


WHOLE_TENANT: Final = MetricsScope()


@dataclass(frozen=True, slots=True)
class Period:
    """From `start` to before `end`, in whole parts of the granularity."""

    start: datetime
    end: datetime
    granularity: Granularity

    @classmethod
    def covering(cls, start: datetime, end: datetime, granularity: Granularity) -> "Period":
        """The whole parts that these moments lie in; `end` itself does not. Raises Invalid."""
        if start.tzinfo is None or end.tzinfo is None:
            raise Invalid.at("A moment needs a time zone.", "from")
        if not start < end:
            raise Invalid.at("The period has to begin before it ends.", "from")
        first, last = floor(start, granularity), floor(end, granularity)
        period = cls(first, last if last == end else after(last, granularity), granularity)
        if _too_many(period):
            raise Invalid.at(f"A period has at most {MOST_POINTS} parts: choose a coarser granularity.", "granularity")
        return period

    @classmethod
    def up_to(cls, end: datetime, parts: int, granularity: Granularity) -> "Period":
        """So many parts, the last of them the one that `end` lies in."""
        whole = cls.covering(end - timedelta(microseconds=1), end, granularity)
        for _ in range(parts - 1):
            whole = cls(before(whole.start, granularity), whole.end, granularity)
        return whole

    @property
    def starts(self) -> list[datetime]:
        """When its parts begin."""
        return list(_moments(self))

    @property
    def preceding(self) -> "Period":
        """The period before, of as many parts."""
        start = self.start
        for _ in self.starts:
            start = before(start, self.granularity)
        return Period(start, self.start, self.granularity)

    def preceding_up_to(self, now: datetime) -> "Period":
        """The period before, and of one that is not over only as much: half a day is not held against a whole one.

        To the hour, where hours are still kept, else to the day; its parts are no longer those of the granularity.
        """
        before = self.preceding
        alike = before.start + (now - self.start)
        if alike >= before.end:
            return before
        unit = Granularity.HOUR if alike > now - timedelta(days=HOURS_KEPT_DAYS - 2) else Granularity.DAY
        return Period(before.start, max(after(before.start, unit), floor(alike, unit)), unit)


def _moments(period: Period) -> Iterator[datetime]:
    moment = period.start
    while moment < period.end:
        yield moment
        moment = after(moment, period.granularity)


def _too_many(period: Period) -> bool:
    shortest = timedelta(hours=1) if period.granularity is Granularity.HOUR else timedelta(days=1)
    if period.granularity is Granularity.WEEK:
        shortest = timedelta(days=7)
    if period.granularity is Granularity.MONTH:
        shortest = timedelta(days=31)
    return (period.end - period.start) / shortest > MOST_POINTS


def floor(moment: datetime, granularity: Granularity) -> datetime:
    """When the part begins in which the moment lies."""
    hour = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if granularity is Granularity.HOUR:
        return hour
    day = hour.replace(hour=0)
    if granularity is Granularity.WEEK:
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if granularity is Granularity.MONTH else day


def after(start: datetime, granularity: Granularity) -> datetime:
    """When the next part begins."""
    if granularity is Granularity.MONTH:
        return floor(start + timedelta(days=32), granularity)
    return start + _LENGTHS[granularity]


def before(start: datetime, granularity: Granularity) -> datetime:
    """When the part before begins."""
    return floor(start - timedelta(microseconds=1), granularity)


_LENGTHS: Final = {
    Granularity.HOUR: timedelta(hours=1),
    Granularity.DAY: timedelta(days=1),
    Granularity.WEEK: timedelta(days=7),
}


def bucket_of(micros: int) -> int:
    """The bucket of a duration; 0 for none at all. The database computes the same."""
    return 0 if micros <= 0 else math.ceil(math.log(micros) / math.log(GROWTH))


@dataclass(slots=True)
class Durations:
    """Durations: their exact sum in microseconds, and how many are in which bucket."""

    micros: int = 0
    buckets: Counter[int] = field(default_factory=Counter)

    def add(self, micros: int) -> None:
        self.micros += micros
        self.buckets[bucket_of(micros)] += 1

    def merge(self, other: "Durations") -> None:
        self.micros += other.micros
        self.buckets.update(other.buckets)

    @property
    def count(self) -> int:
        return self.buckets.total()

    @property
    def mean_seconds(self) -> float | None:
        """None of nothing."""
        return self.micros / self.count / MICROSECONDS if self.count else None

    @property
    def p50_seconds(self) -> float | None:
        return self.percentile(0.50)

    @property
    def p95_seconds(self) -> float | None:
        return self.percentile(0.95)

    @property
    def p99_seconds(self) -> float | None:
        return self.percentile(0.99)

    def percentile(self, share: float) -> float | None:
        """The least duration, in seconds, that this share of all does not exceed, within ACCURACY; None of nothing."""
        if not self.buckets:
            return None
        order = sorted(self.buckets)
        reached = list(accumulate(self.buckets[bucket] for bucket in order))
        bucket = order[bisect_left(reached, math.ceil(share * reached[-1]))]
        # More digits would only look exact.
        return 0.0 if bucket == 0 else float(f"{2 * GROWTH**bucket / (GROWTH + 1) / MICROSECONDS:.6g}")


@dataclass(slots=True)
class Tally:
    """What became of some executions, tasks, model calls or tool calls that ended.

    `repeated`: executions answered from the cache (they have no duration), further attempts of tasks. `durations` are
    without the time in which a person was waited for; `waits` those of executions in the queue. Of model calls alone
    there are tokens and cost.
    """

    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    repeated: int = 0
    durations: Durations = field(default_factory=Durations)
    waits: Durations = field(default_factory=Durations)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost_amount: Decimal = Decimal(0)

    def merge(self, other: "Tally") -> None:
        for name in ADDED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.durations.merge(other.durations)
        self.waits.merge(other.waits)

    @property
    def ended(self) -> int:
        return self.completed + self.failed + self.cancelled

    @property
    def success_rate(self) -> float | None:
        """The share that was completed of what was not cancelled; None where there is none."""
        decided = self.completed + self.failed
        return self.completed / decided if decided else None

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @property
    def cost(self) -> Money:
        return Money(self.cost_amount)


ADDED: Final = (
    "completed",
    "failed",
    "cancelled",
    "repeated",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "cost_amount",
)
"""The fields of a Tally that are sums."""


class Subject(Enum):
    """What a tally counts."""

    EXECUTION = "EXECUTION"
    TASK = "TASK"
    CALL = "CALL"
    TOOL_CALL = "TOOL_CALL"


@dataclass(slots=True)
class Figures:
    """The tallies of one scope over one span of time. Executions count when they end, calls when they are booked."""

    executions: Tally = field(default_factory=Tally)
    tasks: Tally = field(default_factory=Tally)
    calls: Tally = field(default_factory=Tally)
    tool_calls: Tally = field(default_factory=Tally)

    def of(self, subject: Subject) -> Tally:
        tallies = {
            Subject.EXECUTION: self.executions,
            Subject.TASK: self.tasks,
            Subject.CALL: self.calls,
            Subject.TOOL_CALL: self.tool_calls,
        }
        return tallies[subject]

    def merge(self, other: "Figures") -> None:
        for subject in Subject:
            self.of(subject).merge(other.of(subject))


@dataclass(frozen=True, slots=True)
class Point:
    """The figures of one part of a period, empty ones where nothing happened."""

    start: datetime
    end: datetime
    figures: Figures


@dataclass(frozen=True, slots=True)
class Group:
    """The figures of one key of a dimension: one of a tenant's roles, say."""

    scope: MetricsScope
    figures: Figures


@dataclass(frozen=True, slots=True)
class Present:
    """How many executions are under way now, by what they do; paused and awaiting a person are neither.

    `oldest_wait_seconds` is how long the oldest queued one has been waiting; None where none is.
    """

    active: int = 0
    queued: int = 0
    paused: int = 0
    oldest_wait_seconds: float | None = None


def change(now: float | Decimal | None, then: float | Decimal | None) -> float | None:
    """By which share a figure changed: 0.5 is half as much again; None where there was nothing before."""
    return None if now is None or not then else float(now) / float(then) - 1


FiguresByScope = Mapping[MetricsScope, Figures]
