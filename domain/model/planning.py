"""From a snapshot and inputs to the task executions of a run: pure rules, no I/O."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from domain.errors import Invalid, MissingInputs, NoActiveRole
from domain.model.execution import Execution, TaskExecution
from domain.model.identity import TaskExecutionId, TaskId, new_id
from domain.model.revision import TeamSnapshot
from domain.model.role import Role, most_senior
from domain.model.role_tasks import written_for
from domain.model.rules import MAX_NAME
from domain.model.task import Task, fill, filled_length, in_order, placeholders

MAX_FILLED = 200_000
"""The longest text, in characters, that a task or a role may have once its placeholders are filled."""

MAX_PLAN = 2_000_000
"""The most characters of all texts of a run together."""


def plan(snapshot: TeamSnapshot, execution: Execution) -> list[TaskExecution]:
    """The task executions of a run, in the order in which they are to be run.

    Raises:
        NoActiveRole: nobody is there to do the work.
        MissingInputs: a placeholder of a task or of an active role has no input.
        Invalid: the texts would be too long with these inputs.
    """
    active = [role for role in snapshot.roles if role.is_active]
    if not active:
        raise NoActiveRole
    check_inputs(snapshot, active, execution.inputs)
    check_lengths(snapshot, active, execution.inputs)
    if not snapshot.tasks:
        return [_from_role(role, position, execution) for position, role in enumerate(active)]
    return _from_tasks(snapshot, active, execution)


def check_inputs(snapshot: TeamSnapshot, active: Sequence[Role], inputs: dict[str, Any]) -> None:
    """Raises MissingInputs, naming them all, when a placeholder of a task or of an active role has no input."""
    missing = [name for name in placeholders(_texts(snapshot, active)) if name not in inputs]
    if missing:
        raise MissingInputs(missing)


def check_lengths(snapshot: TeamSnapshot, active: Sequence[Role], inputs: dict[str, Any]) -> None:
    """Raises Invalid before a text is filled that would be too long: a placeholder may stand there very often."""
    lengths = [filled_length(text, inputs) for text in _texts(snapshot, active)]
    if max(lengths, default=0) > MAX_FILLED:
        raise Invalid.at(f"With these inputs a text would have more than {MAX_FILLED} characters.", "inputs")
    if sum(lengths) > MAX_PLAN:
        raise Invalid.at(f"With these inputs the texts would have more than {MAX_PLAN} characters.", "inputs")
    if any(filled_length(role.title, inputs) > MAX_NAME for role in active):
        raise Invalid.at(f"With these inputs a role's title would have more than {MAX_NAME} characters.", "inputs")


def _texts(snapshot: TeamSnapshot, active: Sequence[Role]) -> Iterator[str]:
    """Everything in which placeholders are filled."""
    for task in snapshot.tasks:
        yield from (task.description, task.expected_output)
    for role in active:
        yield from (role.title, role.description, role.backstory, *role.goals)


def with_inputs(role: Role, inputs: dict[str, Any]) -> Role:
    """The role with the placeholders of its texts filled, as CrewAI fills those of an agent."""
    return replace(
        role,
        title=fill(role.title, inputs),
        description=fill(role.description, inputs),
        backstory=fill(role.backstory, inputs),
        goals=[fill(goal, inputs) for goal in role.goals],
    )


def _from_tasks(snapshot: TeamSnapshot, active: Sequence[Role], execution: Execution) -> list[TaskExecution]:
    ids = {task.id: TaskExecutionId(new_id()) for task in snapshot.tasks}
    waiting: dict[TaskId, list[TaskExecutionId]] = {task.id: [] for task in snapshot.tasks}
    for dependency in snapshot.dependencies:
        waiting[dependency.task_id].append(ids[dependency.depends_on_id])
    return [
        _from_task(task, position, match_role(task, active), execution, ids[task.id], waiting[task.id])
        for position, task in enumerate(in_order(snapshot.tasks, snapshot.dependencies))
    ]


def match_role(task: Task, active: Sequence[Role]) -> Role:
    """The task's own role if it is active; else the one with most of the needed skills, then the most senior."""
    own = next((role for role in active if role.id == task.role_id), None)
    if own:
        return own
    needed = {skill.casefold() for skill in task.required_skills}
    fit = {role.id: len(needed.intersection(skill.casefold() for skill in role.skills)) for role in active}
    best = max(fit.values())
    chosen = most_senior([role for role in active if fit[role.id] == best])
    if chosen is None:
        raise NoActiveRole
    return chosen


def _from_task(
    task: Task,
    position: int,
    role: Role,
    execution: Execution,
    identifier: TaskExecutionId,
    waits_for: list[TaskExecutionId],
) -> TaskExecution:
    return TaskExecution(
        tenant_id=execution.tenant_id,
        execution_id=execution.id,
        position=position,
        name=task.name,
        description=fill(task.description, execution.inputs),
        expected_output=fill(task.expected_output, execution.inputs),
        role_id=role.id,
        role_title=fill(role.title, execution.inputs),
        task_id=task.id,
        waits_for=waits_for,
        max_attempts=task.max_attempts,
        max_budget=_smaller(task.max_budget, execution.max_task_budget),
        quality_preference=task.quality_preference or execution.quality_preference,
        output_schema=task.output_schema,
        id=identifier,
    )


def _smaller(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    """The tighter of two limits; None when there is none."""
    return min((limit for limit in (one, other) if limit is not None), default=None)


def _from_role(role: Role, position: int, execution: Execution) -> TaskExecution:
    role = with_inputs(role, execution.inputs)
    written = written_for(role, execution.inputs)
    return TaskExecution(
        tenant_id=execution.tenant_id,
        execution_id=execution.id,
        position=position,
        name=written.name,
        description=written.description,
        expected_output=written.expected_output,
        role_id=role.id,
        role_title=role.title,
        max_attempts=2,
        max_budget=execution.max_task_budget,
        quality_preference=execution.quality_preference,
    )
