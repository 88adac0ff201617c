"""Alert rules: what they may say, when they are judged, and when they fire and are resolved."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.model.alert import SETTLED, TRAITS, Alert, AlertMetric, AlertRule, AlertState, Evidence, Unit
from domain.model.alert_actions import actions_for
from domain.model.alerting import MAX_STEPS, OLDEST, Reading, fires, follow, message_of, moments_of, seeds_of
from domain.model.identity import DEFAULT_TENANT, ExecutionId, ProjectId, TeamId, new_id

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def a_rule(metric: AlertMetric = AlertMetric.QUEUE_DEPTH, threshold: str = "20", **values: Any) -> AlertRule:
    return AlertRule(DEFAULT_TENANT, "Rule", metric, Decimal(threshold), **values)


def readings(*values: float | None, samples: int = 10) -> list[Reading]:
    """One a minute from noon on."""
    return [
        Reading(NOON + timedelta(minutes=place), None if value is None else Decimal(str(value)), samples)
        for place, value in enumerate(values)
    ]


def told(alerts: Sequence[Alert]) -> list[tuple[str, int, int | None]]:
    """State, and the minutes at which each fired and was resolved."""

    def minute(moment: datetime | None) -> int | None:
        return None if moment is None else int((moment - NOON).total_seconds() // 60)

    return [(alert.state.value, minute(alert.fired_at) or 0, minute(alert.resolved_at)) for alert in alerts]


# ---------------------------------------------------------------- what a rule may say


@pytest.mark.parametrize(
    ("values", "paths"),
    [
        ({"name": " "}, ["name"]),
        ({"threshold": Decimal(-1)}, ["threshold"]),
        ({"threshold": Decimal("NaN")}, ["threshold"]),
        ({"threshold": Decimal(2_000_000_000)}, ["threshold"]),
        ({"threshold": Decimal("0.1234567890123")}, ["threshold"]),
        ({"clears_at": Decimal(21)}, ["clearsAt"]),
        ({"clears_at": Decimal(-1)}, ["clearsAt"]),
        ({"window_seconds": 59}, ["windowSeconds"]),
        ({"window_seconds": 86_401}, ["windowSeconds"]),
        ({"window_seconds": float("nan")}, ["windowSeconds"]),
        ({"minimum_samples": 0}, ["minimumSamples"]),
        ({"metric": AlertMetric.QUEUE_DEPTH, "minimum_samples": 2}, ["minimumSamples"]),
        ({"metric": AlertMetric.QUEUE_WAIT_SECONDS, "minimum_samples": 2}, ["minimumSamples"]),
        ({"metric": AlertMetric.WORKERS_LOST, "minimum_samples": 2}, ["minimumSamples"]),
        ({"metric": AlertMetric.BUDGET_SHARE, "threshold": Decimal(1), "minimum_samples": 2}, ["minimumSamples"]),
        ({"metric": AlertMetric.FAILURE_RATE, "threshold": Decimal(1)}, ["threshold"]),
        ({"metric": AlertMetric.BUDGET_SHARE, "threshold": Decimal(0)}, ["threshold"]),
        (
            {"metric": AlertMetric.BUDGET_SHARE, "threshold": Decimal("0.9"), "clears_at": Decimal("0.9")},
            ["clearsAt"],
        ),
        ({"name": "", "window_seconds": 1, "minimum_samples": 0}, ["name", "windowSeconds", "minimumSamples"]),
    ],
)
def test_a_rule_that_cannot_hold_is_refused(values: dict[str, Any], paths: list[str]) -> None:
    given_ones = {"name": "Rule", "metric": AlertMetric.QUEUE_DEPTH, "threshold": Decimal(20), **values}

    with pytest.raises(Invalid) as refused:
        AlertRule(DEFAULT_TENANT, **given_ones).check()

    assert [problem.path[-1] for problem in refused.value.problems] == paths


@pytest.mark.parametrize("metric", AlertMetric)
def test_by_default_it_is_good_again_on_the_good_side_of_the_threshold(metric: AlertMetric) -> None:
    rule = a_rule(metric, "0.5")

    rule.check()

    assert rule.clearing == Decimal("0.5") * TRAITS[metric].clears
    assert rule.clearing < rule.threshold


def test_what_is_good_again_follows_the_threshold_until_it_is_given() -> None:
    rule = a_rule(threshold="20")

    rule.threshold = Decimal(10)
    followed = rule.clearing
    rule.clears_at = Decimal(3)

    assert (followed, rule.clearing) == (Decimal(8), Decimal(3))


def test_every_tenant_begins_with_rules_that_hold() -> None:
    seeds = seeds_of(DEFAULT_TENANT)

    for seed in seeds:
        seed.check()

    assert {(seed.metric.value, str(seed.threshold), seed.severity.value) for seed in seeds} == {
        ("EXECUTION_SECONDS", "60", "WARNING"),
        ("FAILURE_RATE", "0.05", "WARNING"),
        ("BUDGET_SHARE", "0.9", "CRITICAL"),
        ("QUEUE_DEPTH", "20", "WARNING"),
        ("WORKERS_LOST", "0", "CRITICAL"),
    }
    assert all(seed.is_seed for seed in seeds)


# ---------------------------------------------------------------- when it is judged


@pytest.mark.parametrize(("window", "step"), [(60, 5), (120, 10), (3600, 300), (86_400, 7200)])
def test_a_rule_is_judged_twelve_times_a_window_but_not_more_often_than_every_five_seconds(
    window: float, step: int
) -> None:
    rule = a_rule(window_seconds=window, evaluated_until=NOON)

    moments = moments_of(rule, NOON + timedelta(seconds=3 * step + 1))

    assert moments == [NOON + timedelta(seconds=step * count) for count in (1, 2, 3)]


def test_nothing_is_judged_before_a_step_is_over() -> None:
    assert moments_of(a_rule(window_seconds=60, evaluated_until=NOON), NOON + timedelta(seconds=4)) == []


@settings(deadline=None, max_examples=50)
@given(
    window=st.floats(60, 86_400),
    away=st.timedeltas(timedelta(0), timedelta(days=90)),
)
def test_however_long_nobody_looked_no_window_is_missed(window: float, away: timedelta) -> None:
    until = NOON + away
    rule = a_rule(window_seconds=window, evaluated_until=NOON)
    start, passes = max(NOON, until - OLDEST), 0

    while moments := moments_of(rule, until):
        assert len(moments) <= MAX_STEPS
        gaps = [
            after - before for before, after in zip([max(start, rule.evaluated_until), *moments], moments, strict=False)
        ]
        assert max(gaps) <= timedelta(seconds=window)
        rule.evaluated_until, passes = moments[-1], passes + 1

    assert passes < 200
    assert until - max(start, rule.evaluated_until) < max(rule.step, timedelta(seconds=5))


def test_a_rule_out_of_use_is_not_judged_and_nothing_of_that_time_is_made_up_for() -> None:
    rule = a_rule(window_seconds=60, evaluated_until=NOON)
    rule.set_clock(NOON)
    in_use = rule.due_at

    rule.is_enabled = False
    rule.set_clock(NOON + timedelta(hours=1))
    out_of_use = rule.due_at
    rule.is_enabled = True
    rule.set_clock(NOON + timedelta(hours=2))

    assert (in_use, out_of_use) == (NOON + timedelta(seconds=5) + SETTLED, None)
    assert rule.evaluated_until == NOON + timedelta(hours=2)


# ---------------------------------------------------------------- firing and resolving


def test_it_fires_above_the_threshold_and_is_resolved_when_it_is_good_twice_in_a_row() -> None:
    alerts = follow(a_rule(), None, readings(20, 21, 40, 16, 16, 0))

    assert told(alerts) == [("RESOLVED", 1, 4)]
    assert (alerts[0].value, alerts[0].peak, alerts[0].last_value) == (Decimal(21), Decimal(40), Decimal(16))


def test_between_the_two_bounds_nothing_changes() -> None:
    assert told(follow(a_rule(), None, readings(17, 20, 17))) == []
    assert told(follow(a_rule(), None, readings(21, 17, 20, 17, 17))) == [("FIRING", 0, None)]


def test_one_good_reading_is_not_enough() -> None:
    assert told(follow(a_rule(), None, readings(21, 5, 17, 5, 21, 5))) == [("FIRING", 0, None)]


def test_a_budget_is_too_much_spent_at_the_threshold_already() -> None:
    rule = a_rule(AlertMetric.BUDGET_SHARE, "0.9")

    assert told(follow(rule, None, readings(0.89, 0.9, 0.88))) == [("FIRING", 1, None)]


def test_too_few_facts_are_no_reason_to_fire() -> None:
    rule = a_rule(AlertMetric.FAILURE_RATE, "0.05")

    assert not fires(rule, readings(1, samples=4)[0])
    assert fires(rule, readings(1, samples=5)[0])


def test_no_data_is_nothing_bad() -> None:
    rule = a_rule(AlertMetric.FAILURE_RATE, "0.05")

    assert told(follow(rule, None, readings(None, 0.5, None, None))) == [("RESOLVED", 1, 3)]


def test_what_was_open_goes_on_and_what_comes_after_it_is_another_one() -> None:
    rule = a_rule()
    [first] = follow(rule, None, readings(30, 10))

    after = follow(rule, first, readings(None, 30, 50, 50)[2:])
    later = follow(rule, first, readings(10, 10, 40))

    assert told(after) == [("FIRING", 0, None)]
    assert told(later) == [("RESOLVED", 0, 0), ("FIRING", 2, None)]
    assert later[0].id == first.id != later[1].id


@settings(deadline=None)
@given(values=st.lists(st.one_of(st.none(), st.integers(0, 40)), max_size=60), cut=st.integers(0, 60))
def test_it_does_not_matter_in_how_many_passes_the_readings_come(values: list[int | None], cut: int) -> None:
    rule, whole = a_rule(), readings(*values)

    at_once = follow(rule, None, whole)
    first = follow(rule, None, whole[:cut])
    is_open = first[-1] if first and first[-1].is_open else None
    second = follow(rule, is_open, whole[cut:])

    kept = first[:-1] if is_open is not None and second else first
    assert told([*kept, *second]) == told(at_once)
    assert all(not alert.is_open for alert in at_once[:-1])
    for alert in at_once:
        assert alert.value > rule.threshold
        assert (alert.state is AlertState.RESOLVED) == (alert.resolved_at is not None)


@settings(deadline=None)
@given(noise=st.lists(st.sampled_from([17, 18, 19, 20, 21, 22]), min_size=1, max_size=100))
def test_noise_around_the_threshold_makes_one_alert_at_most(noise: list[int]) -> None:
    assert len(follow(a_rule(), None, readings(*noise))) <= 1


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("metric", "threshold", "value", "message"),
    [
        (AlertMetric.EXECUTION_SECONDS, "60", "75.25", "An execution took 75.2 s within 300 s: more than 60 s."),
        (AlertMetric.FAILURE_RATE, "0.05", "0.125", "12.5 % of the executions failed within 300 s: more than 5 %."),
        (AlertMetric.SPEND, "10", "12.3", "$12.30 were spent within 300 s: more than $10.00."),
        (AlertMetric.SPEND, "0.004", "0.0045", "$0.0045 were spent within 300 s: more than $0.0040."),
        (AlertMetric.SPEND, "0", "0.000000000001", "$0.0000000000010 were spent within 300 s: more than $0.00."),
        (AlertMetric.BUDGET_SHARE, "0.9", "0.91", "91 % of a budget are spent: 90 % or more."),
        (AlertMetric.QUEUE_DEPTH, "20", "30", "30 executions waited for a place: more than 20."),
        (AlertMetric.WORKERS_LOST, "0", "1", "Workers lost: 1 within 300 s: more than 0."),
    ],
)
def test_what_happened_is_told_in_the_units_of_the_metric(
    metric: AlertMetric, threshold: str, value: str, message: str
) -> None:
    assert message_of(a_rule(metric, threshold), Decimal(value)) == message


def test_a_count_keeps_its_zeros() -> None:
    assert Unit.COUNT.told(Decimal(100)) == "100"


# ---------------------------------------------------------------- evidence and what can be done

EXECUTION, TEAM, PROJECT = ExecutionId(new_id()), TeamId(new_id()), ProjectId(new_id())


def _id(kind: str, identifier: UUID) -> str:
    return f"{kind}:{identifier}"


def _actions(metric: AlertMetric, *evidence: Evidence) -> list[tuple[str | None, Any]]:
    return [(action.mutation, action.arguments) for action in actions_for(metric, evidence, _id)]


@pytest.mark.parametrize(
    "evidence",
    [
        Evidence("Nothing."),
        Evidence("All.", EXECUTION, TEAM, PROJECT, is_running=True, limit_amount=Decimal("1.50")),
    ],
)
def test_evidence_survives_its_way_through_the_database(evidence: Evidence) -> None:
    assert Evidence.from_document(evidence.as_document()) == evidence


def test_an_execution_that_still_runs_can_be_cancelled() -> None:
    over = Evidence("Over.", EXECUTION, TEAM)
    running = Evidence("Runs.", EXECUTION, TEAM, is_running=True)
    faster = ("optimizeTeam", {"teamId": f"Team:{TEAM}", "goal": "SPEED"})

    assert _actions(AlertMetric.EXECUTION_SECONDS, over)[0] == faster
    assert _actions(AlertMetric.EXECUTION_SECONDS, over, running)[:2] == [
        ("cancelExecution", {"executionId": f"Execution:{EXECUTION}"}),
        faster,
    ]


@pytest.mark.parametrize(
    ("budget", "mutation", "arguments"),
    [
        ({"project_id": PROJECT, "team_id": TEAM}, "updateTeam", {"id": f"Team:{TEAM}"}),
        ({"project_id": PROJECT}, "updateProject", {"id": f"Project:{PROJECT}"}),
        ({}, "updateTenant", {}),
    ],
)
def test_the_budget_that_is_spent_can_be_raised(
    budget: dict[str, Any], mutation: str, arguments: dict[str, str]
) -> None:
    actions = _actions(AlertMetric.BUDGET_SHARE, Evidence("Spent.", **budget, limit_amount=Decimal(10)))

    assert actions[0] == (mutation, {**arguments, "monthlyBudget": "15"})


def test_failures_are_looked_at_and_the_team_is_asked_what_its_history_proposes() -> None:
    assert _actions(AlertMetric.FAILURE_RATE, Evidence("Failed.", EXECUTION, TEAM)) == [
        (None, None),
        ("optimizeTeam", {"teamId": f"Team:{TEAM}", "goal": "PERFORMANCE"}),
    ]


@pytest.mark.parametrize("metric", AlertMetric)
def test_there_is_always_something_that_can_be_done(metric: AlertMetric) -> None:
    assert all(action.text for action in actions_for(metric, [], _id))
    assert actions_for(metric, [], _id)
