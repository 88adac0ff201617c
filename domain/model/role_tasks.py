"""The task that a role is given when its team has none: written from the role's title and the inputs."""

from dataclasses import dataclass
from typing import Any

from domain.model.role import Role
from domain.model.texts import shown

INPUTS = ("project_name", "project_description", "timeline", "budget", "target_audience", "requirements")
ABSENT = "to be determined"


@dataclass(frozen=True, slots=True)
class WrittenTask:
    """A task's texts, without placeholders."""

    name: str
    description: str
    expected_output: str


@dataclass(frozen=True, slots=True)
class _Kind:
    words: tuple[str, ...]
    name: str
    order: str
    expected_output: str


_KINDS = (
    _Kind(
        ("manager", "strategist", "strategy", "lead", "director", "head"),
        "strategy",
        "Develop the strategy for this project: where it should go, what matters most, and in which order.",
        "A strategy with recommendations, each with its reason, and an action plan with owners and dates.",
    ),
    _Kind(
        ("developer", "engineer", "architect", "programmer"),
        "technical design",
        "Design the technical solution of this project: components, data, interfaces, risks.",
        "A technical design with its decisions and a roadmap of milestones.",
    ),
    _Kind(
        ("analyst", "researcher", "scientist"),
        "analysis",
        "Analyse this project: the market, the competition, and its feasibility.",
        "An analysis of market, competition and feasibility, with the evidence and what remains uncertain.",
    ),
)


def written_for(role: Role, inputs: dict[str, Any]) -> WrittenTask:
    """The task of a role; an input that is absent reads "to be determined"."""
    kind = _kind_of(role)
    facts = "\n".join(f"- {name.replace('_', ' ')}: {_given(inputs.get(name))}" for name in INPUTS)
    return WrittenTask(
        name=f"{role.title}: {kind.name}",
        description=f"{kind.order}\n\nThe project:\n{facts}",
        expected_output=kind.expected_output,
    )


def _given(value: Any) -> str:
    return ABSENT if value is None else shown(value) or ABSENT


def _kind_of(role: Role) -> _Kind:
    words = set(role.title.casefold().replace("-", " ").split())
    for kind in _KINDS:
        if words.intersection(kind.words):
            return kind
    return _Kind(
        (),
        "contribution",
        f"Make the contribution to this project that is expected of a {role.title}.",
        f"The contribution of a {role.title}: findings, recommendations and next steps.",
    )
