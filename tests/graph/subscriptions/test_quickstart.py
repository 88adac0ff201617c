"""docs/quickstart.md: its operations are accepted one after the other, and its client takes each event once."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from graphql import OperationDefinitionNode, parse

from domain.model.approval import ApprovalKind
from persistence.engine import Database
from tests.support.generations import composer
from tests.support.graphql import Graph
from tests.support.live import PlayedWorker, Socket

DOCUMENT = (Path(__file__).parents[3] / "docs" / "quickstart.md").read_text("utf-8")
OPERATIONS = re.findall(r"```graphql\n(.*?)```", DOCUMENT, re.DOTALL)


def _name_of(operation: str) -> str:
    [definition] = parse(operation).definitions
    assert isinstance(definition, OperationDefinitionNode)
    assert definition.name
    return definition.name.value


class Newcomer:
    """Somebody who carries the operations out in order, with the ids of earlier answers."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.ids: dict[str, str] = {}
        self._left = list(OPERATIONS)

    def next(self, name: str) -> str:
        """The next operation of the document, which has to be the one of this name."""
        operation = re.sub(r"\b[A-Z_]+_ID\b", lambda match: self.ids[match[0]], self._left.pop(0))
        assert _name_of(operation) == name
        return operation

    async def does(self, *names: str) -> dict[str, Any]:
        """Carries out the next operations; the data of the last. Nothing may be refused."""
        data: dict[str, Any] = {}
        for name in names:
            data = await self.graph.query(self.next(name))
            for alias, payload in data.items():
                if "errors" in payload:
                    assert payload["errors"] == []
                    thing = next(value for field, value in payload.items() if field != "errors")
                    self.ids[f"{alias.upper()}_ID"] = thing["id"]
        return data

    def is_done(self) -> bool:
        return not self._left


async def _kickoff(newcomer: Newcomer) -> str:
    return await newcomer.graph.kickoff(newcomer.ids["TEAM_ID"], inputs={"topic": "tides"}, whenBusy="PARALLEL")


async def test_the_operations_of_the_quickstart_are_accepted_in_their_order(live: Graph, database: Database) -> None:
    newcomer = Newcomer(live)
    await newcomer.does("Project", "Team", "Roles", "FirstTasks")
    article = (await newcomer.does("LastTask"))["article"]["task"]
    kicked = (await newcomer.does("Kickoff"))["execution"]["execution"]
    assert {task["name"] for task in article["dependsOn"]} == {"Facts", "Readers"}
    assert [task["name"] for task in kicked["taskExecutions"]] == ["Facts", "Readers", "Article"]

    worker = await PlayedWorker.on(live, database, kicked["id"])
    async with Socket.to(live) as socket:
        watched = await anext(socket.results(newcomer.next("Watch")))
    assert [event["type"] for event in watched["data"]["executionEvents"]["events"]] == [
        "ExecutionQueued",
        "ExecutionStarted",
    ]

    await worker.completes(0, "Facts.")
    await worker.completes(1, "Questions.")
    await worker.asks(ApprovalKind.TASK, "The article.", task=2)
    [asked] = (await newcomer.does("Inbox"))["approvals"]["nodes"]
    assert asked["taskExecution"] == {"name": "Article"}
    newcomer.ids["APPROVAL_ID"] = asked["id"]
    assert (await newcomer.does("Approve"))["approved"]["approval"]["status"] == "APPROVED"
    tasks = (await newcomer.does("Result"))["execution"]["taskExecutions"]
    waiting = await newcomer.does("Waiting")
    assert [node["id"] for node in waiting["execution"]["team"]["executions"]["nodes"]] == [kicked["id"]]

    newcomer.ids["FAILED_ID"] = await _kickoff(newcomer)
    await (await PlayedWorker.on(live, database, newcomer.ids["FAILED_ID"])).fails()
    newcomer.ids["FACTS_EXECUTION_ID"] = tasks[0]["id"]
    await newcomer.does("Retry")
    forked = (await newcomer.does("Fork"))["other"]["execution"]["taskExecutions"]
    assert [task["status"] for task in forked] == ["REUSED", "REUSED", "PENDING"]

    newcomer.ids["RUNNING_ID"] = await _kickoff(newcomer)
    worker = await PlayedWorker.on(live, database, newcomer.ids["RUNNING_ID"])
    await newcomer.does("Pause")
    await worker.pauses()
    query = "query($id: ID!) { execution(id: $id) { taskExecutions { id } } }"
    rows = (await live.query(query, id=newcomer.ids["RUNNING_ID"]))["execution"]["taskExecutions"]
    newcomer.ids["PENDING_TASK_ID"] = rows[2]["id"]
    changed = await newcomer.does("Change")
    assert changed["changed"]["taskExecution"]["description"] == "Write a poem about tides."
    assert changed["resumed"]["execution"]["status"] == "RUNNING"

    [template] = (await newcomer.does("Templates"))["tenant"]["templates"]["nodes"]
    newcomer.ids["TEMPLATE_ID"] = template["id"]
    reporters = (await newcomer.does("Instantiate"))["reporters"]["team"]
    assert (reporters["name"], len(reporters["roles"]) > 1) == ("Reporters", True)

    await newcomer.does("Generate")
    newcomer.ids["GENERATION_ID"] = newcomer.ids["GENERATED_ID"]
    await (await composer(live, database)).proposes()
    async with Socket.to(live) as socket:
        proposed = await anext(socket.results(newcomer.next("Composing")))
    assert proposed["data"]["generationProgress"]["proposal"]["name"] == "Press office"
    accepted = (await newcomer.does("Accept"))["accepted"]["team"]
    assert [role["title"] for role in accepted["roles"]] == ["Writer", "Editor", "Critic"]
    assert newcomer.is_done()


def _client() -> Any:
    """`follow` of the document."""
    [sample] = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    names: dict[str, Any] = {"__name__": "sample"}
    exec(sample, names)  # noqa: S102 - our own documentation
    return names["follow"]


class Line:
    """A way to the API that can be cut."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.calls = 0
        self._ends: list[asyncio.StreamWriter] = []

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls += 1
        from_api, to_api = await asyncio.open_connection("127.0.0.1", self.port)
        self._ends = [writer, to_api]
        await asyncio.gather(_copy(reader, to_api), _copy(from_api, writer))

    def cut(self) -> None:
        for end in self._ends:
            end.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def test_the_client_of_the_quickstart_takes_each_event_once_although_its_line_is_cut(
    live: Graph, database: Database
) -> None:
    execution_id = await live.kickoff(await live.ready_team())
    worker = await PlayedWorker.on(live, database, execution_id)
    line, shown, has_begun = Line(live.http.base_url.port or 0), [], asyncio.Event()

    def show(event: dict[str, Any]) -> None:
        shown.append(event["sequence"])
        has_begun.set()

    async with await asyncio.start_server(line.carry, "127.0.0.1", 0) as way:
        port = way.sockets[0].getsockname()[1]
        following = asyncio.create_task(_client()(f"ws://127.0.0.1:{port}/graphql", execution_id, show))
        async with asyncio.timeout(20):
            await has_begun.wait()
            line.cut()
            await worker.starts()
            await worker.says("Hel", "lo.")
            await worker.finishes()
            await following

    assert shown == [1, 2, 3, 4, 5, 6, 7]
    assert line.calls == 2


async def test_the_client_of_the_quickstart_does_not_try_for_ever_what_is_refused(live: Graph) -> None:
    port = live.http.base_url.port

    with pytest.raises(Exception, match="There is no execution with this id"):
        await asyncio.wait_for(_client()(f"ws://127.0.0.1:{port}/graphql", "nonsense", print), 20)
