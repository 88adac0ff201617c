"""`alertActivity` over a real websocket, with the duty of a worker behind it."""

from typing import Any
from uuid import UUID

import pytest

from domain.model.execution import ExecutionStatus
from domain.services.alerts import EvaluateAlerts
from persistence.alert_store import SqlAlertEvaluations
from resolvers.node_ids import parse_node_id
from tests.support.graphql import Graph
from tests.support.histories import a_past_run
from tests.support.live import Socket
from tests.support.things import strangers_things, unknown

ACTIVITY = """subscription($project: ID, $rule: ID, $severities: [AlertSeverity!]) {
    alertActivity(projectId: $project, ruleId: $rule, severities: $severities) {
        alerts { state rule { name } suggestedActions { text } } } }"""


async def a_rule(graph: Graph, name: str, **values: Any) -> str:
    given = {"metric": "FAILURE_RATE", "threshold": "0.05", "minimumSamples": 1, "windowSeconds": 60, **values}
    payload = await graph.mutate("createAlertRule", "alertRule { id }", name=name, **given)
    assert payload["errors"] == []
    return str(payload["alertRule"]["id"])


async def evaluate(graph: Graph, back: str = "10 seconds") -> None:
    """What a worker does every few seconds, in time, with so much to judge."""
    pool = graph.container.database.pool
    await pool.execute("UPDATE tenant SET alert_rules_seeded_at = coalesce(alert_rules_seeded_at, now())")
    await pool.execute(
        f"UPDATE alert_rule SET evaluated_until = now() - interval '{back}', due_at = now()"  # noqa: S608 - the test's own
    )
    await EvaluateAlerts(SqlAlertEvaluations(pool), graph.container.hints).evaluate()


async def a_failure(graph: Graph, team_id: str) -> UUID:
    """An execution that failed a moment ago, long enough to count."""
    pool = graph.container.database.pool
    identifier = await a_past_run(pool, parse_node_id(team_id)[1], status=ExecutionStatus.FAILED)
    await pool.execute("UPDATE execution SET finished_at = now() - interval '20 seconds' WHERE id = $1", identifier)
    return identifier


def _told(payload: dict[str, Any]) -> list[tuple[str, str]]:
    return [(it["rule"]["name"], it["state"]) for it in payload["data"]["alertActivity"]["alerts"]]


async def test_what_fires_is_told_at_once_and_then_what_changes(live: Graph) -> None:
    team_id = await live.ready_team()
    await a_rule(live, "First")
    failed = await a_failure(live, team_id)
    await evaluate(live)

    async with Socket.to(live) as socket:
        results = socket.results(ACTIVITY)
        first = await anext(results)
        assert _told(first) == [("First", "FIRING")]
        assert first["data"]["alertActivity"]["alerts"][0]["suggestedActions"]
        await a_rule(live, "Second")
        await evaluate(live)
        assert _told(await anext(results)) == [("Second", "FIRING")]
        await live.container.database.pool.execute(
            "UPDATE execution SET finished_at = finished_at - interval '1 hour' WHERE id = $1", failed
        )
        await evaluate(live, "20 seconds")
        told = _told(await anext(results))
        while len(told) < 2:  # each rule is judged, and told of, for itself
            told += _told(await anext(results))
        assert sorted(told) == [("First", "RESOLVED"), ("Second", "RESOLVED")]


async def test_the_alerts_can_be_narrowed(live: Graph) -> None:
    team_id = await live.ready_team()
    data = await live.query("query($id: ID!) { team(id: $id) { project { id } } }", id=team_id)
    mine = await a_rule(live, "Mine", severity="CRITICAL", teamId=team_id)
    await a_rule(live, "Other")
    await a_failure(live, team_id)
    await evaluate(live)

    for narrow in ({"rule": mine}, {"project": data["team"]["project"]["id"]}, {"severities": ["CRITICAL"]}):
        async with Socket.to(live) as socket:
            assert _told(await anext(socket.results(ACTIVITY, **narrow))) == [("Mine", "FIRING")]


async def test_that_nothing_fires_is_told_as_such(live: Graph) -> None:
    async with Socket.to(live) as socket:
        assert _told(await anext(socket.results(ACTIVITY))) == []


@pytest.mark.parametrize(("argument", "kind"), [("project", "Project"), ("rule", "AlertRule")])
async def test_alerts_of_what_is_not_there_cannot_be_followed(live: Graph, argument: str, kind: str) -> None:
    strangers = await strangers_things(live)

    async with Socket.to(live) as socket:
        for identifier in (unknown(kind), strangers[kind], "nonsense"):
            payloads = [payload async for payload in socket.results(ACTIVITY, **{argument: identifier})]
            assert [error["extensions"] for error in payloads[0]["errors"]] == [
                {"code": "NOT_FOUND", "argument": [f"{argument}Id"]}
            ]
