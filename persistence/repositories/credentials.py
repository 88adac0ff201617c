"""The secrets of a tenant, encrypted: one per kind and subject."""

from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import NotFound
from domain.model.credential import Credential, CredentialKind
from domain.model.identity import CredentialId, TenantId
from persistence import tables
from persistence.errors import translated
from persistence.mapping import builder_of, columns_of, values_of


class CredentialsTable:
    """See `domain.ports.Credentials`."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self.connection = connection
        self.tenant_id = tenant_id
        self.table = tables.credential

    async def get(self, identifier: UUID) -> Credential:
        statement = select(*columns_of(Credential)).where(self._mine, self.table.c.id == identifier)
        row = (await self.connection.execute(statement)).one_or_none()
        if row is None:
            raise NotFound("Credential", identifier)
        return builder_of(Credential)(row)

    async def keep(self, credential: Credential) -> Credential:
        insert = postgresql.insert(self.table).values(values_of(credential))
        changed = {name: insert.excluded[name] for name in ("ciphertext", "header", "updated_at")}
        statement = insert.on_conflict_do_update(constraint="uq_credential_subject", set_=changed)
        with translated():
            row = (await self.connection.execute(statement.returning(*columns_of(Credential)))).one()
        return builder_of(Credential)(row)

    async def remove(self, identifier: CredentialId) -> None:
        statement = delete(self.table).where(self._mine, self.table.c.id == identifier)
        if (await self.connection.execute(statement)).rowcount == 0:
            raise NotFound("Credential", identifier)

    async def remove_subject(self, kind: CredentialKind, subject: str) -> None:
        its = (self.table.c.kind == kind.value, self.table.c.subject == subject)
        await self.connection.execute(delete(self.table).where(self._mine, *its))

    async def count(self) -> int:
        # Until the end of the transaction: two that count at once would both find room for one more.
        lock = text("SELECT pg_advisory_xact_lock(hashtextextended('credentials ' || :tenant, 0))")
        await self.connection.execute(lock, {"tenant": str(self.tenant_id)})
        found: int = (await self.connection.execute(select(func.count()).where(self._mine))).scalar_one()
        return found

    @property
    def _mine(self) -> Any:
        return self.table.c.tenant_id == self.tenant_id
