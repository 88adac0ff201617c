"""Encrypts what tenants entrust to us: one or two Fernet keys of the deployment, and where an embedded one is kept.

A secret is encrypted together with its tenant and subject, so that a row which was moved to another does not open.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import orjson
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from app.complaints import Complaint
from app.settings import Settings, is_secret_key
from domain.errors import Unavailable
from domain.model.identity import TenantId
from domain.ports import Vault

KEPT_IN: Final = "secret.key"
_HOW_TO: Final = "The operator sets REGATTA_SECRET_KEY to what `regatta secret-key` prints."


class FernetVault:
    """See `domain.ports.Vault`. The first key encrypts, all decrypt; without any, nothing is stored or read."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._fernets = [Fernet(key) for key in keys]
        self._every = MultiFernet(self._fernets) if keys else None

    @classmethod
    def of(cls, settings: Settings) -> "FernetVault":
        """The vault of a deployment."""
        return cls(settings.secret_keys)

    def lock(self, tenant_id: TenantId, subject: str, secret: str) -> bytes:
        if self._every is None:
            raise _unavailable("Secrets cannot be stored: this server has no key to encrypt them with.")
        bound = {"tenant": str(tenant_id), "subject": subject, "secret": secret}
        return self._every.encrypt(orjson.dumps(bound))

    def unlock(self, tenant_id: TenantId, subject: str, ciphertext: bytes) -> str:
        if self._every is None:
            raise _unavailable("A stored secret cannot be read: this server has no key for it.")
        try:
            bound = orjson.loads(self._every.decrypt(ciphertext))
        except InvalidToken:
            raise _unavailable("A stored secret cannot be read: it was encrypted with another key.") from None
        if (bound["tenant"], bound["subject"]) != (str(tenant_id), subject):
            raise _unavailable("A stored secret cannot be read: it belongs to something else.")
        secret: str = bound["secret"]
        return secret

    def relocked(self, ciphertext: bytes) -> bytes | None:
        """The same encrypted with the first key; None when it is so already. Raises Unavailable as `unlock` does."""
        if self._every is None:
            raise _unavailable("Secrets cannot be encrypted anew: this server has no key.")
        try:
            self._fernets[0].decrypt(ciphertext)
        except InvalidToken:
            pass
        else:
            return None
        try:
            return self._every.rotate(ciphertext)
        except InvalidToken:
            raise _unavailable("A stored secret cannot be read: it was encrypted with another key.") from None


def _unavailable(message: str) -> Unavailable:
    error = Unavailable(message)
    error.suggestion = _HOW_TO
    return error


def new_key() -> str:
    """A fresh Fernet key as text."""
    return Fernet.generate_key().decode()


def kept_key(data_dir: Path) -> str:
    """The key of an embedded deployment, made at the first call; whoever calls holds the lock of the directory.

    Raises:
        Complaint: the file cannot be read or written, or there is something else in it.
    """
    file = data_dir / KEPT_IN
    try:
        if not file.exists():
            _write(file, new_key())
        key = file.read_text("ascii", errors="replace").strip()
    except OSError as error:
        raise Complaint(f"cannot keep the key for secrets in {file}: {error.strerror}") from None
    if not is_secret_key(key):
        raise Complaint(f"there is no Fernet key in {file}: put the right one back, or remove it")
    return key


def keep_key(data_dir: Path, key: str) -> Path | None:
    """Put this key in the place of the one that an embedded deployment keeps; the file, or None when there is none.

    Raises:
        Complaint: it cannot be written; the old one stays.
    """
    file = data_dir / KEPT_IN
    try:
        if not file.exists():
            return None
        _write(file, key)
    except OSError as error:
        raise Complaint(f"cannot keep the key for secrets in {file}: {error.strerror}") from None
    return file


def _write(file: Path, key: str) -> None:
    """Written beside its place first: a crash must not leave half a key that is taken for the whole."""
    draft = file.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(f"{key}\n")
        opened.flush()
        os.fsync(opened.fileno())
    draft.replace(file)


def _conforms(vault: FernetVault) -> Vault:
    return vault
