"""Tools by their names, and those that are out of use though roles were given them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from uuid import UUID

from domain.model.identity import TenantId
from domain.model.tool import Tool
from persistence.errors import reachable
from persistence.mapping import builder_of, names_of

if TYPE_CHECKING:
    import asyncpg

_NAMED: Final = (
    f"SELECT {', '.join(names_of(Tool))} FROM tool"  # noqa: S608 - our own columns
    " WHERE tenant_id = $1 AND project_id = $2 AND name = ANY($3::text[]) AND archived_at IS NULL ORDER BY name"
)
_ARCHIVED: Final = (
    "SELECT DISTINCT tool.name FROM tool JOIN role_tool AS link"
    " ON link.tenant_id = tool.tenant_id AND link.tool_id = tool.id"
    " WHERE tool.tenant_id = $1 AND link.role_id = ANY($2::uuid[]) AND tool.archived_at IS NOT NULL"
    " ORDER BY tool.name LIMIT $3"
)
MOST_ARCHIVED: Final = 100


class ToolReader:
    """The questions of `domain.ports.Reader` about tools by name. Both raise Unavailable while the store is silent."""

    pool: "asyncpg.Pool[asyncpg.Record]"

    async def tools_named(self, tenant_id: TenantId, project_id: UUID, names: Sequence[str]) -> Sequence[Tool]:
        with reachable():
            rows = await self.pool.fetch(_NAMED, tenant_id, project_id, list(names))
        return list(map(builder_of(Tool), rows))

    async def archived_tools(self, tenant_id: TenantId, role_ids: Sequence[UUID]) -> Sequence[str]:
        with reachable():
            rows = await self.pool.fetch(_ARCHIVED, tenant_id, list(role_ids), MOST_ARCHIVED)
        return [row["name"] for row in rows]
