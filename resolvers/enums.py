"""The domain's enums, described for the graph; here, because inputs need them first."""

from enum import Enum
from typing import Any

import strawberry

from domain.errors import FailureCode
from domain.model.execution import ExecutionStatus, TaskExecutionStatus
from domain.model.role import DelegatesTo, Expertise, Rank
from domain.model.team import Process, TeamStatus
from domain.model.tool import ToolKind


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
    PARALLEL="The dependencies decide; whatever is ready runs at once. Cannot be run yet.",
    HIERARCHICAL="A manager delegates. Cannot be run yet.",
    COLLABORATIVE="Every role sees the shared context; the most senior one writes the synthesis. Cannot be run yet.",
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
    RUNNING="A worker is on it.",
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
    COMPLETED="Done; see `output`.",
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
    INTERNAL="A fault of Regatta; the message has a correlation id.",
)
