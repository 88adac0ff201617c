"""Tenants and projects: the isolation boundary, and the groups of teams inside it."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from domain.model.identity import PrincipalId, ProjectId, TenantId, new_id, utc_now
from domain.model.rules import MAX_BUDGET, MONEY_DIGITS, Rules


@dataclass(slots=True)
class Tenant:
    """The isolation boundary: everything else belongs to exactly one. Budgets are dollars per calendar month (UTC)."""

    id: TenantId
    name: str
    created_at: datetime = field(default_factory=utc_now)
    monthly_budget: Decimal | None = None


@dataclass(slots=True)
class Project:
    """A tenant's group of teams."""

    tenant_id: TenantId
    name: str
    description: str = ""
    monthly_budget: Decimal | None = None
    id: ProjectId = field(default_factory=lambda: ProjectId(new_id()))
    version: int = 1
    created_at: datetime = field(default_factory=utc_now)
    updated_at: datetime = field(default_factory=utc_now)
    created_by: PrincipalId | None = None
    archived_at: datetime | None = None

    def check(self) -> None:
        """Hold the rules of a project; raises Invalid with every broken one."""
        rules = Rules()
        rules.name(self.name, "name")
        rules.text(self.description, "description")
        rules.money(self.monthly_budget, MAX_BUDGET, MONEY_DIGITS, "monthlyBudget")
        rules.hold()
