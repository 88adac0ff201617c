"""`regatta serve` as a person uses it: real processes, Ctrl-C, `kill -9`, and what it says when it cannot start."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gql import Client, gql
from gql.transport.websockets import WebsocketsTransport

from app.migrations import newest_revision
from app.seed import PROJECT, TEAM
from tests.support.postgres import DatabaseServer, disposable_data_dir
from tests.support.processes import Served, free_port, processes_of, run_cli, served, wait_until, wait_until_gone

NEWEST = newest_revision()
PROJECTS = "{ tenant { projects { nodes { id name teams { nodes { id name roles { title } tasks { name } } } } } } }"
KICKOFF = """
mutation Kickoff($input: KickoffTeamInput!) {
  kickoffTeam(input: $input) { execution { id } errors { message } }
}
"""
EVENTS = "subscription Events($id: ID!) { executionEvents(executionId: $id) { events { __typename sequence } } }"
TASKS = "query Tasks($id: ID!) { execution(id: $id) { status taskExecutions { status attempts } } }"


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with disposable_data_dir() as directory:
        yield directory


def test_serve_makes_and_seeds_a_database_ends_with_ctrl_c_and_finds_its_data_again(data_dir: Path) -> None:
    with served(data_dir) as first:
        wait_until(lambda: _seeded(first))
        made = first.ask(PROJECTS)
        ran = processes_of(data_dir)
        status = first.press_ctrl_c()

        assert status == 0
        assert len(ran) > 2
        assert processes_of(data_dir) == []
        assert f"{first.address}/graphql" in first.said()
        assert "Stopping; executions that do not end in time go on at the next start." in first.said()
        assert "Warning" not in first.said()

    with served(data_dir, "--workers", "0") as second:
        found = second.ask(PROJECTS)
        health = second.get("/health/ready")
        second.press_ctrl_c()

    assert found == made
    assert [team["name"] for team in found["tenant"]["projects"]["nodes"][0]["teams"]["nodes"]] == [TEAM]
    assert health["status"] == "degraded"
    assert health["checks"]["database"]["ok"]
    assert not health["checks"]["worker"]["ok"]


def test_after_a_kill_of_the_server_the_next_start_and_ctrl_c_leave_no_process(data_dir: Path) -> None:
    with served(data_dir) as first:
        worker = first.worker()
        first.process.kill()
        first.process.wait()

        wait_until_gone([worker])
        wait_until(lambda: ["postgres" in process.name() for process in processes_of(data_dir)] == [True])

    with served(data_dir) as second:
        assert second.ask("{ tenant { name } }")["tenant"]["name"] == "default"
        assert second.press_ctrl_c() == 0

    assert processes_of(data_dir) == []


async def test_a_killed_worker_is_replaced_and_its_execution_completed(data_dir: Path) -> None:
    with served(data_dir, simulated_delay_seconds="0.1") as server:
        await asyncio.to_thread(server.wait_for_worker)
        execution_id = await asyncio.to_thread(_kicked_off, server)
        killed = server.worker()

        types: list[str] = []
        async for batch in _events(server, execution_id):
            types += [event["__typename"] for event in batch["events"]]
            assert [event["sequence"] for event in batch["events"]] == list(
                range(batch["events"][0]["sequence"], batch["events"][-1]["sequence"] + 1)
            )
            if types.count("TaskCompleted") >= 1 and killed.is_running():  # two at once, when we are slow
                killed.kill()
                killed.wait()

        tasks = (await asyncio.to_thread(server.ask, TASKS, id=execution_id))["execution"]
        replaced = server.worker()
        assert tasks["status"] == "COMPLETED"
        assert types.count("TaskCompleted") == 3
        assert types[-1] == "ExecutionCompleted"
        assert types.count("ExecutionStarted") == 2
        assert replaced.pid != killed.pid
        assert server.press_ctrl_c() == 0

    assert processes_of(data_dir) == []


async def test_ctrl_c_does_not_wait_for_an_open_subscription(data_dir: Path) -> None:
    with served(data_dir, "--workers", "0") as server:
        await asyncio.to_thread(wait_until, lambda: _seeded(server))
        execution_id = await asyncio.to_thread(_kicked_off, server)
        events = _events(server, execution_id)
        first = await anext(events)

        status = await asyncio.to_thread(server.press_ctrl_c)

        assert [event["__typename"] for event in first["events"]] == ["ExecutionQueued"]
        assert status == 0
        await events.aclose()


def test_a_taken_port_is_told_in_one_line_and_nothing_is_started(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run_cli("serve", "--port", str(port), data_dir=str(data_dir))

    assert ended.returncode == 1
    assert (
        ended.stderr
        == f"regatta: cannot listen on 127.0.0.1:{port}: Address already in use; choose another port with --port"
        ' (make run ARGS="--port 8001")\n'
    )
    assert not data_dir.exists()


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid"])
def test_a_host_that_is_not_here_is_told_in_one_line(data_dir: Path, host: str) -> None:
    ended = run_cli("serve", "--insecure", "--host", host, data_dir=str(data_dir))

    assert ended.returncode == 1
    assert ended.stderr.startswith(f"regatta: cannot listen on {host}:8000: ")
    assert ended.stderr.endswith("; --host (REGATTA_HOST) takes an address of this machine, like 127.0.0.1\n")
    assert "Unknown error" not in ended.stderr


def test_a_database_of_ones_own_is_migrated_by_command_only(database_server: DatabaseServer, data_dir: Path) -> None:
    url = database_server.create_database("external")
    options = {"database_url": url, "data_dir": str(data_dir), "port": str(free_port())}

    refused = run_cli("serve", "--workers", "0", **options)
    migrated = run_cli("migrate", **options)
    again = run_cli("migrate", **options)
    with served(data_dir, "--workers", "0", database_url=url) as server:
        projects = server.ask(PROJECTS)["tenant"]["projects"]["nodes"]
        server.press_ctrl_c()

    database_server.drop_database("external")
    assert refused.returncode == 1
    assert refused.stderr == f"regatta: the database is empty, needed is {NEWEST}: run `regatta migrate` first\n"
    assert (migrated.returncode, migrated.stdout) == (0, f"The database is at revision {NEWEST}, newly made.\n")
    assert (again.returncode, again.stdout) == (0, f"The database is at revision {NEWEST}.\n")
    assert projects == []
    assert not (data_dir / "postgres").exists()


def test_a_database_that_does_not_answer_is_told_in_one_line(data_dir: Path) -> None:
    url = f"postgresql://somebody:hidden@127.0.0.1:{free_port()}/nothing"

    ended = run_cli("serve", "--port", str(free_port()), database_url=url, data_dir=str(data_dir))

    assert ended.returncode == 1
    assert ended.stderr.startswith("regatta: cannot reach the database: ")
    assert ended.stderr.count("\n") == 1
    assert "hidden" not in ended.stderr


def test_a_worker_needs_to_be_told_where_the_database_is() -> None:
    ended = run_cli("worker")

    assert ended.returncode == 1
    assert ended.stderr.startswith("regatta: REGATTA_DATABASE_URL is needed")


def _seeded(server: Served) -> bool:
    projects = server.ask(PROJECTS)["tenant"]["projects"]["nodes"]
    return [project["name"] for project in projects] == [PROJECT] and (server.data_dir / "seeded").exists()


def _kicked_off(server: Served) -> str:
    (team,) = server.ask(PROJECTS)["tenant"]["projects"]["nodes"][0]["teams"]["nodes"]
    inputs = {"product": "a folding boat", "audience": "people without a garage"}
    payload = server.ask(KICKOFF, input={"teamId": team["id"], "inputs": inputs})["kickoffTeam"]
    assert payload["errors"] == []
    return str(payload["execution"]["id"])


async def _events(server: Served, execution_id: str) -> Any:
    transport = WebsocketsTransport(
        url=f"ws://127.0.0.1:{server.port}/graphql",
        subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL],
        connect_args={"proxy": None},
    )
    request = gql(EVENTS)
    request.variable_values = {"id": execution_id}
    async with Client(transport=transport) as session:
        async for message in session.subscribe(request):
            yield message["executionEvents"]
