"""From roles to CrewAI's agents: fresh objects for every piece of work, for none can serve two."""

from collections.abc import Sequence
from typing import Any, Final

from crewai import Agent
from crewai.tools import BaseTool
from crewai.utilities.i18n import I18N_DEFAULT

from domain.crew.executor import executor_class
from domain.crew.llm import BridgedLLM
from domain.crew.texts import hidden
from domain.model.role import Role

_MANAGER: Final = "hierarchical_manager_agent"
"""What CrewAI tells the manager of a crew."""


def agent_of(
    role: Role, llm: BridgedLLM, tools: Sequence[BaseTool], max_iterations: int, *, leads: bool = False
) -> Agent:
    """The agent for a role; who `leads` is told, besides, what CrewAI tells a crew's manager."""
    goals, background = [*role.goals], [backstory(role)]
    if leads:
        goals.append(I18N_DEFAULT.retrieve(_MANAGER, "goal"))
        background.append(I18N_DEFAULT.retrieve(_MANAGER, "backstory"))
    return Agent(
        role=hidden(role.title),
        goal=hidden("\n".join(goals)),
        backstory=hidden("\n".join(background)),
        llm=llm,
        tools=list(tools),
        max_iter=max_iterations,
        max_retry_limit=0,  # retries happen in one place, and that is not here
        allow_delegation=False,  # who may delegate has our tools for it
        verbose=False,
        executor_class=executor_class(),
    )


def backstory(role: Role) -> str:
    """What the role is told about itself: its description, then its backstory."""
    return "\n".join(text for text in (role.description, role.backstory) if text)


def parameters(role: Role) -> dict[str, Any]:
    """The model parameters of every call that the role makes."""
    wanted = {"temperature": role.temperature, "max_tokens": role.max_tokens, **role.model_parameters}
    return {name: value for name, value in wanted.items() if value is not None}
