"""CrewAI's tools for delegation, with the colleagues that the rules allow, each with a fresh agent for every piece."""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from crewai.tools import BaseTool
from crewai.tools.agent_tools.ask_question_tool import AskQuestionTool
from crewai.tools.agent_tools.base_agent_tools import BaseAgentTool
from crewai.tools.agent_tools.delegate_work_tool import DelegateWorkTool
from crewai.utilities.i18n import I18N_DEFAULT
from pydantic import PrivateAttr

from domain.crew.tools.watched import ONE_BY_ONE
from domain.model.role import Role

_ABOUT: Final = 200
"""Characters of a role's description that its colleagues are told."""


class Does(Protocol):
    """Has a piece of work done, or a question answered, by a role."""

    def __call__(self, role: Role, piece: str, context: str, *, is_question: bool) -> str: ...


def delegation_tools(coworkers: Mapping[str, Role], does: Does) -> list[BaseTool]:
    """To delegate work to these coworkers and to ask them questions; none without a coworker.

    What is delegated in one answer is done piece by piece, in that order. At once, each piece would take a thread, and
    so would each of its own, level by level; and a run that takes the work up again would not know its calls.
    """
    if not coworkers:
        return []
    return [
        kind(agents=[], description=_described(tool, coworkers), max_usage_count=ONE_BY_ONE).to(coworkers, does)
        for kind, tool in ((_DelegateWork, "delegate_work"), (_AskQuestion, "ask_question"))
    ]


def by_name(roles: list[Role]) -> dict[str, Role]:
    """The roles by the names that they are called; of several that are called alike, the later ones are numbered."""
    named: dict[str, Role] = {}
    taken: set[str] = set()
    for role in roles:
        name, number = role.title, 1
        while _called(name) in taken:
            number += 1
            name = f"{role.title} ({number})"
        taken.add(_called(name))
        named[name] = role
    return named


def _called(name: str) -> str:
    """The name as CrewAI compares it, for models do not mind its case, its blanks and its quotes."""
    return " ".join(name.split()).replace('"', "").casefold()


def introduced(name: str, role: Role) -> str:
    """A line about what a role can do."""
    about = " ".join(role.description.split())[:_ABOUT]
    facts = [f"{role.expertise.value.lower()} {role.rank.value.lower()}", about, _skills(role)]
    return f"- {name}: {'; '.join(fact for fact in facts if fact)}"


def _skills(role: Role) -> str:
    return f"skills: {', '.join(role.skills)}" if role.skills else ""


def _described(tool: str, coworkers: Mapping[str, Role]) -> str:
    told = str(I18N_DEFAULT.tools(tool)).format(coworkers=", ".join(coworkers))
    return "\n".join([told, "The coworkers:", *(introduced(name, role) for name, role in coworkers.items())])


class _ToColleagues(BaseAgentTool):
    """What both tools do: CrewAI's way to find the coworker, ours to let it work."""

    _coworkers: Mapping[str, Role] = PrivateAttr(default_factory=dict)
    _does: Callable[..., str] = PrivateAttr()
    _is_question: bool = PrivateAttr(default=False)

    def to(self, coworkers: Mapping[str, Role], does: Does) -> BaseTool:
        self._coworkers = coworkers
        self._does = does
        return self

    def _execute(self, agent_name: str | None, task: str, context: str | None = None) -> str:
        wanted = _called(agent_name or "")
        for name, role in self._coworkers.items():
            if _called(name) == wanted:
                return self._does(role, task, context or "", is_question=self._is_question)
        known = "\n".join(f"- {name}" for name in self._coworkers)
        return I18N_DEFAULT.errors("agent_tool_unexisting_coworker").format(coworkers=known, error="")


class _DelegateWork(DelegateWorkTool, _ToColleagues):
    """“Delegate work to coworker”."""


class _AskQuestion(AskQuestionTool, _ToColleagues):
    """“Ask question to coworker”."""

    _is_question: bool = PrivateAttr(default=True)


def not_done(role: Role, problem: str) -> str:
    """What a role is told whose colleague came to no result."""
    return I18N_DEFAULT.errors("agent_tool_execution_error").format(agent_role=role.title, error=problem)
