"""What a scrape costs: of an API process and of a worker, and what a worker's counting costs a commit.

    python -m benchmarks.scrape [--quick]

`regatta serve` with one worker (real processes, embedded PostgreSQL). Before the scrapes, executions run, so that there
is something to tell. Scrapes come one after another over one connection each, as Prometheus makes them; between two of
the API more than a second passes in the cold series, so that each asks the database, and none in the warm one.
"""

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final
from uuid import uuid4

import aiohttp
import psutil
from prometheus_client import CollectorRegistry

from app.prometheus.deployment import KEPT_SECONDS
from app.prometheus.worker import WorkerMetrics
from benchmarks._runs import (
    a_user,
    cpu_of,
    data_directory,
    machine,
    model_server,
    no_collections,
    percentile,
    publish,
    regatta,
    run_async,
    stop_like_ctrl_c,
)
from domain.events import ModelCalled
from domain.model.identity import DEFAULT_TENANT, ExecutionId, ProjectId
from domain.model.ledger import CallOutcome, LedgerEntry
from domain.ports import Change, Ownership
from tests.support.processes import free_port

RUNS: Final = 20
TARGET_MS: Final = 20.0


@dataclass(slots=True)
class Scraped:
    """Seconds of each scrape, the CPU seconds of the scraped process over all of them, and the size of one in bytes."""

    seconds: list[float]
    cpu: float
    size: int
    series: int


async def scraped(address: str, process: psutil.Process, count: int, pause: float) -> Scraped:
    """What so many scrapes took; what the process uses anyway in the pauses is taken off."""
    seconds: list[float] = []
    async with aiohttp.ClientSession() as session:
        idle = await _cpu_of_waiting(process) * pause * count if pause else 0.0
        before = cpu_of(process)
        for _ in range(count):
            await asyncio.sleep(pause)
            began = time.perf_counter()
            async with session.get(address) as response:
                text = await response.text()
            assert response.status == 200, text
            seconds.append(time.perf_counter() - began)
        used = cpu_of(process) - before - idle
    series = sum(not line.startswith("#") for line in text.splitlines())
    return Scraped(seconds, max(0.0, used), len(text), series)


async def _cpu_of_waiting(process: psutil.Process) -> float:
    """CPU seconds per second that it uses when nobody asks for anything."""
    before, seconds = cpu_of(process), 5.0
    await asyncio.sleep(seconds)
    return (cpu_of(process) - before) / seconds


def counting(count: int) -> float:
    """Microseconds that a worker counts at a commit with one model call and two events."""
    owner = Ownership(DEFAULT_TENANT, uuid4(), ExecutionId(uuid4()), 1)
    entry = LedgerEntry(
        DEFAULT_TENANT, ProjectId(uuid4()), None, None, None, None, "openai/gpt-4o-mini", "openai", 1,
        CallOutcome.SUCCEEDED, 900, 100, cost=Decimal("0.000195"), latency_seconds=0.8,
    )  # fmt: skip
    called = ModelCalled(
        tenant_id=owner.tenant_id, execution_id=owner.execution_id, model=entry.model, outcome="SUCCEEDED",
        prompt_tokens=900, completion_tokens=100, cost_amount=entry.cost, latency_seconds=0.8,
    )  # fmt: skip
    change, metrics = (
        Change(owner, [called, called], ledger=[entry]),
        WorkerMetrics(CollectorRegistry(), is_by_tenant=False),
    )
    metrics.committed(change, is_accepted=True)  # the catalogue is read at the first
    began = time.process_time()
    for _ in range(count):
        metrics.committed(change, is_accepted=True)
    return (time.process_time() - began) / count * 1e6


def report(found: Sequence[tuple[str, Scraped]], microseconds: float, where: str) -> str:
    rows = "\n".join(
        f"| {name} | {len(each.seconds)} | {percentile(each.seconds, 0.5) * 1000:.1f} |"
        f" {percentile(each.seconds, 0.99) * 1000:.1f} | {each.cpu / len(each.seconds) * 1000:.1f} |"
        f" {each.series} | {each.size / 1000:.0f} |"
        for name, each in found
    )
    worst = max(percentile(each.seconds, 0.5) * 1000 for _, each in found)
    return (
        "# What a scrape costs\n\n"
        f"The dearest takes {worst:.1f} ms (p50), target under {TARGET_MS:.0f}:"
        f" {'met' if worst < TARGET_MS else 'MISSED'}. Counting costs a worker {microseconds:.0f} µs of CPU per commit"
        " with a model call.\n\n"
        "| scrape of | times | p50 ms | p99 ms | CPU ms of the process | samples | kB |\n"
        "|---|---:|---:|---:|---:|---:|---:|\n"
        f"{rows}\n\n"
        f"How: {_HOW}\n\nWhere: {where}\n\nAgain: `python -m benchmarks.scrape`.\n"
    )


_HOW: Final = (
    f"`regatta serve` with one worker and the embedded PostgreSQL, after {RUNS} executions; one scrape after another."
    " The CPU of the processes without scrapes is taken off where there are pauses; it is measured in steps of 10 ms,"
    " and so is exact only over many. A worker answers from a thread beside its loop."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="ten of each, nothing is written")
    quick = parser.parse_args().quick
    stop_like_ctrl_c()
    port, many, few = free_port(), 20 if quick else 1000, 10 if quick else 60
    with (
        model_server() as url,
        data_directory() as data_dir,
        regatta(data_dir, url, worker_metrics_port=str(port)) as here,
    ):
        api, worker = f"{here.server.address}/metrics", f"http://127.0.0.1:{port}/metrics"

        async def all_of_it() -> list[tuple[str, Scraped]]:
            async with a_user(here) as user:
                for _ in range(RUNS):
                    await user.run()
            with no_collections():
                return [
                    ("the API, asking the database", await scraped(api, here.api, few, KEPT_SECONDS + 0.05)),
                    ("the API, within the second", await scraped(api, here.api, many, 0.0)),
                    ("a worker", await scraped(worker, here.workers[0], many, 0.0)),
                ]

        found = run_async(all_of_it)
        publish("scrape", report(found, counting(many * 50), machine(here)), quick=quick)


if __name__ == "__main__":
    main()
