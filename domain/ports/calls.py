"""Model calls, and the work that they are made for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

from domain.events import ExecutionEvent
from domain.model.execution import TaskExecution
from domain.model.identity import ProjectId, RoleId, TaskExecutionId, TeamId
from domain.model.journal import Journal, JournalEntry
from domain.model.ledger import Charge, LedgerEntry, TokenSource
from domain.model.role import Role
from domain.model.routing import Deployment, Route
from domain.model.team import Oversight
from domain.model.tool import Tool
from domain.ports.runs import Ownership


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One call: messages and tools in OpenAI's shape, `model` a LiteLLM name, the time limit in seconds.

    `deployment` is how the model is reached; None takes the environment's key and LiteLLM's own prices.
    `output_schema` is the JSON Schema that the answer's text has to hold, unless it asks for tools; with `is_checked`
    false the model is told of it, and whatever it answers is given to the caller, who checks it.
    """

    model: str
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] | None
    parameters: Mapping[str, Any]
    timeout_seconds: float
    deployment: Deployment | None = None
    output_schema: Mapping[str, Any] | None = None
    is_checked: bool = True


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """A model's wish to use a tool; `arguments` is the JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(slots=True)
class ModelAnswer:
    """What came back from one call; counts in tokens, cost in dollars.

    `model` is what the provider says that answered, None where it does not, or nothing came back.
    """

    text: str
    tool_requests: Sequence[ToolRequest] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    token_source: TokenSource = TokenSource.PROVIDER
    cost: Decimal = Decimal(0)
    model: str | None = None


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


class CallWork(Protocol):
    """Work that model calls are made for: an attempt at a task, or a generation."""

    @property
    def charge(self) -> Charge: ...
    @property
    def route(self) -> Route: ...
    @property
    def journal(self) -> Journal: ...
    @property
    def signals(self) -> Signals: ...


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
    def charge(self) -> Charge:
        """Who pays for its calls."""
        return Charge(
            self.ownership.tenant_id,
            ProjectId(self.ownership.project_id),
            self.ownership.epoch,
            self.task.attempts,
            self.team_id,
            self.ownership.execution_id,
            self.task.id,
            self.role.id,
        )

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


class ModelGateway(Protocol):
    """The one way to a model: it routes, reserves, tries, and accounts for every HTTP attempt."""

    async def call(self, work: CallWork, request: ModelRequest, sink: RunSink) -> ModelAnswer:
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
