"""A thousand executions in the queue: how fast they drain, what a task boundary adds, and whether a worker grows.

    python -m benchmarks.drain [--quick]

Against bare CrewAI in a pool of as many processes; every model call is an HTTP request to the same model server, which
answers at once.
"""

import argparse
import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import asyncpg
import psutil

from benchmarks._runs import (
    Regatta,
    Script,
    Series,
    User,
    a_user,
    data_directory,
    machine,
    model_server,
    percentile,
    publish,
    regatta,
    run_async,
    stop_like_ctrl_c,
    until,
)
from benchmarks.executions import AT_ONCE, the_cast
from persistence.urls import asyncpg_arguments

WORKERS: Final = 2
_LOOK_SECONDS: Final = 0.1
_KICKOFFS_AT_ONCE: Final = 8
_MEGABYTE: Final = 1024 * 1024

_OPEN = "SELECT count(*) FROM execution WHERE finished_at IS NULL"
_BOUNDARIES = """
    SELECT extract(epoch FROM next.occurred_at - called.occurred_at) * 1000
    FROM execution_event AS next
    JOIN LATERAL (
        SELECT occurred_at FROM execution_event AS earlier
        WHERE earlier.tenant_id = next.tenant_id AND earlier.execution_id = next.execution_id
            AND earlier.sequence < next.sequence AND earlier.type = 'ModelCalled'
        ORDER BY earlier.sequence DESC LIMIT 1
    ) AS called ON true
    WHERE next.type = 'TaskStarted'
"""
"""From the end of a task's last model call to the start of the next task, in ms: CrewAI, the commit, the routing."""


@dataclass(frozen=True, slots=True)
class Size:
    """How many are queued, how many a script does for comparison, and when memory is looked at first."""

    queued: int
    bare: int
    memory_from: int
    memory_to: int


FULL: Final = Size(queued=1_000, bare=200, memory_from=200, memory_to=2_000)
QUICK: Final = Size(queued=40, bare=16, memory_from=10, memory_to=60)


@dataclass(slots=True)
class Measured:
    """Rates in executions per second, memory in MB (private and shared, as the kernel counts it), boundaries in ms."""

    rate: float = 0.0
    kickoffs: float = 0.0
    bare: Mapping[str, float] | None = None
    memory: tuple[Sequence[float], Sequence[float]] = ((), ())
    boundaries: Sequence[float] = ()
    idle_boundaries: Sequence[float] = ()


async def kick_off(user: User, count: int) -> float:
    """Executions kicked off per second."""
    left, began = iter(range(count)), time.perf_counter()

    async def one_after_another() -> None:
        for _ in left:
            await user.kickoff()

    await asyncio.gather(*(one_after_another() for _ in range(_KICKOFFS_AT_ONCE)))
    return count / (time.perf_counter() - began)


async def drained(connection: Any) -> None:
    async def is_empty() -> bool:
        return bool(await connection.fetchval(_OPEN) == 0)

    await until(is_empty, _LOOK_SECONDS)


async def one_by_one(here: Regatta, user: User, connection: Any, count: int) -> Sequence[float]:
    """What a boundary adds where nothing else is going on."""
    for _ in range(count):
        await user.run()
    del here
    return [row[0] for row in await connection.fetch(_BOUNDARIES)]


def memory_of(workers: Sequence[psutil.Process]) -> list[float]:
    return [worker.memory_info().rss / _MEGABYTE for worker in workers]


async def measure(here: Regatta, crews: Sequence[Script], size: Size) -> Measured:
    result = Measured()
    connection = await asyncpg.connect(**asyncpg_arguments(here.url))
    async with a_user(here) as user:
        result.idle_boundaries = await one_by_one(here, user, connection, 10)
        await kick_off(user, size.memory_from - 10)
        await drained(connection)
        before = memory_of(here.workers)
        # Held back while they are queued, so that all are there when the first begins.
        await _hold(connection, 1)
        result.kickoffs = await kick_off(user, size.queued)
        began = time.perf_counter()
        await _hold(connection, None)
        await drained(connection)
        result.rate = size.queued / (time.perf_counter() - began)
        result.boundaries = [float(row[0]) for row in await connection.fetch(_BOUNDARIES)]
        await kick_off(user, max(0, size.memory_to - size.memory_from - size.queued))
        await drained(connection)
        result.memory = (before, memory_of(here.workers))
    result.bare = {way: await _bare(crews, way, size.bare) for way in ("akickoff", "for_each")}
    await connection.close()
    return result


async def _hold(connection: Any, most: int | None) -> None:
    """Let no more than so many of the tenant's executions run at once."""
    await connection.execute("UPDATE tenant SET max_parallel_executions = $1", most)


async def _bare(crews: Sequence[Script], way: str, count: int) -> float:
    share, places = count // len(crews), AT_ONCE // len(crews)
    began = time.perf_counter()
    await asyncio.gather(*(asyncio.to_thread(crew, how=way, count=share, at_once=places) for crew in crews))
    return share * len(crews) / (time.perf_counter() - began)


def report(measured: Measured, size: Size, where: str) -> str:
    bare = max((measured.bare or {"": 0.0}).values())
    verdict = "met" if measured.rate >= bare else "MISSED"
    before, after = (Series(list(each)) for each in measured.memory)
    busy, idle = measured.boundaries, measured.idle_boundaries
    return (
        "# A queue that drains\n\n"
        f"{size.queued:,} queued executions of three tasks drain at {measured.rate:.1f} a second on {WORKERS} workers;"
        f" bare CrewAI in a pool of {WORKERS} processes, through LiteLLM, does {bare:.1f} (the better of"
        f" {', '.join(f'{way}: {rate:.1f}' for way, rate in (measured.bare or {}).items())}). At least 1.0 times:"
        f" {verdict} ({measured.rate / bare:.2f}). They were queued at {measured.kickoffs:.0f} kickoffs a second.\n\n"
        "| from a task's last model call to the start of the next task | ms, median | p99 |\n|---|---:|---:|\n"
        f"| one execution at a time | {percentile(idle, 0.5):.1f} | {percentile(idle, 0.99):.1f} |\n"
        f"| all workers full | {percentile(busy, 0.5):.1f} | {percentile(busy, 0.99):.1f} |\n\n"
        f"Memory of a worker, MB resident: {before} after {size.memory_from:,} executions in all, {after} after"
        f" {size.memory_to:,}.\n\n"
        "How: the demo's team; all queued before the first begins (the tenant's limit holds them back); each worker has"
        f" {AT_ONCE} places. The database, the API and the model server share the two cores.\n\n"
        f"Where: {where}\n\nAgain: `python -m benchmarks.drain`.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few of each, nothing is written")
    quick = parser.parse_args().quick
    size = QUICK if quick else FULL
    stop_like_ctrl_c()
    with model_server() as url, data_directory() as data_dir, the_cast(url) as cast:
        crews = cast.litellm[:WORKERS]
        for crew in crews:
            crew(how="one_by_one", count=5)
        with regatta(data_dir, url, workers=WORKERS, concurrency=AT_ONCE) as here:
            measured = run_async(partial(measure, here, crews, size))
            where = machine(here)
    publish("drain", report(measured, size, where), quick=quick)


if __name__ == "__main__":
    main()
