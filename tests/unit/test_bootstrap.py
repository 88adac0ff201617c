"""The set-up of a fresh machine, as far as it can be seen without downloading anything."""

import hashlib
import platform
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from scripts.bootstrap import EVERYTHING, NEEDED_BYTES, SetupFailed, check_disk, check_python, fingerprint, is_set_up
from scripts.check_lock import direct_requirements, faults_of_text, npm_faults, pins, unmet
from scripts.fetch_uv import Pin, UvUnavailable, fits_this_machine, links_in, provide_uv, read_pin
from scripts.pip_settings import (
    PUBLIC_INDEX,
    PipSettings,
    config_files,
    read_pip_settings,
    uv_arguments,
    uv_environment,
)

ROOT = Path(__file__).parents[2]
MIRROR = "https://mirror.example/simple"
WHEEL = "uv-1.2.3-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"


def settings_from(tmp_path: Path, text: str = "", environ: Mapping[str, str] | None = None) -> PipSettings:
    file = tmp_path / "pip.conf"
    file.write_text(text)
    return read_pip_settings(environ or {}, [file])


def a_repository(root: Path) -> Path:
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / ".venv" / "bin" / "regatta").touch()
    (root / "requirements.lock").write_text("rich==1.0\n")
    (root / "pyproject.toml").write_text("[project]\n")
    (root / ".venv" / "regatta-setup.sha256").write_text(fingerprint(root, EVERYTHING))
    return root


def test_without_any_setting_uv_is_told_nothing(tmp_path: Path) -> None:
    settings = settings_from(tmp_path)

    assert settings == PipSettings()
    assert uv_environment(settings, {}) == {}


def test_an_environment_variable_wins_over_a_configuration_file(tmp_path: Path) -> None:
    settings = settings_from(tmp_path, f"[global]\nindex-url = {MIRROR}\n", {"PIP_INDEX_URL": "https://other.example"})

    assert settings.index_urls == ("https://other.example",)


def test_an_empty_environment_variable_does_not_undo_a_configuration_file(tmp_path: Path) -> None:
    settings = settings_from(tmp_path, f"[global]\nindex-url = {MIRROR}\n", {"PIP_INDEX_URL": ""})

    assert settings.index_urls == (MIRROR,)


def test_the_install_section_wins_over_the_global_one(tmp_path: Path) -> None:
    settings = settings_from(
        tmp_path, f"[install]\nindex_url = {MIRROR}\n[global]\nindex-url = https://other.example\n"
    )

    assert settings.index_urls == (MIRROR,)


def test_lists_may_run_over_several_lines(tmp_path: Path) -> None:
    text = "[global]\nextra-index-url = https://a.example\n    https://b.example\ntrusted-host =\n    c.example\n"

    settings = settings_from(tmp_path, text)

    assert settings.index_urls == (PUBLIC_INDEX, "https://a.example", "https://b.example")
    assert settings.trusted_hosts == ("c.example",)


def test_places_on_this_machine_that_do_not_exist_are_left_out(tmp_path: Path) -> None:
    there = (tmp_path / "there").absolute()
    there.mkdir()
    gone = (tmp_path / "gone").as_uri()

    settings = settings_from(
        tmp_path,
        f"[global]\nextra-index-url = {gone} {there.as_uri()}\nfind-links = {there} {gone}\n",
    )

    assert settings.index_urls == (PUBLIC_INDEX, there.as_uri())
    assert settings.find_links == (str(there),)


def test_no_index_leaves_the_folders_alone(tmp_path: Path) -> None:
    settings = settings_from(tmp_path, environ={"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)})

    assert settings.index_urls == ()
    assert uv_arguments(settings) == ("--no-index",)
    assert uv_environment(settings, {}) == {"UV_FIND_LINKS": str(tmp_path)}


def test_uv_weighs_all_indexes_as_pip_does_and_prefers_the_main_one() -> None:
    told = uv_environment(PipSettings(index_urls=(MIRROR, "https://extra.example")), {})

    assert told == {
        "UV_DEFAULT_INDEX": MIRROR,
        "UV_INDEX": f"{MIRROR} https://extra.example",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }


def test_what_is_set_for_uv_already_stays() -> None:
    proxy = "http://proxy.example:3128"
    settings = PipSettings(index_urls=(MIRROR,), cert="/etc/ca.pem", proxy=proxy, timeout_seconds=180)

    told = uv_environment(settings, {"UV_DEFAULT_INDEX": "https://mine.example", "SSL_CERT_FILE": "/mine.pem"})

    assert told == {"ALL_PROXY": proxy, "UV_HTTP_TIMEOUT": "180"}


def test_a_directory_of_certificates_is_told_as_one(tmp_path: Path) -> None:
    assert uv_environment(PipSettings(cert=str(tmp_path)), {}) == {"SSL_CERT_DIR": str(tmp_path)}


def test_a_named_configuration_file_replaces_the_users_own(tmp_path: Path) -> None:
    named = tmp_path / "named.conf"
    named.touch()

    files = config_files({"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(named)})

    assert files[-1] == named
    assert tmp_path / ".pip" / "pip.conf" not in files


def test_the_null_device_as_configuration_file_means_no_file_at_all() -> None:
    assert config_files({"PIP_CONFIG_FILE": "/dev/null"}) == []


def test_the_users_file_is_read_after_the_machines(tmp_path: Path) -> None:
    files = config_files({"HOME": str(tmp_path), "XDG_CONFIG_DIRS": "/etc/one"})

    assert files.index(Path("/etc/one/pip/pip.conf")) < files.index(tmp_path / ".pip" / "pip.conf")


def test_the_pin_of_uv_is_read_from_the_lock() -> None:
    lock = (
        f"urllib3==2 \\\n    --hash=sha256:{'a' * 64}\n"
        f"uv==1.2.3 \\\n    --hash=sha256:{'b' * 64} \\\n    --hash=sha256:{'c' * 64}\n    # via x\n"
        f"yarl==2 \\\n    --hash=sha256:{'d' * 64}\n"
    )

    pin = read_pin(lock)

    assert pin.version == "1.2.3"
    assert pin.hashes == frozenset({"b" * 64, "c" * 64})
    assert pin.requirement.startswith("uv==1.2.3 ")
    assert "via" not in pin.requirement


def test_a_lock_without_hashes_for_uv_is_refused() -> None:
    with pytest.raises(UvUnavailable):
        read_pin("uv==1.2.3\n")


def test_the_repositorys_own_lock_pins_uv() -> None:
    pin = read_pin((ROOT / "requirements.lock").read_text(encoding="utf-8"))

    assert len(pin.hashes) > 1


@pytest.mark.parametrize(
    ("filename", "system", "machine", "libc", "fits"),
    [
        (WHEEL, "Linux", "x86_64", "glibc", True),
        (WHEEL, "Linux", "x86_64", "", False),
        (WHEEL, "Linux", "aarch64", "glibc", False),
        ("uv-1.2.3-py3-none-musllinux_1_1_x86_64.whl", "Linux", "x86_64", "", True),
        ("uv-1.2.3-py3-none-macosx_11_0_arm64.whl", "Darwin", "arm64", "", True),
        ("uv-1.2.4-py3-none-macosx_11_0_arm64.whl", "Darwin", "arm64", "", False),
        ("uv-1.2.3.tar.gz", "Linux", "x86_64", "glibc", False),
    ],
)
def test_only_the_pinned_wheel_for_this_machine_fits(
    filename: str, system: str, machine: str, libc: str, *, fits: bool
) -> None:
    pin = Pin("1.2.3", frozenset(), "")

    assert fits_this_machine(filename, pin, system=system, machine=machine, libc=libc) is fits


def test_links_of_an_index_page_are_absolute() -> None:
    html = '<a href="../../files/a.whl#sha256=1">a</a><a href="https://files.example/b.whl">b</a><a>none</a>'

    assert links_in(html, f"{MIRROR}/uv/", "text/html") == [
        "https://mirror.example/files/a.whl#sha256=1",
        "https://files.example/b.whl",
    ]


def test_links_of_a_json_index_are_absolute() -> None:
    page = '{"files": [{"url": "../../files/a.whl"}]}'

    assert links_in(page, f"{MIRROR}/uv/", "application/vnd.pypi.simple.v1+json") == [
        "https://mirror.example/files/a.whl"
    ]


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a uv wheel for this "machine"; no uv on PATH, and a pip that finds nothing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        wheel.writestr("uv-1.2.3.data/scripts/uv", "#!/bin/sh\n")
    return folder


def test_uv_is_unpacked_into_the_projects_own_folder(tmp_path: Path, wheels: Path) -> None:
    digest = hashlib.sha256((wheels / WHEEL).read_bytes()).hexdigest()

    uv = provide_uv(tmp_path, Pin("1.2.3", frozenset({digest}), ""), PipSettings((), (str(wheels),)))

    assert uv == tmp_path / ".tools" / "uv-1.2.3" / "uv"
    assert uv.read_text() == "#!/bin/sh\n"
    assert uv.stat().st_mode & 0o111


def test_a_uv_with_another_hash_is_refused_and_leaves_nothing_behind(tmp_path: Path, wheels: Path) -> None:
    with pytest.raises(UvUnavailable):
        provide_uv(tmp_path, Pin("1.2.3", frozenset({"0" * 64}), ""), PipSettings((), (str(wheels),)))

    assert list((tmp_path / ".tools").iterdir()) == []


def test_a_complete_environment_is_left_alone(tmp_path: Path) -> None:
    assert is_set_up(a_repository(tmp_path), EVERYTHING)


@pytest.mark.parametrize("changed", ["requirements.lock", "pyproject.toml"])
def test_a_change_of_what_is_asked_for_means_setting_up_again(tmp_path: Path, changed: str) -> None:
    root = a_repository(tmp_path)

    (root / changed).write_text("something else\n")

    assert not is_set_up(root, EVERYTHING)


def test_a_repository_that_was_moved_is_set_up_again(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    a_repository(tmp_path / "old").rename(tmp_path / "new")

    assert not is_set_up(tmp_path / "new", EVERYTHING)


def test_less_than_two_gigabytes_of_disk_are_refused() -> None:
    check_disk(NEEDED_BYTES)

    with pytest.raises(SetupFailed, match="2 GB of free disk space"):
        check_disk(NEEDED_BYTES - 1)


@pytest.mark.parametrize("version", [(3, 10), (3, 14)])
def test_a_python_that_cannot_run_regatta_is_refused(version: tuple[int, int]) -> None:
    check_python((3, 11))

    with pytest.raises(SetupFailed, match=r"3\.11, 3\.12 or 3\.13"):
        check_python(version)


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("rich==1.0 \\\n    --hash=sha256:00\n", 0),
        ("rich==1.0\nyarl==2 \\\n    --hash=sha256:00\n", 1),
        (f"--index-url {MIRROR}\nrich==1.0 \\\n    --hash=sha256:00\n", 1),
    ],
)
def test_a_lock_has_hashes_and_no_addresses(text: str, faults: int) -> None:
    assert len(list(faults_of_text("requirements.lock", text))) == faults


def test_a_lock_that_lags_behind_the_project_is_noticed() -> None:
    project = '[project]\ndependencies = ["Rich>=2"]\n[project.optional-dependencies]\ndev = ["ruff"]\n'
    requirements = direct_requirements(project)

    assert len(list(unmet(requirements, pins("rich==1.0\n")))) == 2
    assert list(unmet(requirements, pins("rich==2.1 ; x\nruff==0.1\n"))) == []


def test_an_npm_lock_that_records_where_it_downloaded_is_noticed() -> None:
    assert list(npm_faults("package-lock.json", '{"packages": {"a": {"version": "1"}}}')) == []
    assert len(list(npm_faults("package-lock.json", '{"packages": {"a": {"resolved": "x"}}}'))) == 1


def test_every_direct_dependency_says_what_it_is_for() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    asked_for = direct_requirements((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    assert [wanted.name for wanted in asked_for if f"`{wanted.name}" not in page] == []
