"""Workers, their places, who waits for one, and whether all is well."""

from datetime import datetime

import strawberry

from domain.model.health import HealthCode, HealthStatus
from resolvers import loaders
from resolvers.edges import loaded_by
from schema.types.lazy import ExecutionType


@strawberry.type(description="The places of the workers that are alive.")
class Slots:
    total: int = strawberry.field(description="How many there are.")
    used: int = strawberry.field(
        description="How many executions of all tenants have one; with those of a worker that was just lost."
    )
    free: int = strawberry.field(description="How many are left.")


@strawberry.type(description="A worker that did not say goodbye.")
class Worker:
    id: str = strawberry.field(description="Its name; the same after a restart.")
    started_at: datetime = strawberry.field(description="When it began.")
    heartbeat_at: datetime = strawberry.field(description="When it was last heard of.")
    is_alive: bool = strawberry.field(description="Whether it was heard of in the last 15 seconds.")
    is_taking: bool = strawberry.field(
        description="Whether it fills its free places: not while it stops, or while its machine is busy."
    )
    places: int = strawberry.field(description="How many executions it runs at once.")
    active: int = strawberry.field(description="How many executions of all tenants have a place on it.")
    cpu_percent: float | None = strawberry.field(
        description="How busy the processors of its machine or container are; null while it is not known."
    )
    memory_percent: float | None = strawberry.field(
        description="How full the memory of its machine or container is; null while it is not known."
    )
    running: list[ExecutionType] = loaded_by(
        loaders.RunningByWorker, "The executions of this tenant that it runs, at most 100, the oldest first."
    )


@strawberry.type(description="Database connections of the API process that answers.")
class ConnectionPool:
    name: str = strawberry.field(description="What they are for: “reads” or “changes”.")
    size: int = strawberry.field(description="How many are open.")
    idle: int = strawberry.field(description="How many of these are free.")
    most: int = strawberry.field(description="How many may be open.")
    waiting: int = strawberry.field(description="How many requests wait for one.")


@strawberry.type(description="The way of hints between processes, as the API process that answers sees it.")
class Broadcaster:
    is_connected: bool = strawberry.field(
        description="Whether hints get through; without them subscriptions lag by up to a second."
    )
    lag_seconds: float | None = strawberry.field(
        description="How long the last hint to itself took, measured once a second; null where it did not come back"
        " within a second."
    )


@strawberry.type(description="Something that is wrong.")
class HealthReason:
    code: HealthCode = strawberry.field(description="What it is.")
    message: str = strawberry.field(description="The same in words, with figures.")


@strawberry.type(description="Whether all is well, as the API process that answers sees it.")
class Health:
    status: HealthStatus = strawberry.field(description="The judgement, by the worst of the reasons.")
    reasons: list[HealthReason] = strawberry.field(description="What is wrong, the worst first; empty for HEALTHY.")


@strawberry.type(
    description="What there is to run executions on, and who waits. Of other tenants there are only numbers."
)
class Resources:
    workers: list[Worker] = strawberry.field(description="The workers, at most 1000, the oldest first.")
    slots: Slots = strawberry.field(description="All places.")
    waiting: int = strawberry.field(description="How many executions of this tenant wait for a place.")
    total_waiting: int = strawberry.field(description="How many executions of all tenants wait for a place.")
    oldest_wait_seconds: float | None = strawberry.field(
        description="How long the execution of this tenant has been waiting that waits longest; null where none does."
    )
    total_oldest_wait_seconds: float | None = strawberry.field(
        description="How long the execution of all tenants has been waiting that waits longest; null where none does."
    )
    running: int = strawberry.field(description="How many executions of this tenant have a place.")
    max_parallel_executions: int | None = strawberry.field(
        description="The most executions of this tenant that run at once; null for no limit of its own."
    )
    database_pools: list[ConnectionPool] = strawberry.field(
        description="The database connections of the API process that answers."
    )
    broadcaster: Broadcaster = strawberry.field(description="How hints get from and to the API process that answers.")
    health: Health = strawberry.field(description="Whether all is well, and if not, why.")
