"""Money before and after a call, in memory and in PostgreSQL: exact, whoever asks at the same moment."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from domain.errors import Busy, FailureCode, RunFailed, Unavailable
from domain.events import BudgetWarned, ExecutionCompleted, ExecutionEvent, ModelCalled
from domain.model.budget import NO_BUDGET, BudgetScope, Limits, Shortfall
from domain.model.execution import ExecutionStatus
from domain.model.identity import DEFAULT_TENANT, LedgerEntryId, TenantId, new_id, utc_now
from domain.model.ledger import CallOutcome, Charge, LedgerEntry, TokenSource
from domain.ports import Change, Claimed, Reservation, Ruling, Verdict
from persistence import run_store
from persistence.call_budgets import SqlCallBudgets
from persistence.engine import Database
from persistence.urls import plain_url
from persistence.workers import SqlWorkers
from tests.support.budgets import there
from tests.support.fakes import a_team_with_tasks
from tests.support.worlds import FakeWorld, SqlWorld, World, waiting

SCOPES = TENANT, PROJECT, TEAM, EXECUTION, TASK = tuple(BudgetScope)[:5]
"""Of an execution."""
CENT = Decimal("0.01")


@pytest.fixture
def patience(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is Busy because this process stood still for a moment with a row in its hands."""
    monkeypatch.setattr(run_store, "_LOCK_TIMEOUT", "SET LOCAL lock_timeout = '20s'")
    with psycopg.connect(plain_url(database_url), autocommit=True) as owner:
        for name in ("reserve_call", "release_call", "book_calls"):
            owner.execute(f"ALTER FUNCTION {name} SET lock_timeout = '20s'".encode())


@pytest.fixture(params=["fake", "sql"])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "fake":
        return FakeWorld()
    request.getfixturevalue("patience")
    return SqlWorld(request.getfixturevalue("database"))


async def a_run(world: World, worker: str = "w1") -> Claimed:
    execution, tasks, snapshot = a_team_with_tasks("first", "second")
    await world.add(execution, tasks, snapshot)
    return await taken(world, execution.id, worker)


async def taken(world: World, execution_id: Any, worker: str) -> Claimed:
    claimed = await world.claim(execution_id, worker)
    assert claimed
    return claimed


def a_charge(claimed: Claimed, task: int = 0) -> Charge:
    owner, done = claimed.ownership, claimed.tasks[task]
    team_id = claimed.execution.team_id
    return Charge(
        owner.tenant_id,
        claimed.execution.project_id,
        owner.epoch,
        1,
        team_id,
        owner.execution_id,
        done.id,
        done.role_id,
    )


def a_reservation(claimed: Claimed, amount: str | Decimal = "1", *, task: int = 0, **given: Any) -> Reservation:
    whole: dict[str, Any] = {
        "id": LedgerEntryId(new_id()),
        "charge": a_charge(claimed, task),
        "model": "test/model",
        "provider": "test",
        "call": 2,
        "call_attempt": 3,
        "amount": Decimal(amount),
        "tokens": 100,
        "credential": "operator:test",
        "limits": Limits(),
        "routing": {"model": "test/model"},
        "lifetime_seconds": 60.0,
    }
    return Reservation(**{**whole, **given})


def an_entry(claimed: Claimed, reservation: Reservation, cost: str | Decimal, **given: Any) -> LedgerEntry:
    entry = LedgerEntry(
        **{**reservation.charge.facts, "project_id": claimed.execution.project_id},
        model=reservation.model,
        provider=reservation.provider,
        outcome=CallOutcome.SUCCEEDED,
        cost=Decimal(cost),
        reserved=reservation.amount,
        id=reservation.id,
    )
    return replace(entry, **given)


def a_change(claimed: Claimed, *entries: LedgerEntry) -> Change:
    return Change(claimed.ownership, ledger=list(entries))


def the_end(claimed: Claimed, *entries: LedgerEntry) -> Change:
    owner = claimed.ownership
    over = ExecutionCompleted(tenant_id=owner.tenant_id, execution_id=owner.execution_id, completed_tasks=2)
    ended = replace(claimed.execution, status=ExecutionStatus.COMPLETED, output="", finished_at=utc_now())
    return Change(owner, [over], ledger=list(entries), execution=ended, expected=ExecutionStatus.RUNNING)


async def granted(world: World, claimed: Claimed, amount: str | Decimal = "1", **given: Any) -> Reservation:
    reservation = a_reservation(claimed, amount, **given)
    ruling = await world.budgets.reserve(reservation)
    assert ruling.verdict is Verdict.GRANTED, ruling
    return reservation


async def booked(world: World, claimed: Claimed, *entries: LedgerEntry) -> None:
    assert await world.store.commit([a_change(claimed, *entries)]) == [True]


async def state(world: World, claimed: Claimed) -> dict[BudgetScope, tuple[Decimal, Decimal]]:
    """What is spent and what is reserved, of every budget of the run's first task."""
    found = {scope: await world.budget(scope, identifier) for scope, identifier in budgets_of(claimed).items()}
    return {scope: (budget.spent_amount, budget.reserved_amount) for scope, budget in found.items()}


def budgets_of(claimed: Claimed) -> dict[BudgetScope, Any]:
    execution = claimed.execution
    ids = (DEFAULT_TENANT, execution.project_id, execution.team_id, execution.id, claimed.tasks[0].id)
    return dict(zip(SCOPES, ids, strict=True))


def everywhere(spent: str, reserved: str) -> dict[BudgetScope, tuple[Decimal, Decimal]]:
    return dict.fromkeys(SCOPES, (Decimal(spent), Decimal(reserved)))


async def warnings(world: World, claimed: Claimed) -> list[BudgetWarned]:
    return [event for event in await world.events(claimed.execution.id) if isinstance(event, BudgetWarned)]


def next_month(moment: datetime) -> datetime:
    return (moment.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


# ---------------------------------------------------------------- reserving and booking


async def test_a_call_is_reserved_in_all_its_budgets_and_booked_at_its_real_cost(world: World) -> None:
    claimed = await a_run(world)

    reservation = await granted(world, claimed, "0.000000000003")
    before = await state(world, claimed)
    await booked(world, claimed, an_entry(claimed, reservation, "0.000000000001"))

    assert before == everywhere("0", "0.000000000003")
    assert await state(world, claimed) == everywhere("0.000000000001", "0")
    assert [entry.reserved for entry in await world.ledger(claimed.execution.id)] == [Decimal("0.000000000003")]


@pytest.mark.parametrize("outcome", [CallOutcome.FAILED, CallOutcome.CANCELLED])
async def test_a_call_that_cost_nothing_gives_back_what_was_reserved(world: World, outcome: CallOutcome) -> None:
    claimed = await a_run(world)
    reservation = await granted(world, claimed)

    await booked(world, claimed, an_entry(claimed, reservation, "0", outcome=outcome))

    assert await state(world, claimed) == everywhere("0", "0")


@pytest.mark.parametrize("scope", SCOPES)
async def test_a_budget_that_does_not_suffice_refuses_and_says_what_is_missing(
    world: World, scope: BudgetScope
) -> None:
    claimed = await a_run(world)
    await world.limit(scope, budgets_of(claimed)[scope], Decimal(3))
    await booked(world, claimed, an_entry(claimed, await granted(world, claimed), "1.25"))
    await granted(world, claimed, "0.5")
    before = await state(world, claimed)

    ruling = await world.budgets.reserve(a_reservation(claimed, "1.250000000001"))
    exact = await world.budgets.reserve(a_reservation(claimed, "1.25"))

    missing = Shortfall(scope, Decimal(3), Decimal("1.25"), Decimal("0.5"), Decimal("1.250000000001"))
    assert (ruling.verdict, ruling.shortfall) == (Verdict.BUDGET_EXCEEDED, missing)
    assert before == everywhere("1.25", "0.5")
    assert exact.verdict is Verdict.GRANTED
    assert await state(world, claimed) == everywhere("1.25", "1.75")


async def test_of_several_budgets_the_widest_is_told(world: World) -> None:
    claimed = await a_run(world)
    told = []
    for scope in reversed(SCOPES):
        await world.limit(scope, budgets_of(claimed)[scope], Decimal(1))
        ruling = await world.budgets.reserve(a_reservation(claimed, "2"))
        assert ruling.shortfall
        told.append(ruling.shortfall.scope)

    assert told == [TASK, EXECUTION, TEAM, PROJECT, TENANT]


async def test_another_task_has_a_budget_of_its_own(world: World) -> None:
    claimed = await a_run(world)
    await world.limit(TASK, claimed.tasks[0].id, Decimal(1))
    await granted(world, claimed)

    ruling = await world.budgets.reserve(a_reservation(claimed, CENT))

    assert ruling.shortfall
    assert ruling.shortfall.scope is TASK
    await granted(world, claimed, "5", task=1)


async def test_a_free_call_passes_an_empty_and_a_used_up_budget(world: World) -> None:
    claimed = await a_run(world)
    await world.limit(TEAM, claimed.execution.team_id, Decimal(0))
    await granted(world, claimed, "0")
    assert (await world.budgets.reserve(a_reservation(claimed, CENT))).verdict is Verdict.BUDGET_EXCEEDED

    await world.limit(TEAM, claimed.execution.team_id, Decimal(1))
    await booked(world, claimed, an_entry(claimed, await granted(world, claimed), "1"))

    await granted(world, claimed, "0")


async def test_an_overrun_is_booked_in_full_and_stops_the_next_call_unless_it_is_free(world: World) -> None:
    claimed = await a_run(world)
    await world.limit(EXECUTION, claimed.execution.id, Decimal(1))
    reservation = await granted(world, claimed)

    await booked(world, claimed, an_entry(claimed, reservation, "1.5", is_overrun=True))

    assert await state(world, claimed) == everywhere("1.5", "0")
    assert [entry.is_overrun for entry in await world.ledger(claimed.execution.id)] == [True]
    ruling = await world.budgets.reserve(a_reservation(claimed, CENT))
    assert ruling.shortfall == Shortfall(EXECUTION, Decimal(1), Decimal("1.5"), Decimal(0), CENT)
    await granted(world, claimed, "0")


async def test_a_limit_that_is_raised_or_taken_away_counts_at_once(world: World) -> None:
    claimed = await a_run(world)
    await world.limit(PROJECT, claimed.execution.project_id, CENT)
    assert (await world.budgets.reserve(a_reservation(claimed))).verdict is Verdict.BUDGET_EXCEEDED

    await world.limit(PROJECT, claimed.execution.project_id, Decimal(1))
    await granted(world, claimed)
    await world.limit(PROJECT, claimed.execution.project_id, None)
    await granted(world, claimed, "1000000000")


@pytest.mark.parametrize("amount", ["0", "1"])
async def test_asking_again_for_what_is_reserved_is_granted_whatever_happened_since_and_changes_nothing(
    world: World, amount: str
) -> None:
    claimed = await a_run(world)
    limits = Limits(requests_per_minute=2, tokens_per_minute=200)
    await world.limit(TASK, claimed.tasks[0].id, Decimal(1))
    reservation = await granted(world, claimed, amount, limits=limits)
    for _ in range(3):
        assert (await world.budgets.reserve(reservation)).verdict is Verdict.GRANTED
    await granted(world, claimed, "0", limits=limits)  # the rest of the rate: the others took nothing of it
    await world.limit(TASK, claimed.tasks[0].id, Decimal(0))
    await world.budgets.cool_down("operator:test", "test/model", 60.0, "429")

    again = await world.budgets.reserve(reservation)

    assert again.verdict is Verdict.GRANTED
    assert await state(world, claimed) == everywhere("0", amount)


@pytest.mark.usefixtures("patience")
async def test_who_asks_twice_at_the_same_moment_reserves_once(database: Database) -> None:
    world = SqlWorld(database)
    claimed = await a_run(world)
    limits = Limits(requests_per_minute=2)
    await granted(world, claimed, CENT)
    await world.limit(TASK, claimed.tasks[0].id, Decimal("1.01"))
    reservation = a_reservation(claimed, limits=limits)

    async with holding_accounts(database):
        asking = [asyncio.create_task(world.budgets.reserve(reservation)) for _ in range(2)]
        await waiting(database, 2)
    rulings = await asyncio.gather(*asking)

    assert {ruling.verdict for ruling in rulings} == {Verdict.GRANTED}
    assert await state(world, claimed) == everywhere("0", "1.01")
    await granted(world, claimed, "0", limits=limits)


async def test_a_released_reservation_leaves_no_trace(world: World) -> None:
    claimed = await a_run(world)
    limits = Limits(requests_per_minute=1, tokens_per_minute=100)
    for amount in ("1", "0", "1"):
        reservation = await granted(world, claimed, amount, limits=limits, lifetime_seconds=0.0)
        await world.budgets.release(reservation)
        await world.budgets.release(reservation)

    assert await state(world, claimed) == everywhere("0", "0")
    assert await world.store.settle_lost(10) == 0
    assert await world.ledger(claimed.execution.id) == []
    await granted(world, claimed, limits=limits)


async def test_what_is_booked_or_was_never_reserved_is_not_released(world: World) -> None:
    claimed = await a_run(world)
    other = await granted(world, claimed, "0.25")
    reservation = await granted(world, claimed)
    await booked(world, claimed, an_entry(claimed, reservation, "0.5"))

    await world.budgets.release(reservation)
    await world.budgets.release(a_reservation(claimed))

    assert await state(world, claimed) == everywhere("0.5", "0.25")
    await world.budgets.release(other)
    assert await state(world, claimed) == everywhere("0.5", "0")


@pytest.mark.usefixtures("patience")
async def test_a_release_waits_for_the_reserving_that_it_undoes(database: Database) -> None:
    world = SqlWorld(database)
    claimed = await a_run(world)
    await granted(world, claimed, CENT)
    reservation = a_reservation(claimed)

    async with holding_accounts(database):
        reserving = asyncio.create_task(world.budgets.reserve(reservation))
        await waiting(database)
        releasing = asyncio.create_task(world.budgets.release(reservation))
        await waiting(database, 2)
    await asyncio.gather(reserving, releasing)

    assert await state(world, claimed) == everywhere("0", "0.01")


@asynccontextmanager
async def holding_accounts(database: Database) -> AsyncIterator[None]:
    """As a booking that takes long."""
    async with database.engine.begin() as connection:
        await connection.exec_driver_sql("SELECT FROM budget_account FOR UPDATE")
        yield


@pytest.mark.usefixtures("patience")
async def test_a_limit_that_is_lowered_while_a_call_waits_counts(database: Database) -> None:
    world = SqlWorld(database)
    claimed = await a_run(world)
    await world.limit(TEAM, claimed.execution.team_id, Decimal(5))
    await granted(world, claimed)

    async with holding_accounts(database):
        reserving = asyncio.create_task(world.budgets.reserve(a_reservation(claimed, "3")))
        await waiting(database)
        await world.limit(TEAM, claimed.execution.team_id, Decimal(2))
    ruling = await reserving

    missing = Shortfall(TEAM, Decimal(2), Decimal(0), Decimal(1), Decimal(3))
    assert (ruling.verdict, ruling.shortfall) == (Verdict.BUDGET_EXCEEDED, missing)


async def test_who_waits_for_an_account_in_vain_may_ask_again_and_the_heart_of_the_worker_beats(
    database: Database,
) -> None:
    world, workers = SqlWorld(database), SqlWorkers(database.pool)
    claimed = await a_run(world)
    held = await granted(world, claimed, CENT)
    count = 5 * database.pool.get_max_size()

    async with holding_accounts(database):
        asking = [asyncio.create_task(world.budgets.reserve(a_reservation(claimed))) for _ in range(count)]
        await waiting(database)
        async with asyncio.timeout(20):
            await workers.beat("w1")
            first, _ = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        with capture_logs() as logs:
            await SqlCallBudgets(database.pool).release(held)
    rulings = await asyncio.gather(*asking, return_exceptions=True)

    assert {type(task.exception()) for task in first} == {Busy}
    assert [log["event"] for log in logs] == ["reservation_not_released"]
    served = sum(isinstance(ruling, Ruling) for ruling in rulings)
    assert sum(isinstance(ruling, Unavailable) for ruling in rulings) == count - served
    assert await state(world, claimed) == everywhere("0", f"{served}.01")


async def test_settling_waits_for_an_account_no_longer_than_reserving(database: Database) -> None:
    world = SqlWorld(database)
    claimed = await a_run(world)
    await granted(world, claimed, lifetime_seconds=0.0)

    async with holding_accounts(database), asyncio.timeout(20):
        with pytest.raises(Busy):
            await world.store.settle_lost(1)

    assert await world.store.settle_lost(1) == 1


async def test_who_lost_the_execution_reserves_nothing(world: World) -> None:
    old = await a_run(world)
    new = await taken(world, old.execution.id, "w2")
    assert (await world.budgets.reserve(a_reservation(old))).verdict is Verdict.OWNERSHIP_LOST
    assert await state(world, old) == everywhere("0", "0")

    await world.store.commit([the_end(new)])

    late = replace(new.ownership, epoch=new.ownership.epoch + 1)  # as if the end had left the epoch open
    for owner in (new.ownership, late):
        assert (
            await world.budgets.reserve(a_reservation(new, charge=replace(a_charge(new), epoch=owner.epoch)))
        ).verdict is Verdict.OWNERSHIP_LOST


# ---------------------------------------------------------------- many at once


async def test_of_200_calls_at_once_exactly_120_fit_and_never_more_is_promised(world: World) -> None:
    claimed = await a_run(world)
    await world.limit(TEAM, claimed.execution.team_id, 120 * CENT)
    most = Decimal(0)

    async def attempt() -> Verdict:
        nonlocal most
        reservation = a_reservation(claimed, CENT)
        ruling = await world.budgets.reserve(reservation)
        seen = await world.budget(TEAM, claimed.execution.team_id)
        most = max(most, seen.spent_amount + seen.reserved_amount)
        if ruling.verdict is Verdict.GRANTED:
            await booked(world, claimed, an_entry(claimed, reservation, CENT))
        return ruling.verdict

    verdicts = Counter(await asyncio.gather(*(attempt() for _ in range(200))))

    assert verdicts == {Verdict.GRANTED: 120, Verdict.BUDGET_EXCEEDED: 80}
    assert most == Decimal("1.2")
    assert await state(world, claimed) == everywhere("1.2", "0")
    assert await world.calls(claimed.execution.id) == 120


async def test_what_a_cheaper_call_leaves_over_is_used_and_no_more(world: World) -> None:
    claimed = await a_run(world)
    limit = Decimal(3)
    await world.limit(EXECUTION, claimed.execution.id, limit)
    random_ = random.Random(7)  # noqa: S311 - a script, no secret

    async def attempt() -> None:
        for _ in range(6):
            amount = Decimal(random_.randrange(1, 10**12)) / 10**12
            reservation = a_reservation(claimed, amount)
            ruling = await world.budgets.reserve(reservation)
            seen = await world.budget(EXECUTION, claimed.execution.id)
            assert seen.spent_amount + seen.reserved_amount <= limit
            if ruling.verdict is Verdict.GRANTED:
                cost = amount * Decimal(random_.randrange(0, 101)) / 100
                await booked(world, claimed, an_entry(claimed, reservation, round(cost, 12)))

    await asyncio.gather(*(attempt() for _ in range(10)))

    spent = sum((entry.cost for entry in await world.ledger(claimed.execution.id)), Decimal(0))
    assert await state(world, claimed) == everywhere(str(spent), "0")


async def test_many_workers_book_groups_of_several_teams_without_a_deadlock_and_every_sum_is_that_of_the_ledger(
    world: World,
) -> None:
    runs = [await a_run(world) for _ in range(5)]
    random_ = random.Random(3)  # noqa: S311 - same
    lost: list[tuple[Claimed, LedgerEntry]] = []

    async def work(number: int) -> None:
        for step in range(8):
            chosen = random_.sample(runs, 3)
            pairs = [(run, await granted(world, run, "0.03", task=random_.randrange(2))) for run in chosen]
            entries = [(run, an_entry(run, it, CENT * random_.randrange(4))) for run, it in pairs]
            if (number + step) % 4 == 0:
                lost.append(entries.pop())
            changes = [a_change(run, entry) for run, entry in entries]
            random_.shuffle(changes)
            assert await world.store.commit(changes) == [True] * len(changes)
            if step % 3 == 0:
                await world.store.commit(changes)  # the answer was lost, so it is made once more

    await asyncio.gather(*(work(number) for number in range(6)))

    assert lost
    for run, entry in lost:
        await booked(world, run, entry)
    await the_sums_agree(world, runs)


async def the_sums_agree(world: World, runs: Sequence[Claimed]) -> None:
    total = Decimal(0)
    for run in runs:
        entries = await world.ledger(run.execution.id)
        spent = sum((entry.cost for entry in entries), Decimal(0))
        total += spent
        whole = {scope: await world.budget(scope, identifier) for scope, identifier in budgets_of(run).items()}
        assert [whole[scope].spent_amount for scope in (PROJECT, TEAM, EXECUTION)] == [spent] * 3
        for task in run.tasks:
            own = sum((entry.cost for entry in entries if entry.task_execution_id == task.id), Decimal(0))
            assert (await world.budget(TASK, task.id)).spent_amount == own
        assert {budget.reserved_amount for budget in whole.values()} == {Decimal(0)}
    assert (await world.budget(TENANT, DEFAULT_TENANT)).spent_amount == total


@pytest.mark.parametrize("seed", range(4))
async def test_after_any_interleaving_the_sums_are_those_of_the_ledger(world: World, seed: int) -> None:
    random_ = random.Random(seed)  # noqa: S311 - same
    runs = [await a_run(world) for _ in range(2)]
    waiting: list[tuple[int, Reservation]] = []
    for _ in range(60):
        place, deed = random_.randrange(2), random_.choice(["reserve", "reserve", "book", "again", "takeover", "late"])
        run = runs[place]
        if deed == "reserve":
            lifetime = random_.choice([0.0, 60.0])
            amount = CENT * random_.randrange(9)
            waiting.append((place, await granted(world, run, amount, lifetime_seconds=lifetime)))
        elif deed == "takeover" and random_.random() < 0.3:
            runs[place] = await taken(world, run.execution.id, "other")
        elif deed == "late":
            await world.store.settle_lost(2)
        elif waiting:
            place, reservation = waiting.pop(random_.randrange(len(waiting)))
            change = a_change(runs[place], an_entry(runs[place], reservation, CENT * random_.randrange(12)))
            for _ in range(1 + (deed == "again")):
                await world.store.commit(
                    [replace(change, ownership=replace(change.ownership, epoch=reservation.charge.epoch))]
                )

    for place, reservation in waiting:
        await world.store.commit([a_change(runs[place], an_entry(runs[place], reservation, CENT))])
    await the_sums_agree(world, runs)


# ---------------------------------------------------------------- twice, late and lost


async def test_a_repeated_commit_books_and_releases_once(world: World) -> None:
    claimed = await a_run(world)
    change = a_change(claimed, an_entry(claimed, await granted(world, claimed), "0.75"))

    for _ in range(3):
        await world.store.commit([change, change])

    assert await state(world, claimed) == everywhere("0.75", "0")
    assert await world.calls(claimed.execution.id) == 1


async def test_a_reservation_that_comes_behind_its_booking_is_released_and_booked_no_second_time(world: World) -> None:
    claimed = await a_run(world)
    reservation = await granted(world, claimed, lifetime_seconds=0.0)
    await booked(world, claimed, an_entry(claimed, reservation, "0.75"))
    await world.budgets.reserve(reservation)  # a statement that its client had given up

    await world.store.settle_lost(1)
    await world.budgets.reserve(reservation)
    await taken(world, claimed.execution.id, "w2")

    assert await state(world, claimed) == everywhere("0.75", "0")
    assert [entry.outcome for entry in await world.ledger(claimed.execution.id)] == [CallOutcome.SUCCEEDED]
    assert [event.type for event in await world.events(claimed.execution.id)] == ["ExecutionStarted"] * 2


async def test_an_entry_that_nothing_was_reserved_for_is_spent_all_the_same(world: World) -> None:
    claimed = await a_run(world)

    await booked(world, claimed, an_entry(claimed, a_reservation(claimed), "0.5"))

    assert await state(world, claimed) == everywhere("0.5", "0")


async def test_a_takeover_books_what_was_under_way_as_lost_at_what_was_reserved(world: World) -> None:
    old = await a_run(world)
    done, gone = await granted(world, old, "1"), await granted(world, old, "0.4")
    await booked(world, old, an_entry(old, done, "0.1"))

    new = await taken(world, old.execution.id, "w2")

    lost = next(entry for entry in await world.ledger(old.execution.id) if entry.id == gone.id)
    assert (lost.outcome, lost.cost, lost.reserved) == (CallOutcome.LOST, gone.amount, gone.amount)
    assert (lost.token_source, lost.error, lost.latency_seconds) == (TokenSource.ESTIMATE, "WORKER_LOST", None)
    assert (lost.attempt, lost.call, lost.call_attempt, lost.routing) == (1, 2, 3, {"model": "test/model"})
    assert (lost.total_tokens, lost.role_id) == (0, gone.charge.role_id)
    assert await state(world, old) == everywhere("0.5", "0")
    assert new.spent[there(gone.charge.task_execution_id)].amount == Decimal("0.5")
    told = (await world.events(old.execution.id))[-1]
    assert isinstance(told, ModelCalled)
    assert (told.entry_id, told.outcome, told.cost_amount) == (gone.id, "LOST", gone.amount)
    assert (told.task_execution_id, told.model, told.call, told.call_attempt, told.error) == (
        there(gone.charge.task_execution_id),
        "test/model",
        2,
        3,
        "WORKER_LOST",
    )


async def test_what_is_booked_after_it_was_lost_is_dropped(world: World) -> None:
    old = await a_run(world)
    reservation = await granted(world, old, "0.4")
    await taken(world, old.execution.id, "w2")

    assert await world.store.commit([a_change(old, an_entry(old, reservation, "0.1"))]) == [False]

    assert [entry.outcome for entry in await world.ledger(old.execution.id)] == [CallOutcome.LOST]
    assert await state(world, old) == everywhere("0.4", "0")


async def test_who_is_late_but_not_lost_yet_is_booked_although_refused(world: World) -> None:
    claimed = await a_run(world)
    reservation = await granted(world, claimed)
    await world.store.commit([the_end(claimed)])

    assert await world.store.commit([a_change(claimed, an_entry(claimed, reservation, "0.3"))]) == [False]

    assert await state(world, claimed) == everywhere("0.3", "0")


async def test_giving_up_books_what_was_under_way_as_lost_before_the_end(world: World) -> None:
    claimed = await a_run(world)
    await granted(world, claimed, "0.4")

    place = (await world.admit(claimed.execution.id), "w1")
    await world.store.give_up(DEFAULT_TENANT, claimed.execution.id, RunFailed(FailureCode.INTERNAL, "Broken."), place)

    assert await state(world, claimed) == everywhere("0.4", "0")
    events = await world.events(claimed.execution.id)
    assert [(event.sequence, event.type) for event in events[1:]] == [(2, "ModelCalled"), (3, "ExecutionFailed")]


async def test_reservations_that_outlived_their_time_are_lost_a_few_at_a_time(world: World) -> None:
    claimed = await a_run(world)
    for _ in range(5):
        await granted(world, claimed, "0.1", lifetime_seconds=0.0)
    young = await granted(world, claimed, "0.1")

    settled = [await world.store.settle_lost(3) for _ in range(3)]

    assert settled == [3, 2, 0]
    assert await state(world, claimed) == everywhere("0.5", "0.1")
    assert young.id not in {entry.id for entry in await world.ledger(claimed.execution.id)}
    assert [event.type for event in await world.events(claimed.execution.id)] == ["ExecutionStarted"]


@pytest.mark.usefixtures("patience")
async def test_several_sweeps_at_once_lose_each_call_once(database: Database) -> None:
    world = SqlWorld(database)
    claimed = await a_run(world)
    reservations = [await granted(world, claimed, "0.1", lifetime_seconds=0.0) for _ in range(12)]
    late = [an_entry(claimed, each, "0.1") for each in reservations[:6]]

    booking = asyncio.create_task(booked(world, claimed, *late))
    settled = await asyncio.gather(*(world.store.settle_lost(5) for _ in range(4)))
    await booking

    left = await world.store.settle_lost(100)
    outcomes = Counter(entry.outcome for entry in await world.ledger(claimed.execution.id))
    assert outcomes.total() == 12
    assert outcomes[CallOutcome.LOST] == sum(settled) + left
    assert await state(world, claimed) == everywhere("1.2", "0")


# ---------------------------------------------------------------- months


async def test_a_call_over_midnight_is_spent_in_the_month_in_which_it_was_reserved(world: World) -> None:
    claimed = await a_run(world)
    await world.limit(TENANT, DEFAULT_TENANT, Decimal(1))
    reservation = await granted(world, claimed)
    later = next_month(utc_now())

    await booked(world, claimed, an_entry(claimed, reservation, "0.95", booked_at=later))

    assert await state(world, claimed) == everywhere("0.95", "0")
    assert [warning.scope for warning in await warnings(world, claimed)] == [TENANT]


async def test_every_month_of_the_ledger_is_the_sum_in_its_account(database: Database) -> None:
    world = SqlWorld(database)
    claimed = await a_run(world)
    now = utc_now()
    reserved = [await granted(world, claimed) for _ in range(2)]
    entries = [
        an_entry(claimed, reserved[0], "0.5", booked_at=next_month(now)),
        an_entry(claimed, reserved[1], "0.25"),
        an_entry(claimed, a_reservation(claimed), "0.125", booked_at=next_month(now)),
    ]

    await booked(world, claimed, *entries)

    accounts = await database.pool.fetch("SELECT period, spent FROM budget_account WHERE scope = 0 ORDER BY 1")
    ledger = await database.pool.fetch("SELECT period, sum(cost) FROM ledger_entry GROUP BY 1 ORDER BY 1")
    months = [now.astimezone(UTC).date().replace(day=1), next_month(now).date()]
    assert [tuple(row) for row in ledger] == list(zip(months, [Decimal("0.75"), Decimal("0.125")], strict=True))
    assert [tuple(row) for row in accounts] == [tuple(row) for row in ledger]


async def test_a_month_ends_at_midnight_utc_and_old_ones_do_not_count_now(world: World) -> None:
    claimed = await a_run(world)
    await world.limit(TENANT, DEFAULT_TENANT, Decimal(1))
    start = utc_now().astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for cost, booked_at in (("40", start - timedelta(microseconds=1)), ("0.25", start)):
        await booked(world, claimed, an_entry(claimed, a_reservation(claimed), cost, booked_at=booked_at))

    assert (await world.budget(TENANT, DEFAULT_TENANT)).spent_amount == Decimal("0.25")
    await granted(world, claimed, "0.75")


# ---------------------------------------------------------------- the warning


async def test_nine_tenths_are_told_once_in_the_execution_that_reached_them(world: World) -> None:
    claimed, other = await a_run(world), await a_run(world)
    await world.limit(TENANT, DEFAULT_TENANT, Decimal(1))

    await booked(world, claimed, an_entry(claimed, await granted(world, claimed, "0.4"), "0.4"))
    assert not (await world.budget(TENANT, DEFAULT_TENANT)).is_warned
    entry = an_entry(other, await granted(world, other, "0.5"), "0.5")
    await booked(world, other, entry)
    await booked(world, claimed, an_entry(claimed, await granted(world, claimed, "0.05"), "0.05"))

    (warning,) = await warnings(world, other)
    assert (warning.scope, warning.limit_amount, warning.spent_amount) == (TENANT, Decimal(1), Decimal("0.9"))
    assert (warning.task_execution_id, warning.role_id) == (entry.task_execution_id, entry.role_id)
    assert await warnings(world, claimed) == []
    assert (await world.budget(TENANT, DEFAULT_TENANT)).is_warned


async def test_the_next_month_is_warned_anew_and_a_run_never_again(world: World) -> None:
    claimed = await a_run(world)
    await world.limit(TEAM, claimed.execution.team_id, Decimal(1))
    await world.limit(TASK, claimed.tasks[0].id, Decimal(1))
    first = utc_now()
    for booked_at in (first, first, next_month(first), next_month(first)):
        await booked(world, claimed, an_entry(claimed, a_reservation(claimed), "0.95", booked_at=booked_at))

    assert [warning.scope for warning in await warnings(world, claimed)] == [TEAM, TASK, TEAM]


async def test_a_limit_that_was_raised_is_warned_of_again_and_a_lowered_one_is_not(world: World) -> None:
    claimed = await a_run(world)
    seen = []
    for limit, cost in (("1", "0.9"), ("2", "0.1"), ("2", "0.8"), ("1.9", "0.05"), ("2", "0.01"), ("2.05", "0.01")):
        await world.limit(TEAM, claimed.execution.team_id, Decimal(limit))
        await booked(world, claimed, an_entry(claimed, a_reservation(claimed), cost))
        seen.append((await world.budget(TEAM, claimed.execution.team_id)).is_warned)

    told = [(warning.limit_amount, warning.spent_amount) for warning in await warnings(world, claimed)]
    assert told == [(Decimal(limit), Decimal(spent)) for limit, spent in (("1", "0.9"), ("2", "1.8"), ("2.05", "1.87"))]
    assert seen == [True, False, True, True, True, True]


async def test_every_budget_that_is_nearly_used_up_is_told_before_the_end(world: World) -> None:
    claimed = await a_run(world)
    for scope, identifier in budgets_of(claimed).items():
        await world.limit(scope, identifier, Decimal(1))

    await world.store.commit([the_end(claimed, an_entry(claimed, await granted(world, claimed, "0.95"), "0.95"))])

    events: Sequence[ExecutionEvent] = await world.events(claimed.execution.id)
    assert [event.sequence for event in events] == list(range(1, 8))
    told = [event.scope if isinstance(event, BudgetWarned) else event.type for event in events]
    assert told == ["ExecutionStarted", *SCOPES, "ExecutionCompleted"]


async def test_of_a_group_the_change_that_crossed_the_line_tells(world: World) -> None:
    runs = sorted([await a_run(world) for _ in range(3)], key=lambda run: run.execution.id)
    await world.limit(TENANT, DEFAULT_TENANT, Decimal(1))
    entries = [an_entry(run, a_reservation(run), "0.46") for run in runs]

    await world.store.commit([a_change(run, entry) for run, entry in zip(runs, entries, strict=True)])

    told = [len(await warnings(world, run)) for run in runs]
    in_order = sorted(range(3), key=lambda place: (entries[place].booked_at, entries[place].id))
    assert [told[place] for place in in_order] == [0, 1, 0]


async def test_a_refused_change_warns_of_nothing_although_its_group_has_others(world: World) -> None:
    old, other = await a_run(world), await a_run(world)
    await taken(world, old.execution.id, "w2")
    await world.limit(TENANT, DEFAULT_TENANT, Decimal(1))
    first, second = an_entry(other, a_reservation(other), "0.1"), an_entry(old, a_reservation(old), "0.85")

    assert await world.store.commit([a_change(other, first), a_change(old, second)]) == [True, False]

    assert await warnings(world, other) == []
    await booked(world, other, an_entry(other, a_reservation(other), CENT))
    assert [warning.spent_amount for warning in await warnings(world, other)] == [Decimal("0.96")]


async def test_who_may_tell_nothing_leaves_the_warning_to_the_next(world: World) -> None:
    old = await a_run(world)
    reservation = await granted(world, old, "0.95")
    await world.limit(TEAM, old.execution.team_id, Decimal(1))
    await world.store.commit([the_end(old)])
    await world.store.commit([a_change(old, an_entry(old, reservation, "0.95"))])
    assert await warnings(world, old) == []

    await world.limit(TENANT, DEFAULT_TENANT, Decimal(1))
    new = await a_run(world)
    await booked(world, new, an_entry(new, await granted(world, new, CENT), CENT))

    assert [warning.scope for warning in await warnings(world, new)] == [TENANT]


async def test_a_lost_call_warns_in_the_execution_that_was_taken_over(world: World) -> None:
    old = await a_run(world)
    await world.limit(EXECUTION, old.execution.id, Decimal(1))
    await granted(world, old, "0.9")

    await taken(world, old.execution.id, "w2")

    assert [event.type for event in await world.events(old.execution.id)] == [
        "ExecutionStarted",
        "ExecutionStarted",
        "ModelCalled",
        "BudgetWarned",
    ]


async def test_a_commit_that_failed_tells_its_warning_once_when_it_is_made_again(database: Database) -> None:
    world = SqlWorld(database)
    claimed = await a_run(world)
    await world.limit(EXECUTION, claimed.execution.id, Decimal(1))
    change = a_change(claimed, an_entry(claimed, await granted(world, claimed), "0.95"))
    change.events.append(a_call(claimed, "a\x00b"))

    with pytest.raises(Exception, match="u0000"):
        await world.store.commit([change])
    change.events[:] = [a_call(claimed, "ab")]
    for _ in range(2):
        assert await world.store.commit([change]) == [True]

    events = await world.events(claimed.execution.id)
    assert [event.type for event in events] == ["ExecutionStarted", "ModelCalled", "BudgetWarned"]
    assert await state(world, claimed) == everywhere("0.95", "0")


def a_call(claimed: Claimed, model: str) -> ModelCalled:
    return ModelCalled(
        tenant_id=DEFAULT_TENANT,
        execution_id=claimed.execution.id,
        model=model,
        outcome="SUCCEEDED",
        prompt_tokens=0,
        completion_tokens=0,
        cost_amount=Decimal(0),
        latency_seconds=None,
    )


# ---------------------------------------------------------------- providers' limits


async def test_a_provider_takes_so_many_requests_a_minute_of_one_credential_and_model(world: World) -> None:
    claimed = await a_run(world)
    limits = Limits(requests_per_minute=2)
    for _ in range(2):
        await granted(world, claimed, limits=limits)

    ruling = await world.budgets.reserve(a_reservation(claimed, limits=limits))

    assert ruling.verdict is Verdict.RATE_LIMITED
    assert 0 < ruling.wait_seconds <= 30
    assert await state(world, claimed) == everywhere("0", "2")
    await granted(world, claimed, limits=limits, credential="tenant:own")
    await granted(world, claimed, limits=limits, model="test/other")


async def test_the_rates_of_one_tenant_neither_block_nor_lift_those_of_another(
    database: Database, database_url: str
) -> None:
    world = SqlWorld(database)
    claimed, stranger = await a_run(world), await a_run_of_another_tenant(world, database_url)
    few, many = Limits(requests_per_minute=1), Limits(requests_per_minute=1000)
    await granted(world, claimed, limits=few)

    for _ in range(3):
        await granted(world, stranger, limits=many)
    ruling = await world.budgets.reserve(a_reservation(claimed, limits=few))
    assert ruling.verdict is Verdict.RATE_LIMITED

    await world.budgets.cool_down("operator:test", "test/model", 60.0, "429")  # of the operator's key: all share it
    for run in (claimed, stranger):
        assert (await world.budgets.reserve(a_reservation(run))).verdict is Verdict.COOLING_DOWN


async def a_run_of_another_tenant(world: World, url: str) -> Claimed:
    """A claimed run that is moved to a tenant of its own, as only the owner of the tables can."""
    claimed, tenant = await a_run(world), TenantId(new_id())
    execution = claimed.execution
    places = [
        ("project", "id", execution.project_id),
        ("team", "id", execution.team_id),
        *(
            (table, f"{prefix}id", execution.id)
            for table, prefix in (
                ("execution", ""),
                ("execution_sequence", "execution_"),
                ("task_execution", "execution_"),
            )
        ),
    ]
    with psycopg.connect(plain_url(url), autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("INSERT INTO tenant VALUES (%s, 'other', now())", [tenant])
        for table, key, identifier in places:
            statement = f"UPDATE {table} SET tenant_id = %s WHERE {key} = %s"  # noqa: S608 - constants above
            connection.execute(statement.encode(), [tenant, identifier])
    return replace(claimed, ownership=replace(claimed.ownership, tenant_id=tenant))


async def test_tokens_that_were_not_used_are_given_back(world: World) -> None:
    claimed = await a_run(world)
    limits = Limits(tokens_per_minute=1000)
    reservation = await granted(world, claimed, tokens=800, limits=limits)
    assert (await asked(world, claimed, 800, limits)) is Verdict.RATE_LIMITED

    used = an_entry(claimed, reservation, "0", prompt_tokens=300, completion_tokens=100)
    for _ in range(2):
        await booked(world, claimed, used)

    assert (await asked(world, claimed, 1000, limits)) is Verdict.RATE_LIMITED  # 600 are there, or 1000 if given twice
    await granted(world, claimed, tokens=600, limits=limits)


async def asked(world: World, claimed: Claimed, tokens: int, limits: Limits) -> Verdict:
    return (await world.budgets.reserve(a_reservation(claimed, tokens=tokens, limits=limits))).verdict


async def test_of_a_lost_call_no_token_is_given_back(world: World) -> None:
    claimed = await a_run(world)
    limits = Limits(tokens_per_minute=1000)
    await granted(world, claimed, tokens=800, limits=limits, lifetime_seconds=0.0)

    assert await world.store.settle_lost(1) == 1

    assert (await asked(world, claimed, 500, limits)) is Verdict.RATE_LIMITED


async def test_a_call_larger_than_the_whole_rate_passes_when_all_of_it_is_there(world: World) -> None:
    claimed = await a_run(world)
    limits = Limits(tokens_per_minute=1000)

    await granted(world, claimed, tokens=50_000, limits=limits)

    assert (await asked(world, claimed, 500, limits)) is Verdict.RATE_LIMITED


async def test_a_refusal_for_money_takes_nothing_of_the_providers_rate(world: World) -> None:
    claimed = await a_run(world)
    limits = Limits(requests_per_minute=1, tokens_per_minute=1000)
    await world.limit(TASK, claimed.tasks[0].id, CENT)

    for _ in range(3):
        ruling = await world.budgets.reserve(a_reservation(claimed, limits=limits))
        assert ruling.verdict is Verdict.BUDGET_EXCEEDED

    await granted(world, claimed, CENT, limits=limits)


@pytest.mark.usefixtures("patience")
async def test_processes_share_a_providers_rate(database: Database, database_url: str) -> None:
    world = SqlWorld(database)
    claimed = await a_run(world)
    limits = Limits(requests_per_minute=3, tokens_per_minute=100_000)  # the next one in twenty seconds
    async with another_process(database_url) as other:
        asking = [
            budgets.reserve(a_reservation(claimed, CENT, limits=limits))
            for budgets in (world.budgets, other)
            for _ in range(10)
        ]
        verdicts = Counter(ruling.verdict for ruling in await asyncio.gather(*asking))

    assert verdicts == {Verdict.GRANTED: 3, Verdict.RATE_LIMITED: 17}
    assert await state(world, claimed) == everywhere("0", "0.03")


@asynccontextmanager
async def another_process(url: str) -> AsyncIterator[SqlCallBudgets]:
    other = await Database.connect(url, name="other", pool_size=5)
    yield SqlCallBudgets(other.pool)
    await other.close()


async def test_a_cool_down_is_of_one_credential_and_model_and_a_longer_one_stays(world: World) -> None:
    claimed = await a_run(world)
    await world.budgets.cool_down("operator:test", "test/model", 60.0, "429")
    await world.budgets.cool_down("operator:test", "test/model", 1.0, "500")

    ruling = await world.budgets.reserve(a_reservation(claimed))

    assert ruling.verdict is Verdict.COOLING_DOWN
    assert 30 < ruling.wait_seconds <= 60
    assert await state(world, claimed) == everywhere("0", "0")
    await granted(world, claimed, credential="tenant:own")
    await granted(world, claimed, model="test/other")


async def test_after_a_cool_down_the_credential_is_used_again_with_its_whole_rate(world: World) -> None:
    claimed = await a_run(world)
    await world.budgets.cool_down("operator:test", "test/model", 0.0, "429")

    await granted(world, claimed, limits=Limits(requests_per_minute=1, tokens_per_minute=100))


async def test_a_cool_down_that_cannot_be_kept_is_logged_and_harms_nobody(database: Database) -> None:
    budgets = SqlCallBudgets(database.pool)
    with capture_logs() as logs:
        await budgets.cool_down("operator:test", "test/model", float("nan"), "odd")
        database.pool.terminate()
        await budgets.cool_down("operator:test", "test/model", 1.0, "429")

    assert [log["event"] for log in logs] == ["cool_down_not_kept"] * 2


async def test_a_database_that_does_not_answer_is_unavailable(database: Database) -> None:
    world = SqlWorld(database)
    claimed = await a_run(world)
    database.pool.terminate()

    with pytest.raises(Unavailable):
        await world.budgets.reserve(a_reservation(claimed))
    with capture_logs() as logs:
        await world.budgets.release(a_reservation(claimed))
    assert [log["event"] for log in logs] == ["reservation_not_released"]


# ---------------------------------------------------------------- reading


async def test_budgets_are_read_in_their_present_period_and_of_ones_own_tenant_alone(database: Database) -> None:
    world = SqlWorld(database)
    claimed = await a_run(world)
    await world.limit(TEAM, claimed.execution.team_id, Decimal("1.5"))
    await granted(world, claimed, "0.2")
    stranger = TenantId(new_id())

    for scope, identifier in budgets_of(claimed).items():
        budget = (await world.reader.budgets(DEFAULT_TENANT, scope, [identifier, new_id()]))[identifier]
        assert budget.reserved_amount == Decimal("0.2")
        assert budget.limit_amount == (Decimal("1.5") if scope is TEAM else None)
        assert await world.reader.budgets(stranger, scope, [identifier]) == {}
    untouched = await a_run(world)
    assert await world.budget(TEAM, untouched.execution.team_id) == NO_BUDGET


async def test_usage_counts_what_was_booked_in_the_period(database: Database) -> None:
    world = SqlWorld(database)
    claimed = await a_run(world)
    noon = utc_now().replace(hour=12, minute=0, second=0, microsecond=0)
    hour = timedelta(hours=1)
    for place in range(3):
        entry = an_entry(claimed, a_reservation(claimed), CENT * 10**place, booked_at=noon + place * hour)
        await booked(world, claimed, entry)

    role, reader = claimed.tasks[0].role_id, world.reader
    read = {
        bounds: (await reader.usage_within(DEFAULT_TENANT, "role_id", [role], *bounds))[role].amount
        for bounds in [(None, None), (noon + hour, None), (None, noon + hour), (noon, noon + 2 * hour)]
    }

    assert list(read.values()) == [Decimal("1.11"), Decimal("1.10"), Decimal("0.01"), Decimal("0.11")]
    assert await reader.usage_within(DEFAULT_TENANT, "role_id", [role], noon + 3 * hour, None) == {}
    assert await reader.usage_within(TenantId(new_id()), "role_id", [role], None, None) == {}


async def test_the_first_monthly_budget_with_nothing_left_is_found_the_narrowest_first(database: Database) -> None:
    world = SqlWorld(database)
    claimed = await a_run(world)
    await booked(world, claimed, an_entry(claimed, await granted(world, claimed), "0.5"))
    await granted(world, claimed, "0.25")
    found = []
    for scope in (TENANT, PROJECT, TEAM):
        await world.limit(scope, budgets_of(claimed)[scope], Decimal("0.750000000001"))
        found.append(await exhausted(world, claimed))
        await world.limit(scope, budgets_of(claimed)[scope], Decimal("0.75"))
        found.append(await exhausted(world, claimed))

    amounts = (Decimal("0.75"), Decimal("0.5"), Decimal("0.25"), Decimal(0))
    in_order = [Shortfall(scope, *amounts) for scope in (TENANT, PROJECT, TEAM)]
    assert found == [None, in_order[0], in_order[0], in_order[1], in_order[1], in_order[2]]


async def exhausted(world: SqlWorld, claimed: Claimed) -> Shortfall | None:
    async with world.units(DEFAULT_TENANT) as unit:
        return await unit.executions.exhausted_budget(claimed.snapshot.team)


async def test_the_tenants_limit_is_written_and_taken_away(database: Database) -> None:
    world = SqlWorld(database)
    async with world.units(DEFAULT_TENANT) as unit:
        written = await unit.tenants.set_limits({"monthly_budget": Decimal("12.345678901234")})
        await unit.commit()
    assert written.monthly_budget == Decimal("12.345678901234")
    assert (await world.budget(TENANT, DEFAULT_TENANT)).limit_amount == Decimal("12.345678901234")

    async with world.units(DEFAULT_TENANT) as unit:
        assert (await unit.tenants.set_limits({"monthly_budget": None})).monthly_budget is None
        await unit.commit()
    assert (await world.budget(TENANT, DEFAULT_TENANT)).limit_amount is None
