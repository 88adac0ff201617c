"""What the gateway costs per model call, against a bare `litellm.Router`; and whether a thousand calls add up.

One process with one loop does both; model server and PostgreSQL are processes of their own. The gateway's call is the
whole of it: routing decision, reservation (a commit), one streamed HTTP request, events, ledger entry (a commit).
"""

import argparse
import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from domain.crew import environment

environment.set_switches()
environment.import_libraries()

import litellm  # noqa: E402 - after the switches
import psycopg  # noqa: E402 - same

from app.embedded import EmbeddedPostgres  # noqa: E402 - same
from app.migrations import migrate  # noqa: E402 - same
from benchmarks._runs import (  # noqa: E402 - same
    ANSWER,
    MODEL,
    Series,
    data_directory,
    model_server,
    no_collections,
    percentile,
    publish,
    run_async,
    stop_like_ctrl_c,
    surroundings,
)
from domain.crew.models import LiteLLMClient  # noqa: E402 - same
from domain.ports import ModelRequest, TaskWork  # noqa: E402 - same
from domain.services.model_gateway import RoutedGateway  # noqa: E402 - same
from domain.services.recorder import EventRecorder, RecorderSink  # noqa: E402 - same
from persistence.call_budgets import SqlCallBudgets  # noqa: E402 - same
from persistence.engine import Database  # noqa: E402 - same
from tests.support.fakes import FakeHints, a_team_with_tasks  # noqa: E402 - same
from tests.support.routes import a_route  # noqa: E402 - same
from tests.support.worlds import SqlWorld  # noqa: E402 - same

MESSAGES: Final = [
    {"role": "system", "content": "You are Analyst. You have some years of practice and deliver solid work."},
    {"role": "user", "content": "Current Task: say in one sentence what a ledger is for. " * 8},
]
MOST_CPU_MS, MOST_P50_MS = 3.0, 5.0
AT_ONCE: Final = 50
GATEWAY, ROUTER, STREAMED = "gateway", "router", "router_streamed"


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: rounds, calls of each way in a round, calls that have to add up."""

    rounds: int
    calls: int
    counted: int


FULL, QUICK = Size(10, 100, 1_000), Size(2, 20, 100)


class Bare:
    """LiteLLM's router as a script would use it, without retries."""

    def __init__(self) -> None:
        deployment = {"model_name": MODEL, "litellm_params": {"model": MODEL}}
        self._router = litellm.Router(model_list=[deployment], num_retries=0)

    async def call(self) -> None:
        answer: Any = await self._router.acompletion(MODEL, messages=MESSAGES, max_tokens=4096, max_retries=0)
        assert answer.choices[0].message.content == ANSWER

    async def streamed(self) -> None:
        stream: Any = await self._router.acompletion(
            MODEL,
            messages=MESSAGES,
            max_tokens=4096,
            max_retries=0,
            stream=True,
            stream_options={"include_usage": True},
        )
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
        assert "".join(pieces) == ANSWER


@dataclass(slots=True)
class Ours:
    """The gateway as a worker has it, with one task that goes on calling."""

    gateway: RoutedGateway
    client: LiteLLMClient
    recorder: EventRecorder
    sink: RecorderSink
    work: TaskWork

    async def call(self) -> None:
        request = ModelRequest("", MESSAGES, None, {"temperature": 0.7}, 60.0)
        answer = await self.gateway.call(self.work, request, self.sink)
        assert answer.text == ANSWER


@asynccontextmanager
async def ours(database: Database) -> AsyncIterator[Ours]:
    """The gateway in an execution that is claimed and has a budget at every level."""
    world = SqlWorld(database)
    execution, tasks, snapshot = a_team_with_tasks("calling")
    await world.add(execution, tasks, snapshot)
    claimed = await world.claim(execution.id, "benchmark")
    assert claimed
    recorder = EventRecorder(world.store, FakeHints())
    recorder.start()
    sink, client = recorder.sink(claimed.ownership), LiteLLMClient()
    task = claimed.tasks[0]
    role = next(role for role in snapshot.roles if role.id == task.role_id)
    work = TaskWork(claimed.ownership, execution.team_id, task, role, [], "", a_route(MODEL), 5, 600.0)
    try:
        yield Ours(RoutedGateway(client, SqlCallBudgets(database.pool)), client, recorder, sink, work)
    finally:
        await recorder.stop(5)
        await client.close()


async def timed(way: Callable[[], Awaitable[None]], count: int) -> tuple[float, float]:
    """Milliseconds of CPU per call, and on the clock in the median, of calls one after another."""
    took = []
    spent = time.process_time()
    for _ in range(count):
        began = time.perf_counter()
        await way()
        took.append(time.perf_counter() - began)
    return (time.process_time() - spent) / count * 1000, percentile(took, 0.5) * 1000


async def measured(url: str, owner_url: str, size: Size) -> tuple[Mapping[str, Mapping[str, Series]], "Sums"]:
    figures = {way: {"cpu": Series(), "p50": Series()} for way in (GATEWAY, ROUTER, STREAMED)}
    database = await Database.connect(url, name="benchmark", pool_size=10)
    bare = Bare()
    async with ours(database) as gateway:
        _set_budgets(owner_url)
        ways = {GATEWAY: gateway.call, ROUTER: bare.call, STREAMED: bare.streamed}
        for way in ways.values():
            await timed(way, 20)
        with no_collections():
            for _ in range(size.rounds):
                for name, way in ways.items():
                    cpu, p50 = await timed(way, size.calls)
                    figures[name]["cpu"].values.append(cpu)
                    figures[name]["p50"].values.append(p50)
        before = _sums(owner_url)
        rate = await _many(gateway, size.counted)
        after = _sums(owner_url)
    await database.close()
    return figures, Sums(size.counted, rate, before, after)


async def _many(gateway: Ours, count: int) -> float:
    """So many calls, `AT_ONCE` at a time; calls per second."""
    left = iter(range(count))

    async def caller() -> None:
        for _ in left:
            await gateway.call()

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
    return count / (time.perf_counter() - began)


@dataclass(frozen=True, slots=True)
class Sums:
    """What the database says before and after the calls that have to add up."""

    calls: int
    rate: float
    before: "Row"
    after: "Row"

    @property
    def is_exact(self) -> bool:
        entries, called, cost, spent, reserved, open_ones, events, last = self.after
        return (
            entries - self.before[0] == called - self.before[1] == self.calls
            and cost == spent
            and cost * self.before[0] == self.before[2] * entries  # each call costs the same
            and reserved == open_ones == 0
            and events == last
        )


Row = tuple[int, int, Decimal, Decimal, Decimal, int, int, int]

_SUMS: Final = """
    SELECT (SELECT count(*) FROM ledger_entry),
        (SELECT count(*) FROM execution_event WHERE type = 'ModelCalled'),
        (SELECT sum(cost) FROM ledger_entry),
        (SELECT spent FROM budget_account WHERE scope = 0),
        (SELECT sum(reserved) FROM budget_account),
        (SELECT count(*) FROM call_reservation),
        (SELECT count(*) FROM execution_event),
        (SELECT max(sequence) FROM execution_event)
"""


def _sums(url: str) -> Row:
    with psycopg.connect(url) as connection:
        found: Any = connection.execute(_SUMS).fetchone()
    row: Row = found
    return row


def _set_budgets(url: str) -> None:
    """A limit at every level, so that each is looked at and none is met."""
    with psycopg.connect(url, autocommit=True) as connection:
        for table in ("tenant", "project", "team"):
            connection.execute(f"UPDATE {table} SET monthly_budget = 1000000")  # type: ignore[arg-type]  # noqa: S608
        connection.execute("UPDATE execution SET max_budget = 1000000")
        connection.execute("UPDATE task_execution SET max_budget = 1000000")


def report(figures: Mapping[str, Mapping[str, Series]], sums: Sums, size: Size, where: str) -> str:
    more = {kind: figures[GATEWAY][kind].median - figures[ROUTER][kind].median for kind in ("cpu", "p50")}
    rows = "\n".join(
        f"| {title} | {figures[name]['cpu']} | {figures[name]['p50']} |"
        for title, name in (
            ("gateway: route, reserve, stream, events, book", GATEWAY),
            ("bare `Router.acompletion`", ROUTER),
            ("bare `Router.acompletion(stream=True)`, read to its end", STREAMED),
        )
    )
    return (
        "# What the gateway costs\n\n"
        f"Over a bare `Router.acompletion`: {more['cpu']:+.1f} ms CPU, target at most +{MOST_CPU_MS:g}:"
        f" {_verdict(more['cpu'] <= MOST_CPU_MS)}; {more['p50']:+.1f} ms on the clock (p50), target at most"
        f" +{MOST_P50_MS:g}: {_verdict(more['p50'] <= MOST_P50_MS)}.\n\n"
        f"{sums.calls:,} calls, {AT_ONCE} at a time ({sums.rate:.0f} a second): ledger entries, events and sums"
        f" {'exact, none lost' if sums.is_exact else f'WRONG: {sums.before} {sums.after}'}.\n\n"
        "| ms per call, median (lowest to highest round) | CPU of the calling process | p50 on the clock |\n"
        "|---|---:|---:|\n"
        f"{rows}\n\n"
        f"How: {_HOW.format(rounds=size.rounds, calls=size.calls)}\n\n"
        f"Where: {where}\n\nAgain: `python -m benchmarks.gateway`.\n"
    )


_HOW: Final = (
    "one call after another from one process on uvloop, the model server (a process of its own) answers at once, the"
    " embedded PostgreSQL commits with fsync. The gateway's call includes two commits, waited for: the reservation in"
    " five budgets with limits, and the booking with its events. {rounds} rounds of all ways in turn, {calls} calls of"
    " each; CPU is that of the calling process."
)


def _verdict(is_met: bool) -> str:
    return "met" if is_met else "MISSED"


@contextmanager
def a_database(directory: Path) -> Iterator[str]:
    postgres = EmbeddedPostgres(directory)
    try:
        url = postgres.start()
        migrate(url)
        yield url
    finally:
        postgres.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few of each, nothing is written")
    quick = parser.parse_args().quick
    size = QUICK if quick else FULL
    stop_like_ctrl_c()
    with model_server() as model_url, data_directory() as data_dir, a_database(data_dir) as url:
        os.environ["OPENAI_API_BASE"], os.environ["OPENAI_API_KEY"] = model_url, "none"
        figures, sums = run_async(lambda: measured(url, url, size))
        publish("gateway", report(figures, sums, size, surroundings(url)), quick=quick)


if __name__ == "__main__":
    main()
