"""Which model a piece of work is given: the tier table, every factor at its boundary, and what stands in for what."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from domain.errors import FailureCode, RunFailed
from domain.model.identity import DEFAULT_TENANT, TeamId, new_id
from domain.model.model import Model, Tier, Unusable
from domain.model.prices import Prices
from domain.model.role import Expertise, Role
from domain.model.routing import (
    KEYWORDS,
    MOST_ALTERNATIVES,
    Complexity,
    ComplexityFactor,
    Decision,
    Demand,
    Deployment,
    Offer,
    QualityPreference,
    complexity_of,
    demand_of,
    factors_of,
    find_offer,
    route,
)

FREE = Prices.per_million(Decimal(0), Decimal(0))
F = ComplexityFactor
FACTORS = {
    Complexity.SIMPLE: (F.KEYWORD,),
    Complexity.MEDIUM: (F.KEYWORD, F.SENIOR_ROLE),
    Complexity.COMPLEX: (F.KEYWORD, F.SENIOR_ROLE, F.LONG_DESCRIPTION),
}


def an_offer(name: str, tier: Tier = Tier.STANDARD, price: str = "1", **values: Any) -> Offer:
    dollars = Decimal(price)
    model = Model(DEFAULT_TENANT, name, tier, dollars, dollars, **{"routing_order": 10, **values})
    return Offer(model, Deployment("operator:test", model.prices or FREE))


def a_demand(
    preference: QualityPreference = QualityPreference.BALANCED,
    complexity: Complexity = Complexity.MEDIUM,
    **values: Any,
) -> Demand:
    return Demand(preference, FACTORS[complexity], **values)


def names(offers: list[Offer], demand: Demand) -> list[str]:
    return [choice.model.name for choice in route(offers, demand).choices]


LADDER = [
    an_offer("ollama/small", Tier.LOCAL),
    an_offer("openai/middle", Tier.STANDARD),
    an_offer("openai/best", Tier.PREMIUM),
]


# ---------------------------------------------------------------- complexity


@pytest.mark.parametrize(("words", "is_long"), [(200, False), (201, True)])
def test_a_description_is_long_from_201_words_on(words: int, is_long: bool) -> None:
    found = factors_of(" ".join(["word"] * words), "", None)

    assert found == ((F.LONG_DESCRIPTION,) if is_long else ())


@pytest.mark.parametrize(("words", "is_long"), [(50, False), (51, True)])
def test_an_expected_output_is_long_from_51_words_on(words: int, is_long: bool) -> None:
    found = factors_of("", "\n".join(["word"] * words), None)

    assert found == ((F.LONG_EXPECTED_OUTPUT,) if is_long else ())


@pytest.mark.parametrize("expertise", [None, *Expertise])
def test_senior_and_expert_roles_make_work_look_harder(expertise: Expertise | None) -> None:
    found = factors_of("", "", expertise)

    assert found == ((F.SENIOR_ROLE,) if expertise in {Expertise.SENIOR, Expertise.EXPERT} else ())


@pytest.mark.parametrize("keyword", sorted(KEYWORDS))
def test_a_keyword_counts_as_a_word_in_any_case_and_not_as_a_part(keyword: str) -> None:
    assert factors_of(f"First {keyword.upper()}, then rest.", "", None) == (F.KEYWORD,)
    assert factors_of(f"un{keyword} {keyword}ish", keyword, None) == ()


def test_the_keywords_are_those_of_the_product_and_count_once() -> None:
    assert set("analyze strategy comprehensive detailed architecture design plan roadmap".split()) == KEYWORDS  # noqa: SIM905
    assert factors_of("plan design roadmap", "", None) == (F.KEYWORD,)


@pytest.mark.parametrize(
    ("count", "complexity"),
    [
        (0, Complexity.SIMPLE),
        (1, Complexity.SIMPLE),
        (2, Complexity.MEDIUM),
        (3, Complexity.COMPLEX),
        (4, Complexity.COMPLEX),
    ],
)
def test_factors_add_up_to_a_complexity(count: int, complexity: Complexity) -> None:
    assert complexity_of(list(ComplexityFactor)[:count]) is complexity


def test_all_four_factors_are_found_together() -> None:
    found = factors_of("plan " * 201, "word " * 51, Expertise.EXPERT)

    assert set(found) == set(ComplexityFactor)


# ---------------------------------------------------------------- tiers


@pytest.mark.parametrize(
    ("preference", "tiers"),
    [
        ("FAST", "LOCAL LOCAL STANDARD"),
        ("BALANCED", "LOCAL STANDARD PREMIUM"),
        ("PREMIUM", "STANDARD PREMIUM PREMIUM"),
        ("COST_OPTIMIZED", "LOCAL LOCAL LOCAL"),
    ],
)
def test_preference_and_complexity_choose_the_tier(preference: str, tiers: str) -> None:
    found = [route(LADDER, a_demand(QualityPreference(preference), complexity)).first for complexity in Complexity]

    assert [choice.model.tier.value for choice in found] == tiers.split()
    assert [choice.reason for choice in found] == [
        f"{preference} and {complexity.value} ask for {tier}."
        for complexity, tier in zip(Complexity, tiers.split(), strict=True)
    ]


def test_an_empty_tier_falls_to_the_nearest_one_and_says_so() -> None:
    wants_local = a_demand(complexity=Complexity.SIMPLE)

    found = route([an_offer("openai/best", Tier.PREMIUM), an_offer("openai/middle")], wants_local)

    assert [choice.model.name for choice in found.choices] == ["openai/middle", "openai/best"]
    assert found.first.reason == (
        "BALANCED and SIMPLE ask for LOCAL; no usable model there, STANDARD is the nearest tier that has one."
    )


@pytest.mark.parametrize(
    ("preference", "complexity", "expected"),
    [
        (QualityPreference.PREMIUM, Complexity.SIMPLE, ["openai/best", "ollama/small"]),
        (QualityPreference.BALANCED, Complexity.MEDIUM, ["ollama/small", "openai/best"]),
        (QualityPreference.FAST, Complexity.COMPLEX, ["ollama/small", "openai/best"]),
    ],
)
def test_of_two_tiers_as_far_only_who_wants_the_best_goes_up(
    preference: QualityPreference, complexity: Complexity, expected: list[str]
) -> None:
    without_standard = [LADDER[0], LADDER[2]]

    assert names(without_standard, a_demand(preference, complexity)) == expected


def test_a_far_tier_is_better_than_none() -> None:
    assert names([LADDER[0]], a_demand(complexity=Complexity.COMPLEX)) == ["ollama/small"]
    assert names([LADDER[2]], a_demand(QualityPreference.COST_OPTIMIZED)) == ["openai/best"]


def test_within_a_tier_the_order_counts_then_the_name() -> None:
    offers = [an_offer("b/x", routing_order=2), an_offer("a/x", routing_order=2), an_offer("z/x", routing_order=0)]

    assert names(offers, a_demand()) == ["z/x", "a/x", "b/x"]


def test_who_looks_at_the_cost_gets_the_cheapest_of_the_tier_for_this_call() -> None:
    reads_cheaply = Model(DEFAULT_TENANT, "a/reads", Tier.LOCAL, Decimal(1), Decimal(9), routing_order=1)
    writes_cheaply = Model(DEFAULT_TENANT, "b/writes", Tier.LOCAL, Decimal(2), Decimal(3), routing_order=2)
    offers = [
        Offer(model, Deployment("operator:test", model.prices or FREE)) for model in (reads_cheaply, writes_cheaply)
    ]

    def first(prompt_tokens: int, output_tokens: int, preference: QualityPreference) -> str:
        demand = a_demand(preference, Complexity.SIMPLE, prompt_tokens=prompt_tokens, output_tokens=output_tokens)
        return names(offers, demand)[0]

    assert first(1000, 1000, QualityPreference.COST_OPTIMIZED) == "b/writes"
    assert first(9000, 1000, QualityPreference.COST_OPTIMIZED) == "a/reads"
    assert first(1000, 1000, QualityPreference.BALANCED) == "a/reads"


# ---------------------------------------------------------------- what may be routed to


def test_models_without_an_order_are_never_routed_to() -> None:
    with pytest.raises(RunFailed) as refused:
        route([an_offer("openai/gpt-4o", routing_order=None)], a_demand())

    assert refused.value.code is FailureCode.MODEL_UNAVAILABLE
    assert "No model of any tier can be used" in str(refused.value)


@pytest.mark.parametrize("unusable", [it for it in Unusable if it is not Unusable.COOLING_DOWN])
def test_models_that_cannot_be_used_now_are_not_routed_to(unusable: Unusable) -> None:
    away = an_offer("openai/middle")
    offers = [Offer(away.model, away.deployment, unusable, "So."), an_offer("openai/best", Tier.PREMIUM)]

    assert names(offers, a_demand()) == ["openai/best"]


def test_what_cools_down_comes_behind_everything_else_and_is_better_than_nothing() -> None:
    away = an_offer("openai/middle")
    cooling = Offer(away.model, away.deployment, Unusable.COOLING_DOWN, "So.")

    assert names([cooling, an_offer("openai/best", Tier.PREMIUM)], a_demand()) == ["openai/best", "openai/middle"]
    assert names([cooling], a_demand()) == ["openai/middle"]


def test_where_no_model_can_do_it_the_reason_says_what_is_missing() -> None:
    plain = Offer(replace(an_offer("openai/middle").model, supports_tools=False), an_offer("openai/middle").deployment)

    with pytest.raises(RunFailed, match="No usable model takes tools, and the role has some"):
        route([plain], replace(a_demand(), needs_tools=True))
    with pytest.raises(RunFailed, match="No model of any tier can be used"):
        route([], a_demand())


def test_work_with_tools_goes_to_models_that_take_them() -> None:
    offers = [an_offer("a/plain", supports_tools=False, routing_order=0), an_offer("b/tools", routing_order=1)]

    assert names(offers, a_demand(needs_tools=True)) == ["b/tools"]
    assert names(offers, a_demand(needs_tools=False)) == ["a/plain", "b/tools"]


@pytest.mark.parametrize(("tokens", "expected"), [(8192, ["a/small", "b/wide"]), (8193, ["b/wide"])])
def test_a_prompt_goes_to_models_that_can_read_it(tokens: int, expected: list[str]) -> None:
    offers = [an_offer("a/small", context_window=8192), an_offer("b/wide", context_window=None)]

    assert names(offers, a_demand(prompt_tokens=tokens)) == expected


# ---------------------------------------------------------------- pinned models


def test_a_pinned_model_stands_alone_whatever_the_tier() -> None:
    found = route(LADDER, a_demand(pinned="ollama/small"))

    assert found.is_pinned
    assert [choice.model.name for choice in found.choices] == ["ollama/small"]
    assert found.first.reason == "The role names it."
    assert found.cheaper_than(found.first) == []


def test_a_pinned_model_needs_no_order_no_tools_and_no_room() -> None:
    plain = an_offer("openai/old", routing_order=None, supports_tools=False, context_window=1)

    assert names([plain], a_demand(pinned="openai/old", needs_tools=True, prompt_tokens=10)) == ["openai/old"]


def test_a_bare_name_means_the_first_providers_model_of_it() -> None:
    offers = [an_offer("groq/openai/gpt-oss"), an_offer("openai/gpt-oss"), an_offer("openrouter/gpt-oss")]

    def name_of(wanted: str) -> str | None:
        found = find_offer(offers, wanted)
        return found.model.name if found else None

    assert name_of("gpt-oss") == "openai/gpt-oss"
    assert name_of("openrouter/gpt-oss") == "openrouter/gpt-oss"
    assert name_of("openai/gpt") is None


def test_an_unknown_pinned_model_is_unknown() -> None:
    with pytest.raises(RunFailed, match=r"^There is no model named 'openai/none' in the catalogue\.$") as refused:
        route(LADDER, a_demand(pinned="openai/none"))

    assert refused.value.code is FailureCode.MODEL_UNKNOWN


@pytest.mark.parametrize("unusable", [it for it in Unusable if it is not Unusable.COOLING_DOWN])
def test_a_pinned_model_that_cannot_be_used_is_never_replaced(unusable: Unusable) -> None:
    away = Offer(LADDER[1].model, None, unusable, "It is away.")

    with pytest.raises(RunFailed, match=r"^The model 'openai/middle' cannot be used: It is away\.$") as refused:
        route([away, *LADDER[::2]], a_demand(pinned="openai/middle"))

    is_unpriced = unusable is Unusable.NO_PRICE
    assert refused.value.code is (FailureCode.MODEL_UNKNOWN if is_unpriced else FailureCode.MODEL_UNAVAILABLE)


def test_a_pinned_model_that_cools_down_is_waited_for() -> None:
    cooling = Offer(LADDER[1].model, LADDER[1].deployment, Unusable.COOLING_DOWN, "Later.")

    assert names([cooling], a_demand(pinned="openai/middle")) == ["openai/middle"]


# ---------------------------------------------------------------- demands and decisions


def _asked(role: Role | None, default_model: str | None) -> Demand:
    return demand_of(
        description="plan",
        expected_output="",
        role=role,
        preference=QualityPreference.FAST,
        default_model=default_model,
        needs_tools=True,
        prompt_tokens=7,
        output_tokens=8,
    )


def test_the_roles_model_comes_before_the_deployments_and_both_before_routing() -> None:
    team_id = TeamId(new_id())
    plain = Role(DEFAULT_TENANT, team_id, "Analyst", expertise=Expertise.SENIOR)
    pinned = Role(DEFAULT_TENANT, team_id, "Analyst", model="openai/own")

    assert (_asked(pinned, "openai/all").pinned, _asked(pinned, "openai/all").pinned_by) == (
        "openai/own",
        "the role names it",
    )
    assert (_asked(plain, "openai/all").pinned, _asked(plain, "openai/all").pinned_by) == (
        "openai/all",
        "the deployment names it",
    )
    assert replace(_asked(plain, None), pinned_by="the role names it") == Demand(
        QualityPreference.FAST, (F.SENIOR_ROLE, F.KEYWORD), needs_tools=True, prompt_tokens=7, output_tokens=8
    )
    assert _asked(None, None).factors == (F.KEYWORD,)


def test_cheaper_choices_are_those_of_lower_tiers_the_next_lower_first() -> None:
    found = route(LADDER, a_demand(complexity=Complexity.COMPLEX))

    assert [choice.model.name for choice in found.cheaper_than(found.first)] == ["openai/middle", "ollama/small"]
    assert found.cheaper_than(found.choices[-1]) == []


def test_a_decision_names_at_most_ten_others_and_survives_storage() -> None:
    found = route([an_offer(f"p/{number:02}") for number in range(20)], a_demand())

    decision = found.decision(found.first, Decimal("0.000000000001"))

    assert decision.model == "p/00"
    assert decision.alternatives == tuple(f"p/{number:02}" for number in range(1, 1 + MOST_ALTERNATIVES))
    assert Decision.from_document(decision.as_document()) == decision


def test_the_decision_for_a_pinned_model_wants_the_tier_that_it_has() -> None:
    found = route(LADDER, a_demand(complexity=Complexity.COMPLEX, pinned="ollama/small"))

    assert found.decision(found.first, Decimal(0)).wanted_tier is Tier.LOCAL
