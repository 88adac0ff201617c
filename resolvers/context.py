"""What a resolver has at hand: who is asking, the use cases, and one data loader per access path."""

from collections.abc import Awaitable, Hashable
from dataclasses import dataclass, field
from typing import Any

import strawberry
from aiodataloader import DataLoader

from domain.model.identity import PrincipalId, TenantId
from domain.model.project import Project
from domain.model.role import Role
from domain.model.task import Task
from domain.model.team import Team
from domain.model.tool import Tool
from domain.ports import Reader
from domain.services.copies import Duplicate
from domain.services.crews import ExportCrew, ImportCrew
from domain.services.editing import Editing
from domain.services.executions import CancelExecution, KickoffTeam
from domain.services.feed import ExecutionFeeds
from resolvers.loaders import AccessPath


@dataclass(frozen=True, slots=True)
class Services:
    """The use cases that the graph offers."""

    projects: Editing[Project]
    teams: Editing[Team]
    roles: Editing[Role]
    tasks: Editing[Task]
    tools: Editing[Tool]
    duplicate: Duplicate
    import_crew: ImportCrew
    export_crew: ExportCrew
    kickoff: KickoffTeam
    cancel: CancelExecution
    feeds: ExecutionFeeds


@dataclass(slots=True)
class Context:
    """One per operation; over a websocket one per socket, and then nothing may be remembered."""

    tenant_id: TenantId
    principal_id: PrincipalId | None
    services: Services
    reader: Reader
    remembers: bool = True
    _loaders: dict[Hashable, "DataLoader[Any, Any]"] = field(default_factory=dict)

    def load(self, path: AccessPath, key: Any) -> Awaitable[Any]:
        """The answer of the path for one key, asked together with the other keys of this moment."""
        loader = self._loaders.get(path)
        if loader is None:
            loader = self._loaders[path] = DataLoader(self._batch(path), cache=self.remembers, max_batch_size=1000)
        return loader.load(key)

    def _batch(self, path: AccessPath) -> Any:
        async def fetch(keys: list[Any]) -> list[Any]:
            unique = list(dict.fromkeys(keys))
            found = dict(zip(unique, await path.fetch(self.reader, self.tenant_id, unique), strict=True))
            return [found[key] for key in keys]

        return fetch


Info = strawberry.Info[Context, None]
