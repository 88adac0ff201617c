"""Approvals: questions to a human inside an execution, and what became of them."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from domain.model.identity import (
    ApprovalId,
    ExecutionId,
    PrincipalId,
    ProjectId,
    TaskExecutionId,
    TenantId,
    new_id,
    utc_now,
)

APPROVAL_TIMEOUT_CAP_SECONDS = 90 * 86_400.0
"""An approval may wait for up to 90 days."""

MAX_FEEDBACK = 20_000


class ApprovalKind(Enum):
    """What is asked of the human."""

    TASK = "TASK"
    QUESTION = "QUESTION"


class ApprovalStatus(Enum):
    """What became of an approval."""

    PENDING = "PENDING"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    ANSWERED = "ANSWERED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"


class ApprovalDefault(Enum):
    """What happens when nobody answers in time."""

    APPROVE = "APPROVE"
    REJECT = "REJECT"


@dataclass(frozen=True, slots=True)
class ApprovalRule:
    """Whether a human has to agree to an output, who, for how many seconds (None: for ever), and what then."""

    is_required: bool
    assignee: str | None
    timeout_seconds: float | None
    default: ApprovalDefault


@dataclass(slots=True)
class Approval:
    """A question to a human. TASK: is this output good enough? QUESTION: what a role wants to know.

    `prompt` is the output or the question. `call_key` tells a QUESTION from the others of its attempt. `answer` is what
    the human wrote: the answer, the feedback of a rejection (without one, the task fails), or an output that takes the
    place of the approved one. `default_action` is carried out when `expires_at` passes; if that is None, it waits.
    """

    tenant_id: TenantId
    project_id: ProjectId
    execution_id: ExecutionId
    task_execution_id: TaskExecutionId
    kind: ApprovalKind
    prompt: str
    attempt: int
    call_key: str = ""
    assignee: str | None = None
    status: ApprovalStatus = ApprovalStatus.PENDING
    answer: str | None = None
    default_action: ApprovalDefault = ApprovalDefault.REJECT
    expires_at: datetime | None = None
    decided_at: datetime | None = None
    decided_by: PrincipalId | None = None
    id: ApprovalId = field(default_factory=lambda: ApprovalId(new_id()))
    created_at: datetime = field(default_factory=utc_now)

    @property
    def is_open(self) -> bool:
        return self.status is ApprovalStatus.PENDING

    @property
    def is_granted(self) -> bool:
        """Whether the work goes on with it; an expired one by its default."""
        if self.status is ApprovalStatus.EXPIRED:
            return self.default_action is ApprovalDefault.APPROVE
        return self.status in (ApprovalStatus.APPROVED, ApprovalStatus.ANSWERED)
