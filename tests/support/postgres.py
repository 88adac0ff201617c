"""PostgreSQL for tests: one server for a whole run, and a database per worker cloned from a migrated template.

All xdist workers of a run share one embedded server. Its owner is a process of its own, the keeper, which the first
worker starts. Every worker holds a shared lock on `<run>.users` for as long as it lives, however it dies; the keeper
waits for the exclusive one, then stops the server and removes everything. If the keeper itself was killed, the next
run clears up. With REGATTA_TEST_DATABASE_URL in the environment no server is started: the databases are made on that
one (its user must be a superuser), and the keeper drops them at the end.

As a fixture: `from tests.support.postgres import database_server` in the conftest, then

    @pytest.fixture(scope="session")
    def database_url(database_server, worker_id):
        database_server.make_template(migrate)          # once per run, whoever comes first
        url = database_server.clone_database(worker_id)
        yield url
        database_server.drop_database(worker_id)
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, LiteralString, cast

import psycopg
import pytest
from psycopg import sql

from app.embedded import DataDirectoryInUse, EmbeddedPostgres

EXTERNAL_URL: Final = "REGATTA_TEST_DATABASE_URL"
FAST_SETTINGS: Final = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_connections": "300",
}
"""Nothing here survives a crash, and nothing has to."""

_START_SECONDS: Final = 90.0
_REPOSITORY: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class DatabaseServer:
    """A server on which this run may make databases; names are short words, the run's prefix is added."""

    url: str
    prefix: str
    run_dir: Path

    def make_template(self, migrate: Callable[[str], None]) -> None:
        """Make the template and call `migrate` with its URL, unless somebody in this run did so already."""
        done = self.run_dir / "template-made"
        with _locked(self.run_dir / "template.lock", fcntl.LOCK_EX):
            if done.exists():
                return
            self.drop_database("template")
            migrate(self.create_database("template"))
            self._run("ALTER DATABASE {} ALLOW_CONNECTIONS false", self._name("template"))
            done.touch()

    def clone_database(self, name: str) -> str:
        """A new database with what the template holds, replacing one of that name; returns its URL."""
        self.drop_database(name)
        self._run("CREATE DATABASE {} TEMPLATE {}", self._name(name), self._name("template"))
        return self.url_of(name)

    def create_database(self, name: str) -> str:
        """A new, empty database; returns its URL."""
        self._run("CREATE DATABASE {}", self._name(name))
        return self.url_of(name)

    def drop_database(self, name: str) -> None:
        """Drop it whoever is connected; one that does not exist is no error."""
        self._run("DROP DATABASE IF EXISTS {} WITH (FORCE)", self._name(name))

    def url_of(self, name: str) -> str:
        return _url_with_database(self.url, self._name(name))

    def _name(self, name: str) -> str:
        return f"{self.prefix}{name}"

    def _run(self, statement: LiteralString, *names: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@pytest.fixture(scope="session")
def database_server(testrun_uid: str) -> Iterator[DatabaseServer]:
    """The run's server; `testrun_uid` is xdist's, and exists without workers, too."""
    with shared_server(testrun_uid) as server:
        yield server


@contextlib.contextmanager
def shared_server(run: str) -> Iterator[DatabaseServer]:
    """The server of the run of that name, started if this is its first user, stopped after its last one."""
    prefix = f"regatta_{hashlib.sha256(run.encode()).hexdigest()[:8]}_"
    run_dir = _runs_dir() / prefix.strip("_")
    with _locked(_users_of(run_dir), fcntl.LOCK_SH):
        url = _kept_url(run_dir, prefix)
        yield DatabaseServer(url, prefix, run_dir)


@contextlib.contextmanager
def disposable_data_dir() -> Iterator[Path]:
    """A directory for an `EmbeddedPostgres` of a single test; pytest's tmp_path is closed to other users.

    A server that the test left running in it is stopped.
    """
    directory = Path(tempfile.mkdtemp(prefix="d", dir=_runs_dir()))
    directory.chmod(0o755)
    try:
        yield directory / "data"
    finally:
        EmbeddedPostgres(directory / "data").stop_orphan()
        shutil.rmtree(directory)


def _runs_dir() -> Path:
    """Where runs keep their things: traversable for the server's user where we are root."""
    parent = "/tmp" if os.geteuid() == 0 else tempfile.gettempdir()  # noqa: S108 - root's TMPDIR may be closed to others
    directory = Path(parent) / f"regatta-tests-{os.getuid()}"
    directory.mkdir(exist_ok=True)
    if directory.stat().st_uid != os.getuid():
        raise PermissionError(f"{directory} belongs to somebody else")
    directory.chmod(0o711)
    return directory


def _users_of(run_dir: Path) -> Path:
    return run_dir.with_suffix(".users")


@contextlib.contextmanager
def _locked(path: Path, kind: int) -> Iterator[IO[str]]:
    """Hold the lock on the file of that path; not on one that its last holder removed while we waited."""
    while True:
        with path.open("a") as file:
            fcntl.flock(file, kind)
            if _still_there(path, file):
                yield file
                return


def _still_there(path: Path, file: IO[str]) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_ino == os.fstat(file.fileno()).st_ino
    return False


def _kept_url(run_dir: Path, prefix: str) -> str:
    """The URL that the run's keeper announces; starts the keeper if there is none."""
    run_dir.mkdir(exist_ok=True)
    run_dir.chmod(0o755)
    announced = run_dir / "url"
    with _locked(run_dir / "start.lock", fcntl.LOCK_EX):
        if not announced.exists():
            _start_keeper(run_dir, prefix)
        deadline = time.monotonic() + _START_SECONDS
        while not announced.exists():
            failure = run_dir / "failed"
            if failure.exists() or time.monotonic() > deadline:
                raise RuntimeError(f"no test server: {failure.read_text() if failure.exists() else 'time-out'}")
            time.sleep(0.02)
    return announced.read_text()


def _start_keeper(run_dir: Path, prefix: str) -> None:
    # It leaves its parent at once (see `_keep`), so that `run` returns and nobody has to wait for it later. It outlives
    # the run and must not measure coverage: its data would come after the report.
    with (run_dir / "keeper.log").open("ab") as log:
        subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "tests.support.postgres", run_dir, prefix],
            check=True,
            cwd=_REPOSITORY,
            env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _keep(run_dir: Path, prefix: str) -> None:
    """The keeper's life: start, announce, wait until nobody uses the server any more, clear up."""
    if os.fork():
        os._exit(0)
    _clear_dead_runs()
    try:
        url, stop = _external(prefix) if os.environ.get(EXTERNAL_URL) else _embedded(run_dir)
    except Exception as error:
        (run_dir / "failed").write_text(str(error))
        raise
    draft = run_dir / "url.new"
    draft.write_text(url)
    draft.rename(run_dir / "url")
    with _locked(_users_of(run_dir), fcntl.LOCK_EX):
        stop()
        shutil.rmtree(run_dir)
        _users_of(run_dir).unlink()


def _embedded(run_dir: Path) -> tuple[str, Callable[[], None]]:
    server = EmbeddedPostgres(run_dir / "data", settings=FAST_SETTINGS)
    return server.start(), server.stop


def _external(prefix: str) -> tuple[str, Callable[[], None]]:
    scheme, _, rest = os.environ[EXTERNAL_URL].partition("://")
    url = f"{scheme.partition('+')[0]}://{rest}"
    return url, lambda: _drop_databases(url, prefix)


def _drop_databases(url: str, prefix: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [prefix]).fetchall()
        for (name,) in rows:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _clear_dead_runs() -> None:
    """Stop and remove what runs left whose users and keeper are all gone; the others are locked."""
    for users in _runs_dir().glob("*.users"):
        with users.open("a") as file, contextlib.suppress(BlockingIOError, FileNotFoundError, DataDirectoryInUse):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            run_dir = users.with_suffix("")
            EmbeddedPostgres(run_dir / "data").stop_orphan()
            shutil.rmtree(run_dir, ignore_errors=True)
            users.unlink()


def _url_with_database(url: str, database: str) -> str:
    """Replace the path; by hand, because urlunsplit drops the empty host of a URL for a unix socket."""
    found = cast("re.Match[str]", re.fullmatch(r"([a-z]+://[^/?]*)(/[^?]*)?(\?.*)?", url))
    return f"{found[1]}/{database}{found[3] or ''}"


if __name__ == "__main__":
    _keep(Path(sys.argv[1]), sys.argv[2])
