"""The rules of metrics: whole parts of periods, percentiles out of buckets, and what a change is."""

import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.model.comparison import Comparison
from domain.model.metrics import (
    ACCURACY,
    MOST_POINTS,
    WHOLE_TENANT,
    Dimension,
    Durations,
    Figures,
    Granularity,
    MetricsScope,
    Period,
    Tally,
    bucket_of,
)
from domain.model.team import Process
from resolvers.metrics_inputs import (
    MetricsPeriodInput,
    MetricsScopeInput,
    MetricsWithinInput,
    period_from,
    scope_from,
)
from resolvers.node_ids import node_id

NOW = datetime(2026, 3, 29, 12, 30, tzinfo=UTC)
"""A Sunday, on which clocks change in Europe."""


def moments(period: Period) -> list[str]:
    return [f"{moment:%Y-%m-%dT%H:%M}" for moment in (*period.starts, period.end)]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# ---------------------------------------------------------------- periods


@pytest.mark.parametrize(
    ("granularity", "start", "end", "expected"),
    [
        ("HOUR", "2026-03-29T00:59", "2026-03-29T03:00", ["00:00", "01:00", "02:00", "03:00"]),
        ("DAY", "2026-02-28T23:59", "2026-03-01T00:01", ["2026-02-28", "2026-03-01", "2026-03-02"]),
        ("DAY", "2026-02-28T00:00", "2026-03-01T00:00", ["2026-02-28", "2026-03-01"]),
        ("WEEK", "2026-03-01T00:00", "2026-03-09T00:00", ["2026-02-23", "2026-03-02", "2026-03-09"]),
        ("WEEK", "2025-12-31T00:00", "2026-01-01T00:00", ["2025-12-29", "2026-01-05"]),
        ("MONTH", "2025-12-31T00:00", "2026-02-01T00:00", ["2025-12-01", "2026-01-01", "2026-02-01"]),
        ("MONTH", "2024-02-29T12:00", "2024-02-29T13:00", ["2024-02-01", "2024-03-01"]),
    ],
)
def test_a_period_is_made_of_whole_parts(granularity: str, start: str, end: str, expected: list[str]) -> None:
    period = Period.covering(at(start), at(end), Granularity(granularity))

    assert all(wanted in found for wanted, found in zip(expected, moments(period), strict=True))
    assert all(moment.utcoffset() == timedelta(0) for moment in (*period.starts, period.end))


def test_the_parts_are_those_of_utc_wherever_somebody_asks() -> None:
    zone = timezone(timedelta(hours=5, minutes=30))

    period = Period.covering(
        datetime(2026, 3, 2, 3, tzinfo=zone), datetime(2026, 3, 2, 6, tzinfo=zone), Granularity.DAY
    )

    assert moments(period) == ["2026-03-01T00:00", "2026-03-02T00:00", "2026-03-03T00:00"]


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - the zone is given beside them
    st.timedeltas(timedelta(microseconds=1), timedelta(days=30)),
    st.sampled_from(Granularity),
)
def test_the_period_before_ends_where_this_one_begins_and_has_as_many_parts(
    start: datetime, length: timedelta, granularity: Granularity
) -> None:
    period = Period.covering(start, start + length, granularity)

    assert period.start <= start < start + length <= period.end
    assert period.preceding.end == period.start
    assert len(period.preceding.starts) == len(period.starts)
    assert Period.covering(period.start, period.end, granularity) == period
    assert Period.up_to(period.end, len(period.starts), granularity) == period


@pytest.mark.parametrize(
    ("granularity", "longest"), [("HOUR", timedelta(hours=1)), ("DAY", timedelta(days=1)), ("WEEK", timedelta(weeks=1))]
)
def test_a_period_has_at_most_so_many_parts(granularity: str, longest: timedelta) -> None:
    start = datetime(2001, 1, 1, tzinfo=UTC)  # a Monday

    period = Period.covering(start, start + MOST_POINTS * longest, Granularity(granularity))
    with pytest.raises(Invalid, match="at most 1000 parts"):
        Period.covering(start, start + MOST_POINTS * longest + timedelta(microseconds=1), Granularity(granularity))

    assert len(period.starts) == MOST_POINTS


@pytest.mark.parametrize(("start", "end"), [(NOW, NOW), (NOW, NOW - timedelta(seconds=1))])
def test_a_period_begins_before_it_ends(start: datetime, end: datetime) -> None:
    with pytest.raises(Invalid, match="has to begin before it ends"):
        Period.covering(start, end, Granularity.DAY)


# ---------------------------------------------------------------- what is asked for


@pytest.mark.parametrize(
    ("asked", "first", "last", "parts"),
    [
        ({}, "2026-02-28T00:00", "2026-03-30T00:00", 30),
        ({"granularity": Granularity.HOUR}, "2026-02-28T00:00", "2026-03-29T13:00", 29 * 24 + 13),
        ({"granularity": Granularity.WEEK}, "2026-02-23T00:00", "2026-03-30T00:00", 5),
        ({"granularity": Granularity.MONTH}, "2026-02-01T00:00", "2026-04-01T00:00", 2),
        ({"to": at("2026-03-01T00:00")}, "2026-01-30T00:00", "2026-03-01T00:00", 30),
        ({"from_": at("2026-03-28T23:00")}, "2026-03-28T00:00", "2026-03-30T00:00", 2),
        ({"from_": None, "to": None, "granularity": None}, "2026-02-28T00:00", "2026-03-30T00:00", 30),
        ({"from_": datetime(2026, 3, 28, 23)}, "2026-03-28T00:00", "2026-03-30T00:00", 2),  # noqa: DTZ001 - that is UTC
    ],
)
def test_what_is_left_out_of_a_period_is_thirty_days_up_to_now(
    asked: dict[str, Any], first: str, last: str, parts: int
) -> None:
    period = period_from(MetricsPeriodInput(**asked), NOW)

    assert (moments(period)[0], moments(period)[-1], len(period.starts)) == (first, last, parts)


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
def test_a_period_that_time_has_no_room_for_is_out_of_range(day: str) -> None:
    asked = MetricsPeriodInput(from_=at(f"{day}T01:00"), to=at(f"{day}T02:00"))

    with pytest.raises(Invalid, match="out of range"):
        period_from(asked, NOW)


def test_a_scope_is_one_thing_at_most_and_names_may_be_narrowed() -> None:
    team = node_id("Team", (identifier := uuid4()))

    narrowed = scope_from(MetricsScopeInput(model="a/b", within=MetricsWithinInput(team_id=team)))  # type: ignore[arg-type]  # an id is a text

    of_team = MetricsScope(Dimension.TEAM, str(identifier))
    assert scope_from(None) == scope_from(MetricsScopeInput()) == WHOLE_TENANT
    assert scope_from(MetricsScopeInput(team_id=team)) == of_team  # type: ignore[arg-type]  # the same
    assert narrowed == MetricsScope(Dimension.MODEL, "a/b", of_team)
    assert scope_from(MetricsScopeInput(strategy=Process.PARALLEL)) == MetricsScope(Dimension.STRATEGY, "PARALLEL")
    assert scope_from(MetricsScopeInput(domain="")) == MetricsScope(Dimension.DOMAIN, "")  # and not the whole tenant


# ---------------------------------------------------------------- durations


def durations(micros: list[int]) -> Durations:
    found = Durations()
    for each in micros:
        found.add(each)
    return found


@given(st.lists(st.integers(0, 10**13), min_size=1, max_size=300), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_percentile_is_near_the_exact_one_or_a_microsecond_off(micros: list[int], share: float) -> None:
    exact = sorted(micros)[math.ceil(share * len(micros)) - 1] / 1_000_000

    found = durations(micros).percentile(share)

    assert found == pytest.approx(exact, rel=ACCURACY * 1.001, abs=1e-6)


@given(st.lists(st.integers(0, 10**9)), st.lists(st.integers(0, 10**9)))
def test_merged_durations_are_those_of_both(some: list[int], others: list[int]) -> None:
    merged = durations(some)

    merged.merge(durations(others))

    assert merged == durations(some + others)
    assert merged.micros == sum(some) + sum(others)
    assert merged.count == len(some) + len(others)


def test_a_duration_is_in_the_bucket_whose_bounds_it_lies_between() -> None:
    assert [bucket_of(micros) for micros in (-1, 0, 1, 2)] == [0, 0, 0, 35]


def test_of_nothing_there_are_no_figures() -> None:
    nothing = Durations()

    assert (nothing.count, nothing.mean_seconds, nothing.p50_seconds, nothing.p99_seconds) == (0, None, None, None)
    assert (Tally().success_rate, Tally(cancelled=3).success_rate, Tally(failed=1).success_rate) == (None, None, 0.0)


# ---------------------------------------------------------------- changes


def figures(completed: int = 0, failed: int = 0, cost: str = "0", tokens: int = 0) -> Figures:
    return Figures(
        executions=Tally(completed=completed, failed=failed, durations=durations([1_000_000] * completed)),
        calls=Tally(cost_amount=Decimal(cost), prompt_tokens=tokens),
    )


def test_a_change_is_a_share_of_what_was_before_and_of_rates_the_difference() -> None:
    found = Comparison(now=figures(3, 1, "1.5", 100), before=figures(1, 1, "1", 400))

    assert (found.executions, found.success_rate, found.duration_p95) == (1.0, 0.25, 0.0)
    assert (found.spend, found.tokens) == (0.5, -0.75)


@pytest.mark.parametrize("now", [figures(), figures(3, 1, "1.5", 100)])
def test_nothing_can_be_told_of_a_change_from_nothing(now: Figures) -> None:
    found = Comparison(now, before=figures())

    assert (found.executions, found.success_rate, found.duration_p95) == (None, None, None)
    assert (found.spend, found.tokens) == (None, None)


@pytest.mark.parametrize(
    ("granularity", "now", "end"),
    [
        (Granularity.DAY, "2026-03-10T13:28:00+00:00", "2026-03-09T13:00:00+00:00"),
        (Granularity.DAY, "2026-03-11T00:00:00+00:00", "2026-03-10T00:00:00+00:00"),
        (Granularity.DAY, "2026-03-10T00:10:00+00:00", "2026-03-09T01:00:00+00:00"),
        (Granularity.MONTH, "2026-03-10T13:28:00+00:00", "2026-02-10T13:00:00+00:00"),
    ],
)
def test_of_a_period_that_is_not_over_the_one_before_is_cut_alike(granularity: Granularity, now: str, end: str) -> None:
    moment = datetime.fromisoformat(now)
    period = Period.covering(datetime(2026, 3, 10, tzinfo=UTC), datetime(2026, 3, 10, 1, tzinfo=UTC), granularity)

    before = period.preceding_up_to(moment)

    assert (before.start, before.end) == (period.preceding.start, datetime.fromisoformat(end))


def test_what_is_cut_too_long_ago_for_hours_is_cut_by_days() -> None:
    period = Period.up_to(datetime(2026, 3, 10, 5, tzinfo=UTC), 12, Granularity.MONTH)

    before = period.preceding_up_to(datetime(2026, 3, 10, 5, tzinfo=UTC))

    assert (before.granularity, before.end) == (Granularity.DAY, datetime(2025, 3, 10, tzinfo=UTC))
