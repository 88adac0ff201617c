"""Credentials: secrets go in, are stored encrypted, and come out nowhere: no field, no error, no log."""

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from app.main import create_app
from app.observability import configure_logging
from app.settings import Settings
from app.vault import FernetVault, new_key
from domain.model.credential import Credential, CredentialKind
from domain.model.identity import DEFAULT_TENANT
from domain.services.credentials import MAX_CREDENTIALS
from persistence.repositories.credentials import CredentialsTable
from resolvers.node_ids import parse_node_id
from tests.support.graphql import Graph
from tests.support.things import nothing_written, strangers_things, unknown

SECRET = "sk-4eC39HqLyjWDarjtT1zdp7dc"
KEY = new_key()
SHOWN = "id kind provider header createdAt updatedAt tool { id name } model { id name }"
ALL = f"{{ tenant {{ credentials {{ {SHOWN} }} }} }}"
NODE = f"query($id: ID!) {{ node(id: $id) {{ __typename id ... on Credential {{ {SHOWN} }} }} }}"


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(database_url=database_url, broadcast_url="memory://", pool_size=5, secret_key=KEY)


async def a_tool(graph: Graph, name: str = "Boats", **values: Any) -> dict[str, Any]:
    given = {"kind": "MCP_SERVER", "configuration": {"url": "https://mcp.example.org/mcp"}, **values}
    return await graph.make("Tool", "id version", projectId=await graph.project(), name=name, **given)


async def a_model(graph: Graph, name: str = "openai/own") -> str:
    made = await graph.make("Model", name=name, tier="STANDARD", baseUrl="https://models.example.org/v1")
    return str(made["id"])


async def kept(graph: Graph, mutation: str, **values: Any) -> dict[str, Any]:
    """The credential that a mutation has to accept."""
    payload = await graph.mutate(mutation, f"credential {{ {SHOWN} }}", **values)
    assert payload["errors"] == [], payload["errors"]
    credential: dict[str, Any] = payload["credential"]
    return credential


async def credentials(graph: Graph) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await graph.query(ALL))["tenant"]["credentials"]
    return found


async def stored_secrets(graph: Graph) -> dict[str, str]:
    """What is stored, by kind and subject, opened with the deployment's key for the address that it is bound to."""
    vault = FernetVault([KEY])
    rows = await graph.container.database.pool.fetch("SELECT * FROM credential")
    urls = {
        str(row["id"]): row["configuration"].get("url")
        for row in await graph.container.database.pool.fetch("SELECT id, configuration FROM tool")
    }
    urls |= {
        str(row["id"]): row["base_url"] or ""
        for row in await graph.container.database.pool.fetch("SELECT id, base_url FROM model")
    }
    return {
        f"{row['kind']} {row['subject']}": vault.unlock(
            row["tenant_id"],
            f"{row['kind']}:{row['subject']}" + ("" if row["kind"] == "PROVIDER" else f"@{urls[row['subject']]}"),
            row["ciphertext"],
        )
        for row in rows
    }


def uuid_in(global_id: str) -> str:
    return str(parse_node_id(global_id)[1])


# ---------------------------------------------------------------- what is accepted


async def test_a_provider_key_is_stored_encrypted_and_replaced_in_place(graph: Graph) -> None:
    first = await kept(graph, "setProviderKey", provider="openai", key="sk-first-one")
    second = await kept(graph, "setProviderKey", provider="openai", key=f"  {SECRET} ")

    assert (first["kind"], first["provider"], first["header"]) == ("PROVIDER", "openai", "")
    assert (first["tool"], first["model"]) == (None, None)
    assert (second["id"], second["createdAt"]) == (first["id"], first["createdAt"])
    assert second["updatedAt"] > first["updatedAt"]
    assert await credentials(graph) == [second]
    assert await stored_secrets(graph) == {"PROVIDER openai": SECRET}


async def test_a_model_of_one_s_own_has_a_key_of_its_own(graph: Graph) -> None:
    model_id = await a_model(graph)

    made = await kept(graph, "setModelKey", modelId=model_id, key=SECRET)

    assert (made["kind"], made["provider"]) == ("MODEL", None)
    assert made["model"] == {"id": model_id, "name": "openai/own"}
    assert await stored_secrets(graph) == {f"MODEL {uuid_in(model_id)}": SECRET}


async def test_a_tool_s_credential_goes_into_authorization_or_another_header(graph: Graph) -> None:
    tool = await a_tool(graph)

    plain = await kept(graph, "setToolCredential", toolId=tool["id"], secret=f"Bearer {SECRET}")
    other = await kept(graph, "setToolCredential", toolId=tool["id"], secret=SECRET, header="X-Api-Key")

    assert (plain["kind"], plain["header"], plain["tool"]) == (
        "TOOL", "Authorization", {"id": tool["id"], "name": "Boats"},
    )  # fmt: skip
    assert (other["id"], other["header"]) == (plain["id"], "X-Api-Key")
    assert await stored_secrets(graph) == {f"TOOL {uuid_in(tool['id'])}": SECRET}


async def test_a_removed_credential_is_gone(graph: Graph) -> None:
    made = await kept(graph, "setProviderKey", provider="mistral", key=SECRET)

    removed = await kept(graph, "removeCredential", id=made["id"])
    again = await graph.mutate("removeCredential", "credential { id }", id=made["id"])

    assert removed == made
    assert [(error["code"], error["path"]) for error in again["errors"]] == [("NOT_FOUND", ["input", "id"])]
    assert await credentials(graph) == []
    assert (await graph.query(NODE, id=made["id"]))["node"] is None


async def test_all_credentials_are_listed_and_found_again_without_their_secrets(graph: Graph) -> None:
    tool, model_id = await a_tool(graph), await a_model(graph)
    made = [
        await kept(graph, "setModelKey", modelId=model_id, key=SECRET),
        await kept(graph, "setProviderKey", provider="anthropic", key=SECRET),
        await kept(graph, "setProviderKey", provider="xai", key=SECRET),
        await kept(graph, "setToolCredential", toolId=tool["id"], secret=SECRET),
    ]

    assert await credentials(graph) == made
    for each in made:
        assert (await graph.query(NODE, id=each["id"]))["node"] == {"__typename": "Credential", **each}
    assert SECRET not in json.dumps(made)


async def test_the_schema_has_no_field_for_a_secret(graph: Graph) -> None:
    found = await graph.query('{ __type(name: "Credential") { fields { name } } }')

    names = {field["name"] for field in found["__type"]["fields"]}
    assert names == {"id", "kind", "provider", "model", "tool", "header", "createdAt", "updatedAt"}


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "secret",
    ["", "   ", "k" * 10_001, "sk-\u00e9", "sk-\n", "sk-\u0000", "os.environ/OPENAI_API_KEY", "  os.environ/HOME"],
)
async def test_what_can_be_no_secret_is_refused_without_being_quoted(graph: Graph, secret: str) -> None:
    tool, model_id = await a_tool(graph), await a_model(graph)

    async with nothing_written(graph):
        answers = [
            await graph.mutate("setProviderKey", "credential { id }", provider="openai", key=secret),
            await graph.mutate("setModelKey", "credential { id }", modelId=model_id, key=secret),
            await graph.mutate("setToolCredential", "credential { id }", toolId=tool["id"], secret=secret),
        ]

    places = [(error["code"], error["path"][-1]) for answer in answers for error in answer["errors"]]
    assert places == [("INVALID", "key"), ("INVALID", "key"), ("INVALID", "secret")]
    told = json.dumps([error["message"] for answer in answers for error in answer["errors"]])
    assert "OPENAI_API_KEY" not in told
    assert "k" * 100 not in told


@pytest.mark.parametrize("provider", ["simulated", "ollama", "ollama_chat", "bedrock", "", "OpenAI", SECRET])
async def test_only_providers_that_take_a_key_have_one(graph: Graph, provider: str) -> None:
    async with nothing_written(graph):
        payload = await graph.mutate("setProviderKey", "credential { id }", provider=provider, key="openai")

    [error] = payload["errors"]
    assert (error["code"], error["path"]) == ("INVALID", ["input", "provider"])
    assert error["message"].startswith("This is no provider that takes a key; these are: anthropic, cohere, ")
    assert SECRET not in json.dumps(payload)


@pytest.mark.parametrize(
    "header",
    ["", "X Key", "X:Key", "X-Kéy", "X-Key\r\nHost", "h" * 101, "Host", "content-type", "Connection",
     "Accept-Encoding", "TE", "Transfer-Encoding", "Mcp-Session-Id", "Proxy-Authorization"],
)  # fmt: skip
async def test_only_a_header_of_one_s_own_is_taken(graph: Graph, header: str) -> None:
    tool = await a_tool(graph)

    async with nothing_written(graph):
        payload = await graph.mutate(
            "setToolCredential", "credential { id }", toolId=tool["id"], secret=SECRET, header=header
        )

    assert [(error["code"], error["path"]) for error in payload["errors"]] == [("INVALID", ["input", "header"])]


async def test_only_mcp_servers_in_use_have_credentials(graph: Graph) -> None:
    sums = await a_tool(graph, "Sums", kind="CALCULATOR", configuration={})
    archived = await a_tool(graph)
    await graph.mutate("archiveTool", "tool { id }", id=archived["id"])

    async with nothing_written(graph):
        answers = [
            await graph.mutate("setToolCredential", "credential { id }", toolId=each, secret=SECRET)
            for each in (sums["id"], archived["id"], unknown("Tool"), unknown("Role"), "nonsense")
        ]

    codes = [answer["errors"][0]["code"] for answer in answers]
    assert codes == ["INVALID", "ARCHIVED", "NOT_FOUND", "NOT_FOUND", "NOT_FOUND"]
    assert {tuple(answer["errors"][0]["path"]) for answer in answers} == {("input", "toolId")}


async def test_only_own_entries_in_use_have_keys(graph: Graph) -> None:
    shipped = (await graph.query('{ models(filter: {name: {eq: "simulated/regatta"}}) { nodes { id } } }'))["models"]
    archived = await a_model(graph)
    await graph.mutate("archiveModel", "model { id }", id=archived)

    async with nothing_written(graph):
        answers = [
            await graph.mutate("setModelKey", "credential { id }", modelId=each, key=SECRET)
            for each in (shipped["nodes"][0]["id"], archived, unknown("Model"), unknown("Tool"))
        ]

    assert [answer["errors"][0]["code"] for answer in answers] == ["NOT_FOUND", "ARCHIVED", "NOT_FOUND", "NOT_FOUND"]
    assert {tuple(answer["errors"][0]["path"]) for answer in answers} == {("input", "modelId")}
    assert "entries of your own" in answers[0]["errors"][0]["suggestion"]


async def test_a_tenant_has_at_most_a_thousand(graph: Graph) -> None:
    await graph.container.database.pool.execute(
        "INSERT INTO credential SELECT $1, gen_random_uuid(), 'TOOL', gen_random_uuid()::text, 'Authorization', '',"
        " now(), now(), NULL FROM generate_series(1, $2)",
        DEFAULT_TENANT,
        MAX_CREDENTIALS,
    )

    async with nothing_written(graph):
        payload = await graph.mutate("setProviderKey", "credential { id }", provider="openai", key=SECRET)

    assert [error["message"] for error in payload["errors"]] == ["There are at most 1000 credentials."]


async def test_two_that_take_the_last_place_at_once_do_not_both_get_it(graph: Graph) -> None:
    await graph.container.database.pool.execute(
        "INSERT INTO credential SELECT $1, gen_random_uuid(), 'TOOL', gen_random_uuid()::text, 'Authorization', '',"
        " now(), now(), NULL FROM generate_series(1, $2)",
        DEFAULT_TENANT,
        MAX_CREDENTIALS - 1,
    )

    units = graph.container.services.secrets.units
    async with units(DEFAULT_TENANT) as one, units(DEFAULT_TENANT) as other:
        for unit, provider in ((one, "openai"), (other, "groq")):
            await unit.credentials.keep(Credential(DEFAULT_TENANT, CredentialKind.PROVIDER, provider, b"x"))
        first = await one.credentials.count()
        waiting = asyncio.create_task(other.credentials.count())
        await one.commit()
        second = await waiting

    assert (first, second) == (MAX_CREDENTIALS, MAX_CREDENTIALS + 1)


async def test_nothing_of_another_tenant_is_seen_changed_or_removed(graph: Graph) -> None:
    tool, model_id = await a_tool(graph), await a_model(graph)
    theirs = [
        await kept(graph, "setProviderKey", provider="openai", key=SECRET),
        await kept(graph, "setModelKey", modelId=model_id, key=SECRET),
        await kept(graph, "setToolCredential", toolId=tool["id"], secret=SECRET),
    ]
    await strangers_things(graph)

    async with nothing_written(graph):
        removed = [await graph.mutate("removeCredential", "credential { id }", id=each["id"]) for each in theirs]
        model = await graph.mutate("setModelKey", "credential { id }", modelId=model_id, key=SECRET)
        used = await graph.mutate("setToolCredential", "credential { id }", toolId=tool["id"], secret=SECRET)

    assert {answer["errors"][0]["code"] for answer in [*removed, model, used]} == {"NOT_FOUND"}
    assert await credentials(graph) == []
    assert [(await graph.query(NODE, id=each["id"]))["node"] for each in theirs] == [None, None, None]
    own = await kept(graph, "setProviderKey", provider="openai", key="sk-of-my-own")
    assert own["id"] not in {each["id"] for each in theirs}


# ---------------------------------------------------------------- a secret does not follow a tool to another address


async def test_a_tool_that_moves_to_another_address_loses_its_credential(graph: Graph) -> None:
    tool = await a_tool(graph)
    await kept(graph, "setToolCredential", toolId=tool["id"], secret=SECRET)

    await graph.mutate(
        "updateTool",
        "tool { id }",
        id=tool["id"],
        version=1,
        name="Ships",
        configuration={"url": "https://mcp.example.org/mcp", "transport": "sse"},
    )
    stays = await credentials(graph)
    stale = await graph.mutate(
        "updateTool", "tool { id }", id=tool["id"], version=1, configuration={"url": "https://evil.example.org/mcp"}
    )
    stays_too = await credentials(graph)
    moved = await graph.mutate(
        "updateTool", "tool { id }", id=tool["id"], version=2, configuration={"url": "https://evil.example.org/mcp"}
    )

    assert [each["header"] for each in stays] == ["Authorization"]
    assert stale["errors"][0]["code"] == "STALE_VERSION"
    assert stays_too == stays
    assert moved["errors"] == []
    assert await credentials(graph) == []


async def test_an_archived_tool_loses_its_credential_for_good(graph: Graph) -> None:
    tool = await a_tool(graph)
    await kept(graph, "setToolCredential", toolId=tool["id"], secret=SECRET)

    await graph.mutate("archiveTool", "tool { id }", id=tool["id"])
    archived = await credentials(graph)
    await graph.mutate("restoreTool", "tool { id }", id=tool["id"])

    assert archived == await credentials(graph) == []


async def test_a_copy_of_a_tool_has_no_credential(graph: Graph) -> None:
    tool = await a_tool(graph)
    await kept(graph, "setToolCredential", toolId=tool["id"], secret=SECRET)

    copy = await graph.mutate("duplicateTool", "tool { id }", id=tool["id"])

    assert copy["errors"] == []
    assert [each["tool"]["id"] for each in await credentials(graph)] == [tool["id"]]


# ---------------------------------------------------------------- malformed requests


PROVIDER_KEY = "mutation($input: SetProviderKeyInput!) { setProviderKey(input: $input) { errors { message } } }"
TOOL_SECRET = "mutation($input: SetToolCredentialInput!) { setToolCredential(input: $input) { errors { message } } }"
WRONG_VARIABLES: list[tuple[str, Any]] = [
    (PROVIDER_KEY, {"input": SECRET}),
    (PROVIDER_KEY, {"input": [{"key": SECRET}]}),
    (PROVIDER_KEY, {"input": {"key": SECRET}}),
    (PROVIDER_KEY, {"input": {"provider": None, "key": SECRET}}),
    (PROVIDER_KEY, {"input": {"provider": 5, "key": SECRET}}),
    (PROVIDER_KEY, {"input": {"provider": "openai", "key": [SECRET]}}),
    (PROVIDER_KEY, {"input": {"provider": "openai", "key": {"value": SECRET}}}),
    (PROVIDER_KEY, {"input": {"provider": "openai", "secret": SECRET}}),
    (PROVIDER_KEY, {"input": {"provider": "openai", "keys": SECRET}}),
    (PROVIDER_KEY, {"input": {"provider": "openai", "key": SECRET, SECRET: 1}}),
    (PROVIDER_KEY, {"input": {"provider": "openai", "key": "k", f"{SECRET}', found: {SECRET}": 1}}),
    (PROVIDER_KEY, {"input": {"provider": "openai", "key": "k", f"x'. Did you mean 'key'? Found: {SECRET}": 1}}),
    (PROVIDER_KEY, {"input": {"provider": "openai", "key": f"{SECRET}\n\"'{SECRET}", "x": 1}}),
    (PROVIDER_KEY, {"input": {"provider": "openai", "key": 0.4}, "other": SECRET}),
    (TOOL_SECRET, {"input": {"toolId": {"id": SECRET}, "secret": SECRET}}),
    (TOOL_SECRET, {"input": {"toolId": "x", "secret": SECRET, "header": [SECRET]}}),
    ("mutation($input: ToolFilter) { __typename }", {"input": {"kind": {"in": [SECRET]}}}),
    ("query($at: DateTime) { __typename }", {"at": SECRET}),
    ("query($n: Int, $b: Boolean) { __typename }", {"n": SECRET, "b": SECRET}),
    ("query($amount: Decimal) { __typename }", {"amount": SECRET}),
]
PLAIN = SECRET.replace("-", "_")
WRONG_DOCUMENTS = [
    f'mutation {{ setProviderKey(input: "{SECRET}") {{ __typename }} }}',
    f'mutation {{ setProviderKey(input: {{key: "{SECRET}"}}) {{ __typename }} }}',
    f'mutation {{ setProviderKey(input: {{provider: "openai", key: ["{SECRET}"]}}) {{ __typename }} }}',
    f'mutation {{ setProviderKey(input: {{provider: "openai", key: {PLAIN}}}) {{ __typename }} }}',
    f'mutation {{ setProviderKey(input: {{provider: "openai", key {PLAIN}}}) {{ __typename }} }}',
    f'mutation {{ setProviderKey(input: {{provider: "openai", key: {SECRET}}}) {{ __typename }} }}',
    f'mutation {{ setProviderKey(input: {{provider: "openai", keys: "{SECRET}"}}) {{ __typename }} }}',
    f'mutation {{ setProviderKey(input: {{provider: "openai", {PLAIN}: 1}}) {{ __typename }} }}',
    f'mutation {{ setProviderKey(input: {{provider: "openai", key: "k", {PLAIN}: 1, {PLAIN}: 1}}) {{ __typename }} }}',
    f'mutation {{ setProviderKey(input: {{provider: "openai" "{SECRET}"}}) {{ __typename }} }}',
    f'mutation {{ setProviderKey(input: {{provider: "openai" """{SECRET}"""}}) {{ __typename }} }}',
    f'mutation {{ setProviderKey(input: {{provider: "openai", key: "{SECRET}}}) {{ __typename }} }}',
    f'mutation {{ setProviderKey(key: "{SECRET}") {{ __typename }} }}',
    f'mutation($input: SetProviderKeyInput = {{key: "{SECRET}"}}) {{ setProviderKey(input: $input) {{ __typename }} }}',
    f'mutation($input: SetProviderKeyInput! = "{SECRET}") {{ setProviderKey(input: $input) {{ __typename }} }}',
    f'mutation {{ createTool(input: {{projectId: "p", name: "n", kind: {PLAIN}}}) {{ __typename }} }}',
    f'query {{ node(id: "{SECRET}") @skip(if: "{SECRET}") {{ id }} }}',
    f'query {{ tenant {{ projects(first: "{SECRET}") {{ totalCount }} }} }}',
    f'query {{ nodes(ids: [{{a: "{SECRET}"}}]) {{ id }} }}',
    f'"{SECRET}"',
    f'query {{ node(id: "x") {{ id }} }} "{SECRET}"',
    f"{PLAIN}",
]


def nothing_of(secret: str, *texts: str) -> None:
    """Fails when the secret, or most of it, stands in a text."""
    for text in texts:
        for form in (secret, secret.replace("-", "_"), secret[3:]):
            assert form not in text, text


@pytest.mark.parametrize(("document", "variables"), WRONG_VARIABLES)
async def test_no_answer_and_no_log_repeats_what_a_wrong_variable_holds(
    graph: Graph,
    document: str,
    variables: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)

    response = await graph.http.post("/graphql", json={"query": document, "variables": variables})

    assert response.json()["errors"]
    nothing_of(SECRET, response.text, caplog.text, *capfd.readouterr())


@pytest.mark.parametrize("document", WRONG_DOCUMENTS)
async def test_no_answer_and_no_log_repeats_what_a_wrong_document_holds(
    graph: Graph, document: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)

    response = await graph.http.post("/graphql", json={"query": document})

    assert response.json()["errors"]
    nothing_of(SECRET, response.text, caplog.text, *capfd.readouterr())


async def test_an_error_still_says_what_is_wrong_and_where(graph: Graph) -> None:
    wrong = {"provider": "openai", "keyz": SECRET, "x-y": 1}

    answer = await graph.answer(PROVIDER_KEY, input=wrong)

    at = "Variable '$input' has invalid value: Expected value of type 'SetProviderKeyInput'"
    assert [error["message"] for error in answer["errors"]] == [
        f"{at} to include required field 'key'.",
        f"{at} not to include unknown field 'keyz'. Did you mean 'key'?",
        f"{at} not to include unknown field.",
    ]


@pytest.fixture
def logging_as_it_was() -> Iterator[None]:
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers, root.level
    dbos = logging.getLogger("dbos")
    its_handlers, its_filters, propagates = dbos.handlers, list(dbos.filters), dbos.propagate
    levels = {name: logging.getLogger(name).level for name in logging.root.manager.loggerDict}
    yield
    root.handlers, root.level = handlers, level
    dbos.handlers, dbos.filters, dbos.propagate = its_handlers, its_filters, propagates
    for name, its in levels.items():
        logging.getLogger(name).setLevel(its)
    structlog.configure(**before)


@pytest.mark.parametrize("form", ["console", "json"])
@pytest.mark.usefixtures("logging_as_it_was")
async def test_a_fault_of_ours_is_logged_without_the_secret(
    graph: Graph, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], form: str
) -> None:
    async def break_down(*_: object) -> None:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(CredentialsTable, "keep", break_down)
    configure_logging("debug", form)

    answer = await graph.answer(PROVIDER_KEY, input={"provider": "openai", "key": SECRET})

    logged = "".join(capfd.readouterr())
    assert answer["errors"][0]["message"] == "Unexpected error"
    assert "broken on purpose" in logged
    nothing_of(SECRET, json.dumps(answer), logged)


async def test_a_secret_that_is_accepted_is_in_no_log(
    graph: Graph, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    tool = await a_tool(graph)

    await kept(graph, "setProviderKey", provider="openai", key=SECRET)
    await kept(graph, "setToolCredential", toolId=tool["id"], secret=f"Bearer {SECRET}")

    nothing_of(SECRET, caplog.text, *capfd.readouterr())


async def test_without_a_key_of_the_server_nothing_is_taken(database_url: str) -> None:
    settings = Settings(database_url=database_url, broadcast_url="memory://", pool_size=5)
    async with Graph.over(create_app(settings)) as graph, nothing_written(graph):
        payload = await graph.mutate("setProviderKey", "credential { id }", provider="openai", key=SECRET)

    [error] = payload["errors"]
    assert (error["__typename"], error["code"]) == ("Refused", "UNAVAILABLE")
    assert error["suggestion"] == "The operator sets REGATTA_SECRET_KEY to what `regatta secret-key` prints."
