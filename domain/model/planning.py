"""From a snapshot and inputs to the task executions of a run: pure rules, no I/O."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import chain, count
from typing import Any

from domain.errors import Invalid, MissingInputs, NoActiveRole
from domain.model.execution import Execution, TaskExecution
from domain.model.identity import RoleId, TaskExecutionId, TaskId, new_id
from domain.model.matching import Assignment, Matching, Record, manager_of, senior_of
from domain.model.revision import TeamSnapshot
from domain.model.role import Role
from domain.model.role_tasks import written_for
from domain.model.rules import MAX_NAME
from domain.model.task import MAX_ATTEMPTS, Task, fill, filled_length, in_order, placeholders
from domain.model.team import Process

MAX_FILLED = 200_000
"""The longest text, in characters, that a task or a role may have once its placeholders are filled."""

MAX_PLAN = 2_000_000
"""The most characters of all texts of a run together."""

WRITTEN = "Written for it: the team has no tasks."


def plan(
    snapshot: TeamSnapshot,
    execution: Execution,
    records: Mapping[RoleId, Record] | None = None,
    *,
    is_brought: bool = False,
) -> list[TaskExecution]:
    """The task executions of a run, in the order in which they are to be run.

    A COLLABORATIVE one ends with a synthesis by the most senior role. `records` is the past success of the roles, None
    where `needs_records` says that nobody has to ask. `is_brought`: the tasks are the kickoff's, and the team has none
    of their ids.

    Raises:
        NoActiveRole: nobody is there to do the work.
        TooManyTasks: a role would be given more than its `max_tasks`.
        MissingInputs: a placeholder of a task or of an active role has no input.
        Invalid: the texts would be too long with these inputs.
    """
    active = [role for role in snapshot.roles if role.is_active]
    if not active:
        raise NoActiveRole
    check_inputs(snapshot, active, execution.inputs)
    check_lengths(snapshot, active, execution.inputs)
    is_led = snapshot.team.process is Process.HIERARCHICAL
    matching = Matching(active, records, manager_of(snapshot.team, active) if is_led else None)
    is_shared = snapshot.team.process is Process.COLLABORATIVE
    # Before the others: it is nobody else's, so matching has to know of it.
    synthesis = matching.give(senior_of(active), SYNTHESIS, "The most senior active role.") if is_shared else None
    tasks = _planned(snapshot, matching, execution)
    if is_brought:
        tasks = [replace(task, task_id=None) for task in tasks]
    return [*tasks, _synthesis(synthesis, tasks, execution)] if synthesis else tasks


def _planned(snapshot: TeamSnapshot, matching: Matching, execution: Execution) -> list[TaskExecution]:
    if snapshot.tasks:
        return _from_tasks(snapshot, matching, execution)
    given = [matching.give(role, role.title, WRITTEN) for role in matching.active]
    return [_from_role(assignment, position, execution) for position, assignment in enumerate(given)]


def check_inputs(snapshot: TeamSnapshot, active: Sequence[Role], inputs: dict[str, Any]) -> None:
    """Raises MissingInputs, naming them all, when a placeholder of a task or of an active role has no input.

    Null is none.
    """
    missing = [name for name in wanted_inputs(snapshot.tasks, active) if inputs.get(name) is None]
    if missing:
        raise MissingInputs(missing)


def check_lengths(snapshot: TeamSnapshot, active: Sequence[Role], inputs: dict[str, Any]) -> None:
    """Raises Invalid before a text is filled that would be too long: a placeholder may stand there very often."""
    guardrails = (task.guardrail for task in snapshot.tasks if task.guardrail)
    lengths = [filled_length(text, inputs) for text in chain(_texts(snapshot.tasks, active), guardrails)]
    if max(lengths, default=0) > MAX_FILLED:
        raise Invalid.at(f"With these inputs a text would have more than {MAX_FILLED} characters.", "inputs")
    if sum(lengths) > MAX_PLAN:
        raise Invalid.at(f"With these inputs the texts would have more than {MAX_PLAN} characters.", "inputs")
    if any(filled_length(role.title, inputs) > MAX_NAME for role in active):
        raise Invalid.at(f"With these inputs a role's title would have more than {MAX_NAME} characters.", "inputs")


def wanted_inputs(tasks: Iterable[Task], active: Iterable[Role]) -> list[str]:
    """The placeholders of these tasks and active roles that a kickoff has to give an input for, each once."""
    return placeholders(_texts(tasks, active))


def _texts(tasks: Iterable[Task], active: Iterable[Role]) -> Iterator[str]:
    """Every text whose placeholders need an input; a guardrail's are filled, but it may have braces of its own."""
    for task in tasks:
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


def _from_tasks(snapshot: TeamSnapshot, matching: Matching, execution: Execution) -> list[TaskExecution]:
    ids = {task.id: TaskExecutionId(new_id()) for task in snapshot.tasks}
    waiting: dict[TaskId, list[TaskExecutionId]] = {task.id: [] for task in snapshot.tasks}
    for dependency in snapshot.dependencies:
        waiting[dependency.task_id].append(ids[dependency.depends_on_id])
    ordered = in_order(snapshot.tasks, snapshot.dependencies)
    assigned = matching.assign(ordered)
    return [
        replace(
            _from_task(task, assigned[task.id], execution),
            id=ids[task.id],
            position=position,
            waits_for=waiting[task.id],
        )
        for position, task in enumerate(ordered)
    ]


def _from_task(task: Task, assigned: Assignment, execution: Execution) -> TaskExecution:
    inputs = execution.inputs
    return TaskExecution(
        tenant_id=execution.tenant_id,
        execution_id=execution.id,
        position=0,
        name=task.name,
        description=fill(task.description, inputs),
        expected_output=fill(task.expected_output, inputs),
        role_id=assigned.role.id,
        role_title=fill(assigned.role.title, inputs),
        role_reason=assigned.reason,
        task_id=task.id,
        kind=task.kind,
        guardrail=_filled(task.guardrail, inputs),
        is_approval_required=task.is_approval_required,
        approval_assignee=task.approval_assignee,
        approval_timeout_seconds=task.approval_timeout_seconds,
        approval_default=task.approval_default,
        max_attempts=task.max_attempts,
        max_budget=_smaller(task.max_budget, execution.max_task_budget),
        quality_preference=task.quality_preference or execution.quality_preference,
        output_schema=task.output_schema,
    )


def _smaller(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    """The tighter of two limits; None when there is none."""
    return min((limit for limit in (one, other) if limit is not None), default=None)


def _from_role(assigned: Assignment, position: int, execution: Execution) -> TaskExecution:
    written = written_for(with_inputs(assigned.role, execution.inputs), execution.inputs)
    return _own(assigned, position, execution, written.name, written.description, written.expected_output)


SYNTHESIS = "Synthesis"
_JOIN = (
    "Join the results of all tasks of this team into one result. Keep what matters, settle what contradicts itself and"
    " say how, and leave out what is said twice. Add nothing that the results do not bear out."
)
_JOINED = "One coherent result that stands by itself: a reader needs none of the single results to understand it."


def _synthesis(assigned: Assignment, others: Sequence[TaskExecution], execution: Execution) -> TaskExecution:
    """The last task of a COLLABORATIVE run: it sees all other outputs, and its own is that of the execution."""
    name = _free_name({task.name for task in others})
    task = _own(assigned, len(others), execution, name, _JOIN, _JOINED)
    return replace(task, kind="synthesis", waits_for=[other.id for other in others])


def _free_name(taken: Collection[str]) -> str:
    numbered = (f"{SYNTHESIS} {number}" for number in count(2))
    return next(name for name in chain([SYNTHESIS], numbered) if name not in taken)


def _own(
    assigned: Assignment, position: int, execution: Execution, name: str, description: str, expected_output: str
) -> TaskExecution:
    """A task that no task of the team stands behind."""
    return TaskExecution(
        tenant_id=execution.tenant_id,
        execution_id=execution.id,
        position=position,
        name=name,
        description=description,
        expected_output=expected_output,
        role_id=assigned.role.id,
        role_title=fill(assigned.role.title, execution.inputs),
        role_reason=assigned.reason,
        max_attempts=MAX_ATTEMPTS,
        max_budget=execution.max_task_budget,
        quality_preference=execution.quality_preference,
    )


def _filled(text: str | None, inputs: dict[str, Any]) -> str | None:
    return None if text is None else fill(text, inputs)
