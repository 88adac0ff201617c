"""The vault: what it binds, which keys open what, where an embedded deployment keeps its key, and rotation."""

import asyncio
import base64
import re
import stat
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app import cli
from app.complaints import Complaint
from app.settings import BadSettings, Settings, load
from app.vault import FernetVault, kept_key
from domain.errors import Unavailable
from domain.model.credential import Credential, CredentialKind
from domain.model.identity import DEFAULT_TENANT, TenantId
from persistence.engine import Database
from persistence.rotation import reencrypt
from persistence.unit_of_work import SqlUnitsOfWork

SECRET = "sk-entrusted-4eC39Hq"
# Always the same: test workers have to agree on the names of the tests.
OLD, NEW, OTHER = (base64.urlsafe_b64encode(letter * 32).decode() for letter in (b"o", b"n", b"x"))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.variables():
        monkeypatch.delenv(name, raising=False)


def test_what_was_locked_opens_for_the_same_tenant_and_subject() -> None:
    vault = FernetVault([OLD])

    locked = vault.lock(DEFAULT_TENANT, "PROVIDER:openai", SECRET)

    assert vault.unlock(DEFAULT_TENANT, "PROVIDER:openai", locked) == SECRET
    assert SECRET.encode() not in locked


@pytest.mark.parametrize(
    ("tenant_id", "subject"),
    [(TenantId(uuid4()), "PROVIDER:openai"), (DEFAULT_TENANT, "PROVIDER:mistral"), (DEFAULT_TENANT, "MODEL:openai")],
)
def test_a_row_that_was_moved_to_another_tenant_or_subject_does_not_open(tenant_id: TenantId, subject: str) -> None:
    vault = FernetVault([OLD])
    locked = vault.lock(DEFAULT_TENANT, "PROVIDER:openai", SECRET)

    with pytest.raises(Unavailable) as caught:
        vault.unlock(tenant_id, subject, locked)

    assert str(caught.value) == "A stored secret cannot be read: it belongs to something else."


@pytest.mark.parametrize("broken", [b"", b"nonsense", FernetVault([OTHER]).lock(DEFAULT_TENANT, "s", SECRET)])
def test_what_another_key_encrypted_or_nobody_did_does_not_open(broken: bytes) -> None:
    with pytest.raises(Unavailable, match="it was encrypted with another key"):
        FernetVault([OLD]).unlock(DEFAULT_TENANT, "s", broken)


def test_without_a_key_nothing_is_locked_or_opened_and_the_operator_is_told_what_to_do() -> None:
    vault = FernetVault()

    for act in (
        lambda: vault.lock(DEFAULT_TENANT, "s", SECRET),
        lambda: vault.unlock(DEFAULT_TENANT, "s", b"x"),
        lambda: vault.relocked(b"x"),
    ):
        with pytest.raises(Unavailable) as caught:
            act()
        assert "`regatta secret-key`" in (caught.value.suggestion or "")
        assert SECRET not in str(caught.value)


def test_the_first_key_encrypts_and_both_decrypt() -> None:
    both = FernetVault([NEW, OLD])
    before = FernetVault([OLD]).lock(DEFAULT_TENANT, "s", SECRET)

    assert both.unlock(DEFAULT_TENANT, "s", before) == SECRET
    assert FernetVault([NEW]).unlock(DEFAULT_TENANT, "s", both.lock(DEFAULT_TENANT, "s", SECRET)) == SECRET


# ---------------------------------------------------------------- keys as settings


@pytest.mark.parametrize("value", ["hunter2", OLD[:-1], f"{OLD},{NEW},{OTHER}", f"{OLD},hunter2", ",", f"{OLD} {NEW}"])
def test_what_is_no_key_is_refused_at_the_start_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("REGATTA_SECRET_KEY", value)

    with pytest.raises(BadSettings) as caught:
        load()

    expected = "should be one or two keys, comma-separated, as `regatta secret-key` prints them (value not shown)"
    assert caught.value.lines == (f"REGATTA_SECRET_KEY {expected}",)


def test_keys_are_read_in_their_order_handed_to_children_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGATTA_SECRET_KEY", f" {NEW} , {OLD}")

    settings = load()
    monkeypatch.setenv("REGATTA_SECRET_KEY", settings.environment()["REGATTA_SECRET_KEY"])

    assert settings.secret_keys == load().secret_keys == (NEW, OLD)
    assert NEW not in repr(settings)
    assert load(data_dir=Path("x")).with_secret_key(OTHER).secret_keys == (OTHER,)


def test_the_command_prints_a_key_that_the_setting_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = []
    for _ in range(2):
        monkeypatch.setattr("sys.argv", ["regatta", "secret-key"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        printed.append(capsys.readouterr().out.strip())
    monkeypatch.setenv("REGATTA_SECRET_KEY", ",".join(printed))

    assert load().secret_keys == tuple(printed)
    assert printed[0] != printed[1]


def test_an_embedded_deployment_makes_its_key_once_readable_for_its_owner_alone(tmp_path: Path) -> None:
    key = kept_key(tmp_path)

    assert kept_key(tmp_path) == key
    assert [path.name for path in tmp_path.iterdir()] == ["secret.key"]
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600
    assert FernetVault([key]).lock(DEFAULT_TENANT, "s", SECRET)


@pytest.mark.parametrize("content", ["", "half-a-k", f"{OLD}\n{NEW}", "é"])
def test_a_file_without_a_key_is_told_and_left_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / "secret.key").write_text(content, "utf-8")

    with pytest.raises(Complaint, match="there is no Fernet key in"):
        kept_key(tmp_path)

    assert (tmp_path / "secret.key").read_text("utf-8") == content


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(Complaint, match="No such file or directory"):
        kept_key(tmp_path / "missing")


# ---------------------------------------------------------------- rotation


async def _kept(database: Database, vault: FernetVault, *providers: str) -> None:
    async with SqlUnitsOfWork(database.engine)(DEFAULT_TENANT) as unit:
        for provider in providers:
            credential = Credential(DEFAULT_TENANT, CredentialKind.PROVIDER, provider, b"")
            credential.ciphertext = vault.lock(DEFAULT_TENANT, credential.binding, f"{SECRET}-{provider}")
            await unit.credentials.keep(credential)
        await unit.commit()


async def _opened(database: Database, vault: FernetVault) -> dict[str, str]:
    rows = await database.pool.fetch("SELECT subject, ciphertext FROM credential")
    return {row[0]: vault.unlock(DEFAULT_TENANT, f"PROVIDER:{row[0]}", row[1]) for row in rows}


async def test_rotation_encrypts_everything_with_the_first_key_and_may_be_repeated(database: Database) -> None:
    providers = ("openai", "mistral", "groq", "xai", "cohere")
    await _kept(database, FernetVault([OLD]), *providers)
    both = FernetVault([NEW, OLD])

    first = await reencrypt(database.pool, both.relocked, batch=2)
    again = await reencrypt(database.pool, both.relocked, batch=2)

    assert (first.seen, first.changed, first.unreadable) == (5, 5, 0)
    assert (again.seen, again.changed, again.unreadable) == (5, 0, 0)
    assert await _opened(database, FernetVault([NEW])) == {name: f"{SECRET}-{name}" for name in providers}


async def test_what_is_set_while_keys_are_rotated_is_not_overwritten(database: Database) -> None:
    await _kept(database, FernetVault([OLD]), "openai")
    both = FernetVault([NEW, OLD])
    later = both.lock(DEFAULT_TENANT, "PROVIDER:openai", "set meanwhile")

    class Overtaken:
        """The pool, on which somebody else is quicker behind each read."""

        async def fetch(self, statement: str, *arguments: Any) -> Any:
            found = await database.pool.fetch(statement, *arguments)
            await database.pool.execute("UPDATE credential SET ciphertext = $1", later)
            return found

    done = await reencrypt(Overtaken(), both.relocked)  # type: ignore[arg-type]  # stands in for the pool

    assert (done.seen, done.changed) == (1, 0)
    assert await _opened(database, both) == {"openai": "set meanwhile"}


async def test_what_opens_with_no_key_is_counted_and_does_not_keep_the_rest(database: Database) -> None:
    await _kept(database, FernetVault([OTHER]), "openai")
    await _kept(database, FernetVault([OLD]), "mistral")

    done = await reencrypt(database.pool, FernetVault([NEW, OLD]).relocked)

    assert (done.seen, done.changed, done.unreadable) == (2, 1, 1)


class _Embedded:
    """Stands in for the embedded server of a directory: it is the database of the test."""

    url = ""

    def __init__(self, _data_dir: Path) -> None: ...

    def start(self) -> str:
        return self.url

    def stop(self) -> None: ...


async def test_an_embedded_deployment_goes_on_with_the_first_key_when_everything_has_it(
    database: Database,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(_Embedded, "url", database_url)
    monkeypatch.setattr("app.cli.EmbeddedPostgres", _Embedded)
    monkeypatch.setenv("REGATTA_DATA_DIR", str(tmp_path))
    file = tmp_path / "secret.key"
    file.write_text(f"{OLD}\n")
    await _kept(database, FernetVault([OLD]), "openai")
    await _kept(database, FernetVault([OTHER]), "groq")

    failed = await asyncio.to_thread(_rotated, monkeypatch, capsys, f"{NEW},{OLD}", "")
    assert (failed[0], kept_key(tmp_path)) == (1, OLD)  # something may need it
    await database.pool.execute("DELETE FROM credential WHERE subject = 'groq'")
    status, said = await asyncio.to_thread(_rotated, monkeypatch, capsys, f"{NEW},{OLD}", "")

    assert status == 0
    assert "secret.key holds that key now: back it up." in said
    assert kept_key(tmp_path) == NEW
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert await _opened(database, FernetVault([kept_key(tmp_path)])) == {"openai": f"{SECRET}-openai"}

    file.unlink()
    status, said = await asyncio.to_thread(_rotated, monkeypatch, capsys, NEW, "")
    assert (status, file.exists(), "secret.key" in said) == (0, False, False)


def _rotated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], keys: str | None, url: str
) -> tuple[int, str]:
    monkeypatch.setenv("REGATTA_DATABASE_URL", url)
    if keys is not None:
        monkeypatch.setenv("REGATTA_SECRET_KEY", keys)
    monkeypatch.setattr("sys.argv", ["regatta", "rotate-secrets"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    return int(ended.value.code or 0), re.sub(r"\s+", " ", said.out + said.err).strip()


def test_the_command_tells_how_many_it_changed(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _rotated(monkeypatch, capsys, f"{NEW},{OLD}", database_url) == (
        0,
        "0 of 0 secrets were encrypted anew with the first key.",
    )


def test_the_command_needs_a_key(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = _rotated(monkeypatch, capsys, None, database_url)

    assert status == 1
    assert said.startswith("regatta: REGATTA_SECRET_KEY is needed: ")


def test_the_command_tells_in_a_line_that_the_database_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "postgresql://nobody@127.0.0.1:1/nothing"

    status, said = _rotated(monkeypatch, capsys, NEW, url)

    assert status == 1
    assert said.startswith("regatta: cannot change the database: ")
