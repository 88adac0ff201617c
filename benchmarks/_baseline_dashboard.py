"""What `dashboard.py` compares with: the same query on Strawberry, aiodataloader and an ORM, as one writes it.

Types resolve the attributes of ORM entities directly, every edge is a data loader whose batch is one select in a
session of its own, and Strawberry's ASGI app runs under uvicorn with uvloop and httptools. It has no tenants, no
limits, no masking of errors: less to do than Regatta.

    python -m benchmarks._baseline_dashboard DATABASE_URL PORT
"""

import sys
import uuid
from collections import defaultdict
from datetime import datetime
from typing import Any, Generic, TypeAlias, TypeVar

import strawberry
import uvicorn
from aiodataloader import DataLoader
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, aliased
from strawberry.asgi import GraphQL

from persistence import tables
from persistence.urls import asyncpg_url

T = TypeVar("T")
Sessions: TypeAlias = async_sessionmaker[AsyncSession]


# Entities


class Entity(DeclarativeBase):
    metadata = tables.metadata


class ProjectRow(Entity):
    __table__ = tables.project


class TeamRow(Entity):
    __table__ = tables.team


class RoleRow(Entity):
    __table__ = tables.role


class TaskRow(Entity):
    __table__ = tables.task


class ExecutionRow(Entity):
    __table__ = tables.execution


class TaskExecutionRow(Entity):
    __table__ = tables.task_execution


# Loaders


def by_id(sessions: Sessions, kind: Any) -> "DataLoader[uuid.UUID, Any]":
    async def batch(ids: list[uuid.UUID]) -> list[Any]:
        async with sessions() as session:
            found = {thing.id: thing for thing in await session.scalars(select(kind).where(kind.id.in_(ids)))}
        return [found.get(identifier) for identifier in ids]

    return DataLoader(batch)


def children(sessions: Sessions, kind: Any, parent: str) -> "DataLoader[uuid.UUID, list[Any]]":
    async def batch(ids: list[uuid.UUID]) -> list[list[Any]]:
        owner = getattr(kind, parent)
        statement = select(kind).where(owner.in_(ids)).order_by(kind.position, kind.id)
        found: dict[uuid.UUID, list[Any]] = defaultdict(list)
        async with sessions() as session:
            for thing in await session.scalars(statement):
                found[getattr(thing, parent)].append(thing)
        return [found[identifier] for identifier in ids]

    return DataLoader(batch)


def newest(sessions: Sessions, kind: Any, parent: str) -> "DataLoader[tuple[uuid.UUID, int], list[Any]]":
    async def batch(keys: list[tuple[uuid.UUID, int]]) -> list[list[Any]]:
        owner, first = getattr(kind, parent), max(first for _, first in keys)
        place = func.row_number().over(partition_by=owner, order_by=(kind.created_at.desc(), kind.id.desc()))
        ranked = select(kind, place.label("place")).where(owner.in_([key for key, _ in keys])).subquery()
        thing = aliased(kind, ranked)
        found: dict[uuid.UUID, list[Any]] = defaultdict(list)
        async with sessions() as session:
            for each in await session.scalars(select(thing).where(ranked.c.place <= first).order_by(ranked.c.place)):
                found[getattr(each, parent)].append(each)
        return [found[identifier][:wanted] for identifier, wanted in keys]

    return DataLoader(batch)


class Context:
    """The loaders of one request."""

    def __init__(self, sessions: Sessions) -> None:
        self.projects = by_id(sessions, ProjectRow)
        self.roles = by_id(sessions, RoleRow)
        self.teams_of_project = newest(sessions, TeamRow, "project_id")
        self.roles_of_team = children(sessions, RoleRow, "team_id")
        self.tasks_of_team = children(sessions, TaskRow, "team_id")
        self.executions_of_team = newest(sessions, ExecutionRow, "team_id")
        self.tasks_of_execution = children(sessions, TaskExecutionRow, "execution_id")


Info: TypeAlias = strawberry.Info[Context, None]


# Types


@strawberry.type
class Connection(Generic[T]):
    nodes: list[T]


@strawberry.type
class Role:
    id: strawberry.ID
    title: str
    description: str
    expertise: str
    goals: list[str]
    backstory: str
    model: str | None


@strawberry.type
class Task:
    id: strawberry.ID
    name: str
    description: str
    expected_output: str
    priority: int

    @strawberry.field
    async def role(root: strawberry.Parent[Any], info: Info) -> Role | None:  # noqa: N805 - an entity, not this type
        return await info.context.roles.load(root.role_id) if root.role_id else None


@strawberry.type
class TaskExecution:
    id: strawberry.ID
    name: str
    status: str
    role_title: str
    model: str | None
    attempts: int
    output: str | None


@strawberry.type
class Execution:
    id: strawberry.ID
    status: str
    output: str | None
    created_at: datetime

    @strawberry.field
    async def task_executions(root: strawberry.Parent[Any], info: Info) -> list[TaskExecution]:  # noqa: N805 - same
        return await info.context.tasks_of_execution.load(root.id)


@strawberry.type
class Team:
    id: strawberry.ID
    name: str
    description: str
    process: str
    created_at: datetime

    @strawberry.field
    async def roles(root: strawberry.Parent[Any], info: Info) -> list[Role]:  # noqa: N805 - same
        return await info.context.roles_of_team.load(root.id)

    @strawberry.field
    async def tasks(root: strawberry.Parent[Any], info: Info) -> list[Task]:  # noqa: N805 - same
        return await info.context.tasks_of_team.load(root.id)

    @strawberry.field
    async def executions(root: strawberry.Parent[Any], info: Info, first: int = 20) -> Connection[Execution]:  # noqa: N805 - same
        return Connection(nodes=await info.context.executions_of_team.load((root.id, first)))


@strawberry.type
class Project:
    id: strawberry.ID
    name: str

    @strawberry.field
    async def teams(root: strawberry.Parent[Any], info: Info, first: int = 20) -> Connection[Team]:  # noqa: N805 - same
        return Connection(nodes=await info.context.teams_of_project.load((root.id, first)))


@strawberry.type
class Query:
    @strawberry.field
    async def project(self, info: Info, id: strawberry.ID) -> Project | None:  # noqa: A002 - its name in the graph
        found: Project | None = await info.context.projects.load(uuid.UUID(id))
        return found


class App(GraphQL[Context, None]):
    sessions: Sessions

    async def get_context(self, request: Any, response: Any) -> Context:  # noqa: ARG002 - Strawberry's signature
        return Context(self.sessions)


def main(url: str, port: str) -> None:
    app = App(strawberry.Schema(Query))
    app.sessions = async_sessionmaker(create_async_engine(asyncpg_url(url), pool_size=10), expire_on_commit=False)
    uvicorn.run(app, port=int(port), loop="uvloop", http="httptools", access_log=False, log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:])
