"""What the operator of a deployment decides about tools; a tool's own configuration can widen none of it."""

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
    package `crewai_tools` that may be used.
    """

    allowed_private_hosts: frozenset[str] = frozenset()
    search_endpoint: str | None = None
    search_kind: SearchKind = SearchKind.SEARXNG
    search_key: str | None = field(default=None, repr=False)
    files_dir: Path | None = None
    crewai_tools: frozenset[str] = frozenset()
    timeout_seconds: float = 20.0
    max_bytes: int = 1_000_000
    max_project_bytes: int = 50_000_000
