"""The decrypted credentials of tools, for workers alone; the API process has no use for them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from domain.model.credential import Credential
from domain.model.identity import TenantId, ToolId
from domain.ports import ToolSecret, ToolSecrets, Vault
from persistence.errors import reachable
from persistence.mapping import builder_of, names_of

if TYPE_CHECKING:
    import asyncpg

# The present url stands beside it: a run of an older revision must not send it to the url that the tool had then.
_SECRETS = (
    f"SELECT {', '.join(f'credential.{name}' for name in names_of(Credential))},"  # noqa: S608 - our own columns
    " tool.id, coalesce(tool.configuration->>'url', '') FROM credential JOIN tool"
    " ON tool.tenant_id = credential.tenant_id AND tool.id::text = credential.subject"
    " WHERE credential.tenant_id = $1 AND credential.kind = 'TOOL' AND credential.subject = ANY($2::text[])"
    " AND tool.archived_at IS NULL"
)


class SqlToolSecrets:
    """See `domain.ports.ToolSecrets`."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", vault: Vault) -> None:
        self.pool = pool
        self.vault = vault

    async def of(self, tenant_id: TenantId, tool_ids: Sequence[ToolId]) -> Mapping[ToolId, ToolSecret]:
        with reachable():
            rows = await self.pool.fetch(_SECRETS, tenant_id, [str(tool_id) for tool_id in tool_ids])
        build, width = builder_of(Credential), len(names_of(Credential))
        return {row[width]: self._opened(build(row), row[width + 1]) for row in rows}

    def _opened(self, credential: Credential, url: str) -> ToolSecret:
        binding = credential.binding_at(url)
        return ToolSecret(
            credential.header, self.vault.unlock(credential.tenant_id, binding, credential.ciphertext), url
        )


def _conforms(secrets: SqlToolSecrets) -> ToolSecrets:
    return secrets
