"""From a role and a task execution to CrewAI's agent and task: fresh objects for every run, for none can serve two."""

from collections.abc import Sequence
from typing import Any

from crewai import Agent, Task
from crewai.tools import BaseTool

from domain.crew.executor import executor_class
from domain.crew.llm import BridgedLLM
from domain.crew.outputs import expectation
from domain.crew.texts import hidden
from domain.model.role import Role
from domain.ports import TaskWork


def assemble(work: TaskWork, llm: BridgedLLM, tools: Sequence[BaseTool]) -> tuple[Agent, Task]:
    """The agent and the task for one attempt."""
    role = work.role
    agent = Agent(
        role=hidden(role.title),
        goal=hidden("\n".join(role.goals)),
        backstory=hidden(backstory(role)),
        llm=llm,
        tools=list(tools),
        max_iter=work.max_iterations,
        max_retry_limit=0,  # retries happen in one place, and that is not here
        allow_delegation=False,
        verbose=False,
        executor_class=executor_class(),
    )
    task = Task(
        name=work.task.name,
        description=hidden(work.task.description),
        expected_output=hidden(expectation(work.task.expected_output, work.task.output_schema)),
        agent=agent,
    )
    return agent, task


def backstory(role: Role) -> str:
    """What the role is told about itself: its description, then its backstory."""
    return "\n".join(text for text in (role.description, role.backstory) if text)


def parameters(role: Role) -> dict[str, Any]:
    """The model parameters of every call that the role makes."""
    wanted = {"temperature": role.temperature, "max_tokens": role.max_tokens, **role.model_parameters}
    return {name: value for name, value in wanted.items() if value is not None}
