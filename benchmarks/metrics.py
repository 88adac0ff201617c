"""Metrics over a month of work: how long an overview takes, and what keeping the sums costs.

A database of its own with a million task executions and five million ledger entries (`--quick`: a hundredth).
"""

import argparse
import asyncio
import os
import platform
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import psutil

from app.embedded import EmbeddedPostgres
from app.migrations import migrate
from benchmarks._metrics_data import DAYS, ROLES, Made, made
from benchmarks._runs import Series, publish
from domain.model.identity import DEFAULT_TENANT, utc_now
from domain.model.metrics import (
    WHOLE_TENANT,
    Dimension,
    Granularity,
    GroupOrder,
    MetricsScope,
    Period,
    Point,
)
from domain.services.keeping_metrics import LARGE_BATCH
from persistence.engine import Database
from persistence.metrics_reader import SqlMetrics
from persistence.rollups import SqlRollUps
from persistence.urls import asyncpg_arguments
from tests.support.postgres import disposable_data_dir

FULL, QUICK = 333_334, 3_334
BATCH: Final = LARGE_BATCH
NAMES: Final = {
    "overview": "overview of 30 days by day: what is under way, every point, and the period before",
    "hours": "the same of one team over a week by hour",
    "top": "the ten roles that cost most, with their figures",
    "models": "all models by cost",
    "waiting": "the overview while 5,000 facts wait to be rolled up",
}


@dataclass
class Found:
    """What was measured; seconds."""

    made: Made
    roll_up_seconds: float = 0.0
    roll_up_cpu: float = 0.0
    facts: int = 0
    rows: int = 0
    bytes: int = 0
    noting_micros: float = 0.0
    worst_percentile: float = 0.0
    times: dict[str, Series] = field(default_factory=dict)


async def measured(url: str, executions: int, rounds: int) -> Found:
    owner = await asyncpg.connect(**asyncpg_arguments(url))
    print(f"making {executions:,} executions …", flush=True)
    found = Found(await made(owner, DEFAULT_TENANT, executions))
    database = await Database.connect(url, name="benchmark", pool_size=4)
    try:
        print("rolling up …", flush=True)
        await _roll_up(database, owner, found)
        await _accuracy(database, owner, found)
        found.times = await _times(database, owner, rounds)
        found.noting_micros = await _noting(owner)
    finally:
        await database.close()
        await owner.close()
    return found


async def _roll_up(database: Database, owner: Any, found: Found) -> None:
    rollups, began = SqlRollUps(database.pool), time.perf_counter()
    before = await _server_cpu(owner)
    while rolled := await rollups.roll_up(BATCH):
        found.facts += rolled
    found.roll_up_seconds, found.roll_up_cpu = time.perf_counter() - began, await _server_cpu(owner) - before
    found.rows = await owner.fetchval("SELECT count(*) FROM metric_rollup")
    found.bytes = await owner.fetchval("SELECT pg_total_relation_size('metric_rollup')")
    await owner.execute("VACUUM ANALYZE metric_rollup, metric_pending")


async def _server_cpu(owner: Any) -> float:
    """Seconds of processor time that the server used for the pool's connections."""
    rows = await owner.fetch("SELECT pid FROM pg_stat_activity WHERE application_name = 'regatta benchmark'")
    times = [psutil.Process(row["pid"]).cpu_times() for row in rows]
    return sum(each.user + each.system for each in times)


async def _accuracy(database: Database, owner: Any, found: Found) -> None:
    """How far percentiles are off, and that all else is the same to the last digit."""
    period = Period.up_to(utc_now(), DAYS + 1, Granularity.DAY)
    figures = (await SqlMetrics(database.pool).figures(DEFAULT_TENANT, [WHOLE_TENANT], period))[WHOLE_TENANT]
    row = await owner.fetchrow(
        "SELECT count(*), sum((extract(epoch FROM finished_at - started_at) * 1000000)::bigint),"
        " percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - started_at))"
        " FROM execution"
    )
    spent, prompt = await owner.fetchrow("SELECT sum(cost), sum(prompt_tokens) FROM ledger_entry")
    runs = figures.executions
    assert (runs.ended, runs.durations.micros) == (row[0], row[1])
    assert (figures.calls.cost_amount, figures.calls.prompt_tokens) == (spent, prompt)
    told = (runs.durations.p50_seconds, runs.durations.p95_seconds, runs.durations.p99_seconds)
    pairs = zip(told, map(float, row[2]), strict=True)
    found.worst_percentile = max(abs((mine or 0) / exact - 1) for mine, exact in pairs)


async def _times(database: Database, owner: Any, rounds: int) -> dict[str, Series]:
    ways = await _ways(database, owner)
    found = {name: Series() for name in NAMES}
    for number in range(rounds + 1):
        for name, way in ways.items():
            began = time.perf_counter()
            await way()
            if number:  # the first warms up
                found[name].values.append((time.perf_counter() - began) * 1000)
    await owner.execute(
        "INSERT INTO metric_pending (tenant_id, subject, subject_id, at)"
        " SELECT tenant_id, 'TASK', id, finished_at FROM task_execution LIMIT 5000"
    )
    for _ in range(rounds):
        began = time.perf_counter()
        await ways["overview"]()
        found["waiting"].values.append((time.perf_counter() - began) * 1000)
    return found


async def _ways(database: Database, owner: Any) -> Mapping[str, Callable[[], Awaitable[Any]]]:
    metrics, now = SqlMetrics(database.pool), utc_now()
    month, week = Period.up_to(now, DAYS, Granularity.DAY), Period.up_to(now, 7 * 24, Granularity.HOUR)
    team = MetricsScope(Dimension.TEAM, str(await owner.fetchval("SELECT team_id FROM execution LIMIT 1")))

    async def overview(scope: MetricsScope = WHOLE_TENANT, period: Period = month) -> list[Point]:
        points = (await metrics.series(DEFAULT_TENANT, [scope], period))[scope]
        await metrics.figures(DEFAULT_TENANT, [scope], period.preceding)
        await metrics.present(DEFAULT_TENANT, [scope])
        return list(points)

    return {
        "overview": overview,
        "hours": lambda: overview(team, week),
        "top": lambda: metrics.groups(DEFAULT_TENANT, WHOLE_TENANT, Dimension.ROLE, month, GroupOrder.COST, 10),
        "models": lambda: metrics.groups(DEFAULT_TENANT, WHOLE_TENANT, Dimension.MODEL, month, GroupOrder.COST, 10),
    }


async def _noting(owner: Any) -> float:
    """Microseconds that noting what ended adds to a row: ten thousand copies of ledger entries with and without."""
    names = ", ".join(
        row[0]
        for row in await owner.fetch(
            "SELECT column_name FROM information_schema.columns"
            " WHERE table_name = 'ledger_entry' AND column_name <> 'id'"
        )
    )
    copied = f"SELECT gen_random_uuid(), {names} FROM ledger_entry LIMIT 10000"  # noqa: S608 - the server's own names
    copy = f"INSERT INTO ledger_entry (id, {names}) {copied}"
    seconds: dict[str, list[float]] = {"ENABLE": [], "DISABLE": []}
    for way in ("ENABLE", "DISABLE") * 3:
        await owner.execute(f"ALTER TABLE ledger_entry {way} TRIGGER note_call")
        began = time.perf_counter()
        await owner.execute(copy)
        seconds[way].append(time.perf_counter() - began)
    await owner.execute("ALTER TABLE ledger_entry ENABLE TRIGGER note_call")
    return (min(seconds["ENABLE"]) - min(seconds["DISABLE"])) / 10_000 * 1e6


def page(found: Found) -> str:
    times = "\n".join(
        f"| {NAMES[name]} | {series.median:.0f} ({min(series.values):.0f} to {max(series.values):.0f}) |"
        for name, series in found.times.items()
    )
    per_fact, facts_each = found.roll_up_seconds / found.facts, found.facts / found.made.executions
    share = f"{found.roll_up_cpu / found.facts * 1e6:.0f} µs CPU of the server"
    calls = facts_each - 1 - ROLES
    sizes = f"{found.made.executions:,} executions, {found.made.entries:,} ledger entries, {DAYS} days"
    where = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"""# Metrics over a month of work

{found.made.tasks:,} task executions of {sizes}.
The overview of 30 days by day: {found.times["overview"].median:.0f} ms.

| ms, median (lowest to highest) | |
|---|---:|
{times}

Percentiles are off by at most {found.worst_percentile:.2%} here (bound: 1 %). Counts, tokens, cost and the sum of
durations are those of the rows to the last digit: the benchmark asserts it.

| keeping the sums | |
|---|---:|
| rolling up, per fact | {per_fact * 1e6:.0f} µs ({share}) |
| the same per execution of {ROLES} tasks with {calls:.0f} model calls | {per_fact * facts_each * 1000:.2f} ms |
| in the transaction in which something ends | a trigger adds one narrow row: {found.noting_micros:.0f} µs |
| statements of the job, for up to {BATCH:,} facts | 3, with its transaction 5 |
| rows of metric_rollup | {found.rows:,} ({found.bytes / 1e6:.0f} MB) |

How: PostgreSQL from the wheel, one client; what is measured goes through the ports that the graph uses. The overview is
three transactions: the points, the period before, what is under way. Facts are rolled up in the order in which they
happened, in batches of {BATCH:,}.

Where: {where}. Load average at the end: {os.getloadavg()[0]:.1f}.

Again: `python -m benchmarks.metrics`.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a hundredth of it; publishes nothing")
    options = parser.parse_args()
    random.seed(1)
    with disposable_data_dir() as directory:
        server = EmbeddedPostgres(directory)
        url = server.start()
        try:
            migrate(url)
            found = asyncio.run(measured(url, QUICK if options.quick else FULL, 5 if options.quick else 20))
        finally:
            server.stop()
    publish("metrics", page(found), quick=options.quick)


if __name__ == "__main__":
    main()
