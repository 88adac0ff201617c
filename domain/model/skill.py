"""Skills: what roles can do and tasks need, and how well one fits the other, with the reasons."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from domain.model.tool import ToolKind


@dataclass(frozen=True, slots=True)
class Skill:
    """An entry of the skill catalogue: the role titles, kinds of tools and kinds of tasks that it goes with.

    `keywords` are words of an objective that speak for it, `domains` where it is at home.
    """

    name: str
    description: str
    role_titles: Sequence[str]
    tool_kinds: Sequence[ToolKind] = ()
    task_kinds: Sequence[str] = ()
    keywords: Sequence[str] = ()
    domains: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Reason:
    """One part of a score: `points` were given of `of`, 0 to 1, because of `text`."""

    text: str
    points: float
    of: float


@dataclass(frozen=True, slots=True)
class Match:
    """How well something fits, 0 to 1: the sum of what its reasons gave."""

    score: float
    reasons: Sequence[Reason] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class SkillMatch:
    """A skill that an objective, or a task, asks for."""

    skill: Skill
    match: Match


@dataclass(frozen=True, slots=True)
class RoleMatch:
    """How well a role fits a task."""

    role: str
    match: Match


@dataclass(frozen=True, slots=True)
class SkillOutcome:
    """What became of the accepted teams whose roles have the skill: executions, and how many were completed.

    `mean_rating` is what people said of the generations, 1 to 5; None where nobody did.
    """

    skill: str
    teams: int = 0
    completed: int = 0
    failed: int = 0
    mean_rating: float | None = None

    @property
    def success_rate(self) -> float | None:
        """The share of the executions that are over which were completed; None without any."""
        finished = self.completed + self.failed
        return self.completed / finished if finished else None
