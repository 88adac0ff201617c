"""Alert rules in the graph: made, changed, archived, restored, listed; and what is refused without a trace."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from domain.model.alert import MAX_ALERT_RULES, Alert, AlertMetric, AlertRule, AlertSeverity, AlertState, Evidence
from domain.model.identity import DEFAULT_TENANT, AlertRuleId, ExecutionId, TeamId, utc_now
from resolvers.node_ids import node_id, parse_node_id
from tests.support.graphql import Graph
from tests.support.histories import insert
from tests.support.things import MALFORMED, nothing_written, strangers_things, unknown

RULE = """
    alertRule { id version name metric unit threshold clearsAt windowSeconds minimumSamples severity isEnabled isSeed
        state stateSince archivedAt project { id } team { id } alerts { totalCount } }
"""


async def a_rule(graph: Graph, **values: Any) -> dict[str, Any]:
    given = {"name": "Queue", "metric": "QUEUE_DEPTH", "threshold": "20", **values}
    payload = await graph.mutate("createAlertRule", RULE, **given)
    assert payload["errors"] == [], payload["errors"]
    rule: dict[str, Any] = payload["alertRule"]
    return rule


def raw(identifier: str) -> UUID:
    return parse_node_id(identifier)[1]


async def an_alert(graph: Graph, rule: dict[str, Any], *evidence: Evidence, ago: float = 60, **values: Any) -> str:
    """The global id of an alert of the rule, as who evaluates it writes one."""
    given: dict[str, Any] = {"metric": AlertMetric[rule["metric"]], "severity": AlertSeverity.WARNING, **values}
    alert = Alert(
        DEFAULT_TENANT,
        AlertRuleId(raw(rule["id"])),
        threshold=Decimal(20),
        value=Decimal(21),
        peak=Decimal(25),
        last_value=Decimal(22),
        message="Too much.",
        fired_at=utc_now() - timedelta(seconds=ago),
        evidence=[each.as_document() for each in evidence],
        **given,
    )
    await insert(graph.container.database.pool, alert)
    return node_id("Alert", alert.id)


def refused(payload: dict[str, Any]) -> list[tuple[str, str, list[str]]]:
    assert payload["alertRule"] is None
    return [(error["__typename"], error["code"], error["path"]) for error in payload["errors"]]


# ---------------------------------------------------------------- making and editing


async def test_a_rule_has_what_was_given_and_the_rest_by_default(graph: Graph) -> None:
    rule = await a_rule(graph)

    assert rule.pop("id")
    assert rule == {
        "version": 1,
        "name": "Queue",
        "metric": "QUEUE_DEPTH",
        "unit": "COUNT",
        "threshold": "20",
        "clearsAt": "16",
        "windowSeconds": 300.0,
        "minimumSamples": 1,
        "severity": "WARNING",
        "isEnabled": True,
        "isSeed": False,
        "state": "OK",
        "stateSince": None,
        "archivedAt": None,
        "project": None,
        "team": None,
        "alerts": {"totalCount": 0},
    }


async def test_a_rule_of_a_team_is_one_of_its_project_as_well(graph: Graph) -> None:
    project_id = await graph.project()
    team_id = await graph.team(project_id)

    rule = await a_rule(
        graph, teamId=team_id, metric="FAILURE_RATE", threshold=0.25, clearsAt="0.1", windowSeconds=3600,
        minimumSamples=10, severity="CRITICAL", isEnabled=False,
    )  # fmt: skip

    assert (rule["project"], rule["team"]) == ({"id": project_id}, {"id": team_id})
    assert (rule["threshold"], rule["clearsAt"], rule["unit"]) == ("0.25", "0.1", "SHARE")
    assert (rule["minimumSamples"], rule["severity"], rule["isEnabled"]) == (10, "CRITICAL", False)
    assert await due(graph) == []


async def due(graph: Graph) -> list[str]:
    """The names of the rules that will be judged."""
    return [row[0] for row in await graph.container.database.pool.fetch(
        "SELECT name FROM alert_rule WHERE due_at IS NOT NULL ORDER BY name"
    )]  # fmt: skip


async def test_a_rule_is_changed_and_what_is_left_out_stays(graph: Graph) -> None:
    rule = await a_rule(graph, clearsAt="5")

    changed = await graph.mutate("updateAlertRule", RULE, id=rule["id"], version=1, threshold="10", severity="INFO")
    again = await graph.mutate("updateAlertRule", RULE, id=rule["id"], version=2, clearsAt=None)

    assert changed["errors"] == again["errors"] == []
    assert changed["alertRule"] == {**rule, "version": 2, "threshold": "10", "severity": "INFO"}
    assert again["alertRule"] == {**changed["alertRule"], "version": 3, "clearsAt": "8"}


async def test_a_rule_is_taken_out_of_use_and_back(graph: Graph) -> None:
    rule = await a_rule(graph)
    before = await due(graph)

    archived = await graph.mutate("archiveAlertRule", RULE, id=rule["id"])
    between = await due(graph)
    restored = await graph.mutate("restoreAlertRule", RULE, id=rule["id"])

    assert (before, between, await due(graph)) == (["Queue"], [], ["Queue"])
    assert archived["alertRule"]["archivedAt"] is not None
    assert restored["alertRule"] == {**rule, "version": 3}


@pytest.mark.parametrize("kind", ["Team", "Project"])
async def test_a_rule_of_what_is_archived_can_be_changed_and_disabled_but_not_enabled(graph: Graph, kind: str) -> None:
    project_id = await graph.project()
    looks_at = {"teamId": await graph.team(project_id)} if kind == "Team" else {"projectId": project_id}
    rule = await a_rule(graph, **looks_at)
    await graph.mutate(f"archive{kind}", "errors { code }", id=next(iter(looks_at.values())))

    renamed = await graph.mutate("updateAlertRule", RULE, id=rule["id"], version=1, name="Still")
    disabled = await graph.mutate("updateAlertRule", RULE, id=rule["id"], version=2, isEnabled=False)
    enabled = await graph.mutate("updateAlertRule", RULE, id=rule["id"], version=3, isEnabled=True)

    assert (renamed["errors"], disabled["errors"]) == ([], [])
    assert disabled["alertRule"] == {**rule, "version": 3, "name": "Still", "isEnabled": False}
    assert [error[1] for error in refused(enabled)] == ["ARCHIVED"]


async def test_disabling_a_rule_resolves_its_open_alert(graph: Graph) -> None:
    rule = await a_rule(graph)
    alert = await an_alert(graph, rule)

    payload = await graph.mutate("updateAlertRule", RULE, id=rule["id"], version=1, isEnabled=False)

    assert (payload["alertRule"]["state"], payload["alertRule"]["isEnabled"]) == ("RESOLVED", False)
    data = await graph.query("query($id: ID!) { alert(id: $id) { state resolvedAt } }", id=alert)
    assert data["alert"] == {"state": "RESOLVED", "resolvedAt": payload["alertRule"]["stateSince"]}


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("values", "paths"),
    [
        ({"name": " "}, [["input", "name"]]),
        ({"threshold": "-1"}, [["input", "threshold"]]),
        ({"clearsAt": "21"}, [["input", "clearsAt"]]),
        ({"windowSeconds": 59}, [["input", "windowSeconds"]]),
        ({"metric": "FAILURE_RATE", "threshold": "1"}, [["input", "threshold"]]),
        ({"minimumSamples": 0, "windowSeconds": 90_000}, [["input", "windowSeconds"], ["input", "minimumSamples"]]),
        ({"severity": None}, [["input", "severity"]]),
    ],
)
async def test_a_rule_that_cannot_hold_is_refused(graph: Graph, values: dict[str, Any], paths: list[list[str]]) -> None:
    given = {"name": "Queue", "metric": "QUEUE_DEPTH", "threshold": "20", **values}

    async with nothing_written(graph):
        payload = await graph.mutate("createAlertRule", RULE, **given)

    assert refused(payload) == [("Invalid", "INVALID", path) for path in paths]


async def test_a_name_is_unique_among_what_is_not_archived(graph: Graph) -> None:
    rule = await a_rule(graph)
    given = {"name": "Queue", "metric": "SPEND", "threshold": "20"}

    async with nothing_written(graph):
        taken = await graph.mutate("createAlertRule", RULE, **given)
    await graph.mutate("archiveAlertRule", "alertRule { id }", id=rule["id"])
    free = await graph.mutate("createAlertRule", RULE, **given)
    back = await graph.mutate("restoreAlertRule", RULE, id=rule["id"])

    assert refused(taken) == refused(back) == [("Conflict", "NAME_TAKEN", ["input", "name"])]
    assert taken["errors"][0]["message"] == "Another alert rule has this name already."
    assert free["errors"] == []


async def test_an_older_version_is_not_taken(graph: Graph) -> None:
    rule = await a_rule(graph)

    async with nothing_written(graph):
        payload = await graph.mutate("updateAlertRule", RULE, id=rule["id"], version=7, name="Other")

    assert refused(payload) == [("StaleVersion", "STALE_VERSION", ["input", "version"])]


async def test_a_team_of_another_project_is_refused(graph: Graph) -> None:
    team_id, other = await graph.team(), await graph.project()
    given = {"name": "Queue", "metric": "QUEUE_DEPTH", "threshold": "20"}

    async with nothing_written(graph):
        payload = await graph.mutate("createAlertRule", RULE, **given, teamId=team_id, projectId=other)

    assert refused(payload) == [("Invalid", "INVALID", ["input", "projectId"])]


@pytest.mark.parametrize(("kind", "path"), [("Project", "projectId"), ("Team", "teamId")])
async def test_what_is_archived_is_not_looked_at(graph: Graph, kind: str, path: str) -> None:
    project_id = await graph.project()
    found = {"Project": project_id, "Team": await graph.team(project_id)}[kind]
    await graph.mutate(f"archive{kind}", f"{kind.lower()} {{ id }}", id=found)
    given = {"name": "Queue", "metric": "QUEUE_DEPTH", "threshold": "20"}

    payload = await graph.mutate("createAlertRule", RULE, **given, **{path: found})

    assert refused(payload) == [("Conflict", "ARCHIVED", ["input", path])]


async def test_what_is_not_there_and_what_is_somebody_elses_look_the_same(graph: Graph) -> None:
    strangers = await strangers_things(graph)
    given = {"name": "Queue", "metric": "QUEUE_DEPTH", "threshold": "20"}

    async with nothing_written(graph):
        for identifier in (unknown("AlertRule"), strangers["AlertRule"], *MALFORMED):
            for name, more in (("update", {"version": 1}), ("archive", {}), ("restore", {})):
                payload = await graph.mutate(f"{name}AlertRule", RULE, id=identifier, **more)
                assert refused(payload) == [("NotFound", "NOT_FOUND", ["input", "id"])]
        for kind, path in (("Project", "projectId"), ("Team", "teamId")):
            for identifier in (unknown(kind), strangers[kind]):
                payload = await graph.mutate("createAlertRule", RULE, **given, **{path: identifier})
                assert refused(payload) == [("NotFound", "NOT_FOUND", ["input", path])]


async def test_a_tenant_has_so_many_rules_at_most(graph: Graph) -> None:
    pool = graph.container.database.pool
    for number in range(MAX_ALERT_RULES):
        await insert(pool, AlertRule(DEFAULT_TENANT, f"Rule {number}", AlertMetric.SPEND, Decimal(1)))

    async with nothing_written(graph):
        payload = await graph.mutate("createAlertRule", RULE, name="More", metric="SPEND", threshold="1")

    assert refused(payload) == [("Invalid", "INVALID", ["input", "name"])]


# ---------------------------------------------------------------- reading


async def test_rules_are_listed_by_what_is_asked_for(graph: Graph) -> None:
    project_id = await graph.project()
    await a_rule(graph, name="One")
    await a_rule(graph, name="Two", metric="SPEND", severity="CRITICAL", projectId=project_id)
    await a_rule(graph, name="Three", isEnabled=False)
    gone = await a_rule(graph, name="Gone")
    await graph.mutate("archiveAlertRule", "alertRule { id }", id=gone["id"])

    async def names(wanted: dict[str, Any] | None) -> list[str]:
        data = await graph.query(
            "query($filter: AlertRuleFilter) { alertRules(filter: $filter) { nodes { name } } }", filter=wanted
        )
        return [node["name"] for node in data["alertRules"]["nodes"]]

    assert await names(None) == ["Three", "Two", "One"]
    assert await names({"metric": {"in": ["SPEND"]}}) == ["Two"]
    assert await names({"severity": {"in": ["WARNING"]}, "isEnabled": True}) == ["One"]
    assert await names({"projectId": project_id}) == ["Two"]
    assert await names({"isArchived": True}) == ["Gone"]


async def test_alerts_are_listed_newest_first_with_what_can_be_done(graph: Graph) -> None:
    team_id = await graph.ready_team()
    execution_id = await graph.kickoff(team_id)
    rule = await a_rule(graph, metric="EXECUTION_SECONDS")
    running = Evidence("Runs.", ExecutionId(raw(execution_id)), TeamId(raw(team_id)), is_running=True)
    budget = Evidence("Spent.", limit_amount=Decimal("1.50"))
    newest = await an_alert(graph, rule, running, budget)
    now = utc_now()
    older = await an_alert(graph, rule, ago=600, state=AlertState.RESOLVED, resolved_at=now)
    other = await an_alert(graph, await a_rule(graph, name="Other"), ago=300, severity=AlertSeverity.CRITICAL)

    data = await graph.query(
        "{ alerts { totalCount nodes { id } } }",
    )
    page = await graph.query(
        """query($rule: ID!) { alerts(first: 1, filter: {ruleId: $rule}) { pageInfo { hasNextPage endCursor }
            nodes { state value peak lastValue threshold severity message rule { name }
                evidence { text execution { id } team { id } project { id } limit { amount } }
                suggestedActions { text mutation arguments } } } }""",
        rule=rule["id"],
    )
    after = await graph.query(
        "query($rule: ID!, $after: String) { alerts(after: $after, filter: {ruleId: $rule}) { nodes { id } } }",
        rule=rule["id"],
        after=page["alerts"]["pageInfo"]["endCursor"],
    )

    assert data["alerts"] == {"totalCount": 3, "nodes": [{"id": newest}, {"id": other}, {"id": older}]}
    [shown] = page["alerts"]["nodes"]
    assert page["alerts"]["pageInfo"]["hasNextPage"] is True
    assert after["alerts"]["nodes"] == [{"id": older}]
    assert (shown["threshold"], shown["value"], shown["peak"], shown["lastValue"]) == ("20", "21", "25", "22")
    assert shown["rule"] == {"name": "Queue"}
    assert shown["evidence"] == [
        {"text": "Runs.", "execution": {"id": execution_id}, "team": {"id": team_id}, "project": None, "limit": None},
        {"text": "Spent.", "execution": None, "team": None, "project": None, "limit": {"amount": "1.5"}},
    ]
    assert [(each["mutation"], each["arguments"]) for each in shown["suggestedActions"]] == [
        ("cancelExecution", {"executionId": execution_id}),
        ("optimizeTeam", {"teamId": team_id, "goal": "SPEED"}),
        (None, None),
    ]
    for wanted, found in (
        ({"severity": {"in": ["CRITICAL"]}}, [other]),
        ({"state": {"in": ["RESOLVED"]}}, [older]),
        ({"firedAt": {"gte": (now - timedelta(seconds=400)).isoformat()}}, [newest, other]),
    ):
        data = await graph.query(
            "query($filter: AlertFilter) { alerts(filter: $filter) { nodes { id } } }", filter=wanted
        )
        assert [node["id"] for node in data["alerts"]["nodes"]] == found
