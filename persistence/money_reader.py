"""The graph's batched questions about money: usage within a period, and the state of budgets."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from domain.model.budget import Budget, BudgetScope
from domain.model.identity import TenantId
from domain.model.ledger import Usage
from persistence.errors import reachable
from persistence.mapping import remembered
from persistence.tables import ledger_entry

if TYPE_CHECKING:
    import asyncpg

SCOPES: Final = tuple(BudgetScope)
"""A budget's scope is stored by its place here."""

_LIMITS: Final = {
    BudgetScope.TENANT: ("tenant", "monthly_budget"),
    BudgetScope.PROJECT: ("project", "monthly_budget"),
    BudgetScope.TEAM: ("team", "monthly_budget"),
    BudgetScope.EXECUTION: ("execution", "max_budget"),
    BudgetScope.TASK: ("task_execution", "max_budget"),
    BudgetScope.GENERATION: ("generation", "max_budget"),
}
_MONTHLY: Final = (BudgetScope.TENANT, BudgetScope.PROJECT, BudgetScope.TEAM)


class MoneyReader:
    """A part of `domain.ports.Reader`."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self.pool = pool

    async def usage_within(
        self, tenant_id: TenantId, by: str, ids: Sequence[UUID], since: datetime | None, until: datetime | None
    ) -> Mapping[UUID, Usage]:
        bounds = [bound for bound in (since, until) if bound is not None]
        statement = _usage(by, since is not None, until is not None)
        with reachable():
            rows = await self.pool.fetch(statement, tenant_id, list(ids), *bounds)
        return {row[0]: Usage(*row[1:]) for row in rows}

    async def budgets(self, tenant_id: TenantId, scope: BudgetScope, ids: Sequence[UUID]) -> Mapping[UUID, Budget]:
        with reachable():
            rows = await self.pool.fetch(_budgets(scope), tenant_id, list(ids))
        return {row[0]: Budget(*row[1:]) for row in rows}


@remembered
def _usage(by: str, has_since: bool, has_until: bool) -> str:
    column = ledger_entry.c[by].name  # KeyError: not what somebody made up
    since = " AND booked_at >= $3" if has_since else ""
    until = f" AND booked_at < ${3 + has_since}" if has_until else ""
    return (
        f"SELECT {column}, count(*), sum(prompt_tokens)::bigint, sum(completion_tokens)::bigint,"  # noqa: S608 - constants
        " sum(cached_tokens)::bigint, sum(reasoning_tokens)::bigint, sum(cost) FROM ledger_entry"
        f" WHERE tenant_id = $1 AND {column} = ANY($2::uuid[]){since}{until} GROUP BY {column}"
    )


@remembered
def _budgets(scope: BudgetScope) -> str:
    table, limit = _LIMITS[scope]
    month = "date_trunc('month', now() AT TIME ZONE 'UTC')::date"
    period = month if scope in _MONTHLY else "DATE '1970-01-01'"
    owner = "thing.id" if scope is BudgetScope.TENANT else "thing.tenant_id"  # a tenant may see itself, and no other
    return (
        f"SELECT thing.id, thing.{limit}, coalesce(account.spent, 0), coalesce(account.reserved, 0)"  # noqa: S608 - same
        f" FROM {table} AS thing LEFT JOIN budget_account AS account"
        f" ON account.tenant_id = $1 AND account.scope = {SCOPES.index(scope)} AND account.scope_id = thing.id"
        f" AND account.period = {period} WHERE {owner} = $1 AND thing.id = ANY($2::uuid[])"
    )
