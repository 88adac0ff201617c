"""What a retry and a fork take over, and what they do anew."""

from dataclasses import replace
from typing import Any

import pytest

from domain.errors import FailureCode, Invalid, MissingInputs
from domain.model.brought_tasks import BroughtTask, with_tasks
from domain.model.continuation import Fork, depending_on, forked, retried
from domain.model.execution import Execution, ExecutionStatus, TaskExecution, TaskExecutionStatus
from domain.model.identity import (
    DEFAULT_TENANT,
    ExecutionId,
    PrincipalId,
    ProjectId,
    RevisionId,
    RoleId,
    TaskExecutionId,
    new_id,
)
from domain.model.planning import WRITTEN, plan
from domain.model.revision import TeamSnapshot
from domain.model.role import Role
from domain.model.role_tasks import written_for
from domain.model.task import Task
from domain.model.team import Process, Team

T = TaskExecutionStatus
TEAM = Team(DEFAULT_TENANT, ProjectId(new_id()), "Team")
ROLE = Role(DEFAULT_TENANT, TEAM.id, "Analyst of {who}")
BEFORE, AFTER = {"who": "us"}, {"who": "them"}


def an_execution(**values: Any) -> Execution:
    execution = Execution(DEFAULT_TENANT, TEAM.project_id, TEAM.id, RevisionId(new_id()), BEFORE, 7, 60.0, 30.0)
    return replace(execution, status=ExecutionStatus.FAILED, cache_key="key", priority=8, **values)


def a_task(position: int, *waits_for: TaskExecution, status: T = T.COMPLETED, **values: Any) -> TaskExecution:
    task = TaskExecution(
        DEFAULT_TENANT, ExecutionId(new_id()), position, f"Task {position}", "Do.", "Done.", ROLE.id, "Analyst of us"
    )
    given = {"output": f"Output {position}", "model": "test/model", "attempts": 2, "feedback": "Better.", **values}
    return replace(task, status=status, waits_for=[other.id for other in waits_for], **given)


def a_snapshot(process: Process = Process.SEQUENTIAL, *tasks: Task) -> TeamSnapshot:
    return TeamSnapshot(replace(TEAM, process=process), [ROLE], list(tasks), [], [], [])


def test_a_retry_has_the_configuration_of_the_first_and_answers_for_no_other() -> None:
    execution, somebody = an_execution(), PrincipalId(new_id())

    again, tasks = retried(execution, [], somebody)

    assert again.id != execution.id
    assert (again.status, again.retry_of, again.forked_from) == (ExecutionStatus.QUEUED, execution.id, None)
    assert (again.revision_id, again.inputs, again.priority) == (execution.revision_id, BEFORE, 8)
    assert again.configuration == execution.configuration
    assert (again.cache_key, again.started_by, tasks) == (None, somebody, [])


def test_a_retry_reuses_what_is_done_and_forgets_all_of_what_is_not() -> None:
    done, taken_over = a_task(0), a_task(1, status=T.REUSED, reused_from=TaskExecutionId(new_id()))
    failed = a_task(2, done, status=T.FAILED, failure_code=FailureCode.INTERNAL, failure_message="It broke.")
    skipped = a_task(3, failed, status=T.SKIPPED, wanted_model="test/other")

    again, tasks = retried(an_execution(), [skipped, failed, taken_over, done])

    assert [task.status for task in tasks] == [T.REUSED, T.REUSED, T.PENDING, T.PENDING]
    assert {task.execution_id for task in tasks} == {again.id}
    assert not {task.id for task in tasks} & {done.id, taken_over.id, failed.id, skipped.id}
    assert [task.reused_from for task in tasks] == [done.id, taken_over.id, None, None]
    assert [(task.output, task.model, task.attempts) for task in tasks[:2]] == [
        ("Output 0", "test/model", 0),
        ("Output 1", "test/model", 0),
    ]
    assert [(task.output, task.model, task.failure, task.feedback, task.attempts) for task in tasks[2:]] == [
        (None, None, None, None, 0)
    ] * 2
    assert [task.waits_for for task in tasks] == [[], [], [tasks[0].id], [tasks[2].id]]
    assert tasks[3].wanted_model == "test/other"  # what somebody chose stays


@pytest.mark.parametrize(
    ("process", "behind"),
    [
        (Process.SEQUENTIAL, {1, 2, 4}),
        (Process.HIERARCHICAL, {1, 2, 4}),
        (Process.PARALLEL, {1, 2}),
        (Process.COLLABORATIVE, {1, 2, 3, 4}),
    ],
)
def test_what_depends_on_a_task_is_what_sees_its_output(process: Process, behind: set[int]) -> None:
    first = a_task(0)
    here = a_task(1)
    waiting = a_task(2, here)
    beside = a_task(3, first)
    free = a_task(4)

    found = depending_on([free, beside, waiting, here, first], here.id, process)

    assert {task.position for task in (first, here, waiting, beside, free) if task.id in found} == behind


def test_a_fork_does_its_task_anew_or_takes_what_it_was_given() -> None:
    tasks = [a_task(0), a_task(1), a_task(2, status=T.RUNNING)]
    execution = an_execution()

    anew, plain = forked(execution, tasks, a_snapshot(), Fork(tasks[1].id))
    _, edited = forked(execution, tasks, a_snapshot(), Fork(tasks[1].id, "Mine."))

    assert (anew.forked_from, anew.retry_of) == (execution.id, None)
    assert [(task.status, task.output) for task in plain] == [
        (T.REUSED, "Output 0"),
        (T.PENDING, None),
        (T.PENDING, None),
    ]
    assert [(task.status, task.output, task.model, task.reused_from) for task in edited] == [
        (T.REUSED, "Output 0", "test/model", tasks[0].id),
        (T.REUSED, "Mine.", None, tasks[1].id),  # no model said that
        (T.PENDING, None, None, None),
    ]


def test_a_fork_with_other_inputs_fills_what_is_still_to_be_done_and_keeps_what_people_wrote() -> None:
    own = Task(DEFAULT_TENANT, TEAM.id, "Own", "For {who}.", "A text for {who}.", guardrail="It names {who}.")
    filled: dict[str, Any] = {
        "task_id": own.id,
        "description": "For us.",
        "expected_output": "A text for us.",
        "guardrail": "It names us.",
    }
    tasks = [a_task(0, **filled), a_task(1, **filled), a_task(2, **{**filled, "description": "By hand."})]

    again, made = forked(an_execution(), tasks, a_snapshot(Process.SEQUENTIAL, own), Fork(tasks[1].id, None, AFTER))

    assert again.inputs == AFTER
    assert [(task.description, task.expected_output, task.guardrail, task.role_title) for task in made] == [
        ("For us.", "A text for us.", "It names us.", "Analyst of us"),
        ("For them.", "A text for them.", "It names them.", "Analyst of them"),
        ("By hand.", "A text for them.", "It names them.", "Analyst of them"),
    ]


def _brought(process: Process) -> tuple[Execution, list[TaskExecution], TeamSnapshot]:
    """An execution with tasks of its own, of a team whose own one asks for another input."""
    own = Task(DEFAULT_TENANT, TEAM.id, "Own", "On {topic}.", "A text.")
    snapshot, execution = a_snapshot(process, own), an_execution(inputs={**BEFORE, "animal": "cats"})
    worded = [BroughtTask("Paint {animal}.", "A picture."), BroughtTask("Frame it.", "A frame.")]
    return execution, plan(with_tasks(snapshot, worded), execution, is_brought=True), snapshot


def test_a_task_that_the_kickoff_brought_is_not_done_with_other_inputs() -> None:
    execution, tasks, snapshot = _brought(Process.SEQUENTIAL)
    tasks[0].status = T.COMPLETED

    with pytest.raises(Invalid) as caught:
        forked(execution, tasks, snapshot, Fork(tasks[1].id, None, {**AFTER, "animal": "dogs"}))

    assert [problem.path for problem in caught.value.problems] == [("inputs",)]


def test_what_is_done_may_have_been_brought_and_the_teams_own_tasks_ask_for_nothing_then() -> None:
    execution, tasks, snapshot = _brought(Process.COLLABORATIVE)
    tasks[0].status = tasks[1].status = T.COMPLETED

    again, made = forked(execution, tasks, snapshot, Fork(tasks[2].id, None, AFTER))

    assert again.inputs == AFTER
    assert [(task.status, task.role_title) for task in made][1:] == [
        (T.REUSED, "Analyst of us"),
        (T.PENDING, "Analyst of them"),
    ]


def test_what_was_written_from_a_role_and_given_to_another_one_is_not_taken_for_brought() -> None:
    snapshot = a_snapshot()
    execution = an_execution()
    [task] = plan(snapshot, execution)
    task = replace(task, role_reason="Chosen while the execution was paused.")

    _, made = forked(execution, [task], snapshot, Fork(task.id, None, AFTER))

    assert made[0].name == "Analyst of them: analysis"


def test_a_task_that_was_written_from_its_role_is_written_anew_for_other_inputs() -> None:
    before, after = {**BEFORE, "project_name": "Old"}, {**AFTER, "project_name": "New"}
    role = replace(ROLE, title="Analyst of us")
    text = written_for(role, before)
    task = a_task(0, name=text.name, description=text.description, expected_output=text.expected_output)

    _, made = forked(an_execution(inputs=before), [task], _plain(), Fork(task.id, None, after))

    assert "Old" in text.description
    assert made[0].description == written_for(replace(ROLE, title="Analyst of them"), after).description
    assert "New" in made[0].description


def test_a_fork_without_an_input_is_refused_and_one_with_the_old_ones_is_not() -> None:
    task = a_task(0)
    with pytest.raises(MissingInputs) as caught:
        forked(an_execution(), [task], a_snapshot(), Fork(task.id, None, {}))

    assert caught.value.names == ("who",)
    assert forked(an_execution(), [task], a_snapshot(), Fork(task.id))[0].inputs == BEFORE


def _plain() -> TeamSnapshot:
    snapshot = a_snapshot()
    role = replace(ROLE, goals=["Be good."], backstory="Somebody.")
    return replace(snapshot, roles=[role])


def test_a_role_that_is_not_in_the_revision_leaves_the_task_as_it_is() -> None:
    task = a_task(0, role_id=RoleId(new_id()), role_reason=WRITTEN)

    _, made = forked(an_execution(), [task], a_snapshot(), Fork(task.id, None, AFTER))

    assert (made[0].description, made[0].role_title) == ("Do.", "Analyst of us")
