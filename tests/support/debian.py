"""A server of Debian's package of the least supported PostgreSQL, run by a user that is not root."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from persistence.engine import LEAST_SERVER_VERSION

PROGRAMS = Path("/usr/lib/postgresql") / str(LEAST_SERVER_VERSION) / "bin"
"""Where Debian's package postgresql-15 has them; they are not on PATH."""


@contextmanager
def debian_server(
    options: str = "-c listen_addresses=''", furnish: Callable[[Path], None] | None = None
) -> Iterator[Path]:
    """A running server, as the directory of its socket; `furnish` may add to its data directory before it starts."""
    assert (PROGRAMS / "initdb").exists(), f"PostgreSQL {LEAST_SERVER_VERSION} is not installed in {PROGRAMS}"
    directory = Path(tempfile.mkdtemp(prefix="pg15-", dir="/tmp"))
    user = _unprivileged(directory)
    _run(user, "initdb", "-D", directory / "data", "-U", "owner", "-A", "trust", "--no-sync")
    if furnish:
        furnish(directory / "data")
        _give(directory / "data", user)
    options = f"-c unix_socket_directories={directory} -c fsync=off {options}"
    _run(user, "pg_ctl", "-D", directory / "data", "-w", "-l", directory / "log", "-o", options, "start")
    try:
        yield directory
    finally:
        _run(user, "pg_ctl", "-D", directory / "data", "-m", "immediate", "stop")
        shutil.rmtree(directory)


def _unprivileged(directory: Path) -> str | None:
    """PostgreSQL refuses to run as root: then it runs as the user that Debian's package made."""
    if os.geteuid() != 0:
        return None
    account = pwd.getpwnam("postgres")
    os.chown(directory, account.pw_uid, account.pw_gid)
    return account.pw_name


def _give(directory: Path, user: str | None) -> None:
    if user is not None:
        for file in directory.iterdir():
            shutil.chown(file, user, user)


def _run(user: str | None, program: str, *arguments: str | Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    finished = subprocess.run(  # noqa: S603 - Debian's own programs
        [PROGRAMS / program, *arguments],
        check=False,
        user=user,
        cwd="/",
        env=environment,
        stdout=subprocess.DEVNULL,  # a server inherits it: a pipe would never end
        stderr=subprocess.DEVNULL,
    )
    assert finished.returncode == 0, f"{program} failed with {finished.returncode}"
