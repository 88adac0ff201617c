"""Own entries of the model catalogue: made, changed, archived and restored; what ships stays as it is."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest

from app.main import create_app
from app.settings import Settings
from domain.model.catalogue import MOST_ENTRIES, find_shipped, shipped_id
from domain.model.identity import DEFAULT_TENANT
from resolvers.node_ids import node_id, parse_node_id
from tests.support.graphql import Graph
from tests.support.things import nothing_written

SHOWN = """id version name tier promptPrice { amount } completionPrice { amount } cachedPrice { amount } contextWindow
    maxOutputTokens supportsTools supportsJson supportsVision baseUrl routingOrder requestsPerMinute tokensPerMinute
    isEnabled isShipped archivedAt"""
SHIPPED = node_id("Model", shipped_id("openai/gpt-4o"))


async def do(graph: Graph, action: str, **values: Any) -> dict[str, Any]:
    return await graph.mutate(f"{action}Model", f"model {{ {SHOWN} isUsable unusable }}", **values)


async def made(graph: Graph, **values: Any) -> dict[str, Any]:
    return await graph.make("Model", SHOWN, **{"name": "openai/mine", "tier": "STANDARD", **values})


def told(payload: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Where, what and as which type, of a mutation that was refused."""
    assert payload["model"] is None
    return [
        (".".join(error["path"]), error["message"], f"{error['__typename']} {error['code']}")
        for error in payload["errors"]
    ]


async def a_key_of(graph: Graph, identifier: str) -> None:
    await graph.container.database.pool.execute(
        "INSERT INTO credential (tenant_id, id, kind, subject, header, ciphertext, created_at, updated_at)"
        " VALUES ($1, gen_random_uuid(), 'MODEL', $2, '', 'x', now(), now())",
        DEFAULT_TENANT,
        str(parse_node_id(identifier)[1]),
    )


async def keys(graph: Graph) -> int:
    found: int = await graph.container.database.pool.fetchval("SELECT count(*) FROM credential WHERE kind = 'MODEL'")
    return found


async def details(graph: Graph, identifier: str) -> Any:
    statement = "SELECT price_details FROM model WHERE id = $1"
    return await graph.container.database.pool.fetchval(statement, UUID(str(parse_node_id(identifier)[1])))


async def test_a_new_model_has_what_was_given_and_else_the_defaults(graph: Graph) -> None:
    payload = await do(
        graph,
        "create",
        name="openai/mine",
        tier="LOCAL",
        promptPrice="0.000001",
        completionPrice="2.50",
        baseUrl="https://models.example.org/v1",
        requestsPerMinute=60,
        tokensPerMinute=90_000,
        contextWindow=8192,
        routingOrder=5,
    )

    assert payload["errors"] == []
    assert payload["model"].pop("id")
    assert payload["model"] == {
        "version": 1,
        "name": "openai/mine",
        "tier": "LOCAL",
        "promptPrice": {"amount": "0.000001"},
        "completionPrice": {"amount": "2.5"},
        "cachedPrice": None,
        "contextWindow": 8192,
        "maxOutputTokens": None,
        "supportsTools": True,
        "supportsJson": False,
        "supportsVision": False,
        "baseUrl": "https://models.example.org/v1",
        "routingOrder": 5,
        "requestsPerMinute": 60,
        "tokensPerMinute": 90_000,
        "isEnabled": True,
        "isShipped": False,
        "archivedAt": None,
        "isUsable": True,
        "unusable": None,
    }


async def test_an_entry_of_a_shipped_name_takes_over_what_is_left_out(graph: Graph) -> None:
    base = find_shipped("anthropic/claude-haiku-5-5")
    assert base

    limited = await made(graph, name=base.name, tier="STANDARD", requestsPerMinute=7)

    assert limited["requestsPerMinute"] == 7
    assert limited["contextWindow"] == base.context_window
    assert limited["routingOrder"] == base.routing_order
    assert limited["supportsVision"] is True
    assert Decimal(limited["promptPrice"]["amount"]) == base.prompt_price
    assert Decimal(limited["cachedPrice"]["amount"]) == base.cached_price
    assert await details(graph, limited["id"]) == base.price_details != {}


async def test_a_shipped_name_needs_nothing_more_than_the_change(graph: Graph) -> None:
    payload = await do(graph, "create", name="openai/gpt-4o", isEnabled=False)

    assert payload["errors"] == []
    assert (payload["model"]["tier"], payload["model"]["isEnabled"]) == ("PREMIUM", False)
    assert (payload["model"]["isUsable"], payload["model"]["unusable"]) == (False, "DISABLED")


async def test_prices_of_ones_own_hold_for_prompts_of_any_length(graph: Graph) -> None:
    name = "anthropic/claude-haiku-5-5"
    dear = await made(graph, name=name, promptPrice="9")
    assert await details(graph, dear["id"]) == {}

    other = await made(graph, name="gemini/gemini-2.5-pro")
    assert await details(graph, other["id"]) != {}
    await do(graph, "update", id=other["id"], version=1, completionPrice="11")
    assert await details(graph, other["id"]) == {}


async def test_a_price_may_be_unknown_but_only_with_the_other_one(graph: Graph) -> None:
    unknown = await made(graph, name="openai/gpt-4o", promptPrice=None, completionPrice=None, cachedPrice=None)
    assert (unknown["promptPrice"], unknown["completionPrice"]) == (None, None)

    async with nothing_written(graph):
        payload = await do(graph, "create", name="openai/gpt-4.1", promptPrice=None)

    message = "Prices are given for both prompt and completion, or for none."
    assert told(payload) == [("input.completionPrice", message, "Invalid INVALID")]


async def test_a_bad_entry_is_refused_with_every_broken_rule(graph: Graph) -> None:
    async with nothing_written(graph):
        payload = await do(
            graph,
            "create",
            name="anthropic/mine",
            tier="STANDARD",
            promptPrice="-1",
            completionPrice="1000000.1",
            cachedPrice="0.0000001",
            contextWindow=0,
            maxOutputTokens=100_000_001,
            routingOrder=-1,
            requestsPerMinute=0,
            tokensPerMinute=1_000_000_001,
            baseUrl="ftp://user:pass@example.org",
        )

    assert [(path, message) for path, message, _ in told(payload)] == [
        ("input.promptPrice", "Must be between 0 and 1000000."),
        ("input.completionPrice", "Must be between 0 and 1000000."),
        ("input.cachedPrice", "At most 6 decimal digits."),
        ("input.contextWindow", "Must be between 1 and 100000000."),
        ("input.maxOutputTokens", "Must be between 1 and 100000000."),
        ("input.routingOrder", "Must be between 0 and 100000000."),
        ("input.requestsPerMinute", "Must be between 1 and 1000000000."),
        ("input.tokensPerMinute", "Must be between 1 and 1000000000."),
        (
            "input.baseUrl",
            "This is no web address like https://models.example.org/v1, without a user name and a password.",
        ),
        ("input.baseUrl", "Only models of the provider openai have an address of their own."),
    ]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://models.example.org/v1?key=x", "A query or a fragment is not allowed."),
        ("https://models.example.org/v1#x", "A query or a fragment is not allowed."),
        ("https://models.example.org/" + "v" * 2000, "At most 2,000 characters."),
    ],
    ids=["query", "fragment", "long"],
)
async def test_an_address_is_where_paths_are_written_behind(graph: Graph, url: str, message: str) -> None:
    async with nothing_written(graph):
        payload = await do(graph, "create", name="openai/mine", tier="STANDARD", baseUrl=url)

    assert [(path, words) for path, words, _ in told(payload)] == [("input.baseUrl", message)]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "gpt-4o",
        "openai/",
        "os.environ/SECRET",
        "openai/" + "n" * 200,
        "openai/nul\u0000",
        "gemini/../x",
        "openai/a?b",
    ],
)
async def test_what_is_no_name_is_refused(graph: Graph, name: str) -> None:
    async with nothing_written(graph):
        payload = await do(graph, "create", name=name, tier="LOCAL")

    message = "A name is a provider and a model, like “openai/gpt-4o-mini”."
    assert told(payload) == [("input.name", message, "Invalid INVALID")]


@pytest.mark.parametrize("name", ["bedrock/claude", "vertex_ai/gemini", "github_copilot/gpt-4o", "sagemaker/x"])
async def test_providers_that_take_ambient_credentials_are_refused(graph: Graph, name: str) -> None:
    async with nothing_written(graph):
        payload = await do(graph, "create", name=name, tier="PREMIUM")

    [(path, message, kind)] = told(payload)
    assert (path, kind) == ("input.name", "Invalid INVALID")
    assert message.startswith(f"Models of the provider {name.partition('/')[0]!r} cannot be used;")


async def test_a_name_that_does_not_ship_needs_a_tier(graph: Graph) -> None:
    async with nothing_written(graph):
        payload = await do(graph, "create", name="openai/mine")

    message = "No model of this name ships with Regatta, so it needs a tier."
    assert told(payload) == [("input.tier", message, "Invalid INVALID")]


@pytest.mark.parametrize("field", ["tier", "supportsTools", "supportsJson", "supportsVision", "isEnabled"])
async def test_what_needs_a_value_cannot_be_null(graph: Graph, field: str) -> None:
    own = await made(graph)

    async with nothing_written(graph):
        create = await do(graph, "create", **{"name": "openai/other", "tier": "LOCAL", field: None})
        update = await do(graph, "update", id=own["id"], version=1, **{field: None})

    expected = [(f"input.{field}", "This may be left out, but it cannot be null.", "Invalid INVALID")]
    assert (told(create), told(update)) == (expected, expected)


async def test_a_name_is_unique_among_what_is_in_use(graph: Graph) -> None:
    first = await made(graph)
    async with nothing_written(graph):
        payload = await do(graph, "create", name="openai/mine", tier="LOCAL")
    assert told(payload) == [("input.name", "Another model has this name already.", "Conflict NAME_TAKEN")]

    await do(graph, "archive", id=first["id"])
    await made(graph)
    restored = await do(graph, "restore", id=first["id"])

    assert told(restored) == [("input.name", "Another model has this name already.", "Conflict NAME_TAKEN")]


async def test_an_update_changes_what_is_given_and_nothing_else(graph: Graph) -> None:
    own = await made(graph, promptPrice="1", completionPrice="2", contextWindow=10, maxOutputTokens=5)

    payload = await do(graph, "update", id=own["id"], version=1, tier="PREMIUM", contextWindow=None, isEnabled=False)

    changed = {"version": 2, "tier": "PREMIUM", "contextWindow": None, "isEnabled": False}
    assert payload["errors"] == []
    assert {key: value for key, value in payload["model"].items() if key in own} == {**own, **changed}


async def test_an_update_of_an_older_version_is_refused(graph: Graph) -> None:
    own = await made(graph)
    await do(graph, "update", id=own["id"], version=1, isEnabled=False)

    async with nothing_written(graph):
        payload = await do(graph, "update", id=own["id"], version=1, isEnabled=True)

    assert [error["code"] for error in payload["errors"]] == ["STALE_VERSION"]


@pytest.mark.parametrize("action", ["update", "archive", "restore"])
async def test_what_ships_cannot_be_changed_and_the_message_says_how_else(graph: Graph, action: str) -> None:
    values: dict[str, Any] = {"version": 0, "isEnabled": False} if action == "update" else {}

    async with nothing_written(graph):
        payload = await do(graph, action, id=SHIPPED, **values)

    message = "This entry ships with Regatta: change it by making one of the same name with createModel."
    assert told(payload) == [("input.id", message, "Invalid INVALID")]


async def test_an_archived_entry_gives_its_place_back_and_can_be_restored(graph: Graph) -> None:
    own = await made(graph, name="openai/gpt-4o", tier="LOCAL")

    archived = await do(graph, "archive", id=own["id"])
    assert archived["model"]["archivedAt"]
    assert archived["model"]["unusable"] == "DISABLED"
    assert (await tier_of(graph, "openai/gpt-4o")) == ["PREMIUM"]

    refused = await do(graph, "update", id=own["id"], version=2, isEnabled=False)
    assert [error["code"] for error in refused["errors"]] == ["ARCHIVED"]

    restored = await do(graph, "restore", id=own["id"])
    assert restored["model"]["archivedAt"] is None
    assert (await tier_of(graph, "openai/gpt-4o")) == ["LOCAL"]


async def tier_of(graph: Graph, name: str) -> list[str]:
    query = "query($name: String!) { models(filter: {name: {eq: $name}}) { nodes { tier } } }"
    return [node["tier"] for node in (await graph.query(query, name=name))["models"]["nodes"]]


async def test_a_key_goes_with_the_address_that_it_was_given_for(graph: Graph) -> None:
    own = await made(graph, baseUrl="https://one.example.org/v1")
    other = await made(graph, name="openai/other", baseUrl="https://one.example.org/v1")
    await a_key_of(graph, own["id"])
    await a_key_of(graph, other["id"])

    await do(graph, "update", id=own["id"], version=1, baseUrl="https://one.example.org/v1", tier="LOCAL")
    assert await keys(graph) == 2
    await do(graph, "update", id=own["id"], version=1, baseUrl="https://two.example.org/v1")  # stale: refused
    assert await keys(graph) == 2
    await do(graph, "update", id=own["id"], version=2, baseUrl="https://two.example.org/v1")
    assert await keys(graph) == 1
    await do(graph, "archive", id=other["id"])
    assert await keys(graph) == 0


PRIVATE = ["127.0.0.1", "127.0.0.1:11434", "10.1.2.3:8000", "[::1]:8000", "169.254.169.254", "localhost:8000"]


@pytest.mark.parametrize("host", [*PRIVATE, "LOCALHOST.", "models.localhost", "[::ffff:10.0.0.1]"])
async def test_a_private_address_needs_the_operators_leave(graph: Graph, host: str) -> None:
    own = await made(graph)
    async with nothing_written(graph):
        new = await do(graph, "create", name="openai/near", tier="LOCAL", baseUrl=f"http://{host}/v1")
        changed = await do(graph, "update", id=own["id"], version=1, baseUrl=f"http://{host}/v1")

    message = "This is not on the public internet; the operator can allow it with REGATTA_ALLOWED_PRIVATE_HOSTS."
    assert told(new) == told(changed) == [("input.baseUrl", message, "Invalid INVALID")]


async def test_private_addresses_that_the_operator_allows_are_taken(settings: Settings) -> None:
    allowed = settings.model_copy(update={"allowed_private_hosts": ("10.1.2.3:8000", "localhost", "[::1]:8000")})
    async with Graph.over(create_app(allowed)) as graph:
        for host in ("10.1.2.3:8000", "localhost:1234", "[::1]:8000"):
            own = await made(graph, name=f"openai/{host}".replace("[", "").replace("]", ""), baseUrl=f"http://{host}")
            assert own["baseUrl"]
        refused = await do(graph, "create", name="openai/x", tier="LOCAL", baseUrl="http://10.1.2.3:8001")
        assert [error["path"] for error in refused["errors"]] == [["input", "baseUrl"]]


async def test_a_tenant_has_at_most_500_entries_in_use(graph: Graph) -> None:
    first = await made(graph)
    await _fill(graph, MOST_ENTRIES - 2)
    await made(graph, name="openai/last")

    async with nothing_written(graph):
        one_more = await do(graph, "create", name="openai/one-more", tier="LOCAL")
    changed = await do(graph, "update", id=first["id"], version=1, isEnabled=False)
    await do(graph, "archive", id=first["id"])
    instead = await do(graph, "create", name="openai/one-more", tier="LOCAL")
    back = await do(graph, "restore", id=first["id"])

    refusal = [
        ("input.name", f"A tenant has at most {MOST_ENTRIES} entries of its own: archive some.", "Invalid INVALID")
    ]
    assert told(one_more) == refusal
    assert changed["errors"] == instead["errors"] == []
    assert told(back) == refusal


async def _fill(graph: Graph, count: int) -> None:
    """So many copies of the one entry there is, under other names."""
    url = graph.container.settings.database_url
    assert url
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(
            "CREATE TEMP TABLE more AS SELECT model.* FROM model, generate_series(1, %s) WHERE name = 'openai/mine'",
            [count],
        )
        owner.execute("UPDATE more SET id = gen_random_uuid(), name = 'openai/' || gen_random_uuid()")
        owner.execute("INSERT INTO model SELECT * FROM more")
