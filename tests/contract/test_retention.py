"""What is kept for how long: archived executions, old deliveries and fires, months without events."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from app.settings import Settings
from domain.errors import ExecutionArchived
from domain.events import ExecutionCompleted, ExecutionEvent, ToolCalled
from domain.model.alert import Alert, AlertMetric, AlertRule, AlertState
from domain.model.approval import Approval, ApprovalKind, ApprovalStatus
from domain.model.continuation import Fork
from domain.model.execution import Execution, ExecutionStatus, TaskExecution, TaskExecutionStatus
from domain.model.identity import DEFAULT_TENANT, LedgerEntryId, ScheduleId, WebhookId, new_id, utc_now
from domain.model.journal import CallKind, JournalEntry
from domain.model.ledger import CallOutcome, LedgerEntry
from domain.model.refinement import RefinementPass
from domain.model.schedule import FireKind, FireOutcome, Schedule, ScheduleFire
from domain.model.webhook import DeliveryStatus, Webhook, WebhookDelivery
from domain.services.continuing import ForkExecution, RetryExecution
from domain.services.retention import ForgetOld
from persistence import tables
from persistence.engine import Database
from persistence.mapping import values_of
from persistence.retention import SqlRetention
from persistence.urls import asyncpg_arguments
from tests.contract.test_worker import a_worker
from tests.support.fakes import FakeHints, ScriptedRunner, a_team_with_tasks
from tests.support.worlds import SqlWorld

BEFORE = timedelta(days=31)
OTHER = UUID(int=2)
SOON = 30.0  # whoever waited for what is held here would wait for ever


class Past:
    """Executions that are over, and the sweep that forgets them."""

    def __init__(self, database: Database, days: int | None = 30) -> None:
        self.database = database
        self.world = SqlWorld(database)
        self.retention = SqlRetention(database.pool, days)

    async def sweep(self, batch: int = 1_000) -> int:
        return await ForgetOld(self.retention, batch, pause_seconds=0).sweep()

    async def execution(
        self, *, ended_before: timedelta = BEFORE, status: ExecutionStatus = ExecutionStatus.COMPLETED, events: int = 3
    ) -> Execution:
        """One of two tasks, with everything that may belong to one."""
        execution, tasks, snapshot = a_team_with_tasks("first", "second")
        execution.inputs, ended = {"topic": "boats"}, utc_now() - ended_before
        execution.status, execution.output, execution.finished_at = status, "A secret plan.", ended
        execution.failure_message, execution.cache_key = "It broke.", f"key of {execution.id}"
        for task in tasks:
            task.status, task.output, task.finished_at = TaskExecutionStatus.COMPLETED, "A secret step.", ended
            task.feedback, task.guardrail, task.output_schema = "More.", "It is true.", {"type": "string"}
        await self.world.add(execution, tasks, snapshot)
        await self._surround(execution, tasks[0], events)
        return execution

    async def _surround(self, execution: Execution, task: TaskExecution, events: int) -> None:
        whose: dict[str, Any] = {"tenant_id": DEFAULT_TENANT, "execution_id": execution.id}
        told: list[ExecutionEvent] = [ToolCalled(**whose, tool="t", arguments="{}") for _ in range(events - 1)]
        told.append(ExecutionCompleted(**whose, completed_tasks=2))
        async with self.world.units(DEFAULT_TENANT) as unit:
            await unit.executions.append_events(told)
            await unit.commit()
        await self.insert(
            Approval(
                DEFAULT_TENANT,
                execution.project_id,
                execution.id,
                task.id,
                ApprovalKind.TASK,
                "Good?",
                1,
                status=ApprovalStatus.APPROVED,
                answer="Yes.",
            ),
            JournalEntry(DEFAULT_TENANT, execution.id, task.id, 1, CallKind.TOOL, "hash", 1, 1, {"text": "secret"}),
            RefinementPass(DEFAULT_TENANT, execution.id, task.id, 1, "A secret draft."),
        )
        entry = entry_of(execution, task)
        await self.insert(entry, period=entry.booked_at.date())

    async def insert(self, *things: Any, **values: Any) -> None:
        async with self.database.engine.begin() as connection:
            for thing in things:
                await connection.execute(tables.TABLES[type(thing)].insert().values(values_of(thing) | values))

    async def now(self, execution: Execution) -> Execution:
        return await self.world.execution(execution.id)

    async def archived(self, executions: Sequence[Execution]) -> list[bool]:
        return [(await self.now(each)).archived_at is not None for each in executions]

    async def count(self, table: str) -> int:
        found: int = await self.database.pool.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 - our own tables
        return found


def entry_of(execution: Execution, task: TaskExecution) -> LedgerEntry:
    return LedgerEntry(
        DEFAULT_TENANT,
        execution.project_id,
        execution.team_id,
        execution.id,
        task.id,
        None,
        "test/model",
        "test",
        1,
        CallOutcome.SUCCEEDED,
        cost=Decimal("0.25"),
        id=LedgerEntryId(new_id()),
    )


@pytest.fixture
def past(database: Database) -> Past:
    return Past(database)


@asynccontextmanager
async def owner_of(database: Database) -> AsyncIterator[Any]:
    """A connection of the database's owner, who may do what the application may not."""
    url = database.engine.url.render_as_string(hide_password=False)
    connection = await asyncpg.connect(**asyncpg_arguments(url))
    try:
        yield connection
    finally:
        await connection.close()


# ---------------------------------------------------------------- executions


async def test_of_an_old_execution_texts_and_events_go_and_metrics_and_money_stay(past: Past) -> None:
    execution = await past.execution()
    before, tasks_before = await past.now(execution), await past.world.tasks(execution.id)

    assert await past.sweep() > 0

    after = await past.now(execution)
    assert after == replace(before, inputs={}, output=None, cache_key=None, archived_at=after.archived_at)
    assert after.archived_at is not None
    assert await past.world.tasks(execution.id) == [
        replace(
            task, description="", expected_output="", output=None, feedback=None, guardrail=None, output_schema=None
        )
        for task in tasks_before
    ]
    [approval] = await past.world.approvals(execution.id)
    assert (approval.prompt, approval.answer, approval.status) == ("", None, ApprovalStatus.APPROVED)
    assert [await past.count(table) for table in ("execution_event", "call_journal", "refinement_pass")] == [0, 0, 0]
    assert [entry.cost for entry in await past.world.ledger(execution.id)] == [Decimal("0.25")]
    assert await past.sweep() == 0


async def test_what_is_younger_or_not_over_stays_whole(past: Past) -> None:
    young = await past.execution(ended_before=timedelta(days=29))
    paused = await past.execution(status=ExecutionStatus.PAUSED)
    before = [await past.now(each) for each in (young, paused)]

    assert await past.sweep() == 0

    assert [await past.now(each) for each in (young, paused)] == before
    assert await past.count("execution_event") == 6


@pytest.mark.parametrize("status", [ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED])
async def test_every_end_is_an_end(past: Past, status: ExecutionStatus) -> None:
    execution = await past.execution(status=status)

    await past.sweep()

    assert await past.archived([execution]) == [True]


async def test_without_days_of_tenant_or_deployment_everything_is_kept(database: Database) -> None:
    past = Past(database, None)
    execution = await past.execution(ended_before=timedelta(days=36_000))

    assert await past.sweep() == 0
    assert await past.archived([execution]) == [False]


async def test_the_days_of_a_tenant_win_over_those_of_the_deployment(past: Past) -> None:
    executions = [await past.execution(ended_before=timedelta(days=days)) for days in (25, 35, 45)]

    await past.database.pool.execute("UPDATE tenant SET retention_days = 40")
    await past.sweep()
    longer = await past.archived(executions)
    await past.database.pool.execute("UPDATE tenant SET retention_days = 20")
    await past.sweep()

    assert longer == [False, False, True]
    assert await past.archived(executions) == [True, True, True]


async def test_one_tenants_days_do_not_touch_another_tenant(database: Database) -> None:
    past = Past(database, None)
    execution = await past.execution()
    async with owner_of(database) as owner:
        await owner.execute(
            "INSERT INTO tenant (id, name, created_at, retention_days) VALUES ($1, 'Other', now(), 1)", OTHER
        )

    assert await past.sweep() == 0
    assert await past.archived([execution]) == [False]


async def test_a_batch_is_bounded_and_what_it_leaves_has_no_gap(past: Past) -> None:
    execution = await past.execution(events=50)

    first = await past.retention.archive(20)

    left = [event.sequence for event in await past.world.events(execution.id)]
    assert 20 <= first < 25
    assert left == list(range(1, len(left) + 1))
    assert 0 < len(left) < 50
    assert await past.archived([execution]) == [True]
    await past.sweep(batch=20)
    assert await past.world.events(execution.id) == []


async def test_what_a_crash_left_half_emptied_is_emptied_by_the_next_sweep(past: Past) -> None:
    executions = [await past.execution(events=30) for _ in range(3)]
    await past.retention.archive(20)

    await past.sweep()

    assert await past.archived(executions) == [True] * 3
    assert await past.count("execution_event") == 0


async def test_what_somebody_holds_is_left_for_later_and_nobody_waits(past: Past) -> None:
    held, free = await past.execution(), await past.execution()
    async with past.world.units(DEFAULT_TENANT) as unit:
        await unit.executions.lock(held.id)

        async with asyncio.timeout(SOON):
            await past.sweep()
        meanwhile = await past.archived([held, free])

    await past.sweep()
    assert meanwhile == [False, True]
    assert await past.archived([held, free]) == [True, True]


async def test_several_workers_may_sweep_at_once(past: Past) -> None:
    executions = [await past.execution() for _ in range(6)]

    await asyncio.gather(*(past.sweep(batch=10) for _ in range(4)))
    await past.sweep()

    assert await past.archived(executions) == [True] * 6
    assert await past.count("execution_event") == 0


async def test_the_application_cannot_make_younger_executions_old(past: Past) -> None:
    execution = await past.execution(ended_before=timedelta(hours=23))

    for days in (0, -1, -36_500):
        assert await past.database.pool.fetchval("SELECT archive_executions($1, 1000)", days) == 0
    with pytest.raises(asyncpg.CheckViolationError):
        await past.database.pool.execute("UPDATE tenant SET retention_days = 0")

    assert await past.archived([execution]) == [False]


async def test_workers_do_it_by_themselves(database: Database, settings: Settings) -> None:
    past = Past(database)
    execution = await past.execution()

    async with a_worker(settings.model_copy(update={"retention_days": 30}), ScriptedRunner()):
        while await past.archived([execution]) != [True]:  # noqa: ASYNC110 - it happens elsewhere
            await asyncio.sleep(0.02)

    assert await past.count("execution_event") == 0


# ---------------------------------------------------------------- what looks at archived ones


async def test_an_archived_execution_cannot_be_gone_on_with(past: Past) -> None:
    execution = await past.execution(status=ExecutionStatus.FAILED)
    [task, _] = await past.world.tasks(execution.id)
    await past.sweep()
    before = await past.count("execution")

    with pytest.raises(ExecutionArchived) as of_retry:
        await RetryExecution(past.world.units, FakeHints())(DEFAULT_TENANT, execution.id)
    with pytest.raises(ExecutionArchived) as of_fork:
        await ForkExecution(past.world.units, FakeHints())(DEFAULT_TENANT, execution.id, Fork(task.id))

    assert [error.value.path for error in (of_retry, of_fork)] == [("executionId",)] * 2
    assert not (await past.now(execution)).can_retry
    assert await past.count("execution") == before


async def test_an_archived_execution_answers_for_no_other(past: Past) -> None:
    execution = await past.execution()

    async def answer(since: datetime) -> Execution | None:
        async with past.world.units(DEFAULT_TENANT) as unit:
            return await unit.executions.find_answer(f"key of {execution.id}", since)

    # What a human answered in keeps an execution from answering others anyway.
    await past.database.pool.execute("UPDATE approval SET answer = NULL")
    long_ago = utc_now() - timedelta(days=365)
    assert await answer(long_ago) is not None
    await past.sweep()
    assert await answer(long_ago) is None


# ---------------------------------------------------------------- deliveries and fires


async def test_alerts_that_were_resolved_long_ago_go(past: Past) -> None:
    rule = AlertRule(DEFAULT_TENANT, "Rule", AlertMetric.SPEND, Decimal(1))
    old, resolved = utc_now() - BEFORE, {"state": AlertState.RESOLVED}

    def alert(**values: Any) -> Alert:
        one = Decimal(1)
        figures = {"threshold": one, "value": one, "peak": one, "last_value": one, "fired_at": old}
        return Alert(DEFAULT_TENANT, rule.id, rule.metric, rule.severity, message="", **{**figures, **values})

    kept = [alert(), alert(resolved_at=utc_now(), **resolved)]
    gone = [alert(resolved_at=old, **resolved) for _ in range(2)]
    await past.insert(rule, *kept, *gone)

    assert await past.retention.forget_alerts(1) == 1
    await past.sweep()

    left = await past.database.pool.fetch("SELECT id FROM alert")
    assert {row[0] for row in left} == {each.id for each in kept}


async def test_old_deliveries_go_unless_they_are_still_to_be_made(past: Past) -> None:
    execution = await past.execution()
    webhook = Webhook(DEFAULT_TENANT, execution.project_id, "Hook", "https://a.example.org", [], id=WebhookId(new_id()))
    young, old = utc_now() - timedelta(days=29), utc_now() - BEFORE
    kept = [
        delivery_of(webhook, DeliveryStatus.SUCCEEDED, young),
        delivery_of(webhook, DeliveryStatus.PENDING, old),
    ]
    gone = [delivery_of(webhook, status, old) for status in (DeliveryStatus.SUCCEEDED, DeliveryStatus.FAILED)]
    await past.insert(webhook, *kept, *gone)

    assert await past.retention.forget_deliveries(1) == 1
    await past.sweep()

    left = await past.database.pool.fetch("SELECT id FROM webhook_delivery")
    assert {row[0] for row in left} == {each.id for each in kept}


def delivery_of(webhook: Webhook, status: DeliveryStatus, moment: datetime) -> WebhookDelivery:
    return WebhookDelivery(
        DEFAULT_TENANT, webhook.id, "TaskCompleted", occurred_at=moment, status=status, created_at=moment
    )


async def test_old_fires_go_unless_they_started_something_or_are_still_to_be_made_up(past: Past) -> None:
    execution = await past.execution()
    schedule = Schedule(DEFAULT_TENANT, execution.team_id, "Nightly", "0 3 * * *", id=ScheduleId(new_id()))

    def fire(number: int, outcome: FireOutcome, **values: Any) -> ScheduleFire:
        moment = utc_now() - BEFORE - timedelta(hours=number)
        return ScheduleFire(DEFAULT_TENANT, schedule.id, FireKind.DUE, moment, outcome, **values)

    kept = [
        fire(1, FireOutcome.STARTED, execution_id=execution.id),
        fire(2, FireOutcome.PENDING),
        fire(3, FireOutcome.SKIPPED),
    ]
    schedule.last_fire_id = kept[2].id
    gone = [fire(4, FireOutcome.SKIPPED), fire(5, FireOutcome.MISSED), fire(6, FireOutcome.FAILED)]
    await past.insert(schedule, *kept, *gone)

    assert await past.retention.forget_fires(2) == 2
    await past.sweep()

    left = await past.database.pool.fetch("SELECT id FROM schedule_fire")
    assert {row[0] for row in left} == {each.id for each in kept}


# ---------------------------------------------------------------- months

MONTH = """
    CREATE TABLE execution_event_202001 PARTITION OF execution_event
    FOR VALUES FROM ('2020-01-01 00:00+00') TO ('2020-02-01 00:00+00')
"""
MONTHS = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'execution_event'::regclass"


async def test_a_month_of_which_no_event_is_left_is_dropped_and_no_other(past: Past) -> None:
    async with owner_of(past.database) as owner:
        await owner.execute(MONTH)
        await owner.execute(MONTH.replace("2020", "2021"))
        await owner.execute("SET session_replication_role = replica")
        await owner.execute(
            "INSERT INTO execution_event (tenant_id, execution_id, sequence, occurred_at, type, payload)"
            " VALUES ($1, $1, 1, '2021-01-15 12:00+00', 'ExecutionPaused', '{}')",
            OTHER,
        )
    before = await past.database.pool.fetchval(MONTHS)

    await past.sweep()

    assert await past.database.pool.fetchval(MONTHS) == before - 1
    assert await past.database.pool.fetchval("SELECT to_regclass('execution_event_202001')") is None
    assert await past.count("execution_event") == 1


async def test_a_month_is_not_waited_for_while_somebody_reads_events(past: Past) -> None:
    async with owner_of(past.database) as owner:
        await owner.execute(MONTH)
        async with owner.transaction():
            await owner.execute("SELECT FROM execution_event")

            async with asyncio.timeout(SOON):
                dropped = await past.retention.drop_month()

    assert not dropped
    assert await past.retention.drop_month()
