"""Budgets in memory: accounts, reservations and providers' rates, as `reserve_call` and `book_calls` keep them."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TypeVar
from uuid import UUID

from domain.events import BudgetWarned, ModelCalled
from domain.model.budget import WARN_AT, Budget, BudgetScope, Shortfall
from domain.model.identity import ExecutionId, LedgerEntryId, utc_now
from domain.model.ledger import CallOutcome, Charge, LedgerEntry, TokenSource
from domain.ports import Reservation, Ruling, Verdict

ONE_RUN = date(1970, 1, 1)
"""The period of executions and tasks."""

T = TypeVar("T")
Key = tuple[BudgetScope, UUID, date]


@dataclass
class _Reserved:
    reservation: Reservation
    project_id: UUID
    month: date
    expires_at: datetime
    requests: int
    tokens: int

    def accounts(self) -> list[Key]:
        it = self.reservation.charge
        return _keys((it.tenant_id, self.project_id, it.team_id, it.execution_id, it.task_execution_id), self.month)

    @property
    def bucket(self) -> tuple[UUID, str, str]:
        """Rates are what a tenant says that a provider takes: no other tenant's count."""
        return (self.reservation.charge.tenant_id, self.reservation.credential, self.reservation.model)


@dataclass
class _Bucket:
    requests: float
    tokens: float
    at: datetime
    most: tuple[int | None, int | None]


@dataclass
class InMemoryBudgets:
    """The CallBudgets port, and the booking side that belongs to a run store.

    `limits` are by scope and id, those that are not there are unlimited; `is_owner` says whether a run may still write.
    """

    is_owner: Callable[[Charge], bool]
    limits: dict[tuple[BudgetScope, UUID], Decimal] = field(default_factory=dict)
    ledger: dict[UUID, LedgerEntry] = field(default_factory=dict)
    _accounts: dict[Key, Budget] = field(default_factory=dict)
    _reserved: dict[UUID, _Reserved] = field(default_factory=dict)
    _cooling: dict[tuple[str, str], datetime] = field(default_factory=dict)
    _buckets: dict[tuple[UUID, str, str], _Bucket] = field(default_factory=dict)
    _warned: dict[Key, Decimal] = field(default_factory=dict)

    def limit(self, scope: BudgetScope, identifier: UUID, amount: Decimal | None) -> None:
        """Set the limit, or take it away."""
        if amount is None:
            self.limits.pop((scope, identifier), None)
        else:
            self.limits[scope, identifier] = amount

    async def reserve(self, reservation: Reservation) -> Ruling:
        if not self.is_owner(reservation.charge):
            return Ruling(Verdict.OWNERSHIP_LOST)
        if reservation.id in self._reserved:
            return Ruling(Verdict.GRANTED)
        wait = (self._cooling.get((reservation.credential, reservation.model), utc_now()) - utc_now()).total_seconds()
        if wait > 0:
            return Ruling(Verdict.COOLING_DOWN, wait)
        return self._reserve(reservation)

    def _reserve(self, reservation: Reservation) -> Ruling:
        now = utc_now()
        expires_at = now + timedelta(seconds=reservation.lifetime_seconds)
        requests, tokens = reservation.limits.requests_per_minute, reservation.limits.tokens_per_minute
        taken = int(requests is not None), min(reservation.tokens, tokens or 0)
        kept = _Reserved(reservation, reservation.charge.project_id, _month(now), expires_at, *taken)
        for key in kept.accounts():
            if shortfall := self._shortfall(key, reservation.amount):
                return Ruling(Verdict.BUDGET_EXCEEDED, shortfall=shortfall)
        if wait := self._wait_for_provider(kept):
            return Ruling(Verdict.RATE_LIMITED, wait)
        self._reserved[reservation.id] = kept
        for key in kept.accounts():
            self._move(key, reserved=reservation.amount)
        return Ruling(Verdict.GRANTED)

    def _shortfall(self, key: Key, amount: Decimal) -> Shortfall | None:
        state = self.state(*key)
        if (
            not amount
            or state.limit_amount is None
            or state.spent_amount + state.reserved_amount + amount <= state.limit_amount
        ):
            return None
        return Shortfall(key[0], state.limit_amount, state.spent_amount, state.reserved_amount, amount)

    def _wait_for_provider(self, kept: _Reserved) -> float:
        """Take what the call needs of the provider's rate, or tell for how long it has to wait."""
        wanted = kept.reservation
        most = (wanted.limits.requests_per_minute, wanted.limits.tokens_per_minute)
        if most == (None, None):
            return 0.0
        requests, tokens = (limit or 0 for limit in most)
        key, now = kept.bucket, utc_now()
        bucket = self._buckets.get(key) or _Bucket(requests, tokens, now, most)
        minutes = (now - bucket.at).total_seconds() / 60
        left = min(requests, bucket.requests + minutes * requests), min(tokens, bucket.tokens + minutes * tokens)
        needed = kept.requests, kept.tokens
        pairs = zip(needed, left, (requests, tokens), strict=True)
        wait = max(60 * (need - has) / rate if rate else 0.0 for need, has, rate in pairs)
        if wait > 0:
            return wait
        self._buckets[key] = _Bucket(left[0] - needed[0], left[1] - needed[1], now, most)
        return 0.0

    async def release(self, reservation: Reservation) -> None:
        kept = self._reserved.pop(reservation.id, None)
        if kept is None:
            return
        for key in kept.accounts():
            self._move(key, reserved=-reservation.amount)
        self._give_back(kept, kept.requests, kept.tokens)

    def _give_back(self, kept: _Reserved, requests: int, tokens: int) -> None:
        if bucket := self._buckets.get(kept.bucket):
            most = [limit or 0 for limit in bucket.most]
            bucket.requests = min(most[0], bucket.requests + requests)
            bucket.tokens = min(most[1], bucket.tokens + tokens)

    async def cool_down(self, credential: str, model: str, seconds: float, reason: str) -> None:
        del reason
        key, until = (credential, model), utc_now() + timedelta(seconds=seconds)
        self._cooling[key] = max(until, self._cooling.get(key, until))

    def state(self, scope: BudgetScope, identifier: UUID, period: date | None = None) -> Budget:
        """The budget in this period; without one in the present."""
        period = period or (_month(utc_now()) if scope in _MONTHLY else ONE_RUN)
        account = self._accounts.get((scope, identifier, period), Budget())
        return replace(account, limit_amount=self.limits.get((scope, identifier)))

    def book(
        self, entries: Sequence[LedgerEntry], telling: Collection[UUID]
    ) -> list[tuple[LedgerEntryId, BudgetWarned]]:
        """See `persistence.bookings.book`."""
        warned = [list(self._book(entry, entry.id in telling)) for entry in entries]
        return [warning for each in warned for warning in each]

    def _book(self, entry: LedgerEntry, may_tell: bool) -> Iterator[tuple[LedgerEntryId, BudgetWarned]]:
        is_known = entry.id in self.ledger
        self.ledger.setdefault(entry.id, replace(entry))
        kept = self._reserved.pop(entry.id, None)
        if kept:
            self._settle(kept, entry)
        if is_known:
            return
        month = kept.month if kept else _month(entry.booked_at)
        ids = (entry.tenant_id, entry.project_id, entry.team_id, entry.execution_id, entry.task_execution_id)
        for key in _keys(ids, month):
            self._move(key, spent=entry.cost)
            if may_tell and entry.cost and (warning := self._warning(key, entry)):
                yield entry.id, warning

    def _settle(self, kept: _Reserved, entry: LedgerEntry) -> None:
        for key in kept.accounts():
            self._move(key, reserved=-kept.reservation.amount)
        if entry.outcome is not CallOutcome.LOST:
            self._give_back(kept, 0, max(kept.tokens - entry.total_tokens, 0))

    def _warning(self, key: Key, entry: LedgerEntry) -> BudgetWarned | None:
        state = self.state(*key)
        limit, spent = state.limit_amount, state.spent_amount
        if limit is None or spent < WARN_AT * limit or self._warned.get(key, Decimal(-1)) >= limit:
            return None
        self._warned[key] = limit
        return BudgetWarned(
            tenant_id=entry.tenant_id,
            execution_id=there(entry.execution_id),
            task_execution_id=entry.task_execution_id,
            role_id=entry.role_id,
            scope=key[0],
            limit_amount=limit,
            spent_amount=spent,
        )

    def _move(self, key: Key, spent: Decimal = Decimal(0), reserved: Decimal = Decimal(0)) -> None:
        state = self._accounts.get(key, Budget())
        self._accounts[key] = replace(
            state, spent_amount=state.spent_amount + spent, reserved_amount=state.reserved_amount + reserved
        )

    def lost_of(self, execution_id: ExecutionId, epoch: int) -> list[LedgerEntry]:
        """What owners of the execution before this epoch reserved and did not book, as entries that are LOST."""
        owners = [(kept, kept.reservation.charge) for kept in self._reserved.values()]
        return [_lost(kept) for kept, owner in owners if owner.execution_id == execution_id and owner.epoch < epoch]

    def expired(self, limit: int) -> list[LedgerEntry]:
        """What was reserved and not booked in its time, the oldest first, as entries that are LOST."""
        kept = sorted(self._reserved.values(), key=lambda each: each.expires_at)
        return [_lost(each) for each in kept if each.expires_at < utc_now()][:limit]


_MONTHLY = (BudgetScope.TENANT, BudgetScope.PROJECT, BudgetScope.TEAM)


def there(value: T | None) -> T:
    """What is there: these ledgers are of executions alone."""
    assert value is not None
    return value


def _keys(ids: Sequence[UUID | None], month: date) -> list[Key]:
    periods = (month, month, month, ONE_RUN, ONE_RUN)
    return list(zip(tuple(BudgetScope)[:5], map(there, ids), periods, strict=True))


def _month(moment: datetime) -> date:
    return moment.astimezone(UTC).date().replace(day=1)


def _lost(kept: _Reserved) -> LedgerEntry:
    reservation = kept.reservation
    return LedgerEntry(
        **reservation.charge.facts,
        model=reservation.model,
        provider=reservation.provider,
        outcome=CallOutcome.LOST,
        token_source=TokenSource.ESTIMATE,
        cost=reservation.amount,
        error="WORKER_LOST",
        call=reservation.call,
        call_attempt=reservation.call_attempt,
        routing=dict(reservation.routing),
        reserved=reservation.amount,
        id=reservation.id,
    )


def call_of(entry: LedgerEntry) -> ModelCalled:
    """The event about an entry."""
    return ModelCalled(
        tenant_id=entry.tenant_id,
        execution_id=there(entry.execution_id),
        task_execution_id=entry.task_execution_id,
        role_id=entry.role_id,
        model=entry.model,
        outcome=entry.outcome.value,
        prompt_tokens=entry.prompt_tokens,
        completion_tokens=entry.completion_tokens,
        cost_amount=entry.cost,
        latency_seconds=entry.latency_seconds,
        call=entry.call,
        call_attempt=entry.call_attempt,
        error=entry.error,
        is_overrun=entry.is_overrun,
        entry_id=entry.id,
    )
