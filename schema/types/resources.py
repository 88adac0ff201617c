"""Workers, their places, and who waits for one."""

from datetime import datetime

import strawberry

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


@strawberry.type(
    description="What there is to run executions on, and who waits. Of other tenants there are only numbers."
)
class Resources:
    workers: list[Worker] = strawberry.field(description="The workers, at most 1000, the oldest first.")
    slots: Slots = strawberry.field(description="All places.")
    waiting: int = strawberry.field(description="How many executions of this tenant wait for a place.")
    total_waiting: int = strawberry.field(description="How many executions of all tenants wait for a place.")
    running: int = strawberry.field(description="How many executions of this tenant have a place.")
    max_parallel_executions: int | None = strawberry.field(
        description="The most executions of this tenant that run at once; null for no limit of its own."
    )
