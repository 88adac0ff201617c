"""The models that ship with Regatta: catalogue.json, which `make catalogue` writes, as entries of the catalogue."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid5

from domain.model.identity import DEFAULT_TENANT, ModelId, TenantId
from domain.model.model import Model, Tier

SOURCE: Final = Path(__file__).with_name("catalogue.json")
MOST_ENTRIES: Final = 500
"""So many entries in use a tenant may have of its own."""

_NAMESPACE: Final = UUID("5f0c2c7e-6d1b-5c0f-9a4e-2f4d6f1b7a10")
_PRICES: Final = ("prompt_price", "completion_price", "cached_price")
_PLAIN_PRICES: Final = frozenset({"prompt_price", "completion_price"})


@cache
def shipped() -> tuple[Model, ...]:
    """Every shipped entry by name: version 0, made on the catalogue's date, of no tenant yet (`effective` sets it).

    They are shared by the whole process: replace them, never change them.
    """
    document = json.loads(SOURCE.read_text("utf-8"))
    made = datetime.fromisoformat(document["date"]).replace(tzinfo=UTC)
    return tuple(_model(entry, made) for entry in document["models"])


def shipped_id(name: str) -> ModelId:
    """The id of a shipped entry: the same in every process, release and tenant."""
    return ModelId(uuid5(_NAMESPACE, name))


def find_shipped(name: str) -> Model | None:
    """The shipped entry of this name."""
    return _by_name().get(name)


def is_known_bare(name: str) -> bool:
    """Whether a shipped entry is meant by this name without a provider, like `gpt-4o-mini`."""
    return any(each.partition("/")[2] == name for each in _by_name())


def find_shipped_by_id(identifier: UUID) -> Model | None:
    """The shipped entry with this id."""
    return _by_id().get(identifier)


def own_entry(tenant_id: TenantId, name: str, values: Mapping[str, Any]) -> Model | None:
    """A new entry of the tenant's: what `values` leave out comes from the shipped one of the name.

    None where nothing ships under the name and no tier is given.
    """
    base = find_shipped(name)
    if base is None:
        return Model(tenant_id, name, **values) if values.get("tier") else None
    taken = {field: getattr(base, field) for field in _TAKEN}
    return Model(tenant_id, name, **(taken | with_own_prices(values)))


def with_own_prices(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values; plain prices of the tenant's own take the finer ones (long prompts, …) out of force.

    So does a price of reading with the cached one beside it, which was a part of the old price.
    """
    own = {**values, "price_details": {}} if _PLAIN_PRICES & values.keys() else dict(values)
    return {"cached_price": None, **own} if "prompt_price" in own else own


_TAKEN: Final = (
    "tier",
    *_PRICES,
    "price_details",
    "context_window",
    "max_output_tokens",
    "supports_tools",
    "supports_json",
    "supports_vision",
    "routing_order",
)


def _model(entry: Mapping[str, Any], made: datetime) -> Model:
    values = dict(entry)
    values["tier"] = Tier(values["tier"])
    values |= {name: Decimal(values[name]) for name in _PRICES if name in values}
    values |= {"id": shipped_id(values["name"]), "version": 0, "created_at": made, "updated_at": made}
    return Model(DEFAULT_TENANT, **values)


@cache
def _by_name() -> dict[str, Model]:
    return {model.name: model for model in shipped()}


@cache
def _by_id() -> dict[UUID, Model]:
    return {model.id: model for model in shipped()}


def of_tenant(model: Model, tenant_id: TenantId) -> Model:
    """The shipped entry as that tenant sees it."""
    return replace(model, tenant_id=tenant_id)
