"""`regatta demo`: sets the seeded team to work over HTTP and shows it live over the websocket, as any client could.

A server that is already there is used; otherwise one is started for the time of the demo.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import IO, Any, Final

import httpx
from gql import Client, gql
from gql.client import AsyncClientSession
from gql.transport.exceptions import TransportError
from gql.transport.httpx import HTTPXAsyncTransport
from gql.transport.websockets import WebsocketsTransport

from app.complaints import Complaint
from app.demo_view import DemoView, view_for
from app.seed import INPUTS, SeedRefused, ensure_seed
from app.serve import web_address
from app.settings import Settings

SIMULATED_DELAY_SECONDS: Final = 0.03
"""Between two groups of words of the simulated model, so that there is something to see."""

_READY_SECONDS: Final = 180.0
_LOOK_SECONDS: Final = 0.1
_ANSWER_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 10.0
_CANCEL_SECONDS: Final = 2.0
_INTERRUPTED: Final = 130

_KICKOFF: Final = """
mutation DemoKickoff($input: KickoffTeamInput!) {
  kickoffTeam(input: $input) { execution { id } errors { message suggestion } }
}
"""
_CANCEL: Final = """
mutation DemoCancel($id: ID!) { cancelExecution(input: {executionId: $id}) { errors { message } } }
"""
_EVENTS: Final = """
subscription DemoEvents($id: ID!) {
  executionEvents(executionId: $id) {
    cursor
    events {
      __typename
      role { title }
      ... on TaskStarted { name model attempt }
      ... on OutputStreamed { text }
      ... on ToolCalled { tool arguments }
      ... on TaskCompleted { name totalTokens cost { amount currency } }
      ... on TaskFailed { name reason: message willRetry }
    }
  }
}
"""
_PROGRESS: Final = """
subscription DemoProgress($id: ID!) {
  executionProgress(executionId: $id) {
    execution { status }
    roles { title status currentTask doneTasks totalTasks totalTokens cost { amount currency } }
    doneTasks
    totalTasks
    totalTokens
    cost { amount currency }
  }
}
"""
_RESULT: Final = """
query DemoResult($id: ID!) {
  execution(id: $id) {
    status
    output
    failure { code message }
    usage { calls totalTokens cost { amount currency } }
  }
}
"""


class DemoFailed(Complaint):
    """The demo could not be shown; the text says why."""


def run_demo(settings: Settings, product: str | None, audience: str | None) -> int:
    """Run the demo; the exit status is 0 when the execution was completed.

    Raises:
        DemoFailed: the server does not start, or does not answer.
    """
    given = {"product": product, "audience": audience}
    inputs = {**INPUTS, **{name: value for name, value in given.items() if value}}
    try:
        return asyncio.run(_demo(settings, inputs))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return _INTERRUPTED
    except (TransportError, httpx.HTTPError, SeedRefused) as error:
        raise DemoFailed(f"the server did not answer as expected: {error}") from error


async def _demo(settings: Settings, inputs: Mapping[str, str]) -> int:
    began = time.monotonic()
    _end_on_signals()
    view = view_for(settings.model)
    with view:
        view.status("Starting PostgreSQL, the API and a worker, which loads CrewAI")
        async with _server(settings) as address:
            result = await _run(address, inputs, view)
            view.status("Stopping the server")
    view.result(result, time.monotonic() - began)
    return 0 if result["status"] == "COMPLETED" else 1


async def _run(address: str, inputs: Mapping[str, str], view: DemoView) -> Mapping[str, Any]:
    over_http = Client(
        transport=HTTPXAsyncTransport(url=f"{address}/graphql", trust_env=False, timeout=_ANSWER_SECONDS)
    )
    async with over_http as session:
        team_id = await ensure_seed(lambda document, variables: _asked(session, document, variables))
        execution_id = await _kicked_off(session, team_id, inputs)
        try:
            await _follow(address, execution_id, view)
        except asyncio.CancelledError:
            await _cancel(session, execution_id)
            raise
        result: Mapping[str, Any] = (await _asked(session, _RESULT, {"id": execution_id}))["execution"]
        return result


async def _asked(session: AsyncClientSession, document: str, variables: Mapping[str, Any]) -> Mapping[str, Any]:
    request = gql(document)
    request.variable_values = dict(variables)
    return await session.execute(request)


async def _kicked_off(session: AsyncClientSession, team_id: str, inputs: Mapping[str, str]) -> str:
    answer = await _asked(session, _KICKOFF, {"input": {"teamId": team_id, "inputs": dict(inputs)}})
    payload = answer["kickoffTeam"]
    if payload["errors"]:
        raise DemoFailed(f"the kickoff was refused: {payload['errors'][0]['message']}")
    return str(payload["execution"]["id"])


async def _follow(address: str, execution_id: str, view: DemoView) -> None:
    """Both subscriptions over one websocket, until the execution is over."""
    transport = WebsocketsTransport(
        url=f"{address.replace('http', 'ws', 1)}/graphql",
        subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL],
        connect_args={"proxy": None},
    )
    async with Client(transport=transport) as session, asyncio.TaskGroup() as tasks:
        tasks.create_task(_watch(session, _EVENTS, execution_id, view.take_events))
        tasks.create_task(_watch(session, _PROGRESS, execution_id, view.take_progress))


async def _watch(
    session: AsyncClientSession, document: str, execution_id: str, take: Callable[[Mapping[str, Any]], None]
) -> None:
    request = gql(document)
    request.variable_values = {"id": execution_id}
    async for message in session.subscribe(request):
        for answer in message.values():
            take(answer)


async def _cancel(session: AsyncClientSession, execution_id: str) -> None:
    """Otherwise the next worker would go on with it: executions survive a stop."""
    with contextlib.suppress(TransportError, httpx.HTTPError, TimeoutError):
        async with asyncio.timeout(_CANCEL_SECONDS):
            await _asked(session, _CANCEL, {"id": execution_id})
            # Until the worker has ended it: stopped before, it would leave that to the next one.
            while (await _asked(session, _RESULT, {"id": execution_id}))["execution"]["status"] == "CANCELLING":  # noqa: ASYNC110 - the event is in another process
                await asyncio.sleep(_LOOK_SECONDS)


def _end_on_signals() -> None:
    """SIGTERM ends us like Ctrl-C does: with everything that was started."""
    task = asyncio.current_task()
    if task is not None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)


@contextlib.asynccontextmanager
async def _server(settings: Settings) -> AsyncIterator[str]:
    """The address of a server with a worker that is warm."""
    async with httpx.AsyncClient(trust_env=False, timeout=_ANSWER_SECONDS) as client:
        address = web_address(settings)
        if await _is_regatta(client, address):
            await _ready(client, address, lambda: None)
            yield address
            return
        async with _own_server(settings, client) as address:
            yield address


async def _is_regatta(client: httpx.AsyncClient, address: str) -> bool:
    try:
        return bool((await client.get(f"{address}/health/live")).json() == {"status": "alive"})
    except (httpx.HTTPError, ValueError):
        return False


@contextlib.asynccontextmanager
async def _own_server(settings: Settings, client: httpx.AsyncClient) -> AsyncIterator[str]:
    settings = _for_a_demo(settings)
    address = web_address(settings)
    reading, writing = os.pipe()
    with tempfile.TemporaryFile("w+") as log:
        process = await _spawned(settings, reading, log)
        os.close(reading)
        try:
            await _ready(client, address, lambda: _complain_if_ended(process, log))
            yield address
        finally:
            os.close(writing)  # the server's sign to stop, if we are killed
            await _stopped(process)


def _for_a_demo(settings: Settings) -> Settings:
    chosen: dict[str, Any] = {"host": "127.0.0.1", "port": _free_port(), "workers": max(settings.workers, 1)}
    if "log_level" not in settings.model_fields_set:
        chosen["log_level"] = "warning"
    if "simulated_delay_seconds" not in settings.model_fields_set:
        chosen["simulated_delay_seconds"] = SIMULATED_DELAY_SECONDS
    return settings.model_copy(update=chosen)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


async def _spawned(settings: Settings, lifeline: int, log: IO[str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.cli", "serve", "--parent-fd", str(lifeline)),
        env={**os.environ, **settings.environment()},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=log,
        pass_fds=(lifeline,),
        start_new_session=True,  # Ctrl-C is for us; we stop it
    )


def _complain_if_ended(process: asyncio.subprocess.Process, log: IO[str]) -> None:
    if process.returncode is not None:
        log.seek(0)
        raise DemoFailed(f"the server did not start\n{log.read()}".strip())


async def _ready(client: httpx.AsyncClient, address: str, check: Callable[[], None]) -> None:
    """Wait until the database is there and a worker, too; `check` may raise."""
    deadline = time.monotonic() + _READY_SECONDS
    detail = "no answer"
    while time.monotonic() < deadline:
        check()
        with contextlib.suppress(httpx.HTTPError, ValueError):
            answer = (await client.get(f"{address}/health/ready")).json()
            failed = [each["detail"] for each in answer["checks"].values() if not each["ok"]]
            if not failed:
                return
            detail = failed[0]
        await asyncio.sleep(_LOOK_SECONDS)
    raise DemoFailed(f"the server at {address} is not ready: {detail}")


async def _stopped(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
