"""What is stored of models: a tenant's entries, credentials and cool-downs, and what the workers can reach."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

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

_JSON: Final = "price_details"
_DETAILS: Final = names_of(Model).index(_JSON)


def _shown(column: str) -> str:
    # asyncpg applies no codec for text, like ours of JSON, within a row that is a value.
    return f"{column}::text" if column == _JSON else column


# Credentials are named by the tenant they belong to, or by the operator: nobody learns of other tenants' trouble.
# One statement, for every start of a task asks it.
_RECORDS: Final = f"""
    SELECT
        ARRAY(
            SELECT ROW({", ".join(map(_shown, names_of(Model)))}) FROM model
            WHERE tenant_id = $1 AND archived_at IS NULL ORDER BY id
        ),
        ARRAY(
            SELECT ROW({", ".join(names_of(Credential))}) FROM credential
            WHERE tenant_id = $1 AND kind <> 'TOOL' ORDER BY id
        ),
        ARRAY(
            SELECT ROW(credential, model, cooling_until) FROM provider_limit
            WHERE cooling_until > now() AND (starts_with(credential, $2) OR starts_with(credential, $3))
        )
"""  # noqa: S608 - our own columns
_OPERATOR: Final = (
    "SELECT providers, models, free_providers, is_local_silent FROM worker"
    " WHERE heartbeat_at > now() - make_interval(secs => $1)"
)


def _entry(row: Sequence[Any]) -> Model:
    """The entry of a row of `_RECORDS`."""
    values = list(row)
    values[_DETAILS] = orjson.loads(values[_DETAILS])
    return builder_of(Model)(values)


class ModelReader:
    """The questions of `domain.ports.Reader` about models. Both raise Unavailable while the database is silent."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self.pool = pool

    async def model_records(self, tenant_id: TenantId) -> ModelRecords:
        with reachable():
            [row] = await self.pool.fetch(_RECORDS, tenant_id, f"{OPERATOR}:", f"{tenant_id}:")
        entries, credentials, cooling = row
        return ModelRecords(
            list(map(_entry, entries)),
            list(map(builder_of(Credential), credentials)),
            {(credential, model): until for credential, model, until in cooling},
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
