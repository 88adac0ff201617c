import asyncio
import atexit
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from domain.crew import environment

_STORAGE = tempfile.mkdtemp(prefix="regatta-crew-")
atexit.register(shutil.rmtree, _STORAGE, ignore_errors=True)
environment.prepare(Path(_STORAGE))

from domain.crew import runner as runner_module  # noqa: E402 - same
from domain.crew.models import LiteLLMClient  # noqa: E402 - crewai and litellm come after `prepare`
from domain.crew.runner import CrewTaskRunner  # noqa: E402 - same
from domain.crew.tools import ToolSettings  # noqa: E402 - same
from domain.crew.tools.addresses import AddressGuard  # noqa: E402 - same
from domain.events import ExecutionEvent  # noqa: E402 - same
from domain.model.execution import TaskExecution  # noqa: E402 - same
from domain.model.identity import (  # noqa: E402 - same
    DEFAULT_TENANT,
    ExecutionId,
    ProjectId,
    TeamId,
    new_id,
)
from domain.model.journal import CallKey, JournalEntry  # noqa: E402 - same
from domain.model.ledger import LedgerEntry  # noqa: E402 - same
from domain.model.role import Role  # noqa: E402 - same
from domain.model.tool import Tool, ToolKind  # noqa: E402 - same
from domain.ports import Ownership, TaskWork  # noqa: E402 - same
from domain.services.model_gateway import GatewayRules, RoutedGateway  # noqa: E402 - same
from tests.support.model_server import ModelServer  # noqa: E402 - same
from tests.support.routes import MODEL, EndlessBudgets, a_model, a_route  # noqa: E402 - same

K = TypeVar("K", bound=ExecutionEvent)
TASK_FIELDS = ("output_schema", "guardrail", "feedback", "output", "kind")
LOOPBACK = frozenset({"127.0.0.1"})


@dataclass
class Journal:
    """A RunSink that keeps what it is given."""

    events: list[ExecutionEvent] = field(default_factory=list)
    entries: list[LedgerEntry] = field(default_factory=list)
    calls: dict[CallKey, JournalEntry] = field(default_factory=dict)
    kept: list[JournalEntry] = field(default_factory=list)

    def emit(self, event: ExecutionEvent) -> None:
        self.events.append(event)

    def book(self, entry: LedgerEntry, event: ExecutionEvent) -> None:
        self.entries.append(entry)
        self.events.append(event)

    def journal(self, entry: JournalEntry) -> None:
        self.calls[entry.key] = entry

    async def keep(self, entry: JournalEntry) -> None:
        self.kept.append(entry)
        self.journal(entry)

    async def settle(self, entry: LedgerEntry, event: ExecutionEvent, journal: JournalEntry | None = None) -> None:
        self.book(entry, event)
        if journal:
            self.journal(journal)

    def of(self, kind: type[K]) -> list[K]:
        return [event for event in self.events if isinstance(event, kind)]


@dataclass
class Stage:
    """A runner on a scripted model server, with the journal of what it did."""

    server: ModelServer
    client: LiteLLMClient
    gateway: RoutedGateway
    runner: CrewTaskRunner
    journal: Journal

    async def run(self, work: TaskWork) -> str:
        return await self.runner.run(work, self.journal)

    @property
    def tool_results(self) -> list[str]:
        """What went back to the model as results of tools, in the last request."""
        return [str(message["content"]) for message in self.server.requests[-1].messages if message["role"] == "tool"]


def work_for(
    *, tools: Sequence[Tool] = (), role: dict[str, Any] | None = None, model: str = MODEL, **more: Any
) -> TaskWork:
    team, execution = TeamId(new_id()), ExecutionId(new_id())
    who = Role(
        DEFAULT_TENANT, team, **{"title": "Analyst", "goals": ["Find out"], "backstory": "Curious", **(role or {})}
    )
    texts: dict[str, Any] = {"description": "Look into it.", "expected_output": "A sentence."}
    texts |= {name: more.pop(name) for name in tuple(more) if name in {*texts, *TASK_FIELDS}}
    task = TaskExecution(
        DEFAULT_TENANT, execution, 0, "Look", role_id=who.id, role_title=who.title, attempts=1, **texts
    )
    ownership = Ownership(DEFAULT_TENANT, ProjectId(new_id()), execution, 1)
    defaults: dict[str, Any] = {
        "context": "",
        "route": a_route(a_model(model), is_pinned=True),
        "max_iterations": 5,
        "timeout_seconds": 120,
    }
    return TaskWork(ownership, team, task, who, tools, **{**defaults, **more})


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def answering(handle: Handler) -> AsyncIterator[str]:
    """The address of a server on loopback; it is left when all its connections are closed, lest a later test pays."""
    busy: set[asyncio.Task[Any]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):  # a client that has enough
            try:
                await handle(reader, writer)
            finally:
                writer.close()
                await writer.wait_closed()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        busy.add(asyncio.ensure_future(answer(reader, writer)))

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await asyncio.gather(*busy)


@pytest.fixture
def a_work() -> Callable[..., TaskWork]:
    return work_for


@pytest.fixture
def a_tool() -> Callable[..., Tool]:
    def made(kind: ToolKind, name: str = "My tool", **configuration: Any) -> Tool:
        return Tool(DEFAULT_TENANT, ProjectId(new_id()), name, kind, configuration=configuration)

    return made


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    async with ModelServer() as running:
        yield running


@pytest.fixture
async def client(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LiteLLMClient]:
    monkeypatch.setenv("OPENAI_API_BASE", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    running = LiteLLMClient(AddressGuard(LOOPBACK))
    yield running
    await running.close()


@pytest.fixture
def files_dir(tmp_path: Path) -> Path:
    return tmp_path / "files"


@pytest.fixture
def tool_settings(files_dir: Path) -> ToolSettings:
    return ToolSettings(allowed_private_hosts=LOOPBACK, files_dir=files_dir, timeout_seconds=30)


@pytest.fixture
async def stage(
    server: ModelServer,
    client: LiteLLMClient,
    journal: Journal,
    tool_settings: ToolSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Stage]:
    monkeypatch.setattr(runner_module, "CLOSING_SECONDS", 30.0)  # whatever is booked then, tests look at
    gateway = RoutedGateway(client, EndlessBudgets(), GatewayRules(attempts=1))
    loop = asyncio.get_running_loop()
    runner = CrewTaskRunner(gateway, loop, threads=4, tools=tool_settings)
    yield Stage(server, client, gateway, runner, journal)
    runner.close()


@pytest.fixture
def settings_of(stage: Stage) -> Iterator[Callable[..., None]]:
    """Changes the tool settings of the stage's runner."""

    def change(**changes: Any) -> None:
        stage.runner = CrewTaskRunner(
            stage.gateway,
            asyncio.get_running_loop(),
            tools=replace(ToolSettings(allowed_private_hosts=LOOPBACK, timeout_seconds=30), **changes),
        )

    yield change
    stage.runner.close()
