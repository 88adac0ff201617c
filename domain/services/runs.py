"""Carrying out executions: a worker claims what it was given a place for, and each run ends by itself or is stopped."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog
from structlog.contextvars import bound_contextvars

from domain.errors import OwnershipLost, Unavailable
from domain.model.identity import ExecutionId
from domain.ports import AdmissionKey, Claimed, ModelCatalogue, Ownership, RunStore, TaskRunner
from domain.ports.tracing import NO_TRACING, SpanKind, Tracing
from domain.services.recorder import EventRecorder
from domain.services.run import Run, RunParts, Stop, unexpected
from domain.services.spans import EXECUTION, about_run, note_end, queue_wait
from domain.services.task_work import RunRules

__all__ = ["RunExecution", "RunRules"]

_CLAIM_PAUSE = 0.5
_LEAVING_SECONDS = 1.0

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class RunExecution:
    """Carries out an execution from what is not completed to its end, or to a pause; a worker has one of these.

    Safe to call again after a crash: what is COMPLETED is not run again, what a task's journal has is not paid again,
    and whoever carried it out before can write nothing any more.
    """

    def __init__(
        self,
        store: RunStore,
        recorder: EventRecorder,
        runner: TaskRunner,
        models: ModelCatalogue,
        worker_id: str,
        rules: RunRules,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        self.store = store
        self.recorder = recorder
        self.worker_id = worker_id
        self._parts = RunParts(store, recorder, runner, models, rules, tracing)
        self._runs: dict[ExecutionId, Run] = {}
        self._is_stopping = False
        recorder.on_lost = self.lose

    @property
    def active(self) -> int:
        """How many executions are being carried out."""
        return len(self._runs)

    @property
    def executions(self) -> frozenset[ExecutionId]:
        """Which executions are being carried out."""
        return frozenset(self._runs)

    async def __call__(self, admission: AdmissionKey) -> None:
        """Returns when the execution is over, has stopped for a while, or is not ours any more.

        Failures are data, never raised. Raises CancelledError when the worker stops: somebody has to go on with it.
        """
        with bound_contextvars(execution_id=str(admission.execution_id)):
            claimed = await self._claim(admission)
            if claimed is None:
                return
            if self._is_stopping:  # meanwhile: what was claimed is handed on
                raise asyncio.CancelledError
            self.recorder.announce(claimed.ownership)
            if self._supersedes(claimed.ownership):
                await self._carry_out(Run(self._parts, claimed), claimed)

    async def _carry_out(self, run: Run, claimed: Claimed) -> None:
        execution_id = run.ownership.execution_id
        self._runs[execution_id] = run
        try:
            await self._traced(run, claimed)
        except OwnershipLost:
            _log.info("run_lost", execution_id=str(execution_id), epoch=run.ownership.epoch)
        finally:
            if self._runs.get(execution_id) is run:
                del self._runs[execution_id]

    async def _traced(self, run: Run, claimed: Claimed) -> None:
        """Carry it out in the trace of its kickoff, whichever run of it this is."""
        tracing, parent = self._parts.tracing, claimed.execution.trace_parent or ""
        with tracing.span(EXECUTION, about_run(claimed), kind=SpanKind.CONSUMER, parent=parent) as span:
            queue_wait(tracing, claimed, span)
            await run.carry_out()
            if run.ended is not None:
                note_end(span, run.ended)

    def _supersedes(self, ownership: Ownership) -> bool:
        """Whether this claim is the newest of its execution here; an older run of it stops, and pays no more."""
        other = self._runs.get(ownership.execution_id)
        if other is None:
            return True
        if other.ownership.epoch > ownership.epoch:
            return False
        other.stop(Stop.LOST)
        return True

    async def _claim(self, admission: AdmissionKey) -> Claimed | None:
        tenant_id, execution_id = admission.tenant_id, admission.execution_id
        try:
            return await self._patiently(execution_id, lambda: self.store.claim(admission, self.worker_id))
        except Exception as error:  # noqa: BLE001 - what cannot be read would be claimed again and again
            failure = unexpected(error, execution_id)
        place = (admission, self.worker_id)
        await self._patiently(execution_id, lambda: self.store.give_up(tenant_id, execution_id, failure, place))
        return None

    async def _patiently(self, execution_id: ExecutionId, ask: Callable[[], Awaitable[T]]) -> T:
        """What the store answers, however long that takes. Raises CancelledError when the worker stops."""
        while not self._is_stopping:
            try:
                return await ask()
            except Unavailable as error:
                _log.warning("claim_postponed", execution_id=str(execution_id), error=str(error))
                await asyncio.sleep(_CLAIM_PAUSE)
        raise asyncio.CancelledError

    def cancel(self, execution_id: ExecutionId) -> None:
        """End the execution as CANCELLED; it has to be CANCELLING already. Nothing happens when it is not here."""
        if run := self._runs.get(execution_id):
            run.stop(Stop.CANCELLED)

    def pause(self, execution_id: ExecutionId) -> None:
        """Let the execution stop before its next model call or task; that must have been asked for in the store."""
        if run := self._runs.get(execution_id):
            run.pause()

    @property
    def pausing(self) -> frozenset[ExecutionId]:
        """Which runs are about to pause."""
        return frozenset(execution_id for execution_id, run in self._runs.items() if run.is_pausing)

    def go_on(self, execution_id: ExecutionId) -> None:
        """Forget a pause that nobody asks for any more."""
        if run := self._runs.get(execution_id):
            run.go_on()

    def decided(self, execution_id: ExecutionId) -> None:
        """Look at the approvals of the execution: some were decided."""
        if run := self._runs.get(execution_id):
            run.decided()

    def lose(self, ownership: Ownership) -> None:
        """Stop this run without writing anything: another worker has the execution."""
        run = self._runs.get(ownership.execution_id)
        if run and run.ownership == ownership:
            run.stop(Stop.LOST)

    async def stop(self, grace_seconds: float) -> None:
        """Let the runs end for so long; then leave the others as they are, for another worker to go on.

        First at their next boundary, for a tool that must not be called twice may be at work; a second later at once.
        """
        self._is_stopping = True
        runs = list(self._runs.values())
        await _over(runs, grace_seconds)
        for run in runs:
            run.leave()
        await _over(runs, _LEAVING_SECONDS)
        for run in runs:
            run.stop(Stop.SHUTDOWN)
        await _over(runs, _LEAVING_SECONDS)


async def _over(runs: Sequence[Run], seconds: float) -> None:
    """Return when all of them are over, or after so many seconds."""
    ends = [asyncio.create_task(run.over.wait()) for run in runs if not run.over.is_set()]
    if ends:
        _, unfinished = await asyncio.wait(ends, timeout=seconds)
        for end in unfinished:
            end.cancel()
