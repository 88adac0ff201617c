"""How roles, tasks, tools and goals are called in the files, and found again by what they are called."""

import keyword
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence

from domain.model.crew_files.losses import SHOWN
from domain.model.tool import Tool

_RESERVED = frozenset({"crew", "agents", "tasks", "agents_config", "tasks_config", "kickoff"})
"""What the class of a crew calls its own members: a method for an agent or a task needs another name."""


def keys_for(names: Sequence[str], kind: str, taken: Collection[str] = ()) -> list[str]:
    """A key for each name: its slug, made a Python name, and told apart from the others and those taken."""
    used = {*_RESERVED, *taken}
    keys: list[str] = []
    for name in names:
        keys.append(next(key for key in _candidates(name, kind) if key not in used))
        used.add(keys[-1])
    return keys


def _candidates(name: str, kind: str) -> Iterator[str]:
    slug = slug_of(name)[:SHOWN].rstrip("_")
    stem = slug if slug.isidentifier() and not keyword.iskeyword(slug) else f"{kind}_{slug}".rstrip("_")
    yield stem
    number = 1
    while number := number + 1:
        yield f"{stem}_{number}"


def slug_of(text: str) -> str:
    """The text in snake_case; empty when it has no letter or digit that ASCII knows."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", ascii_text).strip("_")


def tool_name(tool: Tool, tools: Sequence[Tool]) -> str:
    """The slug, for CrewAI looks for a method; the name where the slug would not tell the tool from another."""
    slug = slug_of(tool.name)
    is_unique = sum(slug_of(other.name) == slug for other in tools) == 1
    return slug if slug and is_unique else tool.name


def find_tool(name: str, tools: Sequence[Tool]) -> Tool | None:
    """The one tool of this name; without one, of this slug, class, or kind; None without any, or with several."""
    slug = slug_of(name)
    ways: tuple[Callable[[Tool], bool], ...] = (
        lambda tool: tool.name == name,
        lambda tool: slug_of(tool.name) == slug != "",
        lambda tool: tool.configuration.get("class_name") == name,
        lambda tool: slug_of(tool.kind.value) == slug,
    )
    for is_meant in ways:
        found = [tool for tool in tools if is_meant(tool)]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def goals_of(text: str) -> list[str]:
    """A goal that is a list of at least two points is as many goals; any other text is one."""
    lines = text.split("\n")
    starts = [index for index, line in enumerate(lines) if line.startswith("- ")]
    is_list = len(starts) > 1 and starts[0] == 0 and all(line.startswith(("- ", "  ")) for line in lines)
    if not is_list:
        return [text]
    ends = [*starts[1:], len(lines)]
    return ["\n".join(line[2:] for line in lines[start:end]) for start, end in zip(starts, ends, strict=True)]


def goal_of(goals: Sequence[str]) -> str:
    """The goals as CrewAI's one text: a list when there are several."""
    if len(goals) == 1:
        return goals[0]
    return "\n".join("- " + goal.replace("\n", "\n  ") for goal in goals)
