"""Generations on real PostgreSQL: who works on which, and that every call is booked once, within its budgets."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from domain.model.budget import BudgetScope, Limits
from domain.model.generation import AT_ONCE, Generation, GenerationStatus
from domain.model.identity import (
    DEFAULT_TENANT,
    BatchId,
    ExecutionId,
    LedgerEntryId,
    ProjectId,
    TaskExecutionId,
    TenantId,
    new_id,
)
from domain.model.journal import CallKind, Journal, JournalEntry, hash_of
from domain.model.ledger import CallOutcome, LedgerEntry
from domain.model.project import Project
from domain.model.team import Team
from domain.ports import Reservation, Verdict
from domain.ports.generations import ClaimedGeneration
from persistence.call_budgets import SqlCallBudgets
from persistence.engine import Database
from persistence.generation_store import SqlGenerationStore
from persistence.mapping import names_of, values_of
from persistence.reader import SqlReader
from persistence.run_store import SqlRunStore
from persistence.unit_of_work import SqlUnitsOfWork
from persistence.urls import plain_url

WORKING = GenerationStatus.ANALYSING
LEASE = 30.0

Ask = Callable[..., Awaitable[Generation]]


@pytest.fixture
def store(database: Database) -> SqlGenerationStore:
    return SqlGenerationStore(database.pool)


@pytest.fixture
async def ask(database: Database, database_url: str) -> Ask:
    """Puts a PENDING generation of a project there."""
    projects: dict[TenantId, ProjectId] = {}

    async def asked(tenant_id: TenantId = DEFAULT_TENANT, **given: Any) -> Generation:
        if tenant_id not in projects:
            with psycopg.connect(plain_url(database_url)) as connection:  # the application may make no tenants
                connection.execute(
                    "INSERT INTO tenant (id, name, created_at) VALUES (%s, 'Some', now()) ON CONFLICT DO NOTHING",
                    [tenant_id],
                )
            async with SqlUnitsOfWork(database.engine)(tenant_id) as unit:
                project = Project(tenant_id, f"Project {new_id()}")
                await unit.projects.add(project)
                await unit.commit()
            projects[tenant_id] = project.id
        generation = Generation(tenant_id, projects[tenant_id], "Sell more tea", {}, **given)
        names = names_of(Generation)
        places = ", ".join(f"${number}" for number, _ in enumerate(names, start=1))
        await database.pool.execute(
            f"INSERT INTO generation ({', '.join(names)}) VALUES ({places})",  # noqa: S608 - our own columns
            *values_of(generation).values(),
        )
        return generation

    return asked


def a_reservation(claimed: ClaimedGeneration, amount: str = "1") -> Reservation:
    return Reservation(
        LedgerEntryId(new_id()),
        claimed.ownership.charge,
        "test/model",
        "test",
        1,
        1,
        Decimal(amount),
        0,
        "operator:test",
        Limits(),
        {},
        60.0,
    )


def an_entry(reservation: Reservation, cost: str) -> LedgerEntry:
    return LedgerEntry(
        **reservation.charge.facts,
        model="test/model",
        provider="test",
        outcome=CallOutcome.SUCCEEDED,
        cost=Decimal(cost),
        reserved=reservation.amount,
        id=reservation.id,
    )


def a_call(generation: Generation, request: str, answer: str) -> JournalEntry:
    own = generation.id
    answered = {"text": answer, "tool_requests": []}
    key = (CallKind.MODEL, hash_of(request), 1, 1)
    return JournalEntry(generation.tenant_id, ExecutionId(own), TaskExecutionId(own), 1, *key, answered)


async def spent(database: Database, scope: BudgetScope, identifier: Any) -> tuple[float, float]:
    budget = (await SqlReader(database.pool).budgets(DEFAULT_TENANT, scope, [identifier]))[identifier]
    return float(budget.spent_amount), float(budget.reserved_amount)


# ---------------------------------------------------------------- who works on which


async def test_what_waits_is_given_to_one_worker_the_oldest_first(store: SqlGenerationStore, ask: Ask) -> None:
    asked = [await ask() for _ in range(5)]

    first, second = await store.claim("w1", 3, LEASE), await store.claim("w2", 3, LEASE)

    assert [each.generation.id for each in first] == [each.id for each in asked[:3]]
    assert [each.generation.id for each in second] == [each.id for each in asked[3:]]
    assert {each.ownership.epoch for each in (*first, *second)} == {1}
    assert all(each.generation.started_at for each in first)


async def test_tenants_take_turns(store: SqlGenerationStore, ask: Ask) -> None:
    greedy, modest = DEFAULT_TENANT, TenantId(new_id())
    for _ in range(6):
        await ask(greedy)
    for _ in range(2):
        await ask(modest)

    taken = Counter(each.generation.tenant_id for each in await store.claim("w1", 4, LEASE))

    assert taken == {greedy: 2, modest: 2}


async def test_of_a_batch_so_many_are_worked_on_at_once_over_all_workers(store: SqlGenerationStore, ask: Ask) -> None:
    batch, size = BatchId(new_id()), AT_ONCE + 5
    for _ in range(size):
        await ask(batch_id=batch)

    taken = await asyncio.gather(*(store.claim(f"w{number}", 6, LEASE) for number in range(4)))

    assert sum(map(len, taken)) == AT_ONCE
    [done, *_] = [each for one in taken for each in one]
    done.generation.status = GenerationStatus.CANCELLED
    assert await store.save(done.ownership, done.generation, GenerationStatus.PENDING)
    assert len(await store.claim("w5", 6, LEASE)) == 1


async def test_who_lets_his_lease_end_writes_nothing_any_more(store: SqlGenerationStore, ask: Ask) -> None:
    await ask()
    [old] = await store.claim("w1", 1, 0.0)

    [new] = await store.claim("w2", 1, LEASE)

    assert new.ownership.epoch == old.ownership.epoch + 1
    assert await store.renew([old.ownership], LEASE) == set()
    assert await store.renew([new.ownership], LEASE) == {new.generation.id}
    old.generation.status = new.generation.status = WORKING
    assert not await store.save(old.ownership, old.generation, GenerationStatus.PENDING)
    assert await store.save(new.ownership, new.generation, GenerationStatus.PENDING)
    assert new.generation.sequence == 2


async def test_what_is_given_back_is_taken_at_once(store: SqlGenerationStore, ask: Ask) -> None:
    await ask()
    [old] = await store.claim("w1", 1, LEASE)
    assert await store.claim("w2", 1, LEASE) == []

    await store.release([old.ownership])

    [new] = await store.claim("w2", 1, LEASE)
    assert new.generation.id == old.generation.id


async def test_what_was_cancelled_is_nobodys(store: SqlGenerationStore, ask: Ask, database: Database) -> None:
    await ask()
    [claimed] = await store.claim("w1", 1, LEASE)

    await database.pool.execute("UPDATE generation SET status = 'CANCELLED'")

    assert await store.renew([claimed.ownership], LEASE) == set()
    ruling = await SqlCallBudgets(database.pool).reserve(a_reservation(claimed))
    assert ruling.verdict is Verdict.OWNERSHIP_LOST


# ---------------------------------------------------------------- money


async def test_a_call_is_reserved_and_booked_in_its_tenant_project_and_generation(
    store: SqlGenerationStore, ask: Ask, database: Database
) -> None:
    await ask(max_budget=Decimal(2))
    [claimed] = await store.claim("w1", 1, LEASE)
    budgets, reservation = SqlCallBudgets(database.pool), a_reservation(claimed)
    own, project = claimed.generation.id, claimed.generation.project_id

    assert (await budgets.reserve(reservation)).verdict is Verdict.GRANTED
    assert await spent(database, BudgetScope.GENERATION, own) == (0, 1)
    assert await store.settle(claimed.ownership, an_entry(reservation, "0.4"))

    for scope, identifier in (
        (BudgetScope.GENERATION, own),
        (BudgetScope.PROJECT, project),
        (BudgetScope.TENANT, DEFAULT_TENANT),
    ):
        assert await spent(database, scope, identifier) == (0.4, 0), scope
    usage = (await SqlReader(database.pool).usage(DEFAULT_TENANT, "generation_id", [own]))[own]
    assert (usage.calls, usage.amount) == (1, Decimal("0.4"))


_LIMITS = {
    BudgetScope.TENANT: "UPDATE tenant SET monthly_budget = 0.5",
    BudgetScope.PROJECT: "UPDATE project SET monthly_budget = 0.5",
    BudgetScope.TEAM: "UPDATE team SET monthly_budget = 0.5",
    BudgetScope.GENERATION: "UPDATE generation SET max_budget = 0.5",
}


@pytest.mark.parametrize("scope", _LIMITS)
async def test_a_call_that_could_exceed_a_budget_is_refused(
    store: SqlGenerationStore, ask: Ask, database: Database, scope: BudgetScope
) -> None:
    generation = await ask()
    async with SqlUnitsOfWork(database.engine)(DEFAULT_TENANT) as unit:
        team = Team(DEFAULT_TENANT, generation.project_id, "To be changed")
        await unit.teams.add(team)
        await unit.commit()
    await database.pool.execute("UPDATE generation SET team_id = $1", team.id)
    await database.pool.execute(_LIMITS[scope])
    [claimed] = await store.claim("w1", 1, LEASE)

    ruling = await SqlCallBudgets(database.pool).reserve(a_reservation(claimed))

    assert ruling.verdict is Verdict.BUDGET_EXCEEDED
    assert ruling.shortfall
    assert (ruling.shortfall.scope, ruling.shortfall.limit_amount) == (scope, Decimal("0.5"))


async def test_who_takes_over_has_what_was_answered_and_pays_for_what_was_lost(
    store: SqlGenerationStore, ask: Ask, database: Database
) -> None:
    await ask()
    [old] = await store.claim("w1", 1, 0.0)
    budgets, done, gone = SqlCallBudgets(database.pool), a_reservation(old), a_reservation(old, "3")
    await budgets.reserve(done)
    await store.settle(old.ownership, an_entry(done, "0.25"), a_call(old.generation, "Compose", "{}"))
    await budgets.reserve(gone)

    [new] = await store.claim("w2", 1, LEASE)

    _, number, known = Journal(new.calls).next(CallKind.MODEL, "Compose")
    assert known
    assert (number, known.answer) == (1, {"text": "{}", "tool_requests": []})
    assert new.http_attempts == {1: 1}
    assert await spent(database, BudgetScope.GENERATION, new.generation.id) == (3.25, 0)


async def test_what_the_former_owner_paid_is_booked_all_the_same_but_tells_the_new_one_nothing(
    store: SqlGenerationStore, ask: Ask, database: Database
) -> None:
    await ask()
    [old] = await store.claim("w1", 1, 0.0)
    paid = a_reservation(old)
    await SqlCallBudgets(database.pool).reserve(paid)
    [new] = await store.claim("w2", 1, 0.0)

    assert not await store.settle(old.ownership, an_entry(paid, "0.5"), a_call(old.generation, "Compose", "{}"))

    # By then it stood on the ledger as LOST, at what was reserved: it is not booked twice.
    assert await spent(database, BudgetScope.GENERATION, new.generation.id) == (1, 0)
    [again] = await store.claim("w3", 1, LEASE)
    assert again.calls == []


async def test_a_reservation_that_nobody_books_in_its_time_is_lost(
    store: SqlGenerationStore, ask: Ask, database: Database
) -> None:
    await ask()
    [claimed] = await store.claim("w1", 1, LEASE)
    await SqlCallBudgets(database.pool).reserve(a_reservation(claimed))
    await database.pool.execute("UPDATE call_reservation SET expires_at = now() - interval '1 second'")

    assert await SqlRunStore(database.pool).settle_lost(10) == 1

    assert await spent(database, BudgetScope.GENERATION, claimed.generation.id) == (1, 0)
    rows = await database.pool.fetch("SELECT outcome, generation_id, execution_id FROM ledger_entry")
    assert [tuple(row) for row in rows] == [("LOST", claimed.generation.id, None)]


async def test_the_journal_is_emptied_when_it_is_over(store: SqlGenerationStore, ask: Ask, database: Database) -> None:
    await ask()
    [claimed] = await store.claim("w1", 1, LEASE)
    reservation = a_reservation(claimed)
    await SqlCallBudgets(database.pool).reserve(reservation)
    await store.settle(claimed.ownership, an_entry(reservation, "0"), a_call(claimed.generation, "Compose", "{}"))

    claimed.generation.status = GenerationStatus.FAILED
    await store.save(claimed.ownership, claimed.generation, GenerationStatus.PENDING)

    assert await database.pool.fetchval("SELECT calls FROM generation") == []
    assert not await store.settle(claimed.ownership, an_entry(a_reservation(claimed), "0.1"))
    assert await database.pool.fetchval("SELECT count(*) FROM ledger_entry") == 2


async def test_many_that_are_taken_over_at_once_are_booked_in_one_order(
    store: SqlGenerationStore, ask: Ask, database: Database
) -> None:
    for _ in range(4):
        await ask()
    budgets, old = SqlCallBudgets(database.pool), await store.claim("w1", 4, 0.0)
    for each in old:
        await budgets.reserve(a_reservation(each))
    await database.pool.execute("UPDATE call_reservation SET expires_at = now() - interval '1 second'")

    takers = asyncio.gather(*(store.claim(f"w{number}", 2, LEASE) for number in (2, 3)))
    settled, taken = await asyncio.gather(SqlRunStore(database.pool).settle_lost(10), takers)

    assert settled <= 4
    assert sum(map(len, taken)) == 4
    assert await database.pool.fetchval("SELECT count(*) FROM ledger_entry WHERE outcome = 'LOST'") == 4
    assert await spent(database, BudgetScope.TENANT, DEFAULT_TENANT) == (4, 0)


async def test_what_people_say_of_it_is_not_overwritten_by_a_worker(
    store: SqlGenerationStore, ask: Ask, database: Database
) -> None:
    await ask()
    [claimed] = await store.claim("w1", 1, LEASE)
    await database.pool.execute("UPDATE generation SET rating = 4, feedback = 'Good'")

    claimed.generation.status = WORKING
    await store.save(claimed.ownership, claimed.generation, GenerationStatus.PENDING)

    row = await database.pool.fetchrow("SELECT status, rating, feedback FROM generation")
    assert row
    assert tuple(row) == ("ANALYSING", 4, "Good")
