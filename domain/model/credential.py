"""Credentials of a tenant: keys of model providers, of single models, and of tools. Their secrets are never shown."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Final
from uuid import UUID

from domain.errors import Invalid
from domain.model.identity import CredentialId, ModelId, PrincipalId, TenantId, ToolId, new_id, utc_now

MAX_SECRET: Final = 10_000
REFERENCE: Final = "os.environ/"
"""LiteLLM replaces a value that begins so by a variable of the server's environment."""


class CredentialKind(Enum):
    """What a credential opens."""

    PROVIDER = "PROVIDER"
    MODEL = "MODEL"
    TOOL = "TOOL"


@dataclass(slots=True)
class Credential:
    """A secret of the tenant's, encrypted at rest.

    `subject` is the provider's name, or the id of the model or tool. `header` is the HTTP header in which a tool's
    secret goes; empty for keys of models.
    """

    tenant_id: TenantId
    kind: CredentialKind
    subject: str
    ciphertext: bytes = field(repr=False)
    header: str = ""
    id: CredentialId = field(default_factory=lambda: CredentialId(new_id()))
    created_at: datetime = field(default_factory=utc_now)
    updated_at: datetime = field(default_factory=utc_now)
    created_by: PrincipalId | None = None

    @property
    def binding(self) -> str:
        """What its ciphertext is bound to, besides its tenant: the subject as `Vault` takes it."""
        return f"{self.kind.value}:{self.subject}"

    def binding_at(self, url: str) -> str:
        """The same for a secret that may go to this address alone, as a tool's: at another one it does not open."""
        return f"{self.binding}@{url}"

    @property
    def provider(self) -> str | None:
        """The provider whose models it opens, if it is that of one."""
        return self.subject if self.kind is CredentialKind.PROVIDER else None

    @property
    def model_id(self) -> ModelId | None:
        """The model that it opens, if it is that of one."""
        return ModelId(UUID(self.subject)) if self.kind is CredentialKind.MODEL else None

    @property
    def tool_id(self) -> ToolId | None:
        """The tool that it opens, if it is that of one."""
        return ToolId(UUID(self.subject)) if self.kind is CredentialKind.TOOL else None


def check_secret(secret: str) -> None:
    """Raises Invalid for what can be no key; the message never quotes it."""
    plain = secret.isascii() and secret.isprintable()
    if not secret.strip() or not plain or len(secret) > MAX_SECRET:
        raise Invalid.at(f"A secret has 1 to {MAX_SECRET} printable ASCII characters.", "secret")
    if secret.strip().startswith(REFERENCE):
        raise Invalid.at(f"A secret must not refer to the server's environment ({REFERENCE}).", "secret")
