"""Humans in the loop: decisions, the inbox, and its live view."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

import strawberry

from domain.model.approval import Approval, ApprovalStatus
from domain.services.approvals import Decision
from resolvers import loaders
from resolvers.context import Info
from resolvers.edges import Paged, asks_for, existing, with_page_arguments
from resolvers.execution_inputs import AnswerQuestionInput, ApproveTaskInput, RejectTaskInput
from resolvers.filters import ApprovalFilter, ApprovalOrder
from resolvers.loaders import ApprovalsByTenant
from resolvers.node_ids import uuid_of

# ---------------------------------------------------------------- mutations


async def approve_task(info: Info, input: ApproveTaskInput) -> Approval:  # noqa: A002 - the graph's name, as below
    return await _decide(info, input.approval_id, ApprovalStatus.APPROVED, input.output, input.idempotency_key)


async def reject_task(info: Info, input: RejectTaskInput) -> Approval:  # noqa: A002
    return await _decide(info, input.approval_id, ApprovalStatus.REJECTED, input.feedback, input.idempotency_key)


async def answer_question(info: Info, input: AnswerQuestionInput) -> Approval:  # noqa: A002
    return await _decide(info, input.approval_id, ApprovalStatus.ANSWERED, input.answer, input.idempotency_key)


async def _decide(info: Info, identifier: str, status: ApprovalStatus, answer: str | None, key: str | None) -> Approval:
    decision = Decision(uuid_of("Approval", identifier, "approvalId"), status, answer, key)
    context = info.context
    return await context.services.decide(context.tenant_id, decision, context.principal_id)


# ---------------------------------------------------------------- the inbox

_PAGED = Paged(ApprovalsByTenant, "id", hides_archived=False)


async def _approvals(root: Any, info: Any, **arguments: Any) -> Any:  # noqa: ARG001 - a root field has no parent
    request = _PAGED.request(arguments, with_total=asks_for(info._raw_info, "totalCount"))  # noqa: SLF001 - the AST
    info.context.budget.promise(request.first)
    return await info.context.load(_PAGED.path, (info.context.tenant_id, request))


approvals = with_page_arguments(_approvals, ApprovalFilter, ApprovalOrder)


@dataclass(frozen=True, slots=True)
class ApprovalActivity:
    """Approvals that are open, came, or were decided since the last message."""

    approvals: Sequence[Approval]


_PROJECT = strawberry.argument(description="Only those of this project.")
_EXECUTION = strawberry.argument(description="Only those of this execution.")
_ASSIGNEE = strawberry.argument(description="Only those for exactly this assignee.")


async def approval_activity(
    info: Info,
    project_id: Annotated[strawberry.ID | None, _PROJECT] = None,
    execution_id: Annotated[strawberry.ID | None, _EXECUTION] = None,
    assignee: Annotated[str | None, _ASSIGNEE] = None,
) -> AsyncIterator[Any]:
    """What is open at once, then whatever changes. Raises NotFound."""
    project = await existing(info, loaders.ProjectById, "Project", project_id, "projectId")
    execution = await existing(info, loaders.ExecutionById, "Execution", execution_id, "executionId")
    is_wanted = _wanted(project, execution, assignee)
    async with aclosing(info.context.services.snapshots.approvals(info.context.tenant_id, is_wanted)) as messages:
        async for found in messages:
            yield ApprovalActivity(found)


def _wanted(project: UUID | None, execution: UUID | None, assignee: str | None) -> Callable[[Approval], bool]:
    def is_wanted(approval: Approval) -> bool:
        return (
            project in (None, approval.project_id)
            and execution in (None, approval.execution_id)
            and assignee in (None, approval.assignee)
        )

    return is_wanted
