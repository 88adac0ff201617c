"""The worker process: one loop with the runs, the recorder, DBOS and the duties that keep everything going.

It needs crewai and litellm (seconds to import, 250 MB): the API never imports this module.
"""

import asyncio
import hashlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, TypeAlias

import asyncpg
import structlog

from app.broadcast import BroadcastHints
from app.durable import QUEUED, DurableQueue, DurableWorker
from app.settings import Settings
from app.vault import FernetVault
from domain.crew import environment
from domain.crew.operator_models import OperatorProbe
from domain.model.identity import ExecutionId, utc_now
from domain.ports import COMMANDS, CallBudgets, Hints, TaskRunner, ToolSecrets
from domain.services.catalogue import Catalogue
from domain.services.model_gateway import GatewayRules, RoutedGateway
from domain.services.recorder import EventRecorder
from domain.services.runs import RunExecution, RunRules
from persistence.call_budgets import SqlCallBudgets
from persistence.engine import Database
from persistence.reader import SqlReader
from persistence.run_store import SqlRunStore
from persistence.secrets_reader import SqlToolSecrets
from persistence.workers import SqlWorkers, WorkerNameTaken, held_name

COMMAND_SECONDS: Final = 0.25
BEAT_SECONDS: Final = 3.0
SWEEP_SECONDS: Final = 5.0
SILENT_SECONDS: Final = 15.0
"""A worker that was not heard of for so long is taken for dead; if it is not, the epochs keep its hands off."""

LEFT_QUEUED: Final = timedelta(seconds=5)
SWEEP_LIMIT: Final = 50
LOST_LIMIT: Final = 100
"""So many calls that nobody books any more are settled at a time."""

TIDY_SECONDS: Final = 86_400.0
_CONNECT_PAUSE: Final = 0.5
_FLUSH_SECONDS: Final = 1.0
_SPARE_THREADS: Final = 4  # recovered executions come on top of the queue's own limit

RunnerSource: TypeAlias = Callable[[Settings, Database], AbstractAsyncContextManager[TaskRunner]]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What one worker process is told.

    `settings` must say where the database is. Under the same `name` a restarted worker takes up at once what it left
    behind; while another worker has it, the first free one of `spare_names` is taken. `parent_fd` is the reading end
    of a pipe whose other end only the parent holds: the worker leaves when it is closed.
    """

    settings: Settings
    name: str
    parent_fd: int | None = None
    spare_names: Sequence[str] = ()


def default_name(settings: Settings, index: int = 0) -> str:
    """A name that stays the same over restarts on this machine and data directory, but shows neither to clients."""
    place = f"{socket.gethostname()}\n{settings.data_dir.absolute()}"
    return f"worker-{hashlib.sha256(place.encode()).hexdigest()[:12]}-{index}"


MOST_OF_ONE_PLACE: Final = 100
"""So many workers of one machine and directory find names of their own."""


def spare_names(settings: Settings, index: int) -> list[str]:
    """What a worker is called when its default name is taken."""
    return [default_name(settings, other) for other in range(MOST_OF_ONE_PLACE) if other != index]


def main(options: WorkerOptions) -> int:
    """Run a worker until a signal or the end of its parent; returns the exit status."""
    environment.prepare(options.settings.data_dir / "crewai")
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            runner.run(run_worker(options))
            status = 0
        except WorkerNameTaken as error:
            _log.error("worker_name_taken", reason=str(error))
            status = 1
        except Exception:  # noqa: BLE001 - becomes the exit status
            _log.exception("worker_failed", worker=options.name)
            status = 1
    _leave_threads_behind(status)
    return status


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None  # uvloop does not exist there
    import uvloop  # noqa: PLC0415 - same

    return uvloop.new_event_loop


def _leave_threads_behind(status: int) -> None:
    """Exit although a tool in some thread does not come back: its result would be discarded anyway."""
    deadline = time.monotonic() + _FLUSH_SECONDS
    others = [thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()]
    for thread in others:
        thread.join(max(0.0, deadline - time.monotonic()))
    if any(thread.is_alive() for thread in others):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


async def run_worker(options: WorkerOptions, a_runner: RunnerSource | None = None) -> None:
    """Work until told to stop. `a_runner` replaces CrewAI, for tests.

    Raises whatever keeps it from starting: no migrated database, for instance.
    """
    stop = asyncio.Event()
    _stop_on_signals(stop)
    _stop_with_parent(stop, options.parent_fd)
    connecting = asyncio.create_task(_connected(options.settings))
    await _first_of(connecting, stop)
    if stop.is_set():
        connecting.cancel()
        return
    database = await connecting
    try:
        names = [options.name, *options.spare_names]
        started = (a_runner or crew_runner)(options.settings, database)
        async with held_name(database.pool, names) as name, started as runner:
            await _work(replace(options, name=name), database, runner, stop)
    finally:
        await database.close()


def crew_runner(settings: Settings, database: Database) -> AbstractAsyncContextManager[TaskRunner]:
    """CrewAI over the gateway and LiteLLM, on the running loop, with the money and the secrets of this database."""
    secrets = SqlToolSecrets(database.pool, FernetVault.of(settings))
    return runner_over(settings, SqlCallBudgets(database.pool), secrets)


@asynccontextmanager
async def runner_over(
    settings: Settings, budgets: CallBudgets, secrets: ToolSecrets | None = None
) -> AsyncIterator[TaskRunner]:
    """The same over any budgets, and any tools' secrets or none."""
    from domain.crew.models import LiteLLMClient  # noqa: PLC0415 - `environment.prepare` comes before the import
    from domain.crew.runner import CrewTaskRunner  # noqa: PLC0415 - same
    from domain.crew.simulated import register_simulated  # noqa: PLC0415 - same
    from domain.crew.tools.addresses import AddressGuard  # noqa: PLC0415 - same
    from domain.crew.tools.settings import SearchKind, ToolSettings, permitted_classes  # noqa: PLC0415 - same

    register_simulated(settings.simulated_delay_seconds)
    client = LiteLLMClient(AddressGuard(settings.allowed_private_hosts))
    tools = ToolSettings(
        allowed_private_hosts=frozenset(settings.allowed_private_hosts),
        search_endpoint=settings.search_endpoint,
        search_kind=SearchKind[settings.search_kind.upper()],
        search_key=settings.search_key.get_secret_value() if settings.search_key else None,
        files_dir=settings.files_path,
        crewai_tools=permitted_classes(settings.crewai_tools),
    )
    loop = asyncio.get_running_loop()
    threads = settings.worker_concurrency + _SPARE_THREADS
    rules = GatewayRules(max_output_tokens=settings.max_output_tokens)
    runner = CrewTaskRunner(
        RoutedGateway(client, budgets, rules),
        loop,
        threads=threads,
        tools=tools,
        call_seconds=settings.model_timeout_seconds,
        secrets=secrets,
    )
    try:
        yield runner
    finally:
        runner.close()
        await client.close()


async def _work(options: WorkerOptions, database: Database, runner: TaskRunner, stop: asyncio.Event) -> None:
    settings, url = options.settings, _url_of(options.settings)
    hints = BroadcastHints(settings.hints_url)
    store = SqlRunStore(database.pool)
    recorder = EventRecorder(store, hints)
    workers, probe = SqlWorkers(database.pool), OperatorProbe()
    records, vault = SqlReader(database.pool).model_records, FernetVault.of(settings)
    catalogue = Catalogue(records, probe.models, settings.price_rule, vault)
    rules = RunRules(default_model=settings.model, max_output_tokens=settings.max_output_tokens)
    run = RunExecution(store, recorder, runner, catalogue, options.name, rules)
    durable = DurableWorker(url, run, options.name, settings.worker_concurrency)
    queue = DurableQueue(url, hints, pool_size=1)
    await hints.start()
    recorder.start()
    try:
        # Before it takes anything: who dies unheard of is never missed.
        await workers.beat(options.name, await probe.models())
        await durable.start()
        async with _duties(Duties(options.name, store, workers, queue, run, durable, probe), hints):
            _log.info("worker_ready", worker=options.name, concurrency=settings.worker_concurrency)
            await stop.wait()
            _log.info("worker_stopping", worker=options.name, active=run.active)
            durable.stop_taking()
            await run.stop(settings.shutdown_grace_seconds)
        await recorder.flush(_FLUSH_SECONDS)  # what the runs paid for is booked before another takes them over
        await _say_goodbye(options.name, durable, workers)
    finally:
        await recorder.stop(_FLUSH_SECONDS)
        await durable.stop()
        await queue.stop()
        await hints.stop()


async def _say_goodbye(name: str, durable: DurableWorker, workers: SqlWorkers) -> None:
    """Hand on what is not finished. Who handed something on is found silent later, should a hand-over have failed."""
    try:
        if not await durable.recover(name):
            await workers.leave(name)
    except Exception as error:  # noqa: BLE001 - the others will notice that we are silent
        _log.warning("goodbye_failed", worker=name, error=repr(error))


def _url_of(settings: Settings) -> str:
    if settings.database_url is None:
        raise ValueError("a worker needs to be told where the database is")
    return settings.database_url


async def _connected(settings: Settings) -> Database:
    """The database, as soon as it answers."""
    while True:
        try:
            return await Database.connect(_url_of(settings), name="worker", pool_size=settings.pool_size)
        except (OSError, asyncpg.PostgresError) as error:
            _log.warning("database_unavailable", error=str(error))
            await asyncio.sleep(_CONNECT_PAUSE)


async def _first_of(task: "asyncio.Task[Database]", stop: asyncio.Event) -> None:
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()


def _stop_on_signals(stop: asyncio.Event) -> None:
    with suppress(NotImplementedError, RuntimeError):  # Windows; or not in the main thread, as in a test
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)


def _stop_with_parent(stop: asyncio.Event, parent_fd: int | None) -> None:
    if parent_fd is None:
        return
    loop = asyncio.get_running_loop()

    def closed() -> None:
        loop.remove_reader(parent_fd)
        stop.set()

    loop.add_reader(parent_fd, closed)  # nobody writes to it: readable means closed


class Duties:
    """What a worker does besides running executions."""

    def __init__(
        self,
        name: str,
        store: SqlRunStore,
        workers: SqlWorkers,
        queue: DurableQueue,
        run: RunExecution,
        durable: DurableWorker,
        probe: OperatorProbe,
    ) -> None:
        self.name = name
        self.store = store
        self.workers = workers
        self.queue = queue
        self.run = run
        self.durable = durable
        self.probe = probe
        self._requeued: set[ExecutionId] = set()
        self._waiting: set[ExecutionId] = set()
        self._swept = 0

    async def obey(self) -> None:
        """Stop the executions that somebody asked to stop."""
        if self.run.active:
            for execution_id in await self.store.cancelling(self.name):
                self.run.cancel(execution_id)

    async def beat(self) -> None:
        await self.workers.beat(self.name, await self.probe.models())

    async def sweep(self) -> None:
        """Queue what was committed but never queued, and what dead workers left behind."""
        await self._requeue()
        for lost in await self.workers.lost(SILENT_SECONDS):
            if lost != self.name:
                _log.warning("worker_lost", worker=lost)
                await self.durable.recover(lost)
                await self.workers.leave(lost)

    async def settle(self) -> None:
        """Book the calls of which nobody said in time what became of them."""
        await self.store.settle_lost(LOST_LIMIT)

    async def _requeue(self) -> None:
        """One page of what waits, the next one in the next sweep: the oldest must not hide the others."""
        page = await self.store.queued_before(utc_now() - LEFT_QUEUED, SWEEP_LIMIT, self._swept)
        for tenant_id, execution_id in page:
            # Most of them only wait for a free place, and queueing again changes nothing: once per execution is enough.
            if execution_id not in self._requeued:
                await self.queue.enqueue(tenant_id, execution_id)
                self._requeued.add(execution_id)
            self._waiting.add(execution_id)
        self._swept += len(page)
        if len(page) < SWEEP_LIMIT:
            self._swept, self._requeued, self._waiting = 0, self._requeued & self._waiting, set()


@asynccontextmanager
async def _duties(duties: Duties, hints: Hints) -> AsyncIterator[None]:
    """The duties, each in a task of its own that outlives every error."""

    async def ring() -> None:
        duties.durable.ring()

    work = [
        _hinted(hints, COMMANDS, COMMAND_SECONDS, duties.obey),
        _hinted(hints, QUEUED, SWEEP_SECONDS, ring),
        _regularly(BEAT_SECONDS, duties.beat),
        _regularly(SWEEP_SECONDS, duties.sweep),
        _regularly(SWEEP_SECONDS, duties.settle),
        _regularly(TIDY_SECONDS, duties.workers.tidy),
    ]
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _hinted(hints: Hints, topic: str, seconds: float, duty: Callable[[], Awaitable[None]]) -> None:
    with hints.listen(topic) as listener:
        while True:
            await listener.wait(seconds)
            await _attempt(duty)


async def _regularly(seconds: float, duty: Callable[[], Awaitable[None]]) -> None:
    while True:
        await _attempt(duty)
        await asyncio.sleep(seconds)


async def _attempt(duty: Callable[[], Awaitable[None]]) -> None:
    try:
        await duty()
    except Exception as error:  # noqa: BLE001 - the database may be away for a while; a worker outlives that
        _log.warning("duty_failed", duty=getattr(duty, "__name__", ""), error=repr(error))
        await asyncio.sleep(_CONNECT_PAUSE)
