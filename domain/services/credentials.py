"""Use cases on credentials: keys of providers and of own models, secrets of tools. They go in and never come out."""

import re
from typing import Final
from uuid import UUID

from domain.errors import Archived, Invalid, NotFound, located
from domain.model.availability import FREE_PROVIDERS
from domain.model.credential import Credential, CredentialKind, check_secret
from domain.model.identity import CredentialId, PrincipalId, TenantId
from domain.model.model_names import PROVIDERS
from domain.model.tool import ToolKind
from domain.ports import UnitOfWork, UnitsOfWork, Vault

MAX_CREDENTIALS: Final = 1_000
"""The most credentials of a tenant: their list is not paged."""

PROVIDERS_WITH_KEYS: Final = PROVIDERS - FREE_PROVIDERS
DEFAULT_HEADER: Final = "Authorization"
MAX_HEADER: Final = 100
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_OF_THE_TRANSPORT: Final = re.compile(
    r"host|connection|keep-alive|te|trailer|transfer-encoding|upgrade|expect|accept|accept-.*|content-.*|proxy-.*"
    r"|mcp-.*|last-event-id|sec-.*"
)


class Secrets:
    """Takes secrets, encrypted before they are stored; a second one for the same subject replaces the first.

    All raise Invalid for what can be no secret, and Unavailable while this server has no key to encrypt with.
    """

    def __init__(self, units: UnitsOfWork, vault: Vault) -> None:
        self.units = units
        self.vault = vault

    async def set_provider_key(
        self, tenant_id: TenantId, provider: str, key: str, by: PrincipalId | None = None
    ) -> Credential:
        """The tenant's key for all models of a provider; raises Invalid for one that takes no key."""
        if provider not in PROVIDERS_WITH_KEYS:  # not quoted: whoever mixes up the two gives the key here
            known = ", ".join(sorted(PROVIDERS_WITH_KEYS))
            raise Invalid.at(f"This is no provider that takes a key; these are: {known}.", "provider")
        wanted = Credential(tenant_id, CredentialKind.PROVIDER, provider, b"", created_by=by)
        self._lock(wanted, wanted.binding, key, "key")
        async with self.units(tenant_id) as unit:
            return await _kept(unit, wanted, "provider")

    async def set_model_key(
        self, tenant_id: TenantId, model_id: UUID, key: str, by: PrincipalId | None = None
    ) -> Credential:
        """The key for one of the tenant's own entries; raises NotFound for any other, Archived."""
        wanted = Credential(tenant_id, CredentialKind.MODEL, str(model_id), b"", created_by=by)
        async with self.units(tenant_id) as unit:
            with located("modelId"):
                url = await _url_of_model(unit, model_id)
            self._lock(wanted, wanted.binding_at(url), key, "key")
            return await _kept(unit, wanted, "modelId")

    async def set_tool_credential(
        self, tenant_id: TenantId, tool_id: UUID, secret: str, header: str, by: PrincipalId | None = None
    ) -> Credential:
        """What is sent to an MCP server, in this header, as it is given.

        Raises NotFound, Archived, and Invalid for another kind of tool, or a header that is none or the transport's.
        """
        _check_header(header)
        wanted = Credential(tenant_id, CredentialKind.TOOL, str(tool_id), b"", header, created_by=by)
        async with self.units(tenant_id) as unit:
            with located("toolId"):
                url = await _url_of_tool(unit, tool_id)
            self._lock(wanted, wanted.binding_at(url), secret, "secret")
            return await _kept(unit, wanted, "toolId")

    async def remove(self, tenant_id: TenantId, identifier: UUID) -> Credential:
        """Forget a secret; returns what it was for. Raises NotFound."""
        with located("id"):
            async with self.units(tenant_id) as unit:
                found = await unit.credentials.get(identifier)
                await unit.credentials.remove(CredentialId(identifier))
                await unit.commit()
        return found

    def _lock(self, wanted: Credential, binding: str, secret: str, place: str) -> None:
        try:
            check_secret(secret)
        except Invalid as error:
            raise Invalid.at(error.problems[0].message, place) from None
        # Blanks around it come from copying; in a header they would be refused, and quoted in that error.
        wanted.ciphertext = self.vault.lock(wanted.tenant_id, binding, secret.strip())


async def _kept(unit: UnitOfWork, wanted: Credential, place: str) -> Credential:
    kept = await unit.credentials.keep(wanted)
    if await unit.credentials.count() > MAX_CREDENTIALS:
        raise Invalid.at(f"There are at most {MAX_CREDENTIALS} credentials.", place)
    await unit.commit()
    return kept


async def _url_of_model(unit: UnitOfWork, model_id: UUID) -> str:
    """The address to which alone its key goes; empty for the provider's own."""
    try:
        model = await unit.models.get(model_id)
    except NotFound as error:
        error.suggestion = "Only entries of your own have keys of their own: make one, or set its provider's key."
        raise
    if model.archived_at:
        raise Archived("Model")
    return model.base_url or ""


async def _url_of_tool(unit: UnitOfWork, tool_id: UUID) -> str:
    tool = await unit.tools.get(tool_id)
    if tool.archived_at:
        raise Archived("Tool")
    if tool.kind is not ToolKind.MCP_SERVER:
        raise Invalid.at(f"Only tools of the kind {ToolKind.MCP_SERVER.value} have credentials.", "toolId")
    return str(tool.configuration.get("url", ""))


def _check_header(header: str) -> None:
    if len(header) > MAX_HEADER or not _TOKEN.fullmatch(header):
        raise Invalid.at("This is no name of an HTTP header.", "header")
    if _OF_THE_TRANSPORT.fullmatch(header.lower()):
        raise Invalid.at("This header belongs to the transport: choose another one.", "header")
