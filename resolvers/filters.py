"""Which things are wanted and in which order, as conditions of the domain."""

from dataclasses import fields
from datetime import datetime
from enum import Enum
from typing import Any

import strawberry

import resolvers.enums  # noqa: F401 - registers the enums with Strawberry before a type uses them
from domain.model.approval import ApprovalKind, ApprovalStatus
from domain.model.execution import ExecutionStatus
from domain.model.ledger import CallOutcome
from domain.model.model import Tier
from domain.model.page import Condition, Operator
from domain.model.schedule import FireOutcome
from domain.model.team import Process
from domain.model.texts import camel
from domain.model.tool import ToolKind
from domain.model.webhook import DeliveryStatus
from resolvers.inputs import described
from resolvers.node_ids import uuid_of


@strawberry.enum(description="Which way a list runs.")
class Direction(Enum):
    ASC = strawberry.enum_value("ASC", description="Smallest or oldest first.")
    DESC = strawberry.enum_value("DESC", description="Largest or newest first.")


@strawberry.enum(description="By what a list is ordered.")
class OrderField(Enum):
    CREATED_AT = strawberry.enum_value("created_at", description="When it was made.")
    UPDATED_AT = strawberry.enum_value("updated_at", description="When it was changed last.")
    NAME = strawberry.enum_value("name", description="By name.")


@strawberry.input(description="The order of a list; equals are told apart by id.")
class Order:
    field: OrderField = described("By what.", OrderField.CREATED_AT)
    direction: Direction = described("Which way.", Direction.DESC)


@strawberry.enum(description="By what executions are ordered.")
class ExecutionOrderField(Enum):
    CREATED_AT = strawberry.enum_value("created_at", description="When it was kicked off.")


@strawberry.input(description="The order of executions; equals are told apart by id.")
class ExecutionOrder:
    field: ExecutionOrderField = described("By what.", ExecutionOrderField.CREATED_AT)
    direction: Direction = described("Which way.", Direction.DESC)


@strawberry.input(description="Conditions on a moment; all given ones must hold.")
class MomentFilter:
    gte: datetime | None = described("At this moment or later.", None)
    lt: datetime | None = described("Before this moment.", None)


@strawberry.input(description="Conditions on a text; all given ones must hold.")
class TextFilter:
    eq: str | None = described("Exactly this text.", None)
    contains: str | None = described("This text somewhere in it, upper and lower case alike.", None)


@strawberry.input(description="Conditions on the status of an execution.")
class ExecutionStatusFilter:
    in_: list[ExecutionStatus] | None = strawberry.field(name="in", description="One of these.", default=None)


@strawberry.input(description="Which executions; all given conditions must hold.")
class ExecutionFilter:
    project_id: strawberry.ID | None = described("Those of this project.", None)
    team_id: strawberry.ID | None = described("Those of this team.", None)
    status: ExecutionStatusFilter | None = described("By status.", None)
    created_at: MomentFilter | None = described("By the moment of the kickoff.", None)
    started_at: MomentFilter | None = described("By the moment a worker took it.", None)


@strawberry.input(description="Conditions on what became of an approval.")
class ApprovalStatusFilter:
    in_: list[ApprovalStatus] | None = strawberry.field(name="in", description="One of these.", default=None)


@strawberry.input(description="Conditions on what a human is asked.")
class ApprovalKindFilter:
    in_: list[ApprovalKind] | None = strawberry.field(name="in", description="One of these.", default=None)


@strawberry.input(description="Which approvals; all given conditions must hold.")
class ApprovalFilter:
    status: ApprovalStatusFilter | None = described("By what became of them.", None)
    kind: ApprovalKindFilter | None = described("By what is asked.", None)
    assignee: TextFilter | None = described("By who is asked.", None)
    project_id: strawberry.ID | None = described("Those of this project.", None)
    execution_id: strawberry.ID | None = described("Those of this execution.", None)
    created_at: MomentFilter | None = described("By the moment they were asked for.", None)


@strawberry.enum(description="By what approvals are ordered.")
class ApprovalOrderField(Enum):
    CREATED_AT = strawberry.enum_value("created_at", description="When it was asked for.")


@strawberry.input(description="The order of approvals; equals are told apart by id.")
class ApprovalOrder:
    field: ApprovalOrderField = described("By what.", ApprovalOrderField.CREATED_AT)
    direction: Direction = described("Which way.", Direction.DESC)


@strawberry.input(description="Conditions on what became of a fire.")
class FireOutcomeFilter:
    in_: list[FireOutcome] | None = strawberry.field(name="in", description="One of these.", default=None)


@strawberry.input(description="Which fires; all given conditions must hold.")
class ScheduleFireFilter:
    outcome: FireOutcomeFilter | None = described("By what became of it.", None)
    scheduled_for: MomentFilter | None = described("By the moment it stands for.", None)


@strawberry.input(description="Conditions on how a model call ended.")
class CallOutcomeFilter:
    in_: list[CallOutcome] | None = strawberry.field(name="in", description="One of these.", default=None)


@strawberry.input(description="Which ledger entries; all given conditions must hold.")
class LedgerFilter:
    outcome: CallOutcomeFilter | None = described("By how the call ended.", None)
    booked_at: MomentFilter | None = described("By the moment it was booked.", None)


@strawberry.input(description="Which things; all given conditions must hold. Archived ones only when asked for.")
class ThingFilter:
    name: TextFilter | None = described("By name.", None)
    created_at: MomentFilter | None = described("By the moment it was made.", None)
    is_archived: bool = described("The archived ones instead of those in use.", default=False)


@strawberry.input(description="Conditions on the process of a team.")
class ProcessFilter:
    in_: list[Process] | None = strawberry.field(name="in", description="One of these.", default=None)


@strawberry.input(description="Which teams; all given conditions must hold. Archived ones only when asked for.")
class TeamFilter:
    name: TextFilter | None = described("By name.", None)
    process: ProcessFilter | None = described("By process.", None)
    created_at: MomentFilter | None = described("By the moment it was made.", None)
    is_archived: bool = described("The archived ones instead of those in use.", default=False)


@strawberry.input(description="Conditions on the kind of a tool.")
class ToolKindFilter:
    in_: list[ToolKind] | None = strawberry.field(name="in", description="One of these.", default=None)


@strawberry.input(description="Which tools; all given conditions must hold. Archived ones only when asked for.")
class ToolFilter:
    name: TextFilter | None = described("By name.", None)
    kind: ToolKindFilter | None = described("By kind.", None)
    is_archived: bool = described("The archived ones instead of those in use.", default=False)


@strawberry.input(description="Conditions on the tier of a model.")
class TierFilter:
    in_: list[Tier] | None = strawberry.field(name="in", description="One of these.", default=None)


@strawberry.input(description="Which models; all given conditions must hold.")
class ModelFilter:
    name: TextFilter | None = described("By name.", None)
    provider: TextFilter | None = described("By provider.", None)
    tier: TierFilter | None = described("By tier.", None)
    is_usable: bool | None = described("Those that can, or cannot, be called now.", None)


@strawberry.input(description="Conditions on what became of a delivery.")
class DeliveryStatusFilter:
    in_: list[DeliveryStatus] | None = strawberry.field(name="in", description="One of these.", default=None)


@strawberry.input(description="Which deliveries; all given conditions must hold.")
class WebhookDeliveryFilter:
    status: DeliveryStatusFilter | None = described("By what became of it.", None)
    event_type: TextFilter | None = described("By the type of the event.", None)
    created_at: MomentFilter | None = described("By the moment the event was stored.", None)


_OPERATORS = {
    "eq": Operator.EQ,
    "in_": Operator.IN,
    "gte": Operator.GTE,
    "lt": Operator.LT,
    "contains": Operator.CONTAINS,
}


_KINDS = {
    "project_id": "Project",
    "team_id": "Team",
    "execution_id": "Execution",
    "batch_id": "GenerationBatch",
    "rule_id": "AlertRule",
}
"""What the ids in filters are ids of."""


def conditions_of(wanted: Any) -> tuple[Condition, ...]:
    """A filter as conditions; None is no condition. Raises NotFound for what is no id of the kind."""
    if wanted is None:
        return ()
    found: list[Condition] = []
    for item in fields(wanted):
        value = getattr(wanted, item.name)
        if item.name == "is_archived":
            found.append(Condition("archived_at", Operator.IS_NULL, not value))
        elif isinstance(value, bool):
            found.append(Condition(item.name, Operator.EQ, value))
        elif isinstance(value, str):
            identifier = uuid_of(_KINDS[item.name], value, "filter", camel(item.name))
            found.append(Condition(item.name, Operator.EQ, identifier))
        elif value is not None:
            found.extend(_comparisons(item.name, value))
    return tuple(found)


def _comparisons(name: str, comparison: Any) -> list[Condition]:
    given_ones = ((item.name, getattr(comparison, item.name)) for item in fields(comparison))
    return [
        Condition(name, _OPERATORS[operator], tuple(value) if isinstance(value, list) else value)
        for operator, value in given_ones
        if value is not None
    ]
