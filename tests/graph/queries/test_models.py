"""The model catalogue in the graph: pages, filters, what can be used and why not, and whose it is."""

from typing import Any
from uuid import uuid4

import pytest

from app.main import create_app
from app.settings import Settings
from app.vault import FernetVault, new_key
from domain.model.catalogue import find_shipped, shipped, shipped_id
from domain.model.identity import DEFAULT_TENANT
from resolvers.node_ids import node_id
from schema.breadth_first import BreadthFirst, NotSimple
from tests.support.catalogue import a_cool_down, a_worker
from tests.support.graphql import Graph, counted_statements
from tests.support.things import strangers_things

MODELS = """query($first: Int! = 100, $after: String, $filter: ModelFilter) {
    models(first: $first, after: $after, filter: $filter) { totalCount nodes { id name isUsable }
        edges { cursor node { name } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""
USABLE = "query($id: ID!) { model(id: $id) { isUsable unusable whyNot } }"
WHOLE = """query($id: ID!) { node(id: $id) { __typename ... on Model { id name provider tier
    promptPrice { amount currency } completionPrice { amount } cachedPrice { amount } contextWindow
    maxOutputTokens supportsTools supportsJson supportsVision baseUrl routingOrder requestsPerMinute tokensPerMinute
    isEnabled isShipped version createdAt
    updatedAt archivedAt createdBy } } }"""


def id_of(name: str) -> str:
    return node_id("Model", shipped_id(name))


async def models(graph: Graph, **arguments: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await graph.query(MODELS, **arguments))["models"]
    return found


async def names(graph: Graph, **conditions: Any) -> list[str]:
    """The names of all models that meet the conditions; few enough for one page."""
    return [node["name"] for node in (await models(graph, filter=conditions))["nodes"]]


async def state(graph: Graph, identifier: str) -> tuple[bool, str | None, str | None]:
    found = (await graph.query(USABLE, id=identifier))["model"]
    return found["isUsable"], found["unusable"], found["whyNot"]


async def test_pages_go_through_the_whole_catalogue_by_name_without_gap_or_repeat(graph: Graph) -> None:
    await graph.make("Model", name="openai/aaa-mine", tier="LOCAL")
    found: list[str] = []
    after = None
    while True:
        page = await models(graph, after=after)
        info, cursors = page["pageInfo"], [edge["cursor"] for edge in page["edges"]]
        assert [edge["node"]["name"] for edge in page["edges"]] == [node["name"] for node in page["nodes"]]
        assert (info["startCursor"], info["endCursor"]) == (cursors[0], cursors[-1])
        assert info["hasPreviousPage"] is (after is not None)
        assert page["totalCount"] == len(shipped()) + 1
        found += [node["name"] for node in page["nodes"]]
        if not info["hasNextPage"]:
            break
        after = info["endCursor"]

    assert found == sorted([*(model.name for model in shipped()), "openai/aaa-mine"])


async def test_a_page_goes_on_behind_its_cursor_although_the_entry_there_is_gone(graph: Graph) -> None:
    mine = await graph.make("Model", name="openai/gpt-4o-mine", tier="LOCAL")
    conditions = {"name": {"contains": "gpt-4o"}, "provider": {"eq": "openai"}}
    page = await models(graph, filter=conditions)
    cursors = {edge["node"]["name"]: edge["cursor"] for edge in page["edges"]}
    await graph.mutate("archiveModel", "model { id }", id=mine["id"])

    rest = await models(graph, filter=conditions, after=cursors["openai/gpt-4o-mine"])

    everything = [node["name"] for node in page["nodes"]]
    assert [node["name"] for node in rest["nodes"]] == everything[everything.index("openai/gpt-4o-mine") + 1 :]


@pytest.mark.parametrize("first", [0, -1, 101])
async def test_a_page_has_1_to_100_models(graph: Graph, first: int) -> None:
    answer = await graph.answer(MODELS, first=first)

    [error] = answer["errors"]
    assert (error["message"], error["extensions"]["code"]) == (
        f"first must be between 1 and 100, not {first}.",
        "INVALID",
    )


@pytest.mark.parametrize("cursor", ["", "nonsense", "WyJuYW1lIiwiYSIsImIiXQ", "WyJjcmVhdGVkX2F0IiwiYSIsImIiXQ"])
async def test_what_is_no_cursor_of_this_list_is_refused(graph: Graph, cursor: str) -> None:
    answer = await graph.answer(MODELS, after=cursor)

    [error] = answer["errors"]
    assert error["extensions"] == {"code": "INVALID", "argument": ["after"]}


async def test_filters_compare_name_provider_tier_and_use(graph: Graph) -> None:
    await a_worker(graph, providers=["groq"])

    assert await names(graph, name={"eq": "openai/gpt-4o"}) == ["openai/gpt-4o"]
    assert await names(graph, name={"contains": "GPT-4O-M"}) == [
        "openai/gpt-4o-mini",
        "openai/gpt-4o-mini-2024-07-18",
    ]
    assert set(await names(graph, provider={"eq": "groq"})) == {m.name for m in shipped() if m.provider == "groq"}
    assert await names(graph, provider={"eq": "simulated"}, tier={"in": ["LOCAL", "PREMIUM"]}) == [
        "simulated/premium",
        "simulated/regatta",
    ]
    usable = {m.name for m in shipped() if m.provider in {"groq", "simulated"}}
    assert set(await names(graph, isUsable=True)) == usable
    assert await names(graph, isUsable=False, provider={"eq": "groq"}) == []
    assert await names(graph, tier={"in": []}) == []
    assert await names(graph, name={"eq": "openai"}) == []


async def test_a_filter_with_a_nul_is_refused(graph: Graph) -> None:
    answer = await graph.answer(MODELS, filter={"name": {"contains": "\u0000"}})

    assert [error["extensions"]["code"] for error in answer["errors"]] == ["INVALID"]


async def test_a_shipped_model_shows_all_it_is_made_of(graph: Graph) -> None:
    model = find_shipped("anthropic/claude-haiku-4-5")
    assert model

    found = (await graph.query(WHOLE, id=id_of(model.name)))["node"]

    made = found.pop("createdAt")
    assert made == found.pop("updatedAt")
    assert found == {
        "__typename": "Model",
        "id": id_of(model.name),
        "name": "anthropic/claude-haiku-4-5",
        "provider": "anthropic",
        "tier": "STANDARD",
        "promptPrice": {"amount": "1", "currency": "USD"},
        "completionPrice": {"amount": "5"},
        "cachedPrice": {"amount": "0.1"},
        "contextWindow": 200_000,
        "maxOutputTokens": 64_000,
        "supportsTools": True,
        "supportsJson": True,
        "supportsVision": True,
        "baseUrl": None,
        "routingOrder": model.routing_order,
        "requestsPerMinute": None,
        "tokensPerMinute": None,
        "isEnabled": True,
        "isShipped": True,
        "version": 0,
        "archivedAt": None,
        "createdBy": None,
    }


async def test_what_the_workers_say_decides_what_can_be_used(graph: Graph) -> None:
    mini, local = id_of("openai/gpt-4o-mini"), id_of("ollama_chat/qwen3")
    no_key = "There is no key for openai: set one with setProviderKey, or in the environment of the workers."
    no_server = "No Ollama server offers it: set OLLAMA_API_BASE for the workers, and pull the model there."

    assert await state(graph, mini) == (False, "NO_KEY", no_key)
    assert await state(graph, local) == (False, "UNREACHABLE", no_server)
    assert await state(graph, id_of("simulated/regatta")) == (True, None, None)

    await a_worker(graph, providers=["openai"], silent_seconds=16)
    assert await state(graph, mini) == (False, "NO_KEY", no_key)

    await a_worker(graph, is_local_silent=True)
    assert await state(graph, local) == (
        False,
        "UNREACHABLE",
        "The Ollama server at OLLAMA_API_BASE does not answer.",
    )

    await a_worker(graph, providers=["openai"], silent_seconds=5)
    await a_worker(graph, models=["ollama_chat/qwen3"])
    assert await state(graph, mini) == (True, None, None)
    assert await state(graph, local) == (True, None, None)


async def test_a_cool_down_shows_while_it_lasts_and_only_to_whom_it_belongs(graph: Graph) -> None:
    await a_worker(graph, providers=["openai", "groq"])
    await a_cool_down(graph, "operator:openai", "openai/gpt-4o")
    await a_cool_down(graph, "operator:openai", "openai/gpt-4o-mini", seconds=-1)
    await a_cool_down(graph, f"{uuid4()}:{uuid4()}", "openai/gpt-4.1")

    is_usable, unusable, why = await state(graph, id_of("openai/gpt-4o"))

    assert (is_usable, unusable) == (False, "COOLING_DOWN")
    assert why
    assert why.startswith("Its provider was in trouble; until ")
    assert await state(graph, id_of("openai/gpt-4o-mini")) == (True, None, None)
    assert await state(graph, id_of("openai/gpt-4.1")) == (True, None, None)


async def a_key(graph: Graph, ciphertext: bytes) -> None:
    await graph.container.database.pool.execute(
        "INSERT INTO credential (tenant_id, id, kind, subject, header, ciphertext, created_at, updated_at)"
        " VALUES ($1, gen_random_uuid(), 'PROVIDER', 'mistral', '', $2, now(), now())",
        DEFAULT_TENANT,
        ciphertext,
    )


async def test_a_key_of_the_tenants_own_makes_its_provider_usable_if_it_opens(settings: Settings) -> None:
    key = new_key()
    ciphertext = FernetVault([key]).lock(DEFAULT_TENANT, "PROVIDER:mistral", "sk-1")
    shown = "query($id: ID!) { model(id: $id) { unusable whyNot } }"
    mistral = id_of("mistral/mistral-large-latest")

    async with Graph.over(create_app(settings.with_secret_key(key))) as graph:
        await a_key(graph, ciphertext)
        assert {name.partition("/")[0] for name in await names(graph, isUsable=True)} == {"mistral", "simulated"}
    async with Graph.over(create_app(settings.with_secret_key(new_key()))) as graph:
        assert await graph.query(shown, id=mistral) == {
            "model": {
                "unusable": "NO_KEY",
                "whyNot": "Its key cannot be decrypted with this deployment's secret key: set it again.",
            }
        }


async def test_an_own_entry_stands_in_the_list_instead_of_the_shipped_one(graph: Graph) -> None:
    own = await graph.make("Model", "id isShipped", name="openai/gpt-4o", isEnabled=False)

    page = await models(graph, filter={"name": {"eq": "openai/gpt-4o"}})

    assert own["isShipped"] is False
    assert page["nodes"] == [{"id": own["id"], "name": "openai/gpt-4o", "isUsable": False}]
    assert page["totalCount"] == 1
    assert await state(graph, own["id"]) == (False, "DISABLED", "It is switched off in the catalogue.")
    replaced = "An entry of your own stands in its place."
    assert await state(graph, id_of("openai/gpt-4o")) == (False, "DISABLED", replaced)


async def test_a_tenant_has_its_catalogue_too(graph: Graph) -> None:
    data = await graph.query(
        """{ models(first: 2) { totalCount nodes { id } }
        tenant { models(first: 2, filter: {isUsable: true}) { totalCount nodes { name } } } }"""
    )

    assert data["models"]["totalCount"] == len(shipped())
    assert data["tenant"]["models"] == {
        "totalCount": 3,
        "nodes": [{"name": "simulated/premium"}, {"name": "simulated/regatta"}],
    }


async def test_entries_keys_and_cool_downs_of_another_tenant_change_nothing(graph: Graph) -> None:
    await a_key(graph, b"x")
    await graph.make("Model", name="openai/gpt-4o", isEnabled=False)
    strangers = await strangers_things(graph)

    assert await graph.query("query($id: ID!) { model(id: $id) { id } }", id=strangers["Model"]) == {"model": None}
    assert (await models(graph))["totalCount"] == len(shipped())
    assert {name.partition("/")[0] for name in await names(graph, isUsable=True)} == {"simulated"}
    assert (await state(graph, id_of("openai/gpt-4o")))[1] == "NO_KEY"


async def test_the_whole_list_with_its_states_costs_few_statements(graph: Graph) -> None:
    with counted_statements(graph) as statements:
        await graph.query("{ models(first: 100) { nodes { id name isUsable unusable whyNot } } }")

    assert len(statements) == 4  # what is stored, and the workers: for the list, and for its states


async def test_what_is_stored_makes_the_same_offers_until_it_is_edited(graph: Graph) -> None:
    catalogue = graph.container.services.catalogue
    await graph.make("Model", name="gemini/gemini-2.5-pro", requestsPerMinute=5)  # with finer prices
    await graph.make("Model", name="openai/other", tier="LOCAL")
    await a_key(graph, b"x")
    await a_cool_down(graph, "operator:openai", "openai/gpt-4o")

    first, again = await catalogue.offers(DEFAULT_TENANT), await catalogue.offers(DEFAULT_TENANT)
    await graph.make("Model", name="openai/gpt-4o-mini", promptPrice="9")
    edited = await catalogue.offers(DEFAULT_TENANT)

    assert again is first
    own = {offer.model.name: offer.model for offer in edited if not offer.model.is_shipped}
    shipped_details = find_shipped("gemini/gemini-2.5-pro")
    assert shipped_details
    assert own["gemini/gemini-2.5-pro"].price_details == shipped_details.price_details != {}
    assert own["openai/gpt-4o-mini"].prompt_price == 9


async def test_the_ordinary_executor_gives_the_same_answer(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    query = """query($id: ID!) { models(first: 3) { totalCount nodes { name isUsable whyNot } }
        model(id: $id) { name unusable } tenant { models(first: 1) { nodes { name } } } }"""
    quick = await graph.answer(query, id=id_of("openai/gpt-4o"))

    async def gives_up(*_: Any) -> Any:
        raise NotSimple

    monkeypatch.setattr(BreadthFirst, "run", gives_up)

    assert await graph.answer(query, id=id_of("openai/gpt-4o")) == quick
