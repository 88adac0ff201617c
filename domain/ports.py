"""What the domain needs of the outside: storage, hints, the queue, models and the runner of tasks."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Protocol, TypeVar
from uuid import UUID

from domain.errors import RunFailed
from domain.events import ExecutionEvent
from domain.model.availability import ModelRecords, OperatorModels
from domain.model.budget import Budget, BudgetScope, Limits, Shortfall
from domain.model.credential import Credential, CredentialKind
from domain.model.execution import Execution, ExecutionStatus, TaskExecution
from domain.model.identity import (
    CredentialId,
    ExecutionId,
    LedgerEntryId,
    RevisionId,
    RoleId,
    TaskExecutionId,
    TaskId,
    TeamId,
    TenantId,
    ToolId,
)
from domain.model.ledger import LedgerEntry, TokenSource, Usage
from domain.model.model import Model
from domain.model.page import Page, PageRequest
from domain.model.project import Project, Tenant
from domain.model.revision import TeamRevision, TeamSnapshot
from domain.model.role import Role
from domain.model.routing import Deployment, Offer, Route
from domain.model.task import Task
from domain.model.team import Team
from domain.model.tool import Tool

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

    async def exhausted_budget(self, team: Team) -> Shortfall | None:
        """The first of the team's, its project's and the tenant's monthly budgets that has nothing left, if any."""
        ...

    async def cancel_pending_tasks(self, execution_id: ExecutionId) -> None: ...

    async def append_events(self, events: Sequence[ExecutionEvent]) -> None:
        """Number and insert events of one execution, in this unit of work."""
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


class Tenants(Protocol):
    """The tenant's own row."""

    async def set_monthly_budget(self, amount: Decimal | None) -> Tenant:
        """Write the limit; returns the tenant as it is then."""
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
    def tenants(self) -> Tenants: ...
    @property
    def definitions(self) -> TeamDefinitions: ...
    @property
    def executions(self) -> Executions: ...
    @property
    def idempotency(self) -> IdempotencyKeys: ...

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

    async def activity_by_team(
        self, tenant_id: TenantId, ids: Sequence[UUID]
    ) -> Mapping[UUID, tuple[bool, datetime | None]]:
        """For each team whether an execution is under way, and when one was last kicked off."""
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


@dataclass(slots=True)
class Claimed:
    """A run's whole plan, read when a worker took it."""

    execution: Execution
    tasks: list[TaskExecution]
    snapshot: TeamSnapshot
    ownership: Ownership
    spent: Mapping[TaskExecutionId, Usage] = field(default_factory=dict)
    """What earlier runs booked, by task."""


class RunStore(Protocol):
    """Storage as a worker needs it."""

    async def claim(self, tenant_id: TenantId, execution_id: ExecutionId, worker_id: str) -> Claimed | None:
        """Take the execution under a new epoch; None when it is final already.

        A QUEUED one becomes RUNNING; one that is CANCELLING stays so, for the caller to end it.
        """
        ...

    async def give_up(self, tenant_id: TenantId, execution_id: ExecutionId, failure: RunFailed) -> None:
        """End an execution that cannot be claimed: FAILED, or CANCELLED when that was asked for.

        Whoever owned it writes nothing any more. Nothing happens when it is final or does not exist.
        """
        ...

    async def commit(self, changes: Sequence[Change]) -> Sequence[bool]:
        """Write all changes in one transaction; False for each whose epoch or expected status is gone.

        Of such a change the ledger entries are written all the same: what was paid is paid, whoever runs it now.
        Raises Busy when somebody else holds one of the executions for too long.
        """
        ...

    async def cancelling(self, worker_id: str) -> Sequence[ExecutionId]:
        """The executions of this worker that are asked to stop."""
        ...

    async def settle_lost(self, limit: int) -> int:
        """Turn reservations that outlived their time into ledger entries LOST; returns how many."""
        ...

    async def queued_before(
        self, moment: datetime, limit: int, skip: int = 0
    ) -> Sequence[tuple[TenantId, ExecutionId]]:
        """Executions that are QUEUED since before `moment`, oldest first: their enqueueing may have been lost."""
        ...


class Workers(Protocol):
    """The workers that are alive, by their heartbeats."""

    async def beat(self, worker_id: str, models: OperatorModels = ...) -> None:
        """Say that the worker is alive, and which models its environment gives access to."""
        ...

    async def lost(self, silent_seconds: float) -> Sequence[str]:
        """Workers that were silent for so long and did not say goodbye."""
        ...

    async def leave(self, worker_id: str) -> None: ...


class ExecutionQueue(Protocol):
    """Hands executions to the workers, durably."""

    async def enqueue(self, tenant_id: TenantId, execution_id: ExecutionId) -> None:
        """Safe to repeat: the same execution is run once. Raises Unavailable."""
        ...


# ---------------------------------------------------------------- hints


class Listener(Protocol):
    """Hears of one topic."""

    async def wait(self, timeout_seconds: float) -> bool:
        """True when hinted since the last wait, False when the time is over."""
        ...


class Hints(Protocol):
    """Tells other processes that there is something new to read. A hint may be lost; it carries no data.

    Topics: `execution:<uuid>`, `project:<uuid>`, `commands`.
    """

    async def publish(self, topics: Sequence[str]) -> None:
        """Never raises for a broken transport."""
        ...

    def listen(self, topic: str) -> AbstractContextManager[Listener]: ...


COMMANDS = "commands"
"""The topic on which workers hear that an execution should stop."""


def execution_topic(execution_id: UUID) -> str:
    return f"execution:{execution_id}"


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
class TaskWork:
    """All that is needed to carry out one attempt at a task."""

    ownership: Ownership
    team_id: TeamId
    task: TaskExecution
    role: Role
    tools: Sequence[Tool]
    context: str
    route: Route
    max_iterations: int
    timeout_seconds: float
    calls: int = 0
    is_abandoned: bool = False

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

    async def settle(self, entry: LedgerEntry, event: ExecutionEvent) -> None:
        """Book a call, and return when that is committed. On the worker's loop only.

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


class ModelGateway(Protocol):
    """The one way to a model: it routes, reserves, tries, and accounts for every HTTP attempt."""

    async def call(self, work: TaskWork, request: ModelRequest, sink: RunSink) -> ModelAnswer:
        """Call the model for this work. Raises RunFailed; CancelledError when the work was abandoned."""
        ...


class TaskRunner(Protocol):
    """Carries out tasks with an agent framework."""

    async def run(self, work: TaskWork, sink: RunSink) -> str:
        """The output of the task. Raises RunFailed.

        Cancelling it returns at once: model calls in flight are closed, a tool in flight is abandoned and
        its result is discarded; the work makes no further call.
        """
        ...
