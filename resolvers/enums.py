"""The domain's enums, described for the graph; here, because inputs need them first."""

from enum import Enum
from typing import Any

import strawberry

from domain.errors import FailureCode
from domain.model.alert import AlertMetric, AlertSeverity, AlertState, Unit
from domain.model.approval import ApprovalDefault, ApprovalKind, ApprovalStatus
from domain.model.audit import AuditAction
from domain.model.budget import BudgetScope
from domain.model.caching import CacheMode
from domain.model.credential import CredentialKind
from domain.model.difference import DifferenceKind, Part
from domain.model.estimate import Basis
from domain.model.execution import ExecutionStatus, TaskExecutionStatus
from domain.model.exports import ExportFormat
from domain.model.generation import ComposedBy, Fallback, GenerationFailureCode, GenerationStatus
from domain.model.health import HealthCode, HealthStatus
from domain.model.journal import CallKind
from domain.model.ledger import CallOutcome, TokenSource
from domain.model.metrics import Dimension, Granularity, GroupOrder
from domain.model.model import Tier, Unusable
from domain.model.optimization import Goal, Metric, OptimizationKind, OptimizationStatus
from domain.model.recommendation import Impact, RecommendationKind
from domain.model.role import DelegatesTo, Expertise, Rank
from domain.model.routing import Complexity, ComplexityFactor, QualityPreference
from domain.model.schedule import FireKind, FireOutcome, ScheduleOverlap
from domain.model.team import Oversight, Process, TeamStatus, WhenBusy
from domain.model.template import ParameterType, TemplateKind, Visibility
from domain.model.tool import ToolKind
from domain.model.validation import FindingCode, Severity
from domain.model.webhook import DeliveryStatus


def _describe(kind: type[Enum], description: str, *, called: str | None = None, **values: str) -> None:
    """Register the domain's own enum with Strawberry, under its own name; every value must have its sentence."""
    strawberry.enum(kind, name=called, description=description)
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
    GENERATION="The generation's.",
)
_describe(
    Basis,
    "On what an estimate stands.",
    HISTORY="On what became of this team's own executions.",
    SIMILAR_TEAMS="On what became of the executions of teams with similar skills.",
    HEURISTIC="On rules of thumb alone: nothing has been measured yet.",
)
_describe(
    Severity,
    "How much a finding matters.",
    ERROR="The team cannot do its work like that, or breaks a constraint.",
    WARNING="It can, but something is probably not meant so.",
    RECOMMENDATION="It could be better.",
)
_describe(
    FindingCode,
    "What was found, for programs.",
    INVALID="A rule of teams, roles, tasks or tools is broken.",
    NO_ROLE="There is no role.",
    NO_ACTIVE_ROLE="No role is active.",
    DEPENDENCY_CYCLE="Tasks would wait for each other.",
    SUPERVISOR_CYCLE="Roles would supervise each other.",
    NO_CAPABLE_ROLE="No active role has the skills that a task asks for.",
    MISSING_MANAGER="A HIERARCHICAL team has nobody who could lead it, or a named manager who is not active.",
    UNUSABLE_TOOL="A role names a tool that cannot be used.",
    UNUSABLE_MODEL="A role names a model that cannot be used.",
    NO_MODEL="No model can be used at all.",
    TOO_MANY_ROLES="There are more roles than the constraints allow.",
    EXPERTISE_TOO_HIGH="A role is more experienced than the constraints allow.",
    TOOL_NOT_ALLOWED="A role has a tool that the constraints do not allow.",
    OVER_BUDGET="Even the lower end of the estimate is above the budget.",
    DUPLICATE_TITLE="Roles share a title.",
    ROLE_WITHOUT_TASK="A role has nothing to do.",
    OVER_DELEGATION="More roles may delegate than is good for anything.",
    BUDGET_BELOW_ESTIMATE="The budget does not cover the higher end of the estimate.",
    NO_TASKS="There is no task: each active role is given one that is written for it.",
    COULD_RUN_IN_PARALLEL="Tasks that do not need each other run one after another.",
    MANY_ROLES="There are more roles than the tasks need.",
    UNUSED_TOOL="A tool is named that no role uses.",
    VAGUE_TASK="The text of a task says little.",
    SKILL_NOT_IN_CATALOGUE="A skill is not in the catalogue, so nothing is known to fit it.",
    NO_OUTPUT_CHECK="Nothing checks what comes out at the end.",
    HARDLY_RECOGNISED="Of proposals by rules: who is to do what is a guess, as little of the objective was recognised.",
    ADJUSTED="Of proposals by rules: what was left out of, or given to, a team that is there, so that it will do.",
    KICKOFF_INPUTS="Of proposals: tasks have names in braces, which a kickoff has to give as inputs.",
)
_describe(
    DifferenceKind,
    "What would happen to a part of a team.",
    ADDED="It is new.",
    REMOVED="It is archived; of a tool: no role uses it any more.",
    CHANGED="One of its fields becomes another.",
)
_describe(
    Part,
    "Of what a team consists.",
    TEAM="The team itself.",
    ROLE="A role.",
    TASK="A task.",
    TOOL="A tool that roles use.",
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
_describe(
    GenerationStatus,
    "Where a generation stands.",
    PENDING="Accepted; no worker has it yet.",
    ANALYSING="The objective is looked at, by rules.",
    COMPOSING="A model, or rules, compose the proposal.",
    VALIDATING="The proposal is checked.",
    READY="The proposal can be accepted or rejected.",
    FAILED="There is no proposal; see `failure`. Final.",
    CANCELLED="It was stopped. Final.",
    ACCEPTED="The proposal was made true; see `acceptedTeam`. Final.",
    REJECTED="The proposal was not wanted. Final.",
)
_describe(
    Fallback,
    "Whether rules may compose where no model did.",
    ALLOWED="They may: from templates and the skill catalogue.",
    OFF="They may not: the generation fails then.",
)
_describe(
    ComposedBy,
    "Who composed a proposal.",
    MODEL="A model, by its first answer.",
    MODEL_REPAIRED="A model, after its first answer was sent back.",
    RULES="Rules, from templates and the skill catalogue.",
)
_describe(
    GenerationFailureCode,
    "Why a generation failed.",
    NO_MODEL="No model could be used, and rules were not to compose.",
    MODEL_FAILED="The model did not answer, or refused, and rules were not to compose.",
    ANSWER_INVALID="What the model answered, or rules composed, was of no use, for other reasons than the constraints.",
    CONSTRAINTS_CONFLICT="No team keeps to the constraints; the message names those in conflict.",
    BUDGET_EXCEEDED="The next model call could have cost more than a budget has left.",
    TIMED_OUT="It took longer than allowed.",
    INTERNAL="A fault of Regatta; the message has a correlation id.",
)
_describe(
    TemplateKind,
    "What a template makes.",
    TEAM="A whole team: `instantiateTemplate`.",
    TASK="One task of a team: `instantiateTaskTemplate`.",
)
_describe(
    Visibility,
    "Who has a template.",
    BUILT_IN="Everybody: it ships with Regatta, and nobody changes it.",
    TENANT="The tenant that made it.",
)
_describe(
    ParameterType,
    "What values a parameter takes.",
    STRING="A text.",
    NUMBER="A number.",
    ENUM="One of its options.",
    LIST="A list of texts; as an entry of a list it is spliced in, elsewhere its entries stand with commas between.",
)
_describe(
    Goal,
    "What a team is optimized for.",
    called="OptimizationGoal",
    PERFORMANCE="More of its executions are completed.",
    COST="Its executions cost less.",
    SPEED="Its executions take less time.",
)
_describe(
    OptimizationKind,
    "What an optimization proposes.",
    CHEAPER_MODEL="A cheaper model for a role or a task whose work passes.",
    BETTER_MODEL="A better model for a task that often fails.",
    PARALLEL_BRANCHES="Tasks side by side that seem not to use each other's output.",
    UNUSED_DELEGATION="No delegation for a role that never delegates.",
    FAILING_GUARDRAIL="A better model for a task whose output does not pass its guardrail.",
    MORE_ATTEMPTS="One more attempt at a task that fails for reasons that pass.",
)
_describe(
    OptimizationStatus,
    "Where an optimization stands.",
    PROPOSED="It can be applied.",
    APPLIED="The team was changed; it can be undone.",
    UNDONE="The team was changed back. Final.",
    SUPERSEDED="It was proposed anew since, or the team changed under it. Final.",
)
_describe(
    Metric,
    "What an effect is told in.",
    called="OptimizationMetric",
    COST="Dollars of a completed execution.",
    SECONDS="Seconds of a completed execution, waiting for people not counted.",
    SUCCESS_RATE="The share of executions that are completed, of those completed or failed.",
)
_describe(
    HealthStatus,
    "How well a deployment is.",
    HEALTHY="Nothing is wrong.",
    DEGRADED="Something is slow or missing; work goes on.",
    UNHEALTHY="Work waits that nobody will do.",
)
_describe(
    HealthCode,
    "What can be wrong with a deployment.",
    NO_WORKER="No worker is alive; that is UNHEALTHY as soon as something waits.",
    QUEUE_STALLED="No place is free, and the oldest execution has been waiting for one for more than 60 seconds.",
    WORKER_SILENT="A worker did not say goodbye and was not heard of in the last 15 seconds.",
    WORKER_NOT_TAKING="A worker takes nothing new, for it is stopping or its machine is busy.",
    POOL_EXHAUSTED="All database connections of the answering process are in use, and somebody waits for one.",
    BROADCASTER_DOWN="The answering process cannot send or get hints.",
    BROADCASTER_SLOW="A hint takes more than a second to come back to the answering process.",
)
_describe(
    ExportFormat,
    "How the rows of a download are written.",
    CSV="A line of columns and a line for each row, as RFC 4180 has it, in UTF-8, for spreadsheets.",
    JSON_LINES="A JSON object on each line, for programs.",
)
_describe(
    Dimension,
    "What metrics are told of.",
    called="MetricsDimension",
    TENANT="The whole tenant.",
    PROJECT="A project.",
    TEAM="A team.",
    ROLE="A role of a team.",
    TASK="A task of a team.",
    MODEL="A model, by its name.",
    TEMPLATE="The template that a team was made from last.",
    DOMAIN="The domain of that template.",
    TOOL="A tool, by the name that roles call it by.",
    STRATEGY="The process by which an execution ran.",
)
_describe(
    Granularity,
    "How long the parts of a period are; all of them begin and end in UTC.",
    called="MetricsGranularity",
    HOUR="Full hours.",
    DAY="Days.",
    WEEK="Weeks, which begin on Mondays.",
    MONTH="Calendar months.",
)
_describe(
    GroupOrder,
    "What is the most.",
    called="MetricsOrder",
    COST="What its model calls cost.",
    DURATION="How long one of them takes on average.",
    FAILURES="How many failed.",
    COUNT="How many ended.",
)
_describe(
    AuditAction,
    "What a mutation did to an object.",
    CREATED="It was made.",
    CHANGED="It was changed, archiving and restoring included, or a part of it was added or taken away.",
    REMOVED="It was removed for good.",
)
_describe(
    AlertMetric,
    "What an alert rule looks at.",
    EXECUTION_SECONDS="The longest an execution took that ended in the window or runs, in seconds, waiting for people"
    " not counted.",
    FAILURE_RATE="The share of the executions that failed, of those completed or failed in the window: 0 to 1.",
    TASK_FAILURE_RATE="The share of the tasks that failed, of those completed or failed in the window: 0 to 1.",
    SPEND="What was booked for model calls in the window, in dollars.",
    BUDGET_SHARE="The spent part of a monthly budget, the highest of those in the scope: 1 is all of it.",
    QUEUE_DEPTH="How many executions wait for a place on a worker.",
    QUEUE_WAIT_SECONDS="How long the execution has waited for a place that has waited longest, in seconds.",
    WORKERS_LOST="How many workers fell silent in the window, of the whole deployment.",
)
_describe(
    AlertSeverity,
    "How much an alert matters.",
    INFO="Good to know.",
    WARNING="Somebody should look at it.",
    CRITICAL="Somebody has to look at it now.",
)
_describe(
    AlertState,
    "Where an alert rule, or an alert, stands.",
    OK="There was no alert yet; only of rules.",
    FIRING="It is too much.",
    RESOLVED="It was too much, and is good again.",
)
_describe(
    Unit,
    "What the values of an alert rule are told in.",
    called="AlertUnit",
    SECONDS="Seconds.",
    SHARE="A share: 0.05 is 5 %.",
    DOLLARS="Dollars.",
    COUNT="A number of things.",
)
_describe(
    RecommendationKind,
    "What is recommended.",
    ROLE_DEAR_FOR_TIER="A cheaper model for a role: what it uses is dearer than its tasks ask for.",
    GUARDRAIL_KEEPS_FAILING="A better model, or a fairer guardrail, for a task whose outputs are refused.",
    BOTTLENECK="Less time for the task that the others wait for.",
    GROWING_PROMPT="Shorter prompts for a task that reads more from execution to execution.",
    UNUSED_TOOL="Fewer tools for a role that never calls some.",
    WORKER_POOL_TOO_SMALL="More places on workers: executions wait long.",
    WORKER_POOL_TOO_LARGE="Fewer places on workers: most were never taken.",
    TEMPLATE_DOES_BETTER="A team of a template whose teams do better at work of the same kind.",
)
_describe(
    Impact,
    "How much is expected of a recommendation, by the far end of what it is mainly for, in rising order.",
    LOW="Less than a tenth.",
    MEDIUM="A tenth or more.",
    HIGH="Three tenths or more.",
)
