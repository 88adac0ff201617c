"""The run store in memory and the real one, each with the eyes and hands of the rest of the system on its data."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import update

from domain.events import ExecutionEvent
from domain.model.admission import Admission
from domain.model.approval import Approval
from domain.model.budget import Budget, BudgetScope
from domain.model.execution import Execution, ExecutionStatus, TaskExecution
from domain.model.identity import DEFAULT_TENANT, ExecutionId, utc_now
from domain.model.ledger import LedgerEntry
from domain.model.project import Project
from domain.model.revision import TeamSnapshot, encode
from domain.ports import AdmissionKey, CallBudgets, Claimed, RunStore
from persistence import tables
from persistence.call_budgets import SqlCallBudgets
from persistence.engine import Database
from persistence.reader import SqlReader
from persistence.run_store import SqlRunStore
from persistence.unit_of_work import SqlUnitsOfWork
from tests.support.fakes import InMemoryRunStore


class World(Protocol):
    """A run store, and the eyes and hands of the rest of the system on the same data."""

    @property
    def store(self) -> RunStore: ...
    @property
    def budgets(self) -> CallBudgets: ...

    async def add(self, execution: Execution, tasks: Sequence[TaskExecution], snapshot: TeamSnapshot) -> None: ...

    async def admit(self, execution_id: ExecutionId, worker_id: str = "w1") -> AdmissionKey:
        """Give the execution a place on this worker, whoever has it now."""
        ...

    async def claim(self, execution_id: ExecutionId, worker_id: str = "w1") -> Claimed | None:
        """Give the execution a place on this worker, and let that claim it."""
        ...

    async def decide(self, approval: Approval) -> None:
        """What a human decided of an open approval."""
        ...

    async def approvals(self, execution_id: ExecutionId) -> Sequence[Approval]:
        """All that were asked, the oldest first."""
        ...

    async def change(self, execution_id: ExecutionId, **values: Any) -> None:
        """Write fields of the execution, as somebody else would."""
        ...

    async def events(self, execution_id: ExecutionId) -> Sequence[ExecutionEvent]: ...

    async def execution(self, execution_id: ExecutionId) -> Execution: ...

    async def tasks(self, execution_id: ExecutionId) -> Sequence[TaskExecution]: ...

    async def calls(self, execution_id: ExecutionId) -> int: ...

    async def move(self, execution: Execution, status: ExecutionStatus) -> None: ...

    async def limit(self, scope: BudgetScope, identifier: UUID, amount: Decimal | None) -> None:
        """Set or take away the limit of a budget."""
        ...

    async def budget(self, scope: BudgetScope, identifier: UUID) -> Budget:
        """The budget in its present period."""
        ...

    async def ledger(self, execution_id: ExecutionId) -> Sequence[LedgerEntry]:
        """The entries of the execution, by id."""
        ...


class FakeWorld:
    def __init__(self) -> None:
        self.store = InMemoryRunStore()
        self.budgets = self.store.budgets

    async def add(self, execution: Execution, tasks: Sequence[TaskExecution], snapshot: TeamSnapshot) -> None:
        self.store.add(execution, tasks, snapshot)

    async def admit(self, execution_id: ExecutionId, worker_id: str = "w1") -> AdmissionKey:
        return self.store.admit(execution_id, worker_id)

    async def claim(self, execution_id: ExecutionId, worker_id: str = "w1") -> Claimed | None:
        return await self.store.claim(await self.admit(execution_id, worker_id), worker_id)

    async def decide(self, approval: Approval) -> None:
        kept = self.store.kept(approval.execution_id)
        kept.approvals = [approval if other.id == approval.id else other for other in kept.approvals]

    async def approvals(self, execution_id: ExecutionId) -> Sequence[Approval]:
        return list(self.store.kept(execution_id).approvals)

    async def change(self, execution_id: ExecutionId, **values: Any) -> None:
        kept = self.store.kept(execution_id)
        kept.execution = replace(kept.execution, **values)

    async def events(self, execution_id: ExecutionId) -> Sequence[ExecutionEvent]:
        return list(self.store.kept(execution_id).events)

    async def execution(self, execution_id: ExecutionId) -> Execution:
        return self.store.kept(execution_id).execution

    async def tasks(self, execution_id: ExecutionId) -> Sequence[TaskExecution]:
        return sorted(self.store.kept(execution_id).tasks.values(), key=lambda task: task.position)

    async def calls(self, execution_id: ExecutionId) -> int:
        return len(self.store.kept(execution_id).ledger)

    async def move(self, execution: Execution, status: ExecutionStatus) -> None:
        self.store.move(execution.id, status)

    async def limit(self, scope: BudgetScope, identifier: UUID, amount: Decimal | None) -> None:
        self.budgets.limit(scope, identifier, amount)

    async def budget(self, scope: BudgetScope, identifier: UUID) -> Budget:
        return self.budgets.state(scope, identifier)

    async def ledger(self, execution_id: ExecutionId) -> Sequence[LedgerEntry]:
        return sorted(self.store.kept(execution_id).ledger, key=lambda entry: entry.id)


class SqlWorld:
    def __init__(self, database: Database) -> None:
        self.store = SqlRunStore(database.pool)
        self.budgets = SqlCallBudgets(database.pool)
        self.reader = SqlReader(database.pool)
        self.units = SqlUnitsOfWork(database.engine)
        self.engine = database.engine

    async def add(self, execution: Execution, tasks: Sequence[TaskExecution], snapshot: TeamSnapshot) -> None:
        project = Project(DEFAULT_TENANT, f"Project {execution.id}", id=execution.project_id)
        async with self.units(DEFAULT_TENANT) as unit:
            await unit.projects.add(project)
            await unit.teams.add(snapshot.team)
            for role in snapshot.roles:
                await unit.roles.add(role)
            execution.revision_id = await unit.definitions.keep_revision(execution.team_id, *encode(snapshot))
            await unit.executions.add(execution, tasks)
            await unit.commit()

    async def admit(self, execution_id: ExecutionId, worker_id: str = "w1") -> AdmissionKey:
        async with self.units(DEFAULT_TENANT) as unit:
            execution = await unit.executions.lock(execution_id)
            await unit.executions.withdraw(execution_id)
            place = Admission(
                DEFAULT_TENANT,
                execution_id,
                execution.project_id,
                execution.team_id,
                worker_id=worker_id,
                admitted_at=utc_now(),
            )
            await unit.executions.wait_for_place(place)
            await unit.commit()
        return AdmissionKey(DEFAULT_TENANT, execution_id, place.id)

    async def claim(self, execution_id: ExecutionId, worker_id: str = "w1") -> Claimed | None:
        return await self.store.claim(await self.admit(execution_id, worker_id), worker_id)

    async def decide(self, approval: Approval) -> None:
        async with self.units(DEFAULT_TENANT) as unit:
            await unit.approvals.lock(approval.id)
            await unit.approvals.save(approval)
            await unit.commit()

    async def approvals(self, execution_id: ExecutionId) -> Sequence[Approval]:
        found = await self.reader.children(
            Approval, DEFAULT_TENANT, "execution_id", [execution_id], ["created_at", "id"]
        )
        return found.get(execution_id, [])

    async def change(self, execution_id: ExecutionId, **values: Any) -> None:
        table = tables.execution
        async with self.engine.begin() as connection:
            await connection.execute(update(table).where(table.c.id == execution_id).values(**values))

    async def events(self, execution_id: ExecutionId) -> Sequence[ExecutionEvent]:
        return await self.reader.events(DEFAULT_TENANT, execution_id, 0, 10_000)

    async def execution(self, execution_id: ExecutionId) -> Execution:
        return (await self.reader.by_ids(Execution, DEFAULT_TENANT, [execution_id]))[execution_id]

    async def tasks(self, execution_id: ExecutionId) -> Sequence[TaskExecution]:
        found = await self.reader.children(TaskExecution, DEFAULT_TENANT, "execution_id", [execution_id], ["position"])
        return found[execution_id]

    async def calls(self, execution_id: ExecutionId) -> int:
        found = await self.reader.usage(DEFAULT_TENANT, "execution_id", [execution_id])
        return found[execution_id].calls if found else 0

    async def move(self, execution: Execution, status: ExecutionStatus) -> None:
        async with self.units(DEFAULT_TENANT) as unit:
            current = await unit.executions.lock(execution.id)
            await unit.executions.save(replace(current, status=status), current.status)
            await unit.commit()

    async def limit(self, scope: BudgetScope, identifier: UUID, amount: Decimal | None) -> None:
        await self.reader.pool.execute(_LIMIT[scope], amount, identifier)

    async def budget(self, scope: BudgetScope, identifier: UUID) -> Budget:
        return (await self.reader.budgets(DEFAULT_TENANT, scope, [identifier]))[identifier]

    async def ledger(self, execution_id: ExecutionId) -> Sequence[LedgerEntry]:
        found = await self.reader.children(LedgerEntry, DEFAULT_TENANT, "execution_id", [execution_id], ["id"])
        return found.get(execution_id, [])


async def waiting(database: Database, least: int = 1) -> None:
    """Returns when so many connections wait for a lock."""
    waiters = (
        "SELECT count(DISTINCT pid) FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE NOT granted AND datname = current_database()"
    )
    async with asyncio.timeout(20):
        while await database.pool.fetchval(waiters) < least:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.01)


_LIMIT = {
    BudgetScope.TENANT: "UPDATE tenant SET monthly_budget = $1 WHERE id = $2",
    BudgetScope.PROJECT: "UPDATE project SET monthly_budget = $1 WHERE id = $2",
    BudgetScope.TEAM: "UPDATE team SET monthly_budget = $1 WHERE id = $2",
    BudgetScope.EXECUTION: "UPDATE execution SET max_budget = $1 WHERE id = $2",
    BudgetScope.TASK: "UPDATE task_execution SET max_budget = $1 WHERE id = $2",
}
