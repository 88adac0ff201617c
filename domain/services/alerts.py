"""Evaluating alert rules: each is judged at every moment since it last was, however long nobody looked."""

from collections.abc import Sequence
from typing import Final

import structlog

from domain.errors import Unavailable
from domain.model.alert import Alert, AlertRule
from domain.model.alerting import MAX_STEPS, follow, moments_of
from domain.model.identity import AlertRuleId, TenantId
from domain.ports import Hints, alerts_topic
from domain.ports.alerts import AlertEvaluations, Evaluation

BATCH: Final = 50
"""So many rules are looked at in one round; what is left is still due in the next one."""

ROUNDS: Final = 10
"""So many rounds at once, while there is more to do."""

FEW_STEPS: Final = 50
"""So many moments are tried when more of them take too long: else a rule far behind would stay there."""

SEEDED_AT_ONCE: Final = 20
PUT_OFF_SECONDS: Final = 300.0

_log = structlog.get_logger(__name__)


class EvaluateAlerts:
    """The duty of any worker; several may at once, for a rule is evaluated under its lock.

    What is judged, and what comes of it, is committed together: a crash neither loses nor doubles an alert.
    """

    def __init__(self, alerts: AlertEvaluations, hints: Hints) -> None:
        self.alerts = alerts
        self.hints = hints

    async def evaluate(self) -> int:
        """Judge what is due, to be called every few seconds; how many rules were. Raises Unavailable."""
        await self.alerts.seed(SEEDED_AT_ONCE)
        done = 0
        for _ in range(ROUNDS):
            due = await self.alerts.due(BATCH)
            judged = sum([await self._try(*ids) for ids in due])
            done += judged
            if not judged:
                break
        return done

    async def _try(self, tenant_id: TenantId, rule_id: AlertRuleId) -> bool:
        try:
            try:
                return await self._one(tenant_id, rule_id, MAX_STEPS)
            except Unavailable:
                return await self._one(tenant_id, rule_id, FEW_STEPS)
        except Exception:  # noqa: BLE001 - whatever it is, a time-out too, the others are judged as well
            _log.exception("alert_rule_not_evaluated", tenant=str(tenant_id), rule=str(rule_id))
            # When it is the database that does not answer, this raises.
            await self.alerts.put_off(tenant_id, rule_id, PUT_OFF_SECONDS)
            return False

    async def _one(self, tenant_id: TenantId, rule_id: AlertRuleId, most: int) -> bool:
        async with self.alerts.evaluate(tenant_id, rule_id) as evaluation:
            if evaluation is None:
                return False
            changed = await _judge(evaluation, most)
        if changed:
            await self.hints.publish([alerts_topic(tenant_id)])
        return True


async def _judge(evaluation: Evaluation, most: int) -> bool:
    """Whether an alert began or ended."""
    rule, before = evaluation.rule, evaluation.alert
    moments = moments_of(rule, evaluation.until)[:most]
    alerts: Sequence[Alert] = []
    if moments:
        alerts = follow(rule, before, await evaluation.measure(moments))
        rule.evaluated_until = moments[-1]
    for alert in alerts:
        if before is None or alert.id != before.id:
            alert.evidence = [each.as_document() for each in await evaluation.evidence(alert.fired_at)]
    _stand(rule, alerts)
    rule.set_clock(rule.evaluated_until, evaluation.settled)
    await evaluation.save(alerts)
    return any(before is None or alert.id != before.id or not alert.is_open for alert in alerts)


def _stand(rule: AlertRule, alerts: Sequence[Alert]) -> None:
    """Let the rule say where it stands; without news it stands where it did."""
    if not alerts:
        return
    last = alerts[-1]
    rule.state, rule.state_since = last.state, last.resolved_at or last.fired_at
