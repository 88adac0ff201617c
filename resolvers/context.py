"""What a resolver has at hand: who is asking, the use cases, and one data loader per access path."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine, Hashable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import strawberry
from aiodataloader import DataLoader

from domain.model.alert import AlertRule
from domain.model.identity import PrincipalId, TenantId
from domain.model.model import Model
from domain.model.project import Project
from domain.model.role import Role
from domain.model.schedule import Schedule
from domain.model.task import Task
from domain.model.team import Team
from domain.model.tool import Tool
from domain.ports import ModelCatalogue, Reader
from domain.ports.audit import AuditTrail
from domain.ports.exports import Exports
from domain.ports.histories import Histories
from domain.ports.metrics import Metrics
from domain.ports.process import ProcessStatus
from domain.ports.tracing import NO_TRACING, Tracing
from domain.services.alert_feed import AlertFeed
from domain.services.approvals import DecideApproval
from domain.services.assessment import AssessTeam, ExplainMatches
from domain.services.cancelling import CancelExecution, CancelExecutions
from domain.services.continuing import ForkExecution, RetryExecution
from domain.services.control import PauseExecution, ResumeExecution, UpdateTaskExecution
from domain.services.copies import Duplicate
from domain.services.credentials import Secrets
from domain.services.crews import ExportCrew, ImportCrew
from domain.services.editing import Editing
from domain.services.executions import KickoffTeam
from domain.services.feed import ExecutionFeeds
from domain.services.generation_decisions import GenerationDecisions
from domain.services.generation_feed import GenerationFeed
from domain.services.generations import Generations
from domain.services.instantiating import Instantiate
from domain.services.optimizations import Optimizations
from domain.services.recommendations import Recommendations
from domain.services.routing_preview import PreviewRouting
from domain.services.schedules import Schedules
from domain.services.snapshots import Snapshots
from domain.services.templates import Templates
from domain.services.tenants import UpdateTenant
from domain.services.webhooks import Webhooks
from resolvers.budget import Budget
from resolvers.loaders import AccessPath, Source

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Services:
    """The use cases that the graph offers."""

    update_tenant: UpdateTenant
    projects: Editing[Project]
    teams: Editing[Team]
    roles: Editing[Role]
    tasks: Editing[Task]
    tools: Editing[Tool]
    models: Editing[Model]
    catalogue: ModelCatalogue
    histories: Histories
    metrics: Metrics
    exports: Exports
    audit_trail: AuditTrail
    assess: AssessTeam
    explain: ExplainMatches
    preview_routing: PreviewRouting
    duplicate: Duplicate
    import_crew: ImportCrew
    export_crew: ExportCrew
    kickoff: KickoffTeam
    cancel: CancelExecution
    cancel_many: CancelExecutions
    pause: PauseExecution
    resume: ResumeExecution
    retry: RetryExecution
    fork: ForkExecution
    update_task_execution: UpdateTaskExecution
    decide: DecideApproval
    secrets: Secrets
    webhooks: Webhooks
    feeds: ExecutionFeeds
    snapshots: Snapshots
    schedules: Editing[Schedule]
    scheduling: Schedules
    alert_rules: Editing[AlertRule]
    alert_feed: AlertFeed
    templates: Templates
    instantiate: Instantiate
    generations: Generations
    generation_decisions: GenerationDecisions
    generation_feed: GenerationFeed
    optimizations: Optimizations
    recommendations: Recommendations
    process: ProcessStatus


@dataclass(slots=True)
class Context:
    """One per operation; over a websocket one per socket, and then nothing may be remembered."""

    tenant_id: TenantId
    principal_id: PrincipalId | None
    services: Services
    reader: Reader
    remembers: bool = True
    tracing: Tracing = NO_TRACING
    trace_parent: str | None = None
    """The traceparent that a websocket was opened with, empty without one; None over HTTP, where a request is open."""
    budget: Budget = field(default_factory=Budget)
    _loaders: dict[Hashable, "DataLoader[Any, Any]"] = field(default_factory=dict)
    _tasks: set["asyncio.Task[Any]"] = field(default_factory=set)

    @asynccontextmanager
    async def operation(self) -> "AsyncIterator[Context]":
        """The same for one operation, with a budget of its own; at the end nothing that it began goes on."""
        own = Context(self.tenant_id, self.principal_id, self.services, self.reader, self.remembers)
        try:
            yield own
        finally:
            await own._stop()

    def load(self, path: AccessPath, key: Any) -> Awaitable[Any]:
        """The answer of the path for one key, asked together with the other keys of this moment."""
        loader = self._loaders.get(path)
        if loader is None:
            loader = self._loaders[path] = DataLoader(self._batch(path), cache=self.remembers, max_batch_size=1000)
        return loader.load(key)

    async def fetch(self, path: AccessPath, keys: Sequence[Any]) -> Sequence[Any]:
        """The answers of the path for all keys. Raises TooLarge; then nothing is read any more."""
        self.budget.check()
        services = self.services
        source = Source(
            self.reader,
            self.tenant_id,
            self.budget,
            services.catalogue,
            services.histories,
            services.metrics,
            services.recommendations,
        )
        return await path.fetch(source, keys)

    def start(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Work of this operation that runs beside the rest, and ends with it."""
        return self._own(asyncio.ensure_future(work))

    def _own(self, task: "asyncio.Task[T]") -> "asyncio.Task[T]":
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _stop(self) -> None:
        tasks = [task for task in self._tasks if not task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)

    def _batch(self, path: AccessPath) -> Any:
        async def fetch(keys: list[Any]) -> list[Any]:
            task = asyncio.current_task()
            if task is not None:
                self._own(task)  # the data loader's
            unique = list(dict.fromkeys(keys))
            found = dict(zip(unique, await self.fetch(path, unique), strict=True))
            return [found[key] for key in keys]

        return fetch


Info = strawberry.Info[Context, None]
