"""Team revisions: the immutable definition that an execution runs."""

import hashlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache

from pydantic import TypeAdapter

from domain.model.identity import PrincipalId, RevisionId, TeamId, TenantId, new_id, utc_now
from domain.model.role import Role
from domain.model.task import Task, TaskDependency
from domain.model.team import Team
from domain.model.tool import RoleTool, Tool


@dataclass(slots=True)
class TeamSnapshot:
    """A team with all that belongs to it, at one moment; archived things are not in it."""

    team: Team
    roles: list[Role]
    tasks: list[Task]
    dependencies: list[TaskDependency]
    tools: list[Tool]
    role_tools: list[RoleTool]

    def tools_of(self, role: Role) -> list[Tool]:
        """The tools that the role may use, in the order of the team's list."""
        allowed = {link.tool_id for link in self.role_tools if link.role_id == role.id}
        return [tool for tool in self.tools if tool.id in allowed]


@dataclass(slots=True)
class TeamRevision:
    """The snapshot as JSON, numbered within its team from 1; equal contents share one revision."""

    tenant_id: TenantId
    team_id: TeamId
    number: int
    content: str
    content_hash: str
    id: RevisionId = field(default_factory=lambda: RevisionId(new_id()))
    created_at: datetime = field(default_factory=utc_now)
    created_by: PrincipalId | None = None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[TeamSnapshot]:
    return TypeAdapter(TeamSnapshot)


def encode(snapshot: TeamSnapshot) -> tuple[str, str]:
    """The snapshot as JSON, and the hash of what it defines: versions, dates and the team's budget do not count."""
    team = replace(snapshot.team, version=0, updated_at=_EPOCH, revision_id=None, monthly_budget=None)
    defining = replace(
        snapshot,
        team=team,
        roles=[replace(role, version=0, updated_at=_EPOCH) for role in snapshot.roles],
        tasks=[replace(task, version=0, updated_at=_EPOCH) for task in snapshot.tasks],
        tools=[replace(tool, version=0, updated_at=_EPOCH) for tool in snapshot.tools],
    )
    content = _adapter().dump_json(defining).decode()
    return content, hashlib.sha256(content.encode()).hexdigest()


@lru_cache(maxsize=256)
def decode(content: str) -> TeamSnapshot:
    """The snapshot of a revision's content; treat it as frozen, it is shared."""
    return _adapter().validate_json(content)
