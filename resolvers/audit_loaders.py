"""The access paths of the audit: entries, and the objects that they are about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from domain.model.audit import AuditEntry, Reference
from resolvers.loaders import AccessPath, ById, Pages, Source

AuditEntryById = ById(AuditEntry)
AuditByTenant = Pages(AuditEntry, "tenant_id")


@dataclass(frozen=True, slots=True)
class Referred:
    """What a reference is to, or None: by one question for each kind of thing."""

    paths: tuple[tuple[str, AccessPath], ...]
    """By the names of the types in the graph."""

    async def fetch(self, source: Source, keys: Sequence[Reference]) -> Sequence[Any]:
        known = dict(self.paths)
        kinds = dict.fromkeys(key.kind for key in keys if key.kind in known)
        found: dict[Reference, Any] = {}
        for kind in kinds:
            found |= await _found(source, known[kind], [key for key in keys if key.kind == kind])
        return [found.get(key) for key in keys]


async def _found(source: Source, path: AccessPath, keys: Sequence[Reference]) -> Mapping[Reference, Any]:
    return dict(zip(keys, await path.fetch(source, [key.id for key in keys]), strict=True))
