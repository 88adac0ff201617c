"""Makes `.venv` from the lock on a machine with Python and nothing else; does nothing when it is up to date.

Run as `python3 -m scripts.bootstrap` in the repository, for an image with `--runtime`. It has the standard
library only, for nothing is installed yet.
"""

from __future__ import annotations

import configparser
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

OLDEST_PYTHON = (3, 11)
FIRST_UNSUPPORTED_PYTHON = (3, 14)  # CrewAI's own bound
NEEDED_BYTES = 2 * 1024**3

EVERYTHING = "requirements.lock"
RUNTIME_ONLY = "requirements-runtime.lock"  # the same versions without what only development needs
# These would point uv at another environment than the one being made.
_MISLEADING = {"UV_SYSTEM_PYTHON", "UV_PYTHON", "VIRTUAL_ENV", "CONDA_PREFIX"}
_STAMP = Path(".venv", "regatta-setup.sha256")


class SetupFailed(Exception):
    """Setting up cannot go on; the text says why and what helps."""


def main() -> int:
    """Set up the repository this file stands in; return the exit status."""
    root = Path(__file__).resolve().parent.parent
    try:
        check_python(sys.version_info[:2])
        set_up(root, os.environ, RUNTIME_ONLY if "--runtime" in sys.argv[1:] else EVERYTHING)
    except SetupFailed as failure:
        print(f"Set-up failed: {failure}", file=sys.stderr)
        return 1
    return 0


def check_python(version: Sequence[int]) -> None:
    """Raise `SetupFailed` unless this Python can run Regatta."""
    if not OLDEST_PYTHON <= tuple(version) < FIRST_UNSUPPORTED_PYTHON:
        raise SetupFailed(
            f"Regatta needs Python 3.11, 3.12 or 3.13, this is {version[0]}.{version[1]}."
            " Name another one: make PYTHON=/path/to/python3.11 …"
        )


def check_disk(free_bytes: int) -> None:
    """Raise `SetupFailed` when the dependencies would not fit (2 GB)."""
    if free_bytes < NEEDED_BYTES:
        raise SetupFailed(
            f"the dependencies need 2 GB of free disk space and {free_bytes / 1024**3:.1f} GB are left here."
            " Free some, or clone the repository to another disk."
        )


def fingerprint(root: Path, lock: str) -> str:
    """Name the environment that a lock, the project and the place ask for (scripts hold absolute paths)."""
    digest = hashlib.sha256(f"{root}\n{sys.version_info[:2]}\n{lock}\n".encode())
    for name in (lock, "pyproject.toml"):
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def is_set_up(root: Path, lock: str) -> bool:
    """Tell whether `.venv` is complete and made from the present lock."""
    stamp, command = root / _STAMP, root / ".venv/bin/regatta"
    return command.exists() and stamp.is_file() and stamp.read_text() == fingerprint(root, lock)


def set_up(root: Path, environ: Mapping[str, str], lock: str) -> None:
    """Install everything unless it stands already; safe to interrupt, to repeat and to run twice at once.

    Raises `SetupFailed` for a full disk, an unreachable index, a wrong hash or a folder that cannot be written.
    """
    if is_set_up(root, lock):
        return
    try:
        with _one_at_a_time(root):
            if not is_set_up(root, lock):
                _install(root, environ, lock)
    except PermissionError as error:
        raise SetupFailed(f"{error.filename} cannot be written by this user.") from error


@contextmanager
def _one_at_a_time(root: Path) -> Iterator[None]:
    (root / ".tools").mkdir(exist_ok=True)
    with (root / ".tools" / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(root: Path, environ: Mapping[str, str], lock: str) -> None:
    check_disk(shutil.disk_usage(root).free)
    print(f"Setting up .venv from {lock}; the first time this takes a minute or two.", flush=True)
    uv = _prepare_uv(root, environ)
    python = str(root / ".venv/bin/python")
    uv("venv", "--clear", "--python", sys.executable, ".venv")
    uv("pip", "install", "--python", python, "--exact", "--compile-bytecode", "--require-hashes", "-r", lock)
    # The full lock holds the build backend; without it, it is fetched for the build under the same hashes.
    backend = ("--no-build-isolation",) if lock == EVERYTHING else ("--build-constraints", EVERYTHING)
    uv("pip", "install", "--python", python, "--no-deps", *backend, "-e", ".")
    (root / _STAMP).write_text(fingerprint(root, lock))


def _prepare_uv(root: Path, environ: Mapping[str, str]) -> Callable[..., None]:
    """Return what runs uv with pip's settings, and raises `SetupFailed` when uv does not succeed."""
    try:
        # Here, for only a Python that passed the check above can read these modules.
        from scripts.fetch_uv import UvUnavailable, provide_uv, read_pin  # noqa: PLC0415 - see above
        from scripts.pip_settings import read_pip_settings, uv_arguments, uv_environment  # noqa: PLC0415 - see above
    except ImportError as error:  # a minimal Python leaves out parts of the standard library, ssl for one
        raise SetupFailed(f"this Python lacks a part of its standard library ({error.name}).") from error
    try:
        settings = read_pip_settings(environ)
        uv = provide_uv(root, read_pin((root / "requirements.lock").read_text()), settings)
    except (UvUnavailable, configparser.Error) as error:
        raise SetupFailed(str(error)) from error
    inherited = {name: environ[name] for name in environ if name not in _MISLEADING}
    told = inherited | _cache_variables(root, environ) | uv_environment(settings, environ)
    return partial(_run, (str(uv), "--quiet", "--no-python-downloads"), uv_arguments(settings), root, told)


def _cache_variables(root: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Keep uv's cache in the project where the user's own cache folder cannot be written (no home, foreign home)."""
    if "UV_CACHE_DIR" in environ:
        return {}
    cache = Path(environ.get("XDG_CACHE_HOME") or Path("~").expanduser() / ".cache") / "uv"
    # `os.access`, for `Path.exists` raises inside a folder that may not be entered (another user's home).
    nearest = next(place for place in (cache, *cache.parents) if os.access(place, os.F_OK))
    return {} if os.access(nearest, os.W_OK) else {"UV_CACHE_DIR": str(root / ".tools" / "cache")}


def _run(uv: Sequence[str], more: Sequence[str], root: Path, environ: Mapping[str, str], *step: str) -> None:
    command = (*uv, *step, *more)
    finished = subprocess.run(command, cwd=root, env=environ, check=False)  # noqa: S603 - the uv provided above
    if finished.returncode != 0:
        name = " ".join(step[: 2 if step[0] == "pip" else 1])
        raise SetupFailed(f"`uv {name}` did not succeed; its own message stands above. Run make again to go on.")


if __name__ == "__main__":
    sys.exit(main())
