"""How one role does a piece of work: its model, its tools and its agent, made for that piece alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from crewai import Task
from crewai.tools import BaseTool
from crewai.utilities.i18n import I18N_DEFAULT

from domain.crew.assembly import agent_of, parameters
from domain.crew.llm import DEFAULT_CALL_SECONDS, BridgedLLM
from domain.crew.models import context_window
from domain.crew.outputs import expectation
from domain.crew.session import TaskSession
from domain.crew.texts import hidden, joined, quoted
from domain.crew.tools import ToolSettings, build_tools
from domain.crew.tools.asking import AskHuman
from domain.ports import TaskWork

REQUESTED: Final = I18N_DEFAULT.slice("manager_request")
"""What CrewAI expects of a coworker."""


@dataclass(frozen=True, slots=True)
class Means:
    """What a worker gives to every role; `call_seconds` is the longest that one model call may take."""

    tools: ToolSettings
    call_seconds: float = DEFAULT_CALL_SECONDS

    def llm(
        self, work: TaskWork, *, output_schema: Mapping[str, Any] | None = None, uses_tools: bool = False
    ) -> BridgedLLM:
        """The LLM for one agent of the work's role."""
        model = work.route.first.model
        return BridgedLLM.made(
            work.model,
            parameters(work.role),
            supports_tools=model.supports_tools,
            context_window=model.context_window or context_window(work.model),
            call_seconds=self.call_seconds,
            output_schema=output_schema,
            uses_tools=uses_tools,
        )

    def tools_of(self, session: TaskSession) -> list[BaseTool]:
        """The tools of the session's role; may block on the network. Raises RunFailed with TOOL_FAILED."""
        return [*build_tools(session.work.tools, self.tools, session), *self.questions_of(session)]

    def questions_of(self, session: TaskSession) -> list[BaseTool]:
        """The tool to ask a human with, for a role that may."""
        return [AskHuman.made(session)] if session.work.role.can_ask else []


class Performer(Protocol):
    """Carries out the task of an attempt, in whatever order of roles."""

    @property
    def session(self) -> TaskSession:
        """Of the role that answers for the result."""
        ...

    def perform(self, context: str) -> str:
        """The result, in view of the context."""
        ...


@dataclass(frozen=True, slots=True)
class Soloist:
    """A role that does the task itself, with its own tools and `more` of them."""

    session: TaskSession
    means: Means
    more: Sequence[BaseTool] = ()

    def perform(self, context: str) -> str:
        return task_done(self.session, self.means, [*self.means.tools_of(self.session), *self.more], context)


def task_done(
    session: TaskSession, means: Means, tools: Sequence[BaseTool], context: str, *, leads: bool = False
) -> str:
    """What the session's role makes of the task with these tools."""
    work = session.work
    llm = means.llm(work, output_schema=work.task.output_schema, uses_tools=bool(tools))
    agent = agent_of(work.role, llm, tools, work.max_iterations, leads=leads)
    task = Task(
        name=work.task.name,
        description=hidden(work.task.description),
        expected_output=hidden(expectation(work.task.expected_output, work.task.output_schema)),
        agent=agent,
    )
    with session.current():
        output: Any = task.execute_sync(agent=agent, context=hidden(context) or None).raw
    return str(output)


def piece_done(session: TaskSession, means: Means, tools: Sequence[BaseTool], piece: str, context: str) -> str:
    """What the session's role makes of a piece of work that a colleague handed on, as CrewAI has it done."""
    work = session.work
    agent = agent_of(work.role, means.llm(work, uses_tools=bool(tools)), tools, work.max_iterations)
    task = Task(description=hidden(piece), expected_output=REQUESTED, agent=agent)
    with session.current():
        return str(agent.execute_task(task, hidden(context) or None))


def context_of(work: TaskWork) -> str:
    """What the task is seen in view of: earlier outputs, and what was said of a result that was sent back."""
    feedback, rejected = work.task.feedback, work.task.output
    if not feedback:
        return work.context
    told = f"An earlier result of this task was sent back. What was said of it: {feedback}"
    return joined(work.context, told, f"The result that was sent back:\n{quoted(rejected)}" if rejected else "")


def tried_again(context: str, result: str, problem: str) -> str:
    """The context of another try at a task whose result will not do, in CrewAI's words."""
    told = I18N_DEFAULT.errors("validation_error").format(guardrail_result_error=problem, task_output=quoted(result))
    return joined(context, told)
