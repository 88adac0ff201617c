"""Alerts as who edits rules, and who evaluates them, needs them."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from domain.model.alert import Alert, AlertRule, Evidence
from domain.model.alerting import Reading
from domain.model.identity import AlertRuleId, TenantId


class AlertRules(Protocol):
    """The rules as mutations need them; `get` locks the rule, so that nobody evaluates it meanwhile."""

    async def get(self, identifier: UUID) -> AlertRule:
        """The rule; raises NotFound."""
        ...

    async def add(self, entity: AlertRule) -> None:
        """Insert; raises NameTaken, or NotFound for a reference to nothing."""
        ...

    async def update(self, entity: AlertRule) -> AlertRule:
        """Write the rule if it still has `entity.version`; raises StaleVersion, NotFound, NameTaken."""
        ...

    async def count(self) -> int:
        """How many are in use; nobody else adds one until the end of the unit of work."""
        ...

    async def now(self) -> datetime:
        """By the clock that rules are judged by."""
        ...

    async def close(self, rule: AlertRule, moment: datetime) -> bool:
        """Resolve the open alert of the locked rule, for it is not judged any more; False when there is none."""
        ...


class Evaluation(Protocol):
    """A rule that nobody else evaluates or edits meanwhile, its open alert, and until when it can be judged.

    That is so long ago as what happens may take to be `settled`.
    """

    rule: AlertRule
    alert: Alert | None
    until: datetime
    settled: timedelta

    async def measure(self, moments: Sequence[datetime]) -> Sequence[Reading]:
        """What the metric was at each of these moments, in ascending order: one statement."""
        ...

    async def evidence(self, moment: datetime) -> Sequence[Evidence]:
        """What speaks for the value that the metric had at the moment, the weightiest first, a few at most."""
        ...

    async def save(self, alerts: Sequence[Alert]) -> None:
        """Write the rule's clock and state, and the alerts that began or changed, in this order."""
        ...


class AlertEvaluations(Protocol):
    """The rules of all tenants, as workers need them. The database's clock counts. All raise Unavailable."""

    async def seed(self, limit: int) -> int:
        """Give tenants that never had them the rules that everybody begins with; how many tenants, at most `limit`."""
        ...

    async def due(self, limit: int) -> Sequence[tuple[TenantId, AlertRuleId]]:
        """Rules with something to judge, the longest overdue first."""
        ...

    def evaluate(self, tenant_id: TenantId, rule_id: AlertRuleId) -> AbstractAsyncContextManager[Evaluation | None]:
        """One transaction over a rule that is due; None when it is not, or somebody else has it."""
        ...

    async def put_off(self, tenant_id: TenantId, rule_id: AlertRuleId, seconds: float) -> None:
        """Let a rule that cannot be evaluated be due again later: what is not judged yet stays to be judged."""
        ...
