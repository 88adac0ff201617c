"""The state machine under random commands of several writers at once, against a real PostgreSQL.

People, workers, a lost worker's stale run and the clock all do what they can think of; whatever they do, alone or two
at once on the same execution, the rules of the table hold, and nobody but the newest run writes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from domain.errors import Conflict, FailureCode, Invalid, RunFailed
from domain.events import (
    ApprovalRequested,
    ExecutionAwaitingApproval,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionEvent,
    ExecutionFailed,
    ExecutionPaused,
    TaskCompleted,
)
from domain.model.approval import Approval, ApprovalKind, ApprovalStatus
from domain.model.continuation import Fork
from domain.model.execution import FINAL, TASK_FINAL, TRANSITIONS, ExecutionStatus, TaskExecutionStatus
from domain.model.identity import DEFAULT_TENANT, ExecutionId, TeamId, new_id, utc_now
from domain.model.project import Project
from domain.model.role import Role
from domain.model.task import Task
from domain.model.team import Team, WhenBusy
from domain.ports import AdmissionKey, Change, Claimed
from domain.services.approvals import DecideApproval, Decision
from domain.services.cancelling import CancelExecution
from domain.services.continuing import ForkExecution, RetryExecution
from domain.services.control import PauseExecution, ResumeExecution
from domain.services.executions import KickoffRequest, KickoffTeam
from persistence import run_store
from persistence.admissions import SqlAdmissions
from persistence.engine import Database
from persistence.reader import SqlReader
from persistence.run_store import SqlRunStore
from persistence.unit_of_work import SqlUnitsOfWork
from tests.support.fakes import FakeHints

S, T = ExecutionStatus, TaskExecutionStatus
WORKERS = ("w1", "w2")
PEOPLE = ("pause", "resume", "cancel", "retry", "fork", "approve", "reject")
RUNS = ("complete_task", "ask", "stop_for_pause", "finish", "fail", "let_go")
MOST_EXECUTIONS = 3

WITNESS = """
    CREATE TABLE move (id uuid NOT NULL, before text NOT NULL, after text NOT NULL);
    GRANT INSERT, SELECT ON move TO PUBLIC;
    CREATE FUNCTION witness() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO move VALUES (OLD.id, OLD.status, NEW.status);
        RETURN NULL;
    END $$;
    CREATE TRIGGER witness AFTER UPDATE ON execution FOR EACH ROW WHEN (OLD.status <> NEW.status)
    EXECUTE FUNCTION witness();
"""
"""Sees every move, also those that a second one in the same step covers up."""


class Writers:
    """Everybody who writes executions, on one database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.units = SqlUnitsOfWork(database.engine)
        self.reader = SqlReader(database.pool)
        self.store = SqlRunStore(database.pool)
        self.admissions = SqlAdmissions(database.pool)
        hints = FakeHints()
        self.kickoff_team = KickoffTeam(self.units, hints)
        self.people: dict[str, Callable[..., Awaitable[Any]]] = {
            "pause": PauseExecution(self.units, hints),
            "resume": ResumeExecution(self.units, hints),
            "cancel": CancelExecution(self.units, hints),
            "retry": RetryExecution(self.units, hints),
        }
        self.fork_execution = ForkExecution(self.units, hints)
        self.decide_approval = DecideApproval(self.units, hints)
        self.executions: list[ExecutionId] = []
        self.runs: dict[ExecutionId, list[Claimed]] = {}
        self.ended: set[tuple[ExecutionId, int]] = set()
        self.team_id: TeamId | None = None

    async def make_team(self) -> None:
        await self.database.pool.execute("DELETE FROM admission")  # of the example before
        project = Project(DEFAULT_TENANT, f"Project {new_id()}")
        team = Team(DEFAULT_TENANT, project.id, "Team", when_busy=WhenBusy.PARALLEL)
        role = Role(DEFAULT_TENANT, team.id, "Analyst")
        async with self.units(DEFAULT_TENANT) as unit:
            await unit.projects.add(project)
            await unit.teams.add(team)
            await unit.roles.add(role)
            for position in range(3):
                name = f"Task {position}"
                task = Task(DEFAULT_TENANT, team.id, name, "Do.", "Done.", role_id=role.id, position=position)
                await unit.tasks.add(task)
            await unit.commit()
        self.team_id = team.id

    async def kick_off(self) -> None:
        assert self.team_id
        execution = await self.kickoff_team(DEFAULT_TENANT, KickoffRequest(self.team_id, {}))
        self.executions.append(execution.id)

    # ------------------------------------------------------------ people

    async def person(self, name: str, execution_id: ExecutionId) -> None:
        with suppress(Conflict, Invalid):  # what the state of things forbids
            match name:
                case "approve":
                    await self._decide(execution_id, ApprovalStatus.APPROVED)
                case "reject":
                    await self._decide(execution_id, ApprovalStatus.REJECTED)
                case "fork":
                    tasks = await self._tasks(execution_id)
                    fork = Fork(tasks[1]["id"], "Mine.")
                    self._add(await self.fork_execution(DEFAULT_TENANT, execution_id, fork))
                case "retry":
                    self._add(await self.people[name](DEFAULT_TENANT, execution_id))
                case _:
                    await self.people[name](DEFAULT_TENANT, execution_id)

    def _add(self, execution: Any) -> None:
        self.executions.append(execution.id)

    async def _decide(self, execution_id: ExecutionId, status: ApprovalStatus) -> None:
        identifier = await self.database.pool.fetchval(
            "SELECT id FROM approval WHERE execution_id = $1 ORDER BY created_at LIMIT 1", execution_id
        )
        if identifier is not None:
            await self.decide_approval(DEFAULT_TENANT, Decision(identifier, status))

    # ------------------------------------------------------------ workers

    async def admit(self, worker: str) -> None:
        for key in await self.admissions.admit(worker, 2, None):
            await self.claim(key, worker)

    async def claim(self, key: AdmissionKey, worker: str) -> None:
        claimed = await self.store.claim(key, worker)
        if claimed is not None:
            self.runs.setdefault(key.execution_id, []).append(claimed)

    async def lose(self, worker: str) -> None:
        """The worker is lost: its runs are not told, and write on as if nothing had happened."""
        released = await self.admissions.release(worker)
        for tenant_id, execution_id in released.cancelling:
            lost = RunFailed(FailureCode.WORKER_LOST, "The worker was lost.")
            await self.store.give_up(tenant_id, execution_id, lost)

    async def run(self, name: str, execution_id: ExecutionId, newest: int) -> None:
        """One of the runs of the execution writes, perhaps one that was shut out long ago."""
        runs = self.runs.get(execution_id, [])
        if not runs:
            return
        claimed = runs[-1 - newest % len(runs)]
        change = self._change(name, claimed)
        if change is None:
            return
        [is_written] = await self.store.commit([change])
        owner = claimed.ownership
        if is_written:
            assert (execution_id, owner.epoch) not in self.ended, "a run wrote behind its end"
            assert owner.epoch == max(run.ownership.epoch for run in runs), "a run wrote that was shut out"
            written = {task.id: task for task in change.task_executions}
            claimed.tasks = [written.get(task.id, task) for task in claimed.tasks]
        if is_written and change.execution is not None:
            self.ended.add((execution_id, owner.epoch))

    def _change(self, name: str, claimed: Claimed) -> Change | None:
        """What the run believes, made on copies: it learns only by its commit whether it may."""
        execution, now = claimed.execution, utc_now()
        whose: dict[str, Any] = {"tenant_id": execution.tenant_id, "execution_id": execution.id}
        expected = S.CANCELLING if name == "let_go" else S.RUNNING
        tasks = [replace(task) for task in claimed.tasks]
        pending = [task for task in tasks if task.status not in TASK_FINAL]
        events: list[ExecutionEvent]
        match name:
            case "complete_task":
                task = next(iter(pending), None)
                if task is None:
                    return None
                task.status, task.output, task.finished_at = T.COMPLETED, "Done.", now
                done = TaskCompleted(**whose, name=task.name, attempt=1, total_tokens=0, cost_amount=Decimal(0))
                return Change(claimed.ownership, [done], [task])
            case "ask":
                task = next(iter(pending), None)
                if task is None:
                    return None
                task.status, task.attempts, task.output = T.AWAITING_APPROVAL, claimed.ownership.epoch, "Good?"
                asked = Approval(
                    execution.tenant_id,
                    execution.project_id,
                    execution.id,
                    task.id,
                    ApprovalKind.TASK,
                    "Good?",
                    claimed.ownership.epoch,
                )
                requested = ApprovalRequested(
                    **whose, approval_id=asked.id, kind=asked.kind, assignee=None, expires_at=None
                )
                waiting = ExecutionAwaitingApproval(**whose, open_approvals=1)
                moved = replace(execution, status=S.AWAITING_APPROVAL, waiting_from=now)
                # In two changes, as a run does it: nobody waits for an approval that is not there yet.
                return Change(
                    claimed.ownership,
                    [requested, waiting],
                    [task],
                    approvals=[asked],
                    execution=moved,
                    expected=expected,
                )
            case "stop_for_pause":
                moved = replace(execution, status=S.PAUSED, waiting_from=now)
                return Change(claimed.ownership, [ExecutionPaused(**whose)], execution=moved, expected=expected)
            case "finish":
                self._end(pending, T.COMPLETED)
                moved = replace(execution, status=S.COMPLETED, output="Done.", finished_at=now)
                events = [ExecutionCompleted(**whose, completed_tasks=3)]
            case "fail":
                self._end(pending, T.SKIPPED)
                code, message = FailureCode.INTERNAL, "It broke."
                moved = replace(execution, status=S.FAILED, finished_at=now, failure_code=code, failure_message=message)
                events = [ExecutionFailed(**whose, code=code, message=message)]
            case _:
                self._end(pending, T.CANCELLED)
                moved = replace(execution, status=S.CANCELLED, finished_at=now)
                events = [ExecutionCancelled(**whose, completed_tasks=0)]
        return Change(claimed.ownership, events, pending, execution=moved, expected=expected)

    @staticmethod
    def _end(tasks: list[Any], status: TaskExecutionStatus) -> None:
        for task in tasks:
            task.status, task.finished_at = status, utc_now()

    # ------------------------------------------------------------ what holds

    async def _tasks(self, execution_id: ExecutionId) -> Any:
        return await self.database.pool.fetch(
            "SELECT id, status FROM task_execution WHERE execution_id = $1 ORDER BY position", execution_id
        )

    async def check(self) -> None:
        moves = await self.database.pool.fetch("SELECT DISTINCT before, after FROM move")
        assert [(row[0], row[1]) for row in moves if S(row[1]) not in TRANSITIONS[S(row[0])]] == []
        rows = await self.database.pool.fetch(_STANDING, self.executions)
        assert len(rows) == len(self.executions)
        for row in rows:
            self._check(row)

    @staticmethod
    def _check(row: Any) -> None:
        status = S(row["status"])
        tasks = [T(task) for task in row["tasks"]]
        told = f"{status.value}: {dict(row)}"
        assert row["sequences"] == list(range(1, row["last_sequence"] + 1)), told
        assert row["has_place"] == (status in (S.QUEUED, S.RUNNING, S.CANCELLING)), told
        assert row["worker"] is not None or status is not S.CANCELLING, told
        assert row["terminals"] == (1 if status in FINAL else 0), told
        assert (row["finished_at"] is not None) == (status in FINAL), told
        assert (row["waiting_from"] is not None) or status not in (S.PAUSED, S.AWAITING_APPROVAL), told
        if status in FINAL:
            assert TASK_FINAL.issuperset(tasks), told
            assert row["last_is_terminal"], told
            assert row["open_approvals"] == 0, told
        if status is S.AWAITING_APPROVAL:
            assert row["open_approvals"] > 0, told


_STANDING = """
    SELECT execution.status, execution.finished_at, execution.waiting_from, head.last_sequence,
        admission.id IS NOT NULL AS has_place, admission.worker_id AS worker,
        (SELECT array_agg(sequence ORDER BY sequence) FROM execution_event AS event
            WHERE event.execution_id = execution.id) AS sequences,
        (SELECT count(*) FROM execution_event AS event WHERE event.execution_id = execution.id
            AND type IN ('ExecutionCompleted', 'ExecutionFailed', 'ExecutionCancelled')) AS terminals,
        (SELECT type IN ('ExecutionCompleted', 'ExecutionFailed', 'ExecutionCancelled') FROM execution_event AS event
            WHERE event.execution_id = execution.id ORDER BY sequence DESC LIMIT 1) AS last_is_terminal,
        (SELECT array_agg(task.status) FROM task_execution AS task WHERE task.execution_id = execution.id) AS tasks,
        (SELECT count(*) FROM approval WHERE approval.execution_id = execution.id AND approval.status = 'PENDING')
            AS open_approvals
    FROM execution
    JOIN execution_sequence AS head ON head.execution_id = execution.id
    LEFT JOIN admission ON admission.execution_id = execution.id
    WHERE execution.id = ANY($1::uuid[])
"""

_which = st.integers(0, MOST_EXECUTIONS - 1)
_command = st.tuples(
    st.sampled_from([*(("person", name) for name in PEOPLE), *(("run", name) for name in RUNS)]),
    st.sampled_from([0, 0, 0, 1, 2]),
)
"""Who does what; of the runs of an execution the newest one, or an older one."""

Command = tuple[tuple[str, str], int]


class Commands(RuleBasedStateMachine):
    """Random commands, alone and two at once."""

    runner: asyncio.Runner
    database: Database

    @initialize()
    def begin(self) -> None:
        self.writers = Writers(self.database)
        self.runner.run(self.writers.make_team())
        self.runner.run(self.writers.kick_off())
        self.runner.run(self.writers.admit("w1"))

    @rule()
    def kick_off(self) -> None:
        if len(self.writers.executions) < MOST_EXECUTIONS:
            self.runner.run(self.writers.kick_off())

    @rule(worker=st.sampled_from(WORKERS))
    def admit(self, worker: str) -> None:
        self.runner.run(self.writers.admit(worker))

    @rule(worker=st.sampled_from(WORKERS))
    def lose(self, worker: str) -> None:
        self.runner.run(self.writers.lose(worker))

    @rule(which=_which, command=_command)
    def one(self, which: int, command: Command) -> None:
        self.runner.run(self._carry_out(self._of(which), command))

    @rule(which=_which, first=_command, second=_command)
    def two_at_once(self, which: int, first: Command, second: Command) -> None:
        async def both() -> None:
            execution_id = self._of(which)
            await asyncio.gather(self._carry_out(execution_id, first), self._carry_out(execution_id, second))

        self.runner.run(both())

    @rule(which=_which, command=_command, worker=st.sampled_from(WORKERS))
    def while_a_worker_is_lost(self, which: int, command: Command, worker: str) -> None:
        async def both() -> None:
            await asyncio.gather(self._carry_out(self._of(which), command), self.writers.lose(worker))
            await self.writers.lose(worker)  # what somebody else held just then

        self.runner.run(both())

    @invariant()
    def everything_holds(self) -> None:
        self.runner.run(self.writers.check())

    def _of(self, which: int) -> ExecutionId:
        return self.writers.executions[which % len(self.writers.executions)]

    async def _carry_out(self, execution_id: ExecutionId, command: Command) -> None:
        (who, name), newest = command
        if who == "run":
            await self.writers.run(name, execution_id, newest)
        elif name not in ("retry", "fork") or len(self.writers.executions) < MOST_EXECUTIONS:
            await self.writers.person(name, execution_id)


def test_whatever_several_writers_do_the_rules_of_executions_hold(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody is Busy because this process stood still for a moment with a row in its hands.
    monkeypatch.setattr(run_store, "_LOCK_TIMEOUT", "SET LOCAL lock_timeout = '20s'")
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(WITNESS)
    with asyncio.Runner() as runner:
        database = runner.run(Database.connect(database_url, name="test", pool_size=5))

        class Here(Commands):
            pass

        Here.runner, Here.database = runner, database

        try:
            run_state_machine_as_test(
                Here,
                settings=settings(
                    max_examples=80,
                    stateful_step_count=50,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(database.close())
