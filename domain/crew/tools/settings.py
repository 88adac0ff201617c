"""What the operator of a deployment decides about tools; a tool's own configuration can widen none of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path


class SearchKind(Enum):
    """Which protocol the search endpoint speaks."""

    SEARXNG = "SEARXNG"
    SERPER = "SERPER"


@dataclass(frozen=True, slots=True)
class ToolSettings:
    """Limits and endpoints of tools; durations in seconds, sizes in bytes.

    `allowed_private_hosts` are host names or addresses that may be reached although they are private. Without
    `files_dir` there are no file tools, without `search_endpoint` no search. `crewai_tools` names the classes of the
    package `crewai_tools` that may be used, each with the arguments that a tool's configuration may give to it: such
    classes open addresses and files on their own, past the guard and the directory of files.
    """

    allowed_private_hosts: frozenset[str] = frozenset()
    search_endpoint: str | None = None
    search_kind: SearchKind = SearchKind.SEARXNG
    search_key: str | None = field(default=None, repr=False)
    files_dir: Path | None = None
    crewai_tools: Mapping[str, frozenset[str]] = field(default_factory=dict)
    timeout_seconds: float = 20.0
    max_bytes: int = 1_000_000
    max_project_bytes: int = 50_000_000
    max_project_files: int = 1_000


def permitted_classes(entries: Iterable[str]) -> dict[str, frozenset[str]]:
    """`ToolSettings.crewai_tools` from the operator's list, where `Class:one+other` permits two arguments."""
    parts = (entry.partition(":") for entry in entries)
    return {name.strip(): frozenset(filter(None, arguments.split("+"))) for name, _, arguments in parts}
