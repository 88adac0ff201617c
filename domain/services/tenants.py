"""Use cases on the tenant itself."""

from decimal import Decimal

from domain.model.identity import TenantId
from domain.model.project import Tenant
from domain.model.rules import MAX_BUDGET, MONEY_DIGITS, Rules
from domain.ports import UnitsOfWork


class UpdateTenant:
    """Changes what a tenant may decide about itself: its monthly budget."""

    def __init__(self, units: UnitsOfWork) -> None:
        self.units = units

    async def __call__(self, tenant_id: TenantId, monthly_budget: Decimal | None) -> Tenant:
        """The tenant as it is then; the budget in dollars per calendar month (UTC), None for unlimited.

        Raises Invalid.
        """
        rules = Rules()
        rules.money(monthly_budget, MAX_BUDGET, MONEY_DIGITS, "monthlyBudget")
        rules.hold()
        async with self.units(tenant_id) as unit:
            tenant = await unit.tenants.set_monthly_budget(monthly_budget)
            await unit.commit()
        return tenant
