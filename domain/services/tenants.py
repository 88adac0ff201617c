"""Use cases on the tenant itself."""

from collections.abc import Mapping
from typing import Any

from domain.model.identity import TenantId
from domain.model.project import Tenant
from domain.ports import UnitsOfWork


class UpdateTenant:
    """Changes what a tenant may decide about itself: its monthly budget, and how much of it runs at once."""

    def __init__(self, units: UnitsOfWork) -> None:
        self.units = units

    async def __call__(self, tenant_id: TenantId, limits: Mapping[str, Any]) -> Tenant:
        """The tenant as it is then.

        `limits` has some of `monthly_budget`, in dollars per calendar month (UTC), and `max_parallel_executions`; None
        for unlimited. Raises Invalid.
        """
        Tenant(tenant_id, "", **limits).check_limits()
        async with self.units(tenant_id) as unit:
            tenant = await unit.tenants.set_limits(limits)
            await unit.commit()
        return tenant
