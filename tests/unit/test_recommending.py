"""What the past speaks for, and where it says nothing: each rule of recommendations at its boundaries."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from domain.model.history import Quantiles
from domain.model.identity import DEFAULT_TENANT, ProjectId, TeamId, new_id
from domain.model.model import Model, Tier
from domain.model.money import Money
from domain.model.optimization import ExpectedEffect, Metric
from domain.model.optimizing.faster import parallel_branches
from domain.model.prices import Prices
from domain.model.recommendation import Impact, Recommendation, RecommendationKind, Reference, TemplateRecord
from domain.model.recommending import Case, PoolPast, recommend
from domain.model.recommending.better_templates import better_templates, chance_of
from domain.model.recommending.bottlenecks import bottlenecks, critical_path
from domain.model.recommending.dear_roles import dear_roles
from domain.model.recommending.guardrails import failing_guardrails
from domain.model.recommending.prompts import growing_prompts, rank_trend
from domain.model.recommending.records import PastRun, PastTask, TeamPast, history_of
from domain.model.recommending.unused_tools import unused_tools
from domain.model.recommending.workers import PlaceUse, worker_pool
from domain.model.revision import TeamSnapshot
from domain.model.role import Role
from domain.model.routing import Deployment, Offer
from domain.model.task import Task, TaskDependency
from domain.model.team import Process, Team
from domain.model.template import Template
from domain.model.tool import RoleTool, Tool, ToolKind
from domain.ports.recommendations import MOST_TASKS_IN_ALL
from domain.services.recommendations import MOST_EXECUTIONS, executions_of

LOCAL, STANDARD, PREMIUM = Tier.LOCAL, Tier.STANDARD, Tier.PREMIUM
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
FIRST = datetime(2026, 6, 1, tzinfo=UTC)
Kind = RecommendationKind


def an_offer(name: str, tier: Tier, price: str, **values: Any) -> Offer:
    dollars = Decimal(price)
    model = Model(DEFAULT_TENANT, name, tier, dollars, dollars, **{"routing_order": 1, **values})
    return Offer(model, Deployment("test", Prices.per_million(dollars, dollars)))


OFFERS = (
    an_offer("a/local", LOCAL, "0"),
    an_offer("a/standard", STANDARD, "1"),
    an_offer("a/premium", PREMIUM, "10"),
)


def a_team(*names: str, process: Process = Process.SEQUENTIAL, role: Any = None, **task: Any) -> TeamSnapshot:
    """A team with one role that does the tasks of these names, all of it made long ago."""
    team = Team(DEFAULT_TENANT, ProjectId(DEFAULT_TENANT), "Team", process=process)
    writer = Role(DEFAULT_TENANT, team.id, "Writer", updated_at=LONG_AGO, **(role or {}))
    given = {"role_id": writer.id, "updated_at": LONG_AGO, **task}
    made = [
        Task(DEFAULT_TENANT, team.id, name, f"{name} it.", "A text.", position=place, **given)
        for place, name in enumerate(names or ("Write",))
    ]
    return TeamSnapshot(team, [writer], made, [], [], [])


def waiting(team: TeamSnapshot, **waits: str) -> TeamSnapshot:
    """The team with dependencies: each task's name, and those it waits for."""
    ids = {task.name: task.id for task in team.tasks}
    for name, others in waits.items():
        for other in others.split():
            team.dependencies.append(TaskDependency(DEFAULT_TENANT, team.team.id, ids[name], ids[other]))
    return team


def a_past(team: TeamSnapshot, count: int = 10, did: Callable[[int, Task], dict[str, Any]] | None = None) -> TeamPast:
    """So many executions, an hour apart, the newest first; `did` says what a task did in the one of this number."""
    runs, tasks = [], []
    for number in reversed(range(count)):
        moment, execution_id = FIRST + timedelta(hours=number), new_id()
        own = [
            PastTask(
                execution_id, moment, task.id, task.role_id or new_id(), **{**USUAL, **(did or _nothing)(number, task)}
            )
            for task in team.tasks
        ]
        failed = next((task for task in own if not task.is_completed), None)
        code = (failed.failure_code or "OUTPUT_INVALID") if failed else None
        seconds = sum(task.seconds for task in own)
        runs.append(PastRun(execution_id, team.team.id, moment, failed is None, seconds, code))
        tasks += own
    return TeamPast(team.team.id, runs, tasks, frozenset(run.id for run in runs))


USUAL: dict[str, Any] = {
    "is_completed": True,
    "seconds": 10.0,
    "model": "a/premium",
    "cost": Decimal("0.1"),
    "prompt_tokens": 1000,
    "completion_tokens": 1000,
    "calls": 1,
}


def _nothing(_number: int, _task: Task) -> dict[str, Any]:
    return {}


def a_case(team: TeamSnapshot, past: TeamPast, **values: Any) -> Case:
    return Case.of(team, past, OFFERS, **values)


def effects(found: Recommendation) -> list[tuple[Metric, float, float]]:
    return [(each.metric, each.low, each.high) for each in found.effects]


# ---------------------------------------------------------------- how much is enough, and the order


@pytest.mark.parametrize(("count", "found"), [(4, []), (5, [Kind.ROLE_DEAR_FOR_TIER])])
def test_nothing_is_said_of_a_team_with_too_few_executions(count: int, found: list[Kind]) -> None:
    team = a_team(role={"model": "a/premium"})

    assert [each.kind for each in recommend([a_case(team, a_past(team, count))])] == found


def a_recommendation(*found: tuple[Metric, float, float], spent: str = "0", title: str = "") -> Recommendation:
    return Recommendation(
        Kind.BOTTLENECK, title, "", [], [ExpectedEffect(*each) for each in found], 5, spent=Decimal(spent)
    )


def test_the_highest_impact_comes_first_then_what_saves_most() -> None:
    little = a_recommendation((Metric.COST, -0.09, 0.0), spent="100")
    some = a_recommendation((Metric.COST, -0.2, -0.1), spent="10")
    more = a_recommendation((Metric.COST, -0.2, -0.1), spent="20")
    much = a_recommendation((Metric.SECONDS, -0.3, -0.1))

    ordered = sorted([little, some, more, much], key=lambda each: each.rank)

    assert ordered == [much, more, some, little]
    assert [each.impact for each in ordered] == [Impact.HIGH, Impact.MEDIUM, Impact.MEDIUM, Impact.LOW]
    assert [each.saving for each in ordered] == [
        None,
        Money(Decimal(3)),
        Money(Decimal("1.5")),
        Money(Decimal("4.5")),
    ]


def test_what_costs_more_saves_nothing() -> None:
    dearer = a_recommendation((Metric.COST, 0.1, 0.3), spent="10")

    assert (dearer.saving, dearer.impact) == (None, Impact.LOW)


def test_the_past_is_the_history_that_optimizing_reads() -> None:
    team = a_team(guardrail="Good.")
    past = a_past(
        team, 10, lambda number, _: {"seconds": float(number), "is_completed": number > 1, "refused": 1, "attempts": 2}
    )

    history = history_of(team, past, {"a/premium": PREMIUM})

    [task], [role] = history.tasks, history.roles
    assert (history.completed, history.failed) == (8, 2)
    assert (task.completed, task.failed, task.retried, task.guardrail_failures) == (8, 2, 10, 10)
    assert task.seconds == Quantiles(pytest.approx(2.7), 5.5, pytest.approx(8.3))  # type: ignore[arg-type]
    [record] = role.models
    assert (record.tier, record.completed, record.failed, record.mean_cost) == (PREMIUM, 8, 2, Decimal("0.1"))
    assert role.total_cost == task.total_cost == Decimal(1)


def test_a_task_is_judged_by_what_it_did_since_it_was_edited() -> None:
    team = a_team()
    team.tasks[0].updated_at = FIRST + timedelta(hours=7)

    assert [each.finished for each in history_of(team, a_past(team), {}).tasks] == [3]


# ---------------------------------------------------------------- a role dear for its tier


def test_a_pinned_premium_model_is_dear_for_simple_tasks() -> None:
    team = a_team(role={"model": "a/premium"})

    [found] = dear_roles(a_case(team, a_past(team)))

    assert found.kind is Kind.ROLE_DEAR_FOR_TIER
    assert effects(found) == [(Metric.COST, -0.9, -0.45)]
    assert found.saving == Money(Decimal("0.675"))
    assert found.subject is team.roles[0]
    assert found.action
    assert (found.action.mutation, found.action.arguments) == (
        "updateRole",
        {"id": Reference("Role", team.roles[0].id), "version": 1, "model": "a/standard"},
    )


def test_it_is_not_dear_for_tasks_that_ask_for_its_tier() -> None:
    hard = "Plan the architecture. " + "word " * 201
    team = a_team(role={"model": "a/premium"})
    team.tasks[0].description, team.tasks[0].expected_output = hard, "word " * 51

    assert list(dear_roles(a_case(team, a_past(team)))) == []


def test_nor_where_it_fails_too_often_to_be_changed() -> None:
    team = a_team(role={"model": "a/premium"})

    assert list(dear_roles(a_case(team, a_past(team, 10, lambda number, _: {"is_completed": number > 1})))) == []


def test_what_is_saved_is_of_what_the_role_still_does_with_its_present_model() -> None:
    """Of 100 executions 95 were done with a dearer model, and half of the rest was a task that another has now."""
    team = a_team("W", "X", role={"model": "a/standard"})
    other = Role(DEFAULT_TENANT, team.team.id, "Editor", updated_at=LONG_AGO)
    past = a_past(
        team,
        100,
        lambda number, _: {"cost": Decimal(1)} if number < 95 else {"model": "a/standard", "cost": Decimal("0.1")},
    )
    team.roles.append(other)
    team.tasks[1].role_id = other.id

    cheap = (an_offer("a/local", LOCAL, "0.1"), *OFFERS[1:])
    [found] = dear_roles(Case.of(team, past, cheap))

    assert found.executions == 5
    assert effects(found) == [(Metric.COST, round(-0.9 * 0.5 / 191, 4), round(-0.45 * 0.5 / 191, 4))]


def test_a_role_whose_tasks_others_do_now_is_dear_no_longer() -> None:
    team = a_team(role={"model": "a/premium"})
    other = Role(DEFAULT_TENANT, team.team.id, "Editor", updated_at=LONG_AGO)
    past = a_past(team)
    team.roles.append(other)
    team.tasks[0].role_id = other.id

    assert list(dear_roles(a_case(team, past))) == []


def test_a_role_whose_guardrail_often_refuses_needs_no_cheaper_model() -> None:
    team = a_team("W", "X", role={"model": "a/standard"}, guardrail="Good.")
    case = Case.of(team, a_past(team, 10, pinned_refusing), (an_offer("a/local", LOCAL, "0.1"), *OFFERS[1:]))

    assert [(each.kind, each.subject) for each in recommend([case])] == [
        (Kind.GUARDRAIL_KEEPS_FAILING, team.tasks[0])  # and none of the other task: it is the same field
    ]


def pinned_refusing(_number: int, _task: Task) -> dict[str, Any]:
    return {"model": "a/standard", "refused": 1, "passed": 1}


def test_what_the_role_has_done_with_a_cheaper_model_is_enough_by_itself() -> None:
    hard = "Plan the architecture. " + "word " * 201
    team = a_team()
    team.tasks[0].description, team.tasks[0].expected_output = hard, "word " * 51
    cheap = {"model": "a/standard", "cost": Decimal("0.01")}

    [found] = dear_roles(a_case(team, a_past(team, 20, lambda number, _: cheap if number % 2 else {})))

    assert found.action
    assert found.action.arguments["model"] == "a/standard"


# ---------------------------------------------------------------- a guardrail that keeps refusing


def refusing(share: float, *, fails: bool = False) -> Callable[[int, Task], dict[str, Any]]:
    """In this share of ten executions one output is refused, after which it fails, or passes."""

    def did(number: int, _task: Task) -> dict[str, Any]:
        if number >= 10 * share:
            return {"passed": 1}
        if fails:
            return {"refused": 1, "is_completed": False, "failure_code": "GUARDRAIL_FAILED"}
        return {"refused": 1, "passed": 1}

    return did


@pytest.mark.parametrize(("share", "count"), [(0.4, 0), (0.5, 1)])
def test_a_guardrail_that_refuses_three_tenths_of_what_it_looks_at(share: float, count: int) -> None:
    team = a_team(guardrail="Good.", role={"model": "a/standard"})  # 4 of 14 are 29 %, 5 of 15 a third

    found = list(failing_guardrails(a_case(team, a_past(team, 10, refusing(share)))))

    assert len(found) == count


def test_a_task_that_fails_of_its_guardrail_gets_a_better_model() -> None:
    team = a_team(guardrail="Good.", role={"model": "a/standard"})

    [found] = failing_guardrails(a_case(team, a_past(team, 10, refusing(0.4, fails=True))))

    assert found.kind is Kind.GUARDRAIL_KEEPS_FAILING
    assert effects(found)[0] == (Metric.SUCCESS_RATE, 0.1, 0.4)
    assert [each.value for each in found.evidence] == [0.4, 4]
    assert found.action
    assert (found.action.mutation, found.action.arguments["model"]) == ("updateRole", "a/premium")


def test_a_better_model_for_a_pinned_role_costs_what_all_of_its_tasks_cost_more() -> None:
    team = a_team("W", "X", role={"model": "a/standard"}, guardrail="Good.")
    team.tasks[1].guardrail = None
    past = a_past(team, 10, lambda _, task: {"model": "a/standard", "refused": int(task.name == "W"), "passed": 1})

    [found] = failing_guardrails(a_case(team, past))

    # Ten times as dear; where nothing is done twice any more, the half that is this task costs but five times as much.
    assert effects(found) == [(Metric.COST, 6.5, 9.0)]
    assert "all its tasks change" in found.explanation
    assert found.action
    assert found.action.text == "Let “Writer” do all its tasks, “W” among them, with a/premium."


def test_without_a_better_model_the_guardrail_itself_is_spoken_of() -> None:
    team = a_team(guardrail="Good.", role={"model": "a/premium"})

    [found] = failing_guardrails(a_case(team, a_past(team, 10, refusing(0.5))))

    assert found.action is None
    assert "No better model can be had" in found.explanation
    assert effects(found) == [(Metric.COST, round(-5 / 15, 4), 0.0)]


def test_a_task_whose_guardrail_was_taken_away_is_left_alone() -> None:
    team = a_team(guardrail=None, role={"model": "a/standard"})

    assert list(failing_guardrails(a_case(team, a_past(team, 10, refusing(1.0))))) == []


def test_what_was_refused_before_the_role_was_changed_says_nothing() -> None:
    team = a_team(guardrail="Good.", role={"model": "a/standard"})
    team.roles[0].updated_at = FIRST + timedelta(hours=6)

    assert list(failing_guardrails(a_case(team, a_past(team, 10, refusing(1.0))))) == []


# ---------------------------------------------------------------- a bottleneck


def lasting(**seconds: float) -> Callable[[int, Task], dict[str, Any]]:
    return lambda _, task: {"seconds": seconds[task.name]}


def a_diamond() -> TeamSnapshot:
    """A before B and C, which D waits for."""
    return waiting(a_team("A", "B", "C", "D", process=Process.PARALLEL), B="A", C="A", D="B C")


def test_the_critical_path_is_the_longest_through_the_dependencies() -> None:
    team = a_diamond()
    seconds = {task.id: each for task, each in zip(team.tasks, (5.0, 60.0, 10.0, 5.0), strict=True)}

    path = critical_path(team, seconds)

    assert ([task.name for task in path.tasks], path.seconds) == (["A", "B", "D"], 70.0)


def test_the_longest_task_of_the_critical_path_holds_up_as_far_as_the_next_path_lets_it() -> None:
    team = a_diamond()

    [found] = bottlenecks(a_case(team, a_past(team, 10, lasting(A=5, B=60, C=50, D=5))))

    # At half, B takes 30 seconds, but C takes 50 beside it: 60 of 70 are left.
    assert found.subject is team.tasks[1]
    assert effects(found) == [(Metric.SECONDS, round(-10 / 70, 4), round(-5 / 70, 4))]
    assert [each.value for each in found.evidence] == [60, 3, 60]


@pytest.mark.parametrize(
    "seconds",
    [
        {"A": 5, "B": 60, "C": 60, "D": 5},  # another path is as long
        {"A": 30, "B": 30, "C": 5, "D": 30},  # they take the same
        {"A": 0.1, "B": 2, "C": 0.1, "D": 0.1},  # nobody is held up
    ],
)
def test_there_is_no_bottleneck_where_a_faster_task_would_change_little(seconds: dict[str, float]) -> None:
    team = a_diamond()

    assert list(bottlenecks(a_case(team, a_past(team, 10, lasting(**seconds))))) == []


@pytest.mark.parametrize(
    ("process", "count"),
    [(Process.SEQUENTIAL, 1), (Process.PARALLEL, 1), (Process.HIERARCHICAL, 0), (Process.COLLABORATIVE, 0)],
)
def test_dependencies_say_nothing_where_others_decide(process: Process, count: int) -> None:
    team = a_team("A", "B", "C", process=process)

    assert len(list(bottlenecks(a_case(team, a_past(team, 10, lasting(A=5, B=60, C=5)))))) == count


def test_a_team_of_one_task_has_no_bottleneck() -> None:
    team = a_team("A")

    assert list(bottlenecks(a_case(team, a_past(team, 10, lasting(A=60))))) == []


def test_a_chain_whose_texts_are_apart_is_optimized_for_speed() -> None:
    team = a_team("Market", "Rivals", "Report")
    others = [Role(DEFAULT_TENANT, team.team.id, f"Other {number}", updated_at=LONG_AGO) for number in range(2)]
    for task, role in zip(team.tasks, [team.roles[0], *others], strict=True):
        task.role_id, task.description = role.id, f"{task.name}: collect facts."
    team.roles.extend(others)

    [found] = bottlenecks(a_case(team, a_past(team, 10, lasting(Market=60, Rivals=20, Report=20))))

    assert found.action
    assert (found.action.mutation, found.action.arguments) == (
        "optimizeTeam",
        {"teamId": Reference("Team", team.team.id), "goal": "SPEED"},
    )


def a_routed_diamond() -> TeamSnapshot:
    """Its B would be routed to another tier if it were FAST."""
    team = a_diamond()
    team.tasks[1].description = "Analyze it."
    team.roles[0].expertise = type(team.roles[0].expertise).SENIOR  # with the word: MEDIUM, so STANDARD
    return team


@pytest.mark.parametrize(("took", "low", "mutation"), [(20.0, -50 / 80, "updateTask"), (69.0, -0.4375, None)])
def test_a_faster_model_is_offered_for_what_it_was_measured_to_save(
    took: float, low: float, mutation: str | None
) -> None:
    team = a_routed_diamond()

    def did(number: int, task: Task) -> dict[str, Any]:
        if task.name != "B":
            return {"seconds": 5.0}
        return {"seconds": took, "model": "a/local"} if number < 5 else {"seconds": 70.0}

    [found] = bottlenecks(a_case(team, a_past(team, 20, did)))

    assert effects(found)[0][:2] == (Metric.SECONDS, round(low, 4))
    assert (found.action and found.action.mutation) == mutation


def test_branches_are_offered_for_what_they_save_whatever_the_longest_task() -> None:
    team = a_team("Interview", "Photographs", "Budget", "Final")
    team.roles[0].model = "a/local"
    others = [Role(DEFAULT_TENANT, team.team.id, f"R{number}", updated_at=LONG_AGO) for number in range(3)]
    texts = ("Collect facts.", "Paint whales.", "Count whales.", "Write all.")
    for task, role, text in zip(team.tasks, [team.roles[0], *others], texts, strict=True):
        task.role_id, task.description, task.expected_output = role.id, text, "Fine."
    team.roles.extend(others)
    case = a_case(team, a_past(team, 10, lasting(Interview=10, Photographs=10, Budget=10, Final=60)))

    [found], [offered] = list(bottlenecks(case)), list(parallel_branches(case.situation))

    assert found.effects == offered.effects
    assert found.effects[0].low != -0.3333  # what half of the longest task would save


def test_a_bottleneck_stands_on_what_was_done_since_the_last_edit() -> None:
    team = a_team("A", "B", "C")
    for task in team.tasks:
        task.updated_at = FIRST + timedelta(hours=95)

    [found] = bottlenecks(a_case(team, a_past(team, 100, lasting(A=60, B=10, C=10))))

    assert found.executions == 5


def test_a_routed_task_that_passes_may_be_fast() -> None:
    team = a_routed_diamond()

    [found] = bottlenecks(a_case(team, a_past(team, 10, lasting(A=5, B=60, C=5, D=5))))

    assert found.action
    assert (found.action.mutation, found.action.arguments["qualityPreference"]) == ("updateTask", "FAST")


# ---------------------------------------------------------------- a prompt that grows


def reading(tokens: Sequence[int], calls: int = 1) -> Callable[[int, Task], dict[str, Any]]:
    return lambda number, _: {"prompt_tokens": tokens[number] * calls, "calls": calls}


GROWING = [1000 + 100 * number for number in range(15)]


def test_a_prompt_that_grows_from_third_to_third_is_told_with_its_numbers() -> None:
    team = a_team()

    [found] = growing_prompts(a_case(team, a_past(team, 15, reading(GROWING, calls=2))))

    assert [each.value for each in found.evidence] == [1200, 2200, 1.0, 1.0]
    [(metric, low, high)] = effects(found)
    share = sum(GROWING) * 2 / (sum(GROWING) * 2 + 15 * 1000)  # reading and writing cost the same here
    saved = -share * (1 - 1200 / 2200)
    assert metric is Metric.COST
    assert [low, high] == pytest.approx([saved, saved / 2], abs=1e-4)
    assert (found.executions, found.action) == (15, None)


@pytest.mark.parametrize(
    "tokens",
    [
        GROWING[:14],  # too few
        [1000 + 20 * number for number in range(15)],  # too little
        [1000] * 10 + [3000, 1000, 3000, 1000, 1000],  # now and then
        list(reversed(GROWING)),  # it shrinks
        [1000] * 15,
    ],
)
def test_a_prompt_that_does_not_clearly_grow_is_left_alone(tokens: list[int]) -> None:
    team = a_team()

    assert list(growing_prompts(a_case(team, a_past(team, len(tokens), reading(tokens))))) == []


def test_more_calls_are_no_longer_prompts() -> None:
    team = a_team()
    past = a_past(team, 15, lambda number, _: {"prompt_tokens": 1000 * (number + 1), "calls": number + 1})

    assert list(growing_prompts(a_case(team, past))) == []


def test_an_edit_begins_anew() -> None:
    team = a_team()
    team.tasks[0].updated_at = FIRST + timedelta(hours=1)

    assert list(growing_prompts(a_case(team, a_past(team, 15, reading(GROWING))))) == []


@pytest.mark.parametrize(
    ("values", "trend"), [([1, 2, 3], 1.0), ([3, 2, 1], -1.0), ([1, 1, 1], 0.0), ([1, 3, 2, 4], 0.8), ([7], 0.0)]
)
def test_the_trend_is_spearmans_rank_correlation(values: list[float], trend: float) -> None:
    assert rank_trend(values) == pytest.approx(trend)


# ---------------------------------------------------------------- a tool that is not used


def with_tools(team: TeamSnapshot, *tools: tuple[str, ToolKind]) -> TeamSnapshot:
    """The team whose first role has these tools."""
    for name, kind in tools:
        tool = Tool(DEFAULT_TENANT, team.team.project_id, name, kind, updated_at=LONG_AGO)
        team.tools.append(tool)
        team.role_tools.append(RoleTool(DEFAULT_TENANT, team.roles[0].id, tool.id))
    return team


def calling(team: TeamSnapshot, past: TeamPast, *names: str, number: int = 0) -> TeamPast:
    """The past in which the role called tools of these names, in one execution."""
    return replace(past, called={(past.runs[number].id, team.roles[0].id): frozenset(names)})


SUMS, SERVER = ("My Sums", ToolKind.CALCULATOR), ("Server", ToolKind.MCP_SERVER)


def test_a_tool_that_was_never_called_is_taken_away_and_the_others_stay() -> None:
    team = with_tools(a_team(), SUMS, ("Web", ToolKind.HTTP_GET))
    past = calling(team, a_past(team), "my_sums", "ask_human")

    [found] = unused_tools(a_case(team, past))

    sums, web = team.tools
    assert found.subject is web
    assert found.action
    assert found.action.arguments == {
        "id": Reference("Role", team.roles[0].id),
        "version": 1,
        "toolIds": [Reference("Tool", sums.id)],
    }
    # 101 of the 1,000 tokens that each call reads, and reading makes half of the cost.
    assert effects(found) == [(Metric.COST, -0.0505, -0.0253)]


@pytest.mark.parametrize("did", [{"is_completed": False, "calls": 0}, {"is_completed": False}, {"calls": 0}])
def test_only_work_that_was_completed_by_asking_a_model_tells_of_tools(did: dict[str, Any]) -> None:
    team = with_tools(a_team(), SUMS)

    assert list(unused_tools(a_case(team, a_past(team, 12, lambda _, __: did)))) == []


def test_a_call_in_work_that_failed_is_a_call() -> None:
    team = with_tools(a_team(), SUMS)
    past = calling(team, a_past(team, 12, lambda number, _: {"is_completed": number < 11}), "my_sums")

    assert list(unused_tools(a_case(team, past))) == []


LONG = "Search the web for a list of all of the new EU rules on AI of 2026 and more"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("search_the_web_for_a_list_of_all_of_the_new_eu_rules_on_f64b7e96", 0),  # as CrewAI cuts it off
        ("search_the_library_for_a_list_of_all_of_the_new_eu_rules_f64b7e96", 1),
        ("search_the_web_f64b7e96", 1),  # not cut off: that is its whole name
    ],
)
def test_a_long_name_is_known_by_what_is_left_of_it(name: str, found: int) -> None:
    team = with_tools(a_team(), (LONG, ToolKind.HTTP_GET))

    assert len(list(unused_tools(a_case(team, calling(team, a_past(team), name))))) == found


def test_several_tools_that_one_role_does_not_use_are_one_change() -> None:
    team = with_tools(a_team(), SUMS, ("Web", ToolKind.HTTP_GET))

    [found] = unused_tools(a_case(team, a_past(team)))

    assert found.subject is team.roles[0]
    assert found.action
    assert found.action.arguments["toolIds"] == []


@pytest.mark.parametrize(("count", "found"), [(9, 0), (10, 1)])
def test_too_few_executions_say_nothing_of_a_tool(count: int, found: int) -> None:
    team = with_tools(a_team(), SUMS)

    assert len(list(unused_tools(a_case(team, a_past(team, count))))) == found


def test_a_tool_that_was_just_given_had_no_time_yet() -> None:
    team = with_tools(a_team(), SUMS)
    team.roles[0].updated_at = FIRST + timedelta(hours=1)

    assert list(unused_tools(a_case(team, a_past(team)))) == []


def test_executions_whose_events_are_gone_say_nothing() -> None:
    team = with_tools(a_team(), SUMS)

    assert list(unused_tools(a_case(team, replace(a_past(team), watched=frozenset())))) == []


@pytest.mark.parametrize(("called", "found"), [((), 1), (("my_sums",), 1), (("search_issues",), 0)])
def test_a_call_of_an_unknown_name_may_be_one_of_a_servers_tools(called: tuple[str, ...], found: int) -> None:
    team = with_tools(a_team(), SERVER, SUMS)

    unused = [each.subject for each in unused_tools(a_case(team, calling(team, a_past(team), "my_sums", *called)))]

    assert unused == [team.tools[0]] * found


# ---------------------------------------------------------------- a template that does better


def a_record(completed: int, failed: int, cost: str = "0.1", **values: Any) -> TemplateRecord:
    template = Template(DEFAULT_TENANT, "Better", domain=values.pop("domain", "marketing"))
    skills = values.pop("skills", frozenset({"writing"}))
    return TemplateRecord(template, 2, completed, failed, Decimal(cost), 10.0, skills, **values)


def a_writing_team() -> TeamSnapshot:
    return a_team(role={"skills": ["Writing", "Editing"]})


def half(number: int, _task: Task) -> dict[str, Any]:
    return {"is_completed": number % 2 == 0}


def test_a_template_whose_teams_clearly_succeed_more_is_made_beside_the_team() -> None:
    team, record = a_writing_team(), a_record(20, 0, needs=["company"])

    [found] = better_templates(a_case(team, a_past(team, 10, half), templates=[record]))

    assert found.kind is Kind.TEMPLATE_DOES_BETTER
    assert found.subject is record.template
    assert effects(found)[0] == (Metric.SUCCESS_RATE, 0.125, 0.5)
    assert found.executions == 30
    assert found.action
    assert found.action.needs == ["parameters.company"]
    assert found.action.arguments == {
        "templateId": Reference("Template", record.template.id),
        "projectId": Reference("Project", team.team.project_id),
        "name": "Team (Better)",
    }


def test_one_that_succeeds_as_often_and_costs_clearly_less_too() -> None:
    team = a_writing_team()

    [found] = better_templates(a_case(team, a_past(team), templates=[a_record(10, 0, "0.05")]))

    assert effects(found) == [(Metric.COST, -0.5, -0.25)]
    assert found.saving == Money(Decimal("0.375"))


@pytest.mark.parametrize(
    "record",
    [
        a_record(4, 0),  # too few
        a_record(4, 1),  # chance
        a_record(20, 0, skills=frozenset({"cooking"})),  # other work
        a_record(9, 9, "0.01"),  # cheaper, and fails more
    ],
)
def test_a_template_that_does_not_clearly_do_better_at_such_work_is_left_alone(record: TemplateRecord) -> None:
    team = a_writing_team()
    past = a_past(team, 10, lambda number, _: {"is_completed": number > 3})

    assert list(better_templates(a_case(team, past, templates=[record]))) == []


def test_one_of_the_same_domain_is_alike_whatever_its_skills_and_the_teams_own_is_not_compared() -> None:
    team = a_writing_team()
    own, other = a_record(20, 0, skills=frozenset()), a_record(20, 0, skills=frozenset())
    past = a_past(team, 10, half)

    [found] = better_templates(a_case(team, past, templates=[own, other], origin=own.template.id))

    assert found.subject is other.template


@pytest.mark.parametrize(
    ("one", "other", "chance"),
    [((5, 5), (0, 5), 1 / 252), ((3, 4), (1, 4), 17 / 70), ((5, 5), (5, 5), 1.0), ((0, 5), (5, 5), 1.0)],
)
def test_how_probable_a_difference_is_by_chance_is_fishers_exact_test(
    one: tuple[int, int], other: tuple[int, int], chance: float
) -> None:
    """The second is the lady tasting tea, with one cup wrong."""
    assert chance_of(*one, *other) == pytest.approx(chance)


def test_the_more_templates_are_compared_the_clearer_one_has_to_be() -> None:
    team = a_writing_team()
    past = a_past(team, 10, half)  # 5 of 10 against 15 of 16: chance has 1.8 in a hundred

    found = [
        len(list(better_templates(a_case(team, past, templates=[a_record(15, 1) for _ in range(count)]))))
        for count in (1, 3)
    ]

    assert found == [1, 0]


@pytest.mark.parametrize(("code", "count"), [("OUTPUT_INVALID", 1), ("MODEL_UNAVAILABLE", 0)])
def test_only_failures_of_the_work_are_compared(code: str, count: int) -> None:
    team = a_writing_team()
    past = a_past(team, 20, lambda number, _: {**half(number, _), "failure_code": code})

    assert len(list(better_templates(a_case(team, past, templates=[a_record(20, 0)])))) == count


@pytest.mark.parametrize(
    ("record", "runs", "count"),
    [(("10", 0.05), 10, 1), (("9", 0.05), 10, 0), (("10", 0.06), 10, 0), (("10", 0.05), 9, 0)],
)
def test_a_lower_cost_alone_has_to_be_half_of_it_in_ten_executions(
    record: tuple[str, float], runs: int, count: int
) -> None:
    team, (completed, cost) = a_writing_team(), record
    templates = [a_record(int(completed), 0, str(cost))]

    assert len(list(better_templates(a_case(team, a_past(team, runs), templates=templates)))) == count


def test_a_template_that_a_team_of_the_project_was_made_of_needs_no_other_one() -> None:
    team = a_writing_team()
    record = a_record(20, 0, projects=frozenset({team.team.project_id}))

    assert list(better_templates(a_case(team, a_past(team, 10, half), templates=[record]))) == []


# ---------------------------------------------------------------- the workers


def uses(count: int, *, every: float, lasting: float, wait: float = 0.0) -> list[PlaceUse]:
    """So many executions, one beginning so many seconds after the other."""
    found = []
    for number in range(count):
        started = FIRST + timedelta(seconds=number * every)
        ended = started + timedelta(seconds=lasting)
        found.append(PlaceUse(started - timedelta(seconds=wait), started, ended, lasting))
    return found


BUSY = uses(120, every=60, lasting=240, wait=60)
"""Four at once all the time, over two hours."""

QUIET = uses(120, every=60, lasting=60)
"""One after the other."""


def kinds(pool: PoolPast) -> list[Kind]:
    return [each.kind for each in worker_pool(pool)]


def test_a_pool_whose_places_are_taken_while_executions_wait_is_too_small() -> None:
    [found] = worker_pool(PoolPast(4, 2, BUSY))

    assert found.kind is Kind.WORKER_POOL_TOO_SMALL
    assert found.title == "Have 6 places instead of 4"
    assert effects(found) == [(Metric.SECONDS, -0.2, -0.1)]  # 60 of 300 seconds
    assert [each.value for each in found.evidence][:3] == [60, 4, 1.0]
    assert (found.subject, found.team_id, found.action) == (None, None, None)


def test_no_more_places_are_wanted_than_the_tenant_may_use() -> None:
    [found] = worker_pool(PoolPast(4, 2, BUSY, limit=5))

    assert found.title == "Have 5 places instead of 4"


@pytest.mark.parametrize(
    "pool",
    [
        PoolPast(0, 0, BUSY),  # no worker is alive
        PoolPast(4, 2, BUSY[:19]),  # too few
        PoolPast(6, 2, BUSY),  # they wait for something else: a third is free
        PoolPast(4, 2, BUSY, limit=3),  # the tenant's own limit
        PoolPast(4, 2, BUSY, limit=4),  # no more than these may run
        PoolPast(4, 2, uses(120, every=60, lasting=240, wait=20)),  # it is not long
    ],
)
def test_long_waits_alone_do_not_make_a_pool_too_small(pool: PoolPast) -> None:
    assert kinds(pool) == []


def test_a_pool_most_of_which_was_never_taken_is_too_large() -> None:
    [found] = worker_pool(PoolPast(8, 2, QUIET))

    assert (found.kind, found.title) == (Kind.WORKER_POOL_TOO_LARGE, "2 places would do instead of 8")


def test_who_is_paused_has_no_place() -> None:
    day = timedelta(days=1)
    paused = [PlaceUse(FIRST, FIRST, FIRST + day, 60.0) for _ in range(8)]

    [found] = worker_pool(PoolPast(8, 2, [*QUIET, *paused]))

    assert found.title == "3 places would do instead of 8"


@pytest.mark.parametrize(
    "pool",
    [
        PoolPast(3, 1, QUIET),  # one of three, with some to spare
        PoolPast(8, 2, QUIET, is_shared=True),  # others may need them
        PoolPast(8, 2, [*QUIET, *uses(8, every=0, lasting=5)]),  # all at once, for a moment
    ],
)
def test_a_pool_that_somebody_may_need_is_left_alone(pool: PoolPast) -> None:
    assert kinds(pool) == []


# ---------------------------------------------------------------- how much is read


@pytest.mark.parametrize(("teams", "tasks"), [(1, 1), (50, 12), (50, 100), (240, 100), (0, 0)])
def test_no_more_tasks_are_read_than_the_bound_says(teams: int, tasks: int) -> None:
    wanted = executions_of(dict.fromkeys((TeamId(new_id()) for _ in range(teams)), tasks))

    assert sum(executions * tasks for executions in wanted.values()) <= MOST_TASKS_IN_ALL
    assert all(0 < executions <= MOST_EXECUTIONS for executions in wanted.values())
