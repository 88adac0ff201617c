"""Optimizations in the graph: proposed from history, applied, taken back, measured; and what is refused."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from domain.model.execution import ExecutionStatus, TaskExecutionStatus
from domain.model.history import TeamHistory
from domain.model.identity import TeamId, TenantId, utc_now
from resolvers.node_ids import parse_node_id
from tests.support.catalogue import a_worker
from tests.support.graphql import Graph, counted_statements
from tests.support.histories import Did, past_runs
from tests.support.things import MALFORMED, nothing_written, strangers_things, unknown

OPTIMIZATION = """
    id goal kind title explanation status canApply canUndo appliedAt undoneAt team { id }
    evidence { text value } expectedEffects { metric low high }
    changes { part partId name field before after }
    createdBy measuredEffects {
        metric before after beforeCost { amount } afterCost { amount } change executionsBefore executionsAfter message
    }
"""
PROPOSED = f"team {{ id }} message optimizations {{ {OPTIMIZATION} }}"
TEAM = "id version process roles { model } tasks { name dependsOn { id } }"
CHANGED = f"optimization {{ {OPTIMIZATION} }} team {{ {TEAM} }}"
DEAR, CHEAP = "openai/gpt-4.1", "openai/gpt-4.1-mini"


def raw(global_id: str) -> UUID:
    return parse_node_id(global_id)[1]


async def a_dear_team(graph: Graph, runs: int = 6) -> tuple[str, str, str]:
    """A team whose one role pins a dear model and does well: the ids of team, role and task."""
    await a_worker(graph, ["openai"])
    team_id = await graph.team()
    role_id = await graph.role(team_id, model=await a_model(graph, DEAR, "PREMIUM", "20"))
    await a_model(graph, CHEAP, "STANDARD", "2")
    task_id = await graph.task(team_id, roleId=role_id)
    await ran(graph, team_id, runs, Did(raw(role_id), raw(task_id), model=DEAR))
    return team_id, role_id, task_id


async def a_model(graph: Graph, name: str, tier: str, price: str) -> str:
    """An entry of the tenant's own, routed to before those that ship; its name."""
    await graph.make("Model", name=name, tier=tier, promptPrice=price, completionPrice=price, routingOrder=0)
    return name


async def ran(graph: Graph, team_id: str, count: int, *did: Did, **values: Any) -> None:
    """So many executions that are over, of a team that nobody edited since they were kicked off."""
    pool = graph.container.database.pool
    for table in ("team", "role", "task"):
        await pool.execute(f"UPDATE {table} SET updated_at = created_at - interval '30 days'")  # noqa: S608 - constants
    await past_runs(graph.container.database.pool, raw(team_id), count, *did, **values)


async def optimized(graph: Graph, team_id: str, goal: str = "COST", **values: Any) -> dict[str, Any]:
    payload = await graph.mutate("optimizeTeam", PROPOSED, teamId=team_id, goal=goal, **values)
    assert payload["errors"] == []
    return payload


async def done(graph: Graph, name: str, identifier: str) -> dict[str, Any]:
    payload = await graph.mutate(name, CHANGED, id=identifier)
    assert payload["errors"] == []
    return payload


async def listed(graph: Graph, team_id: str, **wanted: Any) -> list[dict[str, Any]]:
    query = """
        query($id: ID!, $filter: OptimizationFilter) { team(id: $id) {
            optimizations(filter: $filter) { totalCount nodes { id goal status } } } }
    """
    found = (await graph.query(query, id=team_id, filter=wanted or None))["team"]["optimizations"]
    assert found["totalCount"] == len(found["nodes"])
    nodes: list[dict[str, Any]] = found["nodes"]
    return nodes


async def roles_model(graph: Graph, team_id: str) -> str | None:
    data = await graph.query("query($id: ID!) { team(id: $id) { roles { model } } }", id=team_id)
    model: str | None = data["team"]["roles"][0]["model"]
    return model


def refused(payload: dict[str, Any]) -> list[tuple[str, str, list[str]]]:
    return [(error["__typename"], error["code"], error["path"]) for error in payload["errors"]]


# ---------------------------------------------------------------- proposing


@pytest.mark.parametrize(("runs", "counted"), [(0, "none is"), (4, "4 are")])
async def test_with_too_little_history_it_says_so(graph: Graph, runs: int, counted: str) -> None:
    team_id, _, _ = await a_dear_team(graph, runs)

    payload = await optimized(graph, team_id)

    assert payload["team"] == {"id": team_id}
    assert payload["optimizations"] == []
    assert payload["message"] == (
        f"There is too little history: 5 executions have to be completed or failed, and {counted}."
    )


async def test_a_proposal_has_its_evidence_what_is_expected_and_what_changes(graph: Graph) -> None:
    team_id, role_id, _ = await a_dear_team(graph)

    payload = await optimized(graph, team_id)

    assert payload["message"] is None
    [made] = payload["optimizations"]
    assert made.pop("id")
    assert made.pop("explanation").startswith("The tasks of “Analyst” pass.")
    assert made == {
        "goal": "COST",
        "kind": "CHEAPER_MODEL",
        "title": f"Let “Analyst” use {CHEAP}",
        "status": "PROPOSED",
        "canApply": True,
        "canUndo": False,
        "appliedAt": None,
        "undoneAt": None,
        "team": {"id": team_id},
        "evidence": [
            {"text": "“Analyst”: 6 of 6 tasks were completed.", "value": 1.0},
            {"text": f"With {DEAR}, 6 of 6 tasks were completed, for $0.1000 each.", "value": 0.1},
            {"text": f"With {CHEAP}, what is read and written would cost 10% of what it does.", "value": 0.1},
        ],
        "expectedEffects": [{"metric": "COST", "low": -0.9, "high": -0.45}],
        "changes": [
            {
                "part": "ROLE",
                "partId": role_id,
                "name": "Analyst",
                "field": "model",
                "before": DEAR,
                "after": CHEAP,
            }
        ],
        "createdBy": None,
        "measuredEffects": None,
    }
    assert await roles_model(graph, team_id) == DEAR  # nothing is changed before it is applied


async def test_a_new_proposal_supersedes_the_one_before_of_the_same_goal_alone(graph: Graph) -> None:
    team_id, _, _ = await a_dear_team(graph)
    [first] = (await optimized(graph, team_id))["optimizations"]

    assert (await optimized(graph, team_id, "SPEED"))["optimizations"] == []
    assert [each["status"] for each in await listed(graph, team_id)] == ["PROPOSED"]
    [second] = (await optimized(graph, team_id))["optimizations"]

    nodes = await listed(graph, team_id)
    assert [(each["id"], each["status"]) for each in nodes] == [
        (second["id"], "PROPOSED"),
        (first["id"], "SUPERSEDED"),
    ]
    assert [each["id"] for each in await listed(graph, team_id, status={"in": ["SUPERSEDED"]})] == [first["id"]]
    assert await listed(graph, team_id, goal={"in": ["SPEED", "PERFORMANCE"]}) == []


async def test_nothing_that_speaks_for_a_change_is_said_too(graph: Graph) -> None:
    team_id, _, _ = await a_dear_team(graph)

    payload = await optimized(graph, team_id, "PERFORMANCE")

    assert payload["message"] == ("Nothing in the last 6 executions that were completed or failed speaks for a change.")


async def test_an_equal_request_under_one_key_has_the_first_answer(graph: Graph) -> None:
    team_id, _, _ = await a_dear_team(graph)
    first = await optimized(graph, team_id, idempotencyKey="once")

    again = await optimized(graph, team_id, idempotencyKey="once")
    other = await graph.mutate("optimizeTeam", PROPOSED, teamId=team_id, goal="SPEED", idempotencyKey="once")

    assert again == first
    assert await graph.container.database.pool.fetchval("SELECT count(*) FROM optimization") == 1
    assert len(await listed(graph, team_id)) == 1
    assert refused(other) == [("Conflict", "IDEMPOTENCY_CONFLICT", ["input", "idempotencyKey"])]


async def test_an_equal_request_that_proposed_nothing_proposes_nothing_again(graph: Graph) -> None:
    team_id, role_id, task_id = await a_dear_team(graph, 1)
    await optimized(graph, team_id, idempotencyKey="once")
    await ran(graph, team_id, 6, Did(raw(role_id), raw(task_id), model=DEAR))

    again = await optimized(graph, team_id, idempotencyKey="once")

    assert again["optimizations"] == []
    assert again["message"].startswith("Nothing was proposed when this was first asked for;")
    assert await listed(graph, team_id) == []


class _Meanwhile:
    """Histories during whose reading somebody does something."""

    def __init__(self, histories: Any, act: Callable[[], Awaitable[Any]]) -> None:
        self.histories = histories
        self.act = act

    async def of_present_team(self, tenant_id: TenantId, team_id: TeamId, since: datetime | None = None) -> TeamHistory:
        await self.act()
        found: TeamHistory = await self.histories.of_present_team(tenant_id, team_id, since)
        return found


def meanwhile(graph: Graph, act: Callable[[], Awaitable[Any]]) -> None:
    """Let it be done while a history is read."""
    optimizations = graph.container.services.optimizations
    optimizations.histories = _Meanwhile(optimizations.histories, act)


async def test_nobody_waits_for_a_history_that_is_read_and_who_edits_meanwhile_is_heard(graph: Graph) -> None:
    team_id, role_id, _ = await a_dear_team(graph)

    async def edited() -> None:
        payload = await graph.mutate("updateRole", "role { id }", id=role_id, version=1, model="openai/gpt-4.1-nano")
        assert payload["errors"] == []

    meanwhile(graph, edited)

    payload = await graph.mutate("optimizeTeam", PROPOSED, teamId=team_id, goal="COST")

    assert refused(payload) == [("Conflict", "TEAM_CHANGED", ["input", "teamId"])]
    assert payload["errors"][0]["message"] == "The team has changed since this was asked for."
    assert await listed(graph, team_id) == []


async def test_a_kickoff_meanwhile_changes_nothing_of_the_team(graph: Graph) -> None:
    team_id, _, _ = await a_dear_team(graph)
    meanwhile(graph, lambda: graph.kickoff(team_id))

    assert len((await optimized(graph, team_id))["optimizations"]) == 1


async def test_an_equal_request_does_not_read_the_history_again(graph: Graph) -> None:
    team_id, _, _ = await a_dear_team(graph)
    first = await optimized(graph, team_id, idempotencyKey="once")

    async def read() -> None:
        pytest.fail("It was read.")

    meanwhile(graph, read)

    assert await optimized(graph, team_id, idempotencyKey="once") == first


# ---------------------------------------------------------------- applying and undoing


async def test_what_is_applied_changes_the_team_and_what_is_undone_changes_it_back(graph: Graph) -> None:
    team_id, _, _ = await a_dear_team(graph)
    [made] = (await optimized(graph, team_id))["optimizations"]

    applied = await done(graph, "applyOptimization", made["id"])

    shown = applied["optimization"]
    assert (shown["status"], shown["canApply"], shown["canUndo"], shown["undoneAt"]) == ("APPLIED", False, True, None)
    assert shown["appliedAt"]
    assert applied["team"]["roles"] == [{"model": CHEAP}]

    undone = await done(graph, "undoOptimization", made["id"])

    shown = undone["optimization"]
    assert (shown["status"], shown["canApply"], shown["canUndo"]) == ("UNDONE", False, False)
    assert shown["undoneAt"] > shown["appliedAt"]
    assert undone["team"]["roles"] == [{"model": DEAR}]


async def test_the_next_kickoff_runs_the_changed_team(graph: Graph) -> None:
    team_id, _, _ = await a_dear_team(graph)
    revision = "query($id: ID!) { execution(id: $id) { revision { number } } }"
    before = await graph.query(revision, id=await graph.kickoff(team_id))
    [made] = (await optimized(graph, team_id))["optimizations"]

    await done(graph, "applyOptimization", made["id"])

    after = await graph.query(revision, id=await graph.kickoff(team_id))
    assert after["execution"]["revision"]["number"] == before["execution"]["revision"]["number"] + 1


async def test_branches_are_applied_as_a_whole_and_taken_back(graph: Graph) -> None:
    team_id = await graph.team()
    names = ("Market", "Rivals", "Report")
    roles = [await graph.role(team_id, title=f"For {name}") for name in names]
    tasks = [
        await graph.task(team_id, name=name, roleId=role, description="Collect facts.")
        for name, role in zip(names, roles, strict=True)
    ]
    await ran(graph, team_id, 5, *(Did(raw(role), raw(task)) for task, role in zip(tasks, roles, strict=True)))
    [made] = (await optimized(graph, team_id, "SPEED"))["optimizations"]
    assert made["kind"] == "PARALLEL_BRANCHES"
    assert made["changes"][0] == {
        "part": "TEAM",
        "partId": team_id,
        "name": made["changes"][0]["name"],
        "field": "process",
        "before": "SEQUENTIAL",
        "after": "PARALLEL",
    }
    assert [(each["partId"], each["before"], sorted(each["after"])) for each in made["changes"][1:]] == [
        (tasks[2], [], sorted(tasks[:2]))
    ]

    applied = (await done(graph, "applyOptimization", made["id"]))["team"]

    assert applied["process"] == "PARALLEL"
    assert [sorted(one["id"] for one in each["dependsOn"]) for each in applied["tasks"]] == [[], [], sorted(tasks[:2])]

    undone = (await done(graph, "undoOptimization", made["id"]))["team"]

    assert (undone["process"], [each["dependsOn"] for each in undone["tasks"]]) == ("SEQUENTIAL", [[], [], []])


@pytest.mark.parametrize(("first", "name"), [((), "apply"), (("apply",), "undo")])
async def test_doing_it_twice_does_it_once(graph: Graph, first: tuple[str, ...], name: str) -> None:
    team_id, _, _ = await a_dear_team(graph)
    [made] = (await optimized(graph, team_id))["optimizations"]
    for each in first:
        await done(graph, f"{each}Optimization", made["id"])

    once = await done(graph, f"{name}Optimization", made["id"])

    async with nothing_written(graph):
        assert await done(graph, f"{name}Optimization", made["id"]) == once


async def test_two_that_apply_at_the_same_moment_apply_it_once(graph: Graph) -> None:
    team_id, role_id, _ = await a_dear_team(graph)
    [made] = (await optimized(graph, team_id))["optimizations"]

    answers = await asyncio.gather(*(done(graph, "applyOptimization", made["id"]) for _ in range(4)))

    assert {answer["optimization"]["appliedAt"] for answer in answers} == {answers[0]["optimization"]["appliedAt"]}
    data = await graph.query("query($id: ID!) { node(id: $id) { ... on Role { version } } }", id=role_id)
    assert data["node"]["version"] == 2


async def test_a_team_that_has_changed_since_is_left_alone(graph: Graph) -> None:
    team_id, role_id, _ = await a_dear_team(graph)
    [made] = (await optimized(graph, team_id))["optimizations"]
    await graph.mutate("updateRole", "role { id }", id=role_id, version=1, model="openai/gpt-4.1-nano")

    async with nothing_written(graph):
        payload = await graph.mutate("applyOptimization", CHANGED, id=made["id"])

    assert refused(payload) == [("Conflict", "TEAM_CHANGED", ["input", "id"])]
    assert (payload["optimization"], payload["team"]) == (None, None)
    assert payload["errors"][0]["message"] == "The team has changed since this was proposed."


@pytest.mark.parametrize("how", ["disabled", "gone"])
async def test_a_model_that_can_no_longer_be_had_is_not_applied(graph: Graph, how: str) -> None:
    team_id, _, _ = await a_dear_team(graph)
    [made] = (await optimized(graph, team_id))["optimizations"]
    pool = graph.container.database.pool
    if how == "disabled":
        await pool.execute("UPDATE model SET is_enabled = false WHERE name = $1", CHEAP)
    else:
        await pool.execute("UPDATE worker SET providers = '{}'")

    async with nothing_written(graph):
        payload = await graph.mutate("applyOptimization", CHANGED, id=made["id"])

    assert refused(payload) == [("Conflict", "CONFLICT", ["input", "id"])]
    assert payload["errors"][0]["message"].startswith(f"The model {CHEAP} cannot be used any more: ")


async def test_what_somebody_changed_since_is_not_taken_back(graph: Graph) -> None:
    team_id, role_id, _ = await a_dear_team(graph)
    [made] = (await optimized(graph, team_id))["optimizations"]
    await done(graph, "applyOptimization", made["id"])
    await graph.mutate("updateRole", "role { id }", id=role_id, version=2, model=DEAR)

    async with nothing_written(graph):
        payload = await graph.mutate("undoOptimization", CHANGED, id=made["id"])

    assert refused(payload) == [("Conflict", "TEAM_CHANGED", ["input", "id"])]
    assert payload["errors"][0]["message"] == "The team has changed since this was applied."


async def test_an_edit_of_something_else_is_in_nobodys_way(graph: Graph) -> None:
    team_id, role_id, _ = await a_dear_team(graph)
    [made] = (await optimized(graph, team_id))["optimizations"]
    await graph.mutate("updateRole", "role { id }", id=role_id, version=1, description="New.")

    await done(graph, "applyOptimization", made["id"])

    data = await graph.query("query($id: ID!) { node(id: $id) { ... on Role { model description } } }", id=role_id)
    assert data["node"] == {"model": CHEAP, "description": "New."}


@pytest.mark.parametrize(
    ("way", "name", "current"),
    [
        ((), "undo", "PROPOSED"),
        (("apply", "undo"), "apply", "UNDONE"),
        (("again",), "apply", "SUPERSEDED"),
        (("again",), "undo", "SUPERSEDED"),
    ],
)
async def test_what_cannot_follow_is_refused(graph: Graph, way: tuple[str, ...], name: str, current: str) -> None:
    team_id, _, _ = await a_dear_team(graph)
    [made] = (await optimized(graph, team_id))["optimizations"]
    for each in way:
        await (optimized(graph, team_id) if each == "again" else done(graph, f"{each}Optimization", made["id"]))

    async with nothing_written(graph):
        payload = await graph.mutate(f"{name}Optimization", CHANGED, id=made["id"])

    assert refused(payload) == [("InvalidTransition", "INVALID_TRANSITION", ["input", "id"])]
    assert payload["errors"][0]["from"] == current


async def test_proposals_that_no_longer_fit_are_superseded_by_what_is_applied(graph: Graph) -> None:
    team_id, role_id, task_id = await a_dear_team(graph, 0)
    await graph.mutate("updateTask", "task { id }", id=task_id, version=1, guardrail="It rhymes.")
    await ran(graph, team_id, 6, Did(raw(role_id), raw(task_id), model=DEAR))
    [cheaper] = (await optimized(graph, team_id))["optimizations"]
    await graph.container.database.pool.execute(  # as if it was proposed for another reason
        "INSERT INTO optimization SELECT tenant_id, gen_random_uuid(), team_id, 'PERFORMANCE', kind, title,"
        " explanation, evidence, effects, changes, status, now(), created_by, applied_at, undone_at FROM optimization"
    )

    await done(graph, "applyOptimization", cheaper["id"])

    assert {each["goal"]: each["status"] for each in await listed(graph, team_id)} == {
        "COST": "APPLIED",
        "PERFORMANCE": "SUPERSEDED",
    }


async def test_an_archived_team_is_not_optimized(graph: Graph) -> None:
    team_id, _, _ = await a_dear_team(graph)
    [made] = (await optimized(graph, team_id))["optimizations"]
    await graph.mutate("archiveTeam", "team { id }", id=team_id)

    async with nothing_written(graph):
        asked = await graph.mutate("optimizeTeam", PROPOSED, teamId=team_id, goal="COST")
        applied = await graph.mutate("applyOptimization", CHANGED, id=made["id"])

    assert refused(asked) == [("Conflict", "ARCHIVED", ["input", "teamId"])]
    assert refused(applied) == [("Conflict", "ARCHIVED", ["input", "id"])]


# ---------------------------------------------------------------- measuring


async def test_what_it_came_to_is_measured_against_what_was_before(graph: Graph) -> None:
    team_id, role_id, task_id = await a_dear_team(graph)
    [made] = (await optimized(graph, team_id))["optimizations"]
    await done(graph, "applyOptimization", made["id"])
    await _applied_ago(graph, days=1)
    cheaper = Did(raw(role_id), raw(task_id), model=CHEAP, cost="0.04")
    failed = Did(raw(role_id), raw(task_id), status=TaskExecutionStatus.FAILED, model=CHEAP)
    await ran(graph, team_id, 5, cheaper, seconds=30)
    await ran(graph, team_id, 5, failed, seconds=30)

    [cost, seconds, rate] = await _measured(graph, made["id"])

    assert (cost["metric"], cost["before"], cost["after"]) == ("COST", None, None)
    assert (cost["beforeCost"], cost["afterCost"]) == ({"amount": "0.1"}, {"amount": "0.04"})
    assert (rate["beforeCost"], rate["afterCost"]) == (None, None)
    assert cost["change"] == pytest.approx(-0.6)
    assert (seconds["before"], seconds["after"], seconds["change"]) == (60.0, 30.0, pytest.approx(-0.5))
    assert (rate["before"], rate["after"], rate["change"]) == (1.0, 0.5, -0.5)
    assert (rate["executionsBefore"], rate["executionsAfter"]) == (6, 10)
    assert cost["message"] == "The last 5 executions since, against the last 6 before."


async def test_while_there_is_too_little_it_says_so(graph: Graph) -> None:
    team_id, _, _ = await a_dear_team(graph)
    [made] = (await optimized(graph, team_id))["optimizations"]
    await done(graph, "applyOptimization", made["id"])

    [cost, *_] = await _measured(graph, made["id"])

    assert (cost["afterCost"], cost["change"]) == (None, None)
    assert cost["message"] == "Too few executions to compare: 6 before and none since, 5 of each needed."


async def test_executions_behind_its_undoing_and_cached_ones_do_not_count(graph: Graph) -> None:
    team_id, role_id, task_id = await a_dear_team(graph)
    [made] = (await optimized(graph, team_id))["optimizations"]
    await done(graph, "applyOptimization", made["id"])
    await done(graph, "undoOptimization", made["id"])
    await _applied_ago(graph, days=2, undone_days=1)
    did, now = Did(raw(role_id), raw(task_id)), utc_now()
    await ran(graph, team_id, 2, did)
    await ran(graph, team_id, 3, did, ended_at=now - timedelta(days=1, hours=2))
    await ran(graph, team_id, 1, did, ended_at=now - timedelta(days=1, hours=3), cached_from=UUID(int=1))
    await ran(graph, team_id, 1, did, ended_at=now - timedelta(days=1, hours=3), status=ExecutionStatus.CANCELLED)

    *_, rate = await _measured(graph, made["id"])

    assert (rate["executionsBefore"], rate["executionsAfter"]) == (6, 3)


async def test_after_a_change_older_executions_no_longer_speak(graph: Graph) -> None:
    team_id, _, _ = await a_dear_team(graph)
    [made] = (await optimized(graph, team_id))["optimizations"]
    await done(graph, "applyOptimization", made["id"])

    payload = await optimized(graph, team_id)

    assert payload["message"] == (
        "There is too little history: 5 executions have to be completed or failed, and none is."
        " Executions from before an optimization was last applied or undone do not count."
    )
    assert [each["status"] for each in await listed(graph, team_id)] == ["APPLIED"]


async def test_after_an_undo_neither_the_trial_nor_what_was_before_it_speaks(graph: Graph) -> None:
    team_id, role_id, task_id = await a_dear_team(graph)
    [made] = (await optimized(graph, team_id))["optimizations"]
    await done(graph, "applyOptimization", made["id"])
    await done(graph, "undoOptimization", made["id"])
    await _applied_ago(graph, days=2, undone_days=1)
    did = Did(raw(role_id), raw(task_id), model=DEAR)
    await ran(graph, team_id, 6, did, ended_at=utc_now() - timedelta(days=1, hours=2))  # the trial's

    assert "and none is." in (await optimized(graph, team_id))["message"]
    await ran(graph, team_id, 5, did)

    assert [each["kind"] for each in (await optimized(graph, team_id))["optimizations"]] == ["CHEAPER_MODEL"]


async def test_executions_that_were_kicked_off_before_it_was_applied_ran_the_old_team(graph: Graph) -> None:
    team_id, role_id, task_id = await a_dear_team(graph)
    [made] = (await optimized(graph, team_id))["optimizations"]
    await done(graph, "applyOptimization", made["id"])
    await ran(
        graph, team_id, 6, Did(raw(role_id), raw(task_id)), ended_at=utc_now() + timedelta(hours=9), seconds=86400
    )

    assert "and none is." in (await optimized(graph, team_id))["message"]


async def test_effects_of_many_are_measured_by_one_statement(graph: Graph) -> None:
    team_id, role_id, task_id = await a_dear_team(graph, 0)
    counts = []
    for _ in range(3):
        await ran(graph, team_id, 5, Did(raw(role_id), raw(task_id), model=DEAR))
        [made] = (await optimized(graph, team_id))["optimizations"]
        await done(graph, "applyOptimization", made["id"])
        await done(graph, "undoOptimization", made["id"])
        await _applied_ago(graph, days=2, undone_days=1)
        query = (
            "query($id: ID!) { team(id: $id) { optimizations { nodes { measuredEffects { change } team { id } } } } }"
        )
        with counted_statements(graph) as seen:
            await graph.query(query, id=team_id)
        counts.append(len(seen))

    assert counts == [counts[0]] * 3
    assert counts[0] <= 4


async def _applied_ago(graph: Graph, days: int, undone_days: int | None = None) -> None:
    """Let what was applied have been so long ago, and what went before it longer."""
    pool = graph.container.database.pool
    await pool.execute("UPDATE optimization SET applied_at = now() - make_interval(days => $1)", days)
    if undone_days is not None:
        await pool.execute("UPDATE optimization SET undone_at = now() - make_interval(days => $1)", undone_days)
    await pool.execute("UPDATE execution SET created_at = created_at - make_interval(days => $1)", days + 1)


async def _measured(graph: Graph, identifier: str) -> list[dict[str, Any]]:
    query = f"query($id: ID!) {{ node(id: $id) {{ ... on Optimization {{ {OPTIMIZATION} }} }} }}"
    found: list[dict[str, Any]] = (await graph.query(query, id=identifier))["node"]["measuredEffects"]
    return found


# ---------------------------------------------------------------- what is nobody's, or somebody else's


@pytest.mark.parametrize("name", ["applyOptimization", "undoOptimization"])
async def test_what_is_no_optimization_is_not_found(graph: Graph, name: str) -> None:
    team_id, _, _ = await a_dear_team(graph)

    async with nothing_written(graph):
        for identifier in (*MALFORMED, unknown("Optimization"), team_id):
            payload = await graph.mutate(name, CHANGED, id=identifier)
            assert refused(payload) == [("NotFound", "NOT_FOUND", ["input", "id"])]


async def test_what_is_no_team_is_not_found(graph: Graph) -> None:
    async with nothing_written(graph):
        for identifier in (*MALFORMED, unknown("Team"), unknown("Project")):
            payload = await graph.mutate("optimizeTeam", PROPOSED, teamId=identifier, goal="COST")
            assert refused(payload) == [("NotFound", "NOT_FOUND", ["input", "teamId"])]


@pytest.mark.parametrize("key", ["", " ", "x" * 201])
async def test_what_is_no_key_is_refused(graph: Graph, key: str) -> None:
    team_id, _, _ = await a_dear_team(graph)

    async with nothing_written(graph):
        payload = await graph.mutate("optimizeTeam", PROPOSED, teamId=team_id, goal="COST", idempotencyKey=key)

    assert refused(payload) == [("Invalid", "INVALID", ["input", "idempotencyKey"])]


async def test_a_strangers_optimization_is_not_there(graph: Graph) -> None:
    team_id, _, _ = await a_dear_team(graph)
    [made] = (await optimized(graph, team_id))["optimizations"]
    await strangers_things(graph)

    async with nothing_written(graph):
        asked = await graph.mutate("optimizeTeam", PROPOSED, teamId=team_id, goal="COST")
        applied = await graph.mutate("applyOptimization", CHANGED, id=made["id"])
    found = await graph.query("query($id: ID!) { node(id: $id) { id } }", id=made["id"])

    assert refused(asked) == [("NotFound", "NOT_FOUND", ["input", "teamId"])]
    assert refused(applied) == [("NotFound", "NOT_FOUND", ["input", "id"])]
    assert found == {"node": None}
