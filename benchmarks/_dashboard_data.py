"""The data and the query of the dashboard benchmark: the same for both servers, and the same in every run."""

import random
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Final

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import create_async_engine

from domain.model.execution import Execution, ExecutionStatus, TaskExecution, TaskExecutionStatus
from domain.model.identity import (
    DEFAULT_TENANT,
    ExecutionId,
    ProjectId,
    RevisionId,
    RoleId,
    TaskExecutionId,
    TaskId,
    TeamId,
)
from domain.model.project import Project
from domain.model.revision import TeamRevision
from domain.model.role import Expertise, Role
from domain.model.task import Task
from domain.model.team import Team
from persistence.mapping import values_of
from persistence.tables import TABLES
from persistence.urls import asyncpg_url

TEAMS: Final = 20
ROLES: Final = 4
TASKS: Final = 6
EXECUTIONS: Final = 10
"""Per team; the query asks for the last five of them."""

DASHBOARD: Final = """
query Dashboard($project: ID!) {
  project(id: $project) {
    id name
    teams(first: 20) { nodes {
      id name description process createdAt
      roles { id title description expertise goals backstory model }
      tasks { id name description expectedOutput priority role { id title } }
      executions(first: 5) { nodes {
        id status output createdAt
        taskExecutions { id name status roleTitle model attempts output }
      } }
    } }
  }
}
"""

_WORDS: Final = [
    "market",
    "research",
    "summary",
    "draft",
    "customer",
    "kettle",
    "solar",
    "panel",
    "campaign",
    "launch",
    "review",
    "budget",
    "quarter",
    "plan",
    "audience",
    "headline",
    "source",
    "figure",
    "claim",
    "risk",
    "supplier",
    "delivery",
    "price",
    "margin",
    "“quoted”",
    "naïve",
    "café",
]
_BEGIN: Final = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


class _Made:
    """Deterministic ids, moments and texts."""

    def __init__(self) -> None:
        self._random = random.Random(7)  # noqa: S311 - sample texts, not secrets
        self._count = 0

    def id(self) -> uuid.UUID:
        self._count += 1
        return uuid.uuid5(uuid.NAMESPACE_URL, f"dashboard/{self._count}")

    def text(self, length: int) -> str:
        words = self._random.choices(_WORDS, k=length // 5)
        return " ".join(words)[:length]

    def moment(self) -> datetime:
        return _BEGIN + timedelta(seconds=self._count)


def things() -> Sequence[Any]:
    """A project with its teams, each with roles, tasks, a revision and finished executions; in order of insertion."""
    made = _Made()
    project = Project(
        DEFAULT_TENANT, "Dashboard", made.text(300), ProjectId(made.id()), created_at=_BEGIN, updated_at=_BEGIN
    )
    found: list[Any] = [project]
    for number in range(TEAMS):
        found += _team(made, project, number)
    return sorted(found, key=lambda thing: _ORDER.index(type(thing)))


_ORDER: Final = [Project, Team, Role, Task, TeamRevision, Execution, TaskExecution]


def _team(made: _Made, project: Project, number: int) -> list[Any]:
    team = Team(DEFAULT_TENANT, project.id, f"Team {number}", made.text(300), id=TeamId(made.id()))
    team.created_at = team.updated_at = made.moment()
    roles = [
        Role(
            DEFAULT_TENANT,
            team.id,
            f"Role {place}",
            made.text(200),
            list(Expertise)[place % 4],
            [made.text(80), made.text(80)],
            made.text(300),
            position=place,
            id=RoleId(made.id()),
        )
        for place in range(ROLES)
    ]
    tasks = [
        Task(
            DEFAULT_TENANT,
            team.id,
            f"Task {place}",
            made.text(300),
            made.text(120),
            role_id=roles[place % ROLES].id,
            position=place,
            id=TaskId(made.id()),
        )
        for place in range(TASKS)
    ]
    revision = TeamRevision(DEFAULT_TENANT, team.id, 1, "{}", "none", RevisionId(made.id()))
    executions = [_execution(made, project, team, revision, roles, tasks) for _ in range(EXECUTIONS)]
    return [team, *roles, *tasks, revision, *(part for parts in executions for part in parts)]


def _execution(
    made: _Made, project: Project, team: Team, revision: TeamRevision, roles: list[Role], tasks: list[Task]
) -> list[Any]:
    execution = Execution(DEFAULT_TENANT, project.id, team.id, revision.id, {"topic": made.text(40)}, 5, 1800.0, 600.0)
    execution.id, execution.created_at = ExecutionId(made.id()), made.moment()
    execution.status, execution.output = ExecutionStatus.COMPLETED, made.text(600)
    return [execution, *(_task_execution(made, execution, task, roles[task.position % ROLES]) for task in tasks)]


def _task_execution(made: _Made, execution: Execution, task: Task, role: Role) -> TaskExecution:
    return TaskExecution(
        DEFAULT_TENANT,
        execution.id,
        task.position,
        task.name,
        task.description,
        task.expected_output,
        role.id,
        role.title,
        task.id,
        attempts=1,
        status=TaskExecutionStatus.COMPLETED,
        model="simulated/regatta",
        output=made.text(400),
        id=TaskExecutionId(made.id()),
    )


async def populate(url: str) -> uuid.UUID:
    """Write all things to a migrated, empty database as its owner; the id of the project."""
    engine = create_async_engine(asyncpg_url(url))
    every = things()
    async with engine.begin() as connection:
        for kind, group in groupby(every, key=type):
            await connection.execute(insert(TABLES[kind]), [values_of(thing) for thing in group])
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.exec_driver_sql("VACUUM ANALYZE")
    await engine.dispose()
    return uuid.UUID(str(every[0].id))
