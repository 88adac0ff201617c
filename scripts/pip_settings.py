"""Reads where pip is told to find packages, without pip, and says the same to uv; nothing is downloaded here."""

from __future__ import annotations

import configparser
import contextlib
import importlib
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


def _public_index() -> str:
    """Return pip's own default, from pip or from where Python 3.11 uploads to; no address of it stands here.

    Empty where neither is there: then pip's settings have to name an index.
    """
    with contextlib.suppress(ImportError, AttributeError):
        return f"{importlib.import_module('pip._internal.models.index').PyPI.simple_url}/"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            uploads = importlib.import_module("distutils.config").PyPIRCCommand.DEFAULT_REPOSITORY
        except (ImportError, AttributeError):
            return ""
    return f"https://{urlsplit(uploads).netloc.removeprefix('upload.')}/simple/"


PUBLIC_INDEX = _public_index()

_UV_INDEX_VARIABLES = {"UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL"}
_TRUE = {"1", "on", "t", "true", "y", "yes"}


@dataclass(frozen=True)
class PipSettings:
    """What pip would use; locations on this machine that do not exist are left out.

    `index_urls` begins with the main index and is empty under `no-index`. `timeout_seconds` and the paths are
    None where pip is not told anything.
    """

    index_urls: tuple[str, ...] = (PUBLIC_INDEX,)
    find_links: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] = ()
    cert: str | None = None
    client_cert: str | None = None
    proxy: str | None = None
    timeout_seconds: float | None = None


def read_pip_settings(environ: Mapping[str, str], files: Iterable[Path] | None = None) -> PipSettings:
    """Merge pip's configuration files and `PIP_*` variables as `pip install` does: the last one named wins.

    Raises `configparser.Error` when a file is no INI file, as pip does.
    """
    options = _merged_options(environ, config_files(environ) if files is None else files)
    main = options.get("index-url") or options.get("pypi-url") or PUBLIC_INDEX
    indexes = [main, *options.get("extra-index-url", "").split()]
    offline = options.get("no-index", "").lower() in _TRUE
    return PipSettings(
        index_urls=() if offline else _existing(indexes),
        find_links=_existing(options.get("find-links", "").split()),
        trusted_hosts=tuple(options.get("trusted-host", "").split()),
        cert=options.get("cert"),
        client_cert=options.get("client-cert"),
        proxy=options.get("proxy"),
        timeout_seconds=_seconds(options.get("timeout") or options.get("default-timeout")),
    )


def uv_environment(settings: PipSettings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that make uv look where pip would; whatever is set for uv already stays as it is."""
    told = _transport_variables(settings)
    if _UV_INDEX_VARIABLES.isdisjoint(environ):
        told |= _index_variables(settings)
    return {name: value for name, value in told.items() if name not in environ}


def uv_arguments(settings: PipSettings) -> tuple[str, ...]:
    """Return what uv knows as an option only: to use no index at all."""
    return () if settings.index_urls else ("--no-index",)


def config_files(environ: Mapping[str, str]) -> list[Path]:
    """List pip's configuration files in the order pip reads them (they need not exist)."""
    named = environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    chosen = [Path(named)] if named else []
    # pip leaves the user's files out when one is named that exists.
    users = [] if chosen and os.access(chosen[0], os.F_OK) else _user_files(environ)
    return [*_machine_files(environ), *users, Path(sys.prefix, "pip.conf"), *chosen]


def local_path(location: str) -> Path | None:
    """Return the path behind a `file:` address or a plain path, None for any other address."""
    parts = urlsplit(location)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return None if "://" in location else Path(location).expanduser()


def _machine_files(environ: Mapping[str, str]) -> list[Path]:
    if sys.platform == "darwin":
        return [Path("/Library/Application Support/pip/pip.conf")]
    shared = environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    return [
        *(Path(place, "pip", "pip.conf") for place in shared.split(os.pathsep) if place),
        Path("/etc/pip.conf"),
    ]


def _user_files(environ: Mapping[str, str]) -> list[Path]:
    home = Path(environ.get("HOME") or Path("~").expanduser())
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    library = home / "Library" / "Application Support" / "pip"
    modern = library if sys.platform == "darwin" and library.is_dir() else config / "pip"
    return [home / ".pip" / "pip.conf", modern / "pip.conf"]


def _merged_options(environ: Mapping[str, str], files: Iterable[Path]) -> dict[str, str]:
    everywhere: dict[str, str] = {}
    for_install: dict[str, str] = {}
    for path in files:
        parser = configparser.RawConfigParser()
        parser.read(path, encoding="utf-8")
        everywhere |= dict(_section(parser, "global"))
        for_install |= dict(_section(parser, "install"))
    return everywhere | for_install | dict(_variables(environ))


def _section(parser: configparser.RawConfigParser, name: str) -> Iterator[tuple[str, str]]:
    # An empty value says nothing to pip: it does not undo an earlier one.
    if parser.has_section(name):
        yield from ((_option(key), value.strip()) for key, value in parser.items(name) if value.strip())


def _variables(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in environ.items():
        if name.startswith("PIP_") and value.strip():
            yield _option(name[len("PIP_") :]), value.strip()


def _option(key: str) -> str:
    return key.lower().replace("_", "-").removeprefix("--")


def _existing(locations: Iterable[str]) -> tuple[str, ...]:
    paths = ((location, local_path(location)) for location in locations)
    here = (location for location, path in paths if location and (path is None or os.access(path, os.R_OK)))
    return tuple(dict.fromkeys(here))


def _seconds(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _index_variables(settings: PipSettings) -> dict[str, str]:
    told = {"UV_FIND_LINKS": ",".join(settings.find_links)} if settings.find_links else {}
    if settings.index_urls in {(), (PUBLIC_INDEX,)}:
        return told  # uv's own default, which its own configuration may have changed
    # pip gives no index precedence. uv does, and its default index comes last: named first too, the main index
    # supplies what several have. Which file is installed is settled by the hashes in the lock.
    return told | {
        "UV_DEFAULT_INDEX": settings.index_urls[0],
        "UV_INDEX": " ".join(settings.index_urls),
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }


def _transport_variables(settings: PipSettings) -> dict[str, str]:
    told = {
        "SSL_CLIENT_CERT": settings.client_cert,
        "ALL_PROXY": settings.proxy,
        "UV_INSECURE_HOST": " ".join(settings.trusted_hosts),
        "UV_HTTP_TIMEOUT": settings.timeout_seconds and str(int(settings.timeout_seconds) or 1),
    }
    if settings.cert:
        told["SSL_CERT_DIR" if Path(settings.cert).is_dir() else "SSL_CERT_FILE"] = settings.cert
    return {name: str(value) for name, value in told.items() if value}
