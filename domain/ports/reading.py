"""Storage as the graph needs it: batched questions, always within one tenant."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeVar
from uuid import UUID

from domain.events import ExecutionEvent
from domain.model.alert import Alert
from domain.model.approval import Approval
from domain.model.availability import ModelRecords, OperatorModels
from domain.model.budget import Budget, BudgetScope
from domain.model.execution import CancelReport, Execution, TaskExecution
from domain.model.generation import GenerationReport
from domain.model.identity import ExecutionId, TeamId, TenantId
from domain.model.ledger import Usage
from domain.model.page import Page, PageRequest
from domain.model.resources import Resources
from domain.model.revision import TeamRevision
from domain.model.task import Task
from domain.model.tool import Tool
from domain.ports.optimizations import OptimizationQuestions
from domain.ports.templates import TemplateQuestions

E = TypeVar("E")


class Reader(TemplateQuestions, OptimizationQuestions, Protocol):
    """Batched questions of the graph, each one statement, always within one tenant."""

    async def by_ids(self, kind: type[E], tenant_id: TenantId, ids: Sequence[UUID]) -> Mapping[UUID, E]:
        """The things that exist among the ids."""
        ...

    async def children(
        self,
        kind: type[E],
        tenant_id: TenantId,
        parent: str,
        ids: Sequence[UUID],
        order: Sequence[str],
        limit: int | None = None,
    ) -> Mapping[UUID, Sequence[E]]:
        """For each id the things whose field `parent` has it, without archived ones, in order.

        At most `limit` in all, as for the next two: whoever gets so many has not got everything.
        """
        ...

    async def pages(
        self, kind: type[E], tenant_id: TenantId, parent: str, ids: Sequence[UUID], request: PageRequest
    ) -> Mapping[UUID, Page[E]]:
        """For each id one page of the things whose field `parent` has it; raises Invalid for a bad cursor."""
        ...

    async def usage(self, tenant_id: TenantId, by: str, ids: Sequence[UUID]) -> Mapping[UUID, Usage]:
        """For each id the sum over the ledger entries whose field `by` has it."""
        ...

    async def usage_within(
        self, tenant_id: TenantId, by: str, ids: Sequence[UUID], since: datetime | None, until: datetime | None
    ) -> Mapping[UUID, Usage]:
        """The same over the entries booked at or after `since` and before `until`."""
        ...

    async def budgets(self, tenant_id: TenantId, scope: BudgetScope, ids: Sequence[UUID]) -> Mapping[UUID, Budget]:
        """For each id the state of its budget in the present period."""
        ...

    async def model_records(self, tenant_id: TenantId) -> ModelRecords:
        """What is stored of the tenant's models."""
        ...

    async def operator_models(self) -> OperatorModels:
        """What the workers that are alive say they can reach."""
        ...

    async def tools_by_role(
        self, tenant_id: TenantId, ids: Sequence[UUID], limit: int | None = None
    ) -> Mapping[UUID, Sequence[Tool]]: ...

    async def tools_named(self, tenant_id: TenantId, project_id: UUID, names: Sequence[str]) -> Sequence[Tool]:
        """The tools of the project that are in use and have one of these names."""
        ...

    async def archived_tools(self, tenant_id: TenantId, role_ids: Sequence[UUID]) -> Sequence[str]:
        """The names of the tools out of use that these roles were given, at most 100."""
        ...

    async def dependencies_by_task(
        self, tenant_id: TenantId, ids: Sequence[UUID], limit: int | None = None
    ) -> Mapping[UUID, Sequence[Task]]: ...

    async def awaited_tasks(
        self, tenant_id: TenantId, ids: Sequence[UUID], limit: int | None = None
    ) -> Mapping[UUID, Sequence[TaskExecution]]:
        """For each task execution those that it waits for."""
        ...

    async def cancel_reports(self, tenant_id: TenantId, ids: Sequence[UUID]) -> Mapping[UUID, CancelReport]:
        """For each execution that was asked to stop how far it was then, and what was booked after that."""
        ...

    async def approval_activity(self, tenant_id: TenantId, since: datetime, limit: int) -> Sequence[Approval]:
        """The approvals that are open, the newest first, and those decided since; at most `limit` of each."""
        ...

    async def alert_activity(self, tenant_id: TenantId, since: datetime, limit: int) -> Sequence[Alert]:
        """The alerts that fire, the newest first, and those written to be resolved since; at most `limit` of each."""
        ...

    async def activity_by_team(
        self, tenant_id: TenantId, ids: Sequence[UUID]
    ) -> Mapping[UUID, tuple[bool, datetime | None]]:
        """For each team whether an execution is under way, and when one was last kicked off."""
        ...

    async def resources(self, tenant_id: TenantId) -> Resources:
        """The workers and the queue as this tenant may see them."""
        ...

    async def running_on(
        self, tenant_id: TenantId, worker_ids: Sequence[str], limit: int | None = None
    ) -> Mapping[str, Sequence[Execution]]:
        """For each worker the tenant's executions that have a place on it, the oldest places first, at most 100.

        At most `limit` in all.
        """
        ...

    async def revisions_of(
        self, tenant_id: TenantId, wanted: Collection[tuple[TeamId, str]]
    ) -> Mapping[tuple[TeamId, str], TeamRevision]:
        """The revisions of teams with these hashes, as far as there are such."""
        ...

    async def generation_metrics(
        self,
        tenant_id: TenantId,
        project_id: UUID | None,
        since: datetime | None,
        until: datetime | None,
        most: int,
    ) -> GenerationReport:
        """How the generations that were asked for in the period went, at most the newest so many of them."""
        ...

    async def events(
        self, tenant_id: TenantId, execution_id: ExecutionId, after: int, limit: int
    ) -> Sequence[ExecutionEvent]:
        """The stored events behind a sequence number, in order."""
        ...

    async def event_pages(
        self, tenant_id: TenantId, ids: Sequence[UUID], request: PageRequest
    ) -> Mapping[UUID, Page[ExecutionEvent]]:
        """For each execution one page of its events in the order of their sequence."""
        ...

    async def activity(
        self, tenant_id: TenantId, project_id: UUID, since: datetime, limit: int
    ) -> Sequence[tuple[Execution, int]]:
        """The project's executions that ended after `since` or are under way, each with its last sequence.

        At most `limit`: those that ended first, then the newest under way.
        """
        ...
