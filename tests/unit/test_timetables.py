"""Schedules: when a timetable fires, on clocks that are put forward and back, and what a due fire stands for."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.model.identity import DEFAULT_TENANT, TeamId
from domain.model.schedule import MAX_BACKFILL, FireKind, FireOutcome, Schedule, ScheduleFire, Timetable

BERLIN = "Europe/Berlin"


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def a_schedule(**values: Any) -> Schedule:
    given_ones: dict[str, Any] = {"name": "Nightly", "cron": "0 * * * *", **values}
    return Schedule(DEFAULT_TENANT, TeamId(UUID(int=1)), **given_ones)


def fires(cron: str, time_zone: str, after: str, count: int) -> list[str]:
    """The next fires as the zone's clocks show them."""
    found = islice(Timetable(cron, time_zone).after(moment(after)), count)
    return [each.astimezone(ZoneInfo(time_zone)).isoformat(timespec="minutes") for each in found]


def due(schedule: Schedule, now: datetime) -> ScheduleFire:
    fire = schedule.fall_due(now)
    assert fire
    return fire


def broken(schedule: Schedule) -> list[tuple[str, ...]]:
    with pytest.raises(Invalid) as raised:
        schedule.check()
    return [problem.path for problem in raised.value.problems]


# ---------------------------------------------------------------- timetables


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 9 * * MON-FRI", ["2026-01-01T09:00+00:00", "2026-01-02T09:00+00:00", "2026-01-05T09:00+00:00"]),
        ("*/20 8 * * *", ["2026-01-01T08:00+00:00", "2026-01-01T08:20+00:00", "2026-01-01T08:40+00:00"]),
        ("0 0 L * *", ["2026-01-31T00:00+00:00", "2026-02-28T00:00+00:00", "2026-03-31T00:00+00:00"]),
        ("0 0 * * mon#2", ["2026-01-12T00:00+00:00", "2026-02-09T00:00+00:00", "2026-03-09T00:00+00:00"]),
        ("0 0 29 2 *", ["2028-02-29T00:00+00:00", "2032-02-29T00:00+00:00", "2036-02-29T00:00+00:00"]),
        ("0 0 13 * 5", ["2026-01-02T00:00+00:00", "2026-01-09T00:00+00:00", "2026-01-13T00:00+00:00"]),
        ("0 0 * * 7", ["2026-01-04T00:00+00:00", "2026-01-11T00:00+00:00", "2026-01-18T00:00+00:00"]),
    ],
)
def test_a_timetable_fires_as_cron_does(cron: str, expected: list[str]) -> None:
    assert fires(cron, "UTC", "2026-01-01T00:00+00:00", 3) == expected


def test_a_time_that_the_clock_skips_comes_when_it_is_put_forward() -> None:
    found = fires("30 2 * * *", BERLIN, "2026-03-28T00:00+01:00", 3)

    assert found == ["2026-03-28T02:30+01:00", "2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]


def test_times_that_the_clock_skips_come_once_all_together() -> None:
    found = fires("0,30 2,3 * * *", BERLIN, "2026-03-29T00:00+01:00", 3)

    assert found == ["2026-03-29T03:00+02:00", "2026-03-29T03:30+02:00", "2026-03-30T02:00+02:00"]


def test_a_midnight_that_does_not_exist_is_made_up_at_once() -> None:
    found = fires("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00+02:00", 2)

    assert found == ["2026-04-24T01:00+03:00", "2026-04-25T00:00+03:00"]


def test_a_time_that_the_clock_shows_twice_comes_the_first_time() -> None:
    found = fires("30 2 * * *", BERLIN, "2026-10-24T12:00+02:00", 2)

    assert found == ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]


def test_between_the_two_showings_of_a_time_the_next_one_is_tomorrow() -> None:
    found = fires("30 2 * * *", BERLIN, "2026-10-25T02:45+02:00", 1)

    assert found == ["2026-10-26T02:30+01:00"]


def test_what_comes_every_hour_comes_every_hour_when_the_clock_is_put_back() -> None:
    found = fires("30 * * * *", BERLIN, "2026-10-25T01:45+02:00", 3)

    assert found == ["2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00", "2026-10-25T03:30+01:00"]


def test_what_comes_every_half_hour_skips_nothing_when_the_clock_is_put_forward() -> None:
    found = list(islice(Timetable("*/30 * * * *", BERLIN).after(moment("2026-03-29T00:00+00:00")), 4))

    assert {later - earlier for earlier, later in pairwise(found)} == {timedelta(minutes=30)}


def test_a_change_of_half_an_hour_is_none_of_a_whole_one() -> None:
    found = fires("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00+11:00", 2)

    assert found == ["2026-04-05T01:45+11:00", "2026-04-06T01:45+10:30"]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["*/7 * * * *", "30 2 * * *", "0,30 1-3 * * *", "15 */5 * * 1-5", "0 0 1 * *", "59 23 L * *"]),
    st.sampled_from([BERLIN, "UTC", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kathmandu"]),
    st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)),  # noqa: DTZ001 - becomes UTC below
)
def test_fires_rise_and_the_next_of_each_is_the_one_behind_it(cron: str, zone: str, start: datetime) -> None:
    timetable, after = Timetable(cron, zone), start.replace(tzinfo=UTC)

    found = list(islice(timetable.after(after), 8))

    assert [after, *found] == sorted({after, *found})
    assert [timetable.first_after(each) for each in [after, *found[:-1]]] == found
    assert timetable.last_between(after, found[3]) == found[3]
    assert timetable.last_between(after, found[3] - timedelta(microseconds=1)) == found[2]


def test_a_timetable_that_does_not_fire_in_a_range_has_no_last_one() -> None:
    nightly = Timetable("0 0 * * *", "UTC")

    assert nightly.last_between(moment("2026-01-01T00:01+00:00"), moment("2026-01-01T23:59+00:00")) is None


# ---------------------------------------------------------------- rules


@pytest.mark.parametrize(
    "cron",
    [
        "",
        "* * * *",
        "* * * * * *",
        "@daily",
        "60 * * * *",
        "*/0 * * * *",
        "a * * * *",
        "R * * * *",
        "H * * * *",
        "0 0 15W * *",
        "0 0 30 2 *",
        "* * * *\n*",
        f"{'0,' * 60}0 * * * *",
    ],
)
def test_what_is_no_cron_expression_or_never_fires_is_refused(cron: str) -> None:
    assert broken(a_schedule(cron=cron)) == [("cron",)]


@pytest.mark.parametrize(
    "zone", ["", "Berlin", "../../etc/passwd", "/etc/localtime", "Europe", "localtime", "UTC\x00", "Z" * 65]
)
def test_what_is_no_time_zone_is_refused(zone: str) -> None:
    assert broken(a_schedule(time_zone=zone)) == [("timeZone",)]


def test_every_broken_rule_is_told() -> None:
    schedule = a_schedule(
        name=" ", cron="x", time_zone="x", catch_up_seconds=59.0, inputs={"a": float("nan")}, priority=10
    )

    assert broken(schedule) == [
        ("name",),
        ("timeZone",),
        ("cron",),
        ("catchUpSeconds",),
        ("inputs",),
        ("configuration", "priority"),
    ]


# ---------------------------------------------------------------- the clock of a schedule


NOON = moment("2026-01-01T12:00+00:00")


def test_a_fire_that_is_due_stands_for_its_moment_and_sets_the_clock_on() -> None:
    schedule = a_schedule(next_fire_at=NOON)

    fire = due(schedule, NOON + timedelta(seconds=1))

    assert (fire.kind, fire.outcome, fire.scheduled_for, fire.missed_since) == (
        FireKind.DUE,
        FireOutcome.PENDING,
        NOON,
        None,
    )
    assert schedule.next_fire_at == NOON + timedelta(hours=1)


def test_of_fires_that_nobody_carried_out_the_latest_is_made_up() -> None:
    schedule = a_schedule(cron="*/10 * * * *", next_fire_at=NOON)

    fire = due(schedule, NOON + timedelta(days=400, minutes=25))

    assert fire.outcome is FireOutcome.PENDING
    assert fire.scheduled_for == NOON + timedelta(days=400, minutes=20)
    assert fire.missed_since == NOON
    assert schedule.next_fire_at == NOON + timedelta(days=400, minutes=30)


def test_what_is_older_than_the_catch_up_is_missed() -> None:
    schedule = a_schedule(cron="0 12 * * *", catch_up_seconds=600.0, next_fire_at=NOON)

    fire = due(schedule, NOON + timedelta(minutes=10, microseconds=1))

    assert (fire.outcome, fire.scheduled_for) == (FireOutcome.MISSED, NOON)
    assert schedule.next_fire_at == NOON + timedelta(days=1)


def test_what_is_just_as_old_as_the_catch_up_is_made_up() -> None:
    schedule = a_schedule(cron="0 12 * * *", catch_up_seconds=600.0, next_fire_at=NOON)

    assert due(schedule, NOON + timedelta(minutes=10)).outcome is FireOutcome.PENDING


def test_a_schedule_that_was_put_off_falls_due_with_the_moments_since_then_and_without_any_it_goes_on() -> None:
    schedule = a_schedule(next_fire_at=NOON + timedelta(minutes=10))
    assert schedule.fall_due(NOON + timedelta(minutes=11)) is None
    assert schedule.next_fire_at == NOON + timedelta(hours=1)

    schedule.next_fire_at = NOON + timedelta(minutes=10)
    fire = due(schedule, NOON + timedelta(minutes=61))

    assert (fire.outcome, fire.scheduled_for, fire.missed_since) == (
        FireOutcome.PENDING,
        NOON + timedelta(hours=1),
        None,
    )


def test_a_schedule_that_is_out_of_use_has_no_next_fire_and_begins_anew_from_the_present() -> None:
    schedule = a_schedule(paused_at=NOON, next_fire_at=NOON)
    schedule.set_clock(NOON, is_new=False)
    assert schedule.next_fire_at is None

    schedule.paused_at = None
    schedule.set_clock(NOON + timedelta(days=1, minutes=1), is_new=False)

    assert schedule.next_fire_at == NOON + timedelta(days=1, hours=1)


def test_an_edit_that_is_none_of_the_timetable_does_not_lose_a_fire_that_is_due() -> None:
    schedule = a_schedule(next_fire_at=NOON)

    schedule.set_clock(NOON + timedelta(minutes=1), is_new=False)

    assert schedule.next_fire_at == NOON


def test_a_backfill_has_its_beginning_and_not_its_end() -> None:
    found = a_schedule().backfill(NOON, NOON + timedelta(hours=2))

    assert [fire.scheduled_for for fire in found] == [NOON, NOON + timedelta(hours=1)]
    assert {(fire.kind, fire.outcome) for fire in found} == {(FireKind.BACKFILL, FireOutcome.PENDING)}


def test_a_backfill_ends_one_behind_the_most() -> None:
    assert len(a_schedule(cron="* * * * *").backfill(NOON, NOON + timedelta(days=900))) == MAX_BACKFILL + 1
