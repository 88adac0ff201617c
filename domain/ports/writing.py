"""Storage as mutations need it: repositories in a unit of work."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar
from uuid import UUID

from domain.events import ExecutionEvent
from domain.model.admission import Admission
from domain.model.approval import Approval
from domain.model.budget import Shortfall
from domain.model.credential import Credential, CredentialKind
from domain.model.execution import Execution, ExecutionStatus, TaskExecution
from domain.model.identity import (
    ApprovalId,
    CredentialId,
    ExecutionId,
    ProjectId,
    RevisionId,
    RoleId,
    ScheduleId,
    TaskId,
    TeamId,
    TenantId,
)
from domain.model.matching import Record
from domain.model.model import Model
from domain.model.project import Project, Tenant
from domain.model.revision import TeamRevision, TeamSnapshot
from domain.model.role import Role
from domain.model.schedule import FireKind, Schedule, ScheduleFire
from domain.model.task import Task
from domain.model.team import Team
from domain.model.tool import Tool
from domain.model.webhook import Webhook, WebhookDelivery, WebhookSecret
from domain.ports.alerts import AlertRules
from domain.ports.generations import Generations
from domain.ports.optimizations import Optimizations
from domain.ports.templates import Templates

E = TypeVar("E")


class Repository(Protocol[E]):
    """Things of one kind, of one tenant."""

    async def get(self, identifier: UUID) -> E:
        """The thing; raises NotFound."""
        ...

    async def add(self, entity: E) -> None:
        """Insert; raises NameTaken, or NotFound for a reference to nothing."""
        ...

    async def update(self, entity: E) -> E:
        """Write the thing if it still has `entity.version`; returns it with the next version.

        Raises StaleVersion when somebody else changed it, NotFound, NameTaken.
        """
        ...


class Models(Repository[Model], Protocol):
    """The tenant's own entries of the catalogue."""

    async def count(self) -> int:
        """How many are in use; nobody else adds one until the end of the unit of work."""
        ...


class TeamDefinitions(Protocol):
    """What belongs to a team beyond its own row."""

    async def lock(self, team_id: TeamId) -> Team:
        """The team, locked until the end of the unit of work; raises NotFound."""
        ...

    async def snapshot(self, team_id: TeamId) -> TeamSnapshot:
        """The team with its roles, tasks, dependencies and tools, without archived ones; raises NotFound."""
        ...

    async def mark_changed(self, team_ids: Sequence[TeamId]) -> None:
        """Forget the current revision: the next kickoff makes a new one. Locks the teams."""
        ...

    async def teams_using(self, tool_id: UUID) -> Sequence[TeamId]:
        """The teams with a role that may use the tool."""
        ...

    async def set_dependencies(self, task: Task, depends_on: Sequence[TaskId]) -> None:
        """Replace what the task waits for; raises NotFound for a task that is not of its team."""
        ...

    async def set_tools(self, role: Role, tool_ids: Sequence[UUID]) -> None:
        """Replace the tools of the role; raises NotFound for a tool that is not of its project."""
        ...

    async def tools_named(self, project_id: ProjectId, names: Sequence[str]) -> Sequence[Tool]:
        """The tools of the project that are in use and have one of these names."""
        ...

    async def add_missing_tools(self, tools: Sequence[Tool]) -> None:
        """Insert them but for those whose name another tool in use has; waits for one that is being made."""
        ...

    async def find_revision(self, revision_id: RevisionId) -> TeamRevision | None: ...

    async def keep_revision(self, team_id: TeamId, content: str, content_hash: str) -> RevisionId:
        """The revision of the team with this content, made if there is none, and set as the current one."""
        ...


class Executions(Protocol):
    """Executions as mutations need them."""

    async def get(self, identifier: UUID) -> Execution:
        """The execution; raises NotFound."""
        ...

    async def lock(self, identifier: UUID) -> Execution:
        """The execution, locked until the end of the unit of work; raises NotFound."""
        ...

    async def add(self, execution: Execution, tasks: Sequence[TaskExecution]) -> None: ...

    async def save(self, execution: Execution, expected: ExecutionStatus) -> None:
        """Write the state of a locked execution; raises InvalidTransition when it is not `expected` any more."""
        ...

    async def tasks(self, execution_id: ExecutionId) -> Sequence[TaskExecution]:
        """The task executions of an execution, by position."""
        ...

    async def save_task(self, task: TaskExecution) -> None:
        """Write what people change of a PENDING task of a locked execution: texts, role, model, budget."""
        ...

    async def wait_for_place(self, admission: Admission) -> None:
        """Let the execution wait for a place on a worker; `dispatch` of a worker gives it one."""
        ...

    async def withdraw(self, execution_id: ExecutionId) -> Admission | None:
        """Take the execution out of the queue, or its place away; what it had, None for neither.

        For an execution that is locked. A worker that has it learns of it by its next write.
        """
        ...

    async def admission(self, execution_id: ExecutionId) -> Admission | None:
        """What the locked execution has of a place: waits for one, has one, or neither (None)."""
        ...

    async def under_way(self, team_id: TeamId, limit: int) -> Sequence[ExecutionId]:
        """Executions of the team that keep it busy, at most so many, in the order in which they are to be locked."""
        ...

    async def find_answer(self, cache_key: str, since: datetime) -> Execution | None:
        """The newest execution with this key that was COMPLETED by its own work at or after `since`, if any."""
        ...

    async def records(self, role_ids: Sequence[RoleId]) -> Mapping[RoleId, Record]:
        """How the last tasks of each role ended, at most `MOST_RECORDS` of each; none for a role without any."""
        ...

    async def exhausted_budget(self, team: Team) -> Shortfall | None:
        """The first of the team's, its project's and the tenant's monthly budgets that has nothing left, if any."""
        ...

    async def cancel_pending_tasks(self, execution_id: ExecutionId) -> None:
        """Let the tasks that are not over be CANCELLED, and forget what they called."""
        ...

    async def append_events(self, events: Sequence[ExecutionEvent]) -> None:
        """Number and insert events of one execution, in this unit of work."""
        ...


class Approvals(Protocol):
    """The questions to humans, as mutations need them."""

    async def lock(self, identifier: UUID) -> Approval:
        """The approval, with its execution locked until the end of the unit of work; raises NotFound."""
        ...

    async def lock_free(self, identifier: UUID) -> Approval | None:
        """The same; None, at once, while somebody else has the execution."""
        ...

    async def save(self, approval: Approval) -> None:
        """Write what became of a locked approval that is still PENDING."""
        ...

    async def cancel_open(self, execution_id: ExecutionId) -> None:
        """Let the open ones of a locked execution be CANCELLED: nobody will ask for the answers any more."""
        ...


@dataclass(frozen=True, slots=True)
class Expired:
    """An approval that was open when its time was over."""

    tenant_id: TenantId
    approval_id: ApprovalId
    expired_at: datetime


class ExpiredApprovals(Protocol):
    """Which questions nobody answered in time, of all tenants."""

    async def find(self, limit: int, after: Expired | None = None) -> Sequence[Expired]:
        """At most so many that are open behind their time, those first that expired first; those behind `after`."""
        ...


class IdempotencyKeys(Protocol):
    """Keys of requests that must not be carried out twice."""

    async def claim(self, key: str, request_hash: str) -> UUID | None:
        """None when the key is new (it is now taken), else the result of the first request.

        Waits for a request with the same key that is under way. Raises IdempotencyConflict.
        """
        ...

    async def keep_result(self, key: str, result: UUID) -> None: ...


class Credentials(Protocol):
    """The tenant's secrets, encrypted."""

    async def get(self, identifier: UUID) -> Credential:
        """The credential; raises NotFound."""
        ...

    async def keep(self, credential: Credential) -> Credential:
        """Insert, or replace the secret of the one with this kind and subject; returns what is stored."""
        ...

    async def remove(self, identifier: CredentialId) -> None:
        """Raises NotFound."""
        ...

    async def remove_subject(self, kind: CredentialKind, subject: str) -> None:
        """Remove the one of this kind and subject, if there is one."""
        ...

    async def count(self) -> int: ...


class Webhooks(Repository[Webhook], Protocol):
    """The webhooks of a tenant's projects, with their secrets and deliveries."""

    async def lock(self, identifier: UUID) -> Webhook:
        """The webhook, locked until the end of the unit of work; raises NotFound."""
        ...

    async def count(self, project_id: UUID) -> int:
        """How many of the project are in use; nobody else adds one until the end of the unit of work."""
        ...

    async def replace_secret(self, secret: WebhookSecret, valid_seconds: float) -> None:
        """Keep a secret; the one before it, if there is one, stays valid for so long, and older ones go."""
        ...

    async def get_delivery(self, identifier: UUID) -> WebhookDelivery:
        """The delivery; raises NotFound."""
        ...

    async def queue(self, delivery: WebhookDelivery) -> WebhookDelivery:
        """Add a delivery, unless one of the same event to its webhook, which is locked, is PENDING: then that one."""
        ...


class Tenants(Protocol):
    """The tenant's own row."""

    async def set_limits(self, limits: Mapping[str, Any]) -> Tenant:
        """Write these of `monthly_budget` and `max_parallel_executions`; returns the tenant as it is then."""
        ...


class Schedules(Repository[Schedule], Protocol):
    """Kickoffs by the clock, and their fires. `get` locks the schedule: whoever lets it fire does so, too."""

    async def lock_due(self, schedule_id: ScheduleId) -> tuple[Schedule, datetime] | None:
        """The schedule, locked, and the database's present; None when it is not due, or somebody else has it."""
        ...

    async def lock_backfill(self, schedule_id: ScheduleId) -> tuple[Schedule, ScheduleFire] | None:
        """The schedule, locked, and its oldest fire that waits to be made up; None as above."""
        ...

    async def put_off(self, schedule_id: ScheduleId, message: str, pause: timedelta) -> None:
        """Note that the fire that is due FAILED, and let the schedule fall due again after the pause.

        Nothing of it is read but when it was due. Without effect when it is not, or somebody else has it.
        """
        ...

    async def set_clock(self, schedule: Schedule) -> None:
        """Write when the locked schedule fires next, and its last fire; its version stays."""
        ...

    async def add_fire(self, fire: ScheduleFire) -> bool:
        """False, and nothing is written, when the schedule has a fire for that moment already; never for a TRIGGER."""
        ...

    async def get_fire(self, identifier: UUID) -> ScheduleFire:
        """The fire; raises NotFound."""
        ...

    async def save_fire(self, fire: ScheduleFire) -> None:
        """Write what became of a fire of a locked schedule."""
        ...

    async def plan_backfill(self, fires: Sequence[ScheduleFire]) -> int:
        """Let fires wait to be made up, except those that wait already or started something; returns how many do."""
        ...

    async def drop_backfill(self, schedule_id: ScheduleId) -> int:
        """Forget the fires that wait to be made up; returns how many there were."""
        ...

    async def count_backfill(self, schedule_id: ScheduleId) -> int:
        """How many fires wait to be made up."""
        ...

    async def open_executions(self, schedule: Schedule, kinds: Sequence[FireKind], limit: int) -> Sequence[ExecutionId]:
        """The executions that fires of these kinds started and that are not over, in the order of their ids."""
        ...


class UnitOfWork(Protocol):
    """One transaction; leaving it without `commit` rolls back."""

    @property
    def tenant_id(self) -> TenantId: ...
    @property
    def projects(self) -> Repository[Project]: ...
    @property
    def teams(self) -> Repository[Team]: ...
    @property
    def roles(self) -> Repository[Role]: ...
    @property
    def tasks(self) -> Repository[Task]: ...
    @property
    def tools(self) -> Repository[Tool]: ...
    @property
    def models(self) -> Models: ...
    @property
    def credentials(self) -> Credentials: ...
    @property
    def webhooks(self) -> Webhooks: ...
    @property
    def tenants(self) -> Tenants: ...
    @property
    def definitions(self) -> TeamDefinitions: ...
    @property
    def executions(self) -> Executions: ...
    @property
    def approvals(self) -> Approvals: ...
    @property
    def schedules(self) -> Schedules: ...
    @property
    def generations(self) -> Generations: ...
    @property
    def templates(self) -> Templates: ...
    @property
    def optimizations(self) -> Optimizations: ...
    @property
    def alert_rules(self) -> AlertRules: ...
    @property
    def idempotency(self) -> IdempotencyKeys: ...
    @property
    def nested(self) -> "UnitsOfWork":
        """Units of work within this one: what they commit stands as soon as this one is committed, or not at all."""
        ...

    async def wait_at_most(self, seconds: float) -> None:
        """Wait for what somebody else holds no longer than that, each time, from now on: then Busy is raised."""
        ...

    async def commit(self) -> None: ...


class UnitsOfWork(Protocol):
    """Opens units of work."""

    def __call__(self, tenant_id: TenantId) -> AbstractAsyncContextManager[UnitOfWork]: ...
