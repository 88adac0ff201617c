"""What the domain needs of the outside: storage, hints, the queue, models and the runner of tasks."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Protocol, TypeVar
from uuid import UUID

from domain.errors import RunFailed
from domain.events import ExecutionEvent
from domain.model.admission import Admission
from domain.model.approval import Approval
from domain.model.availability import ModelRecords, OperatorModels
from domain.model.budget import Budget, BudgetScope, Limits, Shortfall
from domain.model.credential import Credential, CredentialKind
from domain.model.execution import CancelReport, Execution, ExecutionStatus, TaskExecution
from domain.model.identity import (
    AdmissionId,
    ApprovalId,
    CredentialId,
    ExecutionId,
    LedgerEntryId,
    RevisionId,
    RoleId,
    ScheduleId,
    TaskExecutionId,
    TaskId,
    TeamId,
    TenantId,
    ToolId,
)
from domain.model.journal import Journal, JournalEntry
from domain.model.ledger import LedgerEntry, TokenSource, Usage
from domain.model.matching import Record
from domain.model.model import Model
from domain.model.page import Page, PageRequest
from domain.model.project import Project, Tenant
from domain.model.refinement import RefinementPass
from domain.model.resources import Resources, WorkerLoad
from domain.model.revision import TeamRevision, TeamSnapshot
from domain.model.role import Role
from domain.model.routing import Deployment, Offer, Route
from domain.model.schedule import FireKind, Schedule, ScheduleFire
from domain.model.task import Task
from domain.model.team import Oversight, Team
from domain.model.tool import Tool
from domain.model.webhook import DeliveryStatus, Webhook, WebhookDelivery, WebhookSecret

E = TypeVar("E")

# ---------------------------------------------------------------- storage: writing


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


# ---------------------------------------------------------------- storage: reading


class Reader(Protocol):
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


# ---------------------------------------------------------------- a run and its journal


@dataclass(frozen=True, slots=True)
class AdmissionKey:
    """Which way to a place of which execution."""

    tenant_id: TenantId
    execution_id: ExecutionId
    id: AdmissionId


@dataclass(frozen=True, slots=True)
class Released:
    """What a worker had: how many wait for another one now, and which have to be ended as CANCELLED.

    `held`: so many stay as they are, for somebody is writing to them just now; another try takes them.
    """

    waiting: int = 0
    cancelling: Sequence[tuple[TenantId, ExecutionId]] = ()
    held: int = 0


@dataclass(frozen=True, slots=True)
class Ownership:
    """Which run of which execution: every write of a run is conditional on its epoch."""

    tenant_id: TenantId
    project_id: UUID
    execution_id: ExecutionId
    epoch: int


@dataclass(slots=True)
class Change:
    """What one run wants committed together; `execution` moves from `expected` when given."""

    ownership: Ownership
    events: list[ExecutionEvent] = field(default_factory=list)
    task_executions: list[TaskExecution] = field(default_factory=list)
    ledger: list[LedgerEntry] = field(default_factory=list)
    execution: Execution | None = None
    expected: ExecutionStatus | None = None
    journal: list[JournalEntry] = field(default_factory=list)
    approvals: list[Approval] = field(default_factory=list)
    """New ones."""
    passes: list[RefinementPass] = field(default_factory=list)


@dataclass(slots=True)
class Claimed:
    """A run's whole plan, read when a worker took it."""

    execution: Execution
    tasks: list[TaskExecution]
    snapshot: TeamSnapshot
    ownership: Ownership
    spent: Mapping[TaskExecutionId, Usage] = field(default_factory=dict)
    """What earlier runs booked, by task."""
    journal: Sequence[JournalEntry] = ()
    """The calls that earlier runs finished in attempts that are not over."""
    http_attempts: Mapping[tuple[TaskExecutionId, int, int], int] = field(default_factory=dict)
    """How many HTTP attempts earlier runs made, by task, its attempt and its call."""
    approvals: Sequence[Approval] = ()
    """All that were asked for tasks that are not over."""
    passes: list[RefinementPass] = field(default_factory=list)
    """The passes of its refinement so far, in order."""
    takeovers: int = 0
    """How often it was taken over from a worker that was lost, this time included."""


class CommandKind(Enum):
    """What somebody wants of a run that is under way."""

    CANCEL = "CANCEL"
    PAUSE = "PAUSE"
    DECIDED = "DECIDED"
    """An approval that it waits for was decided."""


class RunStore(Protocol):
    """Storage as a worker needs it."""

    async def claim(self, admission: AdmissionKey, worker_id: str) -> Claimed | None:
        """Take the execution under a new epoch; None when it is final, or the worker does not have this place any more.

        A QUEUED one becomes RUNNING; one that is CANCELLING stays so, for the caller to end it.
        """
        ...

    async def give_up(
        self,
        tenant_id: TenantId,
        execution_id: ExecutionId,
        failure: RunFailed,
        place: tuple[AdmissionKey, str] | None = None,
    ) -> None:
        """End an execution that cannot be claimed: FAILED, or CANCELLED when that was asked for.

        FAILED only in the name of the worker that has this place; without one, only what is CANCELLING is ended.
        Whoever owned it writes nothing any more. Nothing happens when it is final or does not exist.
        """
        ...

    async def commit(self, changes: Sequence[Change]) -> Sequence[bool]:
        """Write all changes in one transaction; False for each whose epoch or expected status is gone.

        Of such a change the ledger entries are written all the same: what was paid is paid, whoever runs it now.
        Raises Busy when somebody else holds one of the executions for too long.
        """
        ...

    async def commands(self, worker_id: str) -> Sequence[tuple[ExecutionId, CommandKind]]:
        """What is wanted of the executions that have a place on this worker."""
        ...

    async def approvals(self, tenant_id: TenantId, execution_id: ExecutionId) -> Sequence[Approval]:
        """All approvals that were asked for the tasks of the execution that are not over."""
        ...

    async def settle_lost(self, limit: int) -> int:
        """Turn reservations that outlived their time into ledger entries LOST; returns how many."""
        ...


class Admissions(Protocol):
    """Who runs what: the queue of the executions, in front of all workers."""

    async def admit(self, worker_id: str, places: int, most: int | None) -> Sequence[AdmissionKey]:
        """Give places on this worker to at most so many executions that wait; `most` limits all workers together.

        Tenants in turn, then by priority, then by age, within the limits of tenant, project and team.
        """
        ...

    async def held_by(self, worker_id: str) -> Sequence[AdmissionKey]:
        """The places that this worker was given and that are not given back."""
        ...

    async def release(self, worker_id: str, only: Sequence[AdmissionId] | None = None) -> Released:
        """Take all places of a worker that is lost or going, or only these: its executions wait for another one.

        They keep their turn. Those that are CANCELLING are named instead, for the caller to end them. Whoever ran them
        writes nothing any more.
        """
        ...


class Workers(Protocol):
    """The workers that are alive, by their heartbeats."""

    async def beat(self, worker_id: str, models: OperatorModels = ..., load: WorkerLoad = ...) -> None:
        """Say that the worker is alive, how it is doing, and which models its environment gives access to."""
        ...

    async def lost(self, silent_seconds: float) -> Sequence[str]:
        """Workers that were silent for so long and did not say goodbye, and any that has places but is not known."""
        ...

    async def leave(self, worker_id: str) -> None: ...

    async def tidy(self) -> None:
        """Make room for what comes, and forget what is over."""
        ...


class DueSchedules(Protocol):
    """Which schedules, of all tenants, have something to do now."""

    async def due(self, limit: int) -> Sequence[tuple[TenantId, ScheduleId]]:
        """Those whose next fire is due, the longest overdue first."""
        ...

    async def backfilling(self, limit: int, at_once: int) -> Sequence[tuple[TenantId, ScheduleId]]:
        """Those with fires to be made up, and room for one more: PARALLEL ones so many at once, others one."""
        ...


class Retention(Protocol):
    """What tenants do not want kept any longer. Each call is a short transaction, and waits for nobody.

    How long that is, a tenant decides, or the deployment for those that do not; for ever, where nobody does. All raise
    Unavailable.
    """

    async def archive(self, limit: int) -> int:
        """Empty executions that were over before that: at most about so many rows; returns how many it was.

        They are marked in the same transaction as their first texts are gone. Fewer than `limit`: that was all.
        """
        ...

    async def forget_deliveries(self, limit: int) -> int:
        """Remove deliveries of webhooks from before that, at most so many, but for those still to be made."""
        ...

    async def forget_fires(self, limit: int) -> int:
        """Remove fires of schedules from before that which started nothing, at most so many."""
        ...

    async def drop_month(self) -> bool:
        """Give back the space of a month of which no event is left; False when there is none, or not now."""
        ...


# ---------------------------------------------------------------- hints


class Listener(Protocol):
    """Hears of one topic."""

    async def wait(self, timeout_seconds: float) -> bool:
        """True when hinted since the last wait, False when the time is over."""
        ...


class Hints(Protocol):
    """Tells other processes that there is something new to read. A hint may be lost; it carries no data.

    Topics: `execution:<uuid>`, `project:<uuid>`, `approvals:<tenant>`, `commands`, `waiting`.
    """

    async def publish(self, topics: Sequence[str]) -> None:
        """Never raises for a broken transport."""
        ...

    def listen(self, topic: str) -> AbstractContextManager[Listener]: ...


COMMANDS = "commands"
"""The topic on which workers hear that something is wanted of an execution that they have."""

WAITING = "waiting"
"""The topic on which workers hear that an execution waits for a place."""


def execution_topic(execution_id: UUID) -> str:
    return f"execution:{execution_id}"


def approvals_topic(tenant_id: UUID) -> str:
    return f"approvals:{tenant_id}"


def project_topic(project_id: UUID) -> str:
    return f"project:{project_id}"


# ---------------------------------------------------------------- models and the runner of tasks


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One call: messages and tools in OpenAI's shape, `model` a LiteLLM name, the time limit in seconds.

    `deployment` is how the model is reached; None takes the environment's key and LiteLLM's own prices.
    `output_schema` is the JSON Schema that the answer's text has to hold, unless it asks for tools.
    """

    model: str
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] | None
    parameters: Mapping[str, Any]
    timeout_seconds: float
    deployment: Deployment | None = None
    output_schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """A model's wish to use a tool; `arguments` is the JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(slots=True)
class ModelAnswer:
    """What came back from one call; counts in tokens, cost in dollars."""

    text: str
    tool_requests: Sequence[ToolRequest] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    token_source: TokenSource = TokenSource.PROVIDER
    cost: Decimal = Decimal(0)


class ModelClient(Protocol):
    """Reaches models. Exactly one HTTP request per call: whoever retries, sees each attempt."""

    async def complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelAnswer:
        """Stream the answer: `on_text` gets each piece of text as it comes, on the loop's thread.

        Raises RunFailed with a MODEL_… code; its `spent` is what the provider counted, or an estimate over the prompt
        and what it wrote, where it may have begun. Cancelling closes the connection; a CancelledError carries `spent`
        likewise, where the request had been sent.
        """
        ...

    def estimate(self, request: ModelRequest, text: str) -> ModelAnswer:
        """Tokens and cost of a call that did not end: counted here, marked as an estimate."""
        ...

    def most_prompt_tokens(self, request: ModelRequest) -> int:
        """More tokens than the request has by any usual tokenizer; asks nobody."""
        ...


@dataclass(slots=True)
class Signals:
    """What an attempt at a task is told from outside while it lasts; its threads look before each call."""

    is_abandoned: bool = False
    is_pausing: bool = False


@dataclass(frozen=True, slots=True)
class Colleague:
    """A role that may take part in a task of a HIERARCHICAL team."""

    role: Role
    tools: Sequence[Tool]
    route: Route


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Who leads the work at a task of a HIERARCHICAL team, how closely, and the other active roles of the team."""

    manager: Colleague
    oversight: Oversight
    colleagues: Sequence[Colleague]


@dataclass(slots=True)
class TaskWork:
    """All that is needed to carry out one attempt at a task.

    `answers` holds what humans answered in this attempt, by call key. A copy for another role of the same attempt
    (`dataclasses.replace`) shares journal and signals.
    """

    ownership: Ownership
    team_id: TeamId
    task: TaskExecution
    role: Role
    tools: Sequence[Tool]
    context: str
    route: Route
    max_iterations: int
    timeout_seconds: float
    hierarchy: Hierarchy | None = None
    answers: Mapping[str, str] = field(default_factory=dict)
    journal: Journal = field(default_factory=Journal)
    signals: Signals = field(default_factory=Signals)

    @property
    def model(self) -> str:
        """The model that is tried first."""
        return self.route.first.model.name

    @property
    def task_execution_id(self) -> TaskExecutionId:
        return self.task.id

    @property
    def role_id(self) -> RoleId:
        return self.role.id


class RunSink(Protocol):
    """Takes what happens inside a run; returns at once, may be called from any thread."""

    def emit(self, event: ExecutionEvent) -> None: ...

    def book(self, entry: LedgerEntry, event: ExecutionEvent) -> None:
        """Book a call of which nobody waits for the commit: its work was abandoned."""
        ...

    def journal(self, entry: JournalEntry) -> None:
        """Keep a finished call of which nobody waits for the commit."""
        ...

    async def keep(self, entry: JournalEntry) -> None:
        """Keep a call in the journal, and return when that is committed. On the worker's loop only.

        Raises OwnershipLost, NotRecorded.
        """
        ...

    async def settle(self, entry: LedgerEntry, event: ExecutionEvent, journal: JournalEntry | None = None) -> None:
        """Book a call, with its place in the journal, and return when that is committed. On the worker's loop only.

        Raises OwnershipLost (the entry is booked all the same), NotRecorded.
        """
        ...


# ---------------------------------------------------------------- budgets, limits and the catalogue


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a call that is about to be made may cost, and whose limits it meets.

    `id` becomes that of its ledger entry. `amount` is the worst case in dollars, `tokens` the most tokens it can take
    of a provider's limit. Not booked by `lifetime_seconds`, it counts as lost.
    """

    id: LedgerEntryId
    ownership: Ownership
    team_id: TeamId
    task_execution_id: TaskExecutionId
    role_id: RoleId
    model: str
    provider: str
    attempt: int
    call: int
    call_attempt: int
    amount: Decimal
    tokens: int
    credential: str
    limits: Limits
    routing: Mapping[str, Any]
    lifetime_seconds: float


class Verdict(Enum):
    """What became of a reservation that was asked for."""

    GRANTED = "GRANTED"
    COOLING_DOWN = "COOLING_DOWN"
    RATE_LIMITED = "RATE_LIMITED"
    BUDGET_EXCEEDED = "BUDGET_EXCEEDED"
    OWNERSHIP_LOST = "OWNERSHIP_LOST"


@dataclass(frozen=True, slots=True)
class Ruling:
    """The verdict, with the seconds to wait (COOLING_DOWN, RATE_LIMITED) or what was missing (BUDGET_EXCEEDED)."""

    verdict: Verdict
    wait_seconds: float = 0.0
    shortfall: Shortfall | None = None


class CallBudgets(Protocol):
    """Money and providers' limits before a call; `RunStore.commit` books what became of it and releases the rest."""

    async def reserve(self, reservation: Reservation) -> Ruling:
        """Reserve in every budget of the call, or in none; a committed row when GRANTED. Raises Unavailable.

        Asking again for what is granted already is GRANTED and changes nothing.
        """
        ...

    async def release(self, reservation: Reservation) -> None:
        """Undo a reservation whose call was not made; nothing happens when there is none, or it is booked.

        Never raises for a broken store: then it counts as lost, in time.
        """
        ...

    async def cool_down(self, credential: str, model: str, seconds: float, reason: str) -> None:
        """Let no process call the model with this credential for so long; a longer cool-down stays. Never raises."""
        ...


class ModelCatalogue(Protocol):
    """The models of a tenant as a worker can reach them now."""

    async def offers(self, tenant_id: TenantId, named: str | None = None) -> Sequence[Offer]:
        """Every effective entry, usable or not, by name; and one for the name, should no entry have it.

        Raises Unavailable.
        """
        ...


class Vault(Protocol):
    """Encrypts secrets; only who has the deployment's key reads them."""

    def lock(self, tenant_id: TenantId, subject: str, secret: str) -> bytes:
        """Encrypt, bound to its tenant and subject. Raises Unavailable when the deployment has no key."""
        ...

    def unlock(self, tenant_id: TenantId, subject: str, ciphertext: bytes) -> str:
        """Decrypt. Raises Unavailable when it cannot be read: no key, another key, or another subject."""
        ...


@dataclass(frozen=True, slots=True)
class ToolSecret:
    """What goes into the header `header` of requests to `url`, and to nowhere else."""

    header: str
    secret: str = field(repr=False)
    url: str


class ToolSecrets(Protocol):
    """The decrypted credentials of tools, for workers alone."""

    async def of(self, tenant_id: TenantId, tool_ids: Sequence[ToolId]) -> Mapping[ToolId, ToolSecret]:
        """The secrets of those that have one and are in use; `url` is the tool's present one.

        Raises Unavailable.
        """
        ...


# ---------------------------------------------------------------- webhooks


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A delivery that somebody is to make, with its webhook and the secrets that are valid, newest first."""

    delivery: WebhookDelivery
    webhook: Webhook
    secrets: Sequence[WebhookSecret]


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back from an address: nothing (no status) when `error` says what went wrong. Latency in seconds."""

    latency_seconds: float
    status: int | None = None
    body: str | None = None
    error: str | None = None


class Deliveries(Protocol):
    """The outbox of webhooks, of all tenants, as workers need it. All raise Unavailable."""

    async def claim(self, most: int, most_each: int, lease_seconds: float) -> Sequence[Outgoing]:
        """Deliveries to make now, at most so many, and at most so many at once for each webhook, over all workers.

        In each execution in the order of the events, though not behind one that waits for its next attempt. Counts the
        attempt; whoever has not settled it when the lease is over, is taken for dead.
        """
        ...

    async def settle(
        self, delivery: WebhookDelivery, status: DeliveryStatus, answered: Answered, wait_seconds: float | None
    ) -> bool:
        """Write what became of an attempt; PENDING makes another one after so long. False when the lease was lost.

        A webhook that has only failed for days is disabled.
        """
        ...

    async def forget(self, limit: int) -> int:
        """Remove deliveries, at most so many, that are too old, and secrets that are not valid any more."""
        ...


class WebhookClient(Protocol):
    """Sends deliveries over HTTP."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answered:
        """One request to a public address, or one that the operator allows; follows no redirect. Never raises."""
        ...


class ModelGateway(Protocol):
    """The one way to a model: it routes, reserves, tries, and accounts for every HTTP attempt."""

    async def call(self, work: TaskWork, request: ModelRequest, sink: RunSink) -> ModelAnswer:
        """Call the model for this work, or answer from its journal.

        Raises RunFailed; Paused instead of a call that would have to be made while the work is to pause; CancelledError
        when the work was abandoned.
        """
        ...


class TaskRunner(Protocol):
    """Carries out tasks with an agent framework."""

    async def run(self, work: TaskWork, sink: RunSink) -> str:
        """The output of the task. Raises RunFailed, Paused, AnswerAwaited.

        Cancelling it returns at once: model calls in flight are closed, a tool in flight is abandoned and
        its result is discarded; the work makes no further call.
        """
        ...

    async def evaluate(self, work: TaskWork, prompt: str, schema: Mapping[str, Any], sink: RunSink) -> str:
        """One answer to the prompt, without an agent: JSON that holds the schema. Raises RunFailed, Paused."""
        ...
