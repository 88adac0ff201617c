"""The API on a real port in this process, a websocket to it, and a worker's hand on the stored executions."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Self

import httpx
import uvicorn
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from domain.errors import FailureCode
from domain.events import (
    ApprovalRequested,
    ExecutionAwaitingApproval,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionEvent,
    ExecutionFailed,
    ExecutionPaused,
    OutputStreamed,
    TaskCompleted,
    TaskStarted,
)
from domain.model.approval import Approval, ApprovalKind
from domain.model.execution import ExecutionStatus, TaskExecutionStatus
from domain.model.identity import DEFAULT_TENANT, ExecutionId, utc_now
from domain.model.ledger import CallOutcome, LedgerEntry
from domain.ports import AdmissionKey, Change, Claimed, approvals_topic, execution_topic, project_topic
from persistence.engine import Database
from persistence.run_store import SqlRunStore
from resolvers.node_ids import node_id, parse_node_id
from tests.support.graphql import Graph

SOON = 60.0
"""Seconds after which something did not happen."""

PROTOCOL = Subprotocol("graphql-transport-ws")


class _Server(uvicorn.Server):
    """Leaves the signals of this process alone, and tells when it has started."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


@contextlib.asynccontextmanager
async def served(app: Starlette) -> AsyncIterator[Graph]:
    """A client over HTTP of the app behind a real port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, ws="websockets-sansio", lifespan="on", log_config=None, access_log=False)
        server = _Server(config)
        serving = asyncio.create_task(server.serve([listener]))
        try:
            async with asyncio.timeout(SOON):
                await server.is_up.wait()
            port = listener.getsockname()[1]
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=SOON) as http:
                yield Graph(http, app.state.container)
        finally:
            server.should_exit = True
            await serving


class Closed(Exception):
    """The server closed the websocket."""

    def __init__(self, code: int | None, reason: str | None) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


@dataclass
class Socket:
    """A websocket that speaks graphql-transport-ws, one subscription at a time."""

    connection: ClientConnection
    _subscriptions: int = field(default=0)

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, graph: Graph, *, init: bool = True) -> AsyncIterator[Self]:
        url = str(graph.http.base_url).replace("http", "ws", 1).rstrip("/") + "/graphql"
        async with connect(url, subprotocols=[PROTOCOL]) as connection:
            opened = cls(connection)
            if init:
                await opened.send({"type": "connection_init"})
                assert await opened.received() == {"type": "connection_ack"}
            yield opened

    async def send(self, message: object) -> None:
        await self.connection.send(json.dumps(message))

    async def received(self) -> dict[str, Any]:
        """The next message. Raises Closed."""
        from websockets.exceptions import ConnectionClosed  # noqa: PLC0415 - names what only this function knows

        try:
            async with asyncio.timeout(SOON):
                message: dict[str, Any] = json.loads(await self.connection.recv())
        except ConnectionClosed:
            raise Closed(self.connection.close_code, self.connection.close_reason) from None
        return message

    async def begin(self, query: str, /, **variables: Any) -> str:
        """Send an operation; its id."""
        self._subscriptions += 1
        identifier = str(self._subscriptions)
        payload = {"query": query, "variables": variables}
        await self.send({"id": identifier, "type": "subscribe", "payload": payload})
        return identifier

    async def results(self, query: str, /, **variables: Any) -> AsyncIterator[dict[str, Any]]:
        """The payloads of an operation until it is complete; one of `errors` alone when it was refused."""
        identifier = await self.begin(query, **variables)
        while True:
            message = await self.received()
            assert message["id"] == identifier
            if message["type"] == "complete":
                return
            if message["type"] == "error":
                yield {"errors": message["payload"]}
                return
            yield message["payload"]


async def place_for(database: Database, execution_id: ExecutionId, worker_id: str) -> AdmissionKey:
    """Give an execution that waits a place on this worker, past all limits."""
    admission = await database.pool.fetchval(
        "UPDATE admission SET worker_id = $2, admitted_at = now() WHERE execution_id = $1 AND worker_id IS NULL"
        " RETURNING id",
        execution_id,
        worker_id,
    )
    assert admission, "it does not wait for a place"
    return AdmissionKey(DEFAULT_TENANT, execution_id, admission)


async def archive(database: Database, execution: str) -> None:
    """Let an execution that is over be so old that it is archived, whatever its tenant wants."""
    identifier = parse_node_id(execution)[1]
    old = "UPDATE execution SET finished_at = finished_at - interval '36500 days' WHERE id = $1"
    assert await database.pool.execute(old, identifier) == "UPDATE 1"
    assert await database.pool.fetchval("SELECT archive_executions(30000, 1000)") > 0


@dataclass
class PlayedWorker:
    """A worker's writes on one execution, over connections of its own."""

    store: SqlRunStore
    graph: Graph
    claimed: Claimed

    @classmethod
    async def on(cls, graph: Graph, database: Database, execution: str) -> Self:
        store = SqlRunStore(database.pool)
        identifier = ExecutionId(parse_node_id(execution)[1])
        claimed = await store.claim(await place_for(database, identifier, "played"), "played")
        assert claimed
        worker = cls(store, graph, claimed)
        await worker.hint()
        return worker

    async def hint(self) -> None:
        owner = self.claimed.ownership
        topics = [execution_topic(owner.execution_id), project_topic(owner.project_id)]
        await self.graph.container.hints.publish(topics)

    async def write(self, *events: ExecutionEvent, hinted: bool = True, **changes: Any) -> None:
        assert await self.store.commit([Change(self.claimed.ownership, list(events), **changes)]) == [True]
        if hinted:
            await self.hint()

    async def says(self, *texts: str, hinted: bool = True) -> None:
        """Pieces of a model's output."""
        await self.write(*[OutputStreamed(**self._whose, call=1, text=text) for text in texts], hinted=hinted)

    async def starts(self) -> None:
        """Its first task begins."""
        task = self._task
        task.status, task.attempts, task.started_at = TaskExecutionStatus.RUNNING, 1, utc_now()
        await self.write(
            TaskStarted(**self._whose, name=task.name, attempt=1, model="test/model"), task_executions=[task]
        )

    async def finishes(self) -> None:
        """Its first task is done, for 15 tokens and a quarter of a dollar, and the execution with it."""
        task = self._task
        task.status, task.output, task.finished_at = TaskExecutionStatus.COMPLETED, "Done.", utc_now()
        execution = replace(
            self.claimed.execution, status=ExecutionStatus.COMPLETED, output="Done.", finished_at=utc_now()
        )
        cost = Decimal("0.25")
        await self.write(
            TaskCompleted(**self._whose, name=task.name, attempt=1, total_tokens=15, cost_amount=cost),
            ExecutionCompleted(tenant_id=execution.tenant_id, execution_id=execution.id, completed_tasks=1),
            task_executions=[task],
            ledger=[self._entry(cost)],
            execution=execution,
            expected=ExecutionStatus.RUNNING,
        )

    async def pauses(self) -> None:
        """It has heard of the request, and stops at a boundary."""
        paused = replace(self.claimed.execution, status=ExecutionStatus.PAUSED, waiting_from=utc_now())
        event = ExecutionPaused(tenant_id=paused.tenant_id, execution_id=paused.id)
        await self.write(event, execution=paused, expected=ExecutionStatus.RUNNING)

    async def cancels(self) -> None:
        """It has heard of the request, and lets go; no task was done."""
        execution = replace(self.claimed.execution, status=ExecutionStatus.CANCELLED, finished_at=utc_now())
        task = replace(self._task, status=TaskExecutionStatus.CANCELLED, finished_at=utc_now())
        event = ExecutionCancelled(tenant_id=execution.tenant_id, execution_id=execution.id, completed_tasks=0)
        await self.write(event, execution=execution, expected=ExecutionStatus.CANCELLING, task_executions=[task])

    async def fails(self) -> None:
        """It gives the execution up, with whatever its tasks are."""
        code, message = FailureCode.INTERNAL, "It broke."
        failed = replace(
            self.claimed.execution,
            status=ExecutionStatus.FAILED,
            failure_code=code,
            failure_message=message,
            finished_at=utc_now(),
        )
        event = ExecutionFailed(tenant_id=failed.tenant_id, execution_id=failed.id, code=code, message=message)
        await self.write(event, execution=failed, expected=ExecutionStatus.RUNNING)

    async def completes(self, task: int, output: str) -> None:
        """One of its tasks is done, and the execution goes on."""
        done = self.claimed.tasks[task]
        done.status, done.output, done.model, done.attempts = TaskExecutionStatus.COMPLETED, output, "test/model", 1
        done.started_at = done.finished_at = utc_now()
        event = TaskCompleted(**self._whose, name=done.name, attempt=1, total_tokens=0, cost_amount=Decimal(0))
        await self.write(event, task_executions=[done])

    async def asks(self, kind: ApprovalKind, prompt: str, *, task: int = 0, stops: bool = True, **values: Any) -> str:
        """A human is asked about one of its tasks; unless it `stops`, it goes on with others. The approval's id."""
        asked = self.claimed.tasks[task]
        asked.status, asked.attempts, asked.output = TaskExecutionStatus.AWAITING_APPROVAL, 1, prompt
        execution = self.claimed.execution
        approval = Approval(
            execution.tenant_id, execution.project_id, execution.id, asked.id, kind, prompt, 1, **values
        )
        requested = ApprovalRequested(
            tenant_id=execution.tenant_id,
            execution_id=execution.id,
            task_execution_id=asked.id,
            role_id=asked.role_id,
            approval_id=approval.id,
            kind=kind,
            assignee=approval.assignee,
            expires_at=approval.expires_at,
        )
        await self.write(requested, task_executions=[asked], approvals=[approval])
        if stops:
            await self.waits()
        await self.graph.container.hints.publish([approvals_topic(execution.tenant_id)])
        return node_id("Approval", approval.id)

    async def waits(self) -> None:
        """Nothing can be done before a human answers: it leaves its place."""
        waiting = replace(self.claimed.execution, status=ExecutionStatus.AWAITING_APPROVAL, waiting_from=utc_now())
        event = ExecutionAwaitingApproval(tenant_id=waiting.tenant_id, execution_id=waiting.id, open_approvals=1)
        await self.write(event, execution=waiting, expected=ExecutionStatus.RUNNING)

    @property
    def _task(self) -> Any:
        return self.claimed.tasks[0]

    @property
    def _whose(self) -> dict[str, Any]:
        task = self._task
        return {
            "tenant_id": task.tenant_id,
            "execution_id": task.execution_id,
            "task_execution_id": task.id,
            "role_id": task.role_id,
        }

    def _entry(self, cost: Decimal) -> LedgerEntry:
        execution, task = self.claimed.execution, self._task
        return LedgerEntry(
            execution.tenant_id,
            execution.project_id,
            execution.team_id,
            execution.id,
            task.id,
            task.role_id,
            "test/model",
            "test",
            1,
            CallOutcome.SUCCEEDED,
            prompt_tokens=10,
            completion_tokens=5,
            cost=cost,
        )


def types_of(batches: Sequence[dict[str, Any]]) -> list[str]:
    """The types of all events in the payloads of `executionEvents`."""
    return [event["__typename"] for batch in batches for event in batch["data"]["executionEvents"]["events"]]
