"""The skill catalogue that ships with Regatta: skills.yaml, as values."""

from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ConfigDict, TypeAdapter

from domain.model.skill import Skill

SOURCE: Final = Path(__file__).with_name("skills.yaml")
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def skills() -> tuple[Skill, ...]:
    """Every skill by name. They are shared by the whole process, and nothing in them can be changed."""
    entries: list[dict[str, Any]] = yaml.load(SOURCE.read_text("utf-8"), _LOADER)  # noqa: S506 - it is a safe one
    checked = TypeAdapter(list[Skill], config=ConfigDict(extra="forbid")).validate_python(entries)
    return tuple(sorted(map(_frozen, checked), key=lambda skill: skill.name.casefold()))


def _frozen(skill: Skill) -> Skill:
    return Skill(
        skill.name,
        skill.description,
        tuple(skill.role_titles),
        tuple(skill.tool_kinds),
        tuple(skill.task_kinds),
        tuple(skill.keywords),
        tuple(skill.domains),
    )
