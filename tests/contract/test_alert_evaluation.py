"""Alert rules on the real database: what each metric was at past moments, and what comes of it, whoever looks."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from domain.errors import FailureCode, Unavailable
from domain.events import ExecutionPaused
from domain.model.alert import AlertMetric, AlertRule, AlertState
from domain.model.alerting import Reading, follow, moments_of, seeds_of
from domain.model.execution import ExecutionStatus, TaskExecutionStatus
from domain.model.identity import DEFAULT_TENANT, AlertRuleId, ExecutionId, ProjectId, TeamId, TenantId, new_id
from domain.model.project import Project, Tenant
from domain.model.role import Role
from domain.model.team import Team
from domain.model.webhook import Webhook
from domain.ports import Listener, alerts_topic
from domain.ports.alerts import Evaluation
from domain.services.alerts import FEW_STEPS, EvaluateAlerts
from domain.services.deliveries import body_of
from domain.services.editing import ALERT_RULES, Editing
from persistence import alert_store
from persistence.alert_store import SqlAlertEvaluations, _SqlEvaluation
from persistence.deliveries import SqlDeliveries
from persistence.engine import Database
from persistence.unit_of_work import SqlUnitsOfWork
from persistence.workers import SqlWorkers
from resolvers.node_ids import node_id
from tests.support.histories import Did, a_past_run, insert
from tests.support.worlds import waiting


class Hints:
    """Remembers what was hinted."""

    def __init__(self) -> None:
        self.topics: list[str] = []

    async def publish(self, topics: Sequence[str]) -> None:
        self.topics += topics

    def listen(self, topic: str) -> AbstractContextManager[Listener]:
        raise NotImplementedError(topic)


class World:
    """A tenant with two projects, a team in each, and the duty of a worker."""

    def __init__(self, database: Database, now: datetime) -> None:
        self.pool = database.pool
        self.hints = Hints()
        self.store = SqlAlertEvaluations(database.pool)
        self.duty = EvaluateAlerts(self.store, self.hints)
        self.editing = Editing(SqlUnitsOfWork(database.engine), ALERT_RULES)
        self.now = now
        self.projects = [Project(DEFAULT_TENANT, f"Project {number}") for number in (1, 2)]
        self.teams = [Team(DEFAULT_TENANT, project.id, f"Team of {project.name}") for project in self.projects]
        self.roles = [Role(DEFAULT_TENANT, team.id, "Analyst") for team in self.teams]

    async def rule(self, metric: AlertMetric, threshold: str, **values: Any) -> AlertRule:
        """A rule that was judged until an hour ago, over windows of a minute."""
        since = values.pop("since", self.ago(3600))
        given = {"window_seconds": 60.0, "minimum_samples": 1, **values}
        made = await self.editing.create(
            AlertRule(DEFAULT_TENANT, f"Rule {new_id()}", metric, Decimal(threshold), **given)
        )
        await self.pool.execute("UPDATE alert_rule SET evaluated_until = $2, due_at = $2 WHERE id = $1", made.id, since)
        return made

    def go_back(self) -> None:
        """To the middle of last month: what is a few seconds apart is of one month."""
        self.now = self.now.replace(day=1) - timedelta(days=15)

    def ago(self, seconds: float) -> datetime:
        return self.now - timedelta(seconds=seconds)

    async def run(self, ended: float, seconds: float = 10.0, team: int = 0, **values: Any) -> UUID:
        """An execution that ended so many seconds ago."""
        did = values.pop("did", ())
        return await a_past_run(
            self.pool, self.teams[team].id, *did, ended_at=self.ago(ended), seconds=seconds, **values
        )

    def did(self, team: int = 0, **values: Any) -> Did:
        return Did(self.roles[team].id, **values)

    async def measure(self, rule: AlertRule, *ago: float) -> list[tuple[Decimal | None, int]]:
        """Value and samples at these moments."""
        async with self.store.evaluate(DEFAULT_TENANT, rule.id) as evaluation:
            assert evaluation is not None
            found: Sequence[Reading] = await evaluation.measure([self.ago(seconds) for seconds in ago])
        assert [reading.moment for reading in found] == [self.ago(seconds) for seconds in ago]
        return [(None if each.value is None else each.value.normalize() + 0, each.samples) for each in found]

    async def alerts(self) -> list[tuple[str, float, float | None]]:
        """State, and how many seconds ago each fired and was resolved."""
        rows = await self.pool.fetch("SELECT state, fired_at, resolved_at FROM alert ORDER BY fired_at")
        return [(row[0], self._seconds(row[1]) or 0, self._seconds(row[2])) for row in rows]

    def _seconds(self, moment: datetime | None) -> float | None:
        return None if moment is None else (self.now - moment).total_seconds()


@pytest.fixture
async def world(database: Database) -> World:
    now: datetime = await database.pool.fetchval("SELECT date_trunc('second', now())")
    made = World(database, now)
    for thing in (*made.projects, *made.teams, *made.roles):
        await insert(database.pool, thing)
    await database.pool.execute("UPDATE tenant SET alert_rules_seeded_at = now()")
    return made


@pytest.fixture
def standing_clock(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """For who looks at rules it stays `world.now`: five seconds later a rule is due again."""
    for name in ("_DUE", "_TAKE"):
        statement: str = getattr(alert_store, name)
        monkeypatch.setattr(alert_store, name, statement.replace("now()", f"timestamptz '{world.now.isoformat()}'"))


RUNNING: dict[str, Any] = {"status": ExecutionStatus.RUNNING, "finished_at": None}
QUEUED: dict[str, Any] = {"status": ExecutionStatus.QUEUED, "finished_at": None}
FAILED: dict[str, Any] = {"status": TaskExecutionStatus.FAILED, "failure": FailureCode.MODEL_UNAVAILABLE}


# ---------------------------------------------------------------- what the metrics are


async def test_the_longest_execution_is_one_that_ended_in_the_window_or_runs_longer(world: World) -> None:
    await world.run(ended=100, seconds=30)
    await world.run(ended=90, seconds=80, waited_seconds=70.0)
    await world.run(ended=10, seconds=1000, team=1)
    rule = await world.rule(AlertMetric.EXECUTION_SECONDS, "50")
    of_a_team = await world.rule(AlertMetric.EXECUTION_SECONDS, "50", team_id=world.teams[0].id)

    # Exactly at its end an execution is not in the window yet, and a minute later it still is.
    assert await world.measure(of_a_team, 100, 99, 90, 40, 39, 30, 29) == [
        (None, 0), (Decimal(30), 1), (Decimal(30), 1), (Decimal(30), 2), (Decimal(10), 1), (Decimal(10), 1), (None, 0)
    ]  # fmt: skip
    # It began 1,010 seconds ago. What runs for less than would be good again is not looked at.
    assert await world.measure(rule, 1000, 600, 9) == [(None, 0), (Decimal(410), 1), (Decimal(1000), 1)]


async def test_what_waits_stays_as_long_as_it_has_worked(world: World) -> None:
    await world.run(ended=0, started_at=world.ago(500), waited_seconds=100.0, **RUNNING)
    paused: dict[str, Any] = {"status": ExecutionStatus.PAUSED, "finished_at": None}
    await world.run(ended=0, started_at=world.ago(900), waiting_from=world.ago(300), **paused)
    rule = await world.rule(AlertMetric.EXECUTION_SECONDS, "50")

    assert await world.measure(rule, 310, 0) == [(Decimal(590), 2), (Decimal(600), 2)]


async def test_an_execution_that_waits_for_people_again_and_again_is_one_alert(world: World) -> None:
    await world.run(ended=0, started_at=world.ago(700), created_at=world.ago(700), **RUNNING)
    rule = await world.rule(AlertMetric.EXECUTION_SECONDS, "60", since=world.ago(700))

    async def judge(ago: float, change: str, *values: Any) -> None:
        """Look at it as it is until then, and let it change."""
        async with world.store.evaluate(DEFAULT_TENANT, rule.id) as evaluation:
            assert evaluation is not None
            moments = moments_of(evaluation.rule, world.ago(ago))
            changed = follow(evaluation.rule, evaluation.alert, await evaluation.measure(moments))
            evaluation.rule.evaluated_until = moments[-1]
            await evaluation.save(changed)
        await world.pool.execute(f"UPDATE execution SET {change}", *values)  # noqa: S608 - our own text

    for number, began in enumerate((600, 470, 340), 1):
        await judge(began, "waiting_from = $1, status = 'AWAITING_APPROVAL'", world.ago(began))
        await judge(began - 120, "waiting_from = NULL, status = 'RUNNING', waited_seconds = $1", 120.0 * number)

    assert await world.alerts() == [("FIRING", 635, None)]


async def test_the_failure_rate_leaves_out_what_was_cancelled(world: World) -> None:
    await world.run(ended=50)
    await world.run(ended=40, status=ExecutionStatus.FAILED)
    await world.run(ended=30, status=ExecutionStatus.CANCELLED)
    await world.run(ended=20, team=1)
    await world.run(ended=20, team=1)
    whole = await world.rule(AlertMetric.FAILURE_RATE, "0.05")
    project = await world.rule(AlertMetric.FAILURE_RATE, "0.05", project_id=world.projects[0].id)

    assert await world.measure(whole, 60, 45, 10) == [(None, 0), (Decimal(0), 1), (Decimal("0.25"), 4)]
    assert await world.measure(project, 10) == [(Decimal("0.5"), 2)]


async def test_the_failure_rate_of_tasks_is_that_of_the_scope(world: World) -> None:
    await world.run(ended=50, did=[world.did(), world.did(), world.did(**FAILED)])
    await world.run(ended=40, did=[world.did(1)], team=1)
    whole = await world.rule(AlertMetric.TASK_FAILURE_RATE, "0.05")
    team = await world.rule(AlertMetric.TASK_FAILURE_RATE, "0.05", team_id=world.teams[0].id)

    assert await world.measure(whole, 60, 10) == [(None, 0), (Decimal("0.25"), 4)]
    assert await world.measure(team, 10) == [(Decimal("0.333333333333"), 3)]


async def test_spending_is_what_was_booked_in_the_window(world: World) -> None:
    await world.run(ended=50, did=[world.did(cost="1.25"), world.did(cost="0.000000000001")])
    await world.run(ended=40, did=[world.did(1, cost="3")], team=1)
    whole = await world.rule(AlertMetric.SPEND, "1")
    project = await world.rule(AlertMetric.SPEND, "1", project_id=world.projects[0].id)
    team = await world.rule(AlertMetric.SPEND, "1", team_id=world.teams[1].id)

    assert await world.measure(whole, 60, 10) == [(Decimal(0), 0), (Decimal("4.250000000001"), 3)]
    assert await world.measure(project, 10) == [(Decimal("1.250000000001"), 2)]
    assert await world.measure(team, 10) == [(Decimal(3), 1)]


async def test_the_share_of_a_budget_is_the_highest_and_is_known_for_moments_that_are_over(world: World) -> None:
    world.go_back()
    await world.run(ended=50, did=[world.did(cost="3")])
    await world.run(ended=30, did=[world.did(cost="1")])
    await world.run(ended=20, did=[world.did(1, cost="2")], team=1)
    whole = await world.rule(AlertMetric.BUDGET_SHARE, "0.9")
    project = await world.rule(AlertMetric.BUDGET_SHARE, "0.9", project_id=world.projects[1].id)
    team = await world.rule(AlertMetric.BUDGET_SHARE, "0.9", team_id=world.teams[0].id)
    without = await world.measure(whole, 10)
    await world.pool.execute("UPDATE tenant SET monthly_budget = 12")
    await world.pool.execute("UPDATE project SET monthly_budget = 4 WHERE id = $1", world.projects[1].id)
    await world.pool.execute("UPDATE team SET monthly_budget = 5 WHERE id = $1", world.teams[0].id)
    month = world.now.date().replace(day=1)
    spent = {(0, DEFAULT_TENANT): 6, (1, world.projects[1].id): 2, (2, world.teams[0].id): 4}
    for (scope, identifier), amount in spent.items():
        await world.pool.execute(
            "INSERT INTO budget_account (tenant_id, scope, scope_id, period, spent) VALUES ($1, $2, $3, $4, $5)",
            DEFAULT_TENANT, scope, identifier, month, amount,
        )  # fmt: skip

    assert without == [(None, 0)]
    assert await world.measure(whole, 55, 40, 25, 10) == [
        (Decimal(0), 3), (Decimal("0.6"), 3), (Decimal("0.8"), 3), (Decimal("0.8"), 3)
    ]  # fmt: skip
    assert await world.measure(project, 25, 10) == [(Decimal(0), 1), (Decimal("0.5"), 1)]
    assert await world.measure(team, 40, 10) == [(Decimal("0.6"), 1), (Decimal("0.8"), 1)]


async def test_the_queue_is_known_for_moments_that_are_over(world: World) -> None:
    await world.run(ended=50, created_at=world.ago(200), started_at=world.ago(100))
    await world.run(ended=0, created_at=world.ago(150), started_at=world.ago(30), **RUNNING)
    await world.run(ended=120, created_at=world.ago(180), started_at=None, status=ExecutionStatus.CANCELLED)
    waiting = await world.run(ended=0, created_at=world.ago(60), started_at=None, **QUEUED)
    await world.pool.execute(
        "INSERT INTO admission (tenant_id, execution_id, id, project_id, team_id, priority, is_alone, waiting_since)"
        " SELECT tenant_id, id, gen_random_uuid(), project_id, team_id, 5, false, created_at FROM execution"
        " WHERE id = $1",
        waiting,
    )
    depth = await world.rule(AlertMetric.QUEUE_DEPTH, "1")
    wait = await world.rule(AlertMetric.QUEUE_WAIT_SECONDS, "1")
    moments = (300, 190, 160, 130, 110, 99, 50, 20)

    assert [value for value, _ in await world.measure(depth, *moments)] == [0, 1, 2, 3, 2, 1, 2, 1]
    assert [value for value, _ in await world.measure(wait, *moments)] == [0, 10, 40, 70, 90, 51, 100, 40]


async def test_what_was_paused_before_it_began_did_not_wait_for_a_place(world: World) -> None:
    begun = await world.run(ended=0, created_at=world.ago(500), started_at=world.ago(30), **RUNNING)
    await world.run(ended=20, created_at=world.ago(500), started_at=world.ago(40))
    ended = await world.run(ended=20, created_at=world.ago(500), started_at=world.ago(30))
    await world.run(
        ended=20, created_at=world.ago(500), started_at=None, waited_seconds=400.0, status=ExecutionStatus.CANCELLED
    )
    for number, execution_id in enumerate((begun, ended)):
        paused = ExecutionPaused(tenant_id=DEFAULT_TENANT, execution_id=ExecutionId(execution_id), sequence=number + 1)
        paused.occurred_at = world.ago(400)
        await world.pool.execute(
            "INSERT INTO execution_event (tenant_id, execution_id, sequence, occurred_at, type, payload)"
            " VALUES ($1, $2, $3, $4, $5, '{}')",
            paused.tenant_id, paused.execution_id, paused.sequence, paused.occurred_at, paused.type,
        )  # fmt: skip
    depth = await world.rule(AlertMetric.QUEUE_DEPTH, "20")
    wait = await world.rule(AlertMetric.QUEUE_WAIT_SECONDS, "600")

    assert await world.measure(depth, 50, 35) == [(Decimal(1), 1), (Decimal(0), 1)]
    assert await world.measure(wait, 50, 35) == [(Decimal(450), 1), (Decimal(0), 1)]


@pytest.mark.usefixtures("standing_clock")
async def test_a_part_of_next_to_no_budget_is_told_as_a_great_one(world: World) -> None:
    await world.pool.execute("UPDATE tenant SET monthly_budget = 0.000000000001")
    for month in {world.ago(seconds).date().replace(day=1) for seconds in (0, 30)}:
        await world.pool.execute(
            "INSERT INTO budget_account (tenant_id, scope, scope_id, period, spent) VALUES ($1, 0, $1, $2, 100)",
            DEFAULT_TENANT, month,
        )  # fmt: skip
    await world.rule(AlertMetric.BUDGET_SHARE, "0.9", since=world.ago(30))

    assert await world.duty.evaluate() == 1

    assert await world.pool.fetchval("SELECT value FROM alert") == 1_000_000


async def test_a_lost_worker_counts_once_however_many_find_it(world: World) -> None:
    workers = SqlWorkers(world.pool)
    await workers.beat("w1")
    await workers.beat("w2")

    await workers.lose("w1", 3600)  # was heard of just now: it has begun again
    early = await world.pool.fetchval("SELECT count(*) FROM worker_loss")
    await world.pool.execute("UPDATE worker SET heartbeat_at = now() - interval '2 hours'")
    await asyncio.gather(*(workers.lose("w1", 3600) for _ in range(3)))
    await workers.leave("w2")

    assert early == 0
    assert [row[0] for row in await world.pool.fetch("SELECT worker_id FROM worker_loss")] == ["w1"]
    await world.pool.execute("DELETE FROM worker_loss")
    await world.pool.execute("INSERT INTO worker_loss VALUES ('w1', $1)", world.ago(30))
    rule = await world.rule(AlertMetric.WORKERS_LOST, "0")
    assert await world.measure(rule, 30, 29, 0) == [(Decimal(0), 1), (Decimal(1), 1), (Decimal(1), 1)]


async def test_losses_are_forgotten_after_a_month(world: World) -> None:
    await world.pool.execute(
        "INSERT INTO worker_loss VALUES ('old', now() - interval '31 days'), ('new', now() - interval '29 days')"
    )

    await SqlWorkers(world.pool).tidy()

    assert [row[0] for row in await world.pool.fetch("SELECT worker_id FROM worker_loss")] == ["new"]


async def test_other_tenants_do_not_count(world: World) -> None:
    stranger = Tenant(TenantId(new_id()), "Stranger")
    rules = [await world.rule(metric, "0.5") for metric in AlertMetric if metric is not AlertMetric.WORKERS_LOST]
    await world.run(ended=20, status=ExecutionStatus.FAILED, did=[world.did(**FAILED)], created_at=world.ago(50))
    seen = [(await world.measure(rule, 10))[0][1] for rule in rules]
    async with world.pool.acquire() as connection, connection.transaction():
        await connection.execute("SET ROLE NONE")
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(
            "INSERT INTO tenant (id, name, created_at) VALUES ($1, 'Stranger', now())", stranger.id
        )
        for table in ("project", "team", "execution", "task_execution", "ledger_entry"):
            await connection.execute(f"UPDATE {table} SET tenant_id = $1", stranger.id)  # noqa: S608 - our own names
        await connection.execute("SET ROLE regatta_app")

    assert sum(seen) > 3
    for rule in rules:
        assert (await world.measure(rule, 10))[0] in {(None, 0), (Decimal(0), 0), (Decimal(0), 1)}, rule.metric


@pytest.mark.parametrize("metric", AlertMetric)
@pytest.mark.parametrize("scope", ["tenant", "project", "team"])
async def test_every_metric_of_every_scope_can_be_evaluated(world: World, metric: AlertMetric, scope: str) -> None:
    scopes: dict[str, dict[str, ProjectId | TeamId]] = {
        "tenant": {},
        "project": {"project_id": world.projects[0].id},
        "team": {"team_id": world.teams[0].id},
    }
    rule = await world.rule(metric, "0.5", **scopes[scope])

    async with world.store.evaluate(DEFAULT_TENANT, rule.id) as evaluation:
        assert evaluation is not None
        assert len(await evaluation.measure([world.ago(20), world.ago(10)])) == 2
        assert await evaluation.evidence(world.ago(10)) == []


# ---------------------------------------------------------------- what comes of it


@pytest.mark.usefixtures("standing_clock")
async def test_a_breach_while_nobody_looked_is_found_with_its_moments(world: World) -> None:
    await world.run(ended=1800, status=ExecutionStatus.FAILED)
    rule = await world.rule(AlertMetric.FAILURE_RATE, "0.05")

    assert await world.duty.evaluate() == 2  # of 720 steps 500 in a pass

    # Steps of 5 seconds from 3600 ago on: the first behind the failure; the window is empty 60 later, twice.
    assert await world.alerts() == [("RESOLVED", 1795, 1730)]
    [found] = await world.pool.fetch("SELECT * FROM alert_rule WHERE id = $1", rule.id)
    assert (found["state"], found["state_since"], found["version"]) == ("RESOLVED", world.ago(1730), 1)
    assert world.hints.topics == [alerts_topic(DEFAULT_TENANT)]


async def test_what_was_judged_is_not_judged_again(world: World) -> None:
    await world.run(ended=1800, status=ExecutionStatus.FAILED)
    await world.rule(AlertMetric.FAILURE_RATE, "0.05")
    await world.duty.evaluate()
    world.hints.topics.clear()

    await world.pool.execute("UPDATE alert_rule SET due_at = now()")
    await world.duty.evaluate()

    assert len(await world.alerts()) == 1
    assert world.hints.topics == []
    until = await world.pool.fetchval("SELECT evaluated_until FROM alert_rule")
    assert timedelta(seconds=2) <= datetime.now(UTC) - until < timedelta(seconds=60)


@pytest.mark.usefixtures("standing_clock")
async def test_several_passes_follow_one_alert(world: World) -> None:
    await world.run(ended=0, started_at=world.ago(9000), created_at=world.ago(9000), **RUNNING)
    await world.rule(AlertMetric.EXECUTION_SECONDS, "60", since=world.ago(9000))  # 1,800 steps, 500 in a pass

    assert await world.duty.evaluate() == 4

    [(state, fired, resolved)] = await world.alerts()
    assert (state, fired, resolved) == ("FIRING", 8935, None)
    [row] = await world.pool.fetch("SELECT value, peak, last_value, message, evidence FROM alert")
    assert (row["value"], row["message"]) == (Decimal(65), "An execution took 65 s within 60 s: more than 60 s.")
    assert row["peak"] == row["last_value"] > 8900
    assert [each["text"] for each in row["evidence"]] == ["An execution of “Team of Project 1”: 65 s so far."]


@pytest.mark.usefixtures("standing_clock")
async def test_after_a_gap_what_was_written_late_has_longer(world: World) -> None:
    rule = await world.rule(AlertMetric.FAILURE_RATE, "0.05", since=world.ago(60))

    async with world.store.evaluate(DEFAULT_TENANT, rule.id) as evaluation:
        assert evaluation is not None
        late = (evaluation.settled, evaluation.until)
    assert await world.duty.evaluate() == 1  # not twice: the rest is left for later
    [row] = await world.pool.fetch("SELECT evaluated_until, due_at, now() AS now FROM alert_rule")
    await world.pool.execute("UPDATE alert_rule SET due_at = $1", world.now)
    async with world.store.evaluate(DEFAULT_TENANT, rule.id) as evaluation:
        assert evaluation is not None
        in_time = evaluation.settled

    assert late[0] == timedelta(seconds=10)
    assert row["evaluated_until"] <= row["now"] - late[0]
    assert row["due_at"] == row["evaluated_until"] + timedelta(seconds=15)
    assert in_time == timedelta(seconds=2)


class Impatient(SqlAlertEvaluations):
    """Gives up one rule soon; others have the time that a slow machine needs."""

    def __init__(self, rule_id: AlertRuleId, database: Database) -> None:
        super().__init__(database.pool)
        self.rule_id = rule_id

    @asynccontextmanager
    async def evaluate(self, tenant_id: TenantId, rule_id: AlertRuleId) -> AsyncIterator[Evaluation | None]:
        self.statement_timeout = "200ms" if rule_id == self.rule_id else "30s"
        async with super().evaluate(tenant_id, rule_id) as evaluation:
            yield evaluation


async def test_a_rule_that_takes_too_long_does_not_keep_the_others_from_it(world: World, database: Database) -> None:
    await world.run(ended=30, status=ExecutionStatus.FAILED)
    slow = await world.rule(AlertMetric.WORKERS_LOST, "0", since=world.ago(400))
    await world.rule(AlertMetric.FAILURE_RATE, "0.05", since=world.ago(300))
    duty = EvaluateAlerts(Impatient(slow.id, database), Hints())

    async with world.pool.acquire() as holder, holder.transaction():
        await holder.execute("SET LOCAL ROLE NONE")
        await holder.execute("LOCK TABLE worker_loss IN ACCESS EXCLUSIVE MODE")
        await duty.evaluate()

    assert len(await world.alerts()) == 1
    [row] = await world.pool.fetch("SELECT evaluated_until, due_at > now() FROM alert_rule WHERE id = $1", slow.id)
    assert tuple(row) == (world.ago(400), True)


async def test_a_rule_that_takes_too_long_for_all_it_missed_goes_on_in_smaller_steps(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.run(ended=3500, status=ExecutionStatus.FAILED)
    await world.rule(AlertMetric.FAILURE_RATE, "0.05")
    measure = _SqlEvaluation.measure

    async def slow(evaluation: _SqlEvaluation, moments: Sequence[datetime]) -> Sequence[Reading]:
        if len(moments) > FEW_STEPS:
            raise Unavailable("That takes too long.")
        return await measure(evaluation, moments)

    monkeypatch.setattr(_SqlEvaluation, "measure", slow)
    await world.duty.evaluate()

    assert await world.alerts() == [("RESOLVED", 3495, 3430)]


@pytest.mark.usefixtures("standing_clock")
async def test_two_workers_at_once_make_one_alert(world: World, database: Database) -> None:
    await world.run(ended=30, status=ExecutionStatus.FAILED)
    for _ in range(5):
        await world.rule(AlertMetric.FAILURE_RATE, "0.05", since=world.ago(300))
    other = EvaluateAlerts(SqlAlertEvaluations(database.pool), Hints())

    judged = await asyncio.gather(world.duty.evaluate(), other.evaluate(), world.duty.evaluate())

    assert sum(judged) == 5
    [row] = await world.pool.fetch("SELECT count(*), count(DISTINCT rule_id) FROM alert")
    assert tuple(row) == (5, 5)


async def test_a_rule_that_cannot_be_evaluated_does_not_keep_the_others_from_it(world: World) -> None:
    await world.run(ended=30, status=ExecutionStatus.FAILED)
    broken = await world.rule(AlertMetric.QUEUE_DEPTH, "5", since=world.ago(400))
    await world.rule(AlertMetric.FAILURE_RATE, "0.05", since=world.ago(300))
    await world.pool.execute("UPDATE alert_rule SET window_seconds = 'infinity' WHERE id = $1", broken.id)

    await world.duty.evaluate()

    assert len(await world.alerts()) == 1
    [row] = await world.pool.fetch("SELECT evaluated_until, due_at > now() FROM alert_rule WHERE id = $1", broken.id)
    assert tuple(row) == (world.ago(400), True)


async def test_tenants_are_given_the_rules_that_everybody_begins_with_once(world: World) -> None:
    await world.pool.execute("UPDATE tenant SET alert_rules_seeded_at = NULL")
    mine = AlertRule(DEFAULT_TENANT, seeds_of(DEFAULT_TENANT)[0].name, AlertMetric.SPEND, Decimal(1))
    await world.editing.create(mine)

    await asyncio.gather(*(world.duty.evaluate() for _ in range(3)))
    rows = await world.pool.fetch("SELECT id FROM alert_rule WHERE is_seed")
    await world.editing.archive(DEFAULT_TENANT, AlertRuleId(rows[0][0]))
    await world.duty.evaluate()

    assert len(rows) == 4  # one has a name that somebody had taken
    assert await world.pool.fetchval("SELECT count(*) FROM alert_rule WHERE archived_at IS NULL") == 4


@pytest.mark.parametrize("way", ["archived", "disabled"])
async def test_a_rule_that_is_taken_out_of_use_lets_its_alert_be_resolved(world: World, way: str) -> None:
    await world.run(ended=0, started_at=world.ago(900), **RUNNING)
    rule = await world.rule(AlertMetric.EXECUTION_SECONDS, "60", since=world.ago(60))
    await world.duty.evaluate()

    if way == "archived":
        changed = await world.editing.archive(DEFAULT_TENANT, rule.id)
    else:
        changed = await world.editing.update(DEFAULT_TENANT, rule.id, 1, {"is_enabled": False})

    [row] = await world.pool.fetch("SELECT state, message FROM alert")
    assert row["state"] == changed.state.value == "RESOLVED"
    assert row["message"].endswith(" The rule was taken out of use.")
    assert changed.due_at is None
    assert await world.store.due(10) == []


async def test_what_fires_while_its_rule_is_archived_is_closed_and_told_of_once_at_each_end(
    world: World, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_webhook(world, 0, "AlertFired", "AlertResolved")
    await world.run(ended=0, started_at=world.ago(900), **RUNNING)
    rule = await world.rule(AlertMetric.EXECUTION_SECONDS, "60", since=world.ago(60))
    measure = _SqlEvaluation.measure
    archiving: list[asyncio.Task[AlertRule]] = []

    async def meanwhile(evaluation: _SqlEvaluation, moments: Sequence[datetime]) -> Sequence[Reading]:
        archiving.append(asyncio.create_task(world.editing.archive(DEFAULT_TENANT, rule.id)))
        await waiting(database)
        return await measure(evaluation, moments)

    monkeypatch.setattr(_SqlEvaluation, "measure", meanwhile)
    await world.duty.evaluate()
    [archived] = [await each for each in archiving]

    assert (archived.state, archived.due_at) == (AlertState.RESOLVED, None)
    assert [row[0] for row in await world.pool.fetch("SELECT state FROM alert")] == ["RESOLVED"]
    told = await world.pool.fetch("SELECT event_type FROM webhook_delivery ORDER BY sequence")
    assert [row[0] for row in told] == ["AlertFired", "AlertResolved"]


@pytest.mark.usefixtures("standing_clock")
async def test_what_was_not_judged_before_a_change_is_judged_as_the_rule_is_then(world: World) -> None:
    await world.run(ended=1800, seconds=30)
    rule = await world.rule(AlertMetric.EXECUTION_SECONDS, "60")
    await world.editing.update(DEFAULT_TENANT, rule.id, 1, {"threshold": Decimal(20)})

    await world.duty.evaluate()

    [(_, fired, _)] = await world.alerts()
    assert fired == 1805


# ---------------------------------------------------------------- evidence


async def test_what_speaks_for_an_alert_is_told(world: World) -> None:
    world.go_back()
    await world.pool.execute("UPDATE project SET monthly_budget = 1 WHERE id = $1", world.projects[0].id)
    await world.pool.execute(
        "INSERT INTO budget_account (tenant_id, scope, scope_id, period, spent) VALUES ($1, 1, $2, $3, 2)",
        DEFAULT_TENANT, world.projects[0].id, world.now.date().replace(day=1),
    )  # fmt: skip
    await world.pool.execute("INSERT INTO worker_loss VALUES ('w1', $1)", world.ago(25))
    given: dict[str, Any] = {
        "failure_code": FailureCode.MODEL_UNAVAILABLE,
        "created_at": world.ago(50),
        "started_at": world.ago(20),
    }
    execution = await world.run(ended=15, did=[world.did(cost="2", **FAILED)], **given)
    asked: dict[AlertMetric, float] = {
        metric: 30.0 if metric in {AlertMetric.QUEUE_DEPTH, AlertMetric.QUEUE_WAIT_SECONDS} else 5.0
        for metric in AlertMetric
    }

    told: dict[str, Any] = {}
    for metric, seconds in asked.items():
        rule = await world.rule(metric, "0.5")
        async with world.store.evaluate(DEFAULT_TENANT, rule.id) as evaluation:
            assert evaluation is not None
            [found] = await evaluation.evidence(world.ago(seconds))
        assert found.execution_id in (None, execution)
        told[metric.value] = (found.text, found.execution_id is not None, found.team_id is not None)

    assert told == {
        "EXECUTION_SECONDS": ("An execution of “Team of Project 1”: 5 s.", True, True),
        "FAILURE_RATE": ("An execution of “Team of Project 1” failed: MODEL_UNAVAILABLE.", True, True),
        "TASK_FAILURE_RATE": ("The task “Task 0” failed: MODEL_UNAVAILABLE.", True, True),
        "SPEND": ("The team “Team of Project 1”: $2.00.", False, True),
        "BUDGET_SHARE": ("The project “Project 1”: 200 % of $1.00 are spent.", False, False),
        "QUEUE_DEPTH": ("An execution of “Team of Project 1” had waited 20 s.", True, True),
        "QUEUE_WAIT_SECONDS": ("An execution of “Team of Project 1” had waited 20 s.", True, True),
        "WORKERS_LOST": ("The worker w1 fell silent.", False, False),
    }


# ---------------------------------------------------------------- webhooks


async def a_webhook(world: World, project: int, *types: str) -> Webhook:
    made = Webhook(DEFAULT_TENANT, world.projects[project].id, f"Hook {new_id()}", "https://h.example.org", list(types))
    await insert(world.pool, made)
    return made


async def test_webhooks_that_chose_alerts_are_told_of_both_ends(world: World) -> None:
    mine = await a_webhook(world, 0, "AlertFired", "AlertResolved")
    await a_webhook(world, 0, "TaskCompleted")
    await a_webhook(world, 1, "AlertFired")
    execution = await world.run(ended=1800, status=ExecutionStatus.FAILED, failure_code=FailureCode.MODEL_UNAVAILABLE)
    rule = await world.rule(AlertMetric.FAILURE_RATE, "0.05", team_id=world.teams[0].id)

    await world.duty.evaluate()

    outgoing = await SqlDeliveries(world.pool).claim(10, 10, 30)
    claimed = sorted((each.delivery for each in outgoing), key=lambda delivery: delivery.sequence or 0)
    assert [(each.webhook_id, each.event_type, each.sequence, each.occurred_at) for each in claimed] == [
        (mine.id, "AlertFired", 1, world.ago(1795)),
        (mine.id, "AlertResolved", 2, world.ago(1730)),
    ]
    [fired, resolved] = [json.loads(body_of(each, mine, node_id)) for each in claimed]
    alert_id = claimed[0].alert_id
    assert alert_id is not None
    assert (fired["id"], resolved["id"]) == (f"{alert_id}-1", f"{alert_id}-2")
    assert fired["data"] == {
        "projectId": node_id("Project", world.projects[0].id),
        "teamId": node_id("Team", world.teams[0].id),
        "alertId": node_id("Alert", alert_id),
        "ruleId": node_id("AlertRule", rule.id),
        "name": rule.name,
        "metric": "FAILURE_RATE",
        "severity": "WARNING",
        "state": "FIRING",
        "threshold": "0.05",
        "value": "1",
        "peak": "1",
        "lastValue": None,
        "message": "100 % of the executions failed within 60 s: more than 5 %.",
        "firedAt": fired["data"]["firedAt"],
        "resolvedAt": None,
        "evidence": [
            {
                "text": "An execution of “Team of Project 1” failed: MODEL_UNAVAILABLE.",
                "executionId": node_id("Execution", execution),
                "teamId": node_id("Team", world.teams[0].id),
            }
        ],
        "suggestedActions": [
            {
                "text": "Look at the executions of the evidence, and at their failures.",
                "mutation": None,
                "arguments": None,
            },
            {
                "text": "See what the team's history proposes.",
                "mutation": "optimizeTeam",
                "arguments": {"teamId": node_id("Team", world.teams[0].id), "goal": "PERFORMANCE"},
            },
        ],
    }
    assert datetime.fromisoformat(fired["data"]["firedAt"]) == world.ago(1795)
    assert (resolved["data"]["state"], datetime.fromisoformat(resolved["data"]["resolvedAt"])) == (
        "RESOLVED",
        world.ago(1730),
    )


async def test_an_alert_of_the_tenant_goes_to_the_webhooks_of_all_its_projects(world: World) -> None:
    hooks = [await a_webhook(world, project, "AlertFired") for project in (0, 1)]
    await world.run(ended=30, status=ExecutionStatus.FAILED)
    await world.rule(AlertMetric.FAILURE_RATE, "0.05", since=world.ago(300))

    await world.duty.evaluate()

    claimed = await SqlDeliveries(world.pool).claim(10, 10, 30)
    assert {each.webhook.id for each in claimed} == {hook.id for hook in hooks}
    projects = {json.loads(body_of(each.delivery, each.webhook, node_id))["data"]["projectId"] for each in claimed}
    assert projects == {node_id("Project", project.id) for project in world.projects}


async def test_an_alert_that_goes_on_is_not_told_again(world: World) -> None:
    await a_webhook(world, 0, "AlertFired", "AlertResolved")
    await world.run(ended=0, started_at=world.ago(9000), created_at=world.ago(9000), **RUNNING)
    await world.rule(AlertMetric.EXECUTION_SECONDS, "60", since=world.ago(9000))

    await world.duty.evaluate()

    assert [row[0] for row in await world.pool.fetch("SELECT event_type FROM webhook_delivery")] == ["AlertFired"]


async def test_an_alert_that_is_resolved_later_is_told_of_once_at_each_end(world: World) -> None:
    await a_webhook(world, 0, "AlertFired", "AlertResolved")
    await world.run(ended=30, status=ExecutionStatus.FAILED)
    await world.rule(AlertMetric.FAILURE_RATE, "0.05", since=world.ago(60))
    await world.duty.evaluate()
    before = [row[0] for row in await world.pool.fetch("SELECT event_type FROM webhook_delivery")]

    await world.pool.execute("UPDATE execution SET finished_at = finished_at - interval '1 hour'")
    await world.run(ended=30)
    await world.pool.execute("UPDATE alert_rule SET evaluated_until = $1, due_at = now()", world.ago(20))
    await world.duty.evaluate()

    rows = await world.pool.fetch("SELECT event_type, payload FROM webhook_delivery ORDER BY sequence")
    assert before == ["AlertFired"]
    assert [(row[0], row[1]["value"], row[1]["last_value"]) for row in rows] == [
        ("AlertFired", "1", None),
        ("AlertResolved", "1", "0"),
    ]
