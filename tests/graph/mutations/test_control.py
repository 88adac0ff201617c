"""Control: cancel, pause, resume, retry, fork, and changes of what was not begun; each alone, repeated and refused."""

import asyncio
import time
from typing import Any

import psycopg
import pytest
import uuid6

from domain.services import cancelling
from persistence.engine import Database
from resolvers.node_ids import parse_node_id
from tests.support.fakes import unavailable
from tests.support.graphql import Graph
from tests.support.ledger import an_entry, book
from tests.support.live import PlayedWorker
from tests.support.things import nothing_written

STATE = "execution { id status canCancel canPause canResume canRetry isFinal pauseRequestedAt }"
EVENTS = "query($id: ID!) { execution(id: $id) { events(first: 100) { nodes { __typename sequence } } } }"


async def _kinds(graph: Graph, execution_id: str) -> list[str]:
    nodes = (await graph.query(EVENTS, id=execution_id))["execution"]["events"]["nodes"]
    assert [node["sequence"] for node in nodes] == list(range(1, len(nodes) + 1))
    return [node["__typename"] for node in nodes]


async def _places(database: Database, execution_id: str) -> list[tuple[str | None, int, bool]]:
    rows = await database.pool.fetch(
        "SELECT worker_id, priority, is_alone FROM admission WHERE execution_id = $1", parse_node_id(execution_id)[1]
    )
    return [tuple(row) for row in rows]


async def _status(graph: Graph, name: str, execution_id: str, **values: Any) -> str:
    payload = await graph.mutate(name, "execution { status }", executionId=execution_id, **values)
    assert payload["errors"] == []
    return str(payload["execution"]["status"])


def _no_way(current: str, wanted: str, allowed: list[str]) -> dict[str, Any]:
    return {
        "__typename": "InvalidTransition",
        "message": f"An execution that is {current} cannot become {wanted}.",
        "code": "INVALID_TRANSITION",
        "path": ["input", "executionId"],
        "suggestion": None,
        "from": current,
        "to": wanted,
        "allowed": allowed,
    }


async def _team_of(graph: Graph, *names: str, **values: Any) -> tuple[str, str]:
    """A team with a role and tasks of these names; the ids of both."""
    team_id = await graph.team(**values)
    role_id = await graph.role(team_id)
    for position, name in enumerate(names):
        await graph.task(team_id, roleId=role_id, name=name, position=position, description=f"{name} for {{who}}.")
    return team_id, role_id


# ---------------------------------------------------------------- cancelling

CANCELLATION = """execution { status isFinal canCancel allowedTransitions timing { finishedAt }
    taskExecutions { status } events { nodes { __typename ... on ExecutionCancelled { completedTasks } } }
    cancellation { requestedAt requestedIn stage doneTasks costAfterRequest { amount } } }"""


async def test_a_queued_execution_is_cancelled_at_once_and_leaves_the_queue(graph: Graph, database: Database) -> None:
    execution_id = await graph.kickoff(await graph.ready_team())

    payload = await graph.mutate("cancelExecution", CANCELLATION, executionId=execution_id)

    assert payload["errors"] == []
    execution = payload["execution"]
    assert execution["cancellation"].pop("requestedAt") == execution.pop("timing")["finishedAt"] != None  # noqa: E711
    assert execution == {
        "status": "CANCELLED",
        "isFinal": True,
        "canCancel": False,
        "allowedTransitions": [],
        "taskExecutions": [{"status": "CANCELLED"}],
        "events": {
            "nodes": [
                {"__typename": "ExecutionQueued"},
                {"__typename": "ExecutionCancelRequested"},
                {"__typename": "ExecutionCancelled", "completedTasks": 0},
            ]
        },
        "cancellation": {
            "requestedIn": "QUEUED",
            "stage": "0 of 1 tasks were done; none was under way.",
            "doneTasks": 0,
            "costAfterRequest": {"amount": "0"},
        },
    }
    assert await _places(database, execution_id) == []


async def test_a_running_execution_stops_when_its_worker_lets_go_and_tells_what_it_cost_meanwhile(
    graph: Graph, database: Database
) -> None:
    execution_id = await graph.kickoff(await graph.ready_team())
    worker = await PlayedWorker.on(graph, database, execution_id)
    await worker.starts()
    await book(worker, an_entry(worker, "0.50"))

    asked = await graph.mutate("cancelExecution", "execution { status canCancel isFinal }", executionId=execution_id)
    await book(worker, an_entry(worker, "0.25"))
    await worker.cancels()
    again = await graph.mutate("cancelExecution", CANCELLATION, executionId=execution_id)

    assert asked == {"execution": {"status": "CANCELLING", "canCancel": False, "isFinal": False}, "errors": []}
    execution = again["execution"]
    assert (execution["status"], again["errors"]) == ("CANCELLED", [])
    assert execution["cancellation"]["requestedIn"] == "RUNNING"
    assert execution["cancellation"]["costAfterRequest"] == {"amount": "0.25"}
    stage = execution["cancellation"]["stage"]
    assert stage.startswith("0 of 1 tasks were done; under way: “Task ")


async def test_a_second_cancel_changes_nothing_and_gives_the_execution_as_it_is(
    graph: Graph, database: Database
) -> None:
    stopping, stopped = [await graph.kickoff(await graph.ready_team()) for _ in range(2)]
    await PlayedWorker.on(graph, database, stopping)
    assert await _status(graph, "cancelExecution", stopping) == "CANCELLING"
    assert await _status(graph, "cancelExecution", stopped) == "CANCELLED"

    async with nothing_written(graph):
        assert await _status(graph, "cancelExecution", stopping) == "CANCELLING"
        assert await _status(graph, "cancelExecution", stopped) == "CANCELLED"


async def test_of_many_cancels_at_once_one_does_it_and_all_are_told_the_same(graph: Graph) -> None:
    execution_id = await graph.kickoff(await graph.ready_team())

    states = await asyncio.gather(*(_status(graph, "cancelExecution", execution_id) for _ in range(4)))

    assert states == ["CANCELLED"] * 4
    assert (await _kinds(graph, execution_id)).count("ExecutionCancelled") == 1


async def test_what_a_worker_was_given_but_has_not_begun_is_cancelled_at_once(graph: Graph, database: Database) -> None:
    execution_id = await graph.kickoff(await graph.ready_team())
    await database.pool.execute("UPDATE admission SET worker_id = 'slow'")

    assert await _status(graph, "cancelExecution", execution_id) == "CANCELLED"
    assert await _places(database, execution_id) == []


async def test_a_paused_and_a_lost_execution_are_cancelled_at_once_with_the_tasks_that_were_done(
    graph: Graph, database: Database
) -> None:
    team_id, _ = await _team_of(graph, "One", "Two")
    paused, lost = [await graph.kickoff(team_id, inputs={"who": "us"}) for _ in range(2)]
    for execution_id in (paused, lost):
        worker = await PlayedWorker.on(graph, database, execution_id)
        await worker.completes(0, "Done.")
        if execution_id == paused:
            await graph.mutate("pauseExecution", "execution { id }", executionId=paused)
            await worker.pauses()
    await database.pool.execute("UPDATE admission SET worker_id = NULL")  # its worker was lost

    for execution_id, found_in in ((paused, "PAUSED"), (lost, "RUNNING")):
        payload = await graph.mutate("cancelExecution", CANCELLATION, executionId=execution_id)
        execution = payload["execution"]
        assert (execution["status"], execution["cancellation"]["requestedIn"]) == ("CANCELLED", found_in)
        assert [task["status"] for task in execution["taskExecutions"]] == ["COMPLETED", "CANCELLED"]
        assert execution["events"]["nodes"][-1] == {"__typename": "ExecutionCancelled", "completedTasks": 1}
        assert execution["cancellation"]["doneTasks"] == 1


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED"])
async def test_an_execution_that_ended_otherwise_cannot_be_cancelled(graph: Graph, status: str) -> None:
    execution_id = await graph.kickoff(await graph.ready_team())
    await graph.container.database.pool.execute("UPDATE execution SET status = $1, finished_at = now()", status)

    async with nothing_written(graph):
        payload = await graph.mutate("cancelExecution", "execution { id }", executionId=execution_id)

    assert payload == {"execution": None, "errors": [_no_way(status, "CANCELLED", [])]}


# ---------------------------------------------------------------- cancelling many

BULK = "executions { id status } count hasMore"


async def test_all_that_meet_a_filter_are_cancelled_and_nothing_else(graph: Graph, database: Database) -> None:
    team_id, other_team = await graph.ready_team(), await graph.ready_team()
    over, running, queued = [await graph.kickoff(team_id) for _ in range(3)]
    elsewhere = await graph.kickoff(other_team)
    await PlayedWorker.on(graph, database, running)
    worker = await PlayedWorker.on(graph, database, over)
    await worker.finishes()

    payload = await graph.mutate("cancelExecutions", BULK, filter={"teamId": team_id})
    again = await graph.mutate("cancelExecutions", BULK, filter={"teamId": team_id})

    assert payload == {
        "executions": [{"id": queued, "status": "CANCELLED"}, {"id": running, "status": "CANCELLING"}],
        "count": 2,
        "hasMore": False,
        "errors": [],
    }
    assert again == {"executions": [], "count": 0, "hasMore": False, "errors": []}
    data = await graph.query("query($id: ID!) { execution(id: $id) { status } }", id=elsewhere)
    assert data == {"execution": {"status": "QUEUED"}}


async def test_a_bulk_takes_status_project_and_moment_as_conditions(graph: Graph, database: Database) -> None:
    team_id = await graph.ready_team()
    first, second = await graph.kickoff(team_id), await graph.kickoff(team_id)
    await PlayedWorker.on(graph, database, second)
    data = await graph.query("query($id: ID!) { team(id: $id) { project { id } } }", id=team_id)
    project_id = data["team"]["project"]["id"]

    async def count(**conditions: Any) -> int:
        return int((await graph.mutate("cancelExecutions", BULK, filter=conditions))["count"])

    assert await count(projectId=project_id, createdAt={"lt": "2020-01-01T00:00:00Z"}) == 0
    assert await count(projectId=project_id, status={"in": ["PAUSED", "COMPLETED"]}) == 0
    assert await count(projectId=project_id, status={"in": ["QUEUED"]}) == 1
    assert await count(projectId=project_id, createdAt={"gte": "2020-01-01T00:00:00Z"}) == 1
    assert [await _status(graph, "cancelExecution", it) for it in (first, second)] == ["CANCELLED", "CANCELLING"]


async def test_a_bulk_under_its_key_leaves_alone_what_was_kicked_off_since(graph: Graph) -> None:
    team_id = await graph.ready_team()
    await graph.kickoff(team_id)
    wanted = {"filter": {"teamId": team_id}, "idempotencyKey": "k"}
    assert (await graph.mutate("cancelExecutions", BULK, **wanted))["count"] == 1
    await asyncio.sleep(0.002)  # a key remembers its moment to the millisecond
    fresh = await graph.kickoff(team_id)

    again = await graph.mutate("cancelExecutions", BULK, **wanted)
    other = await graph.mutate("cancelExecutions", BULK, **{**wanted, "filter": {"status": {"in": ["QUEUED"]}}})
    without = await graph.mutate("cancelExecutions", BULK, filter={"teamId": team_id})

    assert again == {"executions": [], "count": 0, "hasMore": False, "errors": []}
    assert [error["code"] for error in other["errors"]] == ["IDEMPOTENCY_CONFLICT"]
    assert without["executions"] == [{"id": fresh, "status": "CANCELLED"}]


async def test_a_key_remembers_the_moment_of_its_bulk_also_when_new_ids_are_ahead_of_the_clock(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    team_id = await graph.ready_team()
    wanted = {"filter": {"teamId": team_id}, "idempotencyKey": "k"}
    # As behind a burst of ids: each gets a millisecond of its own, of which there are not enough.
    monkeypatch.setattr(uuid6, "_last_v7_timestamp", time.time_ns() // 1_000_000 + 3_600_000)
    assert (await graph.mutate("cancelExecutions", BULK, **wanted))["count"] == 0
    await asyncio.sleep(0.002)  # a key remembers its moment to the millisecond
    fresh = await graph.kickoff(team_id)

    again = await graph.mutate("cancelExecutions", BULK, **wanted)

    assert again == {"executions": [], "count": 0, "hasMore": False, "errors": []}
    assert await _status(graph, "cancelExecution", fresh) == "CANCELLED"


async def test_a_bulk_is_bounded_and_says_that_there_is_more(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancelling, "MAX_BULK", 4)
    monkeypatch.setattr(cancelling, "MAX_PAGE_SIZE", 2)
    team_id = await graph.ready_team()
    for _ in range(5):
        await graph.kickoff(team_id)

    first = await graph.mutate("cancelExecutions", "count hasMore executions { id }", filter={"teamId": team_id})
    second = await graph.mutate("cancelExecutions", "count hasMore executions { id }", filter={"teamId": team_id})

    assert (first["count"], first["hasMore"], len(first["executions"])) == (4, True, 2)
    assert (second["count"], second["hasMore"]) == (1, False)


async def test_a_bulk_tells_what_it_did_although_somebody_holds_one_of_them(
    graph: Graph, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancelling, "LOCK_SECONDS", 0.5)
    team_id = await graph.ready_team()
    first, held, last = [await graph.kickoff(team_id) for _ in range(3)]

    with psycopg.connect(database_url) as somebody:
        somebody.execute("SELECT FROM execution_sequence WHERE execution_id = %s FOR UPDATE", [parse_node_id(held)[1]])
        payload = await graph.mutate("cancelExecutions", BULK, filter={"teamId": team_id})
        nothing = await graph.mutate("cancelExecutions", BULK, filter={"teamId": team_id})
    rest = await graph.mutate("cancelExecutions", BULK, filter={"teamId": team_id})

    done = [{"id": it, "status": "CANCELLED"} for it in (last, first)]
    assert payload == {"executions": done, "count": 2, "hasMore": True, "errors": []}
    assert [error["code"] for error in nothing["errors"]] == ["UNAVAILABLE"]
    assert (rest["executions"], rest["hasMore"]) == ([{"id": held, "status": "CANCELLED"}], False)


async def test_a_bulk_tells_what_it_did_although_the_next_page_cannot_be_read(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancelling, "MAX_PAGE_SIZE", 2)
    team_id = await graph.ready_team()
    for _ in range(3):
        await graph.kickoff(team_id)
    reader, plain = graph.container.reader, graph.container.reader.pages

    async def pages(kind: type[Any], tenant_id: Any, parent: str, ids: Any, request: Any) -> Any:
        if request.after is not None:
            raise unavailable()
        return await plain(kind, tenant_id, parent, ids, request)

    monkeypatch.setattr(reader, "pages", pages)

    payload = await graph.mutate("cancelExecutions", "count hasMore", filter={"teamId": team_id})

    assert payload == {"count": 2, "hasMore": True, "errors": []}


async def test_a_bulk_without_a_condition_is_refused(graph: Graph) -> None:
    await graph.kickoff(await graph.ready_team())

    async with nothing_written(graph):
        payload = await graph.mutate("cancelExecutions", BULK, filter={})

    assert [(error["code"], error["path"]) for error in payload["errors"]] == [("INVALID", ["input", "filter"])]


# ---------------------------------------------------------------- pausing


async def test_a_running_execution_is_asked_to_pause_and_goes_on_without_a_place_until_it_is_resumed(
    graph: Graph, database: Database
) -> None:
    execution_id = await graph.kickoff(await graph.ready_team())
    worker = await PlayedWorker.on(graph, database, execution_id)

    asked = (await graph.mutate("pauseExecution", STATE, executionId=execution_id))["execution"]
    await worker.pauses()
    paused = (await graph.mutate("pauseExecution", STATE, executionId=execution_id))["execution"]
    places = await _places(database, execution_id)
    resumed = (await graph.mutate("resumeExecution", STATE, executionId=execution_id))["execution"]

    assert asked.pop("pauseRequestedAt")
    assert asked == {
        "id": execution_id,
        "status": "RUNNING",
        "canCancel": True,
        "canPause": False,
        "canResume": True,
        "canRetry": False,
        "isFinal": False,
    }
    assert (paused["status"], paused["canPause"], paused["canResume"]) == ("PAUSED", False, True)
    assert places == []
    assert (resumed["status"], resumed["pauseRequestedAt"], resumed["canPause"]) == ("RUNNING", None, True)
    assert await _places(database, execution_id) == [(None, 5, True)]
    assert await _kinds(graph, execution_id) == [
        "ExecutionQueued",
        "ExecutionStarted",
        "ExecutionPauseRequested",
        "ExecutionPaused",
        "ExecutionResumed",
    ]


async def test_what_no_worker_has_is_paused_at_once(graph: Graph, database: Database) -> None:
    execution_id = await graph.kickoff(await graph.ready_team())
    await PlayedWorker.on(graph, database, execution_id)
    await database.pool.execute("UPDATE admission SET worker_id = NULL")  # its worker was lost

    assert await _status(graph, "pauseExecution", execution_id) == "PAUSED"

    assert await _places(database, execution_id) == []
    assert (await _kinds(graph, execution_id))[-2:] == ["ExecutionPauseRequested", "ExecutionPaused"]
    waiting = await database.pool.fetchval("SELECT waiting_from IS NOT NULL FROM execution")
    assert waiting


async def test_what_was_to_pause_when_its_worker_was_lost_is_paused_by_asking_again(
    graph: Graph, database: Database
) -> None:
    execution_id = await graph.kickoff(await graph.ready_team())
    await PlayedWorker.on(graph, database, execution_id)
    await graph.mutate("pauseExecution", STATE, executionId=execution_id)
    await database.pool.execute("UPDATE admission SET worker_id = NULL")

    paused = (await graph.mutate("pauseExecution", STATE, executionId=execution_id))["execution"]

    assert (paused["status"], paused["pauseRequestedAt"], paused["canResume"]) == ("PAUSED", None, True)
    assert await _places(database, execution_id) == []
    assert (await _kinds(graph, execution_id))[-2:] == ["ExecutionPauseRequested", "ExecutionPaused"]


async def test_a_resume_withdraws_a_pause_that_has_not_happened(graph: Graph, database: Database) -> None:
    execution_id = await graph.kickoff(await graph.ready_team())
    await PlayedWorker.on(graph, database, execution_id)
    await graph.mutate("pauseExecution", STATE, executionId=execution_id)

    resumed = (await graph.mutate("resumeExecution", STATE, executionId=execution_id))["execution"]

    assert (resumed["status"], resumed["pauseRequestedAt"], resumed["canPause"]) == ("RUNNING", None, True)
    assert await _places(database, execution_id) == [("played", 5, True)]


async def test_pausing_and_resuming_again_changes_nothing(graph: Graph, database: Database) -> None:
    execution_id = await graph.kickoff(await graph.ready_team())
    await PlayedWorker.on(graph, database, execution_id)

    async with nothing_written(graph):
        assert await _status(graph, "resumeExecution", execution_id) == "RUNNING"
    await graph.mutate("pauseExecution", STATE, executionId=execution_id)
    async with nothing_written(graph):
        assert await _status(graph, "pauseExecution", execution_id) == "RUNNING"


async def test_what_is_queued_is_paused_at_once_and_goes_on_from_there(graph: Graph, database: Database) -> None:
    execution_id = await graph.kickoff(await graph.ready_team())

    assert await _status(graph, "resumeExecution", execution_id) == "QUEUED"
    assert await _status(graph, "pauseExecution", execution_id) == "PAUSED"
    assert await database.pool.fetchval("SELECT count(*) FROM admission") == 0
    assert await _status(graph, "resumeExecution", execution_id) == "RUNNING"

    assert await database.pool.fetchval("SELECT count(*) FROM admission WHERE worker_id IS NULL") == 1


async def test_a_retry_may_begin_paused_so_that_its_tasks_can_be_changed(graph: Graph, database: Database) -> None:
    execution_id = await graph.kickoff(await graph.ready_team())
    await database.pool.execute("UPDATE execution SET status = 'FAILED'")
    await database.pool.execute("DELETE FROM admission")

    payload = await graph.mutate(
        "retryExecution", "execution { id status taskExecutions { id } }", executionId=execution_id, isPaused=True
    )

    again = payload["execution"]
    assert again["status"] == "PAUSED"
    assert await database.pool.fetchval("SELECT count(*) FROM admission") == 0
    task_id = again["taskExecutions"][0]["id"]
    changed = await graph.mutate(
        "updateTaskExecution", "taskExecution { wantedModel }", taskExecutionId=task_id, model="openai/gpt-4o"
    )
    assert changed["errors"] == []
    assert await _status(graph, "resumeExecution", again["id"]) == "RUNNING"


@pytest.mark.parametrize("status", ["CANCELLING", "COMPLETED", "FAILED", "CANCELLED"])
async def test_only_what_runs_can_be_paused_and_only_what_is_paused_resumed(graph: Graph, status: str) -> None:
    execution_id = await graph.kickoff(await graph.ready_team())
    await graph.container.database.pool.execute("UPDATE execution SET status = $1", status)

    async with nothing_written(graph):
        paused = await graph.mutate("pauseExecution", STATE, executionId=execution_id)
        resumed = await graph.mutate("resumeExecution", STATE, executionId=execution_id)

    assert [(error["from"], error["to"]) for error in paused["errors"]] == [(status, "PAUSED")]
    assert [(error["from"], error["to"]) for error in resumed["errors"]] == [(status, "RUNNING")]
    assert "RUNNING" not in resumed["errors"][0]["allowed"]


async def test_a_key_gives_the_first_result_of_a_control_again_and_refuses_another_request(
    graph: Graph, database: Database
) -> None:
    execution_id, other = [await graph.kickoff(await graph.ready_team()) for _ in range(2)]
    await PlayedWorker.on(graph, database, execution_id)
    await graph.mutate("pauseExecution", STATE, executionId=execution_id, idempotencyKey="k")
    await graph.mutate("resumeExecution", STATE, executionId=execution_id)

    async with nothing_written(graph):
        again = await graph.mutate("pauseExecution", STATE, executionId=execution_id, idempotencyKey="k")
        elsewhere = await graph.mutate("pauseExecution", STATE, executionId=other, idempotencyKey="k")
        otherwise = await graph.mutate("cancelExecution", STATE, executionId=execution_id, idempotencyKey="k")

    assert (again["execution"]["status"], again["execution"]["pauseRequestedAt"]) == ("RUNNING", None)
    assert [payload["errors"][0]["code"] for payload in (elsewhere, otherwise)] == ["IDEMPOTENCY_CONFLICT"] * 2


# ---------------------------------------------------------------- retries and forks

TASKS = """execution { id status retryOf { id } forkedFrom { id } inputs
    taskExecutions { name status output description isReused model attempts reusedFrom { name execution { id } }
        waitsFor { name } usage { cost { amount } } } }"""


async def _half_done(graph: Graph, database: Database, team_id: str) -> tuple[str, PlayedWorker]:
    """An execution whose first task of two is completed."""
    execution_id = await graph.kickoff(team_id, inputs={"who": "us"}, priority=7)
    worker = await PlayedWorker.on(graph, database, execution_id)
    await worker.completes(0, "First.")
    return execution_id, worker


async def test_a_retry_takes_over_what_was_done_and_does_the_rest(graph: Graph, database: Database) -> None:
    team_id, _ = await _team_of(graph, "One", "Two")
    execution_id, worker = await _half_done(graph, database, team_id)
    await worker.fails()

    payload = await graph.mutate("retryExecution", TASKS, executionId=execution_id, idempotencyKey="k")
    again = await graph.mutate("retryExecution", TASKS, executionId=execution_id, idempotencyKey="k")

    assert payload["errors"] == []
    execution = payload["execution"]
    assert again == payload
    assert (execution["status"], execution["retryOf"], execution["forkedFrom"]) == (
        "QUEUED",
        {"id": execution_id},
        None,
    )
    one, two = execution["taskExecutions"]
    assert one == {
        "name": "One",
        "status": "REUSED",
        "output": "First.",
        "description": "One for us.",
        "isReused": True,
        "model": "test/model",
        "attempts": 0,
        "reusedFrom": {"name": "One", "execution": {"id": execution_id}},
        "waitsFor": [],
        "usage": {"cost": {"amount": "0"}},
    }
    assert (two["status"], two["output"], two["isReused"], two["reusedFrom"]) == ("PENDING", None, False, None)
    assert await _kinds(graph, execution["id"]) == ["ExecutionQueued", "TaskReused"]
    assert await _places(database, execution["id"]) == [(None, 7, True)]
    links = await graph.query(
        "query($id: ID!) { execution(id: $id) { canRetry retries { nodes { id } } forks { nodes { id } } } }",
        id=execution_id,
    )
    assert links["execution"] == {
        "canRetry": True,
        "retries": {"nodes": [{"id": execution["id"]}]},
        "forks": {"nodes": []},
    }


async def test_only_what_failed_or_was_cancelled_can_be_tried_again(graph: Graph) -> None:
    team_id, _ = await _team_of(graph, "One")
    execution_id = await graph.kickoff(team_id, inputs={"who": "us"})

    async with nothing_written(graph):
        refused = await graph.mutate("retryExecution", TASKS, executionId=execution_id)
    await graph.mutate("cancelExecution", "execution { id }", executionId=execution_id)
    accepted = await graph.mutate("retryExecution", TASKS, executionId=execution_id)

    assert [(error["from"], error["to"], error["message"]) for error in refused["errors"]] == [
        ("QUEUED", "QUEUED", "Only a FAILED or CANCELLED execution can be retried.")
    ]
    assert [task["status"] for task in accepted["execution"]["taskExecutions"]] == ["PENDING"]


async def test_a_fork_does_anew_what_depends_on_its_task(graph: Graph, database: Database) -> None:
    team_id, _ = await _team_of(graph, "One", "Two", "Three")
    execution_id, worker = await _half_done(graph, database, team_id)
    await worker.completes(1, "Second.")
    data = await graph.query("query($id: ID!) { execution(id: $id) { taskExecutions { id } } }", id=execution_id)
    one, two, _ = [task["id"] for task in data["execution"]["taskExecutions"]]

    async def forked(**values: Any) -> list[tuple[str, str, str | None]]:
        payload = await graph.mutate("forkExecution", TASKS, executionId=execution_id, **values)
        assert payload["errors"] == []
        assert payload["execution"]["forkedFrom"] == {"id": execution_id}
        tasks = payload["execution"]["taskExecutions"]
        return [(task["status"], task["description"], task["output"]) for task in tasks]

    at_two = await forked(fromTask=two)
    edited = await forked(fromTask=one, editedOutput="Mine.")
    others = await forked(fromTask=two, inputs={"who": "them"})

    assert [status for status, _, _ in at_two] == ["REUSED", "PENDING", "PENDING"]
    assert [(status, output) for status, _, output in edited] == [
        ("REUSED", "Mine."),
        ("PENDING", None),
        ("PENDING", None),
    ]
    assert [text for _, text, _ in others] == ["One for us.", "Two for them.", "Three for them."]


async def test_a_fork_is_refused_for_a_strange_task_missing_inputs_and_a_broken_schema(graph: Graph) -> None:
    team_id = await graph.team()
    role_id = await graph.role(team_id)
    await graph.task(team_id, roleId=role_id, description="For {who}.", outputSchema={"type": "object"})
    execution_id, other = [await graph.kickoff(team_id, inputs={"who": "us"}) for _ in range(2)]
    ask = "query($id: ID!) { execution(id: $id) { taskExecutions { id } } }"
    own = (await graph.query(ask, id=execution_id))["execution"]["taskExecutions"][0]["id"]
    strange = (await graph.query(ask, id=other))["execution"]["taskExecutions"][0]["id"]

    async def refused(**values: Any) -> list[tuple[str, list[str]]]:
        async with nothing_written(graph):
            payload = await graph.mutate("forkExecution", TASKS, executionId=execution_id, **values)
        return [(error["code"], error["path"]) for error in payload["errors"]]

    assert await refused(fromTask=strange) == [("NOT_FOUND", ["input", "fromTask"])]
    assert await refused(fromTask=own, inputs={}) == [("MISSING_INPUTS", ["input", "inputs"])]
    assert await refused(fromTask=own, inputs=[1]) == [("INVALID", ["input", "inputs"])]
    assert await refused(fromTask=own, editedOutput="no JSON") == [("INVALID", ["input", "editedOutput"])]
    assert await refused(fromTask=own, editedOutput=" ") == [("INVALID", ["input", "editedOutput"])]


async def test_a_busy_team_that_rejects_refuses_retries_too(graph: Graph) -> None:
    team_id, _ = await _team_of(graph, "One", settings={"whenBusy": "REJECT"})
    execution_id = await graph.kickoff(team_id, inputs={"who": "us"})
    await graph.mutate("cancelExecution", "execution { id }", executionId=execution_id)
    await graph.kickoff(team_id, inputs={"who": "us"})

    data = await graph.query("query($id: ID!) { execution(id: $id) { taskExecutions { id } } }", id=execution_id)
    task_id = data["execution"]["taskExecutions"][0]["id"]
    async with nothing_written(graph):
        payloads = [
            await graph.mutate("retryExecution", TASKS, executionId=execution_id),
            await graph.mutate("forkExecution", TASKS, executionId=execution_id, fromTask=task_id),
        ]

    for payload in payloads:
        assert [(it["code"], it["path"], it["suggestion"]) for it in payload["errors"]] == [
            (
                "TEAM_BUSY",
                ["input", "executionId"],
                "Wait for its end, or change whenBusy in the team's settings.",
            )
        ]


async def test_what_has_no_money_left_is_not_tried_again(graph: Graph, database: Database) -> None:
    team_id, _ = await _team_of(graph, "One", monthlyBudget="0.5")
    execution_id, worker = await _half_done(graph, database, team_id)
    await book(worker, an_entry(worker, "0.5"))
    await worker.fails()

    async with nothing_written(graph):
        payload = await graph.mutate("retryExecution", TASKS, executionId=execution_id)

    assert [error["code"] for error in payload["errors"]] == ["BUDGET_EXCEEDED"]


# ---------------------------------------------------------------- tasks of a paused execution

TASK = """taskExecution { id status description expectedOutput wantedModel roleTitle roleReason
    budget { limit { amount } } }"""


async def _paused(graph: Graph, database: Database, team_id: str) -> tuple[str, list[str]]:
    """A paused execution whose first task is done; its id and those of its tasks."""
    execution_id, worker = await _half_done(graph, database, team_id)
    await graph.mutate("pauseExecution", STATE, executionId=execution_id)
    await worker.pauses()
    data = await graph.query("query($id: ID!) { execution(id: $id) { taskExecutions { id } } }", id=execution_id)
    return execution_id, [task["id"] for task in data["execution"]["taskExecutions"]]


async def test_a_task_that_was_not_begun_is_changed_for_a_paused_execution_alone(
    graph: Graph, database: Database
) -> None:
    team_id, _ = await _team_of(graph, "One", "Two")
    other_role = await graph.role(team_id, title="Writer for {who}")
    execution_id, (_, two) = await _paused(graph, database, team_id)

    payload = await graph.mutate(
        "updateTaskExecution",
        TASK,
        taskExecutionId=two,
        description="Something else.",
        roleId=other_role,
        model="openai/gpt-4o-mini",
        maxBudget="0.5",
    )
    async with nothing_written(graph):
        same = await graph.mutate("updateTaskExecution", TASK, taskExecutionId=two, description="Something else.")

    assert (
        payload
        == same
        == {
            "taskExecution": {
                "id": two,
                "status": "PENDING",
                "description": "Something else.",
                "expectedOutput": "Done.",
                "wantedModel": "openai/gpt-4o-mini",
                "roleTitle": "Writer for us",
                "roleReason": "Chosen while the execution was paused.",
                "budget": {"limit": {"amount": "0.5"}},
            },
            "errors": [],
        }
    )
    events = "query($id: ID!) { execution(id: $id) { events { nodes { ... on TaskChanged { name fields } } } } }"
    nodes = (await graph.query(events, id=execution_id))["execution"]["events"]["nodes"]
    assert nodes[-1] == {"name": "Two", "fields": ["description", "roleId", "model", "maxBudget"]}
    team = await graph.query("query($id: ID!) { team(id: $id) { tasks { description } } }", id=team_id)
    assert [task["description"] for task in team["team"]["tasks"]] == ["One for {who}.", "Two for {who}."]


async def test_what_was_begun_or_is_not_paused_cannot_be_changed(graph: Graph, database: Database) -> None:
    team_id, _ = await _team_of(graph, "One", "Two")
    execution_id, (one, two) = await _paused(graph, database, team_id)

    async with nothing_written(graph):
        done = await graph.mutate("updateTaskExecution", TASK, taskExecutionId=one, description="x")
    await graph.mutate("resumeExecution", STATE, executionId=execution_id)
    async with nothing_written(graph):
        running = await graph.mutate("updateTaskExecution", TASK, taskExecutionId=two, description="x")

    for payload, message in (
        (done, "The task is COMPLETED, and its execution is PAUSED."),
        (running, "The task is PENDING, and its execution is RUNNING."),
    ):
        assert [(it["code"], it["message"], it["path"]) for it in payload["errors"]] == [
            ("NOT_CHANGEABLE", message, ["input", "taskExecutionId"])
        ]


async def test_bad_changes_are_refused_with_their_places(graph: Graph, database: Database) -> None:
    team_id, _ = await _team_of(graph, "One", "Two")
    idle = await graph.role(team_id, title="Idle", isActive=False)
    stranger = await graph.role(await graph.team())
    _, (_, two) = await _paused(graph, database, team_id)

    async def refused(**values: Any) -> list[tuple[str, str]]:
        async with nothing_written(graph):
            payload = await graph.mutate("updateTaskExecution", TASK, taskExecutionId=two, **values)
        return [(error["code"], error["path"][1]) for error in payload["errors"]]

    assert await refused(description=" ", maxBudget="-1", model="no model") == [
        ("INVALID", "description"),
        ("INVALID", "model"),
        ("INVALID", "maxBudget"),
    ]
    assert await refused(description=None) == [("INVALID", "description")]
    assert await refused(roleId=idle) == [("INVALID", "roleId")]
    assert await refused(roleId=stranger) == [("NOT_FOUND", "roleId")]


async def test_a_role_is_given_no_more_tasks_of_a_paused_execution_than_it_takes(
    graph: Graph, database: Database
) -> None:
    team_id, role_id = await _team_of(graph, "One", "Two", "Three")
    single = await graph.role(team_id, title="Writer for {who}", maxTasks=1)
    _, (_, two, three) = await _paused(graph, database, team_id)

    async def given(task: str, role: str) -> dict[str, Any]:
        return await graph.mutate("updateTaskExecution", TASK, taskExecutionId=task, roleId=role)

    first = await given(two, single)
    async with nothing_written(graph):
        again = await given(two, single)
        second = await given(three, single)
    back = await given(two, role_id)
    instead = await given(three, single)

    assert [payload["errors"] for payload in (first, again, back, instead)] == [[]] * 4
    assert [(it["code"], it["message"], it["path"]) for it in second["errors"]] == [
        (
            "TOO_MANY_TASKS",
            "Nobody is left for the task “Three”: in one execution “Writer for us” is given at most 1.",
            ["input", "roleId"],
        )
    ]
