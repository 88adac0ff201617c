"""The layers below an execution, each alone, for `executions.py`: LiteLLM, CrewAI as tuned by us, DBOS.

Orders and answers as in `_bare_crew.py`: `{"layer": "litellm", "count": 20}`, where one is what a 3-task execution
needs of that layer:

* crewai: three tasks of the team through our TaskRunner and its threads, with a model that answers in no time;
* litellm: the three model calls that those tasks made, through our client to the model server;
* dbos: one run begun as a workflow and ended, with nothing in between.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from domain.crew import environment

environment.prepare(Path.cwd() / "crewai")  # started in a directory of its own

from app.durable import DurableWorker  # noqa: E402 - crewai and litellm come after `prepare`
from app.seed import INPUTS, ROLES, TASKS  # noqa: E402 - same
from domain.crew.models import LiteLLMClient  # noqa: E402 - same
from domain.crew.runner import CrewTaskRunner  # noqa: E402 - same
from domain.events import ExecutionEvent  # noqa: E402 - same
from domain.model.execution import TaskExecution  # noqa: E402 - same
from domain.model.identity import (  # noqa: E402 - same
    DEFAULT_TENANT,
    AdmissionId,
    ExecutionId,
    ProjectId,
    TeamId,
    new_id,
)
from domain.model.journal import JournalEntry  # noqa: E402 - same
from domain.model.ledger import LedgerEntry  # noqa: E402 - same
from domain.model.role import Role  # noqa: E402 - same
from domain.ports import AdmissionKey, ModelAnswer, ModelRequest, Ownership, RunSink, TaskWork  # noqa: E402 - same
from domain.services.task_work import BETWEEN_OUTPUTS  # noqa: E402 - same
from tests.support.routes import a_route  # noqa: E402 - same

_SECONDS: Final = 60.0


class Nowhere:
    """A RunSink that forgets."""

    def emit(self, event: ExecutionEvent) -> None: ...

    def book(self, entry: LedgerEntry, event: ExecutionEvent) -> None: ...

    def journal(self, entry: JournalEntry) -> None: ...

    async def keep(self, entry: JournalEntry) -> None: ...

    async def settle(self, entry: LedgerEntry, event: ExecutionEvent, journal: JournalEntry | None = None) -> None: ...


class Answering:
    """A ModelGateway whose model needs no time; remembers what it was asked."""

    def __init__(self, answer: str) -> None:
        self.answer = ModelAnswer(answer)
        self.asked: list[ModelRequest] = []

    async def call(self, work: TaskWork, request: ModelRequest, sink: RunSink) -> ModelAnswer:
        del work, sink
        self.asked.append(request)
        return self.answer

    def cancel(self, execution_id: ExecutionId) -> None: ...


class Ended:
    """A RunExecution that is over at once."""

    def __init__(self) -> None:
        self.over = asyncio.Event()

    async def __call__(self, key: AdmissionKey) -> None:
        del key
        self.over.set()


def works(model: str, answer: str) -> list[TaskWork]:
    """The tasks of the team as a run hands them to the runner."""
    team, execution = TeamId(new_id()), ExecutionId(new_id())
    ownership = Ownership(DEFAULT_TENANT, ProjectId(new_id()), execution, 1)
    roles = {
        role.title: Role(
            DEFAULT_TENANT,
            team,
            role.title,
            description=role.description,
            goals=list(role.goals),
            backstory=role.backstory,
        )
        for role in ROLES
    }
    made = []
    for position, task in enumerate(TASKS):
        role = roles[task.role]
        what, result = (text.format(**INPUTS) for text in (task.description, task.expected_output))
        row = TaskExecution(DEFAULT_TENANT, execution, position, task.name, what, result, role.id, role.title)
        context = BETWEEN_OUTPUTS.join([answer] * len(task.depends_on))
        made.append(TaskWork(ownership, team, row, role, [], context, a_route(model), 20, _SECONDS))
    return made


class Layers:
    """All of them on one loop."""

    def __init__(self, model: str, answer: str, database_url: str) -> None:
        self._model = model
        self._answer = answer
        self._nowhere = Nowhere()
        self._gateway = Answering(answer)
        self._client = LiteLLMClient()
        self._runner = CrewTaskRunner(self._gateway, asyncio.get_running_loop())
        self._ended = Ended()
        self._worker = DurableWorker(database_url, self._ended, "layers")

    async def open(self) -> None:
        await self._worker.start()
        await self.crewai()
        self._calls = tuple(self._gateway.asked)

    async def close(self) -> None:
        await self._worker.stop()
        await self._client.close()
        self._runner.close()

    async def crewai(self) -> None:
        self._gateway.asked.clear()
        for work in works(self._model, self._answer):
            assert await self._runner.run(work, self._nowhere) == self._answer

    async def litellm(self) -> None:
        assert len(self._calls) == len(TASKS)
        for request in self._calls:
            assert (await self._client.complete(request, lambda _: None)).text == self._answer

    async def dbos(self) -> None:
        self._ended.over.clear()
        await self._worker.begin(AdmissionKey(DEFAULT_TENANT, ExecutionId(new_id()), AdmissionId(new_id())))
        async with asyncio.timeout(_SECONDS):
            await self._ended.over.wait()


async def serve(options: argparse.Namespace, answers: Any) -> None:
    layers = Layers(options.model, options.answer, options.database_url)
    await layers.open()
    ways: Mapping[str, Callable[[], Awaitable[None]]] = {
        "crewai": layers.crewai,
        "litellm": layers.litellm,
        "dbos": layers.dbos,
    }
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        way = ways[order["layer"]]
        began, spent = time.perf_counter(), time.process_time()
        for _ in range(order["count"]):
            await way()
        measured = {"cpu": time.process_time() - spent, "wall": time.perf_counter() - began}
        print(json.dumps(measured), file=answers, flush=True)
    await layers.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--answer", required=True)
    parser.add_argument("--database-url", required=True, help="a migrated database that no worker serves")
    options = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    import uvloop  # noqa: PLC0415 - only here

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(options, answers))


if __name__ == "__main__":
    main()
