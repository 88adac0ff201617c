"""Schedules: kickoffs by the clock. When they fire, and what became of each fire."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from itertools import islice, takewhile
from typing import Any, Final
from zoneinfo import ZoneInfo

from croniter import CroniterError, croniter

from domain.model.admission import MAX_PRIORITY, PRIORITY
from domain.model.identity import (
    ExecutionId,
    FireId,
    PrincipalId,
    ScheduleId,
    TeamId,
    TenantId,
    new_id,
    utc_now,
)
from domain.model.money import Money
from domain.model.routing import QualityPreference
from domain.model.rules import MAX_BUDGET, MONEY_DIGITS, Rules
from domain.model.team import EXECUTION_TIMEOUT_CAP_SECONDS, MAX_ITERATIONS_CAP

CATCH_UP_SECONDS = 3600.0
MIN_CATCH_UP_SECONDS = 60.0
MAX_CATCH_UP_SECONDS = 604_800.0
MAX_BACKFILL = 1000
"""The most fires of a schedule that wait for being made up at once."""

MAX_OPEN = 100
"""The most executions of a schedule that are not over at once: an overlap that waits, or runs beside, ends here."""

MAX_NEXT_FIRES = 20
_MAX_CRON = 100
_TICK = timedelta(microseconds=1)
_LOOKBACK = timedelta(minutes=1)

_ZONE = re.compile(r"[A-Za-z0-9_+/-]{1,64}")
_NO_ZONES: Final = frozenset({"localtime", "Factory"})
"""What machines understand differently, or not at all."""

_NAMES = re.compile(r"\b(?:JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC|SUN|MON|TUE|WED|THU|FRI|SAT)\b")
_FIELD = re.compile(r"[0-9*,/#?L-]+")
"""No R and no H of croniter's: what they stand for would differ from process to process."""


class ScheduleOverlap(Enum):
    """What a fire does while an earlier execution of its schedule is not over."""

    SKIP = "SKIP"
    QUEUE = "QUEUE"
    PARALLEL = "PARALLEL"
    REPLACE = "REPLACE"


class FireKind(Enum):
    """Why a schedule fired."""

    DUE = "DUE"
    BACKFILL = "BACKFILL"
    TRIGGER = "TRIGGER"


class FireOutcome(Enum):
    """What became of a fire."""

    PENDING = "PENDING"
    STARTED = "STARTED"
    SKIPPED = "SKIPPED"
    MISSED = "MISSED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Timetable:
    """A cron expression of five fields on the clocks of a time zone.

    Where the hours are given, each time of day comes once a day: one that a clock skips comes when it is put forward,
    one that it shows twice comes the first time. Where the hour is `*` or `*/n`, all that the clock shows count.
    """

    cron: str
    time_zone: str

    def check(self, rules: Rules) -> None:
        """Hold the rules of both; a cron expression that never fires is refused, too."""
        is_zone, is_cron = _is_zone(self.time_zone), _is_cron(self.cron)
        rules.require(is_zone, "This is no time zone of the IANA database, like “Europe/Berlin”.", "timeZone")
        rules.require(is_cron, "This is no cron expression: minute hour day month weekday, like “0 9 * * MON”.", "cron")
        if is_zone and is_cron:
            rules.require(self.first_after(utc_now()), "This cron expression never fires.", "cron")

    def after(self, moment: datetime) -> Iterator[datetime]:
        """The moments behind this one at which it fires, in UTC; ends when there is none within fifty years."""
        clock = croniter(self.cron, moment.astimezone(ZoneInfo(self.time_zone)))
        is_by_the_hour = self.cron.split()[1].startswith("*")
        while True:
            try:
                found: datetime = clock.get_next(datetime)
            except (CroniterError, OverflowError, ValueError):
                return
            if is_by_the_hour or not found.fold:
                yield found.astimezone(UTC)

    def first_after(self, moment: datetime) -> datetime | None:
        return next(self.after(moment), None)

    def between(self, since: datetime, until: datetime) -> Iterator[datetime]:
        """The moments from `since` on and before `until`."""
        return takewhile(lambda found: found < until, self.after(since - _TICK))

    def last_between(self, since: datetime, until: datetime) -> datetime | None:
        """The last moment from `since` on and up to `until`; looks back in steps that double, for it is near mostly."""
        step = _LOOKBACK
        while True:
            start = max(since, until - step)
            last = None
            for last in self.between(start, until + _TICK):  # noqa: B007 - the last one is wanted
                pass
            if last is not None or start == since:
                return last
            step *= 2


def _is_zone(name: str) -> bool:
    if not _ZONE.fullmatch(name) or name in _NO_ZONES:
        return False
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _is_cron(text: str) -> bool:
    fields = text.upper().split()
    if len(text) > _MAX_CRON or len(fields) != 5 or not text.isprintable():  # noqa: PLR2004 - the fields of cron
        return False
    return all(_FIELD.fullmatch(_NAMES.sub("1", each)) for each in fields) and bool(croniter.is_valid(text))


@dataclass(frozen=True, slots=True)
class ScheduleConfiguration:
    """What the kickoffs of a schedule ask for; None takes what a kickoff without it takes. Durations in seconds."""

    max_iterations: int | None
    execution_timeout_seconds: float | None
    task_timeout_seconds: float | None
    quality_preference: QualityPreference
    max_budget: Money | None
    max_task_budget: Money | None
    priority: int


@dataclass(slots=True)
class Schedule:
    """Kickoffs of a team by the clock.

    `next_fire_at` is None while it is paused or archived, or when its cron expression never comes again. A fire that
    nobody carried out in time is made up within `catch_up_seconds`, the latest one only. `last_fire_id` names the
    last fire that was carried out, whatever came of it. Budgets are in dollars.
    """

    tenant_id: TenantId
    team_id: TeamId
    name: str
    cron: str
    time_zone: str = "UTC"
    overlap: ScheduleOverlap = ScheduleOverlap.SKIP
    catch_up_seconds: float = CATCH_UP_SECONDS
    inputs: dict[str, Any] = field(default_factory=dict)
    max_iterations: int | None = None
    execution_timeout_seconds: float | None = None
    task_timeout_seconds: float | None = None
    quality_preference: QualityPreference = QualityPreference.BALANCED
    max_budget: Decimal | None = None
    max_task_budget: Decimal | None = None
    priority: int = PRIORITY
    paused_at: datetime | None = None
    next_fire_at: datetime | None = None
    last_fire_id: FireId | None = None
    id: ScheduleId = field(default_factory=lambda: ScheduleId(new_id()))
    version: int = 1
    created_at: datetime = field(default_factory=utc_now)
    updated_at: datetime = field(default_factory=utc_now)
    created_by: PrincipalId | None = None
    archived_at: datetime | None = None

    @property
    def timetable(self) -> Timetable:
        return Timetable(self.cron, self.time_zone)

    @property
    def is_paused(self) -> bool:
        return self.paused_at is not None

    @property
    def configuration(self) -> ScheduleConfiguration:
        return ScheduleConfiguration(
            self.max_iterations,
            self.execution_timeout_seconds,
            self.task_timeout_seconds,
            self.quality_preference,
            None if self.max_budget is None else Money(self.max_budget),
            None if self.max_task_budget is None else Money(self.max_task_budget),
            self.priority,
        )

    def check(self) -> None:
        """Hold the rules of a schedule; raises Invalid with every broken one."""
        rules = Rules()
        rules.name(self.name, "name")
        self.timetable.check(rules)
        rules.between(self.catch_up_seconds, MIN_CATCH_UP_SECONDS, MAX_CATCH_UP_SECONDS, "catchUpSeconds")
        rules.document(self.inputs, "inputs")
        self._check_configuration(rules)
        rules.hold()

    def _check_configuration(self, rules: Rules) -> None:
        under, longest = "configuration", EXECUTION_TIMEOUT_CAP_SECONDS
        rules.between(self.max_iterations, 1, MAX_ITERATIONS_CAP, under, "maxIterations")
        rules.between(self.execution_timeout_seconds, 1, longest, under, "executionTimeoutSeconds")
        rules.between(self.task_timeout_seconds, 1, longest, under, "taskTimeoutSeconds")
        rules.money(self.max_budget, MAX_BUDGET, MONEY_DIGITS, under, "maxBudget")
        rules.money(self.max_task_budget, MAX_BUDGET, MONEY_DIGITS, under, "maxTaskBudget")
        rules.between(self.priority, 0, MAX_PRIORITY, under, "priority")

    def set_clock(self, now: datetime, *, is_new: bool) -> None:
        """Say when it fires next: never while it is out of use; anew where the timetable `is_new`."""
        if self.paused_at or self.archived_at:
            self.next_fire_at = None
        elif is_new or self.next_fire_at is None:
            self.next_fire_at = self.timetable.first_after(now)

    def fall_due(self, now: datetime) -> "ScheduleFire | None":
        """The fire that stands for all that are due, PENDING or, if none is fresh enough, MISSED; sets the clock on.

        None when there is none after all: the schedule was put off, or the rules of its time zone have changed.
        """
        first = next(self.timetable.between(self.next_fire_at or now, now + _TICK), None)
        self.next_fire_at = self.timetable.first_after(now)
        if first is None:
            return None
        since = max(first, now - timedelta(seconds=self.catch_up_seconds))
        latest = self.timetable.last_between(since, now)
        if latest is None:
            return self._fire(FireKind.DUE, first, FireOutcome.MISSED)
        fire = self._fire(FireKind.DUE, latest)
        fire.missed_since = None if latest == first else first
        return fire

    def triggered(self, now: datetime) -> "ScheduleFire":
        """The fire that somebody asks for now."""
        return self._fire(FireKind.TRIGGER, now)

    def backfill(self, since: datetime, until: datetime) -> list["ScheduleFire"]:
        """A PENDING fire for each moment from `since` on and before `until`; at most one more than may wait."""
        moments = islice(self.timetable.between(since, until), MAX_BACKFILL + 1)
        return [self._fire(FireKind.BACKFILL, moment) for moment in moments]

    def _fire(self, kind: FireKind, moment: datetime, outcome: FireOutcome = FireOutcome.PENDING) -> "ScheduleFire":
        return ScheduleFire(self.tenant_id, self.id, kind, moment, outcome)


@dataclass(slots=True)
class ScheduleFire:
    """One moment at which a schedule fired, or should have.

    `message` says why it was SKIPPED or FAILED. `missed_since` is the first of the fires before it that nobody carried
    out and that this one stands for, None when it missed none.
    """

    tenant_id: TenantId
    schedule_id: ScheduleId
    kind: FireKind
    scheduled_for: datetime
    outcome: FireOutcome = FireOutcome.PENDING
    message: str | None = None
    execution_id: ExecutionId | None = None
    missed_since: datetime | None = None
    fired_at: datetime | None = None
    id: FireId = field(default_factory=lambda: FireId(new_id()))

    def become(self, outcome: FireOutcome, message: str | None = None, execution_id: ExecutionId | None = None) -> None:
        """Note what came of it."""
        self.outcome, self.message, self.execution_id, self.fired_at = outcome, message, execution_id, utc_now()
