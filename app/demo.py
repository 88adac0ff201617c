"""`regatta demo`: sets the seeded team to work over HTTP and shows it live over the websocket, as any client could.

A server that is already there is used; otherwise one is started for the time of the demo.
"""

import asyncio
import contextlib
import os
import shlex
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
from app.demo_view import ROUTED, DemoView, view_for
from app.seed import INPUTS, SeedRefused, ensure_seed
from app.serve import web_address
from app.settings import PREFIX, Settings

SIMULATED_DELAY_SECONDS: Final = 0.03
"""Between two groups of words of the simulated model, so that there is something to see."""

_READY_SECONDS: Final = 180.0
_LOOK_SECONDS: Final = 0.1
_ANSWER_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 10.0
_CANCEL_SECONDS: Final = 2.0
_INTERRUPTED: Final = 130
_MODEL_VARIABLES: Final = (f"{PREFIX}MODEL", f"{PREFIX}SIMULATED_")

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
      ... on RoutingDecided { call decision { model reason } }
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


class _Interrupted(Exception):
    """Ctrl-C while the team was at work; the text says what became of the execution."""


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
    _end_on_signals()
    async with httpx.AsyncClient(trust_env=False, timeout=_ANSWER_SECONDS) as client:
        found = await _is_regatta(client, web_address(settings))
        view = view_for(None if found else settings.model or ROUTED)
        server = _found_server(settings, client, view) if found else _own_server(settings, client, view)
        try:
            result, starting, working = await _shown(server, inputs, view)
        except (_Interrupted, asyncio.CancelledError) as interruption:
            became = [str(interruption)] if str(interruption) else []
            view.note(f"Interrupted: {', '.join([*became, _left(found=found)])}.")
            return _INTERRUPTED
    view.result(result, starting, working)
    view.note(f"See it in GraphiQL: {f'{web_address(settings)}/graphql' if found else _make_run(settings)}")
    return 0 if result["status"] == "COMPLETED" else 1


async def _shown(
    server: contextlib.AbstractAsyncContextManager[str], inputs: Mapping[str, str], view: DemoView
) -> tuple[Mapping[str, Any], float, float]:
    """The result, the seconds until a worker was ready, and those of the team's work."""
    began = time.monotonic()
    with view:
        async with server as address:
            ready = time.monotonic()
            result = await _run(address, inputs, view)
            done = time.monotonic()
    return result, ready - began, done - ready


def _left(*, found: bool) -> str:
    return "the server goes on, for it was there before" if found else "the server is stopped"


def _make_run(settings: Settings) -> str:
    """The command that serves the data of this demo."""
    is_known = settings.data_dir == Settings.model_fields["data_dir"].default or f"{PREFIX}DATA_DIR" in os.environ
    return "make run" if is_known else f'make run ARGS="--data-dir {shlex.quote(str(settings.data_dir))}"'


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
            is_over = await _cancel(session, execution_id)
            raise _Interrupted(f"the execution {'was' if is_over else 'could not be'} cancelled") from None
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


async def _cancel(session: AsyncClientSession, execution_id: str) -> bool:
    """Whether it ended in time. Not cancelled, the next worker would go on with it: executions survive a stop."""
    with contextlib.suppress(TransportError, httpx.HTTPError, TimeoutError):
        async with asyncio.timeout(_CANCEL_SECONDS):
            await _asked(session, _CANCEL, {"id": execution_id})
            # Until the worker has ended it: stopped before, it would leave that to the next one.
            while (await _asked(session, _RESULT, {"id": execution_id}))["execution"]["status"] == "CANCELLING":  # noqa: ASYNC110 - the event is in another process
                await asyncio.sleep(_LOOK_SECONDS)
            return True
    return False


def _end_on_signals() -> None:
    """SIGTERM ends us like Ctrl-C does: with everything that was started."""
    task = asyncio.current_task()
    if task is not None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)


async def _is_regatta(client: httpx.AsyncClient, address: str) -> bool:
    try:
        return bool((await client.get(f"{address}/health/live")).json() == {"status": "alive"})
    except (httpx.HTTPError, ValueError):
        return False


@contextlib.asynccontextmanager
async def _found_server(settings: Settings, client: httpx.AsyncClient, view: DemoView) -> AsyncIterator[str]:
    """The address of the server that is already there, once it has a worker that is warm."""
    address = web_address(settings)
    view.note(f"Using the server at {address}, which has its own model.")
    for name in sorted(os.environ):
        if name.startswith(_MODEL_VARIABLES) and os.environ[name]:
            view.note(f"Warning: {name} has no effect there.")
    view.status("Waiting for its worker")
    await _ready(client, address, lambda: None)
    yield address


@contextlib.asynccontextmanager
async def _own_server(settings: Settings, client: httpx.AsyncClient, view: DemoView) -> AsyncIterator[str]:
    """The address of a server of our own with a worker that is warm."""
    view.status(f"Starting {'' if settings.database_url else 'PostgreSQL, '}the API and a worker, which loads CrewAI")
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
            view.status("Stopping the server")
            # The pipe, which tells the server to stop if we are killed, goes last: two signs to stop are one to hurry.
            try:
                await _stopped(process)
            finally:
                os.close(writing)


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
        raise DemoFailed(f"the server did not start\n{log.read().replace('regatta: ', '')}".strip())


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
