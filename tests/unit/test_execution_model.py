"""The state machine, the times and the progress of an execution, and the cursors of lists and streams."""

import re
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import FailureCode, Invalid, InvalidTransition
from domain.events import EVENT_TYPES, TERMINAL, TaskCompleted, cursor_at, event_from, payload_of, sequence_at
from domain.model.execution import (
    FINAL,
    TASK_FINAL,
    TRANSITIONS,
    Cancellation,
    CancelReport,
    Execution,
    ExecutionStatus,
    TaskExecution,
    TaskExecutionStatus,
)
from domain.model.failure import Failure
from domain.model.identity import DEFAULT_TENANT, ExecutionId, ProjectId, RevisionId, RoleId, TeamId, new_id
from domain.model.ledger import Usage
from domain.model.money import Money
from domain.model.page import PageRequest, decode_cursor, encode_cursor
from domain.model.progress import progress_of

NOW = datetime(2026, 1, 2, tzinfo=UTC)
S, T = ExecutionStatus, TaskExecutionStatus
LEAD, WRITER = RoleId(new_id()), RoleId(new_id())


def an_execution(status: ExecutionStatus = S.QUEUED, **values: Any) -> Execution:
    execution = Execution(
        DEFAULT_TENANT, ProjectId(new_id()), TeamId(new_id()), RevisionId(new_id()), {}, 5, 60.0, 60.0, created_at=NOW
    )
    return replace(execution, status=status, **values)


def a_task(status: TaskExecutionStatus, role_id: RoleId = LEAD, name: str = "Task") -> TaskExecution:
    return TaskExecution(DEFAULT_TENANT, ExecutionId(new_id()), 0, name, "", "", role_id, "Lead", status=status)


# ---------------------------------------------------------------- states


def test_the_state_machine_is_exactly_this() -> None:
    moves = {(before, after) for before, allowed in TRANSITIONS.items() for after in allowed}

    assert set(TRANSITIONS) == set(S)
    assert moves == {
        (S.QUEUED, S.RUNNING),
        (S.QUEUED, S.PAUSED),
        (S.QUEUED, S.FAILED),
        (S.QUEUED, S.CANCELLED),
        (S.RUNNING, S.PAUSED),
        (S.RUNNING, S.AWAITING_APPROVAL),
        (S.RUNNING, S.COMPLETED),
        (S.RUNNING, S.FAILED),
        (S.RUNNING, S.CANCELLING),
        (S.RUNNING, S.CANCELLED),
        (S.PAUSED, S.RUNNING),
        (S.PAUSED, S.CANCELLED),
        (S.AWAITING_APPROVAL, S.RUNNING),
        (S.AWAITING_APPROVAL, S.CANCELLED),
        (S.CANCELLING, S.CANCELLED),
    }
    assert {S.COMPLETED, S.FAILED, S.CANCELLED} == FINAL
    assert set(T) - {T.PENDING, T.RUNNING, T.AWAITING_APPROVAL} == TASK_FINAL


def test_the_documents_show_the_same_state_machine() -> None:
    text = (Path(__file__).parents[2] / "docs" / "executions.md").read_text("utf-8")

    drawn = set(re.findall(r"^    ([A-Z_]+) --> ([A-Z_]+)", text, re.MULTILINE))

    assert drawn == {(before.value, after.value) for before, allowed in TRANSITIONS.items() for after in allowed}
    assert set(re.findall(r"^    ([A-Z_]+) --> \[\*\]", text, re.MULTILINE)) == {status.value for status in FINAL}


@pytest.mark.parametrize(("before", "after"), list(product(S, S)), ids=lambda status: status.value)
def test_a_move_is_checked_against_the_table(before: ExecutionStatus, after: ExecutionStatus) -> None:
    execution = an_execution(before)
    assert execution.allowed_transitions == list(TRANSITIONS[before])

    if after in TRANSITIONS[before]:
        execution.check_move(after)
    else:
        with pytest.raises(InvalidTransition) as caught:
            execution.check_move(after)
        assert (caught.value.current, caught.value.wanted) == (before.value, after.value)
        assert caught.value.allowed == tuple(status.value for status in TRANSITIONS[before])


def test_every_state_leads_to_an_end() -> None:
    ending = set(FINAL)
    while more := {before for before in S if before not in ending and ending.intersection(TRANSITIONS[before])}:
        ending |= more

    assert ending == set(S)


def test_what_can_be_asked_of_an_execution_follows_from_its_state() -> None:
    def that(name: str, **values: Any) -> set[ExecutionStatus]:
        return {status for status in S if getattr(an_execution(status, **values), name)}

    assert that("can_cancel") == {S.QUEUED, S.RUNNING, S.PAUSED, S.AWAITING_APPROVAL}
    assert (that("can_pause"), that("can_pause", pause_requested_at=NOW)) == ({S.QUEUED, S.RUNNING}, set())
    assert (that("can_resume"), that("can_resume", pause_requested_at=NOW)) == (
        {S.PAUSED},
        {S.PAUSED, S.QUEUED, S.RUNNING},
    )
    assert that("can_retry") == {S.FAILED, S.CANCELLED}
    assert that("is_final") == FINAL


def test_a_cancellation_tells_where_it_found_the_execution_and_how_far() -> None:
    execution = an_execution(S.CANCELLED, cancel_requested_at=NOW, cancel_requested_in=S.PAUSED)

    assert execution.cancellation == Cancellation(execution.id, NOW, S.PAUSED)
    assert an_execution().cancellation is None
    assert CancelReport(3, 1, ["A", "B"], Decimal(0)).stage == "1 of 3 tasks were done; under way: “A”, “B”."
    assert CancelReport(3, 1, [], Decimal(0)).stage == "1 of 3 tasks were done; none was under way."


# ---------------------------------------------------------------- times and failures


def test_times_are_absent_until_they_are_over() -> None:
    begun = NOW + timedelta(seconds=2)
    queued, running = an_execution().timing, an_execution(S.RUNNING, started_at=begun).timing
    over = an_execution(S.COMPLETED, started_at=begun, finished_at=begun + timedelta(seconds=3)).timing
    never_begun = an_execution(S.CANCELLED, finished_at=begun).timing

    found = [(it.queue_wait_seconds, it.duration_seconds) for it in (queued, running, over, never_begun)]
    assert found == [(None, None), (2.0, None), (2.0, 3.0), (None, None)]


def test_a_failure_is_a_reason_and_a_message() -> None:
    failed = an_execution(S.FAILED, failure_code=FailureCode.TOOL_FAILED, failure_message="It broke.")

    assert failed.failure == Failure(FailureCode.TOOL_FAILED, "It broke.")
    assert an_execution().failure is a_task(T.PENDING).failure is None


# ---------------------------------------------------------------- progress


def test_progress_counts_tasks_tokens_and_money_as_a_whole_and_per_role() -> None:
    done, now, next_one = a_task(T.COMPLETED), a_task(T.RUNNING, name="Now"), a_task(T.PENDING, WRITER)
    skipped = a_task(T.SKIPPED, WRITER)
    usage: dict[UUID, Usage] = {
        done.id: Usage(2, 10, 5, amount=Decimal("0.10")),
        now.id: Usage(1, 1, 1, amount=Decimal("0.02")),
    }
    execution = an_execution(S.RUNNING, started_at=NOW)

    progress = progress_of(execution, [done, now, next_one, skipped], usage, NOW + timedelta(seconds=10))

    assert (progress.done_tasks, progress.total_tasks, progress.total_tokens) == (1, 4, 17)
    assert progress.cost == Money(Decimal("0.12"))
    assert (progress.elapsed_seconds, progress.remaining_seconds) == (10.0, 30.0)
    lead, writer = progress.roles
    assert (lead.role_id, lead.status, lead.current_task, lead.done_tasks, lead.total_tasks) == (
        LEAD,
        T.RUNNING,
        "Now",
        1,
        2,
    )
    assert (lead.total_tokens, lead.cost) == (17, Money(Decimal("0.12")))
    assert (writer.role_id, writer.status, writer.current_task, writer.done_tasks) == (WRITER, T.PENDING, None, 0)
    assert (writer.total_tokens, writer.cost) == (0, Money(Decimal(0)))


def test_before_the_start_no_time_has_passed_and_before_the_first_task_nothing_is_estimated() -> None:
    queued = progress_of(an_execution(), [a_task(T.PENDING)], {}, NOW + timedelta(hours=1))
    begun = progress_of(an_execution(S.RUNNING, started_at=NOW), [a_task(T.RUNNING)], {}, NOW - timedelta(seconds=1))

    assert (queued.elapsed_seconds, queued.remaining_seconds) == (0.0, None)
    assert (begun.elapsed_seconds, begun.remaining_seconds) == (0.0, None)


def test_after_the_end_time_stands_still() -> None:
    over = an_execution(S.COMPLETED, started_at=NOW, finished_at=NOW + timedelta(seconds=4))

    progress = progress_of(over, [a_task(T.COMPLETED)], {}, NOW + timedelta(days=1))

    assert (progress.elapsed_seconds, progress.remaining_seconds) == (4.0, 0.0)
    assert progress.roles[0].status is T.COMPLETED


def test_what_was_taken_over_is_done_but_says_nothing_of_the_pace() -> None:
    tasks = [a_task(T.REUSED), a_task(T.COMPLETED), a_task(T.PENDING), a_task(T.PENDING)]
    execution = an_execution(S.RUNNING, started_at=NOW)

    progress = progress_of(execution, tasks, {}, NOW + timedelta(seconds=10))
    only_reused = progress_of(execution, tasks[:1] + tasks[2:], {}, NOW + timedelta(seconds=10))

    assert (progress.done_tasks, progress.roles[0].done_tasks, progress.remaining_seconds) == (2, 2, 20.0)
    assert (only_reused.done_tasks, only_reused.remaining_seconds) == (1, None)


def test_a_role_that_waits_for_a_human_is_shown_so_and_pauses_do_not_count() -> None:
    paused = an_execution(
        S.AWAITING_APPROVAL, started_at=NOW, waiting_from=NOW + timedelta(seconds=9), waited_seconds=4.0
    )

    progress = progress_of(paused, [a_task(T.AWAITING_APPROVAL), a_task(T.PENDING)], {}, NOW + timedelta(days=1))

    assert (progress.roles[0].status, progress.roles[0].current_task) == (T.AWAITING_APPROVAL, None)
    assert progress.elapsed_seconds == 5.0


# ---------------------------------------------------------------- cursors


@given(st.text(), st.text(), st.text())
def test_a_cursor_gives_back_what_was_put_in_for_its_own_order_alone(order: str, value: str, identifier: str) -> None:
    cursor = encode_cursor(order, value, identifier)

    assert decode_cursor(cursor, order) == (value, identifier)
    assert cursor.isascii()
    with pytest.raises(Invalid):
        decode_cursor(cursor, order + "x")


@given(st.text())
def test_a_text_is_a_cursor_or_invalid_and_nothing_else(text: str) -> None:
    with suppress(Invalid):
        value, identifier = decode_cursor(text, "name")
        assert decode_cursor(encode_cursor("name", value, identifier), "name") == (value, identifier)


@given(st.integers(0, 10**18 - 1))
def test_an_event_cursor_gives_its_sequence_back(sequence: int) -> None:
    assert sequence_at(cursor_at(sequence)) == sequence


@pytest.mark.parametrize("cursor", ["", "e", "5", "e-1", "e+1", "e 1", "e1_0", "e²", "e\u0661", "e" + "1" * 19])
def test_what_is_no_event_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        sequence_at(cursor)


def test_without_a_cursor_a_stream_begins_at_the_first_event() -> None:
    assert sequence_at(None) == 0


@pytest.mark.parametrize("first", [0, -1, 101])
def test_a_page_has_1_to_100_items(first: int) -> None:
    with pytest.raises(Invalid):
        PageRequest(first=first)
    assert [PageRequest(first=size).first for size in (1, 100)] == [1, 100]


# ---------------------------------------------------------------- events


def test_an_event_comes_back_from_its_payload_exactly() -> None:
    event = TaskCompleted(
        tenant_id=DEFAULT_TENANT,
        execution_id=ExecutionId(new_id()),
        sequence=7,
        role_id=LEAD,
        name="Task",
        attempt=2,
        total_tokens=15,
        cost_amount=Decimal("0.000000000001"),
    )
    envelope = {
        name: getattr(event, name)
        for name in ("tenant_id", "execution_id", "sequence", "occurred_at", "task_execution_id", "role_id")
    }

    payload = payload_of(event)

    assert payload == {"name": "Task", "attempt": 2, "total_tokens": 15, "cost_amount": "1E-12"}
    assert event_from("TaskCompleted", envelope, payload) == event
    assert (event.type, event.cursor, event.cost) == ("TaskCompleted", "e7", Money(Decimal("0.000000000001")))


def test_only_three_events_end_an_execution() -> None:
    assert {kind.__name__ for kind in TERMINAL} == {"ExecutionCompleted", "ExecutionFailed", "ExecutionCancelled"}
    assert set(TERMINAL) < set(EVENT_TYPES.values())
