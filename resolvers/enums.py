"""The domain's enums, described for the graph; here, because inputs need them first."""

from enum import Enum
from typing import Any

import strawberry

from domain.errors import FailureCode
from domain.model.approval import ApprovalDefault, ApprovalKind, ApprovalStatus
from domain.model.budget import BudgetScope
from domain.model.caching import CacheMode
from domain.model.credential import CredentialKind
from domain.model.execution import ExecutionStatus, TaskExecutionStatus
from domain.model.journal import CallKind
from domain.model.ledger import CallOutcome, TokenSource
from domain.model.model import Tier, Unusable
from domain.model.role import DelegatesTo, Expertise, Rank
from domain.model.routing import Complexity, ComplexityFactor, QualityPreference
from domain.model.schedule import FireKind, FireOutcome, ScheduleOverlap
from domain.model.team import Oversight, Process, TeamStatus, WhenBusy
from domain.model.tool import ToolKind
from domain.model.webhook import DeliveryStatus


def _describe(kind: type[Enum], description: str, **values: str) -> None:
    """Register the domain's own enum with Strawberry; every value must have its sentence."""
    strawberry.enum(kind, description=description)
    definition: Any = kind.__strawberry_definition__  # type: ignore[attr-defined]  # set by the line above
    for value in definition.values:
        value.description = values[value.name]


_describe(
    Process,
    "How the tasks of a team are run.",
    SEQUENTIAL="One after another; each task sees the outputs before it.",
    PARALLEL="The dependencies decide; whatever is ready runs at once.",
    HIERARCHICAL="A manager delegates.",
    COLLABORATIVE="Every role sees the shared context; the most senior one writes the synthesis.",
)
_describe(
    WhenBusy,
    "What a kickoff does while an execution of the team is under way.",
    QUEUE="Waits until no other execution of the team has a place on a worker.",
    REJECT="Is refused.",
    PARALLEL="Runs beside the others.",
    REPLACE="Cancels the others, then runs.",
)
_describe(
    CacheMode,
    "Whether an earlier execution of the team may answer for a new one: one of the last hour, with the same inputs,"
    " configuration and tasks, of the same revision.",
    USE="It may; without one, the execution runs, and may answer for later ones.",
    BYPASS="It may not, and the new one answers for no other.",
    REFRESH="It may not; the new one runs, and may answer for later ones.",
)
_describe(
    Oversight,
    "How closely the manager of a HIERARCHICAL team looks at the work.",
    LIGHT="It only assigns.",
    STANDARD="It delegates as it sees fit, and writes the result.",
    CLOSE="It reviews each result, and may send it back once.",
)
_describe(
    ApprovalKind,
    "What a human is asked.",
    TASK="Whether an output will do.",
    QUESTION="What a role wants to know.",
)
_describe(
    ApprovalStatus,
    "What became of an approval.",
    PENDING="Nobody answered yet.",
    APPROVED="The output will do.",
    REJECTED="The output will not do.",
    ANSWERED="The question was answered.",
    EXPIRED="Nobody answered in time; the default was carried out.",
    CANCELLED="Nobody needs the answer any more: the execution is over.",
)
_describe(
    ApprovalDefault,
    "What happens when nobody answers in time.",
    APPROVE="The work goes on: the output stands, or the role decides by itself.",
    REJECT="The task fails.",
)
_describe(
    CallKind,
    "What was called.",
    MODEL="A model.",
    TOOL="A tool.",
)
_describe(
    TeamStatus,
    "Whether an execution of the team is under way.",
    IDLE="Nothing is running.",
    RUNNING="At least one execution is running.",
)
_describe(
    Expertise,
    "How experienced a role is, in rising order.",
    JUNIOR="At the start of a career.",
    INTERMEDIATE="Some years of practice.",
    SENIOR="Long experience.",
    EXPERT="A recognised authority.",
)
_describe(
    Rank,
    "Where a role stands in its team.",
    SUPERVISOR="Leads other roles.",
    SPECIALIST="Master of one field.",
    WORKER="Carries work out.",
)
_describe(
    DelegatesTo,
    "To whom a role may hand work on.",
    SUBORDINATES="Only to the roles that report to it.",
    ANYONE="To any role of the team.",
)
_describe(
    ToolKind,
    "Which implementation stands behind a tool.",
    CALCULATOR="Arithmetic, exactly.",
    HTTP_GET="Fetches a public web address.",
    WEB_SEARCH="Searches the web through the deployment's search endpoint.",
    FILE_READER="Reads files of the project's own directory.",
    FILE_WRITER="Writes files into the project's own directory.",
    MCP_SERVER="All tools of an MCP server; configuration: {url}.",
    CREWAI_TOOL="A class of crewai_tools that the deployment allows; configuration: {class_name, …}.",
)
_describe(
    ExecutionStatus,
    "Where an execution stands.",
    QUEUED="Accepted; no worker has it yet.",
    RUNNING="A worker is on it, or will go on with it as soon as one has a place.",
    PAUSED="Stopped at a boundary, by request; `resumeExecution` lets it go on.",
    AWAITING_APPROVAL="Nothing can be done before a human answers; see `approvals`.",
    CANCELLING="Asked to stop; calls in flight are being closed.",
    COMPLETED="All tasks are done. Final.",
    FAILED="It could not go on; see `failure`. Final.",
    CANCELLED="It was stopped. Final.",
)
_describe(
    TaskExecutionStatus,
    "Where a task of an execution stands.",
    PENDING="Not started.",
    RUNNING="A role is on it.",
    AWAITING_APPROVAL="A human is asked; see `approvals`.",
    COMPLETED="Done; see `output`.",
    REUSED="Taken over from an earlier execution; costs nothing.",
    FAILED="It went wrong; see `failure`.",
    SKIPPED="Not started, because an earlier task failed.",
    CANCELLED="Stopped with its execution.",
)
_describe(
    FailureCode,
    "Why an execution or a task failed.",
    MODEL_UNAVAILABLE="The model did not answer, or not in time, or was overloaded.",
    MODEL_REFUSED="The model's provider refused the request: key, rights, or content.",
    MODEL_ANSWER_INVALID="The model's answer could not be read.",
    MODEL_UNKNOWN="There is no such model, or no price is known for it.",
    TOOL_FAILED="A tool failed.",
    TASK_TIMEOUT="The task took longer than allowed.",
    EXECUTION_TIMEOUT="The execution took longer than allowed.",
    MAX_ITERATIONS="The role found no answer within the allowed rounds.",
    OUTPUT_INVALID="The output is not what was asked for.",
    NO_CAPABLE_ROLE="No role can do the task.",
    PROCESS_UNSUPPORTED="The process cannot be run.",
    WORKER_LOST="The worker was lost and nobody could go on.",
    BUDGET_EXCEEDED="The next model call could have cost more than a budget has left; see `budget`.",
    GUARDRAIL_FAILED="The output did not pass the guardrail of the task, however often it was sent back.",
    APPROVAL_REJECTED="A human rejected the output, without feedback to work on.",
    APPROVAL_EXPIRED="No human answered in time, and the default was to reject.",
    TOOL_INTERRUPTED="A tool that must not be called twice was at work when the worker was lost: a human decides.",
    INTERNAL="A fault of Regatta; the message has a correlation id.",
)
_describe(
    Tier,
    "How capable, and how dear, a model is.",
    LOCAL="Ollama, or any OpenAI-compatible local server.",
    STANDARD="Good enough for most work.",
    PREMIUM="The most capable ones.",
)
_describe(
    Unusable,
    "Why a model cannot be called now.",
    DISABLED="It is switched off in the catalogue.",
    NO_KEY="There is no key for its provider.",
    UNREACHABLE="Its local server does not answer, or does not offer it.",
    NO_PRICE="Its price is not known, and such models are refused.",
    COOLING_DOWN="Its provider was in trouble a moment ago.",
)
_describe(
    QualityPreference,
    "What matters most where a model is chosen.",
    FAST="Quick answers: the lowest tier that will do.",
    BALANCED="The tier that fits the complexity.",
    PREMIUM="The best answers.",
    COST_OPTIMIZED="The least cost.",
)
_describe(
    Complexity,
    "How hard a piece of work looks.",
    SIMPLE="At most one factor.",
    MEDIUM="Two factors.",
    COMPLEX="Three factors or more.",
)
_describe(
    ComplexityFactor,
    "What makes a piece of work look harder.",
    LONG_DESCRIPTION="A description of more than 200 words.",
    LONG_EXPECTED_OUTPUT="An expected output of more than 50 words.",
    SENIOR_ROLE="A role that is SENIOR or EXPERT.",
    KEYWORD="One of: analyze, strategy, comprehensive, detailed, architecture, design, plan, roadmap.",
)
_describe(
    BudgetScope,
    "Whose budget it is.",
    TENANT="The tenant's, per calendar month (UTC).",
    PROJECT="The project's, per calendar month (UTC).",
    TEAM="The team's, per calendar month (UTC).",
    EXECUTION="The execution's.",
    TASK="The task's, within one execution.",
)
_describe(
    CallOutcome,
    "How a model call ended.",
    SUCCEEDED="With an answer.",
    FAILED="Without one; see `error`.",
    CANCELLED="It was closed from our side.",
    LOST="Its worker died during it: it stands at its reserved cost.",
)
_describe(
    TokenSource,
    "Who counted the tokens.",
    PROVIDER="The model's provider.",
    ESTIMATE="Regatta, for the provider did not say.",
)
_describe(
    CredentialKind,
    "What a credential opens.",
    PROVIDER="All models of a provider.",
    MODEL="One model of the catalogue.",
    TOOL="A tool.",
)
_describe(
    ScheduleOverlap,
    "What a fire does while an earlier execution of its schedule is not over: one that is paused, or waits for a"
    " human, is not over either.",
    SKIP="Starts nothing.",
    QUEUE="Starts one that waits for its turn; at most 100 of a schedule at once.",
    PARALLEL="Starts one that runs beside the earlier ones; at most 100 of a schedule at once.",
    REPLACE="Cancels the earlier ones, and starts one that follows them.",
)
_describe(
    FireKind,
    "Why a schedule fired.",
    DUE="Its time had come.",
    BACKFILL="A time that is over was made up, by `backfillSchedule`.",
    TRIGGER="Somebody asked for it, by `triggerSchedule`.",
)
_describe(
    FireOutcome,
    "What became of a fire.",
    PENDING="It waits to be made up.",
    STARTED="It started an execution.",
    SKIPPED="An earlier execution was in its way; see `message`.",
    MISSED="Nobody carried it out in time.",
    FAILED="The kickoff was refused; see `message`.",
)
_describe(
    DeliveryStatus,
    "What became of a delivery to a webhook.",
    PENDING="It is to be sent, for the first time or once more.",
    SUCCEEDED="The receiver answered with a status of 200 to 299.",
    FAILED="Every attempt failed, for a day; `redeliverWebhook` sends it again.",
)
