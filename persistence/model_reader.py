"""What is stored of models: a tenant's entries, credentials and cool-downs, and what the workers can reach."""

from typing import TYPE_CHECKING, Final

from domain.model.availability import OPERATOR, ModelRecords, OperatorModels
from domain.model.credential import Credential
from domain.model.identity import TenantId
from domain.model.model import Model
from persistence.errors import reachable
from persistence.mapping import builder_of, names_of

if TYPE_CHECKING:
    import asyncpg

ALIVE_SECONDS: Final = 15.0
"""A worker that was silent for so long reaches nothing any more."""

_ENTRIES: Final = (
    f"SELECT {', '.join(names_of(Model))} FROM model"  # noqa: S608 - our own columns
    " WHERE tenant_id = $1 AND archived_at IS NULL"
)
_CREDENTIALS: Final = (
    f"SELECT {', '.join(names_of(Credential))} FROM credential"  # noqa: S608 - our own columns
    " WHERE tenant_id = $1 AND kind <> 'TOOL'"
)
# Credentials are named by the tenant they belong to, or by the operator: nobody learns of other tenants' trouble.
_COOLING: Final = (
    "SELECT credential, model, cooling_until FROM provider_limit WHERE cooling_until > now()"
    " AND (starts_with(credential, $1) OR starts_with(credential, $2))"
)
_OPERATOR: Final = (
    "SELECT providers, models, free_providers, is_local_silent FROM worker"
    " WHERE heartbeat_at > now() - make_interval(secs => $1)"
)


class ModelReader:
    """The questions of `domain.ports.Reader` about models. Both raise Unavailable while the database is silent."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self.pool = pool

    async def model_records(self, tenant_id: TenantId) -> ModelRecords:
        with reachable():
            entries = await self.pool.fetch(_ENTRIES, tenant_id)
            credentials = await self.pool.fetch(_CREDENTIALS, tenant_id)
            cooling = await self.pool.fetch(_COOLING, f"{OPERATOR}:", f"{tenant_id}:")
        build, build_credential = builder_of(Model), builder_of(Credential)
        return ModelRecords(
            [build(row) for row in entries],
            [build_credential(row) for row in credentials],
            {(row[0], row[1]): row[2] for row in cooling},
        )

    async def operator_models(self) -> OperatorModels:
        with reachable():
            workers = await self.pool.fetch(_OPERATOR, ALIVE_SECONDS)
        return OperatorModels(
            providers=frozenset(name for row in workers for name in row["providers"]),
            models=frozenset(name for row in workers for name in row["models"]),
            free_providers=frozenset(name for row in workers for name in row["free_providers"]),
            is_local_silent=any(row["is_local_silent"] for row in workers),
        )
