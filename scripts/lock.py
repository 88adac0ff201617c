"""Writes both locks from pyproject.toml; options such as `--upgrade` or `--upgrade-package NAME` are handed to uv."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from scripts.bootstrap import EVERYTHING, RUNTIME_ONLY
from scripts.fetch_uv import provide_uv, read_pin
from scripts.pip_settings import read_pip_settings, uv_arguments, uv_environment

_FORM = ("--universal", "--generate-hashes", "--python-version", "3.11", "--no-emit-index-url", "--no-emit-find-links")


def main() -> int:
    """Resolve everything, then the runtime alone within those versions; return the exit status."""
    root = Path(__file__).resolve().parent.parent
    configured = read_pip_settings(os.environ)
    # The lock must not depend on what one machine has lying about beside its main index.
    settings = replace(configured, index_urls=configured.index_urls[:1], find_links=())
    uv = provide_uv(root, read_pin((root / EVERYTHING).read_text()), settings)
    told = {**os.environ, **uv_environment(settings, os.environ)}
    for lock, options in ((EVERYTHING, ("--all-extras", *sys.argv[1:])), (RUNTIME_ONLY, ("-c", EVERYTHING))):
        header = ("--custom-compile-command", "make lock")
        command = [str(uv), "--quiet", "pip", "compile", *_FORM, *header, *options, "pyproject.toml", "-o", lock]
        subprocess.run([*command, *uv_arguments(settings)], cwd=root, env=told, check=True)  # noqa: S603 - our uv
    return 0


if __name__ == "__main__":
    sys.exit(main())
