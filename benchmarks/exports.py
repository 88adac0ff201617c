"""Downloading executions: rows per second and memory of the API process, against the same by pages of the graph.

A database of its own with 100,000 executions, three tasks and fifteen model calls each (`--quick`: a fiftieth).
"""

import argparse
import asyncio
import os
import platform
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import asyncpg
import psutil

from app.embedded import EmbeddedPostgres
from app.migrations import migrate
from benchmarks._metrics_data import TEAMS, Made, made
from benchmarks._runs import Series, cpu_of, data_directory, publish
from domain.model.identity import DEFAULT_TENANT
from persistence.urls import asyncpg_arguments
from resolvers.node_ids import node_id
from tests.support.processes import served

FULL, QUICK = 100_000, 2_000
PAGES: Final = 20
"""So many pages of 100 are read of the graph: it goes on at the same pace."""

_ACCOUNTS: Final = """
    INSERT INTO budget_account (tenant_id, scope, scope_id, period, spent)
    SELECT tenant_id, 3, execution_id, DATE '1970-01-01', sum(cost) FROM ledger_entry GROUP BY 1, 3
"""
_PAGE: Final = """
query Page($after: String) { tenant { executions(first: 100, after: $after) { pageInfo { endCursor } nodes {
  id status createdAt configuration { priority qualityPreference } isCacheHit startedBy
  timing { startedAt finishedAt durationSeconds queueWaitSeconds waitedSeconds } failure { code message }
  usage { promptTokens completionTokens calls } budget { spent { amount } } taskExecutions { status }
  team { id name process } project { id name } retryOf { id } forkedFrom { id }
} } } }
"""


@dataclass(slots=True)
class Way:
    """One way to the same figures: rows each second, CPU of the API for a thousand, and the most memory above idle."""

    title: str
    read: Callable[[], Coroutine[Any, Any, int]]
    rate: Series = field(default_factory=Series)
    cpu_ms: Series = field(default_factory=Series)
    megabytes: Series = field(default_factory=Series)
    rows: int = 0

    async def round(self, api: psutil.Process) -> None:
        idle = _forget_peak(api)
        cpu, began = cpu_of(api), time.perf_counter()
        self.rows = await self.read()
        seconds, used = time.perf_counter() - began, cpu_of(api) - cpu
        self.rate.values.append(self.rows / seconds)
        self.cpu_ms.values.append(used / self.rows * 1e6)
        self.megabytes.values.append((_peak(api) - idle) / 1e6)

    def row(self) -> str:
        return f"| {self.title} | {self.rows:,} | {self.rate} | {self.cpu_ms} | {self.megabytes} |"


def _forget_peak(process: psutil.Process) -> int:
    """What the process has in memory now, in bytes; its peak is counted from here."""
    Path(f"/proc/{process.pid}/clear_refs").write_text("5", "ascii")
    return int(process.memory_info().rss)


def _peak(process: psutil.Process) -> int:
    lines = Path(f"/proc/{process.pid}/status").read_text("ascii").splitlines()
    [line] = [line for line in lines if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def ways(session: aiohttp.ClientSession, address: str, team_id: str) -> Mapping[str, Way]:
    async def download(query: str) -> int:
        lines = 0
        async with session.get(f"{address}/exports/executions?{query}") as answer:
            answer.raise_for_status()
            async for chunk in answer.content.iter_any():
                lines += chunk.count(b"\n")
        return lines - ("CSV" in query)

    async def pages() -> int:
        after, rows = None, 0
        for _ in range(PAGES):
            async with session.post(f"{address}/graphql", json={"query": _PAGE, "variables": {"after": after}}) as said:
                answer = await said.json(content_type=None)
            assert "errors" not in answer, answer["errors"]
            found = answer["data"]["tenant"]["executions"]
            after, rows = found["pageInfo"]["endCursor"], rows + len(found["nodes"])
        return rows

    return {
        "csv": Way("export, CSV", lambda: download("format=CSV")),
        "lines": Way("export, JSON Lines", lambda: download("format=JSON_LINES")),
        "team": Way("export of one team, CSV", lambda: download(f"format=CSV&teamId={team_id}")),
        "graph": Way(f"the graph, {PAGES} pages of 100", pages),
    }


async def measured(url: str, data_dir: Path, executions: int, rounds: int) -> tuple[Made, Mapping[str, Way]]:
    owner = await asyncpg.connect(**asyncpg_arguments(url))
    print(f"making {executions:,} executions …", flush=True)
    found = await made(owner, DEFAULT_TENANT, executions)
    await owner.execute(_ACCOUNTS, timeout=3600)
    await owner.execute("VACUUM ANALYZE budget_account")
    team_id = node_id("Team", await owner.fetchval("SELECT team_id FROM execution LIMIT 1"))
    await owner.close()
    with served(data_dir, database_url=url, workers="0", log_level="warning") as server:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
            chosen = ways(session, server.address, team_id)
            await _take_turns(chosen, psutil.Process(server.process.pid), rounds)
        server.press_ctrl_c()
    assert chosen["csv"].rows == chosen["lines"].rows == found.executions
    return found, chosen


async def _take_turns(chosen: Mapping[str, Way], api: psutil.Process, rounds: int) -> None:
    for way in chosen.values():
        await way.read()  # warms up
    for _ in range(rounds):
        for way in chosen.values():
            await way.round(api)


def page(found: Made, chosen: Mapping[str, Way], rounds: int) -> str:
    csv, team = chosen["csv"], chosen["team"]
    times = csv.rate.median / chosen["graph"].rate.median
    rows = "\n".join(way.row() for way in chosen.values())
    where = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"""# Downloading executions

{found.executions:,} executions as CSV: {csv.rate.median:,.0f} rows each second, {times:.1f} times as many as by
pages of the graph. The API process takes {csv.megabytes.median:.1f} MB more for it at most, and
{team.megabytes.median:.1f} MB for the {team.rows:,} of one team.

| median (lowest to highest round) | rows | rows per second | CPU of the API, ms per 1,000 | memory above idle, MB |
|---|---:|---:|---:|---:|
{rows}

How: {found.tasks:,} task executions and {found.entries:,} ledger entries of {TEAMS} teams; `regatta serve` without
workers, PostgreSQL from the wheel, one client over loopback that counts lines and keeps nothing. {rounds} rounds of all
in turn after one to warm up. Memory is the peak of the resident set in a round, less what it was when the round began.

Where: {where}. Load average at the end: {os.getloadavg()[0]:.1f}.

Again: `python -m benchmarks.exports`.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a fiftieth of it; publishes nothing")
    quick = parser.parse_args().quick
    rounds = 2 if quick else 5
    with data_directory() as database, data_directory() as files:
        postgres = EmbeddedPostgres(database)
        url = postgres.start()
        try:
            migrate(url)
            found, chosen = asyncio.run(measured(url, files, QUICK if quick else FULL, rounds))
        finally:
            postgres.stop()
    publish("exports", page(found, chosen, rounds), quick=quick)


if __name__ == "__main__":
    main()
