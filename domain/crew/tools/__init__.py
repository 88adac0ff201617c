"""What a role may use besides its model; each kind in a module of its own."""

from domain.crew.tools.building import build_tools
from domain.crew.tools.settings import SearchKind, ToolSettings, permitted_classes

__all__ = ["SearchKind", "ToolSettings", "build_tools", "permitted_classes"]
