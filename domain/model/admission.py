"""Admissions: what wants to run, and what runs; a small queue beside the executions, which outlive it."""

from dataclasses import dataclass, field
from datetime import datetime

from domain.model.identity import AdmissionId, ExecutionId, ProjectId, TeamId, TenantId, new_id, utc_now

PRIORITY = 5
MAX_PRIORITY = 9
MAX_PARALLEL_EXECUTIONS_CAP = 10_000


@dataclass(slots=True)
class Admission:
    """An execution that waits for a place on a worker, or has one; none that is paused, waits for a person or is over.

    Each way to a place has an id of its own: a run that was given its place under an earlier id may not begin any more.
    `is_alone`: not while another execution of its team has a place. `worker_id` None: waits, since `waiting_since`.
    """

    tenant_id: TenantId
    execution_id: ExecutionId
    project_id: ProjectId
    team_id: TeamId
    priority: int = PRIORITY
    is_alone: bool = True
    waiting_since: datetime = field(default_factory=utc_now)
    worker_id: str | None = None
    admitted_at: datetime | None = None
    id: AdmissionId = field(default_factory=lambda: AdmissionId(new_id()))
