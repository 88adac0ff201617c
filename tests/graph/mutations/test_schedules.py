"""Schedules in the graph: made, edited, paused, fired by hand, made up for; and what is refused without a trace."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.services.firing import FireSchedules
from persistence.due_schedules import SqlDueSchedules
from persistence.unit_of_work import SqlUnitsOfWork
from resolvers.node_ids import node_id
from tests.support.graphql import Graph
from tests.support.things import MALFORMED, nothing_written, strangers_things, unknown

SCHEDULE = """
    schedule { id version name cron timeZone overlap catchUpSeconds inputs isPaused pausedAt nextFireAt archivedAt
        configuration { maxIterations executionTimeoutSeconds taskTimeoutSeconds qualityPreference
            maxBudget { amount currency } maxTaskBudget { amount } priority }
        team { id } lastFire { id } fires { nodes { id } } }
"""
SELDOM = "0 3 29 2 *"
"""For who compares two times of its next fire: it hardly comes between them."""
FIRE = "fire { id kind outcome message missedSince schedule { id } execution { id status scheduleFire { id } } }"


async def a_schedule(graph: Graph, team_id: str | None = None, /, **values: Any) -> dict[str, Any]:
    given = {"name": "Nightly", "cron": "0 3 * * *", **values}
    return await graph.make("Schedule", "id version nextFireAt", teamId=team_id or await graph.ready_team(), **given)


async def fire_due(graph: Graph) -> int:
    """What a worker's duty does in one round."""
    container = graph.container
    units = SqlUnitsOfWork(container.database.engine)
    return await FireSchedules(units, SqlDueSchedules(container.database.pool), container.hints).fire()


def refused(payload: dict[str, Any]) -> list[tuple[str, str, list[str]]]:
    return [(error["__typename"], error["code"], error["path"]) for error in payload["errors"]]


def hours_ago(*counts: int) -> list[str]:
    """The beginnings of hours so long ago, by one look at the clock: two may see different hours."""
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    return [(hour - timedelta(hours=count)).isoformat() for count in counts]


# ---------------------------------------------------------------- making and editing


async def test_a_schedule_has_what_was_given_and_the_rest_by_default(graph: Graph) -> None:
    team_id = await graph.ready_team()
    before = datetime.now(UTC).isoformat()

    payload = await graph.mutate(
        "createSchedule",
        SCHEDULE,
        teamId=team_id,
        name="Report",
        cron="30 9 * * MON-FRI",
        timeZone="Europe/Berlin",
        inputs={"topic": "sales"},
        configuration={"priority": 8, "maxBudget": "1.50"},
    )

    assert payload["errors"] == []
    schedule = payload["schedule"]
    assert schedule.pop("id")
    assert schedule.pop("nextFireAt") > before
    assert schedule == {
        "version": 1,
        "name": "Report",
        "cron": "30 9 * * MON-FRI",
        "timeZone": "Europe/Berlin",
        "overlap": "SKIP",
        "catchUpSeconds": 3600.0,
        "inputs": {"topic": "sales"},
        "isPaused": False,
        "pausedAt": None,
        "archivedAt": None,
        "configuration": {
            "maxIterations": None,
            "executionTimeoutSeconds": None,
            "taskTimeoutSeconds": None,
            "qualityPreference": "BALANCED",
            "maxBudget": {"amount": "1.5", "currency": "USD"},
            "maxTaskBudget": None,
            "priority": 8,
        },
        "team": {"id": team_id},
        "lastFire": None,
        "fires": {"nodes": []},
    }


async def test_a_schedule_is_found_by_its_id_and_among_those_of_its_team(graph: Graph) -> None:
    team_id = await graph.ready_team()
    schedule = await a_schedule(graph, team_id)

    data = await graph.query(
        "query($id: ID!, $team: ID!) { node(id: $id) { __typename id }"
        " team(id: $team) { schedules { totalCount nodes { id } } } }",
        id=schedule["id"],
        team=team_id,
    )

    assert data == {
        "node": {"__typename": "Schedule", "id": schedule["id"]},
        "team": {"schedules": {"totalCount": 1, "nodes": [{"id": schedule["id"]}]}},
    }


async def test_the_next_fires_can_be_seen_before_they_come(graph: Graph) -> None:
    schedule = await a_schedule(graph, cron="0 0 1 1 *", timeZone="Asia/Tokyo")

    data = await graph.query(
        "query($id: ID!) { node(id: $id) { ... on Schedule { nextFires(count: 3) } } }", id=schedule["id"]
    )

    years = [int(each[:4]) for each in data["node"]["nextFires"]]
    assert years == [years[0], years[0] + 1, years[0] + 2]
    assert [each[4:19] for each in data["node"]["nextFires"]] == ["-12-31T15:00:00"] * 3


@pytest.mark.parametrize("count", [0, 21])
async def test_so_many_next_fires_are_refused(graph: Graph, count: int) -> None:
    schedule = await a_schedule(graph)

    answer = await graph.answer(
        "query($id: ID!, $count: Int!) { node(id: $id) { ... on Schedule { nextFires(count: $count) } } }",
        id=schedule["id"],
        count=count,
    )

    assert [error["message"] for error in answer["errors"]] == ["Must be between 1 and 20."]


async def test_an_operation_is_told_so_many_next_fires_and_no_more(graph: Graph) -> None:
    team_id = await graph.ready_team()
    for minute in range(10):
        await a_schedule(graph, team_id, name=f"At {minute}", cron=f"{minute} 0 * * *")

    async def answer(counts: range) -> dict[str, Any]:
        aliases = " ".join(f"a{count}: nextFires(count: {count})" for count in counts)
        query = f"query($id: ID!) {{ team(id: $id) {{ schedules(first: 20) {{ nodes {{ {aliases} }} }} }} }}"
        return await graph.answer(query, id=team_id)

    enough, too_many = await answer(range(7, 14)), await answer(range(1, 21))

    nodes = enough["data"]["team"]["schedules"]["nodes"]
    assert [[len(fires) for fires in node.values()] for node in nodes] == [list(range(7, 14))] * 10
    assert {error["extensions"]["code"] for error in too_many["errors"]} == {"TOO_LARGE"}


async def test_a_new_timetable_sets_the_clock_anew_and_another_edit_leaves_it(graph: Graph) -> None:
    schedule = await a_schedule(graph)

    renamed = await graph.mutate("updateSchedule", SCHEDULE, id=schedule["id"], version=1, name="Other")
    moved = await graph.mutate("updateSchedule", SCHEDULE, id=schedule["id"], version=2, cron="0 4 * * *")

    assert renamed["schedule"]["nextFireAt"] == schedule["nextFireAt"]
    assert moved["schedule"]["nextFireAt"][11:16] == "04:00"


async def test_an_edit_on_an_older_version_is_refused(graph: Graph) -> None:
    schedule = await a_schedule(graph)
    await graph.mutate("updateSchedule", SCHEDULE, id=schedule["id"], version=1, name="Other")

    async with nothing_written(graph):
        payload = await graph.mutate("updateSchedule", SCHEDULE, id=schedule["id"], version=1, name="Third")

    assert refused(payload) == [("StaleVersion", "STALE_VERSION", ["input", "version"])]


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"cron": "every day"}, ["input", "cron"]),
        ({"timeZone": "Mars/Olympus"}, ["input", "timeZone"]),
        ({"timeZone": None}, ["input", "timeZone"]),
        ({"catchUpSeconds": 1.0}, ["input", "catchUpSeconds"]),
        ({"inputs": [1]}, ["input", "inputs"]),
        ({"configuration": {"priority": 77}}, ["input", "configuration", "priority"]),
        ({"configuration": {"maxIterations": 0}}, ["input", "configuration", "maxIterations"]),
        ({"configuration": {"executionTimeoutSeconds": 0}}, ["input", "configuration", "executionTimeoutSeconds"]),
        ({"configuration": {"taskTimeoutSeconds": 0}}, ["input", "configuration", "taskTimeoutSeconds"]),
        ({"configuration": {"maxBudget": "-1"}}, ["input", "configuration", "maxBudget"]),
        ({"configuration": {"maxTaskBudget": "-1"}}, ["input", "configuration", "maxTaskBudget"]),
    ],
)
async def test_what_breaks_a_rule_is_refused(graph: Graph, values: dict[str, Any], path: list[str]) -> None:
    team_id = await graph.ready_team()
    given = {"teamId": team_id, "name": "Nightly", "cron": "0 3 * * *", **values}

    async with nothing_written(graph):
        payload = await graph.mutate("createSchedule", SCHEDULE, **given)

    assert refused(payload) == [("Invalid", "INVALID", path)]


async def test_a_name_is_unique_in_its_team_until_it_is_archived(graph: Graph) -> None:
    team_id = await graph.ready_team()
    first = await a_schedule(graph, team_id)
    given = {"teamId": team_id, "name": "Nightly", "cron": "0 3 * * *"}

    taken = await graph.mutate("createSchedule", SCHEDULE, **given)
    await graph.mutate("archiveSchedule", "schedule { id }", id=first["id"])
    free = await graph.mutate("createSchedule", SCHEDULE, **given)

    assert refused(taken) == [("Conflict", "NAME_TAKEN", ["input", "name"])]
    assert free["errors"] == []


async def test_a_schedule_of_an_archived_team_can_be_archived_and_not_be_made(graph: Graph) -> None:
    team_id = await graph.ready_team()
    schedule = await a_schedule(graph, team_id)
    await graph.mutate("archiveTeam", "team { id }", id=team_id)

    made = await graph.mutate("createSchedule", SCHEDULE, teamId=team_id, name="Other", cron="0 3 * * *")
    archived = await graph.mutate("archiveSchedule", SCHEDULE, id=schedule["id"])

    assert refused(made) == [("Conflict", "ARCHIVED", ["input", "teamId"])]
    assert archived["errors"] == []
    assert archived["schedule"]["nextFireAt"] is None


async def test_a_restored_schedule_fires_from_now_on(graph: Graph) -> None:
    schedule = await a_schedule(graph, cron=SELDOM)
    await graph.mutate("archiveSchedule", "schedule { id }", id=schedule["id"])

    payload = await graph.mutate("restoreSchedule", SCHEDULE, id=schedule["id"])

    assert payload["schedule"]["nextFireAt"] == schedule["nextFireAt"]


# ---------------------------------------------------------------- pausing


async def test_pausing_and_resuming_are_each_done_once(graph: Graph) -> None:
    schedule = await a_schedule(graph, cron=SELDOM)

    paused = await graph.mutate("pauseSchedule", SCHEDULE, id=schedule["id"])
    async with nothing_written(graph):
        again = await graph.mutate("pauseSchedule", SCHEDULE, id=schedule["id"])
    resumed = await graph.mutate("resumeSchedule", SCHEDULE, id=schedule["id"])
    async with nothing_written(graph):
        await graph.mutate("resumeSchedule", SCHEDULE, id=schedule["id"])

    assert paused == again
    assert (paused["schedule"]["isPaused"], paused["schedule"]["nextFireAt"]) == (True, None)
    assert (resumed["schedule"]["isPaused"], resumed["schedule"]["nextFireAt"]) == (False, schedule["nextFireAt"])
    assert resumed["schedule"]["version"] == 3


# ---------------------------------------------------------------- firing


async def test_what_a_schedule_started_is_told_from_both_ends(graph: Graph) -> None:
    schedule = await a_schedule(graph, cron="* * * * *")
    await graph.container.database.pool.execute("UPDATE schedule SET next_fire_at = date_trunc('minute', now())")
    assert await fire_due(graph) == 1

    data = await graph.query(
        "query($id: ID!) { node(id: $id) { ... on Schedule { lastFire { id kind outcome firedAt scheduledFor"
        " execution { status scheduleFire { id schedule { id } } } } fires { totalCount nodes { id } } } } }",
        id=schedule["id"],
    )

    fire = data["node"]["lastFire"]
    assert data["node"]["fires"] == {"totalCount": 1, "nodes": [{"id": fire["id"]}]}
    assert (fire["kind"], fire["outcome"]) == ("DUE", "STARTED")
    assert fire["scheduledFor"] <= fire["firedAt"]
    assert fire["execution"] == {
        "status": "QUEUED",
        "scheduleFire": {"id": fire["id"], "schedule": {"id": schedule["id"]}},
    }


async def test_an_execution_that_somebody_kicked_off_has_no_fire(graph: Graph) -> None:
    execution_id = await graph.kickoff(await graph.ready_team())

    data = await graph.query("query($id: ID!) { execution(id: $id) { scheduleFire { id } } }", id=execution_id)

    assert data["execution"] == {"scheduleFire": None}


async def test_fires_are_filtered_by_what_became_of_them(graph: Graph) -> None:
    schedule = await a_schedule(graph)
    await graph.mutate("triggerSchedule", FIRE, id=schedule["id"])
    query = (
        "query($id: ID!, $in: [FireOutcome!]) { node(id: $id) { ... on Schedule {"
        " fires(filter: {outcome: {in: $in}}) { nodes { outcome } } } } }"
    )

    started = await graph.query(query, id=schedule["id"], **{"in": ["STARTED"]})
    others = await graph.query(query, id=schedule["id"], **{"in": ["FAILED", "MISSED"]})

    assert started["node"]["fires"]["nodes"] == [{"outcome": "STARTED"}]
    assert others["node"]["fires"]["nodes"] == []


async def test_a_paused_schedule_fires_when_somebody_asks_for_it(graph: Graph) -> None:
    schedule = await a_schedule(graph)
    await graph.mutate("pauseSchedule", "schedule { id }", id=schedule["id"])

    payload = await graph.mutate("triggerSchedule", FIRE, id=schedule["id"])

    assert payload["errors"] == []
    fire = payload["fire"]
    assert fire == {
        "id": fire["id"],
        "kind": "TRIGGER",
        "outcome": "STARTED",
        "message": None,
        "missedSince": None,
        "schedule": {"id": schedule["id"]},
        "execution": {"id": fire["execution"]["id"], "status": "QUEUED", "scheduleFire": {"id": fire["id"]}},
    }


async def test_the_same_key_gives_the_first_fire_again(graph: Graph) -> None:
    schedule = await a_schedule(graph, overlap="PARALLEL")

    payloads = await asyncio.gather(
        *(graph.mutate("triggerSchedule", FIRE, id=schedule["id"], idempotencyKey="k") for _ in range(4))
    )
    other = await graph.mutate("triggerSchedule", FIRE, id=schedule["id"], idempotencyKey="l")

    assert [payload["errors"] for payload in payloads] == [[]] * 4
    assert len({payload["fire"]["id"] for payload in payloads}) == 1
    assert other["fire"]["id"] != payloads[0]["fire"]["id"]


async def test_the_same_key_for_another_schedule_is_a_conflict(graph: Graph) -> None:
    team_id = await graph.ready_team()
    one, other = await a_schedule(graph, team_id), await a_schedule(graph, team_id, name="Other")
    await graph.mutate("triggerSchedule", FIRE, id=one["id"], idempotencyKey="k")

    async with nothing_written(graph):
        payload = await graph.mutate("triggerSchedule", FIRE, id=other["id"], idempotencyKey="k")

    assert refused(payload) == [("Conflict", "IDEMPOTENCY_CONFLICT", ["input", "idempotencyKey"])]


async def test_a_fire_by_hand_is_refused_while_an_earlier_execution_is_in_its_way(graph: Graph) -> None:
    schedule = await a_schedule(graph)
    await graph.mutate("triggerSchedule", FIRE, id=schedule["id"])

    async with nothing_written(graph):
        payload = await graph.mutate("triggerSchedule", FIRE, id=schedule["id"])

    assert refused(payload) == [("Conflict", "CONFLICT", ["input", "id"])]
    assert payload["errors"][0]["message"] == "An earlier execution of this schedule is not over."


async def test_a_kickoff_that_is_refused_refuses_the_fire_by_hand_and_uses_up_no_key(graph: Graph) -> None:
    team_id = await graph.team()
    schedule = await a_schedule(graph, team_id)

    async with nothing_written(graph):
        payload = await graph.mutate("triggerSchedule", FIRE, id=schedule["id"], idempotencyKey="k")
    await graph.role(team_id)

    assert refused(payload) == [("Refused", "NO_ACTIVE_ROLE", ["input", "id"])]
    assert (await graph.mutate("triggerSchedule", FIRE, id=schedule["id"], idempotencyKey="k"))["errors"] == []


# ---------------------------------------------------------------- making up


async def test_a_time_that_is_over_is_made_up_and_can_be_forgotten(graph: Graph) -> None:
    schedule = await a_schedule(graph, cron="0 * * * *")
    beginning, end = hours_ago(3, 0)
    given = {"id": schedule["id"], "from": beginning, "to": end}
    selection = "count schedule { fires(filter: {outcome: {in: [PENDING]}}) { nodes { kind outcome firedAt } } }"

    planned = await graph.mutate("backfillSchedule", selection, **given)
    async with nothing_written(graph):
        again = await graph.mutate("backfillSchedule", selection, **given)
    forgotten = await graph.mutate("cancelBackfill", selection, id=schedule["id"])

    waiting = [{"kind": "BACKFILL", "outcome": "PENDING", "firedAt": None}] * 3
    assert planned == {"count": 3, "schedule": {"fires": {"nodes": waiting}}, "errors": []}
    assert again == {"count": 0, "schedule": {"fires": {"nodes": waiting}}, "errors": []}
    assert forgotten == {"count": 3, "schedule": {"fires": {"nodes": []}}, "errors": []}


@pytest.mark.parametrize(
    ("since", "until", "path"),
    [
        (1, 1, ["input", "to"]),
        (1, -2, ["input", "to"]),
        (24 * 3700, 0, ["input", "from"]),
        (1001, 0, ["input", "to"]),
    ],
)
async def test_a_range_that_is_none_or_not_over_or_too_long_is_refused(
    graph: Graph, since: int, until: int, path: list[str]
) -> None:
    schedule = await a_schedule(graph, cron="0 * * * *")
    beginning, end = hours_ago(since, until)

    async with nothing_written(graph):
        payload = await graph.mutate("backfillSchedule", "count", id=schedule["id"], **{"from": beginning, "to": end})

    assert refused(payload) == [("Invalid", "INVALID", path)]


async def test_what_waits_already_counts_among_the_most_that_may(graph: Graph) -> None:
    schedule = await a_schedule(graph, cron="0 * * * *")
    before, beginning, end = hours_ago(1001, 1000, 0)
    first, more = {"from": beginning, "to": end}, {"from": before, "to": beginning}
    planned = await graph.mutate("backfillSchedule", "count", id=schedule["id"], **first)

    async with nothing_written(graph):
        payload = await graph.mutate("backfillSchedule", "count", id=schedule["id"], **more)

    assert (planned["count"], planned["errors"]) == (1000, [])
    assert refused(payload) == [("Invalid", "INVALID", ["input", "to"])]


# ---------------------------------------------------------------- what is not there, or not in use

ACTIONS: dict[str, dict[str, Any]] = {
    "updateSchedule": {"version": 1},
    "archiveSchedule": {},
    "restoreSchedule": {},
    "pauseSchedule": {},
    "resumeSchedule": {},
    "triggerSchedule": {},
    "backfillSchedule": {"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T01:00:00Z"},
    "cancelBackfill": {},
}


@pytest.mark.parametrize("action", sorted(ACTIONS))
async def test_nobody_reaches_a_schedule_that_is_not_theirs(graph: Graph, action: str) -> None:
    await a_schedule(graph)
    await strangers_things(graph)
    identifier = await graph.container.database.pool.fetchval("SELECT id FROM schedule")
    theirs = node_id("Schedule", identifier)

    async with nothing_written(graph):
        for wanted in (theirs, unknown("Schedule"), *MALFORMED):
            payload = await graph.mutate(action, "__typename", id=wanted, **ACTIONS[action])
            assert refused(payload) == [("NotFound", "NOT_FOUND", ["input", "id"])]


@pytest.mark.parametrize("action", ["updateSchedule", "pauseSchedule", "resumeSchedule", "triggerSchedule"])
async def test_an_archived_schedule_is_restored_before_anything_else(graph: Graph, action: str) -> None:
    schedule = await a_schedule(graph)
    await graph.mutate("archiveSchedule", "schedule { id }", id=schedule["id"])

    async with nothing_written(graph):
        given = {"version": 2} if action == "updateSchedule" else {}
        payload = await graph.mutate(action, "__typename", id=schedule["id"], **given)

    assert refused(payload) == [("Conflict", "ARCHIVED", ["input", "id"])]
