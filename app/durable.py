"""The only DBOS workflow: queued by the API, recovered after crashes, and no more than a call of `RunExecution`.

Our own rows are the checkpoints, so it has no steps: what a run has completed it finds in the database. DBOS keeps
what is to be run, by whom it is being run, and hands on what a lost worker left.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import sqlalchemy as sa

from app.migrations import dbos_url
from domain.errors import Unavailable
from domain.model.identity import ExecutionId, TenantId
from domain.ports import Hints
from domain.services.runs import RunExecution
from persistence.engine import APPLICATION_ROLE

if TYPE_CHECKING:
    from dbos import DBOS, DBOSClient

APPLICATION: Final = "regatta"
QUEUE: Final = "executions"
WORKFLOW: Final = "run_execution"

PROTOCOL: Final = "1"
"""DBOS's application version. Raise it by hand when the workflow's name or arguments change: workers run only what was
queued under their own."""

QUEUED: Final = "queued"
"""The topic of the hint that there is something in the queue."""

IDLE_POLL_SECONDS: Final = 0.25
BUSY_POLL_SECONDS: Final = 0.05
"""How often a worker looks at the queue without being hinted, and when it has no free place."""

_NOTING_SECONDS: Final = 0.02
_POOL_SIZE: Final = 5


class DurableQueue:
    """The ExecutionQueue port on DBOS's client, for API and sweep. The first use connects, and imports DBOS."""

    def __init__(self, url: str, hints: Hints, pool_size: int = 2) -> None:
        self._url = url
        self._hints = hints
        self._threads = ThreadPoolExecutor(pool_size, thread_name_prefix="enqueue")
        self._pool_size = pool_size
        self._lock = threading.Lock()
        self._client: DBOSClient | None = None
        self._engine: sa.Engine | None = None

    async def start(self) -> None:
        """Import DBOS ahead of the first use, in a thread; it takes about half a second."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self._connected)

    async def stop(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, self._disconnect)
        self._threads.shutdown(wait=False)

    async def enqueue(self, tenant_id: TenantId, execution_id: ExecutionId) -> None:
        """See `domain.ports.ExecutionQueue`."""
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._threads, self._enqueue, tenant_id, execution_id)
        except sa.exc.DBAPIError as error:
            raise Unavailable("The queue does not answer.") from error
        await self._hints.publish([QUEUED])

    def _enqueue(self, tenant_id: TenantId, execution_id: ExecutionId) -> None:
        # The id makes a repeated enqueue a no-op. Its second part counts the runs of an execution: from 1.
        options: Any = {
            "workflow_name": WORKFLOW,
            "queue_name": QUEUE,
            "workflow_id": f"{execution_id}:1",
            "app_version": PROTOCOL,
        }
        self._connected().enqueue(options, str(tenant_id), str(execution_id))

    def _connected(self) -> "DBOSClient":
        from dbos import DBOSClient  # noqa: PLC0415 - slow to import; an API that is starting does not need it yet

        with self._lock:
            if self._client is None:
                self._engine = _engine(self._url, self._pool_size)
                self._client = DBOSClient(
                    system_database_engine=self._engine,
                    serializer=_json(),
                    application_name=APPLICATION,
                    lazy=True,
                    retry_connection_errors=False,
                )
            return self._client

    def _disconnect(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.destroy()
                self._client = None
            if self._engine is not None:  # DBOS leaves an engine that it was given to its owner
                self._engine.dispose()
                self._engine = None


class DurableWorker:
    """Runs what is queued, on the loop on which it is started; one per process, for DBOS is a singleton."""

    def __init__(self, url: str, run: RunExecution, worker_id: str, concurrency: int) -> None:
        self._run = run
        self._worker_id = worker_id
        self._concurrency = concurrency
        self._engine = _engine(url, _POOL_SIZE)
        self._dbos: DBOS | None = None
        self._bell = threading.Event()

    async def start(self) -> None:
        """Begin to take executions; what this worker left behind in an earlier life comes first."""
        from dbos import DBOS  # noqa: PLC0415 - slow to import

        self._dbos = DBOS(config=self._configuration())
        DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)(self._workflow())
        DBOS.launch()
        self._hang_bell(self._dbos)
        _assume_versions(self._dbos)
        await DBOS.register_queue_async(
            QUEUE, worker_concurrency=self._concurrency, polling_interval_sec=IDLE_POLL_SECONDS
        )

    def _workflow(self) -> Callable[[str, str], Any]:
        async def run_execution(tenant_id: str, execution_id: str) -> None:
            await self._run(TenantId(UUID(tenant_id)), ExecutionId(UUID(execution_id)))
            if 2 * self._run.active >= self._concurrency - 1:
                # Others may have waited for this place, which is free once DBOS has noted the end. Where more than
                # half of the places were free anyway, nobody did, and a look at the queue costs as much as a task.
                asyncio.get_running_loop().call_later(_NOTING_SECONDS, self._bell.set)

        return run_execution

    def _configuration(self) -> Any:
        return {
            "name": APPLICATION,
            "system_database_engine": self._engine,
            "serializer": _json(),
            "application_version": PROTOCOL,
            "executor_id": self._worker_id,
            "run_migrations": False,  # our role may not; `regatta migrate` does
            "log_level": "WARNING",
            "notification_coalesce_sec": 0.25,  # we send none, and the thread wakes up as often
            "scheduler_polling_interval_sec": 3600.0,  # we have no schedules
        }

    def ring(self) -> None:
        """Look at the queue now. Any thread may call."""
        self._bell.set()

    def _hang_bell(self, dbos: "DBOS") -> None:
        """Let a hint end the pause between two looks at the queue.

        DBOS only knows a fixed pause. A short one costs a fifteenth of a core in an idle worker and still delays each
        execution by half of it; so the event on which its queue thread waits gets our way of waiting.
        """
        for event in dbos.background_thread_stop_events:
            event.wait = self._waiting(event)  # type: ignore[assignment, method-assign]  # that is the point

    def _waiting(self, stopped: threading.Event) -> Callable[[float | None], bool]:
        original = stopped.wait

        def wait(timeout: float | None = None) -> bool:
            if threading.current_thread().name != f"queue-worker-{QUEUE}":
                return original(timeout)
            self._bell.wait(BUSY_POLL_SECONDS if self._run.active >= self._concurrency else timeout)
            self._bell.clear()
            return stopped.is_set()

        return wait

    async def recover(self, worker_id: str) -> int:
        """Queue again what a lost worker left behind; how many that were. Several may do so at once."""
        if self._dbos is None:
            return 0
        recover = self._dbos._recover_pending_workflows  # noqa: SLF001 - there is no public way without their console
        return len(await asyncio.to_thread(recover, [worker_id]))

    def stop_taking(self) -> None:
        """Take nothing more from the queue."""
        if self._dbos is not None:
            for event in self._dbos.background_thread_stop_events:
                event.set()
        self._bell.set()

    async def stop(self) -> None:
        """Leave DBOS; a workflow that still runs stays pending, to be recovered."""
        self.stop_taking()
        loop = asyncio.get_running_loop()
        # DBOS made its threads the loop's own, and shuts them down: a thread of ours, and then fresh ones for the loop.
        with ThreadPoolExecutor(1) as thread:
            await loop.run_in_executor(thread, self._leave)
        loop.set_default_executor(ThreadPoolExecutor())

    def _leave(self) -> None:
        from dbos import DBOS  # noqa: PLC0415 - slow to import

        if self._dbos is not None:
            DBOS.destroy(destroy_registry=True)
            self._dbos = None
        self._engine.dispose()


def _assume_versions(dbos: "DBOS") -> None:
    """Spare each look at the queue the question whether our version is the newest.

    DBOS asks it to know whether to take what was queued without a version. We queue nothing without one, so the answer
    makes no difference; but asking is a third of the cost of a look.
    """
    dbos._sys_db._is_latest_version = lambda *_: False  # type: ignore[method-assign] # noqa: SLF001 - see the docstring


def _json() -> Any:
    # DBOS pickles by default: whoever could write to its tables could run code here.
    from dbos import DBOSPortableJSONSerializer  # noqa: PLC0415 - slow to import

    return DBOSPortableJSONSerializer()


def _engine(url: str, pool_size: int) -> sa.Engine:
    return sa.create_engine(
        dbos_url(url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        pool_pre_ping=True,
        connect_args={
            "options": f"-c role={APPLICATION_ROLE} -c jit=off -c statement_timeout=30000",
            "application_name": "regatta durable",
            "connect_timeout": 5,
        },
    )
