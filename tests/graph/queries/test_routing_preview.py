"""Previews of routing: what would be chosen and why, for stored tasks and for descriptions; nothing is run."""

from decimal import Decimal
from typing import Any

import pytest

from app.main import create_app
from app.settings import Settings
from domain.model.availability import NO_ENTRY
from domain.model.catalogue import find_shipped
from domain.model.tokens import estimated_tokens
from tests.support.catalogue import a_cool_down, a_worker
from tests.support.graphql import Graph
from tests.support.things import MALFORMED, nothing_written, strangers_things, unknown

SHOWN = """preference complexity factors wantedTier reason model { name tier isUsable } alternatives { name }
    estimatedCost { amount currency }"""
PREVIEW = f"query($input: RoutingPreviewInput!) {{ routingPreview(input: $input) {{ {SHOWN} }} }}"
LONG = "word " * 201
NO_KEY = "There is no key for openai: set one with setProviderKey, or in the environment of the workers."


async def preview(graph: Graph, **given: Any) -> dict[str, Any]:
    async with nothing_written(graph):
        found: dict[str, Any] = (await graph.query(PREVIEW, input=given))["routingPreview"]
    return found


async def chosen(graph: Graph, **given: Any) -> str | None:
    model = (await preview(graph, **given))["model"]
    return model["name"] if model else None


def worst(name: str, prompt: str, output_tokens: int) -> Decimal:
    model = find_shipped(name)
    assert model
    assert model.prices
    return model.prices.worst(estimated_tokens(prompt), output_tokens)


async def test_a_description_is_routed_by_its_complexity(graph: Graph) -> None:
    await a_worker(graph, providers=["openai", "anthropic"], models=["ollama_chat/qwen3"])

    found = await preview(
        graph, description="Plan the launch.", expectedOutput="A page.", expertise="EXPERT", qualityPreference="PREMIUM"
    )

    assert found == {
        "preference": "PREMIUM",
        "complexity": "MEDIUM",
        "factors": ["SENIOR_ROLE", "KEYWORD"],
        "wantedTier": "PREMIUM",
        "reason": "PREMIUM and MEDIUM ask for PREMIUM.",
        "model": {"name": "openai/gpt-6.1-sol", "tier": "PREMIUM", "isUsable": True},
        "alternatives": [{"name": name} for name in _behind("openai/gpt-6.1-sol")],
        "estimatedCost": {
            "amount": format(worst("openai/gpt-6.1-sol", "Plan the launch.A page.", 4096).normalize(), "f"),
            "currency": "USD",
        },
    }


def _behind(first: str) -> list[str]:
    """The others of the tier in their order, then those of the next; at most ten."""
    from domain.model.catalogue import shipped  # noqa: PLC0415 - for this list alone

    there = [m for m in shipped() if m.provider in {"openai", "anthropic"} and m.routing_order is not None]
    there += [m for m in shipped() if m.name == "ollama_chat/qwen3"]
    ranked = sorted(there, key=lambda m: (-m.tier.level, m.routing_order or 0, m.name))
    return [m.name for m in ranked if m.name != first][:10]


@pytest.mark.parametrize(
    ("preference", "tiers"),
    [
        ("FAST", ["LOCAL", "LOCAL", "STANDARD"]),
        ("BALANCED", ["LOCAL", "STANDARD", "PREMIUM"]),
        ("PREMIUM", ["STANDARD", "PREMIUM", "PREMIUM"]),
        ("COST_OPTIMIZED", ["LOCAL", "LOCAL", "LOCAL"]),
    ],
)
async def test_the_preference_shifts_the_tier(graph: Graph, preference: str, tiers: list[str]) -> None:
    works = [
        {"description": "Do it."},
        {"description": "Plan it.", "expertise": "SENIOR"},
        {"description": f"Plan it. {LONG}", "expertise": "SENIOR"},
    ]

    found = [await preview(graph, **work, qualityPreference=preference) for work in works]

    assert [it["complexity"] for it in found] == ["SIMPLE", "MEDIUM", "COMPLEX"]
    assert [it["wantedTier"] for it in found] == tiers
    # Without any key the simulated models stand in, each in its tier.
    expected = {"LOCAL": "simulated/regatta", "STANDARD": "simulated/standard", "PREMIUM": "simulated/premium"}
    assert [it["model"]["name"] for it in found] == [expected[tier] for tier in tiers]
    assert {it["estimatedCost"]["amount"] for it in found} == {"0"}


async def test_a_tier_without_a_usable_model_falls_to_the_nearest_and_says_so(graph: Graph) -> None:
    await a_worker(graph, providers=["deepseek"])

    found = await preview(graph, description="Do it.")

    assert found["wantedTier"] == "LOCAL"
    assert found["model"] == {"name": "deepseek/deepseek-v4-flash", "tier": "STANDARD", "isUsable": True}
    assert found["reason"] == (
        "BALANCED and SIMPLE ask for LOCAL; no usable model there, STANDARD is the nearest tier that has one."
    )


async def test_cost_decides_where_it_matters_most(graph: Graph) -> None:
    await a_worker(graph, providers=["openai", "groq"])
    cheapest = min(
        ("groq/openai/gpt-oss-120b", "groq/qwen/qwen3.8-27b", "openai/gpt-6-luna", "openai/gpt-4o-mini"),
        key=lambda name: worst(name, "Do it.", 4096),
    )

    assert await chosen(graph, description="Do it.", qualityPreference="COST_OPTIMIZED") == cheapest


async def test_a_model_that_cools_down_is_left_out(graph: Graph) -> None:
    await a_worker(graph, providers=["groq"])
    await a_cool_down(graph, "operator:groq", "groq/openai/gpt-oss-120b")

    assert await chosen(graph, description="Do it.") == "groq/qwen/qwen3.8-27b"


async def test_a_named_model_beats_routing_whatever_its_tier(graph: Graph) -> None:
    await a_worker(graph, providers=["openai"])

    found = await preview(graph, description="Do it.", model="openai/gpt-4o", qualityPreference="FAST")

    assert found["model"]["name"] == "openai/gpt-4o"
    assert (found["wantedTier"], found["alternatives"]) == ("PREMIUM", [])
    assert found["reason"] == "The request names it."


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (
            "openai/none",
            f"The model 'openai/none' cannot be used: {NO_ENTRY}",
        ),
        ("none", "There is no model named 'none' in the catalogue."),
        (
            "openai/gpt-4o",
            f"The model 'openai/gpt-4o' cannot be used: {NO_KEY}",
        ),
    ],
)
async def test_where_nothing_can_be_used_the_reason_says_why(graph: Graph, model: str, reason: str) -> None:
    found = await preview(graph, description="Do it.", model=model)

    assert (found["model"], found["estimatedCost"], found["alternatives"]) == (None, None, [])
    assert found["reason"] == reason


async def test_own_entries_are_routed_to_like_shipped_ones(graph: Graph) -> None:
    url = "https://models.example.org/v1"
    await graph.make("Model", name="openai/near", tier="LOCAL", baseUrl=url, promptPrice="0", completionPrice="0")
    assert await chosen(graph, description="Do it.") == "simulated/regatta"  # it has no place in the order

    await graph.make(
        "Model", name="openai/nearer", tier="LOCAL", baseUrl=url, promptPrice="1", completionPrice="2", routingOrder=0
    )

    found = await preview(graph, description="Do it.")
    assert found["model"]["name"] == "openai/nearer"
    assert Decimal(found["estimatedCost"]["amount"]) == Decimal(2 * 4096 + 2) / 1_000_000


# ---------------------------------------------------------------- stored tasks


async def a_task(graph: Graph, **values: Any) -> tuple[str, str]:
    team_id = await graph.team()
    return team_id, await graph.task(team_id, **values)


async def test_a_task_brings_its_texts_its_role_and_its_preference(graph: Graph) -> None:
    team_id = await graph.team()
    role_id = await graph.role(team_id, expertise="SENIOR", maxTokens=100, model="openai/gpt-4o")
    task_id = await graph.task(
        team_id, description="Plan it.", expectedOutput="Done.", roleId=role_id, qualityPreference="FAST"
    )
    await a_worker(graph, providers=["openai"])

    found = await preview(graph, taskId=task_id)

    assert (found["preference"], found["complexity"]) == ("FAST", "MEDIUM")
    assert found["factors"] == ["SENIOR_ROLE", "KEYWORD"]
    assert found["model"]["name"] == "openai/gpt-4o"
    assert found["reason"] == "The role names it."
    assert Decimal(found["estimatedCost"]["amount"]) == worst("openai/gpt-4o", "Plan it.Done.", 100)
    assert (await preview(graph, taskId=task_id, qualityPreference="PREMIUM"))["preference"] == "PREMIUM"


async def test_a_task_without_a_role_is_matched_as_when_it_runs(graph: Graph) -> None:
    team_id, task_id = await a_task(graph, requiredSkills=["sailing"])
    assert (await preview(graph, taskId=task_id))["factors"] == []

    await graph.role(team_id, title="Best", expertise="EXPERT", isActive=False, skills=["sailing"])
    assert (await preview(graph, taskId=task_id))["factors"] == []

    await graph.role(team_id, title="Able", expertise="JUNIOR", skills=["Sailing"], model="simulated/able")
    await graph.role(team_id, title="Senior", expertise="SENIOR")
    found = await preview(graph, taskId=task_id)
    assert (found["factors"], found["model"]["name"]) == ([], "simulated/able")


async def test_a_task_whose_role_has_tools_goes_to_a_model_that_takes_them(graph: Graph) -> None:
    project_id = await graph.project()
    team_id = await graph.team(project_id)
    tool = await graph.make("Tool", projectId=project_id, name="Sums", kind="CALCULATOR")
    role_id = await graph.role(team_id)
    task_id = await graph.task(team_id, roleId=role_id)
    await a_worker(graph, models=["ollama_chat/gemma3", "ollama_chat/mistral"])
    await graph.make("Model", name="ollama_chat/gemma3", routingOrder=0)
    assert await chosen(graph, taskId=task_id) == "ollama_chat/gemma3"

    await graph.mutate("updateRole", "role { id }", id=role_id, version=1, toolIds=[tool["id"]])

    assert await chosen(graph, taskId=task_id) == "ollama_chat/mistral"


async def test_a_task_with_a_budget_goes_to_the_next_lower_tier_that_it_suffices_for(graph: Graph) -> None:
    await a_worker(graph, providers=["openai"])
    team_id = await graph.team()
    role_id = await graph.role(team_id, expertise="EXPERT")
    work = {"description": "Plan it.", "expectedOutput": "Done.", "qualityPreference": "PREMIUM", "roleId": role_id}
    free, small, none = [
        await graph.task(team_id, **work, **more) for more in ({}, {"maxBudget": "0.02"}, {"maxBudget": "0.00001"})
    ]

    first = (await preview(graph, taskId=free))["model"]
    cheaper, nothing = await preview(graph, taskId=small), await preview(graph, taskId=none)

    assert first["tier"] == "PREMIUM"
    assert cheaper["model"]["tier"] == "STANDARD"
    assert cheaper["reason"] == f"The task's budget does not suffice for {first['name']}: a cheaper tier."
    assert cheaper["wantedTier"] == "PREMIUM"
    assert Decimal(cheaper["estimatedCost"]["amount"]) <= Decimal("0.02")
    assert (nothing["model"], nothing["estimatedCost"], nothing["alternatives"]) == (None, None, [])
    assert nothing["reason"].startswith("The task's budget does not suffice for openai/")
    assert nothing["wantedTier"] == "PREMIUM"


async def test_unknown_tasks_and_those_of_others_are_null(graph: Graph) -> None:
    strangers = await strangers_things(graph)

    for identifier in (unknown("Task"), unknown("Team"), strangers["Task"], *MALFORMED):
        assert await graph.query(PREVIEW, input={"taskId": identifier}) == {"routingPreview": None}


async def test_entries_of_another_tenant_are_not_routed_to(graph: Graph) -> None:
    await graph.make(
        "Model",
        name="openai/theirs",
        tier="LOCAL",
        baseUrl="https://models.example.org/v1",
        promptPrice="0",
        completionPrice="0",
        routingOrder=0,
    )
    assert await chosen(graph, description="Do it.") == "openai/theirs"
    await strangers_things(graph)

    assert await chosen(graph, description="Do it.") == "simulated/regatta"
    assert (await preview(graph, description="Do it.", model="openai/theirs"))["model"] is None


# ---------------------------------------------------------------- the deployment's model, and bad input


async def test_the_deployments_model_stands_behind_the_roles_and_before_routing(settings: Settings) -> None:
    named = settings.model_copy(update={"model": "simulated/all"})
    async with Graph.over(create_app(named)) as graph:
        found = await preview(graph, description="Do it.")
        assert (found["model"]["name"], found["reason"]) == ("simulated/all", "The deployment names it.")
        team_id = await graph.team()
        task_id = await graph.task(team_id, roleId=await graph.role(team_id, model="simulated/own"))
        assert await chosen(graph, taskId=task_id) == "simulated/own"


async def test_the_deployments_price_for_unknown_models_counts(settings: Settings) -> None:
    priced = settings.model_copy(update={"unknown_price": "15", "max_output_tokens": 10})
    async with Graph.over(create_app(priced)) as graph:
        await a_worker(graph, providers=["openai"])
        found = await preview(graph, description="Do it.", model="openai/none")

    assert Decimal(found["estimatedCost"]["amount"]) == Decimal(15 * 12) / 1_000_000


@pytest.mark.parametrize(
    ("given", "argument"),
    [
        ({}, ["input", "description"]),
        ({"taskId": "x", "description": "Do it."}, ["input", "description"]),
        ({"taskId": "ok", "expectedOutput": "Done."}, ["input", "expectedOutput"]),
        ({"taskId": "ok", "expertise": "SENIOR"}, ["input", "expertise"]),
        ({"taskId": "ok", "model": "openai/gpt-4o"}, ["input", "model"]),
        ({"description": "d" * 20_001}, ["input", "description"]),
        ({"description": "nul\u0000"}, ["input", "description"]),
        ({"description": "d", "expectedOutput": "e" * 20_001}, ["input", "expectedOutput"]),
        ({"description": "d", "model": "os.environ/SECRET"}, ["input", "model"]),
        ({"description": "d", "model": "bedrock/claude"}, ["input", "model"]),
        ({"description": "d", "model": ""}, ["input", "model"]),
    ],
)
async def test_bad_input_is_refused_with_its_place(graph: Graph, given: dict[str, Any], argument: list[str]) -> None:
    if "taskId" in given:
        given = {**given, "taskId": unknown("Task")}

    answer = await graph.answer(PREVIEW, input=given)

    assert answer["data"] == {"routingPreview": None}
    [error] = answer["errors"]
    assert error["extensions"] == {"code": "INVALID", "argument": argument}
    if "taskId" in given and "description" not in given:
        assert error["message"] == f"A task brings its own {argument[-1]}."


async def test_a_lone_surrogate_is_no_fault_of_ours(graph: Graph) -> None:
    response = await graph.http.post(
        "/graphql",
        content=(
            '{"query": "query($input: RoutingPreviewInput!) { routingPreview(input: $input) { complexity } }",'
            ' "variables": {"input": {"description": "\\ud800"}}}'
        ),
        headers={"content-type": "application/json"},
    )

    assert response.status_code < 500
    assert "INTERNAL" not in response.text
