"""Checks what a lock must be besides resolvable: hashed throughout, without addresses, in step with pyproject.toml."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.bootstrap import EVERYTHING, RUNTIME_ONLY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ADDRESS = re.compile(r"\w+://|^--(?:index|extra-index|find-links|trusted-host)", re.MULTILINE)
_LOCKED = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)", re.MULTILINE)


def main() -> int:
    """Print every fault of the repository's locks; return 1 when there is one."""
    root = Path(__file__).resolve().parent.parent
    faults = list(faults_in(root))
    print("\n".join(faults) or "Locks: hashed, without addresses, in step with pyproject.toml.")
    return 1 if faults else 0


def faults_in(root: Path) -> Iterator[str]:
    """Yield a sentence for each fault of the Python locks and of npm's, if there is any."""
    full, runtime = ((root / name).read_text() for name in (EVERYTHING, RUNTIME_ONLY))
    for name, text in ((EVERYTHING, full), (RUNTIME_ONLY, runtime)):
        yield from faults_of_text(name, text)
    yield from (
        f"{RUNTIME_ONLY}: {name} {version} is not in {EVERYTHING}" for name, version in pins(runtime) - pins(full)
    )
    yield from unmet(direct_requirements((root / "pyproject.toml").read_text()), pins(full))
    for path in (path for path in root.glob("scripts/**/package-lock.json") if "node_modules" not in path.parts):
        yield from npm_faults(path.relative_to(root).as_posix(), path.read_text())


def faults_of_text(name: str, text: str) -> Iterator[str]:
    """Yield the faults that show in one lock alone."""
    if _ADDRESS.search(text):
        yield f"{name} names an address to download from; `make lock` writes it without"
    for entry in re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]:
        if "--hash=sha256:" not in entry:
            yield f"{name}: no hash for {entry.split()[0]}"


def pins(text: str) -> set[tuple[str, str]]:
    """Return (normalised name, version) of everything a lock holds; a name may occur with several versions."""
    return {(canonicalize_name(name), version) for name, version in _LOCKED.findall(text)}


def direct_requirements(project: str) -> list[Requirement]:
    """Return what pyproject.toml asks for, all extras included."""
    table = tomllib.loads(project)["project"]
    lines = [*table["dependencies"], *(line for extra in table["optional-dependencies"].values() for line in extra)]
    return [Requirement(line) for line in lines]


def unmet(requirements: Iterable[Requirement], locked: set[tuple[str, str]]) -> Iterator[str]:
    """Yield a sentence for each direct requirement that no pin of the lock satisfies."""
    for wanted in requirements:
        versions = [version for name, version in locked if name == canonicalize_name(wanted.name)]
        if not any(wanted.specifier.contains(version, prereleases=True) for version in versions):
            yield f"{EVERYTHING} does not satisfy {wanted}; run `make lock`"


def npm_faults(name: str, text: str) -> Iterator[str]:
    """Yield a sentence when an npm lock records where packages came from (`omit-lockfile-registry-resolved=true`)."""
    if any("resolved" in package for package in json.loads(text).get("packages", {}).values()):
        yield f"{name} records download addresses; make it again with omit-lockfile-registry-resolved=true"


if __name__ == "__main__":
    sys.exit(main())
