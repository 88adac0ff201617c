"""The only DBOS workflow: started by a worker for what it was given a place for, and no more than a call of the run.

Our own rows are the checkpoints, so it has no steps; and our own queue decides who runs what
(`domain.ports.Admissions`), so DBOS has none. It keeps what each worker began. What a worker left behind in an earlier
life, DBOS begins again when it is launched; by then the places were given to others, under new ids, and such a run is
refused and ends at once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import sqlalchemy as sa

from app.migrations import dbos_url
from domain.model.identity import AdmissionId, ExecutionId, TenantId
from domain.ports import AdmissionKey
from persistence.engine import APPLICATION_ROLE

if TYPE_CHECKING:
    from dbos import DBOS

APPLICATION: Final = "regatta"
WORKFLOW: Final = "run_execution"

PROTOCOL: Final = "2"
"""DBOS's application version. Raise it by hand when the workflow's name or arguments change: a worker begins again only
what was begun under its own."""

_POOL_SIZE: Final = 5
_NEVER_SECONDS: Final = 3600.0


class DurableWorker:
    """Begins runs, on the loop on which it is started; one per process, for DBOS is a singleton."""

    def __init__(self, url: str, carry_out: Callable[[AdmissionKey], Awaitable[None]], worker_id: str) -> None:
        self._carry_out = carry_out
        self._worker_id = worker_id
        self._engine = _engine(url, _POOL_SIZE)
        self._dbos: DBOS | None = None
        self._workflow: Callable[[str, str, str], Any] | None = None

    async def start(self) -> None:
        """Be ready to begin. Raises what DBOS does when the database does not answer."""
        from dbos import DBOS  # noqa: PLC0415 - slow to import

        self._dbos = DBOS(config=self._configuration())
        DBOS.listen_queues([])  # we have none, but an earlier version had
        self._workflow = DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)(self._run_execution())
        DBOS.launch()

    def _run_execution(self) -> Callable[[str, str, str], Any]:
        async def run_execution(tenant_id: str, execution_id: str, admission_id: str) -> None:
            key = AdmissionKey(
                TenantId(UUID(tenant_id)), ExecutionId(UUID(execution_id)), AdmissionId(UUID(admission_id))
            )
            await self._carry_out(key)

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
            "scheduler_polling_interval_sec": _NEVER_SECONDS,  # we have no schedules
        }

    async def begin(self, key: AdmissionKey) -> None:
        """Begin the run of this place; returns before it ends. Raises whatever keeps DBOS from noting it."""
        from dbos import DBOS, SetWorkflowID  # noqa: PLC0415 - slow to import

        if self._workflow is None:
            raise RuntimeError("the worker is not started")
        with SetWorkflowID(str(key.id)):
            await DBOS.start_workflow_async(self._workflow, str(key.tenant_id), str(key.execution_id), str(key.id))

    async def stop(self) -> None:
        """Leave DBOS; a workflow that still runs stays pending."""
        if self._dbos is not None:
            for event in self._dbos.background_thread_stop_events:
                event.set()
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
