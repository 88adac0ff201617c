"""Alert rules of all tenants as who evaluates them needs them: claiming, judging past moments, writing alerts."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from domain.model.alert import SETTLED, SETTLED_LATE, Alert, AlertRule, Evidence
from domain.model.alerting import Reading, seeds_of
from domain.model.identity import AlertRuleId, TenantId
from domain.ports.alerts import AlertEvaluations, Evaluation
from persistence.alert_evidence import evidence_of, finding
from persistence.alert_measures import measuring, scope_of
from persistence.errors import reachable
from persistence.mapping import builder_of, names_of, values_of

if TYPE_CHECKING:
    import asyncpg


def _insert(table: str, names: Sequence[str]) -> str:
    places = ", ".join(f"${number}" for number in range(1, len(names) + 1))
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})"  # noqa: S608 - our own names, as below


_UNSEEDED: Final = """
    UPDATE tenant SET alert_rules_seeded_at = now() WHERE id IN (
        SELECT id FROM tenant WHERE alert_rules_seeded_at IS NULL LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
    ) RETURNING id, now()
"""
_SEED: Final = f"{_insert('alert_rule', names_of(AlertRule))} ON CONFLICT DO NOTHING"  # somebody has a rule of the name
_DUE: Final = "SELECT tenant_id, id FROM alert_rule WHERE due_at <= now() ORDER BY due_at LIMIT $1"
# Planned anew each time, for this transaction alone: a plan that was made while the tables were empty takes seconds
# when they are full. And nobody waits long for one rule.
_TAKE: Final = f"""
    SELECT {", ".join(names_of(AlertRule))}, now() AS present,
        set_config('plan_cache_mode', 'force_custom_plan', true), set_config('statement_timeout', $3, true)
    FROM alert_rule
    WHERE tenant_id = $1 AND id = $2 AND due_at <= now() FOR NO KEY UPDATE SKIP LOCKED
"""  # noqa: S608
_OPEN: Final = f"""
    SELECT {", ".join(names_of(Alert))} FROM alert WHERE tenant_id = $1 AND rule_id = $2 AND state = 'FIRING'
"""  # noqa: S608
_WRITTEN: Final = [name for name in names_of(Alert) if name != "changed_at"]
_WRITE: Final = f"""
    INSERT INTO alert ({", ".join(_WRITTEN)}, changed_at)
    VALUES ({", ".join(f"${number}" for number in range(1, len(_WRITTEN) + 1))}, clock_timestamp())
    ON CONFLICT (tenant_id, id) DO UPDATE SET
        state = excluded.state, peak = excluded.peak, last_value = excluded.last_value,
        calm_since = excluded.calm_since, resolved_at = excluded.resolved_at,
        changed_at = CASE WHEN alert.state = excluded.state THEN alert.changed_at ELSE excluded.changed_at END
"""  # noqa: S608
_SET_CLOCK: Final = """
    UPDATE alert_rule SET evaluated_until = $3, due_at = $4, state = $5, state_since = $6
    WHERE tenant_id = $1 AND id = $2
"""
_PUT_OFF: Final = """
    UPDATE alert_rule SET due_at = now() + make_interval(secs => $3)
    WHERE tenant_id = $1 AND id = $2 AND due_at IS NOT NULL
"""
_DIGITS: Final = Decimal(1).scaleb(-12)

STATEMENT_SECONDS: Final = 5.0
"""A statement about one rule that takes longer is given up, and the rule put off."""


class SqlAlertEvaluations:
    """See `domain.ports.alerts.AlertEvaluations`."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", statement_seconds: float = STATEMENT_SECONDS) -> None:
        self.pool = pool
        self.statement_timeout = f"{statement_seconds * 1000:.0f}ms"

    async def seed(self, limit: int) -> int:
        with reachable():
            async with self.pool.acquire() as connection, connection.transaction():
                tenants = await connection.fetch(_UNSEEDED, limit)
                for rule, now in ((rule, now) for tenant_id, now in tenants for rule in seeds_of(TenantId(tenant_id))):
                    rule.set_clock(now)
                    await connection.execute(_SEED, *values_of(rule).values())
        return len(tenants)

    async def due(self, limit: int) -> Sequence[tuple[TenantId, AlertRuleId]]:
        with reachable():
            rows = await self.pool.fetch(_DUE, limit)
        return [(TenantId(row[0]), AlertRuleId(row[1])) for row in rows]

    @asynccontextmanager
    async def evaluate(self, tenant_id: TenantId, rule_id: AlertRuleId) -> AsyncIterator[Evaluation | None]:
        with reachable():
            async with self.pool.acquire() as connection, connection.transaction():
                row = await connection.fetchrow(_TAKE, tenant_id, rule_id, self.statement_timeout)
                if row is None:
                    yield None
                    return
                rule = builder_of(AlertRule)(row)
                found = await connection.fetchrow(_OPEN, tenant_id, rule_id)
                alert = None if found is None else builder_of(Alert)(found)
                yield _SqlEvaluation(connection, rule, alert, row["present"])

    async def put_off(self, tenant_id: TenantId, rule_id: AlertRuleId, seconds: float) -> None:
        with reachable():
            await self.pool.execute(_PUT_OFF, tenant_id, rule_id, seconds)


class _SqlEvaluation:
    """See `domain.ports.alerts.Evaluation`."""

    def __init__(self, connection: Any, rule: AlertRule, alert: Alert | None, present: datetime) -> None:
        self.connection = connection
        self.rule = rule
        self.alert = alert
        is_late = rule.due_at is not None and present - rule.due_at > SETTLED_LATE
        self.settled = SETTLED_LATE if is_late else SETTLED
        self.until = present - self.settled

    async def measure(self, moments: Sequence[datetime]) -> Sequence[Reading]:
        rows = await self._ask(measuring(self.rule.metric, scope_of(self.rule)), moments)
        return [Reading(row[0], None if row[1] is None else row[1].quantize(_DIGITS), row[2]) for row in rows]

    async def evidence(self, moment: datetime) -> Sequence[Evidence]:
        metric = self.rule.metric
        return [evidence_of(metric, row) for row in await self._ask(finding(metric, scope_of(self.rule)), [moment])]

    async def _ask(self, statement: str, moments: Sequence[datetime]) -> Any:
        rule = self.rule
        scope_id = rule.team_id or rule.project_id
        return await self.connection.fetch(
            statement, rule.tenant_id, list(moments), rule.window_seconds, rule.clearing, scope_id
        )

    async def save(self, alerts: Sequence[Alert]) -> None:
        for alert in alerts:
            values = values_of(alert)
            await self.connection.execute(_WRITE, *(values[name] for name in _WRITTEN))
        rule = self.rule
        await self.connection.execute(
            _SET_CLOCK,
            rule.tenant_id,
            rule.id,
            rule.evaluated_until,
            rule.due_at,
            rule.state.value,
            rule.state_since,
        )


def _conforms(alerts: SqlAlertEvaluations) -> AlertEvaluations:
    return alerts
