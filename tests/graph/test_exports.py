"""Exports over HTTP: what stands in the files, whom they are for, and what becomes of them on the way."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import psycopg
import pytest
from starlette.applications import Starlette
from starlette.types import Message

from app.execution_rows import COLUMNS
from app.exports import MOST_AT_ONCE, PIECE
from app.main import create_app
from app.settings import Settings
from domain.errors import Unavailable
from domain.model.ledger import CallOutcome
from persistence.engine import Database
from resolvers.node_ids import node_id
from tests.support.graphql import Graph
from tests.support.ledger import an_entry, book
from tests.support.live import SOON, PlayedWorker, archive, served
from tests.support.things import strangers_things, unknown

CSV = "/exports/executions?format=CSV"
LINES = "/exports/executions?format=json_lines"


@pytest.fixture
def settings(database_url: str) -> Settings:
    """A pool of which exports may hold as much as they ever do."""
    return Settings(database_url=database_url, broadcast_url="memory://", pool_size=2 * MOST_AT_ONCE)


@pytest.fixture
def app(settings: Settings) -> Starlette:
    return create_app(settings)


@pytest.fixture
async def graph(app: Starlette) -> AsyncIterator[Graph]:
    async with Graph.over(app) as opened:
        yield opened


async def _csv(graph: Graph, query: str = CSV) -> list[dict[str, str]]:
    answer = await graph.http.get(query)
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text, newline=""), strict=True))


async def _ran(graph: Graph, database: Database) -> str:
    """The id of an execution that failed after two calls: one task is done, one is not."""
    team_id = await graph.ready_team()
    await graph.task(team_id)
    execution_id = await graph.kickoff(team_id)
    worker = await PlayedWorker.on(graph, database, execution_id)
    await worker.starts()
    await book(
        worker,
        an_entry(worker, "0.123456789012"),
        an_entry(worker, "0.000000000001", task=1, outcome=CallOutcome.FAILED),
    )
    await worker.completes(0, "Done.")
    await worker.fails()
    return execution_id


async def _multiply(database: Database, count: int) -> None:
    """So many more executions, each like one that there is."""
    await database.pool.execute(
        "INSERT INTO execution SELECT (jsonb_populate_record(one, jsonb_build_object('id', gen_random_uuid()))).*"
        " FROM execution AS one, generate_series(1, $1) WHERE one.id = (SELECT id FROM execution LIMIT 1)",
        count,
    )


# ---------------------------------------------------------------- what stands in them

FIGURES = """query($id: ID!) { execution(id: $id) { id status createdAt configuration { priority qualityPreference }
    timing { startedAt finishedAt durationSeconds queueWaitSeconds waitedSeconds } failure { code message }
    usage { cost { amount } promptTokens completionTokens calls } budget { spent { amount } } taskExecutions { status }
    team { id name process } project { id name } isCacheHit startedBy } }"""


async def test_a_csv_says_what_the_graph_says(graph: Graph, database: Database) -> None:
    execution_id = await _ran(graph, database)
    told = (await graph.query(FIGURES, id=execution_id))["execution"]
    timing, usage = told["timing"], told["usage"]

    answer = await graph.http.get(CSV)
    [row] = await _csv(graph)

    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith('attachment; filename="executions-')
    assert (answer.headers["cache-control"], answer.headers["x-content-type-options"]) == ("no-store", "nosniff")
    assert list(row) == [column.rpartition(".")[2] for column in COLUMNS]
    assert row == {
        "id": told["id"],
        "teamId": told["team"]["id"],
        "teamName": told["team"]["name"],
        "projectId": told["project"]["id"],
        "projectName": told["project"]["name"],
        "status": "FAILED",
        "process": told["team"]["process"],
        "createdAt": told["createdAt"],
        "startedAt": timing["startedAt"],
        "finishedAt": timing["finishedAt"],
        "durationSeconds": str(timing["durationSeconds"]),
        "queueWaitSeconds": str(timing["queueWaitSeconds"]),
        "waitedSeconds": str(timing["waitedSeconds"]),
        "cost": "0.123456789013",
        "promptTokens": "20",
        "completionTokens": "10",
        "calls": "2",
        "tasksTotal": "2",
        "tasksCompleted": "1",
        "tasksFailed": "0",
        "failureCode": "INTERNAL",
        "failureMessage": "It broke.",
        "retryOf": "",
        "forkedFrom": "",
        "cacheHit": "false",
        "priority": str(told["configuration"]["priority"]),
        "qualityPreference": told["configuration"]["qualityPreference"],
        "startedBy": "",
    }
    assert row["cost"] == usage["cost"]["amount"] == told["budget"]["spent"]["amount"]
    assert (int(row["promptTokens"]), int(row["calls"])) == (usage["promptTokens"], usage["calls"])
    assert [task["status"] for task in told["taskExecutions"]].count("COMPLETED") == int(row["tasksCompleted"])


async def test_json_lines_say_the_same_nested_and_an_execution_that_did_nothing_counts_nothing(
    graph: Graph, database: Database
) -> None:
    ran = await _ran(graph, database)
    retried = await graph.mutate("retryExecution", "execution { id }", executionId=ran)

    answer = await graph.http.get(LINES)
    first, second = map(json.loads, answer.text.splitlines())

    assert answer.headers["content-type"] == "application/x-ndjson"
    assert first["usage"] == {"cost": "0.123456789013", "promptTokens": 20, "completionTokens": 10, "calls": 2}
    assert (second["id"], second["retryOf"], second["status"]) == (retried["execution"]["id"], ran, "QUEUED")
    assert second["usage"] == {"cost": "0", "promptTokens": 0, "completionTokens": 0, "calls": 0}
    assert (second["startedAt"], second["durationSeconds"], second["cacheHit"]) == (None, None, False)


async def test_the_process_is_the_one_that_ran_and_not_the_one_that_the_team_has_now(graph: Graph) -> None:
    team_id = await graph.ready_team()
    await graph.kickoff(team_id)
    changed = await graph.mutate("updateTeam", "team { process }", id=team_id, version=1, process="PARALLEL")

    assert changed["team"] == {"process": "PARALLEL"}
    assert [row["process"] for row in await _csv(graph)] == ["SEQUENTIAL"]


async def test_a_team_that_is_named_like_a_formula_is_only_a_name(graph: Graph) -> None:
    team_id = await graph.team(name='=HYPERLINK("http://evil.example")')
    await graph.role(team_id)
    await graph.kickoff(team_id)

    [row] = await _csv(graph)
    line = json.loads((await graph.http.get(LINES)).text)

    assert row["teamName"] == '\'=HYPERLINK("http://evil.example")'
    assert line["teamName"] == '=HYPERLINK("http://evil.example")'


async def test_an_archived_execution_keeps_its_figures(graph: Graph, database: Database) -> None:
    execution_id = await _ran(graph, database)
    await archive(database, execution_id)

    [row] = await _csv(graph)

    assert (row["id"], row["cost"], row["calls"], row["tasksTotal"]) == (execution_id, "0.123456789013", "2", "2")


# ---------------------------------------------------------------- whom they are for


async def test_things_of_strangers_are_not_exported(graph: Graph) -> None:
    things = await strangers_things(graph)

    for wanted in ("", f"&teamId={things['Team']}", f"&projectId={things['Project']}", f"&teamId={unknown('Team')}"):
        assert await _csv(graph, f"{CSV}{wanted}") == []
        assert (await graph.http.get(f"{LINES}{wanted}")).content == b""


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "http://evil.example"}])
async def test_the_doorkeeper_stands_here_too(graph: Graph, headers: dict[str, str]) -> None:
    answer = await graph.http.get(CSV, headers=headers)

    assert answer.status_code == 403


CLICKED = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document", "sec-fetch-user": "?1"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, 403),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "script"}, 403),
        ({"sec-fetch-site": "cross-site", **CLICKED, "sec-fetch-dest": "iframe"}, 403),
        ({"sec-fetch-site": "cross-site", **CLICKED, "sec-fetch-user": ""}, 403),
        ({"sec-fetch-site": "cross-site", **CLICKED}, 200),
        ({"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}, 200),
        ({"sec-fetch-site": "none", **CLICKED}, 200),
    ],
)
async def test_a_page_of_somebody_else_begins_no_download_without_a_click(
    graph: Graph, headers: dict[str, str], status: int
) -> None:
    assert (await graph.http.get(CSV, headers=headers)).status_code == status


async def test_a_page_that_is_allowed_may_ask_and_is_told_what_the_file_is_called(settings: Settings) -> None:
    page = "https://app.example.org"
    allowed = settings.model_copy(update={"allowed_origins": (page,)})
    async with Graph.over(create_app(allowed)) as graph:
        asked = {"origin": page, "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}
        answer = await graph.http.get(CSV, headers=asked)

    assert answer.status_code == 200
    told = answer.headers["access-control-expose-headers"].split(", ")
    assert {"Content-Disposition", "Retry-After"} <= set(told)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?format=XML",
        "?format=",
        "?format=CSV&teamid=x",
        "?format=CSV&teamId=nonsense",
        "?format=CSV&status=DONE",
        "?format=CSV&status=FAILED&status=QUEUED",
        "?format=CSV&createdAt.gte=yesterday",
        "?format=CSV&createdAt.lt=0001-01-01T00:00:00%2B14:00",
    ],
)
async def test_bad_parameters_are_refused_as_bad_requests_are(graph: Graph, query: str) -> None:
    answer = await graph.http.get(f"/exports/executions{query}")

    assert answer.status_code == 400
    [error] = answer.json()["errors"]
    assert error["message"]
    assert error["extensions"] == {"code": "BAD_REQUEST"}


async def test_nothing_but_get_is_answered(graph: Graph) -> None:
    refused = [await graph.http.request(method, CSV) for method in ("HEAD", "POST", "PUT", "DELETE")]

    assert {answer.status_code for answer in refused} == {405}


# ---------------------------------------------------------------- on the way


@dataclass
class SlowClient:
    """A client that takes a piece of the body when it is told to, over ASGI: nothing between it and the app."""

    app: Starlette
    query: str = "format=JSON_LINES"
    pieces: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)
    takes: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    is_gone: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self) -> "asyncio.Task[None]":
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "path": "/exports/executions",
            "query_string": self.query.encode(),
            "headers": [(b"host", b"127.0.0.1")],
        }
        return asyncio.create_task(self.app(scope, self._receive, self._send))

    async def next(self) -> Message:
        async with asyncio.timeout(SOON):
            return await self.pieces.get()

    async def _receive(self) -> Message:
        await self.is_gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await self.pieces.put(message)
        if message["type"] == "http.response.body":
            await self.takes.acquire()


async def _end(serving: "asyncio.Task[None]") -> None:
    async with asyncio.timeout(SOON):
        await serving


async def _holds_no_connection(graph: Graph) -> None:
    pool = graph.container.database.pool
    async with asyncio.timeout(SOON):
        while pool.get_size() != pool.get_idle_size():  # noqa: ASYNC110 - a pool tells nobody
            await asyncio.sleep(0.01)


@pytest.fixture
async def many(graph: Graph, database: Database) -> int:
    """How many executions there are: more than two batches."""
    await graph.kickoff(await graph.ready_team())
    await _multiply(database, 1100)
    return 1101


async def test_a_file_is_read_in_pieces_and_is_of_one_moment(
    app: Starlette, graph: Graph, database: Database, many: int
) -> None:
    last_id = await database.pool.fetchval(
        "SELECT id FROM execution WHERE id NOT IN (SELECT execution_id FROM task_execution) ORDER BY id DESC LIMIT 1"
    )
    client = SlowClient(app)
    serving = client.begin()
    start, first = await client.next(), await client.next()
    assert start["status"] == 200
    assert client.pieces.empty()  # it waits for the client
    assert PIECE <= len(first["body"]) < 2 * PIECE
    await _multiply(database, 10)
    await database.pool.execute(  # a figure of the last piece changes, too
        "INSERT INTO task_execution SELECT (jsonb_populate_record(one,"
        " jsonb_build_object('id', gen_random_uuid(), 'execution_id', last.id))).* FROM task_execution AS one,"
        " (SELECT id FROM execution WHERE id::text = $1) AS last",
        str(last_id),
    )

    pieces = [first]
    while pieces[-1]["more_body"]:
        client.takes.release()
        pieces.append(await client.next())
    client.takes.release()
    await _end(serving)

    last = pieces.pop()
    found = {row["id"]: row for piece in pieces for row in map(json.loads, piece["body"].splitlines())}
    assert len(found) == many
    assert found[node_id("Execution", last_id)]["tasksTotal"] == 0
    assert last == {"type": "http.response.body", "body": b"", "more_body": False}
    await _holds_no_connection(graph)


@pytest.mark.usefixtures("many")
async def test_a_client_that_goes_away_gives_its_connection_and_its_place_back(app: Starlette, graph: Graph) -> None:
    clients = [SlowClient(app) for _ in range(MOST_AT_ONCE)]
    serving = [client.begin() for client in clients]
    for client in clients:
        await client.next()
        await client.next()
    pool = graph.container.database.pool
    assert pool.get_size() - pool.get_idle_size() == MOST_AT_ONCE

    refused = await graph.http.get(CSV)
    clients[0].is_gone.set()
    await _end(serving[0])
    welcome = await graph.http.get(f"{CSV}&teamId={unknown('Team')}")
    for client in clients:
        client.is_gone.set()
    for each in serving:
        await _end(each)

    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert refused.json()["errors"][0]["extensions"] == {"code": "UNAVAILABLE"}
    assert welcome.status_code == 200
    await _holds_no_connection(graph)


@pytest.mark.usefixtures("many")
async def test_a_file_whose_connection_to_the_database_breaks_is_cut(
    app: Starlette, graph: Graph, database_url: str
) -> None:
    client = SlowClient(app)
    serving = client.begin()
    await client.next()
    await client.next()
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND state = 'idle in transaction'"
        )

    for _ in range(100):  # all that there is room for
        client.takes.release()

    with pytest.raises(Unavailable):
        await _end(serving)
    while not client.pieces.empty():
        assert (await client.next())["more_body"]
    await _holds_no_connection(graph)


class _Breaking:
    """Exports that break, before or behind their first batch."""

    def __init__(self, exports: Any, after: int) -> None:
        self.exports = exports
        self.after = after

    async def executions(self, *asked: Any) -> AsyncGenerator[Any, None]:
        if not self.after:
            raise Unavailable("The database does not answer.")
        async with aclosing(self.exports.executions(*asked)) as batches:
            async for batch in batches:
                yield batch
                raise RuntimeError("broken")


async def test_over_a_socket_a_cut_file_is_no_whole_one_and_what_fails_earlier_is_told(
    app: Starlette, graph: Graph
) -> None:
    await graph.kickoff(await graph.ready_team())
    async with served(app) as client:
        services = client.container.services
        client.container.services = replace(services, exports=_Breaking(services.exports, after=1))
        with pytest.raises(httpx.RemoteProtocolError):
            await client.http.get(CSV)

        client.container.services = replace(services, exports=_Breaking(services.exports, after=0))
        refused = await client.http.get(CSV)

        client.container.services = services
        whole = await client.http.get(CSV)

    assert (refused.status_code, refused.json()["errors"][0]["message"]) == (503, "The database does not answer.")
    assert len(whole.text.splitlines()) == 2
