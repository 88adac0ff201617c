"""The access paths of the graph: each answers for many keys with a number of statements that does not grow.

An edge is declared by its path. The breadth-first executor asks a path once for all parents of a level;
anything else goes one by one through a data loader, which gathers the keys again.
"""

import asyncio
from collections.abc import Awaitable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import Any, Protocol, TypeVar
from uuid import UUID

from domain.model.approval import Approval
from domain.model.budget import NO_BUDGET, Budget, BudgetScope
from domain.model.catalogue import find_shipped_by_id, of_tenant
from domain.model.credential import Credential
from domain.model.execution import CancelReport, Execution, TaskExecution
from domain.model.identity import TenantId, utc_now
from domain.model.ledger import LedgerEntry, Usage
from domain.model.listing import page_by_name
from domain.model.model import Model, Unusable
from domain.model.money import Money
from domain.model.page import Page, PageRequest
from domain.model.project import Project, Tenant
from domain.model.refinement import RefinementPass, RefinementReport
from domain.model.revision import TeamRevision
from domain.model.role import Role
from domain.model.routing import Offer
from domain.model.schedule import Schedule, ScheduleFire, Timetable
from domain.model.task import Task
from domain.model.team import Team, TeamStatus
from domain.model.tool import Tool
from domain.model.webhook import Webhook, WebhookDelivery
from domain.ports import ModelCatalogue, Reader
from domain.ports.histories import Histories
from domain.ports.metrics import Metrics
from domain.services.recommendations import Recommendations
from resolvers.budget import Budget as OperationBudget
from resolvers.budget import Lists

R = TypeVar("R", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Source:
    """Where one operation reads from, for whom, and how much it may."""

    reader: Reader
    tenant_id: TenantId
    budget: OperationBudget
    catalogue: ModelCatalogue
    histories: Histories
    metrics: Metrics
    recommendations: Recommendations


class AccessPath(Hashable, Protocol):
    """A batched question; the answers stand in the order of the keys. Raises TooLarge."""

    async def fetch(self, source: Source, keys: Sequence[Any]) -> Sequence[Any]: ...


def _in_order(found: Mapping[UUID, Any], keys: Sequence[UUID], absent: Any = None) -> list[Any]:
    return [found.get(key, absent) for key in keys]


@dataclass(frozen=True, slots=True)
class ById:
    """The thing with this id, or None; a key None (no reference) stays None."""

    kind: type[Any]

    async def fetch(self, source: Source, keys: Sequence[UUID | None]) -> Sequence[Any]:
        wanted = [key for key in keys if key is not None]
        found = await source.reader.by_ids(self.kind, source.tenant_id, wanted) if wanted else {}
        return [None if key is None else found.get(key) for key in keys]


@dataclass(frozen=True, slots=True)
class Children:
    """The things that belong to a parent, as a plain list: these lists are short by the domain's rules."""

    kind: type[Any]
    parent: str
    order: tuple[str, ...] = ("position", "id")

    async def fetch(self, source: Source, keys: Sequence[UUID]) -> Sequence[Any]:
        def load(limit: int | None) -> Awaitable[Lists]:
            return source.reader.children(self.kind, source.tenant_id, self.parent, keys, self.order, limit)

        return _in_order(await source.budget.lists(len(keys), load), keys, ())


@dataclass(frozen=True, slots=True)
class Pages:
    """A page of the things that belong to a parent; a key is the parent's id and the page that is wanted."""

    kind: type[Any]
    parent: str

    async def fetch(self, source: Source, keys: Sequence[tuple[UUID, PageRequest]]) -> Sequence[Any]:
        found: dict[tuple[UUID, PageRequest], Any] = {}
        for request, ids in _by_request(keys).items():
            pages = await source.reader.pages(self.kind, source.tenant_id, self.parent, ids, request)
            found.update({(identifier, request): page for identifier, page in pages.items()})
        return [found[key] for key in keys]


@dataclass(frozen=True, slots=True)
class EventPages:
    """A page of an execution's events; a key is the execution's id and the page that is wanted."""

    async def fetch(self, source: Source, keys: Sequence[tuple[UUID, PageRequest]]) -> Sequence[Any]:
        found: dict[tuple[UUID, PageRequest], Any] = {}
        for request, ids in _by_request(keys).items():
            pages = await source.reader.event_pages(source.tenant_id, ids, request)
            found.update({(identifier, request): page for identifier, page in pages.items()})
        return [found[key] for key in keys]


def _by_request(keys: Sequence[tuple[UUID, R]]) -> dict[R, list[UUID]]:
    groups: dict[R, list[UUID]] = {}
    for identifier, request in dict.fromkeys(keys):
        groups.setdefault(request, []).append(identifier)
    return groups


@dataclass(frozen=True, slots=True)
class UsageBy:
    """The sum over the ledger entries that have this key in this field."""

    field: str

    async def fetch(self, source: Source, keys: Sequence[UUID]) -> Sequence[Usage]:
        return _in_order(await source.reader.usage(source.tenant_id, self.field, keys), keys, Usage())


@dataclass(frozen=True, slots=True)
class Period:
    """From `since` on, and before `until`, in UTC; None for no bound."""

    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class UsageWithin:
    """The sum over the ledger entries of a period that have this id in this field; a key is the id and the period."""

    field: str

    async def fetch(self, source: Source, keys: Sequence[tuple[UUID, Period]]) -> Sequence[Usage]:
        found: dict[tuple[UUID, Period], Usage] = {}
        for period, ids in _by_request(keys).items():
            sums = await source.reader.usage_within(source.tenant_id, self.field, ids, period.since, period.until)
            found.update({(identifier, period): usage for identifier, usage in sums.items()})
        return [found.get(key, Usage()) for key in keys]


@dataclass(frozen=True, slots=True)
class BudgetBy:
    """The state of the budget of this scope's thing in the present period."""

    scope: BudgetScope

    async def fetch(self, source: Source, keys: Sequence[UUID]) -> Sequence[Budget]:
        return _in_order(await source.reader.budgets(source.tenant_id, self.scope, keys), keys, NO_BUDGET)


@dataclass(frozen=True, slots=True)
class ToolsOfRole:
    """The tools that a role may use."""

    async def fetch(self, source: Source, keys: Sequence[UUID]) -> Sequence[Any]:
        def load(limit: int | None) -> Awaitable[Lists]:
            return source.reader.tools_by_role(source.tenant_id, keys, limit)

        return _in_order(await source.budget.lists(len(keys), load), keys, ())


@dataclass(frozen=True, slots=True)
class DependenciesOfTask:
    """The tasks that a task waits for."""

    async def fetch(self, source: Source, keys: Sequence[UUID]) -> Sequence[Any]:
        def load(limit: int | None) -> Awaitable[Lists]:
            return source.reader.dependencies_by_task(source.tenant_id, keys, limit)

        return _in_order(await source.budget.lists(len(keys), load), keys, ())


@dataclass(frozen=True, slots=True)
class AwaitedBy:
    """The task executions that a task execution waits for."""

    async def fetch(self, source: Source, keys: Sequence[UUID]) -> Sequence[Any]:
        def load(limit: int | None) -> Awaitable[Lists]:
            return source.reader.awaited_tasks(source.tenant_id, keys, limit)

        return _in_order(await source.budget.lists(len(keys), load), keys, ())


@dataclass(frozen=True, slots=True)
class CancelOutcome:
    """How far an execution was when it was asked to stop, and what was booked after that."""

    stage: str
    done_tasks: int
    cost_after_request: Money


_NO_REPORT = CancelReport(0, 0, (), Decimal(0))


@dataclass(frozen=True, slots=True)
class CancelOutcomeOf:
    """What became of the request to stop an execution."""

    async def fetch(self, source: Source, keys: Sequence[UUID]) -> Sequence[CancelOutcome]:
        found = await source.reader.cancel_reports(source.tenant_id, keys)
        reports = (found.get(key, _NO_REPORT) for key in keys)
        return [CancelOutcome(report.stage, report.done_tasks, Money(report.amount)) for report in reports]


@dataclass(frozen=True, slots=True)
class RefinementOf:
    """What refinement of an execution came to; None where nothing was judged."""

    async def fetch(self, source: Source, keys: Sequence[UUID]) -> Sequence[RefinementReport | None]:
        found = await PassesByExecution.fetch(source, keys)
        return [RefinementReport(passes) if passes else None for passes in found]


@dataclass(frozen=True, slots=True)
class RunningOnWorker:
    """The tenant's executions that have a place on the worker of this name."""

    async def fetch(self, source: Source, keys: Sequence[str]) -> Sequence[Any]:
        def load(limit: int | None) -> Awaitable[Mapping[Any, Sequence[Any]]]:
            return source.reader.running_on(source.tenant_id, keys, limit)

        found: Mapping[Any, Sequence[Any]] = await source.budget.lists(len(keys), load)
        return [found.get(key, ()) for key in keys]


@dataclass(frozen=True, slots=True)
class TeamActivity:
    """What a team is doing, derived from its executions."""

    status: TeamStatus
    last_executed_at: Any


@dataclass(frozen=True, slots=True)
class ActivityOfTeam:
    """Whether a team is running, and when it was last kicked off."""

    async def fetch(self, source: Source, keys: Sequence[UUID]) -> Sequence[TeamActivity]:
        found = await source.reader.activity_by_team(source.tenant_id, keys)
        return [
            TeamActivity(TeamStatus.RUNNING if is_busy else TeamStatus.IDLE, last)
            for is_busy, last in (found.get(key, (False, None)) for key in keys)
        ]


@dataclass(frozen=True, slots=True)
class ModelOfCatalogue:
    """The model with this id, shipped or the tenant's own, or None."""

    async def fetch(self, source: Source, keys: Sequence[UUID | None]) -> Sequence[Any]:
        wanted = [key for key in keys if key is not None]
        found: dict[UUID, Any] = {}
        for key in wanted:
            if model := find_shipped_by_id(key):
                found[key] = of_tenant(model, source.tenant_id)
        own = [key for key in wanted if key not in found]
        if own:
            found |= await source.reader.by_ids(Model, source.tenant_id, own)
        return [None if key is None else found.get(key) for key in keys]


@dataclass(frozen=True, slots=True)
class ModelAvailability:
    """Whether a model can be called now; when not, why."""

    is_usable: bool
    unusable: Unusable | None = None
    why_not: str | None = None


_REPLACED = ModelAvailability(
    is_usable=False, unusable=Unusable.DISABLED, why_not="An entry of your own stands in its place."
)
_ARCHIVED = ModelAvailability(is_usable=False, unusable=Unusable.DISABLED, why_not="It is archived.")


@dataclass(frozen=True, slots=True)
class AvailabilityOfModel:
    """Whether the model with this id can be called now."""

    async def fetch(self, source: Source, keys: Sequence[UUID]) -> Sequence[ModelAvailability]:
        offers = {offer.model.id: offer for offer in await source.catalogue.offers(source.tenant_id)}
        found: dict[UUID, ModelAvailability] = {key: _availability(offer) for key, offer in offers.items()}
        return [found.get(key) or (_REPLACED if find_shipped_by_id(key) else _ARCHIVED) for key in keys]


def _availability(offer: Offer) -> ModelAvailability:
    if offer.is_usable:
        return ModelAvailability(is_usable=True)
    return ModelAvailability(is_usable=False, unusable=offer.unusable, why_not=offer.explanation)


@dataclass(frozen=True, slots=True)
class ModelPages:
    """A page of the tenant's catalogue by name; a key is the tenant's id and the page that is wanted."""

    async def fetch(self, source: Source, keys: Sequence[tuple[UUID, PageRequest]]) -> Sequence[Any]:
        offers = await source.catalogue.offers(source.tenant_id)
        return [_models_of(page_by_name(offers, request, _of_offer)) for _, request in keys]


def _models_of(page: Page[Offer]) -> Page[Model]:
    models = [offer.model for offer in page.items]
    return Page(models, page.cursors, page.has_next, page.has_previous, page.total)


def _of_offer(offer: Offer, field: str) -> Any:
    return getattr(offer if field == "is_usable" else offer.model, field)


@dataclass(frozen=True, slots=True)
class FireOfExecution:
    """The fire of a schedule that started an execution, or None."""

    async def fetch(self, source: Source, keys: Sequence[UUID]) -> Sequence[ScheduleFire | None]:
        found = await source.reader.children(ScheduleFire, source.tenant_id, "execution_id", keys, ("id",), len(keys))
        return [next(iter(found.get(key, ())), None) for key in keys]


@dataclass(frozen=True, slots=True)
class NextFires:
    """The next moments of a timetable; a key is the timetable and how many are wanted."""

    async def fetch(self, source: Source, keys: Sequence[tuple[Timetable, int]]) -> Sequence[Any]:
        most: dict[Timetable, int] = {}
        for timetable, count in keys:
            most[timetable] = max(count, most.get(timetable, 0))
        source.budget.moments(sum(most.values()))
        now = utc_now()
        found = {timetable: await _moments(timetable, now, count) for timetable, count in most.items()}
        return [found[timetable][:count] for timetable, count in keys]


async def _moments(timetable: Timetable, now: datetime, count: int) -> list[datetime]:
    """The next ones, with a chance for everybody else after each: some take long to find."""
    found = []
    for moment in islice(timetable.after(now), count):
        found.append(moment)
        await asyncio.sleep(0)
    return found


TenantById = ById(Tenant)
ProjectById = ById(Project)
TeamById = ById(Team)
RoleById = ById(Role)
TaskById = ById(Task)
ToolById = ById(Tool)
RevisionById = ById(TeamRevision)
ExecutionById = ById(Execution)
CredentialById = ById(Credential)
WebhookById = ById(Webhook)
WebhookDeliveryById = ById(WebhookDelivery)
ModelById = ModelOfCatalogue()
AvailabilityByModel = AvailabilityOfModel()
ModelsByTenant = ModelPages()
TaskExecutionById = ById(TaskExecution)
LedgerEntryById = ById(LedgerEntry)
ScheduleById = ById(Schedule)
ScheduleFireById = ById(ScheduleFire)
FireByExecution = FireOfExecution()
NextFiresByTimetable = NextFires()
ApprovalById = ById(Approval)

CredentialsByTenant = Children(Credential, "tenant_id", ("kind", "subject", "id"))
RolesByTeam = Children(Role, "team_id")
SubordinatesByRole = Children(Role, "supervisor_id")
TasksByTeam = Children(Task, "team_id")
TaskExecutionsByExecution = Children(TaskExecution, "execution_id")
ToolsByRole = ToolsOfRole()
DependenciesByTask = DependenciesOfTask()
AwaitedByTaskExecution = AwaitedBy()
CancelOutcomeByExecution = CancelOutcomeOf()
PassesByExecution = Children(RefinementPass, "execution_id", ("number",))
RefinementByExecution = RefinementOf()

ProjectsByTenant = Pages(Project, "tenant_id")
TeamsByProject = Pages(Team, "project_id")
ToolsByProject = Pages(Tool, "project_id")
WebhooksByProject = Pages(Webhook, "project_id")
DeliveriesByWebhook = Pages(WebhookDelivery, "webhook_id")
ExecutionsByProject = Pages(Execution, "project_id")
ExecutionsByTeam = Pages(Execution, "team_id")
SchedulesByTeam = Pages(Schedule, "team_id")
FiresBySchedule = Pages(ScheduleFire, "schedule_id")
ExecutionsByTenant = Pages(Execution, "tenant_id")
TeamsByTenant = Pages(Team, "tenant_id")
RetriesOfExecution = Pages(Execution, "retry_of")
ForksOfExecution = Pages(Execution, "forked_from")
ApprovalsByTenant = Pages(Approval, "tenant_id")
ApprovalsByExecution = Pages(Approval, "execution_id")
ApprovalsByTaskExecution = Pages(Approval, "task_execution_id")
EventsByExecution = EventPages()

UsageByExecution = UsageBy("execution_id")
UsageByTaskExecution = UsageBy("task_execution_id")
UsageOfRole = UsageWithin("role_id")
UsageOfTeam = UsageWithin("team_id")
UsageOfProject = UsageWithin("project_id")

BudgetOfTenant = BudgetBy(BudgetScope.TENANT)
BudgetOfProject = BudgetBy(BudgetScope.PROJECT)
BudgetOfTeam = BudgetBy(BudgetScope.TEAM)
BudgetOfExecution = BudgetBy(BudgetScope.EXECUTION)
BudgetOfTaskExecution = BudgetBy(BudgetScope.TASK)

LedgerByExecution = Pages(LedgerEntry, "execution_id")
LedgerByTaskExecution = Pages(LedgerEntry, "task_execution_id")
LedgerByTeam = Pages(LedgerEntry, "team_id")
ActivityByTeam = ActivityOfTeam()
RunningByWorker = RunningOnWorker()
