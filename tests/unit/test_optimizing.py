"""What a team's history speaks for, and what it does not: each rule at its boundary, with exact figures."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from domain.errors import FailureCode, InvalidTransition
from domain.model.difference import Part
from domain.model.history import (
    ENOUGH_EXECUTIONS,
    ModelRecord,
    Quantiles,
    RoleHistory,
    TaskHistory,
    TaskRecord,
    TeamHistory,
)
from domain.model.identity import DEFAULT_TENANT, ProjectId, TaskId, utc_now
from domain.model.model import Model, Tier
from domain.model.money import Money
from domain.model.optimization import (
    FieldChange,
    Goal,
    MeasuredEffect,
    Metric,
    Optimization,
    OptimizationKind,
    OptimizationStatus,
)
from domain.model.optimizing import Proposal, Situation, propose, stands, why_nothing
from domain.model.optimizing.branches import seconds_side_by_side, used_outputs
from domain.model.optimizing.field_changes import fit, reversed_changes, with_changes
from domain.model.optimizing.measuring import Figures, TrialFigures, measured_effects
from domain.model.prices import Prices
from domain.model.revision import TeamSnapshot
from domain.model.role import Expertise, Role
from domain.model.routing import Deployment, Offer, QualityPreference
from domain.model.task import Task, TaskDependency
from domain.model.team import Process, Team

LOCAL, STANDARD, PREMIUM = Tier.LOCAL, Tier.STANDARD, Tier.PREMIUM


def an_offer(name: str, tier: Tier, price: str, **values: Any) -> Offer:
    dollars = Decimal(price)
    model = Model(DEFAULT_TENANT, name, tier, dollars, dollars, **{"routing_order": 1, **values})
    return Offer(model, Deployment("test", Prices.per_million(dollars, dollars)))


OFFERS = (
    an_offer("a/local", LOCAL, "0"),
    an_offer("a/standard", STANDARD, "1"),
    an_offer("a/premium", PREMIUM, "10"),
)


def a_team(*tasks: str, process: Process = Process.SEQUENTIAL, role: Any = None, **task: Any) -> TeamSnapshot:
    """A team with one role and a task for each text, which is named by its first word."""
    team = Team(DEFAULT_TENANT, ProjectId(DEFAULT_TENANT), "Team", process=process)
    writer = Role(DEFAULT_TENANT, team.id, "Writer", **(role or {}))
    made = [
        Task(DEFAULT_TENANT, team.id, text.split()[0], text, "A text.", role_id=writer.id, position=place, **task)
        for place, text in enumerate(tasks or ("Write.",))
    ]
    return TeamSnapshot(team, [writer], made, [], [], [])


def a_record(model: str, tier: Tier | None, completed: int = 10, failed: int = 0, cost: str = "0.10") -> ModelRecord:
    return ModelRecord(model, tier, completed, failed, Decimal(cost), 5.0)


def a_history(
    snapshot: TeamSnapshot,
    completed: int = 10,
    failed: int = 0,
    *,
    models: Sequence[ModelRecord] = (),
    seconds: Sequence[float] = (),
    failures: dict[str, int] | None = None,
    role: Any = None,
    **task: Any,
) -> TeamHistory:
    """One in which all of the money went to the one role, and to its first task, which every model did."""
    first = snapshot.tasks[0].id
    models = [each if each.tasks else of_tasks(each, {first: (each.completed, each.failed)}) for each in models]
    figures = [Quantiles(each / 2, each, each * 2) for each in seconds] or [Quantiles(5, 10, 20)] * 99
    tokens = Quantiles(500, 1000, 2000)
    tasks = [
        TaskHistory(
            each.id,
            each.name,
            **{
                "completed": completed,
                "failed": failed,
                "seconds": figures[place],
                "prompt_tokens": tokens,
                "completion_tokens": tokens,
                "total_cost": Decimal(1) if place == 0 else Decimal(0),
                **task,
            },
        )
        for place, each in enumerate(snapshot.tasks)
    ]
    roles = [
        RoleHistory(
            each.id,
            each.title,
            **{"completed": completed, "failed": failed, "total_cost": Decimal(1), "models": models, **(role or {})},
        )
        for each in snapshot.roles
    ]
    return TeamHistory(
        snapshot.team.id,
        completed=completed,
        failed=failed,
        tasks=tasks,
        roles=roles,
        failures=failures or {},
        with_events=completed + failed,
        with_events_from=[utc_now()] * (completed + failed),
    )


def of_tasks(record: ModelRecord, tasks: dict[TaskId, tuple[int, int]]) -> ModelRecord:
    """The record with so many completed and failed of each task, each for what the record says."""
    told = [
        TaskRecord(task, done, failed, record.mean_cost * (done + failed)) for task, (done, failed) in tasks.items()
    ]
    return replace(record, tasks=told)


def proposed(
    goal: Goal,
    snapshot: TeamSnapshot,
    history: TeamHistory,
    offers: Sequence[Offer] = OFFERS,
    default: str | None = None,
) -> list[Proposal]:
    return propose(goal, Situation.of(snapshot, history, offers, default))


def changes(found: Sequence[Proposal]) -> list[tuple[str, str, Any, Any]]:
    return [(each.name, each.field, each.before, each.after) for one in found for each in one.changes]


# ---------------------------------------------------------------- how much is enough


@pytest.mark.parametrize(("finished", "count"), [(4, 0), (5, 1)])
def test_too_little_history_proposes_nothing(finished: int, count: int) -> None:
    team = a_team(role={"model": "a/premium"})
    history = a_history(team, finished, models=[a_record("a/premium", PREMIUM, finished)])

    assert len(proposed(Goal.COST, team, history)) == count


@pytest.mark.parametrize(
    ("finished", "message"),
    [
        (0, "There is too little history: 5 executions have to be completed or failed, and none is."),
        (1, "There is too little history: 5 executions have to be completed or failed, and 1 is."),
        (4, "There is too little history: 5 executions have to be completed or failed, and 4 are."),
        (5, "Nothing in the last 5 executions that were completed or failed speaks for a change."),
    ],
)
def test_why_nothing_is_proposed_is_said_with_the_numbers(finished: int, message: str) -> None:
    assert why_nothing(a_history(a_team(), finished)) == message


# ---------------------------------------------------------------- cost


def test_a_pinned_model_whose_tasks_pass_gives_way_to_the_next_lower_tier() -> None:
    team = a_team(role={"model": "a/premium"})

    [found] = proposed(Goal.COST, team, a_history(team, models=[a_record("a/premium", PREMIUM)]))

    assert found.kind is OptimizationKind.CHEAPER_MODEL
    assert changes([found]) == [("Writer", "model", "a/premium", "a/standard")]
    assert [(each.metric, each.low, each.high) for each in found.effects] == [(Metric.COST, -0.9, -0.45)]
    assert [each.text for each in found.evidence] == [
        "“Writer”: 10 of 10 tasks were completed.",
        "With a/premium, 10 of 10 tasks were completed, for $0.1000 each.",
        "With a/standard, what is read and written would cost 10% of what it does.",
    ]


@pytest.mark.parametrize(("failed", "count"), [(1, 1), (2, 0)])
def test_a_cheaper_model_is_for_work_that_passes(failed: int, count: int) -> None:
    team = a_team(role={"model": "a/premium"})
    history = a_history(team, 10 - failed, failed, models=[a_record("a/premium", PREMIUM, 10 - failed, failed)])

    assert len(proposed(Goal.COST, team, history)) == count


def test_what_the_role_did_with_another_model_than_the_pinned_one_says_nothing() -> None:
    team = a_team(role={"model": "a/standard"})

    assert proposed(Goal.COST, team, a_history(team, models=[a_record("a/premium", PREMIUM)])) == []


def test_a_bare_name_is_the_model_of_that_name() -> None:
    team = a_team(role={"model": "premium"})

    found = proposed(Goal.COST, team, a_history(team, models=[a_record("a/premium", PREMIUM)]))

    assert changes(found) == [("Writer", "model", "premium", "a/standard")]


def test_a_model_that_passed_at_a_lower_tier_is_proposed_before_one_that_was_never_tried() -> None:
    team = a_team(role={"model": "a/premium"})
    models = [a_record("a/premium", PREMIUM, cost="1"), a_record("a/local", LOCAL, 5, cost="0.25")]

    [found] = proposed(Goal.COST, team, a_history(team, models=models))

    assert changes([found]) == [("Writer", "model", "a/premium", "a/local")]
    assert [(each.low, each.high) for each in found.effects] == [(-0.75, -0.375)]


@pytest.mark.parametrize(
    ("easy", "hard", "count"),
    [((5, 0), (5, 0), 1), ((5, 0), (4, 0), 0), ((5, 0), (5, 1), 0), ((5, 0), None, 0), (None, (5, 0), 0)],
)
def test_a_cheaper_model_has_passed_only_where_each_task_of_the_usual_one_did(
    easy: tuple[int, int] | None, hard: tuple[int, int] | None, count: int
) -> None:
    team = a_team("Easy.", "Hard.")
    first, second = (task.id for task in team.tasks)
    usual = of_tasks(a_record("a/premium", PREMIUM, 20, cost="1"), {first: (10, 0), second: (10, 0)})
    did = {task: done for task, done in ((first, easy), (second, hard)) if done}
    cheap = of_tasks(a_record("a/standard", STANDARD, 10, cost="0.25"), did)

    assert len(proposed(Goal.COST, team, a_history(team, models=[usual, cheap]))) == count


def test_what_other_models_do_of_a_routed_role_has_to_pass_too_for_the_role_is_pinned() -> None:
    team = a_team("Easy.", "Hard.", "Gone.")
    easy, hard, gone = (task.id for task in team.tasks)
    team.tasks.pop()  # what is no task of the team any more says nothing
    usual = of_tasks(a_record("a/premium", PREMIUM, cost="1"), {hard: (10, 0), gone: (10, 0)})
    local = of_tasks(a_record("a/local", LOCAL, cost="0.05"), {easy: (10, 0)})
    cheap = a_record("a/standard", STANDARD, cost="0.25")

    only_hard = [usual, local, of_tasks(cheap, {hard: (10, 0)})]
    both = [usual, local, of_tasks(cheap, {hard: (10, 0), easy: (10, 0)})]

    assert proposed(Goal.COST, team, a_history(team, models=only_hard)) == []
    [found] = proposed(Goal.COST, team, a_history(team, models=both))
    assert changes([found]) == [("Writer", "model", None, "a/standard")]
    # The three of them spent 10 + 0.5 + 2.5 + 2.5 on what would cost 40 times a quarter.
    assert [each.low for each in found.effects] == [pytest.approx(10 / 15.5 - 1, abs=1e-4)]


@pytest.mark.parametrize(
    "other",
    [
        a_record("a/standard", STANDARD, 4, cost="0.25"),  # too seldom
        a_record("a/standard", STANDARD, 8, 2, cost="0.25"),  # not good enough
        a_record("a/standard", STANDARD, 5, cost="0.74"),  # hardly cheaper: all would cost more than 80 %
        a_record("a/second", PREMIUM, cost="0.25"),  # of the same tier
        a_record("nobody/has", STANDARD, cost="0.25"),  # cannot be had
        a_record("a/standard", None, cost="0.25"),  # nobody knows its tier
    ],
)
def test_a_routed_role_is_pinned_only_to_what_has_passed(other: ModelRecord) -> None:
    team = a_team()

    assert proposed(Goal.COST, team, a_history(team, models=[a_record("a/premium", PREMIUM, cost="1"), other])) == []


def test_a_routed_role_is_pinned_to_what_has_passed() -> None:
    team = a_team()
    models = [a_record("a/premium", PREMIUM, cost="1"), a_record("a/standard", STANDARD, 5, cost="0.72")]

    assert changes(proposed(Goal.COST, team, a_history(team, models=models))) == [
        ("Writer", "model", None, "a/standard")
    ]


def test_the_deployments_model_counts_as_pinned() -> None:
    team = a_team()

    found = proposed(Goal.COST, team, a_history(team, models=[a_record("a/premium", PREMIUM)]), default="a/premium")

    assert changes(found) == [("Writer", "model", None, "a/standard")]


@pytest.mark.parametrize(
    "offer",
    [
        an_offer("a/standard", STANDARD, "1", routing_order=None),
        an_offer("a/standard", STANDARD, "1", supports_tools=False),
        an_offer("a/standard", STANDARD, "1", context_window=999),
        an_offer("a/standard", STANDARD, "9"),
        replace(OFFERS[1], deployment=None),
    ],
)
def test_a_model_that_does_not_fit_is_not_proposed(offer: Offer) -> None:
    team = a_team(role={"model": "a/premium", "can_ask": True})
    history = a_history(team, models=[a_record("a/premium", PREMIUM)])

    assert proposed(Goal.COST, team, history, [offer, OFFERS[2]]) == []


def test_a_task_that_passes_need_not_be_premium() -> None:
    team = a_team("Plan.", quality_preference=QualityPreference.PREMIUM, role={"expertise": Expertise.SENIOR})

    [found] = proposed(Goal.COST, team, a_history(team))

    assert changes([found]) == [("Plan.", "quality_preference", "PREMIUM", "BALANCED")]
    assert [(each.low, each.high) for each in found.effects] == [(-0.9, -0.45)]


def test_a_preference_that_leads_to_the_same_tier_is_left_alone() -> None:
    text = "Plan " + "word " * 201  # with a senior role: COMPLEX, which is PREMIUM either way
    team = a_team(text, quality_preference=QualityPreference.PREMIUM, role={"expertise": Expertise.SENIOR})

    assert proposed(Goal.COST, team, a_history(team)) == []


def test_a_preference_means_nothing_to_a_pinned_role() -> None:
    team = a_team("Plan.", quality_preference=QualityPreference.PREMIUM, role={"model": "nobody/has"})

    assert proposed(Goal.COST, team, a_history(team)) == []


# ---------------------------------------------------------------- speed

RESEARCH = ("Market: look at it.", "Rivals: list them.", "Report: write it.")


def apart(*tasks: str, process: Process = Process.SEQUENTIAL) -> TeamSnapshot:
    """A team with a role of its own for each task."""
    team = a_team(*(tasks or RESEARCH), process=process)
    for number, task in enumerate(team.tasks[1:], start=2):
        team.roles.append(Role(DEFAULT_TENANT, team.team.id, f"Writer {number}", position=number))
        task.role_id = team.roles[-1].id
    return team


def test_tasks_that_do_not_use_each_other_run_side_by_side() -> None:
    team = apart()
    market, rivals, report = team.tasks

    [found] = proposed(Goal.SPEED, team, a_history(team, seconds=[30, 20, 10]))

    assert found.kind is OptimizationKind.PARALLEL_BRANCHES
    assert changes([found]) == [
        ("Team", "process", "SEQUENTIAL", "PARALLEL"),
        ("Report:", "depends_on", [], sorted([str(market.id), str(rivals.id)])),
    ]
    assert [each.value for each in found.evidence] == [60, 40]
    [effect] = found.effects
    assert effect.metric is Metric.SECONDS
    assert [effect.low, effect.high] == pytest.approx([-1 / 3, -1 / 6], abs=1e-4)
    assert found.explanation.startswith("“Market:”, “Rivals:” could begin at once. That is a guess from words:")
    assert report.id in {each.id for each in found.changes}


@pytest.mark.parametrize(
    "text",
    [
        "Rivals: list those in the market.",
        "Rivals: list them, MARKETS by market.",
        "Rivals: list them, based on what is there.",
        "Rivals: use the results.",
        "Rivals: as said above.",
        "Rivals: translate the text into German.",
        "Rivals: check that long draft.",
        "Rivals: find those in the short poem.",
        "Translate it into German.",
        "Rivalen: übersetze den Text ins Englische.",
        "Rivalen: werte die gesammelten Ergebnisse aus.",
        "Rivalen: bewerte den Marktbericht.",
        "Rivalen: schreibe sie anhand von Fakten auf.",
        "Rivalen: fasse alles kurz zusammen.",
        "Rivalen: nimm, was zuvor gefunden wurde.",
        "Prüfe es auf Fehler.",
        "Rivals: " + "word " * 400,
    ],
)
def test_a_text_that_speaks_of_what_was_done_before_waits_for_it(text: str) -> None:
    team = apart(RESEARCH[0], text, RESEARCH[2])
    team.tasks[0].expected_output = "A poem."
    market, rivals, _ = team.tasks

    assert used_outputs(team)[rivals.id] == [market.id]
    assert proposed(Goal.SPEED, team, a_history(team)) == []


def test_without_a_sign_that_tasks_are_apart_they_wait_for_each_other() -> None:
    team = a_team(*RESEARCH)
    market, rivals, _ = team.tasks

    assert used_outputs(team)[rivals.id] == [market.id]
    assert proposed(Goal.SPEED, team, a_history(team)) == []


@pytest.mark.parametrize(
    ("texts", "is_apart"),
    [
        (("Market: look at {market}.", "Rivals: list {rivals}."), True),
        (("Markt: untersuche {markt}.", "Rivalen: liste {rivalen} auf."), True),
        (("Market: look at {market}.", "Rivals: list them in {market}, and {rivals}."), False),
        (("Market: look at {market}.", "Rivals: list them."), False),
    ],
)
def test_tasks_of_one_role_are_apart_by_what_they_are_given(texts: tuple[str, str], is_apart: bool) -> None:
    team = a_team(*texts, "Report: write it.")

    assert used_outputs(team)[team.tasks[1].id] == ([] if is_apart else [team.tasks[0].id])


def test_what_is_declared_is_all_that_a_task_uses() -> None:
    team = a_team(*RESEARCH)
    market, rivals, report = team.tasks
    team.dependencies.append(TaskDependency(DEFAULT_TENANT, team.team.id, report.id, rivals.id))

    [found] = proposed(Goal.SPEED, team, a_history(team))

    assert used_outputs(team) == {market.id: [], rivals.id: [], report.id: [rivals.id]}
    assert changes([found]) == [("Team", "process", "SEQUENTIAL", "PARALLEL")]


@pytest.mark.parametrize("process", [Process.PARALLEL, Process.HIERARCHICAL, Process.COLLABORATIVE])
def test_only_a_sequential_team_is_made_parallel(process: Process) -> None:
    team = apart(process=process)

    assert proposed(Goal.SPEED, team, a_history(team)) == []


def test_a_task_without_a_measured_time_keeps_the_team_as_it_is() -> None:
    team = apart()
    history = a_history(team)
    tasks = [replace(history.tasks[0], seconds=None), *history.tasks[1:]]

    assert proposed(Goal.SPEED, team, replace(history, tasks=tasks)) == []


def test_little_saved_time_is_not_worth_a_change() -> None:
    team = apart()

    assert proposed(Goal.SPEED, team, a_history(team, seconds=[100, 8, 10])) == []


@pytest.mark.parametrize(
    ("most", "of_role", "seconds"), [(4, None, 30), (2, None, 40), (1, None, 60), (4, 2, 40), (4, 1, 60)]
)
def test_side_by_side_is_as_far_as_the_team_and_its_roles_allow(most: int, of_role: int | None, seconds: float) -> None:
    team = a_team("One.", "Two.", "Three.", role={"max_parallel_tasks": of_role})
    team.team.max_parallel_tasks = most
    one, two, three = (task.id for task in team.tasks)
    waits: dict[TaskId, list[TaskId]] = {one: [], two: [], three: []}

    assert seconds_side_by_side(team, waits, {one: 10, two: 20, three: 30}) == seconds


def test_a_role_that_never_delegated_no_longer_may() -> None:
    team = _led_team()

    [found] = proposed(Goal.SPEED, team, a_history(team))

    assert found.kind is OptimizationKind.UNUSED_DELEGATION
    assert changes([found]) == [("Writer", "is_delegation_allowed", True, False)]


def test_delegation_that_is_used_or_not_known_or_the_managers_stays() -> None:
    team = _led_team()
    history = a_history(team)

    assert proposed(Goal.SPEED, team, a_history(team, role={"delegated": 1})) == []
    assert proposed(Goal.SPEED, team, replace(history, with_events_from=history.with_events_from[:4])) == []
    assert proposed(Goal.SPEED, replace(team, team=replace(team.team, manager_id=team.roles[0].id)), history) == []
    assert proposed(Goal.SPEED, replace(team, team=replace(team.team, process=Process.PARALLEL)), history) == []


@pytest.mark.parametrize("edited", ["team", "role"])
def test_executions_from_before_a_role_could_delegate_say_nothing_of_that(edited: str) -> None:
    team = _led_team()
    early, late = [utc_now() - timedelta(days=1)] * 10, [utc_now() + timedelta(days=1)]
    history, thing = a_history(team), team.team if edited == "team" else team.roles[0]
    thing.updated_at = utc_now()

    assert proposed(Goal.SPEED, team, replace(history, with_events_from=early + late * 4)) == []
    [found] = proposed(Goal.SPEED, team, replace(history, with_events_from=early + late * ENOUGH_EXECUTIONS))
    assert found.evidence[0].text == "In 5 executions in which it could, it handed work on in none."


def _led_team() -> TeamSnapshot:
    team = a_team(process=Process.HIERARCHICAL, role={"is_delegation_allowed": True})
    manager = Role(DEFAULT_TENANT, team.team.id, "Lead", expertise=Expertise.EXPERT)
    return replace(team, roles=[*team.roles, manager])


# ---------------------------------------------------------------- performance


@pytest.mark.parametrize(("failures", "failed", "count"), [(10, 0, 1), (9, 0, 0), (0, 5, 1), (0, 4, 0)])
def test_a_task_that_always_fails_its_guardrail_is_given_a_better_model(failures: int, failed: int, count: int) -> None:
    team = a_team("Write.", guardrail="It rhymes.")
    history = a_history(team, 10 - failed, failed, guardrail_failures=failures, guardrail_failed=failed)

    found = proposed(Goal.PERFORMANCE, team, history)

    assert changes(found) == [("Write.", "quality_preference", None, "PREMIUM")] * count
    assert [each.kind for each in found] == [OptimizationKind.FAILING_GUARDRAIL] * count


def test_what_a_better_model_is_expected_to_do() -> None:
    team = a_team("Plan it.", guardrail="It rhymes.")
    team.roles[0].expertise = Expertise.SENIOR  # MEDIUM: STANDARD becomes PREMIUM, ten times the price
    history = a_history(team, 6, 4, guardrail_failures=10, guardrail_failed=5)

    [found] = proposed(Goal.PERFORMANCE, team, history)

    assert [(each.metric, each.low, each.high) for each in found.effects] == [
        (Metric.SUCCESS_RATE, 0.1, 0.4),
        (Metric.COST, 4.0, 9.0),
    ]


def test_a_pinned_role_is_given_the_next_higher_tier() -> None:
    team = a_team(guardrail="It rhymes.", role={"model": "a/local"})

    found = proposed(Goal.PERFORMANCE, team, a_history(team, guardrail_failures=10))

    assert changes(found) == [("Writer", "model", "a/local", "a/standard")]
    assert "It costs something, and the present one nothing that is known." in found[0].explanation


def test_nothing_is_better_than_the_best() -> None:
    pinned = a_team(guardrail="It rhymes.", role={"model": "a/premium"})
    routed = a_team(guardrail="It rhymes.", quality_preference=QualityPreference.PREMIUM)

    assert proposed(Goal.PERFORMANCE, pinned, a_history(pinned, guardrail_failures=10)) == []
    assert proposed(Goal.PERFORMANCE, routed, a_history(routed, guardrail_failures=10)) == []


@pytest.mark.parametrize(
    ("failed", "code", "count"),
    [
        (3, FailureCode.OUTPUT_INVALID, 1),
        (2, FailureCode.OUTPUT_INVALID, 0),
        (3, FailureCode.MODEL_UNAVAILABLE, 0),
        (3, FailureCode.BUDGET_EXCEEDED, 0),
    ],
)
def test_a_task_that_fails_because_of_the_work_is_given_a_better_model(
    failed: int, code: FailureCode, count: int
) -> None:
    team = a_team()

    found = proposed(Goal.PERFORMANCE, team, a_history(team, 10 - failed, failed, failures={code.value: failed}))

    assert [each.kind for each in found] == [OptimizationKind.BETTER_MODEL] * count


@pytest.mark.parametrize(
    ("retried", "attempts", "code", "count"),
    [
        (4, 2, FailureCode.MODEL_UNAVAILABLE, 1),
        (2, 2, FailureCode.MODEL_UNAVAILABLE, 0),  # no further attempt has helped
        (4, 4, FailureCode.MODEL_UNAVAILABLE, 0),  # it was tried often enough
        (4, 2, FailureCode.BUDGET_EXCEEDED, 0),  # that does not pass
    ],
)
def test_a_task_that_further_attempts_have_saved_is_tried_once_more(
    retried: int, attempts: int, code: FailureCode, count: int
) -> None:
    team = a_team("Write.", max_attempts=attempts)

    found = proposed(Goal.PERFORMANCE, team, a_history(team, 8, 2, failures={code.value: 2}, retried=retried))

    assert changes(found) == [("Write.", "max_attempts", 2, 3)] * count
    if found:
        assert [(each.metric, each.low, each.high) for each in found[0].effects] == [
            (Metric.SUCCESS_RATE, 0.05, 0.1),
            (Metric.COST, 0.0, 0.2),
        ]


def test_two_reasons_for_one_field_make_one_proposal() -> None:
    team = a_team(guardrail="It rhymes.")
    history = a_history(team, 2, 8, guardrail_failed=8, failures={"GUARDRAIL_FAILED": 8})

    found = proposed(Goal.PERFORMANCE, team, history)

    assert [each.kind for each in found] == [OptimizationKind.FAILING_GUARDRAIL]


def test_what_changes_most_comes_first() -> None:
    team = a_team("One.", "Two.", guardrail="It rhymes.")
    history = a_history(team, 5, 5)
    tasks = [
        replace(each, guardrail_failed=failed, guardrail_failures=10)
        for each, failed in zip(history.tasks, (2, 4), strict=True)
    ]

    found = proposed(Goal.PERFORMANCE, team, replace(history, tasks=tasks))

    assert [each.changes[0].name for each in found] == ["Two.", "One."]


# ---------------------------------------------------------------- applying


def test_changes_lead_there_and_back() -> None:
    team = apart()
    [found] = proposed(Goal.SPEED, team, a_history(team))

    there = with_changes(team, found.changes)
    back = with_changes(there, reversed_changes(found.changes))

    assert there.team.process is Process.PARALLEL
    assert [(link.task_id, link.depends_on_id) for link in there.dependencies] == [
        (team.tasks[2].id, team.tasks[0].id),
        (team.tasks[2].id, team.tasks[1].id),
    ]
    assert not fit(found.changes, there)
    assert fit(reversed_changes(found.changes), there)
    assert back == team


def test_a_change_fits_while_its_field_has_the_same_value_and_its_part_is_there() -> None:
    team = a_team(quality_preference=QualityPreference.PREMIUM)
    task = team.tasks[0]
    change = FieldChange(Part.TASK, task.id, task.name, "quality_preference", "PREMIUM", "BALANCED")

    assert fit([change], team)
    assert not fit([change], replace(team, tasks=[replace(task, quality_preference=None)]))
    assert not fit([change], replace(team, tasks=[]))
    assert with_changes(team, [change]).tasks[0].quality_preference is QualityPreference.BALANCED


def test_branches_stand_no_longer_when_a_text_or_a_task_is_new() -> None:
    team = apart()
    [found] = proposed(Goal.SPEED, team, a_history(team))
    kind = found.kind

    edited = replace(team.tasks[1], description="Rivals: list those in the market.")
    added = Task(DEFAULT_TENANT, team.team.id, "More", "More.", "A text.", position=9)

    assert stands(kind, found.changes, team)
    assert not stands(kind, found.changes, replace(team, tasks=[team.tasks[0], edited, team.tasks[2]]))
    assert not stands(kind, found.changes, replace(team, tasks=[*team.tasks, added]))
    assert not stands(kind, found.changes, with_changes(team, found.changes))


@pytest.mark.parametrize(
    ("way", "can_apply", "can_undo"),
    [
        ((), True, False),
        (("APPLIED",), False, True),
        (("APPLIED", "UNDONE"), False, False),
        (("SUPERSEDED",), False, False),
    ],
)
def test_an_optimization_goes_its_way_once(way: Sequence[str], can_apply: bool, can_undo: bool) -> None:
    made = Optimization(DEFAULT_TENANT, a_team().team.id, Goal.COST, OptimizationKind.CHEAPER_MODEL, "", "", [], [], [])
    now = utc_now()
    for place, name in enumerate(way):
        made.become(OptimizationStatus(name), now + timedelta(seconds=place))

    assert (made.can_apply, made.can_undo) == (can_apply, can_undo)
    assert made.applied_at == (now if "APPLIED" in way else None)
    assert made.undone_at == (now + timedelta(seconds=1) if "UNDONE" in way else None)
    with pytest.raises(InvalidTransition):
        made.become(OptimizationStatus.PROPOSED, now)


# ---------------------------------------------------------------- measuring


def test_effects_are_told_as_shares_and_a_rate_as_its_difference() -> None:
    before = Figures(6, 4, Decimal("2.00"), 100.0)
    after = Figures(9, 1, Decimal("1.50"), 110.0)

    cost, seconds, rate = measured_effects(TrialFigures(before, after))

    assert cost == MeasuredEffect(
        Metric.COST,
        -0.25,
        6,
        9,
        "The last 9 executions since, against the last 6 before.",
        before_cost=Money(Decimal("2.00")),
        after_cost=Money(Decimal("1.50")),
    )
    assert (seconds.metric, rate.metric) == (Metric.SECONDS, Metric.SUCCESS_RATE)
    assert [seconds.before, seconds.after, seconds.change] == pytest.approx([100.0, 110.0, 0.1])
    assert [rate.before, rate.after, rate.change] == pytest.approx([0.6, 0.9, 0.3])
    assert (rate.executions_before, rate.executions_after) == (10, 10)


def test_too_little_on_either_side_tells_no_change() -> None:
    enough, little = Figures(5, 0, Decimal(1), 1.0), Figures(4, 1, Decimal(2), 2.0)

    cost, _, rate = measured_effects(TrialFigures(enough, little))

    assert (cost.before_cost, cost.after_cost, cost.change) == (Money(Decimal(1)), Money(Decimal(2)), None)
    assert cost.message == "Too few executions to compare: 5 before and 4 since, 5 of each needed."
    assert rate.change == pytest.approx(-0.2)


def test_where_there_is_none_yet_that_is_said() -> None:
    since = measured_effects(TrialFigures(Figures(6, 0, Decimal(1), 1.0), Figures()))

    assert {each.message for each in since} == {
        "Too few executions to compare: 6 before and none since, 5 of each needed."
    }
    assert measured_effects(TrialFigures())[0].message == (
        "Too few executions to compare: none before and none since, 5 of each needed."
    )


@pytest.mark.parametrize(
    ("after", "change", "message"),
    [
        ("0", 0.0, "The last 5 executions since, against the last 5 before."),
        ("0.1", None, "Nothing was paid before, so there is no share to tell."),
    ],
)
def test_of_nothing_to_something_no_share_is_told(after: str, change: float | None, message: str) -> None:
    free, since = Figures(5, 0, Decimal(0), 1.0), Figures(5, 0, Decimal(after), 1.0)

    cost = measured_effects(TrialFigures(free, since))[0]

    assert (cost.change, cost.message) == (change, message)
