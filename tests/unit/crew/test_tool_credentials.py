"""Tools' credentials on their way to MCP servers: to the right address alone, and into no event, error or log."""

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import pytest
import uvicorn
from mcp.server.fastmcp import FastMCP
from starlette.types import ASGIApp, Receive, Scope, Send

from app.vault import FernetVault, new_key
from domain.crew.runner import CrewTaskRunner
from domain.crew.tools import ToolSettings
from domain.crew.tools.mcp_servers import McpServer
from domain.errors import FailureCode, RunFailed, Unavailable
from domain.model.credential import Credential, CredentialKind
from domain.model.identity import DEFAULT_TENANT, TenantId, ToolId, utc_now
from domain.model.project import Project
from domain.model.tool import Tool, ToolKind
from domain.ports import TaskWork, ToolSecret
from persistence.engine import Database
from persistence.secrets_reader import SqlToolSecrets
from persistence.unit_of_work import SqlUnitsOfWork
from tests.support.model_server import Text, ToolCall
from tests.unit.crew.conftest import LOOPBACK, Stage

Works = Callable[..., TaskWork]
Tools = Callable[..., Tool]
TOKEN = "tok-4eC39HqLyjWDarjtT1zdp7dc"
SECRET = f"Bearer {TOKEN}"
OPEN = ToolSettings(allowed_private_hosts=LOOPBACK, timeout_seconds=30)


class Secrets:
    """ToolSecrets from a dict; raises, or hangs, when it is told to."""

    def __init__(self, *secrets: tuple[Tool, ToolSecret], failure: Exception | None = None) -> None:
        self.secrets = {tool.id: secret for tool, secret in secrets}
        self.failure = failure
        self.hangs = False
        self.asked: list[tuple[TenantId, tuple[ToolId, ...]]] = []

    async def of(self, tenant_id: TenantId, tool_ids: Sequence[ToolId]) -> Mapping[ToolId, ToolSecret]:
        self.asked.append((tenant_id, tuple(tool_ids)))
        if self.hangs:
            await asyncio.Event().wait()
        if self.failure:
            raise self.failure
        return {tool_id: self.secrets[tool_id] for tool_id in tool_ids if tool_id in self.secrets}


def secret_for(tool: Tool, header: str = "Authorization", secret: str = SECRET) -> tuple[Tool, ToolSecret]:
    return tool, ToolSecret(header, secret, str(tool.configuration["url"]))


@pytest.fixture
def entrusted(stage: Stage) -> Iterator[Callable[[Secrets], None]]:
    """Gives secrets to the stage's runner."""

    def change(secrets: Secrets) -> None:
        stage.runner.close()
        loop = asyncio.get_running_loop()
        stage.runner = CrewTaskRunner(stage.gateway, loop, tools=OPEN, secrets=secrets)

    yield change
    stage.runner.close()


# ---------------------------------------------------------------- servers


@contextmanager
def an_mcp_server(transport: str, header: str) -> Iterator[tuple[str, list[str | None]]]:
    """A real one; with what each request to it has in the header."""
    seen: list[str | None] = []
    server = FastMCP("boats")

    @server.tool()
    def rowers(boat: str) -> str:
        """How many people sit in a boat."""
        return f"{boat}: 8"

    inner = server.streamable_http_app() if transport == "streamable-http" else server.sse_app()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    config = uvicorn.Config(_noting(inner, header, seen), log_level="error", ws="none", timeout_graceful_shutdown=1)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    path = "mcp" if transport == "streamable-http" else "sse"
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/{path}", seen
    finally:
        running.should_exit = True
        thread.join()
        listener.close()


def _noting(app: ASGIApp, header: str, seen: list[str | None]) -> ASGIApp:
    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            found = headers.get(header.lower().encode())
            seen.append(found.decode() if found else None)
        await app(scope, receive, send)

    return noting


class TellTale(BaseHTTPRequestHandler):
    """Speaks just enough MCP to repeat what it was sent, or redirects to another place."""

    seen: list[dict[str, str]]
    redirect: str

    def do_POST(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.seen.append(headers)
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.redirect:
            self._answer(307, b"", ("location", self.redirect))
        elif "id" not in asked:
            self._answer(202, b"")
        else:
            result = self._result(asked, headers.get("authorization", "nothing"))
            body = json.dumps({"jsonrpc": "2.0", "id": asked["id"], **result}).encode()
            self._answer(200, body, ("content-type", "application/json"))

    def _result(self, asked: dict[str, Any], said: str) -> dict[str, Any]:
        if asked["method"] == "initialize":
            server = {"name": said, "version": "1"}
            return {"result": {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": server}}
        if asked["method"] == "tools/list":
            properties = {"way": {"type": "string", "description": f"I was sent {said}"}}
            schema = {"type": "object", "properties": properties}
            return {"result": {"tools": [{"name": "t", "description": f"Got {said}!", "inputSchema": schema}]}}
        if asked["params"]["arguments"]["way"] == "error":
            return {"error": {"code": -32000, "message": f"I do not like {said}"}}
        text = f"I was sent {said}, that is {said.partition(' ')[2]}"
        is_error = asked["params"]["arguments"]["way"] == "fail"
        return {"result": {"content": [{"type": "text", "text": text}], "isError": is_error}}

    def do_GET(self) -> None:
        self._answer(405, b"")

    def _answer(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for header in (*headers, ("content-length", str(len(body)))):
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def a_telltale(redirect: str = "") -> Iterator[tuple[str, list[dict[str, str]]]]:
    seen: list[dict[str, str]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("One", (TellTale,), {"seen": seen, "redirect": redirect}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/mcp", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# ---------------------------------------------------------------- to the server


@pytest.mark.parametrize(
    ("transport", "header"), [("streamable-http", "Authorization"), ("streamable-http", "X-Api-Key"), ("sse", "X-Key")]
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_every_request_to_the_server_has_the_credential(
    stage: Stage, entrusted: Callable[[Secrets], None], a_work: Works, a_tool: Tools, transport: str, header: str
) -> None:
    with an_mcp_server(transport, header) as (url, seen):
        tool, calculator = a_tool(ToolKind.MCP_SERVER, "Boats", url=url), a_tool(ToolKind.CALCULATOR, "Sums")
        secrets = Secrets(secret_for(tool, header))
        entrusted(secrets)
        stage.server.script(ToolCall("rowers", {"boat": "eight"}), Text("Done."))

        output = await stage.run(a_work(tools=[tool, calculator]))

    assert output == "Done."
    assert stage.tool_results == ["eight: 8"]
    assert len(seen) >= 4
    assert set(seen) == {SECRET}
    assert secrets.asked == [(DEFAULT_TENANT, (tool.id,))]


async def test_without_mcp_servers_nobody_is_asked_for_secrets(
    stage: Stage, entrusted: Callable[[Secrets], None], a_work: Works, a_tool: Tools
) -> None:
    secrets = Secrets(failure=Unavailable("must not be asked"))
    entrusted(secrets)
    stage.server.script(Text("Done."))

    assert await stage.run(a_work(tools=[a_tool(ToolKind.CALCULATOR, "Sums")])) == "Done."
    assert secrets.asked == []


@pytest.mark.parametrize("now", ["https://mcp.example.org/now", "{url}/v2"])
async def test_a_run_that_knows_an_older_address_does_not_send_the_credential_there(
    stage: Stage, entrusted: Callable[[Secrets], None], a_work: Works, a_tool: Tools, now: str
) -> None:
    with a_telltale() as (url, seen):
        tool = a_tool(ToolKind.MCP_SERVER, "Boats", url=url)
        entrusted(Secrets((tool, ToolSecret("Authorization", SECRET, now.format(url=url)))))
        stage.server.script(Text("Done."))

        await stage.run(a_work(tools=[tool]))

    assert seen
    assert all("authorization" not in headers for headers in seen)


@pytest.mark.parametrize("transport", ["streamable-http", "sse"])
async def test_a_redirect_takes_the_credential_to_no_other_place(
    stage: Stage, entrusted: Callable[[Secrets], None], a_work: Works, a_tool: Tools, transport: str
) -> None:
    with a_telltale() as (elsewhere, seen_elsewhere), a_telltale(elsewhere) as (url, seen):
        tool = a_tool(ToolKind.MCP_SERVER, "Boats", url=url, transport=transport)
        entrusted(Secrets(secret_for(tool)))

        with pytest.raises(RunFailed) as caught:
            await stage.run(a_work(tools=[tool]))

    assert caught.value.code is FailureCode.TOOL_FAILED
    assert [headers["authorization"] for headers in seen] == [SECRET] * len(seen)
    assert TOKEN not in json.dumps(seen_elsewhere)


async def test_even_a_client_that_follows_redirects_keeps_the_credential_at_its_origin(a_tool: Tools) -> None:
    with a_telltale() as (elsewhere, seen_elsewhere), a_telltale(elsewhere) as (url, seen):
        tool = a_tool(ToolKind.MCP_SERVER, "Boats", url=url)
        server = McpServer.of(tool, OPEN, secret_for(tool)[1])

        async def post(allowance: Any) -> None:
            message = {"jsonrpc": "2.0", "id": 1, "method": "initialize"}
            async with server._client(allowance) as client:  # noqa: SLF001 - what the library is given
                await client.post(url, json=message, follow_redirects=True)

        await server._in_time(post)  # noqa: SLF001 - same

    assert [headers.get("authorization") for headers in seen] == [SECRET]
    assert [headers.get("authorization") for headers in seen_elsewhere] == [None]


# ---------------------------------------------------------------- never shown


def everything_told(stage: Stage) -> str:
    """All that went into the journal and to the model."""
    events = [repr(event) for event in stage.journal.events]
    return "\n".join([*events, *map(repr, stage.journal.entries), *(str(it.body) for it in stage.server.requests)])


@pytest.mark.parametrize("way", ["say", "fail", "error"])
async def test_a_server_that_repeats_the_credential_is_not_quoted(
    stage: Stage,
    entrusted: Callable[[Secrets], None],
    a_work: Works,
    a_tool: Tools,
    caplog: pytest.LogCaptureFixture,
    way: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    with a_telltale() as (url, seen):
        tool = a_tool(ToolKind.MCP_SERVER, "Boats", url=url)
        entrusted(Secrets(secret_for(tool)))
        stage.server.script(ToolCall("t", {"way": way}), Text("Done."))

        await stage.run(a_work(tools=[tool]))

    told = everything_told(stage)
    assert {headers.get("authorization") for headers in seen} == {SECRET}
    assert TOKEN not in told
    assert "Got …!" in told
    assert ("Error:" in stage.tool_results[0]) is (way != "say")
    # The library logs what servers send; `configure_logging` lets nothing of that through.
    logged = [record.getMessage() for record in caplog.records if not record.name.startswith("mcp")]
    assert TOKEN not in "\n".join(logged)


async def test_a_server_that_cannot_be_used_is_told_without_the_credential(
    stage: Stage, entrusted: Callable[[Secrets], None], a_work: Works, a_tool: Tools
) -> None:
    tool = a_tool(ToolKind.MCP_SERVER, "Boats", url="http://127.0.0.1:1/mcp")
    entrusted(Secrets(secret_for(tool)))

    with pytest.raises(RunFailed) as caught:
        await stage.run(a_work(tools=[tool]))

    assert caught.value.code is FailureCode.TOOL_FAILED
    assert TOKEN not in "".join(_texts_of(caught.value))


def _texts_of(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        yield repr(error)
        yield from (text for inner in getattr(error, "exceptions", ()) for text in _texts_of(inner))
        error = error.__cause__ or error.__context__


def test_nothing_that_holds_a_secret_shows_it() -> None:
    tool = Tool(DEFAULT_TENANT, Project(DEFAULT_TENANT, "P").id, "T", ToolKind.MCP_SERVER, configuration={"url": "u"})
    secret = secret_for(tool)[1]

    assert TOKEN not in repr(secret)
    assert TOKEN not in repr(McpServer("T", "u", "sse", OPEN, secret))


# ---------------------------------------------------------------- when it cannot be had


async def test_a_vault_or_a_database_that_does_not_answer_fails_the_task_before_any_call(
    stage: Stage, entrusted: Callable[[Secrets], None], a_work: Works, a_tool: Tools
) -> None:
    tool = a_tool(ToolKind.MCP_SERVER, "Boats", url="http://127.0.0.1:1/mcp")
    entrusted(Secrets(failure=Unavailable("The database does not answer.")))

    with pytest.raises(RunFailed) as caught:
        await stage.run(a_work(tools=[tool]))

    assert (caught.value.code, caught.value.retryable) == (FailureCode.TOOL_FAILED, True)
    assert caught.value.message == "The database does not answer."
    assert stage.server.received == 0


async def test_waiting_for_secrets_is_part_of_the_task_s_time(
    stage: Stage, entrusted: Callable[[Secrets], None], a_work: Works, a_tool: Tools
) -> None:
    secrets = Secrets()
    secrets.hangs = True
    entrusted(secrets)

    with pytest.raises(RunFailed) as caught:
        await stage.run(a_work(tools=[a_tool(ToolKind.MCP_SERVER, url="http://127.0.0.1:1/mcp")], timeout_seconds=0.05))

    assert caught.value.code is FailureCode.TASK_TIMEOUT


# ---------------------------------------------------------------- from the database


VAULT = FernetVault([new_key()])


async def stored(
    database: Database, url: str, secret: str | None = SECRET, *, bound_to: str | None = None, **changes: Any
) -> Tool:
    """A tool with its credential, in a project of its own."""
    project = Project(DEFAULT_TENANT, f"P {uuid4()}")
    tool = Tool(DEFAULT_TENANT, project.id, "T", ToolKind.MCP_SERVER, configuration={"url": url}, **changes)
    async with SqlUnitsOfWork(database.engine)(DEFAULT_TENANT) as unit:
        await unit.projects.add(project)
        await unit.tools.add(tool)
        if secret:
            credential = Credential(DEFAULT_TENANT, CredentialKind.TOOL, str(tool.id), b"", "X-Key")
            credential.ciphertext = VAULT.lock(DEFAULT_TENANT, credential.binding_at(bound_to or url), secret)
            await unit.credentials.keep(credential)
        await unit.commit()
    return tool


async def test_the_secrets_of_tools_in_use_are_opened_with_their_headers_and_addresses(database: Database) -> None:
    one, two = await stored(database, "https://a.example/mcp"), await stored(database, "https://b.example", "other")
    without = await stored(database, "https://c.example", None)
    archived = await stored(database, "https://d.example", archived_at=utc_now())
    unasked = await stored(database, "https://e.example")
    reader = SqlToolSecrets(database.pool, VAULT)

    found = await reader.of(DEFAULT_TENANT, [one.id, two.id, without.id, archived.id, ToolId(uuid4())])
    strangers = await reader.of(TenantId(uuid4()), [one.id, two.id, unasked.id])

    assert found == {
        one.id: ToolSecret("X-Key", SECRET, "https://a.example/mcp"),
        two.id: ToolSecret("X-Key", "other", "https://b.example"),
    }
    assert strangers == {}


async def test_a_secret_that_was_given_for_another_address_does_not_open(database: Database) -> None:
    tool = await stored(database, "https://evil.example/mcp", bound_to="https://a.example/mcp")

    with pytest.raises(Unavailable, match="it belongs to something else"):
        await SqlToolSecrets(database.pool, VAULT).of(DEFAULT_TENANT, [tool.id])


async def test_a_database_that_is_gone_is_unavailable(database: Database) -> None:
    await database.close()

    with pytest.raises(Unavailable):
        await SqlToolSecrets(database.pool, VAULT).of(DEFAULT_TENANT, [ToolId(uuid4())])
