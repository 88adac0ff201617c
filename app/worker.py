"""The worker process: one loop with the dispatcher, the runs, the recorder, DBOS, and the duties that keep all going.

It needs crewai and litellm (seconds to import, 250 MB): the API never imports this module.
"""

import asyncio
import hashlib
import importlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeAlias

import asyncpg
import structlog

from app.broadcast import BroadcastHints
from app.composer import Composer
from app.durable import DurableWorker
from app.load import MachineLoad
from app.process import OwnProcess
from app.prometheus.process import new_registry
from app.prometheus.server import exposed
from app.prometheus.worker import WorkerMetrics
from app.settings import Settings
from app.tracing import is_traced, start_tracing
from app.vault import FernetVault
from app.webhook_sender import HttpWebhookClient
from domain.crew import environment
from domain.crew.operator_models import OperatorProbe
from domain.model.addresses import PrivateHosts
from domain.model.execution import MAX_PARALLEL_TASKS_CAP
from domain.model.resources import WorkerLoad
from domain.ports import (
    COMMANDS,
    GENERATIONS,
    WAITING,
    CallBudgets,
    CommandKind,
    Hints,
    RunStore,
    TaskRunner,
    ToolSecrets,
    Workers,
)
from domain.ports.measuring import UNMEASURED
from domain.ports.tracing import NO_TRACING, Tracing
from domain.services.alerts import EvaluateAlerts
from domain.services.approvals import ExpireApprovals
from domain.services.catalogue import Catalogue
from domain.services.deliveries import DeliverWebhooks
from domain.services.dispatcher import Dispatcher, DispatchRules, HandOver
from domain.services.firing import FireSchedules
from domain.services.keeping_metrics import KeepMetrics
from domain.services.model_gateway import GatewayRules, RoutedGateway
from domain.services.recorder import EventRecorder
from domain.services.retention import ForgetOld
from domain.services.runs import RunExecution, RunRules
from persistence.admissions import SqlAdmissions
from persistence.alert_store import SqlAlertEvaluations
from persistence.call_budgets import SqlCallBudgets
from persistence.deliveries import SqlDeliveries
from persistence.due_schedules import SqlDueSchedules
from persistence.engine import Database
from persistence.expired_approvals import SqlExpiredApprovals
from persistence.reader import SqlReader
from persistence.retention import SqlRetention
from persistence.rollups import SqlRollUps
from persistence.run_store import SqlRunStore
from persistence.secrets_reader import SqlToolSecrets
from persistence.unit_of_work import SqlUnitsOfWork
from persistence.workers import SqlWorkers, WorkerNameTaken, held_name
from resolvers.node_ids import node_id

COMMAND_SECONDS: Final = 0.25
WAITING_SECONDS: Final = 5.0  # the dispatcher looks more often of itself; this is for the listener
GENERATIONS_SECONDS: Final = 2.0  # their leases are renewed so often, too
LOAD_SECONDS: Final = 1.0
BEAT_SECONDS: Final = 3.0
SWEEP_SECONDS: Final = 2.0
SETTLE_SECONDS: Final = 5.0
EXPIRE_SECONDS: Final = 5.0
FIRE_SECONDS: Final = 1.0
DELIVER_SECONDS: Final = 1.0
ALERT_SECONDS: Final = 5.0
ROLL_UP_SECONDS: Final = 2.0
LOST_LIMIT: Final = 100
"""So many calls that nobody books any more are settled at a time."""

RETENTION_SECONDS: Final = 600.0
TIDY_SECONDS: Final = 86_400.0
_CONNECT_PAUSE: Final = 0.5
_FLUSH_SECONDS: Final = 1.0
_EARLIER_LIFE_TRIES: Final = 10
IDLE_SECONDS: Final = 5.0
"""So long a worker that stands still, or is cut off, in the middle of a commit keeps others from taking over."""

_SPARE_THREADS: Final = 4  # for what an abandoned task still holds

_LATER: Final = (
    "dbos",
    "domain.crew.models",
    "domain.crew.runner",
    "domain.crew.simulated",
    "domain.crew.tools.addresses",
    "domain.crew.tools.settings",
)
"""What is imported where it is needed, for it takes long or comes after `environment.prepare`."""

RunnerSource: TypeAlias = Callable[[Settings, Database], AbstractAsyncContextManager[TaskRunner]]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What one worker process is told.

    `settings` must say where the database is. Under the same `name` a restarted worker takes up at once what it left
    behind; while another worker has it, the first free one of `spare_names` is taken. `parent_fd` is the reading end
    of a pipe whose other end only the parent holds: the worker leaves when it is closed. `metrics_port` is where
    Prometheus finds it; None: nowhere.
    """

    settings: Settings
    name: str
    parent_fd: int | None = None
    spare_names: Sequence[str] = ()
    metrics_port: int | None = None


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


def import_everything(settings: Settings) -> None:
    """Import all that a worker needs, and begin nothing: no thread, loop or connection, so that it may be forked."""
    environment.prepare(settings.data_dir / "crewai")
    _loop_factory()
    for module in (*_LATER, *(["app.otlp"] if is_traced(settings) else [])):
        importlib.import_module(module)


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
    tracer = start_tracing(options.settings, "worker")
    try:
        names = [options.name, *options.spare_names]
        started = (a_runner or partial(crew_runner, tracing=tracer.tracing))(options.settings, database)
        async with held_name(database.pool, names, lambda: _give_way(stop)) as name, started as runner:
            await _work(replace(options, name=name), database, runner, stop, tracer.tracing)
    finally:
        try:
            await database.close()
        finally:
            await tracer.close()


def _give_way(stop: asyncio.Event) -> None:
    _log.error("worker_name_lost", action="stopping")  # while the database was away, another took it
    stop.set()


def crew_runner(
    settings: Settings, database: Database, tracing: Tracing = NO_TRACING
) -> AbstractAsyncContextManager[TaskRunner]:
    """CrewAI over the gateway and LiteLLM, on the running loop, with the money and the secrets of this database."""
    secrets = SqlToolSecrets(database.pool, FernetVault.of(settings))
    return runner_over(settings, SqlCallBudgets(database.pool, database.waiting), secrets, tracing)


@asynccontextmanager
async def runner_over(
    settings: Settings,
    budgets: CallBudgets,
    secrets: ToolSecrets | None = None,
    tracing: Tracing = NO_TRACING,
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
    threads = settings.worker_concurrency * MAX_PARALLEL_TASKS_CAP + _SPARE_THREADS  # made as they are needed
    rules = GatewayRules(max_output_tokens=settings.max_output_tokens)
    runner = CrewTaskRunner(
        RoutedGateway(client, budgets, rules, tracing),
        loop,
        threads=threads,
        tools=tools,
        call_seconds=settings.model_timeout_seconds,
        secrets=secrets,
        tracing=tracing,
    )
    try:
        yield runner
    finally:
        runner.close()
        await client.close()


async def _work(
    options: WorkerOptions, database: Database, runner: TaskRunner, stop: asyncio.Event, tracing: Tracing
) -> None:
    hints = BroadcastHints(options.settings.hints_url)
    work = _Work(options, database, runner, hints, tracing)
    await hints.start()
    work.recorder.start()
    try:
        await work.enter()
        process, port = OwnProcess(database, hints), options.metrics_port
        async with exposed(work.metrics, options.settings, port, process), _duties(work, hints), _dispatching(work):
            places = options.settings.worker_concurrency
            _log.info("worker_ready", worker=options.name, concurrency=places, pid=os.getpid())
            await stop.wait()
            _log.info("worker_stopping", worker=options.name, active=work.run.active)
            await work.dispatcher.stop()
            grace = options.settings.shutdown_grace_seconds
            await asyncio.gather(work.run.stop(grace), work.composer.stop(grace))
        await work.recorder.flush(_FLUSH_SECONDS)  # what the runs paid for is booked before another takes them over
        await work.leave()
    finally:
        await work.recorder.stop(_FLUSH_SECONDS)
        await work.durable.stop()
        await work.webhooks.close()
        await work.composer.close()
        await hints.stop()


class _Work:
    """What a worker is made of, once it is connected and has its name."""

    def __init__(
        self, options: WorkerOptions, database: Database, runner: TaskRunner, hints: Hints, tracing: Tracing
    ) -> None:
        settings, pool, self.name = options.settings, database.pool, options.name
        self.tracing = tracing
        store, self.admissions, self.workers = SqlRunStore(pool), SqlAdmissions(pool), SqlWorkers(pool)
        self.vault, self.probe = FernetVault.of(settings), OperatorProbe()
        self.load = MachineLoad(settings.worker_max_cpu_percent, settings.worker_max_memory_percent)
        self.metrics = _metrics_of(options)
        measuring = self.metrics or UNMEASURED
        self.recorder = EventRecorder(store, hints, measuring=measuring)
        self.hand_over = HandOver(self.admissions, store, hints)
        models = self._catalogue(settings, SqlReader(pool))
        self.run = self._run(settings, store, runner, models)
        self.composer = Composer(settings, database, hints, models, options.name, measuring, tracing)
        self.dispatcher = self._dispatcher(settings)
        self.durable = DurableWorker(_url_of(settings), self.dispatcher.carry_out, options.name)
        self.webhooks = _Webhooks(settings, database, self.vault)
        self.duties = self._duties(settings, store)
        self.duties.chores += _of_the_tenants(settings, database, hints, self.webhooks, tracing)

        if self.metrics:
            self.metrics.watch(self.recorder, self.run, settings.worker_concurrency)

    def _catalogue(self, settings: Settings, reader: SqlReader) -> Catalogue:
        return Catalogue(reader.model_records, self.probe.models, settings.price_rule, self.vault)

    def _run(self, settings: Settings, store: SqlRunStore, runner: TaskRunner, models: Catalogue) -> RunExecution:
        rules = RunRules(default_model=settings.model, max_output_tokens=settings.max_output_tokens)
        return RunExecution(store, self.recorder, runner, models, self.name, rules, self.tracing)

    def _dispatcher(self, settings: Settings) -> Dispatcher:
        rules = DispatchRules(settings.worker_concurrency, settings.max_parallel_executions)
        return Dispatcher(self.name, self.admissions, self.hand_over, self.run, rules, lambda: self.load.is_low)

    def _duties(self, settings: Settings, store: SqlRunStore) -> "Duties":
        parts = (self.workers, self.hand_over, self.run, self.dispatcher, self.probe, self.load)
        return Duties(self.name, store, *parts, settings.worker_silent_seconds)

    async def enter(self) -> None:
        """Give back what an earlier life of this name had, be heard of, and only then be ready to take anything.

        Who dies unheard of is never missed.
        """
        for _ in range(_EARLIER_LIFE_TRIES):
            if await self.hand_over(self.name):
                break
            await asyncio.sleep(_CONNECT_PAUSE)  # else the dispatcher gives it back later
        await self.workers.lose(self.name, self.duties.silent_seconds)  # the only worker: nobody else noticed
        await self.workers.leave(self.name)
        await self.duties.beat()
        await self.durable.start()

    async def leave(self) -> None:
        """Hand over what is not finished. If that fails, the others will notice that we are silent."""
        try:
            if await self.hand_over(self.name):
                await self.workers.leave(self.name)
        except Exception as error:  # noqa: BLE001 - see above
            _log.warning("goodbye_failed", worker=self.name, error=repr(error))


def _metrics_of(options: WorkerOptions) -> WorkerMetrics | None:
    """What the worker counts; nothing where nobody could read it."""
    if options.metrics_port is None:
        return None
    return WorkerMetrics(new_registry(), is_by_tenant=options.settings.metrics_tenant_labels)


class _Webhooks:
    """What tells webhooks, and the connections that it needs."""

    def __init__(self, settings: Settings, database: Database, vault: FernetVault) -> None:
        self._client = HttpWebhookClient(PrivateHosts(settings.allowed_private_hosts))
        self._sender = DeliverWebhooks(SqlDeliveries(database.pool), self._client, vault, node_id)

    async def deliver(self) -> None:
        await self._sender.deliver()

    async def close(self) -> None:
        """Leave what is under way: it is told again later."""
        await self._sender.close()
        await self._client.close()


def _of_the_tenants(
    settings: Settings, database: Database, hints: Hints, webhooks: _Webhooks, tracing: Tracing
) -> "list[Chore]":
    """What tenants asked for that has its time: all of it is in the database, and any worker does it."""
    units = SqlUnitsOfWork(database.engine)
    expire = ExpireApprovals(units, SqlExpiredApprovals(database.pool), hints)
    schedules = FireSchedules(units, SqlDueSchedules(database.pool), hints, tracing)
    metrics = KeepMetrics(SqlRollUps(database.pool))
    alerts = EvaluateAlerts(SqlAlertEvaluations(database.pool), hints)
    retention = ForgetOld(SqlRetention(database.pool, settings.retention_days, settings.audit_days))
    return [
        Chore(EXPIRE_SECONDS, expire),
        Chore(FIRE_SECONDS, schedules.fire),
        Chore(DELIVER_SECONDS, webhooks.deliver),
        Chore(ALERT_SECONDS, alerts.evaluate),
        Chore(ROLL_UP_SECONDS, metrics.roll_up),
        Chore(RETENTION_SECONDS, metrics.forget),
        Chore(RETENTION_SECONDS, retention.sweep),
    ]


@asynccontextmanager
async def _dispatching(work: _Work) -> AsyncIterator[None]:
    task = asyncio.create_task(work.dispatcher.work(work.durable.begin))
    try:
        yield
    finally:
        await work.dispatcher.stop()
        task.cancel()
        await asyncio.wait([task])


def _url_of(settings: Settings) -> str:
    if settings.database_url is None:
        raise ValueError("a worker needs to be told where the database is")
    return settings.database_url


async def _connected(settings: Settings) -> Database:
    """The database, as soon as it answers."""
    while True:
        try:
            return await Database.connect(
                _url_of(settings), name="worker", pool_size=settings.pool_size, idle_seconds=IDLE_SECONDS
            )
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


@dataclass(frozen=True, slots=True)
class Chore:
    """Something that some worker has to do every so many seconds, no matter which; several may at once."""

    seconds: float
    duty: Callable[[], Awaitable[object]]
    is_urgent: bool = False
    """Tried again at once when it fails, not at its next time."""


class Duties:
    """What a worker does besides running executions."""

    def __init__(
        self,
        name: str,
        store: RunStore,
        workers: Workers,
        hand_over: HandOver,
        run: RunExecution,
        dispatcher: Dispatcher,
        probe: OperatorProbe,
        load: MachineLoad,
        silent_seconds: float,
    ) -> None:
        self.name = name
        self.store = store
        self.workers = workers
        self.hand_over = hand_over
        self.run = run
        self.dispatcher = dispatcher
        self.probe = probe
        self.load = load
        self.silent_seconds = silent_seconds
        self.is_unheard = False
        self.is_held_up = False
        self.sweeps_from = 0.0
        self.chores = [
            Chore(BEAT_SECONDS, self.beat, is_urgent=True),
            Chore(LOAD_SECONDS, self.measure),
            Chore(SWEEP_SECONDS, self.sweep),
            Chore(SETTLE_SECONDS, self.settle),
            Chore(TIDY_SECONDS, self.tidy),
        ]

    async def obey(self) -> None:
        """Do what somebody wants of the executions that run here."""
        if not self.run.active:
            return
        ways = {
            CommandKind.CANCEL: self.run.cancel,
            CommandKind.PAUSE: self.run.pause,
            CommandKind.DECIDED: self.run.decided,
        }
        pausing, commands = self.run.pausing, await self.store.commands(self.name)
        for execution_id, kind in commands:
            ways[kind](execution_id)
        for execution_id in pausing - {each for each, kind in commands if kind is CommandKind.PAUSE}:
            self.run.go_on(execution_id)  # the request was withdrawn

    async def take(self) -> None:
        """Look for what waits for a place."""
        self.dispatcher.ring()

    async def beat(self) -> None:
        """Be heard of. A measurement that is missing is no reason to be silent, so it is not made here."""
        load = WorkerLoad(
            self.dispatcher.rules.places,
            self.dispatcher.is_taking,
            _rounded(self.load.cpu_percent),
            _rounded(self.load.memory_percent),
        )
        models, was_unheard, self.is_unheard = await self.probe.models(), self.is_unheard, True
        await self.workers.beat(self.name, models, load)
        self.is_unheard = False
        if was_unheard:
            self.sweeps_from = time.monotonic() + self.silent_seconds

    async def measure(self) -> None:
        """Look how busy the machine is, and say so once when that keeps us from taking work, or does no more."""
        self.load.sample()
        # Not free again because we have nothing to do for a moment: we would say it with each run.
        is_held_up = not self.load.is_low and (self.is_held_up or not self.dispatcher.is_taking)
        if is_held_up == self.is_held_up:
            return
        self.is_held_up = is_held_up
        figures = {"cpu_percent": _rounded(self.load.cpu_percent), "memory_percent": _rounded(self.load.memory_percent)}
        limits = {"most_cpu_percent": self.load.most_cpu_percent, "most_memory_percent": self.load.most_memory_percent}
        if is_held_up:
            _log.warning("machine_busy_taking_nothing", worker=self.name, **figures, **limits)
        else:
            _log.info("machine_free_taking_again", worker=self.name, **figures, **limits)

    async def sweep(self) -> None:
        """Let go on what lost workers had. Every survivor tries: whoever comes second finds nothing left.

        While the database was away nobody could be heard of: after that, everybody has his time anew.
        """
        if self.is_unheard or time.monotonic() < self.sweeps_from:
            return
        for lost in await self.workers.lost(self.silent_seconds):
            if lost != self.name:
                _log.warning("worker_lost", worker=lost)
                if await self.hand_over(lost):
                    await self.workers.lose(lost, self.silent_seconds)

    async def settle(self) -> None:
        """Book the calls of which nobody said in time what became of them."""
        await self.store.settle_lost(LOST_LIMIT)

    async def tidy(self) -> None:
        await self.workers.tidy()


def _rounded(percent: float | None) -> float | None:
    return None if percent is None else round(percent, 1)


@asynccontextmanager
async def _duties(work: _Work, hints: Hints) -> AsyncIterator[None]:
    """The duties, each in a task of its own that outlives every error."""
    duties = work.duties
    every = [
        _hinted(hints, COMMANDS, COMMAND_SECONDS, duties.obey),
        _hinted(hints, WAITING, WAITING_SECONDS, duties.take),
        _hinted(hints, GENERATIONS, GENERATIONS_SECONDS, work.composer.tend),
        *(_regularly(chore) for chore in duties.chores),
    ]
    tasks = [asyncio.create_task(each) for each in every]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _hinted(hints: Hints, topic: str, seconds: float, duty: Callable[[], Awaitable[object]]) -> None:
    with hints.listen(topic) as listener:
        while True:
            await listener.wait(seconds)
            await _attempt(duty)


async def _regularly(chore: Chore) -> None:
    while True:
        if await _attempt(chore.duty) or not chore.is_urgent:
            await asyncio.sleep(chore.seconds)


async def _attempt(duty: Callable[[], Awaitable[object]]) -> bool:
    """Whether it was done; if not, after a pause."""
    try:
        await duty()
    except Exception as error:  # noqa: BLE001 - the database may be away for a while; a worker outlives that
        _log.warning("duty_failed", duty=getattr(duty, "__name__", ""), error=repr(error))
        await asyncio.sleep(_CONNECT_PAUSE)
        return False
    return True
