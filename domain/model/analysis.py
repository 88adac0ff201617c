"""What an objective asks for: how hard it looks, which skills, how many roles, which templates are near."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from domain.model.routing import Complexity
from domain.model.skill import Match, SkillMatch
from domain.model.span import Span
from domain.model.team import Process


@dataclass(frozen=True, slots=True)
class TemplateMatch:
    """A template that is near to the objective."""

    template_id: UUID
    name: str
    match: Match


@dataclass(frozen=True, slots=True)
class ObjectiveAnalysis:
    """What rules make of an objective; nothing is asked of a model. `factors` say in words what makes it so complex.

    `domain` None: none is recognised. Skills and templates stand best first.
    """

    complexity: Complexity
    factors: Sequence[str]
    domain: str | None
    skills: Sequence[SkillMatch]
    roles: Span[int]
    process: Process
    templates: Sequence[TemplateMatch]
