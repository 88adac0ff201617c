"""Cancel, pause and take-over while everything burns: real processes, `kill -9` and SIGSTOP."""

import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Fleet
from tests.support.cluster import Cluster, a_cluster, uuid_of
from tests.support.model_server import Answer, ModelServer, Request, Silence, Text, ToolCall
from tests.support.processes import REPOSITORY, SOON, wait_until

EVENTS = "SELECT sequence, type, payload FROM execution_event WHERE execution_id = %s ORDER BY sequence"
CALLS = "SELECT outcome, attempt, call, call_attempt FROM ledger_entry WHERE execution_id = %s"
TASKS = "SELECT name, status, attempts, output FROM task_execution WHERE execution_id = %s ORDER BY position"
SILENT = """
    UPDATE worker SET heartbeat_at = heartbeat_at - interval '1 hour'
    WHERE id = %s AND heartbeat_at > now() - interval '30 minutes' RETURNING id
"""
CHANGED = "this line was changed"
PACKAGES = ("app", "schema", "resolvers", "domain", "persistence", "alembic")


@pytest.fixture
def cluster(database_url: str, tmp_path: Path) -> Iterator[Cluster]:
    with ModelServer.in_thread() as models, a_cluster(database_url, tmp_path, models) as made:
        yield made


def test_a_hundred_running_executions_are_cancelled_at_once(fleet: Fleet) -> None:
    models, api = fleet.cluster.models, fleet.here
    models.default = Silence()
    team_id = api.team("only")
    executions = {api.kickoff(team_id, str(number)) for number in range(100)}
    models.block_for_requests(100, timeout=SOON)

    began = time.monotonic()
    cancelled = api.mutate(
        "cancelExecutions", "count hasMore", filter={"teamId": team_id, "status": {"in": ["RUNNING"]}}
    )
    wait_until(lambda: _statuses(fleet.cluster, team_id) == {"CANCELLED": 100})
    took = time.monotonic() - began
    models.block_for_disconnects(100, timeout=SOON)
    wait_until(lambda: _outcomes(fleet.cluster, team_id).total() == 100)  # a closed call is booked when it was closed

    print(f"100 executions cancelled within {took:.2f} s")  # noqa: T201 - the figure
    assert len(executions) == cancelled["count"] == 100
    assert models.disconnected == models.received == 100
    assert _outcomes(fleet.cluster, team_id) == {"CANCELLED": 100}


def test_a_worker_that_was_frozen_writes_nothing_when_it_wakes(fleet: Fleet) -> None:
    freeze(fleet, seconds=0)


@pytest.mark.survival
def test_a_worker_that_was_frozen_for_half_a_minute_writes_nothing_when_it_wakes(fleet: Fleet) -> None:
    freeze(fleet, seconds=30)


def freeze(fleet: Fleet, seconds: float) -> None:
    """Stop a worker in the middle of a call for so long, at least until another has begun the same call."""
    models, api, cluster = fleet.cluster.models, fleet.here, fleet.cluster
    is_frozen, may_go_on = threading.Event(), threading.Event()
    models.script(Text("From the old one.", until=is_frozen.is_set), Text("From the new one.", until=may_go_on.is_set))
    team_id = api.team("first", "second")
    wait_until(lambda: len(fleet.workers.each()) == 2 and len(fleet.workers.ready()) >= 2)
    execution = uuid_of(execution_id := api.kickoff(team_id))
    models.block_for_requests(1, timeout=SOON)
    stopped_at = time.monotonic()
    name = _owner(cluster, execution)
    frozen = fleet.workers.named(name)

    frozen.suspend()
    is_frozen.set()
    try:
        wait_until(lambda: _silenced(cluster, name) and models.received == 2)
        time.sleep(max(0.0, stopped_at + seconds - time.monotonic()))
    finally:
        frozen.resume()
    time.sleep(3)  # the old answer has been waiting for it: time enough to do something with it

    assert models.received == 2
    assert [task["status"] for task in cluster.rows(TASKS, execution)] == ["RUNNING", "PENDING"]
    may_go_on.set()
    assert api.wait_for(execution_id, "COMPLETED", "FAILED") == "COMPLETED"
    events = cluster.rows(EVENTS, execution)
    starts = [event["sequence"] for event in events if event["type"] == "ExecutionStarted"]
    after = Counter(event["type"] for event in events if event["sequence"] >= starts[-1])
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert len(starts) == 2
    assert after["TaskCompleted"] == 2
    assert "From the old one." not in str(events)
    assert [task["output"] for task in cluster.rows(TASKS, execution)] == ["From the new one.", "Done."]
    assert models.received == 3
    assert Counter(call["outcome"] for call in cluster.rows(CALLS, execution)) == {"LOST": 1, "SUCCEEDED": 2}


def test_a_pause_outlives_the_kill_of_everything_and_other_code(cluster: Cluster, tmp_path: Path) -> None:
    models, api = cluster.models, cluster.api()
    cluster.workers(1)
    models.default = sums
    team_id, plain_id = api.team("sums", tool=True), api.team("first", "second")
    paused_id, running_id = api.kickoff(team_id), api.kickoff(plain_id, "other")
    wait_until(lambda: _rounds(models)[3] == 1 and _of(models, "Do second of run other") == 1)

    api.mutate("pauseExecution", "execution { id }", executionId=paused_id)
    cluster.kill()
    models.default = Text("Done.")
    api = cluster.api()
    changed = cluster.workers(1, code=_changed_code(tmp_path))

    assert api.wait_for(running_id, "COMPLETED", "FAILED") == "COMPLETED"
    assert api.wait_for(paused_id, "PAUSED", "COMPLETED", "FAILED") == "PAUSED"
    assert _rounds(models) == {0: 1, 1: 1, 2: 1, 3: 1}
    api.mutate("resumeExecution", "execution { id }", executionId=paused_id)
    assert api.wait_for(paused_id, "COMPLETED", "FAILED") == "COMPLETED"
    assert _rounds(models) == {0: 1, 1: 1, 2: 1, 3: 2}
    assert _of(models, "Do first of run other") == 1
    for execution_id, answered in ((paused_id, 4), (running_id, 2)):
        outcomes = Counter(call["outcome"] for call in cluster.rows(CALLS, uuid_of(execution_id)))
        assert outcomes == {"SUCCEEDED": answered, "LOST": 1}
    assert CHANGED in changed.said()


def test_a_run_that_waits_for_a_human_holds_no_place(cluster: Cluster) -> None:
    api = cluster.api()
    cluster.workers(1, worker_concurrency="1")
    waiting_id = api.kickoff(api.team("asks", approval={"isRequired": True}))
    assert api.wait_for(waiting_id, "AWAITING_APPROVAL", "COMPLETED", "FAILED") == "AWAITING_APPROVAL"
    held = cluster.rows("SELECT id FROM admission")

    other = api.wait_for(api.kickoff(api.team("only")), "COMPLETED", "FAILED")
    meanwhile = api.status(waiting_id)
    asked = api.ask("query($id: ID!) { execution(id: $id) { approvals { nodes { id } } } }", id=waiting_id)
    [approval] = asked["execution"]["approvals"]["nodes"]
    api.mutate("approveTask", "approval { id }", approvalId=approval["id"])

    assert held == []
    assert (other, meanwhile) == ("COMPLETED", "AWAITING_APPROVAL")
    assert api.wait_for(waiting_id, "COMPLETED", "FAILED") == "COMPLETED"


def sums(request: Request) -> Answer:
    """Three sums, one after another, and then nothing; whoever has no tools gets one answer, and then nothing."""
    done = _results(request)
    if not request.body.get("tools"):
        return Silence() if "Do second" in request.text else Text("Done.")
    if done == 3:
        return Silence()
    return ToolCall(request.body["tools"][0]["function"]["name"], {"expression": f"{done} + 1"})


def _results(request: Request) -> int:
    return sum(message.get("role") == "tool" for message in request.messages)


def _rounds(models: ModelServer) -> Counter[int]:
    """How often the model was asked with so many results of tools."""
    return Counter(_results(request) for request in models.requests if "Do sums" in request.text)


def _of(models: ModelServer, text: str) -> int:
    return sum(text in request.text for request in models.requests)


def _owner(cluster: Cluster, execution: Any) -> str:
    """The name of the worker that has it."""
    wait_until(lambda: cluster.rows("SELECT worker_id FROM admission WHERE execution_id = %s", execution))
    [row] = cluster.rows("SELECT worker_id FROM admission WHERE execution_id = %s", execution)
    return str(row["worker_id"])


def _silenced(cluster: Cluster, name: str) -> bool:
    """Let the worker be unheard of for long, again and again: a beat may have been under way when it was stopped."""
    cluster.rows(SILENT, name)
    return True


def _changed_code(directory: Path) -> Path:
    """A copy of the program in which a line was changed that has nothing to do with runs."""
    copy = directory / "changed"
    for package in PACKAGES:
        shutil.copytree(REPOSITORY / package, copy / package, ignore=shutil.ignore_patterns("__pycache__", "static"))
    module = copy / "domain" / "model" / "tool.py"
    module.write_text(f"{module.read_text()}\nprint('{CHANGED}')\n")
    return copy


def _statuses(cluster: Cluster, team_id: str) -> Counter[str]:
    rows = cluster.rows("SELECT status FROM execution WHERE team_id = %s", uuid_of(team_id))
    return Counter(row["status"] for row in rows)


def _outcomes(cluster: Cluster, team_id: str) -> Counter[str]:
    rows = cluster.rows("SELECT outcome FROM ledger_entry WHERE team_id = %s", uuid_of(team_id))
    return Counter(row["outcome"] for row in rows)
