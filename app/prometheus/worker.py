"""What a worker tells of its work: counted when it commits, so as it is in executions and ledger.

What no worker carried out to its end is counted nowhere: calls that are LOST, executions that are cancelled in the
queue or given up.
"""

from collections.abc import Callable, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from domain.events import ToolReturned
from domain.model.catalogue import find_shipped
from domain.model.execution import FINAL, TASK_FINAL, Execution, TaskExecutionStatus
from domain.model.identity import TenantId
from domain.model.ledger import LedgerEntry
from domain.model.model_names import PROVIDERS
from domain.ports import Change
from domain.services.recorder import EventRecorder
from domain.services.runs import RunExecution

OTHER: Final = "other"
"""What stands for the names that tenants gave, of which there could be any number."""

_MINUTES: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
_SECONDS: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160)


class WorkerMetrics:
    """The port `Measuring`. With `is_by_tenant`, executions, tokens and spend have a label more."""

    def __init__(self, registry: CollectorRegistry, *, is_by_tenant: bool) -> None:
        self.registry = registry
        self._is_by_tenant = is_by_tenant
        tenant = ("tenant",) if is_by_tenant else ()
        model = ("provider", "model")
        self.executions = self._counter(
            "executions_ended",
            "Executions that a worker carried out to their end: none cancelled in the queue or given up.",
            ("status", *tenant),
        )
        self.durations = self._histogram(
            "execution_duration_seconds", "From their start to their end, waiting included.", ("status",), _MINUTES
        )
        self.tasks = self._counter(
            "tasks_ended", "Tasks that the runs of executions ended: none of what was given up.", ("status",)
        )
        self.calls = self._counter("model_calls", "Attempts at model calls, but for LOST ones.", (*model, "outcome"))
        self.latencies = self._histogram(
            "model_call_duration_seconds", "From the request to the last of the answer.", ("provider",), _SECONDS
        )
        self.tokens = self._counter("tokens", "Tokens of model calls, but for LOST ones.", ("kind", *tenant))
        self.spend = self._counter(
            "spend_dollars", "What model calls cost, but for LOST ones, which the ledger has.", (*model, *tenant)
        )
        self.tools = self._counter("tool_calls", "Answers of tools.", ("outcome",))
        self.events = self._counter("events_recorded", "Events of executions that were stored.", ())
        self._begin_at_zero()

    def watch(self, recorder: EventRecorder, run: RunExecution, places: int) -> None:
        """Tell of these, too, as of each scrape."""
        self._gauge("recorder_waiting_changes", "What is reported and not committed.", lambda: recorder.waiting)
        self._gauge("runs_active", "Executions that run here.", lambda: run.active)
        self._gauge("worker_slots", "Executions that may run here at once.", lambda: places)

    def committed(self, change: Change, *, is_accepted: bool) -> None:
        for entry in change.ledger:
            self.booked(entry)
        if is_accepted:
            self._count(change)

    def booked(self, entry: LedgerEntry) -> None:
        provider, model = _bounded(entry)
        tenant = self._tenant(entry.tenant_id)
        self.calls.labels(provider, model, entry.outcome.value).inc()
        self.spend.labels(provider, model, *tenant).inc(float(entry.cost))
        if entry.latency_seconds is not None:
            self.latencies.labels(provider).observe(entry.latency_seconds)
        self.tokens.labels("prompt", *tenant).inc(entry.prompt_tokens)
        self.tokens.labels("completion", *tenant).inc(entry.completion_tokens)
        self.tokens.labels("cached", *tenant).inc(entry.cached_tokens)
        self.tokens.labels("reasoning", *tenant).inc(entry.reasoning_tokens)

    def _count(self, change: Change) -> None:
        self.events.inc(len(change.events))
        for event in change.events:
            if isinstance(event, ToolReturned):
                self.tools.labels("FAILED" if event.is_error else "SUCCEEDED").inc()
        for task in change.task_executions:
            if task.status in TASK_FINAL:
                self.tasks.labels(task.status.value).inc()
        if change.execution is not None and change.execution.is_final:
            self._ended(change.execution)

    def _ended(self, execution: Execution) -> None:
        self.executions.labels(execution.status.value, *self._tenant(execution.tenant_id)).inc()
        if (seconds := execution.timing.duration_seconds) is not None:
            self.durations.labels(execution.status.value).observe(seconds)

    def _tenant(self, tenant_id: TenantId) -> tuple[str, ...]:
        return (str(tenant_id),) if self._is_by_tenant else ()

    def _begin_at_zero(self) -> None:
        """What is not there cannot grow: a rate would miss the first of each, which may be the first failure."""
        for outcome in ("SUCCEEDED", "FAILED"):
            self.tools.labels(outcome)
        for task in (TaskExecutionStatus.COMPLETED, TaskExecutionStatus.FAILED):
            self.tasks.labels(task.value)
        for status in FINAL if not self._is_by_tenant else ():
            self.executions.labels(status.value)

    def _counter(self, name: str, text: str, labels: Sequence[str]) -> Counter:
        return Counter(f"regatta_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, labels: Sequence[str], buckets: Sequence[float]) -> Histogram:
        return Histogram(f"regatta_{name}", text, labels, buckets=buckets, registry=self.registry)

    def _gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        Gauge(f"regatta_{name}", text, registry=self.registry).set_function(value)


def _bounded(entry: LedgerEntry) -> tuple[str, str]:
    """Provider and model, if they are ours to name."""
    provider = entry.provider if entry.provider in PROVIDERS else OTHER
    return provider, entry.model if find_shipped(entry.model) else OTHER
