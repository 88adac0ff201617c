"""Estimates: what tasks, processes, guardrails and tools add, what history replaces, and what nobody can do."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from domain.errors import Invalid
from domain.model.blueprint import Blueprint, RoleBlueprint, TaskBlueprint, ToolBlueprint, new_tool, snapshot_of
from domain.model.estimate import Basis, Estimate, TaskEstimate
from domain.model.estimating import Terms, estimate_of
from domain.model.history import ModelRecord, Quantiles, RoleHistory, TaskHistory, TeamHistory
from domain.model.identity import DEFAULT_TENANT, ProjectId, RoleId, TaskId, TeamId, new_id
from domain.model.model import Tier
from domain.model.prices import ZERO, TokenCounts
from domain.model.role import Expertise
from domain.model.routing import QualityPreference
from domain.model.team import Oversight, Process
from domain.model.tool import ToolKind
from tests.support.routes import MODEL, PRICES, a_model, an_offer

PROJECT = ProjectId(new_id())
OFFERS = [
    an_offer(),
    an_offer(a_model("ollama_chat/qwen3", tier=Tier.LOCAL)),
    an_offer(
        a_model("openai/best", tier=Tier.PREMIUM, prompt_price=Decimal(10), completion_price=Decimal(40)),
    ),
]
TEXT = "Write about the things that were found, and say what follows."


def a_task(name: str, **given: Any) -> TaskBlueprint:
    return TaskBlueprint(**{"name": name, "description": TEXT, "expected_output": "A text.", "role": "Writer", **given})


def a_team(*tasks: TaskBlueprint, roles: Sequence[RoleBlueprint] = (), **given: Any) -> Blueprint:
    known = list(roles) or [RoleBlueprint(title="Writer", model=MODEL)]
    return Blueprint(name="Team", roles=known, tasks=list(tasks), **given)


def estimated(blueprint: Blueprint, offers: Sequence[Any] = OFFERS, **terms: Any) -> Estimate:
    blueprint.check()
    tools = {tool.name: new_tool(tool, DEFAULT_TENANT, PROJECT) for tool in blueprint.tools}
    return estimate_of(snapshot_of(blueprint, DEFAULT_TENANT, PROJECT, tools), Terms(offers, **terms))


def only(blueprint: Blueprint, **terms: Any) -> TaskEstimate:
    [task] = estimated(blueprint, **terms).tasks
    return task


def test_a_task_costs_its_tokens_at_the_prices_of_its_model() -> None:
    task = only(a_team(a_task("One")))

    assert (task.role, task.model, task.tier, task.basis) == ("Writer", MODEL, Tier.STANDARD, Basis.HEURISTIC)
    assert task.amount.low == PRICES.cost(TokenCounts(task.prompt_tokens.low, task.completion_tokens.low))
    assert 0 < task.amount.low < task.amount.high
    assert 0 < task.seconds.low < task.seconds.high
    assert task.reason == "Its own role. The role names it. By rules of thumb: 1 to 2 model calls."


def test_the_whole_is_the_sum_of_its_tasks() -> None:
    whole = estimated(a_team(a_task("One"), a_task("Two"), a_task("Three")))

    for part in ("prompt_tokens", "completion_tokens", "amount", "seconds"):
        spans = [getattr(task, part) for task in whole.tasks]
        assert getattr(whole, part).low == pytest.approx(sum(span.low for span in spans))
        assert getattr(whole, part).high == pytest.approx(sum(span.high for span in spans))
    assert whole.basis is Basis.HEURISTIC
    assert whole.reason == "By rules of thumb: too little has been measured yet."


def test_what_a_task_waits_for_is_read_by_it() -> None:
    alone, shown = a_task("Two"), a_task("Two", depends_on=["One"])

    without = estimated(a_team(a_task("One"), alone, process=Process.PARALLEL))
    with_context = estimated(a_team(a_task("One"), shown, process=Process.PARALLEL))

    assert with_context.tasks[1].prompt_tokens.low > without.tasks[1].prompt_tokens.low
    assert with_context.tasks[1].prompt_tokens.high > without.tasks[1].prompt_tokens.high


def test_in_a_sequence_a_task_without_dependencies_reads_all_before_it() -> None:
    first, second, third = estimated(a_team(a_task("One"), a_task("Two"), a_task("Three"))).tasks

    assert first.prompt_tokens.low < second.prompt_tokens.low < third.prompt_tokens.low


def test_tools_may_take_as_many_calls_as_there_are_iterations() -> None:
    tool = ToolBlueprint(name="Sums", kind=ToolKind.CALCULATOR)
    role = RoleBlueprint(title="Writer", model=MODEL, tools=["Sums"])

    few = only(a_team(a_task("One"), roles=[role], tools=[tool], max_iterations=2))
    many = only(a_team(a_task("One"), roles=[role], tools=[tool], max_iterations=10))

    assert few.amount.low == many.amount.low
    assert few.amount.high < many.amount.high
    assert many.reason.endswith("1 to 10 model calls.")


def test_the_text_that_is_expected_decides_how_much_is_written() -> None:
    short = only(a_team(a_task("One", expected_output="About 100 words.")))
    long = only(a_team(a_task("One", expected_output="A report of 4 pages.")))

    assert short.completion_tokens.low == 98
    assert long.completion_tokens.low == 1_960


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A summary of 300 words.", 300),
        ("A report of 1,500 words.", 1_500),
        ("A 1,500-word article.", 1_500),
        ("An essay, 1 500 words long.", 1_500),
        ("An essay, 1\u202f500 words long.", 1_500),
        ("An essay of 1'500 words.", 1_500),
        ("An essay of 1.500 words.", 1_500),
        ("In 2024 300 words.", 300),
        ("A report of 2.5 pages.", 1_250),
        ("A report of 2,5 pages.", 1_250),
        ("0 words of introduction, then 200 words.", 200),
        ("At most 10 words each, on 2 pages.", 1_000),
    ],
)
def test_lengths_are_read_however_they_are_written(text: str, words: int) -> None:
    task = only(a_team(a_task("One", expected_output=text)), max_output_tokens=1_000_000)

    assert task.completion_tokens.low == round(words * 1.4 * 0.7)


def test_nothing_is_no_length() -> None:
    silent = only(a_team(a_task("One", expected_output="0 words.")))
    vague = only(a_team(a_task("One", expected_output="A text.")))

    assert silent.completion_tokens == vague.completion_tokens


def test_no_answer_is_longer_than_the_roles_limit() -> None:
    task = only(a_team(a_task("One", expected_output="10 pages"), roles=[RoleBlueprint(title="Writer", max_tokens=50)]))

    assert task.completion_tokens.low == 50


def test_a_guardrail_takes_calls_of_its_own() -> None:
    plain, guarded = only(a_team(a_task("One"))), only(a_team(a_task("One", guardrail="It is polite.")))

    assert guarded.amount.low > plain.amount.low
    assert guarded.amount.high > 2 * plain.amount.high
    assert guarded.reason.endswith("2 to 6 model calls.")


@pytest.mark.parametrize(
    ("oversight", "calls"),
    [(Oversight.LIGHT, "1 to 2"), (Oversight.STANDARD, "1 to 9"), (Oversight.CLOSE, "2 to 19")],
)
def test_a_manager_takes_as_many_calls_as_its_oversight_asks_for(oversight: Oversight, calls: str) -> None:
    roles = [RoleBlueprint(title="Lead", expertise=Expertise.EXPERT, model=MODEL)]
    roles += [RoleBlueprint(title="Writer", model=MODEL)]
    team = a_team(a_task("One"), roles=roles, process=Process.HIERARCHICAL, manager="Lead", oversight=oversight)

    task = only(team)

    assert task.role == "Writer"
    assert f"Lead leads. The role names it. By rules of thumb: {calls} model calls." in task.reason


def test_who_shares_everything_pays_for_a_synthesis() -> None:
    roles = [RoleBlueprint(title="Writer"), RoleBlueprint(title="Chief", expertise=Expertise.EXPERT)]

    whole = estimated(a_team(a_task("One"), a_task("Two"), roles=roles, process=Process.COLLABORATIVE))

    assert [(task.name, task.role) for task in whole.tasks][-1] == ("Synthesis", "Chief")
    assert whole.tasks[-1].prompt_tokens.low > whole.tasks[0].prompt_tokens.low


def test_a_team_without_tasks_is_estimated_by_those_that_are_written_for_it() -> None:
    whole = estimated(a_team(roles=[RoleBlueprint(title="Analyst"), RoleBlueprint(title="Engineer")]))

    assert [task.role for task in whole.tasks] == ["Analyst", "Engineer"]
    assert whole.amount.low >= 0
    assert whole.prompt_tokens.low > 0


def test_parallel_branches_take_as_long_as_the_longest_way() -> None:
    branches = [a_task("One"), a_task("Two"), a_task("Three"), a_task("End", depends_on=["One", "Two", "Three"])]

    whole = estimated(a_team(*branches, process=Process.PARALLEL, max_parallel_tasks=4))
    one_by_one = estimated(a_team(*branches, process=Process.PARALLEL, max_parallel_tasks=1))

    one, *_, end = [task.seconds for task in whole.tasks]
    assert whole.seconds.low == pytest.approx(one.low + end.low, abs=0.01)
    assert whole.seconds.high == pytest.approx(one.high + end.high, abs=0.01)
    assert one_by_one.seconds.low == pytest.approx(3 * one.low + end.low, abs=0.01)


def test_the_preference_chooses_the_model_where_none_is_named() -> None:
    team = a_team(a_task("One"), roles=[RoleBlueprint(title="Writer")])

    cheap, best = (only(team, preference=wanted) for wanted in (QualityPreference.BALANCED, QualityPreference.PREMIUM))

    assert (cheap.model, best.model) == ("ollama_chat/qwen3", MODEL)  # SIMPLE: LOCAL, and STANDARD
    assert cheap.amount.high == ZERO
    assert cheap.reason.endswith("The model runs on a machine of the operator's, and costs nothing.")
    assert "PREMIUM and SIMPLE ask for STANDARD." in best.reason


def test_a_tasks_own_preference_wins() -> None:
    hard = a_task("One", description="Plan the strategy.", quality_preference=QualityPreference.PREMIUM)
    roles = [RoleBlueprint(title="Writer", expertise=Expertise.EXPERT)]

    task = only(a_team(hard, roles=roles), preference=QualityPreference.COST_OPTIMIZED)

    assert (task.model, task.tier) == ("openai/best", Tier.PREMIUM)


def test_a_simulated_model_costs_nothing_and_says_so() -> None:
    simulated = [an_offer(a_model("simulated/regatta", tier=Tier.LOCAL))]

    task = only(a_team(a_task("One"), roles=[RoleBlueprint(title="Writer")]), offers=simulated)

    assert task.amount.high == 0
    assert task.reason.endswith("The model is simulated: it costs nothing, and its answers are made up.")


def test_inputs_that_are_missing_are_named_and_given_ones_count() -> None:
    team = a_team(a_task("One", description="Write about {topic} for {audience}."))

    missing = estimated(team, inputs={"audience": "children"})
    given = estimated(team, inputs={"audience": "children", "topic": "whales " * 500})

    assert "No input is given for “topic”" in missing.reason
    assert "No input" not in given.reason
    assert given.prompt_tokens.low > missing.prompt_tokens.low + 500


def test_inputs_that_are_too_long_are_refused() -> None:
    with pytest.raises(Invalid):
        estimated(a_team(a_task("One", description="{x}" * 10)), inputs={"x": "y" * 60_000})


def test_without_a_model_nothing_is_counted_and_the_reason_is_said() -> None:
    whole = estimated(a_team(a_task("One"), roles=[RoleBlueprint(title="Writer")]), offers=[])

    [task] = whole.tasks
    assert (task.role, task.model, task.tier, task.amount.high) == ("Writer", None, None, ZERO)
    assert "No model of any tier can be used" in task.reason
    assert "No model can be used for “One”" in whole.reason


def test_a_team_in_which_nobody_is_active_is_estimated_at_nothing() -> None:
    whole = estimated(a_team(a_task("One"), roles=[RoleBlueprint(title="Writer", is_active=False)]))

    assert [(task.name, task.role, task.model) for task in whole.tasks] == [("One", None, None)]
    assert whole.reason == "The team has no active role."


# ---------------------------------------------------------------- history


def a_history(model: str = MODEL, completed: int = 6, name: str = "One") -> TeamHistory:
    task = TaskHistory(
        TaskId(new_id()),
        name,
        completed=completed,
        seconds=Quantiles(4.0, 5.0, 9.0),
        prompt_tokens=Quantiles(1_000, 1_500, 3_000),
        completion_tokens=Quantiles(100, 200, 400),
        cost=Quantiles(0.25, 0.3, 0.5),
    )
    record = ModelRecord(model, Tier.STANDARD, completed, 0, Decimal("0.3"), 5.0)
    role = RoleHistory(RoleId(new_id()), "Writer", completed=completed, models=[record])
    return TeamHistory(TeamId(new_id()), completed=completed, tasks=[task], roles=[role])


def test_what_a_task_took_so_far_stands_before_any_rule() -> None:
    whole = estimated(a_team(a_task("One")), history=a_history())

    [task] = whole.tasks
    assert (task.basis, whole.basis) == (Basis.HISTORY, Basis.HISTORY)
    assert (task.prompt_tokens.low, task.prompt_tokens.high) == (1_000, 3_000)
    assert (task.amount.low, task.amount.high) == (Decimal("0.25"), Decimal("0.5"))
    assert (whole.seconds.low, whole.seconds.high) == (4.0, 9.0)
    assert "By the middle 80 % of 6 executions of this task, at what it cost then." in task.reason


def test_with_another_model_the_tokens_count_at_its_prices() -> None:
    task = only(a_team(a_task("One")), history=a_history(model="openai/best"))

    assert task.basis is Basis.HISTORY
    assert task.amount.low == PRICES.cost(TokenCounts(1_000, 100))
    assert task.amount.high == PRICES.cost(TokenCounts(3_000, 400))
    assert f"at the prices of {MODEL} now" in task.reason


def test_what_many_calls_took_is_not_priced_as_one_long_call() -> None:
    above = {"above": {"2000": {"prompt": 100, "completion": 100}}}
    dear = an_offer(a_model(MODEL, prompt_price=Decimal(1), completion_price=Decimal(1), price_details=above))
    history = a_history(model="openai/best")
    [past] = history.tasks
    history = replace(history, tasks=[replace(past, calls=Quantiles(2, 3, 4))])

    task = only(a_team(a_task("One")), offers=[dear], history=history)

    assert task.prompt_tokens.high == 3_000
    assert task.amount.high == Decimal("0.0034")  # four calls of 750 and 100 tokens, each below the threshold


def test_too_little_history_is_none() -> None:
    task = only(a_team(a_task("One")), history=a_history(completed=4))

    assert task.basis is Basis.HEURISTIC


def test_where_some_tasks_are_new_the_whole_is_no_history() -> None:
    whole = estimated(a_team(a_task("One"), a_task("New")), history=a_history())

    assert [task.basis for task in whole.tasks] == [Basis.HISTORY, Basis.HEURISTIC]
    assert whole.basis is Basis.HEURISTIC
    assert whole.reason == "1 of 2 tasks stand on their own executions so far, the others on rules of thumb."
