"""Tools: what a role may use besides its model."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from domain.model.identity import PrincipalId, ProjectId, RoleId, TenantId, ToolId, new_id, utc_now
from domain.model.model import is_web_address
from domain.model.rules import Rules


class ToolKind(Enum):
    """Which implementation stands behind a tool."""

    CALCULATOR = "CALCULATOR"
    HTTP_GET = "HTTP_GET"
    WEB_SEARCH = "WEB_SEARCH"
    FILE_READER = "FILE_READER"
    FILE_WRITER = "FILE_WRITER"
    MCP_SERVER = "MCP_SERVER"
    CREWAI_TOOL = "CREWAI_TOOL"


REPEATABLE = frozenset(ToolKind) - {ToolKind.MCP_SERVER, ToolKind.CREWAI_TOOL}
"""Kinds that may be called once more without harm; of the others only who made the tool knows."""

REQUIRED_CONFIGURATION = {ToolKind.MCP_SERVER: "url", ToolKind.CREWAI_TOOL: "class_name"}


@dataclass(slots=True)
class Tool:
    """Something a role may use. `configuration` holds what its kind needs; never a secret.

    `is_idempotent`: calling it twice with the same arguments does no more than calling it once; None: as its kind.
    """

    tenant_id: TenantId
    project_id: ProjectId
    name: str
    kind: ToolKind
    description: str = ""
    configuration: dict[str, Any] = field(default_factory=dict)
    is_idempotent: bool | None = None
    id: ToolId = field(default_factory=lambda: ToolId(new_id()))
    version: int = 1
    created_at: datetime = field(default_factory=utc_now)
    updated_at: datetime = field(default_factory=utc_now)
    created_by: PrincipalId | None = None
    archived_at: datetime | None = None

    @property
    def is_repeatable(self) -> bool:
        """Whether a call that nobody knows the end of may simply be made again."""
        return self.kind in REPEATABLE if self.is_idempotent is None else self.is_idempotent

    def check(self) -> None:
        """Hold the rules of a tool; raises Invalid with every broken one."""
        rules = Rules()
        rules.name(self.name, "name")
        rules.text(self.description, "description")
        rules.document(self.configuration, "configuration")
        needed = REQUIRED_CONFIGURATION.get(self.kind)
        present = needed is None or isinstance(self.configuration.get(needed), str)
        rules.require(present, f"A {self.kind.value} needs the text '{needed}'.", "configuration", needed or "")
        url = self.configuration.get("url")
        if self.kind is ToolKind.MCP_SERVER and isinstance(url, str):
            rules.require(is_web_address(url), _WEB_ADDRESS, "configuration", "url")
        rules.hold()


_WEB_ADDRESS = "This is no web address like https://mcp.example.org/mcp, without a user name and a password."


@dataclass(frozen=True, slots=True)
class RoleTool:
    """The role may use the tool."""

    tenant_id: TenantId
    role_id: RoleId
    tool_id: ToolId
