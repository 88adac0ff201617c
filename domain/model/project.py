"""Tenants and projects: the isolation boundary, and the groups of teams inside it."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from domain.model.admission import MAX_PARALLEL_EXECUTIONS_CAP
from domain.model.identity import PrincipalId, ProjectId, TenantId, new_id, utc_now
from domain.model.rules import MAX_BUDGET, MONEY_DIGITS, Rules

MAX_RETENTION_DAYS = 36_500
"""A hundred years."""


@dataclass(slots=True)
class Tenant:
    """The isolation boundary: everything else belongs to exactly one. Budgets are dollars per calendar month (UTC).

    `max_parallel_executions` limits how many of its executions have a place on a worker at once; None: no limit.
    `retention_days` is how long an execution is kept behind its end; None: as long as the deployment says.
    """

    id: TenantId
    name: str
    created_at: datetime = field(default_factory=utc_now)
    monthly_budget: Decimal | None = None
    max_parallel_executions: int | None = None
    retention_days: int | None = None

    def check_limits(self) -> None:
        """Hold the rules of what a tenant decides about itself; raises Invalid with every broken one."""
        rules = Rules()
        rules.money(self.monthly_budget, MAX_BUDGET, MONEY_DIGITS, "monthlyBudget")
        rules.between(self.max_parallel_executions, 1, MAX_PARALLEL_EXECUTIONS_CAP, "maxParallelExecutions")
        rules.between(self.retention_days, 1, MAX_RETENTION_DAYS, "retentionDays")
        rules.hold()


@dataclass(slots=True)
class Project:
    """A tenant's group of teams."""

    tenant_id: TenantId
    name: str
    description: str = ""
    monthly_budget: Decimal | None = None
    max_parallel_executions: int | None = None
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
        rules.between(self.max_parallel_executions, 1, MAX_PARALLEL_EXECUTIONS_CAP, "maxParallelExecutions")
        rules.hold()
