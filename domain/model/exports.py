"""Exports: in which forms lists are downloaded, and what is said of an execution in them."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from uuid import UUID

from domain.model.execution import Timing


class ExportFormat(Enum):
    """How the rows of a download are written."""

    CSV = "CSV"
    JSON_LINES = "JSON_LINES"

    @property
    def media_type(self) -> str:
        return "text/csv; charset=utf-8" if self is ExportFormat.CSV else "application/x-ndjson"

    @property
    def suffix(self) -> str:
        return "csv" if self is ExportFormat.CSV else "jsonl"


@dataclass(frozen=True, slots=True)
class Export:
    """Where a download is to be had: `url` is a path on this server."""

    url: str
    media_type: str
    file_name: str


def file_name(name: str, form: ExportFormat, now: datetime) -> str:
    """What the file of a download is called when it is made at this moment."""
    return f"{name}-{now:%Y-%m-%d}.{form.suffix}"


@dataclass(frozen=True, slots=True)
class ExportedExecution:
    """An execution with its figures. `cost` is in dollars; `calls` are all attempts at models, failed ones included."""

    id: UUID
    team_id: UUID
    team_name: str
    project_id: UUID
    project_name: str
    status: str
    process: str
    timing: Timing
    cost: Decimal
    prompt_tokens: int
    completion_tokens: int
    calls: int
    tasks_total: int
    tasks_completed: int
    tasks_failed: int
    failure_code: str | None
    failure_message: str | None
    retry_of: UUID | None
    forked_from: UUID | None
    is_cache_hit: bool
    priority: int
    quality_preference: str
    started_by: UUID | None
